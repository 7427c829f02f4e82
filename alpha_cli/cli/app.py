"""`alpha`: the table of commands, and how an error becomes one line and an exit code.

A command's module is imported when the command is called, so that each starts with what it needs
and `alpha --help` with nothing.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from alpha_cli import __version__
from alpha_cli.core.errors import EXIT_CODES, AlphaError, InputOutputError, ReaderGone, printable, tell

#: name -> (module with the click command, by itself called `command`; one line of help), in the order of the flow.
COMMANDS: dict[str, tuple[str, str]] = {
    "feed": ("alpha_cli.stages.feed.command", "Make or replay ticks: a synthetic market, or recorded files."),
    "bars": ("alpha_cli.stages.bars.command", "Build bars from ticks; adds them."),
    "run-strategy": ("alpha_cli.stages.run_strategy.command", "Run strategies on ticks; adds signals."),
    "risk": ("alpha_cli.stages.risk.command", "Turn each signal into an order or a denial."),
    "paper": ("alpha_cli.stages.paper.command", "Simulate a broker: orders to fills and a portfolio."),
    "pipe": ("alpha_cli.cli.pipe", "Run a whole pipeline in one process; same bytes, faster."),
    "show": ("alpha_cli.stages.show.command", "Print a stream for people."),
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

HELP = """Algorithmic trading on Indian markets, one small program a stage.

\b
Stages read and write newline-delimited JSON, so a trading system is a pipeline:
    alpha feed | alpha run-strategy momentum | alpha risk | alpha paper | alpha show
"""


class Group(click.Group):
    """A command that is not there is answered with the one that was likely meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            ctx.fail(f"no command {args[0]!r}{did_you_mean(args[0], known)}")
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """Imports a command's module only when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name or "command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Exit codes"):
            formatter.write_text(" · ".join(f"{code} {name}" for code, (name, _) in EXIT_CODES.items()))


def did_you_mean(word: str, known: Sequence[str] | dict[str, Any]) -> str:
    """`, did you mean 'risk'?`, or the list of what is known."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


@click.group(
    cls=LazyGroup,
    help=HELP,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", prog_name="alpha")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """The group; its help is `HELP`."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)
    if ctx.obj is None:
        from alpha_cli.cli.options import Build

        ctx.obj = Build()


def execute(argv: Sequence[str]) -> int:
    """Run one command line; the exit code. Every error comes out as one line on stderr."""
    name = next((word for word in argv if not word.startswith("-")), "")
    program = f"alpha {name}" if name in COMMANDS else "alpha"
    try:
        made = _made(argv)
        if made is None or isinstance(made, int):
            if sys.stdout is not None:
                sys.stdout.flush()
            return made or 0
        from alpha_cli.stream.shutdown import LeaveNow
        from alpha_cli.stream.stage import Program, run

        try:
            return run(Program.of(made))
        except LeaveNow as leave:  # in the moment between the loop and its end
            return leave.code
    except click.ClickException as error:
        return _complain(program, f"{error.format_message()} (see {program} --help)", 2)
    except AlphaError as error:
        return _complain(program, str(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still unwritten must not fail once more at exit
        return ReaderGone.exit_code
    except OSError as error:
        if os.environ.get("ALPHA_DEBUG"):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still unwritten must not fail once more at exit
        where = "" if error.filename is None else f"{error.filename}: "
        return _complain(program, f"{where}{error.strerror or error}", InputOutputError.exit_code)
    except Exception as error:
        if os.environ.get("ALPHA_DEBUG"):
            raise
        kind = type(error).__name__
        return _complain(program, f"this is a bug: {kind}: {error} (ALPHA_DEBUG=1 shows where)", 1)


def _made(argv: Sequence[str]) -> Any:
    """What the command gave back. Raises `BrokenPipeError` for a reader that left while it printed."""
    try:
        return cli.main(args=list(argv), prog_name="alpha", standalone_mode=False)
    except SystemExit:  # what click makes of that
        raise BrokenPipeError from None


def _complain(program: str, message: str, code: int) -> int:
    tell(f"{program}: {printable(' '.join(message.split()), 600)}")
    return code


def _hold_standard_descriptors() -> None:
    """Keep 0, 1 and 2 from being given to the next file opened, where the caller closed one of them.

    Opened the wrong way round, so that reading or writing fails as it would on a closed one.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if fd else os.O_WRONLY)


def start(argv: Sequence[str]) -> int:
    """`execute`, in a process that is this program's own."""
    _hold_standard_descriptors()
    gc.disable()  # starting makes many objects and no garbage; the loop switches it on again
    return execute(argv)
