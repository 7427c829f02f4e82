"""What a strategy returns, `SignalResult`, and the earlier ticks that it is given, `History`."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NoReturn, get_args

import msgspec

from alpha_cli.core.events import OrderType, Product, SignalType
from alpha_cli.core.wire import MAX_DIGITS, rupees

MAX_QUANTITY = 10**12  # units, as on the wire

_SIGNAL_TYPES = frozenset(get_args(SignalType))
_ORDER_TYPES = frozenset(get_args(OrderType))
_PRODUCTS = frozenset(get_args(Product))


class SignalResult(msgspec.Struct, frozen=True):
    """A strategy's answer to a tick. Immutable; checked when it is made.

    quantity is in units, price in rupees (kept as an exact decimal), confidence a fraction (above 1 it is
    taken as percent). HOLD means "seen, no trade". Raise `ValueError` for any other value.
    """

    signal_type: SignalType
    quantity: int | None = None
    price: Decimal | float | None = None
    confidence: float | None = None
    order_type: OrderType = "MARKET"
    product: Product = "MIS"
    reasoning: str | None = None
    metadata: dict[str, Any] = {}

    def __post_init__(self) -> None:
        _check_one_of("signal_type", self.signal_type, _SIGNAL_TYPES)
        _check_one_of("order_type", self.order_type, _ORDER_TYPES)
        _check_one_of("product", self.product, _PRODUCTS)
        if self.quantity is not None and (type(self.quantity) is not int or not 0 < self.quantity <= MAX_QUANTITY):
            raise ValueError(f"quantity {self.quantity!r} is not a whole number from 1 to {MAX_QUANTITY}")
        if self.reasoning is not None and type(self.reasoning) is not str:
            raise ValueError(f"reasoning {self.reasoning!r} is not text")
        if type(self.metadata) is not dict:
            raise ValueError(f"metadata {self.metadata!r} is not a dict")
        if self.price is not None:
            if isinstance(self.price, bool) or not 0 < self.price < 10**MAX_DIGITS:
                raise ValueError(f"price {self.price!r} is not a positive number of rupees")
            exact = self.price if isinstance(self.price, Decimal) else float(self.price)  # numpy has floats of its own
            msgspec.structs.force_setattr(self, "price", rupees(exact))
        if self.confidence is not None:
            confidence = float(self.confidence)
            if not 0 <= confidence <= 100:
                raise ValueError(f"confidence {self.confidence!r} is not within 0..1 or 0..100")
            msgspec.structs.force_setattr(self, "confidence", confidence / 100 if confidence > 1 else confidence)


class History(list[Any]):
    """The earlier ticks (or bars) of one instrument, oldest first; `history[-20:]` is a plain list of 20.

    It is read-only for strategies. It is a `list` whose methods that change it raise, because reading must be as
    fast as from a list: a wrapper class makes each access about twice as slow. The runner changes it by the
    methods of `list` itself, as in `list.append(history, tick)`.
    """

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("history is read-only; copy it first: list(history)")

    def __copy__(self) -> list[Any]:
        return list(self)

    append = extend = insert = pop = remove = clear = reverse = sort = _refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse


def _check_one_of(field: str, value: object, allowed: frozenset[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{field} {value!r} is not one of {', '.join(sorted(allowed))}")
