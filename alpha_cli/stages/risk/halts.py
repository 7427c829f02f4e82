"""What is stopped, and what a person did about it: the file HALT, `control` events, states that latched.

The engine asks before every order; nothing here decides on one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from alpha_cli.core.errors import Halted
from alpha_cli.core.events import BROKERS, RISK, RUNNER, Control, Event
from alpha_cli.core.text import printable
from alpha_cli.stages.risk.codes import Code
from alpha_cli.stages.risk.exposure import ExposureLedger
from alpha_cli.stages.risk.facts import NOT_STOPPED, StopFacts
from alpha_cli.stages.risk.refusal import Refusal
from alpha_cli.stages.risk.trading_state import HaltKey, LatchedStates, State, TradingState
from alpha_cli.stream.last_ticks import LastTicks

#: Characters of a reason that are repeated.
MAX_REASON = 500

#: Origins of a halt: the file HALT, which only its removal lifts; `control` events; a recording of a file HALT.
FILE, STREAM, RECORDING = "file", "stream", "recording"


class Halts:
    """Which of `brokers` and their strategies are halted, or may only reduce.

    halt_reason   why trading is halted from outside the stream, or None
    price_of      last price of an instrument: losses count from there when a person lifts a stop
    latched, halted   as they were stored; halted: origin and target ("": everything) -> reason
    """

    def __init__(
        self,
        brokers: Iterable[str],
        ledger: ExposureLedger,
        last_ticks: LastTicks,
        *,
        price_of: Callable[[int], int | None],
        halt_reason: Callable[[], str | None],
        latched: LatchedStates | None = None,
        halted: dict[HaltKey, str] | None = None,
    ) -> None:
        self._brokers = {*BROKERS, *brokers}
        self._ledger = ledger
        self._last_ticks = last_ticks
        self._price_of = price_of
        self._halt_reason = halt_reason
        self.latched = latched or LatchedStates()
        self.halted: dict[HaltKey, str] = halted or {}

    # --- what applies ------------------------------------------------------------------------

    def refresh(self, pending: Sequence[Event]) -> list[Event]:
        """Look for the file HALT; return the `control` line for its arrival or removal.

        pending  events that will be emitted before that line. While HALT exists the last word of the stream must be a
                 halt, so that a replay ends halted too.
        """
        why = self._halt_reason()
        if why is None and not self.halted:
            return []
        known = self.halted.get((FILE, ""))
        resumed = any(_resumes_everything(event) for event in pending)
        if why == known and (why is None or not resumed):
            return []
        if why is None:
            del self.halted[FILE, ""]
            if resumed:  # the resume itself tells that HALT is gone
                return []
        else:
            self.halted[FILE, ""] = why
        return [
            Control(
                action="resume" if why is None else "halt",
                by=RISK,
                reason=why or "HALT is gone",
                value={"cause": FILE},
                timestamp=self._last_ticks.now,
            )
        ]

    def facts_for(self, broker: str, strategy_id: str) -> StopFacts:
        """Return the halts and trading states that apply to an order of the strategy on `broker`."""
        if not (self.halted or self.latched.states):
            return NOT_STOPPED
        halted, strategy_halted = self._halted(broker, strategy_id) if self.halted else (None, None)
        states = self.latched.of(broker, strategy_id)
        return StopFacts(
            halted=halted, strategy_halted=strategy_halted, states=None if states == (None, None) else states
        )

    def _halted(self, broker: str, strategy_id: str) -> tuple[str | None, str | None]:
        """Return why all trading (or that of `broker`) is halted, and why the strategy is."""
        trading = (self.halted.get((origin, target)) for origin in (FILE, RECORDING, STREAM) for target in ("", broker))
        return next((why for why in trading if why is not None), None), self.halted.get((STREAM, strategy_id))

    def verdict(self, denials: int) -> Halted | None:
        """Return `Halted` while anything is halted or may only reduce."""
        why = self._halt_reason()
        if why is None and self.halted:
            (_, target), reason = next(iter(self.halted.items()))
            why = f"{target}: {reason}" if target else reason
        denied = f"{denials} signals were denied"
        if why is not None:
            return Halted(f"halted: {why}; {denied}")
        stopped = next(iter(self.latched.states.values()), None)
        if stopped is None:
            return None
        command = f"alpha rearm {stopped.strategy_id}" if stopped.strategy_id else "alpha resume"
        more = len(self.latched.states) - 1
        return Halted(
            f"{stopped.target} is {stopped.state}: {stopped.reason} ({stopped.code})"
            + (f", and {more} more" if more else "")
            + f"; {denied}; {command} lifts it"
        )

    # --- what changes it ---------------------------------------------------------------------

    def latch(self, broker: str, strategy_id: str, state: State, refusal: Refusal, now: datetime | None) -> list[Event]:
        """Stop an account or a strategy until a person lifts it; return the `control` line if that is new."""
        latched = self.latched.latch(broker, strategy_id, state, refusal, now)
        return [] if latched is None else [_control_of(latched)]

    def apply(self, control: Control) -> Iterable[Event]:
        """Apply what a person did: halt, reduce, resume, rearm. Return the event, unless risk will repeat it itself."""
        if control.by == RUNNER:
            return (control,)
        cause = _cause(control)
        if control.by == RISK and cause is None:
            return ()  # a recording: the same cause will produce it again
        origin = RECORDING if cause == FILE else STREAM
        target = control.target or ""
        why = printable(control.reason or f"by {control.by or 'a control event'}", MAX_REASON)
        if control.action == "halt":
            self.halted[origin, target] = why
        elif control.action == "reduce":
            self._reduce(target, why)
        elif control.action == "resume" and origin == RECORDING:
            self.halted.pop((RECORDING, ""), None)
        elif control.action == "resume":
            self._resume(target)
        elif control.action == "rearm" and target:
            self._rearm(target)
        return (control,)

    def _reduce(self, target: str, why: str) -> None:
        """Let an account, or a strategy on every account, only reduce; "" is every account."""
        brokers = {key[0] for key in self._ledger.scopes} | self._brokers
        refusal = Refusal(Code.TRADING_REDUCING, why)
        for broker in sorted(brokers):
            if target in {"", broker}:
                self.latched.latch(broker, "", "REDUCING", refusal, self._last_ticks.now)
            elif target not in brokers:
                self.latched.latch(broker, target, "REDUCING", refusal, self._last_ticks.now)

    def _resume(self, target: str) -> None:
        """Lift the halts of the stream, and the states of the accounts that `target` names; "" is every account."""
        for halt in [key for key in self.halted if key[0] != FILE and target in {"", key[1]}]:
            del self.halted[halt]
        for key in self.latched.lift(target or None, None):
            self._reset_losses(key[:1])

    def _rearm(self, strategy_id: str) -> None:
        """Lift the stop of a strategy on every account, and reset the counters that can stop it."""
        if strategy_id not in BROKERS:
            self.halted.pop((STREAM, strategy_id), None)
        for key in self.latched.lift(None, strategy_id):
            self._reset_losses(key)
        for scope_key in [key for key in self._ledger.scopes if len(key) == 2 and key[1] == strategy_id]:
            scope = self._ledger.scopes[scope_key]
            scope.rejects = 0
            scope.repeats.clear()
            scope.round_trips.clear()
            self._ledger.changed_scopes.add(scope_key)

    def _reset_losses(self, key: tuple[str, ...]) -> None:
        """Count losses from here on: a person has seen those before."""
        scope = self._ledger.scope(*key)
        scope.mark(self._price_of)
        scope.reset_losses()
        self._ledger.changed_scopes.add(key)


def _resumes_everything(event: Event) -> bool:
    """Return whether a person resumes all trading with it."""
    return isinstance(event, Control) and event.action == "resume" and not event.target and _cause(event) != FILE


def _control_of(state: TradingState) -> Control:
    """Return the line that reports a latched state."""
    return Control(
        action="halt" if state.state == "HALTED" else "reduce",
        target=state.target,
        by=RISK,
        reason=state.reason,
        value={
            "broker": state.broker,
            "strategy": state.strategy_id or None,
            "code": state.code,
            "limit": state.limit,
            "observed": state.observed,
        },
        timestamp=state.since,
    )


def _cause(control: Control) -> str | None:
    """Return what caused a line of risk other than risk itself: `person`, `file`, or None."""
    value = control.value
    return value["cause"] if isinstance(value, dict) and isinstance(value.get("cause"), str) else None
