"""What every broker stage must do: numbered behaviours, each a check of any `Broker` that a driver gives.

    for behaviour in BEHAVIOURS:
        for case in behaviour.cases_for(driver.able):
            behaviour.check(driver, *case)

`test_paper_conformance.py` runs them against a real `alpha paper`; a stage for a real broker brings a driver of
its own. Where brokers may differ, `Able` names the difference, and a behaviour `needs` it or asks for it. The
sources: LEAN, `Tests/Brokerages/BrokerageTests.cs`; Nautilus, the table of states and the reconciliation of
`model/orders` and `live`; Kite, its order documentation and forum; contract, the page of this project.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from msgspec.structs import replace

from alpha_cli.core.codec import encode
from alpha_cli.core.events import Cancel, Event, Fill, Modify, Order, OrderUpdate, Portfolio, Side
from alpha_cli.core.order_states import (
    CANCELLED,
    COMPLETE,
    OPEN,
    RECEIVED,
    REJECTED,
    STATES,
    TRIGGER_PENDING,
    is_terminal,
)


class Able(StrEnum):
    """What one broker stage does and another may not."""

    PARTIAL = "part of an order can be filled: the market has a book"
    QUEUE = "fills of orders at one price tell who was first"
    HOURS = "orders outside the session are rejected"
    MARGIN = "orders beyond the available margin are rejected"
    STRICT = "orders with unknown fields are refused"
    HALTS = "a halted state refuses new orders"
    EXACT = "the same input gives the same bytes"


class Ended(NamedTuple):
    """How a process ended: its exit code, what it said, as events and as it was written, and its figures."""

    code: int
    events: list[Event]
    output: bytes
    counts: dict[str, int]


class Broker(Protocol):
    """A driver of one broker stage, with a market that the suite moves.

    name   of the broker, as orders carry it
    able   where it differs from others
    cash   rupees that a new account begins with
    token  of an instrument with a tick size of 0.05 and lots of 1, last seen at 100.00 by `start`
    now    the market's time
    sent   lines of the present process so far, without those that open and close the session
    """

    name: str
    able: frozenset[Able]
    cash: Decimal
    token: int
    now: datetime
    sent: list[bytes]

    def start(self, *, kept: bool = False, priced: bool = True) -> None:
        """A new process; `kept`: on the account that an earlier one kept; `priced`: the market stands at 100.00."""

    def market(
        self, price: float, *, offers: Sequence[tuple[float, int]] = (), bids: Sequence[tuple[float, int]] = ()
    ) -> None:
        """A second later the last price is `price`; the book, if there is one, has these levels, best first."""

    def close_market(self) -> None:
        """It is after hours, at the same price."""

    def send(self, *events: Event | bytes) -> None:
        """Give the process these lines."""

    def heard(self) -> list[Event]:
        """All that it has said, once it has answered what was sent."""

    def stop(self, code: int = 0) -> Ended:
        """End the session with an `eof` of this code, and wait."""

    def cut(self) -> Ended:
        """End the input without an `eof`, and wait."""

    def kill(self) -> list[Event]:
        """kill -9, once it has answered what was sent; what it had said."""

    def second(self) -> int:
        """The exit code of another process on the same account, at the same time."""

    def halt(self) -> None:
        """Somebody halts trading."""


class Behaviour(NamedTuple):
    """One row of the suite. `cases` are arguments for `check` after the driver; one empty case if there is none."""

    number: int
    name: str
    proves: str
    source: str
    needs: frozenset[Able]
    check: Callable[..., None]
    cases: tuple[tuple[Any, ...], ...]


BEHAVIOURS: list[Behaviour] = []


def behaviour(
    source: str, *needs: Able, cases: Iterable[tuple[Any, ...]] = ((),)
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Enter a check into the list; its docstring is what it proves."""

    def enter(check: Callable[..., None]) -> Callable[..., None]:
        proves = " ".join((check.__doc__ or "").split())
        assert proves
        row = Behaviour(
            len(BEHAVIOURS) + 1, check.__name__, proves, source, frozenset(needs), check, tuple(cases)
        )  # fmt: skip
        BEHAVIOURS.append(row)
        return check

    return enter


def table() -> str:
    """The suite in Markdown, for the docs."""
    lines = ["| # | behaviour | from | only where |", "|---|---|---|---|"]
    for row in BEHAVIOURS:
        needs = "; ".join(sorted(row.needs)) or "–"
        lines.append(f"| {row.number} | {row.proves} | {row.source} | {needs} |")
    return "\n".join(lines) + "\n"


# --- words of the checks ---------------------------------------------------------------------------

TYPES = ("MARKET", "LIMIT", "SL", "SL-M")
SIDES: tuple[Side, ...] = ("BUY", "SELL")


def an_order(broker: Broker, name: str, side: str = "BUY", quantity: int = 10, **fields: Any) -> Order:
    """The order `name` for the broker, as of now."""
    values: dict[str, Any] = {
        "signal_id": f"s-{name}", "strategy_id": "tester", "broker": broker.name, "instrument_token": broker.token,
        "timestamp": broker.now, **fields,
    }  # fmt: skip
    for price in ("price", "trigger_price"):
        if values.get(price) is not None:
            values[price] = Decimal(values[price])
    return Order(order_id=name, side=side, quantity=quantity, **values)  # type: ignore[arg-type]


def limit(broker: Broker, name: str, price: str, side: str = "BUY", quantity: int = 10, **fields: Any) -> Order:
    return an_order(broker, name, side, quantity, order_type="LIMIT", price=price, **fields)


def far_away(broker: Broker, name: str, kind: str, side: str = "BUY", quantity: int = 10) -> Order:
    """One of this type that rests while the market stands at 100, below 110 and above 90."""
    up = 1 if side == "BUY" else -1
    if kind == "LIMIT":
        return limit(broker, name, str(100 - 10 * up), side, quantity)
    price = str(100 + 11 * up) if kind == "SL" else None
    return an_order(broker, name, side, quantity, order_type=kind, price=price, trigger_price=str(100 + 10 * up))


def reach(broker: Broker, kind: str, side: str) -> None:
    """Move the market so that what `far_away` placed is filled."""
    if kind == "MARKET":
        return
    up = side == "BUY" if kind != "LIMIT" else side == "SELL"
    broker.market(110.5 if up else 89.5)


def updates(events: Iterable[Event], name: str | None = None) -> list[OrderUpdate]:
    return [one for one in events if isinstance(one, OrderUpdate) and name in (None, one.order_id)]


def fills(events: Iterable[Event], name: str | None = None) -> list[Fill]:
    return [one for one in events if isinstance(one, Fill) and name in (None, one.order_id)]


def last(events: Iterable[Event], name: str) -> OrderUpdate:
    """The newest word on an order."""
    return updates(events, name)[-1]


def closing(ended: Ended) -> Portfolio:
    found = ended.events[-1]
    assert isinstance(found, Portfolio)
    return found


def held(portfolio: Portfolio) -> dict[tuple[int, str], int]:
    """Units by instrument and product; what is flat is left out."""
    return {(one.instrument_token, one.product): one.quantity for one in portfolio.positions if one.quantity}


def a_day(broker: Broker) -> None:
    """Orders of all types, sides and validities; ends of all kinds; modifications and cancels."""
    for number, price in enumerate((100, 101.5, 99, 102.05, 97.5, 100.5, 103, 98)):
        broker.market(price)
        for side in SIDES:
            up = 1 if side == "BUY" else -1
            name = f"{side}{number}"
            stop = {"trigger_price": str(100 + 2 * up)}
            broker.send(
                an_order(broker, f"m-{name}", side, 3),
                limit(broker, f"l-{name}", str(100 - 2 * up), side, 5),
                limit(broker, f"i-{name}", str(100 - 2 * up), side, 5, validity="IOC"),
                an_order(broker, f"t-{name}", side, 2, order_type="SL-M", **stop),
                an_order(broker, f"w-{name}", side, 2, order_type="SL", price=str(100 + 3 * up), **stop),
                limit(broker, f"x-{name}", "100.01", side),
            )
            if number % 2:
                broker.send(Modify(order_id=f"l-{name}", price=Decimal(100 - up), timestamp=broker.now))
                broker.send(Cancel(order_id=f"t-{side}{number - 1}", timestamp=broker.now))


# --- 1: an order is answered -------------------------------------------------------------------------


@behaviour("Nautilus: no order stays without an event; contract")
def every_order_is_answered(broker: Broker) -> None:
    """Every order gets at least one `order_update`, whatever becomes of it."""
    broker.start()
    sent = [
        an_order(broker, "a"),
        *(far_away(broker, kind, kind) for kind in TYPES[1:]),
        limit(broker, "bad", "100.01"),
    ]
    broker.send(*sent)
    said = broker.heard()
    assert {one.order_id for one in updates(said)} == {one.order_id for one in sent}


@behaviour("Nautilus: `_ORDER_STATE_TABLE`; Kite: statuses")
def statuses_follow_the_table(broker: Broker) -> None:
    """From one update of an order to the next its status goes only where the table of states lets it."""
    broker.start()
    a_day(broker)
    said = broker.stop().events
    names = {one.order_id for one in updates(said)}
    assert len(names) > 50
    for name in names:
        status = RECEIVED
        for one in updates(said, name):
            assert one.status == status or one.status in STATES[status].to, f"{name}: {status} to {one.status}"
            status = one.status
    assert {OPEN, TRIGGER_PENDING, COMPLETE, CANCELLED, REJECTED} <= {one.status for one in updates(said)}


@behaviour("LEAN: late and invalid updates must not change a filled or cancelled order; Kite: never regress")
def the_end_is_the_end(broker: Broker) -> None:
    """After COMPLETE, CANCELLED or REJECTED nothing more is heard of an order, whatever is asked."""
    broker.start()
    broker.send(an_order(broker, "done"), limit(broker, "gone", "90"), limit(broker, "bad", "99.99"))
    broker.send(Cancel(order_id="gone", timestamp=broker.now))
    before = broker.heard()
    assert {name: last(before, name).status for name in ("done", "gone", "bad")} == {
        "done": COMPLETE, "gone": CANCELLED, "bad": REJECTED
    }  # fmt: skip
    for name in ("done", "gone", "bad"):
        broker.send(Cancel(order_id=name, timestamp=broker.now))
        broker.send(Modify(order_id=name, price=Decimal(100), quantity=50, timestamp=broker.now))
    broker.market(80)
    broker.market(120)
    assert broker.heard() == before


@behaviour("Kite: remaining is quantity less filled")
def pending_is_what_is_left(broker: Broker) -> None:
    """`pending_quantity` is the quantity less what is filled while an order works, and 0 when it has ended."""
    broker.start()
    broker.send(an_order(broker, "a"), limit(broker, "b", "90"), limit(broker, "c", "90", validity="IOC"))
    for one in updates(broker.heard()):
        assert one.pending_quantity == (0 if is_terminal(one.status) else 10 - one.filled_quantity)


@behaviour("contract; TigerBeetle: exists", cases=[("the same",), ("another quantity",)])
def the_same_order_again_is_nothing(broker: Broker, content: str) -> None:
    """A second order of one id is a counted no-op, even with other content."""
    broker.start()
    broker.send(an_order(broker, "a"))
    before = broker.heard()
    broker.send(an_order(broker, "a", quantity=10 if content == "the same" else 99, signal_id="another"))
    assert broker.heard() == before
    ended = broker.stop()
    assert ended.counts["repeated"] == 1
    assert held(closing(ended)) == {(broker.token, "MIS"): 10}


@behaviour("contract: never a second order for one cause")
def one_order_for_a_signal(broker: Broker) -> None:
    """A second order for one signal is a counted no-op; one that names its parent is a slice, and is taken."""
    broker.start()
    broker.send(an_order(broker, "a", signal_id="s"), an_order(broker, "b", signal_id="s"))
    assert {one.order_id for one in updates(broker.heard())} == {"a"}
    broker.send(an_order(broker, "c", signal_id="s", parent_order_id="a"))
    assert last(broker.heard(), "c").status == COMPLETE
    assert broker.stop().counts["repeated"] == 1


@behaviour("contract: a router picks by the order's broker")
def orders_of_other_brokers_are_left_alone(broker: Broker) -> None:
    """An order for another broker is counted, and neither answered nor filled; nor is its cancel."""
    broker.start()
    broker.send(replace(an_order(broker, "a"), broker="somebody-else"), Cancel(order_id="a", timestamp=broker.now))
    broker.market(101)
    assert not updates(broker.heard())
    ended = broker.stop()
    assert ended.counts["other_brokers"] == 1
    assert not held(closing(ended))


@behaviour("contract: only `execute` refuses an order with fields it does not know")
def unknown_fields_of_an_order(broker: Broker) -> None:
    """An order with a field nobody knows is refused by a strict broker, and taken by any other."""
    broker.start()
    line = encode(an_order(broker, "a"))
    broker.send(line[:-1] + b',"iceberg_legs":4}')
    strict = Able.STRICT in broker.able
    assert bool(fills(broker.heard())) is not strict


# --- 2: fills ----------------------------------------------------------------------------------------


@behaviour("contract")
def fills_say_where_they_come_from(broker: Broker) -> None:
    """A fill names its order, signal, strategy, broker, instrument, side and product, and carries the metadata."""
    broker.start()
    broker.send(an_order(broker, "a", "SELL", strategy_id="mine", confidence=0.25, metadata={"why": ["x", 1]}))
    (fill,) = fills(broker.heard())
    assert (fill.order_id, fill.signal_id, fill.strategy_id, fill.broker) == ("a", "s-a", "mine", broker.name)
    assert (fill.instrument_token, fill.side, fill.product, fill.quantity) == (broker.token, "SELL", "MIS", 10)
    assert (fill.confidence, fill.metadata) == (0.25, {"why": ["x", 1]})


@behaviour("Nautilus: a trade id applies once")
def fill_ids_are_unique(broker: Broker) -> None:
    """No two fills share an id."""
    broker.start()
    a_day(broker)
    ids = [one.fill_id for one in fills(broker.stop().events)]
    assert len(ids) > 20
    assert len(set(ids)) == len(ids)


@behaviour("Nautilus: fills and filled quantity agree, and the average price")
def updates_add_up_to_the_fills(broker: Broker) -> None:
    """`filled_quantity` is the sum of the fills told before it and never falls; the average price is theirs."""
    broker.start()
    a_day(broker)
    seen: dict[str, list[Fill]] = {}
    told: dict[str, OrderUpdate] = {}
    for one in broker.stop().events:
        if isinstance(one, Fill):
            seen.setdefault(one.order_id, []).append(one)
        if isinstance(one, OrderUpdate):
            mine = seen.get(one.order_id, [])
            assert one.filled_quantity == sum(fill.quantity for fill in mine)
            assert one.average_price == average(mine)
            assert one.order_id not in told or one.filled_quantity >= told[one.order_id].filled_quantity
            told[one.order_id] = one
    assert set(seen) <= set(told)


def average(of: Sequence[Fill]) -> Decimal | None:
    """Rupees a unit to four decimals, half even."""
    if not of:
        return None
    turnover = sum((fill.quantity * fill.price for fill in of), Decimal(0))
    return (turnover / sum(fill.quantity for fill in of)).quantize(Decimal("0.0001"), ROUND_HALF_EVEN)


@behaviour("contract")
def charges_add_up(broker: Broker) -> None:
    """The charges of a fill, none below 0, add up to their total; those of the fills are the portfolio's."""
    broker.start()
    a_day(broker)
    ended = broker.stop()
    total = Decimal(0)
    for fill in fills(ended.events):
        amounts = [amount for name, amount in fill.charges.items() if name != "total"]
        assert all(amount >= 0 for amount in amounts)
        assert fill.charges["total"] == sum(amounts, Decimal(0))
        total += fill.charges["total"]
    assert closing(ended).charges == total


@behaviour("LEAN: fill models do not use stale data")
def no_fill_is_older_than_its_order(broker: Broker) -> None:
    """The time of a fill is never before that of its order; times of what is said never go back."""
    broker.start()
    orders: dict[str, datetime] = {}
    for number in range(6):
        broker.market(100 + number)
        later = an_order(broker, f"o{number}", timestamp=broker.now + timedelta(milliseconds=300 * number))
        orders[later.order_id] = later.timestamp
        broker.send(later)
    broker.market(104)
    broker.market(105)
    said = broker.stop().events
    assert {fill.order_id for fill in fills(said)} == set(orders)
    assert all(fill.timestamp >= orders[fill.order_id] for fill in fills(said))
    times = [one.timestamp for one in said if isinstance(one, OrderUpdate | Fill)]
    assert times == sorted(times, key=lambda moment: moment or broker.now)


# --- 3: LEAN's matrix --------------------------------------------------------------------------------

#: (what it is called, position before, side of the order, its quantity)
MOVES = (
    ("long from zero", 0, "BUY", 10),
    ("close from long", 10, "SELL", 10),
    ("part of a long", 10, "SELL", 4),
    ("short from zero", 0, "SELL", 10),
    ("close from short", -10, "BUY", 10),
    ("part of a short", -10, "BUY", 4),
    ("short from long", 10, "SELL", 25),
    ("long from short", -10, "BUY", 25),
)


@behaviour(
    "LEAN: LongFromZero … LongFromShort, by order type", cases=[(kind, *move) for kind in TYPES for move in MOVES]
)
def each_type_opens_closes_and_flips(
    broker: Broker, kind: str, move: str, before: int, side: str, quantity: int
) -> None:
    """MARKET, LIMIT, SL and SL-M open, close and flip long and short positions, and rest until they may."""
    broker.start()
    if before:
        broker.send(an_order(broker, "first", "BUY" if before > 0 else "SELL", abs(before)))
    order = an_order(broker, "a", side, quantity) if kind == "MARKET" else far_away(broker, "a", kind, side, quantity)
    broker.send(order)
    if kind != "MARKET":
        resting = last(broker.heard(), "a")
        assert resting.status == (OPEN if kind == "LIMIT" else TRIGGER_PENDING), move
        assert not fills(broker.heard(), "a")
    reach(broker, kind, side)
    said = broker.heard()
    assert last(said, "a").status == COMPLETE
    assert last(said, "a").filled_quantity == quantity
    ended = broker.stop()
    after = before + (quantity if side == "BUY" else -quantity)
    assert held(closing(ended)) == ({(broker.token, "MIS"): after} if after else {})
    balanced(broker, ended)


@behaviour("LEAN: CancelOrders, by order type", cases=[(kind, side) for kind in TYPES[1:] for side in SIDES])
def each_type_can_be_cancelled(broker: Broker, kind: str, side: str) -> None:
    """A resting LIMIT, SL or SL-M that is cancelled does not fill, though the market comes to it."""
    broker.start()
    broker.send(far_away(broker, "a", kind, side), Cancel(order_id="a", reason="enough", timestamp=broker.now))
    reach(broker, kind, side)
    said = broker.heard()
    assert last(said, "a").status == CANCELLED
    assert not fills(said)


@behaviour("every exchange", cases=[(side,) for side in SIDES])
def a_limit_is_never_worse(broker: Broker, side: str) -> None:
    """A LIMIT order, at once or after a rest, trades at its limit or better."""
    broker.start()
    up = 1 if side == "BUY" else -1
    broker.send(limit(broker, "now", str(100 + up), side), limit(broker, "later", str(100 - up), side))
    broker.market(100 - 3 * up)
    said = broker.heard()
    for name, price in (("now", 100 + up), ("later", 100 - up)):
        (fill,) = fills(said, name)
        assert (price - fill.price) * up >= 0


@behaviour("openalgo issue 1647: an SL-M that rested here was filled at once there", cases=[(side,) for side in SIDES])
def a_stop_waits_for_its_trigger(broker: Broker, side: str) -> None:
    """SL and SL-M do nothing a tick short of the trigger, and trade once it is met."""
    broker.start()
    up = 1 if side == "BUY" else -1
    for kind in ("SL", "SL-M"):
        price = str(100 + 6 * up) if kind == "SL" else None
        broker.send(an_order(broker, kind, side, order_type=kind, price=price, trigger_price=str(100 + 5 * up)))
    broker.market(100 + 4.95 * up)
    assert not fills(broker.heard())
    broker.market(100 + 5 * up)
    assert {fill.order_id for fill in fills(broker.heard())} == {"SL", "SL-M"}


@behaviour("Kite: validity IOC", cases=[(side,) for side in SIDES])
def ioc_leaves_nothing_behind(broker: Broker, side: str) -> None:
    """An IOC order fills at once or is cancelled; it never works."""
    broker.start()
    up = 1 if side == "BUY" else -1
    broker.send(limit(broker, "no", str(100 - up), side, validity="IOC"))
    broker.send(limit(broker, "yes", str(100 + up), side, validity="IOC"))
    broker.market(100 - 5 * up)
    said = broker.heard()
    assert [one.status for one in updates(said, "no")] == [CANCELLED]
    assert last(said, "yes").status == COMPLETE
    assert not fills(said, "no")


# --- 4: parts of orders --------------------------------------------------------------------------------


@behaviour("LEAN: PartialFills; Kite: CANCELLED may have filled_quantity", Able.PARTIAL)
def a_part_that_was_filled_stays(broker: Broker) -> None:
    """Partly filled, then cancelled: the position keeps what was filled, and the order says how much."""
    broker.start()
    broker.market(100, offers=[(100.0, 4)], bids=[(99.95, 50)])
    broker.send(limit(broker, "a", "100"))
    assert (last(broker.heard(), "a").status, last(broker.heard(), "a").filled_quantity) == (OPEN, 4)
    broker.send(Cancel(order_id="a", timestamp=broker.now))
    broker.market(90, offers=[(90.0, 50)], bids=[(89.95, 50)])
    end = last(broker.heard(), "a")
    assert (end.status, end.filled_quantity, end.pending_quantity, end.average_price) == (CANCELLED, 4, 0, 100)
    assert held(closing(broker.stop())) == {(broker.token, "MIS"): 4}


@behaviour("LEAN: PartialFills", Able.PARTIAL)
def parts_add_up_to_the_whole(broker: Broker) -> None:
    """An order filled in parts, at several prices, ends COMPLETE with their average price."""
    broker.start()
    broker.market(100, offers=[(100.0, 4), (100.05, 3)], bids=[(99.95, 50)])
    broker.send(limit(broker, "a", "100.10"))
    broker.market(100, offers=[(100.05, 50)], bids=[(99.95, 50)])
    said = broker.heard()
    parts = fills(said, "a")
    assert sum(one.quantity for one in parts) == 10
    assert len(parts) > 1
    assert (last(said, "a").status, last(said, "a").average_price) == (COMPLETE, average(parts))


@behaviour("Kite: validity IOC", Able.PARTIAL)
def ioc_keeps_the_part_it_got(broker: Broker) -> None:
    """An IOC order takes what there is; the rest of it is cancelled."""
    broker.start()
    broker.market(100, offers=[(100.0, 4), (100.05, 30)], bids=[(99.95, 50)])
    broker.send(limit(broker, "a", "100", validity="IOC"))
    end = last(broker.heard(), "a")
    assert (end.status, end.filled_quantity, end.pending_quantity) == (CANCELLED, 4, 0)


@behaviour("Kite: a quantity below what is filled is refused", Able.PARTIAL, cases=[(4,), (3,)])
def no_modification_below_what_is_filled(broker: Broker, quantity: int) -> None:
    """A modification to what is filled already, or less, is refused with a code; the order goes on."""
    broker.start()
    broker.market(100, offers=[(100.0, 4)], bids=[(99.95, 50)])
    broker.send(limit(broker, "a", "100"), Modify(order_id="a", quantity=quantity, timestamp=broker.now))
    refused = last(broker.heard(), "a")
    assert (refused.status, refused.filled_quantity, refused.pending_quantity) == (OPEN, 4, 6)
    assert refused.code
    broker.market(100, offers=[(100.0, 50)], bids=[(99.95, 50)])
    assert last(broker.heard(), "a").status == COMPLETE


@behaviour("Kite: a sale may be modified while it is filled", Able.PARTIAL)
def a_sale_of_holdings_is_modified_half_way(broker: Broker) -> None:
    """What is left of a partly filled CNC sale can be moved: only that much has to be held still."""
    broker.start()
    broker.send(an_order(broker, "buy", product="CNC"))
    broker.market(100, bids=[(100.0, 4)], offers=[(100.05, 50)])
    broker.send(limit(broker, "a", "100", "SELL", product="CNC"))
    assert last(broker.heard(), "a").filled_quantity == 4
    broker.send(Modify(order_id="a", price=Decimal("99.5"), timestamp=broker.now))
    broker.market(100, bids=[(99.5, 50)], offers=[(100.05, 50)])
    assert last(broker.heard(), "a").status == COMPLETE
    assert not held(closing(broker.stop()))


# --- 5: cancels and modifications ----------------------------------------------------------------------


@behaviour(
    "LEAN: a cancel of nothing must not disturb", cases=[("unknown",), ("filled",), ("cancelled",), ("rejected",)]
)
def a_cancel_of_nothing_is_nothing(broker: Broker, of: str) -> None:
    """A cancel of an order that is unknown or has ended is a counted no-op."""
    _is_nothing(broker, of, Cancel(order_id=of, timestamp=broker.now))


@behaviour("LEAN: UpdateFilledOrder", cases=[("unknown",), ("filled",), ("cancelled",), ("rejected",)])
def a_modification_of_nothing_is_nothing(broker: Broker, of: str) -> None:
    """A modification of an order that is unknown or has ended is a counted no-op."""
    _is_nothing(broker, of, Modify(order_id=of, price=Decimal(120), quantity=30, timestamp=broker.now))


def _is_nothing(broker: Broker, of: str, request: Event) -> None:
    broker.start()
    broker.send(an_order(broker, "filled"), limit(broker, "cancelled", "90"), limit(broker, "rejected", "90.01"))
    broker.send(Cancel(order_id="cancelled", timestamp=broker.now))
    before = broker.heard()
    broker.send(request)
    assert broker.heard() == before
    ended = broker.stop()
    assert ended.counts["unknown"] == 1
    assert held(closing(ended)) == {(broker.token, "MIS"): 10}


@behaviour("LEAN: UpdateOrder, then fill", cases=[(side,) for side in SIDES])
def a_modified_price_is_the_price(broker: Broker, side: str) -> None:
    """After a modification an order fills at its new price, and not at the old one."""
    broker.start()
    up = 1 if side == "BUY" else -1
    broker.send(limit(broker, "a", str(100 - 2 * up), side))
    broker.send(Modify(order_id="a", price=Decimal(100 - 5 * up), timestamp=broker.now))
    broker.market(100 - 3 * up)
    assert not fills(broker.heard())
    broker.market(100 - 6 * up)
    (fill,) = fills(broker.heard())
    assert (Decimal(100 - 5 * up) - fill.price) * up >= 0


@behaviour("LEAN: UpdateOrder")
def a_modified_quantity_is_the_quantity(broker: Broker) -> None:
    """More or fewer units are filled, as the modification says."""
    broker.start()
    broker.send(limit(broker, "a", "95"), limit(broker, "b", "95"))
    broker.send(Modify(order_id="a", quantity=17, timestamp=broker.now))
    broker.send(Modify(order_id="b", quantity=3, timestamp=broker.now))
    broker.market(94)
    said = broker.heard()
    assert [sum(fill.quantity for fill in fills(said, name)) for name in ("a", "b")] == [17, 3]
    assert {last(said, name).status for name in ("a", "b")} == {COMPLETE}


@behaviour("LEAN: UpdateOrder", cases=[(side,) for side in SIDES])
def a_modification_can_make_it_fill(broker: Broker, side: str) -> None:
    """A LIMIT moved beyond the market trades at once, at the market's price or its own."""
    broker.start()
    up = 1 if side == "BUY" else -1
    broker.send(limit(broker, "a", str(100 - 5 * up), side))
    broker.send(Modify(order_id="a", price=Decimal(100 + up), timestamp=broker.now))
    said = broker.heard()
    assert last(said, "a").status == COMPLETE
    assert (Decimal(100 + up) - fills(said, "a")[0].price) * up >= 0


@behaviour(
    "Nautilus: the previous status comes back when a modification is refused",
    cases=[
        ("price", {"price": Decimal("95.01")}),
        ("no units", {"quantity": 0}),
        ("a stop without a trigger", {"order_type": "SL-M"}),
        ("a trigger that is behind", {"order_type": "SL-M", "trigger_price": Decimal(99)}),
    ],
)
def a_refused_modification_changes_nothing(broker: Broker, what: str, asked: dict[str, Any]) -> None:
    """It is answered with a code and a message; status, price and quantity of the order stay."""
    broker.start()
    broker.send(limit(broker, "a", "95"))
    before = last(broker.heard(), "a")
    broker.send(Modify(order_id="a", timestamp=broker.now, **asked))
    after = last(broker.heard(), "a")
    assert after is not before, what
    assert after.status == before.status
    assert after.pending_quantity == 10
    assert after.code
    assert after.message
    broker.market(95.05)
    assert not fills(broker.heard())
    broker.market(94)
    (fill,) = fills(broker.heard())
    assert (fill.quantity, fill.price <= 95) == (10, True)


@behaviour("every exchange: price, then time", Able.QUEUE)
def price_then_time(broker: Broker) -> None:
    """The best price is filled first; of one price, who came first."""
    broker.start()
    for name, price in (("a", "95"), ("b", "96"), ("c", "95"), ("d", "97")):
        broker.send(limit(broker, name, price))
    broker.market(90)
    assert [fill.order_id for fill in fills(broker.heard())] == ["d", "b", "a", "c"]


@behaviour("every exchange: a modified order goes to the end of the queue", Able.QUEUE)
def a_modification_costs_the_place(broker: Broker) -> None:
    """Of two orders at one price, one that was modified comes after the other."""
    broker.start()
    broker.send(limit(broker, "a", "95"), limit(broker, "b", "95"))
    broker.send(Modify(order_id="a", quantity=11, timestamp=broker.now))
    broker.market(90)
    assert [fill.order_id for fill in fills(broker.heard())] == ["b", "a"]


# --- 6: refusals ---------------------------------------------------------------------------------------


@behaviour(
    "Kite: rejections say why; LEAN: GetsInvalidOrders",
    cases=[
        ("a price between ticks", {"order_type": "LIMIT", "price": "99.99"}),
        ("no price", {"order_type": "LIMIT"}),
        ("no trigger", {"order_type": "SL-M"}),
        ("a stop behind the market", {"order_type": "SL-M", "trigger_price": "95"}),
        ("a limit before its trigger", {"order_type": "SL", "price": "104", "trigger_price": "105"}),
        ("holdings it does not have", {"side": "SELL", "product": "CNC"}),
    ],
)
def a_rejection_says_why(broker: Broker, what: str, fields: dict[str, Any]) -> None:
    """A refused order ends REJECTED with a code and a message, without a fill, and changes no book."""
    broker.start()
    broker.send(an_order(broker, "a", **fields))
    (update,) = updates(broker.heard())
    assert (update.status, update.filled_quantity, update.pending_quantity) == (REJECTED, 0, 0), what
    assert update.code
    assert update.code == update.code.upper()
    assert update.message
    broker.market(106)
    broker.market(94)
    ended = broker.stop()
    assert not fills(ended.events)
    assert (closing(ended).cash, held(closing(ended))) == (broker.cash, {})


@behaviour("Kite: markets are closed", Able.HOURS)
def nothing_after_hours(broker: Broker) -> None:
    """After the session an order is rejected, and one that was open has ended."""
    broker.start()
    broker.send(limit(broker, "before", "99"))
    broker.close_market()
    broker.send(an_order(broker, "after"), limit(broker, "too", "99"))
    said = broker.heard()
    assert last(said, "before").status == CANCELLED
    assert {last(said, name).status for name in ("after", "too")} == {REJECTED}
    assert not fills(said)


@behaviour("Kite: margin exceeds available; LEAN: insufficient buying power", Able.MARGIN)
def nothing_beyond_the_margin(broker: Broker) -> None:
    """An order that needs more than there is is rejected; one that closes a position needs nothing."""
    broker.start()
    most = int(broker.cash / 100)
    broker.send(an_order(broker, "all", quantity=most - most // 10, product="CNC"))
    broker.send(an_order(broker, "more", quantity=most // 5, product="CNC"))
    broker.send(an_order(broker, "out", "SELL", quantity=most - most // 10, product="CNC"))
    said = broker.heard()
    assert {name: last(said, name).status for name in ("all", "more", "out")} == {
        "all": COMPLETE, "more": REJECTED, "out": COMPLETE
    }  # fmt: skip


# --- 7: the books ----------------------------------------------------------------------------------------


def balanced(broker: Broker, ended: Ended) -> None:
    """Cash, charges, positions and profit of the closing portfolio are those of the fills."""
    cash, charges = broker.cash, Decimal(0)
    units: dict[tuple[int, str], int] = {}
    cost: dict[tuple[int, str], Decimal] = {}
    won: dict[tuple[int, str], Decimal] = {}
    for fill in fills(ended.events):
        key = fill.instrument_token, str(fill.product)
        signed = fill.quantity if fill.side == "BUY" else -fill.quantity
        cash -= signed * fill.price + fill.charges["total"]
        charges += fill.charges["total"]
        before, paid = units.get(key, 0), cost.get(key, Decimal(0))
        closing_units = min(abs(before), fill.quantity) if before * signed < 0 else 0
        released = paid * closing_units / abs(before) if closing_units else Decimal(0)
        gain = closing_units * fill.price * (1 if before > 0 else -1) - released if closing_units else Decimal(0)
        units[key] = before + signed
        cost[key] = paid - released + (fill.quantity - closing_units) * fill.price * (1 if signed > 0 else -1)
        won[key] = won.get(key, Decimal(0)) + gain
    portfolio = closing(ended)
    assert (portfolio.cash, portfolio.charges) == (cash, charges)
    near = Decimal("0.01")  # the ledger rounds what a part of a position cost, this does not
    assert abs(portfolio.realised_pnl - sum(won.values(), Decimal(0))) < near
    assert {(one.instrument_token, one.product) for one in portfolio.positions} == set(units)
    for one in portfolio.positions:
        key = one.instrument_token, str(one.product)
        assert one.quantity == units[key]
        assert abs(one.realised_pnl - won[key]) < near
        assert abs(one.average_price * one.quantity - cost[key]) < near
    value = sum((one.quantity * (one.last_price or Decimal(0)) for one in portfolio.positions), Decimal(0))
    assert portfolio.equity == portfolio.cash + value
    assert portfolio.equity == broker.cash + portfolio.realised_pnl + portfolio.unrealised_pnl - charges


@behaviour("LEAN: GetAccountHoldings, GetCashBalance; Nautilus: PnL integrity")
def the_portfolio_is_the_sum_of_the_fills(broker: Broker) -> None:
    """At `eof` cash, charges, positions and profit by average cost are those of the fills; equity adds up."""
    broker.start()
    a_day(broker)
    ended = broker.stop()
    assert len(fills(ended.events)) > 20
    balanced(broker, ended)


@behaviour("contract")
def a_day_without_orders_has_a_portfolio(broker: Broker) -> None:
    """The session closes with a portfolio also when nothing was ordered."""
    broker.start()
    ended = broker.stop()
    assert (ended.code, len(ended.events), closing(ended).cash) == (0, 1, broker.cash)


@behaviour("Kite: MIS, CNC and NRML are positions of their own")
def products_do_not_net(broker: Broker) -> None:
    """A sale under one product leaves the position under another alone."""
    broker.start()
    broker.send(an_order(broker, "a", product="CNC"), an_order(broker, "b", "SELL", 4))
    assert held(closing(broker.stop())) == {(broker.token, "CNC"): 10, (broker.token, "MIS"): -4}


@behaviour("contract: the worst code is the exit code")
def the_code_of_eof_is_the_exit_code(broker: Broker) -> None:
    """An `eof` with a code: the books are closed as ever, and the process ends with that code."""
    broker.start()
    broker.send(an_order(broker, "a"))
    ended = broker.stop(69)
    assert ended.code == 69
    assert held(closing(ended)) == {(broker.token, "MIS"): 10}


@behaviour("contract: sinks stop at a bad line")
def a_bad_line_stops_it(broker: Broker) -> None:
    """An order that cannot be read ends the process with 65; what came before it stands, nothing after it is done."""
    broker.start(kept=True)
    broker.send(an_order(broker, "a"))
    broker.send(b'{"type":"order","order_id":"b","quantity":1,"quantity":2}', an_order(broker, "c"))
    ended = broker.cut()
    assert ended.code == 65
    assert {one.order_id for one in updates(ended.events)} == {"a"}
    broker.start(kept=True)
    assert held(closing(broker.stop())) == {(broker.token, "MIS"): 10}


# --- 8: restarts, crashes, locks ---------------------------------------------------------------------------


@behaviour("LEAN: GetAccountHoldings after a restart; Nautilus: reconciliation")
def positions_and_cash_are_kept(broker: Broker) -> None:
    """A second process on the account goes on with its cash, positions and profit."""
    broker.start(kept=True)
    a_day(broker)
    first = closing(broker.stop())
    broker.start(kept=True, priced=False)
    again = closing(broker.stop())
    assert (again.cash, again.charges, again.realised_pnl) == (first.cash, first.charges, first.realised_pnl)
    assert held(again) == held(first)


@behaviour("LEAN: GetOpenOrders after a restart", cases=[(kind, side) for kind in TYPES[1:] for side in SIDES])
def open_orders_are_kept(broker: Broker, kind: str, side: str) -> None:
    """An order that rested when the process ended fills in the next one, once, under the ids it had."""
    broker.start(kept=True)
    broker.send(far_away(broker, "a", kind, side))
    broker.stop()
    broker.start(kept=True)
    reach(broker, kind, side)
    (fill,) = fills(broker.heard())
    assert (fill.order_id, fill.signal_id, fill.side, fill.quantity) == ("a", "s-a", side, 10)
    ended = broker.stop()
    assert last(ended.events, "a").status == COMPLETE
    balanced(broker, ended)


@behaviour("LEAN: GetOpenOrders after a restart")
def open_orders_of_before_can_be_changed(broker: Broker) -> None:
    """They can be cancelled and modified in the next process."""
    broker.start(kept=True)
    broker.send(limit(broker, "a", "95"), limit(broker, "b", "95"))
    broker.stop()
    broker.start(kept=True)
    broker.send(Cancel(order_id="a", timestamp=broker.now))
    broker.send(Modify(order_id="b", price=Decimal(92), timestamp=broker.now))
    broker.market(94)
    assert not fills(broker.heard())
    broker.market(91)
    said = broker.heard()
    assert (last(said, "a").status, last(said, "b").status) == (CANCELLED, COMPLETE)


@behaviour("every exchange: a modified order goes to the end of the queue", Able.QUEUE)
def the_queue_is_kept(broker: Broker) -> None:
    """Price, time and the place that a modification cost are the same in the next process."""
    broker.start(kept=True)
    broker.send(limit(broker, "a", "95"), limit(broker, "b", "95"), limit(broker, "c", "96"))
    broker.market(100)
    broker.send(Modify(order_id="a", quantity=11, timestamp=broker.now))
    broker.stop()
    broker.start(kept=True)
    broker.market(90)
    assert [fill.order_id for fill in fills(broker.heard())] == ["c", "b", "a"]


@behaviour("Nautilus issues 3176, 3046, 3185: duplicate orders on restart")
def what_was_done_is_not_done_again(broker: Broker) -> None:
    """In the next process the same order, or another for the same signal, is still a counted no-op."""
    broker.start(kept=True)
    order = an_order(broker, "a")
    broker.send(order)
    broker.stop()
    broker.start(kept=True)
    broker.send(order, an_order(broker, "b", signal_id="s-a"), an_order(broker, "a", quantity=99, signal_id="x"))
    ended = broker.stop()
    assert not updates(ended.events)
    assert ended.counts["repeated"] == 3
    assert held(closing(ended)) == {(broker.token, "MIS"): 10}


@behaviour("reliability goal G2: the same line again", Able.EXACT)
def the_same_input_again_changes_nothing(broker: Broker) -> None:
    """The whole input once more: no fill, no new order, the same closing portfolio."""
    broker.start(kept=True)
    a_day(broker)
    lines = list(broker.sent)
    first = broker.stop()
    broker.start(kept=True, priced=False)
    broker.send(*lines)
    again = broker.stop()
    assert again.events == [closing(first)]
    assert again.counts["fills"] == again.counts["orders"] == 0


@behaviour("reliability goal G2: kill -9", Able.EXACT, cases=[(0.2,), (0.5,), (0.9,)])
def killed_and_run_again(broker: Broker, part: float) -> None:
    """kill -9 and the same input again: nothing is lost or said twice, and the end is that of an unbroken run."""
    broker.start()
    a_day(broker)
    lines = list(broker.sent)
    unbroken = broker.stop().events
    broker.start(kept=True, priced=False)
    broker.send(*lines[: int(len(lines) * part)])
    said = broker.kill()
    assert said
    broker.start(kept=True, priced=False)
    broker.send(*lines)
    assert said + broker.stop().events == unbroken


@behaviour("contract: end of input without the eof that a hello promised")
def cut_off_it_keeps_its_books(broker: Broker) -> None:
    """Input that ends without `eof` is 75; what was read is done and kept."""
    broker.start(kept=True)
    broker.send(an_order(broker, "a"), limit(broker, "b", "95"))
    ended = broker.cut()
    assert ended.code == 75
    assert (last(ended.events, "a").status, last(ended.events, "b").status) == (COMPLETE, OPEN)
    broker.start(kept=True)
    broker.market(94)
    ended = broker.stop()
    assert last(ended.events, "b").status == COMPLETE
    assert held(closing(ended)) == {(broker.token, "MIS"): 20}


@behaviour("reliability goal G12: two processes, one state")
def one_process_for_an_account(broker: Broker) -> None:
    """A second process on the account ends with 75 at once; the first goes on undisturbed."""
    broker.start(kept=True)
    broker.send(an_order(broker, "a"))
    broker.heard()
    assert broker.second() == 75
    broker.send(an_order(broker, "b"))
    ended = broker.stop()
    assert (ended.code, held(closing(ended))) == (0, {(broker.token, "MIS"): 20})


@behaviour("reliability 3.6: cancel and reduce by hand stay possible")
def a_halt_leaves_the_way_out(broker: Broker) -> None:
    """While trading is halted cancels are taken and the books kept; new orders are refused where the broker halts."""
    broker.start(kept=True)
    broker.send(an_order(broker, "a"), limit(broker, "b", "95"))
    broker.heard()
    broker.halt()
    broker.send(Cancel(order_id="b", timestamp=broker.now), an_order(broker, "c"))
    said = broker.heard()
    assert last(said, "b").status == CANCELLED
    assert bool(fills(said, "c")) is not (Able.HALTS in broker.able)
    ended = broker.stop()
    assert ended.code == (80 if Able.HALTS in broker.able else 0)
    assert held(closing(ended))[broker.token, "MIS"] == sum(fill.quantity for fill in fills(ended.events))


# --- 9: the same input, the same bytes ---------------------------------------------------------------------


@behaviour("reliability goal: deterministic; Nautilus: id determinism", Able.EXACT, cases=[("at once",), ("by line",)])
def the_same_input_gives_the_same_bytes(broker: Broker, how: str) -> None:
    """Two new accounts, one input: every byte is the same, ids of fills included, however the input is cut."""
    broker.start()
    a_day(broker)
    lines = list(broker.sent)
    first = broker.stop()
    broker.start(priced=False)
    for part in [lines] if how == "at once" else [[line] for line in lines]:
        broker.send(*part)
    assert broker.stop().output == first.output


def cases_for(able: frozenset[Able]) -> Iterator[tuple[Behaviour, tuple[Any, ...]]]:
    """Each (behaviour, case) that a broker which is `able` must pass."""
    for row in BEHAVIOURS:
        if row.needs <= able:
            yield from ((row, case) for case in row.cases)
