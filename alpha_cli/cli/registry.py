"""The commands: one row each, in the order of the flow."""

from __future__ import annotations

#: name -> (module with the click command, by itself called `command`; one line of help), in the order of the flow.
COMMANDS: dict[str, tuple[str, str]] = {
    "feed": ("alpha_cli.stages.feed.command", "Make or replay ticks: a synthetic market, or recorded files."),
    "bars": ("alpha_cli.stages.bars.command", "Build bars from ticks; adds them."),
    "run-strategy": ("alpha_cli.stages.run_strategy.command", "Run strategies on ticks; adds signals."),
    "risk": ("alpha_cli.stages.risk.command", "Turn each signal into an order or a denial."),
    "paper": ("alpha_cli.stages.paper.command", "Simulate a broker: orders to fills and a portfolio."),
    "pipe": ("alpha_cli.cli.pipe", "Run a whole pipeline in one process; same bytes, faster."),
    "show": ("alpha_cli.stages.show.command", "Print events as readable columns."),
    "instruments": ("alpha_cli.tools.instruments.command", "Load, find and show instruments."),
    "strategies": ("alpha_cli.tools.strategies.command", "List, describe, begin and check strategies."),
    "status": ("alpha_cli.tools.status", "Show what the strategies and stages of a state folder do."),
    "charges": ("alpha_cli.tools.charges", "What trades cost: brokerage, taxes and fees, by date."),
    "market": ("alpha_cli.tools.market", "When the markets are open: now, next, and on a date."),
    "halt": ("alpha_cli.tools.halt:halt", "Stop all trading of a state folder."),
    "resume": ("alpha_cli.tools.halt:resume", "Let it go on."),
    "rearm": ("alpha_cli.tools.halt:rearm", "Let a strategy go on that risk stopped."),
    "schema": ("alpha_cli.tools.schema", "Print the JSON Schema of the wire."),
    "completion": ("alpha_cli.tools.completion", "Print the shell completion script."),
}
