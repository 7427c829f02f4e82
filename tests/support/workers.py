"""The processes of `run-strategy --workers`: found, killed and waited for."""

from __future__ import annotations

import os
import re
import signal as signals
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from alpha_cli.core.codec import encode
from alpha_cli.core.events import Control
from support.events import stream, ticks
from support.processes import Pipeline


def control(action: Any, target: str | None = None, **fields: Any) -> Control:
    return Control(action=action, target=target, by="me", **fields)


def closing(stderr: bytes) -> list[str]:
    """The lines of counters at the end, without times that a clock took."""
    lines = stderr.decode().splitlines()
    first = next(number for number, line in enumerate(lines) if " in=" in line)
    kept = [re.sub(r" \S+\.p\d\d_ns=\S+", "", line) for line in lines[first:]]
    return [" ".join(sorted(line.split())) for line in kept]  # after a reload workers name the new ones last


class Process(NamedTuple):
    """One that runs: its number may be given to another later, so when it was started counts too."""

    pid: int
    started: str

    @property
    def runs(self) -> bool:
        found = stat_of(self.pid)
        return found is not None and found[0] != "Z" and found[19] == self.started


def stat_of(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name: state, parent, …; None if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def children(pid: int) -> list[Process]:
    """The living children of a process, oldest first."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        fields = stat_of(int(folder.name))
        if fields is not None and int(fields[1]) == pid and fields[0] != "Z":
            found.append(Process(int(folder.name), fields[19]))
    return sorted(found, key=lambda one: (int(one.started), one.pid))


def workers_of(pipeline: Pipeline, place: int = 0) -> list[Process]:
    return children(pipeline.processes[place].pid)


def kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        os.kill(process.pid, signals.SIGKILL)


def until(done: Callable[[], bool], seconds: float = 15) -> bool:
    """Whether `done` came true in time."""
    ends = time.monotonic() + seconds
    while not done():
        if time.monotonic() > ends:
            return False
        time.sleep(0.01)
    return True


def live(pipeline: Pipeline, data: bytes) -> None:
    """Write line by line, each once the one before came through: each is a request of its own."""
    for line in data.splitlines(keepends=True):
        pipeline.write(line)
        if line.strip():
            pipeline.wait_for(line)


def frugal(folder: Path, requests: int) -> list[str]:
    """The command line of an `alpha` whose workers are asked for a checkpoint after so many requests."""
    code = (
        "import sys; from alpha_cli.stages.run_strategy import workers; "
        f"workers._CHECKPOINT_REQUESTS = {requests}; from alpha_cli.cli.app import start; sys.exit(start(sys.argv[1:]))"
    )
    return [sys.executable, "-c", code]


def started(pipeline: Pipeline, count: int = 2) -> list[Process]:
    """The workers, once something came through."""
    pipeline.write(stream(ticks(5), eof=None))
    pipeline.wait_for(encode(ticks(5)[-1]))
    found = workers_of(pipeline)
    assert len(found) == count
    return found
