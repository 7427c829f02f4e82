"""The calendar against those of two other projects: every weekday that it covers, each difference by name.

Theirs have neither weekend sessions, nor the closing auction, nor the hours of derivatives, so of those the
comparison says nothing. What they take from the same circulars as we do, it does not make more certain.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from alpha_cli.market.calendar import Calendar

# They are built on pandas, which warns its users of what is to come; those are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

FIRST, LAST = date(2022, 1, 1), date(2026, 12, 31)

MUHURAT = "Muhurat trading for an hour on a holiday, which exchange_calendars has as closed"

#: Weekdays on which exchange_calendars (XBOM) and we differ about whether there is trading.
XBOM_DIFFERENCES = {
    date(2022, 10, 24): MUHURAT,
    date(2024, 11, 1): MUHURAT,
    date(2025, 10, 21): MUHURAT,
}
#: Those on which pandas_market_calendars (NSE) and we do.
NSE_DIFFERENCES: dict[date, str] = {}

NO_WEEKENDS = "a session on a weekend, of which neither package has any"

#: Sessions of ours on weekends, all unknown to both.
WEEKEND_SESSIONS = {
    date(2023, 11, 12): NO_WEEKENDS,  # Muhurat trading
    date(2024, 1, 20): NO_WEEKENDS,  # in place of 2024-01-22
    date(2024, 3, 2): NO_WEEKENDS,  # disaster recovery site
    date(2024, 5, 18): NO_WEEKENDS,  # disaster recovery site
    date(2025, 2, 1): NO_WEEKENDS,  # Union Budget
    date(2026, 2, 1): NO_WEEKENDS,  # Union Budget
    date(2026, 11, 8): NO_WEEKENDS,  # Muhurat trading
}


def days(first: date = FIRST, last: date = LAST) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def ours(exchange: str) -> set[date]:
    """The dates with trading."""
    calendar = Calendar.of(exchange)
    return {day for day in days() if calendar.day(day) is not None}


@pytest.fixture(scope="module")
def bombay() -> set[date]:
    """The sessions that exchange_calendars knows."""
    import exchange_calendars

    calendar = exchange_calendars.get_calendar("XBOM", start=FIRST.isoformat(), end=LAST.isoformat())
    return {moment.date() for moment in calendar.sessions}


@pytest.fixture(scope="module")
def national() -> dict[date, tuple[Any, Any]]:
    """Date -> opening and close, as pandas_market_calendars knows them."""
    import pandas_market_calendars

    schedule = pandas_market_calendars.get_calendar("NSE").schedule(FIRST.isoformat(), LAST.isoformat())
    return {row.Index.date(): (row.market_open, row.market_close) for row in schedule.itertuples()}


@pytest.mark.parametrize("exchange", ["NSE", "BSE", "NFO", "BFO"])
def test_the_trading_days_are_those_of_exchange_calendars_but_for_those_named(exchange: str, bombay: set[date]) -> None:
    """Every weekday of five years; a difference that is not named fails, and so does a name without one."""
    weekdays = {day for day in days() if day.weekday() < 5}
    assert (ours(exchange) & weekdays) ^ (bombay & weekdays) == set(XBOM_DIFFERENCES)


@pytest.mark.parametrize("exchange", ["NSE", "BSE", "NFO", "BFO"])
def test_the_trading_days_are_those_of_pandas_market_calendars_but_for_those_named(
    exchange: str, national: dict[date, tuple[Any, Any]]
) -> None:
    """The same against the other."""
    weekdays = {day for day in days() if day.weekday() < 5}
    assert (ours(exchange) & weekdays) ^ (set(national) & weekdays) == set(NSE_DIFFERENCES)


@pytest.mark.parametrize("exchange", ["NSE", "BSE"])
def test_weekend_sessions_are_ours_alone(
    exchange: str, bombay: set[date], national: dict[date, tuple[Any, Any]]
) -> None:
    """Once one of them learns of these, this says so."""
    mine = {day for day in ours(exchange) if day.weekday() >= 5}
    assert mine == set(WEEKEND_SESSIONS)
    assert not mine & (bombay | set(national))


def test_the_hours_are_those_of_pandas_market_calendars(national: dict[date, tuple[Any, Any]]) -> None:
    """Of stocks without a closing auction: on ordinary days, and on Muhurat days that are weekdays."""
    calendar = Calendar.of("NSE")
    differences = {}
    for day, (opening, close) in national.items():
        found = calendar.day(day)
        assert found is not None
        if (found.continuous[0].open, found.continuous[-1].close) != (opening, close):
            differences[day] = (opening, close)
    assert differences == {}
