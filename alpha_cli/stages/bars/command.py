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
    help="30s, 5m, 1h, or 1d for the whole session; may be repeated. One given twice counts once.",
)
@click.option(
    "--grace",
    type=click.FloatRange(0, 86_400),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How far past a bar's end the ticks of other instruments close it.",
)
@click.option("--all-hours", is_flag=True, help="Also ticks outside the continuous session; a day ends at midnight.")
@click.option("--partial", is_flag=True, help="At the end of a session, the unfinished bars as they are.")
@stage_options(bad="fail")
@click.pass_context
def command(
    ctx: click.Context, intervals: tuple[str, ...], grace: float, *, all_hours: bool, partial: bool, options: Options
) -> Stage:
    """Add bars to the stream: open, high, low, close and volume of each instrument over an interval.

    Bars count from the opening of the market, 09:15 in India on most days; the last of a day ends at its
    close. A bar stands before the tick that closed it: the next of its instrument, or any from SECONDS past
    its end. An interval without ticks has a bar at the last close. A bar that nothing closed is left out, and
    counted. Ticks of days that the calendar does not cover pass without bars, and the end is 78.

    \b
    Example:
        alpha feed | alpha bars --interval 1m,15m | grep '"type":"bar"'
        alpha feed day.ndjson | alpha bars --interval 1d --partial | alpha show
    """
    if isnan(grace):
        raise click.BadParameter("nan is not a time", param_hint="'--grace'")
    reads_stdin(ctx)
    from alpha_cli.market.contracts import Contracts
    from alpha_cli.market.instruments import open_master
    from alpha_cli.stages.bars.config import parse_intervals
    from alpha_cli.stages.bars.engine import BarBuilder

    venue = Contracts(open_master, all_hours=all_hours)
    builder = BarBuilder(parse_intervals(intervals), grace=timedelta(seconds=grace), all_hours=all_hours, venue=venue)
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
