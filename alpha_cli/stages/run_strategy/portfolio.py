"""What strategies hold, by the fills that come back to them: positions of each, cash of each broker account.

The same arithmetic as the books of `paper`. A `portfolio` event is the broker's own word on its cash.
Fills that arrive twice, in the input and by `--fills`, count once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, get_args

import msgspec

from alpha_cli.core.events import Fill, Order, OrderUpdate, Portfolio as Statement, Product, Side
from alpha_cli.core.ledger import ZERO, Account, Holding, Unbookable
from alpha_cli.core.money import divided, in_rupees, units

#: Fills, and finished orders, remembered so as to know one that comes again: a busy month's.
_REMEMBERED = 200_000
_PRODUCTS: tuple[Product, ...] = get_args(Product)
_FINISHED = frozenset({"COMPLETE", "CANCELLED", "REJECTED"})


class OpenOrder(msgspec.Struct, frozen=True):
    """An order of a strategy's own that is not finished. Prices in rupees, quantities in units."""

    order_id: str
    strategy_id: str
    broker: str
    instrument_token: int
    side: Side
    quantity: int
    filled_quantity: int = 0
    price: Decimal | None = None


class Books(msgspec.Struct):
    """All that `Portfolio` knows, in a form that can be written down."""

    cash: dict[str, Decimal] = {}
    accounts: dict[str, dict[str, Account]] = {}  # strategy id -> broker -> its share of that account
    orders: dict[str, OpenOrder] = {}
    fills: dict[str, None] = {}
    finished: dict[str, None] = {}  # orders
    stated: dict[str, datetime] = {}  # broker -> time of its newest word on cash


class Portfolio:
    """The books of all strategies of one runner. `opening_cash` is in rupees by broker."""

    def __init__(self, opening_cash: Mapping[str, Decimal] | None = None) -> None:
        self.books = Books(cash=dict(opening_cash or {}))

    def on_fill(self, fill: Fill) -> bool:
        """Enter a fill. False if it was entered before, or is too large for the books."""
        books = self.books
        if fill.fill_id in books.fills:
            return False
        account = self._account(fill.strategy_id, fill.broker)
        charges = {"total": units(fill.charges.get("total", ZERO))}
        before = account.cash
        try:
            account.fill((fill.instrument_token, fill.product), fill.side, fill.quantity, units(fill.price), charges)
        except Unbookable:
            return False
        _remember(books.fills, fill.fill_id)
        if fill.broker in books.cash:
            books.cash[fill.broker] += in_rupees(account.cash - before)
        return True

    def on_order(self, order: Order) -> None:
        """Enter an order that risk let pass, unless it was entered before."""
        if order.order_id in self.books.orders or order.order_id in self.books.finished:
            return
        self.books.orders[order.order_id] = OpenOrder(
            order.order_id, order.strategy_id, order.broker, order.instrument_token, order.side, order.quantity,
            price=order.price,
        )  # fmt: skip

    def on_order_update(self, update: OrderUpdate) -> None:
        """Note what became of an order; of one never seen, if the update says enough."""
        orders = self.books.orders
        if update.order_id in self.books.finished:
            return
        if update.status in _FINISHED:
            orders.pop(update.order_id, None)
            _remember(self.books.finished, update.order_id)
            return
        known = orders.get(update.order_id)
        quantity = update.filled_quantity + update.pending_quantity
        if known is not None:
            orders[update.order_id] = msgspec.structs.replace(
                known, filled_quantity=update.filled_quantity, quantity=quantity or known.quantity
            )
        elif update.strategy_id is not None and update.instrument_token is not None and update.side is not None:
            orders[update.order_id] = OpenOrder(
                update.order_id, update.strategy_id, update.broker, update.instrument_token, update.side, quantity,
                update.filled_quantity,
            )  # fmt: skip

    def on_portfolio(self, statement: Statement) -> None:
        """Take the broker's word on its cash, unless a newer one is known: a file may be read again."""
        known, said = self.books.stated.get(statement.broker), statement.timestamp
        if not statement.cash.is_finite() or (known is not None and said is not None and said <= known):
            return
        self.books.cash[statement.broker] = statement.cash
        if said is not None:
            self.books.stated[statement.broker] = said

    def position(self, strategy_id: str, broker: str, token: int) -> int:
        """Units held by a strategy, negative when short, over all products."""
        return sum(held.quantity for held in self._held(strategy_id, broker, token))

    def average_price(self, strategy_id: str, broker: str, token: int) -> Decimal | None:
        """Rupees a unit of what `position` counts, rounded half-even to four decimals; None when that is nothing."""
        quantity = self.position(strategy_id, broker, token)
        cost = sum(held.cost for held in self._held(strategy_id, broker, token))
        return in_rupees(divided(cost, quantity)) if quantity else None

    def open_orders(self, strategy_id: str, broker: str, token: int | None) -> tuple[OpenOrder, ...]:
        """Orders entered and not finished, oldest first; of all instruments if `token` is None."""
        return tuple(
            order
            for order in self.books.orders.values()
            if order.strategy_id == strategy_id and order.broker == broker and token in (None, order.instrument_token)
        )

    def cash(self, broker: str) -> Decimal | None:
        """Rupees in the account with `broker`; None if nobody said what it began with."""
        return self.books.cash.get(broker)

    def realised(self, strategy_id: str, broker: str) -> Decimal:
        """Rupees realised by a strategy's fills, gross of charges."""
        account = self.books.accounts.get(strategy_id, {}).get(broker)
        return ZERO if account is None else in_rupees(account.realised)

    def snapshot(self) -> Any:
        """JSON-able; amounts are text or ledger units, so that nothing is rounded."""
        accounts = {
            strategy: {
                broker: {
                    "cash": account.cash,
                    "realised": account.realised,
                    "charges": account.charges,
                    "positions": list(account.positions.values()),
                }
                for broker, account in own.items()
            }
            for strategy, own in self.books.accounts.items()
        }
        books = self.books
        return msgspec.to_builtins(
            {
                "cash": books.cash,
                "accounts": accounts,
                "orders": list(books.orders.values()),
                "fills": list(books.fills),
                "finished": list(books.finished),
                "stated": books.stated,
            }
        )

    def restore(self, state: Any) -> None:
        """Go on from a `snapshot`."""
        saved = msgspec.convert(state, _Saved, strict=False)
        self.books = Books(
            cash={**self.books.cash, **saved.cash},
            orders={order.order_id: order for order in saved.orders},
            fills=dict.fromkeys(saved.fills),
            finished=dict.fromkeys(saved.finished),
            stated=saved.stated,
        )
        for strategy, own in saved.accounts.items():
            for broker, kept in own.items():
                account = self._account(strategy, broker)
                account.cash, account.realised, account.charges = kept.cash, kept.realised, kept.charges
                account.positions = {(held.instrument_token, held.product): held for held in kept.positions}

    def _account(self, strategy_id: str, broker: str) -> Account:
        own = self.books.accounts.setdefault(strategy_id, {})
        if broker not in own:
            own[broker] = Account.opened(broker, ZERO)
        return own[broker]

    def _held(self, strategy_id: str, broker: str, token: int) -> list[Holding]:
        account = self.books.accounts.get(strategy_id, {}).get(broker)
        if account is None:
            return []
        return [account.positions[token, product] for product in _PRODUCTS if (token, product) in account.positions]


class _SavedAccount(msgspec.Struct):
    """In ledger units."""

    cash: int
    realised: int
    charges: dict[str, int]
    positions: list[Holding]


class _Saved(msgspec.Struct):
    cash: dict[str, Decimal]
    accounts: dict[str, dict[str, _SavedAccount]]
    orders: list[OpenOrder]
    fills: list[str]
    finished: list[str] = []
    stated: dict[str, datetime] = {}


def _remember(ids: dict[str, None], name: str) -> None:
    """Note an id, and forget the oldest where there are too many."""
    ids[name] = None
    if len(ids) > _REMEMBERED:
        del ids[next(iter(ids))]
