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
from alpha_cli.stream.batch import batch_of
from alpha_cli.stream.chain import Chain
from alpha_cli.stream.loop import made_batches
from alpha_cli.stream.shutdown import Shutdown
from alpha_cli.stream.stage import Stage


def pipe(pipeline: str, *, feedback: bool = False) -> Iterator[Any]:
    """The events that come out of `pipeline`, which begins with `feed`. Raises `AlphaError`."""
    from alpha_cli.cli.pipe import build

    source, stages, feedback = build(pipeline, feedback=feedback)
    if source is None:
        raise UsageError("the pipeline reads nothing: begin it with feed, or give events to replay()")
    _refuse_text(stages)
    shutdown = Shutdown(drain=0)
    try:
        yield from _events(Chain(stages, feedback=feedback), stages, made_batches(source, shutdown))
    finally:
        shutdown.close()


def replay(events: Iterable[Event], pipeline: str, *, feedback: bool = False) -> Iterator[Any]:
    """What comes out of `pipeline` when `events` go in: `replay(ticks, "run-strategy momentum | risk")`."""
    from alpha_cli.cli.pipe import build

    source, stages, feedback = build(pipeline, feedback=feedback)
    if source is not None:
        raise UsageError("the pipeline has a source of its own: leave out feed, or use pipe()")
    _refuse_text(stages)
    yield from _events(Chain(stages, feedback=feedback), stages, (batch_of([event]) for event in events))


def _refuse_text(stages: Sequence[Stage]) -> None:
    if any(stage.name == "show" for stage in stages):
        raise UsageError("show writes text, not events; leave it out")


def _events(chain: Chain, stages: Iterable[Stage], batches: Iterable[Any]) -> Iterator[Any]:
    try:
        for batch in batches:
            data = chain.process(batch)
            for stage in stages:
                stage.commit()
            yield from map(decode, data.split(b"\n")[:-1])
            if chain.failure is not None:
                raise chain.failure
        data = chain.finish()
        for stage in stages:
            stage.keep()
            stage.finished()
        for stage in stages:
            stage.commit()
        yield from map(decode, data.split(b"\n")[:-1])
    finally:
        for stage in stages:
            stage.release()
