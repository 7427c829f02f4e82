"""The one loop: it reads, decodes, calls the steps, writes, and decides how a program ends.

The loop owns batching (one read, one write, nothing unsent while it waits), bytes, bad lines, `hello` and `eof`,
signals, side inputs, counters and exit codes. Of each batch it first commits what the stages did, then writes, then
acknowledges: what was written is durable, what was committed and not written can be written again.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from contextlib import suppress

from alpha_cli.core.errors import AlphaError, BadData, InputOutputError, ReaderGone, TryAgain
from alpha_cli.core.events import WIRE, Eof, Hello
from alpha_cli.core.text import printable
from alpha_cli.core.version import __version__
from alpha_cli.stream.bad_lines import FAIL, BadLines
from alpha_cli.stream.batch import Batch, batch_of
from alpha_cli.stream.chain import Chain
from alpha_cli.stream.decoder import LineDecoder
from alpha_cli.stream.inputs import Inputs, reader
from alpha_cli.stream.lines import LastLine, LongLine, Writer, blocks
from alpha_cli.stream.log import log_line
from alpha_cli.stream.shutdown import LeaveNow, Shutdown
from alpha_cli.stream.stage import Program, Source
from alpha_cli.stream.status_file import StatusFiles


def run(program: Program, *, stdin: int = 0, stdout: int = 1) -> int:
    """Run a program to the end of its input. Return the exit code."""
    try:
        loop = Loop(program, stdin, stdout)
    except AlphaError:
        for part in program.parts:
            part.lifecycle.release()
        raise
    return loop.run()


class Loop:
    """One run of a program."""

    def __init__(self, program: Program, stdin: int, stdout: int) -> None:
        source, stages, feedback = program
        self._program = program
        self._parts = program.parts
        self._stdin = stdin
        self._writer = Writer(stdout)
        first = source or stages[0]
        # A source sees to its own bad lines.
        self._bad = BadLines(first.name, FAIL if source is not None else first.options.bad)
        self._decoder = LineDecoder(stages, self._bad) if source is None else None
        if self._decoder is not None:
            _give_decoder(program, self._decoder, self._bad)
        self._chain = Chain(stages, self._decoder, feedback=feedback)
        self._settled = True  # whether all that was read has been written
        self._inputs = Inputs()
        self._shutdown = Shutdown(first.options.drain, self._inputs)
        self._status = StatusFiles(self._parts)
        self._why: str | None = None  # the last error, for `alpha status`

    def run(self) -> int:
        """Run to the end of the input. Return the exit code."""
        gc.freeze()  # what start-up made stays; see cli.app.start
        gc.enable()
        code, whole = AlphaError.exit_code, False  # of what nobody foresaw
        try:
            self._shutdown.install()
            for part in self._parts:
                part.lifecycle.start(self._inputs)
            code, whole = self._pump(), True
        except LeaveNow as leave:
            taken = "the reader of the output did not take it within --drain; the rest of it is lost"
            self._log(taken if leave.late and self._writer.left else str(leave))
            if leave.late and self._settled:  # all that came was handled and written: no reason to forget it
                self._save()
            code = leave.code
            return code
        except ReaderGone as gone:
            code = gone.exit_code
            return code
        except AlphaError as error:
            self._log(str(error))
            code, whole = error.exit_code, True
        finally:
            interrupted = code == 0 and self._shutdown.requested == signal.SIGINT
            self._status.end(128 + signal.SIGINT if interrupted else code, self._why, ask=whole)
            self._release()
        self._log_counts()
        if code == 0 and self._shutdown.requested == signal.SIGINT:
            # So that a shell loop around us ends too: it looks at how its child died.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        return code

    def _pump(self) -> int:
        """Move every batch through the chain. Return the exit code of a run that came to its end."""
        chain, bad = self._chain, self._bad
        try:
            for batch in self._arriving():
                self._settled = False
                self._send(chain.side_events(batch) + chain.process(batch))
                self._settled = True
                self._status.handled(batch.lines)
                if chain.begun:
                    self._inputs.begin()
                if problem := chain.failure or bad.failure:  # an eager decoder has read lines beyond the chain's end
                    raise problem
            self._settled = False
            output = chain.finish()
            self._save()
            for part in self._parts:
                part.lifecycle.finish()
            self._send(output)
            if bad.failure is not None:  # a kept tick that only the end asked for
                raise bad.failure
            self._check_understood()
        except ReaderGone:
            raise
        except AlphaError as error:
            self._write_eof_of(error)
            raise
        return self._verdict()

    def _check_understood(self) -> None:
        """Raise `BadData` if lines came and not one was understood; the stages after this one get it as an `eof`."""
        lines = 0 if self._decoder is None else self._decoder.lines_in
        if not lines or lines > self._bad.rejected:
            return
        error = BadData(f"not one of the {lines} lines of the input was understood; see the bad lines above")
        if self._chain.forwards:
            self._write_eof(error)
        raise error

    def _send(self, output: bytes) -> None:
        """Commit, write, acknowledge."""
        for part in self._parts:
            part.lifecycle.commit(output)
        self._writer.write(output)
        for part in self._parts:
            part.lifecycle.acknowledge()

    def _arriving(self) -> Iterator[Batch]:
        """Yield the batches of the source, or of what comes in; an empty one when only side inputs have news."""
        if self._program.source is not None:
            return made_batches(self._program.source, self._shutdown)
        assert self._decoder is not None
        return read_batches(self._decoder, self._chain, self._stdin, self._inputs)

    def _write_eof_of(self, error: AlphaError) -> None:
        """Let the stages after us end with the cause, and not with a mere "upstream ended early"."""
        if self._chain.session_open and self._chain.forwards:
            self._write_eof(error)

    def _write_eof(self, error: AlphaError) -> None:
        eof = Eof(ok=False, code=error.exit_code, reason=printable(str(error), 200))
        with suppress(InputOutputError):  # what failed may be the writing
            self._writer.write(batch_of([eof]).data)

    def _verdict(self) -> int:
        """Log why the program ends with an error although its input came to an end. Return the exit code."""
        parts = self._parts
        verdicts = [(part.name, verdict) for part in parts if (verdict := part.lifecycle.verdict()) is not None]
        if self._chain.session_open:
            cut_off = TryAgain("the input ended without the eof that its hello promised; what came was handled")
            verdicts.append((self._program.stages[0].name, cut_off))
        for name, verdict in verdicts:
            self._why = printable(str(verdict), 500)
            log_line(f"alpha {name}: {self._why}")
        return max([self._chain.code, *(verdict.exit_code for _, verdict in verdicts)])

    def _save(self) -> None:
        for part in self._parts:
            part.lifecycle.save()

    def _release(self) -> None:
        self._shutdown.finish()
        self._bad.close()
        for part in self._parts:
            part.lifecycle.release()
        self._status.release()
        self._inputs.close()

    def _log(self, message: str) -> None:
        parts = self._parts
        self._why = printable(message, 500)
        log_line(f"alpha {parts[0].name if parts else 'pipe'}: {self._why}")

    def _log_counts(self) -> None:
        """Log one line of counters for each part."""
        for part in self._parts:
            if part.options.quiet:
                continue
            counts: dict[str, int] = {}
            if part is self._parts[0] and self._decoder is not None:
                lines, rejected = self._decoder.lines_in, self._bad.rejected
                counts.update({"in": lines, "accepted": lines - rejected, "rejected": rejected})
            counts.update(part.lifecycle.counts())
            if part is self._parts[-1]:
                counts["out"] = self._chain.lines_out
            log_line(f"alpha {part.name}: " + " ".join(f"{key}={value}" for key, value in counts.items()))


def read_batches(decoder: LineDecoder, chain: Chain, fd: int, inputs: Inputs) -> Iterator[Batch]:
    """Yield batches of what comes in on `fd`; an empty one when something registered with `inputs` fired."""
    for block in blocks(reader(fd, inputs)):
        if isinstance(block, LongLine):
            decoder.reject(block.prefix, f"line of {block.length} bytes is over the limit")
            yield Batch(b"", [], [])
        elif isinstance(block, LastLine):
            # Torn off, or merely without its newline? Only a full look can tell.
            yield decoder.last_line(block.data, torn_is_bad=not chain.session_open)
        else:
            yield decoder.batch(block) if block else Batch(b"", [], [])


def made_batches(source: Source, shutdown: Shutdown) -> Iterator[Batch]:
    """Yield the batches of `source` between `hello` and `eof`."""
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


def _give_decoder(program: Program, decoder: LineDecoder, bad: BadLines) -> None:
    """Let the last ticks, which are kept as lines, be decoded when they are asked for."""
    for stage in program.stages:
        last_ticks = stage.reads.last_ticks
        if last_ticks is not None:
            last_ticks.decode = decoder.decode_tick
            last_ticks.broken = lambda line, error: bad.reject(None, line, str(error))
