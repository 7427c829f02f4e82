"""What the order is: its instrument, kind, quantity and price by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alpha_cli.core.money import UNITS
from alpha_cli.core.wire import MAX_LINE
from alpha_cli.stages.risk.codes import Code
from alpha_cli.stages.risk.facts import Facts, Refusal, rupees, seconds, share
from alpha_cli.stages.risk.limits import MILLION, Limits, listed

if TYPE_CHECKING:
    from alpha_cli.market.contracts import Contract

#: Rupees: the tolerance of an option is held against at least this premium, so that cheap ones can trade at all.
#: Source: limit price protection of BSE and NSE, 40 % of a premium above 50, ₹20 below; the shape is kept.
CHEAP_PREMIUM = 50 * UNITS


#: Bytes of metadata: a line has a mebibyte, of which orders, fills and charges take a few KiB at most.
MOST_METADATA = MAX_LINE - (16 << 10)


def repeated(facts: Facts) -> Refusal | None:
    """One cause, one decision: a signal seen before is never decided again, whatever it says now."""
    if facts.repeated is None:
        return None
    if facts.repeated == "same":
        return Refusal(Code.SIGNAL_DUPLICATE, "this signal was decided before")
    return Refusal(Code.SIGNAL_CONFLICT, "another signal with this id was decided before; ids must be unique")


def metadata(facts: Facts) -> Refusal | None:
    """What a strategy adds must leave room for the order and the fill that carry it."""
    if facts.metadata <= MOST_METADATA:
        return None
    return Refusal(Code.SIGNAL_TOO_LARGE, "too much metadata for the line of an order", MOST_METADATA, facts.metadata)


def hold(facts: Facts) -> Refusal | None:
    """HOLD asks for nothing."""
    return Refusal(Code.SIGNAL_HOLD, "HOLD asks for no order") if facts.hold else None


def signal_ttl(facts: Facts) -> Refusal | None:
    """A late order is worse than a lost one; one from the future has a wrong clock behind it."""
    limit, age = facts.limits.signal_ttl, facts.signal_age
    assert limit is not None
    if age > limit:
        return Refusal(Code.SIGNAL_EXPIRED, "the signal came too late to be acted on", seconds(limit), seconds(age))
    if -age > limit:
        return Refusal(Code.SIGNAL_AHEAD, "the signal is later than the newest tick", seconds(limit), seconds(-age))
    return None


def instrument(facts: Facts) -> Refusal | None:
    """With a master given, only what is in it and alive trades, and an index never does."""
    contract = facts.contract
    token = contract.instrument.instrument_token
    if not contract.listed:
        return Refusal(Code.INSTRUMENT_UNKNOWN, f"not in the instrument master on {contract.on}", None, token)
    if contract.kind == "index":
        return Refusal(Code.INSTRUMENT_NOT_TRADABLE, "an index cannot be bought; trade a contract on it", None, token)
    if contract.expired:
        expiry = str(contract.instrument.expiry)
        return Refusal(Code.INSTRUMENT_EXPIRED, "the contract has expired", expiry, str(contract.on))
    return None


def allowed_instruments(facts: Facts) -> Refusal | None:
    """What is not on the list does not trade."""
    if is_allowed(facts.contract, facts.limits):
        return None
    allowed = " and ".join(f"{len(names)} allowed" for names in facts.limits.allowed_instruments or ())
    return Refusal(
        Code.INSTRUMENT_NOT_ALLOWED, "not among the allowed instruments", allowed, facts.contract.instrument.key
    )


def is_allowed(contract: Contract, limits: Limits) -> bool:
    """Whether every list of allowed instruments has it."""
    named = contract.instrument
    return all(listed(names, named.instrument_token, named.key) for names in limits.allowed_instruments or ())


def restricted_instruments(facts: Facts) -> Refusal | None:
    """Bans, trade-to-trade, illiquid ones: what a person lists."""
    if not is_restricted(facts.contract, facts.limits):
        return None
    restricted = f"{len(facts.limits.restricted_instruments or ())} restricted"
    return Refusal(Code.INSTRUMENT_RESTRICTED, "a restricted instrument", restricted, facts.contract.instrument.key)


def is_restricted(contract: Contract, limits: Limits) -> bool:
    """Whether the list of restricted instruments has it."""
    named = contract.instrument
    return listed(limits.restricted_instruments or (), named.instrument_token, named.key)


def order_type(facts: Facts) -> Refusal | None:
    """The kinds of order that a signal can fully describe."""
    if facts.order_type in {"SL", "SL-M"} and facts.replaces is None:
        return Refusal(
            Code.ORDER_TYPE_UNSUPPORTED, "a signal carries no trigger price", "MARKET, LIMIT", facts.order_type
        )
    if facts.retyped and facts.order_type != "LIMIT":
        message = "a modification carries no protection; cancel the order and send a signal"
        return Refusal(Code.ORDER_TYPE_UNSUPPORTED, message, "LIMIT", facts.order_type)
    if facts.order_type == "LIMIT" and (facts.price is None or facts.price <= 0):
        return Refusal(Code.PRICE_MISSING, "a LIMIT order needs a positive price", 0, rupees(facts.price))
    return None


def order_types(facts: Facts) -> Refusal | None:
    """Those that are listed."""
    allowed = facts.limits.order_types
    assert allowed is not None
    if facts.order_type in allowed:
        return None
    return Refusal(
        Code.ORDER_TYPE_NOT_ALLOWED, "not an allowed order type", ", ".join(sorted(allowed)), facts.order_type
    )


def market_orders(facts: Facts) -> Refusal | None:
    """MARKET orders only with a protection price: how far beyond the last price they may be filled."""
    if facts.order_type not in {"MARKET", "SL-M"} or facts.limits.market_protection:
        return None
    return Refusal(
        Code.ORDER_MARKET_NOT_ALLOWED, "MARKET orders are off (market_protection); use LIMIT", "off", facts.order_type
    )


def products(facts: Facts) -> Refusal | None:
    """Those that are listed."""
    allowed = facts.limits.products
    assert allowed is not None
    if facts.product in allowed:
        return None
    return Refusal(Code.PRODUCT_NOT_ALLOWED, "not an allowed product", ", ".join(sorted(allowed)), facts.product)


def product_kind(facts: Facts) -> Refusal | None:
    """CNC delivers shares, NRML carries derivatives. Without a master nobody knows which it is."""
    kind, asked = facts.contract.traded_as, facts.product
    if facts.contract.instrument.name and asked == ("NRML" if kind == "equity" else "CNC"):
        fitting = "MIS, CNC" if kind == "equity" else "MIS, NRML"
        return Refusal(Code.PRODUCT_NOT_ALLOWED, f"{asked} is not for this kind of instrument", fitting, asked)
    return None


def quantity(facts: Facts) -> Refusal | None:
    """A whole number of lots, at least one."""
    asked, lot = facts.quantity, facts.contract.lot_size
    if facts.unsized is not None:
        return facts.unsized
    if asked is None:
        return Refusal(Code.QUANTITY_MISSING, "the signal has no quantity, and no sizing rule gives one", 1)
    if asked <= 0:
        return Refusal(Code.QUANTITY_NOT_POSITIVE, "quantity must be at least 1", 1, asked)
    if asked % lot:
        return Refusal(Code.QUANTITY_NOT_LOT_MULTIPLE, "quantity is not a multiple of the lot size", lot, asked)
    return None


def order_quantity(facts: Facts) -> Refusal | None:
    """Units in one order; of a sliced one, in all of it."""
    limit, asked = facts.limits.max_order_quantity, facts.quantity or 0
    assert limit is not None
    if asked <= limit:
        return None
    return Refusal(Code.QUANTITY_ABOVE_LIMIT, "more units than one order may have", limit, asked)


def freeze_quantity(facts: Facts) -> Refusal | None:
    """What the exchange takes in one order, times the slices that are allowed; a modification cannot be sliced."""
    contract, asked = facts.contract, facts.quantity or 0
    if contract.freeze is None:
        return None
    slices = 1 if facts.replaces is not None else facts.limits.max_slices or MOST_SLICES
    limit = contract.freeze // contract.lot_size * contract.lot_size * slices
    if asked <= limit:
        return None
    return Refusal(
        Code.QUANTITY_ABOVE_FREEZE, f"more than {slices} orders of the freeze quantity {contract.freeze}", limit, asked
    )


#: Slices of an order where `max_slices` is not set. Source: Kite's autoslice makes at most ten.
MOST_SLICES = 10


def price_tick(facts: Facts) -> Refusal | None:
    """A limit price is a multiple of the instrument's tick size."""
    price, tick_size = facts.price, facts.contract.tick_size
    if price is None or price % tick_size == 0:
        return None
    return Refusal(
        Code.PRICE_NOT_TICK_MULTIPLE, "price is not a multiple of the tick size", rupees(tick_size), rupees(price)
    )


def price_tolerance(facts: Facts) -> Refusal | None:
    """A buy may not be far above the last price, a sell not far below: a slip of the finger, or a price that has gone.

    A MARKET order is held to the price its strategy saw, and to what its protection lets it pay.
    """
    tolerance, reference = facts.limits.price_tolerance, facts.reference
    assert tolerance is not None
    contract = facts.contract
    kind = 0 if contract.kind == "equity" else kind_of(contract)
    fraction = tolerance[kind]
    if fraction is None:
        return None  # unset for this kind: the plan refuses that where it has to
    if reference is None:
        return Refusal(Code.PRICE_NO_REFERENCE, "no tick of this instrument to compare the price with", share(fraction))
    base = CHEAP_PREMIUM if kind == _OPTION and reference < CHEAP_PREMIUM else reference
    furthest = _furthest(facts, reference)
    beyond = furthest - reference if facts.buy else reference - furthest
    if beyond * MILLION <= fraction * base:
        return None
    message = f"price {rupees(furthest)} is too far beyond the last price {rupees(reference)}"
    return Refusal(Code.PRICE_OUT_OF_TOLERANCE, message, share(fraction), round(beyond / base, 6))


def _furthest(facts: Facts, reference: int) -> int:
    """The worst of the prices that the order names or may be filled at."""
    named, protection = facts.asked, facts.limits.market_protection
    if named is None:
        named = reference
    if facts.price is not None or not protection:
        return named
    band = -(-reference * protection // MILLION)
    most = reference + band if facts.buy else reference - band
    return most if (most > named) == facts.buy else named


_OPTION = 3


def kind_of(contract: Contract) -> int:
    """The place of a contract's kind in `price_tolerance`: equity, index future, stock future, option."""
    kind = contract.kind
    if kind in {"equity", "index"}:  # without a master even an index trades as a share
        return 0
    return _OPTION if kind == "option" else 1 if contract.index else 2


def order_value(facts: Facts) -> Refusal | None:
    """Price times quantity, in rupees; a MARKET order at what its protection lets it pay."""
    limit, value = facts.limits.max_order_value, facts.value
    assert limit is not None
    if value is None:
        return Refusal(Code.VALUE_NO_REFERENCE, "no price to value the order at", rupees(limit))
    if value <= limit:
        return None
    return Refusal(Code.VALUE_ABOVE_LIMIT, "worth more than one order may be", rupees(limit), rupees(value))
