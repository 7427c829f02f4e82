"""Stages in a row within one process: a batch in, the bytes out.

Lines that only pass are sent on as slices of the bytes they came in; the slices are cut only where an event is added
or a line is dropped. One stage is a chain of one, so a pipeline gives the same bytes in one process as in several.
Here is decided which lines are handed to the stages at all; `cascade` takes an event through them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from alpha_cli.core.errors import BadData
from alpha_cli.core.events import Control, Eof, Event, Tick
from alpha_cli.stream.batch import BAD, BLANK, Batch
from alpha_cli.stream.cascade import Cascade
from alpha_cli.stream.decoder import LineDecoder
from alpha_cli.stream.last_ticks import TICK_PREFIX, LastTicks
from alpha_cli.stream.session import Session
from alpha_cli.stream.splice import Splice, encoded_lines

if TYPE_CHECKING:
    from alpha_cli.stream.stage import Stage

_PREFIX_LENGTH = len(TICK_PREFIX)
_FEW_LINES = 16


class Chain:
    """`process` batches, then `finish`."""

    def __init__(self, stages: Sequence[Stage], decoder: LineDecoder | None = None, *, feedback: bool = False) -> None:
        self.begun = False  # whether the first line of the stream has come
        self.forwards = all(stage.flow.forward for stage in stages)
        self.lines_out = 0
        self._decoder = decoder
        self._session = Session()
        self._cascade = Cascade(stages, feedback=feedback)
        self._take_tick_type()
        self._all_last_ticks = _fed_last_ticks(stages)
        self._last_ticks = self._all_last_ticks[0] if self._all_last_ticks else LastTicks()
        # The first stage sees most ticks for nothing, so it is called straight from the loop. A later stage that
        # wants every tick, or a second set of last ticks, makes every tick take the general way.
        self._first: Callable[[Any], Iterable[Event] | None] = (
            stages[0].steps[Tick] if stages and stages[0].reads.every_tick else _never_asked
        )
        self._every_tick = len(self._all_last_ticks) > 1 or any(stage.reads.every_tick for stage in stages[1:])
        # What a later stage sees is made by those before it; and with feedback what comes next depends on
        # what came of this.
        self._prepare = stages[0].reads.prepare if stages and not feedback else None
        self._cascade.open()

    @property
    def session_open(self) -> bool:
        """Whether a `hello` still waits for its `eof`."""
        return self._session.open

    @property
    def code(self) -> int:
        """The worst exit code of the sessions so far."""
        return self._session.code

    @property
    def failure(self) -> BadData | None:
        """Why to stop after what was handled so far, or None."""
        return self._session.failure

    def side_events(self, batch: Batch) -> bytes:
        """Return what comes of events from side inputs, before `batch`; nothing before the first line of the stream."""
        events = self._cascade.side_events(quiet=not batch.lines) if self.begun else []
        if not events:
            return b""
        if self._refresh_decoder() and self._decoder is not None and batch.events is not None:
            self._decoder.again(batch)
        self.lines_out += len(events)
        return encoded_lines(events)

    def process(self, batch: Batch) -> bytes:
        """Return what leaves the chain after `batch`; up to the first bad line, if that is to stop us."""
        self.begun = self.begun or bool(batch.lines)
        if self._prepare is not None:
            self._prepare(self._readable(batch))
        out = Splice(batch, forward=self.forwards)
        blank = 0
        for index, event, added in self._lines_of_interest(batch):
            good = event is not BAD and event is not BLANK
            before, after = self._handled(event, added) if good else ([], None)
            if self._stops_at(event, batch):
                out.drop(index)
                if self._decoder is not None:
                    self._decoder.done(index + 1, blank)
                break
            blank += event is BLANK
            if before:
                out.insert(index, before)
            if after is None:
                out.drop(index)
            elif after:
                out.insert(index + 1, after)
        else:
            out.rest()
            if self._decoder is not None:
                self._decoder.done(len(batch.lines), blank)
        self.lines_out += out.lines
        return out.data()

    def finish(self) -> bytes:
        """Return what the stages say at the end of input, unless an `eof` had them say it."""
        events = self._cascade.end(ended=self._session.closed)
        self.lines_out += len(events)
        return encoded_lines(events)

    def _readable(self, batch: Batch) -> Batch:
        """Return `batch` with nothing in the place of bad lines, and nothing after the one that is to stop us."""
        if batch.events is None or not any(event is BAD for event in batch.events):
            return batch
        first_bad = next(index for index, event in enumerate(batch.events) if event is BAD)
        end = first_bad if self._decoder is not None and self._decoder.failed else len(batch.lines)
        lines = [
            b"" if event is BAD else line for line, event in zip(batch.lines[:end], batch.events[:end], strict=True)
        ]
        return Batch(b"".join(line + b"\n" for line in lines), lines, batch.events)

    # --- which lines need attention ----------------------------------------------------------

    def _lines_of_interest(self, batch: Batch) -> Iterator[tuple[int, Any, Iterable[Event] | None]]:
        """Yield (index, event, what the first stage added) of each line that does not simply pass.

        The last ticks know by then of the ticks before it that do.
        """
        if batch.events is None:
            yield from self._decoded_where_needed(batch)
            return
        events, last_ticks = batch.events, self._last_ticks
        tick_type, first, every_tick = self._tick_type, self._first, self._every_tick
        watched, alarm, newest = last_ticks.watched, last_ticks.alarm_for(events), last_ticks.newest
        passed = 0  # the first line of those that pass, up to the one that is looked at
        for index, event in enumerate(events):
            if type(event) is tick_type:
                added = first(event)
                if (
                    added
                    or every_tick
                    or (watched and event.instrument_token in watched)
                    or (alarm is not None and event.timestamp >= alarm)
                ):
                    self._pass(events, passed, index)
                    passed = index + 1
                    yield index, event, added
                    alarm = last_ticks.alarm
                else:  # here, where the tick is at hand, this costs a quarter of what it does in a loop of its own
                    newest[event.instrument_token] = event
            else:
                self._pass(events, passed, index)
                passed = index + 1
                yield index, self._verified(batch, index, event), None
                alarm = last_ticks.alarm
                if type(event) is Control and self._refresh_decoder():
                    assert self._decoder is not None
                    self._decoder.again(batch, index + 1)
                    tick_type = self._tick_type
        self._pass(events, passed, len(events))

    def _pass(self, events: list[Any], start: int, end: int) -> None:
        """Take note that the ticks events[start:end] passed; they are among the newest already."""
        if start < end:
            self._session.closed = False
            self._last_ticks.put(events[end - 1])

    def _refresh_decoder(self) -> bool:
        """Decode other fields of ticks from now on, if a `control` event made the stages use others."""
        if self._decoder is None or not self._decoder.outdated:
            return False
        self._decoder.rebuild()
        self._take_tick_type()
        return True

    def _take_tick_type(self) -> None:
        self._tick_type: Any = Tick if self._decoder is None else self._decoder.tick_type
        # What takes the slow path of decoding is a whole Tick.
        self._cascade.tick_types = (self._tick_type, Tick)

    def _decoded_where_needed(self, batch: Batch) -> Iterator[tuple[int, Any, None]]:
        """Do as `_lines_of_interest` for undecoded lines: yield all but ticks that no stage wants."""
        assert self._decoder is not None
        lines, last_ticks, start, passed = batch.lines, self._last_ticks, 0, 0
        ahead = _FEW_LINES  # to look at; more and more while no other line is wanted
        while start < len(lines):
            revision, places = last_ticks.revision, last_ticks.scan(lines, start, start + ahead)
            start, ahead = start + ahead, ahead * 2
            for index in places:
                line = lines[index]
                if line[:_PREFIX_LENGTH] == TICK_PREFIX and not last_ticks.wants_line(line):
                    continue
                self._absorb(lines, passed, index)
                passed = index + 1
                if self._decoder.failed:  # a line before it turned out to be bad: nothing is decided after that
                    yield index, BAD, None
                    return
                yield index, self._verified(batch, index, self._decoder.event(index, line)), None
                if last_ticks.revision != revision:  # this line made a stage want others
                    start, ahead = index + 1, _FEW_LINES
                    break
        self._absorb(lines, passed, len(lines))

    def _verified(self, batch: Batch, index: int, event: Any) -> Any:
        if batch.verified or self._decoder is None:
            return event
        return self._decoder.verified(index, batch.lines[index], event)

    def _absorb(self, lines: list[bytes], start: int, end: int) -> None:
        """Enter the plain ticks in between into the last ticks of every stage."""
        if start < end:
            self._session.closed = False
            for last_ticks in self._all_last_ticks:
                last_ticks.absorb_lines(lines[start:end])

    # --- one event ---------------------------------------------------------------------------

    def _handled(self, event: Any, added: Iterable[Event] | None) -> tuple[list[Any], list[Any] | None]:
        """Do as `_around`, once last ticks and session know of `event`; nothing where the run ends with it."""
        if isinstance(event, self._cascade.tick_types):
            self._session.closed = False
        else:
            self._session.track(event)
            if self._session.failure is not None or not self._price_is_readable(event):
                return [], None
        return self._around(event, added)

    def _price_is_readable(self, event: Any) -> bool:
        """Decode the last tick that the step of `event` will ask for, so that it need not stop half-way."""
        token = getattr(event, "instrument_token", None)
        if token is None or self._decoder is None:
            return True
        failed = self._decoder.failed  # already, by a line that is still to come, if the whole batch was decoded
        for last_ticks in self._all_last_ticks:
            last_ticks.last(token)
        return self._decoder.failed == failed

    def _stops_at(self, event: Any, batch: Batch) -> bool:
        """Return whether the run ends at this line: it is bad, needs a kept tick that is, or has a newer wire."""
        if self._session.failure is not None:
            return True
        if self._decoder is not None and self._decoder.failed:
            return event is BAD or batch.events is None
        return False

    def _around(self, event: Event, added: Iterable[Event] | None) -> tuple[list[Any], list[Any] | None]:
        """Return (events to write before the line, events after); the second is None if a gate drops the line."""
        out: list[Any] = []
        if added is None:
            self._cascade.push(0, event, out)
        else:  # the first stage has seen it
            self._cascade.hand_on(0, event, added, out)
        self._cascade.give_back(out, ended=type(event) is Eof)
        if not self.forwards:
            return [], out
        at = next((i for i, item in enumerate(out) if item is event), None)
        return (out, None) if at is None else (out[:at], out[at + 1 :])


def _never_asked(_: Any) -> None:
    """Stand in for a first stage that only receives watched ticks."""


def _fed_last_ticks(stages: Sequence[Stage]) -> list[LastTicks]:
    """Return the last ticks that the chain's own input reaches: up to the first stage that lets nothing pass."""
    found: dict[int, LastTicks] = {}
    for stage in stages:
        if stage.reads.last_ticks is not None:
            found[id(stage.reads.last_ticks)] = stage.reads.last_ticks
        if not stage.flow.forward:
            break
    return list(found.values())
