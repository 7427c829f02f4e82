"""`alpha risk explain` and `alpha risk test`: what the limits are, and what they would have refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.events import BANK, NIFTY, START, order, signal, stream, tick
from support.processes import Pipeline, alpha, run_alpha

from alpha_cli.core.codec import decode
from alpha_cli.core.events import Control, Denial, Fill, OrderUpdate
from alpha_cli.core.ids import derive_id
from alpha_cli.stages.risk.codes import MEANINGS, Code
from alpha_cli.stages.risk.config import load_limits
from alpha_cli.stages.risk.controls.table import CONTROLS
from alpha_cli.stages.risk.resolve import limits_hash

INFY, FUTURE, OPTION = 408065, 14866434, 15845634
MASTER = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,"
    "segment,exchange\n"
    "408065,1594,INFY,INFOSYS,0,,0,0.05,1,EQ,NSE,NSE\n"
    "14866434,58072,NIFTY26AUGFUT,NIFTY,0.0,2026-08-25,0.0,0.1,65,FUT,NFO-FUT,NFO\n"
    "15845634,61897,NIFTY26AUG25000CE,NIFTY,0.0,2026-08-25,25000.0,0.05,65,CE,NFO-OPT,NFO\n"
)
DAY = "2026-08-18"


@pytest.fixture
def master(tmp_path: Path) -> Path:
    """A share, a future and an option."""
    path = tmp_path / "master.csv"
    path.write_text(MASTER)
    return path


def written(folder: Path, limits: Any, name: str = "limits.yaml") -> str:
    """The path of a file with these limits."""
    path = folder / name
    path.write_text(yaml.safe_dump(limits))
    return str(path)


def printed(*args: str, **options: Any) -> str:
    """What the command says on stdout, where it ends well and says nothing else."""
    made = run_alpha(["risk", *args], **options)
    assert (made.returncode, made.stderr) == (0, b"")
    return made.stdout.decode()


def explained(*args: str) -> dict[str, dict[str, Any]]:
    """The lines of `explain --json` that are about controls, by control."""
    lines = [json.loads(line) for line in printed("explain", *args, "--json").splitlines()]
    lines = [line for line in lines if line["number"] is not None]
    assert len({line["control"] for line in lines}) == len(lines)
    return {line["control"]: line for line in lines}


# --- explain ---------------------------------------------------------------------------------


def test_explain_has_each_control_in_the_order_in_which_they_are_asked() -> None:
    """For programs: number, setting, codes, and when it is asked, as the table of controls has them."""
    found = explained(str(NIFTY))
    assert list(found) == [control.name for control in CONTROLS]
    for control in CONTROLS:
        line = found[control.name]
        assert (line["number"], line["setting"], line["asked"]) == (control.number, control.setting, control.at)
        assert line["codes"] == [code.value for code in control.codes]
        if control.setting is None:
            assert (line["limit"], line["sources"], line["effect"]) == (None, [], "always")


def test_explain_prints_a_table_for_people() -> None:
    """The instrument, whose order it is, the hash, and a row for each control that can be set."""
    text = printed("explain", str(NIFTY), "--strategy", "momentum", "--date", DAY)
    lines = text.splitlines()
    assert lines[0] == f"NSE:{NIFTY} (token {NIFTY}, equity) on {DAY}"
    assert lines[1] == f"broker paper, strategy momentum; limits {limits_hash(load_limits(None))}"
    assert lines[2] == "lot 1, tick ₹0.05, freeze quantity –"
    assert lines[3] == "assume_market_fills yes (from brokers.paper): a MARKET order counts as filled"
    rows = [line.split() for line in lines[6:]]
    assert [row[1] for row in rows] == [control.name for control in CONTROLS]
    for control, row in zip(CONTROLS, rows, strict=True):
        assert row[2] == (control.setting or "–")
    assert "\x1b" not in text


SIZED = {
    "account": {"sizing": {"rule": "fixed", "quantity": 2}},
    "brokers": {"paper": {"sizing": {"rule": "fixed", "quantity": 3}}},
    "strategies": {"momentum": {"sizing": {"rule": "notional", "rupees": 5000}}},
}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--strategy", "momentum"], "sizing rule notional, rupees 5000 (from strategies.momentum)"),
        (["--strategy", "other"], "sizing rule fixed, quantity 3 (from brokers.paper)"),
        (["--broker", "zerodha"], "sizing rule fixed, quantity 2 (from account)"),
    ],
)
def test_explain_tells_how_signals_are_sized(more: list[str], said: str, tmp_path: Path) -> None:
    """By the narrowest level that has a rule; for programs too."""
    args = ["explain", str(NIFTY), *more, "--config", written(tmp_path, SIZED)]
    assert f"{said}: sizes signals without a quantity\n" in printed(*args)
    (line,) = [one for one in map(json.loads, printed(*args, "--json").splitlines()) if one["setting"] == "sizing"]
    assert f"sizing {line['limit']} (from {line['sources'][0]})" == said
    assert line["number"] is None


@pytest.mark.parametrize(
    ("account", "paper", "said"),
    [
        (None, True, "yes (from brokers.paper): a MARKET order counts as filled"),
        (None, False, "off (from brokers.paper): a MARKET order counts as open until a report on it"),
        (False, True, "off (from account): a MARKET order counts as open until a report on it"),
        (None, None, None),
    ],
)
def test_explain_tells_what_a_market_order_counts_as(
    account: bool | None, paper: bool | None, said: str | None, tmp_path: Path
) -> None:
    """By the level that holds, which is the tightest."""
    limits = {"account": {"assume_market_fills": account}, "brokers": {"paper": {"assume_market_fills": paper}}}
    text = printed("explain", str(NIFTY), "--config", written(tmp_path, limits))
    assert ("assume_market_fills" in text) == (said is not None)
    assert said is None or f"assume_market_fills {said}\n" in text


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ("momentumm", "strategy momentumm has no limits of its own; did you mean strategies.momentum?\n"),
        ("rules", "strategy rules has no limits of its own\n"),
        ("momentum", None),
    ],
)
def test_explain_says_when_a_strategy_has_no_limits_of_its_own(strategy: str, said: str | None, tmp_path: Path) -> None:
    """Where others have: a slip in a name would hold for nobody."""
    file = written(tmp_path, {"strategies": {"momentum": {"max_position": 5}}})
    text = printed("explain", str(NIFTY), "--strategy", strategy, "--config", file)
    assert ("no limits of its own" in text) == (said is not None)
    assert said is None or said in text


def test_explain_names_the_level_that_a_limit_is_from(tmp_path: Path) -> None:
    """The tightest is shown, its level first, and after it the others that have something to say."""
    file = written(
        tmp_path,
        {
            "account": {"max_order_quantity": 10, "max_position": 7, "max_order_value": 5000},
            "brokers": {"paper": {"max_order_quantity": 5, "max_position": 8}, "zerodha": {"max_order_value": 1}},
            "strategies": {"momentum": {"max_order_quantity": 6}, "other": {"max_order_value": 2}},
            "instruments": {NIFTY: {"max_order_quantity": 9}, f"NSE:{NIFTY}": {"max_position": 6}, BANK: {}},
        },
    )
    found = explained(str(NIFTY), "--strategy", "momentum", "--config", file)
    quantity, position, value = (found[name] for name in ("order_quantity", "position", "order_value"))
    assert (quantity["limit"], quantity["sources"][0], quantity["effect"]) == ("5", "brokers.paper", "on")
    assert set(quantity["sources"][1:]) == {"account", "strategies.momentum", f"instruments.{NIFTY}"}
    assert (position["limit"], position["sources"][0]) == ("6", f"instruments.NSE:{NIFTY}")
    assert (value["limit"], value["sources"]) == ("5000", ["account"])
    found = explained(str(NIFTY), "--strategy", "other", "--broker", "zerodha", "--config", file)
    assert (found["order_value"]["limit"], found["order_value"]["sources"][0]) == ("1", "brokers.zerodha")
    assert (found["order_quantity"]["limit"], found["order_quantity"]["sources"][0]) == ("9", f"instruments.{NIFTY}")


@pytest.mark.parametrize(
    ("control", "account", "strategy", "limit"),
    [
        ("products", {"products": ["MIS", "CNC"]}, {"products": ["CNC", "NRML"]}, "CNC"),
        ("order_types", {"order_types": ["MARKET", "LIMIT"]}, {"order_types": ["LIMIT", "SL"]}, "LIMIT"),
        (
            "message_rate", {"message_rate": {"second": 5, "minute": 400, "day": 900}},
            {"message_rate": {"second": 9, "minute": 50, "day": 5000}}, "second 5, minute 50, day 900",
        ),
        (
            "price_tolerance", {"price_tolerance": {"equity": 0.02}},
            {"price_tolerance": {"option": 0.1}}, "equity 0.02, option 0.1",
        ),
        (
            "entry_window", {"entry_window": {"after_open": 15}},
            {"entry_window": {"before_close": 30}}, "after_open 15, before_close 30",
        ),
    ],
)  # fmt: skip
def test_explain_shows_what_several_levels_come_to_together(
    control: str, account: Any, strategy: Any, limit: str, tmp_path: Path
) -> None:
    """Where neither is tighter in everything, the limit is that of neither alone; both are named."""
    file = written(tmp_path, {"account": account, "strategies": {"momentum": strategy}})
    line = explained(str(NIFTY), "--strategy", "momentum", "--config", file)[control]
    assert set(line["sources"]) == {"account", "strategies.momentum"}
    assert line["limit"] == limit


def test_explain_says_what_is_unset_for_a_real_broker() -> None:
    """Each setting of the packaged limits is for paper alone: for zerodha all refuse, for paper the rest is off."""
    found = explained(str(NIFTY), "--broker", "zerodha")
    for control in CONTROLS:
        if control.setting is not None:
            line = found[control.name]
            assert (line["limit"], line["sources"], line["effect"]) == (None, [], "unset: refuses everything")
    text = printed("explain", str(NIFTY), "--broker", "zerodha")
    assert text.count("unset: refuses everything") == sum(one.setting is not None for one in CONTROLS)
    found = explained(str(NIFTY))
    assert {found[name]["effect"] for name in ("products", "signal_ttl", "funds", "circuit")} == {"off"}


def test_explain_calls_a_tolerance_for_another_kind_unset(master: Path, tmp_path: Path) -> None:
    """Shares alone have one, so every order for an option of a real broker is refused with LIMIT_UNSET."""
    file = written(tmp_path, {"brokers": {"zerodha": {"price_tolerance": {"equity": 0.02}}}})
    options = ["--config", file, "--instruments", str(master), "--date", DAY, "--broker", "zerodha"]
    assert explained(str(INFY), *options)["price_tolerance"]["effect"] == "on"
    assert explained(str(OPTION), *options)["price_tolerance"]["effect"] == "unset: refuses everything"


def test_explain_tells_a_control_that_is_off_from_one_that_refuses(tmp_path: Path) -> None:
    """`off` for the word off, and for hours that do not matter; not for entries that are forbidden."""
    level = {
        "market_protection": False, "participation": False, "session_hours": False, "algo_id": False,
        "expiry_day_entries": False, "self_match_prevention": True,
    }  # fmt: skip
    found = explained(str(NIFTY), "--config", written(tmp_path, {"account": level}))
    assert found["market_orders"]["effect"] == "no MARKET orders"
    for name in ("participation", "session", "square_off", "algo_id"):
        assert found[name]["effect"] == "off"
    assert found["self_match"]["effect"] == "on"
    assert found["expiry_day"]["effect"] != "off"


def test_explain_looks_an_instrument_up_and_knows_what_it_is_on_a_day(master: Path) -> None:
    """By key or token; the freeze quantity is that of the month."""
    options = ["--instruments", str(master), "--date"]
    for day, freeze in ((DAY, "1800 units"), ("2021-08-18", "2800 units"), ("2024-01-10", "–")):
        for name in ("NFO:NIFTY26AUG25000CE", str(OPTION)):
            lines = printed("explain", name, *options, day).splitlines()
            assert lines[0] == f"NFO:NIFTY26AUG25000CE (token {OPTION}, option) on {day}"
            assert lines[2] == f"lot 65, tick ₹0.05, freeze quantity {freeze}"


def test_explain_refuses_in_one_line_an_instrument_that_nobody_knows(master: Path) -> None:
    """A symbol that is not in the master, with what may have been meant; or no master to find it in."""
    for args, said in (
        (["NSE:INFI", "--instruments", str(master)], "NSE:INFI: not in the instrument master"),
        (["NSE:INFI", "--instruments", str(master)], "did you mean NSE:INFY?"),
        (["NSE:INFY"], "no instrument master"),
        (["nonsense"], "nonsense"),
        ([""], "write a token"),
    ):
        made = run_alpha(["risk", "explain", *args])
        assert (made.returncode, made.stdout) == (2, b"")
        (line,) = made.stderr.decode().splitlines()
        assert said in line


def test_explain_does_not_describe_a_token_that_the_master_does_not_have(master: Path) -> None:
    """An order for it is denied with INSTRUMENT_UNKNOWN, whatever the limits are; explain says so."""
    made = run_alpha(["risk", "explain", "999", "--instruments", str(master), "--date", DAY])
    assert b"not in the instrument master" in made.stdout + made.stderr


@pytest.mark.parametrize("token", ["0", "99999999999999999999"])
def test_explain_refuses_a_number_that_is_no_token(token: str) -> None:
    """No tick and no signal can carry it."""
    made = run_alpha(["risk", "explain", token])
    assert (made.returncode, made.stdout, made.stderr.count(b"\n")) == (2, b"", 1)


@pytest.mark.parametrize("day", ["2026-13-01", "today", "18.08.2026", ""])
def test_explain_refuses_a_date_that_is_none(day: str) -> None:
    """One line that shows how to write it."""
    made = run_alpha(["risk", "explain", str(NIFTY), "--date", day])
    assert (made.returncode, made.stdout, made.stderr.count(b"\n")) == (2, b"", 1)
    assert b"--date" in made.stderr


def test_explain_and_test_refuse_a_name_that_the_master_does_not_have(master: Path, tmp_path: Path) -> None:
    """As the stage does: the same limits, the same 78."""
    file = written(tmp_path, {"instruments": {"NSE:INFI": {"max_position": 1}}})
    for args in (["explain", "NSE:INFY"], ["test", "-"]):
        made = run_alpha(["risk", *args, "--config", file, "--instruments", str(master)], stream([tick()]))
        assert (made.returncode, made.stdout, made.stderr.count(b"\n")) == (78, b"", 1)
        assert b"did you mean 'NSE:INFY'?" in made.stderr


# --- options, and help ------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["explain", str(NIFTY)], ["test", "-"]])
@pytest.mark.parametrize(
    "options", [["--config", "x.yaml"], ["--instruments", "x.csv"], ["--state", "x"], ["--fills", "x"], ["-q"],
                ["--as", "x"], ["--ack-limits", "x"], ["--bad", "skip"], ["--drain", "1"]],
)  # fmt: skip
def test_options_before_a_command_are_refused(command: list[str], options: list[str]) -> None:
    """They would be those of the stage, and other limits would be explained than were meant."""
    made = run_alpha(["risk", *options, *command], stream([tick()]))
    assert (made.returncode, made.stdout, made.stderr.count(b"\n")) == (2, b"", 1)
    assert f"is not for {command[0]}, or it comes after that word".encode() in made.stderr


def test_a_state_folder_in_the_environment_is_no_option_that_was_given(tmp_path: Path) -> None:
    """Both commands work where ALPHA_STATE is set, and make nothing there."""
    state = {"ALPHA_STATE": str(tmp_path / "state")}
    printed("explain", str(NIFTY), env=state)
    printed("test", "-", input=stream([tick(), signal(1)]), env=state)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("args", [[], ["explain"], ["test"]])
def test_help_shows_an_example(args: list[str]) -> None:
    """Of the stage and of each of its commands; the stage's names both."""
    text = printed(*args, "--help")
    assert "Example" in text
    assert f"alpha risk {args[0]} " in text if args else "alpha feed | alpha run-strategy" in text
    if not args:
        assert "  explain  " in text
        assert "  test  " in text


def test_an_unknown_command_is_refused() -> None:
    """With 2, before anything is read."""
    made = run_alpha(["risk", "explian", str(NIFTY)])
    assert (made.returncode, made.stdout, made.stderr.count(b"\n")) == (2, b"", 1)


# --- test ------------------------------------------------------------------------------------

STRICT = {
    "account": {"max_order_value": 56_000, "max_position": 3},
    "brokers": {
        "paper": {"price_tolerance": 0.02, "session_hours": True, "assume_market_fills": True, "duplicate_window": 60}
    },
    "strategies": {"momentum": {"max_turnover": 150_000, "max_position": 2}},
    "instruments": {BANK: {"max_order_value": 55_900}},
}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the packaged strategy by the packaged limits, with everything that was said in it."""
    path = tmp_path_factory.mktemp("recording") / "run.ndjson"
    made = run_alpha(["pipe", "-q", "feed --ticks 20000 | run-strategy momentum | risk | paper --forward"])
    assert made.returncode == 0
    path.write_bytes(made.stdout)
    return path


def tallies(*args: str, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How many signals there were, and the lines by control, of `test --json`."""
    first, *rest = [json.loads(line) for line in printed("test", *args, "--json", **options).splitlines()]
    assert first.pop("kind") == "signals"
    return first, [line for line in rest if line["kind"] == "control"]


def denied(file: Path, limits: str) -> list[Denial]:
    """What `alpha risk` denies of the recording, in real processes."""
    feed = alpha("feed", "-q", str(file), "--types", "tick,signal,control")
    with Pipeline(feed, alpha("risk", "-q", "--config", limits)) as pipeline:
        assert pipeline.finish() == [0, 0]
        found = [decode(line) for line in pipeline.output.splitlines()]
    return [one for one in found if isinstance(one, Denial)]


@pytest.mark.parametrize(
    "limits",
    [
        STRICT,
        {"account": {"max_order_value": 1}},
        {"account": {"max_turnover": 100_000, "max_order_quantity": 1, "products": ["CNC"]}},
        {"brokers": {"paper": {"session_hours": True}}},
    ],
)
def test_what_it_decides_is_what_the_stage_decides(limits: Any, recording: Path, tmp_path: Path) -> None:
    """By code, the first refusals are the denials; each control would refuse at least as many as it decides."""
    file = written(tmp_path, limits)
    denials = denied(recording, file)
    counts, lines = tallies(str(recording), "--config", file)
    signals = recording.read_bytes().count(b'"type":"signal"')
    assert signals > 10
    assert counts == {"signals": signals, "passed": signals - len(denials)}
    decided: Counter[str] = Counter()
    for line in lines:
        assert line["refused"] >= line["decided"] >= 0
        decided[line["code"]] += line["decided"]
    assert +decided == Counter(one.code for one in denials)
    assert sum(line["decided"] for line in lines) == len(denials)


def test_each_control_is_asked_of_every_signal_that_is_refused(tmp_path: Path) -> None:
    """Of a signal with three faults one control decides, and two more would have refused."""
    limits = {"account": {"max_order_quantity": 5, "max_order_value": 500, "max_position": 5}}
    signals = [signal(1, quantity=6), signal(2, quantity=5, price=None), signal(3, quantity=7, at=1)]
    counts, lines = tallies("-", "--config", written(tmp_path, limits), input=stream([tick(), *signals]))
    assert counts == {"signals": 3, "passed": 1}
    found = {line["control"]: line for line in lines}
    assert {name: (line["decided"], line["refused"]) for name, line in found.items()} == {
        "order_quantity": (2, 2), "order_value": (0, 2), "position": (0, 2),
    }  # fmt: skip
    quantity = found["order_quantity"]
    assert (quantity["code"], quantity["number"]) == ("QUANTITY_ABOVE_LIMIT", 4)
    assert (quantity["limit"], quantity["observed"]) == (5, 7)
    assert quantity["first"] == "2024-06-03T09:15:00+05:30"
    assert quantity["last"] == "2024-06-03T09:15:01+05:30"
    assert (found["position"]["limit"], found["position"]["observed"]) == (5, 12)


def test_each_control_and_code_has_one_row_whatever_else_holds_for_an_instrument(tmp_path: Path) -> None:
    """Controls that are asked of one instrument and not of another do not shift the rows of the rest."""
    limits = {
        "account": {"max_order_quantity": 1},
        "instruments": {BANK: {"products": ["CNC"], "max_order_value": 50}},
    }
    made = [signal(number, quantity=2, instrument_token=(NIFTY, BANK)[number % 2]) for number in range(1, 7)]
    counts, lines = tallies(
        "-", "--config", written(tmp_path, limits), input=stream([tick(), tick(0, 100, BANK), *made])
    )
    assert counts == {"signals": 6, "passed": 0}
    assert [(line["control"], line["code"], line["decided"], line["refused"]) for line in lines] == [
        ("products", "PRODUCT_NOT_ALLOWED", 3, 3),
        ("order_quantity", "QUANTITY_ABOVE_LIMIT", 3, 6),
        ("order_value", "VALUE_ABOVE_LIMIT", 0, 3),
    ]


def test_one_code_of_two_controls_is_counted_for_each_of_them(tmp_path: Path) -> None:
    """LIMIT_UNSET and VALUE_NO_REFERENCE are said by several; of two brokers, each row names the right one."""
    limits = {
        "account": {"max_order_value": 50, "max_turnover": 50},
        "brokers": {"paper": {"max_position": 50}, "zerodha": {}},
    }
    made = [signal(1), signal(2, broker="zerodha")]
    _, lines = tallies("-", "--config", written(tmp_path, limits), input=stream(made))
    found = {(line["control"], line["code"]): (line["decided"], line["refused"]) for line in lines}
    assert len(found) == len(lines)
    assert found["order_value", "VALUE_NO_REFERENCE"] == (1, 2)
    assert found["turnover", "VALUE_NO_REFERENCE"] == (0, 2)
    unset = {control for control, code in found if code == "LIMIT_UNSET"}
    assert unset >= {"signal_ttl", "position", "products"}
    assert not unset & {"order_value", "turnover"}
    assert found["signal_ttl", "LIMIT_UNSET"] == (1, 1)


def reported(number: int, quantity: int, status: str = "COMPLETE", filled: int | None = None) -> list[Any]:
    """What paper says of the order that came of signal `number`: the last word on it, and a fill if it traded."""
    order_id = derive_id("order", f"s{number}")
    of = {
        "order_id": order_id, "signal_id": f"s{number}", "strategy_id": "test", "broker": "paper",
        "instrument_token": NIFTY, "side": "BUY", "timestamp": START,
    }  # fmt: skip
    traded = quantity if filled is None else filled
    update = OrderUpdate(status=status, filled_quantity=traded, **of)
    charges = {"total": Decimal(0)}
    fill = Fill(fill_id=f"f{number}", quantity=traded or 1, price=Decimal(100), charges=charges, **of)
    return [update, fill] if traded else [update]


LIMIT: dict[str, Any] = {"order_type": "LIMIT", "price": Decimal(100)}


def test_fills_of_orders_that_are_refused_now_do_not_count(tmp_path: Path) -> None:
    """Ten units were bought then and would not be now; so five more are within the limit of five."""
    limits = {"account": {"max_order_quantity": 5, "max_position": 5, "max_turnover": 500}}
    file = written(tmp_path, limits)
    events = [tick(), signal(1, quantity=10), order(1), *reported(1, 10), signal(2, quantity=5, **LIMIT)]
    counts, lines = tallies("-", "--config", file, input=stream(events))
    assert counts == {"signals": 2, "passed": 1}
    assert [(line["control"], line["decided"]) for line in lines if line["decided"]] == [("order_quantity", 1)]


def test_what_became_of_orders_that_pass_does_count(tmp_path: Path) -> None:
    """A fill is held and another order is too much; one that was cancelled makes room for another."""
    file = written(tmp_path, {"account": {"max_position": 5}})
    first, second = signal(1, quantity=5, **LIMIT), signal(2, quantity=5, **LIMIT)
    for heard, passed in (([], 1), (reported(1, 5), 1), (reported(1, 5, "CANCELLED", 0), 2)):
        events = [tick(), first, *heard, second]
        counts, _ = tallies("-", "--config", file, input=stream(events))
        assert counts == {"signals": 2, "passed": passed}


def test_a_person_s_halt_in_the_recording_counts_and_risk_s_own_does_not(tmp_path: Path) -> None:
    """What brought risk's about will do so again, if it still does."""
    file = written(tmp_path, {"account": {"max_position": 5}})
    for by, passed in (("somebody", 1), ("risk", 2)):
        halt = Control(action="halt", by=by, reason="enough", timestamp=START)
        counts, lines = tallies("-", "--config", file, input=stream([tick(), signal(1), halt, signal(2)]))
        assert counts == {"signals": 2, "passed": passed}
        assert [line["code"] for line in lines] == ["TRADING_HALTED"] * (2 - passed)


def test_what_latched_is_told_at_the_end(tmp_path: Path) -> None:
    """A loss beyond one and a half times its limit halts the account: the table ends with it."""
    limits = {"account": {"max_daily_loss": 10}, "brokers": {"paper": {"assume_market_fills": True}}}
    events = [tick(0), signal(1, quantity=2), tick(20, 90), signal(2, at=20)]
    file = written(tmp_path, limits)
    text = printed("test", "-", "--config", file, input=stream(events))
    assert text.startswith("2 signals: 1 would pass, 1 would be refused\n")
    assert text.splitlines()[-1].startswith("paper is HALTED at the end: ")
    assert "LOSS_ABOVE_LIMIT" in text.splitlines()[-1]
    lines = printed("test", "-", "--config", file, "--json", input=stream(events)).splitlines()
    standing = json.loads(lines[-1])
    assert (standing["kind"], standing["broker"], standing["state"]) == ("standing", "paper", "HALTED")


def rows_of(text: str, columns: Sequence[str]) -> list[list[str]]:
    """The cells of the table's rows, by where its header has the columns."""
    lines = text.splitlines()
    place = next(number for number, line in enumerate(lines) if all(title in line for title in columns))
    starts = [lines[place].index(title) for title in columns]
    rows = []
    for line in lines[place + 1 :]:
        if not line:
            break
        rows.append([line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)])
    return rows


COLUMNS = ("R ", "control", "code", "decided", "would refuse", "first", "last", "limit", "observed", "meaning")


def test_the_table_says_what_the_lines_for_programs_say(recording: Path, tmp_path: Path) -> None:
    """Row by row, with what each code means; stdout has nothing else, no colours where nobody looks."""
    file = written(tmp_path, STRICT)
    text = printed("test", str(recording), "--config", file)
    assert "\x1b" not in text
    counts, lines = tallies(str(recording), "--config", file)
    refused = counts["signals"] - counts["passed"]
    assert text.splitlines()[0] == (
        f"{counts['signals']} signals: {counts['passed']} would pass, {refused} would be refused"
    )
    rows = rows_of(text, COLUMNS)
    assert len(rows) == len(lines) > 2
    for row, line in zip(rows, lines, strict=True):
        assert row[:5] == [str(line[key]) for key in ("number", "control", "code", "decided", "refused")]
        assert [row[5].replace(" ", "T"), row[6].replace(" ", "T")] == [line["first"][:19], line["last"][:19]]
        assert row[7:] == [str(line["limit"]), str(line["observed"]), MEANINGS[Code(line["code"])]]


def test_where_everything_passes_there_is_no_table(recording: Path) -> None:
    """By the packaged limits, under which it was recorded: one line."""
    text = printed("test", str(recording))
    (line,) = text.splitlines()
    passed = recording.read_bytes().count(b'"type":"order"')
    assert line == f"{passed} signals: {passed} would pass, 0 would be refused"


def test_a_recording_without_signals_says_what_it_lacks() -> None:
    """Ticks alone ask for nothing."""
    first, second = printed("test", "-", input=stream([tick()])).splitlines()
    assert first == "0 signals: 0 would pass, 0 would be refused"
    assert second == "no signals: a recording needs some; alpha run-strategy > FILE or alpha risk > FILE makes one"


def test_a_misspelt_strategy_is_told_of(recording: Path, tmp_path: Path) -> None:
    """By the trial of a recording, and by the stage itself, once; not where the names have nothing in common."""
    slip = written(tmp_path, {"strategies": {"momentumm": {"max_position": 5}}})
    told = "strategy momentum has no limits of its own; did you mean strategies.momentumm?"
    assert printed("test", str(recording), "--config", slip).splitlines()[1:] == [told]
    made = run_alpha(["risk", "--config", slip, "-q"], input=recording.read_bytes())
    line, misplaced = made.stderr.decode().splitlines()
    assert line.startswith(f"alpha risk: {slip}: {told}")
    assert "orders came that this risk has not made" in misplaced
    name = "momentum\x1b[H"
    twice = stream([tick(), *(signal(n, strategy_id=name, broker=one) for n, one in enumerate(["paper", "zerodha"]))])
    lines = printed("test", "-", "--config", slip, input=twice).splitlines()
    assert [line for line in lines if "did you mean" in line] == [told.replace("momentum has", "momentum\\x1b[H has")]
    numbered = written(tmp_path, {"strategies": {"momentum_1": {"max_position": 5}}})
    assert len(printed("test", str(recording), "--config", numbered).splitlines()) == 1
    other = written(tmp_path, {"strategies": {"rules": {"max_position": 5}}})
    assert len(printed("test", str(recording), "--config", other).splitlines()) == 1


def test_bad_lines_of_a_recording_are_skipped_where_that_is_asked_for(recording: Path) -> None:
    """As its error offers."""
    broken = recording.read_bytes() + b"garbage\n"
    made = run_alpha(["risk", "test", "-"], input=broken)
    assert made.returncode == 65
    assert b"--bad skip" in made.stderr
    made = run_alpha(["risk", "test", "-", "--bad", "skip"], input=broken)
    assert made.returncode == 0
    assert made.stdout.decode() == printed("test", str(recording))


def test_the_same_recording_gives_the_same_bytes_and_nothing_is_written(recording: Path, tmp_path: Path) -> None:
    """Twice, from a file or through a pipe, whatever folder one stands in; and the folder is as it was."""
    file = written(tmp_path, STRICT)
    before = sorted(tmp_path.rglob("*"))
    kept = recording.read_bytes()
    for more in ([], ["--json"]):
        one = printed("test", str(recording), "--config", file, *more, cwd=tmp_path)
        assert printed("test", str(recording), "--config", file, *more, cwd=tmp_path) == one
        assert printed("test", "-", "--config", file, *more, input=kept) == one
    assert sorted(tmp_path.rglob("*")) == before
    assert recording.read_bytes() == kept
    assert list(recording.parent.iterdir()) == [recording]


def test_a_missing_recording_is_no_input(tmp_path: Path) -> None:
    """66, with how to make one."""
    made = run_alpha(["risk", "test", str(tmp_path / "none.ndjson")])
    assert (made.returncode, made.stdout) == (66, b"")
    (line,) = made.stderr.decode().splitlines()
    assert f"{tmp_path / 'none.ndjson'}: no such file; record one with" in line
