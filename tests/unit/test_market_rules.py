"""The market's own rules, which every stage checks alike."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from alpha_cli.core.money import LedgerUnits, units
from alpha_cli.core.times import IST
from alpha_cli.market import rules
from alpha_cli.market.contracts import Contract, Contracts
from alpha_cli.market.instruments import Instrument
from alpha_cli.market.refusals import MarketCode
from alpha_cli.stages.paper.codes import Code

MONDAY = date(2026, 1, 5)
OPEN = datetime(2026, 1, 5, 10, tzinfo=IST)


class Master:
    """A master of the given instruments, without futures."""

    def __init__(self, *instruments: Instrument) -> None:
        self._instruments = {one.instrument_token: one for one in instruments}

    def by_token(self, token: int, on: date | None = None) -> Instrument | None:
        found = self._instruments.get(token)
        if found is None or (on is not None and found.expiry is not None and found.expiry < on):
            return None
        return found

    def has_futures(self, symbol: str, on: date) -> bool:
        del symbol, on
        return False


def instrument(token: int, kind: str = "EQ", **fields: object) -> Instrument:
    given = {
        "instrument_token": token, "exchange": "NSE" if kind == "EQ" else "NFO", "tradingsymbol": f"T{token}",
        "name": f"NAME{token}", "segment": "NSE" if kind == "EQ" else "NFO-FUT", "instrument_type": kind,
        "tick_size": Decimal("0.05"), "lot_size": 1, **fields,
    }  # fmt: skip
    return Instrument(**given)  # type: ignore[arg-type]


SHARE = instrument(1)
FUTURE = instrument(2, "FUT", expiry=date(2026, 1, 27), lot_size=65)
INDEX = instrument(3, segment="INDICES")
MASTER = Contracts(lambda: Master(SHARE, FUTURE, INDEX), all_hours=True)  # type: ignore[arg-type,return-value]
TIMED = Contracts(lambda: Master(SHARE, FUTURE, INDEX))  # type: ignore[arg-type,return-value]


def contract(token: int, on: date = MONDAY, *, timed: bool = False) -> Contract:
    return (TIMED if timed else MASTER).contract(token, on)


@pytest.mark.parametrize(
    ("token", "on", "expected"),
    [
        (1, MONDAY, None),
        (2, MONDAY, None),
        (9, MONDAY, MarketCode.INSTRUMENT_UNKNOWN),
        (3, MONDAY, MarketCode.INSTRUMENT_NOT_TRADABLE),
        (2, date(2026, 1, 27), None),
        (2, date(2026, 1, 28), MarketCode.INSTRUMENT_EXPIRED),
    ],
)
def test_what_cannot_be_traded(token, on, expected):
    """Unknown, an index, or past its last day."""
    assert rules.untradable(contract(token, on)) == expected


def test_a_contract_expires_on_its_last_day_only():
    """And a share never does."""
    assert rules.expires_today(contract(2, date(2026, 1, 27)))
    assert not rules.expires_today(contract(2, date(2026, 1, 26)))
    assert not rules.expires_today(contract(1))


@pytest.mark.parametrize(("token", "products"), [(1, {"MIS", "CNC"}), (2, {"MIS", "NRML"})])
def test_products_by_kind(token, products):
    """CNC for shares, NRML for derivatives; without a master any."""
    asked = ("MIS", "CNC", "NRML")
    assert {product for product in asked if rules.is_product_allowed(contract(token), product)} == products
    unlisted = Contracts(all_hours=True).contract(token, MONDAY)
    assert all(rules.is_product_allowed(unlisted, product) for product in asked)


def test_lots_and_ticks():
    """Whole ones only."""
    assert rules.is_lot_multiple(contract(2), 130)
    assert not rules.is_lot_multiple(contract(2), 100)
    assert rules.is_tick_multiple(contract(1), units(Decimal("100.05")))
    assert not rules.is_tick_multiple(contract(1), units(Decimal("100.06")))


def test_the_freeze_quantity():
    """An order of that many units passes; whole lots of it are the largest order. A share has none."""
    frozen = contract(2)
    if frozen.freeze is None:
        assert rules.largest_order(frozen) is None
        assert not rules.is_above_freeze(frozen, 10**9)
    share = contract(1)
    assert share.freeze is None
    assert rules.largest_order(share) is None
    index_future = instrument(4, "FUT", name="NIFTY", expiry=date(2026, 1, 27), lot_size=65)
    nifty = Contracts(lambda: Master(index_future), all_hours=True).contract(4, MONDAY)  # type: ignore[arg-type,return-value]
    assert nifty.freeze is not None
    most = rules.largest_order(nifty)
    assert most is not None
    assert most % 65 == 0
    assert nifty.freeze - 65 < most <= nifty.freeze
    assert not rules.is_above_freeze(nifty, nifty.freeze)
    assert rules.is_above_freeze(nifty, nifty.freeze + 1)


def test_the_square_off_time():
    """From that moment on; on a day without sessions there is none."""
    share = contract(1, timed=True)
    assert share.day is not None
    assert not rules.is_after_square_off(share, OPEN)
    assert rules.is_after_square_off(share, share.day.square_off)
    assert not rules.is_after_square_off(contract(1, date(2026, 1, 4), timed=True), OPEN)


def test_all_broken_rules_at_once():
    """None of an order that is right; each by its code."""
    share, future = contract(1, timed=True), contract(2, timed=True)
    fine = {"product": "MIS", "quantity": 65, "prices": (units(Decimal(100)), None), "moment": OPEN}
    assert rules.broken_rules(share, **fine) == set()
    assert rules.broken_rules(future, **fine | {"product": "CNC", "quantity": 66, "prices": (1, None)}) == {
        "PRODUCT_NOT_ALLOWED", "QUANTITY_NOT_LOT_MULTIPLE", "PRICE_NOT_TICK_MULTIPLE",
    }  # fmt: skip
    late = OPEN.replace(hour=23)
    assert rules.broken_rules(share, **fine | {"moment": late}) == {"MARKET_CLOSED", "MIS_AFTER_SQUARE_OFF"}
    assert rules.broken_rules(contract(9, timed=True), **fine) == {"INSTRUMENT_UNKNOWN"}


def test_paper_spells_the_shared_codes_alike():
    """What the market calls a rule is what paper says."""
    assert [str(Code(code)) for code in MarketCode] == [code.value for code in MarketCode]


prices = st.integers(1, 10**9).map(LedgerUnits)


@given(prices, prices)
def test_the_worst_price(limit, reference):
    """A BUY may pay its limit; a SELL trades at its limit or better, so it is worth at least the reference."""
    assert rules.worst_price("BUY", limit, reference) == limit
    assert rules.worst_price("SELL", limit, reference) == max(limit, reference)
    assert rules.worst_price("BUY", None, reference) == rules.worst_price("SELL", None, reference) == reference
