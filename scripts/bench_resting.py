"""The cost of resting orders for ticks that do not trigger them; a part of scripts/bench.

Each figure comes from a process of its own, over lines in memory: from the bytes of a tick to the output of
`alpha paper`. The two sides of the ratio run in turn.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

STREAM = """
import gc, json, sys, time
from datetime import datetime
from decimal import Decimal
from alpha_cli.stream.bad_lines import BadLines
from alpha_cli.stream.decoder import LineDecoder
from alpha_cli.stream.chain import Chain
from alpha_cli.core.codec import encode
from alpha_cli.core.events import Order
from alpha_cli.stream.last_ticks import LastTicks
from alpha_cli.stages.paper.config import PaperConfig
from alpha_cli.stages.paper.engine import Engine
from alpha_cli.core.ledger import Account
from alpha_cli.stream.stage import Flow, Reads, Stage

orders, instruments, count = map(int, sys.argv[1:4])
tokens = [1_000_000 + 256 * number for number in range(instruments)]
line = (
    '{"type":"tick","instrument_token":%d,"timestamp":"2026-01-05T%02d:%02d:%02d.%06d+05:30","last_price":%.2f,'
    '"volume_traded":123456,"average_traded_price":1001.35,"last_traded_quantity":75,"total_buy_quantity":300000,'
    '"total_sell_quantity":310000,"ohlc":{"open":1000.0,"high":1010.0,"low":990.0,"close":1005.0},'
    '"mode":"quote","change":-0.12}\\n'
)


def ticks(first, last):
    lines = []
    for number in range(first, last):
        seconds, micro = divmod(number * 20_000_000 // count * 1000, 1_000_000)
        at = 33_300 + seconds
        price = 1000 + (number // instruments * 7 % 50) / 20
        lines.append(line % (tokens[number % instruments], at // 3600, at // 60 % 60, at % 60, micro, price))
    return "".join(lines).encode()


def resting():
    opening = datetime.fromisoformat("2026-01-05T09:15:30+05:30")
    for number in range(orders):
        away = Decimal(50 + number // instruments % 50)
        kind = number // instruments % 4
        side = "BUY" if kind % 2 else "SELL"
        price = 1000 - away if side == "BUY" else 1000 + away
        fields = {"order_type": "LIMIT", "price": price}
        if kind > 1:
            fields = {"order_type": "SL-M", "trigger_price": 2000 - price}
        yield Order(
            order_id=f"o{number}", signal_id=f"s{number}", strategy_id="bench", broker="paper", side=side, quantity=1,
            instrument_token=tokens[number % instruments], timestamp=opening, **fields,
        )


def passed():
    market = LastTicks()
    config = PaperConfig(cash=Decimal(10**11))
    engine = Engine(Account.opened("paper", config.starting_cash), market, config=config)
    fields = ("depth", "ohlc", "last_traded_quantity", "last_trade_time")
    stage = Stage("paper", Reads(engine.steps, tick_fields=fields, last_ticks=market), flow=Flow(forward=False))
    decoder = LineDecoder([stage], BadLines("paper", "fail"))
    market.decode = decoder.decode_tick
    chain = Chain([stage], decoder)
    chain.process(decoder.batch(ticks(0, instruments)))
    for order in resting():
        chain.process(decoder.batch(encode(order) + b"\\n"))
    if len(list(engine.desk.open_orders())) != orders:
        sys.exit("bench: some orders do not rest")
    gc.collect()
    gc.freeze()
    begin = time.perf_counter()
    for block in data:
        chain.process(decoder.batch(block))
    taken = (time.perf_counter() - begin) / count * 1e6
    if len(list(engine.desk.open_orders())) != orders:
        sys.exit("bench: some orders were filled")
    return taken


data = [ticks(first, first + 180) for first in range(instruments, count, 180)]
print(json.dumps(min(passed() for _ in range(2))))
"""


def resting(report: Callable[..., None], rounds: int, ticks: int = 150_000) -> None:
    """Compare 100,000 resting orders on 1,000 instruments to 10 on 10."""
    print("resting: orders that no tick reaches, limits and stops on both sides")
    few, ratios = [], []
    for _ in range(rounds):
        few.append(_figure(10, 10, ticks))
        ratios.append(_figure(100_000, 1000, ticks) / few[-1])
    report("a tick, 100,000 orders on 1,000 instruments ÷ 10 on 10", ratios, bound=1.5)
    report("10 on 10, for orientation", few, unit="µs")


def _figure(*numbers: int) -> float:
    """Return the microseconds a tick of one side."""
    output = subprocess.run(
        [sys.executable, "-c", STREAM, *map(str, numbers)], stdout=subprocess.PIPE, check=True
    ).stdout
    return float(json.loads(output.splitlines()[-1]))
