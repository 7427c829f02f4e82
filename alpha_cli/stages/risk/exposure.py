"""What was entered, what became of it, and what it is worth: exposure by account, by strategy and by instrument.

Exposure counts orders entered, not only those that were filled: until the broker says otherwise an order may fill
whole, or not at all, and both are counted (`Holding.long`, `Holding.short`). Profit and loss need no average prices:
equity is the money that flowed, plus what is held at the newest price.

Amounts are in ledger units (a hundredth of a paisa), times in microseconds since 1970, quantities in units.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from alpha_cli.core.events import Fill, Order, OrderUpdate, Portfolio
from alpha_cli.core.money import units
from alpha_cli.core.order_states import COMPLETE, OPEN, REJECTED, TRIGGER_PENDING, is_terminal
from alpha_cli.core.times import microseconds
from alpha_cli.core.wire import MAX_DIGITS
from alpha_cli.stages.risk.counters import DAY, Entry, Scope, ScopeKey, Trio, repeat_key
from alpha_cli.stages.risk.limits import PAPER

_ZERO = Decimal(0)

#: The exchange has the order, or had it: no streak of rejections goes on.
_TAKEN = frozenset({OPEN, TRIGGER_PENDING, COMPLETE})

#: Whose positions are that no strategy here has opened: what a broker's account begins with.
NOBODY = ""


class Books:
    """All scopes, and the orders that are open.

    assumes  the brokers for which a MARKET order counts as filled at once
    """

    def __init__(
        self,
        *,
        scopes: dict[ScopeKey, Scope] | None = None,
        entries: dict[str, Entry] | None = None,
    ) -> None:
        self.assumes: set[str] = set()
        self.scopes: dict[ScopeKey, Scope] = scopes or {}
        self.entries: dict[str, Entry] = entries or {}
        self._sides: dict[tuple[str, int, bool], dict[str, Entry]] = {}
        self._trios: dict[tuple[str, str, int], Trio] = {}
        self._changed_trios: set[Trio] = set()
        self.changed_scopes: set[ScopeKey] = set()
        self.changed_entries: set[str] = set()
        self.funds: dict[str, int] = {}  # broker -> what is available, by its own word and what flowed since
        self.stated: dict[str, int] = {}
        for entry in self.entries.values():
            self._sort(entry)

    # --- scopes ------------------------------------------------------------------------------

    def scope(self, *key: str) -> Scope:
        """That of (broker), (broker, strategy) or (broker, '', instrument); made when it is first asked for."""
        found = self.scopes.get(key)
        if found is None:
            found = self.scopes[key] = Scope()
        return found

    def open_orders(self, broker: str, token: int, *, buy: bool) -> dict[str, Entry]:
        """The orders on one side of an instrument that may still be filled, in the order they were entered."""
        return self._sides.get((broker, token, buy), _NONE)

    # --- what happens ------------------------------------------------------------------------

    def enter(self, order: Order, trio: Trio, now: int, *, price: int, limit: int | None, last: int | None) -> Entry:
        """An order goes out; `trio` are the scopes it counts in.

        price  what its units are counted at while they are open
        limit  the worst price it takes, or None
        last   the last price, at which it counts as filled where that is assumed
        """
        token, quantity, buy = order.instrument_token, order.quantity, order.side == "BUY"
        broker, strategy_id = trio.keys[1]  # and not the order's own copies of the names: a day has many orders
        entry = Entry(
            order.order_id, order.signal_id, strategy_id, broker, token, buy, order.product, quantity, price, limit,
            now, (quantity,),
        )  # fmt: skip
        self.entries[order.order_id] = entry
        assumed = order.order_type == "MARKET" and last is not None and broker in self.assumes
        account, strategy, _ = trio.scopes
        for scope in (account, strategy):
            scope.orders += 1
            scope.trades += assumed
            scope.said(now)
        if assumed:
            assert last is not None
            self.changed_entries.add(order.order_id)
            entry.assumed, entry.assumed_at, entry.traded = quantity, last, True
            self._book(trio, token, quantity if buy else -quantity, last)
        else:
            self._open(entry, quantity)
        return entry

    def message(self, broker: str, strategy_id: str, now: int) -> None:
        """A modification or a cancel goes out."""
        for key in ((broker,), (broker, strategy_id)):
            self.scope(*key).said(now)
            self.changed_scopes.add(key)

    def modified(self, entry: Entry, total: int, price: int, limit: int | None) -> None:
        """A modification goes out. It may be refused: what is open is counted as the larger of both."""
        before, value = entry.left, entry.price
        entry.modifications += 1
        entry.asked = (*entry.asked, total)
        entry.total = max(entry.total, total)
        entry.price = max(entry.price, price)
        if entry.limit is None or limit is None:
            entry.limit = None
        else:
            entry.limit = max(entry.limit, limit) if entry.buy else min(entry.limit, limit)
        self._open(entry, entry.left - before, revalued=before * (entry.price - value))

    def fill(self, fill: Fill) -> None:
        """A trade, of an order entered here or of another."""
        signed = fill.quantity if fill.side == "BUY" else -fill.quantity
        price, charges = units(fill.price), units(fill.charges.get("total", _ZERO))
        entry = self.entries.get(fill.order_id)
        if entry is None:
            trio = self.trio(fill.broker, fill.strategy_id, fill.instrument_token)
            self._book(trio, fill.instrument_token, signed, price, charges=charges)
            return
        before = entry.left
        assumed = min(fill.quantity, entry.assumed)
        entry.assumed -= assumed
        entry.filled += fill.quantity
        self._open(entry, entry.left - before)
        if assumed:
            self._reprice(entry, assumed if entry.buy else -assumed, price)
            signed -= assumed if entry.buy else -assumed
        self._book(self._trio(entry), entry.token, signed, price, charges=charges)
        self._traded(entry)
        self._taken(entry)
        if entry.ended and entry.filled >= entry.total:
            self._forget(entry)

    def update(self, update: OrderUpdate) -> Entry | None:
        """What the broker says of an order; the order, if it is one that was rejected now."""
        entry = self.entries.get(update.order_id)
        if entry is None:
            return None
        before = entry.left
        filled = max(update.filled_quantity, entry.filled, entry.told)
        if update.status == COMPLETE and not filled:  # without figures: all of it
            filled = entry.total
        entry.told = filled
        if entry.assumed > filled - entry.filled:
            self._take_back(entry, entry.assumed + entry.filled - filled)
        if is_terminal(update.status):
            entry.total, entry.ended = filled, True
        elif update.filled_quantity + update.pending_quantity == entry.asked[-1] not in entry.asked[:-1]:
            entry.total = max(entry.asked[-1], filled)  # a modification that made it smaller has arrived
        self._open(entry, entry.left - before)
        entry.reported = True
        self._trio(entry)
        if update.status == REJECTED and not filled:
            self.scope(entry.broker, entry.strategy_id).rejects += 1
        elif filled or update.status in _TAKEN:
            self._taken(entry)
        if entry.ended:
            if not filled:
                self._never_was(entry)
            if entry.filled >= entry.total:
                self._forget(entry)
        return entry if update.status == REJECTED else None

    def statement(self, portfolio: Portfolio, now: int) -> None:
        """The broker's own word on an account: its cash, and what it holds where nothing was known here.

        now  the time of the stream; 0 before it began
        """
        said = now if portfolio.timestamp is None else microseconds(portfolio.timestamp)
        if now and said > now + DAY:
            said = now  # nobody speaks from the future
        broker = portfolio.broker
        if self.stated.get(broker, -1) >= said and (portfolio.timestamp is not None or not now):
            return  # it was read before, or is older than what was
        self.stated[broker] = said
        known = self.scope(broker)
        if not (known.orders or known.holdings or known.cash):
            self._adopt(portfolio)
        cash = _rounded(portfolio.cash)
        if cash is None:
            self.funds.pop(broker, None)
        else:
            self.funds[broker] = cash

    def _adopt(self, portfolio: Portfolio) -> None:
        """Begin with what an account holds: positions of nobody here."""
        broker = portfolio.broker
        for position in portfolio.positions:
            if not position.quantity:
                continue
            price = _rounded(position.last_price or position.average_price) or 0  # 0: it is marked at its first tick
            trio = self.trio(broker, NOBODY, position.instrument_token)
            self._book(trio, position.instrument_token, position.quantity, price)
        for key, scope in self.scopes.items():
            if key[0] == broker:  # what was held before the day is no trade of it
                scope.turnover = 0
                scope.rearm()

    def new_day(self, closing: Callable[[int], int | None] = lambda _: None) -> None:
        """A trading day began: daily counts begin anew, and orders of validity DAY are gone.

        Not those of which a real broker was never heard: they may have been filled, and hold their instrument.
        `closing` tells the last price of the day before, where it is known.
        """
        for entry in list(self.entries.values()):
            if entry.assumed and not entry.yesterday and not entry.left:
                entry.yesterday = True
                self.changed_entries.add(entry.order_id)
            elif entry.reported or entry.assumed or entry.broker == PAPER:
                before = entry.left
                entry.total = max(entry.filled + entry.assumed, entry.told)  # what is said to be filled has yet to come
                entry.ended = True
                self._open(entry, entry.left - before)
                if not entry.left:
                    self._forget(entry)
        for key, scope in self.scopes.items():
            scope.worth(closing)
            scope.new_day()
            self.changed_scopes.add(key)

    # --- keeping count -----------------------------------------------------------------------

    def trio(self, broker: str, strategy_id: str, token: int) -> Trio:
        """The scopes that something counts in."""
        key = (broker, strategy_id, token)
        trio = self._trios.get(key)
        if trio is None:
            keys: tuple[ScopeKey, ...] = (broker,), (broker, strategy_id), (broker, "", str(token))
            trio = self._trios[key] = Trio(tuple(self.scope(*one) for one in keys), keys)
        return trio

    def _trio(self, entry: Entry) -> Trio:
        """Those of an order, which are about to change."""
        trio = self.trio(entry.broker, entry.strategy_id, entry.token)
        self._changed_trios.add(trio)
        return trio

    def settle(self) -> None:
        """Nobody wants to know what has changed."""
        self.changed_scopes.clear()
        self.changed_entries.clear()
        self._changed_trios.clear()

    def changes(self) -> tuple[list[ScopeKey], set[str]]:
        """The scopes, and the orders, that have changed since this was asked last."""
        scopes, entries = self.changed_scopes.union(*(trio.keys for trio in self._changed_trios)), self.changed_entries
        self.changed_scopes, self.changed_entries, self._changed_trios = set(), set(), set()
        return sorted(scopes), entries

    def _open(self, entry: Entry, quantity: int, revalued: int = 0) -> None:
        """So many units more (or fewer) of an order may still be filled."""
        self.changed_entries.add(entry.order_id)
        if not quantity and not revalued:
            return
        self._sort(entry)
        value = quantity * entry.price + revalued
        account, strategy, instrument = self._trio(entry).scopes
        for scope in (account, strategy):
            scope.open_value += value
            held = scope.holding(entry.token)
            held.mark = held.mark or entry.price
            if entry.buy:
                held.buying += quantity
            else:
                held.selling += quantity
            scope.tidy(entry.token)
        instrument.open_value += value

    def _take_back(self, entry: Entry, quantity: int) -> None:
        """So many units were counted as filled, and are not."""
        entry.assumed -= quantity
        signed = -quantity if entry.buy else quantity
        self._book(self._trio(entry), entry.token, signed, entry.assumed_at, undone=True)

    def _reprice(self, entry: Entry, signed: int, price: int) -> None:
        """What was counted as filled at one price was filled at another."""
        worse = signed * (price - entry.assumed_at)
        for scope in self._trio(entry).scopes:
            scope.turnover += abs(signed) * (price - entry.assumed_at)
            scope.cash -= worse
        if entry.broker in self.funds:
            self.funds[entry.broker] -= worse

    def _traded(self, entry: Entry) -> None:
        """The first fill of an order, known or assumed."""
        if not entry.traded:
            entry.traded = True
            for scope in self._trio(entry).scopes[:2]:
                scope.trades += 1

    def _book(self, trio: Trio, token: int, signed: int, price: int, *, charges: int = 0, undone: bool = False) -> None:
        """So many units changed hands, and the charges were paid."""
        flowed = signed * price
        value, paid = abs(flowed), flowed + charges
        if undone:
            value = -value
        self._changed_trios.add(trio)
        account, strategy, instrument = trio.scopes
        for scope in (account, strategy):
            scope.turnover += value
            scope.cash -= paid
            held = scope.holdings.get(token) or scope.holding(token)
            before = held.quantity
            held.quantity = after = before + signed
            held.mark = price
            if not after:
                scope.tidy(token)
        if before and before * after <= 0 and not undone:  # of the strategy
            strategy.round_trips[token] = strategy.round_trips.get(token, 0) + 1
        instrument.turnover += value
        instrument.cash -= paid
        broker = trio.keys[0][0]
        if broker in self.funds:
            self.funds[broker] -= paid

    def _taken(self, entry: Entry) -> None:
        """The broker took the order: no streak of rejections goes on."""
        entry.reported = True
        self.scope(entry.broker, entry.strategy_id).rejects = 0
        self.changed_scopes.add((entry.broker, entry.strategy_id))

    def _never_was(self, entry: Entry) -> None:
        """An order that ended unfilled is no repetition of anything, and no trade."""
        if entry.traded:
            entry.traded = False
            for scope in self._trio(entry).scopes[:2]:
                scope.trades = max(scope.trades - 1, 0)  # it may have been of another day
        key = (entry.broker, entry.strategy_id)
        self.changed_scopes.add(key)
        repeats = self.scope(*key).repeats
        name = repeat_key(entry.token, entry.buy)
        if name in repeats:
            repeats[name] = [one for one in repeats[name] if one[1] != entry.order_id]

    def _forget(self, entry: Entry) -> None:
        self.changed_entries.add(entry.order_id)
        del self.entries[entry.order_id]
        self._sort(entry)

    def _sort(self, entry: Entry) -> None:
        """Have the order among those of its side while there is something left of it."""
        key = (entry.broker, entry.token, entry.buy)
        side = self._sides.get(key)
        if entry.left and entry.order_id in self.entries:
            if side is None:
                side = self._sides[key] = {}
            side[entry.order_id] = entry
        elif side is not None:
            side.pop(entry.order_id, None)
            if not side:
                del self._sides[key]

    @property
    def any_open(self) -> bool:
        """Whether anything may still be filled anywhere."""
        return bool(self._sides)


_NONE: dict[str, Entry] = {}


def _rounded(amount: Decimal) -> int | None:
    """Rupees as ledger units, rounded to four decimals; None for what is no amount of money."""
    if not amount.is_finite() or amount.adjusted() >= MAX_DIGITS:
        return None
    return units(round(amount, 4))
