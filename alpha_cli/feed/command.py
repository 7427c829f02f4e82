"""`alpha feed`: options and wiring. What is fed comes from `synthetic` or from `replay`."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from alpha_cli.errors import UsageError
from alpha_cli.options import stage_options
from alpha_cli.stage import Options, Source

if TYPE_CHECKING:
    from alpha_cli.feed.window import Window

_OF_SYNTHETIC = ("seed", "date", "ticks", "instruments", "mode")
_OF_REPLAY = ("columns", "instrument_token", "start_time", "types")
_MAX_COUNT = 1000  # a smaller number is how many instruments, a larger one is a token


@click.command()
@stage_options(bad="skip")
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option("--from", "start", metavar="TIME", help="Only from here on: a time, a date, or HH:MM on every day.")
@click.option("--to", "end", metavar="TIME", help="Only before this: as --from.")
@click.option(
    "--speed", default="max", show_default=True, metavar="max|N", help="1 is real time, N is N times as fast."
)
@click.option("--tz", default="Asia/Kolkata", show_default=True, help="Zone of times without an offset.")
@click.option("--start-time", metavar="TIME", help="Time of a first tick that has none.")
@click.option("--types", default="tick,control", show_default=True, help="Recorded event types to give back.")
@click.option("--columns", metavar="A,B,...", help="Columns of CSV files, instead of a header.")
@click.option(
    "--instrument-token",
    type=click.IntRange(1, (1 << 32) - 1),
    metavar="N",
    help="Instrument of records that name none.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="synthetic: another market.")
@click.option("--date", default="2026-01-05", show_default=True, help="synthetic: the day.")
@click.option(
    "--ticks",
    type=click.IntRange(1),
    metavar="N",
    help="synthetic: how many in all.  [default: one a second for each instrument]",
)
@click.option(
    "--instruments", default="5", show_default=True, metavar="N|TOKENS", help="synthetic: how many, or which."
)
@click.option(
    "--mode",
    type=click.Choice(["ltp", "quote", "full"]),
    default="quote",
    show_default=True,
    help="synthetic: how much each tick says.",
)
@click.pass_context
def command(ctx: click.Context, /, options: Options, sources: tuple[str, ...], **given: Any) -> Source:
    """Make ticks, or replay recorded ones.

    SOURCE is `synthetic` (the default), files or folders of .ndjson, .jsonl or .csv (also .gz), or - for
    NDJSON on standard input. Several files are merged by time.

    \b
    Example:
        alpha feed --seed 7 | alpha run-strategy momentum | alpha risk | alpha paper
        alpha feed monday.ndjson.gz --from 09:15 --to 10:00 --speed 10
        alpha feed ticks.csv --columns timestamp,last_price --instrument-token 256265
    """
    from alpha_cli.feed.times import parse_zone
    from alpha_cli.feed.window import Window

    is_synthetic = sources in {(), ("synthetic",)}
    _refuse(ctx, _OF_REPLAY if is_synthetic else _OF_SYNTHETIC, is_synthetic=is_synthetic)
    speed, zone = _speed(given["speed"]), parse_zone(given["tz"])
    window = Window(given["start"], given["end"], zone)
    if is_synthetic:
        return _synthetic(options, window, speed, given)
    if "synthetic" in sources:
        raise click.UsageError("synthetic and files cannot be fed together")

    from alpha_cli.feed.files import find, is_stream
    from alpha_cli.feed.replay import Replay

    streams = [source for source in sources if is_stream(source)]
    if streams and len(sources) > 1:
        raise click.UsageError(f"{streams[0]} cannot be merged with others; feed it alone")
    files = [] if streams else find(sources)
    replay = Replay(
        files, streams[0] if streams else "-", options.bad, _types(given["types"]), window, speed, zone,
        _start_time(given["start_time"], zone), given["instrument_token"], _columns(given["columns"], files),
    )  # fmt: skip
    return Source("feed", replay.description, replay.batches, options, counts=replay.counts)


def _synthetic(options: Options, window: Window, speed: float | None, given: dict[str, Any]) -> Source:
    from collections.abc import Iterator

    from alpha_cli.batch import Batch
    from alpha_cli.feed.synthetic import MAX_TICKS, Synthetic
    from alpha_cli.feed.times import parse_date
    from alpha_cli.shutdown import Shutdown

    if given["ticks"] is not None and given["ticks"] > MAX_TICKS:
        raise click.UsageError(f"--ticks {given['ticks']}: at most {MAX_TICKS}, one a microsecond")
    market = Synthetic(
        given["seed"],
        parse_date("--date", given["date"]),
        _instruments(given["instruments"]),
        given["ticks"],
        given["mode"],
    )

    counts = {"ticks": 0}

    def batches(shutdown: Shutdown) -> Iterator[Batch]:
        made = market.batches(shutdown)
        if window:
            made = window.cut(made)
        if speed is not None:
            from alpha_cli.feed.pace import paced

            made = paced(made, speed, shutdown)
        for batch in made:
            counts["ticks"] += len(batch.lines)
            yield batch

    return Source("feed", market.description, batches, options, counts=lambda: counts)


def _refuse(ctx: click.Context, names: tuple[str, ...], *, is_synthetic: bool) -> None:
    """An option that would have no effect was meant for something else."""
    for name in names:
        if ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE:
            option = "--" + name.replace("_", "-")
            raise click.UsageError(
                f"{option} is for recorded ticks; name a file" if is_synthetic else f"{option} is for synthetic only"
            )


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < math.inf:
        raise click.UsageError(f"--speed {text!r} is neither max nor a number above 0")
    return speed


def _types(text: str) -> frozenset[str]:
    from alpha_cli.events import TYPES

    types = frozenset(name.strip() for name in text.split(",")) - {""}
    known = sorted(TYPES.keys() - {"hello", "eof"})
    for name in sorted(types.difference(known)):
        raise click.UsageError(f"--types {name!r} is not a type that can be given back; known: {', '.join(known)}")
    if not types:
        raise click.UsageError("--types names nothing to give back")
    return types


def _instruments(text: str) -> list[int]:
    from alpha_cli.feed.synthetic import tokens_of

    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if any(not 0 < number < 1 << 32 for number in numbers) or len(set(numbers)) < len(numbers):
        raise click.UsageError(f"--instruments {text!r} is neither a number nor a list of different tokens")
    return tokens_of(numbers[0]) if len(numbers) == 1 and numbers[0] <= _MAX_COUNT else numbers


def _start_time(text: str | None, zone: Any) -> datetime | None:
    if text is None:
        return None
    from alpha_cli.feed.times import parse_bound

    moment = parse_bound("--start-time", text, zone)
    if not isinstance(moment, datetime):
        raise UsageError(f"--start-time {text!r} needs a date too; write 2026-01-05T{text}")
    return moment


def _columns(text: str | None, files: list[Any]) -> tuple[str, ...]:
    if text is None:
        return ()
    if not any(file.is_csv for file in files):
        raise click.UsageError("--columns is for CSV files, and none was named")
    from alpha_cli.feed.names import NAMES, plan_of

    columns = tuple(name.strip() for name in text.split(","))
    if not plan_of(columns).has("last_price"):
        raise click.UsageError(f"--columns {text!r} names no price; one of {', '.join(NAMES['last_price'])}")
    return columns
