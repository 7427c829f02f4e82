"""`alpha show`: the options."""

from __future__ import annotations

import click

from alpha_cli.cli.options import reads_stdin, stage_options
from alpha_cli.stages.show.config import parse_types, wants_colour
from alpha_cli.stages.show.engine import SHOWN, Show
from alpha_cli.stream.stage import Options, Stage


@click.command("show")
@click.option("--types", metavar="TYPE,...", help="Only these types of event, as in fill,portfolio.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
              help="auto: on a terminal, unless NO_COLOR is set.")  # fmt: skip
@stage_options(bad="skip")
@click.pass_context
def command(ctx: click.Context, types: str | None, color: str, options: Options) -> Stage:
    """Print events as readable columns, one line each.

    \b
    Example:
        alpha feed | alpha run-strategy momentum | alpha risk | alpha paper | alpha show
        alpha show --types fill,portfolio < run.ndjson | less -R
    """
    reads_stdin(ctx)
    show = Show(colour=wants_colour(color), types=parse_types(types))
    return Stage(
        "show",
        dict.fromkeys(SHOWN, show.on_event),
        options,
        every_tick=True,
        tick_fields=("volume_traded", "symbol"),
        forward=False,
        counts=lambda: {"shown": show.shown},
    )
