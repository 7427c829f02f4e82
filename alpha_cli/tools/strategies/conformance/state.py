"""The check that a strategy goes on after a restart as if nothing had been."""

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

CUTS = (0.0002, 0.1531, 0.5003, 0.9717)  # of the ticks, after which it is stopped and started again; not round


def check_state(subject: Subject) -> str:
    """Stopped and started again from what it kept, it goes on as if nothing had been."""
    (processor, *_) = subject.trial().strategy.processors
    takes, gives_back = (capability(processor, name) is not None for name in ("snapshot", "restore"))
    if takes != gives_back:
        here, missing = ("snapshot", "restore") if takes else ("restore", "snapshot")
        raise Verdict(FAIL, f"it has {here}() but no {missing}()")
    ticks = subject.market()
    whole = subject.trial().run(ticks)
    try:
        for cut in CUTS:
            stayed, restarted = _cut(subject, ticks, ceil(cut * len(ticks)))
            compare(whole, restarted, "a restart")
            compare(whole, stayed, "going on after snapshot()")  # as with --workers, where it is taken now and then
    except Verdict as verdict:
        if takes:
            raise
        raise Verdict(WARNING, f"it keeps state but offers no snapshot(): a restart forgets it; {verdict}") from None
    if takes:
        return f"{len(whole):,} signals, the same after each of {len(CUTS)} restarts"
    if capability(processor, "warmup") is None and _remembers(subject, ticks):
        raise Verdict(WARNING, "it keeps state but offers no snapshot(): a restart forgets it")
    return "no snapshot(), and none needed: the history says it all"


def _cut(subject: Subject, ticks: Sequence[Any], cut: int) -> tuple[list[bytes], list[bytes]]:
    """The signals of a strategy of which a snapshot is taken after `cut` ticks; and of one that goes on from that."""
    first, second = subject.trial(), subject.trial()
    lines = first.run(ticks[:cut])
    said = len(first.said)
    kept = snapshot.decode(snapshot.encode(snapshot.snapshot(first.runner)))
    snapshot.restore(second.runner, kept)
    trouble = [*first.said[said:], *second.said]
    if trouble:
        raise Verdict(FAIL, f"at a restart after {cut:,} ticks: {trouble[0]}")
    return lines + first.run(ticks[cut:]), lines + second.run(ticks[cut:])


def _remembers(subject: Subject, ticks: Iterable[Any]) -> bool:
    """Whether anything in its processors changes from tick to tick."""
    trial = subject.trial()
    before = _portrait(trial)
    trial.run(ticks)
    return before != _portrait(trial)


def _portrait(trial: Trial) -> list[str]:
    """Everything in the processors that can be told."""
    return [type(one).__name__ if gc.is_tracked(one) else repr(one) for one in reachable(trial.strategy.processors, ())]
