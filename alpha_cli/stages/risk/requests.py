"""Requests of a person outside the stream: `alpha resume` and `alpha rearm` append them to `DIR/halts.ndjson`.

The file is read to its end before each batch, and each request is carried out once, whether or not risk ran when it
was made. The file HALT needs none of this: its name alone halts.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from alpha_cli.core.events import RISK, Control
from alpha_cli.core.text import printable
from alpha_cli.storage.halts import HISTORY

#: Bytes read at once; a line has a few hundred.
_READ = 1 << 20
_ACTIONS = {"resume", "rearm"}


class _Request(msgspec.Struct):
    """One line of the file."""

    action: str
    at: str = ""
    by: str = ""
    reason: str = ""
    target: str | None = None


class Requests:
    """The requests in `folder` from the byte `offset` on; None: only those that are appended from now on.

    `offset` advances as requests are read; store it together with their effects.
    """

    def __init__(self, folder: Path, offset: int | None, report: Callable[[str], object]) -> None:
        self._path = folder / HISTORY
        self._report = report
        self.offset = self._size() if offset is None else offset

    def __iter__(self) -> Iterator[Control]:
        """Yield the requests appended since the last call."""
        data = self._read()
        end = data.rfind(b"\n") + 1
        self.offset += end
        for line in data[:end].splitlines():
            request = self._request(line)
            if request is not None and request.action in _ACTIONS:
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
            self._report(f"{self._path}: skipped a line that is not a request: {_shown(line)}")
            return None

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def _read(self) -> bytes:
        """Return the bytes not read yet; none if the file cannot be read or is no regular file."""
        if self._size() == self.offset:
            return b""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                return b""
            if found.st_size < self.offset:
                self._report(
                    f"{self._path} was truncated: requests in it now are ignored, only new ones are carried out"
                )
                self.offset = found.st_size
            return os.pread(fd, _READ, self.offset)
        finally:
            os.close(fd)


def _shown(line: bytes) -> str:
    return printable(line[:200].decode("utf-8", "replace"), 80)
