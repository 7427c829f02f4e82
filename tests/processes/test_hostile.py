"""Hostile input: the JSON test suite and extreme values into every stage. Nothing may look like a bug."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from math import gcd
from pathlib import Path
from typing import Any

import pytest
from support.events import BANK, NIFTY, ONE_OF_EACH, order, signal, tick
from support.examples import every_in_ci
from support.processes import ROOT, counters, environment, lines_of, run_alpha, shared

from alpha_cli.core.codec import encode
from alpha_cli.core.errors import EXIT_CODES

STAGES = [("feed", "-"), ("run-strategy", "momentum"), ("risk",), ("paper",), ("paper", "--forward"), ("show",)]
by_name = pytest.mark.parametrize("stage", STAGES, ids=" ".join)

#: Runs one stage on each of several files as its standard input, one after another in one process.
DRIVER = """
import json, os, sys, tempfile
from pathlib import Path
from alpha_cli.cli.app import execute

files, *arguments = sys.argv[1:]
report, found = os.dup(1), {}
for path in map(Path, json.loads(files)):
    with path.open("rb") as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        for fd, file in enumerate((given, out, err)):
            os.dup2(file.fileno(), fd)
        code = execute(arguments)
        sys.stderr.flush()
        err.seek(0)
        found[str(path)] = (code, err.read().decode())
os.write(report, json.dumps(found).encode())
"""


def json_suite() -> list[Path]:
    """The files of the JSON test suite; in CI every third of them."""
    files = sorted((shared("hostile-json") / "test_parsing").iterdir())
    assert len(files) > 300
    return every_in_ci(3, files)


def on_each_file(files: Sequence[Path], arguments: Sequence[str]) -> dict[Path, tuple[int, str]]:
    """Each file -> exit code and stderr of the stage with that file for standard input."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps([str(path) for path in files]), *arguments], env=environment(),
        capture_output=True, stdin=subprocess.DEVNULL, check=True, timeout=60, cwd=ROOT,
    )  # fmt: skip
    return {Path(name): (code, stderr) for name, (code, stderr) in json.loads(done.stdout).items()}


def read_from(path: Path, stage: tuple[str, ...]) -> list[bytes]:
    """The lines of a file as `stage` counts them: a feed takes off the byte order mark that some programs write."""
    data = path.read_bytes()
    return lines_of(data.removeprefix(b"\xef\xbb\xbf") if stage[0] == "feed" else data)


def assert_harmless(code: int, stderr: str) -> None:
    """A documented exit code other than that of a bug, and no traceback."""
    assert code in EXIT_CODES
    assert code != 1
    assert "Traceback" not in stderr
    assert "bug" not in stderr


def assert_all_counted(stderr: str, lines: int) -> None:
    """Every line that came in was accepted or rejected."""
    counted = counters(stderr)
    assert counted["in"] == lines
    assert counted["in"] == counted["accepted"] + counted["rejected"]


@by_name
def test_each_file_of_the_json_suite(stage: tuple[str, ...]) -> None:
    """Each file a whole input: read to the end, every line counted."""
    files = json_suite()
    found = on_each_file(files, [*stage, "--bad", "skip"])
    assert list(found) == files
    for path, (code, stderr) in found.items():
        assert_harmless(code, stderr)
        read = len(read_from(path, stage))
        assert_all_counted(stderr, read)
        understood = counters(stderr)["rejected"] < read
        nothing = 66 if stage[0] == "feed" else 0
        assert code == (0 if understood else 65 if read else nothing), path


@by_name
def test_each_file_of_the_json_suite_under_fail(stage: tuple[str, ...]) -> None:
    """The same with `--bad fail`: 65 and one line before the counters; a feed of nothing ends with 66."""
    for path, (code, stderr) in on_each_file(json_suite(), [*stage, "--bad", "fail"]).items():
        assert_harmless(code, stderr)
        assert code == (65 if read_from(path, stage) else 66 if stage[0] == "feed" else 0), path
        assert stderr.count("\n") == (2 if code else 1), path


@by_name
def test_the_whole_json_suite_at_once(stage: tuple[str, ...], tmp_path: Path) -> None:
    """All files in one stream, as a real process: each bad line is a dead letter, and nothing understood is 65."""
    folder = shared("hostile-json") / "test_parsing"
    data = b"\n".join(path.read_bytes() for path in sorted(folder.iterdir())) + b"\n"
    dead = tmp_path / "dead.ndjson"
    done = run_alpha([*stage, "--bad", str(dead)], data)
    assert_harmless(done.returncode, done.stderr.decode())
    assert done.returncode == 65
    lines = lines_of(data)
    assert_all_counted(done.stderr.decode(), len(lines))
    letters = [json.loads(line) for line in dead.read_bytes().splitlines()]
    assert len(letters) == counters(done.stderr.decode())["rejected"]
    assert {letter["line_number"] for letter in letters} <= set(range(1, data.count(b"\n") + 1))


NUMBERS = ["0", "-1", "1e-400", "1e-5", "0.00001", "1e11", "999999999999.9999", "1e12", "1e308", "1e309",
           "9" * 19, "9" * 25, "9" * 5000, "1e999999999", "1e-999999999", "NaN", "null", '""', "[]", "{}", "true",
           "4294967295", "4294967296", "9223372036854775807", "9223372036854775808", "1000000000000"]  # fmt: skip
TIMES = ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00", "1969-12-31T23:59:59Z",
         "2024-06-03T09:15:00+05:30", "2024-02-30T00:00:00Z", "2024-06-03T24:00:00Z", "2024-06-03T23:59:60Z", "", "x",
         "2024-06-03T09:15:00.1234567890123Z", "\\u0000", "2024-06-03T09:15:00+99:99"]  # fmt: skip
TEXTS = [
    "",
    "\\u0000",
    "\\u001b[2J",
    "\\u202e",
    "\\ud800",
    "x" * 200,
    "../../etc/passwd",
    "'; DROP TABLE x; --",
    "₹" * 60,
]
VALUES = [*NUMBERS, *(f'"{value}"' for value in (*TIMES, *TEXTS))]
STEP = 5  # shares no factor with the number of values, so that in CI each value is tried in some field
assert gcd(STEP, len(VALUES)) == 1


def variants(line: bytes) -> list[bytes]:
    """`line` with each of its fields in turn made extreme."""
    record: dict[str, Any] = json.loads(line)
    made = []
    for name in record:
        made += [
            json.dumps(record | {name: "?"}, separators=(",", ":")).replace('"?"', value, 1).encode()
            for value in VALUES
        ]
    return made


@by_name
def test_extreme_values_in_every_field(stage: tuple[str, ...]) -> None:
    """Each field of each type made extreme: accepted or rejected, and the good lines around still work."""
    everything = every_in_ci(STEP, (variant for event in ONE_OF_EACH for variant in variants(encode(event))))
    # What ends or opens a session would only change the exit code.
    hostile = [line for line in everything if b'"eof"' not in line and b'"hello"' not in line]
    data = b"".join(
        line + b"\n"
        for place, bad in enumerate(hostile)
        for line in (encode(tick(place % 900, 100, token=(NIFTY, BANK)[place % 2])), bad,
                     encode(signal(place, place % 900)), encode(order(place, place % 900)))
    )  # fmt: skip
    done = run_alpha([*stage, "--bad", "skip"], data)
    assert_harmless(done.returncode, done.stderr.decode())
    # A time beyond the calendar; a control line may well halt risk; orders and signals where they do not belong.
    assert done.returncode in {0, 65, 78, 80}
    assert_all_counted(done.stderr.decode(), len(lines_of(data)))


@by_name
def test_sessions_opened_and_closed_in_every_extreme_way(stage: tuple[str, ...], tmp_path: Path) -> None:
    """hello and eof with extreme fields, each the whole input: no bug, and a code that a process can end with."""
    ends = every_in_ci(STEP, (line for event in (ONE_OF_EACH[0], ONE_OF_EACH[-1]) for line in variants(encode(event))))
    for place, line in enumerate(ends):
        (tmp_path / f"{place:04}").write_bytes(line + b"\n")
    for code, stderr in on_each_file(sorted(tmp_path.iterdir()), [*stage, "--bad", "skip"]).values():
        assert 0 <= code <= 255
        assert "Traceback" not in stderr
        assert "bug" not in stderr
