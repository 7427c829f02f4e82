"""What the broker does by the clock of the stream: squaring off, the end of a session, settlement, the night."""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum
from heapq import heappop, heappush
from typing import NamedTuple

#: One moment in the zone of Indian time; the loop compares ticks with it.
Moment = datetime


class What(IntEnum):
    """What is to be done; of those due at one moment, in this order."""

    CANCEL = 0  # a cancellation reaches the exchange
    SQUARE_OFF = 1  # cancel MIS orders and close MIS positions
    AUCTION = 2  # the closing auction begins: only LIMIT DAY orders go on
    CLOSE = 3  # DAY orders end
    SETTLE = 4  # contracts that expire today are settled
    NIGHT = 5  # the day is over: its contract note


class Due(NamedTuple):
    """One thing to do: when, what, and for what: an exchange and a way of closing, an instrument, or an order."""

    at: Moment
    what: What
    exchange: str = ""
    auctioned: bool = False
    token: int = 0
    order_id: str = ""


class Agenda:
    """Things to do, each once, soonest first."""

    def __init__(self) -> None:
        self._heap: list[Due] = []
        self._known: set[Due] = set()

    def add(self, due: Due) -> None:
        """Remember `due`, unless it is remembered already."""
        if due not in self._known:
            self._known.add(due)
            heappush(self._heap, due)

    @property
    def next(self) -> Moment | None:
        """When the soonest is due; None if there is nothing to do."""
        return self._heap[0].at if self._heap else None

    def pop(self, now: datetime) -> Due | None:
        """The soonest that is due by `now`, or None."""
        if not self._heap or self._heap[0].at > now:
            return None
        due = heappop(self._heap)
        self._known.discard(due)
        return due
