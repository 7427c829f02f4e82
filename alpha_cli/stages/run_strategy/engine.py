"""The step of `run-strategy`: a tick to the signals of the strategies that follow its instrument.

An instrument finds its strategies by one lookup, however many are loaded. Each strategy has a
processor and a history of its own for each instrument. What a strategy raises stays with it: it is
counted, and after some failures in a row the strategy's circuit opens, which a `control` line tells.
Time is that of the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import MAXYEAR, datetime, timedelta
from decimal import Decimal
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, NamedTuple

from alpha_cli.core.events import RUNNER, Bar, Control, Event, Fill, Order, OrderUpdate, Portfolio as Statement, Tick
from alpha_cli.market.contracts import Contracts
from alpha_cli.stages.run_strategy.config import StrategyConfig
from alpha_cli.stages.run_strategy.executor import (
    Aside,
    Cause,
    Disabled,
    Executor,
    Garbage,
    Recovered,
    Rejected,
    Strategy,
    interval_of,
    tick_cause,
)
from alpha_cli.stages.run_strategy.factory import told
from alpha_cli.stages.run_strategy.instrument_queue import (
    NEVER,
    NOTHING,
    Call,
    Lane,
    LaneState,
    Told,
    aside,
    in_order,
)
from alpha_cli.stages.run_strategy.portfolio import Portfolio
from alpha_cli.stages.run_strategy.watchdog import Overtime
from alpha_cli.stream.log import worth_logging
from alpha_cli.stream.shutdown import LeaveNow

if TYPE_CHECKING:
    from alpha_cli.market.calendar import OutOfCoverage
    from alpha_cli.stages.bars.engine import BarBuilder

Report = Callable[[str], None]

#: Characters of somebody's words that the runner repeats; the whole could be too long for its line.
MOST_SAID = 500
_RESERVE = 8 << 20
_RECOVERED = "circuit closed: it did not fail this time"
_MICROSECOND = timedelta(microseconds=1)


class Known(NamedTuple):
    """What is known of instruments, by token, and of the bars that are being built of them."""

    lanes: Mapping[int, LaneState] = {}
    series: Sequence[Any] = ()


class StrategyRunner:
    """Hosts strategies.

    all_hours     ticks outside the continuous session count too
    report        is told of each failure worth a line
    opening_cash  rupees by broker, before any fill
    failures      in a row that open a strategy's circuit
    cool_down     how long it stays open, in the time of the stream
    detail        is told of each signal
    venue         knows the sessions of instruments; by itself, those of NSE equity
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
        venue: Contracts | None = None,
    ) -> None:
        self.all_hours = all_hours
        self.strategies: dict[str, Strategy] = {}
        self.disabled: dict[str, str] = {}  # id -> why it does not run at all
        self.portfolio = Portfolio(opening_cash)
        self.lanes: dict[int, Lane] = {}
        self.bars: BarBuilder | None = None  # made when somebody wants bars
        self.report = report
        #: What is raised inside a call and yet is no failure of the strategy's.
        self.passing: tuple[type[BaseException], ...] = (LeaveNow, KeyboardInterrupt)
        self._detail = detail
        self.turns = 0  # events other than ticks that strategies were asked about
        #: Let go of when memory runs out: without any even that cannot be dealt with.
        self.reserve: bytes | None = bytes(_RESERVE)  # of zeros: reserved, but not touched
        self._venue = venue or Contracts(all_hours=all_hours)
        self._failures = failures
        self._cool_down = cool_down
        self.arrived: list[tuple[datetime, int, Any]] = []  # a heap: from beside the stream, until its time has come
        self._arrivals = 0
        #: What other processes know, while strategies change here: see `knowing`.
        self.elsewhere = Known()
        self._known = Known()
        self._usual = self.lanes  # none of them while something is due some time
        self._due: datetime | None = None  # the first moment at which more than a tick is to be looked at

    # --- who runs ----------------------------------------------------------------------------

    def add(self, strategy: Strategy) -> None:
        """Have `strategy` run from the next tick on, unless its model cannot be loaded."""
        try:
            strategy.load_model()
        except Disabled as why:
            self.disable(strategy.id, str(why))
            return
        self.disabled.pop(strategy.id, None)
        self.strategies[strategy.id] = strategy
        self.follow(strategy)

    def disable(self, name: str, why: str) -> None:
        """Do without a strategy that cannot run."""
        self.disabled[name] = why
        self.report(f"{name} is disabled: {why} (other strategies go on)")

    def follow(self, strategy: Strategy, remember: Collection[int] = ()) -> None:
        """Put the executors of `strategy` where the ticks come by, with the history there is.

        Those of the instruments `remember` know it already.
        """
        for token, executor in strategy.executors.items():
            known = self._known.lanes.get(token)
            lane = self.lanes.get(token)
            if lane is None:
                lane = self.lanes[token] = Lane()
                if known is not None:
                    lane.restore(known)
            if not executor.history:
                past = lane.longest() if known is None else known.history
                list.extend(executor.history, past[-strategy.config.max_history :])
            list.__setitem__(executor.history, slice(None), map(_whole, executor.history))
            executor.lane = lane
            if executor.bars:
                self._builder().follow(token, map(interval_of, executor.bars))
                lane.build_bars()
            lane.add(executor)
            if token not in remember:
                self._warm_up(executor)

    @contextmanager
    def knowing(self) -> Iterator[None]:
        """While many strategies change: those that begin find what was known before, whoever leaves meanwhile.

        With what is known `elsewhere` it is what one process would know that hosts them all.
        """
        mine = {token: lane.state() for token, lane in self.lanes.items()}
        others = {
            token: state
            for token, state in self.elsewhere.lanes.items()
            if token not in mine or len(state.history) > len(mine[token].history)
        }
        built = {(one["token"], one["interval"]) for one in self.bars.snapshot()["series"]} if self.bars else set()
        self._known = Known({**mine, **others})
        try:
            yield
            new = [one for one in self.elsewhere.series if (one["token"], one["interval"]) not in built]
            if new and self.bars is not None:
                self.restore_bars({**self.bars.snapshot(), "series": new})
        finally:
            self._known = Known()

    def _warm_up(self, executor: Executor) -> None:
        try:
            executor.warmup()
        except self.passing:
            raise
        except BaseException as error:
            self.report(f"{executor.strategy.id}: its warmup failed: {told(error)} (it runs all the same)")

    def unfollow(self, strategy: Strategy) -> None:
        """Take the executors of `strategy` away; lanes stay, with what they know of time."""
        for executor in strategy.executors.values():
            if executor.lane is not None:
                executor.stop()
                executor.lane.executors.remove(executor)
                executor.lane.arrange()

    def remove(self, strategy: Strategy) -> None:
        """`strategy` runs no more."""
        self.unfollow(strategy)
        del self.strategies[strategy.id]
        self.shut_down(strategy)

    def reconfigure(
        self, strategy: Strategy, config: StrategyConfig, brokers: Sequence[str], *, remembering: bool = False
    ) -> str | None:
        """Give `strategy` new processors for `config`. Raises `AlphaError` or `Disabled` and leaves it as it was.

        With `remembering` they go on from the snapshots of the former ones, if both sides know about that. What
        became of it if that fails; they begin anew then, with the history there is.
        """
        before = Strategy.__new__(Strategy)
        before.__dict__.update(strategy.__dict__)
        strategy.reconfigure(config, brokers)
        remember: set[int] = set()
        failure = None
        if remembering and not strategy.is_mute:
            try:
                remember = self._handed_over(before, strategy)
            except self.passing:
                raise
            except BaseException as error:
                failure = told(error)
                try:
                    strategy.reconfigure(config, brokers)  # what a restore left half done is no beginning
                except BaseException:
                    strategy.__dict__.update(before.__dict__)
                    raise
        for token, executor in strategy.executors.items():
            if token in before.executors:
                executor.take_over(before.executors[token])
        self.follow(strategy, remember)  # while its former self is there, whose history it takes over
        self.unfollow(before)
        self.shut_down(before)
        return failure

    def _handed_over(self, before: Strategy, after: Strategy) -> set[int]:
        """Give new processors what the former ones remember. Raises what they raise.

        The instruments of those that took it.
        """
        given: dict[int, bool] = {}  # by processor
        taken = set()
        for token, executor in after.executors.items():
            former = before.executors.get(token)
            if former is None:
                continue
            key = id(executor.processor)
            if key not in given:
                take, back = former.method("snapshot", 0), executor.method("restore", 1)
                given[key] = take is not None and back is not None
                if take is not None and back is not None:
                    back(as_json(take()))
            if given[key]:
                taken.add(token)
        return taken

    def shut_down(self, strategy: Strategy) -> None:
        """Tell the processors of `strategy` that there are no more ticks, if they want to know."""
        for processor in strategy.processors:
            shutdown = strategy.method(processor, "shutdown", 0)
            if shutdown is not None:
                try:
                    shutdown()
                except self.passing:
                    raise
                except BaseException as error:
                    self.report(f"{strategy.id}: its shutdown failed: {told(error)}")

    @property
    def tick_fields(self) -> tuple[str, ...] | None:
        """The fields of a tick that anybody uses besides token, time and price; None: all."""
        fields = [strategy.tick_fields for strategy in self.strategies.values()]
        if any(one is None for one in fields):
            return None
        bars = {"volume_traded", "last_traded_quantity"} if self.bars is not None else set()
        return tuple(sorted(bars.union(*(one or () for one in fields))))

    @property
    def outside_session(self) -> int:
        """Ticks of followed instruments that lay outside the continuous session."""
        return sum(lane.outside for lane in self.lanes.values())

    def beyond(self) -> OutOfCoverage | None:
        """Why some of those are in no session that anybody knows: no calendar covers their day."""
        return self._venue.beyond()

    # --- the steps ---------------------------------------------------------------------------

    def on_tick(self, tick: Tick) -> Iterable[Event]:  # noqa: PLR0912, PLR0915  (the hot loop: parts would cost calls)
        """The signals that `tick` causes, strategy by strategy."""
        time = tick.timestamp
        lane = self._usual.get(tick.instrument_token)
        ordinal = 0
        calls: Sequence[Call]
        # Quick for the usual tick: a later one of a session, of an instrument without bars, and nothing is due.
        if lane is not None and lane.time < time < lane.until:
            lane.time = time
            lane.again = 0
            spared = lane.spared
            if spared:
                lane.spared = spared - 1
                calls = lane.calls
            else:
                calls = lane.counted()
        else:
            due: list[Call] = []
            if self._due is not None and time >= self._due:
                due = self._fallen_due(time)
            lane = lane or self.lanes.get(tick.instrument_token)
            if lane is None:
                return self._asked(due, tick) if due else ()
            if lane.time < time < lane.close:
                lane.again = 0
                lane.time = time
            elif time == lane.time != NEVER:
                ordinal = lane.again = lane.again + 1
            elif (hours := self._venue.hours_at(tick.instrument_token, time)).contains(time):
                if time > lane.time:
                    lane.again = 0
                    lane.time, lane.close = time, hours.close
                    lane.until = NEVER if lane.bars else lane.close
                else:
                    ordinal = lane.earlier(time)
            else:
                lane.outside += 1
                due = [*self._with_bars(lane, tick, (), due)]
                return self._asked(due, tick) if due else ()
            calls = lane.counted()
            if due or lane.bars:
                calls = self._with_bars(lane, tick, calls, due)
        added: Iterable[Event] = ()
        stopped: Strategy | None = None  # at this very tick
        for executor, process, history, remember, forget, most in calls:
            try:
                if stopped is None or executor.strategy is not stopped:
                    result = process(tick, history)
                    if result is not None:
                        added = [*added, *self._answered(executor, tick, result, ordinal)]
                else:
                    _skip(process)
            except self.passing:
                raise
            except BaseException as error:  # whatever a strategy raises is its own affair
                self.reserve = None
                controls = self._failed(executor, tick.timestamp, error, aside=history is NOTHING)
                if controls:
                    added, stopped = [*added, *controls], executor.strategy
            remember(tick)
            if len(history) > most:
                forget(0)
        return added

    def on_bar(self, bar: Bar) -> Iterable[Event]:
        """What strategies answer to a bar in the input: those that take bars and have none built here."""
        lane = self.lanes.get(bar.instrument_token)
        if lane is None:
            return ()
        takers = [one for one in lane.executors if one.on_bar is not None and not one.bars]
        return self._asked(in_order(self._asides(takers, bar)), bar)

    def on_fill(self, fill: Fill) -> Iterable[Event]:
        """Enter a fill, and tell the strategy whose it is."""
        return self._asked(self._entered(fill), fill)

    def on_order(self, order: Order) -> Iterable[Event]:
        """Note an order that is entered now."""
        self.portfolio.on_order(order)
        return ()

    def on_order_update(self, update: OrderUpdate) -> Iterable[Event]:
        """Note what became of an order."""
        self.portfolio.on_order_update(update)
        return ()

    def on_portfolio(self, statement: Statement) -> Iterable[Event]:
        """Take the broker's word on its cash."""
        self.portfolio.on_portfolio(statement)
        return ()

    def arrive(self, event: Any) -> None:
        """Something from beside the stream: it counts before the first tick that is later than it."""
        if not isinstance(event, Fill | Order | OrderUpdate | Statement):
            return
        self._arrivals += 1  # of one time, the first to arrive counts first
        heappush(self.arrived, (_arrived_at(event), self._arrivals, event))
        self._note_due()

    def finish(self) -> None:
        """There are no more ticks."""
        for strategy in self.strategies.values():
            self.shut_down(strategy)

    # --- standing still ----------------------------------------------------------------------

    def stop(self, strategy: Strategy, cause: Cause, now: datetime | None) -> Control:
        """Have `strategy` stand still. The line that says so."""
        strategy.stopped = cause
        self.rearrange(strategy)
        self.report(f"{strategy.id} is paused: {cause.reason}")
        return Control(
            action="pause",
            target=strategy.id,
            by=RUNNER,
            reason=cause.reason[:MOST_SAID],
            value={"cause": cause.kind},
            timestamp=now,
        )

    def resume(self, strategy: Strategy, reason: str, now: datetime | None, *, on_trial: bool = False) -> Control:
        """Have `strategy` run again. The line that says so."""
        strategy.stopped = None
        strategy.streak = 0
        for executor in strategy.executors.values():
            executor.streak = executor.streak_aside = 0
            if not on_trial:  # it has missed ticks
                self._warm_up(executor)
        self.rearrange(strategy)
        self.report(f"{strategy.id} runs again: {reason}")
        return Control(action="resume", target=strategy.id, by=RUNNER, reason=reason[:MOST_SAID], timestamp=now)

    def rearrange(self, strategy: Strategy) -> None:
        """Look up anew whom the lanes of `strategy` ask."""
        for executor in strategy.executors.values():
            if executor.lane is not None:
                executor.lane.arrange()

    def now(self, strategy: Strategy) -> datetime | None:
        """The newest time at which an instrument of `strategy` had a tick; None if none had."""
        times = [one.lane.time for one in strategy.executors.values() if one.lane is not None]
        newest = max(times, default=NEVER)
        return None if newest == NEVER else newest

    def _failed(self, executor: Executor, now: datetime, error: BaseException, *, aside: bool) -> list[Event]:
        """Count a failure; the line that pauses the strategy, if it was one too many."""
        strategy = executor.strategy
        if isinstance(error, Rejected):
            strategy.rejected += 1
        else:
            strategy.errors += 1
        try:
            self._tell(executor, now, error)
        except Overtime as late:  # its own words took too long
            error = late
        if isinstance(error, Rejected) and not isinstance(error, Garbage):
            # It answered; it may be at a limit that it does not know of, which is no reason to stop it from going back.
            on_trial = strategy.stopped is not None and strategy.stopped.until is not None
            return [self.resume(strategy, _RECOVERED, now, on_trial=True)] if on_trial else []
        if isinstance(error, Overtime):
            return [self.stop(strategy, Cause("deadline", str(error)), now)]
        if isinstance(error, MemoryError):
            error.__traceback__ = None  # it holds on to what the call had allocated
            return [self._out_of_memory(strategy, now)]
        if strategy.stopped is not None:  # the trial failed
            if strategy.stopped.until is not None:
                strategy.stopped = strategy.stopped._replace(until=_later(now, self._cool_down))
                self.rearrange(strategy)
            return []
        if self._streak(executor, aside=aside) < self._failures:
            return []
        reason = (
            f"circuit open after {self._failures} failures in a row, the last {type(error).__name__}; "
            f"tried again after {self._cool_down.total_seconds():g} s"
        )
        return [self.stop(strategy, Cause("circuit", reason, _later(now, self._cool_down)), now)]

    def _streak(self, executor: Executor, *, aside: bool) -> int:
        """How often in a row `executor`, or its strategy on all instruments, failed, this time included.

        Calls that go well are not counted anywhere: that there were some shows in the number of ticks.
        """
        strategy = executor.strategy
        if aside or executor.lane is None:  # of bars and fills there are few
            executor.streak_aside += 1
            return executor.streak_aside
        at, calls = executor.lane.ticks, strategy.calls
        if at > executor.failed_at + 1:
            executor.streak = 0
        if calls > strategy.failed_at + 1:
            strategy.streak = 0
        executor.failed_at, strategy.failed_at = at, calls
        executor.streak += 1
        strategy.streak += 1
        return max(executor.streak, strategy.streak)

    def _out_of_memory(self, strategy: Strategy, now: datetime) -> Control:
        """Pause the strategy and let go of all that its processors hold."""
        self.forget(strategy)
        return self.stop(strategy, Cause("memory", "it used up the memory (--memory); what it remembered is gone"), now)

    def forget(self, strategy: Strategy) -> None:
        """Let go of all that the processors of `strategy` hold."""
        with suppress(Exception):
            self.reconfigure(strategy, strategy.config, strategy.brokers)
        with suppress(MemoryError):  # the call that used it up may still hold it
            self.reserve = bytes(_RESERVE)

    def _tell(self, executor: Executor, now: datetime, error: BaseException) -> None:
        strategy = executor.strategy
        strategy.told += 1
        if worth_logging(strategy.told):
            what = f"rejected: {error}" if isinstance(error, Rejected) else self._words(strategy, error)
            self.report(
                f"{strategy.id} on {executor.token} at {now.isoformat()}: {what} "
                f"(failure {strategy.told}; other strategies go on)"
            )

    def _words(self, strategy: Strategy, error: BaseException) -> str:
        """What `error` says of itself, which is code of the strategy's."""
        return str(strategy.guard(strategy, told)(error))

    # --- answers -----------------------------------------------------------------------------

    def _answered(self, executor: Executor, tick: Any, result: Any, ordinal: int = 0) -> list[Event]:
        """What an answer leads to. Raises `Rejected`, and what an answer that is no answer raises."""
        if type(result) is Aside:
            said = self._said(executor.answered(result.result, result.event, result.timestamp, result.cause))
            executor.streak_aside = 0
            return said
        recovered = type(result) is Recovered
        if recovered:
            result = result.result
        signals: list[Event] = []
        if result is not None:
            signals = self._said(executor.answered(result, tick, tick.timestamp, tick_cause(tick, ordinal)))
        if recovered and executor.strategy.stopped is not None:
            signals.insert(0, self.resume(executor.strategy, _RECOVERED, tick.timestamp, on_trial=True))
        return signals

    def _said(self, signals: list[Any]) -> list[Any]:
        if self._detail is not None:
            for one in signals:
                self._detail(
                    f"signal {one.signal_id} {one.strategy_id} {one.signal_type} {one.quantity or ''} of "
                    f"{one.instrument_token} at {one.timestamp.isoformat()} for {one.broker}: {one.reasoning or ''}"
                )
        return signals

    def _asked(self, calls: Iterable[Call], event: Any) -> list[Event]:
        """What comes of calls that have nothing to do with the tick at hand."""
        added: list[Event] = []
        stopped: Strategy | None = None
        self.turns += 1
        for executor, process, history, *_ in calls:
            if executor.strategy is stopped:
                _skip(process)
                continue
            try:
                result = process(event, history)
                if result is not None:
                    added += self._answered(executor, event, result)
            except self.passing:
                raise
            except BaseException as error:
                self.reserve = None
                controls = self._failed(executor, _time_of(event), error, aside=True)
                if controls:
                    added, stopped = [*added, *controls], executor.strategy
        return added

    # --- bars, and what arrives beside the stream ---------------------------------------------

    def _with_bars(self, lane: Lane, tick: Tick, calls: Sequence[Call], due: list[Call]) -> Sequence[Call]:
        """`calls` with those that come before: bars that `tick` closes, and what fell due."""
        if lane.bars and self.bars is not None:
            bars = self.bars.on_tick(tick)
            if bars or self._due is None or self.bars.due < self._due:
                self._note_due()
                due = [*due, *self._closed(bars)]
        return in_order([*due, *calls]) if due else calls

    def _fallen_due(self, time: datetime) -> list[Call]:
        """What the time of the stream brings about: fills that arrived, bars that end."""
        calls: list[Call] = []
        while self.arrived and self.arrived[0][0] < time:
            event = heappop(self.arrived)[2]
            if isinstance(event, Fill):
                calls += self._entered(event)
            elif isinstance(event, Order):
                self.portfolio.on_order(event)
            elif isinstance(event, OrderUpdate):
                self.portfolio.on_order_update(event)
            else:
                self.portfolio.on_portfolio(event)
        if self.bars is not None:
            calls += self._closed(self.bars.advance(time))
        self._note_due()
        return in_order(calls)

    def _entered(self, fill: Fill) -> list[Call]:
        """The call that tells of `fill`, once it is in the books."""
        if not self.portfolio.on_fill(fill):
            return []
        strategy = self.strategies.get(fill.strategy_id)
        executor = None if strategy is None else strategy.executors.get(fill.instrument_token)
        if executor is None or executor.on_fill is None or executor.strategy.stopped is not None:
            return []
        return [aside(executor, fill)]

    def _closed(self, bars: Iterable[Bar]) -> list[Call]:
        """The calls that tell of closed bars."""
        calls: list[Call] = []
        for bar in bars:
            lane = self.lanes.get(bar.instrument_token)
            if lane is not None:
                calls += self._asides([one for one in lane.executors if bar.interval in one.bars], bar)
        return calls

    def _asides(self, executors: Iterable[Executor], bar: Bar) -> list[Call]:
        calls = []
        for executor in executors:
            if executor.strategy.stopped is None:
                calls.append(aside(executor, bar))
            else:
                executor.remember_bar(bar)
        return calls

    def build_bars(self, wanted: Iterable[tuple[int, str]]) -> None:
        """Build the bars of instruments over intervals, as (token, interval), whoever wants them."""
        for token, interval in wanted:
            self._builder().follow(token, [interval_of(interval)])
            self.lanes.setdefault(token, Lane()).build_bars()

    def restore_bars(self, state: Any) -> None:
        """Go on with bars that were being built."""
        self._builder().restore(state)
        self._note_due()

    def _builder(self) -> BarBuilder:
        if self.bars is None:
            from alpha_cli.stages.bars.engine import BarBuilder

            self.bars = BarBuilder(all_hours=self.all_hours, venue=self._venue)
        return self.bars

    def _note_due(self) -> None:
        dues = [_later(self.arrived[0][0], _MICROSECOND)] if self.arrived else []
        if self.bars is not None and self.bars.due.year < MAXYEAR:
            dues.append(self.bars.due)
        self._due = min(dues, default=None)
        self._usual = self.lanes if self._due is None else {}


def as_json(value: Any) -> Any:
    """`value` as JSON would give it back. Raises `TypeError` or `ValueError` for what JSON cannot say."""
    import json  # rarely needed

    return json.loads(json.dumps(value, allow_nan=False))


def _whole(tick: Any) -> Any:
    """`tick` with all the fields that a tick may have, also where it was read for somebody who used fewer."""
    if isinstance(tick, Tick):
        return tick
    return Tick(**{name: getattr(tick, name) for name in tick.__struct_fields__})


def _skip(process: Any) -> None:
    """In place of a call to a strategy that was stopped at this very event."""
    if isinstance(process, Told):
        process.skip()


def _later(now: datetime, by: timedelta) -> datetime:
    try:
        return now + by
    except OverflowError:  # at the end of what a date can be
        return datetime.max.replace(tzinfo=now.tzinfo)


def _arrived_at(event: Any) -> datetime:
    return NEVER if event.timestamp is None else event.timestamp


def _time_of(event: Any) -> datetime:
    return event.end if isinstance(event, Bar) else event.timestamp
