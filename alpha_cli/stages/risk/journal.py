"""What risk must remember of its decisions: in memory here, in a database in `store`."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from alpha_cli.stages.risk.exposure import ExposureLedger
    from alpha_cli.stages.risk.trading_state import HaltKey, LatchedStates

#: What distinguishes a signal from another with its id: who sent it, and what it asks for.
SignalBody = tuple[object, ...]

#: How a signal compares with the one that was decided under its id.
Repeated = Literal["same", "other"]


class Journal(Protocol):
    """Records every decision and every fill, and knows those from before."""

    day: date | None

    def record_signal(self, signal_id: str, body: SignalBody) -> Repeated | None:
        """Record that `body` is decided under this id. If one was before, return how it compares and keep that one."""

    def record_fill(self, fill_id: str) -> bool:
        """Record a fill; return whether it was recorded before."""

    def commit(self, ledger: ExposureLedger, latched: LatchedStates, halts: dict[HaltKey, str]) -> None:
        """Make durable what changed since the last call."""

    def release(self) -> None:
        """Close files and release locks."""


class MemoryJournal:
    """Remembers for one run."""

    def __init__(self) -> None:
        self.day: date | None = None
        self._signals: dict[str, int] = {}  # a hash is enough: a collision only changes the code of a refusal
        self._fills: set[str] = set()

    def record_signal(self, signal_id: str, body: SignalBody) -> Repeated | None:
        """Implement `Journal.record_signal`."""
        known = self._signals.get(signal_id)
        if known is None:
            self._signals[signal_id] = hash(body)
            return None
        return "same" if known == hash(body) else "other"

    def record_fill(self, fill_id: str) -> bool:
        """Implement `Journal.record_fill`."""
        if fill_id in self._fills:
            return True
        self._fills.add(fill_id)
        return False

    def commit(self, ledger: ExposureLedger, latched: LatchedStates, halts: dict[HaltKey, str]) -> None:
        """Only clear the change log: nothing outlives the run."""
        del latched, halts
        ledger.discard_changes()

    def release(self) -> None:
        """Do nothing: no file is open."""
