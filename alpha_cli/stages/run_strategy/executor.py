"""One strategy, and one strategy on one instrument: processor, validator, configuration and context together.

What calls these is `engine`; what stops and resumes them is there too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
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
from alpha_cli.stages.run_strategy.capabilities import adapted, capability, declared, tick_fields_of
from alpha_cli.stages.run_strategy.config import StrategyConfig
from alpha_cli.stages.run_strategy.context import Context
from alpha_cli.stages.run_strategy.factory import create_processor, create_validator, told
from alpha_cli.stages.run_strategy.latency import Timing
from alpha_cli.stages.run_strategy.portfolio import Portfolio
from alpha_cli.stages.run_strategy.protocols import StrategyProcessor
from alpha_cli.stream.shutdown import LeaveNow

if TYPE_CHECKING:
    from alpha_cli.stages.bars.config import Interval
    from alpha_cli.stages.run_strategy.instrument_queue import Lane

#: Answers a tick, given those before it; also what is put in place of such a method, or around one.
Process = Callable[..., Any]


class Rejected(Exception):
    """The validator refused what a strategy answered; the message is its reason."""


class Garbage(Rejected):
    """What a strategy answered is no answer at all. That is a failure of its own, like an exception."""


class Disabled(Exception):
    """A strategy that cannot run at all; the message says why. The others go on."""


class Cause(NamedTuple):
    """Why a strategy stands still.

    kind   what did it: a person, a circuit that opened, a missed deadline, memory, a process that died
    until  when it is tried again, by the time of the stream; None: when a person resumes it
    """

    kind: str
    reason: str
    until: datetime | None = None


class Strategy:
    """One configured strategy: what its executors on several instruments have in common.

    place     its place in the order of all; where several speak at one event, this is the order
    stopped   why it stands still, None while it runs
    guard     put around each of its methods that is called again and again
    streak    failures in a row, over all its instruments
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
        self.failed_at = 0  # its calls so far when it failed last
        self.signals = self.held = self.rejected = self.errors = 0
        self.by_broker: Counter[str] = Counter()
        self.last_signal: datetime | None = None
        self.timing = Timing()
        self.told = 0  # failures, for rate-limiting what is said of them
        self.has_model = False
        self.is_mute = False  # asking for its snapshot does not come to an end
        # As it was read, whatever was set in the stream since.
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
        """Ticks that it was asked about."""
        return sum(executor.calls for executor in self.executors.values())

    @property
    def tick_fields(self) -> frozenset[str] | None:
        """The fields of a tick that it uses besides token, time and price; None: all of them."""
        fields = [tick_fields_of(processor) for processor in self.processors]
        if any(one is None for one in fields):
            return None
        return frozenset(name for one in fields for name in one or ())

    @property
    def processors(self) -> list[StrategyProcessor]:
        """Each of its processors once."""
        return list({id(one.processor): one.processor for one in self.executors.values()}.values())

    def build(self) -> None:
        """Make its processors, one for each instrument or one for all. Raises `ConfigurationError`."""
        create = self.guard(self, self._create)
        shared = create(self.config.model_copy(deep=True))
        several = bool(declared(shared, "multi_instrument"))
        tokens = list(dict.fromkeys(self.config.instruments))
        executors: dict[int, Executor] = {}
        for token in tokens:
            processor = shared if several or token == tokens[0] else create(self.config.model_copy(deep=True))
            context = Context(
                self.config,
                lambda: self.brokers,
                self._portfolio,
                None if several else token,
                all_hours=self._all_hours,
            )
            executors[token] = Executor(self, token, processor, context)
            if token in self.executors:  # rebuilt: what was counted stays
                executors[token].calls_before = self.executors[token].calls
        self.executors = executors

    def reconfigure(self, config: StrategyConfig, brokers: Sequence[str]) -> None:
        """Become what `config` says; its counts stay. Raises `AlphaError` or `Disabled` and stays as it was."""
        before = self.config, self.brokers, self._validator, self.executors, self.has_model
        try:
            self.config, self.brokers, self._validator = config, tuple(brokers), create_validator(config)
            self.build()
            self.has_model = False
            self.load_model()
        except BaseException:
            self.config, self.brokers, self._validator, self.executors, self.has_model = before
            raise

    def take_as_read(self) -> None:
        """Its configuration of now is what files or database say."""
        self.origin, self.origin_fingerprint = self.config, self.config.fingerprint()

    def load_model(self) -> None:
        """Load its model, once for all instruments. Raises `Disabled`."""
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
                raise Disabled(f"its model cannot be loaded: {told(error)}") from None
            if answer is False:
                raise Disabled("its model cannot be loaded: load_model() said False")
            loaded = processor
            self.has_model = True

    def refusal(self, result: Any, event: Tick | Bar | Fill, context: Context) -> str | None:
        """Why its validator will not have `result`, or None."""
        validate: Any = self.guard(self, self._validator.validate_signal)
        answer = validate(result, event, context)  # others may answer True or False
        if answer is None or answer is True:
            return None
        return "its validator refused it" if answer is False else str(answer)

    def method(self, processor: StrategyProcessor, name: str, offered: int) -> Callable[..., Any] | None:
        """A method of `processor` as a guarded function of `offered` arguments; None if it has none."""
        found = capability(processor, name)
        return None if found is None else self.guard(self, adapted(found, offered, self._context_of(processor)))

    def _context_of(self, processor: StrategyProcessor) -> Context:
        return next(one.context for one in self.executors.values() if one.processor is processor)


class Executor:
    """One strategy on one instrument."""

    __slots__ = (
        "bar_histories", "bars", "calls_before", "context", "failed_at", "history", "lane", "now", "on_bar", "on_fill",
        "processor", "since", "strategy", "streak", "streak_aside", "token",
    )  # fmt: skip

    def __init__(self, strategy: Strategy, token: int, processor: StrategyProcessor, context: Context) -> None:
        self.strategy = strategy
        self.token = token
        self.processor = processor
        self.context = context
        self.now = strategy.guard(strategy, self._process())
        self.on_bar = self.method("on_bar", 2)
        self.on_fill = self.method("on_fill", 1)
        self.bars: tuple[str, ...] = () if self.on_bar is None else _intervals(processor)
        self.history = History()
        self.bar_histories: dict[str, History] = {}
        self.streak = 0  # failures in a row at ticks, and at bars and fills
        self.streak_aside = 0
        # While it is called: its lane, the lane's count of ticks when that began and when it failed last.
        self.lane: Lane | None = None
        self.since: int | None = None
        self.failed_at = 0
        self.calls_before = 0

    @property
    def calls(self) -> int:
        """Ticks that it was asked about."""
        running = 0 if self.lane is None or self.since is None else self.lane.ticks - self.since
        return self.calls_before + running

    def start(self) -> None:
        """It is called from now on."""
        if self.since is None and self.lane is not None:
            self.since = self.failed_at = self.lane.ticks

    def stop(self) -> None:
        """It is not called any more, or only on trial."""
        self.calls_before, self.since = self.calls, None

    def timed(self, process: Process) -> Process:
        """`process`, with each of its calls measured."""
        add = self.strategy.timing.add

        def measured(tick: Tick, history: Sequence[Tick]) -> Any:
            begin = perf_counter_ns()
            try:
                return process(tick, history)
            finally:
                add(perf_counter_ns() - begin)

        return measured

    def waiting(self, until: datetime) -> Process:
        """In place of the processor's own method while its circuit is open: asks it again from `until` on."""
        process = self.now

        def trial(tick: Tick, history: Sequence[Tick]) -> Any:
            if tick.timestamp < until:
                return None
            self.warmup()  # it has missed ticks
            return Recovered(process(tick, history))

        return trial

    def warmup(self) -> None:
        """Let the processor see the history, if it wants to. Raises what it raises."""
        warmup = self.method("warmup", 1)
        if warmup is not None:
            warmup(self.history)

    def method(self, name: str, offered: int) -> Callable[..., Any] | None:
        """A method of the processor as a guarded function of `offered` arguments; None if it has none."""
        found = capability(self.processor, name)
        return None if found is None else self.strategy.guard(self.strategy, adapted(found, offered, self.context))

    def take_over(self, former: Executor) -> None:
        """Go on with what the runner kept for the one whose place it takes."""
        self.history, self.bar_histories = former.history, former.bar_histories
        most = self.strategy.config.max_history
        for history in (self.history, *self.bar_histories.values()):
            if len(history) > most:
                list.__delitem__(history, slice(0, len(history) - most))

    def answered(
        self, result: Any, event: Tick | Bar | Fill, timestamp: datetime, cause: Sequence[object]
    ) -> list[Any]:
        """The signals that `result` leads to, one for each broker. Raises `Rejected`.

        What comes back from the codec is what another process would see.
        """
        strategy = self.strategy
        if not isinstance(result, SignalResult):
            raise Garbage(f"{type(result).__name__} is not a SignalResult or None")
        result = self._scaled(result)
        reason = strategy.refusal(result, event, self.context)
        if reason is not None:
            raise Rejected(reason)
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
                    price=result.price,
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
        """The earlier bars of one interval, as many as ticks are kept."""
        return self.bar_histories.setdefault(interval, History())

    def remember_bar(self, bar: Bar) -> None:
        """`bar` is now one of the earlier ones."""
        history = self.bar_history(bar.interval)
        list.append(history, bar)
        if len(history) > self.strategy.config.max_history:
            list.pop(history, 0)

    def _scaled(self, result: SignalResult) -> SignalResult:
        """`result` with its quantity times `risk_multiplier`, whole units, rounded down."""
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
    """The first answer of a strategy after its circuit was open."""

    result: Any


class Aside(NamedTuple):
    """An answer to something else than the tick at hand: to a bar that it closed, or to a fill."""

    result: Any
    event: Bar | Fill
    timestamp: datetime
    cause: tuple[object, ...]


def interval_of(text: str) -> Interval:
    """The length that "1m" stands for. Raises `UsageError`."""
    from alpha_cli.stages.bars.config import Interval

    return Interval.parse(text)


def _intervals(processor: StrategyProcessor) -> tuple[str, ...]:
    """The bars that a processor declares, each length written the one way that a bar has it."""
    wanted = declared(processor, "bars", ())
    try:
        texts = wanted.split(",") if isinstance(wanted, str) else tuple(wanted)
        return tuple(dict.fromkeys(interval_of(text).text for text in texts))
    except (AlphaError, TypeError, ValueError) as error:
        raise ConfigurationError(f"bars = {wanted!r}: {error}") from None


def tick_cause(tick: Tick, ordinal: int) -> tuple[object, ...]:
    """What identifies a tick as the cause of a signal: its time, and which one at that time it is.

    Not its place in the stream, its price, other strategies or the parameters; so an edited
    configuration cannot mint a second order for one cause.
    """
    return microseconds(tick.timestamp), ordinal
