"""`alpha feed`: the options. Ticks come from `synthetic` or from `replay`."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import click

from alpha_cli.cli.options import reads_stdin, stage_options
from alpha_cli.stages.feed.config import (
    OF_REPLAY,
    OF_SYNTHETIC,
    parse_speed,
)
from alpha_cli.stream.stage import Options, Source

if TYPE_CHECKING:
    pass


@click.command()
@stage_options(bad="skip", watched_as="feed")
@click.argument("sources", nargs=-1, metavar="[SOURCE]...", type=click.Path(allow_dash=True))
@click.option("--from", "start", metavar="TIME", help="Start here: a time, a date, or HH:MM on every day.")
@click.option("--to", "end", metavar="TIME", help="Stop before this: as --from.")
@click.option(
    "--speed", default="max", show_default=True, metavar="max|N", help="1 is real time, N is N times as fast."
)
@click.option("--tz", default="Asia/Kolkata", show_default=True, help="Time zone of times without an offset.")
@click.option("--start-time", metavar="TIME", help="Time of the first tick, if it has none.")
@click.option("--types", default="tick,control", show_default=True, help="Recorded event types to replay.")
@click.option("--columns", metavar="A,B,...", help="Columns of CSV files without a header.")
@click.option(
    "--instrument-token",
    metavar="TOKEN|KEY",
    help="Instrument of records without one: its token, or EXCHANGE:SYMBOL.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="synthetic: the seed of the market.")
@click.option("--date", default="2026-01-05", show_default=True, help="synthetic: the day.")
@click.option(
    "--ticks",
    type=click.IntRange(1),
    metavar="N",
    help="synthetic: how many in all.  [default: one a second for each instrument]",
)
@click.option(
    "--instruments",
    default="5",
    show_default=True,
    metavar="N|LIST",
    help="synthetic: how many, or which: tokens, EXCHANGE:SYMBOL, ...",
)
@click.option(
    "--mode",
    type=click.Choice(["ltp", "quote", "full"]),
    default="quote",
    show_default=True,
    help="synthetic: the fields of each tick.",
)
@click.pass_context
def command(ctx: click.Context, /, options: Options, sources: tuple[str, ...], **given: Any) -> Source:
    """Generate ticks, or replay recorded ones.

    SOURCE is `synthetic` (the default), files or folders of .ndjson, .jsonl or .csv (also .gz), or - for
    NDJSON on standard input. Several files are merged by time.

    \b
    Example:
        alpha feed --seed 7 | alpha run-strategy momentum | alpha risk | alpha paper
        alpha feed monday.ndjson.gz --from 09:15 --to 10:00 --speed 10
        alpha feed ticks.csv --columns timestamp,last_price --instrument-token 256265
        alpha feed --instruments NSE:INFY,NSE:RELIANCE | alpha bars
    """
    from alpha_cli.core.time_text import parse_zone
    from alpha_cli.stages.feed.window import Window

    if not sources and not ctx.obj.fused and _has_a_file_for_input():
        raise click.UsageError("standard input is a file; to read it, write: alpha feed - < FILE")
    is_synthetic = sources in {(), ("synthetic",)}
    _refuse(ctx, OF_REPLAY if is_synthetic else OF_SYNTHETIC, is_synthetic=is_synthetic)
    speed, zone = parse_speed(given["speed"]), parse_zone("--tz", given["tz"])
    window = Window(given["start"], given["end"], zone)
    if is_synthetic:
        from alpha_cli.stages.feed.build import SyntheticFeed

        return SyntheticFeed(window, speed, given).source(options)
    if "synthetic" in sources:
        raise click.UsageError("name either synthetic or files, not both")

    from alpha_cli.stages.feed.build import replay_source

    if sources == ("-",):
        reads_stdin(ctx)
    return replay_source(sources, window, speed, zone, given=given, options=options)


def _has_a_file_for_input() -> bool:
    """Return whether stdin is a file: `alpha feed < day.ndjson` is meant to replay it, not to make a market."""
    try:
        found = os.fstat(0)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > 0


def _refuse(ctx: click.Context, names: tuple[str, ...], *, is_synthetic: bool) -> None:
    """Raise `UsageError` for an option of the other kind of source, which would have no effect."""
    for name in names:
        if ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE:
            option = "--" + name.replace("_", "-")
            raise click.UsageError(
                f"{option} is for recorded ticks; name a file" if is_synthetic else f"{option} is for synthetic only"
            )
