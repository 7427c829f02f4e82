"""The data files of the calendar: `configs/calendar/EXCHANGE.json`, decoded strictly.

A file says from when to when it is known to be right, and where each fact comes from. It is JSON and not
YAML because a stage reads it at its start. What people write is `calendar.yaml`; see `overrides`.

All times are of a clock in India. A session holds open <= time < close.
"""

from __future__ import annotations

from datetime import date, time
from typing import Literal, TypeVar

import msgspec

from alpha_cli.core.errors import UsageError

#: The exchanges and segments with a file of their own, by the names that Kite gives them.
EXCHANGES = ("NSE", "BSE", "NFO", "BFO", "CDS", "MCX")
#: Those that keep the hours and holidays of another.
FOLLOWS = {"BCD": "CDS", "NCO": "MCX"}

OWN_FILE = "calendar.yaml"

Part = Literal["all", "morning", "evening"]


class Hours(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a day."""

    open: time
    close: time


class PhaseHours(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of an auction, and what may be done in it."""

    phase: str
    open: time
    close: time


class Auction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The closing auction, and when continuous trading ends for the stocks that have it."""

    continuous_close: time
    phases: tuple[PhaseHours, ...]


class Regime(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"since": "from"}):
    """The hours of an ordinary day, from a date on until that of the next regime.

    closing_auction  of cash stocks that also have futures and options
    expiring_close   when index contracts that expire today stop
    square_off       when a broker begins to close intraday (MIS) positions
    """

    since: date
    source: str
    continuous: Hours
    square_off: time
    square_off_source: str
    pre_open: tuple[PhaseHours, ...] = ()
    closing_auction: Auction | None = None
    expiring_close: time | None = None
    post_close: Hours | None = None


class Holiday(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A day without trading, or without one of its two parts, which meet at the file's `evening`."""

    date: date
    name: str
    closed: Part = "all"
    source: str = ""


class Special(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A day with trading where there otherwise is none, or at other hours. Without `sessions`, at the usual ones.

    provisional  why the hours are not certain
    """

    date: date
    name: str
    source: str
    sessions: tuple[Hours, ...] = ()
    pre_open: tuple[PhaseHours, ...] = ()
    post_close: Hours | None = None
    square_off: time | None = None
    provisional: str = ""


class Unknown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A day of which no source says whether there was trading."""

    date: date
    why: str


Dated = TypeVar("Dated", Holiday, Unknown)


class ExchangeData(msgspec.Struct, forbid_unknown_fields=True):
    """One file.

    holidays_of  the exchange whose holidays it has, besides its own
    evening      where morning and evening part, if they do
    sources      year -> where its holidays come from
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
    """The exchange whose file holds for `exchange`. Raises `UsageError` for one that is not known."""
    name = FOLLOWS.get(exchange, exchange)
    if name not in EXCHANGES:
        from alpha_cli.core.text import did_you_mean

        raise UsageError(f"no exchange {exchange[:40]!r}{did_you_mean(exchange, [*EXCHANGES, *FOLLOWS])}")
    return name


# --- what decoding does not see ---------------------------------------------------------------
