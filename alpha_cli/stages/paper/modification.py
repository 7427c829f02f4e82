"""Modifications: whether an order may become what a `modify` asks for, and how it becomes that."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from alpha_cli.core.events import Modify, Order, OrderType
from alpha_cli.core.order_states import OPEN, TRIGGER_PENDING
from alpha_cli.core.times import later
from alpha_cli.stages.paper.codes import MOST_REASON
from alpha_cli.stages.paper.desk import Desk
from alpha_cli.stages.paper.orders import PaperOrder, modified

#: What a new price makes of an order that has a limit: one that was protected is a plain LIMIT at the exchange.
_PLAIN: dict[OrderType, OrderType | None] = {"MARKET": "LIMIT", "SL-M": "LIMIT", "LIMIT": None, "SL": None}


def with_type(working: PaperOrder, modify: Modify) -> Modify:
    """Return `modify` with the order type that a new price implies."""
    if working.limit is not None and modify.price is not None and modify.order_type is None:
        return replace(modify, order_type=_PLAIN[working.order.order_type])
    return modify


def what_if(working: PaperOrder, modify: Modify, asked: datetime) -> PaperOrder:
    """Return the order that `modify` would make of `working`, for the rules to check."""
    order = modified(working.order, modify)
    if working.trigger is None and order.order_type in {"SL", "SL-M"} and modify.order_type is None:
        order = _triggered(order)
    changed = PaperOrder.of(order, arrived=working.arrived, effective=asked)
    changed.filled_quantity = working.filled_quantity
    return changed


def _triggered(order: Order) -> Order:
    """Return a stop whose trigger was reached as the plain order that it is now."""
    return replace(order, order_type="LIMIT" if order.order_type == "SL" else "MARKET", trigger_price=None)


def apply(working: PaperOrder, modify: Modify, asked: datetime, *, latency: timedelta, desk: Desk) -> None:
    """Change `working`, which is awake, as `modify` of the time `asked` wants it."""
    was_triggered, limit = working.is_triggered_stop, working.limit
    working.order = modified(working.order, modify)
    working.take_prices()
    if was_triggered and modify.order_type is None:
        working.trigger = None
    if working.limit is None and modify.order_type is None:
        working.limit = limit  # the protection price stays
    working.modifications += 1
    working.changed = asked
    working.effective = max(working.effective, later(asked, latency))  # never before the order itself
    working.code, working.message = None, (modify.reason or "modified")[:MOST_REASON]
    if working.trigger is None and working.status == TRIGGER_PENDING:
        working.set_status(OPEN)
    desk.update_margin(working)
