"""Strategies in this process: a runner and its manager, in the shape that `Stage` needs. `workers` have the same."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from alpha_cli.core.errors import AlphaError
from alpha_cli.core.events import RUNNER, Bar, Control, Denial, Event, Fill, Order, OrderUpdate, Portfolio, Tick
from alpha_cli.market.contracts import Contracts
from alpha_cli.stages.run_strategy import engine
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
    """Options for all strategies of a process.

    deadline  seconds that one call may take; 0: no limit
    memory    MiB that the process may allocate; 0: no limit
    verbose   log each signal
    fills     whether fills are known to reach the strategies
    """

    all_hours: bool = False
    failures: int = 5
    cool_down: timedelta = timedelta(seconds=60)
    opening_cash: Mapping[str, Decimal] = {}
    deadline: float = 0
    memory: int = 0
    verbose: bool = False
    fills: bool = True


class Host:
    """Runs the strategies that are `wanted`; `reread` returns which are wanted after a reload.

    guard        wraps the methods of a strategy
    making       called with the id of the strategy that is being made, then with None
    restarted    the strategies ran before: one that cannot be made any more is disabled, which does not end the run
    for_unknown  called for a request to a strategy that does not run here; by default it is reported
    """

    #: The types of event that it reads.
    READS: ClassVar[tuple[type[Event], ...]] = (
        Tick, Bar, Order, OrderUpdate, Fill, Denial, Portfolio, Control,
    )  # fmt: skip

    def __init__(
        self,
        options: HostOptions,
        wanted: Sequence[Wanted],
        reread: Callable[[], Sequence[Wanted]],
        report: Report,
        *,
        guard: Callable[[Strategy, Process], Process] = lambda _, process: process,
        making: Callable[[str | None], object] = lambda _: None,
        restarted: bool = False,
        for_unknown: Callable[[Control], object] | None = None,
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
            contracts=Contracts(_master, all_hours=options.all_hours),
            fills_come=options.fills,
        )
        # Ctrl-C ends the process before the loop begins and reaches the loop as a signal, so a KeyboardInterrupt
        # is raised by a strategy.
        self.runner.data.passing = (LeaveNow,)
        self._reread = reread
        self._for_unknown = for_unknown
        self._watchdog: Watchdog | None = None
        self._unlimit: Callable[[], object] = _no_limit
        for strategy in wanted:
            making(strategy.config.id)
            try:
                self.runner.roster.add(self._create(strategy))
            except AlphaError as error:
                if not restarted:
                    raise
                self.runner.roster.disable(strategy.config.id, str(error))
        making(None)

    @property
    def steps(self) -> Mapping[type[Event], Callable[[Any], Iterable[Event]]]:
        """Return the step for each type of event."""
        runner = self.runner
        return {
            Tick: runner.on_tick,
            Bar: runner.on_bar,
            Order: runner.on_order,
            OrderUpdate: runner.on_order_update,
            Fill: runner.on_fill,
            Denial: runner.on_denial,
            Portfolio: runner.on_portfolio,
            Control: self.on_control,
        }

    @cached_property
    def manager(self) -> Manager:
        """Return the manager, which applies requests; few runs have any."""
        from alpha_cli.stages.run_strategy.requests import Manager

        return Manager(self.runner, self._reread, self._create, self._for_unknown)

    def on_control(self, control: Control) -> Iterable[Event]:
        """Carry out a request and return the answers, also for a reload that changes nothing."""
        from alpha_cli.stages.run_strategy.requests import nothing_changed

        answers = list(self.manager.on_control(control))
        return answers or (nothing_changed(control) if control.action == "reload" and control.by != RUNNER else ())

    @property
    def tick_fields(self) -> tuple[str, ...] | None:
        """Return the fields of a tick that are used besides token, time and price; None: all."""
        return self.runner.tick_fields

    def enqueue(self, event: Any) -> None:
        """Take an event from a side input; it counts before the first tick that is later than it."""
        self.runner.callbacks.enqueue(event)

    def on_quiet_input(self) -> Iterable[Event]:
        """See `StrategyRunner.on_quiet_input`."""
        return self.runner.on_quiet_input()

    def restore(self, state: RunnerState, *, whole: bool = False) -> None:
        """Continue an earlier run from its state, or with `whole` this very run in a restarted process."""
        from alpha_cli.stages.run_strategy import snapshot

        snapshot.restore(self.runner, state, whole=whole)

    def snapshot(self) -> RunnerState:
        """Return the state of the runner."""
        from alpha_cli.stages.run_strategy import snapshot

        return snapshot.snapshot(self.runner)

    def start(self) -> None:
        """Begin the loop: keep what strategies print out of the data, limit their time and memory."""
        sys.stdout = sys.stderr
        if self._options.memory:
            self._unlimit = limit_memory(self._options.memory)
        if self._options.deadline:
            self._watchdog = Watchdog(self.runner.data.current, self._options.deadline, vars(engine))
            self._watchdog.start()

    def finish(self) -> None:
        """Shut the strategies down after the last tick."""
        self.runner.finish()

    def release(self) -> None:
        """Stop the watchdog and free the reserved memory."""
        self.runner.data.reserve = None
        self._unlimit()
        if self._watchdog is not None:
            self._watchdog.stop()
            self._watchdog = None

    def counts(self) -> Mapping[str, int]:
        """Return the totals over all strategies."""
        return total(self.statuses(), self.runner.outside_session)

    def verdict(self) -> AlphaError | None:
        """Return the error with which the stage ends after all its input: a calendar did not know some days."""
        return self.runner.out_of_coverage()

    @property
    def stranger(self) -> int | None:
        """Return an instrument that no strategy follows, and of which something came; None if there was none."""
        return self.runner.data.stranger

    def statuses(self) -> list[StrategyStatus]:
        """Return the figures of each strategy."""
        return statuses(self.runner)

    def _create(self, wanted: Wanted) -> Strategy:
        runner = self.runner
        return Strategy(
            wanted.config, wanted.brokers, wanted.place, runner.portfolio, all_hours=self._options.all_hours,
            guard=self._guard,
        )  # fmt: skip


def _master() -> Master | None:
    """Return the user's instrument master; it is imported when the first tick needs it."""
    from alpha_cli.market.instruments import open_master

    return open_master()


def total(found: Iterable[StrategyStatus], outside_session: int) -> dict[str, int]:
    """Return the totals for the closing line; those that are usually 0 are left out while they are."""
    found = list(found)
    # `rejected` in a closing line means bad lines.
    names = {"signals": "signals", "held": "held", "refused": "rejected", "errors": "errors"}
    totals = {shown: sum(getattr(status, name) for status in found) for shown, name in names.items()}
    totals["outside_session"] = outside_session
    for name in ("paused", "disabled"):
        count = sum(status.state.startswith(name) for status in found)
        if count:
            totals[name] = count
    return totals


def limit_memory(mebibytes: int) -> Callable[[], object]:
    """Let allocations beyond a limit fail with `MemoryError`. Return a function that removes the limit."""
    if sys.platform != "linux":  # elsewhere it limits something else
        return _no_limit
    import resource

    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (mebibytes * MIB, hard))
    except (ValueError, OSError):  # a lower limit is set already
        return _no_limit
    return lambda: resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def _no_limit() -> None:
    """Do nothing: no limit was set."""
