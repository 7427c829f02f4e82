"""What a strategy may rely on in odd moments: a resume, a reload of brokers, times out of order, hostile requests."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.events import NIFTY, stream, tick
from support.processes import run_alpha

from alpha_cli import SignalResult
from alpha_cli.core.codec import encode
from alpha_cli.core.events import Control, Event, Fill, Portfolio, Tick
from alpha_cli.stages.run_strategy import snapshot
from alpha_cli.stages.run_strategy.config import StrategyConfig
from alpha_cli.stages.run_strategy.engine import StrategyRunner
from alpha_cli.stages.run_strategy.executor import Strategy
from alpha_cli.stages.run_strategy.requests import Manager
from alpha_cli.stages.run_strategy.selection import Wanted


def config(**values: Any) -> StrategyConfig:
    return StrategyConfig(**{"id": "mine", "strategy_type": "momentum", "instruments": (NIFTY,), **values})


class Host:
    """A runner with one strategy, made by `make`, and who manages it."""

    def __init__(self, make: Any, wanted: StrategyConfig | None = None, brokers: Sequence[str] = ("paper",)) -> None:
        self.make, self.reports = make, list[str]()
        self.wanted = [Wanted(wanted or config(), tuple(brokers), 0)]
        self.runner = StrategyRunner(report=self.reports.append, failures=3)
        self.manager = Manager(self.runner, lambda: self.wanted, self._create)
        self.runner.roster.add(self._create(self.wanted[0]))

    def _create(self, wanted: Wanted) -> Strategy:
        portfolio = self.runner.portfolio
        return Strategy(wanted.config, wanted.brokers, wanted.place, portfolio, create=lambda one: self.make())

    def ticks(self, *events: Tick) -> list[Any]:
        return [made for event in events for made in self.runner.on_tick(event)]

    def control(self, action: str, **fields: Any) -> list[Event]:
        return list(self.manager.on_control(Control(action=action, **fields)))  # type: ignore[arg-type]


def test_thousands_of_instruments_share_what_cannot_change() -> None:
    """Time and memory of the start grow with the instruments, not with their square: no list is copied for each."""
    given: list[StrategyConfig] = []

    def create(one: StrategyConfig) -> Adds:
        given.append(one)
        return Adds()

    many = config(instruments=tuple(range(1, 101)), parameters={"levels": [1, 2]})
    strategy = Strategy(many, ("paper",), create=create)
    contexts = [executor.context for executor in strategy.executors.values()]
    assert len(given) == len(contexts) == 100
    assert all(one.instruments is many.instruments for one in given)
    assert len({id(one.instruments) for one in contexts}) == 1
    assert len({id(one.parameters["levels"]) for one in (*given, many)}) == 101  # what can change is each one's own


class Adds:
    """An indicator of its own: the sum of the prices it has seen."""

    def __init__(self) -> None:
        self.seen = 0.0

    def warmup(self, history: Sequence[Tick]) -> None:
        self.seen = sum(past.last_price for past in history)

    def process_tick(self, tick: Tick, history: Sequence[Tick]) -> SignalResult:
        self.seen += tick.last_price
        return SignalResult("BUY", quantity=1, metadata={"seen": self.seen})


def test_a_strategy_that_resumes_has_no_hole_in_its_indicators() -> None:
    """It is warmed up with the history, which went on; so it says what one that was never paused says."""
    events = [tick(at, 100 + at) for at in range(30)]
    whole = Host(Adds).ticks(*events)
    host = Host(Adds)
    host.ticks(*events[:10])
    host.control("pause", target="mine")
    assert host.ticks(*events[10:20]) == []
    host.control("resume", target="mine")
    assert host.ticks(*events[20:]) == whole[20:]


def test_a_reload_of_brokers_reaches_the_context() -> None:
    """Position, cash and the limit on the position are those of the brokers there are now."""
    seen: list[tuple[str, ...]] = []

    class Looks:
        def process_tick(self, tick: Tick, history: Sequence[Tick], context: Any) -> None:
            seen.append(context.brokers)

    host = Host(Looks)
    host.ticks(tick(0))
    host.wanted = [host.wanted[0]._replace(brokers=("zerodha",))]
    (said,) = host.control("reload", by="me")
    assert isinstance(said, Control)
    assert said.reason == "brokers changed (by me)"
    host.ticks(tick(1))
    assert seen == [("paper",), ("zerodha",)]


def test_ticks_out_of_order_have_ids_of_their_own() -> None:
    """Each is told by its time and by which tick at that time it is, whatever comes in between."""

    class Buys:
        def process_tick(self, tick: Tick, history: Sequence[Tick]) -> SignalResult:
            return SignalResult("BUY", quantity=1)

    times = [1, 2, 1, 2, 2, 1, 3, 1, 3]
    made = Host(Buys).ticks(*(tick(at) for at in times))
    assert len({one.signal_id for one in made}) == len(times)
    in_order = Host(Buys).ticks(*(tick(at) for at in sorted(times)))
    assert {one.signal_id for one in made} == {one.signal_id for one in in_order}


def test_a_circuit_opens_at_the_same_tick_after_a_resume() -> None:
    """Failures in a row on several instruments are counted on, not from the beginning."""

    class Fails:
        def process_tick(self, tick: Tick, history: Sequence[Tick]) -> None:
            raise ValueError("no")

    tokens = tuple(range(1, 7))
    events = [tick(at, token=token) for at, token in enumerate(tokens)]
    whole = Host(Fails, config(instruments=tokens))
    assert [len(list(whole.runner.on_tick(event))) for event in events] == [0, 0, 1, 0, 0, 0]
    first, second = (Host(Fails, config(instruments=tokens)) for _ in range(2))
    first.ticks(*events[:2])
    snapshot.restore(second.runner, snapshot.decode(snapshot.encode(snapshot.snapshot(first.runner))))
    assert [len(list(second.runner.on_tick(event))) for event in events[2:]] == [1, 0, 0, 0]


def test_an_old_word_on_cash_does_not_undo_newer_fills() -> None:
    """A file of fills that is read again from its start changes nothing."""
    host = Host(Adds)
    zero = Decimal(0)
    said = Portfolio(
        broker="paper", cash=Decimal(900), equity=zero, realised_pnl=zero, unrealised_pnl=zero, charges=zero,
        timestamp=tick(5).timestamp,
    )  # fmt: skip
    fill = Fill(
        fill_id="f", order_id="o", signal_id="s", strategy_id="mine", broker="paper", instrument_token=NIFTY,
        side="BUY", quantity=1, price=Decimal(100), charges={"total": zero}, timestamp=tick(6).timestamp,
    )  # fmt: skip
    for _ in range(2):
        host.runner.on_portfolio(said)
        list(host.runner.on_fill(fill))
    assert host.runner.portfolio.cash("paper") == 800


@pytest.mark.parametrize("cash", ["NaN", "sNaN", "Infinity"])
def test_cash_that_is_no_amount_is_not_taken(cash: str) -> None:
    """What the broker says cannot make the books unusable."""
    host = Host(Adds)
    zero = Decimal(0)
    host.runner.on_portfolio(
        Portfolio(broker="paper", cash=Decimal(cash), equity=zero, realised_pnl=zero, unrealised_pnl=zero, charges=zero)
    )
    assert host.runner.portfolio.cash("paper") is None


HOSTILE = [
    b'{"type":"control","action":"pause","by":"run-strategy","target":"momentum","value":{"cause":[]}}',
    b'{"type":"control","action":"pause","by":"run-strategy","target":"momentum","value":{"cause":{"a":1}}}',
    b'{"type":"control","action":"set","target":"momentum","value":{"lookback":1e400}}',
    b'{"type":"control","action":"set","target":"momentum","value":{"threshold":[[[[]]]]}}',
    b'{"type":"control","action":"set","target":"momentum","value":{"":null,"lookback":null}}',
    b'{"type":"control","action":"set","target":"momentum","value":"lookback"}',
    b'{"type":"control","action":"set","value":{"lookback":3}}',
    b'{"type":"control","action":"resume","target":"\\u0000\\u202e"}',
]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_no_request_however_odd_ends_the_run(workers: str) -> None:
    """It is refused or left alone; strategies go on, and every line that goes out can be read."""
    lines: list[Any] = [tick(0), *HOSTILE, tick(1)]
    done = run_alpha(["run-strategy", "momentum", "--workers", workers, "--bad", "skip"], stream(lines))
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert run_alpha(["risk"], done.stdout).returncode == 0


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_long_reason_is_not_repeated_whole(workers: str) -> None:
    """The answer to a line of nearly a mebibyte fits into a line."""
    asked = encode(Control(action="pause", target="momentum", reason="x" * ((1 << 20) - 100)))
    done = run_alpha(["run-strategy", "momentum", "--workers", workers], stream([tick(0), asked]))
    assert done.returncode == 0, done.stderr.decode()
    assert run_alpha(["risk"], done.stdout).returncode == 0


def test_parameters_that_are_no_pydantic_model_can_be_set(tmp_path: Path) -> None:
    """A class called Parameters may be anything."""
    (tmp_path / "own.py").write_text(
        "from dataclasses import dataclass\nfrom alpha_cli import SignalResult\n\n@dataclass\nclass Parameters:\n"
        "    every: int = 1\n\nclass Own:\n    def __init__(self, every=1):\n        self.every, self.seen = every, 0\n"
        "    def process_tick(self, tick, history):\n        self.seen += 1\n"
        "        return SignalResult('BUY', quantity=1) if self.seen % self.every == 0 else None\n"
    )
    file = tmp_path / "own.yaml"
    file.write_text(f"id: own\nstrategy_type: ./own.py:Own\ninstruments: [{NIFTY}]\n")
    asked = Control(action="set", target="own", value={"every": 3})
    done = run_alpha(
        ["run-strategy", "--config", str(file)], stream([tick(0), tick(1), asked, *map(tick, range(2, 8))])
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.count(b'"type":"signal"') == 2 + 2


@pytest.mark.parametrize(
    "text", ['strategy_type: "./a\\0.py:S"', "strategy_type: momentum\nmax_history: 0x" + "F" * 6000]
)
def test_a_configuration_that_no_message_can_hold_is_one_line_and_78(tmp_path: Path, text: str) -> None:
    """Also where writing the value out would itself fail."""
    file = tmp_path / "odd.yaml"
    file.write_text(f"id: odd\ninstruments: [{NIFTY}]\n{text}\n")
    done = run_alpha(["run-strategy", "--config", str(file)], stream([tick(0)]))
    assert done.returncode == 78
    assert len(done.stderr.decode().splitlines()) == 1
