"""The sessions of a day, and whether a moment is in one. Pure: no clock is read here.

Planned hours only: a day on which an exchange stood still for a fault is a trading day like another.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import MAXYEAR, MINYEAR, date, datetime, time, timedelta, tzinfo
from functools import cache
from typing import NamedTuple

from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.times import IST
from alpha_cli.market.calendar.data import ExchangeData, Hours, PhaseHours, Regime, Special, canonical
from alpha_cli.market.calendar.load import load

#: The usual continuous session of NSE equity. What holds on a given day, `Calendar.day` says.
OPEN = time(9, 15)
CLOSE = time(15, 30)
SATURDAY = 5
DAY = timedelta(days=1)


class OutOfCoverage(ConfigurationError):
    """The calendar does not know this day, and does not guess."""


class Session(NamedTuple):
    """A continuous session: open <= moment < close."""

    open: datetime
    close: datetime


class Phase(NamedTuple):
    """A part of an auction: open <= moment < close."""

    phase: str
    open: datetime
    close: datetime


class TradingDay(NamedTuple):
    """The sessions of one day at one exchange, in Indian time.

    name             of a special day; None: an ordinary one
    pre_open         the auction before the first session; `pre_open_phases` are its parts, and those of a second
    continuous       one session or more, in order
    closing_auction  the phases of the auction at the close; None: without
    square_off       when a broker begins to close intraday (MIS) positions
    provisional      why the hours are not certain; empty: they are
    """

    date: date
    name: str | None
    pre_open: Session | None
    pre_open_phases: tuple[Phase, ...]
    continuous: tuple[Session, ...]
    closing_auction: tuple[Phase, ...] | None
    post_close: Session | None
    square_off: datetime
    provisional: str = ""


class Calendar:
    """The calendar of one exchange. Each process reads the files of an exchange once."""

    def __init__(self, exchange: str, data: ExchangeData) -> None:
        self.exchange = exchange
        self.valid_from = data.valid_from
        self.valid_through = data.valid_through
        self._regimes = data.regimes
        self._evening = data.evening
        self._holidays = {one.date: one for one in data.holidays}
        self._special = {one.date: one for one in data.special}
        self._unknown = {one.date: one.why for one in data.unknown}

    @staticmethod
    def of(exchange: str = "NSE") -> Calendar:
        """That of `exchange`. Raises `UsageError` for one that is not known, `ConfigurationError` for a bad file."""
        return _calendar(exchange)

    def holiday(self, day: date) -> str | None:
        """The name of the holiday that `day` is, if it is one, even if a part of it has trading."""
        found = self._holidays.get(day)
        return None if found is None else found.name

    def day(self, day: date, *, closing_auction: bool = False, expiring: bool = False) -> TradingDay | None:
        """The sessions of `day` (a date in India), or None without trading. Raises `OutOfCoverage`.

        closing_auction  of a cash stock that also has futures and options
        expiring         of an index contract that expires on this day
        """
        self._require(day)
        regime = self._regime(day)
        special = self._special.get(day)
        if special is not None and special.sessions:
            return _special_day(day, special, regime)
        holiday = self._holidays.get(day)
        hours = regime.continuous
        if special is None and holiday is not None and holiday.closed != "all" and day.weekday() < SATURDAY:
            assert self._evening is not None  # as the file was checked
            morning = holiday.closed == "evening"
            hours = Hours(hours.open, self._evening) if morning else Hours(self._evening, hours.close)
            return TradingDay(
                day, holiday.name, None, (), (_session(day, hours),), None, None, _square_off(day, hours.close, regime)
            )
        if special is None and (holiday is not None or day.weekday() >= SATURDAY):
            return None
        auction = regime.closing_auction if closing_auction else None
        close = hours.close if auction is None else auction.continuous_close
        if expiring and regime.expiring_close is not None:
            close = min(close, regime.expiring_close)
        phases = _phases(day, regime.pre_open)
        return TradingDay(
            day,
            None if special is None else special.name,
            _first_auction(phases, datetime.combine(day, hours.open, IST)),
            phases,
            (_session(day, Hours(hours.open, close)),),
            None if auction is None else _phases(day, auction.phases),
            None if regime.post_close is None else _session(day, regime.post_close),
            _square_off(day, close, regime),
            "" if special is None else special.provisional,
        )

    def kinds(self, day: date) -> tuple[str, ...]:
        """For which kinds of instrument the hours of `day` differ: `closing_auction`, `expiring`."""
        ordinary = self.day(day)
        return tuple(
            name for name in ("closing_auction", "expiring") if ordinary and self.day(day, **{name: True}) != ordinary
        )

    def is_open(self, moment: datetime) -> bool:
        """Whether `moment` lies in a continuous session. Raises `OutOfCoverage`."""
        day = self.day(_indian_date(self, moment))
        return day is not None and any(session.open <= moment < session.close for session in day.continuous)

    def next_open(self, moment: datetime) -> datetime:
        """When the next continuous session after `moment` opens. Raises `OutOfCoverage`."""
        day = _indian_date(self, moment)
        while True:
            found = self.day(day)
            for session in () if found is None else found.continuous:
                if session.open > moment:
                    return session.open
            day = self._step(day, DAY)

    def next_day(self, day: date) -> TradingDay:
        """The first trading day after `day`. Raises `OutOfCoverage`."""
        return self._neighbour(day, DAY)

    def previous_day(self, day: date) -> TradingDay:
        """The last trading day before `day`. Raises `OutOfCoverage`."""
        return self._neighbour(day, -DAY)

    def _neighbour(self, day: date, step: timedelta) -> TradingDay:
        while True:
            day = self._step(day, step)
            found = self.day(day)
            if found is not None:
                return found

    def _step(self, day: date, step: timedelta) -> date:
        try:
            return day + step
        except OverflowError:  # at either end of what a date can be
            raise self._beyond(day) from None

    def _require(self, day: date) -> None:
        if not self.valid_from <= day <= self.valid_through:
            raise self._beyond(day)
        why = self._unknown.get(day)
        if why is not None:
            raise OutOfCoverage(
                f"the calendar of {self.exchange} does not know {day}: {why}; say in calendar.yaml what it was"
            )

    def _beyond(self, day: date) -> OutOfCoverage:
        if day > self.valid_through:
            return OutOfCoverage(
                f"the calendar of {self.exchange} ends on {self.valid_through}, before {day}; install a newer alpha, "
                "or add to calendar.yaml"
            )
        return OutOfCoverage(f"the calendar of {self.exchange} begins on {self.valid_from}, after {day}")

    def _regime(self, day: date) -> Regime:
        return next(regime for regime in reversed(self._regimes) if regime.since <= day)


@cache
def _calendar(exchange: str) -> Calendar:
    return Calendar(exchange, load(canonical(exchange)))


def session_of(day: date, exchange: str = "NSE") -> Session | None:
    """From the first opening to the last close of continuous trading on `day`, or None without any.

    Raises `OutOfCoverage`. On a day with more sessions than one, what lies between them is in it.
    """
    found = Calendar.of(exchange).day(day)
    return None if found is None else Session(found.continuous[0].open, found.continuous[-1].close)


class SessionHours:
    """Is a moment inside a continuous session? Quick for one moment after another.

    `open` and `close` are those of the session asked about last, so that a hot loop can compare with
    them before it calls `contains`. A moment that the calendar does not cover is in no session; `beyond`
    is the first such day, for the stage to say so at its end, with `Calendar.day`'s error.
    """

    def __init__(self, exchange: str = "NSE", *, closing_auction: bool = False) -> None:
        self.open = self.close = datetime.min.replace(tzinfo=IST)
        self.beyond: date | None = None
        self._calendar: Calendar | None = Calendar.of(exchange)
        self._closing_auction = closing_auction
        self._day: date | None = None
        self._sessions: Sequence[Session] = ()

    def contains(self, moment: datetime) -> bool:
        """Whether `moment` lies in a continuous session of its day in India."""
        if moment.tzinfo is self.open.tzinfo and self.open <= moment < self.close:
            return True
        if not MINYEAR < moment.year < MAXYEAR:
            return False  # in another zone it may lie outside what a date can say
        try:
            day = moment.astimezone(IST).date()
        except OverflowError:  # at either end of what a date can be
            return False
        if day != self._day or moment.tzinfo is not self.open.tzinfo:
            self._turn(day, moment.tzinfo)
        if self.open <= moment < self.close:
            return True
        for session in self._sessions if len(self._sessions) > 1 else ():
            if session.open <= moment < session.close:
                self.open, self.close = session
                return True
        return False

    def told(self) -> str:
        """The sessions of the day asked about last, for people: `09:15-15:30 IST`, or `closed`."""
        spans = [f"{one.open.astimezone(IST):%H:%M}-{one.close.astimezone(IST):%H:%M}" for one in self._sessions]
        return f"{', '.join(spans)} IST" if spans else "closed"

    def why(self, day: date | None = None) -> OutOfCoverage | None:
        """The error that says why `day`, by itself `beyond`, is not covered; None if it is."""
        day = day or self.beyond
        if day is not None and self._calendar is not None:
            try:
                self._calendar.day(day)
            except OutOfCoverage as error:
                return error
        return None

    def _turn(self, day: date, zone: tzinfo | None) -> None:
        """Go on to another day, or zone: comparing across zones costs eight times as much."""
        self._day = day
        try:
            assert self._calendar is not None
            found = self._calendar.day(day, closing_auction=self._closing_auction)
        except OutOfCoverage:
            self.beyond = self.beyond or day
            found = None
        if found is None:
            self._sessions = ()
            self.open = self.close = datetime.combine(day, time(), zone)
            return
        self._sessions = [Session(one.open.astimezone(zone), one.close.astimezone(zone)) for one in found.continuous]
        self.open, self.close = self._sessions[0]


class AllHours(SessionHours):
    """Every moment counts: `--all-hours`. Asks no calendar."""

    def __init__(self) -> None:
        self.open = datetime.min.replace(tzinfo=IST)
        self.close = datetime.max.replace(tzinfo=IST)
        self.beyond = None
        self._calendar = None
        self._sessions = ()

    def told(self) -> str:
        return "all hours"

    def contains(self, moment: datetime) -> bool:
        del moment
        return True


# --- from hours to moments --------------------------------------------------------------------


def _special_day(day: date, special: Special, regime: Regime) -> TradingDay:
    continuous = tuple(_session(day, hours) for hours in special.sessions)
    phases = _phases(day, special.pre_open)
    close = special.sessions[-1].close
    return TradingDay(
        day,
        special.name,
        _first_auction(phases, continuous[0].open),
        phases,
        continuous,
        None,
        None if special.post_close is None else _session(day, special.post_close),
        _square_off(day, close, regime)
        if special.square_off is None
        else datetime.combine(day, special.square_off, IST),
        special.provisional,
    )


def _square_off(day: date, close: time, regime: Regime) -> datetime:
    """That of the regime; on a day that closes earlier or later, as long before the close as on ordinary days."""
    usual = datetime.combine(day, regime.square_off, IST)
    if close == regime.continuous.close:
        return usual
    closes = datetime.combine(day, close, IST)
    if regime.closing_auction is not None and close == regime.closing_auction.continuous_close:
        return usual
    return closes - (datetime.combine(day, regime.continuous.close, IST) - usual)


def _first_auction(phases: Sequence[Phase], opening: datetime) -> Session | None:
    """The auction before the market opens, as a whole."""
    before = [phase for phase in phases if phase.close <= opening]
    return Session(before[0].open, before[-1].close) if before else None


def _phases(day: date, phases: Sequence[PhaseHours]) -> tuple[Phase, ...]:
    return tuple(
        Phase(one.phase, datetime.combine(day, one.open, IST), datetime.combine(day, one.close, IST)) for one in phases
    )


def _session(day: date, hours: Hours) -> Session:
    return Session(datetime.combine(day, hours.open, IST), datetime.combine(day, hours.close, IST))


def _indian_date(calendar: Calendar, moment: datetime) -> date:
    try:
        return moment.astimezone(IST).date()
    except OverflowError:  # at either end of what a date can be
        raise OutOfCoverage(f"the calendar of {calendar.exchange} does not reach {moment.year}") from None
