"""The protocols of strategies and validators: the methods they must have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from alpha_cli.core.events import Bar, Fill, Tick
from alpha_cli.kit.signal_result import SignalResult

if TYPE_CHECKING:
    from alpha_cli.stages.run_strategy.config import StrategyConfig
    from alpha_cli.stages.run_strategy.context import Context


class StrategyProcessor(Protocol):
    """The minimal contract; no base class is needed. Pure: no input or output, no clock, no randomness.

    Optional methods are recognised by name, see `capabilities`. A processor may also declare the
    `tick_fields` it uses besides token, time and price, which saves decoding the rest; the
    `min_history` it needs; the `bars` it wants, as ("1m", "5m"); and `multi_instrument = True` if one
    processor handles all instruments of its strategy.
    """

    def process_tick(self, tick: Tick, history: Sequence[Tick]) -> SignalResult | None:
        """Return the answer to `tick`; `history` holds the earlier ticks, without this one."""
        ...


class StrategyValidator(Protocol):
    """Checks the configuration of a strategy, and each result before it becomes a signal."""

    def validate_configuration(self, config: StrategyConfig) -> Iterable[str]:
        """Return what is wrong with `config`, a line each; nothing if it is valid."""
        ...

    def validate_signal(self, result: Any, event: Tick | Bar | Fill, context: Context) -> str | None:
        """Return why `result`, the answer to `event`, must not become a signal; None if it may."""
        ...
