"""The newest tick of each instrument, kept by the loop so that no stage has to.

`risk` and `paper` need a price only when a signal or an order arrives, which is once in hundreds of
ticks. So in a process of their own they keep ticks as undecoded lines, found by the fixed beginning
that the wire gives a tick, and decode the one that is asked for. In a fused pipeline the ticks are
objects already. Both look the same from outside.
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
    """The newest tick of each instrument, in the order of the stream.

    `watched` counts who wants every tick of an instrument; the loop delivers those. `bound` is the moment,
    if there is one, from which on any tick is wanted. `wishes` is another number whenever either has changed. Stages
    that share a market are handed what any of them wants. `decode` turns a kept line into a tick; a line that turns
    out broken goes to `broken` and counts as no tick.
    """

    def __init__(
        self,
        decode: Callable[[bytes], Any] | None = None,
        broken: Callable[[bytes, Exception], None] | None = None,
    ) -> None:
        self.watched: dict[int, int] = {}
        self.bound: datetime | None = None  # the earliest of the alarms
        self.wishes = 0
        self._watched_keys: set[bytes] = set()
        self._alarms: dict[object, datetime] = {}
        self.decode = decode
        self.broken = broken
        self._ticks: dict[int, Any] = {}
        self._lines: dict[bytes, bytes] = {}
        self._newest: Any = None  # a tick, or the line of one
        self._bound_text: tuple[datetime | None, bytes] = (None, b"")

    def watch(self, token: int) -> None:
        """Have every tick of `token` delivered, until as many `unwatch` calls."""
        self.watched[token] = self.watched.get(token, 0) + 1
        self._watched_keys.add(_key(token))
        self.wishes += 1

    def unwatch(self, token: int) -> None:
        left = self.watched.pop(token) - 1
        if left:
            self.watched[token] = left
        else:
            self._watched_keys.remove(_key(token))
        self.wishes += 1

    def wake_at(self, moment: datetime | None, who: object = None) -> None:
        """Want the first tick at or after `moment`, and any later one, until `who` calls this again; None: no more."""
        if moment is None:
            self._alarms.pop(who, None)
        else:
            self._alarms[who] = moment
        bound, now = min(self._alarms.values(), default=None), self.now
        self.wishes += bound != self.bound
        self.bound = bound if bound is None or now is None else _in_zone(bound, now.tzinfo)

    def bound_for(self, events: Sequence[Any]) -> datetime | None:
        """`bound` in the zone of the first tick among `events`: comparing across zones costs eight times as much."""
        if self.bound is not None:
            first = next((event for event in events if hasattr(event, "last_price")), None)
            if first is not None and first.timestamp.tzinfo is not self.bound.tzinfo:
                self.bound = _in_zone(self.bound, first.timestamp.tzinfo)
        return self.bound

    def wants(self, tick: Any) -> bool:
        """Whether `tick` is to be delivered."""
        return tick.instrument_token in self.watched or (self.bound is not None and tick.timestamp >= self.bound)

    def wants_line(self, line: bytes) -> bool:
        """As `wants` for a line that begins with `TICK_PREFIX`; also True where only decoding could tell."""
        end = line.find(b",", _BEGIN)
        digits = line[_BEGIN:end]
        if not digits.isdigit() or len(digits) > 10 or int(digits) in self.watched:
            return digits.isdigit()
        if self.bound is None:
            return False
        if line[end : end + _TO_TIME] != _AFTER_TOKEN:
            return True
        time = line[end + _TO_TIME : line.find(b'"', end + _TO_TIME)]
        # Times in Indian time sort as they stand; what is written otherwise has to be decoded.
        return time[-6:] != _INDIAN or time[10:11] != b"T" or len(time) > 32 or time[:-6] >= self._bound_line()

    def look_at(self, lines: Sequence[bytes], start: int = 0, end: int | None = None) -> list[int]:
        """The places in [start, end) of lines that are no ticks, or ticks that `wants_line` is to be asked about.

        The others it would not want; to find that for many at once costs a third of asking for each.
        """
        places = range(start, len(lines) if end is None else min(end, len(lines)))
        if self.bound is None and not self.watched:
            return [place for place in places if lines[place][:_BEGIN] != TICK_PREFIX]
        watched = self._watched_keys
        low, high = self._early(lines[start])
        return [
            place
            for place in places
            if (watched and lines[place][_KEY] in watched)
            or not (
                (line := lines[place])[:_BEGIN] == TICK_PREFIX
                # What lies between two texts that begin alike begins like them.
                and low < line[(at := line.find(b",", _BEGIN)) : at + _PAST_FRACTION] < high
                and (quote := line.find(b'"', at + _TO_FRACTION, at + _PAST_ZONE)) > 0
                and line[quote - 6 : quote] == _INDIAN
            )
        ]

    def _early(self, line: bytes) -> tuple[bytes, bytes]:
        """Between what and what those of the day of `line` lie, after their tokens, that are earlier than the bound."""
        end = line.find(b",", _BEGIN)
        low = line[end : end + _TO_HOUR]
        if low[-1:] != b"T" or low[:_TO_TIME] != _AFTER_TOKEN:
            return b"", b""
        if self.bound is None:
            return low, low + _AFTER_ANY_HOUR
        bound = _AFTER_TOKEN + self._bound_line()
        if low < bound[:_TO_HOUR]:
            return low, low + _AFTER_ANY_HOUR
        return low, bound  # nothing, where the bound is of a day before

    def _bound_line(self) -> bytes:
        """The bound as the beginning of a time in a line: before it in order is what is before it in time."""
        bound = self.bound
        assert bound is not None
        if self._bound_text[0] is not bound:
            text = _in_zone(bound, IST).isoformat()[:26]
            short = text.rstrip("0") if text[19:20] == "." else text[:19]
            self._bound_text = (bound, short.encode())
        return self._bound_text[1]

    def put(self, tick: Tick) -> None:
        """`tick` is now the newest of its instrument and of all."""
        token = tick.instrument_token
        if self._lines:
            self._lines.pop(_key(token), None)
        self._ticks[token] = tick
        self._newest = tick

    @property
    def newest(self) -> MutableMapping[int, Any]:
        """The newest ticks by token, for whoever enters some of a run here himself: with `put` the last of them."""
        return self._ticks

    def absorb_lines(self, lines: Sequence[bytes]) -> None:
        """`put` for a run of lines that begin with `TICK_PREFIX`, undecoded, at a fraction of the cost."""
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
        """The newest tick of `token`, or None if there was none."""
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
        """Decode the line kept under `key`, if there is one; each line is decoded, and reported, once."""
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
    """`moment` in `zone`; as it is at either end of the calendar, where that zone has no name for it."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment


def _key(token: int) -> bytes:
    return (b"%d" % token + _AFTER_TOKEN)[:12]


def _is_canonical(key: bytes) -> bool:
    digits = key.partition(b",")[0]
    return digits.isdigit() and len(digits) <= 10 and key == (digits + _AFTER_TOKEN)[:12]
