"""Side inputs of strategies: the file of `--fills`, and SIGHUP, which is a request to reload."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from alpha_cli.core.errors import NoInput
from alpha_cli.core.events import Control, Event
from alpha_cli.stream.inputs import Inputs
from alpha_cli.stream.shutdown import ends_with_its_terminal

if TYPE_CHECKING:
    from alpha_cli.stream.follow import Follower


class Receiver(Protocol):
    """Takes the events of side inputs."""

    def enqueue(self, event: Any) -> None:
        """Take an event; it counts before the first tick that is later than it."""


class SideInputs:
    """Forwards fills from `--fills` to `host`; reads the existing file first."""

    def __init__(self, host: Receiver, fills: Path | None, report: Callable[[str], None]) -> None:
        self._host = host
        self._follower = None if fills is None else _follower(fills, report)
        self._reload_requested = False
        self._handler_before: Any = None
        self._follow(None)  # a complete file counts whole, from the first tick on

    def listen(self, inputs: Inputs) -> None:
        """Take SIGHUP as a request to reload; other runners of this process get it too. Wake the loop for fills.

        While the program belongs to a terminal, SIGHUP says that it was closed, and is left to the loop.
        """
        if self._follower is not None:
            self._follower.listen(inputs)
        if ends_with_its_terminal():
            return
        inputs.wake_on_signals()
        self._handler_before = signal.signal(signal.SIGHUP, self._on_hangup)

    def arrivals(self) -> Iterator[Event]:
        """Yield what enters the stream here: one request to reload, if there was a SIGHUP since the last call."""
        self._follow(100_000)
        if self._reload_requested:
            self._reload_requested = False
            yield Control(action="reload", by="SIGHUP")

    def failure(self) -> NoInput | None:
        """Return that the file of fills never came, if it did not."""
        return None if self._follower is None else self._follower.failure()

    def close(self) -> None:
        """Close the file and pass SIGHUP on to the handler before."""
        if signal.getsignal(signal.SIGHUP) == self._on_hangup and callable(self._handler_before):
            signal.signal(signal.SIGHUP, self._handler_before)
        if self._follower is not None:
            self._follower.close()

    def _follow(self, most: int | None) -> None:
        if self._follower is not None:
            for event in self._follower.poll(most):
                self._host.enqueue(event)

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        self._reload_requested = True
        if callable(self._handler_before):
            self._handler_before(number, frame)


def _follower(fills: Path, report: Callable[[str], None]) -> Follower:
    from alpha_cli.stream.follow import Follower

    return Follower(fills, report)
