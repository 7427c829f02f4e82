"""Base class for strategies that follow a trained model: it estimates the probability of a rise at each tick.

Where the probability P crosses above `buy_above` the strategy buys, where it crosses below `sell_below` it sells;
while P stays beyond, nothing more happens. The first P is no crossing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from alpha_cli.core.events import Tick
from alpha_cli.kit.features import PRICES_NEEDED, Features
from alpha_cli.kit.models import Model, load_model
from alpha_cli.kit.parameters import OrderParameters
from alpha_cli.kit.signal_result import SignalResult


class ModelParameters(OrderParameters):
    """The model, and the probabilities at which a strategy trades."""

    model: str = Field("direction", min_length=1, description="a packaged model, or a path that ends in .onnx")
    buy_above: float = Field(0.7, gt=0, lt=1, description="probability of a rise")
    sell_below: float = Field(0.3, gt=0, lt=1, description="probability of a rise", validate_default=True)

    @field_validator("sell_below")
    @classmethod
    def _below_buy_above(cls, sell_below: float, others: ValidationInfo) -> float:
        if sell_below >= others.data.get("buy_above", 1):
            raise ValueError(f"must be below buy_above, which is {others.data['buy_above']:g}")
        return sell_below


class ModelStrategy:
    """Trades the crossings of a model's probability. It sees each tick once, so its history is in its features."""

    name: ClassVar[str]  # of the type, for error messages
    tick_fields: ClassVar[tuple[str, ...]] = ()
    min_history: int = PRICES_NEEDED  # for `warmup`

    def __init__(self, parameters: ModelParameters) -> None:
        self._order = parameters
        self._features = Features()
        self._price = 0.0  # of the tick whose features were computed last
        self._before: float | None = None  # P at the previous tick
        self.model: Model | None = None  # one model may serve the processors of several instruments

    def load_model(self) -> bool:
        """Read the model. Raise `ConfigurationError` if it cannot be used."""
        self.model = load_model(self._order.model)
        return True

    def process_tick(self, tick: Tick, history: Sequence[Tick]) -> SignalResult | None:
        """Return the signal for `tick`, if its probability crosses a bound."""
        features = self.extract_features(tick, history)
        return None if features is None else self.predict_signal(features)

    def extract_features(self, tick: Tick, history: Sequence[Tick]) -> tuple[float, ...] | None:  # noqa: ARG002
        """Take `tick`, once. Return its features, or None before there are enough prices."""
        self._price = tick.last_price
        return self._features.update(tick.last_price)

    def predict_signal(self, features: Sequence[float]) -> SignalResult | None:
        """Return the signal for the features of the newest tick."""
        if self.model is None:
            raise RuntimeError("there is no model: call load_model() first")
        order = self._order
        before, rise = self._before, self.model.probability(features)
        self._before = rise
        if before is None:
            return None
        buys = rise > order.buy_above >= before
        if not buys and not rise < order.sell_below <= before:
            return None
        confirmation = self.confirm(buys=buys)
        if confirmation is None:
            return None
        bound = f"above {order.buy_above:g}" if buys else f"below {order.sell_below:g}"
        return SignalResult(
            "BUY" if buys else "SELL",
            quantity=order.quantity,
            price=self._price,
            confidence=rise if buys else 1 - rise,
            order_type=order.order_type,
            product=order.product,
            reasoning=f"probability of a rise {rise:.4f}, {bound}{confirmation}",
        )

    def confirm(self, *, buys: bool) -> str | None:  # noqa: ARG002  (for those that override it)
        """Return what to add to the reasoning of a crossing, or None if it is not to be traded."""
        return ""

    def warmup(self, history: Sequence[Tick]) -> None:
        """Start again with the ticks before the first that will be processed."""
        self._features, self._before = Features(), None
        for tick in history:
            features = self.extract_features(tick, ())
            if features is not None and self.model is not None:
                self._before = self.model.probability(features)

    def snapshot(self) -> dict[str, Any]:
        """Return the state, ready for JSON, without the model."""
        return {"features": self._features.snapshot(), "before": self._before}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot`. Raise `ValueError`."""
        if set(state) != {"features", "before"}:
            raise ValueError(f"not a state of {self.name}")
        self._features.restore(state["features"])
        self._before = state["before"]
