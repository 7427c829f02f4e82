"""Trading states: ACTIVE, REDUCING, HALTED, of each account and each strategy, and the transitions between them.

A person halts and resumes. A control that latches reduces or halts by itself, and that lasts until a person lifts it:
`alpha resume` for an account, `alpha rearm` for a strategy. Neither a restart nor a new day ends it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

from alpha_cli.stages.risk.refusal import Figure, Refusal

State = Literal["REDUCING", "HALTED"]

#: From the milder to the stricter state: a latch may only go to the right.
_SEVERITY: tuple[State, ...] = ("REDUCING", "HALTED")

StateKey = tuple[str, str]  # broker, and strategy or ""
HaltKey = tuple[str, str]  # origin of the halt, and target or ""


class TradingState(Struct, frozen=True):
    """Why the trading of `target` is not ACTIVE: the refusal that caused it. `since` is stream time."""

    broker: str
    strategy_id: str  # empty: the whole account
    state: State
    code: str
    reason: str
    limit: Figure = None
    observed: Figure = None
    since: datetime | None = None

    @property
    def target(self) -> str:
        """The name `control` events use: a strategy, or a broker."""
        return self.strategy_id or self.broker


class LatchedStates:
    """The states that are not ACTIVE, by broker and strategy."""

    def __init__(self, states: dict[StateKey, TradingState] | None = None) -> None:
        self.states: dict[StateKey, TradingState] = states or {}

    def of(self, broker: str, strategy_id: str) -> tuple[TradingState | None, TradingState | None]:
        """Return the state of the account and that of the strategy on it; None for ACTIVE."""
        return self.states.get((broker, "")), self.states.get((broker, strategy_id))

    def latch(
        self, broker: str, strategy_id: str, state: State, refusal: Refusal, now: datetime | None
    ) -> TradingState | None:
        """Put the account or the strategy into `state`.

        Return the new state, or None if it is already in that state or a stricter one.
        """
        known = self.states.get((broker, strategy_id))
        if known is not None and _SEVERITY.index(known.state) >= _SEVERITY.index(state):
            return None
        latched = TradingState(
            broker=broker,
            strategy_id=strategy_id,
            state=state,
            code=refusal.code.value,
            reason=refusal.message,
            limit=refusal.limit,
            observed=refusal.observed,
            since=now,
        )
        self.states[broker, strategy_id] = latched
        return latched

    def lift(self, broker: str | None, strategy_id: str | None) -> list[StateKey]:
        """Make ACTIVE a strategy on every broker, or the account of one broker or of all; return the keys lifted."""
        lifted = [
            (account, strategy)
            for account, strategy in self.states
            if (strategy == strategy_id if strategy_id else not strategy and broker in {None, account})
        ]
        for key in lifted:
            del self.states[key]
        return lifted
