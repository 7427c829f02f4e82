"""When the market is open."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from alpha_cli.calendar import AllHours, SessionHours, session_of
from alpha_cli.events import IST

MONDAY = date(2024, 6, 3)


def at(clock: str, day: date = MONDAY) -> datetime:
    return datetime.fromisoformat(f"{day}T{clock}+05:30")


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


def test_a_weekend_has_no_session() -> None:
    """A recording that repeats Friday under Saturday's date trades nothing."""
    hours = SessionHours()
    for day in (5, 6):
        assert session_of(MONDAY + timedelta(day)) is None
        assert not hours.contains(at("12:00:00", MONDAY + timedelta(day)))
    assert hours.contains(at("12:00:00", MONDAY + timedelta(7)))


def plainly(moment: datetime) -> bool:
    """The definition, written another way."""
    local = (moment.astimezone(UTC) + timedelta(hours=5, minutes=30)).replace(tzinfo=None)
    return local.isoweekday() <= 5 and "09:15" <= local.strftime("%H:%M") < "15:30"


zones = st.sampled_from(
    [UTC, IST, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12)), ZoneInfo("America/New_York")]
)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=zones)  # noqa: DTZ001
near = st.tuples(st.integers(0, 13), st.integers(-3, 3), st.sampled_from(["09:15:00", "15:30:00", "00:00:00"]), zones)


@given(
    st.lists(
        moments | near.map(lambda n: (at(n[2], MONDAY + timedelta(n[0])) + timedelta(minutes=n[1])).astimezone(n[3]))
    )
)
def test_one_moment_after_another_agrees_with_the_definition(asked: list[datetime]) -> None:
    """What is remembered of the session asked about last never shows, whatever the zones; nor do `open` and `close`."""
    hours = SessionHours()
    for moment in asked:
        inside = hours.open <= moment < hours.close  # as a hot loop asks first
        assert not inside or plainly(moment)
        assert hours.contains(moment) is plainly(moment)


@pytest.mark.parametrize("zone", [UTC, IST, timezone(timedelta(hours=14)), timezone(timedelta(hours=-14))])
@pytest.mark.parametrize("end", [datetime.min, datetime.max])  # noqa: DTZ901
def test_the_ends_of_the_calendar_are_outside_every_session(end: datetime, zone: timezone) -> None:
    """They cannot be turned into Indian time, and need not be."""
    assert not SessionHours().contains(end.replace(tzinfo=zone))


def test_all_hours_contains_every_moment() -> None:
    """What `--all-hours` asks instead."""
    hours = AllHours()
    for moment in (at("03:00:00"), datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)):
        assert hours.contains(moment)
        assert hours.open <= at("03:00:00") < hours.close
