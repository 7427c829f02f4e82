"""From `risk.yaml` to the limits that hold: each level as whole numbers, and the tightest of those that apply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from msgspec.structs import asdict

from alpha_cli.core.money import units
from alpha_cli.stages.risk.config import InstrumentLevel, RiskFile
from alpha_cli.stages.risk.limits import MILLION, PAPER, TIGHTER, Limits, fits, tightest

_UNSET = Limits()


def of_level(level: InstrumentLevel) -> Limits:
    """Return the settings of one level of `risk.yaml` as limits."""
    values: dict[str, Any] = {}
    for name in level.model_fields_set & TIGHTER.keys():
        value = getattr(level, name)
        if value is not None:
            values[name] = _CONVERSIONS.get(name, _unchanged)(value)
    return Limits(**values)


def _unchanged(value: Any) -> Any:
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
        return tuple(None if number is None else int(number * by) for number in found)

    return numbers


#: How a setting of the file becomes a value that can be compared. Settings not listed stay as they are.
_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
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


def limits_hash(file: RiskFile) -> str:
    """Return 16 characters that identify these limits; every order carries them."""
    import json
    from hashlib import sha256

    written = json.dumps(canonical(file), sort_keys=True)  # so that neither order nor layout of the file matters
    return sha256(written.encode()).hexdigest()[:16]


def canonical(file: RiskFile) -> dict[str, Any]:
    """Return the file as plain JSON values in which equal limits are written equally."""
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
    return [_sorted(item) for item in value] if isinstance(value, tuple) else value


class Levels:
    """The levels of a file, ready to be combined for a broker, a strategy and an instrument."""

    def __init__(self, file: RiskFile) -> None:
        self._account = of_level(file.account)
        self._brokers = {name: of_level(level) for name, level in file.brokers.items()}
        self._strategies = {name: of_level(level) for name, level in file.strategies.items()}
        self._instruments = {name: of_level(level) for name, level in file.instruments.items()}

    def broker(self, broker: str) -> Limits:
        """Return the limits of the account of `broker`: none for a real broker that the file does not name."""
        if broker != PAPER and broker not in self._brokers:
            return _UNSET
        return tightest([self._account, self._brokers.get(broker, _UNSET)])

    def strategy(self, strategy_id: str) -> Limits:
        """Return the limits of a strategy by itself."""
        return self._strategies.get(strategy_id, _UNSET)

    def instrument(self, token: int, key: str) -> Limits:
        """Return the limits of an instrument by itself, given by token and by EXCHANGE:SYMBOL."""
        return tightest(level for name, level in self._instruments.items() if fits(name, token, key))

    def together(self, broker: str, strategy_id: str, token: int, key: str) -> Limits:
        """Return the limits of an order: the tightest of all levels."""
        return tightest(self.sources(broker, strategy_id, token, key).values())

    def sources(self, broker: str, strategy_id: str, token: int, key: str) -> Mapping[str, Limits]:
        """Return each level that applies, by its name in the file."""
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
