"""One strategy, and one strategy on one instrument: processor, validator, configuration and context together.

`engine` calls them, `circuits` pauses and resumes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from datetime import datetime
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from alpha_cli.core.codec import as_received
from alpha_cli.core.errors import AlphaError, ConfigurationError
from alpha_cli.core.events import Bar, Fill, Signal, Tick
from alpha_cli.core.ids import derive_id
from alpha_cli.core.times import microseconds
from alpha_cli.kit.signal_result import History, SignalResult
from alpha_cli.stages.run_strategy.capabilities import adapted, capability, declared, misspelt, tick_fields_of
from alpha_cli.stages.run_strategy.config import StrategyConfig, own_copy
from alpha_cli.stages.run_strategy.context import Context
from alpha_cli.stages.run_strategy.factory import create_processor, create_validator
from alpha_cli.stages.run_strategy.failures import (
    MOST_ANSWERS,
    Disabled,
    EndlessAnswers,
    InvalidResult,
    Rejected,
    describe_failure,
)
from alpha_cli.stages.run_strategy.latency import TickCounter, Timing
from alpha_cli.stages.run_strategy.portfolio import Portfolio
from alpha_cli.stages.run_strategy.protocols import StrategyProcessor
from alpha_cli.stream.shutdown import LeaveNow

if TYPE_CHECKING:
    from alpha_cli.market.bars.interval import Interval

#: A method of a processor, or a wrapper of one: (tick, history) -> result.
Process = Callable[..., Any]


class Cause(NamedTuple):
    """Why a strategy is paused.

    kind   "person", "circuit", "deadline", "memory" or "process" (its worker died)
    until  the stream time at which it is tried again; None: a person has to resume it
    """

    kind: str
    reason: str
    until: datetime | None = None


class Strategy:
    """One configured strategy: what its executors on several instruments share.

    place            its position in the configured order; strategies answer an event in this order
    stopped          why it is paused, None while it runs
    guard            wraps each method of the strategy that is called repeatedly
    streak           failures in a row, over all its instruments
    failed_at        its count of calls at its latest failure
    reported         failures so far, to limit how many are logged
    callbacks        calls of this run for other events than ticks, and those that try a paused strategy again
    failed           calls of this run that failed
    calls_at_start   `calls` when this run began
    cannot_snapshot  its snapshot() hung once and is not called again
    origin           its configuration as loaded, without the changes made by `control set`
    """

    def __init__(
        self,
        config: StrategyConfig,
        brokers: Sequence[str],
        place: int = 0,
        portfolio: Portfolio | None = None,
        *,
        all_hours: bool = False,
        create: Callable[[StrategyConfig], StrategyProcessor] = create_processor,
        guard: Callable[[Strategy, Process], Process] = lambda _, process: process,
    ) -> None:
        self.config = config
        self.guard = guard
        self.brokers = tuple(brokers)
        self.place = place
        self.stopped: Cause | None = None
        self.streak = 0
        self.failed_at = 0
        self.signals = self.held = self.rejected = self.errors = 0
        self.by_broker: Counter[str] = Counter()
        self.last_signal: datetime | None = None
        self.timing = Timing()
        self.reported = 0
        self.callbacks = self.failed = self.calls_at_start = 0
        self.has_model = False
        self.cannot_snapshot = False
        self.origin = config
        self.origin_fingerprint = config.fingerprint()
        self._validator = create_validator(config)
        self._portfolio = portfolio or Portfolio()
        self._all_hours = all_hours
        self._create = create
        self.executors: dict[int, Executor] = {}
        self.build()

    @property
    def id(self) -> str:
        return self.config.id

    @property
    def calls(self) -> int:
        """Return the number of ticks it was called for."""
        return sum(executor.calls for executor in self.executors.values())

    @property
    def calls_of_run(self) -> int:
        """Return the number of times it was called in this run, for ticks and other events."""
        return self.calls - self.calls_at_start + self.callbacks

    @property
    def tick_fields(self) -> frozenset[str] | None:
        """Return the fields of a tick that it uses besides token, time and price; None: all."""
        fields = [tick_fields_of(processor) for processor in self.processors]
        if any(names is None for names in fields):
            return None
        return frozenset(name for names in fields for name in names or ())

    @property
    def processors(self) -> list[StrategyProcessor]:
        """Return each of its processors once."""
        return list({id(executor.processor): executor.processor for executor in self.executors.values()}.values())

    def slips(self) -> list[str]:
        """Return a line for each probable slip in the code of its processors."""
        return list(dict.fromkeys(line for processor in self.processors for line in misspelt(processor)))

    @property
    def lacks_bars(self) -> bool:
        """Return whether it has an `on_bar` that nothing called: it declares no `bars`, and none came in the input."""
        found = self.executors.values()
        return not self.callbacks and any(executor.on_bar is not None and not executor.bars for executor in found)

    def build(self) -> None:
        """Make its processors, one for each instrument or one for all. Raise `ConfigurationError`."""
        create = self.guard(self, self._create)
        shared = create(own_copy(self.config))
        several = bool(declared(shared, "multi_instrument"))
        tokens = tuple(dict.fromkeys(self.config.instruments))
        executors: dict[int, Executor] = {}
        for token in tokens:
            processor = shared if several or token == tokens[0] else create(own_copy(self.config))
            context = Context(
                self.config,
                lambda: self.brokers,
                self._portfolio,
                None if several else token,
                instruments=tokens,
                all_hours=self._all_hours,
            )
            executors[token] = Executor(self, token, processor, context)
            if token in self.executors:  # rebuilt: the count stays
                executors[token].calls_before = self.executors[token].calls
        self.executors = executors

    def reconfigure(self, config: StrategyConfig, brokers: Sequence[str]) -> None:
        """Rebuild with `config`, keeping counters. On `AlphaError` or `Disabled` nothing changes."""
        before = copy(self)
        try:
            self.config, self.brokers, self._validator = config, tuple(brokers), create_validator(config)
            self.build()
            self.has_model = False
            self.load_model()
        except BaseException:
            self.revert(before)
            raise

    def revert(self, before: Strategy) -> None:
        """Take back the configuration and the processors of `before`, a copy made earlier."""
        self.config, self.brokers, self.has_model = before.config, before.brokers, before.has_model
        self.executors, self._validator = before.executors, before._validator

    def mark_as_loaded(self) -> None:
        """Mark the current configuration as the one loaded from file or database."""
        self.origin, self.origin_fingerprint = self.config, self.config.fingerprint()

    def load_model(self) -> None:
        """Load its model, once for all instruments. Raise `Disabled`."""
        loaded: StrategyProcessor | None = None
        for processor in self.processors:
            load = self.method(processor, "load_model", 0)
            if load is None:
                return
            model = None if loaded is None else getattr(loaded, "model", None)
            if model is not None:
                with suppress(AttributeError):  # it can only be read: each loads its own
                    processor.model = model  # type: ignore[attr-defined]
                    continue
            try:
                answer = load()
            except LeaveNow:
                raise
            except BaseException as error:
                raise Disabled(f"its model cannot be loaded: {describe_failure(error)}") from None
            if answer is False:
                raise Disabled("its model cannot be loaded: load_model() said False")
            loaded = processor
            self.has_model = True

    def refusal(self, result: Any, event: Tick | Bar | Fill, context: Context) -> str | None:
        """Return why its validator refuses `result`, or None."""
        validate: Any = self.guard(self, self._validator.validate_signal)
        answer = validate(result, event, context)  # others may answer True or False
        if answer is None or answer is True:
            return None
        return "its validator refused it" if answer is False else str(answer)

    def method(self, processor: StrategyProcessor, name: str, offered: int) -> Callable[..., Any] | None:
        """Return a method of `processor` as a guarded function of `offered` arguments; None if it has none."""
        found = capability(processor, name)
        return None if found is None else self.guard(self, adapted(found, offered, self._context_of(processor)))

    def _context_of(self, processor: StrategyProcessor) -> Context:
        return next(executor.context for executor in self.executors.values() if executor.processor is processor)


class Executor:
    """One strategy on one instrument.

    process          its method for ticks, guarded
    bars             intervals of the bars that are built for it
    streak           failures in a row at ticks
    callback_streak  failures in a row at bars and fills
    counter          counts the ticks of its instrument; None before it follows the instrument
    since            that count when it was started; None while it is paused
    failed_at        that count at its latest failure
    calls_before     ticks it was called for before `since`
    answers          that count at its latest answer to a denial or an order's report, and how many it gave since
    """

    __slots__ = (
        "answers", "bar_histories", "bars", "callback_streak", "calls_before", "context", "counter", "failed_at",
        "history", "on_bar", "on_denial", "on_fill", "on_order_update", "process", "processor", "since", "strategy",
        "streak", "token",
    )  # fmt: skip

    def __init__(self, strategy: Strategy, token: int, processor: StrategyProcessor, context: Context) -> None:
        self.strategy = strategy
        self.token = token
        self.processor = processor
        self.context = context
        self.process = strategy.guard(strategy, self._process())
        self.on_bar = self.method("on_bar", 2)
        self.on_fill = self.method("on_fill", 1)
        self.on_denial = self.method("on_denial", 1)
        self.on_order_update = self.method("on_order_update", 1)
        self.bars: tuple[str, ...] = () if self.on_bar is None else _intervals(processor)
        self.history = History()
        self.bar_histories: dict[str, History] = {}
        self.streak = self.callback_streak = 0
        self.counter: TickCounter | None = None
        self.since: int | None = None
        self.failed_at = 0
        self.calls_before = 0
        self.answers = (0, 0)

    @property
    def calls(self) -> int:
        """Return the number of ticks it was called for."""
        running = 0 if self.counter is None or self.since is None else self.counter.ticks - self.since
        return self.calls_before + running

    def count_answer(self) -> None:
        """Count an answer to a denial or an order's report. Raise `EndlessAnswers` if there is no end to them."""
        ticks = 0 if self.counter is None else self.counter.ticks
        given = self.answers[1] + 1 if self.answers[0] == ticks else 1
        self.answers = (ticks, given)
        if given > MOST_ANSWERS:
            raise EndlessAnswers(f"it answered more than {MOST_ANSWERS} denials and order updates between two ticks")

    def start(self) -> None:
        """Count calls from now on."""
        if self.since is None and self.counter is not None:
            self.since = self.failed_at = self.counter.ticks

    def stop(self) -> None:
        """Stop counting calls: it is not called, or only to see whether it has recovered."""
        self.calls_before, self.since = self.calls, None

    def timed(self, process: Process) -> Process:
        """Return `process` with each of its calls measured."""
        add = self.strategy.timing.add

        def measured(tick: Tick, history: Sequence[Tick]) -> Any:
            start = perf_counter_ns()
            try:
                return process(tick, history)
            finally:
                add(perf_counter_ns() - start)

        return measured

    def retry_from(self, until: datetime) -> Process:
        """Return what to call while its circuit is open: nothing happens before `until`, then it is tried again."""
        process = self.process

        def retry(tick: Tick, history: Sequence[Tick]) -> Any:
            if tick.timestamp < until:
                return None
            self.warmup()  # it has missed ticks
            return Recovered(process(tick, history))

        return retry

    def warmup(self) -> None:
        """Give the processor the history if it has a `warmup`. Raise what it raises."""
        warmup = self.method("warmup", 1)
        if warmup is not None:
            warmup(self.history)

    def method(self, name: str, offered: int) -> Callable[..., Any] | None:
        """Return a method of the processor as a guarded function of `offered` arguments; None if it has none."""
        found = capability(self.processor, name)
        return None if found is None else self.strategy.guard(self.strategy, adapted(found, offered, self.context))

    def take_over(self, former: Executor) -> None:
        """Take the histories of the executor that this one replaces."""
        self.history, self.bar_histories = former.history, former.bar_histories
        most = self.strategy.config.max_history
        for history in (self.history, *self.bar_histories.values()):
            if len(history) > most:
                list.__delitem__(history, slice(0, len(history) - most))

    def validated(self, result: Any, event: Tick | Bar | Fill) -> SignalResult:
        """Return `result`, scaled, if the validator accepts it. Raise `Rejected`."""
        if not isinstance(result, SignalResult):
            raise InvalidResult(f"{type(result).__name__} is not a SignalResult or None")
        scaled = self._scaled(result)
        reason = self.strategy.refusal(scaled, event, self.context)
        if reason is not None:
            raise Rejected(reason)
        return scaled

    def signals(self, result: SignalResult, timestamp: datetime, cause: Sequence[object]) -> list[Signal]:
        """Return the signals of a validated result, one for each broker, each as another process would decode it."""
        strategy = self.strategy
        if result.signal_type == "HOLD":
            strategy.held += 1
            return []
        signals = [
            as_received(
                Signal(
                    signal_id=derive_id("signal", strategy.id, broker, self.token, *cause),
                    strategy_id=strategy.id,
                    instrument_token=self.token,
                    signal_type=result.signal_type,
                    timestamp=timestamp,
                    broker=broker,
                    quantity=result.quantity,
                    price=result.price,  # type: ignore[arg-type]  # a SignalResult makes it exact
                    confidence=result.confidence,
                    order_type=result.order_type,
                    product=result.product,
                    reasoning=result.reasoning,
                    metadata=result.metadata or {},
                )
            )
            for broker in strategy.brokers
        ]
        strategy.signals += len(signals)
        strategy.by_broker.update(strategy.brokers)
        strategy.last_signal = timestamp
        return signals

    def bar_history(self, interval: str) -> History:
        """Return the earlier bars of one interval, as many as ticks are kept."""
        return self.bar_histories.setdefault(interval, History())

    def remember_bar(self, bar: Bar) -> None:
        """Append `bar` to the history of its interval."""
        history = self.bar_history(bar.interval)
        list.append(history, bar)
        if len(history) > self.strategy.config.max_history:
            list.pop(history, 0)

    def _scaled(self, result: SignalResult) -> SignalResult:
        """Return `result` with its quantity times `risk_multiplier`, in whole units, rounded down."""
        multiplier = self.strategy.config.risk_multiplier
        if multiplier == 1 or result.quantity is None or result.signal_type == "HOLD":
            return result
        quantity = int(result.quantity * multiplier)
        if quantity < 1:
            raise Rejected(f"quantity {result.quantity} times risk_multiplier {multiplier} is less than one unit")
        return msgspec.structs.replace(result, quantity=quantity)

    def _process(self) -> Process:
        method = capability(self.processor, "process_tick")
        if method is not None:
            return adapted(method, 2, self.context)
        extract = capability(self.processor, "extract_features")
        predict = capability(self.processor, "predict_signal")
        if extract is None or predict is None:
            raise ConfigurationError(f"strategy {self.strategy.id}: no process_tick(tick, history)")
        features_of, answer_to = adapted(extract, 2, self.context), adapted(predict, 1, self.context)

        def process_tick(tick: Tick, history: Sequence[Tick]) -> Any:
            features = features_of(tick, history)
            return None if features is None else answer_to(features)

        return process_tick


class Recovered(NamedTuple):
    """The first result of a strategy after its circuit was open."""

    result: Any


def interval_of(text: str) -> Interval:
    """Return the length that a text such as "1m" stands for. Raise `ValueError`."""
    from alpha_cli.market.bars.interval import Interval

    return Interval.parse(text)


def _intervals(processor: StrategyProcessor) -> tuple[str, ...]:
    """Return the intervals of the bars that a processor declares, each in its canonical form."""
    wanted = declared(processor, "bars", ())
    try:
        texts = wanted.split(",") if isinstance(wanted, str) else tuple(wanted)
        return tuple(dict.fromkeys(interval_of(text).text for text in texts))
    except (AlphaError, TypeError, ValueError) as error:
        raise ConfigurationError(f"bars = {wanted!r}: {error}") from None


def tick_cause(tick: Tick, ordinal: int) -> tuple[object, ...]:
    """Return what identifies a tick as the cause of a signal: its time, and its number among those at that time.

    Its place in the stream, its price, other strategies and the parameters play no part, so an edited
    configuration cannot make a second order for one cause.
    """
    return microseconds(tick.timestamp), ordinal
