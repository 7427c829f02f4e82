"""The command line: help, one-line errors with a guess, exit codes, completion."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace

import click
import pytest
from support.processes import DEADLINE, alpha, environment, run_alpha

from alpha_cli import __version__
from alpha_cli.cli import app as cli
from alpha_cli.cli.app import execute
from alpha_cli.cli.registry import COMMANDS
from alpha_cli.core.errors import EXIT_CODES, AlphaError
from alpha_cli.core.text import did_you_mean


@pytest.fixture(autouse=True)
def _not_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the tests themselves are started from, and with nobody's settings."""
    monkeypatch.setattr(sys, "stdin", None)
    for name in ("ALPHA_DEBUG", "ALPHA_STATE", "ALPHA_CONFIG_DIR", "ALPHA_ACTIVE_BROKERS"):
        monkeypatch.delenv(name, raising=False)


def help_of(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert execute(args) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out


def complaint(capsys: pytest.CaptureFixture[str], *args: str, code: int = 2) -> str:
    assert execute(args) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err.rstrip("\n")


# --- help ------------------------------------------------------------------------------------


def test_the_help_lists_every_command_on_one_line_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """In the order of the flow; -h is the same."""
    text = help_of(capsys, "--help")
    lines = [line for line in text.splitlines() if line.strip()]
    listed = lines[lines.index("Commands:") + 1 : lines.index("Exit codes:")]
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    codes = " ".join(text.partition("Exit codes:")[2].split())
    assert codes.split(" · ") == [f"{code} {name}" for code, (name, _) in EXIT_CODES.items()]
    assert help_of(capsys, "-h") == text


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An example that begins with `alpha`, stands as written, and each option explained; -h is the same."""
    text = help_of(capsys, name, "--help")
    assert text.startswith(f"Usage: alpha {name} ")
    assert re.search(r"\n  Examples?:\n      alpha [^\n]+\n", text)
    assert help_of(capsys, name, "-h") == text
    module, _, attribute = COMMANDS[name].module.partition(":")
    command: click.Command = getattr(import_module(module), attribute or "command")
    assert all(option.help for option in command.params if isinstance(option, click.Option))


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """-V and --version."""
    assert help_of(capsys, "-V") == help_of(capsys, "--version") == f"alpha, version {__version__}\n"


def test_alpha_alone_shows_its_help_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, and stdout stays free for data; the help keeps its lines."""
    assert execute([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Usage: alpha ")
    assert "\nCommands:\n" in said.err


@pytest.mark.parametrize("name", ["run-strategy", "risk", "show"])
def test_a_filter_on_a_terminal_shows_its_help_and_leaves(name: str) -> None:
    """It was called by mistake: exit 2, help on stderr."""
    master, slave = pty.openpty()
    try:
        args = [name, "momentum"] if name == "run-strategy" else [name]
        made = subprocess.run(
            alpha(*args), stdin=slave, capture_output=True, env=environment(), timeout=DEADLINE, check=False
        )
    finally:
        os.close(master)
        os.close(slave)
    assert (made.returncode, made.stdout) == (2, b"")
    assert f"alpha {name}: reads events from a pipe, as in: alpha feed | alpha {name}" in made.stderr.decode()


# --- errors ----------------------------------------------------------------------------------


def test_an_unknown_command_is_answered_with_a_near_one_or_with_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, one line, under the name of alpha even where a command's name follows."""
    assert complaint(capsys, "rsik") == "alpha: no command 'rsik', did you mean 'risk'? (see alpha --help)"
    everything = complaint(capsys, "zzz", "feed")
    assert everything == f"alpha: no command 'zzz'; known: {', '.join(COMMANDS)} (see alpha --help)"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_an_unknown_option_is_answered_with_a_near_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, one line, and where the help is."""
    line = complaint(capsys, name, "--hepl")
    assert line.startswith(f"alpha {name}: No such option '--hepl'") or line.startswith(f"alpha {name}: ")
    assert "--help" in line.partition("(see ")[0]
    assert line.endswith(f"(see alpha {name} --help)")


def test_wrong_values_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 for each kind."""
    for args in (
        ["risk", "--drain", "soon"], ["risk", "--drain", "-1"], ["risk", "surplus"], ["show", "--color", "blue"],
        ["completion"], ["completion", "csh"], ["pipe"], ["pipe", ""], ["pipe", "risk |"], ["pipe", "rsik"],
        ["pipe", "risk | feed"], ["pipe", "schema"], ["pipe", "risk --drian 1"], ["pipe", "risk 'open"], ["--hlep"],
    ):  # fmt: skip
        assert complaint(capsys, *args).startswith("alpha")


def test_an_error_cannot_write_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters of an argument are escaped, also bytes that are not UTF-8."""
    for word in ("\x1b[31m", "a\nb", "\u202e", "\udcff", "x" * 5000):
        line = complaint(capsys, word)
        assert line.isprintable()
        assert len(line) < 700


def coded(code: int) -> AlphaError:
    """An error of alpha's with this exit code."""
    return type("Coded", (AlphaError,), {"exit_code": code})("why")


BUG = "alpha schema: this is a bug: ZeroDivisionError: a b (ALPHA_DEBUG=1 shows where)"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ZeroDivisionError("a\nb"), 1, BUG),
        (BrokenPipeError(), 141, None),
        (KeyboardInterrupt(), 130, None),
        *((coded(code), code, "alpha schema: why") for code in EXIT_CODES if code),
    ],
)
def test_every_error_is_at_most_one_line_and_its_code(
    error: BaseException,
    code: int,
    said: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A bug too: no traceback, unless ALPHA_DEBUG asks for it."""

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli.cli, "main", fail)
    assert execute(["schema"]) == code
    assert capfd.readouterr().err == ("" if said is None else said + "\n")
    if code == 1 and not isinstance(error, AlphaError):
        monkeypatch.setenv("ALPHA_DEBUG", "1")
        with pytest.raises(ZeroDivisionError):
            execute(["schema"])


def test_every_error_has_an_exit_code_of_the_table() -> None:
    """And each its own."""

    def tree(cls: type[AlphaError]) -> list[type[AlphaError]]:
        return [
            cls,
            *(
                below
                for sub in cls.__subclasses__()
                if sub.__module__ == "alpha_cli.core.errors"
                for below in tree(sub)
            ),
        ]

    codes = [cls.exit_code for cls in tree(AlphaError)]
    assert {0, 130, *codes} == set(EXIT_CODES)


@pytest.mark.parametrize(
    ("word", "said"), [("risc", ", did you mean 'risk'?"), ("qqq", "; known: risk, feed"), ("", "; known: risk, feed")]
)
def test_a_guess_is_made_only_where_there_is_a_near_one(word: str, said: str) -> None:
    """Otherwise everything known is listed."""
    assert did_you_mean(word, ["risk", "feed"]) == said


# --- completion ------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_completion_script_for_each_shell(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks alpha itself what may come next."""
    made = run_alpha(["completion", shell])
    assert made.returncode == 0
    assert f"_ALPHA_COMPLETE={shell}_complete".encode() in made.stdout


def completed(*words: str) -> list[str]:
    """What bash is offered after `alpha WORDS…`, the last of them begun."""
    line = SimpleNamespace(words=" ".join(["alpha", *words]), at=str(len(words)))
    program = "from alpha_cli.cli.app import cli; cli.main(prog_name='alpha')"
    made = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=DEADLINE, check=True,
        env=environment({"_ALPHA_COMPLETE": "bash_complete", "COMP_WORDS": line.words, "COMP_CWORD": line.at}),
    )  # fmt: skip
    return [offer.partition(",")[2] for offer in made.stdout.decode().split()]


def test_commands_options_and_strategy_names_are_completed() -> None:
    """The names of strategies come from the folders they would be read from."""
    assert completed("r") == ["run-strategy", "risk", "resume", "rearm"]
    assert completed("run-strategy", "mo") == ["momentum"]
    assert completed("risk", "--inst") == ["--instruments"]
    assert completed("show", "--color", "a") == ["auto", "always"]
    assert completed("schema", "ti") == ["tick"]
