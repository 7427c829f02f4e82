"""The sessions of a day, and whether a moment is in one. No clock is read here.

Only planned hours are known: a day on which an exchange stopped because of a fault is an ordinary trading day.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import MAXYEAR, MINYEAR, date, datetime, time, timedelta, tzinfo
from functools import cache
from typing import NamedTuple

from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.times import IST
from alpha_cli.market.calendar.data import ExchangeData, Holiday, PhaseTimes, Regime, Special, TimeRange, canonical
from alpha_cli.market.calendar.load import load

#: The usual continuous session of NSE equity; `Calendar.day` has the hours of a given day.
OPEN = time(9, 15)
CLOSE = time(15, 30)
SATURDAY = 5
DAY = timedelta(days=1)


class OutOfCoverage(ConfigurationError):
    """The calendar does not know this day."""


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

    name             of a special day; None for an ordinary one
    pre_open         the auction before the first session; `pre_open_phases` are the phases of all opening auctions
    continuous       one or more sessions, in order
    closing_auction  the phases of the auction at the close; None without one
    square_off       when a broker begins to close intraday (MIS) positions
    provisional      why the hours are not certain; empty if they are
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
        self._holidays = {holiday.date: holiday for holiday in data.holidays}
        self._special = {special.date: special for special in data.special}
        self._unknown = {day.date: day.why for day in data.unknown}

    @staticmethod
    def of(exchange: str = "NSE") -> Calendar:
        """Return the calendar of `exchange`. Raises `UsageError` if unknown, `ConfigurationError` for a faulty file."""
        return _calendar(exchange)

    def holiday(self, day: date) -> str | None:
        """Return the name of the holiday on `day`, also of one with trading for a part of the day; else None."""
        found = self._holidays.get(day)
        return None if found is None else found.name

    def day(self, day: date, *, closing_auction: bool = False, expiring: bool = False) -> TradingDay | None:
        """Return the sessions of `day` (a date in India), or None without trading. Raises `OutOfCoverage`.

        closing_auction  of a cash stock that also has futures and options
        expiring         of an index contract that expires on this day
        """
        self._require(day)
        regime = self._regime(day)
        special = self._special.get(day)
        if special is not None and special.sessions:
            return _special_day(day, special, regime)
        holiday = self._holidays.get(day)
        if special is None and day.weekday() >= SATURDAY:
            return None
        if special is None and holiday is not None:
            return None if holiday.closed == "all" else self._part_of_day(day, holiday, regime)
        return _usual_day(day, special, regime, closing_auction=closing_auction, expiring=expiring)

    def kinds(self, day: date) -> tuple[str, ...]:
        """Return the kinds of instrument with hours of their own on `day`: `closing_auction`, `expiring`."""
        ordinary = self.day(day)
        return tuple(
            name for name in ("closing_auction", "expiring") if ordinary and self.day(day, **{name: True}) != ordinary
        )

    def is_open(self, moment: datetime) -> bool:
        """Return whether `moment` lies in a continuous session. Raises `OutOfCoverage`."""
        day = self.day(_indian_date(self, moment))
        return day is not None and any(session.open <= moment < session.close for session in day.continuous)

    def next_open(self, moment: datetime) -> datetime:
        """Return when the next continuous session after `moment` opens. Raises `OutOfCoverage`."""
        day = _indian_date(self, moment)
        while True:
            found = self.day(day)
            for session in () if found is None else found.continuous:
                if session.open > moment:
                    return session.open
            try:
                day += DAY
            except OverflowError:  # a calendar.yaml may be valid through the last date there is
                raise self._out_of_coverage(day) from None

    def _part_of_day(self, day: date, holiday: Holiday, regime: Regime) -> TradingDay:
        """Return a holiday on which the morning or the evening has trading."""
        assert self._evening is not None  # the check of the file made sure
        usual = regime.continuous
        morning = holiday.closed == "evening"
        hours = TimeRange(usual.open, self._evening) if morning else TimeRange(self._evening, usual.close)
        return TradingDay(
            date=day,
            name=holiday.name,
            pre_open=None,
            pre_open_phases=(),
            continuous=(_session(day, hours),),
            closing_auction=None,
            post_close=None,
            square_off=_square_off(day, hours.close, regime),
        )

    def _require(self, day: date) -> None:
        if not self.valid_from <= day <= self.valid_through:
            raise self._out_of_coverage(day)
        why = self._unknown.get(day)
        if why is not None:
            raise OutOfCoverage(
                f"the calendar of {self.exchange} does not know {day}: {why}; add that day to calendar.yaml"
            )

    def _out_of_coverage(self, day: date) -> OutOfCoverage:
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


class SessionHours:
    """Tells whether a moment is in a continuous session; quick for moments in order.

    `open` and `close` are those of the session used last, so that a hot loop can compare with them before
    it calls `contains`. A moment that the calendar does not cover is in no session; `beyond` is the first
    such day, and `why` returns the error that the stage ends with.
    """

    def __init__(self, exchange: str = "NSE", *, closing_auction: bool = False) -> None:
        self.open = self.close = datetime.min.replace(tzinfo=IST)
        self.beyond: date | None = None
        self._calendar: Calendar | None = Calendar.of(exchange)
        self._closing_auction = closing_auction
        self._day: date | None = None
        self._sessions: Sequence[Session] = ()

    def contains(self, moment: datetime) -> bool:
        """Return whether `moment` lies in a continuous session of its day in India."""
        if moment.tzinfo is self.open.tzinfo and self.open <= moment < self.close:
            return True
        if not MINYEAR < moment.year < MAXYEAR:
            return False  # in another zone it may lie outside the range of dates
        try:
            day = moment.astimezone(IST).date()
        except OverflowError:  # at either end of the range of dates
            return False
        if day != self._day or moment.tzinfo is not self.open.tzinfo:
            self._set_day(day, moment.tzinfo)
        if self.open <= moment < self.close:
            return True
        for session in self._sessions if len(self._sessions) > 1 else ():
            if session.open <= moment < session.close:
                self.open, self.close = session
                return True
        return False

    def describe(self) -> str:
        """Return the sessions of the day used last, for people: `09:15-15:30 IST`, or `closed`."""
        spans = [f"{span.open.astimezone(IST):%H:%M}-{span.close.astimezone(IST):%H:%M}" for span in self._sessions]
        return f"{', '.join(spans)} IST" if spans else "closed"

    def why(self, day: date | None = None) -> OutOfCoverage | None:
        """Return the error that says why `day` (by default `beyond`) is not covered; None if it is."""
        day = day or self.beyond
        if day is not None and self._calendar is not None:
            try:
                self._calendar.day(day)
            except OutOfCoverage as error:
                return error
        return None

    def _set_day(self, day: date, zone: tzinfo | None) -> None:
        """Change to another day or zone: comparing across zones costs eight times as much."""
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
        self._sessions = [Session(span.open.astimezone(zone), span.close.astimezone(zone)) for span in found.continuous]
        self.open, self.close = self._sessions[0]


class AllHours(SessionHours):
    """Every moment is in a session: `--all-hours`. No calendar is needed."""

    def __init__(self) -> None:
        self.open = datetime.min.replace(tzinfo=IST)
        self.close = datetime.max.replace(tzinfo=IST)
        self.beyond = None
        self._calendar = None
        self._sessions = ()

    def contains(self, moment: datetime) -> bool:
        """Return True."""
        del moment
        return True

    def describe(self) -> str:
        """Return `all hours`."""
        return "all hours"


# --- from hours to moments --------------------------------------------------------------------


def _usual_day(
    day: date, special: Special | None, regime: Regime, *, closing_auction: bool, expiring: bool
) -> TradingDay:
    """Return a day at the usual hours; `special` names it if it is not an ordinary one."""
    hours = regime.continuous
    auction = regime.closing_auction if closing_auction else None
    close = hours.close if auction is None else auction.continuous_close
    if expiring and regime.expiring_close is not None:
        close = min(close, regime.expiring_close)
    phases = _phases(day, regime.pre_open)
    return TradingDay(
        date=day,
        name=None if special is None else special.name,
        pre_open=_first_auction(phases, datetime.combine(day, hours.open, IST)),
        pre_open_phases=phases,
        continuous=(_session(day, TimeRange(hours.open, close)),),
        closing_auction=None if auction is None else _phases(day, auction.phases),
        post_close=None if regime.post_close is None else _session(day, regime.post_close),
        square_off=_square_off(day, close, regime),
        provisional="" if special is None else special.provisional,
    )


def _special_day(day: date, special: Special, regime: Regime) -> TradingDay:
    """Return a day with sessions of its own."""
    continuous = tuple(_session(day, hours) for hours in special.sessions)
    phases = _phases(day, special.pre_open)
    if special.square_off is None:
        square_off = _square_off(day, special.sessions[-1].close, regime)
    else:
        square_off = datetime.combine(day, special.square_off, IST)
    return TradingDay(
        date=day,
        name=special.name,
        pre_open=_first_auction(phases, continuous[0].open),
        pre_open_phases=phases,
        continuous=continuous,
        closing_auction=None,
        post_close=None if special.post_close is None else _session(day, special.post_close),
        square_off=square_off,
        provisional=special.provisional,
    )


def _square_off(day: date, close: time, regime: Regime) -> datetime:
    """Return the usual time; on a day with another close, as long before the close as on ordinary days."""
    usual = datetime.combine(day, regime.square_off, IST)
    if close == regime.continuous.close:
        return usual
    closes = datetime.combine(day, close, IST)
    if regime.closing_auction is not None and close == regime.closing_auction.continuous_close:
        return usual
    return closes - (datetime.combine(day, regime.continuous.close, IST) - usual)


def _first_auction(phases: Sequence[Phase], opening: datetime) -> Session | None:
    """Return the auction before the market opens as one span, or None without one."""
    before = [phase for phase in phases if phase.close <= opening]
    return Session(before[0].open, before[-1].close) if before else None


def _phases(day: date, phases: Sequence[PhaseTimes]) -> tuple[Phase, ...]:
    return tuple(
        Phase(times.phase, datetime.combine(day, times.open, IST), datetime.combine(day, times.close, IST))
        for times in phases
    )


def _session(day: date, hours: TimeRange) -> Session:
    return Session(datetime.combine(day, hours.open, IST), datetime.combine(day, hours.close, IST))


def _indian_date(calendar: Calendar, moment: datetime) -> date:
    try:
        return moment.astimezone(IST).date()
    except OverflowError:  # at either end of the range of dates
        raise OutOfCoverage(f"the calendar of {calendar.exchange} does not reach {moment.year}") from None
