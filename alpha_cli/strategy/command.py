"""`alpha run-strategy`: options and wiring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alpha_cli.errors import ConfigurationError, UsageError, printable, tell
from alpha_cli.events import Tick
from alpha_cli.options import reads_stdin, stage_options
from alpha_cli.stage import Options, Stage


def _complete_name(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    from alpha_cli.settings import config_names

    return [name for name in config_names("strategies") if name.startswith(incomplete)]


@click.command("run-strategy")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=_complete_name)
@click.option("--config", "files", multiple=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="A strategy's YAML file; may be repeated, adds to the names.")  # fmt: skip
@click.option("--all-hours", is_flag=True, help="Also ticks outside the continuous session.")
@stage_options(bad="fail")
@click.pass_context
def command(
    ctx: click.Context, names: tuple[str, ...], files: tuple[Path, ...], *, all_hours: bool, options: Options
) -> Stage:
    """Run strategies on ticks and add their signals to the stream.

    NAME is a file strategies/NAME.yaml in $ALPHA_CONFIG_DIR, ./configs or the packaged configs.

    \b
    Example:
        alpha feed | alpha run-strategy momentum | grep '"type":"signal"'
        alpha feed day.ndjson | alpha run-strategy momentum --config mine.yaml | alpha risk | alpha paper
    """
    if not names and not files:
        raise UsageError(
            "name a strategy or give --config FILE; known: " + ", ".join(_complete_name(ctx, ctx.command.params[0], ""))
        )
    reads_stdin(ctx)
    return build(names, files, options, all_hours=all_hours)


def build(names: tuple[str, ...], files: tuple[Path, ...], options: Options, *, all_hours: bool = False) -> Stage:
    """The stage that hosts the strategies called `names` and those described in `files`."""
    from alpha_cli.settings import load_settings
    from alpha_cli.strategy.config import load_by_name, load_file
    from alpha_cli.strategy.engine import Slot, StrategyRunner
    from alpha_cli.strategy.factory import create_processor

    configs = [*map(load_by_name, names), *map(load_file, files)]
    _unique(config.id for config in configs)
    brokers = load_settings().active_brokers
    runner = StrategyRunner(all_hours=all_hours, report=_report)
    fields: set[str] | None = set()
    for config in configs:
        if not config.is_active:
            _report(f"{config.id} is not active (is_active: false in its configuration)")
            continue
        active = [broker for broker in config.active_brokers if broker in brokers]
        if not active:
            _report(
                f"{config.id} has no active broker: its signals go nowhere "
                f"(active_brokers in alpha.yaml: {', '.join(brokers)})"
            )
        for token in dict.fromkeys(config.instruments):
            processor = create_processor(config)
            runner.add(Slot(config.id, processor, active, config.max_history), token)
            used = getattr(processor, "tick_fields", None)
            fields = None if fields is None or used is None else fields.union(used)
    return Stage(
        "run-strategy",
        {Tick: runner.on_tick},
        options,
        every_tick=True,
        tick_fields=None if fields is None else tuple(sorted(fields)),
        counts=runner.counts,
    )


def _unique(ids: Any) -> None:
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise ConfigurationError(f"two strategies have the id {name}; give one of them another")
        seen.add(name)


def _report(message: str) -> None:
    tell(f"alpha run-strategy: {printable(message, 500)}")
