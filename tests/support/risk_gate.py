"""Risk with a database, and the events that it is given."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from alpha_cli.core.codec import decode
from alpha_cli.core.events import Control, Denial, Fill, Order, OrderUpdate, Tick
from alpha_cli.core.money import UNITS
from alpha_cli.stages.risk.config import RiskFile
from alpha_cli.stages.risk.counters import ExposureScope
from alpha_cli.stages.risk.engine import RiskEngine, RiskInputs
from alpha_cli.stages.risk.store import Store
from alpha_cli.stream.last_ticks import LastTicks
from support.events import NIFTY, START

DAY = 86_400
LIMIT = {"order_type": "LIMIT"}


class Gate:
    """Risk with a database, in this process, with no loop around it: what comes of each event, kept at once."""

    def __init__(
        self,
        folder: Path,
        limits: dict[str, Any] | None = None,
        *,
        broker: str = "paper",
        strategies: dict[str, Any] | None = None,
        halt: Callable[[], str | None] = lambda: None,
        cash: dict[str, Decimal] | None = None,
    ) -> None:
        self.folder = folder
        self.broker = broker
        self.file = RiskFile.model_validate({"brokers": {broker: limits or {}}, "strategies": strategies or {}})
        self._halt = halt
        self._cash = cash
        self._open()

    def _open(self) -> None:
        self.market = LastTicks()
        self.store = Store(self.folder, "risk")
        self.engine = RiskEngine(
            RiskInputs(
                limits=self.file,
                last_ticks=self.market,
                halt_reason=self._halt,
                opening_cash=self._cash or {},
                journal=self.store,
                ledger=self.store.ledger,
                latched=self.store.latched,
                halted=self.store.halted,
            )
        )

    def restart(self) -> None:
        """End, and begin again on the same folder."""
        self.store.release()
        self._open()

    def __call__(self, *events: Any) -> list[Any]:
        """What comes of `events`; of what passes a gate, the event itself."""
        made: list[Any] = []
        for event in events:
            if isinstance(event, Tick):
                self.market.put(event)
                if not self.market.wants(event):
                    continue
            made += self.engine.steps[type(event)](event)
        self.engine.commit()
        return made

    def order(self, *events: Any) -> Order:
        """The one order that comes of `events`."""
        (made,) = self(*events)
        assert isinstance(made, Order), made
        return made

    @property
    def account(self) -> ExposureScope:
        return self.engine.ledger.scope(self.broker)

    def held(self, token: int = NIFTY, strategy: str | None = None) -> int:
        """Units of an instrument that count as held."""
        key = (self.broker,) if strategy is None else (self.broker, strategy)
        found = self.engine.ledger.scope(*key).holdings.get(token)
        return 0 if found is None else found.quantity

    def open(self, token: int = NIFTY) -> tuple[int, int]:
        """Units that open orders may buy, and may sell."""
        found = self.account.holdings.get(token)
        return (0, 0) if found is None else (found.buying, found.selling)

    @property
    def cash(self) -> Decimal:
        """Rupees that flowed."""
        return Decimal(self.account.cash) / UNITS

    @property
    def turnover(self) -> Decimal:
        return Decimal(self.account.turnover) / UNITS


def codes(made: Iterable[Any]) -> list[str]:
    """Of orders that they are, of denials their code, of control events what they ask for."""
    names: dict[type, Callable[[Any], str]] = {
        Order: lambda _: "ORDER", Denial: lambda one: str(one.code), Control: lambda one: str(one.action),
    }  # fmt: skip
    return [names[type(one)](one) for one in made if type(one) in names]


def events(output: bytes, *types: type) -> list[Any]:
    return [one for one in map(decode, output.splitlines()) if isinstance(one, types)]


def a_fill(order: Order, quantity: int, price: float = 100, number: int = 1, at: float = 0, **fields: Any) -> Fill:
    """The trade `number` of an order."""
    return Fill(
        fill_id=f"{order.order_id}/{number}", order_id=order.order_id, signal_id=order.signal_id,
        strategy_id=order.strategy_id, broker=order.broker, instrument_token=order.instrument_token, side=order.side,
        quantity=quantity, price=Decimal(str(price)), charges={"total": Decimal(fields.pop("charges", 0))},
        timestamp=START + timedelta(seconds=at), **fields,
    )  # fmt: skip


def an_update(order: Order, status: str, filled: int = 0, pending: int = 0, at: float = 0) -> OrderUpdate:
    """What the broker says of an order."""
    return OrderUpdate(
        order_id=order.order_id, broker=order.broker, status=status, filled_quantity=filled, pending_quantity=pending,
        timestamp=START + timedelta(seconds=at),
    )  # fmt: skip


def a_file(folder: Path, limits: dict[str, Any], **levels: Any) -> str:
    """`risk.yaml` with limits for paper; JSON is YAML too."""
    path = folder / "limits.yaml"
    path.write_text(json.dumps({"brokers": {"paper": limits}, **levels}))
    return str(path)


def on(day: str, at: str = "10:00") -> float:
    """Seconds from the first moment of these tests to a time of another day."""
    return (datetime.fromisoformat(f"{day}T{at}+05:30") - START).total_seconds()


ASSUMED = {"assume_market_fills": True}
