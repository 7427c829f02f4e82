"""The order itself: its instrument, type, quantity and price."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alpha_cli.core.money import UNITS
from alpha_cli.core.wire import MAX_LINE
from alpha_cli.stages.risk.codes import Code
from alpha_cli.stages.risk.facts import Facts
from alpha_cli.stages.risk.limits import MILLION, Limits, listed
from alpha_cli.stages.risk.refusal import Refusal, rupees, seconds, share

if TYPE_CHECKING:
    from alpha_cli.market.contracts import Contract

#: Ledger units: the tolerance of an option is a fraction of at least this premium, so that cheap ones can trade.
#: Source: limit price protection of BSE and NSE, 40 % of a premium above 50, ₹20 below; the shape is kept.
CHEAP_PREMIUM = 50 * UNITS


#: Bytes of metadata: a line may have a mebibyte, of which orders, fills and charges take a few KiB at most.
MOST_METADATA = MAX_LINE - (16 << 10)


def repeated(facts: Facts) -> Refusal | None:
    """Refuse a signal whose id was decided before, whatever it contains now."""
    if facts.request.repeated is None:
        return None
    if facts.request.repeated == "same":
        return Refusal(Code.SIGNAL_DUPLICATE, "this signal was decided before")
    return Refusal(Code.SIGNAL_CONFLICT, "another signal with this id was decided before; ids must be unique")


def metadata(facts: Facts) -> Refusal | None:
    """Limit the metadata, so that the lines of the order and the fill that carry it do not get too long."""
    if facts.request.metadata_size <= MOST_METADATA:
        return None
    return Refusal(
        Code.SIGNAL_TOO_LARGE, "too much metadata for the line of an order", MOST_METADATA, facts.request.metadata_size
    )


def hold(facts: Facts) -> Refusal | None:
    """Refuse HOLD: it asks for no order."""
    return Refusal(Code.SIGNAL_HOLD, "HOLD asks for no order") if facts.request.hold else None


def signal_ttl(facts: Facts) -> Refusal | None:
    """Refuse a signal older than `signal_ttl`, or later than the newest tick by more than that."""
    limit, age = facts.limits.signal_ttl, facts.time.signal_age
    assert limit is not None
    if age > limit:
        return Refusal(Code.SIGNAL_EXPIRED, "the signal came too late to be acted on", seconds(limit), seconds(age))
    if -age > limit:
        return Refusal(Code.SIGNAL_AHEAD, "the signal is later than the newest tick", seconds(limit), seconds(-age))
    return None


def instrument(facts: Facts) -> Refusal | None:
    """Refuse an index, an expired contract, and what is not in the instrument master if there is one."""
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
    """Refuse instruments that are not on the list."""
    if is_allowed(facts.contract, facts.limits):
        return None
    allowed = " and ".join(f"{len(names)} allowed" for names in facts.limits.allowed_instruments or ())
    return Refusal(
        Code.INSTRUMENT_NOT_ALLOWED, "not among the allowed instruments", allowed, facts.contract.instrument.key
    )


def is_allowed(contract: Contract, limits: Limits) -> bool:
    """Return whether every list of allowed instruments has it."""
    named = contract.instrument
    return all(listed(names, named.instrument_token, named.key) for names in limits.allowed_instruments or ())


def restricted_instruments(facts: Facts) -> Refusal | None:
    """Refuse instruments on the list: banned, trade-to-trade, illiquid."""
    if not is_restricted(facts.contract, facts.limits):
        return None
    restricted = f"{len(facts.limits.restricted_instruments or ())} restricted"
    return Refusal(Code.INSTRUMENT_RESTRICTED, "a restricted instrument", restricted, facts.contract.instrument.key)


def is_restricted(contract: Contract, limits: Limits) -> bool:
    """Return whether the list of restricted instruments has it."""
    named = contract.instrument
    return listed(limits.restricted_instruments or (), named.instrument_token, named.key)


def order_type(facts: Facts) -> Refusal | None:
    """Refuse order types that a signal cannot fully describe, and a LIMIT order without a price."""
    if facts.request.order_type in {"SL", "SL-M"} and facts.replaced.order is None:
        return Refusal(
            Code.ORDER_TYPE_UNSUPPORTED, "a signal carries no trigger price", "MARKET, LIMIT", facts.request.order_type
        )
    if facts.replaced.retyped and facts.request.order_type != "LIMIT":
        message = "a modification carries no protection; cancel the order and send a signal"
        return Refusal(Code.ORDER_TYPE_UNSUPPORTED, message, "LIMIT", facts.request.order_type)
    if facts.request.order_type == "LIMIT" and (facts.request.limit_price is None or facts.request.limit_price <= 0):
        return Refusal(Code.PRICE_MISSING, "a LIMIT order needs a positive price", 0, rupees(facts.request.limit_price))
    return None


def order_types(facts: Facts) -> Refusal | None:
    """Refuse order types that are not listed."""
    allowed = facts.limits.order_types
    assert allowed is not None
    if facts.request.order_type in allowed:
        return None
    return Refusal(
        Code.ORDER_TYPE_NOT_ALLOWED, "not an allowed order type", ", ".join(sorted(allowed)), facts.request.order_type
    )


def market_orders(facts: Facts) -> Refusal | None:
    """Refuse MARKET orders without a protection: how far beyond the last price they may be filled."""
    if facts.request.order_type not in {"MARKET", "SL-M"} or facts.limits.market_protection:
        return None
    return Refusal(
        Code.ORDER_MARKET_NOT_ALLOWED,
        "MARKET orders are off (market_protection); use LIMIT",
        "off",
        facts.request.order_type,
    )


def products(facts: Facts) -> Refusal | None:
    """Refuse products that are not listed."""
    allowed = facts.limits.products
    assert allowed is not None
    if facts.request.product in allowed:
        return None
    return Refusal(
        Code.PRODUCT_NOT_ALLOWED, "not an allowed product", ", ".join(sorted(allowed)), facts.request.product
    )


def product_kind(facts: Facts) -> Refusal | None:
    """Refuse CNC for derivatives and NRML for shares; without a master the kind is not known, and both pass."""
    kind, asked = facts.contract.traded_as, facts.request.product
    if facts.contract.instrument.name and asked == ("NRML" if kind == "equity" else "CNC"):
        fitting = "MIS, CNC" if kind == "equity" else "MIS, NRML"
        return Refusal(Code.PRODUCT_NOT_ALLOWED, f"{asked} is not for this kind of instrument", fitting, asked)
    return None


def quantity(facts: Facts) -> Refusal | None:
    """Require a whole number of lots, at least one."""
    asked, lot = facts.request.quantity, facts.contract.lot_size
    if facts.request.unsized is not None:
        return facts.request.unsized
    if asked is None:
        return Refusal(Code.QUANTITY_MISSING, "the signal has no quantity, and no sizing rule gives one", 1)
    if asked <= 0:
        return Refusal(Code.QUANTITY_NOT_POSITIVE, "quantity must be at least 1", 1, asked)
    if asked % lot:
        return Refusal(Code.QUANTITY_NOT_LOT_MULTIPLE, "quantity is not a multiple of the lot size", lot, asked)
    return None


def order_quantity(facts: Facts) -> Refusal | None:
    """Limit the units in one order, before it is sliced."""
    limit, asked = facts.limits.max_order_quantity, facts.request.quantity or 0
    assert limit is not None
    if asked <= limit:
        return None
    return Refusal(Code.QUANTITY_ABOVE_LIMIT, "more units than one order may have", limit, asked)


def freeze_quantity(facts: Facts) -> Refusal | None:
    """Limit the units to the freeze quantity times the allowed slices; a modification cannot be sliced."""
    contract, asked = facts.contract, facts.request.quantity or 0
    if contract.freeze is None:
        return None
    slices = 1 if facts.replaced.order is not None else facts.limits.max_slices or MOST_SLICES
    limit = contract.freeze // contract.lot_size * contract.lot_size * slices
    if asked <= limit:
        return None
    return Refusal(
        Code.QUANTITY_ABOVE_FREEZE, f"more than {slices} orders of the freeze quantity {contract.freeze}", limit, asked
    )


#: Slices of an order where `max_slices` is not set. Source: Kite's autoslice makes at most ten.
MOST_SLICES = 10


def price_tick(facts: Facts) -> Refusal | None:
    """Require that a limit price is a multiple of the instrument's tick size."""
    price, tick_size = facts.request.limit_price, facts.contract.tick_size
    if price is None or price % tick_size == 0:
        return None
    return Refusal(
        Code.PRICE_NOT_TICK_MULTIPLE, "price is not a multiple of the tick size", rupees(tick_size), rupees(price)
    )


def price_tolerance(facts: Facts) -> Refusal | None:
    """Refuse a buy far above the last price and a sell far below it: a typing error, or an outdated price.

    For a MARKET order the price the strategy saw counts, and the worst price that its protection allows.
    """
    tolerance, reference = facts.limits.price_tolerance, facts.price.reference
    assert tolerance is not None
    contract = facts.contract
    kind = 0 if contract.kind == "equity" else kind_of(contract)
    fraction = tolerance[kind]
    if fraction is None:
        return None  # unset for this kind: off for paper, and refused with LIMIT_UNSET for other brokers
    if reference is None:
        return Refusal(Code.PRICE_NO_REFERENCE, "no tick of this instrument to compare the price with", share(fraction))
    base = CHEAP_PREMIUM if kind == _OPTION and reference < CHEAP_PREMIUM else reference
    furthest = _furthest(facts, reference)
    beyond = furthest - reference if facts.request.buy else reference - furthest
    if beyond * MILLION <= fraction * base:
        return None
    message = f"price {rupees(furthest)} is too far beyond the last price {rupees(reference)}"
    return Refusal(Code.PRICE_OUT_OF_TOLERANCE, message, share(fraction), round(beyond / base, 6))


def _furthest(facts: Facts, reference: int) -> int:
    """Return the worst of the prices that the order names or may be filled at."""
    named, protection = facts.request.named_price, facts.limits.market_protection
    if named is None:
        named = reference
    if facts.request.limit_price is not None or not protection:
        return named
    band = -(-reference * protection // MILLION)
    most = reference + band if facts.request.buy else reference - band
    return most if (most > named) == facts.request.buy else named


_OPTION = 3


def kind_of(contract: Contract) -> int:
    """Return the index of a contract's kind in `price_tolerance`: equity, index future, stock future, option."""
    kind = contract.kind
    if kind in {"equity", "index"}:  # without a master even an index trades as a share
        return 0
    return _OPTION if kind == "option" else 1 if contract.index else 2


def order_value(facts: Facts) -> Refusal | None:
    """Limit price times quantity; a MARKET order counts at the worst price that its protection allows."""
    limit, value = facts.limits.max_order_value, facts.price.value
    assert limit is not None
    if value is None:
        return Refusal(Code.VALUE_NO_REFERENCE, "no price to value the order at", rupees(limit))
    if value <= limit:
        return None
    return Refusal(Code.VALUE_ABOVE_LIMIT, "worth more than one order may be", rupees(limit), rupees(value))
