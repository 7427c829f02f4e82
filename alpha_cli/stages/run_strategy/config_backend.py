"""What differs between the databases of strategy configurations, and what their errors have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from alpha_cli.core.errors import AlphaError

TABLE = "strategy_configurations"
PATIENCE = 5  # seconds to wait for a server to answer, and for a lock that another program holds

RULE = ": a rule that is not alpha's refuses the row; if it is about another column, give that a default"


def init_command(name: str) -> str:
    """Return the command that makes or updates the table of the database called `name`."""
    return f"alpha strategies db init --config-db {name}"


class Backend(Protocol):
    """A connection to SQLite or PostgreSQL, and the SQL that differs between them."""

    name: str
    connection: Any
    placeholder: str  # what `:name` becomes
    begin: str  # in SQLite the write lock is taken at once, not at the first write
    lock_schema: str  # one `init` at a time
    lock_row: str  # after a SELECT whose row is going to be written
    columns: str  # the query for name and type of the columns of :table
    types: Mapping[str, str]

    def meaning(self, error: Exception) -> AlphaError | None:
        """Return the error to raise instead of the driver's; None if it is not the driver's."""
