"""Stages made in a line, for tests of the loop and the chain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from alpha_cli.core.events import Event
from alpha_cli.stages.run_strategy.build import RunOptions, RunStrategyStage
from alpha_cli.stages.run_strategy.selection import Selection
from alpha_cli.stream.last_ticks import LastTicks
from alpha_cli.stream.stage import Flow, Lifecycle, Options, Reads, Stage, Step, TickFields


def made_stage(
    name: str,
    steps: Mapping[type[Event], Step],
    *,
    every_tick: bool = False,
    tick_fields: TickFields | Callable[[], TickFields] = (),
    last_ticks: LastTicks | None = None,
    forward: bool = True,
    gates: frozenset[type] = frozenset(),
    before_cause: bool = False,
    session_end: Callable[[], Iterable[Event]] | None = None,
    side_events: Callable[[], Iterable[Event]] | None = None,
) -> Stage:
    """A stage whose life cycle is two functions."""
    lifecycle: Any = Lifecycle()
    if session_end is not None:
        lifecycle.session_end = session_end
    if side_events is not None:
        lifecycle.side_events = side_events
    return Stage(
        name,
        Reads(steps, every_tick=every_tick, tick_fields=tick_fields, last_ticks=last_ticks),
        flow=Flow(forward=forward, gates=gates, before_cause=before_cause),
        lifecycle=lifecycle,
    )


def run_strategy_stage(selection: Selection, options: Options, **given: Any) -> Stage:
    """The stage `run-strategy` of a selection."""
    return RunStrategyStage(selection, RunOptions(**given)).stage(options)
