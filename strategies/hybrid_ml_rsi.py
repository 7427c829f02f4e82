"""Hybrid: a trained model says when to trade, RSI says whether to.

The model answers the features of each tick (`alpha_cli.features`) with P, the probability that the price
will be higher some ticks from now. Where P crosses above `buy_above` the strategy buys, unless RSI over
`rsi_period` ticks is at `rsi_buy_below` or above: a rise that has already run its course is not followed.
Where P crosses below `sell_below` it sells, unless RSI is at `rsi_sell_above` or below. A crossing that
RSI forbids is skipped, so these are some of the signals of ml_momentum and never others.

The packaged model `direction` knows a pattern that was planted in a random walk by scripts/train.py. It
shows how a model trades. It is not a way to make money.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from alpha_cli import PRICES_NEEDED, RSI, ModelParameters, ModelStrategy, Tick


class Parameters(ModelParameters):
    """The parameters, with bounds and units."""

    rsi_period: int = Field(14, ge=2, le=10_000, description="ticks")
    rsi_buy_below: float = Field(70, gt=0, le=100, description="RSI, 0 to 100")
    rsi_sell_above: float = Field(30, ge=0, lt=100, description="RSI, 0 to 100")


class HybridMlRsi(ModelStrategy):
    """See the module. It sees each tick once, so its history is in its features and its RSI."""

    name = "hybrid_ml_rsi"

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self._parameters = parameters
        self.min_history = max(PRICES_NEEDED, parameters.rsi_period + 1)  # for `warmup`
        self._rsi = RSI(parameters.rsi_period)

    def extract_features(self, tick: Tick, history: Sequence[Tick]) -> tuple[float, ...] | None:
        """Take `tick`, once. Return its features, or None before there are enough prices."""
        self._rsi.update(tick.last_price)
        return super().extract_features(tick, history)

    def confirm(self, *, buys: bool) -> str | None:
        """Return what RSI adds to the reasoning, or None if it forbids the signal."""
        parameters, strength = self._parameters, self._rsi.value
        if strength is None:
            return None
        if strength >= parameters.rsi_buy_below if buys else strength <= parameters.rsi_sell_above:
            return None
        bound = f"below {parameters.rsi_buy_below:g}" if buys else f"above {parameters.rsi_sell_above:g}"
        return f"; RSI {strength:.2f}, {bound}"

    def warmup(self, history: Sequence[Tick]) -> None:
        """Start again with the ticks before the first that will be processed."""
        self._rsi = RSI(self._parameters.rsi_period)
        super().warmup(history)

    def snapshot(self) -> dict[str, Any]:
        """Return the state, ready for JSON, without the model."""
        state = super().snapshot()
        return {"features": state["features"], "rsi": self._rsi.snapshot(), "before": state["before"]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot`. Raise `ValueError`."""
        if set(state) != {"features", "rsi", "before"}:
            raise ValueError("not a state of hybrid_ml_rsi")
        rsi = RSI(self._parameters.rsi_period)
        rsi.restore(state["rsi"])
        super().restore({"features": state["features"], "before": state["before"]})
        self._rsi = rsi


def create_processor(**parameters: object) -> HybridMlRsi:
    """Return a processor for one instrument, without its model: call `load_model`. Raise `ValidationError`."""
    return HybridMlRsi(Parameters.model_validate(parameters))
