"""The exposure ledger: what was entered, what became of it, and its value, by account, strategy and instrument.

Exposure counts orders entered, not only those filled: until the broker reports otherwise an order may fill completely
or not at all, and both are counted (`Holding.long`, `Holding.short`). Profit and loss need no average prices: equity
is the cash flow plus what is held at the newest price.

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
from alpha_cli.stages.risk.counters import DAY, ExposureScope, OpenOrder, ScopeKey, ScopeTriple, repeat_key
from alpha_cli.stages.risk.limits import PAPER

_ZERO = Decimal(0)

#: The exchange accepted the order: this ends a streak of rejections.
_ACCEPTED = frozenset({OPEN, TRIGGER_PENDING, COMPLETE})

#: Pseudo strategy id for positions adopted from the broker's account.
ADOPTED = ""


class ExposureLedger:
    """All scopes, and the open orders.

    assumes  brokers for which a MARKET order counts as filled at once
    funds    broker -> available funds: the broker's own figure plus the cash flow since
    stated   broker -> time of that figure
    """

    def __init__(
        self,
        *,
        scopes: dict[ScopeKey, ExposureScope] | None = None,
        orders: dict[str, OpenOrder] | None = None,
    ) -> None:
        self.assumes: set[str] = set()
        self.scopes: dict[ScopeKey, ExposureScope] = scopes or {}
        self.orders: dict[str, OpenOrder] = orders or {}
        self.funds: dict[str, int] = {}
        self.stated: dict[str, int] = {}
        self.changed_scopes: set[ScopeKey] = set()
        self.changed_orders: set[str] = set()
        self._changed_triples: set[ScopeTriple] = set()
        self._triples: dict[tuple[str, str, int], ScopeTriple] = {}
        self._sides: dict[tuple[str, int, bool], dict[str, OpenOrder]] = {}
        for order in self.orders.values():
            self._index(order)

    # --- scopes and open orders --------------------------------------------------------------

    def scope(self, *key: str) -> ExposureScope:
        """Return the scope of (broker), (broker, strategy) or (broker, '', instrument); an empty one if it is new."""
        found = self.scopes.get(key)
        if found is None:
            found = self.scopes[key] = ExposureScope()
        return found

    def triple(self, broker: str, strategy_id: str, token: int) -> ScopeTriple:
        """Return the three scopes that an order counts in."""
        key = (broker, strategy_id, token)
        triple = self._triples.get(key)
        if triple is None:
            keys: tuple[ScopeKey, ...] = (broker,), (broker, strategy_id), (broker, "", str(token))
            triple = self._triples[key] = ScopeTriple(tuple(self.scope(*scope_key) for scope_key in keys), keys)
        return triple

    def open_on_side(self, broker: str, token: int, *, buy: bool) -> dict[str, OpenOrder]:
        """Return the orders on one side of an instrument that may still be filled, in the order they were entered."""
        return self._sides.get((broker, token, buy), _NONE)

    @property
    def any_open(self) -> bool:
        """Whether any order may still be filled."""
        return bool(self._sides)

    # --- events ------------------------------------------------------------------------------

    def enter(
        self, order: Order, triple: ScopeTriple, now: int, *, price: int, limit: int | None, last: int | None
    ) -> OpenOrder:
        """Enter a new order; `triple` are the scopes it counts in.

        price  what its units are counted at while they are open
        limit  the worst price it accepts, or None
        last   the last price, at which it counts as filled if the broker's MARKET orders are assumed to be
        """
        token, quantity, buy = order.instrument_token, order.quantity, order.side == "BUY"
        broker, strategy_id = triple.keys[1]  # shared strings: copies for each order would cost memory over a day
        entered = OpenOrder(
            order_id=order.order_id,
            signal_id=order.signal_id,
            strategy_id=strategy_id,
            broker=broker,
            token=token,
            buy=buy,
            product=order.product,
            total=quantity,
            price=price,
            limit=limit,
            entered=now,
            requested_quantities=(quantity,),
        )
        self.orders[order.order_id] = entered
        assumed = order.order_type == "MARKET" and last is not None and broker in self.assumes
        account, strategy, _ = triple.scopes
        for scope in (account, strategy):
            scope.orders += 1
            scope.trades += assumed
            scope.count_message(now)
        if assumed:
            assert last is not None
            self.changed_orders.add(order.order_id)
            entered.assumed, entered.assumed_at, entered.traded = quantity, last, True
            self._book_trade(triple, token, quantity if buy else -quantity, last)
        else:
            self._change_open_quantity(entered, quantity)
        return entered

    def count_message(self, broker: str, strategy_id: str, now: int) -> None:
        """Count a modification or a cancel for the rate limit."""
        for key in ((broker,), (broker, strategy_id)):
            self.scope(*key).count_message(now)
            self.changed_scopes.add(key)

    def modify(self, order: OpenOrder, total: int, price: int, limit: int | None) -> None:
        """Enter a modification. The broker may refuse it, so the larger of both quantities and prices counts."""
        before, value = order.open_quantity, order.price
        order.modifications += 1
        order.requested_quantities = (*order.requested_quantities, total)
        order.total = max(order.total, total)
        order.price = max(order.price, price)
        if order.limit is None or limit is None:
            order.limit = None
        else:
            order.limit = max(order.limit, limit) if order.buy else min(order.limit, limit)
        self._change_open_quantity(order, order.open_quantity - before, revalued=before * (order.price - value))

    def fill(self, fill: Fill) -> None:
        """Book a trade, of an order entered here or of another."""
        signed = fill.quantity if fill.side == "BUY" else -fill.quantity
        price, charges = units(fill.price), units(fill.charges.get("total", _ZERO))
        order = self.orders.get(fill.order_id)
        if order is None:
            triple = self.triple(fill.broker, fill.strategy_id, fill.instrument_token)
            self._book_trade(triple, fill.instrument_token, signed, price, charges=charges)
            return
        before = order.open_quantity
        assumed = min(fill.quantity, order.assumed)
        order.assumed -= assumed
        order.filled += fill.quantity
        self._change_open_quantity(order, order.open_quantity - before)
        if assumed:
            self._reprice(order, assumed if order.buy else -assumed, price)
            signed -= assumed if order.buy else -assumed
        self._book_trade(self._changing_triple(order), order.token, signed, price, charges=charges)
        self._count_trade(order)
        self._mark_accepted(order)
        if order.ended and order.filled >= order.total:
            self._remove(order)

    def update(self, update: OrderUpdate) -> None:
        """Enter the broker's report on an order; ignore one on an order that is not open here."""
        order = self.orders.get(update.order_id)
        if order is None:
            return
        before = order.open_quantity
        filled = max(update.filled_quantity, order.filled, order.reported_filled)
        if update.status == COMPLETE and not filled:  # a report without figures: the whole order
            filled = order.total
        order.reported_filled = filled
        if order.assumed > filled - order.filled:
            self._undo_assumed(order, order.assumed + order.filled - filled)
        if is_terminal(update.status):
            order.total, order.ended = filled, True
        elif _reports_last_modification(order, update):
            order.total = max(order.requested_quantities[-1], filled)
        self._change_open_quantity(order, order.open_quantity - before)
        order.reported = True
        self._changing_triple(order)
        if update.status == REJECTED and not filled:
            self.scope(order.broker, order.strategy_id).rejects += 1
        elif filled or update.status in _ACCEPTED:
            self._mark_accepted(order)
        if order.ended:
            self._close(order, filled)

    def apply_portfolio(self, portfolio: Portfolio, now: int) -> None:
        """Take over the broker's own figures for an account: its cash, and its positions if none are known here.

        now  stream time; 0 before the first tick
        """
        stated = now if portfolio.timestamp is None else microseconds(portfolio.timestamp)
        if now and stated > now + DAY:
            stated = now  # a wrong clock must not block later figures
        broker = portfolio.broker
        if self.stated.get(broker, -1) >= stated and (portfolio.timestamp is not None or not now):
            return  # read before, or older than the figure known
        self.stated[broker] = stated
        known = self.scope(broker)
        if not (known.orders or known.holdings or known.cash):
            self._adopt(portfolio)
        cash = _rounded(portfolio.cash)
        if cash is None:
            self.funds.pop(broker, None)
        else:
            self.funds[broker] = cash

    def _adopt(self, portfolio: Portfolio) -> None:
        """Start with the positions of the broker's account, which belong to no strategy here."""
        broker = portfolio.broker
        for position in portfolio.positions:
            if not position.quantity:
                continue
            price = _rounded(position.last_price or position.average_price) or 0  # 0: it is marked at its first tick
            triple = self.triple(broker, ADOPTED, position.instrument_token)
            self._book_trade(triple, position.instrument_token, position.quantity, price)
        for key, scope in self.scopes.items():
            if key[0] == broker:  # holdings from before the day are no trades of it
                scope.turnover = 0
                scope.reset_losses()

    def start_day(self, closing_price: Callable[[int], int | None] = lambda _: None) -> None:
        """Start a trading day: reset the daily counts and end orders of validity DAY.

        Orders without any report from a real broker stay: they may have been filled, and block their instrument.
        `closing_price` returns the last price of the day before, where it is known.
        """
        for order in list(self.orders.values()):
            if order.assumed and not order.from_yesterday and not order.open_quantity:
                order.from_yesterday = True
                self.changed_orders.add(order.order_id)
            elif order.reported or order.assumed or order.broker == PAPER:
                before = order.open_quantity
                # fills that were reported may still have to come
                order.total = max(order.filled + order.assumed, order.reported_filled)
                order.ended = True
                self._change_open_quantity(order, order.open_quantity - before)
                if not order.open_quantity:
                    self._remove(order)
        for key, scope in self.scopes.items():
            scope.mark(closing_price)
            scope.start_day()
            self.changed_scopes.add(key)

    # --- change log --------------------------------------------------------------------------

    def discard_changes(self) -> None:
        """Discard the change log."""
        self.changed_scopes.clear()
        self.changed_orders.clear()
        self._changed_triples.clear()

    def take_changes(self) -> tuple[list[ScopeKey], set[str]]:
        """Return the scopes and the orders changed since the last call, and clear the log."""
        scopes = self.changed_scopes.union(*(triple.keys for triple in self._changed_triples))
        orders = self.changed_orders
        self.changed_scopes, self.changed_orders, self._changed_triples = set(), set(), set()
        return sorted(scopes), orders

    def _changing_triple(self, order: OpenOrder) -> ScopeTriple:
        """Return the scopes of an order, and log them as changed."""
        triple = self.triple(order.broker, order.strategy_id, order.token)
        self._changed_triples.add(triple)
        return triple

    # --- counting ----------------------------------------------------------------------------

    def _change_open_quantity(self, order: OpenOrder, quantity: int, revalued: int = 0) -> None:
        """Add `quantity` (negative: subtract) to the open units of an order, and `revalued` to their value."""
        self.changed_orders.add(order.order_id)
        if not quantity and not revalued:
            return
        self._index(order)
        value = quantity * order.price + revalued
        account, strategy, instrument = self._changing_triple(order).scopes
        for scope in (account, strategy):
            scope.open_value += value
            held = scope.holding(order.token)
            held.mark = held.mark or order.price
            if order.buy:
                held.buying += quantity
            else:
                held.selling += quantity
            scope.drop_if_empty(order.token)
        instrument.open_value += value

    def _undo_assumed(self, order: OpenOrder, quantity: int) -> None:
        """Reverse assumed fills of `quantity` units that did not happen."""
        order.assumed -= quantity
        signed = -quantity if order.buy else quantity
        self._book_trade(self._changing_triple(order), order.token, signed, order.assumed_at, undone=True)

    def _reprice(self, order: OpenOrder, signed: int, price: int) -> None:
        """Correct an assumed fill to the price at which it really happened."""
        worse = signed * (price - order.assumed_at)
        for scope in self._changing_triple(order).scopes:
            scope.turnover += abs(signed) * (price - order.assumed_at)
            scope.cash -= worse
        if order.broker in self.funds:
            self.funds[order.broker] -= worse

    def _count_trade(self, order: OpenOrder) -> None:
        """Count an order as traded at its first fill, known or assumed."""
        if not order.traded:
            order.traded = True
            for scope in self._changing_triple(order).scopes[:2]:
                scope.trades += 1

    def _book_trade(
        self, triple: ScopeTriple, token: int, signed: int, price: int, *, charges: int = 0, undone: bool = False
    ) -> None:
        """Book `signed` units (negative: sold) at `price`, with charges; `undone` reverses an assumed fill."""
        flowed = signed * price
        value, paid = -abs(flowed) if undone else abs(flowed), flowed + charges
        self._changed_triples.add(triple)
        account, strategy, instrument = triple.scopes
        for scope in (account, strategy):
            scope.turnover += value
            scope.cash -= paid
            held = scope.holdings.get(token) or scope.holding(token)
            before = held.quantity
            held.quantity = after = before + signed
            held.mark = price
            if not after:
                scope.drop_if_empty(token)
        if before and before * after <= 0 and not undone:  # of the strategy, the last of both
            strategy.round_trips[token] = strategy.round_trips.get(token, 0) + 1
        instrument.turnover += value
        instrument.cash -= paid
        broker = triple.keys[0][0]
        if broker in self.funds:
            self.funds[broker] -= paid

    def _mark_accepted(self, order: OpenOrder) -> None:
        """Note that the broker accepted the order, which ends a streak of rejections."""
        order.reported = True
        self.scope(order.broker, order.strategy_id).rejects = 0
        self.changed_scopes.add((order.broker, order.strategy_id))

    def _undo_unfilled(self, order: OpenOrder) -> None:
        """Undo the counters of an order that ended without a fill."""
        if order.traded:
            order.traded = False
            for scope in self._changing_triple(order).scopes[:2]:
                scope.trades = max(scope.trades - 1, 0)  # it may have been counted on another day
        key = (order.broker, order.strategy_id)
        self.changed_scopes.add(key)
        repeats = self.scope(*key).repeats
        name = repeat_key(order.token, order.buy)
        if name in repeats:
            repeats[name] = [repeat for repeat in repeats[name] if repeat[1] != order.order_id]

    def _close(self, order: OpenOrder, filled: int) -> None:
        """Close an order with a terminal status; keep it while reported fills have not arrived."""
        if not filled:
            self._undo_unfilled(order)
        if order.filled >= order.total:
            self._remove(order)

    def _remove(self, order: OpenOrder) -> None:
        """Remove an order about which nothing more can come."""
        self.changed_orders.add(order.order_id)
        del self.orders[order.order_id]
        self._index(order)

    def _index(self, order: OpenOrder) -> None:
        """List the order among those of its side while any of it is open."""
        key = (order.broker, order.token, order.buy)
        side = self._sides.get(key)
        if order.open_quantity and order.order_id in self.orders:
            if side is None:
                side = self._sides[key] = {}
            side[order.order_id] = order
        elif side is not None:
            side.pop(order.order_id, None)
            if not side:
                del self._sides[key]


_NONE: dict[str, OpenOrder] = {}


def _reports_last_modification(order: OpenOrder, update: OrderUpdate) -> bool:
    """Return whether the reported size can only be that of the last modification, so it has been accepted."""
    size = update.filled_quantity + update.pending_quantity
    *earlier, last = order.requested_quantities
    is_last, was_asked_before = size == last, last in earlier
    return is_last and not was_asked_before


def _rounded(amount: Decimal) -> int | None:
    """Return rupees as ledger units, rounded to four decimals; None for what is no amount of money."""
    if not amount.is_finite() or amount.adjusted() >= MAX_DIGITS:
        return None
    return units(round(amount, 4))
