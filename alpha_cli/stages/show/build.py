"""From options to the stage."""

from __future__ import annotations

from collections.abc import Mapping

from alpha_cli.stages.show.engine import SHOWN, Show
from alpha_cli.stream.stage import Flow, Lifecycle, Options, Reads, Stage


class ShowStage(Lifecycle):
    """Prints events as readable columns; only those of `types`, if they are given."""

    def __init__(self, *, colour: bool, types: frozenset[str] | None) -> None:
        self._show = Show(colour=colour, types=types)

    def stage(self, options: Options) -> Stage:
        """Return the stage."""
        reads = Reads(
            dict.fromkeys(SHOWN, self._show.on_event), every_tick=True, tick_fields=("volume_traded", "symbol")
        )
        return Stage("show", reads, flow=Flow(forward=False), lifecycle=self, options=options)

    def counts(self) -> Mapping[str, int]:
        """Return the figures of the closing line."""
        return {"shown": self._show.shown}
