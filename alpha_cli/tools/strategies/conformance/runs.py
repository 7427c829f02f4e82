"""Runs the checks one after another, in a separate process."""

from __future__ import annotations

import os
import signal as signals_of_os
from collections.abc import Callable, Iterator
from math import ceil
from typing import Any, NoReturn

import msgspec

from alpha_cli.core.errors import AlphaError
from alpha_cli.stages.run_strategy.failures import describe_error
from alpha_cli.stages.run_strategy.host import limit_memory
from alpha_cli.tools.strategies.conformance.answers import check_answers
from alpha_cli.tools.strategies.conformance.contract import check_factory, check_model
from alpha_cli.tools.strategies.conformance.cost import check_memory, check_speed
from alpha_cli.tools.strategies.conformance.process import end_of, line_of, started
from alpha_cli.tools.strategies.conformance.purity import check_purity
from alpha_cli.tools.strategies.conformance.sameness import check_determinism, check_separation
from alpha_cli.tools.strategies.conformance.state import check_state
from alpha_cli.tools.strategies.conformance.subject import Subject
from alpha_cli.tools.strategies.conformance.verdict import FAIL, OK, SKIPPED, Result, Verdict
from alpha_cli.tools.strategies.target import target

MEMORY = 2048  # MiB that the process may allocate, as with run-strategy
_GRACE = 5  # seconds after which a process ends itself if its parent has ended


#: Name -> check, in the order in which they run. If one of the first two fails, the others cannot run.
CHECKS: dict[str, Callable[[Subject], str]] = {
    "factory": check_factory,
    "model": check_model,
    "answers": check_answers,
    "purity": check_purity,
    "determinism": check_determinism,
    "separation": check_separation,
    "memory": check_memory,
    "state": check_state,
    "speed": check_speed,
}
FIRST = ("factory", "model")


def run(name: str, parameters: dict[str, Any], timeout: float) -> Iterator[Result]:
    """Yield the results of the checks in their order, each as soon as it is known. Raise `ConfigurationError`."""
    target(name)  # raises if there is no such strategy
    given_up = ""
    with started("check", name, parameters, timeout) as process:
        for check in CHECKS:
            if given_up:
                yield Result(check, SKIPPED, f"because {given_up} failed")
                continue
            line = line_of(process, timeout)
            result = msgspec.json.decode(line, type=Result) if line else Result(check, FAIL, end_of(process, timeout))
            if result.mark == FAIL and (not line or check in FIRST):
                given_up = check
            yield result


def serve(job: str, name: str, parameters: dict[str, Any], timeout: float) -> NoReturn:
    """Do one job and exit: "check" writes a result a line, "signals" the signals on a synthetic market."""
    output = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):  # discard what a strategy prints
        os.dup2(nowhere, fd)
    for number in (signals_of_os.SIGINT, signals_of_os.SIGALRM):
        signals_of_os.signal(number, signals_of_os.SIG_DFL)
    limit_memory(MEMORY)
    try:
        subject = Subject(name, parameters, timeout)
        for line in _checked(subject) if job == "check" else _signals(subject):
            output.write(line + b"\n")
            output.flush()
    except BrokenPipeError:  # the parent has ended
        pass
    os._exit(0)  # without waiting for threads that a strategy may have started


def _checked(subject: Subject) -> Iterator[bytes]:
    for name, check in CHECKS.items():
        signals_of_os.alarm(ceil(subject.timeout) + _GRACE)
        try:
            result = Result(name, OK, check(subject))
        except Verdict as verdict:
            result = Result(name, verdict.mark, str(verdict))
        except AlphaError as error:
            result = Result(name, FAIL, str(error).removeprefix(f"strategy {subject.config.id}: "))
        except (Exception, SystemExit) as error:
            result = Result(name, FAIL, describe_error(error))
        yield msgspec.json.encode(result)
        if result.mark == FAIL and name in FIRST:
            return


def _signals(subject: Subject) -> Iterator[bytes]:
    signals_of_os.alarm(ceil(subject.timeout) + _GRACE)
    subject.prepare()
    yield from subject.trial().run(subject.market())
