"""The account in SQLite, for `--state`: read at the start, written once a batch before anything is said.

`engine` tells this journal what changed; the loop calls `commit`, which writes it all in one
transaction. What was applied before is asked of the database, so memory does not grow with its age.

A process that ends between the two has kept what it did not say, and the same input again does not say
it either; re-emitting committed output comes with the crash-safety issue.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from alpha_cli.errors import InvariantBroken, UsageError
from alpha_cli.events import Fill, Portfolio
from alpha_cli.paper.config import PaperConfig
from alpha_cli.paper.ledger import Account, Holding, Key, plain
from alpha_cli.paper.orders import OPEN, PaperOrder
from alpha_cli.paper.rows import (
    Row,
    account_of,
    account_row,
    fill_row,
    order_of,
    order_row,
    portfolio_row,
    position_row,
)  # fmt: skip
from alpha_cli.paper.schema import APPLICATION_ID, VERSION, create
from alpha_cli.state import State, sqlite_errors, transaction

if TYPE_CHECKING:
    from sqlite_utils import Database


class Store:
    """The journal of one account in `folder`, under the name that `--as` gave.

    Raises `UsageError` if `config` gives other cash than the account began with.
    """

    def __init__(self, folder: Path, name: str, config: PaperConfig) -> None:
        self._state = State(folder, name)
        self._path = folder / f"{name}.db"
        try:
            self._db = self._state.database(APPLICATION_ID, VERSION, create)
            with sqlite_errors(self._path):
                self.account, self._account_is_new = self._read_account(config)
                self._orders_before = self._db.execute("SELECT coalesce(max(number), 0) FROM orders").fetchone()[0]
        except BaseException:
            self._state.close()
            raise
        self._forget()

    # --- what was kept -----------------------------------------------------------------------

    def resting(self) -> Iterator[PaperOrder]:
        """The open orders in the order of their arrival."""
        with sqlite_errors(self._path):
            rows = list(self._db.query("SELECT * FROM orders WHERE status = ? ORDER BY number", [OPEN]))
        for row in rows:
            try:
                yield order_of(row)
            except (msgspec.MsgspecError, ValueError, TypeError) as error:
                raise InvariantBroken(f"{self._path}: order {row['order_id']} cannot be read: {error}") from None

    def knows_order(self, order_id: str) -> bool:
        return order_id in self._orders or self._found("SELECT 1 FROM orders WHERE order_id = ?", order_id)

    def knows_signal(self, signal_id: str) -> bool:
        return signal_id in self._signals or self._found("SELECT 1 FROM orders WHERE signal_id = ? LIMIT 1", signal_id)

    def _found(self, query: str, value: str) -> bool:
        with sqlite_errors(self._path):
            return self._db.conn.execute(query, [value]).fetchone() is not None

    def _read_account(self, config: PaperConfig) -> tuple[Account, bool]:
        """The account, and whether it is a new one."""
        rows = list(self._db.query("SELECT * FROM accounts WHERE broker = ?", [config.broker]))
        if not rows:
            return Account.opened(config.broker, config.starting_cash), True
        try:
            account = account_of(rows[0], self._db.query("SELECT * FROM positions WHERE broker = ?", [config.broker]))
        except ArithmeticError:
            raise InvariantBroken(f"{self._path}: an amount of the account is not a number; restore a backup") from None
        if config.cash is not None and config.cash != account.starting_cash:
            raise UsageError(
                f"--cash {config.cash}: the account in {self._path} began with {plain(account.starting_cash)}; "
                "leave --cash out, or name another --state folder"
            )
        account.check()
        return account, False

    # --- what changes ------------------------------------------------------------------------

    def order(self, paper_order: PaperOrder) -> None:
        if not paper_order.number:
            self._orders_before += 1
            paper_order.number = self._orders_before
        self._orders[paper_order.order.order_id] = paper_order
        self._signals.add(paper_order.order.signal_id)

    def fill(self, fill: Fill, account: Account) -> None:
        self._fills.append(fill_row(fill))
        key = (fill.instrument_token, fill.product)
        self._positions[key] = account.positions[key]

    def portfolio(self, portfolio: Portfolio, account: Account) -> None:
        self._portfolios.append(portfolio_row(portfolio))
        self._positions.update(account.positions)  # their last prices

    def commit(self) -> None:
        """Write what changed since the last time, all of it or nothing."""
        if not (self._orders or self._portfolios):
            return
        with sqlite_errors(self._path), transaction(self._db):
            self._write(self._db)
        self._account_is_new = False
        self._forget()

    def release(self) -> None:
        self._state.close()

    def _write(self, db: Database) -> None:
        broker = self.account.broker
        if self._fills or self._account_is_new:
            db.table("accounts").upsert(account_row(self.account), pk="broker")
        if self._orders:
            db.table("orders").upsert_all(map(order_row, self._orders.values()), pk="order_id")
        if self._fills:
            db.table("fills").insert_all(self._fills)
        if self._positions:
            rows = (position_row(broker, holding) for holding in self._positions.values())
            db.table("positions").upsert_all(rows, pk=("broker", "instrument_token", "product"))
        if self._portfolios:
            db.table("portfolios").insert_all(self._portfolios)

    def _forget(self) -> None:
        self._orders: dict[str, PaperOrder] = {}
        self._signals: set[str] = set()
        self._fills: list[Row] = []
        self._positions: dict[Key, Holding] = {}
        self._portfolios: list[Row] = []
