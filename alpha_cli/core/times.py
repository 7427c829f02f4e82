"""Times: the zone of the wire, the epoch, and conversions of instants. `time_text` reads times from text."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import cast

import msgspec

#: Indian time: the very object that the decoder gives such times. Two times of one zone object are compared without
#: computing their offsets, in a tenth of the time.
IST = cast(timezone, msgspec.json.decode(b'"1970-01-01T05:30:00+05:30"', type=datetime).tzinfo)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_IN_INDIA = EPOCH.astimezone(IST)


def microseconds(moment: datetime) -> int:
    """Return the microseconds since 1970 in UTC: the same instant gives the same number whatever its offset."""
    # Between two times of one zone object Python computes no offsets, which would cost several times as much.
    since = moment - (_EPOCH_IN_INDIA if moment.tzinfo is IST else EPOCH)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def at_midnight(day: date) -> datetime:
    """Return the start of the Indian day after `day`; the last representable moment for the last date."""
    if day == date.max:
        return datetime.max.replace(tzinfo=IST)
    return datetime.combine(day + timedelta(days=1), time(), IST)


def in_india(moment: datetime) -> datetime:
    """Return `moment` in Indian time; unchanged at either end of the range of dates, where that overflows."""
    try:
        return moment.astimezone(IST)
    except OverflowError:
        return moment


def in_zone(moment: datetime, zone: tzinfo | None) -> datetime:
    """Return `moment` in `zone` if that is a fixed offset; as it is otherwise.

    Across a change to summer time two times of one zone do not compare as instants.
    """
    return moment.astimezone(zone) if type(zone) is timezone else moment


def later(moment: datetime, delay: timedelta) -> datetime:
    """Return `moment + delay`; the last representable moment if that overflows."""
    try:
        return moment + delay
    except OverflowError:
        return datetime.max.replace(tzinfo=moment.tzinfo)
