"""What a strategy of one's own may be and have: methods found by name, validators, both forms of YAML, bars."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st
from support.events import BANK, NIFTY, stream, tick, ticks
from support.processes import counters, run_alpha
from support.strategy_runs import (
    EVERY_TICK,
    events_of,
    fill,
    hosted,
    one_line,
    reports,
    run_strategy,
    running,
    said,
    strategy_file,
    yaml_file,
)

from alpha_cli import SignalResult
from alpha_cli.core.codec import decode, encode
from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.events import Bar, Denial, Fill, OrderUpdate, Tick
from alpha_cli.market.bars.builder import BarBuilder
from alpha_cli.stages.bars.config import parse_intervals
from alpha_cli.stages.run_strategy import snapshot
from alpha_cli.stages.run_strategy.capabilities import CAPABILITIES
from alpha_cli.stages.run_strategy.config import OLDER_TYPES, StrategyConfig, load_file
from alpha_cli.stages.run_strategy.context import Context
from alpha_cli.stages.run_strategy.engine import StrategyRunner
from alpha_cli.stages.run_strategy.executor import Strategy
from alpha_cli.stages.run_strategy.status import statuses

CLOSE = 6.25 * 3600  # seconds after the opening


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALPHA_CONFIG_DIR", "ALPHA_ACTIVE_BROKERS", "ALPHA_CONFIG_DB", "ALPHA_STATE"):
        monkeypatch.delenv(name, raising=False)


# --- shared with the other tests of the strategy runtime -----------------------------------------


def makes(create: Callable[[], Any]) -> Callable[[StrategyConfig], Any]:
    """What makes a processor of any configuration."""
    return lambda _: create()


def buys(*_: Any) -> SignalResult:
    return SignalResult("BUY", quantity=1)


# --- methods are found by name -------------------------------------------------------------------


def recording(names: Iterable[str], calls: list[str]) -> type:
    """A class that has just these methods, and notes which of them are called."""
    answers = {"extract_features": (1.0,), "snapshot": {"kept": 1}}

    def method(name: str) -> Callable[..., Any]:
        def called(self: object, *given: Any) -> Any:
            calls.append(name)
            return answers.get(name)

        return called

    return type("Recording", (), {"bars": ("1m",), **{name: method(name) for name in names}})


def lived(create: Callable[..., Any]) -> list[str]:
    """What is reported over the whole life of a strategy, its restart included."""
    runner = running(create)
    said(runner, [tick(0), tick(61)])
    runner.on_fill(fill(at=61))
    runner.on_denial(Denial("s", "mine", "paper", "HALTED", "m"))
    runner.on_order_update(OrderUpdate("o", "paper", "OPEN", strategy_id="mine"))
    kept = snapshot.decode(snapshot.encode(snapshot.snapshot(runner)))
    runner.finish()
    again = running(create)
    snapshot.restore(again, kept)
    return [*reports(runner), *reports(again)]


@pytest.mark.parametrize("left_out", ["", *CAPABILITIES])
def test_each_capability_is_called_only_if_it_is_there(left_out: str) -> None:
    """Whichever is left out, all the others are called and nothing is missed; a model's two make a process_tick."""
    calls: list[str] = []
    names = set(CAPABILITIES) - {left_out}
    assert lived(recording(names, calls)) == []
    needless = {"extract_features", "predict_signal"} if "process_tick" in names else set()
    needless |= {"restore"} if "snapshot" not in names else set()
    assert set(calls) == names - needless
    if left_out not in {"load_model", "warmup"}:
        assert calls[:2] == ["load_model", "warmup"]


def test_a_strategy_with_process_tick_alone_lives_through_everything() -> None:
    """No bar, fill, snapshot or end of stream asks for more than it has."""
    assert lived(recording(["process_tick"], [])) == []


#: method -> what it is offered besides itself and `context`
OFFERED = {
    "load_model": (), "warmup": ("history",), "process_tick": ("tick", "history"),
    "extract_features": ("tick", "history"), "predict_signal": ("features",), "on_bar": ("bar", "history"),
    "on_fill": ("fill",), "snapshot": (), "restore": ("state",), "shutdown": (),
}  # fmt: skip

KINDS: dict[str, Callable[[Any], bool]] = {
    "tick": lambda one: isinstance(one, Tick) and one.last_price == 100,
    "history": lambda one: isinstance(one, list),
    "features": lambda one: one == (1.0,),
    "bar": lambda one: isinstance(one, Bar) and one.interval == "1m",
    "fill": lambda one: isinstance(one, Fill),
    "state": lambda one: one == {"kept": 1},
    "context": lambda one: isinstance(one, Context) and one.strategy_id == "mine",
}


def heard(method: str, parameters: Sequence[str]) -> list[tuple[Any, ...]]:
    """What a method with these parameters is given over a strategy's life."""
    names = [parameter.partition("=")[0].strip("*") for parameter in parameters]
    calls: list[tuple[Any, ...]] = []
    scope: dict[str, Any] = {"note": lambda *given: calls.append(given)}
    answer = {"extract_features": "(1.0,)", "snapshot": "{'kept': 1}"}.get(method, "None")
    exec(f"def {method}(self, {', '.join(parameters)}):\n    note({', '.join(filter(None, names))})\n"
         f"    return {answer}\n", scope)  # fmt: skip
    besides: dict[str, Any] = {
        "extract_features": lambda self, tick: (1.0,), "predict_signal": lambda self, features: None,
        "snapshot": lambda self: {"kept": 1}, "restore": lambda self, state: None,
    }  # fmt: skip
    if method not in {"extract_features", "predict_signal"}:
        besides["process_tick"] = lambda self, tick: None
    mine = type("Mine", (), {"bars": ("1m",), **besides, method: scope[method]})
    assert lived(mine) == []
    assert calls
    return calls


_PLAIN = str.maketrans("", "", "'(),")


def shapes() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each method with none to all of what it is offered, with and without a context."""
    for method, offered in OFFERED.items():
        for taken in range(len(offered) + 1):
            given = offered[:taken]
            yield method, given
            yield method, (*given, "context")
            yield method, (*given, "*", "context")
        yield method, (*offered, "extra=None")


@pytest.mark.parametrize(("method", "parameters"), list(shapes()), ids=lambda part: str(part).translate(_PLAIN))
def test_a_method_is_given_as_many_arguments_as_it_takes_and_context_by_name(
    method: str, parameters: tuple[str, ...]
) -> None:
    """From none to all that is offered; `context` where there is a parameter of that name."""
    for call in heard(method, parameters):
        names = [name for name in parameters if name != "*"]
        for name, value in zip(names, call, strict=True):
            assert value is None if name == "extra=None" else KINDS[name](value), f"{name} is {value!r}"


@pytest.mark.parametrize("parameters", [("context", "tick", "history"), ("tick", "context", "history")])
def test_context_may_stand_anywhere_among_the_parameters(parameters: tuple[str, ...]) -> None:
    """It is found by its name, not by its place."""
    for call in heard("process_tick", parameters):
        assert all(KINDS[name](value) for name, value in zip(parameters, call, strict=True))


def test_a_method_may_take_whatever_it_is_given() -> None:
    """`*given` gets all that is offered."""
    assert all(len(call) == 1 and len(call[0]) == 2 for call in heard("process_tick", ["*given"]))


@pytest.mark.parametrize(
    "body",
    [
        "def process_tick(self, tick, history, more): ...",
        "def process_tick(self, tick): ...\ndef on_bar(self, bar, history, more): ...",
        "def process_tick(self, tick): ...\ndef on_fill(self, fill, more): ...",
        "def extract_features(self, tick): ...\ndef predict_signal(self, features, more): ...",
        "def process_tick(self, tick): ...\ndef load_model(self, more): ...",
        "def process_tick(self, tick): ...\ndef shutdown(self, more): ...",
        "def process_tick(self, tick): ...\ndef snapshot(self, more): ...",
        "def process_tick(self, tick): ...\ndef restore(self, state, more): ...",
        "def warmup(self): ...",
        "process_tick = 5",
    ],
)
def test_a_method_that_asks_for_more_than_there_is_is_refused_at_the_start(tmp_path: Path, body: str) -> None:
    """Not at every tick: one line, 78, before anything is read. So is a class that answers nothing."""
    done = run_strategy(strategy_file(tmp_path, body), stream(ticks(1)))
    assert (done.returncode, done.stdout) == (78, b"")
    assert "mine" in one_line(done.stderr) or "asks for more than it is given" in one_line(done.stderr)


class Plain:
    process_tick = staticmethod(buys)


@pytest.mark.parametrize("create", [lambda: SimpleNamespace(process_tick=buys), Plain])
def test_anything_that_has_a_process_tick_will_do(create: Callable[[], Any]) -> None:
    """A plain class, an object with a function in it: nothing need be inherited."""
    assert [one.signal_type for one in said(running(create), [tick(0), tick(1)])] == ["BUY", "BUY"]


def test_a_strategy_class_inherits_nothing(tmp_path: Path) -> None:
    """What a file of one's own imports is SignalResult, and not even that if it never trades."""
    (tmp_path / "bare.py").write_text("class Bare:\n    def process_tick(self, tick, history):\n        return None\n")
    host, _ = hosted([yaml_file(tmp_path, strategy_type="./bare.py:Bare")])
    (processor,) = host.runner.strategies["mine"].processors
    assert type(processor).__mro__[1:] == (object,)


class Calls:
    """A method that is an object with a call of its own."""

    def __call__(self, tick: Tick, history: Sequence[Tick]) -> Any:
        if not history:
            raise ValueError("no history")
        return buys()


def test_a_process_tick_that_is_an_object_fails_as_any_other_does() -> None:
    """Its fault is counted and stays with it, although such a thing has no `__name__`."""
    runner = running(lambda: SimpleNamespace(process_tick=Calls()))
    assert len(said(runner, [tick(0), tick(1)])) == 1
    assert statuses(runner)[0].errors == 1


def test_what_a_strategy_prints_never_comes_among_the_data(tmp_path: Path) -> None:
    """Standard output is for events: what is printed at any time of a strategy's life goes to standard error."""
    says = "def {0}(self, *given): print('said in {0}')"
    names = ("__init__", "load_model", "warmup", "process_tick", "shutdown")
    file = strategy_file(tmp_path, "\n".join(map(says.format, names)), top="print('said in import')")
    given = stream(ticks(2))
    done = run_strategy(file, given)
    assert done.stdout == given
    for name in ("import", *names):
        assert f"said in {name}" in done.stderr.decode()


# --- models ----------------------------------------------------------------------------------

LOADS = {
    "says False": ("return False", "said False"),
    "raises": ("raise FileNotFoundError('no such model')", "FileNotFoundError: no such model"),
    "exits": ("raise SystemExit(0)", "SystemExit: 0"),
}


@pytest.mark.parametrize("fault", list(LOADS))
def test_a_strategy_whose_model_cannot_be_loaded_is_disabled_alone(tmp_path: Path, fault: str) -> None:
    """It is reported and counted; what the others say is what they say alone, and the run goes well."""
    body, reason = LOADS[fault]
    broken = strategy_file(tmp_path, f"def load_model(self):\n    {body}\n{EVERY_TICK}", "broken")
    honest = strategy_file(tmp_path, EVERY_TICK, "honest")
    data = stream(ticks(3))
    alone, done = run_strategy(honest, data), run_strategy([broken, honest], data)
    assert (done.returncode, done.stdout) == (0, alone.stdout)
    stderr = done.stderr.decode()
    assert "broken is disabled: its model cannot be loaded: " in stderr
    assert reason in stderr
    assert counters(stderr)["disabled"] == 1


@pytest.mark.parametrize("answer", ["True", "None", "0", "'loaded'"])
def test_only_false_says_that_there_is_no_model(tmp_path: Path, answer: str) -> None:
    """A method that says nothing has loaded its model."""
    host, told = hosted([strategy_file(tmp_path, f"def load_model(self): return {answer}\n{EVERY_TICK}")])
    assert len(said(host, [tick()])) == 1
    assert told == []
    assert host.statuses()[0].has_model


class WithModel:
    """Loads a model, and counts how often that happens."""

    loads = 0

    def __init__(self) -> None:
        self.model: object = None

    def load_model(self) -> None:
        type(self).loads += 1
        self.model = object()

    def process_tick(self, tick: Tick, history: Sequence[Tick]) -> Any:
        return SignalResult("BUY", quantity=1, metadata={"model": id(self.model)})


def test_a_model_is_loaded_once_for_all_instruments_of_a_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    """One processor loads it, and `model` is given to the processors of the other instruments."""
    monkeypatch.setattr(WithModel, "loads", 0)
    tokens = [NIFTY, BANK, 7, 8]
    runner = running(WithModel, tokens)
    made = said(runner, [tick(token=token) for token in tokens])
    assert WithModel.loads == 1
    assert len(runner.strategies["mine"].processors) == 4
    assert len({one.metadata["model"] for one in made}) == 1


def test_processors_that_keep_their_model_elsewhere_load_it_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an attribute `model` there is nothing to share, and none is left without."""
    calls: list[str] = []
    running(recording(["process_tick", "load_model"], calls), [NIFTY, BANK])
    assert calls == ["load_model", "load_model"]


def test_a_model_that_cannot_be_given_is_loaded_by_each(tmp_path: Path) -> None:
    """Where `model` can only be read, there is no sharing, and nothing fails."""
    body = f"model = property(lambda self: 1)\ndef load_model(self): ...\n{EVERY_TICK}"
    done = run_strategy(
        strategy_file(tmp_path, body, instruments=f"[{NIFTY}, {BANK}]"), stream(ticks(4, (NIFTY, BANK)))
    )
    assert done.returncode == 0
    assert len(events_of(done.stdout)) == 4


def test_a_warmup_that_fails_is_only_reported(tmp_path: Path) -> None:
    """The strategy runs all the same, and nothing is counted as an error."""
    body = f"def warmup(self, history):\n    raise ValueError('too little')\n{EVERY_TICK}"
    done = run_strategy(strategy_file(tmp_path, body), stream(ticks(3)))
    stderr = done.stderr.decode()
    assert done.returncode == 0
    where = f"({tmp_path}/mine.py, line 6)"
    assert f"mine: its warmup failed: ValueError: too little {where} (it runs all the same)" in stderr
    assert (counters(stderr)["signals"], counters(stderr)["errors"]) == (3, 0)


def test_features_and_prediction_make_a_strategy_without_process_tick(tmp_path: Path) -> None:
    """Each tick's features go to the prediction; where there are none yet it is not asked."""
    body = """
    def extract_features(self, tick, history):
        return (tick.last_price, len(history)) if len(history) >= 2 else None

    def predict_signal(self, features, context):
        return SignalResult("SELL", quantity=1, metadata={"features": list(features), "of": context.strategy_id})
    """
    host, told = hosted([strategy_file(tmp_path, body)])
    made = said(host, [tick(at, 100.0 + at) for at in range(4)])
    assert [one.metadata for one in made] == [
        {"features": [102.0, 2], "of": "mine"}, {"features": [103.0, 3], "of": "mine"},
    ]  # fmt: skip
    assert told == []


# --- the end, and several instruments in one processor -----------------------------------------


def test_shutdown_comes_once_after_the_last_tick_and_may_fail(tmp_path: Path) -> None:
    """Each processor is told; that one of them fails keeps none of the others from being told."""
    body = """
    def process_tick(self, tick, history):
        print("tick of", tick.instrument_token)

    def shutdown(self):
        print("the end of", id(self))
        raise OSError("cannot close")
    """
    both = f"[{NIFTY}, {BANK}]"
    files = [strategy_file(tmp_path, body, name, instruments=both) for name in ("first", "second")]
    done = run_strategy(files, stream(ticks(4, (NIFTY, BANK))))
    lines = done.stderr.decode().splitlines()
    ends = [line for line in lines if line.startswith("the end of")]
    assert done.returncode == 0
    assert len(set(ends)) == len(ends) == 4
    assert max(place for place, line in enumerate(lines) if line.startswith("tick of")) < lines.index(ends[0])
    assert sum("its shutdown failed: OSError: cannot close" in line for line in lines) == 4


class Several:
    """One processor for all instruments."""

    multi_instrument = True

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.seen: list[tuple[int, list[float]]] = []

    def load_model(self) -> None:
        self.calls.append("load_model")

    def warmup(self, history: Sequence[Tick], context: Context) -> None:
        self.calls.append("warmup")

    def process_tick(self, tick: Tick, history: Sequence[Tick], context: Context) -> Any:
        assert context.instrument_token is None
        assert context.instruments == (NIFTY, BANK)
        with pytest.raises(ValueError, match="say which"):
            context.position()
        assert context.position(tick.instrument_token) == 0
        self.seen.append((tick.instrument_token, [past.last_price for past in history]))
        return buys()

    def shutdown(self) -> None:
        self.calls.append("shutdown")


def test_one_processor_may_see_all_instruments_each_with_its_own_history() -> None:
    """`multi_instrument`: one object, loaded and shut down once, warmed up by each; histories are not mixed."""
    runner = running(Several, [NIFTY, BANK])
    made = said(runner, [tick(0, 1, NIFTY), tick(0, 10, BANK), tick(1, 2, NIFTY), tick(1, 20, BANK)])
    runner.finish()
    assert [one.instrument_token for one in made] == [NIFTY, BANK, NIFTY, BANK]
    processor: Any
    (processor,) = runner.strategies["mine"].processors
    assert processor.seen == [(NIFTY, []), (BANK, []), (NIFTY, [1]), (BANK, [10])]
    assert processor.calls == ["load_model", "warmup", "warmup", "shutdown"]
    assert reports(runner) == []


def test_without_it_each_instrument_has_a_processor_of_its_own() -> None:
    """What one remembers of an instrument does not reach the other."""

    class Counts:
        def __init__(self) -> None:
            self.count = 0

        def process_tick(self, tick: Tick) -> Any:
            self.count += 1
            return SignalResult("BUY", quantity=self.count)

    made = said(running(Counts, [NIFTY, BANK]), ticks(6, (NIFTY, BANK)))
    assert [one.quantity for one in made] == [1, 1, 2, 2, 3, 3]


def test_processors_do_not_share_the_lists_among_their_parameters() -> None:
    """What one does to what it was given changes neither its neighbour's nor the configuration."""

    class Uses:
        def __init__(self, levels: list[int]) -> None:
            self.levels = levels

        def process_tick(self, tick: Tick) -> Any:
            return SignalResult("BUY", quantity=self.levels.pop())

    runner = running(Uses, [NIFTY, BANK], parameters={"levels": [1, 2, 3]})
    made = said(runner, ticks(4, (NIFTY, BANK)))
    assert [one.quantity for one in made] == [3, 3, 2, 2]
    assert runner.strategies["mine"].config.parameters == {"levels": [1, 2, 3]}


# --- validators --------------------------------------------------------------------------------

GOOD: dict[str, Any] = {"quantity": 1, "confidence": 0.5, "reasoning": "because", "price": 100.0}

#: result, validator, max_position_size -> why it is refused
REFUSED: list[tuple[Any, str, int | None, str]] = [
    ({"signal_type": "BUY"}, "standard", None, "dict is not a SignalResult or None"),
    (SignalResult("BUY", quantity=1, order_type="LIMIT"), "standard", None, "a LIMIT order needs a price"),
    (SignalResult("BUY", quantity=11), "standard", 10, "the position would be 11 units, max_position_size is 10"),
    (SignalResult("SELL", quantity=11), "standard", 10, "the position would be -11 units, max_position_size is 10"),
    (SignalResult("BUY", quantity=11, order_type="LIMIT"), "strict", 10, "a LIMIT order needs a price"),
    (SignalResult("BUY", **{**GOOD, "quantity": None}), "strict", 10, "no quantity; the strict validator needs one"),
    (SignalResult("BUY", **{**GOOD, "confidence": None}), "strict", 10, "no confidence"),
    (SignalResult("BUY", **{**GOOD, "reasoning": None}), "strict", 10, "no reasoning"),
    (SignalResult("BUY", **{**GOOD, "reasoning": ""}), "strict", 10, "no reasoning"),
    (SignalResult("BUY", **{**GOOD, "price": 105.1}), "strict", 10, "is more than 5% from 100"),
    (SignalResult("SELL", **{**GOOD, "price": 94.9}), "strict", 10, "is more than 5% from 100"),
    (SignalResult("BUY", **{**GOOD, "quantity": 11}), "strict", 10, "max_position_size is 10"),
]  # fmt: skip


@pytest.mark.parametrize(("result", "validator", "most", "reason"), REFUSED)
def test_what_a_validator_refuses_is_no_signal_and_told_with_its_reason(
    result: Any, validator: str, most: int | None, reason: str
) -> None:
    """It is counted as refused, not as an error."""
    runner = running(
        lambda: SimpleNamespace(process_tick=lambda tick: result), validator_type=validator, max_position_size=most
    )
    assert said(runner, [tick(0, 100.0)]) == []
    (one,) = statuses(runner)
    assert (one.rejected, one.errors, one.signals) == (1, 0, 0)
    assert reason in reports(runner)[0]


@pytest.mark.parametrize(
    "result",
    [
        SignalResult("BUY", **GOOD),
        SignalResult("SELL", **{**GOOD, "price": None}),
        SignalResult("BUY", **{**GOOD, "price": 105.0, "order_type": "LIMIT", "quantity": 10}),
        SignalResult("SELL", **{**GOOD, "price": 95.0, "confidence": 0.0}),
    ],
)
def test_the_strict_validator_lets_a_complete_signal_pass(result: SignalResult) -> None:
    """With quantity, confidence and reasoning, and a price within 5 %."""
    runner = running(
        lambda: SimpleNamespace(process_tick=lambda tick: result), validator_type="strict", max_position_size=10
    )
    assert len(said(runner, [tick(0, 100.0)])) == 1


def test_the_strict_validator_looks_at_answers_to_bars_and_fills_too() -> None:
    """The price of reference is the bar's close, or that of the fill."""

    class Answers:
        bars = ("1m",)

        def process_tick(self, tick: Tick) -> None:
            return None

        def on_bar(self, bar: Bar) -> Any:
            return SignalResult("BUY", **{**GOOD, "price": 200.0, "reasoning": "bar"})

        def on_fill(self, one: Fill) -> Any:
            return SignalResult("BUY", **{**GOOD, "price": 200.0, "reasoning": "fill"})

    runner = running(Answers, validator_type="strict", max_position_size=10)
    made = [*said(runner, [tick(0, 100.0), tick(60, 200.0), tick(120, 300.0)])]
    made += [*runner.on_fill(fill(1, 121, price="200")), *runner.on_fill(fill(2, 122, price="100"))]
    assert [one.reasoning for one in made] == ["bar", "fill"]
    assert statuses(runner)[0].rejected == 2


def test_the_strict_validator_wants_a_position_limit_in_the_configuration(tmp_path: Path) -> None:
    """It is refused at the start: one line, 78."""
    done = run_strategy(strategy_file(tmp_path, EVERY_TICK, validator_type="strict"), stream(ticks(1)))
    assert (done.returncode, done.stdout) == (78, b"")
    assert one_line(done.stderr) == (
        "alpha run-strategy: strategy mine: the strict validator needs a max_position_size"
    )


#: what validate_signal does -> whether the signal passes, the counter it raises, and what is told
ANSWERS = {
    "return None": (True, "", ""),
    "return True": (True, "", ""),
    "return False": (False, "refused", "its validator refused it"),
    "return 'not on a Monday'": (False, "refused", "rejected: not on a Monday"),
    "return ''": (False, "refused", "rejected"),
    "raise KeyError('limits')": (False, "errors", "KeyError: 'limits'"),
}


@pytest.mark.parametrize("answer", list(ANSWERS))
def test_a_validator_of_ones_own_is_a_file_beside_the_yaml(tmp_path: Path, answer: str) -> None:
    """None and True let a result pass, False and a reason refuse it, and one that fails lets nothing pass."""
    passes, counter, told = ANSWERS[answer]
    (tmp_path / "careful.py").write_text(
        "class Careful:\n    def validate_configuration(self, config):\n        return []\n"
        f"    def validate_signal(self, result, event, context):\n        {answer}\n"
    )
    host, lines = hosted([strategy_file(tmp_path, EVERY_TICK, validator_type="./careful.py:Careful")])
    assert len(said(host, [tick()])) == passes
    assert not counter or host.counts()[counter] == 1
    assert told in "\n".join(lines)


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        ("['too bold', 'too new']", "strategy mine: too bold; too new"),
        ("'too bold'", "strategy mine: too bold"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_validator_may_refuse_a_configuration(tmp_path: Path, faults: str, told: str) -> None:
    """All that it has to say is told in one line, 78; so is its own failure."""
    (tmp_path / "careful.py").write_text(
        f"class Careful:\n    def validate_configuration(self, config):\n        return {faults}\n"
        "    def validate_signal(self, result, event, context):\n        return None\n"
    )
    done = run_strategy(strategy_file(tmp_path, EVERY_TICK, validator_type="./careful.py:Careful"), b"")
    assert done.returncode == 78
    assert told in one_line(done.stderr)


def test_a_validator_must_be_whole(tmp_path: Path) -> None:
    """One without validate_signal would let everything pass."""
    (tmp_path / "half.py").write_text("class Half:\n    def validate_configuration(self, config):\n        return []\n")
    with pytest.raises(ConfigurationError, match="has no validate_signal"):
        hosted([strategy_file(tmp_path, EVERY_TICK, validator_type="./half.py:Half")])


def installed(folder: Path) -> dict[str, str]:
    """The environment in which a package with two entry points of alpha is installed."""
    site = folder / "site"
    info = site / "third_party-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[alpha.strategies]\nsteady = third_party:Steady\nabsent = third_party_absent:Absent\n"
        "[alpha.validators]\nmondays = third_party:Mondays\n"
    )
    (site / "third_party.py").write_text(
        "from alpha_cli import SignalResult\n"
        "class Steady:\n"
        "    def __init__(self, quantity=1):\n        self.quantity = quantity\n"
        "    def process_tick(self, tick, history):\n        return SignalResult('BUY', quantity=self.quantity)\n"
        "class Mondays:\n"
        "    def validate_configuration(self, config):\n        return []\n"
        "    def validate_signal(self, result, event, context):\n"
        "        return None if event.timestamp.weekday() == 0 else 'not a Monday'\n"
    )
    return {"PYTHONPATH": str(site)}


def test_installed_packages_offer_strategies_and_validators_by_entry_point(tmp_path: Path) -> None:
    """A name is all that the YAML says; nothing of alpha is edited."""
    env = installed(tmp_path)
    file = yaml_file(tmp_path, strategy_type="steady", validator_type="mondays", parameters="{quantity: 7}")
    monday, tuesday = tick(0), tick(86_400)
    done = run_strategy(file, stream([monday, tuesday]), env=env)
    assert done.returncode == 0
    assert [(one.timestamp, one.quantity) for one in events_of(done.stdout)] == [(monday.timestamp, 7)]
    assert "rejected: not a Monday" in done.stderr.decode()
    assert counters(done.stderr.decode())["refused"] == 1


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"strategy_type": "momentun"}, "no strategy type 'momentun', did you mean 'momentum'"),
        ({"strategy_type": "stedy"}, "no strategy type 'stedy', did you mean 'steady'"),
        ({"strategy_type": "absent"}, "strategy type 'absent' (third_party_absent:Absent): ModuleNotFoundError"),
        ({"strategy_type": "third_party:Stedy"}, "has no factory 'Stedy', did you mean 'Steady'"),
        ({"strategy_type": "third_party_two:Steady"}, "third_party_two cannot be imported: ModuleNotFoundError"),
        ({"validator_type": "standart"}, "no validator type 'standart', did you mean 'standard'"),
        ({"validator_type": "monday"}, "no validator type 'monday', did you mean 'mondays'"),
    ],
)
def test_an_unknown_type_names_the_nearest_that_there_is(tmp_path: Path, fields: dict[str, str], told: str) -> None:
    """Those of installed packages included: one line, 78."""
    done = run_strategy(yaml_file(tmp_path, **fields), stream(ticks(1)), env=installed(tmp_path))
    assert (done.returncode, done.stdout) == (78, b"")
    assert told in one_line(done.stderr)


def test_a_file_is_looked_for_beside_the_yaml_that_names_it(tmp_path: Path) -> None:
    """Wherever the command is run from, and however the YAML is named."""
    folder, elsewhere = tmp_path / "mine", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    file = strategy_file(folder, EVERY_TICK)
    for cwd, name in ((elsewhere, str(file)), (elsewhere, "../mine/mine.yaml"), (folder, "mine.yaml")):
        done = run_alpha(["run-strategy", "--config", name], stream(ticks(2)), cwd=cwd)
        assert len(events_of(done.stdout)) == 2


#: what stands in mine.py -> what is told
BROKEN_FILES = {
    "class Mine\n": "SyntaxError: expected ':'",
    "import nothing_of_that_name\n": "ModuleNotFoundError: No module named 'nothing_of_that_name'",
    "from alpha_cli import SignalResults\n": "ImportError: cannot import name 'SignalResults'",
    "1 / 0\n": "ZeroDivisionError: division by zero",
    "class Main: ...\n": "has no factory 'Mine', did you mean 'Main'",
    "Mine = 5\n": "has no factory 'Mine'",
    "class Mine: ...\n": "has no process_tick(tick, history)",
    "class Mine:\n    def __init__(self):\n        raise OSError('busy')\n": "cannot be made: OSError: busy",
    "class Mine:\n    def __init__(self, size): ...\n": "missing 1 required positional argument: 'size'",
    "raise SystemExit(0)\n": "SystemExit",
    "class Mine:\n    def __init__(self):\n        raise SystemExit(0)\n": "SystemExit",
}


@pytest.mark.parametrize("text", list(BROKEN_FILES))
def test_a_file_that_makes_no_strategy_is_one_line_and_78(tmp_path: Path, text: str) -> None:
    """Whatever is wrong with it, nothing is read and no traceback is shown."""
    file = strategy_file(tmp_path, EVERY_TICK)
    (tmp_path / "mine.py").write_text(text)
    done = run_strategy(file, stream(ticks(1)))
    assert (done.returncode, done.stdout) == (78, b"")
    line = one_line(done.stderr)
    assert line.startswith("alpha run-strategy: ")
    assert BROKEN_FILES[text] in line


def test_a_file_that_is_not_there_is_one_line_and_78(tmp_path: Path) -> None:
    """Named as it was looked for."""
    done = run_strategy(yaml_file(tmp_path, strategy_type="./absent.py:Mine"), stream(ticks(1)))
    assert done.returncode == 78
    assert f"{tmp_path}/absent.py: No such file or directory" in one_line(done.stderr)


# --- quantities --------------------------------------------------------------------------------


@given(
    quantity=st.integers(1, 10**6),
    multiplier=st.decimals("0.0001", "100", places=4),
)
def test_the_risk_multiplier_scales_a_quantity_down_to_whole_units(quantity: int, multiplier: Decimal) -> None:
    """The exact product, rounded down; less than one unit is refused and never rounded up."""
    runner = running(
        lambda: SimpleNamespace(process_tick=lambda tick: SignalResult("BUY", quantity=quantity)),
        risk_multiplier=multiplier,
    )
    made = said(runner, [tick()])
    expected = quantity * int(multiplier * 10_000) // 10_000
    assert [one.quantity for one in made] == ([expected] if expected else [])
    if not expected:
        assert f"quantity {quantity} times risk_multiplier {multiplier}" in reports(runner)[0]
        assert "is less than one unit" in reports(runner)[0]


def test_a_signal_without_a_quantity_is_left_for_risk_to_refuse() -> None:
    """There is nothing to multiply."""
    runner = running(
        lambda: SimpleNamespace(process_tick=lambda tick: SignalResult("BUY")), risk_multiplier=Decimal("0.5")
    )
    assert [one.quantity for one in said(runner, [tick()])] == [None]


def test_a_multiplied_quantity_beyond_the_wire_is_a_fault_of_that_strategy() -> None:
    """Nobody after it could read the line."""
    runner = running(
        lambda: SimpleNamespace(process_tick=lambda tick: SignalResult("BUY", quantity=10**12)), risk_multiplier=2
    )
    assert said(runner, [tick()]) == []
    (one,) = statuses(runner)
    assert one.errors + one.rejected == 1


def test_the_validator_sees_the_quantity_that_will_be_traded() -> None:
    """Position limits hold after the multiplier."""
    runner = running(
        lambda: SimpleNamespace(process_tick=lambda tick: SignalResult("BUY", quantity=6)),
        risk_multiplier=2, max_position_size=10,
    )  # fmt: skip
    assert said(runner, [tick()]) == []
    assert "the position would be 12 units" in reports(runner)[0]


def trades(several: bool, tokens: Sequence[int] = (NIFTY,)) -> Callable[[], Any]:
    """A processor whose every answer is the next of BUY 6, BUY 6, SELL 6, …"""

    class Trades:
        multi_instrument = several

        def __init__(self) -> None:
            self.answers: list[tuple[Any, int]] = [("BUY", 6), ("BUY", 6), ("SELL", 16), ("SELL", 17), ("BUY", 5)]

        def process_tick(self, tick: Tick) -> Any:
            side, quantity = self.answers.pop(0)
            return SignalResult(side, quantity=quantity)

    return Trades


@pytest.mark.parametrize("several", [False, True], ids=["one processor each", "one processor for all"])
def test_a_position_never_grows_beyond_max_position_size(several: bool) -> None:
    """Counted with the fills so far: what would exceed it either way is refused, what reduces it passes."""
    runner = running(trades(several), max_position_size=10)
    sides = []
    for number in range(5):
        for one in said(runner, [tick(number)]):
            sides.append((number, one.signal_type, one.quantity))
            runner.on_fill(fill(number, number, one.signal_type, one.quantity))
    # held:     0 -> 6    6 + 6: no   6 -> -10   -10 - 17: no   -10 -> -5
    assert sides == [(0, "BUY", 6), (2, "SELL", 16), (4, "BUY", 5)]


def test_a_position_over_the_limit_may_always_be_reduced() -> None:
    """Limits are lowered while positions are open; getting out is never refused."""
    answers = iter([("SELL", 5), ("BUY", 1), ("SELL", 40)])

    def process(tick: Tick) -> Any:
        side, quantity = next(answers)
        return SignalResult(side, quantity=quantity)  # type: ignore[arg-type]

    runner = running(lambda: SimpleNamespace(process_tick=process), max_position_size=10)
    runner.on_fill(fill(1, 0, "BUY", 30))
    assert [one.quantity for one in said(runner, [tick(1), tick(2), tick(3)])] == [5, 40]


# --- HOLD ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"active_brokers": ("paper", "zerodha")},
        {"validator_type": "strict", "max_position_size": 1},
        {"risk_multiplier": Decimal("0.5")},
    ],
    ids=["plain", "two brokers", "strict", "halved"],
)
@pytest.mark.parametrize("result", [SignalResult("HOLD"), SignalResult("HOLD", quantity=1)], ids=["bare", "quantity"])
def test_hold_never_becomes_a_signal_and_is_no_fault(result: SignalResult, fields: dict[str, Any]) -> None:
    """To a tick, a bar or a fill: it is counted as held, and nothing else."""

    class Holds:
        bars = ("1m",)

        def process_tick(self, tick: Tick) -> Any:
            return result

        def on_bar(self, bar: Bar) -> Any:
            return result

        def on_fill(self, one: Fill) -> Any:
            return result

    runner = running(Holds, **fields)
    assert said(runner, [tick(0), tick(61)]) == []
    assert list(runner.on_fill(fill(at=61))) == []
    (one,) = statuses(runner)
    assert (one.held, one.rejected, one.errors, one.signals) == (4, 0, 0, 0)


def test_what_was_refused_and_held_is_in_the_closing_line(tmp_path: Path) -> None:
    """`refused` of results, beside `rejected` of lines; each refusal with instrument, time and reason."""
    body = """
    def process_tick(self, tick, history):
        return [SignalResult("BUY", quantity=11), SignalResult("HOLD"), SignalResult("BUY", quantity=10)][len(history)]
    """
    done = run_strategy(strategy_file(tmp_path, body, max_position_size="10"), stream(ticks(3)), "--fills", "-")
    stderr = done.stderr.decode()
    assert done.returncode == 0
    expected = {"in": 5, "rejected": 0, "signals": 1, "held": 1, "refused": 1, "errors": 0}
    assert expected.items() <= counters(stderr).items()
    assert (
        f"mine on {NIFTY} at 2024-06-03T09:15:00+05:30: rejected: the position would be 11 units, "
        "max_position_size is 10 (failure 1; other strategies go on)"
    ) in stderr
    assert "signals=1 held=1 refused=1 errors=0" in stderr


# --- both forms of YAML ----------------------------------------------------------------------------

#: the older form of a file -> the newer one
FORMS = {
    "all older names": (
        "strategy_name: nifty\nstrategy_class: SimpleMomentumStrategy\nmodule_name: strategies.simple\n"
        "instrument_tokens: [256265, 260105]\nparameters: {lookback_period: 30}\nbrokers: [paper, zerodha]\n",
        "id: nifty\nstrategy_type: momentum\ninstruments: [256265, 260105]\nparameters: {lookback_period: 30}\n"
        "active_brokers: [paper, zerodha]\n",
    ),
    "the defaults": (
        "strategy_name: nifty\nstrategy_class: MeanReversionStrategy\ninstrument_tokens: [256265]\n",
        "id: nifty\nstrategy_type: mean_reversion\ninstruments: [256265]\nactive_brokers: [paper]\n"
        "validator_type: standard\nis_active: true\nmax_history: 100\nrisk_multiplier: 1\nparameters: {}\n",
    ),
    "a class of one's own": (
        "strategy_name: nifty\nstrategy_class: Mine\nmodule_name: package.module\ninstrument_tokens: [256265]\n",
        "id: nifty\nstrategy_type: package.module:Mine\ninstruments: [256265]\n",
    ),
    "a file of one's own": (
        "strategy_name: nifty\nstrategy_class: Mine\nmodule_name: ./mine.py\ninstrument_tokens: [256265]\n",
        "id: nifty\nstrategy_type: ./mine.py:Mine\ninstruments: [256265]\n",
    ),
    "mixed": (
        "id: nifty\nstrategy_type: hybrid_ml_rsi_filter\ninstrument_tokens: [256265]\nactive_brokers: [zerodha]\n"
        "max_position_size: 10\nrisk_multiplier: 0.5\nvalidator_type: strict\nis_active: false\nmax_history: 7\n",
        "strategy_name: nifty\nstrategy_type: hybrid_ml_rsi\ninstruments: [256265]\nbrokers: [zerodha]\n"
        "max_position_size: 10\nrisk_multiplier: 0.5\nvalidator_type: strict\nis_active: false\nmax_history: 7\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", list(FORMS))
def test_both_forms_of_yaml_load_to_equal_configurations(tmp_path: Path, form: str) -> None:
    """Older names are other names for the same things, and nothing else."""
    loaded = []
    for number, text in enumerate(FORMS[form]):
        (tmp_path / f"{number}.yaml").write_text(text)
        loaded.append(load_file(tmp_path / f"{number}.yaml"))
    assert loaded[0] == loaded[1]
    assert loaded[0].fingerprint() == loaded[1].fingerprint()


#: type -> an older name of it, and older names of its parameters
OLDER = [
    ("momentum", "SimpleMomentumStrategy", "lookback: 5, threshold: 0.01", "window: 5, momentum_threshold: 0.01"),
    ("momentum", "MomentumStrategy", "lookback: 5, threshold: 0.01", "lookback_period: 5, momentum_threshold: 0.01"),
    ("mean_reversion", "MeanReversionStrategy", "lookback: 9, threshold: 1.5", "window: 9, deviation_threshold: 1.5"),
    ("mean_reversion", "MeanReversionStrategy", "lookback: 9, threshold: 1.5, exit_threshold: 0.5",
     "lookback_period: 9, entry_threshold: 1.5, exit_threshold: 0.5"),
    ("hybrid_ml_rsi", "hybrid_ml_rsi_filter", "buy_above: 0.52, sell_below: 0.48", "buy_above: 0.52, sell_below: 0.48"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "older", "parameters", "older_parameters"), OLDER)
def test_older_names_of_strategies_and_parameters_give_the_same_signals(
    tmp_path: Path, kind: str, older: str, parameters: str, older_parameters: str
) -> None:
    """Ids included: a deployment may change its files over without trading anything twice."""
    assert OLDER_TYPES[older] == kind
    (tmp_path / "old").mkdir()
    newer = yaml_file(tmp_path, strategy_type=kind, parameters=f"{{{parameters}}}")
    old = tmp_path / "old" / "mine.yaml"
    old.write_text(
        f"strategy_name: mine\nstrategy_class: {older}\ninstrument_tokens: [{NIFTY}]\n"
        f"parameters: {{{older_parameters}}}\n"
    )
    events = ticks(400)
    made = [said(hosted([file])[0], events) for file in (newer, old)]
    assert made[0] == made[1] != []


#: lines that say a thing once more -> what is told
TWICE = {
    "strategy_name: other": "strategy_name is the older name of id; keep one of them",
    "instrument_tokens: [1]": "instrument_tokens is the older name of instruments; keep one of them",
    "brokers: [paper]": "brokers is the older name of active_brokers; keep one of them",
    "strategy_class: MomentumStrategy": "strategy_class is the older name of strategy_type; keep one of them",
    "id: mine": "key id is given twice",
    "parameters: {lookback: 5, window: 5}": "lookback and window are the same parameter, lookback; give it once",
    "parameters: {threshold: 0.1, momentum_threshold: 0.1}": "threshold and momentum_threshold are the same parameter",
    "module_name: mine": "module_name",
}


@pytest.mark.parametrize("line", list(TWICE))
def test_saying_a_thing_twice_is_refused(tmp_path: Path, line: str) -> None:
    """Which of the two was meant? One line, 78, even if both say the same."""
    file = yaml_file(tmp_path, active_brokers="[paper]")
    file.write_text(f"{file.read_text()}{line}\n")
    done = run_strategy(file, stream(ticks(1)))
    assert (done.returncode, done.stdout) == (78, b"")
    assert TWICE[line] in one_line(done.stderr)


# --- bars ------------------------------------------------------------------------------------------

#: Says at each bar all that the bar says, and how many bars came before it.
ON_BAR = """
def process_tick(self, tick, history):
    return None

def on_bar(self, bar, history):
    told = [bar.instrument_token, bar.interval, bar.start.isoformat(), bar.end.isoformat()]
    told += [bar.open, bar.high, bar.low, bar.close, bar.volume, bar.ticks]
    assert all(past.end <= bar.start and past.interval == bar.interval for past in history)
    return SignalResult("BUY", quantity=1, price=bar.close, metadata={"bar": told, "n": len(history)})
"""


def bar_told(bar: Bar) -> list[Any]:
    """What ON_BAR says of a bar."""
    return [bar.instrument_token, bar.interval, bar.start.isoformat(), bar.end.isoformat(),
            bar.open, bar.high, bar.low, bar.close, bar.volume, bar.ticks]  # fmt: skip


def test_declared_bars_are_those_of_alpha_bars_and_both_ways_give_equal_signals(tmp_path: Path) -> None:
    """Built in run-strategy, or taken from `alpha bars |`: the same bars, so the same signals with the same ids."""
    both = f"[{NIFTY}, {BANK}]"
    declared = strategy_file(tmp_path, 'bars = ("1m", "15m")\n' + ON_BAR, instruments=both)
    (tmp_path / "other").mkdir()
    undeclared = strategy_file(tmp_path / "other", ON_BAR, instruments=both)
    day = run_alpha(["feed", "-q", "--ticks", "3000", "--instruments", f"{NIFTY},{BANK},408065"]).stdout
    with_bars = run_alpha(["bars", "-q", "--interval", "1m,15m"], day).stdout
    here = run_strategy(declared, day)
    there = run_strategy(undeclared, with_bars)
    bars = [bar for bar in events_of(with_bars, Bar) if bar.instrument_token in (NIFTY, BANK)]
    made = events_of(here.stdout)
    assert len(made) > 700
    assert [one.metadata["bar"] for one in made] == list(map(bar_told, bars))
    assert [one.timestamp for one in made] == [bar.end for bar in bars]
    assert events_of(there.stdout) == made
    assert len({one.signal_id for one in made}) == len(made)


def test_in_one_process_bars_of_the_stage_before_reach_a_strategy_too(tmp_path: Path) -> None:
    """`alpha pipe "feed | bars | run-strategy"` gives the bytes of the shell."""
    file = strategy_file(tmp_path, ON_BAR)
    feed = ["feed", "-q", "--ticks", "500", "--instruments", "2"]
    shell = run_strategy(file, run_alpha(["bars", "-q"], run_alpha(feed).stdout).stdout)
    fused = run_alpha(["pipe", f"{' '.join(feed)} | bars -q | run-strategy --config {file}"])
    assert fused.stdout == shell.stdout
    assert len(events_of(fused.stdout)) > 300


MOMENTS = st.one_of(st.integers(-120, 600), st.integers(int(CLOSE) - 120, int(CLOSE) + 60), st.integers(86_400, 86_700))


@given(
    days=st.lists(st.tuples(MOMENTS, st.sampled_from([NIFTY, BANK, 7]), st.integers(1, 50)), max_size=80),
    in_order=st.booleans(),
    all_hours=st.booleans(),
)
def test_a_strategy_gets_each_bar_that_alpha_bars_emits_for_its_instruments(
    days: list[tuple[int, int, int]], in_order: bool, all_hours: bool
) -> None:
    """Gaps, late ticks, the ends of sessions and ticks of instruments that nobody follows included."""
    if in_order:
        days.sort(key=lambda one: one[0])
    events = [tick(at, 100 + price, token, volume_traded=at % 1000) for at, token, price in days]
    got: list[Bar] = []

    class Bars:
        bars = ("1m", "5m")

        def process_tick(self, tick: Tick) -> None:
            return None

        def on_bar(self, bar: Bar) -> None:
            got.append(bar)

    told: list[str] = []
    runner = StrategyRunner(all_hours=all_hours, report=told.append)
    config = StrategyConfig(id="mine", strategy_type="test", instruments=(NIFTY, BANK))
    runner.roster.add(Strategy(config, ["paper"], create=makes(Bars)))
    said(runner, events)
    builder = BarBuilder(parse_intervals(["1m,5m"]), all_hours=all_hours)
    expected = [bar for one in events for bar in builder.on_tick(one) if bar.instrument_token != 7]
    assert got == expected
    assert told == []


def test_a_bar_comes_before_the_tick_that_closed_it() -> None:
    """A strategy that looks at both knows the bar when it is asked about the tick."""
    calls: list[Any] = []

    class Both:
        bars = "1m"

        def process_tick(self, tick: Tick) -> Any:
            calls.append(("tick", tick.timestamp))
            return SignalResult("BUY", quantity=1, reasoning="tick")

        def on_bar(self, bar: Bar) -> Any:
            calls.append(("bar", bar.end))
            return SignalResult("BUY", quantity=1, reasoning="bar")

    made = said(running(Both), [tick(0), tick(59), tick(60), tick(150)])
    times = {at: tick(at).timestamp for at in (0, 59, 60, 120, 150)}
    assert calls == [
        ("tick", times[0]), ("tick", times[59]), ("bar", times[60]), ("tick", times[60]), ("bar", times[120]),
        ("tick", times[150]),
    ]  # fmt: skip
    assert [one.reasoning for one in made] == ["tick", "tick", "bar", "tick", "bar", "tick"]


def test_the_earlier_bars_of_an_interval_are_kept_as_ticks_are() -> None:
    """At most max_history, oldest first, without the current one, each interval for itself."""
    seen: dict[str, list[int]] = {"1m": [], "2m": []}

    class Looks:
        bars = ("120s", "1m", "60s")

        def process_tick(self, tick: Tick) -> None:
            return None

        def on_bar(self, bar: Bar, history: Sequence[Bar]) -> None:
            assert [past.end for past in history] == sorted(past.end for past in history)
            assert bar not in history
            with pytest.raises(TypeError, match="read-only"):
                history.append(bar)  # type: ignore[attr-defined]
            seen[bar.interval].append(len(history))

    runner = running(Looks, max_history=3)
    said(runner, [tick(60 * minute) for minute in range(9)])
    assert seen == {"1m": [0, 1, 2, 3, 3, 3, 3, 3], "2m": [0, 1, 2, 3]}
    assert reports(runner) == []


@pytest.mark.parametrize("bars", ["('1x',)", "'0m'", "('1m', 5)", "5", "None"])
def test_bars_that_cannot_be_are_one_line_and_78(tmp_path: Path, bars: str) -> None:
    """What is declared is read at the start."""
    done = run_strategy(strategy_file(tmp_path, f"bars = {bars}\n{ON_BAR}"), stream(ticks(1)))
    assert (done.returncode, done.stdout) == (78, b"")
    assert "bars" in one_line(done.stderr)


@pytest.mark.parametrize(
    "declared",
    ["min_history = '20'", "tick_fields = 5", "multi_instrument = property(lambda self: 1 / 0)",
     "on_bar = property(lambda self: 1 / 0)"],
)  # fmt: skip
def test_what_a_strategy_declares_oddly_is_one_line_and_78(tmp_path: Path, declared: str) -> None:
    """It is a mistake in that file, and not a bug in alpha."""
    done = run_strategy(strategy_file(tmp_path, f"{declared}\n{EVERY_TICK}"), stream(ticks(1)))
    assert (done.returncode, done.stdout) == (78, b"")
    assert "mine" in one_line(done.stderr)


def test_a_strategy_whose_answer_to_a_bar_paused_it_says_nothing_more_at_that_tick() -> None:
    """After the line that pauses it there is no signal of it until the line that resumes it."""

    class Fails:
        bars = ("1m",)

        def process_tick(self, tick: Tick) -> Any:
            return buys()

        def on_bar(self, bar: Bar) -> Any:
            raise ValueError("bad bar")

    told: list[str] = []
    runner = StrategyRunner(report=told.append, failures=1, cool_down=timedelta(hours=1))
    config = StrategyConfig(id="mine", strategy_type="test", instruments=(NIFTY,))
    runner.roster.add(Strategy(config, ["paper"], create=makes(Fails)))
    kinds = [type(one).__name__ for one in said(runner, [tick(0), tick(60), tick(70)])]
    assert kinds == ["Signal", "Control"]


# --- the market as it is -----------------------------------------------------------------------------

KINDS_OF_STRATEGY = ["momentum", "mean_reversion", "rules_rsi", "ml_momentum", "hybrid_ml_rsi"]


def said_by(kind: str, events: Sequence[Tick], tokens: Sequence[int] = (NIFTY,), **fields: Any) -> list[Any]:
    """The signals of a packaged strategy; nothing may be reported of it."""
    told: list[str] = []
    runner = StrategyRunner(report=told.append)
    runner.roster.add(
        Strategy(StrategyConfig(id=kind, strategy_type=kind, instruments=tuple(tokens), **fields), ["paper"])
    )
    made = said(runner, events)
    assert told == []
    return made


@pytest.mark.parametrize("kind", KINDS_OF_STRATEGY)
def test_a_market_that_stands_still_leads_to_nothing(kind: str) -> None:
    """No volatility, no deviation, no RSI: no signal and no division by zero."""
    assert said_by(kind, [tick(at, 100.0) for at in range(300)]) == []


@pytest.mark.parametrize("kind", KINDS_OF_STRATEGY)
@pytest.mark.parametrize("factor", [1000.0, 0.001])
def test_an_extreme_move_leads_to_sane_signals_or_none(kind: str, factor: float) -> None:
    """A price a thousand times what it was a second ago, and back: nothing fails, confidence stays within 0..1."""
    calm = [100 + at * 7 % 5 / 10 for at in range(150)]
    prices = [*calm, *(price * factor for price in calm), *calm]
    made = said_by(kind, [tick(at, round(price, 4)) for at, price in enumerate(prices)])
    if kind in ("momentum", "rules_rsi", "mean_reversion"):
        assert made
    assert all(0 <= one.confidence <= 1 and one.price > 0 for one in made)


@pytest.mark.parametrize(("kind", "needs"), [("momentum", 6), ("mean_reversion", 5), ("rules_rsi", 6)])
def test_a_history_of_just_what_is_needed_is_enough_and_one_less_is_refused(kind: str, needs: int) -> None:
    """The signals are those with plenty of history; with one tick less the configuration is refused."""
    parameters = {"period": 5} if kind == "rules_rsi" else {"lookback": 5, "threshold": 0.001 if needs == 6 else 1.2}
    events = ticks(200)
    assert said_by(kind, events, parameters=parameters, max_history=needs) == said_by(
        kind, events, parameters=parameters
    )
    with pytest.raises(ConfigurationError, match=f"needs {needs} ticks of history, max_history is {needs - 1}"):
        said_by(kind, events, parameters=parameters, max_history=needs - 1)


@pytest.mark.parametrize(("kind", "first"), [("momentum", 5), ("mean_reversion", 4)])
def test_a_strategy_speaks_first_when_its_lookback_is_reached(kind: str, first: int) -> None:
    """Not one tick sooner: momentum compares with 5 ticks ago, mean reversion looks at 5 prices."""
    parameters = {"lookback": 5, "threshold": 0.0001 if kind == "momentum" else 0.1}
    rising = [tick(at, 100.0 + at) for at in range(12)]
    made = said_by(kind, rising, parameters=parameters)
    assert made[0].timestamp == rising[first].timestamp


#: what a recorded day may look like -> how a tick of it is written
RECORDED: dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
    "without volume": lambda one: one,
    "volume null": lambda one: {**one, "volume_traded": None},
    "naive timestamps": lambda one: {**one, "timestamp": one["timestamp"].removesuffix("+05:30")},
    "naive with a blank": lambda one: {**one, "timestamp": one["timestamp"].removesuffix("+05:30").replace("T", " ")},
    "in UTC": lambda one: {**one, "timestamp": one["timestamp"].replace("T09", "T03").replace(":15:", ":45:")
                           .replace("+05:30", "Z")},
    "impossible OHLC": lambda one: {**one, "ohlc": {"open": 1, "high": 0.5, "low": 2, "close": 1}},
    "half an OHLC": lambda one: {**one, "ohlc": {"open": 1, "high": 2}},
    "OHLC of text": lambda one: {**one, "ohlc": "none today"},
    "NaN in the OHLC": lambda one: {**one, "ohlc": {"open": "NaN", "high": 2, "low": 1, "close": 1}},
}  # fmt: skip


@pytest.mark.parametrize("odd", list(RECORDED))
def test_an_odd_recording_gives_the_signals_of_a_clean_one(tmp_path: Path, odd: str) -> None:
    """Missing volume, naive times, malformed OHLC: the feed mends or drops the field, and no signal is suppressed."""
    events = ticks(45)
    clean = run_alpha(["run-strategy", "momentum", "mean_reversion"], stream(events))
    lines = [RECORDED[odd](json.loads(encode(one))) for one in events]
    (tmp_path / "day.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = run_alpha(["pipe", f"feed {tmp_path / 'day.ndjson'} | run-strategy momentum mean_reversion"])
    assert done.returncode == 0
    assert events_of(done.stdout) == events_of(clean.stdout) != []


def test_a_strategy_that_wants_the_ohlc_has_none_where_it_was_malformed(tmp_path: Path) -> None:
    """A tick keeps what could be read of it."""
    body = """
    tick_fields = ("ohlc", "volume_traded")

    def process_tick(self, tick, history):
        high = None if tick.ohlc is None else tick.ohlc.high
        return SignalResult("BUY", quantity=1, metadata={"high": high, "volume": tick.volume_traded})
    """
    good, bad = ({"open": 1, "high": high, "low": 1, "close": 1} for high in (2, 0.5))
    lines = [{**json.loads(encode(tick(at))), "ohlc": ohlc} for at, ohlc in enumerate((good, bad, good))]
    for line in lines:
        del line["type"]  # as Kite's client gives it
    (tmp_path / "day.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = run_alpha(["pipe", f"feed {tmp_path}/day.ndjson | run-strategy --config {strategy_file(tmp_path, body)}"])
    assert [one.metadata for one in events_of(done.stdout)] == [
        {"high": high, "volume": 0} for high in (2, None, 2)
    ]  # fmt: skip


def test_naive_times_are_indian_times_to_run_strategy_itself(tmp_path: Path) -> None:
    """Also without a feed before it."""
    events = stream(ticks(45))
    naive = events.replace(b"+05:30", b"")
    done = run_alpha(["run-strategy", "momentum"], naive)
    assert done.returncode == 0
    assert events_of(done.stdout) == events_of(run_alpha(["run-strategy", "momentum"], events).stdout) != []


@pytest.mark.parametrize("kind", KINDS_OF_STRATEGY)
def test_two_instruments_interleaved_give_the_signals_of_each_alone(kind: str) -> None:
    """However they are mixed, with equal times and in runs."""
    own = {
        token: [tick(at // 2, 100 + (at * step % 90) / 10 + at // 60 % 4, token) for at in range(500)]
        for token, step in ((NIFTY, 7), (BANK, 11))
    }
    mixed: list[Tick] = []
    for at in range(0, 500, 5):
        mixed += own[NIFTY][at : at + 3]
        mixed += own[BANK][at : at + 5]
        mixed += own[NIFTY][at + 3 : at + 5]
    made = said_by(kind, mixed, (NIFTY, BANK))
    for token in (NIFTY, BANK):
        assert [one for one in made if one.instrument_token == token] == said_by(kind, own[token], (token,))
    if kind in ("momentum", "mean_reversion"):
        assert {one.instrument_token for one in made} == {NIFTY, BANK}


def test_a_signal_says_what_the_strategy_said_whatever_it_was_made_of() -> None:
    """An event that another process can read, from a result with all fields."""
    result = SignalResult("SELL", 3, Decimal("99.95"), 0.25, "LIMIT", "CNC", "why", {"deep": {"list": [1, None]}})
    (made,) = said(running(lambda: SimpleNamespace(process_tick=lambda tick: result)), [tick()])
    assert decode(encode(made)) == made
    assert {name: getattr(made, name) for name in msgspec.structs.asdict(result)} == msgspec.structs.asdict(result)
