"""The charges of one fill, a pure function of the tariff file and the trade.

    tariff = Tariff.load()
    tariff.unrounded(Trade(day, "NSE", "equity", "MIS", "SELL", 400, Decimal(1100)))
    # {"brokerage": 20, "stt": 110, …, "total": …}
    tariff.in_units(day, ("NSE", "equity", "MIS", "SELL"), turnover)
    # {"brokerage": 200000, "stt": 1100000, …}

Both are estimates from the product alone: MIS is intraday, everything else is delivery. `note` has the charges
of a whole day, when it is known what was delivered, with the rounding of a contract note.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_UP, Context, Decimal
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, get_args

from msgspec import Struct

from alpha_cli.core.events import Product, Side
from alpha_cli.core.money import UNITS, units
from alpha_cli.market.charges.rates import (
    COMMODITIES,
    EXCHANGES,
    ChargesUnknown,
    Component,
    Holding,
    Kind,
    RateQuery,
    RowInForce,
    TariffFile,
    find_row,
    read_tariff,
    tariff_path,
)

Charges: TypeAlias = dict[str, Decimal]

#: Every name a charge can have besides `total`, in the order of a contract note.
COMPONENTS: tuple[Component, ...] = get_args(Component)

ZERO = Decimal(0)
PAISA = Decimal("0.01")

#: Wide enough that a product of a price, a quantity and two rates is exact; half up, as the exchanges round.
EXACT = Context(prec=100, rounding=ROUND_HALF_UP, Emin=MIN_EMIN, Emax=MAX_EMAX)

_add, _multiply = EXACT.add, EXACT.multiply


class Trade(Struct, frozen=True):
    """One fill.

    exchange  Kite's name: NSE BSE NFO BFO CDS BCD MCX NCO
    quantity  units, > 0: lots of MCX and CDS are already multiplied out
    price     rupees a unit; the premium of an option; at most four decimals
    group     BSE scrip group, or another group of the tariff's notes; None for an ordinary instrument
    agri      whether it is an agricultural commodity
    """

    date: date
    exchange: str
    kind: Kind
    product: Product
    side: Side
    quantity: int
    price: Decimal
    group: str | None = None
    agri: bool = False


class Rates(NamedTuple):
    """The rates of one kind of trade, for `first` <= day < `until`; fractions of the turnover.

    flat  rupees of brokerage an order, whatever its turnover
    cap   most rupees of brokerage an order; None for no limit
    tax   name of the tax: stt, or ctt on commodities
    gst   on brokerage, transaction charge and SEBI fee together
    """

    first: date
    until: date
    flat: Decimal
    brokerage: Decimal
    cap: Decimal | None
    tax: Literal["stt", "ctt"]
    tax_rate: Decimal
    transaction: Decimal
    sebi: Decimal
    stamp_duty: Decimal
    gst: Decimal


#: What decides on the rates of a trade besides its day: exchange, kind, product, side.
TradeKind: TypeAlias = tuple[str, Kind, Product, Side]

_SCALE = 10**15  # of rates as whole numbers: more decimals than any rate has
_HALF = _SCALE // 2
_SCALE_TWICE = _SCALE * _SCALE
_HALF_TWICE = _SCALE_TWICE // 2
_DECIMALS = 15 + 15 + 4  # in rupees, of ledger units that are scaled twice


class _ScaledRates(NamedTuple):
    """`Rates` as whole numbers: fractions times `_SCALE`, amounts in ledger units times `_SCALE`."""

    rates: Rates
    flat: int
    brokerage: int
    cap: int | None
    tax: int
    transaction: int
    sebi: int
    stamp_duty: int
    gst: int

    @classmethod
    def of(cls, rates: Rates) -> _ScaledRates:
        """Return `rates` scaled. Raises `ChargesUnknown` for a rate of too many decimals."""
        return cls(
            rates=rates,
            flat=_scaled(rates.flat, UNITS),
            brokerage=_scaled(rates.brokerage),
            cap=None if rates.cap is None else _scaled(rates.cap, UNITS),
            tax=_scaled(rates.tax_rate),
            transaction=_scaled(rates.transaction),
            sebi=_scaled(rates.sebi),
            stamp_duty=_scaled(rates.stamp_duty),
            gst=_scaled(rates.gst),
        )

    def amounts(self, turnover: int, already: int) -> tuple[int, int, int, int, int, int, int]:
        """Return what a fill of `turnover` adds to earlier fills of `already`, both in ledger units.

        They are the brokerage of the order with this fill, the brokerage without it (an order pays brokerage
        once, so a fill pays the difference), tax, transaction charge, SEBI fee and stamp duty, each in ledger
        units times `_SCALE`, and GST in ledger units times `_SCALE` twice.
        """
        order_fee = self.fee(already + turnover)
        earlier_fee = self.fee(already) if already else 0
        transaction, sebi = turnover * self.transaction, turnover * self.sebi
        gst = (order_fee - earlier_fee + transaction + sebi) * self.gst
        return order_fee, earlier_fee, turnover * self.tax, transaction, sebi, turnover * self.stamp_duty, gst

    def fee(self, turnover: int) -> int:
        """Return the brokerage of one executed order of `turnover` ledger units; 0 if nothing is traded."""
        if not turnover:
            return 0
        fee = self.flat + self.brokerage * turnover
        return fee if self.cap is None or fee < self.cap else self.cap


def _scaled(value: Decimal, by: int = 1) -> int:
    exact = _multiply(value, _SCALE * by)
    whole = int(exact)
    if whole != exact:
        raise ChargesUnknown(f"a rate of {value} has more than 15 decimals; write it shorter")
    return whole


class Tariff:
    """A tariff file: the charges of every kind of trade on every day it covers. Rates are looked up once an era."""

    def __init__(self, file: TariffFile) -> None:
        self.file = file
        self._scaled: dict[tuple[str, str, str, str, str | None, bool], _ScaledRates] = {}

    @classmethod
    def load(cls, path: Path | None = None) -> Tariff:
        """Return the tariff at `path`, by default of the configuration folders. Raises `ConfigurationError`."""
        return cls(read_tariff(tariff_path() if path is None else path))

    # --- a fill ------------------------------------------------------------------------------

    def in_units(
        self,
        day: date,
        kind: TradeKind,
        turnover: int,
        already: int = 0,
        *,
        group: str | None = None,
        agri: bool = False,
    ) -> dict[str, int]:
        """Return the charges of a fill in ledger units, each rounded half up; zero charges are left out.

        `turnover` and `already`, the turnover of earlier fills of the same order, are in ledger units too.
        All fills of an order together pay the brokerage of one fill. Raises `ChargesUnknown`.
        """
        scaled = self._scaled_rates(day, kind, group, agri=agri)
        order_fee, earlier_fee, tax, transaction, sebi, stamp_duty, gst = scaled.amounts(turnover, already)
        # Both fees are rounded, not their difference: so the brokerage of all fills adds up to the rounded whole.
        charges = {
            "brokerage": (order_fee + _HALF) // _SCALE - (earlier_fee + _HALF) // _SCALE,
            scaled.rates.tax: (tax + _HALF) // _SCALE,
            "transaction": (transaction + _HALF) // _SCALE,
            "sebi": (sebi + _HALF) // _SCALE,
            "stamp_duty": (stamp_duty + _HALF) // _SCALE,
            "gst": (gst + _HALF_TWICE) // _SCALE_TWICE,
        }
        return {name: amount for name, amount in charges.items() if amount}

    def unrounded(self, trade: Trade) -> Charges:
        """Return the exact charges in rupees of an order that one trade filled. Raises `ChargesUnknown`."""
        kind = (trade.exchange, trade.kind, trade.product, trade.side)
        scaled = self._scaled_rates(trade.date, kind, trade.group, agri=trade.agri)
        turnover = units(_multiply(trade.price, trade.quantity))
        brokerage, _, tax, transaction, sebi, stamp_duty, gst = scaled.amounts(turnover, 0)
        amounts = {
            "brokerage": brokerage * _SCALE,
            scaled.rates.tax: tax * _SCALE,
            "transaction": transaction * _SCALE,
            "sebi": sebi * _SCALE,
            "stamp_duty": stamp_duty * _SCALE,
            "gst": gst,
        }
        charges = {name: Decimal(amount).scaleb(-_DECIMALS, EXACT) for name, amount in amounts.items()}
        return together([charges])

    def rates_for(
        self,
        day: date,
        exchange: str,
        kind: Kind,
        product: Product,
        side: Side,
        *,
        group: str | None = None,
        agri: bool = False,
    ) -> Rates:
        """Return the rates of such a trade on `day`. Raises `ChargesUnknown`."""
        return self._scaled_rates(day, (exchange, kind, product, side), group, agri=agri).rates

    def _scaled_rates(self, day: date, of: TradeKind, group: str | None, *, agri: bool) -> _ScaledRates:
        key = (*of, group, agri)
        scaled = self._scaled.get(key)
        if scaled is None or not scaled.rates.first <= day < scaled.rates.until:
            exchange, kind, product, side = of
            holding: Holding = "intraday" if product == "MIS" else "delivery"
            rates = self.rates_held(day, exchange, kind, holding, side, group=group, agri=agri)
            scaled = self._scaled[key] = _ScaledRates.of(rates)
        return scaled

    def rates_held(
        self,
        day: date,
        exchange: str,
        kind: Kind,
        holding: Holding,
        side: Side,
        *,
        group: str | None = None,
        agri: bool = False,
    ) -> Rates:
        """Return the rates for a position that was held so, whatever its product. Raises `ChargesUnknown`."""
        if kind not in EXCHANGES.get(exchange, ()):
            known = ", ".join(f"{name} ({'/'.join(kinds)})" for name, kinds in EXCHANGES.items())
            raise ChargesUnknown(f"charges of {kind} on {exchange} are not known; known: {known}")
        return self._rates(day, RateQuery(exchange, kind, holding, side, group, agri))

    def _rates(self, day: date, query: RateQuery) -> Rates:
        tax: Literal["stt", "ctt"] = "ctt" if query.exchange in COMMODITIES else "stt"
        names: tuple[Component, ...] = ("brokerage", tax, "transaction", "sebi", "stamp_duty", "gst")
        found = {name: find_row(self.file, name, day, query) for name in names}
        brokerage = found["brokerage"].row
        return Rates(
            first=max(entry.first for entry in found.values()),
            until=min(entry.until for entry in found.values()),
            flat=ZERO if brokerage is None else brokerage.flat,
            brokerage=_fraction(found["brokerage"]),
            cap=None if brokerage is None or brokerage.cap is None else Decimal(brokerage.cap),
            tax=tax,
            tax_rate=_fraction(found[tax]),
            transaction=_fraction(found["transaction"]),
            sebi=_fraction(found["sebi"]),
            stamp_duty=_fraction(found["stamp_duty"]),
            gst=_fraction(found["gst"]),
        )

    # --- events ------------------------------------------------------------------------------

    def on_exercise(self, day: date, exchange: str, intrinsic_value: Decimal, side: Side = "SELL") -> Charges:
        """Return the charges of an option that expires in the money and is settled in cash, unrounded rupees.

        `intrinsic_value` is in rupees, of all units together. `side` is the one that ends the position: SELL for
        a holder, who pays the tax, BUY for a writer, who pays none. Options that expire worthless cost nothing.
        Raises `ChargesUnknown`.
        """
        if intrinsic_value <= 0:
            return {"total": ZERO}
        query = RateQuery(exchange, "option", "delivery", side, event="exercise")
        brokerage = find_row(self.file, "brokerage", day, query).row
        if brokerage is None:
            raise ChargesUnknown(f"charges of an exercised option on {exchange} are not known; known: NFO, BFO")
        fee = _add(brokerage.flat, _multiply(brokerage.fraction, intrinsic_value))
        tax = _multiply(_fraction(find_row(self.file, "stt", day, query)), intrinsic_value)
        return together([{"brokerage": fee, "stt": tax, "gst": _multiply(fee, self.gst(day))}])

    def dp(self, day: date, group: str | None = None) -> Charges:
        """Return the depository's charge for one instrument sold out of demat on `day`, with GST.

        `group` is "WOMAN" if the first holder is a woman. Raises `ChargesUnknown`.
        """
        return self._flat("dp", day, group)

    def auto_square_off(self, day: date) -> Charges:
        """Return the charge for an order that the broker placed to close a position, with GST.

        Raises `ChargesUnknown`.
        """
        return self._flat("auto_square_off", day, None)

    def gst(self, day: date) -> Decimal:
        """Return GST as a fraction. Raises `ChargesUnknown`."""
        return _fraction(find_row(self.file, "gst", day, _ANYWHERE))

    def _flat(self, component: Component, day: date, group: str | None) -> Charges:
        row = find_row(self.file, component, day, _ANYWHERE._replace(group=group)).row
        fee = ZERO if row is None else row.flat
        return together([{component: fee, "gst": _multiply(fee, self.gst(day))}])


#: Charges without an exchange are looked up as a sale; only rows that name no exchange and no kind match.
_ANYWHERE = RateQuery("", "equity", "delivery", "SELL")


def _fraction(found: RowInForce) -> Decimal:
    return ZERO if found.row is None else found.row.fraction


def together(parts: Iterable[Charges]) -> Charges:
    """Return the exact sum of several charges, in the order of a note, without zeros and with a new `total`."""
    summed: Charges = {}
    for part in parts:
        for name, amount in part.items():
            if name != "total":
                summed[name] = _add(summed.get(name, ZERO), amount)
    charges: Charges = {name: summed[name] for name in COMPONENTS if summed.get(name)}
    total = ZERO
    for amount in charges.values():
        total = _add(total, amount)
    charges["total"] = total
    return charges
