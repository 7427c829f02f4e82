"""The rules by which broker and exchange refuse an order or a modification: small functions, checked in order.

Each takes the same `Facts` and raises `Refused` with a code and the figures; nothing here changes anything.
What risk checks alike is in `market.rules`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from msgspec import Struct

from alpha_cli.core.events import Modify, Order, Side
from alpha_cli.core.money import UNITS, in_rupees, price_units
from alpha_cli.market.contracts import Contract
from alpha_cli.market.refusals import MarketCode
from alpha_cli.market.rules import broken_rules, is_auction_open, is_tick_multiple
from alpha_cli.stages.paper.codes import Code, Refused
from alpha_cli.stages.paper.config import Bands
from alpha_cli.stages.paper.costs import Costs
from alpha_cli.stages.paper.desk import Desk
from alpha_cli.stages.paper.margin import MarginAccount
from alpha_cli.stages.paper.matching import MAX_PRICE
from alpha_cli.stages.paper.orders import EXPIRY, SQUARE_OFF, PaperOrder

#: Kite's limit. Source: kite.trade forum, discussion 31294.
MOST_MODIFICATIONS = 25

#: Options: how far beyond the reference price an order may go. Source: NSE, limit price protection of options
#: (circular of 2022-10-28): 40 % of a premium above ₹50, else ₹20; of a bid above, of an offer below. The reference,
#: a 30 s average there, is the last price here.
_LPP_ABOVE = 50
_LPP_SHARE = 4_000
_LPP_RUPEES = 20


class Facts(Struct, frozen=True):
    """Everything a rule may look at. Amounts are in ledger units.

    order     the event that asks for it
    working   the order as it would be taken
    broken    the rules of the market that it breaks, see `broken_rules`
    tick      the newest of the instrument, or None
    last      its last price, 0 without a tick
    now       the time of the order's arrival
    held      units of this instrument and product, signed
    replaces  the open order that `working` is a modification of
    """

    order: Order
    working: PaperOrder
    contract: Contract
    broken: set[MarketCode]
    tick: Any
    last: int
    now: datetime
    held: int
    margin: MarginAccount
    costs: Costs
    bands: Bands
    replaces: PaperOrder | None = None


def facts_of(
    desk: Desk,
    working: PaperOrder,
    contract: Contract,
    tick: Any,
    now: datetime,
    *,
    replaces: PaperOrder | None = None,
) -> Facts:
    """Return the facts on an order that `desk` is asked to take."""
    order = working.order
    holding = desk.account.positions.get((order.instrument_token, order.product))
    last = 0 if tick is None else price_units(tick.last_price)
    prices = (working.limit, working.trigger)
    return Facts(
        order=order,
        working=working,
        contract=contract,
        broken=broken_rules(contract, product=order.product, quantity=order.quantity, prices=prices, moment=now),
        tick=tick,
        last=last,
        now=now,
        held=0 if holding is None else holding.quantity,
        margin=desk.margin,
        costs=desk.costs,
        bands=desk.config.bands,
        replaces=replaces,
    )


Rule = Callable[[Facts], None]

#: Kite counts their quantities in lots, and its dump does not say how much a lot is.
NOT_SIMULATED = frozenset({"MCX", "NCO", "CDS", "BCD"})


def listed(facts: Facts) -> None:
    """Refuse what is not in the master, has expired, or is an index."""
    contract, token = facts.contract, facts.order.instrument_token
    if facts.order.order_id.startswith((f"{SQUARE_OFF}-", f"{EXPIRY}-")):
        raise Refused(Code.ORDER_ID_RESERVED, f"order ids that begin with {SQUARE_OFF}- or {EXPIRY}- are the broker's")
    if MarketCode.INSTRUMENT_UNKNOWN in facts.broken:
        raise Refused(Code.INSTRUMENT_UNKNOWN, f"instrument {token} is not in the master on {contract.on}")
    instrument = contract.instrument
    if MarketCode.INSTRUMENT_NOT_TRADABLE in facts.broken:
        raise Refused(Code.INSTRUMENT_NOT_TRADABLE, f"{instrument.key} is an index; trade a contract on it")
    if instrument.exchange in NOT_SIMULATED:
        raise Refused(
            Code.INSTRUMENT_NOT_SIMULATED,
            f"{instrument.key}: the master does not say how many units a lot has on that exchange",
        )
    if MarketCode.INSTRUMENT_EXPIRED in facts.broken:
        raise Refused(Code.INSTRUMENT_EXPIRED, f"{instrument.key} expired on {instrument.expiry}")


def session(facts: Facts) -> None:
    """Take orders in the continuous session, and LIMIT orders while the closing auction takes them."""
    contract, now = facts.contract, facts.now
    if contract.unknown is not None:
        raise Refused(Code.CALENDAR_UNKNOWN, contract.unknown)
    if MarketCode.MARKET_CLOSED not in facts.broken:
        return
    if is_auction_open(contract, now):
        if facts.order.order_type == "LIMIT" and facts.order.validity == "DAY":
            return
        asked = f"{facts.order.order_type} {facts.order.validity}"
        raise Refused(Code.AUCTION_ORDER_TYPE, f"the closing auction takes LIMIT DAY orders; this is {asked}")
    raise Refused(Code.MARKET_CLOSED, f"{contract.instrument.exchange} is closed at {now.isoformat()}")


def product(facts: Facts) -> None:
    """Refuse a product that is not for the kind of instrument."""
    if MarketCode.PRODUCT_NOT_ALLOWED in facts.broken:
        contract, asked = facts.contract, facts.order.product
        raise Refused(
            Code.PRODUCT_NOT_ALLOWED, f"{asked} is not for {contract.instrument.key}, which is of kind {contract.kind}"
        )


def charged(facts: Facts) -> None:
    """Refuse a trade whose charges are not known."""
    facts.costs.check_known(facts.order, facts.contract)


def prices(facts: Facts) -> None:
    """Require the prices of the order's type, in the order they must have, on the exchange's ticks."""
    order = facts.order
    kind, price, trigger = order.order_type, order.price, order.trigger_price
    if kind in {"LIMIT", "SL"} and (price is None or price <= 0):
        raise Refused(Code.PRICE_MISSING, f"{'a LIMIT' if kind == 'LIMIT' else 'an SL'} order needs a price above 0")
    if kind in {"SL", "SL-M"} and (trigger is None or trigger <= 0):
        raise Refused(Code.TRIGGER_MISSING, f"an {kind} order needs a trigger_price above 0")
    if MarketCode.PRICE_NOT_TICK_MULTIPLE in facts.broken:
        raise _not_on_tick(facts)
    if kind == "SL" and price is not None and trigger is not None:
        buys = order.side == "BUY"
        if price < trigger if buys else price > trigger:
            where = "below" if buys else "above"
            raise Refused(
                Code.TRIGGER_BEYOND_LIMIT,
                f"price {price} is {where} the trigger price {trigger}: triggered, it could not fill",
            )


def _prices_of(facts: Facts) -> tuple[tuple[str, Any, int | None], ...]:
    """Return (name, rupees, ledger units) of the prices; units are None where the order's type does not use one."""
    order, working = facts.order, facts.working
    return ("price", order.price, working.limit), ("trigger_price", order.trigger_price, working.trigger)


def _not_on_tick(facts: Facts) -> Refused:
    contract = facts.contract
    name, price = next(
        (name, price)
        for name, price, value in _prices_of(facts)
        if value is not None and not is_tick_multiple(contract, value)
    )
    return Refused(
        Code.PRICE_NOT_TICK_MULTIPLE,
        f"{name} {price} is not a multiple of the tick size {in_rupees(contract.tick_size)}",
    )


def quantity(facts: Facts) -> None:
    """Require whole lots, and no more than the exchange takes in one order."""
    asked, contract = facts.order.quantity, facts.contract
    if MarketCode.QUANTITY_NOT_LOT_MULTIPLE in facts.broken:
        raise Refused(
            Code.QUANTITY_NOT_LOT_MULTIPLE, f"quantity {asked} is not a multiple of the lot size {contract.lot_size}"
        )
    if MarketCode.QUANTITY_ABOVE_FREEZE in facts.broken:
        raise Refused(Code.QUANTITY_ABOVE_FREEZE, f"quantity {asked} is above the freeze quantity {contract.freeze}")


def priced(facts: Facts) -> None:
    """Require a last price for MARKET orders and stops, and a stop that lies beyond it."""
    order, last = facts.order, facts.last
    if order.order_type == "LIMIT":
        return
    if not last:
        raise Refused(
            Code.NO_PRICE, f"no tick of instrument {order.instrument_token} came before the order; feed its ticks too"
        )
    trigger = facts.working.trigger
    if trigger is None:
        return
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
    """Hold shares and futures to the circuit limits around the previous close, options to `check_protection`.

    A stop on an option is held to it when it is triggered.
    """
    order, contract, tick = facts.order, facts.contract, facts.tick
    if tick is None:
        return
    if contract.kind == "option":
        if order.order_type == "LIMIT" and facts.working.limit is not None:
            check_protection(order.side, facts.working.limit, facts.last)
        return
    if tick.ohlc is None or not 0 < tick.ohlc.close < MAX_PRICE:
        return  # the previous close is not known
    close = price_units(tick.ohlc.close)
    width = close * (facts.bands.future if contract.kind == "future" else facts.bands.equity) // 10_000
    low, high = close - width, close + width
    for name, price, value in _prices_of(facts):
        if value is not None and not low <= value <= high:
            raise Refused(
                Code.PRICE_OUTSIDE_BAND,
                f"{name} {price} is outside the circuit limits {in_rupees(max(low, 0))} to {in_rupees(high)}",
            )


def square_off(facts: Facts) -> None:
    """Let MIS orders only close positions after the square-off time."""
    if MarketCode.MIS_AFTER_SQUARE_OFF not in facts.broken:
        return
    day = facts.contract.day
    if day is not None and facts.margin.opening_quantity(facts.working, facts.replaces):
        raise Refused(Code.MIS_AFTER_SQUARE_OFF, f"no new MIS position after {day.square_off:%H:%M}")


def holdings(facts: Facts) -> None:
    """Let CNC sell only shares that are held, delivered or not."""
    order = facts.order
    if order.product != "CNC" or order.side != "SELL":
        return
    others = facts.margin.orders((order.instrument_token, order.product), order.side)
    promised = sum(other.remaining for other in others if other is not facts.replaces)
    left = facts.working.remaining
    if left > facts.held - promised:
        raise Refused(
            Code.HOLDINGS_INSUFFICIENT,
            f"{left} are to be sold; {facts.held} are held, {promised} of them in other orders",
        )


def margin(facts: Facts) -> None:
    """Require the margin for what the order opens."""
    lack = facts.margin.check(facts.contract, facts.working, facts.last, facts.replaces)
    if lack is not None:
        raise Refused(
            Code.MARGIN_INSUFFICIENT,
            f"the order needs {in_rupees(lack.needs)} rupees of margin, {in_rupees(lack.available)} are available",
        )


#: The rules for a new order, in the order in which they are checked.
RULES: tuple[Rule, ...] = (
    listed, session, product, charged, prices, quantity, priced, band, square_off, holdings, margin,
)  # fmt: skip

#: The rules for a modification.
OF_MODIFICATIONS: tuple[Rule, ...] = (session, prices, quantity, priced, band, square_off, holdings, margin)


def check(facts: Facts, rules: tuple[Rule, ...] = RULES) -> None:
    """Raise `Refused` by the first rule that the order breaks."""
    for rule in rules:
        rule(facts)


def check_modification(working: PaperOrder, modify: Modify) -> None:
    """Raise `Refused` if `modify` cannot be applied to `working`, whatever the market."""
    if working.modifications >= MOST_MODIFICATIONS:
        raise Refused(Code.MODIFICATIONS_EXHAUSTED, f"it was modified {MOST_MODIFICATIONS} times, the most Kite takes")
    asked = modify.quantity
    if asked is not None and asked <= 0:
        raise Refused(Code.QUANTITY_NOT_POSITIVE, f"quantity {asked} is not above 0")
    if asked is not None and asked <= working.filled_quantity:
        raise Refused(Code.QUANTITY_BELOW_FILLED, f"quantity {asked}: {working.filled_quantity} are filled already")
    if working.is_triggered_stop and modify.trigger_price is not None:
        raise Refused(Code.ALREADY_TRIGGERED, "its trigger was met; it is a plain order now")
