"""What a name on the command line stands for: a configured strategy, a type, or a file."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from alpha_cli.cli.tables import NOTHING
from alpha_cli.config.files import config_names, find_config
from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.text import did_you_mean, printable
from alpha_cli.stages.run_strategy.capabilities import CAPABILITIES, capability
from alpha_cli.stages.run_strategy.config import OLDER_TYPES, StrategyConfig, file_of, load_file
from alpha_cli.stages.run_strategy.factory import PROCESSORS, STRATEGIES, Registry


class Target(NamedTuple):
    """The strategy that a command is about. `path` is its YAML file; None if it is a type with its defaults."""

    config: StrategyConfig
    path: Path | None


#: Instruments for a type that is not configured: NIFTY 50 and NIFTY BANK.
INSTRUMENTS = (256265, 260105)


def target(name: str) -> Target:
    """Return the configuration called `name`, else the type; or a YAML or Python file. Raise `ConfigurationError`.

    If a configuration and a type have the same name, it is the one that `run-strategy` would run.
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
    """Return an id for a strategy of a type that may be a path."""
    file = file_of(strategy_type)
    stem = Path(strategy_type.partition(":")[0] if file is None else file[0]).stem
    allowed = "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "_" for char in stem)
    return allowed.lstrip("-_")[:64] or "strategy"


def sample_processor(factory: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    """Return a processor made with `parameters`, else with defaults; if neither works its class, or None."""
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


def capabilities_of(processor: Any) -> list[str]:
    """Return the names of the methods that alpha calls."""
    return [name for name in CAPABILITIES if capability(processor, name)]


def package_of(registry: Registry, name: str, own: Mapping[str, str]) -> str:
    """Return the package that the type comes with; of a file or dotted path, its place."""
    if name in own:
        return "alpha"
    file = file_of(name)
    if file is not None or ":" in name:
        return file[0] if file is not None else name.partition(":")[0]
    from importlib.metadata import entry_points

    points = sorted(entry_points(group=registry.group, name=name), key=lambda point: point.value)
    dist = points[0].dist if points else None
    return NOTHING if dist is None else dist.name


def first_line_of(thing: Any) -> str:
    """Return the first line of a docstring."""
    return next(iter((inspect.getdoc(thing) or "").splitlines()), "")
