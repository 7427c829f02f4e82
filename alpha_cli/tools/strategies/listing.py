"""What strategies there are, and what each of them is: `alpha strategies list` and `describe`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import click
import msgspec

from alpha_cli.cli.tables import NOTHING, table
from alpha_cli.config.files import config_names, find_config
from alpha_cli.core.errors import AlphaError, ConfigurationError
from alpha_cli.core.text import did_you_mean, printable
from alpha_cli.stages.run_strategy.capabilities import CAPABILITIES, capability
from alpha_cli.stages.run_strategy.config import OLDER_TYPES, StrategyConfig, file_of, load_file
from alpha_cli.stages.run_strategy.factory import (
    PROCESSORS,
    STRATEGIES,
    VALIDATION,
    VALIDATORS,
    Registry,
    create_processor,
    parameter_model,
)


class StrategyType(msgspec.Struct, tag_field="kind", tag="strategy_type"):
    """A registered type of strategy. `package` is the one that it comes with."""

    name: str
    package: str
    capabilities: list[str] = []
    has_model: bool = False
    does: str = ""
    error: str | None = None


class ValidatorType(msgspec.Struct, tag_field="kind", tag="validator_type"):
    """A registered type of validator."""

    name: str
    package: str
    does: str = ""
    error: str | None = None


class Configured(msgspec.Struct, tag_field="kind", tag="strategy"):
    """A strategy that is configured. `name` is what `run-strategy` calls it."""

    name: str
    id: str = ""
    strategy_type: str = ""
    instruments: list[int] = []
    active_brokers: list[str] = []
    is_active: bool = False
    error: str | None = None


class Everything(NamedTuple):
    """All that `list` lists."""

    types: list[StrategyType]
    validators: list[ValidatorType]
    configured: list[Configured]


def everything(database: str | None) -> Everything:
    """What there is; the configured strategies are those of the database at that URL, or else of files."""
    return Everything(
        [_strategy_type(name) for name in STRATEGIES.names()],
        [_validator_type(name) for name in VALIDATION.names()],
        _from_files() if database is None else _from_database(database),
    )


def for_programs(found: Everything) -> Iterator[str]:
    """One JSON object a line; `kind` says of what."""
    for part in found:
        for one in part:
            yield msgspec.json.encode(one).decode()


def for_people(found: Everything) -> Iterator[str]:
    """Three tables."""
    yield from table(
        ("type", "package", "model", "does", "besides process_tick"),
        [
            (
                one.name,
                one.package,
                "yes" if one.has_model else "no",
                one.error or one.does,
                ", ".join(name for name in one.capabilities if name != "process_tick") or NOTHING,
            )
            for one in found.types
        ],
    )
    yield ""
    yield from table(
        ("validator", "package", "does"), [(one.name, one.package, one.error or one.does) for one in found.validators]
    )
    yield ""
    if not found.configured:
        yield "no strategy is configured"
        return
    yield from table(
        ("strategy", "id", "type", "instruments", "brokers", "active"),
        [
            (one.name, f"cannot be read: {one.error}")
            if one.error
            else (
                one.name,
                one.id,
                one.strategy_type,
                str(len(one.instruments)),
                ", ".join(one.active_brokers) or "none",
                "yes" if one.is_active else "no",
            )
            for one in found.configured
        ],
    )


# --- what a name stands for ------------------------------------------------------------------


class Target(NamedTuple):
    """What a command was asked about. `path` is the YAML file of a configuration; None: a type, as it comes."""

    config: StrategyConfig
    path: Path | None


#: What a type is run on where nobody configured anything: NIFTY 50 and NIFTY BANK.
INSTRUMENTS = (256265, 260105)


def target(name: str) -> Target:
    """The configuration called `name`, else the type; or a YAML or Python file. Raises `ConfigurationError`.

    Where a configuration and a type have one name, it is what `run-strategy` runs under it.
    """
    if name.endswith((".yaml", ".yml")):
        return Target(load_file(Path(name)), Path(name))
    file = file_of(name)
    if file is None:
        configured = config_names("strategies")
        if name in configured:
            path = find_config(f"strategies/{name}.yaml")
            return Target(load_file(path), path)
        if ":" not in name and OLDER_TYPES.get(name, name) not in PROCESSORS:
            types = STRATEGIES.names()
            if name not in types:
                known = sorted({*configured, *types})
                raise ConfigurationError(
                    f"no strategy {printable(repr(name))}{did_you_mean(name, known)} (or a file: ./mine.py)"
                )
    elif not Path(file[0]).is_file():
        raise ConfigurationError(f"{file[0]}: no such file")
    return Target(StrategyConfig(id=_id_of(name), strategy_type=name, instruments=INSTRUMENTS), None)


def _id_of(strategy_type: str) -> str:
    """An id for a strategy of a type that may be a path."""
    file = file_of(strategy_type)
    stem = Path(strategy_type.partition(":")[0] if file is None else file[0]).stem
    allowed = "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "_" for char in stem)
    return allowed.lstrip("-_")[:64] or "strategy"


# --- describe --------------------------------------------------------------------------------


def description(name: str) -> Iterator[str]:
    """What `alpha strategies describe NAME` prints. Raises `ConfigurationError`."""
    config, path = target(name)
    factory = STRATEGIES.factory(config.strategy_type)
    processor = _shape(factory, config.parameters)
    module = sys.modules.get(factory.__module__)
    yield click.style(config.id if path else config.strategy_type, bold=True)
    for line in (inspect.getdoc(module) or inspect.getdoc(processor) or "It does not say what it does.").splitlines():
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
        "from": _package(STRATEGIES, strategy_type, PROCESSORS),
        "capabilities": ", ".join(_capabilities(processor)) or "unknown",
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
    """A row for each parameter: name, type, default, bounds, description, older names, value here."""
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
    """The same of a factory without a model, as far as its signature tells."""
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


#: How the constraints of pydantic read; the rest is left to the description.
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
    for one in metadata:
        for name, text in _BOUNDS.items():
            bound = getattr(one, name, None)
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


# --- what is behind a name -------------------------------------------------------------------


def _strategy_type(name: str) -> StrategyType:
    found = StrategyType(name, _package(STRATEGIES, name, PROCESSORS))
    try:
        factory = STRATEGIES.factory(name)
        processor = _shape(factory, {})
    except AlphaError as error:
        found.error = str(error)
        return found
    found.capabilities = _capabilities(processor)
    found.has_model = "load_model" in found.capabilities
    found.does = _first_line(sys.modules.get(factory.__module__)) or _first_line(processor)
    return found


def _validator_type(name: str) -> ValidatorType:
    found = ValidatorType(name, _package(VALIDATION, name, VALIDATORS))
    try:
        found.does = _first_line(VALIDATION.factory(name))
    except AlphaError as error:
        found.error = str(error)
    return found


def _shape(factory: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    """A processor to look at; where none can be made of `parameters` or by default, its class, or None."""
    for given in (parameters, {}):
        try:
            return factory(**given)
        except (Exception, SystemExit):  # noqa: S112  (a parameter is wrong, or one has no default)
            continue
    if isinstance(factory, type):
        return factory
    try:
        return get_type_hints(factory).get("return")
    except Exception:  # an annotation that names what is not there
        return None


def _capabilities(processor: Any) -> list[str]:
    return [name for name in CAPABILITIES if capability(processor, name)]


def _package(registry: Registry, name: str, own: Mapping[str, str]) -> str:
    """The package that the type comes with; of a file or dotted path, where it is."""
    if name in own:
        return "alpha"
    file = file_of(name)
    if file is not None or ":" in name:
        return file[0] if file is not None else name.partition(":")[0]
    from importlib.metadata import entry_points

    points = sorted(entry_points(group=registry.group, name=name), key=lambda point: point.value)
    dist = points[0].dist if points else None
    return NOTHING if dist is None else dist.name


def _first_line(thing: Any) -> str:
    return next(iter((inspect.getdoc(thing) or "").splitlines()), "")


def _from_files() -> list[Configured]:
    found = []
    for name in config_names("strategies"):
        try:
            found.append(_configured(name, load_file(find_config(f"strategies/{name}.yaml"))))
        except AlphaError as error:
            found.append(Configured(name, error=str(error)))
    return found


def _from_database(url: str) -> list[Configured]:
    from alpha_cli.stages.run_strategy.config_table import open_table

    with open_table(url) as rows:
        return [_configured(config.id, config) for config in rows.read_all()]


def _configured(name: str, config: StrategyConfig) -> Configured:
    return Configured(
        name, config.id, config.strategy_type, list(config.instruments), list(config.active_brokers), config.is_active
    )
