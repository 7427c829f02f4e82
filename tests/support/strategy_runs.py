"""Strategies written to files, and run in this process or in one of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from alpha_cli.core.codec import decode
from alpha_cli.core.events import RUNNER, Control, Event, Fill, Signal
from alpha_cli.stages.run_strategy.config import StrategyConfig
from alpha_cli.stages.run_strategy.engine import StrategyRunner
from alpha_cli.stages.run_strategy.executor import Strategy
from alpha_cli.stages.run_strategy.host import Host, HostOptions
from alpha_cli.stages.run_strategy.selection import Selection, Wanted
from support.events import BANK, NIFTY, START, tick
from support.processes import run_alpha

#: A strategy that buys at every tick, and says how many ticks it remembers.
EVERY_TICK = """
def process_tick(self, tick, history):
    return SignalResult("BUY", quantity=1, price=tick.last_price, metadata={"n": len(history)})
"""


def module(body: str, top: str = "") -> str:
    """The text of a file with a class `Mine` whose body is `body`, after the lines `top`."""
    return f"from alpha_cli import SignalResult\n{dedent(top)}\n\nclass Mine:\n{indent(dedent(body), '    ')}\n"


def strategy_file(folder: Path, body: str, name: str = "mine", *, top: str = "", **fields: str) -> Path:
    """The YAML of a strategy of one's own, NAME.yaml, with its class in NAME.py beside it."""
    (folder / f"{name}.py").write_text(module(body, top))
    return yaml_file(folder, name, **{"strategy_type": f"./{name}.py:Mine", **fields})


def yaml_file(folder: Path, name: str = "mine", **fields: str) -> Path:
    """A strategy's configuration; `fields` replace the usual ones."""
    usual = {"id": name, "strategy_type": "momentum", "instruments": f"[{NIFTY}]"}
    path = folder / f"{name}.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in {**usual, **fields}.items()))
    return path


def run_strategy(files: Path | Sequence[Path], data: bytes, *options: str, **rest: Any) -> Any:
    """`alpha run-strategy` with these configurations, run to its end on `data`."""
    named = [files] if isinstance(files, Path) else files
    return run_alpha(["run-strategy", *(word for file in named for word in ("--config", str(file))), *options], data,
                     **rest)  # fmt: skip


def events_of(data: bytes, kind: type[Event] = Signal) -> list[Any]:
    """The events of one type among the lines of `data`."""
    return [event for event in map(decode, data.splitlines()) if isinstance(event, kind)]


def hosted(
    files: Sequence[Path], reports: list[str] | None = None, options: HostOptions | None = None
) -> tuple[Host, list[str]]:
    """The strategies of these files in this process, and what is reported of them. A reload looks at `files` again."""
    told: list[str] = [] if reports is None else reports

    def wanted() -> list[Wanted]:
        return Selection(files=tuple(files)).wanted(told.append)

    return Host(options or HostOptions(), wanted(), wanted, told.append), told


def said(host: Host | StrategyRunner, events: Iterable[Any]) -> list[Any]:
    """What the strategies add to `events`, in order."""
    if isinstance(host, StrategyRunner):
        return [new for event in events for new in host.on_tick(event)]
    steps = host.steps
    return [new for event in events if type(event) in steps for new in steps[type(event)](event)]


def running(create: Callable[..., Any], tokens: Sequence[int] = (NIFTY,), **fields: Any) -> StrategyRunner:
    """A runner with one strategy, `mine`, made by `create`; `runner.reports` has what was reported."""
    reports: list[str] = []
    runner = StrategyRunner(report=reports.append)
    runner.reports = reports  # type: ignore[attr-defined]
    config = StrategyConfig(id="mine", strategy_type="test", instruments=tuple(tokens), **fields)
    runner.roster.add(
        Strategy(config, config.active_brokers, 0, runner.portfolio, create=lambda one: create(**one.parameters))
    )
    return runner


def reports(runner: StrategyRunner) -> list[str]:
    told: list[str] = runner.reports  # type: ignore[attr-defined]
    return told


def fill(
    number: int = 1, at: float = 0, side: Any = "BUY", quantity: int = 1, price: str = "100", **fields: Any
) -> Fill:
    """The fill `f<number>` of order `o<number>` of the strategy `mine` with broker `paper`."""
    values: dict[str, Any] = {
        "order_id": f"o{number}", "signal_id": f"s{number}", "strategy_id": "mine", "broker": "paper",
        "instrument_token": NIFTY, "charges": {"total": Decimal(0)}, **fields,
    }  # fmt: skip
    return Fill(
        fill_id=f"f{number}", side=side, quantity=quantity, price=Decimal(price),
        timestamp=START + timedelta(seconds=at), **values,
    )  # fmt: skip


def one_line(stderr: bytes) -> str:
    """All that was said, which must be one line."""
    (line,) = stderr.decode().splitlines()
    return str(line)


#: Buys as many units as it is told to at every tick, and says how many ticks it was asked about.
COUNTS = """
tick_fields = ()

def __init__(self, quantity=1):
    if quantity > 100:
        raise ValueError("too much")
    self.quantity = quantity
    self.asked = 0

def process_tick(self, tick, history):
    self.asked += 1
    return SignalResult("BUY", quantity=self.quantity, metadata={"asked": self.asked, "n": len(history)})
"""
#: Fails at every tick that costs less than 50.
FAILS_BELOW_50 = """
def process_tick(self, tick, history):
    if tick.last_price < 50:
        raise ValueError("too cheap")
    return SignalResult("BUY", quantity=1)
"""


def control(action: Any, target: str | None = None, by: str | None = "kim", **fields: Any) -> Control:
    return Control(action=action, target=target, by=by, **fields)


def managed(folder: Path) -> tuple[list[Path], list[Any]]:
    """Strategies of all kinds, and a stream in which all that can happen to them happens."""
    folder.mkdir(exist_ok=True)
    on_bar = """
    bars = ("1m",)

    def process_tick(self, tick, history):
        return None

    def on_bar(self, bar, history):
        return SignalResult("BUY", quantity=1, price=bar.close, metadata={"n": len(history), "ticks": bar.ticks})

    def on_fill(self, fill):
        return SignalResult("SELL", quantity=fill.quantity)
    """
    both = f"[{NIFTY}, {BANK}]"
    files = [
        strategy_file(folder, COUNTS, "counts", instruments=both),
        strategy_file(folder, FAILS_BELOW_50, "fails"),
        strategy_file(folder, on_bar, "barred", instruments=both),
        yaml_file(folder, "momentum", instruments=both, parameters="{lookback: 5, threshold: 0.001}"),
        yaml_file(folder, "rsi", strategy_type="rules_rsi", parameters="{period: 3}"),
    ]
    fields = {"order_id": "o", "signal_id": "s", "strategy_id": "barred", "broker": "paper", "instrument_token": NIFTY}
    events: list[Any] = []
    for at in range(90):
        price = 10.0 if 20 <= at < 26 else 100 + at * 7 % 50 / 10
        events += [tick(at * 4, price), tick(at * 4, 200 + at * 11 % 70 / 10, BANK)]
        if at % 9 == 4:
            events.append(tick(at * 4, 101.5))  # a second one at the same time
        if at == 15:
            events += [control("pause", "counts"), control("set", "momentum", value={"lookback": 7})]
        if at == 30:
            events += [control("resume"), control("set", "counts", value={"quantity": 3})]
        if at == 40:
            events += [control("set", "counts", value={"quantity": 500}), control("reload")]
        if at == 50:
            events.append(Control("pause", "rsi", RUNNER, "slow", {"cause": "deadline"}))
            events.append(decode(
                b'{"type":"fill","fill_id":"f1","side":"BUY","quantity":2,"price":100,"charges":{"total":0},'
                b'"timestamp":"2024-06-03T09:18:20+05:30",%s}' % encode_fields(fields)
            ))  # fmt: skip
        if at == 60:
            events.append(control("resume", "rsi"))
    return files, events


def encode_fields(fields: dict[str, Any]) -> bytes:
    """The inside of a JSON object."""
    return ",".join(f'"{key}":{value}' if isinstance(value, int) else f'"{key}":"{value}"'
                    for key, value in fields.items()).encode()  # fmt: skip
