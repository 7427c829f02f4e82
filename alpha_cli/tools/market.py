"""`alpha market`: options and wiring. The wall clock is read here, and only without --at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import click

from alpha_cli.cli.groups import Group
from alpha_cli.core.errors import UsageError

if TYPE_CHECKING:
    from alpha_cli.market.calendar.sessions import Calendar, OutOfCoverage, Phase, Session, TradingDay

CLOSED = 1

Command = TypeVar("Command", bound=Callable[..., object])


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """When the markets are open: now, next, and on a date.

    The calendar is that of the shipped files, with what calendar.yaml in $ALPHA_CONFIG_DIR or ./configs says.
    It covers the days that it has a source for; of another it says so, and ends with 78.

    \b
    Example:
        alpha market sessions 2026-11-24
        alpha market open && scripts/trade
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)


def _complete_exchange(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    from alpha_cli.market.calendar.data import EXCHANGES, FOLLOWS

    return [name for name in (*EXCHANGES, *FOLLOWS) if name.startswith(incomplete.upper())]


def _at(_: click.Context, __: click.Parameter, text: str | None) -> datetime:
    """`--at`, or now. Raises `UsageError`."""
    from alpha_cli.core.times import IST

    if text is None:
        return datetime.now(IST)
    from alpha_cli.core.time_text import parse_time

    try:
        moment = parse_time(text, IST)
    except ValueError:
        moment = None
    if moment is None:
        raise UsageError(f"--at {text!r} is not a time; write 2026-01-05T09:15, which is Indian time, or 03:45Z")
    return moment


def _one_exchange(command: Command) -> Command:
    """The argument and the option that `open` and `next` share."""
    command = click.option(
        "--at", "moment", callback=_at, metavar="TIME", help="Not now but then; without an offset, in Indian time."
    )(command)
    return click.argument("exchange", default="NSE", shell_complete=_complete_exchange)(command)


@command.command("open", short_help="Whether a market is open: exit code 0 if it is, 1 if not.")
@_one_exchange
@click.option("-v", "--verbose", is_flag=True, help="Say so in a line on stdout, too.")  # fmt: skip
@click.pass_context
def open_(ctx: click.Context, exchange: str, moment: datetime, *, verbose: bool) -> None:
    """Whether EXCHANGE (NSE) is open for continuous trading, as an exit code: 0 open, 1 closed, 78 not known.

    Made for cron and shell conditions, so 1 is not a bug here, as it is elsewhere. An auction is not continuous
    trading. Prints nothing without --verbose.

    \b
    Example:
        alpha market open && echo trading
        */5 * * * *  alpha market open MCX && $HOME/bin/check
    """
    from alpha_cli.market.calendar.sessions import Calendar

    calendar = Calendar.of(exchange.upper())
    is_open = calendar.is_open(moment)
    if verbose:
        click.echo(_in_words(calendar, moment, is_open=is_open))
    ctx.exit(0 if is_open else CLOSED)


def _in_words(calendar: Calendar, moment: datetime, *, is_open: bool) -> str:
    from alpha_cli.core.times import IST
    from alpha_cli.market.calendar.sessions import OutOfCoverage

    day = moment.astimezone(IST).date()
    found = calendar.day(day)
    if is_open and found is not None:
        close = next(session.close for session in found.continuous if moment < session.close)
        return f"{calendar.exchange} is open until {close.isoformat()}"
    name = calendar.holiday(day) if found is None else found.name
    because = f" ({name})" if name else ""
    try:
        return f"{calendar.exchange} is closed{because} until {calendar.next_open(moment).isoformat()}"
    except OutOfCoverage:  # nobody asked of that day
        return f"{calendar.exchange} is closed{because}"


@command.command("next", short_help="When a market opens next.")
@_one_exchange
def next_(exchange: str, moment: datetime) -> None:
    """When EXCHANGE (NSE) opens next for continuous trading, in Indian time.

    If it is open, that is the opening after this one.

    \b
    Example:
        alpha market next
        sleep $(( $(date -d "$(alpha market next MCX)" +%s) - $(date +%s) ))
    """
    from alpha_cli.market.calendar.sessions import Calendar

    click.echo(Calendar.of(exchange.upper()).next_open(moment).isoformat())


@command.command(short_help="The sessions of a date.")
@click.argument("date_", metavar="DATE")
@click.argument("exchanges", nargs=-1, metavar="[EXCHANGE]...", shell_complete=_complete_exchange)
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object a line.")  # fmt: skip
def sessions(date_: str, exchanges: Sequence[str], *, as_json: bool) -> None:
    """The sessions of DATE at each EXCHANGE, or at all of them.

    Stocks with a closing auction, and index contracts that expire on that day, have a line of their own
    where their hours differ. Square-off is when a broker begins to close intraday positions.

    \b
    Example:
        alpha market sessions 2026-11-24
        alpha market sessions 2026-02-01 NSE MCX --json | jq .continuous
    """
    from alpha_cli.core.time_text import parse_date
    from alpha_cli.market.calendar.data import EXCHANGES
    from alpha_cli.market.calendar.sessions import Calendar

    day = parse_date("DATE", date_)
    calendars = [Calendar.of(name) for name in dict.fromkeys(name.upper() for name in exchanges or EXCHANGES)]
    rows = [row for calendar in calendars for row in _rows(calendar, day)]
    for line in _for_programs(day, rows) if as_json else _for_people(rows):
        click.echo(line)
    for row in rows:
        if row.fault is not None:
            raise row.fault


class Row(NamedTuple):
    """The day of one exchange, for one kind of instrument. `fault`: it is not covered."""

    exchange: str
    kind: str | None
    day: TradingDay | None
    name: str | None
    fault: OutOfCoverage | None = None


def _rows(calendar: Calendar, day: date) -> Iterator[Row]:
    from alpha_cli.market.calendar.sessions import OutOfCoverage

    try:
        ordinary = calendar.day(day)
    except OutOfCoverage as error:
        yield Row(calendar.exchange, None, None, None, error)
        return
    name = calendar.holiday(day) if ordinary is None else ordinary.name
    yield Row(calendar.exchange, None, ordinary, name)
    for kind in calendar.kinds(day):
        yield Row(calendar.exchange, kind, calendar.day(day, **{kind: True}), name)


def _for_programs(day: date, rows: Sequence[Row]) -> Iterator[str]:
    """One JSON object a line. `kind` is null for what has no hours of its own."""
    import msgspec

    def session(one: Session | None) -> object:
        return None if one is None else one._asdict()

    def phases(some: Sequence[Phase] | None) -> object:
        return None if some is None else [one._asdict() for one in some]

    for row in rows:
        found = row.day
        values: dict[str, object] = {
            "exchange": row.exchange,
            "kind": row.kind,
            "date": day,
            "covered": row.fault is None,
            "trading": found is not None,
            "name": row.name,
        }
        if found is not None:
            values |= {
                "pre_open": session(found.pre_open),
                "pre_open_phases": phases(found.pre_open_phases),
                "continuous": [session(one) for one in found.continuous],
                "closing_auction": phases(found.closing_auction),
                "post_close": session(found.post_close),
                "square_off": found.square_off,
                "provisional": found.provisional or None,
            }
        yield msgspec.json.encode(values).decode()


KINDS = {None: "", "closing_auction": "with a closing auction", "expiring": "expiring today"}


def _for_people(rows: Sequence[Row]) -> Iterator[str]:
    """A table, and below it what is not certain in it."""
    from alpha_cli.cli.tables import NOTHING, table

    def cells(row: Row) -> tuple[str, ...]:
        found = row.day
        note = ", ".join(part for part in (KINDS[row.kind], row.name) if part)
        if row.fault is not None:
            return (row.exchange, NOTHING, "not known", NOTHING, NOTHING, NOTHING, note)
        if found is None:
            return (row.exchange, NOTHING, "closed", NOTHING, NOTHING, NOTHING, note)
        auction = found.closing_auction
        return (
            row.exchange,
            NOTHING if found.pre_open is None else _hours(found.pre_open),
            ", ".join(_hours(one) for one in found.continuous),
            f"{auction[0].open:%H:%M}-{auction[-1].close:%H:%M}" if auction else NOTHING,
            NOTHING if found.post_close is None else _hours(found.post_close),
            f"{found.square_off:%H:%M}",
            f"{note}, provisional" if found.provisional else note,
        )

    header = ("exchange", "pre-open", "continuous", "closing auction", "post-close", "square-off", "note")
    yield from table(header, [cells(row) for row in rows])
    reasons = dict.fromkeys(row.day.provisional for row in rows if row.day is not None and row.day.provisional)
    if reasons:
        yield ""
        yield from (f"provisional: {reason}" for reason in reasons)


def _hours(session: Session) -> str:
    return f"{session.open:%H:%M}-{session.close:%H:%M}"
