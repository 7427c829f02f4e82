"""The states of an order and the transitions between them: one table for every broker stage.

The names are Kite's. `docs/orders.md` prints this table; `advance` is the only way a broker stage
changes a status, so that a transition which is not in it cannot happen unseen.
"""

from __future__ import annotations

from typing import NamedTuple

from alpha_cli.core.errors import InvariantBroken

RECEIVED = "PUT ORDER REQ RECEIVED"
VALIDATION_PENDING = "VALIDATION PENDING"
OPEN_PENDING = "OPEN PENDING"
OPEN = "OPEN"
TRIGGER_PENDING = "TRIGGER PENDING"
MODIFY_VALIDATION_PENDING = "MODIFY VALIDATION PENDING"
MODIFY_PENDING = "MODIFY PENDING"
CANCEL_PENDING = "CANCEL PENDING"
COMPLETE = "COMPLETE"
CANCELLED = "CANCELLED"
REJECTED = "REJECTED"


class State(NamedTuple):
    """One state: its meaning, and the states that may follow. Staying is always allowed."""

    meaning: str
    to: frozenset[str]


def _to(*states: str) -> frozenset[str]:
    return frozenset(states)


_ENDS = (COMPLETE, CANCELLED, REJECTED)
_WORKING = (OPEN, TRIGGER_PENDING)

#: state -> what may follow. Kite may skip any interim state, so each leads to all that lie beyond it.
STATES: dict[str, State] = {
    RECEIVED: State(
        "the broker has it, and has not looked at it yet",
        _to(VALIDATION_PENDING, OPEN_PENDING, *_WORKING, CANCEL_PENDING, *_ENDS),
    ),
    VALIDATION_PENDING: State(
        "the broker's risk management looks at it", _to(OPEN_PENDING, *_WORKING, CANCEL_PENDING, *_ENDS)
    ),
    OPEN_PENDING: State("on its way to the exchange", _to(*_WORKING, CANCEL_PENDING, *_ENDS)),
    OPEN: State(
        "at the exchange; a part of it may be filled",
        _to(TRIGGER_PENDING, MODIFY_VALIDATION_PENDING, MODIFY_PENDING, CANCEL_PENDING, *_ENDS),
    ),
    TRIGGER_PENDING: State(
        "a stop that waits for its trigger",
        _to(OPEN, MODIFY_VALIDATION_PENDING, MODIFY_PENDING, CANCEL_PENDING, *_ENDS),
    ),
    MODIFY_VALIDATION_PENDING: State(
        "a modification is looked at", _to(MODIFY_PENDING, *_WORKING, CANCEL_PENDING, *_ENDS)
    ),
    MODIFY_PENDING: State("a modification is on its way to the exchange", _to(*_WORKING, CANCEL_PENDING, *_ENDS)),
    CANCEL_PENDING: State(
        "a cancellation is on its way; it may come too late, or fail", _to(*_WORKING, *_ENDS)
    ),
    COMPLETE: State("all of it is filled", _to()),
    CANCELLED: State("what was not filled of it is gone", _to()),
    REJECTED: State("refused; none of it was filled", _to()),
}  # fmt: skip

#: No state follows these.
TERMINAL = frozenset(name for name, state in STATES.items() if not state.to)


def is_terminal(status: str) -> bool:
    """Return whether an order has ended. A status that is not in the table is not an end."""
    return status in TERMINAL


def advance(order_id: str, status: str, new: str) -> str:
    """Return `new`, if it may follow `status`. Raise `InvariantBroken` if not."""
    if new == status or new in STATES[status].to:
        return new
    raise InvariantBroken(f"order {order_id}: {status} cannot become {new}; stop trading and compare with the broker")


def table() -> str:
    """Return the table in Markdown, for the docs."""
    lines = ["| state | meaning | next |", "|---|---|---|"]
    for name, state in STATES.items():
        after = ", ".join(other for other in STATES if other in state.to) or "– (end)"
        lines.append(f"| `{name}` | {state.meaning} | {after} |")
    return "\n".join(lines) + "\n"
