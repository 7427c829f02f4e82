"""Times as people and programs write them.

A time is ISO text with or without an offset, seconds, milliseconds, microseconds or nanoseconds since
1970, or a date. It becomes a `datetime` in Indian time. Feeds write zero for "no time".
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo

from alpha_cli.core.errors import UsageError
from alpha_cli.core.times import EPOCH, IST

FIRST_YEAR, LAST_YEAR = 1990, 2100  # NSE began to trade in 1994
_ZERO = ("1970-01-0", "0001-01-01", "0000-00-00")  # an epoch of 0 in any zone; Go's and MySQL's null

_OFFSET = re.compile(r"\s*(?:(Z|UTC|GMT)|(IST)|([+-])(\d\d?):?(\d\d)?)$", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(\.\d*)?$", re.ASCII)
_CLOCK = re.compile(r"\d\d:\d\d(:\d\d(\.\d+)?)?$", re.ASCII)


def parse_time(value: object, zone: tzinfo) -> datetime | None:
    """Return the instant of `value` in Indian time, or None for zero. A naive time is in `zone`.

    Raises `ValueError` if it is not a time, or not in the years 1990 to 2100.
    """
    if isinstance(value, str):
        moment = _from_text(value, zone)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        moment = from_epoch(value)
    else:
        raise ValueError("not a time")
    if moment is None:
        return None
    if moment.tzinfo is not IST:
        moment = moment.replace(tzinfo=zone) if moment.tzinfo is None else moment
        try:
            moment = moment.astimezone(IST)
        except OverflowError:
            raise ValueError("not a time") from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"the year {moment.year} is not one of {FIRST_YEAR} to {LAST_YEAR}")
    return moment


def from_epoch(value: float) -> datetime | None:
    """Return the instant of seconds, milli-, micro- or nanoseconds since 1970, by their size; None for 0."""
    if value == 0:
        return None
    if not 0 < value < 1e20:
        raise ValueError("not a time")
    scale = 0 if value < 1e11 else 3 if value < 1e14 else 6 if value < 1e17 else 9
    if isinstance(value, int):  # without going through a float, which has too few digits
        microseconds = value * 10 ** (6 - scale) if scale <= 6 else value // 1000
    else:
        microseconds = round(value * 10.0 ** (6 - scale))
    try:
        return (EPOCH + timedelta(microseconds=microseconds)).astimezone(IST)
    except OverflowError:
        raise ValueError("not a time") from None


def _from_text(text: str, zone: tzinfo) -> datetime | None:
    if text[4:5] == "-" and not text.startswith(_ZERO):  # by far the most common
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return _from_odd_text(text.strip())
        return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment
    text = text.strip()
    if text.startswith(_ZERO):
        return None
    if _NUMBER.match(text):
        if len(text) == 8 and "1990" <= text[:4] <= "2100":  # 20240101; as seconds that is August 1970
            return datetime.fromisoformat(text)
        return from_epoch(float(text) if "." in text else int(text[:21]))
    return _from_odd_text(text)


def _from_odd_text(text: str) -> datetime:
    """Parse ISO text with an offset that `fromisoformat` does not know: " +0530", "z", " IST"."""
    found = _OFFSET.search(text, 10)
    moment = datetime.fromisoformat(text[: found.start()] if found else text)
    if found is None:
        return moment
    utc, indian, sign, hours, minutes = found.groups()
    if utc or indian:
        return moment.replace(tzinfo=IST if indian else UTC)
    offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
    return moment.replace(tzinfo=timezone(-offset if sign == "-" else offset))


def parse_zone(option: str, name: str) -> tzinfo:
    """Return the zone that an option names, by IANA name or offset. Raises `UsageError`."""
    if name == "Asia/Kolkata":
        return IST
    found = _OFFSET.match(name)
    if found:
        try:
            zone = _from_odd_text(f"2000-01-01T00:00:00{name}").tzinfo
        except ValueError:
            zone = None
        if zone is not None:
            return zone
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"{option} {name!r} is neither a zone such as Asia/Kolkata nor an offset such as +05:30"
        ) from None


def parse_bound(option: str, text: str, zone: tzinfo) -> datetime | time:
    """Return the instant that an option names, or a time of day, valid on every day. Raises `UsageError`."""
    try:
        if _CLOCK.match(text):
            return time.fromisoformat(text)
        moment = parse_time(text, zone)
    except ValueError:
        moment = None
    if moment is None:
        raise UsageError(f"{option} {text!r} is not a time; write 2026-01-05T09:15, 2026-01-05 or 09:15")
    return moment


def parse_date(option: str, text: str) -> date:
    """Return the date that an option names, as in 2026-01-05. Raises `UsageError`."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is not a date; write 2026-01-05") from None
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise UsageError(f"{option} {text!r} is not in the years {FIRST_YEAR} to {LAST_YEAR}")
    return day
