"""One event through the stages of a process: what each adds, what each lets pass, and what returns.

Events are handed from stage to stage as objects. With feedback, orders and fills that a later stage makes return to
the stages before it, before the next line is read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from alpha_cli.core.errors import InvariantBroken
from alpha_cli.core.events import Denial, Eof, Event, Fill, Order, OrderUpdate, Portfolio, Tick
from alpha_cli.core.text import printable

if TYPE_CHECKING:
    from alpha_cli.stream.stage import Stage

#: What returns to earlier stages with `--feedback`, and how many of them may come of one event.
RETURNING = (Order, OrderUpdate, Fill, Denial, Portfolio)
MOST_RETURNS = 10_000


class Cascade:
    """The stages in a row. `tick_types` are the types that a decoded tick may have."""

    def __init__(self, stages: Sequence[Stage], *, feedback: bool) -> None:
        self.tick_types: tuple[type, ...] = (Tick,)
        self._stages = stages
        self._returning: deque[tuple[int, Event]] | None = deque() if feedback else None

    def open(self) -> None:
        """Tell the stages what those after them know at the start, with feedback."""
        if self._returning is not None:
            for place, stage in enumerate(self._stages):
                self._returning.extend((place, event) for event in stage.lifecycle.opening())
            self.give_back([])

    def side_events(self, *, quiet: bool) -> list[Any]:
        """Return what comes of the side inputs of the stages; `quiet` says that there is no other input to read."""
        out: list[Any] = []
        for place, stage in enumerate(self._stages):
            for event in stage.lifecycle.side_events():
                self.push(place, event, out)
            if quiet:
                for event in stage.lifecycle.on_quiet_input():
                    self._push_new(place, event, out)
        if out:
            self.give_back(out)
        return out

    def end(self, *, ended: bool) -> list[Any]:
        """Return what the stages say at the end of the input.

        With `ended`, an `eof` had them say it already: those up to the first stage that does not forward.
        """
        out: list[Any] = []
        for place, stage in enumerate(self._stages):
            if ended:
                ended = stage.flow.forward
                continue
            for event in stage.lifecycle.session_end():
                self._push_new(place, event, out)
        self.give_back(out)
        return out

    def push(self, place: int, event: Any, out: list[Any]) -> None:
        """Hand `event` to the stage at `place` and what comes of it to those after; the last add to `out`."""
        if place == len(self._stages):
            out.append(event)
            return
        stage = self._stages[place]
        is_tick = isinstance(event, self.tick_types)
        if is_tick and stage.reads.last_ticks is not None:  # what goes out before a tick does not know of it
            stage.reads.last_ticks.put(event)
        if type(event) is Eof:
            for last in stage.lifecycle.session_end():
                self._push_new(place, last, out)
            event = _eof_after(stage, event)
        self.hand_on(place, event, stage.step_for(event, is_tick=is_tick)(event), out)

    def hand_on(self, place: int, event: Any, added: Iterable[Event], out: list[Any]) -> None:
        """Give the stages after `place` what it lets pass and what it added, in the order that its flow asks for."""
        flow = self._stages[place].flow
        gated = type(event) in flow.gates
        passes = flow.forward and not gated
        if passes and not flow.before_cause:
            self.push(place + 1, event, out)
        for new in added:
            if not gated or new is not event:
                self._push_new(place, new, out)
            elif flow.forward:  # it was let pass, not made here: so it does not return
                self.push(place + 1, event, out)
        if passes and flow.before_cause:
            self.push(place + 1, event, out)

    def give_back(self, out: list[Any], *, ended: bool = False) -> None:
        """Tell stages what those after them made, and add to `out` what they make of that, until nothing more comes.

        After the end of a session they get it too, but what they add then comes too late and is dropped.
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

    def _push_new(self, place: int, event: Any, out: list[Any]) -> None:
        """Hand on what the stage at `place` made."""
        if self._returning is not None and isinstance(event, RETURNING):
            self._returning.append((place, event))
        self.push(place + 1, event, out)


def _eof_after(stage: Stage, eof: Eof) -> Eof:
    """Return `eof` as the stages after `stage` get it: an error of its own is told to them, unless there is one."""
    failure = stage.lifecycle.failure() if eof.ok else None
    if failure is None:
        return eof
    return Eof(ok=False, code=failure.exit_code, reason=printable(str(failure), 200), count=eof.count)
