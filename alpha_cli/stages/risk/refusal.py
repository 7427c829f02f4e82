"""What a control answers when it refuses, and the figures it names as a person reads them."""

from __future__ import annotations

from typing import NamedTuple

from alpha_cli.core.money import UNITS
from alpha_cli.stages.risk.codes import Code

Figure = int | float | str | None


class Refusal(NamedTuple):
    """A stable code, a sentence, the limit and what was observed against it."""

    code: Code
    message: str
    limit: Figure = None
    observed: Figure = None


def rupees(amount: int | None) -> int | float | None:
    """Return ledger units as the JSON number of rupees that prints the same."""
    if amount is None:
        return None
    whole, rest = divmod(amount, UNITS)
    return whole if not rest else amount / UNITS


def seconds(duration: int | None) -> int | float | None:
    """Return microseconds as seconds."""
    if duration is None:
        return None
    whole, rest = divmod(duration, 1_000_000)
    return whole if not rest else duration / 1_000_000


def share(millionths: int) -> int | float:
    """Return millionths as a fraction."""
    return millionths // 1_000_000 if millionths % 1_000_000 == 0 else millionths / 1_000_000
