"""`alpha risk` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alpha_cli.cli.groups import Group
from alpha_cli.cli.options import Build, reads_stdin, stage_options, state_option
from alpha_cli.stages.risk.options import config_option, instruments_option
from alpha_cli.stream.stage import Options, Stage

#: Commands that look at limits, instead of deciding by them.
TOOLS = ("explain", "test")


class RiskGroup(Group):
    """The stage itself, and the commands about its limits, imported when one is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(TOOLS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in TOOLS:
            return None
        from alpha_cli.stages.risk.tools import COMMANDS

        return COMMANDS[cmd_name]


@click.group("risk", cls=RiskGroup, invoke_without_command=True)
@config_option
@instruments_option
@state_option("Folder that keeps counters, states and limits; while it has a file HALT, all is denied.")
@click.option("--as", "name", metavar="NAME", help="Name in the state folder, for a second gate.  [default: risk]")
@click.option("--fills", type=click.Path(path_type=Path), metavar="PATH",
              help="Follow a file or FIFO with what paper or execute writes: fills and order updates.")  # fmt: skip
@click.option("--ack-limits", metavar="HASH", help="Let limits hold that are looser than those of the last run.")
@stage_options(bad="fail")
@click.pass_context
def command(ctx: click.Context, /, *, options: Options, **given: Any) -> Stage | None:
    """Turn each signal into an order or a denial with a stable code.

    Limits come from risk.yaml in $ALPHA_CONFIG_DIR, ./configs or the packaged configs. While a file
    HALT is in the state folder everything is denied. The exit code is 80 if trading is halted at the end, or an account
    or a strategy is stopped. docs/risk.md has every control.

    \b
    Examples:
        alpha feed | alpha run-strategy momentum | alpha risk | grep '"type":"denial"'
        alpha feed day.ndjson | alpha run-strategy momentum | alpha risk --config strict.yaml | alpha paper
        alpha risk explain NSE:INFY --strategy momentum
    """
    if ctx.invoked_subcommand is not None:
        _refuse_options_of_the_stage(ctx)
        return None
    reads_stdin(ctx)
    if given["state"] is None and (given["name"] is not None or given["ack_limits"] is not None):
        raise click.UsageError(f"{'--as' if given['name'] is not None else '--ack-limits'} needs --state DIR")
    from alpha_cli.stages.risk.build import RiskStage

    shared: Build = ctx.obj
    return RiskStage(shared.last_ticks, **given).stage(options)


def _refuse_options_of_the_stage(ctx: click.Context) -> None:
    """Before a command no option means anything: `--config x explain` would explain other limits."""
    for param in ctx.command.params:
        source = None if param.name is None else ctx.get_parameter_source(param.name)
        if source is click.core.ParameterSource.COMMANDLINE:
            command = ctx.invoked_subcommand
            raise click.UsageError(f"{param.opts[0]} is not for {command}, or it comes after that word")
