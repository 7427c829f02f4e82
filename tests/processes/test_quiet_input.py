"""Stages speak when something arrives beside a quiet standard input: fills, what people ask for, SIGHUP."""

from __future__ import annotations

import os
import signal as signals
import statistics
import time
from pathlib import Path

import pytest
from support.events import NIFTY, START, signal, stream, tick
from support.processes import Pipeline, alpha, run_alpha, skip_in_a_terminal

from alpha_cli.core.codec import encode
from alpha_cli.core.events import Fill

WITHIN = 0.005  # seconds from an event on a descriptor to the line that comes of it

DIES = """
from alpha_cli import Fill, SignalResult, Tick

class Buys:
    def process_tick(self, tick, history):
        return None

    def on_fill(self, fill):
        return SignalResult("SELL", quantity=fill.quantity)
"""


def fill(number: int, quantity: int = 1) -> bytes:
    """The line of a fill that strategy `test` hears of."""
    event = Fill(
        fill_id=f"f{number}", order_id=f"o{number}", signal_id=f"s{number}", strategy_id="test", broker="paper",
        instrument_token=NIFTY, side="BUY", quantity=quantity, price=100, charges={"total": 0}, timestamp=START,
    )  # fmt: skip
    return encode(event) + b"\n"


@pytest.mark.parametrize("kind", ["file", "fifo"])
def test_a_fill_is_answered_while_no_tick_comes(tmp_path: Path, kind: str) -> None:
    """A strategy sells what it is told that it bought: the fills come by --fills, nothing by standard input."""
    (tmp_path / "buys.py").write_text(DIES)
    config = tmp_path / "test.yaml"
    config.write_text(f"id: test\nstrategy_type: ./buys.py:Buys\ninstruments: [{NIFTY}]\n")
    path = tmp_path / "fills"
    if kind == "fifo":
        os.mkfifo(path)
    command = alpha("run-strategy", "--config", str(config), "--fills", str(path))
    with Pipeline(command) as pipeline:
        pipeline.write(stream([tick(), tick(1)], eof=None))
        pipeline.wait_for(b'"type":"tick"')
        waits = []
        with path.open("ab", buffering=0) as fills:
            for number in range(1, 21):
                started = time.perf_counter()
                fills.write(fill(number))
                pipeline.wait_for(lambda output, count=number: output.count(b'"type":"signal"') == count)
                waits.append(time.perf_counter() - started)
        pipeline.write(stream([], hello=False))
        assert pipeline.finish() == [0]
    # The best, and not the median: a machine that runs other tests beside this one delays most of them.
    assert min(waits) < WITHIN, statistics.median(waits)


def test_resume_takes_effect_while_no_tick_comes(tmp_path: Path) -> None:
    """`alpha resume` writes to the state folder; risk says so in the stream at once."""
    state = tmp_path / "state"
    with Pipeline(alpha("risk", "--state", str(state))) as pipeline:
        pipeline.write(stream([tick(), signal(1)], eof=None))
        pipeline.wait_for(b'"type":"order"')
        assert run_alpha(["halt", "--state", str(state)]).returncode == 0
        assert run_alpha(["resume", "--state", str(state), "--reason", "checked"]).returncode == 0
        pipeline.wait_for(b'"action":"resume"')
        pipeline.write(stream([tick(1)], hello=False))
        assert pipeline.finish() == [0]


def test_sighup_reloads_while_no_tick_comes() -> None:
    """The request enters the stream at once."""
    skip_in_a_terminal()
    with Pipeline(alpha("run-strategy", "momentum")) as pipeline:
        pipeline.write(stream([tick()], eof=None))
        pipeline.wait_for(b'"type":"tick"')
        os.kill(pipeline.processes[0].pid, signals.SIGHUP)
        pipeline.wait_for(b'"action":"reload"')
        pipeline.write(stream([tick(1)], hello=False))
        assert pipeline.finish() == [0]


def test_side_inputs_are_heard_while_a_fused_feed_waits(tmp_path: Path) -> None:
    """The source of a pipeline waits for its own input; the stages after it are heard all the same."""
    state = tmp_path / "state"
    with Pipeline(alpha("pipe", f"feed - | risk --state {state}")) as pipeline:
        pipeline.write(stream([tick(), signal(1)], eof=None))
        pipeline.wait_for(b'"type":"tick"')
        assert run_alpha(["halt", "--state", str(state)]).returncode == 0
        assert run_alpha(["resume", "--state", str(state), "--reason", "checked"]).returncode == 0
        pipeline.wait_for(b'"action":"resume"')
        pipeline.write(stream([tick(1)], hello=False))
        assert pipeline.finish() == [0]


def test_a_quiet_program_does_not_spin(tmp_path: Path) -> None:
    """A FIFO whose writer has left, and a database written to in the watched folder, cost no time."""
    path = tmp_path / "fills"
    os.mkfifo(path)
    command = alpha("risk", "--state", str(tmp_path), "--fills", str(path))
    with Pipeline(command) as pipeline:
        pipeline.write(stream([tick(), signal(1)], eof=None))
        pipeline.wait_for(b'"type":"order"')
        path.open("wb").close()
        used = cpu_seconds(pipeline)
        time.sleep(0.5)
        assert cpu_seconds(pipeline) - used < 0.1
        pipeline.write(stream([tick(1)], hello=False))
        assert pipeline.finish() == [0]


def cpu_seconds(pipeline: Pipeline) -> float:
    """The processor time that the process has used."""
    found = Path(f"/proc/{pipeline.processes[0].pid}/stat")
    if not found.exists():
        pytest.skip("no /proc to read a process's time from")
    fields = found.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
