"""The account in SQLite, for `--state`: read at the start, written once a batch before its output.

The desk reports changes to this journal; the loop calls `commit`, which writes them all in one transaction.
Whether an id was applied before is looked up in the database, so memory does not grow with its age.

A process that ends between the two has saved what it did not print, and the same input again does not print it
either; the outbox that will print it comes with the crash-safety issue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from alpha_cli.core.errors import InvariantBroken, UsageError
from alpha_cli.core.events import ContractNote, Fill, Portfolio
from alpha_cli.core.ledger import Account, Booking, Holding, Key
from alpha_cli.core.money import in_rupees, plain
from alpha_cli.core.order_states import TERMINAL
from alpha_cli.stages.paper.config import PaperConfig
from alpha_cli.stages.paper.orders import PaperOrder, Spot
from alpha_cli.stages.paper.rows import (
    Row,
    account_of,
    account_row,
    entry_rows,
    fill_of,
    fill_row,
    note_row,
    order_of,
    order_row,
    portfolio_row,
    position_row,
    spot_of,
    spot_row,
)
from alpha_cli.stages.paper.schema import APPLICATION_ID, VERSION, create
from alpha_cli.storage.folder import State
from alpha_cli.storage.sqlite import insert, select, sqlite_errors, transaction, upsert

if TYPE_CHECKING:
    from sqlite3 import Connection

_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, ArithmeticError)


class Store:
    """The journal of one account in `folder`, under the name that `--as` gave.

    name_of  token -> EXCHANGE:SYMBOL, for the rows; by default NSE and the token

    Raise `UsageError` if `config` gives other cash than the account was opened with.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        config: PaperConfig,
        name_of: Callable[[int], str] = lambda token: f"NSE:{token}",
    ) -> None:
        self._state = State(folder, name)
        self.path = folder / f"{name}.db"
        self._name_of = name_of
        try:
            self._db = self._state.database(APPLICATION_ID, VERSION, create)
            with sqlite_errors(self.path):
                self.account, self.starting_cash, self._account_is_new = self._read_account(config)
                self._orders_before = self._highest("number", "orders")
                self._bookings_before = self._highest("booking", "entries")
        except BaseException:
            self._state.close()
            raise
        self._reset()
        if self._account_is_new:
            self._book(Booking((("cash", self.account.cash), ("capital", -self.account.capital))), "opened", None)

    # --- what was saved ----------------------------------------------------------------------

    def resting(self) -> Iterator[PaperOrder]:
        """Yield the open orders in the order of their arrival."""
        marks = ", ".join("?" * len(TERMINAL))
        query = f"SELECT * FROM orders WHERE status NOT IN ({marks}) ORDER BY number"  # noqa: S608
        yield from self._read(query, sorted(TERMINAL), order_of)

    def newest(self) -> Iterable[PaperOrder]:
        query = "SELECT * FROM orders WHERE broker = ? AND changed = (SELECT max(changed) FROM orders WHERE broker = ?)"
        yield from self._read(query, [self.account.broker] * 2, order_of)

    def knows_order(self, order_id: str) -> bool:
        return order_id in self._orders or self._found("SELECT 1 FROM orders WHERE order_id = ?", order_id)

    def knows_signal(self, signal_id: str) -> bool:
        return signal_id in self._signals or self._found("SELECT 1 FROM orders WHERE signal_id = ? LIMIT 1", signal_id)

    def fills_of(self, day: date) -> Iterable[Fill]:
        kept = self._read(
            "SELECT * FROM fills WHERE broker = ? AND substr(timestamp, 1, 10) = ? ORDER BY rowid",
            [self.account.broker, day.isoformat()],
            fill_of,
        )
        return [*kept, *(fill_of(row) for row in self._fills if row["timestamp"][:10] == day.isoformat())]

    def settled(self, day: date) -> Mapping[str, int]:
        query = "SELECT adjusted FROM notes WHERE broker = ? AND date = ?"
        kept = list(self._read(query, [self.account.broker, day.isoformat()], lambda row: row["adjusted"]))
        kept += [row["adjusted"] for row in self._notes if row["date"] == day.isoformat()]
        total: dict[str, int] = {}
        for adjusted in kept:
            for name, amount in msgspec.json.decode(adjusted, type=dict[str, int]).items():
                total[name] = total.get(name, 0) + amount
        return total

    def unsettled(self) -> Iterable[date]:
        query = (
            "SELECT substr(timestamp, 1, 10) AS day, count(*) AS fills, "
            "(SELECT n.fills FROM notes AS n WHERE n.broker = f.broker AND n.date = substr(f.timestamp, 1, 10) "
            "ORDER BY n.id DESC LIMIT 1) AS noted FROM fills AS f WHERE broker = ? GROUP BY 1 "
            "HAVING (noted IS NULL OR noted <> fills) AND max(charges <> '0')"  # none was charged: none is settled
        )
        yield from self._read(query, [self.account.broker], lambda row: date.fromisoformat(row["day"]))

    def shares(self) -> Iterable[tuple[Key, str, int]]:
        query = (
            "SELECT f.instrument_token, f.product, f.strategy_id, "
            "SUM(CASE f.side WHEN 'BUY' THEN f.quantity ELSE -f.quantity END) AS units "
            "FROM fills AS f WHERE f.broker = ? GROUP BY 1, 2, 3 HAVING units <> 0"
        )
        yield from self._read(
            query,
            [self.account.broker],
            lambda row: ((row["instrument_token"], row["product"]), row["strategy_id"], row["units"]),
        )

    def _read(self, query: str, values: list[Any], made: Callable[[Row], Any]) -> Iterator[Any]:
        """Yield `made(row)` for each row of `query`. Raise `InvariantBroken` for a row that cannot be read."""
        with sqlite_errors(self.path):
            rows = select(self._db, query, values)
        for row in rows:
            try:
                yield made(row)
            except _UNREADABLE as error:
                named = row.get("order_id") or row.get("date") or next(iter(row.values()), "")
                raise InvariantBroken(f"{self.path}: {named} cannot be read: {error}; restore a backup") from None

    def _found(self, query: str, value: str) -> bool:
        with sqlite_errors(self.path):
            return self._db.execute(query, [value]).fetchone() is not None

    def _highest(self, column: str, table: str) -> int:
        return int(self._db.execute(f"SELECT coalesce(max({column}), 0) FROM {table}").fetchone()[0])  # noqa: S608

    def _read_account(self, config: PaperConfig) -> tuple[Account, Decimal, bool]:
        """Return the account, the rupees it was opened with, and whether it is new."""
        rows = select(self._db, "SELECT * FROM accounts WHERE broker = ?", [config.broker])
        if not rows:
            return Account.opened(config.broker, config.starting_cash), config.starting_cash, True
        try:
            held = select(self._db, "SELECT * FROM positions WHERE broker = ?", [config.broker])
            account = account_of(rows[0], held)
            began = Decimal(rows[0]["starting_cash"])
        except _UNREADABLE:
            raise InvariantBroken(f"{self.path}: an amount of the account is not a number; restore a backup") from None
        if config.cash is not None and config.cash != began:
            raise UsageError(
                f"--cash {config.cash}: the account in {self.path} began with {plain(began)}; "
                "leave --cash out, or name another --state folder"
            )
        account.check()
        self._check_entries(account)
        return account, began, False

    def _check_entries(self, account: Account) -> None:
        """Raise `InvariantBroken` unless the saved postings add up to zero and to the balances of the account."""
        rows = self._db.execute(
            "SELECT account, SUM(amount) FROM entries WHERE broker = ? GROUP BY 1", [account.broker]
        )
        sums = dict(rows.fetchall())
        expected = {"cash": account.cash, "capital": -account.capital, "realised": -account.realised}
        wrong = [name for name, amount in expected.items() if sums.get(name, 0) != amount]
        if wrong or sum(sums.values()):
            what = wrong[0] if wrong else "postings"
            raise InvariantBroken(
                f"{self.path}: {what} and the entries differ by "
                f"{in_rupees(sums.get(what, 0) - expected.get(what, -sum(sums.values())))} rupees; restore a backup"
            )

    # --- what changes ------------------------------------------------------------------------

    def order(self, paper_order: PaperOrder) -> None:
        if not paper_order.number:
            self._orders_before += 1
            paper_order.number = self._orders_before
        self._orders[paper_order.order.order_id] = paper_order
        self._signals.add(paper_order.order.signal_id)

    def fill(self, fill: Fill, booking: Booking, account: Account) -> None:
        self._fills.append(fill_row(fill, self._name_of(fill.instrument_token)))
        self._book(booking, fill.fill_id, fill.timestamp)
        assert booking.key is not None
        self._positions[booking.key] = account.positions[booking.key]

    def note(self, note: ContractNote, adjusted: Mapping[str, int], booking: Booking, account: Account) -> None:
        del account
        self._notes.append(note_row(note, adjusted))
        self._book(booking, f"contract note of {note.date}", note.timestamp)

    def deposit(self, booking: Booking, cause: str) -> None:
        """Record that money was put in or taken out."""
        self._book(booking, cause, None)

    def spots(self) -> Iterable[Spot]:
        yield from self._read("SELECT * FROM spots WHERE broker = ?", [self.account.broker], spot_of)

    def keep_spots(self, spots: Iterable[Spot]) -> None:
        self._spots += (spot_row(self.account.broker, spot) for spot in spots)

    def portfolio(self, portfolio: Portfolio, account: Account) -> None:
        self._portfolios.append(portfolio_row(portfolio))
        self._positions.update(account.positions)  # their last prices

    def commit(self) -> None:
        """Write all changes since the last commit, in one transaction."""
        if not (self._orders or self._portfolios or self._notes or self._entries):
            return
        with sqlite_errors(self.path), transaction(self._db):
            self._write(self._db)
        self._account_is_new = False
        self._reset()

    def archive(self) -> None:
        """Rename the database to the next free NAME.db.before-N, complete in one file."""
        with sqlite_errors(self.path):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.close()
        number = next(n for n in count(1) if not self.path.with_name(f"{self.path.name}.before-{n}").exists())
        self.path.rename(self.path.with_name(f"{self.path.name}.before-{number}"))

    def release(self) -> None:
        self._state.close()

    def _book(self, booking: Booking, cause: str, timestamp: datetime | None) -> None:
        self._bookings_before += 1
        self._entries += entry_rows(self._bookings_before, self.account.broker, booking, cause, timestamp)

    def _write(self, db: Connection) -> None:
        broker = self.account.broker
        if self._entries or self._account_is_new:
            upsert(db, "accounts", [account_row(self.account, self.starting_cash)], ["broker"])
        upsert(
            db,
            "orders",
            (order_row(order, self._name_of(order.order.instrument_token)) for order in self._orders.values()),
            ["order_id"],
        )
        insert(db, "fills", self._fills)
        upsert(
            db,
            "positions",
            (position_row(broker, held, self._name_of(held.instrument_token)) for held in self._positions.values()),
            ["broker", "instrument_token", "product"],
        )
        insert(db, "entries", self._entries)
        insert(db, "notes", self._notes)
        upsert(db, "spots", self._spots, ["broker", "instrument_token"])
        insert(db, "portfolios", self._portfolios)

    def _reset(self) -> None:
        """Start collecting the changes of the next commit."""
        self._orders: dict[str, PaperOrder] = {}
        self._signals: set[str] = set()
        self._fills: list[Row] = []
        self._entries: list[Row] = []
        self._notes: list[Row] = []
        self._spots: list[Row] = []
        self._positions: dict[Key, Holding] = {}
        self._portfolios: list[Row] = []
