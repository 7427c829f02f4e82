"""SQLite for every file that alpha keeps: how a database is opened and written, and what its errors mean.

One opener, one map from SQLite's errors to ours. What to do about an error depends on whose file it is: a caller
brings its own `Remedies`, by default those of the databases of `--state`. Only the standard `sqlite3` is used,
and it is imported when a database is opened: start-up is part of the price of a pipeline.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import quote

from alpha_cli.core.errors import (
    AlphaError,
    ConfigurationError,
    InputOutputError,
    InvariantBroken,
    TryAgain,
)

if TYPE_CHECKING:
    import sqlite3

PATIENCE = 5.0  # seconds to wait for a lock: a reader may hold the file for a moment, a second writer is a mistake


# --- errors ----------------------------------------------------------------------------------


class Fault(Enum):
    """What went wrong, as far as the remedy differs."""

    BUSY = auto()
    NOT_A_DATABASE = auto()
    FULL = auto()
    DISK = auto()  # it cannot be opened, read or written
    DAMAGED = auto()
    REFUSED = auto()  # by a constraint
    OTHER = auto()


class Remedy(NamedTuple):
    """The error to raise, and its text; in it {name} is the database's and {error} what SQLite says."""

    error: type[AlphaError]
    text: str


Remedies = Mapping[Fault, Remedy]

#: For the databases of `--state`.
OF_STATE: Remedies = {
    Fault.BUSY: Remedy(TryAgain, "{name}: another program is writing to it; end that program and run again"),
    Fault.NOT_A_DATABASE: Remedy(
        ConfigurationError, "{name}: not a SQLite database; move it away or name another folder with --state"
    ),
    Fault.FULL: Remedy(
        InputOutputError, "{name}: the disk is full; nothing of this batch was kept; free space and run again"
    ),
    Fault.DISK: Remedy(
        InputOutputError, "{name}: {error}; nothing of this batch was kept; check the disk and run again"
    ),
    Fault.DAMAGED: Remedy(
        InvariantBroken, "{name}: {error}; restore a backup or begin with another --state folder"
    ),
    Fault.REFUSED: Remedy(
        InvariantBroken, "{name}: {error}; restore a backup or begin with another --state folder"
    ),
    Fault.OTHER: Remedy(ConfigurationError, "{name}: {error}; was the schema changed by another program?"),
}  # fmt: skip


#: For one of them that is only read: the reader cannot mend it, and nothing was to be kept.
TO_READ: Remedies = {
    **OF_STATE,
    Fault.BUSY: Remedy(TryAgain, "{name}: another program is writing to it; ask again"),
    Fault.FULL: Remedy(InputOutputError, "{name}: cannot be read: {error}"),
    Fault.DISK: Remedy(
        InputOutputError, "{name}: cannot be read: {error}; ask as the user of the stages, who can write to its folder"
    ),
}  # fmt: skip


def describe(error: sqlite3.Error, name: object, remedies: Remedies = OF_STATE) -> AlphaError:
    """Return the error to raise instead of `error` of the database called `name`."""
    remedy = remedies[_fault(error)]
    return remedy.error(remedy.text.format(name=name, error=error))


@contextmanager
def sqlite_errors(name: object, remedies: Remedies = OF_STATE) -> Iterator[None]:
    """Turn what SQLite raises on the database called `name` into an error that says what to do."""
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        raise describe(error, name, remedies) from error


def _fault(error: sqlite3.Error) -> Fault:
    import sqlite3

    return {
        sqlite3.SQLITE_BUSY: Fault.BUSY,
        sqlite3.SQLITE_LOCKED: Fault.BUSY,
        sqlite3.SQLITE_NOTADB: Fault.NOT_A_DATABASE,
        sqlite3.SQLITE_FULL: Fault.FULL,
        sqlite3.SQLITE_IOERR: Fault.DISK,
        sqlite3.SQLITE_CANTOPEN: Fault.DISK,
        sqlite3.SQLITE_READONLY: Fault.DISK,
        sqlite3.SQLITE_PERM: Fault.DISK,
        sqlite3.SQLITE_CORRUPT: Fault.DAMAGED,
        sqlite3.SQLITE_CONSTRAINT: Fault.REFUSED,
        sqlite3.SQLITE_MISMATCH: Fault.REFUSED,
    }.get(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF, Fault.OTHER)


# --- opening ---------------------------------------------------------------------------------


def connect(
    path: Path, mode: Literal["ro", "rw", "rwc"], *, patience: float = PATIENCE, any_thread: bool = False
) -> sqlite3.Connection:
    """Open the database at `path`; every statement commits by itself outside `transaction`. Raise sqlite3.Error.

    mode        read only, read and write, or also make the file
    patience    seconds to wait for a lock that another program holds
    any_thread  not only the thread that opened it may use it
    """
    import sqlite3

    return sqlite3.connect(
        f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}", uri=True, timeout=patience, isolation_level=None,
        check_same_thread=not any_thread,
    )  # fmt: skip


def connect_in_memory() -> sqlite3.Connection:
    """Return a database of its own that any thread may use; gone when it is closed."""
    import sqlite3

    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


def set_pragmas(db: sqlite3.Connection) -> None:
    """Set what makes a commit durable and a damaged file visible."""
    for pragma in (
        f"busy_timeout = {PATIENCE * 1000:.0f}",
        "journal_mode = WAL",
        "synchronous = FULL",  # what was committed survives a power cut
        "foreign_keys = ON",
        "trusted_schema = OFF",
        "cell_size_check = ON",
    ):
        db.execute(f"PRAGMA {pragma}").fetchall()


def check_pages(db: sqlite3.Connection, path: Path) -> None:
    """Raise `InvariantBroken` if the file is not whole, as it may be after a run that was cut off."""
    (answer,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise InvariantBroken(f"{path}: damaged: {answer}; restore a backup or begin with another --state folder")


# --- reading and writing ---------------------------------------------------------------------


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit all that is done inside, or nothing of it. The write lock is taken at once, not at the first write."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def select(db: sqlite3.Connection, query: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """Return the rows of `query`, each by the names of its columns."""
    cursor = db.execute(query, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def insert(db: sqlite3.Connection, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert `rows`, all with the same columns, into `table`."""
    _write(db, table, rows, ())


def upsert(db: sqlite3.Connection, table: str, rows: Iterable[Mapping[str, Any]], key: Sequence[str]) -> None:
    """Insert `rows`, all with the same columns, or change those that have their `key`; other columns stay."""
    _write(db, table, rows, tuple(key))


def _write(db: sqlite3.Connection, table: str, rows: Iterable[Mapping[str, Any]], key: tuple[str, ...]) -> None:
    waiting = iter(rows)
    first = next(waiting, None)
    if first is None:
        return
    statement = _insertion(table, tuple(first), key)
    db.execute(statement, first)
    db.executemany(statement, waiting)


@lru_cache
def _insertion(table: str, columns: Collection[str], key: Sequence[str]) -> str:
    names, given = (", ".join(form.format(name) for name in columns) for form in ("{}", ":{}"))
    statement = f"INSERT INTO {table} ({names}) VALUES ({given})"  # noqa: S608  (names of our own schema)
    if not key:
        return statement
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    return f"{statement} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}"


# --- schemas ---------------------------------------------------------------------------------

Migrations = Mapping[int, Callable[["sqlite3.Connection"], object]]


def schema_version(
    db: sqlite3.Connection, path: Path, application_id: int, version: int, migrations: Migrations
) -> int:
    """Return the version of the schema, 0 while there is none. Raise `ConfigurationError` if it is not ours."""
    found_id, found_version, tables = db.execute(
        "SELECT (SELECT application_id FROM pragma_application_id), "
        "(SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_master)"
    ).fetchone()
    if (found_id, found_version, tables) == (0, 0, 0):
        return 0
    if found_id != application_id:
        raise ConfigurationError(f"{path}: a database of another program; move it away, or use --as or another --state")
    if found_version > version or any(step not in migrations for step in range(found_version, version)):
        age = "newer" if found_version > version else "older"
        raise ConfigurationError(
            f"{path}: schema version {found_version} is {age} than this alpha's {version}; use the alpha that wrote it"
        )
    return int(found_version)


def migrate(db: sqlite3.Connection, found: int, version: int, migrations: Migrations) -> None:
    """Bring the schema forward; an interruption leaves it at one version or the next."""
    for step in range(found, version):
        with transaction(db):
            migrations[step](db)
            db.execute(f"PRAGMA user_version = {step + 1}")
