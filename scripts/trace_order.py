"""How often the way of one order through the paper engine changes from file to file.

    python scripts/trace_order.py            print the calls and the figures
    python scripts/trace_order.py --figures  print the figures alone

After warm-up a MARKET order, as risk makes it, is placed and filled at once, under `sys.setprofile`. Every call of a
function in alpha_cli/ is a step; consecutive steps in one file are one visit. Returns are not steps. Then

    file changes   = visits - 1
    turn backs     = visits - files: visits to a file that was left before
    within paper   = file changes if only the files of alpha_cli/stages/paper/ are counted

A reader who follows the order has to open a file for every change, and to find the place again for every turn back.
The engine before December 2026 had 73 file changes, 59 turn backs, and 37 changes within paper.
"""

from __future__ import annotations

import argparse
import sys
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import alpha_cli
from alpha_cli.core.events import Order, Side, Tick
from alpha_cli.core.ledger import Account
from alpha_cli.core.times import IST
from alpha_cli.stages.paper.config import PaperConfig
from alpha_cli.stages.paper.engine import Engine
from alpha_cli.stream.last_ticks import LastTicks

ROOT = Path(alpha_cli.__file__).parent
TOKEN = 408065
OPENING = datetime(2026, 1, 5, 9, 20, tzinfo=IST)


class Step(NamedTuple):
    """A call: how deep, and of what."""

    depth: int
    file: str
    function: str


class Figures(NamedTuple):
    """What the module says."""

    file_changes: int
    turn_backs: int
    within_paper: int


def an_order(number: int, side: Side) -> Order:
    """Return an order as risk makes it."""
    return Order(
        order_id=f"o{number}",
        signal_id=f"s{number}",
        strategy_id="momentum",
        broker="paper",
        instrument_token=TOKEN,
        side=side,
        quantity=10,
        timestamp=OPENING + timedelta(seconds=number),
        reference_price=Decimal(1500),
        market_protection=2.0,
    )


def trace() -> list[Step]:
    """Return the steps of the third order; the first two open and close a position. Raise if it is not filled."""
    last_ticks, config = LastTicks(), PaperConfig()
    engine = Engine(Account.opened("paper", config.starting_cash), last_ticks, config=config)
    sides: tuple[Side, ...] = ("BUY", "SELL", "BUY")
    steps: list[Step] = []
    for number, side in enumerate(sides):
        moment = OPENING + timedelta(seconds=number)
        last_ticks.put(Tick(instrument_token=TOKEN, timestamp=moment, last_price=1500.0))
        order = an_order(number, side)
        if number == len(sides) - 1:
            sys.setprofile(_recorder(steps))
        try:
            events = engine.on_order(order)
        finally:
            sys.setprofile(None)
        if len(events) != 2:
            raise SystemExit(f"trace: the order was not filled: {events}")
    return steps


def _recorder(steps: list[Step]):  # type: ignore[no-untyped-def]
    depth = 0
    root = f"{ROOT}/"

    def record(frame: FrameType, event: str, _: object) -> None:
        nonlocal depth
        file = frame.f_code.co_filename
        if not file.startswith(root):
            return
        if event == "call":
            steps.append(Step(depth, file.removeprefix(root), frame.f_code.co_qualname))
            depth += 1
        elif event == "return":
            depth -= 1

    return record


def figures(steps: list[Step]) -> Figures:
    """Return the figures of a trace."""
    visits = _visits(step.file for step in steps)
    paper = _visits(step.file for step in steps if "paper/" in step.file)
    return Figures(file_changes=len(visits) - 1, turn_backs=len(visits) - len(set(visits)), within_paper=len(paper) - 1)


def _visits(files):  # type: ignore[no-untyped-def]
    return [file for file, _ in groupby(files)]


def main() -> None:
    """Print the trace and its figures."""
    parser = argparse.ArgumentParser(description="Trace one order through the paper engine.")
    parser.add_argument("--figures", action="store_true", help="print the figures alone")
    only_figures = parser.parse_args().figures
    steps = trace()
    for step in [] if only_figures else steps:
        print(f"{'  ' * step.depth}{step.file}: {step.function}")
    for name, figure in figures(steps)._asdict().items():
        print(f"{name.replace('_', ' ')}: {figure}")


if __name__ == "__main__":
    main()
