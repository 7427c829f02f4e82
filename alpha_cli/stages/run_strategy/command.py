"""`alpha run-strategy`: options and wiring."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alpha_cli.cli.options import not_nan, reads_stdin, stage_options, state_option
from alpha_cli.core.errors import UsageError
from alpha_cli.core.text import printable
from alpha_cli.stream.log import log_line
from alpha_cli.stream.stage import Options, Stage

if TYPE_CHECKING:
    from alpha_cli.stages.run_strategy.host import Host, HostOptions
    from alpha_cli.stages.run_strategy.selection import Selection
    from alpha_cli.stages.run_strategy.workers.pool import WorkerPool

#: Seconds that one call may take: a strategy that hangs is stopped, and with workers also one that is merely slow.
DEADLINE, DEADLINE_OF_WORKERS = 5.0, 0.5


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
    help="A strategy's YAML file; may be repeated, adds to the names.",
)
@click.option("--all", "every", is_flag=True, help="Every strategy that is configured.")
@click.option(
    "--config-db",
    "database",
    envvar="ALPHA_CONFIG_DB",
    metavar="URL",
    help="Configurations from sqlite:///FILE or postgresql://…; without names, all in it.  [env: ALPHA_CONFIG_DB]",
)
@click.option("--fallback-yaml", "fallback", is_flag=True, help="If the database is down, go on with the YAML files.")
@click.option("--all-hours", is_flag=True, help="Also ticks outside the continuous session.")
@click.option(
    "--fills",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Follow a file or FIFO with what paper or execute writes: positions and cash for strategies.",
)
@state_option("Keep what strategies remember, for the next run to go on from.")
@click.option("--as", "instance", metavar="NAME", help="Name in the state folder.  [default: run-strategy]")
@click.option(
    "--workers",
    type=click.IntRange(0, 256),
    default=0,
    metavar="N",
    help="Run strategies in N processes, so that none can hold up or bring down the others.  [default: 0]",
)
@click.option(
    "--deadline",
    type=click.FloatRange(0, 3600),
    callback=not_nan,
    metavar="SECONDS",
    help="A call that takes longer is broken off and its strategy paused; 0: never.  "
    f"[default: {DEADLINE:g}, with --workers {DEADLINE_OF_WORKERS:g}]",
)
@click.option(
    "--memory",
    type=click.IntRange(0, 1 << 20),
    default=1024,
    show_default=True,
    metavar="MIB",
    help="What a process may allocate before the strategy that wants more is paused; 0: no limit.",
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
    help="After that, when to try it again, in the time of the stream.",
)
@click.option(
    "--metrics-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep counts and times of each strategy in FILE, for Prometheus.",
)
@click.option("-v", "--verbose", is_flag=True, help="Tell of each signal on stderr.")
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
    from alpha_cli.stages.run_strategy.selection import Selection

    with redirect_stdout(sys.stderr):  # what strategies print while they are made is no data
        return build(Selection(names, files, every, database, fallback), options, **rest)


def build(
    selection: Selection,
    options: Options,
    *,
    all_hours: bool = False,
    fills: Path | None = None,
    state: Path | None = None,
    instance: str | None = None,
    workers: int = 0,
    deadline: float | None = None,
    memory: int = 0,
    failures: int = 5,
    cool_down: float = 60,
    metrics_file: Path | None = None,
    verbose: bool = False,
) -> Stage:
    """The stage that hosts the strategies of `selection`."""
    from alpha_cli.config.settings import load_settings
    from alpha_cli.stages.run_strategy.host import HostOptions
    from alpha_cli.stages.run_strategy.side_inputs import Beside
    from alpha_cli.stages.run_strategy.status import Observer, figures

    if instance is not None and state is None:
        raise click.UsageError("--as names a state; it needs --state DIR")
    if metrics_file is not None:
        _need_prometheus()
    name = instance or "run-strategy"
    settings = load_settings()
    host_options = HostOptions(
        all_hours=all_hours,
        failures=failures,
        cool_down=timedelta(seconds=cool_down),
        opening_cash=settings.opening_cash,
        deadline=(DEADLINE_OF_WORKERS if workers else DEADLINE) if deadline is None else deadline,
        memory=memory,
        verbose=verbose,
    )
    wanted = selection.wanted(_report, settings)
    release: list[Callable[[], object]] = []

    def let_go() -> None:
        while release:
            release.pop()()

    try:
        host = _hosted(host_options, workers, selection, wanted)
        release.append(host.release)
        store = None
        if state is not None:
            from alpha_cli.stages.run_strategy.store import Store

            store = Store(state, name)
            release.append(store.close)
            kept = store.load()
            if kept is not None:
                with store.errors():
                    host.restore(kept)
        beside = Beside(host, fills, _report)
        release.append(beside.close)
    except BaseException:
        let_go()
        raise
    observer = Observer(host.statuses, None if state is None else state / f"{name}.status.json", metrics_file)

    def start() -> None:
        beside.listen()
        host.start()

    def keep() -> None:
        if store is not None:
            store.save(host.snapshot())
        observer.look(ended=True)

    return Stage(
        "run-strategy",
        host.steps,
        options,
        every_tick=True,
        tick_fields=lambda: host.tick_fields,
        ahead=getattr(host, "ahead", None),
        arrivals=beside.arrivals,
        start=start,
        keep=keep,
        finished=host.finish,
        commit=observer.look,
        release=let_go,
        verdict=host.verdict,
        counts=lambda: {**host.counts(), **figures(host.statuses())},
    )


def _hosted(options: HostOptions, workers: int, selection: Selection, wanted: Any) -> Host | WorkerPool:
    def reread() -> Any:
        return selection.wanted(_report)

    if workers:
        from alpha_cli.stages.run_strategy.workers.pool import WorkerPool

        return WorkerPool(options, wanted, reread, _report, workers)
    from alpha_cli.stages.run_strategy.host import Host

    return Host(options, wanted, reread, _report)


def _need_prometheus() -> None:
    from importlib.util import find_spec

    if find_spec("prometheus_client") is None:
        raise UsageError("--metrics-file needs prometheus-client: pip install 'alpha-cli[metrics]'")


def _report(message: str) -> None:
    log_line(f"alpha run-strategy: {printable(message, 500)}")
