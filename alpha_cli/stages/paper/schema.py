"""The tables and views of a paper account's database, made to be read with sqlite-utils and Datasette.

`VERSION` is that of the tables below; `MIGRATIONS` brings an older database to it, a step at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlite_utils import Database

#: "alPA", so that `file` and other stages can tell whose database this is.
APPLICATION_ID = 0x616C5041
VERSION = 3

_ACCOUNTS: dict[str, Any] = {
    "broker": str,
    "starting_cash": str,
    "capital": str,  # starting cash and deposits
    "cash": str,
    "realised_pnl": str,
    "charges": str,
    "charges_by_name": str,  # JSON
}
_ORDERS: dict[str, Any] = {
    "order_id": str,
    "number": int,
    "broker": str,
    "signal_id": str,
    "strategy_id": str,
    "instrument_token": int,
    "instrument": str,  # EXCHANGE:SYMBOL: tokens are used again
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
    "code": str,
    "message": str,
    "timestamp": str,
    "arrived": str,
    "effective": str,
    "changed": str,
    "met": int,  # whether a tick has met it at the exchange
    "modifications": int,
    "modify_lines": int,
    "reference_price": str,
    "parent_order_id": str,
    "limits_hash": str,
    "market_protection": float,
    "confidence": float,
    "metadata": str,
    "limit_price": str,  # the worst it takes; of a MARKET order the protection price
    "waits_for": str,  # the trigger that was not met yet
    "turnover": str,
    "fills": int,
    "priority": int,  # its place in time at the exchange
    "cancelled_from": str,  # when a cancellation on its way arrives
    "cancel_reason": str,
    "made_by": str,
}
_FILLS: dict[str, Any] = {
    "fill_id": str,
    "order_id": str,
    "broker": str,
    "strategy_id": str,
    "instrument_token": int,
    "instrument": str,
    "product": str,
    "side": str,
    "quantity": int,
    "price": str,
    "charges": str,
    "charges_by_name": str,  # JSON
    "timestamp": str,
}
_POSITIONS: dict[str, Any] = {
    "broker": str,
    "instrument_token": int,
    "product": str,
    "instrument": str,
    "quantity": int,
    "average_price": str,
    "cost": str,
    "realised_pnl": str,
    "last_price": str,
    "day": int,  # of its last trade, a proleptic ordinal
    "overnight": int,
    "delivered": int,
}
_ENTRIES: dict[str, Any] = {
    "id": int,
    "booking": int,
    "broker": str,
    "account": str,
    "amount": int,  # ten-thousandths of a rupee
    "instrument_token": int,
    "product": str,
    "cause": str,
    "timestamp": str,
}
_NOTES: dict[str, Any] = {
    "id": int,
    "broker": str,
    "date": str,
    "charges": str,
    "charges_by_name": str,  # JSON
    "adjustment": str,
    "adjusted": str,  # JSON, in ten-thousandths of a rupee
    "fills": int,
    "timestamp": str,
}
_SPOTS: dict[str, Any] = {  # newest prices of what positions are settled by
    "broker": str,
    "instrument_token": int,
    "last_price": str,
    "timestamp": str,
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
        "code",
        "message",
        "reference_price",
        "parent_order_id",
        "limits_hash",
        "market_protection",
        "confidence",
        "limit_price",
        "waits_for",
        "cancelled_from",
        "cancel_reason",
        "made_by",
    }
)

_VIEWS: dict[str, str] = {
    "trades": """\
SELECT f.timestamp, f.strategy_id, f.instrument, f.instrument_token, f.product, f.side, f.quantity,
       CAST(f.price AS REAL) AS price, f.quantity * CAST(f.price AS REAL) AS value,
       CAST(f.charges AS REAL) AS charges, o.order_type, f.order_id, f.fill_id
FROM fills AS f JOIN orders AS o USING (order_id)""",
    "open_orders": """\
SELECT number, arrived, strategy_id, instrument, instrument_token, side, quantity, filled_quantity, status, order_type,
       CAST(price AS REAL) AS price, CAST(trigger_price AS REAL) AS trigger_price, product, validity, order_id
FROM orders WHERE status NOT IN ('COMPLETE', 'CANCELLED', 'REJECTED') ORDER BY number""",
    "open_positions": """\
SELECT instrument, instrument_token, product, quantity, CAST(average_price AS REAL) AS average_price,
       CAST(last_price AS REAL) AS last_price, CAST(realised_pnl AS REAL) AS realised_pnl,
       quantity * CAST(last_price AS REAL) - CAST(cost AS REAL) AS unrealised_pnl
FROM positions WHERE quantity <> 0""",
    "trial_balance": """\
SELECT broker, account, SUM(amount) / 10000.0 AS balance FROM entries GROUP BY broker, account""",
}

_INDEXES: tuple[tuple[str, list[str]], ...] = (
    ("orders", ["number"]),
    ("orders", ["signal_id"]),
    ("orders", ["status"]),
    ("fills", ["order_id"]),
    ("fills", ["instrument_token", "timestamp"]),
    ("fills", ["timestamp"]),
    ("portfolios", ["timestamp"]),
    ("entries", ["account"]),
    ("notes", ["date"]),
)


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
    _create_books(db)
    for table, columns in _INDEXES:
        db.table(table).create_index(columns)
    for name, query in _VIEWS.items():
        db.create_view(name, query)


def _create_books(db: Database) -> None:
    """The tables that came with version 2."""
    broker = ("broker", "accounts", "broker")
    nullable = {"instrument_token", "product", "timestamp"}
    db.table("entries").create(
        _ENTRIES, pk="id", foreign_keys=[broker], not_null=_ENTRIES.keys() - nullable, strict=True
    )
    db.table("notes").create(
        _NOTES, pk="id", foreign_keys=[broker], not_null=_NOTES.keys() - {"timestamp"}, strict=True
    )
    db.table("spots").create(
        _SPOTS, pk=("broker", "instrument_token"), foreign_keys=[broker], not_null=set(_SPOTS), strict=True
    )


def _to_2(db: Database) -> None:
    """Double entry, instruments by name, stops, notes: everything that version 1 did not have.

    Its books become one booking for each account; what it traded was without charges, as NSE equity.
    """
    for table, columns in {
        "accounts": {"capital": "TEXT NOT NULL DEFAULT '0'", "charges_by_name": "TEXT NOT NULL DEFAULT '{}'"},
        "orders": {
            "instrument": "TEXT NOT NULL DEFAULT ''",
            "code": "TEXT",
            "effective": "TEXT NOT NULL DEFAULT ''",
            "met": "INTEGER NOT NULL DEFAULT 1",
            "modify_lines": "INTEGER NOT NULL DEFAULT 0",
            "limit_price": "TEXT",
            "waits_for": "TEXT",
            "turnover": "TEXT NOT NULL DEFAULT '0'",
            "fills": "INTEGER NOT NULL DEFAULT 0",
            "priority": "INTEGER NOT NULL DEFAULT 0",
            "cancelled_from": "TEXT",
            "cancel_reason": "TEXT",
            "made_by": "TEXT",
        },
        "fills": {"instrument": "TEXT NOT NULL DEFAULT ''", "charges_by_name": "TEXT NOT NULL DEFAULT '{}'"},
        "positions": {
            "instrument": "TEXT NOT NULL DEFAULT ''",
            "day": "INTEGER NOT NULL DEFAULT 0",
            "overnight": "INTEGER NOT NULL DEFAULT 0",
            "delivered": "INTEGER NOT NULL DEFAULT 0",
        },
    }.items():
        for name, kind in columns.items():
            db.conn.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")
    for table in ("orders", "fills", "positions"):
        db.conn.execute(f"UPDATE {table} SET instrument = 'NSE:' || instrument_token")  # noqa: S608
    db.conn.execute("UPDATE accounts SET capital = starting_cash")
    db.conn.execute("UPDATE orders SET effective = timestamp, limit_price = price WHERE order_type = 'LIMIT'")
    db.conn.execute("UPDATE orders SET effective = timestamp WHERE effective = ''")
    db.conn.execute("UPDATE orders SET modify_lines = modifications, priority = number")
    db.conn.execute("UPDATE orders SET fills = 1 WHERE filled_quantity > 0")
    for broker, token, product, quantity, last in db.conn.execute(
        "SELECT p.broker, p.instrument_token, p.product, p.quantity, max(substr(f.timestamp, 1, 10)) "
        "FROM positions AS p JOIN fills AS f USING (broker, instrument_token, product) GROUP BY 1, 2, 3"
    ).fetchall():
        traded = db.conn.execute(
            "SELECT sum(CASE side WHEN 'BUY' THEN quantity ELSE -quantity END) FROM fills WHERE broker = ? "
            "AND instrument_token = ? AND product = ? AND substr(timestamp, 1, 10) = ?",
            [broker, token, product, last],
        ).fetchone()[0]
        db.conn.execute(
            "UPDATE positions SET day = ?, overnight = ? WHERE broker = ? AND instrument_token = ? AND product = ?",
            [date.fromisoformat(last).toordinal(), quantity - traded, broker, token, product],
        )
    for order_id, quantity, price in db.conn.execute(
        "SELECT order_id, filled_quantity, average_price FROM orders WHERE filled_quantity > 0"
    ).fetchall():
        db.conn.execute(
            "UPDATE orders SET turnover = ? WHERE order_id = ?",
            [str(int(Decimal(price) * 10_000) * quantity), order_id],
        )
    _create_books(db)
    for number, (broker, capital, cash, realised) in enumerate(
        db.conn.execute("SELECT broker, capital, cash, realised_pnl FROM accounts").fetchall(), 1
    ):
        costs = db.conn.execute("SELECT cost FROM positions WHERE broker = ?", [broker]).fetchall()
        for account, amount in (
            ("capital", -Decimal(capital)),
            ("cash", Decimal(cash)),
            ("realised", -Decimal(realised)),
            ("positions", sum((Decimal(cost) for (cost,) in costs), Decimal(0))),
        ):
            db.table("entries").insert(
                {
                    "booking": number, "broker": broker, "account": account, "amount": int(amount * 10_000),
                    "instrument_token": None, "product": None, "cause": "migrated", "timestamp": None,
                }
            )  # fmt: skip
    for table, columns_of in _INDEXES:
        db.table(table).create_index(columns_of, if_not_exists=True)
    for name, query in _VIEWS.items():
        db.create_view(name, query, replace=True)


def _to_3(db: Database) -> None:
    """Orders that name the band of their MARKET order."""
    db.conn.execute("ALTER TABLE orders ADD COLUMN market_protection REAL")


#: version -> how to come to the next.
MIGRATIONS: Mapping[int, Callable[[Database], None]] = {1: _to_2, 2: _to_3}
