"""Margin: what positions and orders block, and what is left. In ledger units.

    available = capital + realised P&L - charges - blocked by positions - blocked by orders
                + what open MIS and NRML positions have lost at the newest prices, if they have

An order blocks margin for the part of it that opens a position; closing needs none. The shares are those
of `config.Margins`. Unrealised profit is no margin, as at Kite.
"""

from __future__ import annotations

from collections.abc import Iterable

from alpha_cli.events import Product, Side
from alpha_cli.market import Market
from alpha_cli.paper.config import Margins
from alpha_cli.paper.ledger import Account, Holding, Key
from alpha_cli.paper.matching import price_units
from alpha_cli.paper.orders import PaperOrder
from alpha_cli.venue import Contract

_WHOLE = 10_000  # basis points


def share(contract: Contract, product: Product, side: Side, margins: Margins) -> int:
    """Basis points of the value that a position of this kind blocks."""
    if contract.kind == "future":
        return margins.index_future if contract.index else margins.stock_future
    if contract.kind == "option":
        if side == "BUY":
            return margins.option_buy
        return margins.index_option_sell if contract.index else margins.stock_option_sell
    return margins.equity_mis if product == "MIS" else margins.equity_cnc


def needed(contract: Contract, product: Product, side: Side, *, value: int, quantity: int, margins: Margins) -> int:
    """What `quantity` units worth `value` block, rounded up. A short option blocks by its strike."""
    if contract.kind == "option" and side == "SELL":
        value = contract.strike * quantity
    return -(-value * share(contract, product, side, margins) // _WHOLE)


class Funds:
    """What `account` has blocked and what it has left."""

    def __init__(self, account: Account, market: Market, margins: Margins) -> None:
        self._account = account
        self._market = market
        self._margins = margins
        self._by_position: dict[Key, int] = {}
        self._of_positions = 0
        self._of_orders = 0

    @property
    def blocked(self) -> int:
        """By positions and orders."""
        return self._of_positions + self._of_orders

    @property
    def available(self) -> int:
        """What a new order may block."""
        account = self._account
        return account.capital + account.realised - account.charged - self.blocked + min(0, self._open_loss())

    def position_changed(self, contract: Contract, holding: Holding) -> None:
        """`holding` is not what it was: block what it needs now."""
        key = (holding.instrument_token, holding.product)
        side: Side = "BUY" if holding.quantity > 0 else "SELL"
        quantity = abs(holding.quantity)
        now = (
            needed(contract, holding.product, side, value=abs(holding.cost), quantity=quantity, margins=self._margins)
            if quantity
            else 0
        )
        self._of_positions += now - self._by_position.get(key, 0)
        if now:
            self._by_position[key] = now
        else:
            self._by_position.pop(key, None)

    def release(self, order: PaperOrder) -> None:
        """`order` blocks nothing any more."""
        self._of_orders -= order.blocked
        order.blocked = order.opening = 0

    def assign(self, contract: Contract, key: Key, orders: Iterable[PaperOrder]) -> None:
        """Say again which of `orders`, all those that work under `key`, close the position and which open one.

        The first to come close it; what is beyond it opens one, and blocks.
        """
        holding = self._account.positions.get(key)
        held = holding.quantity if holding is not None else 0
        closes = {"BUY": max(0, -held), "SELL": max(0, held)}
        for order in orders:
            side, left = order.order.side, order.left
            closing = min(left, closes[side])
            closes[side] -= closing
            self.release(order)
            order.opening = left - closing
            order.blocked = self.for_order(contract, order, order.opening)
            self._of_orders += order.blocked

    def for_order(self, contract: Contract, order: PaperOrder, opening: int) -> int:
        """What `opening` units of `order` block: at its limit or trigger, or at the newest price."""
        price = order.limit or order.trigger
        if price is None:
            tick = self._market.last(order.order.instrument_token)
            price = price_units(tick.last_price) if tick is not None else 0
        asked = order.order
        return needed(
            contract, asked.product, asked.side, value=price * opening, quantity=opening, margins=self._margins
        )

    def opens(self, key: Key, side: Side, quantity: int, others: Iterable[PaperOrder]) -> int:
        """How many of `quantity` more units on `side` would open a position, after what `others` close."""
        holding = self._account.positions.get(key)
        held = holding.quantity if holding is not None else 0
        closes = max(0, -held if side == "BUY" else held)
        closes -= sum(order.left - order.opening for order in others if order.order.side == side)
        return max(0, quantity - max(0, closes))

    def _open_loss(self) -> int:
        """Σ unrealised of positions that are marked to the market, at the newest prices."""
        total = 0
        for key in self._by_position:
            holding = self._account.positions[key]
            if holding.product == "CNC":
                continue
            tick = self._market.last(holding.instrument_token)
            price = holding.last_price if tick is None else price_units(tick.last_price)
            total += holding.quantity * price - holding.cost
        return total
