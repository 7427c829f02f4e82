"""`alpha charges`: options and wiring. The only place that asks a clock for the day."""

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

#: As `rates.EXCHANGES` has them; here so that --help needs nothing.
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
    """One TRADE of the command line: an order that filled at once. `side` may be EXERCISE."""

    side: str
    quantity: int
    price: Decimal


class Asked(NamedTuple):
    """What the trades have in common."""

    day: date
    exchange: str
    kind: str
    product: str
    group: str | None
    agri: bool


@click.command()
@click.argument("trades", metavar="[SIDE QUANTITY@PRICE]…", nargs=-1)
@click.option("--exchange", type=click.Choice(EXCHANGES, case_sensitive=False), help="Where.  [default: NSE]")
@click.option(
    "--kind",
    type=click.Choice(("equity", "future", "option")),
    help="Of what; on NSE and BSE it is equity.",
)
@click.option(
    "--product",
    type=click.Choice(("MIS", "CNC", "NRML"), case_sensitive=False),
    help="MIS is intraday, CNC delivery.  [default: MIS for equity, NRML otherwise]",
)
@click.option("--date", "day", metavar="YYYY-MM-DD", help="Of the trade.  [default: today in India]")
@click.option("--group", metavar="NAME", help="BSE scrip group (X, Z, M, …), or ETF, ETF-OTHER, STOCK, SX50, FOCIT.")
@click.option("--agri", is_flag=True, help="An agricultural commodity (MCX, NCO).")
@click.option("--note", is_flag=True, help="The contract note of that day: netted and rounded as published.")
@click.option("--sources", is_flag=True, help="List each rate with its dates and its source.")
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object a line.")  # fmt: skip
def command(trades: tuple[str, ...], *, day: str | None, note: bool, sources: bool, as_json: bool, **of: Any) -> None:
    """What trades cost: brokerage, STT or CTT, transaction charges, SEBI fee, stamp duty and GST.

    Each SIDE QUANTITY@PRICE is an order of that many units at that many rupees each (the premium, for an
    option). SIDE is BUY, SELL or EXERCISE (an option held until it expired in the money; PRICE is its
    intrinsic value). Without --note the figures are an estimate: exact, each order by itself, the product
    taken at its word. With it, one day's contract note: what was bought and sold on that day is intraday,
    STT and stamp duty are whole rupees, and the DP charge is there.

    The rates are those of configs/charges/zerodha.json, from 2022 on, each with its source.

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
            raise UsageError("--sources lists the tariff: give no trades and no --note with it")
        tariff = Tariff.load()
        for line in _sources(tariff, of["exchange"], of["kind"], as_json=as_json):
            click.echo(line)
        return
    legs = _legs(trades)
    asked = _asked(day, **of)
    if any(leg.side == "EXERCISE" for leg in legs) and asked.kind != "option":
        raise UsageError("EXERCISE is for options: --exchange NFO --kind option")
    tariff = Tariff.load()
    if note:
        lines = _note_lines(_note(tariff, asked, legs), asked, as_json=as_json)
    else:
        lines = _estimate_lines(tariff, asked, legs, as_json=as_json)
    for line in lines:
        click.echo(line)


# --- reading the command line ----------------------------------------------------------------


def _legs(words: Sequence[str]) -> list[Leg]:
    """Raises `UsageError`."""
    if not words:
        raise UsageError("give at least one trade, as in: alpha charges BUY 400@1000 SELL 400@1100")
    if len(words) % 2:
        raise UsageError("trades come in pairs SIDE QUANTITY@PRICE, as in: BUY 400@1000")
    return [_leg(words[place], words[place + 1]) for place in range(0, len(words), 2)]


def _leg(side: str, text: str) -> Leg:
    if side.upper() not in SIDES:
        raise UsageError(f"{printable(repr(side))} is no side; known: {', '.join(SIDES)}")
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


def _asked(
    day: str | None, *, exchange: str | None, kind: str | None, product: str | None, group: str | None, agri: bool
) -> Asked:
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
    return Asked(_day(day), exchange, kind, product, group and group.upper(), agri)


def _day(text: str | None) -> date:
    if text is None:
        from alpha_cli.core.times import IST

        return datetime.now(IST).date()
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--date {printable(repr(text))} is no date, as in 2026-11-20") from None


# --- the estimate ----------------------------------------------------------------------------


def _estimate(tariff: Tariff, asked: Asked, leg: Leg) -> Charges:
    from alpha_cli.market.charges.engine import Trade

    if leg.side == "EXERCISE":
        return tariff.on_exercise(asked.day, asked.exchange, leg.price * leg.quantity)
    of: Any = asked  # the choices of click are the literals of Trade
    side: Any = leg.side
    return tariff.unrounded(
        Trade(of.day, of.exchange, of.kind, of.product, side, leg.quantity, leg.price, of.group, of.agri)
    )


def _estimate_lines(tariff: Tariff, asked: Asked, legs: Sequence[Leg], *, as_json: bool) -> Iterator[str]:
    from alpha_cli.market.charges.engine import together

    each = [_estimate(tariff, asked, leg) for leg in legs]
    summed = together(each)
    if as_json:
        for leg, charges in zip(legs, each, strict=True):
            yield _json(
                {"kind": "trade", **_common(asked), "side": leg.side, "quantity": leg.quantity, "price": leg.price},
                charges,
            )
        yield _json({"kind": "total", **_common(asked)}, summed)
        return
    yield f"{_title(asked)}, estimate"
    yield from _table(summed)
    breakeven = _breakeven(legs, summed["total"])
    if breakeven is not None:
        yield f"\nbreaks even at {breakeven} rupees a unit"


def _breakeven(legs: Sequence[Leg], total: Decimal) -> Decimal | None:
    """By how many rupees the price must move for a round trip to pay for itself; None if it is none."""
    units = {side: sum(leg.quantity for leg in legs if leg.side == side) for side in SIDES}
    if not units["BUY"] or units["BUY"] != units["SELL"] or units["EXERCISE"]:
        return None
    return _paisa(total / units["BUY"])


# --- the contract note -----------------------------------------------------------------------


def _note(tariff: Tariff, asked: Asked, legs: Sequence[Leg]) -> Note:
    from alpha_cli.market.charges.note import NoteTrade, contract_note

    of: Any = asked
    trades = []
    for number, leg in enumerate(legs, 1):
        side: Any = "SELL" if leg.side == "EXERCISE" else leg.side
        trades.append(
            NoteTrade(
                f"order {number}", of.exchange, "this", of.kind, of.product, side, leg.quantity, leg.price,
                of.group, of.agri, exercise=leg.side == "EXERCISE",
            )
        )  # fmt: skip
    return contract_note(tariff, asked.day, trades)


def _note_lines(note: Note, asked: Asked, *, as_json: bool) -> Iterator[str]:
    if as_json:
        for exchange, charges in note.columns.items():
            yield _json({"kind": "column", **_common(asked), "exchange": exchange}, charges)
        yield _json({"kind": "ledger", **_common(asked)}, note.ledger)
        yield _json({"kind": "total", **_common(asked)}, note.charges)
        return
    yield f"{_title(asked)}, contract note"
    yield from _table(note.charges)
    if note.taxes:
        yield ""
        for line in note.taxes:
            yield f"tax on {line.what}: {line.exact}, which is {line.rounded}"


# --- the tariff ------------------------------------------------------------------------------


def _sources(tariff: Tariff, exchange: str | None, kind: str | None, *, as_json: bool) -> Iterator[str]:
    import msgspec

    rows = [
        row
        for row in tariff.file.rates
        if (exchange is None or not row.exchanges or exchange in row.exchanges)
        and (kind is None or not row.kinds or kind in row.kinds)
    ]
    if as_json:
        for row in rows:
            yield msgspec.json.encode(row).decode()
        return
    from alpha_cli.cli.tables import NOTHING, table

    yield f"{tariff.file.broker}, from {tariff.file.first_day}, compared with the sources on {tariff.file.checked}\n"
    yield from table(
        ("component", "exchange", "of", "side", "from", "rate", "source"),
        [
            (
                NAMES[row.component] + (f" ({row.event})" if row.event else ""),
                " ".join(row.exchanges) or "all",
                " ".join(filter(None, (*row.kinds, row.holding, *(row.groups or ()), _AGRI[row.agri]))) or "all",
                row.side,
                str(row.first),
                NOTHING if row.rate is None else _rate(row.rate, row.unit, row.cap),
                row.source,
            )
            for row in rows
        ],
    )
    for note in tariff.file.notes:
        yield f"\n{printable(note, 500)}"


def _rate(rate: str, unit: str, cap: str | None) -> str:
    text = {"percent": f"{rate} %", "per_crore": f"₹{rate} a crore", "rupees": f"₹{rate}"}[unit]
    return text if cap is None else f"{text}, at most ₹{cap}"


# --- printing --------------------------------------------------------------------------------


def _title(asked: Asked) -> str:
    extra = "".join(
        f" {word}" for word in (asked.group and printable(asked.group), "agri" if asked.agri else "") if word
    )
    return f"{asked.exchange} {asked.kind} {asked.product}{extra} on {asked.day}"


def _table(charges: Charges) -> Iterator[str]:
    cells = [(NAMES[name], f"{_paisa(amount):,}") for name, amount in charges.items()]
    width = max(len(name) for name, _ in cells)
    right = max(len(amount) for _, amount in cells)
    for name, amount in cells:
        yield f"{name:<{width}}  {amount:>{right}}"


def _paisa(amount: Decimal) -> Decimal:
    from alpha_cli.market.charges.engine import EXACT, PAISA

    return EXACT.quantize(amount, PAISA)


def _common(asked: Asked) -> dict[str, object]:
    return {"date": asked.day, "exchange": asked.exchange, "of": asked.kind, "product": asked.product}


def _json(values: dict[str, object], charges: Charges) -> str:
    import msgspec

    from alpha_cli.core.money import plain

    exact: Iterable[tuple[str, Decimal]] = charges.items()
    record = {**values, "charges": {name: plain(amount) for name, amount in exact}}
    return msgspec.json.Encoder(decimal_format="number").encode(record).decode()
