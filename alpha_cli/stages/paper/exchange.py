"""The simulated exchange: what the ticks of an instrument do to its orders, by the rules of `docs/matching.md`.

An order that arrives takes what its tick offers; what is left rests, and later ticks match or trigger it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from alpha_cli.core.events import Event, Side
from alpha_cli.core.money import in_rupees, price_units
from alpha_cli.core.order_states import CANCELLED, OPEN, OPEN_PENDING, TRIGGER_PENDING
from alpha_cli.market.contracts import Contract
from alpha_cli.market.rules import takes_orders
from alpha_cli.stages.paper.codes import MOST_REASON, Code, Refused
from alpha_cli.stages.paper.desk import Desk
from alpha_cli.stages.paper.matching import Liquidity, protection_price
from alpha_cli.stages.paper.orders import PaperOrder
from alpha_cli.stages.paper.resting_orders import RestingOrders
from alpha_cli.stages.paper.rules import check_protection

if TYPE_CHECKING:
    from alpha_cli.market.calendar import SessionHours

_NO_TIME = timedelta()
_SIDES: Final[tuple[Side, Side]] = ("BUY", "SELL")


class Exchange:
    """Matches the orders of `desk` against ticks. Results are appended to `out`, in the order in which they happen."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._config = desk.config
        self._liquidity: dict[int, Liquidity] = {}

    # --- an order arrives --------------------------------------------------------------------

    def place(self, working: PaperOrder, tick: Any) -> list[Event]:
        """Send an accepted order to the exchange. `tick` is the newest of its instrument, or None."""
        working.priority = next(self._desk.priorities)
        out: list[Event] = []
        if not self._reach(working, tick, out):
            under_way = self._config.latency > _NO_TIME
            working.status = OPEN_PENDING if under_way else OPEN if working.trigger is None else TRIGGER_PENDING
            out.append(self._desk.report(working, working.arrived))
        return out

    def place_again(self, working: PaperOrder, tick: Any) -> list[Event]:
        """Send a modified order to the exchange; its last change is the modification."""
        working.priority = next(self._desk.priorities)
        out: list[Event] = []
        if not self._reach(working, tick, out):
            out.append(self._desk.report(working, working.changed))
        return out

    def _reach(self, working: PaperOrder, tick: Any, out: list[Event]) -> bool:
        """Let `tick` reach the order. Return False if it has to wait for one that is not older than it."""
        if tick is not None and tick.timestamp >= working.effective:
            contract = self._desk.contracts.at(tick.instrument_token, tick.timestamp)
            if _is_open(contract.hours, tick):
                self._arrive(working, contract, tick, out, report=True)
                return True
        self._desk.wait(working)
        return False

    def _arrive(
        self, working: PaperOrder, contract: Contract, tick: Any, out: list[Event], *, report: bool = False
    ) -> None:
        """Let the order trigger, take what there is, rest or end, with `tick` as the market it finds.

        report  its status even if nothing came of it
        """
        status = working.status
        working.at_exchange = True
        if not report:
            working.changed = tick.timestamp
        if working.trigger is not None:
            last = price_units(tick.last_price)
            if (last < working.trigger) if working.order.side == "BUY" else (last > working.trigger):
                working.stand_at_exchange(TRIGGER_PENDING)
                self._desk.rest(working)
                if report or status != TRIGGER_PENDING:
                    out.append(working.update(tick.timestamp))
                return
            if not self._trigger(working, contract, tick, out):
                return
        if working.status != OPEN:
            working.stand_at_exchange(OPEN)
        self._take(working, contract, tick, out, report=report or status == OPEN_PENDING)

    def _trigger(self, working: PaperOrder, contract: Contract, tick: Any, out: list[Event]) -> bool:
        """Make a stop whose trigger was reached a plain order. Return False if its limit ended it instead."""
        last = price_units(tick.last_price)
        working.trigger = None
        working.stand_at_exchange(OPEN)
        working.changed = tick.timestamp
        working.code, working.message = None, f"triggered at {in_rupees(last)}"
        out.append(self._desk.report(working, tick.timestamp))
        if contract.kind == "option" and working.limit is not None:
            try:
                check_protection(working.order.side, working.limit, last)
            except Refused as fault:
                message = str(fault)[:MOST_REASON]
                out.append(self._desk.end(working, CANCELLED, fault.code, message, tick.timestamp))
                return False
        return True

    def _take(
        self, working: PaperOrder, contract: Contract, tick: Any, out: list[Event], *, report: bool = False
    ) -> None:
        """Take from `tick` what the order's limit allows; what is left rests, or ends if it must not."""
        order = working.order
        liquidity = self._liquidity_of(tick)
        if working.limit is None:
            if not liquidity.last:  # a price that is 0 at four decimals is no price
                self._desk.wait(working)
                return
            working.limit = protection_price(
                order.side, liquidity.last, contract.traded_as, contract.tick_size, order.market_protection
            )
            if order.order_id in self._desk.open:
                self._desk.update_margin(working, contract)
        left = order.quantity - working.filled_quantity
        taken = liquidity.take(order.side, working.limit, left, self._config.slippage, contract.tick_size)
        for part in taken:
            if part.quantity and not self._desk.fill(
                working, contract, part.quantity, part.price, at=tick.timestamp, out=out
            ):
                return
        if working.filled_quantity == order.quantity:
            out.append(self._desk.complete(working, tick.timestamp))
        else:
            self._rest_or_cancel(working, tick, out, report=report or bool(taken))

    def _rest_or_cancel(self, working: PaperOrder, tick: Any, out: list[Event], *, report: bool) -> None:
        """Let what is left of an order rest, or cancel it if it is IOC."""
        if working.order.validity == "IOC":
            what = "the rest is cancelled" if working.filled_quantity else "not marketable at once"
            message = f"validity IOC: {what}"
            out.append(self._desk.end(working, CANCELLED, Code.IOC_NOT_FILLED, message, tick.timestamp))
        else:
            self._desk.rest(working)
            if report:
                out.append(working.update(tick.timestamp))

    # --- a tick arrives ----------------------------------------------------------------------

    def on_tick(self, resting: RestingOrders, tick: Any, out: list[Event]) -> None:
        """Match, trigger and take in the orders of the instrument of `tick`."""
        if not _is_open(resting.hours, tick):
            self._auction(resting, tick, out)
            return
        if resting.is_reached(tick):
            self._match(resting, tick, out)
        if resting.waiting:
            contract = self._desk.contracts.at(tick.instrument_token, tick.timestamp)
            for working in list(resting.arrived(tick.timestamp)):
                self._arrive(working, contract, tick, out)

    def _match(self, resting: RestingOrders, tick: Any, out: list[Event]) -> None:
        """Match resting limits by price and time, then the stops that `tick` triggers."""
        contract = self._desk.contracts.at(tick.instrument_token, tick.timestamp)
        for side in _SIDES:
            self._match_limits(resting, side, contract, tick, out)
        for side in _SIDES:
            for working in list(resting.triggered(side, tick.last_price)):
                if self._trigger(working, contract, tick, out):
                    self._take(working, contract, tick, out)

    def _match_limits(
        self, resting: RestingOrders, side: Side, contract: Contract, tick: Any, out: list[Event]
    ) -> None:
        liquidity = self._liquidity_of(tick)
        unfilled = []
        for working in resting.matched(side, _best(side, tick)):
            assert working.limit is not None
            quantity = liquidity.match(side, working.limit, working.remaining, working.effective)
            if quantity and not self._desk.fill(working, contract, quantity, working.limit, at=tick.timestamp, out=out):
                continue
            if not working.remaining:
                out.append(self._desk.complete(working, tick.timestamp))
                continue
            unfilled.append(working)
            if quantity:
                out.append(self._desk.report(working, tick.timestamp))
            elif tick.last_trade_time is None or working.effective < tick.last_trade_time:
                break  # later ones have a worse price or arrived later; this one counts only if it was there then
        for working in unfilled:
            resting.rest(working)

    def _auction(self, resting: RestingOrders, tick: Any, out: list[Event]) -> None:
        """Match the closing auction: every order that its price reaches is filled at that price."""
        contract = self._desk.contracts.at(tick.instrument_token, tick.timestamp)
        price = price_units(tick.last_price)
        if not price or not _is_auction_match(contract, tick):
            return
        self._enter_auction(resting, contract, tick)
        for side in _SIDES:
            for working in list(resting.matched(side, tick.last_price)):
                if self._desk.fill(working, contract, working.remaining, price, at=tick.timestamp, out=out):
                    out.append(self._desk.complete(working, tick.timestamp))

    @staticmethod
    def _enter_auction(resting: RestingOrders, contract: Contract, tick: Any) -> None:
        """Let the orders that arrived before the match take part in it."""
        matching = contract.auction
        for working in list(resting.arrived(tick.timestamp)):
            if working.limit is None or matching is None or working.effective >= matching.open:
                resting.wait(working)  # too late, or an order of the square-off: for the next session
            else:
                working.set_status(OPEN)
                resting.rest(working)

    def _liquidity_of(self, tick: Any) -> Liquidity:
        """Return what is left of `tick`: one object for all orders that it reaches."""
        known = self._liquidity.get(tick.instrument_token)
        if known is None or known.tick is not tick:
            known = self._liquidity[tick.instrument_token] = Liquidity(tick)
        return known


def _is_open(hours: SessionHours, tick: Any) -> bool:
    """Return whether `tick` lies in a continuous session; compares with the last session before it asks."""
    moment = tick.timestamp
    return hours.open <= moment < hours.close or hours.contains(moment)


def _best(side: Side, tick: Any) -> float:
    """Return the better of the last price and the best price on the other side, for resting orders of `side`."""
    last: float = tick.last_price
    levels = tick.depth and (tick.depth.sell if side == "BUY" else tick.depth.buy)
    if not levels or levels[0].price <= 0:
        return last
    best: float = levels[0].price
    return min(last, best) if side == "BUY" else max(last, best)


def _is_auction_match(contract: Contract, tick: Any) -> bool:
    """Return whether `tick` tells the price of the closing auction."""
    matching = contract.auction
    if matching is None or not matching.open <= tick.timestamp < matching.close:
        return False
    if tick.last_trade_time is not None and tick.last_trade_time < matching.open:
        return False  # it repeats the price of the session
    phases = None if contract.day is None else contract.day.closing_auction
    return phases is not None and not takes_orders(phases[-1])  # the calendar may know no time for the match
