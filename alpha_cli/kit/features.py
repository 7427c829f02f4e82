"""The features of a series of prices that a model is given. The script that trains and the strategies that trade
use this one class, so a model gets the same features in trading as in training.

Every feature is free of scale: prices in paise, rupees or thousands, calm markets and wild ones, give
numbers of the same size. So one model serves every instrument. r is the symmetric return
2 · (p - q) / (p + q): the logarithmic one, ln(p / q), but for terms of the third order, bounded by 2
whatever the jump, and the same on every machine, which a library's logarithm is not.

| feature | formula | range |
|---|---|---|
| return_N, N = 1, 5, 10, 20 | r over N ticks / (v · sqrt(N)) | ±sqrt(20) |
| rsi_14 | RSI(14) / 100 | 0 to 1 |
| distance_20 | (p - mean of the last 20) / their standard deviation | ±sqrt(19) |
| volatility_20_60 | v / the same over 60 ticks | 0 to sqrt(3) |

v is the volatility: the root mean square of r over one tick, over the last 20 ticks. A market without price
changes has returns and a distance of 0 and a volatility_20_60 of 1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from math import sqrt
from typing import Any

from alpha_cli.kit.indicators import RSI, SMA, StandardDeviation

_HORIZONS = (1, 5, 10, 20)  # ticks
_SHORT, _LONG = 20, 60  # ticks of volatility
_LIMIT = 1e100  # of a price
_ROOTS = tuple(sqrt(horizon) for horizon in _HORIZONS)

#: The names, in the order of the values.
FEATURES = (*(f"return_{horizon}" for horizon in _HORIZONS), "rsi_14", "distance_20", "volatility_20_60")
#: Prices needed before there are features.
PRICES_NEEDED = _LONG + 1


class Features:
    """The features of one instrument, kept up to date price by price."""

    def __init__(self) -> None:
        self._prices: deque[float] = deque(maxlen=_HORIZONS[-1] + 1)  # oldest first
        self._rsi = RSI(14)
        self._window = StandardDeviation(_SHORT)
        self._short = SMA(_SHORT)  # of the squared returns over one tick
        self._long = SMA(_LONG)

    def update(self, price: float) -> tuple[float, ...] | None:
        """Take the next price. Return the values of `FEATURES`, or None before `PRICES_NEEDED` prices."""
        if not 0 < price < _LIMIT:
            raise ValueError(f"{price!r} is not a price")
        prices = self._prices
        if prices:
            change = _change(price, prices[-1])
            self._short.update(change * change)
            self._long.update(change * change)
        deviation = self._window.update(price)
        strength = self._rsi.update(price)
        prices.append(price)
        long = self._long.value
        if long is None:
            return None
        short, mean = self._short.value, self._window.mean
        assert short is not None
        assert strength is not None
        assert mean is not None
        volatility = sqrt(short)
        return (
            *(
                _change(price, prices[-1 - horizon]) / (volatility * root) if volatility else 0.0
                for horizon, root in zip(_HORIZONS, _ROOTS, strict=True)
            ),
            strength / 100,
            (price - mean) / deviation if deviation else 0.0,
            sqrt(short / long) if long else 1.0,
        )

    def snapshot(self) -> dict[str, Any]:
        """Return the state, ready for JSON."""
        return {"prices": list(self._prices), **{name: part.snapshot() for name, part in self._parts().items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot`. Raise `ValueError`."""
        fresh = Features()
        parts = fresh._parts()
        if set(state) != {"prices", *parts}:
            raise ValueError(f"not a state of Features: it has {', '.join(state)}")
        prices = state["prices"]
        if not (isinstance(prices, list) and all(isinstance(price, (int, float)) and price > 0 for price in prices)):
            raise ValueError("not a state of Features: its prices are no list of prices")
        for name, part in parts.items():
            part.restore(state[name])
        fresh._prices.extend(prices)
        vars(self).update(vars(fresh))

    def _parts(self) -> dict[str, RSI | SMA | StandardDeviation]:
        return {"rsi": self._rsi, "window": self._window, "short": self._short, "long": self._long}


def _change(price: float, before: float) -> float:
    return 2 * (price - before) / (price + before)
