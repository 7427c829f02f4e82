"""Tables for people: what `status`, `strategies`, `instruments`, `market`, `charges` and `paper` print.

A module of its own, so that printing a table does not import what configurations need.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import click

from alpha_cli.core.text import printable

NOTHING = "–"  # in a cell of a table
_LONGEST_CELL = 300  # characters


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table: columns as wide as their cells, the header bold where the terminal has bold.

    The last cell of a row may be of any length.
    """
    cells = [[printable(cell, _LONGEST_CELL) for cell in row] for row in rows]
    widths = [
        max(len(title), *(len(row[place]) for row in cells if place < len(row) - 1), 0)
        for place, title in enumerate(header)
    ]

    def line(row: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()

    yield click.style(line(header), bold=True)
    for row in cells:
        yield line(row)
