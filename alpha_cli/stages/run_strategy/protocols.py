"""What a strategy is: the one method it must have, what it is given and what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from alpha_cli.core.events import Bar, Fill, Tick
from alpha_cli.kit.signal_result import SignalResult

if TYPE_CHECKING:
    from alpha_cli.stages.run_strategy.config import StrategyConfig
    from alpha_cli.stages.run_strategy.context import Context


class StrategyProcessor(Protocol):
    """The minimal contract; nothing need be inherited. Pure: no input or output, no clock, no chance.

    What else a processor may have is found by name, see `capabilities`. It may also name the
    `tick_fields` it uses besides token, time and price, which saves decoding the rest; the
    `min_history` it needs; the `bars` it wants, as ("1m", "5m"); and `multi_instrument = True` if one
    processor is to see all instruments of its strategy.
    """

    def process_tick(self, tick: Tick, history: Sequence[Tick]) -> SignalResult | None:
        """The answer to `tick`; `history` holds the earlier ticks, without this one."""
        ...


class StrategyValidator(Protocol):
    """Looks at what a strategy is told and at what it says, before anybody else does."""

    def validate_configuration(self, config: StrategyConfig) -> Iterable[str]:
        """What is wrong with `config`, a line each; nothing if it will do."""
        ...

    def validate_signal(self, result: Any, event: Tick | Bar | Fill, context: Context) -> str | None:
        """Why `result`, the answer to `event`, must not become a signal; None if it may."""
        ...
