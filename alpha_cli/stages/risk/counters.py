"""What is counted: for an instrument, for an account or a strategy, and for an order. `exposure` keeps it up to date.

Amounts are in ledger units (a hundredth of a paisa), times in microseconds since 1970, quantities in units.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from msgspec import Struct, field

from alpha_cli.core.events import Product

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
        """The position if all buys are filled and no sells."""
        return self.quantity + self.buying

    @property
    def short(self) -> int:
        """The position if all sells are filled and no buys; negative when short."""
        return self.quantity - self.selling

    @property
    def worst(self) -> int:
        """The larger of the long and the short worst case, never negative."""
        return max(self.quantity + self.buying, self.selling - self.quantity)


class Valuation(Struct, gc=False):
    """A scope at market prices. gross: Σ worst × price; long, short: Σ of either side; equity: cash and positions."""

    gross: int
    long: int
    short: int
    equity: int


class ExposureScope(Struct):
    """Counters of a broker's account, of a strategy on it, or of an instrument on it. Stored as JSON in risk.db.

    open_value   of orders that may still be filled
    turnover     value filled today
    orders       entered today; `messages` counts modifications and cancels too, `trades` orders that traded
    sent         times of the messages of the last minute, oldest first
    cash         net cash flow since the start, charges included
    baseline     equity at the beginning of the day, or when a person lifted a stop
    peak         the highest equity since then
    rejects      consecutive rejections by the broker
    recent       instrument and side (`repeat_key`) -> time, quantity and price of recent orders there
    repeats      instrument and side (`repeat_key`) -> times and ids of orders that count towards a loop
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

    def mark(self, price_of: Callable[[int], int | None]) -> Valuation:
        """Set each holding's mark to its newest price and return the value at those.

        A holding adopted without any price enters `cash` at its first price.
        """
        gross = long = short = 0
        equity = self.cash
        for token, holding in self.holdings.items():
            mark, quantity = price_of(token), holding.quantity
            if mark is None:
                mark = holding.mark
            else:
                if not holding.mark and quantity:
                    self.cash -= quantity * mark
                    equity -= quantity * mark
                holding.mark = mark
            most, least = quantity + holding.buying, quantity - holding.selling
            gross += (most if most > -least else -least) * mark
            long += most * mark
            short += least * mark
            equity += quantity * mark
        return Valuation(gross, long, short, equity)

    def equity(self) -> int:
        """Return cash and positions at the marks known."""
        return self.cash + sum(holding.quantity * holding.mark for holding in self.holdings.values())

    def holding(self, token: int) -> Holding:
        """Return the holding of `token`, adding an empty one if there is none."""
        held = self.holdings.get(token)
        if held is None:
            held = self.holdings[token] = Holding()
        return held

    def drop_if_empty(self, token: int) -> None:
        """Remove the holding of `token` if nothing is held and no order is open."""
        held = self.holdings.get(token)
        if held is not None and not (held.quantity or held.buying or held.selling):
            del self.holdings[token]

    def count_message(self, now: int) -> None:
        """Count a message for the rate limit."""
        self.messages += 1
        sent = self.sent
        if sent:
            now = max(now, sent[-1])  # a stream may step back; the window does not
            if sent[0] <= now - MINUTE:
                del sent[: bisect_right(sent, now - MINUTE)]
        sent.append(now)

    def messages_since(self, moment: int) -> int:
        """Return the number of messages later than `moment`, which lies within the last minute."""
        return len(self.sent) - bisect_right(self.sent, moment)

    def start_day(self) -> None:
        """Reset the daily counts; the one-minute window and the peak of equity carry over."""
        self.turnover = self.orders = self.messages = self.trades = 0
        self.round_trips.clear()
        self.baseline = self.equity()

    def reset_losses(self) -> None:
        """Count losses from the current equity on."""
        self.baseline = self.equity()
        self.peak = self.baseline


class OpenOrder(
    Struct,
    gc=False,
    kw_only=True,
    rename={"requested_quantities": "asked", "reported_filled": "told", "from_yesterday": "yesterday"},
):
    """An order that was entered and may still change something. Stored as JSON in risk.db under the older names.

    price                 what a unit is counted at: its limit, or the last price, at worst
    limit                 the worst price it accepts; None: any
    total                 units that may be filled, the filled ones included
    requested_quantities  the original quantity, then that of each modification
    reported_filled       units the broker reported as filled
    assumed               units counted as filled, at `assumed_at`, before any report
    traded                whether any of it was filled, as far as is known
    ended                 terminal status received; late fills may still arrive
    reported              whether the broker has reported on it at all
    from_yesterday        kept from the day before only to match a late fill
    """

    order_id: str
    signal_id: str
    strategy_id: str
    broker: str
    token: int
    buy: bool
    product: Product
    total: int
    price: int
    limit: int | None
    entered: int
    requested_quantities: tuple[int, ...] = ()
    filled: int = 0
    assumed: int = 0
    assumed_at: int = 0
    reported_filled: int = 0
    traded: bool = False
    ended: bool = False
    reported: bool = False
    modifications: int = 0
    from_yesterday: bool = False

    @property
    def open_quantity(self) -> int:
        """Units that may still be filled and are not counted as filled."""
        return max(self.total - self.filled - self.assumed, 0)


ScopeKey = tuple[str, ...]


class ScopeTriple:
    """The scopes that an order counts in: the account, the strategy on it, the instrument on it."""

    __slots__ = ("keys", "scopes")

    def __init__(self, scopes: tuple[ExposureScope, ...], keys: tuple[ScopeKey, ...]) -> None:
        self.scopes = scopes
        self.keys = keys


def repeat_key(token: int, buy: bool) -> int:  # noqa: FBT001  (half of a key)
    """Return the key for repetitions on one side of an instrument: twice the token, plus one for buys."""
    return token * 2 + buy
