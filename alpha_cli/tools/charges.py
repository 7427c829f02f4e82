"""`alpha charges`: what trades cost. The computer's clock gives the day, if --date does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from alpha_cli.core.errors import UsageError
from alpha_cli.core.text import printable

if TYPE_CHECKING:
    from alpha_cli.market.charges.engine import Charges, Tariff
    from alpha_cli.market.charges.note import Note
    from alpha_cli.market.charges.rates import Row

#: The same as in `rates.EXCHANGES`; repeated here so that --help loads no tariff.
EXCHANGES = ("NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX", "NCO")
SIDES = ("BUY", "SELL", "EXERCISE")
MAX_QUANTITY = 10**12  # units, as on the wire
MAX_PRICE = Decimal(10**12)

NAMES = {
    "brokerage": "brokerage",
    "stt": "STT",
    "ctt": "CTT",
    "transaction": "transaction",
    "sebi": "SEBI fee",
    "stamp_duty": "stamp duty",
    "gst": "GST",
    "dp": "DP charge",
    "auto_square_off": "auto square-off",
    "total": "total",
}


_AGRI = {None: "", True: "agri", False: "non-agri"}


class Leg(NamedTuple):
    """One trade of the command line: an order with one fill. `side` may be EXERCISE."""

    side: str
    quantity: int
    price: Decimal


class Terms(NamedTuple):
    """The common properties of all trades."""

    day: date
    exchange: str
    kind: str
    product: str
    group: str | None
    agri: bool


@click.command()
@click.argument("trades", metavar="[SIDE QUANTITY@PRICE]…", nargs=-1)
@click.option("--exchange", type=click.Choice(EXCHANGES, case_sensitive=False), help="The exchange.  [default: NSE]")
@click.option(
    "--kind",
    type=click.Choice(("equity", "future", "option")),
    help="The kind of instrument; always equity on NSE and BSE.",
)
@click.option(
    "--product",
    type=click.Choice(("MIS", "CNC", "NRML"), case_sensitive=False),
    help="MIS is intraday, CNC delivery.  [default: MIS for equity, NRML otherwise]",
)
@click.option("--date", "day", metavar="YYYY-MM-DD", help="The day of the trade.  [default: today in India]")
@click.option("--group", metavar="NAME", help="BSE scrip group (X, Z, M, …), or ETF, ETF-OTHER, STOCK, SX50, FOCIT.")
@click.option("--agri", is_flag=True, help="An agricultural commodity (MCX, NCO).")
@click.option("--note", is_flag=True, help="Print the contract note of that day, netted and rounded.")
@click.option("--sources", is_flag=True, help="List each rate with its dates and its source.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")  # fmt: skip
def command(trades: tuple[str, ...], *, day: str | None, note: bool, sources: bool, as_json: bool, **of: Any) -> None:
    """Compute what trades cost: brokerage, STT or CTT, transaction charges, SEBI fee, stamp duty and GST.

    Each SIDE QUANTITY@PRICE is an order for that many units at that price in rupees (the premium, for an
    option). SIDE is BUY, SELL or EXERCISE (an option that expired in the money; PRICE is its intrinsic value).
    Without --note the result is an unrounded estimate of each order by itself: MIS is intraday, everything else
    delivery. With --note it is the contract note of the day: units both bought and sold are intraday, STT and
    stamp duty (but that of MCX) are whole rupees, and the DP charge is included.

    The rates are in configs/charges/zerodha.json, from 2022 on, each with its source.

    \b
    Example:
        alpha charges BUY 400@1000 SELL 400@1100 --product MIS --exchange NSE
        alpha charges BUY 5000@1000 SELL 5000@1000 --product CNC --date 2026-11-20
        alpha charges BUY 75@110.50 SELL 75@131 --exchange NFO --kind option --json
        alpha charges SELL 10@2500 --product CNC --note
        alpha charges --sources --exchange NFO --kind future
    """
    from alpha_cli.market.charges.engine import Tariff

    if sources:
        if trades or note:
            raise UsageError("--sources lists the tariff; it takes no trades and no --note")
        tariff = Tariff.load()
        for line in _sources(tariff, of["exchange"], of["kind"], as_json=as_json):
            click.echo(line)
        return
    legs = _legs(trades)
    terms = _terms(day, **of)
    if any(leg.side == "EXERCISE" for leg in legs) and terms.kind != "option":
        raise UsageError("EXERCISE is for options: --exchange NFO --kind option")
    tariff = Tariff.load()
    if note:
        lines = _note_lines(_note(tariff, terms, legs), terms, as_json=as_json)
    else:
        lines = _estimate_lines(tariff, terms, legs, as_json=as_json)
    for line in lines:
        click.echo(line)
    _say_how_old(tariff.file.checked, terms.day)


def _say_how_old(checked: date, day: date) -> None:
    """Say that rates of a day after the tariff was checked may have changed."""
    if day > checked:
        click.echo(
            f"alpha charges: the rates were checked on {checked}; what changed between then and {day} is not in them",
            err=True,
        )


# --- reading the command line ----------------------------------------------------------------


def _legs(words: Sequence[str]) -> list[Leg]:
    """Return the trades of the command line. Raises `UsageError`."""
    if not words:
        raise UsageError("give at least one trade, as in: alpha charges BUY 400@1000 SELL 400@1100")
    if len(words) % 2:
        raise UsageError("trades come in pairs SIDE QUANTITY@PRICE, as in: BUY 400@1000")
    return [_leg(words[place], words[place + 1]) for place in range(0, len(words), 2)]


def _leg(side: str, text: str) -> Leg:
    if side.upper() not in SIDES:
        raise UsageError(f"{printable(repr(side))} is not a side; known: {', '.join(SIDES)}")
    quantity, at, price = text.partition("@")
    try:
        units = int(quantity) if quantity.isascii() and quantity.isdecimal() and len(quantity) <= 13 else 0
        rupees = Decimal(price)
    except InvalidOperation:
        units, rupees = 0, Decimal(0)
    if not (at and 0 < units <= MAX_QUANTITY and rupees.is_finite() and 0 < rupees < MAX_PRICE):
        raise UsageError(f"{printable(repr(text))} is not QUANTITY@PRICE, as in 400@1000.50: units and rupees, above 0")
    if rupees != round(rupees, 4):
        raise UsageError(f"{printable(repr(text))}: a price has at most four decimals")
    return Leg(side.upper(), units, rupees)


def _terms(
    day: str | None, *, exchange: str | None, kind: str | None, product: str | None, group: str | None, agri: bool
) -> Terms:
    from alpha_cli.market.charges.rates import COMMODITIES, EXCHANGES as KINDS

    exchange = exchange or "NSE"
    kinds = KINDS[exchange]
    if kind is None and len(kinds) > 1:
        raise UsageError(f"name what is traded on {exchange}: --kind {' or --kind '.join(kinds)}")
    kind = kind or kinds[0]
    if kind not in kinds:
        raise UsageError(f"there is no {kind} on {exchange}, but {' and '.join(kinds)}; use NFO or BFO for derivatives")
    if agri and exchange not in COMMODITIES:
        raise UsageError(f"--agri is for {' and '.join(COMMODITIES)}, not {exchange}")
    product = product or ("MIS" if kind == "equity" else "NRML")
    if product == "CNC" and kind != "equity":
        raise UsageError(f"CNC is for equity; a {kind} is MIS or NRML")
    return Terms(_day(day), exchange, kind, product, group and group.upper(), agri)


def _day(text: str | None) -> date:
    if text is None:
        from alpha_cli.core.times import IST

        return datetime.now(IST).date()
    from alpha_cli.core.time_text import parse_date

    return parse_date("--date", text)


# --- the estimate ----------------------------------------------------------------------------


def _estimate(tariff: Tariff, terms: Terms, leg: Leg) -> Charges:
    from alpha_cli.market.charges.engine import Trade

    if leg.side == "EXERCISE":
        return tariff.on_exercise(terms.day, terms.exchange, leg.price * leg.quantity)
    of: Any = terms  # the choices of click are the literals of Trade
    side: Any = leg.side
    return tariff.unrounded(
        Trade(of.day, of.exchange, of.kind, of.product, side, leg.quantity, leg.price, of.group, of.agri)
    )


def _estimate_lines(tariff: Tariff, terms: Terms, legs: Sequence[Leg], *, as_json: bool) -> Iterator[str]:
    from alpha_cli.market.charges.engine import together

    each = [_estimate(tariff, terms, leg) for leg in legs]
    summed = together(each)
    if as_json:
        for leg, charges in zip(legs, each, strict=True):
            yield _json(
                {"kind": "trade", **_common(terms), "side": leg.side, "quantity": leg.quantity, "price": leg.price},
                charges,
            )
        yield _json({"kind": "total", **_common(terms)}, summed)
        return
    yield f"{_title(terms)}, estimate"
    yield from _table(summed)
    breakeven = _breakeven(legs, summed["total"])
    if breakeven is not None:
        yield f"\nbreaks even at {breakeven} rupees a unit"


def _breakeven(legs: Sequence[Leg], total: Decimal) -> Decimal | None:
    """Return by how many rupees the price must move to pay for a round trip; None if the trades are none."""
    units = {side: sum(leg.quantity for leg in legs if leg.side == side) for side in SIDES}
    if not units["BUY"] or units["BUY"] != units["SELL"] or units["EXERCISE"]:
        return None
    return _paisa(total / units["BUY"])


# --- the contract note -----------------------------------------------------------------------


def _note(tariff: Tariff, terms: Terms, legs: Sequence[Leg]) -> Note:
    from alpha_cli.market.charges.note import NoteTrade, contract_note

    of: Any = terms
    trades = []
    for number, leg in enumerate(legs, 1):
        side: Any = "SELL" if leg.side == "EXERCISE" else leg.side
        trades.append(
            NoteTrade(
                f"order {number}", of.exchange, "this", of.kind, of.product, side, leg.quantity, leg.price,
                of.group, of.agri, exercise=leg.side == "EXERCISE",
            )
        )  # fmt: skip
    return contract_note(tariff, terms.day, trades)


def _note_lines(note: Note, terms: Terms, *, as_json: bool) -> Iterator[str]:
    if as_json:
        for exchange, charges in note.columns.items():
            yield _json({"kind": "column", **_common(terms), "exchange": exchange}, charges)
        yield _json({"kind": "ledger", **_common(terms)}, note.ledger)
        yield _json({"kind": "total", **_common(terms)}, note.charges)
        return
    yield f"{_title(terms)}, contract note"
    yield from _table(note.charges)
    if note.taxes:
        yield ""
        for line in note.taxes:
            yield f"tax on {line.what}: {line.exact}, which is {line.rounded}"


# --- the tariff ------------------------------------------------------------------------------


def _sources(tariff: Tariff, exchange: str | None, kind: str | None, *, as_json: bool) -> Iterator[str]:
    """Yield the rows of the tariff for `exchange` and `kind`, None for all."""
    import msgspec

    rows = [
        row
        for row in tariff.file.rates
        if (exchange is None or not row.exchanges or exchange in row.exchanges)
        and (kind is None or not row.kinds or kind in row.kinds)
    ]
    if as_json:
        yield from (msgspec.json.encode(row).decode() for row in rows)
        return
    from alpha_cli.cli.tables import table

    yield f"{tariff.file.broker}, from {tariff.file.first_day}, compared with the sources on {tariff.file.checked}\n"
    yield from table(("component", "exchange", "of", "side", "from", "rate", "source"), map(_source_cells, rows))
    for note in tariff.file.notes:
        yield f"\n{printable(note, 500)}"


def _source_cells(row: Row) -> tuple[str, ...]:
    from alpha_cli.cli.tables import NOTHING

    return (
        NAMES[row.component] + (f" ({row.event})" if row.event else ""),
        " ".join(row.exchanges) or "all",
        " ".join(filter(None, (*row.kinds, row.holding, *(row.groups or ()), _AGRI[row.agri]))) or "all",
        row.side,
        str(row.first),
        NOTHING if row.rate is None else _rate(row.rate, row.unit, row.cap),
        row.source,
    )


def _rate(rate: str, unit: str, cap: str | None) -> str:
    text = {"percent": f"{rate} %", "per_crore": f"₹{rate} a crore", "rupees": f"₹{rate}"}[unit]
    return text if cap is None else f"{text}, at most ₹{cap}"


# --- printing --------------------------------------------------------------------------------


def _title(terms: Terms) -> str:
    extra = "".join(
        f" {word}" for word in (terms.group and printable(terms.group), "agri" if terms.agri else "") if word
    )
    return f"{terms.exchange} {terms.kind} {terms.product}{extra} on {terms.day}"


def _table(charges: Charges) -> Iterator[str]:
    cells = [(NAMES[name], f"{_paisa(amount):,}") for name, amount in charges.items()]
    width = max(len(name) for name, _ in cells)
    right = max(len(amount) for _, amount in cells)
    for name, amount in cells:
        yield f"{name:<{width}}  {amount:>{right}}"


def _paisa(amount: Decimal) -> Decimal:
    from alpha_cli.market.charges.engine import EXACT, PAISA

    return EXACT.quantize(amount, PAISA)


def _common(terms: Terms) -> dict[str, object]:
    return {"date": terms.day, "exchange": terms.exchange, "of": terms.kind, "product": terms.product}


def _json(values: dict[str, object], charges: Charges) -> str:
    import msgspec

    from alpha_cli.core.money import plain

    exact: Iterable[tuple[str, Decimal]] = charges.items()
    record = {**values, "charges": {name: plain(amount) for name, amount in exact}}
    return msgspec.json.Encoder(decimal_format="number").encode(record).decode()
