"""What did nothing is no success: inputs that are empty or not understood, and stages in the wrong places."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from support.events import order, signal, stream, tick
from support.processes import Pipeline, alpha, environment, run_alpha
from support.strategy_runs import events_of

from alpha_cli.core.events import Denial, Eof, Order, Tick

TICKS = stream([tick(second) for second in range(3)])


def ended(done: Any) -> tuple[int, int]:
    """The exit code, and that of the eof."""
    return done.returncode, events_of(done.stdout, Eof)[-1].code


# --- what feed reads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["feed", "-q"], ["pipe", "-q", "feed | bars"]])
def test_a_pipe_is_read(words: list[str]) -> None:
    """`zcat day.ndjson.gz | alpha feed` replays that day; alone and as the source of alpha pipe."""
    done = run_alpha(words, TICKS)
    assert (done.returncode, len(events_of(done.stdout, Tick)), done.stderr) == (0, 3, b"")


def test_a_file_is_read(tmp_path: Path) -> None:
    """`alpha feed < day.ndjson` too."""
    path = tmp_path / "day.ndjson"
    path.write_bytes(TICKS)
    with path.open("rb") as file:
        done = subprocess.run(alpha("feed", "-q"), stdin=file, capture_output=True, env=environment(), check=False)
    assert (done.returncode, len(events_of(done.stdout, Tick))) == (0, 3)


@pytest.mark.parametrize("words", [["synthetic", "--ticks", "5"], ["--ticks", "5"], ["--seed", "3", "--ticks", "5"],
                                   ["--date", "2026-01-06", "--ticks", "5"]])  # fmt: skip
def test_the_synthetic_market_is_asked_for(words: list[str]) -> None:
    """By its name or an option of its own, whatever is joined to standard input."""
    done = run_alpha(["feed", "-q", *words], TICKS)
    assert (done.returncode, len(events_of(done.stdout, Tick))) == (0, 5)


def test_no_input_means_the_synthetic_market() -> None:
    """/dev/null, as under cron, and a closed standard input."""
    for closed in ("</dev/null", "<&-"):
        command = f"{' '.join(alpha('feed', '-q', '--instruments', '1'))} {closed} | head -1"
        done = subprocess.run(["bash", "-c", command], capture_output=True, env=environment(), check=False)
        assert b'"source":"synthetic ' in done.stdout, done.stderr


def test_a_silent_input_is_told_once() -> None:
    """After a second, with the name of what was perhaps meant; what comes then is read."""
    with Pipeline(alpha("feed")) as pipeline:
        time.sleep(1.3)
        assert pipeline.stderr(0) == (
            "alpha feed: waits for standard input; for a synthetic market write: alpha feed synthetic\n"
        )
        pipeline.write(TICKS)
        assert pipeline.finish() == [0]
        assert pipeline.stderr(0).count("waits for") == 1


@pytest.mark.parametrize(
    ("words", "data", "code", "text"),
    [
        (["feed"], b"", 66, "standard input: empty, there is nothing to read; for a synthetic market write: "),
        (["feed", "-"], b"\n\n", 66, "standard input: empty, there is nothing to read"),
        (["feed", "-"], stream([]), 66, "standard input: a recording without a single event"),
        (["feed", "-", "--types", "fill"], TICKS, 66, "standard input: none of its 3 events is of --types fill"),
        (["feed", "-", "--from", "2024-06-04"], TICKS, 66,
         "nothing lies within --from and --to: the 3 events are from 2024-06-03 09:15:00+05:30 to 2024-06-03 09:15:02"),
        (["feed", "--ticks", "3", "--from", "2027-01-01"], b"", 66, "nothing lies within --from and --to: the 3"),
        (["feed", "-"], b"<html>\n403\n", 65, "standard input: not one of its 2 lines was understood"),
        (["bars", "--bad", "skip"], b"<html>\n403\n", 65, "not one of the 2 lines of the input was understood"),
        (["risk", "--bad", "skip"], b"x\n", 65, "not one of the 1 lines of the input was understood"),
        (["run-strategy", "momentum", "--bad", "skip"], b"x\n", 65, "not one of the 1 lines of the input was"),
        (["paper", "--forward", "--bad", "skip"], b"x\n", 65, "not one of the 1 lines of the input was understood"),
    ],
)  # fmt: skip
def test_nothing_read_or_understood(words: list[str], data: bytes, code: int, text: str) -> None:
    """One line, the exit code, and an eof that tells the stages after it."""
    done = run_alpha(words, data)
    assert ended(done) == (code, code)
    assert done.stderr.decode().count(text) == 1
    assert run_alpha(["risk"], done.stdout).returncode == code


def test_one_line_that_is_understood_is_enough() -> None:
    """Bad lines beside good ones are counted, as before."""
    assert run_alpha(["risk", "--bad", "skip"], b"x\n" + TICKS).returncode == 0


def test_a_weekend_is_told() -> None:
    """The synthetic market of a Sunday makes ticks that no strategy uses."""
    done = run_alpha(["feed", "--date", "2026-01-04", "--ticks", "3"])
    assert b"alpha feed: 2026-01-04 is a Sunday: its ticks are outside trading hours" in done.stderr


# --- stages in the wrong places ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pipeline", "text"),
    [
        ("feed | risk | run-strategy momentum", "run-strategy stands after risk; the order is: feed | run-strategy |"),
        ("feed | paper | run-strategy momentum | risk", "run-strategy stands after paper"),
        ("feed | paper --forward | risk", "risk stands after paper"),
        ("feed | run-strategy momentum | paper", "risk is left out: paper takes the orders that risk makes"),
        ("feed | risk | paper | paper", "paper stands twice"),
        ("feed | risk | risk | paper", "risk stands twice"),
    ],
)
def test_pipe_refuses_a_wrong_order(pipeline: str, text: str) -> None:
    """By the names of the stages, before anything is read or made."""
    done = run_alpha(["pipe", pipeline])
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"alpha pipe: {text}" in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_signals_that_nobody_decided() -> None:
    """Paper without risk before it: 65, and the line names what is missing."""
    done = run_alpha(["paper", "--forward"], stream([tick(0), signal(1), signal(2, 1)]))
    assert ended(done) == (65, 65)
    assert b"alpha paper: 2 signals came that risk has not decided" in done.stderr
    assert b" undecided=2 " in done.stderr


def test_decided_signals_are_no_fault() -> None:
    """An order or a denial is a decision; so is each for a recording of both."""
    denial = Denial("s2", "test", "paper", "HALTED", "no")
    done = run_alpha(["paper"], stream([tick(0), signal(1), order(1), signal(2), denial]))
    assert (done.returncode, b"undecided" in done.stderr) == (0, False)


def test_orders_that_come_to_risk() -> None:
    """A second risk, or risk after what makes orders: they are withheld, and it is said."""
    done = run_alpha(["risk"], stream([tick(0), order(1), order(2, 1)]))
    assert ended(done) == (65, 65)
    assert b"alpha risk: 2 orders came that this risk has not made; they were withheld" in done.stderr


def test_a_whole_pipeline_in_the_right_order_is_well() -> None:
    """In the shell, with signals, orders and fills."""
    stages = (["run-strategy", "momentum"], ["risk"], ["paper"])
    with Pipeline(alpha("feed", "--ticks", "20000"), *(alpha(*words) for words in stages)) as pipeline:
        assert pipeline.finish() == [0, 0, 0, 0]
        assert b'"type":"fill"' in pipeline.output


# --- why signals made no orders ------------------------------------------------------------------------------


def test_the_closing_line_of_risk_has_the_codes_of_denials() -> None:
    """How many by which control, the most frequent first; without denials, nothing of the kind."""
    index = signal(4, 3, instrument_token=260105)  # no tick of it has come
    large = [signal(number, number, quantity=10**7) for number in (1, 2)]
    done = run_alpha(["risk"], stream([tick(0), *large, tick(2), signal(3, 2), index]))
    assert b" denials=3 " in done.stderr
    assert b" denied.QUANTITY_ABOVE_LIMIT=2 denied.PRICE_NO_REFERENCE=1 " in done.stderr
    assert b"denied." not in run_alpha(["risk"], stream([tick(0), signal(1)])).stderr


@pytest.mark.parametrize(("token", "lot", "price"), [(1, 75, 26_500), (2, 35, 60_500), (3, 20, 86_000)])
def test_the_packaged_limits_let_a_lot_of_an_index_future_pass(token: int, lot: int, price: float) -> None:
    """NIFTY, BANKNIFTY and SENSEX: their lots of 2025 at prices above those of that year."""
    one = signal(1, quantity=lot, instrument_token=token, product="NRML")
    done = run_alpha(["risk"], stream([tick(0, price, token), one]))
    assert [event.quantity for event in events_of(done.stdout, Order)] == [lot], done.stderr


# --- what was named and never came ---------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["run-strategy", "momentum"], ["risk"]])
def test_a_file_of_fills_that_never_came(words: list[str], tmp_path: Path) -> None:
    """It may come later than the stage starts; at the end of a run without it, positions were never known."""
    path = tmp_path / "fills.ndjson"
    done = run_alpha([*words, "--fills", str(path)], TICKS)
    assert done.returncode == 66
    assert f"--fills {path}: this file never came; name the one that paper writes" in done.stderr.decode()
    path.touch()
    assert run_alpha([*words, "--fills", str(path)], TICKS).returncode == 0


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_another_separator_is_named(separator: str, tmp_path: Path) -> None:
    """A file that a spreadsheet saved in Europe has no commas between its columns."""
    path = tmp_path / "day.csv"
    path.write_text(f"timestamp{separator}last_price\n2022-08-12 09:15:01{separator}17659\n")
    done = run_alpha(["feed", str(path), "--instrument-token", "1"])
    assert done.returncode == 78
    assert f"the columns are separated by {separator!r}, not by commas" in done.stderr.decode()


def test_words_of_the_shell_within_a_pipeline() -> None:
    """`alpha pipe 'feed | bars > x'` would give the stage arguments that it does not know."""
    done = run_alpha(["pipe", "feed --ticks 10 | bars > x.out"])
    assert done.returncode == 2
    assert "'>' is for the shell; write it after the quotes" in done.stderr.decode()
