"""The step of `risk`: each signal becomes an order or a denial, each modification passes or is denied.

Nothing passes unchecked: an order in the input that was not made here is withheld. Exposure counts what was entered,
and is corrected by reports (`exposure`). A control that lacks a value it needs refuses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from alpha_cli.core.events import (
    Bar,
    Cancel,
    Control,
    Event,
    Fill,
    Gap,
    Modify,
    Order,
    OrderUpdate,
    Portfolio,
    Signal,
    Tick,
)
from alpha_cli.core.money import units
from alpha_cli.core.times import EPOCH, in_india, later, microseconds
from alpha_cli.market.contracts import Contract, Contracts
from alpha_cli.stages.risk.controls import conduct
from alpha_cli.stages.risk.controls.table import CONTROLS, LOSS_CONTROLS, ActiveControl, Check
from alpha_cli.stages.risk.counters import OpenOrder, Valuation
from alpha_cli.stages.risk.exposure import ExposureLedger
from alpha_cli.stages.risk.facts import Facts, Level
from alpha_cli.stages.risk.facts_builder import FactsBuilder, Moment
from alpha_cli.stages.risk.halts import Halts
from alpha_cli.stages.risk.journal import Journal, MemoryJournal
from alpha_cli.stages.risk.orders import (
    OrderEntry,
    denial_of_change,
    denial_of_order,
    denial_of_signal,
    denial_of_unknown,
)
from alpha_cli.stages.risk.plans import DayPlan, DayPlans, bars_needed
from alpha_cli.stages.risk.prices import Prices
from alpha_cli.stages.risk.refusal import Refusal
from alpha_cli.stages.risk.resolve import Levels
from alpha_cli.stages.risk.trading_state import HaltKey, LatchedStates
from alpha_cli.stream.last_ticks import LastTicks

if TYPE_CHECKING:
    from alpha_cli.core.errors import Halted
    from alpha_cli.market.instruments import Master
    from alpha_cli.stages.risk.config import RiskFile

#: How often positions are marked while nothing else happens, in stream time.
MARK_EVERY = timedelta(seconds=10)

#: Refusals that stop the strategy.
_STOPPING = frozenset(code for control in CONTROLS if control.stops == "strategy" for code in control.codes)

#: Called with each decision: signal, facts, controls asked, and the refusal if there was one.
Audit = Callable[[Signal, Facts, Sequence[ActiveControl], Refusal | None], object]


class RiskInputs(msgspec.Struct, kw_only=True):
    """What a `RiskEngine` works with.

    limits        the file risk.yaml
    last_ticks    the last tick of each instrument, kept by the stream loop
    instruments   the master, if there is one
    halt_reason   why trading is halted from outside the stream, or None; called before every order
    opening_cash  rupees in each broker's account before any fill
    journal       what is remembered from one run to the next
    ledger, latched, halted   as they were stored
    """

    limits: RiskFile
    last_ticks: LastTicks
    instruments: Master | None = None
    halt_reason: Callable[[], str | None] = lambda: None
    opening_cash: Mapping[str, Decimal] = {}
    journal: Journal | None = None
    ledger: ExposureLedger | None = None
    latched: LatchedStates | None = None
    halted: dict[HaltKey, str] | None = None


class RiskEngine:
    """Decides on signals by the limits, with the newest market data and the exposure so far.

    audit  is called with each decision on a signal, if it is set
    """

    def __init__(self, inputs: RiskInputs) -> None:
        limits = inputs.limits
        self.limits = limits
        self.journal: Journal = inputs.journal or MemoryJournal()
        self.ledger = _prepared(inputs)
        self.plans = DayPlans(limits, self.ledger)
        self.audit: Audit | None = None
        self._last_ticks = inputs.last_ticks
        self._contracts = Contracts(lambda: inputs.instruments)
        bars = bars_needed(limits)
        self._needs_bars = bool(bars)
        self._prices = Prices(inputs.last_ticks, bars, self._contracts.hours_at)
        self._facts = FactsBuilder(self._prices, self.ledger)
        self._entry = OrderEntry(limits, self.ledger, self.plans)
        self.halts = Halts(
            limits.brokers,
            self.ledger,
            inputs.last_ticks,
            price_of=self._prices.price_of,
            halt_reason=inputs.halt_reason,
            latched=inputs.latched,
            halted=inputs.halted,
        )
        self._alarm: datetime | None = None
        self._pending: list[Event] = []  # applied already, not emitted yet
        self._reentering: list[Event] = []  # emitted and applied; skip when they come through `on_control`
        self._counts = dict.fromkeys(("orders", "denials", "modified", "withheld"), 0)
        self._codes: Counter[str] = Counter()  # denials by code
        self.foreign_orders = 0  # that came in the input
        for key in list(self.ledger.scopes):
            if len(key) < 3:
                self.plans.level(*key)
        self._set_mark_alarm()

    @property
    def steps(self) -> Mapping[type[Event], Callable[[Any], Iterable[Event]]]:
        """Event type -> the step for it, as `Stage` takes them."""
        steps: dict[type[Event], Callable[[Any], Iterable[Event]]] = {
            Signal: self.on_signal,
            Control: self.on_control,
            Order: self.on_order,
            Modify: self.on_modify,
            Cancel: self.on_cancel,
            Fill: self.on_fill,
            OrderUpdate: self.on_update,
            Portfolio: self.on_portfolio,
            Gap: self.on_gap,
            Tick: self.on_tick,
        }
        return {**steps, Bar: self.on_bar} if self._needs_bars else steps

    @property
    def gates(self) -> frozenset[type[Event]]:
        """Event types that pass only if the step returns them."""
        return frozenset({Order, Modify, Control})

    def counts(self) -> Mapping[str, int]:
        """Return the figures of this run for the closing line; denials also by their codes, the most frequent first."""
        denials = {f"denied.{code}": count for code, count in self._codes.most_common()}
        return {**self._counts, "denials": self._codes.total(), **denials}

    def commit(self) -> None:
        """Make decisions durable, before they are written to the output."""
        self.journal.commit(self.ledger, self.halts.latched, self.halts.halted)

    # --- signals and requests ----------------------------------------------------------------

    def on_signal(self, signal: Signal) -> Iterable[Event]:
        """Return the order (or its slices) or the denial; before it the lines about what stopped trading."""
        output = self._take_pending() if self._pending else self.halts.refresh(())
        at = self._last_ticks.now or signal.timestamp
        now = Moment(at, microseconds(at))
        plan = self._plan(signal.broker, signal.strategy_id, signal.instrument_token, now)
        valuations = self._value(plan.valued, at, output) if plan.valued else {}
        facts = self._facts_of(signal, plan, now, valuations)
        refusal = _first_refusal(plan.entry_checks if facts.is_entry else plan.exit_checks, facts)
        if self.audit is not None:
            self.audit(signal, facts, plan.controls, refusal)
        if refusal is not None:
            self._codes[refusal.code] += 1
            output.append(denial_of_signal(signal, refusal, at))
            if refusal.code in _STOPPING:
                output += self.halts.latch(signal.broker, signal.strategy_id, "HALTED", refusal, at)
            return output
        orders = self._entry.enter(signal, facts, plan, at)
        self._counts["orders"] += len(orders)
        if self._alarm is None:
            self._set_mark_alarm()
        return [*output, *orders] if output else orders

    def _facts_of(self, signal: Signal, plan: DayPlan, now: Moment, valuations: Mapping[Level, Valuation]) -> Facts:
        """Build the facts about a signal and record that it is decided."""
        named_price = None if signal.price is None else units(signal.price)
        body = (
            signal.strategy_id, signal.broker, signal.instrument_token, signal.signal_type, signal.quantity,
            named_price, signal.order_type, signal.product,
        )  # fmt: skip
        day = self.journal.day
        return self._facts.of_signal(
            signal,
            plan,
            now,
            named_price=named_price,
            repeated=self.journal.record_signal(signal.signal_id, body),
            metadata_size=len(msgspec.json.encode(signal.metadata)) if signal.metadata else 0,
            past=day is not None and plan.contract.on < day,
            stops=self.halts.facts_for(signal.broker, signal.strategy_id),
            valuations=valuations,
        )

    def on_modify(self, modify: Modify) -> Iterable[Event]:
        """Return `modify` itself if it passes, else the denial that takes its place."""
        order = self.ledger.orders.get(modify.order_id)
        output = self._take_pending()
        at = self._last_ticks.now or modify.timestamp or EPOCH
        if order is None or order.ended:
            self._counts["withheld"] += 1
            return [*output, denial_of_unknown(modify, at)]
        now = Moment(at, microseconds(at))
        plan = self._plan(order.broker, order.strategy_id, order.token, now)
        if self.ledger.orders.get(modify.order_id) is not order or order.ended:  # a new day has just ended it
            self._counts["withheld"] += 1
            return [*output, denial_of_unknown(modify, at)]
        valuations = self._value(plan.valued, at, output)
        stops = self.halts.facts_for(order.broker, order.strategy_id)
        facts = self._facts.of_modification(modify, order, plan, now, stops=stops, valuations=valuations)
        refusal = _first_refusal(plan.change_checks, facts)
        if refusal is not None:
            self._codes[refusal.code] += 1
            return [*output, denial_of_change(order, refusal, at)]
        self._enter_modification(modify, order, facts)
        return [*output, modify]

    def _enter_modification(self, modify: Modify, order: OpenOrder, facts: Facts) -> None:
        self._counts["modified"] += 1
        self.ledger.count_message(order.broker, order.strategy_id, facts.time.now)
        total = order.total if modify.quantity is None else modify.quantity
        worst = order.price if facts.price.worst is None else facts.price.worst
        self.ledger.modify(order, total, worst, facts.request.limit_price)

    def on_cancel(self, cancel: Cancel) -> Iterable[Event]:
        """Count a cancel as a message; it always passes."""
        order = self.ledger.orders.get(cancel.order_id)
        if order is not None:
            at = self._last_ticks.now or cancel.timestamp
            now = order.entered if at is None else microseconds(at)
            self.ledger.count_message(order.broker, order.strategy_id, now)
        return ()

    def on_order(self, order: Order) -> Iterable[Event]:
        """Withhold an order that was not made here: nothing has checked it."""
        self._counts["withheld"] += 1
        self.foreign_orders += 1
        return (denial_of_order(order, self._last_ticks.now or order.timestamp),)

    # --- reports -----------------------------------------------------------------------------

    def on_fill(self, fill: Fill) -> Iterable[Event]:
        """Book a trade, once, and check the limits on losses and rejects."""
        if self.journal.record_fill(f"{fill.broker} {fill.order_id} {fill.fill_id}"):
            return ()
        if self._last_ticks.now is not None:
            self._contract(fill.instrument_token, self._last_ticks.now)
        self.ledger.fill(fill)
        return self._after_report(fill.broker, fill.strategy_id, fill.timestamp)

    def on_update(self, update: OrderUpdate) -> Iterable[Event]:
        """Enter the broker's report on an order, and check the limits on losses and rejects."""
        order = self.ledger.orders.get(update.order_id)
        if order is None:
            return ()
        self.ledger.update(update)
        return self._after_report(order.broker, order.strategy_id, update.timestamp)

    def on_control(self, control: Control) -> Iterable[Event]:
        """Apply what a person did (`Halts.apply`). An event from `side_events` was applied there already."""
        if self._reentering and control is self._reentering[0]:
            del self._reentering[0]
            return (control,)
        return self.halts.apply(control)

    def verdict(self) -> Halted | None:
        """Return `Halted` while anything is halted or may only reduce."""
        return self.halts.verdict(self._codes.total())

    def on_side_event(self, event: Any) -> None:
        """Apply an event from a side input: a report on an order, or a person's request."""
        if isinstance(event, Control):
            self._pending += self.on_control(event)
        elif isinstance(event, Fill | OrderUpdate | Portfolio):
            self._pending += self.steps[type(event)](event)

    def side_events(self) -> Iterator[Event]:
        """Yield what resulted from side events and from the file HALT, to enter the stream here."""
        for event in self._take_pending():
            self._reentering.append(event)
            yield event

    def _take_pending(self) -> list[Event]:
        """Return what must be emitted before anything else: the results of side events, and of the file HALT."""
        found = self.halts.refresh(self._pending)
        if not self._pending:
            return found
        pending, self._pending = [*self._pending, *found], []
        now = self._last_ticks.now
        # a request without a time takes effect here
        return [
            replace(event, timestamp=now) if isinstance(event, Control) and event.timestamp is None else event
            for event in pending
        ]

    def on_portfolio(self, portfolio: Portfolio) -> Iterable[Event]:
        """Take over the broker's own figures for an account."""
        now = self._last_ticks.now
        self.ledger.apply_portfolio(portfolio, 0 if now is None else microseconds(now))
        self.plans.level(portfolio.broker)
        self._set_mark_alarm()
        return ()

    def on_bar(self, bar: Bar) -> Iterable[Event]:
        """Keep closing prices and volumes, for sizing and participation."""
        self._prices.on_bar(bar)
        return ()

    def on_gap(self, gap: Gap) -> Iterable[Event]:
        """Note that ticks are missing."""
        self._prices.on_gap(gap)
        return ()

    def on_tick(self, tick: Tick) -> Iterable[Event]:
        """Mark the positions at intervals, so that a loss is noticed although no order is asked for."""
        if self._alarm is None or tick.timestamp < self._alarm:
            return ()
        self._start_day_if_later(self._contract(tick.instrument_token, tick.timestamp))
        output: list[Event] = []
        self._value(self.plans.loss_limited(), tick.timestamp, output)
        self._set_mark_alarm()
        return output

    def _after_report(self, broker: str, strategy_id: str, moment: datetime | None) -> list[Event]:
        """Re-mark positions and check loss and reject limits after a report on an order."""
        now = self._last_ticks.now or moment
        levels = (self.plans.level(broker), self.plans.level(broker, strategy_id))
        output: list[Event] = []
        self._value(levels, now, output)
        for level in levels:
            refusal = conduct.consecutive_rejects(level.limits, levels[1].scope)
            if refusal is not None:
                output += self.halts.latch(broker, strategy_id, "HALTED", refusal, now)
        self._set_mark_alarm()
        return output

    # --- valuation ---------------------------------------------------------------------------

    def _value(self, levels: Iterable[Level], now: datetime | None, output: list[Event]) -> dict[Level, Valuation]:
        """Mark the levels at the newest prices; stop those beyond a loss limit and append that to `output`."""
        valuations: dict[Level, Valuation] = {}
        for level in levels:
            scope = level.scope
            price_of = self._prices.mark_of if level.in_session else self._prices.price_of
            valuations[level] = valuation = scope.mark(price_of)
            if not level.limits_losses:
                continue
            self.ledger.changed_scopes.add(level.key)
            equity = valuation.equity
            scope.peak = max(scope.peak, equity)
            for control in LOSS_CONTROLS:
                refusal = control.check(level.limits, scope, equity)
                if refusal is not None:
                    state = conduct.state_after_loss(level.limits, scope, equity)
                    broker, strategy_id = level.key if len(level.key) > 1 else (level.key[0], "")
                    output += self.halts.latch(broker, strategy_id, state, refusal, now)
        return valuations

    # --- days and timers ---------------------------------------------------------------------

    def _plan(self, broker: str, strategy_id: str, token: int, now: Moment) -> DayPlan:
        """Return what applies to the strategy on the instrument on the day of `now`."""
        known = self.plans.known(broker, strategy_id, token, now.micros)
        if known is None:
            contract = self._contract(token, now.at)
            return self.plans.plan(broker, strategy_id, token, now.micros, contract)
        if known.contract.on != self.journal.day:  # the plan may have been made before the first tick of the day
            self._start_day_if_later(known.contract)
        return known

    def _contract(self, token: int, now: datetime) -> Contract:
        """Return the instrument as it is on the day of `now`; start that day if it is a later trading day."""
        contract = self._contracts.contract(token, in_india(now).date())
        if contract.on != self.journal.day:
            self._start_day_if_later(contract)
        return contract

    def _start_day_if_later(self, contract: Contract) -> None:
        """Start a new day if that of `contract` is a later one on which the exchange trades."""
        day, now = self.journal.day, self._last_ticks.now
        if contract.day is None or (day is not None and contract.on <= day):
            return
        if now is None or in_india(now).date() != contract.on:
            return  # only ticks start a day, not the start of the program
        self.journal.day = contract.on
        if day is not None:
            self.ledger.start_day(lambda token: self._prices.price_before(token, contract.on))

    def _set_mark_alarm(self) -> None:
        """Ask for a tick after a while if there is something to mark; at the start, for the first one."""
        now, alarm = self._last_ticks.now, None
        if any(level.scope.holdings for level in self.plans.loss_limited()):
            if now is None:
                alarm = EPOCH
            else:
                alarm = self._alarm if self._alarm is not None and self._alarm > now else later(now, MARK_EVERY)
        if alarm != self._alarm:
            self._alarm = alarm
            self._last_ticks.set_alarm(alarm, self)


def _prepared(inputs: RiskInputs) -> ExposureLedger:
    """Return the stored ledger, or a new one, with the opening cash and the brokers whose fills are assumed."""
    ledger, levels = inputs.ledger or ExposureLedger(), Levels(inputs.limits)
    ledger.assumes = {name for name in inputs.limits.brokers if levels.broker(name).assume_market_fills}
    for broker, cash in inputs.opening_cash.items():
        ledger.funds.setdefault(broker, units(cash))
    return ledger


def _first_refusal(checks: Iterable[Check], facts: Facts) -> Refusal | None:
    """Return the first refusal, or None if every control passes."""
    for check in checks:
        refusal = check(facts)
        if refusal is not None:
            return refusal
    return None
