"""Events of the broker's day by the time of the stream: square-off, end of a session, settlement, midnight."""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum
from heapq import heappop, heappush
from typing import NamedTuple


class What(IntEnum):
    """The kind of an event; those due at one moment come in this order."""

    CANCEL = 0  # a cancellation reaches the exchange
    SQUARE_OFF = 1  # cancel MIS orders and close MIS positions
    AUCTION = 2  # the closing auction begins: only LIMIT DAY orders go on
    CLOSE = 3  # DAY orders end
    SETTLE = 4  # contracts that expire today are settled
    NIGHT = 5  # the day is over: its contract note


class Due(NamedTuple):
    """One event: when, what, and for what: an exchange and a way of closing, an instrument, or an order."""

    at: datetime
    what: What
    exchange: str = ""
    auctioned: bool = False
    token: int = 0
    order_id: str = ""


class Agenda:
    """Events to come, each once, soonest first."""

    def __init__(self) -> None:
        self._heap: list[Due] = []
        self._known: set[Due] = set()

    def add(self, due: Due) -> None:
        """Add `due`, unless it is there already."""
        if due not in self._known:
            self._known.add(due)
            heappush(self._heap, due)

    @property
    def next(self) -> datetime | None:
        """When the soonest is due; None if there is none."""
        return self._heap[0].at if self._heap else None

    def pop(self, now: datetime) -> Due | None:
        """Remove and return the soonest event that is due by `now`, or return None."""
        if not self._heap or self._heap[0].at > now:
            return None
        due = heappop(self._heap)
        self._known.discard(due)
        return due
