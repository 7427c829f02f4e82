"""What risk remembers from one run to the next: `DIR/risk.db`, written once a batch before anything is said.

Readable with ordinary tools: `scopes` and `orders` hold one JSON object a row, as `books` has them; `standings` says
what is stopped and why, `limits` which limits held when, and who let looser ones in.
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
from alpha_cli.stages.risk.counters import Entry, Scope, ScopeKey
from alpha_cli.stages.risk.exposure import Books
from alpha_cli.stages.risk.journal import Body, Repeated
from alpha_cli.stages.risk.trading_state import Key, Standing, Standings
from alpha_cli.storage.folder import State
from alpha_cli.storage.sqlite import sqlite_errors, transaction

if TYPE_CHECKING:
    from sqlite_utils import Database

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

    heard   how much of the folder's list of requests was acted on, in bytes
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
        self._signals: dict[str, Body] = {}
        self._fills: dict[str, None] = {}

    # --- what was kept -----------------------------------------------------------------------

    def _read(self) -> None:
        rows = self._db.execute
        known = dict(rows("SELECT name, value FROM known").fetchall())
        try:
            self.day = date.fromisoformat(known["day"]) if "day" in known else None
            self.heard: int | None = int(known["heard"]) if "heard" in known else None
            self.books = Books(
                scopes={
                    _scope_key(*key): msgspec.json.decode(counts, type=Scope)
                    for *key, counts in rows("SELECT broker, strategy, instrument, kind, counts FROM scopes").fetchall()
                },
                entries={
                    order_id: msgspec.json.decode(counts, type=Entry)
                    for order_id, counts in rows("SELECT order_id, counts FROM orders ORDER BY rowid").fetchall()
                },
            )
            self.books.funds = msgspec.json.decode(known.get("funds", "{}"), type=dict[str, int])
            self.books.stated = msgspec.json.decode(known.get("stated", "{}"), type=dict[str, int])
            kept = rows("SELECT standing FROM standings ORDER BY broker, strategy").fetchall()
            found = [msgspec.json.decode(text, type=Standing) for (text,) in kept]
        except _UNREADABLE as error:
            raise InvariantBroken(
                f"{self.path}: what was kept cannot be read: {error}; restore a backup or name another --state folder"
            ) from None
        self.standings = Standings({(one.broker, one.strategy_id): one for one in found})
        halts = rows("SELECT origin, target, reason FROM halts").fetchall()
        self.halts: dict[Key, str] = {(origin, target): why for origin, target, why in halts}
        self._written = (_known(self), dict(self.standings.kept), dict(self.halts))

    def decided(self, signal_id: str, body: Body) -> Repeated | None:
        known: Body | None = self._signals.get(signal_id)
        if known is not None:
            return "same" if known == body else "other"
        with sqlite_errors(self.path):
            row = self._db.conn.execute("SELECT body FROM signals WHERE signal_id = ?", [signal_id]).fetchone()
        if row is not None:
            return "same" if row[0] == _body(body) else "other"
        self._signals[signal_id] = body
        return None

    def booked(self, fill_id: str) -> bool:
        if fill_id in self._fills:
            return True
        with sqlite_errors(self.path):
            if self._db.conn.execute("SELECT 1 FROM fills WHERE fill_id = ?", [fill_id]).fetchone() is not None:
                return True
        self._fills[fill_id] = None
        return False

    # --- keeping -----------------------------------------------------------------------------

    def commit(self, books: Books, standings: Standings, halts: dict[Key, str]) -> None:
        """Write what changed since the last time, all or nothing; nothing if nothing did."""
        now = (_known(self), standings.kept, halts)
        changed_scopes, changed_entries = books.changes()
        if not (changed_scopes or changed_entries or self._signals or self._fills) and now == self._written:
            return
        with sqlite_errors(self.path), transaction(self._db):
            self._write_books(books, changed_scopes, changed_entries)
            self._write(standings, halts)
        self._written = (now[0], dict(standings.kept), dict(halts))
        self._signals.clear()
        self._fills.clear()

    def _write_books(self, books: Books, changed_scopes: list[ScopeKey], changed_entries: set[str]) -> None:
        many = self._db.conn.executemany
        scopes = ((*_columns(key), _encode(books.scopes[key]).decode()) for key in changed_scopes)
        many("INSERT OR REPLACE INTO scopes VALUES (?, ?, ?, ?, ?)", scopes)
        gone = sorted(changed_entries - books.entries.keys())
        many("DELETE FROM orders WHERE order_id = ?", [(order_id,) for order_id in gone])
        changed = [books.entries[order_id] for order_id in sorted(changed_entries & books.entries.keys())]
        changed.sort(key=lambda entry: entry.entered)
        many(
            "INSERT INTO orders VALUES (?, ?, ?, ?, ?) ON CONFLICT (order_id) DO UPDATE SET counts = excluded.counts",
            [(one.order_id, one.broker, one.strategy_id, one.token, _encode(one).decode()) for one in changed],
        )

    def _write(self, standings: Standings, halts: dict[Key, str]) -> None:
        many = self._db.conn.executemany
        many("INSERT INTO signals VALUES (?, ?)", [(name, _body(body)) for name, body in self._signals.items()])
        many("INSERT INTO fills VALUES (?)", [(fill_id,) for fill_id in self._fills])
        known, kept, halted = self._written
        if known != _known(self):
            many("INSERT OR REPLACE INTO known VALUES (?, ?)", _known(self).items())
        if kept != standings.kept:
            self._db.execute("DELETE FROM standings")
            many("INSERT INTO standings VALUES (?, ?, ?, ?, ?, ?, ?)", map(_standing_row, standings.kept.values()))
        if halted != halts:
            self._db.execute("DELETE FROM halts")
            many("INSERT INTO halts VALUES (?, ?, ?)", ((*key, why) for key, why in halts.items()))

    def release(self) -> None:
        """Let go of database and lock."""
        self._state.close()

    # --- limits ------------------------------------------------------------------------------

    def limits(self) -> str | None:
        """The limits that held last, as JSON; None before the first time."""
        with sqlite_errors(self.path):
            row = self._db.execute("SELECT file FROM limits ORDER BY id DESC LIMIT 1").fetchone()
        return None if row is None else str(row[0])

    def note_limits(self, *, name: str, file: str, at: datetime, by: str, changes: Iterable[str]) -> None:
        """From now on the limits `file` hold; who put them into force, when, and what is different."""
        with sqlite_errors(self.path), transaction(self._db):
            self._db.execute(
                "INSERT INTO limits (hash, at, by, changes, file) VALUES (?, ?, ?, ?, ?)",
                [name, at.isoformat(timespec="seconds"), by, "\n".join(changes), file],
            )


def _create(db: Database) -> None:
    for table in _TABLES:
        db.execute(table)


def _body(body: Body) -> int:
    """A number that tells a signal from another with its id."""
    return crc32(repr(body).encode())


def _known(store: Store) -> dict[str, str]:
    """What is one value each."""
    known = {
        "funds": _encode(store.books.funds).decode(),
        "stated": _encode(store.books.stated).decode(),
    }
    if store.day is not None:
        known["day"] = store.day.isoformat()
    if store.heard is not None:
        known["heard"] = str(store.heard)
    return known


def _standing_row(one: Standing) -> tuple[Any, ...]:
    since = None if one.since is None else one.since.isoformat()
    return one.broker, one.strategy_id, one.state, one.code, one.reason, since, _encode(one).decode()


def _columns(key: ScopeKey) -> tuple[str, str, str, int]:
    """A scope's key as columns; `kind` says how many parts it has."""
    broker, strategy, instrument = (*key, "", "")[:3]
    return broker, strategy, instrument, len(key)


def _scope_key(broker: str, strategy: str, instrument: str, kind: int) -> ScopeKey:
    return (broker, strategy, instrument)[:kind]


def standings_in(path: Path) -> list[Standing]:
    """What is stopped, says the risk database at `path`; see `stopped_in`."""
    return stopped_in(path)[0]


def stopped_in(path: Path) -> tuple[list[Standing], int | None]:
    """What is stopped, by itself or by a `control` event, and how much of the requests was acted on, in bytes.

    So says the risk database at `path`, which is only read: another process may be writing it. Nothing if it is a
    database of another stage. Raises `AlphaError` if it cannot be read.
    """
    import sqlite3

    with sqlite_errors(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)
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
    stopped = [msgspec.json.decode(text, type=Standing) for (text,) in rows] + [
        Standing(target or "all", "", "HALTED", Code.TRADING_HALTED, why)
        if target in {"", *BROKERS}
        else Standing("all", target, "HALTED", Code.STRATEGY_HALTED, why)
        for target, why in halts
    ]
    return stopped, int(heard[0]) if heard is not None and str(heard[0]).isdecimal() else None
