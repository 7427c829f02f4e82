"""Groups of commands: what is imported when, and which option belongs where."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from alpha_cli.cli.groups import StageGroup
from alpha_cli.cli.options import given_state, state_option
from alpha_cli.cli.pipe import build
from alpha_cli.cli.registry import COMMANDS, STAGES
from alpha_cli.core.errors import UsageError
from alpha_cli.stream.stage import Source

TOOLS = "tools_of_a_stage"


@click.command()
@click.pass_obj
def reset(obj: Any) -> None:
    """Reset."""
    click.echo(f"reset {obj}")


@click.group("stage", cls=StageGroup, invoke_without_command=True, tools=("reset", "show"), module=TOOLS,
             shared=("state",))  # fmt: skip
@click.option("--state", default="none")
@click.option("--cash", default="5")
@click.pass_context
def stage(ctx: click.Context, state: str, cash: str) -> None:
    """A stage with tools."""
    ctx.obj = state
    if ctx.invoked_subcommand is None:
        click.echo(f"stage {state} {cash}")


@pytest.fixture(autouse=True)
def _tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module of the tools, there to be imported."""
    module = ModuleType(TOOLS)
    module.COMMANDS = {"reset": reset, "show": reset}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, TOOLS, module)


def run(*args: str) -> tuple[int, str]:
    """The exit code and all that is printed."""
    made = CliRunner().invoke(stage, args)
    return made.exit_code, made.output


def test_without_a_tool_the_stage_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the tools are not even imported."""
    monkeypatch.delitem(sys.modules, TOOLS)
    assert run("--state", "s", "--cash", "6") == (0, "stage s 6\n")
    assert TOOLS not in sys.modules


def test_a_tool_is_told_what_the_stage_shares_with_it() -> None:
    """Options that mean the same for both stand before its name."""
    assert run("--state", "s", "reset") == (0, "reset s\n")
    assert run("reset") == (0, "reset none\n")


def test_an_option_of_the_stage_is_refused_before_a_tool() -> None:
    """It would change nothing: 2, and a line that names both."""
    code, said = run("--cash", "6", "reset")
    assert code == 2
    assert "--cash is not for reset, or it comes after that word" in said


def test_an_unknown_tool_is_answered_with_a_near_one() -> None:
    """As at the top."""
    code, said = run("rest")
    assert (code, "no command 'rest', did you mean 'reset'?" in said) == (2, True)


def test_tools_are_listed_and_completed() -> None:
    """Also after an option that does not belong there: completion never complains."""
    assert "reset" in run("--help")[1]
    completion = ShellComplete(stage, {}, "stage", "_STAGE_COMPLETE")
    assert [item.value for item in completion.get_completions([], "re")] == ["reset"]
    assert [item.value for item in completion.get_completions(["--cash", "6", "reset"], "--he")] == ["--help"]


# --- the registry ----------------------------------------------------------------------------


def test_the_stages_of_a_pipe_are_the_commands_with_a_role_in_it() -> None:
    """One source, filters, sinks; the order is that of the flow."""
    assert STAGES == ("feed", "bars", "run-strategy", "risk", "paper", "show")
    assert [COMMANDS[name].role for name in STAGES] == ["source", "filter", "filter", "filter", "sink", "sink"]
    assert all(name == command.name for name, command in COMMANDS.items())


@pytest.mark.parametrize("name", STAGES)
def test_a_source_makes_events_and_no_other_stage_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The role of the registry is what the command builds."""
    monkeypatch.delenv("ALPHA_STATE", raising=False)
    program = build("run-strategy momentum" if name == "run-strategy" else name)
    assert (program.source is not None) == (COMMANDS[name].role == "source")
    assert program.source is None or isinstance(program.source, Source)
    for made in program.stages:
        made.lifecycle.release()


# --- --state ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("does", "code"), [("", 0), ("What it keeps.", 2)])
def test_a_file_for_state_is_refused_at_once_only_by_a_stage(does: str, code: int, tmp_path: Any) -> None:
    """A tool says itself what is wrong with the folder; each has the same line of help."""

    @click.command()
    @state_option(does)
    def command(state: Any) -> None:
        """Look."""

    (tmp_path / "file").touch()
    assert CliRunner().invoke(command, ["--state", str(tmp_path / "file")]).exit_code == code
    text = CliRunner().invoke(command, ["--help"]).output
    assert f"--state DIR  {does or 'The folder that the stages were given.'}  [env: ALPHA_STATE]" in text


def test_a_tool_asks_for_the_folder() -> None:
    """By option or variable."""
    with pytest.raises(UsageError, match="--state DIR, or set ALPHA_STATE"):
        given_state(None)
