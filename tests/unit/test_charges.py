"""What a fill costs: published figures to the paisa, the dates on which rates changed, and what always holds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from support.examples import examples
from support.processes import ROOT, shared

from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.money import in_rupees, units
from alpha_cli.market.charges.engine import COMPONENTS, EXACT, Charges, Tariff, Trade, together
from alpha_cli.market.charges.rates import EXCHANGES, NO_SOURCE, ChargesUnknown, read_tariff

FILE = ROOT / "configs" / "charges" / "zerodha.json"
TARIFF = Tariff.load(FILE)
TODAY = date(2026, 11, 20)
OLD = date(2022, 6, 1)  # NSE's 0.00345 %


def trade(side: str, quantity: int, price: str | Decimal, what: str = "NSE equity MIS", day: date = TODAY) -> Trade:
    """`what` is EXCHANGE KIND PRODUCT, and a group or `agri` after them."""
    exchange, kind, product, *rest = what.split()
    more: dict[str, Any] = {"agri": True} if rest == ["agri"] else {"group": rest[0]} if rest else {}
    return Trade(day, exchange, kind, product, side, quantity, Decimal(price), **more)  # type: ignore[arg-type]


FOUR_DECIMALS = Decimal("0.0001")


def fill(trade: Trade, already: Decimal = Decimal(0), tariff: Tariff = TARIFF) -> Charges:
    """The charges of a fill as paper books them, in rupees and with their total."""
    kind = (trade.exchange, trade.kind, trade.product, trade.side)
    turnover = units(EXACT.multiply(trade.price, trade.quantity))
    made = tariff.in_units(trade.date, kind, turnover, units(already), group=trade.group, agri=trade.agri)
    return {**{name: in_rupees(amount) for name, amount in made.items()}, "total": in_rupees(sum(made.values()))}


def by_decimals(trade: Trade, already: Decimal) -> Charges:
    """The same charges computed the long way, in decimals: a second opinion."""
    rates = TARIFF.rates_for(trade.date, trade.exchange, trade.kind, trade.product, trade.side)

    def fee(turnover: Decimal) -> Decimal:
        made = rates.flat + rates.brokerage * turnover if turnover else Decimal(0)
        return made if rates.cap is None else min(made, rates.cap)

    def rounded(amount: Decimal) -> Decimal:
        return amount.quantize(FOUR_DECIMALS, ROUND_HALF_UP)

    turnover = trade.price * trade.quantity
    now, before = fee(already + turnover), fee(already)
    taxed = now - before + turnover * rates.transaction + turnover * rates.sebi
    charges = {
        "brokerage": rounded(now) - rounded(before),
        rates.tax: rounded(turnover * rates.tax_rate),
        "transaction": rounded(turnover * rates.transaction),
        "sebi": rounded(turnover * rates.sebi),
        "stamp_duty": rounded(turnover * rates.stamp_duty),
        "gst": rounded(taxed * rates.gst),
    }
    return {name: amount for name, amount in charges.items() if amount}


def cost(*trades: Trade) -> Charges:
    """All of them together, unrounded."""
    return together([TARIFF.unrounded(one) for one in trades])


def round_trip(quantity: int, buy: str, sell: str, what: str, day: date = TODAY) -> Charges:
    return cost(trade("BUY", quantity, buy, what, day), trade("SELL", quantity, sell, what, day))


def paisa(amount: Decimal) -> str:
    return str(amount.quantize(Decimal("0.01"), ROUND_HALF_UP))


def amounts(charges: Charges) -> dict[str, str]:
    """Comparable and readable: no trailing zeros."""
    return {name: f"{amount.normalize():f}" for name, amount in charges.items()}


# --- published figures -----------------------------------------------------------------------


def test_delivery_of_5000_at_1000_costs_what_a_public_calculator_says() -> None:
    """Bought and sold on NSE today: 11,124.06."""
    charges = round_trip(5000, "1000", "1000", "NSE equity CNC")
    assert amounts(charges) == {
        "stt": "10000", "transaction": "307", "sebi": "10", "stamp_duty": "750", "gst": "57.06", "total": "11124.06",
    }  # fmt: skip


def test_intraday_400_from_1000_to_1100_costs_what_zerodhas_calculator_said() -> None:
    """With NSE's 0.00345 %: 204.39, and each line of it."""
    charges = round_trip(400, "1000", "1100", "NSE equity MIS", OLD)
    assert {name: paisa(amount) for name, amount in charges.items()} == {
        "brokerage": "40.00", "stt": "110.00", "transaction": "28.98", "sebi": "0.84", "stamp_duty": "12.00",
        "gst": "12.57", "total": "204.39",
    }  # fmt: skip


def test_kites_order_margins_agree_where_they_are_not_rounded() -> None:
    """Their brokerage of one paisa on delivery and their stamp duty are rounded by other rules; the rest is exact."""
    answer = json.loads((shared("kite-api-mocks") / "order_margins.json").read_text(), parse_float=Decimal)
    theirs = answer["data"][0]["charges"]
    ours = cost(trade("BUY", 1, "1498", "NSE equity CNC", OLD))
    assert ours["stt"] == theirs["transaction_tax"]
    assert ours["transaction"] == theirs["exchange_turnover_charge"]
    assert ours["sebi"] == theirs["sebi_turnover_charge"]
    gst = (theirs["brokerage"] + ours["transaction"] + ours["sebi"]) * TARIFF.gst(OLD)
    assert gst.quantize(Decimal("1e-12")) == theirs["gst"]["total"].quantize(Decimal("1e-12"))
    assert ours["stamp_duty"].quantize(Decimal("0.01")) == theirs["stamp_duty"]


def test_kites_virtual_contract_note_of_a_commodity() -> None:
    """Its leg on MCX, at the rates of 2023."""
    assert amounts(cost(trade("SELL", 1, "5862", "MCX future NRML", date(2023, 7, 3)))) == {
        "brokerage": "1.7586", "ctt": "0.5862", "transaction": "0.152412", "sebi": "0.005862", "gst": "0.34503732",
        "total": "2.84811132",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("what", "quantity", "buy", "sell", "total"),
    [
        ("NSE equity MIS", 400, "1000", "1100", "200.62104"),
        ("BSE equity MIS", 400, "1000", "1100", "207.3612"),
        ("NSE equity CNC", 400, "1000", "1100", "931.42104"),
        ("BSE equity CNC", 400, "1000", "1100", "938.1612"),
        ("NFO future NRML", 400, "1000", "1100", "294.33016"),
        ("BFO future NRML", 400, "1000", "1100", "276.1912"),
        ("NFO option NRML", 400, "100", "110", "149.716456"),
        ("BFO option NRML", 400, "100", "110", "146.71312"),
        ("NSE equity MIS", 10, "100", "101", "1.06922606"),
        # 85 lakh a side: 40 + 59.50 of the exchange + 17 of SEBI + 18 % of these + 8.50 of stamp duty
        ("CDS future NRML", 100_000, "85", "85", "145.97"),
        # 7 lakh a side: 40 + 70 of CTT + 29.40 + 1.40 + 18 % of 70.80 + 14
        ("MCX future NRML", 100, "7000", "7000", "167.544"),
    ],
)
def test_today(what: str, quantity: int, buy: str, sell: str, total: str) -> None:
    """By exchange and kind; the first nine are worked out in the project's reference."""
    assert round_trip(quantity, buy, sell, what)["total"] == Decimal(total)


def test_the_product_makes_no_difference_to_derivatives() -> None:
    """MIS or NRML: the same."""
    for what in ("NFO future", "NFO option", "MCX future"):
        assert round_trip(50, "100", "101", f"{what} MIS") == round_trip(50, "100", "101", f"{what} NRML")


@pytest.mark.parametrize(
    ("what", "side", "component", "fraction"),
    [
        ("BSE equity CNC", "BUY", "transaction", "0.0000375"),
        ("BSE equity CNC A", "BUY", "transaction", "0.0000375"),
        ("BSE equity CNC XT", "BUY", "transaction", "0.001"),
        ("BSE equity CNC ST", "SELL", "transaction", "0.01"),
        ("BSE equity MIS MT", "SELL", "transaction", "0.0000275"),
        ("BFO option NRML SX50", "BUY", "transaction", "0.00005"),
        ("BFO option NRML FOCIT", "BUY", "transaction", "0"),
        ("NSE equity CNC ETF", "BUY", "stt", "0"),
        ("NSE equity CNC ETF", "SELL", "stt", "0.00001"),
        ("NSE equity MIS ETF", "SELL", "stt", "0.00025"),
        ("NSE equity CNC ETF-OTHER", "SELL", "stt", "0"),
        ("MCX future NRML", "SELL", "ctt", "0.0001"),
        ("MCX future NRML agri", "SELL", "ctt", "0"),
        ("MCX future NRML", "SELL", "sebi", "0.000001"),
        ("MCX future NRML agri", "SELL", "sebi", "0.0000001"),
        ("MCX option NRML", "SELL", "ctt", "0.0005"),
        ("MCX option NRML", "BUY", "ctt", "0"),
        ("MCX option NRML", "BUY", "transaction", "0.000418"),
        ("CDS option NRML", "SELL", "stt", "0"),
        ("CDS option NRML", "SELL", "transaction", "0.000311"),
        ("BCD future NRML", "BUY", "transaction", "0.0000045"),
        ("BCD future NRML", "BUY", "stamp_duty", "0.000001"),
        ("NSE equity MIS", "BUY", "stt", "0"),
        ("NSE equity MIS", "SELL", "stamp_duty", "0"),
    ],
)
def test_rates_by_group_side_and_commodity(what: str, side: str, component: str, fraction: str) -> None:
    """Of a turnover of a crore."""
    charged = cost(trade(side, 10_000, "1000", what)).get(component, Decimal(0))
    assert charged == Decimal(fraction) * 10**7


@pytest.mark.parametrize(
    ("what", "rupees"), [("NSE equity CNC", 307), ("NFO future NRML", 183), ("NFO option NRML", 3553)]
)  # fmt: skip
def test_the_exchange_takes_what_its_circular_says_of_a_crore(what: str, rupees: int) -> None:
    """NSE/FA/73061, each side, its investor protection fund included; the same in total since October 2024."""
    for day in (date(2024, 10, 1), date(2026, 2, 28), date(2026, 3, 1), TODAY):
        assert cost(trade("BUY", 10_000, "1000", what, day))["transaction"] == rupees


def test_half_of_the_last_decimal_is_rounded_up() -> None:
    """0.025 % of 20 paise is 0.00005 rupees."""
    assert fill(trade("SELL", 1, "0.2")) == {
        "brokerage": Decimal("0.0001"), "stt": Decimal("0.0001"), "total": Decimal("0.0002"),
    }  # fmt: skip


# --- dates -----------------------------------------------------------------------------------

ERAS = {
    ("stt", "NFO future NRML", "SELL"): {
        "2022-01-01": "0.01", "2023-04-01": "0.0125", "2024-10-01": "0.02", "2026-04-01": "0.05",
    },
    ("stt", "NFO option NRML", "SELL"): {
        "2022-01-01": "0.05", "2023-04-01": "0.0625", "2024-10-01": "0.1", "2026-04-01": "0.15",
    },
    ("stt", "NSE equity CNC", "BUY"): {"2022-01-01": "0.1"},
    ("stt", "NSE equity MIS", "SELL"): {"2022-01-01": "0.025"},
    ("transaction", "NSE equity MIS", "BUY"): {
        "2022-01-01": "0.00345", "2023-04-01": "0.00335", "2024-04-01": "0.00332", "2024-10-01": "0.00307",
    },
    ("transaction", "NFO future NRML", "BUY"): {
        "2022-01-01": "0.002", "2024-04-01": "0.00198", "2024-10-01": "0.00183",
    },
    ("transaction", "NFO option NRML", "BUY"): {
        "2022-01-01": "0.053", "2023-04-01": "0.0505", "2024-04-01": "0.05", "2024-10-01": "0.03553",
    },
    ("transaction", "BSE equity CNC", "BUY"): {"2022-01-01": "0.00345", "2022-12-01": "0.00375"},
    ("transaction", "BFO option NRML STOCK", "BUY"): {"2022-01-01": "0", "2022-05-02": "0.005"},
    ("transaction", "MCX future NRML", "BUY"): {"2022-01-01": "0.0026", "2024-10-01": "0.0021"},
    ("transaction", "MCX option NRML", "BUY"): {"2022-01-01": "0.05", "2024-10-01": "0.0418"},
    ("transaction", "CDS future NRML", "BUY"): {"2022-01-01": "0.0009", "2024-10-01": "0.00035"},
    ("transaction", "BCD future NRML", "BUY"): {"2022-01-01": "0.00022", "2024-10-01": "0.00045"},
    ("stamp_duty", "NFO future NRML", "BUY"): {"2022-01-01": "0.002"},
}  # fmt: skip


@pytest.mark.parametrize("asked", list(ERAS), ids=" ".join)
def test_a_rate_holds_from_its_day_until_the_day_before_the_next(asked: tuple[str, str, str]) -> None:
    """Asked in time's order and against it: what was found for one era does not answer for another."""
    component, what, side = asked
    eras = [(date.fromisoformat(first), Decimal(rate) / 100) for first, rate in ERAS[asked].items()]
    days: list[tuple[date, Decimal]] = []
    for place, (first, rate) in enumerate(eras):
        last = eras[place + 1][0] - timedelta(days=1) if place + 1 < len(eras) else TODAY
        days += [(first, rate), (last, rate)]
    for tariff in (Tariff.load(FILE), Tariff.load(FILE)):
        for day, rate in days:
            charges = tariff.unrounded(trade(side, 10_000, "1000", what, day))
            assert charges.get(component, Decimal(0)) == rate * 10**7, day
        days.reverse()


@pytest.mark.parametrize(
    ("what", "day", "words"),
    [
        ("NSE equity CNC", "2021-12-31", ("2021-12-31", "2022-01-01")),
        ("BFO option NRML", "2023-11-01", ("transaction on BFO of 2023-11-01", "20231020-46", "to 2024-05-13")),
        ("BFO option NRML", "2024-05-12", ("transaction on BFO of 2024-05-12",)),
        ("BFO option NRML FOCIT", "2026-05-10", ("transaction on BFO of 2026-05-10",)),
        ("CDS option NRML", "2022-01-01", ("brokerage on CDS of 2022-01-01", "day of the change")),
        ("CDS option NRML", "2024-09-30", ("brokerage on CDS of 2024-09-30",)),
        ("MCX future NRML agri", "2024-09-30", ("transaction on MCX of 2024-09-30", "kapas")),
        ("NCO future NRML", "2026-11-20", ("transaction on NCO of 2026-11-20", "not found")),
        ("NSE future NRML", "2026-11-20", ("future on NSE", "NFO")),
        ("NYSE equity CNC", "2026-11-20", ("equity on NYSE",)),
    ],
)
def test_what_has_no_source_is_refused_by_name(what: str, day: str, words: Iterable[str]) -> None:
    """Component, exchange and day are in the message, and the way out; the exit code is that of a configuration."""
    with pytest.raises(ChargesUnknown) as raised:
        fill(trade("BUY", 1, "100", what, date.fromisoformat(day)))
    assert all(word in str(raised.value) for word in words), raised.value
    assert raised.value.exit_code == 78


def test_a_day_after_a_gap_is_known_again() -> None:
    """The era without a source ends on its day."""
    for day in ("2023-10-31", "2024-05-13"):
        assert fill(trade("BUY", 1, "100", "BFO option NRML", date.fromisoformat(day)))["total"] > 0


# --- events ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "group", "expected"),
    [
        ("2022-01-01", None, {"dp": "13.5", "gst": "2.43", "total": "15.93"}),
        ("2024-09-30", None, {"dp": "13.5", "gst": "2.43", "total": "15.93"}),
        ("2024-10-01", None, {"dp": "13", "gst": "2.34", "total": "15.34"}),
        ("2026-11-20", None, {"dp": "13", "gst": "2.34", "total": "15.34"}),
        ("2026-11-20", "WOMAN", {"dp": "12.75", "gst": "2.295", "total": "15.045"}),
    ],
)
def test_dp_charge(day: str, group: str | None, expected: dict[str, str]) -> None:
    """Rs 15.93, then Rs 15.34, for an instrument and day."""
    assert amounts(TARIFF.dp(date.fromisoformat(day), group)) == expected


def test_auto_square_off_is_50_and_gst() -> None:
    """An order."""
    assert amounts(TARIFF.auto_square_off(TODAY)) == {"gst": "9", "auto_square_off": "50", "total": "59"}


@pytest.mark.parametrize(
    ("day", "stt"), [("2022-01-01", "375"), ("2026-03-31", "375"), ("2026-04-01", "450")]
)  # fmt: skip
def test_an_exercised_option_pays_stt_on_its_intrinsic_value(day: str, stt: str) -> None:
    """3000 × 100 at 0.125 % is 375, as Zerodha worked out (tradingqna.com/t/151973); since April 2026 0.15 %."""
    charges = TARIFF.on_exercise(date.fromisoformat(day), "NFO", Decimal(300_000))
    assert amounts(charges)["stt"] == stt
    assert (amounts(charges)["brokerage"], amounts(charges)["gst"]) == ("20", "3.6")


def test_the_writer_of_an_exercised_option_pays_no_stt() -> None:
    """And what expires worthless costs nothing."""
    assert amounts(TARIFF.on_exercise(TODAY, "NFO", Decimal(300_000), "BUY")) == {
        "brokerage": "20", "gst": "3.6", "total": "23.6",
    }  # fmt: skip
    assert TARIFF.on_exercise(TODAY, "NFO", Decimal(0)) == {"total": 0}
    with pytest.raises(ChargesUnknown, match="MCX"):
        TARIFF.on_exercise(TODAY, "MCX", Decimal(100))


# --- what always holds -----------------------------------------------------------------------

KNOWN = [f"{exchange} {kind}" for exchange, kinds in EXCHANGES.items() if exchange != "NCO" for kind in kinds]
prices = st.integers(1, 10**9).map(lambda ticks: Decimal(ticks) / 10_000)
days = st.dates(date(2024, 10, 1), date(2027, 12, 31))
whats = st.tuples(st.sampled_from(KNOWN), st.sampled_from(["MIS", "CNC", "NRML"])).map(" ".join)
sides = st.sampled_from(["BUY", "SELL"])
trades = st.builds(trade, sides, st.integers(1, 10**6), prices, whats, days)


@given(trades)
def test_an_estimate_is_the_exact_figure_rounded_to_four_decimals(one: Trade) -> None:
    """Each component by itself, half up; the total is what they add up to."""
    exact, estimate = TARIFF.unrounded(one), fill(one)
    for name in COMPONENTS:
        assert estimate.get(name, 0) == exact.get(name, Decimal(0)).quantize(FOUR_DECIMALS, ROUND_HALF_UP)
    for charges in (exact, estimate):
        assert all(amount > 0 for name, amount in charges.items() if name != "total")
        assert charges["total"] == sum(amount for name, amount in charges.items() if name != "total")


@given(st.data(), whats, sides, days)
def test_the_fills_of_an_order_pay_the_brokerage_of_one_fill(
    data: st.DataObject, what: str, side: str, day: date
) -> None:
    """To the last digit, in whatever parts and at whatever prices it fills."""
    fills = data.draw(st.lists(st.tuples(st.integers(1, 10**5), prices), min_size=1, max_size=8))
    already = paid = Decimal(0)
    for quantity, price in fills:
        paid += fill(trade(side, quantity, price, what, day), already).get("brokerage", Decimal(0))
        already += quantity * price
    whole = TARIFF.unrounded(trade(side, 1, already, what, day)).get("brokerage", Decimal(0))
    assert paid == whole.quantize(FOUR_DECIMALS, ROUND_HALF_UP)
    if " option " in f" {what} ":
        assert paid == 20
    elif what.endswith(("equity CNC", "equity NRML")):
        assert paid == 0
    else:
        assert paid == min(already * Decimal("0.0003"), Decimal(20)).quantize(FOUR_DECIMALS, ROUND_HALF_UP)


@given(trades, st.integers(1, 10**6))
def test_more_never_costs_less(one: Trade, more: int) -> None:
    """In units, at the same price; no component shrinks."""
    bigger = Trade(one.date, one.exchange, one.kind, one.product, one.side, one.quantity + more, one.price)
    small, big = fill(one), fill(bigger)
    assert all(amount <= big[name] for name, amount in small.items())


@given(trades)
def test_delivery_is_never_cheaper_in_tax_than_intraday(one: Trade) -> None:
    """The product is taken at its word, and only equity's matters."""
    taxes = {
        product: sum(
            TARIFF.unrounded(Trade(one.date, one.exchange, one.kind, product, one.side, one.quantity, one.price)).get(
                name, Decimal(0)
            )
            for name in ("stt", "ctt", "stamp_duty")
        )
        for product in ("MIS", "CNC")
    }
    assert taxes["CNC"] > taxes["MIS"] if one.kind == "equity" else taxes["CNC"] == taxes["MIS"]


@examples(20)
@given(st.integers(10**11, 10**12), st.integers(10**11, 10**12))
def test_the_largest_amounts_are_exact(quantity: int, price: int) -> None:
    """The wire's twelve digits on both sides: nothing is lost to a precision."""
    one = trade("SELL", quantity, Decimal(price) - Decimal("0.0001"), "NSE equity CNC")
    turnover = quantity * (price * 10_000 - 1)  # in 1/10,000 rupees
    assert TARIFF.unrounded(one)["stt"] * 10_000_000 == turnover


# --- the file --------------------------------------------------------------------------------


def test_every_rate_of_the_shipped_file_has_a_source_or_says_that_it_has_none() -> None:
    """And there are eras of both kinds."""
    rates = read_tariff(FILE).rates
    assert all(len(row.source) > 20 for row in rates)
    assert all((row.rate is None) == row.source.startswith(NO_SOURCE) for row in rates)
    assert 0 < sum(row.rate is None for row in rates) < len(rates) / 5


def edited(tmp_path: Path, edit: Any) -> Path:
    """A copy of the shipped file after `edit(values)`."""
    values = json.loads(FILE.read_text())
    edit(values)
    path = tmp_path / "zerodha.json"
    path.write_text(json.dumps(values))
    return path


def _drop(values: dict[str, Any], component: str, exchange: str, **scope: Any) -> None:
    values["rates"] = [
        row
        for row in values["rates"]
        if row["component"] != component
        or exchange not in row.get("exchanges", ())
        or any(row.get(name) != value for name, value in scope.items())
    ]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda v: v["rates"][0].update(rate=0.03), "Expected `str | null`, got `float`"),
        (lambda v: v["rates"][0].update(rate="3 %"), "rate '3 %' is not a decimal number"),
        (lambda v: v["rates"][0].update(rate="nan"), "not a decimal number"),
        (lambda v: v["rates"][0].update(rate="-1"), "not a decimal number"),
        (lambda v: v["rates"][0].update(rate="1e99"), "not a decimal number"),
        (lambda v: v["rates"][1].update(cap="x"), "cap 'x' is not"),
        (lambda v: v["rates"][0].update(cap="5"), "only brokerage by turnover can have a cap"),
        (lambda v: v["rates"][0].update(rate=None), "a null rate needs a source that begins with"),
        (lambda v: v["rates"][0].update(source=" "), "a rate needs a source"),
        (lambda v: v["rates"][0].update(source="no source: x"), "a rate needs a source"),
        (lambda v: v["rates"][0].update(exchanges=["NASDAQ"]), "no exchange 'NASDAQ'"),
        (lambda v: v["rates"][0].update(rat="1"), "unknown field `rat`"),
        (lambda v: v["rates"][0].update({"from": "2022-02-30"}), "rates[0].from"),
        (lambda v: v["rates"][0].update({"from": "2022-02-01"}), "begins on 2022-02-01, not on first_day 2022-01-01"),
        (lambda v: v["rates"].append(dict(v["rates"][0])), "a row of the same scope and day exists already"),
        (lambda v: _drop(v, "sebi", "MCX"), "no rate of sebi for future, delivery on MCX"),
        (lambda v: _drop(v, "stt", "CDS"), "no rate of stt for future, delivery on CDS"),
        (lambda v: _drop(v, "ctt", "MCX", agri=True), "no rate of ctt for future, delivery, agri on MCX"),
        (
            lambda v: _drop(v, "stamp_duty", "NSE", holding="intraday"),
            "no rate of stamp_duty for equity, intraday on NSE",
        ),
        (lambda v: v.update(rates=[r for r in v["rates"] if r["component"] != "dp"]), "no rate of dp"),
        (lambda v: v.pop("broker"), "missing required field `broker`"),
        (lambda v: v["rates"].pop(), "no rate of auto_square_off"),
    ],
)
def test_a_broken_tariff_is_one_line(edit: Any, words: str, tmp_path: Path) -> None:
    """It names the file and the place."""
    path = edited(tmp_path, edit)
    with pytest.raises(ConfigurationError) as raised:
        Tariff.load(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "truncated"),
        (b"\xff", "malformed"),
        (b"[" * 100_000, ""),
        (b"{" + b" " * (1 << 20), "larger than 1048576 bytes"),
    ],
)
def test_what_is_no_json_is_one_line(content: bytes, words: str, tmp_path: Path) -> None:
    """Cut off, not UTF-8, nested without end, too large."""
    path = tmp_path / "zerodha.json"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"zerodha\.json") as raised:
        Tariff.load(path)
    assert words in str(raised.value)


def test_a_rate_given_twice_is_refused(tmp_path: Path) -> None:
    """Which of the two was meant?"""
    path = tmp_path / "zerodha.json"
    path.write_text(FILE.read_text().replace('"rate": "18"', '"rate": "18", "rate": "5"'))
    with pytest.raises(ConfigurationError, match="'rate' is given twice"):
        Tariff.load(path)


def test_a_missing_or_unreadable_tariff_is_one_line(tmp_path: Path) -> None:
    """So is a folder in its place."""
    with pytest.raises(ConfigurationError, match="no such file"):
        Tariff.load(tmp_path / "gone.json")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        Tariff.load(tmp_path)


def test_ones_own_tariff_goes_before_the_packaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In $ALPHA_CONFIG_DIR or ./configs; what had no source can be set there."""

    def set_rate(values: dict[str, Any]) -> None:
        for row in values["rates"]:
            if row.get("exchanges") == ["NCO"]:
                row.update(rate="0.001", source="my contract note of 2026-10-01")

    (tmp_path / "own" / "charges").mkdir(parents=True)
    edited(tmp_path, set_rate).rename(tmp_path / "own" / "charges" / "zerodha.json")
    monkeypatch.setenv("ALPHA_CONFIG_DIR", str(tmp_path / "own"))
    assert fill(trade("BUY", 1, "1000", "NCO future NRML"), tariff=Tariff.load())["transaction"] == Decimal("0.01")
    monkeypatch.delenv("ALPHA_CONFIG_DIR")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ChargesUnknown):
        fill(trade("BUY", 1, "1000", "NCO future NRML"), tariff=Tariff.load())


@given(
    st.sampled_from(["NSE", "BSE", "NFO", "BFO", "MCX"]),
    st.sampled_from(["MIS", "CNC", "NRML"]),
    st.sampled_from(["BUY", "SELL"]),
    st.integers(1, 10**6),
    st.integers(1, 10**9),
    st.integers(0, 10**13),
    st.dates(date(2022, 1, 1), date(2026, 12, 31)),
)
def test_in_ledger_units_a_fill_costs_what_it_does_in_rupees(exchange, product, side, quantity, price, already, day):
    """The whole numbers of the paper broker are the decimals of the estimate, digit by digit."""
    kind = "equity" if exchange in {"NSE", "BSE"} else "future"
    trade = Trade(day, exchange, kind, product, side, quantity, in_rupees(price))
    try:
        expected = by_decimals(trade, in_rupees(already))
    except ChargesUnknown:
        with pytest.raises(ChargesUnknown):
            TARIFF.in_units(day, (exchange, kind, product, side), quantity * price, already)
        return
    made = TARIFF.in_units(day, (exchange, kind, product, side), quantity * price, already)
    assert {name: in_rupees(amount) for name, amount in made.items()} == expected
