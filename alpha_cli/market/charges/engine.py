"""What one fill costs, exactly: `Tariff.on_fill`, a pure function of the tariff file and the trade.

    tariff = Tariff.load()
    tariff.on_fill(Trade(day, "NSE", "equity", "MIS", "SELL", 400, Decimal(1100)))
    # {"brokerage": 20.0000, "stt": 110.0000, …, "total": …}

An estimate takes the product at its word: MIS is intraday, everything else is delivery. What became of
it at the end of the day, and the rounding of a contract note, is `note`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_UP, Context, Decimal
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, get_args

from msgspec import Struct

from alpha_cli.core.events import Product, Side
from alpha_cli.core.money import UNITS
from alpha_cli.market.charges.rates import (
    COMMODITIES,
    EXCHANGES,
    Asked,
    ChargesUnknown,
    Component,
    Found,
    Holding,
    Kind,
    TariffFile,
    find,
    read_tariff,
    tariff_path,
)

Charges: TypeAlias = dict[str, Decimal]

#: Every name a charge can have beside `total`, in the order of a contract note.
COMPONENTS: tuple[Component, ...] = get_args(Component)

ZERO = Decimal(0)
#: Rupees to four decimals, the wire's finest.
FOUR_DECIMALS = Decimal("0.0001")
PAISA = Decimal("0.01")

#: Wide enough that a product of a price, a quantity and two rates is exact; half up, as the exchanges round.
EXACT = Context(prec=100, rounding=ROUND_HALF_UP, Emin=MIN_EMIN, Emax=MAX_EMAX)

_add, _multiply, _subtract, _quantize = EXACT.add, EXACT.multiply, EXACT.subtract, EXACT.quantize


class Trade(Struct, frozen=True):
    """One fill.

    exchange  as Kite names it: NSE BSE NFO BFO CDS BCD MCX NCO
    quantity  units, > 0: lots of MCX and CDS are multiplied out already
    price     rupees a unit; of an option its premium
    group     BSE scrip group, or another that the tariff's notes name; None: an ordinary one
    agri      an agricultural commodity
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
    cap   rupees of brokerage an order at most; None: no limit
    tax   what the tax is called: stt, or ctt on commodities
    gst   of brokerage, transaction charge and SEBI fee together
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

    def fee(self, turnover: Decimal) -> Decimal:
        """Brokerage in rupees of one executed order of `turnover` rupees; 0 for one that has not traded."""
        if not turnover:
            return ZERO
        fee = _add(self.flat, _multiply(self.brokerage, turnover))
        return fee if self.cap is None or fee < self.cap else self.cap


#: What decides on the rates of a trade, beside its day: exchange, kind, product, side.
TradeKind: TypeAlias = tuple[str, Kind, Product, Side]

_SCALE = 10**15  # of rates as whole numbers: more decimals than any has
_HALF = _SCALE // 2


class _Whole(NamedTuple):
    """`Rates` as whole numbers: fractions times `_SCALE`, amounts in ledger units times `_SCALE`."""

    of: Rates
    flat: int
    brokerage: int
    cap: int | None
    tax_rate: int
    transaction: int
    sebi: int
    stamp_duty: int
    gst: int

    def fee(self, turnover: int) -> int:
        """As `Rates.fee`."""
        if not turnover:
            return 0
        fee = self.flat + self.brokerage * turnover
        return fee if self.cap is None or fee < self.cap else self.cap


def _whole(rates: Rates) -> _Whole:
    def scaled(value: Decimal, by: int = _SCALE) -> int:
        whole = int(_multiply(value, by))
        if whole != _multiply(value, by):
            raise ChargesUnknown(f"a rate of {value} has more than 15 decimals; write it shorter")
        return whole

    return _Whole(
        rates,
        scaled(rates.flat, _SCALE * UNITS),
        scaled(rates.brokerage),
        None if rates.cap is None else scaled(rates.cap, _SCALE * UNITS),
        scaled(rates.tax_rate),
        scaled(rates.transaction),
        scaled(rates.sebi),
        scaled(rates.stamp_duty),
        scaled(rates.gst),
    )


class Tariff:
    """A tariff file, compiled as it is asked: what every kind of trade costs on every day it knows."""

    def __init__(self, file: TariffFile) -> None:
        self.file = file
        self._rates: dict[tuple[str, str, str, str, str | None, bool], Rates] = {}
        self._whole: dict[TradeKind, _Whole] = {}

    @classmethod
    def load(cls, path: Path | None = None) -> Tariff:
        """The tariff at `path`, or where configuration files are looked for. Raises `ConfigurationError`."""
        return cls(read_tariff(tariff_path() if path is None else path))

    # --- a fill ------------------------------------------------------------------------------

    def on_fill(self, trade: Trade, already: Decimal = ZERO) -> Charges:
        """What this fill adds, each component in rupees half up to four decimals, `total` their exact sum.

        `already` is the turnover in rupees of earlier fills of the same order: brokerage is for an executed
        order, so the fills of one together pay what one fill would have. What is zero is left out.
        Raises `ChargesUnknown`.
        """
        rates = self.rates_for(
            trade.date, trade.exchange, trade.kind, trade.product, trade.side, group=trade.group, agri=trade.agri
        )
        turnover = _multiply(trade.price, trade.quantity)
        brokerage = rates.fee(_add(already, turnover)) if already else rates.fee(turnover)
        before = rates.fee(already) if already else ZERO
        transaction = _multiply(turnover, rates.transaction)
        sebi = _multiply(turnover, rates.sebi)
        charges: Charges = {}
        total = ZERO
        # Both ends are rounded, not their difference: so the increments add up to the rounded whole.
        fee = _subtract(_quantize(brokerage, FOUR_DECIMALS), _quantize(before, FOUR_DECIMALS))
        gst = _multiply(_add(_add(_subtract(brokerage, before), transaction), sebi), rates.gst)
        if fee:
            charges["brokerage"] = total = fee
        for name, amount in (
            (rates.tax, _multiply(turnover, rates.tax_rate) if rates.tax_rate else ZERO),
            ("transaction", transaction),
            ("sebi", sebi),
            ("stamp_duty", _multiply(turnover, rates.stamp_duty) if rates.stamp_duty else ZERO),
            ("gst", gst),
        ):
            if amount:
                rounded = _quantize(amount, FOUR_DECIMALS)
                if rounded:
                    charges[name] = rounded
                    total = _add(total, rounded)
        charges["total"] = total
        return charges

    def in_units(self, day: date, kind: TradeKind, turnover: int, already: int = 0) -> dict[str, int]:
        """`on_fill` in whole ledger units (`money.UNITS` to a rupee), without the total: for who books many fills.

        `turnover` and `already` are in ledger units too. Raises `ChargesUnknown`.
        """
        rates = self.rates_for(day, *kind)
        whole = self._whole.get(kind)
        if whole is None or whole.of is not rates:
            whole = self._whole[kind] = _whole(rates)
        fee = whole.fee(already + turnover)
        before = whole.fee(already) if already else 0
        transaction, sebi = turnover * whole.transaction, turnover * whole.sebi
        charges = {
            "brokerage": (fee + _HALF) // _SCALE - (before + _HALF) // _SCALE,
            rates.tax: (turnover * whole.tax_rate + _HALF) // _SCALE,
            "transaction": (transaction + _HALF) // _SCALE,
            "sebi": (sebi + _HALF) // _SCALE,
            "stamp_duty": (turnover * whole.stamp_duty + _HALF) // _SCALE,
            "gst": ((fee - before + transaction + sebi) * whole.gst + _HALF * _SCALE) // (_SCALE * _SCALE),
        }
        return {name: amount for name, amount in charges.items() if amount}

    def unrounded(self, trade: Trade, already: Decimal = ZERO) -> Charges:
        """`on_fill` without rounding: exact."""
        rates = self.rates_for(
            trade.date, trade.exchange, trade.kind, trade.product, trade.side, group=trade.group, agri=trade.agri
        )
        turnover = _multiply(trade.price, trade.quantity)
        brokerage = _subtract(rates.fee(_add(already, turnover)), rates.fee(already))
        transaction, sebi = _multiply(turnover, rates.transaction), _multiply(turnover, rates.sebi)
        charges = {
            "brokerage": brokerage,
            rates.tax: _multiply(turnover, rates.tax_rate),
            "transaction": transaction,
            "sebi": sebi,
            "stamp_duty": _multiply(turnover, rates.stamp_duty),
            "gst": _multiply(_add(_add(brokerage, transaction), sebi), rates.gst),
        }
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
        """The rates of such a trade on `day`; found once for each era. Raises `ChargesUnknown`."""
        key = (exchange, kind, product, side, group, agri)
        rates = self._rates.get(key)
        if rates is None or not rates.first <= day < rates.until:
            holding: Holding = "intraday" if product == "MIS" else "delivery"
            rates = self._rates[key] = self.rates_held(day, exchange, kind, holding, side, group=group, agri=agri)
        return rates

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
        """`rates_for` by what became of a position, whatever its product was. Raises `ChargesUnknown`."""
        if kind not in EXCHANGES.get(exchange, ()):
            known = ", ".join(f"{name} ({'/'.join(kinds)})" for name, kinds in EXCHANGES.items())
            raise ChargesUnknown(f"charges of {kind} on {exchange} are not known; known: {known}")
        asked = Asked(exchange, kind, holding, side, group, agri)
        tax: Literal["stt", "ctt"] = "ctt" if exchange in COMMODITIES else "stt"
        names: tuple[Component, ...] = ("brokerage", tax, "transaction", "sebi", "stamp_duty", "gst")
        found = {name: find(self.file, name, day, asked) for name in names}
        brokerage = found["brokerage"].row
        return Rates(
            max(one.first for one in found.values()),
            min(one.until for one in found.values()),
            ZERO if brokerage is None else brokerage.flat,
            _fraction(found["brokerage"]),
            None if brokerage is None or brokerage.cap is None else Decimal(brokerage.cap),
            tax,
            _fraction(found[tax]),
            _fraction(found["transaction"]),
            _fraction(found["sebi"]),
            _fraction(found["stamp_duty"]),
            _fraction(found["gst"]),
        )

    # --- events ------------------------------------------------------------------------------

    def on_exercise(self, day: date, exchange: str, intrinsic_value: Decimal, side: Side = "SELL") -> Charges:
        """What an option that expires in the money and is settled in cash costs, unrounded rupees.

        `intrinsic_value` is in rupees, all units together. `side` is the one that ends the position: SELL for
        a holder, who pays the tax, BUY for a writer, who pays none. Nothing for options that expire worthless.
        Raises `ChargesUnknown`.
        """
        if intrinsic_value <= 0:
            return {"total": ZERO}
        asked = Asked(exchange, "option", "delivery", side, event="exercise")
        brokerage = find(self.file, "brokerage", day, asked).row
        if brokerage is None:
            raise ChargesUnknown(f"charges of an exercised option on {exchange} are not known; known: NFO, BFO")
        fee = _add(brokerage.flat, _multiply(brokerage.fraction, intrinsic_value))
        tax = _multiply(_fraction(find(self.file, "stt", day, asked)), intrinsic_value)
        return together([{"brokerage": fee, "stt": tax, "gst": _multiply(fee, self.gst(day))}])

    def dp(self, day: date, group: str | None = None) -> Charges:
        """What the depository charges for one instrument sold out of demat on `day`, GST included.

        `group` "WOMAN": the first holder is one. Raises `ChargesUnknown`.
        """
        return self._flat("dp", day, group)

    def auto_square_off(self, day: date) -> Charges:
        """What one order costs that the broker placed to close a position, GST included. Raises `ChargesUnknown`."""
        return self._flat("auto_square_off", day, None)

    def gst(self, day: date) -> Decimal:
        """GST as a fraction. Raises `ChargesUnknown`."""
        return _fraction(find(self.file, "gst", day, _ANYWHERE))

    def _flat(self, component: Component, day: date, group: str | None) -> Charges:
        row = find(self.file, component, day, _ANYWHERE._replace(group=group)).row
        fee = ZERO if row is None else row.flat
        return together([{component: fee, "gst": _multiply(fee, self.gst(day))}])


#: What has no exchange is asked for as a sale; only rows that name no exchange and no kind answer.
_ANYWHERE = Asked("", "equity", "delivery", "SELL")


def _fraction(found: Found) -> Decimal:
    return ZERO if found.row is None else found.row.fraction


def together(parts: Iterable[Charges]) -> Charges:
    """The exact sum of several charges, in the order of a note; what is zero is left out, `total` is anew."""
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
