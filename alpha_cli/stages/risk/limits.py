"""Limits as the controls read them: whole numbers, and of several levels the tightest.

Amounts are in ledger units (a hundredth of a paisa), fractions in millionths, durations in microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import asdict

from alpha_cli.core.money import units

if TYPE_CHECKING:
    from alpha_cli.stages.risk.config import InstrumentLevel, RiskFile

#: The simulated broker: a control that is not set is off for it.
PAPER = "paper"

MILLION = 1_000_000


class Limits(Struct, frozen=True):
    """What holds at one level, or at several together. None: unset. False: off, where that is a value.

    Several of the fields are of more than one number: `price_tolerance` by kind (equity, index_future, stock_future,
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
    """Number by number; one that is not given does not count."""
    return lambda one, other: tuple(
        b if a is None else a if b is None else tighter(a, b) for a, b in zip(one, other, strict=True)
    )


def _unless_off(tighter: Tighter) -> Tighter:
    """A number is tighter than `off`."""
    return lambda one, other: other if one is False else one if other is False else tighter(one, other)


def _first(one: Any, _: Any) -> Any:
    """Of two words neither is tighter: that of the wider level holds."""
    return one


#: setting -> the tighter of two values. Both levels and changes of limits are compared by this table alone.
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
    """What holds where all of `levels` do."""
    values: dict[str, Any] = {}
    for level in levels:
        for name, value in asdict(level).items():
            if value is not None:
                known = values.get(name)
                values[name] = value if known is None else TIGHTER[name](known, value)
    return Limits(**values)


def of_level(level: InstrumentLevel) -> Limits:
    """What one level of `risk.yaml` says."""
    values: dict[str, Any] = {}
    for name in level.model_fields_set & TIGHTER.keys():
        value = getattr(level, name)
        if value is not None:
            values[name] = _WRITTEN.get(name, _plain)(value)
    return Limits(**values)


def _plain(value: Any) -> Any:
    return value


def _amount(value: Decimal) -> int:
    return units(value)


def _millionths(value: Decimal | bool) -> int:  # noqa: FBT001  (False is `off`)
    return int(value * MILLION)


def _numbers(*fields: str, by: int = 1) -> Callable[[Any], Any]:
    def numbers(value: Any) -> Any:
        if value is False:
            return False
        found = (getattr(value, field) for field in fields)
        return tuple(None if one is None else int(one * by) for one in found)

    return numbers


#: How a value that was written becomes one that is compared. What is not here stays as it is.
_WRITTEN: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        (
            "max_order_value", "max_open_order_value", "max_turnover", "max_gross_exposure", "max_net_exposure",
            "max_daily_loss", "max_drawdown",
        ),
        _amount,
    ),
    **dict.fromkeys(("market_protection", "max_funds_share"), _millionths),
    **dict.fromkeys(
        (
            "max_tick_age", "signal_ttl", "duplicate_window", "confirm_within", "max_funds_age", "max_heartbeat_age",
            "max_clock_skew", "max_clock_jump",
        ),
        _millionths,
    ),
    **dict.fromkeys(("products", "order_types", "restricted_instruments"), frozenset),
    "allowed_instruments": lambda names: (frozenset(names),),
    "price_tolerance": _numbers("equity", "index_future", "stock_future", "option", by=MILLION),
    "participation": _numbers("day", "minute", by=MILLION),
    "entry_window": _numbers("after_open", "before_close"),
    "message_rate": _numbers("second", "minute", "day"),
    "orders_to_trades": _numbers("ratio", "after"),
    "repeated_execution": lambda value: (value.orders, int(value.seconds * MILLION), value.round_trips),
}  # fmt: skip


def canonical(file: RiskFile) -> dict[str, Any]:
    """A file as plain JSON in which equal limits are written equally."""
    return {name: _canonical(level) for name, level in file.levels().items()}


def _canonical(level: InstrumentLevel) -> dict[str, Any]:
    values = {name: _sorted(value) for name, value in asdict(of_level(level)).items() if value is not None}
    rule = getattr(level, "sizing", None)
    if rule is not None:
        values["sizing"] = {
            name: f"{value.normalize():f}" if isinstance(value, Decimal) else value
            for name, value in rule.model_dump().items()
        }
    return values


def _sorted(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    return [_sorted(one) for one in value] if isinstance(value, tuple) else value


class Levels:
    """The levels of a file, ready to be put together for a broker, a strategy and an instrument."""

    def __init__(self, file: RiskFile) -> None:
        self._account = of_level(file.account)
        self._brokers = {name: of_level(level) for name, level in file.brokers.items()}
        self._strategies = {name: of_level(level) for name, level in file.strategies.items()}
        self._instruments = {name: of_level(level) for name, level in file.instruments.items()}

    def broker(self, broker: str) -> Limits:
        """What holds for the account of `broker` as a whole. A real one has to be named: else nothing is set for it."""
        if broker != PAPER and broker not in self._brokers:
            return _UNSET
        return tightest([self._account, self._brokers.get(broker, _UNSET)])

    def strategy(self, strategy_id: str) -> Limits:
        """What holds for a strategy by itself."""
        return self._strategies.get(strategy_id, _UNSET)

    def instrument(self, token: int, key: str) -> Limits:
        """What holds for an instrument by itself, by its token or by EXCHANGE:SYMBOL."""
        return tightest(level for name, level in self._instruments.items() if fits(name, token, key))

    def together(self, broker: str, strategy_id: str, token: int, key: str) -> Limits:
        """What holds for an order: of all levels the tightest."""
        return tightest(self.sources(broker, strategy_id, token, key).values())

    def sources(self, broker: str, strategy_id: str, token: int, key: str) -> Mapping[str, Limits]:
        """Each level that has a say, by how the file calls it."""
        if broker != PAPER and broker not in self._brokers:
            return {}
        found = {"account": self._account}
        if broker in self._brokers:
            found[f"brokers.{broker}"] = self._brokers[broker]
        if strategy_id in self._strategies:
            found[f"strategies.{strategy_id}"] = self._strategies[strategy_id]
        return found | {
            f"instruments.{name}": level for name, level in self._instruments.items() if fits(name, token, key)
        }


_UNSET = Limits()


def fits(pattern: str, token: int, key: str) -> bool:
    """Whether an instrument is meant by `pattern`: its token, its key, or what its key begins with and a *."""
    return pattern in {key, str(token)} or (pattern.endswith("*") and key.startswith(pattern[:-1]))


def listed(patterns: Iterable[str], token: int, key: str) -> bool:
    """Whether any of `patterns` means the instrument."""
    return any(fits(pattern, token, key) for pattern in patterns)
