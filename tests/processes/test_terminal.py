"""A terminal that is closed, is narrow, or has no colours; Ctrl-C before anything has begun."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from support.events import signal as a_signal, stream, tick, ticks
from support.processes import DEADLINE, ROOT, Pipeline, alpha, environment, run_alpha, skip_in_a_terminal


def in_terminal(words: list[str], columns: int = 80, **env: str) -> tuple[int, int]:
    """Start `alpha WORDS…` in a terminal of its own; return its pid and the other end of the terminal."""
    pid, fd = pty.fork()
    if not pid:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        os.chdir(ROOT)
        settings = environment({"TERM": "xterm", **env})
        for name in ("COLUMNS", "LINES"):  # the runner of the tests may set them; the size is the terminal's
            settings.pop(name, None)
        os.execve(sys.executable, alpha(*words), settings)
    return pid, fd


def shown(words: list[str], columns: int = 80, **env: str) -> str:
    """What `alpha WORDS…` prints to a terminal."""
    pid, fd = in_terminal(words, columns, **env)
    output = b""
    while select.select([fd], [], [], DEADLINE)[0]:
        try:
            output += os.read(fd, 1 << 16)
        except OSError:  # the other end is closed
            break
    os.waitpid(pid, 0)
    os.close(fd)
    return output.decode().replace("\r\n", "\n")


# --- closed --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ignored", [False, True])
def test_closing_the_terminal_ends_a_pipeline_in_order(tmp_path: Path, ignored: bool) -> None:
    """`alpha pipe` with run-strategy in it writes its eof and its portfolio; under nohup it goes on."""
    out = tmp_path / "out"
    line = "feed --speed 200 --ticks 20000 | run-strategy momentum | risk | paper --forward"
    script = f"exec {' '.join(alpha('pipe', '-q'))} '{line}' > {out} 2> {tmp_path / 'log'}"
    pid, fd = pty.fork()
    if not pid:
        signal.signal(
            signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL
        )  # whoever runs the tests may ignore it
        os.chdir(ROOT)
        os.execve("/bin/sh", ["sh", "-c", script], environment())
    wait_for(out, b'"type":"tick"')
    os.close(fd)  # the kernel sends SIGHUP
    if ignored:
        size = out.stat().st_size
        wait_for(out, b"", more_than=size + 1000)
        os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    *_, portfolio, eof = out.read_bytes().splitlines()
    assert json.loads(portfolio)["type"] == "portfolio"
    assert json.loads(eof)["reason"] == ("SIGTERM" if ignored else "SIGHUP")
    assert (tmp_path / "log").read_bytes() == b""


def wait_for(path: Path, wanted: bytes, more_than: int = 0) -> None:
    """Wait until the file at `path` has `wanted` in it, and more than so many bytes."""
    end = time.monotonic() + DEADLINE
    while not path.exists() or path.stat().st_size <= more_than or wanted not in path.read_bytes():
        assert time.monotonic() < end, path
        time.sleep(0.02)


def test_a_hangup_without_a_terminal_ends_nobody() -> None:
    """SIGHUP to a whole pipeline is a reload for run-strategy and nothing for the others."""
    skip_in_a_terminal()
    commands = [["bars"], ["run-strategy", "momentum"], ["risk"], ["paper", "--forward"]]
    with Pipeline(*(alpha(*words) for words in commands)) as pipeline:
        pipeline.write(stream(ticks(50), eof=None))
        pipeline.wait_for(b'"type":"tick"')
        pipeline.signal(signal.SIGHUP)
        pipeline.write(stream(ticks(50), hello=False))
        assert pipeline.finish() == [0, 0, 0, 0]
        assert b'"action":"reload"' in pipeline.output


# --- interrupted at once ------------------------------------------------------------------------

EARLY = """
import os, signal, sys
{before}
class Presses:  # Ctrl-C at the import of one module
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):
                pass  # Python looks for signals between two instructions
sys.meta_path.insert(0, Presses())
sys.argv = ["alpha", "pipe", "feed | run-strategy momentum | risk | paper"]
from alpha_cli.__main__ import main
main()
"""


@pytest.mark.parametrize(
    "module",
    ["alpha_cli.cli.app", "click", "alpha_cli.stream.loop", "msgspec", "pydantic", "alpha_cli.stages.risk.build"],
)
def test_ctrl_c_while_modules_are_imported_prints_nothing(module: str) -> None:
    """From the first module after the entry point on, the process simply ends by the signal."""
    program = EARLY.format(before="", module=module)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=environment(), cwd=ROOT, timeout=DEADLINE, check=False
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


def test_nothing_slow_is_imported_before_ctrl_c_is_safe() -> None:
    """The entry point's first act, after the package, is to give up Python's own handler."""
    program = (
        "import sys; before = set(sys.modules)\n"
        "import _signal; known = _signal.signal\n"
        "_signal.signal = lambda *given: (print(*sorted(set(sys.modules) - before - {'_signal'})), known(*given))[1]\n"
        "import alpha_cli.__main__"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], capture_output=True, env=environment({"PYTHONPATH": str(ROOT)}),
        timeout=DEADLINE, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [b"__future__", b"alpha_cli", b"alpha_cli.__main__"]


# --- narrow, or without colours -------------------------------------------------------------------


def test_no_color_and_a_dumb_terminal_are_obeyed_everywhere() -> None:
    """Bold headers are there on a terminal, and gone where the user says so."""
    for words in (
        ["strategies", "list"],
        ["strategies", "describe", "momentum"],
        ["config", "show"],
        ["market", "sessions", "2026-11-24"],
    ):
        assert "\x1b[1m" in shown(words, 200), words
        for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            assert "\x1b" not in shown(words, 200, **env), (words, env)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder of a whole pipeline."""
    folder = tmp_path_factory.mktemp("state") / "state"
    line = f"feed --ticks 3000 | run-strategy momentum | risk --state {folder} | paper"
    subprocess.run(alpha("pipe", "-q", line), env=environment(), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.mark.parametrize("columns", [40, 100])
@pytest.mark.parametrize(
    "words", [["strategies", "list"], ["config", "show"], ["market", "sessions", "2026-11-24"],
              ["risk", "explain", "256265"], ["charges", "--sources"], ["status", "--state", "{state}"]],
)  # fmt: skip
def test_tables_fit_the_terminal_and_leave_nothing_out(state: Path, words: list[str], columns: int) -> None:
    """No line of a table is wider than the terminal, and each word is there, as it is without one."""
    words = [word.format(state=state) for word in words]
    narrow = shown(words, columns, NO_COLOR="1")
    whole = subprocess.run(alpha(*words), env=environment(), cwd=ROOT, stdout=subprocess.PIPE, check=False).stdout
    assert max(len(line) for line in narrow.splitlines() if "   " in line) <= columns
    short = {word for word in whole.decode().split() if len(word) <= 10 and not word.isdecimal()}  # seconds go by
    assert short <= set(narrow.split())


# --- what data may not do, and streams that are not there ------------------------------------------

EVIL = "\x1b]0;pwn\x07\u202e"


def test_names_of_a_recording_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    """`alpha risk test` and `alpha resume` show a strategy called by an escape sequence, and do not send it."""
    limits = tmp_path / "limits.yaml"
    limits.write_text("brokers: {paper: {repeated_execution: {orders: 1, seconds: 60, round_trips: 9}}}")
    events = stream([tick(0), *(a_signal(number, strategy_id=EVIL) for number in (1, 2, 3))])
    recording = tmp_path / "run.ndjson"
    recording.write_bytes(events)
    folder = tmp_path / "state"
    run_alpha(["risk", "--state", str(folder), "--config", str(limits)], events)
    for words in (
        ["risk", "test", str(recording), "--config", str(limits)],
        ["resume", "--state", str(folder), "--reason", "looked"],
        ["status", "--state", str(folder)],
    ):
        text = run_alpha(words).stdout.decode()
        assert "pwn" in text, words
        assert all(char.isprintable() and char != "\u202e" for char in text.replace("\n", "")), words


@pytest.mark.parametrize(
    "line", ["feed {file}", "feed --ticks 3", "bars", "show", "risk", "paper", "run-strategy momentum",
             "instruments find x", "config show"],
)  # fmt: skip
def test_a_closed_stderr_changes_nothing(tmp_path: Path, line: str) -> None:
    """Output and exit code are those of a run that may speak."""
    file = tmp_path / "day.ndjson"
    file.write_bytes(stream(ticks(3)))
    command = alpha(*line.format(file=file).split())
    runs = [
        subprocess.run(["sh", "-c", f'exec "$@" 2>{where} < {file}', "sh", *command], env=environment(), cwd=ROOT,
                       stdout=subprocess.PIPE, check=False)
        for where in ("&-", "/dev/null")
    ]  # fmt: skip
    assert [run.returncode for run in runs[:1]] == [run.returncode for run in runs[1:]]
    assert runs[0].stdout == runs[1].stdout


def test_a_metrics_file_is_no_file_of_everybody(tmp_path: Path) -> None:
    """0644 under any umask: the collector of another user reads it, and nobody else writes."""
    pytest.importorskip("prometheus_client")
    file = tmp_path / "alpha.prom"
    command = f'umask 0; exec "$@" --metrics-file {file}'
    words = ["sh", "-c", command, "sh", *alpha("run-strategy", "momentum", "-q")]
    subprocess.run(words, input=stream(ticks(3)), env=environment(), cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    assert file.stat().st_mode & 0o777 == 0o644
    assert "alpha_strategy_ticks_total" in file.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["alpha.prom"]
