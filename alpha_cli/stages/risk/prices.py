"""Prices, bars and gaps of the stream, as risk needs them: last prices, marks, closing prices, minute volumes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from alpha_cli.core.events import Bar, Gap
from alpha_cli.core.money import price_units
from alpha_cli.core.times import in_india
from alpha_cli.stream.last_ticks import LastTicks

if TYPE_CHECKING:
    from alpha_cli.market.calendar import SessionHours

#: The interval of the bars that `participation.minute` is a share of.
MINUTE_BAR = "1m"

#: A bar that ended longer ago no longer shows the volume of the last minute.
_NEWEST_MINUTE = timedelta(minutes=2)


class _Mark(Struct):
    """The last price in a continuous session, and the bounds of that session."""

    open: datetime
    close: datetime
    tick: Any = None
    price: int | None = None


class Prices:
    """The market data that controls and valuations use.

    bars       interval -> number of closing prices to keep
    hours_at   token and moment -> the continuous sessions of the instrument
    last_tick  token -> its last tick, or None
    gap_end    up to here ticks are known to be missing; None: none are
    """

    def __init__(
        self,
        last_ticks: LastTicks,
        bars: Mapping[str, int],
        hours_at: Callable[[int, datetime], SessionHours],
    ) -> None:
        self._last_ticks = last_ticks
        self.last_tick: Callable[[int], Any] = last_ticks.last
        self._bars = bars
        self._hours_at = hours_at
        self._closes: dict[tuple[int, str], deque[float]] = {}
        self._minutes: dict[int, Bar] = {}
        self.gap_end: datetime | None = None
        self._marks: dict[int, _Mark] = {}

    def price_of(self, token: int) -> int | None:
        """Return the last price of an instrument in ledger units; None without one, or if it rounds to 0."""
        tick = self.last_tick(token)
        return None if tick is None else price_units(tick.last_price) or None

    def mark_of(self, token: int) -> int | None:
        """Return the last price if it is from the continuous session: other prices must not mark positions."""
        tick = self.last_tick(token)
        if tick is None:
            return None
        known = self._marks.get(token)
        if known is None or known.tick is not tick:
            moment = tick.timestamp
            if known is None or not known.open <= moment < known.close:
                hours = self._hours_at(token, moment)
                if not hours.contains(moment):
                    return None
                known = self._marks[token] = _Mark(hours.open, hours.close)
            known.tick, known.price = tick, price_units(tick.last_price) or None
        return known.price

    def price_before(self, token: int, day: date) -> int | None:
        """Return the last price of an instrument if it is from before `day`."""
        tick = self.last_tick(token)
        return None if tick is None or in_india(tick.timestamp).date() >= day else self.price_of(token)

    def on_bar(self, bar: Bar) -> None:
        """Keep the closing price and the minute volume of a bar, if a rule needs them."""
        most = self._bars.get(bar.interval)
        if most is None:
            return
        if bar.interval == MINUTE_BAR:
            self._minutes[bar.instrument_token] = bar
        key = (bar.instrument_token, bar.interval)
        if key not in self._closes:
            self._closes[key] = deque(maxlen=most)
        self._closes[key].append(bar.close)

    def on_gap(self, gap: Gap) -> None:
        """Note that ticks are missing: positions must not be opened on prices from before the end of the gap."""
        ends = (gap.to, self._last_ticks.now, self.gap_end)
        self.gap_end = max((end for end in ends if end is not None), default=None)

    def closes(self, token: int, interval: str) -> Sequence[float]:
        """Return the closing prices of the last bars, oldest first."""
        return tuple(self._closes.get((token, interval), ()))

    def minute_volume(self, token: int, moment: datetime) -> int | None:
        """Return the volume of the minute before `moment`; None without a bar of it."""
        if not self._bars:
            return None
        bar = self._minutes.get(token)
        if bar is None or not timedelta(0) <= moment - bar.end <= _NEWEST_MINUTE:
            return None
        return bar.volume
