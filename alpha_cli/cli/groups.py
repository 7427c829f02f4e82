"""Groups of commands that import a command only when it is called."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Any

import click

from alpha_cli.cli.registry import COMMANDS
from alpha_cli.core.errors import EXIT_CODES
from alpha_cli.core.text import did_you_mean


class Group(click.Group):
    """A group that answers an unknown command with the one that was likely meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            ctx.fail(f"no command {args[0]!r}{self.hint(args[0]) or did_you_mean(args[0], known)}")
        return super().resolve_command(ctx, args)

    def hint(self, word: str) -> str:
        """Return what is better than the nearest command, to end the message about `word` with; empty: nothing."""
        del word
        return ""


class LazyGroup(Group):
    """`alpha` itself: the commands of the registry."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def hint(self, word: str) -> str:
        """Return the option that other programs have as a command."""
        return "; alpha --version prints it" if word == "version" else ""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].module.partition(":")
        command: click.Command = getattr(import_module(module), name or "command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(command.name, command.help) for command in COMMANDS.values()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Exit codes"):
            formatter.write_text(" · ".join(f"{code} {name}" for code, (name, _) in EXIT_CODES.items()))


class StageGroup(Group):
    """A stage with tools of its own, as `alpha paper positions`; the stage itself runs when no tool is named.

        @click.group("paper", cls=StageGroup, invoke_without_command=True,
                     tools=("init", "reset"), module="alpha_cli.stages.paper.accounts", shared=("state", "name"))

    tools   their names
    module  where they are, in a dict `COMMANDS`; it is imported when one is named
    shared  parameters of the stage that also mean something before a tool. Any other is refused there:
            `alpha paper --cash 5 reset` would not give 5 rupees
    """

    def __init__(
        self, *args: Any, tools: Collection[str], module: str, shared: Collection[str] = (), **attributes: Any
    ) -> None:
        super().__init__(*args, **attributes)
        self.tools = tuple(tools)
        self._module = module
        self._shared = frozenset(shared)

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.tools)

    def hint(self, word: str) -> str:
        """Return how a stage is given a file."""
        from alpha_cli.cli.mistakes import reads_stdin

        mend = reads_stdin(self.name or "", word)
        return f"; {mend}" if mend else ""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in self.tools:
            return None
        command: click.Command = import_module(self._module).COMMANDS[cmd_name]
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        resolved = super().resolve_command(ctx, args)
        if not ctx.resilient_parsing:  # as completion does, which never complains
            self._refuse_options_of_the_stage(ctx, resolved[0])
        return resolved

    def _refuse_options_of_the_stage(self, ctx: click.Context, tool: str | None) -> None:
        for param in self.params:
            if param.name is None or param.name in self._shared:
                continue
            if ctx.get_parameter_source(param.name) is click.core.ParameterSource.COMMANDLINE:
                raise click.UsageError(f"{param.opts[0]} is not for {tool}, or it comes after that word")
