"""What the user may set of risk: `risk.yaml`."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import Field

from alpha_cli.cli import did_you_mean
from alpha_cli.errors import ConfigurationError
from alpha_cli.settings import BROKERS, BrokerName, Strict, find_config, read_config

Units = Annotated[int, Field(gt=0, le=10**12, strict=True)]  # `yes` is not a number
Amount = Annotated[Decimal, Field(gt=0, le=10**12)]


class BrokerLimits(Strict):
    """The limits of one broker account. None is unset: off for `paper`, a refusal for others."""

    max_order_quantity: Units | None = Field(None, description="units in one order")
    max_order_value: Amount | None = Field(None, description="rupees in one order")
    max_position: Units | None = Field(None, description="units, long or short, in one instrument")
    price_band: Annotated[Decimal, Field(gt=0, lt=1)] | None = Field(None, description="fraction of the last price")
    session_hours: bool | None = Field(None, strict=True, description="only in the continuous session")


class Limits(Strict):
    """`risk.yaml`."""

    brokers: dict[BrokerName, BrokerLimits]

    def of(self, broker: str) -> BrokerLimits:
        """The limits of `broker`; all unset for one that the file does not name."""
        return self.brokers.get(broker, _UNSET)

    def hash(self) -> str:
        """16 characters that name these limits; written into every order."""
        import json
        from hashlib import sha256

        written = json.dumps(self.model_dump(mode="json"), sort_keys=True)  # the order of brokers means nothing
        return sha256(written.encode()).hexdigest()[:16]


_UNSET = BrokerLimits()


def load_limits(path: Path | None) -> Limits:
    """The limits in the file at `path`, or in the nearest `risk.yaml`. Raises `ConfigurationError`."""
    path = path or find_config("risk.yaml")
    limits = read_config(path, Limits)
    for name in limits.brokers:
        if name not in BROKERS:  # a slip here would leave the broker that was meant without limits
            raise ConfigurationError(f"{path}: brokers.{name}: no such broker{did_you_mean(name, BROKERS)}")
    return limits
