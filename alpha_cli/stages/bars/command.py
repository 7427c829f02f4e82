"""`alpha bars`: options and wiring."""

from __future__ import annotations

from datetime import timedelta
from math import isnan

import click

from alpha_cli.cli.options import reads_stdin, stage_options
from alpha_cli.core.events import Tick
from alpha_cli.stream.stage import Options, Stage


@click.command("bars")
@click.option(
    "--interval",
    "intervals",
    multiple=True,
    default=("1m",),
    show_default=True,
    metavar="LENGTH[,LENGTH]…",
    help="30s, 5m, 1h, or 1d for the whole session; may be repeated.",
)
@click.option(
    "--grace",
    type=click.FloatRange(0, 86_400),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="A tick of another instrument closes a bar when it is this many seconds past the bar's end.",
)
@click.option("--all-hours", is_flag=True, help="Use ticks outside trading hours too; a day then ends at midnight.")
@click.option("--partial", is_flag=True, help="Print the unfinished bars at the end of the stream.")
@stage_options(bad="fail")
@click.pass_context
def command(
    ctx: click.Context, intervals: tuple[str, ...], grace: float, *, all_hours: bool, partial: bool, options: Options
) -> Stage:
    """Add bars to the stream: open, high, low, close and volume of each instrument over an interval.

    Bars are counted from the opening of the market, 09:15 in India on most days; the last bar of a day ends at
    its close. A bar is written before the tick that closes it: the next tick of its instrument, or a tick of any
    instrument when the grace period has passed. An interval without ticks has a bar at the last close. The last,
    unfinished bar is left out (counted as `unfinished`). Ticks of days that the calendar does not cover make no
    bars, and the exit code is 78.

    \b
    Example:
        alpha feed | alpha bars --interval 1m,15m | grep '"type":"bar"'
        alpha feed day.ndjson | alpha bars --interval 1d --partial | alpha show
    """
    if isnan(grace):
        raise click.BadParameter("nan is not a time", param_hint="'--grace'")
    reads_stdin(ctx)
    from alpha_cli.market.bars.builder import BarBuilder
    from alpha_cli.market.contracts import Contracts
    from alpha_cli.market.instruments import open_master
    from alpha_cli.stages.bars.config import parse_intervals

    contracts = Contracts(open_master, all_hours=all_hours)
    builder = BarBuilder(
        parse_intervals(intervals), grace=timedelta(seconds=grace), all_hours=all_hours, contracts=contracts
    )
    return Stage(
        "bars",
        {Tick: builder.on_tick},
        options,
        every_tick=True,
        leads=True,
        tick_fields=("volume_traded", "last_traded_quantity"),
        close=builder.finish if partial else list,
        counts=builder.counts,
        verdict=builder.verdict,
    )
