"""How a stage stops when it is asked to.

Ctrl-C and a service manager signal every stage of a pipeline at once. If all of them left, what is
in the pipes would be lost; so only the source stops, and the others read on to the end of their
input, for at most `--drain` seconds. A second Ctrl-C leaves at once; a second SIGTERM is ignored,
because a manager and a shell both send one.

SIGHUP comes from a terminal that was closed, and is then a SIGTERM; for a program without a terminal it asks to reload.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

from alpha_cli.stream.inputs import Inputs


def ends_with_its_terminal() -> bool:
    """Return whether the program belongs to a terminal, and was not told to outlive it, as by nohup."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


class LeaveNow(BaseException):
    """Draining took too long, or a person insisted: leave without another line."""

    def __init__(self, code: int, why: str, *, late: bool = False) -> None:
        super().__init__(why)
        self.code = code
        self.late = late


class Shutdown:
    """Installs the handlers of one process; `requested` is the first signal that asked to stop."""

    def __init__(self, drain: float, inputs: Inputs | None = None) -> None:
        self.requested: int | None = None
        self._drain = drain
        self._inputs = inputs or Inputs()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        os.set_blocking(self._wake_read, False)

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._asked)
        # Ignored where nothing can be reloaded; a stage that can reload takes it.
        signal.signal(signal.SIGHUP, self._asked if ends_with_its_terminal() else signal.SIG_IGN)
        signal.signal(signal.SIGALRM, self._too_late)

    def finish(self) -> None:
        """No more interruptions: a late signal must not turn a good end into a bad one."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self.close()

    def close(self) -> None:
        """Let go of the pipe that wakes a waiting source."""
        os.close(self._wake_read)
        os.close(self._wake_write)

    def wait(self, seconds: float) -> bool:
        """Sleep, but no longer than until a signal asks to stop; return True if something registered fired first."""
        if self.requested is None and seconds > 0:
            self._inputs.wait(self._wake_read, seconds=seconds)
        return self._inputs.take_fired()

    def side_input_fired(self) -> bool:
        """Return whether a side input fired since the last call: time to yield an empty batch."""
        return self._inputs.take_fired()

    def readable(self, fd: int, seconds: float | None = None) -> bool:
        """Wait for `fd` to have something to read; return False if a signal or something registered came first.

        With `seconds`, wait no longer than that.
        """
        if self.requested is not None:
            return False
        return fd in self._inputs.wait(fd, self._wake_read, seconds=seconds) and self.requested is None

    def _asked(self, number: int, _: FrameType | None) -> None:
        if self.requested is None:
            self.requested = number
            signal.setitimer(signal.ITIMER_REAL, max(self._drain, 0.001))
            os.write(self._wake_write, b"!")
        elif number == signal.SIGINT:
            raise LeaveNow(130, "interrupted twice; the rest of the input was not read")

    def _too_late(self, number: int, _: FrameType | None) -> None:
        del number
        code = 128 + (self.requested or signal.SIGTERM)
        raise LeaveNow(
            code, f"input did not end within {self._drain:g} s; the rest of it was not read (--drain)", late=True
        )
