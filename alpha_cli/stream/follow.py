"""`--fills PATH`: fills, orders and portfolios that come back to a stage, from a file or FIFO that is followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from alpha_cli.core.codec import decode
from alpha_cli.core.errors import BadLine, NoInput
from alpha_cli.core.events import Denial, Fill, Order, OrderUpdate, Portfolio
from alpha_cli.core.text import printable
from alpha_cli.core.wire import MAX_LINE
from alpha_cli.stream.inputs import Inputs
from alpha_cli.stream.log import worth_logging
from alpha_cli.stream.watch import FileWatch

_READ = 1 << 20


class Follower:
    """Reads what is new in the file or FIFO at `path`. It need not be there yet, and may be replaced.

    `poll` never waits; after `listen` the loop wakes when there is something new. Lines that are not events are
    counted in `rejected` and reported.
    """

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self.path = path
        self.rejected = 0
        self.came = False  # whether the file was there at any time
        self._report = report
        self._fd: int | None = None
        self._is_fifo = False
        self._identity: tuple[int, int] | None = None
        self._read = 0
        self._tail = b""
        self._inputs: Inputs | None = None
        self._watch: FileWatch | None = None
        if not self._opened() and not path.parent.is_dir():
            raise NoInput(f"--fills {path}: there is no folder {path.parent} for it to appear in")

    def listen(self, inputs: Inputs) -> None:
        """Wake the loop when the file is made, replaced or written to, or the FIFO has something to read."""
        self._inputs = inputs
        self._watch = FileWatch([self.path], inputs)
        self._watch_fifo()

    def poll(self, most: int | None = 100_000) -> Iterator[Any]:
        """Yield the orders, what became of them, and portfolios that came since; about `most` at a time, None: all."""
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

    def failure(self) -> NoInput | None:
        """Return that the file never came, if it did not."""
        if self.came:
            return None
        return NoInput(f"--fills {self.path}: this file never came; name the one that paper writes")

    def close(self) -> None:
        """Close the file, and watch it no more."""
        self._close_file()
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _close_file(self) -> None:
        if self._fd is not None:
            if self._inputs is not None:
                self._inputs.unwatch(self._fd)
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
        return event if isinstance(event, Fill | Order | OrderUpdate | Denial | Portfolio) else None

    def _reject(self, line: bytes, why: str) -> None:
        self.rejected += 1
        if worth_logging(self.rejected):
            shown = printable(line[:200].decode("utf-8", "replace"), 80)
            self._report(f"--fills {self.path}: bad line {self.rejected}: {printable(why, 200)}: {shown}")

    def _more(self) -> bytes:
        """Return what can be read now: of the file that is open, then of one that took its place."""
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
        """Open the file if it is there now, or if another one took its place or it was cut; return whether it did."""
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
        self._close_file()
        # A FIFO is opened for writing too: with one writer always there, it never counts as ended, which a poll would
        # report again and again.
        self._is_fifo = stat.S_ISFIFO(found.st_mode)
        access = os.O_RDWR if self._is_fifo else os.O_RDONLY
        try:
            self._fd = os.open(self.path, access | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise NoInput(f"--fills {self.path}: {error.strerror}") from None
        self._identity = (found.st_dev, found.st_ino)
        self.came = True
        self._read, self._tail = 0, b""
        self._watch_fifo()
        return True

    def _watch_fifo(self) -> None:
        if self._inputs is not None and self._fd is not None and self._is_fifo:
            self._inputs.watch(self._fd, lambda: True)
