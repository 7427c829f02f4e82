"""Stages in a row within one process: a batch in, the bytes out.

Events are handed from stage to stage as objects. Lines that only pass are sent on as slices of the
bytes they came in; the slices are cut only where an event is added or a line is dropped. One stage
is a chain of one, so a pipeline gives the same bytes in one process as in several.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from alpha_cli.core.errors import BadData, InvariantBroken, TryAgain
from alpha_cli.core.events import WIRE, Control, Eof, Event, Fill, Hello, Order, OrderUpdate, Portfolio, Tick
from alpha_cli.stream.batch import BAD, BLANK, Batch
from alpha_cli.stream.decoder import LineDecoder
from alpha_cli.stream.last_ticks import TICK_PREFIX, LastTicks
from alpha_cli.stream.splice import Splice, encoded_lines

if TYPE_CHECKING:
    from alpha_cli.stream.stage import Stage

_PREFIX_LENGTH = len(TICK_PREFIX)
_FEW_LINES = 16

#: What returns to earlier stages with `--feedback`, and how much of it may come of one event.
RETURNING = (Order, OrderUpdate, Fill, Portfolio)
MOST_RETURNS = 10_000


class Chain:
    """`process` batches, then `finish`. `code` is the worst exit code that an `eof` told so far."""

    def __init__(self, stages: Sequence[Stage], decoder: LineDecoder | None = None, *, feedback: bool = False) -> None:
        self._stages = stages
        self._decoder = decoder
        self._returning: deque[tuple[int, Event]] | None = deque() if feedback else None
        self._take_tick_type()
        self._forward = all(stage.forward for stage in stages)
        self._markets = _fed_markets(stages)
        # The first stage sees most ticks for nothing, so it is called straight from the loop. A later
        # stage that wants every tick, or a second market, makes every tick take the general way.
        self._first: Callable[[Any], Iterable[Event] | None] = (
            stages[0].steps[Tick] if stages and stages[0].every_tick else _not_asked
        )
        self._all_noteworthy = len(self._markets) > 1 or any(stage.every_tick for stage in stages[1:])
        self._market = self._markets[0] if self._markets else LastTicks()
        # What a later stage sees is made by those before it; and with feedback what comes next depends on
        # what came of this.
        self._ahead = stages[0].ahead if stages and not feedback else None
        self._arrivals = [(place, stage.arrivals) for place, stage in enumerate(stages) if stage.arrivals is not None]
        self._begun = False
        self._closed = False
        self.session_open = False
        self.settled = True  # whether all that was read has been written; the loop sees to it
        self.failure: BadData | None = None  # why to stop after what was handled so far
        self.code = 0
        self.lines_out = 0
        if self._returning is not None:
            for place, stage in enumerate(stages):
                self._returning.extend((place, event) for event in stage.opening())
            self._return([])

    def arrived(self, batch: Batch) -> bytes:
        """What comes of events from beside the stream, before `batch`; none enter it before its first line."""
        if not self._arrivals or not self._begun:
            return b""
        events: list[Any] = []
        for place, arrivals in self._arrivals:
            for event in arrivals():
                self._push(place, event, events)
        if not events:
            return b""
        self._return(events)
        if self._look_again() and self._decoder is not None and batch.events is not None:
            self._decoder.again(batch)
        self.lines_out += len(events)
        return encoded_lines(events)

    def process(self, batch: Batch) -> bytes:
        """What leaves the chain after `batch`; up to the first bad line, if that is to stop us."""
        self._begun = self._begun or bool(batch.lines)
        if self._ahead is not None:
            self._ahead(self._readable(batch))
        out = Splice(batch, forward=self._forward)
        blank = 0
        for index, event, added in self._noteworthy(batch):
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
        """What the stages say at the end of input, unless an `eof` had them say it."""
        events: list[Any] = []
        reached = self._closed  # by that eof, which goes no further than the first stage that does not forward
        for place, stage in enumerate(self._stages):
            if reached:
                reached = stage.forward
                continue
            for event in stage.close():
                self._push_new(place, event, events)
        self._return(events)
        self.lines_out += len(events)
        return encoded_lines(events)

    def _readable(self, batch: Batch) -> Batch:
        """`batch` with nothing in the place of bad lines, and nothing after the one that is to stop us."""
        if batch.events is None or not any(event is BAD for event in batch.events):
            return batch
        first_bad = next(index for index, event in enumerate(batch.events) if event is BAD)
        end = first_bad if self._decoder is not None and self._decoder.failed else len(batch.lines)
        lines = [
            b"" if event is BAD else line for line, event in zip(batch.lines[:end], batch.events[:end], strict=True)
        ]
        return Batch(b"".join(line + b"\n" for line in lines), lines, batch.events)

    # --- which lines need attention ----------------------------------------------------------

    def _noteworthy(self, batch: Batch) -> Iterator[tuple[int, Any, Iterable[Event] | None]]:
        """(index, event, what the first stage added) of each line that does not simply pass.

        By then the market knows of the ticks before it that do.
        """
        if batch.events is None:
            yield from self._decoded_where_needed(batch)
            return
        events, market = batch.events, self._market
        tick_type, first, all_ticks = self._tick_type, self._first, self._all_noteworthy
        watched, wake, newest = market.watched, market.bound_for(events), market.newest
        passed = 0  # the first line of those that pass, up to the one that is looked at
        for index, event in enumerate(events):
            if type(event) is tick_type:
                added = first(event)
                if (
                    added
                    or all_ticks
                    or (watched and event.instrument_token in watched)
                    or (wake is not None and event.timestamp >= wake)
                ):
                    self._pass(events, passed, index)
                    passed = index + 1
                    yield index, event, added
                    wake = market.bound
                else:  # here, where the tick is at hand, this costs a quarter of what it does in a loop of its own
                    newest[event.instrument_token] = event
            else:
                self._pass(events, passed, index)
                passed = index + 1
                yield index, self._verified(batch, index, event), None
                wake = market.bound
                if type(event) is Control and self._look_again():
                    assert self._decoder is not None
                    self._decoder.again(batch, index + 1)
                    tick_type = self._tick_type
        self._pass(events, passed, len(events))

    def _pass(self, events: list[Any], start: int, end: int) -> None:
        """The ticks events[start:end] passed; they are among the newest already."""
        if start < end:
            self._closed = False
            self._market.put(events[end - 1])

    def _look_again(self) -> bool:
        """Decode other fields of ticks from now on, if a `control` event made the stages use others."""
        if self._decoder is None or not self._decoder.outdated:
            return False
        self._decoder.look()
        self._take_tick_type()
        return True

    def _take_tick_type(self) -> None:
        self._tick_type: Any = Tick if self._decoder is None else self._decoder.tick_type
        self._tick_types: Any = (self._tick_type, Tick)  # what takes the slow path of decoding is a whole Tick

    def _decoded_where_needed(self, batch: Batch) -> Iterator[tuple[int, Any, None]]:
        """As `_noteworthy` for undecoded lines: all but ticks that nobody wants."""
        assert self._decoder is not None
        lines, market, start, passed = batch.lines, self._market, 0, 0
        ahead = _FEW_LINES  # to look at; more and more while nobody wants anything else
        while start < len(lines):
            wishes, places = market.wishes, market.look_at(lines, start, start + ahead)
            start, ahead = start + ahead, ahead * 2
            for index in places:
                line = lines[index]
                if line[:_PREFIX_LENGTH] == TICK_PREFIX and not market.wants_line(line):
                    continue
                self._absorb(lines, passed, index)
                passed = index + 1
                if self._decoder.failed:  # a line before it turned out to be bad: nothing is decided after that
                    yield index, BAD, None
                    return
                yield index, self._verified(batch, index, self._decoder.event(index, line)), None
                if market.wishes != wishes:  # of this line came that others are wanted
                    start, ahead = index + 1, _FEW_LINES
                    break
        self._absorb(lines, passed, len(lines))

    def _verified(self, batch: Batch, index: int, event: Any) -> Any:
        if batch.verified or self._decoder is None:
            return event
        return self._decoder.verified(index, batch.lines[index], event)

    def _absorb(self, lines: list[bytes], start: int, end: int) -> None:
        """Tell the markets of the plain ticks in between."""
        if start < end:
            self._closed = False
            for market in self._markets:
                market.absorb_lines(lines[start:end])

    # --- one event through the stages --------------------------------------------------------

    def _handled(self, event: Any, added: Iterable[Event] | None) -> tuple[list[Any], list[Any] | None]:
        """`_around`, once markets and session know of `event`; nothing where the run ends with it."""
        if isinstance(event, self._tick_types):
            self._closed = False
        else:
            self._track_session(event)
            if self.failure is not None or not self._price_is_readable(event):
                return [], None
        return self._around(event, added)

    def _price_is_readable(self, event: Any) -> bool:
        """Decode what the step of `event` will ask the markets for, so that it need not stop half-way."""
        token = getattr(event, "instrument_token", None)
        if token is None or self._decoder is None:
            return True
        failed = self._decoder.failed  # already, by a line that is still to come, if the whole batch was decoded
        for market in self._markets:
            market.last(token)
        return self._decoder.failed == failed

    def _stops_at(self, event: Any, batch: Batch) -> bool:
        """Is this the line that ends the run: bad, or in need of a kept tick that is, or of a newer wire?"""
        if self.failure is not None:
            return True
        if self._decoder is not None and self._decoder.failed:
            return event is BAD or batch.events is None
        return False

    def _around(self, event: Event, added: Iterable[Event] | None) -> tuple[list[Any], list[Any] | None]:
        """What comes out before the line of `event` and what after it; None if a gate holds the line back."""
        out: list[Any] = []
        if added is None:
            self._push(0, event, out)
        else:  # the first stage has seen it
            self._hand_on(0, event, added, out)
        self._return(out, ended=type(event) is Eof)
        if not self._forward:
            return [], out
        at = next((i for i, item in enumerate(out) if item is event), None)
        return (out, None) if at is None else (out[:at], out[at + 1 :])

    def _push(self, place: int, event: Any, out: list[Any]) -> None:
        """Hand `event` to the stage at `place` and what comes of it to those after."""
        if place == len(self._stages):
            out.append(event)
            return
        stage = self._stages[place]
        is_tick = isinstance(event, self._tick_types)
        if is_tick and stage.market is not None:  # not before: to what leads a tick, that tick is not known
            stage.market.put(event)
        if type(event) is Eof:
            for last in stage.close():
                self._push_new(place, last, out)
        self._hand_on(place, event, stage.step_for(event, is_tick=is_tick)(event), out)

    def _hand_on(self, place: int, event: Any, added: Iterable[Event], out: list[Any]) -> None:
        """Give the stages after `place` what it lets pass and what it added, in the order of its choice."""
        stage = self._stages[place]
        gated = type(event) in stage.gates
        passes = stage.forward and not gated
        if passes and not stage.leads:
            self._push(place + 1, event, out)
        for new in added:
            if not gated or new is not event:
                self._push_new(place, new, out)
            elif stage.forward:  # it was let pass, not made here: so it does not return
                self._push(place + 1, event, out)
        if passes and stage.leads:
            self._push(place + 1, event, out)

    def _push_new(self, place: int, event: Any, out: list[Any]) -> None:
        """Hand on what the stage at `place` made."""
        if self._returning is not None and isinstance(event, RETURNING):
            self._returning.append((place, event))
        self._push(place + 1, event, out)

    def _return(self, out: list[Any], *, ended: bool = False) -> None:
        """Let stages know what those after them made, and what they make of that, until nothing more comes.

        After the end of a session they are told, but what they say to it comes too late.
        """
        returning = self._returning
        rounds = 0
        while returning:
            rounds += 1
            if rounds > MOST_RETURNS:
                raise InvariantBroken(
                    f"more than {MOST_RETURNS} orders and fills came of one event: a strategy that answers each fill "
                    "with another order? (--feedback)"
                )
            maker, event = returning.popleft()
            for place, stage in enumerate(self._stages[:maker]):
                if type(event) in stage.steps:
                    for new in stage.steps[type(event)](event):
                        if not ended and new is not event:  # a gate gives back what is past it already
                            self._push_new(place, new, out)

    def _track_session(self, event: Any) -> None:
        self._closed = False
        if type(event) is Hello:
            if event.wire > WIRE:
                self.failure = BadData(
                    f"the input is wire version {event.wire}, this alpha reads {WIRE}; install a newer alpha"
                )
                return
            if self.session_open:  # the recording before this one ended without its eof
                self.code = max(self.code, TryAgain.exit_code)
            self.session_open = True
        elif type(event) is Eof:
            self.session_open = False
            self._closed = True
            self.code = max(self.code, event.code)


def _not_asked(_: Any) -> None:
    """In place of a first stage that wants only watched ticks: it has not seen this one."""


def _fed_markets(stages: Sequence[Stage]) -> list[LastTicks]:
    """The markets that the chain's own input reaches: up to the first stage that lets nothing pass."""
    markets: dict[int, LastTicks] = {}
    for stage in stages:
        if stage.market is not None:
            markets[id(stage.market)] = stage.market
        if not stage.forward:
            break
    return list(markets.values())
