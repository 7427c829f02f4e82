"""The newest tick of each instrument, kept up to date by the loop so that no stage has to.

`risk` and `paper` need a price only when a signal or an order arrives, which is once in hundreds of ticks. So in a
process of their own they keep ticks as undecoded lines, found by the fixed beginning that the wire gives a tick, and
decode the one that is asked for. In a fused pipeline the ticks are objects already. Both look the same from outside.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

from alpha_cli.core.errors import BadLine
from alpha_cli.core.events import Tick
from alpha_cli.core.times import IST

#: How a tick begins on the wire, and where in the line its key lies: the token and the first
#: characters of what follows it, so that equal keys mean equal tokens.
TICK_PREFIX = b'{"type":"tick","instrument_token":'
_KEY = slice(len(TICK_PREFIX), len(TICK_PREFIX) + 12)
_AFTER_TOKEN = b',"timestamp":"'
_BEGIN = len(TICK_PREFIX)
_INDIAN = b"+05:30"

#: Bytes from the end of the token to the time, to the hour, to the fraction, past the fraction, past the zone.
_TO_TIME = len(_AFTER_TOKEN)
_TO_HOUR, _TO_FRACTION, _PAST_FRACTION, _PAST_ZONE = _TO_TIME + 11, _TO_TIME + 19, _TO_TIME + 26, _TO_TIME + 33
_AFTER_ANY_HOUR = b"~"


class LastTicks:
    """The newest tick of each instrument, in the order of the stream, and which further ticks stages want.

    watched    token -> how many want every tick of that instrument; the loop delivers those
    alarm      the time from which on any tick is wanted, or None
    revision   another number whenever `watched` or `alarm` has changed
    decode     turns a kept line into a tick
    broken     is given a kept line that turns out not to be a tick; it counts as none

    Stages that share one object are handed what any of them wants.
    """

    def __init__(
        self,
        decode: Callable[[bytes], Any] | None = None,
        broken: Callable[[bytes, Exception], None] | None = None,
    ) -> None:
        self.watched: dict[int, int] = {}
        self.alarm: datetime | None = None  # the earliest of `_alarms`
        self.revision = 0
        self._watched_keys: set[bytes] = set()
        self._alarms: dict[object, datetime] = {}
        self.decode = decode
        self.broken = broken
        self._ticks: dict[int, Any] = {}
        self._lines: dict[bytes, bytes] = {}
        self._newest: Any = None  # a tick, or the line of one
        self._alarm_text: tuple[datetime | None, bytes] = (None, b"")

    def watch(self, token: int) -> None:
        """Deliver every tick of `token`, until `unwatch` was called as often."""
        self.watched[token] = self.watched.get(token, 0) + 1
        self._watched_keys.add(_key(token))
        self.revision += 1

    def unwatch(self, token: int) -> None:
        """Take back one `watch`."""
        left = self.watched.pop(token) - 1
        if left:
            self.watched[token] = left
        else:
            self._watched_keys.remove(_key(token))
        self.revision += 1

    def set_alarm(self, moment: datetime | None, who: object = None) -> None:
        """Deliver every tick at or after `moment`, until `who` sets another alarm; None: no alarm."""
        if moment is None:
            self._alarms.pop(who, None)
        else:
            self._alarms[who] = moment
        alarm, now = min(self._alarms.values(), default=None), self.now
        self.revision += alarm != self.alarm
        self.alarm = alarm if alarm is None or now is None else _in_zone(alarm, now.tzinfo)

    def alarm_for(self, events: Sequence[Any]) -> datetime | None:
        """Return `alarm` in the zone of the first tick of `events`: comparing across zones is eight times slower."""
        if self.alarm is not None:
            first = next((event for event in events if hasattr(event, "last_price")), None)
            if first is not None and first.timestamp.tzinfo is not self.alarm.tzinfo:
                self.alarm = _in_zone(self.alarm, first.timestamp.tzinfo)
        return self.alarm

    def wants(self, tick: Any) -> bool:
        """Return whether `tick` is to be delivered."""
        return tick.instrument_token in self.watched or (self.alarm is not None and tick.timestamp >= self.alarm)

    def wants_line(self, line: bytes) -> bool:
        """Do as `wants` for a line that begins with `TICK_PREFIX`; also True where only decoding could tell."""
        end = line.find(b",", _BEGIN)
        digits = line[_BEGIN:end]
        if not digits.isdigit() or len(digits) > 10 or int(digits) in self.watched:
            return digits.isdigit()
        if self.alarm is None:
            return False
        if line[end : end + _TO_TIME] != _AFTER_TOKEN:
            return True
        time = line[end + _TO_TIME : line.find(b'"', end + _TO_TIME)]
        # Times in Indian time sort as they stand; what is written otherwise has to be decoded.
        return time[-6:] != _INDIAN or time[10:11] != b"T" or len(time) > 32 or time[:-6] >= self._alarm_line()

    def scan(self, lines: Sequence[bytes], start: int = 0, end: int | None = None) -> list[int]:
        """Return the places in [start, end) of lines that are no ticks, or ticks that `wants_line` must be asked about.

        The others it would not want; to find that for many lines at once costs a third of asking for each. Such a
        line reads, with the alarm at 15:15:

            {"type":"tick","instrument_token":256265,"timestamp":"2024-06-03T09:15:00+05:30","last_price":…
                                                    |<------ compared ----->|

        Its text from after the token is compared with two bounds that begin with the same day: what lies between
        two texts that begin alike begins like them, so one comparison checks the format, the day and the time. The
        zone is looked at apart.
        """
        places = range(start, len(lines) if end is None else min(end, len(lines)))
        if self.alarm is None and not self.watched:
            return [place for place in places if lines[place][:_BEGIN] != TICK_PREFIX]
        watched = self._watched_keys
        low, high = self._unwanted_between(lines[start])
        return [
            place
            for place in places
            if (watched and lines[place][_KEY] in watched)
            or not (
                (line := lines[place])[:_BEGIN] == TICK_PREFIX
                and low < line[(at := line.find(b",", _BEGIN)) : at + _PAST_FRACTION] < high
                and (quote := line.find(b'"', at + _TO_FRACTION, at + _PAST_ZONE)) > 0
                and line[quote - 6 : quote] == _INDIAN
            )
        ]

    def _unwanted_between(self, line: bytes) -> tuple[bytes, bytes]:
        """Return the bounds (low, high) of ticks before the alarm on the day of `line`, from after their token.

        Both are empty if `line` does not look like a tick: then nothing lies between them.
        """
        end = line.find(b",", _BEGIN)
        low = line[end : end + _TO_HOUR]
        if low[-1:] != b"T" or low[:_TO_TIME] != _AFTER_TOKEN:
            return b"", b""
        if self.alarm is None:
            return low, low + _AFTER_ANY_HOUR
        alarm = _AFTER_TOKEN + self._alarm_line()
        if low < alarm[:_TO_HOUR]:
            return low, low + _AFTER_ANY_HOUR
        return low, alarm  # nothing lies between, where the alarm is of a day before

    def _alarm_line(self) -> bytes:
        """Return the alarm as the beginning of a time on the wire: a text before it is a time before it."""
        alarm = self.alarm
        assert alarm is not None
        if self._alarm_text[0] is not alarm:
            text = _in_zone(alarm, IST).isoformat()[:26]
            short = text.rstrip("0") if text[19:20] == "." else text[:19]
            self._alarm_text = (alarm, short.encode())
        return self._alarm_text[1]

    def put(self, tick: Tick) -> None:
        """Enter `tick` as the newest of its instrument and of all."""
        token = tick.instrument_token
        if self._lines:
            self._lines.pop(_key(token), None)
        self._ticks[token] = tick
        self._newest = tick

    @property
    def newest(self) -> MutableMapping[int, Any]:
        """The last ticks by token. The loop writes to this dict directly; call `put` for the last tick of a run."""
        return self._ticks

    def absorb_lines(self, lines: Sequence[bytes]) -> None:
        """Enter a run of lines that begin with `TICK_PREFIX`, undecoded, at a fraction of the cost of `put`."""
        if not lines:
            return
        newest = dict(zip([line[_KEY] for line in lines], lines, strict=True))
        if newest.keys() <= self._lines.keys() or all(map(_is_canonical, newest)):
            self._lines.update(newest)
            self._newest = lines[-1]
        else:  # some have another order of fields: those are decoded, so that their token is known
            for line in lines:
                key = line[_KEY]
                if _is_canonical(key):
                    self._lines[key] = self._newest = line
                elif (tick := self._decoded(line)) is not None:
                    self.put(tick)

    def last(self, token: int) -> Any | None:
        """Return the newest tick of `token`, or None if there was none."""
        if self._lines:
            self._settle(_key(token))
        return self._ticks.get(token)

    @property
    def now(self) -> datetime | None:
        """The time of the newest tick: what a filter takes for the time of day."""
        if isinstance(self._newest, bytes):
            self._settle(self._newest[_KEY])
        return None if self._newest is None else self._newest.timestamp

    def _settle(self, key: bytes) -> None:
        """Decode the line kept under `key`, if there is one; each is decoded, and reported if broken, once."""
        line = self._lines.pop(key, None)
        if line is None:
            return
        token = int(key.partition(b",")[0])
        tick = self._decoded(line, token)
        if tick is None:  # what was known is older than what cannot be read
            self._ticks.pop(token, None)
        else:
            self._ticks[token] = tick
        if line is self._newest:
            self._newest = tick

    def _decoded(self, line: bytes, token: int | None = None) -> Any | None:
        assert self.decode is not None
        try:
            tick = self.decode(line)
            if token is not None and tick.instrument_token != token:
                raise BadLine("key 'instrument_token' is given twice")
            return tick
        except Exception as error:
            if self.broken is None:
                raise
            self.broken(line, error)
            return None


def _in_zone(moment: datetime, zone: tzinfo | None) -> datetime:
    """Return `moment` in `zone`; unchanged at either end of the calendar, where that zone has no time for it."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment


def _key(token: int) -> bytes:
    return (b"%d" % token + _AFTER_TOKEN)[:12]


def _is_canonical(key: bytes) -> bool:
    digits = key.partition(b",")[0]
    return digits.isdigit() and len(digits) <= 10 and key == (digits + _AFTER_TOKEN)[:12]
