"""Times: the zone of the wire, the epoch, and whole microseconds.

Every conversion of an instant lives here; text to time is in `time_text`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import cast

import msgspec

#: Indian time: the object itself that the decoder gives such times. Two times of one zone object are compared without
#: asking for their offsets, in a tenth of the time.
IST = cast(timezone, msgspec.json.decode(b'"1970-01-01T05:30:00+05:30"', type=datetime).tzinfo)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_IN_INDIA = EPOCH.astimezone(IST)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 in UTC: the same instant gives the same number whatever its offset."""
    # Between two times of one zone object Python does not ask for offsets, which costs several times as much.
    since = moment - (_EPOCH_IN_INDIA if moment.tzinfo is IST else EPOCH)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def at_midnight(day: date) -> datetime:
    """When the Indian day after `day` begins; of the calendar's last day, its end."""
    if day == date.max:
        return datetime.max.replace(tzinfo=IST)
    return datetime.combine(day + timedelta(days=1), time(), IST)


def in_india(moment: datetime) -> datetime:
    """`moment` in Indian time; as it is at either end of the calendar, where that time has no name."""
    try:
        return moment.astimezone(IST)
    except OverflowError:
        return moment


def later(moment: datetime, delay: timedelta) -> datetime:
    """`moment` and `delay`; the end of the calendar if that lies beyond it."""
    try:
        return moment + delay
    except OverflowError:
        return datetime.max.replace(tzinfo=moment.tzinfo)
