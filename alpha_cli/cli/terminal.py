"""What the terminal can show: whether there is one, whether it has colours, and how wide it is."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TextIO

_LEAST = 20  # columns


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether `stream` is a terminal; Python has None for one that the caller closed."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed since
        return False


def has_styles() -> bool:
    """Return whether standard output shows colours and bold: a terminal that can, unless NO_COLOR is set."""
    return is_terminal(sys.stdout) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def bold(text: str) -> str:
    """Return `text`, bold where that is shown."""
    return f"\033[1m{text}\033[0m" if has_styles() else text


def width() -> int | None:
    """Return the columns of the terminal on standard output; None where there is none, and lines may be long."""
    return max(shutil.get_terminal_size().columns, _LEAST) if is_terminal(sys.stdout) else None
