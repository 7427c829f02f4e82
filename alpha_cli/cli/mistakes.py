"""What to say of a command line that click refuses: in plain words, and how to mend it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import click

#: What click says -> what people say.
_PLAINER = (
    (re.compile(r"is not a valid integer(?: range)?\."), "is not a whole number."),
    (re.compile(r"is not a valid float(?: range)?\."), "is not a number."),
)
_READS_STDIN = ("bars", "risk", "paper", "show", "run-strategy")
_EXAMPLE = re.compile(r"Examples?:\n\s*(alpha [^\n]+)")


def explained(error: click.ClickException, argv: Sequence[str]) -> str:
    """Return what is wrong with the command line `argv`, with the way out where it is known."""
    message = error.format_message()
    for said, plain in _PLAINER:
        message = said.sub(plain, message)
    advice = _advice(message, argv, getattr(error, "ctx", None))
    return f"{message.rstrip('.')}; {advice}" if advice else message


def _advice(message: str, argv: Sequence[str], ctx: click.Context | None) -> str:
    command = next((word for word in argv if not word.startswith("-")), "")
    if message.startswith("Got unexpected extra argument") and command in _READS_STDIN:
        return reads_stdin(command, message.partition("(")[2].partition(")")[0].split(" ")[0])
    if command == "pipe" and message.startswith(("No such option", "Got unexpected", "Missing argument")):
        return (
            'the pipeline is one word, in quotes: alpha pipe "feed --ticks 1000 | run-strategy momentum | risk | paper"'
        )
    if message.startswith("No such option"):
        return _of_option(message, command, argv)
    if message.startswith("Missing argument") and ctx is not None:
        found = _EXAMPLE.search(ctx.command.help or "")
        return f"as in: {found[1]}" if found else ""
    return ""


def _of_option(message: str, command: str, argv: Sequence[str]) -> str:
    if not command:
        return "alpha --version prints the version" if "'-v'" in message else ""
    if command == "run-strategy" and "'--" in message and ("Did you mean" not in message or "'--set'" in message):
        return "parameters of a strategy stand in its YAML file, under parameters"
    if "deposit" in argv and re.search(r"'-\d", message):
        return "money is taken out with --withdraw: alpha paper deposit 5000 --withdraw"
    return ""


def reads_stdin(stage: str, word: str) -> str:
    """Return how a stage is given a file `word`, if it is one: not as an argument."""
    is_file = Path(word).is_file() or word.endswith((".ndjson", ".jsonl", ".csv", ".gz"))
    if not is_file:
        return ""
    return f"it reads standard input: alpha {stage} < {word}, or alpha feed {word} | alpha {stage}"
