"""Models: what is loaded and what is refused; features; the two strategies that ask a model; how it is trained."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from support.events import BANK, NIFTY, tick
from support.processes import DEADLINE, ROOT, environment, shared

from alpha_cli import Signal, SignalResult, Tick, pipe, replay
from alpha_cli.core.errors import ConfigurationError
from alpha_cli.kit import models
from alpha_cli.kit.features import FEATURES, PRICES_NEEDED, Features
from alpha_cli.kit.indicators import RSI
from alpha_cli.stages.run_strategy.config import StrategyConfig, load_by_name
from alpha_cli.stages.run_strategy.factory import create_processor

pytest.importorskip("onnxruntime")

KINDS = ["ml_momentum", "hybrid_ml_rsi"]
#: Gates so wide that the hybrid speaks on the ticks of `trending`.
WIDE: dict[str, dict[str, Any]] = {"ml_momentum": {}, "hybrid_ml_rsi": {"rsi_buy_below": 80, "rsi_sell_above": 20}}
NEUTRAL = (0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 1.0)

paise = st.integers(9_500, 10_500).map(lambda number: number / 100)


class Script:
    """A model that says what it was told to, whatever the features."""

    def __init__(self, *says: float) -> None:
        self._says: Iterator[float] = iter(says)

    def probability(self, features: Sequence[float]) -> float:
        assert len(features) == len(FEATURES)
        return next(self._says)


def made(kind: str, answering: Any = None, /, **parameters: Any) -> Any:
    """A processor that asks `answering`, or the model that it loads itself."""
    processor: Any = create_processor(
        StrategyConfig(id=kind, strategy_type=kind, parameters=parameters, instruments=(NIFTY,), max_history=20_000)
    )
    if answering is None:
        assert processor.load_model() is True
    else:
        processor.model = answering
    return processor


def answers(processor: Any, events: Sequence[Tick]) -> list[tuple[int, SignalResult]]:
    """What it says and at which tick; it is given no history, for it has its own."""
    said = ((place, processor.process_tick(event, ())) for place, event in enumerate(events))
    return [(place, answer) for place, answer in said if answer is not None]


def trending(count: int, seed: int = 0) -> list[Tick]:
    """Ticks of a market that rises and falls in turn, unevenly, so that a model grows sure of it."""
    prices = [25_000 + 2 * abs((at + seed) % 80 - 40) + at * 37 % 23 * 0.4 for at in range(count)]
    return [tick(at, price) for at, price in enumerate(prices)]


# --- features --------------------------------------------------------------------------------


def test_features_are_what_their_table_says() -> None:
    """By the formulas, from all the prices at once."""
    prices = [event.last_price for event in trending(150)]
    features, rsi = Features(), RSI(14)
    for end, price in enumerate(prices, 1):
        row, strength = features.update(price), rsi.update(price)
        assert (row is not None) == (end >= PRICES_NEEDED)
        if row is None:
            continue
        past = prices[:end]
        moves = [2 * (now - before) / (now + before) for before, now in pairwise(past)]
        short = math.sqrt(sum(move**2 for move in moves[-20:]) / 20)
        long = math.sqrt(sum(move**2 for move in moves[-60:]) / 60)
        mean = sum(past[-20:]) / 20
        away = math.sqrt(sum((one - mean) ** 2 for one in past[-20:]) / 20)
        returns = [2 * (price - past[-1 - n]) / (price + past[-1 - n]) / short / math.sqrt(n) for n in (1, 5, 10, 20)]
        assert strength is not None
        expected = [*returns, strength / 100, (price - mean) / away, short / long]
        assert row == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert len(FEATURES) == len(NEUTRAL) == 7


@given(st.lists(paise, min_size=80, max_size=100), st.sampled_from([2**-20, 0.25, 8, 2**20]))
def test_features_have_no_scale(prices: list[float], factor: float) -> None:
    """In other units, by a power of two so that it is exact, the features are the same to the last bit."""
    one, other = Features(), Features()
    assert [one.update(price) for price in prices] == [other.update(price * factor) for price in prices]


@given(st.lists(st.one_of(paise, st.sampled_from([1e-4, 0.05, 9.9e11])), min_size=61, max_size=150))
def test_features_stay_within_their_ranges(prices: list[float]) -> None:
    """Whatever the jumps: no NaN, no infinity, and nothing that a model has never met."""
    features = Features()
    for row in filter(None, map(features.update, prices)):
        *returns, strength, away, volatility = row
        assert all(abs(one) < math.sqrt(20) + 1e-9 for one in returns)
        assert 0 <= strength <= 1
        assert abs(away) < math.sqrt(19) + 1e-6
        assert 0 <= volatility < math.sqrt(3) + 1e-9


@pytest.mark.parametrize("price", [100.0, 0.1, 1e-4, 9.9e11])
def test_a_market_that_stands_still_has_neutral_features(price: float) -> None:
    """Zero volatility divides nothing."""
    features = Features()
    assert [features.update(price) for _ in range(100)][-1] == NEUTRAL


@pytest.mark.parametrize("bad", [0, -1.0, math.nan, math.inf, -math.inf])
def test_what_is_no_price_is_refused_and_changes_nothing(bad: float) -> None:
    """Nor does one part take it while another refuses."""
    features = Features()
    for event in trending(70):
        features.update(event.last_price)
        before = features.snapshot()
        with pytest.raises(ValueError, match="is not a price"):
            features.update(bad)
        assert features.snapshot() == before


@given(st.lists(paise, max_size=100), st.integers(0, 100))
def test_features_go_on_from_a_snapshot(prices: list[float], cut: int) -> None:
    """To the last bit."""
    whole, first, second = Features(), Features(), Features()
    expected = [whole.update(price) for price in prices]
    for price in prices[:cut]:
        first.update(price)
    second.restore(json.loads(json.dumps(first.snapshot())))
    assert [second.update(price) for price in prices[cut:]] == expected[cut:]


@pytest.mark.parametrize("harm", [{"prices": "x"}, {"prices": [0]}, {"rsi": {}}, {"more": 1}])
def test_the_features_of_a_spoilt_snapshot_stay_as_they_were(harm: dict[str, Any]) -> None:
    """All of the state is taken up, or none of it."""
    features, other = Features(), Features()
    for event in trending(70):
        other.update(event.last_price)
    before = features.snapshot()
    with pytest.raises(ValueError, match=r"[sS]tate"):
        features.restore(other.snapshot() | harm)
    assert features.snapshot() == before


# --- loading ---------------------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the packaged model that may be spoilt."""
    models._ready.cache_clear()
    for suffix in (".onnx", ".json"):
        (tmp_path / f"mine{suffix}").write_bytes(models.find("direction").with_suffix(suffix).read_bytes())
    return tmp_path / "mine.onnx"


def describe(path: Path, **changes: Any) -> None:
    """Change the description of the model at `path`."""
    file = path.with_suffix(".json")
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def replace(path: Path, content: bytes) -> None:
    """Exchange the model, and say so in its description."""
    path.write_bytes(content)
    describe(path, sha256=sha256(content).hexdigest())


def graph(output: str) -> bytes:
    """A valid ONNX model of the seven features that is no classifier: it answers with `output` of them."""
    onnx = pytest.importorskip("onnx")
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = {
        "all": [make.make_node("Identity", ["features"], ["out"])],
        "two": [
            make.make_node("Constant", [], ["columns"], value_ints=[0, 1]),
            make.make_node("Gather", ["features", "columns"], ["picked"], axis=1),
            make.make_node("Exp", ["picked"], ["out"]),  # 1 and 1: two numbers, but no probabilities
        ],
    }[output]
    inputs = [make.make_tensor_value_info("features", kind, [None, len(FEATURES)])]
    made = make.make_graph(nodes, "other", inputs, [make.make_tensor_value_info("out", kind, [None, None])])
    content: bytes = make.make_model(made, opset_imports=[make.make_opsetid("", 17)], ir_version=8).SerializeToString()
    return content


def missing(path: Path) -> None:
    path.unlink()


def undescribed(path: Path) -> None:
    path.with_suffix(".json").unlink()


def tampered(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (missing, r"mine\.onnx: No such file"),
        (undescribed, r"mine\.json: No such file"),
        (tampered, r"mine\.onnx: not the model that mine\.json describes: its SHA-256 is "),
        (lambda path: path.write_bytes(b""), "not the model that"),
        (lambda path: replace(path, b"no protobuf" * 20), r"mine\.onnx: not a usable ONNX model: "),
        (lambda path: replace(path, path.read_bytes()[:-40]), r"mine\.onnx: not a usable ONNX model: "),
        (lambda path: replace(path, graph("all")), "its last output is not one row of P"),
        (lambda path: replace(path, graph("two")), "its last output is no probabilities but"),
        (lambda path: path.with_suffix(".json").write_text("{"), r"mine\.json: not the description of a model: "),
        (lambda path: describe(path, features="rsi"), r"mine\.json: not the description of a model: .*features"),
        (lambda path: describe(path, features=["rsi_14"]), r"mine\.json: the model takes the features rsi_14, and th"),
        (lambda path: describe(path, features=list(FEATURES[::-1])), "the model takes the features volatility_20_60, "),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_cannot_be_trusted_is_refused_with_the_reason(
    copied: Path, capfd: pytest.CaptureFixture[str], kind: str, harm: Callable[[Path], object], reason: str
) -> None:
    """Missing, exchanged, cut short, of other features, of another kind; in one line, and nothing on stderr."""
    assert made(kind, model=str(copied)).model is not None
    harm(copied)
    processor = made(kind, Script(), model=str(copied))
    with pytest.raises(ConfigurationError, match=reason) as refused:
        processor.load_model()
    assert "\n" not in str(refused.value)
    assert capfd.readouterr().err == ""


def test_without_onnxruntime_it_says_what_to_install(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigurationError, match=re.escape("needs onnxruntime: pip install 'alpha-cli[ml]'")):
        models.load(copied)


@pytest.mark.parametrize("name", ["directon", "../direction", "/etc/passwd", "direction.json"])
def test_a_packaged_model_that_is_not_there_is_answered_with_those_that_are(name: str) -> None:
    """A name is not a way around to other files."""
    with pytest.raises(ConfigurationError, match=re.escape(f"no packaged model {name!r}")):
        models.find(name)
    with pytest.raises(ConfigurationError, match="did you mean 'direction'"):
        models.find("directon")


def test_a_model_is_loaded_once_and_again_when_it_changed(copied: Path) -> None:
    """However many ask for it, by whatever path."""
    first = models.load(copied)
    assert models.load(copied.parent / ".." / copied.parent.name / copied.name) is first
    describe(copied, note="trained again")
    assert models.load(copied) is not first


def test_nothing_heavy_is_imported_before_a_model_is_loaded() -> None:
    """The start of a pipeline does not pay for a model that it has not."""
    program = (
        "import sys, alpha_cli.kit.models, alpha_cli.kit.features; "
        "print('numpy' in sys.modules, 'onnxruntime' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=DEADLINE, check=True, cwd=ROOT, env=environment()
    )
    assert done.stdout.split() == [b"False", b"False"]


def test_the_packaged_model_follows_what_rises_and_is_the_same_in_the_mirror() -> None:
    """It was trained on every day both ways up, so it has no opinion on a market that stands still."""
    model = models.load(models.find("direction"))
    assert model.probability(NEUTRAL) == pytest.approx(0.5, abs=0.01)
    rising = (-1.0, 0.5, 1.0, 1.5, 0.7, 1.0, 1.0)
    falling = (*(-one for one in rising[:4]), 0.3, -1.0, 1.0)
    assert model.probability(rising) > 0.6
    assert model.probability(rising) + model.probability(falling) == pytest.approx(1, abs=0.01)
    assert model.description.horizon == 20
    assert "no evidence that a market can be predicted" in model.description.note
    walk = model.description.measured["unseen_days_random_walk"]
    assert 0.48 < walk["accuracy"] < 0.52


def test_a_prediction_is_the_same_each_time() -> None:
    """Whatever was asked before, and by whichever session."""
    rows = [row for row in map(Features().update, (event.last_price for event in trending(200))) if row]
    model = models.load(models.find("direction"))
    first = [model.probability(row) for row in rows]
    assert [model.probability(row) for row in reversed(rows)] == first[::-1]
    models._ready.cache_clear()
    assert models.load(models.find("direction")) is not model
    assert [models.load(models.find("direction")).probability(row) for row in rows] == first
    assert len(set(first)) > 50


def test_an_answer_that_is_no_probability_is_an_error() -> None:
    """NaN would compare false with every threshold: silence for ever."""
    with pytest.raises(ValueError, match="which is no probability"):
        models.load(models.find("direction")).probability((math.nan,) * 7)


# --- the strategies --------------------------------------------------------------------------


def crossings(kind: str, *says: float, **parameters: Any) -> list[tuple[int, str]]:
    """What the strategy says when its model says this, from the first tick that has features."""
    events = [tick(at, 100 + at % 2) for at in range(PRICES_NEEDED - 1 + len(says))]
    said = answers(made(kind, Script(*says), **parameters), events)
    return [(place - PRICES_NEEDED + 1, answer.signal_type) for place, answer in said]


@pytest.mark.parametrize("kind", KINDS)
def test_it_speaks_where_the_probability_crosses_and_not_while_it_stays(kind: str) -> None:
    """Also from one side to the other; exactly at the threshold is inside; the first is no crossing."""
    bounds = {"buy_above": 0.75, "sell_below": 0.25}
    assert crossings(kind, 0.5, 0.8, 0.9, 0.5, 0.8, **bounds) == [(1, "BUY"), (4, "BUY")]
    assert crossings(kind, 0.5, 0.2, 0.1, 0.8, 0.1, **bounds) == [(1, "SELL"), (3, "BUY"), (4, "SELL")]
    assert crossings(kind, 0.5, 0.75, 0.25, 0.5, **bounds) == []
    assert crossings(kind, 0.9, 0.9, 0.5, **bounds) == []
    assert crossings(kind, 0.5, 0.71, 0.5, 0.29) == [(1, "BUY"), (3, "SELL")]


def test_the_hybrid_lets_go_what_rsi_forbids() -> None:
    """RSI of this market is about 50; a crossing that was let go does not come back."""
    assert crossings("hybrid_ml_rsi", 0.5, 0.9, 0.9, 0.1, rsi_buy_below=40) == [(3, "SELL")]
    assert crossings("hybrid_ml_rsi", 0.5, 0.9, 0.9, 0.1, rsi_sell_above=60) == [(1, "BUY")]


def test_the_hybrid_says_some_of_what_ml_momentum_says() -> None:
    """And what it says has an RSI that allows it; with the gates wide open it says everything."""
    day = [event for event in pipe("feed --mode ltp --ticks 8000 --instruments 256265") if isinstance(event, Tick)]
    both = {kind: answers(made(kind), day) for kind in KINDS}
    everything = [(place, answer.signal_type) for place, answer in both["ml_momentum"]]
    gated = [(place, answer.signal_type) for place, answer in both["hybrid_ml_rsi"]]
    assert 0 < len(gated) < len(everything)
    assert set(gated) < set(everything)
    rsi = RSI(14)
    strengths = [rsi.update(event.last_price) or 0.0 for event in day]
    allowed = [(at, side) for at, side in everything if (strengths[at] < 70 if side == "BUY" else strengths[at] > 30)]
    assert gated == allowed
    wide_open = answers(made("hybrid_ml_rsi", rsi_buy_below=100, rsi_sell_above=0), day)
    assert [(place, answer.signal_type) for place, answer in wide_open] == everything


@pytest.mark.parametrize("kind", KINDS)
def test_a_synthetic_day_and_a_real_one_give_tens_to_hundreds_of_signals(kind: str) -> None:
    """As packaged, an instrument and day; neither silence nor a signal a second."""
    commands = ["feed --mode ltp --instruments 256265"]
    recording = shared("nifty50-1s-2022") / "2022-08-12.csv.gz"
    commands.append(f"feed {recording} --columns timestamp,last_price --instrument-token {NIFTY}")
    for command in commands:
        signals = [event for event in pipe(f"{command} | run-strategy {kind}") if isinstance(event, Signal)]
        assert 10 < len(signals) < 1000
        assert {one.signal_type for one in signals} == {"BUY", "SELL"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("price", [100.0, 0.1, 1e-4, 9.9e11])
def test_a_market_that_stands_still_gives_no_signal(kind: str, price: float) -> None:
    """Zero volatility: the features are neutral, and so is the model."""
    assert answers(made(kind), [tick(at, price) for at in range(200)]) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", [1000, 1 / 1000])
def test_an_extreme_move_gives_signals_that_are_in_order(kind: str, factor: float) -> None:
    """A price times or through a thousand, there and back: nothing overflows."""
    calm = [100 + at * 7 % 11 / 10 for at in range(100)]
    prices = [*calm, *(price * factor for price in calm), *calm]
    for _, answer in answers(made(kind), [tick(at, price) for at, price in enumerate(prices)]):
        assert answer.confidence is not None
        assert 0.7 <= answer.confidence <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_carries_what_was_configured_and_why(kind: str) -> None:
    """Confidence is the model's own; a LIMIT signal has the price of its tick."""
    processor = made(kind, Script(0.5, 0.1234), quantity=75, order_type="LIMIT", product="NRML")
    events = [tick(at, 100 + at % 2) for at in range(PRICES_NEEDED + 1)]
    ((_, answer),) = answers(processor, events)
    assert (answer.quantity, answer.order_type, answer.product) == (75, "LIMIT", "NRML")
    assert answer.price == events[-1].last_price
    assert answer.confidence == pytest.approx(1 - 0.1234)
    assert answer.reasoning is not None
    assert answer.reasoning.startswith("probability of a rise 0.1234, below 0.3")
    assert ("RSI " in answer.reasoning) == (kind == "hybrid_ml_rsi")


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_model_it_does_not_pretend(kind: str) -> None:
    """Nothing is read before `load_model`; a tick without one is an error that says what to do."""
    processor: Any = made(kind, Script(), model="/nowhere/none.onnx")
    processor.model = None
    with pytest.raises(RuntimeError, match="call load_model"):
        answers(processor, trending(100))


@pytest.mark.parametrize("kind", KINDS)
def test_ticks_without_a_volume_will_do(kind: str) -> None:
    """An index has none. Only token, time and price are looked at."""
    assert made(kind).tick_fields == ()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("buy_above", [0.301, 0.999], [0, 1, -1, float("nan"), "x"]),
        ("sell_below", [0.001, 0.699], [0, 0.7, 0.9, 1, float("nan")]),
        ("quantity", [1, 1_000_000], [0, 1_000_001, 1.5]),
        ("order_type", ["MARKET", "LIMIT"], ["SL", 1]),
        ("product", ["MIS", "CNC", "NRML"], ["BO", None]),
        ("model", ["direction"], ["", 7, None]),
        ("rsi_period", [2, 10_000], [1, 10_001, 2.5]),
        ("rsi_buy_below", [0.1, 100], [0, 100.1, float("nan")]),
        ("rsi_sell_above", [0, 99.9], [-0.1, 100, float("nan")]),
    ],
)
def test_each_bound_of_each_parameter_holds(kind: str, name: str, inside: list[Any], outside: list[Any]) -> None:
    """One line that names strategy, parameter and value."""
    if name.startswith("rsi") and kind == "ml_momentum":
        with pytest.raises(ConfigurationError, match=f"no parameter '{name}'"):
            made(kind, Script(), **{name: 1})
        return
    for value in inside:
        assert made(kind, Script(), **{name: value})
    for value in outside:
        with pytest.raises(ConfigurationError) as refused:
            made(kind, Script(), **{name: value})
        assert f"strategy {kind}: parameter {name}: " in str(refused.value)
        assert repr(value) in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", KINDS)
@given(cut=st.integers(0, 300), seed=st.integers(0, 80))
def test_it_goes_on_from_a_snapshot(kind: str, cut: int, seed: int) -> None:
    """Cut anywhere, kept as JSON: the signals of a run without a cut."""
    events = trending(300, seed)
    whole, first, second = (made(kind, **WIDE[kind]) for _ in range(3))
    expected = answers(whole, events)
    assert expected
    before = answers(first, events[:cut])
    second.restore(json.loads(json.dumps(first.snapshot())))
    assert before + [(cut + place, answer) for place, answer in answers(second, events[cut:])] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_the_snapshot_of_something_else_is_refused(kind: str) -> None:
    """By its parts, and by theirs."""
    processor = made(kind)
    for state in ({}, {"rsi": {}}, made("ml_momentum").snapshot() | {"more": 1}):
        with pytest.raises(ValueError, match="not a state of"):
            processor.restore(state)


@pytest.mark.parametrize("kind", KINDS)
def test_warmed_up_it_is_ready_at_once(kind: str) -> None:
    """With all earlier ticks it says what it would have said; whatever it knew before is forgotten."""
    events = trending(300)
    rebuilt = made(kind, **WIDE[kind])
    expected = answers(made(kind, **WIDE[kind]), events)
    answers(rebuilt, events[7:90])
    rebuilt.warmup(events[:150])
    later = [(150 + place, answer) for place, answer in answers(rebuilt, events[150:])]
    assert later == [one for one in expected if one[0] >= 150] != []


@pytest.mark.parametrize("kind", KINDS)
def test_instruments_that_alternate_share_a_model_and_nothing_else(kind: str, tmp_path: Path) -> None:
    """Two instruments interleaved give the signals that each gives alone; twice the same bytes."""
    config = tmp_path / f"{kind}.yaml"
    config.write_text(f"id: {kind}\nstrategy_type: {kind}\ninstruments: [{NIFTY}, {BANK}]\n")
    feed = "feed --mode ltp --ticks 4000 --instruments"
    nifty, bank = ([one for one in pipe(f"{feed} {token}") if isinstance(one, Tick)] for token in (NIFTY, BANK))

    def signals(events: Sequence[Tick]) -> list[Signal]:
        return [one for one in replay(events, f"run-strategy --config {config} -q") if isinstance(one, Signal)]

    together = [one for pair in zip(nifty, bank, strict=True) for one in pair]
    mixed = signals(together)
    assert mixed == signals(together)
    for token, alone in ((NIFTY, nifty), (BANK, bank)):
        assert [one for one in mixed if one.instrument_token == token] == signals(alone) != []


@pytest.mark.parametrize("kind", KINDS)
def test_the_packaged_configuration_loads(kind: str) -> None:
    """With the packaged model."""
    processor: Any = create_processor(load_by_name(kind))
    assert processor.load_model()
    assert processor.model is models.load(models.find("direction"))


# --- training --------------------------------------------------------------------------------


@pytest.mark.nightly  # trains two models, which takes long
def test_training_twice_writes_the_same_bytes_and_a_model_that_loads(tmp_path: Path) -> None:
    """Whatever the order of hashes is; and it is honest about the random walk."""
    pytest.importorskip("sklearn")
    pytest.importorskip("skl2onnx")
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "--days", "1", "--ticks", "1500", "--output"]
    runs = [
        subprocess.Popen(
            [*command, str(tmp_path / seed)], env=environment({"PYTHONHASHSEED": seed}), stdout=subprocess.PIPE
        )
        for seed in ("1", "2")
    ]
    said = [run.communicate(timeout=2 * DEADLINE)[0].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert said[0] == said[1]
    assert re.search(r"unseen_days_random_walk .*accuracy 0\.\d+ .*log_loss 0\.\d+", said[0])
    for file in ("direction.onnx", "direction.json"):
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes()
    model = models.load(tmp_path / "1" / "direction.onnx")
    assert model.description.features == FEATURES
    assert model.description.trained_on["command"] == "scripts/train --days 1 --ticks 1500"
    assert 0 <= model.probability(NEUTRAL) <= 1
    assert str(tmp_path) not in (tmp_path / "1" / "direction.json").read_text()
    assert (tmp_path / "1" / "direction.onnx").stat().st_size < 4096


def test_the_wrapper_runs_the_script() -> None:
    """`scripts/train` is there to be run."""
    wrapper = ROOT / "scripts" / "train"
    assert os.access(wrapper, os.X_OK)
    assert "train.py" in wrapper.read_text()
