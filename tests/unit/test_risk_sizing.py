"""How many units a signal without a quantity means, and how an order above the freeze quantity is cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from math import floor, log, sqrt
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, strategies as st
from support.events import BANK, NIFTY, START, signal, stream, tick
from support.processes import Pipeline, alpha, run_alpha

from alpha_cli.core.codec import decode, encode
from alpha_cli.core.events import Bar, Denial, Event, Fill, Order, OrderUpdate, Signal, Tick
from alpha_cli.core.ids import derive_id
from alpha_cli.core.money import UNITS
from alpha_cli.core.times import IST
from alpha_cli.market.instruments import Instrument, Master
from alpha_cli.market.instruments.freeze import freeze_quantity
from alpha_cli.stages.risk.config import Fixed, Notional, PercentOfEquity, RiskFile, VolatilityTarget
from alpha_cli.stages.risk.engine import RiskEngine, RiskInputs
from alpha_cli.stages.risk.refusal import Refusal
from alpha_cli.stages.risk.sizing import MOST_UNITS, interval_seconds, size
from alpha_cli.stages.risk.slicing import slice_sizes
from alpha_cli.stream.last_ticks import LastTicks

FUTURE, OPTION = 14866434, 15845634
LOT, FREEZE = 65, 1800  # of NIFTY in August 2026
WHOLE = FREEZE // LOT * LOT  # the largest order of whole lots: 1755
DAY = datetime(2026, 8, 18, 9, 15, tzinfo=IST)  # a Tuesday
EXPIRY = DAY.date() + timedelta(days=7)
NFO = [
    Instrument(FUTURE, "NFO", "NIFTY26AUGFUT", "NIFTY", "NFO-FUT", "FUT", LOT, Decimal("0.1"), EXPIRY),
    Instrument(
        OPTION, "NFO", "NIFTY26AUG25000CE", "NIFTY", "NFO-OPT", "CE", LOT, Decimal("0.05"), EXPIRY, Decimal(25_000)
    ),
]
MASTER = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,"
    "segment,exchange\n"
    "14866434,58072,NIFTY26AUGFUT,NIFTY,0.0,2026-08-25,0.0,0.1,65,FUT,NFO-FUT,NFO\n"
    "15845634,61897,NIFTY26AUG25000CE,NIFTY,0.0,2026-08-25,25000.0,0.05,65,CE,NFO-OPT,NFO\n"
)
CASH = {"paper": Decimal(1_000_000)}


def in_august(at: float = 0, price: float = 100.0, token: int = OPTION) -> Tick:
    """A tick of a contract on a day of which the freeze quantity is known."""
    return Tick(instrument_token=token, timestamp=DAY + timedelta(seconds=at), last_price=price)


def asks(number: int = 1, quantity: int | None = None, at: float = 0, token: int = OPTION, **fields: Any) -> Signal:
    """A signal for a contract on that day."""
    values: dict[str, Any] = {"signal_type": "BUY", "product": "NRML", **fields}
    return Signal(
        signal_id=f"s{number}", strategy_id="test", instrument_token=token, broker="paper", quantity=quantity,
        timestamp=DAY + timedelta(seconds=at), **values,
    )  # fmt: skip


def decide(limits: Mapping[str, Any], *events: Event, **options: Any) -> list[Any]:
    """What comes of the signals among `events`; the rest is heard before them."""
    market = LastTicks()
    risk = RiskEngine(
        RiskInputs(limits=RiskFile.model_validate(limits), last_ticks=market, **{"opening_cash": CASH, **options})
    )
    made: list[Any] = []
    for event in events:
        if isinstance(event, Tick):
            market.put(event)
        else:
            made += risk.steps[type(event)](event)
    return made


def sized(rule: Mapping[str, Any], *events: Event, **options: Any) -> Any:
    """What comes of one signal for one unit's price of 100, if nothing else is said."""
    given_events = events or (tick(0, 100), signal(1, quantity=None))
    (made,) = decide({"account": {"sizing": rule}}, *given_events, **options)
    return made


def bars(closes: Iterable[float], token: int = NIFTY, interval: str = "5m") -> list[Bar]:
    """A bar for each of these closing prices."""
    length = timedelta(seconds=interval_seconds(interval))
    return [
        Bar(
            instrument_token=token, start=START + number * length, end=START + (number + 1) * length,
            interval=interval, open=close, high=close, low=close, close=close,
        )
        for number, close in enumerate(closes)
    ]  # fmt: skip


def volatility(closes: Sequence[float], in_a_session: float) -> float:
    """The daily standard deviation of logarithmic returns, by the textbook."""
    returns = [log(closes[place + 1] / closes[place]) for place in range(len(closes) - 1)]
    mean = sum(returns) / len(returns)
    return sqrt(sum((one - mean) ** 2 for one in returns) / (len(returns) - 1)) * sqrt(in_a_session)


# --- each rule -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "price", "expected"),
    [
        ({"rule": "fixed", "quantity": 7}, 100, 7),
        ({"rule": "fixed", "quantity": 7}, 99_999, 7),
        ({"rule": "notional", "rupees": 1000}, 100, 10),
        ({"rule": "notional", "rupees": 999.99}, 100, 9),
        ({"rule": "notional", "rupees": 1000}, 33.35, 29),  # 29.985…
        ({"rule": "notional", "rupees": 0.3}, 0.1, 3),  # exactly, though 0.3 / 0.1 is less in binary
        ({"rule": "percent_of_equity", "percent": 1}, 100, 100),  # 10,000 of a million
        ({"rule": "percent_of_equity", "percent": 0.5}, 333.3, 15),  # 5,000 / 333.3 = 15.0015
        ({"rule": "percent_of_equity", "percent": 0.5}, 333.4, 14),
        ({"rule": "percent_of_equity", "percent": 250}, 100, 25_000),
    ],
)
def test_a_rule_gives_a_quantity_to_a_signal_without_one(rule: dict[str, Any], price: float, expected: int) -> None:
    """Of a million rupees at the last price, by amounts that were worked out by hand."""
    order = sized(rule, tick(0, price), signal(1, quantity=None))
    assert isinstance(order, Order)
    assert order.quantity == expected


CLOSES = (100.0, 101.0, 100.5, 102.0, 101.5, 103.0)


@pytest.mark.parametrize(("interval", "in_a_session"), [("5m", 75), ("15m", 25), ("30s", 750), ("1h", 6.25), ("1d", 1)])
def test_a_volatility_target_is_a_share_of_equity_over_the_day_s_deviation(interval: str, in_a_session: float) -> None:
    """The last five returns, scaled to a session of 375 minutes: position × daily volatility = 1 % of a million."""
    rule = {"rule": "volatility_target", "percent": 1, "interval": interval, "bars": 5}
    order = sized(rule, *bars((5.0, 500.0, *CLOSES), interval=interval), tick(0, 103.2), signal(1, quantity=None))
    assert isinstance(order, Order)
    assert order.quantity == floor(10_000 / volatility(CLOSES, in_a_session) / 103.2)
    assert order.quantity > 1


def test_bars_of_another_instrument_or_length_do_not_count() -> None:
    """Each has its own; those of BANK and of a minute are not the ones that are looked back on."""
    rule = {"rule": "volatility_target", "percent": 1, "bars": 5}
    noise = [*bars((9.0, 1.0) * 5, BANK), *bars((9.0, 1.0) * 5, interval="1m")]
    asked_for = (tick(0, 103), signal(1, quantity=None))
    assert sized(rule, *noise, *asked_for).code == "SIZE_UNKNOWN"
    order = sized(rule, *bars(CLOSES), *noise, *asked_for)
    assert order.quantity == floor(10_000 / volatility(CLOSES, 75) / 103)


def test_equity_is_cash_and_what_is_held_at_the_newest_price() -> None:
    """A hundred bought at 100 and worth 110 now: a million and a thousand; one per cent of it is 91 units."""
    limits = {
        "account": {"sizing": {"rule": "percent_of_equity", "percent": 1}},
        "brokers": {"paper": {"assume_market_fills": True}},
    }
    first, second = decide(limits, tick(0, 100), signal(1, quantity=1000), tick(1, 110), signal(2, at=1, quantity=None))
    assert first.quantity == 1000
    assert second.quantity == 1_010_000 // 100 // 110


def test_a_limit_order_is_sized_by_its_own_price() -> None:
    """And a MARKET order to buy by what its protection lets it pay."""
    rule = {"rule": "notional", "rupees": 1000}
    order = sized(rule, tick(0, 100), signal(1, quantity=None, order_type="LIMIT", price=Decimal(50)))
    assert order.quantity == 20
    limits = {"account": {"sizing": rule, "market_protection": 0.05}}
    (buys,) = decide(limits, tick(0, 100), signal(1, quantity=None))
    (sells,) = decide(limits, tick(0, 100), signal(1, quantity=None, side="SELL"))
    assert (buys.quantity, sells.quantity) == (9, 10)  # 1000 / 105


@pytest.mark.parametrize(
    "rule",
    [
        {"rule": "fixed", "quantity": 5}, {"rule": "notional", "rupees": 5},
        {"rule": "percent_of_equity", "percent": 5}, {"rule": "volatility_target", "percent": 5},
    ],
)  # fmt: skip
def test_a_signal_with_a_quantity_is_left_alone(rule: dict[str, Any]) -> None:
    """Whatever the rule would give, or not give; also a quantity that is refused."""
    assert sized(rule, tick(0, 100), signal(1, quantity=3)).quantity == 3
    for quantity in (0, -1):
        denial = sized(rule, tick(0, 100), signal(1, quantity=quantity))
        assert (denial.code, denial.observed) == ("QUANTITY_NOT_POSITIVE", quantity)


def test_hold_is_not_sized() -> None:
    """It asks for nothing, and gets no order by a rule."""
    assert sized({"rule": "fixed", "quantity": 5}, tick(), signal(1, side="HOLD", quantity=None)).code == "SIGNAL_HOLD"


def test_without_a_rule_a_signal_needs_a_quantity() -> None:
    """A rule of another strategy or of another broker is none."""
    rule = {"sizing": {"rule": "fixed", "quantity": 5}}
    for limits in ({}, {"strategies": {"other": rule}}, {"brokers": {"zerodha": rule}}):
        (denial,) = decide(limits, tick(), signal(1, quantity=None))
        assert (denial.code, denial.limit, denial.observed) == ("QUANTITY_MISSING", 1, None)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({"account": 1}, 1), ({"brokers": 2}, 2), ({"strategies": 3}, 3), ({"account": 1, "brokers": 2}, 2),
        ({"account": 1, "strategies": 3}, 3), ({"account": 3, "brokers": 2, "strategies": 9}, 9),
    ],
)  # fmt: skip
def test_the_rule_of_the_narrowest_level_holds(levels: dict[str, int], expected: int) -> None:
    """A strategy's before its broker's before the account's, whichever is larger: a rule is no limit."""
    rules = {part: {"sizing": {"rule": "fixed", "quantity": quantity}} for part, quantity in levels.items()}
    names = {"brokers": "paper", "strategies": "test"}
    limits = {part: {names[part]: rule} if part in names else rule for part, rule in rules.items()}
    (order,) = decide(limits, tick(), signal(1, quantity=None))
    assert order.quantity == expected


# --- rounded down ----------------------------------------------------------------------------

_AMOUNTS = st.decimals(Decimal("0.0001"), 10**9, places=4)
_PRICES = st.integers(1, 10**9)  # ledger units
_LOTS = st.integers(1, 5000)


def no_bars(_: str) -> Sequence[float]:
    """Where none are known."""
    return ()


@given(_AMOUNTS, _PRICES, _LOTS)
def test_a_notional_is_never_exceeded_and_rounded_down_to_lots(rupees: Decimal, price: int, lot: int) -> None:
    """The largest multiple of the lot that the amount buys; less than a lot is refused, never rounded up."""
    check_rounded(size(Notional(rule="notional", rupees=rupees), price, lot, None, no_bars), rupees * UNITS, price, lot)


@given(st.integers(1, 10**15), st.decimals(Decimal("0.0001"), 1000, places=4), _PRICES, _LOTS)
def test_a_share_of_equity_is_never_exceeded_and_rounded_down_to_lots(
    equity: int, percent: Decimal, price: int, lot: int
) -> None:
    """Likewise, of whatever equity."""
    rule = PercentOfEquity(rule="percent_of_equity", percent=percent)
    check_rounded(size(rule, price, lot, equity, no_bars), equity * percent / 100, price, lot)


@given(st.integers(1, 10**12), _LOTS, st.none() | st.integers(-5, 10**9))
def test_a_fixed_quantity_is_rounded_down_to_lots(quantity: int, lot: int, price: int | None) -> None:
    """It needs neither price nor equity."""
    found = size(Fixed(rule="fixed", quantity=quantity), price, lot, None, no_bars)
    check_rounded(found, Decimal(quantity), 1, lot)


def check_rounded(found: int | Refusal, amount: Decimal, price: int, lot: int) -> None:
    """A multiple of the lot, within the amount, of which one lot more would not be; or no lot at all is."""
    if isinstance(found, Refusal) and found.limit == MOST_UNITS and found.code == "SIZE_UNKNOWN":
        assert amount // price > MOST_UNITS
        return
    if isinstance(found, Refusal):
        assert (found.code, found.limit) == ("SIZE_BELOW_LOT", lot)
        assert isinstance(found.observed, int)
        assert 0 <= found.observed < lot
        assert amount < lot * price
        return
    assert found > 0
    assert found % lot == 0
    assert found * price <= amount < (found + lot) * price


@given(
    st.lists(st.floats(1, 10_000), min_size=6, max_size=6), st.integers(1, 10**13), _PRICES, _LOTS,
    st.decimals(Decimal("0.01"), 100, places=2),
)  # fmt: skip
def test_a_volatility_target_is_never_exceeded_and_rounded_down_to_lots(
    closes: list[float], equity: int, price: int, lot: int, percent: Decimal
) -> None:
    """Its position times its volatility is no more than the share of equity, one lot more would be above it."""
    deviation = volatility(closes, 75)
    assume(deviation > 1e-9)
    rule = VolatilityTarget(rule="volatility_target", percent=percent, bars=5)
    found = size(rule, price, lot, equity, lambda _: closes)
    quantity = 0 if isinstance(found, Refusal) else found
    assert quantity % lot == 0
    target = float(equity * percent) / 100
    assert quantity * price * deviation <= target * (1 + 1e-9)
    assert (quantity + lot) * price * deviation >= target * (1 - 1e-9)


@pytest.mark.parametrize(
    ("rule", "quantity"), [({"rule": "fixed", "quantity": 200}, 195), ({"rule": "notional", "rupees": 7000}, 65)]
)
def test_the_lot_is_that_of_the_contract(rule: dict[str, Any], quantity: int) -> None:
    """By the master of the day: 65 units of NIFTY."""
    limits = {"account": {"sizing": rule}}
    (order,) = decide(limits, in_august(), asks(), instruments=Master.of(NFO))
    assert order.quantity == quantity


def test_less_than_a_lot_is_refused() -> None:
    """64 units of a lot of 65: neither none nor one lot."""
    for rule in ({"rule": "fixed", "quantity": 64}, {"rule": "notional", "rupees": 6499.99}):
        (denial,) = decide({"account": {"sizing": rule}}, in_august(), asks(), instruments=Master.of(NFO))
        assert (denial.code, denial.limit, denial.observed) == ("SIZE_BELOW_LOT", 65, 64)


# --- what is missing -------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["notional", "percent_of_equity", "volatility_target"])
def test_without_a_price_there_is_no_size(rule: str) -> None:
    """No tick of the instrument, or a price that is nothing: SIZE_UNKNOWN, and by which rule."""
    settings = {"rule": rule, **({"rupees": 1000} if rule == "notional" else {"percent": 1})}
    for event in (tick(0, 100, BANK), tick(0, 0.00001)):
        denial = sized(settings, event, signal(1, quantity=None))
        assert (denial.code, denial.limit, denial.observed) == ("SIZE_UNKNOWN", rule, None)
        assert "price" in denial.message


@pytest.mark.parametrize("rule", ["percent_of_equity", "volatility_target"])
@pytest.mark.parametrize(
    ("cash", "observed"), [(None, None), (Decimal(0), 0)]
)  # fmt: skip
def test_without_equity_there_is_no_share_of_it(rule: str, cash: Decimal | None, observed: int | None) -> None:
    """Not known, or none: SIZE_UNKNOWN, with what to set."""
    cash_of = {} if cash is None else {"paper": cash}
    denial = sized({"rule": rule, "percent": 1}, tick(), signal(1, quantity=None), opening_cash=cash_of)
    assert (denial.code, denial.limit, denial.observed) == ("SIZE_UNKNOWN", rule, observed)
    assert "opening_cash" in denial.message


@pytest.mark.parametrize("count", [0, 1, 5])
def test_without_enough_bars_there_is_no_volatility(count: int) -> None:
    """Five returns take six closing prices: SIZE_UNKNOWN says how many returns there are."""
    rule = {"rule": "volatility_target", "percent": 1, "bars": 5}
    denial = sized(rule, *bars(CLOSES[:count]), tick(), signal(1, quantity=None))
    assert (denial.code, denial.limit, denial.observed) == ("SIZE_UNKNOWN", 5, max(count - 1, 0))
    assert "alpha bars" in denial.message


def test_prices_that_do_not_move_have_no_size() -> None:
    """Any position would do: SIZE_UNKNOWN."""
    rule = {"rule": "volatility_target", "percent": 1, "bars": 5}
    denial = sized(rule, *bars([100.0] * 6), tick(), signal(1, quantity=None))
    assert (denial.code, denial.limit, denial.observed) == ("SIZE_UNKNOWN", "volatility_target", 0)


@pytest.mark.parametrize("close", [0.0, -1.0])
def test_a_price_without_a_logarithm_has_no_size(close: float) -> None:
    """A bar at nothing, or below, is a denial like any missing fact, and no end of the stage."""
    rule = {"rule": "volatility_target", "percent": 1, "bars": 5}
    denial = sized(rule, *bars((*CLOSES[:5], close)), tick(), signal(1, quantity=None))
    assert denial.code == "SIZE_UNKNOWN"


@pytest.mark.parametrize(
    ("rule", "events"),
    [
        ({"rule": "notional", "rupees": 10**12}, [tick(0, 0.05)]),
        ({"rule": "percent_of_equity", "percent": 1000}, [tick(0, 0.0001)]),
        (
            {"rule": "volatility_target", "percent": 100, "bars": 3},
            [*bars([100.0, 100.0 + 1e-12, 100.0, 100.0]), tick(0, 0.05)],
        ),
    ],
)
def test_no_rule_gives_an_order_that_the_next_stage_cannot_read(rule: dict[str, Any], events: list[Event]) -> None:
    """More units than an order can have are refused here, and do not stop the pipeline behind."""
    made = sized(rule, *events, signal(1, quantity=None))
    assert decode(encode(made)) == made


# --- limits hold for it ----------------------------------------------------------------------

TOO_MUCH: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "QUANTITY_ABOVE_LIMIT": ({"max_order_quantity": 9}, 9, 10),
    "VALUE_ABOVE_LIMIT": ({"max_order_value": 999.99}, 999.99, 1000),
    "POSITION_ABOVE_LIMIT": ({"max_position": 9}, 9, 10),
    "EXPOSURE_OPEN_ABOVE_LIMIT": ({"max_open_order_value": 999}, 999, 1000),
    "EXPOSURE_TURNOVER_ABOVE_LIMIT": ({"max_turnover": 999}, 999, 1000),
    "EXPOSURE_GROSS_ABOVE_LIMIT": ({"max_gross_exposure": 999}, 999, 1000),
    "EXPOSURE_NET_ABOVE_LIMIT": ({"max_net_exposure": 999}, 999, 1000),
    "FUNDS_INSUFFICIENT": ({"max_funds_share": 0.000999}, 999, 1000),
    "VOLUME_ABOVE_LIMIT": ({"participation": {"day": 0.09}}, 9, 10),
}


@pytest.mark.parametrize("code", list(TOO_MUCH))
@pytest.mark.parametrize(
    "rule", [{"rule": "fixed", "quantity": 10}, {"rule": "notional", "rupees": 1050},
             {"rule": "percent_of_equity", "percent": 0.1}],
)  # fmt: skip
def test_what_a_rule_gives_is_held_to_every_limit(rule: dict[str, Any], code: str) -> None:
    """Ten units are refused where nine may be ordered; not cut to nine. Where ten may be, ten are ordered."""
    limits, limit, observed = TOO_MUCH[code]
    file = {"account": {**limits, "sizing": rule}, "instruments": {NIFTY: {"average_daily_volume": 100}}}
    (denial,) = decide(file, tick(0, 100), signal(1, quantity=None))
    assert isinstance(denial, Denial)
    assert (denial.code, denial.limit, denial.observed) == (code, limit, observed)
    (order,) = decide({"account": {"sizing": rule}}, tick(0, 100), signal(1, quantity=None))
    assert order.quantity == 10


def test_the_same_sized_signal_again_is_a_repetition() -> None:
    """The quantity that the rule gave is part of what makes an order the same."""
    limits = {"account": {"sizing": {"rule": "fixed", "quantity": 5}, "duplicate_window": 10}}
    made = decide(limits, tick(), signal(1, quantity=None), signal(2, quantity=None), signal(3, quantity=5))
    assert [getattr(one, "code", "ORDER") for one in made] == ["ORDER", "ORDER_DUPLICATE", "ORDER_DUPLICATE"]


def test_a_signal_is_sized_by_the_bars_before_it_in_real_processes(tmp_path: Path) -> None:
    """`alpha bars --interval 5m | alpha risk`: the expected quantity, and SIZE_UNKNOWN while bars are too few."""
    path = tmp_path / "limits.yaml"
    rule = {"rule": "volatility_target", "percent": 1, "interval": "5m", "bars": 5}
    path.write_text(yaml.safe_dump({"account": {"sizing": rule}}))
    prices = [100 + (minute * 7 % 11) / 4 for minute in range(40)]
    events: list[Event] = [tick(60 * minute, price) for minute, price in enumerate(prices)]
    events.insert(21, signal(1, at=60 * 20, quantity=None))  # four bars, so three returns
    events.append(signal(2, at=60 * 39, quantity=None))
    given_bytes = stream(events)
    risk = ["-q", "--config", str(path)]
    with Pipeline(alpha("bars", "-q", "--interval", "5m"), alpha("risk", *risk)) as pipeline:
        pipeline.write(given_bytes)
        assert pipeline.finish() == [0, 0]
        output = pipeline.output
    found = [decode(line) for line in output.splitlines()]
    (denial,) = [one for one in found if isinstance(one, Denial)]
    assert (denial.code, denial.limit, denial.observed) == ("SIZE_UNKNOWN", 5, 3)
    (order,) = [one for one in found if isinstance(one, Order)]
    closes = [prices[minute + 4] for minute in range(0, 35, 5)][-6:]  # of the bars that ended by 09:50
    assert order.quantity == floor(10_000 / volatility(closes, 75) / prices[-1])
    fused = run_alpha(["pipe", "-q", f"bars --interval 5m | risk --config '{path}'"], given_bytes)
    assert (fused.returncode, fused.stdout) == (0, output)
    (without,) = [
        decode(line)
        for line in run_alpha(["risk", *risk], given_bytes).stdout.splitlines()
        if b'"signal_id":"s2"' in line and b'"denial"' in line
    ]
    assert (without.code, without.limit, without.observed) == ("SIZE_UNKNOWN", 5, 0)


# --- above the freeze quantity ---------------------------------------------------------------


@given(st.integers(1, 400), st.none() | st.integers(1, 10_000), st.integers(1, 200))
def test_slices_are_whole_lots_within_the_freeze_quantity_and_sum_to_the_order(
    lots: int, freeze: int | None, lot: int
) -> None:
    """As few as there can be, all but the last as large as they may be."""
    assume(freeze is None or freeze >= lot)
    quantity = lots * lot
    found = slice_sizes(quantity, freeze, lot)
    assert sum(found) == quantity
    assert all(one > 0 and one % lot == 0 for one in found)
    if freeze is None:
        assert found == [quantity]
        return
    largest = freeze // lot * lot
    assert max(found) <= freeze
    assert set(found[:-1]) <= {largest}
    assert len(found) == -(-quantity // largest)


def test_the_freeze_quantity_of_these_tests_is_that_of_the_file() -> None:
    """1,800 units of NIFTY in August 2026; what is not a multiple of the lot is no order."""
    assert {freeze_quantity(one, DAY.date()) for one in NFO} == {FREEZE}
    assert (WHOLE, WHOLE % LOT, FREEZE % LOT) == (1755, 0, 45)


@pytest.mark.parametrize("token", [FUTURE, OPTION])
@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (LOT, [LOT]), (WHOLE, [WHOLE]), (WHOLE + LOT, [WHOLE, LOT]), (2 * WHOLE, [WHOLE] * 2),
        (100 * LOT, [WHOLE] * 3 + [1235]), (10 * WHOLE, [WHOLE] * 10),
    ],
)  # fmt: skip
def test_an_order_above_the_freeze_quantity_is_cut(token: int, quantity: int, expected: list[int]) -> None:
    """Into orders that name it as their parent and are otherwise alike; one within it stays whole."""
    asked_for = asks(1, quantity, token=token, confidence=0.5, metadata={"k": [1]})
    made = decide({"account": {"market_protection": 0.01}}, in_august(token=token), asked_for,
                  instruments=Master.of(NFO))  # fmt: skip
    assert [one.quantity for one in made] == expected
    parent = derive_id("order", "s1")
    if len(expected) == 1:
        assert (made[0].order_id, made[0].parent_order_id) == (parent, None)
        return
    assert {one.parent_order_id for one in made} == {parent}
    assert len({one.order_id for one in made} | {parent}) == len(expected) + 1
    for one in made:
        assert (one.signal_id, one.side, one.product, one.order_type) == ("s1", "BUY", "NRML", "MARKET")
        assert (one.confidence, one.metadata, one.market_protection) == (0.5, {"k": [1]}, 1)
        assert (one.reference_price, one.limits_hash) == (100, made[0].limits_hash)


def test_slices_have_the_same_ids_each_time() -> None:
    """By the order and their place alone: whatever came before, and however many there are."""
    master = Master.of(NFO)
    (*four,) = decide({}, in_august(), asks(1, 4 * WHOLE), instruments=master)
    again = decide({"account": {"max_slices": 4}}, in_august(5, 90), asks(2, LOT), asks(1, 4 * WHOLE, at=5),
                   instruments=master)[1:]  # fmt: skip
    three = decide({}, in_august(), asks(1, 3 * WHOLE), instruments=master)
    ids = [one.order_id for one in four]
    assert ids == [one.order_id for one in again]
    assert ids[:3] == [one.order_id for one in three]


@pytest.mark.parametrize(("limits", "slices"), [({}, 10), ({"max_slices": 3}, 3), ({"max_slices": 1}, 1)])
def test_more_slices_than_may_be_are_refused(limits: dict[str, Any], slices: int) -> None:
    """Ten where nothing is set, as Kite does; the limit is in units of whole lots."""
    master = Master.of(NFO)
    whole = slices * WHOLE
    assert len(decide({"account": limits}, in_august(), asks(1, whole), instruments=master)) == slices
    (denial,) = decide({"account": limits}, in_august(), asks(1, whole + LOT), instruments=master)
    assert (denial.code, denial.limit, denial.observed) == ("QUANTITY_ABOVE_FREEZE", whole, whole + LOT)


def test_of_a_day_without_a_known_freeze_quantity_nothing_is_cut() -> None:
    """None is guessed; nor is there one for shares."""
    day = START.date()
    contract = Instrument(FUTURE, "NFO", "NIFTY24JUNFUT", "NIFTY", "NFO-FUT", "FUT", 25, Decimal("0.05"), day)
    assert freeze_quantity(contract, day) is None
    for instruments in (Master.of([contract]), None):
        (order,) = decide({}, tick(token=FUTURE), signal(1, quantity=5000, instrument_token=FUTURE),
                          instruments=instruments)  # fmt: skip
        assert (order.quantity, order.parent_order_id) == (5000, None)


def test_a_sized_order_is_cut_too() -> None:
    """The rule says how many units, and the exchange how many at a time."""
    limits = {"account": {"sizing": {"rule": "fixed", "quantity": 4000}}}
    made = decide(limits, in_august(), asks(), instruments=Master.of(NFO))
    assert [one.quantity for one in made] == [WHOLE, WHOLE, 4000 // LOT * LOT - 2 * WHOLE]


def test_each_slice_counts_as_a_message() -> None:
    """Of five a second four are for orders: four slices pass and five do not; after three there is room for one."""
    master = Master.of(NFO)
    limits = {"account": {"message_rate": {"second": 5, "minute": 400, "day": 5000}}}
    assert len(decide(limits, in_august(), asks(1, 4 * WHOLE), instruments=master)) == 4
    (denial,) = decide(limits, in_august(), asks(1, 5 * WHOLE), instruments=master)
    assert (denial.code, denial.limit, denial.observed) == ("RATE_ABOVE_LIMIT", 4, 5)
    made = decide(limits, in_august(), asks(1, 3 * WHOLE), asks(2, 2 * WHOLE), asks(3, WHOLE), instruments=master)
    assert [getattr(one, "code", "ORDER") for one in made] == ["ORDER"] * 3 + ["RATE_ABOVE_LIMIT", "ORDER"]
    assert (made[3].limit, made[3].observed) == (4, 5)


def test_limits_are_held_against_the_whole_order() -> None:
    """Not slice by slice: units, value and position are those of all of it, and all or nothing goes out."""
    for code, limits in (
        ("QUANTITY_ABOVE_LIMIT", {"max_order_quantity": 2 * WHOLE - 1}),
        ("VALUE_ABOVE_LIMIT", {"max_order_value": 200 * WHOLE - 1}),
        ("POSITION_ABOVE_LIMIT", {"max_position": 2 * WHOLE - 1}),
        ("EXPOSURE_OPEN_ABOVE_LIMIT", {"max_open_order_value": 200 * WHOLE - 1}),
        ("EXPOSURE_TURNOVER_ABOVE_LIMIT", {"max_turnover": 200 * WHOLE - 1}),
    ):
        ((setting, most),) = limits.items()
        made = decide({"account": limits}, in_august(), asks(1, 2 * WHOLE), instruments=Master.of(NFO))
        assert [getattr(one, "code", "ORDER") for one in made] == [code]
        assert (made[0].limit, made[0].observed) == (most, most + 1)
        enough = {"account": {setting: most + 1}}
        made = decide(enough, in_august(), asks(1, 2 * WHOLE), asks(2, LOT), instruments=Master.of(NFO))
        assert [getattr(one, "code", "ORDER") for one in made][:2] == ["ORDER"] * 2
        if setting in {"max_position", "max_open_order_value", "max_turnover"}:  # both slices are in the books
            assert made[2].code == code


def test_a_sliced_order_is_one_repetition() -> None:
    """A strategy that asks once for much does not loop: four orders of three slices are four, and five are too many."""
    repeated = {"orders": 4, "seconds": 60, "round_trips": 9}
    limits = {"account": {"repeated_execution": repeated}}
    made = decide(limits, in_august(), *(asks(number, 3 * WHOLE) for number in range(1, 6)),
                  instruments=Master.of(NFO))  # fmt: skip
    orders = [one for one in made if isinstance(one, Order)]
    assert len(orders) == 12
    assert [one.code for one in made if isinstance(one, Denial)] == ["EXECUTION_REPEATED"]


def test_paper_fills_all_slices(tmp_path: Path) -> None:
    """Through real processes and in one: the same bytes, every slice complete, in sum what was asked for."""
    master = tmp_path / "master.csv"
    master.write_text(MASTER)
    quantity = 60 * LOT
    events = [in_august(0, 10), asks(1, quantity), in_august(1, 10), in_august(2, 10.05), in_august(3, 10.05)]
    given_bytes = stream(events)
    option = ["--instruments", str(master)]
    with Pipeline(alpha("risk", "-q", *option), alpha("paper", "-q", "--forward", *option)) as pipeline:
        pipeline.write(given_bytes)
        assert pipeline.finish() == [0, 0]
        shell = pipeline.output
    found = [decode(line) for line in shell.splitlines()]
    orders = [one for one in found if isinstance(one, Order)]
    assert [one.quantity for one in orders] == [WHOLE, WHOLE, quantity - 2 * WHOLE]
    filled = dict.fromkeys((one.order_id for one in orders), 0)
    for fill in found:
        if isinstance(fill, Fill):
            filled[fill.order_id] += fill.quantity
    assert list(filled.values()) == [one.quantity for one in orders]
    last = {one.order_id: one.status for one in found if isinstance(one, OrderUpdate)}
    assert last == dict.fromkeys(filled, "COMPLETE")
    text = f"risk --instruments '{master}' | paper --forward --instruments '{master}'"
    fused = run_alpha(["pipe", "-q", text], given_bytes)
    assert (fused.returncode, fused.stdout) == (0, shell)
