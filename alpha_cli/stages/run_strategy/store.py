"""The state of a runner between two runs: `DIR/run-strategy.db`, readable with ordinary tools."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from alpha_cli.core.errors import ConfigurationError, InvariantBroken
from alpha_cli.stages.run_strategy import snapshot
from alpha_cli.stages.run_strategy.snapshot import RunnerState
from alpha_cli.storage.folder import State
from alpha_cli.storage.sqlite import sqlite_errors, transaction

if TYPE_CHECKING:
    from sqlite3 import Connection

_APPLICATION_ID = 0x616C5354  # alST
_SCHEMA_VERSION = 1


class Store:
    """The state of one runner, in the folder of `--state`. Raise what `State` raises."""

    def __init__(self, folder: Path, name: str) -> None:
        self._state = State(folder, name)
        self.path = folder / f"{name}.db"
        try:
            self._db = self._state.database(_APPLICATION_ID, _SCHEMA_VERSION, _create)
        except BaseException:
            self._state.close()
            raise

    def load(self) -> RunnerState | None:
        """Return the state of the previous run, if there was one. Raise `InvariantBroken` if it cannot be read."""
        with sqlite_errors(self.path):
            row = self._db.execute("SELECT state FROM runner").fetchone()
        if row is None:
            return None
        try:
            return snapshot.decode(row[0])
        except (msgspec.MsgspecError, ValueError) as error:
            raise InvariantBroken(
                f"{self.path}: what was kept cannot be read: {error}; restore a backup or name another --state folder"
            ) from None

    def save(self, state: RunnerState) -> None:
        """Replace what was kept by `state`, all or nothing."""
        rows = [
            (
                name,
                strategy.counts.get("signals", 0),
                sum(executor.calls for executor in strategy.executors.values()),
                None if strategy.last_signal is None else strategy.last_signal.isoformat(),
                None if strategy.stopped is None else strategy.stopped.reason,
            )
            for name, strategy in state.strategies.items()
        ]
        with sqlite_errors(self.path), transaction(self._db):
            self._db.execute("DELETE FROM runner")
            self._db.execute("DELETE FROM strategies")
            self._db.execute("INSERT INTO runner (state) VALUES (?)", [snapshot.encode(state).decode()])
            self._db.executemany("INSERT INTO strategies VALUES (?, ?, ?, ?, ?)", rows)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Name the file in errors about what cannot be restored."""
        try:
            yield
        except (ConfigurationError, InvariantBroken) as error:
            raise type(error)(f"{self.path}: {error}") from None

    def close(self) -> None:
        """Close the database and release the lock."""
        self._state.close()


def _create(db: Connection) -> None:
    db.execute("CREATE TABLE runner (state TEXT NOT NULL) STRICT")
    db.execute(
        "CREATE TABLE strategies (id TEXT PRIMARY KEY, signals INTEGER NOT NULL, ticks INTEGER NOT NULL, "
        "last_signal TEXT, paused TEXT) STRICT"
    )
