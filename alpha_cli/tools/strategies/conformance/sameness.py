"""Checks that the same ticks give the same signals: again, in other processes, with other instruments."""

from __future__ import annotations

import msgspec

from alpha_cli.tools.strategies.conformance.process import ending, started
from alpha_cli.tools.strategies.conformance.subject import Subject
from alpha_cli.tools.strategies.conformance.verdict import FAIL, SKIPPED, Verdict, compare

HOSTS = ({"PYTHONHASHSEED": "1", "TZ": "Asia/Kolkata"}, {"PYTHONHASHSEED": "2", "TZ": "America/New_York"})


def check_determinism(subject: Subject) -> str:
    """Check that the same ticks give the same signals: again, with another hash seed and in another time zone."""
    ticks = subject.market()
    first = subject.trial().run(ticks)
    compare(first, subject.trial().run(ticks), "a second run")
    with (
        started("signals", subject.name, subject.parameters, subject.timeout, HOSTS[0]) as one,
        started("signals", subject.name, subject.parameters, subject.timeout, HOSTS[1]) as other,
    ):
        outputs = []
        for process in (one, other):
            output, errors = process.communicate()  # it ends by itself, at the latest by its alarm
            outputs.append(output.splitlines())
            if process.returncode:
                raise Verdict(FAIL, f"another process: {ending(process.returncode, errors)}")
    compare(first, outputs[0], "another process")
    compare(outputs[0], outputs[1], "a process with another hash seed and time zone")
    return f"{len(first):,} signals, the same in 3 processes with different hash seeds and time zones"


def check_separation(subject: Subject) -> str:
    """Check that an instrument gets the same signals with and without other instruments."""
    if subject.several:
        raise Verdict(SKIPPED, "multi_instrument: one processor is meant to see all of them")
    ticks = subject.market()
    together = subject.trial(fills=False).run(ticks)  # a fill changes the cash of all
    for token in subject.config.instruments:
        alone = subject.config.model_copy(update={"instruments": (token,)})
        own = [line for line in together if msgspec.json.decode(line)["instrument_token"] == token]
        compare(subject.trial(alone, fills=False).run(ticks), own, f"{token} beside another instrument")
    return f"{len(subject.config.instruments)} instruments, together and alone"
