"""Catching up after a restart, so that the same input read twice gives the same books.

Orders that were read back from a journal sleep until the stream has caught up with the last change that was kept,
of any order: ticks from before it have reached them already. They wake on a tick later than that, of those
delivered for this stage; on a line that was not applied before; or once the very line has come again that made the
last change.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from alpha_cli.stages.paper.desk import Desk
from alpha_cli.stages.paper.orders import PaperOrder


class Recovery:
    """Wakes the orders of `desk` that sleep.

    newest  the orders that an earlier run changed last, those that have ended too
    behind  the time of that change while the stream has not caught up with it, else None
    """

    def __init__(self, desk: Desk, newest: Iterable[PaperOrder]) -> None:
        self._desk = desk
        orders = list(newest) or list(desk.open_orders())
        self.behind: datetime | None = max((working.changed for working in orders), default=None)
        last = [working for working in orders if working.changed == self.behind]
        #: Order id -> modify lines to come before the stream has caught up with it; empty if a tick made the change.
        self._to_come: dict[str, int] = {}
        if all(working.changed_by_line for working in last):
            self._to_come = {working.order.order_id: working.modify_lines for working in last}

    def catch_up(self) -> None:
        """Wake all orders: the stream is where an earlier run left it."""
        if self.behind is None:
            return
        self.behind = None
        self._to_come.clear()
        for working in list(self._desk.open_orders()):
            self.wake(working)

    def order_repeated(self, order_id: str) -> None:
        """Note that the line of an order that was applied before has come again."""
        working = self._desk.open.get(order_id)
        if working is not None and working.asleep and working.replayed is None:
            working.replayed = 0
        if self._to_come.get(order_id) == 0:
            self._came(order_id)

    def is_repeated_modify(self, working: PaperOrder) -> bool:
        """Return whether a modify line of `working` is one that was applied before; any other wakes all orders."""
        if working.replayed is None or working.replayed >= working.modify_lines:
            working.replayed = None
            self.catch_up()
            return False
        working.replayed += 1
        order_id = working.order.order_id
        if order_id in self._to_come and working.replayed == working.modify_lines:
            self._came(order_id)
        return True

    def wake(self, working: PaperOrder) -> None:
        """Let an order that sleeps take its place again."""
        if not working.asleep:
            return
        working.asleep = False
        resting = self._desk.resting_at(working.order.instrument_token)
        if working.at_exchange:
            resting.rest(working)
        else:
            resting.wait(working)
            self._desk.update_margin(working)  # only now there may be a price to value it at

    def _came(self, order_id: str) -> None:
        del self._to_come[order_id]
        if not self._to_come:
            self.catch_up()
