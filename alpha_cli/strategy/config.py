"""What the user may set of a strategy: one YAML file each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from alpha_cli.errors import UsageError
from alpha_cli.settings import NAME, BrokerName, Strict, find_config, read_config

Identifier = Annotated[str, StringConstraints(pattern=rf"^{NAME.pattern}$")]


class StrategyConfig(Strict):
    """`configs/strategies/NAME.yaml`."""

    id: Identifier
    strategy_type: Identifier
    parameters: dict[str, Any] = {}
    instruments: tuple[Annotated[int, Field(gt=0, lt=1 << 32, strict=True)], ...] = Field(min_length=1)
    active_brokers: tuple[BrokerName, ...] = ("paper",)
    is_active: bool = True
    max_history: int = Field(100, ge=1, le=20_000, description="ticks kept for each instrument")


def load_by_name(name: str) -> StrategyConfig:
    """The strategy called `name`, from the nearest folder that has it. Raises `ConfigurationError`."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a strategy name: letters, digits, _ and - only; for a file use --config")
    return load_file(find_config(f"strategies/{name}.yaml"))


def load_file(path: Path) -> StrategyConfig:
    """The strategy that the YAML file at `path` describes. Raises `ConfigurationError`."""
    return read_config(path, StrategyConfig)
