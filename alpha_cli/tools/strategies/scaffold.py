"""`alpha strategies new`: a strategy that runs, its configuration, and a test that passes."""

from __future__ import annotations

import keyword
import re
import shlex
import sys
from pathlib import Path
from string import Template

from alpha_cli.core.errors import UsageError
from alpha_cli.core.text import printable

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")

_STRATEGY = '''\
"""$name: buy at a new high, sell at a new low.

The channel reaches from the lowest to the highest of the last `lookback` prices before the newest one. Where
a price rises above it the strategy buys, where one falls below it sells. It never gives the same signal twice
in a row: after a BUY the next signal is a SELL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from alpha_cli import OrderParameters, SignalResult, Tick


class Parameters(OrderParameters):
    """The parameters in $name.yaml, with bounds and units; quantity, order_type and product are inherited."""

    lookback: int = Field(50, ge=2, le=10_000, description="ticks")


class $class_name:
    """Pure: its signals depend on the ticks alone. So no files, no network, no clock and no randomness here."""

    # Fields of a tick that it reads besides token, time and last_price, as in ("volume_traded",).
    tick_fields = ()

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self.min_history = parameters.lookback  # ticks of history that it needs
        self._side = 0  # the last signal: 1 for BUY, -1 for SELL, 0 for none yet

    def process_tick(self, tick: Tick, history: Sequence[Tick]) -> SignalResult | None:
        """Return the signal for `tick`. `history` holds the earlier ticks, oldest first, read-only."""
        lookback = self._parameters.lookback
        if len(history) < lookback:
            return None
        prices = [past.last_price for past in history[-lookback:]]
        side = 1 if tick.last_price > max(prices) else -1 if tick.last_price < min(prices) else 0
        if side in (0, self._side):
            return None
        self._side = side
        return SignalResult(
            "BUY" if side > 0 else "SELL",
            quantity=self._parameters.quantity,
            price=tick.last_price,
            order_type=self._parameters.order_type,
            product=self._parameters.product,
            reasoning=f"a new {'high' if side > 0 else 'low'} of {lookback} ticks",
        )

    # Its state. With `run-strategy --state DIR` it continues from there after a restart.

    def snapshot(self) -> dict[str, Any]:
        """Return the state, ready for JSON."""
        return {"side": self._side}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot`."""
        self._side = int(state["side"])


def create_processor(**parameters: object) -> $class_name:
    """Return a processor for one instrument, from the parameters in $name.yaml."""
    return $class_name(Parameters.model_validate(parameters))
'''

_CONFIG = """\
id: $name
strategy_type: ./$name.py:create_processor # in the folder of this file
instruments:
  - 256265 # NIFTY 50
  - 260105 # NIFTY BANK
active_brokers: [paper]
# lookback: 50 ticks · quantity: 1
parameters: {}
"""

_TEST = '''\
"""Test $name: on prices made for it, after a restart, and on the synthetic market."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from alpha_cli import Signal, pipe
from alpha_cli.testing import pipeline, ticks

RUN = f"run-strategy --config {shlex.quote(str(Path(__file__).with_name('$name.yaml')))}"

RISE = [100 + 0.05 * step for step in range(80)]


def signals(prices: Sequence[float], run: str = RUN) -> list[str]:
    """Return what the strategy answers to `prices`, as configured."""
    return [signal.signal_type for signal in pipeline(run, ticks(prices), Signal)]


def test_it_buys_at_a_new_high_and_sells_at_a_new_low() -> None:
    """Once each, however far the price goes on."""
    assert signals(RISE) == ["BUY"]
    assert signals([*RISE, *reversed(RISE)]) == ["BUY", "SELL"]


def test_it_does_not_trade_a_constant_price() -> None:
    """There is no new high in it."""
    assert signals([100.0] * 200) == []


def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    """With a state folder the second run does not buy a second time."""
    run = f"{RUN} --state {shlex.quote(str(tmp_path))}"
    day = ticks(RISE)
    first, second = pipeline(run, day[:60], Signal), pipeline(run, day[60:], Signal)
    assert [signal.signal_type for signal in first] == ["BUY"]
    assert second == []


def test_it_trades_on_the_synthetic_market() -> None:
    """On instruments that it is configured for."""
    assert any(isinstance(event, Signal) for event in pipe(f"feed --ticks 5000 | {RUN}"))
'''


def write(name: str, folder: Path, *, force: bool) -> list[Path]:
    """Write a strategy called `name` to `folder` and return the files. On `UsageError` nothing is written."""
    _check_name(name)
    words = {"name": name, "class_name": _class_name(name)}
    files = {
        folder / file: Template(text).substitute(words)
        for file, text in ((f"{name}.py", _STRATEGY), (f"{name}.yaml", _CONFIG), (f"test_{name}.py", _TEST))
    }
    there = [str(path) for path in files if path.exists() or path.is_symlink()]
    if there and not force:
        raise UsageError(f"{', '.join(there)}: already there; --force replaces it")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return list(files)


def next_commands(name: str, folder: Path) -> list[str]:
    """Return what to run next, for a shell."""
    config, strategy, test = (
        shlex.quote(str(folder / file)) for file in (f"{name}.yaml", f"{name}.py", f"test_{name}.py")
    )
    return [
        f"alpha feed | alpha run-strategy --config {config} | alpha show --types signal",
        f"alpha strategies check {strategy}",
        f"pytest {test}",
    ]


def _check_name(name: str) -> None:
    """Raise `UsageError` unless `name` can be that of a Python file and of a strategy."""
    shown = printable(repr(name))
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UsageError(f"{shown} cannot be the name of a Python file: a letter, then letters, digits and _, up to 64")
    if name in sys.stdlib_module_names or name == "alpha_cli":
        raise UsageError(f"{shown} is a module of Python's own, which the file would hide; choose another name")


def _class_name(name: str) -> str:
    """Return OpeningRangeStrategy for `opening_range`; it must not be a name that the file imports."""
    words = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
    return words if words.endswith("Strategy") else f"{words}Strategy"
