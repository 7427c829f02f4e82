"""Write the tables in docs/ that are generated from the code, between their two marks.

    scripts/docs            write them
    scripts/docs --check    write nothing; exit with 1 if one is stale

A table stands between `<!-- table: NAME -->` and `<!-- end of table -->`; the rest of the page is written by hand.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import msgspec

from alpha_cli.cli.app import cli
from alpha_cli.core import order_states
from alpha_cli.core.errors import EXIT_CODES
from alpha_cli.core.events import TYPES
from alpha_cli.stages.paper import codes
from alpha_cli.stages.risk import explained
from alpha_cli.stages.risk.controls import table as risk_controls

DOCS = Path(__file__).resolve().parent.parent / "docs"
WIDTH = 110  # columns of the help in docs/commands.md


def exit_codes() -> str:
    """Return the table of exit codes."""
    rows = [f"| {code} {name} | {meaning} |" for code, (name, meaning) in EXIT_CODES.items()]
    return "\n".join(["| code | meaning |", "|---|---|", *rows, ""])


def wire_fields() -> str:
    """Return the table of event types and their fields, the required ones in bold."""
    rows = []
    for name, kind in TYPES.items():
        fields = [
            f"**{field.encode_name}**" if field.required else field.encode_name
            for field in msgspec.structs.fields(kind)
        ]
        rows.append(f"| `{name}` | {', '.join(fields)} |")
    return "\n".join(["| type | fields (**required**) |", "|---|---|", *rows, ""])


def commands() -> str:
    """Return a section with `--help` for every command, as wide as a page."""
    settings = {**cli.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    root = click.Context(cli, info_name="alpha", **settings)
    return "\n".join(_sections(root))


def _sections(ctx: click.Context) -> Iterator[str]:
    yield f"## {ctx.command_path}\n\n```text\n{ctx.command.get_help(ctx)}\n```\n"
    group = ctx.command
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        yield from _sections(click.Context(command, info_name=name, parent=ctx, **command.context_settings))


#: The tables that a page can have.
TABLES: dict[str, Callable[[], str]] = {
    "commands": commands,
    "exit codes": exit_codes,
    "order states": order_states.table,
    "codes": codes.table,
    "risk controls": risk_controls.table,
    "risk codes": risk_controls.code_table,
    "risk settings": explained.settings_table,
    "wire fields": wire_fields,
}

_TABLE = re.compile(r"(<!-- table: ([^>]*?) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def written(page: str) -> str:
    """Return `page` with its current tables. Raises `KeyError` for an unknown one."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}", page)


def main() -> int:
    """Return 0 if all tables are current or were written, 1 if `--check` found a stale one, 65 for an unknown one."""
    parser = argparse.ArgumentParser(description="Write the tables in docs/ from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if one is stale")
    check = parser.parse_args().check
    stale = 0
    for path in sorted(DOCS.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        try:
            new = written(page)
        except KeyError as error:
            sys.stderr.write(f"{path}: no table {error}; there are {', '.join(TABLES)}\n")
            return 65
        if new == page:
            continue
        stale += 1
        if check:
            sys.stderr.write(f"{path}: a table is stale; run scripts/docs\n")
        else:
            path.write_text(new, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
