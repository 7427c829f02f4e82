"""The tables and views of a paper account's database, made to be read with sqlite-utils and Datasette."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlite_utils import Database

#: "alPA", so that `file` and other stages can tell whose database this is.
APPLICATION_ID = 0x616C5041
VERSION = 1

_ACCOUNTS: dict[str, Any] = {
    "broker": str,
    "starting_cash": str,
    "cash": str,
    "realised_pnl": str,
    "charges": str,
}
_ORDERS: dict[str, Any] = {
    "order_id": str,
    "number": int,
    "broker": str,
    "signal_id": str,
    "strategy_id": str,
    "instrument_token": int,
    "side": str,
    "quantity": int,
    "order_type": str,
    "price": str,
    "trigger_price": str,
    "product": str,
    "validity": str,
    "status": str,
    "filled_quantity": int,
    "average_price": str,
    "message": str,
    "timestamp": str,
    "arrived": str,
    "changed": str,
    "modifications": int,
    "reference_price": str,
    "parent_order_id": str,
    "limits_hash": str,
    "confidence": float,
    "metadata": str,
}
_FILLS: dict[str, Any] = {
    "fill_id": str,
    "order_id": str,
    "broker": str,
    "strategy_id": str,
    "instrument_token": int,
    "product": str,
    "side": str,
    "quantity": int,
    "price": str,
    "charges": str,
    "timestamp": str,
}
_POSITIONS: dict[str, Any] = {
    "broker": str,
    "instrument_token": int,
    "product": str,
    "quantity": int,
    "average_price": str,
    "cost": str,
    "realised_pnl": str,
    "last_price": str,
}
_PORTFOLIOS: dict[str, Any] = {
    "id": int,
    "broker": str,
    "timestamp": str,
    "cash": str,
    "equity": str,
    "realised_pnl": str,
    "unrealised_pnl": str,
    "charges": str,
    "positions": str,
}

_MAY_BE_NULL = frozenset(
    {
        "price",
        "trigger_price",
        "average_price",
        "message",
        "reference_price",
        "parent_order_id",
        "limits_hash",
        "confidence",
    }
)

_TRADES = """\
SELECT f.timestamp, f.strategy_id, f.instrument_token, f.product, f.side, f.quantity,
       CAST(f.price AS REAL) AS price, f.quantity * CAST(f.price AS REAL) AS value,
       CAST(f.charges AS REAL) AS charges, o.order_type, f.order_id, f.fill_id
FROM fills AS f JOIN orders AS o USING (order_id)"""
_OPEN_ORDERS = """\
SELECT number, arrived, strategy_id, instrument_token, side, quantity, order_type,
       CAST(price AS REAL) AS price, product, validity, order_id
FROM orders WHERE status = 'OPEN' ORDER BY number"""
_HOLDINGS = """\
SELECT instrument_token, product, quantity, CAST(average_price AS REAL) AS average_price,
       CAST(last_price AS REAL) AS last_price, CAST(realised_pnl AS REAL) AS realised_pnl,
       quantity * CAST(last_price AS REAL) - CAST(cost AS REAL) AS unrealised_pnl
FROM positions WHERE quantity <> 0"""


def create(db: Database) -> None:
    """Make tables, indexes and views in an empty database."""
    broker = ("broker", "accounts", "broker")
    db.table("accounts").create(_ACCOUNTS, pk="broker", not_null=set(_ACCOUNTS), strict=True)
    db.table("orders").create(
        _ORDERS, pk="order_id", foreign_keys=[broker], not_null=_ORDERS.keys() - _MAY_BE_NULL, strict=True
    )
    db.table("fills").create(
        _FILLS,
        pk="fill_id",
        foreign_keys=[broker, ("order_id", "orders", "order_id")],
        not_null=set(_FILLS),
        strict=True,
    )
    db.table("positions").create(
        _POSITIONS,
        pk=("broker", "instrument_token", "product"),
        foreign_keys=[broker],
        not_null=set(_POSITIONS),
        strict=True,
    )
    db.table("portfolios").create(
        _PORTFOLIOS, pk="id", foreign_keys=[broker], not_null=_PORTFOLIOS.keys() - {"timestamp"}, strict=True
    )
    for table, columns in (
        ("orders", ["number"]),
        ("orders", ["signal_id"]),
        ("orders", ["status"]),
        ("fills", ["order_id"]),
        ("fills", ["instrument_token", "timestamp"]),
        ("fills", ["timestamp"]),
        ("portfolios", ["timestamp"]),
    ):
        db.table(table).create_index(columns)
    db.create_view("trades", _TRADES)
    db.create_view("open_orders", _OPEN_ORDERS)
    db.create_view("open_positions", _HOLDINGS)
