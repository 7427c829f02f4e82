"""What the watchdog interrupts: a call that is noted and takes too long, in code of the strategy, and nothing else."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from alpha_cli.stages.run_strategy.latency import TickCounter
from alpha_cli.stages.run_strategy.watchdog import CurrentCall, Overtime, Watchdog

DEADLINE = 0.08
LONG = 6 * DEADLINE

#: Code of a strategy: in a namespace of its own.
STRATEGY: dict[str, Any] = {"time": time}
exec(
    """
def spin(seconds, tick=lambda: None):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        tick()
""",
    STRATEGY,
)
spin = STRATEGY["spin"]


@contextmanager
def watched(current: CurrentCall, loop: dict[str, Any] | None = None) -> Iterator[Watchdog]:
    """A watchdog of `current`; `loop` is the namespace of the loop."""
    watchdog = Watchdog(current, DEADLINE, {} if loop is None else loop)
    watchdog.start()
    try:
        yield watchdog
    finally:
        watchdog.stop()


def executor() -> Any:
    return SimpleNamespace(counter=TickCounter())


def test_a_call_over_its_deadline_is_interrupted_and_no_call_is_noted_then() -> None:
    """It raises in the call itself."""
    current = CurrentCall()
    with watched(current), pytest.raises(Overtime, match=r"longer than 0\.08 s"):
        current.run(executor(), spin, 50 * DEADLINE)
    assert current.call is None


def test_between_two_calls_nothing_is_interrupted() -> None:
    """However long the process computes for itself."""
    with watched(CurrentCall()):
        spin(LONG)


def test_the_same_method_at_tick_after_tick_is_no_long_call() -> None:
    """The count of ticks tells one call of it from the next, although the note is the same object."""
    current, one = CurrentCall(), executor()
    call = (one, spin)

    def count() -> None:
        one.counter.ticks += 1

    with watched(current):
        current.call = call
        spin(LONG, count)


def test_events_other_than_ticks_tell_two_calls_apart_too() -> None:
    """By the count of turns."""
    current = CurrentCall()

    def count() -> None:
        current.turns += 1

    with watched(current):
        current.call = (executor(), spin)
        spin(LONG, count)


def test_code_of_the_loop_is_never_interrupted() -> None:
    """Its note may be that of a call which has just returned; in the strategy's code the interrupt comes."""
    current = CurrentCall()
    with watched(current, globals()):
        current.call = (executor(), spin)
        ends = time.monotonic() + LONG
        while time.monotonic() < ends:
            sum(range(100))
        interrupted = False
        try:  # not pytest.raises: its own code is neither the loop's nor the strategy's
            spin(50 * DEADLINE)
        except Overtime:
            interrupted = True
    assert interrupted


def test_two_watchdogs_of_one_process_each_interrupt_their_own_calls() -> None:
    """As in a pipeline with two runners; and the handler is as before when both have stopped."""
    before = signal.getsignal(signal.SIGVTALRM)
    first, second = CurrentCall(), CurrentCall()
    with watched(first), watched(second):
        for current in (first, second):
            with pytest.raises(Overtime):
                current.run(executor(), spin, 50 * DEADLINE)
    if callable(before):
        assert signal.getsignal(signal.SIGVTALRM) == before
