"""Mean reversion: lean against a price that has strayed from its recent mean.

The distance is z = (p - mean) / deviation over the last `lookback` prices, this one included, with
the population standard deviation. Where z crosses below -threshold the strategy buys, where it
crosses above +threshold it sells. A price that does not vary has no deviation and gives no signal.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from math import fsum, sqrt
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from alpha_cli import SignalResult, Tick


class Parameters(BaseModel):
    """What may be set, with bounds and units."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lookback: int = Field(50, ge=3, le=10_000, description="ticks")
    threshold: float = Field(2.5, gt=0, le=10, description="standard deviations")
    quantity: int = Field(1, ge=1, le=1_000_000, description="units of the instrument")
    order_type: Literal["MARKET", "LIMIT"] = "MARKET"
    product: Literal["MIS", "CNC", "NRML"] = "MIS"


class MeanReversion:
    """See the module. `history` holds the earlier ticks, oldest first."""

    tick_fields = ()

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self.min_history = parameters.lookback

    def process_tick(self, tick: Tick, history: Sequence[Tick]) -> SignalResult | None:
        lookback, threshold = self._parameters.lookback, self._parameters.threshold
        if len(history) < lookback - 1:
            return None
        prices = [past.last_price for past in islice(history, max(len(history) - lookback, 0), None)]
        prices.append(tick.last_price)
        z = _distance(prices[-lookback:])
        if -threshold <= z <= threshold:
            return None
        side = 1 if z > 0 else -1
        if len(prices) > lookback and side * _distance(prices[:-1]) > threshold:  # it was as far out already
            return None
        parameters = self._parameters
        return SignalResult(
            "SELL" if side > 0 else "BUY",
            quantity=parameters.quantity,
            price=tick.last_price,
            confidence=min(abs(z) / (2 * threshold), 1.0),
            order_type=parameters.order_type,
            product=parameters.product,
            reasoning=f"{z:+.3f} standard deviations from the mean of {lookback} ticks, threshold {threshold}",
        )


def _distance(prices: Sequence[float]) -> float:
    """How many standard deviations the last price lies from the mean; 0 if prices do not vary."""
    mean = fsum(prices) / len(prices)
    variance = fsum((price - mean) ** 2 for price in prices) / len(prices)
    # Rounding alone makes equal prices seem to vary by a few parts in 10^16.
    return (prices[-1] - mean) / sqrt(variance) if variance > (mean * 1e-12) ** 2 else 0.0


def create_processor(**parameters: object) -> MeanReversion:
    """A processor for one instrument. Raises `pydantic.ValidationError`."""
    return MeanReversion(Parameters.model_validate(parameters))
