"""Figures of strategies, for people and monitors: closing lines, `alpha status`, Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from alpha_cli.core.errors import InputOutputError
from alpha_cli.stages.run_strategy.engine import StrategyRunner
from alpha_cli.stages.run_strategy.executor import Strategy
from alpha_cli.storage.files import write_whole
from alpha_cli.stream.status_file import StageStatus

#: Strategies that the closing lines name, those with most signals first.
NAMED = 20
#: Seconds between two times that status and metrics are written while a pipeline runs.
INTERVAL = 1.0


class StrategyStatus(msgspec.Struct, omit_defaults=True):
    """One strategy. Durations are in microseconds, from samples; times are those of the stream."""

    id: str
    type: str
    state: str  # running, paused (why), disabled
    has_model: bool = False
    ticks: int = 0
    signals: int = 0
    by_broker: dict[str, int] = {}
    held: int = 0
    rejected: int = 0
    errors: int = 0
    last_signal: datetime | None = None
    p50_us: float | None = None
    p99_us: float | None = None
    reason: str | None = None
    calls: int = 0  # of this run, for ticks and other events
    failed: int = 0  # of these
    absent: list[int] = []  # instruments of which nothing has come in this run
    instruments: int = 0
    lacks_bars: bool = False  # it has an on_bar, but declares no bars, and none came


def statuses(runner: StrategyRunner) -> list[StrategyStatus]:
    """Return the figures of every strategy of `runner`, in order, the disabled ones last."""
    ran = [_status(runner, strategy) for strategy in runner.strategies.values()]
    return ran + [
        StrategyStatus(name, "", "disabled", reason=why) for name, why in sorted(runner.disabled.items())
    ]  # fmt: skip


def figures(found: Sequence[StrategyStatus]) -> dict[str, int]:
    """Return the figures of strategies (those with most signals, if there are many) and brokers for the closing line.

    Durations are in nanoseconds, the time of the newest signal in seconds since 1970: all are whole numbers.
    """
    busiest = sorted(found, key=lambda status: -status.signals)[:NAMED]
    values: dict[str, int] = {}
    for status in (status for status in found if status in busiest):
        values |= {f"{status.id}.ticks": status.ticks, f"{status.id}.signals": status.signals}
        if status.last_signal is not None:
            values[f"{status.id}.last"] = int(status.last_signal.timestamp())
        if status.p50_us is not None and status.p99_us is not None:
            values |= {
                f"{status.id}.p50_ns": round(status.p50_us * 1000),
                f"{status.id}.p99_ns": round(status.p99_us * 1000),
            }
    for status in found:
        for broker, count in sorted(status.by_broker.items()):
            values[f"broker.{broker}"] = values.get(f"broker.{broker}", 0) + count
    return values


class Observer:
    """Writes the figures while strategies run: at most once in `INTERVAL` seconds, and at the end.

    metrics  a text file for Prometheus' node exporter; `alpha status` has a file of its own, see `stream.status_file`
    """

    def __init__(
        self,
        found: Callable[[], list[StrategyStatus]],
        metrics: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._found = found
        self._metrics = metrics
        self._clock = clock
        self._next = 0.0

    def refresh(self, *, ended: bool = False) -> None:
        """Write if it is time to, or if the run `ended`. Raise `InputOutputError`."""
        if self._metrics is None:
            return
        now = self._clock()
        if now < self._next and not ended:
            return
        found = self._found()
        try:
            _write_metrics(self._metrics, found)
        except OSError as error:
            raise InputOutputError(f"{error.filename or self._metrics}: {error.strerror}") from None
        self._next = self._clock() + max(INTERVAL, 20 * (self._clock() - now))  # many strategies: less often


class Status(StageStatus):
    """The file that `alpha status` reads: of any stage, and of run-strategy with its strategies."""

    strategies: list[StrategyStatus] = []


def _write_metrics(path: Path, found: Iterable[StrategyStatus]) -> None:
    from prometheus_client import generate_latest

    # As the other files that alpha makes: whole or not at all, and nobody else may write to it. The collector of
    # node exporter runs as another user and has to read it.
    write_whole(path, generate_latest(_Collector(list(found))), 0o644)  # all it needs is collect


class _Collector:
    """The figures as metrics of Prometheus."""

    def __init__(self, found: list[StrategyStatus]) -> None:
        self._found = found

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        labels = ("strategy", "type")

        for name, help_text in (
            ("ticks", "Ticks that a strategy was asked about"),
            ("held", "Answers that were HOLD"),
            ("rejected", "Answers that its validator refused"),
            ("errors", "Calls that failed"),
        ):
            family = CounterMetricFamily(f"alpha_strategy_{name}", help_text, labels=labels)
            for status in self._found:
                family.add_metric((status.id, status.type), getattr(status, name))
            yield family
        signals = CounterMetricFamily("alpha_strategy_signals", "Signals by broker", labels=(*labels, "broker"))
        running = GaugeMetricFamily("alpha_strategy_running", "1 while it runs, 0 paused or disabled", labels=labels)
        model = GaugeMetricFamily("alpha_strategy_has_model", "1 if it runs a model", labels=labels)
        last = GaugeMetricFamily(
            "alpha_strategy_last_signal_timestamp_seconds", "Time of its newest signal, by the stream", labels=labels
        )
        taken = GaugeMetricFamily(
            "alpha_strategy_processing_seconds", "Time of a call, from samples", labels=(*labels, "quantile")
        )
        for status in self._found:
            own = (status.id, status.type)
            for broker, count in sorted(status.by_broker.items()):
                signals.add_metric((*own, broker), count)
            running.add_metric(own, float(status.state == "running"))
            model.add_metric(own, float(status.has_model))
            if status.last_signal is not None:
                last.add_metric(own, status.last_signal.timestamp())
            for quantile, microseconds in (("0.5", status.p50_us), ("0.99", status.p99_us)):
                if microseconds is not None:
                    taken.add_metric((*own, quantile), microseconds / 1e6)
        yield from (signals, running, model, last, taken)


def _status(runner: StrategyRunner, strategy: Strategy) -> StrategyStatus:
    stopped = strategy.stopped
    queues = runner.queues
    return StrategyStatus(
        id=strategy.id,
        type=strategy.config.strategy_type,
        state="running" if stopped is None else f"paused ({stopped.kind})",
        has_model=strategy.has_model,
        ticks=strategy.calls,
        signals=strategy.signals,
        by_broker=dict(strategy.by_broker),
        held=strategy.held,
        rejected=strategy.rejected,
        errors=strategy.errors,
        last_signal=strategy.last_signal,
        p50_us=strategy.timing.quantile(0.5),
        p99_us=strategy.timing.quantile(0.99),
        reason=None if stopped is None else stopped.reason,
        calls=strategy.calls_of_run,
        failed=strategy.failed,
        absent=[token for token in strategy.executors if token not in queues or not queues[token].came],
        instruments=len(strategy.executors),
        lacks_bars=strategy.lacks_bars and strategy.calls_of_run > 0,
    )
