"""The bars of one instrument over one interval: opening, filling and closing them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import MINYEAR, date, datetime, time, timedelta
from typing import Any, NamedTuple

from alpha_cli.core.events import Bar, Tick
from alpha_cli.core.times import IST
from alpha_cli.market.bars.interval import DAY, Interval
from alpha_cli.market.calendar import OPEN, Session

PAST = datetime(MINYEAR + 1, 1, 1, tzinfo=IST)  # before every tick that can be in a bar, in any zone


class BarHours(NamedTuple):
    """When a day in India has bars: open <= moment < close, counted from `anchor`. Never, if both are equal."""

    day: date
    open: datetime
    close: datetime
    anchor: datetime

    @classmethod
    def of(cls, day: date, session: Session | None) -> BarHours:
        """Return the hours of a session, or of a day without one."""
        return cls.none(day) if session is None else cls(day, session.open, session.close, session.open)

    @classmethod
    def all_of(cls, day: date) -> BarHours:
        """Return the whole of `day`."""
        midnight = datetime.combine(day, time(), IST)
        return cls(day, midnight, midnight + timedelta(days=1), datetime.combine(day, OPEN, IST))

    @classmethod
    def none(cls, day: date) -> BarHours:
        """Return the hours of a day without bars."""
        midnight = datetime.combine(day, time(), IST)
        return cls(day, midnight, midnight, midnight)

    def bar(self, moment: datetime, interval: Interval) -> tuple[datetime, datetime]:
        """Return start and end of the bar that `moment`, which lies in these hours, belongs to."""
        anchor = self.open if interval.seconds == DAY else self.anchor
        start = anchor + (moment - anchor) // interval.length * interval.length
        return max(start, self.open), min(start + interval.length, self.close)


class Series:
    """The bars of one instrument over one interval, one after another. All its times are in India.

    The current bar covers start <= moment < end. If both are equal there is none until the next day. Every bar
    before `start` is closed.

    total     the cumulative volume of the last tick that counted
    total_at  the time of that tick
    day       the day of that tick
    """

    __slots__ = (
        "close", "day", "end", "high", "interval", "last_end", "length", "low", "open", "start", "text", "ticks",
        "token", "total", "total_at", "volume",
    )  # fmt: skip

    #: The fields that a snapshot keeps; see `state`.
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
        """Whether there is a current bar, even one without a tick yet."""
        return self.start < self.end

    def begin(self, moment: datetime, hours: BarHours) -> None:
        """Open the first bar of a day: the one that `moment` belongs to."""
        self.start, self.end = hours.bar(moment, self.interval)
        self.last_end = hours.close

    def add(self, moment: datetime, price: float, total: int) -> None:
        """Count a tick in the current bar; `total` is its cumulative volume."""
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
        """Return the units traded since the last cumulative volume, and remember `total` as the new one.

        A lower total counts as nothing traded, and counting goes on from there, unless the tick is only out of
        order. A total of 0 after others means that the tick carries no volume.
        """
        before = self.total
        if total > before or (0 < total < before and moment >= self.total_at):
            self.total, self.total_at = total, moment
        return max(total - before, 0)

    def first_of_day(self, tick: Tick, day: date) -> int:
        """Start counting the volume of `day`; return the units of the first tick's own trade.

        Of what was traded before the first tick only that last trade is known to belong to the bar.
        """
        self.day, self.total, self.total_at = day, tick.volume_traded, tick.timestamp
        return min(tick.last_traded_quantity or 0, tick.volume_traded)

    def next(self) -> Bar:
        """Close the current bar, return it and open the next. A bar without ticks has the last close as its prices."""
        bar = Bar(
            instrument_token=self.token, start=self.start, end=self.end, interval=self.text, open=self.open,
            high=self.high, low=self.low, close=self.close, volume=self.volume, ticks=self.ticks,
        )  # fmt: skip
        self.start, self.end = self.end, min(self.end + self.length, self.last_end)
        self.open = self.high = self.low = self.close
        self.volume = self.ticks = 0
        return bar

    def state(self) -> dict[str, Any]:
        """Return everything about the series as JSON values."""
        return {
            "token": self.token, "interval": self.text, "day": self.day.isoformat(),
            **{name: getattr(self, name).astimezone(IST).isoformat() for name in self.TIMES},
            **{name: getattr(self, name) for name in self.NUMBERS},
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the series to a `state` that was returned earlier."""
        self.day = date.fromisoformat(state["day"])
        for name in self.TIMES:
            setattr(self, name, datetime.fromisoformat(state[name]).astimezone(IST))
        for name in self.NUMBERS:
            setattr(self, name, state[name])
