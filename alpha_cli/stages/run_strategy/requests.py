"""Requests to strategies that run: pause, resume, set a parameter, reload.

A `control` event in the stream is a request, SIGHUP a request to reload. It takes effect at its place in the
stream, and the runner answers with a `control` line right after it. In a recording, a runner's own lines are
obeyed from their place on if a clock caused them (a missed deadline, say); the call that was interrupted lies
before and is made again. What the stream alone decides is decided again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import msgspec

from alpha_cli.core.errors import AlphaError
from alpha_cli.core.events import RISK, RUNNER, Control, Event
from alpha_cli.stages.run_strategy.circuits import MAX_REASON, Circuits
from alpha_cli.stages.run_strategy.engine import StrategyRunner
from alpha_cli.stages.run_strategy.executor import Cause, Strategy
from alpha_cli.stages.run_strategy.factory import changed
from alpha_cli.stages.run_strategy.failures import Disabled
from alpha_cli.stages.run_strategy.selection import Wanted

#: Kinds of pauses that do not follow from the stream alone.
BY_THE_CLOCK = frozenset({"deadline", "memory", "process"})


class Manager:
    """Applies `control` events to the strategies of `runner`.

    reread       reads which strategies are wanted now; raises `AlphaError`
    create       makes a strategy; raises `AlphaError`
    for_unknown  called for a request to a strategy that does not run here
    """

    def __init__(
        self,
        runner: StrategyRunner,
        reread: Callable[[], Sequence[Wanted]],
        create: Callable[[Wanted], Strategy],
        for_unknown: Callable[[Control], object] | None = None,
    ) -> None:
        self._runner = runner
        self._reread = reread
        self._create = create
        self._for_unknown = for_unknown or self._report_unknown

    @property
    def running(self) -> list[Wanted]:
        """Return the running strategies as loaded; one that a reload could not change is as before."""
        return [
            Wanted(strategy.origin, strategy.brokers, strategy.place) for strategy in self._runner.strategies.values()
        ]

    def on_control(self, control: Control) -> Iterable[Event]:
        """Carry out a request and return the answers; none if it was for another stage."""
        if control.by == RUNNER:
            return self._replayed(control)
        if control.by == RISK:
            return ()
        if control.action == "reload":
            return self._reload(control)
        reason = control.reason or _by(control)
        if control.action == "pause":
            return [
                self._circuits.pause(strategy, Cause("person", reason), self._time_of(strategy))
                for strategy in self._targets(control)
            ]
        if control.action == "resume":
            return [
                self._circuits.resume(strategy, reason, self._time_of(strategy))
                for strategy in self._targets(control)
                if strategy.stopped is not None and (control.target is not None or strategy.stopped.kind == "person")
            ]
        if control.action == "set" and control.target is None:
            self._report("control set: it needs a target, the id of a strategy")
        elif control.action == "set":
            return [self._set(strategy, control) for strategy in self._targets(control)]
        return ()

    def apply(self, wanted: Sequence[Wanted], by: str) -> list[Event]:
        """Make the running strategies those that are `wanted`. An unchanged configuration keeps its state."""
        with self._runner.roster.changing():
            return self._apply(wanted, by)

    def _apply(self, wanted: Sequence[Wanted], by: str) -> list[Event]:
        runner = self._runner
        answers: list[Event] = []
        places = {target.config.id: target.place for target in wanted}
        for strategy in list(runner.strategies.values()):
            if strategy.id not in places:
                time = self._time_of(strategy)
                runner.roster.remove(strategy)
                answers.append(_answer("reload", strategy.id, f"removed ({by})", time))
        for disabled in [name for name in runner.disabled if name not in places]:
            del runner.disabled[disabled]
        for target in wanted:
            outcome = self._apply_one(target)
            if outcome is not None:
                changed_strategy = runner.strategies.get(target.config.id)
                changed_at = None if changed_strategy is None else self._time_of(changed_strategy)
                answers.append(_answer("reload", target.config.id, f"{outcome} ({by})", changed_at))
        for strategy in runner.strategies.values():
            strategy.place = places[strategy.id]
        runner.roster.reorder()
        return sorted(answers, key=lambda control: getattr(control, "target", ""))

    # --- one strategy ------------------------------------------------------------------------

    @property
    def _circuits(self) -> Circuits:
        return self._runner.circuits

    def _report(self, text: str) -> None:
        self._runner.data.report(text)

    def _add(self, wanted: Wanted) -> str | None:
        name = wanted.config.id
        was_disabled = self._runner.disabled.get(name)
        self._runner.roster.add(self._create(wanted))
        disabled = self._runner.disabled.get(name)
        if disabled:
            return None if disabled == was_disabled else f"disabled: {disabled}"
        return "added"

    def _apply_one(self, wanted: Wanted) -> str | None:
        """Add or change one strategy. Return the outcome, None if nothing has changed."""
        config = wanted.config
        strategy = self._runner.strategies.get(config.id)
        try:
            if strategy is None:
                return self._add(wanted)
            if strategy.origin == config and strategy.origin_fingerprint == config.fingerprint():
                if strategy.brokers == wanted.brokers:
                    return None
                strategy.brokers = wanted.brokers
                return "brokers changed"
            self._runner.roster.reconfigure(strategy, config, wanted.brokers)
        except (AlphaError, Disabled) as error:
            self._report(f"{config.id}: not reloaded: {error}")
            return "refused, see the log; it goes on as before" if strategy is not None else "refused, see the log"
        strategy.mark_as_loaded()
        if strategy.stopped is not None and strategy.stopped.kind != "person":
            strategy.stopped = None  # the new configuration may do better
        return "changed"

    def _reload(self, control: Control) -> list[Event]:
        try:
            wanted = self._reread()
        except AlphaError as error:
            self._report(f"not reloaded: {error}")
            return [not_reloaded(control)]
        return self.apply(wanted, _by(control))

    def _set(self, strategy: Strategy, control: Control) -> Control:
        runner, time = self._runner, self._time_of(strategy)
        try:
            if not isinstance(control.value, dict) or not control.value:
                raise Disabled('a set needs its parameters, as in "value":{"threshold":0.001}')
            parameters = changed(strategy.config, control.value)
            config = strategy.config.model_copy(update={"parameters": parameters})
            failure = runner.roster.reconfigure(strategy, config, strategy.brokers, keep_state=True)
        except runner.data.passing:
            raise
        except BaseException as error:  # raised by the new processor, which is not used then
            self._report(f"{strategy.id}: nothing was set: {error}")
            return _answer("set", strategy.id, "refused, see the log; it goes on as before", time)
        if failure is not None:
            self._report(f"{strategy.id}: it begins anew, because it cannot go on from what it remembered: {failure}")
        anew = "" if failure is None else "; it begins anew, see the log"
        return Control(
            action="set",
            target=strategy.id,
            by=RUNNER,
            value=control.value if len(msgspec.json.encode(control.value)) <= MAX_REASON else None,
            timestamp=time,
            reason=f"{_by(control)}{anew}"[:MAX_REASON],
        )

    def _replayed(self, control: Control) -> list[Event]:
        """Repeat a pause that a clock caused when the recording was made."""
        kind = control.value.get("cause") if isinstance(control.value, dict) else None
        if control.action != "pause" or not isinstance(kind, str) or kind not in BY_THE_CLOCK:
            return []
        strategy = self._runner.strategies.get(control.target or "")
        if strategy is not None and strategy.stopped is None:
            if kind == "memory":
                self._circuits.discard(strategy)
            self._circuits.pause(strategy, Cause(kind, control.reason or kind), control.timestamp)
        return []

    def _targets(self, control: Control) -> list[Strategy]:
        if control.target is None:
            return list(self._runner.strategies.values())
        strategy = self._runner.strategies.get(control.target)
        if strategy is None:
            self._for_unknown(control)
            return []
        return [strategy]

    def _report_unknown(self, control: Control) -> None:
        self._report(f"control {control.action}: no strategy {control.target!r} runs here")

    def _time_of(self, strategy: Strategy) -> datetime | None:
        return self._circuits.last_time(strategy)


def refusal(control: Control) -> Control:
    """Return the reply for a request that crashed or hung its worker."""
    return _answer(control.action, control.target, "refused: its process did not survive it", None)


def not_reloaded(control: Control) -> Control:
    """Return the reply for a reload whose configurations cannot be read."""
    return _answer("reload", control.target, "refused, see the log; all goes on as before", None)


def nothing_changed(control: Control) -> list[Event]:
    """Return the reply for a reload that changed nothing."""
    return [_answer("reload", control.target, "nothing has changed", None)]


def _by(control: Control) -> str:
    return f"by {control.by or 'a control event'}"


def _answer(action: str, target: str | None, reason: str, time: datetime | None) -> Control:
    return Control(action=action, target=target, by=RUNNER, reason=reason[:MAX_REASON], timestamp=time)  # type: ignore[arg-type]
