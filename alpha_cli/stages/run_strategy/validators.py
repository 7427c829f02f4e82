"""The validators that come with alpha: `standard`, the default, and `strict`.

`validate_signal` answers with the reason why a result is refused, or None. It sees the quantity as
the strategy's `risk_multiplier` left it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from alpha_cli.core.events import Bar, Fill, Tick
from alpha_cli.stages.run_strategy.config import StrategyConfig
from alpha_cli.stages.run_strategy.context import Context

#: How far from the price that caused it a strict signal's own price may lie.
STRICT_PRICE_BAND = 0.05


class StandardValidator:
    """What no signal can do without."""

    def validate_configuration(self, config: StrategyConfig) -> Iterable[str]:
        """Whatever `StrategyConfig` takes will do."""
        del config
        return ()

    def validate_signal(self, result: Any, event: Tick | Bar | Fill, context: Context) -> str | None:
        """A price where the order needs one, and no position beyond `max_position_size`."""
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
    """Nothing left to be guessed: for strategies that trade with real money."""

    def validate_configuration(self, config: StrategyConfig) -> Iterable[str]:
        """`max_position_size` has to be set."""
        if config.max_position_size is None:
            yield "the strict validator wants a max_position_size"

    def validate_signal(self, result: Any, event: Tick | Bar | Fill, context: Context) -> str | None:
        """Quantity, confidence and reasoning are given, and a price lies within 5 % of what caused the signal."""
        fault = super().validate_signal(result, event, context)
        if fault is not None or result.signal_type == "HOLD":
            return fault
        for name in ("quantity", "confidence", "reasoning"):
            if getattr(result, name) in (None, ""):
                return f"no {name}; the strict validator wants one"
        reference = reference_price(event)
        if result.price is not None and abs(float(result.price) - reference) > STRICT_PRICE_BAND * reference:
            return f"price {result.price} is more than {STRICT_PRICE_BAND:.0%} from {reference}"
        return None


def reference_price(event: Tick | Bar | Fill) -> float:
    """Rupees: the price that `event` tells of."""
    if isinstance(event, Bar):
        return event.close
    return float(event.price) if isinstance(event, Fill) else event.last_price
