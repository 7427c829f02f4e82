"""The tables and views of a paper account's database, made to be read with sqlite-utils and Datasette.

`VERSION` is that of the tables below. Databases of other versions are refused: none was ever released.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite3 import Connection

#: "alPA", so that `file` and other stages recognise the database.
APPLICATION_ID = 0x616C5041
VERSION = 3

_ACCOUNT = 'TEXT NOT NULL REFERENCES "accounts"("broker")'

# Column -> its definition. Rupees are TEXT, exact; the views have them as numbers.
_ACCOUNTS: dict[str, str] = {
    "broker": "TEXT PRIMARY KEY NOT NULL",
    "starting_cash": "TEXT NOT NULL",
    "capital": "TEXT NOT NULL",  # starting cash and deposits
    "cash": "TEXT NOT NULL",
    "realised_pnl": "TEXT NOT NULL",
    "charges": "TEXT NOT NULL",
    "charges_by_name": "TEXT NOT NULL",  # JSON
}
_ORDERS: dict[str, str] = {
    "order_id": "TEXT PRIMARY KEY NOT NULL",
    "number": "INTEGER NOT NULL",
    "broker": _ACCOUNT,
    "signal_id": "TEXT NOT NULL",
    "strategy_id": "TEXT NOT NULL",
    "instrument_token": "INTEGER NOT NULL",
    "instrument": "TEXT NOT NULL",  # EXCHANGE:SYMBOL: tokens are used again
    "side": "TEXT NOT NULL",
    "quantity": "INTEGER NOT NULL",
    "order_type": "TEXT NOT NULL",
    "price": "TEXT",
    "trigger_price": "TEXT",
    "product": "TEXT NOT NULL",
    "validity": "TEXT NOT NULL",
    "status": "TEXT NOT NULL",
    "filled_quantity": "INTEGER NOT NULL",
    "average_price": "TEXT",
    "code": "TEXT",
    "message": "TEXT",
    "timestamp": "TEXT NOT NULL",
    "arrived": "TEXT NOT NULL",
    "effective": "TEXT NOT NULL",
    "changed": "TEXT NOT NULL",
    "met": "INTEGER NOT NULL",  # whether a tick has reached it at the exchange
    "modifications": "INTEGER NOT NULL",
    "modify_lines": "INTEGER NOT NULL",
    "reference_price": "TEXT",
    "parent_order_id": "TEXT",
    "limits_hash": "TEXT",
    "market_protection": "REAL",
    "confidence": "REAL",
    "metadata": "TEXT NOT NULL",
    "limit_price": "TEXT",  # the worst price it takes; of a MARKET order the protection price
    "waits_for": "TEXT",  # the trigger that was not reached yet
    "turnover": "TEXT NOT NULL",
    "fills": "INTEGER NOT NULL",
    "priority": "INTEGER NOT NULL",  # its place in time at the exchange
    "cancelled_from": "TEXT",  # when a cancellation under way arrives
    "cancel_reason": "TEXT",
    "made_by": "TEXT",
}
_FILLS: dict[str, str] = {
    "fill_id": "TEXT PRIMARY KEY NOT NULL",
    "order_id": 'TEXT NOT NULL REFERENCES "orders"("order_id")',
    "broker": _ACCOUNT,
    "strategy_id": "TEXT NOT NULL",
    "instrument_token": "INTEGER NOT NULL",
    "instrument": "TEXT NOT NULL",
    "product": "TEXT NOT NULL",
    "side": "TEXT NOT NULL",
    "quantity": "INTEGER NOT NULL",
    "price": "TEXT NOT NULL",
    "charges": "TEXT NOT NULL",
    "charges_by_name": "TEXT NOT NULL",  # JSON
    "timestamp": "TEXT NOT NULL",
}
_POSITIONS: dict[str, str] = {
    "broker": _ACCOUNT,
    "instrument_token": "INTEGER NOT NULL",
    "product": "TEXT NOT NULL",
    "instrument": "TEXT NOT NULL",
    "quantity": "INTEGER NOT NULL",
    "average_price": "TEXT NOT NULL",
    "cost": "TEXT NOT NULL",
    "realised_pnl": "TEXT NOT NULL",
    "last_price": "TEXT NOT NULL",
    "day": "INTEGER NOT NULL",  # of its last trade, a proleptic ordinal
    "overnight": "INTEGER NOT NULL",
    "delivered": "INTEGER NOT NULL",
}
_ENTRIES: dict[str, str] = {
    "id": "INTEGER PRIMARY KEY NOT NULL",
    "booking": "INTEGER NOT NULL",
    "broker": _ACCOUNT,
    "account": "TEXT NOT NULL",
    "amount": "INTEGER NOT NULL",  # ten-thousandths of a rupee
    "instrument_token": "INTEGER",
    "product": "TEXT",
    "cause": "TEXT NOT NULL",
    "timestamp": "TEXT",
}
_NOTES: dict[str, str] = {
    "id": "INTEGER PRIMARY KEY NOT NULL",
    "broker": _ACCOUNT,
    "date": "TEXT NOT NULL",
    "charges": "TEXT NOT NULL",
    "charges_by_name": "TEXT NOT NULL",  # JSON
    "adjustment": "TEXT NOT NULL",
    "adjusted": "TEXT NOT NULL",  # JSON, in ten-thousandths of a rupee
    "fills": "INTEGER NOT NULL",
    "timestamp": "TEXT",
}
_SPOTS: dict[str, str] = {  # newest prices that settle positions
    "broker": _ACCOUNT,
    "instrument_token": "INTEGER NOT NULL",
    "last_price": "TEXT NOT NULL",
    "timestamp": "TEXT NOT NULL",
}
_PORTFOLIOS: dict[str, str] = {
    "id": "INTEGER PRIMARY KEY NOT NULL",
    "broker": _ACCOUNT,
    "timestamp": "TEXT",
    "cash": "TEXT NOT NULL",
    "equity": "TEXT NOT NULL",
    "realised_pnl": "TEXT NOT NULL",
    "unrealised_pnl": "TEXT NOT NULL",
    "charges": "TEXT NOT NULL",
    "positions": "TEXT NOT NULL",
}

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


def create(db: Connection) -> None:
    """Make tables, indexes and views in an empty database."""
    _create_table(db, "accounts", _ACCOUNTS)
    _create_table(db, "orders", _ORDERS)
    _create_table(db, "fills", _FILLS)
    _create_table(db, "positions", _POSITIONS, ("broker", "instrument_token", "product"))
    _create_table(db, "portfolios", _PORTFOLIOS)
    _create_books(db)
    for table, columns in _INDEXES:
        _create_index(db, table, columns)
    for name, query in _VIEWS.items():
        db.execute(f'CREATE VIEW "{name}" AS {query}')


def _create_books(db: Connection) -> None:
    """Make the tables of the double-entry books."""
    _create_table(db, "entries", _ENTRIES)
    _create_table(db, "notes", _NOTES)
    _create_table(db, "spots", _SPOTS, ("broker", "instrument_token"))


def _create_table(db: Connection, name: str, columns: Mapping[str, str], key: tuple[str, ...] = ()) -> None:
    """Make the table, with `key` where the key is more than one column."""
    lines = [f'   "{column}" {definition}' for column, definition in columns.items()]
    if key:
        named = ", ".join(f'"{column}"' for column in key)
        lines.append(f"   PRIMARY KEY ({named})")
    db.execute(f'CREATE TABLE "{name}" (\n' + ",\n".join(lines) + "\n) STRICT")


def _create_index(db: Connection, table: str, columns: list[str]) -> None:
    named = ", ".join(f'"{column}"' for column in columns)
    db.execute(f'CREATE INDEX IF NOT EXISTS "idx_{table}_{"_".join(columns)}"\n    ON "{table}" ({named})')
