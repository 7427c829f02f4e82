"""Decode the lines of a pipe: only what the stages use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Union, get_type_hints

import msgspec

from alpha_cli.core import events as wire
from alpha_cli.core.codec import check_money, decode
from alpha_cli.core.errors import BadLine
from alpha_cli.core.events import MONEY, TYPES, Eof, Hello, Tick
from alpha_cli.core.wire import DECODE_ERRORS
from alpha_cli.stream.bad_lines import BadLines
from alpha_cli.stream.batch import BAD, BLANK, Batch, Dropped

if TYPE_CHECKING:
    from alpha_cli.stream.stage import Stage

_REQUIRED_OF_TICK = ("instrument_token", "timestamp", "last_price")


class LineDecoder:
    """Decodes the lines of a pipe for `stages`; what is wrong goes to `bad`."""

    def __init__(self, stages: Sequence[Stage], bad: BadLines) -> None:
        self._stages = stages
        self._eager = any(stage.reads.every_tick for stage in stages)
        self._bad = bad
        self.rebuild()
        self._lines_before = 0
        self._blank = 0

    def rebuild(self) -> None:
        """Decode from now on what the stages use now."""
        read: set[type] = {Hello, Eof}.union(*(stage.steps for stage in self._stages))
        self._fields = [stage.tick_fields for stage in self._stages]
        self.tick_type = tick_view(self._stages)
        views = [self.tick_type if cls is Tick else cls if cls in read else _skipped(tag) for tag, cls in TYPES.items()]
        self._decode = msgspec.json.Decoder(Union[tuple(views)]).decode

    @property
    def outdated(self) -> bool:
        """Whether the stages use other fields of a tick than they did."""
        return self._fields != [stage.tick_fields for stage in self._stages]

    @property
    def lines_in(self) -> int:
        """Lines read so far, the blank ones not counted."""
        return self._lines_before - self._blank

    def batch(self, data: bytes) -> Batch:
        """Return the batch of whole lines `data`, each ended by a newline."""
        lines = data.split(b"\n")
        lines.pop()
        return Batch(data, lines, self.events(lines) if self._eager else None)

    def events(self, lines: list[bytes], first: int = 0) -> list[Any]:
        """Return the events on `lines`, of which the first is the batch's line number `first`."""
        try:
            return list(map(self._decode, lines))
        except DECODE_ERRORS:
            # In the order of the lines, whatever is wrong with them: the first is the one to name.
            return [self.verified(index, line, self.event(index, line)) for index, line in enumerate(lines, first)]

    def again(self, batch: Batch, first: int = 0) -> None:
        """Decode the lines of `batch` from `first` on once more, after `rebuild`. What was dropped stays so."""
        assert batch.events is not None
        for index in range(first, len(batch.lines)):
            if not isinstance(batch.events[index], Dropped):
                batch.events[index] = self.event(index, batch.lines[index])

    def event(self, index: int, line: bytes) -> Any:
        """Return the event on the batch's line `index`, or `BLANK` or `BAD`."""
        try:
            return self._decode(line)
        except DECODE_ERRORS:
            return self.slow_event(index, line)

    def slow_event(self, index: int, line: bytes) -> Any:
        """As `event`, by the full check: for a line that says nothing to the fast decoder."""
        if not line.strip():
            return BLANK
        try:
            return decode(line)
        except BadLine as error:
            return self._rejected(index, line, error)

    def verified(self, index: int, line: bytes, event: Any) -> Any:
        """`event`, or `BAD` if money moves on its line and the line leaves a doubt."""
        if type(event) in MONEY:
            try:
                check_money(line, event)
            except BadLine as error:
                return self._rejected(index, line, error)
        return event

    def decode_tick(self, line: bytes) -> Any:
        """Return the tick on a line that was kept undecoded. Raise what the decoder raises."""
        try:
            event = self._decode(line)
        except DECODE_ERRORS:  # a naive time, say
            return decode(line)
        return event if type(event) is self.tick_type else decode(line)

    def last_line(self, data: bytes, *, torn_is_bad: bool) -> Batch:
        """Return the batch of bytes after the last newline. A torn line is bad, unless a session is cut off."""
        try:
            decode(data)
        except BadLine as error:
            self._lines_before += 1
            if torn_is_bad and data.strip():
                self._bad.reject(self._lines_before, data, str(error))
            elif not data.strip():
                self._blank += 1
            else:
                self._bad.rejected += 1
            return Batch(b"", [], [])
        return self.batch(data + b"\n")

    @property
    def failed(self) -> bool:
        """A bad line was met that is to stop the stage."""
        return self._bad.failure is not None

    def reject(self, raw: bytes, reason: str) -> None:
        """Count a line that never became part of a batch."""
        self._lines_before += 1
        self._bad.reject(self._lines_before, raw, reason)

    def done(self, lines: int, blank: int) -> None:
        """Count `lines` lines of the batch as dealt with, `blank` of them blank."""
        self._lines_before += lines
        self._blank += blank

    def _rejected(self, index: int, line: bytes, error: BadLine) -> Dropped:
        self._bad.reject(self._lines_before + index + 1, line, str(error))
        return BAD


def tick_view(stages: Sequence[Stage]) -> type:
    """Return the cheapest struct that holds every field of a tick that `stages` use."""
    used: set[str] = set()
    for stage in stages:
        if stage.tick_fields is None:  # all, and without refusing what a newer version may add
            return msgspec.defstruct(
                "AnyTick", [], bases=(Tick,), tag="tick", gc=False, frozen=True, forbid_unknown_fields=False
            )
        used.update(stage.tick_fields)
    hints = get_type_hints(Tick, vars(wire), include_extras=True)
    fields: list[Any] = [(name, hints[name]) for name in _REQUIRED_OF_TICK]
    fields += [
        (field.name, hints[field.name], field.default)
        for field in msgspec.structs.fields(Tick)
        if field.name in used and field.name not in _REQUIRED_OF_TICK
    ]
    return msgspec.defstruct("TickView", fields, tag="tick", gc=False, frozen=True)


def _skipped(tag: str) -> type:
    return msgspec.defstruct(f"Skipped_{tag}", [], tag=tag, gc=False)
