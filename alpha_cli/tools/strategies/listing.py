"""`alpha strategies list`: the types of strategies and validators, and the configured strategies."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from alpha_cli.cli.tables import NOTHING, table
from alpha_cli.config.files import config_names, find_config
from alpha_cli.core.errors import AlphaError
from alpha_cli.stages.run_strategy.config import StrategyConfig, load_file
from alpha_cli.stages.run_strategy.factory import PROCESSORS, STRATEGIES, VALIDATION, VALIDATORS
from alpha_cli.tools.strategies.target import capabilities_of, first_line_of, package_of, sample_processor


class StrategyType(msgspec.Struct, tag_field="kind", tag="strategy_type"):
    """A registered type of strategy, with the package that it comes with."""

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
    """A configured strategy. `name` is its name for `run-strategy`."""

    name: str
    id: str = ""
    strategy_type: str = ""
    instruments: list[int] = []
    active_brokers: list[str] = []
    is_active: bool = False
    error: str | None = None


class Everything(NamedTuple):
    """Everything that `list` prints."""

    types: list[StrategyType]
    validators: list[ValidatorType]
    configured: list[Configured]


def everything(database: str | None) -> Everything:
    """Return everything; the configured strategies come from the database at that URL, without one from files."""
    return Everything(
        [_strategy_type(name) for name in STRATEGIES.names()],
        [_validator_type(name) for name in VALIDATION.names()],
        _from_files() if database is None else _from_database(database),
    )


def for_programs(found: Everything) -> Iterator[str]:
    """Yield one JSON object a line; `kind` names its type."""
    for part in found:
        for row in part:
            yield msgspec.json.encode(row).decode()


def for_people(found: Everything) -> Iterator[str]:
    """Yield the lines of three tables."""
    yield from table(
        ("type", "package", "model", "does", "besides process_tick"),
        [
            (
                kind.name,
                kind.package,
                "yes" if kind.has_model else "no",
                kind.error or kind.does,
                ", ".join(name for name in kind.capabilities if name != "process_tick") or NOTHING,
            )
            for kind in found.types
        ],
    )
    yield ""
    yield from table(
        ("validator", "package", "does"),
        [(validator.name, validator.package, validator.error or validator.does) for validator in found.validators],
    )
    yield ""
    if not found.configured:
        yield "no strategy is configured"
        return
    yield from table(
        ("strategy", "id", "type", "instruments", "brokers", "active"),
        [
            (strategy.name, f"cannot be read: {strategy.error}")
            if strategy.error
            else (
                strategy.name,
                strategy.id,
                strategy.strategy_type,
                str(len(strategy.instruments)),
                ", ".join(strategy.active_brokers) or "none",
                "yes" if strategy.is_active else "no",
            )
            for strategy in found.configured
        ],
    )


def _strategy_type(name: str) -> StrategyType:
    found = StrategyType(name, package_of(STRATEGIES, name, PROCESSORS))
    try:
        factory = STRATEGIES.factory(name)
        processor = sample_processor(factory, {})
    except AlphaError as error:
        found.error = str(error)
        return found
    found.capabilities = capabilities_of(processor)
    found.has_model = "load_model" in found.capabilities
    found.does = first_line_of(sys.modules.get(factory.__module__)) or first_line_of(processor)
    return found


def _validator_type(name: str) -> ValidatorType:
    found = ValidatorType(name, package_of(VALIDATION, name, VALIDATORS))
    try:
        found.does = first_line_of(VALIDATION.factory(name))
    except AlphaError as error:
        found.error = str(error)
    return found


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
