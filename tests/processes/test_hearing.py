"""That nobody listens on stderr, or that a signal comes at a bad moment, must not touch the data."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.events import NIFTY, START, signal, stream, tick
from support.processes import Pipeline, alpha, environment, run_alpha

from alpha_cli import pipe
from alpha_cli.core.codec import encode
from alpha_cli.core.errors import AlphaError
from alpha_cli.stream.inputs import Inputs, reader


def bad_among_good() -> bytes:
    return stream([tick(), b"{oops", signal(1), tick(1)])


def test_a_log_reader_that_leaves_stops_nothing() -> None:
    """stderr is a pipe whose reader is gone: every good line still comes out, and the code is 0."""
    into, out = os.pipe()
    os.close(into)
    done = subprocess.run(
        alpha("risk", "--bad", "skip"), input=bad_among_good(), stdout=subprocess.PIPE, stderr=out, env=environment(),
        check=False,
    )  # fmt: skip
    os.close(out)
    assert done.returncode == 0
    assert done.stdout.count(b'"type":"tick"') == 2
    assert b'"type":"order"' in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_log_disk_stops_nothing() -> None:
    """The closing counters cannot be written; that is no bug of the data."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            alpha("risk", "--bad", "skip"), input=bad_among_good(), stdout=subprocess.PIPE, stderr=full,
            env=environment(), check=False,
        )  # fmt: skip
    assert done.returncode == 0
    assert b'"type":"order"' in done.stdout


def test_a_closed_stderr_stops_nothing() -> None:
    """`2>&-`: Python has no sys.stderr at all then."""
    command = " ".join(alpha("feed", "--ticks", "1"))
    done = subprocess.run(["bash", "-c", f"{command} 2>&-"], capture_output=True, env=environment(), check=False)
    assert done.returncode == 0
    assert done.stdout.count(b"\n") == 3


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e18", "-1", "soon"])
def test_a_drain_that_is_no_time_is_refused(seconds: str) -> None:
    """At the start, and not when the signal has come."""
    done = run_alpha(["risk", "--drain", seconds])
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1


def test_a_naive_time_is_indian_for_risk_and_paper_too() -> None:
    """They keep ticks as lines; what they decode later gets the same reading as at once."""
    naive = encode(tick()).replace(b"+05:30", b"")
    recorded = stream([naive, signal(1)])
    fused = run_alpha(["pipe", "-q", "risk | paper"], recorded)
    with Pipeline(alpha("risk"), alpha("paper")) as shell:
        shell.write(recorded)
        assert shell.finish() == [0, 0]
        assert fused.stdout == shell.output
    assert b'"type":"fill"' in fused.stdout


def test_what_is_decoded_does_not_depend_on_how_lines_arrive() -> None:
    """A broken tick that a later one replaced is never looked at, in one read or in three."""
    lines = [
        b'{"type":"tick","instrument_token":256265,"timestamp":"yesterday","last_price":1}',
        encode(tick(1)),
        b'{"type":"tick","instrument_token":260105,"last_price":5,"timestamp":"%s"}' % START.isoformat().encode(),
        encode(signal(1)),
    ]
    at_once = run_alpha(["risk"], b"".join(line + b"\n" for line in lines))
    with Pipeline(alpha("risk")) as one_by_one:
        for line in lines:
            one_by_one.write(line + b"\n")
            one_by_one.wait_for(line)
        assert one_by_one.finish() == [at_once.returncode] == [0]
        assert one_by_one.output == at_once.stdout


def test_a_pipeline_that_fails_to_build_lets_go_of_its_locks(tmp_path: Path) -> None:
    """A notebook can mend the line and run it again."""
    with pytest.raises(AlphaError, match="bogus"):
        list(pipe(f"feed --ticks 10 | paper --state {tmp_path / 'books'} | bogus"))
    assert list(pipe(f"feed --ticks 10 | paper --state {tmp_path / 'books'}"))


def test_show_is_not_for_programs() -> None:
    """The library gives events; text is refused by name."""
    with pytest.raises(AlphaError, match="show writes text"):
        list(pipe("feed --ticks 10 | show"))


def test_a_reader_of_any_size_gives_the_same_bytes() -> None:
    """Reads of 1, 7 and 997 bytes: every way that a line can be cut."""
    wanted = stream([tick(at, token=NIFTY) for at in range(50)])
    for size in (1, 7, 997):
        into, out = os.pipe()
        os.write(out, wanted)
        os.close(out)
        read, got = reader(into, Inputs(), size), b""
        while chunk := read():
            assert len(chunk) <= size
            got += chunk
        os.close(into)
        assert got == wanted


def test_a_file_on_standard_input_is_not_ignored(tmp_path: Path) -> None:
    """`alpha feed < day.ndjson` would trade a synthetic market, and look like a backtest."""
    day = tmp_path / "day.ndjson"
    day.write_bytes(stream([tick()]))
    for words, source in ((["feed"], "stdin"), (["feed", "-"], "stdin"), (["feed", "--ticks", "1"], "synthetic")):
        with day.open("rb") as file:
            done = subprocess.run(alpha(*words), stdin=file, capture_output=True, env=environment(), check=False)
        assert done.returncode == 0, done.stderr.decode()
        assert b'"source":"%s' % source.encode() in done.stdout
