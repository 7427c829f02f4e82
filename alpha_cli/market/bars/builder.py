"""Ticks to the bars that they close.

Bars are anchored at the opening of the session, 09:15 in India, and not at the hour. One covers
[start, end); the last of a session ends with the session. A bar is closed

- by the first tick of its own instrument after its end, at once;
- by the first tick of any instrument at or past its end plus a grace period, because streams that were
  merged live are slightly out of order.

Only the times on ticks close a bar, never the computer's clock, so a recording gives the same bars as
the live stream. A tick from before its instrument's current bar is late: it is counted, not used.
Within a bar the order of arrival decides which price is the open and which the close.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import MAXYEAR, MINYEAR, datetime, timedelta, tzinfo
from typing import Any

from alpha_cli.core.events import Bar, Tick
from alpha_cli.core.times import IST, in_zone
from alpha_cli.market.bars.interval import Interval
from alpha_cli.market.bars.series import BarHours, Series
from alpha_cli.market.calendar import Calendar, OutOfCoverage
from alpha_cli.market.contracts import Contracts

AT_ONCE = timedelta()
GRACE = timedelta(seconds=1)

NEVER = datetime.max.replace(tzinfo=IST)


class InstrumentBars:
    """The series of one instrument.

    A tick with since <= time < until belongs to the current bar of every series. From `due` on a tick of
    another instrument closes one of those bars.
    """

    __slots__ = ("due", "series", "since", "until")

    def __init__(self) -> None:
        self.series: list[Series] = []
        self.since = self.until = self.due = NEVER

    def set_bounds(self, zone: tzinfo | None, grace: timedelta) -> None:
        """Compute the bounds in the zone of the ticks: comparing across zones costs eight times as much."""
        self.since = self.until = self.due = NEVER
        ends = [series.end for series in self.series if series.is_open]
        if ends:
            self.until = in_zone(min(ends), zone)
            self.due = self.until + grace
            if len(ends) == len(self.series):
                self.since = in_zone(max(series.start for series in self.series), zone)


class BarBuilder:
    """Builds bars over `intervals` of every instrument; without intervals, only of those given to `follow`.

    No tick before `due` closes a bar of another instrument. So for an instrument that is not followed a hot
    loop need not call `on_tick`, only `advance` for ticks at or past `due`. `contracts` knows the sessions of
    each instrument; without it, all have those of NSE equity.
    """

    def __init__(
        self,
        intervals: Iterable[Interval] = (),
        *,
        grace: timedelta = GRACE,
        all_hours: bool = False,
        contracts: Contracts | None = None,
    ) -> None:
        self._contracts = contracts or Contracts(all_hours=all_hours)
        self._intervals = tuple(intervals)
        self._grace = grace
        self._all_hours = all_hours
        self._instruments: dict[int, InstrumentBars] = {}
        if not all_hours:
            Calendar.of()  # report a faulty calendar file now, not at the first tick
        self._hours: dict[int, BarHours] = {}  # token -> hours of the day of its last tick
        self._not_covered: OutOfCoverage | None = None
        self.due = NEVER
        self.bars = 0
        self.empty = 0
        self.late = 0
        self.outside_session = 0

    def follow(self, token: int, intervals: Iterable[Interval]) -> None:
        """Build bars of an instrument over `intervals` too. Call it before `restore`."""
        self._follow(token, intervals)

    def on_tick(self, tick: Tick) -> list[Bar]:
        """Return the bars that `tick` closes, of any instrument, ordered by end, instrument and length."""
        moment = tick.timestamp
        bars: list[Bar] = []
        if moment >= self.due:
            self._close_overdue(moment, bars)
        instrument = self._instruments.get(tick.instrument_token)
        if instrument is None and self._intervals:
            instrument = self._follow(tick.instrument_token, ())
        if instrument is not None:
            if instrument.since <= moment < instrument.until:
                for series in instrument.series:
                    series.add(moment, tick.last_price, tick.volume_traded)
            else:
                self._move_on(instrument, tick, bars)
        return _in_order(bars) if bars else bars

    def advance(self, now: datetime) -> list[Bar]:
        """Return the bars that a tick at `now` of an instrument that is not followed closes."""
        bars: list[Bar] = []
        if now >= self.due:
            self._close_overdue(now, bars)
        return _in_order(bars)

    def finish(self) -> list[Bar]:
        """Close and return the unfinished bars as they are. Later ticks of theirs are late."""
        bars: list[Bar] = []
        for instrument in self._instruments.values():
            for series in instrument.series:
                if series.ticks:
                    self._close(series, series.end, bars)
            instrument.set_bounds(IST, self._grace)
        self.due = self._earliest()
        return _in_order(bars)

    def verdict(self) -> OutOfCoverage | None:
        """Return the error for the first tick on a day that the calendar does not cover, or None."""
        return self._not_covered

    def counts(self) -> Mapping[str, int]:
        """Return the figures of the closing line. `bars` includes `empty` ones, but not `unfinished` ones."""
        unfinished = sum(series.ticks > 0 for series in self._all_series())
        return {
            "bars": self.bars, "empty": self.empty, "unfinished": unfinished, "late": self.late,
            "outside_session": self.outside_session,
        }  # fmt: skip

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state as JSON values."""
        return {
            "bars": self.bars, "empty": self.empty, "late": self.late, "outside_session": self.outside_session,
            "series": [series.state() for series in self._all_series()],
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot`. Series in it that are not built here are ignored."""
        for name in ("bars", "empty", "late", "outside_session"):
            setattr(self, name, state[name])
        for saved in state["series"]:
            token = saved["token"]
            bars = self._follow(token, ()) if self._intervals else self._instruments.get(token, InstrumentBars())
            for series in bars.series:
                if series.text == saved["interval"]:
                    series.restore(saved)
        for instrument in self._instruments.values():
            instrument.set_bounds(IST, self._grace)
            instrument.since = NEVER  # the next tick sets the zone
        self.due = self._earliest()

    def _all_series(self) -> Iterable[Series]:
        return (series for instrument in self._instruments.values() for series in instrument.series)

    def _follow(self, token: int, intervals: Iterable[Interval]) -> InstrumentBars:
        instrument = self._instruments.setdefault(token, InstrumentBars())
        known = {series.interval for series in instrument.series}
        instrument.series += [Series(token, interval) for interval in sorted({*self._intervals, *intervals} - known)]
        instrument.since = NEVER  # a new series has no current bar
        return instrument

    def _move_on(self, instrument: InstrumentBars, tick: Tick, bars: list[Bar]) -> None:
        """Handle a tick that lies outside the current bars: close them, and open those that it belongs to."""
        moment = tick.timestamp
        for series in instrument.series:
            self._close(series, moment, bars)
        hours = self._hours_of(tick.instrument_token, moment)
        inside = hours is not None and hours.open <= moment < hours.close
        late = False
        if hours is not None:
            for series in instrument.series:
                if moment < series.start or hours.day < series.day:
                    late = True
                else:
                    self._count(series, tick, hours, inside=inside)
        self.outside_session += not inside
        self.late += inside and late
        instrument.set_bounds(moment.tzinfo, self._grace)
        self.due = min(self.due, instrument.due)

    def _count(self, series: Series, tick: Tick, hours: BarHours, *, inside: bool) -> None:
        """Count a tick that is not late. Outside the session only its cumulative volume counts."""
        moment, total = tick.timestamp, tick.volume_traded
        last_trade = series.first_of_day(tick, hours.day) if series.day < hours.day else 0
        if not inside:
            series.traded(moment, total)
            return
        if not series.is_open:
            series.begin(moment, hours)
        series.add(moment, tick.last_price, total)
        series.volume += last_trade

    def _close(self, series: Series, now: datetime, bars: list[Bar], grace: timedelta = AT_ONCE) -> None:
        """Close the bars that ended `grace` or more before `now`; at most those of one day."""
        while series.is_open and series.end + grace <= now:
            self.bars += 1
            self.empty += not series.ticks
            bars.append(series.next())

    def _close_overdue(self, now: datetime, bars: list[Bar]) -> None:
        """Close the bars of all instruments that ended the grace period or more before `now`."""
        for instrument in self._instruments.values():
            if instrument.due <= now:
                for series in instrument.series:
                    self._close(series, now, bars, self._grace)
                instrument.set_bounds(now.tzinfo, self._grace)
        self.due = self._earliest()

    def _earliest(self) -> datetime:
        return min((instrument.due for instrument in self._instruments.values()), default=NEVER)

    def _hours_of(self, token: int, moment: datetime) -> BarHours | None:
        """Return an instrument's hours on the Indian day of `moment`; None at either end of the range of dates."""
        if not MINYEAR < moment.year < MAXYEAR:
            return None
        day = moment.astimezone(IST).date()
        hours = self._hours.get(token)
        if hours is None or hours.day != day:
            try:
                hours = (
                    BarHours.all_of(day) if self._all_hours else BarHours.of(day, self._contracts.session(token, day))
                )
            except OutOfCoverage as error:
                self._not_covered = self._not_covered or error
                hours = BarHours.none(day)
            self._hours[token] = hours
        return hours


def _in_order(bars: list[Bar]) -> list[Bar]:
    if len(bars) > 1:
        bars.sort(key=lambda bar: (bar.end, bar.instrument_token, Interval.parse(bar.interval)))
    return bars
