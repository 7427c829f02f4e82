"""The cost of many strategies in one process; a part of scripts/bench.

Each figure comes from a process of its own, over lines in memory: from the bytes of a tick to the bytes of the
output. The two sides of a ratio run in turn.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable

STREAM = """
import gc, json, sys, time
from alpha_cli.stream.bad_lines import BadLines
from alpha_cli.stream.chain import Chain
from alpha_cli.stream.decoder import LineDecoder
from alpha_cli.stream.stage import Reads, Stage
from alpha_cli.stages.run_strategy.config import StrategyConfig
from alpha_cli.stages.run_strategy.host import Host, HostOptions
from alpha_cli.stages.run_strategy.selection import Wanted

strategies, instruments, count = map(int, sys.argv[1:4])
tokens = [1_000_000 + 256 * number for number in range(instruments)]
line = (
    '{"type":"tick","instrument_token":%d,"timestamp":"2026-01-05T%02d:%02d:%02d.%06d+05:30","last_price":%.2f,'
    '"volume_traded":123456,"average_traded_price":25001.35,"last_traded_quantity":75,"total_buy_quantity":300000,'
    '"total_sell_quantity":310000,"ohlc":{"open":25000.0,"high":25100.0,"low":24900.0,"close":25050.0},'
    '"mode":"quote","change":-0.12}\\n'
)
lines = []
for number in range(count):
    seconds, micro = divmod(number * 20_000_000 // count * 1000, 1_000_000)
    at = 33_300 + seconds
    price = 25000 + (number // instruments * 7 % 50) / 20
    lines.append(line % (tokens[number % instruments], at // 3600, at // 60 % 60, at % 60, micro, price))
data = [("".join(lines[first : first + 180])).encode() for first in range(0, count, 180)]
del lines


def wanted(place):
    follows = (tokens[place],) if instruments > 1 else (tokens[0],)
    parameters = {"lookback": 20, "threshold": 0.01}
    config = StrategyConfig(id=f"s{place}", strategy_type="momentum", parameters=parameters, instruments=follows)
    return Wanted(config, ("paper",), place)


def passed():
    host = Host(HostOptions(), [wanted(place) for place in range(strategies)], list, print)
    stage = Stage("run-strategy", Reads(host.steps, every_tick=True, tick_fields=lambda: host.tick_fields))
    decoder = LineDecoder([stage], BadLines("run-strategy", "fail"))
    chain = Chain([stage], decoder)
    gc.collect()
    gc.freeze()
    begin = time.perf_counter()
    for block in data:
        chain.process(decoder.batch(block))
    return (time.perf_counter() - begin) / count * 1e6


print(json.dumps(min(passed() for _ in range(3))))
"""

CALLS = """
import gc, json, sys, time
from alpha_cli import Tick
from alpha_cli.core.times import IST
from alpha_cli.stages.run_strategy.config import StrategyConfig
from alpha_cli.stages.run_strategy.host import Host, HostOptions
from alpha_cli.stages.run_strategy.selection import Wanted
from datetime import datetime, timedelta

strategies, count = map(int, sys.argv[1:3])


class Bare:
    tick_fields = ()

    def process_tick(self, tick, history):
        return None


def wanted(place):
    config = StrategyConfig(id=f"s{place}", strategy_type="x", instruments=(1,))
    return Wanted(config, ("paper",), place)


from alpha_cli.stages.run_strategy import executor, host as hosting


class Bared(executor.Strategy):
    def __init__(self, *given, **named):
        super().__init__(*given, **named, create=lambda config: Bare())


hosting.Strategy = Bared
start = datetime(2026, 1, 5, 9, 15, tzinfo=IST)
ticks = [Tick(instrument_token=1, timestamp=start + timedelta(milliseconds=n), last_price=100.0) for n in range(count)]
host = Host(HostOptions(), [wanted(place) for place in range(strategies)], list, print)
gc.freeze()
step = host.runner.on_tick
processes = [call[1] for call in host.runner.queues[1].calls]
best = bare = 9e9
for _ in range(5):
    begin = time.perf_counter()
    for tick in ticks:
        step(tick)
    best = min(best, time.perf_counter() - begin)
    ticks = [Tick(1, tick.timestamp + timedelta(minutes=1), 100.0) for tick in ticks]
    begin = time.perf_counter()
    for tick in ticks:
        for process in processes:
            process(tick, ())
    bare = min(bare, time.perf_counter() - begin)
print(json.dumps((best - bare) / count / strategies * 1e6))
"""


def hosting(report: Callable[..., None], rounds: int, ticks: int = 200_000) -> None:
    """Compare 1,000 strategies on as many instruments to one on one, and measure the overhead of a call."""
    print("hosting: many strategies in one process")
    ratios: list[float] = []
    spread: list[float] = []
    for _ in range(rounds):
        alone = _figure(STREAM, 1, 1, ticks)
        ratios.append(_figure(STREAM, 1000, 1000, ticks) / alone)
        spread.append(_figure(STREAM, 1, 1000, ticks) / alone)
    report("a tick, 1,000 strategies on 1,000 instruments ÷ one on one", ratios, bound=1.3)
    report("a tick, one strategy on one of 1,000 instruments ÷ the same", spread)
    overheads = _each(rounds, lambda: _figure(CALLS, 1000, 300))
    report("1,000 strategies on one instrument, overhead of a call", overheads, bound=0.5, unit="µs")


def _each(rounds: int, figure: Callable[[], float]) -> Iterable[float]:
    return [figure() for _ in range(rounds)]


def _figure(code: str, *numbers: int) -> float:
    """Return the figure that a process running `code` prints."""
    output = subprocess.run([sys.executable, "-c", code, *map(str, numbers)], stdout=subprocess.PIPE, check=True).stdout
    return float(json.loads(output.splitlines()[-1]))
