"""Calls for something else than the tick at hand: closed bars and fills, each when its stream time has come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import MAXYEAR, datetime, timedelta
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, NamedTuple

from alpha_cli.core.events import Bar, Fill, Order, OrderUpdate, Portfolio as Statement, Tick
from alpha_cli.core.times import later, microseconds
from alpha_cli.stages.run_strategy.executor import Executor, interval_of
from alpha_cli.stages.run_strategy.instrument_queue import (
    NEVER,
    Call,
    InstrumentQueue,
    call_without_history,
    in_order,
)
from alpha_cli.stages.run_strategy.runner_data import RunnerData

if TYPE_CHECKING:
    from alpha_cli.market.bars.builder import BarBuilder

_MICROSECOND = timedelta(microseconds=1)


class CallbackResult(NamedTuple):
    """A result for a bar or a fill, with what its signals are derived from."""

    result: Any
    event: Bar | Fill
    timestamp: datetime
    cause: tuple[object, ...]


class Callback:
    """A function that gives `executor` a bar or a fill, in place of a method for ticks."""

    __slots__ = ("_executor", "event")

    def __init__(self, executor: Executor, event: Bar | Fill) -> None:
        self._executor = executor
        self.event = event

    def __call__(self, _: Tick, __: Sequence[Tick]) -> CallbackResult | None:
        executor, event = self._executor, self.event
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
            executor.callback_streak = 0
            return None
        return CallbackResult(result, event, timestamp, cause)

    def skip(self) -> None:
        """Do not call the strategy, but remember a bar."""
        if isinstance(self.event, Bar):
            self._executor.remember_bar(self.event)


class Callbacks:
    """Finds the callbacks that bars and fills lead to."""

    def __init__(self, data: RunnerData) -> None:
        self._data = data
        self._enqueued = 0

    def enqueue(self, event: Any) -> None:
        """Take a side event; it counts before the first tick that is later. Ignore what is no fill or order report."""
        if not isinstance(event, Fill | Order | OrderUpdate | Statement):
            return
        self._enqueued += 1  # of one time, the first to arrive counts first
        heappush(self._data.pending, (_time_of(event), self._enqueued, event))
        self.note_due()

    def with_bars(self, queue: InstrumentQueue, tick: Tick, calls: Sequence[Call], due: list[Call]) -> Sequence[Call]:
        """Return `calls` with those that come before them: for bars that `tick` closes, and `due`."""
        data = self._data
        if queue.bars and data.bars is not None:
            bars = data.bars.on_tick(tick)
            if bars or data.due is None or data.bars.due < data.due:
                self.note_due()
                due = [*due, *self._for_closed(bars)]
        return in_order([*due, *calls]) if due else calls

    def due(self, time: datetime) -> list[Call]:
        """Return the callbacks that are due before `time`: for fills that arrived, for bars that end."""
        calls = self._for_pending(time)
        if self._data.bars is not None:
            calls += self._for_closed(self._data.bars.advance(time))
        self.note_due()
        return in_order(calls)

    def of_the_past(self) -> list[Call]:
        """Return the callbacks for side events that are not later than the newest tick: they wait for no other."""
        newest = max((queue.time for queue in self._data.queues.values()), default=NEVER)
        calls = [] if newest == NEVER else self._for_pending(later(newest, _MICROSECOND))
        self.note_due()
        return in_order(calls)

    def _for_pending(self, time: datetime) -> list[Call]:
        """Enter the side events before `time`; return the callbacks for the fills among them."""
        data = self._data
        calls: list[Call] = []
        while data.pending and data.pending[0][0] < time:
            event = heappop(data.pending)[2]
            if isinstance(event, Fill):
                calls += self.for_fill(event)
            elif isinstance(event, Order):
                data.portfolio.on_order(event)
            elif isinstance(event, OrderUpdate):
                data.portfolio.on_order_update(event)
            else:
                data.portfolio.on_portfolio(event)
        return calls

    def for_fill(self, fill: Fill) -> list[Call]:
        """Enter `fill` in the portfolio and return the call that gives it to its strategy, if any."""
        data = self._data
        if not data.portfolio.on_fill(fill):
            return []
        strategy = data.strategies.get(fill.strategy_id)
        executor = None if strategy is None else strategy.executors.get(fill.instrument_token)
        if executor is None or executor.on_fill is None or executor.strategy.stopped is not None:
            return []
        return [call_without_history(executor, Callback(executor, fill))]

    def for_bar(self, executors: Iterable[Executor], bar: Bar) -> list[Call]:
        """Return the calls that give `bar` to `executors`; paused ones only remember it."""
        calls = []
        for executor in executors:
            if executor.strategy.stopped is None:
                calls.append(call_without_history(executor, Callback(executor, bar)))
            else:
                executor.remember_bar(bar)
        return calls

    def build_bars(self, wanted: Iterable[tuple[int, str]]) -> None:
        """Build bars for each (token, interval), whether or not a strategy wants them."""
        for token, interval in wanted:
            self.builder().follow(token, [interval_of(interval)])
            self._data.queues.setdefault(token, InstrumentQueue()).build_bars()

    def restore_bars(self, state: Any) -> None:
        """Continue the bars that were being built."""
        self.builder().restore(state)
        self.note_due()

    def builder(self) -> BarBuilder:
        """Return what builds bars; few runs need it."""
        data = self._data
        if data.bars is None:
            from alpha_cli.market.bars.builder import BarBuilder

            data.bars = BarBuilder(all_hours=data.all_hours, contracts=data.contracts)
        return data.bars

    def note_due(self) -> None:
        """Note when something is due next; while anything is, no tick takes the quick path."""
        data = self._data
        dues = [later(data.pending[0][0], _MICROSECOND)] if data.pending else []
        if data.bars is not None and data.bars.due.year < MAXYEAR:
            dues.append(data.bars.due)
        data.due = min(dues, default=None)
        data.regular = data.queues if data.due is None else {}

    def _for_closed(self, bars: Iterable[Bar]) -> list[Call]:
        calls: list[Call] = []
        for bar in bars:
            queue = self._data.queues.get(bar.instrument_token)
            if queue is not None:
                calls += self.for_bar([executor for executor in queue.executors if bar.interval in executor.bars], bar)
        return calls


def skip(process: Any) -> None:
    """Handle a call that is not made because its strategy was paused at this very event."""
    if isinstance(process, Callback):
        process.skip()


def _time_of(event: Any) -> datetime:
    return NEVER if event.timestamp is None else event.timestamp
