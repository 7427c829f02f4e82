"""`alpha strategies describe`: what a strategy does, and its parameters."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from alpha_cli.cli.tables import NOTHING, table
from alpha_cli.cli.terminal import bold
from alpha_cli.core.errors import AlphaError
from alpha_cli.core.text import printable
from alpha_cli.stages.run_strategy.capabilities import capability
from alpha_cli.stages.run_strategy.config import OLDER_TYPES, StrategyConfig
from alpha_cli.stages.run_strategy.factory import PROCESSORS, STRATEGIES, create_processor, parameter_model
from alpha_cli.tools.strategies.target import capabilities_of, package_of, sample_processor, target


def description(name: str) -> Iterator[str]:
    """Yield the lines of `alpha strategies describe NAME`. Raise `ConfigurationError`."""
    config, path = target(name)
    factory = STRATEGIES.factory(config.strategy_type)
    processor = sample_processor(factory, config.parameters)
    module = sys.modules.get(factory.__module__)
    yield bold(config.id if path else config.strategy_type)
    for line in (inspect.getdoc(module) or inspect.getdoc(processor) or "It has no description.").splitlines():
        yield f"  {line}".rstrip()
    yield ""
    yield from _facts(config, path, processor)
    yield ""
    parameters = list(_parameters(factory, config))
    if parameters:
        header = ("parameter", "type", "default", "bounds", "description", "older names", "here")
        yield from table(header if path else header[:-1], parameters)
    else:
        yield "It has no parameters."


def _facts(config: StrategyConfig, path: Path | None, processor: Any) -> Iterator[str]:
    strategy_type = OLDER_TYPES.get(config.strategy_type, config.strategy_type)
    older = [name for name, newer in OLDER_TYPES.items() if newer == strategy_type]
    fields = getattr(processor, "tick_fields", None)
    facts = {
        "type": strategy_type + (f" (older names: {', '.join(older)})" if older else ""),
        "from": package_of(STRATEGIES, strategy_type, PROCESSORS),
        "capabilities": ", ".join(capabilities_of(processor)) or "unknown",
        "model": "yes" if capability(processor, "load_model") else "no",
        "tick_fields": "all" if fields is None else ", ".join(fields) or "token, time and price only",
        "min_history": f"{_number(processor, 'min_history')} ticks",
        "bars": ", ".join(getattr(processor, "bars", ())) or "none",
        "multi_instrument": "yes" if getattr(processor, "multi_instrument", False) else "no",
    }
    if path is not None:
        facts |= {
            "configuration": str(path),
            "instruments": ", ".join(map(str, config.instruments)),
            "brokers": ", ".join(config.active_brokers) or "none",
            "validator": config.validator_type,
            "active": "yes" if config.is_active else "no",
            "max_history": f"{config.max_history} ticks",
        }
        if config.max_position_size is not None:
            facts["max_position_size"] = f"{config.max_position_size} units"
        if config.risk_multiplier != 1:
            facts["risk_multiplier"] = str(config.risk_multiplier)
        try:
            create_processor(config)
        except AlphaError as error:
            facts["fault"] = str(error)
    width = max(map(len, facts))
    for name, value in facts.items():
        yield f"{name:<{width}}  {printable(value, 300)}"


def _number(processor: Any, name: str) -> int:
    value = getattr(processor, name, 0)
    return value if isinstance(value, int) else 0  # of a class it may be a property


def _parameters(factory: Callable[..., Any], config: StrategyConfig) -> Iterator[tuple[str, ...]]:
    """Yield a row for each parameter: name, type, default, bounds, description, older names, configured value."""
    model = parameter_model(factory)
    fields: Mapping[str, Any] = getattr(model, "model_fields", {})
    if not fields:
        yield from _arguments(factory, config)
        return
    for name, field in fields.items():
        others = [str(other) for other in _aliases(field) if other != name]
        set_as = next((known for known in (name, *others) if known in config.parameters), None)
        yield (
            name,
            _type_text(field.annotation),
            "required" if field.is_required() else _value(field.get_default(call_default_factory=True)),
            ", ".join(_bounds(field.metadata)) or NOTHING,
            field.description or NOTHING,
            ", ".join(others) or NOTHING,
            NOTHING if set_as is None else _value(config.parameters[set_as]),
        )


def _arguments(factory: Callable[..., Any], config: StrategyConfig) -> Iterator[tuple[str, ...]]:
    """Yield the same rows for a factory without a model, from its signature."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # written in C
        return
    for name, parameter in signature.parameters.items():
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            continue
        annotation, default = parameter.annotation, parameter.default
        yield (
            name,
            NOTHING if annotation is inspect.Parameter.empty else _type_text(annotation),
            "required" if default is inspect.Parameter.empty else _value(default),
            NOTHING,
            NOTHING,
            NOTHING,
            _value(config.parameters[name]) if name in config.parameters else NOTHING,
        )


def _aliases(field: Any) -> Iterable[Any]:
    given = field.validation_alias or field.alias
    return getattr(given, "choices", () if given is None else (given,))


#: Texts for the constraints of pydantic; others have to be in the description.
_BOUNDS = {
    "gt": "> {}",
    "ge": ">= {}",
    "lt": "< {}",
    "le": "<= {}",
    "multiple_of": "multiple of {}",
    "min_length": "length >= {}",
    "max_length": "length <= {}",
    "pattern": "like {}",
}


def _bounds(metadata: Iterable[Any]) -> Iterator[str]:
    for constraint in metadata:
        for name, text in _BOUNDS.items():
            bound = getattr(constraint, name, None)
            if bound is not None:
                yield text.format(bound)


def _type_text(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return " | ".join(map(_value, get_args(annotation)))
    if origin in (Union, UnionType):
        return " | ".join(map(_type_text, get_args(annotation)))
    if annotation is NoneType:
        return "none"
    if isinstance(annotation, type) and origin is None:
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def _value(value: Any) -> str:
    return "none" if value is None else str(value)
