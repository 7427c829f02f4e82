"""What a check comes to, and how signals are compared."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from alpha_cli.core.text import printable

OK, FAIL, WARNING, SKIPPED = "ok", "FAIL", "warning", "skipped"


class Result(msgspec.Struct):
    """What came of a check: one of the marks above, and why."""

    check: str
    mark: str
    why: str


class Verdict(Exception):
    """A check that did not simply hold."""

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
    one, other = (_told_signal(lines[place]) if place < len(lines) else "nothing" for lines in (expected, found))
    raise Verdict(FAIL, f"{where}: signal {place + 1:,} is {other}, not {one}")


def _told_signal(line: bytes) -> str:
    signal = msgspec.json.decode(line)
    return printable(f"{signal['signal_type']} {signal['instrument_token']} at {signal['timestamp']}")
