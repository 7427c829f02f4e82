"""The options of `bars`."""

from __future__ import annotations

from collections.abc import Iterable

from alpha_cli.core.errors import UsageError
from alpha_cli.market.bars.interval import Interval


def parse_intervals(texts: Iterable[str]) -> tuple[Interval, ...]:
    """Return the intervals that `--interval` names, each once, shortest first. Raises `UsageError`."""
    try:
        return tuple(sorted({Interval.parse(part.strip()) for text in texts for part in text.split(",")}))
    except ValueError as error:
        raise UsageError(f"--interval {error}") from None
