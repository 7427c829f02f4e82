"""The rules by which broker and exchange refuse an order or a modification: small functions, asked in order.

Each takes the same `Facts` and raises `Refused` with a code and the figures; nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from alpha_cli.core.events import Modify, Order, Side
from alpha_cli.core.money import UNITS, in_rupees, price_units, units
from alpha_cli.market.contracts import Contract
from alpha_cli.stages.paper.codes import Code, Refused
from alpha_cli.stages.paper.config import Bands
from alpha_cli.stages.paper.orders import EXPIRY, SQUARE_OFF, PaperOrder

if TYPE_CHECKING:
    from alpha_cli.market.calendar.sessions import Phase

#: What Kite takes. Source: kite.trade forum, discussion 31294.
MOST_MODIFICATIONS = 25

#: Options: how far beyond the reference price an order may go. Source: NSE, limit price protection of options
#: (circular of 2022-10-28): 40 % of a premium above ₹50, else ₹20; of a bid above, of an offer below. The reference,
#: a 30 s average there, is the last price here.
_LPP_ABOVE = 50
_LPP_SHARE = 4_000
_LPP_RUPEES = 20


class Facts(Struct):
    """All that a rule may look at. Amounts are in ledger units.

    tick       the newest of the instrument, or None
    now        the time of the order's arrival
    held       units of this instrument and product, signed
    left       units of the order that are not filled: all of a new one
    promised   units that other open orders of the same side would sell of what is held, asked for only under CNC
    opens      units of the order that open a position
    needs      margin that they block
    available  margin there is, asked for only if something is needed
    charges    raises `Refused` if they are not known
    """

    order: Order
    contract: Contract
    tick: Any
    now: datetime
    held: int
    left: int
    promised: Callable[[], int]
    opens: int
    needs: int
    available: Callable[[], int]
    charges: Callable[[], object]
    bands: Bands


Rule = Callable[[Facts], None]

#: Kite counts their quantities in lots, and its dump does not say how much a lot is.
NOT_SIMULATED = frozenset({"MCX", "NCO", "CDS", "BCD"})


def listed(facts: Facts) -> None:
    """What is not in the master, has expired, or is an index, cannot be traded."""
    contract, token = facts.contract, facts.order.instrument_token
    if facts.order.order_id.startswith((f"{SQUARE_OFF}-", f"{EXPIRY}-")):
        raise Refused(Code.ORDER_ID_RESERVED, f"order ids that begin with {SQUARE_OFF}- or {EXPIRY}- are the broker's")
    if not contract.listed:
        raise Refused(Code.INSTRUMENT_UNKNOWN, f"instrument {token} is not in the master on {contract.on}")
    if contract.kind == "index":
        raise Refused(Code.INSTRUMENT_NOT_TRADABLE, f"{contract.instrument.key} is an index; trade a contract on it")
    if contract.instrument.exchange in NOT_SIMULATED:
        raise Refused(
            Code.INSTRUMENT_NOT_SIMULATED,
            f"{contract.instrument.key}: the master does not say how many units a lot has on that exchange",
        )
    if contract.expired:
        raise Refused(Code.INSTRUMENT_EXPIRED, f"{contract.instrument.key} expired on {contract.instrument.expiry}")


#: How the calendar calls the parts of the closing auction in which orders are taken: not before its reference
#: price is known, nor once it matches.
_ORDER_ENTRY = "order entry"


def collects(phase: Phase) -> bool:
    """Whether orders are taken in this part of an auction."""
    return phase.phase.startswith(_ORDER_ENTRY)


def session(facts: Facts) -> None:
    """Orders are taken in the continuous session, and LIMIT orders while the closing auction takes them."""
    contract, now = facts.contract, facts.now
    if contract.unknown is not None:
        raise Refused(Code.CALENDAR_UNKNOWN, contract.unknown)
    if contract.hours.contains(now):
        return
    auction = (None if contract.day is None else contract.day.closing_auction) or ()
    if any(phase.open <= now < phase.close for phase in auction if collects(phase)):
        if facts.order.order_type == "LIMIT" and facts.order.validity == "DAY":
            return
        asked = f"{facts.order.order_type} {facts.order.validity}"
        raise Refused(Code.AUCTION_ORDER_TYPE, f"the closing auction takes LIMIT DAY orders; this is {asked}")
    raise Refused(Code.MARKET_CLOSED, f"{contract.instrument.exchange} is closed at {now.isoformat()}")


def product(facts: Facts) -> None:
    """CNC delivers shares, NRML carries derivatives; MIS is for both. Without a master nobody knows which it is."""
    kind, asked = facts.contract.kind, facts.order.product
    if facts.contract.instrument.name and (
        (kind == "equity" and asked == "NRML") or (kind != "equity" and asked == "CNC")
    ):
        raise Refused(
            Code.PRODUCT_NOT_ALLOWED, f"{asked} is not for {facts.contract.instrument.key}, which is of kind {kind}"
        )


def charged(facts: Facts) -> None:
    """Nothing is traded whose cost is not known."""
    facts.charges()


def prices(facts: Facts) -> None:
    """The prices that the type of the order needs, in the order they must have, on the exchange's ticks."""
    order, tick_size = facts.order, facts.contract.tick_size
    if order.order_type in {"LIMIT", "SL"} and (order.price is None or order.price <= 0):
        raise Refused(
            Code.PRICE_MISSING, f"{'a LIMIT' if order.order_type == 'LIMIT' else 'an SL'} order needs a price above 0"
        )
    stops = order.order_type in {"SL", "SL-M"}
    if stops and (order.trigger_price is None or order.trigger_price <= 0):
        raise Refused(Code.TRIGGER_MISSING, f"an {order.order_type} order needs a trigger_price above 0")
    for name, price in (
        ("price", order.price if order.order_type in {"LIMIT", "SL"} else None),
        ("trigger_price", order.trigger_price if stops else None),
    ):
        if price is not None and units(price) % tick_size:
            raise Refused(
                Code.PRICE_NOT_TICK_MULTIPLE,
                f"{name} {price} is not a multiple of the tick size {in_rupees(tick_size)}",
            )
    if order.order_type == "SL" and order.price is not None and order.trigger_price is not None:
        before = order.price < order.trigger_price if order.side == "BUY" else order.price > order.trigger_price
        if before:
            where = "below" if order.side == "BUY" else "above"
            raise Refused(
                Code.TRIGGER_BEYOND_LIMIT,
                f"price {order.price} is {where} the trigger price {order.trigger_price}: triggered, it could not fill",
            )


def quantity(facts: Facts) -> None:
    """Whole lots, and no more than the exchange takes in one order."""
    asked, contract = facts.order.quantity, facts.contract
    if asked % contract.lot_size:
        raise Refused(
            Code.QUANTITY_NOT_LOT_MULTIPLE, f"quantity {asked} is not a multiple of the lot size {contract.lot_size}"
        )
    if contract.freeze is not None and asked > contract.freeze:
        raise Refused(Code.QUANTITY_ABOVE_FREEZE, f"quantity {asked} is above the freeze quantity {contract.freeze}")


def priced(facts: Facts) -> None:
    """MARKET and stops are held against the last price, so there must be one; a stop must lie beyond it."""
    order, tick = facts.order, facts.tick
    if order.order_type == "LIMIT":
        return
    last = 0 if tick is None else price_units(tick.last_price)
    if not last:
        raise Refused(
            Code.NO_PRICE, f"no tick of instrument {order.instrument_token} came before the order; feed its ticks too"
        )
    if order.order_type == "MARKET" or order.trigger_price is None:
        return
    trigger = units(order.trigger_price)
    if (trigger <= last) if order.side == "BUY" else (trigger >= last):
        where = "above" if order.side == "BUY" else "below"
        raise Refused(
            Code.TRIGGER_BEYOND_LAST,
            f"the trigger price {order.trigger_price} of a stop to {order.side.lower()} must lie {where} "
            f"the last price {in_rupees(last)}; place a LIMIT order instead",
        )


def check_protection(side: Side, limit: int, last: int) -> None:
    """Raise `Refused` for a limit on an option that goes too far beyond `last`. One far before it may wait."""
    width = last * _LPP_SHARE // 10_000 if last > _LPP_ABOVE * UNITS else _LPP_RUPEES * UNITS
    if (limit > last + width) if side == "BUY" else (limit < last - width):
        raise Refused(
            Code.PRICE_OUTSIDE_BAND,
            f"price {in_rupees(limit)} is outside the limit price protection: "
            f"{in_rupees(max(last - width, 0))} to {in_rupees(last + width)}",
        )


def band(facts: Facts) -> None:
    """Shares and futures: within the circuit limits around the previous close. Options: see `check_protection`.

    A stop on an option is held to it when it is triggered.
    """
    order, contract, tick = facts.order, facts.contract, facts.tick
    if tick is None:
        return
    if contract.kind == "option":
        if order.order_type == "LIMIT" and order.price is not None:
            check_protection(order.side, units(order.price), price_units(tick.last_price))
        return
    if tick.ohlc is None or not 0 < tick.ohlc.close < 1e12:
        return  # the previous close is not known
    close = price_units(tick.ohlc.close)
    width = close * (facts.bands.future if contract.kind == "future" else facts.bands.equity) // 10_000
    low, high = close - width, close + width
    for name, price in (("price", order.price), ("trigger_price", order.trigger_price)):
        used = order.order_type in ({"LIMIT", "SL"} if name == "price" else {"SL", "SL-M"})
        if used and price is not None and not low <= units(price) <= high:
            raise Refused(
                Code.PRICE_OUTSIDE_BAND,
                f"{name} {price} is outside the circuit limits {in_rupees(max(low, 0))} to {in_rupees(high)}",
            )


def square_off(facts: Facts) -> None:
    """After the square-off time MIS orders may only close."""
    day = facts.contract.day
    if facts.order.product != "MIS" or day is None or day.square_off is None or facts.now < day.square_off:
        return
    if facts.opens:
        raise Refused(Code.MIS_AFTER_SQUARE_OFF, f"no new MIS position after {day.square_off:%H:%M}")


def holdings(facts: Facts) -> None:
    """CNC sells what is held, whether it was delivered yet or not; nothing is lent."""
    order = facts.order
    if order.product != "CNC" or order.side != "SELL":
        return
    promised = facts.promised()
    if facts.left > facts.held - promised:
        raise Refused(
            Code.HOLDINGS_INSUFFICIENT,
            f"{facts.left} are to be sold; {facts.held} are held, {promised} of them in other orders",
        )


def margin(facts: Facts) -> None:
    """What the order opens must be paid for or margined."""
    if not facts.needs:
        return
    available = facts.available()
    if facts.needs > available:
        raise Refused(
            Code.MARGIN_INSUFFICIENT,
            f"the order needs {in_rupees(facts.needs)} rupees of margin, {in_rupees(available)} are available",
        )


#: In the order in which they are asked.
RULES: tuple[Rule, ...] = (
    listed, session, product, charged, prices, quantity, priced, band, square_off, holdings, margin,
)  # fmt: skip

#: Those that a modification is held to.
OF_MODIFICATIONS: tuple[Rule, ...] = (session, prices, quantity, priced, band, square_off, holdings, margin)


def check(facts: Facts, rules: tuple[Rule, ...] = RULES) -> None:
    """Raise `Refused` by the first rule that the order breaks."""
    for rule in rules:
        rule(facts)


def check_modification(working: PaperOrder, modify: Modify) -> None:
    """Raise `Refused` if `modify` by itself, whatever the market, cannot be done to `working`."""
    if working.modifications >= MOST_MODIFICATIONS:
        raise Refused(Code.MODIFICATIONS_EXHAUSTED, f"it was modified {MOST_MODIFICATIONS} times, the most Kite takes")
    asked = modify.quantity
    if asked is not None and asked <= 0:
        raise Refused(Code.QUANTITY_NOT_POSITIVE, f"quantity {asked} is not above 0")
    if asked is not None and asked <= working.filled_quantity:
        raise Refused(Code.QUANTITY_BELOW_FILLED, f"quantity {asked}: {working.filled_quantity} are filled already")
    triggered = working.trigger is None and working.order.order_type in {"SL", "SL-M"}
    if triggered and modify.trigger_price is not None:
        raise Refused(Code.ALREADY_TRIGGERED, "its trigger was met; it is a plain order now")
