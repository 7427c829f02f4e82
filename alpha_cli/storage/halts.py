"""Halts: the file HALT, which stops all trading of a state folder, and the history of requests by people."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from alpha_cli.core.text import in_utf8, printable
from alpha_cli.storage.files import write_all

#: While it is in a state folder, nothing of that folder trades.
HALT = "HALT"
#: What people did, one JSON object a line.
HISTORY = "halts.ndjson"

_LONGEST_REASON = 500  # characters
_LONGEST_PATH = 4096


def halt_reason(folder: Path) -> str | None:
    """Return why trading is halted for every stage that shares `folder`; None if it is not.

    It is halted while a file HALT is there, of any kind and content; `alpha halt` writes the reason into it. A folder
    that cannot be looked at counts as halted.
    """
    path = folder / HALT
    try:
        path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{shown_path(path)} cannot be looked at: {error.strerror}"
    return f"{shown_path(path)} exists{_recorded_in(path)}"


def shown_path(path: Path) -> str:
    """Return `path` for a line: a name may hold bytes that no line can."""
    return printable(str(path), _LONGEST_PATH)


def _recorded_in(path: Path) -> str:
    """Return who halted and why, if `alpha halt` wrote the file; other kinds of file are not read: one may not end."""
    import json  # slow to import, and seldom needed

    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            text = os.read(fd, 4096) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
        finally:
            os.close(fd)
        record = json.loads(text) if text else {}
        by, at, reason = (str(record[name]) for name in ("by", "at", "reason"))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""
    return f", by {printable(by, 64)} at {printable(at, 40)}" + (f": {printable(reason, 500)}" if reason else "")


def halt_record(action: str, reason: str, target: str | None = None) -> bytes:
    """Return one line of JSON: what was done, when, by whom and why; bytes that are no text are replaced."""
    import msgspec

    from alpha_cli.core.times import IST

    now = datetime.now(IST).isoformat(timespec="seconds")
    record = {"action": action, "at": now, "by": in_utf8(user()), "reason": in_utf8(reason[:_LONGEST_REASON])}
    return msgspec.json.encode(record if target is None else {**record, "target": in_utf8(target)}) + b"\n"


def user() -> str:
    """Return the name of the user who runs this, or their number if they have no name."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a user without a name, as in containers
        return str(os.geteuid())


def remember(folder: Path, record: bytes) -> None:
    """Append `record` to the history in `folder`: all of it, as a line of its own, or nothing. Raise OSError."""
    import fcntl

    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(folder / HISTORY, flags, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(folder / HISTORY))
        fcntl.flock(fd, fcntl.LOCK_EX)
        _append(fd, record)
    finally:
        os.close(fd)


def _append(fd: int, record: bytes) -> None:
    size = os.fstat(fd).st_size
    torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"  # by another program: it must not swallow this line
    try:
        write_all(fd, b"\n" * torn + record)
        os.fsync(fd)
    except OSError:
        with suppress(OSError):  # half a line would spoil the next
            os.ftruncate(fd, size)
        raise
