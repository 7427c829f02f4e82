"""`calendar.yaml`: the user's corrections of the calendar, and dates that the shipped files do not know yet.

For each exchange: until when the calendar is valid, holidays to add and to remove, the sessions of a date, and
the square-off time from a date on.
"""

from __future__ import annotations

from datetime import date, time
from pathlib import Path
from typing import Annotated, Any

import msgspec
from pydantic import BeforeValidator, Field, model_validator

from alpha_cli.config.model import Strict, read_config
from alpha_cli.market.calendar.data import ExchangeData, Holiday, Part, Regime, Special, TimeRange


def _clock(value: Any) -> time:
    """Parse a time of day. YAML reads 15:10 without quotes as the number 910."""
    if isinstance(value, time):
        return value
    if not isinstance(value, str):
        raise ValueError("write a time in quotes: '15:10'")
    try:
        clock = time.fromisoformat(value)
    except ValueError:
        raise ValueError("not a time of day; write '15:10'") from None
    if clock.tzinfo is not None:
        raise ValueError("write the time in India, without an offset: '15:10'")
    return clock


def _holiday_of_name(value: Any) -> Any:
    """Accept a holiday that is only a name."""
    return {"name": value} if isinstance(value, str) else value


Clock = Annotated[time, BeforeValidator(_clock)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class OwnHoliday(Strict):
    """A holiday; at an exchange with an evening session possibly for a part of the day."""

    name: Name
    closed: Part = "all"


class OwnHours(Strict):
    """A session: open <= time < close."""

    open: Clock
    close: Clock


class OwnSpecial(Strict):
    """The sessions of a date, of any day of the week; without `sessions`, the usual ones."""

    name: Name
    sessions: tuple[OwnHours, ...] = ()
    square_off: Clock | None = None


class ExchangeOverrides(Strict):
    """The changes at one exchange."""

    valid_through: date | None = None
    add_holidays: dict[date, Annotated[OwnHoliday, BeforeValidator(_holiday_of_name)]] = {}
    remove_holidays: tuple[date, ...] = ()
    add_sessions: dict[date, OwnSpecial] = {}
    square_off: dict[date, Clock] = {}

    @model_validator(mode="after")
    def _check_each_day_once(self) -> ExchangeOverrides:
        for day in self.add_holidays:
            if day in self.remove_holidays:
                raise ValueError(f"{day} is in add_holidays and in remove_holidays; keep one")
            if day in self.add_sessions:
                raise ValueError(f"{day} is in add_holidays and in add_sessions; keep one")
        return self


class Overrides(Strict):
    """The whole file."""

    NSE: ExchangeOverrides | None = None
    BSE: ExchangeOverrides | None = None
    NFO: ExchangeOverrides | None = None
    BFO: ExchangeOverrides | None = None
    CDS: ExchangeOverrides | None = None
    MCX: ExchangeOverrides | None = None


def apply_overrides(data: ExchangeData, path: Path) -> ExchangeData:
    """Return `data` with the changes that the user's file at `path` makes to its exchange.

    An entry for a date replaces everything that `data` has for that date. Raises `ConfigurationError`.
    """
    own: ExchangeOverrides | None = getattr(read_config(path, Overrides), data.exchange)
    if own is None:
        return data
    where = str(path)
    changed = {*own.add_holidays, *own.remove_holidays, *own.add_sessions}
    special = [entry for entry in data.special if entry.date not in changed]
    for day, added in own.add_sessions.items():
        sessions = tuple(TimeRange(hours.open, hours.close) for hours in added.sessions)
        special.append(Special(day, added.name, where, sessions, square_off=added.square_off))
    holidays = [entry for entry in data.holidays if entry.date not in changed]
    holidays += [Holiday(day, holiday.name, holiday.closed, where) for day, holiday in own.add_holidays.items()]
    return msgspec.structs.replace(
        data,
        valid_through=own.valid_through or data.valid_through,
        regimes=_with_square_off(data.regimes, own.square_off, where),
        holidays=tuple(holidays),
        special=tuple(special),
        unknown=tuple(entry for entry in data.unknown if entry.date not in changed),
    )


def _with_square_off(regimes: tuple[Regime, ...], times: dict[date, time], where: str) -> tuple[Regime, ...]:
    """Return `regimes` with other square-off times, each from its date on."""
    for day, clock in sorted(times.items()):
        other = {"square_off": clock, "square_off_source": where}
        before = [regime for regime in regimes if regime.since < day]
        after = [msgspec.structs.replace(regime, **other) for regime in regimes if regime.since >= day]
        if before and not (after and after[0].since == day):
            after.insert(0, msgspec.structs.replace(before[-1], since=day, **other))
        regimes = (*before, *after)
    return regimes
