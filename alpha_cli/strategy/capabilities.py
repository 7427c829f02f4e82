"""What a processor can do beyond `process_tick`, found by name and called only if it is there.

A method takes as many of the offered arguments as it has parameters for, and `context` if it has a
parameter of that name: `warmup(self)`, `warmup(self, history)` and `warmup(self, history, context)`
are all right.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from alpha_cli.errors import ConfigurationError

#: method -> what it is for, in the order of a processor's life.
CAPABILITIES: dict[str, str] = {
    "load_model": "load_model(): before the first tick; False or an exception disables this strategy alone",
    "warmup": "warmup(history): the earlier ticks, so that indicators are ready at once; a failure is only reported",
    "process_tick": "process_tick(tick, history): the answer to a tick, a SignalResult or None",
    "extract_features": "extract_features(tick, history): what a model is asked about, or None",
    "predict_signal": "predict_signal(features): the answer of a model; with extract_features it makes a process_tick",
    "on_bar": "on_bar(bar, history): the answer to a closed bar; `bars = ('1m',)` has them built here",
    "on_fill": "on_fill(fill): told of each of its own fills; may answer as to a tick",
    "snapshot": "snapshot(): what it remembers, JSON-able, for --state and for workers that are started again",
    "restore": "restore(state): go on from a snapshot",
    "shutdown": "shutdown(): after the last tick",
}


def capability(processor: object, name: str) -> Callable[..., Any] | None:
    """The method called `name`, or None if `processor` has none."""
    method = getattr(processor, name, None)
    return method if callable(method) else None


def adapted(method: Callable[..., Any], offered: int, context: object) -> Callable[..., Any]:
    """`method` as a function of exactly `offered` arguments; the very method where nothing need be changed.

    Raises `ConfigurationError` if it insists on more.
    """
    try:
        parameters = list(inspect.signature(method).parameters.values())
    except (TypeError, ValueError):  # written in C: it must take what is offered
        return method
    named = any(one.name == "context" for one in parameters)
    places = [one for one in parameters if one.kind in _POSITIONAL and one.name != "context"]
    rest = any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters)
    if sum(one.default is inspect.Parameter.empty for one in places) > offered:
        raise ConfigurationError(
            f"{getattr(method, '__name__', 'a method')}{inspect.signature(method)} asks for more than it is given; see "
            "alpha strategies new"
        )
    taken = offered if rest else min(len(places), offered)
    if taken == offered:
        return (lambda *given: method(*given, context=context)) if named else method
    if named:
        return lambda *given: method(*given[:taken], context=context)
    return lambda *given: method(*given[:taken])


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
