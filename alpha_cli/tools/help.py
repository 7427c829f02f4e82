"""`alpha help`: the pages of docs/, which are shipped with the package, and the help of commands."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from alpha_cli.cli.terminal import is_terminal
from alpha_cli.config.files import packaged
from alpha_cli.core.errors import UsageError
from alpha_cli.core.text import did_you_mean

#: The pages that a new user reads first, in this order; the others follow by name.
_FIRST = (
    "tour", "strategies", "bars-and-indicators", "market-data", "risk", "paper", "operating", "wire", "library",
    "exit-codes", "commands",
)  # fmt: skip


def topics() -> dict[str, Path]:
    """Return the page of each topic, in reading order."""
    found = {path.stem: path for path in sorted(packaged("docs").glob("*.md"))}
    return {name: found[name] for name in (*_FIRST, *found) if name in found}


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    del param
    names = [*topics(), *_group(ctx).list_commands(ctx)] if not ctx.params.get("topic") else []
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


@click.command()
@click.argument("topic", nargs=-1, shell_complete=_complete)
@click.pass_context
def command(ctx: click.Context, topic: tuple[str, ...]) -> None:
    """Print the page about TOPIC, or the help of a command.

    Without TOPIC, list the topics. Where a topic and a command have the same name, this prints the page;
    `alpha COMMAND --help` prints the options.

    \b
    Example:
        alpha help
        alpha help strategies
        alpha help paper positions
    """
    pages = topics()
    if not topic:
        click.echo(_listed(pages))
    elif len(topic) == 1 and topic[0] in pages:
        _show(pages[topic[0]].read_text(encoding="utf-8"))
    else:
        click.echo(_command_help(ctx, topic, pages))


def _listed(pages: dict[str, Path]) -> str:
    width = max(map(len, pages), default=0)
    lines = [f"  {name:<{width}}  {_title(path)}" for name, path in pages.items()]
    return "\n".join(
        ["alpha help TOPIC prints a page:", "", *lines, "", "alpha help COMMAND prints the help of a command."]
    )


def _title(path: Path) -> str:
    """Return the heading of a page without its first words, which repeat the topic."""
    with path.open(encoding="utf-8") as page:
        heading = page.readline().removeprefix("# ").strip()
    return heading.partition(": ")[2] or heading


def _show(text: str) -> None:
    if is_terminal(sys.stdout):
        click.echo_via_pager(text)
    else:
        click.echo(text, nl=False)


def _group(ctx: click.Context) -> click.Group:
    group = ctx.find_root().command
    assert isinstance(group, click.Group)
    return group


def _command_help(ctx: click.Context, words: tuple[str, ...], pages: dict[str, Path]) -> str:
    """Return `--help` of the command that `words` name. Raises `UsageError`."""
    inner = ctx.find_root()
    for place, word in enumerate(words):
        group = inner.command
        known = group.list_commands(inner) if isinstance(group, click.Group) else []
        if word not in known:
            what = f"command of {' '.join(words[:place])}" if place else "topic or command"
            names = known if place else list(dict.fromkeys([*pages, *known]))
            raise UsageError(f"no {what} {word!r}{did_you_mean(word, names) if names else ''}")
        assert isinstance(group, click.Group)
        found = group.get_command(inner, word)
        assert found is not None
        inner = click.Context(found, info_name=word, parent=inner, **found.context_settings)
    return inner.command.get_help(inner)
