"""Several recordings merged into one stream by time.

The merge is stable: at the same instant the file named first comes first, and each file keeps its own order.
Files that follow one another, as a folder of days, pass as whole batches.
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


def own_time(event: Any) -> datetime | None:
    """Return the time on `event`; None if it has none."""
    moment: datetime | None = getattr(event, "timestamp", None) or getattr(event, "start", None)
    return moment


def moment_of(event: Any, before: datetime) -> datetime:
    """Return the time of `event`; `before`, the time of the previous event, if it has none or an impossible one.

    Ticks in wire form are not checked earlier: the year 9999 must not block a merge or a paced replay.
    """
    moment = own_time(event)
    return moment if moment is not None and FIRST_YEAR <= moment.year <= LAST_YEAR else before


class _Cursor:
    """The position in one recording: the current batch, its times, and the next line of it."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self._last = EPOCH
        self.batch: Batch
        self.times: list[datetime]
        self.place = 0

    def load(self) -> bool:
        """Take the next batch and return True; False at the end."""
        batch = next(self._batches, None)
        if batch is None:
            return False
        self.batch, self.place, self.times = batch, 0, []
        for event in batch.events or ():
            self._last = moment_of(event, self._last)
            self.times.append(self._last)
        return True


def merge(streams: Sequence[tuple[Iterator[Batch], Callable[[], object]]]) -> Iterator[Batch]:
    """Yield the batches of all `streams` by time. Each stream comes with a function that closes it for a while."""
    out = _Gathered()
    try:
        heap = _first_lines(streams)
        while heap:
            _, order, cursor = heapq.heappop(heap)
            end = _end_of_run(cursor, order, heap[0][:2] if heap else None)
            if cursor.place == 0 and end == len(cursor.times):
                yield from out.take()
                yield cursor.batch
            else:
                out.add(cursor.batch, cursor.place, end)
                if out.size >= _MAX_BYTES:
                    yield from out.take()
            cursor.place = end
            if end < len(cursor.times) or cursor.load():
                heapq.heappush(heap, (cursor.times[cursor.place], order, cursor))
    except AlphaError:
        yield from out.take()
        raise
    yield from out.take()


def _first_lines(
    streams: Sequence[tuple[Iterator[Batch], Callable[[], object]]],
) -> list[tuple[datetime, int, _Cursor]]:
    """Return a heap of the first line of each stream: its time, the order of the stream, and the cursor."""
    heap: list[tuple[datetime, int, _Cursor]] = []
    for order, (batches, suspend) in enumerate(streams):
        cursor = _Cursor(batches)
        if cursor.load():
            heap.append((cursor.times[0], order, cursor))
        suspend()
    heapq.heapify(heap)
    return heap


def _end_of_run(cursor: _Cursor, order: int, rival: tuple[datetime, int] | None) -> int:
    """Return the end of the cursor's lines that come before the next line of any other stream."""
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
    """Lines of several files for the next batch."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self.size = 0
        self._events: list[Any] = []

    def add(self, batch: Batch, start: int, end: int) -> None:
        """Append the lines from `start` to `end` of `batch`."""
        lines = batch.lines[start:end]
        self._lines += lines
        self._events += (batch.events or [])[start:end]
        self.size += sum(map(len, lines)) + len(lines)

    def take(self) -> Iterator[Batch]:
        """Yield the lines so far as one batch, if there are any, and start a new one."""
        if self._lines:
            batch = joined(self._lines, self._events)
            self._lines, self._events, self.size = [], [], 0
            yield batch
