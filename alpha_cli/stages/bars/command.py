"""`alpha bars` on the command line."""

from __future__ import annotations

from datetime import timedelta
from math import isnan

import click

from alpha_cli.cli.options import reads_stdin, stage_options
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
@click.option("--all-hours", is_flag=True, help="Use ticks outside trading hours too; a day ends at midnight.")
@click.option("--partial", is_flag=True, help="Write the unfinished bars at the end of a session.")
@stage_options(bad="fail", watched_as="bars")
@click.pass_context
def command(
    ctx: click.Context, intervals: tuple[str, ...], grace: float, *, all_hours: bool, partial: bool, options: Options
) -> Stage:
    """Add bars to the stream: open, high, low, close and volume of each instrument over an interval.

    Bars are counted from the opening of the market, 09:15 in India on most days; the last bar of a day ends at
    the close. A bar is written before the tick that closed it: the next tick of its instrument, or any tick that is
    SECONDS past its end. An interval without ticks gives a bar at the last close. The last, unfinished bar is left
    out (counted as unfinished). Ticks of days that the calendar does not cover pass without bars, and the exit code
    is 78.

    \b
    Example:
        alpha feed | alpha bars --interval 1m,15m | grep '"type":"bar"'
        alpha feed day.ndjson | alpha bars --interval 1d --partial | alpha show
    """
    if isnan(grace):
        raise click.BadParameter("nan is not a time", param_hint="'--grace'")
    reads_stdin(ctx)
    from alpha_cli.stages.bars.build import BarsStage

    return BarsStage(intervals, timedelta(seconds=grace), all_hours=all_hours, partial=partial).stage(options)
