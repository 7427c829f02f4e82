"""A synthetic market that needs no account: seeded, and the same bytes on any machine and any Python.

Prices are whole numbers of price steps of 0.05 rupees. They move by sums of fair coin tosses, scaled by a
volatility that is itself a random walk. No library mathematics is used, so no digit can differ. Every
instrument has its own generator: other instruments do not change its path. Unlike real indices these have a
volume, so that every strategy has data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from random import Random
from typing import Literal

from alpha_cli.core.events import Depth, Level, Ohlc, Tick
from alpha_cli.core.times import IST
from alpha_cli.stages.feed.reader import joined
from alpha_cli.stream.batch import Batch, batch_of
from alpha_cli.stream.shutdown import Shutdown

Mode = Literal["ltp", "quote", "full"]

SESSION_SECONDS = 22_500  # 09:15:00 to 15:30:00
MAX_TICKS = SESSION_SECONDS * 1_000_000  # at most one a microsecond, so that each time is later than the one before

#: token -> previous close in price steps of 0.05 rupees, usual volatility, lot of a trade.
KNOWN: dict[int, tuple[int, int, int]] = {
    256265: (500_000, 106, 75),  # NIFTY 50
    260105: (1_120_000, 106, 35),  # NIFTY BANK
    738561: (29_500, 160, 25),  # RELIANCE
    408065: (32_300, 160, 20),  # INFY
    2953217: (65_200, 150, 10),  # TCS
}
_STEPS_IN_RUPEE = 20
_PER_BATCH = 200  # ticks, about 64 KiB
_TICKS_OF_ONE_VOLATILITY = 256
_MIN_VOLATILITY, _MAX_VOLATILITY = 60, 160  # percent of the usual one
_SHIFT = 37  # scales the coin tosses to the signals per million ticks of a calm real day
_FRACTION = tuple(f".{paise:02d}".removesuffix("0") for paise in range(100))

_HEAD = '{"type":"tick","instrument_token":%d,"timestamp":"%s+05:30","last_price":%s'
_OHLC = '{"open":%r,"high":%r,"low":%r,"close":%r}'
_QUOTE = _HEAD + (
    ',"volume_traded":%d,"average_traded_price":%s,"last_traded_quantity":%d,"total_buy_quantity":%d,'
    '"total_sell_quantity":%d,"ohlc":%s,"mode":"quote","change":%r}'
)


def tokens_of(count: int) -> list[int]:
    """Return the tokens of the first `count` instruments: the known ones, then invented ones."""
    known = list(KNOWN)
    return known[:count] + [1_000_001 + 256 * place for place in range(count - len(known))]


class Instrument:
    """One instrument's path. Prices are in steps of 0.05 rupees, amounts of money in steps times units."""

    def __init__(self, token: int, seed: int) -> None:
        self.token = token
        self._bits = Random(seed * (1 << 32) + token).getrandbits  # noqa: S311  (a market, not a secret)
        default = (2_000 + token * 2_654_435_761 % (1 << 32) % 60_000, 160, 10)
        self.close, self._usual, self._lot = KNOWN.get(token, default)
        self._volatility = 100
        self._scale = 0
        self._left = 0
        self.price = self.close + self._move(self.close * 64)
        self.open = self.high = self.low = self.price
        self.ohlc = self._day()
        self.ohlc_text = ""
        self.volume = self.last_quantity = self.buy_quantity = self.sell_quantity = 0
        self._turnover = 0

    def trade(self) -> None:
        """Make the next trade."""
        price = self.price = max(self.price + self._move(self.price), 1)
        if price > self.high:
            self.high = price
            self.ohlc = self._day()
        elif price < self.low:
            self.low = price
            self.ohlc = self._day()
        bits = self._bits(32)
        quantity = self.last_quantity = self._lot * (1 + (bits & bits >> 4 & 15))
        self.volume += quantity
        self._turnover += price * quantity
        self.buy_quantity = self._lot * (4_000 + (bits >> 8 & 1023))
        self.sell_quantity = self._lot * (4_000 + (bits >> 20 & 1023))

    def average_paise(self) -> int:
        """Return turnover divided by volume, to the nearest paisa."""
        return (self._turnover * 10 + self.volume) // (2 * self.volume)

    def change(self) -> float:
        """Return the change against the previous close in percent, to two decimals."""
        return ((self.price - self.close) * 20_000 + self.close) // (2 * self.close) / 100

    def depth(self) -> Depth:
        """Return five levels on each side of the last price, one price step apart."""
        return Depth(self._levels(-1, self.buy_quantity), self._levels(1, self.sell_quantity))

    def _levels(self, direction: int, quantity: int) -> tuple[Level, ...]:
        away = [max(self.price + direction * place, 1) for place in range(5)]
        return tuple(
            Level(steps / _STEPS_IN_RUPEE, quantity // (20 + place), 3 + quantity // self._lot % 7 + place)
            for place, steps in enumerate(away)
        )

    def _move(self, price: int) -> int:
        """Return a random move, up or down, in proportion to `price` and the current volatility."""
        if not self._left:
            self._left = _TICKS_OF_ONE_VOLATILITY
            back = (100 - self._volatility) // 8
            wander = self._volatility + back + self._bits(16).bit_count() * 3 - 24
            self._volatility = min(max(wander, _MIN_VOLATILITY), _MAX_VOLATILITY)
            self._scale = self._usual * self._volatility
        self._left -= 1
        bits = self._bits(70)
        tosses = ((bits >> 6).bit_count() - 32) * 128 + (bits & 63) * 2 - 63
        return (tosses * price * self._scale + (1 << _SHIFT - 1)) >> _SHIFT

    def _day(self) -> Ohlc:
        self.ohlc_text = ""
        return Ohlc(*(steps / _STEPS_IN_RUPEE for steps in (self.open, self.high, self.low, self.close)))


class Synthetic:
    """A session of `ticks` ticks, by default one a second for each instrument, spread evenly over the day."""

    def __init__(self, seed: int, day: date, tokens: Sequence[int], ticks: int | None, mode: Mode) -> None:
        self.ticks = SESSION_SECONDS * len(tokens) if ticks is None else ticks
        self.description = f"synthetic seed={seed} date={day} ticks={self.ticks} mode={mode} instruments=" + ",".join(
            map(str, tokens)
        )
        self._opening = datetime(day.year, day.month, day.day, 9, 15, tzinfo=IST)
        self._instruments = [Instrument(token, seed) for token in tokens]
        self._mode = mode

    def batches(self, shutdown: Shutdown) -> Iterator[Batch]:
        """Yield the session, until `shutdown` asks to stop."""
        make = {"ltp": self._ltp, "quote": self._quote, "full": self._full}[self._mode]
        for first in range(0, self.ticks, _PER_BATCH):
            if shutdown.requested is not None:
                return
            yield make(first, min(first + _PER_BATCH, self.ticks))

    def _moments(self, first: int, last: int) -> Iterator[tuple[Instrument, datetime, str]]:
        """Yield instrument, time, and time as text without an offset for each tick."""
        instruments, opening, whole = self._instruments, self._opening, -1
        count = len(instruments)
        for index in range(first, last):
            second, microsecond = divmod(index * (SESSION_SECONDS * 1_000_000) // self.ticks, 1_000_000)
            if second != whole:
                whole = second
                base = opening + timedelta(seconds=second)
                text = base.isoformat()[:19]
            yield (
                instruments[index % count],
                base.replace(microsecond=microsecond) if microsecond else base,
                f"{text}.{microsecond:06d}" if microsecond else text,
            )

    def _ltp(self, first: int, last: int) -> Batch:
        lines, ticks = [], []
        for instrument, moment, text in self._moments(first, last):
            instrument.trade()
            paise = instrument.price * 5
            lines.append((_HEAD % (instrument.token, text, _rupees(paise)) + ',"mode":"ltp"}').encode())
            ticks.append(Tick(instrument.token, moment, paise / 100, mode="ltp"))
        return joined(lines, ticks)

    def _quote(self, first: int, last: int) -> Batch:
        lines, ticks = [], []
        for instrument, moment, text in self._moments(first, last):
            instrument.trade()
            token, paise, average = instrument.token, instrument.price * 5, instrument.average_paise()
            volume, quantity = instrument.volume, instrument.last_quantity
            buy, sell = instrument.buy_quantity, instrument.sell_quantity
            ohlc, change = instrument.ohlc, instrument.change()
            if not instrument.ohlc_text:
                instrument.ohlc_text = _OHLC % (ohlc.open, ohlc.high, ohlc.low, ohlc.close)
            average_text, ohlc_text = _rupees(average), instrument.ohlc_text
            values = (token, text, _rupees(paise), volume, average_text, quantity, buy, sell, ohlc_text, change)
            lines.append((_QUOTE % values).encode())
            ticks.append(
                Tick(token, moment, paise / 100, None, None, volume, average / 100, quantity, buy, sell,
                     None, None, None, ohlc, None, "quote", None, change)
            )  # fmt: skip
        return joined(lines, ticks)

    def _full(self, first: int, last: int) -> Batch:
        ticks = []
        for instrument, moment, _ in self._moments(first, last):
            instrument.trade()
            price = instrument.price / _STEPS_IN_RUPEE
            average = instrument.average_paise() / 100
            ticks.append(
                Tick(
                    instrument.token, moment, price, None, None, instrument.volume, average, instrument.last_quantity,
                    instrument.buy_quantity, instrument.sell_quantity, 0, 0, 0, instrument.ohlc, instrument.depth(),
                    "full", True, instrument.change(), moment,
                )
            )  # fmt: skip
        return batch_of(ticks)


def _rupees(paise: int) -> str:
    """Return rupees exactly and as short as the codec writes them: 25000.0, 25000.05."""
    return f"{paise // 100}{_FRACTION[paise % 100]}"
