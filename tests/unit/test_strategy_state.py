"""What strategies remember outlives a run: cut the stream anywhere, and the rest says what it would have said."""

from __future__ import annotations

import json
import signal as signals
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st
from support.events import BANK, NIFTY, stream, tick, ticks
from support.examples import examples, rest_nightly
from support.processes import DEADLINE, Pipeline, alpha, run_alpha
from support.strategy_runs import (
    COUNTS,
    EVERY_TICK,
    FAILS_BELOW_50,
    control,
    events_of,
    fill,
    hosted,
    managed,
    module,
    one_line,
    run_strategy,
    running,
    said,
    strategy_file,
    yaml_file,
)

from alpha_cli.core.codec import decode
from alpha_cli.core.events import RUNNER, Control, Order, OrderUpdate, Portfolio, Signal
from alpha_cli.stages.run_strategy import snapshot
from alpha_cli.stages.run_strategy.host import Host, HostOptions

OPTIONS = HostOptions(failures=3)


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALPHA_CONFIG_DIR", "ALPHA_ACTIVE_BROKERS", "ALPHA_CONFIG_DB", "ALPHA_STATE"):
        monkeypatch.delenv(name, raising=False)


#: What a strategy adds to remember how often it was asked.
REMEMBERS = """
def snapshot(self):
    return {"asked": self.asked}

def restore(self, state):
    self.asked = state["asked"]
"""

KEEPS = COUNTS + REMEMBERS

#: Has no snapshot: what it knows follows from the history.
WARMS_UP = """
def __init__(self):
    self.sum = 0.0

def warmup(self, history):
    self.sum = sum(past.last_price for past in history)

def process_tick(self, tick, history):
    self.sum = sum(past.last_price for past in history[-99:]) + tick.last_price
    return SignalResult("SELL", quantity=1, metadata={"sum": round(self.sum, 6)})
"""

#: One processor for all instruments.
SEVERAL = "multi_instrument = True\n" + KEEPS

#: Looks at its books.
HOLDER = """
def process_tick(self, tick, history, context):
    books = [context.position(), str(context.average_price()), str(context.cash), str(context.realised_pnl)]
    books += [one.order_id for one in context.open_orders()]
    return SignalResult("BUY", quantity=1, metadata={"books": books})
"""


def everything(folder: Path) -> tuple[list[Path], list[Any]]:
    """Strategies with and without a memory of their own, and a stream in which all happens that can happen."""
    files, events = managed(folder)
    both = f"[{NIFTY}, {BANK}]"
    strategy_file(folder, KEEPS, "counts", instruments=both)
    files = [
        *files,
        strategy_file(folder, KEEPS, "keeps", instruments=both, max_history="7"),
        strategy_file(folder, WARMS_UP, "warms", instruments=both),
        strategy_file(folder, SEVERAL, "several", instruments=both),
        strategy_file(folder, HOLDER, "holder"),
        yaml_file(folder, "reverts", strategy_type="mean_reversion",
                  parameters="{lookback: 9, threshold: 1.5, exit_threshold: 0.5}"),
        yaml_file(folder, "ml", strategy_type="ml_momentum", parameters="{buy_above: 0.52, sell_below: 0.48}"),
    ]  # fmt: skip
    own: dict[str, Any] = {"signal_id": "s", "strategy_id": "holder", "broker": "paper", "instrument_token": NIFTY}
    order = Order(order_id="o9", side="BUY", quantity=4, timestamp=tick(40).timestamp, **own)
    update = OrderUpdate("o9", "paper", "OPEN", filled_quantity=1, pending_quantity=3)
    books = Portfolio("paper", Decimal("999700.5"), Decimal(1_000_000), Decimal(0), Decimal(0), Decimal(0))
    beside = [
        fill(7, 20, "BUY", 4, "100.05", strategy_id="holder"), order, update,
        fill(8, 60, "SELL", 1, "101", strategy_id="holder"), fill(8, 60, "SELL", 1, "101", strategy_id="holder"),
        msgspec.structs.replace(update, status="COMPLETE"), books,
    ]  # fmt: skip
    step = len(events) // (len(beside) + 1)
    for number, one in enumerate(beside, 1):
        events.insert(number * step, one)
    return files, events


def restarted(files: Sequence[Path], state: bytes | None) -> Host:
    """A new runner that goes on from `state`."""
    host, told = hosted(files, options=OPTIONS)
    if state is not None:
        host.restore(snapshot.decode(state))
    assert [one for one in told if "continues with parameters" not in one] == []
    return host


def kept(host: Host) -> bytes:
    """What a run keeps for the next one."""
    return snapshot.encode(snapshot.for_next_run(host.snapshot()))


def figures(host: Host) -> list[dict[str, Any]]:
    """What each strategy did, without durations and what is counted of a single run."""
    own = dict.fromkeys(("p50_us", "p99_us", "calls", "failed", "absent", "lacks_bars"))
    return [{**msgspec.structs.asdict(one), **own} for one in host.statuses()]


# --- any cut ---------------------------------------------------------------------------------------


def test_wherever_a_stream_is_cut_the_rest_says_what_it_would_have_said(tmp_path: Path) -> None:
    """At every single place: between equal times, within a bar, paused, set, with a circuit open, with orders open.

    Signals with their ids, pauses and resumes, and the counts in the end. Taking a snapshot disturbs nothing.
    """
    files, events = everything(tmp_path / "all")
    plain = restarted(files, None)
    expected = [said(plain, [one]) for one in events]
    observed = restarted(files, None)
    states = [kept(observed)]
    for number, one in enumerate(events):
        assert said(observed, [one]) == expected[number]
        states.append(kept(observed))
    for cut, state in enumerate(states):
        host = restarted(files, state)
        for number, one in enumerate(events[cut:], cut):
            assert said(host, [one]) == expected[number], f"cut at {cut}, event {number}: {one}"
        assert figures(host) == figures(plain)
    made = [one for several in expected for one in several]
    assert {one.strategy_id for one in made if isinstance(one, Signal)} == {path.stem for path in files}
    assert {"pause", "resume", "set", "reload"} == {one.action for one in made if isinstance(one, Control)}


@examples(25)
@given(data=st.data())
def test_several_cuts_change_no_more_than_one(tmp_path_factory: Any, data: Any) -> None:
    """A run of every length after the other, as cron makes them; a state that is read and written says the same."""
    files, events = everything(tmp_path_factory.getbasetemp() / "all")
    expected = said(restarted(files, None), events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), min_size=1, max_size=6)))
    state, made = None, []
    for begin, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
        host = restarted(files, state)
        made += said(host, events[begin:end])
        state = kept(host)
        assert kept(restarted(files, state)) == state
    assert made == expected


def parts(events: Sequence[Any], *cuts: int) -> Iterator[bytes]:
    """The stream in sessions of their own, cut at these events."""
    for begin, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
        yield stream(events[begin:end])


def added(output: bytes) -> list[Any]:
    """What run-strategy put into the stream."""
    return [one for one in map(decode, output.splitlines()) if type(one) is Signal or getattr(one, "by", "") == RUNNER]


@pytest.mark.parametrize(
    "workers",
    rest_nightly(
        1, [(("--workers", "2"), ()), ((), ()), ((), ("--workers", "2")), (("--workers", "2"), ("--workers", "3"))]
    ),
    ids=["workers then alone", "alone", "alone then workers", "workers"],
)  # fmt: skip
def test_a_run_with_state_goes_on_where_the_one_before_it_ended(
    tmp_path: Path, workers: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    """Real processes, with and without workers and across; cut in a pause, a circuit, and between equal times."""
    files, events = everything(tmp_path / "all")
    whole = run_strategy(files, stream(events), "--failures", "3", "--fills", "-")
    equal = next(at for at, (one, two) in enumerate(zip(events, events[2:], strict=False), 1)
                 if getattr(one, "timestamp", 0) == getattr(two, "timestamp", 1))  # fmt: skip
    assert events[equal - 1].timestamp == events[equal + 1].timestamp
    cuts = [equal, 53, 120]
    made: list[Any] = []
    for number, data in enumerate(parts(events, *cuts)):
        done = run_strategy(
            files, data, "--failures", "3", "--fills", "-", "--state", str(tmp_path / "state"), *workers[number % 2]
        )  # fmt: skip
        assert done.returncode == 0
        assert "this is a bug" not in done.stderr.decode()
        made += added(done.stdout)
    assert made == added(whole.stdout)
    status = json.loads((tmp_path / "state" / "run-strategy.status.json").read_bytes())
    closing = whole.stderr.decode()
    for one in status["strategies"]:
        assert f"{one['id']}.ticks={one['ticks']} {one['id']}.signals={one['signals']}" in closing


def test_the_cut_may_lie_between_ticks_of_one_time(tmp_path: Path) -> None:
    """The ordinal goes on, so no id is given twice; after it the next moment begins anew."""
    file = strategy_file(tmp_path, EVERY_TICK)
    events = [tick(1), tick(1), tick(1), tick(1), tick(2)]
    whole = [one.signal_id for one in events_of(run_strategy(file, stream(events)).stdout)]
    made: list[str] = []
    for data in parts(events, 1, 3):
        done = run_strategy(file, data, "--state", str(tmp_path / "state"))
        made += [one.signal_id for one in events_of(done.stdout)]
    assert made == whole
    assert len(set(made)) == 5


# --- what changed in between -------------------------------------------------------------------------


def asked(done: Any) -> list[Any]:
    """What KEEPS said of itself: how often it was asked, and how long its history is."""
    return [(one.strategy_id, one.metadata["asked"], one.metadata["n"]) for one in events_of(done.stdout)]


@pytest.mark.parametrize("change", ["parameters", "code"])
def test_a_changed_configuration_starts_anew_with_the_history_there_is(tmp_path: Path, change: str) -> None:
    """What another strategy remembered is not given to it, and that is said; the others go on."""
    state = ("--state", str(tmp_path / "state"))
    files = [strategy_file(tmp_path, KEEPS, name) for name in ("changed", "kept")]
    run_strategy(files, stream([tick(0), tick(1)]), *state)
    if change == "code":
        (tmp_path / "changed.py").write_text(module(KEEPS) + "\n# another\n")
    else:
        strategy_file(tmp_path, KEEPS, "changed", parameters="{quantity: 3}")
    done = run_strategy(files, stream([tick(2)]), *state)
    assert asked(done) == [("changed", 1, 2), ("kept", 3, 2)]
    assert "changed: its configuration changed; it starts with the history alone" in done.stderr.decode()


def test_instruments_and_brokers_may_change_without_losing_anything(tmp_path: Path) -> None:
    """A processor is made from its type and parameters; those of instruments that stay go on."""
    state = ("--state", str(tmp_path / "state"))
    file = strategy_file(tmp_path, KEEPS)
    run_strategy(file, stream([tick(0), tick(1), tick(1, token=BANK)]), *state)
    strategy_file(tmp_path, KEEPS, instruments=f"[{BANK}, {NIFTY}]", active_brokers="[paper, zerodha]")
    done = run_strategy(file, stream([tick(2), tick(2, token=BANK)]), *state)
    assert asked(done) == [("mine", 3, 2), ("mine", 1, 0)]
    assert "starts anew" not in done.stderr.decode()


def test_a_strategy_is_the_same_however_its_file_is_named(tmp_path: Path) -> None:
    """By a relative path, an absolute one, or from another folder: cron and a shell share a state."""
    strategy_file(tmp_path, KEEPS)
    state = ("--state", str(tmp_path / "state"))
    names = [(str(tmp_path / "mine.yaml"), None), ("mine.yaml", tmp_path), (f"../{tmp_path.name}/mine.yaml", tmp_path)]
    made = []
    for at, (name, cwd) in enumerate(names):
        made += asked(run_alpha(["run-strategy", "--config", name, *state], stream([tick(at)]), cwd=cwd))
    assert made == [("mine", 1, 0), ("mine", 2, 1), ("mine", 3, 2)]


def test_a_strategy_that_was_added_begins_with_the_history_there_is(tmp_path: Path) -> None:
    """And is warmed up with it; one that was left out is forgotten."""
    state = ("--state", str(tmp_path / "state"))
    first, second = (strategy_file(tmp_path, KEEPS, name) for name in ("first", "second"))
    warms = strategy_file(tmp_path, WARMS_UP, "warms")
    run_strategy(first, stream([tick(0, 100.0), tick(1, 100.0)]), *state)
    done = run_strategy([first, second, warms], stream([tick(2, 100.0)]), *state)
    made = events_of(done.stdout)
    assert [one.metadata for one in made] == [{"asked": 3, "n": 2}, {"asked": 1, "n": 2}, {"sum": 300.0}]
    run_strategy(second, stream([tick(3)]), *state)
    assert asked(run_strategy([first, second], stream([tick(4)]), *state)) == [("first", 1, 4), ("second", 3, 4)]


def test_what_was_set_in_the_stream_is_set_in_the_next_run(tmp_path: Path) -> None:
    """Until the file changes; it is said, because no file says so."""
    state = ("--state", str(tmp_path / "state"))
    file = strategy_file(tmp_path, KEEPS)
    run_strategy(file, stream([tick(0), control("set", "mine", value={"quantity": 5})]), *state)
    done = run_strategy(file, stream([tick(1)]), *state)
    assert [one.quantity for one in events_of(done.stdout)] == [5]
    assert "mine: continues with parameters that were set in the stream: {'quantity': 5}" in done.stderr.decode()
    strategy_file(tmp_path, KEEPS, parameters="{quantity: 2}")
    assert [one.quantity for one in events_of(run_strategy(file, stream([tick(2)]), *state).stdout)] == [2]


def test_a_pause_by_a_person_outlives_the_run(tmp_path: Path) -> None:
    """Who paused a strategy on Friday finds it paused on Monday, and the state says who is."""
    state = ("--state", str(tmp_path / "state"))
    file = strategy_file(tmp_path, KEEPS)
    run_strategy(file, stream([tick(0), control("pause", "mine", reason="too risky")]), *state)
    assert asked(run_strategy(file, stream([tick(3 * 86_400)]), *state)) == []
    status = json.loads((tmp_path / "state" / "run-strategy.status.json").read_bytes())["strategies"][0]
    assert (status["state"], status["reason"]) == ("paused (person)", "too risky")
    done = run_strategy(file, stream([control("resume", "mine"), tick(7 * 86_400)]), *state)
    assert asked(done) == [("mine", 2, 2)]


def test_one_processor_for_several_instruments_is_warmed_up_with_each_history_again() -> None:
    """At a restart as at a reload: by each instrument's ticks, so nothing of them is missing."""
    calls: list[list[float]] = []

    class Warms:
        multi_instrument = True

        def warmup(self, history: Sequence[Any]) -> None:
            calls.append([past.last_price for past in history])

        def process_tick(self, one: Any) -> None:
            return None

    runner = running(Warms, [NIFTY, BANK])
    said(runner, [tick(0, 1.0), tick(0, 10.0, BANK), tick(1, 2.0), tick(1, 20.0, BANK)])
    kept = snapshot.decode(snapshot.encode(snapshot.snapshot(runner)))
    again = running(Warms, [NIFTY, BANK])
    calls.clear()
    snapshot.restore(again, kept)
    assert calls == [[1.0, 2.0], [10.0, 20.0]]


# --- what cannot be kept -------------------------------------------------------------------------------

UNKEPT = {
    "an object": "return {'model': object()}",
    "not a number": "return {'mean': float('nan')}",
    "a failure": "raise ValueError('not now')",
    "an exit": "raise SystemExit(0)",
    "no end": "deep = []\n    deep.append(deep)\n    return deep",
}


@pytest.mark.parametrize("fault", list(UNKEPT))
def test_what_a_strategy_cannot_tell_is_reported_and_the_others_are_kept(tmp_path: Path, fault: str) -> None:
    """It starts anew with the history; counts and the rest of its state are kept all the same."""
    state = ("--state", str(tmp_path / "state"))
    odd = strategy_file(tmp_path, f"{COUNTS}\ndef snapshot(self):\n    {UNKEPT[fault]}\n"
                                  "def restore(self, state):\n    raise AssertionError('never')\n", "odd")  # fmt: skip
    honest = strategy_file(tmp_path, KEEPS, "honest")
    first = run_strategy([odd, honest], stream([tick(0), tick(1)]), *state)
    assert first.returncode == 0
    assert f"odd on {NIFTY}: its snapshot cannot be kept: " in first.stderr.decode()
    done = run_strategy([odd, honest], stream([tick(2)]), *state)
    assert done.returncode == 0
    assert asked(done) == [("odd", 1, 2), ("honest", 3, 2)]
    assert "honest.ticks=3 honest.signals=3" in done.stderr.decode()


@pytest.mark.parametrize("fault", ["ValueError('of another version')", "SystemExit(0)"])
def test_a_strategy_that_cannot_go_on_from_what_was_kept_is_reported_and_runs(tmp_path: Path, fault: str) -> None:
    """As it is when it is new, beside the others that go on."""
    state = ("--state", str(tmp_path / "state"))
    body = f"{COUNTS}\ndef snapshot(self):\n    return 1\ndef restore(self, state):\n    raise {fault}\n"
    files = [strategy_file(tmp_path, body, "odd"), strategy_file(tmp_path, KEEPS, "honest")]
    run_strategy(files, stream([tick(0), tick(1)]), *state)
    done = run_strategy(files, stream([tick(2)]), *state)
    assert done.returncode == 0
    assert f"odd on {NIFTY}: cannot continue from what was kept: {fault.partition('(')[0]}" in done.stderr.decode()
    assert asked(done) == [("odd", 1, 2), ("honest", 3, 2)]


def test_what_a_strategy_remembers_is_taken_before_it_is_shut_down(tmp_path: Path) -> None:
    """A strategy may let go of everything in its shutdown."""
    state = ("--state", str(tmp_path / "state"))
    file = strategy_file(tmp_path, KEEPS + "\ndef shutdown(self):\n    self.asked = None\n")
    made = [asked(run_strategy(file, stream([tick(at)]), *state, *workers))
            for at, workers in enumerate(((), (), ("--workers", "1"), ("--workers", "1")))]  # fmt: skip
    assert made == [[("mine", 1, 0)], [("mine", 2, 1)], [("mine", 3, 2)], [("mine", 4, 3)]]


# --- the folder ----------------------------------------------------------------------------------------


def test_two_runs_at_once_do_not_share_a_state(tmp_path: Path) -> None:
    """The second is told who holds it, 75; under another name it may run beside the first."""
    file, state = strategy_file(tmp_path, KEEPS), str(tmp_path / "state")
    with Pipeline(alpha("run-strategy", "--config", str(file), "--state", state)) as first:
        first.write(stream([tick(0)], eof=None))
        first.wait_for(b'"signal"')
        second = run_strategy(file, stream([tick(0)]), "--state", state)
        beside = run_strategy(file, stream([tick(0)]), "--state", state, "--as", "other")
        first.write(stream([tick(1)], hello=False))
        assert first.finish() == [0]
        pid = first.processes[0].pid
    assert (second.returncode, second.stdout) == (75, b"")
    assert f"held by process {pid}" in one_line(second.stderr)
    assert asked(beside) == [("mine", 1, 0)]
    assert asked(run_strategy(file, stream([tick(2)]), "--state", state)) == [("mine", 3, 2)]
    assert asked(run_strategy(file, stream([tick(2)]), "--state", state, "--as", "other")) == [("mine", 2, 1)]


def test_two_runs_at_once_in_one_pipeline_do_not_share_a_state_either(tmp_path: Path) -> None:
    """Fused, the lock is the same."""
    file = strategy_file(tmp_path, KEEPS)
    stage = f"run-strategy --config {file} --state {tmp_path}/state"
    done = run_alpha(["pipe", f"feed --ticks 1 | {stage} | {stage}"])
    assert (done.returncode, done.stdout) == (75, b"")
    one_line(done.stderr)


def test_a_name_in_the_state_folder_needs_the_folder(tmp_path: Path) -> None:
    """`--as` alone would keep nothing."""
    done = run_strategy(strategy_file(tmp_path, KEEPS), b"", "--as", "other")
    assert done.returncode == 2
    assert "--as names a state; it needs --state DIR" in done.stderr.decode()


#: what becomes of the state's JSON -> the exit code
DAMAGED: dict[str, Any] = {
    "cut short": lambda text: text[: len(text) // 2],
    "nothing": lambda text: "",
    "no object": lambda text: "[]",
    "no lanes": lambda text: "{}",
    "no portfolio": lambda text: json.dumps({**json.loads(text), "portfolio": None}),
    "an empty portfolio": lambda text: json.dumps({**json.loads(text), "portfolio": {}}),
    "odd bars": lambda text: json.dumps({**json.loads(text), "bars": {}}),
    "an odd instrument": lambda text: text.replace(f'"lanes":{{"{NIFTY}"', '"lanes":{"nifty"'),
    "an odd time": lambda text: text.replace("2024-06-03T09:15", "2024-06-03 at 09:15"),
}


@pytest.mark.parametrize("damage", list(DAMAGED))
def test_a_damaged_state_is_one_line_and_nothing_runs_on_it(tmp_path: Path, damage: str) -> None:
    """70: which file, and what to do. It is left as it is."""
    folder = tmp_path / "state"
    body = KEEPS + "\nbars = ('1m',)\ndef on_bar(self, bar):\n    return None\n"
    file = strategy_file(tmp_path, body)
    run_strategy(file, stream([tick(0), tick(1)]), "--state", str(folder))
    with closing(sqlite3.connect(folder / "run-strategy.db")) as db, db:
        (text,) = db.execute("SELECT state FROM runner").fetchone()
        damaged = DAMAGED[damage](text)
        assert damaged != text
        db.execute("UPDATE runner SET state = ?", [damaged])
    db.close()
    done = run_strategy(file, stream([tick(2)]), "--state", str(folder))
    assert (done.returncode, done.stdout) == (70, b"")
    line = one_line(done.stderr)
    assert line.startswith(f"alpha run-strategy: {folder}/run-strategy.db: ")
    assert "restore a backup or name another --state folder" in line


def test_the_state_of_a_newer_alpha_is_refused(tmp_path: Path) -> None:
    """What it says may mean something else: one line, and nothing runs."""
    folder, file = tmp_path / "state", strategy_file(tmp_path, KEEPS)
    run_strategy(file, stream([tick(0)]), "--state", str(folder))
    with closing(sqlite3.connect(folder / "run-strategy.db")) as db, db:
        (text,) = db.execute("SELECT state FROM runner").fetchone()
        db.execute("UPDATE runner SET state = ?", [json.dumps({**json.loads(text), "version": 99})])
    db.close()
    done = run_strategy(file, stream([tick(1)]), "--state", str(folder))
    assert done.stdout == b""
    assert done.returncode in (70, 78)
    assert "99" in one_line(done.stderr)


def test_a_file_that_is_no_database_is_one_line_and_78(tmp_path: Path) -> None:
    """So is the database of another program."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    (folder / "run-strategy.db").write_bytes(b"not a database" * 100)
    done = run_strategy(strategy_file(tmp_path, KEEPS), stream([tick(0)]), "--state", str(folder))
    assert (done.returncode, done.stdout) == (78, b"")
    assert "not a SQLite database" in one_line(done.stderr)
    run_alpha(["pipe", f"feed --ticks 1 | paper --state {tmp_path}/books"])
    (tmp_path / "books" / "paper.db").rename(tmp_path / "books" / "run-strategy.db")
    done = run_strategy(strategy_file(tmp_path, KEEPS), stream([tick(0)]), "--state", f"{tmp_path}/books")
    assert (done.returncode, done.stdout) == (78, b"")
    assert "a database of another program" in one_line(done.stderr)


def test_the_state_can_be_read_with_ordinary_tools(tmp_path: Path) -> None:
    """One row a strategy: what it did, and why it stands still."""
    files = [strategy_file(tmp_path, KEEPS, name) for name in ("first", "second")]
    given = [tick(0), control("pause", "second", reason="too risky"), tick(1)]
    run_strategy(files, stream(given), "--state", str(tmp_path / "state"))
    db = sqlite3.connect(tmp_path / "state" / "run-strategy.db")
    rows = db.execute("SELECT id, signals, ticks, last_signal, paused FROM strategies ORDER BY id").fetchall()
    db.close()
    at = [tick(0).timestamp.isoformat(), tick(1).timestamp.isoformat()]
    assert rows == [("first", 2, 2, at[1], None), ("second", 1, 1, at[0], "too risky")]


# --- how a run ends ------------------------------------------------------------------------------------


def test_a_run_that_is_asked_to_stop_keeps_its_state(tmp_path: Path) -> None:
    """SIGTERM to all: the source ends its session, the runner reads on to that and keeps what it knows."""
    file, state = strategy_file(tmp_path, KEEPS, instruments="[256265]"), str(tmp_path / "state")
    feed = alpha("feed", "--ticks", "2000", "--instruments", str(NIFTY), "--speed", "100")
    with Pipeline(feed, alpha("run-strategy", "--config", str(file), "--state", state)) as pipeline:
        pipeline.wait_for(b'"asked":2')
        pipeline.signal(signals.SIGTERM)
        assert pipeline.wait() == [0, 0]
        assert pipeline.output.endswith(b"\n")
        made = events_of(pipeline.output)
        assert pipeline.output.count(b'"type":"tick"') == len(made)
    again = run_strategy(file, stream([tick(10_000_000)]), "--state", state, "--all-hours")
    assert asked(again) == [("mine", len(made) + 1, min(len(made), 100))]


def test_a_run_whose_input_does_not_end_after_sigterm_keeps_its_state_too(tmp_path: Path) -> None:
    """After `--drain` it leaves; what it has handled and said until then is remembered."""
    file, state = strategy_file(tmp_path, KEEPS), str(tmp_path / "state")
    with Pipeline(alpha("run-strategy", "--config", str(file), "--state", state, "--drain", "0.2")) as pipeline:
        pipeline.write(stream([tick(0), tick(1)], eof=None))
        pipeline.wait_for(b'"asked":2')
        pipeline.signal(signals.SIGTERM)
        assert pipeline.wait() == [128 + signals.SIGTERM]
    assert asked(run_strategy(file, stream([tick(2)]), "--state", state)) == [("mine", 3, 2)]


def test_an_input_that_breaks_off_is_kept_as_far_as_it_came(tmp_path: Path) -> None:
    """75, because its eof is missing; the next run goes on from there."""
    file, state = strategy_file(tmp_path, KEEPS), str(tmp_path / "state")
    assert run_strategy(file, stream([tick(0), tick(1)], eof=None), "--state", state).returncode == 75
    assert asked(run_strategy(file, stream([tick(2)]), "--state", state)) == [("mine", 3, 2)]


def test_a_run_that_is_killed_leaves_what_was_kept_before_it(tmp_path: Path) -> None:
    """The same input once more gives the same signals with the same ids, which risk and paper know."""
    file, state = strategy_file(tmp_path, KEEPS), str(tmp_path / "state")
    events = ticks(30)
    whole = events_of(run_strategy(file, stream(events)).stdout)
    made = events_of(run_strategy(file, stream(events[:10]), "--state", state).stdout)
    with Pipeline(alpha("run-strategy", "--config", str(file), "--state", state)) as pipeline:
        pipeline.write(stream(events[10:20], eof=None))
        pipeline.wait_for(b'"asked":20')
        pipeline.signal(signals.SIGKILL)
        pipeline.wait()
        assert events_of(pipeline.output) == whole[10:20]
    made += events_of(run_strategy(file, stream(events[10:]), "--state", state).stdout)
    assert made == whole


# --- what can be seen from outside ---------------------------------------------------------------------


def soon(path: Path) -> bytes:
    """What is in a file that is about to be written."""
    deadline = monotonic() + DEADLINE
    while not path.exists():
        assert monotonic() < deadline
        sleep(0.01)
    return path.read_bytes()


def test_the_status_file_tells_while_a_run_goes_on_and_after(tmp_path: Path) -> None:
    """For `alpha status`: each strategy with its counts and last signal, and whether it runs and has a model."""
    folder = tmp_path / "state"
    files = [
        yaml_file(tmp_path, "ml", strategy_type="ml_momentum"),
        strategy_file(tmp_path, "def load_model(self): return False\n" + EVERY_TICK, "absent"),
        strategy_file(tmp_path, FAILS_BELOW_50, "fails", active_brokers="[paper, zerodha]"),
        strategy_file(tmp_path, "def process_tick(self, tick): return SignalResult('HOLD')", "holds"),
    ]
    names = [word for file in files for word in ("--config", str(file))]
    env = {"ALPHA_ACTIVE_BROKERS": "paper,zerodha"}
    command = alpha("run-strategy", *names, "--state", str(folder), "--failures", "2", "--cool-down", "3600")
    with Pipeline(command, env=env) as pipeline:
        pipeline.write(stream([tick(0)], eof=None))
        before = json.loads(soon(folder / "run-strategy.status.json"))
        assert (before["stage"], before["pid"], before["ended"]) == ("run-strategy", pipeline.processes[0].pid, False)
        pipeline.write(stream([tick(1, 10.0), tick(2, 10.0), *ticks(70)[3:]], hello=False))
        assert pipeline.finish() == [0]
    after = json.loads((folder / "run-strategy.status.json").read_bytes())
    assert after["ended"]
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    found = {one["id"]: one for one in after["strategies"]}
    assert list(found) == ["ml", "fails", "holds", "absent"]
    assert [one["state"] for one in found.values()] == ["running", "paused (circuit)", "running", "disabled"]
    assert [one.get("has_model", False) for one in found.values()] == [True, False, False, False]
    assert [one.get("ticks", 0) for one in found.values()] == [70, 3, 70, 0]
    assert (found["fails"]["signals"], found["fails"]["by_broker"]) == (2, {"paper": 1, "zerodha": 1})
    assert (found["fails"]["errors"], found["fails"]["last_signal"]) == (2, tick(0).timestamp.isoformat())
    assert found["holds"]["held"] == 70
    assert found["absent"]["reason"].startswith("its model cannot be loaded")
    assert 0 < found["holds"]["p50_us"] <= found["holds"]["p99_us"]


def samples(path: Path) -> dict[tuple[str, str, str], float]:
    """(metric, strategy, broker or quantile) -> value, as Prometheus would read the file."""
    parser = pytest.importorskip("prometheus_client.parser")
    return {
        (one.name, one.labels["strategy"], one.labels.get("broker") or one.labels.get("quantile") or ""): one.value
        for family in parser.text_string_to_metric_families(path.read_text())
        for one in family.samples
    }


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_the_metrics_file_says_to_prometheus_what_each_strategy_did(tmp_path: Path, workers: tuple[str, ...]) -> None:
    """Counts, signals by broker, whether it runs and has a model, the time of its newest signal and of its calls."""
    files = [
        yaml_file(tmp_path, "ml", strategy_type="ml_momentum"),
        strategy_file(tmp_path, FAILS_BELOW_50, "fails", active_brokers="[paper, zerodha]"),
    ]
    given = [tick(0), tick(1, 10.0), tick(2, 10.0), *ticks(70)[3:]]
    path = tmp_path / "alpha.prom"
    done = run_strategy(files, stream(given), "--metrics-file", str(path), "--failures", "2", *workers,
                        env={"ALPHA_ACTIVE_BROKERS": "paper,zerodha"})  # fmt: skip
    assert done.returncode == 0
    found = samples(path)
    expected = {
        ("alpha_strategy_ticks_total", "ml", ""): 70,
        ("alpha_strategy_errors_total", "fails", ""): 2,
        ("alpha_strategy_rejected_total", "fails", ""): 0,
        ("alpha_strategy_held_total", "ml", ""): 0,
        ("alpha_strategy_has_model", "ml", ""): 1,
        ("alpha_strategy_has_model", "fails", ""): 0,
        ("alpha_strategy_running", "ml", ""): 1,
        ("alpha_strategy_running", "fails", ""): 1,
    }
    assert expected.items() <= found.items()
    made = [one for one in events_of(done.stdout) if one.strategy_id == "fails"]
    for broker in ("paper", "zerodha"):
        assert found["alpha_strategy_signals_total", "fails", broker] == len(made) / 2
    newest = max(one.timestamp for one in made)
    assert found["alpha_strategy_last_signal_timestamp_seconds", "fails", ""] == newest.timestamp()
    assert 0 < found["alpha_strategy_processing_seconds", "ml", "0.5"] < 1


def test_the_metrics_file_tells_who_stands_still(tmp_path: Path) -> None:
    """0 for a strategy that is paused, and for one that is disabled."""
    files = [
        strategy_file(tmp_path, KEEPS, "paused"),
        strategy_file(tmp_path, "def load_model(self): return False\n" + EVERY_TICK, "absent"),
    ]
    run_strategy(files, stream([tick(0), control("pause")]), "--metrics-file", str(tmp_path / "alpha.prom"))
    found = samples(tmp_path / "alpha.prom")
    assert [found["alpha_strategy_running", name, ""] for name in ("paused", "absent")] == [0, 0]


def test_a_metrics_file_that_cannot_be_written_ends_the_run_with_one_line(tmp_path: Path) -> None:
    """74: monitoring that silently stands still is worse than none."""
    done = run_strategy(strategy_file(tmp_path, KEEPS), stream([tick(0)]), "-q", "--metrics-file",
                        str(tmp_path / "absent" / "alpha.prom"))  # fmt: skip
    assert done.returncode == 74
    assert "No such file or directory" in one_line(done.stderr)


def test_the_state_is_private(tmp_path: Path) -> None:
    """A folder of the user's own, and files that nobody else can read: strategies are secrets."""
    run_strategy(strategy_file(tmp_path, KEEPS), stream([tick(0)]), "--state", str(tmp_path / "state"))
    folder = tmp_path / "state"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == dict.fromkeys(
        ["run-strategy.db", "run-strategy.lock", "run-strategy.status.json"], 0o600
    )
