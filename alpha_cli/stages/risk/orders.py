"""What goes out: orders, with their slices, and denials."""

from __future__ import annotations

from bisect import bisect_left
from datetime import datetime
from typing import TYPE_CHECKING, Any

from alpha_cli.core.events import Denial, Modify, Order, Signal
from alpha_cli.core.ids import derive_id
from alpha_cli.core.money import in_rupees
from alpha_cli.stages.risk.codes import Code
from alpha_cli.stages.risk.counters import OpenOrder, repeat_key
from alpha_cli.stages.risk.exposure import ExposureLedger
from alpha_cli.stages.risk.facts import Facts
from alpha_cli.stages.risk.limits import MILLION
from alpha_cli.stages.risk.plans import DayPlan, DayPlans
from alpha_cli.stages.risk.refusal import Refusal
from alpha_cli.stages.risk.resolve import limits_hash
from alpha_cli.stages.risk.slicing import sliced

if TYPE_CHECKING:
    from alpha_cli.stages.risk.config import RiskFile


class OrderEntry:
    """Makes the orders of signals that pass, and enters them in the ledger."""

    def __init__(self, limits: RiskFile, ledger: ExposureLedger, plans: DayPlans) -> None:
        self._limits = limits
        self._ledger = ledger
        self._plans = plans
        self._limits_hash: str | None = None  # found with the first order: a run without one starts faster

    def enter(self, signal: Signal, facts: Facts, plan: DayPlan, now: datetime) -> list[Order]:
        """Return the order of `signal`, or its slices, each entered in the ledger."""
        assert facts.price.worst is not None or facts.price.value is None
        order, contract, price = self._order(signal, facts, now), plan.contract, facts.price
        whole = facts.request.messages == 1
        orders = [order] if whole else list(sliced(order, contract.freeze, contract.lot_size))
        worst, limit = price.worst or 0, facts.request.limit_price
        for made in orders:
            entered = self._ledger.enter(
                made, plan.triple, facts.time.now, price=worst, limit=limit, last=price.reference
            )
            if made is orders[0]:
                self._remember(entered, facts, plan)
        return orders

    def _order(self, signal: Signal, facts: Facts, now: datetime) -> Order:
        assert facts.request.quantity is not None
        assert signal.signal_type != "HOLD"
        protection = facts.limits.market_protection if signal.order_type == "MARKET" else None
        # Two ids without a name: CPython passes more than 14 names as a dict, which makes this call ten times as slow.
        return Order(
            derive_id("order", signal.signal_id),
            signal.signal_id,
            strategy_id=signal.strategy_id,
            broker=signal.broker,
            instrument_token=signal.instrument_token,
            side=signal.signal_type,
            quantity=facts.request.quantity,
            timestamp=now,
            order_type=signal.order_type,
            price=signal.price if signal.order_type == "LIMIT" else None,
            product=signal.product,
            reference_price=None if facts.price.reference is None else in_rupees(facts.price.reference),
            limits_hash=self._hash(),
            market_protection=protection * 100 / MILLION if protection else None,
            confidence=signal.confidence,
            metadata=signal.metadata,
        )

    def _hash(self) -> str:
        if self._limits_hash is None:
            self._limits_hash = limits_hash(self._limits)
        return self._limits_hash

    def _remember(self, order: OpenOrder, facts: Facts, plan: DayPlan) -> None:
        """Keep what later orders are compared with to find repetitions; of slices the first stands for all."""
        account, strategy, _ = plan.levels
        window, repeated = self._plans.longest_window, plan.limits.repeated_execution
        key, now = repeat_key(order.token, order.buy), facts.time.now
        if window is not None:
            recent = account.scope.recent.get(key)
            if recent is None:
                recent = account.scope.recent[key] = []
            recent.append((_drop_older(recent, now, window), facts.request.quantity, facts.request.limit_price))
        if repeated is not None and facts.is_entry:
            repeats = strategy.scope.repeats.get(key)
            if repeats is None:
                repeats = strategy.scope.repeats[key] = []
            repeats.append((_drop_older(repeats, now, repeated[1]), order.order_id))


def denial_of_signal(signal: Signal, refusal: Refusal, now: datetime) -> Denial:
    """Return the denial that takes the place of the order of `signal`."""
    return _denial(
        refusal,
        now,
        signal_id=signal.signal_id,
        strategy_id=signal.strategy_id,
        broker=signal.broker,
        token=signal.instrument_token,
    )


def denial_of_change(order: OpenOrder, refusal: Refusal, at: datetime) -> Denial:
    """Return the denial that takes the place of a modification of `order`."""
    return _denial(
        refusal,
        at,
        order_id=order.order_id,
        signal_id=order.signal_id,
        strategy_id=order.strategy_id,
        broker=order.broker,
        token=order.token,
    )


def denial_of_unknown(modify: Modify, at: datetime) -> Denial:
    """Return the denial of a modification of an order that is not open here."""
    refusal = Refusal(Code.ORDER_UNKNOWN, "no open order of this id was made here; cancel it and send a signal")
    return _denial(
        refusal, at, order_id=modify.order_id, signal_id=modify.order_id, strategy_id="-", broker="-", token=None
    )


def denial_of_order(order: Order, at: datetime) -> Denial:
    """Return the denial that takes the place of an order in the input, which no control has checked."""
    message = "an order in the input of risk was checked by nobody; send signals"
    return _denial(
        Refusal(Code.ORDER_FOREIGN, message, None, order.quantity),
        at,
        order_id=order.order_id,
        signal_id=order.signal_id,
        strategy_id=order.strategy_id,
        broker=order.broker,
        token=order.instrument_token,
    )


def _denial(
    refusal: Refusal,
    now: datetime,
    *,
    signal_id: str,
    strategy_id: str,
    broker: str,
    token: int | None,
    order_id: str | None = None,
) -> Denial:
    return Denial(
        signal_id=signal_id,
        strategy_id=strategy_id,
        broker=broker,
        code=refusal.code.value,
        message=refusal.message,
        instrument_token=token,
        timestamp=now,
        limit=refusal.limit,
        observed=refusal.observed,
        order_id=order_id,
    )


def _drop_older(times: list[Any], now: int, window: int) -> int:
    """Drop from `times`, oldest first, what is not within `window` of `now`; return the time to append.

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
