"""What risk remembers from one run to the next: `DIR/risk.db`, written once a batch before any output.

Readable with ordinary tools: `scopes` and `orders` hold one JSON object per row (`counters`); `standings` is what is
stopped and why; `limits` is which limits applied when, and who acknowledged looser ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec

from alpha_cli.core.errors import InvariantBroken
from alpha_cli.core.events import BROKERS
from alpha_cli.stages.risk.codes import Code
from alpha_cli.stages.risk.counters import ExposureScope, OpenOrder, ScopeKey
from alpha_cli.stages.risk.exposure import ExposureLedger
from alpha_cli.stages.risk.journal import Repeated, SignalBody
from alpha_cli.stages.risk.trading_state import HaltKey, LatchedStates, TradingState
from alpha_cli.storage.folder import State
from alpha_cli.storage.sqlite import TO_READ, connect, sqlite_errors, transaction

if TYPE_CHECKING:
    from sqlite3 import Connection

APPLICATION_ID = 0x616C5249  # alRI
_SCHEMA_VERSION = 1

_encode = msgspec.json.Encoder().encode
_TABLES = (
    "CREATE TABLE scopes (broker TEXT NOT NULL, strategy TEXT NOT NULL, instrument TEXT NOT NULL, "
    "kind INTEGER NOT NULL, counts TEXT NOT NULL, PRIMARY KEY (broker, strategy, instrument, kind)) STRICT",
    "CREATE TABLE orders (order_id TEXT PRIMARY KEY, broker TEXT NOT NULL, strategy TEXT NOT NULL, "
    "instrument_token INTEGER NOT NULL, counts TEXT NOT NULL) STRICT",
    "CREATE TABLE signals (signal_id TEXT PRIMARY KEY, body INTEGER NOT NULL) STRICT",
    "CREATE TABLE fills (fill_id TEXT PRIMARY KEY) STRICT",
    "CREATE TABLE standings (broker TEXT NOT NULL, strategy TEXT NOT NULL, state TEXT NOT NULL, code TEXT NOT NULL, "
    "reason TEXT NOT NULL, since TEXT, standing TEXT NOT NULL, PRIMARY KEY (broker, strategy)) STRICT",
    "CREATE TABLE halts (origin TEXT NOT NULL, target TEXT NOT NULL, reason TEXT NOT NULL, "
    "PRIMARY KEY (origin, target)) STRICT",
    "CREATE TABLE limits (id INTEGER PRIMARY KEY, hash TEXT NOT NULL, at TEXT NOT NULL, by TEXT NOT NULL, "
    "changes TEXT NOT NULL, file TEXT NOT NULL) STRICT",
    "CREATE TABLE known (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
)
_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError)


class Store:
    """The journal of one risk stage in `folder`, under the name that `--as` gave. Raises what `State` raises.

    requests_offset   bytes of the folder's list of requests that were carried out
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._state = State(folder, name)
        self.path = folder / f"{name}.db"
        try:
            self._db = self._state.database(APPLICATION_ID, _SCHEMA_VERSION, _create)
            with sqlite_errors(self.path):
                self._read()
        except BaseException:
            self._state.close()
            raise
        self._signals: dict[str, SignalBody] = {}
        self._fills: dict[str, None] = {}

    # --- reading -----------------------------------------------------------------------------

    def _read(self) -> None:
        rows = self._db.execute
        known = dict(rows("SELECT name, value FROM known").fetchall())
        try:
            self.day = date.fromisoformat(known["day"]) if "day" in known else None
            self.requests_offset: int | None = int(known["heard"]) if "heard" in known else None
            self.ledger = ExposureLedger(
                scopes={
                    _scope_key(*key): msgspec.json.decode(counts, type=ExposureScope)
                    for *key, counts in rows("SELECT broker, strategy, instrument, kind, counts FROM scopes").fetchall()
                },
                orders={
                    order_id: msgspec.json.decode(counts, type=OpenOrder)
                    for order_id, counts in rows("SELECT order_id, counts FROM orders ORDER BY rowid").fetchall()
                },
            )
            self.ledger.funds = msgspec.json.decode(known.get("funds", "{}"), type=dict[str, int])
            self.ledger.stated = msgspec.json.decode(known.get("stated", "{}"), type=dict[str, int])
            kept = rows("SELECT standing FROM standings ORDER BY broker, strategy").fetchall()
            found = [msgspec.json.decode(text, type=TradingState) for (text,) in kept]
        except _UNREADABLE as error:
            raise InvariantBroken(
                f"{self.path}: the stored state cannot be read: {error}; restore a backup or use another --state folder"
            ) from None
        self.latched = LatchedStates({(one.broker, one.strategy_id): one for one in found})
        halts = rows("SELECT origin, target, reason FROM halts").fetchall()
        self.halted: dict[HaltKey, str] = {(origin, target): why for origin, target, why in halts}
        self._written = (_known(self), dict(self.latched.states), dict(self.halted))

    def record_signal(self, signal_id: str, body: SignalBody) -> Repeated | None:
        known: SignalBody | None = self._signals.get(signal_id)
        if known is not None:
            return "same" if known == body else "other"
        with sqlite_errors(self.path):
            row = self._db.execute("SELECT body FROM signals WHERE signal_id = ?", [signal_id]).fetchone()
        if row is not None:
            return "same" if row[0] == _body(body) else "other"
        self._signals[signal_id] = body
        return None

    def record_fill(self, fill_id: str) -> bool:
        if fill_id in self._fills:
            return True
        with sqlite_errors(self.path):
            if self._db.execute("SELECT 1 FROM fills WHERE fill_id = ?", [fill_id]).fetchone() is not None:
                return True
        self._fills[fill_id] = None
        return False

    # --- writing -----------------------------------------------------------------------------

    def commit(self, ledger: ExposureLedger, latched: LatchedStates, halts: dict[HaltKey, str]) -> None:
        """Write what changed since the last call in one transaction; nothing if nothing did."""
        now = (_known(self), latched.states, halts)
        changed_scopes, changed_orders = ledger.take_changes()
        if not (changed_scopes or changed_orders or self._signals or self._fills) and now == self._written:
            return
        with sqlite_errors(self.path), transaction(self._db):
            self._write_ledger(ledger, changed_scopes, changed_orders)
            self._write(latched, halts)
        self._written = (now[0], dict(latched.states), dict(halts))
        self._signals.clear()
        self._fills.clear()

    def _write_ledger(self, ledger: ExposureLedger, changed_scopes: list[ScopeKey], changed_orders: set[str]) -> None:
        many = self._db.executemany
        scopes = ((*_columns(key), _encode(ledger.scopes[key]).decode()) for key in changed_scopes)
        many("INSERT OR REPLACE INTO scopes VALUES (?, ?, ?, ?, ?)", scopes)
        gone = sorted(changed_orders - ledger.orders.keys())
        many("DELETE FROM orders WHERE order_id = ?", [(order_id,) for order_id in gone])
        changed = [ledger.orders[order_id] for order_id in sorted(changed_orders & ledger.orders.keys())]
        changed.sort(key=lambda order: order.entered)
        many(
            "INSERT INTO orders VALUES (?, ?, ?, ?, ?) ON CONFLICT (order_id) DO UPDATE SET counts = excluded.counts",
            [
                (order.order_id, order.broker, order.strategy_id, order.token, _encode(order).decode())
                for order in changed
            ],
        )

    def _write(self, latched: LatchedStates, halts: dict[HaltKey, str]) -> None:
        many = self._db.executemany
        many("INSERT INTO signals VALUES (?, ?)", [(name, _body(body)) for name, body in self._signals.items()])
        many("INSERT INTO fills VALUES (?)", [(fill_id,) for fill_id in self._fills])
        known, kept, halted = self._written
        if known != _known(self):
            many("INSERT OR REPLACE INTO known VALUES (?, ?)", _known(self).items())
        if kept != latched.states:
            self._db.execute("DELETE FROM standings")
            many("INSERT INTO standings VALUES (?, ?, ?, ?, ?, ?, ?)", map(_standing_row, latched.states.values()))
        if halted != halts:
            self._db.execute("DELETE FROM halts")
            many("INSERT INTO halts VALUES (?, ?, ?)", ((*key, why) for key, why in halts.items()))

    def release(self) -> None:
        """Close the database and release the lock."""
        self._state.close()

    # --- limits ------------------------------------------------------------------------------

    def limits(self) -> str | None:
        """Return the limits of the last run as JSON; None before the first."""
        with sqlite_errors(self.path):
            row = self._db.execute("SELECT file FROM limits ORDER BY id DESC LIMIT 1").fetchone()
        return None if row is None else str(row[0])

    def note_limits(self, *, name: str, file: str, at: datetime, by: str, changes: Iterable[str]) -> None:
        """Store the limits `file`, who put them into force and when, and what changed."""
        with sqlite_errors(self.path), transaction(self._db):
            self._db.execute(
                "INSERT INTO limits (hash, at, by, changes, file) VALUES (?, ?, ?, ?, ?)",
                [name, at.isoformat(timespec="seconds"), by, "\n".join(changes), file],
            )


def _create(db: Connection) -> None:
    for table in _TABLES:
        db.execute(table)


def _body(body: SignalBody) -> int:
    """Return a checksum that distinguishes a signal from another with its id."""
    return crc32(repr(body).encode())


def _known(store: Store) -> dict[str, str]:
    """Return the rows of the table `known`: single values."""
    known = {
        "funds": _encode(store.ledger.funds).decode(),
        "stated": _encode(store.ledger.stated).decode(),
    }
    if store.day is not None:
        known["day"] = store.day.isoformat()
    if store.requests_offset is not None:
        known["heard"] = str(store.requests_offset)
    return known


def _standing_row(one: TradingState) -> tuple[Any, ...]:
    since = None if one.since is None else one.since.isoformat()
    return one.broker, one.strategy_id, one.state, one.code, one.reason, since, _encode(one).decode()


def _columns(key: ScopeKey) -> tuple[str, str, str, int]:
    """Return a scope's key as columns; `kind` is the number of its parts."""
    broker, strategy, instrument = (*key, "", "")[:3]
    return broker, strategy, instrument, len(key)


def _scope_key(broker: str, strategy: str, instrument: str, kind: int) -> ScopeKey:
    return (broker, strategy, instrument)[:kind]


def trading_states_in(path: Path) -> list[TradingState]:
    """Return what is stopped according to the risk database at `path`; see `stopped_in`."""
    return stopped_in(path)[0]


def stopped_in(path: Path) -> tuple[list[TradingState], int | None]:
    """Return what is stopped, by a control or by a `control` event, and the bytes of requests carried out.

    The risk database at `path` is only read: another process may be writing it. Returns nothing for a database of
    another stage. Raises `AlphaError` if it cannot be read.
    """
    with sqlite_errors(path, TO_READ):
        connection = connect(path, "ro", patience=1)
        try:
            (found,) = connection.execute("PRAGMA application_id").fetchone()
            if found != APPLICATION_ID:
                return [], None
            rows = connection.execute("SELECT standing FROM standings ORDER BY broker, strategy").fetchall()
            halts = connection.execute(
                "SELECT target, reason FROM halts WHERE origin <> 'file' ORDER BY target"
            ).fetchall()
            heard = connection.execute("SELECT value FROM known WHERE name = 'heard'").fetchone()
        finally:
            connection.close()
    stopped = [msgspec.json.decode(text, type=TradingState) for (text,) in rows] + [
        TradingState(target or "all", "", "HALTED", Code.TRADING_HALTED, why)
        if target in {"", *BROKERS}
        else TradingState("all", target, "HALTED", Code.STRATEGY_HALTED, why)
        for target, why in halts
    ]
    return stopped, int(heard[0]) if heard is not None and str(heard[0]).isdecimal() else None
