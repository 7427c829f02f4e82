"""`alpha help`: pages and the help of commands, wherever alpha is installed."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest
from support.processes import ROOT, alpha, environment, run_alpha

PAGES = sorted(path.stem for path in (ROOT / "docs").glob("*.md"))


def test_without_a_topic_it_lists_each_page_with_what_it_is_about() -> None:
    """One line each; the tour, for a new user, comes first."""
    done = run_alpha(["help"])
    listed = [line.split(maxsplit=1) for line in done.stdout.decode().splitlines() if line.startswith("  ")]
    assert done.returncode == 0
    assert sorted(name for name, _ in listed) == PAGES
    assert listed[0][0] == "tour"
    assert all(len(about) > 10 for _, about in listed)


@pytest.mark.parametrize("page", PAGES)
def test_a_topic_is_printed_as_it_is_written(page: str) -> None:
    """Also where a command has the same name: its options are one word away."""
    done = run_alpha(["help", page])
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == (ROOT / "docs" / f"{page}.md").read_bytes()


@pytest.mark.parametrize("words", [["feed"], ["instruments"], ["paper", "positions"], ["risk", "explain"], ["help"]])
def test_the_help_of_a_command_is_that_of_the_command(words: list[str]) -> None:
    """`alpha help paper positions` is `alpha paper positions --help`."""
    done, asked = run_alpha(["help", *words]), run_alpha([*words, "--help"])
    assert (done.returncode, done.stdout) == (0, asked.stdout)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rsik"], "alpha help: no topic or command 'rsik', did you mean 'risk'?"),
        (["market-dat"], "alpha help: no topic or command 'market-dat', did you mean 'market-data'?"),
        (["paper", "positons"], "alpha help: no command of paper 'positons', did you mean 'positions'?"),
        (["feed", "tick"], "alpha help: no command of feed 'tick'"),
    ],
)
def test_an_unknown_topic_is_answered_with_the_likely_one(words: list[str], said: str) -> None:
    """In one line, with 2."""
    done = run_alpha(["help", *words])
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"{said}\n"


def test_on_a_terminal_a_page_goes_through_the_pager() -> None:
    """And elsewhere straight out, as the other tests see."""
    ours, theirs = pty.openpty()
    env = environment({"PAGER": "sed s/^/paged:/", "TERM": "xterm"})
    with subprocess.Popen(alpha("help", "exit-codes"), stdout=theirs, stdin=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        printed = b""
        while b"paged:" not in printed:
            try:
                printed += os.read(ours, 1 << 16)
            except OSError:  # the end of a terminal
                break
        os.close(ours)
        process.wait(20)
    assert printed.startswith(b"paged:# Exit codes")


def test_a_reader_that_leaves_is_141() -> None:
    """`alpha help commands | head` is no bug."""
    with subprocess.Popen(
        alpha("help", "commands"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(20) == 141


def test_topics_and_commands_complete() -> None:
    """As commands and options do: `alpha help ris<Tab>`."""
    env = {"COMP_WORDS": "alpha help m", "COMP_CWORD": "2", "_ALPHA_COMPLETE": "bash_complete"}
    program = "import sys; from alpha_cli.__main__ import main; sys.argv = ['alpha']; main()"
    done = subprocess.run([sys.executable, "-c", program], env=environment(env), capture_output=True, check=False)
    assert [line.partition(",")[2] for line in done.stdout.decode().split()] == ["market-data", "matching", "market"]
