"""An order as the simulated broker sees it, and the journal that remembers it.

The desk changes orders and reports them to a `Journal`. Without `--state` that is `Memory`, which only remembers
what was applied; with it, `store.Store`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple, Protocol

from msgspec import Struct
from msgspec.structs import replace

from alpha_cli.core.events import ContractNote, Fill, Modify, Order, OrderUpdate, Portfolio
from alpha_cli.core.ids import derive_id
from alpha_cli.core.ledger import Account, Booking, Key
from alpha_cli.core.money import divided, in_rupees, units
from alpha_cli.core.order_states import CANCEL_PENDING, OPEN, TERMINAL, advance
from alpha_cli.core.times import in_india

#: Why the broker makes an order of its own. The order's id begins with it; ids of other orders must not.
SQUARE_OFF = "square-off"
EXPIRY = "expiry"


class PaperOrder(Struct, eq=False):
    """An order and its state. Amounts are in ledger units, times are of the stream.

    arrived         when it arrived here: the time of the newest tick, of any instrument
    effective       when it reaches the exchange: its own time and the latency
    changed         its arrival, last modification or last fill
    status          in Kite's words
    limit           the worst price it takes; of a MARKET order the protection price, None until it has one
    trigger         of a stop that has not been triggered
    turnover        Σ quantity × price of its fills
    fills           number of its fills
    blocked         margin held back for the quantity not filled
    closing         units, of those not filled, that close a position rather than open one
    at_exchange     a tick has reached it at the exchange; until then it waits for one that is not older than it
    modifications   modifications made
    modify_lines    modifications asked for, refused ones included
    number          place among all orders of the account; the journal gives it
    priority        place in time at the exchange; a modification costs it its place
    cancelled_from  when a cancellation under way reaches the exchange
    cancel_reason   why that cancellation was asked for
    made_by         SQUARE_OFF or EXPIRY if the broker made it
    asleep          read back from a journal, and the stream has not caught up with it yet: see `recovery`
    replayed        modify lines seen since its own line came again; None until that line comes
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
    at_exchange: bool = False
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
    def of(cls, order: Order, arrived: datetime, effective: datetime, made_by: str | None = None) -> PaperOrder:
        """Return a new one with the prices of `order`."""
        made = cls(order=order, arrived=arrived, effective=effective, changed=arrived, made_by=made_by)
        made.take_prices()
        return made

    def take_prices(self) -> None:
        """Set limit and trigger from the order."""
        order = self.order
        priced = order.order_type in {"LIMIT", "SL"} and order.price is not None
        self.limit = units(order.price) if priced and order.price is not None else None
        stops = order.order_type in {"SL", "SL-M"} and order.trigger_price is not None
        self.trigger = units(order.trigger_price) if stops and order.trigger_price is not None else None

    @property
    def remaining(self) -> int:
        """Units not filled."""
        return self.order.quantity - self.filled_quantity

    @property
    def pending_quantity(self) -> int:
        """Units not filled yet; 0 once the order has ended."""
        return 0 if self.status in TERMINAL else self.order.quantity - self.filled_quantity

    @property
    def average_price(self) -> Decimal | None:
        """Rupees a unit over its fills, rounded half-even to four decimals; None without any."""
        return in_rupees(divided(self.turnover, self.filled_quantity)) if self.filled_quantity else None

    @property
    def is_triggered_stop(self) -> bool:
        """Whether it was a stop and its trigger was reached: it is a plain order now."""
        return self.trigger is None and self.order.order_type in {"SL", "SL-M"}

    @property
    def changed_by_line(self) -> bool:
        """Whether a line of the stream, its own or a modification, must have made its last change, not a tick."""
        untouched = not self.fills and self.status != CANCEL_PENDING
        if self.order.order_type in {"SL", "SL-M"}:
            untouched = untouched and self.trigger is not None
        if self.modify_lines:
            return untouched and self.status not in TERMINAL and self.changed <= self.effective
        return self.changed == self.arrived and (untouched or self.status in TERMINAL)

    def set_status(self, status: str) -> None:
        """Go to `status`. Raise `InvariantBroken` if the table of states has no such transition."""
        self.status = advance(self.order.order_id, self.status, status)

    def stand_at_exchange(self, status: str) -> None:
        """Go to `status` at the exchange; while a cancellation is under way the status stays CANCEL PENDING."""
        if self.status not in {CANCEL_PENDING, status}:
            self.set_status(status)

    def add_fill(self, quantity: int, price: int, at: datetime) -> None:
        """Count a fill of `quantity` units at `price`."""
        self.filled_quantity += quantity
        self.turnover += quantity * price
        self.fills += 1
        self.changed = at
        self.code = self.message = None

    def update(self, timestamp: datetime) -> OrderUpdate:
        """Return the `order_update` with the present status."""
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
    """The newest price of an instrument, in rupees: the part of a tick that a settlement needs."""

    instrument_token: int
    timestamp: datetime
    last_price: float


class Journal(Protocol):
    """Remembers which orders were applied, and every change to the account."""

    def knows_order(self, order_id: str) -> bool:
        """Return whether an order of this id was applied before, in this run or an earlier one."""

    def knows_signal(self, signal_id: str) -> bool:
        """Return whether an order for this signal was applied before."""

    def newest(self) -> Iterable[PaperOrder]:
        """Return the orders that an earlier run changed last, including those that have ended."""

    def order(self, paper_order: PaperOrder) -> None:
        """Record that `paper_order` is new or has changed; number it if it is new."""

    def fill(self, fill: Fill, booking: Booking, account: Account) -> None:
        """Record that `fill` was entered into `account` as `booking`."""

    def note(self, note: ContractNote, adjusted: Mapping[str, int], booking: Booking, account: Account) -> None:
        """Record that `note` settled the charges of its day: `adjusted` by name, entered as `booking`."""

    def fills_of(self, day: date) -> Iterable[Fill]:
        """Return the account's fills of an Indian day, in the order in which they were made."""

    def settled(self, day: date) -> Mapping[str, int]:
        """Return by how much earlier notes of that day have adjusted its charges, by name."""

    def unsettled(self) -> Iterable[date]:
        """Return the Indian days of earlier runs that have fills after their last note."""

    def shares(self) -> Iterable[tuple[Key, str, int]]:
        """Return (key, strategy, units) that strategies hold after earlier runs, even if they cancel out."""

    def spots(self) -> Iterable[Spot]:
        """Return the newest prices that an earlier session kept for settlements."""

    def keep_spots(self, spots: Iterable[Spot]) -> None:
        """Record those prices when a session closes."""

    def portfolio(self, portfolio: Portfolio, account: Account) -> None:
        """Record that a session closed with `portfolio`."""

    def commit(self) -> None:
        """Make everything recorded durable."""

    def release(self) -> None:
        """Close files and release locks."""


class Memory:
    """The journal of a run that keeps nothing: the ids that were applied, and the fills if notes need them.

    Ids are kept as digests of twelve bytes, whatever their length. A contract note may be made late, by the first
    tick of a later day, so fills of more than one day can be held.
    """

    def __init__(self, *, keep_fills: bool = False) -> None:
        self._orders: set[bytes] = set()
        self._signals: set[bytes] = set()
        self._numbered = 0
        self._keep_fills = keep_fills
        self._fills: dict[date, list[Fill]] = {}
        self._settled: dict[date, dict[str, int]] = {}

    def knows_order(self, order_id: str) -> bool:
        return _digest(order_id) in self._orders

    def knows_signal(self, signal_id: str) -> bool:
        return _digest(signal_id) in self._signals

    def newest(self) -> Iterable[PaperOrder]:
        return ()

    def order(self, paper_order: PaperOrder) -> None:
        if paper_order.number:
            return
        self._numbered += 1
        paper_order.number = self._numbered
        self._orders.add(_digest(paper_order.order.order_id))
        self._signals.add(_digest(paper_order.order.signal_id))

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


@cache
def _empty_hash() -> Any:
    from hashlib import blake2b  # loads a library of several milliseconds: not before the first order

    return blake2b(digest_size=12)


def _digest(name: str) -> bytes:
    """Return twelve bytes that stand for `name`; two names share them with a probability of 2**-96."""
    hashed = _empty_hash().copy()
    hashed.update(name.encode("utf-8", "surrogatepass"))
    digest: bytes = hashed.digest()
    return digest


def made_id(why: str, *cause: object) -> str:
    """Return the id of an order that the broker makes for the reason `why`."""
    return f"{why}-{derive_id(why, *cause)}"


def is_made_by(why: str, fill: Fill) -> bool:
    """Return whether the broker made the order of `fill` for this reason."""
    return fill.order_id.startswith(f"{why}-")


def modified(order: Order, modify: Modify) -> Order:
    """Return `order` with the fields that `modify` gives; the others stay."""
    return replace(
        order,
        quantity=order.quantity if modify.quantity is None else modify.quantity,
        price=order.price if modify.price is None else modify.price,
        trigger_price=order.trigger_price if modify.trigger_price is None else modify.trigger_price,
        order_type=modify.order_type or order.order_type,
    )
