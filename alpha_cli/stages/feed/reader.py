"""The common part of the readers of NDJSON and CSV: counting, bad lines, the last line of a file.

A reader turns the bytes of one file into batches of lines in wire form. Every line that is not blank is
either accepted or rejected, and counted so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

from alpha_cli.core.codec import encode
from alpha_cli.core.errors import BadLine
from alpha_cli.core.events import Tick
from alpha_cli.core.wire import MAX_LINE
from alpha_cli.stages.feed.engine import Normaliser
from alpha_cli.stream.bad_lines import BadLines
from alpha_cli.stream.batch import Batch
from alpha_cli.stream.lines import LastLine, LongLine, blocks

_BOM = b"\xef\xbb\xbf"


class Reader(ABC):
    """Reads one file. `label` names the file in messages about bad lines, if there are several."""

    def __init__(self, normaliser: Normaliser, bad: BadLines, counts: dict[str, int], label: str = "") -> None:
        self.normaliser = normaliser
        self.counts = counts
        self._bad = bad
        self._label = label
        self._line_number = 0

    def batches(self, read: Callable[[], bytes | None], cut_off: Callable[[], bool] = bool) -> Iterator[Batch]:
        """Yield the batches of the blocks from `read`. Raises `BadLine` at the first bad line under `--bad fail`.

        If `cut_off` returns True, a last line without a newline is incomplete and left out.
        """
        first = True
        for block in blocks(read):
            if not block:  # a side input fired while this one was quiet
                yield Batch(b"", [], [])
                continue
            if isinstance(block, LongLine):
                self._line_number += 1
                self.counts["in"] += 1
                self.reject(block.prefix, f"line of {block.length} bytes is over the limit of {MAX_LINE}")
                batch = None
            elif isinstance(block, LastLine) and cut_off():
                return
            else:
                data = block.data + b"\n" if isinstance(block, LastLine) else block
                if first:
                    data = data.removeprefix(_BOM)
                if b"\r" in data:
                    data = data.replace(b"\r\n", b"\n")
                batch = self.batch(data)
            first = False
            if batch is not None and batch.lines:
                yield batch
            if self._bad.failure is not None:
                raise self._bad.failure

    @abstractmethod
    def batch(self, data: bytes) -> Batch:
        """Return the batch of the whole lines `data`, each with its newline."""

    def reject(self, raw: bytes, reason: str, instrument_token: int | None = None) -> None:
        """Report the current line as bad; it is already counted in `in`."""
        self.counts["rejected"] += 1
        self._bad.reject(self._line_number, raw, self._label + reason, instrument_token)


def encoded(tick: Tick, extras: dict[str, Any] | None = None) -> bytes:
    """Return the line of `tick`, with unknown fields at its end. Raises `BadLine` if it is too long."""
    line = encode(tick)
    if extras:
        import msgspec

        line = line[:-1] + b"," + msgspec.json.encode(extras)[1:]
    if len(line) > MAX_LINE:
        raise BadLine(f"line of {len(line)} bytes is over the limit of {MAX_LINE}")
    return line


def joined(lines: list[bytes], events: list[Any]) -> Batch:
    """Return a batch of lines and the events on them."""
    return Batch(b"\n".join([*lines, b""]), lines, events, verified=True)
