"""What limits would have refused of a recorded stream: every control is asked of every signal, not only the first.

The decision is that of the stage: what passes is entered, and counts for what comes after it. What the recording says
of orders counts too, but for those that are refused now: their fills would never have been.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
from click import unstyle

from alpha_cli.core.events import Event, Fill, OrderUpdate, Signal, Unknown
from alpha_cli.core.times import in_india
from alpha_cli.stages.risk.codes import MEANINGS, Code
from alpha_cli.stages.risk.controls import CONTROLS, Asked
from alpha_cli.stages.risk.engine import RiskEngine
from alpha_cli.stages.risk.facts import Facts, Refusal
from alpha_cli.stream.stage import Options, Stage

if TYPE_CHECKING:
    from alpha_cli.market.instruments import Master
    from alpha_cli.stages.risk.config import RiskFile
    from alpha_cli.stream.last_ticks import LastTicks


class Tally(msgspec.Struct):
    """What one control would have refused, by one of its codes.

    decided   signals for which it was the first to refuse
    refused   signals that it would have refused, whatever others said
    first, last   when, in stream time
    limit, observed   of the refusal that was furthest from its limit, as far as they can be compared
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


class Trial:
    """Runs the limits over a stream and keeps count."""

    def __init__(
        self,
        limits: RiskFile,
        market: LastTicks,
        instruments: Master | None,
        opening_cash: Mapping[str, Decimal],
        *,
        as_json: bool = False,
    ) -> None:
        self.engine = RiskEngine(limits, market, instruments=instruments, opening_cash=opening_cash)
        self.engine.audit = self._audit
        self.tallies: dict[tuple[int, str], Tally] = {}
        self.signals = 0
        self.passed = 0
        self._denied: set[str] = set()
        self._asked: set[str] = set()
        self._as_json = as_json
        self._market = market

    def stage(self) -> Stage:
        """The sink that reads the stream and prints the table at its end."""
        engine = self.engine
        silent = {kind: _silent(step) for kind, step in engine.steps.items()}
        silent[Fill] = _silent(self._entered_only(engine.on_fill))
        silent[OrderUpdate] = _silent(self._entered_only(engine.on_update))
        return Stage("risk", silent, Options(quiet=True), market=self._market, forward=False, close=self._report)

    def _entered_only(self, step: Any) -> Any:
        """Reports on all but orders that are refused here: those would never have been."""

        def heard(event: Any) -> Iterable[Event]:
            return () if event.signal_id in self._denied else step(event)

        return heard

    def _audit(self, signal: Signal, facts: Facts, asked: Sequence[Asked], decided: Refusal | None) -> None:
        self.signals += 1
        self._asked.update(one.control.name for one in asked)
        if decided is None:
            self.passed += 1
            return
        first = True
        self._denied.add(signal.signal_id)
        for one in asked:
            try:
                refused = one.check(facts)
            except (TypeError, ZeroDivisionError, ValueError):
                continue  # it relies on what an earlier control has refused already
            if refused is None:
                continue
            key = (CONTROLS.index(one.control), refused.code.value)
            tally = self.tallies.get(key)
            if tally is None:
                tally = self.tallies[key] = Tally(one.control.number, one.control.name, refused.code.value)
            tally.refused += 1
            tally.decided += first
            first = False
            tally.first = tally.first or signal.timestamp
            tally.last = signal.timestamp
            if tally.observed is None or _further(refused, tally):
                tally.limit, tally.observed = refused.limit, refused.observed

    def rows(self) -> list[Tally]:
        """In the order in which the controls are asked."""
        return [self.tallies[key] for key in sorted(self.tallies)]

    def _report(self) -> Iterator[Any]:
        lines = self._for_programs() if self._as_json else self._for_people()
        if not sys.stdout.isatty():
            lines = map(unstyle, lines)
        yield from (Unknown("text", line.encode()) for line in lines)

    def _for_programs(self) -> Iterator[str]:
        encode = msgspec.json.encode
        yield encode({"kind": "signals", "signals": self.signals, "passed": self.passed}).decode()
        for row in self.rows():
            yield encode({"kind": "control", **msgspec.to_builtins(row)}).decode()
        for one in self.engine.states.standings.kept.values():
            yield encode({"kind": "standing", **msgspec.to_builtins(one)}).decode()

    def _for_people(self) -> Iterator[str]:
        from alpha_cli.cli.tables import NOTHING, table

        refused = self.signals - self.passed
        yield f"{self.signals:,} signals: {self.passed:,} would pass, {refused:,} would be refused"
        if not self.signals:
            yield "nothing was asked for: a recording needs signals; alpha run-strategy or alpha risk > FILE makes one"
        for stranger in self.engine.plans.strangers:
            if (slip := self.engine.limits.slip(stranger)) is not None:
                yield slip
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
        for one in self.engine.states.standings.kept.values():
            yield f"{one.target} is {one.state} at the end: {one.reason} ({one.code}), since {_time(one.since)}"


def _silent(step: Any) -> Any:
    def heard(event: Any) -> Iterable[Event]:
        for _ in step(event):
            pass
        return ()

    return heard


def _further(refused: Refusal, tally: Tally) -> bool:
    """Whether a refusal lies further beyond its limit than the one that is kept."""
    numbers = (int, float)
    one, other = refused.observed, tally.observed
    return isinstance(one, numbers) and isinstance(other, numbers) and abs(one) > abs(other)


def _time(moment: datetime | None) -> str:
    return "" if moment is None else in_india(moment).isoformat(" ", "seconds")[:19]
