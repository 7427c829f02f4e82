"""`alpha status`: what the strategies and stages of a `--state` folder do, by the files they keep there.

A stage holds `DIR/NAME.lock` while it runs and keeps its books in `DIR/NAME.db`; `run-strategy` writes
`DIR/NAME.status.json` about once a second. Nothing here writes or waits.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from alpha_cli.cli.options import given_state, state_option
from alpha_cli.core.errors import AlphaError, NoInput

if TYPE_CHECKING:
    from alpha_cli.core.events import Control
    from alpha_cli.stages.risk.trading_state import TradingState
    from alpha_cli.stages.run_strategy.status import Status, StrategyStatus

STATUS, LOCK, DATABASE = ".status.json", ".lock", ".db"
_LARGEST = 64 << 20  # bytes of a status file; thousands of strategies take one or two


@click.command()
@state_option()
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object a line.")
def command(state: Path | None, *, as_json: bool) -> None:
    """Show what the strategies of a state folder did, and which of its stages are running.

    A stage keeps its state there with --state DIR. Signal times are those of the stream; durations are in
    microseconds.

    \b
    Example:
        alpha status --state ~/trading
        alpha status --state ~/trading --json | jq 'select(.kind == "strategy") | .signals'
    """
    found = look(given_state(state))
    for line in for_programs(found) if as_json else for_people(found, datetime.now(UTC)):
        click.echo(line)


class StageState(NamedTuple):
    """One stage, by its files in the folder.

    running  whether its lock is held; None if that cannot be found out
    pid      of the process that holds it, or held it last
    status   what its strategies did, if it keeps a status file
    fault    why its status cannot be read
    """

    name: str
    running: bool | None
    pid: int | None
    database: bool
    status: Status | None = None
    fault: str | None = None

    @property
    def doing(self) -> str:
        """What it does, in a word."""
        if self.running is None:
            return "unknown"
        if self.running:
            return "running"
        return "died" if self.status is not None and not self.status.ended else "stopped"


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


def look(path: Path) -> Folder:
    """Return what is in the state folder at `path`. Raise `NoInput` if there is none, or it cannot be read."""
    from alpha_cli.storage.folder import NAME
    from alpha_cli.storage.halts import halt_reason

    try:
        files = sorted(file.name for file in path.iterdir())
    except OSError as error:
        raise NoInput(f"--state {path}: {error.strerror}; name the folder that the stages were given") from None
    names = {
        file.removesuffix(ending) for file in files for ending in (STATUS, LOCK, DATABASE) if file.endswith(ending)
    }
    stages = [_stage(path, name, files) for name in sorted(names) if NAME.fullmatch(name)]
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


def _stopped_by(path: Path, stage: StageState) -> tuple[list[TradingState], list[Control]]:
    """Return what a stage in the folder stopped; and if anything, the requests it has not read yet."""
    from alpha_cli.stages.risk.store import stopped_in

    stopped, heard = stopped_in(path / f"{stage.name}{DATABASE}")
    if not stopped or heard is None:
        return stopped, []
    from alpha_cli.stages.risk.requests import Requests

    return stopped, list(Requests(path, heard, lambda _: None))


def for_programs(folder: Folder) -> Iterator[str]:
    """Yield one JSON object a line; `kind` says of what."""
    import msgspec

    def line(kind: str, values: dict[str, object]) -> str:
        return msgspec.json.encode({"kind": kind, **values}).decode()

    yield line("folder", {"path": str(folder.path), "halted": folder.halted})
    for standing in folder.standings:
        yield line("standing", {name: getattr(standing, name) for name in standing.__struct_fields__})
    for request in folder.asked:
        asked = {"action": request.action, "target": request.target, "reason": request.reason}
        yield line("request", {**asked, **request.value})
    for stage in folder.stages:
        yield line("stage", _stage_values(stage))
        for one in () if stage.status is None else stage.status.strategies:
            values = {name: getattr(one, name) for name in one.__struct_fields__}
            yield line("strategy", {"stage": stage.name, **values, "state": _state(stage, one)})


def _stage_values(stage: StageState) -> dict[str, object]:
    return {
        "name": stage.name,
        "state": stage.doing,
        "pid": stage.pid,
        "database": stage.database,
        "written": None if stage.status is None else stage.status.at,
        "fault": stage.fault,
    }


def for_people(folder: Folder, now: datetime) -> Iterator[str]:
    """Yield whether trading is halted, a table of stages and one of strategies, and what cannot be read."""
    from alpha_cli.cli.tables import table

    yield from _halts(folder)
    if not folder.stages:
        yield f"{folder.path}: no stage has kept its state here"
        return
    yield ""
    columns = ("stage", "state", "process", "status written", "database")
    yield from table(columns, (_stage_row(stage, now) for stage in folder.stages))
    rows = list(_strategies(folder.stages))
    if rows:
        yield ""
        header = ("strategy", "type", "state", "model", "ticks", "signals", "held", "rejected", "errors",
                  "last signal", "p50 µs", "p99 µs", "stage", "why")  # fmt: skip
        yield from table(header, rows)
    faults = [f"{stage.name}{STATUS}: {stage.fault}" for stage in folder.stages if stage.fault is not None]
    if faults:
        yield from ("", *faults)


def _halts(folder: Folder) -> Iterator[str]:
    """Yield whether trading is halted, what risk stopped, and the requests that wait for risk."""
    from alpha_cli.cli.tables import table

    if folder.halted is not None:
        yield f"HALTED: {folder.halted}"
    else:
        yield f"no HALT; stopped by risk: {len(folder.standings)}" if folder.standings else "not halted"
    if folder.standings:
        yield ""
        columns = ("stopped", "broker", "state", "since", "limit", "observed", "why", "goes on with")
        yield from table(columns, map(_stopped, folder.standings))
    for request in folder.asked:
        target = f" {request.target}" if request.target else ""
        yield f"{request.action}{target} was asked for {request.reason}; risk acts on it when it runs and reads"
    for fault in folder.unread:
        yield f"not asked whether anything is stopped: {fault}"


def _stage_row(stage: StageState, now: datetime) -> tuple[str, ...]:
    from alpha_cli.cli.tables import NOTHING

    return (
        stage.name,
        stage.doing,
        NOTHING if stage.pid is None or not stage.running else str(stage.pid),
        NOTHING if stage.status is None else f"{_time(stage.status.at)}, {_ago(now - stage.status.at)}",
        f"{stage.name}{DATABASE}" if stage.database else NOTHING,
    )


def _strategies(stages: Iterable[StageState]) -> Iterator[tuple[str, ...]]:
    from alpha_cli.cli.tables import NOTHING

    for stage in stages:
        for one in () if stage.status is None else stage.status.strategies:
            yield (
                one.id,
                one.type or NOTHING,
                _state(stage, one),
                "yes" if one.has_model else "no",
                f"{one.ticks:,}",
                _signals(one),
                f"{one.held:,}",
                f"{one.rejected:,}",
                f"{one.errors:,}",
                NOTHING if one.last_signal is None else _time(one.last_signal),
                NOTHING if one.p50_us is None else f"{one.p50_us:,.1f}",
                NOTHING if one.p99_us is None else f"{one.p99_us:,.1f}",
                stage.name,
                one.reason or "",
            )


def _stopped(one: TradingState) -> tuple[str, ...]:
    from alpha_cli.cli.tables import NOTHING

    return (
        one.strategy_id or "account",
        one.broker,
        one.state,
        NOTHING if one.since is None else _time(one.since),
        NOTHING if one.limit is None else str(one.limit),
        NOTHING if one.observed is None else str(one.observed),
        f"{one.reason} ({one.code})",
        f"alpha rearm {one.strategy_id}" if one.strategy_id else "alpha resume",
    )


def _state(stage: StageState, one: StrategyStatus) -> str:
    """Return the strategy's state; of one that was running, the state of its stage."""
    return stage.doing if one.state == "running" else one.state


def _signals(one: StrategyStatus) -> str:
    brokers = " ".join(f"{broker}={count:,}" for broker, count in sorted(one.by_broker.items()))
    return f"{one.signals:,} ({brokers})" if brokers else f"{one.signals:,}"


def _time(moment: datetime) -> str:
    from alpha_cli.core.times import IST

    return moment.astimezone(IST).strftime("%Y-%m-%d %H:%M:%S")


def _ago(age: timedelta) -> str:
    seconds = max(int(age.total_seconds()), 0)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


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
