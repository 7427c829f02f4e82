"""The options of `show`: the types of event, and colours."""

from __future__ import annotations

import click

from alpha_cli.cli.terminal import has_styles
from alpha_cli.core.events import TYPES


def parse_types(text: str | None) -> frozenset[str] | None:
    """Return the types to show; None for all. Raises `UsageError`."""
    if text is None:
        return None
    names = frozenset(name.strip() for name in text.split(","))
    unknown = sorted(names - TYPES.keys())
    if unknown:
        from alpha_cli.core.text import did_you_mean

        raise click.UsageError(f"--types: no type {unknown[0]!r}{did_you_mean(unknown[0], TYPES)}")
    return names


def wants_colour(choice: str) -> bool:
    """Return whether to use colours: `auto` means on a terminal with colours, unless NO_COLOR is set."""
    return choice == "always" or (choice == "auto" and has_styles())
