"""RSI rules: buy what has fallen too fast, sell what has risen too fast.

The strength is Wilder's RSI(`period`) over the ticks. Where it crosses from `oversold` or above to below
`oversold` the strategy buys, where it crosses from `overbought` or below to above `overbought` it sells;
while it stays there, nothing more happens. The very first value is no crossing, because nothing is known
before it. The textbook's 30 and 70 are meant for daily bars; ticks reach them every minute or so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from alpha_cli import RSI, OrderParameters, SignalResult, Tick


class Parameters(OrderParameters):
    """The parameters, with bounds and units."""

    period: int = Field(14, ge=2, le=10_000, description="ticks")
    oversold: float = Field(30, gt=0, lt=100, description="RSI, 0 to 100")
    overbought: float = Field(70, gt=0, lt=100, description="RSI, 0 to 100", validate_default=True)

    @field_validator("overbought")
    @classmethod
    def _above_oversold(cls, overbought: float, others: ValidationInfo) -> float:
        if overbought <= others.data.get("oversold", 0):
            raise ValueError(f"must be above oversold, which is {others.data['oversold']:g}")
        return overbought


class RulesRsi:
    """See the module. It sees each tick once, so its history is in its RSI."""

    tick_fields = ()

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._rsi = RSI(parameters.period)
        self.min_history = parameters.period + 1  # for `warmup`

    def process_tick(self, tick: Tick, history: Sequence[Tick]) -> SignalResult | None:  # noqa: ARG002
        parameters = self._parameters
        before = self._rsi.value
        strength = self._rsi.update(tick.last_price)
        if before is None or strength is None:
            return None
        oversold, overbought = parameters.oversold, parameters.overbought
        if strength < oversold <= before:
            depth, zone = 1 - strength / oversold, f"below {oversold:g}"
        elif strength > overbought >= before:
            depth, zone = 1 - (100 - strength) / (100 - overbought), f"above {overbought:g}"
        else:
            return None
        return SignalResult(
            "BUY" if strength < oversold else "SELL",
            quantity=parameters.quantity,
            price=tick.last_price,
            confidence=(1 + depth) / 2,  # a half at the edge of the zone, 1 at its far end
            order_type=parameters.order_type,
            product=parameters.product,
            reasoning=f"RSI over {parameters.period} ticks {strength:.2f}, {zone}",
        )

    def warmup(self, history: Sequence[Tick]) -> None:
        """Start again with the ticks before the first that will be processed."""
        self._rsi = RSI(self._parameters.period)
        for tick in history:
            self._rsi.update(tick.last_price)

    def snapshot(self) -> dict[str, Any]:
        """Return the state, ready for JSON."""
        return self._rsi.snapshot()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot`. Raise `ValueError` if it is that of another period."""
        self._rsi.restore(state)


def create_processor(**parameters: object) -> RulesRsi:
    """Return a processor for one instrument. Raise `pydantic.ValidationError`."""
    return RulesRsi(Parameters.model_validate(parameters))
