"""`alpha status`: what is said of a state folder, while its stages run and after."""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.events import stream, ticks
from support.processes import ROOT, Pipeline, alpha, run_alpha

from alpha_cli.cli.app import execute
from alpha_cli.stages.run_strategy.status import Status, StrategyStatus
from alpha_cli.stream.stage import Lifecycle, Options, Reads, Stage
from alpha_cli.stream.status_file import StatusFiles
from alpha_cli.tools.status.command import STATES
from alpha_cli.tools.status.folder import look
from alpha_cli.tools.status.shown import for_people

AT = datetime(2026, 1, 5, 6, 30, tzinfo=UTC)  # noon in India


@pytest.fixture(autouse=True)
def _nobodys_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder, and nothing of the user's own."""
    monkeypatch.delenv("ALPHA_STATE", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", None)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder with a runner of two strategies that ended."""
    folder = tmp_path / "state"
    folder.mkdir()
    write(folder, *STRATEGIES)
    return folder


STRATEGIES = (
    StrategyStatus(
        "nifty", "momentum", "running", ticks=12_345, signals=24, by_broker={"zerodha": 12, "paper": 12}, held=1,
        rejected=2, errors=3, last_signal=AT + timedelta(hours=1), p50_us=0.5, p99_us=1_234.5,
    ),
    StrategyStatus("bank", "ml_momentum", "paused (circuit)", has_model=True, reason="circuit open after 5 failures"),
)  # fmt: skip


def write(folder: Path, *strategies: StrategyStatus, ended: bool = True, name: str = "run-strategy") -> None:
    status = Status("run-strategy", os.getpid(), AT, ended, 0 if ended else None, strategies=list(strategies))
    (folder / f"{name}.status.json").write_bytes(msgspec.json.encode(status))


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """As the stage called `name` does while it runs."""
    fd = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    os.write(fd, f"process {os.getpid()}\n".encode())
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(fd)


def said(capsys: pytest.CaptureFixture[str], *args: str, code: int | None = None) -> str:
    """What `alpha status ARGS…` prints; and its exit code, if it is of interest."""
    assert execute(["status", *args]) in ({one for one, _ in STATES.values()} if code is None else {code})
    both = capsys.readouterr()
    assert both.err == ""
    return both.out


def rows(capsys: pytest.CaptureFixture[str], folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """(kind, name or id) -> what `--json` says of it."""
    found = map(json.loads, said(capsys, "--state", str(folder), "--json").splitlines())
    return {(row["kind"], row.get("name") or row.get("id") or ""): row for row in found}


def row(text: str, first: str) -> list[str]:
    """The cells of the row of a table that begins with `first`."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"{first} ")]
    return re.split(r" {2,}", line)


# --- what is shown ---------------------------------------------------------------------------


def test_each_strategy_is_a_row_with_its_counts_times_and_state(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Signals by broker, the last one's time in India, durations; and why one stands still."""
    text = said(capsys, "--state", str(state))
    assert "\x1b" not in text
    assert row(text, "nifty") == [
        "nifty", "momentum", "stopped", "no", "12,345", "24 (paper=12 zerodha=12)", "1", "2", "3",
        "2026-01-05 13:00:00", "0.5", "1,234.5", "run-strategy",
    ]  # fmt: skip
    assert row(text, "bank") == [
        "bank", "ml_momentum", "paused (circuit)", "yes", "0", "0", "0", "0", "0", "–", "–", "–", "run-strategy",
        "circuit open after 5 failures",
    ]  # fmt: skip


def test_the_same_for_programs(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON object a line: the folder, its stages, their strategies."""
    found = rows(capsys, state)
    assert found["folder", ""] == {"kind": "folder", "path": str(state), "state": "stopped", "halted": None}
    stage = found["stage", "run-strategy"]
    assert (stage["state"], stage["written"], stage["database"]) == ("stopped", "2026-01-05T06:30:00Z", False)
    nifty = found["strategy", "nifty"]
    assert (nifty["stage"], nifty["signals"], nifty["by_broker"]) == ("run-strategy", 24, {"paper": 12, "zerodha": 12})
    assert nifty["p99_us"] == 1_234.5
    assert found["strategy", "bank"]["reason"] == "circuit open after 5 failures"


def test_a_stage_runs_while_its_lock_is_held(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever its status says: one that did not end and is not there died."""
    write(state, *STRATEGIES, ended=False)
    assert row(said(capsys, "--state", str(state), code=4), "run-strategy")[1] == "died"
    with locked(state, "run-strategy"):
        text = said(capsys, "--state", str(state), code=5)
        assert (row(text, "run-strategy")[1:3], row(text, "nifty")[2]) == (["lagging", str(os.getpid())], "lagging")
        assert rows(capsys, state)["strategy", "nifty"]["state"] == "lagging"
        text = said(capsys, "--state", str(state), "--lag", "31536000", code=0)
        assert row(text, "run-strategy")[1:3] == ["running", str(os.getpid())]
        assert row(text, "nifty")[2] == "running"
        assert row(text, "bank")[2] == "paused (circuit)"
    write(state, *STRATEGIES, ended=True)
    text = said(capsys, "--state", str(state))
    assert (row(text, "run-strategy")[1:3], row(text, "nifty")[2]) == (["stopped", "–"], "stopped")


def test_asking_disturbs_nobody(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is made, changed or held: the next stage gets its lock, and one that waits for it is not told of us."""
    (state / "paper.lock").write_text("process 1\n")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in state.iterdir()}
    for _ in range(3):
        said(capsys, "--state", str(state))
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in state.iterdir()} == before
    with (state / "paper.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_other_stages_are_known_by_their_databases(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Running or stopped; SQLite's own files beside them, and files of other programs, are no stages."""
    for name in ("paper.db", "paper.db-wal", "paper.db-shm", "risk.db", "Notes.db", "notes.txt"):
        (state / name).touch()
    with locked(state, "risk"):
        text = said(capsys, "--state", str(state))
    assert row(text, "paper") == ["paper", "stopped", "–", "–", "–", "paper.db", "–"]
    assert row(text, "risk") == ["risk", "running", str(os.getpid()), "–", "–", "risk.db", "–"]
    assert "otes" not in text


def test_strategies_of_two_runners_stand_in_one_table(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with the name that its runner was given by --as."""
    write(state, StrategyStatus("third", "momentum", "running"), name="second")
    text = said(capsys, "--state", str(state))
    assert row(text, "third")[-1] == "second"
    assert row(text, "nifty")[-1] == "run-strategy"


def test_a_halt_is_said_first(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file HALT holds for every stage that shares the folder."""
    assert said(capsys, "--state", str(state)).startswith("not halted\n")
    (state / "HALT").touch()
    assert said(capsys, "--state", str(state)).startswith(f"HALTED: {state / 'HALT'} exists\n")
    assert rows(capsys, state)["folder", ""]["halted"] == f"{state / 'HALT'} exists"


@pytest.mark.parametrize(
    ("age", "words"),
    [(timedelta(seconds=-5), "0 s ago"), (timedelta(seconds=59), "59 s ago"), (timedelta(seconds=60), "1 min ago"),
     (timedelta(hours=23), "23 h ago"), (timedelta(days=3, hours=5), "3 d ago")],
)  # fmt: skip
def test_how_old_the_status_is(age: timedelta, words: str, state: Path) -> None:
    """In India's time, and in a word; a clock that was set back makes it no younger than now."""
    text = "\n".join(for_people(look(state, AT + age), AT + age))
    assert row(text, "run-strategy")[3] == f"2026-01-05 12:00:00, {words}"


# --- what is wrong ---------------------------------------------------------------------------


NAIVE = b'{"stage":"x","pid":1,"at":"2026-01-05T09:15:00","ended":true,"strategies":[]}'


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"stage":"x"}', NAIVE])
def test_a_broken_status_is_one_line_and_hides_nothing(
    content: bytes, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are shown."""
    (state / "second.status.json").write_bytes(content)
    text = said(capsys, "--state", str(state))
    (line,) = [line for line in text.splitlines() if "cannot be read" in line]
    assert line.startswith("second.status.json: cannot be read: ")
    assert row(text, "nifty")
    found = rows(capsys, state)
    assert found["stage", "second"]["fault"].startswith("cannot be read: ")
    assert ("strategy", "nifty") in found


def test_what_is_no_file_is_one_line(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder in the place of a status, a link in the place of a lock: nothing is followed, nothing waits."""
    (state / "second.status.json").mkdir()
    (state / "second.lock").symlink_to(state / "run-strategy.status.json")
    os.mkfifo(state / "third.lock")
    text = said(capsys, "--state", str(state))
    assert "second.status.json: cannot be read: Is a directory" in text
    assert row(text, "second")[1] == "unknown"
    assert row(text, "third")[1] in {"stopped", "unknown"}


def test_a_text_in_the_status_cannot_write_to_the_terminal(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters are escaped."""
    write(state, StrategyStatus("evil\x1b[2J\n", "momentum", "disabled", reason="\x07"))
    text = said(capsys, "--state", str(state))
    assert all(char.isprintable() for char in text.replace("\n", ""))
    assert "evil\\x1b[2J\\n" in text


def test_a_missing_folder_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Exit 66; so is what is no folder. Without a folder it is a mistake of the command line."""
    (tmp_path / "file").touch()
    for name, why in (("gone", "No such file or directory"), ("file", "Not a directory")):
        assert execute(["status", "--state", name]) == 66
        both = capsys.readouterr()
        expected = f"alpha status: --state {name}: {why}; name the folder that the stages were given\n"
        assert (both.out, both.err) == ("", expected)
    assert execute(["status"]) == 2
    assert "--state DIR, or set ALPHA_STATE" in capsys.readouterr().err


def test_an_empty_folder_is_said_to_be_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the folder may be named by ALPHA_STATE."""
    monkeypatch.setenv("ALPHA_STATE", str(tmp_path))
    assert said(capsys) == f"not halted\n{tmp_path}: no stage has kept its state here\n"


# --- with real stages ------------------------------------------------------------------------


def test_it_shows_a_real_runner_while_it_runs_and_after(tmp_path: Path) -> None:
    """From another process: the counts at the end are those of the run, and a runner that was killed died."""
    folder = tmp_path / "state"

    def shown() -> dict[str, dict[str, Any]]:
        made = run_alpha(["status", "--state", str(folder), "--json"])
        assert made.stderr == b""
        return {row["kind"]: row for row in map(json.loads, made.stdout.splitlines())}

    data = stream(ticks(2_000))
    with Pipeline(alpha("run-strategy", "momentum", "--state", str(folder))) as pipeline:
        pipeline.write(data)
        pipeline.wait_for(b'"type":"signal"')
        found = shown()
        assert (found["stage"]["state"], found["stage"]["pid"]) == ("running", pipeline.processes[0].pid)
        assert found["strategy"]["state"] == "running"
        assert pipeline.finish() == [0]
        count = pipeline.output.count(b'"type":"signal"')
    found = shown()
    assert found["stage"]["state"] == "stopped"
    assert found["stage"]["database"] is True
    assert (found["strategy"]["ticks"], found["strategy"]["signals"]) == (2_000, count)
    with Pipeline(alpha("run-strategy", "momentum", "--state", str(folder))) as pipeline:
        pipeline.write(stream(ticks(200), eof=None))
        pipeline.wait_for(b'"type":"tick"')
        pipeline.processes[0].kill()
        pipeline.wait()
    assert shown()["stage"]["state"] == "died"


def stages(folder: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code of `alpha status`, and what it says of each stage."""
    made = run_alpha(["status", "--state", str(folder), "--json"])
    assert made.stderr == b""
    found = map(json.loads, made.stdout.splitlines())
    return made.returncode, {row["name"]: row for row in found if row["kind"] == "stage"}


def test_every_stage_of_a_fused_pipeline_has_a_row(tmp_path: Path) -> None:
    """One of them has --state; all say what they did, how far they came, and that they ended."""
    folder = tmp_path / "state"
    line = f"feed --ticks 5000 | bars | run-strategy momentum | risk | paper --forward --state {folder} | show"
    assert run_alpha(["pipe", "-q", line]).returncode == 0
    code, found = stages(folder)
    assert code == 3
    assert sorted(found) == ["bars", "feed", "paper", "risk", "run-strategy", "show"]
    assert {row["state"] for row in found.values()} == {"stopped"}
    assert {row["code"] for row in found.values()} == {0}
    assert found["feed"]["counts"] == {"ticks": 5000}
    assert found["risk"]["counts"]["orders"] > 0
    assert found["paper"]["last"].startswith("2026-01-05T15:29:")
    assert sorted(path.name for path in folder.glob(".*")) == []


def test_what_was_killed_died_and_what_ended_for_it_stopped(tmp_path: Path) -> None:
    """`kill -9` of paper in a shell pipeline in which every stage has the folder by ALPHA_STATE."""
    env = {"ALPHA_STATE": str(tmp_path / "state")}
    commands = [["feed", "synthetic", "--speed", "100"], ["run-strategy", "momentum"], ["risk"], ["paper", "--forward"]]
    with Pipeline(*(alpha(*words) for words in commands), env=env) as pipeline:
        pipeline.wait_for(b'"type":"tick"')
        code, found = stages(tmp_path / "state")
        assert (code, {row["state"] for row in found.values()}) == (0, {"running"})
        assert [found[name]["pid"] for name in ("feed", "run-strategy", "risk", "paper")] == [
            process.pid for process in pipeline.processes
        ]
        pipeline.processes[-1].kill()
        pipeline.wait()
    code, found = stages(tmp_path / "state")
    assert code == 4
    assert {name: row["state"] for name, row in found.items()} == {
        "feed": "stopped", "run-strategy": "stopped", "risk": "stopped", "paper": "died",
    }  # fmt: skip
    assert {found[name]["code"] for name in ("feed", "run-strategy", "risk")} == {141}


def test_two_feeds_of_one_folder_have_a_row_each(tmp_path: Path) -> None:
    """The second takes the next name; neither keeps the other from running."""
    feed = alpha("feed", "synthetic", "--speed", "100", "--state", str(tmp_path / "state"))
    with Pipeline(feed) as one, Pipeline(feed) as two:
        one.wait_for(b'"type":"tick"')
        two.wait_for(b'"type":"tick"')
        code, found = stages(tmp_path / "state")
    assert (code, sorted(found), found["feed-2"]["stage"]) == (0, ["feed", "feed-2"], "feed")


def test_how_a_stage_failed_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its code, and its last line."""
    folder = tmp_path / "state"
    assert run_alpha(["risk", "--state", str(folder)], b"oops\n").returncode == 65
    text = said(capsys, "--state", str(folder), code=3)
    assert row(text, "risk")[1] == "stopped"
    assert "ended with 65 (bad data): line 1: not JSON: " in text


class Behind(Lifecycle):
    """As a stage does whose state is ahead of all that it reads."""

    def refuses(self) -> str | None:
        """Return that it is."""
        return "its day is 2026-11-25; alpha paper reset begins anew"


def test_a_stage_that_refuses_everything_is_said_and_has_a_code(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What its life cycle answers is in its row, while it runs and after."""
    part = Stage("paper", Reads({}), lifecycle=Behind(), options=Options(status=state / "paper.status.json"))
    StatusFiles([part]).end(0, None, ask=True)
    text = said(capsys, "--state", str(state), code=6)
    assert row(text, "paper")[-1] == "refuses everything: its day is 2026-11-25; alpha paper reset begins anew"


def test_a_status_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    """One line, and the stage goes on."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    (folder / "risk.status.json").mkdir()
    (folder / "risk.status.json" / "file").touch()
    made = run_alpha(["risk", "--state", str(folder), "-q"], stream(ticks(3)))
    assert made.returncode == 0
    assert made.stderr.count(b"\n") == 1
    assert b"alpha status shows an older state" in made.stderr


def test_each_exit_code_is_documented() -> None:
    """In --help and in the page about exit codes."""
    pages = [run_alpha(["status", "--help"]).stdout.decode(), (ROOT / "docs" / "exit-codes.md").read_text()]
    for word, (code, _) in STATES.items():
        assert all(re.search(rf"^\W*{code} {word}\b", page, re.MULTILINE) for page in pages), word
