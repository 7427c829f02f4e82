"""Options that mean the same in every stage, and how a command line becomes stages."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from math import isnan
from pathlib import Path
from typing import Any, TypeVar

import click

from alpha_cli.cli.terminal import is_terminal
from alpha_cli.core.errors import UsageError
from alpha_cli.core.text import printable
from alpha_cli.stream.last_ticks import LastTicks
from alpha_cli.stream.stage import Options
from alpha_cli.stream.status_file import STATUS

Command = TypeVar("Command", bound=Callable[..., Any])


class Build:
    """What the stages of one process share while they are built: click's `ctx.obj`."""

    def __init__(self) -> None:
        self.last_ticks = LastTicks()
        self.fused = False


def not_nan(_: click.Context, option: click.Parameter, seconds: float | None) -> float | None:
    """Refuse nan as a time, which no range of click excludes; for `callback=`."""
    if seconds is not None and isnan(seconds):
        raise click.BadParameter("nan is not a time", param_hint=f"'{option.opts[0]}'")
    return seconds


def bad_option(default: str) -> Callable[[Command], Command]:
    """Add `--bad`: what happens to a line that cannot be read."""
    return click.option(
        "--bad", default=default, show_default=True, metavar="fail|skip|FILE",
        help="A bad line: stop, skip it, or keep it in a dead-letter file.",
    )  # fmt: skip


def stage_options(bad: str, *, watched_as: str = "") -> Callable[[Command], Command]:
    """Add `--bad`, `--drain` and `--quiet`, passed to the command as one `options`; `bad` is the default.

    watched_as  the name of a stage that keeps nothing in the folder of `--state` but its status, for `alpha status`;
                one that keeps more has the option of its own, and says so with `watched`
    """

    def decorate(command: Command) -> Command:
        def with_options(*args: Any, bad: str, drain: float, quiet: bool, **kwargs: Any) -> Any:
            options = Options(bad, drain, quiet)
            if watched_as:
                options = watched(options, kwargs.pop("state"), watched_as, claim=True)
            return command(*args, options=options, **kwargs)

        with_options.__doc__ = command.__doc__
        with_options.__name__ = command.__name__
        wrapped: Any = with_options
        wrapped.__click_params__ = getattr(command, "__click_params__", [])
        for option in (
            click.option("-q", "--quiet", is_flag=True, help="Print no line of counters at the end."),
            click.option("--drain", type=click.FloatRange(0, 86_400), callback=not_nan, default=5.0, show_default=True,
                         metavar="SECONDS",
                         help="How long to wait for the end of the input after SIGINT or SIGTERM."),
            bad_option(bad),
            *([state_option("Folder in which it says how far it is, for alpha status.")] if watched_as else ()),
        ):  # fmt: skip
            wrapped = option(wrapped)
        result: Command = wrapped
        return result

    return decorate


class NamedPath(click.Path):
    """A path that says something: an empty one, of a variable that is not set, would be the current folder."""

    def __init__(self, *, folder: bool = False, **options: Any) -> None:
        super().__init__(path_type=Path, **options)
        self.what = "folder" if folder else "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.fspath(value):
            option = param.opts[0] if param is not None else "a path"
            raise UsageError(f"{option} is empty: name the {self.what} (is a variable unset?)")
        if not self.file_okay and Path(value).is_file():
            option = param.opts[0] if param is not None else "a path"
            raise click.UsageError(
                f"{option} {printable(str(value), 300)}: is a file; name a folder, which may be a new one"
            )
        return super().convert(value, param, ctx)


def _not_empty_in_environment(_: click.Context, __: click.Parameter, state: Path | None) -> Path | None:
    """Refuse an empty ALPHA_STATE, which click takes for none: a stage would keep nothing, and not say so."""
    if state is None and os.environ.get("ALPHA_STATE") == "":
        raise UsageError("ALPHA_STATE is empty: name the folder, or unset the variable")
    return state


def watched(options: Options, state: Path | None, name: str, *, claim: bool = False) -> Options:
    """Return `options` with the file for `alpha status` of the stage called `name`, if it has a state folder."""
    return options if state is None else options._replace(status=state / f"{name}{STATUS}", claim=claim)


def state_option(does: str = "") -> Callable[[Command], Command]:
    """Add `--state DIR`, or `ALPHA_STATE`.

    does  what a stage keeps in the folder; without it, the option is for a tool that looks at the stages' folder,
          and says itself when a file is named (`given_state`)
    """
    return click.option(
        "--state", type=NamedPath(folder=True, file_okay=not does), envvar="ALPHA_STATE", metavar="DIR",
        callback=_not_empty_in_environment,
        help=f"{does or 'The folder that the stages were given.'}  [env: ALPHA_STATE]",
    )  # fmt: skip


def given_state(state: Path | None) -> Path:
    """Return the folder that was named. Raise `UsageError` if there is none."""
    if state is None:
        raise UsageError("name the folder: --state DIR, or set ALPHA_STATE")
    return state


def reads_stdin(ctx: click.Context) -> None:
    """Show the help and exit with 2 if the input is a terminal: the filter was called by mistake."""
    build: Build = ctx.obj
    if not build.fused and is_terminal(sys.stdin):
        click.echo(ctx.get_help(), err=True)
        click.echo(
            f"\nalpha {ctx.info_name}: reads events from a pipe, as in: alpha feed | alpha {ctx.info_name}", err=True
        )
        ctx.exit(2)


def split_pipeline(text: str) -> list[list[str]]:
    """Split `"feed a.csv | risk"` into [["feed", "a.csv"], ["risk"]]; a leading `alpha` is dropped."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|")
    lexer.whitespace_split = True
    lexer.commenters = ""
    commands: list[list[str]] = [[]]
    try:
        words = list(lexer)
    except ValueError as error:
        raise UsageError(f"the pipeline cannot be read: {error}") from None
    for word in words:
        if word == "|":
            commands.append([])
        else:
            commands[-1].append(word)
    return [command[1:] if command[:1] == ["alpha"] else command for command in commands]
