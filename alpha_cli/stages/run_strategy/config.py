"""What the user may set of a strategy: one YAML file each, or one row of `strategy_configurations`.

Two forms of the file are read. The older names (`strategy_name`, `strategy_class`, `module_name`,
`instrument_tokens`, `brokers`) become the newer ones before anything is checked. Instruments are tokens, or
names such as `NSE:INFY`, which become tokens here by what the newest dump says.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints, field_validator, model_validator

from alpha_cli.config.files import find_config
from alpha_cli.config.model import NAME, BrokerName, Strict, validate
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
        """Tokens for the instruments that are named by symbol. Raises `ValueError`."""
        if not isinstance(named, (list, tuple)) or not any(map(_is_name, named)):
            return named
        from alpha_cli.market.instruments import open_master, resolve

        master = None
        try:
            master = open_master()
            return [resolve(one, master) if _is_name(one) else one for one in named]
        except AlphaError as error:
            raise ValueError(str(error)) from None
        finally:
            if master is not None:
                master.close()

    @model_validator(mode="before")
    @classmethod
    def _older_form(cls, values: Any) -> Any:
        """The same configuration under the newer names. Raises `ValueError` if a thing is said twice."""
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
        """Changes with whatever a processor is made from, so that state is not given to another one."""
        file = file_of(self.strategy_type)
        # A file is what it says, whatever the way to it.
        made_from: list[object] = [self.strategy_type] if file is None else [file[1], _content(file[0])]
        made_from.append(sorted(self.parameters.items()))
        return blake2b(repr(made_from).encode(), digest_size=12).hexdigest()


def _is_name(instrument: object) -> bool:
    """A symbol rather than a token. A token in quotes is neither: it is a slip, and refused as one."""
    return isinstance(instrument, str) and not instrument.strip().isdigit() and bool(instrument.strip())


def file_of(target: str) -> tuple[str, str] | None:
    """Path and factory of a type that is a file, as in `./mine.py:create_processor`; None if it is not one."""
    path, _, factory = target.rpartition(":")
    if path.endswith(".py"):
        return path, factory
    return (target, "") if target.endswith(".py") else None


def load_by_name(name: str) -> StrategyConfig:
    """The strategy called `name`, from the nearest folder that has it. Raises `ConfigurationError`."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a strategy name: letters, digits, _ and - only; for a file use --config")
    return load_file(find_config(f"strategies/{name}.yaml"))


def load_file(path: Path) -> StrategyConfig:
    """The strategy that the YAML file at `path` describes. Raises `ConfigurationError`.

    A type that is a file is taken relative to the folder of `path`.
    """
    config = validate(read_yaml(path), StrategyConfig, str(path))
    changes = {key: str(path.parent / getattr(config, key)) for key in _TYPES if file_of(getattr(config, key))}
    return config.model_copy(update=changes) if changes else config


_TYPES = ("strategy_type", "validator_type")


def unique(configs: list[StrategyConfig]) -> list[StrategyConfig]:
    """`configs`, if no id comes twice. Raises `ConfigurationError`."""
    seen: set[str] = set()
    for config in configs:
        if config.id in seen:
            raise ConfigurationError(f"two strategies have the id {config.id}; give one of them another")
        seen.add(config.id)
    return configs


#: Absolute path -> what the file is taken to say, whatever was written to it since.
PINNED: dict[str, bytes] = {}


def source_of(path: str | Path) -> bytes:
    """What the file of a strategy says. Raises `OSError`, or `ValueError` for what no path can hold."""
    pinned = PINNED.get(str(Path(path).absolute())) if PINNED else None
    return Path(path).read_bytes() if pinned is None else pinned


def _content(path: str) -> bytes:
    """What the file of a strategy of one's own says now."""
    try:
        return source_of(path)
    except (OSError, ValueError):  # the factory will say what is wrong with it
        return b""
