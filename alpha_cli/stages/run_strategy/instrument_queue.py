"""One instrument: the strategies that follow it, and what a tick needs of each, looked up once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from alpha_cli.core.events import Bar, Fill, Tick
from alpha_cli.core.times import IST, microseconds
from alpha_cli.kit.signal_result import History
from alpha_cli.stages.run_strategy.executor import Aside, Executor, Process
from alpha_cli.stages.run_strategy.latency import SPARED

NEVER = datetime.min.replace(tzinfo=IST)
_DISORDER = 64  # ticks by which a stream may be out of order
_NO_LIMIT = 1 << 62
#: The history of a call that has none.
NOTHING: History = History()

#: executor, what to ask, its history, how to remember a tick, how to forget one, how many to keep
Call = tuple[Executor, Process, History, Callable[[Tick], object], Callable[[int], object], int]


class LaneState(msgspec.Struct):
    """One instrument: where its stream stands, and its newest ticks, oldest first."""

    ticks: int
    again: int
    time: datetime
    history: list[Tick]
    outside: int = 0


class Lane:
    """The executors of one instrument, in the order in which they speak.

    A strategy that stands still keeps its place: something that answers nothing is asked instead, so
    that its history goes on and a tick costs the others nothing. The last ticks are known whoever follows:
    if no strategy keeps that many, the lane keeps them itself, in the `own` history.
    """

    __slots__ = (
        "again", "bars", "calls", "close", "executors", "mark", "outside", "own", "spared", "time", "timed", "until",
    )  # fmt: skip

    def __init__(self) -> None:
        self.executors: list[Executor] = []
        self.own: History | None = None
        self.calls: list[Call] = []
        self.timed: list[Call] = []
        self.bars = False  # whether bars are built of this instrument
        # Ticks to come before the next that is timed, and how many there will have been by then: together the number
        # of those of a session so far. Few small numbers cost less to count down than large ones to count up.
        self.spared = self.mark = SPARED
        self.outside = 0  # ticks of no session
        # The newest time of a session, the end of that session, how many ticks after the first were at that time.
        self.time = self.close = NEVER
        self.until = NEVER  # the same end; NEVER if every tick has to be looked at more closely
        self.again = 0

    @property
    def ticks(self) -> int:
        """Those of a session so far."""
        return self.mark - self.spared

    def counted(self) -> list[Call]:
        """One more tick: whom to ask about it."""
        if self.spared:
            self.spared -= 1
            return self.calls
        self.mark += SPARED + 1
        self.spared = SPARED
        return self.timed

    def build_bars(self) -> None:
        """Bars are built of this instrument from now on."""
        self.bars = True
        self.until = NEVER

    def add(self, executor: Executor) -> None:
        """Have `executor` follow the instrument, after those of strategies that come before its own."""
        last = self.executors[-1].strategy.place if self.executors else None
        self.executors.append(executor)
        as_before = last is not None and (self.own is None or executor.strategy.config.max_history < _DISORDER)
        if as_before and executor.strategy.place >= (last or 0):  # a new list: the old one may be in use, one tick long
            call = self._call(executor)
            self.calls, self.timed = [*self.calls, call], [*self.timed, _timed(call)]
        else:
            self.arrange()

    def arrange(self) -> None:
        """Look up anew whom to ask, after a change."""
        self.executors.sort(key=lambda executor: executor.strategy.place)
        self._keep_enough()
        self.calls = [self._call(executor) for executor in self.executors]
        self.timed = [_timed(call) for call in self.calls]
        if self.own is not None:
            call = _keeping(self.own)
            self.calls.append(call)
            self.timed.append(call)

    def earlier(self, time: datetime) -> int:
        """How many of the last ticks were at `time`: for one that comes after later ones."""
        return sum(past.timestamp == time for past in self.longest()[-_DISORDER:])

    def longest(self) -> History:
        """The longest history kept of this instrument; every other one is the end of it."""
        kept = [executor.history for executor in self.executors]
        return max(kept if self.own is None else [*kept, self.own], key=len, default=NOTHING)

    def state(self) -> LaneState:
        """Where it is."""
        return LaneState(self.ticks, self.again, self.time, list(self.longest()), self.outside)

    def restore(self, state: LaneState) -> None:
        """Be where the lane was that gave `state`; what its executors keep is theirs to restore."""
        self.again, self.time, self.outside = state.again, state.time, state.outside
        self.mark = state.ticks | SPARED
        self.spared = self.mark - state.ticks
        self.close = self.until = NEVER
        self.own = History(state.history[-_DISORDER:])
        self.arrange()

    def _keep_enough(self) -> None:
        """Keep the last ticks in `own` unless a strategy does."""
        known = max([*(call[2] for call in self.calls), self.own or NOTHING], key=len)[-_DISORDER:]
        if any(
            one.strategy.config.max_history >= _DISORDER and len(one.history) >= len(known) for one in self.executors
        ):
            self.own = None
        elif self.own is None or len(self.own) < len(known):
            self.own = History(known)

    def _call(self, executor: Executor) -> Call:
        history = executor.history
        remember, forget = list.append.__get__(history), list.pop.__get__(history)  # History itself refuses
        return executor, self._process_of(executor), history, remember, forget, executor.strategy.config.max_history

    def _process_of(self, executor: Executor) -> Process:
        stopped = executor.strategy.stopped
        if stopped is None:
            executor.start()
            return executor.now
        executor.stop()
        return _idle if stopped.until is None else executor.waiting(stopped.until)


class _Nobody:
    """In place of an executor where a lane remembers for itself."""

    class strategy:  # noqa: N801  (stands for an instance)
        place = _NO_LIMIT


def _keeping(history: History) -> Call:
    """The call that asks nobody and remembers a tick."""
    remember, forget = list.append.__get__(history), list.pop.__get__(history)
    return _Nobody, _idle, history, remember, forget, _DISORDER  # type: ignore[return-value]  # nothing is asked of it


def _timed(call: Call) -> Call:
    executor, process, *rest = call
    return executor, executor.timed(process), *rest  # type: ignore[return-value]  # as they came


class Told:
    """The call that tells `executor` of a bar or a fill; its answer carries its own cause."""

    __slots__ = ("_event", "_executor")

    def __init__(self, executor: Executor, event: Bar | Fill) -> None:
        self._executor = executor
        self._event = event

    def __call__(self, _: Tick, __: Sequence[Tick]) -> Any:
        executor, event = self._executor, self._event
        if isinstance(event, Bar):
            assert executor.on_bar is not None
            try:
                result = executor.on_bar(event, executor.bar_history(event.interval))
            finally:
                executor.remember_bar(event)
            cause: tuple[object, ...] = ("bar", event.interval, microseconds(event.end))
            timestamp = event.end
        else:
            assert executor.on_fill is not None
            result = executor.on_fill(event)
            cause, timestamp = ("fill", event.fill_id), event.timestamp
        if result is None:
            executor.streak_aside = 0
            return None
        return Aside(result, event, timestamp, cause)

    def skip(self) -> None:
        """Do not call; but a bar is remembered all the same."""
        if isinstance(self._event, Bar):
            self._executor.remember_bar(self._event)


def aside(executor: Executor, event: Bar | Fill) -> Call:
    """The call that tells `executor` of `event`."""
    return executor, Told(executor, event), NOTHING, _ignored, _ignored, _NO_LIMIT


def in_order(calls: Iterable[Call]) -> list[Call]:
    """Strategy by strategy; of one strategy in the order given."""
    return sorted(calls, key=lambda call: call[0].strategy.place)


def _idle(_: Tick, __: Sequence[Tick]) -> None:
    """In place of a strategy that stands still."""


def _ignored(_: Any) -> None:
    """A call that has no history of its own remembers nothing."""
