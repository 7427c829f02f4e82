"""What a person does to strategies while they run: pause, resume, set a parameter, reload.

A `control` event in the stream asks for it, SIGHUP for a reload. It takes effect at its place in the
stream, and a `control` line by the runner, right after it, says what became of it. Of the lines that a
runner wrote, those in a recording are obeyed that tell what the clock decided (a missed deadline, say), from
their place on; the call that was broken off lies before it and is made again. What the stream decides is decided again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import msgspec

from alpha_cli.core.errors import AlphaError
from alpha_cli.core.events import RISK, RUNNER, Control, Event
from alpha_cli.stages.run_strategy.engine import MOST_SAID, StrategyRunner
from alpha_cli.stages.run_strategy.executor import Cause, Disabled, Strategy
from alpha_cli.stages.run_strategy.factory import changed
from alpha_cli.stages.run_strategy.selection import Wanted

#: Why a strategy stands still although the stream alone does not say so.
BY_THE_CLOCK = frozenset({"deadline", "memory", "process"})


class Manager:
    """Applies `control` events to the strategies of `runner`.

    reread  the strategies that configuration files or database ask for now; raises `AlphaError`
    create  makes a strategy; raises `AlphaError`
    """

    def __init__(
        self,
        runner: StrategyRunner,
        reread: Callable[[], Sequence[Wanted]],
        create: Callable[[Wanted], Strategy],
    ) -> None:
        self._runner = runner
        self._reread = reread
        self._create = create
        #: Told of a request for a strategy that does not run here; it may well be for risk: a broker, say.
        self.unknown: Callable[[Control], object] = self._unknown

    @property
    def running(self) -> list[Wanted]:
        """The strategies that run, as they were read: one that a reload could not change is as it was before."""
        return [Wanted(one.origin, one.brokers, one.place) for one in self._runner.strategies.values()]

    def on_control(self, control: Control) -> Iterable[Event]:
        """What became of a request; nothing if it was for somebody else."""
        if control.by == RUNNER:
            return self._replayed(control)
        if control.by == RISK:
            return ()
        if control.action == "reload":
            return self._reload(control)
        if control.action == "pause":
            return [
                self._runner.stop(
                    one, Cause("person", control.reason or f"by {control.by or 'a control event'}"), self._at(one)
                )
                for one in self._targets(control)
            ]
        if control.action == "resume":
            return [
                self._runner.resume(one, control.reason or f"by {control.by or 'a control event'}", self._at(one))
                for one in self._targets(control)
                if one.stopped is not None and (control.target is not None or one.stopped.kind == "person")
            ]
        if control.action == "set" and control.target is None:
            self._runner.report("control set: it needs a target, the id of a strategy")
        elif control.action == "set":
            return [self._set(one, control) for one in self._targets(control)]
        return ()

    def apply(self, wanted: Sequence[Wanted], by: str) -> list[Event]:
        """Make the running strategies those that are `wanted`. One whose configuration is as it was keeps its state."""
        with self._runner.knowing():
            return self._applied(wanted, by)

    def _applied(self, wanted: Sequence[Wanted], by: str) -> list[Event]:
        runner = self._runner
        said: list[Event] = []
        ids = {one.config.id for one in wanted}
        for strategy in list(runner.strategies.values()):
            if strategy.id not in ids:
                at = self._at(strategy)
                runner.remove(strategy)
                said.append(_done("reload", strategy.id, f"removed ({by})", at))
        for disabled in [name for name in runner.disabled if name not in ids]:
            del runner.disabled[disabled]
        for one in wanted:
            outcome = self._apply_one(one)
            if outcome is not None:
                strategy_at = runner.strategies.get(one.config.id)
                at = None if strategy_at is None else self._at(strategy_at)
                said.append(_done("reload", one.config.id, f"{outcome} ({by})", at))
        places = {one.config.id: one.place for one in wanted}
        for strategy in runner.strategies.values():
            strategy.place = places[strategy.id]
        runner.strategies = dict(sorted(runner.strategies.items(), key=lambda item: item[1].place))
        for lane in runner.lanes.values():
            lane.arrange()
        return sorted(said, key=lambda control: getattr(control, "target", ""))

    # --- one thing each ----------------------------------------------------------------------

    def _apply_one(self, wanted: Wanted) -> str | None:
        """What became of one strategy, None if it is as it was."""
        runner, config = self._runner, wanted.config
        strategy = runner.strategies.get(config.id)
        try:
            if strategy is None:
                was_disabled = runner.disabled.get(config.id)
                runner.add(self._create(wanted))
                disabled = runner.disabled.get(config.id)
                return (
                    None if disabled and disabled == was_disabled else f"disabled: {disabled}" if disabled else "added"
                )
            if strategy.origin == config and strategy.origin_fingerprint == config.fingerprint():
                if strategy.brokers == wanted.brokers:
                    return None
                strategy.brokers = wanted.brokers
                return "brokers changed"
            runner.reconfigure(strategy, config, wanted.brokers)
        except (AlphaError, Disabled) as error:
            runner.report(f"{config.id}: not reloaded: {error}")
            return "refused, see the log; it goes on as before" if strategy is not None else "refused, see the log"
        strategy.take_as_read()
        if strategy.stopped is not None and strategy.stopped.kind != "person":
            strategy.stopped = None  # it is another strategy now
        return "changed"

    def _reload(self, control: Control) -> list[Event]:
        try:
            wanted = self._reread()
        except AlphaError as error:
            self._runner.report(f"not reloaded: {error}")
            return [not_reloaded(control)]
        return self.apply(wanted, f"by {control.by or 'a control event'}")

    def _set(self, strategy: Strategy, control: Control) -> Control:
        runner, at = self._runner, self._at(strategy)
        try:
            if not isinstance(control.value, dict) or not control.value:
                raise Disabled('a set needs its parameters, as in "value":{"threshold":0.001}')
            parameters = changed(strategy.config, control.value)
            config = strategy.config.model_copy(update={"parameters": parameters})
            failure = runner.reconfigure(strategy, config, strategy.brokers, remembering=True)
        except runner.passing:
            raise
        except BaseException as error:  # whatever the new processor raises: it is not taken
            runner.report(f"{strategy.id}: nothing was set: {error}")
            return _done("set", strategy.id, "refused, see the log; it goes on as before", at)
        if failure is not None:
            runner.report(f"{strategy.id}: it begins anew, because it cannot go on from what it remembered: {failure}")
        anew = "" if failure is None else "; it begins anew, see the log"
        return Control(
            action="set",
            target=strategy.id,
            by=RUNNER,
            value=control.value if len(msgspec.json.encode(control.value)) <= MOST_SAID else None,
            timestamp=at,
            reason=f"by {control.by or 'a control event'}{anew}"[:MOST_SAID],
        )

    def _replayed(self, control: Control) -> list[Event]:
        kind = control.value.get("cause") if isinstance(control.value, dict) else None
        if control.action != "pause" or not isinstance(kind, str) or kind not in BY_THE_CLOCK:
            return []
        strategy = self._runner.strategies.get(control.target or "")
        if strategy is not None and strategy.stopped is None:
            if kind == "memory":
                self._runner.forget(strategy)
            self._runner.stop(strategy, Cause(kind, control.reason or kind), control.timestamp)
        return []

    def _targets(self, control: Control) -> list[Strategy]:
        if control.target is None:
            return list(self._runner.strategies.values())
        strategy = self._runner.strategies.get(control.target)
        if strategy is None:
            self.unknown(control)
            return []
        return [strategy]

    def _unknown(self, control: Control) -> None:
        self._runner.report(f"control {control.action}: no strategy {control.target!r} runs here")

    def _at(self, strategy: Strategy) -> datetime | None:
        return self._runner.now(strategy)


def refusal(control: Control) -> Control:
    """What is said of a request that a process died of, or that never came to an end."""
    return _done(control.action, control.target, "refused: its process did not survive it", None)


def not_reloaded(control: Control) -> Control:
    """What is said of a reload whose configurations cannot be read."""
    return _done("reload", control.target, "refused, see the log; all goes on as before", None)


def nothing_changed(control: Control) -> list[Event]:
    """What is said of a reload after which all is as before."""
    return [_done("reload", control.target, "nothing has changed", None)]


def _done(action: str, target: str | None, reason: str, at: datetime | None) -> Control:
    return Control(action=action, target=target, by=RUNNER, reason=reason[:MOST_SAID], timestamp=at)  # type: ignore[arg-type]
