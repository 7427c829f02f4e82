"""From configuration to the stage: strategies and their host, state, side inputs and status of `alpha run-strategy`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpha_cli.config.settings import load_settings
from alpha_cli.core.errors import AlphaError, UsageError
from alpha_cli.core.events import Event
from alpha_cli.core.text import printable
from alpha_cli.stages.run_strategy import outcome
from alpha_cli.stages.run_strategy.host import Host, HostOptions
from alpha_cli.stages.run_strategy.selection import Selection
from alpha_cli.stages.run_strategy.side_inputs import SideInputs
from alpha_cli.stages.run_strategy.snapshot import for_next_run
from alpha_cli.stages.run_strategy.status import Observer, figures
from alpha_cli.stream.inputs import Inputs
from alpha_cli.stream.log import log_line
from alpha_cli.stream.stage import Lifecycle, Options, Reads, Stage

if TYPE_CHECKING:
    from alpha_cli.stages.run_strategy.store import Store
    from alpha_cli.stages.run_strategy.workers.pool import WorkerPool

#: Seconds that one call may take: a strategy that hangs is stopped, and with workers also one that is merely slow.
DEADLINE, DEADLINE_OF_WORKERS = 5.0, 0.5


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What the command line says of how strategies are run.

    all_hours     use ticks outside trading hours too
    fills         file or FIFO with what paper writes; `-`: the fills stand in the input
    state         folder that keeps what strategies remember
    instance      name in the state folder
    workers       processes to run strategies in; 0: this one
    deadline      seconds that one call may take; None: the default, 0: no limit
    memory        MiB that a process may allocate; 0: no limit
    failures      failures in a row that pause a strategy
    cool_down     seconds of stream time after which it is tried again
    metrics_file  file for Prometheus
    verbose       report each signal on stderr
    """

    all_hours: bool = False
    fills: Path | None = None
    state: Path | None = None
    instance: str | None = None
    workers: int = 0
    deadline: float | None = None
    memory: int = 0
    failures: int = 5
    cool_down: float = 60
    metrics_file: Path | None = None
    verbose: bool = False

    def host_options(self, opening_cash: Any) -> HostOptions:
        """Return the options of the host."""
        default = DEADLINE_OF_WORKERS if self.workers else DEADLINE
        return HostOptions(
            all_hours=self.all_hours,
            failures=self.failures,
            cool_down=timedelta(seconds=self.cool_down),
            opening_cash=opening_cash,
            deadline=default if self.deadline is None else self.deadline,
            memory=self.memory,
            verbose=self.verbose,
            fills=self.fills is not None,
        )


#: `--fills -`: the fills stand in the input.
IN_INPUT = Path("-")


class RunStrategyStage(Lifecycle):
    """The strategies of a selection, hosted in this process or in workers."""

    def __init__(self, selection: Selection, given: RunOptions) -> None:
        if given.metrics_file is not None:
            _need_prometheus()
        name = given.instance or "run-strategy"
        settings = load_settings()
        wanted = selection.wanted(_report, settings)
        self._store: Store | None = None
        with ExitStack() as opened:
            self._host = _hosted(given.host_options(settings.opening_cash), given.workers, selection, wanted)
            opened.callback(self._host.release)
            if given.state is not None:
                self._open_state(given.state, name, opened)
            self._side_inputs = SideInputs(self._host, None if given.fills == IN_INPUT else given.fills, _report)
            opened.callback(self._side_inputs.close)
            self._opened = opened.pop_all()
        self._observer = Observer(self._host.statuses, given.metrics_file)

    def stage(self, options: Options) -> Stage:
        """Return the stage."""
        host = self._host
        reads = Reads(
            host.steps,
            every_tick=True,
            tick_fields=lambda: host.tick_fields,
            prepare=getattr(host, "ahead", None),  # workers are given whole batches
        )
        self._stage = Stage("run-strategy", reads, lifecycle=self, options=options)
        return self._stage

    def start(self, inputs: Inputs) -> None:
        """Hear of fills and of SIGHUP, also while no input comes; start the workers."""
        self._side_inputs.listen(inputs)
        self._host.start()

    def side_events(self) -> Iterable[Event]:
        """Return the request to reload, if SIGHUP made one; fills go to the strategies."""
        return self._side_inputs.arrivals()

    def on_quiet_input(self) -> Iterable[Event]:
        """Return the signals for fills that came while no tick comes."""
        return self._host.on_quiet_input()

    def save(self) -> None:
        """Keep what strategies remember, and the last metrics."""
        if self._store is not None:
            self._store.save(for_next_run(self._host.snapshot()))
        self._observer.refresh(ended=True)

    def finish(self) -> None:
        """Tell the strategies that the input has ended, and say which of them did nothing."""
        self._host.finish()
        if self._stage.options.quiet:
            return
        outside = self._host.counts()["outside_session"]
        for remark in outcome.remarks(self._host.statuses(), self._host.stranger, outside):
            _report(remark)

    def failure(self) -> AlphaError | None:
        """Return why the strategies did nothing so far, if they did."""
        self._host.counts()  # workers are asked
        return outcome.failure(self._host.statuses(), self._host.stranger)

    def commit(self, output: bytes) -> None:
        """Write the metrics, now and then."""
        del output
        self._observer.refresh()

    def release(self) -> None:
        """Close files, locks and workers."""
        self._opened.close()

    def counts(self) -> Mapping[str, int]:
        """Return the figures of the closing line."""
        return {**self._host.counts(), **figures(self._host.statuses())}

    def status(self) -> Mapping[str, Any]:
        """Return the figures of each strategy."""
        return {"strategies": self._host.statuses()}

    def verdict(self) -> AlphaError | None:
        """Return why the run was no success, if it was not."""
        return self._host.verdict() or self.failure() or self._side_inputs.failure()

    def _open_state(self, folder: Path, name: str, opened: ExitStack) -> None:
        """Open the database and give the host what it kept."""
        from alpha_cli.stages.run_strategy.store import Store

        self._store = store = Store(folder, name)
        opened.callback(store.close)
        kept = store.load()
        if kept is not None:
            with store.errors():
                self._host.restore(kept)


def _hosted(options: HostOptions, workers: int, selection: Selection, wanted: Any) -> Host | WorkerPool:
    def reread() -> Any:
        return selection.wanted(_report)

    if workers:
        from alpha_cli.stages.run_strategy.workers.pool import WorkerPool

        return WorkerPool(options, wanted, reread, _report, workers)
    return Host(options, wanted, reread, _report)


def _need_prometheus() -> None:
    from importlib.util import find_spec

    if find_spec("prometheus_client") is None:
        raise UsageError("--metrics-file needs prometheus-client: pip install 'alpha-cli[metrics]'")


def _report(message: str) -> None:
    log_line(f"alpha run-strategy: {printable(message, 500)}")
