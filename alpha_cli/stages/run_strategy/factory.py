"""Makes processors and validators from the types in a configuration.

A type is looked up among the registered names, then, if it looks like one, as a file
(`./mine.py:create_processor`) or a dotted path (`package.module:factory`), and last among the entry
points of installed packages. A factory is called with the parameters as keywords.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from copy import deepcopy
from hashlib import blake2b
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from alpha_cli.config.faults import MENDS
from alpha_cli.config.files import packaged
from alpha_cli.config.trust import refuse_if_anybody_writes
from alpha_cli.core.errors import AlphaError, ConfigurationError
from alpha_cli.core.text import did_you_mean, printable, shown
from alpha_cli.stages.run_strategy.capabilities import OFFERED, adapted, capability, declared, tick_fields_of
from alpha_cli.stages.run_strategy.config import OLDER_TYPES, PINNED, StrategyConfig, file_of, source_of
from alpha_cli.stages.run_strategy.failures import PACKAGE, describe_error, describe_failure
from alpha_cli.stages.run_strategy.protocols import StrategyProcessor, StrategyValidator

#: type -> the file in `strategies/` that has its `create_processor`.
PROCESSORS: dict[str, str] = {
    "momentum": "momentum.py:create_processor",
    "mean_reversion": "mean_reversion.py:create_processor",
    "rules_rsi": "rules_rsi.py:create_processor",
    "ml_momentum": "ml_momentum.py:create_processor",
    "hybrid_ml_rsi": "hybrid_ml_rsi.py:create_processor",
}

#: type -> dotted path of its factory.
VALIDATORS: dict[str, str] = {
    "standard": "alpha_cli.stages.run_strategy.validators:StandardValidator",
    "strict": "alpha_cli.stages.run_strategy.validators:StrictValidator",
}


#: Attribute of a module loaded from a file that has the file's content.
_SOURCE = "__alpha_source__"


class Registry(NamedTuple):
    """A kind of types: strategies or validators."""

    kind: str
    group: str  # of entry points
    default: str  # factory in a file, unless the type names one

    def names(self) -> list[str]:
        """Return every registered name, those of other packages included, sorted."""
        own = PROCESSORS if self.kind == "strategy" else VALIDATORS
        return sorted({*own, *_entry_points(self.group)})

    def factory(self, name: str) -> Callable[..., Any]:
        """Return the factory of type `name`. Raise `ConfigurationError`, which names similar types."""
        name = OLDER_TYPES.get(name, name)
        if self.kind == "strategy" and name in PROCESSORS:
            own, _, attribute = PROCESSORS[name].partition(":")
            module = _load(packaged("strategies") / own, f"{PACKAGE}.{Path(own).stem}")
            return self._attribute(module, attribute)
        if self.kind == "validator" and name in VALIDATORS:
            name = VALIDATORS[name]
        file = file_of(name)
        if file is not None:
            path = Path(file[0])
            key = blake2b(str(path.absolute()).encode(), digest_size=8).hexdigest()
            return self._attribute(_load(path, f"{PACKAGE}.file_{key}"), file[1] or self.default)
        target, _, attribute = name.partition(":")
        if attribute:
            return self._attribute(_imported(target), attribute)
        points = _entry_points(self.group)
        if name not in points:
            raise ConfigurationError(
                f"no {self.kind} type {name!r}{did_you_mean(name, self.names())} (or a file: ./mine.py:{self.default})"
            )
        try:
            loaded: Callable[..., Any] = points[name].load()
        except Exception as error:
            raise ConfigurationError(
                f"{self.kind} type {name!r} ({points[name].value}): {describe_error(error)}"
            ) from None
        return loaded

    def _attribute(self, module: ModuleType, name: str) -> Callable[..., Any]:
        factory = getattr(module, name, None)
        if not callable(factory):
            offered = [
                other for other in vars(module) if not other.startswith("_") and callable(getattr(module, other))
            ]
            where = getattr(module, "__file__", module.__name__)
            raise ConfigurationError(f"{where}: has no factory {name!r}{did_you_mean(name, offered)}")
        made: Callable[..., Any] = factory
        return made


STRATEGIES = Registry("strategy", "alpha.strategies", "create_processor")
VALIDATION = Registry("validator", "alpha.validators", "create_validator")


def create_processor(config: StrategyConfig) -> StrategyProcessor:
    """Return a new processor. Raise `ConfigurationError` for an unusable type or parameters."""
    processor = _created(STRATEGIES, config, config.strategy_type, config.parameters)
    try:
        _check_declarations(processor, config)
    except ConfigurationError as error:
        raise ConfigurationError(f"strategy {config.id}: {error}") from None
    made: StrategyProcessor = processor
    return made


def _check_declarations(processor: object, config: StrategyConfig) -> None:
    """Check the attributes that a processor declares. Raise `ConfigurationError`."""
    if capability(processor, "process_tick") is None and not (
        capability(processor, "extract_features") and capability(processor, "predict_signal")
    ):
        raise ConfigurationError(f"{config.strategy_type} has no process_tick(tick, history); see alpha strategies new")
    for name, offered in OFFERED.items():
        method = capability(processor, name)
        if method is not None:
            adapted(method, offered, None)
    tick_fields_of(processor)
    needed = declared(processor, "min_history", 0)
    if type(needed) is not int:
        raise ConfigurationError(f"min_history = {needed!r} is not a number of ticks")
    if needed > config.max_history:
        raise ConfigurationError(f"needs {needed} ticks of history, max_history is {config.max_history}; raise it")
    declared(processor, "multi_instrument")


def create_validator(config: StrategyConfig) -> StrategyValidator:
    """Return the validator of a strategy, which accepts its configuration. Raise `ConfigurationError`."""
    validator = _created(VALIDATION, config, config.validator_type, {})
    for name in ("validate_configuration", "validate_signal"):
        if capability(validator, name) is None:
            raise ConfigurationError(f"strategy {config.id}: validator {config.validator_type} has no {name}")
    try:
        faults = validator.validate_configuration(config)
        faults = [faults] if isinstance(faults, str) else list(faults or ())
    except Exception as error:
        raise ConfigurationError(
            f"strategy {config.id}: validator {config.validator_type}: {describe_failure(error)}"
        ) from None
    if faults:
        raise ConfigurationError(f"strategy {config.id}: {'; '.join(map(str, faults))}")
    made: StrategyValidator = validator
    return made


def _created(registry: Registry, config: StrategyConfig, name: str, parameters: dict[str, Any]) -> Any:
    try:
        factory = registry.factory(name)
    except AlphaError as error:
        raise ConfigurationError(f"strategy {config.id}: {error}") from None
    try:
        return factory(**deepcopy(parameters))  # processors must not share lists in them
    except ValidationError as error:
        raise ConfigurationError(f"strategy {config.id}: {faults(error, parameter_model(factory))}") from None
    except AlphaError as error:
        raise ConfigurationError(f"strategy {config.id}: {error}") from None
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"strategy {config.id}: parameters: {error}") from None
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"strategy {config.id}: {name} cannot be made: {describe_failure(error)}") from None


def parameter_model(factory: Callable[..., Any]) -> Any:
    """Return the pydantic model `Parameters` of a factory's module, if it has one."""
    model = getattr(sys.modules.get(getattr(factory, "__module__", "")), "Parameters", None)
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def changed(config: StrategyConfig, values: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of `config` with `values` set, also where it has one under an older name."""
    model = parameter_model(STRATEGIES.factory(config.strategy_type))
    synonyms = [] if model is None else [_names(name, field) for name, field in model.model_fields.items()]
    replaced = {other for name in values for names in synonyms if name in names for other in names}
    return {name: value for name, value in config.parameters.items() if name not in replaced} | values


def _names(name: str, field: Any) -> set[str]:
    """Return all names of a parameter."""
    choices = getattr(field.validation_alias, "choices", [field.validation_alias])
    return {name, *(choice for choice in choices if isinstance(choice, str))}


def faults(error: ValidationError, model: Any) -> str:
    """Return what is wrong with parameters, on one line."""
    known: Sequence[str] = [] if model is None else list(model.model_fields)
    lines = []
    for fault in error.errors():
        name = ".".join(map(str, fault["loc"]))
        said = MENDS.get(fault["type"], fault["msg"])
        message = f"{said[:1].lower()}{said[1:]}".removeprefix("value error, ")
        if fault["type"] == "extra_forbidden" and known:
            lines.append(f"no parameter {name!r}{did_you_mean(name, known)}")
        elif not name:
            lines.append(f"parameters: {message}")
        else:
            lines.append(f"parameter {name}: {message}, got {shown(fault['input'])}")
    return "; ".join(lines)


def sources_of(configs: Iterable[StrategyConfig]) -> dict[str, bytes]:
    """Return the content, by absolute path, of each file with a strategy or validator of `configs`."""
    paths = set()
    for config in configs:
        for name in (config.strategy_type, config.validator_type):
            own, file = PROCESSORS.get(name), file_of(name)
            if own is not None:
                paths.add(packaged("strategies") / own.partition(":")[0])
            elif file is not None:
                paths.add(Path(file[0]))
    found = {}
    for path in paths:
        with suppress(OSError, ValueError):  # the factory reports it
            found[str(path.absolute())] = source_of(path)
    return found


def loaded_sources() -> dict[str, bytes]:
    """Return the content, by absolute path, that each loaded file had when it was loaded."""
    loaded = [module for name, module in sys.modules.items() if name.startswith(f"{PACKAGE}.")]
    return {str(Path(str(module.__file__)).absolute()): module.__dict__[_SOURCE] for module in loaded}


def _entry_points(group: str) -> dict[str, Any]:
    from importlib.metadata import entry_points  # slow to import, and most types are registered here

    found: Iterable[Any] = entry_points(group=group)
    return {point.name: point for point in sorted(found, key=lambda point: (point.name, point.value), reverse=True)}


def _imported(name: str) -> ModuleType:
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"{name} cannot be imported: {describe_error(error)}") from None


def _load(path: Path, full_name: str) -> ModuleType:
    """Return the module in the file at `path`, under a name that cannot collide with other modules.

    It is loaded again if the file has changed, so that a reload uses the new code.
    """
    try:
        source = source_of(path)
    except (OSError, ValueError) as error:  # ValueError: an impossible path
        raise ConfigurationError(f"{printable(str(path))}: {getattr(error, 'strerror', error)}") from None
    loaded = sys.modules.get(full_name)
    if loaded is not None and getattr(loaded, _SOURCE, None) == source:
        return loaded
    if PINNED.get(path) is None:  # what is pinned was looked at where it was read
        refuse_if_anybody_writes(path)
    spec = util.spec_from_file_location(full_name, path)
    assert spec is not None
    module = util.module_from_spec(spec)
    module.__dict__[_SOURCE] = source
    sys.modules[full_name] = module  # pydantic looks annotations up there
    try:
        exec(compile(source, path, "exec"), module.__dict__)  # noqa: S102  (a strategy is code that its user chose)
    except (Exception, SystemExit) as error:
        if loaded is None:
            del sys.modules[full_name]
        else:
            sys.modules[full_name] = loaded
        raise ConfigurationError(f"{path}: {_at_load(path, error)}") from None
    return module


def _at_load(path: Path, error: BaseException) -> str:
    """Describe what went wrong while `path` was run; the line is named in any case, the file only if it is another."""
    text = describe_failure(error)
    return text.replace(f" ({path}, line", " (line")
