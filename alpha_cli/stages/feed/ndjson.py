"""Recorded NDJSON to batches: ticks in wire form as their original bytes, other ticks converted.

In most blocks every line is a tick in wire form; they are checked by decoding them. Any other block is handled
line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Union

import msgspec
from msgspec import Meta, Struct

from alpha_cli.core.codec import decode
from alpha_cli.core.errors import BadData, BadLine
from alpha_cli.core.events import WIRE, Eof, Hello, Tick, TickLike
from alpha_cli.core.wire import DECODE_ERRORS, MAX_LINE, parse_object
from alpha_cli.stages.feed.engine import Normaliser
from alpha_cli.stages.feed.reader import Reader, encoded, joined
from alpha_cli.stream.bad_lines import BadLines
from alpha_cli.stream.batch import Batch
from alpha_cli.stream.log import log_line, worth_logging


class _Nothing(Struct, tag="nothing"):
    """A type that no line decodes as: only in a union does msgspec require the field `type`."""

    impossible: Annotated[int, Meta(gt=0, lt=0)]


#: A tick with additional fields.
_LooseTick: Any = msgspec.defstruct("LooseTick", [], bases=(Tick,), tag="tick", gc=False, forbid_unknown_fields=False)

_decode_tick = msgspec.json.Decoder(Tick | _Nothing).decode
_decode_loosely = msgspec.json.Decoder(Union[_LooseTick, _Nothing]).decode


class NdjsonReader(Reader):
    """Reads the event types in `types`, never the recording's own `hello` and `eof`."""

    def __init__(
        self, normaliser: Normaliser, bad: BadLines, counts: dict[str, int], label: str, types: frozenset[str]
    ) -> None:
        super().__init__(normaliser, bad, counts, label)
        self._types = types
        self._in_session = False

    def batches(self, read: Callable[[], bytes | None], cut_off: Callable[[], bool] = bool) -> Iterator[Batch]:
        """Yield batches as in `Reader`. A session without its `eof` is reported and counted."""
        yield from super().batches(read, cut_off)
        if self._in_session and not cut_off():
            self._report_cut_off()

    def batch(self, data: bytes) -> Batch:
        """Return the batch as in `Reader`; the original bytes if all lines are ticks in wire form."""
        lines = data.split(b"\n")
        lines.pop()
        try:
            ticks: list[Any] = list(map(_decode_tick, lines))
        except DECODE_ERRORS:
            return self._line_by_line(lines)
        if not lines or len(data) > MAX_LINE or "tick" not in self._types or _has_long_price(ticks):
            return self._line_by_line(lines)
        self._line_number += len(lines)
        self.counts["in"] += len(lines)
        self.counts["ticks"] += len(lines)
        self.normaliser.previous = ticks[-1].timestamp
        return Batch(data, lines, ticks, verified=True)

    def _line_by_line(self, lines: Iterable[bytes]) -> Batch:
        kept: list[bytes] = []
        events: list[Any] = []
        for line in lines:
            self._line_number += 1
            if not line.strip():
                continue
            self.counts["in"] += 1
            try:
                found = self._line(line)
            except BadLine as error:
                self.reject(line, str(error), self._token_on(line))
                continue
            if found is not None:
                kept.append(found[0])
                events.append(found[1])
        return joined(kept, events)

    def _line(self, line: bytes) -> tuple[bytes, Any] | None:
        """Return the line to pass on and its event; None if its type is not wanted."""
        if len(line) > MAX_LINE:
            raise BadLine(f"line of {len(line)} bytes is over the limit of {MAX_LINE}")
        try:
            tick: Any = _decode_tick(line)
        except DECODE_ERRORS:
            record = parse_object(line)
            name = record.get("type", "tick")
            if name != "tick":
                return self._other(line, name)
            try:
                tick = Tick(*msgspec.structs.astuple(_decode_loosely(line)))
            except DECODE_ERRORS:
                return self._converted(record)
        if _has_long_price((tick,)):
            return self._converted(parse_object(line))
        self.normaliser.previous = tick.timestamp
        return self._accepted(line, tick)

    def _converted(self, record: dict[str, Any]) -> tuple[bytes, Tick] | None:
        plan = self.normaliser.plan(tuple(record))
        tick = self.normaliser.tick(record, plan)
        extras = {name: record[name] for name in plan.extras}
        return self._accepted(encoded(tick, extras), tick)

    def _accepted(self, line: bytes, tick: Tick) -> tuple[bytes, Tick] | None:
        if "tick" not in self._types:
            self.normaliser.count("not_asked_for")
            return None
        self.counts["ticks"] += 1
        return line, tick

    def _other(self, line: bytes, name: Any) -> tuple[bytes, Any] | None:
        event = decode(line)
        if type(event) is Hello and event.wire > WIRE:
            raise BadData(f"a recording of wire version {event.wire}, this alpha reads {WIRE}; install a newer alpha")
        if type(event) is Hello or type(event) is Eof:
            if self._in_session and type(event) is Hello:
                self._report_cut_off()
            self._in_session = type(event) is Hello
            return None
        if name not in self._types:
            self.normaliser.count("not_asked_for")
            return None
        return line, event

    def _report_cut_off(self) -> None:
        count = self.counts["cut_off"] = self.counts.get("cut_off", 0) + 1
        if worth_logging(count):
            where = self._label or "the recording: "
            log_line(f"alpha feed: {where}a session has no eof, so its end may be missing")

    def _token_on(self, line: bytes) -> int | None:
        """Return the instrument of a bad line, if it has one."""
        try:
            record = parse_object(line)
        except BadLine:
            return None
        return self.normaliser.token_of(record, self.normaliser.plan(tuple(record)))


def _has_long_price(ticks: Iterable[TickLike]) -> bool:
    """Return whether any price has more than four decimals: then it is not the float nearest to its first four.

    Floor division by 1.0 is the fastest way to the whole part of a float.
    """
    return bool([1 for tick in ticks if ((price := tick.last_price) * 1e4 + 0.5) // 1.0 / 1e4 != price])
