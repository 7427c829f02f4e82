"""`--from`, `--to` and `--speed`: the part of a feed, by event time, and the speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, time, tzinfo

from alpha_cli.core.errors import UsageError
from alpha_cli.core.time_text import FIRST_YEAR, LAST_YEAR, parse_bound
from alpha_cli.core.times import EPOCH
from alpha_cli.stages.feed.merge import own_time
from alpha_cli.stages.feed.reader import joined
from alpha_cli.stream.batch import Batch
from alpha_cli.stream.shutdown import Shutdown


class Window:
    """Times from `start`, inclusive, to `end`, exclusive. A time of day applies to every day, in `zone`."""

    def __init__(self, start: str | None, end: str | None, zone: tzinfo) -> None:
        self._start = parse_bound("--from", start, zone) if start else None
        self._end = parse_bound("--to", end, zone) if end else None
        self._zone = zone
        self.outside = 0
        self._times: tuple[datetime, datetime] | None = None  # the first and the last outside
        first, last = self._start, self._end
        if first is not None and type(first) is type(last) and not first < last:  # type: ignore[operator]
            raise UsageError(f"--from {start} is not before --to {end}; nothing would be left")

    def __bool__(self) -> bool:
        return self._start is not None or self._end is not None

    def explanation(self) -> str:
        """Return why nothing was left: the times that came."""
        if self._times is None:
            return "nothing is left: no event came"
        first, last = (moment.astimezone(self._zone).isoformat(sep=" ", timespec="seconds") for moment in self._times)
        return f"nothing lies within --from and --to: the {self.outside} events are from {first} to {last}"

    def __contains__(self, moment: datetime) -> bool:
        if not FIRST_YEAR <= moment.year <= LAST_YEAR:  # in another zone it may be out of the range of dates
            return False
        clock = moment.astimezone(self._zone).time()
        if self._start is not None and (clock if isinstance(self._start, time) else moment) < self._start:  # type: ignore[operator]
            return False
        return self._end is None or (clock if isinstance(self._end, time) else moment) < self._end  # type: ignore[operator]

    def cut(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield `batches` without the lines outside. A line without a time goes with the line before it."""
        last = None
        for batch in batches:
            kept = []
            for index, event in enumerate(batch.events or ()):
                last = own_time(event) or last or EPOCH
                if last is EPOCH or last in self:
                    kept.append(index)
                else:
                    self._times = (self._times[0] if self._times else last, last)
            self.outside += len(batch.lines) - len(kept)
            if len(kept) == len(batch.lines):
                yield batch
            elif kept:
                events = batch.events or []
                yield joined([batch.lines[index] for index in kept], [events[index] for index in kept])


class Selection:
    """The part of `source` inside `window`, at `speed` times the market's (None for no pause); `lines` counts it."""

    def __init__(self, source: Callable[[Shutdown], Iterator[Batch]], window: Window, speed: float | None) -> None:
        self._source = source
        self._window = window
        self._speed = speed
        self.lines = 0

    def batches(self, shutdown: Shutdown) -> Iterator[Batch]:
        """Yield the batches until there are no more or `shutdown` asks to stop."""
        batches = self._source(shutdown)
        if self._window:
            batches = self._window.cut(batches)
        if self._speed is not None:
            from alpha_cli.stages.feed.pace import paced

            batches = paced(batches, self._speed, shutdown)
        for batch in batches:
            self.lines += len(batch.lines)
            yield batch
