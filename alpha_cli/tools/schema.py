"""`alpha schema`: the wire as JSON Schema, generated from the module that defines it."""

from __future__ import annotations

import click

from alpha_cli.core.codec import schema
from alpha_cli.core.events import TYPES


@click.command()
@click.argument("type_name", metavar="[TYPE]", required=False, type=click.Choice(list(TYPES)))
def command(type_name: str | None) -> None:
    """Print the JSON Schema of one TYPE of event, or of the whole wire.

    \b
    Example:
        alpha schema tick
        alpha schema | jq '."$defs" | keys'
    """
    import orjson

    click.echo(orjson.dumps(schema(type_name), option=orjson.OPT_INDENT_2))
