"""Checks of memory, which must not grow, and of time."""

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

LONG = 10_000  # ticks before memory is measured for the first time; then come twice as many
GROWTH = 64 << 10, 0.1  # bytes, and share of the first value, by which memory may grow
SLOW = 1_000  # µs a tick


def check_memory(subject: Subject) -> str:
    """Check that its memory does not grow with the number of ticks."""
    trial = subject.trial(fills=False)
    count = max(LONG, 2 * subject.needed * len(subject.config.instruments))
    ticks = subject.market(3 * count)
    trial.run(ticks[:count])
    before = _footprint(trial, subject)
    trial.run(ticks[count:])
    growth = _footprint(trial, subject) - before
    if growth > GROWTH[0] + GROWTH[1] * before:
        raise Verdict(FAIL, f"it holds {growth / 1024:,.0f} KiB more after {3 * count:,} ticks than after {count:,}")
    kept = sum(len(msgspec.json.encode(kept_snapshot)) for kept_snapshot in snapshots_of(trial).values())
    snapshots = f"; snapshots of {kept:,} bytes" if kept else ""
    return f"{max(growth, 0):,} bytes more after {3 * count:,} ticks than after {count:,}{snapshots}"


def _footprint(trial: Trial, subject: Subject) -> int:
    """Return the bytes of all objects that the processors and the globals of their modules refer to."""
    tops = [value for module in subject.modules for name, value in vars(module).items() if not name.startswith("__")]
    return sum(sys.getsizeof(found, 0) for found in reachable([*trial.strategy.processors, *tops], subject.modules))


def reachable(roots: Iterable[Any], modules: Iterable[ModuleType]) -> Iterator[Any]:
    """Yield the objects that can be reached from `roots`, without classes and functions of other modules."""
    own = {module.__name__ for module in modules}
    seen: set[int] = set()
    ahead = list(roots)
    while ahead and len(seen) < 2_000_000:
        found = ahead.pop()
        if not gc.is_tracked(found) and not isinstance(found, (tuple, dict)):
            yield found  # it holds no others
            continue
        if id(found) in seen or isinstance(found, ModuleType | Context):  # a context belongs to the runner
            continue
        seen.add(id(found))
        if isinstance(found, type):
            if found.__module__ in own:
                ahead += vars(found).values()
        elif isinstance(found, FunctionType):
            ahead += [*(found.__closure__ or ()), *(found.__defaults__ or ()), vars(found)]
        else:
            yield found
            ahead += gc.get_referents(found)


def snapshots_of(trial: Trial) -> dict[str, Any]:
    """Return the snapshots of its processors."""
    return snapshot.snapshot(trial.runner).strategies[trial.strategy.id].processors


def check_speed(subject: Subject) -> str:
    """Measure the time it takes for a tick; for information only."""
    taken: list[int] = []

    def watch(method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            start = perf_counter_ns()
            try:
                return method(*given)
            finally:
                taken.append(perf_counter_ns() - start)

        return timed

    subject.trial(watch=watch).run(subject.market())
    taken.sort()
    median, p99 = (taken[int(len(taken) * share)] / 1000 for share in (0.5, 0.99))
    summary = f"median {median:,.1f} µs, p99 {p99:,.1f} µs"
    if median > SLOW:
        raise Verdict(WARNING, f"{summary}: a slow strategy holds up the others, unless it runs with --workers")
    return summary
