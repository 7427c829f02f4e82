"""Limits as the controls read them: whole numbers, and how the tightest of several levels is found.

Amounts are in ledger units (a hundredth of a paisa), fractions in millionths, durations in microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

#: The simulated broker. For it a control that is not set is off; for any other it refuses.
PAPER = "paper"

MILLION = 1_000_000


class Limits(Struct, frozen=True):
    """The limits of one level, or of several combined. None: unset. False: off, where that is a value.

    Some fields have several numbers: `price_tolerance` by kind (equity, index_future, stock_future,
    option), `entry_window` after open and before close, `message_rate` a second, minute and day, `repeated_execution`
    orders, microseconds and round trips, `orders_to_trades` ratio and after, `participation` of the day and the minute.
    """

    max_order_quantity: int | None = None
    max_order_value: int | None = None
    max_slices: int | None = None
    max_position: int | None = None
    max_open_order_value: int | None = None
    max_turnover: int | None = None
    max_gross_exposure: int | None = None
    max_net_exposure: int | None = None
    price_tolerance: tuple[int | None, ...] | None = None
    market_protection: int | None = None  # 0: off
    session_hours: bool | None = None
    entry_window: tuple[int, ...] | None = None
    expiry_day_entries: bool | None = None
    max_tick_age: int | None = None
    signal_ttl: int | None = None
    duplicate_window: int | None = None
    confirm_within: int | None = None
    self_match_prevention: bool | None = None
    products: frozenset[str] | None = None
    order_types: frozenset[str] | None = None
    participation: tuple[int | None, ...] | bool | None = None
    max_modifications: int | None = None
    average_daily_volume: int | None = None
    allowed_instruments: tuple[frozenset[str], ...] | None = None  # each must have the instrument
    restricted_instruments: frozenset[str] | None = None
    max_daily_loss: int | None = None
    max_drawdown: int | None = None
    repeated_execution: tuple[int, ...] | None = None
    max_consecutive_rejects: int | None = None
    message_rate: tuple[int, ...] | None = None
    orders_to_trades: tuple[int, ...] | None = None
    max_funds_share: int | None = None
    assume_market_fills: bool | None = None
    circuit_limits: bool | None = None
    max_funds_age: int | None = None
    reconcile: bool | None = None
    max_heartbeat_age: int | None = None
    max_clock_skew: int | None = None
    max_clock_jump: int | None = None
    algo_id: str | bool | None = None
    registered_ip: str | bool | None = None


Tighter = Callable[[Any, Any], Any]


def _each(tighter: Tighter) -> Tighter:
    """Compare number by number; one that is not given does not count."""
    return lambda one, other: tuple(
        b if a is None else a if b is None else tighter(a, b) for a, b in zip(one, other, strict=True)
    )


def _unless_off(tighter: Tighter) -> Tighter:
    """Treat any number as tighter than `off`."""
    return lambda one, other: other if one is False else one if other is False else tighter(one, other)


def _first(one: Any, _: Any) -> Any:
    """Return the value of the wider level: of two words neither is tighter."""
    return one


#: setting -> the tighter of two values. Levels and changes of limits are both compared with this table.
TIGHTER: dict[str, Tighter] = {
    "max_order_quantity": min,
    "max_order_value": min,
    "max_slices": min,
    "max_position": min,
    "max_open_order_value": min,
    "max_turnover": min,
    "max_gross_exposure": min,
    "max_net_exposure": min,
    "price_tolerance": _each(min),
    "market_protection": min,
    "session_hours": max,
    "entry_window": _each(max),
    "expiry_day_entries": min,
    "max_tick_age": min,
    "signal_ttl": min,
    "duplicate_window": max,
    "confirm_within": min,
    "self_match_prevention": max,
    "products": frozenset.intersection,
    "order_types": frozenset.intersection,
    "participation": _unless_off(_each(min)),
    "max_modifications": min,
    "average_daily_volume": min,
    "allowed_instruments": lambda one, other: (*one, *(names for names in other if names not in one)),
    "restricted_instruments": frozenset.union,
    "max_daily_loss": min,
    "max_drawdown": min,
    "repeated_execution": lambda one, other: (min(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2])),
    "max_consecutive_rejects": min,
    "message_rate": _each(min),
    "orders_to_trades": _each(min),
    "max_funds_share": min,
    "assume_market_fills": min,
    "circuit_limits": max,
    "max_funds_age": min,
    "reconcile": max,
    "max_heartbeat_age": min,
    "max_clock_skew": min,
    "max_clock_jump": min,
    "algo_id": _unless_off(_first),
    "registered_ip": _unless_off(_first),
}


def tightest(levels: Iterable[Limits]) -> Limits:
    """Return the limits that satisfy all of `levels`."""
    values: dict[str, Any] = {}
    for level in levels:
        for name, value in asdict(level).items():
            if value is not None:
                known = values.get(name)
                values[name] = value if known is None else TIGHTER[name](known, value)
    return Limits(**values)


def fits(pattern: str, token: int, key: str) -> bool:
    """Return whether `pattern` names the instrument: its token, its key, or the beginning of its key and a *."""
    return pattern in {key, str(token)} or (pattern.endswith("*") and key.startswith(pattern[:-1]))


def listed(patterns: Iterable[str], token: int, key: str) -> bool:
    """Return whether any of `patterns` names the instrument."""
    return any(fits(pattern, token, key) for pattern in patterns)
