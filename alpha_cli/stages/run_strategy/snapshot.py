"""The state of a runner as JSON-able values, and back: for `--state`, and for a worker that is restarted.

A history belongs to the instrument and is written once, however many strategies keep it. The state of a processor
is its own `snapshot()`; one without it starts with the history and its `warmup`. State that was kept for another
configuration is ignored. The names in JSON are those of the first release, whatever the fields are called here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from alpha_cli.core import codec
from alpha_cli.core.errors import AlphaError, ConfigurationError, InvariantBroken
from alpha_cli.core.events import Bar
from alpha_cli.stages.run_strategy.engine import StrategyRunner
from alpha_cli.stages.run_strategy.executor import Cause, Executor, Strategy
from alpha_cli.stages.run_strategy.failures import Disabled, describe_error, describe_failure
from alpha_cli.stages.run_strategy.instrument_queue import InstrumentQueue, QueueState
from alpha_cli.stages.run_strategy.roster import KnownInstruments, as_json

VERSION = 1


class ExecutorState(msgspec.Struct, rename={"callback_streak": "streak_aside"}):
    """One strategy on one instrument."""

    calls: int
    history: int  # how many of the queue's ticks it keeps
    streak: int = 0
    callback_streak: int = 0
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
    calls_of_run: int = 0
    failed: int = 0


class RunnerState(msgspec.Struct, rename={"queues": "lanes", "pending": "arrived"}):
    """A whole runner."""

    queues: dict[str, QueueState]
    strategies: dict[str, StrategyState]
    portfolio: Any = None
    pending: list[str] = []  # lines of side inputs whose time has not come
    bars: Any = None
    version: int = VERSION


#: Name in JSON -> attribute of a strategy.
_COUNTS = {"signals": "signals", "held": "held", "rejected": "rejected", "errors": "errors", "told": "reported"}
encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(RunnerState).decode


def snapshot(runner: StrategyRunner) -> RunnerState:
    """Return the state of `runner`."""
    return RunnerState(
        queues={str(token): queue.state() for token, queue in runner.queues.items()},
        strategies={name: _strategy(runner, strategy) for name, strategy in runner.strategies.items()},
        portfolio=runner.portfolio.snapshot(),
        pending=[codec.encode(event).decode() for _, _, event in sorted(runner.data.pending, key=_by_time)],
        bars=_bars(runner),
    )


def for_next_run(state: RunnerState) -> RunnerState:
    """Return `state` without what was counted of this run alone."""
    for queue in state.queues.values():
        queue.before, queue.heard = 0, False
    for strategy in state.strategies.values():
        strategy.calls_of_run = strategy.failed = 0
    if state.portfolio is not None:
        state.portfolio = {**state.portfolio, "fills_come": False}
    return state


def of_instruments(runner: StrategyRunner) -> RunnerState:
    """Return what `runner` knows of instruments, without its strategies."""
    return RunnerState(
        queues={str(token): queue.state() for token, queue in runner.queues.items()},
        strategies={},
        bars=_bars(runner),
    )


def known(state: RunnerState) -> KnownInstruments:
    """Return what `state` says of instruments."""
    series = () if state.bars is None else state.bars["series"]
    return KnownInstruments({int(token): queue for token, queue in state.queues.items()}, series)


def restore(runner: StrategyRunner, state: RunnerState, *, whole: bool = False) -> None:
    """Let `runner`, whose strategies were added and have seen nothing yet, continue from `state`.

    With `whole` also the bars that no strategy wants any more are restored. Raise `ConfigurationError` for the
    state of a newer alpha, `InvariantBroken` for one that contradicts itself.
    """
    if state.version > VERSION:
        raise ConfigurationError(f"the state was kept by a newer alpha (version {state.version}); use that one")
    try:
        if whole and state.bars is not None:
            runner.callbacks.build_bars((series["token"], series["interval"]) for series in state.bars["series"])
        runner.portfolio.restore(state.portfolio, whole=whole)
        _restore_all(runner, state)
        if whole:
            _continue_run(runner, state)
        else:
            _begin_run(runner)
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise InvariantBroken(
            f"what was kept cannot be read: {describe_error(error)}; restore a backup or name another --state folder"
        ) from None


def _restore_all(runner: StrategyRunner, state: RunnerState) -> None:
    for line in state.pending:
        runner.callbacks.enqueue(codec.decode(line))
    for token, kept in state.queues.items():
        runner.queues.setdefault(int(token), InstrumentQueue()).restore(kept)
    fitting = {name: _fits(runner, strategy, state) for name, strategy in runner.strategies.items()}
    if state.bars is not None and runner.data.bars is not None:  # parameters decide which are built
        runner.callbacks.restore_bars(state.bars)
    for strategy in runner.strategies.values():
        saved, fits = state.strategies.get(strategy.id), fitting[strategy.id]
        _restore_histories(strategy, state, saved if fits else None)
        if saved is None or not fits:
            if saved is not None:
                runner.data.report(f"{strategy.id}: its configuration changed; it starts with the history alone")
            for executor in strategy.executors.values():
                runner.roster.warm_up(executor)
            continue
        _restore(runner, strategy, saved)
    for queue in runner.queues.values():
        queue.arrange()


def _begin_run(runner: StrategyRunner) -> None:
    """Count from here what comes of this run."""
    for queue in runner.queues.values():
        queue.begin_run()
    for strategy in runner.strategies.values():
        strategy.calls_at_start = strategy.calls


def _continue_run(runner: StrategyRunner, state: RunnerState) -> None:
    """Go on with what was counted of this run before the process was restarted."""
    for strategy in runner.strategies.values():
        saved = state.strategies.get(strategy.id)
        if saved is not None:
            strategy.calls_at_start, strategy.callbacks = strategy.calls, saved.calls_of_run
            strategy.failed = saved.failed


def _fits(runner: StrategyRunner, strategy: Strategy, state: RunnerState) -> bool:
    """Return whether the state is of this configuration; parameters set in the stream are set again."""
    saved = state.strategies.get(strategy.id)
    if saved is None or saved.fingerprint != strategy.origin_fingerprint:
        return False
    if _json(saved.parameters) == _json(strategy.config.parameters):
        return True
    return _set_again(runner, strategy, saved.parameters)


def merged(states: Sequence[RunnerState], order: Sequence[str]) -> RunnerState:
    """Merge the states of several runners that saw the same stream; `order` is that of their strategies."""
    queues: dict[str, QueueState] = {}
    strategies: dict[str, StrategyState] = {}
    series: dict[tuple[Any, Any], Any] = {}
    bars: Any = None
    for state in states:
        strategies.update(state.strategies)
        for token, queue in state.queues.items():
            if token not in queues or len(queue.history) > len(queues[token].history):
                queues[token] = queue
        if state.bars is not None:
            bars = state.bars
            series.update({(found["token"], found["interval"]): found for found in bars["series"]})
    if bars is not None:
        bars = {**bars, "series": [series[key] for key in sorted(series)]}
    ordered = {name: strategies[name] for name in order if name in strategies}
    return RunnerState(
        queues=queues, strategies=ordered, portfolio=states[0].portfolio, pending=states[0].pending, bars=bars
    )


def _strategy(runner: StrategyRunner, strategy: Strategy) -> StrategyState:
    processors: dict[str, Any] = {}
    for token, executor in strategy.executors.items():
        key = "" if executor.context.instrument_token is None else str(token)
        take = executor.method("snapshot", 0)
        if take is None or key in processors or strategy.cannot_snapshot:
            continue
        try:
            processors[key] = as_json(take())
        except runner.data.passing:
            raise
        except BaseException as error:
            runner.data.report(f"{strategy.id} on {token}: its snapshot cannot be kept: {describe_failure(error)}")
    return StrategyState(
        fingerprint=strategy.origin_fingerprint,
        parameters=strategy.config.parameters,
        executors={str(token): _executor(executor) for token, executor in strategy.executors.items()},
        processors=processors,
        stopped=strategy.stopped,
        streak=strategy.streak,
        failed_ago=strategy.calls - strategy.failed_at,
        counts={name: getattr(strategy, attribute) for name, attribute in _COUNTS.items()},
        by_broker=dict(strategy.by_broker),
        last_signal=strategy.last_signal,
        calls_of_run=strategy.calls_of_run,
        failed=strategy.failed,
    )


def _executor(executor: Executor) -> ExecutorState:
    counter = executor.counter
    return ExecutorState(
        calls=executor.calls,
        history=len(executor.history),
        streak=executor.streak,
        callback_streak=executor.callback_streak,
        failed_ago=0 if counter is None else counter.ticks - executor.failed_at,
        bars={interval: list(history) for interval, history in executor.bar_histories.items()},
    )


def _restore_histories(strategy: Strategy, state: RunnerState, saved: StrategyState | None) -> None:
    for token, executor in strategy.executors.items():
        queue = state.queues.get(str(token))
        if queue is None or executor.counter is None:
            continue
        kept = None if saved is None else saved.executors.get(str(token))
        most = strategy.config.max_history if kept is None else min(kept.history, strategy.config.max_history)
        list.clear(executor.history)
        list.extend(executor.history, queue.history[-most:] if most else [])
        executor.since = executor.failed_at = executor.counter.ticks


def _restore(runner: StrategyRunner, strategy: Strategy, saved: StrategyState) -> None:
    for name, attribute in _COUNTS.items():
        setattr(strategy, attribute, saved.counts.get(name, 0))
    strategy.by_broker.update(saved.by_broker)
    strategy.last_signal = saved.last_signal
    strategy.stopped = saved.stopped
    strategy.streak = saved.streak
    for token, executor in strategy.executors.items():
        kept = saved.executors.get(str(token))
        if kept is not None and executor.counter is not None:
            executor.calls_before = kept.calls
            executor.streak, executor.callback_streak = kept.streak, kept.callback_streak
            executor.failed_at = executor.counter.ticks - kept.failed_ago
            for interval, bars in kept.bars.items():
                list.extend(executor.bar_history(interval), bars)
    strategy.failed_at = strategy.calls - saved.failed_ago
    _restore_processors(runner, strategy, saved)


def _restore_processors(runner: StrategyRunner, strategy: Strategy, saved: StrategyState) -> None:
    restored: set[int] = set()
    for token, executor in strategy.executors.items():
        key = "" if executor.context.instrument_token is None else str(token)
        restore = executor.method("restore", 1)
        try:
            if restore is None or key not in saved.processors:
                executor.warmup()
            elif id(executor.processor) not in restored:
                restored.add(id(executor.processor))
                restore(saved.processors[key])
        except runner.data.passing:
            raise
        except BaseException as error:
            runner.data.report(
                f"{strategy.id} on {token}: cannot continue from what was kept: {describe_failure(error)}"
            )


def _set_again(runner: StrategyRunner, strategy: Strategy, parameters: dict[str, Any]) -> bool:
    """Set the parameters that were set in the stream. Return False if they are not accepted any more."""
    try:
        runner.roster.reconfigure(
            strategy, strategy.config.model_copy(update={"parameters": parameters}), strategy.brokers
        )
    except (AlphaError, Disabled) as error:
        runner.data.report(f"{strategy.id}: parameters that were set in the stream are not accepted any more: {error}")
        return False
    runner.data.report(f"{strategy.id}: continues with parameters that were set in the stream: {parameters}")
    return True


def _json(parameters: dict[str, Any]) -> bytes:
    return msgspec.json.encode(parameters, order="deterministic")


def _bars(runner: StrategyRunner) -> Any:
    return None if runner.data.bars is None else runner.data.bars.snapshot()


def _by_time(pending: tuple[datetime, int, Any]) -> tuple[datetime, int]:
    return pending[:2]
