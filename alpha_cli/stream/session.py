"""Where a stream is in its sessions: a `hello` opens one, its `eof` closes it."""

from __future__ import annotations

from typing import Any

from alpha_cli.core.errors import BadData, TryAgain
from alpha_cli.core.events import WIRE, Eof, Hello


class Session:
    """Follows `hello` and `eof`.

    open     whether a `hello` was not yet followed by its `eof`
    closed   whether the last line was an `eof`
    code     the worst exit code of the sessions so far
    failure  why to stop after what was handled so far, or None
    """

    def __init__(self) -> None:
        self.open = False
        self.closed = False
        self.code = 0
        self.failure: BadData | None = None

    def track(self, event: Any) -> None:
        """Take note of an event that is not a tick."""
        self.closed = False
        if type(event) is Hello:
            if event.wire > WIRE:
                self.failure = BadData(
                    f"the input is wire version {event.wire}, this alpha reads {WIRE}; install a newer alpha"
                )
                return
            if self.open:  # the recording before this one ended without its eof
                self.code = max(self.code, TryAgain.exit_code)
            self.open = True
        elif type(event) is Eof:
            self.open = False
            self.closed = True
            self.code = max(self.code, event.code)
