"""An order as the simulated broker sees it, and where its life is written down.

`engine` changes these and tells a `Journal`. Without `--state` that is `Memory`, which only knows what
was applied; with it, `store.Store`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple, Protocol

from msgspec import Struct
from msgspec.structs import replace

from alpha_cli.core.events import ContractNote, Fill, Modify, Order, OrderUpdate, Portfolio
from alpha_cli.core.ids import derive_id
from alpha_cli.core.ledger import Account, Booking, Key
from alpha_cli.core.money import divided, in_rupees, units
from alpha_cli.core.order_states import CANCEL_PENDING, OPEN, advance, is_terminal
from alpha_cli.core.times import in_india

#: Why the broker makes an order of its own; its id begins with that, and nobody else's may.
SQUARE_OFF = "square-off"
EXPIRY = "expiry"


class PaperOrder(Struct, eq=False):
    """An order and what became of it. Amounts are in ledger units.

    arrived        event time of its arrival here: the newest tick's, of whatever instrument
    effective      event time at which it is at the exchange: its own time and the latency
    changed        event time of its arrival, last modification or last fill
    status         in Kite's words
    limit          the worst price it takes; of a MARKET order the protection price, None until it has one
    trigger        of a stop that has not been triggered
    turnover       Σ quantity × price of its fills
    fills          how many there were
    blocked        margin held back for what is not filled
    closing        units of what is not filled that close a position rather than open one
    met            a tick has met it at the exchange; until then it waits for one that is not older than it
    modifications  how often it was modified
    modify_lines   how often that was asked for, what was refused included
    number         its place among all orders of the account; the journal gives it
    priority       its place in time at the exchange; a modification costs it its place
    cancelled_from  when a cancellation that is on its way reaches the exchange, and why it was asked for
    cancel_reason
    made_by        SQUARE_OFF or EXPIRY if the broker made it
    asleep         read back from a journal and not yet caught up with: see `engine`
    replayed       lines to modify it that came since its own line came again; None until that line comes
    """

    order: Order
    arrived: datetime
    effective: datetime
    changed: datetime
    status: str = OPEN
    filled_quantity: int = 0
    limit: int | None = None
    trigger: int | None = None
    turnover: int = 0
    fills: int = 0
    blocked: int = 0
    closing: int = 0
    code: str | None = None
    message: str | None = None
    met: bool = False
    modifications: int = 0
    modify_lines: int = 0
    number: int = 0
    priority: int = 0
    cancelled_from: datetime | None = None
    cancel_reason: str | None = None
    made_by: str | None = None
    asleep: bool = False
    replayed: int | None = None

    @classmethod
    def of(cls, order: Order, arrived: datetime, effective: datetime, **more: object) -> PaperOrder:
        """A new one, with the prices that `order` gives."""
        made: PaperOrder = cls(order, arrived, effective, arrived, **more)  # type: ignore[arg-type]
        made.take_prices()
        return made

    def take_prices(self) -> None:
        """Limit and trigger as the order says them."""
        order = self.order
        priced = order.order_type in {"LIMIT", "SL"} and order.price is not None
        self.limit = units(order.price) if priced and order.price is not None else None
        stops = order.order_type in {"SL", "SL-M"} and order.trigger_price is not None
        self.trigger = units(order.trigger_price) if stops and order.trigger_price is not None else None

    @property
    def pending_quantity(self) -> int:
        """Units not filled yet, of an order that goes on."""
        return 0 if is_terminal(self.status) else self.order.quantity - self.filled_quantity

    @property
    def left(self) -> int:
        """Units not filled."""
        return self.order.quantity - self.filled_quantity

    @property
    def average_price(self) -> Decimal | None:
        """Rupees a unit over its fills, rounded half-even to four decimals; None without any."""
        return in_rupees(divided(self.turnover, self.filled_quantity)) if self.filled_quantity else None

    @property
    def changed_by_line(self) -> bool:
        """Whether its last change is sure to be its own line or one that modified it, and not a tick."""
        untouched = not self.fills and self.status != CANCEL_PENDING
        if self.order.order_type in {"SL", "SL-M"}:
            untouched = untouched and self.trigger is not None
        if self.modify_lines:
            return untouched and not is_terminal(self.status) and self.changed <= self.effective
        return self.changed == self.arrived and (untouched or is_terminal(self.status))

    def becomes(self, status: str) -> None:
        """Go to `status`. Raises `InvariantBroken` if the table of states does not know that way."""
        self.status = advance(self.order.order_id, self.status, status)

    def update(self, timestamp: datetime) -> OrderUpdate:
        """The `order_update` that tells the present status."""
        order = self.order
        return OrderUpdate(
            order_id=order.order_id,
            broker=order.broker,
            status=self.status,
            signal_id=order.signal_id,
            strategy_id=order.strategy_id,
            instrument_token=order.instrument_token,
            side=order.side,
            filled_quantity=self.filled_quantity,
            pending_quantity=self.pending_quantity,
            average_price=self.average_price,
            code=self.code,
            message=self.message,
            timestamp=timestamp,
        )


class Spot(NamedTuple):
    """What a tick said of an instrument's price, in rupees; as much of one as settling needs."""

    instrument_token: int
    timestamp: datetime
    last_price: float


class Journal(Protocol):
    """Remembers what was applied, and what changed by it."""

    def knows_order(self, order_id: str) -> bool:
        """Whether an order of this id was applied before, in this run or an earlier one."""

    def knows_signal(self, signal_id: str) -> bool:
        """Whether an order for this signal was applied before."""

    def newest(self) -> Iterable[PaperOrder]:
        """The orders that an earlier run changed last, those that have ended too."""

    def order(self, paper_order: PaperOrder) -> None:
        """`paper_order` is new or has changed."""

    def fill(self, fill: Fill, booking: Booking, account: Account) -> None:
        """`fill` was entered into `account` as `booking`."""

    def note(self, note: ContractNote, adjusted: Mapping[str, int], booking: Booking, account: Account) -> None:
        """`note` settled the charges of its day: they were `adjusted` by name, entered as `booking`."""

    def fills_of(self, day: date) -> Iterable[Fill]:
        """The account's fills of an Indian day, in the order in which they were made."""

    def settled(self, day: date) -> Mapping[str, int]:
        """By how much notes of that day have adjusted its charges so far, by name."""

    def unsettled(self) -> Iterable[date]:
        """Indian days of earlier runs with fills after their last note."""

    def shares(self) -> Iterable[tuple[Key, str, int]]:
        """(key, strategy, units) that strategies hold after earlier runs, though they may cancel out."""

    def spots(self) -> Iterable[Spot]:
        """The newest prices of what positions are settled by, as an earlier session left them."""

    def keep_spots(self, spots: Iterable[Spot]) -> None:
        """A session closed, and these are the newest of such prices."""

    def portfolio(self, portfolio: Portfolio, account: Account) -> None:
        """A session closed with `portfolio`."""

    def commit(self) -> None:
        """Make durable what it was told."""

    def release(self) -> None:
        """Let go of files and locks."""


class _Ids:
    """A set of ids in a quarter of the memory of one: each of a thousand buckets is a run of bytes.

    Ids are UTF-8, in which the byte between them never occurs.
    """

    _BETWEEN = b"\xff"
    _BUCKETS = 1024

    def __init__(self) -> None:
        self._buckets = [bytearray(self._BETWEEN) for _ in range(self._BUCKETS)]

    def __contains__(self, name: str) -> bool:
        return self._between(name) in self._buckets[hash(name) % self._BUCKETS]

    def add(self, name: str) -> None:
        entry, bucket = self._between(name), self._buckets[hash(name) % self._BUCKETS]
        if entry not in bucket:
            bucket += entry[1:]

    def _between(self, name: str) -> bytes:
        return self._BETWEEN + name.encode("utf-8", "surrogatepass") + self._BETWEEN


class Memory:
    """The journal of a run that keeps nothing: the ids that were applied, and the fills if notes want them.

    A note may come late, with the first tick of a later day, so more days than one can be open.
    """

    def __init__(self, *, keep_fills: bool = False) -> None:
        self._orders = _Ids()
        self._signals = _Ids()
        self._keep_fills = keep_fills
        self._fills: dict[date, list[Fill]] = {}
        self._settled: dict[date, dict[str, int]] = {}

    def knows_order(self, order_id: str) -> bool:
        return order_id in self._orders

    def knows_signal(self, signal_id: str) -> bool:
        return signal_id in self._signals

    def newest(self) -> Iterable[PaperOrder]:
        return ()

    def order(self, paper_order: PaperOrder) -> None:
        self._orders.add(paper_order.order.order_id)
        self._signals.add(paper_order.order.signal_id)

    def fill(self, fill: Fill, booking: Booking, account: Account) -> None:
        del booking, account
        if self._keep_fills:
            self._fills.setdefault(in_india(fill.timestamp).date(), []).append(fill)

    def note(self, note: ContractNote, adjusted: Mapping[str, int], booking: Booking, account: Account) -> None:
        del booking, account
        settled = self._settled.setdefault(note.date, {})
        for name, amount in adjusted.items():
            settled[name] = settled.get(name, 0) + amount

    def fills_of(self, day: date) -> Iterable[Fill]:
        return self._fills.get(day, ())

    def settled(self, day: date) -> Mapping[str, int]:
        return self._settled.get(day, {})

    def unsettled(self) -> Iterable[date]:
        return ()

    def shares(self) -> Iterable[tuple[Key, str, int]]:
        return ()

    def spots(self) -> Iterable[Spot]:
        return ()

    def keep_spots(self, spots: Iterable[Spot]) -> None:
        del spots

    def portfolio(self, portfolio: Portfolio, account: Account) -> None:
        del portfolio, account

    def commit(self) -> None:
        pass

    def release(self) -> None:
        pass


def made_id(why: str, *cause: object) -> str:
    """The id of an order that the broker makes."""
    return f"{why}-{derive_id(why, *cause)}"


def is_made_by(why: str, fill: Fill) -> bool:
    """Whether the broker made the order of `fill` for this reason."""
    return fill.order_id.startswith(f"{why}-")


def modified(order: Order, modify: Modify) -> Order:
    """`order` with what `modify` gives; what is absent stays."""
    return replace(
        order,
        quantity=order.quantity if modify.quantity is None else modify.quantity,
        price=order.price if modify.price is None else modify.price,
        trigger_price=order.trigger_price if modify.trigger_price is None else modify.trigger_price,
        order_type=modify.order_type or order.order_type,
    )
