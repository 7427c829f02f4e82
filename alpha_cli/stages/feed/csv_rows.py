"""Recorded CSV to batches: each row is a tick with the columns of the header, or of `--columns`.

A row is always one line of the file, so that a stray quote damages one row and not the rest of the file.
"""

from __future__ import annotations

import csv

from alpha_cli.core.errors import BadLine, ConfigurationError
from alpha_cli.core.events import Tick
from alpha_cli.core.wire import MAX_LINE
from alpha_cli.stages.feed.engine import Normaliser
from alpha_cli.stages.feed.names import Plan, knows, plan_of
from alpha_cli.stages.feed.reader import Reader, encoded, joined
from alpha_cli.stream.bad_lines import BadLines
from alpha_cli.stream.batch import Batch


class CsvReader(Reader):
    """Reads rows by the header of the file, or by `columns` instead."""

    def __init__(
        self,
        normaliser: Normaliser,
        bad: BadLines,
        counts: dict[str, int],
        label: str,
        columns: tuple[str, ...] = (),
    ) -> None:
        super().__init__(normaliser, bad, counts, label)
        self._columns = columns
        self._plan: Plan | None = None
        self._width = 0

    def batch(self, data: bytes) -> Batch:
        """Return the batch as in `Reader`. Raises `ConfigurationError` if the columns have no names."""
        lines = data.split(b"\n")
        lines.pop()
        rows = None if len(data) > MAX_LINE else _rows(data)
        kept: list[bytes] = []
        ticks: list[Tick] = []
        for index, line in enumerate(lines):
            self._line_number += 1
            if line.strip():
                self._add(line, None if rows is None else rows[index], kept, ticks)
        self.counts["ticks"] += len(ticks)
        return joined(kept, ticks)

    def _add(self, line: bytes, row: list[str] | None, kept: list[bytes], ticks: list[Tick]) -> None:
        """Add the tick on `line` to `kept` and `ticks`, unless it is the header or a bad line."""
        try:
            row = _row(line) if row is None else row
            if self._is_header(row):
                return
            tick = self._tick(row)
            encoded_tick = encoded(tick)
        except BadLine as error:
            self.counts["in"] += 1
            self.reject(line, str(error), self._token_in(row or []))
            return
        self.counts["in"] += 1
        kept.append(encoded_tick)
        ticks.append(tick)

    def _is_header(self, row: list[str]) -> bool:
        """Learn the columns from the first row; return whether it is a header."""
        if self._plan is not None:
            return False
        separator = next((mark for mark in ";\t|" if len(row) == 1 and mark in row[0]), None)
        if separator is not None:
            raise ConfigurationError(
                f"{self._label}the columns are separated by {separator!r}, not by commas; convert it, as with "
                f"tr '{separator}' ,"
            )
        is_header = any(map(knows, row))
        if not is_header and not self._columns:
            raise ConfigurationError(
                f"{self._label}the first row has no column names; name them, as in --columns timestamp,last_price"
            )
        columns = self._columns or tuple(row)
        self._plan, self._width = plan_of(columns, range(len(columns))), len(columns)
        return is_header

    def _tick(self, row: list[str]) -> Tick:
        assert self._plan is not None
        if len(row) != self._width:
            raise BadLine(f"{len(row)} columns where {self._width} are expected")
        return self.normaliser.tick(row, self._plan)

    def _token_in(self, row: list[str]) -> int | None:
        if self._plan is None or len(row) != self._width:
            return None
        return self.normaliser.token_of(row, self._plan)


def _rows(data: bytes) -> list[list[str]] | None:
    """Return all rows at once, one a line; None if the lines must be read one by one."""
    if b'"' in data:
        return None
    try:
        return list(csv.reader(data.decode("utf-8").split("\n")[:-1], strict=True))
    except (UnicodeDecodeError, csv.Error):
        return None


def _row(line: bytes) -> list[str]:
    if len(line) > MAX_LINE:
        raise BadLine(f"line of {len(line)} bytes is over the limit of {MAX_LINE}")
    try:
        return next(csv.reader([line.decode("utf-8")], strict=True))
    except UnicodeDecodeError as error:
        raise BadLine(f"not UTF-8 at byte {error.start}") from None
    except csv.Error as error:
        raise BadLine(f"not CSV: {error}") from None
