"""The options of `feed`: from text to values. `time_text` reads times, dates and zones.

Heavy modules are imported only for options that need them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

import click

from alpha_cli.core.errors import UsageError

if TYPE_CHECKING:
    from alpha_cli.stages.feed.files import File

#: Options for one kind of source only.
OF_SYNTHETIC = ("seed", "date", "ticks", "instruments", "mode")
OF_REPLAY = ("columns", "instrument_token", "start_time", "types")
_MAX_COUNT = 1000  # up to here a number is a count of instruments, above it is a token


def parse_speed(text: str) -> float | None:
    """Return the speed as a multiple of the market's; None for as fast as possible."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < math.inf:
        raise click.UsageError(f"--speed {text!r} is neither max nor a number above 0")
    return speed


def parse_types(text: str) -> frozenset[str]:
    """Return the event types to replay; the feed writes its own `hello` and `eof`."""
    from alpha_cli.core.events import TYPES

    types = frozenset(name.strip() for name in text.split(",")) - {""}
    known = sorted(TYPES.keys() - {"hello", "eof"})
    for name in sorted(types.difference(known)):
        raise click.UsageError(f"--types {name!r} is not a type that can be replayed; known: {', '.join(known)}")
    if not types:
        raise click.UsageError("--types names no type to replay")
    return types


def parse_instruments(text: str) -> list[int]:
    """Return the tokens of a synthetic market, given as tokens, symbols, or a number of instruments."""
    from alpha_cli.stages.feed.synthetic import tokens_of

    parts = [part.strip() for part in text.split(",")]
    has_symbols = False
    try:
        numbers = [int(part) for part in parts] if text.isascii() else [0]
    except ValueError:
        numbers, has_symbols = _resolve("--instruments", text, parts), True
    if any(not 0 < number < 1 << 32 for number in numbers) or len(set(numbers)) < len(numbers):
        raise click.UsageError(f"--instruments {text!r} is neither a number nor a list of different instruments")
    is_count = len(numbers) == 1 and numbers[0] <= _MAX_COUNT and not has_symbols
    return tokens_of(numbers[0]) if is_count else numbers


def _resolve(option: str, text: str, names: Sequence[str]) -> list[int]:
    """Return the tokens of instruments named by token or symbol."""
    from alpha_cli.market.instruments import open_master, resolve

    master = open_master()
    try:
        return [resolve(name, master) for name in names]
    except UsageError as error:
        raise click.UsageError(f"{option} {text!r}: {error}") from None
    finally:
        if master is not None:
            master.close()


def parse_instrument(text: str | None) -> int | None:
    """Return the token of an instrument named by token or symbol."""
    return None if text is None else _resolve("--instrument-token", text, [text])[0]


def check_ticks(count: int | None) -> int | None:
    """Return the number of ticks of a synthetic session, None for the usual one. Raises `UsageError`."""
    from alpha_cli.stages.feed.synthetic import MAX_TICKS

    if count is not None and count > MAX_TICKS:
        raise click.UsageError(f"--ticks {count}: at most {MAX_TICKS}, one a microsecond")
    return count


def parse_start_time(text: str | None, zone: tzinfo) -> datetime | None:
    """Return the time of a first tick without one."""
    if text is None:
        return None
    from alpha_cli.core.time_text import parse_bound

    moment = parse_bound("--start-time", text, zone)
    if not isinstance(moment, datetime):
        raise UsageError(f"--start-time {text!r} needs a date too; write 2026-01-05T{text}")
    return moment


def parse_columns(text: str | None, files: Sequence[File]) -> tuple[str, ...]:
    """Return the names of the columns of CSV files; empty to read them from the headers."""
    if text is None:
        return ()
    if not any(file.is_csv for file in files):
        raise click.UsageError("--columns is for CSV files; name one")
    from alpha_cli.stages.feed.names import NAMES, plan_of

    columns = tuple(name.strip() for name in text.split(","))
    if not plan_of(columns).has("last_price"):
        raise click.UsageError(f"--columns {text!r} has no price column; add one of {', '.join(NAMES['last_price'])}")
    return columns
