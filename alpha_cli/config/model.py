"""Models of configurations: immutable, and an unknown key is an error."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

# pydantic would ask every installed package whether it has a plugin, which costs time at each start
# and lets any of them into the checking of limits.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alpha_cli.config.faults import describe_fault
from alpha_cli.config.yaml_file import read_yaml
from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.text import printable

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """A part of a configuration: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


BrokerName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]


def read_config(path: Path, model: type[Model]) -> Model:
    """Read the file at `path` as `model`. Raise `ConfigurationError` naming file, key and remedy."""
    return validate(read_yaml(path), model, str(path))


def validate(values: Any, model: type[Model], where: str) -> Model:
    """Return `values` as `model`. Raise `ConfigurationError` with every fault on one line."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(describe_fault(fault, model) for fault in error.errors()[:5])
        raise ConfigurationError(f"{where}: {printable(faults, 400)}") from None
