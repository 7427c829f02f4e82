"""What a run of strategies says that did nothing, or less than it looks like: one line, the exit code, and the eof."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.events import BANK, HELLO, NIFTY, START, tick
from support.processes import alpha, environment, run_alpha
from support.strategy_runs import events_of, fill, hosted, run_strategy, said, strategy_file, yaml_file

from alpha_cli.core.codec import decode, encode
from alpha_cli.core.events import Control, Denial, Eof, OrderUpdate, Signal
from alpha_cli.stages.run_strategy.capabilities import misspelt
from alpha_cli.stages.run_strategy.host import HostOptions

NOTHING = "def process_tick(self, tick, history):\n    return None\n"
FAILS = "def process_tick(self, tick, history):\n    return 1 / 0\n"
NO_MODEL = "def load_model(self):\n    return False\n" + NOTHING
EOF = b'{"type":"eof","ok":true,"code":0,"count":3}\n'


def lines(events: Any) -> bytes:
    return b"".join(encode(event) + b"\n" for event in events)


def session(*tokens: int) -> bytes:
    """Three ticks of each instrument between `hello` and `eof`."""
    ticks = [tick(second, 25000 + second, token) for second in range(3) for token in tokens]
    return lines([HELLO, *ticks]) + EOF


def ended(done: Any) -> tuple[int, int, str]:
    """The exit code, and the code and reason of the eof."""
    eof = events_of(done.stdout, Eof)[-1]
    return done.returncode, eof.code, eof.reason or ""


@pytest.mark.parametrize("more", [[], ["--workers", "2"], ["-q"]])
@pytest.mark.parametrize(
    ("bodies", "code", "words"),
    [
        ([FAILS], 70, "every call of every strategy failed (s0: 3)"),
        ([FAILS, FAILS], 70, "every call of every strategy failed (s0: 3, s1: 3)"),
        ([NO_MODEL, NO_MODEL], 78, "no strategy could start: s0: "),
        ([NO_MODEL, FAILS], 70, "every call of every strategy failed (s1: 3)"),
    ],
)
def test_a_run_that_did_nothing_ends_with_its_code(
    tmp_path: Path, bodies: list[str], code: int, words: str, more: list[str]
) -> None:
    """None could start: 78. Every call failed: 70. So ends the stage, so says its eof, with workers and -q too."""
    files = [strategy_file(tmp_path, body, f"s{number}") for number, body in enumerate(bodies)]
    done = run_strategy(files, session(NIFTY), *more)
    assert ended(done)[:2] == (code, code)
    assert words in ended(done)[2]
    assert done.stderr.decode().count(words) == 1


@pytest.mark.parametrize("more", [[], ["--workers", "2"]])
def test_instruments_of_which_nothing_came(tmp_path: Path, more: list[str]) -> None:
    """Of all strategies: 66, and the line names an instrument that did come. Of one: a line, and 0."""
    absent, there = yaml_file(tmp_path, "absent", instruments="[7]"), yaml_file(tmp_path, "there")
    half = yaml_file(tmp_path, "half", instruments=f"[{NIFTY}, 8]")
    alone = run_strategy([absent, yaml_file(tmp_path, "other", instruments="[8]")], session(NIFTY), *more)
    assert ended(alone)[:2] == (66, 66)
    assert f"nothing came of instruments 7, 8, which the strategies follow; the input has {NIFTY}" in ended(alone)[2]
    beside = run_strategy([absent, there, half], session(NIFTY), *more)
    assert ended(beside) == (0, 0, "")
    told = beside.stderr.decode().splitlines()
    assert "alpha run-strategy: absent: nothing came of instrument 7" in told
    assert "alpha run-strategy: half: nothing came of instrument 8 (of its 2)" in told
    assert not [line for line in told if "there: nothing" in line]


def test_an_input_without_a_tick_says_nothing_of_instruments(tmp_path: Path) -> None:
    """A feed that had nothing has said so itself; a second line would only repeat it."""
    done = run_strategy(yaml_file(tmp_path, instruments="[7]"), lines([HELLO]) + EOF)
    assert (ended(done), done.stderr.count(b"\n")) == ((0, 0, ""), 1)


def test_a_strategy_that_fails_beside_one_that_works_is_a_line(tmp_path: Path) -> None:
    """Not an error of the run."""
    files = [strategy_file(tmp_path, FAILS, "bad"), strategy_file(tmp_path, NOTHING, "good")]
    done = run_strategy(files, session(NIFTY))
    assert ended(done) == (0, 0, "")
    assert b"alpha run-strategy: bad: every call failed (3); other strategies went on" in done.stderr.splitlines()


def test_calls_for_bars_and_fills_count(tmp_path: Path) -> None:
    """A strategy whose on_bar answers has not failed, although its process_tick always does."""
    body = f"bars = ('1m',)\ndef on_bar(self, bar, history):\n    return None\n{FAILS}"
    ticks = [tick(second, 25000) for second in (0, 61, 122)]
    done = run_strategy(strategy_file(tmp_path, body), lines([HELLO, *ticks]) + EOF)
    assert ended(done) == (0, 0, "")


def test_an_upstream_error_keeps_its_code(tmp_path: Path) -> None:
    """The eof that came in says more of the cause than what it led to here."""
    broken = b'{"type":"eof","ok":false,"code":65,"reason":"line 3","count":3}\n'
    done = run_strategy(strategy_file(tmp_path, FAILS), lines([HELLO, tick(0, 25000)]) + broken)
    assert (done.returncode, ended(done)[1:]) == (70, (65, "line 3"))


def test_a_continued_run_is_judged_by_its_own_day(tmp_path: Path) -> None:
    """A strategy that answered on Monday and failed at each call on Tuesday: Tuesday's run is 70."""
    body = "def process_tick(self, tick, history):\n    return 1 / 0 if tick.last_price > 30000 else None\n"
    file = strategy_file(tmp_path, body)
    first = run_strategy(file, session(NIFTY), "--state", str(tmp_path / "state"))
    later = lines([HELLO, *(tick(second, 30001) for second in (10, 11))]) + EOF
    second = run_strategy(file, later, "--state", str(tmp_path / "state"))
    third = run_strategy(file, session(BANK), "--state", str(tmp_path / "state"))
    assert [done.returncode for done in (first, second, third)] == [0, 70, 66]


def test_downstream_stages_end_with_the_same_code(tmp_path: Path) -> None:
    """In one process and by the eof: a pipeline that traded nothing because of its strategies does not end with 0."""
    file = strategy_file(tmp_path, FAILS)
    fused = run_alpha(["pipe", "-q", f"feed --ticks 20 | run-strategy --config {file} | risk | paper"])
    signals = run_strategy(file, session(NIFTY))
    assert (fused.returncode, run_alpha(["risk"], signals.stdout).returncode) == (70, 70)


# --- what a strategy's author is told ---------------------------------------------------------------------


def test_a_failure_names_file_and_line(tmp_path: Path) -> None:
    """The innermost line of the author's own file, also for what a library raised below it."""
    body = "def process_tick(self, tick, history):\n    return self.price(tick)\ndef price(self, tick):\n"
    told = run_strategy(strategy_file(tmp_path, f"{body}    return tick.close\n"), session(NIFTY)).stderr.decode()
    assert "AttributeError: a tick has no 'close'; it has instrument_token, timestamp, last_price," in told
    assert f"{tmp_path}/mine.py, line 8)" in told
    assert "AnyTick" not in told
    called = strategy_file(tmp_path, f"{body}    return json.loads('x')\n", "below", top="import json")
    assert f"{tmp_path}/below.py, line 8)" in run_strategy(called, session(NIFTY)).stderr.decode()


@pytest.mark.parametrize(
    ("name", "meant"),
    [("onfill", "on_fill"), ("on_Bar", "on_bar"), ("OnTick", None), ("process_ticks", "process_tick"), ("helper", None),
     ("on_orderupdate", "on_order_update"), ("_on_fil", None), ("snap_shot", "snapshot")],
)  # fmt: skip
def test_a_misspelt_method_is_named(name: str, meant: str | None) -> None:
    """With the name that was meant; a helper of one's own is none."""
    processor = type("Mine", (), {name: lambda self: None})()
    expected = [] if meant is None else [f"its {name} is never called, did you mean {meant!r}?"]
    assert misspelt(processor) == expected


def test_misspelt_methods_and_missing_bars_are_a_line_of_the_run(tmp_path: Path) -> None:
    """Both at the place where a user looks: stderr of the run."""
    body = f"def onfill(self, fill):\n    pass\ndef on_bar(self, bar, history):\n    pass\n{NOTHING}"
    told = run_strategy(strategy_file(tmp_path, body), session(NIFTY)).stderr.decode()
    assert "alpha run-strategy: mine: its onfill is never called, did you mean 'on_fill'?" in told
    assert "alpha run-strategy: mine: its on_bar was never called: declare bars = ('1m',)" in told


# --- what a strategy holds, and what became of its orders -------------------------------------------------

HOLDS = "def process_tick(self, tick, history, context):\n    return context.{0} and None\n"


@pytest.mark.parametrize("asked", ["position()", "average_price()", "open_orders()", "realised_pnl"])
@pytest.mark.parametrize("more", [[], ["--workers", "2"]])
def test_to_ask_what_nobody_knows_stops_that_strategy_alone(tmp_path: Path, asked: str, more: list[str]) -> None:
    """Without fills: one line that says how to get them; the strategy beside it goes on. With --fills -: no word."""
    files = [strategy_file(tmp_path, HOLDS.format(asked), "asks"), strategy_file(tmp_path, NOTHING, "beside")]
    done = run_strategy(files, session(NIFTY), *more)
    (control,) = events_of(done.stdout, Control)
    assert (control.action, control.target, control.value) == ("pause", "asks", {"cause": "fills"})
    assert done.returncode == 0
    lines = [line for line in done.stderr.decode().splitlines() if "no fills reach it" in line]
    assert len(lines) == 1
    assert "alpha pipe --feedback, or --fills FILE" in lines[0]
    stand = run_strategy(files, session(NIFTY), *more, "--fills", "-")
    assert (stand.returncode, events_of(stand.stdout, Control), b"no fills" in stand.stderr) == (0, [], False)


def test_a_limit_that_needs_the_position_stops_it_too(tmp_path: Path) -> None:
    """max_position_size cannot be held without fills."""
    body = "def process_tick(self, tick, history):\n    return SignalResult('BUY', quantity=1)\n"
    done = run_strategy(strategy_file(tmp_path, body, max_position_size="5"), session(NIFTY))
    assert (done.returncode, events_of(done.stdout, Signal)) == (70, [])
    assert b"no fills reach it" in done.stderr


def test_a_strategy_cannot_catch_it_and_go_on(tmp_path: Path) -> None:
    """`except Exception` would turn the unknown position into a made-up one."""
    body = "def process_tick(self, tick, history, context):\n    try:\n        context.position()\n"
    body += "    except Exception:\n        return SignalResult('BUY', quantity=1)\n"
    assert run_strategy(strategy_file(tmp_path, body), session(NIFTY)).returncode == 70


def test_the_first_fill_that_comes_makes_positions_known(tmp_path: Path) -> None:
    """Fills that stand in the input are counted, so what they say is known from then on."""
    body = "def process_tick(self, tick, history, context):\n    return None\n"
    body += "def on_fill(self, fill, context):\n    return SignalResult('SELL', quantity=context.position())\n"
    host, told = hosted([strategy_file(tmp_path, body)], options=HostOptions(fills=False))
    (signal,) = said(host, [tick(0, 25000), fill(quantity=3)])
    assert (signal.quantity, told) == (3, [])


REPORTS = """
def process_tick(self, tick, history):
    return None
def on_denial(self, denial):
    return SignalResult("BUY", quantity=1, reasoning=f"{denial.code} {denial.observed}")
def on_order_update(self, update):
    return SignalResult("SELL", quantity=2, reasoning=f"{update.status} {update.code}")
"""
DENIAL = Denial(
    signal_id="s1", strategy_id="mine", broker="paper", code="ORDER_VALUE_ABOVE_LIMIT", message="m", observed=7,
    instrument_token=NIFTY, timestamp=START,
)  # fmt: skip
UPDATE = OrderUpdate(
    order_id="o1", broker="paper", status="CANCELLED", strategy_id="mine", instrument_token=NIFTY, code="X"
)


@pytest.mark.parametrize("timed", [True, False])
def test_denials_and_order_updates_reach_their_strategy_once(tmp_path: Path, timed: bool) -> None:
    """Each kind once however often it comes, with its own time or the newest tick's; other strategies hear nothing."""
    host, _ = hosted([strategy_file(tmp_path, REPORTS), strategy_file(tmp_path, REPORTS, "other")])
    denial = DENIAL if timed else Denial(**{**_fields(DENIAL), "timestamp": None})
    made = said(host, [tick(5, 25000), denial, denial, UPDATE, UPDATE])
    assert [(one.strategy_id, one.signal_type, one.reasoning) for one in made] == [
        ("mine", "BUY", "ORDER_VALUE_ABOVE_LIMIT 7"),
        ("mine", "SELL", "CANCELLED X"),
    ]
    assert made[0].timestamp == (START if timed else tick(5, 25000).timestamp)
    assert made[1].timestamp == tick(5, 25000).timestamp
    assert len({one.signal_id for one in made}) == 2


def _fields(event: Any) -> dict[str, Any]:
    return {name: getattr(event, name) for name in type(event).__struct_fields__}


def test_they_come_by_feedback_with_the_same_bytes_in_workers(tmp_path: Path) -> None:
    """A signal that risk refuses, and paper's square-off at the end of the day, are both heard."""
    body = """
    def __init__(self):
        self.sent = 0
    def process_tick(self, tick, history):
        self.sent += 1
        return SignalResult("BUY", quantity=10**7 if self.sent == 1 else 1) if self.sent < 3 else None
    def on_denial(self, denial):
        return SignalResult("HOLD", reasoning="heard")
    def on_order_update(self, update):
        self.codes = [*getattr(self, "codes", []), update.order_id]
        return None
    def shutdown(self):
        import sys
        print(sorted(map(str, self.codes)), file=sys.stderr)
    """
    file = strategy_file(tmp_path, body)
    runs = [
        run_alpha(["pipe", "--feedback", f"feed --ticks 400 | run-strategy --config {file} {more} | risk | paper"])
        for more in ("", "--workers 2")
    ]
    assert runs[0].stdout == runs[1].stdout
    for done in runs:
        assert done.returncode == 0, done.stderr
        assert b"held=1" in done.stderr
        assert b"'square-off-" in done.stderr


def test_answers_to_denials_end(tmp_path: Path) -> None:
    """A strategy that sends the same again at each denial is stopped; the pipeline is not."""
    body = "def process_tick(self, tick, history):\n    return SignalResult('BUY', quantity=10**7)\n"
    body += "def on_denial(self, denial):\n    return SignalResult('BUY', quantity=10**7)\n"
    file = strategy_file(tmp_path, body)
    done = run_alpha(["pipe", "--feedback", f"feed --ticks 40 | run-strategy --config {file} | risk | paper"])
    assert b"EndlessAnswers: it answered more than 100 denials and order updates between two ticks" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["type"] == "portfolio"


def test_a_run_whose_only_strategy_was_stopped_is_no_success(tmp_path: Path) -> None:
    """It asked for its position at its third tick: until then it answered, but the run did not do its job."""
    body = "def process_tick(self, tick, history, context):\n    return context.position() and None if len(history) > 1"
    done = run_strategy(strategy_file(tmp_path, f"{body} else None\n"), session(NIFTY))
    assert ended(done) == (70, 70, "every strategy was stopped (mine); see the lines above")


# --- what a strategy must not touch ------------------------------------------------------------------------

TOUCHES = """
def __init__(self):
    self.got = []
def process_tick(self, tick, history):
    os.write(1, b"words between the events\\n")
    ctypes.CDLL(None).puts(b"from C")
    ctypes.CDLL(None).fflush(None)
    print("printed")
    self.got.append(os.read(0, 100))
    return None
def shutdown(self):
    print("read", set(self.got), file=sys.stderr)
    threading.Thread(target=time.sleep, args=(600,)).start()
"""


@pytest.mark.parametrize(
    "words", [["run-strategy"], ["run-strategy", "--workers", "1"], ["pipe"]], ids=["shell", "workers", "fused"]
)
def test_the_stream_is_out_of_the_reach_of_strategies(tmp_path: Path, words: list[str]) -> None:
    """Neither what it writes to descriptor 1 nor what it reads from 0 is the stream; its threads hold up nothing."""
    file = strategy_file(tmp_path, TOUCHES, top="import ctypes, os, sys, threading, time")
    given = [f"feed - | run-strategy --config {file}"] if words == ["pipe"] else ["--config", str(file)]
    done = run_alpha([*words, *given], session(NIFTY))
    assert [type(event).__name__ for event in map(decode, done.stdout.splitlines())] == [
        "Hello", "Tick", "Tick", "Tick", "Eof",
    ]  # fmt: skip
    told = done.stderr.decode()
    assert (done.returncode, told.count("words between the events"), told.count("printed")) == (0, 3, 3)
    assert "read {b''}" in told
    assert "from C" in told


def test_without_standard_error_the_stream_is_whole(tmp_path: Path) -> None:
    """`2>&-`: there is no place for what it prints, but the events are there."""
    file = strategy_file(tmp_path, NOTHING)
    command = f"{' '.join(alpha('run-strategy', '--config', str(file)))} 2>&-"
    done = subprocess.run(
        ["bash", "-c", command], input=session(NIFTY), capture_output=True, env=environment(), check=False
    )
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 5)
