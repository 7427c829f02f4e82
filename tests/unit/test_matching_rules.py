"""The rules of the simulated broker: each is written in docs/matching.md, and shown here under its number.

A rule M12 of the page has the test `test_m12_…`, and the page names it; the first tests hold the two against each
other, and the tables of docs/orders.md against the code.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given, strategies as st
from support.examples import examples
from support.processes import ROOT

from alpha_cli.cli.app import cli
from alpha_cli.cli.library import replay
from alpha_cli.cli.options import Build
from alpha_cli.core import order_states
from alpha_cli.core.codec import encode
from alpha_cli.core.events import (
    Cancel,
    ContractNote,
    Depth,
    Fill,
    Level,
    Modify,
    Ohlc,
    Order,
    OrderUpdate,
    Portfolio,
    Tick,
)
from alpha_cli.core.ledger import Account
from alpha_cli.core.times import IST
from alpha_cli.market.contracts import Contracts
from alpha_cli.market.instruments import Instrument, Master
from alpha_cli.stages.paper import codes
from alpha_cli.stages.paper.codes import Code
from alpha_cli.stages.paper.config import PaperConfig, Slippage
from alpha_cli.stages.paper.engine import Engine
from alpha_cli.stages.paper.orders import Memory
from alpha_cli.stream.last_ticks import LastTicks

PAGE = ROOT / "docs" / "matching.md"

# --- a market ----------------------------------------------------------------------------------

INFY, TINY, NIFTY, FUTURE, CALL, PUT, STOCK_FUTURE, STOCK_CALL, GOLD, ALONE, BARE_CALL = range(1001, 1012)
EXPIRY = date(2026, 8, 4)  # a Tuesday
BEFORE = datetime(2026, 7, 30, 9, 15, tzinfo=IST)  # a Thursday, before the closing auction began
AFTER = datetime(2026, 8, 3, 9, 15, tzinfo=IST)  # the Monday on which it did
SECOND = timedelta(seconds=1)


def contract(token: int, symbol: str, kind: str, name: str = "NIFTY", **more: Any) -> Instrument:
    fields: dict[str, Any] = {"lot_size": 65, "tick_size": Decimal("0.05"), "expiry": EXPIRY, **more}
    return Instrument(token, "NFO", symbol, name, f"NFO-{'FUT' if kind == 'FUT' else 'OPT'}", kind, **fields)


MASTER = Master.of(
    [
        Instrument(INFY, "NSE", "INFY", "INFOSYS", tick_size=Decimal("0.10")),
        Instrument(TINY, "NSE", "TINY", "TINY COMPANY", tick_size=Decimal("0.05")),
        Instrument(NIFTY, "NSE", "NIFTY 50", "NIFTY 50", "INDICES"),
        contract(FUTURE, "NIFTY26AUGFUT", "FUT", tick_size=Decimal("0.10")),
        contract(CALL, "NIFTY2680425000CE", "CE", strike=Decimal(25000)),
        contract(PUT, "NIFTY2680425000PE", "PE", strike=Decimal(25000)),
        contract(STOCK_FUTURE, "INFY26AUGFUT", "FUT", "INFY", lot_size=400, expiry=date(2026, 8, 25)),
        contract(STOCK_CALL, "INFY26AUG1500CE", "CE", "INFY", lot_size=400, strike=Decimal(1500)),
        Instrument(GOLD, "MCX", "GOLD26OCTFUT", "GOLD", "MCX-FUT", "FUT", expiry=date(2026, 10, 5)),
        Instrument(ALONE, "BSE", "ALONE", "ALONE"),
        contract(BARE_CALL, "FINNIFTY2680420000CE", "CE", "FINNIFTY", strike=Decimal(20000), lot_size=60),
    ]
)


#: The same share in December, with a future of that month.
_WINTER = Master.of(
    [
        Instrument(INFY, "NSE", "INFY", "INFOSYS", tick_size=Decimal("0.10")),
        Instrument(TINY, "NSE", "TINY", "TINY COMPANY"),
        contract(STOCK_FUTURE, "INFY26DECFUT", "FUT", "INFY", lot_size=400, expiry=date(2026, 12, 29)),
    ]
)


class Broker:
    """An engine with a master, and a stream of ticks that reach it as the loop would deliver them."""

    def __init__(self, start: datetime = BEFORE, master: Master | None = MASTER, cash: int = 1_000_000, **config: Any):
        config.setdefault("charges", "none")
        self.market = LastTicks()
        self.account = Account.opened("paper", Decimal(cash))
        settings = PaperConfig(**config)
        self.halted: str | None = None
        self.engine = Engine(
            self.account, self.market, Memory(keep_fills=True), config=settings, contracts=Contracts(lambda: master),
            halt_reason=lambda: self.halted,
        )  # fmt: skip
        self.now = start
        self.said: list[Any] = []
        self._orders = 0

    def at(self, clock: str) -> Broker:
        """Go to that time of the same day."""
        self.now = datetime.combine(self.now.date(), datetime.strptime(clock, "%H:%M:%S").time(), IST)  # noqa: DTZ007
        return self

    def tick(self, price: float, token: int = TINY, after: timedelta = SECOND, **fields: Any) -> list[Any]:
        self.now += after
        fields.setdefault("timestamp", self.now)
        tick = Tick(instrument_token=token, last_price=price, **fields)
        self.market.put(tick)
        return self._heard(self.engine.on_tick(tick) if self.market.wants(tick) else [])

    def order(self, side: str = "BUY", quantity: int = 10, name: str | None = None, **fields: Any) -> list[Any]:
        self._orders += 1
        name = name or f"o{self._orders}"
        values: dict[str, Any] = {
            "signal_id": f"s-{name}", "strategy_id": "momentum", "broker": "paper", "instrument_token": TINY,
            "timestamp": self.now, **fields,
        }  # fmt: skip
        for price in ("price", "trigger_price"):
            if values.get(price) is not None:
                values[price] = Decimal(str(values[price]))
        if "order_type" not in values and values.get("price") is not None:
            values["order_type"] = "LIMIT" if values.get("trigger_price") is None else "SL"
        return self._heard(self.engine.on_order(Order(order_id=name, side=side, quantity=quantity, **values)))

    def cancel(self, name: str = "o1", **fields: Any) -> list[Any]:
        return self._heard(self.engine.on_cancel(Cancel(order_id=name, **fields)))

    def modify(self, name: str = "o1", **fields: Any) -> list[Any]:
        for price in ("price", "trigger_price"):
            if fields.get(price) is not None:
                fields[price] = Decimal(str(fields[price]))
        return self._heard(self.engine.on_modify(Modify(order_id=name, **fields)))

    def close(self) -> list[Any]:
        return self._heard(self.engine.close())

    def held(self, token: int = TINY, product: str = "MIS") -> int:
        holding = self.account.positions.get((token, product))  # type: ignore[call-overload]
        return 0 if holding is None else int(holding.quantity)

    def _heard(self, events: Iterable[Any]) -> list[Any]:
        heard = list(events)
        self.account.check()
        self.said += heard
        return heard


def told(events: Iterable[Any]) -> list[str]:
    """`10@100` of a fill, the status of an update, with its code if it has one."""
    return [
        f"{event.quantity}@{event.price}" if type(event) is Fill
        else event.status if event.code is None else f"{event.status} {event.code}"
        for event in events if type(event) in {Fill, OrderUpdate}
    ]  # fmt: skip


def fills(events: Iterable[Any]) -> list[Fill]:
    return [event for event in events if type(event) is Fill]


def book(buy: Iterable[tuple[float, int]] = (), sell: Iterable[tuple[float, int]] = ()) -> Depth:
    def levels(side: Iterable[tuple[float, int]]) -> tuple[Level, ...]:
        return tuple(Level(price, quantity, 1) for price, quantity in side)

    return Depth(levels(buy), levels(sell))


def closed_at(price: float) -> Ohlc:
    """Yesterday's close."""
    return Ohlc(price, price, price, price)


# --- the page ----------------------------------------------------------------------------------

_NUMBERED = re.compile(r"^\*\*M(\d+)\.\*\* ", re.MULTILINE)
_NAMED = re.compile(r"`(test_m(\d+)_\w+)`")


def test_each_rule_has_its_tests_and_each_test_its_rule():
    """The page names every test here under its own number, and every rule names at least one."""
    parts = _NUMBERED.split(PAGE.read_text(encoding="utf-8"))
    rules = dict(zip(map(int, parts[1::2]), parts[2::2], strict=True))
    assert list(rules) == list(range(1, len(rules) + 1)), "numbers go up by one, each once"
    named = {number: {name for name, _ in _NAMED.findall(text)} for number, text in rules.items()}
    assert [number for number, names in named.items() if not names] == []
    for number, names in named.items():
        assert all(name.startswith(f"test_m{number}_") for name in names), f"M{number} names the test of another"
    here = {name for name in globals() if re.match(r"test_m\d+_", name)}
    assert set().union(*named.values()) == here


def test_the_tables_in_the_docs_are_those_of_the_code():
    """`scripts/docs --check` finds nothing to write; when this fails, run scripts/docs."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "docs.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    page = (ROOT / "docs" / "orders.md").read_text(encoding="utf-8")
    assert order_states.table() in page
    assert codes.table() in page


def test_the_docs_name_only_codes_that_exist():
    """A code in the pages is one of `codes.Code` (or a word that is none)."""
    text = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", text))
    assert named <= set(Code)


# --- arrival and time --------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_m1_an_order_meets_the_newest_tick_at_once(side):
    """The tick that caused it included."""
    broker = Broker()
    broker.tick(100.0)
    broker.tick(101.0)
    assert told(broker.order(side)) == ["10@101", "COMPLETE"]
    assert broker.said[0].timestamp == broker.now


def test_m2_an_order_newer_than_the_newest_tick_waits_for_the_next():
    """No fill on data older than the order; what comes next is taken at the market's price, by a LIMIT too."""
    broker = Broker()
    broker.tick(100.0)
    later = broker.now + SECOND
    assert told(broker.order(timestamp=later)) == ["OPEN"]
    assert told(broker.order(price=105, timestamp=later)) == ["OPEN"]
    assert broker.tick(99.0, after=SECOND / 2) == []  # older than both
    assert told(broker.tick(103.0)) == ["10@103", "COMPLETE", "10@103", "COMPLETE"]


def test_m2_the_ticks_of_other_instruments_do_not_fill_it():
    """They only move the time."""
    broker = Broker()
    broker.tick(100.0)
    broker.order(timestamp=broker.now + SECOND)
    assert broker.tick(50.0, INFY, after=3 * SECOND) == []
    assert told(broker.tick(98.0)) == ["10@98", "COMPLETE"]


def test_m3_ticks_outside_the_session_fill_nothing():
    """Neither what the pre-open shows, nor a cached tick after the close."""
    broker = Broker(BEFORE - timedelta(minutes=8))
    broker.tick(100.0)
    assert told(broker.order()) == ["REJECTED MARKET_CLOSED"]
    broker.at("09:14:59").tick(100.0, after=timedelta(0))
    broker.at("09:15:00").tick(50.0, INFY, after=timedelta(0))
    # the newest tick of TINY is one of the pre-open: the order waits for one of the session
    assert told(broker.order(price=105, timestamp=broker.now - 2 * SECOND)) == ["OPEN"]
    assert told(broker.tick(104.0)) == ["10@104", "COMPLETE"]


def test_m4_an_order_takes_the_latency_to_the_exchange():
    """On its way it is OPEN PENDING; it meets the first tick at or after its own time and the latency."""
    broker = Broker(latency=timedelta(milliseconds=1500))
    broker.tick(100.0)
    assert told(broker.order(name="market")) == ["OPEN PENDING"]
    assert told(broker.order(price=90, name="limit")) == ["OPEN PENDING"]
    assert broker.tick(101.0) == []
    assert told(broker.tick(102.0, after=SECOND / 2)) == ["10@102", "COMPLETE", "OPEN"]


def test_m4_the_latency_does_not_leave_the_calendar():
    """An order of its last moment waits for ever, and nothing breaks."""
    broker = Broker(master=None, all_hours=True, latency=SECOND)
    broker.tick(100.0)
    assert told(broker.order(timestamp=datetime.max.replace(tzinfo=UTC))) == ["OPEN PENDING"]
    assert broker.tick(100.0, after=timedelta(days=1)) != []  # the day is over


def test_m5_a_cancellation_takes_the_latency_and_may_come_too_late():
    """CANCEL PENDING, and the order goes on filling; once the cancellation is there, what is left is gone."""
    broker = Broker(latency=SECOND)
    broker.tick(100.0)
    broker.order(price=99, quantity=10, name="a")
    broker.order(price=98, quantity=10, name="b")
    broker.tick(100.0)
    assert told(broker.cancel("a")) + told(broker.cancel("b", reason="bored")) == ["CANCEL PENDING"] * 2
    assert broker.cancel("a") == []
    assert told(broker.tick(99.0, after=SECOND / 2, last_traded_quantity=4)) == ["4@99", "CANCEL PENDING"]
    events = broker.tick(90.0)
    assert told(events) == ["CANCELLED CANCELLED_ON_REQUEST"] * 2
    assert [(event.order_id, event.filled_quantity, event.message) for event in events] == [
        ("a", 4, "cancelled on request"), ("b", 0, "bored"),
    ]  # fmt: skip


def test_m5_an_order_that_filled_first_is_complete():
    """The cancellation finds nothing, and says nothing."""
    broker = Broker(latency=SECOND)
    broker.tick(100.0)
    broker.order(price=99)
    broker.tick(100.0)
    broker.cancel()
    assert told(broker.tick(99.0, after=SECOND / 2)) == ["10@99", "COMPLETE"]
    assert broker.tick(90.0) == []


def test_m6_a_modification_takes_the_latency_and_nothing_fills_meanwhile():
    """Neither at the old price nor at the new; then it meets the market as an order that arrives."""
    broker = Broker(latency=SECOND)
    broker.tick(100.0)
    broker.order(price=99)
    broker.tick(100.0)
    assert told(broker.modify(price=101)) == ["OPEN"]
    assert broker.tick(98.0, after=SECOND / 2) == []
    assert told(broker.tick(99.5)) == ["10@99.5", "COMPLETE"]


def test_m5_a_cancellation_keeps_its_own_time():
    """Asked for 950 ms after the newest tick, it is at the exchange 50 ms after the next: too late for that one."""
    broker = Broker(latency=SECOND / 10)
    broker.tick(100.0)
    broker.order(price=99)
    broker.tick(100.0)
    assert told(broker.cancel(timestamp=broker.now + SECOND * 0.95)) == ["CANCEL PENDING"]
    assert told(broker.tick(99.0)) == ["10@99", "COMPLETE"]


def test_m6_a_modification_keeps_its_own_time():
    """With the latency on its way at the next tick, it meets the one after that."""
    broker = Broker(latency=SECOND / 10)
    broker.tick(100.0)
    broker.order(price=95)
    broker.tick(100.0)
    assert told(broker.modify(price=101, timestamp=broker.now + SECOND * 0.95)) == ["OPEN"]
    assert broker.tick(98.0) == []
    assert told(broker.tick(99.5)) == ["10@99.5", "COMPLETE"]


def test_m33_a_modification_fills_at_no_price_that_is_older():
    """One of four seconds after the newest tick waits, whether its new limit is marketable or it becomes MARKET."""
    for change in ({"price": 105}, {"order_type": "MARKET"}):
        broker = Broker()
        broker.tick(100.0)
        broker.order(price=95)
        asked = broker.now + SECOND * 4
        assert "10@100" not in told(broker.modify(timestamp=asked, **change))
        assert "10@100" not in told(broker.tick(100.0))  # of a second later, still older than the modification
        (fill, _) = broker.tick(103.0, after=SECOND * 4)
        assert (fill.price, fill.timestamp) == (103, broker.now)


def test_m33_a_modification_that_is_older_than_the_market_meets_it():
    """What was asked for before the newest tick arrives now."""
    broker = Broker()
    broker.tick(100.0)
    broker.order(price=95)
    assert told(broker.modify(price=105, timestamp=broker.now - SECOND)) == ["10@100", "COMPLETE"]


def test_m7_the_same_events_give_the_same_bytes():
    """Ids and times come from the stream; the machine's clock has no part in it. Through the public library."""

    def run() -> list[bytes]:
        ticks = [Tick(instrument_token=9, timestamp=BEFORE + SECOND * n, last_price=100.0 + n % 3) for n in range(9)]
        events: list[Any] = []
        for number, tick in enumerate(ticks):
            events += [tick, Order(order_id=f"o{number}", signal_id=f"s{number}", strategy_id="x", broker="paper",
                                   instrument_token=9, side="BUY", quantity=1, timestamp=tick.timestamp)]  # fmt: skip
        return [encode(event) for event in replay(events, "paper -q --latency 1500 --slippage '1 ticks'")]

    first = run()
    assert first == run()
    assert sum(b'"type":"fill"' in line for line in first) == 7


def test_m8_an_order_counts_once():
    """The same id again, or another order for the same signal, is a counted no-op; a slice names its parent."""
    broker = Broker()
    broker.tick(100.0)
    broker.order(name="a", signal_id="s")
    assert broker.order(name="a", signal_id="s") == broker.order(name="b", signal_id="s") == []
    assert told(broker.order(name="c", signal_id="s", parent_order_id="a")) == ["10@100", "COMPLETE"]
    assert broker.engine.counts()["repeated"] == 2
    assert broker.order(name="d", broker="zerodha") == []
    assert broker.held() == 20


# --- order types, validities, sides ------------------------------------------------------------

#: type, validity -> what a BUY says at a last price of 100 with 101 as price or trigger, and at the tick of 102.
_MATRIX = {
    ("MARKET", "DAY"): (["10@100", "COMPLETE"], []),
    ("MARKET", "IOC"): (["10@100", "COMPLETE"], []),
    ("LIMIT", "DAY"): (["10@100", "COMPLETE"], []),
    ("LIMIT", "IOC"): (["10@100", "COMPLETE"], []),
    ("SL", "DAY"): (["TRIGGER PENDING"], ["OPEN", "10@102", "COMPLETE"]),
    ("SL", "IOC"): (["TRIGGER PENDING"], ["OPEN", "10@102", "COMPLETE"]),
    ("SL-M", "DAY"): (["TRIGGER PENDING"], ["OPEN", "10@102", "COMPLETE"]),
    ("SL-M", "IOC"): (["TRIGGER PENDING"], ["OPEN", "10@102", "COMPLETE"]),
}


@pytest.mark.parametrize("side", ["BUY", "SELL"])
@pytest.mark.parametrize(("kind", "validity"), list(_MATRIX))
def test_m9_every_type_with_every_validity_on_both_sides(kind, validity, side):
    """A sale is a purchase in the mirror: 98 for 102, 99 for 101."""
    broker = Broker()
    broker.tick(100.0)
    beyond = 1 if side == "BUY" else -1
    prices = {"price": 100 + beyond} if kind == "LIMIT" else {}
    if kind in {"SL", "SL-M"}:
        prices = {"trigger_price": 100 + beyond, "price": 100 + 3 * beyond if kind == "SL" else None}
    at_once, then = _MATRIX[kind, validity]
    assert told(broker.order(side, order_type=kind, validity=validity, **prices)) == at_once
    assert told(broker.tick(100.0 + 2 * beyond)) == [word.replace("102", str(100 + 2 * beyond)) for word in then]
    assert broker.held() == 10 * beyond


# --- MARKET ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "last", "lowest", "highest"),
    [
        (TINY, 50.0, "49", "51"),  # 2 %
        (TINY, 99.95, "98", "101.9"),  # 101.949, inside the band on the tick
        (TINY, 100.0, "99", "101"),  # 1 %
        (TINY, 499.95, "495", "504.9"),
        (TINY, 500.0, "497.5", "502.5"),  # 0.5 %
        (INFY, 1500.0, "1492.5", "1507.5"),
        (FUTURE, 25000.0, "24875", "25125"),  # 0.5 %
        (STOCK_FUTURE, 90.0, "88.2", "91.8"),  # 2 %
        (CALL, 8.0, "7.6", "8.4"),  # 5 %
        (CALL, 10.0, "9.7", "10.3"),  # 3 %
        (CALL, 99.95, "97", "102.9"),
        (CALL, 100.0, "98", "102"),  # 2 %
        (PUT, 500.0, "495", "505"),  # 1 %
    ],
)
def test_m10_a_market_order_is_a_limit_at_the_protection_price(token, last, lowest, highest):
    """By kind of contract and price; what the book does not give rests at that price, OPEN."""
    lot = {TINY: 1, INFY: 1, STOCK_FUTURE: 400}.get(token, 65)
    for side, limit in (("BUY", highest), ("SELL", lowest)):
        broker = Broker(cash=100_000_000)
        only = [(last, lot)]
        broker.tick(last, token, depth=book(only, only))
        events = broker.order(side, 2 * lot, instrument_token=token)
        assert told(events) == [f"{lot}@{Decimal(str(last)).normalize():f}", "OPEN"]
        assert told(broker.tick(last, token)) == [f"{lot}@{limit}", "COMPLETE"]


@pytest.mark.parametrize(("percent", "lowest", "highest"), [(1.0, "99", "101"), (2.5, "97.5", "102.5")])
def test_m10_an_order_may_name_its_own_protection(percent, lowest, highest):
    """In percent of the last price, instead of Kite's automatic band."""
    for side, limit in (("BUY", highest), ("SELL", lowest)):
        broker = Broker()
        broker.tick(100.0, depth=book([(100.0, 1)], [(100.0, 1)]))
        broker.order(side, 2, market_protection=percent)
        assert told(broker.tick(100.0)) == [f"1@{limit}", "COMPLETE"]


@pytest.mark.parametrize(("last", "lowest", "highest"), [(33.35, "32.7", "34"), (0.05, "0.05", "0.05")])
def test_m11_the_protection_price_is_on_the_tick_and_within_the_band(last, lowest, highest):
    """Rounded towards the last price, and never beyond it; of the lowest price there is, that price."""
    for side, limit in (("BUY", highest), ("SELL", lowest)):
        broker = Broker()
        broker.tick(last, depth=book([(last, 1)], [(last, 1)]))
        broker.order(side, 2)
        assert told(broker.tick(last)) == [f"1@{limit}", "COMPLETE"]


@pytest.mark.parametrize(("side", "away", "back"), [("BUY", 103.0, 101.0), ("SELL", 97.0, 99.0)])
def test_m12_a_market_order_does_not_follow_the_market(side, away, back):
    """Nobody within the band: the whole order rests at its protection price until the market comes back."""
    broker = Broker()
    broker.tick(100.0, depth=book([(97.0, 50)], [(103.0, 50)]))
    assert told(broker.order(side)) == ["OPEN"]
    assert broker.tick(away) == []
    assert told(broker.tick(back)) == [f"10@{back:.0f}", "COMPLETE"]


def test_m12_the_band_is_that_of_the_tick_it_meets():
    """Not of the tick that caused it: an order that was on its way does not chase, nor stay behind."""
    broker = Broker(latency=SECOND)
    broker.tick(100.0)
    broker.order()
    assert told(broker.tick(200.0)) == ["10@200", "COMPLETE"]


def test_m13_without_a_book_the_last_price_has_enough_for_everyone():
    """Ticks that carry no depth offer any quantity at the last price to orders that arrive."""
    broker = Broker(cash=1_000_000_000)
    broker.tick(100.0, last_traded_quantity=1)
    assert told(broker.order(quantity=30_000)) == ["30000@100", "COMPLETE"]


# --- LIMIT -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "price"), [("BUY", 101), ("SELL", 99), ("BUY", 100), ("SELL", 100)])
def test_m14_a_limit_order_that_arrives_gets_the_market_price(side, price):
    """The better price is the trader's."""
    broker = Broker()
    broker.tick(100.0)
    assert told(broker.order(side, price=price)) == ["10@100", "COMPLETE"]


@pytest.mark.parametrize(("side", "price", "there"), [("BUY", 99, 99.0), ("BUY", 99, 95.0), ("SELL", 101, 105.0)])
def test_m15_a_resting_limit_order_fills_at_its_own_price(side, price, there):
    """At the touch or when the market goes through it; a gap beyond it gives nothing more."""
    broker = Broker()
    broker.tick(100.0)
    assert told(broker.order(side, price=price)) == ["OPEN"]
    assert broker.tick(100.0) == []
    events = broker.tick(there)
    assert told(events) == [f"10@{price}", "COMPLETE"]


def test_m16_price_first_then_time():
    """Better prices first; of equal ones who came first. What there is may not be enough for all."""
    broker = Broker()
    broker.tick(100.0)
    for name, price in (("low", 98), ("first", 99), ("second", 99)):
        broker.order(price=price, name=name)
    events = broker.tick(98.0, last_traded_quantity=15)
    assert [(event.order_id, event.quantity) for event in fills(events)] == [("first", 10), ("second", 5)]
    assert [event.order_id for event in fills(broker.tick(98.0, last_traded_quantity=15))] == ["second", "low"]


@pytest.mark.parametrize(("side", "price", "best"), [("BUY", 99, 99.0), ("SELL", 101, 101.0)])
def test_m17_with_a_book_a_resting_order_waits_for_somebody_to_trade_with(side, price, best):
    """A last price at its limit is not enough, if the book shows nobody there: others may have been before it."""
    broker = Broker()
    away = book([(98.0, 10)], [(102.0, 10)])
    broker.tick(100.0, depth=away)
    broker.order(side, price=price)
    assert broker.tick(best, depth=away) == []
    there = book([(best if side == "SELL" else 98.0, 4)], [(best if side == "BUY" else 102.0, 4)])
    assert told(broker.tick(100.0, depth=there)) == [f"4@{price}", "OPEN"]


def test_m17_a_trade_beyond_the_limit_has_met_it():
    """If it was made after the order came."""
    broker = Broker()
    away = book([(97.0, 10)], [(102.0, 10)])
    broker.tick(100.0, depth=away)
    broker.order(price=99)
    assert broker.tick(98.0, depth=away, last_trade_time=BEFORE) == []
    assert told(broker.tick(98.0, depth=away, last_trade_time=broker.now + SECOND)) == ["10@99", "COMPLETE"]


# --- stops -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "trigger", "near", "at"), [("BUY", 105, 104.95, 105.0), ("SELL", 95, 95.05, 95.0)])
@pytest.mark.parametrize("kind", ["SL", "SL-M"])
def test_m18_a_stop_is_triggered_by_the_last_price_and_is_plain_from_then_on(kind, side, trigger, near, at):
    """Not by bids and offers. TRIGGER PENDING, OPEN and the fill come of one tick."""
    broker = Broker()
    broker.tick(100.0)
    price = None if kind == "SL-M" else trigger + 1 if side == "BUY" else trigger - 1
    assert told(broker.order(side, order_type=kind, trigger_price=trigger, price=price)) == ["TRIGGER PENDING"]
    assert broker.tick(near, depth=book([(200.0, 99)], [(1.0, 99)])) == []
    update, fill, _ = broker.tick(at)
    assert (update.status, update.message) == ("OPEN", f"triggered at {trigger}")
    assert (fill.quantity, fill.price) == (10, trigger)


@pytest.mark.parametrize(("side", "trigger", "gap"), [("BUY", 105, 110.0), ("SELL", 95, 90.0)])
def test_m19_a_gap_through_a_stop_fills_at_the_price_beyond_it(side, trigger, gap):
    """Not at the trigger: nobody traded there."""
    broker = Broker()
    broker.tick(100.0)
    broker.order(side, order_type="SL-M", trigger_price=trigger)
    assert told(broker.tick(gap)) == ["OPEN", f"10@{gap:.0f}", "COMPLETE"]


@pytest.mark.parametrize(
    ("side", "trigger", "limit", "gap", "back"), [("BUY", 105, 106, 110.0, 106.0), ("SELL", 95, 94, 90.0, 94.0)]
)
def test_m20_a_gap_beyond_the_limit_of_a_stop_leaves_it_open(side, trigger, limit, gap, back):
    """The position is not protected; it fills at its limit if the market comes back."""
    broker = Broker()
    broker.tick(100.0)
    broker.order(side, trigger_price=trigger, price=limit)
    assert told(broker.tick(gap)) == ["OPEN"]
    assert told(broker.tick(back)) == [f"10@{limit}", "COMPLETE"]


@pytest.mark.parametrize(("side", "trigger"), [("BUY", 105), ("SELL", 95)])
def test_m21_a_triggered_stop_market_order_is_protected_too(side, trigger):
    """Its band is that of the price that set it off; what the book does not give within it rests."""
    broker = Broker()
    broker.tick(100.0)
    broker.order(side, order_type="SL-M", trigger_price=trigger)
    gap = trigger + 5 if side == "BUY" else trigger - 5
    beyond = [(gap * (1.1 if side == "BUY" else 0.9), 99)]
    assert told(broker.tick(gap, depth=book(beyond, beyond))) == ["OPEN"]
    band = Decimal("111.1") if side == "BUY" else Decimal("88.2")  # 1 % of 110, 2 % of 90
    assert told(broker.tick(float(band))) == [f"10@{band}", "COMPLETE"]


@pytest.mark.parametrize(
    ("side", "trigger", "price", "code"),
    [
        ("BUY", 100, 101, "TRIGGER_BEYOND_LAST"),
        ("BUY", 99, None, "TRIGGER_BEYOND_LAST"),
        ("SELL", 100, 99, "TRIGGER_BEYOND_LAST"),
        ("SELL", 101, None, "TRIGGER_BEYOND_LAST"),
        ("BUY", 105, 104, "TRIGGER_BEYOND_LIMIT"),
        ("SELL", 95, 96, "TRIGGER_BEYOND_LIMIT"),
    ],
)
def test_m22_a_stop_lies_beyond_the_market_and_its_limit_beyond_the_trigger(side, trigger, price, code):
    """Otherwise it is refused; equal trigger and limit are allowed."""
    broker = Broker()
    broker.tick(100.0)
    kind = "SL-M" if price is None else "SL"
    assert told(broker.order(side, order_type=kind, trigger_price=trigger, price=price)) == [f"REJECTED {code}"]
    assert told(broker.order("SELL", trigger_price=95, price=95)) == ["TRIGGER PENDING"]


def test_m23_stops_that_one_tick_triggers_go_in_the_order_in_which_the_price_came_by():
    """The nearest trigger first, then the oldest."""
    broker = Broker()
    broker.tick(100.0)
    for name, trigger in (("far", 107), ("near", 105), ("next", 105)):
        broker.order(order_type="SL-M", trigger_price=trigger, name=name)
    assert [event.order_id for event in fills(broker.tick(110.0))] == ["near", "next", "far"]


# --- validity ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "price"), [("BUY", 101), ("SELL", 99)])
def test_m24_ioc_takes_what_there_is_and_cancels_the_rest(side, price):
    """The update tells both quantities; nothing to take is a cancellation too."""
    broker = Broker()
    level = [(100.0, 4)]
    broker.tick(100.0, depth=book(level, level))
    events = broker.order(side, validity="IOC", price=price)
    assert told(events) == ["4@100", "CANCELLED IOC_NOT_FILLED"]
    assert (events[-1].filled_quantity, events[-1].pending_quantity) == (4, 0)
    assert told(broker.order(side, validity="IOC", price=200 - price)) == ["CANCELLED IOC_NOT_FILLED"]
    assert told(broker.order(side, validity="IOC")) == ["CANCELLED IOC_NOT_FILLED"]  # MARKET: the level is taken


def test_m24_an_ioc_order_on_its_way_lives_until_it_arrives():
    """Immediate is when it is at the exchange; an IOC stop is immediate once it is triggered."""
    broker = Broker(latency=SECOND)
    broker.tick(100.0)
    assert told(broker.order(validity="IOC", price=101)) == ["OPEN PENDING"]
    assert told(broker.tick(102.0)) == ["CANCELLED IOC_NOT_FILLED"]
    assert told(broker.order(validity="IOC", trigger_price=105, price=105)) == ["OPEN PENDING"]
    assert told(broker.tick(102.0)) == ["TRIGGER PENDING"]
    assert told(broker.tick(106.0)) == ["OPEN", "CANCELLED IOC_NOT_FILLED"]


def test_m25_a_day_order_ends_with_the_session():
    """On the first tick at or after its end, of whatever instrument, before that tick could fill it."""
    broker = Broker()
    broker.tick(100.0)
    broker.order(price=99, product="CNC")
    assert broker.at("15:29:58").tick(100.0) == []
    assert told(broker.tick(50.0, INFY)) == ["CANCELLED DAY_ENDED"]
    late = Broker()
    late.tick(100.0)
    late.order(price=99, product="CNC", quantity=10)
    late.at("15:29:00").tick(99.0, last_traded_quantity=3)
    late.now += timedelta(days=1)  # no tick came that evening
    events = late.at("09:15:00").tick(99.0)
    assert told(events) == ["CANCELLED DAY_ENDED"]
    assert (events[0].filled_quantity, events[0].pending_quantity) == (3, 0)


# --- depth -------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_m26_an_order_walks_the_book_level_by_level(side):
    """A fill for each level at its price; the average is of all units, to four decimals."""
    broker = Broker()
    levels = [(100.0, 3), (100.05, 4), (100.2, 9)] if side == "BUY" else [(100.2, 3), (100.05, 4), (100.0, 9)]
    broker.tick(100.1, depth=book(levels, levels))
    events = broker.order(side, 10)
    prices = ["100", "100.05", "100.2"] if side == "BUY" else ["100.2", "100.05", "100"]
    assert told(events) == [f"3@{prices[0]}", f"4@{prices[1]}", f"3@{prices[2]}", "COMPLETE"]
    exact = sum(Decimal(price) * units for price, units in zip(prices, (3, 4, 3), strict=True)) / 10
    assert events[-1].average_price == exact
    assert broker.account.cash == (1_000_000 - (exact if side == "BUY" else -exact) * 10) * 10_000


def test_m26_levels_of_nothing_are_no_levels():
    """Kite fills up a short book with zeros; an empty side sells nothing."""
    broker = Broker()
    broker.tick(100.0, depth=book([(99.0, 5)], [(0.0, 0), (0.0, 0)]))
    assert told(broker.order()) == ["OPEN"]
    assert told(broker.order("SELL", 5)) == ["5@99", "COMPLETE"]


@pytest.mark.parametrize("price", [1e-5, 1e12, 1e300, -1.0])
def test_m26_a_level_at_what_is_no_price_is_no_level(price):
    """Nothing at four decimals would give shares away, and what is too large to book would end the program."""
    broker = Broker()
    broker.tick(100.0, depth=book([(price, 5), (99.0, 2)], [(price, 5), (101.0, 2)]))
    assert told(broker.order(quantity=2)) == ["2@101", "COMPLETE"]
    assert told(broker.order("SELL", 2)) == ["2@99", "COMPLETE"]


def test_m27_what_was_taken_of_a_tick_is_gone():
    """Two orders do not get the same shares; the next tick shows the book anew."""
    broker = Broker()
    offer = book([], [(100.0, 6)])
    broker.tick(100.0, depth=offer)
    assert told(broker.order(quantity=4)) == ["4@100", "COMPLETE"]
    assert told(broker.order(quantity=4)) == ["2@100", "OPEN"]
    assert told(broker.tick(100.0, depth=offer)) == ["2@101", "COMPLETE"]  # it rests at its protection price


def test_m28_an_order_is_filled_in_parts_over_several_ticks():
    """By what the book offers within its limit, or without a book by the quantity of the last trade."""
    broker = Broker()
    broker.tick(100.0)
    broker.order(price=99, quantity=10)
    first = broker.tick(99.0, last_traded_quantity=3)
    assert told(first) == ["3@99", "OPEN"]
    assert (first[-1].filled_quantity, first[-1].pending_quantity, first[-1].average_price) == (3, 7, 99)
    assert told(broker.tick(99.0, depth=book([], [(98.5, 2), (99.0, 2), (99.05, 9)]))) == ["4@99", "OPEN"]
    assert told(broker.tick(98.0, last_traded_quantity=5)) == ["3@99", "COMPLETE"]


def test_m28_beyond_the_levels_shown_there_is_nothing():
    """Five levels are all the feed shows; the rest of the order rests at its limit."""
    broker = Broker()
    broker.tick(100.0, depth=book([], [(100.0 + n / 20, 2) for n in range(5)]))
    events = broker.order(price=105, quantity=12)
    assert told(events)[-1] == "OPEN"
    assert (events[-1].filled_quantity, events[-1].average_price) == (10, Decimal("100.1"))


# --- slippage ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "amount", "bought", "sold"),
    [
        ("ticks", "2", "100.1", "99.9"),
        ("bps", "5", "100.05", "99.95"),
        ("bps", "1", "100.05", "99.95"),
        ("ticks", "0", "100", "100"),
    ],
)
def test_m29_slippage_makes_the_price_of_a_taker_worse(kind, amount, bought, sold):
    """By ticks, or by basis points rounded away to a multiple of the tick. Who rests is not slipped."""
    for side, price in (("BUY", bought), ("SELL", sold)):
        broker = Broker(slippage=Slippage(kind, Decimal(amount)))
        broker.tick(100.0)
        assert told(broker.order(side)) == [f"10@{price}", "COMPLETE"]
        resting = 99 if side == "BUY" else 101
        broker.order(side, price=resting)
        assert told(broker.tick(float(resting))) == [f"10@{resting}", "COMPLETE"]


@pytest.mark.parametrize("slippage", [Slippage("ticks", Decimal(500)), Slippage("bps", Decimal(5000))])
def test_m30_slippage_never_leaves_the_limit(slippage):
    """That of the order, or the protection price of MARKET."""
    broker = Broker(slippage=slippage)
    broker.tick(100.0)
    assert told(broker.order(price="100.35")) == ["10@100.35", "COMPLETE"]
    assert told(broker.order("SELL", price="99.65")) == ["10@99.65", "COMPLETE"]
    assert told(broker.order()) == ["10@101", "COMPLETE"]
    assert told(broker.order("SELL")) == ["10@99", "COMPLETE"]


def test_m31_with_slippage_in_ticks_or_points_the_best_price_stands_for_the_book():
    """One fill, at the best level and the slippage, of all that the levels within the limit have."""
    broker = Broker(slippage=Slippage("ticks", Decimal(1)))
    broker.tick(100.0, depth=book([], [(100.0, 3), (100.5, 4), (109.0, 9)]))
    assert told(broker.order(quantity=10)) == ["7@100.05", "OPEN"]


# --- modifications and cancellations -----------------------------------------------------------


def test_m32_a_modification_costs_the_place_in_the_queue():
    """Whatever it changes."""
    broker = Broker()
    broker.tick(100.0)
    broker.order(price=99, name="a")
    broker.order(price=99, name="b")
    (update,) = broker.modify("a", quantity=9)
    assert (update.status, update.pending_quantity, update.message) == ("OPEN", 9, "modified")
    assert [event.order_id for event in fills(broker.tick(99.0))] == ["b", "a"]


def test_m33_a_modified_order_meets_the_market_anew():
    """As one that arrives: a LIMIT that becomes marketable, or becomes MARKET, takes the market's price."""
    broker = Broker()
    broker.tick(100.0)
    broker.order(price=95, name="a")
    assert told(broker.modify("a", price=105)) == ["10@100", "COMPLETE"]
    broker.order(price=95, name="b")
    assert told(broker.modify("b", order_type="MARKET")) == ["10@100", "COMPLETE"]
    broker.order(trigger_price=105, price=106, name="c")
    assert told(broker.modify("c", trigger_price=102)) == ["TRIGGER PENDING"]
    assert told(broker.tick(102.0)) == ["OPEN", "10@102", "COMPLETE"]


def test_m33_what_was_protected_is_a_limit_order_at_the_exchange():
    """A new quantity keeps the protection price; a new price makes it a LIMIT; only a new MARKET is protected anew."""
    for kind, trigger in (("MARKET", None), ("SL-M", 101)):
        broker = Broker()
        far = book([], [(109.0, 99)])
        broker.tick(100.0, depth=far)
        broker.order(order_type=kind, trigger_price=trigger)
        broker.tick(101.0, depth=far)
        limit = "101" if kind == "MARKET" else "102"
        broker.tick(105.0, depth=far)
        assert told(broker.modify(quantity=4)) == ["OPEN"]
        assert told(broker.tick(100.0, last_traded_quantity=1)) == [f"1@{limit}", "OPEN"]
        broker.tick(105.0, depth=far)
        assert told(broker.modify(price="103.5")) == ["OPEN"]
        assert told(broker.tick(103.0, last_traded_quantity=1)) == ["1@103.5", "OPEN"]
        broker.tick(107.0)
        assert told(broker.modify(order_type="MARKET")) == ["2@107", "COMPLETE"]


def test_m34_kite_takes_25_modifications():
    """The 26th is refused, and the order stays as the 25th left it; refused ones do not count."""
    broker = Broker()
    broker.tick(100.0)
    broker.order(price=90)
    assert told(broker.modify(price="90.01")) == ["OPEN PRICE_NOT_TICK_MULTIPLE"]
    for number in range(1, 26):
        assert told(broker.modify(price=90 + number * Decimal("0.05"))) == ["OPEN"]
    assert told(broker.modify(price=95)) == ["OPEN MODIFICATIONS_EXHAUSTED"]
    assert broker.tick(91.3) == []
    assert told(broker.tick(91.25)) == ["10@91.25", "COMPLETE"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"quantity": 0}, "QUANTITY_NOT_POSITIVE"),
        ({"quantity": 3}, "QUANTITY_BELOW_FILLED"),
        ({"price": "99.01"}, "PRICE_NOT_TICK_MULTIPLE"),
        ({"order_type": "SL"}, "TRIGGER_MISSING"),
        ({"quantity": 10**9}, "MARGIN_INSUFFICIENT"),
    ],
)
def test_m35_a_refused_modification_leaves_the_order_as_it_was(fields, code):
    """The update carries the code; the rest still fills as first asked for."""
    broker = Broker()
    broker.tick(100.0)
    broker.order(price=99)
    broker.tick(99.0, last_traded_quantity=3)
    (update,) = broker.modify(**fields)
    assert (update.status, update.code, update.message.startswith("not modified: ")) == ("OPEN", code, True)
    assert told(broker.tick(99.0)) == ["7@99", "COMPLETE"]


def test_m35_a_triggered_stop_has_no_trigger_to_modify():
    """Its limit may be moved, on the tick."""
    broker = Broker()
    broker.tick(100.0)
    broker.order(trigger_price=105, price=105)
    broker.tick(110.0)
    assert told(broker.modify(trigger_price=112)) == ["OPEN ALREADY_TRIGGERED"]
    assert told(broker.modify(price="107.01")) == ["OPEN PRICE_NOT_TICK_MULTIPLE"]
    assert told(broker.modify(price=107)) == ["OPEN"]
    assert told(broker.tick(107.0)) == ["10@107", "COMPLETE"]


def test_m36_a_cancellation_ends_what_is_not_filled():
    """Without latency at once. What was filled stays filled; of an order that ended there is nothing to cancel."""
    broker = Broker()
    broker.tick(100.0)
    broker.order(price=99)
    broker.tick(99.0, last_traded_quantity=3)
    (update,) = broker.cancel(reason="bored")
    assert (update.status, update.code, update.message) == ("CANCELLED", "CANCELLED_ON_REQUEST", "bored")
    assert (update.filled_quantity, update.pending_quantity, broker.held()) == (3, 0, 3)
    assert broker.cancel() == broker.modify(price=98) == broker.cancel("never") == []
    assert broker.engine.counts()["unknown"] == 3
    assert broker.tick(90.0) == []


# --- refusals ----------------------------------------------------------------------------------


def _ready(price: float = 100.0, token: int = TINY, start: datetime = BEFORE, **config: Any) -> Broker:
    broker = Broker(start, **config)
    broker.tick(price, token)
    return broker


def _halted() -> Broker:
    broker = _ready()
    broker.halted = "HALT exists"
    return broker


def _auctioned(**order: Any) -> list[Any]:
    broker = _ready(1500.0, INFY, AFTER)
    broker.order(instrument_token=INFY, trigger_price=1510, price=1511, product="CNC")
    broker.at("15:20:00").tick(1500.0, INFY)
    broker.order(instrument_token=INFY, product="CNC", **order)
    return broker.said


def _on_holiday() -> list[Any]:
    return Broker(BEFORE.replace(month=8, day=1)).order(price=100)  # a Saturday


def _squared_off(*, late: bool) -> list[Any]:
    broker = _ready()
    broker.order(price=99)
    broker.at("15:20:00").tick(100.0)
    if late:
        broker.order(price=99)
    return broker.said


def _expired_order() -> list[Any]:
    broker = _ready(100.0, CALL, datetime(2026, 8, 4, 9, 15, tzinfo=IST))
    broker.order(quantity=65, instrument_token=CALL, product="NRML")
    broker.at("15:39:00").tick(100.0, CALL)
    broker.at("15:40:00").tick(100.0)
    return broker.said


def _books_full() -> list[Any]:
    broker = Broker(master=None, cash=10**11, all_hours=True)
    for _ in range(2):
        broker.tick(0.05)
        broker.order(quantity=10**12)
    return broker.said


def _modified(*, filled: int = 0, times: int = 0, **fields: Any) -> list[Any]:
    broker = _ready()
    broker.order(price=99)
    if filled:
        broker.tick(99.0, last_traded_quantity=filled)
    for number in range(times):
        broker.modify(price=98 if number % 2 else 97)
    return broker.modify(**fields)


def _triggered_and_modified() -> list[Any]:
    broker = _ready()
    broker.order(trigger_price=105, price=105)
    broker.tick(110.0)
    return broker.modify(trigger_price=111)


def _cancelled() -> list[Any]:
    broker = _ready()
    broker.order(price=99)
    return broker.cancel()


def _day_over() -> list[Any]:
    broker = _ready()
    broker.order(price=99, product="CNC")
    return broker.at("15:30:00").tick(100.0)


def _unknown_charges() -> list[Any]:
    """Options of BSE in early 2024: the tariff has no source for what the exchange charged."""
    sensex = Instrument(7, "BFO", "SENSEX24JAN70000CE", "SENSEX", "BFO-OPT", "CE", 10, expiry=date(2024, 1, 25),
                        strike=Decimal(70000))  # fmt: skip
    broker = Broker(
        datetime(2024, 1, 10, 9, 15, tzinfo=IST), Master.of([sensex]), charges="estimate"
    )  # fmt: skip
    broker.tick(100.0, 7)
    return broker.order(quantity=10, instrument_token=7, product="NRML")


#: code -> events among which an update has it.
SCENARIOS: dict[Code, Callable[[], list[Any]]] = {
    Code.TRADING_HALTED: lambda: _halted().order(),
    Code.ORDER_ID_RESERVED: lambda: _ready().order(name="square-off-1"),
    Code.INSTRUMENT_UNKNOWN: lambda: _ready().order(instrument_token=77),
    Code.INSTRUMENT_NOT_TRADABLE: lambda: _ready(25000.0, NIFTY).order(instrument_token=NIFTY),
    Code.INSTRUMENT_NOT_SIMULATED: lambda: _ready(90000.0, GOLD).order(instrument_token=GOLD, product="NRML"),
    Code.INSTRUMENT_EXPIRED: lambda: _ready(100.0, CALL, datetime(2026, 8, 5, 9, 15, tzinfo=IST)).order(
        quantity=65, instrument_token=CALL, product="NRML"
    ),
    Code.CALENDAR_UNKNOWN: lambda: _ready(start=datetime(2031, 7, 1, 9, 15, tzinfo=IST)).order(),
    Code.MARKET_CLOSED: _on_holiday,
    Code.AUCTION_ORDER_TYPE: _auctioned,
    Code.PRODUCT_NOT_ALLOWED: lambda: _ready().order(product="NRML"),
    Code.CHARGES_UNKNOWN: _unknown_charges,
    Code.PRICE_MISSING: lambda: _ready().order(order_type="LIMIT"),
    Code.TRIGGER_MISSING: lambda: _ready().order(order_type="SL-M"),
    Code.TRIGGER_BEYOND_LIMIT: lambda: _ready().order(trigger_price=105, price=104),
    Code.PRICE_NOT_TICK_MULTIPLE: lambda: _ready().order(price="99.99"),
    Code.QUANTITY_NOT_LOT_MULTIPLE: lambda: _ready(100.0, CALL).order(instrument_token=CALL, product="NRML"),
    Code.QUANTITY_ABOVE_FREEZE: lambda: _ready(100.0, CALL).order(
        quantity=65 * 28, instrument_token=CALL, product="NRML"
    ),
    Code.NO_PRICE: lambda: Broker().order(),
    Code.TRIGGER_BEYOND_LAST: lambda: _ready().order(order_type="SL-M", trigger_price=99),
    Code.PRICE_OUTSIDE_BAND: lambda: _ready(100.0, CALL).order(
        quantity=65, instrument_token=CALL, price="140.05", product="NRML"
    ),
    Code.MIS_AFTER_SQUARE_OFF: lambda: _squared_off(late=True),
    Code.HOLDINGS_INSUFFICIENT: lambda: _ready().order("SELL", product="CNC"),
    Code.MARGIN_INSUFFICIENT: lambda: _ready(cash=100).order(),
    Code.BOOKS_FULL: _books_full,
    Code.METADATA_TOO_LONG: lambda: _ready().order(metadata={"x": "x" * (1 << 20)}),
    Code.QUANTITY_NOT_POSITIVE: lambda: _modified(quantity=0),
    Code.QUANTITY_BELOW_FILLED: lambda: _modified(filled=5, quantity=5),
    Code.ALREADY_TRIGGERED: _triggered_and_modified,
    Code.MODIFICATIONS_EXHAUSTED: lambda: _modified(times=25, price=96),
    Code.CANCELLED_ON_REQUEST: _cancelled,
    Code.IOC_NOT_FILLED: lambda: _ready().order(price=99, validity="IOC"),
    Code.DAY_ENDED: _day_over,
    Code.AUCTION_BEGAN: lambda: _auctioned(price=1500),
    Code.MIS_SQUARED_OFF: lambda: _squared_off(late=False),
    Code.EXPIRED: _expired_order,
}


@pytest.mark.parametrize("code", list(Code))
def test_m37_every_refusal_and_every_end_has_its_code(code):
    """Each code of the table can come, and comes with a sentence; a code without a scenario fails here."""
    updates = [event for event in SCENARIOS[code]() if type(event) is OrderUpdate and event.code == code]
    assert updates
    assert all(update.message for update in updates)


@pytest.mark.parametrize(
    ("token", "quantity", "price", "answer"),
    [
        (TINY, 1, "100.05", "OPEN"),
        (TINY, 1, "100.01", "REJECTED PRICE_NOT_TICK_MULTIPLE"),
        (INFY, 1, "100.10", "OPEN"),
        (INFY, 1, "100.05", "REJECTED PRICE_NOT_TICK_MULTIPLE"),
        (CALL, 65, "100.05", "OPEN"),
        (CALL, 64, "100.05", "REJECTED QUANTITY_NOT_LOT_MULTIPLE"),
        (CALL, 130, "100.05", "OPEN"),
        (FUTURE, 65, "100.05", "REJECTED PRICE_NOT_TICK_MULTIPLE"),
    ],
)
def test_m38_prices_are_on_the_tick_and_quantities_whole_lots(token, quantity, price, answer):
    """Both as the master says; without one the tick is 0.05 and the lot 1."""
    assert told(_ready(120.0, token).order(quantity=quantity, price=price, instrument_token=token)) == [answer]


def test_m38_without_a_master_any_token_is_a_share():
    """Of NSE, lot 1, tick 0.05; the product is taken as given."""
    broker = Broker(master=None)
    broker.tick(100.0, 77)
    assert told(broker.order(instrument_token=77, price="100.05", product="NRML")) == ["10@100", "COMPLETE"]
    assert told(broker.order(instrument_token=77, price="100.01")) == ["REJECTED PRICE_NOT_TICK_MULTIPLE"]


@pytest.mark.parametrize(
    ("token", "day", "lots", "refused"),
    [
        (CALL, BEFORE, 27, False),
        (CALL, BEFORE, 28, True),
        (TINY, BEFORE, 90_000, False),
        (BARE_CALL, BEFORE, 30, False),
    ],
)
def test_m39_an_order_may_not_have_more_than_the_freeze_quantity(token, day, lots, refused):
    """1800 of NIFTY in July 2026: 27 lots of 65. Shares have none; nor is one guessed for a month without a source."""
    broker = _ready(1.0, token, day, cash=100_000_000)
    lot = {CALL: 65, BARE_CALL: 60}.get(token, 1)
    said = told(broker.order(quantity=lots * lot, instrument_token=token))
    assert said == (["REJECTED QUANTITY_ABOVE_FREEZE"] if refused else [f"{lots * lot}@1", "COMPLETE"])


def test_m39_of_a_month_without_a_source_no_freeze_quantity_is_guessed():
    """The table has nothing for NFO in June 2022."""
    broker = _ready(1.0, CALL, datetime(2022, 6, 1, 9, 15, tzinfo=IST), cash=100_000_000)
    assert told(broker.order(quantity=65_000, instrument_token=CALL)) == ["65000@1", "COMPLETE"]


@pytest.mark.parametrize(
    ("token", "price", "inside"),
    [
        (TINY, "120", True),
        (TINY, "120.05", False),
        (TINY, "80", True),
        (TINY, "79.95", False),
        (FUTURE, "110", True),
        (FUTURE, "110.1", False),
        (FUTURE, "89.9", False),
    ],
)
def test_m40_shares_and_futures_stay_within_a_band_of_the_previous_close(token, price, inside):
    """20 % of shares and 10 % of futures, both ways, of limits and triggers; unknown without a previous close."""
    lot = 1 if token == TINY else 65
    broker = Broker()
    broker.tick(100.0, token, ohlc=closed_at(100.0))
    answer = told(broker.order(quantity=lot, price=price, instrument_token=token))
    assert (answer == ["REJECTED PRICE_OUTSIDE_BAND"]) is not inside
    if not inside:
        side = "BUY" if Decimal(price) > 100 else "SELL"
        stop = broker.order(side, lot, order_type="SL-M", trigger_price=price, instrument_token=token)
        assert told(stop) == ["REJECTED PRICE_OUTSIDE_BAND"]
        broker.tick(100.0, token)
        assert told(broker.order(quantity=lot, price=price, instrument_token=token)) != answer


@pytest.mark.parametrize(
    ("last", "side", "price", "inside"),
    [
        (100.0, "BUY", "140", True),
        (100.0, "BUY", "140.05", False),
        (100.0, "BUY", "1", True),
        (100.0, "SELL", "60", True),
        (100.0, "SELL", "59.95", False),
        (100.0, "SELL", "300", True),
        (50.0, "BUY", "70", True),
        (50.0, "BUY", "70.05", False),
        (50.0, "SELL", "30", True),
        (50.0, "SELL", "29.95", False),
        (49.5, "BUY", "69.5", True),
        (49.5, "SELL", "29.5", True),
        (50.05, "BUY", "70.05", True),
        (50.05, "BUY", "70.1", False),
    ],
)
def test_m41_options_have_a_limit_price_protection(last, side, price, inside):
    """40 % of a premium above 50 rupees, else 20 rupees: above for a bid, below for an offer. A target may be far."""
    broker = _ready(last, CALL)
    answer = told(broker.order(side, 65, price=price, instrument_token=CALL, product="NRML"))
    assert (answer == ["REJECTED PRICE_OUTSIDE_BAND"]) is not inside


def test_m41_a_stop_on_an_option_is_held_to_it_when_it_is_triggered():
    """It may be placed far away; if its limit is too far from the price that triggers it, it is cancelled."""
    broker = _ready(100.0, CALL)
    option = {"quantity": 65, "instrument_token": CALL, "product": "NRML"}
    assert told(broker.order("SELL", trigger_price=30, price=25, **option)) == ["TRIGGER PENDING"]
    assert told(broker.order(trigger_price=200, price=290, **option)) == ["TRIGGER PENDING"]
    assert told(broker.tick(200.0, CALL)) == ["OPEN", "CANCELLED PRICE_OUTSIDE_BAND"]
    assert told(broker.tick(28.0, CALL)) == ["OPEN", "65@28", "COMPLETE"]


def test_m42_what_expired_is_no_longer_traded():
    """On its last day it is; on the day after, the order is refused, and not as unknown."""
    last = datetime(2026, 8, 4, 9, 15, tzinfo=IST)
    option = {"quantity": 65, "instrument_token": CALL, "product": "NRML"}
    assert told(_ready(100.0, CALL, last).order(**option)) == ["65@100", "COMPLETE"]
    assert told(_ready(100.0, CALL, last + timedelta(days=1)).order(**option)) == ["REJECTED INSTRUMENT_EXPIRED"]
    assert told(_ready(100.0, 77).order(instrument_token=77)) == ["REJECTED INSTRUMENT_UNKNOWN"]


def test_m37_of_several_faults_the_first_of_the_table_is_told():
    """One after the other is mended, and the codes come in the order of the table."""
    broker = _ready(100.0, CALL, cash=1_000)
    faults: dict[str, Any] = {
        "name": "expiry-1", "instrument_token": NIFTY, "product": "CNC", "trigger_price": "99.01", "quantity": 64,
        "order_type": "SL", "price": None,
    }  # fmt: skip
    mended: list[dict[str, Any]] = [
        {"name": None}, {"instrument_token": CALL}, {"product": "NRML"}, {"price": 98}, {"trigger_price": 99},
        {"price": 99}, {"quantity": 65 * 28}, {"quantity": 65}, {"order_type": "LIMIT", "price": 141},
        {"price": 140, "trigger_price": None},
    ]  # fmt: skip
    seen = []
    for mend in mended:
        (update,) = broker.order(**faults)
        seen.append(Code(update.code))
        faults |= mend
    assert told(broker.order(**faults)) == ["REJECTED MARGIN_INSUFFICIENT"]
    assert seen == [
        Code.ORDER_ID_RESERVED, Code.INSTRUMENT_NOT_TRADABLE, Code.PRODUCT_NOT_ALLOWED, Code.PRICE_MISSING,
        Code.PRICE_NOT_TICK_MULTIPLE, Code.TRIGGER_BEYOND_LIMIT, Code.QUANTITY_NOT_LOT_MULTIPLE,
        Code.QUANTITY_ABOVE_FREEZE, Code.TRIGGER_BEYOND_LAST, Code.PRICE_OUTSIDE_BAND,
    ]  # fmt: skip
    assert seen == sorted(seen, key=list(Code).index)


# --- products ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "product", "allowed"),
    [
        (TINY, "CNC", True),
        (TINY, "MIS", True),
        (TINY, "NRML", False),
        (CALL, "CNC", False),
        (CALL, "MIS", True),
        (CALL, "NRML", True),
        (FUTURE, "CNC", False),
        (FUTURE, "NRML", True),
    ],
)
def test_m43_cnc_is_for_shares_and_nrml_for_derivatives(token, product, allowed):
    """MIS is for both; each product of an instrument is a position of its own."""
    lot = 1 if token == TINY else 65
    broker = _ready(100.0, token)
    answer = told(broker.order(quantity=lot, instrument_token=token, product=product))
    assert answer == ([f"{lot}@100", "COMPLETE"] if allowed else ["REJECTED PRODUCT_NOT_ALLOWED"])
    assert broker.held(token, product) == (lot if allowed else 0)


@pytest.mark.parametrize(
    ("start", "token", "clock"),
    [(BEFORE, TINY, "15:20:00"), (BEFORE, CALL, "15:25:00"), (AFTER, TINY, "15:05:00"), (AFTER, CALL, "15:20:00")],
)
def test_m44_mis_is_squared_off_by_the_clock(start, token, clock):
    """Open MIS orders are cancelled and MIS positions closed at MARKET; CNC and NRML stay."""
    broker = _ready(100.0, token, start)
    lot, stays = (10, "CNC") if token == TINY else (65, "NRML")
    broker.order(quantity=lot, instrument_token=token)
    broker.order(quantity=lot, instrument_token=token, product=stays)
    broker.order(quantity=lot, instrument_token=token, price=90)
    broker.at(clock)
    assert broker.tick(101.0, token, after=-SECOND) == []
    events = broker.tick(102.0, token)
    assert told(events) == ["CANCELLED MIS_SQUARED_OFF", f"{lot}@102", "COMPLETE"]
    assert events[1].order_id.startswith("square-off-")
    assert (broker.held(token), broker.held(token, stays)) == (0, lot)


def test_m45_each_strategy_closes_what_it_holds():
    """Orders in their names, in the order of these. One that is against the account's position keeps its own."""
    broker = _ready()
    for strategy, side, quantity in (("beta", "BUY", 5), ("alpha", "BUY", 10), ("gamma", "SELL", 3)):
        broker.order(side, quantity, strategy_id=strategy)
    events = broker.at("15:20:00").tick(100.0)
    assert [(event.strategy_id, event.side, event.quantity) for event in fills(events)] == [
        ("alpha", "SELL", 10), ("beta", "SELL", 2),
    ]  # fmt: skip
    assert broker.held() == 0
    assert broker.tick(101.0) == []


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_m46_the_square_off_costs_50_rupees_and_gst_an_order(side):
    """With the first fill of each of its orders, beside the charges of the trade."""
    broker = _ready(charges="estimate")
    for strategy in ("alpha", "beta"):
        broker.order(side, 10, strategy_id=strategy)
    by_hand = broker.order("SELL" if side == "BUY" else "BUY", 1)[0]
    assert "auto_square_off" not in by_hand.charges
    broker.order(side, 1)
    level = [(100.0, 6), (100.0, 600)]
    events = fills(broker.at("15:20:00").tick(100.0, depth=book(level, level)))
    assert [event.quantity for event in events] == [6, 4, 10]
    assert [event.charges.get("auto_square_off") for event in events] == [50, None, 50]
    extra = events[2].charges["gst"] - sum(
        (events[2].charges[name] * Decimal("0.18") for name in ("brokerage", "transaction", "sebi")), Decimal(0)
    )
    assert abs(extra - 9) < Decimal("0.0002")
    assert broker.account.charges["auto_square_off"] == 100 * 10_000


@pytest.mark.parametrize(
    ("token", "price", "quantity", "slices"),
    [(TINY, 10.0, 70_000, [30_000, 30_000, 10_000]), (FUTURE, 100.0, 65 * 30, [1755, 195])],
)
def test_m47_large_positions_are_squared_off_in_slices(token, price, quantity, slices):
    """30,000 shares an order, or the whole lots of the freeze quantity, and the charge for each."""
    broker = _ready(price, token, charges="estimate")
    for part in slices:
        broker.order(quantity=part, instrument_token=token)
    events = fills(broker.at("15:25:00").tick(price, token))
    assert [event.quantity for event in events] == slices
    assert [event.charges["auto_square_off"] for event in events] == [50] * len(slices)
    assert broker.held(token) == 0
    assert sum(slices) == quantity


def test_m48_the_square_off_waits_for_a_price():
    """No fill on a tick from before it; its orders never expire, and go on in the next session."""
    broker = _ready()
    broker.order()
    assert told(broker.at("15:20:00").tick(50.0, INFY)) == ["OPEN MIS_SQUARED_OFF"]
    assert told(broker.at("15:30:00").tick(50.0, INFY)) == []
    broker.now += timedelta(days=1)
    assert told(broker.at("09:15:00").tick(90.0)) == ["10@90", "COMPLETE"]


def test_m48_what_waits_is_not_squared_off_again():
    """Neither the next day's square-off nor that of a run which begins then orders a second time what is on its way."""
    broker = _ready()
    broker.order()
    broker.at("15:20:00").tick(50.0, INFY)
    broker.now += timedelta(days=1)
    broker.at("10:00:00").tick(50.0, INFY)
    broker.order(quantity=3, instrument_token=INFY)
    assert told(broker.at("15:20:00").tick(50.0, INFY)) == ["3@50", "COMPLETE"]
    assert told(broker.tick(90.0)) == ["10@90", "COMPLETE"]
    assert broker.held(TINY) == 0


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_m49_no_new_mis_after_the_square_off(side):
    """Neither side; CNC may still be bought, and the next day MIS too."""
    broker = _ready()
    broker.at("15:20:00").tick(100.0)
    assert told(broker.order(side)) == ["REJECTED MIS_AFTER_SQUARE_OFF"]
    assert told(broker.order(product="CNC")) == ["10@100", "COMPLETE"]
    broker.now += timedelta(days=1)
    broker.at("09:15:00").tick(100.0)
    assert told(broker.order(side)) == ["10@100", "COMPLETE"]


# --- CNC ---------------------------------------------------------------------------------------


def test_m50_cnc_sells_only_what_is_held():
    """What other open orders would sell is promised; MIS shares are not CNC shares. Bought today may be sold today."""
    broker = _ready()
    assert told(broker.order("SELL", 1, product="CNC")) == ["REJECTED HOLDINGS_INSUFFICIENT"]
    broker.order(quantity=10)
    assert told(broker.order("SELL", 1, product="CNC")) == ["REJECTED HOLDINGS_INSUFFICIENT"]
    broker.order(quantity=10, product="CNC")
    assert told(broker.order("SELL", 6, product="CNC", price=105)) == ["OPEN"]
    assert told(broker.order("SELL", 5, product="CNC")) == ["REJECTED HOLDINGS_INSUFFICIENT"]
    assert told(broker.order("SELL", 4, product="CNC")) == ["4@100", "COMPLETE"]
    assert told(broker.modify("o5", quantity=7)) == ["OPEN HOLDINGS_INSUFFICIENT"]


def test_m51_shares_are_t1_until_the_next_trading_day(tmp_path):
    """`holdings` tells apart what was delivered and what was bought on the newest day; both may be sold."""
    events: list[Any] = []
    for number, day in enumerate((BEFORE, BEFORE + timedelta(days=1))):
        tick = Tick(instrument_token=9, timestamp=day + SECOND, last_price=100.0)
        events += [tick, Order(order_id=f"o{number}", signal_id=f"s{number}", strategy_id="x", broker="paper",
                               instrument_token=9, side="BUY", quantity=10 + number, timestamp=tick.timestamp,
                               product="CNC")]  # fmt: skip
    said = list(replay(events, f"paper -q --state {tmp_path}"))
    assert told(said) == ["10@100", "COMPLETE", "11@100", "COMPLETE"]
    shown = CliRunner().invoke(cli, ["paper", "--state", str(tmp_path), "holdings", "--json"], obj=Build())
    assert shown.exit_code == 0, shown.output
    (row,) = map(orjson.loads, shown.output.splitlines())
    assert (row["quantity"], row["t1_quantity"]) == (10, 11)
    later = Tick(instrument_token=9, timestamp=BEFORE + timedelta(days=1, hours=1), last_price=101.0)
    sale = Order(order_id="sale", signal_id="sale", strategy_id="x", broker="paper", instrument_token=9, side="SELL",
                 quantity=21, timestamp=later.timestamp, product="CNC")  # fmt: skip
    assert told(replay([later, sale], f"paper -q --state {tmp_path}")) == ["21@101", "COMPLETE"]


def test_m52_dp_is_charged_once_a_day_and_instrument():
    """With the first sale that takes shares from the demat account; today's purchases are sold first."""
    broker = Broker(charges="estimate", cash=10_000_000)
    for token in (TINY, INFY):
        broker.tick(100.0, token)
        broker.order(quantity=100, instrument_token=token, product="CNC")
    broker.now += timedelta(days=1)

    def sold(quantity: int, token: int = TINY) -> Decimal | None:
        broker.tick(100.0, token)
        return fills(broker.order("SELL", quantity, instrument_token=token, product="CNC"))[0].charges.get("dp")

    broker.tick(100.0)
    broker.order(quantity=10, product="CNC")
    assert [sold(10), sold(1), sold(1), sold(1, INFY), sold(1, INFY)] == [None, 13, None, 13, None]
    broker.now += timedelta(days=3)  # a Monday
    assert [sold(1), sold(1)] == [13, None]


# --- margins -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "side", "product", "lot", "price", "needs"),
    [
        (TINY, "BUY", "CNC", 10, 100.0, 1_000),
        (TINY, "BUY", "MIS", 10, 100.0, 200),
        (TINY, "SELL", "MIS", 10, 100.0, 200),
        (FUTURE, "BUY", "NRML", 65, 25000.0, 243_750),
        (FUTURE, "SELL", "MIS", 65, 25000.0, 243_750),
        (STOCK_FUTURE, "BUY", "NRML", 400, 1500.0, 150_000),
        (CALL, "BUY", "NRML", 65, 100.0, 6_500),
        (CALL, "SELL", "NRML", 65, 100.0, 243_750),
        (STOCK_CALL, "SELL", "MIS", 400, 20.0, 150_000),
    ],
)
def test_m53_what_an_order_opens_needs_margin(token, side, product, lot, price, needs):
    """Its share of the value, or of strike × quantity for a short option: a rupee less is refused with the figures."""
    for cash, answer in ((needs, [f"{lot}@{price:.0f}", "COMPLETE"]), (needs - 1, ["REJECTED MARGIN_INSUFFICIENT"])):
        broker = _ready(price, token, cash=cash)
        assert told(broker.order(side, lot, instrument_token=token, product=product)) == answer
    assert f"needs {needs} rupees" in broker.said[-1].message


def test_m54_open_orders_block_margin_and_closing_needs_none():
    """Until they are filled, cancelled or modified; what they would close is free."""
    broker = _ready(cash=1_000)
    assert told(broker.order(quantity=40, price=100, name="a", timestamp=broker.now + SECOND)) == ["OPEN"]
    assert told(broker.order(quantity=20, price=90)) == ["REJECTED MARGIN_INSUFFICIENT"]
    broker.cancel("a")
    assert told(broker.order(quantity=50)) == ["50@100", "COMPLETE"]
    assert told(broker.order("SELL", 50, price=120, name="target")) == ["OPEN"]
    assert told(broker.order("SELL", 50, price=110)) == ["REJECTED MARGIN_INSUFFICIENT"]
    assert told(broker.modify("target", quantity=51)) == ["OPEN MARGIN_INSUFFICIENT"]
    assert told(broker.modify("target", price=105)) == ["OPEN"]


def test_m55_losses_of_open_positions_count_and_profits_do_not():
    """As at Kite: unrealised profit is no margin. Realised profit is, and charges are taken."""
    for price, fits in ((99.0, 47), (100.0, 50), (110.0, 50)):
        broker = _ready(cash=2_000)
        broker.order(quantity=50)
        broker.tick(price)
        broker.tick(100.0, INFY)
        assert told(broker.order(quantity=fits + 1, instrument_token=INFY)) == ["REJECTED MARGIN_INSUFFICIENT"]
        assert told(broker.order(quantity=fits, instrument_token=INFY)) == [f"{fits}@100", "COMPLETE"]
    broker = _ready(cash=1_000)
    broker.order(quantity=50)
    broker.tick(110.0)
    broker.order("SELL", 50)
    broker.tick(100.0)
    assert told(broker.order(quantity=75)) == ["75@100", "COMPLETE"]


# --- sessions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "open_"),
    [
        ("2026-07-30T09:14:59", False),
        ("2026-07-30T09:15:00", True),
        ("2026-07-30T15:29:59", True),
        ("2026-07-30T15:30:00", False),
        ("2026-08-01T11:00:00", False),  # a Saturday
        ("2026-05-28T11:00:00", False),  # a holiday
        ("2026-02-01T11:00:00", True),  # the Budget, on a Sunday
        ("2025-10-21T11:00:00", False),
        ("2025-10-21T14:00:00", True),  # Muhurat
    ],
)
def test_m56_orders_are_taken_in_the_sessions_of_the_exchange(moment, open_):
    """And refused outside: there are no orders for after the market here. --all-hours lifts it."""
    at = datetime.fromisoformat(moment).replace(tzinfo=IST)
    answer = ["OPEN"] if open_ else ["REJECTED MARKET_CLOSED"]
    assert told(Broker(at).order(price=100, product="CNC")) == answer
    plain = [Tick(instrument_token=9, timestamp=at, last_price=100.0),
             Order(order_id="o", signal_id="s", strategy_id="x", broker="paper", instrument_token=9, side="BUY",
                   quantity=1, timestamp=at)]  # fmt: skip
    assert told(replay(plain, "paper -q --all-hours --charges none")) == ["1@100", "COMPLETE"]


@pytest.mark.parametrize(("token", "day", "open_"), [(CALL, BEFORE, False), (CALL, AFTER, True), (TINY, AFTER, False)])
def test_m56_derivatives_trade_ten_minutes_longer_since_the_closing_auction(token, day, open_):
    """NFO to 15:40 from 2026-08-03."""
    broker = Broker(day).at("15:35:00")
    product, lot = ("CNC", 1) if token == TINY else ("NRML", 65)
    answer = told(broker.order(quantity=lot, price=100, instrument_token=token, product=product))
    assert answer == (["OPEN"] if open_ else ["REJECTED MARKET_CLOSED"])


def test_m57_a_day_that_the_calendar_does_not_know_has_no_trading():
    """Neither open nor closed: refused with another code, which says how to mend it."""
    (update,) = Broker(datetime(2031, 7, 1, 11, 0, tzinfo=IST)).order(price=100)
    assert (update.status, update.code) == ("REJECTED", "CALENDAR_UNKNOWN")
    assert "2031" in update.message


# --- the closing auction -----------------------------------------------------------------------


def test_m58_shares_with_futures_close_by_auction_from_2026_08_03():
    """Their continuous session ends at 15:15: stops are cancelled then, LIMIT DAY orders go on."""
    broker = _ready(1500.0, INFY, AFTER)
    broker.order(quantity=1, instrument_token=INFY, price=1490, product="CNC", name="limit")
    broker.order(quantity=1, instrument_token=INFY, trigger_price=1510, price=1511, product="CNC", name="stop")
    assert broker.at("15:14:58").tick(1500.0, INFY) == []
    events = broker.tick(1480.0, INFY)
    assert [(event.order_id, told([event])) for event in events] == [("stop", ["CANCELLED AUCTION_BEGAN"])]
    assert broker.tick(1480.0, INFY) == []


@pytest.mark.parametrize(("token", "start"), [(TINY, AFTER), (INFY, BEFORE)])
def test_m58_other_shares_and_earlier_days_have_no_auction(token, start):
    """They trade on to 15:30."""
    broker = _ready(1500.0, token, start)
    broker.order(quantity=1, instrument_token=token, price=1490, product="CNC")
    assert told(broker.at("15:29:58").tick(1480.0, token)) == ["1@1490", "COMPLETE"]


@pytest.mark.parametrize(
    ("clock", "fields", "answer"),
    [
        ("15:16:00", {"price": 1500}, "REJECTED MARKET_CLOSED"),  # the reference price is being found
        ("15:20:00", {"price": 1500}, "OPEN"),
        ("15:29:59", {"price": 1500}, "OPEN"),
        ("15:21:00", {}, "REJECTED AUCTION_ORDER_TYPE"),
        ("15:21:00", {"price": 1500, "validity": "IOC"}, "REJECTED AUCTION_ORDER_TYPE"),
        ("15:21:00", {"price": 1511, "trigger_price": 1510}, "REJECTED AUCTION_ORDER_TYPE"),
        ("15:30:00", {"price": 1500}, "REJECTED MARKET_CLOSED"),  # it matches
    ],
)
def test_m59_the_auction_takes_limit_day_orders_while_it_collects(clock, fields, answer):
    """From 15:20 to 15:30; who came after its price was known would know more than it."""
    broker = _ready(1500.0, INFY, AFTER).at(clock)
    broker.tick(1500.0, INFY, after=timedelta(0))
    assert told(broker.order(quantity=1, instrument_token=INFY, product="CNC", **fields)) == [answer]


def test_m60_the_auction_matches_at_its_price():
    """The first tick of its matching: whoever's limit reaches that price gets it; the others end with the day."""
    broker = _ready(1500.0, INFY, AFTER)
    for name, side, price in (("high", "BUY", 1520), ("low", "BUY", 1490)):
        broker.at("15:21:00").tick(1500.0, INFY)
        broker.order(side, 1, instrument_token=INFY, price=price, product="CNC", name=name)
    assert broker.at("15:27:00").tick(1470.0, INFY) == []  # an indication
    assert broker.at("15:30:00").tick(1500.0, INFY, last_trade_time=AFTER) == []  # repeats the last trade of the day
    events = broker.at("15:31:00").tick(1505.0, INFY)
    assert [(event.order_id, told([event])) for event in events] == [("high", ["1@1505"]), ("high", ["COMPLETE"])]
    assert told(broker.at("15:35:00").tick(1505.0, INFY)) == ["CANCELLED DAY_ENDED"]


def test_m60_what_is_on_its_way_when_the_auction_begins_is_not_matched():
    """A MARKET or IOC order that met no tick before 15:15 is cancelled; one of the square-off waits for a session."""
    broker = _ready(1500.0, INFY, AFTER)
    broker.order(quantity=2, instrument_token=INFY, product="MIS", name="mis")
    assert told(broker.at("15:05:00").tick(1.0)) == ["OPEN MIS_SQUARED_OFF"]
    broker.at("15:14:59").tick(1.0, after=timedelta(0))
    shares = {"quantity": 1, "instrument_token": INFY, "product": "CNC"}
    assert told(broker.order(name="market", **shares)) == ["OPEN"]
    assert told(broker.order(name="ioc", price=1510, validity="IOC", **shares)) == ["OPEN"]
    assert told(broker.order(name="limit", price=1510, **shares)) == ["OPEN"]
    events = broker.at("15:15:00").tick(1.0, after=timedelta(0))
    assert told(events) == ["CANCELLED AUCTION_BEGAN"] * 2
    assert told(broker.at("15:31:00").tick(1505.0, INFY)) == ["1@1505", "COMPLETE"]
    assert broker.held(INFY) == 2
    broker.now += timedelta(days=1)
    assert told(broker.at("09:15:00").tick(1500.0, INFY)) == ["2@1500", "COMPLETE"]


def test_m60_an_order_that_is_late_for_the_auction_is_not_matched():
    """It was sent in time, and arrives while the auction matches."""
    broker = _ready(1500.0, INFY, AFTER, latency=2 * SECOND)
    broker.at("15:29:58").tick(1500.0, INFY)
    assert told(broker.order(quantity=1, instrument_token=INFY, product="CNC", price=1520)) == ["OPEN PENDING"]
    assert told(broker.at("15:31:00").tick(1505.0, INFY)) == []
    assert told(broker.at("15:35:00").tick(1.0)) == ["CANCELLED DAY_ENDED"]


def test_m60_an_auction_without_a_time_to_match_matches_nothing():
    """As the calendar has it from 2026-12-07: the last phase it knows still collects orders."""
    broker = Broker(datetime(2026, 12, 7, 9, 15, tzinfo=IST), _WINTER).at("15:37:00")
    broker.tick(1500.0, INFY)
    assert told(broker.order(quantity=1, instrument_token=INFY, product="CNC", price=1520)) == ["OPEN"]
    assert broker.tick(1500.0, INFY) == []
    assert told(broker.at("15:40:00").tick(1.0)) == ["CANCELLED DAY_ENDED"]


# --- expiry ------------------------------------------------------------------------------------

_LAST_DAY = datetime(2026, 8, 4, 9, 15, tzinfo=IST)


@pytest.mark.parametrize(
    ("token", "side", "spot", "price"),
    [
        (CALL, "BUY", 25123.45, "123.45"),
        (CALL, "SELL", 25123.45, "123.45"),
        (CALL, "BUY", 24999.95, "0"),
        (PUT, "BUY", 24876.55, "123.45"),
        (PUT, "SELL", 24876.55, "123.45"),
        (PUT, "SELL", 25000.0, "0"),
        (FUTURE, "BUY", 25123.45, "25123.45"),
        (FUTURE, "SELL", 24876.55, "24876.55"),
    ],
)
def test_m61_what_expires_is_settled_by_its_underlying(token, side, spot, price):
    """At the end of the last day: an option at its intrinsic value, a future at the index. No option trades at 0."""
    start = 25000.0 if token == FUTURE else 100.0
    broker = _ready(start, token, _LAST_DAY)
    broker.order(side, 65, instrument_token=token, product="NRML")
    broker.at("15:29:59").tick(spot, NIFTY)
    assert broker.at("15:39:58").tick(start, token) == []
    fill, update = broker.tick(1.0, TINY)
    assert (fill.quantity, fill.price, fill.side) == (65, Decimal(price), "SELL" if side == "BUY" else "BUY")
    assert (update.status, update.code, update.order_id[:7]) == ("COMPLETE", "EXPIRED", "expiry-")
    assert broker.held(token, "NRML") == 0


def test_m61_the_price_of_the_next_morning_settles_nothing():
    """The tick that makes the settlement due may be the underlying's own. Nor does a price of the day before."""
    option = {"quantity": 65, "instrument_token": CALL, "product": "NRML"}
    broker = _ready(100.0, CALL, _LAST_DAY)
    broker.order(**option)
    broker.at("15:29:00").tick(25123.45, NIFTY)
    broker.now += timedelta(days=1)
    assert told(broker.at("09:15:00").tick(27000.0, NIFTY)) == ["65@123.45", "COMPLETE EXPIRED"]
    broker = _ready(100.0, CALL, _LAST_DAY - timedelta(days=1))
    broker.order(**option)
    broker.tick(27000.0, NIFTY)
    broker.now += timedelta(days=1)
    broker.at("15:20:00").tick(80.0, CALL)
    assert told(broker.at("15:40:00").tick(1.0)) == ["65@80", "COMPLETE EXPIRED"]
    broker = _ready(100.0, CALL, _LAST_DAY)
    broker.order(**option)
    broker.at("15:29:00").tick(7.0, CALL)
    broker.now += timedelta(days=1)
    assert told(broker.at("09:15:00").tick(1.0, CALL)) == ["65@7", "COMPLETE EXPIRED"]  # its own neither


def test_m62_without_the_underlying_its_own_last_price_settles_it():
    """Where the master does not have the underlying, or no tick of it came."""
    for token, lot in ((BARE_CALL, 60), (CALL, 65)):
        broker = _ready(100.0, token, _LAST_DAY)
        broker.order(quantity=lot, instrument_token=token, product="NRML")
        broker.at("15:39:00").tick(77.0, token)
        assert told(broker.at("15:40:00").tick(1.0)) == [f"{lot}@77", "COMPLETE EXPIRED"]


def test_m62_stock_derivatives_are_settled_in_cash_here():
    """By the last price of the share; the exchange would deliver it."""
    broker = _ready(20.0, STOCK_CALL, _LAST_DAY)
    broker.order(quantity=400, instrument_token=STOCK_CALL, product="NRML")
    broker.at("15:14:00").tick(1512.0, INFY)
    assert told(broker.at("15:40:00").tick(1.0)) == ["400@12", "COMPLETE EXPIRED"]
    assert broker.held(INFY, "CNC") == 0


def test_m62_orders_on_what_expires_end_with_its_last_session():
    """Like all orders of the day; nothing of the contract is left."""
    broker = _ready(100.0, CALL, _LAST_DAY)
    broker.order(quantity=65, price=90, instrument_token=CALL, product="NRML")
    assert told(broker.at("15:40:00").tick(1.0)) == ["CANCELLED DAY_ENDED"]


@pytest.mark.parametrize(
    ("side", "spot", "charges"),
    [
        # 65 × 100 = 6,500 of intrinsic value: STT 0.15 % of it for the holder, ₹20 and GST for both
        ("BUY", 25100.0, {"brokerage": 20, "stt": Decimal("9.75"), "gst": Decimal("3.6"), "total": Decimal("33.35")}),
        ("SELL", 25100.0, {"brokerage": 20, "gst": Decimal("3.6"), "total": Decimal("23.6")}),
        ("BUY", 24900.0, {"total": 0}),
    ],
)
def test_m63_an_exercise_costs_stt_on_the_intrinsic_value(side, spot, charges):
    """And the broker's fee; what expires worthless costs nothing."""
    broker = _ready(100.0, CALL, _LAST_DAY, charges="estimate")
    broker.order(side, 65, instrument_token=CALL, product="NRML")
    broker.at("15:29:59").tick(spot, NIFTY)
    assert fills(broker.at("15:40:00").tick(1.0))[0].charges == charges


# --- charges -----------------------------------------------------------------------------------


def test_m64_an_estimate_charges_every_fill_exactly():
    """MIS 400 bought at 1000 and sold at 1100 on NSE costs 200.6210; brokerage is for the order, not for each fill."""
    broker = Broker(charges="estimate", cash=10_000_000)
    broker.tick(1000.0, INFY, depth=book([], [(1000.0, 100), (1000.0, 300)]))
    bought = fills(broker.order(quantity=400, instrument_token=INFY))
    broker.tick(1100.0, INFY)
    sold = fills(broker.order("SELL", 400, instrument_token=INFY))
    assert [fill.quantity for fill in bought] == [100, 300]
    assert [fill.charges.get("brokerage") for fill in bought + sold] == [20, None, 20]
    total = sum(fill.charges["total"] for fill in bought + sold)
    assert abs(total - Decimal("200.62104")) < Decimal("0.001")
    (portfolio,) = broker.close()
    assert portfolio.charges == total
    assert portfolio.cash == 10_000_000 + 40_000 - total


@pytest.mark.parametrize("by", ["the night", "the end of the stream"])
def test_m65_a_contract_note_settles_the_charges_of_the_day(by):
    """Rounded as notes are; a CNC round trip within the day is charged as intraday. What differs is booked."""
    broker = Broker(charges="contract-note", cash=10_000_000)
    broker.tick(1000.0, INFY)
    broker.order(quantity=100, instrument_token=INFY, product="CNC")
    broker.order("SELL", 100, instrument_token=INFY, product="CNC")
    estimated = broker.account.charged
    if by == "the night":
        broker.now += timedelta(days=1)
        events = broker.tick(1000.0, INFY)
    else:
        events = broker.close()
    (note,) = [event for event in events if type(event) is ContractNote]
    assert (note.date, note.fills) == (BEFORE.date(), 2)
    assert (note.charges["stt"], note.charges["stamp_duty"]) == (25, 3)  # 0.025 % and 0.003 %: intraday
    assert note.adjustment == note.charges["total"] - Decimal(estimated) / 10_000
    assert broker.account.charged == note.charges["total"] * 10_000
    assert broker.account.cash == (10_000_000 - note.charges["total"]) * 10_000


def test_m65_an_expiry_is_on_the_note_of_its_own_day():
    """Not on one of the day on which the contract was last traded; of two days there are two notes."""
    broker = _ready(100.0, CALL, _LAST_DAY - timedelta(days=1), charges="contract-note")
    broker.order(quantity=65, instrument_token=CALL, product="NRML")
    broker.now += timedelta(days=1)
    (note,) = broker.at("15:29:00").tick(25123.45, NIFTY)
    assert (note.date, note.fills) == (_LAST_DAY.date() - timedelta(days=1), 1)
    fill, _ = broker.at("15:40:00").tick(1.0)
    (note,) = broker.close()[:-1]
    assert (note.date, note.fills, note.adjustment) == (
        _LAST_DAY.date(),
        1,
        note.charges["total"] - fill.charges["total"],
    )
    assert note.charges["stt"] == 12  # 0.15 % of 65 × 123.45


def test_m61_what_the_books_cannot_hold_at_expiry_is_refused():
    """The position stays as it is, and the run goes on."""
    broker = _ready(100.0, FUTURE, _LAST_DAY)
    broker.order("SELL", 65, instrument_token=FUTURE, product="NRML")
    broker.at("15:29:59").tick(9e11, NIFTY)
    assert told(broker.at("15:40:00").tick(1.0)) == ["REJECTED BOOKS_FULL"]
    assert broker.held(FUTURE, "NRML") == -65


def test_m66_without_charges_trading_is_free():
    """`--charges none`: also the square-off, and a day whose charges are not known."""
    broker = _ready()
    broker.order()
    broker.at("15:20:00").tick(100.0)
    assert [fill.charges for fill in fills(broker.said)] == [{"total": 0}] * 2
    assert broker.account.cash == 1_000_000 * 10_000


def test_m67_what_it_would_cost_must_be_known():
    """A day for which a charge has no source is refused, and says which; nothing is estimated from other days."""
    (update,) = _unknown_charges()
    assert (update.status, update.code) == ("REJECTED", "CHARGES_UNKNOWN")
    assert "transaction" in update.message


# --- the books ---------------------------------------------------------------------------------

_ACTIONS = st.one_of(
    st.tuples(st.just("tick"), st.integers(1900, 2100)),
    st.tuples(st.just("order"), st.sampled_from(["BUY", "SELL"]), st.integers(1, 500),
              st.sampled_from(["MIS", "CNC"]), st.sampled_from([None, 1950, 2000, 2050])),
    st.tuples(st.just("cancel"), st.integers(1, 9)),
)  # fmt: skip


@examples(60)
@given(st.lists(_ACTIONS, max_size=25), st.sampled_from(["none", "estimate", "contract-note"]))
def test_m68_the_books_balance_after_every_event(actions, charges):
    """cash + cost + charges is capital + realised; equity is capital + realised + unrealised - charges. Exactly."""
    broker = Broker(charges=charges)
    broker.tick(100.0)
    for what, *given_ in actions:
        if what == "tick":
            broker.tick(given_[0] / 20, last_traded_quantity=100)
        elif what == "order":
            side, quantity, kind, price = given_
            broker.order(side, quantity, product=kind, price=None if price is None else Decimal(price) / 20)
        else:
            broker.cancel(f"o{given_[0]}")
        account = broker.account
        assert account.cash + account.cost + account.charged == account.capital + account.realised
    portfolio = broker.close()[-1]
    assert type(portfolio) is Portfolio
    worth = 1_000_000 + portfolio.realised_pnl + portfolio.unrealised_pnl - portfolio.charges
    assert portfolio.equity == worth
    if charges == "estimate":
        assert portfolio.charges == sum((fill.charges["total"] for fill in fills(broker.said)), Decimal(0))


def test_m69_profit_is_by_average_cost_and_gross():
    """A purchase moves the average, a sale realises against it; a flip begins anew at its own price."""
    broker = _ready()
    broker.order(quantity=10)
    broker.tick(110.0)
    broker.order(quantity=30)
    held = broker.account.positions[TINY, "MIS"]
    assert held.average_price == Decimal("107.5")
    broker.tick(120.0)
    broker.order("SELL", 20)
    assert (held.average_price, held.realised) == (Decimal("107.5"), 250 * 10_000)
    broker.order("SELL", 30)
    assert (held.quantity, held.average_price, held.realised) == (-10, 120, 500 * 10_000)


def test_m70_a_halt_refuses_orders_and_modifications_and_takes_cancels():
    """What rested before may fill; the run ends as halted, and as usual once it is over."""
    broker = _ready()
    broker.order(name="a", price="99")
    broker.order(name="b", price="98")
    broker.halted = "HALT exists"
    assert told(broker.order(name="c")) == ["REJECTED TRADING_HALTED"]
    (update,) = broker.modify("a", price=Decimal("99.50"))
    assert (update.status, update.code, update.message) == (
        "OPEN", "TRADING_HALTED", "not modified: trading is halted: HALT exists"
    )  # fmt: skip
    assert told(broker.cancel("b")) == ["CANCELLED CANCELLED_ON_REQUEST"]
    assert "COMPLETE" in [event.status for event in broker.tick(98.5) if type(event) is OrderUpdate]
    verdict = broker.engine.verdict()
    assert (verdict.exit_code, str(verdict)) == (80, "halted: HALT exists; 2 orders were refused")
    broker.halted = None
    assert broker.engine.verdict() is None
    assert told(broker.order(name="d"))[-1] == "COMPLETE"


def test_m61_the_last_day_may_end_with_a_session_and_another_run_settle(tmp_path):
    """A feed that stops at the close leaves the settlement to the next run: the same price, by the day's last."""
    from alpha_cli.stages.paper.store import Store

    config = PaperConfig(charges="none")
    first = Broker(_LAST_DAY)
    for run, broker in enumerate((first, Broker(_LAST_DAY))):
        store = Store(tmp_path, "paper", config)
        broker.account = store.account
        broker.engine = Engine(
            store.account, broker.market, store, store.resting(), config=config, contracts=Contracts(lambda: MASTER)
        )
        if not run:
            broker.tick(100.0, CALL)
            broker.order(quantity=65, instrument_token=CALL, product="NRML")
            broker.at("15:29:59").tick(25123.45, NIFTY)
            broker.engine.close()
        else:
            broker.now = _LAST_DAY + timedelta(days=1)
            assert told(broker.tick(27000.0, NIFTY)) == ["65@123.45", "COMPLETE EXPIRED"]
        store.commit()
        store.release()


def test_a_sale_that_the_books_refuse_takes_no_demat_charge_away():
    """The next sale of the day is the first that takes shares from the demat account."""
    broker = Broker(cash=10**11, charges="estimate")
    broker.tick(100.0)
    broker.order(quantity=100, product="CNC")
    broker.now += timedelta(days=1)
    broker.at("10:00:00").tick(100.0)
    broker.order("SELL", 10, product="CNC", metadata={"long": "x" * (1 << 20)})
    assert [event.code for event in broker.said if type(event) is OrderUpdate][-1] == "METADATA_TOO_LONG"
    (fill, _) = broker.order("SELL", 10, product="CNC")
    assert fill.charges["dp"] == Decimal("13")
