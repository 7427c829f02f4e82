"""Rows of the database of `--state` and what they stand for; `store` reads and writes them.

Rupees are TEXT, exact to the last digit; the views of `schema` cast them to numbers. Times are RFC 3339
TEXT in Indian time, so that they sort as they stand.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from alpha_cli.events import Fill, Order, Portfolio, encode
from alpha_cli.paper.ledger import Account, Holding, plain
from alpha_cli.paper.orders import PaperOrder, in_india

Row = dict[str, Any]

_ORDER_FIELDS = [field.name for field in msgspec.structs.fields(Order)]


def account_row(account: Account) -> Row:
    """The row of `account` itself, without its positions."""
    return {
        "broker": account.broker,
        "starting_cash": _text(account.starting_cash),
        "cash": _text(account.cash),
        "realised_pnl": _text(account.realised),
        "charges": _text(account.charges),
    }


def account_of(row: Row, positions: Iterable[Row]) -> Account:
    """The account of `row` and its `positions`. Raises `ArithmeticError` if an amount is not a number."""
    account = Account(
        row["broker"],
        Decimal(row["starting_cash"]),
        Decimal(row["cash"]),
        Decimal(row["realised_pnl"]),
        Decimal(row["charges"]),
    )
    for held in positions:
        account.positions[held["instrument_token"], held["product"]] = Holding(
            held["instrument_token"], held["product"], held["quantity"],
            Decimal(held["cost"]), Decimal(held["realised_pnl"]), Decimal(held["last_price"]),
        )  # fmt: skip
    return account


def position_row(broker: str, holding: Holding) -> Row:
    """The row of one position of `broker`'s account."""
    return {
        "broker": broker,
        "instrument_token": holding.instrument_token,
        "product": holding.product,
        "quantity": holding.quantity,
        "average_price": _text(holding.average_price),
        "cost": _text(holding.cost),
        "realised_pnl": _text(holding.realised),
        "last_price": _text(holding.last_price),
    }


def order_row(paper_order: PaperOrder) -> Row:
    """The row of an order: its event's fields, and what became of it."""
    order = paper_order.order
    row: Row = {name: getattr(order, name) for name in _ORDER_FIELDS}
    for name in ("price", "trigger_price", "reference_price"):
        row[name] = _text(row[name])
    return row | {
        "timestamp": _time(order.timestamp),
        "metadata": msgspec.json.encode(order.metadata, order="deterministic").decode(),
        "number": paper_order.number,
        "status": paper_order.status,
        "filled_quantity": paper_order.filled_quantity,
        "average_price": _text(paper_order.average_price),
        "message": paper_order.message,
        "arrived": _time(paper_order.arrived),
        "changed": _time(paper_order.changed),
        "modifications": paper_order.modifications,
    }


def order_of(row: Row) -> PaperOrder:
    """The open order on `row`, asleep. Raises ValueError, TypeError or `MsgspecError` if it was tampered with."""
    fields = {name: row[name] for name in _ORDER_FIELDS} | {
        "type": "order",
        "metadata": msgspec.json.decode(row["metadata"]),
    }
    return PaperOrder(
        order=msgspec.convert(fields, Order, strict=False),
        arrived=datetime.fromisoformat(row["arrived"]),
        changed=datetime.fromisoformat(row["changed"]),
        message=row["message"],
        modifications=row["modifications"],
        number=row["number"],
        asleep=True,
    )


def fill_row(fill: Fill) -> Row:
    """The row of a trade."""
    return {
        "fill_id": fill.fill_id,
        "order_id": fill.order_id,
        "broker": fill.broker,
        "strategy_id": fill.strategy_id,
        "instrument_token": fill.instrument_token,
        "product": fill.product,
        "side": fill.side,
        "quantity": fill.quantity,
        "price": _text(fill.price),
        "charges": _text(fill.charges["total"]),
        "timestamp": _time(fill.timestamp),
    }


def portfolio_row(portfolio: Portfolio) -> Row:
    """The row of a closing line, its positions as JSON."""
    on_the_wire = msgspec.json.decode(encode(portfolio), type=dict[str, msgspec.Raw])
    amounts = ("cash", "equity", "realised_pnl", "unrealised_pnl", "charges")
    return {
        "broker": portfolio.broker,
        "timestamp": _time(portfolio.timestamp),
        **{name: _text(getattr(portfolio, name)) for name in amounts},
        "positions": bytes(on_the_wire["positions"]).decode(),
    }


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(plain(value))


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else in_india(moment).isoformat()
