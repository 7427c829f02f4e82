"""Strategy configurations in a SQLite file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from alpha_cli.core.errors import AlphaError, ConfigurationError, InputOutputError, InvariantBroken, TryAgain
from alpha_cli.core.text import printable
from alpha_cli.stages.run_strategy.config_backend import PATIENCE, RULE, init_command


class SQLiteBackend:
    """A SQLite file at `path`; made if it is missing and `create`. Raise `ConfigurationError`."""

    placeholder = r":\1"
    begin = "BEGIN IMMEDIATE"
    lock_schema = lock_row = ""
    columns = "SELECT name, type FROM pragma_table_info(:table)"
    types: Mapping[str, str] = {"JSONB": "TEXT", "NUMERIC": "TEXT", "BIGINT": "INTEGER", "TIMESTAMPTZ": "TEXT"}

    def __init__(self, path: Path, *, create: bool) -> None:
        import sqlite3

        self.name = printable(f"sqlite:///{path}", 300)
        try:
            there, folder = path.exists(), path.is_dir()
        except OSError as error:
            raise ConfigurationError(f"{self.name}: {error.strerror}") from None
        if folder:
            raise ConfigurationError(f"{self.name}: is a folder; name a file")
        if not there and not create:
            raise ConfigurationError(f"{self.name}: no such file; make it: {init_command(self.name)}")
        uri = f"file:{quote(str(path.absolute()))}?mode={'rwc' if create else 'rw'}"
        try:
            self.connection: Any = sqlite3.connect(uri, timeout=PATIENCE, isolation_level=None, uri=True)
        except sqlite3.Error as error:
            raise self.meaning(error) or error from None

    def meaning(self, error: Exception) -> AlphaError | None:
        """Return the error to raise instead of SQLite's; None if it is not SQLite's."""
        import sqlite3

        if not isinstance(error, sqlite3.Error):
            return None
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return TryAgain(f"{self.name}: another program is writing to it; run again when it has ended")
        if code == sqlite3.SQLITE_NOTADB:
            return ConfigurationError(
                f"{self.name}: not a SQLite database; move it away, then {init_command(self.name)}"
            )
        if code == sqlite3.SQLITE_CORRUPT:
            return InvariantBroken(f"{self.name}: {error}; restore a backup")
        if code in {
            sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_PERM,
        }:  # fmt: skip
            return InputOutputError(f"{self.name}: {error}; check the file, its folder and the disk")
        rule = RULE if isinstance(error, sqlite3.IntegrityError) else ""
        return ConfigurationError(f"{self.name}: {error}{rule}")
