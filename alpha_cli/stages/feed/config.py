"""What the user may set of a feed: from the text of an option to what the engine takes.

Times, dates and zones are read by `times`. Nothing heavy is imported before a value asks for it.
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

#: Options that say something of one kind of source only.
OF_SYNTHETIC = ("seed", "date", "ticks", "instruments", "mode")
OF_REPLAY = ("columns", "instrument_token", "start_time", "types")
_MAX_COUNT = 1000  # a smaller number is how many instruments, a larger one is a token


def parse_speed(text: str) -> float | None:
    """How many times as fast as the market; None for as fast as possible."""
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
    """The event types to give back; a feed has a `hello` and an `eof` of its own."""
    from alpha_cli.core.events import TYPES

    types = frozenset(name.strip() for name in text.split(",")) - {""}
    known = sorted(TYPES.keys() - {"hello", "eof"})
    for name in sorted(types.difference(known)):
        raise click.UsageError(f"--types {name!r} is not a type that can be given back; known: {', '.join(known)}")
    if not types:
        raise click.UsageError("--types names nothing to give back")
    return types


def parse_instruments(text: str) -> list[int]:
    """The tokens of a synthetic market: the instruments named, by token or by symbol, or the first so many."""
    from alpha_cli.stages.feed.synthetic import tokens_of

    parts = [part.strip() for part in text.split(",")]
    named = False
    try:
        numbers = [int(part) for part in parts] if text.isascii() else [0]
    except ValueError:
        numbers, named = _resolved(text, parts), True
    if any(not 0 < number < 1 << 32 for number in numbers) or len(set(numbers)) < len(numbers):
        raise click.UsageError(f"--instruments {text!r} is neither a number nor a list of different instruments")
    is_count = len(numbers) == 1 and numbers[0] <= _MAX_COUNT and not named
    return tokens_of(numbers[0]) if is_count else numbers


def _resolved(text: str, parts: Sequence[str]) -> list[int]:
    """The tokens of `parts`, some of which are symbols."""
    from alpha_cli.market.instruments import open_master, resolve

    master = open_master()
    try:
        return [resolve(part, master) for part in parts]
    except UsageError as error:
        raise click.UsageError(f"--instruments {text!r}: {error}") from None
    finally:
        if master is not None:
            master.close()


def parse_instrument(text: str | None) -> int | None:
    """The token of the instrument named, by token or by symbol."""
    if text is None:
        return None
    from alpha_cli.market.instruments import open_master, resolve

    master = open_master()
    try:
        return resolve(text, master)
    except UsageError as error:
        raise click.UsageError(f"--instrument-token {text!r}: {error}") from None
    finally:
        if master is not None:
            master.close()


def check_ticks(count: int | None) -> int | None:
    """How many ticks a synthetic session has; None for the usual number."""
    from alpha_cli.stages.feed.synthetic import MAX_TICKS

    if count is not None and count > MAX_TICKS:
        raise click.UsageError(f"--ticks {count}: at most {MAX_TICKS}, one a microsecond")
    return count


def parse_start_time(text: str | None, zone: tzinfo) -> datetime | None:
    """The time of a first tick that has none."""
    if text is None:
        return None
    from alpha_cli.core.time_text import parse_bound

    moment = parse_bound("--start-time", text, zone)
    if not isinstance(moment, datetime):
        raise UsageError(f"--start-time {text!r} needs a date too; write 2026-01-05T{text}")
    return moment


def parse_columns(text: str | None, files: Sequence[File]) -> tuple[str, ...]:
    """The names of the columns of CSV files; none if their headers are to say it."""
    if text is None:
        return ()
    if not any(file.is_csv for file in files):
        raise click.UsageError("--columns is for CSV files, and none was named")
    from alpha_cli.stages.feed.names import NAMES, plan_of

    columns = tuple(name.strip() for name in text.split(","))
    if not plan_of(columns).has("last_price"):
        raise click.UsageError(f"--columns {text!r} names no price; one of {', '.join(NAMES['last_price'])}")
    return columns
