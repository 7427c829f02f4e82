"""When the market is open.

The continuous session of NSE equity, Monday to Friday. Holidays, special sessions and other
segments come with the dated calendar; until then a weekday is taken for a trading day and a weekend
never is, so that a recording which repeats Friday under Saturday's date trades nothing.
"""

from __future__ import annotations

from datetime import MAXYEAR, MINYEAR, date, datetime, time
from typing import NamedTuple

from alpha_cli.events import IST

#: NSE equity, continuous session. Source: NSE, market timings; before it lies the pre-open auction.
OPEN = time(9, 15)
CLOSE = time(15, 30)
SATURDAY = 5


class Session(NamedTuple):
    """A continuous session: open <= moment < close."""

    open: datetime
    close: datetime


def session_of(day: date) -> Session | None:
    """The continuous session of `day` (a date in India), or None if there is none."""
    if day.weekday() >= SATURDAY:
        return None
    return Session(datetime.combine(day, OPEN, IST), datetime.combine(day, CLOSE, IST))


class SessionHours:
    """Is a moment inside a continuous session? Quick for one moment after another.

    `open` and `close` are those of the session asked about last, so that a hot loop can compare with
    them before it calls `contains`.
    """

    def __init__(self) -> None:
        self.open = self.close = datetime.min.replace(tzinfo=IST)
        self._day: date | None = None

    def contains(self, moment: datetime) -> bool:
        """Whether `moment` lies in the continuous session of its day in India."""
        if moment.tzinfo is self.open.tzinfo and self.open <= moment < self.close:
            return True
        if not MINYEAR < moment.year < MAXYEAR:
            return False  # in another zone it may lie outside what a date can say
        try:
            day = moment.astimezone(IST).date()
        except OverflowError:  # at either end of what a date can be
            return False
        if day != self._day or moment.tzinfo is not self.open.tzinfo:
            self._day = day
            session = session_of(day)
            if session is None:
                self.open = self.close = datetime.combine(day, time(), IST)
            else:  # in the zone of the moments to come: comparing across zones costs eight times as much
                self.open = session.open.astimezone(moment.tzinfo)
                self.close = session.close.astimezone(moment.tzinfo)
        return self.open <= moment < self.close


class AllHours(SessionHours):
    """Every moment counts: `--all-hours`."""

    def __init__(self) -> None:
        super().__init__()
        self.close = datetime.max.replace(tzinfo=IST)

    def contains(self, moment: datetime) -> bool:
        del moment
        return True
