"""A separate process for a strategy, and how it ends."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

#: The program of the other process, with the same `sys.path`.
_PROGRAM = """
import json, sys
task = json.load(sys.stdin)
sys.path[:] = task.pop("path")
from alpha_cli.tools.strategies.conformance.runs import serve
serve(**task)
"""


@contextmanager
def started(
    job: str, name: str, parameters: dict[str, Any], timeout: float, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that does `job`; kill it at the end if it still runs."""
    process = subprocess.Popen(  # noqa: S603  (this very interpreter)
        [sys.executable, "-P", "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        bufsize=0, env=None if env is None else os.environ | env,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    task = {"job": job, "name": name, "parameters": parameters, "timeout": timeout, "path": sys.path}
    try:
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(json.dumps(task).encode())
        process.stdin = None  # else `communicate` would use it
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def line_of(process: subprocess.Popen[bytes], timeout: float) -> bytes:
    """Return its next line; nothing if it ended or took too long."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], timeout)
    return process.stdout.readline() if ready else b""


def end_of(process: subprocess.Popen[bytes], timeout: float) -> str:
    """Return why there is no line."""
    try:
        code = process.wait(1)
    except subprocess.TimeoutExpired:
        return f"it took longer than {timeout:g} s (--timeout)"
    assert process.stderr is not None
    return ending(code, process.stderr.read())


def ending(code: int, errors: bytes) -> str:
    """Return how a process ended, with the last line of its stderr."""
    lines = errors.decode(errors="replace").strip().splitlines()
    ended = f"of signal {-code}" if code < 0 else f"with code {code}"
    return f"its process ended {ended}" + (f": {lines[-1]}" if lines else "")
