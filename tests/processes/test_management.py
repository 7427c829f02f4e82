"""What a person does to strategies while they run: it holds from its place in the stream on, and is told there."""

from __future__ import annotations

import signal as signals
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from hypothesis import given, strategies as st
from support.events import NIFTY, stream, tick, ticks
from support.examples import examples
from support.processes import DEADLINE, Pipeline, alpha, counters, run_alpha, skip_in_a_terminal
from support.stages import run_strategy_stage
from support.strategy_runs import (
    COUNTS,
    EVERY_TICK,
    FAILS_BELOW_50,
    control,
    events_of,
    hosted,
    managed,
    module,
    run_strategy,
    said,
    strategy_file,
    yaml_file,
)

from alpha_cli.core.codec import decode, encode
from alpha_cli.core.events import RUNNER, Bar, Control, Denial, Depth, Fill, Level, Order, Signal, Tick
from alpha_cli.stages.run_strategy.host import Host, HostOptions
from alpha_cli.stages.run_strategy.selection import Selection
from alpha_cli.stream.bad_lines import BadLines
from alpha_cli.stream.chain import Chain
from alpha_cli.stream.decoder import LineDecoder
from alpha_cli.stream.stage import Options, Stage


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALPHA_CONFIG_DIR", "ALPHA_ACTIVE_BROKERS", "ALPHA_CONFIG_DB", "ALPHA_STATE"):
        monkeypatch.delenv(name, raising=False)


def answers(output: bytes) -> list[Control]:
    """What run-strategy said of requests."""
    return [one for one in events_of(output, Control) if one.by == RUNNER]


def lines_of(output: bytes) -> list[Any]:
    """The stream as it left: `hello` and `eof` aside."""
    return list(map(decode, output.splitlines()))[1:-1]


def seconds(one: Any) -> float:
    """When a signal was made, in seconds after the opening."""
    return float((one.timestamp - tick().timestamp).total_seconds())


def folder_of(tmp_path: Path, *names: str) -> tuple[Path, dict[str, str]]:
    """A configuration folder of its own with these strategies, and the environment that names it."""
    folder = tmp_path / "configs"
    (folder / "strategies").mkdir(parents=True)
    (folder / "alpha.yaml").write_text("active_brokers: [paper]\n")
    for name in names:
        strategy_file(folder / "strategies", COUNTS, name)
    return folder / "strategies", {"ALPHA_CONFIG_DIR": str(folder)}


# --- pause, resume, set ----------------------------------------------------------------------------


def test_pause_and_resume_hold_from_their_place_in_the_stream_and_are_answered_there(tmp_path: Path) -> None:
    """The tick before still leads to a signal and the tick after does not; the line after the request says so."""
    file = strategy_file(tmp_path, COUNTS)
    pause, resume = control("pause", "mine", reason="lunch"), control("resume", "mine")
    given = [tick(0), tick(1), pause, tick(2), tick(3), resume, tick(4)]
    done = run_strategy(file, stream(given))
    out = lines_of(done.stdout)
    assert [seconds(one) for one in out if isinstance(one, Signal)] == [0, 1, 4]
    assert [type(one).__name__ for one in out] == [
        "Tick", "Signal", "Tick", "Signal", "Control", "Control", "Tick", "Tick", "Control", "Control", "Tick",
        "Signal",
    ]  # fmt: skip
    assert out[5] == Control("pause", "mine", RUNNER, "lunch", {"cause": "person"}, tick(1).timestamp)
    assert out[9] == Control("resume", "mine", RUNNER, "by kim", timestamp=tick(3).timestamp)
    assert "mine is paused: lunch" in done.stderr.decode()
    assert "mine runs again: by kim" in done.stderr.decode()


def test_history_goes_on_while_a_strategy_is_paused(tmp_path: Path) -> None:
    """It is not asked, but what it is shown afterwards has no hole."""
    host, _ = hosted([strategy_file(tmp_path, COUNTS)])
    made = said(host, [tick(0), control("pause"), tick(1), tick(2), control("resume"), tick(3)])
    assert [one.metadata for one in made if isinstance(one, Signal)] == [{"asked": 1, "n": 0}, {"asked": 2, "n": 3}]


def test_a_request_without_a_target_is_for_all_and_one_for_another_is_not_obeyed(tmp_path: Path) -> None:
    """Each strategy answers for itself; a target that does not run here may be meant for risk, and is only told of."""
    files = [strategy_file(tmp_path, COUNTS, name) for name in ("first", "second")]
    host, told = hosted(files)
    assert [one.target for one in said(host, [control("pause")])] == ["first", "second"]
    assert said(host, [tick(0)]) == []
    assert [one.target for one in said(host, [control("resume", "second")])] == ["second"]
    assert [one.strategy_id for one in said(host, [tick(1)])] == ["second"]
    assert said(host, [control("pause", "zerodha"), control("halt", "paper"), control("halt")]) == []
    assert told[-1] == "control pause: no strategy 'zerodha' runs here"
    assert [one.strategy_id for one in said(host, [tick(2)])] == ["second"]


def test_a_strategy_that_runs_is_not_resumed(tmp_path: Path) -> None:
    """There is nothing to answer."""
    host, _ = hosted([strategy_file(tmp_path, COUNTS)])
    assert said(host, [control("resume", "mine"), control("resume")]) == []


def test_set_holds_from_its_place_in_the_stream_and_keeps_the_history(tmp_path: Path) -> None:
    """What was set is in the answer; the processor is a new one that sees the ticks there were."""
    file = strategy_file(tmp_path, COUNTS, parameters="{quantity: 2}")
    change = control("set", "mine", value={"quantity": 5})
    out = lines_of(run_strategy(file, stream([tick(0), tick(1), change, tick(2), tick(3)])).stdout)
    made = [one for one in out if isinstance(one, Signal)]
    assert [one.quantity for one in made] == [2, 2, 5, 5]
    assert [one.metadata["n"] for one in made] == [0, 1, 2, 3]
    place = out.index(change)
    assert out[place + 1] == Control("set", "mine", RUNNER, "by kim", {"quantity": 5}, tick(1).timestamp)


def test_set_takes_a_parameter_under_any_of_its_names(tmp_path: Path) -> None:
    """The YAML may have it under an older one; what was set is what counts."""
    signals_of = {}
    for name, value in (("lookback", 5), ("window", 5), ("lookback_period", 5), ("lookback", 20)):
        host, _ = hosted([yaml_file(tmp_path, parameters="{window: 20, threshold: 0.001}")])
        (answer,) = said(host, [control("set", "mine", value={name: value})])
        assert answer.value == {name: value}
        signals_of[name, value] = [one.signal_id for one in said(host, ticks(60))]
    assert signals_of["lookback", 5] == signals_of["window", 5] == signals_of["lookback_period", 5]
    assert signals_of["lookback", 5] != signals_of["lookback", 20]


#: what is set -> what is told of it
REFUSED: dict[str, tuple[Any, str]] = {
    "unknown": ({"quantty": 5}, "unexpected keyword argument 'quantty'"),
    "out of bounds": ({"quantity": 101}, "too much"),
    "nothing": ({}, "a set needs its parameters"),
    "no value": (None, "a set needs its parameters"),
    "a list": ([5], "a set needs its parameters"),
    "of another type": ({"quantity": "many"}, "not supported between instances"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_a_set_that_will_not_do_is_refused_and_changes_nothing(tmp_path: Path, case: str) -> None:
    """The answer says so, the log says why, and the strategy goes on with all that it remembers."""
    value, reason = REFUSED[case]
    file = strategy_file(tmp_path, COUNTS, parameters="{quantity: 2}")
    request = control("set", "mine", value=value)
    done = run_strategy(file, stream([tick(0), request, tick(1)]))
    plain = run_strategy(file, stream([tick(0), tick(1)]))
    assert done.returncode == 0
    assert events_of(done.stdout) == events_of(plain.stdout)
    (answer,) = answers(done.stdout)
    assert (answer.action, answer.target, answer.value) == ("set", "mine", None)
    assert answer.reason is not None
    assert answer.reason.startswith("refused")
    assert "mine: nothing was set: " in done.stderr.decode()
    assert reason in done.stderr.decode()


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("momentum", {"lookbak": 5}, "no parameter 'lookbak', did you mean 'lookback'"),
        ("momentum", {"threshold": 2}, "parameter threshold: input should be less than 1, got 2"),
        ("momentum", {"lookback": 200}, "needs 201 ticks of history, max_history is 100; raise it"),
        ("momentum", {"lookback": 5, "window": 5}, "are the same parameter"),
        ("ml_momentum", {"model": "absent.onnx"}, "its model cannot be loaded"),
    ],
)
def test_a_packaged_strategy_refuses_what_its_yaml_could_not_say_either(
    tmp_path: Path, kind: str, value: dict[str, Any], reason: str
) -> None:
    """By the same checks, a model that cannot be loaded included."""
    host, told = hosted([yaml_file(tmp_path, strategy_type=kind)])
    before = host.runner.strategies["mine"].processors
    (answer,) = said(host, [control("set", "mine", value=value)])
    assert answer.reason.startswith("refused")
    assert reason in told[-1]
    assert host.runner.strategies["mine"].processors == before
    assert host.runner.strategies["mine"].has_model == (kind == "ml_momentum")


def test_a_set_without_a_target_is_refused(tmp_path: Path) -> None:
    """Parameters mean something else to each strategy."""
    host, told = hosted([strategy_file(tmp_path, COUNTS)])
    assert said(host, [control("set", value={"quantity": 5})]) == []
    assert told == ["control set: it needs a target, the id of a strategy"]
    assert [one.quantity for one in said(host, [tick()])] == [1]


def test_a_paused_strategy_may_be_set_and_stays_paused(tmp_path: Path) -> None:
    """It takes effect when it is resumed."""
    host, _ = hosted([strategy_file(tmp_path, COUNTS)])
    given = [control("pause"), control("set", "mine", value={"quantity": 3}), tick(0), control("resume"), tick(1)]
    assert [(seconds(one), one.quantity) for one in said(host, given) if isinstance(one, Signal)] == [(1, 3)]


def test_a_parameter_that_is_set_does_not_cost_mean_reversion_its_entry(tmp_path: Path) -> None:
    """It has bought, and leaves where it would have left; without the entry it would say nothing there."""
    prices = [100, 101] * 10 + [90] + [100.5] * 5
    events = [tick(at, price) for at, price in enumerate(prices)]
    file = yaml_file(
        tmp_path,
        strategy_type="mean_reversion",
        parameters="{lookback: 10, threshold: 2.5, exit_threshold: 0.5, quantity: 2}",
    )
    host, _ = hosted([file])
    change = control("set", "mine", value={"quantity": 7})
    entry, answer, *made = said(host, [*events[:21], change, *events[21:]])
    assert (entry.signal_type, entry.quantity) == ("BUY", 2)
    assert (answer.action, answer.reason) == ("set", "by kim")
    assert [(one.signal_type, one.quantity) for one in made] == [("SELL", 7)]


#: Remembers how often it was asked; counts how often it was warmed up.
REMEMBERS = """
def __init__(self, quantity=1):
    self.quantity = quantity
    self.asked, self.warmed = 0, 0

def warmup(self, history):
    self.warmed += 1

def process_tick(self, tick, history):
    self.asked += 1
    return SignalResult("BUY", quantity=self.quantity, metadata={"asked": self.asked, "warmed": self.warmed})

def snapshot(self):
    return {"asked": self.asked, "quantity": self.quantity}

def restore(self, state):
    self.asked = state["asked"]
    if state["quantity"] != self.quantity and self.quantity > 50:
        raise ValueError("not mine")
"""


@pytest.mark.parametrize(
    ("quantity", "without", "asked", "warmed", "reason"),
    [
        (5, "", [1, 2, 3, 4], [1, 1, 0, 0], "by kim"),
        (55, "", [1, 2, 1, 2], [1, 1, 1, 1], "by kim; it begins anew, see the log"),
        (5, "def snapshot(self):", [1, 2, 1, 2], [1, 1, 1, 1], "by kim"),
        (5, "def restore(self, state):", [1, 2, 1, 2], [1, 1, 1, 1], "by kim"),
    ],
    ids=["takes it", "refuses it", "no snapshot", "no restore"],
)
def test_what_a_processor_remembers_outlives_a_set(
    quantity: int, without: str, asked: list[int], warmed: list[int], reason: str, tmp_path: Path
) -> None:
    """If it can tell and the new one takes it; else that one begins anew, with nothing left half done."""
    body = REMEMBERS.replace(without, without.replace("def ", "def other_")) if without else REMEMBERS
    host, told = hosted([strategy_file(tmp_path, body)])
    change = control("set", "mine", value={"quantity": quantity})
    made = said(host, [tick(0), tick(1), change, tick(2), tick(3)])
    (answer,) = [one for one in made if isinstance(one, Control)]
    assert (answer.value, answer.reason) == ({"quantity": quantity}, reason)
    metadata = [one.metadata for one in made if isinstance(one, Signal)]
    assert [one["asked"] for one in metadata] == asked
    assert [one["warmed"] for one in metadata] == warmed
    anew = "mine: it begins anew, because it cannot go on from what it remembered: ValueError: not mine"
    assert any(line.startswith(anew) for line in told) == ("anew" in reason)


def test_a_memory_of_another_period_is_not_taken(tmp_path: Path) -> None:
    """The averages of an RSI over 14 ticks say nothing about one over 5: it is warmed up with the history."""
    events = ticks(80)
    file = yaml_file(tmp_path, strategy_type="rules_rsi", parameters="{period: 14}")
    other = tmp_path / "other"
    other.mkdir()
    always, _ = hosted([yaml_file(other, strategy_type="rules_rsi", parameters="{period: 5}")])
    host, _ = hosted([file])
    made = said(host, [*events[:40], control("set", "mine", value={"period": 5}), *events[40:]])
    (answer,) = [one for one in made if isinstance(one, Control)]
    assert answer.reason == "by kim; it begins anew, see the log"
    after = made[made.index(answer) + 1 :]
    assert after == [one for one in said(always, events) if one.timestamp >= events[40].timestamp]
    assert len(after) > 2


REQUESTS = st.sampled_from(["tick", "tick", "tick", "pause", "resume", "pause all", "resume all", "set", "bad set"])


@given(st.lists(REQUESTS, max_size=40))
def test_any_sequence_of_requests_does_what_it_says_at_its_place(tmp_path_factory: Any, asked: list[str]) -> None:
    """Against a model of two variables: whether it runs, and how many units it buys."""
    folder = tmp_path_factory.getbasetemp() / "requests"
    folder.mkdir(exist_ok=True)
    host, _ = hosted([strategy_file(folder, COUNTS)])
    runs, quantity = True, 1
    expected: list[tuple[Any, ...]] = []
    events: list[Any] = []
    for at, word in enumerate(asked):
        action, *rest = word.split()
        target = None if rest == ["all"] else "mine"
        if word == "tick":
            events.append(tick(at))
            expected += [("signal", at, quantity)] * runs
        elif word == "set":
            quantity = at + 1
            events.append(control("set", target, value={"quantity": quantity}))
            expected.append(("set", "mine", {"quantity": quantity}))
        elif word == "bad set":
            events.append(control("set", "mine", value={"quantity": 101}))
            expected.append(("set", "mine", None))
        elif action == "pause":
            runs = False
            events.append(control("pause", target))
            expected.append(("pause", "mine", {"cause": "person"}))
        else:
            events.append(control("resume", target))
            expected += [("resume", "mine", None)] * (not runs)
            runs = True
    assert [
        ("signal", seconds(one), one.quantity) if isinstance(one, Signal) else (one.action, one.target, one.value)
        for one in said(host, events)
    ] == expected


# --- reload --------------------------------------------------------------------------------------


def hang_up(pipeline: Pipeline, at: int = 1, lines: int = 1) -> None:
    """Ask for a reload by SIGHUP; and write ticks from `at` on, so many in one piece, until it was taken up."""
    pipeline.signal(signals.SIGHUP)
    deadline = monotonic() + DEADLINE
    while b'"by":"SIGHUP"' not in pipeline.output:
        assert monotonic() < deadline
        pipeline.write(b"".join(encode(more(at + number)) + b"\n" for number in range(lines)))
        at += lines
        pipeline.wait_for(b'"timestamp":"%s"' % tick(at - 1).timestamp.isoformat().encode())


def test_sighup_reads_the_yaml_again(tmp_path: Path) -> None:
    """The request and what became of it are in the stream, where they took effect; signals change there."""
    skip_in_a_terminal()
    file = strategy_file(tmp_path, COUNTS, parameters="{quantity: 2}")
    with Pipeline(alpha("run-strategy", "--config", str(file))) as pipeline:
        pipeline.write(stream([tick(0)], eof=None))
        pipeline.wait_for(b'"quantity":2')
        strategy_file(tmp_path, COUNTS, parameters="{quantity: 7}")
        hang_up(pipeline)
        pipeline.write(stream([tick(100)], hello=False))
        assert pipeline.finish() == [0]
        out = lines_of(pipeline.output)
    request = out.index(Control("reload", by="SIGHUP"))
    answer = out[request + 1]
    assert (answer.action, answer.target, answer.by, answer.reason) == (
        "reload", "mine", RUNNER, "changed (by SIGHUP)",
    )  # fmt: skip
    for place, one in enumerate(out):
        if isinstance(one, Signal):
            assert one.quantity == (2 if place < request else 7)
    assert sum(isinstance(one, Signal) for one in out) == sum(isinstance(one, Tick) for one in out)


def test_sighup_before_the_first_line_waits_for_it(tmp_path: Path) -> None:
    """No line comes before the `hello` of a stream."""
    skip_in_a_terminal()
    _, env = folder_of(tmp_path, "first")
    with Pipeline(alpha("run-strategy", "first"), env=env) as pipeline:
        status = Path(f"/proc/{pipeline.processes[0].pid}/status")
        if not status.exists():
            pytest.skip("no /proc that tells which signals a process takes")
        deadline = monotonic() + DEADLINE
        while not int(status.read_text().partition("SigCgt:")[2].split()[0], 16) & 1 << signals.SIGHUP - 1:
            assert monotonic() < deadline
            sleep(0.01)
        pipeline.signal(signals.SIGHUP)
        pipeline.write(stream([tick(0)], eof=None))
        pipeline.wait_for(b'"signal"')
        pipeline.write(stream([tick(1)], hello=False))
        assert pipeline.finish() == [0]
        assert pipeline.output.startswith(b'{"type":"hello"')
        assert b'"reason":"nothing has changed"' in pipeline.output


def test_sighup_loses_no_tick_when_it_brings_a_strategy_that_reads_more_of_them(tmp_path: Path) -> None:
    """The lines that come together with it reach all strategies, the new one with the fields that it wants."""
    skip_in_a_terminal()
    folder, env = folder_of(tmp_path, "first")
    with Pipeline(alpha("run-strategy", "--all"), env=env) as pipeline:
        pipeline.write(stream([more(0)], eof=None))
        pipeline.wait_for(b'"strategy_id":"first"')
        strategy_file(folder, WANTS_MORE, "second")
        hang_up(pipeline, lines=3)
        pipeline.write(stream([more(100)], hello=False))
        assert pipeline.finish() == [0]
        out = lines_of(pipeline.output)
    request = out.index(Control("reload", by="SIGHUP"))
    given = [seconds(one) for one in out if isinstance(one, Tick)]
    later = [seconds(one) for one in out[request:] if isinstance(one, Tick)]
    first, second = ([one for one in out if isinstance(one, Signal) and one.strategy_id == name]
                     for name in ("first", "second"))  # fmt: skip
    assert [seconds(one) for one in first] == given
    assert [(seconds(one), one.metadata) for one in second] == [(at, WANTED) for at in later]
    assert len(later) >= 4


def test_a_reload_adds_removes_and_changes_and_leaves_the_rest_as_it_was(tmp_path: Path) -> None:
    """Each that was touched answers, in the order of their names; the untouched one does not notice."""
    folder, _ = folder_of(tmp_path, "changed", "kept", "removed")
    files = [folder / f"{name}.yaml" for name in ("changed", "kept", "removed")]
    host, _ = hosted(files)
    said(host, [tick(0), tick(1)])
    strategy_file(folder, COUNTS, "changed", parameters="{quantity: 9}")
    files[2] = strategy_file(folder, COUNTS, "added")
    done = said(host, [control("reload")])
    assert [(one.action, one.target, one.by, one.reason) for one in done] == [
        ("reload", "added", RUNNER, "added (by kim)"),
        ("reload", "changed", RUNNER, "changed (by kim)"),
        ("reload", "removed", RUNNER, "removed (by kim)"),
    ]
    made = said(host, [tick(2)])
    assert [(one.strategy_id, one.quantity, one.metadata) for one in made] == [
        ("changed", 9, {"asked": 1, "n": 2}), ("kept", 1, {"asked": 3, "n": 2}), ("added", 1, {"asked": 1, "n": 2}),
    ]  # fmt: skip


def test_a_reload_puts_strategies_in_the_order_in_which_they_are_named_now(tmp_path: Path) -> None:
    """Of two that speak at one tick the first named speaks first; what they remember stays."""
    files = [strategy_file(tmp_path, COUNTS, name) for name in ("first", "second")]
    host, _ = hosted(files)
    assert [one.strategy_id for one in said(host, [tick(0)])] == ["first", "second"]
    files.reverse()
    answer, *made = said(host, [control("reload"), tick(1)])
    assert answer.reason == "nothing has changed"
    assert [(one.strategy_id, one.metadata["asked"]) for one in made] == [("second", 2), ("first", 2)]


def test_a_reload_in_the_stream_takes_up_the_folder_as_it_is(tmp_path: Path) -> None:
    """With `--all`: files that came and files that went, between two ticks."""
    folder, env = folder_of(tmp_path, "first", "removed")
    with Pipeline(alpha("run-strategy", "--all"), env=env) as pipeline:
        pipeline.write(stream([tick(0)], eof=None))
        pipeline.wait_for(b'"strategy_id":"removed"')
        (folder / "removed.yaml").unlink()
        strategy_file(folder, COUNTS, "added")
        pipeline.write(stream([control("reload"), tick(1)], hello=False))
        assert pipeline.finish() == [0]
        out = pipeline.output
    assert [(one.target, one.reason) for one in answers(out)] == [
        ("added", "added (by kim)"),
        ("removed", "removed (by kim)"),
    ]
    ours = [(seconds(one), one.strategy_id) for one in events_of(out)]
    assert sorted(ours) == [(0, "first"), (0, "removed"), (1, "added"), (1, "first")]


def test_unchanged_strategies_say_the_same_with_and_without_a_reload(tmp_path: Path) -> None:
    """Histories, what processors remember, counts: a reload costs them nothing, however often it comes."""
    files = [
        strategy_file(tmp_path, COUNTS, "counts"), yaml_file(tmp_path, "momentum"),
        yaml_file(tmp_path, "reverts", strategy_type="mean_reversion", parameters="{exit_threshold: 0.5}"),
        yaml_file(tmp_path, "rsi", strategy_type="rules_rsi"), yaml_file(tmp_path, "ml", strategy_type="ml_momentum"),
    ]  # fmt: skip
    events = ticks(200)
    plain, _ = hosted(files)
    reloaded, _ = hosted(files)
    often = [event for one in events for event in (one, control("reload"))]
    done = said(reloaded, often)
    assert [one for one in done if isinstance(one, Signal)] == said(plain, events)
    assert {one.reason for one in done if isinstance(one, Control)} == {"nothing has changed"}


def test_a_broken_yaml_at_a_reload_changes_nothing(tmp_path: Path) -> None:
    """Not even for the other strategies: the answer says so, the log says why, and the next reload may mend it."""
    files = [strategy_file(tmp_path, COUNTS, name) for name in ("first", "second")]
    host, told = hosted(files)
    plain, _ = hosted(files)
    yaml_file(tmp_path, "first", strategy_type="./first.py:Mine", parameters="{quantity: 9}")
    (tmp_path / "second.yaml").write_text("id: second\nstrategy_type: [\n")
    made = said(host, [tick(0), control("reload"), tick(1)])
    (answer,) = (one for one in made if isinstance(one, Control))
    assert (answer.by, answer.target, answer.reason) == (RUNNER, None, "refused, see the log; all goes on as before")
    assert [one for one in made if isinstance(one, Signal)] == said(plain, [tick(0), tick(1)])
    assert "second.yaml: not usable YAML" in told[-1]
    strategy_file(tmp_path, COUNTS, "second")
    done = said(host, [control("reload"), tick(2)])
    assert [(one.target, one.reason) for one in done if isinstance(one, Control)] == [("first", "changed (by kim)")]
    assert [one.quantity for one in done if isinstance(one, Signal)] == [9, 1]


BROKEN = {
    "a parameter": ({"parameters": "{quantity: 500}"}, None, "too much"),
    "an unknown type": ({"strategy_type": "momentun"}, None, "no strategy type 'momentun'"),
    "a syntax error": ({}, "class Mine\n", "SyntaxError"),
    "an exit": ({}, "raise SystemExit(0)\n", "SystemExit"),
    "odd bars": (
        {},
        module("bars = ('1x',)\ndef on_bar(self, bar): ...\n" + EVERY_TICK),
        "'1x' is not the length of a bar",
    ),
    "odd fields": ({}, module("tick_fields = 5\n" + EVERY_TICK), "tick_fields"),
    "a model": ({}, module("def load_model(self): return False\n" + EVERY_TICK), "its model cannot be loaded"),
}


@pytest.mark.parametrize("fault", list(BROKEN))
def test_a_strategy_that_cannot_become_what_its_file_says_goes_on_as_it_was(tmp_path: Path, fault: str) -> None:
    """The others take up what theirs say."""
    fields, text, reason = BROKEN[fault]
    files = [strategy_file(tmp_path, COUNTS, name) for name in ("first", "second")]
    host, told = hosted(files)
    said(host, [tick(0)])
    strategy_file(tmp_path, COUNTS, "first", **fields)
    if text is not None:
        (tmp_path / "first.py").write_text(text)
    strategy_file(tmp_path, COUNTS, "second", parameters="{quantity: 3}")
    done = said(host, [control("reload"), tick(1)])
    assert [(one.target, one.reason) for one in done[:2]] == [
        ("first", "refused, see the log; it goes on as before (by kim)"), ("second", "changed (by kim)"),
    ]  # fmt: skip
    assert [(one.quantity, one.metadata) for one in done[2:]] == [
        (1, {"asked": 2, "n": 1}), (3, {"asked": 1, "n": 1}),
    ]  # fmt: skip
    assert reason in "\n".join(told)


def test_a_reload_takes_up_what_the_file_of_a_strategy_says_now(tmp_path: Path) -> None:
    """The code counts as configuration: the YAML need not change, and the history is there for the new code."""
    file = strategy_file(tmp_path, COUNTS)
    with Pipeline(alpha("run-strategy", "--config", str(file))) as pipeline:
        pipeline.write(stream([tick(0), tick(1)], eof=None))
        pipeline.wait_for(b'"n":1')
        (tmp_path / "mine.py").write_text(module(COUNTS.replace('"BUY"', '"SELL"')))
        pipeline.write(stream([control("reload"), tick(2)], hello=False))
        assert pipeline.finish() == [0]
        made = events_of(pipeline.output)
    assert [(one.signal_type, one.metadata["n"]) for one in made] == [("BUY", 0), ("BUY", 1), ("SELL", 2)]


def test_what_a_reload_replaces_is_shut_down_and_what_it_adds_is_warmed_up(tmp_path: Path) -> None:
    """A processor that is not asked any more is told so, once."""
    body = """
    calls = []

    def warmup(self, history):
        self.calls.append(len(history))

    def shutdown(self):
        self.calls.append("shutdown")
    """
    files = [strategy_file(tmp_path, body + COUNTS.replace("\n", "\n    "), name) for name in ("changed", "removed")]
    host, told = hosted(files)
    calls = {name: host.runner.strategies[name].processors[0].calls for name in ("changed", "removed")}  # type: ignore[attr-defined]
    said(host, [tick(0), tick(1)])
    yaml_file(tmp_path, "changed", strategy_type="./changed.py:Mine", parameters="{quantity: 2}")
    del files[1]
    said(host, [control("reload")])
    assert sorted(map(str, calls["changed"])) == ["0", "2", "shutdown"]
    assert calls["removed"] == [0, "shutdown"]
    assert told == []


def test_a_strategy_that_is_no_longer_active_is_removed(tmp_path: Path) -> None:
    """And comes back when it is active again."""
    file = strategy_file(tmp_path, COUNTS)
    host, _ = hosted([file])
    strategy_file(tmp_path, COUNTS, is_active="false")
    assert [one.reason for one in said(host, [tick(0), control("reload"), tick(1)])[1:]] == ["removed (by kim)"]
    strategy_file(tmp_path, COUNTS)
    done = said(host, [control("reload"), tick(2)])
    assert done[0].reason == "added (by kim)"
    assert done[1].metadata["asked"] == 1


def test_other_brokers_take_effect_at_a_reload_without_a_new_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are active in the deployment change with alpha.yaml or the environment."""
    monkeypatch.setenv("ALPHA_ACTIVE_BROKERS", "paper")
    host, _ = hosted([strategy_file(tmp_path, COUNTS, active_brokers="[paper, zerodha]")])
    said(host, [tick(0)])
    monkeypatch.setenv("ALPHA_ACTIVE_BROKERS", "paper,zerodha")
    answer, *made = said(host, [control("reload"), tick(1)])
    assert answer.reason == "brokers changed (by kim)"
    assert [(one.broker, one.metadata["asked"]) for one in made] == [("paper", 2), ("zerodha", 2)]


def test_a_reload_undoes_what_was_set_only_where_the_file_has_changed(tmp_path: Path) -> None:
    """A parameter set in the stream is not in the file; a reload that changes nothing leaves it."""
    file = strategy_file(tmp_path, COUNTS)
    host, _ = hosted([file])
    change = control("set", "mine", value={"quantity": 5})
    assert [one.quantity for one in said(host, [change, control("reload"), tick(0)])[2:]] == [5]
    strategy_file(tmp_path, COUNTS, parameters="{quantity: 2}")
    assert [one.quantity for one in said(host, [control("reload"), tick(1)])[1:]] == [2]


def test_a_disabled_strategy_may_be_mended_by_a_reload(tmp_path: Path) -> None:
    """Its model is looked for again each time."""
    body = f"def load_model(self):\n    return (__import__('pathlib').Path({str(tmp_path)!r}) / 'model').exists()\n"
    host, _ = hosted([strategy_file(tmp_path, body + EVERY_TICK)])
    assert said(host, [tick(0)]) == []
    assert [one.reason for one in said(host, [control("reload")])] == ["nothing has changed"]
    (tmp_path / "model").touch()
    done = said(host, [control("reload"), tick(1)])
    assert [one.reason for one in done[:1]] == ["added (by kim)"]
    assert len(done) == 2
    assert host.statuses()[0].state == "running"


#: Says what it reads of a tick besides token, time and price.
WANTS_MORE = """
tick_fields = ("depth", "ohlc", "volume_traded")

def process_tick(self, tick, history):
    depth = tick.depth and tick.depth.buy[0].price
    return SignalResult("SELL", quantity=1, metadata={"volume": tick.volume_traded, "bid": depth})
"""
WANTED = {"volume": 4321, "bid": 99.5}


def more(at: float) -> Tick:
    """A tick with all that WANTS_MORE reads."""
    level = Level(99.5, 10, 1)
    return tick(at, volume_traded=4321, depth=Depth((level,), (level,)))


@pytest.mark.parametrize(
    "line",
    [
        "run-strategy --all",
        "run-strategy --all | risk | paper --forward",
        "feed - | run-strategy --all",
        "run-strategy --all --workers 2",
        "bars | run-strategy --all",
    ],
)
def test_a_strategy_that_a_reload_adds_has_all_the_fields_it_wants_from_the_next_line_on(
    tmp_path: Path, line: str
) -> None:
    """Alone, fused from a pipe, fused with a feed; the lines that came in one piece with the request included."""
    folder, env = folder_of(tmp_path, "first")
    data = stream([more(0), more(1), control("reload"), more(2), more(3), control("reload"), more(4)])
    head, rest = data.split(encode(more(1)) + b"\n")
    with Pipeline(alpha("pipe", line), env=env) as pipeline:
        pipeline.write(head)
        pipeline.wait_for(b'"strategy_id":"first"')
        strategy_file(folder, WANTS_MORE, "second")
        pipeline.write(encode(more(1)) + b"\n" + rest)
        assert pipeline.finish() == [0]
        made = events_of(pipeline.output)
    assert [seconds(one) for one in made if one.strategy_id == "first"] == [0, 1, 2, 3, 4]
    assert [(seconds(one), one.metadata) for one in made if one.strategy_id == "second"] == [
        (at, WANTED) for at in (2, 3, 4)
    ]  # fmt: skip
    if "paper" in line:
        assert len(events_of(pipeline.output, Fill)) == 8


def read_by(host: Host) -> list[str]:
    """The fields of a tick that are decoded for its strategies."""
    return ["all"] if host.tick_fields is None else list(host.tick_fields)


def test_a_strategy_that_leaves_takes_its_fields_with_it(tmp_path: Path) -> None:
    """What nobody reads any more is not decoded any more."""
    files = [strategy_file(tmp_path, COUNTS, "first"), strategy_file(tmp_path, WANTS_MORE, "second")]
    host, _ = hosted(files)
    assert read_by(host) == ["depth", "ohlc", "volume_traded"]
    del files[1]
    said(host, [control("reload")])
    assert read_by(host) == []


# --- circuits --------------------------------------------------------------------------------------


def cheap(*at: float) -> list[Tick]:
    """Ticks at which FAILS_BELOW_50 fails."""
    return [tick(one, 10.0) for one in at]


def failing(tmp_path: Path, **options: Any) -> Any:
    """A host with a strategy whose circuit opens at the second failure in a row, for a minute."""
    return hosted([strategy_file(tmp_path, FAILS_BELOW_50)], options=HostOptions(failures=2, **options))[0]


def kinds(made: Iterable[Any]) -> list[tuple[str, float | None]]:
    """What was said, and when."""
    return [
        (one.action if isinstance(one, Control) else "signal", None if one.timestamp is None else seconds(one))
        for one in made
    ]


def test_a_resume_for_all_does_not_close_a_circuit_and_one_for_the_strategy_does(tmp_path: Path) -> None:
    """Who resumes after lunch does not know which of them are broken."""
    host = failing(tmp_path)
    assert kinds(said(host, cheap(0, 1))) == [("pause", 1)]
    assert said(host, [control("resume"), tick(2)]) == []
    assert kinds(said(host, [control("resume", "mine"), tick(3)])) == [("resume", 2), ("signal", 3)]


def test_what_a_person_paused_stays_paused_whatever_the_circuit_would_do(tmp_path: Path) -> None:
    """Paused while its circuit is open: the cool-down does not wake it, a resume does."""
    host = failing(tmp_path)
    said(host, cheap(0, 1))
    assert kinds(said(host, [control("pause", "mine"), tick(70), tick(300)])) == [("pause", 1)]
    assert kinds(said(host, [control("resume", "mine"), tick(301)])) == [("resume", 300), ("signal", 301)]


def test_what_a_person_paused_stays_paused_when_its_file_changes(tmp_path: Path) -> None:
    """A circuit is forgotten then: it is another strategy now."""
    host = failing(tmp_path)
    said(host, [control("pause", "mine", reason="no")])
    strategy_file(tmp_path, COUNTS)
    assert kinds(said(host, [control("reload"), tick(0)])) == [("reload", None)]
    assert host.statuses()[0].state == "paused (person)"

    host = failing(tmp_path)
    said(host, cheap(0, 1))
    strategy_file(tmp_path, COUNTS)
    assert kinds(said(host, [control("reload"), tick(2)])) == [("reload", 1), ("signal", 2)]


def test_a_person_may_lift_a_pause_for_all_that_is_not_a_circuit(tmp_path: Path) -> None:
    """Of two strategies, one paused by a person and one by its circuit, only the first runs again."""
    files = [strategy_file(tmp_path, FAILS_BELOW_50), strategy_file(tmp_path, COUNTS, "other")]
    host, _ = hosted(files, options=HostOptions(failures=2))
    said(host, [*cheap(0, 1), control("pause", "other")])
    assert [one.target for one in said(host, [control("resume")])] == ["other"]


#: Lines by run-strategy as they may stand in a recording -> are they obeyed?
RECORDED = [
    (Control("pause", "mine", RUNNER, "it took longer than 5 s", {"cause": "deadline"}), True),
    (Control("pause", "mine", RUNNER, "it used up the memory", {"cause": "memory"}), True),
    (Control("pause", "mine", RUNNER, "its process died in it", {"cause": "process"}), True),
    (Control("pause", "mine", RUNNER, "circuit open", {"cause": "circuit"}), False),
    (Control("pause", "mine", RUNNER, "by kim", {"cause": "person"}), False),
    (Control("pause", "mine", RUNNER, "no cause"), False),
    (Control("pause", "other", RUNNER, "another strategy", {"cause": "deadline"}), False),
    (Control("pause", None, RUNNER, "nobody", {"cause": "deadline"}), False),
    (Control("set", "mine", RUNNER, "by kim", {"quantity": 5}), False),
    (Control("reload", "mine", RUNNER, "changed (by kim)"), False),
    (Control("halt", "mine", RUNNER), False),
]


@pytest.mark.parametrize(("line", "obeyed"), RECORDED)
def test_of_its_own_lines_in_a_recording_only_what_the_clock_decided_is_obeyed(
    tmp_path: Path, line: Control, obeyed: bool
) -> None:
    """The rest follows from the stream again. Either way nothing is added to it."""
    host, _ = hosted([strategy_file(tmp_path, COUNTS)])
    strategy_file(tmp_path, COUNTS, parameters="{quantity: 9}")
    assert said(host, [line]) == []
    assert [one.quantity for one in said(host, [tick()])] == ([] if obeyed else [1])


def test_its_own_resume_in_a_recording_lifts_nothing(tmp_path: Path) -> None:
    """Neither a person's pause nor one by the clock: a person's own line does that."""
    for pause in (control("pause"), Control("pause", "mine", RUNNER, "slow", {"cause": "deadline"})):
        host, _ = hosted([strategy_file(tmp_path, COUNTS)])
        assert said(host, [pause, Control("resume", "mine", RUNNER, "by kim"), tick()])[1:] == []
        assert host.statuses()[0].state.startswith("paused")
        assert len(said(host, [control("resume", "mine"), tick(1)])) == 2


def test_a_recording_of_a_managed_run_gives_the_same_signals_again(tmp_path: Path) -> None:
    """Requests, circuits and deadlines stand in the stream; the replay answers them once more and trades the same."""
    files = [strategy_file(tmp_path, COUNTS, "counts"), strategy_file(tmp_path, FAILS_BELOW_50, "fails")]
    deadline = Control("pause", "counts", RUNNER, "it took longer than 5 s (--deadline)", {"cause": "deadline"})
    given = [
        tick(0), control("pause", "counts"), *cheap(1, 2), tick(3), control("resume"), tick(70), tick(71), deadline,
        tick(72), control("resume", "counts"), control("set", "counts", value={"quantity": 4}), tick(73),
        *cheap(74, 75, 76), tick(77), control("reload"), tick(200),
    ]  # fmt: skip
    first = run_strategy(files, stream(given), "--failures", "2")
    (tmp_path / "run.ndjson").write_bytes(first.stdout)
    names = " ".join(f"--config {file}" for file in files)
    again = run_alpha(["pipe", f"feed {tmp_path}/run.ndjson | run-strategy {names} --failures 2"])
    assert events_of(again.stdout) == events_of(first.stdout)
    assert len(events_of(first.stdout)) >= 10
    # Once more what was said then, and what is said now.
    assert len(answers(again.stdout)) == 2 * len(answers(first.stdout)) - 1


def test_a_strategy_that_runs_again_lifts_no_halt_of_risk(tmp_path: Path) -> None:
    """A person halted it; that its circuit closed, or that it was resumed elsewhere, is nobody's word to risk."""
    file = strategy_file(tmp_path, FAILS_BELOW_50)
    halt = Control("halt", "mine", "kim")
    recorded = Control("resume", "mine", RUNNER, "by kim")
    given = [tick(0), halt, *cheap(1, 2), tick(63), recorded, tick(64)]
    with Pipeline(
        alpha("run-strategy", "--config", str(file), "--failures", "2"), alpha("risk"), alpha("paper", "--forward")
    ) as pipeline:
        pipeline.write(stream(given))
        assert pipeline.finish() == [0, 80, 0]
        out = pipeline.output
    assert [one.reason for one in answers(out)][1] == "circuit closed: it did not fail this time"
    assert [seconds(one) for one in events_of(out, Order)] == [0]
    assert [one.code for one in events_of(out, Denial)] == ["STRATEGY_HALTED"] * 2
    lifted = run_alpha(["risk"], stream([halt, control("resume", "mine"), tick(0), *events_of(out)[:1]]))
    assert (lifted.returncode, len(events_of(lifted.stdout, Order))) == (0, 1)


# --- the stream alone decides ---------------------------------------------------------------------------


def through(stage: Stage, pieces: Sequence[bytes]) -> bytes:
    """What comes out of one stage when its input arrives in these pieces."""
    decoder = LineDecoder([stage], BadLines(stage.name, "fail"))
    chain = Chain([stage], decoder)
    out, rest = [], b""
    for piece in pieces:
        whole, newline, rest = (rest + piece).rpartition(b"\n")
        if newline:
            out.append(chain.process(decoder.batch(whole + newline)))
    assert rest == b""
    out.append(chain.finish())
    stage.lifecycle.finish()
    stage.lifecycle.release()
    return b"".join(out)


def test_the_same_stream_gives_the_same_bytes_wherever_it_runs_and_whenever(tmp_path: Path) -> None:
    """In two time zones, with two hash seeds, with and without workers, with requests and circuits in it."""
    files, events = managed(tmp_path / "managed")
    data = stream(events)
    places = ({"TZ": "UTC", "PYTHONHASHSEED": "1"}, {"TZ": "America/New_York", "PYTHONHASHSEED": "2"})
    runs = [run_strategy(files, data, *options, "--failures", "3", "-q", env=env)
            for env, options in zip((*places, places[0]), ((), (), ("--workers", "2")), strict=True)]  # fmt: skip
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout == runs[2].stdout
    assert {one.strategy_id for one in events_of(runs[0].stdout)} == {"counts", "fails", "barred", "momentum", "rsi"}
    said_of = {(one.action, one.target) for one in answers(runs[0].stdout)}
    assert {("pause", "fails"), ("resume", "fails"), ("set", "momentum"), ("resume", "rsi")} <= said_of


@examples(30)
@given(data=st.data())
def test_the_output_does_not_depend_on_how_the_input_was_cut(tmp_path_factory: Any, data: Any) -> None:
    """Into lines, bytes or large blocks, also in the middle of a line and right after a request."""
    files, events = managed(tmp_path_factory.getbasetemp() / "cut")
    given_bytes = stream(events)
    options = {"failures": 3, "cool_down": 60.0}
    whole = through(run_strategy_stage(Selection(files=tuple(files)), Options(quiet=True), **options), [given_bytes])  # type: ignore[arg-type]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(given_bytes)), max_size=30)))
    pieces = [given_bytes[a:b] for a, b in zip([0, *cuts], [*cuts, len(given_bytes)], strict=True)]
    parts = through(run_strategy_stage(Selection(files=tuple(files)), Options(quiet=True), **options), pieces)  # type: ignore[arg-type]
    assert parts == whole
    assert b'"action":"resume"' in whole


def test_line_by_line_through_a_process_gives_the_same_bytes(tmp_path: Path) -> None:
    """As a live feed writes."""
    files, events = managed(tmp_path / "managed")
    data = stream(events)
    names = [word for file in files for word in ("--config", str(file))]
    with Pipeline(alpha("run-strategy", *names, "--failures", "3")) as pipeline:
        for line in data.splitlines(keepends=True):
            pipeline.write(line)
        assert pipeline.finish() == [0]
        assert pipeline.output == run_strategy(files, data, "--failures", "3").stdout


def test_what_was_managed_is_in_the_closing_lines(tmp_path: Path) -> None:
    """Who stands still at the end is counted and named with its reason's kind."""
    files = [strategy_file(tmp_path, COUNTS, "first"), strategy_file(tmp_path, FAILS_BELOW_50, "second")]
    given = [tick(0), control("pause", "first"), *cheap(1, 2)]
    done = run_strategy(files, stream(given), "--failures", "2", "--cool-down", "3600")
    stderr = done.stderr.decode()
    assert counters(stderr)["paused"] == 2
    assert "first.ticks=1 first.signals=1" in stderr
    assert "second.ticks=3 second.signals=1" in stderr


def test_bars_in_the_input_go_on_being_heard_after_a_reload(tmp_path: Path) -> None:
    """A strategy that takes bars from the stream is found by them however it came."""
    file = strategy_file(tmp_path, COUNTS)
    host, _ = hosted([file])
    strategy_file(tmp_path, "def process_tick(self, tick): ...\ndef on_bar(self, bar):\n"
                            "    return SignalResult('BUY', quantity=1)\n")  # fmt: skip
    end = tick(60).timestamp
    bar = Bar(NIFTY, end - timedelta(minutes=1), end, "1m", 1.0, 1.0, 1.0, 1.0)
    assert kinds(said(host, [control("reload"), bar])) == [("reload", None), ("signal", 60)]
