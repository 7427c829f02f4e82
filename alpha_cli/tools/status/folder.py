"""What the stages of a `--state` folder do, by the files they keep there.

A stage holds `DIR/NAME.lock` while it runs, keeps its books in `DIR/NAME.db`, and writes `DIR/NAME.status.json` when
it begins, about once a second while lines come, and when it ends. Nothing here writes or waits.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from alpha_cli.core.errors import AlphaError, NoInput

if TYPE_CHECKING:
    from alpha_cli.core.events import Control
    from alpha_cli.stages.risk.trading_state import TradingState
    from alpha_cli.stages.run_strategy.status import Status

STATUS, LOCK, DATABASE = ".status.json", ".lock", ".db"
_LARGEST = 64 << 20  # bytes of a status file; thousands of strategies take one or two


class StageState(NamedTuple):
    """One stage, by its files in the folder.

    running  whether its lock is held; None if that cannot be found out
    pid      of the process that holds it, or held it last
    status   what it said of itself, if it did
    fault    why its status cannot be read
    lagging  whether it runs, and has handled nothing for longer than it should
    """

    name: str
    running: bool | None
    pid: int | None
    database: bool
    status: Status | None = None
    fault: str | None = None
    lagging: bool = False

    @property
    def doing(self) -> str:
        """What it does, in a word: running, lagging, stopped, died or unknown."""
        if self.running is None:
            return "unknown"
        if self.running:
            return "lagging" if self.lagging else "running"
        return "died" if self.status is not None and not self.status.ended else "stopped"

    @property
    def refuses(self) -> str | None:
        """Why it refuses everything, now or if it goes on from where it stopped."""
        return None if self.status is None else self.status.refuses


class Folder(NamedTuple):
    """A state folder.

    standings  what risk stopped by itself
    asked      requests of a person that risk has not acted on yet
    unread     why a database could not be read
    """

    path: Path
    halted: str | None
    stages: list[StageState]
    standings: list[TradingState]
    asked: list[Control]
    unread: list[str]


def look(path: Path, now: datetime, lag: float = 60) -> Folder:
    """Return what is in the state folder at `path`. Raise `NoInput` if there is none, or it cannot be read.

    lag  seconds after which a running stage that handled nothing lags
    """
    from alpha_cli.storage.folder import NAME
    from alpha_cli.storage.halts import halt_reason

    try:
        files = sorted(file.name for file in path.iterdir())
    except OSError as error:
        raise NoInput(f"--state {path}: {error.strerror}; name the folder that the stages were given") from None
    names = {
        file.removesuffix(ending) for file in files for ending in (STATUS, LOCK, DATABASE) if file.endswith(ending)
    }
    found = [_stage(path, name, files) for name in sorted(names) if NAME.fullmatch(name)]
    stages = [stage._replace(lagging=_lags(stage, now, lag)) for stage in found]
    standings: list[TradingState] = []
    asked: list[Control] = []
    unread: list[str] = []
    for stage in stages:
        if stage.database:
            try:
                stopped, waiting = _stopped_by(path, stage)
            except AlphaError as error:
                unread.append(str(error))
            else:
                standings += stopped
                asked += [one for one in waiting if one not in asked]
    return Folder(path, halt_reason(path), stages, standings, asked, unread)


def _lags(stage: StageState, now: datetime, lag: float) -> bool:
    status = stage.status
    return stage.running is True and status is not None and (now - status.at).total_seconds() > lag


def _stopped_by(path: Path, stage: StageState) -> tuple[list[TradingState], list[Control]]:
    """Return what a stage in the folder stopped; and if anything, the requests it has not read yet."""
    from alpha_cli.stages.risk.store import stopped_in

    stopped, heard = stopped_in(path / f"{stage.name}{DATABASE}")
    if not stopped or heard is None:
        return stopped, []
    from alpha_cli.stages.risk.requests import Requests

    return stopped, list(Requests(path, heard, lambda _: None))


# --- one stage --------------------------------------------------------------------------------


def _stage(folder: Path, name: str, files: Iterable[str]) -> StageState:
    running, pid = _lock(folder / f"{name}{LOCK}")
    database = f"{name}{DATABASE}" in files
    if f"{name}{STATUS}" not in files:
        return StageState(name, running, pid, database)
    try:
        status = _read(folder / f"{name}{STATUS}")
    except (OSError, ValueError) as error:
        fault = getattr(error, "strerror", None) or str(error)
        return StageState(name, running, pid, database, fault=f"cannot be read: {fault}")
    return StageState(name, running, pid, database, status)


def _read(path: Path) -> Status:
    """Read a status file. Raise `OSError`, or `ValueError` for a file that is no status."""
    import msgspec

    from alpha_cli.stages.run_strategy.status import Status

    with path.open("rb") as file:
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise ValueError(f"larger than {_LARGEST} bytes")
    status = msgspec.json.decode(text, type=Status)
    if status.at.tzinfo is None:
        raise ValueError("`at` has no time zone")
    return status


def _lock(path: Path) -> tuple[bool | None, int | None]:
    """Return whether a process holds the lock, and the number of the last process that did.

    Asking takes the lock for some microseconds if it is free: shared, so that two who ask do not see each other.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False, None
    except OSError:
        return None, None
    try:
        held = _held(fd)
        holder = os.read(fd, 64).decode("ascii", "replace").removeprefix("process ").strip()
        return held, int(holder) if holder.isdecimal() else None
    except OSError:
        return None, None
    finally:
        os.close(fd)


def _held(fd: int) -> bool | None:
    """Return whether a process holds the lock at `fd`; None on a file system without locks."""
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False
