"""The cost of risk with every control on; a part of scripts/bench.

`bench.all_controls` compares a fused pipeline with a signal at every hundredth tick to the decoding loop; `signals`
measures the time from a signal to its order, in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

#: Every control that a stream can decide; none of them refuses here.
EVERYTHING = """
brokers:
  paper:
    max_order_quantity: 1000000
    max_order_value: 100000000
    max_slices: 10
    max_position: 1000000
    max_open_order_value: 1000000000000
    max_turnover: 1000000000000
    max_gross_exposure: 1000000000000
    max_net_exposure: 1000000000000
    max_daily_loss: 1000000000000
    max_drawdown: 1000000000000
    price_tolerance: {equity: 0.5, index_future: 0.5, stock_future: 0.5, option: 0.5}
    market_protection: 0.01
    session_hours: true
    entry_window: {after_open: 0, before_close: 0}
    expiry_day_entries: true
    max_tick_age: 3600
    signal_ttl: 3600
    duplicate_window: 0.001
    confirm_within: 3600
    self_match_prevention: true
    products: [MIS, CNC, NRML]
    order_types: [MARKET, LIMIT]
    allowed_instruments: [256265, 260105]
    restricted_instruments: [1]
    participation: {day: 1}
    repeated_execution: {orders: 100000, seconds: 60, round_trips: 1000000}
    max_consecutive_rejects: 5
    message_rate: {second: 100000, minute: 1000000, day: 100000000}
    orders_to_trades: {ratio: 1000, after: 1000000}
    max_modifications: 20
    max_funds_share: 1
    assume_market_fills: true
instruments:
  256265: {average_daily_volume: 1000000000}
  260105: {average_daily_volume: 1000000000}
"""

#: A buy and a sell in turn, at every hundredth tick of an instrument.
STRATEGY = """
from alpha_cli import SignalResult

class EveryHundredth:
    def __init__(self):
        self.seen = 0

    def process_tick(self, tick, history):
        self.seen += 1
        if self.seen % 100:
            return None
        return SignalResult("SELL" if self.seen % 200 else "BUY", quantity=1, price=tick.last_price)
"""

SIGNALS = """
import gc, json, sys, time
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from alpha_cli.core.events import Order, Signal, Tick
from alpha_cli.stream.last_ticks import LastTicks
from alpha_cli.stages.risk.config import load_limits
from alpha_cli.stages.risk.engine import RiskEngine, RiskInputs

market = LastTicks()
limits = load_limits(Path(sys.argv[1]))
engine = RiskEngine(RiskInputs(limits=limits, last_ticks=market, opening_cash={"paper": Decimal(10**11)}))
begin = datetime.fromisoformat("2026-01-05T09:20:00+05:30")
tokens, count, taken = (256265, 260105), int(sys.argv[2]), []


def step(n):
    # just before they are looked at, as a pipeline decodes them
    token, at = tokens[n % 2], begin + timedelta(seconds=n)
    tick = Tick(instrument_token=token, timestamp=at, last_price=25000 + n % 40 / 20)
    side = "BUY" if n // 2 % 2 else "SELL"
    return tick, Signal(
        signal_id=f"s{n}", strategy_id="bench", instrument_token=token, broker="paper", signal_type=side,
        timestamp=at, quantity=1, price=Decimal(25000),
    )


gc.collect()
gc.freeze()
orders = 0
for n in range(count):
    tick, signal = step(n)
    market.put(tick)
    start = time.perf_counter()
    made = engine.on_signal(signal)
    engine.commit()
    taken.append(time.perf_counter() - start)
    orders += isinstance(made[-1], Order)
if orders != count:
    sys.exit(f"bench: risk refused {count - orders} of {count} signals: {made}")
taken.sort()
print(json.dumps([taken[count // 2] * 1e6, taken[count * 99 // 100] * 1e6]))
"""


def write(folder: Path) -> tuple[Path, Path]:
    """Write the limits and the strategy's configuration to `folder`, and return their paths."""
    limits, config = folder / "everything.yaml", folder / "every_hundredth.yaml"
    limits.write_text(EVERYTHING)
    (folder / "every_hundredth.py").write_text(STRATEGY)
    config.write_text(
        "id: every-hundredth\nstrategy_type: ./every_hundredth.py:EveryHundredth\ninstruments: [256265, 260105]\n"
    )
    return limits, config


def signals(report: Callable[..., None], rounds: int, folder: Path, count: int = 20_000) -> None:
    """Measure the microseconds from a signal to its order, with every control on."""
    limits, _ = write(folder)
    middle, late = [], []
    for _ in range(rounds):
        words = [sys.executable, "-c", SIGNALS, str(limits), str(count)]
        done = subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout
        p50, p99 = json.loads(done.splitlines()[-1])
        middle.append(p50)
        late.append(p99)
    print("risk: from a signal to its order, every control on")
    report("p50 of each run", middle, bound=20, unit="µs")
    report("p99 of each run", late, unit="µs")
