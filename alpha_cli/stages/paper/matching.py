"""What one tick fills of an order: pure rules, numbered as in `docs/matching.md`.

Prices are in ledger units (ten-thousandths of a rupee), quantities in units of the instrument. An order
that arrives takes liquidity; one that rests provides it, and so fills at its own price.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from alpha_cli.core.events import Side
from alpha_cli.core.money import UNITS, price_units
from alpha_cli.stages.paper.config import Slippage

#: More than any order asks for: what a tick without a book offers.
UNLIMITED = 1 << 62

#: Rupees below which a price of the book or a previous close counts: the wire bounds the last price alone.
MAX_PRICE = 1e12

#: Kite's automatic market protection: (price below which, share of the price in basis points), by kind of
#: contract; the last row is for all above. Source: Zerodha support, "market protection", bands of 2026-04.
PROTECTION: dict[str, tuple[tuple[int, int], ...]] = {
    "equity": ((100, 200), (500, 100), (0, 50)),
    "future": ((100, 200), (500, 100), (0, 50)),
    "option": ((10, 500), (100, 300), (500, 200), (0, 100)),
}


class Taken(NamedTuple):
    """A part of an order that is filled at one price."""

    price: int
    quantity: int


def protection_price(side: Side, last: int, kind: str, tick_size: int, percent: float | None = None) -> int:
    """Return the limit that Kite gives a MARKET order: the last price and a band on the far side of it.

    percent  width of the band, if the order names one (Kite's `market_protection`); None: Kite's own
    Rounded to a multiple of `tick_size` towards the last price, so that the band is never left.
    """
    if percent is None:
        share = next(share for below, share in PROTECTION[kind] if not below or last < below * UNITS)
        distance = last * share // 10_000
    else:
        distance = last * round(percent * 10_000) // 1_000_000
    if side == "BUY":
        return max((last + distance) // tick_size * tick_size, last)
    return max(min(-(-(last - distance) // tick_size) * tick_size, last), 1)


class Liquidity:
    """The quantities that one tick offers, less what orders of this account took of them before."""

    def __init__(self, tick: Any) -> None:
        self.tick = tick
        self.last = price_units(tick.last_price)
        depth = tick.depth
        self._books: dict[Side, list[list[int]]] | None = None
        if depth is not None and (depth.buy or depth.sell):
            # A BUY takes from the sellers. Kite fills up a short book with levels of nothing.
            self._books = {"BUY": _levels(depth.sell), "SELL": _levels(depth.buy)}
        self._traded = tick.last_traded_quantity or UNLIMITED  # for orders that rest

    def take(self, side: Side, limit: int, quantity: int, slippage: Slippage, tick_size: int) -> list[Taken]:
        """Return the parts that an arriving order gets: at most `quantity`, at prices no worse than `limit`."""
        if not self.last:
            return []  # a price that is 0 at four decimals is no price
        within = self._within(side, limit)
        if not within:
            return []
        if slippage.kind != "depth":
            price = slipped(side, within[0][0], limit, slippage, tick_size)
            return [Taken(price, sum(taken.quantity for taken in _walk(within, quantity)))]
        return _walk(within, quantity)

    def match(self, side: Side, limit: int, quantity: int, since: datetime) -> int:
        """Return the units that an order which has rested at `limit` since `since` gets, at its own price."""
        if not self.last:
            return 0
        if self._books is not None:
            within = self._within(side, limit)
            if within:
                return sum(taken.quantity for taken in _walk(within, quantity))
            # Nobody offers at its price now; a trade beyond it since it arrived must have matched it first.
            traded = self.tick.last_trade_time
            if traded is None or traded <= since or self.last == limit:
                return 0
        if (self.last > limit) if side == "BUY" else (self.last < limit):
            return 0
        matched = min(quantity, self._traded)
        if self._traded != UNLIMITED:
            self._traded -= matched
        return matched

    def _within(self, side: Side, limit: int) -> list[list[int]]:
        """Return the [price, quantity] levels for `side` that are no worse than `limit`, best first."""
        levels = [[self.last, UNLIMITED]] if self._books is None else self._books[side]
        if side == "BUY":
            return [level for level in levels if level[1] and level[0] <= limit]
        return [level for level in levels if level[1] and level[0] >= limit]


def slipped(side: Side, price: int, limit: int, slippage: Slippage, tick_size: int) -> int:
    """Return `price` made worse by the slippage, rounded away to a multiple of the tick size, within `limit`."""
    if slippage.kind == "ticks":
        worse = int(slippage.amount * tick_size)
    else:
        worse = int((Decimal(price) * slippage.amount / 10_000).to_integral_value())
    if side == "BUY":
        return min(-(-(price + worse) // tick_size) * tick_size, limit) if worse else price
    return max((price - worse) // tick_size * tick_size, limit, 1) if worse else price


def _levels(levels: Any) -> list[list[int]]:
    """Return [price, quantity] of the levels that have a quantity, best first."""
    filled = [
        [price_units(level.price), level.quantity] for level in levels if level.quantity and 0 < level.price < MAX_PRICE
    ]
    return [level for level in filled if level[0]]  # a price that is 0 at four decimals is no price


def _walk(levels: list[list[int]], quantity: int) -> list[Taken]:
    """Take `quantity` from `levels`, best first; what is taken is removed from them."""
    taken = []
    for level in levels:
        part = min(quantity, level[1])
        level[1] -= part
        quantity -= part
        taken.append(Taken(level[0], part))
        if not quantity:
            break
    return taken
