"""What risk remembers: over restarts, over days, and of what became of its orders."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from support.events import BANK, NIFTY, START, signal, stream, tick
from support.processes import Pipeline, alpha, run_alpha
from support.risk_gate import ASSUMED, DAY, LIMIT, Gate, a_file, a_fill, an_update, codes, events, on

from alpha_cli.core.codec import encode
from alpha_cli.core.errors import TryAgain
from alpha_cli.core.events import Cancel, Control, Denial, Fill, Modify, Order, OrderUpdate, Portfolio, Position, Tick
from alpha_cli.core.money import UNITS
from alpha_cli.core.times import IST

# --- the drill -------------------------------------------------------------------------------

#: What happened to Knight Capital on 1 August 2012: the same order, again and again.
LOOPS = """
tick_fields = ()

def process_tick(self, tick, history):
    return SignalResult("BUY", quantity=1)
"""


def a_strategy_that_loops(folder: Path) -> Path:
    (folder / "knight.py").write_text(
        "from alpha_cli import SignalResult\n\n\nclass Knight:\n"
        + "".join(f"    {line}\n" if line else "\n" for line in LOOPS.strip().splitlines())
        + "\n\ndef create_processor(**parameters):\n    return Knight()\n"
    )
    path = folder / "knight.yaml"
    path.write_text(
        f"id: knight\nstrategy_type: ./knight.py:create_processor\ninstruments: [{NIFTY}]\nactive_brokers: [paper]\n"
    )
    return path


def test_a_strategy_that_loops_is_stopped_after_exactly_as_many_orders_as_configured(tmp_path: Path) -> None:
    """10,000 identical buys: seven leave, one line says why, exit 80; a restart changes nothing, `alpha rearm` does."""
    state = str(tmp_path / "state")
    file = a_file(tmp_path, {"repeated_execution": {"orders": 7, "seconds": 86_400, "round_trips": 5}})
    strategy = str(a_strategy_that_loops(tmp_path))
    (tmp_path / "day.ndjson").write_bytes(stream([tick(n, 100 + n % 3) for n in range(10_000)]))
    (tmp_path / "later.ndjson").write_bytes(stream([tick(15_000 + n, 100 + n % 3) for n in range(500)]))
    risk = alpha("risk", "--state", state, "--config", file)

    def run(recording: str) -> tuple[bytes, list[int]]:
        feed, loops = alpha("feed", str(tmp_path / recording)), alpha("run-strategy", "--config", strategy)
        with Pipeline(feed, loops, risk) as pipeline:
            given = pipeline.finish()
            return pipeline.output, given

    output, ended = run("day.ndjson")
    assert ended == [0, 0, 80]
    assert len(events(output, Order)) == 7
    (stopped,) = events(output, Control)
    assert (stopped.action, stopped.target, stopped.by) == ("halt", "knight", "risk")
    assert stopped.value["code"] == "EXECUTION_REPEATED"
    denied = codes(events(output, Denial))
    assert (denied[0], set(denied[1:]), len(denied)) == ("EXECUTION_REPEATED", {"STRATEGY_HALTED"}, 9_993)

    output, ended = run("later.ndjson")
    assert ended == [0, 0, 80]
    assert not events(output, Order, Control)
    assert set(codes(events(output, Denial))) == {"STRATEGY_HALTED"}

    (tmp_path / "evening.ndjson").write_bytes(stream([tick(20_000 + n, 100 + n % 3) for n in range(100)]))
    done = run_alpha(["rearm", "knight", "--state", state, "--reason", "the loop is out"])
    assert (done.returncode, b"knight may go on" in done.stdout) == (0, True)
    output, ended = run("evening.ndjson")
    assert (len(events(output, Order)), ended[-1]) == (7, 80)
    rearmed, stopped = events(output, Control)
    assert (rearmed.action, rearmed.target, stopped.action) == ("rearm", "knight", "halt")
    assert "the loop is out" in rearmed.reason


def test_rearm_reaches_a_risk_that_is_running(tmp_path: Path) -> None:
    """With the next lines that it reads; its database needs nobody's leave to be read."""
    state = str(tmp_path / "state")
    file = a_file(tmp_path, {"repeated_execution": {"orders": 2, "seconds": 60, "round_trips": 5}})
    with Pipeline(alpha("risk", "--state", state, "--config", file)) as risk:
        risk.write(stream([tick(0), *(signal(n) for n in range(1, 5))], eof=None))
        output = risk.wait_for(lambda out: out.count(b'"type":"denial"') == 2)
        assert codes(events(output, Order, Denial, Control)) == [
            "ORDER", "ORDER", "EXECUTION_REPEATED", "halt", "STRATEGY_HALTED"
        ]  # fmt: skip
        done = run_alpha(["rearm", "test", "--state", state, "--reason", "it was a drill"])
        assert (done.returncode, done.stdout[:14]) == (0, b"test may go on")
        risk.write(stream([signal(5), signal(6), signal(7)], hello=False))
        assert risk.finish() == [80]
        after = codes(events(risk.output, Order, Denial, Control))[5:]
    assert after == ["rearm", "ORDER", "ORDER", "EXECUTION_REPEATED", "halt"]


def test_what_is_not_the_looping_strategy_goes_on(gate: Callable[..., Gate]) -> None:
    """Another strategy, and the other side of the one that loops until it is stopped."""
    risk = gate({"repeated_execution": {"orders": 2, "seconds": 60, "round_trips": 9}})
    assert codes(risk(tick(0), signal(1), signal(2), signal(3, side="SELL"))) == ["ORDER"] * 3
    assert codes(risk(signal(4))) == ["EXECUTION_REPEATED", "halt"]
    assert codes(risk(signal(5, side="SELL"), signal(6, strategy_id="other"))) == ["STRATEGY_HALTED", "ORDER"]


def test_orders_that_ended_unfilled_are_no_loop(gate: Callable[..., Gate]) -> None:
    """A rejected order is no execution: its turn counts for nothing."""
    risk = gate({"repeated_execution": {"orders": 2, "seconds": 60, "round_trips": 9}, "assume_market_fills": True})
    first = risk.order(tick(0), signal(1))
    risk.order(signal(2))
    risk(an_update(first, "REJECTED"))
    assert codes(risk(signal(3), signal(4))) == ["ORDER", "EXECUTION_REPEATED", "halt"]


# --- from one run to the next ----------------------------------------------------------------


def test_a_signal_decided_in_an_earlier_run_is_not_decided_again(tmp_path: Path) -> None:
    """The same is a duplicate, another with its id a conflict; one that was denied was decided too."""
    state = str(tmp_path / "state")
    file = a_file(tmp_path, {"max_order_quantity": 5})
    first = run_alpha(["risk", "--state", state, "--config", file], stream([tick(0), signal(1), signal(2, quantity=9)]))
    assert codes(events(first.stdout, Order, Denial)) == ["ORDER", "QUANTITY_ABOVE_LIMIT"]
    again = [tick(1), signal(1), signal(1, quantity=2), signal(2, quantity=9), signal(2), signal(3)]
    second = run_alpha(["risk", "--state", state, "--config", file], stream(again))
    assert codes(events(second.stdout, Order, Denial)) == [
        "SIGNAL_DUPLICATE", "SIGNAL_CONFLICT", "SIGNAL_DUPLICATE", "SIGNAL_CONFLICT", "ORDER"
    ]  # fmt: skip
    assert (first.returncode, second.returncode) == (0, 0)


def test_the_same_recording_twice_asks_for_nothing_twice(tmp_path: Path) -> None:
    """A pipeline that is started again on its input from the beginning enters no order a second time."""
    day = stream([tick(0), *(signal(n, at=n) for n in range(1, 40))])
    args = ["risk", "--state", str(tmp_path / "state")]
    assert len(events(run_alpha(args, day).stdout, Order)) == 39
    assert set(codes(events(run_alpha(args, day).stdout, Order, Denial))) == {"SIGNAL_DUPLICATE"}


def test_counts_outlive_the_process(tmp_path: Path) -> None:
    """Position, turnover and the window of messages go on where the last run ended."""
    limits = {
        "max_position": 10, "max_turnover": 2500, "message_rate": {"second": 100, "minute": 5, "day": 100},
        "assume_market_fills": True,
    }  # fmt: skip
    args = ["risk", "--state", str(tmp_path / "state"), "--config", a_file(tmp_path, limits)]
    assert codes(events(run_alpha(args, stream([tick(0), signal(1, quantity=8)])).stdout, Order)) == ["ORDER"]
    output = run_alpha(args, stream([tick(1), signal(2, quantity=3), signal(3, side="SELL", quantity=8)])).stdout
    (position, _) = events(output, Order, Denial)
    assert (position.code, position.limit, position.observed) == ("POSITION_ABOVE_LIMIT", 10, 11)
    (turnover,) = events(run_alpha(args, stream([tick(2), signal(4, quantity=10)])).stdout, Order, Denial)
    assert (turnover.code, turnover.limit, turnover.observed) == ("EXPOSURE_TURNOVER_ABOVE_LIMIT", 2500, 2600)
    more = [tick(3), *(signal(n, quantity=1) for n in (5, 6, 7))]
    made = events(run_alpha(args, stream(more)).stdout, Order, Denial)
    assert codes(made) == ["ORDER", "ORDER", "RATE_ABOVE_LIMIT"]  # of five in a minute, one is kept for cancels
    (later,) = events(run_alpha(args, stream([tick(61), signal(8)])).stdout, Order, Denial)
    assert isinstance(later, Order)


def test_halts_in_the_stream_outlive_the_process(tmp_path: Path) -> None:
    """Of all trading, of a strategy, and to reduce only; until the stream, or a person, resumes."""
    args = ["risk", "--state", str(tmp_path / "state")]

    def run(*given: Any) -> tuple[int, list[str]]:
        done = run_alpha(args, stream([tick(0), *given]))
        return done.returncode, codes(events(done.stdout, Order, Denial))

    assert run(Control(action="halt", target="test", by="kim"), signal(1)) == (80, ["STRATEGY_HALTED"])
    assert run(signal(2), signal(3, strategy_id="other")) == (80, ["STRATEGY_HALTED", "ORDER"])
    assert run(Control(action="halt", by="kim", reason="lunch"), signal(4, strategy_id="other")) == (
        80, ["TRADING_HALTED"],
    )  # fmt: skip
    assert run(signal(5, strategy_id="other")) == (80, ["TRADING_HALTED"])
    assert run(Control(action="resume", by="kim"), signal(6), signal(7, strategy_id="other")) == (0, ["ORDER"] * 2)
    assert run(Control(action="reduce", target="test", by="kim"), signal(8)) == (80, ["TRADING_REDUCING"])
    assert run(signal(9), signal(10, side="SELL")) == (80, ["TRADING_REDUCING", "ORDER"])
    assert run(Control(action="rearm", target="test", by="kim"), signal(11)) == (0, ["ORDER"])


def test_two_processes_do_not_share_a_folder_unless_told_to(tmp_path: Path) -> None:
    """The second ends with 75 and says how to run beside the first: under a name of its own."""
    state = str(tmp_path / "state")
    with Pipeline(alpha("risk", "--state", state)) as first:
        first.write(stream([tick(0), signal(1)], eof=None))
        first.wait_for(b'"type":"order"')
        second = run_alpha(["risk", "--state", state], stream([tick(0), signal(1)]))
        assert (second.returncode, second.stdout) == (75, b"")
        assert b"--as" in second.stderr
        beside = run_alpha(["risk", "--state", state, "--as", "other"], stream([tick(0), signal(1)]))
        assert codes(events(beside.stdout, Order)) == ["ORDER"]
        first.write(stream([signal(2)], hello=False))
        assert first.finish() == [0]


def test_what_is_kept_is_nobody_elses_and_readable_with_ordinary_tools(tmp_path: Path) -> None:
    """Mode 0600 in a folder of 0700; sqlite-utils finds orders, signals, scopes, standings and limits."""
    import sqlite_utils

    state = tmp_path / "state"
    with Pipeline(alpha("risk", "--state", str(state))) as risk:
        risk.write(stream([tick(0), signal(1, **LIMIT, price=Decimal(100))], eof=None))
        risk.wait_for(b'"type":"order"')
        assert {path.stat().st_mode & 0o777 for path in state.iterdir()} == {0o600}  # also those of SQLite's own
        assert state.stat().st_mode & 0o777 == 0o700
        assert risk.finish() == [75]
    assert {path.name for path in state.iterdir()} == {"risk.db", "risk.lock", "risk.status.json"}
    with closing(sqlite_utils.Database(state / "risk.db")) as db:
        assert {"scopes", "orders", "signals", "fills", "standings", "halts", "limits", "known"} == {
            table.name for table in db.tables
        }
        (order,) = db["orders"].rows
        assert (order["broker"], order["strategy"], order["instrument_token"]) == ("paper", "test", NIFTY)
        assert json.loads(order["counts"])["total"] == 1
        assert [row["signal_id"] for row in db["signals"].rows] == ["s1"]


def test_what_was_said_was_kept_before(tmp_path: Path) -> None:
    """kill -9 as soon as the first order can be read: the next run knows its signal and counts it."""
    args = ["risk", "--state", str(tmp_path / "state"), "--config", a_file(tmp_path, {"max_position": 1})]
    with Pipeline(alpha(*args)) as risk:
        risk.write(stream([tick(0), signal(1)], eof=None))
        risk.wait_for(b'"type":"order"')
        risk.signal(9)
        assert risk.wait() == [-9]
    after = run_alpha(args, stream([tick(1), signal(1), signal(2)]))
    assert codes(events(after.stdout, Order, Denial)) == ["SIGNAL_DUPLICATE", "POSITION_ABOVE_LIMIT"]


def test_what_cannot_be_kept_is_not_said(gate: Callable[..., Gate]) -> None:
    """While another program holds the database nothing is committed, and the loop writes nothing before that."""
    risk = gate()
    risk.store._db.execute("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(risk.store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TryAgain, match="another program"):
            risk(tick(0), signal(1))
        other.execute("ROLLBACK")
    risk.engine.commit()
    risk.restart()
    assert codes(risk(tick(1), signal(1))) == ["SIGNAL_DUPLICATE"]


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    """78, and it is left as it was."""
    (tmp_path / "state").mkdir(mode=0o700)
    with closing(sqlite3.connect(tmp_path / "state" / "risk.db")) as db:
        db.execute("CREATE TABLE mine (x)")
    done = run_alpha(["risk", "--state", str(tmp_path / "state")], stream([tick(0), signal(1)]))
    assert (done.returncode, done.stdout) == (78, b"")


# --- days ------------------------------------------------------------------------------------

TURNOVER = {"max_turnover": 1000, "assume_market_fills": True}


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (on("2024-06-03", "15:00"), ["EXPOSURE_TURNOVER_ABOVE_LIMIT"]),
        (on("2024-06-04", "09:15"), ["ORDER"]),
        (on("2024-06-10", "09:15"), ["ORDER"]),
        (on("2024-06-08"), ["EXPOSURE_TURNOVER_ABOVE_LIMIT"]),  # a Saturday
        (on("2024-06-17"), ["EXPOSURE_TURNOVER_ABOVE_LIMIT"]),  # a holiday
        (on("2031-01-01"), ["EXPOSURE_TURNOVER_ABOVE_LIMIT"]),  # beyond the calendar
        (on("2024-05-31"), ["SESSION_PAST"]),  # a trading day, but an earlier one
    ],
)
@pytest.mark.parametrize("restart", [False, True])
def test_a_day_begins_when_the_stream_enters_a_later_trading_day(
    gate: Callable[..., Gate], moment: float, expected: list[str], restart: bool
) -> None:
    """Not at a start, not on a day without trading or that no calendar knows, and not when time goes back."""
    risk = gate(TURNOVER)
    risk.order(tick(0), signal(1, quantity=10))
    if restart:
        risk.restart()
    assert codes(risk(tick(moment), signal(2, at=moment))) == expected


def test_after_a_day_that_does_not_count_the_next_trading_day_does(gate: Callable[..., Gate]) -> None:
    """A stray time from the future, or a Saturday, does not keep the days after it from beginning."""
    risk = gate(TURNOVER)
    risk.order(tick(0), signal(1, quantity=10))
    for number, day in enumerate(("2024-06-08", "2031-01-01", "2024-06-17"), 2):
        risk(tick(on(day)), signal(number, at=on(day)))
    monday = on("2024-06-18")
    assert codes(risk(tick(monday), signal(9, at=monday, quantity=10))) == ["ORDER"]
    assert risk.store.day == date(2024, 6, 18)


def test_a_day_is_an_indian_day(gate: Callable[..., Gate]) -> None:
    """Whatever zone the ticks are written in: 00:30 in India is still the day before in UTC."""
    from datetime import UTC

    risk = gate(TURNOVER)
    risk.order(tick(0), signal(1, quantity=10))
    midnight = datetime(2024, 6, 4, 0, 30, tzinfo=IST).astimezone(UTC)
    assert midnight.day == 3
    assert codes(risk(Tick(instrument_token=NIFTY, timestamp=midnight, last_price=100.0), signal(2))) == ["ORDER"]


def test_the_loss_of_a_day_counts_from_the_closing_prices_of_the_last(gate: Callable[..., Gate]) -> None:
    """A gap over night counts, what was lost before does not."""
    risk = gate({"max_daily_loss": 50, "assume_market_fills": True})
    risk.order(tick(0, 100), signal(1, quantity=10))
    assert risk(tick(20_000, 96), tick(20_020, 96)) == []  # 40 lost
    assert risk(tick(DAY, 92), tick(DAY + 10, 91.5)) == []  # 45 since yesterday's close
    assert codes(risk(tick(DAY + 30, 90.5))) == ["reduce"]  # 55


def test_closing_prices_outlive_the_process(gate: Callable[..., Gate]) -> None:
    """Losses of yesterday are not counted once more by a process that begins today."""
    risk = gate({"max_daily_loss": 50, "assume_market_fills": True})
    risk.order(tick(0, 100), signal(1, quantity=10))
    assert risk(tick(20, 104)) == []
    assert risk(tick(40, 100)) == []  # 40 down from the best
    risk.restart()
    assert codes(risk(tick(DAY, 98), signal(2, at=DAY, side="HOLD"))) == ["SIGNAL_HOLD"]  # 20 since the close
    assert risk.account.baseline == 0


def test_a_new_day_drops_day_orders_but_not_those_of_which_a_live_broker_said_nothing(
    gate: Callable[..., Gate],
) -> None:
    """Paper's are gone; of an unconfirmed one of a real broker nobody knows, so it holds its instrument."""
    limits = {"max_position": 10, **LIVE}
    risk = gate(limits, broker="zerodha", cash={"zerodha": Decimal(100_000)})
    silent = risk.order(tick(10), a_live_signal(1, at=10, quantity=4))
    known = risk.order(a_live_signal(2, at=10, quantity=3))
    risk(an_update(known, "OPEN", pending=3))
    assert risk.open() == (7, 0)
    risk(tick(DAY), a_live_signal(3, at=DAY, side="HOLD"))
    assert risk.open() == (4, 0)
    risk.restart()
    assert risk.open() == (4, 0)
    assert codes(risk(tick(DAY + 1), a_live_signal(4, at=DAY + 1, quantity=7))) == ["POSITION_ABOVE_LIMIT"]
    risk(a_fill(silent, 4, at=11))
    assert (risk.held(), risk.open()) == (4, (0, 0))


def test_paper_orders_of_yesterday_are_gone(gate: Callable[..., Gate]) -> None:
    risk = gate({"max_position": 10})
    risk.order(tick(0), signal(1, quantity=8, **LIMIT, price=Decimal(99)))
    risk.restart()
    assert risk.open() == (8, 0)
    assert codes(risk(tick(DAY), signal(2, at=DAY, quantity=10))) == ["ORDER"]
    assert risk.account.open_value == 10 * 100 * UNITS


#: All that a live broker needs before anything passes: each at a value that hinders nothing here.
LIVE: dict[str, Any] = {
    "max_order_quantity": 1000, "max_order_value": 10_000_000, "max_open_order_value": 10_000_000,
    "max_turnover": 100_000_000, "max_gross_exposure": 100_000_000, "max_net_exposure": 100_000_000,
    "price_tolerance": 0.5, "market_protection": 0.01, "session_hours": True,
    "entry_window": {"after_open": 0, "before_close": 0}, "expiry_day_entries": True, "max_tick_age": 60,
    "signal_ttl": 3600, "duplicate_window": 0.001, "confirm_within": 86_400, "self_match_prevention": False,
    "products": ["MIS"], "order_types": ["MARKET", "LIMIT"], "participation": False, "max_modifications": 20,
    "allowed_instruments": [str(NIFTY), str(BANK)], "restricted_instruments": ["1"], "max_daily_loss": 1_000_000,
    "max_drawdown": 1_000_000, "repeated_execution": {"orders": 100, "seconds": 1, "round_trips": 100},
    "max_consecutive_rejects": 5, "message_rate": {"second": 10, "minute": 400, "day": 5000},
    "orders_to_trades": {"ratio": 20, "after": 500}, "max_funds_share": 1, "circuit_limits": True,
    "max_funds_age": 60, "reconcile": True, "max_heartbeat_age": 10, "max_clock_skew": 2, "max_clock_jump": 1,
    "algo_id": False, "registered_ip": False,  # as YAML reads off
}  # fmt: skip


def a_live_signal(number: int, at: float = 0, **fields: Any) -> Any:
    return signal(number, at, broker="zerodha", **fields)


def test_what_is_said_to_be_filled_counts_over_night(gate: Callable[..., Gate]) -> None:
    """The fill is late, the day is over: the position at worst is still there, and is the fill's once that comes."""
    risk = gate({"max_position": 10})
    order = risk.order(tick(0), signal(1, quantity=10))
    done = OrderUpdate(order_id=order.order_id, broker="paper", status="COMPLETE", filled_quantity=10)
    risk(done, tick(DAY))
    assert codes(risk(signal(2, at=DAY))) == ["POSITION_ABOVE_LIMIT"]


def test_a_signal_from_tomorrow_begins_no_day(gate: Callable[..., Gate]) -> None:
    """Before any tick of a run nobody knows what day it is; the counts stay."""
    risk = gate({"max_turnover": 1500})
    risk.order(tick(0), signal(1, quantity=10))
    risk.restart()
    risk(signal(2, at=DAY, quantity=10))
    assert codes(risk(tick(20), signal(3, at=20, quantity=10))) == ["EXPOSURE_TURNOVER_ABOVE_LIMIT"]


def test_a_signal_before_the_first_tick_does_not_keep_the_day_from_beginning(gate: Callable[..., Gate]) -> None:
    """What it was asked about is known by then, and the tick that comes next tells the day all the same."""
    risk = gate({"max_turnover": 1500})
    risk.order(tick(0), signal(1, quantity=10))
    risk.restart()
    assert codes(risk(signal(2, at=DAY, quantity=10))) != ["ORDER"]  # whatever day it is
    assert codes(risk(tick(DAY), signal(3, at=DAY, quantity=10))) == ["ORDER"]


# --- reports ---------------------------------------------------------------------------------


def test_each_fill_counts_once(gate: Callable[..., Gate]) -> None:
    """In parts, repeated, and after a restart; the order is over when all of it is filled."""
    risk = gate()
    order = risk.order(tick(0), signal(1, quantity=10))
    parts = [a_fill(order, 4, 100), a_fill(order, 6, 101, 2, charges="2.5")]
    risk(parts[0], parts[0])
    assert (risk.held(), risk.open()) == (4, (6, 0))
    risk.restart()
    risk(*parts, an_update(order, "COMPLETE", filled=10), *parts)
    assert (risk.held(), risk.open(), risk.account.open_value) == (10, (0, 0), 0)
    assert (risk.cash, risk.turnover) == (Decimal("-1008.5"), 1006)
    assert not risk.engine.ledger.orders
    risk.restart()
    risk(*parts)
    assert (risk.held(), risk.cash, risk.held(strategy="test")) == (10, Decimal("-1008.5"), 10)


@pytest.mark.parametrize("assumed", [False, True])
@pytest.mark.parametrize("fill_first", [False, True])
def test_it_does_not_matter_whether_fill_or_update_comes_first(
    gate: Callable[..., Gate], assumed: bool, fill_first: bool
) -> None:
    """Position, cash and turnover are exact afterwards; nothing is left open."""
    risk = gate(ASSUMED if assumed else {})
    order = risk.order(tick(0), signal(1, quantity=10))
    assert (risk.held(), risk.open()) == ((10, (0, 0)) if assumed else (0, (10, 0)))
    fill, update = a_fill(order, 10, 102, charges="1.25"), an_update(order, "COMPLETE", filled=10)
    first, second = (fill, update) if fill_first else (update, fill)
    risk(first)
    assert risk.held() + sum(risk.open()) == 10
    risk(second)
    assert (risk.held(), risk.open(), risk.account.open_value) == (10, (0, 0), 0)
    assert (risk.cash, risk.turnover) == (Decimal("-1021.25"), 1020)
    assert not risk.engine.ledger.orders
    assert risk.account.trades == 1


@pytest.mark.parametrize("restart", [False, True])
def test_a_rejected_order_never_was(gate: Callable[..., Gate], restart: bool) -> None:
    """What was assumed of it is taken back: position, cash, turnover; it holds nothing any more."""
    risk = gate({**ASSUMED, "max_position": 10, "max_turnover": 1000})
    order = risk.order(tick(0), signal(1, quantity=10))
    if restart:
        risk.restart()
        risk(tick(1))
    risk(an_update(order, "REJECTED"))
    assert (risk.held(), risk.cash, risk.turnover, risk.account.open_value) == (0, 0, 0, 0)
    assert codes(risk(signal(2, quantity=10))) == ["ORDER"]


@pytest.mark.parametrize("status", ["REJECTED", "CANCELLED"])
def test_an_assumed_trade_that_never_was_counts_as_no_trade(gate: Callable[..., Gate], status: str) -> None:
    """Messages for each trade: orders that were refused are no trades to divide by."""
    risk = gate(ASSUMED)
    order = risk.order(tick(0), signal(1, quantity=10))
    assert risk.account.trades == 1
    risk(an_update(order, status))
    assert risk.account.trades == 0


@pytest.mark.parametrize("assumed", [False, True])
def test_a_cancelled_order_keeps_what_was_filled_of_it(gate: Callable[..., Gate], assumed: bool) -> None:
    """The update may come before the fill that it counts."""
    risk = gate(ASSUMED if assumed else {})
    order = risk.order(tick(0), signal(1, quantity=10))
    risk(an_update(order, "CANCELLED", filled=4))
    assert risk.held() + risk.open()[0] == 4
    risk(a_fill(order, 4, 101))
    assert (risk.held(), risk.open(), risk.cash, risk.turnover) == (4, (0, 0), -404, 404)
    assert not risk.engine.ledger.orders


def test_an_assumed_fill_gives_way_to_an_order_that_rests(gate: Callable[..., Gate]) -> None:
    """The broker says it is open: it is counted as open, in parts as the parts come."""
    risk = gate(ASSUMED)
    order = risk.order(tick(0), signal(1, quantity=10))
    risk(an_update(order, "OPEN", pending=10))
    assert (risk.held(), risk.open(), risk.cash) == (0, (10, 0), 0)
    risk(a_fill(order, 3, 101), an_update(order, "OPEN", filled=3, pending=7))
    assert (risk.held(), risk.open(), risk.cash) == (3, (7, 0), -303)
    risk(an_update(order, "CANCELLED", filled=3))
    assert (risk.held(), risk.open(), risk.cash, risk.turnover) == (3, (0, 0), -303, 303)


@pytest.mark.parametrize("status", ["PUT ORDER REQ RECEIVED", "VALIDATION PENDING", "OPEN PENDING", "OPEN"])
def test_an_update_without_quantities_closes_no_order(gate: Callable[..., Gate], status: str) -> None:
    """Not every status carries them; an order that is not over may still be filled."""
    risk = gate({"max_position": 10})
    order = risk.order(tick(0), signal(1, quantity=10))
    risk(an_update(order, status))
    assert risk.open() == (10, 0)
    assert codes(risk(signal(2))) == ["POSITION_ABOVE_LIMIT"]


def test_a_late_fill_of_yesterday_counts_once(gate: Callable[..., Gate]) -> None:
    """Reports may lag behind ticks: an assumed fill that is confirmed on the next day is no second one."""
    risk = gate(ASSUMED)
    order = risk.order(tick(0), signal(1, quantity=10))
    risk(tick(DAY), signal(2, at=DAY, side="HOLD"))
    assert risk.held() == 10
    risk(a_fill(order, 10, 100, at=1), an_update(order, "COMPLETE", filled=10, at=1))
    assert risk.held() == 10


def test_fills_of_orders_made_elsewhere_count(gate: Callable[..., Gate]) -> None:
    """The account's position is what it is, whoever traded."""
    risk = gate({"max_position": 10})
    foreign = Order(
        order_id="by-hand", signal_id="none", strategy_id="hand", broker="paper", instrument_token=NIFTY, side="BUY",
        quantity=8, timestamp=START,
    )  # fmt: skip
    risk(tick(0), a_fill(foreign, 8))
    assert (risk.held(), risk.held(strategy="hand"), risk.cash) == (8, 8, -800)
    (denied,) = risk(signal(1, quantity=3))
    assert (denied.code, denied.observed) == ("POSITION_ABOVE_LIMIT", 11)


def a_portfolio(cash: int, quantity: int = 0, at: float = 0, **fields: Any) -> Portfolio:
    zero = Decimal(0)
    position = Position(
        instrument_token=NIFTY, quantity=quantity, average_price=Decimal(90), realised_pnl=zero, unrealised_pnl=zero,
        last_price=Decimal(100),
    )  # fmt: skip
    return Portfolio(
        broker="paper", cash=Decimal(cash), equity=Decimal(cash), realised_pnl=zero, unrealised_pnl=zero, charges=zero,
        timestamp=START + timedelta(seconds=at), positions=[position] if quantity else [], **fields,
    )  # fmt: skip


def test_an_opening_portfolio_is_adopted_into_empty_books_only(gate: Callable[..., Gate]) -> None:
    """What the account held before counts towards limits, as no trade and no loss of the day."""
    risk = gate({"max_position": 10, "max_daily_loss": 100, "max_turnover": 5000})
    risk(a_portfolio(1000, 8))
    assert (risk.held(), risk.turnover, risk.account.baseline) == (8, 0, 0)
    assert codes(risk(tick(0, 100), signal(1, quantity=3))) == ["POSITION_ABOVE_LIMIT"]
    risk(a_portfolio(2000, 5, at=1))
    assert risk.held() == 8
    risk.restart()
    risk(a_portfolio(2000, 5, at=2))
    assert risk.held() == 8
    assert codes(risk(tick(10, 100), signal(2, side="SELL"), tick(20, 86))) == ["ORDER", "reduce"]


def test_a_portfolio_that_is_read_again_brings_no_money_back(gate: Callable[..., Gate]) -> None:
    """Funds are the broker's last word, less what was paid since; the same word again changes nothing."""
    risk = gate({"max_funds_share": 1})
    opening = a_portfolio(1000)
    order = risk.order(tick(0), opening, signal(1, quantity=9))
    fill = a_fill(order, 9)
    risk(fill)
    assert risk.engine.ledger.funds["paper"] == 100 * UNITS
    risk.restart()
    risk(opening, fill)
    assert risk.engine.ledger.funds["paper"] == 100 * UNITS
    assert codes(risk(tick(1), signal(2, quantity=2))) == ["FUNDS_INSUFFICIENT"]


def test_rejections_in_a_row_stop_the_strategy(gate: Callable[..., Gate]) -> None:
    """One that is taken in between ends the row; the restart does not."""
    risk = gate({"max_consecutive_rejects": 3})

    def reject(number: int) -> list[Any]:
        return risk(an_update(risk.order(signal(number, at=number)), "REJECTED"))

    risk(tick(0))
    assert [reject(1), reject(2)] == [[], []]
    taken = risk.order(signal(3))
    assert risk(an_update(taken, "OPEN", pending=1)) == []
    assert [reject(4), reject(5)] == [[], []]
    risk.restart()
    risk(tick(1))
    (stopped,) = reject(6)
    assert (stopped.action, stopped.target, stopped.value["code"]) == ("halt", "test", "EXECUTION_REJECTS")
    assert codes(risk(signal(7))) == ["STRATEGY_HALTED"]
    assert codes(risk(Control(action="rearm", target="test", by="kim"), signal(8))) == ["rearm", "ORDER"]


def test_fills_beside_the_stream_are_followed(tmp_path: Path) -> None:
    """A file that is not there yet, that is there, that grows; read again after a restart, each counts once."""
    fills = tmp_path / "fills.ndjson"
    args = ["risk", "--state", str(tmp_path / "state"), "--fills", str(fills), "--config"]
    args.append(a_file(tmp_path, {"max_position": 10}))
    with Pipeline(alpha(*args)) as risk:
        risk.write(stream([tick(0), signal(1, quantity=6)], eof=None))
        (order,) = events(risk.wait_for(b'"type":"order"'), Order)
        fills.write_bytes(encode(a_fill(order, 2)) + b"\n")
        risk.write(stream([signal(2, quantity=5)], hello=False, eof=None))  # 2 held, 4 open
        (denied,) = events(risk.wait_for(b'"type":"denial"'), Denial)
        assert (denied.code, denied.observed) == ("POSITION_ABOVE_LIMIT", 11)
        with fills.open("ab") as file:
            file.write(encode(an_update(order, "CANCELLED", filled=2)) + b"\n")
        risk.write(stream([signal(3, quantity=8)], hello=False))  # 2 held, none open
        assert risk.finish() == [0]
        assert codes(events(risk.output, Order)) == ["ORDER"] * 2
        last = events(risk.output, Order)[-1]
    with fills.open("ab") as file:  # while risk does not run
        file.write(encode(a_fill(last, 8)) + b"\n" + encode(an_update(last, "COMPLETE", filled=8)) + b"\n")
    done = run_alpha(args, stream([tick(1), signal(4, side="SELL", quantity=20), signal(5)]))
    assert codes(events(done.stdout, Order, Denial)) == ["ORDER", "POSITION_ABOVE_LIMIT"]
    with closing(sqlite3.connect(tmp_path / "state" / "risk.db")) as db:
        (counts,) = db.execute("SELECT counts FROM scopes WHERE kind = 1").fetchone()
    assert json.loads(counts)["holdings"][str(NIFTY)]["quantity"] == 10


def test_a_fifo_of_fills_is_followed(tmp_path: Path) -> None:
    """Nobody waits for its writer, and a writer may come and go."""
    fifo = tmp_path / "fills"
    os.mkfifo(fifo)
    args = ["risk", "--fills", str(fifo), "--config", a_file(tmp_path, {"max_position": 5})]
    with Pipeline(alpha(*args)) as risk:
        risk.write(stream([tick(0), signal(1, quantity=5)], eof=None))
        (order,) = events(risk.wait_for(b'"type":"order"'), Order)
        for number, quantity in enumerate((2, 3), 1):
            with fifo.open("wb") as writer:
                writer.write(encode(a_fill(order, quantity, number=number)) + b"\n")
                writer.flush()
                risk.write(stream([signal(10 + number, at=number)], hello=False, eof=None))
                risk.wait_for(lambda out, wanted=number: out.count(b"POSITION_ABOVE_LIMIT") == wanted)
        risk.write(stream([signal(2, side="SELL", quantity=10)], hello=False))
        assert risk.finish() == [0]
        assert codes(events(risk.output, Order, Denial))[-1] == "ORDER"


def test_what_is_no_file_of_fills_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    """A folder: 66, and no order."""
    done = run_alpha(["risk", "--fills", str(tmp_path / "none" / "fills")], stream([tick(0), signal(1)]))
    assert (done.returncode, done.stdout) == (66, b"")
    assert f"there is no folder {tmp_path / 'none'}" in done.stderr.decode()
    done = run_alpha(["risk", "--fills", str(tmp_path)], stream([tick(0), signal(1)]))
    assert (done.returncode, done.stdout) == (66, b"")


@pytest.mark.parametrize("assumed", [False, True])
def test_with_feedback_risk_knows_what_paper_knows(tmp_path: Path, assumed: bool) -> None:
    """`alpha pipe --feedback`: positions, cash and what is open are the same at the end of a day."""
    state = tmp_path / "state"
    file = a_file(tmp_path, {"assume_market_fills": assumed, "max_position": 1000})
    pipeline = f"feed --seed 4 --ticks 20000 | run-strategy momentum | risk --state {state} --config {file} | paper"
    done = run_alpha(["pipe", "--feedback", pipeline])
    assert done.returncode == 0, done.stderr
    closing_books = events(done.stdout, Portfolio)[-1]
    assert len(events(done.stdout, Fill)) > 20
    with closing(sqlite3.connect(state / "risk.db")) as db:
        (counts,) = db.execute("SELECT counts FROM scopes WHERE kind = 1 AND broker = 'paper'").fetchone()
        funds = json.loads(db.execute("SELECT value FROM known WHERE name = 'funds'").fetchone()[0])
    account = json.loads(counts)
    held = {token: one["quantity"] for token, one in account["holdings"].items() if one.get("quantity", 0)}
    assert held == {str(one.instrument_token): one.quantity for one in closing_books.positions if one.quantity}
    assert Decimal(account["cash"]) / UNITS == closing_books.cash - 1_000_000
    assert Decimal(funds["paper"]) / UNITS == closing_books.cash


def test_a_complete_order_without_figures_is_filled(gate: Callable[..., Gate]) -> None:
    """Whoever leaves them out does not say that nothing was."""
    risk = gate({"max_position": 10})
    order = risk.order(tick(0), signal(1, quantity=10))
    risk(OrderUpdate(order_id=order.order_id, broker="paper", status="COMPLETE"))
    assert codes(risk(signal(2))) == ["POSITION_ABOVE_LIMIT"]


def test_interim_states_do_not_end_a_streak_of_rejections(gate: Callable[..., Gate]) -> None:
    """The broker looked at the order, and refused it."""
    risk = gate({"max_consecutive_rejects": 2})
    for number in (1, 2):
        order = risk.order(tick(0), signal(number))
        for status in ("PUT ORDER REQ RECEIVED", "REJECTED"):
            risk(OrderUpdate(order_id=order.order_id, broker="paper", status=status))
    assert codes(risk(signal(3))) == ["STRATEGY_HALTED"]


def test_fills_of_two_brokers_with_one_number_are_two(gate: Callable[..., Gate]) -> None:
    """A trade id is unique at its broker, for its order."""
    risk = gate({"max_position": 10})
    fill = Fill(
        fill_id="T1", order_id="x", signal_id="x", strategy_id="test", broker="zerodha", instrument_token=NIFTY,
        side="BUY", quantity=10, price=Decimal(100), charges={}, timestamp=START,
    )  # fmt: skip
    risk(tick(0), fill, replace(fill, broker="paper"))
    assert codes(risk(signal(1))) == ["POSITION_ABOVE_LIMIT"]


@pytest.mark.parametrize("cash", ["NaN", "1e30", "1e400"])
def test_cash_that_is_none_makes_funds_unknown(gate: Callable[..., Gate], cash: str) -> None:
    """And ends nothing."""
    risk = gate({"max_funds_share": 1})
    books = Portfolio(
        broker="paper", cash=Decimal(cash), equity=Decimal(0), realised_pnl=Decimal(0), unrealised_pnl=Decimal(0),
        charges=Decimal(0), timestamp=START,
    )  # fmt: skip
    risk(tick(0), books)
    assert codes(risk(signal(1))) == ["FUNDS_UNKNOWN"]


# --- modifications ---------------------------------------------------------------------------


@pytest.mark.parametrize("restart", [False, True])
def test_what_is_open_of_a_modified_order_is_the_larger_of_both(gate: Callable[..., Gate], restart: bool) -> None:
    """A modification may be refused, or arrive: the broker's word on the quantity decides."""
    risk = gate({"max_position": 12})
    order = risk.order(tick(0), signal(1, quantity=10, **LIMIT, price=Decimal(100)))
    smaller = Modify(order_id=order.order_id, quantity=4)
    assert risk(smaller) == [smaller]
    if restart:
        risk.restart()
        risk(tick(1))
    assert risk.open() == (10, 0)
    assert codes(risk(signal(2, quantity=3))) == ["POSITION_ABOVE_LIMIT"]
    risk(an_update(order, "OPEN", pending=4))
    assert risk.open() == (4, 0)
    larger = Modify(order_id=order.order_id, quantity=13)
    assert codes(risk(larger)) == ["POSITION_ABOVE_LIMIT"]
    assert risk.open() == (4, 0)


def test_two_modifications_do_not_reach_together_what_neither_may(gate: Callable[..., Gate]) -> None:
    """Fewer units at a higher price: should that be refused, the units stay; so the larger of both counts of each."""
    risk = gate({"max_open_order_value": 1200})
    order = risk.order(tick(0), signal(1, quantity=10, **LIMIT, price=Decimal(100)))
    dearer = Modify(order_id=order.order_id, quantity=5, price=Decimal(150))
    assert codes(risk(dearer)) == ["EXPOSURE_OPEN_ABOVE_LIMIT"]
    risk(Modify(order_id=order.order_id, quantity=5))
    risk(OrderUpdate(order_id=order.order_id, broker="paper", status="OPEN", pending_quantity=5))
    assert codes(risk(dearer)) == []


def test_a_sale_is_modified_at_the_highest_price_it_may_have(gate: Callable[..., Gate]) -> None:
    """As it is counted: more units of it are worth what they cost at that price."""
    risk = gate({"max_open_order_value": 1400})
    order = risk.order(tick(0), signal(1, side="SELL", quantity=1, **LIMIT, price=Decimal(90)))
    risk(Modify(order_id=order.order_id, price=Decimal(150)))
    assert codes(risk(Modify(order_id=order.order_id, quantity=10))) == ["EXPOSURE_OPEN_ABOVE_LIMIT"]


def test_an_order_that_is_over_is_not_modified(gate: Callable[..., Gate]) -> None:
    """Its last fill may still be to come; a modification would count as open what can never be filled."""
    risk = gate()
    order = risk.order(tick(0), signal(1, quantity=10, **LIMIT, price=Decimal(100)))
    risk(an_update(order, "CANCELLED", filled=4))
    assert codes(risk(Modify(order_id=order.order_id, quantity=12))) == ["ORDER_UNKNOWN"]
    assert risk.open() == (4, 0)
    risk(a_fill(order, 4))
    assert (risk.held(), risk.open(), dict(risk.engine.ledger.orders)) == (4, (0, 0), {})


def test_a_modification_of_what_risk_does_not_know_does_not_pass(gate: Callable[..., Gate]) -> None:
    """Nor does an order; a cancel always does."""
    risk = gate()
    risk(tick(0))
    assert codes(risk(Modify(order_id="elsewhere", quantity=1))) == ["ORDER_UNKNOWN"]
    foreign = Order(
        order_id="elsewhere", signal_id="none", strategy_id="hand", broker="paper", instrument_token=NIFTY, side="BUY",
        quantity=8, timestamp=START,
    )  # fmt: skip
    assert codes(risk(foreign)) == ["ORDER_FOREIGN"]
    assert risk(Cancel(order_id="elsewhere")) == []


def test_an_order_of_yesterday_is_not_modified(gate: Callable[..., Gate]) -> None:
    """The day began with that very line: the order is gone, and comes to nothing."""
    risk = gate({"max_position": 10})
    order = risk.order(tick(0), signal(1, quantity=10, **LIMIT, price=Decimal(100)))
    assert codes(risk(tick(DAY), Modify(order_id=order.order_id, quantity=10))) == ["ORDER_UNKNOWN"]
    assert codes(risk(signal(2, at=DAY, quantity=10))) == ["ORDER"]
