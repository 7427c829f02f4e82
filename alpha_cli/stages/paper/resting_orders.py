"""The working orders of one instrument, so that a tick costs the same however many rest far from it.

Each kind stands in a heap with the order that a tick reaches first on top: limits by price and time,
stops by trigger and time, those still under way by the time they arrive. An order that ended or was
modified leaves its old entry behind, which is dropped when it comes to the top.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

from alpha_cli.core.events import Side
from alpha_cli.core.money import UNITS
from alpha_cli.core.order_states import TERMINAL
from alpha_cli.stages.paper.orders import PaperOrder

if TYPE_CHECKING:
    from alpha_cli.market.calendar import SessionHours

#: (key, priority, order): the smallest key is reached first. Keys are prices in rupees as floats, the very
#: floats that a tick has for the same price; those of bids are negative.
Entry = tuple[float, int, PaperOrder]
Heap = list[Entry]

#: A heap is cleared of stale entries at each doubling beyond this size.
_FEW = 64


class RestingOrders:
    """The orders at the exchange for one instrument, and those on their way; `hours` are its sessions."""

    def __init__(self, hours: SessionHours) -> None:
        self.hours = hours
        self.limits: dict[Side, Heap] = {"BUY": [], "SELL": []}
        self.stops: dict[Side, Heap] = {"BUY": [], "SELL": []}
        self.waiting: list[tuple[datetime, int, PaperOrder]] = []  # for a tick that is not older than they are
        self.orders = 0  # number of orders, those asleep included

    def wait(self, order: PaperOrder) -> None:
        """Keep `order` until a tick can reach it."""
        heappush(self.waiting, (order.effective, order.priority, order))

    def rest(self, order: PaperOrder) -> None:
        """Let `order` rest at its limit, or at its trigger if it has one."""
        side = order.order.side
        if order.trigger is not None:  # a stop to buy is reached from below
            key = order.trigger / UNITS
            _push(self.stops[side], (key if side == "BUY" else -key, order.priority, order))
        else:
            assert order.limit is not None
            key = order.limit / UNITS
            _push(self.limits[side], (-key if side == "BUY" else key, order.priority, order))

    def is_reached(self, tick: Any) -> bool:
        """Return whether `tick` could match or trigger an order. Cheap: called for every tick."""
        last = tick.last_price
        bid = ask = last
        depth = tick.depth
        if depth is not None:  # the better of the two: a trade may have gone beyond the best level
            if depth.sell and 0 < depth.sell[0].price < ask:
                ask = depth.sell[0].price
            if depth.buy and depth.buy[0].price > bid:
                bid = depth.buy[0].price
        limits, stops = self.limits, self.stops
        return bool(
            (limits["BUY"] and ask <= -limits["BUY"][0][0])
            or (limits["SELL"] and bid >= limits["SELL"][0][0])
            or (stops["BUY"] and last >= stops["BUY"][0][0])
            or (stops["SELL"] and last <= -stops["SELL"][0][0])
        )

    def matched(self, side: Side, price: float) -> Iterator[PaperOrder]:
        """Yield the orders at limits that a market at `price` matches, best price first and then the oldest.

        They leave their heap; `rest` puts those back that have something left.
        """
        heap = self.limits[side]
        bound = -price if side == "BUY" else price
        while heap and heap[0][0] <= bound:
            entry = heappop(heap)
            if _is_current(entry):
                yield entry[2]

    def triggered(self, side: Side, last: float) -> Iterator[PaperOrder]:
        """Yield the stops that a trade at `last` triggers, in the order in which the price reached them."""
        heap = self.stops[side]
        bound = last if side == "BUY" else -last
        while heap and heap[0][0] <= bound:
            entry = heappop(heap)
            if _is_current(entry) and entry[2].trigger is not None:
                yield entry[2]

    def arrived(self, now: datetime) -> Iterator[PaperOrder]:
        """Yield the orders that reached the exchange by `now`, in the order in which they did."""
        while self.waiting and self.waiting[0][0] <= now:
            _, priority, order = heappop(self.waiting)
            if order.status not in TERMINAL and order.priority == priority:
                yield order


def _push(heap: Heap, entry: Entry) -> None:
    heappush(heap, entry)
    if len(heap) > _FEW and len(heap) & (len(heap) - 1) == 0:  # at each doubling, so that it costs little
        heap[:] = [entry for entry in heap if _is_current(entry)]
        heapify(heap)


def _is_current(entry: Entry) -> bool:
    """Return whether the order has neither ended nor been modified since this entry was made."""
    return entry[1] == entry[2].priority and entry[2].status not in TERMINAL
