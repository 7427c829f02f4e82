"""The one loop: it reads, decodes, calls the steps, writes, and decides how a program ends.

The loop owns batching (one read, one write, nothing unsent while it waits), bytes, bad lines, `hello` and `eof`,
signals, counters and exit codes.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress

from alpha_cli.core.errors import AlphaError, InputOutputError, ReaderGone, TryAgain
from alpha_cli.core.events import WIRE, Eof, Hello
from alpha_cli.core.text import printable
from alpha_cli.core.version import __version__
from alpha_cli.stream.bad_lines import FAIL, BadLines
from alpha_cli.stream.batch import Batch, batch_of
from alpha_cli.stream.chain import Chain
from alpha_cli.stream.decoder import LineDecoder
from alpha_cli.stream.lines import LastLine, LongLine, Writer, blocks, reader
from alpha_cli.stream.log import log_line
from alpha_cli.stream.shutdown import LeaveNow, Shutdown
from alpha_cli.stream.stage import Program, Source, Stage


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
        log_line(f"alpha {name}: {printable(str(verdict), 500)}")
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
    log_line(f"alpha {name}: {printable(message, 500)}")


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
        log_line(f"alpha {part.name}: " + " ".join(f"{key}={value}" for key, value in counts.items()))
