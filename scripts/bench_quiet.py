"""How long an event takes that arrives by a FIFO while no tick comes; a part of scripts/bench.

From the write of a fill to the line that comes of it: `alpha run-strategy --fills FIFO` with a strategy that sells
what it is told that it bought. The input is open and silent.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

STRATEGY = """
from alpha_cli import SignalResult

class Sells:
    def process_tick(self, tick, history):
        return None

    def on_fill(self, fill):
        return SignalResult("SELL", quantity=fill.quantity)
"""
TICK = '{"type":"tick","instrument_token":256265,"timestamp":"2026-01-05T09:15:00+05:30","last_price":100.0}\n'
FILL = (
    '{"type":"fill","fill_id":"f%d","order_id":"o%d","signal_id":"s%d","strategy_id":"bench","broker":"paper",'
    '"instrument_token":256265,"side":"BUY","quantity":1,"price":100,"charges":{"total":0},'
    '"timestamp":"2026-01-05T09:15:00+05:30"}\n'
)


def quiet(report: Callable[..., None], alpha: str, count: int = 500) -> None:
    """Report the median and the 99th percentile, in milliseconds."""
    print(f"quiet input: {count} fills by a FIFO, to the signal that each leads to")
    with tempfile.TemporaryDirectory() as name:
        waits = sorted(_waits(Path(name), alpha, count))
    report("p50", [waits[count // 2] * 1000], bound=5, unit="ms")
    report("p99", [waits[count * 99 // 100] * 1000], unit="ms")


def _waits(folder: Path, alpha: str, count: int) -> list[float]:
    (folder / "sells.py").write_text(STRATEGY)
    config = folder / "bench.yaml"
    config.write_text("id: bench\nstrategy_type: ./sells.py:Sells\ninstruments: [256265]\n")
    fifo = folder / "fills"
    os.mkfifo(fifo)
    process = subprocess.Popen(
        [alpha, "run-strategy", "-q", "--config", str(config), "--fills", str(fifo)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(TICK.encode())
    output = process.stdout
    while b"\n" not in output.read(1 << 16):
        pass
    waits = []
    with fifo.open("wb", buffering=0) as fills:
        for number in range(count):
            time.sleep(0.002)  # the input is quiet, not only between two events
            started = time.perf_counter()
            fills.write((FILL % (number, number, number)).encode())
            output.read(1 << 16)
            waits.append(time.perf_counter() - started)
    process.stdin.close()
    process.wait()
    output.close()
    return waits
