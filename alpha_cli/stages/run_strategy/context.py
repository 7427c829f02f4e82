"""What a strategy can look up: its configuration, and its own positions, cash and open orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import time
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from alpha_cli.market.calendar import CLOSE, OPEN
from alpha_cli.stages.run_strategy.config import StrategyConfig
from alpha_cli.stages.run_strategy.portfolio import OpenOrder, Portfolio


class Context:
    """One strategy on one instrument. Read-only; its values change with the fills that arrive.

    Where no fills reach the run, what it holds is unknown: to ask for it disables the strategy.

    strategy_id        its id
    instrument_token   of the instrument; None for a processor that sees several
    instruments        all that the strategy follows
    brokers            where its signals go; the first is the default of `position` and `cash`
    parameters         as configured
    max_position_size  units, long or short, in one instrument; None if there is no such limit
    risk_multiplier    factor for the quantities that it asks for
    session            hours of a trading day in which ticks reach it, as (open, close) in IST; None: all
    """

    __slots__ = (
        "_brokers", "_portfolio", "instrument_token", "instruments", "max_position_size", "parameters",
        "risk_multiplier", "session", "strategy_id",
    )  # fmt: skip

    def __init__(
        self,
        config: StrategyConfig,
        brokers: Callable[[], tuple[str, ...]],
        portfolio: Portfolio,
        instrument_token: int | None,
        *,
        instruments: tuple[int, ...] | None = None,
        all_hours: bool = False,
    ) -> None:
        values: dict[str, Any] = {
            "strategy_id": config.id,
            "instrument_token": instrument_token,
            "instruments": tuple(dict.fromkeys(config.instruments)) if instruments is None else instruments,
            "_brokers": brokers,
            "parameters": MappingProxyType(deepcopy(config.parameters)),
            "max_position_size": config.max_position_size,
            "risk_multiplier": config.risk_multiplier,
            "session": None if all_hours else (OPEN, CLOSE),
            "_portfolio": portfolio,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"context is read-only: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"context is read-only: {name} cannot be deleted")

    # The types of the slots, for the type checker.
    strategy_id: str
    instrument_token: int | None
    instruments: tuple[int, ...]
    _brokers: Callable[[], tuple[str, ...]]
    parameters: Mapping[str, Any]
    max_position_size: int | None
    risk_multiplier: Decimal
    session: tuple[time, time] | None
    _portfolio: Portfolio

    @property
    def brokers(self) -> tuple[str, ...]:
        """Return where its signals go; a reload may change it."""
        return self._brokers()

    def position(self, instrument_token: int | None = None, broker: str | None = None) -> int:
        """Return the units that the strategy itself holds by its fills so far, negative when short."""
        self._portfolio.need_fills("its position")
        return self._portfolio.position(self.strategy_id, self._broker(broker), self._token(instrument_token))

    def average_price(self, instrument_token: int | None = None, broker: str | None = None) -> Decimal | None:
        """Return the average cost of its position in rupees a unit; None when it holds nothing."""
        self._portfolio.need_fills("its average price")
        return self._portfolio.average_price(self.strategy_id, self._broker(broker), self._token(instrument_token))

    def open_orders(self, instrument_token: int | None = None, broker: str | None = None) -> tuple[OpenOrder, ...]:
        """Return the strategy's orders that are placed and not finished, oldest first."""
        self._portfolio.need_fills("its open orders")
        token = None if instrument_token is None and self.instrument_token is None else self._token(instrument_token)
        return self._portfolio.open_orders(self.strategy_id, self._broker(broker), token)

    @property
    def cash(self) -> Decimal | None:
        """Return the rupees in the account of its first broker, after all strategies' fills; None while unknown."""
        return self._portfolio.cash(self._broker(None))

    @property
    def realised_pnl(self) -> Decimal:
        """Return the rupees that the strategy's own fills realised with its first broker, before charges."""
        self._portfolio.need_fills("its realised profit")
        return self._portfolio.realised(self.strategy_id, self._broker(None))

    def _token(self, instrument_token: int | None) -> int:
        token = self.instrument_token if instrument_token is None else instrument_token
        if token is None:
            raise ValueError(
                "this processor sees several instruments: say which, as in context.position(tick.instrument_token)"
            )
        return token

    def _broker(self, broker: str | None) -> str:
        return broker or (self.brokers[0] if self.brokers else "")
