"""ML momentum: a trained model estimates the chance of a rise; follow it where it is sure.

The model answers the features of each tick (`alpha_cli.kit.features`) with P, the probability that the price
will be higher some ticks from now. Where P crosses above `buy_above` the strategy buys, where it crosses
below `sell_below` it sells; while P stays beyond, it says nothing more, and the first P is no crossing.

The packaged model `direction` knows a pattern that was planted in a random walk by scripts/train.py. It
shows how a model trades. It is not a way to make money.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from alpha_cli import SignalResult, Tick
from alpha_cli.kit.features import PRICES_NEEDED, Features
from alpha_cli.kit.models import Model, find, load


class Parameters(BaseModel):
    """What may be set, with bounds and units."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field("direction", min_length=1, description="a packaged model, or a path that ends in .onnx")
    buy_above: float = Field(0.7, gt=0, lt=1, description="probability of a rise")
    sell_below: float = Field(0.3, gt=0, lt=1, description="probability of a rise", validate_default=True)
    quantity: int = Field(1, ge=1, le=1_000_000, description="units of the instrument")
    order_type: Literal["MARKET", "LIMIT"] = "MARKET"
    product: Literal["MIS", "CNC", "NRML"] = "MIS"

    @field_validator("sell_below")
    @classmethod
    def _below_buy_above(cls, sell_below: float, others: ValidationInfo) -> float:
        if sell_below >= others.data.get("buy_above", 1):
            raise ValueError(f"must be below buy_above, which is {others.data['buy_above']:g}")
        return sell_below


class MlMomentum:
    """See the module. It looks at each tick once, so its history is in its features."""

    tick_fields = ()
    min_history = PRICES_NEEDED  # for `warmup`

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._features = Features()
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
        return self._features.update(tick.last_price)

    def predict_signal(self, features: Sequence[float]) -> SignalResult | None:
        """What to do about the features of the newest tick."""
        if self.model is None:
            raise RuntimeError("there is no model: call load_model() first")
        parameters = self._parameters
        before, rise = self._before, self.model.probability(features)
        self._before = rise
        if before is None:
            return None
        buys = rise > parameters.buy_above >= before
        if not buys and not rise < parameters.sell_below <= before:
            return None
        bound = f"above {parameters.buy_above:g}" if buys else f"below {parameters.sell_below:g}"
        return SignalResult(
            "BUY" if buys else "SELL",
            quantity=parameters.quantity,
            price=self._price,
            confidence=rise if buys else 1 - rise,
            order_type=parameters.order_type,
            product=parameters.product,
            reasoning=f"probability of a rise {rise:.4f}, {bound}",
        )

    def warmup(self, history: Sequence[Tick]) -> None:
        """Begin anew, with the ticks before the first that will be processed."""
        self._features, self._before = Features(), None
        for tick in history:
            features = self.extract_features(tick, ())
            if features is not None and self.model is not None:
                self._before = self.model.probability(features)

    def snapshot(self) -> dict[str, Any]:
        """The state, ready for JSON. The model is not part of it."""
        return {"features": self._features.snapshot(), "before": self._before}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `snapshot`. Raises `ValueError`."""
        if set(state) != {"features", "before"}:
            raise ValueError("not a state of ml_momentum")
        self._features.restore(state["features"])
        self._before = state["before"]


def create_processor(**parameters: object) -> MlMomentum:
    """A processor for one instrument, without its model: call `load_model`. Raises `pydantic.ValidationError`."""
    return MlMomentum(Parameters.model_validate(parameters))
