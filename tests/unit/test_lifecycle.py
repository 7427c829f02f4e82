"""The life cycle that the loop gives to stages and sources: in which order, and with which bytes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest
from support.events import order, stream, tick

from alpha_cli.core.codec import decode, encode
from alpha_cli.core.errors import AlphaError, Halted, InputOutputError
from alpha_cli.core.events import Event, Gap, Order
from alpha_cli.stream.batch import Batch, batch_of
from alpha_cli.stream.inputs import Inputs
from alpha_cli.stream.loop import run
from alpha_cli.stream.shutdown import Shutdown
from alpha_cli.stream.stage import Flow, Lifecycle, Options, Program, Reads, Source, Stage


class Recorder(Lifecycle):
    """Notes what it is called for; `output` is the descriptor that the program writes to, read after each write."""

    def __init__(self, name: str, calls: list[Any], output: int | None = None) -> None:
        self.name = name
        self.calls = calls
        self.output = output
        self.seen = b""
        self.fails: BaseException | None = None
        self.ends_with: AlphaError | None = None

    def start(self, inputs: Inputs) -> None:
        self.calls.append((self.name, "start"))

    def save(self) -> None:
        self.calls.append((self.name, "save"))

    def finish(self) -> None:
        self.calls.append((self.name, "finish"))

    def commit(self, output: bytes) -> None:
        if self.output is not None:
            self.seen += written(self.output)
            committed = b"".join(call[2] for call in self.calls if call[1] == "commit")
            assert self.seen == committed, "something was written before it was committed"
        if self.fails is not None:
            raise self.fails
        self.calls.append((self.name, "commit", output))

    def acknowledge(self) -> None:
        self.calls.append((self.name, "acknowledge"))

    def release(self) -> None:
        self.calls.append((self.name, "release"))

    def verdict(self) -> AlphaError | None:
        return self.ends_with

    def counts(self) -> Mapping[str, int]:
        return {"noted": len(self.calls)}


def written(fd: int) -> bytes:
    """What can be read from `fd` now."""
    os.set_blocking(fd, False)
    try:
        return os.read(fd, 1 << 20)
    except BlockingIOError:
        return b""


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int, int, int]]:
    """Two pipes, (read, write) each: the input and the output of a program. Signal handlers are put back."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    fds = (*os.pipe(), *os.pipe())
    yield fds
    for fd in fds:
        with suppress(OSError):  # a test closed it
            os.close(fd)
    for number, handler in before:
        signal.signal(number, handler)


def answers(event: Order) -> Iterable[Event]:
    """An event for each order."""
    return [Gap(reason=event.order_id)]


def ran(stage: Stage, ends: tuple[int, int, int, int], data: bytes) -> int:
    """The exit code of `stage` on `data`."""
    into, feed, _, out = ends
    os.write(feed, data)
    os.close(feed)
    return run(Program.of(stage), stdin=into, stdout=out)


def test_what_is_written_was_committed_before_with_its_very_bytes(ends: tuple[int, int, int, int]) -> None:
    """Commit, write, acknowledge; the bytes of all commits together are the output."""
    calls: list[Any] = []
    stage = Stage("test", Reads({Order: answers}), lifecycle=Recorder("test", calls), options=Options(quiet=True))
    assert ran(stage, ends, stream([tick(), order(1), order(2)])) == 0
    committed = b"".join(call[2] for call in calls if call[1] == "commit")
    assert committed == written(ends[2])
    assert committed.count(b'"type":"gap"') == 2
    kinds = [call[1] for call in calls]
    assert kinds[0] == "start"
    assert kinds[1:-5] == ["commit", "acknowledge"] * (len(kinds[1:-5]) // 2)
    assert kinds[-5:] == ["save", "finish", "commit", "acknowledge", "release"]


def test_nothing_is_written_before_it_is_committed(ends: tuple[int, int, int, int]) -> None:
    """At each commit, what was written so far is what was committed so far."""
    calls: list[Any] = []
    stage = Stage(
        "test", Reads({Order: answers}), flow=Flow(forward=False), options=Options(quiet=True),
        lifecycle=Recorder("test", calls, output=ends[2]),
    )  # fmt: skip
    assert ran(stage, ends, stream([order(1)])) == 0
    assert calls.count(("test", "acknowledge")) >= 2


def test_a_commit_that_fails_keeps_its_bytes_from_being_written(ends: tuple[int, int, int, int]) -> None:
    """No line of the batch goes out but the eof that says why; nothing is acknowledged, and all is released."""
    calls: list[Any] = []
    recorder = Recorder("test", calls)
    recorder.fails = InputOutputError("the disk is full")
    stage = Stage("test", Reads({Order: answers}), lifecycle=recorder, options=Options(quiet=True))
    assert ran(stage, ends, stream([order(1)], eof=None)) == InputOutputError.exit_code
    assert [call[1] for call in calls] == ["start", "release"]
    lines = [decode(line) for line in written(ends[2]).splitlines()]
    assert [type(line).__name__ for line in lines] == ["Eof"]
    assert lines[0].code == InputOutputError.exit_code


def test_a_source_has_the_life_cycle_of_a_stage(
    ends: tuple[int, int, int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    """Source first, then the stages, at each step; its verdict counts, and its counters are told."""
    calls: list[Any] = []
    source_life, stage_life = Recorder("source", calls), Recorder("stage", calls)
    source_life.ends_with = Halted("the source has had enough")

    def batches(_: Shutdown) -> Iterator[Batch]:
        yield batch_of([order(1)])

    source = Source("made", "by a test", batches, lifecycle=source_life)
    stage = Stage("test", Reads({Order: answers}), lifecycle=stage_life, options=Options(quiet=True))
    assert run(Program(source, [stage]), stdin=ends[0], stdout=ends[3]) == Halted.exit_code
    assert [(call[0], call[1]) for call in calls[:2]] == [("source", "start"), ("stage", "start")]
    names = [call[0] for call in calls if call[1] == "commit"]
    assert names == ["source", "stage"] * (len(names) // 2)
    assert [(call[0], call[1]) for call in calls[-2:]] == [("source", "release"), ("stage", "release")]
    said = capfd.readouterr().err
    assert "alpha made: the source has had enough" in said
    assert "alpha made: noted=" in said
    assert encode(Gap(reason="o1")) in written(ends[2])
