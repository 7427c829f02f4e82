"""The queue of one instrument: the strategies that follow it, and what a tick needs of each, looked up once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec

from alpha_cli.core.events import Tick
from alpha_cli.core.times import IST
from alpha_cli.kit.signal_result import History
from alpha_cli.stages.run_strategy.executor import Executor, Process
from alpha_cli.stages.run_strategy.latency import SAMPLING, TickCounter

NEVER = datetime.min.replace(tzinfo=IST)
_DISORDER = 64  # ticks by which a stream may be out of order
_NO_LIMIT = 1 << 62
#: The history of a call that has none.
NO_HISTORY: History = History()

#: Executor, method to call, its history, append to it, drop from it, ticks to keep.
Call = tuple[Executor, Process, History, Callable[[Tick], object], Callable[[int], object], int]


class QueueState(msgspec.Struct):
    """The position of one instrument in the stream, and its newest ticks, oldest first."""

    ticks: int
    again: int
    time: datetime
    history: list[Tick]
    outside: int = 0
    before: int = 0
    heard: bool = False


class InstrumentQueue(TickCounter):
    """The executors of one instrument, in the order in which they are called.

    A paused strategy keeps its place: a function that answers nothing is called instead, so that its history
    grows and the other strategies pay nothing. The last ticks are always kept: if no strategy keeps enough of
    them, the queue does, in `own`.

    own      the last ticks, kept here; None if a strategy keeps them
    calls    what a tick has to call; a change makes a new list, because the old one may be in use
    sampled  the same with each call timed
    bars     whether bars are built of this instrument
    outside  ticks outside every session
    before   ticks of earlier runs, those outside sessions included
    heard    whether anything else than ticks has come of it in this run
    time     of the newest tick within a session
    close    the end of that session
    until    the same end; `NEVER` if every tick needs the slow path
    again    ticks after the first with this `time`
    """

    __slots__ = (
        "again", "bars", "before", "calls", "close", "executors", "heard", "outside", "own", "sampled", "time", "until",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.executors: list[Executor] = []
        self.own: History | None = None
        self.calls: list[Call] = []
        self.sampled: list[Call] = []
        self.bars = False
        self.outside = self.before = 0
        self.heard = False
        self.time = self.close = self.until = NEVER
        self.again = 0

    @property
    def came(self) -> bool:
        """Return whether anything of the instrument has come in this run."""
        return self.heard or self.ticks + self.outside > self.before

    def begin_run(self) -> None:
        """Count what has come so far as of earlier runs."""
        self.before = self.ticks + self.outside
        self.heard = False

    def next_calls(self) -> list[Call]:
        """Count a tick and return what it has to call."""
        self.ticks += 1
        return self.calls if self.ticks & SAMPLING else self.sampled

    def build_bars(self) -> None:
        """Build bars of this instrument from now on."""
        self.bars = True
        self.until = NEVER

    def add(self, executor: Executor) -> None:
        """Let `executor` follow the instrument, after those of strategies with a lower place."""
        last = self.executors[-1].strategy.place if self.executors else None
        self.executors.append(executor)
        enough_kept = self.own is None or executor.strategy.config.max_history < _DISORDER
        if last is not None and enough_kept and executor.strategy.place >= last:
            call = self._call(executor)
            self.calls, self.sampled = [*self.calls, call], [*self.sampled, _sampled(call)]
        else:
            self.arrange()

    def remove(self, executor: Executor) -> None:
        """Take `executor` out; the queue keeps the time and the last ticks."""
        executor.stop()
        self.executors.remove(executor)
        self.arrange()

    def arrange(self) -> None:
        """Rebuild the list of calls after a change."""
        self.executors.sort(key=lambda executor: executor.strategy.place)
        self._keep_enough()
        self.calls = [self._call(executor) for executor in self.executors]
        self.sampled = [_sampled(call) for call in self.calls]

    def count_recent(self, time: datetime) -> int:
        """Count the recent ticks with this timestamp, for an out-of-order tick."""
        return sum(past.timestamp == time for past in self.longest()[-_DISORDER:])

    def longest(self) -> History:
        """Return the longest history kept of this instrument; every other one is its tail."""
        kept = [executor.history for executor in self.executors]
        return max(kept if self.own is None else [*kept, self.own], key=len, default=NO_HISTORY)

    def state(self) -> QueueState:
        """Return the state for a snapshot."""
        return QueueState(
            self.ticks, self.again, self.time, list(self.longest()), self.outside, self.before, self.heard
        )

    def restore(self, state: QueueState) -> None:
        """Continue from `state`; the histories of executors are restored elsewhere."""
        self.ticks, self.again, self.time, self.outside = state.ticks, state.again, state.time, state.outside
        self.before, self.heard = state.before, state.heard
        self.close = self.until = NEVER
        self.own = History(state.history[-_DISORDER:])
        self.arrange()

    def _keep_enough(self) -> None:
        """Keep the last ticks in `own` unless a strategy keeps as many."""
        known = max([*(call[2] for call in self.calls), self.own or NO_HISTORY], key=len)[-_DISORDER:]
        if any(
            executor.strategy.config.max_history >= _DISORDER and len(executor.history) >= len(known)
            for executor in self.executors
        ):
            self.own = None
        elif self.own is None or len(self.own) < len(known):
            self.own = History(known)

    def _call(self, executor: Executor) -> Call:
        history = executor.history
        remember, forget = list.append.__get__(history), list.pop.__get__(history)  # History itself refuses
        return executor, _process_of(executor), history, remember, forget, executor.strategy.config.max_history


def keep_last(own: History, tick: Any) -> None:
    """Append `tick` to the last ticks that a queue keeps itself."""
    list.append(own, tick)
    if len(own) > _DISORDER:
        list.pop(own, 0)


def call_without_history(executor: Executor, process: Process) -> Call:
    """Return a call that remembers nothing."""
    return executor, process, NO_HISTORY, _ignore, _ignore, _NO_LIMIT


def in_order(calls: Iterable[Call]) -> list[Call]:
    """Return `calls` by the places of their strategies; those of one strategy in the order given."""
    return sorted(calls, key=lambda call: call[0].strategy.place)


def _process_of(executor: Executor) -> Process:
    """Return what to call for a tick; also start or stop the executor's count of calls."""
    stopped = executor.strategy.stopped
    if stopped is None:
        executor.start()
        return executor.process
    executor.stop()
    return _idle if stopped.until is None else executor.retry_from(stopped.until)


def _sampled(call: Call) -> Call:
    executor, process, *rest = call
    return executor, executor.timed(process), *rest  # type: ignore[return-value]  # the rest has not changed


def _idle(_: object, __: object) -> None:
    """Do nothing, in place of a paused strategy."""


def _ignore(_: Any) -> None:
    """Remember nothing."""
