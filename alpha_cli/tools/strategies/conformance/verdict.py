"""The outcome of a check, and the comparison of signals."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from alpha_cli.core.text import printable

OK, FAIL, WARNING, SKIPPED = "ok", "FAIL", "warning", "skipped"


class Result(msgspec.Struct):
    """The result of a check: one of the marks above, and why."""

    check: str
    mark: str
    why: str


class Verdict(Exception):
    """A check did not pass."""

    def __init__(self, mark: str, why: str) -> None:
        super().__init__(why)
        self.mark = mark


def compare(expected: Sequence[bytes], found: Sequence[bytes], where: str) -> None:
    """Raise `Verdict` unless the signals are the same."""
    if list(expected) == list(found):
        return
    place = next(
        (place for place, (one, other) in enumerate(zip(expected, found, strict=False)) if one != other),
        min(len(expected), len(found)),
    )
    one, other = (_describe_signal(lines[place]) if place < len(lines) else "nothing" for lines in (expected, found))
    raise Verdict(FAIL, f"{where}: signal {place + 1:,} is {other}, not {one}")


def _describe_signal(line: bytes) -> str:
    signal = msgspec.json.decode(line)
    return printable(f"{signal['signal_type']} {signal['instrument_token']} at {signal['timestamp']}")
