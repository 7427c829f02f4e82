"""What a person asks for from beside the stream: `alpha resume` and `alpha rearm` write it to `DIR/halts.ndjson`.

It is followed to its end before each batch, and each request is acted on once, whether risk ran when it was made or
not. The file HALT needs nothing of this: its name alone halts.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from alpha_cli.core.events import RISK, Control
from alpha_cli.core.text import printable
from alpha_cli.storage.halts import HISTORY

#: Bytes that are read at once; a line is a few hundred.
_READ = 1 << 20
_ASKED = {"resume", "rearm"}


class _Request(msgspec.Struct):
    """One line."""

    action: str
    at: str = ""
    by: str = ""
    reason: str = ""
    target: str | None = None


class Requests:
    """The requests in `folder` from `heard` on, in bytes; None: only those that come from now on.

    `heard` says how much was acted on; it is to be kept with what was done.
    """

    def __init__(self, folder: Path, heard: int | None, report: Callable[[str], object]) -> None:
        self._path = folder / HISTORY
        self._report = report
        self.heard = self._size() if heard is None else heard

    def __iter__(self) -> Iterator[Control]:
        """Those that came since."""
        data = self._more()
        end = data.rfind(b"\n") + 1
        self.heard += end
        for line in data[:end].splitlines():
            request = self._request(line)
            if request is not None and request.action in _ASKED:
                who = printable(request.by, 64) or "somebody"
                yield Control(
                    action=request.action,  # type: ignore[arg-type]
                    target=request.target or None,
                    by=RISK,
                    reason=f"by {who}: {printable(request.reason, 500)}",
                    value={"cause": "person", "by": who, "at": printable(request.at, 40)},
                )

    def _request(self, line: bytes) -> _Request | None:
        try:
            return msgspec.json.decode(line, type=_Request)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._report(f"{self._path}: a line that is no request was passed over: {_shown(line)}")
            return None

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def _more(self) -> bytes:
        """What was not read yet; nothing of what cannot be read, which then asks for nothing."""
        if self._size() == self.heard:
            return b""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                return b""
            if found.st_size < self.heard:
                self._report(f"{self._path} was cut: what is in it now is not acted on, only what comes from here on")
                self.heard = found.st_size
            return os.pread(fd, _READ, self.heard)
        finally:
            os.close(fd)


def _shown(line: bytes) -> Any:
    return printable(line[:200].decode("utf-8", "replace"), 80)
