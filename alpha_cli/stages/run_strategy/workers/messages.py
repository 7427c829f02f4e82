"""What the main process and its workers send each other."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Stop(msgspec.Struct, frozen=True):
    """A strategy that must be paused from a line of a batch on, because of what it did there."""

    strategy: str
    line: int
    kind: str
    reason: str


class Reload(msgspec.Struct):
    """The result of reading everything again, so that a restarted worker gets the same.

    wanted   the strategies of this worker, pickled
    sources  path -> content of the files with strategies
    known    what all workers together know of instruments, as JSON
    """

    wanted: bytes
    sources: dict[str, bytes]
    known: bytes


class Request(msgspec.Struct):
    """A request to a worker.

    kind         "batch": handle the lines of `data`; "restore": continue from the state in `data` of an earlier run,
                 "again": of this run; "checkpoint", "instruments", "statuses": return them; "finish": end of the ticks
    side_events  lines of side inputs that arrived before the batch
    stops        strategies to pause
    fields       of a tick that strategies use, those of other workers too: histories hold these
    reload       for a batch that is the request to reload
    """

    kind: str = "batch"
    data: bytes = b""
    side_events: list[bytes] = []
    stops: list[Stop] = []
    fields: tuple[str, ...] | None = ()
    reload: Reload | None = None


class Added(msgspec.Struct, array_like=True):
    """A line that a strategy added after the line `index` of the batch; `key` orders those of one index."""

    index: int
    key: str
    line: bytes


class Answer(msgspec.Struct):
    """The answer to a request.

    data                       a state or statuses, as JSON: it keeps the offsets of times
    wanted, disabled, sources  with a checkpoint: the strategies running and disabled, and their files
    outside                    token -> ticks outside the session
    stranger                   an instrument that no strategy follows, and of which something came
    beyond                     the message for ticks of days that no calendar covers
    error, code                an error that ends the run, and its exit code
    """

    added: list[Added] = []
    data: bytes = b""
    wanted: bytes = b""
    disabled: dict[str, str] = {}
    sources: dict[str, bytes] = {}
    outside: dict[int, int] = {}
    beyond: str | None = None
    stranger: int | None = None
    tick_fields: tuple[str, ...] | None = ()
    error: str | None = None
    code: int = 0


def union_of_fields(fields: Iterable[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Return the fields of a tick that any of several uses; None: all."""
    several = list(fields)
    if any(names is None for names in several):
        return None
    return tuple(sorted({name for names in several for name in names or ()}))
