"""The limits of every line and every amount on the wire, and their checks. They know no event type."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import msgspec

from alpha_cli.core.errors import BadLine

MAX_LINE = 1 << 20  # bytes, without the newline
MAX_DEPTH = 32
MAX_DECIMALS = 4
MAX_DIGITS = 12  # of an amount before the point; more is a corrupted number

#: Everything that decoding a hostile line can raise.
DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

#: A string, and the colon that makes it a key. Strings are matched in order, so no match starts inside one.
_STRING = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"\s*(:?)')


def check_length(line: bytes) -> None:
    """Raise `BadLine` for a line over `MAX_LINE`."""
    if len(line) > MAX_LINE:
        raise BadLine(f"line of {len(line)} bytes is over the limit of {MAX_LINE}")


def parse_object(line: bytes) -> dict[str, Any]:
    """Return the JSON object on `line` after the checks that hold for every line. Raises `BadLine`."""
    check_length(line)
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadLine(f"not UTF-8 at byte {error.start}") from None
    try:
        record = msgspec.json.decode(line)
    except RecursionError:
        raise BadLine(f"nested deeper than {MAX_DEPTH}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadLine(f"not JSON: {error}") from None
    check_depth(line)
    if not isinstance(record, dict):
        raise BadLine("not a JSON object")
    return record


def check_depth(line: bytes) -> None:
    """Raise `BadLine` for nesting over `MAX_DEPTH`. Counting brackets is enough for nearly every line.

    `line` must be well-formed: with an unterminated string, searching for strings takes quadratic time.
    """
    if line.count(b"{") + line.count(b"[") <= MAX_DEPTH:
        return
    depth = 0
    for byte in _STRING.sub(b"", line):
        if byte in b"{[":
            depth += 1
            if depth > MAX_DEPTH:
                raise BadLine(f"nested deeper than {MAX_DEPTH}")
        elif byte in b"}]":
            depth -= 1


def check_unique_keys(line: bytes) -> None:
    """Raise `BadLine` for an object in which a key is repeated: either value could be the intended one.

    `line` must be well-formed. If all keys differ, no more is needed. Equal keys may still lie in different
    objects, and keys with escapes may be equal although their bytes differ.
    """
    keys = [text for text, colon in _STRING.findall(line) if colon]
    if len(set(keys)) == len(keys) and b"\\" not in b"".join(keys):
        return
    import json  # rare, and slow to import

    json.loads(line, object_pairs_hook=_with_unique_keys, parse_int=str, parse_float=str)


def check_rupees(field: str, value: Decimal) -> None:
    """Raise `BadLine` for an amount that is not finite, is too large or has more than four decimals."""
    if not value.is_finite() or value.adjusted() >= MAX_DIGITS:
        raise BadLine(f"{field} {value} is not an amount of rupees")
    if value != round(value, MAX_DECIMALS):
        raise BadLine(f"{field} {value} has more than {MAX_DECIMALS} decimals")


def rupees(price: float | Decimal) -> Decimal:
    """Return the exact decimal of a price, to four decimals and without an exponent.

    A float is read as the shortest number that rounds to it, which is the number that was written.
    """
    if isinstance(price, float):
        whole, _, decimals = repr(price).partition(".")
        if len(decimals) <= MAX_DECIMALS and decimals.isdecimal():  # nearly always
            return Decimal(whole if decimals == "0" else f"{whole}.{decimals}")
        price = Decimal(repr(price))
    exact = round(Decimal(price), MAX_DECIMALS).normalize()
    return exact if exact.as_tuple().exponent <= 0 else exact.quantize(Decimal(1))  # type: ignore[operator]


def _with_unique_keys(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise BadLine(f"key {key!r} is given twice")
        seen.add(key)
