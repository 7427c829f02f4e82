"""The books of one broker account, in exact decimals; `engine` enters each fill, `store` keeps them.

Pure arithmetic, by average cost. A holding keeps its exact total cost rather than an average price,
so that nothing drifts. When a part of it is closed, the cost released is rounded once, to four
decimals, and that same figure leaves the holding and enters the realised P&L. So after every fill

    cash + Σ quantity × last == starting cash + Σ realised + Σ unrealised - charges

holds to the last digit, whatever the last prices are. A fill that would take a figure beyond what the
wire can say is refused. Prices that come later may still value a position at more than twelve digits;
a `portfolio` carries that exactly.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import NoReturn

from msgspec import Struct
from msgspec.structs import replace

from alpha_cli.errors import BadLine, InvariantBroken
from alpha_cli.events import Product, Side
from alpha_cli.wire import MAX_DIGITS, check_rupees

ZERO = Decimal(0)
#: Four decimals, the wire's finest amount of rupees.
FOUR_DECIMALS = Decimal("0.0001")

# Python's 28 digits would round a corrupted stream's largest amounts; these are enough for 10^30 fills.
_EXACT = Context(prec=80, rounding=ROUND_HALF_EVEN)

#: Units of one position, either way: the bound of `events.Quantity`.
MAX_QUANTITY = 10**12
_TOO_MUCH = Decimal(10) ** MAX_DIGITS

#: What is one position: an instrument token under a product.
Key = tuple[int, Product]


class Unbookable(Exception):
    """A fill that would make the books too large to be told; the message says which figure."""


class Holding(Struct):
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
        return _EXACT.multiply(self.quantity, self.last_price)

    @property
    def unrealised(self) -> Decimal:
        """Rupees that closing at the last price would realise: value - cost."""
        return _EXACT.subtract(self.value, self.cost)


class Account(Struct):
    """Cash and positions of one broker account; all amounts in rupees."""

    broker: str
    starting_cash: Decimal
    cash: Decimal
    realised: Decimal = ZERO
    charges: Decimal = ZERO
    positions: dict[Key, Holding] = {}

    @classmethod
    def opened(cls, broker: str, starting_cash: Decimal) -> Account:
        """A new account that holds nothing but cash."""
        return cls(broker, starting_cash, starting_cash)

    def apply(self, key: Key, side: Side, quantity: int, price: Decimal, charges: Decimal = ZERO) -> Holding:
        """Enter a fill of `quantity` (> 0) units at `price` rupees a unit. Returns what is held after it.

        Raises `Unbookable`, and changes nothing, if a figure would grow beyond what the wire can say.
        """
        try:
            check_rupees("price", price)
        except BadLine as error:
            raise Unbookable(str(error)) from None
        signed = quantity if side == "BUY" else -quantity
        holding = self.positions.get(key) or Holding(*key)
        with localcontext(_EXACT):
            after, won = _taken(holding, signed, price)
            cash = self.cash - signed * price - charges
            paid = self.charges + charges
            realised = self.realised + won
        if abs(after.quantity) > MAX_QUANTITY:
            raise Unbookable(f"the position would be {after.quantity} units; at most {MAX_QUANTITY} can be held")
        for what, amount in (
            ("cash", cash),
            ("charges", paid),
            ("realised profit", realised),
            ("the position's realised profit", after.realised),
            ("the position's cost", after.cost),
            ("the position's value", after.value),
            ("the position's unrealised profit", after.unrealised),
        ):
            _check_amount(what, amount)
        self.cash, self.charges, self.realised = cash, paid, realised
        self.positions[key] = after
        return after

    @property
    def unrealised(self) -> Decimal:
        """Rupees: Σ unrealised of the positions."""
        with localcontext(_EXACT):
            return sum((holding.unrealised for holding in self.positions.values()), ZERO)

    @property
    def equity(self) -> Decimal:
        """Rupees: cash + Σ quantity × last price."""
        with localcontext(_EXACT):
            return sum((holding.value for holding in self.positions.values()), self.cash)

    def check(self) -> None:
        """Raise `InvariantBroken` unless the books balance exactly."""
        with localcontext(_EXACT):
            realised = sum((holding.realised for holding in self.positions.values()), ZERO)
            before = self.starting_cash + realised + self.unrealised - self.charges
            if realised != self.realised:
                self._broken(f"its positions realised {realised}, it says {self.realised}")
            if self.equity != before:
                self._broken(f"equity is {self.equity}, starting cash + P&L - charges is {before}")
            for holding in self.positions.values():
                if not holding.quantity and holding.cost:
                    self._broken(f"instrument {holding.instrument_token} is flat, yet costs {holding.cost}")
                if abs(holding.quantity) > MAX_QUANTITY:
                    self._broken(f"instrument {holding.instrument_token} holds {holding.quantity} units")

    def _broken(self, what: str) -> NoReturn:
        raise InvariantBroken(f"account {self.broker}: {what}; stop trading and compare the fills with the positions")


def plain(amount: Decimal) -> Decimal:
    """The same amount without trailing zeros, and never with an exponent: 22150.05, 22150, 0."""
    short = _EXACT.plus(amount).normalize(_EXACT)
    exponent = short.as_tuple().exponent
    return short.quantize(Decimal(1), context=_EXACT) if isinstance(exponent, int) and exponent > 0 else short


def _check_amount(what: str, amount: Decimal) -> None:
    if -_TOO_MUCH < amount < _TOO_MUCH:  # and with few decimals, being made of prices that have four
        return
    raise Unbookable(
        f"{what} would be {plain(amount)} rupees; at most {MAX_DIGITS} digits before the point can be booked"
    )


def _taken(holding: Holding, signed: int, price: Decimal) -> tuple[Holding, Decimal]:
    """What `signed` more units at `price` make of `holding`, and the rupees that this realises."""
    held = holding.quantity
    if held == 0 or (held > 0) == (signed > 0):
        closing, released = 0, ZERO
    else:
        closing = max(signed, -held) if held > 0 else min(signed, -held)
        # Rounded once; what the holding gives up is what the P&L receives, so no paisa is made or lost.
        whole = closing == -held
        released = holding.cost if whole else (holding.cost * -closing / held).quantize(FOUR_DECIMALS)
    opening = signed - closing  # of one that flips, what goes beyond flat
    won = -closing * price - released
    after = replace(
        holding,
        quantity=held + signed,
        cost=holding.cost + opening * price - released,
        realised=holding.realised + won,
        last_price=price,
    )
    return after, won
