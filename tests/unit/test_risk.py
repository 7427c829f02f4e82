"""Risk as a stage: what stops everything, what is decided once, instruments and limits, and what always holds.

`test_risk_controls` has each control at its limit and one step beyond.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from support.events import BANK, NIFTY, START, signal, stream, tick
from support.processes import Pipeline, alpha, counters, run_alpha

from alpha_cli.core.codec import decode
from alpha_cli.core.errors import BadData, NoInput
from alpha_cli.core.events import Control, Denial, Fill, Order, OrderUpdate, Signal
from alpha_cli.market.instruments import Instrument, Master, open_master
from alpha_cli.market.instruments.dump import read_dump
from alpha_cli.stages.risk.config import RiskFile, load_limits
from alpha_cli.stages.risk.controls.table import CONTROLS
from alpha_cli.stages.risk.engine import RiskEngine, RiskInputs
from alpha_cli.stages.risk.resolve import limits_hash
from alpha_cli.stream.last_ticks import LastTicks

DAY = 86_400
CLOSE = 6.25 * 3600


def engine(limits: dict[str, Any] | None = None, broker: str = "paper", **options: Any) -> tuple[RiskEngine, LastTicks]:
    """Risk with these limits for one broker, on a market that is still empty."""
    market = LastTicks()
    given_limits = RiskFile.model_validate({"brokers": {broker: limits or {}}})
    return RiskEngine(RiskInputs(limits=given_limits, last_ticks=market, **options)), market


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
            made += [one for one in risk.on_signal(event) if not isinstance(one, Control)]
        elif isinstance(event, Control):
            risk.on_control(event)
        elif isinstance(event, Fill):
            risk.on_fill(event)
        else:
            market.put(event)
    return made


def codes(made: Sequence[Any]) -> list[str]:
    return [one.code if isinstance(one, Denial) else "ORDER" for one in made]


def filled(quantity: int) -> Fill:
    """A trade of before: so many units were bought, or sold if negative."""
    return Fill(
        fill_id="f", order_id="before", signal_id="before", strategy_id="test", broker="paper", instrument_token=NIFTY,
        side="BUY" if quantity > 0 else "SELL", quantity=abs(quantity), price=Decimal(100),
        charges={"total": Decimal(0)}, timestamp=START,
    )  # fmt: skip


# --- decisions -------------------------------------------------------------------------------


def test_a_denial_says_why_and_of_what() -> None:
    """Code, limit and what was observed; signal, strategy, broker and instrument; and the time of the stream."""
    (denial,) = decide({"max_order_quantity": 10}, tick(5), signal(2, at=1, quantity=11))
    assert (denial.code, denial.limit, denial.observed) == ("QUANTITY_ABOVE_LIMIT", 10, 11)
    assert (denial.signal_id, denial.strategy_id, denial.broker) == ("s2", "test", "paper")
    assert (denial.instrument_token, denial.timestamp, denial.order_id) == (NIFTY, tick(5).timestamp, None)
    assert denial.message


def test_market_orders_are_not_exempt() -> None:
    """Value and position count them at the last price; the tolerance holds them to the price their strategy saw."""
    assert codes(decide({"max_order_value": 99}, signal(1))) == ["VALUE_ABOVE_LIMIT"]
    assert codes(decide({"max_position": 1}, signal(1, quantity=2))) == ["POSITION_ABOVE_LIMIT"]
    assert codes(decide({"price_tolerance": 0.01}, signal(1, price=Decimal(102)))) == ["PRICE_OUT_OF_TOLERANCE"]


def test_a_missing_fact_denies() -> None:
    """Without a tick there is no reference, and a control that needs one refuses."""
    (band,) = decide({"price_tolerance": 0.02}, signal(1), price=None)
    assert (band.code, band.limit, band.observed) == ("PRICE_NO_REFERENCE", 0.02, None)
    (value,) = decide({"max_order_value": 1000}, signal(1), price=None)
    assert (value.code, value.limit) == ("VALUE_NO_REFERENCE", 1000)
    assert codes(decide({"price_tolerance": 0.02}, tick(0, 100, BANK), signal(1), price=None)) == ["PRICE_NO_REFERENCE"]


def test_a_price_that_is_nothing_at_four_decimals_is_no_reference() -> None:
    """And above all nothing is divided by it."""
    assert codes(decide({"price_tolerance": 0.02}, signal(1), price=0.00001)) == ["PRICE_NO_REFERENCE"]
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
    """Counted as filled at once; a denied signal does not count, nor does another instrument or broker."""
    made = decide(
        {"max_position": 3, "assume_market_fills": True},
        signal(1, quantity=2), signal(2, quantity=2), signal(3, quantity=1), signal(4, side="SELL", quantity=6),
        signal(5, side="SELL", quantity=1), signal(6, quantity=3, instrument_token=BANK),
    )  # fmt: skip
    assert codes(made) == ["ORDER", "POSITION_ABOVE_LIMIT", "ORDER", "ORDER", "POSITION_ABOVE_LIMIT", "ORDER"]


def test_position_counts_each_side_by_itself_while_nothing_is_filled() -> None:
    """What was entered to buy may be filled and what was entered to sell not, or the other way round."""
    made = decide(
        {"max_position": 3}, signal(1, quantity=3), signal(2, side="SELL", quantity=3), signal(3),
        signal(4, side="SELL"),
    )  # fmt: skip
    assert codes(made) == ["ORDER", "ORDER", "POSITION_ABOVE_LIMIT", "POSITION_ABOVE_LIMIT"]


@pytest.mark.parametrize(
    ("position", "change", "allowed"),
    [(8, -1, True), (8, -8, True), (8, -13, True), (8, -14, False), (8, 1, False), (8, -16, False), (8, -15, False),
     (-8, 1, True), (-8, 14, False), (-8, -1, False), (1, 4, True), (1, 5, False)],
)  # fmt: skip
def test_from_beyond_the_limit_the_way_back_is_open_and_the_way_through_is_not(
    position: int, change: int, allowed: bool
) -> None:
    """With a limit of 5: from 8 down to -5 is allowed, to -6 is not, though it is nearer to zero than 8."""
    wanted = signal(1, side="BUY" if change > 0 else "SELL", quantity=abs(change))
    assert codes(decide({"max_position": 5}, filled(position), wanted)) == [
        "ORDER" if allowed else "POSITION_ABOVE_LIMIT"
    ]


def test_a_signal_is_decided_once_whatever_the_decision_was() -> None:
    """The second time is a denial, after an order and after a denial."""
    made = decide({"max_order_quantity": 1}, signal(1), signal(1), signal(2, quantity=9), signal(2, quantity=9))
    assert codes(made) == ["ORDER", "SIGNAL_DUPLICATE", "QUANTITY_ABOVE_LIMIT", "SIGNAL_DUPLICATE"]


def test_another_signal_with_an_id_that_was_decided_is_not_decided() -> None:
    """Not even where the first was denied and this one would pass; the first stays the one that it is held against."""
    made = decide({"max_order_quantity": 1}, signal(1, quantity=9), signal(1, quantity=1), signal(1, quantity=9))
    assert codes(made) == ["QUANTITY_ABOVE_LIMIT", "SIGNAL_CONFLICT", "SIGNAL_DUPLICATE"]


def test_the_first_refusal_in_the_order_of_the_table_stands() -> None:
    """A signal with every fault is refused for them one after another as each is mended."""
    limits = {
        "max_order_quantity": 1,
        "session_hours": True,
        "price_tolerance": 0.01,
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
        ("PRICE_OUT_OF_TOLERANCE", {"price": Decimal(100)}),
        ("VALUE_ABOVE_LIMIT", {}),
    ]
    bad["instrument_token"] = BANK
    for code, mended in steps:
        assert codes(
            decide(limits, tick(0, 100, BANK), signal(1, **bad), instruments=Master.of([Instrument.unlisted(NIFTY)]))
        ) == [code]
        bad |= mended
    order: list[str] = [code for control in CONTROLS for code in control.codes]
    assert [code for code, _ in steps] == sorted((code for code, _ in steps), key=order.index)


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
    assert order.limits_hash == limits_hash(RiskFile.model_validate({"brokers": {"paper": {}}}))
    assert decide({}, asked)[0].order_id == order.order_id


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
    risk, market = engine(halt_reason=lambda: "HALT exists")
    market.put(tick())
    risk.on_control(Control(action="halt"))
    risk.on_control(Control(action="resume"))
    assert risk.verdict() is not None
    assert codes([one for one in risk.on_signal(signal(1)) if isinstance(one, Denial | Order)]) == ["TRADING_HALTED"]


def test_other_control_events_change_nothing() -> None:
    """pause, reload and set are for others."""
    made = decide({}, *(Control(action=action) for action in ("pause", "reload", "set")), signal(1))
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


@pytest.mark.parametrize("kind", ["through a file", "open to all", "broken"])
def test_a_state_folder_that_cannot_be_used_stops_risk_at_its_start(kind: str, tmp_path: Path) -> None:
    """Its path leads through a file, others may write to it, or what was kept is no database: nothing is decided."""
    folder = tmp_path / "state"
    if kind == "through a file":
        folder.touch()
        folder /= "state"
    else:
        folder.mkdir(mode=0o700)
        if kind == "open to all":
            folder.chmod(0o777)
        else:
            (folder / "risk.db").write_bytes(b"no database" * 500)
            (folder / "risk.db").chmod(0o600)
    made = run_alpha(["risk", "--state", str(folder)], stream([tick(), signal(1)]))
    assert made.returncode in {74, 78}, made.stderr
    assert b'"type":"order"' not in made.stdout
    assert str(folder.name) in made.stderr.decode()


def test_two_gates_of_one_name_do_not_share_a_state_folder(tmp_path: Path) -> None:
    """Each would count only half of the orders; the second says so and ends, under another name it may run."""
    with Pipeline(alpha("risk", "--state", str(tmp_path))) as pipeline:
        pipeline.write(stream([tick(), signal(1)], eof=None))
        pipeline.wait_for(b'"type":"order"')
        assert run_alpha(["risk", "--state", str(tmp_path)], stream()).returncode == 75
        assert run_alpha(["risk", "--state", str(tmp_path), "--as", "other"], stream()).returncode == 0
        pipeline.write(stream(hello=False))
        assert pipeline.finish() == [0]


def test_what_was_decided_before_a_restart_is_not_decided_again(tmp_path: Path) -> None:
    """The second process knows the signal of the first."""
    given_stream = stream([tick(), signal(1)])
    first, second = (run_alpha(["risk", "--state", str(tmp_path)], given_stream) for _ in range(2))
    assert (first.returncode, first.stdout.count(b'"type":"order"')) == (0, 1)
    assert (second.returncode, second.stdout.count(b'"type":"order"')) == (0, 0)
    assert b'"code":"SIGNAL_DUPLICATE"' in second.stdout


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
    with pytest.raises(NoInput, match=r"does not exist; .*Kite has the dump at api\.kite\.trade/instruments"):
        open_master(tmp_path / "none.csv")
    for name, code in ((str(tmp_path / "none.csv"), 66), (str(master(tmp_path, "broken.csv", b"a,b\n")), 65)):
        made = run_alpha(["risk", "--instruments", name], stream())
        assert (made.returncode, made.stdout, made.stderr.count(b"\n")) == (code, b"", 1)


# --- limits ----------------------------------------------------------------------------------

LIMITS: dict[str, Any] = {
    "max_order_quantity": 10, "max_order_value": 1000, "max_position": 10, "price_tolerance": 0.02,
    "session_hours": True,
}  # fmt: skip
OTHER: dict[str, Any] = {
    "max_order_quantity": 11,
    "max_order_value": 1000.01,
    "max_position": 9,
    "price_tolerance": 0.0201,
    "session_hours": False,
}


def hash_of(folder: Path, text: str) -> str:
    path = folder / "risk.yaml"
    path.write_text(text)
    return limits_hash(load_limits(path))


@pytest.mark.parametrize("name", list(LIMITS))
def test_the_hash_of_the_limits_changes_with_any_of_them(name: str) -> None:
    """Raised, lowered or unset: an order shows which limits it passed."""
    values = [LIMITS, {**LIMITS, name: OTHER[name]}, {key: value for key, value in LIMITS.items() if key != name}]
    brokers: list[dict[str, Any]] = [{"paper": value} for value in values]
    brokers += [{"zerodha": LIMITS}, {"paper": LIMITS, "zerodha": LIMITS}]
    assert len({limits_hash(RiskFile.model_validate({"brokers": value})) for value in brokers}) == 5


def test_the_hash_of_the_limits_does_not_change_with_how_they_are_written(tmp_path: Path) -> None:
    """Order of limits, order of brokers, comments and layout mean nothing."""
    one = "brokers:\n  paper:\n    max_position: 5\n    price_tolerance: 0.02\n  zerodha:\n    max_position: 1\n"
    other = "# mine\nbrokers: {zerodha: {max_position: 1}, paper: {price_tolerance: 0.02, max_position: 5}} # same\n"
    assert hash_of(tmp_path, one) == hash_of(tmp_path, other)


# --- what always holds -----------------------------------------------------------------------

#: For a broker other than paper nothing may be left unset; here what counts positions is what refuses.
EVERY: dict[str, Any] = {
    **LIMITS, "max_order_value": 10_000, "price_tolerance": 0.5, "allowed_instruments": [NIFTY, BANK],
    "restricted_instruments": [], "order_types": ["LIMIT", "MARKET"], "products": ["MIS"], "market_protection": 0.01,
    "max_open_order_value": 10**9, "max_turnover": 10**9, "max_gross_exposure": 10**9, "max_net_exposure": 10**9,
    "entry_window": {}, "expiry_day_entries": False, "max_tick_age": 60, "signal_ttl": 60, "duplicate_window": 0.001,
    "confirm_within": 60, "self_match_prevention": False, "participation": False, "max_modifications": 20,
    "max_daily_loss": 10**9, "max_drawdown": 10**9, "max_consecutive_rejects": 10**6, "max_funds_share": 1,
    "repeated_execution": {"orders": 10**6, "seconds": 0.001, "round_trips": 10**6},
    "message_rate": {"second": 10**6, "minute": 10**6, "day": 10**6}, "orders_to_trades": {"ratio": 10**6},
}  # fmt: skip
MAXIMUM = {"paper": 7, "zerodha": 3}

any_signal = st.builds(
    signal,
    st.integers(1, 30),
    side=st.sampled_from(["BUY", "SELL", "HOLD"]),
    quantity=st.none() | st.integers(-2, 9),
    instrument_token=st.sampled_from([NIFTY, BANK]),
    broker=st.sampled_from(list(MAXIMUM)),
    order_type=st.sampled_from(["MARKET", "LIMIT", "SL"]),
    price=st.none() | st.integers(1800, 2200).map(lambda ticks: Decimal(ticks) / 20),
)
any_control = st.builds(Control, action=st.sampled_from(["halt", "resume"]))
any_report = st.tuples(st.integers(0, 30), st.integers(1, 9), st.sampled_from(["OPEN", "CANCELLED", "REJECTED"]))


def limited(**more: Any) -> tuple[RiskEngine, LastTicks]:
    """Both brokers with every limit set, on a market with a price of each instrument."""
    each: dict[str, Any] = {name: {**EVERY, "max_position": most} for name, most in MAXIMUM.items()}
    each["paper"] |= more
    market = LastTicks()
    cash = dict.fromkeys(MAXIMUM, Decimal(10**6))
    limits = RiskFile.model_validate({"brokers": each})
    risk = RiskEngine(RiskInputs(limits=limits, last_ticks=market, opening_cash=cash))
    for token in (NIFTY, BANK):
        market.put(tick(0, 100, token))
    return risk, market


@given(st.lists(any_signal | any_control, max_size=60))
def test_positions_stay_within_their_limit_and_every_signal_is_answered_once(events: list[Any]) -> None:
    """For any signals: what was entered on a side <= max_position, signals = orders + denials, one order a signal."""
    risk, market = limited()
    entered: dict[tuple[str, int, str], int] = {}
    ordered: set[str] = set()
    signals = 0
    for step, event in enumerate(events, 1):
        market.put(tick(step / 100))
        if isinstance(event, Control):
            assert list(risk.on_control(event)) == [event]
            continue
        signals += 1
        (made,) = risk.on_signal(event)
        assert isinstance(made, Order | Denial)
        assert made.signal_id == event.signal_id
        if isinstance(made, Order):
            assert made.signal_id not in ordered
            ordered.add(made.signal_id)
            key = made.broker, made.instrument_token, made.side
            entered[key] = entered.get(key, 0) + made.quantity
            assert entered[key] <= MAXIMUM[made.broker]
    counts = risk.counts()
    assert signals == counts["orders"] + counts["denials"]
    assert counts["orders"] == len(ordered)


@given(st.lists(any_signal | any_report, max_size=80), st.booleans())
def test_whatever_the_broker_fills_the_position_stays_within_its_limit(events: list[Any], assumed: bool) -> None:
    """At each moment all open orders of one side may be filled, and none of the other: that is the position at worst.

    Where MARKET orders count as filled at once the broker fills them at once.
    """
    risk, market = limited(assume_market_fills=assumed)
    held: dict[tuple[str, int], int] = {}
    working: list[tuple[Order, list[int]]] = []  # the order, and units of it that were filled
    fills = 0

    def fill(made: Order, units: int, done: list[int]) -> None:
        nonlocal fills
        fills += 1
        done[0] += units
        key = made.broker, made.instrument_token
        held[key] = held.get(key, 0) + (units if made.side == "BUY" else -units)
        risk.on_fill(
            Fill(
                fill_id=f"f{fills}",
                order_id=made.order_id,
                signal_id=made.signal_id,
                strategy_id=made.strategy_id,
                broker=made.broker,
                instrument_token=made.instrument_token,
                side=made.side,
                quantity=units,
                price=Decimal(100),
                charges={"total": Decimal(0)},
                timestamp=made.timestamp,
            )
        )

    for step, event in enumerate(events, 1):
        market.put(tick(step / 100))
        market.put(tick(step / 100, token=BANK))
        if isinstance(event, Signal):
            for made in risk.on_signal(event):
                if isinstance(made, Order):
                    working.append((made, [0]))
                    if made.order_type == "MARKET" and assumed and made.broker == "paper":
                        fill(made, made.quantity, working.pop()[1])
        elif working:
            made, done = working[event[0] % len(working)]
            status = event[2] if not done[0] or event[2] != "REJECTED" else "CANCELLED"
            if status == "OPEN":
                fill(made, min(event[1], made.quantity - done[0]), done)
            left = made.quantity - done[0]
            said = "COMPLETE" if not left else status
            risk.on_update(
                OrderUpdate(
                    order_id=made.order_id,
                    broker=made.broker,
                    status=said,
                    filled_quantity=done[0],
                    pending_quantity=left if said == "OPEN" else 0,
                )
            )
            if said != "OPEN":
                working.remove((made, done))
        for name, most in MAXIMUM.items():
            for token in (NIFTY, BANK):
                open_units = [
                    (made.quantity - done[0]) * (1 if made.side == "BUY" else -1)
                    for made, done in working
                    if (made.broker, made.instrument_token) == (name, token)
                ]
                position = held.get((name, token), 0)
                assert position + sum(units for units in open_units if units > 0) <= most
                assert position + sum(units for units in open_units if units < 0) >= -most


def test_an_index_of_the_master_is_not_traded() -> None:
    """Without a master it is: any token trades as a share then."""
    index = Instrument(NIFTY, "NSE", "NIFTY 50", "NIFTY 50", "INDICES", "EQ")
    made = decide({}, tick(0), signal(1), instruments=Master.of([index]))
    assert codes(made) == ["INSTRUMENT_NOT_TRADABLE"]
    assert codes(decide({}, tick(0), signal(1))) == ["ORDER"]
