"""What the limits would refuse in a recorded stream: every control is asked about a refused signal, not only the first.

The decisions are those of the stage: orders that pass are entered and count for later ones. Reports of the recording
count too, except on orders that are refused now: those would have had no fills.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from alpha_cli.core.events import Event, Fill, OrderUpdate, Signal, Unknown
from alpha_cli.core.text import printable
from alpha_cli.core.times import in_india
from alpha_cli.stages.risk.codes import MEANINGS, Code
from alpha_cli.stages.risk.controls.table import CONTROLS, ActiveControl
from alpha_cli.stages.risk.engine import RiskEngine, RiskInputs
from alpha_cli.stages.risk.facts import Facts
from alpha_cli.stages.risk.refusal import Refusal
from alpha_cli.stream.stage import Flow, Lifecycle, Options, Reads, Stage

if TYPE_CHECKING:
    from alpha_cli.market.instruments import Master
    from alpha_cli.stages.risk.config import RiskFile
    from alpha_cli.stream.last_ticks import LastTicks


class Tally(msgspec.Struct):
    """What one control would refuse, with one of its codes.

    decided   signals for which it was the first to refuse
    refused   signals that it would refuse by itself
    first, last   time of the first and the last of these, in stream time
    limit, observed   of the refusal furthest beyond its limit, as far as they can be compared
    """

    number: int
    control: str
    code: str
    decided: int = 0
    refused: int = 0
    first: datetime | None = None
    last: datetime | None = None
    limit: Any = None
    observed: Any = None


class WhatIf(Lifecycle):
    """Runs the limits over a stream and counts refusals."""

    def __init__(
        self,
        limits: RiskFile,
        last_ticks: LastTicks,
        instruments: Master | None,
        opening_cash: Mapping[str, Decimal],
        *,
        as_json: bool = False,
    ) -> None:
        self.engine = RiskEngine(
            RiskInputs(limits=limits, last_ticks=last_ticks, instruments=instruments, opening_cash=opening_cash)
        )
        self.engine.audit = self._audit
        self.tallies: dict[tuple[int, str], Tally] = {}
        self.signals = 0
        self.passed = 0
        self._denied: set[str] = set()
        self._asked: set[str] = set()
        self._as_json = as_json
        self._last_ticks = last_ticks

    def stage(self) -> Stage:
        """Return the sink that reads the stream and prints the table at its end."""
        engine = self.engine
        silent = {kind: _silent(step) for kind, step in engine.steps.items()}
        silent[Fill] = _silent(self._unless_denied(engine.on_fill))
        silent[OrderUpdate] = _silent(self._unless_denied(engine.on_update))
        reads = Reads(silent, last_ticks=self._last_ticks)
        return Stage("risk", reads, flow=Flow(forward=False), lifecycle=self, options=Options(quiet=True))

    def _unless_denied(self, step: Any) -> Any:
        """Return `step` without reports on orders that are refused here: those would not exist."""

        def report(event: Any) -> Iterable[Event]:
            return () if event.signal_id in self._denied else step(event)

        return report

    def _audit(self, signal: Signal, facts: Facts, controls: Sequence[ActiveControl], decided: Refusal | None) -> None:
        self.signals += 1
        self._asked.update(active.control.name for active in controls)
        if decided is None:
            self.passed += 1
            return
        self._denied.add(signal.signal_id)
        is_first = True
        for active in controls:
            refusal = active.check(facts)
            if refusal is not None:
                self._count(active, refusal, signal.timestamp, is_first=is_first)
                is_first = False

    def _count(self, active: ActiveControl, refusal: Refusal, at: datetime, *, is_first: bool) -> None:
        control = active.control
        key = (CONTROLS.index(control), refusal.code.value)
        tally = self.tallies.get(key)
        if tally is None:
            tally = self.tallies[key] = Tally(number=control.number, control=control.name, code=refusal.code.value)
        tally.refused += 1
        tally.decided += is_first
        tally.first = tally.first or at
        tally.last = at
        if tally.observed is None or _is_further(refusal, tally):
            tally.limit, tally.observed = refusal.limit, refusal.observed

    def rows(self) -> list[Tally]:
        """Return the tallies in the order in which the controls are asked."""
        return [self.tallies[key] for key in sorted(self.tallies)]

    def session_end(self) -> Iterator[Any]:
        """Return the lines of the table."""
        lines = self._for_programs() if self._as_json else self._for_people()
        yield from (Unknown("text", line.encode()) for line in lines)

    def _for_programs(self) -> Iterator[str]:
        encode = msgspec.json.encode
        yield encode({"kind": "signals", "signals": self.signals, "passed": self.passed}).decode()
        for row in self.rows():
            yield encode({"kind": "control", **msgspec.to_builtins(row)}).decode()
        for state in self.engine.halts.latched.states.values():
            yield encode({"kind": "standing", **msgspec.to_builtins(state)}).decode()

    def _for_people(self) -> Iterator[str]:
        from alpha_cli.cli.tables import NOTHING, table

        refused = self.signals - self.passed
        yield f"{self.signals:,} signals: {self.passed:,} would pass, {refused:,} would be refused"
        if not self.signals:
            yield "no signals: a recording needs some; alpha run-strategy > FILE or alpha risk > FILE makes one"
        for strategy_id in self.engine.plans.strategies_without_limits:
            if (hint := self.engine.limits.misspelling_hint(strategy_id)) is not None:
                yield hint
        if refused:
            yield ""
            yield from table(
                ("R", "control", "code", "decided", "would refuse", "first", "last", "limit", "observed", "meaning"),
                [
                    (
                        str(row.number), row.control, row.code, f"{row.decided:,}", f"{row.refused:,}",
                        _time(row.first), _time(row.last), NOTHING if row.limit is None else str(row.limit),
                        NOTHING if row.observed is None else str(row.observed), MEANINGS[Code(row.code)],
                    )
                    for row in self.rows()
                ],
            )  # fmt: skip
        quiet = sorted(self._asked - {row.control for row in self.rows()})
        if quiet and refused:
            yield ""
            yield f"refused nothing: {', '.join(quiet)}"
        for state in self.engine.halts.latched.states.values():
            since = _time(state.since)
            target, why = printable(state.target), printable(state.reason, 500)  # as the recording has them
            yield f"{target} is {state.state} at the end: {why} ({printable(state.code)}), since {since}"


def _silent(step: Any) -> Any:
    def silent_step(event: Any) -> Iterable[Event]:
        for _ in step(event):
            pass
        return ()

    return silent_step


def _is_further(refusal: Refusal, tally: Tally) -> bool:
    """Return whether a refusal lies further beyond its limit than that of the tally."""
    new, known = refusal.observed, tally.observed
    return isinstance(new, int | float) and isinstance(known, int | float) and abs(new) > abs(known)


def _time(moment: datetime | None) -> str:
    return "" if moment is None else in_india(moment).isoformat(" ", "seconds")[:19]
