"""rules_rsi: when RSI enters a zone, and what the strategy remembers. See test_indicators for RSI itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from support.events import BANK, NIFTY, tick
from support.processes import shared

from alpha_cli import Signal, SignalResult, Tick, pipe, replay
from alpha_cli.core.errors import ConfigurationError
from alpha_cli.kit.indicators import RSI
from alpha_cli.stages.run_strategy.config import StrategyConfig, load_by_name
from alpha_cli.stages.run_strategy.factory import create_processor

Said = list[tuple[int, str]]  # (index of the tick, side)
FAST = {"period": 2, "oversold": 30, "overbought": 70}


def made(max_history: int = 20_000, **parameters: Any) -> Any:
    return create_processor(
        StrategyConfig(
            id="rsi", strategy_type="rules_rsi", parameters=parameters, instruments=(NIFTY,), max_history=max_history
        )
    )


def answers(processor: Any, events: Sequence[Tick]) -> list[tuple[int, SignalResult]]:
    """What it says and at which tick; it is given no history, for it has its own."""
    said = ((place, processor.process_tick(event, ())) for place, event in enumerate(events))
    return [(place, answer) for place, answer in said if answer is not None]


def said(prices: Sequence[float], **parameters: Any) -> Said:
    events = [tick(at, price) for at, price in enumerate(prices)]
    return [(place, answer.signal_type) for place, answer in answers(made(**parameters), events)]


def bumpy(count: int, seed: int = 0) -> list[float]:
    """Prices that swing, so that RSI visits both zones."""
    return [100 + abs((at + seed) % 40 - 20) + at * 37 % 23 * 0.1 for at in range(count)]


# --- when it speaks --------------------------------------------------------------------------


def test_it_buys_on_entering_the_oversold_zone_and_says_nothing_while_it_stays() -> None:
    """RSI(2) of these prices: -, -, 50, 25, 12.5, 6.2, then up and down again."""
    assert said([100, 101, 100, 99, 98, 97], **FAST) == [(3, "BUY")]
    assert said([100, 101, 100, 99, 98, 103, 104, 90], **FAST) == [(3, "BUY"), (5, "SELL"), (7, "BUY")]


def test_it_sells_on_entering_the_overbought_zone() -> None:
    """Mirrored."""
    assert said([100, 99, 100, 101, 102, 103], **FAST) == [(3, "SELL")]


def test_exactly_at_the_edge_is_outside() -> None:
    """RSI(2) of 100, 101, 100, 99 is exactly 25, and of the mirror image 75."""
    down, up = [100, 101, 100, 99], [100, 99, 100, 101]
    assert said(down, period=2, oversold=25, overbought=75) == []
    assert said(up, period=2, oversold=25, overbought=75) == []
    assert said(down, period=2, oversold=25.001, overbought=75) == [(3, "BUY")]
    assert said(up, period=2, oversold=25, overbought=74.999) == [(3, "SELL")]


def test_the_first_value_is_no_crossing() -> None:
    """With period n it is there after n + 1 prices; the earliest signal is one tick later, and needs a crossing."""
    assert said([100, 99, 98, 97, 96, 95], **FAST) == []
    calm = [100, 101] * 7
    assert said([*calm, 100, 80], period=14) == [(15, "BUY")]
    assert said([*calm, 80], period=14) == []  # the 15th price makes the first value


@pytest.mark.parametrize("price", [100.0, 0.1, 1e-4, 9.9e11])
def test_a_market_that_stands_still_is_neither(price: float) -> None:
    """Zero volatility: RSI is 50, and stays where it is if it was elsewhere."""
    assert said([price] * 200) == []
    assert len(said([100, 101, 100, 99, *[99] * 20_000], **FAST)) == 1


@pytest.mark.parametrize("factor", [1000, 1 / 1000])
def test_an_extreme_move_is_one_signal(factor: float) -> None:
    """A price times or through a thousand; there RSI is as good as at the end of its scale."""
    calm = [100, 101] * 20
    ((_, answer),) = answers(made(), [tick(at, price) for at, price in enumerate([*calm, 100 * factor])])
    assert answer.signal_type == ("SELL" if factor > 1 else "BUY")
    assert answer.confidence == pytest.approx(1, abs=0.1)


def test_the_deeper_in_the_zone_the_surer() -> None:
    """Confidence is a half at the edge and 1 at the end of the scale."""
    calm = [tick(at, price) for at, price in enumerate([100, 101] * 20)]
    sure = [
        answer.confidence
        for drop in (2, 5, 50, 99)
        for _, answer in answers(made(oversold=50, overbought=99), [*calm, tick(41, 100.5 - drop)])[-1:]
    ]
    assert sure == sorted(sure)
    assert 0.5 <= sure[0] < sure[-1] <= 1


def reference(prices: Sequence[float], period: int, oversold: float, overbought: float) -> Said:
    """Slow and obvious: in which zone is each tick, and where does that change?"""
    rsi = RSI(period)
    values = [rsi.update(price) for price in prices]
    zones = ["" if one is None else "BUY" if one < oversold else "SELL" if one > overbought else "-" for one in values]
    return [
        (at, zone) for at, zone in enumerate(zones) if zone not in ("", "-") and at and zones[at - 1] not in ("", zone)
    ]


paise = st.integers(9_500, 10_500).map(lambda number: number / 100)


@given(st.lists(paise, max_size=60), st.integers(2, 8), st.sampled_from([(30, 70), (20, 51), (49, 90)]))
def test_it_agrees_with_a_slow_reference(prices: list[float], period: int, zones: tuple[float, float]) -> None:
    """For any series of prices."""
    expected = reference(prices, period, *zones)
    assert said(prices, period=period, oversold=zones[0], overbought=zones[1]) == expected


def test_a_synthetic_day_and_a_real_one_give_tens_to_hundreds_of_signals() -> None:
    """As packaged, an instrument and day; neither silence nor a signal a second."""
    processor = create_processor(load_by_name("rules_rsi"))
    day = [event for event in pipe("feed --mode ltp --instruments 256265") if isinstance(event, Tick)]
    assert 10 < len(answers(processor, day)) < 1000
    recording = shared("nifty50-1s-2022") / "2022-08-12.csv.gz"
    command = f"feed {recording} --columns timestamp,last_price --instrument-token {NIFTY} | run-strategy rules_rsi"
    assert 10 < sum(isinstance(event, Signal) for event in pipe(command)) < 1000


# --- what a signal says, what may be set ------------------------------------------------------


def test_a_signal_carries_what_was_configured_and_why() -> None:
    """A LIMIT signal has the price of its tick; the reason has the value, the period and the bound."""
    processor = made(**FAST, quantity=75, order_type="LIMIT", product="NRML")
    events = [tick(at, price) for at, price in enumerate([100, 101, 100, 99])]
    ((_, answer),) = answers(processor, events)
    assert (answer.quantity, answer.order_type, answer.product, answer.price) == (75, "LIMIT", "NRML", 99)
    assert answer.reasoning == "RSI over 2 ticks 25.00, below 30"


def test_ticks_without_a_volume_will_do() -> None:
    """An index has none. Only token, time and price are looked at."""
    assert made().tick_fields == ()


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("period", [2, 10_000], [1, 0, -1, 10_001, 2.5, None]),
        ("oversold", [0.001, 69.9], [0, -1, 100, float("nan"), "x"]),
        ("overbought", [30.1, 99.9], [30, 29, 100, float("nan"), float("inf")]),
        ("quantity", [1, 1_000_000], [0, 1_000_001, 1.5]),
        ("order_type", ["MARKET", "LIMIT"], ["SL", 1]),
        ("product", ["MIS", "CNC", "NRML"], ["BO", None]),
    ],
)
def test_each_bound_of_each_parameter_holds(name: str, inside: list[Any], outside: list[Any]) -> None:
    """One line that names strategy, parameter and value."""
    for value in inside:
        assert made(**{name: value})
    for value in outside:
        with pytest.raises(ConfigurationError) as refused:
            made(**{name: value})
        assert f"strategy rsi: parameter {name}: " in str(refused.value)
        assert repr(value) in str(refused.value)
        assert "\n" not in str(refused.value)


def test_the_zones_must_not_overlap() -> None:
    """Also where only one of them is given."""
    with pytest.raises(
        ConfigurationError, match=r"parameter overbought: .*must be above oversold, which is 80, got 70"
    ):
        made(oversold=80)
    with pytest.raises(ConfigurationError, match=r"no parameter 'oversould', did you mean 'oversold'\?"):
        made(oversould=20)


def test_a_period_that_the_history_cannot_hold_is_refused() -> None:
    """A rebuilt strategy is to be ready at once, from the ticks that are kept."""
    with pytest.raises(ConfigurationError, match="needs 101 ticks of history, max_history is 100"):
        made(100, period=100)
    assert made(101, period=100)


# --- what it remembers ------------------------------------------------------------------------


@given(st.integers(0, 300), st.integers(0, 1000))
def test_it_goes_on_from_a_snapshot(cut: int, seed: int) -> None:
    """Cut anywhere, kept as JSON: the signals of a run without a cut."""
    events = [tick(at, price) for at, price in enumerate(bumpy(300, seed))]
    expected = answers(made(), events)
    assert expected
    first, second = made(), made()
    before = answers(first, events[:cut])
    second.restore(json.loads(json.dumps(first.snapshot())))
    assert before + [(cut + place, answer) for place, answer in answers(second, events[cut:])] == expected


def test_the_snapshot_of_another_period_is_refused() -> None:
    """It would be another indicator."""
    with pytest.raises(ValueError, match=r"not the state of RSI\(14\)"):
        made().restore(made(period=15).snapshot())


def test_warmed_up_it_is_ready_at_once() -> None:
    """With all earlier ticks it says what it would have said; whatever it knew before is forgotten."""
    events = [tick(at, price) for at, price in enumerate(bumpy(300))]
    expected = answers(made(), events)
    rebuilt = made()
    answers(rebuilt, events[7:90])
    rebuilt.warmup(events[:150])
    later = [(150 + place, answer) for place, answer in answers(rebuilt, events[150:])]
    assert later == [one for one in expected if one[0] >= 150] != []


def test_instruments_that_alternate_do_not_mix(tmp_path: Path) -> None:
    """Two instruments interleaved give the signals that each gives alone."""
    config = tmp_path / "rsi.yaml"
    config.write_text(f"id: rsi\nstrategy_type: rules_rsi\ninstruments: [{NIFTY}, {BANK}]\nparameters: {{period: 9}}\n")
    nifty = [tick(at, price, NIFTY) for at, price in enumerate(bumpy(200))]
    bank = [tick(at, 50_000 - 90 * price, BANK) for at, price in enumerate(bumpy(200, 11))]

    def signals(events: Sequence[Tick]) -> list[Signal]:
        return [one for one in replay(events, f"run-strategy --config {config} -q") if isinstance(one, Signal)]

    mixed = signals([one for pair in zip(nifty, bank, strict=True) for one in pair])
    for token, alone in ((NIFTY, nifty), (BANK, bank)):
        assert [one for one in mixed if one.instrument_token == token] == signals(alone) != []
