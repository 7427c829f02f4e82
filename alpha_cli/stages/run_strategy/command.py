"""`alpha run-strategy`: options and wiring."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from alpha_cli.cli.options import not_nan, reads_stdin, stage_options, state_option, watched
from alpha_cli.core.errors import UsageError
from alpha_cli.stream.stage import Options, Stage


def _complete_name(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    from alpha_cli.config.files import config_names

    return [name for name in config_names("strategies") if name.startswith(incomplete)]


@click.command("run-strategy")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=_complete_name)
@click.option(
    "--config",
    "files",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="YAML file of a strategy; may be repeated, adds to the names.",
)
@click.option("--all", "every", is_flag=True, help="Run every strategy that is configured.")
@click.option(
    "--config-db",
    "database",
    envvar="ALPHA_CONFIG_DB",
    metavar="URL",
    help="Configurations from sqlite:///FILE or postgresql://…; without names, all in it.  [env: ALPHA_CONFIG_DB]",
)
@click.option("--fallback-yaml", "fallback", is_flag=True, help="Use the YAML files if the database is down.")
@click.option("--all-hours", is_flag=True, help="Use ticks outside trading hours too.")
@click.option(
    "--fills",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Follow a file or FIFO that paper writes: positions and cash for strategies; -: they stand in the input.",
)
@state_option("Keep what strategies remember, for the next run to go on from.")
@click.option("--as", "instance", metavar="NAME", help="Name in the state folder.  [default: run-strategy]")
@click.option(
    "--workers",
    type=click.IntRange(0, 256),
    default=0,
    metavar="N",
    help="Run strategies in N processes, so that none can delay or crash the others.  [default: 0]",
)
@click.option(
    "--deadline",
    type=click.FloatRange(0, 3600),
    callback=not_nan,
    metavar="SECONDS",
    help="A call that takes longer is interrupted and its strategy paused; 0: never.  [default: 5, with --workers 0.5]",
)
@click.option(
    "--memory",
    type=click.IntRange(0, 1 << 20),
    default=1024,
    show_default=True,
    metavar="MIB",
    help="Memory of a process; a strategy that wants more is paused; 0: no limit.",
)
@click.option(
    "--failures",
    type=click.IntRange(1, 1_000_000),
    default=5,
    show_default=True,
    metavar="N",
    help="Failures in a row that pause a strategy.",
)
@click.option(
    "--cool-down",
    type=click.FloatRange(0, 86_400),
    callback=not_nan,
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Time until a paused strategy is tried again, by tick times.",
)
@click.option(
    "--metrics-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write counts and times of each strategy to FILE, for Prometheus.",
)
@click.option("-v", "--verbose", is_flag=True, help="Report each signal on stderr.")
@stage_options(bad="fail")
@click.pass_context  # fmt: skip
def command(
    ctx: click.Context,
    /,
    *,
    names: tuple[str, ...],
    files: tuple[Path, ...],
    every: bool,
    database: str | None,
    fallback: bool,
    options: Options,
    **rest: Any,
) -> Stage:
    """Run strategies on ticks and add their signals to the stream.

    NAME is a row of the table strategy_configurations (--config-db), or a file strategies/NAME.yaml in
    $ALPHA_CONFIG_DIR, ./configs or the packaged configs. `control` events in the stream pause, resume, set and
    reload strategies; SIGHUP reloads.

    \b
    Example:
        alpha feed | alpha run-strategy momentum | grep '"type":"signal"'
        alpha feed day.ndjson | alpha run-strategy momentum --config mine.yaml | alpha risk | alpha paper
        alpha feed | alpha run-strategy --all --workers 2 --state ~/trading --metrics-file alpha.prom
    """
    if not names and not files and not every and database is None:
        known = ", ".join(_complete_name(ctx, ctx.command.params[0], ""))
        raise UsageError(f"name a strategy or give --config FILE or --all; known: {known}")
    reads_stdin(ctx)
    if rest["instance"] is not None and rest["state"] is None:
        raise click.UsageError("--as names a state; it needs --state DIR")
    from alpha_cli.stages.run_strategy.selection import Selection

    with redirect_stdout(sys.stderr):  # what strategies print while they are made is no data
        from alpha_cli.stages.run_strategy.build import RunOptions, RunStrategyStage

        selection = Selection(names, files, every, database, fallback)
        options = watched(options, rest["state"], rest["instance"] or "run-strategy")
        return RunStrategyStage(selection, RunOptions(**rest)).stage(options)
