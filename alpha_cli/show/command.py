"""`alpha show`: options and wiring."""

from __future__ import annotations

import os
import sys

import click

from alpha_cli.events import TYPES
from alpha_cli.options import reads_stdin, stage_options
from alpha_cli.show.engine import SHOWN, Show
from alpha_cli.stage import Options, Stage


@click.command("show")
@click.option("--types", metavar="TYPE,...", help="Only these types of event, as in fill,portfolio.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
              help="auto: on a terminal, unless NO_COLOR is set.")  # fmt: skip
@stage_options(bad="skip")
@click.pass_context
def command(ctx: click.Context, types: str | None, color: str, options: Options) -> Stage:
    """Print a stream of events for people: one line each, in columns.

    \b
    Example:
        alpha feed | alpha run-strategy momentum | alpha risk | alpha paper | alpha show
        alpha show --types fill,portfolio < run.ndjson | less -R
    """
    reads_stdin(ctx)
    show = Show(colour=color == "always" or (color == "auto" and _terminal_has_colours()), types=_types(types))
    return Stage(
        "show",
        dict.fromkeys(SHOWN, show.on_event),
        options,
        every_tick=True,
        tick_fields=("volume_traded", "symbol"),
        forward=False,
        counts=lambda: {"shown": show.shown},
    )


def _types(text: str | None) -> frozenset[str] | None:
    if text is None:
        return None
    names = frozenset(name.strip() for name in text.split(","))
    unknown = sorted(names - TYPES.keys())
    if unknown:
        from alpha_cli.cli import did_you_mean

        raise click.UsageError(f"--types: no type {unknown[0]!r}{did_you_mean(unknown[0], TYPES)}")
    return names


def _terminal_has_colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
