"""Margin: what positions and orders block, and what is left. In ledger units.

    available = capital + realised P&L - charges - blocked by positions - blocked by orders
                + what open MIS and NRML positions have lost at the newest prices, if they have

An order blocks margin for the part of it that opens a position; closing needs none. The rates are those
of `config.Margins`. Unrealised profit is no margin, as at Kite.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

from alpha_cli.core.events import Product, Side
from alpha_cli.core.ledger import Account, Holding, Key
from alpha_cli.core.money import price_units
from alpha_cli.market.contracts import Contract
from alpha_cli.market.rules import worst_price
from alpha_cli.stages.paper.config import Margins
from alpha_cli.stages.paper.orders import PaperOrder
from alpha_cli.stream.last_ticks import LastTicks

_WHOLE = 10_000  # basis points


def margin_rate(contract: Contract, product: Product, side: Side, margins: Margins) -> int:
    """Return the basis points of its value that a position of this kind blocks."""
    if contract.kind == "future":
        return margins.index_future if contract.index else margins.stock_future
    if contract.kind == "option":
        if side == "BUY":
            return margins.option_buy
        return margins.index_option_sell if contract.index else margins.stock_option_sell
    return margins.equity_mis if product == "MIS" else margins.equity_cnc


def required_margin(
    contract: Contract, product: Product, side: Side, *, value: int, quantity: int, margins: Margins
) -> int:
    """Return what `quantity` units worth `value` block, rounded up. A short option blocks by its strike."""
    if contract.kind == "option" and side == "SELL":
        value = contract.strike * quantity
    return -(-value * margin_rate(contract, product, side, margins) // _WHOLE)


class Lack(NamedTuple):
    """The margin that an order needs, and the smaller amount that is available."""

    needs: int
    available: int


class _OpenOrders(Struct):
    """The open orders of one side of a position, in the order of their arrival.

    closing  units of all of them that close the position: the first to arrive close as much of it as there is
    """

    orders: dict[str, PaperOrder] = {}
    closing: int = 0


class MarginAccount:
    """The margin that the positions and open orders of `account` block, and what is available."""

    def __init__(self, account: Account, last_ticks: LastTicks, margins: Margins) -> None:
        self._account = account
        self._last_ticks = last_ticks
        self._margins = margins
        self._by_position: dict[Key, int] = {}
        self._open: dict[tuple[Key, Side], _OpenOrders] = {}
        self._of_positions = 0
        self._of_orders = 0

    @property
    def blocked(self) -> int:
        """Margin blocked by positions and orders."""
        return self._of_positions + self._of_orders

    @property
    def available(self) -> int:
        """Margin that a new order may block."""
        account = self._account
        blocked, loss = self._of_positions + self._of_orders, min(0, self._open_loss())
        return account.capital + account.realised - account.charged - blocked + loss

    # --- changes -----------------------------------------------------------------------------

    def position_changed(self, contract: Contract, holding: Holding) -> None:
        """Block what `holding` needs now, and reassign which open orders close it."""
        key = (holding.instrument_token, holding.product)
        side: Side = "BUY" if holding.quantity > 0 else "SELL"
        quantity, value = abs(holding.quantity), abs(holding.cost)
        now = 0
        if quantity:
            now = required_margin(
                contract, holding.product, side, value=value, quantity=quantity, margins=self._margins
            )
        self._of_positions += now - self._by_position.get(key, 0)
        if now:
            self._by_position[key] = now
        else:
            self._by_position.pop(key, None)
        for closing in ("BUY", "SELL"):
            self._reassign(contract, key, closing)

    def add(self, contract: Contract, order: PaperOrder) -> None:
        """Count `order` as open: it closes what earlier ones leave of the position, and blocks margin for the rest."""
        key, side = _place(order)
        group = self._open.setdefault((key, side), _OpenOrders())
        group.orders[order.order.order_id] = order
        closable = max(0, self._closable(key, side) - group.closing)
        self._assign(contract, group, order, min(_remaining(order), closable))

    def order_changed(self, contract: Contract, order: PaperOrder) -> None:
        """Recompute what an open order blocks after its price or remaining quantity changed."""
        key, side = _place(order)
        self._assign(contract, self._open[key, side], order, min(_remaining(order), order.closing))
        self._reassign(contract, key, side)

    def remove(self, contract: Contract, order: PaperOrder) -> None:
        """Release the margin of an order that has ended; later orders close what it would have closed."""
        key, side = _place(order)
        group = self._open[key, side]
        del group.orders[order.order.order_id]
        freed = order.closing
        group.closing -= freed
        self._of_orders -= order.blocked
        order.blocked = order.closing = 0
        if not group.orders:
            del self._open[key, side]
        elif freed:
            self._reassign(contract, key, side)

    # --- questions ---------------------------------------------------------------------------

    def orders(self, key: Key, side: Side) -> Iterable[PaperOrder]:
        """Return the open orders of one side of a position, in the order of their arrival."""
        group = self._open.get((key, side))
        return () if group is None else group.orders.values()

    def check(
        self, contract: Contract, order: PaperOrder, last: int, replaces: PaperOrder | None = None
    ) -> Lack | None:
        """Return what is lacking for the units of `order` that open a position; None if there is enough.

        last      price of the instrument, 0 if there is none
        replaces  the open order that `order` is a modification of: its margin becomes free
        """
        opens = self.opening_quantity(order, replaces)
        needs = self.order_margin(contract, order, opens, last) if opens else 0
        if not needs:
            return None
        available = self.available + (0 if replaces is None else replaces.blocked)
        return Lack(needs, available) if needs > available else None

    def order_margin(self, contract: Contract, order: PaperOrder, opening: int, last: int | None = None) -> int:
        """Return what `opening` units of `order` block, at the worst price that they may trade at.

        last  the newest price, if the caller knows it; an order with a trigger waits for that
        """
        asked = order.order
        reference: int | None = order.trigger or last
        if reference is None:
            tick = self._last_ticks.last(asked.instrument_token)
            reference = price_units(tick.last_price) if tick is not None else 0
        price = reference if order.limit is None else worst_price(asked.side, order.limit, reference)
        return required_margin(
            contract, asked.product, asked.side, value=price * opening, quantity=opening, margins=self._margins
        )

    def opening_quantity(self, order: PaperOrder, replaces: PaperOrder | None = None) -> int:
        """Return how many remaining units of `order` would open a position, after what open orders close.

        replaces  the open order that `order` is a modification of
        """
        key, side = _place(order)
        group = self._open.get((key, side))
        closed = 0 if group is None else group.closing - (0 if replaces is None else replaces.closing)
        return max(0, _remaining(order) - max(0, self._closable(key, side) - closed))

    def _closable(self, key: Key, side: Side) -> int:
        """Return the units on `side` that close the position."""
        holding = self._account.positions.get(key)
        held = 0 if holding is None else holding.quantity
        return max(0, -held if side == "BUY" else held)

    def _reassign(self, contract: Contract, key: Key, side: Side) -> None:
        """Decide again which orders close the position and which open one: the first to arrive close it."""
        group = self._open.get((key, side))
        if group is None:
            return
        free = self._closable(key, side)
        for order in group.orders.values():
            if _remaining(order) and not free and not order.closing:
                return  # later orders close nothing either
            closing = min(_remaining(order), free)
            free -= closing
            if closing != order.closing:
                self._assign(contract, group, order, closing)

    def _assign(self, contract: Contract, group: _OpenOrders, order: PaperOrder, closing: int) -> None:
        """Let `order` close that many units, and block what the rest needs."""
        group.closing += closing - order.closing
        order.closing = closing
        self._of_orders -= order.blocked
        order.blocked = self.order_margin(contract, order, _remaining(order) - closing)
        self._of_orders += order.blocked

    def _open_loss(self) -> int:
        """Return Σ unrealised P&L of the MIS and NRML positions, at the newest prices."""
        total = 0
        for key in self._by_position:
            holding = self._account.positions[key]
            if holding.product == "CNC":
                continue
            tick = self._last_ticks.last(holding.instrument_token)
            price = holding.last_price if tick is None else price_units(tick.last_price)
            total += holding.quantity * price - holding.cost
        return total


def _remaining(order: PaperOrder) -> int:
    return order.order.quantity - order.filled_quantity


def _place(order: PaperOrder) -> tuple[Key, Side]:
    asked = order.order
    return (asked.instrument_token, asked.product), asked.side
