"""Technical indicators that take one value at a time.

    rsi = RSI(14)
    for tick in ticks:
        strength = rsi.update(tick.last_price)  # None until 15 prices are in

An `update` costs the same however long the series (amortised), keeps no more than the window, and
returns the value of the formula, without the drift of a running sum. `value` is the latest result,
None until there is one. `snapshot` is JSON, and after `restore` an indicator continues bit for bit.
A value that is not finite raises `ValueError` and changes nothing: one bad price must not spoil the
averages for good.

Where textbooks differ this follows TA-Lib: averages are seeded with the simple mean of the first
`period` values, and a Bollinger band uses the population deviation.

Sources: J. W. Wilder, "New Concepts in Technical Trading Systems" (1978), for RSI and ATR; J. Bollinger,
"Bollinger on Bollinger Bands" (2001); for the deviation B. P. Welford, Technometrics 4 (1962), and
T. F. Chan, G. H. Golub and R. J. LeVeque, The American Statistician 37 (1983).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from math import sqrt
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

MAX_PERIOD = 1_000_000  # values; a typing error must not fill the memory
_LIMIT = 1e100  # of a value; its square is still a number

Value = TypeVar("Value")


class Indicator(Generic[Value]):
    """The base of all indicators: a period, the latest value, and a state that can be kept."""

    value: Value | None = None
    _state_fields: ClassVar[tuple[str, ...]] = ()  # the attributes that make up the state
    _least: ClassVar[int] = 1  # period

    def __init__(self, period: int) -> None:
        if type(period) is not int or not self._least <= period <= MAX_PERIOD:
            raise ValueError(f"period {period!r} is not a whole number from {self._least} to {MAX_PERIOD}")
        self.period = period

    def snapshot(self) -> dict[str, Any]:
        """Return the state, ready for JSON."""
        state: dict[str, Any] = {"period": self.period}
        for name in self._state_fields:
            value = getattr(self, name)
            state[name.lstrip("_")] = list(value) if isinstance(value, list) else value
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot` of the same kind and period. On `ValueError` nothing changes."""
        names = {name.lstrip("_"): name for name in self._state_fields}
        if set(state) != {"period", *names} or state["period"] != self.period:
            raise ValueError(f"not the state of {type(self).__name__}({self.period}): {_brief(state)}")
        if not all(_is_state(state[name]) for name in names):
            raise ValueError(f"a state of {type(self).__name__} holds numbers only: {_brief(state)}")
        for name, attribute in names.items():
            value = state[name]
            setattr(self, attribute, list(value) if isinstance(value, list) else value)


class _Window(Indicator[float]):
    """The last `period` values as two parts: the block that is being filled, and what is left of the one before.

    A part grows or is dropped whole. Nothing is ever subtracted, so no rounding error outlives its
    window, not even that of a price which was wrong by a factor of a million.
    """

    _state_fields: ClassVar[tuple[str, ...]] = ("_values", "_place", "value")

    def __init__(self, period: int) -> None:
        super().__init__(period)
        self._values: list[float] = []  # a ring once full: before _place the new block, after it the old one
        self._place = 0
        self._begin()

    def restore(self, state: Mapping[str, Any]) -> None:
        values, place = state.get("values"), state.get("place")
        if not isinstance(values, list) or type(place) is not int:
            raise ValueError(f"not the state of {type(self).__name__}({self.period}): {_brief(state)}")
        ring = 0 <= place < self.period == len(values)
        if not all(_is_number(value) for value in values) or not (ring or place == len(values) < self.period):
            raise ValueError(f"not {self.period} values at most, with a place among them: {_brief(state)}")
        super().restore(state)
        self._begin()
        if ring:
            self._end()
        for count, value in enumerate(values[:place], 1):
            self._add(value, count)

    def _begin(self) -> None:
        """Forget both parts."""
        raise NotImplementedError

    def _add(self, value: float, count: int) -> None:
        """Take `value`, the `count`-th of its block, into the new part."""
        raise NotImplementedError

    def _end(self) -> None:
        """Make the new block, which is full, the old one."""
        raise NotImplementedError

    def _keep(self, value: float) -> int:
        """Put `value` into its place. Return how many values the new block holds with it."""
        if not -_LIMIT < value < _LIMIT:
            raise ValueError(f"{value!r} is not a finite number")
        place = self._place
        if len(self._values) < self.period:
            self._values.append(value)
        else:
            self._values[place] = value
        return place + 1


class SMA(_Window):
    """Simple moving average: (x[t-n+1] + … + x[t]) / n."""

    def update(self, value: float) -> float | None:
        """Take the next value. Return the average, or None before `period` values."""
        count = self._keep(value)
        self._sum += value
        total = self._sum + self._older[count]
        period = self.period
        if count == period:
            self._end()
            count = 0
        self._place = count
        if len(self._values) == period:
            self.value = total / period
        return self.value

    def _begin(self) -> None:
        self._sum = 0.0
        self._older = [0.0] * (self.period + 1)  # of the old block, the sum of the values from each place on

    def _add(self, value: float, count: int) -> None:  # noqa: ARG002
        self._sum += value

    def _end(self) -> None:
        self._older = [*accumulate(reversed(self._values), initial=0.0)][::-1]
        self._sum = 0.0


class StandardDeviation(_Window):
    """Population standard deviation: sqrt(((x[t-n+1] - m)² + … + (x[t] - m)²) / n), m their mean.

    Exactly 0 when the values do not vary. `mean` is the mean of the same window. Each part has a mean
    and a sum of squares by Welford's method, counted from a value of its own so that small deviations
    of large values keep their digits; Chan's formula puts the two together.
    """

    mean: float | None = None
    _state_fields = (*_Window._state_fields, "mean")

    def update(self, value: float) -> float | None:
        """Take the next value. Return the deviation, or None before `period` values."""
        count = self._keep(value)
        self._add(value, count)
        mean, squares = self._mean, self._squares
        period = self.period
        if len(self._values) == period:
            left = period - count
            if left:
                older_mean, older_squares = self._older[count]
                apart = older_mean - mean + (self._older_origin - self._origin)
                mean += apart * left / period
                squares += older_squares + apart * apart * count * left / period
            self.mean = self._origin + mean
            self.value = sqrt(squares / period)
        if count == period:
            self._end()
            count = 0
        self._place = count
        return self.value

    def _begin(self) -> None:
        self._origin = self._older_origin = 0.0
        self._mean = self._squares = 0.0
        self._older: list[tuple[float, float]] = []  # of the old block, mean and squares from each place on

    def _add(self, value: float, count: int) -> None:
        if count == 1:
            self._origin = value
            self._mean = self._squares = 0.0
        offset = value - self._origin
        apart = offset - self._mean
        self._mean += apart / count
        self._squares += apart * (offset - self._mean)

    def _end(self) -> None:
        origin = self._older_origin = self._values[-1]
        mean = squares = 0.0
        older = []
        for count, value in enumerate(reversed(self._values), 1):
            offset = value - origin
            apart = offset - mean
            mean += apart / count
            squares += apart * (offset - mean)
            older.append((mean, squares))
        self._older = older[::-1]


class EMA(Indicator[float]):
    """Exponential moving average: e[t] = e[t-1] + 2 / (n + 1) · (x[t] - e[t-1]), e[n] the mean of the first n."""

    _state_fields = ("_count", "_sum", "value")

    def __init__(self, period: int) -> None:
        super().__init__(period)
        self._weight = 2 / (period + 1)
        self._count = 0
        self._sum = 0.0

    def update(self, value: float) -> float | None:
        """Take the next value. Return the average, or None before `period` values."""
        if not -_LIMIT < value < _LIMIT:
            raise ValueError(f"{value!r} is not a finite number")
        if self.value is not None:
            self.value += self._weight * (value - self.value)
            return self.value
        self._count += 1
        self._sum += value
        if self._count == self.period:
            self.value = self._sum / self.period
        return self.value


class RSI(Indicator[float]):
    """Relative strength index (Wilder 1978): 100 · g / (g + l), from 0 to 100.

    g and l are Wilder's averages of the rises and the falls (as positive numbers): the simple mean of
    the first n changes, then g[t] = ((n - 1) · g[t-1] + rise[t]) / n. 100 where there was no fall, 0
    where there was no rise. Where there was neither, 50: a market without price changes is neither
    overbought nor oversold. (TA-Lib says 0 there, talipp 100; either would be read as a signal.)
    """

    _state_fields = ("_count", "_rise", "_fall", "_previous", "value")
    _least = 2  # over one change there is only ever 0 or 100

    def __init__(self, period: int = 14) -> None:
        super().__init__(period)
        self._share = (period - 1) / period
        self._count = 0  # of the changes that went into the seed
        self._rise = self._fall = 0.0  # n times the averages: their quotient is the same, and the seed is a sum
        self._previous: float | None = None

    def update(self, value: float) -> float | None:
        """Take the next value. Return the index, or None before `period` + 1 values."""
        if not -_LIMIT < value < _LIMIT:
            raise ValueError(f"{value!r} is not a finite number")
        previous, self._previous = self._previous, value
        if previous is None:
            return None
        change = value - previous
        if self._count < self.period:
            self._count += 1
        else:
            self._rise *= self._share
            self._fall *= self._share
        if change > 0:
            self._rise += change
        else:
            self._fall -= change
        # Where nothing moved both shrink alike and the index is what it was. Computed again it could differ in
        # its last digit, and after thousands of such values, the sums out of digits, in all of them.
        if self._count == self.period and (change or self.value is None):
            both = self._rise + self._fall
            self.value = 100 * self._rise / both if both else 50.0
        return self.value


class ATR(Indicator[float]):
    """Average true range (Wilder 1978), in the unit of the prices.

    The true range of a bar is max(high, c) - min(low, c), c the close before; the first bar has none.
    The average is the mean of the first n, then a[t] = ((n - 1) · a[t-1] + range[t]) / n.
    """

    _state_fields = ("_count", "_sum", "_close", "value")

    def __init__(self, period: int = 14) -> None:
        super().__init__(period)
        self._count = 0
        self._sum = 0.0
        self._close: float | None = None

    def update(self, high: float, low: float, close: float) -> float | None:
        """Take the next bar. Return the average, or None before `period` + 1 bars."""
        if not -_LIMIT < low <= high < _LIMIT or not -_LIMIT < close < _LIMIT:
            raise ValueError(f"high {high!r}, low {low!r}, close {close!r} are not those of a bar")
        before, self._close = self._close, close
        if before is None:
            return None
        true_range = max(high, before) - min(low, before)
        period = self.period
        if self.value is not None:
            self.value = (self.value * (period - 1) + true_range) / period
            return self.value
        self._count += 1
        self._sum += true_range
        if self._count == period:
            self.value = self._sum / period
        return self.value


class Bands(NamedTuple):
    """Bollinger's three lines."""

    upper: float
    middle: float
    lower: float


class Bollinger(Indicator[Bands]):
    """Bollinger bands: m + k·s, m, m - k·s, with m the mean and s the population deviation of n values."""

    def __init__(self, period: int = 20, deviations: float = 2.0) -> None:
        super().__init__(period)
        if not 0 < deviations < _LIMIT:
            raise ValueError(f"deviations {deviations!r} is not a positive number")
        self.deviations = deviations
        self._window = StandardDeviation(period)

    def update(self, value: float) -> Bands | None:
        """Take the next value. Return the bands, or None before `period` values."""
        if self._window.update(value) is not None:
            self.value = self._bands()
        return self.value

    def snapshot(self) -> dict[str, Any]:
        return {**self._window.snapshot(), "deviations": self.deviations}

    def restore(self, state: Mapping[str, Any]) -> None:
        rest = dict(state)
        if rest.pop("deviations", None) != self.deviations:
            raise ValueError(f"not the state of Bollinger({self.period}, {self.deviations}): {_brief(state)}")
        self._window.restore(rest)
        self.value = None if self._window.value is None else self._bands()

    def _bands(self) -> Bands:
        middle, deviation = self._window.mean, self._window.value
        assert middle is not None
        assert deviation is not None
        away = self.deviations * deviation
        return Bands(middle + away, middle, middle - away)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_LIMIT < value < _LIMIT


def _is_state(value: object) -> bool:
    return value is None or _is_number(value) or isinstance(value, list)


def _brief(state: object) -> str:
    text = repr(state)
    return text if len(text) <= 80 else text[:79] + "…"
