"""alpha: algorithmic trading on Indian markets from the command line, one small program a stage.

Importing this package imports nothing else, so that commands start quickly; the names below load
on first use. See `alpha_cli.cli.library` for what notebooks and tests build on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from alpha_cli.cli.library import pipe as pipe, replay as replay
    from alpha_cli.core.events import (
        Bar as Bar,
        Cancel as Cancel,
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
        decode as decode,
        encode as encode,
    )
    from alpha_cli.stages.run_strategy.protocols import SignalResult as SignalResult
    from alpha_cli.stream.last_ticks import Market as Market
    from alpha_cli.stream.stage import Stage as Stage

_HOMES = {
    "alpha_cli.cli.library": ("pipe", "replay"),
    "alpha_cli.stream.last_ticks": ("Market",),
    "alpha_cli.stream.stage": ("Stage",),
    "alpha_cli.stages.run_strategy.protocols": ("SignalResult",),
    "alpha_cli.core.events": (
        "Bar", "Cancel", "Control", "Denial", "Depth", "Eof", "Event", "Fill", "Gap", "Hello", "Level", "Modify",
        "Ohlc", "Order", "OrderUpdate", "Portfolio", "Position", "Signal", "Tick", "Unknown", "decode", "encode",
    ),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = ["__version__", *sorted(_HOME_OF)]  # noqa: PLE0604  (names that load on first use)


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'alpha_cli' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
