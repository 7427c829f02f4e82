"""What stops risk, and who lets it go on: losses, the file HALT, requests, recordings of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.events import BANK, NIFTY, START, signal, stream, tick
from support.processes import Pipeline, alpha, run_alpha
from support.risk_gate import ASSUMED, DAY, LIMIT, Gate, a_file, codes, events

from alpha_cli.core.codec import encode
from alpha_cli.core.events import Cancel, Control, Denial, Modify, Order, Portfolio, Position

# --- losses ----------------------------------------------------------------------------------

LOSS = {"max_daily_loss": 100, "assume_market_fills": True}


def test_a_loss_is_seen_though_nobody_asks_for_anything(tmp_path: Path) -> None:
    """Ticks alone: REDUCING beyond the limit, HALTED beyond one and a half times it, latched though prices recover."""
    args = ["risk", "--state", str(tmp_path / "state"), "--config", a_file(tmp_path, LOSS)]
    day = [
        tick(0, 100), signal(1, quantity=10), tick(9, 80), tick(10, 89), tick(15, 200), tick(20, 84),
        tick(40, 500), signal(2, at=40), signal(3, at=40, side="SELL", quantity=10),
    ]  # fmt: skip
    done = run_alpha(args, stream(day))
    assert done.returncode == 80
    made = events(done.stdout, Order, Denial, Control)
    assert codes(made) == ["ORDER", "reduce", "halt", "TRADING_HALTED", "TRADING_HALTED"]
    reduce, halt = made[1:3]
    assert (reduce.by, reduce.target, reduce.value["code"]) == ("risk", "paper", "LOSS_ABOVE_LIMIT")
    assert (reduce.value["limit"], reduce.value["observed"], reduce.timestamp) == (
        100, 110, START + timedelta(seconds=10),
    )  # fmt: skip
    assert (halt.value["observed"], halt.timestamp) == (160, START + timedelta(seconds=20))
    lines = done.stdout.splitlines()
    assert b'"reduce"' in lines[lines.index(encode(day[3])) + 1]  # right after the tick that shows it


def test_reducing_lets_positions_be_closed_and_nothing_else(gate: Callable[..., Gate]) -> None:
    """Not from flat, not larger, not through a flip; and a modification is held to the same."""
    risk = gate(LOSS)
    risk.order(tick(0, 100), signal(1, quantity=10))
    assert codes(risk(tick(10, 89))) == ["reduce"]
    assert codes(risk(signal(2), signal(3, instrument_token=BANK))) == ["TRADING_REDUCING"] * 2
    assert codes(risk(signal(4, side="SELL", quantity=11))) == ["TRADING_REDUCING"]
    order = risk.order(signal(5, side="SELL", quantity=6, **LIMIT, price=Decimal(90)))
    assert codes(risk(signal(6, side="SELL", quantity=5))) == ["TRADING_REDUCING"]
    assert codes(risk(Modify(order_id=order.order_id, quantity=11))) == ["TRADING_REDUCING"]
    modify = Modify(order_id=order.order_id, quantity=10)
    assert risk(modify) == [modify]
    assert risk(Cancel(order_id=order.order_id)) == []


def test_a_loss_is_seen_after_a_restart_too(gate: Callable[..., Gate]) -> None:
    """A position that an earlier run opened is marked, though this run was never asked for anything."""
    risk = gate(LOSS)
    risk.order(tick(0, 100), signal(1, quantity=10))
    risk.restart()
    assert codes(risk(tick(20, 89), tick(40, 89))) == ["reduce"]


def test_a_stop_by_losses_outlives_days_and_processes(gate: Callable[..., Gate]) -> None:
    """Only a person ends it: not a new day, not a restart, not better prices."""
    risk = gate(LOSS)
    risk.order(tick(0, 100), signal(1, quantity=10))
    assert codes(risk(tick(10, 84))) == ["halt"]
    risk.restart()
    assert codes(risk(tick(DAY, 200), signal(2, at=DAY))) == ["TRADING_HALTED"]
    verdict = risk.engine.verdict()
    assert verdict is not None
    assert verdict.exit_code == 80


def test_resume_lifts_it_and_losses_count_from_there(tmp_path: Path) -> None:
    """`alpha resume --reason` while risk runs: the same prices stop nothing again, as much again does."""
    state = str(tmp_path / "state")
    with Pipeline(alpha("risk", "--state", state, "--config", a_file(tmp_path, LOSS))) as risk:
        risk.write(stream([tick(0, 100), signal(1, quantity=10), tick(10, 84)], eof=None))
        risk.wait_for(b'"action":"halt"')
        done = run_alpha(["resume", "--state", state, "--reason", "looked at it"])
        assert done.returncode == 0
        assert done.stdout.startswith(b"paper may go on; it was HALTED: too much was lost today")
        risk.write(stream([tick(20, 84), signal(2, at=20), tick(30, 83), tick(40, 75)], hello=False, eof=None))
        risk.wait_for(lambda out: out.count(b'"by":"risk"') == 2)
        risk.write(stream([tick(50, 73.5), signal(3, at=50)], hello=False))
        assert risk.finish() == [80]
        made = events(risk.output, Order, Denial, Control)
    assert codes(made) == ["ORDER", "halt", "resume", "ORDER", "reduce", "TRADING_REDUCING"]
    assert "looked at it" in made[2].reason


def test_drawdown_and_strategies_have_limits_of_their_own(gate: Callable[..., Gate]) -> None:
    """A fall from the peak counts though the day is won; of one strategy it stops that strategy alone."""
    risk = gate(ASSUMED, strategies={"test": {"max_drawdown": 100}})
    risk.order(tick(0, 100), signal(1, quantity=10))
    assert risk(tick(20, 150)) == []
    (stopped,) = risk(tick(40, 139))
    assert (stopped.action, stopped.target, stopped.value["code"]) == ("reduce", "test", "LOSS_DRAWDOWN_ABOVE_LIMIT")
    assert codes(risk(signal(2), signal(3, strategy_id="other"))) == ["TRADING_REDUCING", "ORDER"]


def test_a_position_of_unknown_worth_is_marked_at_its_first_tick(gate: Callable[..., Gate]) -> None:
    """It counts in units at once, and makes no profit by being found out."""
    risk = gate({"max_position": 100, "max_daily_loss": 100})
    held = Position(
        instrument_token=NIFTY, quantity=100, average_price=Decimal(0), realised_pnl=Decimal(0),
        unrealised_pnl=Decimal(0), last_price=Decimal("NaN"),
    )  # fmt: skip
    books = Portfolio(
        broker="paper", cash=Decimal(1000), equity=Decimal(0), realised_pnl=Decimal(0), unrealised_pnl=Decimal(0),
        charges=Decimal(0), timestamp=START, positions=[held],
    )  # fmt: skip
    assert codes(risk(books, tick(0, 100), signal(1))) == ["POSITION_ABOVE_LIMIT"]
    assert codes(risk(tick(20, 98.9))) == ["reduce"]


# --- the file HALT ---------------------------------------------------------------------------


def test_the_file_is_looked_at_before_every_order(gate: Callable[..., Gate]) -> None:
    """Made and removed between two signals; each change is told once, before what it brings about."""
    asked: list[None] = []
    why: list[str | None] = [None]
    risk = gate(halt=lambda: asked.append(None) or why[0])
    resting = risk.order(tick(0), signal(1, **LIMIT, price=Decimal(90)))
    before = len(asked)
    why[0] = "prices look wrong"
    assert codes(risk(signal(2), signal(3))) == ["halt", "TRADING_HALTED", "TRADING_HALTED"]
    assert codes(risk(Modify(order_id=resting.order_id, price=Decimal(91)))) == ["TRADING_HALTED"]
    assert len(asked) - before >= 3
    assert risk(Cancel(order_id=resting.order_id)) == []
    why[0] = None
    made = risk(signal(4))
    assert codes(made) == ["resume", "ORDER"]
    assert (made[0].by, made[0].value) == ("risk", {"cause": "file"})


def test_the_stream_cannot_lift_the_file(gate: Callable[..., Gate]) -> None:
    """A `resume` of a recording, or of whoever writes to the pipe, is no leave to trade."""
    risk = gate(halt=lambda: "prices look wrong")
    risk(tick(0), signal(1))
    resume = Control(action="resume", by="kim")
    fake = Control(action="resume", by="risk", value={"cause": "file"})
    assert codes(risk(resume, signal(2)))[-1] == "TRADING_HALTED"
    assert codes(risk(fake, signal(3)))[-1] == "TRADING_HALTED"


def test_a_locked_database_does_not_keep_a_halt_from_holding(tmp_path: Path) -> None:
    """While another program holds it nothing is said at all; then the denials come, and no order did."""
    state = tmp_path / "state"
    with Pipeline(alpha("risk", "--state", str(state))) as risk:
        risk.write(stream([tick(0), signal(1)], eof=None))
        risk.wait_for(b'"type":"order"')
        with closing(sqlite3.connect(state / "risk.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            done = run_alpha(["halt", "--state", str(state), "--reason", "prices look wrong"])
            assert done.returncode == 0
            risk.write(stream([signal(2)], hello=False, eof=None))
            other.execute("ROLLBACK")
        risk.wait_for(b"TRADING_HALTED")
        risk.write(stream(hello=False))
        assert risk.finish() == [80]
        assert codes(events(risk.output, Order, Denial, Control)) == ["ORDER", "halt", "TRADING_HALTED"]


def test_a_halt_is_decided_on_while_the_database_is_locked(gate: Callable[..., Gate]) -> None:
    """The denial needs no write; only keeping it does."""
    risk = gate(halt=lambda: "prices look wrong")
    with closing(sqlite3.connect(risk.store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert codes(risk.engine.on_signal(signal(1))) == ["halt", "TRADING_HALTED"]
        other.execute("ROLLBACK")


def test_halt_and_resume_are_told_in_the_stream_without_any_signal(tmp_path: Path) -> None:
    """By risk, once each, with who and when, at the next lines that are read."""
    state = str(tmp_path / "state")
    with Pipeline(alpha("risk", "--state", state)) as risk:
        risk.write(stream([tick(0), signal(1)], eof=None))
        risk.wait_for(b'"type":"order"')
        run_alpha(["halt", "--state", state, "--reason", "lunch"])
        risk.write(stream([tick(1)], hello=False, eof=None))
        risk.wait_for(b'"action":"halt"')
        run_alpha(["resume", "--state", state, "--reason", "back"])
        risk.write(stream([tick(2), signal(2)], hello=False))
        assert risk.finish() == [0]
        made = events(risk.output, Order, Control)
    told = [one for one in made if isinstance(one, Control)]
    assert [(one.action, one.by, one.timestamp) for one in told] == [
        ("halt", "risk", tick(0).timestamp), ("resume", "risk", tick(1).timestamp),
    ]  # fmt: skip
    assert "lunch" in told[0].reason
    assert told[1].reason.endswith(": back")
    assert codes(made)[-1] == "ORDER"


RESUME = Control(action="resume", by="risk", reason="by kim: back", value={"cause": "person", "by": "kim"})


@pytest.mark.parametrize("event", [signal(2), Modify(order_id="x", quantity=1)], ids=["signal", "modify"])
@pytest.mark.parametrize("again", ["halted", "halted anew", None])
def test_the_last_word_on_a_halt_is_what_holds(tmp_path: Path, event: Any, again: str | None) -> None:
    """A person let trading go on and the file HALT is there all the same, or again: that is said after it, so that a
    replay ends there too. What came from beside the stream is said first, and when it came."""
    why: list[str | None] = ["halted"]
    risk = Gate(tmp_path, halt=lambda: why[0])
    assert codes(risk(tick(0), signal(1)))[:1] == ["halt"]
    why[0] = again
    risk.engine.on_side_event(RESUME)
    made = risk(event)
    assert codes(made)[:-1] == (["resume", "halt"] if again else ["resume"])
    assert all(one.timestamp == tick(0).timestamp for one in made)
    replayed = Gate(tmp_path / "replay")
    ended = replayed(tick(0), *(one for one in made if isinstance(one, Control)), signal(3))
    assert codes(ended)[-1] == codes(risk(signal(3)))[-1] == ("TRADING_HALTED" if again else "ORDER")


@pytest.mark.parametrize("state", [False, True])
def test_a_recording_of_halts_gives_the_same_denials_again(tmp_path: Path, state: bool) -> None:
    """The lines risk wrote are in the recording: without the file, with or without a folder, they hold once more."""
    folder = str(tmp_path / "first")
    config = a_file(tmp_path, {**LOSS, "repeated_execution": {"orders": 3, "seconds": 60, "round_trips": 5}})
    with Pipeline(alpha("risk", "--state", folder, "--config", config)) as risk:
        risk.write(stream([tick(0), signal(1)], eof=None))
        risk.wait_for(b'"type":"order"')
        run_alpha(["halt", "--state", folder, "--reason", "lunch"])
        risk.write(stream([tick(1), signal(2), signal(3)], hello=False, eof=None))
        risk.wait_for(lambda out: out.count(b"TRADING_HALTED") == 2)
        run_alpha(["resume", "--state", folder, "--reason", "back"])
        risk.write(stream([tick(2), *(signal(n, quantity=3) for n in range(4, 9))], hello=False, eof=None))
        risk.wait_for(b"STRATEGY_HALTED")
        run_alpha(["rearm", "test", "--state", folder, "--reason", "on"])
        risk.write(stream([tick(3), signal(9), tick(30, 87), signal(10, at=30)], hello=False))
        assert risk.finish() == [80]
        recorded = risk.output
    made = events(recorded, Order, Denial, Control)
    assert len({one.code for one in made if isinstance(one, Denial)}) == 4
    (tmp_path / "day.ndjson").write_bytes(recorded)
    more = ["--state", str(tmp_path / "second")] if state else []
    feed = alpha("feed", str(tmp_path / "day.ndjson"), "--types", "tick,signal,control")
    with Pipeline(feed, alpha("risk", *more, "--config", config)) as again:
        ended = again.finish()
        replayed = events(again.output, Order, Denial, Control)
    decided = [one for one in made if not isinstance(one, Control)]
    assert [one for one in replayed if not isinstance(one, Control)] == decided
    assert codes(replayed) == codes(made)
    assert ended == [0, 80]


def test_a_halt_of_a_control_event_is_lifted_by_the_commands(tmp_path: Path) -> None:
    """Kept over the runs, it is told by status, and resume and rearm know of it."""
    folder = tmp_path / "state"
    run_alpha(
        ["risk", "--state", str(folder)], stream([tick(), Control(action="halt"), Control("halt", "test", "kim")])
    )
    assert b"by a control event" in run_alpha(["status", "--state", str(folder)]).stdout
    for words in (["resume"], ["rearm", "test"]):
        done = run_alpha([*words, "--state", str(folder), "--reason", "looked"])
        assert b"may go on" in done.stdout
    status = run_alpha(["status", "--state", str(folder)]).stdout.decode()
    asked = [line for line in status.splitlines() if "was asked for" in line]
    assert [line.partition(" was")[0] for line in asked] == ["resume", "rearm test"]
    assert all(line.endswith(": looked; risk acts on it when it runs and reads") for line in asked)
    told = [json.loads(line) for line in run_alpha(["status", "--state", str(folder), "--json"]).stdout.splitlines()]
    assert [(one["action"], one["target"]) for one in told if one["kind"] == "request"] == [
        ("resume", None), ("rearm", "test"),
    ]  # fmt: skip
    done = run_alpha(["risk", "--state", str(folder)], stream([tick(), signal(1)]))
    assert (done.returncode, done.stdout.count(b'"type":"order"')) == (0, 1)
    assert b"was asked for" not in run_alpha(["status", "--state", str(folder)]).stdout
    with closing(sqlite3.connect(folder / "risk.db")) as db, db:
        db.execute("UPDATE known SET value = 'x' WHERE name = 'heard'")
    assert run_alpha(["status", "--state", str(folder)]).returncode == 3  # stopped, and nothing worse
    run_alpha(["halt", "--state", str(folder)])
    assert b"trading may go on" in run_alpha(["resume", "--state", str(folder), "--reason", "damaged"]).stdout


def test_a_list_of_requests_that_was_cut_asks_for_nothing_again(tmp_path: Path) -> None:
    """What is left in it was acted on, or is not what it was; what comes from then on counts."""
    from alpha_cli.stages.risk.requests import Requests

    told: list[str] = []
    path = tmp_path / "halts.ndjson"
    line = b'{"action":"resume","at":"now","by":"kim","reason":"looked"}\n'
    path.write_bytes(line * 3)
    requests = Requests(tmp_path, 0, told.append)
    assert len(list(requests)) == 3
    path.write_bytes(line * 2)
    assert list(requests) == []
    assert "was truncated" in told[0]
    path.write_bytes(line * 3)
    assert [one.action for one in requests] == ["resume"]
