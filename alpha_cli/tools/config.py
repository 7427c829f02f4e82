"""`alpha config show`: each setting, where its value comes from, and which files are in force."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from alpha_cli.cli.groups import Group

if TYPE_CHECKING:
    from alpha_cli.config.settings import Setting

#: What people write, next to alpha.yaml; `strategies` is a folder, and what each configuration folder has is used.
FILES = ("alpha.yaml", "risk.yaml", "paper.yaml", "calendar.yaml")
STRATEGIES = "strategies"


class InForce(NamedTuple):
    """A file or folder of configurations.

    path     which one is used; None: none is there, and the defaults hold
    ignored  one of that name in the working folder, where none is looked for
    """

    name: str
    path: Path | None
    ignored: Path | None


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Show the settings of alpha.yaml, and which configuration files are in force.

    Files are looked for in $ALPHA_CONFIG_DIR, then in ./configs, then among the packaged ones.

    \b
    Example:
        alpha config show
        ALPHA_OPENING_CASH=paper=250000 alpha config show --json | jq 'select(.name == "opening_cash.paper")'
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)


@command.command()
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object a line.")
def show(*, as_json: bool) -> None:
    """Print each setting, its value and its source, and which files are in force.

    A value comes from a flag, else from the environment, else from the file, else it is the default.

    \b
    Example:
        alpha config show
        alpha config show --json | jq 'select(.kind == "file") | .path'
    """
    from alpha_cli.config.settings import load_sourced

    rows, files = list(load_sourced().rows()), list(in_force())
    for line in for_programs(rows, files) if as_json else for_people(rows, files):
        click.echo(line)


def in_force() -> Iterator[InForce]:
    """Yield the configuration files that a command started here would read. Raise `ConfigurationError`."""
    from alpha_cli.config.files import config_folders, nearest

    folders = {folder.resolve(): folder for folder in reversed(config_folders())}  # in a checkout two are the same
    elsewhere = Path.cwd() not in folders

    def ignored(name: str) -> Path | None:
        return Path(name) if elsewhere and Path(name).is_file() else None

    for name in FILES:
        yield InForce(name, nearest(name), ignored(name))
    found = [folder / STRATEGIES for folder in reversed(folders.values()) if (folder / STRATEGIES).is_dir()]
    unused = Path(STRATEGIES) if elsewhere and any(Path(STRATEGIES).glob("*.yaml")) else None
    for place, path in enumerate(found):
        yield InForce(STRATEGIES, path, None if place else unused)


def for_people(rows: list[Setting], files: list[InForce]) -> Iterator[str]:
    """Yield a table of settings, one of files, and a line for each file that is not used."""
    from alpha_cli.cli.tables import table

    cells = ((row.name, _text(row.value), row.origin, row.meaning) for row in rows)
    yield from table(("setting", "value", "source", "meaning"), cells)
    yield ""
    yield from table(("file", "in force"), ((one.name, str(one.path or "none: the defaults hold")) for one in files))
    unused = [one for one in files if one.ignored is not None]
    if unused:
        yield ""
    for one in unused:
        yield f"./{one.ignored} is NOT used: move it to ./configs, or set ALPHA_CONFIG_DIR=."


def for_programs(rows: list[Setting], files: list[InForce]) -> Iterator[str]:
    """Yield one JSON object a line; `kind` is setting or file."""
    import msgspec

    encode = msgspec.json.Encoder(decimal_format="number").encode
    for row in rows:
        yield encode({"kind": "setting", **row._asdict()}).decode()
    for one in files:
        paths = {name: None if path is None else str(path) for name, path in one._asdict().items() if name != "name"}
        yield encode({"kind": "file", "name": one.name, **paths}).decode()


def _text(value: Any) -> str:
    return ", ".join(value) or "none" if isinstance(value, tuple) else str(value)
