"""The newest tick of each instrument: kept as lines or as objects, the answers are the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as some
from support.events import BANK, NIFTY, START, tick

from alpha_cli.core.codec import decode, encode
from alpha_cli.core.errors import BadLine
from alpha_cli.core.events import Tick
from alpha_cli.stream.last_ticks import TICK_PREFIX, LastTicks

TOKENS = (1, 12, 123, 256265, 4294967295)
MISSING = 77
ORDERS = (  # of the first fields, as strange producers might have them; each begins as a tick on the wire does
    ("instrument_token", "timestamp", "last_price"),
    ("instrument_token", "last_price", "timestamp"),
    ("instrument_token", "symbol", "timestamp", "last_price"),
)


def line_of(made: Tick, fields: tuple[str, ...]) -> bytes:
    """The line of `made` with its fields in this order."""
    values = json.loads(encode(made)) | {"symbol": "X"}
    return json.dumps({"type": "tick"} | {name: values[name] for name in fields}, separators=(",", ":")).encode()


def answers(market: LastTicks) -> list[Any]:
    """What a market says: the price of each instrument, and now."""
    ticks = [market.last(token) for token in (*TOKENS, MISSING)]
    return [made and (made.instrument_token, made.last_price) for made in ticks]


sequences = some.lists(some.tuples(some.sampled_from(TOKENS), some.sampled_from(ORDERS), some.booleans()), max_size=40)


@given(sequence=sequences, cuts=some.sets(some.integers(0, 40)), ask=some.sampled_from(["now first", "last first"]))
def test_lines_and_objects_give_the_same_answers(
    sequence: list[tuple[int, tuple[str, ...], bool]], cuts: set[int], ask: str
) -> None:
    """Any ticks with any order of fields, in any batches, asked now and then: as if each had been `put`."""
    reference, objects, lines = LastTicks(), LastTicks(), LastTicks(decode)
    made = [tick(at, 100 + at, token) for at, (token, _, _) in enumerate(sequence)]
    raw = [line_of(event, fields) for event, (_, fields, _) in zip(made, sequence, strict=True)]
    bounds = sorted({0, len(made), *(cut for cut in cuts if cut < len(made))})
    for start, end in pairwise(bounds):
        for event in made[start:end]:
            reference.put(event)
        objects.newest.update({event.instrument_token: event for event in made[start:end]})
        objects.put(made[end - 1])
        if sequence[start][2]:  # a watched tick comes as an object between the lines
            lines.absorb_lines(raw[start : end - 1])
            lines.put(made[end - 1])
        else:
            lines.absorb_lines(raw[start:end])
        expected_now: datetime | None = reference.now
        for market in (objects, lines):
            if ask == "now first":
                assert market.now == expected_now
            assert answers(market) == answers(reference)
            assert market.now == expected_now


def test_an_empty_market_knows_nothing() -> None:
    """No tick, no price and no time."""
    market = LastTicks(decode)
    market.absorb_lines([])
    assert market.last(NIFTY) is None
    assert market.now is None


def broken(token: int, at: str = '"timestamp":"x"') -> bytes:
    """A line that begins as a tick of `token` and is none."""
    return TICK_PREFIX + b"%d," % token + at.encode()


@pytest.mark.parametrize("ask", ["last then now", "now then last"])
def test_a_broken_kept_line_is_no_price_and_reported_once(ask: str) -> None:
    """What was known before is older than what cannot be read, so it does not stand in; one line, one report."""
    reported: list[tuple[bytes, Exception]] = []
    market = LastTicks(decode, lambda line, error: reported.append((line, error)))
    bad = broken(NIFTY)
    market.absorb_lines([encode(tick(0, 100)), encode(tick(1, 50, BANK)), bad])
    if ask == "now then last":
        assert market.now is None
    assert market.last(NIFTY) is None
    assert market.now is None
    assert market.last(NIFTY) is None
    assert [line for line, _ in reported] == [bad]
    assert isinstance(reported[0][1], BadLine)
    assert market.last(BANK).last_price == 50  # type: ignore[union-attr]


def test_the_next_good_tick_heals() -> None:
    """A broken line is forgotten once a newer one has come, and never decoded if nobody asked."""
    reported: list[bytes] = []
    market = LastTicks(decode, lambda line, error: reported.append(line))
    market.absorb_lines([broken(NIFTY)])
    market.absorb_lines([encode(tick(2, 102))])
    assert market.last(NIFTY).last_price == 102  # type: ignore[union-attr]
    assert market.now == tick(2).timestamp
    assert reported == []


@pytest.mark.parametrize("token", ["007", "99999999999", "-1", "1.0", '"1"', "", "1 "])
def test_a_token_that_is_none_is_nobodys_price(token: str) -> None:
    """Odd tokens are either nobody's or reported, and good ones beside them stay right."""
    reported: list[bytes] = []
    market = LastTicks(decode, lambda line, error: reported.append(line))
    line = TICK_PREFIX + token.encode() + b',"timestamp":"2024-06-03T09:15:00+05:30","last_price":5}'
    market.absorb_lines([encode(tick(0, 100)), line, encode(tick(1, 101, 7))])
    assert market.last(NIFTY).last_price == 100  # type: ignore[union-attr]
    assert market.last(7).last_price == 101  # type: ignore[union-attr]
    assert market.now == tick(1).timestamp


def test_without_anyone_to_tell_a_broken_line_raises() -> None:
    """A market by itself does not swallow errors."""
    market = LastTicks(decode)
    market.absorb_lines([broken(NIFTY)])
    with pytest.raises(BadLine):
        market.last(NIFTY)


def test_watching_counts() -> None:
    """An instrument is watched until as many have stopped as had begun."""
    market = LastTicks()
    market.watch(NIFTY)
    market.watch(NIFTY)
    market.watch(BANK)
    market.unwatch(NIFTY)
    assert set(market.watched) == {NIFTY, BANK}
    market.unwatch(NIFTY)
    assert set(market.watched) == {BANK}
    with pytest.raises(KeyError):
        market.unwatch(NIFTY)


def test_now_is_the_time_of_the_newest_tick_in_the_stream() -> None:
    """Newest by place, not by time: a late tick turns the clock of the stream, as it does for every stage."""
    market = LastTicks(decode)
    market.absorb_lines([encode(tick(5)), encode(tick(3, token=BANK))])
    assert market.now == tick(3).timestamp
    assert market.now != START


@pytest.mark.parametrize("time", ["2026-01-05T09:15:00+05:30", "2026-01-05 09:15:00+05:30", "2026-01-05t09:15:00+05:30",
                                  "2026-01-05T03:45:00Z"])  # fmt: skip
def test_a_line_is_wanted_from_the_bound_on_however_its_time_is_written(time: str) -> None:
    """As the tick itself is."""
    line = TICK_PREFIX + b'1,"timestamp":"%s","last_price":1.0}' % time.encode()
    market = LastTicks()
    market.set_alarm(datetime.fromisoformat("2026-01-05T09:15:00+05:30"))
    assert market.wants(decode(line))
    assert market.wants_line(line)


# --- alarms ----------------------------------------------------------------------------------


def woken(market: LastTicks, at: float) -> bool:
    """Whether the tick `at` seconds after the opening would be delivered, as an object and as a line."""
    made = tick(at)
    assert market.wants_line(encode(made)) == market.wants(made)
    return market.wants(made)


def test_the_earliest_alarm_counts() -> None:
    """Stages that share a market do not overwrite each other's, in whatever order they set them."""
    market = LastTicks()
    market.set_alarm(tick(20).timestamp, "paper")
    market.set_alarm(tick(10).timestamp, "risk")
    market.set_alarm(tick(30).timestamp, "other")
    assert market.alarm == tick(10).timestamp
    assert [woken(market, at) for at in (9, 10, 25)] == [False, True, True]


def test_an_alarm_rings_until_its_owner_sets_another() -> None:
    """What anyone else sets is no answer to it."""
    market = LastTicks()
    market.set_alarm(tick(10).timestamp, "risk")
    market.put(tick(12))
    market.set_alarm(tick(20).timestamp, "paper")
    assert woken(market, 13)
    market.set_alarm(None, "nobody")
    assert woken(market, 13)
    market.set_alarm(tick(15).timestamp, "risk")
    assert [woken(market, at) for at in (13, 15)] == [False, True]
    market.set_alarm(None, "risk")
    assert [woken(market, at) for at in (15, 20)] == [False, True]
    market.set_alarm(None, "paper")
    assert market.alarm is None
    assert not woken(market, 99)


def test_an_owner_has_one_alarm() -> None:
    """Setting it later forgets the earlier; who gives no name is one owner too."""
    market = LastTicks()
    market.set_alarm(tick(10).timestamp)
    market.set_alarm(tick(20).timestamp)
    assert [woken(market, at) for at in (10, 20)] == [False, True]


def test_the_bound_is_in_the_zone_of_the_ticks_and_stays_its_owner_s() -> None:
    """Comparing across zones is slow, so `alarm_for` writes it anew; the owner can still move or end it."""
    market = LastTicks()
    market.set_alarm(tick(10).timestamp.astimezone(UTC), "risk")
    market.set_alarm(tick(20).timestamp.astimezone(UTC), "paper")
    zone = timezone(timedelta(hours=5, minutes=30))
    far = Tick(instrument_token=NIFTY, timestamp=START.astimezone(zone), last_price=1.0)
    bound = market.alarm_for([far])
    assert bound == tick(10).timestamp
    assert bound is not None
    assert bound.tzinfo is zone
    market.set_alarm(None, "risk")
    assert market.alarm == tick(20).timestamp
    market.put(far)
    market.set_alarm(tick(5).timestamp.astimezone(UTC), "risk")
    assert market.alarm is not None
    assert (market.alarm, market.alarm.tzinfo) == (tick(5).timestamp, zone)


@given(calls=some.lists(some.tuples(some.sampled_from("abc"), some.none() | some.integers(0, 99)), max_size=20))
def test_the_bound_is_the_earliest_of_what_each_owner_said_last(calls: list[tuple[str, int | None]]) -> None:
    """Any owners, any moments, in any order, with ticks of another zone looked at in between."""
    market = LastTicks()
    last: dict[str, int | None] = {}
    for number, (who, at) in enumerate(calls):
        market.set_alarm(None if at is None else tick(at).timestamp, who)
        last[who] = at
        if number % 3 == 2:
            market.alarm_for([tick(0), tick(1)])
        expected = min((at for at in last.values() if at is not None), default=None)
        assert market.alarm == (None if expected is None else tick(expected).timestamp)


# --- many lines at once ----------------------------------------------------------------------

MIDNIGHT = 53_100  # seconds after the opening
SECONDS = some.integers(-40_000, 60_000) | some.sampled_from([9, 10, 11, MIDNIGHT - 1, MIDNIGHT])
ODDLY = some.tuples(
    some.sampled_from(TOKENS),
    SECONDS,
    some.sampled_from(
        ["", ".0", ".1", ".15", ".150", ".150000", ".149999", ".2", ".1500001", ".1499999", ".9999999", ".99999999"]
    ),
    some.sampled_from(["+05:30", "+05:30", "+05:30", "Z", "+00:00", "-03:00"]),
    some.sampled_from("TTTt "),
    some.sampled_from(ORDERS),
)
BOUNDS = some.none() | some.builds(
    lambda second, micro: tick(second).timestamp + timedelta(microseconds=micro),
    SECONDS,
    some.sampled_from([0, 100_000, 150_000, 149_999, 999_999]),
)


def written(token: int, at: int, fraction: str, zone: str, between: str, fields: tuple[str, ...]) -> bytes:
    """The line of a tick whose time is written in some way."""
    moment = f"{tick(at).timestamp:%Y-%m-%d{between}%H:%M:%S}{fraction}{zone}"
    values = {"instrument_token": token, "timestamp": moment, "last_price": 1.0, "symbol": "X"}
    return json.dumps({"type": "tick"} | {name: values[name] for name in fields}, separators=(",", ":")).encode()


@given(ticks=some.lists(ODDLY, max_size=12), bound=BOUNDS, watched=some.sets(some.sampled_from(TOKENS)))
def test_of_many_lines_those_are_found_that_are_wanted(
    ticks: list[tuple[int, int, str, str, str, tuple[str, ...]]], bound: datetime | None, watched: set[int]
) -> None:
    """However their times are written; of those written as alpha does, no other."""
    market = LastTicks()
    market.set_alarm(bound)
    for token in watched:
        market.watch(token)
    lines = [*(written(*one) for one in ticks), b'{"type":"gap","reason":"some"}']
    places = market.scan(lines)
    assert places[-1] == len(ticks), "what is no tick is always looked at"
    found = {place for place in places[:-1] if market.wants_line(lines[place])}
    wanted = {place for place in range(len(ticks)) if market.wants(decode(lines[place]))}
    as_usual = {
        place
        for place, (_, _, fraction, zone, between, fields) in enumerate(ticks)
        if (zone, between, fields[1]) == ("+05:30", "T", "timestamp") and len(fraction) < 8
    }
    assert wanted <= found
    assert found & as_usual <= wanted


def test_only_the_time_itself_tells_its_zone() -> None:
    """And not what stands next to it in the line; nor is a fraction that rounds up to the bound earlier than it."""
    market = LastTicks()
    market.set_alarm(tick(10).timestamp)
    early = tick(9).timestamp.isoformat()[:19].encode()
    zone = tick(10).timestamp.astimezone(UTC).isoformat()[:19].encode()
    begin = TICK_PREFIX + b'1,"timestamp":"'
    for time in (zone + b'Z","":"+05:30"', zone + b'Z","a":"+05:30"', early + b'.9999999+05:30"'):
        line = begin + time + b',"last_price":1.0}'
        assert market.wants(decode(line))
        assert market.scan([line]) == [0]
    assert market.scan([begin + early + b'.999999+05:30","last_price":1.0}']) == []


def test_what_is_early_is_not_looked_at() -> None:
    """A batch of usual lines before the bound takes no question each; from the bound on each is asked about."""
    market = LastTicks()
    market.set_alarm(tick(10).timestamp)
    lines = [encode(tick(at)) for at in range(20)]
    assert market.scan(lines) == list(range(10, 20))
    assert market.scan(lines, 15) == list(range(15, 20))
    market.set_alarm(tick(10).timestamp + timedelta(days=1))
    assert market.scan(lines) == []
    market.set_alarm(tick(10).timestamp - timedelta(days=1))
    assert market.scan(lines) == list(range(20))
    market.set_alarm(None)
    market.watch(NIFTY)
    assert market.scan([*lines, encode(tick(1, token=BANK))]) == list(range(20))


def test_the_revision_tells_whether_anything_changed() -> None:
    """Another number after each change, the same one after none."""
    market = LastTicks()
    told = [market.revision]
    changes: list[Callable[[], object]] = [
        lambda: market.watch(7),
        lambda: market.set_alarm(tick(1).timestamp),
        lambda: market.unwatch(7),
        lambda: market.set_alarm(None),
    ]
    for change in changes:
        change()
        assert market.revision not in told
        told.append(market.revision)
    market.set_alarm(None)
    assert market.revision == told[-1]
