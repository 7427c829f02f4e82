"""Indicators: against published values, against slow references in exact fractions, and over a million values."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st
from support.processes import shared

from alpha_cli.kit.indicators import ATR, EMA, MAX_PERIOD, RSI, SMA, Bollinger, Indicator, StandardDeviation

ONE_VALUE: list[Callable[[int], Any]] = [SMA, EMA, RSI, StandardDeviation, Bollinger]

paise = st.integers(9_500, 10_500).map(lambda number: number / 100)
price_lists = st.lists(paise, max_size=60)
periods = st.integers(2, 15)


def fed(indicator: Any, values: Sequence[float]) -> list[Any]:
    """What the indicator said after each value."""
    return [indicator.update(value) for value in values]


def walk(count: int, seed: int = 1) -> list[float]:
    """Prices of a random walk around 25,000 in steps of 0.05."""
    toss = random.Random(seed)
    prices = [25_000.0]
    while len(prices) < count:
        prices.append(round((prices[-1] + toss.gauss(0, 0.5)) * 20) / 20)
    return prices


# --- published values ------------------------------------------------------------------------


def oracle(name: str) -> Any:
    return json.loads((shared("oracles") / name).read_text())


def test_rsi_is_the_worked_example_of_stockcharts_to_full_precision() -> None:
    """Seeded with the simple mean of the first 14 changes; a seed of zero gives other numbers."""
    example = oracle("rsi_stockcharts.json")
    said = fed(RSI(14), example["closes"])
    first = example["first_output_index"]
    assert said[:first] == [None] * first
    assert said[first:] == pytest.approx(example["full_precision_talib"], rel=1e-9)
    assert said[first:] == pytest.approx(example["published_rounded_2dp"], abs=example["tolerance"])
    assert said[first:] != pytest.approx(example["WRONG_seeding_trap"]["values"], abs=0.1)


@pytest.mark.parametrize("kind", [RSI, SMA, EMA])
def test_the_regression_values_of_talib(kind: Callable[[int], Any]) -> None:
    """All of them, to the two decimals that they are given with."""
    regression = oracle("talib_regtest_252bars.json")
    tests = [one for one in regression["checks"] if one["indicator"] == kind.__name__]
    assert tests
    for one in tests:
        said = fed(kind(one["params"]["period"]), regression["ohlcv"]["close"])
        assert said[one["row_index_0based"]] == pytest.approx(one["expected"], abs=regression["tolerance"])


def test_the_values_of_backtrader_on_a_year_of_daily_bars() -> None:
    """To the six decimals given: averages, RSI, ATR, Bollinger bands, and MACD made of three EMA."""
    with (shared("oracles") / "2006-day-001.txt").open() as file:
        bars = [{key: float(bar[key]) for key in ("High", "Low", "Close")} for bar in csv.DictReader(file)]
    checks = oracle("backtrader_indicators_2006-day-001.json")["checks"]
    closes = [bar["Close"] for bar in bars]
    bands = fed(Bollinger(20, 2), closes)
    atr = ATR(14)
    fast, slow = fed(EMA(12), closes), fed(EMA(26), closes)
    macd = [None if low is None else high - low for high, low in zip(fast, slow, strict=True)]
    smoothed = [None] * 25 + fed(EMA(9), [value for value in macd if value is not None])
    said: dict[str, list[float | None]] = {
        "SMA30": fed(SMA(30), closes),
        "EMA30": fed(EMA(30), closes),
        "RSI14": fed(RSI(14), closes),
        "ATR14": [atr.update(bar["High"], bar["Low"], bar["Close"]) for bar in bars],
        "BB20,2 top": [band and band.upper for band in bands],
        "BB20,2 mid": [band and band.middle for band in bands],
        "BB20,2 bot": [band and band.lower for band in bands],
        "MACD12,26,9 macd": macd,
        "MACD12,26,9 signal": smoothed,
    }
    for name, values in said.items():
        check = checks[name]
        expected = check["expected"]
        assert [values[row] for row in check["row_index_0based"]] == pytest.approx(expected, abs=1e-6), name
        if not name.startswith("MACD"):
            assert values.index(next(value for value in values if value is not None)) == check["min_period"] - 1


# --- slow references -------------------------------------------------------------------------


def windows(values: Sequence[float], period: int) -> list[list[Fraction] | None]:
    """The last `period` values at each place, exactly; None where there are not that many."""
    return [
        None if end < period else [Fraction(value) for value in values[end - period : end]]
        for end in range(1, len(values) + 1)
    ]


def deviation(window: Sequence[Fraction]) -> float:
    mean = sum(window) / len(window)
    return math.sqrt(sum((value - mean) ** 2 for value in window) / len(window))


def smoothed(values: Sequence[float], period: int, weight: Fraction) -> list[float | None]:
    """The mean of the first `period`, then each value with `weight`."""
    said: list[float | None] = []
    average = Fraction(0)
    for count, value in enumerate(map(Fraction, values), 1):
        average += value / period if count <= period else weight * (value - average)
        said.append(None if count < period else float(average))
    return said


@given(price_lists, periods)
def test_windows_agree_with_the_formula(prices: list[float], period: int) -> None:
    """SMA, deviation and bands in exact fractions, ready with the very value that fills the window."""
    expected = windows(prices, period)
    assert fed(SMA(1), prices) == prices
    assert fed(SMA(period), prices) == [one and pytest.approx(float(sum(one) / period), rel=1e-13) for one in expected]
    away = [one and pytest.approx(deviation(one), rel=1e-10, abs=0) for one in expected]
    assert fed(StandardDeviation(period), prices) == away
    for band, one in zip(fed(Bollinger(period, 1.5), prices), expected, strict=True):
        assert (band is None) == (one is None)
        if one is not None:
            mean, apart = float(sum(one) / period), 1.5 * deviation(one)
            assert band == pytest.approx((mean + apart, mean, mean - apart), rel=1e-12)


@given(price_lists, periods)
def test_averages_agree_with_the_formula(prices: list[float], period: int) -> None:
    """EMA, and RSI as Wilder wrote it: two averages of rises and falls."""
    assert fed(EMA(period), prices) == [
        one and pytest.approx(one, rel=1e-13) for one in smoothed(prices, period, Fraction(2, period + 1))
    ]
    changes = [Fraction(now) - Fraction(before) for before, now in pairwise(prices)]
    rises = smoothed([max(change, Fraction(0)) for change in changes], period, Fraction(1, period))
    falls = smoothed([max(-change, Fraction(0)) for change in changes], period, Fraction(1, period))
    expected = [
        None if up is None or down is None else 100 * up / (up + down) if up + down else 50.0
        for up, down in zip(rises, falls, strict=True)
    ]
    assert fed(RSI(period), prices)[1:] == [one if one is None else pytest.approx(one, rel=1e-9) for one in expected]


@given(st.lists(st.tuples(paise, paise, paise), max_size=40), periods)
def test_atr_agrees_with_the_formula(points: list[tuple[float, float, float]], period: int) -> None:
    """The true range reaches to the close before; the first bar has none."""
    bars = [(max(one), min(one), one[2]) for one in points]
    ranges = [
        max(high - low, abs(high - before), abs(low - before)) for (_, _, before), (high, low, _) in pairwise(bars)
    ]
    atr = ATR(period)
    said = [atr.update(*bar) for bar in bars]
    assert said[:1] in ([], [None])
    expected = smoothed(ranges, period, Fraction(1, period))
    assert said[1:] == [one if one is None else pytest.approx(one, rel=1e-12, abs=1e-12) for one in expected]


# --- a million values, extremes, still markets -----------------------------------------------


def test_nothing_drifts_over_a_million_values() -> None:
    """The window's mean and deviation are those of its values, to 1e-9 of themselves."""
    prices = walk(100_000) * 10
    mean, away = SMA(20), StandardDeviation(20)
    for place, price in enumerate(prices, 1):
        mean.update(price)
        away.update(price)
        if place % 49_999 == 0 or place == len(prices):
            window = [Fraction(value) for value in prices[place - 20 : place]]
            assert mean.value == pytest.approx(float(sum(window) / 20), rel=1e-14)
            assert away.mean == pytest.approx(float(sum(window) / 20), rel=1e-14)
            assert away.value == pytest.approx(deviation(window), rel=1e-11)
    assert len(json.dumps(away.snapshot())) < 1_000  # and nothing piled up


@pytest.mark.parametrize("factor", [1000, 1 / 1000, 1e8])
def test_a_wrong_price_is_forgotten_with_its_window(factor: float) -> None:
    """Once it has left, mean and deviation are right to the last digits again."""
    prices = walk(500)
    prices[300] *= factor
    for price, mean, away in zip(
        windows(prices, 20), fed(SMA(20), prices), fed(StandardDeviation(20), prices), strict=True
    ):
        if price is not None:
            assert mean == pytest.approx(float(sum(price) / 20), rel=1e-14)
            assert away == pytest.approx(deviation(price), rel=1e-10)


@pytest.mark.parametrize("price", [100.0, 0.1, 1e-4, 25_000.05, 9.9e11])
def test_a_market_that_stands_still(price: float) -> None:
    """No deviation at all, an average true range of zero, and RSI in the middle: neither 0 (TA-Lib) nor 100."""
    away, rsi, atr = StandardDeviation(20), RSI(14), ATR(14)
    for _ in range(100):
        away.update(price)
        rsi.update(price)
        atr.update(price, price, price)
    assert (away.value, away.mean, rsi.value, atr.value) == (0.0, price, 50.0, 0.0)
    assert fed(Bollinger(20), [price] * 25)[-1] == (price, price, price)


def test_rsi_of_a_market_that_only_rises_or_only_falls() -> None:
    """The ends of its scale."""
    assert fed(RSI(14), range(1, 100))[-1] == 100
    assert fed(RSI(14), range(100, 1, -1))[-1] == 0


def test_rsi_stays_where_it_is_while_nothing_moves() -> None:
    """Not only to rounding, and not only until its averages run out of digits."""
    rsi = RSI(14)
    before = fed(rsi, walk(100))[-1]
    last = walk(100)[-1]
    assert set(fed(rsi, [last] * 20_000)) == {before}
    assert rsi.update(last + 0.05) == 100  # what was is 20,000 values ago
    assert 0 < fed(rsi, [last, last + 0.05])[-1] < 100


@pytest.mark.parametrize("kind", ONE_VALUE)
@pytest.mark.parametrize("factor", [1000, 1 / 1000])
def test_an_extreme_move_gives_numbers(kind: Callable[[int], Any], factor: float) -> None:
    """A price times or through a thousand, there and back: finite, and RSI within its scale."""
    calm = walk(50)
    indicator = kind(14)
    for price in [*calm, *(price * factor for price in calm), *calm, 1e-4, 9.9e11, 1e-4]:
        said = indicator.update(price)
        for number in (said,) if isinstance(said, (float, type(None))) else said:
            assert number is None or math.isfinite(number)
            assert kind is not RSI or number is None or 0 <= number <= 100


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ONE_VALUE)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e101])
def test_a_value_that_is_no_number_is_refused_and_changes_nothing(kind: Callable[[int], Any], bad: float) -> None:
    """One NaN in an average would stay there for ever."""
    prices = walk(40)
    indicator, undisturbed = kind(5), kind(5)
    for price in prices:
        before = indicator.snapshot()
        with pytest.raises(ValueError, match="not a finite number"):
            indicator.update(bad)
        assert indicator.snapshot() == before
        assert indicator.update(price) == undisturbed.update(price)


@pytest.mark.parametrize("bar", [(9, 10, 9), (math.nan, 9, 9), (10, math.nan, 9), (10, 9, math.nan), (math.inf, 9, 9)])
def test_a_bar_that_cannot_be_is_refused_and_changes_nothing(bar: tuple[float, float, float]) -> None:
    """The high is not below the low, and all three are numbers."""
    atr = ATR(2)
    atr.update(10, 9, 9.5)
    before = atr.snapshot()
    with pytest.raises(ValueError, match="not those of a bar"):
        atr.update(*bar)
    assert atr.snapshot() == before


@pytest.mark.parametrize("kind", [*ONE_VALUE, ATR])
@pytest.mark.parametrize("period", [0, -1, 2.5, "14", None, True, MAX_PERIOD + 1])
def test_a_period_is_a_whole_number_of_values(kind: Callable[[Any], Any], period: Any) -> None:
    """And not so many that they fill the memory."""
    with pytest.raises(ValueError, match="period"):
        kind(period)


def test_rsi_needs_two_changes() -> None:
    """Of one change it could only ever say 0 or 100."""
    with pytest.raises(ValueError, match="from 2 to"):
        RSI(1)


@pytest.mark.parametrize("deviations", [0, -1, math.nan, math.inf])
def test_bands_lie_a_positive_number_of_deviations_apart(deviations: float) -> None:
    """Otherwise upper and lower change places."""
    with pytest.raises(ValueError, match="deviations"):
        Bollinger(20, deviations)


# --- state -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ONE_VALUE)
@given(prices=price_lists, period=periods)
def test_a_restored_indicator_goes_on_to_the_last_bit(
    kind: Callable[[int], Any], prices: list[float], period: int
) -> None:
    """Cut at every place, kept as JSON: the same answers as without a cut."""
    whole, states = kind(period), []
    expected = []
    for price in prices:
        states.append(json.dumps(whole.snapshot()))
        expected.append(whole.update(price))
    for cut, state in enumerate(states):
        again = kind(period)
        fed(again, [1.0, 2.0, 3.0])  # what it knew before is gone
        again.restore(json.loads(state))
        assert again.value == (expected[cut - 1] if cut else None)
        assert fed(again, prices[cut:]) == expected[cut:]
        assert again.snapshot() == whole.snapshot()


def test_a_restored_atr_goes_on_to_the_last_bit() -> None:
    """The one that takes three values."""
    bars = [(price + 1, price - 2, price) for price in walk(60)]
    whole = ATR(14)
    expected = [whole.update(*bar) for bar in bars]
    for cut in range(60):
        first, second = ATR(14), ATR(14)
        for bar in bars[:cut]:
            first.update(*bar)
        second.restore(json.loads(json.dumps(first.snapshot())))
        assert [second.update(*bar) for bar in bars[cut:]] == expected[cut:]


@pytest.mark.parametrize("kind", [*ONE_VALUE, ATR])
@pytest.mark.parametrize(
    "harm",
    [
        lambda state: state | {"period": 15},
        lambda state: {key: state[key] for key in list(state)[1:]},
        lambda state: state | {"more": 1},
        lambda state: dict.fromkeys(state, "x") | {"period": 14},
        lambda state: {},
    ],
)
def test_the_state_of_something_else_is_refused_and_changes_nothing(
    kind: Callable[[int], Any], harm: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Another period, a missing or an unknown part, text for numbers."""
    indicator: Indicator[Any] = kind(14)
    other = kind(14)
    for price in walk(30):
        other.update(*([price] * (3 if kind is ATR else 1)))
    before = indicator.snapshot()
    with pytest.raises(ValueError, match=r"state|values"):
        indicator.restore(harm(other.snapshot()))
    assert indicator.snapshot() == before


@pytest.mark.parametrize(
    ("values", "place"), [([1.0] * 4, 0), ([1.0] * 3, 3), ([1.0] * 3, -1), ([1.0, 2.0], 1), (["x"], 1)]
)
def test_a_window_whose_place_is_not_in_it_is_refused(values: list[Any], place: int) -> None:
    """A state that was cut short does not become a wrong average."""
    with pytest.raises(ValueError, match="3 values at most"):
        SMA(3).restore({"period": 3, "values": values, "place": place, "value": 1.0})
