"""Who may change limits, and who may loosen them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.events import NIFTY, START, signal, stream, tick
from support.processes import run_alpha
from support.risk_files import (
    ALL_PAIRS,
    FUNDS,
    LIVE,
    PAIRS,
    PLACE_IDS,
    PLACES,
    SETTINGS,
    decide,
    file_of,
    live,
    paper,
)
from support.risk_gate import a_file, codes, events

from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.events import Denial, Order
from alpha_cli.stages.risk.config import BrokerLevel, RiskFile, load_limits
from alpha_cli.stages.risk.governance import apply_limits, differences
from alpha_cli.stages.risk.resolve import limits_hash
from alpha_cli.stages.risk.store import Store

# --- who may loosen them ----------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Of a risk stage in a new folder."""
    made = Store(tmp_path / "state", "risk")
    yield made
    made.release()


def enforce(store: Store, file: RiskFile, acknowledged: str | None = None) -> list[str]:
    """Put `file` into force, as a start of the stage does."""
    return apply_limits(store, file, acknowledged, at=START, by="tester")


def place_of(setting: str) -> tuple[str, str | None]:
    """A level that has the setting."""
    return ("brokers", "paper") if setting in BrokerLevel.model_fields else ("instruments", str(NIFTY))


@pytest.mark.parametrize(("setting", "loose", "tight"), ALL_PAIRS)
def test_a_setting_that_is_loosened_is_refused_and_one_that_is_tightened_is_not(
    setting: str, loose: Any, tight: Any, store: Store
) -> None:
    """Each of them, from a file that was kept and read again."""
    place = place_of(setting)
    strict, lax = file_of((place, setting, tight)), file_of((place, setting, loose))
    key = ".".join(filter(None, (*place, setting)))
    assert enforce(store, strict) == []
    with pytest.raises(ConfigurationError, match=r"the limits are looser") as refusal:
        enforce(store, lax)
    assert f"{key}: " in str(refusal.value)
    assert f"--ack-limits {limits_hash(lax)}" in str(refusal.value)
    assert len(enforce(store, lax, limits_hash(lax))) == 1
    (said,) = enforce(store, strict)
    assert said.startswith(f"{key}: ")


@pytest.mark.parametrize("place", PLACES, ids=PLACE_IDS)
def test_it_makes_no_difference_at_which_level_a_limit_is_loosened(place: tuple[str, str | None]) -> None:
    """Raised or taken out: looser. Lowered or put in: changed. The level is named."""
    key = ".".join(filter(None, (*place, "max_position")))
    five, six, none = file_of((place, "max_position", 5)), file_of((place, "max_position", 6)), RiskFile()
    assert differences(five, six) == ([f"{key}: 5 to 6"], [])
    assert differences(six, five) == ([], [f"{key}: 6 to 5"])
    assert differences(five, none) == ([f"{key}: 5 to unset"], [])
    assert differences(none, five) == ([], [f"{key}: unset to 5"])


@pytest.mark.parametrize("setting", [*PAIRS, "sizing"])
def test_a_setting_that_is_taken_out_counts_as_looser(setting: str) -> None:
    """For paper it is off then; nobody turns a control off by the way."""
    value = {"rule": "fixed", "quantity": 1} if setting == "sizing" else PAIRS[setting][1]
    looser, changed = differences(file_of((place_of(setting), setting, value)), RiskFile())
    assert (len(looser), changed) == (1, [])
    assert looser[0].endswith(" to unset")


@pytest.mark.parametrize("setting", list(SETTINGS))
@pytest.mark.parametrize("place", [("account", None), ("brokers", "zerodha")])
def test_a_setting_put_in_for_a_real_broker_counts_as_looser(place: tuple[str, str | None], setting: str) -> None:
    """Without it everything was refused; for paper it is one control more."""
    before = file_of(
        (("brokers", "zerodha"), "max_slices", 3),
        *((place, name, value) for name, value in LIVE.items() if name not in {setting, "max_slices"}),
    )
    after = file_of(
        (("brokers", "zerodha"), "max_slices", 3),
        *((place, name, value) for name, value in LIVE.items() if name != "max_slices"),
    )
    looser, changed = differences(before, after)
    assert (len(looser), changed) == (1, [])
    assert looser[0].startswith(".".join(filter(None, (*place, setting))) + ": unset to ")
    assert differences(paper(), paper(**{setting: LIVE[setting]}))[0] == []


def test_a_setting_put_in_for_one_strategy_of_a_real_broker_counts_as_looser() -> None:
    """Its orders were all refused with LIMIT_UNSET, and pass now."""
    without = [(("brokers", "zerodha"), name, value) for name, value in LIVE.items() if name != "max_position"]
    asks = signal(1, broker="zerodha")
    for place in (("strategies", "test"), ("instruments", str(NIFTY))):
        before, after = file_of(*without), file_of(*without, (place, "max_position", 5))
        assert codes(decide(before, asks, opening_cash=FUNDS)) == ["LIMIT_UNSET"]
        assert codes(decide(after, asks, opening_cash=FUNDS)) == ["ORDER"]
        assert differences(before, after) == ([f"{'.'.join(place)}.max_position: unset to 5"], [])


def test_a_tolerance_put_in_for_another_kind_counts_as_looser_for_a_real_broker() -> None:
    """Options were refused until there was one for them. For paper it is one control more."""
    before, after = {"equity": 0.05}, {"equity": 0.05, "option": 0.2}
    looser, changed = differences(live(price_tolerance=before), live(price_tolerance=after))
    assert (len(looser), changed) == (1, [])
    looser, changed = differences(paper(price_tolerance=before), paper(price_tolerance=after))
    assert (looser, len(changed)) == ([], 1)


RULES: list[dict[str, Any]] = [
    {"rule": "fixed", "quantity": 1},
    {"rule": "fixed", "quantity": 2},
    {"rule": "notional", "rupees": 1000},
    {"rule": "percent_of_equity", "percent": 5},
    {"rule": "volatility_target", "percent": 1},
    {"rule": "volatility_target", "percent": 1, "bars": 50},
]


@pytest.mark.parametrize("place", [place for place in PLACES if place[0] != "instruments"])
def test_any_change_of_how_signals_are_sized_counts_as_looser(place: tuple[str, str | None]) -> None:
    """Another rule, another number, more or less, put in or taken out: which is larger depends on the market."""
    files = [RiskFile(), *(file_of((place, "sizing", rule)) for rule in RULES)]
    for one in files:
        for other in files:
            looser, changed = differences(one, other)
            assert (len(looser), changed) == (int(one is not other), [])


def test_a_word_that_changes_counts_as_looser() -> None:
    """Which of two names is the tighter cannot be said; off is looser than any."""
    one, other, off = (paper(algo_id=value) for value in ("A", "B", False))
    assert [bool(differences(*pair)[0]) for pair in ((one, other), (one, off), (off, one))] == [True, True, False]


def test_what_is_looser_in_one_thing_and_tighter_in_another_is_refused() -> None:
    """Both are told apart, also within a value of several numbers."""
    old = paper(max_position=5, max_order_quantity=5, max_slices=2)
    new = paper(max_position=6, max_order_quantity=4, max_slices=2)
    assert differences(old, new) == (
        ["brokers.paper.max_position: 5 to 6"],
        ["brokers.paper.max_order_quantity: 5 to 4"],
    )
    mixed = (
        paper(message_rate={"second": 5, "minute": 90, "day": 900}),
        paper(message_rate={"second": 4, "minute": 91, "day": 900}),
    )
    assert len(differences(*mixed)[0]) == len(differences(*mixed[::-1])[0]) == 1


def test_a_refused_file_holds_nothing_and_is_refused_again(store: Store) -> None:
    """Nor does the hash of another file let it in. Acknowledged once, it holds; the next start needs no word."""
    strict, lax = paper(max_position=5), paper(max_position=6)
    enforce(store, strict)
    for word in (None, limits_hash(strict), limits_hash(lax)[:-1], ""):
        with pytest.raises(ConfigurationError):
            enforce(store, lax, word)
    assert RiskFile.model_validate_json(store.limits() or "") == strict
    assert enforce(store, lax, limits_hash(lax)) == ["looser: brokers.paper.max_position: 5 to 6"]
    assert enforce(store, lax) == []
    assert RiskFile.model_validate_json(store.limits() or "") == lax


def test_the_first_limits_of_a_folder_need_no_word(store: Store) -> None:
    """Whatever they are, also for a real broker."""
    assert enforce(store, live()) == []


def test_limits_that_were_kept_are_read_back_as_they_were(store: Store) -> None:
    """The complete configuration, and each value of the pairs: nothing is different to itself."""
    for file in (live(), *(file_of((place_of(name), name, value)) for name, *pair in ALL_PAIRS for value in pair)):
        again = RiskFile.model_validate_json(file.model_dump_json())
        assert (again, limits_hash(again)) == (file, limits_hash(file))
        assert differences(file, again) == ([], [])
    enforce(store, live())
    assert enforce(store, live()) == []


def test_kept_limits_that_cannot_be_read_need_a_word(store: Store) -> None:
    """Whether the new ones are looser, nobody can tell."""
    store.note_limits(name="x", file='{"account": {"max_nothing": 5}}', at=START, by="tester", changes=[])
    new = paper(max_position=5)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        enforce(store, new)
    assert enforce(store, new, limits_hash(new)) == ["looser: the limits that held before cannot be read"]


def test_a_looser_file_stops_the_stage_until_its_hash_is_repeated(tmp_path: Path) -> None:
    """78 with the command's own words for it; then it says what changed, and goes on."""
    path, state = tmp_path / "limits.yaml", str(tmp_path / "state")
    args = ["risk", "-q", "--config", str(path), "--state", state]

    def start(text: str, *more: str) -> Any:
        path.write_text(text)
        return run_alpha([*args, *more], stream([tick()]))

    assert start("brokers: {paper: {max_position: 5, max_slices: 3}}").returncode == 0
    lax = "brokers: {paper: {max_position: 6, max_slices: 2}}"
    made = start(lax)
    assert (made.returncode, made.stdout) == (78, b"")
    (line,) = made.stderr.decode().splitlines()
    assert "looser than those of the last run: brokers.paper.max_position: 5 to 6; " in line
    word = line.partition("--ack-limits ")[2].split()[0]
    assert word == limits_hash(load_limits(path))
    made = start(lax, "--ack-limits", word)
    assert made.returncode == 0
    assert b"limits changed: looser: brokers.paper.max_position: 5 to 6; brokers.paper.max_slices: 3 to 2" in (
        made.stderr
    )
    made = start(lax)
    assert (made.returncode, made.stderr) == (0, b"")


# --- who may change limits -------------------------------------------------------------------


def test_looser_limits_need_to_be_acknowledged_by_their_hash(tmp_path: Path) -> None:
    """78 names the setting and the hash and nothing is decided; with it the limits hold, and need it no more."""
    state = str(tmp_path / "state")

    def run(limits: dict[str, Any], *more: str, number: int) -> Any:
        args = ["risk", "--state", state, "--config", a_file(tmp_path, limits), *more]
        return run_alpha(args, stream([tick(0), signal(number, quantity=6)]))

    assert codes(events(run({"max_order_quantity": 5}, number=1).stdout, Denial)) == ["QUANTITY_ABOVE_LIMIT"]
    refused = run({"max_order_quantity": 7}, number=2)
    assert (refused.returncode, refused.stdout) == (78, b"")
    said = refused.stderr.decode()
    assert "brokers.paper.max_order_quantity: 5 to 7" in said
    name = limits_hash(RiskFile.model_validate({"brokers": {"paper": {"max_order_quantity": 7}}}))
    assert f"--ack-limits {name}" in said
    wrong = run({"max_order_quantity": 7}, "--ack-limits", "0" * 16, number=3)
    assert wrong.returncode == 78
    assert wrong.stderr.decode().endswith(f"--ack-limits {name} (--ack-limits {'0' * 16} names other limits)\n")
    acknowledged = run({"max_order_quantity": 7}, "--ack-limits", name, number=4)
    (order,) = events(acknowledged.stdout, Order)
    assert (acknowledged.returncode, order.limits_hash) == (0, name)
    assert run({"max_order_quantity": 7}, number=5).returncode == 0
    tighter = run({"max_order_quantity": 6, "max_order_value": 1000}, number=6)
    assert (tighter.returncode, codes(events(tighter.stdout, Order))) == (0, ["ORDER"])
    assert b"limits changed" in tighter.stderr
    unset = run({"max_order_quantity": 6}, number=7)
    assert (unset.returncode, b"max_order_value: 1000 to unset" in unset.stderr) == (78, True)
    with closing(sqlite3.connect(tmp_path / "state" / "risk.db")) as db:
        kept = db.execute("SELECT hash, at, by, changes FROM limits ORDER BY id").fetchall()
    assert [row[3] for row in kept] == [
        "the first limits here",
        "looser: brokers.paper.max_order_quantity: 5 to 7",
        "brokers.paper.max_order_quantity: 7 to 6\nbrokers.paper.max_order_value: unset to 1000",
    ]
    assert kept[1][0] == name
    assert all(datetime.fromisoformat(at).tzinfo and by for _, at, by, _ in kept)


@pytest.mark.parametrize(
    ("old", "new", "looser"),
    [
        ({"max_position": 10}, {"max_position": 10}, False),
        ({"max_position": 10}, {"max_position": 9}, False),
        ({"max_position": 10}, {"max_position": 11}, True),
        ({}, {"max_position": 10}, False),
        ({"max_position": 10}, {}, True),
        ({"session_hours": True}, {"session_hours": False}, True),
        ({"duplicate_window": 2}, {"duplicate_window": 1}, True),
        ({"duplicate_window": 2}, {"duplicate_window": 3}, False),
        ({"market_protection": False}, {"market_protection": 0.01}, True),
        ({"market_protection": 0.01}, {"market_protection": False}, False),
        ({"participation": {"day": 0.01}}, {"participation": False}, True),
        ({"participation": False}, {"participation": {"day": 0.01}}, False),
        ({"price_tolerance": 0.02}, {"price_tolerance": {"equity": 0.02}}, True),
        ({"products": ["MIS"]}, {"products": ["MIS", "CNC"]}, True),
        ({"products": ["MIS", "CNC"]}, {"products": ["CNC"]}, False),
        ({"allowed_instruments": ["1", "2"]}, {"allowed_instruments": ["1"]}, False),
        ({"allowed_instruments": ["1"]}, {"allowed_instruments": ["1", "2"]}, True),
        ({"restricted_instruments": ["1", "2"]}, {"restricted_instruments": ["1"]}, True),
        ({"assume_market_fills": True}, {"assume_market_fills": False}, False),
        ({"repeated_execution": {"orders": 5, "seconds": 60, "round_trips": 9}},
         {"repeated_execution": {"orders": 5, "seconds": 30, "round_trips": 9}}, True),
        ({"message_rate": {"second": 5, "minute": 100, "day": 1000}},
         {"message_rate": {"second": 4, "minute": 101, "day": 1000}}, True),
        ({"sizing": {"rule": "fixed", "quantity": 2}}, {"sizing": {"rule": "fixed", "quantity": 1}}, True),
        ({"entry_window": {"after_open": 5, "before_close": 15}},
         {"entry_window": {"after_open": 5, "before_close": 10}}, True),
    ],
)  # fmt: skip
def test_what_is_looser(old: dict[str, Any], new: dict[str, Any], looser: bool) -> None:
    """What lets any order pass that was refused before."""
    from alpha_cli.stages.risk.governance import differences

    before, after = (RiskFile.model_validate({"brokers": {"paper": one}}) for one in (old, new))
    found, changed = differences(before, after)
    assert bool(found) == looser
    assert bool(changed) == (old != new and not looser)


def test_fewer_slices_or_strategies_are_looked_at_like_the_rest() -> None:
    """Each level by its name; one that is gone let nothing but its limits go."""
    from alpha_cli.stages.risk.governance import differences

    before = RiskFile.model_validate(
        {"strategies": {"a": {"max_slices": 2}}, "instruments": {"1": {"max_position": 1}}}
    )
    after = RiskFile.model_validate({"strategies": {"a": {"max_slices": 3}}})
    looser, changed = differences(before, after)
    assert looser == ["instruments.1.max_position: 1 to unset", "strategies.a.max_slices: 2 to 3"]
    assert not changed


def test_options_that_need_a_folder_say_so(tmp_path: Path) -> None:
    """2, before anything is read."""
    for option in (["--as", "x"], ["--ack-limits", "0" * 16]):
        done = run_alpha(["risk", *option], stream([tick(0)]))
        assert (done.returncode, b"--state" in done.stderr) == (2, True)


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    """Each run decides by itself, and writes no file."""
    for _ in range(2):
        done = run_alpha(["risk"], stream([tick(0), signal(1)]), cwd=tmp_path)
        assert codes(events(done.stdout, Order)) == ["ORDER"]
    assert not list(tmp_path.iterdir())
