"""The one loop: it reads, decodes, calls the steps, writes, and decides how a program ends.

A stage is a set of pure steps, one for each type of event it reads: `Callable[[Event],
Iterable[Event]]`, from an event to the events it adds. The loop owns all the rest: batching (one
read, one write, nothing unsent while it waits), bytes, bad lines, `hello` and `eof`, signals,
counters and exit codes. A step does no input or output and knows no clock.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from alpha_cli import __version__
from alpha_cli.core.errors import AlphaError, InputOutputError, ReaderGone, TryAgain, printable, tell
from alpha_cli.core.events import WIRE, Eof, Event, Hello, Tick
from alpha_cli.stream.bad_lines import FAIL, BadLines
from alpha_cli.stream.batch import Batch, LineDecoder, batch_of
from alpha_cli.stream.chain import Chain
from alpha_cli.stream.last_ticks import Market
from alpha_cli.stream.lines import LastLine, LongLine, Writer, blocks, reader
from alpha_cli.stream.shutdown import LeaveNow, Shutdown

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
        market: Market | None = None,
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


def run(program: Program, *, stdin: int = 0, stdout: int = 1) -> int:
    """Run a program to the end of its input. Returns the exit code."""
    source, stages, feedback = program
    options = (source or stages[0]).options
    bad = _bad_lines(program)
    decoder = LineDecoder(stages, bad) if source is None else None
    _give_decoder(stages, decoder, bad)
    chain = Chain(stages, decoder, feedback=feedback)
    pipe = Writer(stdout)
    shutdown = Shutdown(options.drain)
    gc.freeze()  # what start-up made stays; see cli.start
    gc.enable()
    try:
        shutdown.install()
        for stage in stages:
            stage.start()
        if source is None:
            assert decoder is not None
            arriving = _arriving(decoder, chain, stdin)
        else:
            arriving = made_batches(source, shutdown)
        code = _pump(arriving, chain, stages, bad, pipe)
    except LeaveNow as leave:
        _say(source, stages, str(leave))
        if leave.late and chain.settled:  # all that came was handled and said: no reason to forget it
            for stage in stages:
                stage.keep()
        return leave.code
    except ReaderGone as gone:
        return gone.exit_code
    except AlphaError as error:
        _say(source, stages, str(error))
        code = error.exit_code
    finally:
        shutdown.finish()
        bad.close()
        for stage in stages:
            stage.release()
    _count(source, stages, decoder, chain, bad)
    if code == 0 and shutdown.requested == signal.SIGINT:
        # So that a shell loop around us ends too: it looks at how its child died.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    return code


def _bad_lines(program: Program) -> BadLines:
    """What becomes of bad lines in this program. A source sees to its own."""
    source, stages, _ = program
    if source is not None:
        return BadLines(source.name, FAIL)
    try:
        return BadLines(stages[0].name, stages[0].options.bad)
    except AlphaError:
        for stage in stages:
            stage.release()
        raise


def _pump(arriving: Iterator[Batch], chain: Chain, stages: Sequence[Stage], bad: BadLines, out: Writer) -> int:
    """Move every batch through the chain; the exit code of a run that came to its end."""
    try:
        for batch in arriving:
            chain.settled = False
            data = chain.arrived(batch) + chain.process(batch)
            _commit(stages)
            out.write(data)
            chain.settled = True
            if problem := chain.failure or bad.failure:  # an eager decoder has looked at lines beyond the chain's end
                raise problem
        chain.settled = False
        data = chain.finish()
        for stage in stages:
            stage.keep()
            stage.finished()
        _commit(stages)
        out.write(data)
        if bad.failure is not None:  # a kept tick that only the end asked for
            raise bad.failure
    except ReaderGone:
        raise
    except AlphaError as error:
        if chain.session_open and all(stage.forward for stage in stages):
            # The stages after us end with the cause, and not with a mere "upstream ended early".
            eof = Eof(ok=False, code=error.exit_code, reason=printable(str(error), 200))
            with suppress(InputOutputError):  # what failed may be the writing
                out.write(batch_of([eof]).data)
        raise
    verdicts = [(stage.name, verdict) for stage in stages if (verdict := stage.verdict()) is not None]
    if chain.session_open:
        cut_off = TryAgain("the input ended without the eof that its hello promised; what came was handled")
        verdicts.append((stages[0].name, cut_off))
    for name, verdict in verdicts:
        tell(f"alpha {name}: {printable(str(verdict), 500)}")
    return max([chain.code, *(verdict.exit_code for _, verdict in verdicts)])


def _commit(stages: Sequence[Stage]) -> None:
    for stage in stages:
        stage.commit()


def _arriving(decoder: LineDecoder, chain: Chain, fd: int) -> Iterator[Batch]:
    """Batches of what comes in on `fd`."""
    for block in blocks(reader(fd)):
        if isinstance(block, LongLine):
            decoder.reject(block.prefix, f"line of {block.length} bytes is over the limit")
            yield Batch(b"", [], [])
        elif isinstance(block, LastLine):
            # Torn off, or merely without its newline? Only a full look can tell.
            batch = decoder.last_line(block.data, torn_is_bad=not chain.session_open)
            yield batch
        else:
            yield decoder.batch(block)


def made_batches(source: Source, shutdown: Shutdown) -> Iterator[Batch]:
    """The batches of `source` between `hello` and `eof`."""
    yield batch_of([Hello(wire=WIRE, source=source.description, version=__version__)])
    count = 0
    try:
        for batch in source.batches(shutdown):
            count += len(batch.lines)
            yield batch
    except AlphaError as error:
        yield batch_of([Eof(ok=False, code=error.exit_code, reason=printable(str(error), 200), count=count)])
        raise
    reason = signal.Signals(shutdown.requested).name if shutdown.requested else None
    yield batch_of([Eof(ok=True, code=0, reason=reason, count=count)])


def _give_decoder(stages: Sequence[Stage], decoder: LineDecoder | None, bad: BadLines) -> None:
    """A market that keeps lines must be able to read them."""
    if decoder is None:
        return
    for stage in stages:
        if stage.market is not None:
            stage.market.decode = decoder.decode_tick
            stage.market.broken = lambda line, error: bad.reject(None, line, str(error))


def _say(source: Source | None, stages: Sequence[Stage], message: str) -> None:
    name = source.name if source is not None else stages[0].name if stages else "pipe"
    tell(f"alpha {name}: {printable(message, 500)}")


def _count(
    source: Source | None, stages: Sequence[Stage], decoder: LineDecoder | None, chain: Chain, bad: BadLines
) -> None:
    """One line of counters for each stage, on stderr."""
    parts: list[Source | Stage] = [*([source] if source else []), *stages]
    for place, part in enumerate(parts):
        if part.options.quiet:
            continue
        counts: dict[str, int] = {}
        if place == 0 and decoder is not None:
            counts.update(
                {"in": decoder.lines_in, "accepted": decoder.lines_in - bad.rejected, "rejected": bad.rejected}
            )
        counts.update(part.counts())
        if place == len(stages) - (source is None):
            counts["out"] = chain.lines_out
        tell(f"alpha {part.name}: " + " ".join(f"{key}={value}" for key, value in counts.items()))
