"""`alpha show` on the command line."""

from __future__ import annotations

import click

from alpha_cli.cli.options import reads_stdin, stage_options
from alpha_cli.stages.show.config import parse_types, wants_colour
from alpha_cli.stream.stage import Options, Stage


@click.command("show")
@click.option("--types", metavar="TYPE,...", help="Only these types of event, as in fill,portfolio.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
              help="auto: on a terminal, unless NO_COLOR is set.")  # fmt: skip
@stage_options(bad="skip", watched_as="show")
@click.pass_context
def command(ctx: click.Context, types: str | None, color: str, options: Options) -> Stage:
    """Print events as readable columns, one line each.

    \b
    Example:
        alpha feed | alpha run-strategy momentum | alpha risk | alpha paper | alpha show
        alpha show --types fill,portfolio < run.ndjson | less -R
    """
    reads_stdin(ctx)
    from alpha_cli.stages.show.build import ShowStage

    return ShowStage(colour=wants_colour(color), types=parse_types(types)).stage(options)
