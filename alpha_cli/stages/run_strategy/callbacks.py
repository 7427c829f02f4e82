"""Calls for something else than the tick at hand, each when its stream time has come.

Closed bars, fills, denials and reports on orders.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import MAXYEAR, datetime, timedelta
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, NamedTuple

from alpha_cli.core.events import Bar, Denial, Fill, Order, OrderUpdate, Portfolio as Statement, Tick
from alpha_cli.core.times import later, microseconds
from alpha_cli.stages.run_strategy.executor import Executor, interval_of
from alpha_cli.stages.run_strategy.failures import Rejected
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


#: What a strategy is called for besides ticks.
Heard = Bar | Fill | Denial | OrderUpdate


class CallbackResult(NamedTuple):
    """A result for something else than a tick, with what its signals are derived from.

    event  what the validator is shown: the bar or the fill; for a denial or an order's report the newest tick
    """

    result: Any
    event: Tick | Bar | Fill
    timestamp: datetime
    cause: tuple[object, ...]


class Callback:
    """A function that gives `executor` something else than a tick, in place of a method for ticks.

    time  stream time of the event
    last  the newest tick of the instrument, which a validator judges answers to reports by
    """

    __slots__ = ("_executor", "event", "last", "time")

    def __init__(self, executor: Executor, event: Heard, time: datetime, last: Tick | None = None) -> None:
        self._executor = executor
        self.event = event
        self.time = time
        self.last = last

    def __call__(self, _: Tick, __: Sequence[Tick]) -> CallbackResult | None:
        executor, event = self._executor, self.event
        executor.strategy.callbacks += 1
        result = self._answer(executor, event)
        if result is None:
            executor.callback_streak = 0
            return None
        shown = event if isinstance(event, Bar | Fill) else self.last
        if shown is None:
            raise Rejected("no tick of the instrument has come yet, so there is no price to judge its answer by")
        if shown is self.last:
            executor.count_answer()
        return CallbackResult(result, shown, self.time, _cause_of(event))

    def skip(self) -> None:
        """Do not call the strategy, but remember a bar."""
        if isinstance(self.event, Bar):
            self._executor.remember_bar(self.event)

    def _answer(self, executor: Executor, event: Heard) -> Any:
        if isinstance(event, Bar):
            assert executor.on_bar is not None
            try:
                return executor.on_bar(event, executor.bar_history(event.interval))
            finally:
                executor.remember_bar(event)
        methods = {Fill: executor.on_fill, Denial: executor.on_denial, OrderUpdate: executor.on_order_update}
        method = methods[type(event)]
        assert method is not None
        return method(event)


def _cause_of(event: Heard) -> tuple[object, ...]:
    """Return what identifies `event` as the cause of a signal."""
    if isinstance(event, Bar):
        return "bar", event.interval, microseconds(event.end)
    if isinstance(event, Fill):
        return "fill", event.fill_id
    if isinstance(event, Denial):
        return "denial", event.signal_id, event.code
    return "order_update", event.order_id, event.status, event.filled_quantity


class Callbacks:
    """Finds the callbacks that bars and fills lead to."""

    def __init__(self, data: RunnerData) -> None:
        self._data = data
        self._enqueued = 0

    def enqueue(self, event: Any) -> None:
        """Take a side event; it counts before the first tick that is later. Ignore what is no fill or order report."""
        if not isinstance(event, Fill | Order | OrderUpdate | Denial | Statement):
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
                calls += self.for_update(event)
            elif isinstance(event, Denial):
                calls += self.for_denial(event)
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
        return [call_without_history(executor, Callback(executor, fill, fill.timestamp))]

    def for_denial(self, denial: Denial) -> list[Call]:
        """Return the call that tells a strategy once that risk refused its signal or its order."""
        executor = self._of(denial.strategy_id, denial.instrument_token)
        if executor is None or executor.on_denial is None:
            return []
        return self._report(executor, denial, f"{denial.signal_id} {denial.code} {denial.order_id or ''}")

    def for_update(self, update: OrderUpdate) -> list[Call]:
        """Enter `update` in the portfolio and return the call that tells its strategy once."""
        portfolio = self._data.portfolio
        known = portfolio.data.orders.get(update.order_id)
        portfolio.on_order_update(update)
        name, token = update.strategy_id, update.instrument_token
        if known is not None:
            name, token = name or known.strategy_id, token or known.instrument_token
        executor = self._of(name, token)
        if executor is None or executor.on_order_update is None:
            return []
        return self._report(executor, update, f"{update.order_id} {update.status} {update.filled_quantity}")

    def _of(self, strategy_id: str | None, token: int | None) -> Executor | None:
        """Return what to call for a report on an order of a strategy; without a token, its first that there is."""
        strategy = self._data.strategies.get(strategy_id or "")
        if strategy is None or strategy.stopped is not None:
            return None
        found = strategy.executors
        return next(iter(found.values()), None) if token is None else found.get(token)

    def _report(self, executor: Executor, report: Denial | OrderUpdate, key: str) -> list[Call]:
        queue = self._data.queue_of(executor)
        newest = NEVER if queue is None else queue.time
        time = report.timestamp or newest
        if time == NEVER or not self._data.portfolio.is_new_report(key):
            return []
        last = queue.longest()[-1:] if queue is not None else ()
        return [call_without_history(executor, Callback(executor, report, time, *last))]

    def for_bar(self, executors: Iterable[Executor], bar: Bar) -> list[Call]:
        """Return the calls that give `bar` to `executors`; paused ones only remember it."""
        calls = []
        for executor in executors:
            if executor.strategy.stopped is None:
                calls.append(call_without_history(executor, Callback(executor, bar, bar.end)))
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
