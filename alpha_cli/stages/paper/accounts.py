"""`alpha paper COMMAND`: show the account in a state folder, or change it from outside the stream.

Commands that show read the database while the stage may be running; commands that change take its lock first.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from alpha_cli.cli.options import NamedPath
from alpha_cli.core.errors import ConfigurationError, NoInput, UsageError
from alpha_cli.storage.folder import check_name

if TYPE_CHECKING:
    from sqlite_utils import Database

    from alpha_cli.stages.paper.store import Store

Where = tuple[Path | None, str]  # folder and name of an account, as the options before the command give them

#: Columns with rupees: exact text in the database, numbers in JSON.
_RUPEES = frozenset({
    "adjustment", "average_price", "capital", "cash", "charges", "cost", "equity", "last_price", "limit_price", "price",
    "realised_pnl", "reference_price", "starting_cash", "trigger_price", "turnover", "unrealised_pnl", "waits_for",
})  # fmt: skip
#: Columns with rupees by name, as JSON.
_RUPEES_BY_NAME = frozenset({"adjusted", "charges_by_name"})
#: Columns that are JSON themselves.
_JSON = frozenset({"metadata", "positions"})


def _of_account(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the account as `where`; --state and --as may stand before or after the command's name."""

    @click.option("--state", type=NamedPath(folder=True), metavar="DIR", help="As before the command.")
    @click.option("--as", "name", metavar="NAME", help="As before the command.")
    @click.pass_context
    @wraps(command)
    def with_account(ctx: click.Context, /, *, state: Path | None, name: str | None, **given: Any) -> None:
        before: Where = ctx.obj
        command((state or before[0], name or before[1]), **given)

    return with_account


def _formats(command: Callable[..., None]) -> Callable[..., None]:
    """Add --json (--nl) and --csv, which print the rows of the table for programs; passed as `form`."""

    @click.option("--json", "--nl", "as_json", is_flag=True, help="For programs: one JSON object a line.")
    @click.option("--csv", "as_csv", is_flag=True, help="For programs: CSV with a header.")
    @wraps(command)
    def with_format(*args: Any, as_json: bool, as_csv: bool, **given: Any) -> None:
        if as_json and as_csv:
            raise click.UsageError("--json and --csv are two forms of the same rows; name one")
        command(*args, form="json" if as_json else "csv" if as_csv else "table", **given)

    return with_format


TABLES = ("accounts", "orders", "fills", "positions", "entries", "notes", "spots", "portfolios")

POSITIONS = """\
SELECT instrument, product, quantity, average_price, last_price, realised_pnl,
       CAST(ROUND(quantity * CAST(last_price AS REAL) - CAST(cost AS REAL), 4) AS TEXT) AS unrealised_pnl,
       instrument_token
FROM positions ORDER BY instrument, product"""
ORDERS = """\
SELECT number, arrived, strategy_id, instrument, side, quantity, filled_quantity, order_type, price, trigger_price,
       product, validity, status, average_price, code, message, order_id
FROM orders ORDER BY number"""
TRADES = """\
SELECT f.timestamp, f.strategy_id, f.instrument, f.product, f.side, f.quantity, f.price, f.charges, f.order_id,
       f.fill_id
FROM fills AS f ORDER BY f.rowid"""
NOTES = "SELECT date, fills, charges, adjustment, charges_by_name FROM notes ORDER BY id"
DELIVERIES = """\
SELECT instrument, instrument_token, substr(timestamp, 1, 10) AS day,
       SUM(CASE side WHEN 'BUY' THEN quantity ELSE -quantity END) AS units
FROM fills WHERE product = 'CNC' GROUP BY 1, 2, 3 ORDER BY 1, 3"""


@click.command()
@click.option("--cash", required=True, metavar="RUPEES", help="Cash of the new account.")
@_of_account
def init(where: Where, cash: str) -> None:
    """Open an account with --cash. There must be none yet.

    \b
    Example:
        alpha paper --state ~/trading init --cash 500000
    """
    from alpha_cli.stages.paper.config import PaperConfig, rupees
    from alpha_cli.stages.paper.store import Store

    folder, name = _named(where)
    if _opened(folder, name):
        raise UsageError(f"{folder / name}.db: there is an account already; reset starts it again")
    with _released(Store(folder, name, PaperConfig(cash=rupees(cash)))) as store:
        store.commit()
        _say(store)


@click.command()
@click.option("--cash", metavar="RUPEES", help="Cash of the account.  [default: as when it was opened]")
@click.option("--yes", is_flag=True, help="Confirm: orders, trades and positions are archived.")
@_of_account
def reset(where: Where, cash: str | None, *, yes: bool) -> None:
    """Start the account again. The old one is kept as NAME.db.before-1 and so on.

    \b
    Example:
        alpha paper --state ~/trading reset --yes
    """
    from alpha_cli.stages.paper.config import PaperConfig, rupees
    from alpha_cli.stages.paper.store import Store

    folder, name = _existing(where)
    if not yes:
        raise UsageError("reset archives the account with its orders, trades and positions; confirm with --yes")
    with _released(Store(folder, name, PaperConfig())) as store:
        opening_cash = store.starting_cash if cash is None else rupees(cash)
        store.archive()
    with _released(Store(folder, name, PaperConfig(cash=opening_cash))) as store:
        store.commit()
        _say(store)


@click.command()
@click.argument("amount", metavar="RUPEES")
@click.option("--withdraw", is_flag=True, help="Take it out.")
@_of_account
def deposit(where: Where, amount: str, *, withdraw: bool) -> None:
    """Put money into the account, or take it out; not more than its cash, nor than its equity.

    \b
    Example:
        alpha paper --state ~/trading deposit 250000
        alpha paper --state ~/trading deposit --withdraw 100000
    """
    from alpha_cli.core.ledger import Unbookable
    from alpha_cli.core.money import in_rupees, units
    from alpha_cli.stages.paper.config import PaperConfig, rupees
    from alpha_cli.stages.paper.store import Store

    folder, name = _existing(where)
    moved = units(rupees(amount, "deposit"))
    with _released(Store(folder, name, PaperConfig())) as store:
        cash, equity = store.account.cash, store.account.equity
        if withdraw and moved > cash:
            raise UsageError(f"{amount}: the account has {in_rupees(cash)} rupees of cash")
        if withdraw and moved > equity:  # what short sales brought in is owed
            raise UsageError(f"{amount}: the account is worth {in_rupees(equity)} rupees, positions included")
        try:
            store.deposit(store.account.deposit(-moved if withdraw else moved), "withdrawal" if withdraw else "deposit")
        except Unbookable as error:
            raise UsageError(str(error)) from None
        store.commit()
        _say(store)


def _listing(name: str, query: str, what: str, example: str) -> click.Command:
    """Return a command that prints the rows of `query`."""

    @click.command(name, help=f"{what}\n\n\b\nExample:\n    {example}")
    @_of_account
    @_formats
    def show(where: Where, *, form: str) -> None:
        with _database(where) as db:
            _print(list(db.query(query)), form=form)

    return show


@click.command()
@_of_account
@_formats
def holdings(where: Where, *, form: str) -> None:
    """Print shares held under CNC: bought before the newest trading day, and on that day (T+1).

    Sales take the oldest shares first; shares bought and sold within a day are not holdings.

    \b
    Example:
        alpha paper --state ~/trading holdings
    """
    with _database(where) as db:
        days = list(db.query(DELIVERIES))
        newest = max(
            (row["day"] for row in db.query("SELECT max(substr(timestamp, 1, 10)) AS day FROM fills")), default=""
        )
    _print(list(held(days, newest or "")), form=form)


def held(days: list[dict[str, Any]], newest: str) -> Iterator[dict[str, Any]]:
    """Yield holdings from net deliveries a day, oldest first; `newest` is the day whose buys are not delivered yet."""
    lots: dict[str, list[tuple[str, int]]] = {}
    for row in days:
        mine, units = lots.setdefault(row["instrument"], []), row["units"]
        if units > 0:
            mine.append((row["day"], units))
        while units < 0 and mine:
            day, first = mine[0]
            taken = min(first, -units)
            units += taken
            mine[:1] = [(day, first - taken)] if first > taken else []
    for instrument, mine in lots.items():
        total = sum(units for _, units in mine)
        fresh = sum(units for day, units in mine if day == newest)
        if total:
            yield {"instrument": instrument, "quantity": total - fresh, "t1_quantity": fresh, "since": mine[0][0]}


@click.command()
@click.option(
    "--table", "tables", type=click.Choice(TABLES), multiple=True, help="Only this; may be repeated.  [default: all]"
)
@_of_account
def export(where: Where, tables: tuple[str, ...]) -> None:
    """Print everything the account keeps: one JSON object a line, `table` says of which.

    \b
    Example:
        alpha paper --state ~/trading export > account.ndjson
        alpha paper --state ~/trading export --table fills | jq .price
    """
    with _database(where) as db:
        for table in tables or TABLES:
            for row in db.query(f"SELECT * FROM {table} ORDER BY rowid"):  # noqa: S608  (a name of the list above)
                click.echo(_as_json({"table": table, **row}))


#: name -> command, as `command.ACCOUNT` lists them.
COMMANDS: dict[str, click.Command] = {
    "init": init,
    "reset": reset,
    "deposit": deposit,
    "positions": _listing(
        "positions", POSITIONS, "Positions by instrument and product, the flat ones with what they realised.",
        "alpha paper --state ~/trading positions",
    ),
    "holdings": holdings,
    "orders": _listing(
        "orders", ORDERS, "All orders in the order of their arrival, and what became of them.",
        "alpha paper --state ~/trading orders --json | jq 'select(.status == \"REJECTED\")'",
    ),
    "trades": _listing("trades", TRADES, "All trades, oldest first.", "alpha paper --state ~/trading trades"),
    "notes": _listing(
        "notes", NOTES, "Contract notes by day (--charges contract-note).", "alpha paper --state ~/trading notes"
    ),
    "export": export,
}  # fmt: skip


def _named(where: Where) -> tuple[Path, str]:
    folder, name = where
    if folder is None:
        raise UsageError("name the folder of the account: alpha paper --state DIR …, or set ALPHA_STATE")
    check_name(name)
    return folder, name


def _opened(folder: Path, name: str) -> bool:
    """Return whether there is an account; an empty file is a damaged one, as opening it says."""
    return (folder / f"{name}.db").is_file()


def _existing(where: Where) -> tuple[Path, str]:
    folder, name = _named(where)
    if not _opened(folder, name):
        named = "" if name == "paper" else f" --as {name}"
        raise NoInput(
            f"{folder / name}.db: no such account; alpha paper --state {folder}{named} init --cash RUPEES opens one"
        )
    return folder, name


@contextmanager
def _database(where: Where) -> Iterator[Database]:
    """Open the account's database to read it while others may write to it."""
    from alpha_cli.stages.paper.schema import APPLICATION_ID, VERSION
    from alpha_cli.storage.sqlite import connect, sqlite_errors
    from alpha_cli.storage.tables import tables_of

    folder, name = _existing(where)
    path = folder / f"{name}.db"
    with sqlite_errors(path), closing(connect(path, "ro")) as connection:
        found = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if found != APPLICATION_ID:
            raise ConfigurationError(f"{path}: not the database of a paper account; name another with --state or --as")
        if version != VERSION:
            raise ConfigurationError(
                f"{path}: schema version {version}, and this alpha's is {VERSION}; use the alpha that wrote it"
            )
        yield tables_of(connection)


@contextmanager
def _released(store: Store) -> Iterator[Store]:
    try:
        yield store
    finally:
        store.release()


def _say(store: Store) -> None:
    from alpha_cli.core.money import in_rupees

    account = store.account
    click.echo(f"{store.path}: cash {in_rupees(account.cash)}, capital {in_rupees(account.capital)}")


def _print(rows: list[dict[str, Any]], *, form: str) -> None:
    if form == "json":
        for row in rows:
            click.echo(_as_json(row))
    elif not rows:
        return
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows(row.values() for row in rows)
    else:
        from alpha_cli.cli.tables import NOTHING, table

        cells = [[NOTHING if value is None else str(value) for value in row.values()] for row in rows]
        for line in table(tuple(rows[0]), cast(Any, cells)):
            click.echo(line)


def _as_json(row: dict[str, Any]) -> bytes:
    """Return a row as a JSON object; amounts of money are numbers, to the last digit."""
    import msgspec

    def value(name: str, text: Any) -> Any:
        if isinstance(text, str) and name in _RUPEES:
            return Decimal(text)
        if isinstance(text, str) and name in _RUPEES_BY_NAME:
            return msgspec.json.decode(text, type=dict[str, Decimal], strict=False)
        if isinstance(text, str) and name in _JSON:
            return msgspec.Raw(text.encode())
        return text

    return msgspec.json.Encoder(decimal_format="number").encode({name: value(name, row[name]) for name in row})
