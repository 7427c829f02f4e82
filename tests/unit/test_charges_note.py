"""The contract note of a day: what became of the trades, and the published rounding."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as st
from support.processes import ROOT

from alpha_cli.core.errors import BadData
from alpha_cli.market.charges.engine import Charges, Tariff, together
from alpha_cli.market.charges.note import Note, NoteTrade, contract_note
from alpha_cli.market.charges.rates import ChargesUnknown

TARIFF = Tariff.load(ROOT / "configs" / "charges" / "zerodha.json")
TODAY = date(2026, 11, 20)


def fill(
    side: str, quantity: int, price: str | Decimal, order: str = "", what: str = "NSE equity CNC", **more: Any
) -> NoteTrade:
    """`what` is EXCHANGE KIND PRODUCT; without `order`, an order of its own."""
    exchange, kind, product = what.split()
    values: dict[str, Any] = {"symbol": "INFY", **more}
    order = order or f"{side} {quantity}@{price} {values['symbol']}"
    return NoteTrade(order, exchange, values.pop("symbol"), kind, product, side, quantity, Decimal(price), **values)  # type: ignore[arg-type]


def note(*trades: NoteTrade, day: date = TODAY) -> Note:
    return contract_note(TARIFF, day, trades)


def stt(*trades: NoteTrade) -> Decimal:
    return note(*trades).charges.get("stt", Decimal(0))


def amounts(charges: Charges) -> dict[str, str]:
    return {name: f"{amount.normalize():f}" for name, amount in charges.items()}


# --- STT -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("quantity", "buy", "sell", "rupees"), [(100, "100", "101", 3), (20, "103.30", "103.55", 1)])
def test_stt_of_intraday_is_whole_rupees(quantity: int, buy: str, sell: str, rupees: int) -> None:
    """Two examples of Zerodha's users: 2.53 is 3 and 0.52 is 1."""
    assert stt(fill("BUY", quantity, buy), fill("SELL", quantity, sell)) == rupees
    assert stt(fill("SELL", quantity, sell, what="NSE equity MIS")) == rupees  # by itself, too


def test_stt_is_on_the_average_of_all_that_was_bought_and_sold() -> None:
    """Zerodha's example: average 103.75; 500 intraday 12.97, which is 13; 200 delivery 20.75, which is 21."""
    made = note(fill("BUY", 500, "100"), fill("SELL", 500, "105"), fill("BUY", 200, "110"))
    assert [(line.what, str(line.exact), line.rounded) for line in made.taxes] == [
        ("intraday", "12.97", 13), ("delivery", "20.75", 21),
    ]  # fmt: skip
    assert made.charges["stt"] == 34


@pytest.mark.parametrize(
    ("price", "rupees"),
    [("124.95", 13), ("124.94", 12), ("124.90", 12), ("125", 13), ("4.99", 1), ("5", 1), ("4.95", 1), ("4.94", 0)],
)
def test_stt_is_rounded_to_the_paisa_first_and_then_half_up(price: str, rupees: int) -> None:
    """12.495 is 12.50 is 13; 12.494 is 12.49 is 12."""
    assert stt(fill("SELL", 100, price)) == rupees


def test_paise_of_several_instruments_are_added_before_the_rupee_is_rounded() -> None:
    """Three times 0.40 is 1.20: one rupee, not none."""
    each = [fill("SELL", 4, "100", symbol=symbol) for symbol in ("A", "B", "C")]
    made = note(*each)
    assert [str(line.exact) for line in made.taxes] == ["0.40"] * 3
    assert made.charges["stt"] == 1


def test_each_exchange_rounds_its_own() -> None:
    """0.60 on each of two is a rupee on each."""
    made = note(fill("SELL", 6, "100"), fill("SELL", 6, "100", what="BSE equity CNC"))
    assert {name: column["stt"] for name, column in made.columns.items()} == {"NSE": 1, "BSE": 1}
    assert made.charges["stt"] == 2


# --- what became of a trade ------------------------------------------------------------------


def test_a_delivery_round_trip_within_a_day_is_intraday() -> None:
    """CNC or MIS: the same note, with brokerage, an eighth of the STT and no DP charge."""
    pairs = [
        [
            fill("BUY", 400, "1000", what=f"NSE equity {product}"),
            fill("SELL", 400, "1100", what=f"NSE equity {product}"),
        ]
        for product in ("CNC", "MIS")
    ]
    made = [note(*pair) for pair in pairs]
    assert made[0] == made[1]
    # STT: 400 × 1050 × 0.025 %; GST: 18 % of 40 + 25.79 + 0.84
    assert amounts(made[0].charges) == {
        "brokerage": "40", "stt": "105", "transaction": "25.79", "sebi": "0.84", "stamp_duty": "12", "gst": "11.99",
        "total": "195.62",
    }  # fmt: skip


def test_netting_is_over_products() -> None:
    """A short under MIS that CNC shares are bought for is closed by them."""
    made = note(fill("SELL", 100, "200", what="NSE equity MIS"), fill("BUY", 100, "190"))
    assert [line.what for line in made.taxes] == ["intraday"]
    assert "dp" not in made.charges


def test_netting_is_by_exchange_and_instrument() -> None:
    """Bought on one exchange and sold on the other is delivery twice; so are two instruments."""
    two = note(fill("BUY", 100, "200"), fill("SELL", 100, "200", what="BSE equity CNC"))
    assert two.charges["stt"] == 40
    others = note(fill("BUY", 100, "200", symbol="A"), fill("SELL", 100, "200", symbol="B"))
    assert others.charges["stt"] == 40


def test_what_is_open_of_mis_is_intraday() -> None:
    """Its broker closes it on that day; nothing leaves the demat account."""
    made = note(fill("SELL", 100, "200", what="NSE equity MIS"))
    assert [line.what for line in made.taxes] == ["intraday"]
    assert made.ledger == {"total": 0}


def test_a_part_that_is_delivered_is_charged_as_delivery() -> None:
    """Of 300 bought and 100 sold, 100 are intraday: brokerage of a third of the buy order, stamp duty of both kinds."""
    made = note(fill("BUY", 300, "100"), fill("SELL", 100, "100"))
    assert amounts(made.charges) == {
        "brokerage": "6",  # 0.03 % of 10,000, twice
        "stt": "23",  # 0.025 % of 10,000 and 0.1 % of 20,000, which is 22.50
        "transaction": "1.23",
        "sebi": "0.04",
        "stamp_duty": "3",  # 0.30 and 3.00
        "gst": "1.31",
        "total": "34.58",
    }


def test_delivery_has_no_brokerage() -> None:
    """Oracle of the estimate, in whole rupees: they are the same here."""
    made = [note(fill(side, 5000, "1000")) for side in ("BUY", "SELL")]
    both = together([one.columns["NSE"] for one in made])
    assert both["total"] == Decimal("11124.06")
    assert "brokerage" not in both


# --- brokerage, stamp duty, GST --------------------------------------------------------------


def test_brokerage_is_for_an_order_however_many_fills_it_had() -> None:
    """Twenty rupees for an option's order, once."""
    option = {"what": "NFO option NRML", "symbol": "NIFTY26NOV26000CE"}
    parts = [fill("BUY", 75, "100", "one", **option), fill("BUY", 75, "101", "one", **option)]
    assert note(*parts).charges["brokerage"] == 20
    assert note(*parts, fill("SELL", 150, "102", "two", **option)).charges["brokerage"] == 40


def test_an_order_id_on_another_exchange_is_another_order() -> None:
    """Exchanges number theirs."""
    option = {"symbol": "X"}
    made = note(
        fill("BUY", 75, "100", "1", "NFO option NRML", **option),
        fill("BUY", 75, "100", "1", "BFO option NRML", **option),
    )
    assert made.charges["brokerage"] == 40


@pytest.mark.parametrize(("quantity", "rupees"), [(166, "0"), (167, "1"), (499, "1"), (500, "2")])
def test_stamp_duty_is_whole_rupees_half_up(quantity: int, rupees: str) -> None:
    """0.003 % of 100 a unit: 0.498, 0.501, 1.497, 1.50."""
    bought = fill("BUY", quantity, "100", what="NSE equity MIS")
    assert amounts(note(bought).charges).get("stamp_duty", "0") == rupees


def test_gst_is_on_the_rounded_amounts() -> None:
    """18 % of 20.00 + 2.66 + 0.01."""
    made = note(fill("BUY", 75, "99.95", what="NFO option NRML"))
    assert amounts(made.charges) == {
        "brokerage": "20", "transaction": "2.66", "sebi": "0.01", "gst": "4.08", "total": "26.75",
    }  # fmt: skip


def test_columns_and_ledger_add_up() -> None:
    """Shares, options and a commodity on one day; a tax of each name."""
    made = note(
        fill("SELL", 10, "2500"),
        fill("SELL", 75, "120", what="NFO option NRML", symbol="O"),
        fill("SELL", 100, "5862", what="MCX future NRML", symbol="CRUDEOIL"),
    )
    assert list(made.columns) == ["MCX", "NFO", "NSE"]
    assert made.charges["ctt"] == 59
    assert made.charges["stt"] == 25 + 14
    assert made.charges["total"] == sum(column["total"] for column in made.columns.values()) + made.ledger["total"]


# --- DP, auto square-off, exercise -----------------------------------------------------------


def test_dp_is_charged_once_for_an_instrument_that_left_the_demat_account() -> None:
    """Whatever was sold of it and in how many orders; not for what was bought."""
    made = note(
        fill("SELL", 10, "100", "1"), fill("SELL", 20, "101", "2"), fill("SELL", 5, "50", symbol="TCS"),
        fill("BUY", 5, "50", symbol="SBIN"),
    )  # fmt: skip
    assert amounts(made.ledger) == {"gst": "4.68", "dp": "26", "total": "30.68"}


def test_dp_is_for_what_was_sold_beyond_what_was_bought() -> None:
    """Sold and bought back on the same day, nothing left the account."""
    assert "dp" not in note(fill("SELL", 10, "100"), fill("BUY", 10, "99")).charges
    assert note(fill("SELL", 11, "100"), fill("BUY", 10, "99")).charges["dp"] == 13


def test_dp_is_by_isin_over_exchanges() -> None:
    """One share sold on both is one debit; bought on one and sold on the other is none."""
    isin = {"isin": "INE009A01021"}
    both = [fill("SELL", 10, "100", **isin), fill("SELL", 10, "100", what="BSE equity CNC", **isin)]
    assert note(*both).charges["dp"] == 13
    assert "dp" not in note(both[0], fill("BUY", 10, "100", what="BSE equity CNC", **isin)).charges
    apart = [fill("SELL", 10, "100"), fill("SELL", 10, "100", what="BSE equity CNC")]
    assert note(*apart).charges["dp"] == 26


def test_dp_of_a_woman_and_of_another_year() -> None:
    """12.75 + 2.295, to the paisa; and 13.50 + 2.43."""
    sold = fill("SELL", 10, "100")
    assert contract_note(TARIFF, TODAY, [sold], "WOMAN").ledger["total"] == Decimal("15.05")
    assert note(sold, day=date(2023, 5, 2)).ledger["total"] == Decimal("15.93")


def test_auto_square_off_is_for_each_order() -> None:
    """59 rupees, in the ledger."""
    made = note(
        fill("BUY", 100, "200", what="NSE equity MIS"),
        fill("SELL", 60, "199", "auto", "NSE equity MIS", auto_square_off=True),
        fill("SELL", 40, "198", "auto", "NSE equity MIS", auto_square_off=True),
    )
    assert amounts(made.ledger) == {"gst": "9", "auto_square_off": "50", "total": "59"}
    assert "auto_square_off" not in made.columns["NSE"]


def test_an_exercised_option() -> None:
    """3000 × 100 of intrinsic value: 450 of STT, 20 and GST; the writer pays no STT."""
    held = fill("SELL", 3000, "100", what="NFO option NRML", symbol="N", exercise=True)
    assert amounts(note(held).charges) == {"brokerage": "20", "stt": "450", "gst": "3.6", "total": "473.6"}
    written = fill("BUY", 3000, "100", what="NFO option NRML", symbol="N", exercise=True)
    assert amounts(note(written).charges) == {"brokerage": "20", "gst": "3.6", "total": "23.6"}
    worthless = fill("SELL", 3000, "0", what="NFO option NRML", symbol="N", exercise=True)
    assert note(worthless).charges == {"total": 0}


def test_the_tax_of_an_exercise_is_beside_that_of_sales() -> None:
    """Bought, a part sold, the rest exercised: two lines."""
    option = {"what": "NFO option NRML", "symbol": "N"}
    made = note(
        fill("BUY", 150, "100", **option), fill("SELL", 75, "120", **option),
        fill("SELL", 75, "150", "expiry", exercise=True, **option),
    )  # fmt: skip
    assert [(line.what, str(line.exact)) for line in made.taxes] == [("sale", "13.50"), ("exercise", "16.88")]
    assert made.charges["stt"] == 30


# --- what cannot be --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trades",
    [
        [fill("BUY", 1, "100", "x"), fill("SELL", 1, "100", "x")],
        [fill("BUY", 1, "100", "x"), fill("BUY", 1, "100", "x", symbol="TCS")],
        [fill("BUY", 1, "100"), fill("BUY", 2, "100", group="X")],
        [fill("SELL", 1, "100", exercise=True)],
        [fill("SELL", 1, "100", what="NFO future NRML", exercise=True)],
    ],
)
def test_what_contradicts_itself_is_refused(trades: list[NoteTrade]) -> None:
    """An order of two sides or instruments, an instrument of two groups, an exercised share."""
    with pytest.raises(BadData):
        note(*trades)


def test_a_rate_that_is_not_known_is_refused() -> None:
    """As in an estimate."""
    with pytest.raises(ChargesUnknown, match="NCO"):
        note(fill("BUY", 1, "100", what="NCO future NRML"))


def test_a_day_without_trades_costs_nothing() -> None:
    assert note() == Note(TODAY, {}, {"total": Decimal(0)}, {"total": Decimal(0)}, ())


# --- what always holds -----------------------------------------------------------------------

WHATS = ["NSE equity CNC", "NSE equity MIS", "BSE equity CNC", "NFO option NRML", "NFO future MIS", "MCX future NRML"]
prices = st.integers(1, 10**8).map(lambda ticks: Decimal(ticks) / 10_000)


@st.composite
def books(draw: st.DrawFn) -> list[NoteTrade]:
    """A day's fills in orders of one to three."""
    made = []
    for number in range(draw(st.integers(1, 6))):
        what, symbol = draw(st.sampled_from(WHATS)), draw(st.sampled_from(["A", "B"]))
        side = draw(st.sampled_from(["BUY", "SELL"]))
        for _ in range(draw(st.integers(1, 3))):
            quantity, price = draw(st.integers(1, 10**5)), draw(prices)
            made.append(fill(side, quantity, price, f"o{number}", what, symbol=symbol + what.split()[1]))
    return made


@given(books(), st.randoms(use_true_random=False))
def test_the_order_of_the_fills_makes_no_difference(trades: list[NoteTrade], random: Any) -> None:
    """To the last paisa."""
    shuffled = list(trades)
    random.shuffle(shuffled)
    assert note(*shuffled).charges == note(*trades).charges


@given(books())
def test_every_figure_is_positive_and_rounded_and_they_add_up(trades: list[NoteTrade]) -> None:
    """STT, CTT and, but for MCX, stamp duty are whole rupees, the rest paise."""
    made = note(*trades)
    for charges in (*made.columns.values(), made.ledger, made.charges):
        of_others = any(charges is column for exchange, column in made.columns.items() if exchange != "MCX")
        whole = ("stt", "ctt", "stamp_duty") if of_others else ("stt", "ctt")
        parts = {name: amount for name, amount in charges.items() if name != "total"}
        assert all(amount > 0 and amount == round(amount, 2) for amount in parts.values())
        assert all(parts[name] == int(parts[name]) for name in whole if name in parts)
        assert charges["total"] == sum(parts.values())
    orders = {(trade.exchange, trade.order_id) for trade in trades}
    assert made.charges.get("brokerage", 0) <= 20 * len(orders)


@given(books())
def test_splitting_a_fill_changes_nothing(trades: list[NoteTrade]) -> None:
    """An order that filled unit by unit pays what one fill would have."""
    parts = [
        NoteTrade(t.order_id, t.exchange, t.symbol, t.kind, t.product, t.side, units, t.price)
        for t in trades
        for units in (1, t.quantity - 1)
        if units
    ]
    assert note(*parts) == note(*trades)


def test_a_real_note_of_mcx() -> None:
    """A note of 2025-06-18: CRUDEOILM25JUL6300CE, two orders of 10 each way; its stamp duty has paise."""
    trades = [("BUY", "491.45"), ("BUY", "491.45"), ("SELL", "475.60"), ("SELL", "475.60")]
    orders = [
        fill(side, 10, price, str(place), "MCX option NRML", symbol="C") for place, (side, price) in enumerate(trades)
    ]
    made = note(*orders, day=date(2025, 6, 18))
    assert amounts(made.charges) == {
        "brokerage": "80", "ctt": "5", "transaction": "8.08", "sebi": "0.02", "stamp_duty": "0.29", "gst": "15.86",
        "total": "109.25",
    }  # fmt: skip
