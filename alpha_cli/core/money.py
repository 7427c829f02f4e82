"""Money as whole numbers: ledger units of a hundredth of a paisa, and rupees as people write them.

Four decimals of a rupee are the finest amount on the wire, so every amount that arrives is exact in units.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import NewType

from alpha_cli.core.wire import rupees

#: An amount in ledger units, to keep it apart from rupees and from float prices.
LedgerUnits = NewType("LedgerUnits", int)

#: Ledger units in a rupee.
UNITS = 10_000

#: Below this many rupees a float holds four decimals, so that rounding finds the number that was written.
_EXACT_AS_FLOAT = 1e8

_EXACT = Context(prec=80)
_SCALE = Decimal(UNITS)
_divide = _EXACT.divide


def divided(amount: int, by: int) -> int:
    """Return `amount` / `by`, rounded half-even to a whole number."""
    if by < 0:
        amount, by = -amount, -by
    whole, rest = divmod(amount, by)
    twice = rest * 2
    return whole + (twice > by or (twice == by and whole % 2 == 1))


def units(amount: Decimal) -> LedgerUnits:
    """Return rupees as ledger units. Raise ValueError if `amount` has more than four decimals."""
    above, below = amount.as_integer_ratio()
    whole, rest = divmod(above * UNITS, below)
    if rest:
        raise ValueError(f"{amount} rupees have more than four decimals")
    return LedgerUnits(whole)


def price_units(price: float) -> LedgerUnits:
    """Return a price of market data in ledger units, to four decimals."""
    return LedgerUnits(round(price * UNITS)) if price < _EXACT_AS_FLOAT else units(rupees(price))


def in_rupees(amount: int) -> Decimal:
    """Return ledger units as rupees, without trailing zeros and never with an exponent: 22150.05, 22150, 0."""
    # An exact quotient has the exponent nearest to 0 that can hold it.
    return _divide(amount, _SCALE)


def plain(amount: Decimal) -> Decimal:
    """Return `amount` without trailing zeros, and never with an exponent: 22150.05, 22150, 0."""
    short = _EXACT.plus(amount).normalize(_EXACT)
    exponent = short.as_tuple().exponent
    return short.quantize(Decimal(1), context=_EXACT) if isinstance(exponent, int) and exponent > 0 else short
