"""Lines for people, on stderr."""

from __future__ import annotations

import sys


def log_line(text: str) -> None:
    """Print a line to stderr; ignore a closed or full stderr."""
    if sys.stderr is None:  # closed by the caller
        return
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.stderr = None  # else Python would try once more at exit, and end with 120


def worth_logging(count: int) -> bool:
    """Whether to speak of the `count`-th of a flood: the 1st to 9th, 10th, 20th, ... 100th, 200th, ..."""
    return not str(count)[1:].strip("0")
