"""Strategies in this process: a runner and who manages it, as `Stage` wants them. `workers` offers the same."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from alpha_cli.core.errors import AlphaError
from alpha_cli.core.events import RUNNER, Bar, Control, Event, Fill, Order, OrderUpdate, Portfolio, Tick
from alpha_cli.market.contracts import Contracts
from alpha_cli.stages.run_strategy.engine import StrategyRunner
from alpha_cli.stages.run_strategy.executor import Process, Strategy
from alpha_cli.stages.run_strategy.selection import Wanted
from alpha_cli.stages.run_strategy.status import StrategyStatus, statuses
from alpha_cli.stages.run_strategy.watchdog import Watchdog
from alpha_cli.stream.shutdown import LeaveNow

if TYPE_CHECKING:
    from alpha_cli.market.instruments import Master
    from alpha_cli.stages.run_strategy.requests import Manager
    from alpha_cli.stages.run_strategy.snapshot import RunnerState

Report = Callable[[str], None]
MIB = 1 << 20


class HostOptions(NamedTuple):
    """What holds for all strategies of a process.

    deadline  seconds that one call may take; 0: as long as it likes
    memory    MiB that the process may allocate; 0: as much as there is
    verbose   each signal is told of
    """

    all_hours: bool = False
    failures: int = 5
    cool_down: timedelta = timedelta(seconds=60)
    opening_cash: Mapping[str, Decimal] = {}
    deadline: float = 0
    memory: int = 0
    verbose: bool = False


class Host:
    """Runs the strategies that are `wanted`; `reread` says which are wanted after a reload.

    guard   put around what is called of a strategy
    making  told which strategy is being made
    again   they ran before: one that cannot be made any more is no reason to end the run
    """

    #: The types of event that it reads.
    READS: ClassVar[tuple[type[Event], ...]] = (Tick, Bar, Order, OrderUpdate, Fill, Portfolio, Control)

    def __init__(
        self,
        options: HostOptions,
        wanted: Sequence[Wanted],
        reread: Callable[[], Sequence[Wanted]],
        report: Report,
        *,
        guard: Callable[[Strategy, Process], Process] = lambda _, process: process,
        making: Callable[[str | None], object] = lambda _: None,
        again: bool = False,
    ) -> None:
        self._options = options
        self._guard = guard
        self.runner = StrategyRunner(
            all_hours=options.all_hours,
            report=report,
            opening_cash=options.opening_cash,
            failures=options.failures,
            cool_down=options.cool_down,
            detail=report if options.verbose else None,
            venue=Contracts(_master, all_hours=options.all_hours),
        )
        # Ctrl-C ends the process before the loop begins, and comes to the loop as a signal: who raises
        # KeyboardInterrupt is a strategy.
        self.runner.passing = (LeaveNow,)
        self._reread = reread
        self._watchdog: Watchdog | None = None
        self._unlimit: Callable[[], object] = _as_it_is
        for one in wanted:
            making(one.config.id)
            try:
                self.runner.add(self._create(one))
            except AlphaError as error:
                if not again:
                    raise
                self.runner.disable(one.config.id, str(error))
        making(None)

    @property
    def steps(self) -> Mapping[type[Event], Callable[[Any], Iterable[Event]]]:
        """Type of event -> the step for it."""
        runner = self.runner
        return {
            Tick: runner.on_tick,
            Bar: runner.on_bar,
            Order: runner.on_order,
            OrderUpdate: runner.on_order_update,
            Fill: runner.on_fill,
            Portfolio: runner.on_portfolio,
            Control: self.on_control,
        }

    @cached_property
    def manager(self) -> Manager:
        """Who applies requests; few runs have any."""
        from alpha_cli.stages.run_strategy.requests import Manager

        return Manager(self.runner, self._reread, self._create)

    def on_control(self, control: Control) -> Iterable[Event]:
        """What became of a request; a reload that changes nothing is told of too."""
        from alpha_cli.stages.run_strategy.requests import nothing_changed

        said = list(self.manager.on_control(control))
        return said or (nothing_changed(control) if control.action == "reload" and control.by != RUNNER else ())

    @property
    def tick_fields(self) -> tuple[str, ...] | None:
        """See `StrategyRunner.tick_fields`."""
        return self.runner.tick_fields

    def arrive(self, event: Any) -> None:
        """See `StrategyRunner.arrive`."""
        self.runner.arrive(event)

    def restore(self, state: RunnerState, *, whole: bool = False) -> None:
        """Go on from where an earlier run ended, or with `whole` this very run, in another process."""
        from alpha_cli.stages.run_strategy import snapshot

        snapshot.restore(self.runner, state, whole=whole)

    def snapshot(self) -> RunnerState:
        """What is remembered now."""
        from alpha_cli.stages.run_strategy import snapshot

        return snapshot.snapshot(self.runner)

    def start(self) -> None:
        """The loop begins: keep what strategies print from the data, limit what they may take of time and memory."""
        sys.stdout = sys.stderr
        if self._options.memory:
            self._unlimit = limit_memory(self._options.memory)
        if self._options.deadline:
            loops = (StrategyRunner.on_tick.__code__, StrategyRunner._asked.__code__)
            gates = (Strategy.refusal.__code__, StrategyRunner._words.__code__)
            self._watchdog = Watchdog(self.runner, self._options.deadline, loops, gates)
            self._watchdog.start()

    def finish(self) -> None:
        """There are no more ticks."""
        self.runner.finish()

    def release(self) -> None:
        """Let go of the watchdog, and of what was kept for want of memory."""
        self.runner.reserve = None
        self._unlimit()
        if self._watchdog is not None:
            self._watchdog.stop()
            self._watchdog = None

    def counts(self) -> Mapping[str, int]:
        """Figures of all strategies together."""
        return total(self.statuses(), self.runner.outside_session)

    def verdict(self) -> AlphaError | None:
        """With what the stage ends although it came to the end of its input: a calendar did not know some days."""
        return self.runner.beyond()

    def statuses(self) -> list[StrategyStatus]:
        """Figures of each."""
        return statuses(self.runner)

    def _create(self, wanted: Wanted) -> Strategy:
        runner = self.runner
        return Strategy(
            wanted.config, wanted.brokers, wanted.place, runner.portfolio, all_hours=self._options.all_hours,
            guard=self._guard,
        )  # fmt: skip


def _master() -> Master | None:
    """The user's instrument master; imported when the first tick wants to know."""
    from alpha_cli.market.instruments import open_master

    return open_master()


def total(found: Iterable[StrategyStatus], outside_session: int) -> dict[str, int]:
    """The figures of the closing line; those that are rarely anything else are left out while they are 0."""
    found = list(found)
    # `rejected` in a closing line means bad lines.
    names = {"signals": "signals", "held": "held", "refused": "rejected", "errors": "errors"}
    often = {shown: sum(getattr(one, name) for one in found) for shown, name in names.items()}
    seldom = {
        name: sum(one.state.startswith(name) for one in found)
        for name in ("paused", "disabled")
        if any(one.state.startswith(name) for one in found)
    }
    return often | {"outside_session": outside_session} | seldom


def limit_memory(mebibytes: int) -> Callable[[], object]:
    """Have allocations beyond so much fail with `MemoryError`, rather than the machine run out of memory.

    What takes the limit back.
    """
    if sys.platform != "linux":  # elsewhere it limits something else
        return _as_it_is
    import resource

    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (mebibytes * MIB, hard))
    except (ValueError, OSError):  # a lower limit is set already
        return _as_it_is
    return lambda: resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def _as_it_is() -> None:
    """There is no limit to take back."""
