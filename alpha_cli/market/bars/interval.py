"""The length of a bar."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Self

import msgspec

from alpha_cli.core.text import printable

DAY = 86_400  # seconds
_UNITS = {"d": DAY, "h": 3600, "m": 60, "s": 1}
_TEXT = re.compile(r"([1-9][0-9]{0,4})([smhd])")


class Interval(msgspec.Struct, frozen=True, order=True):
    """The length of a bar, in seconds. A bar of one day covers the whole session, however long that is."""

    seconds: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the interval that `30s`, `5m`, `1h` or `1d` names. Raises `ValueError` with the reason."""
        match = _TEXT.fullmatch(text)
        seconds = int(match[1]) * _UNITS[match[2]] if match else 0
        if not 0 < seconds <= DAY:
            raise ValueError(
                f"{printable(text, 40)!r} is not the length of a bar; "
                "write seconds, minutes or hours as 30s, 5m or 1h, or 1d for the whole session"
            )
        return cls(seconds)

    @property
    def text(self) -> str:
        """The interval in the largest unit that gives a whole number: 1m, never 60s."""
        unit = next(unit for unit, seconds in _UNITS.items() if self.seconds % seconds == 0)
        return f"{self.seconds // _UNITS[unit]}{unit}"

    @property
    def length(self) -> timedelta:
        """The interval as a duration."""
        return timedelta(seconds=self.seconds)
