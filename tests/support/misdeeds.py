"""Strategies that misbehave, written to files, and what is seen of them in the output."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from alpha_cli.core.codec import decode, encode
from alpha_cli.core.events import Bar, Fill
from support.events import NIFTY, START, stream, tick, ticks
from support.processes import Pipeline

#: Seconds that a busy machine may add to any delay.
SLACK = 4.0


def bar(at: float, token: int = NIFTY) -> Bar:
    """A bar of a minute that ends `at` seconds after the session opened."""
    end = START + timedelta(seconds=at)
    return Bar(token, end - timedelta(minutes=1), end, "1m", 100, 101, 99, 100)


def fill(number: int, at: float = 0, strategy: str = "mine", token: int = NIFTY) -> Fill:
    """A trade of one unit."""
    return Fill(
        f"f{number}", f"o{number}", f"s{number}", strategy, "paper", token, "BUY", 1, Decimal(100), {},
        START + timedelta(seconds=at),
    )  # fmt: skip


#: What goes before the strategies that misbehave, and around what they do at each tick.
HEAD = """
import collections, ctypes, functools, itertools, os, signal, sys, threading, time
from decimal import Decimal
from pathlib import Path
from alpha_cli import SignalResult

class Odd(BaseException):
    pass

class Wordless(Exception):
    def __str__(self):
        raise ValueError("no words")

class Array:
    def __eq__(self, other):
        return Array()
    def __bool__(self):
        raise ValueError("the truth value of an array is ambiguous")
    __lt__ = __gt__ = __eq__
    __hash__ = None

class Tells:
    def process_tick(self, tick, history):
        return SignalResult("BUY", quantity=1, price=tick.last_price, reasoning=f"after {len(history)}")

class Faulty:
    def __init__(self):
        self.kept = []
    def process_tick(self, tick, history):
"""
#: What a strategy may do at a tick without harm to the others in its process.
MISDEEDS: dict[str, str] = {
    "raises": 'raise ValueError(f"{object()}")',
    "raises what has no words": "raise Wordless",
    "raises KeyboardInterrupt": "raise KeyboardInterrupt",
    "raises GeneratorExit": "raise GeneratorExit",
    "raises a BaseException of its own": "raise Odd(object())",
    "raises MemoryError": "raise MemoryError",
    "calls sys.exit": "sys.exit(3)",
    "recurses": "return self.process_tick(tick, history)",
    "sleeps a second": "time.sleep(1)",
    "loops": "while True: pass",
    "loops and swallows every Exception": (
        "while True:\n            try: time.sleep(0.01)\n            except Exception: pass"
    ),
    "hoards at once": "while True: self.kept.append(bytes(1 << 20))",
    "hoards bit by bit": "self.kept.append([str(n) for n in range(100_000)])",
    "returns a dict": 'return {"signal_type": "BUY"}',
    "returns text": 'return "BUY"',
    "returns an array": "return Array()",
    "returns a generator": "yield 1",
    "returns a price that is NaN": 'return SignalResult("BUY", price=float("nan"))',
    "returns an array for a price": 'return SignalResult("BUY", price=Array())',
    "prints": "print('{\"type\":\"order\"}'); sys.stdout.write('half a line')",
}
#: For what is told within the deadline, that is all.
ALLOWED = {"prints"}
#: Sooner or later stopped for something else than failures in a row.
STOPPED = {
    "raises MemoryError": "memory", "sleeps a second": "deadline", "loops": "deadline",
    "loops and swallows every Exception": "deadline", "hoards at once": "memory", "hoards bit by bit": "memory",
}  # fmt: skip
#: Options under which all of that shows quickly.
QUICK = ("--deadline", "0.25", "--memory", "160")


def written(folder: Path, deed: str = "return None", more: str = "") -> Path:
    """The file of the strategies; `Faulty` does `deed` at each tick, `more` are further lines."""
    path = folder / "mis.py"
    path.write_text(f"{HEAD}        {deed}\n{more}\n")
    return path


def configured(folder: Path, *named: str, tokens: Sequence[int] = (NIFTY,), **fields: Any) -> list[str]:
    """The options that run `named`, each `id:Class`, from the file in `folder`."""
    options = []
    for one in named:
        name, _, kind = one.partition(":")
        lines = {"id": name, "strategy_type": f"./mis.py:{kind or 'Tells'}", "instruments": str(list(tokens)), **fields}
        path = folder / f"{name}.yaml"
        path.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
        options += ["--config", str(path)]
    return options


def without(output: bytes, name: str) -> bytes:
    """`output` less the lines that a strategy called `name` added, or that are about it."""
    return b"".join(line for line in output.splitlines(keepends=True) if f'"{name}"'.encode() not in line)


def about(output: bytes, name: str) -> list[Any]:
    """The lines that `without` leaves out."""
    return [decode(line) for line in output.splitlines() if f'"{name}"'.encode() in line]


DATA = stream(ticks(60))


def delays(pipeline: Pipeline, name: str, count: int) -> list[float]:
    """Seconds from each of `count` ticks, given one by one, to the signal of strategy `name`."""
    taken = []
    wanted = b'"strategy_id":"%s"' % name.encode()
    for number in range(count):
        began = time.monotonic()
        pipeline.write(encode(tick(number)) + b"\n")
        pipeline.wait_for(lambda output: output.count(wanted) > number)  # noqa: B023  (called at once)
        taken.append(time.monotonic() - began)
    return taken


def signals_in(output: bytes) -> list[bytes]:
    return [line for line in output.splitlines() if line.startswith(b'{"type":"signal"')]


#: Misdeeds that may share a process, and those that want a process's memory to themselves.
BY_MEMORY = [
    *([deed] for deed in MISDEEDS if deed.startswith("hoards")),
    [deed for deed in MISDEEDS if not deed.startswith("hoards")],
]


def names_of(deeds: Iterable[str]) -> dict[str, str]:
    """Deed -> the id of the strategy that does it in `side_by_side`."""
    return {deed: f"faulty{number}" for number, deed in enumerate(deeds)}


def side_by_side(folder: Path, deeds: dict[str, str]) -> list[str]:
    """The options that run `first`, one strategy for each of `deeds`, and `last`."""
    written(folder)
    options = configured(folder, "first")
    for deed, name in names_of(deeds).items():
        own = folder / name
        own.mkdir()
        written(own, deeds[deed])
        options += configured(own, f"{name}:Faulty")
    return [*options, *configured(folder, "last")]


def without_faulty(output: bytes, deeds: Iterable[str]) -> bytes:
    """`output` less what the strategies of `side_by_side` added, or what is about them."""
    for name in names_of(deeds).values():
        output = without(output, name)
    return output
