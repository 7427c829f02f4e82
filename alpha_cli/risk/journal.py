"""What risk must remember of what it decided: in memory here, in a database in `store`."""

from __future__ import annotations

from datetime import date
from typing import Protocol

from alpha_cli.risk.books import Books
from alpha_cli.risk.standing import Standings


class Journal(Protocol):
    """Told of every decision, asked what was decided before."""

    day: date | None

    def decided(self, signal_id: str) -> int | None:
        """What `signal` was told of the signal with this id; None if it was never decided."""

    def signal(self, signal_id: str, body: int) -> None:
        """A signal was decided; `body` tells it from another with its id."""

    def booked(self, fill_id: str) -> bool:
        """Whether a fill was booked before; from now on it was."""

    def commit(self, books: Books, standings: Standings, halts: dict[tuple[str, str], str]) -> None:
        """Make durable what changed since."""

    def release(self) -> None:
        """Let go of files and locks."""


class Memory:
    """Remembers for one run."""

    def __init__(self) -> None:
        self.day: date | None = None
        self._signals: dict[str, int] = {}
        self._fills: set[str] = set()

    def decided(self, signal_id: str) -> int | None:
        return self._signals.get(signal_id)

    def signal(self, signal_id: str, body: int) -> None:
        self._signals[signal_id] = body

    def booked(self, fill_id: str) -> bool:
        if fill_id in self._fills:
            return True
        self._fills.add(fill_id)
        return False

    def commit(self, books: Books, standings: Standings, halts: dict[tuple[str, str], str]) -> None:
        """Nothing outlives the run."""
        del standings, halts
        books.changed_scopes.clear()
        books.changed_entries.clear()

    def release(self) -> None:
        """Nothing is held."""
