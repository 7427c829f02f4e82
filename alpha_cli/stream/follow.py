"""`--fills PATH`: fills, orders and portfolios that come back to a stage, from a file or FIFO that is followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from alpha_cli.core.codec import decode
from alpha_cli.core.errors import BadLine, NoInput
from alpha_cli.core.events import Fill, Order, OrderUpdate, Portfolio
from alpha_cli.core.text import printable
from alpha_cli.core.wire import MAX_LINE
from alpha_cli.stream.log import worth_logging

_READ = 1 << 20


class Follower:
    """Reads what is new in the file or FIFO at `path`. It need not be there yet, and may be replaced.

    `poll` never waits. Lines that are not events are counted in `rejected` and told of.
    """

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self.path = path
        self.rejected = 0
        self._report = report
        self._fd: int | None = None
        self._identity: tuple[int, int] | None = None
        self._read = 0
        self._tail = b""
        if not self._opened() and not path.parent.is_dir():
            raise NoInput(f"--fills {path}: there is no folder {path.parent} for it to appear in")

    def poll(self, most: int | None = 100_000) -> Iterator[Any]:
        """The fills, orders, updates and portfolios that came since; about `most` at a time, None: all."""
        given = 0
        while most is None or given < most:
            data = self._more()
            if not data:
                return
            *lines, self._tail = (self._tail + data).split(b"\n")
            for line in lines:
                event = self._event(line)
                if event is not None:
                    given += 1
                    yield event
            if len(self._tail) > MAX_LINE:
                self._reject(self._tail, "line over the limit")
                self._tail = b""

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _event(self, line: bytes) -> Any:
        if not line.strip():
            return None
        try:
            event = decode(line)
        except BadLine as error:
            self._reject(line, str(error))
            return None
        return event if isinstance(event, Fill | Order | OrderUpdate | Portfolio) else None

    def _reject(self, line: bytes, why: str) -> None:
        self.rejected += 1
        if worth_logging(self.rejected):
            shown = printable(line[:200].decode("utf-8", "replace"), 80)
            self._report(f"--fills {self.path}: bad line {self.rejected}: {printable(why, 200)}: {shown}")

    def _more(self) -> bytes:
        """What can be read now: of the file that is open, then of one that took its place."""
        data = b"" if self._fd is None else self._from(self._fd)
        return data or (self._from(self._fd) if self._opened() and self._fd is not None else b"")

    def _from(self, fd: int) -> bytes:
        try:
            data = os.read(fd, _READ)
        except BlockingIOError:  # a FIFO whose writer says nothing now
            return b""
        except OSError as error:
            raise NoInput(f"--fills {self.path}: {error.strerror}") from None
        self._read += len(data)
        return data

    def _opened(self) -> bool:
        """Open the file if it is there now, or if another one took its place or it was cut. Whether it did."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise NoInput(f"--fills {self.path}: {error.strerror}") from None
        if stat.S_ISDIR(found.st_mode):
            raise NoInput(f"--fills {self.path}: is a folder; name the file that paper writes")
        cut = stat.S_ISREG(found.st_mode) and found.st_size < self._read
        if self._fd is not None and (found.st_dev, found.st_ino) == self._identity and not cut:
            return False
        self.close()
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise NoInput(f"--fills {self.path}: {error.strerror}") from None
        self._identity = (found.st_dev, found.st_ino)
        self._read, self._tail = 0, b""
        return True
