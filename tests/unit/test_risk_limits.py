"""What risk.yaml may say: its four levels, of which the tightest holds; its errors; its hash."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, strategies as st
from msgspec.structs import asdict
from support.events import BANK, NIFTY, START, signal, stream, tick
from support.processes import run_alpha
from support.risk_files import (
    ALL_PAIRS,
    FUNDS,
    FUTURE,
    INFY,
    LIVE,
    MASTER,
    MORE_PAIRS,
    PAIRS,
    PLACE_IDS,
    PLACES,
    SETTINGS,
    codes,
    decide,
    engine,
    file_of,
    live,
    paper,
    refused,
)

from alpha_cli.core.codec import decode
from alpha_cli.core.events import Denial, Order
from alpha_cli.market.contracts import Contracts
from alpha_cli.market.instruments import Instrument, Master
from alpha_cli.stages.risk.config import HIGHEST_ORDER_VALUE, BrokerLevel, OneInstrument, RiskFile, load_limits
from alpha_cli.stages.risk.controls.table import active_controls
from alpha_cli.stages.risk.limits import TIGHTER, Limits, fits, tightest
from alpha_cli.stages.risk.resolve import Levels, limits_hash, of_level

# --- of several levels the tightest ----------------------------------------------------------


def comparable(limits: Limits) -> dict[str, Any]:
    """What is set of `limits`; of lists that must all have the instrument, the order means nothing."""
    found = {name: value for name, value in asdict(limits).items() if value is not None}
    if "allowed_instruments" in found:
        found["allowed_instruments"] = frozenset(found["allowed_instruments"])
    return found


def test_no_setting_is_forgotten() -> None:
    """Each that can be written at any level is one that is compared, and one of the pairs here; but for sizing."""
    written = {name for level in set(PLACES.values()) for name in level.model_fields}
    assert written - {"sizing"} == set(TIGHTER) == set(PAIRS) == set(asdict(Limits()))


@pytest.mark.parametrize("setting", list(TIGHTER))
def test_the_tighter_of_two_levels_holds_whichever_it_stands_at(setting: str) -> None:
    """For every setting and every two levels that may have it, in both directions; by itself a level holds as it is."""
    loose, tight = PAIRS[setting]
    places = [place for place, level in PLACES.items() if setting in level.model_fields]
    assert len(places) > 1
    alone = [together(file_of((places[0], setting, value))) for value in (loose, tight)]
    assert alone[0] != alone[1]
    for one in places:
        for value, expected in zip((loose, tight), alone, strict=True):
            assert together(file_of((one, setting, value))) == expected
        for other in places:
            if one != other:
                assert together(file_of((one, setting, loose), (other, setting, tight))) == alone[1]


def together(file: RiskFile) -> dict[str, Any]:
    """What holds for NIFTY; a list of instruments as those that are on every list."""
    found = comparable(Levels(file).together("paper", "test", NIFTY, f"NSE:{NIFTY}"))
    if "allowed_instruments" in found:
        found["allowed_instruments"] = frozenset.intersection(*found["allowed_instruments"])
    return found


@pytest.mark.parametrize(("setting", "loose", "tight"), ALL_PAIRS)
def test_values_of_one_setting_are_put_together_number_by_number(setting: str, loose: Any, tight: Any) -> None:
    """The looser beside the tighter changes nothing, whichever comes first."""
    level = BrokerLevel if setting in BrokerLevel.model_fields else OneInstrument
    one, other = (of_level(level(**{setting: value})) for value in (loose, tight))
    if setting == "allowed_instruments":  # every list must have the instrument
        names = {frozenset(loose), frozenset(tight)}
        assert comparable(tightest([one, other])) == comparable(tightest([other, one])) == {setting: frozenset(names)}
    else:
        assert tightest([one, other]) == tightest([other, one]) == other


def test_where_neither_of_two_levels_is_tighter_each_number_is_the_tighter() -> None:
    """Five a second from the account, and fifty a minute from the strategy: both hold."""
    file = file_of(
        (("account", None), "message_rate", {"second": 5, "minute": 400, "day": 900}),
        (("strategies", "test"), "message_rate", {"second": 9, "minute": 50, "day": 5000}),
        (("account", None), "products", ["MIS", "CNC"]),
        (("strategies", "test"), "products", ["CNC", "NRML"]),
        (("account", None), "price_tolerance", {"equity": 0.01}),
        (("instruments", str(NIFTY)), "price_tolerance", {"equity": 0.02, "option": 0.1}),
        (("account", None), "allowed_instruments", ["NSE:*"]),
        (("strategies", "test"), "allowed_instruments", [str(BANK), str(NIFTY)]),
        (("account", None), "restricted_instruments", ["1"]),
        (("brokers", "paper"), "restricted_instruments", ["2"]),
    )
    found = Levels(file).together("paper", "test", NIFTY, f"NSE:{NIFTY}")
    assert found.message_rate == (5, 50, 900)
    assert found.products == {"CNC"}
    assert found.price_tolerance == (10_000, None, None, 100_000)
    assert set(found.allowed_instruments or ()) == {frozenset({"NSE:*"}), frozenset({str(BANK), str(NIFTY)})}
    assert found.restricted_instruments == {"1", "2"}


def test_of_two_words_that_of_the_wider_level_holds() -> None:
    """An algo_id is neither tighter nor looser than another; only `off` is looser than any."""
    words = [(("account", None), "algo_id", "WIDE"), (("brokers", "paper"), "algo_id", "NARROW")]
    assert Levels(file_of(*words)).together("paper", "test", NIFTY, "").algo_id == "WIDE"


_COUNT = st.integers(1, 4)
_MAYBE = st.none() | _COUNT
_NAMES = st.frozensets(st.sampled_from("abcd"))
#: setting -> any of its values, as they are compared.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(TIGHTER, _COUNT),
    **dict.fromkeys(
        (
            "session_hours", "expiry_day_entries", "self_match_prevention", "assume_market_fills", "circuit_limits",
            "reconcile",
        ),
        st.booleans(),
    ),
    "market_protection": st.integers(0, 4),
    "price_tolerance": st.tuples(_MAYBE, _MAYBE, _MAYBE, _MAYBE),
    "entry_window": st.tuples(_COUNT, _COUNT),
    "products": _NAMES,
    "order_types": _NAMES,
    "participation": st.just(False) | st.tuples(_MAYBE, _MAYBE),
    "allowed_instruments": st.lists(_NAMES, min_size=1, max_size=3, unique=True).map(tuple),
    "restricted_instruments": _NAMES,
    "repeated_execution": st.tuples(_COUNT, _COUNT, _COUNT),
    "message_rate": st.tuples(_COUNT, _COUNT, _COUNT),
    "orders_to_trades": st.tuples(_COUNT, _COUNT),
    "algo_id": st.sampled_from([False, "A", "B"]),
    "registered_ip": st.sampled_from([False, "10.0.0.1", "10.0.0.2"]),
}  # fmt: skip
WORDS = ("algo_id", "registered_ip")
any_limits = st.fixed_dictionaries({}, optional=VALUES).map(lambda values: Limits(**values))


@given(any_limits, any_limits, any_limits)
def test_how_levels_are_grouped_does_not_matter(one: Limits, two: Limits, three: Limits) -> None:
    """Associative, so three levels are the same whichever two are put together first; for all settings at once."""
    whole = comparable(tightest([one, two, three]))
    assert comparable(tightest([tightest([one, two]), three])) == whole
    assert comparable(tightest([one, tightest([two, three])])) == whole


@given(any_limits, any_limits)
def test_the_order_of_levels_does_not_matter(one: Limits, two: Limits) -> None:
    """Commutative, but for words, of which the first stands."""
    both, turned = comparable(tightest([one, two])), comparable(tightest([two, one]))
    for word in WORDS:
        assert (both.pop(word, None) is None) == (turned.pop(word, None) is None)
    assert both == turned


@given(any_limits, any_limits)
def test_a_level_given_again_changes_nothing(one: Limits, two: Limits) -> None:
    """Idempotent, also beside another; and nothing set beside it leaves a level as it is."""
    assert tightest([one, one]) == one
    assert tightest([one, Limits()]) == tightest([Limits(), one]) == one
    both = tightest([one, two])
    assert comparable(tightest([both, one])) == comparable(tightest([both, two, one])) == comparable(both)


# --- what each level is held against ----------------------------------------------------------


@pytest.mark.parametrize("place", PLACES, ids=PLACE_IDS)
def test_a_limit_of_each_level_refuses(place: tuple[str, str | None]) -> None:
    """By the engine: five units pass and six do not, wherever the five are written."""
    file = file_of((place, "max_order_quantity", 5), (("brokers", "paper"), "max_slices", 3))
    assert codes(decide(file, signal(1, quantity=5), signal(2, quantity=6))) == ["ORDER", "QUANTITY_ABOVE_LIMIT"]


def test_levels_of_others_have_no_say() -> None:
    """Another broker, another strategy, another instrument."""
    other = {"max_order_quantity": 1}
    file = {"brokers": {"zerodha": other}, "strategies": {"other": other}, "instruments": {BANK: other}}
    assert codes(decide(file, signal(1, quantity=6))) == ["ORDER"]


SIGNALS = (
    signal(1, quantity=3),
    signal(2, quantity=3, strategy_id="other"),
    signal(3, quantity=3, instrument_token=BANK),
    signal(4, quantity=3),
    signal(5, quantity=3, side="SELL", strategy_id="other"),
    signal(6, quantity=3),
)


@pytest.mark.parametrize(
    ("place", "limit", "expected", "observed"),
    [
        # of `test`: 3, and 6 with its next; what `other` does is not its own
        (("strategies", "test"), 5, "1 2 3 5", [6, 6]),
        # of all strategies: 3 and 6; then 3 again, as long as nothing is sold for certain
        (("account", None), 8, "1 2 3 5", [9, 9]),
        (("account", None), 5, "1 3 5", [6, 6, 6]),
        # of the instrument: 6 of NIFTY by both
        (("instruments", str(NIFTY)), 5, "1 3 5", [6, 6, 6]),
        (("instruments", str(BANK)), 5, "1 2 3 4 5 6", []),
        (("instruments", str(BANK)), 2, "1 2 4 5 6", [3]),
        (("strategies", "other"), 2, "1 3 4 6", [3, -3]),
    ],
)
def test_a_position_is_that_of_the_level_whose_limit_it_is(
    place: tuple[str, str | None], limit: int, expected: str, observed: list[int]
) -> None:
    """A strategy's own; all strategies' of one instrument; the account's in the instrument that is named."""
    made = decide(file_of((place, "max_position", limit)), *SIGNALS)
    assert " ".join(one.signal_id[1:] for one in made if isinstance(one, Order)) == expected
    denials = [one for one in made if isinstance(one, Denial)]
    assert {one.code for one in denials} <= {"POSITION_ABOVE_LIMIT"}
    assert [one.observed for one in denials] == observed
    assert {one.limit for one in denials} <= {limit}


def test_strategies_that_hold_against_each_other_each_keep_to_their_own_limit() -> None:
    """One long five, one short five: flat together, and both at their limits."""
    five = {"max_position": 5}
    made = decide(
        {
            "brokers": {"paper": {"assume_market_fills": True, **five}},
            "strategies": {"test": five, "other": five},
        },
        signal(1, quantity=5), signal(2, quantity=5, side="SELL", strategy_id="other"),
        signal(3, quantity=1), signal(4, quantity=1, side="SELL", strategy_id="other"),
    )  # fmt: skip
    assert codes(made) == ["ORDER", "ORDER", "POSITION_ABOVE_LIMIT", "POSITION_ABOVE_LIMIT"]
    assert ("strategy test" in made[2].message, made[2].observed) == (True, 6)
    assert ("strategy other" in made[3].message, made[3].observed) == (True, -6)


@pytest.mark.parametrize("setting", ["max_open_order_value", "max_turnover", "max_gross_exposure", "max_net_exposure"])
@pytest.mark.parametrize(
    ("place", "expected", "name"),
    [
        (("account", None), "1 2", "account paper"),
        (("strategies", "test"), "1 2 3 5", "strategy test"),
        (("instruments", str(NIFTY)), "1 2 3", f"instrument NSE:{NIFTY}"),
    ],
)
def test_amounts_are_those_of_the_level_whose_limit_they_are(
    setting: str, place: tuple[str, str | None], expected: str, name: str
) -> None:
    """One unit at 100 each: of all strategies, of one strategy in all instruments, of one instrument by all."""
    asked_for = {"quantity": 1, "order_type": "LIMIT", "price": Decimal(100)}
    made = decide(
        file_of((place, setting, 200)),
        signal(1, **asked_for), signal(2, strategy_id="other", **asked_for),
        signal(3, instrument_token=BANK, **asked_for), signal(4, **asked_for),
        signal(5, strategy_id="other", **asked_for),
    )  # fmt: skip
    assert " ".join(one.signal_id[1:] for one in made if isinstance(one, Order)) == expected
    for one in made:
        if isinstance(one, Denial):
            assert (one.limit, one.observed) == (200, 300)
            assert name in one.message


@pytest.mark.parametrize(
    ("place", "expected"),
    [(("account", None), "1 2 3 4"), (("strategies", "test"), "1 2 3 4 5 6"), (("strategies", "other"), "1 2 3 4 5 6")],
)
def test_messages_are_counted_at_the_level_whose_rate_it_is(place: tuple[str, str | None], expected: str) -> None:
    """Of five a second, four are for orders: the account's, or each strategy's own."""
    rate = {"second": 5, "minute": 400, "day": 5000}
    signals = [signal(number, strategy_id=("test", "other")[number % 2]) for number in range(1, 7)]
    made = decide(file_of((place, "message_rate", rate)), *signals)
    assert " ".join(one.signal_id[1:] for one in made if isinstance(one, Order)) == expected


def test_positions_in_another_broker_s_account_do_not_count() -> None:
    """The account's limit and the instrument's are of one broker each; of both the tighter holds."""
    made = decide(
        {"account": {"max_position": 5}, "instruments": {NIFTY: {"max_position": 4}}},
        signal(1, quantity=4), signal(2, quantity=1),
    )  # fmt: skip
    assert codes(made) == ["ORDER", "POSITION_ABOVE_LIMIT"]
    risk, _ = engine({"account": {"max_position": 5}})
    risk.ledger.scope("zerodha").holding(NIFTY).quantity = 5
    (order,) = risk.on_signal(signal(1, quantity=5))
    assert isinstance(order, Order)


# --- instruments by name ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "share", "future"),
    [
        (str(INFY), True, False), ("NSE:INFY", True, False), ("NSE:IN*", True, False), ("NSE:*", True, False),
        ("NSE:INFY*", True, False), ("NSE:INF", False, False), ("NSE:NFY*", False, False), ("BSE:INFY", False, False),
        ("NFO:NIFTY*", False, True), ("NFO:NIFTY24JUNFUT", False, True), (str(FUTURE), False, True),
        ("NFO:*", False, True), ("NFO:NIFTY", False, False), ("40806", False, False), ("4080651", False, False),
    ],
)  # fmt: skip
def test_an_instrument_is_named_by_token_by_key_or_by_the_beginning_of_one(
    pattern: str, share: bool, future: bool
) -> None:
    """Its own limits, and the lists of what may and may not be traded, all read names alike."""
    master = Master.of(
        [
            Instrument(INFY, "NSE", "INFY", "INFOSYS", "NSE", "EQ"),
            Instrument(FUTURE, "NFO", "NIFTY24JUNFUT", "NIFTY", "NFO-FUT", "FUT"),
        ]
    )
    both = (
        signal(1, quantity=2, instrument_token=INFY),
        signal(2, quantity=2, instrument_token=FUTURE),
    )
    refused = {True: "QUANTITY_ABOVE_LIMIT", False: "ORDER"}
    made = decide({"instruments": {pattern: {"max_order_quantity": 1}}}, *both, instruments=master)
    assert codes(made) == [refused[share], refused[future]]
    refused = {True: "INSTRUMENT_RESTRICTED", False: "ORDER"}
    made = decide(paper(restricted_instruments=[pattern]), *both, instruments=master)
    assert codes(made) == [refused[share], refused[future]]
    refused = {True: "ORDER", False: "INSTRUMENT_NOT_ALLOWED"}
    made = decide(paper(allowed_instruments=[pattern]), *both, instruments=master)
    assert codes(made) == [refused[share], refused[future]]
    assert fits(pattern, INFY, "NSE:INFY") is share


def test_of_all_names_that_an_instrument_goes_by_the_tightest_limit_holds() -> None:
    """Token, key and beginning of a key may all be given."""
    names = {str(NIFTY): 7, f"NSE:{NIFTY}": 6, "NSE:*": 5}
    file = {"instruments": {name: {"max_order_quantity": most} for name, most in names.items()}}
    assert codes(decide(file, signal(1, quantity=5), signal(2, quantity=6))) == ["ORDER", "QUANTITY_ABOVE_LIMIT"]


NAMED = ["{instruments: {'NSE:INFI': {max_position: 1}}}", "{account: {allowed_instruments: ['NSE:INFI']}}",
         "{brokers: {paper: {restricted_instruments: ['NSE:INFI']}}}",
         "{strategies: {test: {restricted_instruments: ['NSE:INFI']}}}"]  # fmt: skip


@pytest.mark.parametrize("text", NAMED)
def test_a_name_that_the_master_does_not_have_is_refused(text: str, tmp_path: Path) -> None:
    """A limit for it would hold for nothing. 78, with what may have been meant; the right name passes."""
    master = tmp_path / "master.csv"
    master.write_text(MASTER)
    path = tmp_path / "limits.yaml"
    path.write_text(text)
    args = ["risk", "-q", "--config", str(path), "--instruments", str(master)]
    made = run_alpha(args, stream([tick()]))
    assert (made.returncode, made.stdout) == (78, b"")
    (line,) = made.stderr.decode().splitlines()
    assert "NSE:INFI: not in the instrument master, did you mean 'NSE:INFY'?" in line
    path.write_text(text.replace("INFI", "INFY"))
    assert run_alpha(args, stream([tick()])).returncode == 0


@pytest.mark.parametrize("text", NAMED)
def test_a_symbol_needs_a_master(text: str, tmp_path: Path) -> None:
    """78 without one: nobody could tell what it is. A token, a number as a symbol, or a beginning need none."""
    path = tmp_path / "limits.yaml"
    path.write_text(text)
    made = run_alpha(["risk", "-q", "--config", str(path)], stream([tick()]))
    assert (made.returncode, made.stdout) == (78, b"")
    (line,) = made.stderr.decode().splitlines()
    assert "NSE:INFI: there is no instrument master to find it in" in line
    for name in ("408065", "NSE:408065", "NSE:INF*"):
        path.write_text(text.replace("NSE:INFI", name))
        assert run_alpha(["risk", "-q", "--config", str(path)], stream([tick()])).returncode == 0


# --- what is refused in the file --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("acount: {}", "unknown key acount, did you mean 'account'?"),
        ("account: {max_positon: 5}", "unknown key account.max_positon, did you mean 'max_position'?"),
        (
            "brokers: {paper: {max_orders_value: 5}}",
            "unknown key brokers.paper.max_orders_value, did you mean 'max_order_value'?",
        ),
        (
            "strategies: {momentum: {max_daily_los: 5}}",
            "unknown key strategies.momentum.max_daily_los, did you mean 'max_daily_loss'?",
        ),
        (
            "instruments: {256265: {average_daily_volum: 5}}",
            "unknown key instruments.256265.average_daily_volum, did you mean 'average_daily_volume'?",
        ),
        (
            "account: {message_rate: {second: 5, minute: 5, day: 5, minuet: 5}}",
            "unknown key account.message_rate.minuet, did you mean 'minute'?",
        ),
        (
            "account: {price_tolerance: {equty: 0.1}}",
            "unknown key account.price_tolerance.equty, did you mean 'equity'?",
        ),
        (
            "account: {entry_window: {after_opn: 5}}",
            "unknown key account.entry_window.after_opn, did you mean 'after_open'?",
        ),
        ("account: {participation: {minut: 0.1}}", "minut, did you mean 'minute'?"),
        ("account: {sizing: {rule: notional, rupees: 5, rupee: 5}}", "rupee, did you mean 'rupees'?"),
    ],
)
def test_an_unknown_key_is_refused_with_what_may_have_been_meant(text: str, said: str, tmp_path: Path) -> None:
    """At every level, and within settings of several numbers."""
    assert said in refused(tmp_path, text)


@pytest.mark.parametrize(
    "text", ["instruments: {256265: {max_daily_loss: 5}}", "strategies: {test: {circuit_limits: yes}}"]
)
def test_a_setting_that_a_level_does_not_have_is_an_unknown_key(text: str, tmp_path: Path) -> None:
    """An instrument has no losses of its own, a strategy no circuit limits."""
    assert "unknown key" in refused(tmp_path, text)


@pytest.mark.parametrize("args", [["risk", "-q"], ["risk", "explain", str(NIFTY)], ["risk", "test", "-"]])
def test_a_file_that_is_refused_ends_every_command_with_78(args: list[str], tmp_path: Path) -> None:
    """One line with file and key, and nothing on stdout."""
    path = tmp_path / "mine.yaml"
    path.write_text("brokers: {paper: {max_positon: 5}}\n")
    made = run_alpha([*args, "--config", str(path)], stream([tick()]))
    assert (made.returncode, made.stdout) == (78, b"")
    (line,) = made.stderr.decode().splitlines()
    assert f"{path}: unknown key brokers.paper.max_positon, did you mean 'max_position'?" in line


NUMBERS = [
    name for name, (loose, _) in PAIRS.items() if isinstance(loose, int | float) and not isinstance(loose, bool)
]  # fmt: skip


@pytest.mark.parametrize("value", [True, -1, 0, float("nan"), float("inf"), "x", [1], 10**13])
@pytest.mark.parametrize("setting", [name for name in NUMBERS if name != "market_protection"])
def test_what_is_no_number_that_could_limit_anything_is_refused(setting: str, value: Any, tmp_path: Path) -> None:
    """`yes`, a negative number, nothing at all, NaN, infinity, a word, a list, more than there is."""
    place = f"instruments.{NIFTY}" if setting == "average_daily_volume" else "account"
    part, _, name = place.partition(".")
    written = {part: {name: {setting: value}} if name else {setting: value}}
    assert refused(tmp_path, written).startswith(f"{place}.{setting}")


@pytest.mark.parametrize("setting", [name for name in NUMBERS if PAIRS[name][0] == int(PAIRS[name][0])])
def test_units_and_counts_are_whole_numbers_and_amounts_have_so_many_decimals(setting: str, tmp_path: Path) -> None:
    """Rupees to a hundredth of a paisa, fractions to a millionth, seconds to a thousandth."""
    place = {"instruments": {NIFTY: {setting: 0.00000001}}}
    said = refused(tmp_path, place if setting == "average_daily_volume" else {"account": {setting: 0.00000001}})
    assert "decimal places" in said or "whole number" in said


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("account: {max_order_value: 100000000.01}", "account.max_order_value", "100000000"),
        ("account: {max_order_value: 1.00001}", "account.max_order_value", "no more than 4 decimal places"),
        ("account: {price_tolerance: 0.0000001}", "account.price_tolerance", "no more than 6 decimal places"),
        ("account: {price_tolerance: yes}", "account.price_tolerance", "true"),
        ("account: {price_tolerance: 1.5}", "account.price_tolerance", "less than or equal to 1"),
        ("account: {max_position: 5.0}", "account.max_position", "whole number"),
        ("account: {max_position: '5'}", "account.max_position", "whole number"),
        ("account: {max_position: off}", "account.max_position", "whole number"),
        ("account: {max_order_value: off}", "account.max_order_value", "false (or off)"),
        ("account: {market_protection: yes}", "account.market_protection", "write a value above 0, or off"),
        ("account: {market_protection: 1}", "account.market_protection", "less than 1"),
        ("account: {session_hours: 1}", "account.session_hours", "true or false"),
        ("account: {session_hours: 'yes'}", "account.session_hours", "true or false"),
        ("account: {self_match_prevention: 0}", "account.self_match_prevention", "true or false"),
        ("account: {signal_ttl: 0.0001}", "account.signal_ttl", "no more than 3 decimal places"),
        ("account: {max_slices: 101}", "account.max_slices", "less than or equal to 100"),
        ("account: {max_modifications: 26}", "account.max_modifications", "less than or equal to 25"),
        ("account: {entry_window: {after_open: 601}}", "account.entry_window.after_open", "equal to 600"),
        ("account: {entry_window: {after_open: -1}}", "account.entry_window.after_open", "equal to 0"),
        ("account: {products: [MIS, XXX]}", "account.products.1", "'MIS', 'CNC' or 'NRML'"),
        ("account: {order_types: [limit]}", "account.order_types.0", "'LIMIT'"),
        ("account: {repeated_execution: {orders: 5}}", "account.repeated_execution.seconds", "is missing"),
        ("account: {message_rate: {second: 5}}", "account.message_rate.minute", "is missing"),
        ("account: {message_rate: 5}", "account.message_rate", "got 5"),
        (
            "brokers: {paper: {message_rate: {second: 1, minute: 9, day: 9}}}",
            "brokers.paper.message_rate.second", "greater than or equal to 2",
        ),
        ("account: {sizing: {rule: notonal, rupees: 4}}", "account.sizing", "'notional'"),
        ("account: {sizing: {rupees: 4}}", "account.sizing", "'rule'"),
        ("account: {sizing: {rule: fixed, quantity: 0}}", "account.sizing.quantity", "greater than 0"),
        (
            "account: {sizing: {rule: volatility_target, percent: 1, bars: 2}}",
            "account.sizing.bars", "equal to 3",
        ),
        (
            "account: {sizing: {rule: volatility_target, percent: 1, interval: 5x}}",
            "account.sizing.interval", "pattern",
        ),
        ("account: {participation: 0.1}", "account.participation", "write settings in it (day, minute), got 0.1"),
        ("account: {participation: {day: 2}}", "account.participation.day", "less than or equal to 1"),
        ("account: {participation: {dya: 1}}", "unknown key account.participation.dya", "did you mean 'day'?"),
        ("account: {algo_id: a b}", "account.algo_id", "pattern"),
        ("account: {max_order_value: '20,000'}", "account.max_order_value", "write a plain number, as 20000 or 0.02"),
        ("account: {products: MIS}", "account.products", "write a list"),
        (
            "instruments: {NSE:INFY: {max_daily_loss: 5}}",
            "unknown key instruments.NSE:INFY.max_daily_loss",
            "it may stand under account, brokers.NAME, strategies.NAME",
        ),
        (
            "account: {message_rate: {seconds: 5, minute: 5, day: 5}}",
            "account.message_rate.second: is missing", "key account.message_rate.seconds, did you mean 'second'?",
        ),
        ("account: {participation: {1: 2}}", "account.participation.1", "a key has to be a name"),
        ("brokers: {1: {}}", "brokers.1", "write a text"),
        ("max_slices: 5", "unknown key max_slices", "under account, brokers.NAME, strategies.NAME, instruments.NAME"),
        ("account: {sizing: {rule: fixed, rupees: 5}}", "account.sizing.quantity: is missing", "sizing.rupees"),
        ("account: null", "account", "got nothing"),
        ("[]", "the file", "write settings in it (account, "),
        ("brokers: {zerodah: {max_position: 5}}", "brokers.zerodah", "no such broker, did you mean 'zerodha'?"),
        ("brokers: {zerodha: {assume_market_fills: yes}}", "brokers.zerodha.assume_market_fills", "only for brokers.p"),
        ("account: {assume_market_fills: yes}", "account.assume_market_fills", "only for brokers.paper"),
        ("instruments: {infy: {}}", "instruments.infy", "write a token, EXCHANGE:SYMBOL"),
        ("instruments: {'NSE:': {}}", "instruments.NSE:", "write a token, EXCHANGE:SYMBOL"),
        ("instruments: {'NSE:IN*Y': {}}", "instruments.NSE:IN*Y", "write a token, EXCHANGE:SYMBOL"),
        ("instruments: {'NSE:IN FY': {}}", "instruments.NSE:IN FY", "write a token, EXCHANGE:SYMBOL"),
        ("instruments: {'*': {}}", "instruments.*", "write a token, EXCHANGE:SYMBOL"),
        ("instruments: {0: {}}", "instruments.0", "write a token, EXCHANGE:SYMBOL"),
        ("account: {allowed_instruments: [infy]}", "account.allowed_instruments.0", "write a token, EXCHANGE:SYMBOL"),
        ("account: {restricted_instruments: [yes]}", "account.restricted_instruments.0", "write a token, EXCHANGE:SYM"),
        ("account: {allowed_instruments: NSE:INFY}", "account.allowed_instruments", "got 'NSE:INFY'"),
        ("strategies: {a b: {}}", "strategies.a b", "pattern"),
        ("strategies: {test: {max_position: 1, max_position: 2}}", "not usable YAML", "given twice"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_meant_is_one_line_with_its_key(text: str, key: str, said: str, tmp_path: Path) -> None:
    """And it says what is wanted."""
    line = refused(tmp_path, text)
    assert line.startswith(key)
    assert said in line


def test_no_order_may_be_worth_more_than_the_exchanges_let_it(tmp_path: Path) -> None:
    """Ten crore rupees is the most that can be written, at any level."""
    assert HIGHEST_ORDER_VALUE == 10 * 10_000_000
    for part, name in PLACES:
        for more in (0, 1):
            level = {"max_order_value": HIGHEST_ORDER_VALUE + more}
            written = {part: {name: level} if name else level}
            if more:
                assert "max_order_value" in refused(tmp_path, written)
            else:
                RiskFile.model_validate(written)


@pytest.mark.parametrize("setting", ["algo_id", "registered_ip"])
def test_yes_is_no_word_and_the_message_does_not_ask_for_a_number(setting: str, tmp_path: Path) -> None:
    """What is wanted there is a name or an address, or off."""
    line = refused(tmp_path, f"account: {{{setting}: yes}}")
    assert line.startswith(f"account.{setting}")
    assert "or off" in line
    assert "number" not in line


@pytest.mark.parametrize("setting", ["participation", "algo_id", "registered_ip"])
def test_nothing_is_not_off(setting: str, tmp_path: Path) -> None:
    """A share of 0 would be the tightest there is, and off is the loosest: only the word turns a control off."""
    assert refused(tmp_path, f"account: {{{setting}: 0}}").startswith(f"account.{setting}")


@pytest.mark.parametrize("listed", ["products", "order_types"])
@pytest.mark.parametrize("place", PLACES, ids=PLACE_IDS)
def test_an_empty_list_of_what_is_allowed_is_refused(
    place: tuple[str, str | None], listed: str, tmp_path: Path
) -> None:
    """At every level: nothing would trade, and a slip is likelier than that. The whole key is named."""
    part, name = place
    line = refused(tmp_path, {part: {name: {listed: []}} if name else {listed: []}})
    assert line.startswith(f"{'.'.join(filter(None, place))}.{listed}: ")
    assert ("MIS" if listed == "products" else "LIMIT") in line


RATES = {"second": 11, "minute": 401, "day": 5001}


@pytest.mark.parametrize("field", list(RATES))
@pytest.mark.parametrize("place", ["account", "brokers.zerodha", "strategies.test"])
def test_no_rate_of_messages_is_above_the_broker_s_own_where_money_is_real(
    place: str, field: str, tmp_path: Path
) -> None:
    """Not at any level that could be the only one to set it; for paper alone it may be any."""
    rate = {"second": 10, "minute": 400, "day": 5000}
    part, _, name = place.partition(".")

    def written(numbers: dict[str, int], broker: str) -> dict[str, Any]:
        file: dict[str, Any] = {"brokers": {broker: {}}}
        level = {"message_rate": numbers}
        file[part] = {**file.get(part, {}), name: level} if name else level
        return file

    RiskFile.model_validate(written(rate, "zerodha"))
    path = tmp_path / "most.yaml"
    path.write_text(yaml.safe_dump(written(rate, "zerodha")))
    load_limits(path)
    line = refused(tmp_path, written({**rate, field: RATES[field]}, "zerodha"))
    assert line.startswith(f"{place}.message_rate.{field}: {RATES[field]} is above the broker's own limit of ")
    if part != "brokers":
        path.write_text(yaml.safe_dump(written({**rate, field: RATES[field]}, "paper")))
        load_limits(path)


def test_order_types_that_no_signal_can_be_are_refused(tmp_path: Path) -> None:
    """They would refuse everything, and nobody meant that."""
    line = refused(tmp_path, {"brokers": {"paper": {"order_types": ["SL"]}}})
    assert line == "brokers.paper.order_types: signals carry no stops; name MARKET, LIMIT or both"


# --- the hash ---------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [*PAIRS, "sizing"])
def test_the_hash_changes_with_every_value(setting: str) -> None:
    """Looser, tighter or unset; and with the level at which it stands."""
    pair = ({"rule": "fixed", "quantity": 1}, {"rule": "fixed", "quantity": 2}) if setting == "sizing" else None
    loose, tight = pair or PAIRS[setting]
    places = [place for place, level in PLACES.items() if setting in level.model_fields]
    files = [RiskFile(), *(file_of((place, setting, value)) for place in places for value in (loose, tight))]
    assert len({limits_hash(file) for file in files}) == 1 + 2 * len(places)


@pytest.mark.parametrize(("setting", "loose", "tight"), MORE_PAIRS)
def test_the_hash_changes_with_each_number_of_a_value(setting: str, loose: Any, tight: Any) -> None:
    """Not only with the first of them."""
    assert limits_hash(paper(**{setting: loose})) != limits_hash(paper(**{setting: tight}))


def hash_of(folder: Path, text: str) -> str:
    """That of the file with this text."""
    path = folder / "risk.yaml"
    path.write_text(text)
    return limits_hash(load_limits(path))


def test_the_hash_does_not_change_with_order_or_layout(tmp_path: Path) -> None:
    """Comments, flow or block, the order of levels, of names and of settings mean nothing; nor does `unset` written."""
    texts = (
        "brokers:\n  paper:\n    max_position: 5\n    price_tolerance: 0.02\n  zerodha:\n    max_position: 1\n"
        "instruments:\n  256265: {max_position: 2}\n  '260105': {max_slices: 3}\n",
        "# mine\ninstruments: {260105: {max_slices: 3}, 256265: {max_position: 2}}\n"
        "brokers: {zerodha: {max_position: 1}, paper: {price_tolerance: 0.02, max_position: 5}} # same\n",
        "brokers: {zerodha: {max_position: 1, algo_id: null}, paper: {price_tolerance: {equity: 0.02, option: 0.02,"
        " stock_future: 0.02, index_future: 0.02}, max_position: 5}}\n"
        "account: {}\ninstruments: {260105: {max_slices: 3}, 256265: {max_position: 2}}\n",
    )
    assert len({hash_of(tmp_path, text) for text in texts}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{allowed_instruments: [256265, 'NSE:*']}", "{allowed_instruments: ['NSE:*', '256265', 256265]}"),
        ("{products: [MIS, CNC]}", "{products: [CNC, MIS]}"),
        ("{order_types: [MARKET, LIMIT]}", "{order_types: [LIMIT, MARKET]}"),
    ],
)
def test_the_hash_does_not_change_with_the_order_of_a_list(one: str, other: str, tmp_path: Path) -> None:
    """A list of what is allowed is a set."""
    assert hash_of(tmp_path, f"account: {one}") == hash_of(tmp_path, f"account: {other}")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{max_order_value: 1000}", "{max_order_value: 1000.0}"),
        ("{max_order_value: 1000}", "{max_order_value: 1_000}"),
        ("{price_tolerance: 0.02}", "{price_tolerance: 0.020}"),
        ("{signal_ttl: 5}", "{signal_ttl: 5.000}"),
        ("{session_hours: yes}", "{session_hours: true}"),
    ],
)
def test_the_hash_does_not_change_with_how_a_number_is_written(one: str, other: str, tmp_path: Path) -> None:
    """The limits are the same, so their name is."""
    assert hash_of(tmp_path, f"account: {one}") == hash_of(tmp_path, f"account: {other}")


def test_each_order_says_by_which_limits_it_passed(tmp_path: Path) -> None:
    """The hash of the file, in the engine and on the wire."""
    text = "brokers: {paper: {max_position: 5, session_hours: true}}\n"
    expected = hash_of(tmp_path, text)
    assert (len(expected), int(expected, 16) >= 0) == (16, True)
    orders = decide(load_limits(tmp_path / "risk.yaml"), signal(1), signal(2))
    assert [one.limits_hash for one in orders] == [expected] * 2
    made = run_alpha(["risk", "--config", str(tmp_path / "risk.yaml")], stream([tick(), signal(1), signal(2)]))
    found = [decode(line) for line in made.stdout.splitlines()]
    assert [one.limits_hash for one in found if isinstance(one, Order)] == [expected] * 2


# --- what is not set where money is real ------------------------------------------------------


def test_the_complete_configuration_has_each_setting_of_each_control() -> None:
    """What it lacks is what no control asks for by itself."""
    assert set(SETTINGS) <= set(LIVE)
    assert set(PAIRS) - set(LIVE) == {"average_daily_volume", "assume_market_fills"}
    assert set(LIVE) - set(SETTINGS) == {"max_slices"}


@pytest.mark.parametrize("place", [("account", None), ("brokers", "zerodha")])
def test_a_complete_configuration_lets_an_order_of_a_real_broker_pass(place: tuple[str, str | None]) -> None:
    """MARKET and LIMIT, buying and selling."""
    made = decide(
        live(place),
        signal(1, broker="zerodha"), signal(2, broker="zerodha", instrument_token=BANK, side="SELL"),
        signal(3, broker="zerodha", quantity=2, order_type="LIMIT", price=Decimal(100)),
        opening_cash=FUNDS,
    )  # fmt: skip
    assert codes(made) == ["ORDER"] * 3


@pytest.mark.parametrize("setting", [name for name, one in SETTINGS.items() if one.at != "send"])
def test_one_setting_left_out_refuses_every_order_of_a_real_broker(setting: str) -> None:
    """LIMIT_UNSET says which; set at any level that has a say, the order passes. For paper the control is off."""
    (denial,) = decide(live(**{setting: None}), signal(1, broker="zerodha"), opening_cash=FUNDS)
    assert (denial.code, denial.limit) == ("LIMIT_UNSET", setting)
    assert denial.message == f"{setting} is not set for broker zerodha; set it in risk.yaml"
    for place, level in PLACES.items():
        if setting in level.model_fields and place[0] != "brokers":
            settings = ((("brokers", "zerodha"), name, value) for name, value in LIVE.items() if name != setting)
            file = file_of(*settings, (place, setting, LIVE[setting]))
            assert codes(decide(file, signal(1, broker="zerodha"), opening_cash=FUNDS)) == ["ORDER"]
    left_out = file_of(*((("brokers", "paper"), name, value) for name, value in LIVE.items() if name != setting))
    assert codes(decide(left_out, signal(1), opening_cash={"paper": Decimal(1_000_000)})) == ["ORDER"]


@pytest.mark.parametrize("setting", [name for name, one in SETTINGS.items() if one.at == "send"])
def test_what_is_asked_before_sending_refuses_there_if_it_is_not_set(setting: str) -> None:
    """The stream passes the order; the control in its place refuses before it is sent."""
    file = live(**{setting: None})
    assert codes(decide(file, signal(1, broker="zerodha"), opening_cash=FUNDS)) == ["ORDER"]
    contract = Contracts().contract(NIFTY, START.date())
    limits = Levels(file).together("zerodha", "test", NIFTY, f"NSE:{NIFTY}")
    (unset,) = [one for one in active_controls("zerodha", limits, contract, "send") if one.control.setting == setting]
    refusal = unset.check(None)  # type: ignore[arg-type]  (it looks at nothing)
    assert refusal is not None
    assert (refusal.code, refusal.limit) == ("LIMIT_UNSET", setting)


def test_a_tolerance_for_shares_alone_is_unset_for_options() -> None:
    """Kind by kind: what trades as an option is refused until there is one for options."""
    shares = live(price_tolerance={"equity": 0.05})
    assert codes(decide(shares, signal(1, broker="zerodha"), opening_cash=FUNDS)) == ["ORDER"]
    option = Instrument(NIFTY, "NFO", "NIFTY24JUN23000CE", "NIFTY", "NFO-OPT", "CE")
    (denial,) = decide(shares, signal(1, broker="zerodha"), opening_cash=FUNDS, instruments=Master.of([option]))
    assert (denial.code, denial.limit) == ("LIMIT_UNSET", "price_tolerance")
