"""The step of `risk`: each signal becomes an order or a denial, each modification passes or is denied.

Nothing passes unchecked: an order in the input that was not made here is withheld. Exposure counts what was entered,
and is corrected by what is heard of it (`books`). What a control needs and does not have refuses.
"""

from __future__ import annotations

from bisect import bisect_left
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
    Denial,
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
from alpha_cli.core.ids import derive_id
from alpha_cli.core.money import in_rupees, units
from alpha_cli.core.times import EPOCH, in_india, later, microseconds
from alpha_cli.market.contracts import Contract, Contracts
from alpha_cli.stages.risk.codes import Code
from alpha_cli.stages.risk.controls import CONTROLS, Asked, Check, conduct
from alpha_cli.stages.risk.counters import Entry, Worth, repeat_key
from alpha_cli.stages.risk.exposure import Books
from alpha_cli.stages.risk.facts import Facts, Level, Refusal
from alpha_cli.stages.risk.gather import Gatherer
from alpha_cli.stages.risk.halts import Halt, States
from alpha_cli.stages.risk.journal import Journal, Memory
from alpha_cli.stages.risk.limits import MILLION, Levels
from alpha_cli.stages.risk.plans import Plan, Plans, bars_needed
from alpha_cli.stages.risk.slicing import sliced
from alpha_cli.stages.risk.trading_state import Standings
from alpha_cli.stream.last_ticks import LastTicks

if TYPE_CHECKING:
    from alpha_cli.core.errors import Halted
    from alpha_cli.market.instruments import Master
    from alpha_cli.stages.risk.config import RiskFile

#: How often positions are marked while nothing else happens, in stream time.
MARK_EVERY = timedelta(seconds=10)

_LOSSES = (conduct.daily_loss, conduct.drawdown)

#: Refusals that stop the strategy.
_STOPPING = frozenset(code for control in CONTROLS if control.stops == "strategy" for code in control.codes)


class RiskEngine:
    """Decides on signals by `limits`, in the light of `market`.

    instruments   the master, if there is one
    halt_reason   why trading is halted from outside the stream, or None; asked before every order
    opening_cash  rupees in each broker's account before any fill
    journal       what is remembered from one run to the next
    books, standings, halts   as they were kept
    """

    def __init__(
        self,
        limits: RiskFile,
        market: LastTicks,
        *,
        instruments: Master | None = None,
        halt_reason: Callable[[], str | None] = lambda: None,
        opening_cash: Mapping[str, Decimal] | None = None,
        journal: Journal | None = None,
        books: Books | None = None,
        standings: Standings | None = None,
        halts: dict[Halt, str] | None = None,
    ) -> None:
        self.limits = limits
        self._limits_hash: str | None = None
        self._market = market
        self._venue = Contracts(lambda: instruments)
        self._levels = Levels(limits)
        self.journal: Journal = journal or Memory()
        self.books = books or Books()
        self.books.assumes = {name for name in limits.brokers if self._levels.broker(name).assume_market_fills}
        for broker, cash in (opening_cash or {}).items():
            self.books.funds.setdefault(broker, units(cash))
        self.plans = Plans(limits, self.books)
        bars = bars_needed(limits)
        self._gather = Gatherer(market, self.books, bars, self._venue.hours_at)
        self.states = States(
            limits.brokers, self.books, market, price_of=self._gather.price_of, halt_reason=halt_reason,
            standings=standings, halts=halts,
        )  # fmt: skip
        self._needs_bars = bool(bars)
        self._alarm: datetime | None = None
        self._news: list[Event] = []  # done already, but not said yet
        self._passing: list[Event] = []  # said now: it comes by once more on its way into the stream
        self.audit: Callable[[Signal, Facts, Sequence[Asked], Refusal | None], object] | None = None
        self._counts = dict.fromkeys(("orders", "denials", "modified", "withheld"), 0)
        for key in list(self.books.scopes):
            if len(key) < 3:
                self.plans.level(*key)
        self._expect_marks()

    @property
    def steps(self) -> Mapping[type[Event], Callable[[Any], Iterable[Event]]]:
        """Type of event -> the step for it, as `Stage` wants them."""
        steps: dict[type[Event], Callable[[Any], Iterable[Event]]] = {
            Signal: self.on_signal, Control: self.on_control, Order: self.on_order, Modify: self.on_modify,
            Cancel: self.on_cancel, Fill: self.on_fill, OrderUpdate: self.on_update, Portfolio: self.on_portfolio,
            Gap: self.on_gap, Tick: self.on_tick,
        }  # fmt: skip
        return {**steps, Bar: self.on_bar} if self._needs_bars else steps

    @property
    def gates(self) -> frozenset[type[Event]]:
        """What passes only if it is let pass."""
        return frozenset({Order, Modify, Control})

    def counts(self) -> Mapping[str, int]:
        """Figures of this run, for the closing line."""
        return self._counts

    @property
    def orders(self) -> int:
        return self._counts["orders"]

    @property
    def denials(self) -> int:
        return self._counts["denials"]

    def commit(self) -> None:
        """Make durable what was decided, before it is said."""
        self.journal.commit(self.books, self.states.standings, self.states.halts)

    # --- what is asked for -------------------------------------------------------------------

    def on_signal(self, signal: Signal) -> Iterable[Event]:
        """The order (or its slices), or the denial, that `signal` leads to; before it what stopped trading."""
        said = self._first_of_all() if self._news else self.states.look(())
        moment = self._market.now or signal.timestamp
        now = microseconds(moment)
        plan = self._plan(signal.broker, signal.strategy_id, signal.instrument_token, moment, now)
        worth = self._value(plan.valued, moment, said) if plan.valued else {}
        facts = self._gather.of_signal(signal, plan, moment, now, worth)
        body = (
            signal.strategy_id, signal.broker, signal.instrument_token, signal.signal_type, signal.quantity,
            facts.asked, signal.order_type, signal.product,
        )  # fmt: skip
        facts.repeated = self.journal.decided(signal.signal_id, body)
        states = self.states
        if states.halts or states.standings.kept:
            states.copy_into(facts, signal.broker, signal.strategy_id)
        day = self.journal.day
        if day is not None and plan.contract.on < day:
            facts.past = True
        if signal.metadata:
            facts.metadata = len(msgspec.json.encode(signal.metadata))
        refused = _first(plan.entries if facts.entry else plan.exits, facts)
        if self.audit is not None:
            self.audit(signal, facts, plan.asked, refused)
        if refused is None:
            orders = self._entered(signal, facts, plan, moment)
            return [*said, *orders] if said else orders
        self._counts["denials"] += 1
        said.append(
            Denial(
                signal_id=signal.signal_id,
                strategy_id=signal.strategy_id,
                broker=signal.broker,
                code=refused.code.value,
                message=refused.message,
                instrument_token=signal.instrument_token,
                timestamp=moment,
                limit=refused.limit,
                observed=refused.observed,
            )
        )
        if refused.code in _STOPPING:
            said += self.states.latch(signal.broker, signal.strategy_id, "HALTED", refused, moment)
        return said

    def on_modify(self, modify: Modify) -> Iterable[Event]:
        """`modify` itself if it passes, else the denial that stands in its place."""
        entry = self.books.entries.get(modify.order_id)
        said = self._first_of_all()
        moment = self._market.now or modify.timestamp or EPOCH
        if entry is None or entry.ended:
            return [*said, self._unknown(modify, moment)]
        plan = self._plan(entry.broker, entry.strategy_id, entry.token, moment, microseconds(moment))
        if self.books.entries.get(modify.order_id) is not entry or entry.ended:  # a day began, which ended it
            return [*said, self._unknown(modify, moment)]
        worth = self._value(plan.valued, moment, said)
        facts = self._gather.of_modification(modify, entry, plan, moment, worth)
        self.states.copy_into(facts, entry.broker, entry.strategy_id)
        refused = _first(plan.changes, facts)
        if refused is not None:
            self._counts["denials"] += 1
            denied = self._withheld(
                refused, moment, order_id=entry.order_id, signal_id=entry.signal_id, strategy_id=entry.strategy_id,
                broker=entry.broker, token=entry.token,
            )  # fmt: skip
            return [*said, denied]
        self._counts["modified"] += 1
        self.books.message(entry.broker, entry.strategy_id, facts.now)
        total = entry.total if modify.quantity is None else modify.quantity
        self.books.modified(entry, total, entry.price if facts.worst is None else facts.worst, facts.price)
        return [*said, modify]

    def _unknown(self, modify: Modify, moment: datetime) -> Denial:
        self._counts["withheld"] += 1
        why = Refusal(Code.ORDER_UNKNOWN, "no open order of this id was made here; cancel it and send a signal")
        return self._withheld(
            why, moment, order_id=modify.order_id, signal_id=modify.order_id, strategy_id="-", broker="-", token=None
        )

    def on_cancel(self, cancel: Cancel) -> Iterable[Event]:
        """A cancel always passes; it is a message like another."""
        entry = self.books.entries.get(cancel.order_id)
        if entry is not None:
            now = self._market.now or cancel.timestamp
            self.books.message(entry.broker, entry.strategy_id, entry.entered if now is None else microseconds(now))
        return ()

    def on_order(self, order: Order) -> Iterable[Event]:
        """An order that was not made here does not pass: nothing would have checked it."""
        self._counts["withheld"] += 1
        checked_by_nobody = "an order in the input of risk was checked by nobody; send signals"
        why = Refusal(Code.ORDER_FOREIGN, checked_by_nobody, None, order.quantity)
        denied = self._withheld(
            why, self._market.now or order.timestamp, order_id=order.order_id, signal_id=order.signal_id,
            strategy_id=order.strategy_id, broker=order.broker, token=order.instrument_token,
        )  # fmt: skip
        return (denied,)

    # --- what is heard -----------------------------------------------------------------------

    def on_fill(self, fill: Fill) -> Iterable[Event]:
        """Enter a trade, once, and look whether it was one too many."""
        if self.journal.booked(f"{fill.broker} {fill.order_id} {fill.fill_id}"):
            return ()
        if self._market.now is not None:
            self._contract(fill.instrument_token, self._market.now)
        self.books.fill(fill)
        return self._heard(fill.broker, fill.strategy_id, fill.timestamp)

    def on_update(self, update: OrderUpdate) -> Iterable[Event]:
        """Enter what became of an order."""
        entry = self.books.entries.get(update.order_id)
        if entry is None:
            return ()
        self.books.update(update)
        return self._heard(entry.broker, entry.strategy_id, update.timestamp)

    def on_control(self, control: Control) -> Iterable[Event]:
        """What a person did; see `States.obey`. What was said by `news` was done then, and comes by once more."""
        if self._passing and control is self._passing[0]:
            del self._passing[0]
            return (control,)
        return self.states.obey(control)

    def verdict(self) -> Halted | None:
        """`Halted` while anything is, or may only reduce."""
        return self.states.verdict(self._counts["denials"])

    def hear(self, event: Any) -> None:
        """Something came from beside the stream: a report on an order, or what a person asks for."""
        if isinstance(event, Control):
            self._news += self.on_control(event)
        elif isinstance(event, Fill | OrderUpdate | Portfolio):
            self._news += self.steps[type(event)](event)

    def news(self) -> Iterator[Event]:
        """What came of that, and of the file HALT; it enters the stream here, and does nothing any more."""
        for event in self._first_of_all():
            self._passing.append(event)
            yield event

    def _first_of_all(self) -> list[Event]:
        """What is to be said before anything else: what came from beside the stream, and of the file HALT."""
        looked = self.states.look(self._news)
        if not self._news:
            return looked
        said, self._news = [*self._news, *looked], []
        now = self._market.now
        return [
            # whoever asked for it and when, it happens here
            replace(one, timestamp=now) if isinstance(one, Control) and one.timestamp is None else one
            for one in said
        ]

    def on_portfolio(self, portfolio: Portfolio) -> Iterable[Event]:
        """The broker's own word on an account."""
        now = self._market.now
        self.books.statement(portfolio, 0 if now is None else microseconds(now))
        self.plans.level(portfolio.broker)
        self._expect_marks()
        return ()

    def on_bar(self, bar: Bar) -> Iterable[Event]:
        """Closing prices and volumes, for sizing and participation."""
        self._gather.on_bar(bar)
        return ()

    def on_gap(self, gap: Gap) -> Iterable[Event]:
        """Ticks are known to be missing."""
        self._gather.on_gap(gap)
        return ()

    def on_tick(self, tick: Tick) -> Iterable[Event]:
        """Mark the positions, every so often, so that a loss is seen although nobody asks for an order."""
        if self._alarm is None or tick.timestamp < self._alarm:
            return ()
        self._turn(self._contract(tick.instrument_token, tick.timestamp))
        said: list[Event] = []
        self._value(self.plans.watched(), tick.timestamp, said)
        self._expect_marks()
        return said

    def _heard(self, broker: str, strategy_id: str, moment: datetime | None) -> list[Event]:
        """What follows from what was heard of one strategy's order."""
        now = self._market.now or moment
        levels = (self.plans.level(broker), self.plans.level(broker, strategy_id))
        said: list[Event] = []
        self._value(levels, now, said)
        for level in levels:
            refused = conduct.consecutive_rejects(level.limits, levels[1].scope, 0)
            if refused is not None:
                said += self.states.latch(broker, strategy_id, "HALTED", refused, now)
        self._expect_marks()
        return said

    # --- what it is worth --------------------------------------------------------------------

    def _value(self, levels: Iterable[Level], now: datetime | None, said: list[Event]) -> dict[Level, Worth]:
        """Mark the levels at the newest prices, and stop those whose losses are beyond their limits."""
        worth: dict[Level, Worth] = {}
        for level in levels:
            scope = level.scope
            found = worth[level] = scope.worth(self._gather.mark_of if level.in_session else self._gather.price_of)
            if not level.watched:
                continue
            self.books.changed_scopes.add(level.key)
            equity = found.equity
            scope.peak = max(scope.peak, equity)
            for control in _LOSSES:
                refused = control(level.limits, scope, equity)
                if refused is not None:
                    severe = conduct.is_severe(level.limits, scope, equity)
                    broker, strategy_id = level.key if len(level.key) > 1 else (level.key[0], "")
                    said += self.states.latch(broker, strategy_id, "HALTED" if severe else "REDUCING", refused, now)
        return worth

    # --- days, and what is due ---------------------------------------------------------------

    def _plan(self, broker: str, strategy_id: str, token: int, moment: datetime, now: int) -> Plan:
        """What holds for the strategy on the instrument on the day of `moment`, which is `now` in microseconds."""
        known = self.plans.known(broker, strategy_id, token, now)
        if known is None:
            return self.plans.plan(broker, strategy_id, token, now, self._contract(token, moment))
        if known.contract.on != self.journal.day:  # it may have been made before any tick told the day
            self._turn(known.contract)
        return known

    def _contract(self, token: int, now: datetime) -> Contract:
        """What the instrument is on the day of `now`, which is now the day if it is a later trading day."""
        contract = self._venue.contract(token, in_india(now).date())
        if contract.on != self.journal.day:
            self._turn(contract)
        return contract

    def _turn(self, contract: Contract) -> None:
        """Begin a new day if this is a later one on which the exchange trades: never at a mere start."""
        day, now = self.journal.day, self._market.now
        if contract.day is None or (day is not None and contract.on <= day):
            return
        if now is None or in_india(now).date() != contract.on:
            return  # only the ticks tell what day it is
        self.journal.day = contract.on
        if day is not None:
            self.books.new_day(lambda token: self._gather.price_before(token, contract.on))

    def _expect_marks(self) -> None:
        """Ask for a tick in a while, if there is something to mark; at the start, for the first one."""
        now, alarm = self._market.now, None
        if any(level.scope.holdings for level in self.plans.watched()):
            if now is None:
                alarm = EPOCH
            else:
                alarm = self._alarm if self._alarm is not None and self._alarm > now else later(now, MARK_EVERY)
        if alarm != self._alarm:
            self._alarm = alarm
            self._market.wake_at(alarm, self)

    # --- what goes out -----------------------------------------------------------------------

    def _entered(self, signal: Signal, facts: Facts, plan: Plan, now: datetime) -> list[Order]:
        """The order, or its slices, each entered in the books."""
        if self._limits_hash is None:
            self._limits_hash = self.limits.hash()
        assert facts.quantity is not None
        assert signal.signal_type != "HOLD"
        assert facts.worst is not None or facts.value is None
        protection = plan.limits.market_protection if signal.order_type == "MARKET" else None
        order = Order(
            derive_id("order", signal.signal_id),
            signal.signal_id,
            signal.strategy_id,
            signal.broker,
            signal.instrument_token,
            signal.signal_type,
            facts.quantity,
            now,
            signal.order_type,
            signal.price if signal.order_type == "LIMIT" else None,
            product=signal.product,
            reference_price=None if facts.reference is None else in_rupees(facts.reference),
            limits_hash=self._limits_hash,
            market_protection=protection * 100 / MILLION if protection else None,
            confidence=signal.confidence,
            metadata=signal.metadata,
        )
        price = facts.worst or 0
        made = [order] if facts.messages == 1 else list(sliced(order, plan.contract.freeze, plan.contract.lot_size))
        limit, last = facts.price, facts.reference
        first = self.books.enter(made[0], plan.trio, facts.now, price=price, limit=limit, last=last)
        self._remember(first, facts, plan)
        for one in made[1:]:
            self.books.enter(one, plan.trio, facts.now, price=price, limit=limit, last=last)
        self._counts["orders"] += len(made)
        if self._alarm is None:
            self._expect_marks()
        return made

    def _remember(self, entry: Entry, facts: Facts, plan: Plan) -> None:
        """What later orders are held against: repetitions of it."""
        account, strategy, _ = plan.levels
        window, repeated = self.plans.longest_window, plan.limits.repeated_execution
        key = repeat_key(entry.token, entry.buy)
        if window is not None:
            recent = account.scope.recent.get(key)
            if recent is None:
                recent = account.scope.recent[key] = []
            recent.append((_later(recent, facts.now, window), facts.quantity, facts.price))
        if repeated is not None and facts.entry:  # of slices the first stands for all
            made = strategy.scope.repeats.get(key)
            if made is None:
                made = strategy.scope.repeats[key] = []
            made.append((_later(made, facts.now, repeated[1]), entry.order_id))

    @staticmethod
    def _withheld(
        why: Refusal, now: datetime, *, order_id: str, signal_id: str, strategy_id: str, broker: str, token: int | None
    ) -> Denial:
        """In place of an order or a modification that does not pass."""
        return Denial(
            signal_id=signal_id, strategy_id=strategy_id, broker=broker, code=why.code.value, message=why.message,
            timestamp=now, limit=why.limit, observed=why.observed, instrument_token=token, order_id=order_id,
        )  # fmt: skip


def _first(checks: Iterable[Check], facts: Facts) -> Refusal | None:
    """The first refusal, or None if every control lets it pass."""
    for check in checks:
        refused = check(facts)
        if refused is not None:
            return refused
    return None


def _later(times: list[Any], now: int, window: int) -> int:
    """Forget of `times`, oldest first, what is not within `window` of `now`; the time to enter after the others.

    A stream may step back; the window does not.
    """
    if not times:
        return now
    last = times[-1][0]
    now = max(now, last)
    since = now - window
    if last <= since:
        times.clear()
    elif times[0][0] <= since:
        del times[: bisect_left(times, (since + 1,))]
    return now
