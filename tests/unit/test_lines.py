"""Bytes in and out: lines in any chunks, lines too long, pipes that take little and readers that leave."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

import pytest

from alpha_cli.core.errors import InputOutputError, ReaderGone
from alpha_cli.core.wire import MAX_LINE
from alpha_cli.stream.inputs import Inputs, reader
from alpha_cli.stream.lines import READ_SIZE, LastLine, LongLine, Writer, blocks

Pipe = tuple[int, int]


def given(*chunks: bytes) -> Callable[[], bytes]:
    """A `read` that brings `chunks` one by one and then the end."""
    left = iter(chunks)
    return lambda: next(left, b"")


def in_chunks(data: bytes, size: int = READ_SIZE) -> Callable[[], bytes]:
    """A `read` that brings `data`, `size` bytes at a time."""
    return given(*(data[start : start + size] for start in range(0, len(data), size)))


def joined(read: Callable[[], bytes]) -> list[object]:
    """The blocks of `read`, neighbouring whole lines put together."""
    found: list[object] = []
    for block in blocks(read):
        if isinstance(block, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += block
        else:
            found.append(block)
    return found


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Both ends of a pipe; whatever is still open is closed afterwards."""
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:
            continue


@pytest.mark.parametrize("data", [b"a\nbb\n\nccc\n", b"a\r\nbb", b"\n", b"x", b"\n\n\nlast"])
def test_lines_are_the_same_however_they_are_cut(data: bytes) -> None:
    """Every way to split a small input into three reads gives the same lines and the same last one."""
    rest = data.rpartition(b"\n")[2]
    expected: list[object] = [data[: len(data) - len(rest)]] if rest != data else []
    expected += [LastLine(rest)] if rest else []
    for first in range(1, len(data) + 1):
        for second in range(first, len(data) + 1):
            pieces = [piece for piece in (data[:first], data[first:second], data[second:]) if piece]
            assert joined(given(*pieces)) == expected, pieces


def test_each_block_is_whole_lines_as_soon_as_they_are_there() -> None:
    """What a read completes is given at once; nothing waits for the next read."""
    taken = blocks(given(b"a\nb", b"c\n", b"d\n"))
    assert [next(taken), next(taken), next(taken)] == [b"a\n", b"bc\n", b"d\n"]


@pytest.mark.parametrize("size", [1 << 10, 4096, 65535, READ_SIZE])
@pytest.mark.parametrize("over", [-1, 0, 1, 2, 70_000])
def test_a_line_is_too_long_from_its_first_byte_over_1_mib(size: int, over: int) -> None:
    """The limit does not depend on how the line was cut, and its neighbours are unhurt."""
    line = b"x" * (MAX_LINE + over)
    found = joined(in_chunks(b"before\n" + line + b"\nafter\nlast", size))
    if over <= 0:
        assert found == [b"before\n" + line + b"\nafter\n", LastLine(b"last")]
    else:
        assert found == [b"before\n", LongLine(line[:4096], len(line)), b"after\n", LastLine(b"last")]


@pytest.mark.parametrize("size", [4096, READ_SIZE])
def test_a_long_line_at_the_end_is_reported_with_its_length(size: int) -> None:
    """Also without a newline."""
    line = b"y" * (MAX_LINE + 100_000)
    assert joined(in_chunks(b"a\n" + line, size)) == [b"a\n", LongLine(line[:4096], len(line))]


def test_two_long_lines_in_a_row_are_two() -> None:
    """The second begins in the read that ends the first."""
    line = b"z" * (MAX_LINE + 10)
    assert joined(in_chunks(line + b"\n" + line + b"\nok\n")) == [LongLine(line[:4096], len(line))] * 2 + [b"ok\n"]


def test_the_reader_takes_what_is_there(pipe: Pipe) -> None:
    """A read returns with what was written, without waiting for more, and b"" at the end."""
    read = reader(pipe[0], Inputs())
    os.write(pipe[1], b"a\nb")
    assert read() == b"a\nb"
    os.close(pipe[1])
    assert read() == b""


def test_the_reader_waits_on_a_pipe_that_would_not_block(pipe: Pipe) -> None:
    """Someone else's O_NONBLOCK on our input is not an error."""
    os.set_blocking(pipe[0], False)
    read = reader(pipe[0], Inputs())
    late = threading.Timer(0.05, os.write, (pipe[1], b"late\n"))
    late.start()
    assert read() == b"late\n"
    late.join()


def test_a_failing_read_is_named() -> None:
    """A folder for input: one line that says what is wrong."""
    fd = os.open("/", os.O_RDONLY)
    try:
        with pytest.raises(InputOutputError, match="reading standard input failed"):
            reader(fd, Inputs())()
    finally:
        os.close(fd)


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "non-blocking"])
def test_the_writer_goes_on_until_the_last_byte(pipe: Pipe, blocking: bool) -> None:
    """Far more than a pipe holds, to a slow reader, arrives whole and in order."""
    data = os.urandom(5 * (1 << 20) + 12345)
    os.set_blocking(pipe[1], blocking)
    received = bytearray()

    def slowly() -> None:
        while chunk := os.read(pipe[0], 10_007):
            received.extend(chunk)

    thread = threading.Thread(target=slowly)
    thread.start()
    Writer(pipe[1]).write(data)
    os.close(pipe[1])
    thread.join()
    assert bytes(received) == data


def test_the_writer_says_that_the_reader_left(pipe: Pipe) -> None:
    """ReaderGone, and afterwards the descriptor leads nowhere, so that nothing fails again at exit."""
    os.close(pipe[0])
    with pytest.raises(ReaderGone):
        Writer(pipe[1]).write(b"x")
    assert os.write(pipe[1], b"more") == 4


def test_the_writer_says_that_the_disk_is_full() -> None:
    """The device's own words, as an input/output error."""
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("no /dev/full on this system")
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(InputOutputError, match="No space left"):
            Writer(fd).write(b"x")
    finally:
        os.close(fd)
