"""The settings of a deployment, and where each one comes from.

A flag is before the environment, the environment before `alpha.yaml`, and that before the default. Every setting has a
place in the file and a variable: `retries.attempts` is ALPHA_RETRIES_ATTEMPTS.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, Field, field_validator, model_validator

from alpha_cli.config.defaults import OPENING_CASH
from alpha_cli.config.environment import SETTINGS, variable
from alpha_cli.config.files import find_config
from alpha_cli.config.model import BrokerName, Strict, validate
from alpha_cli.config.yaml_file import read_yaml
from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.events import BROKERS
from alpha_cli.core.text import did_you_mean

FILE = "alpha.yaml"


def _no_flag(value: Any) -> Any:
    """Refuse yes and no, which YAML reads as numbers."""
    if isinstance(value, bool):
        raise ValueError("write a number")
    return value


Rupees = Annotated[Decimal, Field(ge=0, lt=10**12, decimal_places=4)]
Seconds = Annotated[float, BeforeValidator(_no_flag), Field(gt=0, le=3600)]
Prefix = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]  # as Kafka allows in a topic


class Retries(Strict):
    """How often a call to a service is repeated, and after how long; the delay doubles each time."""

    attempts: Annotated[int, BeforeValidator(_no_flag)] = Field(
        5, ge=1, le=100, description="calls in all before one is given up"
    )
    base_delay: Seconds = Field(0.5, description="seconds before the second call")
    max_delay: Seconds = Field(30.0, description="seconds between two calls at most")

    @model_validator(mode="after")
    def _in_order(self) -> Retries:
        if self.max_delay < self.base_delay:
            raise ValueError("max_delay is less than base_delay")
        return self


class Timeouts(Strict):
    """How long a service may take."""

    connect: Seconds = Field(5.0, description="seconds to connect to a service")
    read: Seconds = Field(10.0, description="seconds to wait for its answer")


class Kafka(Strict):
    """Names in a Kafka cluster that others use too."""

    topic_prefix: Prefix = Field("alpha", description="how the names of topics begin")
    group_prefix: Prefix = Field("alpha", description="how the names of consumer groups begin")


class Settings(Strict):
    """`alpha.yaml`: what holds for a whole deployment."""

    active_brokers: tuple[BrokerName, ...] = Field(("paper",), description="brokers that signals may go to")
    default_brokers: tuple[BrokerName, ...] = Field(("paper",), description="brokers of a strategy that names none")
    opening_cash: dict[BrokerName, Rupees] = Field(
        OPENING_CASH, description="rupees in each broker's account before any fill"
    )
    retries: Retries = Retries()
    timeouts: Timeouts = Timeouts()
    kafka: Kafka = Kafka()
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="what is worth a log line")

    @field_validator("active_brokers", "default_brokers", "opening_cash")
    @classmethod
    def _known_brokers(cls, given: Any) -> Any:
        """Refuse a broker that is none: nothing would ever go there, and nobody would say so."""
        unknown = next((broker for broker in given if broker not in BROKERS), None)
        if unknown is not None:
            raise ValueError(f"no broker {unknown!r}{did_you_mean(unknown, BROKERS)}")
        return given

    @field_validator("opening_cash")
    @classmethod
    def _and_defaults(cls, given: dict[str, Decimal]) -> dict[str, Decimal]:
        """Keep the default of a broker that is not given."""
        return {**OPENING_CASH, **given}


#: Settings that have their place, and nothing that reads them yet.
NOT_USED_YET = frozenset(SETTINGS) - {"active_brokers", "opening_cash"}


class Setting(NamedTuple):
    """One value; of `opening_cash`, that of one broker.

    name     its place in the file, as retries.attempts
    origin   `default`, `file PATH`, `environment NAME` or `flag --NAME`
    meaning  what it is
    """

    name: str
    value: Any
    origin: str
    meaning: str


class Sourced(NamedTuple):
    """The settings, where each value comes from (by its place), and the file in force."""

    settings: Settings
    origins: Mapping[str, str]
    file: Path

    def rows(self) -> Iterator[Setting]:
        """Yield each setting, in the order of the model."""
        for name in SETTINGS:
            owner: BaseModel = self.settings
            *groups, last = name.split(".")
            for group in groups:
                owner = getattr(owner, group)
            value, meaning = getattr(owner, last), str(type(owner).model_fields[last].description)
            meaning += " (not used yet)" if name in NOT_USED_YET else ""
            several = {f"{name}.{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
            for place, one in several.items():
                yield Setting(place, one, self.origins.get(place, "default"), meaning)


def load_settings(flags: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings; see `load_sourced`."""
    return load_sourced(flags).settings


def load_sourced(flags: Mapping[str, Any] | None = None) -> Sourced:
    """Return the settings and where they come from. Raise `ConfigurationError`.

    flags  values from the command line, by their place: {"log_level": "debug"}
    """
    file = find_config(FILE)
    values = read_yaml(file)
    values = {} if values is None else values
    settings = validate(values, Settings, str(file))
    origins = dict.fromkeys(_places(values), f"file {file}")
    for kind, layer in (("environment", _from_environment()), ("flag", dict(flags or {}))):
        for name, value in layer.items():
            _put(values, name, value)
            origins.update(dict.fromkeys(_places({name: value}), f"{kind} {_called(kind, name)}"))
        if layer:
            settings = validate(values, Settings, ", ".join(_called(kind, name) for name in layer))
    return Sourced(settings, origins, file)


def _from_environment() -> dict[str, Any]:
    """Return what the environment sets, by its place. Raise `ConfigurationError`."""
    found = {name: os.environ[variable(name)] for name in SETTINGS if variable(name) in os.environ}
    return {name: _READERS.get(name, str.strip)(text) for name, text in found.items()}


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _amounts(text: str) -> dict[str, str]:
    """Read `paper=250000,zerodha=500000`. Raise `ConfigurationError`."""
    pairs = [pair.partition("=") for pair in _names(text)]
    if not all(equals for _, equals, _ in pairs):
        raise ConfigurationError(f"{variable('opening_cash')}: write BROKER=RUPEES, as paper=1000000,zerodha=500000")
    return {name.strip(): amount.strip() for name, _, amount in pairs}


_READERS: dict[str, Any] = {"active_brokers": _names, "default_brokers": _names, "opening_cash": _amounts}


def _called(kind: str, name: str) -> str:
    """Return what sets `name` is called: a variable of the environment, or a flag."""
    return variable(name) if kind == "environment" else "--" + name.replace("_", "-").replace(".", "-")


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    """Set the value at the place `name`; what it says of one broker leaves the others."""
    *groups, last = name.split(".")
    for group in groups:
        values = values.setdefault(group, {})
    values[last] = {**values.get(last, {}), **value} if isinstance(value, dict) else value


def _places(values: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """Yield the place of each value, as retries.attempts or opening_cash.paper."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _places(value, f"{within}{name}.")
        else:
            yield f"{within}{name}"
