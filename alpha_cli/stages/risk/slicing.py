"""Cut an order above the freeze quantity into orders that the exchange accepts, together exactly as large."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from alpha_cli.core.errors import InvariantBroken
from alpha_cli.core.events import Order
from alpha_cli.core.ids import derive_id


def slice_sizes(quantity: int, freeze: int | None, lot: int) -> list[int]:
    """Return the units of each slice: all but the last as large as allowed, whole lots, summing to `quantity`."""
    largest = quantity if freeze is None else freeze // lot * lot
    if quantity <= largest:
        return [quantity]
    if largest <= 0:
        raise InvariantBroken(f"the freeze quantity {freeze} is less than one lot of {lot}; check freeze.json")
    full, rest = divmod(quantity, largest)
    sizes = [largest] * full
    if rest:
        sizes.append(rest)
    return sizes


def sliced(order: Order, freeze: int | None, lot: int) -> Iterator[Order]:
    """Yield `order`, or slices that name it as parent. Their ids depend only on its id and on their position."""
    sizes = slice_sizes(order.quantity, freeze, lot)
    if len(sizes) == 1:
        yield order
        return
    if sum(sizes) != order.quantity:
        raise InvariantBroken(f"order {order.order_id}: slices of {sum(sizes)} units for {order.quantity}")
    for position, quantity in enumerate(sizes, 1):
        changes: dict[str, Any] = {
            "order_id": derive_id("slice", order.order_id, position),
            "parent_order_id": order.order_id,
            "quantity": quantity,
        }
        yield replace(order, **changes)
