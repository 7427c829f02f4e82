"""From a strategy's type and parameters to the object that processes ticks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import util
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from alpha_cli.cli import did_you_mean
from alpha_cli.errors import ConfigurationError
from alpha_cli.settings import packaged
from alpha_cli.strategy.config import StrategyConfig
from alpha_cli.strategy.protocols import StrategyProcessor

#: type name -> "file in strategies/":"factory in it"
PROCESSORS: dict[str, str] = {
    "momentum": "momentum:create_processor",
    "mean_reversion": "mean_reversion:create_processor",
}


def create_processor(config: StrategyConfig) -> StrategyProcessor:
    """A new processor for one instrument. Raises `ConfigurationError`."""
    try:
        factory = processor_factory(config.strategy_type)
    except ConfigurationError as error:
        raise ConfigurationError(f"strategy {config.id}: {error}") from None
    try:
        processor = factory(**config.parameters)
    except ValidationError as error:
        raise ConfigurationError(f"strategy {config.id}: {_faults(error, factory)}") from None
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"strategy {config.id}: parameters: {error}") from None
    if not isinstance(processor, StrategyProcessor):
        raise ConfigurationError(f"strategy {config.id}: {config.strategy_type} has no process_tick")
    needed = getattr(processor, "min_history", 0)
    if needed > config.max_history:
        raise ConfigurationError(
            f"strategy {config.id}: needs {needed} ticks of history, max_history is {config.max_history}; raise it"
        )
    return processor


def processor_factory(strategy_type: str) -> Callable[..., Any]:
    """The factory registered for `strategy_type`. Raises `ConfigurationError` naming the known ones."""
    target = PROCESSORS.get(strategy_type)
    if target is None:
        raise ConfigurationError(f"no strategy type {strategy_type!r}{did_you_mean(strategy_type, PROCESSORS)}")
    file, _, name = target.partition(":")
    factory: Callable[..., Any] = getattr(_load(file), name)
    return factory


def _load(name: str) -> ModuleType:
    """The module of a packaged strategy, under a name that cannot collide with anybody's own."""
    full_name = f"alpha_strategies.{name}"
    if full_name in sys.modules:
        return sys.modules[full_name]
    spec = util.spec_from_file_location(full_name, packaged("strategies") / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[full_name] = module  # pydantic looks annotations up there
    spec.loader.exec_module(module)
    return module


def _faults(error: ValidationError, factory: Callable[..., Any]) -> str:
    known = getattr(sys.modules[factory.__module__], "Parameters", None)
    faults = []
    for fault in error.errors():
        name = ".".join(map(str, fault["loc"]))
        if fault["type"] == "extra_forbidden" and known is not None:
            faults.append(f"no parameter {name!r}{did_you_mean(name, list(known.model_fields))}")
        else:
            faults.append(f"parameter {name}: {fault['msg'][:1].lower()}{fault['msg'][1:]}, got {fault['input']!r}")
    return "; ".join(faults)
