"""Who runs: strategies are added, removed and reconfigured here, and follow their instruments."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any, NamedTuple

from alpha_cli.core.events import Tick
from alpha_cli.stages.run_strategy.callbacks import Callbacks
from alpha_cli.stages.run_strategy.config import StrategyConfig
from alpha_cli.stages.run_strategy.executor import Executor, Strategy, interval_of
from alpha_cli.stages.run_strategy.failures import Disabled, describe_failure
from alpha_cli.stages.run_strategy.instrument_queue import InstrumentQueue, QueueState
from alpha_cli.stages.run_strategy.runner_data import RunnerData


class KnownInstruments(NamedTuple):
    """What is known of instruments, by token, and of the bars that are being built of them."""

    queues: Mapping[int, QueueState] = {}
    series: Sequence[Any] = ()


class Roster:
    """Changes which strategies run.

    elsewhere  what other worker processes know of instruments, while strategies change here: see `changing`
    """

    def __init__(self, data: RunnerData, callbacks: Callbacks) -> None:
        self._data = data
        self._callbacks = callbacks
        self.elsewhere = KnownInstruments()
        self._known = KnownInstruments()

    def add(self, strategy: Strategy) -> None:
        """Run `strategy` from the next tick on, unless its model cannot be loaded."""
        try:
            strategy.load_model()
        except Disabled as why:
            self.disable(strategy.id, str(why))
            return
        for fault in strategy.slips():
            self._data.report(f"{strategy.id}: {fault}")
        self._data.disabled.pop(strategy.id, None)
        self._data.strategies[strategy.id] = strategy
        self.follow(strategy)

    def disable(self, name: str, why: str) -> None:
        """Leave out a strategy that cannot run."""
        self._data.disabled[name] = why
        self._data.report(f"{name} is disabled: {why} (other strategies go on)")

    def follow(self, strategy: Strategy, restored: Collection[int] = ()) -> None:
        """Let the executors of `strategy` follow their instruments, with the history there is.

        They are warmed up, except those of the instruments `restored`, which know the history already.
        """
        for token, executor in strategy.executors.items():
            queue = self._queue_for(executor)
            executor.counter = queue
            if executor.bars:
                self._callbacks.builder().follow(token, map(interval_of, executor.bars))
                queue.build_bars()
            queue.add(executor)
            if token not in restored:
                self.warm_up(executor)

    def warm_up(self, executor: Executor) -> None:
        """Give the processor its history; a failure is only reported."""
        try:
            executor.warmup()
        except self._data.passing:
            raise
        except BaseException as error:
            self._data.report(
                f"{executor.strategy.id}: its warmup failed: {describe_failure(error)} (it runs all the same)"
            )

    def unfollow(self, strategy: Strategy) -> None:
        """Take the executors of `strategy` out of their queues; the queues stay."""
        for executor in strategy.executors.values():
            queue = self._data.queue_of(executor)
            if queue is not None:
                queue.remove(executor)

    def remove(self, strategy: Strategy) -> None:
        """End `strategy`."""
        self.unfollow(strategy)
        del self._data.strategies[strategy.id]
        self.shut_down(strategy)

    def reorder(self) -> None:
        """Sort the strategies by their places, here and in every queue."""
        ordered = sorted(self._data.strategies.items(), key=lambda item: item[1].place)
        self._data.strategies.clear()
        self._data.strategies.update(ordered)
        for queue in self._data.queues.values():
            queue.arrange()

    def reconfigure(
        self, strategy: Strategy, config: StrategyConfig, brokers: Sequence[str], *, keep_state: bool = False
    ) -> str | None:
        """Give `strategy` new processors for `config`. On `AlphaError` or `Disabled` nothing changes.

        With `keep_state` they continue from the snapshots of the former ones, if both have the methods for it. If
        that fails they start with the history alone; the error is returned.
        """
        before = copy(strategy)
        strategy.reconfigure(config, brokers)
        restored: set[int] = set()
        failure = None
        if keep_state and not strategy.cannot_snapshot:
            try:
                restored = _hand_over(before, strategy)
            except self._data.passing:
                raise
            except BaseException as error:
                failure = describe_failure(error)
                try:
                    strategy.reconfigure(config, brokers)  # new ones: a restore may have failed half-way
                except BaseException:
                    strategy.revert(before)
                    raise
        for token, executor in strategy.executors.items():
            if token in before.executors:
                executor.take_over(before.executors[token])
        strategy.callbacks += before.calls - strategy.calls  # for instruments that it does not follow any more
        self.follow(strategy, restored)  # before the former executors leave: their history is taken over
        self.unfollow(before)
        self.shut_down(before)
        return failure

    def shut_down(self, strategy: Strategy) -> None:
        """Call `shutdown` of the processors of `strategy` that have it."""
        for processor in strategy.processors:
            shutdown = strategy.method(processor, "shutdown", 0)
            if shutdown is not None:
                try:
                    shutdown()
                except self._data.passing:
                    raise
                except BaseException as error:
                    self._data.report(f"{strategy.id}: its shutdown failed: {describe_failure(error)}")

    @contextmanager
    def changing(self) -> Iterator[None]:
        """While many strategies change: new ones find the history that was known before, even of removed ones.

        Together with `elsewhere` that is what a single process hosting all strategies would know.
        """
        mine = {token: queue.state() for token, queue in self._data.queues.items()}
        others = {
            token: state
            for token, state in self.elsewhere.queues.items()
            if token not in mine or len(state.history) > len(mine[token].history)
        }
        bars = self._data.bars
        built = set() if bars is None else {_series_key(series) for series in bars.snapshot()["series"]}
        self._known = KnownInstruments({**mine, **others})
        try:
            yield
            new = [series for series in self.elsewhere.series if _series_key(series) not in built]
            if new and self._data.bars is not None:
                self._callbacks.restore_bars({**self._data.bars.snapshot(), "series": new})
        finally:
            self._known = KnownInstruments()

    def _queue_for(self, executor: Executor) -> InstrumentQueue:
        """Return the queue of the executor's instrument, made if needed; fill the executor's history."""
        known = self._known.queues.get(executor.token)
        queue = self._data.queues.get(executor.token)
        if queue is None:
            queue = self._data.queues[executor.token] = InstrumentQueue()
            if known is not None:
                queue.restore(known)
        if not executor.history:
            past = queue.longest() if known is None else known.history
            list.extend(executor.history, past[-executor.strategy.config.max_history :])
        list.__setitem__(executor.history, slice(None), map(_full_tick, executor.history))
        return queue


def as_json(value: Any) -> Any:
    """Return `value` as JSON would give it back. Raise `TypeError` or `ValueError` for what JSON cannot hold."""
    return json.loads(json.dumps(value, allow_nan=False))


def _hand_over(before: Strategy, after: Strategy) -> set[int]:
    """Restore new processors from snapshots of the former ones. Raise what these raise.

    Return the tokens of the instruments whose processors were restored.
    """
    given: dict[int, bool] = {}  # by processor
    restored = set()
    for token, executor in after.executors.items():
        former = before.executors.get(token)
        if former is None:
            continue
        key = id(executor.processor)
        if key not in given:
            take, restore = former.method("snapshot", 0), executor.method("restore", 1)
            given[key] = take is not None and restore is not None
            if take is not None and restore is not None:
                restore(as_json(take()))
        if given[key]:
            restored.add(token)
    return restored


def _series_key(series: Any) -> tuple[Any, Any]:
    return series["token"], series["interval"]


def _full_tick(tick: Any) -> Any:
    """Return `tick` with all fields that a tick may have; it may have been decoded for fewer."""
    if isinstance(tick, Tick):
        return tick
    return Tick(**{name: getattr(tick, name) for name in tick.__struct_fields__})
