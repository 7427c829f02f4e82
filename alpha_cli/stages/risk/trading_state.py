"""Trading states: ACTIVE, REDUCING, HALTED, of each account and each strategy; what begins and what ends them.

A person halts and resumes; a control that latches reduces or halts by itself, and that stands until a person
re-arms it: `alpha resume` for an account, `alpha rearm` for a strategy. Neither a restart nor a new day ends it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

from alpha_cli.stages.risk.facts import Figure, Refusal

State = Literal["REDUCING", "HALTED"]

#: From worse to better.
_WORSE: tuple[State, ...] = ("REDUCING", "HALTED")


class Standing(Struct, frozen=True):
    """Why the trading of `target` is not ACTIVE: the refusal that brought it about. `since` is stream time."""

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
        """How `control` events name it: a strategy, or a broker."""
        return self.strategy_id or self.broker


Key = tuple[str, str]  # broker, and strategy or nothing


class Standings:
    """The states that are not ACTIVE."""

    def __init__(self, kept: dict[Key, Standing] | None = None) -> None:
        self.kept: dict[Key, Standing] = kept or {}

    def of(self, broker: str, strategy_id: str) -> tuple[Standing | None, Standing | None]:
        """Of the account, and of the strategy on it."""
        return self.kept.get((broker, "")), self.kept.get((broker, strategy_id))

    def latch(
        self, broker: str, strategy_id: str, state: State, refusal: Refusal, now: datetime | None
    ) -> Standing | None:
        """Put the account or the strategy into `state`, unless it is there or in a worse one; what is new."""
        known = self.kept.get((broker, strategy_id))
        if known is not None and _WORSE.index(known.state) >= _WORSE.index(state):
            return None
        made = Standing(
            broker, strategy_id, state, refusal.code.value, refusal.message, refusal.limit, refusal.observed, now
        )
        self.kept[broker, strategy_id] = made
        return made

    def lift(self, broker: str | None, strategy_id: str | None) -> list[Key]:
        """Make ACTIVE a strategy on every broker, or accounts, of one broker or of all; which they were."""
        lifted = [
            (account, strategy)
            for account, strategy in self.kept
            if (strategy == strategy_id if strategy_id else not strategy and broker in {None, account})
        ]
        for key in lifted:
            del self.kept[key]
        return lifted
