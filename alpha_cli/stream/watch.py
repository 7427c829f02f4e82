"""Files that other programs write to: know at once that one changed, also while no input comes."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from alpha_cli.stream.inputs import Inputs

#: Seconds between looks where the system does not tell of changes; also what a network file system needs.
LOOK_EVERY = 0.25

_IN_MODIFY, _IN_CLOSE_WRITE, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE = 0x2, 0x8, 0x80, 0x100, 0x200
_EVENT = struct.Struct("iIII")  # inotify(7): watch, mask, cookie, length of the name that follows


class FileWatch:
    """Fires when one of `paths` is made, written to, replaced or removed; their folders must be there.

    With `only_whole`, a write counts when the writer closes the file: for files that are written in one go, so that
    nothing is read of a half. It fires only while `when` says so.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        inputs: Inputs,
        *,
        only_whole: bool = False,
        when: Callable[[], bool] = lambda: True,
    ) -> None:
        self._when = when
        self._inputs = inputs
        self._names = {os.fsencode(path.name) for path in paths}
        written = _IN_CLOSE_WRITE if only_whole else _IN_MODIFY | _IN_CREATE
        self._fd = _notifier({path.parent for path in paths}, written | _IN_MOVED_TO | _IN_DELETE)
        if self._fd is None:
            inputs.every(LOOK_EVERY, when)
        else:
            inputs.watch(self._fd, self._changed)

    def close(self) -> None:
        """Watch no more."""
        if self._fd is not None:
            self._inputs.unwatch(self._fd)
            os.close(self._fd)
            self._fd = None

    def _changed(self) -> bool:
        """Read what happened in the folders; return whether it concerns one of the files."""
        assert self._fd is not None
        names: set[bytes] = set()
        with suppress(BlockingIOError):
            while data := os.read(self._fd, 1 << 16):
                names |= _names_in(data)
        return bool(names & self._names) and self._when()


def _names_in(data: bytes) -> set[bytes]:
    names, place = set(), 0
    while place < len(data):
        length = _EVENT.unpack_from(data, place)[3]
        place += _EVENT.size
        names.add(data[place : place + length].rstrip(b"\0"))
        place += length
    return names


def _notifier(folders: Iterable[Path], mask: int) -> int | None:
    """Return a descriptor that tells of the changes `mask` in `folders`; None where there is no inotify."""
    if sys.platform != "linux":
        return None
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if fd < 0:
        return None
    for folder in folders:
        if libc.inotify_add_watch(fd, os.fsencode(folder), mask) < 0:
            os.close(fd)
            return None
    return fd
