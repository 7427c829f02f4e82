"""The newest tick of each instrument, kept by the loop so that no stage has to.

`risk` and `paper` need a price only when a signal or an order arrives, which is once in hundreds of
ticks. So in a process of their own they keep ticks as undecoded lines, found by the fixed beginning
that the wire gives a tick, and decode the one that is asked for. In a fused pipeline the ticks are
objects already. Both look the same from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from alpha_cli.errors import BadLine
from alpha_cli.events import Tick

#: How a tick begins on the wire, and where in the line its key lies: the token and the first
#: characters of what follows it, so that equal keys mean equal tokens.
TICK_PREFIX = b'{"type":"tick","instrument_token":'
_KEY = slice(len(TICK_PREFIX), len(TICK_PREFIX) + 12)
_AFTER_TOKEN = b',"timestamp":"'

_token_of = attrgetter("instrument_token")


class Market:
    """The newest tick of each instrument, in the order of the stream.

    `watched` counts who wants every tick of an instrument; the loop delivers those. `decode` turns a
    kept line into a tick; a line that turns out broken goes to `broken` and counts as no tick.
    """

    def __init__(
        self,
        decode: Callable[[bytes], Any] | None = None,
        broken: Callable[[bytes, Exception], None] | None = None,
    ) -> None:
        self.watched: dict[int, int] = {}
        self.decode = decode
        self.broken = broken
        self._ticks: dict[int, Any] = {}
        self._lines: dict[bytes, bytes] = {}
        self._newest: Any = None  # a tick, or the line of one

    def watch(self, token: int) -> None:
        """Have every tick of `token` delivered, until as many `unwatch` calls."""
        self.watched[token] = self.watched.get(token, 0) + 1

    def unwatch(self, token: int) -> None:
        left = self.watched.pop(token) - 1
        if left:
            self.watched[token] = left

    def put(self, tick: Tick) -> None:
        """`tick` is now the newest of its instrument and of all."""
        token = tick.instrument_token
        if self._lines:
            self._lines.pop(_key(token), None)
        self._ticks[token] = tick
        self._newest = tick

    def absorb(self, ticks: Sequence[Any]) -> None:
        """`put` for a run of ticks, at a fraction of the cost."""
        if ticks:
            self._ticks.update(zip(map(_token_of, ticks), ticks, strict=True))
            self._newest = ticks[-1]

    def absorb_lines(self, lines: Sequence[bytes]) -> None:
        """`put` for a run of lines that begin with `TICK_PREFIX`, undecoded."""
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


def _key(token: int) -> bytes:
    return (b"%d" % token + _AFTER_TOKEN)[:12]


def _is_canonical(key: bytes) -> bool:
    digits = key.partition(b",")[0]
    return digits.isdigit() and len(digits) <= 10 and key == (digits + _AFTER_TOKEN)[:12]
