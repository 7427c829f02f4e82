"""Halts: the file HALT, which stops all trading of a state folder, and the history of what people did."""

from __future__ import annotations

import os
import stat
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from alpha_cli.core.text import printable

if TYPE_CHECKING:
    pass
if TYPE_CHECKING:
    pass


#: While it is in a state folder, nothing of that folder trades.
HALT = "HALT"


def halt_reason(folder: Path) -> str | None:
    """Why trading is halted for every stage that shares `folder`, or None if it is not.

    It is halted while a file HALT is there, of whatever kind and with whatever in it; `alpha halt` puts the reason
    there. What cannot be looked at counts as halted.
    """
    path = folder / HALT
    try:
        path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{path} cannot be looked at: {error.strerror}"
    return f"{path} exists{_said_in(path)}"


def _said_in(path: Path) -> str:
    """Who halted and why, if `alpha halt` wrote it; nothing of a file of another kind, which might not even end."""
    import json  # slow to import, and seldom needed

    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            text = os.read(fd, 4096) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
        finally:
            os.close(fd)
        said = json.loads(text) if text else {}
        by, at, reason = (str(said[name]) for name in ("by", "at", "reason"))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""
    return f", by {printable(by, 64)} at {printable(at, 40)}" + (f": {printable(reason, 500)}" if reason else "")


HISTORY = "halts.ndjson"


_LONGEST_REASON = 500  # characters


def halt_record(action: str, reason: str, target: str | None = None) -> bytes:
    """One line of JSON: what was done, when, by whom and why."""
    import msgspec

    from alpha_cli.core.times import IST

    now = datetime.now(IST).isoformat(timespec="seconds")
    by = user()
    said = {"action": action, "at": now, "by": by, "reason": reason[:_LONGEST_REASON]}
    return msgspec.json.encode(said if target is None else {**said, "target": target}) + b"\n"


def user() -> str:
    """Who runs this, by name if they have one."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a user without a name, as in containers
        return str(os.geteuid())


def remember(folder: Path, record: bytes) -> None:
    """Append `record` to the history in `folder`. Raise OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    write_synced(os.open(folder / HISTORY, flags, 0o600), record)


def write_synced(fd: int, data: bytes) -> None:
    """Write and keep it. Raises OSError."""
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    """Make a name that came or went in `folder` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
