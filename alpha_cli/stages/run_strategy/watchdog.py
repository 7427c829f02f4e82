"""Interrupts a strategy that does not return: one that computes or sleeps for longer than it may.

The runner notes each call of a strategy in a `CurrentCall` before it makes it. A thread looks at this note
several times in a deadline. When it has found the same call for as many looks as make the deadline, it sends a
signal to the main thread, whose handler raises `Overtime` in the strategy's own code, wherever that is. Only a
call into C that neither returns nor releases the interpreter cannot be interrupted; `workers` protect from those.

The computer's clock decides here, not the stream. So the deadline is for strategies that hang, and its effect
is written into the stream.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_LOOKS = 4  # in a deadline
#: Python delivers it to the main thread, and nothing else in alpha uses it.
_SIGNAL = signal.SIGVTALRM


class Overtime(BaseException):
    """A call took longer than its deadline. Not an `Exception`, so that a strategy does not catch it by accident."""


class CurrentCall:
    """The call of a strategy that the main thread is making.

    call   a tuple that begins with the executor, another object for each method; None between two calls
    turns  events other than ticks that strategies were called for
    """

    __slots__ = ("call", "turns")

    def __init__(self) -> None:
        self.call: tuple[Any, ...] | None = None
        self.turns = 0

    def run(self, executor: Any, function: Callable[..., Any], *given: Any) -> Any:
        """Return what `function`, code of the strategy, returns; it is watched meanwhile."""
        self.call = (executor, function)
        try:
            return function(*given)
        finally:
            self.call = None


class Watchdog:
    """Interrupts a call noted in `current` that takes longer than `deadline` seconds, or at most a look more.

    `loop` is the namespace of the module that makes the calls: its own code is never interrupted. It may have
    returned from a call that it has not taken out of `current` yet.
    """

    def __init__(self, current: CurrentCall, deadline: float, loop: dict[str, Any]) -> None:
        self.deadline = deadline
        self._current = current
        self._loop = loop
        self._main = threading.main_thread().ident
        self._done = threading.Event()
        self._suspect: tuple[int, int, object] | None = None
        self._handler_before: Any = None
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch. Several watchdogs may watch one process: each passes the signal on."""
        self._handler_before = signal.signal(_SIGNAL, self._interrupt)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._done.set()
        self._thread.join()
        self._suspect = None
        if signal.getsignal(_SIGNAL) == self._interrupt and callable(self._handler_before):
            signal.signal(_SIGNAL, self._handler_before)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Raise `Overtime` if the main thread is still in the call that took too long."""
        if self._suspect is not None and frame is not None and frame.f_globals is not self._loop:
            found = self._found()
            if found is not None and _same(found, self._suspect):
                self._suspect = None
                raise Overtime(f"it took longer than {self.deadline:g} s (--deadline)")
        if callable(self._handler_before):
            self._handler_before(number, frame)

    def _watch(self) -> None:
        seen: tuple[int, int, object] | None = None
        looks = 0
        assert self._main is not None
        # Looks are counted, not seconds: a process that was stopped and continues has not overrun anything.
        while not self._done.wait(self.deadline / _LOOKS):
            found = self._found()
            looks = looks + 1 if found is not None and seen is not None and _same(found, seen) else 0
            seen = found
            if looks >= _LOOKS:
                self._suspect = found
                signal.pthread_kill(self._main, _SIGNAL)

    def _found(self) -> tuple[int, int, object] | None:
        """Return what identifies the current call: events and ticks so far, and the note itself."""
        call = self._current.call
        if call is None:
            return None
        counter = call[0].counter
        return self._current.turns, 0 if counter is None else counter.ticks, call


def _same(one: tuple[int, int, object], other: tuple[int, int, object]) -> bool:
    return one[:2] == other[:2] and one[2] is other[2]
