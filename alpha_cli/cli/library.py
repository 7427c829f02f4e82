"""alpha as a library: pipelines as iterators of events, for tests and notebooks.

    from alpha_cli import pipe
    for event in pipe("feed | run-strategy momentum | risk | paper"):
        print(event)

The stages are those of the command line, so what comes out is what the shell would have got.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from alpha_cli.core.codec import decode
from alpha_cli.core.errors import UsageError
from alpha_cli.core.events import Event
from alpha_cli.stream.batch import Batch, batch_of
from alpha_cli.stream.chain import Chain
from alpha_cli.stream.loop import made_batches
from alpha_cli.stream.shutdown import Shutdown
from alpha_cli.stream.stage import Program


def pipe(pipeline: str, *, feedback: bool = False) -> Iterator[Any]:
    """Yield the events that come out of `pipeline`, which begins with `feed`. Raise `AlphaError`."""
    from alpha_cli.cli.pipe import build

    program = build(pipeline, feedback=feedback)
    if program.source is None:
        raise UsageError("the pipeline reads nothing: begin it with feed, or give events to replay()")
    shutdown = Shutdown(drain=0)
    try:
        yield from PipelineRun(program).run(made_batches(program.source, shutdown))
    finally:
        shutdown.close()


def replay(events: Iterable[Event], pipeline: str, *, feedback: bool = False) -> Iterator[Any]:
    """Yield what comes out of `pipeline` when `events` go in: `replay(ticks, "run-strategy momentum | risk")`."""
    yield from opened(pipeline, feedback=feedback).run(batch_of([event]) for event in events)


def opened(pipeline: str, *, feedback: bool = False) -> PipelineRun:
    """Return the stages of `pipeline`, which has no source, ready for events. Raise `AlphaError`."""
    from alpha_cli.cli.pipe import build

    program = build(pipeline, feedback=feedback)
    if program.source is not None:
        raise UsageError("the pipeline has a source of its own: leave out feed, or use pipe()")
    return PipelineRun(program)


class PipelineRun:
    """The parts of a pipeline and what comes out of them, batch by batch. Raise `UsageError` for `show`."""

    def __init__(self, program: Program) -> None:
        if any(stage.name == "show" for stage in program.stages):
            raise UsageError("show writes text, not events; leave it out")
        self._parts = program.parts
        self._chain = Chain(program.stages, feedback=program.feedback)

    def run(self, batches: Iterable[Batch]) -> Iterator[Any]:
        """Yield what comes of all `batches` and of their end; release the parts in any case."""
        try:
            for batch in batches:
                yield from self.take(batch)
            yield from self.finish()
        finally:
            self.release()

    def take(self, batch: Batch) -> Iterator[Any]:
        """Yield what comes of `batch`. Raise `AlphaError` after that if it makes the stages stop."""
        yield from self._send(self._chain.process(batch))
        if self._chain.failure is not None:
            raise self._chain.failure

    def finish(self) -> Iterator[Any]:
        """Yield what comes of the end of the stream."""
        output = self._chain.finish()
        for part in self._parts:
            part.lifecycle.save()
            part.lifecycle.finish()
        yield from self._send(output)

    def release(self) -> None:
        """Release locks, databases and processes."""
        for part in self._parts:
            part.lifecycle.release()

    def _send(self, output: bytes) -> Iterator[Any]:
        for part in self._parts:
            part.lifecycle.commit(output)
        yield from map(decode, output.split(b"\n")[:-1])
        for part in self._parts:
            part.lifecycle.acknowledge()
