"""Freeze quantities: the most units of one order that the exchange accepts.

They are not in Kite's dump and change from month to month, so they are dated data in `configs/freeze.json`, each
row with its source.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from pathlib import Path

import msgspec

from alpha_cli.config.files import find_config, read_dated
from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.text import printable
from alpha_cli.market.instruments.instrument import Instrument

NAME = "freeze.json"
_MAX_QUANTITY = 10**9


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The freeze quantities of one exchange from a day until the next limit, or until `until` (inclusive).

    quantities  underlying -> units in one order
    """

    exchange: str
    start: date = msgspec.field(name="from")
    quantities: dict[str, int]
    source: str
    until: date | None = None


class FreezeTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `freeze.json`."""

    limits: tuple[Limit, ...]
    note: str | tuple[str, ...] = ""

    def limit(self, exchange: str, on: date) -> Limit | None:
        """Return the limit in force on `exchange` on the day `on`, or None."""
        earlier = [limit for limit in self.limits if limit.exchange == exchange and limit.start <= on]
        newest = max(earlier, key=lambda limit: limit.start, default=None)
        return None if newest is None or (newest.until is not None and newest.until < on) else newest


def freeze_quantity(instrument: Instrument, on: date, table: FreezeTable | None = None) -> int | None:
    """Return the most units of one order for `instrument` on `on`, a date in India.

    None if there is no limit (only futures and options have one) or it is not known. Without `table` the
    nearest `freeze.json` is used. Raises `ConfigurationError`.
    """
    limit = freeze_limit(instrument, on, table)
    return None if limit is None else limit.quantities[instrument.underlying]


def freeze_limit(instrument: Instrument, on: date, table: FreezeTable | None = None) -> Limit | None:
    """Return the limit that `freeze_quantity` comes from."""
    if instrument.kind not in {"future", "option"}:
        return None
    limit = (table or load_freeze_table()).limit(instrument.exchange, on)
    return limit if limit is not None and instrument.underlying in limit.quantities else None


def load_freeze_table(path: Path | None = None) -> FreezeTable:
    """Return the file at `path`, or the nearest `freeze.json`. Each is read once. Raises `ConfigurationError`."""
    return _read((path or find_config(NAME)).absolute())


@lru_cache(maxsize=8)
def _read(path: Path) -> FreezeTable:
    table = read_dated(path, FreezeTable)
    _check(table, path)
    return table


def _check(table: FreezeTable, path: Path) -> None:
    """Raise `ConfigurationError` for faults that the types do not exclude."""
    seen: set[tuple[str, date]] = set()
    for limit in table.limits:
        where = f"{path}: {printable(limit.exchange, 40)} from {limit.start}"
        if (limit.exchange, limit.start) in seen:
            raise ConfigurationError(f"{where}: listed twice; keep one")
        seen.add((limit.exchange, limit.start))
        if limit.until is not None and limit.until < limit.start:
            raise ConfigurationError(f"{where}: until {limit.until} is before that day")
        for name, quantity in limit.quantities.items():
            if not 0 < quantity <= _MAX_QUANTITY:
                raise ConfigurationError(f"{where}: {printable(name, 40)}: {quantity} is not a quantity of units")
