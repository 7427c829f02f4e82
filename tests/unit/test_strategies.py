"""The shipped strategies: what they say of a series of prices, and that they are pure."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given, strategies as st
from support.events import BANK, NIFTY, tick

from alpha_cli.config.files import find_config, packaged
from alpha_cli.core.codec import encode
from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.events import Signal, Tick
from alpha_cli.stages.run_strategy.config import StrategyConfig, load_file
from alpha_cli.stages.run_strategy.engine import StrategyRunner
from alpha_cli.stages.run_strategy.executor import Strategy
from alpha_cli.stages.run_strategy.factory import create_processor

Said = list[tuple[int, str]]  # (index of the tick, side)


#: Those that look back over ticks; the others have tests of their own in test_rsi_strategies and test_ml.
BY_RETURN = ["momentum", "mean_reversion"]


def configuration(kind: str, parameters: dict[str, Any], max_history: int = 100) -> StrategyConfig:
    return StrategyConfig(
        id=kind, strategy_type=kind, parameters=parameters, instruments=(NIFTY,), max_history=max_history
    )


def signals(kind: str, events: Sequence[Tick], tokens: Sequence[int] = (NIFTY,), **parameters: Any) -> list[Signal]:
    """The signals of a strategy of type `kind` that follows `tokens`."""
    problems: list[str] = []
    runner = StrategyRunner(report=problems.append)
    config = configuration(kind, parameters)
    runner.roster.add(Strategy(config.model_copy(update={"instruments": tuple(tokens)}), ["paper"]))
    made: list[Any] = [event for one in events for event in runner.on_tick(one)]
    assert not problems
    return made


def said(kind: str, prices: Sequence[float], **parameters: Any) -> Said:
    """When the strategy spoke on `prices`, one tick a second, and what it said."""
    start = tick().timestamp
    made = signals(kind, [tick(at, price) for at, price in enumerate(prices)], **parameters)
    return [(int((one.timestamp - start).total_seconds()), one.signal_type) for one in made]


# --- momentum --------------------------------------------------------------------------------


def test_momentum_speaks_on_the_crossing_and_not_while_the_price_stays_beyond() -> None:
    """One signal for each excursion; coming back inside arms it again."""
    prices = [100, 100, 102, 104, 106, 106, 106, 109]
    assert said("momentum", prices, lookback=1, threshold=0.01) == [(2, "BUY"), (7, "BUY")]


def test_momentum_sells_when_the_return_crosses_below() -> None:
    """The other direction, mirrored; a jump from one side to the other is a crossing."""
    assert said("momentum", [100, 98, 96, 96, 94], lookback=1, threshold=0.01) == [(1, "SELL"), (4, "SELL")]
    assert said("momentum", [100, 103, 99, 103], lookback=1, threshold=0.01) == [(1, "BUY"), (2, "SELL"), (3, "BUY")]


@pytest.mark.parametrize("last", [125.0, 75.0])
def test_momentum_at_exactly_the_threshold_says_nothing(last: float) -> None:
    """Beyond means beyond: a return of exactly the threshold (a power of two, so exact) is inside."""
    assert said("momentum", [100, last], lookback=1, threshold=0.25) == []
    assert said("momentum", [100, last + (0.01 if last > 100 else -0.01)], lookback=1, threshold=0.25) != []


def test_momentum_speaks_as_soon_as_the_lookback_is_reached() -> None:
    """With lookback n the first tick that can speak is the one after n ticks, and it looks exactly n back."""
    prices = [100, 110, 110, 110, 110]
    assert said("momentum", prices, lookback=3, threshold=0.05) == [(3, "BUY")]
    assert said("momentum", prices, lookback=4, threshold=0.05) == [(4, "BUY")]
    assert said("momentum", prices, lookback=5, threshold=0.05) == []


@pytest.mark.parametrize("kind", BY_RETURN)
def test_a_price_that_never_varies_gives_no_signal(kind: str) -> None:
    """Zero volatility: no return, no deviation, and no division by it; also where 0.1 is not exact."""
    for price in (100.0, 0.1, 1e-4, 9.9e11, 25_000.05):
        assert said(kind, [price] * 120) == []


@pytest.mark.parametrize("kind", BY_RETURN)
def test_an_extreme_move_is_one_signal_with_confidence_one(kind: str) -> None:
    """From the smallest to the largest price the wire allows nothing overflows."""
    start = [0.01] * 99
    (up,) = signals(kind, [tick(at, price) for at, price in enumerate([*start, 9.9e11])])
    (down,) = signals(kind, [tick(at, price) for at, price in enumerate([*[9.9e11] * 99, 0.01])])
    assert up.confidence == down.confidence == 1
    assert {up.signal_type, down.signal_type} == {"BUY", "SELL"}


def reference_momentum(prices: Sequence[float], lookback: int, threshold: float) -> Said:
    """Slow and obvious: which side of the threshold is each tick on, and where does that change?"""
    sides = [""] * lookback
    for now, past in zip(prices[lookback:], prices, strict=False):
        change = now / past - 1
        sides.append("BUY" if change > threshold else "SELL" if change < -threshold else "")
    return [(i, side) for i, side in enumerate(sides) if side and (i == 0 or side != sides[i - 1])][: len(prices)]


paise = st.integers(9_500, 10_500).map(lambda number: number / 100)


@given(st.lists(paise, max_size=80), st.integers(1, 12), st.sampled_from([0.0005, 0.003, 0.02]))
def test_momentum_agrees_with_a_slow_reference(prices: list[float], lookback: int, threshold: float) -> None:
    """For any series of prices."""
    expected = reference_momentum(prices, lookback, threshold)
    assert said("momentum", prices, lookback=lookback, threshold=threshold) == expected


# --- mean reversion --------------------------------------------------------------------------


def test_mean_reversion_leans_against_the_price_on_the_crossing_only() -> None:
    """Far above its mean it sells, far below it buys, and says nothing while the price stays out there."""
    calm = [100, 101] * 5
    assert said("mean_reversion", [*calm, 110], lookback=10, threshold=2) == [(10, "SELL")]
    assert said("mean_reversion", [*calm, 91], lookback=10, threshold=2) == [(10, "BUY")]
    assert said("mean_reversion", [*calm, 110, 125], lookback=10, threshold=1.5) == [(10, "SELL")]


def test_mean_reversion_uses_the_population_deviation_and_counts_the_newest_price() -> None:
    """Of 1, 1, 1, 5 the mean is 2, the deviation sqrt(3), so z is exactly sqrt(3); the sample one gives 1.5."""
    assert said("mean_reversion", [1, 1, 1, 5], lookback=4, threshold=1.73) == [(3, "SELL")]
    assert said("mean_reversion", [1, 1, 1, 5], lookback=4, threshold=1.74) == []


def test_mean_reversion_at_exactly_the_threshold_says_nothing() -> None:
    """Of 2, 2, 2, 2, 7 the mean is 3 and the deviation 2: z is exactly 2."""
    assert said("mean_reversion", [2, 2, 2, 2, 7], lookback=5, threshold=2) == []
    assert said("mean_reversion", [2, 2, 2, 2, 7], lookback=5, threshold=1.99) == [(4, "SELL")]


def test_mean_reversion_speaks_as_soon_as_the_lookback_is_reached() -> None:
    """A lookback of n needs n prices, the newest included."""
    prices = [1, 1, 1, 5]
    assert said("mean_reversion", prices, lookback=4, threshold=1) == [(3, "SELL")]
    assert said("mean_reversion", prices, lookback=5, threshold=1) == []


def reference_mean_reversion(prices: Sequence[float], lookback: int, threshold: float) -> Said:
    """Slow and obvious, in exact fractions: z² against threshold², by the definition of both."""
    sides: list[str] = []
    for end in range(1, len(prices) + 1):
        window = [Fraction(price) for price in prices[:end][-lookback:]]
        mean = sum(window) / len(window)
        variance = sum((price - mean) ** 2 for price in window) / len(window)
        off, limit = (window[-1] - mean) ** 2, Fraction(threshold) ** 2 * variance
        assume(variance == 0 or abs(off / variance / Fraction(threshold) ** 2 - 1) > Fraction(1, 10**9))
        out = len(window) == lookback and off > limit
        sides.append(("SELL" if window[-1] > mean else "BUY") if out else "")
    return [(i, side) for i, side in enumerate(sides) if side and (i == 0 or side != sides[i - 1])]


@given(st.lists(paise, max_size=40), st.integers(3, 10), st.sampled_from([0.61, 1.13, 1.77, 2.49]))
def test_mean_reversion_agrees_with_a_slow_reference(prices: list[float], lookback: int, threshold: float) -> None:
    """For any series of prices, but for z so near the threshold that rounding decides."""
    expected = reference_mean_reversion(prices, lookback, threshold)
    assert said("mean_reversion", prices, lookback=lookback, threshold=threshold) == expected


def spiky(at: int) -> float:
    """Calm prices with a spike now and then, so that both strategies speak."""
    return 100 + at * 7 % 11 / 10 + (6 + at % 5 if at % 37 == 36 else 0)


# --- both ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BY_RETURN)
def test_instruments_that_alternate_do_not_mix(kind: str) -> None:
    """Two instruments interleaved give the signals that each gives alone."""
    nifty = [tick(at, spiky(at), NIFTY) for at in range(200)]
    bank = [tick(at, 50_000 - 90 * spiky(at + 9), BANK) for at in range(200)]
    mixed = signals(kind, [one for pair in zip(nifty, bank, strict=True) for one in pair], (NIFTY, BANK))
    for token, alone in ((NIFTY, nifty), (BANK, bank)):
        expected = signals(kind, alone, (token,))
        assert expected
        assert [one for one in mixed if one.instrument_token == token] == expected


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [("momentum", {"lookback": 20, "threshold": 0.0005}), ("mean_reversion", {"lookback": 50, "threshold": 2.5})],
)
def test_no_parameters_mean_the_documented_ones(kind: str, parameters: dict[str, Any]) -> None:
    """`parameters: {}`, as shipped, is the lookback, threshold, quantity, order type and product on the label."""
    events = [tick(at, spiky(at)) for at in range(400)]
    written = signals(kind, events, **parameters, quantity=1, order_type="MARKET", product="MIS")
    assert signals(kind, events) == written != []
    assert load_file(find_config(f"strategies/{kind}.yaml")).parameters == {}
    assert all(one.reasoning and f" {parameters['lookback']} ticks" in one.reasoning for one in written)


@pytest.mark.parametrize("kind", BY_RETURN)
def test_a_signal_carries_what_was_configured_and_why(kind: str) -> None:
    """Quantity, order type, product; a LIMIT signal has the price of its tick; reasoning is for people."""
    prices = [100 + at % 2 for at in range(60)] + [150]
    events = [tick(at, price) for at, price in enumerate(prices)]
    made = signals(kind, events, quantity=75, order_type="LIMIT", product="NRML", lookback=10)
    one = made[-1]
    assert (one.quantity, one.order_type, one.product, str(one.price)) == (75, "LIMIT", "NRML", "150")
    assert one.timestamp == events[-1].timestamp
    assert one.confidence is not None
    assert 0 < one.confidence <= 1
    assert one.reasoning
    assert "10 ticks" in one.reasoning


def create(kind: str, parameters: dict[str, Any]) -> Callable[..., Any]:
    return create_processor(configuration(kind, parameters, max_history=20_000)).process_tick


@pytest.mark.parametrize(
    ("kind", "name", "inside", "outside"),
    [
        ("momentum", "lookback", [1, 10_000], [0, -1, 10_001, 2.5, "many", None, [1]]),
        ("momentum", "threshold", [1e-9, 0.9999], [0, -0.1, 1, float("nan"), float("inf"), "x"]),
        ("mean_reversion", "lookback", [3, 10_000], [2, 10_001, None]),
        ("mean_reversion", "threshold", [0.01, 10], [0, 10.01, float("nan"), float("-inf")]),
        *(
            case
            for kind in ("momentum", "mean_reversion")
            for case in (
                (kind, "quantity", [1, 1_000_000], [0, -5, 1_000_001, 1.5]),
                (kind, "order_type", ["MARKET", "LIMIT"], ["SL", "SL-M", "market", 1]),
                (kind, "product", ["MIS", "CNC", "NRML"], ["BO", "mis", None]),
            )
        ),
    ],
)
def test_each_bound_of_each_parameter_holds(kind: str, name: str, inside: list[Any], outside: list[Any]) -> None:
    """The bound itself is taken; one beyond is refused by one line that names strategy, parameter and value."""
    for value in inside:
        assert create(kind, {name: value})
    for value in outside:
        with pytest.raises(ConfigurationError) as refused:
            create(kind, {name: value})
        message = str(refused.value)
        assert f"strategy {kind}: parameter {name}: " in message
        assert "\n" not in message
        assert repr(value) in message
        assert refused.value.exit_code == 78


@pytest.mark.parametrize("kind", BY_RETURN)
def test_a_misspelt_parameter_is_answered_with_the_near_one(kind: str) -> None:
    """A typo never silently means the default."""
    with pytest.raises(ConfigurationError, match=r"no parameter 'lookbak', did you mean 'lookback'\?"):
        create(kind, {"lookbak": 3})


@pytest.mark.parametrize(("kind", "needed"), [("momentum", 101), ("mean_reversion", 100)])
def test_a_lookback_that_the_history_cannot_hold_is_refused(kind: str, needed: int) -> None:
    """Otherwise the strategy would stay silent for ever, and nobody would know why."""
    with pytest.raises(ConfigurationError, match=f"needs {needed} ticks of history, max_history is {needed - 1}"):
        create_processor(configuration(kind, {"lookback": 100}, max_history=needed - 1))
    assert create_processor(configuration(kind, {"lookback": 100}, max_history=needed))


PURE = {"__future__", "collections", "collections.abc", "itertools", "math", "pydantic", "typing"}
PURE_NAMES = {"ModelParameters", "ModelStrategy", "OrderParameters", "PRICES_NEEDED", "RSI", "SignalResult", "Tick"}
IMPURE_NAMES = {
    "open",
    "print",
    "input",
    "exec",
    "eval",
    "compile",
    "__import__",
    "globals",
    "id",
    "hash",
    "breakpoint",
}


@pytest.mark.parametrize("file", sorted(path.name for path in packaged("strategies").glob("*.py")))
def test_a_shipped_strategy_imports_nothing_that_reads_writes_or_tells_the_time(file: str) -> None:
    """Purity by construction: only arithmetic, containers and names of the public face that are pure."""
    for node in ast.walk(ast.parse((packaged("strategies") / file).read_text())):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= PURE
        elif isinstance(node, ast.ImportFrom) and node.module == "alpha_cli":
            assert {alias.name for alias in node.names} <= PURE_NAMES
        elif isinstance(node, ast.ImportFrom):
            assert node.module in PURE
        elif isinstance(node, ast.Name):
            assert node.id not in IMPURE_NAMES


@pytest.mark.parametrize("kind", BY_RETURN)
@given(data=st.lists(paise, max_size=60))
def test_the_same_ticks_give_the_same_bytes(kind: str, data: list[float]) -> None:
    """Nothing is kept between runs and nothing is left to chance."""
    events = [tick(at, price) for at, price in enumerate(data)]
    first, second = (signals(kind, events, lookback=5, threshold=0.7) for _ in range(2))
    assert list(map(encode, first)) == list(map(encode, second))


# --- names of older configurations -----------------------------------------------------------

ALIASES = [
    ("momentum", "lookback", 7, ("window", "lookback_period")),
    ("momentum", "threshold", 0.003, ("momentum_threshold",)),
    ("mean_reversion", "lookback", 7, ("window", "lookback_period")),
    ("mean_reversion", "threshold", 1.5, ("deviation_threshold", "entry_threshold")),
]


@pytest.mark.parametrize(("kind", "name", "value", "aliases"), ALIASES)
def test_an_older_name_means_the_same(kind: str, name: str, value: float, aliases: Sequence[str]) -> None:
    """The same signals to the last byte."""
    events = [tick(at, spiky(at)) for at in range(400)]
    expected = signals(kind, events, **{name: value})
    assert expected != signals(kind, events)
    for alias in aliases:
        assert signals(kind, events, **{alias: value}) == expected


@pytest.mark.parametrize(("kind", "name", "value", "aliases"), ALIASES)
def test_a_parameter_given_under_two_names_is_refused(
    kind: str, name: str, value: float, aliases: Sequence[str]
) -> None:
    """Also where both say the same: one of them will be edited one day and do nothing."""
    for alias in aliases:
        with pytest.raises(
            ConfigurationError, match=f"{name} and {alias} are the same parameter, {name}; give it once"
        ):
            create(kind, {name: value, alias: value})
    for one, other in pairwise(aliases):
        with pytest.raises(ConfigurationError, match=f"{one} and {other} are the same parameter, {name}"):
            create(kind, {one: value, other: value})


@pytest.mark.parametrize(("kind", "name", "value", "aliases"), ALIASES)
def test_what_is_wrong_under_an_older_name_is_told_with_the_name_of_today(
    kind: str, name: str, value: float, aliases: Sequence[str]
) -> None:
    """So that a mended configuration is also a newer one."""
    for alias in aliases:
        with pytest.raises(ConfigurationError, match=f"strategy {kind}: parameter {name}: .*, got -1"):
            create(kind, {alias: -1})


# --- mean reversion that leaves --------------------------------------------------------------

CALM = [100, 101] * 5


def test_with_an_exit_threshold_mean_reversion_leaves_once_the_price_is_back() -> None:
    """One exit for an entry, and no second entry before it."""
    prices = [*CALM, 110, 100, 100, 110, 100, 100]
    entries = [(10, "SELL"), (13, "SELL")]
    assert said("mean_reversion", prices, lookback=10, threshold=1.5) == entries
    bounds = {"lookback": 10, "threshold": 1.5, "exit_threshold": 0.5}
    assert said("mean_reversion", prices, **bounds) == [(10, "SELL"), (11, "BUY"), (13, "SELL"), (14, "BUY")]
    down = [201 - price for price in prices]
    assert said("mean_reversion", down, **bounds) == [(10, "BUY"), (11, "SELL"), (13, "BUY"), (14, "SELL")]


def test_past_the_mean_is_back_too() -> None:
    """A jump to the far side closes what is open; it does not open the opposite."""
    assert said("mean_reversion", [*CALM, 110, 60], lookback=10, threshold=1.5, exit_threshold=0.1) == [
        (10, "SELL"),
        (11, "BUY"),
    ]


def test_exactly_at_the_exit_threshold_is_back() -> None:
    """Of 1000, 1000, 1030, 1010 the mean is 1010: z is exactly 0. The reason of an exit says that it is one."""
    bounds = {"lookback": 4, "threshold": 1.6, "exit_threshold": 0}
    prices = [1000, 1000, 1000, 1030, 1010]
    assert said("mean_reversion", [*prices[:-1], 1010.05], **bounds) == [(3, "SELL")]
    entry, leave = signals("mean_reversion", [tick(at, price) for at, price in enumerate(prices)], **bounds)
    assert entry.reasoning is not None
    assert "exit" not in entry.reasoning
    assert leave.reasoning == "exit: +0.000 standard deviations from the mean of 4 ticks, exit_threshold 0.0"
    assert (leave.signal_type, leave.timestamp, leave.confidence) == ("BUY", tick(4).timestamp, 1)


@given(st.lists(paise, max_size=80), st.sampled_from([0.0, 0.3, 0.6]))
def test_entries_and_exits_take_turns(prices: list[float], bound: float) -> None:
    """Entries are some of those without an exit, each is followed by its opposite, and the end may be open."""
    events = [tick(at, price) for at, price in enumerate(prices)]
    plain = signals("mean_reversion", events, lookback=6, threshold=1.13)
    made = signals("mean_reversion", events, lookback=6, threshold=1.13, exit_threshold=bound)
    assert [str(one.reasoning).startswith("exit") for one in made] == [bool(at % 2) for at in range(len(made))]
    assert all(one in plain for one in made[::2])
    assert made[:1] == plain[:1]
    assert all(out.signal_type != into.signal_type for into, out in zip(made[::2], made[1::2], strict=False))


@given(st.integers(0, 200))
def test_mean_reversion_remembers_whether_it_is_in(cut: int) -> None:
    """Cut anywhere, kept as JSON: the signals of a run without a cut."""
    prices = [spiky(at) for at in range(200)]

    def run(processor: Any, first: int, last: int) -> list[Any]:
        return [
            processor.process_tick(
                tick(at, prices[at]), [tick(past, prices[past]) for past in range(max(at - 9, 0), at)]
            )
            for at in range(first, last)
        ]

    config = configuration("mean_reversion", {"lookback": 9, "threshold": 2, "exit_threshold": 0.5})
    processors: list[Any] = [create_processor(config) for _ in range(3)]
    whole, first, second = processors
    expected = run(whole, 0, 200)
    assert sum(one is not None for one in expected) >= 4
    before = run(first, 0, cut)
    second.restore(json.loads(json.dumps(first.snapshot())))
    assert before + run(second, cut, 200) == expected


def test_mean_reversion_without_an_exit_threshold_cannot_be_stuck_in_an_entry() -> None:
    """A state from when there was one does not silence it; one that is none is refused."""
    plain: Any = create_processor(configuration("mean_reversion", {"lookback": 10, "threshold": 2}))
    plain.restore({"entered": 1})
    history = [tick(at, price) for at, price in enumerate(CALM)]
    assert plain.process_tick(tick(10, 110), history).signal_type == "SELL"
    for bad in ({}, {"entered": 2}, {"entered": None}, {"entered": 0, "more": 1}):
        with pytest.raises(ValueError, match="not a state of mean_reversion"):
            plain.restore(bad)


def test_the_exit_lies_within_the_entry() -> None:
    """Otherwise it would leave as it enters."""
    for bad in (-0.1, 2.5, 3, 11, float("nan"), "x"):
        with pytest.raises(ConfigurationError, match="parameter exit_threshold: "):
            create("mean_reversion", {"exit_threshold": bad})
    with pytest.raises(ConfigurationError, match=r"must be below threshold, which is 1, got 1"):
        create("mean_reversion", {"entry_threshold": 1, "exit_threshold": 1})
    for good in (None, 0, 2.49):
        assert create("mean_reversion", {"exit_threshold": good})
