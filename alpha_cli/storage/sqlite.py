"""SQLite as stages use it: how a database is opened, and what its errors mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from alpha_cli.core.errors import (
    AlphaError,
    ConfigurationError,
    InputOutputError,
    InvariantBroken,
    TryAgain,
)

if TYPE_CHECKING:
    import sqlite3

    from sqlite_utils import Database


# In milliseconds: a reader may hold the file for a moment, a second writer is a mistake.
_BUSY_TIMEOUT = 5000


@contextmanager
def transaction(db: Database) -> Iterator[None]:
    """All or nothing, on disk when it is left. The write lock is taken at once, not at the first write."""
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.conn.execute("COMMIT")
    except BaseException:
        if db.conn.in_transaction:
            db.conn.execute("ROLLBACK")
        raise


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite raises on `path` into an error that says what to do."""
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        raise _meaning(error, path) from error


def _meaning(error: sqlite3.Error, path: Path) -> AlphaError:
    import sqlite3

    primary = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if primary == sqlite3.SQLITE_FULL:
        return InputOutputError(f"{path}: the disk is full; nothing of this batch was kept; free space and run again")
    if primary in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}:
        return InputOutputError(f"{path}: {error}; nothing of this batch was kept; check the disk and run again")
    if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return TryAgain(f"{path}: another program is writing to it; end that program and run again")
    if primary == sqlite3.SQLITE_NOTADB:
        return ConfigurationError(f"{path}: not a SQLite database; move it away or name another folder with --state")
    if primary in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH}:
        return InvariantBroken(f"{path}: {error}; restore a backup or begin with another --state folder")
    return ConfigurationError(f"{path}: {error}; was the schema changed by another program?")


def connected(path: Path) -> Database:
    """Open the database at `path`; every statement commits by itself outside `transaction`."""
    import sqlite3

    import sqlite_utils

    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT / 1000, isolation_level=None)
    return sqlite_utils.Database(connection, recursive_triggers=False, execute_plugins=False)


Migrations = Mapping[int, Callable[["Database"], object]]


def schema_version(db: Database, path: Path, application_id: int, version: int, migrations: Migrations) -> int:
    """The version of the schema, 0 while there is none. Raises `ConfigurationError` if it is not ours to write."""
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


def migrate(db: Database, found: int, version: int, migrations: Migrations) -> None:
    """Bring the schema forward; an interruption leaves it at one version or the next."""
    for step in range(found, version):
        with transaction(db):
            migrations[step](db)
            db.execute(f"PRAGMA user_version = {step + 1}")


def set_pragmas(db: Database) -> None:
    """Set what makes a commit durable and a damaged file visible."""
    for pragma in (
        f"busy_timeout = {_BUSY_TIMEOUT}",
        "journal_mode = WAL",
        "synchronous = FULL",  # what was committed survives a power cut
        "foreign_keys = ON",
        "trusted_schema = OFF",
        "cell_size_check = ON",
    ):
        db.conn.execute(f"PRAGMA {pragma}").fetchall()


def check_pages(db: Database, path: Path) -> None:
    """After a run that was cut off: is the file whole?"""
    (answer,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise InvariantBroken(f"{path}: damaged: {answer}; restore a backup or begin with another --state folder")
