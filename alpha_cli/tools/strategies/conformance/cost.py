"""Checks of what a strategy costs: memory that must not grow, and time."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter_ns
from types import FunctionType, ModuleType
from typing import Any

import msgspec

from alpha_cli.stages.run_strategy import snapshot
from alpha_cli.stages.run_strategy.context import Context
from alpha_cli.tools.strategies.conformance.subject import Subject, Trial
from alpha_cli.tools.strategies.conformance.verdict import FAIL, WARNING, Verdict

LONG = 10_000  # ticks before the memory is looked at for the first time; then come twice as many
GROWTH = 64 << 10, 0.1  # bytes and share by which what a strategy holds may grow over these
SLOW = 1_000  # µs a tick


def check_memory(subject: Subject) -> str:
    """What it holds does not grow with the number of ticks."""
    trial = subject.trial(fills=False)
    count = max(LONG, 2 * subject.needed * len(subject.config.instruments))
    ticks = subject.market(3 * count)
    trial.run(ticks[:count])
    before = _footprint(trial, subject)
    trial.run(ticks[count:])
    growth = _footprint(trial, subject) - before
    if growth > GROWTH[0] + GROWTH[1] * before:
        raise Verdict(FAIL, f"it holds {growth / 1024:,.0f} KiB more after {3 * count:,} ticks than after {count:,}")
    kept = sum(len(msgspec.json.encode(one)) for one in snapshots_of(trial).values())
    snapshots = f"; snapshots of {kept:,} bytes" if kept else ""
    return f"{max(growth, 0):,} bytes more after {3 * count:,} ticks than after {count:,}{snapshots}"


def _footprint(trial: Trial, subject: Subject) -> int:
    """Bytes of all that the processors hold, and of what their modules keep at the top."""
    tops = [value for module in subject.modules for name, value in vars(module).items() if not name.startswith("__")]
    return sum(sys.getsizeof(one, 0) for one in reachable([*trial.strategy.processors, *tops], subject.modules))


def reachable(roots: Iterable[Any], modules: Iterable[ModuleType]) -> Iterator[Any]:
    """The objects that can be reached from `roots`, but not by way of other people's classes and functions."""
    own = {module.__name__ for module in modules}
    seen: set[int] = set()
    ahead = list(roots)
    while ahead and len(seen) < 2_000_000:
        one = ahead.pop()
        if not gc.is_tracked(one) and not isinstance(one, (tuple, dict)):
            yield one  # it holds no others
            continue
        if id(one) in seen or isinstance(one, ModuleType | Context):  # a context is the runner's, however it is kept
            continue
        seen.add(id(one))
        if isinstance(one, type):
            if one.__module__ in own:
                ahead += vars(one).values()
        elif isinstance(one, FunctionType):
            ahead += [*(one.__closure__ or ()), *(one.__defaults__ or ()), vars(one)]
        else:
            yield one
            ahead += gc.get_referents(one)


def snapshots_of(trial: Trial) -> dict[str, Any]:
    """What its processors remember."""
    return snapshot.snapshot(trial.runner).strategies[trial.strategy.id].processors


def check_speed(subject: Subject) -> str:
    """How long it takes for a tick; only for information."""
    taken: list[int] = []

    def watch(method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            begin = perf_counter_ns()
            try:
                return method(*given)
            finally:
                taken.append(perf_counter_ns() - begin)

        return timed

    subject.trial(watch=watch).run(subject.market())
    taken.sort()
    median, p99 = (taken[int(len(taken) * share)] / 1000 for share in (0.5, 0.99))
    said = f"median {median:,.1f} µs, p99 {p99:,.1f} µs"
    if median > SLOW:
        raise Verdict(WARNING, f"{said}: a slow strategy holds up the others, unless it runs with --workers")
    return said
