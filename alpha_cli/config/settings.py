"""The settings of a deployment: `alpha.yaml`, and what the environment says before it."""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from alpha_cli.config.files import find_config
from alpha_cli.config.model import BrokerName, Strict, read_config, validate


class Settings(Strict):
    """`alpha.yaml`: what holds for a whole deployment."""

    active_brokers: tuple[BrokerName, ...] = ("paper",)
    opening_cash: dict[BrokerName, Annotated[Decimal, Field(ge=0, lt=10**12, decimal_places=4)]] = {}


def load_settings() -> Settings:
    """`alpha.yaml`, with `ALPHA_ACTIVE_BROKERS` (comma separated) before it."""
    settings = read_config(find_config("alpha.yaml"), Settings)
    brokers = os.environ.get("ALPHA_ACTIVE_BROKERS")
    if brokers is not None:
        names = [name.strip() for name in brokers.split(",") if name.strip()]
        settings = validate({**settings.model_dump(), "active_brokers": names}, Settings, "ALPHA_ACTIVE_BROKERS")
    return settings
