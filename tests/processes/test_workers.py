"""`--workers N`: the same bytes as without, whatever becomes of the processes; and none of them outlives the run."""

from __future__ import annotations

import signal as signals
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.events import BANK, NIFTY, START, order, signal, stream, tick, ticks
from support.examples import rest_nightly
from support.misdeeds import (
    ALLOWED,
    BY_MEMORY,
    DATA,
    MISDEEDS,
    QUICK,
    SLACK,
    STOPPED,
    about,
    bar,
    configured,
    delays,
    fill,
    names_of,
    side_by_side,
    signals_in,
    without,
    without_faulty,
    written,
)
from support.processes import Pipeline, alpha, counters, run_alpha
from support.workers import Process, closing, control, frugal, kill, live, started, until, workers_of

from alpha_cli.core.codec import encode
from alpha_cli.core.events import Control, Event, OrderUpdate, Portfolio, Signal

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to find the workers in")

#: Strategies of every kind: what they say depends on all that they were ever told.
KINDS = """
class Counts:
    def __init__(self, every=7):
        self.every, self.calls = every, 0
    def process_tick(self, tick, history):
        self.calls += 1
        if self.calls % self.every == 0:
            return SignalResult("BUY", quantity=self.calls, price=tick.last_price, confidence=0.5)
    def snapshot(self):
        return {"calls": self.calls}
    def restore(self, state):
        self.calls = state["calls"]

class Bars:
    bars = ("1m", "3m")
    def process_tick(self, tick, history):
        return None
    def on_bar(self, bar, history):
        closes = [one.close for one in history]
        return SignalResult("SELL", quantity=1 + bar.ticks, price=bar.close, reasoning=f"{bar.interval} {closes[-3:]}")

class OnBar:
    def process_tick(self, tick, history):
        return None
    def on_bar(self, bar, history):
        return SignalResult("SELL", quantity=1, price=bar.close, reasoning=f"{bar.interval} after {len(history)}")

class Holds:
    def process_tick(self, tick, history, context):
        if len(history) % 10 == 9:
            knows = context.position(), context.cash, context.average_price(), len(context.open_orders())
            return SignalResult("BUY", quantity=1, reasoning=str(knows))
    def on_fill(self, fill, context):
        if fill.side == "BUY":
            return SignalResult("SELL", quantity=fill.quantity, reasoning=f"{fill.fill_id} {context.position()}")

class Both:
    multi_instrument = True
    def __init__(self):
        self.last = {}
    def process_tick(self, tick, history):
        self.last[str(tick.instrument_token)] = tick.last_price
        if len(self.last) == 2 and len(history) % 8 == 0:
            return SignalResult("BUY" if len(history) % 16 else "HOLD", quantity=1, metadata=dict(self.last))
    def snapshot(self):
        return self.last
    def restore(self, state):
        self.last = dict(state)

class Stumbles:
    def process_tick(self, tick, history):
        second = int(tick.timestamp.timestamp()) % 150
        if 100 <= second < 130:
            raise ValueError("no")
        if second % 20 == 0:
            return SignalResult("BUY", quantity=1, price=tick.last_price, reasoning=f"after {len(history)}")
        if second % 50 == 0:
            return "BUY"
"""


def kinds(folder: Path) -> list[str]:
    """The options that run one of each kind, for several brokers, on one or two instruments."""
    written(folder, more=KINDS)
    two: dict[str, Any] = {"tokens": (NIFTY, BANK), "active_brokers": "[zerodha, paper, closed]"}
    return [
        "--failures", "3", "--cool-down", "20",
        *configured(folder, "counts:Counts", parameters="{every: 9}", **two),
        *configured(folder, "bars:Bars", **two),
        *configured(folder, "holds:Holds", tokens=(BANK,)),
        *configured(folder, "both:Both", **two),
        *configured(folder, "stumbles:Stumbles", active_brokers="[paper, zerodha]"),
        *configured(folder, "barsin:OnBar", tokens=(BANK, NIFTY)),
        "--config", "configs/strategies/momentum.yaml", "--config", "configs/strategies/mean_reversion.yaml",
    ]  # fmt: skip


BROKERS = {"ALPHA_ACTIVE_BROKERS": "paper,zerodha"}


def placed(number: int, at: float) -> Event:
    """An order of `holds`, which stays open."""
    return order(number, at, strategy_id="holds", instrument_token=BANK)


#: At which second what else is in the stream.
BESIDES: dict[int, Sequence[Any]] = {
    20: [fill(1, 20, "holds", BANK), b"", b'{"type":"tomorrow"}'],
    40: [placed(1, 40), placed(2, 40), signal(1, 40)],
    50: [
        OrderUpdate("o1", "paper", "COMPLETE", filled_quantity=1, timestamp=START + timedelta(seconds=50)),
        OrderUpdate("o2", "paper", "OPEN", filled_quantity=1, pending_quantity=1),
    ],
    60: [bar(60), bar(60, BANK), Portfolio("paper", Decimal(900), Decimal(900), Decimal(0), Decimal(0), Decimal(0))],
    70: [control("pause", "counts"), fill(2, 70, "holds", BANK), fill(2, 70, "holds", BANK)],
    110: [control("resume", "counts", reason="lunch is over"), control("reload")],
    150: [control("set", "counts", value={"every": 4}), control("set", "counts", value={"often": 4})],
    200: [control("pause"), bar(200), fill(3, 200, "holds", BANK)],
    230: [control("resume"), control("pause", "nobody"), control("halt")],
    250: [control("set", "momentum", value={"threshold": 0.0001})],
}
EVENTS: list[Any] = [
    event
    for second in range(400)
    for event in (*BESIDES.get(second, ()), *ticks(400, (NIFTY, BANK))[second : second + 1])
]
RICH = stream(EVENTS)


class Reference(NamedTuple):
    """A run without workers."""

    options: list[str]
    output: bytes
    closing: list[str]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """All kinds of strategies on `RICH`."""
    options = kinds(tmp_path_factory.mktemp("reference"))
    options += ["--fills", "-"]
    done = run_alpha(["run-strategy", *options], RICH, env=BROKERS)
    assert done.returncode == 0
    names = ("counts", "bars", "holds", "both", "stumbles", "barsin", "momentum")
    for name in names:
        assert any(isinstance(line, Signal) for line in about(done.stdout, name)), name
    assert done.stdout.count(b'"broker":"zerodha"') > 100
    assert done.stdout.count(b'"cause":"circuit"') > 1
    assert b'"closed"' not in done.stdout
    return Reference(options, done.stdout, closing(done.stderr))


# --- the same bytes --------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_the_output_is_that_of_a_run_without_workers(count: int, reference: Reference) -> None:
    """For strategies of every kind, several brokers, bars, fills and control lines; the counters are equal too."""
    done = run_alpha(["run-strategy", *reference.options, "--workers", str(count)], RICH, env=BROKERS)
    assert (done.returncode, done.stdout) == (0, reference.output)
    assert closing(done.stderr) == reference.closing


@pytest.mark.parametrize("size", [61, 5_000])
def test_the_output_does_not_depend_on_how_the_input_was_cut(size: int, reference: Reference) -> None:
    """The same bytes for any sizes of writes."""
    with Pipeline(alpha("run-strategy", *reference.options, "--workers", "3"), env=BROKERS) as pipeline:
        for start in range(0, len(RICH), size):
            pipeline.write(RICH[start : start + size])
        assert pipeline.finish() == [0]
        assert pipeline.output == reference.output


FEED = "feed --ticks 1500 --seed 5"


@pytest.mark.parametrize(
    ("before", "after", "options"),
    rest_nightly(
        2,
        [
            ("", "| risk | paper", "--feedback"),
            ("| bars --interval 1m,15m", "| risk", ""),
            ("", "| risk | paper --forward", ""),
            ("| bars --interval 1m,15m", "", ""),
            ("| run-strategy -q rules_rsi --workers 2", "| risk | paper --forward", ""),
        ],
        names=3,
    ),
    ids=["with feedback", "after bars before risk", "alone", "after bars", "after other workers"],
)
def test_a_pipeline_in_one_process_gives_the_same_bytes(
    before: str, after: str, options: str, reference: Reference
) -> None:
    """Fused with workers, fused without and from the shell."""
    line = f"{FEED} {before} | run-strategy -q {' '.join(reference.options)}"
    workers, plain = (
        run_alpha(["pipe", "-q", *options.split(), f"{line} --workers {count} {after}"], env=BROKERS)
        for count in (2, 0)
    )
    assert (workers.returncode, workers.stderr) == (plain.returncode, plain.stderr)
    assert workers.stdout == plain.stdout
    assert workers.stdout.count(b'"signal"' if not options else b'"fill"') > 20
    if not options:
        stages = [stage.split() for stage in f"{line} --workers 2 {after}".split("|")]
        with Pipeline(*(alpha(*stage) for stage in stages), env=BROKERS) as pipeline:
            assert pipeline.finish() == [0] * len(stages)
            assert pipeline.output == workers.stdout


BAD = [b"{oops", b"[]", b'{"type":"tick","instrument_token":256265,"timestamp":"x","last_price":1}', b"\xff", b" "]


def spoiled(count: int = 60) -> bytes:
    """Ticks with bad lines among them."""
    events: list[Any] = []
    for number, one in enumerate(ticks(count)):
        events += [one, *(BAD[number // 7 % len(BAD) :][:1] if number % 7 == 6 else ())]
    return stream(events)


@pytest.mark.parametrize("policy", ["skip", "file", "fail"])
def test_bad_lines_are_what_they_are_without_workers(policy: str, tmp_path: Path) -> None:
    """Skipped, kept or the end of the run: the same output, code, complaint and dead letters."""
    written(tmp_path, more=KINDS)
    options = configured(tmp_path, "first", "counts:Counts", "last")
    found = []
    for count in ("0", "2"):
        letters = tmp_path / f"letters-{count}"
        bad = str(letters) if policy == "file" else policy
        done = run_alpha(["run-strategy", *options, "--workers", count, "--bad", bad, "-q"], spoiled())
        found.append((done.returncode, done.stdout, done.stderr, letters.exists() and letters.read_bytes()))
    assert found[0] == found[1]
    assert found[0][0] == (65 if policy == "fail" else 0)


def test_a_run_that_a_bad_line_ends_counts_what_it_said(tmp_path: Path) -> None:
    """And nothing after that line."""
    written(tmp_path)
    run = ["run-strategy", *configured(tmp_path, "first", "last"), "--workers", "2"]
    done = run_alpha(run, stream([tick(0), b"{oops", tick(1)]))
    assert (done.returncode, done.stdout.count(b'"signal"')) == (65, 2)
    assert counters(done.stderr.decode())["signals"] == 2


def test_a_line_that_is_bad_for_one_strategy_reaches_none(tmp_path: Path) -> None:
    """Whichever process the strategies live in, and whichever fields of a tick each of them uses."""
    more = """
class Little(Tells):
    tick_fields = ()
class Much(Tells):
    tick_fields = ("oi",)
"""
    written(tmp_path, more=more)
    run = ["run-strategy", *configured(tmp_path, "little:Little", "much:Much"), "--bad", "skip", "--workers"]
    data = stream([tick(0, oi=1), encode(tick(1, oi=2)).replace(b'"oi":2', b'"oi":"x"'), tick(2, oi=3)])
    assert run_alpha([*run, "2"], data).stdout == run_alpha([*run, "0"], data).stdout


@pytest.mark.parametrize(
    "broken",
    [
        {"parameters": "{often: 1}"},
        {"strategy_type": "./absent.py:Counts"},
        {"strategy_type": "./mis.py:Absent"},
        {"strategy_type": "./syntax.py"},
        {"validator_type": "strict"},
        {"max_history": "0"},
    ],
    ids=lambda broken: next(iter(broken)),
)
def test_a_wrong_configuration_is_the_same_line_and_code(broken: dict[str, Any], tmp_path: Path) -> None:
    """In whichever worker the strategy would have lived; and no process is left behind."""
    written(tmp_path, more=KINDS)
    (tmp_path / "syntax.py").write_text("def create_processor(:\n")
    options = [*configured(tmp_path, "first"), *configured(tmp_path, "mine:Counts", **broken)]
    plain, workers = (run_alpha(["run-strategy", *options, "--workers", count], DATA) for count in "02")
    assert (workers.returncode, workers.stdout, workers.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert (plain.returncode, plain.stderr.count(b"\n")) == (78, 1)


@pytest.mark.parametrize("fault", ["return False", "raise OSError('no such model')", "sys.exit(4)"])
def test_a_model_that_cannot_be_loaded_disables_that_strategy_alone(fault: str, tmp_path: Path) -> None:
    """As without workers: it is told of, and the others go on."""
    written(tmp_path, more=f"class Model(Tells):\n    def load_model(self):\n        {fault}\n")
    options = configured(tmp_path, "first", "mine:Model", "last")
    plain, workers = (run_alpha(["run-strategy", *options, "--workers", count], DATA) for count in "03")
    assert (workers.returncode, workers.stdout) == (0, plain.stdout)
    assert closing(workers.stderr) == closing(plain.stderr)
    assert workers.stdout.count(b'"signal"') == 120
    assert workers.stderr.count(b"mine is disabled: its model cannot be loaded") == 1


def test_a_model_that_takes_its_process_down_disables_that_strategy_alone(tmp_path: Path) -> None:
    """A native library that crashes on a broken file, say."""
    written(tmp_path, more="class Model(Tells):\n    def load_model(self):\n        os._exit(4)\n")
    done = run_alpha(["run-strategy", *configured(tmp_path, "first", "mine:Model"), "--workers", "2"], DATA)
    assert done.returncode == 0
    assert done.stdout.count(b'"first"') == 60


def test_what_is_said_of_a_request_is_said_once(tmp_path: Path) -> None:
    """A strategy in another process does run here."""
    written(tmp_path)
    run = ["run-strategy", *configured(tmp_path, "first", "last"), "--workers", "2", "-q"]
    done = run_alpha(run, stream([tick(0), control("pause", "first"), control("pause", "nobody")]))
    assert sorted(done.stderr.decode().splitlines()) == [
        "alpha run-strategy: control pause: no strategy 'nobody' runs here",
        "alpha run-strategy: first is paused: by me",
    ]


# --- reload ----------------------------------------------------------------------------------


def write_kind(folder: Path, name: str, every: int) -> None:
    """A strategy of kind `Counts` in the folder of configurations."""
    (folder / f"{name}.yaml").write_text(
        f"id: {name}\nstrategy_type: ../mis.py:Counts\ninstruments: [{NIFTY}]\nparameters: {{every: {every}}}\n"
    )


def reloaded(folder: Path, *, workers: int, command: Sequence[str]) -> tuple[bytes, list[str]]:
    """Output and closing lines of a run whose configurations change under it."""
    strategies = folder / "strategies"
    strategies.mkdir(parents=True)
    written(folder, more=KINDS)
    for name, every in (("b", 5), ("d", 6), ("f", 7)):
        write_kind(strategies, name, every)
    events = ticks(40)
    options = ["--all", "--workers", str(workers)]
    with Pipeline([*command, *options], env={"ALPHA_CONFIG_DIR": str(folder)}) as pipeline:
        live(pipeline, stream(events[:10], eof=None))
        (strategies / "d.yaml").unlink()
        write_kind(strategies, "b", 3)
        write_kind(strategies, "a", 2)
        write_kind(strategies, "e", 4)
        live(pipeline, stream([control("reload"), *events[10:20]], hello=False, eof=None))
        for process in workers_of(pipeline) if "-c" in command else ():
            kill(process)
        live(pipeline, stream(events[20:], hello=False))
        assert pipeline.finish() == [0]
        return pipeline.output, closing(pipeline.stderr().encode())


def test_a_reload_adds_changes_and_removes_as_without_workers(tmp_path: Path) -> None:
    """The lines that say so and all signals, in the order of the strategies."""
    plain, workers = (
        reloaded(folder, workers=count, command=alpha("run-strategy"))
        for count, folder in ((0, tmp_path / "plain"), (2, tmp_path / "workers"))
    )
    assert workers[0] == plain[0]
    assert plain[0].count(b'"by":"run-strategy"') == 4
    assert sorted(workers[1]) == sorted(line.replace("/plain/", "/workers/") for line in plain[1])


# --- processes -------------------------------------------------------------------------------


def gone(processes: Sequence[Process], seconds: float = 15) -> bool:
    return until(lambda: not any(one.runs for one in processes), seconds)


def test_a_worker_that_is_killed_is_started_again_and_nothing_shows(reference: Reference) -> None:
    """Between two lines, time and again; the bytes and the counters are those of an undisturbed run."""
    lines = RICH.splitlines(keepends=True)
    with Pipeline(alpha("run-strategy", *reference.options, "--workers", "2"), env=BROKERS) as pipeline:
        for number, start in enumerate(range(0, len(lines), 90)):
            pipeline.write(b"".join(lines[start : start + 90]))
            pipeline.wait_for(lines[min(start + 90, len(lines)) - 1])
            assert len(workers_of(pipeline)) == 2
            kill(workers_of(pipeline)[number % 2])
        assert pipeline.finish() == [0]
        assert pipeline.output == reference.output
        assert closing(pipeline.stderr().encode()) == reference.closing
        assert "died (signal 9); it is started again" in pipeline.stderr()


def test_a_worker_goes_on_from_a_checkpoint(reference: Reference, tmp_path: Path) -> None:
    """Histories, bars, circuits, positions, parameters that were set, and what strategies remember of themselves."""
    lines = RICH.splitlines(keepends=True)
    with Pipeline(
        [*frugal(tmp_path, 3), "run-strategy", *reference.options, "--workers", "3"], env=BROKERS
    ) as pipeline:
        for start in range(0, len(lines), 20):
            live(pipeline, b"".join(lines[start : start + 20]))
            if start % 60 == 0:
                for process in workers_of(pipeline):
                    kill(process)
        assert pipeline.finish() == [0]
        assert pipeline.output == reference.output
        assert closing(pipeline.stderr().encode()) == reference.closing


def test_a_worker_that_is_killed_in_the_middle_of_a_call_makes_it_again(tmp_path: Path) -> None:
    """Once is no proof that the strategy did it: it is not paused."""
    more = """
class Naps:
    def process_tick(self, tick, history):
        print("asleep", flush=True)
        time.sleep(0.3)
        return SignalResult("BUY", quantity=1, reasoning=f"after {len(history)}")
"""
    written(tmp_path, more=more)
    run = ["run-strategy", *configured(tmp_path, "mine:Naps", "last"), "--workers", "2"]
    with Pipeline(alpha(*run, "--deadline", "10")) as pipeline:
        data = stream(ticks(3))
        pipeline.write(data)
        assert until(lambda: "asleep" in pipeline.stderr())
        kill(workers_of(pipeline)[0])
        assert pipeline.finish() == [0]
        assert "worker 0 died (signal 9) in mine; it is started again" in pipeline.stderr()
        assert pipeline.output == run_alpha(run[:-2], data).stdout


#: What takes a process down, or cannot be interrupted by Python: only for workers.
FATAL: dict[str, str] = {
    "exits": "os._exit(3)",
    "is killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "crashes": "ctypes.string_at(0)",
    "aborts": "os.abort()",
    "loops in C": "collections.deque(itertools.repeat(None), maxlen=0)",
    "loops and swallows everything": (
        "while True:\n            try: time.sleep(0.01)\n            except BaseException: pass"
    ),
}
HANGS = {"loops in C", "loops and swallows everything"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The output of two strategies that do no wrong."""
    folder = tmp_path_factory.mktemp("alone")
    written(folder)
    done = run_alpha(["run-strategy", *configured(folder, "first", "last")], DATA)
    assert done.stdout.count(b'"signal"') == 120
    return done.stdout


@pytest.mark.parametrize(
    "deeds", [*BY_MEMORY, *([deed] for deed in FATAL)], ids=lambda deeds: deeds[0] if len(deeds) == 1 else "all others"
)
def test_what_one_strategy_does_leaves_the_others_output_as_it_is(
    deeds: Sequence[str], tmp_path: Path, alone: bytes
) -> None:
    """Before and after it in order: the same bytes as without it, one line about it, and the run ends well."""
    options = side_by_side(tmp_path, {deed: {**MISDEEDS, **FATAL}[deed] for deed in deeds})
    done = run_alpha(["run-strategy", *options, *QUICK, "--workers", "3"], DATA)
    assert (done.returncode, without_faulty(done.stdout, deeds)) == (0, alone)
    fatal = {**dict.fromkeys(FATAL, "process"), **dict.fromkeys(HANGS, "deadline")}
    for deed, name in names_of(deeds).items():
        lines = about(done.stdout, name)
        assert [one.action for one in lines] == ([] if deed in ALLOWED else ["pause"]), deed
        cause = {**STOPPED, **fatal}.get(deed, "circuit")
        assert all(one.value == {"cause": cause} for one in lines), deed
    assert b"Traceback" not in done.stderr
    assert b"0x" not in done.stdout


@pytest.mark.parametrize("deed", ["exits", "raises", "loops"])
def test_it_makes_no_difference_to_share_a_worker(deed: str, tmp_path: Path, alone: bytes) -> None:
    """Those that live in the process that dies, or wait in it, say what they say alone."""
    written(tmp_path, {**MISDEEDS, **FATAL}[deed])
    options = configured(tmp_path, "first", "faulty:Faulty", "last")
    done = run_alpha(["run-strategy", *options, *QUICK, "--workers", "1"], DATA)
    assert (done.returncode, without(done.stdout, "faulty")) == (0, alone)


def test_a_strategy_that_dies_at_the_same_event_twice_is_paused_there(tmp_path: Path) -> None:
    """Right after the tick that did it; what it said before stands, and what others say to the tick follows."""
    more = """
class Dies(Tells):
    def process_tick(self, tick, history):
        if len(history) == 4:
            os._exit(7)
        return super().process_tick(tick, history)
"""
    written(tmp_path, more=more)
    run = ["run-strategy", *configured(tmp_path, "first", "mine:Dies", "last"), "--workers", "2"]
    done = run_alpha(run, DATA)
    lines = done.stdout.splitlines()
    at = lines.index(encode(tick(4, price=ticks(5)[4].last_price)))
    said = [
        next(name for name in ("first", "mine", "last") if f'"{name}"'.encode() in line) for line in lines[at + 1 :][:3]
    ]
    assert said == ["first", "mine", "last"]
    *before, pause = about(done.stdout, "mine")
    assert [one.reasoning for one in before] == [f"after {number}" for number in range(4)]
    assert (pause.action, pause.value, pause.by) == ("pause", {"cause": "process"}, "run-strategy")
    assert pause.reason == "its process died in it, twice over one batch"
    assert done.stderr.count(b"died (exit code 7) in mine; it is started again") == 2


@pytest.mark.parametrize("deed", ["exits", "loops in C"])
def test_the_line_that_pauses_has_the_time_of_its_tick(deed: str, tmp_path: Path) -> None:
    """As where the runner itself finds out."""
    written(tmp_path, f"if len(history) < 3: return None\n        {FATAL[deed]}")
    done = run_alpha(["run-strategy", *configured(tmp_path, "faulty:Faulty"), *QUICK, "--workers", "1"], DATA)
    assert [one.timestamp for one in about(done.stdout, "faulty")] == [tick(3).timestamp]


def test_a_strategy_that_dies_now_and_then_does_not_end_the_run(tmp_path: Path) -> None:
    """At each tick the first time, never at the same twice: still it is the one to be paused."""
    deed = 'mark = Path(__file__).with_name(f"seen-{len(history)}")'
    written(tmp_path, f"{deed}\n        if not mark.exists():\n            mark.touch()\n            os._exit(3)")
    done = run_alpha(["run-strategy", *configured(tmp_path, "faulty:Faulty", "last"), "--workers", "2"], DATA)
    assert done.returncode == 0
    assert done.stdout.count(b'"last"') == 60


def test_a_strategy_that_dies_once_at_every_tick_is_paused_in_the_end(tmp_path: Path) -> None:
    """Live, when each tick is a request of its own: the others do not wait for a new process time and again."""
    deed = 'mark = Path(__file__).with_name(f"seen-{len(history)}")'
    written(tmp_path, f"{deed}\n        if not mark.exists():\n            mark.touch()\n            os._exit(3)")
    run = ["run-strategy", *configured(tmp_path, "faulty:Faulty", "last"), "--workers", "2"]
    with Pipeline(alpha(*run)) as pipeline:
        live(pipeline, stream(ticks(20)))
        assert pipeline.finish() == [0]
        assert [one.value for one in about(pipeline.output, "faulty")] == [{"cause": "process"}]
        assert pipeline.stderr().count("is started again") < 15


def test_many_strategies_that_die_in_one_worker_are_all_paused(tmp_path: Path) -> None:
    """They share a library that crashes, say: however many they are, the run goes on."""
    written(tmp_path, FATAL["exits"])
    names = [f"faulty{number}:Faulty" for number in range(8)]
    done = run_alpha(["run-strategy", *configured(tmp_path, *names, "last"), "--workers", "1"], DATA)
    assert done.returncode == 0
    assert done.stdout.count(b'"strategy_id":"last"') == 60
    assert done.stdout.count(b'"cause":"process"') == 8


# --- how long the others wait ----------------------------------------------------------------


@pytest.mark.parametrize("deed", ["sleeps a second", "loops", "loops in C", "loops and swallows everything", "exits"])
def test_a_strategy_that_hangs_holds_the_others_up_once_and_no_longer_than_stated(deed: str, tmp_path: Path) -> None:
    """Live, one tick at a time, all ticks together: the bounds that `workers` states."""
    written(tmp_path, {**MISDEEDS, **FATAL}[deed])
    options = configured(tmp_path, "faulty:Faulty", "last")
    with Pipeline(alpha("run-strategy", *options, "--deadline", "0.2", "--workers", "2")) as pipeline:
        pipeline.write(stream([tick(-1)], eof=None))  # before the session: it has started
        pipeline.wait_for(b'"tick"')
        taken = delays(pipeline, "last", 30)
        assert pipeline.finish() == [75]
    bound = 2 * 0.2 + 1 if deed in HANGS else 1.25 * 0.2
    assert sum(taken) <= bound + SLACK
    assert len(about(pipeline.output, "faulty")) == 1


@pytest.mark.parametrize("where", ["__str__", "snapshot", "validator"])
def test_a_strategy_that_hangs_beside_its_calls_holds_nobody_up(where: str, tmp_path: Path) -> None:
    """All that is the strategy's own code is bound by the deadline, or its worker is killed."""
    more = f"""
class Slow(Exception):
    def __str__(self):
        time.sleep(60)
class Aside:
    def process_tick(self, tick, history):
        {"raise Slow" if where == "__str__" else 'return SignalResult("BUY")'}
    {"def snapshot(self): time.sleep(60)" if where == "snapshot" else ""}
class Validator:
    def validate_configuration(self, config):
        return ()
    def validate_signal(self, result, event, context):
        time.sleep(60)
"""
    written(tmp_path, more=more)
    own: dict[str, Any] = {"validator_type": "./mis.py:Validator"} if where == "validator" else {}
    options = [*configured(tmp_path, "mine:Aside", **own), *configured(tmp_path, "last")]
    with Pipeline([*frugal(tmp_path, 2), "run-strategy", *options, "--deadline", "0.2", "--workers", "2"]) as pipeline:
        for number in range(4):
            pipeline.write(encode(tick(number)) + b"\n")
            assert until(lambda: pipeline.output.count(b'"last"') > number, 10)  # noqa: B023


@pytest.mark.skipif(sys.platform != "linux", reason="--memory limits on Linux only")
def test_a_strategy_that_hoards_small_things_stops_nothing(tmp_path: Path) -> None:
    """A pair in a pair in a pair, until there is no room for another."""
    written(tmp_path, "while True: self.kept = (self.kept, 1)")
    run = ["run-strategy", *configured(tmp_path, "faulty:Faulty", "last"), "--memory", "133", "--deadline", "20"]
    with Pipeline(alpha(*run, "--workers", "2")) as pipeline:
        pipeline.write(DATA)
        pipeline.close_input()
        ended = until(lambda: pipeline.processes[0].poll() is not None, 15)
        left = workers_of(pipeline)
        for process in left:
            kill(process)
        assert ended
        assert pipeline.output.count(b'"last"') == 60


# --- what a worker that is started again must still know -------------------------------------


def test_a_strategy_paused_by_the_clock_stays_paused_when_its_worker_dies(tmp_path: Path) -> None:
    """The stream says that it stands still, and nobody resumed it."""
    more = """
class Once:
    def process_tick(self, tick, history):
        mark = Path(__file__).with_name("done")
        if len(history) == 2 and not mark.exists():
            mark.touch()
            time.sleep(30)
        return SignalResult("BUY", quantity=1, reasoning=f"after {len(history)}")
"""
    written(tmp_path, more=more)
    run = ["run-strategy", *configured(tmp_path, "mine:Once", "last"), "--deadline", "0.2", "--workers", "1"]
    with Pipeline(alpha(*run)) as pipeline:
        live(pipeline, stream(ticks(4), eof=None))
        pipeline.wait_for(b'"cause":"deadline"')
        kill(workers_of(pipeline)[0])
        live(pipeline, stream(ticks(8)[4:], hello=False))
        assert pipeline.finish() == [0]
        said = [one.reasoning for one in about(pipeline.output, "mine") if isinstance(one, Signal)]
        assert said == ["after 0", "after 1"]


def test_a_strategy_that_is_stopped_while_its_worker_catches_up_is_told_of(tmp_path: Path) -> None:
    """The second time the call takes too long: from then on it says nothing, and the stream must say why."""
    more = """
class Again:
    def process_tick(self, tick, history):
        mark = Path(__file__).with_name("done")
        if len(history) == 2 and mark.exists():
            time.sleep(30)
        elif len(history) == 2:
            mark.touch()
        return SignalResult("BUY", quantity=1, reasoning=f"after {len(history)}")
"""
    written(tmp_path, more=more)
    run = ["run-strategy", *configured(tmp_path, "mine:Again", "last"), "--deadline", "0.2", "--workers", "1"]
    with Pipeline(alpha(*run)) as pipeline:
        live(pipeline, stream(ticks(4), eof=None))
        kill(workers_of(pipeline)[0])
        live(pipeline, stream(ticks(8)[4:], hello=False))
        assert pipeline.finish() == [0]
        lines = about(pipeline.output, "mine")
        assert len(lines) == 8 or any(isinstance(one, Control) for one in lines)


def test_a_worker_that_is_started_again_has_the_configurations_of_the_last_reload(tmp_path: Path) -> None:
    """Those that it added run on, those that it changed are as it made them."""
    plain, killed = (
        reloaded(folder, workers=count, command=[*frugal(tmp_path, 2), "run-strategy"])
        for count, folder in ((0, tmp_path / "plain"), (2, tmp_path / "workers"))
    )
    assert killed[0] == plain[0]


def test_a_worker_that_is_started_again_runs_what_it_ran(tmp_path: Path) -> None:
    """Not what its author wrote since: that waits for a reload."""
    written(tmp_path)
    run = ["run-strategy", *configured(tmp_path, "mine"), "--workers", "1"]
    with Pipeline(alpha(*run)) as pipeline:
        live(pipeline, stream(ticks(4), eof=None))
        path = tmp_path / "mis.py"
        path.write_text(path.read_text().replace("after", "long after"))
        kill(workers_of(pipeline)[0])
        live(pipeline, stream(ticks(8)[4:], hello=False))
        assert pipeline.finish() == [0]
        said = [one.reasoning for one in about(pipeline.output, "mine")]
        assert said == [f"after {number}" for number in range(8)]


def test_a_strategy_that_lost_its_memory_has_lost_it_when_its_worker_is_started_again(tmp_path: Path) -> None:
    """What it remembers begins where it ran out of memory, and not where the worker began."""
    more = """
class Forgets:
    def __init__(self):
        self.calls = 0
    def process_tick(self, tick, history):
        self.calls += 1
        if len(history) == 2:
            raise MemoryError
        return SignalResult("BUY", quantity=1, reasoning=f"{self.calls} after {len(history)}")
"""
    written(tmp_path, more=more)
    options = configured(tmp_path, "mine:Forgets")
    before = stream([*ticks(5), control("resume", "mine"), tick(10)], eof=None)
    after = stream([tick(11), tick(12)], hello=False)
    with Pipeline(alpha("run-strategy", *options, "--workers", "1")) as pipeline:
        live(pipeline, before)
        kill(workers_of(pipeline)[0])
        live(pipeline, after)
        assert pipeline.finish() == [0]
        assert pipeline.output == run_alpha(["run-strategy", *options], before + after).stdout


def test_fills_that_wait_for_their_time_survive_the_death_of_a_worker(tmp_path: Path) -> None:
    """They count before the first tick that is later than they are."""
    written(tmp_path, more=KINDS)
    outputs = []
    for count in ("0", "1"):
        fills = tmp_path / f"fills-{count}"
        fills.touch()
        run = ["run-strategy", *configured(tmp_path, "holds:Holds"), "--fills", str(fills), "--workers", count]
        with Pipeline([*frugal(tmp_path, 1), *run]) as pipeline:
            live(pipeline, stream([tick(0)], eof=None))
            fills.write_bytes(encode(fill(1, 5, "holds")) + b"\n")
            live(pipeline, stream([tick(1)], hello=False, eof=None))
            for process in workers_of(pipeline):
                kill(process)
            live(pipeline, stream([tick(6)], hello=False))
            assert pipeline.finish() == [0]
            outputs.append(pipeline.output)
    assert len(signals_in(outputs[0])) == 1
    assert outputs[1] == outputs[0]


# --- the end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["end", "SIGTERM", "SIGINT", "SIGKILL", "reader gone", "bad line"])
def test_no_worker_outlives_the_run(way: str, tmp_path: Path) -> None:
    """However it ends; also where nobody is left to tell the workers."""
    written(tmp_path)
    run = alpha("run-strategy", *configured(tmp_path, "first", "last"), "--workers", "2", "--drain", "0.2")
    reader = [["head", "-1"]] if way == "reader gone" else []
    with Pipeline(run, *reader) as pipeline:
        if reader:
            pipeline.write(stream(ticks(5), eof=None))
            pipeline.wait_for(b"\n")
            found = workers_of(pipeline)
            assert pipeline.processes[1].wait(15) == 0
            with suppress(BrokenPipeError):
                pipeline.write(DATA)
        else:
            found = started(pipeline)
        if way.startswith("SIG"):
            pipeline.processes[0].send_signal(signals.Signals[way])
        elif way == "bad line":
            pipeline.write(b"{oops\n")
        else:
            pipeline.close_input()
        codes = {"end": 75, "SIGTERM": 143, "SIGINT": 130, "SIGKILL": -9, "reader gone": 141, "bad line": 65}
        assert pipeline.processes[0].wait(15) == codes[way]
        assert gone(found)


def test_sigterm_to_all_drains_as_without_workers(reference: Reference) -> None:
    """The workers do not hear it; what comes after it is read to the end."""
    lines = RICH.splitlines(keepends=True)
    with Pipeline(alpha("run-strategy", *reference.options, "--workers", "2"), env=BROKERS) as pipeline:
        pipeline.write(b"".join(lines[:100]))
        pipeline.wait_for(lines[99])
        found = workers_of(pipeline)
        for _ in range(3):
            pipeline.signal(signals.SIGTERM)
        pipeline.write(b"".join(lines[100:]))
        assert pipeline.finish() == [0]
        assert pipeline.output == reference.output
        assert "died" not in pipeline.stderr()
        assert gone(found)


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[tuple[Pipeline, list[Process]]]:
    """A run one of whose two workers is in a call that neither ends nor can be interrupted."""
    written(tmp_path, f'print("at work", flush=True)\n        {FATAL["loops in C"]}')
    run = alpha("run-strategy", *configured(tmp_path, "faulty:Faulty", "last"), "--workers", "2", "--deadline", "60")
    with Pipeline([*run, "--drain", "0.2"]) as pipeline:
        pipeline.write(stream(ticks(1), eof=None))
        assert until(lambda: "at work" in pipeline.stderr())
        found = workers_of(pipeline)
        yield pipeline, found
        for process in found:
            kill(process)


@pytest.mark.parametrize("number", [signals.SIGTERM, signals.SIGINT])
def test_draining_has_a_deadline_whatever_the_workers_do(
    number: signals.Signals, stuck: tuple[Pipeline, list[Process]]
) -> None:
    """--drain says how long; a worker that is stuck is killed."""
    pipeline, found = stuck
    pipeline.signal(number)
    assert until(lambda: pipeline.processes[0].poll() is not None, 10)
    assert pipeline.processes[0].returncode == 128 + number
    assert gone(found, 10)


def test_a_stuck_worker_does_not_outlive_a_killed_run(stuck: tuple[Pipeline, list[Process]]) -> None:
    """Nobody is left to kill it, and it would use a processor for good."""
    pipeline, found = stuck
    pipeline.processes[0].kill()
    assert gone(found, 10)


def test_a_worker_whose_strategy_left_a_thread_behind_is_ended(tmp_path: Path) -> None:
    """Python waits for such a thread; the run does not."""
    written(tmp_path, more="class Threads(Tells):\n    def __init__(self):\n        "
            "threading.Thread(target=time.sleep, args=(600,)).start()\n")  # fmt: skip
    run = ["run-strategy", *configured(tmp_path, "mine:Threads"), "--workers", "1"]
    with Pipeline(alpha(*run)) as pipeline:
        pipeline.write(DATA)
        pipeline.close_input()
        pipeline.wait_for(b'"eof"')
        ended = until(lambda: pipeline.processes[0].poll() is not None, 10)
        for process in workers_of(pipeline):
            kill(process)
        assert ended


def test_a_signal_while_it_starts_leaves_no_worker(tmp_path: Path) -> None:
    """Before the loop has its handlers, SIGTERM simply ends the main process."""
    written(
        tmp_path, more="class Slow(Tells):\n    def load_model(self):\n        time.sleep(0.5)\n        return True\n"
    )
    run = alpha("run-strategy", *configured(tmp_path, "first", "mine:Slow", "last"), "--workers", "3")
    with Pipeline(run) as pipeline:
        assert until(lambda: len(workers_of(pipeline)) == 2)
        found = workers_of(pipeline)
        pipeline.processes[0].send_signal(signals.SIGTERM)
        assert pipeline.processes[0].wait(15) == -signals.SIGTERM
        assert gone(found)


def test_the_workers_hold_nothing_that_belongs_to_the_run(tmp_path: Path) -> None:
    """Standard input and output, and the lock on the state: a killed run can be started anew at once."""
    written(tmp_path, more="class Slow(Tells):\n    def process_tick(self, tick, history):\n        time.sleep(2)\n")
    run = ["run-strategy", *configured(tmp_path, "mine:Slow", "last"), "--workers", "2", "--state", str(tmp_path / "s")]
    with Pipeline(alpha(*run, "--deadline", "10")) as pipeline:
        pipeline.write(stream(ticks(1), eof=None))
        assert until(lambda: len(workers_of(pipeline)) == 2)
        found = workers_of(pipeline)
        time.sleep(0.3)
        kill(found[1])  # started again while the state is open
        pipeline.processes[0].kill()
        pipeline.processes[0].wait()
        assert until(lambda: pipeline._ended)  # no copy of its standard output is left open
        again = subprocess.run(
            alpha(*run[:-4], "--state", str(tmp_path / "s")), input=b"", capture_output=True, timeout=20, check=False
        )
        assert again.returncode == 0
        assert gone(found)
