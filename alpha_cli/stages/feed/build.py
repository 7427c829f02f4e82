"""From options to the source: a synthetic market, or a replay of files or of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, tzinfo
from typing import Any

import click

from alpha_cli.core.errors import NoInput
from alpha_cli.core.time_text import parse_date
from alpha_cli.stages.feed.config import (
    check_ticks,
    parse_columns,
    parse_instrument,
    parse_instruments,
    parse_start_time,
    parse_types,
)
from alpha_cli.stages.feed.window import Selection, Window
from alpha_cli.stream.batch import Batch
from alpha_cli.stream.log import log_line
from alpha_cli.stream.shutdown import Shutdown
from alpha_cli.stream.stage import Lifecycle, Options, Source

_SATURDAY = 5


class SyntheticFeed(Lifecycle):
    """A part of a synthetic market, and how many ticks of it were given."""

    def __init__(self, window: Window, speed: float | None, given: Mapping[str, Any]) -> None:
        from alpha_cli.stages.feed.synthetic import Synthetic

        day = parse_date("--date", given["date"])
        self._market = Synthetic(
            given["seed"],
            day,
            parse_instruments(given["instruments"]),
            check_ticks(given["ticks"]),
            given["mode"],
        )
        self._window = window
        self._selection = Selection(self._market.batches, window, speed)
        _warn_of_weekend(day)

    def source(self, options: Options) -> Source:
        """Return the source."""
        return Source("feed", self._market.description, self._batches, lifecycle=self, options=options)

    def counts(self) -> dict[str, int]:
        """Return the figures of the closing line."""
        return {"ticks": self._selection.lines}

    def _batches(self, shutdown: Shutdown) -> Iterator[Batch]:
        yield from self._selection.batches(shutdown)
        if not self._selection.lines and shutdown.requested is None:
            raise NoInput(self._window.explanation())


def _warn_of_weekend(day: date) -> None:
    """Say that the exchanges are closed on `day`: the stages after this one use no tick outside trading hours."""
    if day.weekday() >= _SATURDAY:
        log_line(f"alpha feed: {day} is a {day:%A}: its ticks are outside trading hours (--date names another day)")


def replay_source(
    sources: tuple[str, ...],
    window: Window,
    speed: float | None,
    zone: tzinfo,
    *,
    given: Mapping[str, Any],
    options: Options,
) -> Source:
    """Return the replay of the recordings `sources`. Raise `NoInput` for what is not there."""
    from alpha_cli.stages.feed.files import find, is_stream
    from alpha_cli.stages.feed.replay import Replay

    streams = [source for source in sources if is_stream(source)]
    if streams and len(sources) > 1:
        raise click.UsageError(f"{streams[0]} cannot be merged with others; give it alone")
    files = [] if streams else find(sources)
    replay = Replay(
        files=files,
        stream=streams[0] if streams else "-",
        implied=given["implied"],
        bad=options.bad,
        types=parse_types(given["types"]),
        window=window,
        speed=speed,
        zone=zone,
        start_time=parse_start_time(given["start_time"], zone),
        default_token=parse_instrument(given["instrument_token"]),
        columns=parse_columns(given["columns"], files),
    )
    return Source("feed", replay.description, replay.batches, lifecycle=replay, options=options)
