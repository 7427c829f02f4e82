"""From options to the stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from alpha_cli.core.errors import AlphaError
from alpha_cli.core.events import Event, Tick
from alpha_cli.market.bars.builder import BarBuilder
from alpha_cli.market.contracts import Contracts
from alpha_cli.market.instruments import open_master
from alpha_cli.stages.bars.config import parse_intervals
from alpha_cli.stream.stage import Flow, Lifecycle, Options, Reads, Stage


class BarsStage(Lifecycle):
    """Builds bars of `intervals`; a bar is closed `grace` past its end. With `partial`, unfinished bars are given."""

    def __init__(self, intervals: Iterable[str], grace: timedelta, *, all_hours: bool, partial: bool) -> None:
        contracts = Contracts(open_master, all_hours=all_hours)
        self._builder = BarBuilder(parse_intervals(intervals), grace=grace, all_hours=all_hours, contracts=contracts)
        self._partial = partial

    def stage(self, options: Options) -> Stage:
        """Return the stage."""
        reads = Reads(
            {Tick: self._builder.on_tick}, every_tick=True, tick_fields=("volume_traded", "last_traded_quantity")
        )
        return Stage("bars", reads, flow=Flow(before_cause=True), lifecycle=self, options=options)

    def session_end(self) -> Iterable[Event]:
        """Return the unfinished bars, if they are wanted."""
        return self._builder.finish() if self._partial else ()

    def counts(self) -> Mapping[str, int]:
        """Return the figures of the closing line."""
        return self._builder.counts()

    def verdict(self) -> AlphaError | None:
        """Return that there were days without a calendar, if there were."""
        return self._builder.verdict()
