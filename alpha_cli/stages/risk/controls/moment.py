"""Whether this is the moment: sessions, the day of expiry, how fresh the prices are."""

from __future__ import annotations

from alpha_cli.stages.risk.codes import Code
from alpha_cli.stages.risk.counters import MINUTE
from alpha_cli.stages.risk.facts import Facts, Refusal, seconds


def session(facts: Facts) -> Refusal | None:
    """Both the signal and the newest tick must lie in the continuous session."""
    if not facts.limits.session_hours or facts.outside is None:
        return None
    moment, hours, unknown = facts.outside
    if unknown is not None:
        return Refusal(Code.SESSION_UNKNOWN, unknown, None, moment.isoformat())
    return Refusal(Code.SESSION_CLOSED, "outside the continuous session of the instrument", hours, moment.isoformat())


def past(facts: Facts) -> Refusal | None:
    """Once a later day began, the counts of an earlier one are gone: nothing can be held against them."""
    if not facts.past:
        return None
    message = "the stream has gone back to a day whose counts are gone; use another --state folder to replay it"
    return Refusal(Code.SESSION_PAST, message, None, str(facts.contract.on))


def entry_window(facts: Facts) -> Refusal | None:
    """Positions are not opened in the first and last minutes of a session. What only closes one may pass."""
    window = facts.limits.entry_window
    assert window is not None
    if not facts.entry:
        return None
    after, before = window
    early, late = facts.into_session, facts.to_close
    if early is None or late is None:
        message, observed = "not in a session of the instrument", None
    elif early < after * MINUTE:
        message, observed = "too early in the session to open a position", f"{seconds(early)} s after the opening"
    elif late < before * MINUTE:
        message, observed = "too late in the session to open a position", f"{seconds(late)} s before the close"
    else:
        return None
    said = f"{after} min after the opening to {before} min before the close"
    return Refusal(Code.SESSION_NO_ENTRY, message, said, observed)


def square_off(facts: Facts) -> Refusal | None:
    """Once the broker closes MIS positions, none is opened."""
    day = facts.contract.day
    if not facts.squared_off or not facts.entry or facts.product != "MIS" or day is None:
        return None
    return Refusal(
        Code.SESSION_SQUARED_OFF, "no new MIS positions after the square-off time", day.square_off.isoformat()
    )


def expiry_day(facts: Facts) -> Refusal | None:
    """Whether positions may be opened in a contract on its last day."""
    instrument, day = facts.contract.instrument, facts.contract.on
    if facts.limits.expiry_day_entries or instrument.expiry != day or not facts.entry:
        return None
    return Refusal(Code.INSTRUMENT_EXPIRES_TODAY, "no entries on the day of expiry", None, str(day))


def tick_age(facts: Facts) -> Refusal | None:
    """Positions are not opened on prices that are old, or where ticks are missing."""
    limit, age = facts.limits.max_tick_age, facts.tick_age
    assert limit is not None
    if not facts.entry:
        return None
    if age is None:
        return Refusal(Code.DATA_MISSING, "no tick of the instrument yet", seconds(limit))
    if facts.gap:
        return Refusal(Code.DATA_GAP, "ticks are missing, and none of the instrument came since", None, seconds(age))
    if age > limit:
        return Refusal(Code.DATA_STALE, "the last tick of the instrument is too old", seconds(limit), seconds(age))
    return None
