"""The tick normaliser: what it mends, what it drops, what it refuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.processes import shared

from alpha_cli.core.codec import decode, encode
from alpha_cli.core.errors import BadLine, UsageError
from alpha_cli.core.events import Tick
from alpha_cli.core.time_text import parse_time, parse_zone
from alpha_cli.core.times import IST
from alpha_cli.stages.feed.engine import Normaliser
from alpha_cli.stages.feed.names import plan_of

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=IST)
BASE = {"instrument_token": 256265, "timestamp": "2026-01-05T12:00:00", "last_price": 100.5}
OHLC = {"open": 100.0, "high": 102.0, "low": 99.0, "close": 250.0}


def normalised(record: dict[str, Any], **options: Any) -> tuple[Tick, dict[str, int]]:
    normaliser = Normaliser(**options)
    tick = normaliser.tick(record, plan_of(tuple(record)))
    assert decode(encode(tick)) == tick
    return tick, normaliser.counts


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-05T12:00:00", "2026-01-05 12:00:00", "2026-01-05T12:00", "2026-01-05T12:00:00+05:30",
        "2026-01-05T12:00:00+0530", "2026-01-05 12:00:00 +05:30", "2026-01-05T12:00:00 +0530",
        "2026-01-05T06:30:00Z", "2026-01-05t06:30:00z", "2026-01-05 06:30:00 UTC", "2026-01-05T11:30:00+05",
        "2026-01-05 12:00:00 IST", "2026-01-05T01:30:00-05:00", "20260105 12:00:00", "  2026-01-05T12:00:00 ",
        "2026-01-05T12:00:00.000000000", 1767594600, 1767594600.0, "1767594600", "1767594600.0", 1767594600000,
        "1767594600000", 1767594600000000, 1767594600000000000, "1767594600000000000",
    ],
)  # fmt: skip
def test_every_way_to_write_a_time(value: object) -> None:
    """Naive, odd offsets, nine fractional digits, epochs of any unit: one instant, in Indian time."""
    moment = parse_time(value, IST)
    assert moment == NOON
    assert moment is not None
    assert moment.utcoffset() == timedelta(hours=5, minutes=30)


@pytest.mark.parametrize(
    ("value", "microsecond"),
    [
        ("2026-01-05T12:00:00.123456789", 123456),
        (1767594600.25, 250000),
        (1767594600389, 389000),
        ("2026-01-05T12:00:00,5", 500000),
    ],
)
def test_fractions_of_a_second(value: object, microsecond: int) -> None:
    """Fractions survive to the microsecond."""
    assert parse_time(value, IST) == NOON.replace(microsecond=microsecond)


@pytest.mark.parametrize("value", [0, 0.0, "0", "1970-01-01T05:30:00", "1970-01-01", "0001-01-01T00:00:00Z"])
def test_a_zero_is_no_time(value: object) -> None:
    """A time of zero is how a feed says that it has none."""
    assert parse_time(value, IST) is None


@pytest.mark.parametrize(
    "value",
    ["garbage", "12:00:00", "2026-13-01", "1985-01-01", "2101-01-01", -5, 1e30, float("nan"), True, [], {}, 10**30,
     "9" * 40, "31/12/2025", "2026-01-05T12:00:00+99:99", "1717-01-01T00:00"],
)  # fmt: skip
def test_what_is_not_a_time(value: object) -> None:
    """Refused with ValueError, never with anything else, and never taken for another time."""
    with pytest.raises(ValueError):  # noqa: PT011
        parse_time(value, IST)


def test_zone_of_naive_times() -> None:
    """--tz takes an offset or an IANA name, and says what is wrong with anything else."""
    assert parse_time("2026-01-05 12:00", parse_zone("--tz", "+00:00")) == datetime(2026, 1, 5, 12, tzinfo=UTC)
    assert parse_time("2026-01-05 15:30", parse_zone("--tz", "Asia/Tokyo")) == NOON
    assert parse_zone("--tz", "Asia/Kolkata") is IST
    with pytest.raises(UsageError, match="--tz"):
        parse_zone("--tz", "Mars/Olympus")


@pytest.mark.parametrize(
    ("times", "expected", "counted"),
    [
        ({"exchange_timestamp": "2026-01-05T12:00:00", "timestamp": "2026-01-05T13:00:00"}, 12, {}),
        ({"exchange_timestamp": None, "timestamp": "2026-01-05T13:00:00"}, 13, {}),
        ({"exchange_timestamp": 0, "last_trade_time": "2026-01-05T14:00:00"}, 14, {}),
        ({"exchange_timestamp": "", "received_at": "2026-01-05T15:00:00"}, 15, {}),
        ({"last_trade_time": "2026-01-05T14:00:00", "received_at": "2026-01-05T15:00:00"}, 14, {}),
        ({"exchange_timestamp": "junk", "timestamp": "2026-01-05T13:00:00"}, 13, {"fields_dropped": 1}),
        ({"datetime": "2026-01-05T13:00:00"}, 13, {}),
        ({"date": "20260105", "time": "13:00"}, 13, {}),
        ({"date": "2026-01-05", "time": "9:15:00"}, 9, {}),
        ({"date": "2026-01-05", "time": "2026-01-05 13:00:00"}, 13, {}),
    ],
)
def test_which_time_is_taken(times: dict[str, Any], expected: int, counted: dict[str, int]) -> None:
    """exchange_timestamp, timestamp, last_trade_time, received_at, in that order, the empty ones skipped."""
    tick, counts = normalised({"token": 5, "ltp": 1.0, **times})
    assert tick.timestamp.hour == expected
    assert counts == counted


def test_a_tick_without_time() -> None:
    """It takes that of the tick before, counted; or --start-time; with neither it is refused."""
    bare = {"instrument_token": 5, "last_price": 1.0}
    with pytest.raises(BadLine, match="--start-time"):
        normalised(bare)
    tick, counts = normalised(bare, start_time=NOON)
    assert tick.timestamp == NOON
    assert counts == {"no_time": 1}
    normaliser = Normaliser()
    normaliser.tick(BASE, plan_of(tuple(BASE)))
    assert normaliser.tick(bare, plan_of(tuple(bare))).timestamp == NOON


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("volume_traded", 7, "volume_traded", 7),
        ("volume_traded", None, "volume_traded", 0),
        ("volume_traded", "1200", "volume_traded", 1200),
        ("volume_traded", 25.0, "volume_traded", 25),
        ("volume", 7, "last_traded_quantity", 7),  # beside a single trade
        ("qty", "25", "last_traded_quantity", 25),
        ("quantity", 25, "last_traded_quantity", 25),
        ("last_quantity", 25, "last_traded_quantity", 25),
        ("last_trade_quantity", 25, "last_traded_quantity", 25),
        ("average_price", 99.123456, "average_traded_price", 99.1235),
        ("average_trade_price", "99.5", "average_traded_price", 99.5),
        ("buy_quantity", 3, "total_buy_quantity", 3),
        ("sell_quantity", 3, "total_sell_quantity", 3),
        ("open_interest", 3, "oi", 3),
        ("tradingsymbol", "INFY", "symbol", "INFY"),
        ("tradable", "true", "tradable", True),
        ("mode", "full", "mode", "full"),
        ("change", "-1.5", "change", -1.5),
        ("last_trade_time", 1767594600, "last_trade_time", NOON),
        ("received_at", "2026-01-05 12:00:00", "received_at", NOON),
    ],
)
def test_names_and_values(name: str, value: object, field: str, expected: object) -> None:
    """Old Kite names, those of other systems and numbers as text all come down to one tick."""
    tick, counts = normalised({**BASE, name: value})
    assert getattr(tick, field) == expected
    assert counts == {}


def test_volume_beside_more_than_a_trade_is_the_day_s() -> None:
    """`volume` in a Kite record with other day figures is the day's total."""
    tick, _ = normalised({**BASE, "volume": 7, "average_price": 100.0})
    assert (tick.volume_traded, tick.last_traded_quantity) == (7, None)


def test_prices_have_four_decimals() -> None:
    """More are rounded, in depth too; a price that is nothing then is refused."""
    level = {"price": "99.00004999", "quantity": 1}
    tick, _ = normalised({**BASE, "last_price": "100.12345678", "depth": {"buy": [level], "sell": []}})
    assert tick.last_price == 100.1235
    assert tick.depth is not None
    assert tick.depth.buy[0].price == 99.0
    with pytest.raises(BadLine, match="last_price"):
        normalised({**BASE, "last_price": 0.00001})


@pytest.mark.parametrize(
    ("ohlc", "kept"),
    [
        (OHLC, True),  # close is the previous day's and may lie anywhere
        ({"open": 0, "high": 0, "low": 0, "close": 250.0}, True),  # not traded yet
        ({name: str(value) for name, value in OHLC.items()}, True),
        ({**OHLC, "high": 98.0}, False),
        ({**OHLC, "open": 103.0}, False),
        ({**OHLC, "open": 98.0}, False),
        ({**OHLC, "low": -1.0}, False),
        ({**OHLC, "close": float("nan")}, False),
        ({**OHLC, "high": float("inf")}, False),
        ({**OHLC, "close": None}, False),
        ({"open": 100.0, "high": 102.0}, False),
        ("nonsense", False),
        ([], False),
    ],
)
def test_ohlc(ohlc: Any, kept: bool) -> None:
    """Impossible OHLC is dropped and counted, nested or flat, and the tick stays."""
    for record in [{**BASE, "ohlc": ohlc}, *([{**BASE, **ohlc}] if isinstance(ohlc, dict) else [])]:
        tick, counts = normalised(record)
        assert (tick.ohlc is not None) == kept
        assert counts == ({} if kept else {"ohlc_dropped": 1})


@pytest.mark.parametrize(
    ("field", "value", "counted"),
    [
        ("volume_traded", "many", "fields_dropped"), ("oi", 1.5, "fields_dropped"), ("oi", 10**30, "fields_dropped"),
        ("average_traded_price", -1, "fields_dropped"), ("mode", "turbo", "fields_dropped"),
        ("tradable", "maybe", "fields_dropped"), ("change", "nan", "fields_dropped"), ("symbol", 5, "fields_dropped"),
        ("last_trade_time", "junk", "fields_dropped"), ("received_at", {}, "fields_dropped"),
        ("depth", {"buy": []}, "depth_dropped"), ("depth", {"buy": [5], "sell": []}, "depth_dropped"),
        ("depth", {"buy": [{"price": 1, "quantity": -1}], "sell": []}, "depth_dropped"), ("depth", 5, "depth_dropped"),
    ],
)  # fmt: skip
def test_an_odd_field_is_lost_and_not_the_tick(field: str, value: object, counted: str) -> None:
    """A tick stands without the fields that make no sense; they are counted."""
    tick, counts = normalised({**BASE, field: value})
    assert tick == Tick(256265, NOON, 100.5)
    assert counts == {counted: 1}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"instrument_token": None}, "no instrument_token"), ({"instrument_token": "NSE:INFY"}, "not a token"),
        ({"instrument_token": 0}, "not a token"), ({"instrument_token": 1 << 32}, "not a token"),
        ({"instrument_token": True}, "not a token"), ({"last_price": None}, "no last_price"),
        ({"last_price": 0}, "not a price"), ({"last_price": -5}, "not a price"), ({"last_price": "nan"}, "not a price"),
        ({"last_price": "1_000"}, "not a price"), ({"last_price": float("inf")}, "not a price"),
        ({"last_price": 10**400}, "not a price"), ({"last_price": 1e12}, "not a price"),
        ({"timestamp": "junk"}, "not a time"), ({"timestamp": "1985-01-01"}, "1985"), ({"timestamp": None}, "no time"),
        ({"volume_traded": -1}, "negative"), ({"qty": "-25"}, "negative"), ({"oi": -3}, "negative"),
    ],
)  # fmt: skip
def test_what_cannot_be_saved(change: dict[str, Any], reason: str) -> None:
    """Without a token, a price or a time, or with negative quantities, there is no tick, and it says why."""
    with pytest.raises(BadLine, match=reason):
        normalised({**BASE, **change})


def test_wanted_names_win_unless_they_are_empty() -> None:
    """Of two names for a field the newer counts; if it is null, the other."""
    assert normalised({**BASE, "ltp": 5.0})[0].last_price == 100.5
    assert normalised({**BASE, "last_price": None, "ltp": 5.0})[0].last_price == 5.0


def test_default_token() -> None:
    """--instrument-token is for records that name none, not for those that name a wrong one."""
    record = {"timestamp": "2026-01-05T12:00:00", "price": 5}
    assert normalised(record, default_token=7)[0].instrument_token == 7
    with pytest.raises(BadLine):
        normalised({**record, "token": "x"}, default_token=7)


def test_kite_specimens() -> None:
    """Ticks as users pasted them, old names and new: all are saved, and the impossible OHLC is dropped."""
    path = shared("kite-tick-specimens") / "specimens.ndjson"
    specimens = [json.loads(line) for line in path.read_text().splitlines()]
    for specimen in specimens:
        record = specimen["tick"]
        tick, counts = normalised(record, start_time=NOON)
        assert tick.last_price == record["last_price"]
        assert tick.volume_traded == record.get("volume", record.get("volume_traded"))
        assert counts.get("ohlc_dropped", 0) == ("ohlc.open" in specimen["note"])
        assert counts.get("fields_dropped", 0) == counts.get("depth_dropped", 0) == 0
        assert ("no_time" in counts) == (record["mode"] == "quote")
