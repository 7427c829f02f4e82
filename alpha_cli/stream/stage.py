"""What a stage is: pure steps, how lines flow past them, and a life cycle.

A step is `Callable[[Event], Iterable[Event]]`, one for each type of event that the stage reads: from an event to the
events it adds. A step does no input or output and knows no clock. The loop owns all the rest; see `loop`.

To write a stage, fill in `Reads`, and where the defaults do not fit, `Flow` and a subclass of `Lifecycle`;
docs/adding-a-stage.md has a worked example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from alpha_cli.core.errors import AlphaError
from alpha_cli.core.events import Eof, Event, Hello, Tick
from alpha_cli.stream.bad_lines import FAIL
from alpha_cli.stream.batch import Batch
from alpha_cli.stream.inputs import Inputs
from alpha_cli.stream.last_ticks import LastTicks

if TYPE_CHECKING:
    from alpha_cli.stream.shutdown import Shutdown

Step = Callable[[Any], Iterable[Event]]
TickFields = tuple[str, ...] | None

#: What frames a session, and what mostly passes without a step: no stage may hold these back.
_UNGATED = {Hello, Eof, Tick}


def _no_events(_: Any) -> tuple[()]:
    return ()


class Options(NamedTuple):
    """What the user may choose of every stage; see `cli.options.stage_options`.

    bad     what becomes of a line that cannot be read: fail, skip or the path of a dead-letter file
    drain   seconds to wait for the end of the input after a signal
    quiet   whether to leave out the closing line of counters
    status  the file for `alpha status`, in the folder of --state; `stream.status_file` says what is in it
    claim   whether the stage keeps nothing else there, so that its lock is taken for the status alone
    """

    bad: str = FAIL
    drain: float = 5.0
    quiet: bool = False
    status: Path | None = None
    claim: bool = False


class Reads(NamedTuple):
    """What a stage reads.

    steps       type of event -> the step for it; events of other types only pass
    every_tick  whether the step for `Tick` is called on each tick; otherwise only on those that `last_ticks` wants
    tick_fields the fields of a tick that are used besides token, time and price; None means all. A function
                where a `control` event can change them
    last_ticks  the newest tick of each instrument, kept up to date by the loop
    prepare     called with a whole batch before the steps see its events, to prepare their answers
    """

    steps: Mapping[type[Event], Step]
    every_tick: bool = False
    tick_fields: TickFields | Callable[[], TickFields] = ()
    last_ticks: LastTicks | None = None
    prepare: Callable[[Batch], object] | None = None


class Flow(NamedTuple):
    """How lines pass a stage.

    forward      whether what comes in goes out; a sink puts out only what it adds
    gates        types that pass only if the step gives them back; what it gives instead takes their place
    before_cause whether what the stage adds goes out before the event that caused it: a closed bar before the
                 next tick
    """

    forward: bool = True
    gates: frozenset[type] = frozenset()
    before_cause: bool = False


class Lifecycle:
    """When the loop calls a stage or a source, apart from its steps, in this order. Override what is needed.

    A stage that keeps something makes it durable in `commit`, which is given the bytes that are about to be written;
    `acknowledge` follows the write.
    """

    def opening(self) -> Iterable[Event]:
        """Return what stages before this one should know at the start, with `--feedback`."""
        return ()

    def start(self, inputs: Inputs) -> None:
        """Begin; register descriptors and timers with `inputs`. When one of them fires, `side_events` is called."""

    def side_events(self) -> Iterable[Event]:
        """Return the events that came from elsewhere than the input since the last call; they enter the stage here.

        Called before each batch, and when something registered with `inputs` fires while the input is quiet.
        """
        return ()

    def on_quiet_input(self) -> Iterable[Event]:
        """Return what the stage has to say although no line comes.

        Called after `side_events` when something registered fired while there was no input to read.
        """
        return ()

    def session_end(self) -> Iterable[Event]:
        """Return the events that end a session; they come before its `eof`."""
        return ()

    def failure(self) -> AlphaError | None:
        """Return why nothing useful came of the stream so far; asked at each `eof`, which then says so downstream."""
        return None

    def save(self) -> None:
        """Take a last snapshot: no more is read, and all that was read is handled."""

    def finish(self) -> None:
        """End the work: called after `save` when the input came to its end."""

    def commit(self, output: bytes) -> None:
        """Make durable what was done; `output` is what the program writes next.

        In a fused pipeline it is the output of the whole pipeline, and stages commit in their order.
        """

    def acknowledge(self) -> None:
        """Take note that the output of the last `commit` was written."""

    def release(self) -> None:
        """Close files and release locks; called once, however the program ends."""

    def counts(self) -> Mapping[str, int]:
        """Return the figures of the closing line."""
        return {}

    def refuses(self) -> str | None:
        """Return why the stage refuses everything that it is asked for, for `alpha status`; None: it does not."""
        return None

    def status(self) -> Mapping[str, Any]:
        """Return what only this kind of stage has to tell `alpha status`; asked about once a second."""
        return {}

    def verdict(self) -> AlphaError | None:
        """Return the error that the program ends with although its input came to an end, or None."""
        return None


class Stage:
    """A filter or a sink: what it reads, how lines pass it, and its life cycle."""

    def __init__(
        self,
        name: str,
        reads: Reads,
        *,
        flow: Flow | None = None,
        lifecycle: Lifecycle | None = None,
        options: Options | None = None,
    ) -> None:
        self.name = name
        self.reads = reads
        self.steps = dict(reads.steps)
        self.flow = flow or Flow()
        self.lifecycle = lifecycle or Lifecycle()
        self.options = options or Options()
        if not self.flow.gates <= self.steps.keys() - _UNGATED:
            raise ValueError(f"{name}: gates are for types with a step; ticks, hello and eof always pass")

    @property
    def tick_fields(self) -> TickFields:
        """The fields of a tick that are used now, besides token, time and price; None: all."""
        fields = self.reads.tick_fields
        return fields() if callable(fields) else fields

    def step(self, event: Event) -> Iterable[Event]:
        """Return the events that this stage adds after `event`."""
        return self.step_for(event, is_tick=isinstance(event, Tick))(event)

    def step_for(self, event: Any, *, is_tick: bool) -> Step:
        """Return the step that `event` goes to; one that adds nothing if the stage does not want it."""
        if not is_tick:
            return self.steps.get(type(event), _no_events)
        last_ticks = self.reads.last_ticks
        if self.reads.every_tick or (last_ticks is not None and last_ticks.wants(event)):
            return self.steps.get(Tick, _no_events)
        return _no_events


class Source:
    """Makes events instead of reading them.

    `batches` yields verified batches until it is done or a stop is requested; the loop adds `hello` and `eof`. An
    empty batch says that something registered with `Inputs` fired while the source waited.
    """

    def __init__(
        self,
        name: str,
        description: str,
        batches: Callable[[Shutdown], Iterator[Batch]],
        *,
        lifecycle: Lifecycle | None = None,
        options: Options | None = None,
    ) -> None:
        self.name = name
        self.description = description
        self.batches = batches
        self.lifecycle = lifecycle or Lifecycle()
        self.options = options or Options()


class Program(NamedTuple):
    """What one process runs: `stages` on what `source` makes, or on standard input."""

    source: Source | None
    stages: Sequence[Stage]
    feedback: bool = False  # what later stages add returns to those before, before the next line is read

    @classmethod
    def of(cls, made: Program | Source | Stage) -> Program:
        """Return `made` as a program."""
        if isinstance(made, Source):
            return cls(made, [])
        return cls(None, [made]) if isinstance(made, Stage) else made

    @property
    def parts(self) -> list[Source | Stage]:
        """Source and stages, in the order of the flow."""
        return [*([self.source] if self.source else []), *self.stages]
