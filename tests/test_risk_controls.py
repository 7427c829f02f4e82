"""Risk control by control: at its limit it lets pass, one step beyond it refuses, without its fact too.

Each row of `CONTROLS` has cases here, and each code one by name; a control without a test fails.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import msgspec
import pytest
from conftest import BANK, NIFTY, START, order, signal, tick
from msgspec.structs import replace

from alpha_cli.events import (
    IST,
    RISK,
    Bar,
    Cancel,
    Control,
    Denial,
    Fill,
    Gap,
    Modify,
    Order,
    OrderUpdate,
    Portfolio,
    Position,
    Signal,
    Tick,
)
from alpha_cli.ids import derive_id
from alpha_cli.instruments import Instrument, Master
from alpha_cli.market import Market
from alpha_cli.risk import sizing
from alpha_cli.risk.codes import MEANINGS, Code
from alpha_cli.risk.config import RiskFile
from alpha_cli.risk.controls import CONTROLS, asked, broker, conduct, exposure, moment, order as order_controls
from alpha_cli.risk.controls.conduct import usable
from alpha_cli.risk.controls.order import MOST_METADATA
from alpha_cli.risk.counts import Scope
from alpha_cli.risk.engine import RiskEngine
from alpha_cli.risk.facts import BrokerFacts, Facts, Refusal
from alpha_cli.risk.limits import Levels, Limits
from alpha_cli.risk.store import Store

DAY = 86_400
CLOSE = 6.25 * 3600
SQUARE_OFF = 6 * 3600 + 300  # 15:20, as Zerodha closes intraday positions in shares
JUST = 1e-6  # the smallest step of time

SHARE, FUTURE, STOCK_FUTURE, OPTION, INDEX = 738561, 9469698, 9469699, 9469700, 256266
RELIANCE = Instrument(SHARE, "NSE", "RELIANCE", "RELIANCE")
LISTED = (
    RELIANCE,
    Instrument(FUTURE, "NFO", "NIFTY24AUGFUT", "NIFTY", "NFO-FUT", "FUT", 25, expiry=date(2024, 8, 29)),
    Instrument(STOCK_FUTURE, "NFO", "RELIANCE24AUGFUT", "RELIANCE", "NFO-FUT", "FUT", 250, expiry=date(2024, 8, 29)),
    Instrument(
        OPTION, "NFO", "NIFTY2460622500CE", "NIFTY", "NFO-OPT", "CE", 25, expiry=date(2024, 6, 6), strike=Decimal(22500)
    ),
    Instrument(INDEX, "NSE", "NIFTY 50", "NIFTY 50", "INDICES"),
)
AUGUST = 59 * DAY  # from here on the freeze quantity of NIFTY is known: 1800 units


# --- the desk --------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What became of the last event: a denial's or a latch's code, limit and observed value, or PASSED."""

    code: str
    limit: Any = None
    observed: Any = None


PASSED = Outcome("")


class Desk:
    """Risk over a market that a test moves by hand. `limits` are of `brokers.paper`, or those of a whole file."""

    def __init__(
        self,
        limits: dict[str, Any] | None = None,
        *,
        master: Iterable[Instrument] | None = None,
        cash: Any = None,
        store: Store | None = None,
    ) -> None:
        given = limits or {}
        whole = given if given.keys() & RiskFile.model_fields.keys() else {"brokers": {"paper": given}}
        found: dict[str, Any] = (
            {} if store is None else {"books": store.books, "standings": store.standings, "halts": store.halts}
        )
        self.market = Market()
        self.risk = RiskEngine(
            RiskFile.model_validate(whole),
            self.market,
            instruments=None if master is None else Master.of(master),
            opening_cash=None if cash is None else {"paper": Decimal(cash)},
            journal=store,
            **found,
        )

    def give(self, *events: Any) -> Outcome:
        """What became of the last of `events`; all go in as from the stream, and those before it leave their traces."""
        made: list[Any] = []
        for event in events:
            if isinstance(event, Tick):
                self.market.put(event)
            step = self.risk.steps.get(type(event))  # what has no step passes by
            made = [] if step is None else list(step(event))
        return outcome(made)

    def order(self, event: Signal) -> Order:
        """The one order that `event` becomes."""
        (made,) = [one for one in self.risk.on_signal(event) if not isinstance(one, Control)]
        assert isinstance(made, Order), made
        return made

    def facts(self, *events: Any) -> Facts:
        """What the controls looked at for the last of `events`."""
        seen: list[Facts] = []
        self.risk.audit = lambda _, facts, controls, refused: seen.append(facts)
        self.give(*events)
        return seen[-1]


def outcome(made: Iterable[Any]) -> Outcome:
    """What a step said: its denial, else what latched, else nothing."""
    latched = PASSED
    for one in made:
        if isinstance(one, Denial):
            assert one.message
            return Outcome(one.code, one.limit, one.observed)
        if isinstance(one, Control) and one.by == RISK and isinstance(one.value, dict) and "code" in one.value:
            latched = Outcome(one.value["code"], one.value["limit"], one.value["observed"])
    return latched


def oid(number: int) -> str:
    """The id of the order that `signal(number)` becomes."""
    return derive_id("order", f"s{number}")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def limit(number: int, price: Any, *, side: str = "BUY", **fields: Any) -> Signal:
    """A LIMIT order that is asked for."""
    return signal(number, side=side, order_type="LIMIT", price=Decimal(str(price)), **fields)


def fill(
    number: int, quantity: int = 1, price: Any = 100, side: Any = "BUY", *, when: float = 0, **fields: Any
) -> Fill:
    """A trade of the order of `signal(number)`."""
    values: dict[str, Any] = {
        "order_id": oid(number), "signal_id": f"s{number}", "strategy_id": "test", "broker": "paper",
        "instrument_token": NIFTY, "charges": {"total": Decimal(0)}, **fields,
    }  # fmt: skip
    return Fill(
        fill_id=f"f{number} {quantity} {price} {when}", side=side, quantity=quantity, price=Decimal(str(price)),
        timestamp=at(when), **values,
    )  # fmt: skip


def heard(number: int, status: str = "OPEN", filled: int = 0, pending: int = 1, when: float = 0) -> OrderUpdate:
    """What the broker says of the order of `signal(number)`."""
    return OrderUpdate(
        order_id=oid(number), broker="paper", status=status, filled_quantity=filled, pending_quantity=pending,
        timestamp=at(when),
    )  # fmt: skip


def modify(number: int, **fields: Any) -> Modify:
    """A modification of the order of `signal(number)`."""
    return Modify(order_id=oid(number), **fields)


def bar(volume: int, end: float = 0) -> Bar:
    return Bar(NIFTY, at(end - 60), at(end), "1m", 100, 100, 100, 100, volume, 1)


def bought(quantity: int = 10, price: Any = 100, number: int = 90) -> tuple[Any, ...]:
    """A position that the strategy has."""
    return signal(number, quantity=quantity), fill(number, quantity, price), heard(number, "COMPLETE", quantity, 0)


def sold(quantity: int = 10, price: Any = 100, number: int = 90) -> tuple[Any, ...]:
    """A short one."""
    return (
        signal(number, side="SELL", quantity=quantity),
        fill(number, quantity, price, "SELL"),
        heard(number, "COMPLETE", quantity, 0),
    )


def many(count: int, step: float = 0, **fields: Any) -> tuple[Any, ...]:
    """So many orders, `step` seconds after each other."""
    made: list[Any] = []
    for number in range(1, count + 1):
        made += [tick((number - 1) * step), signal(number, at=(number - 1) * step, **fields)]
    return tuple(made)


# --- each control in a stream ----------------------------------------------------------------


class Case(NamedTuple):
    """Events after which the last passes, and others after which it is refused, under the same limits."""

    control: str
    code: Code
    limits: dict[str, Any]
    passes: tuple[Any, ...]
    denied: tuple[Any, ...]
    limit: Any = None
    observed: Any = None
    master: tuple[Instrument, ...] | None = None
    cash: Any = None
    start: tuple[Any, ...] = (tick(0),)


def case(control: str, code: Code, limits: dict[str, Any], passes: Any, denied: Any, *rest: Any, **more: Any) -> Case:
    """A single event may stand for a tuple of one."""
    return Case(control, code, limits, *(one if isinstance(one, tuple) else (one,) for one in (passes, denied)), *rest,
                **more)  # fmt: skip


TRIPS = {"repeated_execution": {"orders": 50, "seconds": 60, "round_trips": 1}}
TWICE = {"repeated_execution": {"orders": 2, "seconds": 60, "round_trips": 50}}
RATE = {"message_rate": {"second": 5, "minute": 10, "day": 20}}
RATIO = {"orders_to_trades": {"ratio": 2, "after": 3}}
ROUND_TRIP = (*bought(1, number=1), signal(2, side="SELL"), fill(2, 1, 100, "SELL"), heard(2, "COMPLETE", 1, 0))
WINDOW = {"entry_window": {"after_open": 1, "before_close": 15}}
SAID = "1 min after the opening to 15 min before the close"
OF_BANK: dict[str, Any] = {"instrument_token": BANK}

CASES: list[Case] = [
    case("halted", Code.TRADING_HALTED, {}, (Control(action="pause"), signal(1)), (Control(action="halt"), signal(1))),
    case("halted", Code.TRADING_HALTED, {},
         (Control(action="halt", target="zerodha"), signal(1)), (Control(action="halt", target="paper"), signal(1))),
    case("halted", Code.STRATEGY_HALTED, {},
         (Control(action="halt", target="other"), signal(1)), (Control(action="halt", target="test"), signal(1))),
    case("repeated", Code.SIGNAL_DUPLICATE, {}, (signal(1), signal(2)), (signal(1), signal(1))),
    case("repeated", Code.SIGNAL_CONFLICT, {}, (signal(1), signal(2)), (signal(1), signal(1, quantity=2))),
    case("repeated", Code.SIGNAL_CONFLICT, {}, (signal(1), signal(2)), (signal(1), signal(1, side="SELL"))),
    case("metadata", Code.SIGNAL_TOO_LARGE, {}, signal(1, metadata={"k": "x" * (MOST_METADATA - 8)}),
         signal(1, metadata={"k": "x" * (MOST_METADATA - 7)}), MOST_METADATA, MOST_METADATA + 1),
    case("past", Code.SESSION_PAST, {}, (tick(DAY + 5), signal(1), tick(DAY), signal(2, side="SELL")),
         (tick(DAY), signal(1), tick(0), signal(2, side="SELL")), None, "2024-06-03"),
    case("hold", Code.SIGNAL_HOLD, {}, signal(1), signal(1, side="HOLD")),
    case("signal_ttl", Code.SIGNAL_EXPIRED, {"signal_ttl": 5},
         (tick(5), signal(1)), (tick(5), signal(1, at=-JUST)), 5, 5.000001),
    case("signal_ttl", Code.SIGNAL_AHEAD, {"signal_ttl": 5}, signal(1, at=5), signal(1, at=5 + JUST), 5, 5.000001),
    case("instrument", Code.INSTRUMENT_UNKNOWN, {},
         signal(1, instrument_token=SHARE), signal(1, instrument_token=NIFTY), None, NIFTY, LISTED),
    case("instrument", Code.INSTRUMENT_NOT_TRADABLE, {},
         signal(1, instrument_token=SHARE), signal(1, instrument_token=INDEX), None, INDEX, LISTED),
    case("instrument", Code.INSTRUMENT_EXPIRED, {},
         (tick(3 * DAY), signal(1, at=3 * DAY, instrument_token=OPTION, quantity=25)),
         (tick(4 * DAY), signal(1, at=4 * DAY, instrument_token=OPTION, quantity=25)),
         "2024-06-06", "2024-06-07", LISTED),
    case("allowed_instruments", Code.INSTRUMENT_NOT_ALLOWED, {"allowed_instruments": [NIFTY]},
         signal(1), signal(1, **OF_BANK), "1 allowed", f"NSE:{BANK}"),
    case("allowed_instruments", Code.INSTRUMENT_NOT_ALLOWED, {"allowed_instruments": ["NFO:NIFTY*"]},
         signal(1, instrument_token=OPTION, quantity=25), signal(1, instrument_token=STOCK_FUTURE, quantity=250),
         "1 allowed", "NFO:RELIANCE24AUGFUT", LISTED),
    case("allowed_instruments", Code.INSTRUMENT_NOT_ALLOWED,
         {"account": {"allowed_instruments": [NIFTY, BANK]}, "brokers": {"paper": {"allowed_instruments": [NIFTY]}}},
         signal(1), signal(1, **OF_BANK), "2 allowed and 1 allowed", f"NSE:{BANK}"),
    case("restricted_instruments", Code.INSTRUMENT_RESTRICTED, {"restricted_instruments": [f"NSE:{BANK}"]},
         signal(1), signal(1, **OF_BANK), "1 restricted", f"NSE:{BANK}"),
    case("order_type", Code.ORDER_TYPE_UNSUPPORTED, {}, signal(1), signal(1, order_type="SL"), "MARKET, LIMIT", "SL"),
    case("order_type", Code.ORDER_TYPE_UNSUPPORTED, {},
         limit(1, 1), signal(1, order_type="SL-M"), "MARKET, LIMIT", "SL-M"),
    case("order_type", Code.PRICE_MISSING, {}, limit(1, 0.05), signal(1, order_type="LIMIT"), 0, None),
    case("order_type", Code.PRICE_MISSING, {}, limit(1, 0.05), limit(1, 0), 0, 0),
    case("order_type", Code.PRICE_MISSING, {}, limit(1, 0.05), limit(1, -0.05), 0, -0.05),
    case("order_types", Code.ORDER_TYPE_NOT_ALLOWED, {"order_types": ["LIMIT"]},
         limit(1, 100), signal(1), "LIMIT", "MARKET"),
    case("market_orders", Code.ORDER_MARKET_NOT_ALLOWED, {"market_protection": False},
         limit(1, 100), signal(1), "off", "MARKET"),
    case("products", Code.PRODUCT_NOT_ALLOWED, {"products": ["MIS", "NRML"]},
         signal(1), signal(1, product="CNC"), "MIS, NRML", "CNC"),
    case("product_kind", Code.PRODUCT_NOT_ALLOWED, {},
         signal(1, instrument_token=SHARE, product="CNC"), signal(1, instrument_token=SHARE, product="NRML"),
         "MIS, CNC", "NRML", LISTED),
    case("product_kind", Code.PRODUCT_NOT_ALLOWED, {},
         signal(1, instrument_token=OPTION, product="NRML", quantity=25),
         signal(1, instrument_token=OPTION, product="CNC", quantity=25), "MIS, NRML", "CNC", LISTED),
    case("quantity", Code.QUANTITY_MISSING, {}, signal(1), signal(1, quantity=None), 1),
    case("quantity", Code.QUANTITY_NOT_POSITIVE, {}, signal(1), signal(1, quantity=0), 1, 0),
    case("quantity", Code.QUANTITY_NOT_POSITIVE, {},
         signal(1, side="SELL"), signal(1, side="SELL", quantity=-1), 1, -1),
    case("quantity", Code.QUANTITY_NOT_LOT_MULTIPLE, {},
         signal(1, instrument_token=OPTION, quantity=50), signal(1, instrument_token=OPTION, quantity=51), 25, 51,
         LISTED),
    case("quantity", Code.SIZE_BELOW_LOT, {"sizing": {"rule": "notional", "rupees": 100}},
         (tick(0, 100), signal(1, quantity=None)), (tick(0, 100.0001), signal(1, quantity=None)), 1, 0),
    case("quantity", Code.SIZE_BELOW_LOT, {"sizing": {"rule": "fixed", "quantity": 49}},
         signal(1, instrument_token=SHARE, quantity=None),
         signal(1, instrument_token=STOCK_FUTURE, quantity=None), 250, 49, LISTED),
    case("quantity", Code.SIZE_UNKNOWN, {"sizing": {"rule": "percent_of_equity", "percent": 50}},
         (Portfolio("paper", *(Decimal(1000),) * 2, *(Decimal(0),) * 3), signal(1, quantity=None)),
         signal(1, quantity=None), "percent_of_equity", None),
    case("order_quantity", Code.QUANTITY_ABOVE_LIMIT, {"max_order_quantity": 10},
         signal(1, quantity=10), signal(1, quantity=11), 10, 11),
    case("order_quantity", Code.QUANTITY_ABOVE_LIMIT, {"max_order_quantity": 10},
         signal(1, side="SELL", quantity=10), signal(1, side="SELL", quantity=11), 10, 11),
    case("freeze_quantity", Code.QUANTITY_ABOVE_FREEZE, {"max_slices": 2},
         signal(1, at=AUGUST, instrument_token=FUTURE, quantity=3600),
         signal(1, at=AUGUST, instrument_token=FUTURE, quantity=3625), 3600, 3625, LISTED, start=(tick(AUGUST),)),
    case("price_tick", Code.PRICE_NOT_TICK_MULTIPLE, {}, limit(1, 100.05), limit(1, 100.0501), 0.05, 100.0501),
    case("price_tick", Code.PRICE_NOT_TICK_MULTIPLE, {},
         limit(1, 100.05, side="SELL"), limit(1, 100.0499, side="SELL"), 0.05, 100.0499),
    case("session", Code.SESSION_CLOSED, {"session_hours": True},
         signal(1), signal(1, at=-JUST), "09:15-15:30 IST", "2024-06-03T09:14:59.999999+05:30"),
    case("session", Code.SESSION_CLOSED, {"session_hours": True},
         (tick(CLOSE - JUST), signal(1, product="CNC")), (tick(CLOSE), signal(1, product="CNC")), "09:15-15:30 IST",
         "2024-06-03T15:30:00+05:30"),
    case("entry_window", Code.SESSION_NO_ENTRY, WINDOW,
         (tick(60), signal(1)), (tick(60 - JUST), signal(1)), SAID, "59.999999 s after the opening"),
    case("entry_window", Code.SESSION_NO_ENTRY, WINDOW,
         (tick(CLOSE - 900), signal(1, side="SELL")), (tick(CLOSE - 900 + JUST), signal(1, side="SELL")), SAID,
         "899.999999 s before the close"),
    case("entry_window", Code.SESSION_NO_ENTRY, WINDOW, (tick(60), signal(1)), (tick(-1), signal(1)), SAID),
    case("square_off", Code.SESSION_SQUARED_OFF, {"session_hours": True},
         (tick(SQUARE_OFF - JUST), signal(1)), (tick(SQUARE_OFF), signal(1)), "2024-06-03T15:20:00+05:30"),
    case("square_off", Code.SESSION_SQUARED_OFF, {"session_hours": True},
         (tick(SQUARE_OFF), signal(1, side="SELL", product="CNC")), (tick(SQUARE_OFF), signal(1, side="SELL")),
         "2024-06-03T15:20:00+05:30"),
    case("expiry_day", Code.INSTRUMENT_EXPIRES_TODAY, {"expiry_day_entries": False},
         (tick(2 * DAY), signal(1, instrument_token=OPTION, quantity=25)),
         (tick(3 * DAY), signal(1, instrument_token=OPTION, quantity=25)), None, "2024-06-06", LISTED),
    case("tick_age", Code.DATA_STALE, {"max_tick_age": 2},
         (tick(2, token=BANK), signal(1)), (tick(2 + JUST, token=BANK), signal(1)), 2, 2.000001),
    case("tick_age", Code.DATA_MISSING, {"max_tick_age": 2}, signal(1), signal(1, **OF_BANK), 2),
    case("tick_age", Code.DATA_GAP, {"max_tick_age": 2},
         (Gap("feed"), tick(JUST), signal(1)), (Gap("feed"), tick(1, token=BANK), signal(1)), None, 1),
    case("tick_age", Code.DATA_GAP, {"max_tick_age": 2},
         (Gap("feed", to=at(1)), tick(1 + JUST), signal(1)), (Gap("feed", to=at(1)), tick(1), signal(1)), None, 0),
    case("price_tolerance", Code.PRICE_NO_REFERENCE, {"price_tolerance": 0.02},
         limit(1, 100), limit(1, 100, **OF_BANK), 0.02),
    case("price_tolerance", Code.PRICE_OUT_OF_TOLERANCE, {"price_tolerance": 0.02},
         limit(1, 102), limit(1, 102.05), 0.02, 0.0205),
    case("price_tolerance", Code.PRICE_OUT_OF_TOLERANCE, {"price_tolerance": 0.02},
         limit(1, 98, side="SELL"), limit(1, 97.95, side="SELL"), 0.02, 0.0205),
    case("price_tolerance", Code.PRICE_OUT_OF_TOLERANCE, {"price_tolerance": 0.02},
         signal(1, price=Decimal(102)), signal(1, price=Decimal("102.0001")), 0.02, 0.020001),
    case("price_tolerance", Code.PRICE_OUT_OF_TOLERANCE, {"price_tolerance": 0.02},
         signal(1, side="SELL", price=Decimal(98)), signal(1, side="SELL", price=Decimal("97.9999")), 0.02, 0.020001),
    case("price_tolerance", Code.PRICE_OUT_OF_TOLERANCE, {"price_tolerance": {"option": 0.1, "equity": 0.01}},
         (tick(0, 20, OPTION), limit(1, 25, instrument_token=OPTION, quantity=25)),
         (tick(0, 20, OPTION), limit(1, 25.05, instrument_token=OPTION, quantity=25)), 0.1, 0.101, LISTED),
    case("order_value", Code.VALUE_NO_REFERENCE, {"max_order_value": 1000}, signal(1), signal(1, **OF_BANK), 1000),
    case("order_value", Code.VALUE_ABOVE_LIMIT, {"max_order_value": 1000},
         limit(1, 500, quantity=2), limit(1, 500.05, quantity=2), 1000, 1000.1),
    case("order_value", Code.VALUE_ABOVE_LIMIT, {"max_order_value": 1000},
         (tick(0, 1000), signal(1, side="SELL")), (tick(0, 1000.0001), signal(1, side="SELL")), 1000, 1000.0001),
    case("order_value", Code.VALUE_ABOVE_LIMIT, {"max_order_value": 101, "market_protection": 0.01},
         (tick(0, 100), signal(1)), (tick(0, 100.0001), signal(1)), 101, 101.0002),
    case("duplicate", Code.ORDER_DUPLICATE, {"duplicate_window": 2},
         (signal(1), tick(2), signal(2)), (signal(1), tick(2 - JUST), signal(2)), 2, 1.999999),
    case("duplicate", Code.ORDER_DUPLICATE, {"duplicate_window": 2},
         (limit(1, 100, side="SELL"), limit(2, 100.05, side="SELL")),
         (limit(1, 100, side="SELL"), limit(2, 100, side="SELL")), 2, 0),
    case("duplicate", Code.ORDER_DUPLICATE, {"duplicate_window": 2},
         (signal(1), signal(2, side="SELL"), signal(3, quantity=2), signal(4, **OF_BANK)),
         (signal(1), signal(2, strategy_id="other")), 2, 0),
    case("self_match", Code.ORDER_SELF_MATCH, {"self_match_prevention": True},
         (limit(1, 100), limit(2, 100.05, side="SELL")), (limit(1, 100), limit(2, 100, side="SELL")), 100, 100),
    case("self_match", Code.ORDER_SELF_MATCH, {"self_match_prevention": True},
         (limit(1, 100, side="SELL"), limit(2, 99.95)), (limit(1, 100, side="SELL"), limit(2, 100)), 100, 100),
    case("self_match", Code.ORDER_SELF_MATCH, {"self_match_prevention": True},
         (limit(1, 99), signal(2)), (limit(1, 99), signal(2, side="SELL")), 99, None),
    case("confirm_within", Code.ORDER_UNCONFIRMED, {"confirm_within": 5},
         (signal(1), tick(5), signal(2)), (signal(1), tick(5 + JUST), signal(2)), 5, 5.000001),
    case("confirm_within", Code.ORDER_UNCONFIRMED, {"confirm_within": 5},
         (signal(1), heard(1), tick(9), signal(2)), (signal(1), tick(9), signal(2, side="SELL", quantity=2)), 5, 9),
    case("reducing", Code.TRADING_REDUCING, {},
         (*bought(), Control(action="reduce"), signal(1, side="SELL", quantity=10)),
         (*bought(), Control(action="reduce"), signal(1, side="SELL", quantity=11))),
    case("reducing", Code.TRADING_REDUCING, {},
         (*sold(), Control(action="reduce", target="test"), signal(1, quantity=10)),
         (*sold(), Control(action="reduce", target="test"), signal(1, quantity=11))),
    case("position", Code.POSITION_ABOVE_LIMIT, {"max_position": 5},
         signal(1, quantity=5), signal(1, quantity=6), 5, 6),
    case("position", Code.POSITION_ABOVE_LIMIT, {"max_position": 5},
         signal(1, side="SELL", quantity=5), signal(1, side="SELL", quantity=6), 5, -6),
    case("position", Code.POSITION_ABOVE_LIMIT, {"max_position": 5},
         (*bought(2), limit(1, 99, quantity=2), signal(2)),
         (*bought(2), limit(1, 99, quantity=2), signal(2, quantity=2)), 5, 6),
    case("position", Code.POSITION_ABOVE_LIMIT, {"max_position": 5},
         (*bought(5), limit(1, 101, side="SELL", quantity=5), limit(2, 102, side="SELL", quantity=5)),
         (*bought(5), limit(1, 101, side="SELL", quantity=5), limit(2, 99)), 5, 6),
    case("open_order_value", Code.VALUE_NO_REFERENCE, {"max_open_order_value": 1000},
         signal(1), signal(1, **OF_BANK), 1000),
    case("open_order_value", Code.EXPOSURE_OPEN_ABOVE_LIMIT, {"max_open_order_value": 1000},
         (limit(1, 100, quantity=9), limit(2, 100)), (limit(1, 100, quantity=9), limit(2, 100.05)), 1000, 1000.05),
    case("open_order_value", Code.EXPOSURE_OPEN_ABOVE_LIMIT, {"max_open_order_value": 1000},
         (limit(1, 100, quantity=9), fill(1, 9), tick(0, 1000), signal(2, side="SELL")),
         (limit(1, 100, quantity=9), fill(1, 9), tick(0, 1000.0001), signal(2, side="SELL")), 1000, 1000.0001),
    case("turnover", Code.VALUE_NO_REFERENCE, {"max_turnover": 1000}, signal(1), signal(1, **OF_BANK), 1000),
    case("turnover", Code.EXPOSURE_TURNOVER_ABOVE_LIMIT, {"max_turnover": 1000},
         (*bought(8), limit(1, 100), limit(2, 100, side="SELL")),
         (*bought(8), limit(1, 100), limit(2, 100.05, side="SELL")), 1000, 1000.05),
    case("turnover", Code.EXPOSURE_TURNOVER_ABOVE_LIMIT, {"max_turnover": 101, "market_protection": 0.01},
         (tick(0, 100), signal(1)), (tick(0, 100.0001), signal(1)), 101, 101.0002),
    case("gross_exposure", Code.VALUE_NO_REFERENCE, {"max_gross_exposure": 1000},
         signal(1), signal(1, **OF_BANK), 1000),
    case("gross_exposure", Code.EXPOSURE_GROSS_ABOVE_LIMIT, {"max_gross_exposure": 1000},
         (*bought(5), tick(0, 500, BANK), signal(1, side="SELL", **OF_BANK)),
         (*bought(5), tick(0, 500.0001, BANK), signal(1, side="SELL", **OF_BANK)), 1000, 1000.0001),
    case("gross_exposure", Code.EXPOSURE_GROSS_ABOVE_LIMIT, {"max_gross_exposure": 1000},
         (*sold(10), signal(1, quantity=20)), (*sold(10), signal(1, quantity=21)), 1000, 1100),
    case("net_exposure", Code.VALUE_NO_REFERENCE, {"max_net_exposure": 1000}, signal(1), signal(1, **OF_BANK), 1000),
    case("net_exposure", Code.EXPOSURE_NET_ABOVE_LIMIT, {"max_net_exposure": 1000},
         (*bought(5), tick(0, 500, BANK), signal(1, **OF_BANK)),
         (*bought(5), tick(0, 500.0001, BANK), signal(1, **OF_BANK)), 1000, 1000.0001),
    case("net_exposure", Code.EXPOSURE_NET_ABOVE_LIMIT, {"max_net_exposure": 1000},
         (*sold(5), tick(0, 500, BANK), signal(1, side="SELL", **OF_BANK)),
         (*sold(5), tick(0, 500.0001, BANK), signal(1, side="SELL", **OF_BANK)), 1000, 1000.0001),
    case("participation", Code.VOLUME_UNKNOWN, {"participation": {"minute": 0.1}},
         (bar(100), signal(1)), signal(1), 0.1),
    case("participation", Code.VOLUME_UNKNOWN, {"participation": {"minute": 0.1}},
         (bar(100), tick(120), signal(1)), (bar(100), tick(120 + JUST), signal(1)), 0.1),
    case("participation", Code.VOLUME_UNKNOWN,
         {"account": {"participation": {"day": 0.01}}, "instruments": {str(NIFTY): {"average_daily_volume": 1000}}},
         signal(1, quantity=10), signal(1, **OF_BANK), 0.01),
    case("participation", Code.VOLUME_ABOVE_LIMIT, {"participation": {"minute": 0.1}},
         (bar(109), signal(1, quantity=10)), (bar(109), signal(1, quantity=11)), 10, 11),
    case("participation", Code.VOLUME_ABOVE_LIMIT,
         {"account": {"participation": {"day": 0.01}}, "instruments": {str(NIFTY): {"average_daily_volume": 1000}}},
         signal(1, side="SELL", quantity=10), signal(1, side="SELL", quantity=11), 10, 11),
    case("funds", Code.FUNDS_INSUFFICIENT, {"max_funds_share": 0.95},
         limit(1, 950), limit(1, 950.05), 950, 950.05, cash=1000),
    case("funds", Code.FUNDS_INSUFFICIENT, {"max_funds_share": 0.95},
         limit(1, 950, side="SELL"), limit(1, 950.05, side="SELL"), 950, 950.05, cash=1000),
    case("funds", Code.FUNDS_INSUFFICIENT, {"max_funds_share": 1, "market_protection": 0.01},
         (tick(0, 100), signal(1)), (tick(0, 100.0001), signal(1)), 101, 101.0002, cash=101),
    case("funds", Code.FUNDS_UNKNOWN, {"max_funds_share": 0.95},
         (Portfolio("paper", *(Decimal(1000),) * 2, *(Decimal(0),) * 3), signal(1)), signal(1), 0.95),
    case("funds", Code.VALUE_NO_REFERENCE, {"max_funds_share": 0.95}, signal(1), signal(1, **OF_BANK), 0.95, cash=1000),
    case("repeated_execution", Code.EXECUTION_REPEATED, TWICE, many(2), many(3), 2, 3),
    case("repeated_execution", Code.EXECUTION_REPEATED, TWICE,
         (*many(2, side="SELL"), tick(60), signal(9, side="SELL")),
         (*many(2, side="SELL"), tick(60 - JUST), signal(9, side="SELL")), 2, 3),
    case("round_trips", Code.EXECUTION_ROUND_TRIPS, TRIPS, ROUND_TRIP[:-2], (*ROUND_TRIP, signal(3)), 1, 2),
    case("message_rate", Code.RATE_ABOVE_LIMIT, RATE, many(4), many(5), 4, 5),
    case("message_rate", Code.RATE_ABOVE_LIMIT, RATE,
         (*many(4), tick(1), signal(9)), (*many(4), tick(1 - JUST), signal(9, side="SELL")), 4, 5),
    case("message_rate", Code.RATE_ABOVE_LIMIT, RATE, many(8, 2), many(9, 2), 8, 9),
    case("message_rate", Code.RATE_ABOVE_LIMIT, RATE,
         (*many(8, 2), tick(60), signal(19)), (*many(8, 2), tick(60 - JUST), signal(19)), 8, 9),
    case("message_rate", Code.RATE_ABOVE_LIMIT, RATE, many(16, 60), many(17, 60), 16, 17),
    case("orders_to_trades", Code.RATE_ORDERS_TO_TRADES, RATIO, many(3), many(4), 3, 4),
    case("orders_to_trades", Code.RATE_ORDERS_TO_TRADES, RATIO,
         (*many(3), fill(1), fill(2), signal(9)), (*many(3), fill(1), signal(9, side="SELL")), 3, 4),
    case("orders_to_trades", Code.RATE_ORDERS_TO_TRADES, {"orders_to_trades": {"ratio": 3, "after": 3}},
         (*many(3), fill(1), fill(2), signal(7), signal(8), signal(9)),
         (*many(3), fill(1), fill(2), signal(7), signal(8), signal(9), signal(10)), 6, 7),
    case("modifications", Code.RATE_MODIFICATIONS, {"max_modifications": 2},
         (limit(1, 100), modify(1), modify(1)), (limit(1, 100), modify(1), modify(1), modify(1)), 2, 3),
    case("daily_loss", Code.LOSS_ABOVE_LIMIT, {"max_daily_loss": 100},
         (*bought(1, 200), tick(10, 100)), (*bought(1, 200), tick(10, 99.9999)), 100, 100.0001),
    case("daily_loss", Code.LOSS_ABOVE_LIMIT, {"max_daily_loss": 100},
         (*sold(1, 200), tick(10, 300)), (*sold(1, 200), tick(10, 300.0001)), 100, 100.0001),
    case("drawdown", Code.LOSS_DRAWDOWN_ABOVE_LIMIT, {"max_drawdown": 100},
         (*bought(1, 100), tick(10, 150), tick(20, 50)), (*bought(1, 100), tick(10, 150), tick(20, 49.9999)), 100,
         100.0001),
    case("drawdown", Code.LOSS_DRAWDOWN_ABOVE_LIMIT, {"max_drawdown": 100},
         (*sold(1, 100), tick(10, 50), tick(20, 150)), (*sold(1, 100), tick(10, 50), tick(20, 150.0001)), 100,
         100.0001),
    case("consecutive_rejects", Code.EXECUTION_REJECTS, {"max_consecutive_rejects": 2},
         (signal(1), heard(1, "REJECTED"), signal(2), heard(2), signal(3), heard(3, "REJECTED")),
         (signal(1), heard(1, "REJECTED"), signal(2), signal(3), heard(3, "REJECTED")), 2, 2),
]  # fmt: skip


def named(one: Case) -> str:
    return f"{one.control} {one.code}"


@pytest.mark.parametrize("one", CASES, ids=named)
def test_a_control_passes_at_its_limit(one: Case) -> None:
    """With the very limits under which one step more is refused."""
    desk = Desk(one.limits, master=one.master, cash=one.cash)
    for event in (*one.start, *one.passes):
        assert desk.give(event) == PASSED
    stopped = [kept.state for kept in desk.risk.states.standings.kept.values() if kept.broker == "paper"]
    assert stopped == ["REDUCING"] * (one.control == "reducing")


@pytest.mark.parametrize("one", CASES, ids=named)
def test_a_control_refuses_one_step_beyond_its_limit(one: Case) -> None:
    """Code, limit and observed value say what was held against what; everything before it passed."""
    desk = Desk(one.limits, master=one.master, cash=one.cash)
    for event in (*one.start, *one.denied[:-1]):
        assert desk.give(event) == PASSED
    assert desk.give(one.denied[-1]) == (one.code.value, one.limit, one.observed)


@pytest.mark.parametrize("one", CASES, ids=named)
def test_without_its_setting_a_control_is_off_for_paper(one: Case) -> None:
    """What has no setting holds all the same."""
    setting = next(control.setting for control in CONTROLS if control.name == one.control)
    if setting is None or "brokers" in one.limits or "account" in one.limits:
        return
    rest = {name: value for name, value in one.limits.items() if name != setting}
    assert Desk(rest, master=one.master, cash=one.cash).give(*one.start, *one.denied) == PASSED


def test_a_day_that_the_calendar_does_not_cover_is_no_session() -> None:
    """Nobody knows its hours, so nothing trades; and the refusal says that it is not merely closed."""
    known = datetime(2022, 1, 3, 10, tzinfo=IST)
    unknown = datetime(2021, 12, 31, 10, tzinfo=IST)
    for day, code in ((known, ""), (unknown, "SESSION_UNKNOWN")):
        when = (day - START).total_seconds()
        made = Desk({"session_hours": True}).give(tick(when), signal(1, at=when))
        assert (made.code, made.limit) == (code, None)
        assert made.observed == (day.isoformat() if code else None)


def test_the_kinds_of_instruments_have_their_own_tolerance() -> None:
    """Shares, futures of an index, futures of a share, options: each at its limit and one tick beyond."""
    limits = {"price_tolerance": {"equity": 0.02, "index_future": 0.03, "stock_future": 0.05, "option": 0.1}}
    for token, quantity, furthest in ((SHARE, 1, 102), (FUTURE, 25, 103), (STOCK_FUTURE, 250, 105), (OPTION, 25, 110)):
        for side, sign in (("BUY", 1), ("SELL", -1)):
            for step, code in ((Decimal(0), ""), (Decimal("0.05"), "PRICE_OUT_OF_TOLERANCE")):
                price = 100 + sign * (furthest - 100 + step)
                wanted = limit(1, price, side=side, instrument_token=token, quantity=quantity)
                assert Desk(limits, master=LISTED).give(tick(0, 100, token), wanted).code == code


def test_a_better_price_than_the_last_is_never_out_of_tolerance() -> None:
    """A buy far below, a sell far above: they rest, or are a gift."""
    assert Desk({"price_tolerance": 0.02}).give(tick(0), limit(1, 1), limit(2, 1000, side="SELL")) == PASSED


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_a_market_order_is_held_to_the_price_that_its_protection_lets_it_come_to(side: str) -> None:
    """Protection of 2 % fits into a tolerance of 2 %; with a millionth more it does not, on either side."""
    passes = Desk({"price_tolerance": 0.02, "market_protection": 0.02})
    assert passes.give(tick(0), signal(1, side=side)) == PASSED
    denied = Desk({"price_tolerance": 0.02, "market_protection": 0.020001})
    assert denied.give(tick(0), signal(1, side=side)) == ("PRICE_OUT_OF_TOLERANCE", 0.02, 0.020001)


def test_an_order_says_which_protection_it_was_valued_with() -> None:
    """In percent, as the broker takes it; a LIMIT order has none."""
    desk = Desk({"market_protection": 0.0125})
    desk.give(tick(0))
    assert desk.order(signal(1)).market_protection == 1.25
    assert desk.order(limit(2, 100)).market_protection is None


@pytest.mark.parametrize("side", ["BUY", "SELL"])
@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"max_order_value": 199}, "VALUE_ABOVE_LIMIT"), ({"max_position": 1}, "POSITION_ABOVE_LIMIT"),
        ({"max_open_order_value": 199}, "EXPOSURE_OPEN_ABOVE_LIMIT"),
        ({"max_turnover": 199}, "EXPOSURE_TURNOVER_ABOVE_LIMIT"),
        ({"max_gross_exposure": 199}, "EXPOSURE_GROSS_ABOVE_LIMIT"),
        ({"max_net_exposure": 199}, "EXPOSURE_NET_ABOVE_LIMIT"), ({"max_funds_share": 0.199}, "FUNDS_INSUFFICIENT"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("assumed", [False, True])
def test_market_orders_are_not_exempt(limits: dict[str, Any], code: str, side: str, assumed: bool) -> None:
    """They are counted at the last price, whether they count as filled at once or not."""
    desk = Desk({**limits, "assume_market_fills": assumed}, cash=1000)
    assert desk.give(tick(0), signal(1, side=side, quantity=2)).code == code


# --- what closes a position -------------------------------------------------------------------


@pytest.mark.parametrize("side", ["BUY", "SELL"])
@pytest.mark.parametrize(
    ("limits", "code", "before"),
    [
        (WINDOW, "SESSION_NO_ENTRY", (tick(CLOSE - 1),)),
        ({"session_hours": True}, "SESSION_SQUARED_OFF", (tick(SQUARE_OFF),)),
        ({"max_tick_age": 2}, "DATA_STALE", (tick(9, token=BANK),)),
        ({"max_tick_age": 2}, "DATA_GAP", (Gap("feed"),)),
        ({"confirm_within": 5}, "ORDER_UNCONFIRMED", (limit(80, 99, strategy_id="other"), tick(6))),
        ({"max_funds_share": 0.0001}, "FUNDS_INSUFFICIENT", ()),
        (TRIPS, "EXECUTION_ROUND_TRIPS", ROUND_TRIP),
    ],
)  # fmt: skip
def test_what_only_concerns_entries_lets_close_and_neither_grow_nor_flip(
    limits: dict[str, Any], code: str, before: tuple[Any, ...], side: str
) -> None:
    """Ten are held: selling ten passes, selling eleven and buying one do not; the same for a short position."""
    back = "SELL" if side == "BUY" else "BUY"
    for way, quantity, expected in ((back, 10, ""), (back, 11, code), (side, 1, code)):
        desk = Desk({"strategies": {"test": limits}}, cash=10_000)
        assert desk.give(tick(0), *before, fill(70, 10, 100, side)) == PASSED
        assert desk.give(signal(71, at=60, side=way, quantity=quantity)).code == expected


# --- levels ----------------------------------------------------------------------------------

LEVELS = [("account", None), ("brokers", "paper"), ("strategies", "test"), ("instruments", str(NIFTY))]


def at_level(level: str, name: str | None, limits: dict[str, Any]) -> dict[str, Any]:
    """A file that says `limits` at one level."""
    return {level: limits if name is None else {name: limits}}


@pytest.mark.parametrize(("level", "name"), LEVELS)
@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"max_position": 5}, "POSITION_ABOVE_LIMIT"), ({"max_open_order_value": 500}, "EXPOSURE_OPEN_ABOVE_LIMIT"),
        ({"max_turnover": 500}, "EXPOSURE_TURNOVER_ABOVE_LIMIT"),
        ({"max_gross_exposure": 500}, "EXPOSURE_GROSS_ABOVE_LIMIT"),
        ({"max_net_exposure": 500}, "EXPOSURE_NET_ABOVE_LIMIT"),
    ],
)  # fmt: skip
def test_each_level_counts_what_is_its_own(level: str, name: str | None, limits: dict[str, Any], code: str) -> None:
    """Account and instrument count all strategies, a strategy only itself; nobody else's instrument counts there."""
    for strategy_id, expected in (("test", code), ("other", "" if level == "strategies" else code)):
        desk = Desk(at_level(level, name, limits))
        assert desk.give(tick(0), limit(1, 100, quantity=5, strategy_id=strategy_id)) == PASSED
        assert desk.give(limit(2, 100, strategy_id=strategy_id)).code == expected
    desk = Desk(at_level(level, name, limits))
    desk.give(tick(0), limit(1, 100, quantity=5, strategy_id="other"))
    assert desk.give(limit(2, 100)).code == ("" if level == "strategies" else code)
    if level == "instruments":
        desk = Desk(at_level(level, name, limits))
        assert desk.give(tick(0), tick(0, token=BANK), limit(1, 100, quantity=9, **OF_BANK), limit(2, 100)) == PASSED


@pytest.mark.parametrize(
    ("setting", "code"),
    [("max_gross_exposure", "EXPOSURE_GROSS_ABOVE_LIMIT"), ("max_net_exposure", "EXPOSURE_NET_ABOVE_LIMIT")],
)
@pytest.mark.parametrize("side", ["BUY", "SELL"])
@pytest.mark.parametrize(("level", "name"), LEVELS)
def test_exposure_is_that_of_all_instruments_of_its_level(
    level: str, name: str | None, side: str, setting: str, code: str
) -> None:
    """Of account and strategy; an instrument by itself has only its own."""
    for quantity, expected in ((5, ""), (6, "" if level == "instruments" else code)):
        desk = Desk(at_level(level, name, {setting: 1000}))
        assert desk.give(tick(0), tick(0, token=BANK), limit(1, 100, side=side, quantity=5, **OF_BANK)) == PASSED
        assert desk.give(signal(2, side=side, quantity=quantity)).code == expected
    desk = Desk(at_level(level, name, {setting: 1000}))
    assert desk.give(tick(0), limit(1, 100, side=side, quantity=5), signal(2, side=side, quantity=5)) == PASSED
    assert desk.give(signal(3, side=side)).observed == 1100


def test_what_grew_beyond_a_limit_by_its_price_may_be_closed() -> None:
    """And turned round as far as it makes the worst case no larger."""
    desk = Desk({"max_gross_exposure": 1000, "max_net_exposure": 1000})
    assert desk.give(tick(0), *bought(10), tick(1, 200), limit(1, 200)).code == "EXPOSURE_GROSS_ABOVE_LIMIT"
    assert desk.give(signal(2, side="SELL", quantity=10)) == PASSED


def test_of_several_levels_the_tightest_holds() -> None:
    """Whichever that is."""
    for place, _ in enumerate(LEVELS):
        limits: dict[str, Any] = {}
        for number, (level, name) in enumerate(LEVELS):
            limits |= at_level(level, name, {"max_order_quantity": 5 if number == place else 9})
        assert Desk(limits).give(signal(1, quantity=5)) == PASSED
        assert Desk(limits).give(signal(1, quantity=6)) == ("QUANTITY_ABOVE_LIMIT", 5, 6)


# --- what is not set -------------------------------------------------------------------------

EVERY: dict[str, Any] = {
    "allowed_instruments": [NIFTY], "restricted_instruments": [], "order_types": ["LIMIT", "MARKET"],
    "products": ["MIS"], "market_protection": 0.01, "max_order_quantity": 10, "max_order_value": 10_000,
    "max_position": 10, "max_open_order_value": 10_000, "max_turnover": 100_000, "max_gross_exposure": 10_000,
    "max_net_exposure": 10_000, "price_tolerance": 0.02, "session_hours": True, "entry_window": {},
    "expiry_day_entries": False, "max_tick_age": 2, "signal_ttl": 5, "duplicate_window": 2, "confirm_within": 5,
    "self_match_prevention": True, "participation": False, "max_modifications": 20, "max_daily_loss": 1000,
    "max_drawdown": 1000, "repeated_execution": {"orders": 5, "seconds": 60, "round_trips": 20},
    "max_consecutive_rejects": 5, "message_rate": {"second": 5, "minute": 100, "day": 1000},
    "orders_to_trades": {"ratio": 20}, "max_funds_share": 0.95,
}  # fmt: skip
ZERODHA_CASH = Portfolio("zerodha", *(Decimal(10_000),) * 2, *(Decimal(0),) * 3)
TO_SEND: dict[str, Any] = {
    "circuit_limits": True, "max_funds_age": 60, "reconcile": True, "max_heartbeat_age": 10, "max_clock_skew": 2,
    "max_clock_jump": 1, "algo_id": "A1", "registered_ip": "192.0.2.1",
}  # fmt: skip


def test_the_settings_that_are_tried_here_are_those_of_the_table() -> None:
    """Each setting of a control, by when it is asked."""
    assert EVERY.keys() == {one.setting for one in CONTROLS if one.setting and one.at != "send"}
    assert TO_SEND.keys() == {one.setting for one in CONTROLS if one.setting and one.at == "send"}


@pytest.mark.parametrize("setting", list(EVERY))
def test_an_unset_control_is_off_for_paper_and_refuses_for_any_other_broker(setting: str) -> None:
    """Every new order, also where it is about modifications alone; the refusal names what to set."""
    rest = {name: value for name, value in EVERY.items() if name != setting}
    of_paper = Desk(rest, cash=10_000)
    assert of_paper.give(tick(0), limit(1, 100), modify(1)) == PASSED
    every = Desk({"brokers": {"zerodha": EVERY}})
    assert every.give(ZERODHA_CASH, tick(0), limit(1, 100, broker="zerodha"), modify(1)) == PASSED
    desk = Desk({"brokers": {"zerodha": rest}})
    made = desk.give(ZERODHA_CASH, tick(0), limit(1, 100, broker="zerodha"))
    assert made == ("LIMIT_UNSET", setting, None)


@pytest.mark.parametrize("setting", list(TO_SEND))
def test_an_unset_control_before_sending_refuses_for_any_broker_but_paper(setting: str) -> None:
    """The execution stage asks the same table."""
    rest = {name: value for name, value in (EVERY | TO_SEND).items() if name != setting}
    facts = Desk().facts(tick(0), signal(1))
    limits = Levels(RiskFile.model_validate({"account": rest})).broker("zerodha")
    found = [
        one.check(facts) for one in asked("zerodha", limits, facts.contract, "send") if one.control.setting == setting
    ]
    assert [(one and one.code, one and one.limit) for one in found] == [(Code.LIMIT_UNSET, setting)]
    assert setting not in {one.control.setting for one in asked("paper", limits, facts.contract, "send")}


def test_a_tolerance_for_other_kinds_is_none_for_this_one() -> None:
    """What is set for options says nothing about shares."""
    limits = EVERY | {"price_tolerance": {"option": 0.1}}
    desk = Desk({"brokers": {"zerodha": limits}})
    desk.give(ZERODHA_CASH, tick(0))
    assert desk.give(limit(1, 100, broker="zerodha")) == ("LIMIT_UNSET", "price_tolerance", None)


# --- REDUCING and HALTED ---------------------------------------------------------------------


def losing(who: str, price: Any, side: str = "BUY") -> Desk:
    """Four at 100 with an own order far away, under a daily loss of 100 for the account or the strategy, at `price`."""
    desk = Desk({"brokers": {"paper": {"max_daily_loss": 100}}} if who == "paper" else
                {"strategies": {"test": {"max_daily_loss": 100}}})  # fmt: skip
    held, far = (bought, 1) if side == "BUY" else (sold, 900)
    assert desk.give(tick(0), *held(4), limit(5, far, side=side, quantity=2)) == PASSED
    desk.give(tick(10, price))
    return desk


@pytest.mark.parametrize("who", ["paper", "test"])
@pytest.mark.parametrize(("side", "price"), [("BUY", 74.99), ("SELL", 125.01)])
def test_after_too_great_a_loss_only_what_cannot_grow_the_worst_case_passes(who: str, side: str, price: float) -> None:
    """Closing passes, also in two halves; growing, flipping and opening from flat do not; cancels pass."""
    back = "SELL" if side == "BUY" else "BUY"
    refused = ("TRADING_REDUCING", 100, 100.04)
    for way, quantity, expected in ((back, 4, ""), (back, 5, "!"), (side, 1, "!"), (back, 12, "!")):
        made = losing(who, price, side).give(signal(1, side=way, quantity=quantity))
        assert made == (refused if expected else PASSED), (way, quantity)
    desk = losing(who, price, side)
    assert desk.give(tick(11, 100, BANK), signal(1, **OF_BANK)) == refused
    assert desk.give(signal(2, side="SELL", **OF_BANK)) == refused
    assert desk.give(signal(3, side=back, quantity=3), signal(4, side=back, quantity=1)) == PASSED
    assert desk.give(signal(6, side=back)) == refused, "both halves might fill"
    assert desk.give(modify(5, quantity=3)) == refused
    assert desk.give(modify(5, quantity=2)) == PASSED
    assert desk.give(modify(5, quantity=1)) == PASSED
    assert desk.give(Cancel(oid(5))) == PASSED


@pytest.mark.parametrize("who", ["paper", "test"])
@pytest.mark.parametrize(("price", "state"), [(75, ""), (74.9999, "REDUCING"), (62.5, "REDUCING"), (62.4999, "HALTED")])
def test_one_and_a_half_times_the_loss_halts(who: str, price: float, state: str) -> None:
    """At the limit nothing; beyond it REDUCING; beyond one and a half times it nothing passes but cancels."""
    desk = losing(who, price)
    target = ("paper", "") if who == "paper" else ("paper", "test")
    assert {key: one.state for key, one in desk.risk.states.standings.kept.items()} == (
        {target: state} if state else {}
    )
    code = {"": "", "REDUCING": "", "HALTED": "TRADING_HALTED" if who == "paper" else "STRATEGY_HALTED"}[state]
    assert desk.give(signal(1, side="SELL", quantity=4)).code == code
    assert desk.give(modify(5, quantity=1)).code == code
    assert desk.give(Cancel(oid(5))) == PASSED
    others = desk.give(tick(11, price), signal(2, strategy_id="other"))
    assert others.code == ({"": "", "REDUCING": "TRADING_REDUCING", "HALTED": code}[state] if who == "paper" else "")


def test_a_loss_in_reducing_that_goes_on_halts() -> None:
    """The worse state takes the place of the better one, and not the other way round."""
    desk = losing("test", 74)
    assert desk.give(tick(21, 62.4999)) == ("LOSS_ABOVE_LIMIT", 100, 150.0004)
    assert desk.give(tick(32, 74), tick(43, 100)) == PASSED
    assert desk.give(signal(1, side="SELL", quantity=4)).code == "STRATEGY_HALTED"


def test_a_loss_counts_from_where_the_day_began() -> None:
    """What was lost yesterday is no loss of today, though the position is the same."""
    desk = Desk({"max_daily_loss": 100})
    assert desk.give(tick(0), *bought(10), tick(10, 95), tick(DAY, 95), tick(DAY + 20, 85)) == PASSED
    assert desk.give(tick(DAY + 40, 84.9999)) == ("LOSS_ABOVE_LIMIT", 100, 100.001)


def test_a_loss_is_seen_before_the_order_that_is_asked_for() -> None:
    """Without waiting for the next marking of positions; and charges are part of it."""
    desk = Desk({"max_daily_loss": 100})
    desk.give(tick(0), signal(1), fill(1, 1, 100, charges={"total": Decimal("50.0001")}))
    desk.market.put(tick(1, 50))
    assert desk.give(signal(2)) == ("TRADING_REDUCING", 100, 100.0001)


@pytest.mark.parametrize(
    ("limits", "events", "lifted"),
    [
        (TWICE, many(3), Control(action="rearm", target="test", by="me")),
        (TRIPS, (*ROUND_TRIP, signal(3)), Control(action="rearm", target="test", by="me")),
        ({"max_consecutive_rejects": 1}, (signal(1), heard(1, "REJECTED")),
         Control(action="rearm", target="test", by="me")),
        ({"max_daily_loss": 10}, (*bought(1, 100), tick(10, 1)), Control(action="resume", by="me")),
        ({"max_drawdown": 10}, (*bought(1, 100), tick(10, 1)), Control(action="resume", target="paper", by="me")),
    ],
)  # fmt: skip
def test_what_latched_stands_over_a_new_day_until_a_person_lets_it_go_on(
    limits: dict[str, Any], events: tuple[Any, ...], lifted: Control
) -> None:
    """And what brought it about is counted from zero then."""
    desk = Desk(limits)
    desk.give(tick(0), *events)
    assert desk.give(tick(DAY, 1), signal(80, at=DAY)).code in {"STRATEGY_HALTED", "TRADING_HALTED"}
    desk.give(lifted)
    assert desk.give(tick(DAY + 20, 1), signal(81, at=DAY + 20)) == PASSED


@pytest.mark.parametrize("target", [None, "zerodha"])
@pytest.mark.parametrize("before", [(), (ZERODHA_CASH,)])
def test_a_person_reduces_a_broker_whether_it_was_heard_of_before_or_not(target: str | None, before: Any) -> None:
    """All of its limits may stand under `account`, and nothing may have been asked for it yet."""
    limits = {"account": EVERY, "brokers": {"zerodha": {}}}
    desk = Desk(limits)
    assert desk.give(tick(0), ZERODHA_CASH, limit(1, 100, broker="zerodha")) == PASSED
    desk = Desk(limits)
    desk.give(tick(0), *before, Control(action="reduce", target=target), ZERODHA_CASH)
    assert desk.give(limit(1, 100, broker="zerodha")).code == "TRADING_REDUCING"


def test_a_resume_lifts_what_a_person_halted_and_not_what_a_strategy_was_stopped_for() -> None:
    """For that there is rearm, which lifts both."""
    desk = Desk(TWICE)
    assert desk.give(*many(3)).code == "EXECUTION_REPEATED"
    desk.give(Control(action="halt", target="test"), Control(action="resume"))
    assert desk.give(signal(10)).code == "STRATEGY_HALTED"
    desk.give(Control(action="halt", target="test"), Control(action="rearm", target="test"))
    assert desk.give(signal(12)) == PASSED


@pytest.mark.parametrize("action", ["halt", "reduce", "resume", "rearm"])
def test_what_risk_said_itself_in_a_recording_does_nothing(action: Any) -> None:
    """What brought it about will do so again, or not; the line does not pass either."""
    desk = Desk(TWICE)
    halted = desk.give(*many(3))
    assert halted.code == "EXECUTION_REPEATED"
    recorded = Control(action=action, target="test", by=RISK, reason="then", value={"broker": "paper"})
    assert list(desk.risk.on_control(recorded)) == []
    assert desk.give(signal(10)).code == "STRATEGY_HALTED"
    assert desk.give(signal(11, strategy_id="other")) == PASSED


# --- counters over a restart -----------------------------------------------------------------

#: What holds a counter: limits, what was done before the restart, what is asked for after it, and its refusal.
COUNTERS: dict[str, tuple[dict[str, Any], tuple[Any, ...], tuple[Any, ...], Outcome]] = {
    "repeated": ({}, (signal(1),), (signal(1),), Outcome("SIGNAL_DUPLICATE")),
    "conflict": ({}, (signal(1),), (signal(1, quantity=2),), Outcome("SIGNAL_CONFLICT")),
    "halted": ({}, (Control(action="halt", target="test"),), (signal(1),), Outcome("STRATEGY_HALTED")),
    "reducing": ({}, (signal(9), Control(action="reduce")), (signal(1),), Outcome("TRADING_REDUCING")),
    "duplicate": ({"duplicate_window": 2}, (signal(1),), (tick(1), signal(2)), Outcome("ORDER_DUPLICATE", 2, 1)),
    "self_match": (
        {"self_match_prevention": True}, (limit(1, 100),), (limit(2, 100, side="SELL"),),
        Outcome("ORDER_SELF_MATCH", 100, 100),
    ),
    "confirm_within": (
        {"confirm_within": 5}, (limit(1, 100),), (tick(6), limit(2, 100)), Outcome("ORDER_UNCONFIRMED", 5, 6),
    ),
    "position": (
        {"max_position": 5}, (*bought(3), limit(1, 99, quantity=2)), (signal(2),),
        Outcome("POSITION_ABOVE_LIMIT", 5, 6),
    ),
    "open_order_value": (
        {"max_open_order_value": 1000}, (limit(1, 100, quantity=10),), (limit(2, 0.05),),
        Outcome("EXPOSURE_OPEN_ABOVE_LIMIT", 1000, 1000.05),
    ),
    "turnover": (
        {"max_turnover": 1000}, (*bought(9), limit(1, 100)), (limit(2, 0.05, side="SELL"),),
        Outcome("EXPOSURE_TURNOVER_ABOVE_LIMIT", 1000, 1000.05),
    ),
    "gross_exposure": (
        {"max_gross_exposure": 1000}, (*bought(9), limit(1, 100)), (signal(2),),
        Outcome("EXPOSURE_GROSS_ABOVE_LIMIT", 1000, 1100),
    ),
    "net_exposure": (
        {"max_net_exposure": 1000}, (*sold(9), limit(1, 100, side="SELL")), (signal(2, side="SELL"),),
        Outcome("EXPOSURE_NET_ABOVE_LIMIT", 1000, 1100),
    ),
    "funds": ({"max_funds_share": 1}, bought(9), (signal(2, quantity=2),), Outcome("FUNDS_INSUFFICIENT", 100, 200)),
    "repeated_execution": (TWICE, many(2), (tick(1), signal(3)), Outcome("EXECUTION_REPEATED", 2, 3)),
    "round_trips": (TRIPS, ROUND_TRIP, (signal(3),), Outcome("EXECUTION_ROUND_TRIPS", 1, 2)),
    "message_rate of a second": (RATE, many(4), (tick(0.5), signal(9)), Outcome("RATE_ABOVE_LIMIT", 4, 5)),
    "message_rate of a minute": (RATE, many(8, 2), (tick(20), signal(9)), Outcome("RATE_ABOVE_LIMIT", 8, 9)),
    "message_rate of a day": (RATE, many(16, 60), (tick(1000), signal(19)), Outcome("RATE_ABOVE_LIMIT", 16, 17)),
    "orders_to_trades": (RATIO, many(3), (signal(9),), Outcome("RATE_ORDERS_TO_TRADES", 3, 4)),
    "modifications": (
        {"max_modifications": 2}, (limit(1, 100), modify(1), modify(1)), (modify(1),),
        Outcome("RATE_MODIFICATIONS", 2, 3),
    ),
    "daily_loss": (
        {"max_daily_loss": 100}, (*bought(1, 200), tick(10, 150)), (tick(20, 99.9999), signal(2)),
        Outcome("TRADING_REDUCING", 100, 100.0001),
    ),
    "daily_loss that latched": (
        {"max_daily_loss": 100}, (*bought(1, 200), tick(10, 50)), (tick(20, 200), signal(2)),
        Outcome("TRADING_REDUCING", 100, 150),
    ),
    "daily_loss that halted": (
        {"max_daily_loss": 100}, (*bought(1, 200), tick(10, 49)), (tick(20, 200), signal(2, side="SELL")),
        Outcome("TRADING_HALTED", 100, 151),
    ),
    "drawdown": (
        {"max_drawdown": 100}, (*bought(1, 100), tick(10, 200.0001), signal(9, side="HOLD")), (signal(2),),
        Outcome("TRADING_REDUCING", 100, 100.0001),
    ),
    "consecutive_rejects": (
        {"max_consecutive_rejects": 2}, (signal(1), heard(1, "REJECTED"), signal(2)), (heard(2, "REJECTED"),),
        Outcome("EXECUTION_REJECTS", 2, 2),
    ),
    "consecutive_rejects that latched": (
        {"max_consecutive_rejects": 1}, (signal(1), heard(1, "REJECTED")), (signal(2),),
        Outcome("STRATEGY_HALTED", 1, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(COUNTERS))
def test_a_counter_still_holds_after_a_restart(name: str, tmp_path: Path) -> None:
    """What one process counted refuses in the next; without it the same would pass."""
    limits, before, after, expected = COUNTERS[name]
    fresh = Desk(limits, cash=1000).give(tick(0), *after)
    assert fresh == PASSED or fresh.code == "ORDER_UNKNOWN"
    with closing(Releasing(tmp_path)) as store:
        first = Desk(limits, cash=1000, store=store)
        first.give(tick(0), *before)
        first.risk.commit()
    with closing(Releasing(tmp_path)) as store:
        assert Desk(limits, cash=1000, store=store).give(tick(0), *after) == expected


class Releasing(Store):
    """A store of risk that a `with` lets go of."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "risk")

    def close(self) -> None:
        self.release()


def test_after_a_restart_a_loss_is_seen_although_nobody_asks_for_an_order(tmp_path: Path) -> None:
    """The first ticks mark what was held before, as those of one long run do."""
    with closing(Releasing(tmp_path)) as store:
        first = Desk({"max_daily_loss": 100}, store=store)
        assert first.give(tick(0), *bought(1, 200), tick(10, 150)) == PASSED
        first.risk.commit()
    with closing(Releasing(tmp_path)) as store:
        second = Desk({"max_daily_loss": 100}, store=store)
        second.give(tick(20, 99.9999))
        assert second.market.bound is not None, "nobody wakes it"
        second.give(tick(31, 99.9999))
        assert [one.code for one in store.standings.kept.values()] == ["LOSS_ABOVE_LIMIT"]


def test_a_fill_that_was_booked_before_a_restart_is_booked_once(tmp_path: Path) -> None:
    """Reports are read again from the beginning."""
    for _ in range(2):
        with closing(Releasing(tmp_path)) as store:
            desk = Desk({"max_position": 10}, store=store)
            assert desk.give(tick(0), fill(1, 5)) == PASSED
            desk.risk.commit()
    with closing(Releasing(tmp_path)) as store:
        assert Desk({"max_position": 10}, store=store).give(tick(0), signal(2, quantity=6)).observed == 11


def test_a_restart_begins_no_new_day_and_a_new_day_begins_the_daily_counts_anew(tmp_path: Path) -> None:
    """The day is kept too: what was done today still counts, and no longer tomorrow."""
    for when, code in ((0, ""), (3600, "RATE_ABOVE_LIMIT"), (DAY, "")):
        with closing(Releasing(tmp_path)) as store:
            desk = Desk({"message_rate": {"second": 50, "minute": 50, "day": 2}}, store=store)
            assert desk.give(tick(when), signal(when + 1, at=when)).code == code
            desk.risk.commit()


# --- messages --------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "left"), [(2, 1), (4, 3), (5, 4), (6, 4), (10, 8), (11, 8), (5000, 4000)])
def test_a_fifth_of_the_messages_rounded_up_is_kept_for_cancels(most: int, left: int) -> None:
    """Cancels themselves pass always, also beyond the last message."""
    assert usable(most) == left
    if most > 50:
        return
    desk = Desk({"message_rate": {"second": most, "minute": most, "day": most}})
    assert desk.give(*many(left)) == PASSED
    assert desk.give(signal(99)) == ("RATE_ABOVE_LIMIT", left, left + 1)
    for number in range(1, most + 2):
        assert desk.give(Cancel(oid(1 + number % left))) == PASSED
    assert desk.give(tick(1), signal(99)).code == "SIGNAL_DUPLICATE"
    assert desk.give(tick(1), signal(100)) == ("RATE_ABOVE_LIMIT", left, left + most + 2)


def test_modifications_and_cancels_are_messages_like_orders() -> None:
    """Four messages a second are left of five."""
    desk = Desk(RATE)
    assert desk.give(tick(0), limit(1, 100), modify(1), Cancel(oid(1)), limit(2, 100)) == PASSED
    assert desk.give(modify(2)) == ("RATE_ABOVE_LIMIT", 4, 5)
    assert desk.give(limit(3, 100)) == ("RATE_ABOVE_LIMIT", 4, 5)


def test_the_window_of_a_minute_moves_on_and_forgets_only_what_is_older() -> None:
    """Eight of the last minute are left when the first one is over, and the next is one too many again."""
    desk = Desk(RATE)
    assert desk.give(*many(8, 2), tick(60), signal(9)) == PASSED
    assert desk.give(signal(10)) == ("RATE_ABOVE_LIMIT", 8, 9)
    assert desk.give(tick(62), signal(11)) == PASSED


def test_a_short_window_of_one_strategy_does_not_cut_the_long_one_of_another() -> None:
    """Both look at the orders of the account, each as far back as it must."""
    windows = {"account": {"duplicate_window": 1}, "strategies": {"test": {"duplicate_window": 60}}}
    for between in ([], [signal(2, at=30, strategy_id="other", quantity=5)]):
        desk = Desk(windows)
        desk.give(tick(0), signal(1), *(event for event in (tick(30), *between) if between))
        assert desk.give(tick(40), signal(3, at=40)).code == "ORDER_DUPLICATE"
        assert desk.give(tick(61), signal(4, at=61)) == PASSED


def test_a_stream_that_steps_back_forgets_no_order_too_early() -> None:
    """An order from a step back counts as entered when the newest was: until then the same is a duplicate."""
    desk = Desk({"duplicate_window": 1})
    desk.give(tick(300), signal(1, at=300), tick(0), signal(2, at=0, quantity=2))
    assert desk.give(tick(30), signal(3, at=30, quantity=2)) == ("ORDER_DUPLICATE", 1, 0)
    assert desk.give(tick(302), signal(4, at=302, quantity=2)) == PASSED


def test_a_stream_that_steps_back_makes_no_room_for_messages() -> None:
    """Late ticks are older than what was sent already."""
    desk = Desk(RATE)
    assert desk.give(tick(10), *(signal(number) for number in (1, 2)), tick(5), signal(3), signal(4)) == PASSED
    assert desk.give(signal(5)) == ("RATE_ABOVE_LIMIT", 4, 5)
    assert desk.give(tick(10.5), signal(6)) == ("RATE_ABOVE_LIMIT", 4, 5)


def test_each_slice_is_a_message() -> None:
    """Five slices in one second are one too many."""
    for quantity, code in ((4 * 1800, ""), (4 * 1800 + 25, "RATE_ABOVE_LIMIT")):
        wanted = signal(1, at=AUGUST, instrument_token=FUTURE, quantity=quantity)
        assert Desk(RATE, master=LISTED).give(tick(AUGUST, 100, FUTURE), wanted).code == code


def test_an_order_that_ended_unfilled_is_no_repetition() -> None:
    """Rejected or cancelled: nothing was executed."""
    for status in ("REJECTED", "CANCELLED"):
        assert Desk(TWICE).give(*many(2), heard(2, status, 0, 0), signal(3)) == PASSED


# --- what is open ----------------------------------------------------------------------------


def test_of_several_orders_that_were_never_heard_of_the_oldest_counts() -> None:
    """On either side of the instrument."""
    desk = Desk({"confirm_within": 5})
    assert desk.give(tick(0), limit(1, 99), tick(3), limit(2, 101, side="SELL"), tick(5), limit(3, 98)) == PASSED
    assert desk.give(tick(6), limit(4, 99)) == ("ORDER_UNCONFIRMED", 5, 6)
    assert desk.give(heard(1), limit(5, 99)) == PASSED
    assert desk.give(tick(9), limit(6, 99)) == ("ORDER_UNCONFIRMED", 5, 6)


def test_an_order_counts_until_the_broker_says_that_it_ended() -> None:
    """Entered, open and partly filled it may still be filled whole; cancelled it cannot."""
    desk = Desk({"max_position": 10})
    assert desk.give(tick(0), limit(1, 100, quantity=10)) == PASSED
    assert desk.give(limit(2, 100)).observed == 11
    assert desk.give(fill(1, 4), heard(1, "OPEN", 4, 6), limit(3, 100)).observed == 11
    assert desk.give(heard(1, "CANCELLED", 4, 0), limit(4, 100, quantity=6)) == PASSED
    assert desk.give(limit(5, 100)).observed == 11


def test_a_fill_that_comes_after_the_end_of_its_order_counts_once() -> None:
    """The two reports may come in any order; a trade that is told again is no other."""
    for reports in ((heard(1, "COMPLETE", 5, 0), fill(1, 5)), (fill(1, 5), heard(1, "COMPLETE", 5, 0), fill(1, 5))):
        desk = Desk({"max_position": 10})
        assert desk.give(tick(0), limit(1, 100, quantity=5), *reports, limit(2, 100, quantity=5)) == PASSED
        assert desk.give(limit(3, 100)).observed == 11


@pytest.mark.parametrize("status", ["PUT ORDER REQ RECEIVED", "VALIDATION PENDING", "OPEN PENDING", "OPEN"])
def test_a_report_that_does_not_say_how_much_is_open_releases_nothing(status: str) -> None:
    """Both quantities are 0 where they are left out; the order may be filled whole all the same."""
    desk = Desk({"max_position": 5})
    assert desk.give(tick(0), limit(1, 100, quantity=5), heard(1, status, 0, 0)) == PASSED
    assert desk.give(limit(2, 100)) == ("POSITION_ABOVE_LIMIT", 5, 6)


def test_open_orders_are_paid_for_before_others_are() -> None:
    """Two orders of six hundred rupees do not both fit into a thousand, although neither was filled yet."""
    desk = Desk({"max_funds_share": 1}, cash=1000)
    assert desk.give(tick(0), limit(1, 100, quantity=6)) == PASSED
    assert desk.give(limit(2, 100, quantity=6)).code == "FUNDS_INSUFFICIENT"


def test_what_was_assumed_to_be_filled_is_taken_back_when_it_was_not() -> None:
    """A MARKET order counts as filled at once; rejected it is nothing, cancelled it is what was filled of it."""
    for status, filled, left in (("REJECTED", 0, 5), ("CANCELLED", 2, 3)):
        desk = Desk({"max_position": 5, "assume_market_fills": True})
        assert desk.give(tick(0), signal(1, quantity=5), signal(2)).observed == 6
        assert desk.give(heard(1, status, filled, 0), signal(3, quantity=left)) == PASSED
        assert desk.give(signal(4)).observed == 6


def test_of_what_was_assumed_to_be_filled_nothing_counts_twice() -> None:
    """Filled in part and then cancelled, whichever is told first: two are held of five."""
    for reports in ((fill(1, 2), heard(1, "CANCELLED", 2, 0)), (heard(1, "CANCELLED", 2, 0), fill(1, 2)),
                    (heard(1, "OPEN", 2, 3), fill(1, 2), heard(1, "CANCELLED", 2, 0))):  # fmt: skip
        desk = Desk({"max_position": 5, "assume_market_fills": True})
        assert desk.give(tick(0), signal(1, quantity=5), *reports, signal(2, quantity=3)) == PASSED
        assert desk.give(signal(3)).observed == 6
        assert desk.give(signal(4, side="SELL", quantity=10)) == PASSED
        assert desk.give(signal(5, side="SELL")).observed == -6


def test_what_was_assumed_and_taken_back_is_no_round_trip() -> None:
    """Nothing was ever held; and what counts as filled whole cannot be modified."""
    desk = Desk({**TRIPS, "assume_market_fills": True})
    assert desk.give(tick(0), signal(1)) == PASSED
    assert desk.give(modify(1, quantity=1)) == ("QUANTITY_NOT_POSITIVE", 1, 0)
    assert desk.give(heard(1, "REJECTED", 0, 0), signal(2)) == PASSED
    assert desk.give(signal(3, side="SELL"), signal(4, side="SELL")).code == "EXECUTION_ROUND_TRIPS"


def test_a_market_order_that_counts_as_filled_is_a_trade() -> None:
    """A message each, and a trade each: they never become too many."""
    assert Desk({**RATIO, "assume_market_fills": True}).give(*many(20)) == PASSED


def test_a_market_order_that_was_rejected_is_no_trade() -> None:
    """Although it counted as filled at first: three messages without a trade are all that there may be."""
    desk = Desk({**RATIO, "assume_market_fills": True})
    events = [one for number in (1, 2, 3) for one in (signal(number), heard(number, "REJECTED", 0, 0))]
    assert desk.give(tick(0), *events) == PASSED
    assert desk.give(signal(4)) == ("RATE_ORDERS_TO_TRADES", 3, 4)


def test_a_fill_at_another_price_than_was_assumed_corrects_what_was_spent() -> None:
    """Funds and turnover are those of the trade, not of the guess."""
    desk = Desk({"max_funds_share": 1, "max_turnover": 2000, "assume_market_fills": True}, cash=1000)
    assert desk.give(tick(0), signal(1, quantity=5), fill(1, 5, 110), limit(2, 450)) == PASSED
    assert desk.give(limit(3, 450.05)) == ("FUNDS_INSUFFICIENT", 450, 900.05)  # with what is open
    assert desk.risk.books.scope("paper").turnover == 550 * 10_000


def test_a_fill_at_a_worse_price_than_was_assumed_is_a_loss() -> None:
    """It is the trade that was paid for."""
    limits = {"max_daily_loss": 100, "assume_market_fills": True}
    assert Desk(limits).give(tick(0), signal(1, quantity=10), fill(1, 10, 110)) == PASSED
    latched = Desk(limits).give(tick(0), signal(1, quantity=10), fill(1, 10, 110.0001))
    assert latched == ("LOSS_ABOVE_LIMIT", 100, 100.001)


@pytest.mark.parametrize(("reports", "code"), [((), "ORDER_UNCONFIRMED"), ((heard(1),), "")])
def test_an_order_of_yesterday_that_a_broker_was_never_heard_of_still_counts(reports: Any, code: str) -> None:
    """It may have been filled; one that the broker had is gone with its day."""
    desk = Desk({"brokers": {"zerodha": {**EVERY, "max_position": 1}}})
    assert desk.give(tick(0), ZERODHA_CASH, limit(1, 100, broker="zerodha"), *reports) == PASSED
    assert desk.give(tick(DAY), limit(2, 100, at=DAY, broker="zerodha")).code == code


def statement(cash: str = "1000", price: str = "100", units: int = 5) -> Portfolio:
    """The broker says what there is: units of one instrument, and cash."""
    held = Position(NIFTY, units, Decimal(price), Decimal(0), Decimal(0))
    return Portfolio("paper", *(Decimal(cash),) * 2, *(Decimal(0),) * 3, positions=[held])


@pytest.mark.parametrize("given", [statement(), statement(price="33.333333"), statement("1000.123456")])
def test_what_a_statement_says_is_held_counts_however_many_decimals_its_amounts_have(given: Portfolio) -> None:
    """Averages are seldom whole paise; what is held counts all the same."""
    desk = Desk({"max_position": 5})
    assert desk.give(tick(0), given, signal(1)) == ("POSITION_ABOVE_LIMIT", 5, 6)
    assert desk.give(signal(2, side="SELL", quantity=11)) == ("POSITION_ABOVE_LIMIT", 5, -6)
    assert desk.give(signal(3, side="SELL", quantity=10)) == PASSED


@pytest.mark.parametrize("units", [5, -5])
def test_the_cash_of_a_statement_is_what_is_available(units: int) -> None:
    """What is held was paid for before, and what was sold short brought its cash before: it is the broker's figure."""
    desk = Desk({"max_funds_share": 1})
    assert desk.give(tick(0), statement(units=units), limit(1, 1000)) == PASSED
    desk = Desk({"max_funds_share": 1})
    assert desk.give(tick(0), statement(units=units), limit(1, 1000.05)) == ("FUNDS_INSUFFICIENT", 1000, 1000.05)


def test_a_statement_is_believed_once_about_positions_and_each_time_about_cash() -> None:
    """What is held is known from then on, by what was filled; and what is older than a statement says nothing."""
    desk = Desk({"max_position": 10, "max_turnover": 600, "max_funds_share": 1})
    later, earlier = (replace(statement(cash), timestamp=at(when)) for cash, when in (("500", 2), ("9000", 1)))
    assert desk.give(tick(0), statement(), later, earlier, signal(1, quantity=5)) == PASSED
    assert desk.give(heard(1, "CANCELLED", 0, 0), limit(2, 500.05)) == ("FUNDS_INSUFFICIENT", 500, 500.05)
    assert desk.give(signal(3, quantity=6)).code == "POSITION_ABOVE_LIMIT"


@pytest.mark.parametrize("given", [statement(price="NaN"), statement(price="Infinity"), statement("NaN")])
def test_a_statement_that_is_no_amount_ends_nothing(given: Portfolio) -> None:
    """The wire lets such a line through: the stream goes on, and no funds come of it."""
    desk = Desk()
    assert desk.give(tick(0), given, signal(1)) == PASSED


def test_slices_are_together_the_order_and_each_is_what_the_exchange_takes() -> None:
    """Whole lots, no larger than the freeze quantity; each is entered, names its parent and has an id of its own."""
    desk = Desk({"max_position": 4000}, master=LISTED)
    wanted = signal(1, at=AUGUST, instrument_token=FUTURE, quantity=3625)
    desk.give(tick(AUGUST, 100, FUTURE))
    made = [one for one in desk.risk.on_signal(wanted) if isinstance(one, Order)]
    assert [one.quantity for one in made] == [1800, 1800, 25]
    assert {one.parent_order_id for one in made} == {oid(1)}
    assert {one.order_id for one in made} == desk.risk.books.entries.keys()
    assert len({one.order_id for one in made}) == 3
    again = signal(2, at=AUGUST, instrument_token=FUTURE, quantity=400)
    assert desk.give(again) == ("POSITION_ABOVE_LIMIT", 4000, 4025)


def test_one_order_in_slices_is_no_repetition_of_itself() -> None:
    """A strategy that asked once does not loop, however many slices that makes."""
    desk = Desk(TWICE, master=LISTED)
    wanted = signal(1, at=AUGUST, instrument_token=FUTURE, quantity=3625)
    assert desk.give(tick(AUGUST, 100, FUTURE), wanted) == PASSED
    assert desk.give(signal(2, at=AUGUST, instrument_token=FUTURE, quantity=25)) == PASSED


@pytest.mark.parametrize(
    ("rule", "quantity"),
    [
        ({"rule": "fixed", "quantity": 7}, 7), ({"rule": "notional", "rupees": 799.99}, 7),
        ({"rule": "percent_of_equity", "percent": 70}, 7),
    ],
)  # fmt: skip
def test_what_a_sizing_rule_gives_is_held_against_the_limits(rule: dict[str, Any], quantity: int) -> None:
    """It is asked about like any other quantity; a quantity that the signal has stands."""
    desk = Desk({"sizing": rule}, cash=1000)
    desk.give(tick(0))
    assert desk.order(signal(1, quantity=None)).quantity == quantity
    assert desk.order(signal(2, quantity=3)).quantity == 3
    desk = Desk({"sizing": rule, "max_order_quantity": 6}, cash=1000)
    assert desk.give(tick(0), signal(1, quantity=None)) == ("QUANTITY_ABOVE_LIMIT", 6, 7)
    desk = Desk({"sizing": rule, "max_order_value": 699}, cash=1000)
    assert desk.give(tick(0), signal(1, quantity=None)) == ("VALUE_ABOVE_LIMIT", 699, 700)


def test_a_share_of_equity_is_one_of_cash_and_positions() -> None:
    """Half of a thousand was spent on what is worth as much now, or twice as much."""
    for price, quantity in ((100, 7), (200, 5)):
        desk = Desk({"sizing": {"rule": "percent_of_equity", "percent": 70}}, cash=1000)
        desk.give(tick(0), *bought(5), tick(1, price))
        assert desk.order(signal(1, quantity=None)).quantity == quantity


# --- modifications ---------------------------------------------------------------------------


def test_a_modification_that_passes_is_the_same_object() -> None:
    """Nothing is added and nothing lost."""
    desk = Desk({"max_position": 10})
    desk.give(tick(0), limit(1, 100, quantity=5))
    wanted = modify(1, quantity=10, price=Decimal("100.05"), reason="mine")
    (made,) = desk.risk.on_modify(wanted)
    assert made is wanted


def test_a_modification_of_an_order_that_is_not_open_here_is_withheld() -> None:
    """Never made, or ended: a denial stands in its place and names the order."""
    desk = Desk()
    desk.give(tick(0), limit(1, 100), heard(1, "CANCELLED", 0, 0), limit(2, 100), heard(2, "REJECTED", 0, 0))
    for order_id in ("nobody's", oid(1), oid(2)):
        (made,) = desk.risk.on_modify(Modify(order_id=order_id, quantity=1))
        assert isinstance(made, Denial)
        assert (made.code, made.order_id) == ("ORDER_UNKNOWN", order_id)


def test_a_modification_of_an_order_that_ended_before_its_last_trade_was_told_is_withheld() -> None:
    """Three of the five that were filled are still to be told of; what was cancelled cannot be modified."""
    desk = Desk({"max_position": 10})
    desk.give(tick(0), limit(1, 100, quantity=10), fill(1, 2), heard(1, "CANCELLED", 5, 0))
    assert desk.give(modify(1, quantity=9)).code == "ORDER_UNKNOWN"


@pytest.mark.parametrize("side", ["BUY", "SELL"])
@pytest.mark.parametrize(
    ("limits", "passes", "denied", "expected"),
    [
        ({"max_order_quantity": 10}, {"quantity": 10}, {"quantity": 11}, ("QUANTITY_ABOVE_LIMIT", 10, 11)),
        ({"max_order_value": 1000}, {"quantity": 10}, {"quantity": 11}, ("VALUE_ABOVE_LIMIT", 1000, 1100)),
        ({"max_position": 10}, {"quantity": 10}, {"quantity": 11}, ("POSITION_ABOVE_LIMIT", 10, 11)),
        ({"max_open_order_value": 1000}, {"quantity": 10}, {"quantity": 11}, ("EXPOSURE_OPEN_ABOVE_LIMIT", 1000, 1100)),
        ({"max_turnover": 1000}, {"quantity": 10}, {"quantity": 11}, ("EXPOSURE_TURNOVER_ABOVE_LIMIT", 1000, 1100)),
        ({"max_gross_exposure": 1000}, {"quantity": 10}, {"quantity": 11}, ("EXPOSURE_GROSS_ABOVE_LIMIT", 1000, 1100)),
        ({"max_net_exposure": 1000}, {"quantity": 10}, {"quantity": 11}, ("EXPOSURE_NET_ABOVE_LIMIT", 1000, 1100)),
        ({"max_funds_share": 1}, {"quantity": 10}, {"quantity": 11}, ("FUNDS_INSUFFICIENT", 1000, 1100)),
        ({}, {"quantity": 1}, {"quantity": 0}, ("QUANTITY_NOT_POSITIVE", 1, 0)),
        ({}, {"price": Decimal("0.05")}, {"price": Decimal(0)}, ("PRICE_MISSING", 0, 0)),
        ({}, {"price": Decimal("100.05")}, {"price": Decimal("100.06")}, ("PRICE_NOT_TICK_MULTIPLE", 0.05, 100.06)),
        ({}, {"order_type": "LIMIT"}, {"order_type": "MARKET"}, ("ORDER_TYPE_UNSUPPORTED", "LIMIT", "MARKET")),
        ({}, {}, {"order_type": "SL"}, ("ORDER_TYPE_UNSUPPORTED", "LIMIT", "SL")),
        ({}, {}, {"trigger_price": Decimal(90)}, ("ORDER_TYPE_UNSUPPORTED", "LIMIT", "SL")),
        ({"signal_ttl": 5}, {"timestamp": at(-5)}, {"timestamp": at(-5 - JUST)}, ("SIGNAL_EXPIRED", 5, 5.000001)),
        ({"session_hours": True}, {"timestamp": at(0)}, {"timestamp": at(-JUST)},
         ("SESSION_CLOSED", "09:15-15:30 IST", "2024-06-03T09:14:59.999999+05:30")),
    ],
)  # fmt: skip
def test_a_modification_is_asked_the_same_controls(
    limits: dict[str, Any], passes: dict[str, Any], denied: dict[str, Any], expected: tuple[Any, ...], side: str
) -> None:
    """As the order that it would make; the one that it replaces does not count beside it."""
    desk = Desk(limits, cash=1000)
    desk.give(tick(0), limit(1, 100, side=side, quantity=5))
    assert desk.give(modify(1, **passes)) == PASSED
    desk = Desk(limits, cash=1000)
    desk.give(tick(0), limit(1, 100, side=side, quantity=5))
    code, most, observed = expected
    sign = -1 if code == "POSITION_ABOVE_LIMIT" and side == "SELL" else 1
    assert desk.give(modify(1, **denied)) == (code, most, observed if sign == 1 else -observed)


@pytest.mark.parametrize(("side", "good", "bad"), [("BUY", "102", "102.05"), ("SELL", "98", "97.95")])
def test_a_modification_cannot_go_beyond_the_tolerance(side: str, good: str, bad: str) -> None:
    """On the worse side of the last price, whichever that is."""
    desk = Desk({"price_tolerance": 0.02})
    assert desk.give(tick(0), limit(1, 100, side=side), modify(1, price=Decimal(good))) == PASSED
    assert desk.give(modify(1, price=Decimal(bad))) == ("PRICE_OUT_OF_TOLERANCE", 0.02, 0.0205)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"max_order_value": 1000}, "VALUE_ABOVE_LIMIT"), ({"max_open_order_value": 1000}, "EXPOSURE_OPEN_ABOVE_LIMIT"),
        ({"max_turnover": 1000}, "EXPOSURE_TURNOVER_ABOVE_LIMIT"), ({"max_funds_share": 1}, "FUNDS_INSUFFICIENT"),
    ],
)  # fmt: skip
def test_a_modification_of_the_price_alone_costs_more_too(limits: dict[str, Any], code: str) -> None:
    """Ten for a thousand rupees are the most; a tick dearer is beyond."""
    desk = Desk(limits, cash=1000)
    assert desk.give(tick(0), limit(1, 99.95, quantity=10), modify(1, price=Decimal(100))) == PASSED
    assert desk.give(modify(1, price=Decimal("100.05"))) == (code, 1000, 1000.5)


@pytest.mark.parametrize("side", ["BUY", "SELL"])
@pytest.mark.parametrize(
    "tight",
    [{"max_position": 5}, {"max_open_order_value": 500}, {"max_turnover": 500}, {"max_gross_exposure": 500},
     {"max_net_exposure": 500}],
)  # fmt: skip
def test_beyond_a_limit_a_modification_that_makes_nothing_worse_passes(
    tight: dict[str, Any], side: str, tmp_path: Path
) -> None:
    """After a restart with tighter limits an open order may be left as it is or made smaller, and not larger."""
    with closing(Releasing(tmp_path)) as store:
        first = Desk(store=store)
        assert first.give(tick(0), limit(1, 100, side=side, quantity=10)) == PASSED
        first.risk.commit()
    with closing(Releasing(tmp_path)) as store:
        second = Desk(tight, store=store)
        assert second.give(tick(0), modify(1)) == PASSED
        assert second.give(modify(1, price=Decimal(100))) == PASSED
        assert second.give(modify(1, quantity=11)).code in {
            "POSITION_ABOVE_LIMIT", "EXPOSURE_OPEN_ABOVE_LIMIT", "EXPOSURE_TURNOVER_ABOVE_LIMIT",
            "EXPOSURE_GROSS_ABOVE_LIMIT", "EXPOSURE_NET_ABOVE_LIMIT",
        }  # fmt: skip
        assert second.give(modify(1, quantity=9)) == PASSED


def test_a_modification_may_not_cross_ones_own_order() -> None:
    """Itself it does not cross."""
    desk = Desk({"self_match_prevention": True})
    assert desk.give(tick(0), limit(1, 100), limit(2, 101, side="SELL"), modify(1, price=Decimal("100.95"))) == PASSED
    assert desk.give(modify(1, price=Decimal(101))) == ("ORDER_SELF_MATCH", 101, 101)
    assert desk.give(modify(2, price=Decimal("100.95"))) == ("ORDER_SELF_MATCH", 100.95, 100.95)


def test_a_modification_is_about_what_is_left_of_the_order() -> None:
    """Four of ten were filled: what is left may be worth as much as one order may be, and no more."""
    desk = Desk({"max_order_value": 600})
    assert desk.give(tick(0), limit(1, 100, quantity=6), fill(1, 4), modify(1, quantity=10)) == PASSED
    assert desk.give(modify(1, quantity=11)) == ("VALUE_ABOVE_LIMIT", 600, 700)
    assert desk.give(modify(1, quantity=4)) == ("QUANTITY_NOT_POSITIVE", 1, 0)


def test_a_modification_that_was_refused_changes_nothing() -> None:
    """The order is counted as it was."""
    desk = Desk({"max_position": 10})
    assert desk.give(tick(0), limit(1, 100, quantity=5), modify(1, quantity=11)).code == "POSITION_ABOVE_LIMIT"
    assert desk.give(limit(2, 100, quantity=5)) == PASSED


def test_what_a_modification_makes_smaller_counts_until_the_broker_confirms_it() -> None:
    """It may come too late."""
    desk = Desk({"max_position": 10})
    assert desk.give(tick(0), limit(1, 100, quantity=10), modify(1, quantity=4)) == PASSED
    assert desk.give(limit(2, 100)).observed == 11
    assert desk.give(heard(1, "OPEN", 0, 4), limit(3, 100, quantity=6)) == PASSED


def test_a_modification_is_one_message_and_a_halted_strategy_makes_none() -> None:
    """Cancels still pass."""
    desk = Desk()
    desk.give(tick(0), limit(1, 100), Control(action="halt", target="test"))
    assert desk.give(modify(1, quantity=1)).code == "STRATEGY_HALTED"
    assert desk.give(Cancel(oid(1))) == PASSED


def test_an_order_in_the_input_is_withheld() -> None:
    """Nothing has checked it, whoever says that it passed other limits; it counts for nothing."""
    desk = Desk({"max_position": 1})
    (made,) = desk.risk.on_order(order(1, quantity=7, limits_hash="0" * 16))
    assert (made.code, made.order_id, made.observed) == ("ORDER_FOREIGN", "o1", 7)  # type: ignore[attr-defined]
    assert desk.give(tick(0), signal(1)) == PASSED


# --- before an order is sent -----------------------------------------------------------------


class Sending(NamedTuple):
    """What the broker or the machine says when an order passes, and when it does not."""

    control: str
    code: Code
    limits: dict[str, Any]
    passes: dict[str, Any]
    denied: dict[str, Any]
    limit: Any = None
    observed: Any = None
    wanted: Signal = signal(1)


SENDING = [
    Sending("circuit", Code.PRICE_OUTSIDE_CIRCUIT, {"circuit_limits": True},
            {"circuit": (900_000, 1_000_000)}, {"circuit": (900_000, 999_999)}, "90 to 99.9999", 100),
    Sending("circuit", Code.PRICE_OUTSIDE_CIRCUIT, {"circuit_limits": True},
            {"circuit": (950_000, 1_100_000)}, {"circuit": (950_001, 1_100_000)}, "95.0001 to 110", 95,
            limit(1, 95, side="SELL")),
    Sending("circuit", Code.PRICE_CIRCUIT_UNKNOWN, {"circuit_limits": True},
            {"circuit": (900_000, 1_100_000)}, {"circuit": None}),
    Sending("children", Code.ORDER_CHILDREN_ABOVE_PARENT, {},
            {"approved": (10, 5)}, {"approved": (10, 6)}, 10, 11, signal(1, quantity=5)),
    Sending("funds_age", Code.FUNDS_STALE, {"max_funds_age": 60},
            {"funds_age": 60_000_000}, {"funds_age": 60_000_001}, 60, 60.000001),
    Sending("funds_age", Code.FUNDS_STALE, {"max_funds_age": 60}, {"funds_age": 0}, {"funds_age": None}, 60),
    Sending("reconciled", Code.RECONCILIATION_UNKNOWN, {"reconcile": True},
            {"unknown": 0, "mismatches": 1}, {"unknown": 1, "mismatches": 0}, 0, 1),
    Sending("reconciled", Code.RECONCILIATION_UNKNOWN, {"reconcile": True},
            {"unknown": 0, "mismatches": 0}, {"mismatches": 0}, 0),
    Sending("reconciled", Code.RECONCILIATION_MISMATCH, {"reconcile": True},
            {"unknown": 0, "mismatches": 1}, {"unknown": 0, "mismatches": 2}, 1, 2),
    Sending("reconciled", Code.RECONCILIATION_MISMATCH, {"reconcile": True},
            {"unknown": 0, "mismatches": 0}, {"unknown": 0}, 1),
    Sending("heartbeat", Code.HEARTBEAT_MISSING, {"max_heartbeat_age": 10},
            {"heartbeat_age": 10_000_000}, {"heartbeat_age": 10_000_001}, 10, 10.000001),
    Sending("heartbeat", Code.HEARTBEAT_MISSING, {"max_heartbeat_age": 10}, {"heartbeat_age": 0}, {}, 10),
    Sending("clock_skew", Code.CLOCK_SKEWED, {"max_clock_skew": 2},
            {"clock_skew": -2_000_000}, {"clock_skew": -2_000_001}, 2, 2.000001),
    Sending("clock_skew", Code.CLOCK_SKEWED, {"max_clock_skew": 2},
            {"clock_skew": 2_000_000}, {"clock_skew": 2_000_001}, 2, 2.000001),
    Sending("clock_skew", Code.CLOCK_UNKNOWN, {"max_clock_skew": 2}, {"clock_skew": 0}, {}, 2),
    Sending("clock_jump", Code.CLOCK_JUMPED, {"max_clock_jump": 1},
            {"clock_jump": -1_000_000}, {"clock_jump": -1_000_001}, 1, 1.000001),
    Sending("clock_jump", Code.CLOCK_JUMPED, {"max_clock_jump": 1},
            {"clock_jump": 1_000_000}, {"clock_jump": 1_000_001}, 1, 1.000001),
    Sending("clock_jump", Code.CLOCK_UNKNOWN, {"max_clock_jump": 1}, {"clock_jump": 0}, {}, 1),
    Sending("same_limits", Code.LIMIT_HASH_MISMATCH, {},
            {"limits_hash": ("a", "a")}, {"limits_hash": ("b", "a")}, "a", "b"),
    Sending("same_limits", Code.LIMIT_HASH_MISMATCH, {},
            {"limits_hash": ("a", "a")}, {"limits_hash": (None, "a")}, "a", None),
    Sending("same_version", Code.LIMIT_VERSION_MISMATCH, {},
            {"version": ("1", "1")}, {"version": ("2", "1")}, "1", "2"),
    Sending("algo_id", Code.ALGO_ID_MISSING, {"algo_id": "A1"}, {"algo_id": "A1"}, {"algo_id": "A2"}, "A1", "A2"),
    Sending("algo_id", Code.ALGO_ID_MISSING, {"algo_id": "A1"}, {"algo_id": "A1"}, {}, "A1", None),
    Sending("registered_ip", Code.ALGO_ADDRESS_MISMATCH, {"registered_ip": "192.0.2.1"},
            {"address": "192.0.2.1"}, {"address": "192.0.2.2"}, "192.0.2.1", "192.0.2.2"),
    Sending("registered_ip", Code.ALGO_ADDRESS_MISMATCH, {"registered_ip": "192.0.2.1"},
            {"address": "192.0.2.1"}, {}, "192.0.2.1", None),
]  # fmt: skip


def to_send(limits: dict[str, Any], known: BrokerFacts | None, *events: Any) -> Facts:
    """The facts about the last of `events`, with what the broker says."""
    facts = Desk(limits).facts(tick(0), *(events or (signal(1),)))
    facts.broker = known
    return facts


@pytest.mark.parametrize("one", SENDING, ids=lambda one: f"{one.control} {one.code}")
def test_a_control_before_sending_passes_at_its_limit_and_refuses_beyond(one: Sending) -> None:
    """By what the broker or the machine says alone."""
    check = getattr(broker, one.control)
    assert check(to_send(one.limits, BrokerFacts(**one.passes), one.wanted)) is None
    refused = check(to_send(one.limits, BrokerFacts(**one.denied), one.wanted))
    assert (refused.code, refused.limit, refused.observed) == (one.code, one.limit, one.observed)


@pytest.mark.parametrize("known", [None, BrokerFacts()])
@pytest.mark.parametrize("control", [one for one in CONTROLS if one.at == "send"], ids=lambda one: one.name)
def test_before_sending_a_fact_that_is_missing_refuses(control: Any, known: BrokerFacts | None) -> None:
    """Nobody said anything: nothing is sent, whichever control is asked."""
    refused = control.check(to_send(TO_SEND, known))
    assert refused is not None
    assert refused.code in control.codes


@pytest.mark.parametrize("control", [one for one in CONTROLS if one.at == "send"], ids=lambda one: one.name)
def test_before_sending_what_is_off_lets_pass(control: Any) -> None:
    """Where `off` may be said; the others have nothing to switch off."""
    off = {"circuit_limits": False, "reconcile": False, "algo_id": False, "registered_ip": False}
    if control.setting in off:
        assert control.check(to_send({control.setting: False}, None)) is None


@pytest.mark.parametrize("name", ["funds_age", "reconciled", "heartbeat", "clock_skew", "clock_jump"])
def test_before_sending_what_only_concerns_entries_lets_close(name: str) -> None:
    """A position can be left while clocks and books are in doubt; it cannot be flipped."""
    check = getattr(broker, name)
    for side, way in (("BUY", "SELL"), ("SELL", "BUY")):
        held = fill(70, 10, 100, side)
        assert check(to_send(TO_SEND, None, held, signal(1, side=way, quantity=10))) is None
        assert check(to_send(TO_SEND, None, held, signal(1, side=way, quantity=11))) is not None


# --- the table -------------------------------------------------------------------------------

MODULES: dict[str, ModuleType] = {
    "broker": broker, "conduct": conduct, "exposure": exposure, "moment": moment, "order": order_controls,
}  # fmt: skip


def codes_in(source: Callable[..., Any] | ModuleType) -> set[Code]:
    """The codes of the refusals that a source makes, with those of the private functions beside it that it calls."""
    found: set[Code] = set()
    for node in ast.walk(ast.parse(inspect.getsource(source))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Code":
            found.add(Code[node.attr])
        elif isinstance(node, ast.Name) and node.id.startswith("_") and inspect.isfunction(source):
            helper = source.__globals__.get(node.id)
            if inspect.isfunction(helper) and helper is not source:
                found |= codes_in(helper)
    return found


SIZES = {Code.SIZE_UNKNOWN, Code.SIZE_BELOW_LOT}  # of sizing rules, passed on by `quantity`


@pytest.mark.parametrize("control", CONTROLS, ids=lambda one: one.name)
def test_the_codes_of_a_row_are_those_of_its_source(control: Any) -> None:
    """None is missing and none is left over."""
    assert codes_in(control.check) == set(control.codes) - SIZES
    assert len(set(control.codes)) == len(control.codes)


def test_the_codes_of_sizing_are_those_that_quantity_passes_on() -> None:
    """Only that row has them."""
    assert codes_in(sizing) == SIZES
    assert [one.name for one in CONTROLS if SIZES & set(one.codes)] == ["quantity"]


def test_every_function_that_refuses_is_a_row() -> None:
    """A control that is written but not in the table would never be asked."""
    rows = {one.check for one in CONTROLS}
    assert len(rows) == len(CONTROLS)
    for module in MODULES.values():
        written = {
            found
            for _, found in inspect.getmembers(module, inspect.isfunction)
            if found.__module__ == module.__name__ and not found.__name__.startswith("_")
        }
        assert {one for one in written if codes_in(one)} == {one for one in rows if one.__module__ == module.__name__}


def test_every_control_and_every_code_has_a_case_here() -> None:
    """Each code that a row can give, by row; LIMIT_UNSET and what belongs to no row have tests of their own."""
    tried = {(one.control, one.code) for one in CASES} | {(one.control, one.code) for one in SENDING}
    tried.add(("session", Code.SESSION_UNKNOWN))
    assert {(one.name, code) for one in CONTROLS for code in one.codes} == tried
    assert set(Code) == {code for _, code in tried} | {Code.LIMIT_UNSET, Code.ORDER_FOREIGN, Code.ORDER_UNKNOWN}


def test_every_code_has_a_name_of_its_own_and_a_meaning() -> None:
    """CATEGORY_CONDITION; the value is the name, and no meaning stands twice."""
    for code in Code:
        assert re.fullmatch(r"[A-Z]+(_[A-Z]+)+", code.value)
        assert code.value == code.name
        assert MEANINGS[code].strip()
    assert len(set(MEANINGS.values())) == len(MEANINGS) == len(Code)


def test_every_setting_of_the_table_is_a_limit_that_can_be_set() -> None:
    """And what can be set is used: by a control, or by what sizes, slices and counts."""
    settings = {one.setting for one in CONTROLS if one.setting}
    assert settings | {"max_slices", "average_daily_volume", "assume_market_fills"} == set(Limits.__struct_fields__)


# --- purity ----------------------------------------------------------------------------------


@pytest.mark.parametrize("one", CASES, ids=named)
def test_asking_a_control_changes_nothing(one: Case) -> None:
    """Asked twice it says the same, and books, states and facts are what they were."""
    desk = Desk(one.limits, master=one.master, cash=one.cash)
    desk.give(*one.start, *one.denied[:-1])
    wanted = one.denied[-1]
    if not isinstance(wanted, Signal):
        scope = next(iter(desk.risk.books.scopes.values()), Scope())
        for control in CONTROLS:
            if control.at == "report":
                written = msgspec.json.encode(scope)
                limits = Levels(desk.risk.limits).broker("paper")
                assert control.check(limits, scope, -(10**9)) == control.check(limits, scope, -(10**9))
                assert msgspec.json.encode(scope) == written
        return
    seen: list[tuple[Facts, Any]] = []
    desk.risk.audit = lambda _, facts, controls, refused: seen.append((facts, controls))
    desk.give(wanted)
    ((facts, controls),) = seen
    before = kept(desk, facts)
    said = [one.check(facts) for one in controls]
    assert [one.check(facts) for one in controls] == said
    assert kept(desk, facts) == before
    assert [refused.code for refused in said if refused is not None][:1] == [one.code]


@pytest.mark.parametrize("one", [case for case in CASES if isinstance(case.denied[-1], Signal)], ids=named)
def test_the_table_says_which_controls_let_exits_pass(one: Case) -> None:
    """Those marked `entries` refuse nothing that opens no position, so an exit is not asked; the refusing one of the
    others refuses it all the same."""
    desk = Desk(one.limits, master=one.master, cash=one.cash)
    desk.give(*one.start, *one.denied[:-1])
    seen: list[tuple[Facts, Any]] = []
    desk.risk.audit = lambda _, facts, controls, refused: seen.append((facts, controls))
    desk.give(one.denied[-1])
    ((facts, controls),) = seen
    facts.entry = False
    refusing = [asked.control for asked in controls if asked.control.name == one.control and asked.check(facts)]
    assert bool(refusing) != next(control.entries for control in CONTROLS if control.name == one.control)


@pytest.mark.parametrize("one", SENDING, ids=lambda one: f"{one.control} {one.code}")
def test_so_it_does_before_sending(one: Sending) -> None:
    """What stops entries lets through what gets out."""
    facts = to_send(one.limits, BrokerFacts(**one.denied), one.wanted)
    facts.entry = False
    row = next(control for control in CONTROLS if control.name == one.control)
    assert (row.check(facts) is None) == row.entries


def kept(desk: Desk, facts: Facts) -> tuple[Any, ...]:
    """All that a control could change."""
    books = desk.risk.books
    return (
        {key: msgspec.json.encode(scope) for key, scope in books.scopes.items()},
        {key: msgspec.json.encode(entry) for key, entry in books.entries.items()},
        dict(books.funds), dict(desk.risk.states.standings.kept), dict(desk.risk.states.halts),
        set(books.changed_scopes), set(books.changed_entries),
        {name: repr(getattr(facts, name)) for name in Facts.__struct_fields__},
    )  # fmt: skip


@pytest.mark.parametrize("one", SENDING, ids=lambda one: f"{one.control} {one.code}")
def test_asking_a_control_before_sending_changes_nothing(one: Sending) -> None:
    """Twice the same answer, from facts that are what they were."""
    facts = to_send(one.limits, BrokerFacts(**one.denied), one.wanted)
    before = {name: repr(getattr(facts, name)) for name in Facts.__struct_fields__}
    check: Callable[[Facts], Refusal | None] = getattr(broker, one.control)
    assert check(facts) == check(facts)
    assert {name: repr(getattr(facts, name)) for name in Facts.__struct_fields__} == before
