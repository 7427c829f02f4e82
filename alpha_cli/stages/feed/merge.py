"""Several recordings as one stream in the order of time, between the readers and what selects and paces.

Stable: at the same instant the file named first comes first, and within a file its own order stays.
Files that follow one another, as a folder of days does, pass as whole batches.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from alpha_cli.core.errors import AlphaError
from alpha_cli.core.time_text import FIRST_YEAR, LAST_YEAR
from alpha_cli.core.times import EPOCH
from alpha_cli.stages.feed.reader import joined
from alpha_cli.stream.batch import Batch

_MAX_BYTES = 1 << 16


def said_of(event: Any) -> datetime | None:
    """The time that `event` says of itself."""
    moment: datetime | None = getattr(event, "timestamp", None) or getattr(event, "start", None)
    return moment


def moment_of(event: Any, before: datetime) -> datetime:
    """When `event` happened; `before`, the time of the one before it, if it does not say, or says nonsense.

    Ticks in wire form come here unseen: a time in the year 9999 must hold up neither a merge nor a paced replay.
    """
    moment = said_of(event)
    return moment if moment is not None and FIRST_YEAR <= moment.year <= LAST_YEAR else before


class _Cursor:
    """How far one recording is merged: the batch at hand, its times, and the place in it."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self._last = EPOCH
        self.batch: Batch
        self.times: list[datetime]
        self.place = 0

    def load(self) -> bool:
        """Take the next batch; False at the end."""
        batch = next(self._batches, None)
        if batch is None:
            return False
        self.batch, self.place, self.times = batch, 0, []
        for event in batch.events or ():
            self._last = moment_of(event, self._last)
            self.times.append(self._last)
        return True


def merge(streams: Sequence[tuple[Iterator[Batch], Callable[[], object]]]) -> Iterator[Batch]:
    """The batches of all `streams` by time. A stream comes with what puts it aside until its turn."""
    out = _Gathered()
    try:
        heap: list[tuple[datetime, int, _Cursor]] = []
        for order, (batches, put_aside) in enumerate(streams):
            cursor = _Cursor(batches)
            if cursor.load():
                heap.append((cursor.times[0], order, cursor))
            put_aside()
        heapq.heapify(heap)
        while heap:
            _, order, cursor = heapq.heappop(heap)
            end = _end_of_run(cursor, order, heap[0][:2] if heap else None)
            if cursor.place == 0 and end == len(cursor.times):
                if out.lines:
                    yield out.take()
                yield cursor.batch
            else:
                out.add(cursor.batch, cursor.place, end)
                if out.size >= _MAX_BYTES:
                    yield out.take()
            cursor.place = end
            if end < len(cursor.times) or cursor.load():
                heapq.heappush(heap, (cursor.times[cursor.place], order, cursor))
    except AlphaError:
        if out.lines:
            yield out.take()
        raise
    if out.lines:
        yield out.take()


def _end_of_run(cursor: _Cursor, order: int, rival: tuple[datetime, int] | None) -> int:
    """Up to where the cursor's lines come before the next line of any other stream."""
    times, place = cursor.times, cursor.place + 1
    if rival is None:
        return len(times)
    rival_time, rival_order = rival
    if order < rival_order:
        while place < len(times) and times[place] <= rival_time:
            place += 1
    else:
        while place < len(times) and times[place] < rival_time:
            place += 1
    return place


class _Gathered:
    """Lines of several files on their way into one batch."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.size = 0
        self._events: list[Any] = []

    def add(self, batch: Batch, start: int, end: int) -> None:
        lines = batch.lines[start:end]
        self.lines += lines
        self._events += (batch.events or [])[start:end]
        self.size += sum(map(len, lines)) + len(lines)

    def take(self) -> Batch:
        batch = joined(self.lines, self._events)
        self.lines, self._events, self.size = [], [], 0
        return batch
