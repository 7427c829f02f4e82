"""The books of one broker account: double entry, in whole numbers.

Amounts are integers of a hundredth of a paisa (`UNITS` to a rupee), the finest amount on the wire. Only one
thing is ever rounded: when a part of a position is closed, the cost it releases is rounded half-even to a
unit, and that same figure leaves the position and enters the realised P&L.

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

#: Identifies a position: an instrument token under a product.
Key = tuple[int, Product]

CASH = "cash"
CAPITAL = "capital"
REALISED = "realised"
POSITIONS = "positions"
CHARGES = "charges:"  # and the charge's name

#: (account, amount) in ledger units: positive is a debit (cash, positions, charges grow), negative a credit
#: (capital and realised profit grow).
Posting = tuple[str, int]


class Unbookable(Exception):
    """A fill would make a figure of the books too large for the wire; the message says which."""


class Holding(Struct):
    """The position in one instrument under one product.

    quantity    units, negative when short
    cost        paid for it, negative when short, in ledger units
    realised    profit or loss of what was closed, gross of charges, in ledger units
    last_price  of a unit, in ledger units: the newest known
    day         the last Indian day it was traded, as a proleptic ordinal; 0 if never
    delivered   the last such day on which a sale took shares from the demat account
    overnight   quantity when `day` began: of CNC, what a sale takes from the demat account
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
        """Profit or loss that closing at the last price would realise, in ledger units."""
        return self.quantity * self.last_price - self.cost


class Booking(NamedTuple):
    """One event in the books: postings that add up to zero. `key` is the position that it changes, if any."""

    postings: tuple[Posting, ...]
    key: Key | None = None


class Account(Struct):
    """Cash, positions, charges and profit of one broker account, in ledger units.

    capital    deposits less withdrawals, the opening cash included
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
        """Return a new account with `starting_cash` rupees and no positions."""
        amount = units(starting_cash)
        return cls(broker=broker, capital=amount, cash=amount)

    def fill(
        self, key: Key, side: Side, quantity: int, price: int, charges: Mapping[str, int] | None = None
    ) -> Booking:
        """Enter a trade of `quantity` (> 0) units at `price` ledger units each, with its charges by name.

        Raise `Unbookable`, and change nothing, if a figure would become too large for the wire.
        """
        signed = quantity if side == "BUY" else -quantity
        holding = self.positions.get(key)
        if holding is None:
            holding = Holding(instrument_token=key[0], product=key[1])
        added, won = _traded(holding, signed, price)
        flow = -signed * price - (sum(charges.values()) if charges else 0)
        held, cost = holding.quantity + signed, holding.cost + added
        self._check_figures(holding, held, cost=cost, realised=holding.realised + won, flow=flow, price=price)
        holding.quantity, holding.cost = held, cost
        holding.realised += won
        holding.last_price = price
        self.positions[key] = holding
        self.cash += flow
        self.realised += won
        postings: list[Posting] = [(CASH, flow), (POSITIONS, added), (REALISED, -won)]
        if charges:
            mine = self.charges
            for name, amount in charges.items():
                mine[name] = mine.get(name, 0) + amount
                postings.append((CHARGES + name, amount))
        return _balanced(Booking(tuple(postings), key))

    def charge(self, charges: Mapping[str, int]) -> Booking:
        """Take charges that no single trade caused; a negative one refunds what was taken too much."""
        for name, amount in charges.items():
            self.charges[name] = self.charges.get(name, 0) + amount
        paid = sum(charges.values())
        self.cash -= paid
        return _balanced(Booking(((CASH, -paid), *((CHARGES + name, amount) for name, amount in charges.items()))))

    def deposit(self, amount: int) -> Booking:
        """Deposit `amount`; a negative one is withdrawn. Raise `Unbookable` if a figure would become too large."""
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
        """Raise `Unbookable` for a fill after which a figure would be too large for the wire."""
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


def _traded(holding: Holding, signed: int, price: int) -> tuple[int, int]:
    """Return what a trade of `signed` units at `price` adds to the cost of `holding`, and what it realises.

    The cost of a part that is closed is rounded once: what the position gives up is what the P&L receives, so that
    nothing is made or lost.
    """
    held, cost = holding.quantity, holding.cost
    if held == 0 or (held > 0) == (signed > 0):
        return signed * price, 0
    closing = min(abs(signed), abs(held))
    released = cost if closing == abs(held) else divided(cost * closing, abs(held))
    won = (closing if held > 0 else -closing) * price - released
    opened = (abs(signed) - closing) * (price if signed > 0 else -price)  # of one that flips, beyond flat
    return opened - released, won


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
