"""`alpha status` on the command line, and what its exit code says."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from alpha_cli.cli.options import given_state, state_option
from alpha_cli.core.errors import Halted
from alpha_cli.tools.status.folder import Folder, look

#: What a folder is in, the worst first, with the exit code that says so: for monitors. 66: there is no such folder.
STATES: dict[str, tuple[int, str]] = {
    "died": (4, "a stage was killed, or its machine lost power: it left without ending"),
    "halted": (Halted.exit_code, "trading is halted, or risk stopped an account or a strategy"),
    "refusing": (6, "a stage refuses everything it is asked for, and says why and how to mend it"),
    "unknown": (7, "a status, lock or database cannot be read"),
    "lagging": (5, "a stage runs, and has handled no line for longer than --lag"),
    "stopped": (3, "no stage runs"),
    "running": (0, "a stage runs, and nothing is wrong"),
}


@click.command()
@state_option()
@click.option("--lag", type=click.FloatRange(0, 31_536_000), default=60.0, show_default=True, metavar="SECONDS",
              help="A running stage that handled no line for so long is lagging.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object a line.")
def command(state: Path | None, *, lag: float, as_json: bool) -> int:
    """Show what the stages and strategies of a state folder do and did; the exit code is for monitors.

    A stage tells it there with --state DIR, every stage of alpha pipe if one of them has it. Times of lines and
    signals are those of the stream; durations are in microseconds.

    \b
    Exit codes, the worst that holds:
        0 running   a stage runs, and nothing is wrong
        3 stopped   no stage runs
        4 died      a stage was killed: it left without ending
        5 lagging   a stage runs, and has handled no line for longer than --lag
        6 refusing  a stage refuses everything it is asked for
        7 unknown   a status, lock or database cannot be read
        80 halted   trading is halted, or risk stopped an account or a strategy

    \b
    Example:
        alpha status --state ~/trading
        alpha status --state ~/trading --json | jq 'select(.kind == "strategy") | .signals'
        alpha status --state ~/trading > status.txt || mail -s "alpha: $?" me@example.com < status.txt
    """
    from alpha_cli.tools.status.shown import for_people, for_programs

    now = datetime.now(UTC)
    found = look(given_state(state), now, lag)
    word = state_of(found)
    for line in for_programs(found, word) if as_json else for_people(found, now):
        click.echo(line)
    return STATES[word][0]


def state_of(folder: Folder) -> str:
    """Return the worst word of `STATES` that holds for the folder."""
    doing = {stage.doing for stage in folder.stages}
    holds = {
        "died": "died" in doing,
        "halted": folder.halted is not None or bool(folder.standings),
        "refusing": any(stage.refuses is not None for stage in folder.stages),
        "unknown": "unknown" in doing or bool(folder.unread) or any(stage.fault for stage in folder.stages),
        "lagging": "lagging" in doing,
        "stopped": "running" not in doing,
    }
    return next((word for word, holding in holds.items() if holding), "running")
