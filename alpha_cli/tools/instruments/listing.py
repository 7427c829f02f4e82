"""What `alpha instruments` prints: tables for people, JSON lines for programs."""

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
    """An instrument and what goes with it.

    freeze    the most units of an order on `day`, by `limit`; None: none, or not known
    versions  what the dumps have said of it, oldest first
    others    what else its token has stood for
    """

    instrument: Instrument
    day: date
    freeze: int | None
    limit: Limit | None
    versions: list[Version]
    others: list[Version]


def about(instrument: Instrument, day: date, table: FreezeTable, master: Master) -> About:
    """All that is known of `instrument` on `day`."""
    same = master.history(instrument)
    others = [
        version
        for version in master.versions(instrument.instrument_token)
        if (version.instrument.key, version.instrument.expiry) != (instrument.key, instrument.expiry)
    ]
    return About(
        instrument, day, freeze_quantity(instrument, day, table), freeze_limit(instrument, day, table), same, others
    )


def for_programs(found: Iterable[Instrument]) -> Iterator[str]:
    """One JSON object a line; prices as exact numbers."""
    for one in found:
        yield _encoder.encode(_fields(one)).decode()


def for_people(found: Iterable[Instrument]) -> Iterator[str]:
    """A table; nothing if there is nothing."""
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
    """A line for each exchange of a dump."""
    rows = [(one.exchange, *map(str, one[1:])) for one in loaded]
    yield from table(("exchange", "instruments", "new", "changed", "gone"), rows)


def about_for_programs(what: About) -> str:
    """One JSON object."""
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


def about_for_people(what: About) -> Iterator[str]:
    """A field a line, then what changed over time."""
    one = what.instrument
    freeze = NOTHING if what.freeze is None or what.limit is None else (
        f"{what.freeze} units, {what.freeze // one.lot_size} lots "
        f"(from {what.limit.start}: {what.limit.source})"
    )  # fmt: skip
    fields = {
        "instrument": one.key,
        "token": str(one.instrument_token),
        "exchange token": one.exchange_token or NOTHING,
        "name": one.name or NOTHING,
        "kind": f"{one.kind} ({one.segment}, {one.instrument_type})",
        "underlying": one.underlying,
        "expiry": _text(one.expiry) + (" (expired)" if _expired(what) else ""),
        "strike": _text(one.strike),
        "lot size": f"{one.lot_size} units",
        "tick size": f"₹{_text(one.tick_size)}",
        "freeze quantity": freeze,
    }
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


def _fields(one: Instrument) -> dict[str, Any]:
    return {"key": one.key, **{name: getattr(one, name) for name in one.__struct_fields__}}


def _version(version: Version) -> dict[str, Any]:
    return {"from": version.first_seen, "to": version.last_seen, **_fields(version.instrument)}


def _expired(what: About) -> bool:
    return what.instrument.expiry is not None and what.instrument.expiry < what.day


def _text(value: Decimal | date | None) -> str:
    return NOTHING if value is None else str(value)
