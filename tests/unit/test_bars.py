"""Bars: where they begin and end, what closes them, what they say, and that only the stream decides."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st
from support.events import BANK, HELLO, NIFTY, START, signal, stream, tick, ticks
from support.examples import examples, rest_nightly
from support.processes import Pipeline, alpha, counters, run_alpha, shared

from alpha_cli.core.codec import decode, encode
from alpha_cli.core.errors import UsageError
from alpha_cli.core.events import Bar, Eof, Tick
from alpha_cli.core.times import IST
from alpha_cli.market.bars.builder import NEVER, BarBuilder
from alpha_cli.market.bars.interval import Interval
from alpha_cli.stages.bars.config import parse_intervals

MINUTE, HOUR, DAY = 60, 3600, 86_400
CLOSE = 6.25 * HOUR  # seconds after the session opened
TOKENS = (NIFTY, BANK, 408065)


def builder(*texts: str, **options: Any) -> BarBuilder:
    """A builder of every instrument's bars over the intervals named, a minute if none is."""
    return BarBuilder(map(Interval.parse, texts or ("1m",)), **options)


def fed(bars: BarBuilder, *events: Tick) -> list[Bar]:
    return [bar for event in events for bar in bars.on_tick(event)]


def built(*events: Tick, intervals: Sequence[str] = ("1m",), **options: Any) -> list[Bar]:
    """The bars that come of `events`."""
    return fed(builder(*intervals, **options), *events)


def span(bar: Bar) -> str:
    return f"{bar.start:%H:%M:%S}-{bar.end:%H:%M:%S}"


def spans(bars: Iterable[Bar]) -> list[str]:
    return [span(bar) for bar in bars]


def prices(bar: Bar) -> tuple[float, float, float, float]:
    return bar.open, bar.high, bar.low, bar.close


def volumes(bars: Iterable[Bar]) -> list[int]:
    return [bar.volume for bar in bars]


# --- intervals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds", "canonical"),
    [("30s", 30, "30s"), ("1m", 60, "1m"), ("5m", 300, "5m"), ("15m", 900, "15m"), ("1h", 3600, "1h"), ("1s", 1, "1s"),
     ("1d", 86_400, "1d"), ("90s", 90, "90s"), ("60s", 60, "1m"), ("120m", 7200, "2h"), ("24h", 86_400, "1d")],
)  # fmt: skip
def test_an_interval_has_one_way_to_be_written(text: str, seconds: int, canonical: str) -> None:
    """In the largest unit that leaves a whole number."""
    interval = Interval.parse(text)
    assert (interval.seconds, interval.text) == (seconds, canonical)
    assert Interval.parse(canonical) == interval


@pytest.mark.parametrize(
    "text",
    ["", "1", "m", "0s", "0m", "-1m", "+1m", "1.5m", "1M", "1 m", "01m", "2d", "25h", "86401s", "1w", "१m", "1m\n"],
)
def test_what_is_no_interval_is_refused_in_one_line_that_says_how_to_write_one(text: str) -> None:
    """Less than a second and more than a day too."""
    with pytest.raises(ValueError, match=r"not the length of a bar; write .* 30s, 5m or 1h, or 1d") as raised:
        Interval.parse(text)
    assert "\n" not in str(raised.value)


def test_intervals_are_listed_with_commas_or_repeated_and_each_counts_once() -> None:
    """The same length written twice is one; the shortest comes first."""
    assert [one.text for one in parse_intervals(["15m, 60s", "1m", "1d"])] == ["1m", "15m", "1d"]
    with pytest.raises(UsageError, match=r"^--interval '7x' is not"):
        parse_intervals(["1m,7x"])
    with pytest.raises(UsageError, match=r"^--interval '' is not"):
        parse_intervals(["1m,"])


# --- where bars lie --------------------------------------------------------------------------


def test_a_bar_covers_its_start_and_not_its_end() -> None:
    """The tick at 09:16:00 belongs to the second bar; times are in India, prices the ticks' own."""
    (bar,) = built(tick(0, 100.05), tick(59.999, 99.95), tick(60, 5.0))
    assert prices(bar) == (100.05, 100.05, 99.95, 99.95)
    assert (bar.instrument_token, bar.interval, bar.ticks, bar.volume) == (NIFTY, "1m", 2, 0)
    assert (bar.start.isoformat(), bar.end.isoformat()) == ("2024-06-03T09:15:00+05:30", "2024-06-03T09:16:00+05:30")


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [("1m", "09:15:00-09:16:00", "15:29:00-15:30:00"), ("7m", "09:15:00-09:22:00", "15:26:00-15:30:00"),
     ("1h", "09:15:00-10:15:00", "15:15:00-15:30:00"), ("90s", "09:15:00-09:16:30", "15:28:30-15:30:00"),
     ("4h", "09:15:00-13:15:00", "13:15:00-15:30:00"), ("1d", "09:15:00-15:30:00", "09:15:00-15:30:00"),
     ("8h", "09:15:00-15:30:00", "09:15:00-15:30:00")],
)  # fmt: skip
def test_bars_begin_with_the_session_and_the_last_is_cut_where_it_ends(text: str, first: str, last: str) -> None:
    """Not at the hour: an hour is 09:15 to 10:15, and the last has 15 minutes."""
    bars = built(tick(1), tick(CLOSE - 1), tick(CLOSE), intervals=[text])
    assert (span(bars[0]), span(bars[-1])) == (first, last)
    assert all(before.end == after.start for before, after in pairwise(bars))


def test_ticks_outside_the_session_are_in_no_bar_but_close_it() -> None:
    """The pre-open auction opens nothing; the tick at 15:30:00 closes the last bar, at once and once."""
    bars = builder()
    assert fed(bars, tick(-600, 1.0), tick(-0.001, 2.0), tick(CLOSE - 5, 100.0)) == []
    (last,) = fed(bars, tick(CLOSE, 3.0), tick(CLOSE + 600, 4.0))
    assert (span(last), prices(last)) == ("15:29:00-15:30:00", (100.0,) * 4)
    assert bars.counts() == {"bars": 1, "empty": 0, "unfinished": 0, "late": 0, "outside_session": 4}


def test_a_weekend_has_no_bars() -> None:
    """Friday's session repeated under Saturday's date adds nothing, and takes nothing from Monday."""
    friday, saturday, monday = 4 * DAY, 5 * DAY, 7 * DAY
    bars = builder()
    assert len(fed(bars, tick(friday), tick(friday + CLOSE))) == 375
    assert fed(bars, tick(saturday), tick(saturday + 90), tick(saturday + CLOSE)) == []
    assert spans(fed(bars, tick(monday, 7.0), tick(monday + 60))) == ["09:15:00-09:16:00"]
    assert bars.counts()["outside_session"] == 4


def test_with_all_hours_every_tick_counts_and_a_day_is_from_midnight_to_midnight() -> None:
    """Counted from 09:15 in both directions, with no cut at 15:30 but one at midnight."""
    midnight = -9.25 * HOUR
    made = built(tick(midnight), tick(midnight + DAY), intervals=["1h"], all_hours=True)
    assert len(made) == 25
    assert spans(made)[:2] == ["00:00:00-00:15:00", "00:15:00-01:15:00"]
    assert spans(made)[-1] == "23:15:00-00:00:00"
    assert "15:15:00-16:15:00" in spans(made)
    (day,) = built(tick(midnight + 60), tick(midnight + DAY), intervals=["1d"], all_hours=True)
    assert day.end - day.start == timedelta(days=1)
    saturday = builder(all_hours=True)
    assert spans(fed(saturday, tick(5 * DAY - 60), tick(5 * DAY))) == ["09:14:00-09:15:00"]
    assert saturday.counts()["outside_session"] == 0


def test_every_interval_has_its_own_bars() -> None:
    """Those that end together come the shortest first."""
    bars = built(*(tick(at, 100 + at) for at in range(0, 301, 10)), intervals=["5m", "1m"])
    assert [bar.interval for bar in bars] == ["1m"] * 5 + ["5m"]
    assert prices(bars[-1]) == (100, 390, 100, 390)
    assert bars[-1].ticks == sum(bar.ticks for bar in bars[:-1]) == 30


zones = st.sampled_from([UTC, timezone(timedelta(hours=14)), ZoneInfo("America/New_York"), ZoneInfo("Asia/Kolkata")])
seconds = st.one_of(st.integers(0, 4 * DAY), st.integers(2 * DAY + HOUR, 2 * DAY + 4 * HOUR))


@given(st.lists(seconds, max_size=25), st.lists(zones, min_size=1, max_size=2), st.booleans())
def test_the_zone_that_a_tick_tells_its_time_in_changes_nothing(
    moments: list[int], abroad: list[Any], all_hours: bool
) -> None:
    """In New York an hour comes twice on Sunday 2024-11-03, at 11:00 in India, where the day goes on."""
    friday = datetime(2024, 11, 1, 9, 15, tzinfo=IST)
    here, there = builder("1h", "7m", all_hours=all_hours), builder("1h", "7m", all_hours=all_hours)
    for number, second in enumerate(sorted(moments)):
        moment = friday + timedelta(seconds=second)
        local = moment.astimezone(UTC).astimezone(abroad[number % len(abroad)])
        said = [
            bars.on_tick(Tick((NIFTY, BANK)[number % 3 == 0], time_, 1.0 + number, volume_traded=number * 10))
            for bars, time_ in ((here, moment), (there, local))
        ]
        assert [*map(encode, said[0])] == [*map(encode, said[1])]
    assert here.counts() == there.counts()


# --- what closes a bar -----------------------------------------------------------------------


def test_a_later_tick_of_its_own_instrument_closes_a_bar_at_once() -> None:
    """Without any grace."""
    assert spans(built(tick(1), tick(60))) == ["09:15:00-09:16:00"]


@pytest.mark.parametrize("grace", [0.0, 1.0, 2.5, 90.0])
def test_a_tick_of_another_instrument_closes_it_a_grace_after_its_end(grace: float) -> None:
    """From that moment on and not before, however often it is asked."""
    bars = builder(grace=timedelta(seconds=grace))
    assert fed(bars, tick(5), tick(60 + grace - 0.001, token=BANK)) == []
    assert [bar.instrument_token for bar in fed(bars, tick(60 + grace, token=BANK))][:1] == [NIFTY]
    assert bars.on_tick(tick(60 + grace, token=408065)) == []


def test_the_clock_of_a_stream_may_stand_outside_the_session() -> None:
    """The last bar of an instrument that falls silent is closed by another's tick after 15:30."""
    made = built(tick(CLOSE - 30), tick(CLOSE - 1, token=BANK), tick(CLOSE + 1, token=408065))
    assert [(span(bar), bar.instrument_token) for bar in made] == [
        ("15:29:00-15:30:00", NIFTY), ("15:29:00-15:30:00", BANK),
    ]  # fmt: skip


def test_bars_closed_together_come_by_end_then_instrument_then_length() -> None:
    """Whatever the order in which the instruments came."""
    first = [tick(3, token=token) for token in (408065, NIFTY, BANK)]
    made = built(*first, tick(181, token=999), intervals=["3m", "1m"])
    assert [(span(bar)[9:14], bar.instrument_token, bar.interval) for bar in made] == [
        (end, token, interval)
        for end in ("09:16", "09:17", "09:18")
        for token in (NIFTY, BANK, 408065)
        for interval in (("1m", "3m") if end == "09:18" else ("1m",))
    ]


def test_a_tick_from_before_the_bar_at_hand_is_late() -> None:
    """Counted and not used, whether the clock or its own instrument went past it."""
    bars = builder()
    fed(bars, tick(5, 100), tick(61, 100, BANK), tick(59.9, 1.0))
    assert bars.counts()["late"] == 1
    fed(bars, tick(62, 101), tick(30, 1.0))
    (bar,) = fed(bars, tick(120))
    assert (prices(bar), bars.counts()["late"]) == ((101,) * 4, 2)


def test_ticks_out_of_order_within_a_bar_all_take_part() -> None:
    """High, low and volume do not mind the order; open and close are the first and the last to arrive."""
    (bar,) = built(tick(30, 100), tick(10, 105), tick(50, 95), tick(20, 98), tick(60))
    assert (prices(bar), bar.ticks) == ((100, 105, 95, 98), 4)


def test_an_earlier_day_is_late_for_an_instrument_and_not_for_another() -> None:
    """Recordings in the wrong order: what is known of Tuesday stays, and a new instrument has its Monday."""
    bars = builder()
    fed(bars, tick(DAY), tick(DAY + 70))
    assert fed(bars, tick(0), tick(61), tick(0, token=BANK)) == []
    assert [(bar.start.day, bar.instrument_token) for bar in fed(bars, tick(60, token=BANK))] == [(3, BANK)]
    assert bars.counts()["late"] == 2
    (bar,) = [bar for bar in fed(bars, tick(DAY + 120)) if bar.instrument_token == NIFTY]
    assert (bar.start.day, bar.ticks) == (4, 1)


def test_an_earlier_day_is_late_although_only_the_pre_open_of_the_later_one_was_seen() -> None:
    """Volume is counted from the pre-open on, so the day has begun."""
    bars = builder()
    fed(bars, tick(DAY - 60, volume_traded=10), tick(30, volume_traded=900), tick(DAY, volume_traded=25))
    (bar,) = fed(bars, tick(DAY + 60, volume_traded=25))
    assert (bar.start.day, bar.volume, bars.counts()["late"]) == (4, 15, 1)


# --- gaps ------------------------------------------------------------------------------------


def test_an_interval_without_ticks_has_an_empty_bar_at_the_last_close() -> None:
    """From the first tick of the day on, and not before it."""
    bars = builder()
    made = fed(
        bars, tick(125, 100, volume_traded=50), tick(130, 101, volume_traded=70), tick(305, 90, volume_traded=90)
    )
    assert spans(made) == ["09:17:00-09:18:00", "09:18:00-09:19:00", "09:19:00-09:20:00"]
    assert [(prices(bar), bar.volume, bar.ticks) for bar in made[1:]] == [((101,) * 4, 0, 0)] * 2
    (after,) = fed(bars, tick(360))
    assert (prices(after), after.volume) == ((90,) * 4, 20)
    assert bars.counts() == {"bars": 4, "empty": 2, "unfinished": 1, "late": 0, "outside_session": 0}


def test_the_clock_closes_empty_bars_as_it_reaches_them() -> None:
    """A silent instrument has a bar a minute, a grace after each minute."""
    bars = builder()
    fed(bars, tick(5))
    ends = [[span(bar)[9:] for bar in bars.on_tick(tick(at, token=BANK)) if bar.instrument_token == NIFTY]
            for at in (61, 120, 121, 180.999, 241)]  # fmt: skip
    assert ends == [["09:16:00"], [], ["09:17:00"], [], ["09:18:00", "09:19:00"]]


def test_a_gap_ends_with_the_session() -> None:
    """No bars across a night, a weekend or before the first tick of the next day."""
    made = built(tick(CLOSE - 180), tick(4 * DAY + 120), tick(4 * DAY + 180))
    assert [f"{bar.start:%d %H:%M}" for bar in made] == ["03 15:27", "03 15:28", "03 15:29", "07 09:17"]


@pytest.mark.parametrize(("all_hours", "most"), [(False, 22_500), (True, 86_400)])
def test_a_tick_dated_years_later_ends_the_day_and_no_more(all_hours: bool, most: int) -> None:
    """At worst an instrument has a day of empty bars, a second each."""
    bars = builder("1s", all_hours=all_hours)
    first = 0 if not all_hours else -9.25 * HOUR
    made = fed(bars, tick(first), Tick(NIFTY, datetime(9000, 1, 1, tzinfo=IST), 1.0))
    assert len(made) == most
    later = builder("1s", all_hours=all_hours)
    assert fed(later, tick(first), Tick(BANK, datetime(9000, 1, 1, tzinfo=IST), 1.0)) == made


@pytest.mark.parametrize("latest", [False, True])
@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-14))])
@pytest.mark.parametrize("all_hours", [False, True])
def test_a_time_from_the_ends_of_the_calendar_is_outside_the_session(
    latest: bool, zone: timezone, all_hours: bool
) -> None:
    """It may have no day in India; the latest closes what is open, the earliest nothing."""
    bars = builder(all_hours=all_hours)
    moment = (datetime.max if latest else datetime.min).replace(tzinfo=zone)  # noqa: DTZ901
    odd = Tick(NIFTY, moment, 1.0)
    assert fed(bars, odd) == []
    made = fed(bars, tick(DAY), odd)
    assert bool(made) is latest
    assert bars.counts()["outside_session"] == 2
    assert fed(bars, tick(2 * DAY), tick(2 * DAY + 60)) != []


def test_one_tick_from_the_future_leaves_the_other_instruments_their_next_bars() -> None:
    """It closes what is open, which makes the rest of those bars late; it does not stop the clock for good."""
    bars = builder()
    fed(bars, tick(5), tick(6, token=BANK, price=1.0), Tick(BANK, START + timedelta(days=1, hours=-1), 1.0))
    assert fed(bars, tick(7)) == []
    assert bars.counts()["late"] == 1
    assert spans(fed(bars, tick(0, token=408065), tick(60, token=408065))) == ["09:15:00-09:16:00"]


# --- volume ----------------------------------------------------------------------------------


def traded(*totals: int | None, last: int | None = None, first_at: float = 0) -> list[int]:
    """The volume of each bar of a minute with one tick; None for a tick that does not say."""
    events = [
        tick(first_at + 60 * number, volume_traded=total or 0, last_traded_quantity=last)
        for number, total in enumerate([*totals, totals[-1]])
    ]
    return volumes(built(*events))


def test_volume_is_what_the_cumulative_volume_grew_by() -> None:
    """Of the day's first tick only its last trade is known to be the bar's."""
    assert traded(1000, 1010, 1010, 1500) == [0, 10, 0, 490]
    assert traded(1000, 1010, last=7) == [7, 10]
    assert traded(5, 10, last=7) == [5, 5]  # the last trade was partly yesterday's


def test_a_fall_in_the_cumulative_volume_counts_nothing_and_is_counted_on_from() -> None:
    """A correction, or a feed that began again."""
    assert traded(1000, 400, 450) == [0, 0, 50]


def test_a_tick_that_says_no_volume_changes_nothing() -> None:
    """In the midst of others it is no fall to zero."""
    assert traded(1000, 1010, None, 1030) == [0, 10, 0, 20]


def test_an_index_has_no_volume_and_none_is_invented() -> None:
    """Not from the last traded quantity either."""
    assert traded(None, None, None) == [0, 0, 0]
    assert traded(None, None, last=50) == [0, 0]


def test_a_first_trade_after_ticks_without_any_counts_whole() -> None:
    """Nothing had been traded, so the cumulative volume is all the bar's."""
    assert traded(0, 0, 75, last=25) == [0, 0, 75]


def test_what_was_traded_outside_the_session_is_in_no_bar() -> None:
    """The auction's volume is where the first bar counts from."""
    bars = builder()
    fed(bars, tick(-420, volume_traded=9000, last_traded_quantity=9000), tick(5, volume_traded=9100))
    assert volumes(fed(bars, tick(60, volume_traded=9100))) == [100]


def test_volume_begins_again_every_day() -> None:
    """The next day's first tick is compared with nothing."""
    bars = builder("1d")
    day = [tick(0, volume_traded=10), tick(5, volume_traded=60)]
    next_day = [tick(DAY, volume_traded=500, last_traded_quantity=3), tick(DAY + 5, volume_traded=520)]
    assert volumes(fed(bars, *day, *next_day, tick(DAY + CLOSE))) == [50, 23]


def test_a_tick_out_of_order_takes_nothing_from_the_volume_and_adds_nothing_twice() -> None:
    """Its cumulative volume is lower because it is older, which is no fall."""
    totals = [(1, 100), (3, 120), (2, 110), (4, 130), (60, 130)]
    assert volumes(built(*(tick(at, volume_traded=total) for at, total in totals))) == [30]


def test_a_late_tick_is_nothing_to_count_from() -> None:
    """What it says was traded is in the bar of the next tick."""
    bars = builder()
    fed(
        bars, tick(5, volume_traded=100), tick(61, token=BANK), tick(59, volume_traded=140), tick(70, volume_traded=150)
    )
    assert volumes(fed(bars, tick(120, volume_traded=150))) == [50]


# --- the end ---------------------------------------------------------------------------------


def test_finish_gives_the_unfinished_bars_in_order_and_only_once() -> None:
    """Those with ticks; what comes for them later is late, so no interval has two bars."""
    bars = builder("1m", "1d")
    fed(bars, tick(65, 7.0, BANK), tick(66, 8.0))
    assert bars.counts()["unfinished"] == 4
    made = bars.finish()
    assert [(bar.interval, bar.instrument_token, bar.close) for bar in made] == [
        ("1m", NIFTY, 8.0), ("1m", BANK, 7.0), ("1d", NIFTY, 8.0), ("1d", BANK, 7.0),
    ]  # fmt: skip
    assert bars.finish() == []
    assert bars.counts()["unfinished"] == 0
    assert fed(bars, tick(67)) == []
    assert bars.counts()["late"] == 1
    assert spans(fed(bars, tick(120), tick(180))) == ["09:17:00-09:18:00"]
    assert [bar.start.day for bar in fed(bars, tick(DAY), tick(DAY + CLOSE)) if bar.interval == "1d"] == [4]


# --- some instruments only -------------------------------------------------------------------


def test_only_the_instruments_that_are_followed_have_bars_each_over_its_own_intervals() -> None:
    """Others only move the clock."""
    bars = BarBuilder()
    bars.follow(NIFTY, [Interval.parse("1m")])
    bars.follow(BANK, [Interval.parse("3m"), Interval.parse("3m")])
    bars.follow(BANK, [Interval.parse("2m")])
    made = fed(bars, *(tick(1, token=token) for token in TOKENS), tick(181, token=408065))
    assert [(bar.instrument_token, bar.interval) for bar in made] == [
        (NIFTY, "1m"), (NIFTY, "1m"), (BANK, "2m"), (NIFTY, "1m"), (BANK, "3m"),
    ]  # fmt: skip


def test_following_adds_to_the_intervals_that_all_have() -> None:
    """An interval that is there already is not built twice."""
    bars = builder("1m")
    bars.follow(BANK, [Interval.parse("1m"), Interval.parse("30s")])
    made = fed(bars, tick(1), tick(1, token=BANK), tick(61, token=408065))
    assert [(bar.instrument_token, bar.interval) for bar in made] == [
        (BANK, "30s"), (NIFTY, "1m"), (BANK, "30s"), (BANK, "1m"),
    ]  # fmt: skip


def test_an_instrument_followed_over_more_while_it_has_a_bar_begins_the_new_ones_with_its_next_tick() -> None:
    """Not with one from an earlier day that says nothing; and the bar at hand goes on."""
    bars = builder("1m")
    fed(bars, tick(DAY + 1))
    bars.follow(NIFTY, [Interval.parse("30s")])
    fed(bars, tick(-60), tick(DAY + 2, volume_traded=5), tick(DAY + 3, volume_traded=8))
    made = fed(bars, tick(DAY + 60))
    assert [(bar.interval, bar.ticks) for bar in made] == [("30s", 2), ("30s", 0), ("1m", 3)]


def test_due_is_when_another_instrument_would_close_a_bar() -> None:
    """Never, while there is none; and what does not reach it closes nothing."""
    bars = builder(grace=timedelta(seconds=2))
    assert bars.due == NEVER == datetime.max.replace(tzinfo=IST)
    bars.on_tick(tick(5))
    assert bars.due == tick(62).timestamp
    assert bars.advance(tick(61.999).timestamp) == []
    assert spans(bars.advance(bars.due)) == ["09:15:00-09:16:00"]
    assert bars.due == tick(122).timestamp
    assert len(bars.advance(tick(DAY).timestamp)) == 374
    assert bars.due == NEVER


# --- what always holds -----------------------------------------------------------------------

STEPS = (0.0, 0.0, 0.25, 1.0, 7.0, 29.0, 59.0, 60.0, 61.0, 200.0, 3600.0, 17.75 * HOUR)
OPENINGS = (-20.0, 0.0, 100.25, CLOSE - 130, 3 * DAY + CLOSE - 61, 4 * DAY + CLOSE - 5)
MIXES = [("1m",), ("30s", "1m", "7m"), ("1h", "1d"), ("15s", "1h")]


@st.composite
def streams(draw: st.DrawFn, *, disorder: bool) -> list[Tick]:
    """Ticks of three instruments over some days, with gaps; with `disorder` some are older than the one before."""
    at = draw(st.sampled_from(OPENINGS))
    events = []
    for number in range(draw(st.integers(0, 40))):
        at += draw(st.sampled_from(STEPS))
        back = draw(st.sampled_from((0, 0, 0, 0.5, 2, 70, 4000, DAY))) if disorder else 0
        events.append(
            tick(
                at - back,
                float(draw(st.integers(1, 9))),
                draw(st.sampled_from(TOKENS)),
                volume_traded=draw(st.sampled_from((0, number * 3, number * 7, 5))),
                last_traded_quantity=draw(st.sampled_from((None, 0, 2, 9))),
            )
        )
    return events


def plainly_volumes(events: Sequence[Tick]) -> dict[int, int]:
    """Place in the stream -> units that the tick adds to the volume of its instrument; `events` are in order."""
    grown: dict[int, int] = {}
    last: dict[tuple[int, date], int] = {}
    for place, event in enumerate(events):
        key, total = (event.instrument_token, event.timestamp.date()), event.volume_traded
        if key not in last:
            grown[place] = min(total, event.last_traded_quantity or 0)
            last[key] = total
        else:
            grown[place] = max(0, total - last[key])
            last[key] = total or last[key]
    return grown


def plainly_built(events: Sequence[Tick], texts: Sequence[str], grace: float) -> list[list[Bar]]:
    """The bars that each tick of `events`, which are in order, closes: the definition, bar by bar."""
    grown = plainly_volumes(events)
    made: list[list[tuple[Any, Bar]]] = [[] for _ in events]
    keys = {(event.instrument_token, event.timestamp.date()) for event in events}
    for token, day in keys:
        open_, close = (datetime.combine(day, time.fromisoformat(text), IST) for text in ("09:15", "15:30"))
        inside = [
            (place, event)
            for place, event in enumerate(events)
            if event.instrument_token == token and day.isoweekday() < 6 and open_ <= event.timestamp < close
        ]
        for text in texts if inside else ():
            seconds, price = Interval.parse(text).seconds, 0.0
            start = open_
            while start < close:
                end = min(start + timedelta(seconds=seconds), close)
                mine = [(place, event) for place, event in inside if start <= event.timestamp < end]
                if mine or price:
                    said = [event.last_price for _, event in mine] or [price]
                    price = said[-1]
                    bar = Bar(
                        token, start, end, text, said[0], max(said), min(said), price,
                        sum(grown[place] for place, _ in mine), len(mine),
                    )  # fmt: skip
                    for place, event in enumerate(events):
                        own = event.instrument_token == token
                        if event.timestamp >= end + timedelta(seconds=0 if own else grace):
                            made[place].append(((end, token, seconds), bar))
                            break
                start = end
    return [[bar for _, bar in sorted(some, key=lambda one: one[0])] for some in made]


@examples(150)
@given(streams(disorder=False), st.sampled_from(MIXES[:3]), st.sampled_from([0.0, 1.0, 45.0]))
def test_bars_are_what_their_definition_says(events: list[Tick], texts: tuple[str, ...], grace: float) -> None:
    """For any stream in order: which bars each tick closes, in which order, and every figure in them."""
    bars = builder(*texts, grace=timedelta(seconds=grace))
    assert [bars.on_tick(event) for event in events] == plainly_built(events, texts, grace)
    assert bars.counts()["late"] == 0


@given(streams(disorder=True), st.sampled_from(MIXES), st.booleans())
def test_no_interval_has_two_bars_and_no_tick_is_lost_or_counted_twice(
    events: list[Tick], texts: tuple[str, ...], all_hours: bool
) -> None:
    """For any stream: bars of a day follow one another, and each tick is in one, late, outside or unfinished."""
    for text in texts:
        bars = builder(text, all_hours=all_hours)
        made = fed(bars, *events)
        figures = bars.counts()
        assert figures["bars"] == len(made)
        assert figures["empty"] == sum(bar.ticks == 0 for bar in made)
        made += bars.finish()
        assert sum(bar.ticks for bar in made) + figures["late"] + figures["outside_session"] == len(events)
        series: dict[int, list[Bar]] = defaultdict(list)
        for bar in made:
            assert bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
            assert bar.volume >= 0
            assert bar.ticks > 0 or (bar.volume == 0 and len(set(prices(bar))) == 1)
            series[bar.instrument_token].append(bar)
        for line in series.values():
            for before, after in pairwise(line):
                assert before.end <= after.start
                if before.start.date() == after.start.date():
                    assert before.end == after.start


@given(streams(disorder=True), st.sampled_from(MIXES))
def test_the_bars_over_one_interval_do_not_depend_on_the_others(events: list[Tick], texts: tuple[str, ...]) -> None:
    """Several at once are the same bars as each alone."""
    together = built(*events, intervals=texts)
    for text in texts:
        assert [bar for bar in together if bar.interval == text] == built(*events, intervals=[text])


@given(streams(disorder=True), st.sampled_from(MIXES))
def test_skipping_what_is_not_followed_until_it_is_due_changes_nothing(
    events: list[Tick], texts: tuple[str, ...]
) -> None:
    """The short way of a hot loop gives, tick by tick, the bars of the long one."""
    every, some = builder(*texts), BarBuilder()
    some.follow(NIFTY, map(Interval.parse, texts))
    for event in events:
        if event.instrument_token == NIFTY:
            made = some.on_tick(event)
        else:
            made = some.advance(event.timestamp) if event.timestamp >= some.due else []
        assert made == [bar for bar in every.on_tick(event) if bar.instrument_token == NIFTY]


@given(streams(disorder=False), st.lists(st.integers(0, 39), max_size=20), st.sampled_from(MIXES[:3]))
def test_streams_merged_less_than_a_grace_out_of_order_give_the_same_bars(
    events: list[Tick], delayed: list[int], texts: tuple[str, ...]
) -> None:
    """An instrument's own ticks are in order; those of others may come up to a second before them."""
    arrival = {
        id(event): event.timestamp + timedelta(seconds=0.999 * (place in delayed)) for place, event in enumerate(events)
    }
    newest: dict[int, datetime] = {}
    for event in events:  # what is held up holds up what comes after it on the same line
        token = event.instrument_token
        newest[token] = arrival[id(event)] = max(arrival[id(event)], newest.get(token, arrival[id(event)]))
    merged = sorted(events, key=lambda event: arrival[id(event)])
    in_order, out_of_order = builder(*texts), builder(*texts)

    def key(bar: Bar) -> Any:
        return bar.start, bar.instrument_token, bar.interval

    expected = sorted(fed(in_order, *events) + in_order.finish(), key=key)
    assert sorted(fed(out_of_order, *merged) + out_of_order.finish(), key=key) == expected
    assert out_of_order.counts()["late"] == 0


@given(streams(disorder=True), st.integers(0, 40), st.sampled_from(MIXES), st.booleans())
def test_from_a_snapshot_everything_goes_on_as_if_never_interrupted(
    events: list[Tick], cut: int, texts: tuple[str, ...], all_hours: bool
) -> None:
    """At any point, through JSON: the bars, the counts and the next snapshot."""
    whole, before = builder(*texts, all_hours=all_hours), builder(*texts, all_hours=all_hours)
    fed(whole, *events[:cut])
    fed(before, *events[:cut])
    after = builder(*texts, all_hours=all_hours)
    after.restore(json.loads(json.dumps(before.snapshot())))
    assert after.snapshot() == before.snapshot()
    for event in events[cut:]:
        assert after.on_tick(event) == whole.on_tick(event)
    assert after.counts() == whole.counts()
    assert after.snapshot() == whole.snapshot()
    assert after.finish() == whole.finish()


def test_a_snapshot_knows_when_the_volume_was_counted_last() -> None:
    """Else an older tick after it would be taken for a fall."""
    bars, after = builder(), builder()
    fed(bars, tick(1, volume_traded=100), tick(3, volume_traded=120))
    after.restore(bars.snapshot())
    assert volumes(fed(after, tick(2, volume_traded=110), tick(60, volume_traded=130))) == [20]
    assert volumes(fed(after, tick(120, volume_traded=130))) == [10]


def test_a_snapshot_gives_its_bars_to_those_who_still_build_them() -> None:
    """An instrument or an interval that is no longer followed is left out; a new one begins."""
    bars = BarBuilder()
    bars.follow(NIFTY, map(Interval.parse, ["1m", "5m"]))
    bars.follow(BANK, map(Interval.parse, ["1m"]))
    fed(bars, tick(1, 10.0), tick(2, 20.0, BANK))
    after = BarBuilder()
    after.follow(NIFTY, map(Interval.parse, ["1m", "2m"]))
    after.restore(bars.snapshot())
    made = fed(after, tick(3, 11.0), tick(125, token=BANK))
    assert [(bar.interval, bar.open, bar.ticks) for bar in made] == [("1m", 10.0, 2), ("1m", 11.0, 0), ("2m", 11.0, 1)]


# --- the command -----------------------------------------------------------------------------


def bars_of(output: bytes) -> list[Bar]:
    return [event for event in map(decode, output.splitlines()) if isinstance(event, Bar)]


def busy(count: int = 4000) -> list[Tick]:
    """Ticks of three instruments, a second or so apart, out of order by up to three, with volume."""
    return [
        Tick(
            one.instrument_token,
            one.timestamp - timedelta(seconds=number * 3 % 5 * 0.8),
            one.last_price,
            volume_traded=number * 10,
            last_traded_quantity=number % 7,
        )
        for number, one in enumerate(ticks(count, TOKENS, 0.9))
    ]


def test_a_bar_stands_before_the_tick_that_closed_it_and_all_else_is_as_it_came() -> None:
    """Without the bars the output is the input, byte for byte."""
    raw = b'{"new_field":1,"type":"tick","instrument_token":256265,"timestamp":"2024-06-03T09:16:00","last_price":5}'
    given_ = stream([tick(1, 7.0, volume_traded=3), signal(), raw])
    done = run_alpha(["bars"], given_)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    bar = (
        b'{"type":"bar","instrument_token":256265,"start":"2024-06-03T09:15:00+05:30","end":"2024-06-03T09:16:00+05:30",'
        b'"interval":"1m","open":7.0,"high":7.0,"low":7.0,"close":7.0,"volume":0,"ticks":1}'
    )
    assert lines[3:5] == [bar, raw]
    assert b"".join(line + b"\n" for line in lines if line != bar) == given_
    assert counters(done.stderr.decode()) == {
        "in": 5, "accepted": 5, "rejected": 0, "bars": 1, "empty": 0, "unfinished": 1, "late": 0, "outside_session": 0,
        "out": 6,
    }  # fmt: skip


def test_the_command_gives_the_bars_of_the_builder() -> None:
    """With the options it was given; the interval may be repeated."""
    events = busy()
    done = run_alpha(["bars", "--interval", "30s,2m", "--interval", "1h", "--grace", "0.5"], stream(events))
    expected = built(*events, intervals=["30s", "2m", "1h"], grace=timedelta(seconds=0.5))
    assert bars_of(done.stdout) == expected
    assert counters(done.stderr.decode())["late"] > 0
    saturday = stream([tick(5 * DAY), tick(5 * DAY + 60)])
    assert bars_of(run_alpha(["bars"], saturday).stdout) == []
    assert len(bars_of(run_alpha(["bars", "--all-hours"], saturday).stdout)) == 1


@pytest.mark.parametrize("args", [("--interval", "7x"), ("--interval", "1m,"), ("--grace", "-1"), ("--grace", "nan")])
def test_a_wrong_option_is_one_line_and_exit_2(args: tuple[str, ...]) -> None:
    """Before anything is read."""
    done = run_alpha(["bars", *args])
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert args[0].encode() in done.stderr


@pytest.mark.parametrize("eof", [0, None])
def test_unfinished_bars_are_counted_and_with_partial_they_come_at_the_end(eof: int | None) -> None:
    """Before the `eof`, in order; at the end of an input that has none too."""
    given_ = stream([tick(1, 7.0, BANK), tick(2, 8.0)], hello=False, eof=eof)
    without = run_alpha(["bars"], given_)
    assert without.stdout == given_
    assert counters(without.stderr.decode())["unfinished"] == 2
    done = run_alpha(["bars", "--partial"], given_)
    assert [type(event).__name__ for event in map(decode, done.stdout.splitlines())] == (
        ["Tick", "Tick", "Bar", "Bar"] + ["Eof"] * (eof is not None)
    )
    assert [bar.close for bar in bars_of(done.stdout)] == [8.0, 7.0]
    assert counters(done.stderr.decode())["unfinished"] == 0


def test_recordings_in_a_row_are_one_stream() -> None:
    """A `hello` after an `eof` changes nothing: a bar open at the one is closed after the other, on any day."""
    first, second = stream([tick(1), tick(62)]), stream([tick(70), tick(121), tick(DAY, token=BANK)])
    done = run_alpha(["bars", "--interval", "1m,1d"], first + second)
    assert done.returncode == 0
    made = bars_of(done.stdout)
    assert [bar.ticks for bar in made[:3]] == [1, 2, 1]
    assert len(made) == 376
    backwards = run_alpha(["bars"], stream([tick(DAY), tick(DAY + 61)]) + first)
    assert counters(backwards.stderr.decode())["late"] == 2


def test_after_a_partial_bar_the_rest_of_its_interval_is_late() -> None:
    """So that what reads the bars never meets an interval twice."""
    done = run_alpha(["bars", "--partial"], stream([tick(1)]) + stream([tick(2), tick(61), tick(121)]))
    assert spans(bars_of(done.stdout)) == ["09:15:00-09:16:00", "09:16:00-09:17:00", "09:17:00-09:18:00"]
    assert counters(done.stderr.decode())["late"] == 1


@pytest.mark.parametrize("size", [61, 997, 4096, 1 << 20])
def test_the_bytes_do_not_depend_on_how_the_input_was_cut(size: int) -> None:
    """However a stream arrives; nor on the time zone of the machine or the seed of its hashes."""
    given_ = stream(busy(600))
    command = alpha("bars", "--interval", "30s,1m", "--partial")
    with Pipeline(command, env={"TZ": "America/New_York", "PYTHONHASHSEED": str(size)}) as pipeline:
        for place in range(0, len(given_), size):
            pipeline.write(given_[place : place + size])
        assert pipeline.finish() == [0]
        assert pipeline.output == run_alpha(["bars", "--interval", "30s,1m", "--partial"], given_).stdout
        assert len(bars_of(pipeline.output)) > 30


@pytest.mark.parametrize(
    "pipeline",
    rest_nightly(
        2,
        [
            "feed --ticks 3000 | bars --partial | bars --interval 15m --grace 0 --partial",
            "feed --ticks 3000 | bars --interval 5m | run-strategy momentum | risk | paper --forward",
            "feed --ticks 3000 | bars --interval 1m,1h | risk | paper --forward",
            "feed --ticks 3000 | risk | bars --interval 90s",
            "feed --ticks 3000 | bars --interval 5m | paper",
        ],
    ),
)
def test_a_pipeline_with_bars_fuses_to_the_same_bytes(pipeline: str) -> None:
    """As the first stage, in the middle or twice."""
    commands = [alpha(*stage.split()) for stage in pipeline.split("|")]
    with Pipeline(*commands, stdin=subprocess.DEVNULL) as shell:
        assert shell.wait() == [0] * len(commands)
        expected = shell.output
    done = run_alpha(["pipe", "-q", pipeline])
    assert done.returncode == 0
    assert done.stdout == expected


def test_bars_come_out_as_they_close() -> None:
    """A live reader has a bar as soon as the tick that closes it is in; nothing waits for the end."""
    with Pipeline(alpha("bars", "-q")) as pipeline:
        pipeline.write(b"".join(encode(event) + b"\n" for event in (HELLO, tick(1), tick(60))))
        (bar,) = bars_of(pipeline.wait_for(b'T09:16:00+05:30","last_price"'))
        assert bar.ticks == 1
        pipeline.write(encode(Eof(ok=True, code=0)) + b"\n")
        assert pipeline.finish() == [0]


# --- real days -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["2022-08-12", "2022-08-26"])
def test_a_real_day_has_the_bars_that_a_slow_look_at_its_file_finds(name: str) -> None:
    """Minutes of the NIFTY 50 by the second, taken from the text of the file; the pre-open swings by 6 %."""
    path = shared("nifty50-1s-2022") / f"{name}.csv.gz"
    minutes: dict[str, list[float]] = {}
    for row in gzip.decompress(path.read_bytes()).decode().splitlines():
        stamp, price = row.split(",")
        if "09:15:00" <= stamp[11:] < "15:30:00":
            minutes.setdefault(stamp[11:16], []).append(float(price))
    assert len(minutes) == 375
    feed = f"feed {path} --columns timestamp,last_price --instrument-token {NIFTY}"
    made = bars_of(run_alpha(["pipe", "-q", f"{feed} | bars --interval 1m,1d"]).stdout)
    by_minute = {f"{bar.start:%H:%M}": (*prices(bar), bar.ticks) for bar in made if bar.interval == "1m"}
    assert by_minute == {at: (of[0], max(of), min(of), of[-1], len(of)) for at, of in minutes.items()}
    every = [price for of in minutes.values() for price in of]
    (day,) = [bar for bar in made if bar.interval == "1d"]
    assert (prices(day), day.ticks) == ((every[0], max(every), min(every), every[-1]), len(every))


def test_candles_taken_apart_into_ticks_are_put_together_again() -> None:
    """97 days of NIFTY minutes: open, low, high and close as four ticks give back each candle, and five of them."""
    path = shared("nifty-minute-2024") / "NIFTY_2024_Jan-May.csv.gz"
    candles: list[tuple[datetime, list[float]]] = []
    for row in gzip.decompress(path.read_bytes()).decode().splitlines()[1:]:
        _, day, clock, *values = row.split(",")
        start = datetime.fromisoformat(f"{day[:4]}-{day[4:6]}-{day[6:]}T{clock}+05:30")
        if start.isoweekday() < 6:  # the sessions held on Saturdays are not known yet
            candles.append((start, [*map(float, values)]))
    events = [
        Tick(NIFTY, start + timedelta(seconds=second), price)
        for start, (open_, high, low, close) in candles
        for second, price in ((0, open_), (20, low), (40, high), (59, close))
    ]
    made = built(*events, Tick(NIFTY, events[-1].timestamp + timedelta(hours=1), 1.0), intervals=["1m", "5m"])
    minutes = [bar for bar in made if bar.interval == "1m"]
    assert [(bar.start, list(prices(bar))) for bar in minutes] == candles
    assert len(candles) == 97 * 375
    fives = [bar for bar in made if bar.interval == "5m"]
    for place, bar in enumerate(fives):
        five = [of for _, of in candles[place * 5 : place * 5 + 5]]
        assert prices(bar) == (five[0][0], max(of[1] for of in five), min(of[2] for of in five), five[-1][3])


def test_bars_follow_the_sessions_of_their_instrument():
    """A derivative trades on until 15:40 from 2026-08-03, when a share has closed; by the master."""
    from alpha_cli.market.contracts import Contracts
    from alpha_cli.market.instruments import Instrument, Master

    future = Instrument(
        5, "NFO", "NIFTY26NOVFUT", "NIFTY", "NFO-FUT", "FUT", 65, Decimal("0.05"), date(2026, 11, 24), None, "1"
    )
    builder = BarBuilder([Interval.parse("5m")], contracts=Contracts(lambda: Master.of([future])))
    late = datetime(2026, 11, 20, 15, 36, tzinfo=IST)
    ticks = [Tick(instrument_token=token, timestamp=late, last_price=100.0) for token in (5, 6)]
    assert [builder.on_tick(tick) for tick in ticks] == [[], []]
    bars = builder.advance(datetime(2026, 11, 20, 15, 40, 1, tzinfo=IST))
    assert [(bar.instrument_token, bar.start, bar.end) for bar in bars] == [
        (5, datetime(2026, 11, 20, 15, 35, tzinfo=IST), datetime(2026, 11, 20, 15, 40, tzinfo=IST))
    ]
    assert builder.counts()["outside_session"] == 1
