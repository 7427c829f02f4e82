"""Files written so that they survive a crash. Everything here raises OSError."""

from __future__ import annotations

import os
from pathlib import Path


def write_all(fd: int, data: bytes) -> None:
    """Write `data` to the blocking descriptor `fd`, however many calls that takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def write_synced(fd: int, data: bytes) -> None:
    """Write `data` to disk and close `fd`."""
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def write_whole(path: Path, data: bytes, mode: int) -> None:
    """Put a file of `data` and this `mode` in the place of `path`: who reads it sees all of it, or the old one."""
    written = path.with_name(f".{path.name}.new")
    written.unlink(missing_ok=True)  # of a run that was killed; a link in its place is not followed
    fd = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        os.fchmod(fd, mode)  # whatever the umask
        write_all(fd, data)
    finally:
        os.close(fd)
    written.replace(path)


def sync_folder(folder: Path) -> None:
    """Make a name that was added to `folder`, or removed from it, survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
