"""Strategy configurations in a SQLite file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alpha_cli.core.errors import AlphaError, ConfigurationError, InputOutputError, InvariantBroken, TryAgain
from alpha_cli.core.text import printable
from alpha_cli.stages.run_strategy.config_backend import PATIENCE, RULE, init_command
from alpha_cli.storage import sqlite
from alpha_cli.storage.sqlite import Fault, Remedy

_DISK = Remedy(InputOutputError, "{name}: {error}; check the file, its folder and the disk")
_REMEDIES = {
    Fault.BUSY: Remedy(TryAgain, "{name}: another program is writing to it; run again when it has ended"),
    Fault.NOT_A_DATABASE: Remedy(
        ConfigurationError, f"{{name}}: not a SQLite database; move it away, then {init_command('{name}')}"
    ),
    Fault.FULL: _DISK,
    Fault.DISK: _DISK,
    Fault.DAMAGED: Remedy(InvariantBroken, "{name}: {error}; restore a backup"),
    Fault.REFUSED: Remedy(ConfigurationError, f"{{name}}: {{error}}{RULE}"),
    Fault.OTHER: Remedy(ConfigurationError, "{name}: {error}"),
}


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
        try:
            self.connection: Any = sqlite.connect(path, "rwc" if create else "rw", patience=PATIENCE)
        except sqlite3.Error as error:
            raise self.meaning(error) or error from None

    def meaning(self, error: Exception) -> AlphaError | None:
        """Return the error to raise instead of SQLite's; None if it is not SQLite's."""
        import sqlite3

        return sqlite.describe(error, self.name, _REMEDIES) if isinstance(error, sqlite3.Error) else None
