"""Risk: each control at its limit and one step beyond, what stops everything, and what always holds."""

from __future__ import annotations

import ast
import gzip
import inspect
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from conftest import BANK, NIFTY, Pipeline, alpha, counters, run_alpha, signal, stream, tick
from hypothesis import given, strategies as st

from alpha_cli.errors import BadData, NoInput
from alpha_cli.events import Control, Denial, Order, Signal, decode
from alpha_cli.instruments import Instrument, Master, open_master
from alpha_cli.instruments.dump import read_dump
from alpha_cli.market import Market
from alpha_cli.risk import checks
from alpha_cli.risk.checks import CONTROLS, Facts, checks_for, refusal
from alpha_cli.risk.config import BrokerLimits, Limits, load_limits
from alpha_cli.risk.engine import RiskEngine

DAY = 86_400
CLOSE = 6.25 * 3600


def engine(limits: dict[str, Any] | None = None, broker: str = "paper", **options: Any) -> tuple[RiskEngine, Market]:
    """Risk with these limits for one broker, on a market that is still empty."""
    market = Market()
    given_limits = Limits.model_validate({"brokers": {broker: limits or {}}})
    return RiskEngine(given_limits, market, **options), market


def decide(
    limits: dict[str, Any], *events: Any, price: float | None = 100.0, broker: str = "paper", **options: Any
) -> list[Any]:
    """What comes of the signals among `events`, after a tick at `price` (None: no tick)."""
    risk, market = engine(limits, broker, **options)
    if price is not None:
        market.put(tick(0, price))
    made: list[Any] = []
    for event in events:
        if isinstance(event, Signal):
            made += risk.on_signal(event)
        elif isinstance(event, Control):
            made += risk.on_control(event)
        else:
            market.put(event)
    return made


def codes(made: Sequence[Any]) -> list[str]:
    return [one.code if isinstance(one, Denial) else "ORDER" for one in made]


# --- each control ----------------------------------------------------------------------------

# code, limits, a signal that passes, one that is denied, the limit and the observed value of the denial
LIMIT = {"order_type": "LIMIT"}
TABLE: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], Any, Any]] = [
    ("SIGNAL_HOLD", {}, {"side": "BUY"}, {"side": "HOLD"}, None, None),
    ("ORDER_TYPE_UNSUPPORTED", {}, {"order_type": "MARKET"}, {"order_type": "SL"}, "MARKET, LIMIT", "SL"),
    ("ORDER_TYPE_UNSUPPORTED", {}, LIMIT | {"price": Decimal(1)}, {"order_type": "SL-M"}, "MARKET, LIMIT", "SL-M"),
    ("PRICE_MISSING", {}, LIMIT | {"price": Decimal("0.05")}, LIMIT, 0, None),
    ("PRICE_MISSING", {}, LIMIT | {"price": Decimal("0.0001")}, LIMIT | {"price": Decimal(0)}, 0, 0),
    ("PRICE_MISSING", {}, LIMIT | {"price": Decimal(1)}, LIMIT | {"price": Decimal(-1)}, 0, -1),
    ("QUANTITY_MISSING", {}, {"quantity": 1}, {"quantity": None}, 1, None),
    ("QUANTITY_NOT_POSITIVE", {}, {"quantity": 1}, {"quantity": 0}, 1, 0),
    ("QUANTITY_NOT_POSITIVE", {}, {"quantity": 1}, {"quantity": -10}, 1, -10),
    ("QUANTITY_ABOVE_LIMIT", {"max_order_quantity": 10}, {"quantity": 10}, {"quantity": 11}, 10, 11),
    (
        "SESSION_CLOSED",
        {"session_hours": True},
        {"at": 0},
        {"at": -1},
        "09:15-15:30 IST",
        "2024-06-03T09:14:59+05:30",
    ),
    (
        "PRICE_OUT_OF_BAND",
        {"price_band": 0.02},
        LIMIT | {"price": Decimal("102")},
        LIMIT | {"price": Decimal("102.01")},
        0.02,
        0.0201,
    ),
    (
        "PRICE_OUT_OF_BAND",
        {"price_band": 0.02},
        {"price": Decimal("98")},
        {"price": Decimal("97.99"), "side": "SELL"},
        0.02,
        0.0201,
    ),
    ("VALUE_ABOVE_LIMIT", {"max_order_value": 1000}, {"quantity": 10}, {"quantity": 11}, 1000, 1100),
    (
        "VALUE_ABOVE_LIMIT",
        {"max_order_value": 1000},
        LIMIT | {"price": Decimal(500), "quantity": 2},
        LIMIT | {"price": Decimal("500.05"), "quantity": 2},
        1000,
        1000.1,
    ),
    ("POSITION_ABOVE_LIMIT", {"max_position": 5}, {"quantity": 5}, {"quantity": 6}, 5, 6),
    (
        "POSITION_ABOVE_LIMIT",
        {"max_position": 5},
        {"quantity": 5, "side": "SELL"},
        {"quantity": 6, "side": "SELL"},
        5,
        -6,
    ),
]


@pytest.mark.parametrize(("code", "limits", "passes", "denied", "limit", "observed"), TABLE)
def test_each_control_passes_at_its_limit_and_denies_one_step_beyond(
    code: str, limits: dict[str, Any], passes: dict[str, Any], denied: dict[str, Any], limit: Any, observed: Any
) -> None:
    """The denial says code, limit and what was observed, and names its signal, strategy and broker."""
    (order,) = decide(limits, signal(1, **passes))
    assert isinstance(order, Order)
    (denial,) = decide(limits, signal(2, **denied))
    assert (denial.code, denial.limit, denial.observed) == (code, limit, observed)
    assert (denial.signal_id, denial.strategy_id, denial.broker) == ("s2", "test", "paper")
    assert denial.message


def test_market_orders_are_not_exempt() -> None:
    """Value and position count them at the last price; the band holds them to the price their strategy saw."""
    assert codes(decide({"max_order_value": 99}, signal(1))) == ["VALUE_ABOVE_LIMIT"]
    assert codes(decide({"max_position": 1}, signal(1, quantity=2))) == ["POSITION_ABOVE_LIMIT"]
    assert codes(decide({"price_band": 0.01}, signal(1, price=Decimal(102)))) == ["PRICE_OUT_OF_BAND"]


def test_a_missing_fact_denies() -> None:
    """Without a tick there is no reference, and a control that needs one refuses."""
    (band,) = decide({"price_band": 0.02}, signal(1), price=None)
    assert (band.code, band.limit, band.observed) == ("PRICE_NO_REFERENCE", 0.02, None)
    (value,) = decide({"max_order_value": 1000}, signal(1), price=None)
    assert (value.code, value.limit) == ("VALUE_NO_REFERENCE", 1000)
    assert codes(decide({"price_band": 0.02}, tick(0, 100, BANK), signal(1), price=None)) == ["PRICE_NO_REFERENCE"]


def test_a_price_that_is_nothing_at_four_decimals_is_no_reference() -> None:
    """And above all nothing is divided by it."""
    assert codes(decide({"price_band": 0.02}, signal(1), price=0.00001)) == ["PRICE_NO_REFERENCE"]
    assert codes(decide({"max_order_value": 1000}, signal(1), price=0.00001)) == ["VALUE_NO_REFERENCE"]


def test_the_session_is_held_against_the_signal_and_against_the_newest_tick() -> None:
    """A stale signal in an open market and a fresh one in a closed market are both denied."""
    limits = {"session_hours": True}
    assert codes(decide(limits, tick(60), signal(1, at=60))) == ["ORDER"]
    assert codes(decide(limits, tick(DAY), signal(1, at=CLOSE))) == ["SESSION_CLOSED"]
    assert codes(decide(limits, tick(CLOSE), signal(1, at=60))) == ["SESSION_CLOSED"]
    assert codes(decide(limits, signal(1, at=5 * DAY + 60), price=None)) == ["SESSION_CLOSED"]
    assert codes(decide({"session_hours": False}, signal(1, at=-1))) == ["ORDER"]


def test_a_time_from_the_end_of_the_calendar_is_outside_the_session() -> None:
    """It cannot be turned into Indian time; it is denied and the stream goes on."""
    odd = decode(
        b'{"type":"signal","signal_id":"x","strategy_id":"t","instrument_token":1,"signal_type":"BUY","quantity":1,'
        b'"timestamp":"9999-12-31T23:00:00Z","broker":"paper"}'
    )
    assert codes(decide({"session_hours": True}, odd)) == ["SESSION_CLOSED"]


def test_position_counts_orders_entered_by_broker_and_instrument() -> None:
    """Filled or not; a denied signal does not count, nor does another instrument or broker."""
    made = decide(
        {"max_position": 3},
        signal(1, quantity=2), signal(2, quantity=2), signal(3, quantity=1), signal(4, side="SELL", quantity=6),
        signal(5, side="SELL", quantity=1), signal(6, quantity=3, instrument_token=BANK),
    )  # fmt: skip
    assert codes(made) == ["ORDER", "POSITION_ABOVE_LIMIT", "ORDER", "ORDER", "POSITION_ABOVE_LIMIT", "ORDER"]


@pytest.mark.parametrize(
    ("position", "change", "allowed"),
    [(8, -1, True), (8, -8, True), (8, -13, True), (8, -14, False), (8, 1, False), (8, -16, False), (8, -15, False),
     (-8, 1, True), (-8, 14, False), (-8, -1, False), (0, 5, True), (0, 6, False)],
)  # fmt: skip
def test_from_beyond_the_limit_the_way_back_is_open_and_the_way_through_is_not(
    position: int, change: int, allowed: bool
) -> None:
    """With a limit of 5: from 8 down to -5 is allowed, to -6 is not, though it is nearer to zero than 8."""
    facts = Facts(
        signal=signal(1, side="BUY" if change > 0 else "SELL", quantity=abs(change)),
        limits=BrokerLimits(max_position=5), halted=None, repeated=False, is_index=False,
        known=None, reference=Decimal(100),
        position=position, now=None, outside_session=None,
    )  # fmt: skip
    assert (refusal(facts, checks_for("paper", facts.limits)) is None) is allowed


def test_a_signal_is_decided_once_whatever_the_decision_was() -> None:
    """The second time is a denial, after an order and after a denial."""
    made = decide({"max_order_quantity": 1}, signal(1), signal(1), signal(2, quantity=9), signal(2, quantity=1))
    assert codes(made) == ["ORDER", "SIGNAL_DUPLICATE", "QUANTITY_ABOVE_LIMIT", "SIGNAL_DUPLICATE"]


def test_the_first_refusal_in_the_order_of_the_table_stands() -> None:
    """A signal with every fault is refused for them one after another as each is mended."""
    limits = {
        "max_order_quantity": 1,
        "session_hours": True,
        "price_band": 0.01,
        "max_order_value": 1,
        "max_position": 1,
    }
    bad: dict[str, Any] = {"side": "HOLD", "order_type": "SL", "quantity": 0, "at": -1}
    steps: list[tuple[str, dict[str, Any]]] = [
        ("SIGNAL_HOLD", {"side": "BUY"}),
        ("INSTRUMENT_UNKNOWN", {"instrument_token": NIFTY}),
        ("ORDER_TYPE_UNSUPPORTED", {"order_type": "LIMIT", "price": Decimal(200)}),
        ("QUANTITY_NOT_POSITIVE", {"quantity": 2}),
        ("QUANTITY_ABOVE_LIMIT", {"quantity": 1}),
        ("SESSION_CLOSED", {"at": 1}),
        ("PRICE_OUT_OF_BAND", {"price": Decimal(100)}),
        ("VALUE_ABOVE_LIMIT", {}),
    ]
    bad["instrument_token"] = BANK
    for code, mended in steps:
        assert codes(
            decide(limits, tick(0, 100, BANK), signal(1, **bad), instruments=Master.of([Instrument.unlisted(NIFTY)]))
        ) == [code]
        bad |= mended
    order = [code for control in CONTROLS for code in control.codes]
    assert [code for code, _ in steps] == sorted((code for code, _ in steps), key=order.index)


@pytest.mark.parametrize("setting", list(BrokerLimits.model_fields))
def test_an_unset_control_is_off_for_paper_and_refuses_for_any_other_broker(setting: str) -> None:
    """Fail closed where money is real, and say which limit to set."""
    every = {
        "max_order_quantity": 10,
        "max_order_value": 10_000,
        "max_position": 10,
        "price_band": 0.5,
        "session_hours": True,
    }
    rest = {key: value for key, value in every.items() if key != setting}
    assert codes(decide(rest, signal(1))) == ["ORDER"]
    assert codes(decide(every, signal(1, broker="zerodha"), broker="zerodha")) == ["ORDER"]
    (denial,) = decide(rest, signal(1, broker="zerodha"), broker="zerodha")
    assert (denial.code, denial.limit) == ("LIMIT_UNSET", setting)
    assert f"{setting} is not set for broker zerodha" in denial.message


def test_a_broker_that_the_limits_do_not_name_trades_nothing() -> None:
    """All of its limits are unset; `paper` left out has all controls off."""
    assert codes(decide({}, signal(1, broker="other"), broker="zerodha")) == ["LIMIT_UNSET"]
    assert codes(decide({}, signal(1), broker="zerodha")) == ["ORDER"]


def test_an_order_says_all_that_the_signal_said_and_what_it_was_measured_by() -> None:
    """Lineage, price reference and limits; a MARKET order has no price of its own."""
    asked = signal(1, quantity=3, price=Decimal("100.05"), confidence=0.5, product="NRML", metadata={"k": [1]})
    (order,) = decide({}, asked, price=100.1)
    assert (order.signal_id, order.strategy_id, order.broker, order.side, order.quantity) == (
        "s1",
        "test",
        "paper",
        "BUY",
        3,
    )
    assert (order.confidence, order.metadata, order.product) == (0.5, {"k": [1]}, "NRML")
    assert (order.order_type, order.price, order.reference_price) == ("MARKET", None, Decimal("100.1"))
    assert order.limits_hash == Limits.model_validate({"brokers": {"paper": {}}}).hash()
    assert decide({}, asked)[0].order_id == order.order_id


# --- the table -------------------------------------------------------------------------------


def codes_in(function: Callable[..., Any]) -> set[str]:
    """The codes of the refusals that a function's source makes."""
    return {
        str(ast.literal_eval(node.args[0]))
        for node in ast.walk(ast.parse(inspect.getsource(function)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refusal"
    }


def test_every_code_in_the_source_is_in_the_table_and_the_other_way_round() -> None:
    """Row by row; only LIMIT_UNSET belongs to no row, since any row with a setting can give it."""
    for control in CONTROLS:
        assert codes_in(control.check) == set(control.codes)
    tabled = [code for control in CONTROLS for code in control.codes]
    assert len(tabled) == len(set(tabled))
    assert codes_in(checks) == {*tabled, "LIMIT_UNSET"}  # type: ignore[arg-type]
    assert codes_in(checks_for) == {"LIMIT_UNSET"}


def test_every_limit_that_can_be_set_is_used_by_exactly_one_control() -> None:
    """None is forgotten."""
    assert sorted(control.setting for control in CONTROLS if control.setting) == sorted(BrokerLimits.model_fields)


# --- halt ------------------------------------------------------------------------------------


def test_a_control_event_halts_and_resumes() -> None:
    """Between the two everything is denied, with the reason; positions are remembered."""
    halt = Control(action="halt", reason="lunch")
    made = decide(
        {"max_position": 1}, signal(1), halt, signal(2), signal(1), Control(action="resume"), signal(3), signal(4)
    )
    assert codes(made) == ["ORDER", "TRADING_HALTED", "TRADING_HALTED", "POSITION_ABOVE_LIMIT", "POSITION_ABOVE_LIMIT"]
    assert made[1].message == "trading is halted: lunch"


def test_a_resume_in_the_stream_does_not_lift_a_halt_from_outside() -> None:
    """The file is sticky: only who removes it resumes."""
    risk, _ = engine(halt_reason=lambda: "HALT exists")
    risk.on_control(Control(action="halt"))
    risk.on_control(Control(action="resume"))
    assert risk.verdict() is not None


def test_other_control_events_change_nothing() -> None:
    """pause, reload and set are for others."""
    made = decide({}, *(Control(action=action) for action in ("pause", "reload", "set")), signal(1))  # type: ignore[arg-type]
    assert codes(made) == ["ORDER"]


@pytest.mark.parametrize("code", [0, 80])
def test_the_exit_code_says_whether_trading_is_halted_at_the_end(code: int) -> None:
    """80 after a halt, 0 after a resume; the control events pass on."""
    events: list[Any] = [tick(), Control(action="halt", by="me"), signal(1)]
    if code == 0:
        events.append(Control(action="resume"))
    made = run_alpha(["risk"], stream(events))
    assert made.returncode == code
    assert b'"code":"TRADING_HALTED","message":"trading is halted: by me"' in made.stdout
    assert counters(made.stderr.decode())["denials"] == 1


def test_while_the_file_halt_exists_everything_is_denied_and_the_exit_code_is_80(tmp_path: Path) -> None:
    """It is read to its end all the same."""
    (tmp_path / "HALT").touch()
    made = run_alpha(["risk", "--state", str(tmp_path)], stream([tick(), signal(1), signal(2)]))
    assert made.returncode == 80
    assert made.stdout.count(b"TRADING_HALTED") == 2
    assert made.stdout.endswith(b'{"type":"eof","ok":true,"code":0}\n')


def test_the_file_halt_counts_from_the_moment_it_appears(tmp_path: Path) -> None:
    """Between two signals of one running process; a dangling link counts. The environment names the folder."""
    with Pipeline(alpha("risk"), env={"ALPHA_STATE": str(tmp_path)}) as pipeline:
        pipeline.write(stream([tick(), signal(1)], eof=None))
        pipeline.wait_for(b'"type":"order"')
        (tmp_path / "HALT").symlink_to(tmp_path / "nowhere")
        pipeline.write(stream([signal(2)], hello=False))
        assert pipeline.finish() == [80]
        assert pipeline.output.count(b'"type":"order"') == 1
        assert b'"code":"TRADING_HALTED"' in pipeline.output


def test_a_state_folder_that_cannot_be_looked_at_counts_as_halted(tmp_path: Path) -> None:
    """Here its path leads through a file; a folder without permission is the same to us."""
    (tmp_path / "file").touch()
    made = run_alpha(["risk", "--state", str(tmp_path / "file" / "state")], stream([tick(), signal(1)]))
    assert made.returncode == 80
    assert b"HALT cannot be looked at: Not a directory" in made.stdout


def test_a_state_folder_that_does_not_exist_yet_is_not_halted(tmp_path: Path) -> None:
    """A first start."""
    made = run_alpha(["risk", "--state", str(tmp_path / "new")], stream([tick(), signal(1)]))
    assert made.returncode == 0


# --- the instrument master -------------------------------------------------------------------

MASTER = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,"
    "segment,exchange\n"
    f"{NIFTY},1001,NIFTY 50,NIFTY 50,0,,0,0.05,1,EQ,INDICES,NSE\n"
    "738561,2885,RELIANCE,RELIANCE,0,,0,0.1,1,EQ,NSE,NSE\n"
    "9469698,36991,NIFTY24JUNFUT,NIFTY,0,2024-06-27,0,0.05,25,FUT,NFO-FUT,NFO\n"
)


def master(folder: Path, name: str = "instruments.csv", data: bytes = MASTER.encode()) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["instruments.csv", "instruments.csv.gz"])
def test_a_master_is_read_plain_or_compressed(name: str, tmp_path: Path) -> None:
    """Token, exchange, symbol, lot and tick size."""
    known = open_master(master(tmp_path, name))
    assert known is not None
    assert all(known.by_token(token) is not None for token in (NIFTY, 738561))
    assert known.by_token(BANK) is None
    assert known.by_token(9469698) == Instrument(
        9469698,
        "NFO",
        "NIFTY24JUNFUT",
        "NIFTY",
        "NFO-FUT",
        "FUT",
        25,
        Decimal("0.05"),
        date(2024, 6, 27),
        None,
        "36991",
    )


@pytest.mark.parametrize("name", ["instruments.csv", "instruments.csv.gz"])
def test_with_a_master_only_what_is_in_it_trades(name: str, tmp_path: Path) -> None:
    """The denial names the token."""
    share = 738561
    given_stream = stream(
        [tick(token=share), tick(token=BANK), signal(1, instrument_token=share), signal(2, instrument_token=BANK)]
    )
    made = run_alpha(["risk", "--instruments", str(master(tmp_path, name))], given_stream)
    assert made.returncode == 0
    assert made.stdout.count(b'"type":"order"') == 1
    assert b'"code":"INSTRUMENT_UNKNOWN"' in made.stdout
    assert f'"observed":{BANK}'.encode() in made.stdout


@pytest.mark.parametrize(
    "data",
    [b"", MASTER.splitlines()[0].encode(), b"a,b\n1,2\n", b"instrument_token\nten\n", b"\xff\xfe\x00", b"\x80,\n",
     b"instrument_token,lot_size\n1,inf\n", b"instrument_token,lot_size\n1,nan\n", b"<html>Login</html>"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_broken_master_is_bad_data(data: bytes, name: str, tmp_path: Path) -> None:
    """An empty one too: it would deny everything, and nobody meant that."""
    with pytest.raises(BadData, match="instrument master") as refused:
        read_dump(master(tmp_path, name, data))
    assert "\n" not in str(refused.value)


def test_a_damaged_archive_is_bad_data(tmp_path: Path) -> None:
    """Cut short, not gzip at all, or with any one byte changed: the master is refused or unharmed, never half read."""
    whole = gzip.compress(MASTER.encode() * 3, mtime=0)
    path = tmp_path / "a.csv.gz"
    for damaged in (whole[:40], whole[:-9], b"plain text", whole[:30] + b"\0\0\0\0" + whole[34:]):
        path.write_bytes(damaged)
        with pytest.raises(BadData, match="instrument master"):
            read_dump(path)
    for place in range(10, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with pytest.raises(BadData):
            read_dump(path)


def test_a_missing_master_is_no_input(tmp_path: Path) -> None:
    """66, with a hint where to get it; the process gives the codes too."""
    with pytest.raises(NoInput, match=r"does not exist; .*Kite gives the dump at api\.kite\.trade/instruments"):
        open_master(tmp_path / "none.csv")
    for name, code in ((str(tmp_path / "none.csv"), 66), (str(master(tmp_path, "broken.csv", b"a,b\n")), 65)):
        made = run_alpha(["risk", "--instruments", name], stream())
        assert (made.returncode, made.stdout, made.stderr.count(b"\n")) == (code, b"", 1)


# --- limits ----------------------------------------------------------------------------------

LIMITS: dict[str, Any] = {
    "max_order_quantity": 10, "max_order_value": 1000, "max_position": 10, "price_band": 0.02, "session_hours": True,
}  # fmt: skip
OTHER: dict[str, Any] = {
    "max_order_quantity": 11,
    "max_order_value": 1000.01,
    "max_position": 9,
    "price_band": 0.0201,
    "session_hours": False,
}


def limits_hash(folder: Path, text: str) -> str:
    path = folder / "risk.yaml"
    path.write_text(text)
    return load_limits(path).hash()


@pytest.mark.parametrize("name", list(LIMITS))
def test_the_hash_of_the_limits_changes_with_any_of_them(name: str) -> None:
    """Raised, lowered or unset: an order shows which limits it passed."""
    values = [LIMITS, {**LIMITS, name: OTHER[name]}, {key: value for key, value in LIMITS.items() if key != name}]
    brokers: list[dict[str, Any]] = [{"paper": value} for value in values]
    brokers += [{"zerodha": LIMITS}, {"paper": LIMITS, "zerodha": LIMITS}]
    assert len({Limits.model_validate({"brokers": value}).hash() for value in brokers}) == 5


def test_the_hash_of_the_limits_does_not_change_with_how_they_are_written(tmp_path: Path) -> None:
    """Order of limits, order of brokers, comments and layout mean nothing."""
    one = "brokers:\n  paper:\n    max_position: 5\n    price_band: 0.02\n  zerodha:\n    max_position: 1\n"
    other = "# mine\nbrokers: {zerodha: {max_position: 1}, paper: {price_band: 0.02, max_position: 5}} # same\n"
    assert limits_hash(tmp_path, one) == limits_hash(tmp_path, other)


# --- what always holds -----------------------------------------------------------------------

any_signal = st.builds(
    signal,
    st.integers(1, 30),
    side=st.sampled_from(["BUY", "SELL", "HOLD"]),
    quantity=st.none() | st.integers(-2, 9),
    instrument_token=st.sampled_from([NIFTY, BANK]),
    broker=st.sampled_from(["paper", "zerodha"]),
    order_type=st.sampled_from(["MARKET", "LIMIT", "SL"]),
    price=st.none() | st.decimals(90, 110, places=2),
)
any_event = any_signal | st.builds(Control, action=st.sampled_from(["halt", "resume"]))


@given(st.lists(any_event, max_size=60))
def test_positions_stay_within_their_limit_and_every_signal_is_answered_once(events: list[Any]) -> None:
    """For any signals: |entered| <= max_position, signals = orders + denials, one order a signal at most."""
    maximum = {"paper": 7, "zerodha": 3}
    every = {**LIMITS, "max_order_value": 10_000, "price_band": 0.5}
    limits = Limits.model_validate({"brokers": {name: {**every, "max_position": n} for name, n in maximum.items()}})
    market = Market()
    risk = RiskEngine(limits, market)
    for token in (NIFTY, BANK):
        market.put(tick(0, 100, token))
    entered: dict[tuple[str, int], int] = {}
    ordered: set[str] = set()
    signals = 0
    for event in events:
        if isinstance(event, Control):
            assert risk.on_control(event) == ()
            continue
        signals += 1
        (made,) = risk.on_signal(event)
        assert made.signal_id == event.signal_id
        if isinstance(made, Order):
            assert made.signal_id not in ordered
            ordered.add(made.signal_id)
            key = made.broker, made.instrument_token
            entered[key] = entered.get(key, 0) + (made.quantity if made.side == "BUY" else -made.quantity)
            assert abs(entered[key]) <= maximum[made.broker]
    assert signals == risk.orders + risk.denials
    assert risk.orders == len(ordered)


def test_an_index_of_the_master_is_not_traded() -> None:
    """Without a master it is: any token trades as a share then."""
    index = Instrument(NIFTY, "NSE", "NIFTY 50", "NIFTY 50", "INDICES", "EQ")
    made = decide({}, tick(0), signal(1), instruments=Master.of([index]))
    assert codes(made) == ["INSTRUMENT_NOT_TRADABLE"]
    assert codes(decide({}, tick(0), signal(1))) == ["ORDER"]
