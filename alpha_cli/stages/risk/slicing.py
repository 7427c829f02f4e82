"""An order above the freeze quantity is cut into orders that the exchange takes, together exactly as large."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from alpha_cli.core.errors import InvariantBroken
from alpha_cli.core.events import Order
from alpha_cli.core.ids import derive_id


def slice_sizes(quantity: int, freeze: int | None, lot: int) -> list[int]:
    """Units of each slice: all but the last as large as they may be, whole lots, in sum `quantity`."""
    largest = quantity if freeze is None else freeze // lot * lot
    if quantity <= largest:
        return [quantity]
    if largest <= 0:
        raise InvariantBroken(f"the freeze quantity {freeze} is less than one lot of {lot}; check freeze.json")
    full, rest = divmod(quantity, largest)
    return [largest] * full + [rest] * bool(rest)


def sliced(order: Order, freeze: int | None, lot: int) -> Iterator[Order]:
    """`order`, or its slices, which name it as their parent. Their ids depend on it and on their place alone."""
    sizes = slice_sizes(order.quantity, freeze, lot)
    if len(sizes) == 1:
        yield order
        return
    if sum(sizes) != order.quantity:
        raise InvariantBroken(f"order {order.order_id}: slices of {sum(sizes)} units for {order.quantity}")
    for place, quantity in enumerate(sizes, 1):
        changes: dict[str, Any] = {
            "order_id": derive_id("slice", order.order_id, place),
            "parent_order_id": order.order_id,
            "quantity": quantity,
        }
        yield replace(order, **changes)
