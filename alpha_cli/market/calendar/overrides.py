"""`calendar.yaml`: what a user changes in the calendar, and which the shipped files do not know yet.

For each exchange: until when the calendar holds, holidays to add and to take away, the sessions of a date, and
the time of square-off from a date on.
"""

from __future__ import annotations

from datetime import date, time
from pathlib import Path
from typing import Annotated, Any

import msgspec
from pydantic import BeforeValidator, Field, model_validator

from alpha_cli.config.model import Strict, read_config
from alpha_cli.market.calendar.data import ExchangeData, Holiday, Hours, Part, Regime, Special


def _clock(value: Any) -> time:
    """A time of day as text. YAML reads 15:10 without quotes as the number 910."""
    if isinstance(value, time):
        return value
    if not isinstance(value, str):
        raise ValueError("a time is written in quotes: '15:10'")
    try:
        clock = time.fromisoformat(value)
    except ValueError:
        raise ValueError("not a time of day; write '15:10'") from None
    if clock.tzinfo is not None:
        raise ValueError("a time of day in India has no offset; write '15:10'")
    return clock


def _named(value: Any) -> Any:
    """A holiday may be its name only."""
    return {"name": value} if isinstance(value, str) else value


Clock = Annotated[time, BeforeValidator(_clock)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class OwnHoliday(Strict):
    """A holiday, or at an exchange with an evening session a part of one."""

    name: Name
    closed: Part = "all"


class OwnHours(Strict):
    """A session: open <= time < close."""

    open: Clock
    close: Clock


class OwnSpecial(Strict):
    """The sessions of a date, whatever day it is; without any, the usual ones."""

    name: Name
    sessions: tuple[OwnHours, ...] = ()
    square_off: Clock | None = None


class ExchangeOverrides(Strict):
    """What is different at one exchange."""

    valid_through: date | None = None
    add_holidays: dict[date, Annotated[OwnHoliday, BeforeValidator(_named)]] = {}
    remove_holidays: tuple[date, ...] = ()
    add_sessions: dict[date, OwnSpecial] = {}
    square_off: dict[date, Clock] = {}

    @model_validator(mode="after")
    def _says_one_thing(self) -> ExchangeOverrides:
        for day in self.add_holidays:
            if day in self.remove_holidays:
                raise ValueError(f"{day} is both added to the holidays and removed from them")
            if day in self.add_sessions:
                raise ValueError(f"{day} is both a holiday and a day with sessions")
        return self


class Overrides(Strict):
    """The whole file."""

    NSE: ExchangeOverrides | None = None
    BSE: ExchangeOverrides | None = None
    NFO: ExchangeOverrides | None = None
    BFO: ExchangeOverrides | None = None
    CDS: ExchangeOverrides | None = None
    MCX: ExchangeOverrides | None = None


def changed(data: ExchangeData, path: Path) -> ExchangeData:
    """`data` with what the user's file at `path` says of its exchange.

    What it says of a date stands in place of what `data` says of it. Raises `ConfigurationError`, naming
    file, key and mend.
    """
    own: ExchangeOverrides | None = getattr(read_config(path, Overrides), data.exchange)
    if own is None:
        return data
    where = str(path)
    said = {*own.add_holidays, *own.remove_holidays, *own.add_sessions}
    special = [one for one in data.special if one.date not in said]
    for day, one in own.add_sessions.items():
        sessions = tuple(Hours(hours.open, hours.close) for hours in one.sessions)
        special.append(Special(day, one.name, where, sessions, square_off=one.square_off))
    holidays = [one for one in data.holidays if one.date not in said]
    holidays += [Holiday(day, one.name, one.closed, where) for day, one in own.add_holidays.items()]
    return msgspec.structs.replace(
        data,
        valid_through=own.valid_through or data.valid_through,
        regimes=_squared_off(data.regimes, own.square_off, where),
        holidays=tuple(holidays),
        special=tuple(special),
        unknown=tuple(one for one in data.unknown if one.date not in said),
    )


def _squared_off(regimes: tuple[Regime, ...], times: dict[date, time], where: str) -> tuple[Regime, ...]:
    """`regimes` with other times of square-off, each from its date on."""
    for day, clock in sorted(times.items()):
        other = {"square_off": clock, "square_off_source": where}
        before = [one for one in regimes if one.since < day]
        after = [msgspec.structs.replace(one, **other) for one in regimes if one.since >= day]
        if before and not (after and after[0].since == day):
            after.insert(0, msgspec.structs.replace(before[-1], since=day, **other))
        regimes = (*before, *after)
    return regimes
