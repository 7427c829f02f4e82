"""`alpha`: the table of commands, and how an error becomes one line and an exit code.

A command's module is imported when the command is called, so that each starts with what it needs
and `alpha --help` with nothing.
"""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import Any

import click

from alpha_cli.cli.groups import LazyGroup
from alpha_cli.cli.registry import COMMANDS
from alpha_cli.config.environment import misspelt
from alpha_cli.config.files import ignored_here
from alpha_cli.core.errors import AlphaError, InputOutputError, ReaderGone, UsageError
from alpha_cli.core.text import printable
from alpha_cli.core.version import __version__
from alpha_cli.stream.log import log_line

HELP = """Algorithmic trading on Indian markets, one small program a stage.

\b
Stages read and write newline-delimited JSON, so a trading system is a pipeline:
    alpha feed | alpha run-strategy momentum | alpha risk | alpha paper | alpha show
"""


@click.group(
    cls=LazyGroup,
    help=HELP,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", prog_name="alpha")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Show the help without a command; its text is `HELP`."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)
    for name, meant in misspelt(os.environ).items():
        log_line(f"alpha: {printable(name)} in the environment is nothing of alpha's: did you mean {meant}?")
    if ctx.obj is None and ctx.invoked_subcommand != "help":  # which builds nothing, and starts as quickly as --help
        from alpha_cli.cli.options import Build

        ctx.obj = Build()


def execute(argv: Sequence[str]) -> int:
    """Run one command line; return the exit code. An error is one line on stderr."""
    program = _program(argv)
    try:
        _refuse_passwords(argv)
        return _run(argv)
    except click.ClickException as error:
        from alpha_cli.cli.mistakes import explained

        return _complain(program, f"{explained(error, argv)} (see {program} --help)", 2)
    except AlphaError as error:
        return _complain(program, str(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        _discard_output()
        return ReaderGone.exit_code
    except Exception as error:
        if os.environ.get("ALPHA_DEBUG"):
            raise
        return _complain_of_failure(program, error)


# A password in the URL of a database: between the user's name and the @ (a number after a host is its port), or as an
# option of the URL. An @ or / in it may not be encoded.
_IN_URL = r"(?i)//[^/?#@:\s]*:(?!\d+(?:[/?,\s]|$))[^@\s]\S*@|[?&](?:ssl)?password=[^&\s]"


def _refuse_passwords(argv: Sequence[str]) -> None:
    """Raise `UsageError` for a database URL with a password: whoever lists the processes can read it.

    The pipeline of `alpha pipe` is one word with the options of all its stages.
    """
    if any("--config-db" in word for word in argv) and any(re.search(_IN_URL, word) for word in argv):
        raise UsageError(
            "--config-db: a password on a command line can be read by every user (ps): take it out of the URL and put "
            "it into PGPASSWORD or ~/.pgpass, or put the whole URL into ALPHA_CONFIG_DB"
        )


def _run(argv: Sequence[str]) -> int:
    made = _made(argv)
    _tell_of_ignored_files(argv)
    if made is None or isinstance(made, int):
        if sys.stdout is not None:
            sys.stdout.flush()
        return made or 0
    from alpha_cli.stream.descriptors import moved, of_stream
    from alpha_cli.stream.loop import run
    from alpha_cli.stream.shutdown import LeaveNow
    from alpha_cli.stream.stage import Program

    try:
        program = Program.of(made)
        with moved() if any(part.name == "run-strategy" for part in program.parts) else nullcontext():
            code = run(program, stdin=of_stream(0), stdout=of_stream(1))
        _tell_of_ignored_files(argv)  # the calendar is looked for when it is needed
        return code
    except LeaveNow as leave:  # in the moment between the loop and its end
        return leave.code


def _tell_of_ignored_files(argv: Sequence[str]) -> None:
    """Say which configuration files of the working folder are not used; `alpha config show` says it itself."""
    lines = ignored_here()
    if argv[:1] != ["config"]:
        for line in lines:
            log_line(f"{_program(argv)}: {line}")


def _program(argv: Sequence[str]) -> str:
    """Return what the command is called in its messages."""
    name = next((word for word in argv if not word.startswith("-")), "")
    return f"alpha {name}" if name in COMMANDS else "alpha"


def _made(argv: Sequence[str]) -> Any:
    """Return what the command returned. Raise `BrokenPipeError` if the reader left while it printed."""
    try:
        return cli.main(args=list(argv), prog_name="alpha", standalone_mode=False)
    except SystemExit as leave:
        if leave.code:  # what click makes of a reader that left
            raise BrokenPipeError from None
        return 0  # completion printed what it has


def _complain(program: str, message: str, code: int) -> int:
    log_line(f"{program}: {printable(' '.join(message.split()), 600)}")
    return code


def _complain_of_failure(program: str, error: Exception) -> int:
    """Report what the system refused, or a bug."""
    if not isinstance(error, OSError):
        return _complain(program, f"this is a bug: {type(error).__name__}: {error} (ALPHA_DEBUG=1 shows where)", 1)
    _discard_output()
    where = "" if error.filename is None else f"{error.filename}: "
    return _complain(program, f"{where}{error.strerror or error}", InputOutputError.exit_code)


def _discard_output() -> None:
    """Send the rest of the output nowhere: what could not be written must not fail once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _hold_standard_descriptors() -> None:
    """Open descriptors 0, 1 and 2 where the caller closed one, so that no file is given that number.

    Opened the wrong way round, so that reading or writing fails as it would on a closed one.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if fd else os.O_WRONLY)


def start(argv: Sequence[str]) -> int:
    """Run `execute` in a process of its own."""
    _hold_standard_descriptors()
    gc.disable()  # starting makes many objects and no garbage; the loop switches it on again
    code = execute(argv)
    _leave_threads_behind(code)
    return code


def _leave_threads_behind(code: int) -> None:
    """End at once if threads of a strategy still run: Python would wait for them, perhaps for ever."""
    threading = sys.modules.get("threading")
    if threading is None:
        return
    main = threading.main_thread()
    if any(thread is not main and not thread.daemon for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                with suppress(OSError, ValueError):
                    stream.flush()
        os._exit(code)
