"""Tables for people: what `status`, `strategies`, `instruments`, `market`, `charges` and `paper` print.

By itself, so that who prints one does not import what strategies are configured with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import click

from alpha_cli.core.text import printable

NOTHING = "–"  # in a cell of a table
_LONGEST_CELL = 300  # characters


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table: columns as wide as what is in them, the header bold where there is bold.

    The last cell of a row may be as long as it likes.
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
