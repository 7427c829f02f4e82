"""`alpha strategies new`: a strategy to begin with, that runs, and a test that passes."""

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

The channel reaches from the lowest to the highest of the last `lookback` prices, the newest left out. Where
a price rises above it the strategy buys, where one falls below it sells. It does not say the same twice in
a row: after it bought, the next thing it says is to sell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from alpha_cli import SignalResult, Tick


class Parameters(BaseModel):
    """What may be set in $name.yaml, with bounds and units. A name that is not here is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lookback: int = Field(50, ge=2, le=10_000, description="ticks")
    quantity: int = Field(1, ge=1, le=1_000_000, description="units of the instrument")


class $class_name:
    """Pure: what it says depends on the ticks alone. So no files, no network, no clock and no chance in here."""

    # Of a tick it reads token, time and last_price. What else it is to have is named here, as in ("volume_traded",).
    tick_fields = ()

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self.min_history = parameters.lookback  # ticks of history that it needs
        self._side = 0  # what it said last: 1 to buy, -1 to sell, 0 nothing yet

    def process_tick(self, tick: Tick, history: Sequence[Tick]) -> SignalResult | None:
        """The answer to `tick`. `history` holds the earlier ticks of the instrument, oldest first, read-only."""
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
            reasoning=f"a new {'high' if side > 0 else 'low'} of {lookback} ticks",
        )

    # What it remembers by itself. With `run-strategy --state DIR` it goes on from there after a restart.

    def snapshot(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        return {"side": self._side}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `snapshot`."""
        self._side = int(state["side"])


def create_processor(**parameters: object) -> $class_name:
    """A processor for one instrument, from the parameters in $name.yaml."""
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
"""What $name says of prices made up for it, after a restart, and on the synthetic market."""

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


def test_it_says_nothing_of_a_price_that_stands_still() -> None:
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
    """Write a strategy called `name` to `folder`; the files. Raises `UsageError` and writes nothing."""
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
    """What to run next, for a shell."""
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
    said = printable(repr(name))
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UsageError(f"{said} cannot be the name of a Python file: a letter, then letters, digits and _, up to 64")
    if name in sys.stdlib_module_names or name == "alpha_cli":
        raise UsageError(f"{said} is a module of Python's own, which the file would hide; choose another name")


def _class_name(name: str) -> str:
    """`opening_range` -> OpeningRangeStrategy; with the suffix it is none of the names that the file imports."""
    words = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
    return words if words.endswith("Strategy") else f"{words}Strategy"
