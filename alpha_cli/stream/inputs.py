"""What a program waits for, in one place: its input, descriptors and timers of its stages, and signals.

A stage registers descriptors (`watch`) and timers (`every`) when it starts. While a program waits for its input, it
waits for these too; when one fires, the loop lets the stages add events although the input is quiet. A program whose
stages registered nothing reads its input without asking first, so it pays nothing for this.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from alpha_cli.core.errors import InputOutputError
from alpha_cli.stream.lines import READ_SIZE, enlarge_pipe

#: Called when a descriptor is readable or a timer is due; False says that the stages have nothing to say of it.
Ready = Callable[[], object]

_READABLE = select.POLLIN | select.POLLPRI


class _Timer:
    """A call every `seconds`, next at `due` (of the monotonic clock)."""

    def __init__(self, seconds: float, ready: Ready) -> None:
        self.seconds = seconds
        self.ready = ready
        self.due = time.monotonic() + seconds


class Inputs:
    """One poll over the input, registered descriptors, timers and the wake-up of signals.

    What is registered counts from `begin` on: before the first line of the stream no stage may write.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._begun = False
        self._ready: dict[int, Ready] = {}
        self._timers: list[_Timer] = []
        self._waited_for: set[int] = set()  # descriptors of the last `wait`; they stay in the poll from call to call
        self._wake: tuple[int, int] | None = None
        self._fired = False

    def watch(self, fd: int, ready: Ready) -> None:
        """Call `ready` whenever `fd` is readable, until `unwatch`. It need not read all that is there."""
        self._ready[fd] = ready
        if self._begun:
            self._poll.register(fd, _READABLE)

    def unwatch(self, fd: int) -> None:
        """Forget `fd`; one that is not watched is no error."""
        if self._ready.pop(fd, None) is not None and self._begun:
            self._poll.unregister(fd)

    def every(self, seconds: float, ready: Ready) -> None:
        """Call `ready` every `seconds`, for as long as the program runs."""
        self._timers.append(_Timer(seconds, ready))

    def wake_on_signals(self) -> None:
        """Count a signal that Python handles as something that fired: its handler has run by then."""
        if self._wake is None:
            read, write = self._wake = os.pipe()
            for fd in self._wake:
                os.set_blocking(fd, False)
            signal.set_wakeup_fd(write, warn_on_full_buffer=False)
            self.watch(read, self._drain_wake)

    def begin(self) -> None:
        """Wait for what is registered from now on: the stream has begun."""
        if not self._begun:
            self._begun = True
            for fd in self._ready:
                self._poll.register(fd, _READABLE)

    @property
    def only_input(self) -> bool:
        """Whether there is nothing to wait for but the input."""
        return not self._begun or not (self._ready or self._timers)

    def wait(self, *fds: int, seconds: float | None = None) -> set[int]:
        """Wait until one of `fds` is readable, at most `seconds`; return those that are.

        Return earlier when something registered fires; `take_fired` tells.
        """
        self._poll_for(set(fds))
        readable = {fd for fd, _ in self._poll.poll(self._timeout(seconds))}
        for fd in readable & self._ready.keys():
            self._call(self._ready[fd])
        if self._begun and self._timers:
            self._run_timers()
        return readable.intersection(fds)

    def take_fired(self) -> bool:
        """Return whether something fired since the last call that stages may speak of."""
        fired, self._fired = self._fired, False
        return fired

    def close(self) -> None:
        """Stop waking on signals, and forget what is registered."""
        self._ready.clear()
        self._timers.clear()
        if self._wake is not None:
            signal.set_wakeup_fd(-1)
            for fd in self._wake:
                os.close(fd)
            self._wake = None

    def _poll_for(self, fds: set[int]) -> None:
        for fd in self._waited_for - fds:
            self._poll.unregister(fd)
        for fd in fds - self._waited_for:
            self._poll.register(fd, _READABLE)
        self._waited_for = fds

    def _timeout(self, seconds: float | None) -> float | None:
        """Return how long to wait at most, in milliseconds; None: without end."""
        waits = [] if seconds is None else [seconds]
        if self._begun and self._timers:
            now = time.monotonic()
            waits += [timer.due - now for timer in self._timers]
        return max(min(waits), 0.0) * 1000 if waits else None

    def _run_timers(self) -> None:
        now = time.monotonic()
        for timer in self._timers:
            if timer.due <= now:
                timer.due = now + timer.seconds
                self._call(timer.ready)

    def _call(self, ready: Ready) -> None:
        self._fired |= ready() is not False

    def _drain_wake(self) -> None:
        assert self._wake is not None
        with suppress(BlockingIOError):
            while os.read(self._wake[0], 4096):
                pass


def reader(fd: int, inputs: Inputs, size: int = READ_SIZE) -> Callable[[], bytes | None]:
    """Return a function that reads what is there from `fd`, waiting only if nothing is.

    It gives b"" at the end of the input, and None when something registered with `inputs` fired first.
    """
    enlarge_pipe(fd)

    def read() -> bytes | None:
        while True:
            if not (inputs.only_input or inputs.wait(fd)):
                if inputs.take_fired():
                    return None
                continue
            try:
                return os.read(fd, size)
            except BlockingIOError:  # another program set O_NONBLOCK on the shared descriptor
                select.select([fd], [], [])
            except OSError as error:
                raise InputOutputError(f"reading standard input failed: {error.strerror}") from None

    return read
