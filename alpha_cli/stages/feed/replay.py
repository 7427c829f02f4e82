"""A replay: files or a stream, read, merged, selected and paced."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, tzinfo

from alpha_cli.core.errors import BadData, NoInput
from alpha_cli.core.events import Tick
from alpha_cli.stages.feed.engine import Normaliser
from alpha_cli.stages.feed.files import File, stream_reader
from alpha_cli.stages.feed.ndjson import NdjsonReader
from alpha_cli.stages.feed.reader import Reader
from alpha_cli.stages.feed.window import Selection, Window
from alpha_cli.stream.bad_lines import BadLines
from alpha_cli.stream.batch import Batch
from alpha_cli.stream.descriptors import of_stream
from alpha_cli.stream.log import log_line
from alpha_cli.stream.shutdown import Shutdown
from alpha_cli.stream.stage import Lifecycle


@dataclass
class Replay(Lifecycle):
    """Recordings to replay.

    files       the files to read; empty for the stream `stream`, "-" for standard input
    implied     standard input is read because it is there, not because it was named
    bad         what to do with a bad line: fail, skip or a dead-letter file
    types       the event types to replay
    columns     the names of the columns of CSV files, instead of their headers
    """

    files: list[File]
    stream: str
    bad: str
    types: frozenset[str]
    window: Window
    speed: float | None
    zone: tzinfo
    start_time: datetime | None = None
    default_token: int | None = None
    columns: tuple[str, ...] = ()
    implied: bool = False
    tally: dict[str, int] = field(default_factory=lambda: {"in": 0, "rejected": 0, "ticks": 0})
    ticks_out: int = 0
    _lines_out: int = 0

    @property
    def _is_partial(self) -> bool:
        return bool(self.window) or self.speed is not None

    @property
    def description(self) -> str:
        """The names of the files, without their folders, so that the output does not depend on them."""
        if not self.files:
            return "stdin" if self.stream == "-" else "stream"
        names = [file.name for file in self.files]
        return " ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    def counts(self) -> dict[str, int]:
        """Return the figures of the closing line; every line that is not blank is accepted or rejected."""
        read, rejected = self.tally["in"], self.tally["rejected"]
        counts = {"in": read, "accepted": read - rejected, **self.tally}
        if self._is_partial:
            counts["ticks"] = self.ticks_out
        if self.window:
            counts["outside"] = self.window.outside
        return counts

    def batches(self, shutdown: Shutdown) -> Iterator[Batch]:
        """Yield the batches until the input ends or `shutdown` asks to stop."""
        bad = BadLines("feed", self.bad)
        with ExitStack() as stack:
            stack.callback(bad.close)
            selection = Selection(lambda shutdown: self._read(bad, shutdown, stack), self.window, self.speed)
            for batch in selection.batches(shutdown):
                if self._is_partial:  # otherwise every tick that was read is output
                    self.ticks_out += sum(type(event) is Tick for event in batch.events or ())
                self._lines_out += len(batch.lines)
                yield batch
                if shutdown.requested is not None:
                    return
        if shutdown.requested is None:
            self._check_outcome()

    def _check_outcome(self) -> None:
        """Raise `NoInput` if nothing came, or nothing that was asked for; `BadData` if nothing was understood."""
        read, rejected = self.tally["in"], self.tally["rejected"]
        if self._lines_out:
            return
        if read == 0:
            hint = "; for a synthetic market write: alpha feed synthetic" if self.implied else ""
            raise NoInput(f"{self._input}: empty, there is nothing to read{hint}")
        if read == rejected:
            raise BadData(f"{self._input}: not one of its {read} lines was understood; see the bad lines above")
        if self.window.outside:
            raise NoInput(f"{self._input}: {self.window.explanation()}")
        others = self.tally.get("not_asked_for", 0)
        if not others:
            raise NoInput(f"{self._input}: a recording without a single event")
        raise NoInput(f"{self._input}: none of its {others} events is of --types {', '.join(sorted(self.types))}")

    @property
    def _input(self) -> str:
        return "standard input" if not self.files and self.stream == "-" else self.description

    def _read(self, bad: BadLines, shutdown: Shutdown, stack: ExitStack) -> Iterator[Batch]:
        if not self.files:
            fd = of_stream(0) if self.stream == "-" else _opened(self.stream, stack)
            reader = NdjsonReader(self._normaliser(), bad, self.tally, "", self.types)
            hint = _say_that_it_waits if self.implied else None
            return reader.batches(stream_reader(fd, shutdown, hint), lambda: shutdown.requested is not None)
        progress = self._progress(stack)
        streams = []
        for file in self.files:
            stack.callback(file.suspend)
            label = f"{file.name}: " if len(self.files) > 1 else ""
            streams.append((self._reader(file, bad, label).batches(file.reader(progress)), file.suspend))
        if len(streams) == 1:
            return streams[0][0]
        from alpha_cli.stages.feed.merge import merge

        return merge(streams)

    def _reader(self, file: File, bad: BadLines, label: str) -> Reader:
        if file.is_csv:
            from alpha_cli.stages.feed.csv_rows import CsvReader

            return CsvReader(self._normaliser(), bad, self.tally, label, self.columns)
        return NdjsonReader(self._normaliser(), bad, self.tally, label, self.types)

    def _normaliser(self) -> Normaliser:
        return Normaliser(self.zone, self.start_time, self.default_token, self.tally)

    def _progress(self, stack: ExitStack) -> Callable[[int], object] | None:
        """Return a progress bar's update for bytes read if stderr is a terminal; else None."""
        from alpha_cli.cli.terminal import is_terminal

        if not is_terminal(sys.stderr):
            return None
        import click

        length = sum(file.size for file in self.files)
        return stack.enter_context(click.progressbar(length=length, label="alpha feed", file=sys.stderr)).update


def _say_that_it_waits() -> None:
    log_line("alpha feed: waits for standard input; for a synthetic market write: alpha feed synthetic")


def _opened(stream: str, stack: ExitStack) -> int:
    """Return the descriptor of a named pipe, closed with `stack`."""
    # A blocking open of a pipe without a writer could not be interrupted by a signal. Only on Linux can such a
    # pipe be told from one at its end; on other systems the open blocks.
    flags = os.O_RDONLY | (os.O_NONBLOCK if sys.platform == "linux" else 0)
    try:
        fd = os.open(stream, flags)
    except OSError as error:
        raise NoInput(f"{stream}: {error.strerror}") from None
    stack.callback(os.close, fd)
    return fd
