"""The commands: one row each, in the order of the flow."""

from __future__ import annotations

from typing import Literal, NamedTuple

#: What a command is in a pipeline. A source makes events, a filter adds to those it reads, a sink is where they end;
#: a tool is no part of a pipeline.
Role = Literal["source", "filter", "sink", "tool"]


class Command(NamedTuple):
    """A command of alpha.

    module  with the click command; `MODULE:NAME` where it is not called `command`
    help    one line
    """

    name: str
    module: str
    help: str
    role: Role = "tool"


_ROWS = (
    Command("feed", "alpha_cli.stages.feed.command", "Generate ticks, or replay recorded ones.", "source"),
    Command("bars", "alpha_cli.stages.bars.command", "Build bars from ticks; adds them.", "filter"),
    Command(
        "run-strategy", "alpha_cli.stages.run_strategy.command", "Run strategies on ticks; adds signals.", "filter"
    ),
    Command("risk", "alpha_cli.stages.risk.command", "Turn each signal into an order or a denial.", "filter"),
    Command("paper", "alpha_cli.stages.paper.command", "Simulate a broker: orders to fills and a portfolio.", "sink"),
    Command("pipe", "alpha_cli.cli.pipe", "Run a whole pipeline in one process; same bytes, faster."),
    Command("show", "alpha_cli.stages.show.command", "Print events as readable columns.", "sink"),
    Command("instruments", "alpha_cli.tools.instruments.command", "Load, find and show instruments."),
    Command("strategies", "alpha_cli.tools.strategies.command", "List, describe, create and check strategies."),
    Command("status", "alpha_cli.tools.status.command", "Show the strategies and stages of a state folder."),
    Command("charges", "alpha_cli.tools.charges", "What trades cost: brokerage, taxes and fees, by date."),
    Command("market", "alpha_cli.tools.market", "When the markets are open: now, next, and on a date."),
    Command("halt", "alpha_cli.tools.halt:halt", "Stop all trading of a state folder."),
    Command("resume", "alpha_cli.tools.halt:resume", "Resume trading after a halt."),
    Command("rearm", "alpha_cli.tools.halt:rearm", "Restart a strategy that risk stopped."),
    Command("config", "alpha_cli.tools.config", "Show the settings, and where each one comes from."),
    Command("help", "alpha_cli.tools.help", "Print a page of the manual, or the help of a command."),
    Command("schema", "alpha_cli.tools.schema", "Print the JSON Schema of the wire."),
    Command("completion", "alpha_cli.tools.completion", "Print the shell completion script."),
)

COMMANDS = {command.name: command for command in _ROWS}

#: Those that may stand in a pipeline.
STAGES = tuple(command.name for command in _ROWS if command.role != "tool")
