"""The check that a restart changes nothing."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any

from alpha_cli.stages.run_strategy import snapshot
from alpha_cli.stages.run_strategy.capabilities import capability
from alpha_cli.tools.strategies.conformance.cost import reachable
from alpha_cli.tools.strategies.conformance.subject import Subject, Trial
from alpha_cli.tools.strategies.conformance.verdict import FAIL, WARNING, Verdict, compare

CUTS = (0.0002, 0.1531, 0.5003, 0.9717)  # shares of the ticks, not round, after which it is restarted


def check_state(subject: Subject) -> str:
    """Check that after a restart from its snapshot it gives the same signals."""
    (processor, *_) = subject.trial().strategy.processors
    saves, restores = (capability(processor, name) is not None for name in ("snapshot", "restore"))
    if saves != restores:
        here, missing = ("snapshot", "restore") if saves else ("restore", "snapshot")
        raise Verdict(FAIL, f"it has {here}() but no {missing}()")
    ticks = subject.market()
    whole = subject.trial().run(ticks)
    try:
        for cut in CUTS:
            stayed, restarted = _cut(subject, ticks, ceil(cut * len(ticks)))
            compare(whole, restarted, "a restart")
            compare(whole, stayed, "going on after snapshot()")  # as at a checkpoint of --workers
    except Verdict as verdict:
        if saves:
            raise
        raise Verdict(WARNING, f"it keeps state but offers no snapshot(): a restart forgets it; {verdict}") from None
    if saves:
        return f"{len(whole):,} signals, the same after each of {len(CUTS)} restarts"
    if capability(processor, "warmup") is None and _remembers(subject, ticks):
        raise Verdict(WARNING, "it keeps state but offers no snapshot(): a restart forgets it")
    return "no snapshot(), and none needed: the history says it all"


def _cut(subject: Subject, ticks: Sequence[Any], cut: int) -> tuple[list[bytes], list[bytes]]:
    """Return the signals of a strategy whose snapshot is taken after `cut` ticks, and of one that continues from it."""
    first, second = subject.trial(), subject.trial()
    lines = first.run(ticks[:cut])
    reported = len(first.reports)
    kept = snapshot.decode(snapshot.encode(snapshot.snapshot(first.runner)))
    snapshot.restore(second.runner, kept)
    trouble = [*first.reports[reported:], *second.reports]
    if trouble:
        raise Verdict(FAIL, f"at a restart after {cut:,} ticks: {trouble[0]}")
    return lines + first.run(ticks[cut:]), lines + second.run(ticks[cut:])


def _remembers(subject: Subject, ticks: Iterable[Any]) -> bool:
    """Return whether anything in its processors changes from tick to tick."""
    trial = subject.trial()
    before = _portrait(trial)
    trial.run(ticks)
    return before != _portrait(trial)


def _portrait(trial: Trial) -> list[str]:
    """Return a text for every object in the processors."""
    return [
        type(found).__name__ if gc.is_tracked(found) else repr(found)
        for found in reachable(trial.strategy.processors, ())
    ]
