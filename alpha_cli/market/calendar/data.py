"""The data files of the calendar: `configs/calendar/EXCHANGE.json`, decoded strictly.

A file says for which dates it is known to be right, and where each fact comes from. It is JSON because JSON
is quick to read when a stage starts. People write `calendar.yaml`; see `overrides`.

All times are Indian times of day. A session covers open <= time < close.
"""

from __future__ import annotations

from datetime import date, time
from typing import Literal, TypeVar

import msgspec

from alpha_cli.core.errors import UsageError

#: The exchanges and segments with a file of their own, by their names at Kite.
EXCHANGES = ("NSE", "BSE", "NFO", "BFO", "CDS", "MCX")
#: Exchanges with the hours and holidays of another.
FOLLOWS = {"BCD": "CDS", "NCO": "MCX"}

OWN_FILE = "calendar.yaml"

Part = Literal["all", "morning", "evening"]


class TimeRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a day: open <= time < close."""

    open: time
    close: time


class PhaseTimes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of an auction."""

    phase: str
    open: time
    close: time


class Auction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The closing auction, and when continuous trading ends for the stocks that take part in it."""

    continuous_close: time
    phases: tuple[PhaseTimes, ...]


class Regime(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"since": "from"}):
    """The hours of an ordinary day, from one date until the next regime.

    closing_auction  of cash stocks that also have futures and options
    expiring_close   when trading in index contracts ends on their last day
    square_off       when a broker begins to close intraday (MIS) positions
    """

    since: date
    source: str
    continuous: TimeRange
    square_off: time
    square_off_source: str
    pre_open: tuple[PhaseTimes, ...] = ()
    closing_auction: Auction | None = None
    expiring_close: time | None = None
    post_close: TimeRange | None = None


class Holiday(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A day without trading, or without one of its two parts, which are divided at the file's `evening`."""

    date: date
    name: str
    closed: Part = "all"
    source: str = ""


class Special(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A trading day at unusual hours, or on a date that would have none. Without `sessions`, at the usual hours.

    provisional  why the hours are not certain
    """

    date: date
    name: str
    source: str
    sessions: tuple[TimeRange, ...] = ()
    pre_open: tuple[PhaseTimes, ...] = ()
    post_close: TimeRange | None = None
    square_off: time | None = None
    provisional: str = ""


class Unknown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A day for which no source says whether there was trading."""

    date: date
    why: str


Dated = TypeVar("Dated", Holiday, Unknown)


class ExchangeData(msgspec.Struct, forbid_unknown_fields=True):
    """One file.

    holidays_of  the exchange whose holidays it also has
    evening      when the evening session begins; None without one
    sources      year -> source of its holidays
    """

    exchange: str
    valid_from: date
    valid_through: date
    regimes: tuple[Regime, ...]
    holidays_of: str | None = None
    evening: time | None = None
    sources: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    holidays: tuple[Holiday, ...] = ()
    special: tuple[Special, ...] = ()
    unknown: tuple[Unknown, ...] = ()


def canonical(exchange: str) -> str:
    """Return the exchange whose file applies to `exchange`. Raises `UsageError` for an unknown one."""
    name = FOLLOWS.get(exchange, exchange)
    if name not in EXCHANGES:
        from alpha_cli.core.text import did_you_mean

        raise UsageError(f"no exchange {exchange[:40]!r}{did_you_mean(exchange, [*EXCHANGES, *FOLLOWS])}")
    return name
