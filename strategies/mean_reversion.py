"""Mean reversion: lean against a price that has strayed from its recent mean.

The distance is z = (p - mean) / deviation over the last `lookback` prices, this one included, with
the population standard deviation. Where z crosses below -threshold the strategy buys, where it
crosses above +threshold it sells. A price that does not vary has no deviation and gives no signal.

With `exit_threshold` it also leaves: once it has bought or sold it waits until z has come back to within
`exit_threshold` (or has gone past the mean to the other side), gives the opposite signal once, and only then
looks for the next entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from math import fsum, sqrt
from typing import Any

from pydantic import AliasChoices, Field, ValidationInfo, field_validator

from alpha_cli import OrderParameters, SignalResult, Tick


class Parameters(OrderParameters):
    """The parameters, with bounds and units. Names of older configurations work too."""

    lookback: int = Field(
        50, ge=3, le=10_000, description="ticks",
        validation_alias=AliasChoices("lookback", "window", "lookback_period"),
    )  # fmt: skip
    threshold: float = Field(
        2.5, gt=0, le=10, description="standard deviations",
        validation_alias=AliasChoices("threshold", "deviation_threshold", "entry_threshold"),
    )  # fmt: skip
    exit_threshold: float | None = Field(None, ge=0, le=10, description="standard deviations; None: never")

    @field_validator("exit_threshold")
    @classmethod
    def _inside_threshold(cls, exit_threshold: float | None, others: ValidationInfo) -> float | None:
        if exit_threshold is not None and exit_threshold >= others.data.get("threshold", 11):
            raise ValueError(f"must be below threshold, which is {others.data['threshold']:g}")
        return exit_threshold


class MeanReversion:
    """See the module. `history` holds the earlier ticks, oldest first."""

    tick_fields = ()

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self.min_history = parameters.lookback
        self._entered = 0  # with an exit_threshold: the side of the mean at the last entry, -1 or 1; 0 when out

    def process_tick(self, tick: Tick, history: Sequence[Tick]) -> SignalResult | None:
        lookback, threshold = self._parameters.lookback, self._parameters.threshold
        if len(history) < lookback - 1:
            return None
        prices = [past.last_price for past in islice(history, max(len(history) - lookback, 0), None)]
        prices.append(tick.last_price)
        z = _distance(prices[-lookback:])
        if self._entered:
            return self._leave(tick, z)
        if -threshold <= z <= threshold:
            return None
        side = 1 if z > 0 else -1
        if len(prices) > lookback and side * _distance(prices[:-1]) > threshold:  # it was as far out already
            return None
        parameters = self._parameters
        if parameters.exit_threshold is not None:
            self._entered = side
        return SignalResult(
            "SELL" if side > 0 else "BUY",
            quantity=parameters.quantity,
            price=tick.last_price,
            confidence=min(abs(z) / (2 * threshold), 1.0),
            order_type=parameters.order_type,
            product=parameters.product,
            reasoning=f"{z:+.3f} standard deviations from the mean of {lookback} ticks, threshold {threshold}",
        )

    def snapshot(self) -> dict[str, Any]:
        """Return the state, ready for JSON."""
        return {"entered": self._entered}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot`. Raise `ValueError`."""
        if set(state) != {"entered"} or state["entered"] not in (-1, 0, 1):
            raise ValueError(f"not a state of mean_reversion: {state}")
        # Without an exit_threshold an entry would never be left, nor followed by another.
        self._entered = 0 if self._parameters.exit_threshold is None else state["entered"]

    def _leave(self, tick: Tick, z: float) -> SignalResult | None:
        parameters = self._parameters
        bound = parameters.exit_threshold
        if bound is None or z * self._entered > bound:
            return None
        side, self._entered = self._entered, 0
        return SignalResult(
            "BUY" if side > 0 else "SELL",
            quantity=parameters.quantity,
            price=tick.last_price,
            confidence=1.0,
            order_type=parameters.order_type,
            product=parameters.product,
            reasoning=f"exit: {z:+.3f} standard deviations from the mean of {parameters.lookback} ticks, "
            f"exit_threshold {bound}",
        )


def _distance(prices: Sequence[float]) -> float:
    """Return the distance of the last price from the mean in standard deviations; 0 if prices do not vary."""
    mean = fsum(prices) / len(prices)
    variance = fsum((price - mean) ** 2 for price in prices) / len(prices)
    # Rounding alone makes equal prices seem to vary by a few parts in 10^16.
    return (prices[-1] - mean) / sqrt(variance) if variance > (mean * 1e-12) ** 2 else 0.0


def create_processor(**parameters: object) -> MeanReversion:
    """Return a processor for one instrument. Raise `pydantic.ValidationError`."""
    return MeanReversion(Parameters.model_validate(parameters))
