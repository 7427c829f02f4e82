"""Start `alpha` from a process that has imported it already: most of a short run is Python's start and the imports.

A server, one for each process of pytest, forks for every run. Each run is still a process of its own, with its own
descriptors, environment, folder, signals and exit. Only the start of the interpreter is left out, so what is about that
(its options, shadowed modules, coverage) takes a real start, and so does the whole nightly run.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import IO

from support.examples import profile_in_force
from support.warm_server import exactly

_AT_START = ("PYTHON", "LC_", "LANG", "COVERAGE", "LD_")  # what the interpreter reads when it starts


def can_start(env: dict[str, str] | None, cwd: Path | None) -> bool:
    """Return whether a run with this environment in this folder is the same without a start of the interpreter."""
    return (
        hasattr(os, "pidfd_open")
        and profile_in_force() != "nightly"
        and "COVERAGE_PROCESS_CONFIG" not in os.environ
        and not any(name.startswith(_AT_START) for name in env or {})
        and (cwd is None or not any(cwd.glob("*.py")))  # a file may shadow a module
    )


class Process:
    """A run of `alpha`, with the part of `subprocess.Popen` that tests use."""

    stdin: IO[bytes] | None = None
    stdout: IO[bytes] | None = None

    def __init__(
        self, args: list[str], stdio: tuple[int, int, int], env: dict[str, str], cwd: Path, group: int | None = None
    ) -> None:
        """Start `alpha ARGS…` with these descriptors; `group` as `process_group` of `subprocess.Popen`."""
        self.args = args
        self.returncode: int | None = None
        self._ending = socket.socket(socket.AF_UNIX)
        self._ending.connect(_server())
        request = json.dumps([[os.fsdecode(word) for word in args], env, str(cwd), group]).encode()
        socket.send_fds(self._ending, [len(request).to_bytes(4, "big")], list(stdio))
        self._ending.sendall(request)
        self.pid = int.from_bytes(exactly(self._ending, 4), "big")

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code (negative: died of that signal). Raise `subprocess.TimeoutExpired`."""
        if self.returncode is None:
            if not select.select([self._ending], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int.from_bytes(exactly(self._ending, 4), "big", signed=True)
            self._ending.close()
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.send_signal(signal.SIGKILL)


@cache
def _server() -> str:
    """Start the server; return the path of its socket. It ends with this process."""
    path = Path(tempfile.mkdtemp(prefix="alpha-warm-")) / "socket"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(64)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ALPHA_", "PYTHONUNBUFFERED"))}
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("warm_server.py"))],
        stdin=listening, stdout=subprocess.DEVNULL, env=kept,
    )  # fmt: skip
    listening.close()

    def end() -> None:
        server.kill()
        server.wait()
        path.unlink()
        path.parent.rmdir()

    atexit.register(end)
    return str(path)
