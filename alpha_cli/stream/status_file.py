"""What a stage says of itself while it runs, for `alpha status`: `NAME.status.json` in the folder of `--state`.

It is written when a stage begins, about once a second while lines come, and when it ends, however that is. One that
did not end and holds its lock no more was killed. A stage that keeps nothing else, as `feed`, takes a lock for this.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from alpha_cli.core.errors import AlphaError, TryAgain
from alpha_cli.core.text import in_utf8, printable
from alpha_cli.storage.files import write_whole
from alpha_cli.stream.log import log_line

if TYPE_CHECKING:
    from alpha_cli.storage.folder import State
    from alpha_cli.stream.stage import Lifecycle, Source, Stage

STATUS = ".status.json"
#: Seconds between two times that it is written while lines come.
INTERVAL = 1.0
_TIME = b'"timestamp":"'
_MOST = 9  # stages of one name in a folder


class StageStatus(msgspec.Struct, omit_defaults=True):
    """One stage.

    stage    what it is: feed, risk, paper, …
    at       when this was written
    ended    whether it came to an end by itself; then `code` is its exit code, and `why` its last word, if any
    refuses  why it refuses everything now, if it does
    last     time of the newest line that it handled, by the stream
    counts   the figures of its closing line
    """

    stage: str
    pid: int
    at: datetime
    ended: bool
    code: int | None = None
    why: str | None = None
    refuses: str | None = None
    last: str | None = None
    counts: dict[str, int] = {}


class StatusFiles:
    """The files of the parts of one program; none if no part has a folder."""

    def __init__(self, parts: Sequence[Source | Stage], clock: Callable[[], float] = time.monotonic) -> None:
        places = [part.options.status for part in parts]
        folder = next((place.parent for place in places if place is not None), None)
        self._clock = clock
        self._next = 0.0
        self._lines: list[bytes] = []
        self._claims: list[State] = []
        self._files: list[tuple[Source | Stage, Path]] = []
        self._told: dict[Path, dict[str, Any]] = {}  # what each part said of itself last
        self._broken = False
        if folder is None:
            return
        for part, place in zip(parts, places, strict=True):
            path = self._claimed(folder, part.name) if place is None or part.options.claim else place
            if path is not None:
                self._files.append((part, path))
        self._write(ended=False)

    def handled(self, lines: list[bytes]) -> None:
        """Take note of a batch; write, if it is time to."""
        if not self._files:
            return
        if len(lines) > 2 or (lines and _TIME in lines[-1]):  # the eof comes alone
            self._lines = lines
        now = self._clock()
        if now >= self._next:
            self._write(ended=False)
            self._next = self._clock() + max(INTERVAL, 20 * (self._clock() - now))  # many strategies: less often

    def end(self, code: int, why: str | None, *, ask: bool) -> None:
        """Write for the last time; with `ask`, the parts are in a state to be asked once more."""
        self._write(ended=True, code=code, why=why, ask=ask)

    def release(self) -> None:
        """Release the locks that were taken for this."""
        for claim in self._claims:
            claim.close()
        self._claims.clear()

    def _claimed(self, folder: Path, name: str) -> Path | None:
        """Return the path of a part that has no lock of its own: that of the first name that is free."""
        from alpha_cli.storage.folder import State

        for number in range(1, _MOST + 1):
            taken = name if number == 1 else f"{name}-{number}"
            with suppress(TryAgain):
                self._claims.append(State(folder, taken))
                return folder / f"{taken}{STATUS}"
        return None

    def _write(self, *, ended: bool, code: int | None = None, why: str | None = None, ask: bool = True) -> None:
        last = _newest_time(self._lines)
        for part, path in self._files:
            if ask:
                with suppress(AlphaError):  # at an end with an error; what it said before is shown
                    self._told[path] = _figures(part.lifecycle)
            status = StageStatus(
                part.name, os.getpid(), datetime.now(UTC).replace(microsecond=0), ended, code, _line(why), last=last
            )
            try:
                told = self._told.get(path, {})
                write_whole(path, msgspec.json.encode({**msgspec.to_builtins(status), **told}) + b"\n", 0o600)
            except OSError as error:  # no reason to stop trading; what is not refreshed is shown as lagging
                if not self._broken:
                    log_line(f"alpha {part.name}: {path}: {error.strerror}; alpha status shows an older state")
                self._broken = True


def _figures(lifecycle: Lifecycle) -> dict[str, Any]:
    """Return what a part tells of itself. Raise `AlphaError`."""
    refuses = {} if (why := lifecycle.refuses()) is None else {"refuses": _line(why)}
    return {"counts": dict(lifecycle.counts()), **refuses, **lifecycle.status()}


def _line(text: str | None) -> str | None:
    return None if text is None else printable(in_utf8(text), 500)


def _newest_time(lines: list[bytes]) -> str | None:
    """Return the time of the newest of `lines` that has one."""
    for line in reversed(lines):
        place = line.find(_TIME)
        if place >= 0:
            start = place + len(_TIME)
            return printable(line[start : start + 40].partition(b'"')[0].decode("ascii", "replace"))
    return None
