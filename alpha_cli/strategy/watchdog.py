"""Interrupts a strategy that does not come back: one that computes or sleeps for longer than it may.

A thread looks, some times in a deadline, at what the main thread is doing. Found in the same call for
as many looks as make the deadline, the call is interrupted: `Overtime` is raised in the strategy's own
code, in the middle of whatever it does. The hot loop pays nothing for it: the thread reads the loop's
variables from outside. What cannot be interrupted is a call into C that neither returns nor lets go of
the interpreter; of those only processes of their own protect, see `workers`.

The clock decides here, not the stream. So the deadline is for strategies that hang, and what becomes
of it is written into the stream.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import CodeType, FrameType
from typing import Any

_LOOKS = 4  # in a deadline
#: Python delivers it to the main thread and to nothing else in alpha.
_SIGNAL = signal.SIGVTALRM


class Overtime(BaseException):
    """A call took longer than its deadline. Not an `Exception`, so that a strategy does not catch it by accident."""


class Watchdog:
    """Watches the calls that the functions with the codes `loops` make; `deadline` is in seconds.

    Those have local variables `executor`, whose call it is, and `lane` or `event`, which tell one event from
    the next. A call may take up to one look more than its deadline.
    """

    def __init__(self, deadline: float, loops: tuple[CodeType, ...]) -> None:
        self.deadline = deadline
        self._loops = loops
        self._main = threading.main_thread().ident
        self._done = threading.Event()
        self._suspect: tuple[int, ...] | None = None
        self._before: Any = None
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """From now on."""
        self._before = signal.signal(_SIGNAL, self._interrupt)
        self._thread.start()

    def stop(self) -> None:
        """No more interruptions."""
        self._done.set()
        self._thread.join()
        signal.signal(_SIGNAL, self._before)

    def _watch(self) -> None:
        seen: tuple[int, ...] | None = None
        looks = 0
        assert self._main is not None
        # Looks are counted, not seconds: a process that was stopped and goes on has not overrun anything.
        while not self._done.wait(self.deadline / _LOOKS):
            found = self._call(sys._current_frames().get(self._main))
            looks = looks + 1 if found is not None and found == seen else 0
            seen = found
            if looks >= _LOOKS:
                self._suspect = found
                signal.pthread_kill(self._main, _SIGNAL)

    def _call(self, frame: FrameType | None) -> tuple[int, ...] | None:
        """What identifies the call of a strategy that `frame` is in: event and executor. None: it is in none."""
        called: FrameType | None = None
        while frame is not None:
            if frame.f_code in self._loops:
                if called is None or called.f_code.co_filename == frame.f_code.co_filename:
                    return None  # between two calls, or in what the loop itself does
                own = frame.f_locals
                lane = own.get("lane")
                return id(own.get("event")), id(lane), 0 if lane is None else lane.ticks, id(own.get("executor"))
            called, frame = frame, frame.f_back
        return None

    def _interrupt(self, _: int, frame: FrameType | None) -> None:
        found = self._call(frame)
        if found is not None and found == self._suspect:
            self._suspect = None
            raise Overtime(f"it took longer than {self.deadline:g} s (--deadline)")
