"""Reading Kite's instrument dump: CSV, plain or gzip. By default one wrong row refuses the whole dump.

A master with a gap would deny orders wrongly, so half a dump is never used, and rows are left out only if the
user asks for it. The columns are those of https://kite.trade/docs/connect/v3/market-quotes/#instruments. Copies
of a dump often lack some columns; those in `REQUIRED` must be there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

from alpha_cli.core.errors import BadData, NoInput
from alpha_cli.core.text import printable, shown
from alpha_cli.market.instruments.instrument import Instrument

REQUIRED = ("instrument_token", "tradingsymbol", "exchange", "segment", "instrument_type", "lot_size", "tick_size")
OPTIONAL = ("name", "exchange_token", "expiry", "strike")

MAX_BYTES = 64 << 20  # of a dump, decompressed; a whole one has about 8 MB
TYPES = frozenset({"EQ", "FUT", "CE", "PE"})
SOURCE = "https://api.kite.trade/instruments"

_TOKEN = re.compile(r"[1-9][0-9]{0,9}")
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,8})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EXCHANGE = re.compile(r"[A-Z][A-Z0-9]{1,15}")
_SEGMENT = re.compile(r"[A-Z][A-Z0-9-]{1,31}")
_EXCHANGE_TOKEN = re.compile(r"[0-9A-Za-z]{0,32}")
_GZIP = b"\x1f\x8b"

#: Kite gives an index neither lot nor tick size, as it is not traded. These are the values of an unlisted token.
_INDEX_LOT, _INDEX_TICK = 1, Decimal("0.05")


def read_dump(
    path: Path, source: str | None = None, on_wrong_row: Callable[[str], object] | None = None
) -> list[Instrument]:
    """Return every instrument of the dump at `path`, in its order; messages name `source`, by default the path.

    With `on_wrong_row`, wrong rows are reported to it and left out, up to one in a hundred. Raises `NoInput` if
    the file does not exist, and `BadData` naming the line if it is not a whole dump.
    """
    where = f"instrument master {source or path}"
    text = _text(path, where)
    instruments: list[Instrument] = []
    left_out = 0
    unique = _Uniqueness()
    try:
        for number, row in _rows(text):
            try:
                instrument = _instrument(row)
                unique.check(instrument)
            except ValueError as error:
                if on_wrong_row is None:
                    raise BadData(f"{where}: line {number}: {error}; no row of the dump is used") from None
                left_out += 1
                on_wrong_row(f"line {number}: {error}")
            else:
                instruments.append(instrument)
    except _NotADump as error:
        raise BadData(f"{where} is not Kite's CSV: {error}") from None
    if left_out * 100 > len(instruments) + left_out:
        raise BadData(f"{where}: {left_out} of {len(instruments) + left_out} rows are wrong: not a dump of Kite's")
    if not instruments:
        raise BadData(f"{where} has no instruments, only a header; fetch it again from {SOURCE}")
    return instruments


class _Uniqueness:
    """The keys and tokens of a dump so far; each may be there once."""

    def __init__(self) -> None:
        self._keys: set[tuple[str, str, date | None]] = set()
        self._tokens: set[int] = set()

    def check(self, instrument: Instrument) -> None:
        """Enter an instrument. Raises `ValueError` if its key or token was there before."""
        key = (instrument.exchange, instrument.tradingsymbol, instrument.expiry)
        if key in self._keys:
            raise ValueError(f"{instrument.key} is listed twice")
        if instrument.instrument_token in self._tokens:
            raise ValueError(f"instrument_token {instrument.instrument_token} is listed twice")
        self._keys.add(key)
        self._tokens.add(instrument.instrument_token)


class _NotADump(ValueError):
    """The file as a whole is something else."""


def _text(path: Path, where: str) -> str:
    """Return the text of the file; its first bytes, not its name, say whether it is compressed."""
    data = _decompressed(path, where)
    if len(data) > MAX_BYTES:
        raise BadData(f"{where} has more than {MAX_BYTES} bytes; a dump has about 8 MB")
    if data and not data.endswith(b"\n"):  # a last line that is cut short can still look right: NSE cut to NS
        raise BadData(f"{where} is not Kite's CSV, or cut short: its last line has no end; fetch it again")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadData(f"{where}: line {line}: not UTF-8, so not Kite's CSV") from None


def _decompressed(path: Path, where: str) -> bytes:
    """Return the first `MAX_BYTES` and one of the file."""
    import gzip
    import zlib
    from io import BytesIO

    try:
        with path.open("rb") as raw:
            data = raw.read(MAX_BYTES + 1)  # in one go: a pipe cannot be read again
        if data.startswith(_GZIP):
            with gzip.open(BytesIO(data)) as file:
                data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise NoInput(f"{where} does not exist; Kite has it at api.kite.trade/instruments") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadData(f"{where} is a damaged archive: {error}; fetch it again") from None
    except OSError as error:
        raise NoInput(f"{where}: {error.strerror or error}") from None
    return data


def _rows(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and cells by name of each row that is not blank. Raises `_NotADump`."""
    import csv
    from io import StringIO

    lines = csv.reader(StringIO(text, newline=""))
    try:
        header = [name.strip() for name in next(lines, [])]
        _check_header(header)
        wanted = [(name, header.index(name)) for name in (*REQUIRED, *OPTIONAL) if name in header]
        for cells in lines:
            if not cells:
                continue
            if len(cells) != len(header):
                raise _NotADump(f"line {lines.line_num} has {len(cells)} fields, the header {len(header)}: cut short?")
            yield lines.line_num, {name: cells[place] for name, place in wanted}
    except csv.Error as error:
        raise _NotADump(f"line {lines.line_num}: {error}") from None


def _check_header(header: list[str]) -> None:
    if not any(header):
        raise _NotADump("it is empty")
    lacking = [name for name in REQUIRED if name not in header]
    if lacking:
        raise _NotADump(f"line 1 has no column {', '.join(lacking)}; it begins {printable(','.join(header), 40)!r}")
    twice = {name for name in header if header.count(name) > 1}.intersection((*REQUIRED, *OPTIONAL))
    if twice:
        raise _NotADump(f"line 1 has {', '.join(sorted(twice))} twice")


def _instrument(row: dict[str, str]) -> Instrument:
    """Return the instrument of one row. Raises `ValueError` that names the wrong cell."""
    kind = row["instrument_type"]
    if kind not in TYPES:
        raise ValueError(f"instrument_type {_cell(kind)} is not one of {', '.join(sorted(TYPES))}")
    exchange, segment = _matching(_EXCHANGE, "exchange", row), _matching(_SEGMENT, "segment", row)
    is_index = segment == "INDICES"
    if not is_index and segment.partition("-")[0] != exchange:
        raise ValueError(f"segment {segment} does not belong to exchange {exchange}")
    is_derivative = kind != "EQ"
    return Instrument(
        _token(row["instrument_token"]),
        exchange,
        _label("tradingsymbol", row["tradingsymbol"], 64),
        _label("name", row["name"].strip('"'), 200) if row.get("name") else "",
        segment,
        kind,
        _lot(row["lot_size"], is_index=is_index),
        _tick(row["tick_size"], is_index=is_index),
        _expiry(row.get("expiry", ""), needed=is_derivative),
        _strike(row.get("strike", ""), needed=kind in {"CE", "PE"}),
        _matching(_EXCHANGE_TOKEN, "exchange_token", row) if "exchange_token" in row else "",
    )


def _cell(text: str) -> str:
    return printable(shown(text), 60)


def _matching(pattern: re.Pattern[str], name: str, row: dict[str, str]) -> str:
    if not pattern.fullmatch(row[name]):
        raise ValueError(f"{name} {_cell(row[name])} is not valid")
    return row[name]


def _label(name: str, text: str, longest: int) -> str:
    if name == "tradingsymbol" and (not text or text != text.strip()):
        raise ValueError(f"{name} {_cell(text)} is not valid")
    if len(text) > longest or not text.isprintable() or printable(text, longest) != text:
        raise ValueError(f"{name} {_cell(text)} is too long or not printable")
    return text


def _token(text: str) -> int:
    if not _TOKEN.fullmatch(text) or int(text) >= 1 << 32:
        raise ValueError(f"instrument_token {_cell(text)} is not a number from 1 to {(1 << 32) - 1}")
    return int(text)


def _number(name: str, text: str) -> Decimal:
    """Return a plain decimal number without trailing zeros: 25000.0 is 25000."""
    known = _NUMBERS.get(text)
    if known is None:
        if not _NUMBER.fullmatch(text):
            raise ValueError(f"{name} {_cell(text)} is not a number")
        known = Decimal(text.rstrip("0").rstrip(".") if "." in text else text)
        if len(_NUMBERS) < 1 << 16:
            _NUMBERS[text] = known
    return known


_NUMBERS: dict[str, Decimal] = {}  # a dump repeats the same few numbers


def _lot(text: str, *, is_index: bool) -> int:
    lot = _number("lot_size", text)
    if is_index and not lot:
        return _INDEX_LOT
    if lot < 1 or lot != lot.to_integral_value() or lot > 10**9:
        raise ValueError(f"lot_size {_cell(text)} is not a whole number of at least 1")
    return int(lot)


def _tick(text: str, *, is_index: bool) -> Decimal:
    tick = _number("tick_size", text)
    if is_index and not tick:
        return _INDEX_TICK
    if not 0 < tick <= 10**6:
        raise ValueError(f"tick_size {_cell(text)} is not above 0; only an index may have no tick size")
    return tick


def _expiry(text: str, *, needed: bool) -> date | None:
    if not needed:
        return None
    known = _DATES.get(text)
    if known is None:
        try:
            if not _DATE.fullmatch(text):
                raise ValueError
            known = date.fromisoformat(text)
        except ValueError:
            raise ValueError(f"expiry {_cell(text)} of a derivative is not a date as 2026-08-25") from None
        if len(_DATES) < 1 << 14:
            _DATES[text] = known
    return known


_DATES: dict[str, date] = {}


def _strike(text: str, *, needed: bool) -> Decimal | None:
    if not needed:
        return None
    strike = _number("strike", text)
    if not strike:
        raise ValueError(f"strike {_cell(text)} of an option is not above 0")
    return strike
