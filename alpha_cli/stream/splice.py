"""The bytes of a batch, cut only where an event is added or a line is dropped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from alpha_cli.core.codec import encode
from alpha_cli.stream.batch import Batch

if TYPE_CHECKING:
    pass


class Splice:
    """The bytes of a batch, cut only where something is put in or left out."""

    def __init__(self, batch: Batch, *, forward: bool) -> None:
        self._batch = batch
        self._forward = forward
        self._pieces: list[bytes] = []
        self._line = 0  # the first line not yet dealt with, and where it begins
        self._offset = 0
        self.lines = 0

    def insert(self, index: int, events: list[Any]) -> None:
        """Put `events` before line `index`."""
        self._pass(index)
        self._pieces.append(encoded_lines(events))
        self.lines += len(events)

    def drop(self, index: int) -> None:
        """Leave line `index` out."""
        self._pass(index)
        self._line += 1
        self._offset += len(self._batch.lines[index]) + 1

    def rest(self) -> None:
        self._pass(len(self._batch.lines))

    def data(self) -> bytes:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def _pass(self, index: int) -> None:
        """Let the lines before `index` pass."""
        if not self._forward or index <= self._line:
            return
        lines, data = self._batch.lines, self._batch.data
        if self._line == 0 and index == len(lines):
            end = len(data)
        else:
            end = self._offset + sum(map(len, lines[self._line : index])) + index - self._line
        self._pieces.append(data[self._offset : end])
        self.lines += index - self._line
        self._line, self._offset = index, end


def encoded_lines(events: Iterable[Any]) -> bytes:
    """Return `events` as lines of the wire."""
    return b"".join([encode(event) + b"\n" for event in events])
