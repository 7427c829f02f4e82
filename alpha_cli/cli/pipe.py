"""`alpha pipe`: the stages of a pipeline, built by their own commands and run in one process."""

from __future__ import annotations

from itertools import pairwise

import click

from alpha_cli.cli.app import cli
from alpha_cli.cli.groups import LazyGroup
from alpha_cli.cli.options import Build, reads_stdin, split_pipeline
from alpha_cli.cli.registry import COMMANDS, STAGES
from alpha_cli.core.errors import UsageError
from alpha_cli.core.text import did_you_mean
from alpha_cli.stream.last_ticks import LastTicks
from alpha_cli.stream.stage import Program, Source, Stage


@click.command("pipe")
@click.argument("pipeline")
@click.option("--feedback", is_flag=True, help="Orders and fills return to strategies and risk before the next tick.")
@click.option("-q", "--quiet", is_flag=True, help="Print no lines of counters at the end.")
@click.pass_context
def command(ctx: click.Context, pipeline: str, *, feedback: bool, quiet: bool) -> Program:
    """Run PIPELINE, stages joined by |, in one process: the same bytes as from the shell, faster.

    --bad and --drain of the first stage hold for all: only it reads lines.

    \b
    Example:
        alpha pipe "feed | run-strategy momentum | risk | paper"
        alpha pipe "feed day.ndjson | run-strategy momentum | risk | paper --forward" > run.ndjson
    """
    program = build(pipeline, feedback=feedback)
    if program.source is None:
        reads_stdin(ctx)
    if quiet:
        for part in program.parts:
            part.options = part.options._replace(quiet=True)
    return program


def build(pipeline: str, *, feedback: bool = False) -> Program:
    """Return the stages that `pipeline` names. Raise `UsageError`, and what the stages' own commands raise."""
    shared = Build()
    shared.fused = True
    source: Source | None = None
    stages: list[Stage] = []
    try:
        commands = split_pipeline(pipeline)
        _refuse_words_of_the_shell(commands)
        _check_order([words[0] for words in commands if words])
        for place, words in enumerate(commands):
            made = _made(words, shared)
            if isinstance(made, Source):
                if place:
                    raise UsageError(f"{words[0]} makes events and can only come first in a pipeline")
                source = made
            else:
                stages.append(made)
                if not made.flow.forward:  # no tick gets past it
                    shared.last_ticks = LastTicks()
    except BaseException:
        for stage in stages:  # those before may hold locks
            stage.lifecycle.release()
        raise
    return Program(source, stages, feedback)


#: The stages of trading in the order in which a signal passes them.
_TRADING = ("run-strategy", "risk", "paper")


#: What only a shell understands; inside the quotes it would be an argument of a stage.
_OF_THE_SHELL = frozenset({">", ">>", "<", "2>", "&>", "&", "&&", ";"})


def _refuse_words_of_the_shell(commands: list[list[str]]) -> None:
    for word in (word for words in commands for word in words):
        if word in _OF_THE_SHELL:
            raise UsageError(f"{word!r} is for the shell; write it after the quotes, as in: alpha pipe '…' {word} …")


def _check_order(names: list[str]) -> None:
    """Raise `UsageError` where signals or orders would reach a stage that cannot use them."""
    places = [(_TRADING.index(name), name) for name in names if name in _TRADING]
    for (before, first), (after, second) in pairwise(places):
        if before > after:
            raise UsageError(f"{second} stands after {first}; the order is: feed | run-strategy | risk | paper")
        if before == after != 0:
            raise UsageError(f"{first} stands twice; one is enough for all strategies and brokers")
    if "run-strategy" in names and "paper" in names and "risk" not in names:
        raise UsageError(
            "risk is left out: paper takes the orders that risk makes of signals; put it between run-strategy and paper"
        )


def _made(words: list[str], shared: Build) -> Source | Stage:
    """Return what the command line `words` makes."""
    if not words:
        raise UsageError("a stage is missing: nothing stands before, after or between two |")
    name, *arguments = words
    assert isinstance(cli, LazyGroup)
    alpha = click.Context(cli, info_name="alpha", obj=shared, **cli.context_settings)
    stage = cli.get_command(alpha, name) if name in STAGES else None
    if stage is None:
        known = (
            "not a stage; stages: " + ", ".join(STAGES) if name in COMMANDS else f"unknown{did_you_mean(name, STAGES)}"
        )
        raise UsageError(f"{name!r} is {known}")
    try:
        with stage.make_context(name, arguments, parent=alpha) as ctx:
            tool = [*getattr(ctx, "_protected_args", ()), *ctx.args] if isinstance(stage, click.Group) else []
            if tool:
                raise UsageError(f"{name} {tool[0]} is a tool and no stage; run alpha {name} {tool[0]} by itself")
            made: Source | Stage = stage.invoke(ctx)
            return made
    except click.UsageError as error:
        raise UsageError(f"{name}: {error.format_message()}") from None
