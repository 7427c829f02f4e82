"""What people write: how configuration files are read, and the settings of a deployment.

Where a file is looked for, `config_files` says. It is YAML, checked by a pydantic model that refuses what it does
not know.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeVar

# pydantic would ask every installed package whether it has a plugin, which costs time at each start
# and lets any of them into the checking of limits.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alpha_cli.config_files import (
    config_folders as config_folders,  # noqa: PLC0414  (others import it from here)
    config_names as config_names,  # noqa: PLC0414  (others import it from here)
    find_config as find_config,  # noqa: PLC0414  (others import it from here)
    packaged as packaged,  # noqa: PLC0414  (others import it from here)
)
from alpha_cli.errors import ConfigurationError, printable, shown
from alpha_cli.events import BROKERS as BROKERS  # noqa: PLC0414  (others import it from here)

MAX_FILE = 1 << 20  # bytes; a configuration is written by hand
MAX_DEPTH = 32  # of nesting
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

#: A key that is a date, as pydantic names it.
_DATE_KEY = re.compile(r"datetime\.date\((\d+), (\d+), (\d+)\)")

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """A part of a configuration: immutable, and a key that is not known is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


BrokerName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]


class Settings(Strict):
    """`alpha.yaml`: what holds for a whole deployment."""

    active_brokers: tuple[BrokerName, ...] = ("paper",)
    opening_cash: dict[BrokerName, Annotated[Decimal, Field(ge=0, lt=10**12, decimal_places=4)]] = {}


def read_config(path: Path, model: type[Model]) -> Model:
    """The file at `path` as `model`. Raises `ConfigurationError` naming file, key and mend."""
    return validate(read_yaml(path), model, str(path))


def load_settings() -> Settings:
    """`alpha.yaml`, with `ALPHA_ACTIVE_BROKERS` (comma separated) before it."""
    settings = read_config(find_config("alpha.yaml"), Settings)
    brokers = os.environ.get("ALPHA_ACTIVE_BROKERS")
    if brokers is not None:
        names = [name.strip() for name in brokers.split(",") if name.strip()]
        settings = validate({**settings.model_dump(), "active_brokers": names}, Settings, "ALPHA_ACTIVE_BROKERS")
    return settings


def validate(values: Any, model: type[Model], where: str) -> Model:
    """`values` as `model`. Raises `ConfigurationError` with every fault on one line."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(_fault(fault, model) for fault in error.errors()[:5])
        raise ConfigurationError(f"{where}: {printable(faults, 400)}") from None


def read_yaml(path: Path) -> Any:
    """The YAML document at `path`, without aliases, deep nesting or a key given twice."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    if len(text) > MAX_FILE:
        raise ConfigurationError(f"{path}: larger than {MAX_FILE} bytes")
    try:
        _check_shape(text)
        return yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:  # what odd tags raise
        raise ConfigurationError(f"{path}: not usable YAML: {' '.join(str(error).split())}") from None


_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _check_shape(text: bytes) -> None:
    """Refuse aliases, and nesting that would overflow the stack of the parser in C."""
    depth = 0
    for event in yaml.parse(text, _SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"aliases (*{event.anchor}) are not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.YAMLError(f"nested deeper than {MAX_DEPTH}")


class _Loader(_SafeLoader):  # type: ignore[misc]
    """Safe YAML in which a key given twice is an error, and not the last of them winning."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002  (as inherited)
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.YAMLError(f"key {name} is given twice, line {key.start_mark.line + 1}")
            seen.add(name)
        return super().construct_mapping(node, deep)


def _fault(fault: Any, model: type[BaseModel]) -> str:
    where = ".".join(_DATE_KEY.sub(_as_written, str(part)) for part in fault["loc"])
    if fault["type"] != "extra_forbidden":
        said = fault["msg"].partition(" or instance of ")[0]  # the name of a class says nothing to who wrote a file
        got = "nothing" if fault["input"] is None else shown(fault["input"])
        observed = "" if fault["type"] == "missing" else f", got {got}"
        return f"{where or 'the file'}: {said[:1].lower()}{said[1:]}{observed}"
    from alpha_cli.cli import did_you_mean

    return f"unknown key {where}{did_you_mean(str(fault['loc'][-1]), _keys_at(model, fault['loc'][:-1]))}"


def _as_written(found: re.Match[str]) -> str:
    return f"{found[1]}-{found[2]:0>2}-{found[3]:0>2}"


def _keys_at(model: Any, path: tuple[Any, ...]) -> list[str]:
    """The keys that the model knows at `path`; for the suggestion in an error."""
    choices = [model]
    for part in path:
        field = getattr(choices[0], "model_fields", {}).get(part)
        if field is not None:
            choices = list(_models(field.annotation)) or choices
        elif len(choices) > 1:  # of several that are possible, pydantic names the one it tried
            choices = [one for one in choices if _is_called(one, part)] or choices
    return list(getattr(choices[0], "model_fields", {}))


def _models(annotation: Any) -> Iterator[Any]:
    """The models that a value of this type may be, however deep they stand in unions."""
    if hasattr(annotation, "model_fields"):
        yield annotation
    for arg in getattr(annotation, "__args__", ()):
        yield from _models(arg)


def _is_called(model: Any, name: Any) -> bool:
    """Whether pydantic means `model` by `name`: its class, or what a field of it says that tells it from others."""
    literals = (getattr(field.annotation, "__args__", ()) for field in model.model_fields.values())
    return bool(model.__name__ == name) or any(name in words for words in literals)
