"""`alpha paper --state` as real processes: what it keeps, through restarts, repeats, locks and crashes."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing, suppress
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from support.processes import DEADLINE, Pipeline, alpha, counters, lines_of, run_alpha, shared

from alpha_cli.core.codec import decode, encode
from alpha_cli.core.events import Cancel, Eof, Fill, Hello, Modify, Order, OrderUpdate, Tick
from alpha_cli.core.times import IST
from alpha_cli.stream.lines import PIPE_SIZE

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
        "import sys; from alpha_cli.cli.app import execute; execute(['paper']);"
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
    assert (second[-1].cash, second[-1].timestamp) == (Decimal(999_000) - first[0].charges["total"], None)
    third, counts = run([tick(2, 89.0), order("c", side="SELL", quantity=20)], "--state", state)
    fills = [event for event in third if hasattr(event, "fill_id")]
    assert [fill.price for fill in fills] == [Decimal(90), Decimal(89)]
    charges = sum(fill.charges["total"] for fill in (first[0], *fills))
    assert charges > 0
    assert third[-1].charges == charges
    assert (third[-1].cash, third[-1].positions[0].quantity) == (Decimal(999_000) - 900 + 20 * 89 - charges, 0)
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
    """A second order for it, with another id, is a counted no-op."""
    run([tick(0, 100.0), order("a", signal_id="s")], "--state", state)
    (portfolio,), said = run([tick(1, 100.0), order("b", signal_id="s")], "--state", state)
    assert portfolio.positions[0].quantity == 10
    assert (counters(said)["repeated"], counters(said)["refused"], counters(said)["orders"]) == (1, 0, 0)


def test_a_cancellation_on_its_way_outlives_a_restart(state):
    """With its reason and its time, also if its order reached the exchange, or was filled in part, meanwhile."""
    before = [tick(0, 100.0), limit("o1", "90"), tick(1, 100.0), line(Cancel(order_id="o1", reason="enough")),
              tick(2, 100.0), line(Tick(instrument_token=TOKEN, timestamp=OPENING + timedelta(seconds=2.25),
                                        last_price=89.0, last_traded_quantity=3))]  # fmt: skip
    events, _ = run(before, "--state", state, "--latency", "1500")
    assert [event.status for event in events if type(event) is OrderUpdate] == [
        "OPEN PENDING", "CANCEL PENDING", "CANCEL PENDING",
    ]  # fmt: skip
    assert rows(state, "SELECT status, filled_quantity FROM orders") == [("CANCEL PENDING", 3)]
    events, _ = run([tick(2.5, 89.0)], "--state", state, "--latency", "1500")
    (ended,) = [event for event in events if type(event) is OrderUpdate]
    assert (ended.status, ended.message, ended.timestamp) == (
        "CANCELLED", "enough", OPENING + timedelta(seconds=2.5),
    )  # fmt: skip


def test_the_place_in_the_queue_outlives_a_restart(state):
    """To the order of lines: also within one moment, and where the latency is another by then."""
    cheap = [limit(name, "90") for name in ("a", "b")]
    run([tick(0, 100.0), *cheap, line(Modify(order_id="a", quantity=11))], "--state", state)
    events, _ = run([tick(9, 89.0)], "--state", state, "--latency", "5000")
    assert [event.order_id for event in events if type(event) is Fill] == ["b", "a"]


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


def full_pipe():
    """(where to read, where nothing more can be written) of a pipe that `alpha` will not enlarge."""
    there, here = os.pipe()
    with suppress(OSError, AttributeError):
        fcntl.fcntl(here, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    os.set_blocking(here, False)
    for size in (1 << 16, 1):
        with suppress(BlockingIOError):
            while os.write(here, b"\n" * size):
                pass
    os.set_blocking(here, True)
    return there, here


@pytest.mark.parametrize("how", ["killed", "reader gone"])
def test_what_was_kept_and_not_said(state, how):
    """Between commit and write: the books are right, the orders are not applied twice, nor told again."""
    lines = [tick(0, 100.0), order("a"), limit("b", "90"), tick(1, 89.0), order("c", side="SELL", quantity=4)]
    unbroken, _ = run(lines)
    there, here = full_pipe()
    with Pipeline(alpha("paper", "--state", str(state)), stdout=here) as process:
        os.close(here)
        process.write(b"".join(lines))
        deadline = time.monotonic() + DEADLINE
        while not kept(state):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if how == "killed":
            process.signal(signal.SIGKILL)
        else:
            os.close(there)
        (code,) = process.wait()
    if how == "killed":
        assert code == -signal.SIGKILL
        with os.fdopen(there, "rb") as reader:
            assert not reader.read().strip()
    else:
        assert code == 141
    assert rows(state, "SELECT order_id FROM fills ORDER BY rowid") == [("a",), ("b",), ("c",)]
    again, said = run(lines, "--state", state)
    assert again == unbroken[-1:]  # only the closing line; what the first run did is in the database alone
    assert (counters(said)["repeated"], counters(said)["fills"]) == (3, 0)


def kept(state):
    """Whether a fill is in the database; it may not be there yet, nor its tables."""
    with suppress(sqlite3.OperationalError):
        return bool(rows(state, "SELECT 1 FROM fills"))
    return False


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
    assert modes == {"state": 0o700, "paper.db": 0o600, "paper.lock": 0o600, "paper.status.json": 0o600}


def test_sqlite_utils_can_ask_the_books(state):
    """The view `trades` has numbers, the tables foreign keys and exact text."""
    run([tick(0, 100.05), order("a"), limit("b", "90")], "--state", state, "--charges", "none")

    def ask(*arguments):
        command = [sys.executable, "-m", "sqlite_utils", *arguments]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)

    database = str(state / "paper.db")
    (trade,) = ask("rows", database, "trades")
    assert (trade["price"], trade["value"], trade["strategy_id"]) == (100.05, 1000.5, "momentum")
    assert (trade["timestamp"], trade["instrument"]) == ("2024-06-03T09:15:00+05:30", "NSE:256265")
    assert {row["account"]: row["balance"] for row in ask("rows", database, "trial_balance")} == {
        "capital": -1_000_000, "cash": 998_999.5, "positions": 1_000.5, "realised": 0,
    }  # fmt: skip
    assert ask("rows", database, "open_orders")[0]["order_id"] == "b"
    assert ask("query", database, "select typeof(cash) as kind, cash from accounts") == [
        {"kind": "text", "cash": "998999.5"}
    ]
    assert ask("query", database, "select quantity from open_positions") == [{"quantity": 10}]
    keys = ask("query", database, """select "table" as other from pragma_foreign_key_list('fills')""")
    assert {key["other"] for key in keys} == {"accounts", "orders"}
    (portfolio,) = ask("rows", database, "portfolios")
    assert portfolio["positions"] == (
        '[{"instrument_token":256265,"quantity":10,"average_price":100.05,"realised_pnl":0,"unrealised_pnl":0,'
        '"last_price":100.05,"product":"MIS"}]'
    )


def test_cash_is_set_once(state):
    """A new account begins with --cash; later another figure is a usage error, the same one is not."""
    events, _ = run([], "--state", state, "--cash", "5,00,000.50")
    assert events[-1].cash == Decimal("500000.50")
    _, message = run([], "--state", state, "--cash", "7", code=2)
    assert "began with 500000.5" in message
    for options in (["--cash", "500000.5"], []):
        assert run([], "--state", state, *options)[0][-1].cash == Decimal("500000.50")


WRONG_CASH = ["lots", "-1", "+5", "nan", "1e99", "1_000", "١٠", "１０", "", ",", " 5", "5\n", "5.", "0.00001", "9" * 13]


@pytest.mark.parametrize("options", [["--as", "x"], *(["--cash", text] for text in WRONG_CASH)])
def test_wrong_options_are_2(options):
    """One line that says how to mend it."""
    _, message = run([], *options, code=2)
    assert message.startswith("alpha paper: --")
    assert message.count("\n") == 1


ENDS = ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00Z"]


@pytest.mark.parametrize("kept", [False, True], ids=["memory", "state"])
@pytest.mark.parametrize("moment", ENDS)
def test_the_ends_of_the_calendar(state, moment, kept):
    """Where Indian time has no name for a moment, an order rests, fills and is read back all the same."""
    options = ["--all-hours", "--charges", "none", *(["--state", state] if kept else [])]
    lines = at_the_end(moment)
    events, _ = run(lines, *options)
    assert [event.status for event in events if hasattr(event, "status")] == ["OPEN", "OPEN", "COMPLETE"]
    assert {event.timestamp for event in events} == {datetime.fromisoformat(moment)}
    if kept:
        _, said = run([], *options)
        assert counters(said)["open"] == 1


@pytest.mark.parametrize("moment", ENDS)
def test_at_the_ends_of_the_calendar_nobody_knows_the_sessions(state, moment):
    """Without --all-hours an order is rejected there: the calendar of holidays does not reach so far."""
    for _ in range(2):
        events, _ = run(at_the_end(moment), "--state", state)
        updates = [event for event in events if hasattr(event, "status")]
        assert {(update.status, update.code) for update in updates} <= {("REJECTED", "CALENDAR_UNKNOWN")}
        assert events[-1].positions == []
    assert rows(state, "SELECT order_id, code FROM orders") == [("a", "CALENDAR_UNKNOWN"), ("b", "CALENDAR_UNKNOWN")]


def at_the_end(moment):
    """A tick, two limit orders below it, and ticks that come down to the first of them."""
    at = f'"timestamp":"{moment}"'.encode()
    now = b'"timestamp":"2024-06-03T09:15:00+05:30"'
    lines = [tick(0, 100.0), limit("a", "90"), limit("b", "80"), tick(0, 99.0), tick(0, 89.0)]
    assert all(now in item for item in lines)
    return [item.replace(now, at) for item in lines]


def test_two_orders_of_the_largest_size(state):
    """What a position cannot be is rejected, in the books too, and each line can be read."""
    lines = [tick(0, 0.0001), order("a", quantity=10**12), order("b", quantity=10**12)]
    events, said = run(lines, "--state", state, "--cash", 10**11)
    assert [event.status for event in events if hasattr(event, "status")] == ["COMPLETE", "REJECTED"]
    assert events[-1].positions[0].quantity == 10**12
    assert rows(state, "SELECT order_id, status FROM orders ORDER BY number") == [("a", "COMPLETE"), ("b", "REJECTED")]
    assert counters(said)["refused"] == 1
    assert run([], "--state", state)[0][-1].positions == events[-1].positions


def test_the_whole_json_suite_and_one_order(state):
    """318 hostile files into one account: every line is counted, and the good ones around them are applied."""
    files = sorted((shared("hostile-json") / "test_parsing").iterdir())
    assert len(files) > 300
    hostile = [path.read_bytes() + b"\n" for path in files]
    lines = [tick(0, 100.0), order("a"), *hostile, tick(1, 101.0), order("b")]
    events, said = run(lines, "--bad", "skip", "--state", state)
    counted = counters(said)
    assert counted["in"] == len(lines_of(b"".join(lines))) == counted["accepted"] + counted["rejected"]
    assert (events[-1].cash + events[-1].charges, counted["fills"]) == (1_000_000 - 2010, 2)
    assert run([], "--state", state)[0][-1].positions == events[-1].positions


def test_tampered_books_are_70(state):
    """A figure changed by hand is found before anything is traded on it."""
    run([tick(0, 100.0), order("a")], "--state", state)
    with closing(sqlite3.connect(state / "paper.db")) as connection, connection:
        connection.execute("UPDATE accounts SET cash = '1000000'")
    connection.close()
    _, message = run([tick(1, 100.0), order("b")], "--state", state, code=70)
    assert "cash, positions and charges are 1001000" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE entries SET amount = amount + 1 WHERE account = 'cash' AND booking = 2", "cash and the entries"),
        ("UPDATE entries SET amount = amount + 1 WHERE account = 'charges:gst'", "postings and the entries differ"),
        ("DELETE FROM entries WHERE booking = 2", "and the entries differ"),
        ("UPDATE accounts SET charges_by_name = '[]'", "not a number"),
        ("UPDATE accounts SET cash = '1e-9'", "not a number"),
        ("UPDATE positions SET quantity = 0", "is flat, yet costs"),
        ("UPDATE orders SET effective = 'soon' WHERE order_id = 'b'", "b cannot be read"),
        ("UPDATE orders SET limit_price = '90.00001' WHERE order_id = 'b'", "b cannot be read"),
        ("UPDATE orders SET status = 'ASLEEP' WHERE order_id = 'b'", "b cannot be read: status 'ASLEEP'"),
    ],
)
def test_whatever_is_tampered_with_is_70(state, statement, said):
    """Also in the entries, and in the orders that go on: one line, before anything is traded on it."""
    run([tick(0, 100.0), order("a"), limit("b", "90")], "--state", state)
    connection = sqlite3.connect(state / "paper.db")
    with connection:
        assert connection.execute(statement).rowcount > 0
    connection.close()
    _, message = run([tick(1, 89.0), order("c")], "--state", state, code=70)
    assert said in message
    assert message.count("\n") == 1


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
