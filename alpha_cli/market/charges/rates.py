"""The tariff file: one rate a row, each with the day it began and its source; and the row that holds on a day.

`configs/charges/zerodha.json` is what it says. A row without a source has the rate null: to ask for it is
an error that names it, so that nobody is charged a guess. Rates are decimal strings, never floats.
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

#: Where the tax on a sale is the one on commodities.
COMMODITIES = ("MCX", "NCO")

FILE = "charges/zerodha.json"
NO_SOURCE = "no source: "

_HUNDRED = Decimal(100)
_CRORE = Decimal(10**7)
_LARGEST = Decimal(10**6)


class ChargesUnknown(ConfigurationError):
    """The tariff does not know a rate: its era has no source, or lies outside what the file covers."""


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """One rate of one component, from a day on, until a later row of the same scope.

    component   what is charged
    exchanges   where, in Kite's names; none: everywhere
    kinds       of what; none: of everything
    holding     equity only: delivery or intraday; null: both
    side        who pays: the buyer, the seller, or both
    groups      BSE scrip groups and the like, as the file's notes say; null: all that no other row names
    agri        commodities only: agricultural, or not; null: both
    event       null: a trade. exercise: an option that is exercised or assigned
    first       `from`: the first day
    rate        a decimal, or null where no source is known
    unit        percent of the turnover (of the premium, for options), per_crore: rupees for each crore of it,
                or rupees: flat, for each executed order (for dp, for each instrument and day)
    cap         rupees an order at most, or null
    source      a circular or a page; of a null rate, `no source: ` and why
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
        """All but the era: rows of one scope follow one another."""
        return (self.component, self.exchanges, self.kinds, self.holding, self.side, self.groups, self.agri, self.event)

    @property
    def fraction(self) -> Decimal:
        """The rate as a fraction of the turnover; 0 if it is flat. Raises nothing: `check` has seen it."""
        if self.rate is None or self.unit == "rupees":
            return Decimal(0)
        return Decimal(self.rate) / (_HUNDRED if self.unit == "percent" else _CRORE)

    @property
    def flat(self) -> Decimal:
        """Rupees an order; 0 if it is no flat rate."""
        return Decimal(self.rate) if self.rate is not None and self.unit == "rupees" else Decimal(0)


class TariffFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file.

    broker      whose brokerage it is
    first_day   nothing is known of days before it
    checked     the day on which the sources were last compared; later days take the newest rates
    notes       for people
    """

    broker: str
    first_day: date
    checked: date
    rates: tuple[Row, ...]
    notes: tuple[str, ...] = ()


class Asked(NamedTuple):
    """What a rate is wanted for."""

    exchange: str
    kind: Kind
    holding: Holding
    side: Literal["BUY", "SELL"]
    group: str | None = None
    agri: bool = False
    event: str | None = None


class Found(NamedTuple):
    """The row that holds; None where the component does not apply. Valid for `first` <= day < `until`."""

    row: Row | None
    first: date
    until: date


def tariff_path() -> Path:
    """Where the tariff is: $ALPHA_CONFIG_DIR, ./configs, then the packaged one. Raises `ConfigurationError`."""
    return find_config(FILE)


def read_tariff(path: Path) -> TariffFile:
    """The checked file at `path`. Raises `ConfigurationError`, one line that says where."""
    tariff = read_dated(path, TariffFile, check_unique_keys)
    for fault in _faults(tariff):
        raise ConfigurationError(f"{path}: {printable(fault, 300)}")
    return tariff


def find(tariff: TariffFile, component: Component, day: date, asked: Asked) -> Found:
    """The row of `component` for what is `asked` on `day`. Raises `ChargesUnknown`.

    Rows that name the group go before those that name none.
    """
    if day < tariff.first_day:
        raise ChargesUnknown(
            f"charges of {day} are not known: the tariff of {tariff.broker} begins on {tariff.first_day}"
        )
    rows = [row for row in tariff.rates if row.component == component and _covers(row, asked)]
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
        where = f" on {asked.exchange}" if asked.exchange else ""
        last = "" if until == date.max else f" to {until}"
        raise ChargesUnknown(
            f"{component}{where} of {day} is not known, {current.source} (from {first}{last}); set its rate in a copy "
            f"of {FILE} under ./configs, or do without charges (alpha paper --charges none)"
        )
    return Found(current, first, until)


def _covers(row: Row, asked: Asked) -> bool:
    return (
        row.event == asked.event
        and (not row.exchanges or asked.exchange in row.exchanges)
        and (not row.kinds or asked.kind in row.kinds)
        and (row.holding is None or asked.kind != "equity" or row.holding == asked.holding)
        and row.side in ("both", asked.side.lower())
        and (row.groups is None or asked.group in row.groups)
        and (row.agri is None or row.agri == asked.agri)
    )


# --- checks of the file ----------------------------------------------------------------------


def _faults(tariff: TariffFile) -> Iterator[str]:
    seen: dict[tuple[object, ...], list[date]] = {}
    for place, row in enumerate(tariff.rates):
        where = f"rates[{place}] ({row.component} from {row.first})"
        yield from (f"{where}: {fault}" for fault in _row_faults(row))
        days = seen.setdefault(row.scope, [])
        if row.first in days:
            yield f"{where}: the same scope and day twice"
        days.append(row.first)
    for scope, days in seen.items():
        if min(days) != tariff.first_day:
            yield f"{scope[0]} of {scope[1:]} begins on {min(days)}, not on first_day {tariff.first_day}"
    yield from _gaps(tariff.rates)


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
        yield "a cap is for brokerage by turnover alone"
    if row.unit == "rupees" and row.component not in ("brokerage", "dp", "auto_square_off"):
        yield "a flat rate is for brokerage, dp and auto_square_off alone"
    for exchange in row.exchanges:
        if exchange not in EXCHANGES:
            yield f"no exchange {exchange!r}; known: {', '.join(EXCHANGES)}"


def _is_amount(text: str) -> bool:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return False
    return amount.is_finite() and 0 <= amount <= _LARGEST


def _gaps(rates: Sequence[Row]) -> Iterator[str]:
    """A component that no row names would silently be free: each needs one, be it of rate 0."""
    for asked in _everything():
        tax: Component = "ctt" if asked.exchange in COMMODITIES else "stt"
        needed: tuple[Component, ...] = ("brokerage", tax, "transaction", "sebi", "stamp_duty", "gst")
        for component in needed:
            either_side = (asked, asked._replace(side="BUY"))
            if not any(row.component == component and _covers(row, one) for row in rates for one in either_side):
                what = f"{asked.kind}, {asked.holding}{', agri' if asked.agri else ''} on {asked.exchange}"
                yield f"no rate of {component} for {what}; where there is none, say so with rate 0"
    for component in ("dp", "auto_square_off"):
        if not any(row.component == component for row in rates):
            yield f"no rate of {component}"


def _everything() -> Iterator[Asked]:
    """All that can be traded, without a group, as a sale."""
    holdings: tuple[Holding, ...] = ("delivery", "intraday")
    for exchange, kinds in EXCHANGES.items():
        for kind in kinds:
            for holding in holdings if kind == "equity" else holdings[:1]:
                for agri in (False, True) if exchange in COMMODITIES else (False,):
                    yield Asked(exchange, kind, holding, "SELL", agri=agri)
