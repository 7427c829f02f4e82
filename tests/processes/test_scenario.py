"""Many strategies beside each other: of three kinds on one day, and a thousand of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import time
from pathlib import Path
from shutil import copy
from types import SimpleNamespace
from typing import Any

import pytest
from support.events import BANK, NIFTY, stream, tick
from support.examples import rest_nightly
from support.processes import Pipeline, alpha, run_alpha
from support.strategy_runs import events_of, hosted, run_strategy, said, yaml_file

from alpha_cli import SignalResult
from alpha_cli.config.files import packaged
from alpha_cli.core.codec import decode, encode
from alpha_cli.core.events import Denial, Fill, Order, OrderUpdate, Portfolio, Tick
from alpha_cli.market.calendar import SessionHours
from alpha_cli.stages.run_strategy.config import StrategyConfig
from alpha_cli.stages.run_strategy.engine import StrategyRunner
from alpha_cli.stages.run_strategy.executor import Strategy
from alpha_cli.stages.run_strategy.status import statuses

KINDS = ("rules_rsi", "ml_momentum", "hybrid_ml_rsi")
WITH_MODEL = {"ml_momentum", "hybrid_ml_rsi"}


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALPHA_CONFIG_DIR", "ALPHA_ACTIVE_BROKERS", "ALPHA_CONFIG_DB", "ALPHA_STATE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic day of three instruments, with a pre-open, the minute after the close, and the next Saturday."""
    path = tmp_path_factory.mktemp("scenario") / "day.ndjson"
    made = run_alpha(
        ["feed", "-q", "--ticks", "6000", "--instruments", f"{NIFTY},{BANK},408065", "--date", "2024-06-03"]
    )
    inside = events_of(made.stdout, Tick)
    close, saturday = 6.25 * 3600, 5 * 86_400
    outside = [
        tick(at, 25_000.0, token) for at in (-600, -0.001, close, close + 60, saturday) for token in (NIFTY, BANK)
    ]
    events = sorted([*inside, *outside], key=lambda one: one.timestamp)
    path.write_bytes(stream(events))
    return path


def followed(day: Path) -> list[Tick]:
    """The ticks that the strategies are to see: of their two instruments, within the session."""
    hours = SessionHours()
    return [
        one
        for one in events_of(day.read_bytes(), Tick)
        if one.instrument_token in (NIFTY, BANK) and hours.contains(one.timestamp)
    ]


# --- three kinds, side by side -----------------------------------------------------------------------


def test_rules_model_and_hybrid_trade_the_same_day_side_by_side(day: Path, tmp_path: Path) -> None:
    """Four processes and one give the same bytes; each kind says something, and all of it is traded on paper."""
    run = ["run-strategy", *KINDS, "--state"]
    shell = [*run, str(tmp_path / "shell")]
    fused = [*run, str(tmp_path / "fused")]
    with Pipeline(
        alpha("feed", str(day)), alpha(*shell), alpha("risk"), alpha("paper", "--forward")
    ) as pipeline:  # fmt: skip
        assert pipeline.wait() == [0, 0, 0, 0]
        output = pipeline.output
        said_of_shell = pipeline.stderr(1)
    done = run_alpha(["pipe", f"feed {day} | {' '.join(fused)} | risk | paper --forward"])
    assert done.returncode == 0
    assert done.stdout == output
    made = events_of(output)
    assert {one.strategy_id for one in made} == set(KINDS)
    assert {one.instrument_token for one in made} == {NIFTY, BANK}
    orders, updates = events_of(output, Order), events_of(output, OrderUpdate)
    late = {one.signal_id for one in events_of(output, Denial) if one.code == "SESSION_SQUARED_OFF"}
    assert {one.signal_id for one in orders} == {one.signal_id for one in made} - late
    squared_off = {one.order_id for one in updates if one.order_id.startswith("square-off-")}
    refused = {one.order_id for one in updates if one.code == "MIS_AFTER_SQUARE_OFF"}  # to close what paper had closed
    filled = {one.order_id for one in events_of(output, Fill)}
    assert filled == {one.order_id for one in orders} - refused | squared_off
    assert all(one.timestamp.time() >= time(15, 20) for one in orders if one.order_id in refused)
    assert all(one.timestamp.time() >= time(15, 20) for one in made if one.signal_id in late)
    assert late
    assert squared_off
    assert len(events_of(output, Portfolio)) == 1
    ticks = len(followed(day))
    assert ticks == 4000
    for folder in ("shell", "fused"):
        status = json.loads((tmp_path / folder / "run-strategy.status.json").read_bytes())
        found = {one["id"]: one for one in status["strategies"]}
        assert {name for name, one in found.items() if one.get("has_model")} == WITH_MODEL
        assert {one["ticks"] for one in found.values()} == {ticks}
        assert {one["state"] for one in found.values()} == {"running"}
        by_strategy = Counter(one.strategy_id for one in made)
        assert {name: one["signals"] for name, one in found.items()} == by_strategy
        assert all(one["by_broker"] == {"paper": one["signals"]} for one in found.values())
    assert "outside_session=10" in said_of_shell
    assert "outside_session=10" in done.stderr.decode()


def test_only_those_with_a_model_load_one(day: Path) -> None:
    """The runner never asks which kind a strategy is: it looks whether there is a load_model."""
    files = [packaged("configs") / "strategies" / f"{name}.yaml" for name in KINDS]
    host, told = hosted(files)
    with_method = {
        name
        for name, strategy in host.runner.strategies.items()
        if all(hasattr(processor, "load_model") for processor in strategy.processors)
    }
    assert with_method == WITH_MODEL == {one.id for one in host.statuses() if one.has_model}
    for name in WITH_MODEL:
        assert len({id(getattr(one, "model")) for one in host.runner.strategies[name].processors}) == 1  # noqa: B009
    made = said(host, events_of(day.read_bytes(), Tick))
    assert told == []
    counted = Counter(one.strategy_id for one in made)
    for one in host.statuses():
        assert one.ticks == len(followed(day))
        assert one.signals == counted[one.id] > 0


@pytest.mark.parametrize("name", rest_nightly(1, reversed(KINDS)))
def test_each_says_beside_the_others_what_it_says_alone(day: Path, name: str) -> None:
    """Ids included, with and without workers."""
    data = day.read_bytes()
    alone = events_of(run_alpha(["run-strategy", name], data).stdout)
    for options in ((), ("--workers", "2")):
        together = events_of(run_alpha(["run-strategy", *KINDS, *options], data).stdout)
        assert [one for one in together if one.strategy_id == name] == alone != []


def damaged_models(folder: Path) -> dict[str, Callable[[], Path]]:
    """Ways in which a model cannot be used -> what makes one."""
    source = packaged("strategies") / "models" / "direction.onnx"

    def copied(name: str, change: Callable[[bytes], bytes] = bytes, describe: Callable[[str], str] = str) -> Path:
        path = folder / f"{name}.onnx"
        path.write_bytes(change(source.read_bytes()))
        path.with_suffix(".json").write_text(describe(source.with_suffix(".json").read_text()))
        return path

    def undescribed() -> Path:
        return Path(copy(source, folder / "undescribed.onnx"))

    return {
        "missing": lambda: folder / "absent.onnx",
        "no packaged one": lambda: Path("directions"),
        "without its description": undescribed,
        "cut short": lambda: copied("short", lambda content: content[: len(content) // 2]),
        "empty": lambda: copied("empty", lambda _: b""),
        "of other features": lambda: copied("other", describe=lambda text: text.replace("rsi_14", "rsi_15")),
        "with a description that is none": lambda: copied("odd", describe=lambda _: "{"),
    }


@pytest.mark.parametrize("fault", rest_nightly(2, damaged_models(Path())))
def test_a_model_that_is_missing_or_corrupt_disables_that_strategy_alone(tmp_path: Path, day: Path, fault: str) -> None:
    """The other two say what they say with it; the closing line and the status tell who is disabled, and why."""
    model = damaged_models(tmp_path)[fault]()
    instruments = f"[{NIFTY}, {BANK}]"
    broken = yaml_file(tmp_path, "ml", strategy_type="ml_momentum", instruments=instruments,
                       parameters=f"{{model: '{model}'}}")  # fmt: skip
    data = b"".join(day.read_bytes().splitlines(keepends=True)[:2000]) + b'{"type":"eof","ok":true,"code":0}\n'
    others = ["run-strategy", "rules_rsi", "hybrid_ml_rsi"]
    expected = run_alpha(others, data)
    done = run_alpha([*others, "--config", str(broken), "--state", str(tmp_path / "state")], data)
    assert (done.returncode, done.stdout) == (0, expected.stdout)
    assert "ml is disabled: its model cannot be loaded: " in done.stderr.decode()
    assert " disabled=1" in done.stderr.decode()
    found = {
        one["id"]: one
        for one in json.loads((tmp_path / "state" / "run-strategy.status.json").read_bytes())["strategies"]
    }
    assert {name: one["state"] for name, one in found.items()} == {
        "rules_rsi": "running", "hybrid_ml_rsi": "running", "ml": "disabled",
    }  # fmt: skip
    assert found["ml"]["reason"].startswith("its model cannot be loaded: ")


def test_a_model_that_fails_while_it_runs_is_that_strategys_own_affair(tmp_path: Path) -> None:
    """The hybrid whose prediction raises is paused by its circuit; the rules go on."""
    (tmp_path / "broken.py").write_text(
        "class Broken:\n"
        "    def load_model(self):\n        self.model = object()\n"
        "    def extract_features(self, tick, history):\n        return (tick.last_price,)\n"
        "    def predict_signal(self, features):\n        return self.model.probability(features)\n"
    )
    files = [
        yaml_file(tmp_path, "broken", strategy_type="./broken.py:Broken"),
        yaml_file(tmp_path, "rsi", strategy_type="rules_rsi", parameters="{period: 3}"),
    ]
    events = [tick(at, 100 + at * 7 % 50 / 10) for at in range(60)]
    alone = events_of(run_strategy(files[1], stream(events)).stdout)
    done = run_strategy(files, stream(events), "--cool-down", "3600")
    assert events_of(done.stdout) == alone != []
    assert "broken is paused: circuit open after 5 failures in a row, the last AttributeError" in done.stderr.decode()


# --- a thousand ------------------------------------------------------------------------------------

THOUSAND = 1000


def thousand(tokens_of: Callable[[int], Sequence[int]]) -> tuple[StrategyRunner, list[list[int]]]:
    """A runner with a thousand strategies; and for each the instruments that it was asked about, in order."""
    told: list[str] = []
    runner = StrategyRunner(report=told.append)
    calls: list[list[int]] = [[] for _ in range(THOUSAND)]

    def create(number: int) -> Any:
        def process_tick(one: Tick, history: Sequence[Tick]) -> Any:
            calls[number].append(one.instrument_token)
            return SignalResult("BUY", quantity=1) if len(history) == 1 else None

        return SimpleNamespace(process_tick=process_tick)

    for number in range(THOUSAND):
        config = StrategyConfig(id=f"s{number}", strategy_type="test", instruments=tuple(tokens_of(number)))
        runner.roster.add(Strategy(config, ["paper"], number, create=lambda _, number=number: create(number)))  # type: ignore[misc]
    assert told == []
    return runner, calls


def test_a_thousand_strategies_on_a_thousand_instruments_are_each_asked_about_their_own() -> None:
    """A tick leads to one call, whoever else there is; and to none for an instrument that nobody follows."""
    runner, calls = thousand(lambda number: [number + 1])
    made = said(runner, [tick(at, 100.0, token) for at in range(3) for token in range(1, THOUSAND + 2)])
    assert calls == [[number + 1] * 3 for number in range(THOUSAND)]
    assert [(one.strategy_id, one.instrument_token) for one in made] == [(f"s{at}", at + 1) for at in range(THOUSAND)]
    assert {one.ticks for one in statuses(runner)} == {3}


def test_a_thousand_strategies_on_one_instrument_are_all_asked_in_their_order() -> None:
    """Each tick reaches every one of them once; of two instruments each gets its own history."""
    runner, calls = thousand(lambda _: [NIFTY, BANK])
    made = said(runner, [tick(at, 100.0, token) for at in range(4) for token in (NIFTY, BANK, 7)])
    assert calls == [[NIFTY, BANK] * 4] * THOUSAND
    names = [f"s{number}" for number in range(THOUSAND)]
    assert [one.strategy_id for one in made] == [*names, *names]
    assert len({one.signal_id for one in made}) == 2 * THOUSAND
    assert {one.ticks for one in statuses(runner)} == {8}


def test_a_thousand_strategies_run_as_one_process_and_the_closing_line_stays_readable(tmp_path: Path) -> None:
    """With a state and through the wire; the busiest are named."""
    files = [
        yaml_file(tmp_path, f"s{number}", instruments=f"[{number + 1}]", parameters="{lookback: 1, threshold: 0.001}")
        for number in range(200)
    ]
    events = [tick(at, 100.0 + at % 2, token) for at in range(6) for token in range(1, 201)]
    done = run_strategy(files, stream(events))
    assert done.returncode == 0
    made = Counter(one.strategy_id for one in events_of(done.stdout))
    assert len(made) == 200
    assert set(made.values()) == {5}
    (line,) = done.stderr.decode().splitlines()
    words = line.split()
    assert sum(word.endswith(".ticks=6") for word in words) == sum(word.endswith(".signals=5") for word in words) == 20
    assert "broker.paper=1000" in words
    assert all(decode(encode(one)) == one for one in events_of(done.stdout)[:3])
