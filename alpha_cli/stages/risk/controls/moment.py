"""When an order may be sent: sessions, the day of expiry, the age of prices."""

from __future__ import annotations

from alpha_cli.stages.risk.codes import Code
from alpha_cli.stages.risk.counters import MINUTE
from alpha_cli.stages.risk.facts import Facts
from alpha_cli.stages.risk.refusal import Refusal, seconds


def session(facts: Facts) -> Refusal | None:
    """Require that both the signal and the newest tick lie in the continuous session."""
    if not facts.limits.session_hours or facts.time.outside is None:
        return None
    moment, hours, unknown = facts.time.outside
    if unknown is not None:
        return Refusal(Code.SESSION_UNKNOWN, unknown, None, moment.isoformat())
    return Refusal(Code.SESSION_CLOSED, "outside the continuous session of the instrument", hours, moment.isoformat())


def past(facts: Facts) -> Refusal | None:
    """Refuse signals of a day before the current one: the counts of that day are gone."""
    if not facts.time.past:
        return None
    message = "the stream has gone back to a day whose counts are gone; use another --state folder to replay it"
    return Refusal(Code.SESSION_PAST, message, None, str(facts.contract.on))


def entry_window(facts: Facts) -> Refusal | None:
    """Refuse entries in the first and last minutes of a session; orders that only close a position pass."""
    window = facts.limits.entry_window
    assert window is not None
    if not facts.is_entry:
        return None
    after, before = window
    early, late = facts.time.into_session, facts.time.to_close
    if early is None or late is None:
        message, observed = "not in a session of the instrument", None
    elif early < after * MINUTE:
        message, observed = "too early in the session to open a position", f"{seconds(early)} s after the opening"
    elif late < before * MINUTE:
        message, observed = "too late in the session to open a position", f"{seconds(late)} s before the close"
    else:
        return None
    window_text = f"{after} min after the opening to {before} min before the close"
    return Refusal(Code.SESSION_NO_ENTRY, message, window_text, observed)


def square_off(facts: Facts) -> Refusal | None:
    """Refuse MIS entries once the broker squares off MIS positions."""
    day = facts.contract.day
    if not facts.time.squared_off or not facts.is_entry or facts.request.product != "MIS" or day is None:
        return None
    return Refusal(
        Code.SESSION_SQUARED_OFF, "no new MIS positions after the square-off time", day.square_off.isoformat()
    )


def expiry_day(facts: Facts) -> Refusal | None:
    """Refuse entries in a contract on its expiry day, unless `expiry_day_entries` allows them."""
    instrument, day = facts.contract.instrument, facts.contract.on
    if facts.limits.expiry_day_entries or instrument.expiry != day or not facts.is_entry:
        return None
    return Refusal(Code.INSTRUMENT_EXPIRES_TODAY, "no entries on the day of expiry", None, str(day))


def tick_age(facts: Facts) -> Refusal | None:
    """Refuse entries on old prices, or where ticks are missing."""
    limit, age = facts.limits.max_tick_age, facts.time.tick_age
    assert limit is not None
    if not facts.is_entry:
        return None
    if age is None:
        return Refusal(Code.DATA_MISSING, "no tick of the instrument yet", seconds(limit))
    if facts.time.gap:
        return Refusal(Code.DATA_GAP, "ticks are missing, and none of the instrument came since", None, seconds(age))
    if age > limit:
        return Refusal(Code.DATA_STALE, "the last tick of the instrument is too old", seconds(limit), seconds(age))
    return None
