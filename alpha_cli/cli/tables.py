"""Tables for people: what `status`, `strategies`, `instruments`, `market`, `charges` and `paper` print.

A module of its own, so that printing a table does not import what configurations need.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from alpha_cli.cli.terminal import bold, width
from alpha_cli.core.text import printable

NOTHING = "–"  # in a cell of a table
_LONGEST_CELL = 300  # characters
_NARROWEST = 10  # columns of a cell of words that is folded


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table: columns as wide as their cells, the header bold where the terminal has bold.

    The last cell of a row may be of any length. Where a terminal is too narrow, cells of words are folded, and if that
    does not help, each row becomes a paragraph with one cell a line; nothing is left out. Numbers are never folded.
    """
    cells = [[printable(cell, _LONGEST_CELL) for cell in row] for row in rows]
    columns = width()
    widths = [
        max(len(title), *(len(row[place]) for row in cells if place < len(row) - 1), 0)
        for place, title in enumerate(header)
    ]
    if columns is not None:
        last = max((len(row[-1]) for row in cells if len(row) == len(header)), default=0)
        widths[-1] = max(widths[-1], last)
        fitted = _fitted(widths, header, cells, columns)
        if fitted is None:
            yield from _paragraphs(header, cells, columns)
            return
        widths = fitted
    folded = columns is not None
    yield from map(bold, _row(header, widths, folded=folded))
    for row in cells:
        yield from _row(row, widths, folded=folded)


def _row(cells: Sequence[str], widths: Sequence[int], *, folded: bool) -> Iterator[str]:
    """Yield the lines of one row; several, where a cell is `folded` into its column."""
    columns = [_fold(cell, size) if folded else [cell] for cell, size in zip(cells, widths, strict=False)]
    for parts in zip_longest(*columns, fillvalue=""):
        yield "  ".join(part.ljust(size) for part, size in zip(parts, widths, strict=False)).rstrip()


def _fold(text: str, size: int) -> list[str]:
    if len(text) <= size:
        return [text]
    from textwrap import wrap

    return wrap(text, size, break_on_hyphens=False) or [""]


def _fitted(
    widths: Sequence[int], header: Sequence[str], cells: Sequence[Sequence[str]], columns: int
) -> list[int] | None:
    """Return widths with which a row has at most `columns`; None if folding the cells of words does not do it."""
    least = [
        min(size, max(_NARROWEST, len(title))) if _has_words(cells, place) else size
        for place, (title, size) in enumerate(zip(header, widths, strict=True))
    ]
    fitted = list(widths)
    excess = sum(fitted) + 2 * (len(fitted) - 1) - columns
    while excess > 0:
        place = max(range(len(fitted)), key=lambda one: fitted[one] - least[one])
        if fitted[place] == least[place]:
            return None
        fitted[place] -= 1
        excess -= 1
    return fitted


def _has_words(cells: Sequence[Sequence[str]], place: int) -> bool:
    return any(char.isalpha() for row in cells if place < len(row) for char in row[place])


def _paragraphs(header: Sequence[str], cells: Sequence[Sequence[str]], columns: int) -> Iterator[str]:
    """Yield each row as lines of a title and its cell."""
    margin = max(map(len, header), default=0) + 2
    for place, row in enumerate(cells):
        if place:
            yield ""
        for title, cell in zip(header, row, strict=False):
            first, *more = _fold(cell, max(columns - margin, _NARROWEST))
            yield bold(title) + " " * (margin - len(title)) + first
            yield from (" " * margin + part for part in more)
