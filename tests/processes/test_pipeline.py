"""The line that alpha is for: feed | run-strategy | risk | paper, on real days and synthetic ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.events import NIFTY
from support.examples import rest_nightly
from support.processes import Pipeline, alpha, counters, environment, run_alpha, shared

from alpha_cli import pipe, replay
from alpha_cli.core.codec import decode, encode
from alpha_cli.core.events import Fill, Order, Portfolio, Signal

DAYS = [
    "2022-08-10", "2022-08-12", "2022-08-18", "2022-08-19", "2022-08-22", "2022-08-23", "2022-08-24", "2022-08-25",
    "2022-08-26", "2022-08-27",
]  # fmt: skip
REST = (["run-strategy", "momentum"], ["risk"], ["paper"])
PLACES = ({"TZ": "UTC", "PYTHONHASHSEED": "1"}, {"TZ": "Asia/Kolkata", "PYTHONHASHSEED": "2"})


def day(name: str) -> Path:
    return shared("nifty50-1s-2022") / f"{name}.csv.gz"


def feed_of(path: Path) -> list[str]:
    return ["feed", str(path), "--columns", "timestamp,last_price", "--instrument-token", str(NIFTY)]


def from_shell(feed: list[str], env: dict[str, str]) -> tuple[list[int], bytes]:
    with Pipeline(alpha(*feed), *(alpha(*words) for words in REST), env=env, stdin=subprocess.DEVNULL) as pipeline:
        codes = pipeline.wait()
        return codes, pipeline.output


def fused(feed: list[str], env: dict[str, str]) -> tuple[int, bytes, str]:
    line = " | ".join(" ".join(words) for words in (feed, *REST))
    done = run_alpha(["pipe", line], env=env)
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.mark.parametrize("name", rest_nightly(2, DAYS))
def test_a_real_day_gives_the_same_bytes_from_the_shell_and_fused_anywhere(name: str) -> None:
    """Exit 0, and equal output of four processes and of one, in two time zones with two hash seeds."""
    feed = feed_of(day(name))
    outputs = set()
    for env in PLACES:
        codes, output = from_shell(feed, env)
        assert codes == [0, 0, 0, 0]
        outputs.add(output)
        code, output, _ = fused(feed, env)
        assert code == 0
        outputs.add(output)
    assert len(outputs) == 1
    assert b'"type":"portfolio"' in outputs.pop()


def test_the_pre_open_session_leads_to_no_order() -> None:
    """2022-08-12 swings by 6 % between 09:00 and 09:08; nothing is traded on it."""
    _, output, stderr = fused(feed_of(day("2022-08-12")), {})
    fills = [event for event in map(decode, output.splitlines()) if isinstance(event, Fill)]
    assert len(fills) > 5
    assert min(fill.timestamp.strftime("%H:%M") for fill in fills) >= "09:15"
    assert "outside_session=1122" in stderr  # 480 of the pre-open, the rest after 15:30


def test_saturday_repeats_friday_and_trades_nothing() -> None:
    """2022-08-27 was no trading day: its ticks pass, none reaches a strategy, and the counters say so."""
    code, output, stderr = fused(feed_of(day("2022-08-27")), {})
    (portfolio,) = map(decode, output.splitlines())
    assert (code, portfolio.cash, portfolio.positions) == (0, 1_000_000, [])
    assert "signals=0" in stderr
    assert "outside_session=23535" in stderr


def test_saturday_with_all_hours_signals_but_risk_still_refuses() -> None:
    """--all-hours lets a strategy see Saturday; risk knows no session that day and denies each signal."""
    feed = run_alpha(feed_of(day("2022-08-27"))).stdout
    signalled = run_alpha(["run-strategy", "momentum", "--all-hours"], feed).stdout
    decided = run_alpha(["risk"], signalled)
    figures = counters(decided.stderr.decode())
    assert figures["orders"] == 0
    assert figures["denials"] > 5
    assert b'"code":"SESSION_CLOSED"' in decided.stdout


@pytest.mark.parametrize("size", rest_nightly(2, [997, 65536, 4096, 1 << 20]))
def test_the_size_of_reads_changes_nothing(size: int) -> None:
    """However the bytes of a day arrive, what comes out is the same."""
    recorded = run_alpha(["feed", "--ticks", "3000", "-q"]).stdout
    whole = run_alpha(["pipe", "-q", "run-strategy momentum | risk | paper --forward"], recorded).stdout
    with Pipeline(*(alpha(*words) for words in (*REST[:2], ["paper", "--forward"]))) as pipeline:
        for start in range(0, len(recorded), size):
            pipeline.write(recorded[start : start + size])
        assert pipeline.finish() == [0, 0, 0]
        assert pipeline.output == whole


@pytest.mark.parametrize(
    "pipeline",
    rest_nightly(
        3,
        [
            "feed --ticks 2000 | run-strategy momentum | run-strategy mean_reversion | risk | paper --forward",
            "feed --ticks 2000 | run-strategy momentum | risk | paper --forward | show",
            "feed --ticks 2000 | run-strategy momentum",
            "feed --ticks 2000 | run-strategy momentum mean_reversion | risk",
            "feed --ticks 2000 | risk | paper | show",
            "feed --ticks 50 --mode full --instruments 3",
        ],
    ),
)
def test_any_pipeline_fuses_to_the_same_bytes(pipeline: str) -> None:
    """Filters twice, sinks in the middle, several strategies: one process or many, equal bytes."""
    commands = [alpha(*stage.split()) for stage in pipeline.split("|")]
    with Pipeline(*commands, stdin=subprocess.DEVNULL) as shell:
        assert shell.wait() == [0] * len(commands)
        expected = shell.output
    done = run_alpha(["pipe", pipeline])
    assert done.returncode == 0
    assert done.stdout == expected


def test_limit_orders_rest_and_fill_alike_in_one_process_and_in_four(tmp_path: Path) -> None:
    """Resting orders make paper watch an instrument; the watch sees the same ticks either way."""
    config = tmp_path / "limit.yaml"
    config.write_text(
        "id: limit\nstrategy_type: mean_reversion\ninstruments: [256265, 260105]\n"
        "parameters: {lookback: 20, threshold: 1.5, order_type: LIMIT}\n"
    )
    rest = f"run-strategy --config {config} | risk | paper --forward"
    pipeline = f"feed --ticks 20000 --seed 5 | {rest}"
    commands = [alpha(*stage.split()) for stage in pipeline.split("|")]
    with Pipeline(*commands, stdin=subprocess.DEVNULL) as shell:
        assert shell.wait() == [0] * 4
        expected = shell.output
    assert expected.count(b'"type":"fill"') > 20
    assert run_alpha(["pipe", "-q", pipeline]).stdout == expected


def test_the_life_of_a_signal_is_one_grep() -> None:
    """A signal's id is on its order, its fill and its order_update; what the strategy said is still there."""
    events = list(pipe("feed --ticks 20000 | run-strategy momentum | risk | paper --forward"))
    signal = next(event for event in events if isinstance(event, Signal))
    life = [event for event in events if getattr(event, "signal_id", None) == signal.signal_id]
    assert [type(event).__name__ for event in life] == ["Signal", "Order", "Fill", "OrderUpdate"]
    assert {event.strategy_id for event in life} == {"momentum"}
    assert life[1].confidence == life[2].confidence == signal.confidence


def test_alpha_is_a_library_too() -> None:
    """`pipe` gives events as objects, and they are those of the command line."""
    line = "feed --ticks 5000 | run-strategy momentum | risk | paper"
    events = list(pipe(line))
    assert b"".join(encode(event) + b"\n" for event in events) == run_alpha(["pipe", "-q", line]).stdout
    assert isinstance(events[-1], Portfolio)


def test_replay_runs_events_one_has_made() -> None:
    """`replay(events, "…")` is how a notebook tries a stage on ticks of its own."""
    ticks = [event for event in pipe("feed --ticks 5000") if type(event).__name__ == "Tick"]
    events = list(replay(ticks, "run-strategy momentum | risk"))
    assert [event for event in events if type(event).__name__ == "Tick"] == ticks
    orders = [event for event in events if isinstance(event, Order)]
    assert orders
    assert len(orders) == sum(isinstance(event, Signal) for event in events)


def test_two_recordings_in_a_row_are_two_sessions() -> None:
    """`cat mon tue | …`: each eof closes with a portfolio; the second day goes on from the first."""
    monday = run_alpha(["feed", "--ticks", "5000", "--date", "2026-01-05", "-q"]).stdout
    tuesday = run_alpha(["feed", "--ticks", "5000", "--date", "2026-01-06", "-q"]).stdout
    done = run_alpha(["pipe", "-q", "run-strategy momentum | risk | paper"], monday + tuesday)
    portfolios = [e for e in map(decode, done.stdout.splitlines()) if isinstance(e, Portfolio)]
    assert done.returncode == 0
    assert [f"{portfolio.timestamp:%m-%d}" for portfolio in portfolios] == ["01-05", "01-06"]


def test_the_same_signals_twice_trade_once() -> None:
    """A recording of signals, read again, gives denials and not a second set of orders."""
    ticks = run_alpha(["feed", "--ticks", "20000", "-q"]).stdout
    signalled = run_alpha(["run-strategy", "momentum"], ticks).stdout
    once = run_alpha(["risk"], signalled).stdout
    twice = run_alpha(["risk"], signalled + signalled).stdout
    assert twice.count(b'"type":"order"') == once.count(b'"type":"order"') > 0
    assert twice.count(b'"code":"SIGNAL_DUPLICATE"') == once.count(b'"type":"order"')


@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        ("", "a stage is missing"),
        ("feed | | risk", "a stage is missing"),
        ("feed | rsik", "did you mean 'risk'"),
        ("feed | schema", "not a stage"),
        ("risk | feed", "can only come first"),
        ("feed --nope | risk", "feed: No such option"),
        ('feed | run-strategy "momentum', "quot"),
    ],
)
def test_a_pipeline_that_cannot_be_is_one_line_and_exit_2(pipeline: str, words: str) -> None:
    """The line says what is wrong and in which stage; there is no traceback."""
    done = run_alpha(["pipe", pipeline])
    assert done.returncode == 2
    assert words in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_head_closes_the_pipe_in_silence() -> None:
    """`alpha feed | head -1`: one line, statuses 141 and 0, nothing on stderr."""
    script = f"{sys.executable} -m alpha_cli feed | head -1; echo ${{PIPESTATUS[@]}} >&2"
    done = subprocess.run(["bash", "-c", script], capture_output=True, env=environment(), check=True)
    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b"141 0\n"
