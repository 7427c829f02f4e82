"""The books of one broker account, in exact decimals; `engine` enters each fill, `store` keeps them.

Pure arithmetic, by average cost. A position keeps its exact total cost rather than an average price,
so that nothing drifts. When a part of it is closed, the cost released is rounded once, to four
decimals, and that same figure leaves the position and enters the realised P&L. So after every fill

    cash + Σ quantity × last == starting cash + Σ realised + Σ unrealised - charges

holds to the last digit, whatever the last prices are.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import NoReturn

from msgspec import Struct

from alpha_cli.errors import InvariantBroken
from alpha_cli.events import Product, Side

ZERO = Decimal(0)
#: Four decimals, the wire's finest amount of rupees.
FOUR_DECIMALS = Decimal("0.0001")

# Python's 28 digits would round a corrupted stream's largest amounts; these are enough for 10^30 fills.
_EXACT = Context(prec=80, rounding=ROUND_HALF_EVEN)

#: What is one position: an instrument token under a product.
Key = tuple[int, Product]


class Position(Struct):
    """What is held of one instrument under one product.

    quantity    units, negative when short
    cost        rupees paid for it, negative when short: exact, signed like `quantity`
    realised    rupees won or lost by closing, gross of charges
    last_price  rupees a unit: the newest price known
    """

    instrument_token: int
    product: Product
    quantity: int = 0
    cost: Decimal = ZERO
    realised: Decimal = ZERO
    last_price: Decimal = ZERO

    @property
    def average_price(self) -> Decimal:
        """Rupees a unit, rounded half-even to four decimals for showing; 0 when flat."""
        if not self.quantity:
            return ZERO
        with localcontext(_EXACT):
            return plain((self.cost / self.quantity).quantize(FOUR_DECIMALS))

    @property
    def value(self) -> Decimal:
        """Rupees at the last price: quantity × last price."""
        with localcontext(_EXACT):
            return self.quantity * self.last_price

    @property
    def unrealised(self) -> Decimal:
        """Rupees that closing at the last price would realise: value - cost."""
        with localcontext(_EXACT):
            return self.value - self.cost


class Account(Struct):
    """Cash and positions of one broker account; all amounts in rupees."""

    broker: str
    starting_cash: Decimal
    cash: Decimal
    realised: Decimal = ZERO
    charges: Decimal = ZERO
    positions: dict[Key, Position] = {}

    @classmethod
    def opened(cls, broker: str, starting_cash: Decimal) -> Account:
        """A new account that holds nothing but cash."""
        return cls(broker, starting_cash, starting_cash)

    def apply(self, key: Key, side: Side, quantity: int, price: Decimal, charges: Decimal = ZERO) -> Position:
        """Enter a fill of `quantity` (> 0) units at `price` rupees a unit. Returns the position it left."""
        position = self.positions.get(key)
        if position is None:
            position = self.positions[key] = Position(*key)
        signed = quantity if side == "BUY" else -quantity
        with localcontext(_EXACT):
            self.cash -= signed * price + charges
            self.charges += charges
            realised = _take(position, signed, price)
            position.realised += realised
            self.realised += realised
        position.last_price = price
        return position

    @property
    def unrealised(self) -> Decimal:
        """Rupees: Σ unrealised of the positions."""
        with localcontext(_EXACT):
            return sum((position.unrealised for position in self.positions.values()), ZERO)

    @property
    def equity(self) -> Decimal:
        """Rupees: cash + Σ quantity × last price."""
        with localcontext(_EXACT):
            return sum((position.value for position in self.positions.values()), self.cash)

    def check(self) -> None:
        """Raise `InvariantBroken` unless the books balance exactly."""
        with localcontext(_EXACT):
            realised = sum((position.realised for position in self.positions.values()), ZERO)
            before = self.starting_cash + realised + self.unrealised - self.charges
            if realised != self.realised:
                self._broken(f"its positions realised {realised}, it says {self.realised}")
            if self.equity != before:
                self._broken(f"equity is {self.equity}, starting cash + P&L - charges is {before}")
            for position in self.positions.values():
                if not position.quantity and position.cost:
                    self._broken(f"instrument {position.instrument_token} is flat, yet costs {position.cost}")

    def _broken(self, what: str) -> NoReturn:
        raise InvariantBroken(f"account {self.broker}: {what}; stop trading and compare the fills with the positions")


def plain(amount: Decimal) -> Decimal:
    """The same amount without trailing zeros, and never with an exponent: 22150.05, 22150, 0."""
    short = _EXACT.plus(amount).normalize(_EXACT)
    exponent = short.as_tuple().exponent
    return short.quantize(Decimal(1), context=_EXACT) if isinstance(exponent, int) and exponent > 0 else short


def _take(position: Position, signed: int, price: Decimal) -> Decimal:
    """Change `position` by `signed` units at `price`; the rupees that this realised."""
    held = position.quantity
    if held == 0 or (held > 0) == (signed > 0):
        position.quantity += signed
        position.cost += signed * price
        return ZERO
    closing = max(signed, -held) if held > 0 else min(signed, -held)
    # Rounded once; what the position gives up is what the P&L receives, so no paisa is made or lost.
    released = position.cost if closing == -held else (position.cost * -closing / held).quantize(FOUR_DECIMALS)
    opening = signed - closing  # not 0 when the position flips
    position.quantity = held + signed
    position.cost += opening * price - released
    return -closing * price - released
