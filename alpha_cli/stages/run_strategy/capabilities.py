"""The optional methods of a processor, recognised by name and called only if they exist.

A method is given as many of the offered arguments as it has parameters for, and `context` if it has a
parameter of that name: `warmup(self)`, `warmup(self, history)` and `warmup(self, history, context)`
all work.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.events import Tick
from alpha_cli.core.text import did_you_mean

#: Method -> its purpose, in the order of a processor's life.
CAPABILITIES: dict[str, str] = {
    "load_model": "load_model(): before the first tick; False or an exception disables this strategy alone",
    "warmup": "warmup(history): the earlier ticks, so that indicators are ready at once; a failure is only reported",
    "process_tick": "process_tick(tick, history): the answer to a tick, a SignalResult or None",
    "extract_features": "extract_features(tick, history): the input of a model, or None",
    "predict_signal": "predict_signal(features): the answer of a model; with extract_features it replaces process_tick",
    "on_bar": "on_bar(bar, history): the answer to a closed bar; `bars = ('1m',)` builds them",
    "on_fill": "on_fill(fill): each of its own fills; may answer as to a tick",
    "on_denial": "on_denial(denial): each of its signals that risk refused, with the code; may answer as to a tick",
    "on_order_update": "on_order_update(update): each new status of its orders, also of those that risk or paper made "
    "for it; may answer as to a tick",
    "snapshot": "snapshot(): its state, JSON-able, for --state and for restarted workers",
    "restore": "restore(state): continue from a snapshot, perhaps of other parameters; raises if it cannot",
    "shutdown": "shutdown(): after the last tick",
}


#: Method -> number of arguments it is offered, without `context`.
OFFERED = {
    "load_model": 0, "warmup": 1, "process_tick": 2, "extract_features": 2, "predict_signal": 1, "on_bar": 2,
    "on_fill": 1, "on_denial": 1, "on_order_update": 1,
    "snapshot": 0, "restore": 1, "shutdown": 0,
}  # fmt: skip


def declared(processor: object, name: str, default: Any = None) -> Any:
    """Return the attribute `name` of `processor`. Raise `ConfigurationError` if reading it fails."""
    try:
        return getattr(processor, name, default)
    except Exception as error:
        raise ConfigurationError(f"{type(processor).__name__}.{name}: {type(error).__name__}: {error}") from None


def capability(processor: object, name: str) -> Callable[..., Any] | None:
    """Return the method called `name`, or None if `processor` has none. Raise `ConfigurationError`."""
    method = declared(processor, name)
    return method if callable(method) else None


def misspelt(processor: object) -> list[str]:
    """Return a line for each method of `processor` whose name is almost that of an optional method, which it lacks."""
    lines = []
    for name in dir(type(processor)):
        meant = _meant(name)
        if meant is not None and not callable(getattr(type(processor), meant, None)):
            lines.append(f"its {name} is never called, did you mean {meant!r}?")
    return lines


def _meant(name: str) -> str | None:
    """Return the optional method that a name such as onfill, on_Bar or process_ticks is a slip of."""
    if name in OFFERED or name.startswith("_"):
        return None
    plain = name.replace("_", "").lower()
    names = {known.replace("_", ""): known for known in OFFERED}
    close = [plain] if plain in names else get_close_matches(plain, names, 1, cutoff=0.9)
    return names[close[0]] if close else None


def tick_fields_of(processor: object) -> frozenset[str] | None:
    """Return the fields of a tick that `processor` declares to use; None: all. Raise `ConfigurationError`."""
    fields = declared(processor, "tick_fields")
    if fields is None:
        return None
    names = Tick.__struct_fields__
    if isinstance(fields, str) or not isinstance(fields, Iterable):
        raise ConfigurationError(f"tick_fields = {fields!r} is not a tuple of names, as ('ohlc', 'volume_traded')")
    given = list(fields)
    for name in given:
        if name not in names:
            raise ConfigurationError(f"tick_fields: a tick has no {name!r}{did_you_mean(str(name), names)}")
    return frozenset(given)


def adapted(method: Callable[..., Any], offered: int, context: object) -> Callable[..., Any]:
    """Return `method` as a function of exactly `offered` arguments; the method itself where it is one.

    Raise `ConfigurationError` if it requires more.
    """
    try:
        parameters = list(inspect.signature(method).parameters.values())
    except (TypeError, ValueError):  # written in C: it must take what is offered
        return method
    places = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
    names = [parameter.name for parameter in places]
    at = names.index("context") if "context" in names else None
    if at is not None:
        del places[at]
    if sum(parameter.default is inspect.Parameter.empty for parameter in places) > offered:
        raise ConfigurationError(
            f"{getattr(method, '__name__', 'a method')}{inspect.signature(method)} asks for more than it is given; see "
            "alpha strategies new"
        )
    rest = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
    taken = offered if rest else min(len(places), offered)
    if at is not None:
        before = min(at, taken)
        return lambda *given: method(*given[:before], context, *given[before:taken])
    if any(
        parameter.name == "context" and parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters
    ):
        return lambda *given: method(*given[:taken], context=context)
    return method if taken == offered else lambda *given: method(*given[:taken])


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
