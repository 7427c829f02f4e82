"""What a program waits for: its input, registered descriptors, timers, and signals."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alpha_cli.stream.inputs import Inputs, reader
from alpha_cli.stream.lines import blocks
from alpha_cli.stream.watch import FileWatch


class Pipe:
    """Two ends of a pipe."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()

    def close(self) -> None:
        os.close(self.read)
        os.close(self.write)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


@pytest.fixture
def side() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


@pytest.fixture
def inputs() -> Iterator[Inputs]:
    made = Inputs()
    yield made
    made.close()


def test_a_registered_descriptor_interrupts_a_quiet_input(pipe: Pipe, side: Pipe, inputs: Inputs) -> None:
    """The reader gives None, and goes on reading after it."""
    inputs.watch(side.read, lambda: os.read(side.read, 10))
    inputs.begin()
    read = reader(pipe.read, inputs)
    os.write(side.write, b"x")
    assert read() is None
    os.write(pipe.write, b"line\n")
    assert read() == b"line\n"


def test_input_is_read_although_something_else_fires_all_the_time(pipe: Pipe, side: Pipe, inputs: Inputs) -> None:
    """A descriptor that is always readable does not keep the input from being read."""
    inputs.watch(side.read, lambda: True)
    inputs.begin()
    os.write(side.write, b"x")
    os.write(pipe.write, b"line\n")
    assert reader(pipe.read, inputs)() == b"line\n"


def test_nothing_is_heard_before_the_stream_has_begun(pipe: Pipe, side: Pipe, inputs: Inputs) -> None:
    """A program whose stream has not begun waits for its input alone."""
    heard: list[bytes] = []
    inputs.watch(side.read, lambda: heard.append(os.read(side.read, 10)))
    os.write(side.write, b"x")
    os.write(pipe.write, b"line\n")
    assert inputs.only_input
    assert reader(pipe.read, inputs)() == b"line\n"
    assert not heard
    inputs.begin()
    assert inputs.wait(pipe.read, seconds=0) == set()
    assert heard == [b"x"]


def test_a_callback_may_say_that_nothing_happened(pipe: Pipe, side: Pipe, inputs: Inputs) -> None:
    """What returns False does not interrupt: the reader waits on."""

    def consumed() -> bool:
        os.read(side.read, 10)
        return False

    inputs.watch(side.read, consumed)
    inputs.begin()
    os.write(side.write, b"x")
    late = threading.Timer(0.05, os.write, (pipe.write, b"line\n"))
    late.start()
    assert reader(pipe.read, inputs)() == b"line\n"
    late.join()


def test_what_is_not_watched_any_more_is_not_heard(pipe: Pipe, side: Pipe, inputs: Inputs) -> None:
    """`unwatch` may be called for what was never watched, too."""
    inputs.watch(side.read, lambda: True)
    inputs.begin()
    inputs.unwatch(side.read)
    inputs.unwatch(side.read)
    os.write(side.write, b"x")
    assert inputs.wait(pipe.read, seconds=0.01) == set()
    assert not inputs.take_fired()


def test_a_timer_fires_again_and_again(pipe: Pipe, inputs: Inputs) -> None:
    """Each time the reader is interrupted."""
    inputs.every(0.01, lambda: True)
    inputs.begin()
    read = reader(pipe.read, inputs)
    started = time.monotonic()
    assert [read(), read(), read()] == [None, None, None]
    assert time.monotonic() - started >= 0.025


def test_a_wait_has_an_end(pipe: Pipe, inputs: Inputs) -> None:
    """After `seconds`, with nothing readable."""
    started = time.monotonic()
    assert inputs.wait(pipe.read, seconds=0.03) == set()
    assert time.monotonic() - started >= 0.025


def test_a_signal_interrupts_a_quiet_input(pipe: Pipe, inputs: Inputs) -> None:
    """Its handler has run by the time the reader returns."""
    seen: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, _: seen.append(number))
    try:
        inputs.wake_on_signals()
        inputs.begin()
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGHUP)).start()
        assert reader(pipe.read, inputs)() is None
        assert seen == [signal.SIGHUP]
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_interruption_is_an_empty_block_and_tears_no_line() -> None:
    """In the middle of a line, and in the middle of one that is over the limit."""
    long = b"x" * (1 << 20)
    chunks = iter([b"a\nb", None, b"c\n", long, None, long, b"\nd\n", b""])
    found = list(blocks(lambda: next(chunks)))
    assert found[:3] == [b"a\n", b"", b"bc\n"]
    assert found[3] == b""
    assert found[4].length == 2 << 20  # type: ignore[union-attr]
    assert found[5:] == [b"d\n"]


def test_changes_of_a_file_are_heard(tmp_path: Path, pipe: Pipe, inputs: Inputs) -> None:
    """That it is made, written to, replaced and removed; other files of the folder say nothing."""
    path, other = tmp_path / "fills", tmp_path / "other"
    watch = FileWatch([path], inputs)
    inputs.begin()

    def fired() -> bool:
        inputs.wait(pipe.read, seconds=0.3)
        return inputs.take_fired()

    path.touch()
    assert fired()
    with path.open("ab") as file:
        file.write(b"x")
    assert fired()
    other.write_bytes(b"x")
    assert not fired()
    other.replace(path)
    assert fired()
    path.unlink()
    assert fired()
    watch.close()
    path.touch()
    assert not fired()
