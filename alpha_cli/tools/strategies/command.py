"""`alpha strategies`: the options of its commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alpha_cli.cli.groups import Group
from alpha_cli.core.errors import BadData, UsageError
from alpha_cli.core.text import printable
from alpha_cli.stream.log import log_line


class Strategies(Group):
    """A group that imports the code for databases only when `db` is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return [*self.commands, "db"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "db":
            from alpha_cli.tools.strategies.db import db

            return db
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        lines = [(name, command.get_short_help_str(90)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl([*lines, ("db", "Strategy configurations in a database, SQLite or PostgreSQL.")])


@click.group(cls=Strategies, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List, describe, create and check strategies; keep their configurations in a database.

    \b
    Example:
        alpha strategies list
        alpha strategies new breakout
        alpha strategies check ./breakout.py
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)


def _complete_name(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    from alpha_cli.config.files import config_names
    from alpha_cli.stages.run_strategy.factory import STRATEGIES

    known = {*STRATEGIES.names(), *config_names("strategies")}
    return sorted(name for name in known if name.startswith(incomplete))


@command.command("list", short_help="List types of strategies, and configured strategies.")
@click.option(
    "--config-db",
    "database",
    envvar="ALPHA_CONFIG_DB",
    metavar="URL",
    help="Read configurations from sqlite:///FILE or postgresql://…, not from files.  [env: ALPHA_CONFIG_DB]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, for programs.")  # fmt: skip
def list_(database: str | None, *, as_json: bool) -> None:
    """List the types of strategy and validator, and the strategies that are configured.

    \b
    Example:
        alpha strategies list
        alpha strategies list --json | jq -r 'select(.has_model) | .name'
    """
    from alpha_cli.tools.strategies.listing import everything, for_people, for_programs

    found = everything(database)
    for line in for_programs(found) if as_json else for_people(found):
        click.echo(line)


@command.command(short_help="Describe a strategy and its parameters.")
@click.argument("name", shell_complete=_complete_name)
def describe(name: str) -> None:
    """Describe a strategy: what it does, its parameters and their bounds.

    NAME is a configured strategy, a type, a Python file (./mine.py or ./mine.py:factory) or a YAML file.

    \b
    Example:
        alpha strategies describe momentum
        alpha strategies describe ./breakout.py
    """
    from alpha_cli.tools.strategies.describe import description

    for line in description(name):
        click.echo(line)


@command.command(short_help="Create a strategy: code, configuration and a test.")
@click.argument("name")
@click.option(
    "--into",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Folder to write to.  [default: here]",
)
@click.option("--force", is_flag=True, help="Replace existing files.")  # fmt: skip
def new(name: str, folder: Path, *, force: bool) -> None:
    """Create a strategy: NAME.py, which trades already, NAME.yaml to run it with, and test_NAME.py.

    \b
    Example:
        alpha strategies new breakout
        alpha strategies new breakout --into mine --force
    """
    from alpha_cli.tools.strategies.scaffold import next_commands, write

    for path in write(name, folder, force=force):
        click.echo(f"wrote {printable(str(path), 500)}")
    click.echo("\nnext:")
    for line in next_commands(name, folder):
        click.echo(f"    {line}")
    from alpha_cli.config.files import config_names

    if name in config_names("strategies"):
        log_line(f"alpha strategies: a strategy {name} is configured already; run-strategy {name} may mean that one")


def _parameters(_: click.Context, __: click.Parameter, text: str | None) -> dict[str, Any]:
    """Parse `--parameters`, a JSON object. Raise `UsageError`."""
    import json

    try:
        given = {} if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--parameters: not JSON: {error}") from None
    if not isinstance(given, dict):
        raise UsageError('--parameters: not a JSON object, as in {"lookback": 30}')
    return given


@command.command(short_help="Check that a strategy is pure, deterministic and restartable.")
@click.argument("name", shell_complete=_complete_name)
@click.option(
    "--parameters", callback=_parameters, metavar="JSON", help="Parameters to use instead of the configured ones."
)
@click.option("--timeout", type=click.FloatRange(1, 3600), default=60, show_default=True, metavar="SECONDS",
              help="A check that takes longer fails.")  # fmt: skip
def check(name: str, parameters: dict[str, Any], timeout: float) -> None:
    """Check that a strategy is pure and deterministic, does not leak memory, and can be saved and restored.

    NAME is a configured strategy, a type, a Python file (./mine.py or ./mine.py:factory) or a YAML file.
    Each check prints one line: ok, FAIL, warning or skipped, and why. If one fails, the exit code is 65. The
    strategy runs on a synthetic market, in a process of its own.

    \b
    Example:
        alpha strategies check ./breakout.py
        alpha strategies check momentum --parameters '{"lookback": 50}'
    """
    from alpha_cli.tools.strategies.conformance.runs import run
    from alpha_cli.tools.strategies.conformance.verdict import FAIL

    failed = []
    for result in run(name, parameters, timeout):
        click.echo(f"{result.mark:<8} {result.check:<12} {printable(result.why, 400)}".rstrip())
        if result.mark == FAIL:
            failed.append(result.check)
    if failed:
        raise BadData(f"{name} does not keep the contract of a strategy: {', '.join(failed)}")
