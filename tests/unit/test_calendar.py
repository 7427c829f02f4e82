"""When the market is open: the dated files, what a user changes in them, and the hours that hot loops ask."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st
from support.events import NIFTY, stream
from support.processes import run_alpha

from alpha_cli.config.files import packaged
from alpha_cli.core.errors import ConfigurationError, UsageError
from alpha_cli.core.events import Tick
from alpha_cli.core.times import IST
from alpha_cli.market.bars.builder import BarBuilder
from alpha_cli.market.bars.interval import Interval
from alpha_cli.market.calendar import AllHours, Calendar, OutOfCoverage, Session, SessionHours, sessions
from alpha_cli.market.calendar.data import EXCHANGES, FOLLOWS, ExchangeData
from alpha_cli.market.calendar.load import load
from alpha_cli.market.contracts import Contracts

MONDAY = date(2024, 6, 3)
FIRST, LAST = date(2022, 1, 1), date(2026, 12, 31)


@pytest.fixture(autouse=True)
def _files_of_this_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a process keeps of the files must not pass from one test to the next."""
    monkeypatch.delenv("ALPHA_CONFIG_DIR", raising=False)
    sessions._calendar.cache_clear()
    yield
    sessions._calendar.cache_clear()


def at(clock: str, day: date = MONDAY) -> datetime:
    return datetime.fromisoformat(f"{day}T{clock}+05:30")


def hours(parts: Any) -> str:
    """`09:15-10:00 11:30-12:30`."""
    parts = () if parts is None else (parts,) if isinstance(parts, Session) else parts
    return " ".join(f"{part.open:%H:%M}-{part.close:%H:%M}" for part in parts)


# --- the hours of a day -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exchange", "day", "kind", "pre_open", "continuous", "auction", "post_close", "square_off"),
    [
        ("NSE", "2022-01-03", "", "09:00-09:15", "09:15-15:30", "", "15:40-16:00", "15:20"),
        ("NSE", "2026-07-31", "closing_auction", "09:00-09:15", "09:15-15:30", "", "15:40-16:00", "15:20"),
        ("NSE", "2026-08-03", "", "09:00-09:15", "09:15-15:30", "", "15:50-16:00", "15:05"),
        ("NSE", "2026-08-03", "closing_auction", "09:00-09:15", "09:15-15:15",
         "15:15-15:20 15:20-15:25 15:25-15:30 15:30-15:35", "15:50-16:00", "15:05"),
        ("BSE", "2026-12-04", "closing_auction", "09:00-09:15", "09:15-15:15",
         "15:15-15:20 15:20-15:25 15:25-15:30 15:30-15:35", "15:50-16:00", "15:05"),
        ("NSE", "2026-12-07", "closing_auction", "09:00-09:15", "09:15-15:30",
         "15:30-15:31 15:31-15:36 15:36-15:40", "15:50-16:00", "15:05"),
        ("NFO", "2025-12-05", "", "", "09:15-15:30", "", "", "15:25"),
        ("NFO", "2025-12-08", "", "09:00-09:15", "09:15-15:30", "", "", "15:25"),
        ("BFO", "2026-08-03", "", "09:00-09:15", "09:15-15:40", "", "", "15:20"),
        ("NFO", "2026-12-04", "expiring", "09:00-09:15", "09:15-15:40", "", "", "15:20"),
        ("NFO", "2026-12-08", "", "09:00-09:15", "09:15-15:45", "", "", "15:20"),
        ("NFO", "2026-12-08", "expiring", "09:00-09:15", "09:15-15:30", "", "", "15:05"),
        ("CDS", "2026-08-03", "", "", "09:00-17:00", "", "", "16:45"),
        ("BCD", "2026-08-03", "", "", "09:00-17:00", "", "", "16:45"),
        # MCX follows daylight saving in the United States
        ("MCX", "2026-10-30", "", "", "09:00-23:30", "", "", "23:05"),
        ("MCX", "2026-11-02", "", "", "09:00-23:55", "", "", "23:30"),
        ("NCO", "2022-03-11", "", "", "09:00-23:55", "", "", "23:30"),
        ("MCX", "2022-03-14", "", "", "09:00-23:30", "", "", "23:05"),
        # holidays that close one part of the day
        ("MCX", "2026-11-24", "", "", "17:00-23:55", "", "", "23:30"),
        ("MCX", "2026-01-01", "", "", "09:00-17:00", "", "", "16:35"),
        # special days
        ("NSE", "2022-10-24", "", "18:00-18:15", "18:15-19:15", "", "", "19:05"),
        ("NSE", "2023-11-12", "", "18:00-18:15", "18:15-19:15", "", "19:25-19:35", "19:05"),
        ("NFO", "2024-11-01", "", "", "18:00-19:00", "", "", "18:55"),
        ("MCX", "2024-11-01", "", "", "18:00-19:00", "", "", "18:35"),
        ("CDS", "2025-10-21", "", "", "13:45-14:45", "", "", "14:30"),
        ("NSE", "2024-01-20", "", "09:00-09:15", "09:15-15:30", "", "15:40-16:00", "15:20"),
        ("NSE", "2024-03-02", "", "09:00-09:15", "09:15-10:00 11:30-12:30", "", "12:40-12:50", "12:20"),
        ("BFO", "2024-05-18", "", "", "09:15-10:00 11:30-12:30", "", "", "12:25"),
        ("BSE", "2025-02-01", "", "09:00-09:15", "09:15-15:30", "", "15:40-16:00", "15:20"),
        ("NSE", "2026-02-01", "", "09:00-09:15", "09:15-15:30", "", "15:40-16:00", "15:20"),
        ("MCX", "2026-02-01", "", "", "09:00-17:00", "", "", "16:35"),
    ],
)  # fmt: skip
def test_the_hours_of_a_day(
    exchange: str, day: str, kind: str, pre_open: str, continuous: str, auction: str, post_close: str, square_off: str
) -> None:
    """By exchange, date and kind of instrument; the sources stand in the files."""
    found = Calendar.of(exchange).day(date.fromisoformat(day), **({kind: True} if kind else {}))
    assert found is not None
    assert hours(found.pre_open) == pre_open
    assert hours(found.continuous) == continuous
    assert hours(found.closing_auction) == auction
    assert hours(found.post_close) == post_close
    assert f"{found.square_off:%H:%M}" == square_off
    assert found.square_off.utcoffset() == timedelta(hours=5, minutes=30)


@pytest.mark.parametrize(
    ("exchange", "day"),
    [
        ("NSE", "2026-01-15"),  # added three days before
        ("NSE", "2023-06-29"),  # moved there from the 28th
        ("NSE", "2026-11-21"),  # a Saturday
        ("NSE", "2026-08-15"),  # a holiday on a Saturday
        ("BFO", "2026-01-26"),
        ("CDS", "2026-04-01"),  # banks close their books
        ("CDS", "2025-09-08"),
        ("CDS", "2026-02-01"),  # no session on Budget Sunday
        ("MCX", "2026-10-02"),  # both parts of the day
        ("MCX", "2024-03-02"),
    ],
)
def test_a_day_without_trading(exchange: str, day: str) -> None:
    """Weekends, and the holidays of that exchange."""
    assert Calendar.of(exchange).day(date.fromisoformat(day)) is None


@pytest.mark.parametrize(
    ("exchange", "day"), [("NSE", "2023-06-28"), ("NSE", "2026-04-01"), ("CDS", "2025-09-05"), ("CDS", "2024-09-16")]
)
def test_a_day_that_was_no_holiday_in_the_end(exchange: str, day: str) -> None:
    """Moved away, or one of the banks only."""
    assert Calendar.of(exchange).day(date.fromisoformat(day)) is not None


def test_an_uncertain_day_says_so() -> None:
    """No circular with the hours of Muhurat trading in 2026 was found."""
    found = Calendar.of("NSE").day(date(2026, 11, 8))
    assert found is not None
    assert "no circular with its hours was found" in found.provisional
    certain = Calendar.of("NSE").day(date(2025, 10, 21))
    assert certain is not None
    assert certain.provisional == ""


def test_kinds_are_those_whose_hours_differ() -> None:
    """So a table has a line for each, and none without need."""
    assert Calendar.of("NSE").kinds(date(2026, 7, 31)) == ()
    assert Calendar.of("NSE").kinds(date(2026, 8, 3)) == ("closing_auction",)
    assert Calendar.of("NFO").kinds(date(2026, 12, 8)) == ("expiring",)
    assert Calendar.of("NSE").kinds(date(2026, 8, 8)) == ()


# --- the ends of what is known ----------------------------------------------------------------


@pytest.mark.parametrize("exchange", [*EXCHANGES, *FOLLOWS])
def test_beyond_its_coverage_the_calendar_refuses(exchange: str) -> None:
    """It says until when it holds and what to do; the code is that of a configuration."""
    calendar = Calendar.of(exchange)
    assert (calendar.valid_from, calendar.valid_through) == (FIRST, LAST)
    with pytest.raises(
        OutOfCoverage, match=rf"^the calendar of {exchange} ends on 2026-12-31, before 2027-01-04; .*calendar\.yaml"
    ):
        calendar.day(date(2027, 1, 4))
    with pytest.raises(OutOfCoverage, match="begins on 2022-01-01, after 2021-12-31"):
        calendar.day(date(2021, 12, 31))
    assert OutOfCoverage.exit_code == 78
    assert calendar.day(date(2026, 12, 31)) is not None


def test_a_day_of_which_nothing_is_known_is_refused_not_guessed() -> None:
    """No source says whether currencies traded when the RBI and Maharashtra differed."""
    with pytest.raises(OutOfCoverage, match="does not know 2023-09-29: Id-E-Milad was moved"):
        Calendar.of("CDS").day(date(2023, 9, 29))
    assert Calendar.of("NSE").day(date(2023, 9, 29)) is not None


def test_an_exchange_that_is_not_known_is_a_usage_error() -> None:
    """With the nearest name."""
    with pytest.raises(UsageError, match="no exchange 'NSF', did you mean 'NSE'"):
        Calendar.of("NSF")


# --- from day to day --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exchange", "moment", "opening"),
    [
        ("NSE", "2026-11-20T08:00:00+05:30", "2026-11-20T09:15:00+05:30"),
        ("NSE", "2026-11-20T09:15:00+05:30", "2026-11-23T09:15:00+05:30"),  # it is open: the one after
        ("NSE", "2026-11-23T16:00:00+05:30", "2026-11-25T09:15:00+05:30"),  # over a holiday
        ("MCX", "2026-11-24T00:00:00+05:30", "2026-11-24T17:00:00+05:30"),  # which closes only a part there
        ("NSE", "2024-03-02T10:30:00+05:30", "2024-03-02T11:30:00+05:30"),  # the second session of a day
        ("NSE", "2024-03-01T23:00:00+00:00", "2024-03-02T09:15:00+05:30"),  # the day in India counts
    ],
)
def test_the_next_opening(exchange: str, moment: str, opening: str) -> None:
    """After a moment in any zone."""
    assert Calendar.of(exchange).next_open(datetime.fromisoformat(moment)).isoformat() == opening


@pytest.mark.parametrize(
    "look",
    [
        lambda calendar: calendar.next_open(at("15:30:00", LAST)),
        lambda calendar: calendar.next_open(datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))),
        lambda calendar: calendar.is_open(datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))),
    ],
)
def test_looking_for_a_day_stops_where_the_calendar_does(look: Callable[[Calendar], object]) -> None:
    """It does not run on, nor guess."""
    with pytest.raises(OutOfCoverage):
        look(Calendar.of("NSE"))


def test_the_session_of_a_day() -> None:
    """From its first opening to its last close."""
    contracts = Contracts()
    assert contracts.session(256265, MONDAY) == Session(at("09:15:00"), at("15:30:00"))
    two = contracts.session(256265, date(2024, 3, 2))
    assert two == (at("09:15:00", date(2024, 3, 2)), at("12:30:00", date(2024, 3, 2)))
    day = Calendar.of("MCX").day(MONDAY)
    assert day is not None
    assert day.continuous == (Session(at("09:00:00"), at("23:30:00")),)
    assert contracts.session(256265, date(2024, 6, 2)) is None
    with pytest.raises(OutOfCoverage):
        contracts.session(256265, date(2020, 1, 1))


# --- is it open? ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clock", "open_"),
    [
        ("00:00:00", False),
        ("09:00:00", False),  # the pre-open auction
        ("09:14:59.999999", False),
        ("09:15:00", True),
        ("12:00:00", True),
        ("15:29:59.999999", True),
        ("15:30:00", False),
        ("23:59:59", False),
    ],
)
def test_the_continuous_session_is_from_0915_until_before_1530_in_india(clock: str, open_: bool) -> None:
    """The opening moment belongs to it, the closing moment does not; each weekday alike."""
    for day in range(5):
        assert SessionHours().contains(at(clock, MONDAY + timedelta(day))) is open_
        assert Calendar.of().is_open(at(clock, MONDAY + timedelta(day))) is open_


def test_a_weekend_has_no_session() -> None:
    """A recording that repeats Friday under Saturday's date trades nothing."""
    hours = SessionHours()
    for day in (5, 6):
        assert Calendar.of().day(MONDAY + timedelta(day)) is None
        assert not hours.contains(at("12:00:00", MONDAY + timedelta(day)))
    assert hours.contains(at("12:00:00", MONDAY + timedelta(7)))


def test_the_closing_auction_is_not_continuous_trading() -> None:
    """A stock on its list is closed from 15:15, another is not."""
    day = date(2026, 8, 3)
    assert SessionHours("NSE").contains(at("15:20:00", day))
    assert not SessionHours("NSE", closing_auction=True).contains(at("15:20:00", day))
    assert SessionHours("NSE", closing_auction=True).contains(at("15:14:59", day))
    assert SessionHours("NFO").contains(at("15:39:59", day))


def test_the_first_day_that_is_not_covered_is_remembered() -> None:
    """Such a moment is in no session; and a stage can say so at its end."""
    hours = SessionHours()
    assert hours.contains(at("10:00:00"))
    assert (hours.beyond, hours.why()) == (None, None)
    for day in ("2027-01-04", "2027-01-05", "2020-01-01"):
        assert not hours.contains(at("10:00:00", date.fromisoformat(day)))
    assert hours.beyond == date(2027, 1, 4)
    assert "ends on 2026-12-31, before 2027-01-04" in str(hours.why())
    assert hours.contains(at("10:00:00"))  # and it goes on


def plainly(moment: datetime) -> bool:
    """The definition, written another way: seconds since 1970 against those of the day's sessions."""
    day = (moment.astimezone(UTC) + timedelta(hours=5, minutes=30)).date()
    if not FIRST <= day <= LAST:
        return False
    found = Calendar.of("NSE").day(day)
    continuous = () if found is None else found.continuous
    return any(one.open.timestamp() <= moment.timestamp() < one.close.timestamp() for one in continuous)


zones = st.sampled_from(
    [UTC, IST, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12)), ZoneInfo("America/New_York")]
)
moments = st.datetimes(datetime(2021, 12, 1), datetime(2027, 2, 1), timezones=zones)  # noqa: DTZ001
odd_days = st.sampled_from([MONDAY, date(2024, 3, 1), date(2024, 10, 31), date(2026, 1, 24), date(2026, 12, 28)])
clocks = st.sampled_from(["09:15:00", "10:00:00", "11:30:00", "12:30:00", "15:30:00", "18:00:00", "00:00:00"])
near = st.builds(
    lambda day, days, clock, minutes, zone: (
        at(clock, day + timedelta(days)) + timedelta(minutes=minutes)
    ).astimezone(zone),
    odd_days, st.integers(0, 9), clocks, st.integers(-2, 2), zones,
)  # fmt: skip


@given(st.lists(moments | near, max_size=8))
def test_one_moment_after_another_agrees_with_the_definition(asked: list[datetime]) -> None:
    """What is remembered of the session asked about last never shows, whatever the zones; nor do `open` and `close`."""
    hours = SessionHours()
    for moment in asked:
        inside = hours.open <= moment < hours.close  # as a hot loop asks first
        assert not inside or plainly(moment)
        assert hours.contains(moment) is plainly(moment)


def test_a_day_with_two_sessions_is_closed_between_them() -> None:
    """Whichever is asked about first."""
    day = date(2024, 3, 2)
    hours = SessionHours()
    asked = ["11:45:00", "09:20:00", "10:30:00", "12:29:59", "12:30:00", "09:15:00"]
    assert [hours.contains(at(clock, day)) for clock in asked] == [True, True, False, True, False, True]


@pytest.mark.parametrize("zone", [UTC, IST, timezone(timedelta(hours=14)), timezone(timedelta(hours=-14))])
@pytest.mark.parametrize("end", [datetime.min, datetime.max])  # noqa: DTZ901
def test_the_ends_of_the_calendar_are_outside_every_session(end: datetime, zone: timezone) -> None:
    """They cannot be turned into Indian time, and need not be."""
    assert not SessionHours().contains(end.replace(tzinfo=zone))


def test_all_hours_contains_every_moment() -> None:
    """What `--all-hours` asks instead; nothing is beyond it."""
    hours = AllHours()
    for moment in (at("03:00:00"), datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)):
        assert hours.contains(moment)
        assert hours.open <= at("03:00:00") < hours.close
    assert (hours.beyond, hours.why(), hours.describe()) == (None, None, "all hours")


# --- bars -------------------------------------------------------------------------------------


def test_ticks_of_a_day_that_is_not_covered_pass_without_bars_and_the_stage_says_so() -> None:
    """No tick is lost, no bar is made on a guess, and the end is 78."""
    days = (date(2027, 1, 4), MONDAY)
    ticks = [Tick(NIFTY, at(clock, day), 100.0) for day in days for clock in ("10:00:00", "10:01:00")]
    made = run_alpha(["bars", "--interval", "1m"], stream(sorted(ticks, key=lambda tick: tick.timestamp)))
    assert made.returncode == 78
    assert made.stdout.count(b'"type":"tick"') == 4
    assert b'"start":"2024-06-03' in made.stdout
    assert b'"start":"2027' not in made.stdout
    assert b"the calendar of NSE ends on 2026-12-31, before 2027-01-04" in made.stderr
    assert b"outside_session=2" in made.stderr


def test_all_hours_need_no_calendar() -> None:
    """Bars over whole days are made of any year."""
    bars = BarBuilder([Interval.parse("1m")], all_hours=True)
    moment = at("10:00:00", date(2019, 1, 1))
    made = [
        bar
        for tick in (Tick(NIFTY, moment, 1.0), Tick(NIFTY, moment + timedelta(minutes=1), 1.0))
        for bar in bars.on_tick(tick)
    ]
    assert len(made) == 1
    assert bars.verdict() is None


# --- the shipped files ------------------------------------------------------------------------


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_every_fact_of_a_shipped_file_names_its_source(exchange: str) -> None:
    """Of each year with holidays, each special day and each regime."""
    data = json.loads((packaged("configs") / "calendar" / f"{exchange}.json").read_text())
    for holiday in data.get("holidays", ()):
        assert holiday["date"][:4] in data["sources"] or holiday.get("source"), holiday
    for entry in (*data["regimes"], *data["special"]):
        assert len(entry["source"]) > 5
    for regime in data["regimes"]:
        assert len(regime["square_off_source"]) > 20


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_shipped_file_has_holidays_in_every_year_that_it_covers(exchange: str) -> None:
    """A year without any would be one that somebody forgot; and none falls on a weekend, where it says nothing."""
    data = load(exchange)
    for year in range(data.valid_from.year, data.valid_through.year + 1):
        assert 12 <= sum(holiday.date.year == year for holiday in data.holidays) <= 22
    assert not [holiday for holiday in data.holidays if holiday.date.weekday() >= 5]


def spoilt(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Path:
    """A configuration folder in which the file of MCX has other values."""
    data = json.loads((packaged("configs") / "calendar" / "MCX.json").read_text())
    path = folder / "calendar" / "MCX.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**data, **changes}))
    monkeypatch.setenv("ALPHA_CONFIG_DIR", str(folder))
    return path


REGIME = {
    "from": "2022-01-01", "source": "a", "continuous": {"open": "09:00:00", "close": "23:30:00"},
    "square_off": "23:00:00", "square_off_source": "b",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"exchange": "NSE"}, "exchange: NSE in the file of MCX"),
        ({"holidayz": []}, "unknown field `holidayz`"),
        ({"valid_from": "2027-01-01"}, "valid_through 2026-12-31 is before valid_from 2027-01-01"),
        ({"valid_from": "someday"}, "Invalid RFC3339"),
        ({"holidays_of": "NYSE"}, "'NYSE' is not another exchange"),
        ({"holidays_of": "MCX"}, "'MCX' is not another exchange"),
        ({"regimes": []}, "the first must begin on or before valid_from"),
        ({"regimes": [{**REGIME, "from": "2022-01-02"}]}, "the first must begin on or before valid_from"),
        ({"regimes": [REGIME, REGIME]}, "each other later than the one before it"),
        ({"regimes": [{**REGIME, "square_off": "23:31:00"}]}, "square_off 23:31 is not within the session, 09:00 to 23:30"),  # noqa: E501
        ({"regimes": [{**REGIME, "expiring_close": "08:00:00"}]}, "expiring_close is not within the session"),
        ({"regimes": [{**REGIME, "post_close": {"open": "23:00:00", "close": "23:40:00"}}]}, "23:00 to 23:40 begins before 23:30"),  # noqa: E501
        ({"regimes": [{**REGIME, "continuous": {"open": "09:00:00", "close": "09:00:00"}}]}, "ends before it begins"),
        ({"evening": "08:00:00"}, "evening is not within the session"),
        ({"evening": None}, "only an exchange with an evening session"),
        ({"holidays": [{"date": "2026-01-26", "name": "a"}] * 2}, "holidays: 2026-01-26 is listed twice"),
        ({"holidays": [{"date": "2026-01-26", "name": "a", "closed": "noon"}]}, "Invalid enum value 'noon'"),
        ({"special": [{"date": "2026-02-01", "name": "a", "source": "b", "square_off": "10:00:00"}]}, "without sessions the usual hours apply"),  # noqa: E501
        ({"special": [{"date": "2026-02-01", "name": "a", "source": "b", "square_off": "10:00:00", "sessions": [{"open": "11:00:00", "close": "12:00:00"}]}]}, "square_off is not within the sessions"),  # noqa: E501
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_right_is_refused(
    changes: dict[str, Any], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line with file and fault, and nothing in place of it."""
    path = spoilt(tmp_path, monkeypatch, **changes)
    with pytest.raises(ConfigurationError) as caught:
        Calendar.of("MCX")
    assert str(path) in str(caught.value)
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[]", b"null"])
def test_a_file_that_is_no_calendar_is_refused(text: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken bytes as well as broken JSON."""
    spoilt(tmp_path, monkeypatch).write_bytes(text)
    with pytest.raises(ConfigurationError, match=r"MCX\.json: "):
        Calendar.of("MCX")


def test_holidays_are_shared_over_one_step_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that share each other's would never end."""
    spoilt(tmp_path, monkeypatch, holidays_of="BSE")
    with pytest.raises(ConfigurationError, match="calendar of MCX: holidays_of: BSE itself has holidays_of another"):
        Calendar.of("MCX")


def test_an_endless_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is in memory."""
    with spoilt(tmp_path, monkeypatch).open("ab") as file:
        file.write(b" " * (1 << 20))
    with pytest.raises(ConfigurationError, match=r"MCX\.json: larger than 1048576 bytes"):
        Calendar.of("MCX")


def test_a_users_file_of_an_exchange_stands_before_the_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with every configuration."""
    spoilt(tmp_path, monkeypatch, valid_through="2026-06-30")
    assert Calendar.of("MCX").valid_through == date(2026, 6, 30)
    assert Calendar.of("NSE").valid_through == LAST


# --- calendar.yaml ----------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write `calendar.yaml`."""

    def write(text: str) -> Path:
        path = tmp_path / "calendar.yaml"
        path.write_text(text)
        monkeypatch.setenv("ALPHA_CONFIG_DIR", str(tmp_path))
        return path

    return write


def test_a_user_adds_and_takes_away_holidays(own: Any) -> None:
    """At the exchange, and at those that share its holidays."""
    own("NSE:\n  add_holidays: {2026-11-25: Election}\n  remove_holidays: [2026-11-24]\n")
    for exchange in ("NSE", "BSE", "NFO", "CDS"):
        assert Calendar.of(exchange).day(date(2026, 11, 25)) is None
        assert Calendar.of(exchange).day(date(2026, 11, 24)) is not None
    assert Calendar.of("NSE").holiday(date(2026, 11, 25)) == "Election"


def test_a_user_changes_one_of_those_that_share_holidays(own: Any) -> None:
    """The others keep theirs."""
    own("BSE:\n  remove_holidays: [2026-11-24]\n")
    assert Calendar.of("BSE").day(date(2026, 11, 24)) is not None
    assert Calendar.of("NSE").day(date(2026, 11, 24)) is None


def test_a_holiday_that_two_of_them_have_is_one(own: Any) -> None:
    """Banks were closed on it anyway; now equity is too."""
    own("NSE:\n  add_holidays: {2026-08-26: Id-E-Milad}\n")
    assert Calendar.of("CDS").day(date(2026, 8, 26)) is None
    assert Calendar.of("NSE").day(date(2026, 8, 26)) is None


def test_a_user_closes_a_part_of_a_day(own: Any) -> None:
    """Where there is an evening session."""
    own("MCX:\n  add_holidays: {2026-11-25: {name: Election, closed: morning}}\n")
    found = Calendar.of("MCX").day(date(2026, 11, 25))
    assert found is not None
    assert (found.name, hours(found.continuous)) == ("Election", "17:00-23:55")


def test_a_user_says_when_a_session_is(own: Any) -> None:
    """In place of what the file says, and certain now."""
    own(
        "NSE:\n  add_sessions:\n    2026-11-08:\n      name: Muhurat\n"
        "      sessions: [{open: '18:00', close: '19:00'}]\n      square_off: '18:45'\n"
        "    2026-11-28: {name: Budget}\n"
    )
    found = Calendar.of("NSE").day(date(2026, 11, 8))
    assert found is not None
    assert (found.name, hours(found.continuous), found.provisional) == ("Muhurat", "18:00-19:00", "")
    assert found.square_off.time() == time(18, 45)
    budget = Calendar.of("NSE").day(date(2026, 11, 28), closing_auction=True)
    assert budget is not None
    assert (hours(budget.continuous), budget.name) == ("09:15-15:15", "Budget")


def test_a_user_settles_what_was_not_known(own: Any) -> None:
    """A day that the file refuses."""
    own("CDS:\n  add_holidays: {2023-09-29: Id-E-Milad}\n  remove_holidays: [2023-09-28]\n")
    assert Calendar.of("CDS").day(date(2023, 9, 29)) is None
    assert Calendar.of("CDS").day(date(2023, 9, 28)) is not None


def test_a_user_extends_the_calendar(own: Any) -> None:
    """But what shares another's holidays is known no longer than they are."""
    own("NSE:\n  valid_through: 2027-12-31\n  add_holidays: {2027-01-26: Republic Day}\n")
    assert Calendar.of("NSE").day(date(2027, 1, 26)) is None
    assert Calendar.of("NSE").day(date(2027, 1, 27)) is not None
    assert Calendar.of("NFO").valid_through == LAST
    sessions._calendar.cache_clear()
    own("NFO:\n  valid_through: 2027-12-31\n")
    assert Calendar.of("NFO").valid_through == LAST
    sessions._calendar.cache_clear()
    own("NSE: {valid_through: 2027-12-31}\nNFO: {valid_through: 2027-06-30}\n")
    assert Calendar.of("NFO").valid_through == date(2027, 6, 30)


def test_a_user_changes_the_time_of_square_off_from_a_date_on(own: Any) -> None:
    """What was before stays, so that a replay of the past does too."""
    own("NSE:\n  square_off: {2026-08-20: '15:10', 2026-12-07: '15:20'}\n")
    calendar = Calendar.of("NSE")
    days = [date(2026, 7, 31), date(2026, 8, 19), date(2026, 8, 20), date(2026, 9, 7), date(2026, 12, 4)]
    times = [day.square_off.strftime("%H:%M") for one in [*days, date(2026, 12, 7)] if (day := calendar.day(one))]
    assert times == ["15:20", "15:05", "15:10", "15:10", "15:10", "15:20"]
    auction = calendar.day(date(2026, 8, 20), closing_auction=True)
    assert auction is not None
    assert (hours(auction.continuous), auction.square_off.time()) == ("09:15-15:15", time(15, 10))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("NSF: {}", "unknown key NSF, did you mean 'NSE'"),
        ("NSE: {add_holiday: {}}", "unknown key NSE.add_holiday, did you mean 'add_holidays'"),
        ("NSE: {square_off: {2026-08-03: 15:10}}", "write a time in quotes: '15:10'"),
        ("NSE: {square_off: {2026-08-03: '25:00'}}", "not a time of day"),
        ("NSE: {square_off: {2026-08-03: '15:10+05:30'}}", "without an offset"),
        ("NSE: {square_off: {2026-08-03: '15:20'}}", "square_off 15:20 is not within the session, 09:15 to 15:15"),
        ("NSE: {valid_through: 2021-12-31}", "valid_through 2021-12-31 is before valid_from 2022-01-01"),
        ("NSE: {add_holidays: {2026-11-25: a}, remove_holidays: [2026-11-25]}", "and in remove_holidays"),
        ("NSE: {add_holidays: {2026-11-25: a}, add_sessions: {2026-11-25: {name: b}}}", "and in add_sessions"),
        ("NSE: {add_holidays: {2026-11-25: {name: a, closed: morning}}}", "only an exchange with an evening session"),
        ("NSE: {add_sessions: {2026-11-25: {name: a, sessions: [{open: '10:00', close: '09:00'}]}}}", "ends before"),
        ("NSE: [", "not usable YAML"),
    ],
)  # fmt: skip
def test_a_calendar_yaml_that_cannot_be_right_is_refused(text: str, fault: str, own: Any) -> None:
    """One line that names the file and the fault."""
    path = own(text)
    with pytest.raises(ConfigurationError) as caught:
        Calendar.of("NSE")
    assert str(path) in str(caught.value)
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_shipped_folder_is_not_asked_for_calendar_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is the user's own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "calendar.yaml").write_text("NSE: {valid_through: 2026-06-30}\n")
    assert Calendar.of("NSE").valid_through == date(2026, 6, 30)


def test_a_copy_of_the_data_is_not_changed_by_a_reading() -> None:
    """Each reading makes its own."""
    one, other = load("NFO"), load("NFO")
    assert isinstance(one, ExchangeData)
    assert one is not other
    assert len(one.holidays) == len(other.holidays) == len(load("NSE").holidays)
