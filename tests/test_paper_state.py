"""`alpha paper --state` as real processes: what it keeps, through restarts, repeats, locks and crashes."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from conftest import Pipeline, alpha, counters, run_alpha

from alpha_cli.events import IST, Cancel, Eof, Hello, Modify, Order, Tick, decode, encode

TOKEN = 256265
OPENING = datetime(2024, 6, 3, 9, 15, tzinfo=IST)


def run(lines, *options, code=0):
    """(events, what was said on stderr) of `alpha paper` on `lines`."""
    done = run_alpha(["paper", *map(str, options)], b"".join(lines))
    assert done.returncode == code, done.stderr.decode()
    return [decode(line) for line in done.stdout.splitlines()], done.stderr.decode()


def started(state):
    """`alpha paper --state` in a process of its own, whose input stays open."""
    return Pipeline(alpha("paper", "--state", str(state)))


def line(event):
    return encode(event) + b"\n"


def tick(second, price, token=TOKEN):
    return line(Tick(instrument_token=token, timestamp=OPENING + timedelta(seconds=second), last_price=price))


def order(name, side="BUY", quantity=10, second=0, **fields):
    fields = {
        "signal_id": f"s-{name}", "strategy_id": "momentum", "broker": "paper", "instrument_token": TOKEN, **fields,
    }  # fmt: skip
    timestamp = OPENING + timedelta(seconds=second)
    return line(Order(order_id=name, side=side, quantity=quantity, timestamp=timestamp, **fields))


def limit(name, price, **fields):
    return order(name, order_type="LIMIT", price=Decimal(price), **fields)


def day(seconds=200):
    """Two instruments, market and limit orders, modifications and cancels, some at the same second."""
    for second in range(seconds):
        price = 100 + (second * 37 % 41) / 20
        yield tick(second, price)
        yield tick(second, price + 50, token=9)
        yield tick(second, price - 0.05)
        if second % 3 == 0:
            yield order(f"m{second}", side="BUY" if second % 2 else "SELL", quantity=1 + second % 7)
        if second % 5 == 0:
            yield limit(f"l{second}", "100.35" if second % 2 else "151.2", instrument_token=TOKEN if second % 2 else 9)
        if second % 11 == 0:
            yield line(Modify(order_id=f"l{second - second % 5}", price=Decimal("100.5")))
        if second % 13 == 0:
            yield line(Cancel(order_id=f"l{second - second % 5}"))


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


def rows(state, query, name="paper"):
    connection = sqlite3.connect(f"file:{state / name}.db?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_no_input_gives_one_portfolio_and_imports_no_database():
    """The hot start: without --state neither sqlite nor pydantic is loaded."""
    code = (
        "import sys; from alpha_cli.cli import execute; execute(['paper']);"
        "print(sorted({'sqlite3', 'sqlite_utils', 'pydantic', 'orjson'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    (portfolio,) = map(decode, done.stdout.splitlines())
    assert (portfolio.cash, portfolio.timestamp) == (1_000_000, None)
    assert done.stderr.endswith(b"[]\n")


def test_a_second_run_continues_the_portfolio(state):
    """Positions, cash, last prices and resting orders are those that the first run left."""
    first, _ = run([tick(0, 100.0), order("a"), limit("b", "90"), tick(1, 101.5)], "--state", state)
    assert first[-1].positions[0].last_price == Decimal("101.5")
    second, _ = run([], "--state", state)
    assert second[-1].positions == first[-1].positions
    assert (second[-1].cash, second[-1].timestamp) == (Decimal(999_000), None)
    third, counts = run([tick(2, 89.0), order("c", side="SELL", quantity=20)], "--state", state)
    assert [event.price for event in third if hasattr(event, "fill_id")] == [Decimal(90), Decimal(89)]
    assert (third[-1].cash, third[-1].positions[0].quantity) == (Decimal(999_000) - 900 + 20 * 89, 0)
    assert "open=0" in counts


def test_the_same_input_again_changes_nothing(state):
    """Each order is applied once, the repeats are counted, and the closing line is the same."""
    lines = list(day())
    first, _ = run(lines, "--state", state)
    again, counts = run(lines, "--state", state)
    assert [type(event).__name__ for event in again] == ["Portfolio"]
    assert again[-1] == first[-1]
    assert counters(counts)["repeated"] >= sum(item.startswith(b'{"type":"order"') for item in lines)
    assert (counters(counts)["orders"], counters(counts)["fills"]) == (0, 0)
    plain, _ = run(lines)
    assert plain == first


def test_a_signal_is_not_applied_twice_across_runs(state):
    """A second order for it, with another id, is rejected."""
    run([tick(0, 100.0), order("a", signal_id="s")], "--state", state)
    (update, portfolio), _ = run([tick(1, 100.0), order("b", signal_id="s")], "--state", state)
    assert (update.status, portfolio.positions[0].quantity) == ("REJECTED", 10)


def update_of(order_id):
    """How the update of an order begins on the wire."""
    return b'{"type":"order_update","order_id":"%s"' % order_id.encode()


@pytest.mark.parametrize("part", [0.13, 0.5, 0.77])
def test_killed_between_batches_and_run_again(state, part):
    """kill -9 once its answers are out; the same input again gives the closing line of an unbroken run."""
    lines = list(day())
    unbroken, _ = run(lines)
    cut = next(
        i for i in range(int(len(lines) * part), len(lines)) if lines[i].startswith(b'{"type":"order","order_id":"m')
    )
    last = update_of(decode(lines[cut]).order_id)
    with started(state) as process:
        process.write(b"".join(lines[: cut + 1]))
        output = process.wait_for(lambda output: last in output and output.endswith(b"\n"))
        process.signal(signal.SIGKILL)
    said = [decode(item) for item in output.splitlines()]
    again, _ = run(lines, "--state", state)
    assert again[-1] == unbroken[-1]
    assert said + again == unbroken  # nothing lost, nothing said twice


def test_killed_anywhere_and_run_again(state):
    """kill -9 at whatever moment, again and again: never a wrong book, and the end is the unbroken one."""
    lines = list(day())
    unbroken, _ = run(lines)
    for part in range(1, 6):
        with started(state) as process:
            process.write(b"".join(lines[: len(lines) * part // 6]))
            process.signal(signal.SIGKILL)
    again, _ = run(lines, "--state", state)
    assert again[-1] == unbroken[-1]


def test_answers_are_on_disk_before_they_are_said(state):
    """Commit first, then speak: whoever reads a fill finds it in the database."""
    with started(state) as process:
        process.write(tick(0, 100.0) + order("a"))
        fill = decode(process.wait_for(b"\n").splitlines()[0])
        assert rows(state, "SELECT fill_id, price FROM fills") == [(fill.fill_id, "100")]


def test_a_locked_state_is_75_within_a_second(state):
    """The message says who holds it and how to run beside it; --as NAME then does."""
    with started(state) as holder:
        holder.write(tick(0, 100.0) + order("a"))
        holder.wait_for(b"COMPLETE")  # it is at work
        done = run_alpha(["paper", "--state", str(state)], timeout=1)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (75, b"", 1)
        assert f"held by process {holder.processes[0].pid}; " in done.stderr.decode()
        beside, _ = run([], "--state", state, "--as", "paper-2")
        assert beside[-1].cash == 1_000_000
        assert (state / "paper-2.db").exists()


def test_modes_under_umask_0(state):
    """Nobody else reads the books."""
    before = os.umask(0)
    try:
        run([tick(0, 100.0), order("a")], "--state", state)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [state, *state.iterdir()]}
    assert modes == {"state": 0o700, "paper.db": 0o600, "paper.lock": 0o600}


def test_sqlite_utils_can_ask_the_books(state):
    """The view `trades` has numbers, the tables foreign keys and exact text."""
    run([tick(0, 100.05), order("a"), limit("b", "90")], "--state", state)

    def ask(*arguments):
        command = [sys.executable, "-m", "sqlite_utils", *arguments]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)

    database = str(state / "paper.db")
    (trade,) = ask("rows", database, "trades")
    assert (trade["price"], trade["value"], trade["strategy_id"]) == (100.05, 1000.5, "momentum")
    assert trade["timestamp"] == "2024-06-03T09:15:00+05:30"
    assert ask("rows", database, "open_orders")[0]["order_id"] == "b"
    assert ask("query", database, "select typeof(cash) as kind, cash from accounts") == [
        {"kind": "text", "cash": "998999.5"}
    ]
    assert ask("query", database, "select quantity from open_positions") == [{"quantity": 10}]
    keys = ask("query", database, """select "table" as other from pragma_foreign_key_list('fills')""")
    assert {key["other"] for key in keys} == {"accounts", "orders"}
    assert len(ask("rows", database, "portfolios")) == 1


def test_cash_is_set_once(state):
    """A new account begins with --cash; later another figure is a usage error, the same one is not."""
    events, _ = run([], "--state", state, "--cash", "5,00,000.50")
    assert events[-1].cash == Decimal("500000.50")
    _, message = run([], "--state", state, "--cash", "7", code=2)
    assert "began with 500000.5" in message
    for options in (["--cash", "500000.5"], []):
        assert run([], "--state", state, *options)[0][-1].cash == Decimal("500000.50")


@pytest.mark.parametrize(
    "options", [["--cash", "lots"], ["--cash", "-1"], ["--cash", "nan"], ["--cash", "1e99"], ["--as", "x"]]
)
def test_wrong_options_are_2(options):
    """One line that says how to mend it."""
    _, message = run([], *options, code=2)
    assert message.startswith("alpha paper: --")
    assert message.count("\n") == 1


def test_tampered_books_are_70(state):
    """A figure changed by hand is found before anything is traded on it."""
    run([tick(0, 100.0), order("a")], "--state", state)
    with sqlite3.connect(state / "paper.db") as connection:
        connection.execute("UPDATE accounts SET cash = '1000000'")
    connection.close()
    _, message = run([tick(1, 100.0), order("b")], "--state", state, code=70)
    assert "equity is" in message


def test_each_session_closes_with_a_portfolio():
    """Recordings may follow one another; a sink writes only what it did."""
    session = [line(Hello(wire=1, source="test", version="0")), tick(0, 100.0), order("a"), line(Eof(ok=True, code=0))]
    later = [line(Hello(wire=1, source="test", version="0")), tick(5, 110.0), line(Eof(ok=True, code=0))]
    events, _ = run(session + later)
    assert [type(event).__name__ for event in events] == ["Fill", "OrderUpdate", "Portfolio", "Portfolio"]
    assert [event.unrealised_pnl for event in events[2:]] == [0, 100]


def test_forward_keeps_the_input_in_its_place():
    """`--forward`: what is added comes after the line that caused it, the portfolio before `eof`."""
    orders = [order("a", broker="zerodha"), limit("b", "90")]
    ticks = [tick(1, 90.0), tick(2, 91.0)]
    lines = [line(Hello(wire=1, source="t", version="0")), tick(0, 100.0), *orders, *ticks, line(Eof(ok=True, code=0))]
    done = run_alpha(["paper", "--forward"], b"".join(lines))
    out = done.stdout.splitlines(keepends=True)
    assert [item for item in out if item in lines] == lines
    kinds = [json.loads(item)["type"] for item in out]
    assert kinds == [
        "hello",
        "tick",
        "order",
        "order",
        "order_update",
        "tick",
        "fill",
        "order_update",
        "tick",
        "portfolio",
        "eof",
    ]
