"""Text for people: escaping, and suggestions for misspelt words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def printable(text: str, limit: int = 120) -> str:
    """Return `text` safe for a terminal: control and bidirectional characters escaped, cut to `limit`."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return "".join(
        char if char.isprintable() and not _is_bidi(char) else char.encode("unicode_escape").decode("ascii")
        for char in cut
    )


def in_utf8(text: str) -> str:
    """Return `text` as UTF-8 can hold it: the bytes that the locale could not decode are read as UTF-8 after all.

    A byte that is not UTF-8 becomes U+FFFD. Never raise.
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return text.encode("utf-8", "replace").decode()


def shown(value: object) -> str:
    """Return `repr(value)`, also where Python refuses to write it out."""
    try:
        return repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a number too long to show"


def _is_bidi(char: str) -> bool:
    """Return whether `char` reorders the text around it, which can make one line read as another."""
    return "\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069" or char in "\u200e\u200f\u061c"


def did_you_mean(word: str, known: Sequence[str] | dict[str, Any]) -> str:
    """Return `, did you mean 'risk'?`, or the list of known words, to end an error message with."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
