"""An order as the simulated broker sees it, and where its life is written down.

`engine` changes these and tells a `Journal`. Without `--state` that is `Memory`, which only knows what
was applied; with it, `store.Store`.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from alpha_cli.events import IST, Fill, Modify, Order, OrderUpdate, Portfolio
from alpha_cli.paper.ledger import Account

OPEN = "OPEN"
COMPLETE = "COMPLETE"
CANCELLED = "CANCELLED"
REJECTED = "REJECTED"


class PaperOrder(Struct):
    """An order and what became of it.

    arrived        event time of its arrival: the newest tick's, of whatever instrument
    changed        event time of its arrival or last modification
    modifications  how often it was modified
    number         its place among all orders of the account; the journal gives it
    asleep         read back from a journal and not yet caught up with: see `engine`
    replayed       modifications of it met since its own line came again; None until that line comes
    """

    order: Order
    arrived: datetime
    changed: datetime
    status: str = OPEN
    filled_quantity: int = 0
    average_price: Decimal | None = None  # rupees a unit
    message: str | None = None
    modifications: int = 0
    number: int = 0
    asleep: bool = False
    replayed: int | None = None

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
            pending_quantity=order.quantity - self.filled_quantity if self.status == OPEN else 0,
            average_price=self.average_price,
            message=self.message,
            timestamp=timestamp,
        )


class Journal(Protocol):
    """Remembers what was applied, and what changed by it."""

    def knows_order(self, order_id: str) -> bool:
        """Whether an order of this id was applied before, in this run or an earlier one."""

    def knows_signal(self, signal_id: str) -> bool:
        """Whether an order for this signal was applied before."""

    def order(self, paper_order: PaperOrder) -> None:
        """`paper_order` is new or has changed."""

    def fill(self, fill: Fill, account: Account) -> None:
        """`fill` was entered into `account`."""

    def portfolio(self, portfolio: Portfolio, account: Account) -> None:
        """A session closed with `portfolio`."""

    def commit(self) -> None:
        """Make durable what it was told."""

    def release(self) -> None:
        """Let go of files and locks."""


class Memory:
    """The journal of a run that keeps nothing: the ids that were applied."""

    def __init__(self) -> None:
        # Only the keys count: a dict of thousands of ids takes half the memory of a set of them.
        self._orders: dict[str, None] = {}
        self._signals: dict[str, None] = {}

    def knows_order(self, order_id: str) -> bool:
        return order_id in self._orders

    def knows_signal(self, signal_id: str) -> bool:
        return signal_id in self._signals

    def order(self, paper_order: PaperOrder) -> None:
        self._orders[paper_order.order.order_id] = None
        self._signals[paper_order.order.signal_id] = None

    def fill(self, fill: Fill, account: Account) -> None:
        del fill, account

    def portfolio(self, portfolio: Portfolio, account: Account) -> None:
        del portfolio, account

    def commit(self) -> None:
        pass

    def release(self) -> None:
        pass


def in_india(moment: datetime) -> datetime:
    """`moment` in Indian time; as it is at either end of the calendar, where that time has no name."""
    try:
        return moment.astimezone(IST)
    except OverflowError:
        return moment


def reaches(order: Order, last: Decimal) -> bool:
    """Whether a trade at `last` rupees is at or through what the order asks for."""
    if order.order_type != "LIMIT" or order.price is None:
        return True
    return last <= order.price if order.side == "BUY" else last >= order.price


def fault_of(modify: Modify) -> str | None:
    """What is wrong with a modification, from its own fields alone, or None."""
    if modify.order_type in {"SL", "SL-M"} or modify.trigger_price is not None:
        return "SL and SL-M orders are not simulated yet"
    if modify.quantity is not None and modify.quantity <= 0:
        return f"quantity {modify.quantity} is not above 0"
    if modify.price is not None and modify.price <= 0:
        return f"price {modify.price} is not above 0"
    return None


def modified(order: Order, modify: Modify) -> Order:
    """`order` with what `modify` gives; what is absent stays."""
    return replace(
        order,
        quantity=order.quantity if modify.quantity is None else modify.quantity,
        price=order.price if modify.price is None else modify.price,
        order_type=modify.order_type or order.order_type,
    )
