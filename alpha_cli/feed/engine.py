"""The tick normaliser: any record that can be understood as a tick becomes an `events.Tick`.

Both readers, of NDJSON and of CSV, put every record that is not yet in wire form through here, and
nowhere else is a name, a time or a number mended. What a tick cannot be without makes it a
`BadLine`; any other field that makes no sense is dropped and counted, and the tick stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

from alpha_cli.errors import BadLine, printable
from alpha_cli.events import IST, Depth, Level, Ohlc, Tick, TickPrice
from alpha_cli.feed.names import Plan, plan_of
from alpha_cli.feed.times import parse_time

_TIMES = ("exchange_timestamp", "timestamp", "last_trade_time", "received_at")
_QUANTITIES = frozenset({
    "volume_traded", "last_traded_quantity", "total_buy_quantity", "total_sell_quantity",
    "oi", "oi_day_high", "oi_day_low",
})  # fmt: skip
_FLAT_OHLC = ("open", "high", "low", "close")
_MAX_QUANTITY = (1 << 63) - 1
_MAX_PRICE = 1e12
_MAX_PLANS = 256  # a hostile file could have a new set of names in each line
_TRUTH = {"true": True, "1": True, "false": False, "0": False}

Record = Mapping[Any, Any] | Sequence[Any]


class Normaliser:
    """Turns records of one file into ticks; it remembers the time of the tick before.

    zone           the zone of naive times
    start_time     the time of a first tick that has none
    default_token  the instrument of records that name none
    counts         where dropped fields and borrowed times are counted
    """

    def __init__(
        self,
        zone: tzinfo = IST,
        start_time: datetime | None = None,
        default_token: int | None = None,
        counts: dict[str, int] | None = None,
    ) -> None:
        self.previous = start_time
        self.counts: dict[str, int] = {} if counts is None else counts
        self._zone = zone
        self._default_token = default_token
        self._plans: dict[tuple[str, ...], Plan] = {}

    def plan(self, names: tuple[str, ...]) -> Plan:
        """The plan for records with exactly these names."""
        found = self._plans.get(names)
        if found is None:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            found = self._plans[names] = plan_of(names)
        return found

    def tick(self, record: Record, plan: Plan) -> Tick:
        """The tick that `record` means. Raises `BadLine` with the reason if it cannot be saved."""
        fields = _fields(record, plan)
        token = self._token(fields.pop("instrument_token", None))
        price = _last_price(fields.pop("last_price", None))
        tick = Tick(token, self._moment(fields), price)
        if fields:
            self._fill(tick, fields)
        self.previous = tick.timestamp
        return tick

    def token_of(self, record: Record, plan: Plan) -> int | None:
        """The instrument of a record that may be broken otherwise."""
        try:
            return self._token(_fields(record, plan).get("instrument_token"))
        except BadLine:
            return None

    def count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    def _token(self, value: Any) -> int:
        if value is None:
            if self._default_token is None:
                raise BadLine("no instrument_token (--instrument-token N gives one to records without)")
            return self._default_token
        try:
            token = whole(value)
        except ValueError:
            token = 0
        if not 0 < token < 1 << 32:
            raise BadLine(f"instrument_token {_shown(value)} is not a token")
        return token

    def _moment(self, fields: dict[str, Any]) -> datetime:
        """The first time that is one; else that of the tick before. The clock is never asked."""
        if "date" in fields:
            _join_date_and_time(fields)
        broken: tuple[str, Any, ValueError] | None = None
        for name in _TIMES:
            if name in fields:
                value = fields[name]
                try:
                    moment = parse_time(value, self._zone)
                except ValueError as error:
                    broken = broken or (name, value, error)
                    continue
                if moment is not None:
                    if broken:
                        self.count("fields_dropped")
                    return moment
        if broken:
            name, value, error = broken
            why = f" ({error})" if str(error).startswith("the year") else ""
            raise BadLine(f"{name} {_shown(value)} is not a time{why}")
        if self.previous is None:
            raise BadLine("no time, and no tick before to take it from (--start-time gives one)")
        self.count("no_time")
        return self.previous

    def _fill(self, tick: Tick, fields: dict[str, Any]) -> None:
        """The fields that a tick can be without."""
        flat = False
        for name, value in fields.items():
            if name in _QUANTITIES:
                parse: Callable[[Any], Any] = _quantity
            elif name == "last_trade_time" or name == "received_at":
                parse = self._optional_time
            elif name in _OPTIONAL:
                parse = _OPTIONAL[name]
            else:
                flat = flat or name in _FLAT_OHLC
                continue
            try:
                setattr(tick, name, parse(value))
            except _Negative:
                raise BadLine(f"{name} {_shown(value)} is negative") from None
            except (ValueError, TypeError, KeyError, AttributeError):
                self.count(_DROPPED_AS.get(name, "fields_dropped"))
        if flat and "ohlc" not in fields:
            try:
                tick.ohlc = _ohlc(fields)
            except (ValueError, KeyError):
                self.count("ohlc_dropped")

    def _optional_time(self, value: Any) -> datetime | None:
        return parse_time(value, self._zone)


class _Negative(Exception):
    """A quantity below zero: the record is corrupt, not merely odd."""


def number(value: Any) -> float:
    """A finite number, also from text. Raises `ValueError` for anything else."""
    if type(value) is str and ("_" in value or not value.isascii()):
        raise ValueError("not a number")
    if type(value) is bool:
        raise ValueError("not a number")
    try:
        result = float(value)
    except (TypeError, OverflowError):
        raise ValueError("not a number") from None
    if result - result != 0:  # infinity and NaN
        raise ValueError("not finite")
    return result


def whole(value: Any) -> int:
    """A whole number, also from text or as 25.0. Raises `ValueError` for anything else."""
    if type(value) is int:
        return value
    if type(value) is str and "_" not in value and value.isascii():
        try:
            return int(value)
        except ValueError:
            pass  # perhaps 25.0
    result = number(value)
    if not result.is_integer():
        raise ValueError("not whole")
    return int(result)


def is_price(value: float) -> bool:
    """Whether `value` is a price that the wire allows: positive, at most four decimals."""
    return 0 < value < _MAX_PRICE and int(value * 10000 + 0.5) / 10000 == value


def _fields(record: Record, plan: Plan) -> dict[str, Any]:
    """field -> value, without the empty ones."""
    fields: dict[str, Any] = {}
    for key, name in plan.known:
        value: Any = record[key]
        if value is not None and value != "":
            fields[name] = value
    return fields


def _join_date_and_time(fields: dict[str, Any]) -> None:
    day, clock = str(fields.pop("date")), fields.get("timestamp")
    if clock is None:
        fields["timestamp"] = day
    elif isinstance(clock, str) and clock.strip()[1:3].rstrip("0123456789").startswith(":"):
        fields["timestamp"] = f"{day.strip()} {clock.strip().rjust(5, '0')}"


def _last_price(value: Any) -> TickPrice:
    if value is None:
        raise BadLine("no last_price (nor ltp, nor price)")
    try:
        price = round(number(value), 4)
    except ValueError:
        price = 0.0
    if not 0 < price < _MAX_PRICE:
        raise BadLine(f"last_price {_shown(value)} is not a price")
    return price


def _quantity(value: Any) -> int:
    quantity = whole(value)
    if quantity < 0:
        raise _Negative
    if quantity > _MAX_QUANTITY:
        raise ValueError("too large")
    return quantity


def _amount(value: Any) -> float:
    """A price that may be zero, for "there is none"."""
    amount = round(number(value), 4)
    if not 0 <= amount < _MAX_PRICE:
        raise ValueError("not a price")
    return amount


def _ohlc(value: Any) -> Ohlc:
    """The day so far. All zeros mean "not traded yet" and stay: `close` still says something.

    `close` is the previous day's, so it may lie outside of today's range.
    """
    opened, high, low, close = (_amount(value[name]) for name in _FLAT_OHLC)
    if not low <= opened <= high:
        raise ValueError("impossible")
    return Ohlc(opened, high, low, close)


def _depth(value: Any) -> Depth:
    return Depth(_levels(value["buy"]), _levels(value["sell"]))


def _levels(value: Any) -> list[Level]:
    if not isinstance(value, list):
        raise ValueError("not a list")
    return [
        Level(_amount(level["price"]), _level_quantity(level["quantity"]), _level_quantity(level.get("orders") or 0))
        for level in value
    ]


def _level_quantity(value: Any) -> int:
    try:
        return _quantity(value)
    except _Negative:
        raise ValueError("negative") from None


def _mode(value: Any) -> str:
    if value not in ("ltp", "quote", "full"):
        raise ValueError("no mode")
    return str(value)


def _symbol(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not text")
    return value.strip()


def _shown(value: Any) -> str:
    return printable(repr(value), 40)


_OPTIONAL: dict[str, Callable[[Any], Any]] = {
    "symbol": _symbol,
    "average_traded_price": _amount,
    "ohlc": _ohlc,
    "depth": _depth,
    "mode": _mode,
    "tradable": lambda value: _TRUTH[str(value).strip().lower()],
    "change": number,
}
_DROPPED_AS = {"ohlc": "ohlc_dropped", "depth": "depth_dropped"}
