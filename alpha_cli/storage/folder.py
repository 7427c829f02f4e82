"""The folder of `--state`: its owner, one process at a time for each stage, and its databases.

A stage that keeps state opens `DIR/NAME.db` through `State` before it reads a line, and holds `DIR/NAME.lock` until
it ends. The folder belongs to one user and nobody else may write to it (one made here has mode 0700); its files have
mode 0600. SQLite is not imported until a database is opened.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from alpha_cli.core.errors import (
    ConfigurationError,
    InputOutputError,
    InvariantBroken,
    TryAgain,
    UsageError,
)
from alpha_cli.core.text import printable
from alpha_cli.storage.files import sync_folder
from alpha_cli.storage.sqlite import (
    check_pages,
    connect,
    migrate,
    schema_version,
    set_pragmas,
    sqlite_errors,
    transaction,
)

if TYPE_CHECKING:
    from sqlite3 import Connection

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def check_name(name: str) -> None:
    """Raise `UsageError` unless `name` may be the name of a stage: it becomes part of paths."""
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
        self._databases: list[Connection] = []
        with _os_errors(folder):
            _own_folder(folder)
            self._lock: int | None = _locked(folder / f"{name}.lock", name)

    def database(
        self,
        application_id: int,
        version: int,
        create: Callable[[Connection], object],
        migrations: Mapping[int, Callable[[Connection], object]] | None = None,
    ) -> Connection:
        """Open `DIR/NAME.db` for writing; `create` makes the tables of a new one.

        application_id  tells this stage's databases from others'
        version         of the schema; a newer one is refused, an older one goes through `migrations`
        migrations      version -> the step to the next one; each in a transaction of its own

        Raise `InvariantBroken` for one that is damaged; an empty file is: a new one gets its name when it is whole.
        """
        path = self.folder / f"{self.name}.db"
        log = path.with_name(path.name + "-wal")
        unclean = log.exists()

        def fill(db: Connection) -> None:
            create(db)
            db.execute(f"PRAGMA application_id = {application_id}")
            db.execute(f"PRAGMA user_version = {version}")

        with _os_errors(path):
            if not os.path.lexists(path):
                if unclean and log.stat().st_size:
                    raise InvariantBroken(f"{log}: is there without {path.name}; restore that, or remove this as well")
                _make_database(path, fill)
            elif not path.stat().st_size:
                raise InvariantBroken(
                    f"{path}: is empty, and alpha makes no empty one; restore a backup, or remove it to begin anew"
                )
            os.close(_private_file(path))
        with sqlite_errors(path):
            db = connect(path, "rw")
            self._databases.append(db)
            found = schema_version(db, path, application_id, version, migrations or {})
            set_pragmas(db)
            if unclean:
                check_pages(db, path)
            if found:
                migrate(db, found, version, migrations or {})
            else:
                with transaction(db):
                    fill(db)
        return db

    def close(self) -> None:
        """Close the databases and release the lock."""
        for db in self._databases:
            db.close()
        self._databases.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _own_folder(folder: Path) -> None:
    """Make the folder if it is missing. Raise `ConfigurationError` for one that others could have prepared."""
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


def _make_database(path: Path, fill: Callable[[Connection], object]) -> None:
    """Make the database at `path`: under another name until it is whole and on disk. Raise OSError and `AlphaError`."""
    made = path.with_name(f".{path.name}.new")
    for ending in ("", "-journal", "-wal", "-shm"):  # of a run that was killed while it did this
        made.with_name(made.name + ending).unlink(missing_ok=True)
    os.close(_private_file(made))
    with sqlite_errors(path), closing(connect(made, "rw")) as db, transaction(db):
        fill(db)
    made.rename(path)
    sync_folder(path.parent)


def _private_file(path: Path) -> int:
    """Return a descriptor of the file, made if need be, that nobody else may read."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if stat.S_IMODE(os.fstat(fd).st_mode) != 0o600:
        os.fchmod(fd, 0o600)
    return fd


def _locked(path: Path, name: str) -> int:
    """Return a descriptor that holds the lock; the kernel releases it however the process ends."""
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


@contextmanager
def _os_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputOutputError(
            f"{error.filename or path}: {error.strerror}; check the folder given with --state"
        ) from None
