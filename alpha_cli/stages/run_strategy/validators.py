"""The validators that come with alpha: `standard`, the default, and `strict`.

`validate_signal` returns the reason why a result is refused, or None. The quantity it gets is already multiplied
by the strategy's `risk_multiplier`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from alpha_cli.core.events import Bar, Fill, Tick
from alpha_cli.stages.run_strategy.config import StrategyConfig
from alpha_cli.stages.run_strategy.context import Context

#: Largest distance of a strict signal's price from the price that caused it, as a fraction.
STRICT_PRICE_BAND = 0.05


class StandardValidator:
    """The checks that every signal needs."""

    def validate_configuration(self, config: StrategyConfig) -> Iterable[str]:
        """Accept every `StrategyConfig`."""
        del config
        return ()

    def validate_signal(self, result: Any, event: Tick | Bar | Fill, context: Context) -> str | None:
        """Require a price where the order needs one, and no position beyond `max_position_size`."""
        if result.signal_type == "HOLD":
            return None
        if result.order_type == "LIMIT" and result.price is None:
            return "a LIMIT order needs a price"
        most = context.max_position_size
        if most is not None:
            for broker in context.brokers or (None,):
                held = context.position(event.instrument_token, broker)
                after = held + (result.quantity or 0) * (1 if result.signal_type == "BUY" else -1)
                if abs(after) > most and abs(after) > abs(held):
                    return f"the position would be {after} units, max_position_size is {most}"
        return None


class StrictValidator(StandardValidator):
    """Everything must be given: for strategies that trade with real money."""

    def validate_configuration(self, config: StrategyConfig) -> Iterable[str]:
        """Require `max_position_size`."""
        if config.max_position_size is None:
            yield "the strict validator needs a max_position_size"

    def validate_signal(self, result: Any, event: Tick | Bar | Fill, context: Context) -> str | None:
        """Require quantity, confidence and reasoning, and a price within 5 % of the price that caused the signal."""
        fault = super().validate_signal(result, event, context)
        if fault is not None or result.signal_type == "HOLD":
            return fault
        for name in ("quantity", "confidence", "reasoning"):
            if getattr(result, name) in (None, ""):
                return f"no {name}; the strict validator needs one"
        reference = reference_price(event)
        if result.price is not None and abs(float(result.price) - reference) > STRICT_PRICE_BAND * reference:
            return f"price {result.price} is more than {STRICT_PRICE_BAND:.0%} from {reference}"
        return None


def reference_price(event: Tick | Bar | Fill) -> float:
    """Return the price of `event` in rupees."""
    if isinstance(event, Bar):
        return event.close
    return float(event.price) if isinstance(event, Fill) else event.last_price
