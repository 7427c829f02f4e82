"""Risk control by control: at its limit it lets pass, one step beyond it refuses, without its fact too.

Each row of `CONTROLS` has cases here, and each code one by name; a control without a test fails.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import msgspec
import pytest
from msgspec.structs import replace
from support.events import BANK, NIFTY, START, signal, tick
from support.risk_desk import (
    AUGUST,
    CLOSE,
    DAY,
    EVERY,
    FUTURE,
    INDEX,
    JUST,
    LISTED,
    OF_BANK,
    OPTION,
    PASSED,
    RATE,
    RATIO,
    ROUND_TRIP,
    SHARE,
    SQUARE_OFF,
    STOCK_FUTURE,
    TRIPS,
    TWICE,
    ZERODHA_CASH,
    Desk,
    at,
    bar,
    bought,
    fill,
    heard,
    limit,
    many,
    modify,
    sold,
)

from alpha_cli.core.events import Control, Gap, Portfolio, Signal
from alpha_cli.core.times import IST
from alpha_cli.market.instruments import Instrument
from alpha_cli.stages.risk import sizing
from alpha_cli.stages.risk.codes import MEANINGS, Code
from alpha_cli.stages.risk.config import RiskFile
from alpha_cli.stages.risk.controls import broker, conduct, exposure, moment, order as order_controls
from alpha_cli.stages.risk.controls.order import MOST_METADATA
from alpha_cli.stages.risk.controls.table import CONTROLS, REJECT_CONTROLS, active_controls
from alpha_cli.stages.risk.counters import ExposureScope
from alpha_cli.stages.risk.facts import BrokerFacts, Facts
from alpha_cli.stages.risk.limits import Limits
from alpha_cli.stages.risk.refusal import Refusal
from alpha_cli.stages.risk.resolve import Levels

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


WINDOW = {"entry_window": {"after_open": 1, "before_close": 15}}
SAID = "1 min after the opening to 15 min before the close"

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
    stopped = [kept.state for kept in desk.risk.halts.latched.states.values() if kept.broker == "paper"]
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


@pytest.mark.parametrize(
    ("limits", "code", "tick_at", "good", "bad", "product"),
    [
        ({"max_tick_age": 2}, "DATA_STALE", 60, 62, 62 + JUST, "CNC"),
        (WINDOW, "SESSION_NO_ENTRY", CLOSE - 960, CLOSE - 900, CLOSE - 900 + JUST, "CNC"),
        ({"session_hours": True}, "SESSION_SQUARED_OFF", SQUARE_OFF - 9, SQUARE_OFF - JUST, SQUARE_OFF, "MIS"),
    ],
)
def test_a_modification_is_judged_at_its_own_time(
    limits: dict[str, Any], code: str, tick_at: float, good: float, bad: float, product: str
) -> None:
    """One that is newer than the newest tick is not dated back to it, or old prices and closed hours would pass."""
    for when, expected in ((good, ""), (bad, code)):
        desk = Desk(limits)
        outcome = desk.give(tick(tick_at), limit(1, 100, product=product), modify(1, quantity=12, timestamp=at(when)))
        assert outcome.code == expected


# --- what is not set -------------------------------------------------------------------------

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
        one.check(facts)
        for one in active_controls("zerodha", limits, facts.contract, "send")
        if one.control.setting == setting
    ]
    assert [(one and one.code, one and one.limit) for one in found] == [(Code.LIMIT_UNSET, setting)]
    assert setting not in {one.control.setting for one in active_controls("paper", limits, facts.contract, "send")}


def test_a_tolerance_for_other_kinds_is_none_for_this_one() -> None:
    """What is set for options says nothing about shares."""
    limits = EVERY | {"price_tolerance": {"option": 0.1}}
    desk = Desk({"brokers": {"zerodha": limits}})
    desk.give(ZERODHA_CASH, tick(0))
    assert desk.give(limit(1, 100, broker="zerodha")) == ("LIMIT_UNSET", "price_tolerance", None)


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
    return replace(Desk(limits).facts(tick(0), *(events or (signal(1),))), broker=known)


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
        scope = next(iter(desk.risk.ledger.scopes.values()), ExposureScope())
        for control in CONTROLS:
            if control.at == "report":
                written = msgspec.json.encode(scope)
                limits = Levels(desk.risk.limits).broker("paper")
                check = control.check if control in REJECT_CONTROLS else partial(control.check, equity=-(10**9))
                assert check(limits, scope) == check(limits, scope)
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
    """Those marked `entries_only` refuse nothing that opens no position; the others refuse exits too."""
    desk = Desk(one.limits, master=one.master, cash=one.cash)
    desk.give(*one.start, *one.denied[:-1])
    seen: list[tuple[Facts, Any]] = []
    desk.risk.audit = lambda _, facts, controls, refused: seen.append((facts, controls))
    desk.give(one.denied[-1])
    ((facts, controls),) = seen
    facts = replace(facts, is_entry=False)
    refusing = [asked.control for asked in controls if asked.control.name == one.control and asked.check(facts)]
    assert bool(refusing) != next(control.entries_only for control in CONTROLS if control.name == one.control)


@pytest.mark.parametrize("one", SENDING, ids=lambda one: f"{one.control} {one.code}")
def test_so_it_does_before_sending(one: Sending) -> None:
    """What stops entries lets through what gets out."""
    facts = to_send(one.limits, BrokerFacts(**one.denied), one.wanted)
    facts = replace(facts, is_entry=False)
    row = next(control for control in CONTROLS if control.name == one.control)
    assert (row.check(facts) is None) == row.entries_only


def kept(desk: Desk, facts: Facts) -> tuple[Any, ...]:
    """All that a control could change."""
    books = desk.risk.ledger
    return (
        {key: msgspec.json.encode(scope) for key, scope in books.scopes.items()},
        {key: msgspec.json.encode(entry) for key, entry in books.orders.items()},
        dict(books.funds), dict(desk.risk.halts.latched.states), dict(desk.risk.halts.halted),
        set(books.changed_scopes), set(books.changed_orders),
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
