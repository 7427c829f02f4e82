"""`alpha_cli.testing`: what it gives to the tests of users."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from alpha_cli import Denial, Fill, Order, OrderUpdate, Portfolio, Signal, Tick
from alpha_cli.core.errors import BadData, UsageError
from alpha_cli.core.times import IST
from alpha_cli.testing import NIFTY, OPENING, Desk, pipeline, ticks


def test_ticks_are_of_the_prices_a_step_apart() -> None:
    """By default of the NIFTY, one a second from the opening of a Monday."""
    made = ticks([100, 101.5])
    assert [(one.instrument_token, one.timestamp, one.last_price) for one in made] == [
        (NIFTY, OPENING, 100.0),
        (NIFTY, OPENING + timedelta(seconds=1), 101.5),
    ]
    start = datetime(2024, 6, 3, 10, tzinfo=IST)
    (_, last) = ticks([1, 2], token=7, start=start, step=60, volume_traded=5)
    assert last == Tick(instrument_token=7, timestamp=start + timedelta(minutes=1), last_price=2.0, volume_traded=5)


def test_a_pipeline_gives_all_that_comes_out_or_some_kinds() -> None:
    """The kinds that are named, in the order of the stream."""
    prices = [100 + 0.05 * step for step in range(80)]
    everything = pipeline("run-strategy momentum", ticks(prices))
    signals = pipeline("run-strategy momentum", ticks(prices), Signal)
    assert signals
    assert signals == [event for event in everything if isinstance(event, Signal)]
    assert len(everything) == len(prices) + len(signals)
    both = pipeline("run-strategy momentum | risk | paper --forward", ticks(prices), Order, Fill)
    assert [type(event) for event in both] == [Order, Fill] * len(signals)


def test_feedback_reaches_the_strategy(tmp_path: Path) -> None:
    """As with alpha pipe --feedback; without it nobody knows its position, and it is stopped."""
    (tmp_path / "once.py").write_text(
        "from alpha_cli import SignalResult\n\n\n"
        "class Once:\n"
        "    def process_tick(self, tick, history, context):\n"
        "        return SignalResult('BUY', quantity=1) if context.position() == 0 else None\n"
    )
    (tmp_path / "once.yaml").write_text(f"id: once\nstrategy_type: ./once.py:Once\ninstruments: [{NIFTY}]\n")
    stages = f"run-strategy --config {tmp_path / 'once.yaml'} | risk | paper"
    assert len(pipeline(stages, ticks([100] * 5), Fill, feedback=True)) == 1
    assert len(pipeline(stages, ticks([100] * 5), Fill)) == 0


def test_a_pipeline_with_a_source_or_a_mistake_is_refused() -> None:
    """In the words of the command line."""
    with pytest.raises(UsageError, match="source of its own"):
        pipeline("feed | risk", [])
    with pytest.raises(UsageError, match="did you mean 'paper'"):
        Desk("papr")


def test_a_desk_fills_a_limit_order_when_the_price_is_there() -> None:
    """Each method returns what came of it."""
    desk = Desk("paper")
    assert desk.tick(100) == []
    (entered,) = desk.order("BUY", 10, price=99.5)
    assert (entered.status, desk.fills, desk.position()) == ("OPEN", [], 0)
    fill, done = desk.tick(99.4)
    assert isinstance(fill, Fill)
    assert isinstance(done, OrderUpdate)
    assert (fill.price, fill.timestamp, done.status) == (Decimal("99.5"), OPENING + timedelta(seconds=1), "COMPLETE")
    assert (desk.fills, desk.position(), desk.position(7)) == ([fill], 10, 0)
    *_, portfolio = desk.close()
    assert isinstance(portfolio, Portfolio)
    assert portfolio.positions[0].quantity == 10
    assert desk.events[-1] == portfolio
    with pytest.raises(ValueError, match="closed"):
        desk.tick(1)


def test_a_desk_with_risk_takes_signals() -> None:
    """What is sent passes through, and is not returned."""
    with Desk("risk | paper", step=60) as desk:
        desk.tick(100)
        assert [type(event) for event in desk.signal("BUY", 10)] == [Fill, OrderUpdate]
        desk.tick(101)
        desk.signal("SELL", 4)
        assert desk.position() == 6
        assert desk.fills[-1].timestamp == OPENING + timedelta(minutes=1)
    with Desk("risk") as desk:
        desk.tick(100)
        (denial,) = desk.signal("BUY", 10**6)
        assert isinstance(denial, Denial)
        (order,) = desk.signal("SELL", 1, price=100)
        assert (order.order_type, order.price) == ("LIMIT", 100)


def test_orders_of_several_instruments() -> None:
    """Each has its own last price and position; an order waits for a tick that is not older (M2)."""
    with Desk("paper") as desk:
        desk.tick(100)
        desk.tick(50, token=7)
        desk.order("BUY", 2)
        desk.order("SELL", 3, token=7, product="MIS")
        assert (desk.position(), desk.position(7)) == (0, -3)
        desk.tick(101)
        assert (desk.position(), desk.position(7)) == (2, -3)


def test_the_settings_of_the_machine_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No state is kept and no master is asked; what was in the environment is there afterwards."""
    monkeypatch.setenv("ALPHA_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ALPHA_INSTRUMENTS", str(tmp_path / "nothing.db"))
    with Desk("risk | paper") as desk:
        desk.tick(100)
        assert desk.signal("BUY", 1)
    assert not (tmp_path / "state").exists()
    assert os.environ["ALPHA_STATE"] == str(tmp_path / "state")
    assert os.environ["ALPHA_INSTRUMENTS"] == str(tmp_path / "nothing.db")


def test_a_desk_gives_its_locks_back(tmp_path: Path) -> None:
    """Also where the block ends with an error."""
    stages = f"paper --state {tmp_path}"
    with pytest.raises(TypeError), Desk(stages) as desk:
        desk.order("BUY", "one")  # type: ignore[arg-type]
    with Desk(stages) as desk:
        assert desk.tick(101) == []


def test_what_makes_the_stages_stop_is_raised() -> None:
    """A line that is no event of the wire."""
    with Desk("risk") as desk, pytest.raises(BadData):
        desk.send(Signal("", "", 0, "BUY", OPENING, ""))
