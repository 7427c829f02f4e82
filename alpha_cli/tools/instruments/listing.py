"""The output of `alpha instruments`: tables and JSON lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from alpha_cli.cli.tables import NOTHING, table
from alpha_cli.core.text import printable
from alpha_cli.market.instruments.freeze import FreezeTable, Limit, freeze_limit, freeze_quantity
from alpha_cli.market.instruments.instrument import Instrument

if TYPE_CHECKING:
    from alpha_cli.market.instruments.master import Master
    from alpha_cli.market.instruments.store import Loaded, Version


_encoder = msgspec.json.Encoder(decimal_format="number")


class About(NamedTuple):
    """An instrument and its history.

    freeze    most units of an order on `day`, from `limit`; None if there is no limit or it is not known
    versions  its versions in the dumps, oldest first
    others    versions of other instruments with the same token
    """

    instrument: Instrument
    day: date
    freeze: int | None
    limit: Limit | None
    versions: list[Version]
    others: list[Version]


def about(instrument: Instrument, day: date, table: FreezeTable, master: Master) -> About:
    """Return everything known about `instrument` on `day`."""
    same = master.history(instrument)
    others = [
        version
        for version in master.versions(instrument.instrument_token)
        if (version.instrument.key, version.instrument.expiry) != (instrument.key, instrument.expiry)
    ]
    return About(
        instrument, day, freeze_quantity(instrument, day, table), freeze_limit(instrument, day, table), same, others
    )


def as_json(found: Iterable[Instrument]) -> Iterator[str]:
    """Yield one JSON object a line; prices are exact numbers."""
    for one in found:
        yield _encoder.encode(_fields(one)).decode()


def as_table(found: Iterable[Instrument]) -> Iterator[str]:
    """Yield a table; nothing if there are no instruments."""
    rows = [
        (
            one.key, str(one.instrument_token), one.instrument_type, _text(one.expiry), _text(one.strike),
            str(one.lot_size), _text(one.tick_size), one.name or NOTHING,
        )
        for one in found
    ]  # fmt: skip
    if rows:
        yield from table(("instrument", "token", "type", "expiry", "strike", "lot", "tick", "name"), rows)


def of_load(loaded: Iterable[Loaded]) -> Iterator[str]:
    """Yield a table with a line for each exchange of a dump."""
    rows = [(one.exchange, *map(str, one[1:])) for one in loaded]
    yield from table(("exchange", "instruments", "new", "changed", "gone"), rows)


def about_as_json(what: About) -> str:
    """Return one JSON object."""
    values = {
        **_fields(what.instrument),
        "kind": what.instrument.kind,
        "underlying": what.instrument.underlying,
        "expired": _expired(what),
        "freeze_quantity": what.freeze,
        "freeze_source": None if what.limit is None else what.limit.source,
        "history": [_version(version) for version in what.versions],
        "token_also": [_version(version) for version in what.others],
    }
    return _encoder.encode(values).decode()


def about_as_text(what: About) -> Iterator[str]:
    """Yield one field a line, then the history."""
    fields = _described(what)
    width = max(map(len, fields))
    for name, value in fields.items():
        yield f"{name.ljust(width)}  {printable(value, 300)}"
    yield ""
    yield from table(
        ("from", "to", "instrument", "token", "lot", "tick", "expiry"),
        [
            (
                str(first), str(last), other.key, str(other.instrument_token), str(other.lot_size),
                _text(other.tick_size), _text(other.expiry),
            )
            for other, first, last in sorted([*what.versions, *what.others], key=lambda version: version[1:])
        ],
    )  # fmt: skip


def _described(what: About) -> dict[str, str]:
    """Return the fields of an instrument by their names for people."""
    instrument = what.instrument
    freeze = NOTHING if what.freeze is None or what.limit is None else (
        f"{what.freeze} units, {what.freeze // instrument.lot_size} lots "
        f"(from {what.limit.start}: {what.limit.source})"
    )  # fmt: skip
    return {
        "instrument": instrument.key,
        "token": str(instrument.instrument_token),
        "exchange token": instrument.exchange_token or NOTHING,
        "name": instrument.name or NOTHING,
        "kind": f"{instrument.kind} ({instrument.segment}, {instrument.instrument_type})",
        "underlying": instrument.underlying,
        "expiry": _text(instrument.expiry) + (" (expired)" if _expired(what) else ""),
        "strike": _text(instrument.strike),
        "lot size": f"{instrument.lot_size} units",
        "tick size": f"₹{_text(instrument.tick_size)}",
        "freeze quantity": freeze,
    }


def _fields(one: Instrument) -> dict[str, Any]:
    return {"key": one.key, **{name: getattr(one, name) for name in one.__struct_fields__}}


def _version(version: Version) -> dict[str, Any]:
    return {"from": version.first_seen, "to": version.last_seen, **_fields(version.instrument)}


def _expired(what: About) -> bool:
    return what.instrument.expiry is not None and what.instrument.expiry < what.day


def _text(value: Decimal | date | None) -> str:
    return NOTHING if value is None else str(value)
