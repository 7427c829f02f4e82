"""`alpha instruments`: the instrument master."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from alpha_cli.cli.groups import Group
from alpha_cli.cli.terminal import is_terminal
from alpha_cli.core.errors import NoInput, UsageError
from alpha_cli.core.text import printable
from alpha_cli.stream.log import log_line, worth_logging

if TYPE_CHECKING:
    from alpha_cli.market.instruments.master import Master

Command = TypeVar("Command", bound=Callable[..., object])


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Look up instruments: token, lot and tick size, expiry and strike of a symbol.

    The instrument master is a SQLite database: --db FILE, or ALPHA_INSTRUMENTS, or alpha/instruments.db in the
    user's data folder. With it, every command that takes a token also takes EXCHANGE:SYMBOL. An empty
    ALPHA_INSTRUMENTS means that there is no master.

    \b
    Example:
        alpha instruments fetch
        alpha instruments find nifty 25000 ce
        alpha feed --instruments NSE:INFY,NSE:RELIANCE | alpha bars
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)


def _day(_: click.Context, option: click.Parameter, text: str | None) -> date:
    """Return the date of an option, or today in India."""
    if text is None:
        from alpha_cli.core.times import IST

        return datetime.now(IST).date()
    from alpha_cli.core.time_text import parse_date

    return parse_date(option.opts[0], text)


def _db(command: Command) -> Command:
    return click.option(
        "--db", "database", type=click.Path(path_type=Path), metavar="FILE",
        help="The database.  [env: ALPHA_INSTRUMENTS]",
    )(command)  # fmt: skip


def _loading(command: Command) -> Command:
    """Add the common options of `load` and `fetch`."""
    for option in (
        _db,
        click.option("--bad", type=click.Choice(["fail", "skip"]), default="fail", show_default=True,
                     help="At a wrong row: refuse the dump, or leave the row out (at most one in a hundred)."),
        click.option("--force", is_flag=True, help="Load the dump even if it looks cut short, or older than its date."),
        click.option("--date", "day", callback=_day, metavar="YYYY-MM-DD",
                     help="The day of the dump.  [default: today in India]"),
    ):  # fmt: skip
        command = option(command)
    return command


def _looking(command: Command) -> Command:
    """Add the common options of `find` and `show`."""
    for option in (
        _db,
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line."),
        click.option("--date", "day", callback=_day, metavar="YYYY-MM-DD",
                     help="As it was on that day.  [default: today in India]"),
    ):  # fmt: skip
        command = option(command)
    return command


@command.command("load", short_help="Load a dump of Kite's.")
@click.argument("file", type=click.Path(path_type=Path))
@_loading
def load_(file: Path, database: Path | None, day: date, bad: str, *, force: bool) -> None:
    """Load FILE, a dump of Kite's instruments (CSV, also .gz), into the database: all of it or nothing.

    The dumps of other days are kept, so that a recording finds what a token meant on its day. Exchanges that are
    not in FILE stay as they are. Give --date for a dump that is not of today.

    \b
    Example:
        alpha instruments load instruments.csv.gz
        alpha instruments load nfo-2026-08-18.csv --date 2026-08-18
    """
    _load(file, _target(database), day, bad, force=force)


@command.command(short_help="Fetch today's dump from Kite and load it.")
@click.option("--url", default="https://api.kite.trade/instruments", show_default=True, metavar="URL",
              help="Where to download it.")  # fmt: skip
@_loading
def fetch(url: str, database: Path | None, day: date, bad: str, *, force: bool) -> None:
    """Fetch the dump that Kite publishes each morning and load it. No login is needed.

    \b
    Example:
        alpha instruments fetch
        alpha instruments fetch --db /var/lib/alpha/instruments.db
    """
    from tempfile import TemporaryDirectory

    from alpha_cli.market.instruments import download

    target = _target(database)
    download.check_url(url)
    with TemporaryDirectory(prefix="alpha-instruments-") as folder:
        file = Path(folder) / "instruments.csv"
        with _bar("alpha instruments fetch") as progress:
            download.fetch(url, file, progress)
        _load(file, target, day, bad, force=force, source=url)


@command.command(short_help="Find instruments by words of their names.")
@click.argument("words", nargs=-1, required=True, metavar="TEXT...")
@click.option("--exchange", metavar="NAME", help="Only of this exchange: NSE, BSE, NFO, BFO, MCX, CDS, ...")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, metavar="N", help="Print at most N.")
@_looking
def find(
    words: tuple[str, ...], exchange: str | None, limit: int, database: Path | None, day: date, *, as_json: bool
) -> None:
    """Find instruments by words: each word of TEXT must occur in symbol, name, type, strike or expiry.

    Upper and lower case are the same. Whole-word matches come first, then the nearest expiry. Expired contracts
    are left out.

    \b
    Example:
        alpha instruments find nifty 25000 ce aug
        alpha instruments find reliance --exchange NSE
        alpha instruments find banknifty fut --json | jq .instrument_token
    """
    from alpha_cli.tools.instruments import listing

    with _opened(database) as master:
        found = master.find(" ".join(words), limit + 1, exchange=exchange, on=day)
        expired = [] if found else master.find(" ".join(words), 1, exchange=exchange)
    for line in listing.as_json(found[:limit]) if as_json else listing.as_table(found[:limit]):
        click.echo(line)
    if not found:
        hint = f"; {expired[0].key} did until {expired[0].expiry} (--date asks as of a day)" if expired else ""
        log_line(f"alpha instruments find: nothing matches {printable(' '.join(words))}{hint}")
    elif len(found) > limit:
        log_line(f"alpha instruments find: more than {limit} match; show them with --limit N, or add a word")


@command.command(short_help="Show everything known about an instrument.")
@click.argument("name", metavar="KEY|TOKEN")
@_looking
def show(name: str, database: Path | None, day: date, *, as_json: bool) -> None:
    """Show everything known about an instrument, with its freeze quantity and its history in the dumps.

    Name it by token, by EXCHANGE:SYMBOL, or by a symbol that only one exchange has.

    \b
    Example:
        alpha instruments show NFO:NIFTY26AUG25000CE
        alpha instruments show 256265 --json
    """
    from alpha_cli.market.instruments.freeze import load_freeze_table
    from alpha_cli.market.instruments.master import look_up
    from alpha_cli.tools.instruments import listing

    with _opened(database) as master:
        try:
            found = look_up(name, master, day)
        except UsageError:
            found = look_up(name, master)  # it may have expired
        about = listing.about(found, day, load_freeze_table(), master)
    for line in [listing.about_as_json(about)] if as_json else listing.about_as_text(about):
        click.echo(line)


def _target(database: Path | None) -> Path:
    """Return the database to load into. Raises `UsageError` if no master is wanted."""
    from alpha_cli.market.instruments.master import default_path

    path = database or default_path()
    if path is None:
        raise UsageError(
            "ALPHA_INSTRUMENTS is empty, which means no master; unset it, or name a database with --db FILE"
        )
    return path


def _load(file: Path, target: Path, day: date, bad: str, *, force: bool, source: str | None = None) -> None:
    from alpha_cli.market.instruments import store
    from alpha_cli.market.instruments.dump import read_dump
    from alpha_cli.tools.instruments import listing

    wrong: list[str] = []
    instruments = read_dump(file, source, wrong.append if bad == "skip" else None)
    for place, fault in enumerate(wrong, 1):
        if worth_logging(place):
            log_line(f"alpha instruments: {fault}; left out" + (f" ({place} so far)" if place > 1 else ""))
    with _bar("alpha instruments load") as progress:
        on_progress = None if progress is None else lambda count: progress(count, len(instruments))
        loaded = store.load(target, instruments, day, force=force, progress=on_progress)
    for line in listing.of_load(loaded):
        click.echo(line)
    log_line(f"alpha instruments: {len(instruments)} instruments of {day} in {printable(str(target), 300)}")


@contextmanager
def _opened(database: Path | None) -> Iterator[Master]:
    """Open the master, and close it afterwards. Raises `NoInput` if there is none."""
    from alpha_cli.market.instruments.master import LOAD, open_master

    master = open_master(database)
    if master is None:
        raise NoInput(f"there is no instrument master yet; make one with {LOAD}")
    with master:
        yield master


@contextmanager
def _bar(label: str) -> Iterator[Callable[[int, int | None], object] | None]:
    """Yield a function for progress (done, total) if stderr is a terminal; else None."""
    if not is_terminal(sys.stderr):
        yield None
        return
    from contextlib import ExitStack

    with ExitStack() as stack:
        update: list[Callable[[int], object]] = []

        def progress(done: int, total: int | None) -> None:
            if not update and total is not None:
                bar = stack.enter_context(click.progressbar(length=total, label=label, file=sys.stderr))
                update.append(bar.update)
            for each in update:
                each(done)

        yield progress
