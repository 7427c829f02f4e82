"""Positions of each strategy and cash of each broker account, from the fills that reach the runner.

The arithmetic is that of `paper`. A `portfolio` event is the broker's own statement of its cash.
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

#: Fills and finished orders remembered, to recognise a repeated one: those of a busy month.
_REMEMBERED = 200_000
_PRODUCTS: tuple[Product, ...] = get_args(Product)
_FINISHED = frozenset({"COMPLETE", "CANCELLED", "REJECTED"})


class FillsMissing(BaseException):
    """A strategy asked what it holds in a run that no fills reach.

    Not an `Exception`, so that a strategy does not catch it by accident and go on with a wrong answer.
    """


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


class PortfolioData(msgspec.Struct):
    """The data of a `Portfolio`."""

    cash: dict[str, Decimal] = {}
    accounts: dict[str, dict[str, Account]] = {}  # strategy id -> broker -> its share of that account
    orders: dict[str, OpenOrder] = {}
    fills: dict[str, None] = {}
    finished: dict[str, None] = {}  # orders
    stated: dict[str, datetime] = {}  # broker -> time of its newest statement
    reports: dict[str, None] = {}  # denials and order updates that were given to strategies


class Portfolio:
    """The portfolio of all strategies of one runner. `opening_cash` is in rupees by broker.

    fills_come  whether fills reach this run: by a side input, or because a fill, an order's report or a statement came
    """

    def __init__(self, opening_cash: Mapping[str, Decimal] | None = None, *, fills_come: bool = True) -> None:
        self.data = PortfolioData(cash=dict(opening_cash or {}))
        self.fills_come = fills_come

    def need_fills(self, what: str) -> None:
        """Raise `FillsMissing` if no fills reach this run, so that `what` is not known."""
        if not self.fills_come:
            raise FillsMissing(
                f"it asks for {what}, but no fills reach it: use alpha pipe --feedback, or --fills FILE with what "
                "paper writes, or --fills - if the fills stand in the input"
            )

    def is_new_report(self, key: str) -> bool:
        """Return whether a denial or an order's report is the first of its kind, and remember it."""
        if key in self.data.reports:
            return False
        _remember(self.data.reports, key)
        return True

    def on_fill(self, fill: Fill) -> bool:
        """Enter a fill. Return False if it was entered before, or is too large to be counted."""
        self.fills_come = True
        data = self.data
        if fill.fill_id in data.fills:
            return False
        account = self._account(fill.strategy_id, fill.broker)
        charges = {"total": units(fill.charges.get("total", ZERO))}
        before = account.cash
        try:
            account.fill((fill.instrument_token, fill.product), fill.side, fill.quantity, units(fill.price), charges)
        except Unbookable:
            return False
        _remember(data.fills, fill.fill_id)
        if fill.broker in data.cash:
            data.cash[fill.broker] += in_rupees(account.cash - before)
        return True

    def on_order(self, order: Order) -> None:
        """Enter an order that risk passed, unless it was entered before."""
        if order.order_id in self.data.orders or order.order_id in self.data.finished:
            return
        self.data.orders[order.order_id] = OpenOrder(
            order.order_id, order.strategy_id, order.broker, order.instrument_token, order.side, order.quantity,
            price=order.price,
        )  # fmt: skip

    def on_order_update(self, update: OrderUpdate) -> None:
        """Note the new status of an order; also of one never seen, if the update has enough fields."""
        self.fills_come = True
        orders = self.data.orders
        if update.order_id in self.data.finished:
            return
        if update.status in _FINISHED:
            orders.pop(update.order_id, None)
            _remember(self.data.finished, update.order_id)
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
        """Take the broker's statement of its cash, unless a newer one is known: a file may be read again."""
        self.fills_come = True
        known, stated = self.data.stated.get(statement.broker), statement.timestamp
        if not statement.cash.is_finite() or (known is not None and stated is not None and stated <= known):
            return
        self.data.cash[statement.broker] = statement.cash
        if stated is not None:
            self.data.stated[statement.broker] = stated

    def position(self, strategy_id: str, broker: str, token: int) -> int:
        """Return the units held by a strategy over all products, negative when short."""
        return sum(held.quantity for held in self._held(strategy_id, broker, token))

    def average_price(self, strategy_id: str, broker: str, token: int) -> Decimal | None:
        """Return the average cost of `position` in rupees, half-even to four decimals; None if it is 0."""
        quantity = self.position(strategy_id, broker, token)
        cost = sum(held.cost for held in self._held(strategy_id, broker, token))
        return in_rupees(divided(cost, quantity)) if quantity else None

    def open_orders(self, strategy_id: str, broker: str, token: int | None) -> tuple[OpenOrder, ...]:
        """Return the orders placed and not finished, oldest first; of all instruments if `token` is None."""
        return tuple(
            order
            for order in self.data.orders.values()
            if order.strategy_id == strategy_id and order.broker == broker and token in (None, order.instrument_token)
        )

    def cash(self, broker: str) -> Decimal | None:
        """Return the rupees in the account with `broker`; None if its opening cash is unknown."""
        return self.data.cash.get(broker)

    def realised(self, strategy_id: str, broker: str) -> Decimal:
        """Return the rupees realised by a strategy's fills, before charges."""
        account = self.data.accounts.get(strategy_id, {}).get(broker)
        return ZERO if account is None else in_rupees(account.realised)

    def snapshot(self) -> Any:
        """Return the state, JSON-able; amounts are text or ledger units, so that nothing is rounded."""
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
            for strategy, own in self.data.accounts.items()
        }
        data = self.data
        return msgspec.to_builtins(
            {
                "cash": data.cash,
                "accounts": accounts,
                "orders": list(data.orders.values()),
                "fills": list(data.fills),
                "finished": list(data.finished),
                "stated": data.stated,
                "reports": list(data.reports),
                "fills_come": self.fills_come,
            }
        )

    def restore(self, state: Any, *, whole: bool = False) -> None:
        """Continue from a `snapshot`; with `whole` it is one of this very run."""
        saved = msgspec.convert(state, _Saved, strict=False)
        self.fills_come |= whole and saved.fills_come
        self.data = PortfolioData(
            cash={**self.data.cash, **saved.cash},
            orders={order.order_id: order for order in saved.orders},
            fills=dict.fromkeys(saved.fills),
            finished=dict.fromkeys(saved.finished),
            stated=saved.stated,
            reports=dict.fromkeys(saved.reports),
        )
        for strategy, own in saved.accounts.items():
            for broker, kept in own.items():
                account = self._account(strategy, broker)
                account.cash, account.realised, account.charges = kept.cash, kept.realised, kept.charges
                account.positions = {(held.instrument_token, held.product): held for held in kept.positions}

    def _account(self, strategy_id: str, broker: str) -> Account:
        own = self.data.accounts.setdefault(strategy_id, {})
        if broker not in own:
            own[broker] = Account.opened(broker, ZERO)
        return own[broker]

    def _held(self, strategy_id: str, broker: str, token: int) -> list[Holding]:
        account = self.data.accounts.get(strategy_id, {}).get(broker)
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
    reports: list[str] = []
    fills_come: bool = False


def _remember(ids: dict[str, None], name: str) -> None:
    """Note an id, and forget the oldest if there are too many."""
    ids[name] = None
    if len(ids) > _REMEMBERED:
        del ids[next(iter(ids))]
