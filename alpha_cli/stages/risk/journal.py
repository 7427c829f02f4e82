"""What risk must remember of what it decided: in memory here, in a database in `store`."""

from __future__ import annotations

from datetime import date
from typing import Literal, Protocol

from alpha_cli.stages.risk.exposure import Books
from alpha_cli.stages.risk.trading_state import Standings

#: What tells a signal from another with its id: whose it is, and what it asks for.
Body = tuple[object, ...]

#: What a signal is to the one that was decided under its id.
Repeated = Literal["same", "other"]


class Journal(Protocol):
    """Told of every decision, asked what was decided before."""

    day: date | None

    def decided(self, signal_id: str, body: Body) -> Repeated | None:
        """Whether the same, or another, was decided before under this id; from now on `body` was, if nothing was."""

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
        self._signals: dict[str, int] = {}  # hashes will do: whatever has a known id is refused
        self._fills: set[str] = set()

    def decided(self, signal_id: str, body: Body) -> Repeated | None:
        known = self._signals.get(signal_id)
        if known is None:
            self._signals[signal_id] = hash(body)
            return None
        return "same" if known == hash(body) else "other"

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
