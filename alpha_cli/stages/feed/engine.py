"""The tick normaliser: every record that can be read as a tick becomes an `events.Tick`.

The readers of NDJSON and CSV pass every record that is not in wire form through here; names, times and
numbers are corrected nowhere else. A record without a valid token, time or price is a `BadLine`; any other
invalid field is dropped and counted, and the tick is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

from alpha_cli.core.errors import BadLine
from alpha_cli.core.events import Tick
from alpha_cli.core.time_text import parse_time
from alpha_cli.core.times import IST
from alpha_cli.stages.feed.names import Plan, plan_of
from alpha_cli.stages.feed.values import DROPPED_AS, FLAT_OHLC, OPTIONAL, Negative, last_price, quantity, shown, whole

_TIMES = ("exchange_timestamp", "timestamp", "last_trade_time", "received_at")
_OTHER_TIMES = frozenset({"last_trade_time", "received_at"})
_QUANTITIES = frozenset({
    "volume_traded", "last_traded_quantity", "total_buy_quantity", "total_sell_quantity",
    "oi", "oi_day_high", "oi_day_low",
})  # fmt: skip
_MAX_PLANS = 256  # a hostile file could have other names on every line

Record = Mapping[Any, Any] | Sequence[Any]


class Normaliser:
    """Turns records of one file into ticks; it remembers the time of the previous tick.

    zone           the zone of naive times
    start_time     the time of a first tick without one
    default_token  the instrument of records without one
    counts         counters of dropped fields and missing times
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
        """Return the plan for records with exactly these names."""
        found = self._plans.get(names)
        if found is None:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            found = self._plans[names] = plan_of(names)
        return found

    def tick(self, record: Record, plan: Plan) -> Tick:
        """Return the tick in `record`. Raises `BadLine` with the reason if there is none."""
        fields = _fields(record, plan)
        token = self._token(fields.pop("instrument_token", None))
        price = last_price(fields.pop("last_price", None))
        moment = self._moment(fields)
        tick = Tick(token, moment, price, **self._optional(fields))
        self.previous = moment
        return tick

    def token_of(self, record: Record, plan: Plan) -> int | None:
        """Return the instrument of a record that may otherwise be invalid; None if it has none."""
        try:
            return self._token(_fields(record, plan).get("instrument_token"))
        except BadLine:
            return None

    def count(self, name: str) -> None:
        """Add one to the counter `name`."""
        self.counts[name] = self.counts.get(name, 0) + 1

    def _token(self, value: Any) -> int:
        if value is None:
            if self._default_token is None:
                raise BadLine("no instrument_token (set one with --instrument-token N)")
            return self._default_token
        try:
            token = whole(value)
        except ValueError:
            token = 0
        if not 0 < token < 1 << 32:
            raise BadLine(f"instrument_token {shown(value)} is not a token")
        return token

    def _moment(self, fields: dict[str, Any]) -> datetime:
        """Return the first valid time of the record, else that of the previous tick; never the computer's clock."""
        if "date" in fields:
            _join_date_and_time(fields)
        fault = ""
        for name in _TIMES:
            if name in fields:
                value = fields[name]
                try:
                    moment = parse_time(value, self._zone)
                except ValueError as error:
                    why = f" ({error})" if str(error).startswith("the year") else ""
                    fault = fault or f"{name} {shown(value)} is not a time{why}"
                    continue
                if moment is not None:
                    if fault:
                        self.count("fields_dropped")
                    return moment
        if fault:
            raise BadLine(fault)
        if self.previous is None:
            raise BadLine("no time, and no previous tick to take it from (set one with --start-time)")
        self.count("no_time")
        return self.previous

    def _optional(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the optional fields; invalid ones are dropped and counted."""
        if not fields.keys().isdisjoint(FLAT_OHLC):
            flat = {name: fields.pop(name, None) for name in FLAT_OHLC}
            fields.setdefault("ohlc", flat)
        values: dict[str, Any] = {}
        for name, value in fields.items():
            if name in _QUANTITIES:
                parse: Callable[[Any], Any] = quantity
            elif name in OPTIONAL:
                parse = OPTIONAL[name]
            elif name in _OTHER_TIMES:
                parse = self._optional_time
            else:
                continue
            try:
                values[name] = parse(value)
            except Negative:
                raise BadLine(f"{name} {shown(value)} is negative") from None
            except (ValueError, TypeError, KeyError):
                self.count(DROPPED_AS.get(name, "fields_dropped"))
        return values

    def _optional_time(self, value: Any) -> datetime | None:
        return parse_time(value, self._zone)


def _fields(record: Record, plan: Plan) -> dict[str, Any]:
    """Return the values by field, without the empty ones."""
    fields: dict[str, Any] = {}
    for key, name in plan.known:
        value: Any = record[key]
        if value is not None and value != "":
            fields[name] = value
    return fields


def _join_date_and_time(fields: dict[str, Any]) -> None:
    """Join a date in one column and a time of day in another into one time."""
    day, clock = str(fields.pop("date")).strip(), str(fields.get("timestamp", "")).strip()
    if not clock:
        fields["timestamp"] = day
    elif clock[1:3].strip("0123456789").startswith(":"):  # a time of day without a date
        fields["timestamp"] = f"{day} {'0' if clock[1] == ':' else ''}{clock}"
