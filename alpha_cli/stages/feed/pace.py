"""`--speed`: a replay at the speed of the market, or N times as fast.

This is the only place in the feed that reads a clock, and only to wait: the output does not depend on it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

from alpha_cli.core.times import EPOCH
from alpha_cli.stages.feed.merge import moment_of
from alpha_cli.stages.feed.reader import joined
from alpha_cli.stream.batch import Batch
from alpha_cli.stream.shutdown import Shutdown


def paced(batches: Iterator[Batch], speed: float, shutdown: Shutdown) -> Iterator[Batch]:
    """Yield each line when it is due, counted from the first; lines that are due together go together."""
    started = 0.0
    first: datetime | None = None
    last = EPOCH
    for batch in batches:
        events = batch.events or []
        start = 0
        for index, event in enumerate(events):
            last = moment_of(event, last)
            if first is None and last is not EPOCH:
                first, started = last, time.monotonic()
            due = started if first is None else started + (last - first).total_seconds() / speed
            if due > time.monotonic():
                if index > start:
                    yield joined(batch.lines[start:index], events[start:index])
                    start = index
                while (left := due - time.monotonic()) > 0 and shutdown.requested is None:
                    if shutdown.wait(min(left, 3600.0)):  # a side input fired
                        yield Batch(b"", [], [])
                if shutdown.requested is not None:
                    return
        yield joined(batch.lines[start:], events[start:])
