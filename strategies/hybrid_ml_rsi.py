"""Hybrid: a trained model says when, RSI says whether.

The model answers the features of each tick (`alpha_cli.kit.features`) with P, the probability that the price
will be higher some ticks from now. Where P crosses above `buy_above` the strategy buys, unless RSI over
`rsi_period` ticks is at `rsi_buy_below` or above: a rise that has already run its course is not followed.
Where P crosses below `sell_below` it sells, unless RSI is at `rsi_sell_above` or below. A crossing that
RSI forbids is let go, so these are some of the signals of ml_momentum and never others.

The packaged model `direction` knows a pattern that was planted in a random walk by scripts/train.py. It
shows how a model trades. It is not a way to make money.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from alpha_cli import SignalResult, Tick
from alpha_cli.kit.features import PRICES_NEEDED, Features
from alpha_cli.kit.indicators import RSI
from alpha_cli.kit.models import Model, find, load


class Parameters(BaseModel):
    """What may be set, with bounds and units."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field("direction", min_length=1, description="a packaged model, or a path that ends in .onnx")
    buy_above: float = Field(0.7, gt=0, lt=1, description="probability of a rise")
    sell_below: float = Field(0.3, gt=0, lt=1, description="probability of a rise", validate_default=True)
    rsi_period: int = Field(14, ge=2, le=10_000, description="ticks")
    rsi_buy_below: float = Field(70, gt=0, le=100, description="RSI, 0 to 100")
    rsi_sell_above: float = Field(30, ge=0, lt=100, description="RSI, 0 to 100")
    quantity: int = Field(1, ge=1, le=1_000_000, description="units of the instrument")
    order_type: Literal["MARKET", "LIMIT"] = "MARKET"
    product: Literal["MIS", "CNC", "NRML"] = "MIS"

    @field_validator("sell_below")
    @classmethod
    def _below_buy_above(cls, sell_below: float, others: ValidationInfo) -> float:
        if sell_below >= others.data.get("buy_above", 1):
            raise ValueError(f"must be below buy_above, which is {others.data['buy_above']:g}")
        return sell_below


class HybridMlRsi:
    """See the module. It looks at each tick once, so its history is in its features and its RSI."""

    tick_fields = ()

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self.min_history = max(PRICES_NEEDED, parameters.rsi_period + 1)  # for `warmup`
        self._features = Features()
        self._rsi = RSI(parameters.rsi_period)
        self._price = 0.0  # of the tick whose features were taken last
        self._before: float | None = None  # P at the tick before
        self.model: Model | None = None  # one model may serve the processors of several instruments

    def load_model(self) -> bool:
        """Read the model. Raises `ConfigurationError` with the reason if it cannot be used."""
        self.model = load(find(self._parameters.model))
        return True

    def process_tick(self, tick: Tick, history: Sequence[Tick]) -> SignalResult | None:
        features = self.extract_features(tick, history)
        return None if features is None else self.predict_signal(features)

    def extract_features(self, tick: Tick, history: Sequence[Tick]) -> tuple[float, ...] | None:  # noqa: ARG002
        """Take the tick in, once; its features, or None before there are prices enough."""
        self._price = tick.last_price
        self._rsi.update(tick.last_price)
        return self._features.update(tick.last_price)

    def predict_signal(self, features: Sequence[float]) -> SignalResult | None:
        """What to do about the features of the newest tick."""
        if self.model is None:
            raise RuntimeError("there is no model: call load_model() first")
        parameters = self._parameters
        before, rise = self._before, self.model.probability(features)
        self._before = rise
        strength = self._rsi.value
        if before is None or strength is None:
            return None
        buys = rise > parameters.buy_above >= before
        if not buys and not rise < parameters.sell_below <= before:
            return None
        if strength >= parameters.rsi_buy_below if buys else strength <= parameters.rsi_sell_above:
            return None
        bound = f"above {parameters.buy_above:g}" if buys else f"below {parameters.sell_below:g}"
        gate = f"below {parameters.rsi_buy_below:g}" if buys else f"above {parameters.rsi_sell_above:g}"
        return SignalResult(
            "BUY" if buys else "SELL",
            quantity=parameters.quantity,
            price=self._price,
            confidence=rise if buys else 1 - rise,
            order_type=parameters.order_type,
            product=parameters.product,
            reasoning=f"probability of a rise {rise:.4f}, {bound}; RSI {strength:.2f}, {gate}",
        )

    def warmup(self, history: Sequence[Tick]) -> None:
        """Begin anew, with the ticks before the first that will be processed."""
        self._features, self._rsi, self._before = Features(), RSI(self._parameters.rsi_period), None
        for tick in history:
            features = self.extract_features(tick, ())
            if features is not None and self.model is not None:
                self._before = self.model.probability(features)

    def snapshot(self) -> dict[str, Any]:
        """The state, ready for JSON. The model is not part of it."""
        return {"features": self._features.snapshot(), "rsi": self._rsi.snapshot(), "before": self._before}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `snapshot`. Raises `ValueError`."""
        if set(state) != {"features", "rsi", "before"}:
            raise ValueError("not a state of hybrid_ml_rsi")
        rsi = RSI(self._parameters.rsi_period)
        rsi.restore(state["rsi"])
        self._features.restore(state["features"])
        self._rsi, self._before = rsi, state["before"]


def create_processor(**parameters: object) -> HybridMlRsi:
    """A processor for one instrument, without its model: call `load_model`. Raises `pydantic.ValidationError`."""
    return HybridMlRsi(Parameters.model_validate(parameters))
