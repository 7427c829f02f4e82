"""`alpha feed`: the options. Ticks come from `synthetic` or from `replay`."""

from __future__ import annotations

import os
import stat
from typing import Any

import click

from alpha_cli.cli.options import reads_stdin, stage_options
from alpha_cli.stages.feed.config import (
    OF_REPLAY,
    OF_SYNTHETIC,
    parse_speed,
)
from alpha_cli.stream.stage import Options, Source


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

    SOURCE is `synthetic`, files or folders of .ndjson, .jsonl or .csv (also .gz), or - for NDJSON on
    standard input. Several files are merged by time. Without SOURCE, a pipe or file on standard input is
    read; from a terminal, or with an option of the synthetic market, that is made.

    \b
    Example:
        alpha feed --seed 7 | alpha run-strategy momentum | alpha risk | alpha paper
        alpha feed monday.ndjson.gz --from 09:15 --to 10:00 --speed 10
        zcat monday.ndjson.gz | alpha feed
        alpha feed ticks.csv --columns timestamp,last_price --instrument-token 256265
        alpha feed --instruments NSE:INFY,NSE:RELIANCE | alpha bars
    """
    from alpha_cli.core.time_text import parse_zone
    from alpha_cli.stages.feed.window import Window

    implied = not sources and not _names_synthetic(ctx) and _has_input()
    if implied:
        sources = ("-",)
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
    return replay_source(sources, window, speed, zone, given={**given, "implied": implied}, options=options)


def _names_synthetic(ctx: click.Context) -> bool:
    """Return whether an option of the synthetic market is given: that asks for it as `synthetic` does."""
    return any(ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE for name in OF_SYNTHETIC)


def _has_input() -> bool:
    """Return whether something is joined to standard input: a pipe, a file or a socket, but no terminal or /dev/null.

    `zcat day.ndjson.gz | alpha feed` is meant to replay that day, not to make a market.
    """
    try:
        return not stat.S_ISCHR(os.fstat(0).st_mode)
    except OSError:  # closed
        return False


def _refuse(ctx: click.Context, names: tuple[str, ...], *, is_synthetic: bool) -> None:
    """Raise `UsageError` for an option of the other kind of source, which would have no effect."""
    for name in names:
        if ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE:
            option = "--" + name.replace("_", "-")
            raise click.UsageError(
                f"{option} is for recorded ticks; name a file" if is_synthetic else f"{option} is for synthetic only"
            )
