"""The tariff file: one rate a row, with its first day and its source; and the search for the row in force.

The file is `configs/charges/zerodha.json`. A row without a source has the rate null: asking for it is an
error that names it, so that no charge is a guess. Rates are decimal strings, never floats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

from alpha_cli.config.files import find_config, read_dated
from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.text import printable
from alpha_cli.core.wire import check_unique_keys

Kind: TypeAlias = Literal["equity", "future", "option"]
Holding: TypeAlias = Literal["delivery", "intraday"]
Component: TypeAlias = Literal[
    "brokerage", "stt", "ctt", "transaction", "sebi", "stamp_duty", "gst", "dp", "auto_square_off"
]

#: Exchange as Kite names it -> what is traded there.
EXCHANGES: dict[str, tuple[Kind, ...]] = {
    "NSE": ("equity",),
    "BSE": ("equity",),
    "NFO": ("future", "option"),
    "BFO": ("future", "option"),
    "CDS": ("future", "option"),
    "BCD": ("future", "option"),
    "MCX": ("future", "option"),
    "NCO": ("future", "option"),
}

#: Exchanges with the tax on commodities (CTT).
COMMODITIES = ("MCX", "NCO")

FILE = "charges/zerodha.json"
NO_SOURCE = "no source: "

_HUNDRED = Decimal(100)
_CRORE = Decimal(10**7)
_LARGEST = Decimal(10**6)


class ChargesUnknown(ConfigurationError):
    """The tariff has no rate for this trade: no source is known, or the file does not cover the day."""


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """One rate of one component, from a day on, until a later row of the same scope.

    component   name of the charge
    exchanges   exchanges by Kite's names; empty for all
    kinds       kinds of instrument; empty for all
    holding     equity only: delivery or intraday; null for both
    side        who pays: the buyer, the seller, or both
    groups      BSE scrip groups and others of the file's notes; null for all that no other row names
    agri        commodities only: agricultural, or not; null for both
    event       null for a trade; exercise for an option that is exercised or assigned
    first       `from`: the first day
    rate        a decimal, or null if no source is known
    unit        percent of the turnover (of the premium, for options); per_crore: rupees for each crore of it;
                rupees: flat, for each executed order (for dp, for each instrument and day)
    cap         most rupees an order, or null
    source      a circular or a page; of a null rate, `no source: ` and the reason
    """

    component: Component
    side: Literal["buy", "sell", "both"]
    first: date = msgspec.field(name="from")
    rate: str | None
    unit: Literal["percent", "per_crore", "rupees"]
    source: str
    exchanges: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    holding: Holding | None = None
    groups: tuple[str, ...] | None = None
    agri: bool | None = None
    event: Literal["exercise"] | None = None
    cap: str | None = None

    @property
    def scope(self) -> tuple[object, ...]:
        """Everything but the dates: rows of one scope follow one another."""
        return (self.component, self.exchanges, self.kinds, self.holding, self.side, self.groups, self.agri, self.event)

    @property
    def fraction(self) -> Decimal:
        """The rate as a fraction of the turnover; 0 if it is flat."""
        if self.rate is None or self.unit == "rupees":
            return Decimal(0)
        return Decimal(self.rate) / (_HUNDRED if self.unit == "percent" else _CRORE)

    @property
    def flat(self) -> Decimal:
        """Rupees an order; 0 if it is not a flat rate."""
        return Decimal(self.rate) if self.rate is not None and self.unit == "rupees" else Decimal(0)


class TariffFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file.

    broker      the broker whose brokerage it is
    first_day   the first day that it covers
    checked     the day on which the sources were last compared; later days have the newest rates
    notes       for people
    """

    broker: str
    first_day: date
    checked: date
    rates: tuple[Row, ...]
    notes: tuple[str, ...] = ()


class RateQuery(NamedTuple):
    """The trade or event that a rate is looked up for."""

    exchange: str
    kind: Kind
    holding: Holding
    side: Literal["BUY", "SELL"]
    group: str | None = None
    agri: bool = False
    event: str | None = None


class RowInForce(NamedTuple):
    """The row in force, for `first` <= day < `until`; None if the component does not apply."""

    row: Row | None
    first: date
    until: date


def tariff_path() -> Path:
    """Return the tariff in $ALPHA_CONFIG_DIR, ./configs or the package. Raises `ConfigurationError`."""
    return find_config(FILE)


def read_tariff(path: Path) -> TariffFile:
    """Return the checked file at `path`. Raises `ConfigurationError`, one line that says where the fault is."""
    tariff = read_dated(path, TariffFile, check_unique_keys)
    for fault in _faults(tariff):
        raise ConfigurationError(f"{path}: {printable(fault, 300)}")
    return tariff


def find_row(tariff: TariffFile, component: Component, day: date, query: RateQuery) -> RowInForce:
    """Return the row of `component` for `query` on `day`. Raises `ChargesUnknown`.

    Rows that name the group take precedence over rows that name none.
    """
    if day < tariff.first_day:
        raise ChargesUnknown(
            f"charges of {day} are not known: the tariff of {tariff.broker} begins on {tariff.first_day}"
        )
    rows = [row for row in tariff.rates if row.component == component and _covers(row, query)]
    named = [row for row in rows if row.groups is not None]
    eras = sorted(named or rows, key=lambda row: row.first)
    current = None
    first, until = tariff.first_day, date.max
    for row in eras:
        if row.first <= day:
            current, first = row, row.first
        else:
            until = row.first
            break
    if current is not None and current.rate is None:
        where = f" on {query.exchange}" if query.exchange else ""
        last = "" if until == date.max else f" to {until}"
        raise ChargesUnknown(
            f"{component}{where} of {day} is not known, {current.source} (from {first}{last}); set its rate in a copy "
            f"of {FILE} under ./configs, or trade without charges (alpha paper --charges none)"
        )
    return RowInForce(current, first, until)


def _covers(row: Row, query: RateQuery) -> bool:
    return (
        row.event == query.event
        and (not row.exchanges or query.exchange in row.exchanges)
        and (not row.kinds or query.kind in row.kinds)
        and (row.holding is None or query.kind != "equity" or row.holding == query.holding)
        and row.side in ("both", query.side.lower())
        and (row.groups is None or query.group in row.groups)
        and (row.agri is None or row.agri == query.agri)
    )


# --- checks of the file ----------------------------------------------------------------------


def _faults(tariff: TariffFile) -> Iterator[str]:
    seen: dict[tuple[object, ...], list[date]] = {}
    for place, row in enumerate(tariff.rates):
        where = f"rates[{place}] ({row.component} from {row.first})"
        yield from (f"{where}: {fault}" for fault in _row_faults(row))
        days = seen.setdefault(row.scope, [])
        if row.first in days:
            yield f"{where}: a row of the same scope and day exists already"
        days.append(row.first)
    for scope, days in seen.items():
        if min(days) != tariff.first_day:
            yield f"{scope[0]} of {scope[1:]} begins on {min(days)}, not on first_day {tariff.first_day}"
    yield from _missing_rates(tariff.rates)


def _row_faults(row: Row) -> Iterator[str]:
    if row.rate is None:
        if not row.source.startswith(NO_SOURCE):
            yield f"a null rate needs a source that begins with {NO_SOURCE!r}"
    elif not row.source.strip() or row.source.startswith(NO_SOURCE):
        yield "a rate needs a source"
    for name, text in (("rate", row.rate), ("cap", row.cap)):
        if text is not None and not _is_amount(text):
            yield f"{name} {text!r} is not a decimal number from 0 to {_LARGEST}"
    if row.cap is not None and (row.component != "brokerage" or row.unit == "rupees"):
        yield "only brokerage by turnover can have a cap"
    if row.unit == "rupees" and row.component not in ("brokerage", "dp", "auto_square_off"):
        yield "only brokerage, dp and auto_square_off can have a flat rate"
    for exchange in row.exchanges:
        if exchange not in EXCHANGES:
            yield f"no exchange {exchange!r}; known: {', '.join(EXCHANGES)}"


def _is_amount(text: str) -> bool:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return False
    return amount.is_finite() and 0 <= amount <= _LARGEST


def _missing_rates(rates: Sequence[Row]) -> Iterator[str]:
    """Yield the components without a row: each needs one, if only of rate 0, or it would silently be free."""
    for query in _all_queries():
        tax: Component = "ctt" if query.exchange in COMMODITIES else "stt"
        needed: tuple[Component, ...] = ("brokerage", tax, "transaction", "sebi", "stamp_duty", "gst")
        for component in needed:
            either_side = (query, query._replace(side="BUY"))
            if not any(row.component == component and _covers(row, side) for row in rates for side in either_side):
                what = f"{query.kind}, {query.holding}{', agri' if query.agri else ''} on {query.exchange}"
                yield f"no rate of {component} for {what}; if it is free, add a row with rate 0"
    for component in ("dp", "auto_square_off"):
        if not any(row.component == component for row in rates):
            yield f"no rate of {component}"


def _all_queries() -> Iterator[RateQuery]:
    """Yield every kind of trade, without a group, as a sale."""
    holdings: tuple[Holding, ...] = ("delivery", "intraday")
    for exchange, kinds in EXCHANGES.items():
        for kind in kinds:
            for holding in holdings if kind == "equity" else holdings[:1]:
                for agri in (False, True) if exchange in COMMODITIES else (False,):
                    yield RateQuery(exchange, kind, holding, "SELL", agri=agri)
