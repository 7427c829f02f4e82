"""Real processes joined by pipes, and where the shared test data is."""

from __future__ import annotations

import contextlib
import os
import signal as signals
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from support import warm

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("SHARED_DATA") or ROOT.parent / "shared" / "data")
DEADLINE = 30.0  # seconds that anything may take before a test calls it stuck
NO_SHARED_DATA = "no shared test data"


def shared(name: str) -> Path:
    """The folder `name` of the shared test data; skips the test where it is not mounted."""
    path = SHARED / name
    if not path.is_dir():
        pytest.skip(f"{NO_SHARED_DATA} {name!r} beside this checkout")
    return path


def skip_in_a_terminal() -> None:
    """Skip a test of SIGHUP where this process belongs to a terminal: there it says that the terminal was closed."""
    with contextlib.suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
        pytest.skip("SIGHUP means a closed terminal here; setsid runs it without one")


def alpha(*args: str) -> list[str]:
    """The command line of `alpha ARGS…` by this interpreter."""
    return [sys.executable, "-m", "alpha_cli", *args]


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """This environment without what a user's own settings would change, and with `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ALPHA_")}
    kept.pop("PYTHONUNBUFFERED", None)
    return {**kept, "ALPHA_INSTRUMENTS": "", **(extra or {})}  # a master of one's own would change what trades


def run_alpha(
    args: Sequence[str],
    input: bytes = b"",  # noqa: A002  (as subprocess.run calls it)
    env: dict[str, str] | None = None,
    timeout: float = DEADLINE,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """`alpha ARGS…` run to its end on `input`; stdout and stderr are captured as bytes."""
    if warm.can_start(env, cwd):
        return _run_warm(list(args), input, environment(env), timeout, cwd or ROOT)
    return subprocess.run(
        alpha(*args), input=input, env=environment(env), timeout=timeout, cwd=cwd or ROOT, capture_output=True,
        check=False,
    )  # fmt: skip


def _run_warm(
    args: list[str], data: bytes, env: dict[str, str], timeout: float, cwd: Path
) -> subprocess.CompletedProcess[bytes]:
    """Do what `subprocess.run` does, with pipes for all three descriptors."""
    (given, write), (read_out, out), (read_err, err) = os.pipe(), os.pipe(), os.pipe()
    process = warm.Process(args, (given, out, err), env, cwd)
    for fd in (given, out, err):
        os.close(fd)
    said: dict[int, bytes] = {}
    threads = [threading.Thread(target=_read_all, args=(fd, said), daemon=True) for fd in (read_out, read_err)]
    threads.append(threading.Thread(target=_write_all, args=(write, data), daemon=True))
    for thread in threads:
        thread.start()
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
    for thread in threads:
        thread.join()
    return subprocess.CompletedProcess(alpha(*args), code, said[read_out], said[read_err])


def _started(
    command: list[str], stdin: int, stdout: int, stderr: int, env: dict[str, str] | None, group: int
) -> subprocess.Popen[bytes] | warm.Process:
    """Start a process of a pipeline, where it can be by a warm start."""
    prefix = alpha()
    if command[: len(prefix)] != prefix or not warm.can_start(env, None):
        return subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=stderr, env=environment(env), cwd=ROOT, bufsize=0,
            process_group=group,
        )  # fmt: skip
    ours: dict[str, int] = {}
    theirs: list[int] = []
    for name, fd, flags in (("stdin", stdin, os.O_RDONLY), ("stdout", stdout, os.O_WRONLY)):
        if fd == subprocess.PIPE:
            read, write = os.pipe()
            ours[name], fd = (write, read) if name == "stdin" else (read, write)  # noqa: PLW2901
            theirs.append(fd)
        elif fd == subprocess.DEVNULL:
            fd = os.open(os.devnull, flags)  # noqa: PLW2901
            theirs.append(fd)
        stdin, stdout = (fd, stdout) if name == "stdin" else (stdin, fd)
    process = warm.Process(command[len(prefix) :], (stdin, stdout, stderr), environment(env), ROOT, group)
    for fd in theirs:
        os.close(fd)
    if "stdin" in ours:
        process.stdin = os.fdopen(ours["stdin"], "wb", buffering=0)  # closed by the pipeline
    if "stdout" in ours:
        process.stdout = os.fdopen(ours["stdout"], "rb", buffering=0)
    return process


def _read_all(fd: int, said: dict[int, bytes]) -> None:
    with open(fd, "rb") as file:
        said[fd] = file.read()


def _write_all(fd: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), open(fd, "wb", buffering=0) as file:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]


class Pipeline:
    """Real processes joined by OS pipes, in a process group of their own, as a shell would start them.

        with Pipeline(alpha("run-strategy", "momentum"), alpha("risk")) as pipeline:
            pipeline.write(stream(ticks(100)))
            codes = pipeline.finish()

    The output of the last is collected as it comes, in `output`; `stderr(place)` is what one process
    said. A stage has its signal handlers in place once something has come through it: `wait_for`.
    """

    def __init__(
        self,
        *commands: Sequence[str],
        env: dict[str, str] | None = None,
        stdin: int = subprocess.PIPE,
        stdout: int = subprocess.PIPE,
    ) -> None:
        self.processes: list[subprocess.Popen[bytes] | warm.Process] = []
        self._errors = [tempfile.TemporaryFile() for _ in commands]  # noqa: SIM115  (closed in __exit__)
        self._output = bytearray()
        self._news = threading.Condition()
        self._ended = stdout != subprocess.PIPE
        given, close_given = stdin, False
        for place, command in enumerate(commands):
            last = place == len(commands) - 1
            process = _started(
                list(command), given, stdout if last else subprocess.PIPE, self._errors[place].fileno(), env,
                self.processes[0].pid if self.processes else 0,
            )  # fmt: skip
            if close_given:
                os.close(given)
            self.processes.append(process)
            if not last:
                assert process.stdout is not None
                given, close_given = os.dup(process.stdout.fileno()), True
                process.stdout.close()
        self._collector = threading.Thread(target=self._collect, daemon=True)
        if not self._ended:
            self._collector.start()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.close_input()
        if self._collector.ident is not None:
            self._collector.join()
        for process in self.processes:
            if process.stdout is not None:
                process.stdout.close()
        for file in self._errors:
            file.close()

    @property
    def output(self) -> bytes:
        """What the last process has written so far."""
        with self._news:
            return bytes(self._output)

    def write(self, data: bytes) -> None:
        """Give all of `data` to the first process; its input stays open."""
        assert self.processes[0].stdin is not None
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.processes[0].stdin.fileno(), rest) :]

    def close_input(self) -> None:
        """End of input for the first process."""
        stdin = self.processes[0].stdin
        if stdin is not None and not stdin.closed:
            stdin.close()

    def signal(self, number: int = signals.SIGTERM) -> None:
        """Signal the whole process group, as a terminal or a service manager does."""
        os.killpg(self.processes[0].pid, number)

    def wait_for(self, wanted: bytes | Callable[[bytearray], bool], timeout: float = DEADLINE) -> bytes:
        """The output once `wanted` is in it; fails if it does not come."""
        found = wanted if callable(wanted) else lambda output: wanted in output
        with self._news:
            if not self._news.wait_for(lambda: found(self._output) or self._ended, timeout) or not found(self._output):
                said = [self.stderr(place) for place in range(len(self.processes))]
                pytest.fail(f"waited for {wanted!r}; got {bytes(self._output[-500:])!r}, stderr {said}")
            return bytes(self._output)

    def wait(self, timeout: float = DEADLINE) -> list[int]:
        """The return code of each process (negative: died of that signal), once all have ended."""
        codes = [process.wait(timeout) for process in self.processes]
        with self._news:
            assert self._news.wait_for(lambda: self._ended, timeout)
        return codes

    def finish(self, timeout: float = DEADLINE) -> list[int]:
        """Close the input, then `wait`."""
        self.close_input()
        return self.wait(timeout)

    def stderr(self, place: int = -1) -> str:
        """What the process at `place` has written to stderr so far."""
        fd = self._errors[place].fileno()
        return os.pread(fd, os.fstat(fd).st_size, 0).decode()

    def peak_memory(self, place: int = -1) -> int:
        """The most bytes of memory that a process, still running, has used (Linux only)."""
        status = Path(f"/proc/{self.processes[place].pid}/status")
        if not status.exists():
            pytest.skip("no /proc to read a process's peak memory from")
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def _collect(self) -> None:
        stdout = self.processes[-1].stdout
        assert stdout is not None
        while chunk := os.read(stdout.fileno(), 1 << 16):
            with self._news:
                self._output += chunk
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


def counters(stderr: str) -> dict[str, int]:
    """The figures of the closing line: `alpha risk: in=3 accepted=3 …`."""
    line = next(line for line in reversed(stderr.splitlines()) if " in=" in line)
    return {key: int(value) for key, _, value in (pair.partition("=") for pair in line.split() if "=" in pair)}


def lines_of(data: bytes) -> list[bytes]:
    """The lines that count: not the blank ones."""
    return [line for line in data.split(b"\n") if line.strip()]
