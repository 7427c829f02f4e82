"""Risk over a market that a test moves by hand, and the events that it is given."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from alpha_cli.core.events import (
    RISK,
    Bar,
    Control,
    Denial,
    Fill,
    Modify,
    Order,
    OrderUpdate,
    Portfolio,
    Signal,
    Tick,
)
from alpha_cli.core.ids import derive_id
from alpha_cli.market.instruments import Instrument, Master
from alpha_cli.stages.risk.config import RiskFile
from alpha_cli.stages.risk.engine import RiskEngine, RiskInputs
from alpha_cli.stages.risk.facts import Facts
from alpha_cli.stages.risk.store import Store
from alpha_cli.stream.last_ticks import LastTicks
from support.events import BANK, NIFTY, START, signal, tick

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
            {} if store is None else {"ledger": store.ledger, "latched": store.latched, "halted": store.halted}
        )
        self.market = LastTicks()
        self.risk = RiskEngine(
            RiskInputs(
                limits=RiskFile.model_validate(whole),
                last_ticks=self.market,
                instruments=None if master is None else Master.of(master),
                opening_cash={} if cash is None else {"paper": Decimal(cash)},
                journal=store,
                **found,
            )
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


TRIPS = {"repeated_execution": {"orders": 50, "seconds": 60, "round_trips": 1}}


TWICE = {"repeated_execution": {"orders": 2, "seconds": 60, "round_trips": 50}}


RATE = {"message_rate": {"second": 5, "minute": 10, "day": 20}}


RATIO = {"orders_to_trades": {"ratio": 2, "after": 3}}


ROUND_TRIP = (*bought(1, number=1), signal(2, side="SELL"), fill(2, 1, 100, "SELL"), heard(2, "COMPLETE", 1, 0))


OF_BANK: dict[str, Any] = {"instrument_token": BANK}


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
