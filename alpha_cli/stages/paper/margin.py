"""Margin: what positions and orders block, and what is left. In ledger units.

    available = capital + realised P&L - charges - blocked by positions - blocked by orders
                + what open MIS and NRML positions have lost at the newest prices, if they have

An order blocks margin for the part of it that opens a position; closing needs none. The shares are those
of `config.Margins`. Unrealised profit is no margin, as at Kite.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from alpha_cli.core.events import Product, Side
from alpha_cli.core.ledger import Account, Holding, Key
from alpha_cli.core.money import price_units
from alpha_cli.market.contracts import Contract
from alpha_cli.stages.paper.config import Margins
from alpha_cli.stages.paper.orders import PaperOrder
from alpha_cli.stream.last_ticks import LastTicks

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


class _Queue(Struct):
    """The open orders of one side of a position, in the order of their arrival.

    closing  units of them all that close it: of the first as many as there are, of those after them none
    """

    orders: dict[str, PaperOrder] = {}
    closing: int = 0


class Funds:
    """What `account` has blocked and what it has left."""

    def __init__(self, account: Account, market: LastTicks, margins: Margins) -> None:
        self._account = account
        self._market = market
        self._margins = margins
        self._by_position: dict[Key, int] = {}
        self._queues: dict[tuple[Key, Side], _Queue] = {}
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

        for closing in ("BUY", "SELL"):
            self._share_out(contract, key, closing)

    def orders(self, key: Key, side: Side) -> Iterable[PaperOrder]:
        """The open orders of one side of a position, in the order of their arrival."""
        queue = self._queues.get((key, side))
        return () if queue is None else queue.orders.values()

    def add(self, contract: Contract, order: PaperOrder) -> None:
        """`order` is open now: it closes what those before it leave of the position, and blocks for the rest."""
        key, side = _place(order)
        queue = self._queues.setdefault((key, side), _Queue())
        queue.orders[order.order.order_id] = order
        self._claim(contract, queue, order, min(order.left, max(0, self._closable(key, side) - queue.closing)))

    def changed(self, contract: Contract, order: PaperOrder) -> None:
        """What is left of an open order is not what it was, or its price."""
        key, side = _place(order)
        self._claim(contract, self._queues[key, side], order, min(order.left, order.closing))
        self._share_out(contract, key, side)

    def remove(self, contract: Contract, order: PaperOrder) -> None:
        """`order` has ended: it blocks nothing any more, and others close what it would have closed."""
        key, side = _place(order)
        queue = self._queues[key, side]
        del queue.orders[order.order.order_id]
        freed = order.closing
        queue.closing -= freed
        self._of_orders -= order.blocked
        order.blocked = order.closing = 0
        if not queue.orders:
            del self._queues[key, side]
        elif freed:
            self._share_out(contract, key, side)

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

    def opens(self, key: Key, side: Side, quantity: int, instead_of: PaperOrder | None = None) -> int:
        """How many of `quantity` units on `side` would open a position, after what the other open orders close."""
        queue = self._queues.get((key, side))
        closed = 0 if queue is None else queue.closing - (0 if instead_of is None else instead_of.closing)
        return max(0, quantity - max(0, self._closable(key, side) - closed))

    def _closable(self, key: Key, side: Side) -> int:
        """Units on `side` that close the position."""
        holding = self._account.positions.get(key)
        held = 0 if holding is None else holding.quantity
        return max(0, -held if side == "BUY" else held)

    def _share_out(self, contract: Contract, key: Key, side: Side) -> None:
        """Say again which orders close the position and which open one: the first to come close it."""
        queue = self._queues.get((key, side))
        if queue is None:
            return
        free = self._closable(key, side)
        for order in queue.orders.values():
            if order.left and not free and not order.closing:
                return  # nor do those that came after it
            closing = min(order.left, free)
            free -= closing
            if closing != order.closing:
                self._claim(contract, queue, order, closing)

    def _claim(self, contract: Contract, queue: _Queue, order: PaperOrder, closing: int) -> None:
        """Let `order` close that many units, and block what the rest needs."""
        queue.closing += closing - order.closing
        order.closing = closing
        self._of_orders -= order.blocked
        order.blocked = self.for_order(contract, order, order.left - closing)
        self._of_orders += order.blocked

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


def _place(order: PaperOrder) -> tuple[Key, Side]:
    asked = order.order
    return (asked.instrument_token, asked.product), asked.side
