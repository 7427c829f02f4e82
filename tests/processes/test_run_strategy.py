"""The runner: what a strategy is given, what becomes of its answers, and that its faults stay with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from datetime import UTC, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.events import BANK, NIFTY, stream, tick, ticks
from support.processes import counters, run_alpha
from support.stages import run_strategy_stage

from alpha_cli import SignalResult
from alpha_cli.config.settings import load_settings
from alpha_cli.core.codec import decode, encode
from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.events import Signal, Tick
from alpha_cli.stages.run_strategy.config import StrategyConfig
from alpha_cli.stages.run_strategy.engine import StrategyRunner
from alpha_cli.stages.run_strategy.executor import Strategy as Hosted
from alpha_cli.stages.run_strategy.host import total
from alpha_cli.stages.run_strategy.selection import Selection
from alpha_cli.stages.run_strategy.status import statuses
from alpha_cli.stream.stage import Options, Stage

Answer = Callable[[Tick, Sequence[Tick]], Any]

DAY = 86_400
CLOSE = 6.25 * 3600  # seconds after the opening


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALPHA_CONFIG_DIR", "ALPHA_ACTIVE_BROKERS"):
        monkeypatch.delenv(name, raising=False)


class Strategy:
    """A processor made of one function."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def process_tick(self, tick: Tick, history: Sequence[Tick]) -> Any:
        return self._answer(tick, history)


def buy(*_: Any) -> SignalResult:
    return SignalResult("BUY", quantity=1, price=100.05)


class Host:
    """A runner with named strategies, and what it reported."""

    def __init__(self, *, all_hours: bool = False, failures: int = 1_000_000) -> None:
        self.reports: list[str] = []
        self.runner = StrategyRunner(all_hours=all_hours, report=self.reports.append, failures=failures)

    def add(
        self,
        name: str,
        answer: Answer = buy,
        tokens: Sequence[int] = (NIFTY,),
        brokers: Sequence[str] = ("paper",),
        max_history: int = 100,
    ) -> Host:
        config = StrategyConfig(
            id=name,
            strategy_type="test",
            instruments=tuple(tokens),
            active_brokers=tuple(brokers),
            max_history=max_history,
        )
        self.runner.roster.add(Hosted(config, brokers, len(self.runner.strategies), create=lambda _: Strategy(answer)))
        return self

    def counts(self) -> dict[str, int]:
        return total(statuses(self.runner), self.runner.outside_session)

    def signals(self, *events: Tick) -> list[Any]:
        return [made for event in events for made in self.runner.on_tick(event)]


# --- history ---------------------------------------------------------------------------------


def test_history_holds_the_earlier_ticks_oldest_first_without_the_current_one() -> None:
    """At most `max_history` of them: the newest."""
    seen: list[list[Tick]] = []
    events = [tick(at, 100 + at) for at in range(6)]
    Host().add("look", lambda _, history: seen.append(list(history)), max_history=3).signals(*events)
    assert seen == [[], events[:1], events[:2], events[:3], events[1:4], events[2:5]]


def test_each_strategy_has_a_history_of_its_own_for_each_instrument() -> None:
    """No strategy sees another instrument's ticks, and each keeps as many as it asked for."""
    seen: dict[tuple[str, int], list[Tick]] = {}

    def look(name: str) -> Answer:
        return lambda one, history: seen.__setitem__((name, one.instrument_token), list(history))

    events = [tick(at, 100, token) for at in range(4) for token in (NIFTY, BANK)]
    host = Host().add("long", look("long"), (NIFTY, BANK), max_history=9)
    host.add("short", look("short"), (NIFTY, BANK), max_history=1).signals(*events)
    for token in (NIFTY, BANK):
        own = [event for event in events if event.instrument_token == token]
        assert seen["long", token] == own[:3]
        assert seen["short", token] == own[2:3]


def attempts() -> dict[str, Callable[[Any, Tick], Any]]:
    """Ways to change a history."""
    return {
        "append": lambda history, one: history.append(one),
        "appendleft": lambda history, one: history.appendleft(one),
        "extend": lambda history, one: history.extend([one]),
        "extendleft": lambda history, one: history.extendleft([one]),
        "insert": lambda history, one: history.insert(0, one),
        "pop": lambda history, _: history.pop(),
        "popleft": lambda history, _: history.popleft(),
        "remove": lambda history, one: history.remove(one),
        "clear": lambda history, _: history.clear(),
        "reverse": lambda history, _: history.reverse(),
        "rotate": lambda history, _: history.rotate(1),
        "set": lambda history, one: history.__setitem__(0, one),
        "delete": lambda history, _: history.__delitem__(0),
        "add": lambda history, one: history.__iadd__([one]),
        "multiply": lambda history, _: history.__imul__(2),
        "price": lambda history, _: setattr(history[0], "last_price", 1.0),
    }


@pytest.mark.parametrize("way", list(attempts()))
def test_a_strategy_cannot_change_its_history(way: str) -> None:
    """Each attempt raises inside the strategy, is isolated, and leaves the history as it was."""
    lengths: list[int] = []

    def meddle(one: Tick, history: Sequence[Tick]) -> None:
        lengths.append(len(history))
        attempts()[way](history, one)

    host = Host().add("meddler", meddle).add("honest")
    assert len(host.signals(*(tick(at) for at in range(5)))) == 5
    assert lengths == [0, 1, 2, 3, 4]
    assert host.counts()["errors"] >= 4  # an empty history may fail in its own way


def test_a_copy_of_the_history_leaves_the_history_alone() -> None:
    """A strategy may take what it was given into containers of its own."""
    host = Host().add("copies", lambda one, history: [*copy(history), *list(history)].append(one))
    host.signals(*(tick(at) for at in range(3)))
    assert host.counts()["errors"] == 0


def test_a_slice_of_the_history_is_a_plain_list() -> None:
    """`history[-2:]` is what an author writes first."""
    slices: list[list[float]] = []

    def look(_: Tick, history: Sequence[Tick]) -> None:
        slices.append([past.last_price for past in history[-2:]])

    host = Host().add("looks", look)
    host.signals(*(tick(at, 100.0 + at) for at in range(4)))
    assert slices == [[], [100.0], [100.0, 101.0], [101.0, 102.0]]
    assert host.counts()["errors"] == 0


# --- isolation -------------------------------------------------------------------------------


def raising(error: BaseException) -> Answer:
    def answer(*_: Any) -> Any:
        raise error

    return answer


class Unsayable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("even this")


FAULTS: dict[str, Answer] = {
    "raises": raising(ZeroDivisionError("division by zero")),
    "recurses": lambda one, history: FAULTS["recurses"](one, [*history, one]),
    "exits": raising(SystemExit(3)),
    "raises what cannot be printed": raising(Unsayable()),
    "returns a dict": lambda *_: {"signal_type": "BUY"},
    "returns a tuple": lambda *_: ("BUY", 1),
    "returns a string": lambda *_: "BUY",
    "returns True": lambda *_: True,
    "NaN price": lambda *_: SignalResult("BUY", price=float("nan")),
    "infinite price": lambda *_: SignalResult("BUY", price=float("inf")),
    "NaN decimal price": lambda *_: SignalResult("BUY", price=Decimal("NaN")),
    "absurd price": lambda *_: SignalResult("BUY", quantity=1, price=Decimal("1e15")),
    "price of another type": lambda *_: SignalResult("BUY", price="100"),  # type: ignore[arg-type]
    "negative quantity": lambda *_: SignalResult("BUY", quantity=-1),
    "zero quantity": lambda *_: SignalResult("BUY", quantity=0),
    "fractional quantity": lambda *_: SignalResult("BUY", quantity=1.0),  # type: ignore[arg-type]
    "quantity True": lambda *_: SignalResult("BUY", quantity=True),
    "quantity beyond the wire": lambda *_: SignalResult("BUY", quantity=10**13),
    "confidence over 100": lambda *_: SignalResult("BUY", confidence=101),
    "NaN confidence": lambda *_: SignalResult("BUY", confidence=float("nan")),
    "unknown side": lambda *_: SignalResult("LONG"),  # type: ignore[arg-type]
    "metadata that is not JSON": lambda *_: SignalResult("BUY", metadata={"model": object()}),
    "metadata that is a list": lambda *_: SignalResult("BUY", metadata=[1]),  # type: ignore[arg-type]
    "metadata nested too deeply": lambda *_: SignalResult("BUY", metadata=nested(40)),
    "metadata too large": lambda *_: SignalResult("BUY", metadata={"blob": "x" * (1 << 20)}),
}


def nested(depth: int) -> dict[str, Any]:
    return {"in": nested(depth - 1)} if depth else {}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_what_one_strategy_does_wrong_leaves_the_others_signals_unchanged(fault: str) -> None:
    """It is counted and reported; the honest strategies before and after it say what they say alone."""
    events = [tick(at) for at in range(3)]
    alone = Host().add("first").add("last").signals(*events)
    host = Host().add("first").add("faulty", FAULTS[fault]).add("last")
    assert host.signals(*events) == alone
    rejected = 3 if fault.startswith("returns") else 0  # by its validator: it is no SignalResult
    assert host.counts() == {
        "signals": 6, "held": 0, "refused": rejected, "errors": 3 - rejected, "outside_session": 0,
    }  # fmt: skip
    assert len(host.reports) == 3
    assert all(report.startswith(f"faulty on {NIFTY} at 2024-06-03T09:15:0") for report in host.reports)


def test_a_strategy_that_fails_on_every_tick_is_reported_at_a_limited_rate() -> None:
    """The 1st to 9th failure, then the 10th, 20th, …, 100th, 200th: a flood stays readable."""
    host = Host().add("faulty", raising(ValueError("no")))
    host.signals(*(tick(at) for at in range(1000)))
    assert host.counts()["errors"] == 1000
    assert len(host.reports) == 9 + 9 + 9 + 1
    assert host.reports[-1].endswith(") (failure 1000; other strategies go on)")


def test_a_failed_strategy_keeps_its_history_and_goes_on() -> None:
    """A failure costs the answer to one tick, nothing else."""
    lengths: list[int] = []

    def sometimes(one: Tick, history: Sequence[Tick]) -> SignalResult:
        lengths.append(len(history))
        if len(history) == 1:
            raise ValueError("once")
        return buy()

    assert len(Host().add("sometimes", sometimes).signals(*(tick(at) for at in range(4)))) == 3
    assert lengths == [0, 1, 2, 3]


def test_what_a_strategy_changes_afterwards_does_not_change_its_signal() -> None:
    """A signal is what another process would have read when it was made."""
    kept: dict[str, Any] = {"path": [1], "n": 1}

    def answer(*_: Any) -> SignalResult:
        kept["n"] += 1
        return SignalResult("BUY", quantity=1, metadata=kept)

    first, second = Host().add("mutable", answer).signals(tick(0), tick(1))
    kept["path"].append(2)
    assert first.metadata == {"path": [1], "n": 2}
    assert second.metadata == {"path": [1], "n": 3}


# --- signals ---------------------------------------------------------------------------------


def test_a_signal_carries_all_that_the_strategy_said() -> None:
    """Each field arrives; the price is exact; confidence in percent becomes a fraction; the tick gives the rest."""
    result = SignalResult("SELL", 5, 100.05, 80, "LIMIT", "NRML", "because", {"rsi": 71.5})
    (made,) = Host().add("full", lambda *_: result).signals(tick(7))
    assert decode(encode(made)) == made
    assert made == Signal(
        signal_id=made.signal_id, strategy_id="full", instrument_token=NIFTY, signal_type="SELL",
        timestamp=tick(7).timestamp, broker="paper", quantity=5, price=Decimal("100.05"), confidence=0.8,
        order_type="LIMIT", product="NRML", reasoning="because", metadata={"rsi": 71.5},
    )  # fmt: skip


def test_a_result_cannot_be_changed() -> None:
    """SignalResult is immutable."""
    with pytest.raises(AttributeError):
        buy().quantity = 2  # type: ignore[misc]


def test_hold_is_never_a_signal() -> None:
    """It is counted as held: the strategy looked, and declined."""
    host = Host().add("holds", lambda *_: SignalResult("HOLD"), brokers=("paper", "zerodha"))
    assert host.signals(tick(0), tick(1)) == []
    assert host.counts()["held"] == 2


def test_each_active_broker_gets_a_signal_of_its_own() -> None:
    """In the order configured, with ids of their own."""
    made = Host().add("both", brokers=("zerodha", "paper")).signals(tick())
    assert [one.broker for one in made] == ["zerodha", "paper"]
    assert len({one.signal_id for one in made}) == 2


def test_a_tick_of_an_instrument_nobody_follows_is_not_looked_at() -> None:
    """One lookup, no call."""
    calls: list[Tick] = []
    host = Host().add("nifty", lambda one, _: calls.append(one), (NIFTY,))
    assert host.signals(tick(token=BANK)) == []
    assert calls == []


# --- session ---------------------------------------------------------------------------------

OUTSIDE = [-0.000001, -900, CLOSE, CLOSE + 60, 5 * DAY + 60, 6 * DAY + 60]


def test_only_ticks_of_the_continuous_session_reach_a_strategy() -> None:
    """Not the pre-open, nor what comes at or after the close, nor a weekend; those are counted, and not remembered."""
    inside = [0, 60, CLOSE - 0.000001, DAY, 4 * DAY + 60, 7 * DAY]
    seen: list[Tick] = []
    lengths: list[int] = []

    def look(one: Tick, history: Sequence[Tick]) -> None:
        seen.append(one)
        lengths.append(len(history))

    host = Host().add("look", look)
    host.signals(*(tick(at) for at in sorted([*inside, *OUTSIDE])))
    assert seen == [tick(at) for at in inside]
    assert lengths == list(range(6))
    assert host.counts()["outside_session"] == len(OUTSIDE)


def test_all_hours_lifts_the_session() -> None:
    """Then each tick is processed and none is counted as outside."""
    host = Host(all_hours=True).add("any")
    assert len(host.signals(*(tick(at) for at in sorted(OUTSIDE)))) == len(OUTSIDE)
    assert host.counts()["outside_session"] == 0


def test_the_process_counts_ticks_outside_the_session_unless_told_all_hours() -> None:
    """The option is wired; either way every line passes."""
    saturday = stream([tick(5 * DAY + at, 100 + at) for at in range(30)])
    plain = run_alpha(["run-strategy", "momentum"], saturday)
    assert plain.returncode == 0
    assert plain.stdout == saturday
    assert counters(plain.stderr.decode())["outside_session"] == 30
    lifted = run_alpha(["run-strategy", "momentum", "--all-hours"], saturday)
    assert counters(lifted.stderr.decode())["outside_session"] == 0
    assert counters(lifted.stderr.decode())["signals"] > 0


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+05:30", "9999-12-31T23:59:59.999999Z"])
def test_a_tick_from_the_ends_of_the_calendar_is_merely_outside_the_session(time: str) -> None:
    """Such a time cannot be turned into Indian time; that must not stop the stream."""
    odd = decode(b'{"type":"tick","instrument_token":%d,"timestamp":"%s","last_price":1}' % (NIFTY, time.encode()))
    host = Host().add("any")
    assert len(host.signals(odd, tick())) == 1
    assert host.counts()["outside_session"] == 1


# --- ids -------------------------------------------------------------------------------------


def ids(made: Sequence[Signal]) -> list[str]:
    return [one.signal_id for one in made]


def test_two_ticks_of_one_instrument_at_one_time_give_different_ids() -> None:
    """Their ordinal tells them apart; the next moment begins anew."""
    made = ids(Host().add("any").signals(tick(1), tick(1), tick(1), tick(2)))
    assert len(set(made)) == 4
    assert ids(Host().add("any").signals(tick(1), tick(2))) == [made[0], made[3]]


def test_ids_do_not_depend_on_who_else_is_in_the_stream() -> None:
    """Other instruments at the same time, and other strategies, change no id."""
    alone = ids(Host().add("mine").signals(tick(1), tick(1), tick(2)))
    crowded = Host().add("before", tokens=(NIFTY, BANK)).add("mine", tokens=(BANK, NIFTY)).add("after")
    made = crowded.signals(tick(1, token=BANK), tick(1), tick(1, token=BANK), tick(1), tick(2, token=BANK), tick(2))
    assert ids([one for one in made if one.strategy_id == "mine" and one.instrument_token == NIFTY]) == alone


def test_ids_do_not_depend_on_price_or_on_what_the_strategy_says() -> None:
    """An edited configuration cannot mint a second order for the same cause."""
    one = ids(Host().add("any", buy).signals(tick(1, 100)))
    other = ids(Host().add("any", lambda *_: SignalResult("SELL", quantity=9)).signals(tick(1, 250)))
    assert one == other


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-8)), timezone(timedelta(hours=14))])
def test_ids_do_not_depend_on_the_offset_in_which_a_time_is_written(zone: timezone) -> None:
    """The same instant is the same cause; an ordinal counts across offsets."""
    here = [tick(1), tick(1)]
    there = [msgspec.structs.replace(one, timestamp=one.timestamp.astimezone(zone)) for one in here]
    expected = ids(Host().add("any").signals(*here))
    assert ids(Host().add("any").signals(*there)) == expected
    assert ids(Host().add("any").signals(here[0], there[1])) == expected


def test_ids_depend_on_strategy_broker_instrument_and_time() -> None:
    """Each of the four alone makes another id."""
    base = ids(Host().add("a").signals(tick(1)))
    others = [
        Host().add("b").signals(tick(1)),
        Host().add("a", brokers=("zerodha",)).signals(tick(1)),
        Host().add("a", tokens=(BANK,)).signals(tick(1, token=BANK)),
        Host().add("a").signals(tick(1.000001)),
    ]
    assert len({*base, *(one for made in others for one in ids(made))}) == 5


def test_the_id_of_a_given_cause_is_pinned() -> None:
    """It must never change: a new version replaying an old day may not double its orders."""
    assert ids(Host().add("momentum").signals(tick(1))) == ["92fee22d936e8fd761b23268"]


# --- as a process ----------------------------------------------------------------------------


def strategy_file(folder: Path, text: str = "", name: str = "mine", **fields: str) -> Path:
    """A strategy's configuration; `fields` replace the usual ones."""
    usual = {"id": name, "strategy_type": "momentum", "instruments": f"[{NIFTY}]"}
    path = folder / f"{name}.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in {**usual, **fields}.items()) + text)
    return path


def made_by(stage: Stage, events: Sequence[Tick]) -> list[Any]:
    return [made for event in events for made in stage.step(event)]


def test_the_brokers_of_a_strategy_are_cut_down_to_those_of_the_deployment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A strategy alone cannot reach a broker; with none left its signals go nowhere, and that is said."""
    file = strategy_file(tmp_path, active_brokers="[zerodha, paper]")
    for deployed, expected in {"paper": ["paper"], "paper, zerodha": ["zerodha", "paper"], "": []}.items():
        monkeypatch.setenv("ALPHA_ACTIVE_BROKERS", deployed)
        brokers = [one.broker for one in made_by(run_strategy_stage(Selection(files=(file,)), Options()), ticks(25))]
        assert brokers == expected * (len(brokers) // max(len(expected), 1))
        assert bool(brokers) == bool(expected)
        assert ("mine has no active broker" in capsys.readouterr().err) != bool(expected)


def test_active_brokers_come_from_the_environment_before_alpha_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings: environment > file."""
    (tmp_path / "alpha.yaml").write_text("active_brokers: [zerodha]\n")
    monkeypatch.setenv("ALPHA_CONFIG_DIR", str(tmp_path))
    monkeypatch.delenv("ALPHA_ACTIVE_BROKERS", raising=False)
    assert load_settings().active_brokers == ("zerodha",)
    monkeypatch.setenv("ALPHA_ACTIVE_BROKERS", " paper ,, zerodha")
    assert load_settings().active_brokers == ("paper", "zerodha")


def test_an_inactive_strategy_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says so, and the others run."""
    inactive = strategy_file(tmp_path, name="resting", is_active="false")
    stage = run_strategy_stage(Selection(files=(inactive, strategy_file(tmp_path))), Options())
    assert {one.strategy_id for one in made_by(stage, ticks(60))} == {"mine"}
    assert "resting is not active" in capsys.readouterr().err


def test_two_strategies_with_one_id_are_refused(tmp_path: Path) -> None:
    """Their signals would have equal ids."""
    with pytest.raises(ConfigurationError, match="two strategies have the id momentum"):
        run_strategy_stage(Selection(("momentum",), (strategy_file(tmp_path, name="momentum"),)), Options())


def test_an_instrument_listed_twice_is_followed_once(tmp_path: Path) -> None:
    """One tick, one call."""
    once = made_by(run_strategy_stage(Selection(files=(strategy_file(tmp_path),)), Options()), ticks(60))
    twice = strategy_file(tmp_path, instruments=f"[{NIFTY}, {NIFTY}]")
    assert made_by(run_strategy_stage(Selection(files=(twice,)), Options()), ticks(60)) == once


def test_names_and_files_add_up_and_signals_follow_their_tick() -> None:
    """What came in goes out as the same bytes, in order; each signal stands right after its cause."""
    given = stream(ticks(240, (NIFTY, BANK)))
    made = run_alpha(["run-strategy", "momentum", "--config", "configs/strategies/mean_reversion.yaml"], given)
    assert made.returncode == 0
    lines = made.stdout.splitlines(keepends=True)
    added = [line for line in lines if line.startswith(b'{"type":"signal"')]
    assert b"".join(line for line in lines if line not in added) == given
    assert counters(made.stderr.decode())["signals"] == len(added) > 0
    cause: Any = None
    for line in lines:
        event = decode(line)
        if isinstance(event, Signal):
            assert (event.instrument_token, event.timestamp) == (cause.instrument_token, cause.timestamp)
        else:
            cause = event
