"""The contract note of a day: the charges of all fills of one account, once it is known what was delivered.

Rules, and where they are published:

- **Netting.** Of one share on one exchange, as many units as were both bought and sold on the day are
  intraday, the rest is delivery, whatever the product: a CNC round trip within a day is charged as
  intraday. NSE/CMTR/5588 of 2004-11-10 (netted settlement); Zerodha on tradingqna.com/t/9264. An MIS
  position that is still open counts as intraday: the broker closes it on the same day.
- **STT on shares** is on the volume-weighted average price of all units bought and sold on the day.
  NSE/CMTR/5588; support.zerodha.com: buy 500 at 100, sell 500 at 105, buy 200 at 110: average 103.75,
  intraday 12.969, which is 13, delivery 20.75, which is 21.
- **STT and CTT of derivatives** are on what was sold, at its price or premium; of an exercised option on its
  intrinsic value (nseclearing.in, securities transaction tax).
- **Rounding.** STT and CTT: each instrument to the paisa, then the sum of an exchange to the rupee, half up
  (12.495 is 12.50 is 13: seen on one of 41 notes of 2025 that a public audit reproduced within two paise; rupees
  half up: tradingqna.com/t/21903 and 88483, support.zerodha.com). Stamp duty to the rupee, on MCX to the paisa
  (0.29 on a note of 2025-06-18), all else to the paisa (the same audit). An exchange is a column of the note:
  each clearing corporation rounds its own.
- **Brokerage** is for an executed order, to the paisa. Where a part of an order is intraday and a part
  delivery, each order of that side has its share of both. How a broker apportions this is not published.
- **GST** is on the rounded amounts of a column.
- **DP charge**: once for each instrument that left the demat account: more sold than bought, over all
  exchanges and not counting MIS. Not on the note itself but in the ledger of the same day
  (support.zerodha.com, DP charges); so is the fee for an order of the auto square-off. Both carry GST.

Amounts are exact fractions until they are rounded, so that the order of the fills does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from alpha_cli.core.errors import BadData
from alpha_cli.core.events import Product, Side
from alpha_cli.market.charges.engine import EXACT, Charges, Rates, Tariff, together
from alpha_cli.market.charges.rates import Holding, Kind

ZERO = Fraction(0)
NOTHING = Decimal(0)
SIDES: tuple[Side, ...] = ("BUY", "SELL")
HOLDINGS: tuple[Holding, ...] = ("intraday", "delivery")
RUPEE, PAISA = 0, 2  # decimals that an amount is rounded to


class NoteTrade(Struct, frozen=True):
    """One fill of the day, or an option that expired in the money.

    symbol           the instrument's symbol on its exchange
    quantity         units, > 0
    price            rupees a unit; premium of an option; of an exercise the intrinsic value a unit
    isin             identifies a share across exchanges, for the DP charge; None: each exchange by itself
    exercise         whether it expired in the money: SELL ends the position of a holder, BUY that of a writer
    auto_square_off  whether the broker placed the order to close a position
    """

    order_id: str
    exchange: str
    symbol: str
    kind: Kind
    product: Product
    side: Side
    quantity: int
    price: Decimal
    group: str | None = None
    agri: bool = False
    isin: str | None = None
    exercise: bool = False
    auto_square_off: bool = False

    @property
    def turnover(self) -> Fraction:
        """Rupees."""
        return Fraction(self.price) * self.quantity


class TaxLine(NamedTuple):
    """STT or CTT of one instrument, in rupees.

    what     intraday, delivery, sale or exercise
    exact    to the paisa, as it is added to the sum of its exchange
    rounded  to the rupee, as it would be on a note by itself
    """

    exchange: str
    symbol: str
    what: str
    exact: Decimal
    rounded: Decimal


class Note(NamedTuple):
    """The charges of a day, in rupees. Zeros are left out of each dict, except `total`.

    columns  exchange -> its column of the contract note
    ledger   charges that are not on the note: dp, auto_square_off, their gst
    charges  all of them together
    taxes    the tax by instrument
    """

    day: date
    columns: dict[str, Charges]
    ledger: Charges
    charges: Charges
    taxes: tuple[TaxLine, ...]


#: Fills with the same key are netted: exchange, symbol.
Key: TypeAlias = tuple[str, str]


def contract_note(tariff: Tariff, day: date, trades: Iterable[NoteTrade], dp_group: str | None = None) -> Note:
    """Return the note of one account and day over all its fills; their order does not matter.

    `dp_group` is the tariff's group for the DP charge ("WOMAN"). Raises `ChargesUnknown` for an unknown rate,
    `BadData` for an order or an instrument that contradicts itself.
    """
    every = tuple(trades)
    instruments: dict[Key, list[NoteTrade]] = {}
    orders: dict[tuple[str, str], NoteTrade] = {}
    for trade in every:
        instruments.setdefault((trade.exchange, trade.symbol), []).append(trade)
        first = orders.setdefault((trade.exchange, trade.order_id), trade)
        if (first.symbol, first.side, first.exercise) != (trade.symbol, trade.side, trade.exercise):
            raise BadData(f"order {trade.order_id} on {trade.exchange} has fills of two instruments or sides")
    columns: dict[str, _Column] = {}
    taxes: list[TaxLine] = []
    for key in sorted(instruments):
        column = columns.setdefault(key[0], _Column(tariff, day, key[0]))
        taxes += column.add(instruments[key])
    ledger = _ledger(tariff, day, every, dp_group)
    rounded = {exchange: column.charges() for exchange, column in columns.items()}
    return Note(day, rounded, ledger, together([*rounded.values(), ledger]), tuple(taxes))


class _Column:
    """One exchange of a note, summed exactly."""

    def __init__(self, tariff: Tariff, day: date, exchange: str) -> None:
        self._tariff, self._day = tariff, day
        self._stamp_decimals = PAISA if exchange == "MCX" else RUPEE
        self._tax_name = "stt"
        self._brokerage = self._tax = self._transaction = self._sebi = self._stamp_duty = ZERO

    def add(self, trades: Sequence[NoteTrade]) -> list[TaxLine]:
        """Add all fills of one instrument and return its taxes."""
        first = trades[0]
        if any((trade.kind, trade.group, trade.agri) != (first.kind, first.group, first.agri) for trade in trades):
            raise BadData(f"{first.symbol} on {first.exchange} is of two kinds or groups")
        traded = [trade for trade in trades if not trade.exercise]
        exercised = [trade for trade in trades if trade.exercise]
        taxes = self._shares(traded) if first.kind == "equity" else {"sale": self._derivative(traded)}
        taxes["exercise"] = self._exercises(exercised)
        lines = []
        for what, tax in taxes.items():
            if tax:
                exact = _rounded(tax, PAISA)
                self._tax += Fraction(exact)
                lines.append(TaxLine(first.exchange, first.symbol, what, exact, _rounded(Fraction(exact), RUPEE)))
        return lines

    def charges(self) -> Charges:
        """Return the column as it is printed."""
        brokerage = _rounded(self._brokerage, PAISA)
        transaction = _rounded(self._transaction, PAISA)
        sebi = _rounded(self._sebi, PAISA)
        taxed = Fraction(brokerage) + Fraction(transaction) + Fraction(sebi)
        column = {
            "brokerage": brokerage,
            self._tax_name: _rounded(self._tax, RUPEE),
            "transaction": transaction,
            "sebi": sebi,
            "stamp_duty": _rounded(self._stamp_duty, self._stamp_decimals),
            "gst": _rounded(taxed * Fraction(self._tariff.gst(self._day)), PAISA),
        }
        return together([column])

    def _shares(self, trades: Sequence[NoteTrade]) -> dict[str, Fraction]:
        """Add shares and return STT in rupees: units both bought and sold are intraday, the rest delivery."""
        sides = {side: [trade for trade in trades if trade.side == side] for side in SIDES}
        quantities = {side: sum(trade.quantity for trade in sides[side]) for side in SIDES}
        units = sum(quantities.values())
        average = sum((trade.turnover for trade in trades), ZERO) / units if units else ZERO
        intraday = _intraday(trades, quantities)
        taxes: dict[str, Fraction] = {}
        for holding in HOLDINGS:
            tax = ZERO
            for side in SIDES:
                held = intraday[side] if holding == "intraday" else quantities[side] - intraday[side]
                if held:
                    rates = self._add_charges(sides[side], holding, Fraction(held, quantities[side]))
                    tax += average * held * Fraction(rates.tax_rate)
            taxes[holding] = tax
        return taxes

    def _derivative(self, trades: Sequence[NoteTrade]) -> Fraction:
        """Add futures or options and return STT or CTT in rupees on the sales."""
        tax = ZERO
        for side in SIDES:
            of_side = [trade for trade in trades if trade.side == side]
            if of_side:
                rates = self._add_charges(of_side, "delivery", Fraction(1))
                tax += sum((trade.turnover for trade in of_side), ZERO) * Fraction(rates.tax_rate)
        return tax

    def _add_charges(self, trades: Sequence[NoteTrade], holding: Holding, part: Fraction) -> Rates:
        """Add everything but the tax for the `part` of each order of one side that has this `holding`."""
        first = trades[0]
        rates = self._tariff.rates_held(
            self._day, first.exchange, first.kind, holding, first.side, group=first.group, agri=first.agri
        )
        self._tax_name = rates.tax
        for turnover in _by_order(trades).values():
            charged = turnover * part
            self._brokerage += Fraction(_rounded(_fee(rates, charged), PAISA))
            self._transaction += charged * Fraction(rates.transaction)
            self._sebi += charged * Fraction(rates.sebi)
            self._stamp_duty += charged * Fraction(rates.stamp_duty)
        return rates

    def _exercises(self, trades: Sequence[NoteTrade]) -> Fraction:
        """Add options that expired in the money and return STT in rupees on their intrinsic value."""
        tax = ZERO
        for trade in trades:
            if trade.kind != "option":
                raise BadData(f"{trade.symbol} on {trade.exchange} is of kind {trade.kind}: only options are exercised")
        for side in SIDES:
            for value in _by_order([trade for trade in trades if trade.side == side]).values():
                charges = self._tariff.on_exercise(self._day, trades[0].exchange, _decimal(value), side)
                self._brokerage += Fraction(_rounded(Fraction(charges.get("brokerage", NOTHING)), PAISA))
                tax += Fraction(charges.get("stt", NOTHING))
        return tax


def _intraday(trades: Iterable[NoteTrade], quantities: dict[Side, int]) -> dict[Side, int]:
    """Return the intraday units of one share by side: those bought and sold, and those of an open MIS position."""
    squared = min(quantities.values())
    open_mis = sum(t.quantity if t.side == "BUY" else -t.quantity for t in trades if t.product == "MIS")
    return {
        "BUY": squared + min(quantities["BUY"] - squared, max(open_mis, 0)),
        "SELL": squared + min(quantities["SELL"] - squared, max(-open_mis, 0)),
    }


def _by_order(trades: Iterable[NoteTrade]) -> dict[str, Fraction]:
    """Return the turnover of each order in rupees."""
    turnover: dict[str, Fraction] = {}
    for trade in trades:
        turnover[trade.order_id] = turnover.get(trade.order_id, ZERO) + trade.turnover
    return turnover


def _fee(rates: Rates, turnover: Fraction) -> Fraction:
    """Return the brokerage in rupees of an order of `turnover` > 0 rupees."""
    fee = Fraction(rates.flat) + Fraction(rates.brokerage) * turnover
    return fee if rates.cap is None else min(fee, Fraction(rates.cap))


def _ledger(tariff: Tariff, day: date, trades: Sequence[NoteTrade], dp_group: str | None) -> Charges:
    """Return the charges that are not on the note: DP for each share sold from demat, and the auto square-off."""
    sold: dict[str | Key, list[int]] = {}
    for trade in trades:
        if trade.kind == "equity":
            signed = trade.quantity if trade.side == "SELL" else -trade.quantity
            net = sold.setdefault(trade.isin or (trade.exchange, trade.symbol), [0, 0])
            net[0] += signed
            if trade.product != "MIS":  # an intraday short is not a sale from demat
                net[1] += signed
    delivered = sum(min(net) > 0 for net in sold.values())
    squared_off = len({(trade.exchange, trade.order_id) for trade in trades if trade.auto_square_off})
    each = [tariff.dp(day, dp_group)] * delivered + [tariff.auto_square_off(day)] * squared_off
    return together(
        [{name: _rounded(Fraction(charges[name]), PAISA) for name in charges if name != "total"} for charges in each]
    )


def _rounded(amount: Fraction, decimals: int) -> Decimal:
    """Round `amount` >= 0 half up."""
    top, bottom = 2 * amount.numerator * 10**decimals, 2 * amount.denominator
    return Decimal((top + amount.denominator) // bottom).scaleb(-decimals, EXACT)


def _decimal(amount: Fraction) -> Decimal:
    """Return the same amount as a decimal; sums and products of decimals are always one."""
    return EXACT.divide(Decimal(amount.numerator), Decimal(amount.denominator))
