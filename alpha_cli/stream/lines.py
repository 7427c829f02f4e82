"""Bytes in, bytes out: bounded reading of lines, unhurried writing of them.

Reading takes what is there and gives back all complete lines at once; memory is bounded whatever the
length of a line. Writing goes on until the last byte is accepted, because a pipe may take fewer
bytes than it was given.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from typing import NamedTuple

from alpha_cli.core.errors import InputOutputError, ReaderGone
from alpha_cli.core.wire import MAX_LINE

READ_SIZE = 1 << 16  # larger reads fall out of the processor's cache and cost a fifth more
PIPE_SIZE = 1 << 20
KEPT_OF_LONG_LINE = 4096


class LongLine(NamedTuple):
    """A line over `MAX_LINE`: its beginning, for the record, and how long it was."""

    prefix: bytes
    length: int


class LastLine(NamedTuple):
    """Bytes after the last newline, at the end of input: a whole line, or a torn one."""

    data: bytes


Block = bytes | LongLine | LastLine


def blocks(read: Callable[[], bytes | None]) -> Iterator[Block]:
    """Yield complete lines, as many at a time as `read` brings.

    `read` gives b"" at the end of the input, and None when it was interrupted: then the block is b"".
    """
    tail = b""
    while (chunk := read()) != b"":
        if chunk is None:
            yield b""
            continue
        cut = chunk.find(b"\n")
        length = len(tail) + (cut if cut >= 0 else len(chunk))
        if length > MAX_LINE:
            prefix = (tail + chunk)[:KEPT_OF_LONG_LINE]
            while cut < 0 and (more := read()) != b"":
                if more is None:
                    yield b""
                    continue
                chunk = more
                cut = chunk.find(b"\n")
                length += cut if cut >= 0 else len(chunk)
            yield LongLine(prefix, length)
            tail, chunk = b"", chunk[cut + 1 :] if cut >= 0 else b""
        end = chunk.rfind(b"\n") + 1
        if end:
            yield tail + chunk[:end] if tail else chunk[:end]
            tail = chunk[end:]
        else:
            tail += chunk
    if tail:
        yield LastLine(tail)


class Writer:
    """Writes all of what it is given to a file descriptor.

    Raise `ReaderGone` when the reader has left, `InputOutputError` when the device refuses.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.left = 0  # bytes of what is being written that the reader has not taken
        enlarge_pipe(fd)

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self.left = len(rest)
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                select.select([], [self._fd], [])
            except BrokenPipeError:
                # Whatever else writes to this descriptor at exit must find a reader.
                devnull = os.open(os.devnull, os.O_WRONLY)
                os.dup2(devnull, self._fd)
                os.close(devnull)
                raise ReaderGone from None
            except OSError as error:
                raise InputOutputError(f"writing standard output failed: {error.strerror}") from None
        self.left = 0


def enlarge_pipe(fd: int) -> None:
    """Ask for a larger pipe, which saves a tenth on a busy one; Linux only, and only a wish."""
    import fcntl

    set_size = getattr(fcntl, "F_SETPIPE_SZ", None)
    if set_size is None:
        return
    try:
        if fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) < PIPE_SIZE:
            fcntl.fcntl(fd, set_size, PIPE_SIZE)
    except OSError:
        return  # not a pipe, or the user's share of pipe memory is used up
