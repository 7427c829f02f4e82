"""Lines and what they say: from the bytes of a pipe to the events that a stage reads.

A later stage decodes only what it uses: a tick becomes a view with the fields that matter, a type
that no stage reads is recognised and skipped, and where ticks are wanted only now and then (see
`last_ticks`) their lines stay lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from alpha_cli.core.codec import encode
from alpha_cli.core.events import Event

if TYPE_CHECKING:
    pass


class Dropped:
    """Stands in the place of an event for a line that is not passed on."""


BLANK = Dropped()
BAD = Dropped()


class Batch:
    """Whole lines: `data` as they came, newlines included, `lines` without, `events` one a line.

    `events` is None where lines are decoded only as needed. `verified` says that each line passed
    the full check, as those of a source have.
    """

    __slots__ = ("data", "events", "lines", "verified")

    def __init__(self, data: bytes, lines: list[bytes], events: list[Any] | None, *, verified: bool = False) -> None:
        self.data = data
        self.lines = lines
        self.events = events
        self.verified = verified


def batch_of(events: Iterable[Event]) -> Batch:
    """Return a batch of events that this process made itself."""
    made = list(events)
    lines = [encode(event) for event in made]
    return Batch(b"".join(line + b"\n" for line in lines), lines, made, verified=True)
