"""alpha as a library: pipelines as iterators of events, for tests and notebooks.

    from alpha_cli import pipe
    for event in pipe("feed | run-strategy momentum | risk | paper"):
        print(event)

The stages are those of the command line, so what comes out is what the shell would have got.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from alpha_cli.core.codec import decode
from alpha_cli.core.errors import UsageError
from alpha_cli.core.events import Event
from alpha_cli.stream.batch import Batch, batch_of
from alpha_cli.stream.chain import Chain
from alpha_cli.stream.loop import made_batches
from alpha_cli.stream.shutdown import Shutdown
from alpha_cli.stream.stage import Stage


def pipe(pipeline: str, *, feedback: bool = False) -> Iterator[Any]:
    """Return the events that come out of `pipeline`, which begins with `feed`. Raises `AlphaError`."""
    from alpha_cli.cli.pipe import build

    source, stages, feedback = build(pipeline, feedback=feedback)
    if source is None:
        raise UsageError("the pipeline reads nothing: begin it with feed, or give events to replay()")
    session = Session(stages, feedback=feedback)
    shutdown = Shutdown(drain=0)
    try:
        yield from session.run(made_batches(source, shutdown))
    finally:
        shutdown.close()


def replay(events: Iterable[Event], pipeline: str, *, feedback: bool = False) -> Iterator[Any]:
    """Return what comes out of `pipeline` when `events` go in: `replay(ticks, "run-strategy momentum | risk")`."""
    yield from opened(pipeline, feedback=feedback).run(batch_of([event]) for event in events)


def opened(pipeline: str, *, feedback: bool = False) -> Session:
    """Return the stages of `pipeline`, which has no source, ready for events. Raises `AlphaError`."""
    from alpha_cli.cli.pipe import build

    source, stages, feedback = build(pipeline, feedback=feedback)
    if source is not None:
        raise UsageError("the pipeline has a source of its own: leave out feed, or use pipe()")
    return Session(stages, feedback=feedback)


class Session:
    """The stages of a pipeline and what comes out of them, batch by batch. Raises `UsageError` for `show`."""

    def __init__(self, stages: Sequence[Stage], *, feedback: bool = False) -> None:
        if any(stage.name == "show" for stage in stages):
            raise UsageError("show writes text, not events; leave it out")
        self._stages = stages
        self._chain = Chain(stages, feedback=feedback)

    def run(self, batches: Iterable[Batch]) -> Iterator[Any]:
        """Return what comes of all `batches` and of their end; release the stages in any case."""
        try:
            for batch in batches:
                yield from self.take(batch)
            yield from self.finish()
        finally:
            self.release()

    def take(self, batch: Batch) -> Iterator[Any]:
        """Return what comes of `batch`. Raises `AlphaError` after that if it makes the stages stop."""
        data = self._chain.process(batch)
        for stage in self._stages:
            stage.commit()
        yield from map(decode, data.split(b"\n")[:-1])
        if self._chain.failure is not None:
            raise self._chain.failure

    def finish(self) -> Iterator[Any]:
        """Return what comes of the end of the stream."""
        data = self._chain.finish()
        for stage in self._stages:
            stage.keep()
            stage.finished()
        for stage in self._stages:
            stage.commit()
        yield from map(decode, data.split(b"\n")[:-1])

    def release(self) -> None:
        """Give back what the stages hold: locks, databases, processes."""
        for stage in self._stages:
            stage.release()
