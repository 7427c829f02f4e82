"""Checks that a strategy can be made and called, and its model loaded."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from alpha_cli.core.events import Tick
from alpha_cli.stages.run_strategy.capabilities import CAPABILITIES, adapted, capability
from alpha_cli.stages.run_strategy.executor import Strategy
from alpha_cli.stages.run_strategy.factory import create_processor
from alpha_cli.stages.run_strategy.failures import Disabled
from alpha_cli.tools.strategies.conformance.subject import BROKER, Subject
from alpha_cli.tools.strategies.conformance.verdict import FAIL, SKIPPED, Verdict

#: Number of arguments that each method is given. `snapshot` and `restore` are called directly.
_GIVEN = {
    "load_model": 0, "warmup": 1, "process_tick": 2, "extract_features": 2, "predict_signal": 1, "on_bar": 2,
    "on_fill": 1, "shutdown": 0,
}  # fmt: skip


def check_factory(subject: Subject) -> str:
    """Check that it makes a new processor each time, with methods that the runner can call."""
    processor = subject.prepare()
    if processor is create_processor(subject.config):
        raise Verdict(FAIL, "it makes the same object twice; each instrument needs one of its own")
    _check_fields(processor)
    for name, count in _GIVEN.items():
        method = capability(processor, name)
        if method is not None:
            adapted(method, count, None)
    for name, given in (("snapshot", ()), ("restore", ({},))):
        method = capability(processor, name)
        if method is not None:
            _check_call(name, method, given)
    Strategy(subject.config, (BROKER,))
    return ", ".join(name for name in CAPABILITIES if capability(processor, name))


def _check_fields(processor: object) -> None:
    fields = getattr(processor, "tick_fields", None)
    for name in fields or ():
        if name not in Tick.__struct_fields__:
            raise Verdict(FAIL, f"tick_fields names {name!r}, which a tick has not; see alpha schema tick")


def _check_call(name: str, method: Callable[..., Any], given: Sequence[object]) -> None:
    try:
        inspect.signature(method).bind(*given)
    except TypeError as error:
        raise Verdict(FAIL, f"{CAPABILITIES[name].partition(':')[0]} cannot be called so: {error}") from None
    except ValueError:  # written in C
        pass


def check_model(subject: Subject) -> str:
    """Check that its model can be loaded."""
    strategy = Strategy(subject.config, (BROKER,))
    if capability(strategy.processors[0], "load_model") is None:
        raise Verdict(SKIPPED, "it has none")
    try:
        strategy.load_model()
    except Disabled as why:
        raise Verdict(FAIL, str(why)) from None
    return "loaded"
