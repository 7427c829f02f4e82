"""alpha: algorithmic trading on Indian markets from the command line, one small program a stage.

This is the public face: what authors of strategies and validators, notebooks and tests import. Importing
the package imports nothing else, so that commands start quickly; each name below loads on first use.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing takes a third of the start; until `__main__` has run, Ctrl-C would be a traceback
if TYPE_CHECKING:
    from typing import Any

    from alpha_cli.cli.library import pipe as pipe, replay as replay
    from alpha_cli.core.codec import decode as decode, encode as encode
    from alpha_cli.core.events import (
        Bar as Bar,
        Cancel as Cancel,
        ContractNote as ContractNote,
        Control as Control,
        Denial as Denial,
        Depth as Depth,
        Eof as Eof,
        Event as Event,
        Fill as Fill,
        Gap as Gap,
        Hello as Hello,
        Level as Level,
        Modify as Modify,
        Ohlc as Ohlc,
        Order as Order,
        OrderUpdate as OrderUpdate,
        Portfolio as Portfolio,
        Position as Position,
        Signal as Signal,
        Tick as Tick,
        Unknown as Unknown,
    )
    from alpha_cli.core.version import __version__ as __version__
    from alpha_cli.kit.features import FEATURES as FEATURES, PRICES_NEEDED as PRICES_NEEDED, Features as Features
    from alpha_cli.kit.indicators import (
        ATR as ATR,
        EMA as EMA,
        RSI as RSI,
        SMA as SMA,
        Bands as Bands,
        Bollinger as Bollinger,
        Indicator as Indicator,
        StandardDeviation as StandardDeviation,
    )
    from alpha_cli.kit.model_strategy import ModelParameters as ModelParameters, ModelStrategy as ModelStrategy
    from alpha_cli.kit.models import Model as Model, load_model as load_model
    from alpha_cli.kit.parameters import OrderParameters as OrderParameters
    from alpha_cli.kit.signal_result import History as History, SignalResult as SignalResult
    from alpha_cli.stages.run_strategy.config import StrategyConfig as StrategyConfig
    from alpha_cli.stages.run_strategy.context import Context as Context
    from alpha_cli.stages.run_strategy.protocols import (
        StrategyProcessor as StrategyProcessor,
        StrategyValidator as StrategyValidator,
    )
    from alpha_cli.stream.last_ticks import LastTicks as LastTicks
    from alpha_cli.stream.stage import Stage as Stage

    MarketTick = Tick
    PortfolioUpdate = Portfolio
    TradingSignal = Signal

_HOMES = {
    "alpha_cli.cli.library": ("pipe", "replay"),
    "alpha_cli.core.codec": ("decode", "encode"),
    "alpha_cli.core.events": (
        "Bar", "Cancel", "ContractNote", "Control", "Denial", "Depth", "Eof", "Event", "Fill", "Gap", "Hello", "Level",
        "Modify", "Ohlc", "Order", "OrderUpdate", "Portfolio", "Position", "Signal", "Tick", "Unknown",
    ),
    "alpha_cli.core.version": ("__version__",),
    "alpha_cli.kit.features": ("FEATURES", "PRICES_NEEDED", "Features"),
    "alpha_cli.kit.indicators": ("ATR", "EMA", "RSI", "SMA", "Bands", "Bollinger", "Indicator", "StandardDeviation"),
    "alpha_cli.kit.model_strategy": ("ModelParameters", "ModelStrategy"),
    "alpha_cli.kit.models": ("Model", "load_model"),
    "alpha_cli.kit.parameters": ("OrderParameters",),
    "alpha_cli.kit.signal_result": ("History", "SignalResult"),
    "alpha_cli.stages.run_strategy.config": ("StrategyConfig",),
    "alpha_cli.stages.run_strategy.context": ("Context",),
    "alpha_cli.stages.run_strategy.protocols": ("StrategyProcessor", "StrategyValidator"),
    "alpha_cli.stream.last_ticks": ("LastTicks",),
    "alpha_cli.stream.stage": ("Stage",),
}  # fmt: skip

#: Names of the older system -> the names of today.
_OLDER_NAMES = {"MarketTick": "Tick", "PortfolioUpdate": "Portfolio", "TradingSignal": "Signal"}

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = [*sorted([*_HOME_OF, *_OLDER_NAMES])]  # noqa: PLE0604  (names that load on first use)


def __getattr__(name: str) -> Any:
    name = _OLDER_NAMES.get(name, name)
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'alpha_cli' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
