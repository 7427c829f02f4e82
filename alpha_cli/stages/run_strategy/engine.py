"""The pure step of `run-strategy`: from a tick to the signals of the strategies that follow its instrument.

One lookup finds the strategies of an instrument, however many are loaded. Each strategy has a processor and a
history of its own for each instrument. An exception in a strategy affects no other: it is counted, and after
several in a row the strategy's circuit opens, which a `control` line reports. Time is stream time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from alpha_cli.core.events import Bar, Denial, Event, Fill, Order, OrderUpdate, Portfolio as Statement, Signal, Tick
from alpha_cli.market.contracts import Contracts
from alpha_cli.stages.run_strategy.callbacks import Callback, CallbackResult, Callbacks, skip
from alpha_cli.stages.run_strategy.circuits import Circuits
from alpha_cli.stages.run_strategy.executor import Executor, Recovered, Strategy, tick_cause
from alpha_cli.stages.run_strategy.instrument_queue import NEVER, NO_HISTORY, Call, InstrumentQueue, in_order, keep_last
from alpha_cli.stages.run_strategy.latency import SAMPLING
from alpha_cli.stages.run_strategy.roster import Roster
from alpha_cli.stages.run_strategy.runner_data import Report, RunnerData

if TYPE_CHECKING:
    from alpha_cli.market.calendar import OutOfCoverage


class StrategyRunner:
    """Hosts strategies.

    all_hours     use ticks outside trading hours too
    report        logs a line
    opening_cash  rupees by broker, before any fill
    failures      in a row that open a strategy's circuit
    cool_down     how long it stays open, in stream time
    detail        logs a line for each signal
    contracts     knows the sessions of instruments; by default, those of NSE equity
    fills_come    whether fills are known to reach the run
    """

    def __init__(
        self,
        *,
        all_hours: bool = False,
        report: Report = lambda _: None,
        opening_cash: Mapping[str, Decimal] | None = None,
        failures: int = 5,
        cool_down: timedelta = timedelta(seconds=60),
        detail: Report | None = None,
        contracts: Contracts | None = None,
        fills_come: bool = True,
    ) -> None:
        self.data = RunnerData(
            all_hours=all_hours, report=report, opening_cash=opening_cash, contracts=contracts, fills_come=fills_come
        )
        self.callbacks = Callbacks(self.data)
        self.roster = Roster(self.data, self.callbacks)
        self.circuits = Circuits(self.data, self.roster, failures, cool_down)
        self.strategies = self.data.strategies
        self.disabled = self.data.disabled
        self.queues = self.data.queues
        self.portfolio = self.data.portfolio
        self._current = self.data.current
        self._detail = detail

    @property
    def tick_fields(self) -> tuple[str, ...] | None:
        """Return the fields of a tick that are used besides token, time and price; None: all."""
        fields = [strategy.tick_fields for strategy in self.strategies.values()]
        if any(names is None for names in fields):
            return None
        bars = {"volume_traded", "last_traded_quantity"} if self.data.bars is not None else set()
        return tuple(sorted(bars.union(*(names or () for names in fields))))

    @property
    def outside_session(self) -> int:
        """Return the number of ticks of followed instruments outside the continuous session."""
        return sum(queue.outside for queue in self.queues.values())

    def out_of_coverage(self) -> OutOfCoverage | None:
        """Return the error for ticks of days that no calendar covers; None if there were none."""
        return self.data.contracts.beyond()

    # --- the steps ---------------------------------------------------------------------------

    def on_tick(self, tick: Tick) -> Iterable[Event]:  # noqa: PLR0912  (the hot loop: functions cost time)
        """Return the signals that `tick` causes, strategy by strategy."""
        time = tick.timestamp
        queue = self.data.regular.get(tick.instrument_token)
        ordinal = 0
        calls: Sequence[Call]
        # The quick path of most ticks: later than the last, within a session, no bars to build, nothing due.
        if queue is not None and queue.time < time < queue.until:
            queue.time = time
            queue.again = 0
            queue.ticks = ticks = queue.ticks + 1
            calls = queue.calls if ticks & SAMPLING else queue.sampled
        else:
            due: list[Call] = []
            if self.data.due is not None and time >= self.data.due:
                due = self.callbacks.due(time)
            queue = queue or self.queues.get(tick.instrument_token)
            if queue is None:
                self.data.stranger = tick.instrument_token
                return self._call_all(due, tick) if due else ()
            admitted = self._ordinal(queue, tick)
            if admitted is None:
                due = [*self.callbacks.with_bars(queue, tick, (), due)]
                return self._call_all(due, tick) if due else ()
            ordinal = admitted
            calls = queue.next_calls()
            if due or queue.bars:
                calls = self.callbacks.with_bars(queue, tick, calls, due)
        added: Iterable[Event] = ()
        paused: Strategy | None = None  # at this very tick
        current, own = self._current, queue.own
        for call in calls:
            executor, process, history, remember, forget, most = call
            try:
                if paused is None or executor.strategy is not paused:
                    current.call = call  # for the watchdog
                    result = process(tick, history)
                    if result is not None:
                        added = [*added, *self._handled(executor, tick, result, ordinal)]
                else:
                    skip(process)
            except BaseException as error:  # an exception of a strategy must not end the run
                current.call = None
                if isinstance(error, self.data.passing):
                    raise
                self.data.reserve = None
                controls = self.circuits.failed(executor, time, error, in_callback=history is NO_HISTORY)
                if controls:
                    added, paused = [*added, *controls], executor.strategy
            remember(tick)
            if len(history) > most:
                forget(0)
        current.call = None
        if own is not None:
            keep_last(own, tick)
        return added

    def on_bar(self, bar: Bar) -> Iterable[Event]:
        """Return the signals for a bar in the input, of strategies that take bars and have none built here."""
        queue = self.queues.get(bar.instrument_token)
        if queue is None:
            self.data.stranger = bar.instrument_token
            return ()
        queue.heard = True
        takers = [executor for executor in queue.executors if executor.on_bar is not None and not executor.bars]
        return self._call_all(in_order(self.callbacks.for_bar(takers, bar)), bar)

    def on_fill(self, fill: Fill) -> Iterable[Event]:
        """Enter a fill, give it to its strategy and return the signals."""
        return self._call_all(self.callbacks.for_fill(fill), fill)

    def on_order(self, order: Order) -> Iterable[Event]:
        """Note an order that was placed."""
        self.portfolio.on_order(order)
        return ()

    def on_order_update(self, update: OrderUpdate) -> Iterable[Event]:
        """Note the new status of an order, give it to its strategy and return the signals."""
        return self._call_all(self.callbacks.for_update(update), update)

    def on_denial(self, denial: Denial) -> Iterable[Event]:
        """Give a denial to the strategy whose signal it was, and return the signals."""
        return self._call_all(self.callbacks.for_denial(denial), denial)

    def on_portfolio(self, statement: Statement) -> Iterable[Event]:
        """Take the cash from a broker's statement."""
        self.portfolio.on_portfolio(statement)
        return ()

    def on_quiet_input(self) -> Iterable[Event]:
        """Return the signals for fills that came while no tick comes; those later than the newest tick wait for it."""
        added: list[Event] = []
        for call in self.callbacks.of_the_past():
            executor, callback, *_ = call
            if executor.strategy.stopped is None:
                assert isinstance(callback, Callback)
                added += self._call_all([call], callback.event)
        return added

    def finish(self) -> None:
        """Shut the strategies down after the last tick."""
        for strategy in self.strategies.values():
            self.roster.shut_down(strategy)

    # --- calls and their results ---------------------------------------------------------------

    def _ordinal(self, queue: InstrumentQueue, tick: Tick) -> int | None:
        """Return the number of `tick` among those of its time, 0 for the first; None outside every session."""
        time = tick.timestamp
        if queue.time < time < queue.close:
            queue.again = 0
            queue.time = time
            return 0
        if time == queue.time != NEVER:
            queue.again += 1
            return queue.again
        hours = self.data.contracts.hours_at(tick.instrument_token, time)
        if not hours.contains(time):
            queue.outside += 1
            return None
        if time <= queue.time:
            return queue.count_recent(time)
        queue.again = 0
        queue.time, queue.close = time, hours.close
        queue.until = NEVER if queue.bars else queue.close
        return 0

    def _call_all(self, calls: Iterable[Call], event: Any) -> list[Event]:
        """Make calls that have nothing to do with the tick at hand; return the events they lead to."""
        added: list[Event] = []
        paused: Strategy | None = None
        current = self._current
        current.turns += 1
        for call in calls:
            executor, process, history, *_ = call
            if executor.strategy is paused:
                skip(process)
                continue
            try:
                current.call = call
                result = process(event, history)
                if result is not None:
                    added += self._handled(executor, event, result)
            except BaseException as error:
                current.call = None
                if isinstance(error, self.data.passing):
                    raise
                self.data.reserve = None
                controls = self.circuits.failed(executor, _time_of(event, process), error, in_callback=True)
                if controls:
                    added, paused = [*added, *controls], executor.strategy
        current.call = None
        return added

    def _handled(self, executor: Executor, tick: Any, result: Any, ordinal: int = 0) -> list[Event]:
        """Return the events that a result leads to. Raise `Rejected`, or what the validator raises."""
        if type(result) is CallbackResult:
            signals = self._signals(executor, result.result, result.event, result.timestamp, result.cause)
            executor.callback_streak = 0
            return [*signals]
        recovered = type(result) is Recovered
        if recovered:
            result = result.result
        added: list[Event] = []
        if result is not None:
            added += self._signals(executor, result, tick, tick.timestamp, tick_cause(tick, ordinal))
        if recovered and executor.strategy.stopped is not None:
            self._current.call = None
            added.insert(0, self.circuits.recovered(executor.strategy, tick.timestamp))
        return added

    def _signals(
        self, executor: Executor, result: Any, event: Tick | Bar | Fill, timestamp: datetime, cause: Sequence[object]
    ) -> list[Signal]:
        """Return the signals of `result` once the validator, which is watched, accepts it. Raise `Rejected`."""
        signals = executor.signals(self._current.run(executor, executor.validated, result, event), timestamp, cause)
        if self._detail is not None:
            for signal in signals:
                self._detail(
                    f"signal {signal.signal_id} {signal.strategy_id} {signal.signal_type} {signal.quantity or ''} of "
                    f"{signal.instrument_token} at {signal.timestamp.isoformat()} for {signal.broker}: "
                    f"{signal.reasoning or ''}"
                )
        return signals


def _time_of(event: Any, process: Any) -> datetime:
    """Return the stream time of a call."""
    return process.time if isinstance(process, Callback) else event.timestamp
