"""`alpha market`: when exchanges are open. The computer's clock is read only without --at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import click

from alpha_cli.cli.groups import Group
from alpha_cli.core.errors import UsageError

if TYPE_CHECKING:
    from alpha_cli.market.calendar.sessions import Calendar, OutOfCoverage, Session, TradingDay

CLOSED = 1

Command = TypeVar("Command", bound=Callable[..., object])


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Show when the markets are open: now, next, and on a date.

    The calendar comes with alpha. To correct or extend it, write calendar.yaml in $ALPHA_CONFIG_DIR or ./configs.
    On a day that it does not cover the exit code is 78.

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
    """Return the time of `--at`, or now. Raises `UsageError`."""
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


def _exchange_and_time(command: Command) -> Command:
    """Add the argument and the option of `open` and `next`."""
    command = click.option(
        "--at",
        "moment",
        callback=_at,
        metavar="TIME",
        help="At this time instead of now; Indian time if it has no offset.",
    )(command)
    return click.argument("exchange", default="NSE", shell_complete=_complete_exchange)(command)


@command.command("open", short_help="Tell whether a market is open: exit code 0 if it is, 1 if not.")
@_exchange_and_time
@click.option("-v", "--verbose", is_flag=True, help="Also print a line about it.")  # fmt: skip
@click.pass_context
def open_(ctx: click.Context, exchange: str, moment: datetime, *, verbose: bool) -> None:
    """Tell by the exit code whether EXCHANGE (NSE) is open: 0 open, 1 closed, 78 unknown.

    It is made for cron conditions, so here 1 does not mean a bug. Open means continuous trading; an auction does
    not count. Prints nothing without --verbose.

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
    except OutOfCoverage:  # the question was about `day`
        return f"{calendar.exchange} is closed{because}"


@command.command("next", short_help="Print when a market opens next.")
@_exchange_and_time
def next_(exchange: str, moment: datetime) -> None:
    """Print when EXCHANGE (NSE) opens next for continuous trading, in Indian time.

    If it is open now, this is the opening after the current one.

    \b
    Example:
        alpha market next
        sleep $(( $(date -d "$(alpha market next MCX)" +%s) - $(date +%s) ))
    """
    from alpha_cli.market.calendar.sessions import Calendar

    click.echo(Calendar.of(exchange.upper()).next_open(moment).isoformat())


@command.command(short_help="Print the sessions of a date.")
@click.argument("date_", metavar="DATE")
@click.argument("exchanges", nargs=-1, metavar="[EXCHANGE]...", shell_complete=_complete_exchange)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")  # fmt: skip
def sessions(date_: str, exchanges: Sequence[str], *, as_json: bool) -> None:
    """Print the sessions of DATE at each EXCHANGE, or at all of them.

    Stocks with a closing auction, and index contracts that expire on that day, have a line of their own if
    their hours differ. Square-off is when a broker begins to close intraday positions.

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
    for line in _as_json(day, rows) if as_json else _as_table(rows):
        click.echo(line)
    for row in rows:
        if row.fault is not None:
            raise row.fault


class Row(NamedTuple):
    """The day of one exchange, for one kind of instrument. `fault` is set if the calendar does not cover it."""

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


def _as_json(day: date, rows: Sequence[Row]) -> Iterator[str]:
    """Yield one JSON object a line. `kind` is null for instruments at the usual hours."""
    import msgspec

    for row in rows:
        values: dict[str, object] = {
            "exchange": row.exchange,
            "kind": row.kind,
            "date": day,
            "covered": row.fault is None,
            "trading": row.day is not None,
            "name": row.name,
        }
        if row.day is not None:
            values |= _sessions_of(row.day)
        yield msgspec.json.encode(values).decode()


def _sessions_of(day: TradingDay) -> dict[str, object]:
    auction = day.closing_auction
    return {
        "pre_open": None if day.pre_open is None else day.pre_open._asdict(),
        "pre_open_phases": [phase._asdict() for phase in day.pre_open_phases],
        "continuous": [session._asdict() for session in day.continuous],
        "closing_auction": None if auction is None else [phase._asdict() for phase in auction],
        "post_close": None if day.post_close is None else day.post_close._asdict(),
        "square_off": day.square_off,
        "provisional": day.provisional or None,
    }


KINDS = {None: "", "closing_auction": "with a closing auction", "expiring": "expiring today"}


def _as_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a table, and below it the reasons for provisional hours."""
    from alpha_cli.cli.tables import table

    header = ("exchange", "pre-open", "continuous", "closing auction", "post-close", "square-off", "note")
    yield from table(header, [_cells(row) for row in rows])
    reasons = dict.fromkeys(row.day.provisional for row in rows if row.day is not None and row.day.provisional)
    if reasons:
        yield ""
        yield from (f"provisional: {reason}" for reason in reasons)


def _cells(row: Row) -> tuple[str, ...]:
    from alpha_cli.cli.tables import NOTHING

    day = row.day
    note = ", ".join(part for part in (KINDS[row.kind], row.name) if part)
    if day is None:
        return (row.exchange, NOTHING, "closed" if row.fault is None else "not known", *[NOTHING] * 3, note)
    auction = day.closing_auction
    return (
        row.exchange,
        NOTHING if day.pre_open is None else _hours(day.pre_open),
        ", ".join(_hours(session) for session in day.continuous),
        f"{auction[0].open:%H:%M}-{auction[-1].close:%H:%M}" if auction else NOTHING,
        NOTHING if day.post_close is None else _hours(day.post_close),
        f"{day.square_off:%H:%M}",
        f"{note}, provisional" if day.provisional else note,
    )


def _hours(session: Session) -> str:
    return f"{session.open:%H:%M}-{session.close:%H:%M}"
