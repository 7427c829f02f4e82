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
from alpha_cli.stream.stage import Source, Stage


def pipe(pipeline: str, *, feedback: bool = False) -> Iterator[Any]:
    """Yield the events that come out of `pipeline`, which begins with `feed`. Raise `AlphaError`."""
    from alpha_cli.cli.pipe import build

    program = build(pipeline, feedback=feedback)
    source, stages, feedback = program
    if source is None:
        raise UsageError("the pipeline reads nothing: begin it with feed, or give events to replay()")
    _refuse_text(stages)
    shutdown = Shutdown(drain=0)
    try:
        yield from _events(Chain(stages, feedback=feedback), program.parts, made_batches(source, shutdown))
    finally:
        shutdown.close()


def replay(events: Iterable[Event], pipeline: str, *, feedback: bool = False) -> Iterator[Any]:
    """Yield what comes out of `pipeline` when `events` go in: `replay(ticks, "run-strategy momentum | risk")`."""
    from alpha_cli.cli.pipe import build

    source, stages, feedback = build(pipeline, feedback=feedback)
    if source is not None:
        raise UsageError("the pipeline has a source of its own: leave out feed, or use pipe()")
    _refuse_text(stages)
    yield from _events(Chain(stages, feedback=feedback), stages, (batch_of([event]) for event in events))


def _refuse_text(stages: Sequence[Stage]) -> None:
    if any(stage.name == "show" for stage in stages):
        raise UsageError("show writes text, not events; leave it out")


def _events(chain: Chain, parts: Sequence[Source | Stage], batches: Iterable[Batch]) -> Iterator[Any]:
    """Yield what leaves `chain`, with the life cycle that the loop gives its parts."""
    try:
        for batch in batches:
            yield from _sent(chain.process(batch), parts)
            if chain.failure is not None:
                raise chain.failure
        output = chain.finish()
        for part in parts:
            part.lifecycle.save()
            part.lifecycle.finish()
        yield from _sent(output, parts)
    finally:
        for part in parts:
            part.lifecycle.release()


def _sent(output: bytes, parts: Sequence[Source | Stage]) -> Iterator[Any]:
    for part in parts:
        part.lifecycle.commit(output)
    yield from map(decode, output.split(b"\n")[:-1])
    for part in parts:
        part.lifecycle.acknowledge()
