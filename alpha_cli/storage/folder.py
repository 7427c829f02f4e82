"""The folder of `--state`: who may use it, one process at a time a stage, and how its databases are opened.

A stage that keeps state opens `DIR/NAME.db` through `State` before it reads a line, and holds
`DIR/NAME.lock` until it ends. The folder belongs to one user and nobody else may
write to it (one made here has mode 0700); its files have mode 0600. Nothing here imports SQLite until
a database is opened.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from alpha_cli.core.errors import (
    AlphaError,
    ConfigurationError,
    InputOutputError,
    InvariantBroken,
    TryAgain,
    UsageError,
    printable,
)

if TYPE_CHECKING:
    import sqlite3

    from sqlite_utils import Database

#: While it is in a state folder, nothing of that folder trades.
HALT = "HALT"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

# In milliseconds: a reader may hold the file for a moment, a second writer is a mistake.
_BUSY_TIMEOUT = 5000


def halt_reason(folder: Path) -> str | None:
    """Why trading is halted for every stage that shares `folder`, or None if it is not.

    It is halted while a file HALT is there, of whatever kind and with whatever in it; `alpha halt` puts the reason
    there. What cannot be looked at counts as halted.
    """
    path = folder / HALT
    try:
        path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{path} cannot be looked at: {error.strerror}"
    return f"{path} exists{_said_in(path)}"


def _said_in(path: Path) -> str:
    """Who halted and why, if `alpha halt` wrote it; nothing of a file of another kind, which might not even end."""
    import json  # slow to import, and seldom needed

    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            text = os.read(fd, 4096) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
        finally:
            os.close(fd)
        said = json.loads(text) if text else {}
        by, at, reason = (str(said[name]) for name in ("by", "at", "reason"))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""
    return f", by {printable(by, 64)} at {printable(at, 40)}" + (f": {printable(reason, 500)}" if reason else "")


def check_name(name: str) -> None:
    """Raise `UsageError` unless `name` may be that of a stage: it becomes part of paths."""
    if not NAME.fullmatch(name):
        raise UsageError(f"--as {printable(name)}: use 1 to 64 of a-z, 0-9, - and _, beginning with a letter or digit")


class State:
    """The state of the stage called `name` in `folder`, locked until `close`.

    Raises `UsageError` for a bad name, `ConfigurationError` for a folder that cannot be trusted, and
    `TryAgain` while another process holds the lock.
    """

    def __init__(self, folder: Path, name: str) -> None:
        check_name(name)
        self.folder = folder
        self.name = name
        self._databases: list[Database] = []
        with _os_errors(folder):
            _own_folder(folder)
            self._lock: int | None = _locked(folder / f"{name}.lock", name)

    def database(
        self,
        application_id: int,
        version: int,
        create: Callable[[Database], object],
        migrations: Mapping[int, Callable[[Database], object]] | None = None,
    ) -> Database:
        """`DIR/NAME.db`, opened for writing; `create` makes the tables of a new one.

        application_id  tells this stage's databases from others'
        version         of the schema; a newer one is refused, an older one goes through `migrations`
        migrations      version -> the step to the next one; each in a transaction of its own
        """
        path = self.folder / f"{self.name}.db"
        unclean = path.with_name(path.name + "-wal").exists()
        with _os_errors(path):
            os.close(_private_file(path))
        with sqlite_errors(path):
            db = _connected(path)
            self._databases.append(db)
            found = _version(db, path, application_id, version, migrations or {})
            _set_pragmas(db)
            if unclean:
                _check_pages(db, path)
            if found:
                _migrate(db, found, version, migrations or {})
            else:
                with transaction(db):
                    create(db)
                    db.execute(f"PRAGMA application_id = {application_id}")
                    db.execute(f"PRAGMA user_version = {version}")
        return db

    def close(self) -> None:
        """Close the databases and let go of the lock."""
        for db in self._databases:
            db.close()
        self._databases.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


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


def _own_folder(folder: Path) -> None:
    """Make the folder if it is not there; refuse one that others could have prepared."""
    if folder.is_symlink():
        raise ConfigurationError(f"--state {folder}: is a symbolic link; name the folder itself")
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigurationError(f"--state {folder}: is not a folder")
    if found.st_uid != os.geteuid():
        raise ConfigurationError(f"--state {folder}: belongs to user {found.st_uid}; name a folder of your own")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(found.st_mode)
        raise ConfigurationError(f"--state {folder}: others can write to it (mode {mode:o}); chmod go-w it first")


def _private_file(path: Path) -> int:
    """A descriptor of the file, made if need be, that nobody else may read."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if stat.S_IMODE(os.fstat(fd).st_mode) != 0o600:
        os.fchmod(fd, 0o600)
    return fd


def _locked(path: Path, name: str) -> int:
    """A descriptor that holds the lock; the kernel lets go of it however the process ends."""
    import fcntl

    fd = _private_file(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = printable(os.read(fd, 64).decode("ascii", "replace").strip()) or "another process"
        os.close(fd)
        raise TryAgain(
            f"{path}: held by {holder}; wait for it to end, or run beside it with --as NAME (now {name})"
        ) from None
    os.truncate(fd, 0)
    os.write(fd, f"process {os.getpid()}\n".encode("ascii"))
    return fd


def _connected(path: Path) -> Database:
    import sqlite3

    import sqlite_utils

    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT / 1000, isolation_level=None)
    return sqlite_utils.Database(connection, recursive_triggers=False, execute_plugins=False)


Migrations = Mapping[int, Callable[["Database"], object]]


def _version(db: Database, path: Path, application_id: int, version: int, migrations: Migrations) -> int:
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


def _migrate(db: Database, found: int, version: int, migrations: Migrations) -> None:
    """Bring the schema forward; an interruption leaves it at one version or the next."""
    for step in range(found, version):
        with transaction(db):
            migrations[step](db)
            db.execute(f"PRAGMA user_version = {step + 1}")


def _set_pragmas(db: Database) -> None:
    for pragma in (
        f"busy_timeout = {_BUSY_TIMEOUT}",
        "journal_mode = WAL",
        "synchronous = FULL",  # what was committed survives a power cut
        "foreign_keys = ON",
        "trusted_schema = OFF",
        "cell_size_check = ON",
    ):
        db.conn.execute(f"PRAGMA {pragma}").fetchall()


def _check_pages(db: Database, path: Path) -> None:
    """After a run that was cut off: is the file whole?"""
    (answer,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise InvariantBroken(f"{path}: damaged: {answer}; restore a backup or begin with another --state folder")


@contextmanager
def _os_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputOutputError(
            f"{error.filename or path}: {error.strerror}; check the folder given with --state"
        ) from None
