"""The names of a tick's fields in recordings.

Kite renamed its fields once, and older recorders and CSV files use other names; all are mapped to those of
`events.Tick` here. A plan is made once for each set of names, not for each record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

#: field -> its names, in order of preference.
NAMES: dict[str, tuple[str, ...]] = {
    "instrument_token": ("instrument_token", "token"),
    "last_price": ("last_price", "ltp", "price"),
    "exchange_timestamp": ("exchange_timestamp",),
    "timestamp": ("timestamp", "datetime", "time", "date"),
    "last_trade_time": ("last_trade_time",),
    "received_at": ("received_at",),
    "symbol": ("symbol", "tradingsymbol"),
    "volume_traded": ("volume_traded", "volume"),
    "average_traded_price": ("average_traded_price", "average_price", "average_trade_price"),
    "last_traded_quantity": (
        "last_traded_quantity", "last_quantity", "last_trade_quantity", "last_trade_qty", "qty", "quantity",
    ),
    "total_buy_quantity": ("total_buy_quantity", "buy_quantity"),
    "total_sell_quantity": ("total_sell_quantity", "sell_quantity"),
    "oi": ("oi", "open_interest"),
    "oi_day_high": ("oi_day_high",),
    "oi_day_low": ("oi_day_low",),
    "ohlc": ("ohlc",),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close",),
    "depth": ("depth",),
    "mode": ("mode",),
    "tradable": ("tradable",),
    "change": ("change",),
}  # fmt: skip

_FIELD_OF = {name: (field, rank) for field, names in NAMES.items() for rank, name in enumerate(names)}
_OF_A_TRADE = {"instrument_token", "last_price", "symbol", "exchange_timestamp", "timestamp", "date",
               "last_trade_time", "received_at"}  # fmt: skip


class Plan(NamedTuple):
    """Where a record's fields are: (key, field) pairs, preferred names last, and the keys of unknown fields."""

    known: tuple[tuple[Any, str], ...]
    extras: tuple[Any, ...]

    def has(self, field: str) -> bool:
        """Return whether the record has `field`."""
        return any(name == field for _, name in self.known)


def knows(name: str) -> bool:
    """Return whether `name` is a name of a tick's field."""
    return _clean(name) in _FIELD_OF


def plan_of(names: Sequence[str], keys: Sequence[Any] | None = None) -> Plan:
    """Return the plan for records with fields `names`, found under `keys` (by default the names themselves)."""
    known: list[tuple[int, Any, str]] = []
    extras: list[Any] = []
    cleaned = {_clean(name) for name in names}
    for name, key in zip(names, names if keys is None else keys, strict=True):
        clean = _clean(name)
        if clean not in _FIELD_OF:
            if clean != "type":
                extras.append(key)
            continue
        field, rank = _FIELD_OF[clean]
        if clean == "date" and "time" in cleaned:
            field = "date"  # both columns together are one time
        known.append((rank, key, field))
    fields = {field for _, _, field in known}
    if "volume" in cleaned and fields <= _OF_A_TRADE | {"volume_traded"} and "volume_traded" not in cleaned:
        # With only a time and a price it is the quantity of this one trade, not the day's total.
        known = [
            (rank, key, "last_traded_quantity" if field == "volume_traded" else field) for rank, key, field in known
        ]
    known.sort(key=lambda item: -item[0])
    return Plan(tuple((key, field) for _, key, field in known), tuple(extras))


def _clean(name: str) -> str:
    return name.strip().lower()
