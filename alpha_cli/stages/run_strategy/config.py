"""What may be configured of a strategy: one YAML file each, or one row of `strategy_configurations`.

Two forms of the file are read. The older names (`strategy_name`, `strategy_class`, `module_name`,
`instrument_tokens`, `brokers`) are replaced by the newer ones before anything is checked. Instruments are tokens, or
names such as `NSE:INFY`, which are looked up in the newest instrument dump.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints, field_validator, model_validator

from alpha_cli.config.files import find_config
from alpha_cli.config.model import NAME, BrokerName, Strict, validate
from alpha_cli.config.trust import refuse_if_anybody_writes
from alpha_cli.config.yaml_file import read_yaml
from alpha_cli.core.errors import AlphaError, ConfigurationError, UsageError

Identifier = Annotated[str, StringConstraints(pattern=rf"^{NAME.pattern}$")]
TypeName = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
InstrumentToken = Annotated[int, Field(gt=0, lt=1 << 32, strict=True)]

#: Names of the older system's YAML -> ours.
OLDER_KEYS = {"strategy_name": "id", "instrument_tokens": "instruments", "brokers": "active_brokers"}

#: Names that the older system had for strategies -> ours.
OLDER_TYPES = {
    "SimpleMomentumStrategy": "momentum",
    "MomentumStrategy": "momentum",
    "MeanReversionStrategy": "mean_reversion",
    "hybrid_ml_rsi_filter": "hybrid_ml_rsi",
}


class StrategyConfig(Strict):
    """`configs/strategies/NAME.yaml`. Immutable; `parameters` are checked by the strategy itself."""

    id: Identifier
    strategy_type: TypeName
    parameters: dict[str, Any] = {}
    instruments: tuple[InstrumentToken, ...] = Field(min_length=1)
    active_brokers: tuple[BrokerName, ...] = ("paper",)
    validator_type: TypeName = "standard"
    is_active: bool = True
    max_history: int = Field(100, ge=1, le=20_000, description="ticks kept for each instrument")
    max_position_size: int | None = Field(None, ge=1, le=10**12, description="units, long or short, per instrument")
    risk_multiplier: Decimal = Field(Decimal(1), gt=0, le=100, description="times the quantity a strategy asks for")

    @field_validator("instruments", mode="before")
    @classmethod
    def _tokens(cls, named: Any) -> Any:
        """Replace symbols of instruments by tokens. Raise `ValueError`."""
        if not isinstance(named, (list, tuple)) or not any(map(_is_name, named)):
            return named
        from alpha_cli.market.instruments import open_master, resolve

        master = None
        try:
            master = open_master()
            return [resolve(name, master) if _is_name(name) else name for name in named]
        except AlphaError as error:
            raise ValueError(str(error)) from None
        finally:
            if master is not None:
                master.close()

    @model_validator(mode="before")
    @classmethod
    def _older_form(cls, values: Any) -> Any:
        """Replace older names by the newer ones. Raise `ValueError` if both are given."""
        if not isinstance(values, Mapping):
            return values
        newer = dict(values)
        for old, new in OLDER_KEYS.items():
            if old in newer:
                if new in newer:
                    raise ValueError(f"{old} is the older name of {new}; keep one of them")
                newer[new] = newer.pop(old)
        if "strategy_class" in newer:
            if "strategy_type" in newer:
                raise ValueError("strategy_class is the older name of strategy_type; keep one of them")
            name, module = newer.pop("strategy_class"), newer.pop("module_name", None)
            newer["strategy_type"] = name if module is None or name in OLDER_TYPES else f"{module}:{name}"
        for key in ("strategy_type", "validator_type"):
            if isinstance(newer.get(key), str):
                newer[key] = OLDER_TYPES.get(newer[key], newer[key])
        return newer

    def fingerprint(self) -> str:
        """Return a hash of all that a processor is made from, so that state is not given to a different one."""
        file = file_of(self.strategy_type)
        # Of a file its content counts, not its path.
        made_from: list[object] = [self.strategy_type] if file is None else [file[1], _content(file[0])]
        made_from.append(sorted(self.parameters.items()))
        return blake2b(repr(made_from).encode(), digest_size=12).hexdigest()


def own_copy(config: StrategyConfig) -> StrategyConfig:
    """Return a copy that shares nothing that can change: a list of thousands of instruments is not copied for each."""
    return config.model_copy(update={name: deepcopy(value) for name, value in config if name != "instruments"})


def _is_name(instrument: object) -> bool:
    """Return whether this is a symbol. A token in quotes is not: it is a mistake and will be refused."""
    return isinstance(instrument, str) and not instrument.strip().isdigit() and bool(instrument.strip())


def file_of(target: str) -> tuple[str, str] | None:
    """Return path and factory of a type that is a file, as in `./mine.py:create_processor`; None if it is not one."""
    path, _, factory = target.rpartition(":")
    if path.endswith(".py"):
        return path, factory
    return (target, "") if target.endswith(".py") else None


def load_by_name(name: str) -> StrategyConfig:
    """Return the strategy called `name`, from the nearest folder that has it. Raise `ConfigurationError`."""
    if not NAME.fullmatch(name):
        mend = f"; run its YAML: --config {name[:-3]}.yaml" if name.endswith(".py") else "; for a file use --config"
        raise UsageError(f"{name!r} is not a strategy name: letters, digits, _ and - only{mend}")
    return load_file(find_config(f"strategies/{name}.yaml"))


def load_file(path: Path) -> StrategyConfig:
    """Return the strategy that the YAML file at `path` describes. Raise `ConfigurationError`.

    A type that is a file is taken relative to the folder of `path`.
    """
    refuse_if_anybody_writes(path)
    config = validate(read_yaml(path), StrategyConfig, str(path))
    changes = {key: str(path.parent / getattr(config, key)) for key in _TYPES if file_of(getattr(config, key))}
    return config.model_copy(update=changes) if changes else config


_TYPES = ("strategy_type", "validator_type")


def unique(configs: list[StrategyConfig]) -> list[StrategyConfig]:
    """Return `configs` if no id comes twice. Raise `ConfigurationError`."""
    seen: set[str] = set()
    for config in configs:
        if config.id in seen:
            raise ConfigurationError(f"two strategies have the id {config.id}; give one of them another")
        seen.add(config.id)
    return configs


class PinnedSources:
    """Content of strategy files that is used in place of the files: a worker runs what the main process has read."""

    def __init__(self) -> None:
        self._content: dict[str, bytes] = {}

    def pin(self, content: Mapping[str, bytes]) -> None:
        """Use `content`, by absolute path, from now on, and nothing that was pinned before."""
        self._content = dict(content)

    def get(self, path: str | Path) -> bytes | None:
        """Return the pinned content of the file at `path`; None if it is not pinned."""
        return self._content.get(str(Path(path).absolute())) if self._content else None


#: One for the process: a configuration's `fingerprint` and the import of its file must agree.
PINNED = PinnedSources()


def source_of(path: str | Path) -> bytes:
    """Return the content of a strategy's file. Raise `OSError`, or `ValueError` for an impossible path."""
    pinned = PINNED.get(path)
    return Path(path).read_bytes() if pinned is None else pinned


def _content(path: str) -> bytes:
    """Return the content of a user's strategy file, empty if it cannot be read."""
    try:
        return source_of(path)
    except (OSError, ValueError):  # the factory reports it
        return b""
