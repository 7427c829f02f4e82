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
    """Watches the calls that `runner` makes in the functions with the codes `loops`; `deadline` is in seconds.

    Those have local variables `self`, `executor` and `process`, whose call it is. Besides, all that is called
    in the functions with the codes `gates` is a strategy's own, wherever in a loop they are called. A call may
    take up to one look more than its deadline.
    """

    def __init__(
        self, runner: Any, deadline: float, loops: tuple[CodeType, ...], gates: tuple[CodeType, ...] = ()
    ) -> None:
        self.deadline = deadline
        self._runner = runner
        self._loops = loops
        self._gates = gates
        self._main = threading.main_thread().ident
        self._done = threading.Event()
        self._suspect: tuple[int, ...] | None = None
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """From now on."""
        _watching.append(self)
        signal.signal(_SIGNAL, _interrupt)
        self._thread.start()

    def stop(self) -> None:
        """No more interruptions."""
        self._done.set()
        self._thread.join()
        _watching.remove(self)

    def interrupt(self, frame: FrameType | None) -> None:
        """Raise `Overtime` if `frame` is still in the call that was found to take too long."""
        if self._suspect is not None and self._call(frame) == self._suspect:
            self._suspect = None
            raise Overtime(f"it took longer than {self.deadline:g} s (--deadline)")

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
        """What identifies the call of a strategy that `frame` is in: event and method. None: it is in none."""
        called: FrameType | None = None
        gate = 0
        while frame is not None:
            if frame.f_code in self._gates and called is not None:
                gate = id(frame.f_code)
            if frame.f_code in self._loops:
                if called is None or (not gate and called.f_code.co_filename == frame.f_code.co_filename):
                    return None  # between two calls, or in what the loop itself does
                own = frame.f_locals
                if own["self"] is not self._runner or "executor" not in own:
                    return None
                lane = own.get("lane")
                ticks = 0 if lane is None else lane.ticks
                return self._runner.turns, ticks, id(own["executor"]), id(own["process"]), gate
            called, frame = frame, frame.f_back
        return None


_watching: list[Watchdog] = []


def _interrupt(_: int, frame: FrameType | None) -> None:
    for watchdog in _watching:
        watchdog.interrupt(frame)
