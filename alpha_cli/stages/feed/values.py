"""The values of a tick's fields, for the normaliser.

Each function takes a raw value, number or text, and returns a value that the wire allows. All raise
`ValueError` for an invalid value, and `Negative` for a quantity below zero: then the whole record is corrupt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from alpha_cli.core.errors import BadLine
from alpha_cli.core.events import Depth, Level, Ohlc
from alpha_cli.core.text import printable

FLAT_OHLC = ("open", "high", "low", "close")
_MAX_QUANTITY = (1 << 63) - 1
_MAX_PRICE = 1e12
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


class Negative(Exception):
    """A quantity below zero: the whole record is corrupt."""


def number(value: Any) -> float:
    """Return a finite number, also from text. Raises `ValueError` for anything else."""
    if type(value) is str and ("_" in value or not value.isascii()):
        raise ValueError("not a number")
    if type(value) is bool:
        raise ValueError("not a number")
    try:
        result = float(value)
    except (TypeError, OverflowError):
        raise ValueError("not a number") from None
    if result - result != 0:  # infinity and NaN
        raise ValueError("not finite")
    return result


def whole(value: Any) -> int:
    """Return a whole number, also from text or 25.0. Raises `ValueError` for anything else."""
    if type(value) is int:
        return value
    if type(value) is str and "_" not in value and value.isascii():
        try:
            return int(value)
        except ValueError:
            pass  # perhaps 25.0
    result = number(value)
    if not result.is_integer():
        raise ValueError("not whole")
    return int(result)


def last_price(value: Any) -> float:
    """Return the last price. Raises `BadLine`: there is no tick without one."""
    if value is None:
        raise BadLine("no last_price, ltp or price")
    try:
        price = round(number(value), 4)
    except ValueError:
        price = 0.0
    if not 0 < price < _MAX_PRICE:
        raise BadLine(f"last_price {shown(value)} is not a price")
    return price


def quantity(value: Any) -> int:
    """Return units of the instrument. Raises `Negative` below zero, `ValueError` if it is no quantity."""
    units = whole(value)
    if units < 0:
        raise Negative
    if units > _MAX_QUANTITY:
        raise ValueError("too large")
    return units


def _amount(value: Any) -> float:
    """Return a price that may be zero, which means "none"."""
    amount = round(number(value), 4)
    if not 0 <= amount < _MAX_PRICE:
        raise ValueError("not a price")
    return amount


def ohlc(value: Any) -> Ohlc:
    """Return the day so far. All zeros mean "not traded yet" and are kept, as `close` is still of use.

    `close` is the previous day's, so it may lie outside today's range.
    """
    opened, high, low, close = (_amount(value[name]) for name in FLAT_OHLC)
    if not low <= opened <= high:
        raise ValueError("impossible")
    return Ohlc(opened, high, low, close)


def _depth(value: Any) -> Depth:
    return Depth(_levels(value["buy"]), _levels(value["sell"]))


def _levels(value: Any) -> tuple[Level, ...]:
    if not isinstance(value, list):
        raise ValueError("not a list")
    return tuple(
        Level(_amount(level["price"]), _level_quantity(level["quantity"]), _level_quantity(level.get("orders") or 0))
        for level in value
    )


def _level_quantity(value: Any) -> int:
    try:
        return quantity(value)
    except Negative:
        raise ValueError("negative") from None


def _mode(value: Any) -> str:
    if value not in ("ltp", "quote", "full"):
        raise ValueError("no mode")
    return str(value)


def _symbol(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not text")
    return value.strip()


def shown(value: Any) -> str:
    """Return `value` for a message: short, and safe on a terminal."""
    return printable(repr(value), 40)


OPTIONAL: dict[str, Callable[[Any], Any]] = {
    "symbol": _symbol,
    "average_traded_price": _amount,
    "ohlc": ohlc,
    "depth": _depth,
    "mode": _mode,
    "tradable": lambda value: _TRUTH[str(value).strip().lower()],
    "change": number,
}
DROPPED_AS = {"ohlc": "ohlc_dropped", "depth": "depth_dropped"}
