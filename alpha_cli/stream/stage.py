"""The one loop: it reads, decodes, calls the steps, writes, and decides how a program ends.

A stage is a set of pure steps, one for each type of event it reads: `Callable[[Event],
Iterable[Event]]`, from an event to the events it adds. The loop owns all the rest: batching (one
read, one write, nothing unsent while it waits), bytes, bad lines, `hello` and `eof`, signals,
counters and exit codes. A step does no input or output and knows no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from alpha_cli.core.errors import AlphaError
from alpha_cli.core.events import Eof, Event, Hello, Tick
from alpha_cli.stream.bad_lines import FAIL
from alpha_cli.stream.batch import Batch
from alpha_cli.stream.last_ticks import LastTicks
from alpha_cli.stream.shutdown import Shutdown

Step = Callable[[Any], Iterable[Event]]
TickFields = tuple[str, ...] | None

#: What frames a session, and what mostly passes without a step: nobody may hold these back.
_UNGATED = {Hello, Eof, Tick}


def _nothing(_: Any = None) -> tuple[()]:
    return ()


def _nothing_wrong() -> None:
    return None


def _no_counts() -> Mapping[str, int]:
    return {}


class Options:
    """What every stage lets the user choose; see `options.stage_options`."""

    def __init__(self, bad: str = FAIL, drain: float = 5.0, *, quiet: bool = False) -> None:
        self.bad = bad
        self.drain = drain
        self.quiet = quiet


class Stage:
    """A filter or a sink: what it reads, what it adds, what it lets pass.

    steps       type of event -> the step for it; events of other types only pass
    every_tick  the step for `Tick` is called on each; otherwise only on those that `market` wants
    tick_fields the fields of a tick that are used besides token, time and price; None means all. A function
                where a `control` event can change them
    market      the newest ticks, kept up to date by the loop
    forward     whether what comes in goes out; a sink puts out only what it adds
    gates       types that pass only if the step gives them back; what it gives instead takes their place
    leads       what it adds goes out before the event that caused it: a closed bar before the next tick
    ahead       told of a whole batch before the steps see its events, to prepare their answers
    arrivals    events that came from beside the stream since the last batch; they enter it here
    opening     what stages before this one should know of it at the start, with `--feedback`
    close       the events that end a session; they come before its `eof`
    start       called once, when the loop begins
    keep        called when no more is read and all that was read is handled: what is to be remembered
    finished    called after that, when the input came to its end
    commit      makes durable what was done, before it is said
    release     lets go of files and locks at the end
    counts      the stage's own figures for the closing line
    verdict     the error that the stage ends with although it came to the end of its input, or None
    """

    def __init__(
        self,
        name: str,
        steps: Mapping[type[Event], Step],
        options: Options | None = None,
        *,
        every_tick: bool = False,
        tick_fields: TickFields | Callable[[], TickFields] = (),
        market: LastTicks | None = None,
        forward: bool = True,
        gates: frozenset[type] = frozenset(),
        leads: bool = False,
        ahead: Callable[[Batch], object] | None = None,
        arrivals: Callable[[], Iterable[Event]] | None = None,
        opening: Callable[[], Iterable[Event]] = _nothing,
        close: Callable[[], Iterable[Event]] = _nothing,
        start: Callable[[], object] = _nothing,
        keep: Callable[[], object] = _nothing,
        finished: Callable[[], object] = _nothing,
        commit: Callable[[], object] = _nothing,
        release: Callable[[], object] = _nothing,
        counts: Callable[[], Mapping[str, int]] = _no_counts,
        verdict: Callable[[], AlphaError | None] = _nothing_wrong,
    ) -> None:
        self.name = name
        self.steps = dict(steps)
        self.options = options or Options()
        self.every_tick = every_tick
        self._tick_fields = tick_fields
        self.market = market
        self.forward = forward
        self.gates = gates
        if not gates <= self.steps.keys() - _UNGATED:
            raise ValueError(f"{name}: gates are for types with a step; ticks, hello and eof always pass")
        self.leads = leads
        self.ahead = ahead
        self.arrivals = arrivals
        self.opening = opening
        self.close = close
        self.start = start
        self.keep = keep
        self.finished = finished
        self.commit = commit
        self.release = release
        self.counts = counts
        self.verdict = verdict

    @property
    def tick_fields(self) -> TickFields:
        """The fields of a tick that are used now, besides token, time and price; None: all."""
        fields = self._tick_fields
        return fields() if callable(fields) else fields

    def step(self, event: Event) -> Iterable[Event]:
        """The events that this stage adds after `event`."""
        return self.step_for(event, is_tick=isinstance(event, Tick))(event)

    def step_for(self, event: Any, *, is_tick: bool) -> Step:
        if not is_tick:
            return self.steps.get(type(event), _nothing)
        if self.every_tick or (self.market is not None and self.market.wants(event)):
            return self.steps.get(Tick, _nothing)
        return _nothing


class Source:
    """Makes events instead of reading them.

    `batches` yields verified batches until it is done or `shutdown.requested` is set; the loop adds
    `hello` and `eof`. `counts` are the figures for the closing line.
    """

    def __init__(
        self,
        name: str,
        description: str,
        batches: Callable[[Shutdown], Iterator[Batch]],
        options: Options | None = None,
        *,
        counts: Callable[[], Mapping[str, int]] = _no_counts,
    ) -> None:
        self.name = name
        self.description = description
        self.batches = batches
        self.options = options or Options()
        self.counts = counts


class Program(NamedTuple):
    """What one process runs: `stages` on what `source` makes, or on standard input."""

    source: Source | None
    stages: Sequence[Stage]
    feedback: bool = False  # what later stages add returns to those before, before the next line is read

    @classmethod
    def of(cls, made: Program | Source | Stage) -> Program:
        if isinstance(made, Source):
            return cls(made, [])
        return cls(None, [made]) if isinstance(made, Stage) else made
