"""The step of `risk`: each signal becomes an order or a denial; nothing passes unchecked.

Exposure counts orders entered, not only filled. What a control needs and does not have denies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING

from alpha_cli.errors import Halted
from alpha_cli.events import IST, RUNNER, Control, Denial, Event, Order, Signal
from alpha_cli.ids import derive_id
from alpha_cli.market import Market
from alpha_cli.risk.checks import Check, Facts, Outside, Refusal, checks_for, refusal
from alpha_cli.risk.config import Limits
from alpha_cli.venue import Venue
from alpha_cli.wire import rupees

if TYPE_CHECKING:
    from alpha_cli.instruments import Instrument, Master


class RiskEngine:
    """Decides on signals by `limits`, in the light of `market`.

    `halt_reason` says why trading is halted from outside the stream, or None; it is asked before
    every order. `instruments` is the master, if there is one.
    """

    def __init__(
        self,
        limits: Limits,
        market: Market,
        *,
        instruments: Master | None = None,
        halt_reason: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._limits = limits
        self._limits_hash: str | None = None
        self._market = market
        self._venue = Venue(lambda: instruments)
        self._halt_reason = halt_reason
        self._halts: dict[str | None, str] = {}  # target (None: all) -> why, from the stream
        self._checks: dict[str, tuple[Check, ...]] = {}
        self._seen: set[str] = set()
        self._positions: dict[tuple[str, int], int] = {}
        self.orders = 0
        self.denials = 0

    def on_signal(self, signal: Signal) -> Iterable[Event]:
        """The order or the denial that `signal` leads to."""
        facts = self._facts(signal)
        self._seen.add(signal.signal_id)
        refused = refusal(facts, self._checks_for(signal.broker))
        if refused is not None:
            self.denials += 1
            return (self._denial(signal, refused),)
        self.orders += 1
        self._positions[signal.broker, signal.instrument_token] = facts.position + facts.change
        return (self._order(signal, facts),)

    def on_control(self, control: Control) -> Iterable[Event]:
        """A halt or resume that a person put into the stream. That a strategy runs again lifts no halt."""
        if control.by == RUNNER:
            return ()
        if control.action == "halt":
            self._halts[control.target] = control.reason or f"by {control.by or 'a control event'}"
        elif control.action == "resume" and control.target is None:
            self._halts.clear()
        elif control.action == "resume":
            self._halts.pop(control.target, None)
        return ()

    def halted(self, signal: Signal) -> str | None:
        """Why `signal` may not trade: everything, its strategy or its broker is halted. None if it may."""
        for target in (None, signal.strategy_id, signal.broker):
            if target in self._halts:
                return self._halts[target]
        return self._halt_reason()

    def verdict(self) -> Halted | None:
        """`Halted` while anything is."""
        why = next(iter(self._halts.values()), None) or self._halt_reason()
        return None if why is None else Halted(f"halted: {why}; {self.denials} signals were denied")

    def counts(self) -> Mapping[str, int]:
        return {"orders": self.orders, "denials": self.denials}

    def _facts(self, signal: Signal) -> Facts:
        token = signal.instrument_token
        tick = self._market.last(token)
        now = self._market.now
        listed = self._listed(token, now or signal.timestamp)
        return Facts(
            signal=signal,
            limits=self._limits.of(signal.broker),
            halted=self.halted(signal),
            repeated=signal.signal_id in self._seen,
            known=None if self._venue.master is None else listed is not None,
            is_index=listed is not None and listed.kind == "index",
            reference=None if tick is None else rupees(tick.last_price) or None,  # 0 at four decimals is no price
            position=self._positions.get((signal.broker, token), 0),
            now=now,
            outside_session=self._outside_session(token, signal.timestamp, now),
        )

    def _listed(self, token: int, now: datetime) -> Instrument | None:
        """What `token` stands for on the day of `now`, if there is a master and it knows."""
        master = self._venue.master
        return None if master is None else master.by_token(token, _day(now))

    def _outside_session(self, token: int, signalled: datetime, now: datetime | None) -> Outside | None:
        """The time of the signal, or of the newest tick, that no continuous session of the instrument contains."""
        for moment in (signalled, signalled if now is None else now):
            day = _day(moment)
            hours = self._venue.hours(token, day or date.min)
            if not hours.contains(moment):
                unknown = hours.why(day)
                return Outside(moment, hours.told(), None if unknown is None else str(unknown))
        return None

    def _checks_for(self, broker: str) -> tuple[Check, ...]:
        checks = self._checks.get(broker)
        if checks is None:
            checks = self._checks[broker] = checks_for(broker, self._limits.of(broker))
        return checks

    def _order(self, signal: Signal, facts: Facts) -> Order:
        if self._limits_hash is None:
            self._limits_hash = self._limits.hash()
        assert signal.quantity is not None
        assert signal.signal_type != "HOLD"
        return Order(
            order_id=derive_id("order", signal.signal_id),
            signal_id=signal.signal_id,
            strategy_id=signal.strategy_id,
            broker=signal.broker,
            instrument_token=signal.instrument_token,
            side=signal.signal_type,
            quantity=signal.quantity,
            timestamp=facts.now or signal.timestamp,
            order_type=signal.order_type,
            price=signal.price if signal.order_type == "LIMIT" else None,
            product=signal.product,
            reference_price=facts.reference,
            limits_hash=self._limits_hash,
            confidence=signal.confidence,
            metadata=signal.metadata,
        )

    def _denial(self, signal: Signal, refused: Refusal) -> Denial:
        return Denial(
            signal_id=signal.signal_id,
            strategy_id=signal.strategy_id,
            broker=signal.broker,
            code=refused.code,
            message=refused.message,
            instrument_token=signal.instrument_token,
            timestamp=self._market.now or signal.timestamp,
            limit=refused.limit,
            observed=refused.observed,
        )


def _day(moment: datetime) -> date | None:
    """Its date in India; None at either end of what a date can be."""
    try:
        return moment.astimezone(IST).date()
    except OverflowError:
        return None
