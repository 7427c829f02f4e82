"""The step of `bars`: ticks to the bars that they close.

Bars are anchored at the opening of the session, 09:15 in India, and not at the hour. One covers
[start, end); the last of a session ends with the session. It is closed

- by a tick of its own instrument from after its end, at once;
- by the first tick of any instrument at or past its end plus a grace, because streams that were
  merged live are out of order by a moment.

So only the times on ticks close a bar, never a clock on the wall, and a recording gives the bars that
the live stream gave. A tick from before the bar that its instrument is at is late: counted, not used.
Within a bar arrival decides which price is the open and which the close.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import MAXYEAR, MINYEAR, date, datetime, time, timedelta, timezone, tzinfo
from typing import Any, NamedTuple

from alpha_cli.core.events import Bar, Tick
from alpha_cli.core.times import IST
from alpha_cli.market.calendar import OPEN, Calendar, OutOfCoverage, Session
from alpha_cli.market.contracts import Contracts
from alpha_cli.stages.bars.config import DAY, Interval

AT_ONCE = timedelta()
GRACE = timedelta(seconds=1)

PAST = datetime(MINYEAR + 1, 1, 1, tzinfo=IST)  # before every tick that can be in a bar, in any zone
NEVER = datetime.max.replace(tzinfo=IST)


class Hours(NamedTuple):
    """When a day in India has bars: open <= moment < close, counted from `anchor`; never if both are equal."""

    day: date
    open: datetime
    close: datetime
    anchor: datetime

    @classmethod
    def of(cls, day: date, session: Session | None) -> Hours:
        """Those of a session, or of a day without one."""
        return cls.none(day) if session is None else cls(day, session.open, session.close, session.open)

    @classmethod
    def all_of(cls, day: date) -> Hours:
        """The whole of `day`."""
        midnight = datetime.combine(day, time(), IST)
        return cls(day, midnight, midnight + timedelta(days=1), datetime.combine(day, OPEN, IST))

    @classmethod
    def none(cls, day: date) -> Hours:
        """Of a day without bars."""
        midnight = datetime.combine(day, time(), IST)
        return cls(day, midnight, midnight, midnight)

    def bar(self, moment: datetime, interval: Interval) -> tuple[datetime, datetime]:
        """Start and end of the bar that `moment`, which lies in these hours, belongs to."""
        anchor = self.open if interval.seconds == DAY else self.anchor
        start = anchor + (moment - anchor) // interval.length * interval.length
        return max(start, self.open), min(start + interval.length, self.close)


class Series:
    """The bars of one instrument over one interval, one after another. Its own times are in India.

    The bar at hand covers start <= moment < end; if both are equal there is none until the next day.
    All before `start` is closed. `total` is the cumulative volume that was counted last, `total_at` the
    time of the tick that said it and `day` that tick's day.
    """

    __slots__ = (
        "close", "day", "end", "high", "interval", "last_end", "length", "low", "open", "start", "text", "ticks",
        "token", "total", "total_at", "volume",
    )  # fmt: skip

    #: What is kept of a series from one process to the next; see `state`.
    TIMES = ("start", "end", "last_end", "total_at")
    NUMBERS = ("open", "high", "low", "close", "volume", "ticks", "total")

    def __init__(self, token: int, interval: Interval) -> None:
        self.token = token
        self.interval = interval
        self.length = interval.length
        self.text = interval.text
        self.start = self.end = self.last_end = PAST
        self.open = self.high = self.low = self.close = 0.0
        self.volume = self.ticks = 0
        self.day = date.min
        self.total = 0
        self.total_at = PAST

    @property
    def is_open(self) -> bool:
        """There is a bar at hand, if only one that has no tick yet."""
        return self.start < self.end

    def begin(self, moment: datetime, hours: Hours) -> None:
        """The first bar of a day: the one that `moment` belongs to."""
        self.start, self.end = hours.bar(moment, self.interval)
        self.last_end = hours.close

    def add(self, moment: datetime, price: float, total: int) -> None:
        """Count a tick in the bar at hand; `total` is the cumulative volume on it."""
        if not self.ticks:
            self.open = self.high = self.low = price
        elif price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        self.close = price
        self.ticks += 1
        if total != self.total:
            self.volume += self.traded(moment, total)

    def traded(self, moment: datetime, total: int) -> int:
        """Units traded since the cumulative volume was last counted, which now is `total`.

        A fall counts nothing and is where to count from, unless the tick is only out of order. A
        tick with 0 after others is one that says no volume.
        """
        before = self.total
        if total > before or (0 < total < before and moment >= self.total_at):
            self.total, self.total_at = total, moment
        return max(total - before, 0)

    def first_of_day(self, tick: Tick, day: date) -> int:
        """Begin to count the volume of `day`. Of what came before its first tick only the last trade is known."""
        self.day, self.total, self.total_at = day, tick.volume_traded, tick.timestamp
        return min(tick.last_traded_quantity or 0, tick.volume_traded)

    def next(self) -> Bar:
        """Close the bar at hand and go on to the next. One without ticks stands at the last close."""
        bar = Bar(
            instrument_token=self.token, start=self.start, end=self.end, interval=self.text, open=self.open,
            high=self.high, low=self.low, close=self.close, volume=self.volume, ticks=self.ticks,
        )  # fmt: skip
        self.start, self.end = self.end, min(self.end + self.length, self.last_end)
        self.open = self.high = self.low = self.close
        self.volume = self.ticks = 0
        return bar

    def state(self) -> dict[str, Any]:
        """All there is to know of it, as JSON can say it."""
        return {
            "token": self.token, "interval": self.text, "day": self.day.isoformat(),
            **{name: getattr(self, name).astimezone(IST).isoformat() for name in self.TIMES},
            **{name: getattr(self, name) for name in self.NUMBERS},
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Be as the series was that gave this state."""
        self.day = date.fromisoformat(state["day"])
        for name in self.TIMES:
            setattr(self, name, datetime.fromisoformat(state[name]).astimezone(IST))
        for name in self.NUMBERS:
            setattr(self, name, state[name])


class Lane:
    """One instrument and its series.

    A tick with since <= time < until belongs to the bars at hand, of which every series has one.
    From `due` on a tick of another instrument closes one of them.
    """

    __slots__ = ("due", "series", "since", "until")

    def __init__(self) -> None:
        self.series: list[Series] = []
        self.since = self.until = self.due = NEVER

    def aim(self, zone: tzinfo | None, grace: timedelta) -> None:
        """Look ahead, in the zone of the ticks to come: comparing across zones costs eight times as much."""
        self.since = self.until = self.due = NEVER
        ends = [series.end for series in self.series if series.is_open]
        if ends:
            self.until = _in_zone(min(ends), zone)
            self.due = self.until + grace
            if len(ends) == len(self.series):
                self.since = _in_zone(max(series.start for series in self.series), zone)


class BarBuilder:
    """Builds bars over `intervals` of every instrument; without any, of those to `follow` only.

    No tick before `due` closes a bar of another instrument. So for ticks of instruments that are not
    followed a hot loop need not call `on_tick`, only `advance` for those at or past `due`. The `venue`
    knows the sessions of instruments; by itself, those of NSE equity.
    """

    def __init__(
        self,
        intervals: Iterable[Interval] = (),
        *,
        grace: timedelta = GRACE,
        all_hours: bool = False,
        venue: Contracts | None = None,
    ) -> None:
        self._venue = venue or Contracts(all_hours=all_hours)
        self._intervals = tuple(intervals)
        self._grace = grace
        self._all_hours = all_hours
        self._lanes: dict[int, Lane] = {}
        if not all_hours:
            Calendar.of()  # what is wrong with its files is better said now than at the first tick
        self._hours: dict[int, Hours] = {}  # token -> those of the day asked about last
        self._not_covered: OutOfCoverage | None = None
        self.due = NEVER
        self.bars = 0
        self.empty = 0
        self.late = 0
        self.outside_session = 0

    def follow(self, token: int, intervals: Iterable[Interval]) -> None:
        """Build bars of an instrument over `intervals` too. Comes before `restore`."""
        self._follow(token, intervals)

    def on_tick(self, tick: Tick) -> list[Bar]:
        """The bars that `tick` closes, of any instrument, by end, instrument and length."""
        moment = tick.timestamp
        bars: list[Bar] = []
        if moment >= self.due:
            self._close_overdue(moment, bars)
        lane = self._lanes.get(tick.instrument_token)
        if lane is None and self._intervals:
            lane = self._follow(tick.instrument_token, ())
        if lane is not None:
            if lane.since <= moment < lane.until:
                for series in lane.series:
                    series.add(moment, tick.last_price, tick.volume_traded)
            else:
                self._turn(lane, tick, bars)
        return _in_order(bars) if bars else bars

    def advance(self, now: datetime) -> list[Bar]:
        """The bars that a tick at `now` closes, if it is of an instrument that is not followed."""
        bars: list[Bar] = []
        if now >= self.due:
            self._close_overdue(now, bars)
        return _in_order(bars)

    def finish(self) -> list[Bar]:
        """The unfinished bars, as far as they are. What still comes for them is late."""
        bars: list[Bar] = []
        for lane in self._lanes.values():
            for series in lane.series:
                if series.ticks:
                    self._close(series, series.end, bars)
            lane.aim(IST, self._grace)
        self.due = self._earliest()
        return _in_order(bars)

    def verdict(self) -> OutOfCoverage | None:
        """The error that names the first day of ticks that the calendar does not cover; None while it did."""
        return self._not_covered

    def counts(self) -> Mapping[str, int]:
        """For the closing line. `bars` has the `empty` ones in it; `unfinished` ones never were."""
        unfinished = sum(series.ticks > 0 for series in self._all_series())
        return {
            "bars": self.bars, "empty": self.empty, "unfinished": unfinished, "late": self.late,
            "outside_session": self.outside_session,
        }  # fmt: skip

    def snapshot(self) -> dict[str, Any]:
        """Where it is, as JSON can say it."""
        return {
            "bars": self.bars, "empty": self.empty, "late": self.late, "outside_session": self.outside_session,
            "series": [series.state() for series in self._all_series()],
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `snapshot`. What it has of bars that are not built here is left out."""
        for name in ("bars", "empty", "late", "outside_session"):
            setattr(self, name, state[name])
        for one in state["series"]:
            lane = self._follow(one["token"], ()) if self._intervals else self._lanes.get(one["token"], Lane())
            for series in lane.series:
                if series.text == one["interval"]:
                    series.restore(one)
        for lane in self._lanes.values():
            lane.aim(IST, self._grace)
            lane.since = NEVER  # the next tick says which zone to look ahead in
        self.due = self._earliest()

    def _all_series(self) -> Iterable[Series]:
        return (series for lane in self._lanes.values() for series in lane.series)

    def _follow(self, token: int, intervals: Iterable[Interval]) -> Lane:
        lane = self._lanes.setdefault(token, Lane())
        known = {series.interval for series in lane.series}
        lane.series += [Series(token, one) for one in sorted({*self._intervals, *intervals} - known)]
        lane.since = NEVER  # a new series has no bar at hand
        return lane

    def _turn(self, lane: Lane, tick: Tick, bars: list[Bar]) -> None:
        """A tick that does not simply belong to the bars at hand."""
        moment = tick.timestamp
        for series in lane.series:
            self._close(series, moment, bars)
        hours = self._hours_of(tick.instrument_token, moment)
        inside = hours is not None and hours.open <= moment < hours.close
        late = False
        if hours is not None:
            for series in lane.series:
                if moment < series.start or hours.day < series.day:
                    late = True
                else:
                    self._count(series, tick, hours, inside=inside)
        self.outside_session += not inside
        self.late += inside and late
        lane.aim(moment.tzinfo, self._grace)
        self.due = min(self.due, lane.due)

    def _count(self, series: Series, tick: Tick, hours: Hours, *, inside: bool) -> None:
        """A tick that is not late. Outside the session it says only what was traded until then."""
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
        """Close the bars that ended `grace` before `now`: those of one day, so never more than it has."""
        while series.is_open and series.end + grace <= now:
            self.bars += 1
            self.empty += not series.ticks
            bars.append(series.next())

    def _close_overdue(self, now: datetime, bars: list[Bar]) -> None:
        """Close the bars that ended a grace before `now`, of all instruments."""
        for lane in self._lanes.values():
            if lane.due <= now:
                for series in lane.series:
                    self._close(series, now, bars, self._grace)
                lane.aim(now.tzinfo, self._grace)
        self.due = self._earliest()

    def _earliest(self) -> datetime:
        return min((lane.due for lane in self._lanes.values()), default=NEVER)

    def _hours_of(self, token: int, moment: datetime) -> Hours | None:
        """An instrument's hours of the day in India that `moment` is on; None at either end of what a date can be."""
        if not MINYEAR < moment.year < MAXYEAR:
            return None
        day = moment.astimezone(IST).date()
        hours = self._hours.get(token)
        if hours is None or hours.day != day:
            try:
                hours = Hours.all_of(day) if self._all_hours else Hours.of(day, self._venue.session(token, day))
            except OutOfCoverage as error:
                self._not_covered = self._not_covered or error
                hours = Hours.none(day)
            self._hours[token] = hours
        return hours


def _in_zone(moment: datetime, zone: tzinfo | None) -> datetime:
    """`moment` in `zone`, if that has no summer time, across which times of one zone do not compare."""
    return moment.astimezone(zone) if type(zone) is timezone else moment


def _in_order(bars: list[Bar]) -> list[Bar]:
    if len(bars) > 1:
        bars.sort(key=lambda bar: (bar.end, bar.instrument_token, Interval.parse(bar.interval)))
    return bars
