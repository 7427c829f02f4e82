"""The step of `run-strategy`: a tick to the signals of the strategies that follow its instrument.

An instrument finds its strategies by one lookup, however many are loaded. Each strategy has a
processor and a history of its own for each instrument. What a strategy raises stays with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from alpha_cli.calendar import AllHours, SessionHours
from alpha_cli.errors import worth_telling
from alpha_cli.events import IST, Event, Signal, Tick, as_received
from alpha_cli.ids import derive_id, microseconds
from alpha_cli.strategy.protocols import History, SignalResult, StrategyProcessor

Report = Callable[[str], None]
Process = Callable[[Tick, Sequence[Tick]], SignalResult | None]

NEVER = datetime.min.replace(tzinfo=IST)


class Slot:
    """One strategy on one instrument."""

    __slots__ = ("brokers", "errors", "history", "max_history", "process", "strategy_id")

    def __init__(
        self, strategy_id: str, processor: StrategyProcessor, brokers: Sequence[str], max_history: int = 100
    ) -> None:
        self.strategy_id = strategy_id
        self.process = processor.process_tick
        self.brokers = tuple(brokers)
        self.history = History()
        self.max_history = max_history
        self.errors = 0


class Lane:
    """One instrument: the strategies that follow it, and which of its ticks at one time this is."""

    __slots__ = ("calls", "close", "ordinal", "time")

    def __init__(self) -> None:
        # What a tick needs of each slot, looked up once and not at every tick.
        self.calls: list[tuple[Slot, Process, History, Callable[[Tick], object], Callable[[int], object], int]] = []
        # The newest tick that lay in a session, and the end of that session.
        self.time = self.close = NEVER
        self.ordinal = 0

    def add(self, slot: Slot) -> None:
        history = slot.history
        remember, forget = list.append.__get__(history), list.pop.__get__(history)  # History itself refuses
        self.calls.append((slot, slot.process, history, remember, forget, slot.max_history))


class StrategyRunner:
    """Hosts strategies. `on_tick` is the step; `report` is told of each failure worth a line."""

    def __init__(self, *, all_hours: bool = False, report: Report = lambda _: None) -> None:
        self._lanes: dict[int, Lane] = {}
        self._hours: SessionHours = AllHours() if all_hours else SessionHours()
        self._report = report
        self.signals = 0
        self.held = 0
        self.errors = 0
        self.outside_session = 0

    def add(self, slot: Slot, instrument_token: int) -> None:
        """Have `slot` follow an instrument."""
        self._lanes.setdefault(instrument_token, Lane()).add(slot)

    def on_tick(self, tick: Tick) -> Iterable[Event]:
        """The signals that `tick` causes, in the order the strategies were added."""
        lane = self._lanes.get(tick.instrument_token)
        if lane is None:
            return ()
        time = tick.timestamp
        if lane.time < time < lane.close:
            lane.ordinal = 0
        elif time == lane.time != NEVER:
            lane.ordinal += 1
        elif self._hours.contains(time):
            lane.ordinal = 0
            lane.close = self._hours.close
        else:
            self.outside_session += 1
            return ()
        lane.time = time
        signals: Iterable[Event] = ()
        for slot, process, history, remember, forget, most in lane.calls:
            try:
                result = process(tick, history)
                if result is not None:
                    signals = [*signals, *self._signals(slot, tick, lane.ordinal, result)]
            except (Exception, SystemExit) as error:  # whatever a strategy raises is its own affair
                self._failed(slot, tick, error)
            remember(tick)
            if len(history) > most:
                forget(0)
        return signals

    def counts(self) -> Mapping[str, int]:
        return {
            "signals": self.signals, "held": self.held, "errors": self.errors, "outside_session": self.outside_session,
        }  # fmt: skip

    def _signals(self, slot: Slot, tick: Tick, ordinal: int, result: SignalResult) -> list[Signal]:
        """One signal for each broker. What comes back from the codec is what another process would see."""
        if not isinstance(result, SignalResult):
            raise TypeError(f"process_tick returned {type(result).__name__}, not SignalResult or None")
        if result.signal_type == "HOLD":
            self.held += 1
            return []
        signals = [
            as_received(
                Signal(
                    signal_id=signal_id(slot.strategy_id, broker, tick, ordinal),
                    strategy_id=slot.strategy_id,
                    instrument_token=tick.instrument_token,
                    signal_type=result.signal_type,
                    timestamp=tick.timestamp,
                    broker=broker,
                    quantity=result.quantity,
                    price=result.price,  # type: ignore[arg-type]  # exact since it was made
                    confidence=result.confidence,
                    order_type=result.order_type,
                    product=result.product,
                    reasoning=result.reasoning,
                    metadata=result.metadata or {},
                )
            )
            for broker in slot.brokers
        ]
        self.signals += len(signals)
        return signals

    def _failed(self, slot: Slot, tick: Tick, error: BaseException) -> None:
        self.errors += 1
        slot.errors += 1
        if worth_telling(slot.errors):
            self._report(
                f"{slot.strategy_id} on {tick.instrument_token} at {tick.timestamp.isoformat()}: "
                f"{type(error).__name__}: {_said(error)} (failure {slot.errors}; other strategies go on)"
            )


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # its own __str__ fails
        return "(no message)"


def signal_id(strategy_id: str, broker: str, tick: Tick, ordinal: int) -> str:
    """The id of what `strategy_id` says to `broker` because of a tick.

    It depends on the cause alone: not on the place in the stream, the price, other strategies or the
    parameters, so an edited configuration cannot mint a second order for one cause.
    """
    return derive_id("signal", strategy_id, broker, tick.instrument_token, microseconds(tick.timestamp), ordinal)
