"""The books of one broker account: double entry, in whole numbers; `engine` enters, `store` keeps them.

Amounts are integers of a hundredth of a paisa (`UNITS` to a rupee), the finest amount on the wire, so
nothing is ever rounded but one thing: when a part of a position is closed, the cost it releases is
rounded half-even to a unit, and that same figure leaves the position and enters the realised P&L.

Every event is a `Booking`: postings that add up to zero, so that after any number of them

    cash + Σ cost of positions + Σ charges == capital + realised P&L

and with any last prices, equity == capital + realised + unrealised - charges. P&L is by average cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple, NoReturn

from msgspec import Struct

from alpha_cli.core.errors import InvariantBroken
from alpha_cli.core.events import Product, Side
from alpha_cli.core.money import UNITS, divided, in_rupees, units
from alpha_cli.core.wire import MAX_DIGITS

ZERO = Decimal(0)

#: Units of one position, either way: the bound of `events.Quantity`.
MAX_QUANTITY = 10**12
_TOO_MUCH = 10**MAX_DIGITS * UNITS

#: What is one position: an instrument token under a product.
Key = tuple[int, Product]

CASH = "cash"
CAPITAL = "capital"
REALISED = "realised"
POSITIONS = "positions"
CHARGES = "charges:"  # and the charge's name

#: (account, amount): what comes into an account, in ledger units; what goes out is negative. Where the
#: account tells what the trader owns or spent that is a debit, where it tells whence it came a credit.
Posting = tuple[str, int]


class Unbookable(Exception):
    """A fill that would make the books too large to be told; the message says which figure."""


class Holding(Struct):
    """What is held of one instrument under one product.

    quantity    units, negative when short
    cost        paid for it, negative when short, in ledger units
    realised    won or lost by closing, gross of charges, in ledger units
    last_price  of a unit, in ledger units: the newest known
    day         the last Indian day it was traded, as a proleptic ordinal; 0 if never
    delivered   the last such day on which a sale took shares from the demat account
    overnight   what was held when that day began: of CNC, what a sale takes from the demat account
    """

    instrument_token: int
    product: Product
    quantity: int = 0
    cost: int = 0
    realised: int = 0
    last_price: int = 0
    day: int = 0
    overnight: int = 0
    delivered: int = 0

    @property
    def average_price(self) -> Decimal:
        """Rupees a unit, rounded half-even to four decimals for showing; 0 when flat."""
        return in_rupees(divided(self.cost, self.quantity)) if self.quantity else ZERO

    @property
    def value(self) -> int:
        """Quantity × last price, in ledger units."""
        return self.quantity * self.last_price

    @property
    def unrealised(self) -> int:
        """What closing at the last price would realise, in ledger units."""
        return self.quantity * self.last_price - self.cost


class Booking(NamedTuple):
    """One event in the books: postings that add up to zero, all of the position of `key` if there is one."""

    postings: tuple[Posting, ...]
    key: Key | None = None


class Account(Struct):
    """Cash, positions, charges and profit of one broker account, in ledger units.

    capital    put in less taken out: what the account began with and deposits
    charges    by name
    """

    broker: str
    capital: int
    cash: int
    realised: int = 0
    charges: dict[str, int] = {}
    positions: dict[Key, Holding] = {}

    @classmethod
    def opened(cls, broker: str, starting_cash: Decimal) -> Account:
        """A new account that holds nothing but `starting_cash` rupees."""
        amount = units(starting_cash)
        return cls(broker, amount, amount)

    def fill(
        self, key: Key, side: Side, quantity: int, price: int, charges: Mapping[str, int] | None = None
    ) -> Booking:
        """Enter a trade of `quantity` (> 0) units at `price` ledger units each, and what it cost by charge.

        Raises `Unbookable`, and changes nothing, if a figure would grow beyond what the wire can say.
        """
        signed = quantity if side == "BUY" else -quantity
        holding = self.positions.get(key)
        if holding is None:
            holding = Holding(*key)
        held, cost = holding.quantity, holding.cost
        closing = 0 if held == 0 or (held > 0) == (signed > 0) else min(quantity, abs(held))
        if not closing:
            released = won = 0
            opened = signed * price
        else:
            # Rounded once; what the position gives up is what the P&L receives, so nothing is made or lost.
            released = cost if closing == abs(held) else divided(cost * closing, abs(held))
            won = (closing if held > 0 else -closing) * price - released
            opened = (quantity - closing) * (price if signed > 0 else -price)  # of one that flips, beyond flat
        flow = -signed * price
        paid = sum(charges.values()) if charges else 0
        self._check_figures(
            holding,
            held + signed,
            cost=cost + opened - released,
            realised=holding.realised + won,
            flow=flow - paid,
            price=price,
        )
        holding.quantity = held + signed
        holding.cost = cost + opened - released
        holding.realised += won
        holding.last_price = price
        self.positions[key] = holding
        self.cash += flow - paid
        self.realised += won
        postings: list[Posting] = [(CASH, flow - paid), (POSITIONS, opened - released), (REALISED, -won)]
        if charges:
            mine = self.charges
            for name, amount in charges.items():
                mine[name] = mine.get(name, 0) + amount
                postings.append((CHARGES + name, amount))
        return _balanced(Booking(tuple(postings), key))

    def charge(self, charges: Mapping[str, int]) -> Booking:
        """Take charges that no single trade caused; a negative one gives back what was taken too much."""
        for name, amount in charges.items():
            self.charges[name] = self.charges.get(name, 0) + amount
        paid = sum(charges.values())
        self.cash -= paid
        return _balanced(Booking(((CASH, -paid), *((CHARGES + name, amount) for name, amount in charges.items()))))

    def deposit(self, amount: int) -> Booking:
        """Put money in; a negative amount takes it out."""
        if abs(self.cash + amount) >= _TOO_MUCH or abs(self.capital + amount) >= _TOO_MUCH:
            _too_much("cash", self.cash + amount)
        self.cash += amount
        self.capital += amount
        return _balanced(Booking(((CASH, amount), (CAPITAL, -amount))))

    @property
    def charged(self) -> int:
        """Σ charges."""
        return sum(self.charges.values())

    @property
    def cost(self) -> int:
        """Σ cost of the positions."""
        return sum(holding.cost for holding in self.positions.values())

    @property
    def unrealised(self) -> int:
        """Σ unrealised of the positions."""
        return sum(holding.unrealised for holding in self.positions.values())

    @property
    def equity(self) -> int:
        """Cash + Σ quantity × last price."""
        return self.cash + sum(holding.value for holding in self.positions.values())

    def check(self) -> None:
        """Raise `InvariantBroken` unless the books balance exactly."""
        realised = sum(holding.realised for holding in self.positions.values())
        if realised != self.realised:
            self._broken(f"its positions realised {in_rupees(realised)}, it says {in_rupees(self.realised)}")
        debit, credit = self.cash + self.cost + self.charged, self.capital + self.realised
        if debit != credit:
            self._broken(
                f"cash, positions and charges are {in_rupees(debit)}, capital and profit are {in_rupees(credit)}"
            )
        for holding in self.positions.values():
            if not holding.quantity and holding.cost:
                self._broken(f"instrument {holding.instrument_token} is flat, yet costs {in_rupees(holding.cost)}")
            if abs(holding.quantity) > MAX_QUANTITY:
                self._broken(f"instrument {holding.instrument_token} holds {holding.quantity} units")

    def _check_figures(
        self, holding: Holding, quantity: int, *, cost: int, realised: int, flow: int, price: int
    ) -> None:
        """Refuse a fill after which a figure could not be told."""
        if abs(quantity) > MAX_QUANTITY:
            raise Unbookable(f"the position would be {quantity} units; at most {MAX_QUANTITY} can be held")
        cash = self.cash + flow
        if (
            -_TOO_MUCH < cash < _TOO_MUCH
            and -_TOO_MUCH < cost < _TOO_MUCH
            and -_TOO_MUCH < realised < _TOO_MUCH
            and -_TOO_MUCH < quantity * price < _TOO_MUCH
        ):
            total = self.realised + realised - holding.realised
            if -_TOO_MUCH < total < _TOO_MUCH:
                return
            _too_much("realised profit", total)
        for what, amount in (
            ("cash", cash),
            ("the position's realised profit", realised),
            ("the position's cost", cost),
            ("the position's value", quantity * price),
        ):
            if not -_TOO_MUCH < amount < _TOO_MUCH:
                _too_much(what, amount)

    def _broken(self, what: str) -> NoReturn:
        raise InvariantBroken(f"account {self.broker}: {what}; stop trading and compare the fills with the positions")


def _balanced(booking: Booking) -> Booking:
    total = 0
    for _, amount in booking.postings:
        total += amount
    if total:
        raise InvariantBroken(f"postings do not add up to zero: {booking.postings}; this is a bug of the ledger")
    return booking


def _too_much(what: str, amount: int) -> NoReturn:
    raise Unbookable(
        f"{what} would be {in_rupees(amount)} rupees; at most {MAX_DIGITS} digits before the point can be booked"
    )
