"""Whatever is asked, filled, modified, halted and restarted: what must hold of risk after every event.

Beside the engine runs a model that is slow on purpose: it keeps nothing but the list of what happened, in `Decimal`,
and counts it all again each time.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import Phase, given, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace
from support.events import signal
from support.examples import examples

from alpha_cli.core.errors import InvariantBroken
from alpha_cli.core.events import Cancel, Control, Denial, Fill, Modify, Order, OrderUpdate, Signal, Tick
from alpha_cli.core.money import UNITS
from alpha_cli.core.times import IST
from alpha_cli.market.instruments import Instrument, Master
from alpha_cli.stages.risk.config import RiskFile
from alpha_cli.stages.risk.engine import RiskEngine, RiskInputs
from alpha_cli.stages.risk.slicing import slice_sizes
from alpha_cli.stages.risk.store import Store
from alpha_cli.stream.last_ticks import LastTicks

SHARE, OPTION = 408065, 12_000_002
LOT, FREEZE = 600, 1800  # of NIFTY in January 2026; the lot is one that is quick to count in
OPENING = datetime(2026, 1, 5, 10, tzinfo=IST)  # a Monday
TRADING_DAYS = [datetime(2026, 1, day, 10, tzinfo=IST) for day in (5, 6, 7, 8, 9, 12, 13, 14, 16, 19)]
CLOSED_DAYS = [datetime(2026, 1, day, 10, tzinfo=IST) for day in (10, 11, 15, 17)]  # weekends, and a holiday
ZERO = Decimal(0)

MASTER = Master.of(
    [
        Instrument(SHARE, "NSE", "INFY", "INFOSYS"),
        Instrument(
            OPTION, "NFO", "NIFTY26JUN25000CE", "NIFTY", "NFO-OPT", "CE", LOT, Decimal("0.05"),
            datetime(2026, 6, 30, tzinfo=IST).date(), Decimal(25000),
        ),
    ]
)  # fmt: skip

# --- limits, once for the engine and once for the model ------------------------------------------

POSITION = {None: {SHARE: 20, OPTION: 6000}, "a": {SHARE: 3600, OPTION: 3600}}
OPEN_VALUE = {None: Decimal(3000), "a": Decimal(1500)}
TURNOVER = {None: Decimal(6000), "b": Decimal(3500)}
GROSS = {None: Decimal(3500)}
LOOP, WINDOW = 5, 60


def limits(*, assumed: bool) -> RiskFile:
    return RiskFile.model_validate(
        {
            "brokers": {
                "paper": {
                    "max_position": 6000, "max_open_order_value": 3000, "max_turnover": 6000,
                    "max_gross_exposure": 3500, "max_daily_loss": 300, "max_consecutive_rejects": 3,
                    "repeated_execution": {"orders": LOOP, "seconds": WINDOW, "round_trips": 4},
                    "assume_market_fills": assumed,
                }
            },
            "strategies": {
                "a": {"max_position": 3600, "max_open_order_value": 1500},
                "b": {"max_turnover": 3500, "max_drawdown": 150},
            },
            "instruments": {str(SHARE): {"max_position": 20}},
        }
    )  # fmt: skip


# --- the model -------------------------------------------------------------------------------


@dataclass
class Known:
    """An order as the list of events tells of it.

    could_be   (units, price) that it may have, whichever of its modifications arrived
    """

    strategy: str
    token: int
    sign: int
    at: datetime
    day: int
    quantities: list[int]
    prices: list[Decimal]
    could_be: set[tuple[int, Decimal]]
    market: bool
    filled: int = 0
    assumed: int = 0
    asked: int | None = None
    asks: list[int] = field(default_factory=list)
    signal: str = ""
    opens: bool = True
    ends_at: int | None = None
    gone: bool = False

    @property
    def alive(self) -> bool:
        return not self.gone and (self.ends_at is None or self.filled < self.ends_at)

    @property
    def open(self) -> int:
        total = self.ends_at if self.ends_at is not None else max(self.quantities)
        return max(0, total - self.filled - self.assumed) if self.alive else 0

    @property
    def open_value(self) -> Decimal:
        return self.open * max(self.prices)

    @property
    def worst_value(self) -> Decimal:
        """The most that could truly be open of it."""
        if not self.open or self.ends_at is not None:
            return self.open * max(self.prices)
        return max(max(0, units - self.filled - self.assumed) * price for units, price in self.could_be)


@dataclass
class Count:
    """All that follows from a list of events."""

    orders: dict[str, Known] = field(default_factory=dict)
    last: dict[int, Decimal] = field(default_factory=dict)
    fills: dict[str, tuple[str, int, int, Decimal, Decimal, int]] = field(default_factory=dict)
    messages: dict[str | None, int] = field(default_factory=lambda: defaultdict(int))
    rejects: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    rearmed: dict[str, int] = field(default_factory=dict)  # strategy -> orders there were before
    day: int = 0

    def of(self, strategy: str | None, token: int | None = None) -> list[Known]:
        return [
            one
            for one in self.orders.values()
            if strategy in {None, one.strategy} and (token is None or one.token == token)
        ]

    def _fills(self, strategy: str | None) -> list[tuple[str, int, int, Decimal, Decimal, int]]:
        return [one for one in self.fills.values() if strategy in {None, one[0]}]

    def held(self, strategy: str | None, token: int) -> int:
        traded = sum(signed for _, of, signed, *_ in self._fills(strategy) if of == token)
        return traded + sum(one.sign * one.assumed for one in self.of(strategy, token))

    def opening(self, strategy: str | None, token: int, sign: int) -> int:
        """Units of open orders on one side."""
        return sum(one.open for one in self.of(strategy, token) if one.sign == sign)

    def extremes(self, strategy: str | None, token: int) -> tuple[int, int]:
        """Most and least that could be held: all orders of one side filled, and none of the other."""
        held = self.held(strategy, token)
        return held + self.opening(strategy, token, 1), held - self.opening(strategy, token, -1)

    def worst(self, strategy: str | None, token: int) -> int:
        most, least = self.extremes(strategy, token)
        return max(most, -least)

    def cash(self, strategy: str | None) -> Decimal:
        paid = sum((signed * price + charges for _, _, signed, price, charges, _ in self._fills(strategy)), ZERO)
        return -paid - sum((one.sign * one.assumed * one.prices[0] for one in self.of(strategy)), ZERO)

    def turnover(self, strategy: str | None) -> Decimal:
        traded = sum((abs(one[2]) * one[3] for one in self._fills(strategy) if one[5] == self.day), ZERO)
        return traded + sum((one.assumed * one.prices[0] for one in self.of(strategy) if one.day == self.day), ZERO)

    def open_value(self, strategy: str | None) -> Decimal:
        return sum((one.open_value for one in self.of(strategy)), ZERO)

    def worst_open_value(self, strategy: str | None) -> Decimal:
        return sum((one.worst_value for one in self.of(strategy)), ZERO)

    def gross(self, strategy: str | None) -> Decimal:
        return sum((self.worst(strategy, token) * price for token, price in self.last.items()), ZERO)

    def entered(self, strategy: str | None) -> int:
        return sum(one.day == self.day for one in self.of(strategy))

    def repetitions(self, strategy: str, token: int, sign: int, now: datetime) -> int:
        """Orders that opened on one side within the window, filled or still to be, since the strategy was re-armed."""
        made = list(self.orders.values())[self.rearmed.get(strategy, 0) :]
        return len(
            {
                one.signal
                for one in made
                if one.strategy == strategy and one.token == token and one.sign == sign and one.ends_at != 0
                and one.opens and now - one.at < timedelta(seconds=WINDOW)
            }
        )  # fmt: skip


def count(log: list[Any], *, assumes: bool) -> Count:
    """What the events come to, from the first to the last."""
    found = Count()
    for at, event in log:
        entry = found.orders.get(getattr(event, "order_id", ""))
        if event == "day":
            found.day += 1
            found.messages.clear()
            for one in found.orders.values():
                one.gone = True
        elif isinstance(event, Tick):
            found.last[event.instrument_token] = Decimal(str(event.last_price))
        elif isinstance(event, Control):
            if event.action == "rearm":
                found.rejects[event.target or ""] = 0
                found.rearmed[event.target or ""] = len(found.orders)
        elif isinstance(event, Order):
            market = event.order_type == "MARKET"
            price = _worth(found, event.instrument_token, None if market else event.price, event.side == "SELL")
            assert price is not None
            found.orders[event.order_id] = Known(
                event.strategy_id, event.instrument_token, 1 if event.side == "BUY" else -1, at, found.day,
                [event.quantity], [price], {(event.quantity, price)}, market,
                assumed=event.quantity if market and assumes else 0, asked=event.quantity, asks=[event.quantity],
                signal=event.signal_id, opens=_opens(found, event),
            )  # fmt: skip
            found.messages[None] += 1
            found.messages[event.strategy_id] += 1
        elif isinstance(event, Fill):
            if event.fill_id in found.fills:
                continue
            assert entry is not None
            signed = entry.sign * event.quantity
            found.fills[event.fill_id] = (
                entry.strategy, entry.token, signed, event.price, event.charges["total"], found.day,
            )  # fmt: skip
            if entry.alive:
                found.rejects[entry.strategy] = 0
            entry.assumed -= min(entry.assumed, event.quantity)
            entry.filled += event.quantity
        elif isinstance(event, OrderUpdate):
            assert entry is not None
            if entry.alive:
                _updated(found, entry, event)
        elif isinstance(event, Modify | Cancel):
            assert entry is not None
            if entry.alive:
                found.messages[None] += 1
                found.messages[entry.strategy] += 1
            if isinstance(event, Modify):
                _modified(found, entry, event)
    return found


def _opens(found: Count, order: Order) -> bool:
    """Whether an order, or the one that it is a slice of, can take the strategy's position beyond flat."""
    most, least = found.extremes(order.strategy_id, order.instrument_token)
    return most + order.quantity > 0 if order.side == "BUY" else least - order.quantity < 0


def _updated(found: Count, entry: Known, update: OrderUpdate) -> None:
    claimed = max(update.filled_quantity, entry.filled)
    entry.assumed = min(entry.assumed, claimed - entry.filled)
    if update.status == "REJECTED" and not claimed:
        found.rejects[entry.strategy] += 1
    elif claimed or update.status in {"OPEN", "TRIGGER PENDING", "COMPLETE"}:
        found.rejects[entry.strategy] = 0
    if update.status in {"COMPLETE", "CANCELLED", "REJECTED"}:
        entry.ends_at = claimed
    elif entry.asks.count(update.filled_quantity + update.pending_quantity) == 1 and (
        entry.asks[-1] == update.filled_quantity + update.pending_quantity
    ):
        assert entry.asked is not None
        total = max(entry.asked, claimed)
        entry.quantities = [total]
        entry.could_be = {(total, price) for _, price in entry.could_be}


def _worth(found: Count, token: int, limit: Decimal | None, sells: bool) -> Decimal:
    """What a unit may change hands at: a seller who asks less than the market is paid the market's price."""
    last = found.last[token]
    return last if limit is None or (sells and last > limit) else limit


def _modified(found: Count, entry: Known, modify: Modify) -> None:
    entry.asked = max(entry.quantities) if modify.quantity is None else modify.quantity
    price = None
    if modify.price is not None or entry.market:
        price = _worth(found, entry.token, modify.price, entry.sign < 0)
    entry.could_be |= {
        (units if modify.quantity is None else modify.quantity, before if price is None else price)
        for units, before in entry.could_be
    }
    entry.quantities.append(entry.asked)
    entry.asks.append(entry.asked)
    if price is not None:
        entry.prices.append(price)


# --- the machine -----------------------------------------------------------------------------

tokens = st.sampled_from([SHARE, OPTION])
strategies = st.sampled_from(["a", "a", "b"])
sides = st.sampled_from(["BUY", "BUY", "SELL"])
places = st.integers(0, 30)
ticks_away = st.integers(-4, 4)
sizes = st.sampled_from([1, 2, 3, 2, 4, 9, 14, 16])
seconds = st.sampled_from([0, 1, 1, 20])


def a_price(token: int, away: int) -> Decimal:
    """Around 100 rupees for the share, around half a rupee for the option."""
    return Decimal(100 + 3 * away) if token == SHARE else Decimal("0.5") + away * Decimal("0.05")


def a_quantity(token: int, size: int) -> int:
    return size if token == SHARE else (1 + size % 10) * LOT


@dataclass
class AtBroker:
    """What the broker truly has of an order."""

    order: Order
    quantity: int
    traded: int = 0
    over: bool = False
    reports: list[Fill] = field(default_factory=list)  # traded, but not told yet
    wishes: list[Modify] = field(default_factory=list)  # modifications on their way


class Risk(RuleBasedStateMachine):
    """Two strategies, two instruments, a broker that reports late or twice, and a person who halts and resumes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store: Store | None = None
        self.halted_by_file = False
        self.halts: set[str] = set()  # whom the stream halted
        self.stops: dict[tuple[str, str], str] = {}
        self.log: list[Any] = []
        self.at_broker: list[AtBroker] = []
        self.told: list[Fill] = []
        self.signals: list[Signal] = []
        self.number = 0
        self.quiet_until = 3
        self.today = 0
        self.now = OPENING
        self.assumed = False

    @initialize(assumed=st.booleans())
    def begin(self, assumed: bool) -> None:
        self.assumed = assumed
        self._start()

    def teardown(self) -> None:
        if self.store is not None:
            self.store.release()
        self.folder.cleanup()

    def _start(self) -> None:
        self.market = LastTicks()
        self.store = Store(Path(self.folder.name) / "state", "risk")
        self.store._db.execute("PRAGMA synchronous = OFF")  # nobody cuts the power here
        self.engine = RiskEngine(
            RiskInputs(
                limits=limits(assumed=self.assumed),
                last_ticks=self.market,
                instruments=MASTER,
                halt_reason=lambda: "a person" if self.halted_by_file else None,
                journal=self.store,
                ledger=self.store.ledger,
                latched=self.store.latched,
                halted=self.store.halted,
            )
        )
        known = self.count.last
        for token in (SHARE, OPTION):
            self._tick(token, known.get(token, a_price(token, 0)))

    @property
    def count(self) -> Count:
        return count(self.log, assumes=self.assumed)

    def _give(self, event: Any) -> list[Any]:
        """What comes of `event`, but for what risk stopped: that is noted."""
        if isinstance(event, Tick):
            self.market.put(event)
            made = list(self.engine.on_tick(event)) if self.market.wants(event) else []
        else:
            made = list(self.engine.steps[type(event)](event))
        self.engine.commit()
        rest = []
        for one in made:
            if isinstance(one, Control) and one is not event:
                assert one.by == "risk"
                if one.value != {"cause": "file"}:
                    assert one.timestamp is not None
                    key = (one.value["broker"], one.value["strategy"] or "")
                    self.stops[key] = {"halt": "HALTED", "reduce": "REDUCING"}[one.action]
                assert all(isinstance(other, Control | Denial) or other is not one for other in made)
            else:
                rest.append(one)
        return rest

    def _tick(self, token: int, price: Decimal) -> None:
        event = Tick(instrument_token=token, timestamp=self.now, last_price=float(price))
        self.log.append((self.now, event))
        assert self._give(event) == []

    def _halted(self, strategy: str) -> bool:
        return (
            self.halted_by_file
            or bool(self.halts & {"", "paper", strategy})
            or "HALTED" in {self.stops.get(("paper", "")), self.stops.get(("paper", strategy))}
        )

    # --- what is asked for -------------------------------------------------------------------

    @rule(token=tokens, strategy=strategies, side=sides, size=sizes, seconds=seconds)
    def ask_at_once(self, token: int, strategy: str, side: str, size: int, seconds: int) -> None:
        """A signal for a MARKET order."""
        self._ask(token, strategy, side, size, None, seconds)

    @rule(token=tokens, strategy=strategies, side=sides, size=sizes, limit=ticks_away, seconds=seconds)
    def ask_at_a_price(self, token: int, strategy: str, side: str, size: int, limit: int, seconds: int) -> None:
        """A signal for a LIMIT order."""
        self._ask(token, strategy, side, size, limit, seconds)

    @rule(
        token=tokens, strategy=strategies, limits=st.lists(ticks_away, min_size=2, max_size=5), side=sides,
        seconds=seconds,
    )  # fmt: skip
    def ask_often(self, token: int, strategy: str, limits: list[int], side: str, seconds: int) -> None:
        """Small orders, one after the other."""
        for limit in limits:
            self._ask(token, strategy, side, 1, limit, seconds)

    def _ask(self, token: int, strategy: str, side: str, size: int, limit: int | None, seconds: int) -> None:
        self.number += 1
        self.now += timedelta(seconds=seconds)
        self._tick(token, self.count.last[token])
        asked = signal(
            self.number, side=side, quantity=a_quantity(token, size), instrument_token=token, strategy_id=strategy,
            order_type="MARKET" if limit is None else "LIMIT", price=None if limit is None else a_price(token, limit),
        )  # fmt: skip
        asked = replace(asked, timestamp=self.now)
        self.signals.append(asked)
        self._decided(asked)

    def _decided(self, asked: Signal) -> None:
        before = self.count
        made = self._give(asked)
        if isinstance(made[0], Denial):
            (denial,) = made
            assert (denial.signal_id, denial.strategy_id) == (asked.signal_id, asked.strategy_id)
            if denial.code in {"TRADING_HALTED", "STRATEGY_HALTED"}:
                assert self._halted(asked.strategy_id)
            return
        assert asked.quantity is not None
        assert all(isinstance(one, Order) for one in made)
        assert sum(one.quantity for one in made) == asked.quantity
        assert {(one.signal_id, one.side, one.instrument_token) for one in made} == {
            (asked.signal_id, asked.signal_type, asked.instrument_token)
        }
        if len(made) > 1:
            (parent,) = {one.parent_order_id for one in made}
            assert parent is not None
            assert asked.instrument_token == OPTION
            assert all(0 < one.quantity <= FREEZE and one.quantity % LOT == 0 for one in made)
        else:
            assert made[0].parent_order_id is None
        assert not self._halted(asked.strategy_id)
        for order in made:
            self.log.append((self.now, order))
            self.at_broker.append(AtBroker(order, order.quantity))
        sign = 1 if asked.signal_type == "BUY" else -1
        self._holds_for(asked.strategy_id, asked.instrument_token, sign, before)
        if any(self.count.orders[order.order_id].opens for order in made):
            assert before.repetitions(asked.strategy_id, asked.instrument_token, sign, self.now) < LOOP

    def _holds_for(self, strategy: str, token: int, sign: int, before: Count) -> None:
        """What has just left keeps every limit that it comes nearer to, and reduces where it may only reduce."""
        after = self.count
        for scope in (None, strategy):
            most, least = after.extremes(scope, token)
            if (most, least) != before.extremes(scope, token) and scope in POSITION:
                assert (most if sign > 0 else -least) <= POSITION[scope][token]
            if after.worst_open_value(scope) > before.worst_open_value(scope) and scope in OPEN_VALUE:
                assert after.worst_open_value(scope) <= OPEN_VALUE[scope]
            traded, had = (one.turnover(scope) + one.worst_open_value(scope) for one in (after, before))
            if traded > had and scope in TURNOVER:
                assert traded <= TURNOVER[scope]
            if after.worst(scope, token) > before.worst(scope, token):
                if scope in GROSS:
                    assert after.gross(scope) <= GROSS[scope]
                assert self.stops.get(("paper", scope or "")) != "REDUCING"

    @precondition(lambda self: self.signals)
    @rule(place=places, other=st.booleans())
    def ask_again(self, place: int, other: bool) -> None:
        """A signal that was decided before, as it was or with other contents."""
        asked = self.signals[place % len(self.signals)]
        if other:
            assert asked.quantity is not None
            asked = replace(asked, quantity=asked.quantity + LOT)
        (denial,) = self._give(asked)
        expected = "SIGNAL_CONFLICT" if other else "SIGNAL_DUPLICATE"
        assert self._halted(asked.strategy_id) or denial.code == expected

    @precondition(lambda self: self.at_broker)
    @rule(place=places, wishes=st.lists(st.tuples(st.none() | sizes, st.none() | ticks_away), min_size=1, max_size=3))
    def modify(self, place: int, wishes: list[tuple[int | None, int | None]]) -> None:
        """Modifications of an order that left, be it over or not, before anything is heard of them."""
        known = self.count.orders
        alive = [one for one in self.at_broker if known[one.order.order_id].alive]
        some = alive if alive and place % 5 else self.at_broker
        had = some[-1 - place % len(some)]
        for size, away in wishes:
            self._modify(had, size, away)

    def _modify(self, had: AtBroker, size: int | None, away: int | None) -> None:
        order, before = had.order, self.count
        limited = order.order_type == "LIMIT"
        wish = Modify(
            order_id=order.order_id,
            quantity=None if size is None else min(a_quantity(order.instrument_token, size), FREEZE),
            price=a_price(order.instrument_token, away) if away is not None and limited else None,
            timestamp=self.now,
        )
        if wish.quantity is None and wish.price is None:
            return
        known = before.orders[order.order_id]
        (made,) = self._give(wish)
        if isinstance(made, Denial):
            assert known.alive or made.code == "ORDER_UNKNOWN"
            assert made.code != "ORDER_UNKNOWN" or not known.alive or known.ends_at is not None
            return
        assert made is wish
        assert known.alive
        assert known.ends_at is None  # the broker said that it is over, though not all of its trades are told yet
        assert not self._halted(order.strategy_id)
        self.log.append((self.now, wish))
        had.wishes.append(wish)
        self._holds_for(order.strategy_id, order.instrument_token, 1 if order.side == "BUY" else -1, before)

    @precondition(lambda self: self.at_broker)
    @rule(place=places)
    def cancel(self, place: int) -> None:
        """It always passes."""
        order = self.at_broker[-1 - place % len(self.at_broker)].order
        wish = Cancel(order_id=order.order_id, timestamp=self.now)
        assert self._give(wish) == []
        self.log.append((self.now, wish))

    # --- what the broker does ----------------------------------------------------------------

    def _working(self, place: int) -> AtBroker | None:
        working = [one for one in self.at_broker if not one.over]
        return working[-1 - place % len(working)] if working else None

    @rule(place=places, share=st.sampled_from([1, 2, 3]), away=ticks_away, log_line=st.booleans())
    def trade(self, place: int, share: int, away: int, log_line: bool) -> None:
        """A part of an order, or all of it, is filled; it may be told later."""
        had = self._working(place)
        if had is None or had.traded >= had.quantity:
            return
        order = had.order
        quantity = -(-(had.quantity - had.traded) // share)
        had.traded += quantity
        had.reports.append(
            Fill(
                fill_id=f"{order.order_id}/{had.traded}", order_id=order.order_id, signal_id=order.signal_id,
                strategy_id=order.strategy_id, broker="paper", instrument_token=order.instrument_token,
                side=order.side, quantity=quantity, price=a_price(order.instrument_token, away),
                charges={"total": Decimal("1.25")}, timestamp=self.now,
            )
        )  # fmt: skip
        if log_line:
            self._tell(had)

    @precondition(lambda self: any(one.reports for one in self.at_broker))
    @rule(place=places)
    def report(self, place: int) -> None:
        """What was traded is told."""
        waiting = [one for one in self.at_broker if one.reports]
        self._tell(waiting[place % len(waiting)])

    def _tell(self, had: AtBroker) -> None:
        for fill in had.reports:
            self._heard(fill)
            self.told.append(fill)
        had.reports.clear()

    @precondition(lambda self: self.told)
    @rule(place=places)
    def report_again(self, place: int) -> None:
        """A report that comes twice counts once."""
        self._heard(self.told[place % len(self.told)])

    @rule(place=places, status=st.sampled_from(["OPEN", "OPEN", "CANCELLED", "REJECTED"]), arrived=st.booleans())
    def update(self, place: int, status: str, arrived: bool) -> None:
        """What the broker says of an order; before that its modifications arrived, or the first of them was lost."""
        had = self._working(place)
        if had is None or (status == "REJECTED" and (had.traded or had.wishes)):
            return
        if had.wishes:
            wish = had.wishes.pop(0)
            if arrived and wish.quantity is not None:
                had.quantity = max(wish.quantity, had.traded)
        if had.traded >= had.quantity:
            status = "COMPLETE"
        had.over = status != "OPEN"
        self._heard(
            OrderUpdate(
                order_id=had.order.order_id, broker="paper", status=status, filled_quantity=had.traded,
                pending_quantity=0 if had.over else had.quantity - had.traded, timestamp=self.now,
            )
        )  # fmt: skip

    def _heard(self, event: Any) -> None:
        self.log.append((self.now, event))
        assert self._give(event) == []

    # --- prices, days, persons ---------------------------------------------------------------

    @rule(token=tokens, away=ticks_away, seconds=st.sampled_from([0, 1, 10, 30]))
    def move(self, token: int, away: int, seconds: int) -> None:
        """A tick."""
        self.now += timedelta(seconds=seconds)
        self._tick(token, a_price(token, away))

    @precondition(lambda self: self.today + 1 < len(TRADING_DAYS))
    @rule(closed=st.booleans())
    def next_day(self, closed: bool) -> None:
        """A later trading day begins; before it there may be ticks of a day that is none."""
        following = TRADING_DAYS[self.today + 1]
        between = [day for day in CLOSED_DAYS if self.now < day < following]
        if closed and between:
            self.now = between[0]
            self._hold()
        for had in self.at_broker:  # reports of yesterday's trades come before the night
            self._tell(had)
            if not had.over and self.count.orders[had.order.order_id].assumed:
                had.over = True
                update = OrderUpdate(
                    order_id=had.order.order_id, broker="paper", status="CANCELLED", filled_quantity=had.traded,
                    timestamp=self.now,
                )  # fmt: skip
                self._heard(update)
            had.over = True
        self.today += 1
        self.now = following
        self.log.append((self.now, "day"))
        self._hold()

    def _hold(self) -> None:
        """A moment of which risk takes notice."""
        for token in (SHARE, OPTION):
            self.market.put(Tick(instrument_token=token, timestamp=self.now, last_price=float(self.count.last[token])))
        self.number += 1
        asked = replace(signal(self.number, side="HOLD", instrument_token=SHARE, strategy_id="b"), timestamp=self.now)
        (denial,) = self._give(asked)
        assert isinstance(denial, Denial)

    @precondition(lambda self: self.number >= self.quiet_until)
    @rule(action=st.sampled_from(["halt", "reduce", "resume", "rearm"]), whom=st.sampled_from(["", "paper", "a", "b"]))
    def control(self, action: Any, whom: str) -> None:
        """A person says so in the stream; not again before some signals were decided."""
        self.quiet_until = self.number + 4
        self._control(action, whom)

    def _control(self, action: Any, whom: str) -> None:
        wish = Control(action=action, target=whom or None, by="kim", timestamp=self.now)
        assert self._give(wish) == [wish]
        self.log.append((self.now, wish))
        account = whom in {"", "paper"}
        key = ("paper", "" if account else whom)
        if action == "halt":
            self.halts.add(whom)
        elif action == "reduce":
            self.stops.setdefault(key, "REDUCING")
            if whom != "paper":
                self.stops.setdefault(("zerodha", key[1]), "REDUCING")
        elif action == "resume":
            self.halts = {one for one in self.halts if whom not in {"", one}}
            if account:
                self.stops.pop(key, None)
            if not whom:
                self.stops.pop(("zerodha", ""), None)
        elif whom in {"a", "b"}:
            self.stops.pop(key, None)
            self.stops.pop(("zerodha", whom), None)
            self.halts.discard(whom)

    @precondition(lambda self: self.halted_by_file or self.halts or self.stops)
    @rule()
    def resume_all(self) -> None:
        """So that there is something to trade again."""
        self.halted_by_file = False
        self._control("resume", "")
        self._control("rearm", "a")
        self._control("rearm", "b")

    @precondition(lambda self: self.number >= self.quiet_until)
    @rule()
    def file(self) -> None:
        """`alpha halt`, or `alpha resume`, on the folder."""
        self.quiet_until = self.number + 2
        self.halted_by_file = not self.halted_by_file

    @rule()
    def restart(self) -> None:
        """End, and begin again with what was kept."""
        assert self.store is not None
        self.store.release()
        self._start()

    # --- what always holds -------------------------------------------------------------------

    @precondition(lambda self: self.store is not None)
    @invariant()
    def the_books_are_those_of_the_model(self) -> None:
        """Positions, open orders, cash, turnover and counts, of the account and of each strategy."""
        counted, books = self.count, self.engine.ledger
        for strategy in (None, "a", "b"):
            scope = books.scope("paper") if strategy is None else books.scope("paper", strategy)
            held = {
                token: (one.quantity, one.buying, one.selling)
                for token, one in scope.holdings.items()
                if (one.quantity, one.buying, one.selling) != (0, 0, 0)
            }
            expected = {
                token: (
                    counted.held(strategy, token),
                    counted.opening(strategy, token, 1),
                    counted.opening(strategy, token, -1),
                )
                for token in (SHARE, OPTION)
            }
            assert held == {token: one for token, one in expected.items() if one != (0, 0, 0)}
            assert Decimal(scope.cash) / UNITS == counted.cash(strategy)
            assert Decimal(scope.turnover) / UNITS == counted.turnover(strategy)
            assert Decimal(scope.open_value) / UNITS == counted.open_value(strategy)
            assert scope.orders == counted.entered(strategy)
            assert scope.messages == counted.messages[strategy]
            if strategy is not None:
                assert scope.rejects == counted.rejects[strategy]
        assert set(books.orders) == {order_id for order_id, one in counted.orders.items() if one.alive}

    @precondition(lambda self: self.store is not None and not self.assumed)
    @invariant()
    def no_position_can_grow_past_its_limit(self) -> None:
        """Whatever becomes of what is open, as long as nothing is assumed of it."""
        counted = self.count
        for scope, most in POSITION.items():
            for token, limit in most.items():
                long, short = counted.extremes(scope, token)
                assert long <= limit
                assert -short <= limit

    @precondition(lambda self: self.store is not None)
    @invariant()
    def what_is_stopped_is_what_was_told(self) -> None:
        """Nothing stops, or goes on, without a line that says so."""
        kept = {key: one.state for key, one in self.engine.halts.latched.states.items()}
        assert kept == self.stops
        assert {target for origin, target in self.engine.halts.halted if origin == "stream"} == self.halts


TestRisk = Risk.TestCase
# Without shrinking: a long story that fails is told as it is, and at once.
TestRisk.settings = examples(200, steps=60, phases=[Phase.reuse, Phase.generate])


# --- slices ----------------------------------------------------------------------------------


@given(lots=st.integers(1, 400), lot=st.integers(1, 100), freeze=st.none() | st.integers(1, 3000))
def test_slices_are_together_the_order_and_each_is_one_that_the_exchange_takes(
    lots: int, lot: int, freeze: int | None
) -> None:
    """Never more than the order, never more than the freeze quantity, always whole lots; all but the last alike."""
    quantity = lots * lot
    if freeze is not None and freeze < lot < quantity + 1 and quantity > freeze // lot * lot:
        try:
            slice_sizes(quantity, freeze, lot)
        except InvariantBroken:
            return
        raise AssertionError("no slice can be as small as the freeze quantity")
    sizes = slice_sizes(quantity, freeze, lot)
    assert sum(sizes) == quantity
    assert all(size > 0 and size % lot == 0 for size in sizes)
    assert freeze is None or max(sizes) <= freeze
    assert len(set(sizes[:-1])) <= 1
    assert len(sizes) == 1 or sizes[-1] <= sizes[0]


@given(quantity=st.integers(1, 10**12), freeze=st.integers(1, 10**7), lot=st.integers(1, 10**4))
def test_slices_of_any_quantity_never_exceed_it(quantity: int, freeze: int, lot: int) -> None:
    """Also of a quantity that is no multiple of the lot, which a control refuses before."""
    largest = freeze // lot * lot
    if largest == 0 or quantity // largest > 1000:
        return
    sizes = slice_sizes(quantity, freeze, lot)
    assert sum(sizes) == quantity
    assert 0 < max(sizes) <= freeze or len(sizes) == 1
