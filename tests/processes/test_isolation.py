"""What a strategy does wrong stays with it: circuits, deadlines, memory, and answers that are none."""

from __future__ import annotations

import signal as signals
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as some
from support.events import BANK, NIFTY, START, stream, tick, ticks
from support.examples import examples
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
    without_faulty,
    written,
)
from support.processes import ROOT, Pipeline, alpha, counters, environment, run_alpha

from alpha_cli import SignalResult
from alpha_cli.core.codec import decode, encode
from alpha_cli.core.events import Bar, Control, Event, Fill, Signal, Tick
from alpha_cli.stages.run_strategy.config import StrategyConfig
from alpha_cli.stages.run_strategy.engine import StrategyRunner
from alpha_cli.stages.run_strategy.executor import Strategy

Answer = Callable[..., Any]


def defect(reason: str) -> pytest.MarkDecorator:
    """A test of what ought to be and is not yet; it fails when that is mended, so that this mark goes."""
    return pytest.mark.xfail(strict=True, reason=reason)


# --- a runner in this process ----------------------------------------------------------------


class Processor:
    """Made of functions. `offered` are its other methods and attributes."""

    def __init__(self, process_tick: Answer, **offered: Any) -> None:
        self.process_tick = process_tick
        self.__dict__.update(offered)


def silent(*_: Any) -> None:
    """Looks and says nothing."""


def buy(*_: Any) -> SignalResult:
    return SignalResult("BUY", quantity=1)


def fail(*_: Any) -> None:
    raise ValueError(f"at {object()}")


class Runner:
    """A runner with one strategy `mine`; `feed` tells what each event led to."""

    def __init__(
        self,
        process_tick: Answer,
        *,
        failures: int = 3,
        cool_down: float = 60,
        tokens: Sequence[int] = (NIFTY,),
        **offered: Any,
    ) -> None:
        self.reports: list[str] = []
        self.runner = StrategyRunner(
            report=self.reports.append, failures=failures, cool_down=timedelta(seconds=cool_down)
        )
        self.add("mine", process_tick, tokens, **offered)

    def add(self, name: str, process_tick: Answer, tokens: Sequence[int] = (NIFTY,), **offered: Any) -> None:
        config = StrategyConfig(id=name, strategy_type="test", instruments=tuple(tokens))
        place = len(self.runner.strategies)
        self.runner.roster.add(Strategy(config, ["paper"], place, create=lambda _: Processor(process_tick, **offered)))

    def feed(self, *events: Event) -> list[list[Any]]:
        """What was added after each of `events`."""
        steps: dict[type, Callable[[Any], Any]] = {
            Tick: self.runner.on_tick,
            Bar: self.runner.on_bar,
            Fill: self.runner.on_fill,
        }
        return [list(steps[type(event)](event)) for event in events]


def said(added: Sequence[Sequence[Any]]) -> list[tuple[int, str]]:
    """(index of the event, what the line after it says) of each line: an action, or the side of a signal."""
    return [
        (index, one.action if isinstance(one, Control) else one.signal_type)
        for index, lines in enumerate(added)
        for one in lines
    ]


# --- the circuit -----------------------------------------------------------------------------


@pytest.mark.parametrize("failures", [1, 2, 7])
def test_the_circuit_opens_after_exactly_that_many_failures_in_a_row(failures: int) -> None:
    """One less is forgiven; the line is at the tick that was one too many, with nothing in it that varies."""
    bad = [*range(1, failures), *range(failures + 1, 2 * failures + 5)]  # the tick of that index went well
    mine = Runner(lambda one, history: fail() if len(history) + 1 in bad else buy(), failures=failures)
    added = mine.feed(*ticks(2 * failures + 4))
    assert said(added) == [(failures - 1, "BUY"), (2 * failures - 1, "pause")]
    assert added[2 * failures - 1] == [
        Control(
            action="pause", target="mine", by="run-strategy", value={"cause": "circuit"},
            reason=f"circuit open after {failures} failures in a row, the last ValueError; tried again after 60 s",
            timestamp=tick(2 * failures - 1).timestamp,
        )
    ]  # fmt: skip
    assert mine.reports[-1].startswith("mine is paused: circuit open after ")


OUTCOMES: dict[str, Answer] = {
    "nothing": silent,
    "buy": buy,
    "hold": lambda *_: SignalResult("HOLD"),
    "raise": fail,
    "garbage": lambda *_: {"signal_type": "BUY"},
}
GOOD = {"nothing", "buy", "hold"}


def reference(outcomes: Sequence[str], failures: int, cool_down: int) -> tuple[list[int], list[tuple[int, str]]]:
    """Slow and obvious, one tick a second: at which ticks is it called, and what is said after which?"""
    called: list[int] = []
    lines: list[tuple[int, str]] = []
    row, until = 0, None
    for at, outcome in enumerate(outcomes):
        if until is not None and at < until:
            continue
        called.append(at)
        good = outcome in GOOD
        row = 0 if good else row + 1
        if until is None and row == failures:
            lines.append((at, "pause"))
            until = at + cool_down
        elif until is not None and good:
            lines.append((at, "resume"))
            until = None
        elif until is not None:
            until = at + cool_down
        if outcome == "buy":
            lines.append((at, "BUY"))
    return called, lines


@given(
    outcomes=some.lists(
        some.tuples(some.sampled_from([*OUTCOMES, "raise", "raise"]), some.integers(1, 12)), max_size=40
    ).map(lambda runs: [outcome for outcome, length in runs for _ in range(length)]),
    failures=some.integers(1, 5),
    cool_down=some.integers(0, 12),
)
@examples(150)
def test_the_circuit_agrees_with_a_slow_reference(outcomes: list[str], failures: int, cool_down: int) -> None:
    """For any series of answers: when it is called, when it is paused and resumed, and every signal."""
    called: list[int] = []

    def answer(one: Tick, history: Sequence[Tick]) -> Any:
        at = int((one.timestamp - START).total_seconds())
        assert len(history) == min(at, 100)  # it goes on while the strategy stands still
        called.append(at)
        return OUTCOMES[outcomes[at]]()

    mine = Runner(answer, failures=failures, cool_down=cool_down)
    added = mine.feed(*(tick(at) for at in range(len(outcomes))))
    assert (called, said(added)) == reference(outcomes, failures, cool_down)


def test_the_first_tick_at_or_after_the_cool_down_is_a_trial() -> None:
    """By the time of the stream; a good answer counts, and is told of after the line that says so."""
    seen: list[float] = []

    def answer(one: Tick, _: Sequence[Tick]) -> Any:
        seen.append((one.timestamp - START).total_seconds())
        return buy() if len(seen) > 2 else fail()

    mine = Runner(answer, failures=2, cool_down=10)
    added = mine.feed(tick(0), tick(1), tick(2), tick(10.999999), tick(11), tick(11))
    assert seen == [0, 1, 11, 11]
    assert said(added) == [(1, "pause"), (4, "resume"), (4, "BUY"), (5, "BUY")]
    assert added[4][0] == Control(
        action="resume", target="mine", by="run-strategy", reason="circuit closed: it did not fail this time",
        timestamp=tick(11).timestamp,
    )  # fmt: skip


def test_the_cool_down_spans_a_night_by_the_time_of_the_stream() -> None:
    """No clock is asked: a tick of the next day is late enough, whenever it is read."""
    mine = Runner(lambda one, _: fail() if one.timestamp < tick(3600).timestamp else silent(), failures=1)
    assert said(mine.feed(tick(5), tick(6), tick(86_400))) == [(0, "pause"), (2, "resume")]


def test_a_failed_trial_is_another_cool_down_without_a_line() -> None:
    """Nothing changed, so nothing is said."""
    mine = Runner(fail, failures=1, cool_down=10)
    assert said(mine.feed(*ticks(35))) == [(0, "pause")]
    assert mine.runner.strategies["mine"].errors == 4  # at 0, 10, 20 and 30


def test_history_goes_on_while_the_strategy_stands_still() -> None:
    """Back again, it has every tick before this one, the failed and the missed."""
    seen: list[list[Tick]] = []

    def answer(one: Tick, history: Sequence[Tick]) -> None:
        seen.append(list(history))
        if len(seen) == 1:
            fail()

    events = ticks(20)
    Runner(answer, failures=1, cool_down=7).feed(*events)
    assert seen == [[], *(events[:at] for at in range(7, 20))]


@pytest.mark.parametrize("kind", ["bars", "bars built here", "fills"])
def test_failures_at_bars_and_fills_count_too(kind: str) -> None:
    """Ticks that go well in between do not excuse them."""
    offered: dict[str, Any] = {"on_fill": fail} if kind == "fills" else {"on_bar": fail}
    if kind == "bars built here":
        offered["bars"] = ("1m",)
    mine = Runner(silent, failures=3, **offered)
    events: list[Event] = []
    for minute in range(5):
        other: Event = fill(minute, minute * 60 + 30) if kind == "fills" else bar(minute * 60 + 60)
        events += [tick(minute * 60 + 1), *([other] if kind != "bars built here" else [])]
    added = mine.feed(*events)
    assert said(added)[:1] == [(3 if kind == "bars built here" else 5, "pause")]


def test_while_it_stands_still_it_is_told_of_no_bar_and_no_fill() -> None:
    """They are entered all the same: its history of bars and its position go on."""
    told: list[Any] = []

    def on_bar(one: Bar, history: Sequence[Bar]) -> None:
        told.append((one, len(history)))

    mine = Runner(lambda one, _: fail() if one.timestamp <= tick(1).timestamp else None, failures=1,
                  on_bar=on_bar, on_fill=told.append)  # fmt: skip
    mine.feed(tick(1), bar(2), fill(1, 2), tick(3), bar(4))
    assert told == []
    mine.feed(tick(61), bar(62), fill(2, 62))
    assert told == [(bar(62), 2), fill(2, 62)]
    assert mine.runner.portfolio.position("mine", "paper", NIFTY) == 2


def test_an_answer_that_is_none_is_a_failure() -> None:
    """A dict is not a SignalResult, time after time."""
    added = Runner(OUTCOMES["garbage"], failures=4).feed(*ticks(10))
    assert said(added) == [(3, "pause")]
    assert "the last Garbage" in added[3][0].reason


def refused(*_: Any) -> SignalResult:
    """What the standard validator will not have."""
    return SignalResult("BUY", quantity=1, order_type="LIMIT")


def test_a_refusal_by_the_validator_is_no_failure() -> None:
    """The strategy may be at a limit that it does not know of; the failure after it is the first again."""
    mine = Runner(lambda _, history: refused() if len(history) % 3 < 2 else fail(), failures=2)
    assert said(mine.feed(*ticks(30))) == []
    assert (mine.runner.strategies["mine"].rejected, mine.runner.strategies["mine"].errors) == (20, 10)


def test_a_trial_whose_answer_is_refused_closes_the_circuit() -> None:
    """It did not fail this time."""
    mine = Runner(lambda _, history: refused() if history else fail(), failures=1, cool_down=10)
    assert said(mine.feed(*ticks(20))) == [(0, "pause"), (10, "resume")]


def test_failing_on_one_instrument_alone_opens_the_circuit_of_all() -> None:
    """However well the others go in between; during the cool-down none of them is asked."""
    asked: list[int] = []

    def answer(one: Tick, _: Sequence[Tick]) -> Any:
        asked.append(one.instrument_token)
        return fail() if one.instrument_token == NIFTY else None

    mine = Runner(answer, failures=3, tokens=(NIFTY, BANK))
    added = mine.feed(*ticks(12, (BANK, NIFTY)))
    assert said(added) == [(5, "pause")]
    assert asked == [BANK, NIFTY] * 3


def test_failing_once_on_each_of_many_instruments_opens_it() -> None:
    """In a row means in a row of calls, whichever instruments they are about."""
    tokens = range(1, 9)
    mine = Runner(fail, failures=5, tokens=tokens)
    assert said(mine.feed(*ticks(8, tokens))) == [(4, "pause")]


def test_failing_on_the_first_tick_of_each_instrument_is_not_in_a_row() -> None:
    """`history[-1]` of an empty history, say: each time the calls before went well."""
    tokens = range(1, 9)
    events = [tick(10 * last + token, token=token) for last in tokens for token in range(1, last + 1)]
    mine = Runner(lambda _, history: history[-1] and None, failures=5, tokens=tokens)
    assert said(mine.feed(*events)) == []
    assert mine.runner.strategies["mine"].errors == 8


def test_a_signal_at_a_bar_is_a_success() -> None:
    """Every other bar fails; none of the failures follows another."""
    mine = Runner(silent, failures=3, on_bar=lambda one, _: buy() if one.end.minute % 2 else fail())
    added = mine.feed(*(event for minute in range(20) for event in (tick(minute * 60 + 1), bar(minute * 60 + 60))))
    assert {what for _, what in said(added)} == {"BUY"}


def test_a_strategy_may_call_its_methods_what_it_likes() -> None:
    """Also as one of the runner's own functions."""

    def ask(_: Tick, history: Sequence[Tick]) -> None:
        if len(history) % 2:
            fail()

    assert said(Runner(ask, failures=3).feed(*ticks(20))) == []


def test_a_process_tick_without_a_name_may_fail() -> None:
    """A functools.partial, or an object that can be called."""
    from functools import partial

    assert said(Runner(partial(fail, 1), failures=3).feed(*ticks(5))) == [(2, "pause")]


def test_once_paused_it_is_not_called_again_for_the_same_event() -> None:
    """A tick that closed a bar: the answer to the bar failed, so the tick itself is not asked about."""
    mine = Runner(buy, failures=1, on_bar=fail, bars=("1m",))
    assert said(mine.feed(tick(1), tick(61), tick(62))) == [(0, "BUY"), (1, "pause")]


def test_a_circuit_that_opens_at_the_end_of_time_stays_open() -> None:
    """A feed's nonsense and --all-hours: no reason to stop the others."""
    late = decode(b'{"type":"tick","instrument_token":256265,"timestamp":"9999-12-31T23:59:59Z","last_price":1}')
    mine = Runner(fail, failures=1)
    mine.runner = StrategyRunner(all_hours=True, failures=1)
    mine.add("mine", fail)
    assert said(mine.feed(late, late)) == [(0, "pause")]


# --- as processes ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The output of two strategies that do no wrong."""
    folder = tmp_path_factory.mktemp("alone")
    written(folder)
    done = run_alpha(["run-strategy", *configured(folder, "first", "last"), *QUICK], DATA)
    assert done.stdout.count(b'"signal"') == 120
    return done.stdout


@pytest.mark.parametrize("deeds", BY_MEMORY, ids=lambda deeds: deeds[0] if len(deeds) == 1 else "all others")
def test_what_one_strategy_does_leaves_the_others_output_as_it_is(
    deeds: Sequence[str], tmp_path: Path, alone: bytes
) -> None:
    """Before and after it in order: the same bytes as without it, one line about it, and the run ends well."""
    done = run_alpha(["run-strategy", *side_by_side(tmp_path, {deed: MISDEEDS[deed] for deed in deeds}), *QUICK], DATA)
    assert (done.returncode, without_faulty(done.stdout, deeds)) == (0, alone)
    for deed, name in names_of(deeds).items():
        lines = about(done.stdout, name)
        assert [one.action for one in lines] == ([] if deed in ALLOWED else ["pause"]), deed
        assert all(one.value == {"cause": STOPPED.get(deed, "circuit")} for one in lines), deed
    assert "0x" not in done.stdout.decode()
    assert b"Traceback" not in done.stderr


def test_what_is_told_of_a_failure_does_not_vary(tmp_path: Path) -> None:
    """Two runs with other addresses and hash seeds: the same bytes; --failures and --cool-down say when."""
    written(tmp_path, MISDEEDS["raises a BaseException of its own"])
    run = ["run-strategy", *configured(tmp_path, "faulty:Faulty"), "--failures", "2", "--cool-down", "7.5"]
    first, second = (run_alpha(run, DATA, env={"PYTHONHASHSEED": seed}) for seed in "12")
    assert first.stdout == second.stdout
    (pause,) = about(first.stdout, "faulty")
    assert pause.reason == "circuit open after 2 failures in a row, the last Odd; tried again after 7.5 s"
    assert pause.timestamp == tick(1).timestamp
    assert counters(first.stderr.decode())["errors"] == 2 + 60 // 8


@pytest.mark.parametrize("deed", ["sleeps a second", "loops", "loops and swallows every Exception"])
def test_a_strategy_that_hangs_holds_the_others_up_once_and_no_longer_than_stated(deed: str, tmp_path: Path) -> None:
    """Live, one tick at a time: five quarters of the deadline, all ticks together."""
    written(tmp_path, MISDEEDS[deed])
    options = configured(tmp_path, "faulty:Faulty", "last")
    with Pipeline(alpha("run-strategy", *options, "--deadline", "0.2")) as pipeline:
        pipeline.write(stream([tick(-1)], eof=None))  # before the session: it has started
        pipeline.wait_for(b'"tick"')
        taken = delays(pipeline, "last", 30)
        assert pipeline.finish() == [75]
    assert taken[0] >= 0.2
    assert sum(taken) <= 1.25 * 0.2 + SLACK
    assert [one.value for one in about(pipeline.output, "faulty")] == [{"cause": "deadline"}]


def test_what_an_interrupted_call_was_about_is_remembered(tmp_path: Path) -> None:
    """Resumed by a person, a strategy that once took too long finds the whole history."""
    more = """
class Once:
    def process_tick(self, tick, history):
        if len(history) == 2:
            time.sleep(30)
        return SignalResult("BUY", quantity=1, reasoning=f"after {len(history)}")
"""
    written(tmp_path, more=more)
    resume = Control(action="resume", target="mine", by="me")
    events = [*ticks(5), resume, *(tick(at) for at in range(10, 12))]
    done = run_alpha(["run-strategy", *configured(tmp_path, "mine:Once"), "--deadline", "0.2"], stream(events))
    assert [one.reasoning for one in about(done.stdout, "mine") if isinstance(one, Signal)] == [
        "after 0", "after 1", "after 5", "after 6",
    ]  # fmt: skip
    pause, _, resumed = [one for one in about(done.stdout, "mine") if isinstance(one, Control)]
    assert (pause.timestamp, pause.reason) == (tick(2).timestamp, "it took longer than 0.2 s (--deadline)")
    assert (resumed.action, resumed.by, resumed.reason) == ("resume", "run-strategy", "by me")


def test_a_strategy_that_hangs_at_a_bar_is_stopped_once(tmp_path: Path) -> None:
    """However many bars a tick closes, one line, and no more than the deadline."""
    more = """
class Hangs:
    bars = ("1s",)
    def process_tick(self, tick, history):
        return None
    def on_bar(self, bar, history):
        time.sleep(30)
"""
    written(tmp_path, more=more)
    events = stream([tick(0.5), tick(10.5), tick(11.5)])
    done = run_alpha(["run-strategy", *configured(tmp_path, "mine:Hangs"), "--deadline", "0.2"], events)
    assert [one.action for one in about(done.stdout, "mine")] == ["pause"]


@pytest.mark.parametrize("where", ["__str__", "validator"])
def test_what_hangs_beside_the_call_is_interrupted_too(where: str, tmp_path: Path) -> None:
    """The text of an error is code of the strategy's, and so is a validator."""
    more = f"""
class Slow(Exception):
    def __str__(self):
        time.sleep(1.5)
        return "at last"
class Tedious:
    def process_tick(self, tick, history):
        {"raise Slow" if where == "__str__" else 'return SignalResult("BUY")'}
class Validator:
    def validate_configuration(self, config):
        return ()
    def validate_signal(self, result, event, context):
        time.sleep(1.5)
"""
    written(tmp_path, more=more)
    own: dict[str, Any] = {"validator_type": "./mis.py:Validator"} if where == "validator" else {}
    run = ["run-strategy", *configured(tmp_path, "mine:Tedious", **own), "--deadline", "0.2"]
    done = run_alpha(run, stream(ticks(1)))
    assert done.returncode == 70
    assert [getattr(one, "value", None) for one in about(done.stdout, "mine")] == [{"cause": "deadline"}]


@pytest.mark.parametrize("raised", ["SystemExit(3)", "KeyboardInterrupt", "Odd"])
def test_an_error_that_exits_when_it_is_told_ends_nothing(raised: str, tmp_path: Path) -> None:
    """Whatever its text raises: it has none."""
    more = f"""
class Last(Exception):
    def __str__(self):
        raise {raised}
class Quits:
    def process_tick(self, tick, history):
        raise Last
"""
    written(tmp_path, more=more)
    done = run_alpha(["run-strategy", *configured(tmp_path, "mine:Quits", "last")], DATA)
    assert done.returncode == 0
    assert done.stdout.count(b'"last"') == 60


#: Where a strategy may print.
PRINTING = ("module", "__init__", "load_model", "process_tick", "shutdown", "kept")


@pytest.mark.parametrize("where", PRINTING)
def test_what_a_strategy_prints_is_no_data(where: str, tmp_path: Path) -> None:
    """Wherever it prints, it goes to stderr."""
    here = {name: 'print("look at me")' if name == where else "pass" for name in PRINTING}
    more = f"""
{here["module"]}
{"kept = sys.stdout" if where == "kept" else ""}
class Prints:
    def __init__(self):
        {here["__init__"]}
    def load_model(self):
        {here["load_model"]}
    def process_tick(self, tick, history):
        {'print("look at me", file=kept, flush=True)' if where == "kept" else here["process_tick"]}
    def shutdown(self):
        {here["shutdown"]}
"""
    written(tmp_path, more=more)
    done = run_alpha(["run-strategy", *configured(tmp_path, "mine:Prints")], DATA)
    assert (done.returncode, done.stdout) == (0, DATA)
    assert b"look at me" in done.stderr


def test_whatever_another_method_raises_stays_with_its_strategy(tmp_path: Path) -> None:
    """As in process_tick: the others go on, now and in the next run with the same state."""
    kinds = [
        (f"Raises{number}", method, raised)
        for number, (method, raised) in enumerate(
            product(
                ("load_model", "warmup", "shutdown", "snapshot", "restore"),
                ("SystemExit(3)", "Odd", "KeyboardInterrupt"),
            )
        )
    ]
    more = "".join(
        f"class {name}(Tells):\n"
        f"    def snapshot(self):\n        return 1\n"
        f"    def {method}(self, *_):\n        raise {raised}\n"
        for name, method, raised in kinds
    )
    written(tmp_path, more=more)
    named = [f"{name.lower()}:{name}" for name, *_ in kinds]
    run = ["run-strategy", *configured(tmp_path, *named, "last"), "--state", str(tmp_path / "state"), "-q"]
    for _ in range(2):
        done = run_alpha(run, DATA)
        assert (done.returncode, done.stdout.count(b'"last"')) == (0, 60)
        for name, method, raised in kinds:  # what raises at the end, or when it is kept, has spoken before
            spoke = done.stdout.count(b'"strategy_id":"%s"' % name.lower().encode())
            assert spoke == 60 if method in {"shutdown", "snapshot"} else spoke in {0, 60}, (method, raised, spoke)


@pytest.mark.parametrize("method", ["load_model", "warmup", "restore"])
@pytest.mark.parametrize("then", ["sleeps on", "swallows it"])
def test_ctrl_c_while_a_strategy_is_loaded_ends_the_run(method: str, then: str, tmp_path: Path) -> None:
    """A person is not a failure of the strategy's, whatever it makes of it."""
    more = f"""
class Slow(Tells):
    def snapshot(self):
        return 1
    def {method}(self, *_):
        if not Path(__file__).with_name("slow").exists():
            return
        print("at work", file=sys.stderr, flush=True)
        try:
            time.sleep(60)
        except BaseException:
            {"raise" if then == "sleeps on" else "raise ValueError from None"}
"""
    written(tmp_path, more=more)
    run = ["run-strategy", *configured(tmp_path, "mine:Slow", "last"), "--state", str(tmp_path / "state"), "-q"]
    assert run_alpha(run, DATA).returncode == 0
    (tmp_path / "slow").touch()
    with Pipeline(alpha(*run)) as pipeline:
        patience = time.monotonic() + 10
        while "at work" not in pipeline.stderr() and time.monotonic() < patience:
            time.sleep(0.005)
        pipeline.signal(signals.SIGINT)
        assert pipeline.processes[0].wait(10) == -signals.SIGINT
        assert pipeline.output == b""


# --- memory ----------------------------------------------------------------------------------


def test_a_strategy_that_uses_up_the_memory_is_paused_alone_and_its_memory_is_free_again(tmp_path: Path) -> None:
    """The line says which, at which tick; resumed by a person it starts anew, and may use as much again."""
    written(tmp_path, MISDEEDS["hoards at once"])
    resume = Control(action="resume", target="faulty", by="me")
    events = stream([*ticks(3), resume, *(tick(at) for at in range(10, 13))])
    done = run_alpha(["run-strategy", *configured(tmp_path, "faulty:Faulty", "last"), *QUICK], events)
    assert done.returncode == 0
    assert done.stdout.count(b'"last"') == 6
    pause, asked, resumed, again = about(done.stdout, "faulty")
    assert (asked, resumed.action) == (resume, "resume")
    assert [(one.value, one.timestamp) for one in (pause, again)] == [
        ({"cause": "memory"}, tick(0).timestamp), ({"cause": "memory"}, tick(10).timestamp),
    ]  # fmt: skip
    assert pause.reason == "it used up the memory (--memory); what it remembered is gone"


def test_history_survives_the_loss_of_memory(tmp_path: Path) -> None:
    """What the strategy kept is gone, but not what the runner keeps for it."""
    more = """
class Forgets:
    def process_tick(self, tick, history):
        if len(history) == 2:
            raise MemoryError
        return SignalResult("BUY", quantity=1, reasoning=f"after {len(history)}")
"""
    written(tmp_path, more=more)
    events = [*ticks(5), Control(action="resume", target="mine", by="me"), tick(10)]
    done = run_alpha(["run-strategy", *configured(tmp_path, "mine:Forgets")], stream(events))
    assert [one.reasoning for one in about(done.stdout, "mine") if isinstance(one, Signal)] == [
        "after 0", "after 1", "after 5",
    ]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="--memory limits on Linux only")
def test_a_strategy_that_hoards_small_things_stops_nothing(tmp_path: Path) -> None:
    """Tuples of one number, until there is no room for another."""
    written(tmp_path, "while True: self.kept.append((len(self.kept),))")
    run = ["run-strategy", *configured(tmp_path, "faulty:Faulty", "last"), "--memory", "133", "--deadline", "20"]
    done = run_alpha(run, DATA, timeout=15)
    assert done.returncode == 0
    assert done.stdout.count(b'"last"') == 60


# --- the watchdog ----------------------------------------------------------------------------

UNDISTURBED = ("--deadline", "0.2", "-q")


def test_waiting_for_input_is_no_overrun(tmp_path: Path) -> None:
    """For longer than the deadline, several times; the strategy runs on."""
    written(tmp_path)
    with Pipeline(alpha("run-strategy", *configured(tmp_path, "mine"), *UNDISTURBED)) as pipeline:
        for number in range(3):
            pipeline.write(encode(tick(number)) + b"\n")
            pipeline.wait_for(b'"after %d"' % number)
            time.sleep(0.4)
        assert pipeline.finish() == [0]
        assert pipeline.stderr() == ""


def test_a_process_that_is_stopped_and_goes_on_has_overrun_nothing(tmp_path: Path) -> None:
    """SIGSTOP in the middle of a call, SIGCONT after several deadlines: looks are counted, not seconds."""
    more = """
class Naps:
    def process_tick(self, tick, history):
        print("asleep", file=sys.stderr, flush=True)
        time.sleep(0.2)
        return SignalResult("BUY", quantity=1)
"""
    written(tmp_path, more=more)
    options = configured(tmp_path, "mine:Naps")
    with Pipeline(alpha("run-strategy", *options, "--deadline", "0.6", "-q")) as pipeline:
        pipeline.write(encode(tick()) + b"\n")
        patience = time.monotonic() + 10
        while not pipeline.stderr() and time.monotonic() < patience:
            time.sleep(0.005)
        pipeline.signal(signals.SIGSTOP)
        time.sleep(1.2)
        pipeline.signal(signals.SIGCONT)
        pipeline.wait_for(b'"signal"')
        assert pipeline.finish() == [0]
        assert pipeline.stderr() == "asleep\n"


def test_a_slow_call_within_the_deadline_is_not_interrupted(tmp_path: Path) -> None:
    """Nor are many of them in a row."""
    written(tmp_path, "time.sleep(0.25)")
    run = ["run-strategy", *configured(tmp_path, "faulty:Faulty"), "--deadline", "0.8", "-q"]
    done = run_alpha(run, stream(ticks(5)))
    assert (done.returncode, done.stdout, done.stderr) == (0, stream(ticks(5)), b"")


def test_deadline_zero_is_none(tmp_path: Path) -> None:
    """A call may take as long as it likes; with the usual one it may not."""
    written(tmp_path, "time.sleep(1)")
    run = ["run-strategy", *configured(tmp_path, "faulty:Faulty"), "-q", "--deadline"]
    data = stream(ticks(1))
    assert run_alpha([*run, "0"], data).stdout == data
    assert b'"cause":"deadline"' in run_alpha([*run, "0.2"], data).stdout


def test_many_quick_calls_are_no_long_one(tmp_path: Path) -> None:
    """Hot for several deadlines, nearly all of the time inside the strategy, and never in one call for long."""
    written(tmp_path, "sum(range(2_000))")
    run = ["run-strategy", *configured(tmp_path, "faulty:Faulty"), "--deadline", "0.1", "-q"]
    data = stream(ticks(25_000, step=0.1))
    done = run_alpha(run, data)
    assert (done.returncode, done.stdout == data, done.stderr) == (0, True, b"")


def test_many_quick_bars_at_one_tick_are_no_long_call(tmp_path: Path) -> None:
    """After a lull a tick closes sixty bars; each is dealt with quickly."""
    more = """
class Quick:
    bars = ("1s",)
    def process_tick(self, tick, history):
        return None
    def on_bar(self, bar, history):
        time.sleep(0.02)
"""
    written(tmp_path, more=more)
    run = ["run-strategy", *configured(tmp_path, "mine:Quick"), "--deadline", "0.3", "-q"]
    data = stream([tick(0.5), tick(60.5), tick(61.5)])
    done = run_alpha(run, data)
    assert (done.stdout, done.stderr) == (data, b"")


#: A host that is told of one fill after the other, each made when the one before is gone.
FILLS = """
import sys, time
from alpha_cli import Fill, StrategyConfig, decode
from alpha_cli.stages.run_strategy.executor import Strategy
from alpha_cli.stages.run_strategy.host import Host, HostOptions

class Quick:
    def process_tick(self, tick, history):
        return None
    def on_fill(self, fill):
        time.sleep(0.002)

host = Host(HostOptions(deadline=0.1), [], lambda: [], lambda _: None)
config = StrategyConfig(id="mine", strategy_type="test", instruments=(256265,))
host.runner.roster.add(Strategy(config, ["paper"], create=lambda _: Quick()))
host.start()
ends, number, step = time.monotonic() + 1.5, 0, host.steps[Fill]
while time.monotonic() < ends:
    number += 1
    list(step(decode(sys.argv[1].replace('"f0"', f'"f{number}"').encode())))
host.release()
sys.exit(host.counts()["errors"] > 0)
"""


def test_many_quick_fills_are_no_long_call() -> None:
    """One after the other, as a stage reads them that has nothing else to do."""
    line = encode(fill(0)).decode()
    done = subprocess.run([sys.executable, "-c", FILLS, line], cwd=ROOT, env=environment(), timeout=30, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("deadlines", [("0", "0.2"), ("0.2", "5")])
def test_each_runner_of_a_pipeline_has_its_own_deadline(deadlines: tuple[str, str], tmp_path: Path) -> None:
    """As from the shell: what the first allows, or does not, has nothing to do with the second."""
    written(tmp_path, "time.sleep(0.7)")
    first = ["run-strategy", "-q", *configured(tmp_path, "faulty:Faulty"), "--deadline", deadlines[0]]
    second = ["run-strategy", "-q", *configured(tmp_path, "last"), "--deadline", deadlines[1]]
    data = stream(ticks(1))
    shell = run_alpha(second, run_alpha(first, data).stdout)
    assert run_alpha(["pipe", f"{' '.join(first)} | {' '.join(second)}"], data).stdout == shell.stdout


# --- replay ----------------------------------------------------------------------------------

#: Takes too long, or too much, at the third tick; but only the first time.
ONCE = """
class Once:
    def __init__(self):
        self.calls = 0
    def process_tick(self, tick, history):
        self.calls += 1
        mark = Path(__file__).with_name("done")
        if len(history) == 2 and not mark.exists():
            mark.touch()
            {deed}
            return None
        return SignalResult("BUY", quantity=1, reasoning=f"{{self.calls}} after {{len(history)}}") if {speaks} else None
"""


def replayed(folder: Path, deed: str, speaks: str, events: Sequence[Event]) -> tuple[bytes, bytes]:
    """The output of a run with `Once`, and of one more, which does not overrun, on its recording."""
    written(folder, more=ONCE.format(deed=deed, speaks=speaks))
    run = ["run-strategy", *configured(folder, "mine:Once", "last"), "--deadline", "0.25", "-q"]
    first = run_alpha(run, stream(events))
    recording = b"".join(line for line in first.stdout.splitlines(keepends=True) if b'"type":"signal"' not in line)
    assert b'"by":"run-strategy"' in recording
    again = run_alpha(run, recording)
    assert (first.returncode, again.returncode) == (0, 0)
    return first.stdout, again.stdout


def test_the_replay_of_a_missed_deadline_gives_the_same_signals(tmp_path: Path) -> None:
    """The line in the recording stops the strategy where the clock did; nothing is said twice."""
    first, again = replayed(tmp_path, "time.sleep(30)", "len(history) != 2", ticks(6))
    assert again.count(b'"control"') == 1
    assert sorted(signals_in(again)) == sorted(signals_in(first))
    assert signals_in(first)[-1:] != []


@defect("the line that pauses comes after the tick: in the replay the strategy answers that tick before it is stopped")
def test_in_a_replay_the_call_that_took_too_long_is_not_answered_after_all(tmp_path: Path) -> None:
    """It would have spoken, had it been quick enough; then it was not."""
    first, again = replayed(tmp_path, "time.sleep(30)", "True", ticks(6))
    assert sorted(signals_in(again)) == sorted(signals_in(first))


def test_the_replay_of_a_loss_of_memory_starts_the_strategy_anew(tmp_path: Path) -> None:
    """Resumed later, it counts from one in both."""
    events = [*ticks(5), Control(action="resume", target="mine", by="me"), *(tick(at) for at in range(10, 13))]
    first, again = replayed(tmp_path, "raise MemoryError", "len(history) > 3", events)
    calls = [[decode(line).reasoning.split()[0] for line in signals_in(out) if b'"mine"' in line]
             for out in (first, again)]  # fmt: skip
    assert calls[0] == calls[1] != []


@pytest.mark.parametrize("cause", ["deadline", "memory", "process"])
def test_a_recorded_line_pauses_by_the_clock_only(cause: str, tmp_path: Path) -> None:
    """Until a person resumes; a recorded circuit is not obeyed, it opens again or it does not."""
    written(tmp_path)
    line = Control(action="pause", target="mine", by="run-strategy", reason="x", value={"cause": cause})
    circuit = Control(action="pause", target="last", by="run-strategy", reason="x", value={"cause": "circuit"})
    resume = Control(action="resume", target="mine", by="me")
    data = stream([tick(0), line, circuit, tick(1), resume, tick(2)])
    done = run_alpha(["run-strategy", *configured(tmp_path, "mine", "last")], data)
    assert [one.reasoning for one in about(done.stdout, "mine") if isinstance(one, Signal)] == ["after 0", "after 2"]
    assert sum(isinstance(one, Signal) for one in about(done.stdout, "last")) == 3
