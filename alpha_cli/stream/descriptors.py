"""Descriptors of its own for the stream, where code of strategies runs in the same process.

A strategy, or a library in C that it uses, may read standard input or print: it would take ticks away, or put words
between the events. So the stream moves to other descriptors, and 0 and 1 become /dev/null and standard error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_moved: dict[int, int] = {}


def of_stream(fd: int) -> int:
    """Return the descriptor that the stream uses in place of `fd`, standard input or output."""
    return _moved.get(fd, fd)


@contextmanager
def moved() -> Iterator[None]:
    """Keep standard input and output for the stream alone, until the end. What is closed stays so."""
    with suppress(OSError):
        _moved[0] = os.dup(0)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0, inheritable=True)
        os.close(null)
    with suppress(OSError):  # also if standard error is closed: then what is printed goes into the stream, as it did
        found = os.dup(1)
        try:
            os.dup2(2, 1, inheritable=True)
        except OSError:
            os.close(found)
            raise
        _moved[1] = found
    try:
        yield
    finally:
        for fd, own in _moved.items():
            os.dup2(own, fd, inheritable=True)
            os.close(own)
        _moved.clear()
