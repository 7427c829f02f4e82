"""`alpha strategies db`: strategy configurations in SQLite or PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from alpha_cli.core.errors import NoInput, UsageError
from alpha_cli.core.text import printable
from alpha_cli.stream.log import log_line

if TYPE_CHECKING:
    from alpha_cli.stages.run_strategy.config import StrategyConfig
    from alpha_cli.stages.run_strategy.config_table import ConfigurationTable

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group(invoke_without_command=True)
@click.pass_context
def db(ctx: click.Context) -> None:
    """Strategy configurations in a database, SQLite or PostgreSQL.

    Give the URL of the database with --config-db or in ALPHA_CONFIG_DB. Every user of the machine can read a
    command line, so a password there is refused: PGPASSWORD, ~/.pgpass and service files work as with psql, and the
    URL in ALPHA_CONFIG_DB may have it.

    \b
    Example:
        alpha strategies db init --config-db sqlite:///strategies.db
        alpha strategies db import momentum.yaml --config-db sqlite:///strategies.db
        alpha strategies db list --config-db postgresql://alpha@localhost:5432/trading
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)


def config_db(command: Command) -> Command:
    """Add the option `--config-db URL`, also read from `ALPHA_CONFIG_DB`."""
    return click.option(
        "--config-db", "url", envvar="ALPHA_CONFIG_DB", metavar="URL",
        help="sqlite:///FILE or postgresql://USER@HOST:PORT/DATABASE.  [env: ALPHA_CONFIG_DB]",
    )(command)  # fmt: skip


@db.command()
@config_db
def init(url: str | None) -> None:
    """Create the table, or bring an older one up to date.

    Missing columns are added and printed; existing rows and other columns stay as they are.

    \b
    Example:
        alpha strategies db init --config-db sqlite:///strategies.db
    """
    with _table(url, create=True) as table:
        created, added = table.init()
    if created:
        click.echo("created strategy_configurations")
    for column in added:
        click.echo(f"added {column}")
    if not created and not added:
        _remark("init", f"{table.name}: nothing to do")


@db.command("import")
@click.argument("paths", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--packaged", is_flag=True, help="Also import what run-strategy finds by name; the default without FILE.")
@config_db
def import_(paths: tuple[Path, ...], url: str | None, *, packaged: bool) -> None:
    """Write strategies' YAML files to the table, all or none.

    A folder means the files in it. A row with the same id is replaced. Without FILE, every
    strategies/NAME.yaml in $ALPHA_CONFIG_DIR, ./configs and the packaged configs is imported.

    \b
    Example:
        alpha strategies db import momentum.yaml mine/ --config-db sqlite:///strategies.db
    """
    from alpha_cli.stages.run_strategy.config import load_file, unique

    # Absolute: a strategy's code is found next to its YAML file, wherever the table will be read from.
    files = [file.absolute() for file in [*_files(paths), *(_found() if packaged or not paths else ())]]
    configs = unique([load_file(file) for file in dict.fromkeys(files)])
    for config in configs:
        _check(config)
    with _table(url) as table:
        table.put(*configs)
    for config in configs:
        click.echo(f"imported {config.id}")


@db.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--to", "folder", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help="Write a file ID.yaml for each to FOLDER, instead of printing them.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace existing files.")
@config_db
def export(ids: tuple[str, ...], folder: Path | None, url: str | None, *, force: bool) -> None:
    """Print strategies as YAML, or write a file for each.

    `import` reads it again. Without ID, all strategies are exported.

    \b
    Example:
        alpha strategies db export momentum --config-db sqlite:///strategies.db > momentum.yaml
        alpha strategies db export --to configs/strategies --config-db sqlite:///strategies.db
    """
    with _table(url) as table:
        configs = [table.read(name) for name in dict.fromkeys(ids)] if ids else table.read_all()
    if not configs:
        _remark("export", f"{table.name}: there are no strategies in it")
    if folder is None:
        click.echo("---\n".join(map(_yaml, configs)), nl=False)
        return
    files = {folder / f"{config.id}.yaml": _yaml(config) for config in configs}
    there = [str(file) for file in files if file.exists() or file.is_symlink()]
    if there and not force:
        raise UsageError(f"{', '.join(there[:3])}: already there; --force replaces it")
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        file.write_text(text, encoding="utf-8")
        click.echo(f"exported {file}")


@db.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@config_db
def enable(ids: tuple[str, ...], url: str | None) -> None:
    """Let run-strategy run strategies again.

    \b
    Example:
        alpha strategies db enable momentum --config-db sqlite:///strategies.db
    """
    _set_active(ids, url, active=True)


@db.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@config_db
def disable(ids: tuple[str, ...], url: str | None) -> None:
    """Let run-strategy skip strategies; their rows stay.

    \b
    Example:
        alpha strategies db disable momentum mean_reversion --config-db sqlite:///strategies.db
    """
    _set_active(ids, url, active=False)


@db.command("set")
@click.argument("strategy_id", metavar="ID")
@click.argument("changes", metavar="NAME=VALUE...", nargs=-1, required=True)
@config_db
def set_(strategy_id: str, changes: tuple[str, ...], url: str | None) -> None:
    """Change parameters of a strategy; the others stay.

    VALUE is JSON or a YAML scalar. Values that the strategy refuses are not written.

    \b
    Example:
        alpha strategies db set momentum lookback=30 order_type=LIMIT --config-db sqlite:///strategies.db
    """
    pairs = [_parameter(change) for change in changes]
    parameters = dict(pairs)
    if len(parameters) < len(pairs):
        raise UsageError("a parameter is given twice; give it once")
    with _table(url) as table:
        config = table.set_parameters(strategy_id, parameters, _check)
    click.echo(f"set {config.id} parameters={_json(config.parameters)}")


@db.command("list")
@config_db
def list_(url: str | None) -> None:
    """Print the strategies as a table for people.

    Programs should use export.

    \b
    Example:
        alpha strategies db list --config-db sqlite:///strategies.db
    """
    with _table(url) as table:
        configs = table.read_all()
    if not configs:
        _remark("list", f"{table.name}: there are no strategies in it; alpha strategies db import adds some")
        return
    rows = [("id", "type", "active", "brokers", "instruments", "parameters"), *map(_listed, configs)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


# --- what the commands share -----------------------------------------------------------------


def _table(url: str | None, *, create: bool = False) -> ConfigurationTable:
    from alpha_cli.stages.run_strategy.config_table import open_table

    if not url:
        raise UsageError("name the database: --config-db sqlite:///strategies.db, or set ALPHA_CONFIG_DB to its URL")
    return open_table(url, create=create)


def _remark(command: str, text: str) -> None:
    log_line(f"alpha strategies db {command}: {printable(text, 500)}")


def _check(config: StrategyConfig) -> None:
    """Raise what `run-strategy` would raise: for an unknown type, a parameter out of bounds, the validator."""
    from alpha_cli.stages.run_strategy.factory import create_processor, create_validator

    create_processor(config)
    create_validator(config)


def _files(paths: Iterable[Path]) -> list[Path]:
    """Return the YAML files of `paths`; a folder means those in it."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(path.glob("*.yaml"))
            if not inside:
                raise NoInput(f"{path}: no .yaml file in this folder")
            files += inside
        else:
            files.append(path)
    return files


def _found() -> list[Path]:
    from alpha_cli.config.files import config_names, find_config

    return [find_config(f"strategies/{name}.yaml") for name in config_names("strategies")]


def _set_active(ids: Sequence[str], url: str | None, *, active: bool) -> None:
    with _table(url) as table, table.transaction():
        for name in sorted(set(ids)):
            table.set_active(name, active)
    for name in dict.fromkeys(ids):
        click.echo(f"{'enabled' if active else 'disabled'} {name}")


def _parameter(change: str) -> tuple[str, Any]:
    """Return name and value of a change: `"lookback=30"` is ("lookback", 30). Raise `UsageError`."""
    name, equals, text = change.partition("=")
    if not equals or not name:
        raise UsageError(f"{change!r}: write NAME=VALUE, as in lookback=30")
    import yaml

    try:
        return name, json.loads(text)  # YAML 1.1 would take 1e-4 for a text
    except (ValueError, RecursionError):
        pass
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        value = yaml.safe_load(text) if isinstance(node, yaml.ScalarNode) else None
    except (yaml.YAMLError, ValueError, RecursionError):
        node = None
        value = None
    if not isinstance(node, yaml.ScalarNode):
        raise UsageError(f"{change!r}: the value is neither JSON nor a YAML scalar; a text may be put in double quotes")
    # A date, for example, stays text: JSON has none.
    return name, value if value is None or isinstance(value, (str, int, float)) else text


def _yaml(config: StrategyConfig) -> str:
    """Return a document that `load_file` reads as an equal configuration."""
    import yaml

    from alpha_cli.stages.run_strategy.config import file_of

    class Dumper(yaml.SafeDumper):
        def represent_str(self, data: str) -> yaml.ScalarNode:  # unless quoted, \x85 comes back as \n
            return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if data.isprintable() else '"')

    Dumper.add_representer(str, Dumper.represent_str)
    values = config.model_dump(mode="json", exclude_unset=True)  # null in the table means the default
    for key in ("strategy_type", "validator_type"):
        if file_of(values.get(key, "")):  # a relative one would be relative to the YAML file
            values[key] = str(Path(values[key]).absolute())
    return yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True)


def _listed(config: StrategyConfig) -> tuple[str, ...]:
    tokens = [str(token) for token in config.instruments]
    shown = ",".join(tokens) if len(tokens) <= 4 else f"{','.join(tokens[:3])},… ({len(tokens)})"
    return (
        config.id,
        printable(config.strategy_type, 60),
        "yes" if config.is_active else "no",
        ",".join(config.active_brokers) or "none",
        shown,
        printable(_json(config.parameters), 200),
    )


def _json(values: Any) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))
