"""Replaying recordings: what passes as it is, what is mended, merged, selected, and how a feed ends."""

from __future__ import annotations

import gzip
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.processes import DEADLINE, environment, shared

from alpha_cli.cli.options import Build
from alpha_cli.core.codec import decode
from alpha_cli.core.errors import BadData
from alpha_cli.core.events import Tick
from alpha_cli.core.wire import MAX_LINE
from alpha_cli.stages.feed.command import command
from alpha_cli.stream.bad_lines import BadLines
from alpha_cli.stream.stage import Source


def wire(n: int, token: int = 5, price: str = "100.5", more: str = "") -> bytes:
    """A tick in wire form, n seconds after 12:00."""
    moment = f"2026-01-05T12:{n // 60:02d}:{n % 60:02d}+05:30"
    return f'{{"type":"tick","instrument_token":{token},"timestamp":"{moment}","last_price":{price}{more}}}'.encode()


class Signal:
    """Stands in for `Shutdown` where no signal comes."""

    requested = None

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


def source_of(*arguments: object) -> Source:
    """What `alpha feed ARGUMENTS` makes."""
    # click keeps the help option it made first, so it gets its names here as it does from the group.
    context = command.make_context(
        "feed", [str(argument) for argument in arguments], obj=Build(), help_option_names=["-h", "--help"]
    )
    source: Source = command.invoke(context)
    return source


def feed(*arguments: object) -> tuple[list[bytes], dict[str, int]]:
    """The lines between hello and eof, and the counters."""
    source = source_of(*arguments)
    lines: list[bytes] = []
    for batch in source.batches(Signal()):
        assert batch.data == b"".join(line + b"\n" for line in batch.lines)
        assert batch.verified
        assert [decode(line) for line in batch.lines] == batch.events
        lines += batch.lines
    counts = dict(source.lifecycle.counts())
    if "in" in counts:
        assert counts["in"] == counts["accepted"] + counts["rejected"]
    return lines, counts


def alpha(*arguments: object, stdin: bytes = b"") -> tuple[int, list[bytes], str]:
    """Run `alpha feed` as a program."""
    done = subprocess.run(
        [sys.executable, "-m", "alpha_cli", "feed", *map(str, arguments)], input=stdin, capture_output=True, check=False
    )
    return done.returncode, done.stdout.splitlines(), done.stderr.decode()


@pytest.fixture
def saved(tmp_path: Path) -> Any:
    """Writes a file and gives its path."""

    def save(name: str, *lines: bytes, end: bytes = b"\n") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        data = b"".join(line + end for line in lines)
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return save


def test_wire_form_passes_as_its_original_bytes(saved: Any) -> None:
    """Odd spacing, order of fields, other offsets and unknown fields: not a byte changes."""
    lines = [
        wire(1),
        b'{"instrument_token": 5, "type":"tick" ,"last_price":1e2,"timestamp":"2026-01-05T06:30:02Z"}',
        wire(3, more=',"exchange":"NSE","note":{"a":[1,2]}'),
    ]
    assert feed(saved("a.ndjson", *lines)) == (lines, {"in": 3, "accepted": 3, "rejected": 0, "ticks": 3})


def test_blank_lines_crlf_bom_and_a_missing_last_newline(saved: Any) -> None:
    """None of them is data, and none of them loses any."""
    path = saved("a.ndjson", b"\xef\xbb\xbf" + wire(1), b"", wire(2), b"  ", end=b"\r\n")
    with path.open("ab") as file:
        file.write(wire(3))
    lines, counts = feed(path)
    assert lines == [wire(1), wire(2), wire(3)]
    assert counts["in"] == 3


def test_more_than_four_decimals_are_rounded(saved: Any) -> None:
    """A price off by the last bit of a float would travel on for ever; it is put right at the door."""
    lines, _ = feed(saved("a.ndjson", wire(1, price="17525.100000000002"), wire(2, price="1.00004"), wire(3)))
    assert lines == [wire(1, price="17525.1"), wire(2, price="1.0"), wire(3)]


def test_untyped_records_are_ticks_and_keep_their_extras(saved: Any) -> None:
    """Kite's own dicts come out in wire form, with the recorder's fields at the end."""
    record = {"instrument_token": 5, "ltp": "99.5", "timestamp": "2026-01-05 12:00:01", "qty": 25, "strike": 24000.0,
              "seen": [1, "é"]}  # fmt: skip
    lines, counts = feed(saved("a.ndjson", json.dumps(record).encode()))
    assert lines == [wire(1, price="99.5", more=',"last_traded_quantity":25,"strike":24000.0,"seen":[1,"é"]')]
    assert counts["ticks"] == 1


def test_types_given_back(saved: Any) -> None:
    """Ticks and controls by default, others if asked for; hello and eof of a recording never."""
    hello = b'{"type":"hello","wire":1,"source":"x","version":"0"}'
    control = b'{"type":"control","action":"halt"}'
    gap = b'{"type":"gap","reason":"lost","count":3}'
    eof = b'{"type":"eof","ok":false,"code":75}'
    path = saved("a.ndjson", hello, wire(1), control, gap, b'{"type":"new","x":1}', eof, hello, wire(2), eof)
    lines, counts = feed(path)
    assert lines == [wire(1), control, wire(2)]
    assert counts["not_asked_for"] == 2
    assert feed(path, "--types", "gap")[0] == [gap]


def test_dead_letters_say_which_instrument_and_why(saved: Any, tmp_path: Path) -> None:
    """A bad line costs itself only, and can be found again."""
    bad = [b"nonsense", b'{"instrument_token":7,"last_price":-1,"timestamp":1767594600}', b'{"last_price":1}', b"[1]",
           b"\xff\xfe", wire(2)[:-9]]  # fmt: skip
    dead = tmp_path / "dead.ndjson"
    lines, counts = feed(saved("a.ndjson", wire(1), *bad, wire(3)), "--bad", dead)
    assert lines == [wire(1), wire(3)]
    assert (counts["in"], counts["rejected"]) == (8, 6)
    letters = [json.loads(line) for line in dead.read_text().splitlines()]
    assert [letter["line_number"] for letter in letters] == [2, 3, 4, 5, 6, 7]
    assert letters[1]["instrument_token"] == 7
    assert "last_price -1" in letters[1]["error"]
    assert letters[1]["raw"] == bad[1].decode()


def test_a_line_over_the_limit(saved: Any) -> None:
    """Rejected in either format, whether it is longer than a read or not much longer than the limit."""
    for length in (MAX_LINE + 1, 3 * MAX_LINE):
        long = wire(2, more=',"x":"' + "y" * length + '"')
        lines, counts = feed(saved("a.ndjson", wire(1), long, wire(3)))
        assert lines == [wire(1), wire(3)]
        assert counts["rejected"] == 1
        row = b"2026-01-05 12:00:01,100.5"
        path = saved("a.csv", row, row + b" " * length, row)
        lines, counts = feed(path, "--columns", "time,ltp", "--instrument-token", 5)
        assert lines == [wire(1), wire(1)]
        assert counts["rejected"] == 1


def test_csv_with_a_header(saved: Any) -> None:
    """Columns by name in any order and case; unknown ones are ignored."""
    path = saved(
        "a.csv", b"LTP, Time ,who,token,qty", b"100.5,2026-01-05 12:00:01,me,5,25", b"", b'"7.25",1767594602,"a,b",6,'
    )
    lines, counts = feed(path)
    assert lines == [wire(1, more=',"last_traded_quantity":25'), wire(2, token=6, price="7.25")]
    assert counts["in"] == 2


def test_csv_rows_that_are_not_rows(saved: Any, tmp_path: Path) -> None:
    """Wrong widths, stray quotes, NUL and broken UTF-8 each cost one row."""
    good = b"5,100.5,2026-01-05 12:00:01"
    bad = [b"5,100.5", b"5,100.5,2026-01-05 12:00:01,9", b'5,"100.5,2026-01-05 12:00:01',
           b"5,1\x00,2026-01-05 12:00:01", b"\xff,1,2", b"5,abc,2026-01-05 12:00:01",
           b"5,1\r2,2026-01-05 12:00:01"]  # fmt: skip
    path = saved("a.csv", b"token,ltp,time", good, *bad, good)
    lines, counts = feed(path, "--bad", tmp_path / "dead")
    assert lines == [wire(1), wire(1)]
    assert counts["rejected"] == len(bad)
    letters = [json.loads(line) for line in (tmp_path / "dead").read_text().splitlines()]
    assert [letter["line_number"] for letter in letters] == list(range(3, 10))


def test_csv_without_a_header(saved: Any) -> None:
    """It says what is missing; with --columns and --instrument-token two columns are enough."""
    path = saved("a.csv.gz", b"2026-01-05 12:00:01,100.5", b"2026-01-05 12:00:02,100.5")
    code, lines, errors = alpha(path)
    assert code == 78
    assert "--columns" in errors
    assert decode(lines[-1]).code == 78
    assert feed(path, "--columns", "timestamp,last_price", "--instrument-token", 5)[0] == [wire(1), wire(2)]


def test_files_are_merged_by_time(saved: Any) -> None:
    """Overlapping files interleave, those at one instant in the order given, a folder by name."""
    a = saved("day/a.ndjson", wire(1, 1), wire(3, 1), wire(5, 1))
    b = saved("day/b.jsonl.gz", wire(1, 2), wire(2, 2), wire(5, 2), wire(6, 2))
    c = saved("day/c.csv", b"token,ltp,time", b"3,100.5,2026-01-05 12:00:04", b"3,100.5,2026-01-05 12:00:09")
    saved("day/notes.txt", b"not ticks")
    expected = [
        wire(1, 1),
        wire(1, 2),
        wire(2, 2),
        wire(3, 1),
        wire(4, 3),
        wire(5, 1),
        wire(5, 2),
        wire(6, 2),
        wire(9, 3),
    ]
    assert feed(a, b, c)[0] == expected
    assert feed(a.parent)[0] == expected
    assert feed(b, a, c)[0][:2] == [wire(1, 2), wire(1, 1)]


def test_merging_more_than_a_block_of_each(saved: Any) -> None:
    """Merging the halves of a recording gives the recording, however they were cut."""
    whole = [wire(n, 1 + n % 3) for n in range(3000)]
    odd, even = saved("odd.ndjson", *whole[1::2]), saved("even.ndjson.gz", *whole[::2])
    first, second = saved("first.ndjson", *whole[:1700]), saved("second.ndjson", *whole[1700:])
    assert feed(odd, even)[0] == whole
    assert feed(second, first)[0] == whole


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        (["--from", "2026-01-05T12:00:02+05:30", "--to", "2026-01-05 12:00:04"], [2, 3]),
        (["--from", "12:00:04"], [4, 5]),
        (["--to", "12:00:02"], [1]),
        (["--from", "12:00:02", "--to", "2026-01-05T12:00:03"], [2]),
        (["--from", "2026-01-05", "--to", "2026-01-06"], [1, 2, 3, 4, 5]),
        (["--from", "06:30:05", "--tz", "+00:00"], [5]),
    ],
)
def test_ranges(saved: Any, options: list[str], seconds: list[int]) -> None:
    """--from is inclusive, --to exclusive; a time of day holds on every day of --tz."""
    lines, counts = feed(saved("a.ndjson", *(wire(n) for n in range(1, 6))), *options)
    assert lines == [wire(n) for n in seconds]
    assert counts["outside"] == 5 - len(seconds)
    assert counts["ticks"] == len(seconds)


def test_pace(saved: Any) -> None:
    """A paced replay gives the same lines, and takes as long as it should."""
    path = saved("a.ndjson", wire(0), wire(1), wire(1), wire(3))
    arrived = [(batch.lines, time.monotonic()) for batch in source_of(path, "--speed", 5).batches(Signal())]
    assert [lines for lines, _ in arrived] == [[wire(0)], [wire(1), wire(1)], [wire(3)]]
    after = [moment - arrived[0][1] for _, moment in arrived]
    # Never early; late only as a busy machine is, and the second not as late as the third.
    assert 0.195 <= after[1] < 0.58
    assert 0.595 <= after[2] < 3


def test_paced_lines_leave_the_program_when_they_are_due(saved: Any) -> None:
    """On the pipe too: a line that is due is not held back until the next one is."""
    path = saved("a.ndjson", wire(0), wire(1), wire(3))
    with subprocess.Popen(
        [sys.executable, "-m", "alpha_cli", "feed", "-q", str(path), "--speed", "5"], stdout=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b'{"type":"hello"')
        arrived = []
        for n in (0, 1, 3):
            assert process.stdout.readline() == wire(n) + b"\n"
            arrived.append(time.monotonic())
    assert arrived[1] - arrived[0] > 0.05  # the test may be late to read one
    assert arrived[2] - arrived[0] > 0.3


ENDS = [
    wire(1).replace(b"2026-01-05T12:00:01+05:30", moment)
    for moment in (b"9999-12-31T23:59:59Z", b"0001-01-01T00:00:00+05:30")
]


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ([], 2),
        (["--from", "09:15"], 1),
        (["--to", "15:30"], 1),
        (["--from", "2026-01-05"], 1),
        (["--to", "2026-01-06"], 1),
        (["--from", "01:00", "--tz", "America/New_York"], 1),
        (["--speed", "1"], 2),
    ],
)
@pytest.mark.parametrize("end", ENDS)
def test_times_at_the_ends_of_the_calendar(saved: Any, end: bytes, options: list[str], left: int) -> None:
    """In wire form they pass; no range holds them, and neither a merge nor a paced replay trips over them or waits."""
    lines, _ = feed(saved("a.ndjson", wire(1), end), *options)
    assert lines == [wire(1), end][:left]
    if not options:
        merged, _ = feed(saved("b.ndjson", wire(2, 6)), saved("a.ndjson", end, wire(3)))
        assert merged == [end, wire(2, 6), wire(3)]


def test_standard_input() -> None:
    """`-` reads NDJSON from a pipe; an empty pipe is no input."""
    code, lines, errors = alpha("-", stdin=wire(1) + b"\nbad\n" + wire(2))
    assert code == 0
    assert lines[1:-1] == [wire(1), wire(2)]
    assert decode(lines[0]).source == "stdin"
    assert "in=3 accepted=2 rejected=1 ticks=2" in errors
    assert alpha("-")[0] == 66


def test_sigterm_ends_a_feed_from_a_pipe() -> None:
    """A signal while it waits: an eof, and a line that was cut in two is not called bad."""
    with subprocess.Popen(
        [sys.executable, "-m", "alpha_cli", "feed", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(wire(1) + b"\n" + wire(2)[:20])
        process.stdin.flush()
        lines = [process.stdout.readline(), process.stdout.readline()]
        process.send_signal(signal.SIGTERM)
        lines += process.stdout.readlines()
        assert process.wait(5) == 0
        assert [decode(line).__class__.__name__ for line in lines] == ["Hello", "Tick", "Eof"]
        assert b"rejected=0" in process.stderr.read()


def test_a_damaged_gzip_gives_what_can_be_read(saved: Any) -> None:
    """65 after the lines before the damage, and the eof says so."""
    path = saved("a.ndjson.gz", *(wire(n, price=f"{n * 7919 % 1000 + 1}.05") for n in range(3000)))
    path.write_bytes(path.read_bytes()[:-1000])
    code, lines, errors = alpha(path)
    assert code == 65
    assert "gzip" in errors
    assert "a.ndjson.gz" in errors
    assert len(lines) > 1000
    assert decode(lines[-1]).code == 65
    path.write_bytes(b"not gzip at all")
    assert alpha(path)[0] == 65


def test_nothing_to_read_costs_nothing(saved: Any, tmp_path: Path) -> None:
    """A missing file among others: 66 before the first line goes out."""
    good = saved("a.ndjson", wire(1))
    (tmp_path / "empty").mkdir()
    for missing in (tmp_path / "no.ndjson", tmp_path / "empty"):
        code, lines, errors = alpha(good, missing)
        assert (code, lines) == (66, [])
        assert missing.name in errors
        assert errors.count("\n") == 1


def test_bad_fail_stops_at_the_first(saved: Any) -> None:
    """What came before it is fed, then 65."""
    code, lines, errors = alpha(saved("a.ndjson", wire(1), b"nonsense", wire(2)), "--bad", "fail")
    assert code == 65
    assert lines[1] == wire(1)
    assert decode(lines[-1]).code == 65
    assert "line 2" in errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["--columns", "a,ltp"], ["--types", "tick"], ["--start-time", "2026-01-05"], ["a.ndjson", "--seed", "3"],
        ["a.ndjson", "--mode", "full"], ["a.ndjson", "synthetic"], ["-", "a.ndjson"], ["--speed", "0"],
        ["a.ndjson", "--types", "ticks"], ["a.ndjson", "--types", "hello"], ["a.ndjson", "--columns", "time,ltp"],
        ["a.csv", "--columns", "time,volume"], ["--from", "noon"], ["--from", "10:00", "--to", "09:00"],
        ["--instruments", "0"], ["--instruments", "5,5"], ["--instruments", "x"], ["--date", "today"],
        ["--tz", "Mars"], ["--speed", "fast"], ["--ticks", "0"],
        ["a.txt"], ["a.csv", "--start-time", "09:15"], ["a.csv", "--instrument-token", "-1"],
    ],
)  # fmt: skip
def test_a_wrong_command_line(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """2, and one line that names the option."""
    from alpha_cli.cli.app import execute

    monkeypatch.chdir(tmp_path)
    for name in ("a.ndjson", "a.csv", "a.txt"):
        Path(name).write_bytes(wire(1) + b"\n")
    assert execute(["feed", *arguments]) == 2


def test_a_replay_gives_the_same_bytes_wherever_it_lies(saved: Any) -> None:
    """hello names the file and not its folder."""
    saved("x/a.ndjson", wire(1))
    saved("y/a.ndjson", wire(1))
    folder = saved("z", b"").parent
    assert alpha(folder / "x" / "a.ndjson")[1] == alpha(folder / "y" / "a.ndjson")[1]


def test_hostile_json() -> None:
    """Every file of the JSON test suite is a bad line or nothing, and never a traceback."""
    folder = shared("hostile-json") / "test_parsing"
    from alpha_cli.stages.feed.engine import Normaliser
    from alpha_cli.stages.feed.ndjson import NdjsonReader

    bad = BadLines("feed", "skip")
    for path in sorted(folder.iterdir()):
        tally = {"in": 0, "rejected": 0, "ticks": 0}
        reader = NdjsonReader(Normaliser(), bad, tally, "", frozenset({"tick"}))
        rest = [path.read_bytes()]
        assert list(reader.batches(lambda rest=rest: rest.pop() if rest else b"")) == []
        assert tally["in"] == tally["rejected"]


def test_strange_numbers_are_bad_lines(saved: Any) -> None:
    """Integers of thousands of digits are refused or dropped like any other nonsense."""
    digits = "9" * 5000
    lines, counts = feed(
        saved(
            "a.ndjson", wire(1, price=digits), wire(2, more=f',"oi":{digits}'), wire(3, more=f',"x":{digits}'), wire(4)
        )
    )
    assert lines[-1] == wire(4)
    assert counts["in"] == 4


def test_recorded_index_values() -> None:
    """A real day of two columns is taken as it is."""
    path = shared("nifty50-1s-2022") / "2022-08-10.csv.gz"
    lines, counts = feed(path, "--columns", "timestamp,last_price", "--instrument-token", 256265, "--from", "09:15")
    assert counts["rejected"] == 0
    first = decode(lines[0])
    assert isinstance(first, Tick)
    assert first.timestamp.isoformat() == "2022-08-10T09:15:00+05:30"


def test_recorded_trades() -> None:
    """Real trades: `volume` and `qty` beside time and price are the quantity of one trade."""
    folder = shared("nifty-options-ticks-2024-06")
    lines, counts = feed(*sorted(folder.glob("*.csv")), "--instrument-token", 64363)
    assert counts["rejected"] == 0
    assert decode(lines[0]).timestamp.isoformat(timespec="milliseconds") == "2024-06-14T11:43:45.389+05:30"
    assert all(decode(line).volume_traded == 0 for line in lines[-12:])
    assert decode(lines[-1]).last_traded_quantity


def test_damage_after_a_merge_began(saved: Any) -> None:
    """What was merged before the damage is given, then it is told."""
    good = saved("a.ndjson", wire(1), wire(3))
    torn = saved("b.ndjson.gz", wire(2, 9))
    torn.write_bytes(torn.read_bytes()[:-4])
    given: list[bytes] = []
    with pytest.raises(BadData):  # noqa: PT012
        for batch in source_of(good, torn).batches(Signal()):
            given += batch.lines
    assert given[:2] == [wire(1), wire(2, 9)]


def test_a_named_pipe(tmp_path: Path) -> None:
    """`<(command)` and a FIFO are read as NDJSON."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(
        [sys.executable, "-m", "alpha_cli", "feed", str(fifo)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        fifo.write_bytes(wire(1) + b"\n")
        assert process.stdout is not None
        assert process.stdout.read().splitlines()[1:-1] == [wire(1)]


def test_a_named_pipe_that_nobody_writes_to(tmp_path: Path) -> None:
    """A signal ends the wait for a writer at once, long before --drain; a writer of nothing ends it too."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for leave in ("signal", "writer"):
        with subprocess.Popen(
            [sys.executable, "-m", "alpha_cli", "feed", str(fifo), "--drain", "600"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            try:
                assert process.stdout is not None
                assert process.stdout.readline().startswith(b'{"type":"hello"')
                assert process.poll() is None
                if leave == "signal":
                    process.send_signal(signal.SIGTERM)
                else:
                    fifo.write_bytes(b"")
                assert process.wait(DEADLINE) == (0 if leave == "signal" else 66)
                ok = b"true" if leave == "signal" else b"false"
                assert process.stdout.read().startswith(b'{"type":"eof","ok":%s' % ok)
            finally:
                process.kill()


def test_a_terminal_for_standard_input() -> None:
    """Called by mistake: help on stderr, and 2."""
    master, slave = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "alpha_cli", "feed", "-"], stdin=slave, capture_output=True, timeout=DEADLINE,
            check=False,
        )  # fmt: skip
    finally:
        os.close(slave)
        os.close(master)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Usage: " in done.stderr


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    """It is shown as well as it can be: in hello, in errors, in dead letters."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b.ndjson"))
    try:
        path.write_bytes(wire(1) + b"\nbad\n")
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    (tmp_path / "b.ndjson").write_bytes(wire(2) + b"\n")
    code, lines, errors = alpha(path)
    assert (code, lines[1:-1]) == (0, [wire(1)])
    assert decode(lines[0]).source == "\ufffd\\x1b.ndjson"
    code, lines, _ = alpha(path, tmp_path / "b.ndjson", "--bad", tmp_path / "dead")
    assert (code, lines[1:-1]) == (0, [wire(1), wire(2)])
    assert json.loads((tmp_path / "dead").read_text())["error"].startswith("\ufffd\\x1b.ndjson: ")
    path.unlink()
    code, lines, errors = alpha(path)
    assert (code, lines, errors.count("\n")) == (66, [], 1)


def test_more_interleaved_files_than_can_be_open_at_once(saved: Any) -> None:
    """A hundred, compressed or not, with 64 descriptors."""
    count, each = 100, 120
    line = b'{"type":"tick","instrument_token":%d,"timestamp":"2026-01-05T12:00:%02d.%03d+05:30","last_price":100.5}'
    lines = [line % (n % count + 1, n // 1000, n % 1000) for n in range(count * each)]
    paths = [saved(f"{n:03d}.ndjson{'.gz' if n % 3 == 0 else ''}", *lines[n::count]) for n in range(count)]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", sys.executable, "-m", "alpha_cli", "feed", "-q", *paths],
        capture_output=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines()[1:-1] == lines


HELLO = b'{"type":"hello","wire":1,"source":"x","version":"0"}'
EOF = b'{"type":"eof","ok":true,"code":0}'


@pytest.mark.parametrize(
    ("recorded", "cut_off"),
    [
        ([HELLO, wire(1), EOF], 0),
        ([wire(1)], 0),
        ([wire(1), EOF], 0),
        ([HELLO, wire(1)], 1),
        ([HELLO, wire(1), HELLO, wire(2), EOF], 1),
        ([HELLO, EOF, HELLO, wire(1), HELLO], 2),
    ],
)
def test_a_session_without_its_eof_is_told_of(saved: Any, recorded: list[bytes], cut_off: int) -> None:
    """The feed that was recorded died; what there is of it is given, and it is no failure."""
    path = saved("a.ndjson", *recorded)
    code, lines, errors = alpha(path)
    assert code == 0
    assert lines[1:-1] == [line for line in recorded if line not in (HELLO, EOF)]
    assert decode(lines[-1]).ok
    assert errors.count("has no eof, so its end may be missing") == cut_off
    assert (f"cut_off={cut_off}" in errors) == bool(cut_off)
    assert errors.count("\n") == 1 + cut_off
    if cut_off == 1:
        assert "a.ndjson: a session has no eof" in alpha(path, saved("b.ndjson", wire(9)))[2]
        assert "cut_off=1" in alpha("-", stdin=b"\n".join(recorded))[2]


@pytest.mark.parametrize("where", ["stderr", "stdout", "neither"])
def test_the_progress_bar_is_for_a_terminal(saved: Any, where: str) -> None:
    """On stderr and only there; the data is the same bytes in any case."""
    path = saved("a.ndjson", *(wire(n) for n in range(3000)))
    master, slave = pty.openpty()
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-m", "alpha_cli", "feed", "-q", str(path)],
        stdout=slave if where == "stdout" else pipe, stderr=slave if where == "stderr" else pipe,
        stdin=subprocess.DEVNULL, env=environment({"TERM": "xterm"}),
    ) as process:  # fmt: skip
        os.close(slave)
        streams = {master, *(one.fileno() for one in (process.stdout, process.stderr) if one is not None)}
        said = dict.fromkeys(streams, b"")
        while streams:
            ready = select.select(list(streams), [], [], DEADLINE)[0]
            assert ready
            for fd in ready:
                try:
                    chunk = os.read(fd, 1 << 16)
                except OSError:  # Linux's way of saying that nobody holds the other end of a terminal
                    chunk = b""
                said[fd] += chunk
                if not chunk:
                    streams.discard(fd)
        assert process.wait(DEADLINE) == 0
        data = said[master if process.stdout is None else process.stdout.fileno()].replace(b"\r\n", b"\n")
        errors = said[master if process.stderr is None else process.stderr.fileno()]
    os.close(master)
    assert data.splitlines()[1:-1] == [wire(n) for n in range(3000)]
    assert b"\x1b" not in data
    if where == "stderr":
        assert b"alpha feed  [" in errors
        assert b"100%" in errors
    else:
        assert errors == b""
