"""Databases as tables to show and to export: sqlite-utils, for commands that people type, never for a stage."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlite3 import Connection

    from sqlite_utils import Database

#: What sqlite-utils imports where it is installed, to store its types; that takes a second and 60 MiB.
_LARGE = ("numpy", "pandas")


def tables_of(connection: Connection) -> Database:
    """Return the database at `connection` as its tables and queries."""
    with _without(*_LARGE):
        from sqlite_utils import Database

    return Database(connection)


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """Let the import of `names` fail inside, as if they were not installed; what is imported already stays."""
    hidden = [name for name in names if name not in sys.modules]
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(hidden))  # None is what import takes for missing
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
