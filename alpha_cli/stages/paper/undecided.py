"""Signals that reach paper without a decision of risk: risk was left out of the pipeline, or stands elsewhere."""

from __future__ import annotations

from alpha_cli.core.errors import BadData
from alpha_cli.core.events import Denial, Order, Signal

#: Signals remembered until their order or denial comes, which is soon if risk stands before paper.
_MOST = 10_000


class UndecidedSignals:
    """Counts signals for which neither an order nor a denial comes."""

    def __init__(self) -> None:
        self._waiting: dict[str, None] = {}
        self._more = 0

    @property
    def count(self) -> int:
        """The signals without a decision so far."""
        return len(self._waiting) + self._more

    def on_signal(self, signal: Signal) -> tuple[()]:
        """Remember `signal` until it is decided."""
        if len(self._waiting) < _MOST:
            self._waiting[signal.signal_id] = None
        else:
            self._more += 1
        return ()

    def on_decision(self, decision: Order | Denial) -> tuple[()]:
        """Forget the signal of an order or a denial."""
        self._waiting.pop(decision.signal_id, None)
        return ()

    def failure(self) -> BadData | None:
        """Return the error of a run in which signals were not decided."""
        if not self.count:
            return None
        return BadData(
            f"{self.count} signals came that risk has not decided, so they made no order: put alpha risk between "
            "run-strategy and paper"
        )
