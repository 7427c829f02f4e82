"""`alpha risk` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alpha_cli.cli.groups import StageGroup
from alpha_cli.cli.options import Build, reads_stdin, stage_options, state_option, watched
from alpha_cli.stages.risk.options import config_option, instruments_option
from alpha_cli.stream.stage import Options, Stage


@click.group(
    "risk", cls=StageGroup, invoke_without_command=True, tools=("explain", "test"), module="alpha_cli.tools.risk"
)
@config_option
@instruments_option
@state_option("Folder that keeps counters, states and limits; while it has a file HALT, everything is denied.")
@click.option("--as", "name", metavar="NAME", help="Name in the state folder, for a second instance.  [default: risk]")
@click.option("--fills", type=click.Path(path_type=Path), metavar="PATH",
              help="Follow a file or FIFO that paper writes: fills and order updates.")  # fmt: skip
@click.option("--ack-limits", metavar="HASH", help="Accept limits that are looser than those of the last run.")
@stage_options(bad="fail")
@click.pass_context
def command(ctx: click.Context, /, *, options: Options, **given: Any) -> Stage | None:
    """Turn each signal into an order or a denial with a stable code.

    Limits come from risk.yaml in $ALPHA_CONFIG_DIR, ./configs or the packaged configs. While the state folder
    has a file HALT, everything is denied. The exit code is 80 if trading is halted at the end, or if an account or a
    strategy is stopped. `alpha help risk` describes every control.

    \b
    Examples:
        alpha feed | alpha run-strategy momentum | alpha risk | grep '"type":"denial"'
        alpha feed day.ndjson | alpha run-strategy momentum | alpha risk --config strict.yaml | alpha paper
        alpha risk explain NSE:INFY --strategy momentum
    """
    if ctx.invoked_subcommand is not None:
        return None
    reads_stdin(ctx)
    if given["state"] is None and (given["name"] is not None or given["ack_limits"] is not None):
        raise click.UsageError(f"{'--as' if given['name'] is not None else '--ack-limits'} needs --state DIR")
    from alpha_cli.stages.risk.build import RiskStage

    shared: Build = ctx.obj
    return RiskStage(shared.last_ticks, **given).stage(watched(options, given["state"], given["name"] or "risk"))
