"""What reaches strategies from beside the stream: fills by `--fills`, and SIGHUP, which asks for a reload."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from alpha_cli.core.events import Control, Event

if TYPE_CHECKING:
    from alpha_cli.stream.follow import Follower


class Listener(Protocol):
    """Whoever is told of what arrives."""

    def arrive(self, event: Any) -> None:
        """`event` came from beside the stream."""


class Beside:
    """Gives what is followed at `fills` to `host`, all that is there already at once."""

    def __init__(self, host: Listener, fills: Path | None, report: Callable[[str], None]) -> None:
        self._host = host
        self._follower = None if fills is None else _follower(fills, report)
        self._asked = False
        self._follow(None)  # a file that is complete counts whole, from the first tick on

    def listen(self) -> None:
        """Take SIGHUP for a request, from now on, as every other runner of this process."""
        _listening.append(self)
        signal.signal(signal.SIGHUP, _hung_up)

    def arrivals(self) -> Iterator[Event]:
        """What enters the stream at this place: the request to reload, once for each time that it was made."""
        self._follow(100_000)
        if self._asked:
            self._asked = False
            yield Control(action="reload", by="SIGHUP")

    def close(self) -> None:
        """Let go of the file; hear no more."""
        if self in _listening:
            _listening.remove(self)
        if self._follower is not None:
            self._follower.close()

    def _follow(self, most: int | None) -> None:
        if self._follower is not None:
            for event in self._follower.poll(most):
                self._host.arrive(event)

    def note(self) -> None:
        """A reload is asked for."""
        self._asked = True


def _follower(fills: Path, report: Callable[[str], None]) -> Follower:
    from alpha_cli.stream.follow import Follower

    return Follower(fills, report)


_listening: list[Beside] = []


def _hung_up(*_: object) -> None:
    for beside in _listening:
        beside.note()
