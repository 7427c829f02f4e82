"""What risk must remember of what it decided: in memory here, in a database in `store`."""

from __future__ import annotations

from datetime import date
from typing import Protocol

from alpha_cli.risk.books import Books
from alpha_cli.risk.standing import Standings

#: What tells a signal from another with its id: whose it is, and what it asks for.
Body = tuple[object, ...]


class Journal(Protocol):
    """Told of every decision, asked what was decided before."""

    day: date | None

    def decided(self, signal_id: str, body: Body) -> Body | None:
        """What was decided before under this id; from now on `body` was, if nothing was."""

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
        self._signals: dict[str, Body] = {}
        self._fills: set[str] = set()

    def decided(self, signal_id: str, body: Body) -> Body | None:
        known = self._signals.setdefault(signal_id, body)
        return None if known is body else known

    def booked(self, fill_id: str) -> bool:
        if fill_id in self._fills:
            return True
        self._fills.add(fill_id)
        return False

    def commit(self, books: Books, standings: Standings, halts: dict[tuple[str, str], str]) -> None:
        """Nothing outlives the run."""
        del standings, halts
        books.settle()

    def release(self) -> None:
        """Nothing is held."""
