"""The simulated broker's rules, one by one, on a market that the test fills with ticks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import chain

import pytest
from hypothesis import given, strategies as st
from support.examples import examples

from alpha_cli.core.codec import decode, encode
from alpha_cli.core.events import Cancel, Fill, Modify, Order, OrderUpdate, Portfolio, Tick
from alpha_cli.core.ledger import Account
from alpha_cli.core.times import IST
from alpha_cli.core.wire import MAX_LINE, check_rupees
from alpha_cli.stages.paper.config import PaperConfig
from alpha_cli.stages.paper.engine import Engine
from alpha_cli.stages.paper.margin import MarginAccount
from alpha_cli.stages.paper.orders import Memory, PaperOrder
from alpha_cli.stream.last_ticks import LastTicks

TOKEN = 256265
OPENING = datetime(2024, 6, 3, 9, 15, tzinfo=IST)


def an_order(name="o1", side="BUY", quantity=10, **fields):
    fields = {
        "signal_id": f"s-{name}", "strategy_id": "momentum", "broker": "paper", "instrument_token": TOKEN,
        "timestamp": OPENING, **fields,
    }  # fmt: skip
    return Order(order_id=name, side=side, quantity=quantity, **fields)


class Broker:
    """An engine, and a stream of seconds: ticks reach the steps as the loop would deliver them."""

    def __init__(self, journal=None, resting=(), cash=1_000_000, **config):
        self.market = LastTicks()
        self.account = Account.opened("paper", Decimal(cash))
        config = PaperConfig(**{"charges": "none", **config})
        self.engine = Engine(self.account, self.market, journal, resting, config=config)
        self.now = OPENING

    def tick(self, price, token=TOKEN, after=timedelta(seconds=1)):
        self.now += after
        tick = Tick(instrument_token=token, timestamp=self.now, last_price=price)
        self.market.put(tick)
        return list(self.engine.on_tick(tick)) if self.market.wants(tick) else []

    def order(self, name="o1", side="BUY", quantity=10, **fields):
        fields.setdefault("timestamp", self.now)
        given = [name for name in ("price", "trigger_price") if isinstance(fields.get(name), str)]
        fields |= {name: Decimal(fields[name]) for name in given}
        if given:
            fields.setdefault("order_type", "SL" if len(given) > 1 else {"price": "LIMIT"}.get(given[0], "SL-M"))
        return list(self.engine.on_order(an_order(name, side, quantity, **fields)))

    def cancel(self, name="o1", **fields):
        return list(self.engine.on_cancel(Cancel(order_id=name, **fields)))

    def modify(self, name="o1", **fields):
        return list(self.engine.on_modify(Modify(order_id=name, **fields)))


@pytest.fixture
def broker():
    return Broker()


def told(events):
    """(fill price or update status) of each event."""
    return [str(event.price) if type(event) is Fill else event.status for event in events]


def test_a_market_order_fills_at_once_on_the_newest_tick():
    """The causing tick included; the fill carries the order's origin, the tick's time and the charges."""
    broker = Broker(charges="estimate")
    broker.tick(100.0)
    broker.tick(22150.05)
    fill, update = broker.order(confidence=0.7, metadata={"why": "x"}, product="CNC")
    assert (fill.price, fill.quantity, fill.side, fill.timestamp) == (Decimal("22150.05"), 10, "BUY", broker.now)
    assert (fill.signal_id, fill.strategy_id, fill.broker, fill.product) == ("s-o1", "momentum", "paper", "CNC")
    assert (fill.confidence, fill.metadata) == (0.7, {"why": "x"})
    assert fill.charges == {
        "stt": Decimal("221.5005"), "transaction": Decimal("7.3538"), "sebi": Decimal("0.2215"),
        "stamp_duty": Decimal("33.2251"), "gst": Decimal("1.3636"), "total": Decimal("263.6645"),
    }  # fmt: skip
    assert (update.status, update.filled_quantity, update.pending_quantity) == ("COMPLETE", 10, 0)
    assert update.average_price == fill.price
    (portfolio,) = broker.engine.close()
    assert (portfolio.cash, portfolio.charges) == (Decimal("778499.50") - Decimal("263.6645"), Decimal("263.6645"))
    assert b'"price":22150.05,' in encode(fill)


def test_a_market_order_without_a_price_is_rejected(broker):
    """No wait for a next tick: an explicit answer that says what is missing."""
    broker.tick(100.0, token=1)
    (update,) = broker.order()
    assert (update.status, update.timestamp) == ("REJECTED", broker.now)
    assert "no tick of instrument 256265" in update.message
    assert broker.engine.counts()["refused"] == 1


@pytest.mark.parametrize(
    ("side", "limit", "last"), [("BUY", "100", 99.5), ("SELL", "100", 100.5), ("BUY", "100", 100.0)]
)
def test_a_marketable_limit_order_fills_at_the_last_price(broker, side, limit, last):
    """The better price is the trader's."""
    broker.tick(last)
    assert told(broker.order(side=side, price=limit)) == [f"{Decimal(repr(last)).normalize():f}", "COMPLETE"]
    assert not broker.market.watched


@pytest.mark.parametrize(("side", "away", "through"), [("BUY", 101.0, 98.0), ("SELL", 99.0, 102.0)])
def test_a_resting_limit_order_fills_at_its_price_when_a_tick_trades_there(broker, side, away, through):
    """It rests OPEN, has the instrument's ticks delivered, and no longer once it is filled."""
    broker.tick(away)
    (update,) = broker.order(side=side, price="100.00")
    assert (update.status, update.pending_quantity) == ("OPEN", 10)
    assert list(broker.market.watched) == [TOKEN]
    assert broker.tick(away) == []
    events = broker.tick(through)
    assert told(events) == ["100", "COMPLETE"]
    assert events[0].timestamp == broker.now
    assert not broker.market.watched


def test_a_limit_order_may_come_before_the_first_tick(broker):
    """It waits, and reaches the market with the tick that comes: that tick's price is its own."""
    assert told(broker.order(price="100")) == ["OPEN"]
    assert told(broker.tick(99.0)) == ["99", "COMPLETE"]


def test_resting_orders_fill_by_price_and_then_by_time(broker):
    """The best price first, and of one price the first to come."""
    broker.tick(110.0)
    for name, price in (("a", "100"), ("b", "105"), ("c", "90"), ("d", "100"), ("e", "105")):
        broker.order(name, price=price)
    assert [event.order_id for event in broker.tick(95.0) if type(event) is Fill] == ["b", "e", "a", "d"]
    assert list(broker.market.watched) == [TOKEN]


@pytest.mark.parametrize(
    ("side", "trigger", "before", "beyond"), [("BUY", "101", 100.95, 101.5), ("SELL", "99", 99.05, 98.5)]
)
def test_a_stop_waits_for_its_trigger_and_then_takes_the_market(broker, side, trigger, before, beyond):
    """TRIGGER PENDING until a trade at the trigger or beyond it; a gap through it fills at the gap's price."""
    broker.tick(100.0)
    (update,) = broker.order(side=side, trigger_price=trigger)
    assert (update.status, update.pending_quantity) == ("TRIGGER PENDING", 10)
    assert broker.tick(before) == []
    triggered, fill, done = broker.tick(beyond)
    assert (triggered.status, triggered.message) == ("OPEN", f"triggered at {beyond:g}")
    assert (float(fill.price), fill.timestamp, done.status) == (beyond, broker.now, "COMPLETE")
    assert not broker.market.watched


def test_a_stop_with_a_limit_that_the_gap_leaves_behind_rests_at_its_limit(broker):
    """SL is a LIMIT order once it is triggered, no more."""
    broker.tick(100.0)
    assert told(broker.order(price="101.5", trigger_price="101")) == ["TRIGGER PENDING"]
    assert told(broker.tick(103.0)) == ["OPEN"]
    assert broker.tick(100.0 + 1.55) == []
    assert told(broker.tick(101.0)) == ["101.5", "COMPLETE"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"order_type": "SL", "price": "102"}, "TRIGGER_MISSING"),
        ({"order_type": "SL-M"}, "TRIGGER_MISSING"),
        ({"order_type": "SL", "trigger_price": "101"}, "PRICE_MISSING"),
        ({"trigger_price": "99"}, "TRIGGER_BEYOND_LAST"),
        ({"trigger_price": "100"}, "TRIGGER_BEYOND_LAST"),
        ({"price": "100.5", "trigger_price": "101", "order_type": "SL"}, "TRIGGER_BEYOND_LIMIT"),
        ({"trigger_price": "101.02"}, "PRICE_NOT_TICK_MULTIPLE"),
    ],
)
def test_a_stop_that_makes_no_sense_is_rejected(broker, fields, code):
    """With Kite's reasons."""
    broker.tick(100.0)
    (update,) = broker.order(**fields)
    assert (update.status, update.code) == ("REJECTED", code)


@pytest.mark.parametrize("price", [None, "0", "-5"])
def test_a_limit_order_needs_a_price(broker, price):
    """A LIMIT order without one is rejected, whatever the market does."""
    broker.tick(100.0)
    assert told(broker.order(order_type="LIMIT", price=price)) == ["REJECTED"]


def test_ioc_fills_at_once_or_not_at_all(broker):
    """Validity IOC never rests."""
    broker.tick(100.0)
    assert told(broker.order("a", price="99", validity="IOC")) == ["CANCELLED"]
    assert told(broker.order("b", price="101", validity="IOC")) == ["100", "COMPLETE"]
    assert not broker.market.watched


def test_a_day_order_ends_with_its_session(broker):
    """The first tick at or after the close cancels it, of whatever instrument, even at a price that would fill it."""
    broker.tick(100.0)
    broker.order(price="99", product="CNC")
    assert broker.tick(99.5, after=timedelta(hours=6, minutes=14)) == []  # 15:29:01
    (update,) = broker.tick(98.0, token=7, after=timedelta(seconds=59))
    assert (update.status, update.code, update.timestamp) == ("CANCELLED", "DAY_ENDED", broker.now)
    assert update.message == "validity DAY: the session is over"
    assert not broker.market.watched


def test_with_all_hours_a_day_order_ends_with_its_indian_day():
    """The first tick of a later IST date cancels it."""
    broker = Broker(all_hours=True)
    broker.tick(100.0)
    broker.order(price="99")
    assert broker.tick(100.0, after=timedelta(hours=14)) == []  # 23:15 in India
    (update,) = broker.tick(98.0, after=timedelta(hours=1))  # 00:15, and still the same day in UTC
    assert (update.status, update.code) == ("CANCELLED", "DAY_ENDED")
    assert not broker.market.watched


def test_outside_the_session_orders_are_rejected_and_ticks_fill_nothing(broker):
    """Neither what comes before the opening, nor what a feed repeats after the close, nor a Sunday's."""
    broker.now = OPENING - timedelta(minutes=8)
    broker.tick(100.0)
    (update,) = broker.order()
    assert (update.status, update.code) == ("REJECTED", "MARKET_CLOSED")
    broker.tick(100.0, after=timedelta(minutes=8))
    assert told(broker.order("b", price="99", product="CNC")) == ["OPEN"]
    broker.now = OPENING + timedelta(days=6)  # a Sunday
    assert told(broker.tick(98.0)) == ["CANCELLED"]
    (update,) = broker.order("c")
    assert (update.status, update.code) == ("REJECTED", "MARKET_CLOSED")


def test_orders_of_other_brokers_are_left_alone(broker):
    """`execute` serves them; here they are only counted."""
    broker.tick(100.0)
    assert broker.order(broker="zerodha") == []
    assert broker.engine.counts()["other_brokers"] == 1
    assert broker.account.positions == {}


def test_a_repeated_order_changes_nothing(broker):
    """The same order id is a counted no-op without an event."""
    broker.tick(100.0)
    assert told(broker.order()) == ["100", "COMPLETE"]
    assert broker.order() == []
    assert (broker.engine.counts()["repeated"], broker.account.positions[TOKEN, "MIS"].quantity) == (1, 10)


def test_a_second_order_for_one_signal_changes_nothing(broker):
    """A counted no-op like the same order again, unless it is a slice: a child of another order."""
    broker.tick(100.0)
    broker.order("a", signal_id="s")
    assert broker.order("b", signal_id="s") == broker.order("b", signal_id="s") == []
    assert told(broker.order("c", signal_id="s", parent_order_id="a")) == ["100", "COMPLETE"]
    counts = broker.engine.counts()
    assert (counts["repeated"], counts["refused"], counts["orders"], counts["fills"]) == (2, 0, 2, 2)


def test_an_order_that_the_books_cannot_hold_is_rejected():
    """Two of 10**12 units would make a position that no line can tell; the books stay as they were."""
    broker = Broker(cash=10**12 - 1)
    broker.tick(0.0001)
    assert told(broker.order("a", quantity=10**12)) == ["0.0001", "COMPLETE"]
    (update,) = broker.order("b", quantity=10**12)
    assert (update.status, update.filled_quantity, update.pending_quantity) == ("REJECTED", 0, 0)
    assert update.message == "the position would be 2000000000000 units; at most 1000000000000 can be held"
    assert broker.engine.counts()["refused"] == 1
    assert told(broker.order("c", side="SELL", quantity=10**12)) == ["0.0001", "COMPLETE"]
    broker.tick(1e6)
    (update,) = broker.order("d", side="SELL", quantity=10)
    assert (update.status, update.code) == ("REJECTED", "BOOKS_FULL")
    assert update.message.partition(";")[0] == "cash would be 1000009999999 rupees"
    (portfolio,) = broker.engine.close()
    assert (portfolio.cash, portfolio.positions[0].quantity) == (10**12 - 1, 0)


def test_a_resting_order_that_the_books_cannot_hold_is_rejected_when_it_would_fill():
    """Until then the position may have become smaller."""
    broker = Broker(cash=10**12 - 1)
    broker.tick(0.1)
    for name in "abc":
        broker.order(name, price="0.05", quantity=10**12)
    assert told(broker.tick(0.05)) == ["0.05", "COMPLETE", "REJECTED", "REJECTED"]
    assert not broker.market.watched
    assert broker.tick(0.05) == []


def test_an_answer_is_never_too_long_for_its_line(broker):
    """What the order or the cancel carries fits its own line, and may not fit that of the answer."""
    broker.tick(100.0)
    spare = MAX_LINE - len(encode(an_order(metadata={"x": ""})))
    (update,) = broker.order(metadata={"x": "x" * spare})
    assert (update.status, update.message) == ("REJECTED", "its metadata is too long for the line of a fill")
    assert told(broker.order("o2", metadata={"x": "x" * (spare - 1000)})) == ["100", "COMPLETE"]
    broker.order("o3", price="90")
    (update,) = broker.modify("o3", reason="y" * (MAX_LINE - 100))
    assert update.message == "y" * 500
    (update,) = broker.cancel("o3", reason="x" * (MAX_LINE - 100))
    assert update.message == "x" * 500


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
amounts = st.sampled_from([1, 9, 10**4, 10**8, 10**12, 10**16 - 1]) | st.integers(1, 10**16 - 1)
limits = amounts.map(lambda units: Decimal(units).scaleb(-4))
quantities = st.sampled_from([1, 2, 10**6, 10**12 - 1, 10**12]) | st.integers(1, 10**12)
last_prices = st.sampled_from([5e-324, 1e-5, 0.00005, 0.0001, 1.0, 99.95, 1e11, 999999999999.9999]) | st.floats(
    0, 1e12, exclude_min=True, exclude_max=True
)
moments = st.sampled_from(
    [datetime.min.replace(tzinfo=UTC), datetime(1969, 12, 31, tzinfo=UTC), OPENING, datetime.max.replace(tzinfo=UTC)]
)
zones = st.sampled_from([IST, UTC, timezone(timedelta(hours=23, minutes=59)), timezone(-timedelta(hours=23))])
times = st.builds(lambda moment, zone: moment.replace(tzinfo=zone), moments, zones)
names = st.sampled_from(["a", "b", "c", "d", "₹" * 128, "\0" * 128])
tokens = st.sampled_from([1, 2**32 - 1])
some_events = st.one_of(
    st.builds(Tick, instrument_token=tokens, timestamp=times, last_price=last_prices),
    st.builds(
        Order,
        order_id=names | st.uuids().map(str),
        signal_id=st.uuids().map(str),
        strategy_id=names,
        broker=st.just("paper"),
        instrument_token=tokens,
        side=st.sampled_from(["BUY", "SELL"]),
        quantity=quantities,
        timestamp=times,
        order_type=st.sampled_from(["MARKET", "LIMIT", "SL", "SL-M"]),
        price=st.none() | limits,
        trigger_price=st.none() | limits,
        product=st.sampled_from(["MIS", "CNC", "NRML"]),
        validity=st.sampled_from(["DAY", "IOC"]),
        confidence=st.none() | st.floats(0, 1),
        metadata=st.dictionaries(st.text(max_size=3), json_values, max_size=2),
    ),
    st.builds(Modify, order_id=names, quantity=st.none() | quantities, price=st.none() | limits,
              order_type=st.sampled_from([None, "MARKET", "LIMIT"]), timestamp=st.none() | times,
              reason=st.none() | st.text(max_size=600)),
    st.builds(Cancel, order_id=names, reason=st.none() | st.text(max_size=600), timestamp=st.none() | times),
)  # fmt: skip


trades = st.builds(
    lambda price, name, side, quantity: [
        Tick(instrument_token=TOKEN, timestamp=OPENING, last_price=price), an_order(name, side, quantity)
    ],
    last_prices, st.uuids().map(str), st.sampled_from(["BUY", "SELL"]), quantities,
)  # fmt: skip


@examples(300)
@given(st.lists(trades | some_events.map(lambda event: [event]), max_size=30), st.booleans())
def test_every_line_that_is_written_can_be_read(groups, all_hours):
    """Whatever comes over the wire, what is answered survives it unchanged, and the books balance."""
    broker = Broker(cash=10**12 - 1, all_hours=all_hours)
    engine = broker.engine
    said = []
    for event in chain.from_iterable(groups):
        arrived = decode(encode(event))
        if type(arrived) is Tick:
            broker.market.put(arrived)
            if not broker.market.wants(arrived):
                continue
        said += engine.steps[type(arrived)](arrived)
        broker.account.check()
    said += engine.close()
    assert [decode(encode(event)) for event in said] == said
    portfolio = said[-1]
    assert all(abs(position.quantity) <= 10**12 for position in portfolio.positions)
    for figure in (portfolio.cash, portfolio.realised_pnl, portfolio.charges):
        check_rupees("figure", figure)


def test_cancel(broker):
    """A resting order is cancelled once; a finished or unknown one is a counted no-op."""
    broker.tick(100.0)
    broker.order(price="99")
    (update,) = broker.cancel(reason="bored")
    assert (update.status, update.message, update.pending_quantity) == ("CANCELLED", "bored", 0)
    assert update.code == "CANCELLED_ON_REQUEST"
    assert broker.cancel() == broker.cancel("never") == broker.modify() == []
    assert broker.engine.counts()["unknown"] == 3
    assert not broker.market.watched


def test_modify(broker):
    """A resting order takes what is given, keeps the rest, and fills at once if that makes it marketable."""
    broker.tick(100.0)
    broker.order(price="90")
    (update,) = broker.modify(quantity=7)
    assert (update.status, update.pending_quantity, update.message) == ("OPEN", 7, "modified")
    fill, _ = broker.modify(price=Decimal(101))
    assert (fill.quantity, fill.price) == (7, Decimal(100))


def test_modify_to_market(broker):
    """It fills on the newest tick."""
    broker.tick(100.0)
    broker.order(price="90")
    assert told(broker.modify(order_type="MARKET")) == ["100", "COMPLETE"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"quantity": 0}, "QUANTITY_NOT_POSITIVE"),
        ({"quantity": -1}, "QUANTITY_NOT_POSITIVE"),
        ({"price": Decimal(0)}, "PRICE_MISSING"),
        ({"price": Decimal("90.01")}, "PRICE_NOT_TICK_MULTIPLE"),
        ({"order_type": "SL"}, "TRIGGER_MISSING"),
        ({"order_type": "SL-M"}, "TRIGGER_MISSING"),
        ({"order_type": "SL-M", "trigger_price": Decimal(99)}, "TRIGGER_BEYOND_LAST"),
        ({"quantity": 10**6}, "MARGIN_INSUFFICIENT"),
    ],
)
def test_a_wrong_modification_leaves_the_order_as_it_was(broker, fields, code):
    """The update says why, and the order still fills as first asked for."""
    broker.tick(100.0)
    broker.order(price="90")
    (update,) = broker.modify(**fields)
    assert (update.status, update.code, update.message.startswith("not modified: ")) == ("OPEN", code, True)
    assert told(broker.tick(90.0)) == ["90", "COMPLETE"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"price": Decimal("101.52")}, "PRICE_NOT_TICK_MULTIPLE"),
        ({"price": Decimal(0)}, "PRICE_MISSING"),
        ({"price": Decimal(-5)}, "PRICE_MISSING"),
        ({"trigger_price": Decimal(105)}, "ALREADY_TRIGGERED"),
        ({"quantity": 10**6}, "MARGIN_INSUFFICIENT"),
    ],
)
def test_a_wrong_modification_of_a_triggered_stop_leaves_it_as_it_was(broker, fields, code):
    """It is a LIMIT order by now, and held to the rules of one."""
    broker.tick(100.0)
    broker.order(price="101.5", trigger_price="101")
    broker.tick(103.0)
    (update,) = broker.modify(**fields)
    assert (update.status, update.code) == ("OPEN", code)
    assert told(broker.tick(101.5)) == ["101.5", "COMPLETE"]


def test_a_triggered_stop_takes_a_new_limit(broker):
    """Its trigger is history, also where the new limit lies before it."""
    broker.tick(100.0)
    broker.order(price="101.5", trigger_price="101")
    broker.tick(103.0)
    assert told(broker.modify(price=Decimal("100.5"))) == ["OPEN"]
    assert broker.tick(101.0) == []
    assert told(broker.tick(100.5)) == ["100.5", "COMPLETE"]


def test_a_trigger_price_is_nothing_to_a_limit_order(broker):
    """As in a new order, where it is not looked at either."""
    broker.tick(100.0)
    broker.order(price="90")
    assert told(broker.modify(trigger_price=Decimal(1))) == ["OPEN"]
    assert told(broker.tick(90.0)) == ["90", "COMPLETE"]


def test_ticks_that_others_watch_do_no_harm(broker):
    """In a fused pipeline risk may watch an instrument that has no order here."""
    broker.market.watch(TOKEN)
    assert broker.tick(100.0) == []


def test_the_closing_portfolio(broker):
    """Positions by instrument and product, flat ones too, valued at the newest ticks; sums agree."""
    broker.tick(100.0)
    broker.order("a")
    broker.order("b", product="NRML", side="SELL", quantity=4)
    broker.tick(50.0, token=9)
    broker.order("c", instrument_token=9)
    broker.order("d", instrument_token=9, side="SELL")
    broker.tick(110.0)
    (portfolio,) = broker.engine.close()
    assert type(portfolio) is Portfolio
    assert portfolio.timestamp == broker.now
    assert [(p.instrument_token, p.product, p.quantity) for p in portfolio.positions] == [
        (9, "MIS", 0), (TOKEN, "MIS", 10), (TOKEN, "NRML", -4),
    ]  # fmt: skip
    assert [p.unrealised_pnl for p in portfolio.positions] == [0, 100, -40]
    assert (portfolio.cash, portfolio.equity) == (Decimal(999_400), Decimal(1_000_060))
    assert broker.engine.close() == [portfolio]  # once for each session, and harmless


@given(st.lists(st.text(st.sampled_from("ab\n\0é\xff"), min_size=1, max_size=4)), st.text("ab\n\0é\xff", min_size=1))
def test_the_ids_that_were_applied_are_known_and_no_others(ids, other):
    """Whatever characters they have, and however often they come."""
    journal = Memory()
    for name in ids:
        journal.order(PaperOrder.of(an_order(name), OPENING, OPENING))
    assert all(journal.knows_order(name) and journal.knows_signal(f"s-{name}") for name in ids)
    assert journal.knows_order(other) == (other in ids)


@pytest.mark.parametrize("held", [0, 5])
def test_an_order_costs_the_same_however_many_rest(monkeypatch, held):
    """On its own instrument and side: none of the others is valued again when it comes, fills in part, or ends."""
    broker = Broker(cash=10**9)
    broker.tick(100.0)
    if held:
        broker.order("first", quantity=held)
    for number in range(300):
        broker.order(f"s{number}", "SELL", 10, price="110")
    valued = []
    order_margin = MarginAccount.order_margin
    monkeypatch.setattr(MarginAccount, "order_margin", lambda *args: valued.append(args) or order_margin(*args))
    broker.order("late", "SELL", price="109.95")
    broker.cancel("s200")
    assert len(valued) <= 4
    blocked = broker.engine.desk.margin.blocked
    broker.cancel("s0")  # what closed the position: the next one does now
    assert blocked - broker.engine.desk.margin.blocked == 1100 * 10_000 // 5
    assert len(valued) <= 6


def test_an_empty_run_closes_with_its_cash(broker):
    """No tick, no time; and no exponent where the zeros are."""
    (portfolio,) = broker.engine.close()
    assert (portfolio.timestamp, portfolio.positions) == (None, [])
    assert b'"cash":1000000,"equity":1000000,"realised_pnl":0,"unrealised_pnl":0,"charges":0' in encode(portfolio)


def test_the_same_events_give_the_same_bytes():
    """Ids and times come from the stream alone."""

    def run():
        broker = Broker()
        events = broker.tick(100.0) + broker.order() + broker.order("l", price="90") + broker.tick(89.95)
        return [encode(event) for event in events + broker.engine.close()]

    assert run() == run()


class Kept(Memory):
    """A journal whose open orders can be read back, as a database's."""

    def __init__(self):
        super().__init__()
        self.last = {}

    def order(self, paper_order):
        super().order(paper_order)
        self.last[paper_order.order.order_id] = paper_order

    def open(self):
        for kept in self.last.values():
            if kept.status == "OPEN":
                kept.asleep = True
                yield kept


def restarted(journal):
    return Broker(journal, journal.open())


def test_a_restored_order_does_not_fill_on_what_came_before_it():
    """The same input again: a tick from before the order, at its price, passes; a later one fills."""
    journal = Kept()
    first = Broker(journal)
    first.tick(89.0)
    first.tick(100.0)
    first.order(price="90")
    again = restarted(journal)
    assert again.tick(89.0) == []
    assert again.tick(100.0) == []
    assert again.order(price="90") == []
    assert told(again.tick(90.0, after=timedelta(0))) == ["90", "COMPLETE"]  # at the same second, yet after it


def test_a_restored_order_goes_on_with_later_ticks():
    """New input, without the order's line: the first later tick counts."""
    journal = Kept()
    first = Broker(journal)
    first.tick(100.0)
    first.order(price="90")
    after = restarted(journal)
    after.now = first.now
    assert told(after.tick(89.5)) == ["90", "COMPLETE"]  # its own price: it has been resting


@pytest.mark.parametrize("others", ["watch", "alarm"])
def test_a_restored_order_sleeps_through_ticks_that_only_others_want(others):
    """In one process risk may want them; alone nobody hands them to paper, and the books must not tell."""
    journal = Kept()
    first = Broker(journal)
    first.tick(100.0)
    first.order(price="90")
    shared = restarted(journal)
    if others == "watch":
        shared.market.watch(9)
    else:
        shared.market.set_alarm(OPENING, "risk")
    shared.now = first.now
    assert shared.tick(500.0, token=9) == []
    assert shared.engine.desk.open["o1"].asleep
    assert told(shared.tick(89.5)) == ["90", "COMPLETE"]


def test_modifications_are_not_made_twice():
    """The same input again: the modified order keeps its last price while older lines go by."""
    journal = Kept()
    first = Broker(journal)

    def lines(broker):
        out = [*broker.tick(100.0), *broker.order(price="80")]
        out += [*broker.modify(price=Decimal(95)), *broker.tick(96.0), *broker.modify(price=Decimal(85))]
        return out

    assert told(lines(first)) == ["OPEN", "OPEN", "OPEN"]
    again = restarted(journal)
    assert lines(again) == []
    assert again.engine.counts()["repeated"] == 3
    assert again.tick(90.0) == []
    assert told(again.tick(85.0)) == ["85", "COMPLETE"]


def test_a_new_modification_reaches_a_restored_order():
    """New input may begin with a modify; it is not mistaken for an old one."""
    journal = Kept()
    first = Broker(journal)
    first.tick(100.0)
    first.order(price="80")
    after = restarted(journal)
    after.now = first.now
    after.tick(100.0)
    assert told(after.modify(price=Decimal(90))) == ["OPEN"]
    assert told(after.tick(90.0)) == ["90", "COMPLETE"]


def test_updates_name_their_origin(broker):
    """An update can be matched with its signal and strategy."""
    update = broker.order(price="90")[0]
    assert type(update) is OrderUpdate
    assert (update.order_id, update.signal_id, update.strategy_id, update.broker) == ("o1", "s-o1", "momentum", "paper")


def test_a_tick_of_a_day_that_no_calendar_knows_ends_nobody_s_day(broker):
    """One corrupted time would else square off every position; what comes after it goes on as before."""
    broker.tick(100.0)
    broker.order(product="MIS")
    broker.order("b", price="90", product="MIS")
    then, broker.now = broker.now, datetime(2099, 1, 1, 10, tzinfo=IST)
    assert broker.tick(100.0) == []
    broker.now = then
    assert told(broker.tick(90.0)) == ["90", "COMPLETE"]
    assert broker.account.positions[TOKEN, "MIS"].quantity == 20
