"""What is stopped, and what a person did about it: the file HALT, `control` events, states that latched.

The engine asks before every order; nothing here decides on one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from alpha_cli.core.errors import Halted
from alpha_cli.core.events import BROKERS, RISK, RUNNER, Control, Event
from alpha_cli.core.text import printable
from alpha_cli.stages.risk.codes import Code
from alpha_cli.stages.risk.exposure import Books
from alpha_cli.stages.risk.facts import Facts, Refusal
from alpha_cli.stages.risk.trading_state import Standing, Standings
from alpha_cli.stream.last_ticks import LastTicks

#: Characters of a reason that are repeated.
MOST_SAID = 500

#: Where a halt came from: the file HALT, which only who removes it lifts, a recording of that, or the stream; and
#: whom it is for.
Halt = tuple[str, str]
FILE, STREAM, RECORDING = "file", "stream", "recording"


class States:
    """What of `brokers` and their strategies is halted, or may only reduce.

    halt_reason   why trading is halted from outside the stream, or None
    price_of      the last price of an instrument: losses count from there once a person lets an account go on
    standings, halts   as they were kept
    """

    def __init__(
        self,
        brokers: Iterable[str],
        books: Books,
        market: LastTicks,
        *,
        price_of: Callable[[int], int | None],
        halt_reason: Callable[[], str | None],
        standings: Standings | None = None,
        halts: dict[Halt, str] | None = None,
    ) -> None:
        self._brokers = {*BROKERS, *brokers}
        self._books = books
        self._market = market
        self._price_of = price_of
        self._halt_reason = halt_reason
        self.standings = standings or Standings()
        self.halts: dict[Halt, str] = halts or {}

    # --- what holds --------------------------------------------------------------------------

    def look(self, news: Sequence[Event]) -> list[Event]:
        """Whether the file HALT came or went; `news` is what is known and will be said before that.

        Whoever replays what is said must end where this is: while HALT is there, a halt is the last word.
        """
        why = self._halt_reason()
        if why is None and not self.halts:
            return []
        known = self.halts.get((FILE, ""))
        resumed = any(_lets_all_go_on(event) for event in news)
        if why == known and (why is None or not resumed):
            return []
        if why is None:
            del self.halts[FILE, ""]
            if resumed:  # by who removed the file: it is said with that
                return []
        else:
            self.halts[FILE, ""] = why
        return [
            Control(
                action="resume" if why is None else "halt",
                by=RISK,
                reason=why or "HALT is gone",
                value={"cause": FILE},
                timestamp=self._market.now,
            )
        ]

    def copy_into(self, facts: Facts, broker: str, strategy_id: str) -> None:
        """What of it concerns an order."""
        if self.halts:
            facts.halted, facts.strategy_halted = self._halted(broker, strategy_id)
        if self.standings.kept:
            standings = self.standings.of(broker, strategy_id)
            facts.standings = None if standings == (None, None) else standings

    def _halted(self, broker: str, strategy_id: str) -> tuple[str | None, str | None]:
        """Why all trading (or that of `broker`) is halted, and why the strategy is."""
        trading = (self.halts.get((origin, target)) for origin in (FILE, RECORDING, STREAM) for target in ("", broker))
        return next((why for why in trading if why is not None), None), self.halts.get((STREAM, strategy_id))

    def verdict(self, denials: int) -> Halted | None:
        """`Halted` while anything is, or may only reduce."""
        why = self._halt_reason()
        if why is None and self.halts:
            (_, target), said = next(iter(self.halts.items()))
            why = f"{target}: {said}" if target else said
        denied = f"{denials} signals were denied"
        if why is not None:
            return Halted(f"halted: {why}; {denied}")
        stopped = next(iter(self.standings.kept.values()), None)
        if stopped is None:
            return None
        mend = f"alpha rearm {stopped.strategy_id}" if stopped.strategy_id else "alpha resume"
        more = len(self.standings.kept) - 1
        return Halted(
            f"{stopped.target} is {stopped.state}: {stopped.reason} ({stopped.code})"
            + (f", and {more} more" if more else "")
            + f"; {denied}; {mend} lets it go on"
        )

    # --- what changes it ---------------------------------------------------------------------

    def latch(self, broker: str, strategy_id: str, state: Any, refused: Refusal, now: datetime | None) -> list[Event]:
        """Stop an account or a strategy until a person lets it go on. The line that says so, if that is new."""
        made = self.standings.latch(broker, strategy_id, state, refused, now)
        return [] if made is None else [_told(made)]

    def obey(self, control: Control) -> Iterable[Event]:
        """What a person did: halt, reduce, resume, rearm. It passes, but for what risk itself will say again."""
        if control.by == RUNNER:
            return (control,)
        cause = _cause(control)
        if control.by == RISK and cause is None:
            return ()  # a recording: what brought it about will do so again
        origin = RECORDING if cause == FILE else STREAM
        target = control.target or ""
        why = printable(control.reason or f"by {control.by or 'a control event'}", MOST_SAID)
        if control.action == "halt":
            self.halts[origin, target] = why
        elif control.action == "reduce":
            self._reduce(target, why)
        elif control.action == "resume" and origin == RECORDING:
            self.halts.pop((RECORDING, ""), None)
        elif control.action == "resume":
            self._resume(target)
        elif control.action == "rearm" and target:
            self._rearm(target)
        return (control,)

    def _reduce(self, target: str, why: str) -> None:
        """A person wants an account, or a strategy on every account, to reduce only."""
        brokers = {key[0] for key in self._books.scopes} | self._brokers
        refused = Refusal(Code.TRADING_REDUCING, why)
        for broker in sorted(brokers):
            if target in {"", broker}:
                self.standings.latch(broker, "", "REDUCING", refused, self._market.now)
            elif target not in brokers:
                self.standings.latch(broker, target, "REDUCING", refused, self._market.now)

    def _resume(self, target: str) -> None:
        """Lift what was halted in the stream, and what latched of the accounts that are meant."""
        for halt in [one for one in self.halts if one[0] != FILE and target in {"", one[1]}]:
            del self.halts[halt]
        for key in self.standings.lift(target or None, None):
            self._begin_anew(key[:1])

    def _rearm(self, strategy_id: str) -> None:
        """Let a strategy go on, on every account; what it is counted by begins anew."""
        if strategy_id not in BROKERS:
            self.halts.pop((STREAM, strategy_id), None)
        for key in self.standings.lift(None, strategy_id):
            self._begin_anew(key)
        for key in [one for one in self._books.scopes if len(one) == 2 and one[1] == strategy_id]:
            scope = self._books.scopes[key]
            scope.rejects = 0
            scope.repeats.clear()
            scope.round_trips.clear()
            self._books.changed_scopes.add(key)

    def _begin_anew(self, key: tuple[str, ...]) -> None:
        """Losses count from here on: a person looked at those before."""
        scope = self._books.scope(*key)
        scope.worth(self._price_of)  # marks
        scope.rearm()
        self._books.changed_scopes.add(key)


def _lets_all_go_on(event: Event) -> bool:
    """Whether it says that a person lets all trading go on."""
    return isinstance(event, Control) and event.action == "resume" and not event.target and _cause(event) != FILE


def _told(standing: Standing) -> Control:
    """The line that says what latched."""
    return Control(
        action="halt" if standing.state == "HALTED" else "reduce",
        target=standing.target,
        by=RISK,
        reason=standing.reason,
        value={
            "broker": standing.broker, "strategy": standing.strategy_id or None, "code": standing.code,
            "limit": standing.limit, "observed": standing.observed,
        },
        timestamp=standing.since,
    )  # fmt: skip


def _cause(control: Control) -> str | None:
    """Who, other than risk itself, was behind a line of risk's: a person, or the file HALT."""
    value = control.value
    return value["cause"] if isinstance(value, dict) and isinstance(value.get("cause"), str) else None
