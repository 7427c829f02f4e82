"""What is counted: of an instrument, of an account or a strategy, and of an order. `books` keeps it up to date.

Amounts are in ledger units (a hundredth of a paisa), times in microseconds since 1970, quantities in units.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from msgspec import Struct, field

#: Microseconds.
SECOND, MINUTE, DAY = 1_000_000, 60_000_000, 86_400_000_000


class Holding(Struct, gc=False):
    """Units of one instrument: held, and in open orders to buy and to sell. `mark` is the last price known."""

    quantity: int = 0
    buying: int = 0
    selling: int = 0
    mark: int = 0

    @property
    def long(self) -> int:
        """The position if all that buys is filled and nothing that sells."""
        return self.quantity + self.buying

    @property
    def short(self) -> int:
        """The position if all that sells is filled and nothing that buys; negative when short."""
        return self.quantity - self.selling

    @property
    def worst(self) -> int:
        """Units on the side where most could be, never negative."""
        return max(self.quantity + self.buying, self.selling - self.quantity)


class Worth(Struct, gc=False):
    """What a scope is worth now. gross: Σ worst × price; long, short: Σ of either side; equity: cash and positions."""

    gross: int
    long: int
    short: int
    equity: int


class Scope(Struct):
    """What is counted of a broker's account, of a strategy on it, or of an instrument on it.

    open_value   of orders that may still be filled
    turnover     of what was filled today
    orders       entered today; `messages` counts modifications and cancels too, `trades` orders that traded
    sent         times of the messages of the last minute, oldest first
    cash         that flowed in (or out, if negative) since the beginning, charges included
    baseline     equity at the beginning of the day, or where a person let trading go on
    peak         the highest equity seen since then
    rejects      by the broker, in a row
    recent       instrument and side (`repeat_key`) -> time, quantity and price of what was ordered there lately
    repeats      instrument and side (`repeat_key`) -> times and ids of orders that count as a strategy that loops
    round_trips  instrument -> times today that the position went from flat back to flat
    """

    holdings: dict[int, Holding] = field(default_factory=dict)
    open_value: int = 0
    turnover: int = 0
    orders: int = 0
    messages: int = 0
    trades: int = 0
    sent: list[int] = field(default_factory=list)
    cash: int = 0
    baseline: int = 0
    peak: int = 0
    rejects: int = 0
    recent: dict[int, list[tuple[int, int | None, int | None]]] = field(default_factory=dict)
    repeats: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    round_trips: dict[int, int] = field(default_factory=dict)

    def worth(self, price_of: Callable[[int], int | None]) -> Worth:
        """Marked at the newest price of each instrument."""
        gross = long = short = 0
        equity = self.cash
        for token, holding in self.holdings.items():
            mark, quantity = price_of(token), holding.quantity
            if mark is None:
                mark = holding.mark
            else:
                if not holding.mark and quantity:  # at first nobody said what it was worth
                    self.cash -= quantity * mark
                    equity -= quantity * mark
                holding.mark = mark
            most, least = quantity + holding.buying, quantity - holding.selling
            gross += (most if most > -least else -least) * mark
            long += most * mark
            short += least * mark
            equity += quantity * mark
        return Worth(gross, long, short, equity)

    def equity(self) -> int:
        """As of the marks known."""
        return self.cash + sum(holding.quantity * holding.mark for holding in self.holdings.values())

    def holding(self, token: int) -> Holding:
        """That of `token`, kept from now on."""
        held = self.holdings.get(token)
        if held is None:
            held = self.holdings[token] = Holding()
        return held

    def tidy(self, token: int) -> None:
        """Forget the holding of `token` if there is nothing in it."""
        held = self.holdings.get(token)
        if held is not None and not (held.quantity or held.buying or held.selling):
            del self.holdings[token]

    def said(self, now: int) -> None:
        """A message was sent."""
        self.messages += 1
        sent = self.sent
        if sent:
            now = max(now, sent[-1])  # a stream may step back; the window does not
            if sent[0] <= now - MINUTE:
                del sent[: bisect_right(sent, now - MINUTE)]
        sent.append(now)

    def said_since(self, moment: int) -> int:
        """Messages later than `moment`, which lies within the last minute."""
        return len(self.sent) - bisect_right(self.sent, moment)

    def new_day(self) -> None:
        """Begin the daily counts anew; the window of a minute needs no day, and the peak of equity outlives it."""
        self.turnover = self.orders = self.messages = self.trades = 0
        self.round_trips.clear()
        self.baseline = self.equity()

    def rearm(self) -> None:
        """From here on losses count anew."""
        self.baseline = self.equity()
        self.peak = self.baseline


class Entry(Struct, gc=False):
    """An order that was entered and may still change something.

    price        what a unit is counted at: its limit, or the last price, at worst
    limit        the worst price it takes; None: any
    total        units that may be filled, the filled ones included
    asked        quantities that it was to have: the first, and what modifications made of it
    told         units that the broker says are filled
    assumed      units counted as filled, at `assumed_at`, although nobody said so
    traded       whether any of it was filled, as far as is known
    ended        whether the broker has said its last word on it, though perhaps not its last fill
    reported     whether the broker has been heard of it
    yesterday    whether it is kept from the day before only to know its fill, should that come late
    """

    order_id: str
    signal_id: str
    strategy_id: str
    broker: str
    token: int
    buy: bool
    product: str
    total: int
    price: int
    limit: int | None
    entered: int
    asked: tuple[int, ...] = ()
    filled: int = 0
    assumed: int = 0
    assumed_at: int = 0
    told: int = 0
    traded: bool = False
    ended: bool = False
    reported: bool = False
    modifications: int = 0
    yesterday: bool = False

    @property
    def left(self) -> int:
        """Units that may still be filled and are not counted as filled."""
        return max(self.total - self.filled - self.assumed, 0)


ScopeKey = tuple[str, ...]


class Trio:
    """The scopes that an order counts in: the account, the strategy on it, the instrument on it."""

    __slots__ = ("keys", "scopes")

    def __init__(self, scopes: tuple[Scope, ...], keys: tuple[ScopeKey, ...]) -> None:
        self.scopes = scopes
        self.keys = keys


def repeat_key(token: int, buy: bool) -> int:  # noqa: FBT001  (half of a key)
    """How repetitions on one side of an instrument are kept together: twice the token, and one more for buys."""
    return token * 2 + buy
