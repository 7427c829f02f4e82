"""Momentum: follow a price that has moved further than usual.

The return over the last `lookback` ticks is p / p[lookback ticks ago] - 1. Where it crosses above
+threshold the strategy buys, where it crosses below -threshold it sells; while it stays beyond, nothing
more happens.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import AliasChoices, Field

from alpha_cli import OrderParameters, SignalResult, Tick


class Parameters(OrderParameters):
    """The parameters, with bounds and units. Names of older configurations work too."""

    lookback: int = Field(
        20, ge=1, le=10_000, description="ticks",
        validation_alias=AliasChoices("lookback", "window", "lookback_period"),
    )  # fmt: skip
    threshold: float = Field(
        0.0005, gt=0, lt=1, description="fraction of the price",
        validation_alias=AliasChoices("threshold", "momentum_threshold"),
    )  # fmt: skip


class Momentum:
    """See the module. `history` holds the earlier ticks, oldest first."""

    tick_fields = ()  # of a tick, only token, time and price

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._lookback = parameters.lookback
        self._threshold = parameters.threshold
        self.min_history = parameters.lookback + 1

    def process_tick(self, tick: Tick, history: Sequence[Tick]) -> SignalResult | None:
        lookback = self._lookback
        try:
            change = tick.last_price / history[-lookback].last_price - 1
        except IndexError:  # not that many ticks yet
            return None
        threshold = self._threshold
        if -threshold <= change <= threshold:
            return None
        side = 1 if change > 0 else -1
        if len(history) > lookback:
            before = history[-1].last_price / history[-lookback - 1].last_price - 1
            if side * before > threshold:  # it was beyond already: no crossing
                return None
        parameters = self._parameters
        return SignalResult(
            "BUY" if side > 0 else "SELL",
            quantity=parameters.quantity,
            price=tick.last_price,
            confidence=min(abs(change) / (2 * threshold), 1.0),
            order_type=parameters.order_type,
            product=parameters.product,
            reasoning=f"return over {lookback} ticks {change:+.6f}, threshold {threshold}",
        )


def create_processor(**parameters: object) -> Momentum:
    """Return a processor for one instrument. Raise `pydantic.ValidationError`."""
    return Momentum(Parameters.model_validate(parameters))
