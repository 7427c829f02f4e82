"""Halts: the file HALT, which stops all trading of a state folder, and the history of requests by people."""

from __future__ import annotations

import os
import stat
from datetime import datetime
from pathlib import Path

from alpha_cli.core.text import printable
from alpha_cli.storage.files import write_synced

#: While it is in a state folder, nothing of that folder trades.
HALT = "HALT"
#: What people did, one JSON object a line.
HISTORY = "halts.ndjson"

_LONGEST_REASON = 500  # characters


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
        return f"{path} cannot be looked at: {error.strerror}"
    return f"{path} exists{_recorded_in(path)}"


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
    """Return one line of JSON: what was done, when, by whom and why."""
    import msgspec

    from alpha_cli.core.times import IST

    now = datetime.now(IST).isoformat(timespec="seconds")
    record = {"action": action, "at": now, "by": user(), "reason": reason[:_LONGEST_REASON]}
    return msgspec.json.encode(record if target is None else {**record, "target": target}) + b"\n"


def user() -> str:
    """Return the name of the user who runs this, or their number if they have no name."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a user without a name, as in containers
        return str(os.geteuid())


def remember(folder: Path, record: bytes) -> None:
    """Append `record` to the history in `folder`. Raise OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    write_synced(os.open(folder / HISTORY, flags, 0o600), record)
