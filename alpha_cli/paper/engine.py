"""The simulated broker: pure steps from an order, a cancel, a modify or a tick to fills and updates.

MARKET fills at once on the newest tick. LIMIT does so if that tick is at or through its price; else it
rests and fills at its own price on the first tick that trades there. Only instruments with a resting
order have their ticks delivered (`Market.watch`).

A resting order that was read back from a journal sleeps until the stream has caught up with it, so
that the same input read twice gives the same books: it wakes on a tick later than its last change, or
once its own line and the lines that modified it have come by again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from alpha_cli.events import Cancel, Event, Fill, Modify, Order, Tick, encode
from alpha_cli.ids import derive_id
from alpha_cli.market import Market
from alpha_cli.paper.ledger import ZERO, Account, Unbookable, plain
from alpha_cli.paper.orders import (
    CANCELLED,
    COMPLETE,
    OPEN,
    REJECTED,
    Journal,
    Memory,
    PaperOrder,
    fault_of,
    in_india,
    modified,
    reaches,
)  # fmt: skip
from alpha_cli.paper.statement import statement
from alpha_cli.wire import MAX_LINE, rupees

#: Characters of someone's reason that an update repeats; the whole could be too long for its line.
_REASON = 500


class Engine:
    """Fills the orders of one `account` against the ticks of `market`.

    journal  told of every change, asked what was applied before
    resting  open orders of earlier runs, in the order of their arrival
    """

    def __init__(
        self, account: Account, market: Market, journal: Journal | None = None, resting: Iterable[PaperOrder] = ()
    ) -> None:
        self.account = account
        self._market = market
        self._journal: Journal = journal or Memory()
        self._open: dict[str, PaperOrder] = {}
        self._resting: dict[int, dict[str, PaperOrder]] = {}  # token -> order id -> order, in order of arrival
        self._counts = dict.fromkeys(("orders", "fills", "refused", "repeated", "unknown", "other_brokers"), 0)
        for working in resting:
            self._rest(working)

    @property
    def steps(self) -> Mapping[type[Event], Callable[[Any], Iterable[Event]]]:
        """Type of event -> the step for it, as `Stage` wants them."""
        return {Order: self.on_order, Cancel: self.on_cancel, Modify: self.on_modify, Tick: self.on_tick}

    def counts(self) -> Mapping[str, int]:
        """Figures of this run; `unknown` counts cancels and modifies of orders that are not open here."""
        return self._counts | {"open": len(self._open)}

    # --- the steps ---------------------------------------------------------------------------

    def on_order(self, order: Order) -> list[Event]:
        """Fill, rest or reject a new order; one that was applied before changes nothing.

        Nor does another order for a signal that was, unless it names its parent: a slice of that signal.
        """
        if order.broker != self.account.broker:
            self._counts["other_brokers"] += 1
            return []
        if self._journal.knows_order(order.order_id):
            self._counts["repeated"] += 1
            self._seen_again(order.order_id)
            return []
        if order.parent_order_id is None and self._journal.knows_signal(order.signal_id):
            self._counts["repeated"] += 1
            return []
        self._counts["orders"] += 1
        arrived = self._market.now or order.timestamp
        working = PaperOrder(order, arrived, arrived)
        refusal = self._refusal(order)
        return [self._end(working, REJECTED, refusal, arrived)] if refusal else self._place(working)

    def on_cancel(self, cancel: Cancel) -> list[Event]:
        """Cancel a resting order."""
        working = self._open.get(cancel.order_id)
        if working is None:
            self._counts["unknown"] += 1
            return []
        now = self._market.now or cancel.timestamp or working.changed
        return [self._end(working, CANCELLED, (cancel.reason or "cancelled on request")[:_REASON], now)]

    def on_modify(self, modify: Modify) -> list[Event]:
        """Change a resting order; it fills at once if that makes it marketable."""
        working = self._open.get(modify.order_id)
        if working is None:
            self._counts["unknown"] += 1
            return []
        now = self._market.now or modify.timestamp or working.changed
        fault = fault_of(modify)
        if fault:
            self._counts["refused"] += 1
            working.message = f"not modified: {fault}"
            return [working.update(now)]
        if working.asleep and working.replayed is not None:
            self._counts["repeated"] += 1
            working.replayed += 1
            working.asleep = working.replayed < working.modifications
            return []
        working.order = modified(working.order, modify)
        working.modifications += 1
        working.changed = now
        working.asleep = False
        working.message = (modify.reason or "modified")[:_REASON]
        return self._filled_at_once(working) or [self._noted(working, now)]

    def on_tick(self, tick: Tick) -> list[Event]:
        """Fill the resting orders that `tick` reaches, in order of arrival; end those of an earlier day."""
        out: list[Event] = []
        for working in list(self._resting.get(tick.instrument_token, {}).values()):
            if working.asleep and tick.timestamp <= working.changed:
                continue
            working.asleep = False
            order = working.order
            if order.validity == "DAY" and in_india(tick.timestamp).date() > in_india(working.arrived).date():
                out.append(self._end(working, CANCELLED, "validity DAY: the day is over", tick.timestamp))
            elif rupees(tick.last_price) and reaches(order, rupees(tick.last_price)):
                price = order.price if order.order_type == "LIMIT" and order.price else rupees(tick.last_price)
                out += self._fill(working, price, tick.timestamp)
        return out

    def opening(self) -> list[Event]:
        """What the account begins with, for strategies that are told of fills."""
        return [statement(self.account, None)]

    def close(self) -> list[Event]:
        """The closing `portfolio`, positions sorted by instrument and product.

        Each is valued at the newest tick of its instrument, or at the last price known from earlier.
        Flat ones stay listed, so that their realised P&L adds up to the account's. Raises
        `InvariantBroken` if the books do not balance.
        """
        account = self.account
        for position in account.positions.values():
            tick = self._market.last(position.instrument_token)
            if tick is not None:
                position.last_price = rupees(tick.last_price)
        account.check()
        portfolio = statement(account, self._market.now)
        self._journal.portfolio(portfolio, account)
        return [portfolio]

    # --- the life of an order ----------------------------------------------------------------

    def _refusal(self, order: Order) -> str | None:
        """Why `order` cannot be taken, whatever the books are, or None."""
        if order.order_type in {"SL", "SL-M"}:
            return f"{order.order_type} orders are not simulated yet; use MARKET or LIMIT"
        if order.order_type == "LIMIT" and (order.price is None or order.price <= 0):
            return "a LIMIT order needs a price above 0"
        tick = self._market.last(order.instrument_token)
        if order.order_type == "MARKET" and (tick is None or not rupees(tick.last_price)):
            return f"no price: no tick of instrument {order.instrument_token} came before the order; feed its ticks too"
        return None

    def _place(self, working: PaperOrder) -> list[Event]:
        filled = self._filled_at_once(working)
        if filled:
            return filled
        if working.order.validity == "IOC":
            return [self._end(working, CANCELLED, "validity IOC: not marketable at once", working.arrived)]
        self._rest(working)
        return [self._noted(working, working.arrived)]

    def _filled_at_once(self, working: PaperOrder) -> list[Event]:
        """The fill on the newest tick, at its price, if there is one and it is good enough."""
        tick = self._market.last(working.order.instrument_token)
        price = ZERO if tick is None else rupees(tick.last_price)
        if tick is None or not price or not reaches(working.order, price):
            return []  # a price that is nothing at four decimals is no price
        return self._fill(working, price, tick.timestamp)

    def _fill(self, working: PaperOrder, price: Decimal, timestamp: datetime) -> list[Event]:
        """Fill the whole order at `price` rupees a unit, or reject it if the books cannot hold it."""
        order = working.order
        fill = Fill(
            fill_id=derive_id("fill", order.order_id, 1),
            order_id=order.order_id,
            signal_id=order.signal_id,
            strategy_id=order.strategy_id,
            broker=order.broker,
            instrument_token=order.instrument_token,
            side=order.side,
            quantity=order.quantity,
            price=plain(price),
            charges=charges_of(order, price),
            timestamp=timestamp,
            product=order.product,
            confidence=order.confidence,
            metadata=order.metadata,
        )
        if order.metadata and len(encode(fill)) > MAX_LINE:
            return [self._end(working, REJECTED, "its metadata is too long for the line of a fill", timestamp)]
        key = (order.instrument_token, order.product)
        try:
            self.account.apply(key, order.side, order.quantity, fill.price, fill.charges["total"])
        except Unbookable as fault:
            return [self._end(working, REJECTED, str(fault), timestamp)]
        self._counts["fills"] += 1
        working.filled_quantity = fill.quantity
        working.average_price = fill.price
        update = self._end(working, COMPLETE, None, timestamp)
        self._journal.fill(fill, self.account)
        return [fill, update]

    def _end(self, working: PaperOrder, status: str, message: str | None, timestamp: datetime) -> Event:
        """The order is finished; the update that says so."""
        self._counts["refused"] += status == REJECTED
        working.status = status
        working.message = message
        order = working.order
        if self._open.pop(order.order_id, None) is not None:
            resting = self._resting[order.instrument_token]
            del resting[order.order_id]
            if not resting:
                del self._resting[order.instrument_token]
            self._market.unwatch(order.instrument_token)
        return self._noted(working, timestamp)

    def _rest(self, working: PaperOrder) -> None:
        working.status = OPEN
        order = working.order
        self._open[order.order_id] = working
        self._resting.setdefault(order.instrument_token, {})[order.order_id] = working
        self._market.watch(order.instrument_token)

    def _noted(self, working: PaperOrder, timestamp: datetime) -> Event:
        self._journal.order(working)
        return working.update(timestamp)

    def _seen_again(self, order_id: str) -> None:
        working = self._open.get(order_id)
        if working is not None and working.asleep:
            working.replayed = 0
            working.asleep = working.modifications > 0


def charges_of(order: Order, price: Decimal) -> dict[str, Decimal]:
    """Rupees by charge, with their `total`, for `order` filled at `price`: none so far."""
    del order, price
    return {"total": ZERO}
