"""Limits as they are written in `risk.yaml`: of each setting a looser and a tighter value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.events import Control, Denial, Signal
from alpha_cli.stages.risk.config import (
    BrokerLevel,
    InstrumentLevel,
    OneInstrument,
    RiskFile,
    StrategyLevel,
    load_limits,
)
from alpha_cli.stages.risk.controls.table import CONTROLS
from alpha_cli.stages.risk.engine import RiskEngine, RiskInputs
from alpha_cli.stream.last_ticks import LastTicks
from support.events import BANK, NIFTY, tick

INFY, FUTURE = 408065, 14866434
MASTER = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,"
    "segment,exchange\n"
    "408065,1594,INFY,INFOSYS,0,,0,0.05,1,EQ,NSE,NSE\n"
    "738561,2885,RELIANCE,RELIANCE,0,,0,0.1,1,EQ,NSE,NSE\n"
    "14866434,58072,NIFTY24JUNFUT,NIFTY,0,2024-06-27,0,0.05,25,FUT,NFO-FUT,NFO\n"
)

#: setting -> a looser and a tighter value, as they are written.
PAIRS: dict[str, tuple[Any, Any]] = {
    "max_order_quantity": (10, 5),
    "max_order_value": (1000.5, 1000.25),
    "max_slices": (10, 5),
    "max_position": (10, 5),
    "max_open_order_value": (1000, 999.99),
    "max_turnover": (1000, 500),
    "max_gross_exposure": (1000, 500),
    "max_net_exposure": (1000, 500),
    "price_tolerance": (0.02, 0.01),
    "market_protection": (0.02, 0.01),
    "session_hours": (False, True),
    "entry_window": ({"after_open": 0, "before_close": 5}, {"after_open": 15, "before_close": 30}),
    "expiry_day_entries": (True, False),
    "max_tick_age": (10, 0.5),
    "signal_ttl": (10, 5),
    "duplicate_window": (1, 2.5),
    "confirm_within": (60, 30),
    "self_match_prevention": (False, True),
    "products": (["MIS", "CNC"], ["MIS"]),
    "order_types": (["MARKET", "LIMIT"], ["LIMIT"]),
    "participation": (False, {"day": 0.1, "minute": 0.2}),
    "max_modifications": (25, 3),
    "average_daily_volume": (100_000, 50_000),
    "allowed_instruments": ([str(NIFTY), str(BANK)], [str(NIFTY)]),
    "restricted_instruments": ([str(NIFTY)], [str(NIFTY), str(BANK)]),
    "max_daily_loss": (1000, 500),
    "max_drawdown": (1000, 500),
    "repeated_execution": (
        {"orders": 10, "seconds": 5, "round_trips": 20},
        {"orders": 5, "seconds": 10, "round_trips": 10},
    ),
    "max_consecutive_rejects": (5, 3),
    "message_rate": ({"second": 10, "minute": 400, "day": 5000}, {"second": 5, "minute": 100, "day": 1000}),
    "orders_to_trades": ({"ratio": 20, "after": 100}, {"ratio": 10, "after": 50}),
    "max_funds_share": (0.9, 0.5),
    "assume_market_fills": (True, False),
    "circuit_limits": (False, True),
    "max_funds_age": (60, 30),
    "reconcile": (False, True),
    "max_heartbeat_age": (10, 5),
    "max_clock_skew": (1, 0.5),
    "max_clock_jump": (1, 0.5),
    "algo_id": (False, "ALGO-1"),
    "registered_ip": (False, "203.0.113.7"),
}

#: More of them: `off`, and values of several numbers of which only one changes.
MORE_PAIRS: list[tuple[str, Any, Any]] = [
    ("market_protection", 0.01, False),
    ("price_tolerance", {"equity": 0.02}, {"equity": 0.02, "option": 0.1}),
    ("price_tolerance", {"equity": 0.02, "option": 0.2}, {"equity": 0.02, "option": 0.1}),
    ("participation", {"day": 0.2}, {"day": 0.2, "minute": 0.1}),
    ("participation", {"day": 0.2, "minute": 0.2}, {"day": 0.1, "minute": 0.2}),
    ("entry_window", {"after_open": 15}, {"after_open": 15, "before_close": 15}),
    ("message_rate", {"second": 5, "minute": 100, "day": 900}, {"second": 5, "minute": 99, "day": 900}),
    ("orders_to_trades", {"ratio": 10, "after": 60}, {"ratio": 10}),
    (
        "repeated_execution",
        {"orders": 5, "seconds": 10, "round_trips": 20},
        {"orders": 5, "seconds": 11, "round_trips": 20},
    ),
    ("allowed_instruments", ["NSE:*", str(NIFTY)], ["NSE:*"]),
    ("restricted_instruments", [], ["NSE:*"]),
]
ALL_PAIRS = [*((name, *pair) for name, pair in PAIRS.items()), *MORE_PAIRS]

#: The levels of the file that have a say in an order of strategy `test` for NIFTY on `paper`.
PLACES: dict[tuple[str, str | None], type[InstrumentLevel]] = {
    ("account", None): BrokerLevel,
    ("brokers", "paper"): BrokerLevel,
    ("strategies", "test"): StrategyLevel,
    ("instruments", str(NIFTY)): OneInstrument,
    ("instruments", "NSE:2*"): OneInstrument,
}

PLACE_IDS = [".".join(filter(None, place)) for place in PLACES]


def file_of(*settings: tuple[tuple[str, str | None], str, Any]) -> RiskFile:
    """The file that says these things: place, setting, value."""
    written: dict[str, Any] = {}
    for (part, name), setting, value in settings:
        level = written.setdefault(part, {})
        if name is not None:
            level = level.setdefault(name, {})
        level[setting] = value
    return RiskFile.model_validate(written)


def paper(**limits: Any) -> RiskFile:
    """A file with these limits for `paper` alone."""
    return RiskFile.model_validate({"brokers": {"paper": limits}})


def engine(limits: Mapping[str, Any] | RiskFile, **options: Any) -> tuple[RiskEngine, LastTicks]:
    """Risk with these limits, on a market with ticks of both indices at 100."""
    market = LastTicks()
    file = limits if isinstance(limits, RiskFile) else RiskFile.model_validate(limits)
    risk = RiskEngine(RiskInputs(limits=file, last_ticks=market, **options))
    for token in (NIFTY, BANK):
        market.put(tick(0, 100, token))
    return risk, market


def decide(limits: Mapping[str, Any] | RiskFile, *signals: Signal, **options: Any) -> list[Any]:
    """What comes of the signals, one after another."""
    risk, _ = engine(limits, **options)
    return [made for one in signals for made in risk.on_signal(one) if not isinstance(made, Control)]


def codes(made: Sequence[Any]) -> list[str]:
    """ORDER, or why not."""
    return [one.code if isinstance(one, Denial) else "ORDER" for one in made]


def refused(folder: Path, written: Any) -> str:
    """Why a file with this is refused: one line that begins with the file's name."""
    path = folder / "risk.yaml"
    path.write_text(written if isinstance(written, str) else yaml.safe_dump(written))
    with pytest.raises(ConfigurationError) as error:
        load_limits(path)
    said = str(error.value)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    return said.removeprefix(f"{path}: ")


#: Everything that has to be set for a real broker.
LIVE: dict[str, Any] = {
    "max_order_quantity": 100,
    "max_order_value": 100_000,
    "max_slices": 10,
    "max_position": 100,
    "max_open_order_value": 1_000_000,
    "max_turnover": 1_000_000,
    "max_gross_exposure": 1_000_000,
    "max_net_exposure": 1_000_000,
    "price_tolerance": 0.05,
    "market_protection": 0.01,
    "session_hours": True,
    "entry_window": {"after_open": 0, "before_close": 0},
    "expiry_day_entries": True,
    "max_tick_age": 10,
    "signal_ttl": 10,
    "duplicate_window": 1,
    "confirm_within": 60,
    "self_match_prevention": True,
    "products": ["MIS", "CNC", "NRML"],
    "order_types": ["MARKET", "LIMIT"],
    "participation": False,
    "max_modifications": 25,
    "allowed_instruments": [str(NIFTY), str(BANK)],
    "restricted_instruments": [],
    "max_daily_loss": 10_000,
    "max_drawdown": 10_000,
    "repeated_execution": {"orders": 10, "seconds": 5, "round_trips": 20},
    "max_consecutive_rejects": 5,
    "message_rate": {"second": 10, "minute": 400, "day": 5000},
    "orders_to_trades": {"ratio": 20},
    "max_funds_share": 0.9,
    "circuit_limits": True,
    "max_funds_age": 60,
    "reconcile": True,
    "max_heartbeat_age": 10,
    "max_clock_skew": 1,
    "max_clock_jump": 1,
    "algo_id": False,
    "registered_ip": False,
}


FUNDS = {"zerodha": Decimal(1_000_000)}


SETTINGS = {control.setting: control for control in CONTROLS if control.setting is not None}


def live(place: tuple[str, str | None] = ("brokers", "zerodha"), **changes: Any) -> RiskFile:
    """The complete configuration for zerodha, with changes; None: left out."""
    settings = {name: value for name, value in {**LIVE, **changes}.items() if value is not None}
    named = (("brokers", "zerodha"), "max_slices", 10)  # a real broker has to be named
    return file_of(named, *((place, name, value) for name, value in settings.items()))
