"""All that a runner remembers as JSON-able values, and back: for `--state`, and for a worker that is started again.

A history belongs to the instrument and is written once, however many strategies keep it. What a processor
remembers is its own `snapshot()`; one without starts anew, with the history and its `warmup`. What was
kept for another configuration is left aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from alpha_cli.core import codec
from alpha_cli.core.errors import AlphaError, ConfigurationError, InvariantBroken
from alpha_cli.core.events import Bar
from alpha_cli.stages.run_strategy.engine import Known, StrategyRunner, as_json
from alpha_cli.stages.run_strategy.executor import Cause, Disabled, Executor, Strategy
from alpha_cli.stages.run_strategy.factory import told
from alpha_cli.stages.run_strategy.instrument_queue import Lane, LaneState

VERSION = 1


class ExecutorState(msgspec.Struct):
    """One strategy on one instrument."""

    calls: int
    history: int  # how many of the lane's ticks it keeps
    streak: int = 0
    streak_aside: int = 0
    failed_ago: int = 0  # ticks since it failed last, or since it was started
    bars: dict[str, list[Bar]] = {}


class StrategyState(msgspec.Struct):
    """One strategy. `processors` holds a snapshot for each instrument, or one under "" if all share it."""

    fingerprint: str
    parameters: dict[str, Any]
    executors: dict[str, ExecutorState]
    processors: dict[str, Any] = {}
    stopped: Cause | None = None
    streak: int = 0
    failed_ago: int = 0  # calls since it failed last
    counts: dict[str, int] = {}
    by_broker: dict[str, int] = {}
    last_signal: datetime | None = None


class RunnerState(msgspec.Struct):
    """A whole runner."""

    lanes: dict[str, LaneState]
    strategies: dict[str, StrategyState]
    portfolio: Any = None
    arrived: list[str] = []  # lines from beside the stream whose time has not come
    bars: Any = None
    version: int = VERSION


_COUNTS = ("signals", "held", "rejected", "errors", "told")
encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(RunnerState).decode


def snapshot(runner: StrategyRunner) -> RunnerState:
    """What `runner` remembers now."""
    return RunnerState(
        lanes={str(token): lane.state() for token, lane in runner.lanes.items()},
        strategies={name: _strategy(runner, strategy) for name, strategy in runner.strategies.items()},
        portfolio=runner.portfolio.snapshot(),
        arrived=[codec.encode(event).decode() for _, _, event in sorted(runner.arrived, key=lambda one: one[:2])],
        bars=None if runner.bars is None else runner.bars.snapshot(),
    )


def of_instruments(runner: StrategyRunner) -> RunnerState:
    """What `runner` knows of instruments, without its strategies."""
    return RunnerState(
        lanes={str(token): lane.state() for token, lane in runner.lanes.items()},
        strategies={},
        bars=None if runner.bars is None else runner.bars.snapshot(),
    )


def known(state: RunnerState) -> Known:
    """What `state` says of instruments."""
    series = () if state.bars is None else state.bars["series"]
    return Known({int(token): lane for token, lane in state.lanes.items()}, series)


def restore(runner: StrategyRunner, state: RunnerState, *, whole: bool = False) -> None:
    """Let `runner`, whose strategies were added and have seen nothing yet, go on from `state`.

    `whole`: also with bars that were being built although nobody wants them any more. Raises
    `ConfigurationError` for what a newer alpha kept, `InvariantBroken` for what contradicts itself.
    """
    if state.version > VERSION:
        raise ConfigurationError(f"the state was kept by a newer alpha (version {state.version}); use that one")
    try:
        if whole and state.bars is not None:
            runner.build_bars((one["token"], one["interval"]) for one in state.bars["series"])
        _restore_all(runner, state)
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise InvariantBroken(
            f"what was kept cannot be read: {told(error)}; restore a backup or name another --state folder"
        ) from None


def _restore_all(runner: StrategyRunner, state: RunnerState) -> None:
    runner.portfolio.restore(state.portfolio)
    for line in state.arrived:
        runner.arrive(codec.decode(line))
    for token, kept in state.lanes.items():
        runner.lanes.setdefault(int(token), Lane()).restore(kept)
    fitting = {name: _fits(runner, strategy, state) for name, strategy in runner.strategies.items()}
    if state.bars is not None and runner.bars is not None:  # parameters decide which are built
        runner.restore_bars(state.bars)
    for strategy in runner.strategies.values():
        saved, fits = state.strategies.get(strategy.id), fitting[strategy.id]
        _histories(strategy, state, saved if fits else None)
        if saved is None or not fits:
            if saved is not None:
                runner.report(f"{strategy.id}: its configuration changed; it starts anew, with the history there is")
            _warm(runner, strategy)
            continue
        _restore(runner, strategy, saved)
    for lane in runner.lanes.values():
        lane.arrange()


def _fits(runner: StrategyRunner, strategy: Strategy, state: RunnerState) -> bool:
    """Whether what was kept is of this configuration; what was set in the stream is set again."""
    saved = state.strategies.get(strategy.id)
    if saved is None or saved.fingerprint != strategy.origin_fingerprint:
        return False
    if _json(saved.parameters) == _json(strategy.config.parameters):
        return True
    return _set_again(runner, strategy, saved.parameters)


def merged(states: Sequence[RunnerState], order: Sequence[str]) -> RunnerState:
    """One state of those of several runners that saw the same stream; `order` is that of their strategies."""
    lanes: dict[str, LaneState] = {}
    strategies: dict[str, StrategyState] = {}
    series: dict[tuple[Any, Any], Any] = {}
    bars: Any = None
    for state in states:
        strategies.update(state.strategies)
        for token, lane in state.lanes.items():
            if token not in lanes or len(lane.history) > len(lanes[token].history):
                lanes[token] = lane
        if state.bars is not None:
            bars = state.bars
            series.update({(one["token"], one["interval"]): one for one in bars["series"]})
    if bars is not None:
        bars = {**bars, "series": [series[key] for key in sorted(series)]}
    ordered = {name: strategies[name] for name in order if name in strategies}
    return RunnerState(
        lanes=lanes, strategies=ordered, portfolio=states[0].portfolio, arrived=states[0].arrived, bars=bars
    )


def _strategy(runner: StrategyRunner, strategy: Strategy) -> StrategyState:
    processors: dict[str, Any] = {}
    for token, executor in strategy.executors.items():
        key = "" if executor.context.instrument_token is None else str(token)
        take = executor.method("snapshot", 0)
        if take is None or key in processors or strategy.is_mute:
            continue
        try:  # what comes back is what JSON can say, or an error
            processors[key] = as_json(take())
        except runner.passing:
            raise
        except BaseException as error:
            runner.report(f"{strategy.id} on {token}: what it remembers cannot be kept: {told(error)}")
    return StrategyState(
        fingerprint=strategy.origin_fingerprint,
        parameters=strategy.config.parameters,
        executors={str(token): _executor(executor) for token, executor in strategy.executors.items()},
        processors=processors,
        stopped=strategy.stopped,
        streak=strategy.streak,
        failed_ago=strategy.calls - strategy.failed_at,
        counts={name: getattr(strategy, name) for name in _COUNTS},
        by_broker=dict(strategy.by_broker),
        last_signal=strategy.last_signal,
    )


def _executor(executor: Executor) -> ExecutorState:
    lane = executor.lane
    return ExecutorState(
        calls=executor.calls,
        history=len(executor.history),
        streak=executor.streak,
        streak_aside=executor.streak_aside,
        failed_ago=0 if lane is None else lane.ticks - executor.failed_at,
        bars={interval: list(history) for interval, history in executor.bar_histories.items()},
    )


def _histories(strategy: Strategy, state: RunnerState, saved: StrategyState | None) -> None:
    for token, executor in strategy.executors.items():
        lane = state.lanes.get(str(token))
        if lane is None or executor.lane is None:
            continue
        kept = None if saved is None else saved.executors.get(str(token))
        most = strategy.config.max_history if kept is None else min(kept.history, strategy.config.max_history)
        list.clear(executor.history)
        list.extend(executor.history, lane.history[-most:] if most else [])
        executor.since = executor.failed_at = executor.lane.ticks


def _restore(runner: StrategyRunner, strategy: Strategy, saved: StrategyState) -> None:
    for name in _COUNTS:
        setattr(strategy, name, saved.counts.get(name, 0))
    strategy.by_broker.update(saved.by_broker)
    strategy.last_signal = saved.last_signal
    strategy.stopped = saved.stopped
    strategy.streak = saved.streak
    given: set[int] = set()
    for token, executor in strategy.executors.items():
        kept = saved.executors.get(str(token))
        if kept is not None and executor.lane is not None:
            executor.calls_before = kept.calls
            executor.streak, executor.streak_aside = kept.streak, kept.streak_aside
            executor.failed_at = executor.lane.ticks - kept.failed_ago
            for interval, bars in kept.bars.items():
                list.extend(executor.bar_history(interval), bars)
    strategy.failed_at = strategy.calls - saved.failed_ago
    for token, executor in strategy.executors.items():
        key = "" if executor.context.instrument_token is None else str(token)
        back = executor.method("restore", 1)
        try:
            if back is None or key not in saved.processors:
                executor.warmup()
            elif id(executor.processor) not in given:
                given.add(id(executor.processor))
                back(saved.processors[key])
        except runner.passing:
            raise
        except BaseException as error:
            runner.report(f"{strategy.id} on {token}: cannot go on from what was kept: {told(error)}")


def _set_again(runner: StrategyRunner, strategy: Strategy, parameters: dict[str, Any]) -> bool:
    """Set what was set in the stream. False if that does not work any more."""
    try:
        runner.reconfigure(strategy, strategy.config.model_copy(update={"parameters": parameters}), strategy.brokers)
    except (AlphaError, Disabled) as error:
        runner.report(f"{strategy.id}: parameters that were set in the stream do not work any more: {error}")
        return False
    runner.report(f"{strategy.id}: goes on with parameters that were set in the stream: {parameters}")
    return True


def _json(parameters: dict[str, Any]) -> bytes:
    return msgspec.json.encode(parameters, order="deterministic")


def _warm(runner: StrategyRunner, strategy: Strategy) -> None:
    for executor in strategy.executors.values():
        try:
            executor.warmup()
        except runner.passing:
            raise
        except BaseException as error:
            runner.report(f"{strategy.id}: its warmup failed: {told(error)} (it runs all the same)")
