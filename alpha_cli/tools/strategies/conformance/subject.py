"""The strategy that is checked, in a runner, and the market that it gets."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from alpha_cli.cli.library import pipe
from alpha_cli.config.defaults import OPENING_CASH
from alpha_cli.core.codec import encode
from alpha_cli.core.events import Fill, Signal, Tick
from alpha_cli.core.wire import rupees
from alpha_cli.stages.run_strategy.config import StrategyConfig
from alpha_cli.stages.run_strategy.engine import StrategyRunner
from alpha_cli.stages.run_strategy.executor import Executor, Strategy
from alpha_cli.stages.run_strategy.factory import STRATEGIES, create_processor
from alpha_cli.stages.run_strategy.failures import Disabled
from alpha_cli.stream.decoder import tick_view
from alpha_cli.stream.stage import Reads, Stage
from alpha_cli.tools.strategies.target import INSTRUMENTS, target

BROKER = "paper"
MOST_HISTORY = 20_000  # ticks that a configuration may ask for
MARKET = 6_000  # ticks of the synthetic market; more for a strategy that needs a long history
_NEVER_PAUSE = 1 << 60  # failures in a row


class Subject:
    """The strategy that is checked, and the market that it gets.

    several  whether one processor handles all instruments
    needed   ticks of history that it needs
    modules  the modules of the strategy's code
    """

    def __init__(self, name: str, parameters: dict[str, Any], timeout: float) -> None:
        config, self._path = target(name)
        self.config = config.model_copy(update={"parameters": config.parameters | parameters})
        self.name = name
        self.parameters = parameters
        self.timeout = timeout
        self.several = False
        self.needed = 0
        self.modules: list[ModuleType] = []
        self._synthetic: list[Tick] = []

    def prepare(self) -> Any:
        """Make a processor, and take two instruments if there is but one. Raise `ConfigurationError`."""
        config = self.config
        free = self._path is None or bool(self.parameters)  # the length of the history is not configured
        if free:
            config = config.model_copy(update={"max_history": MOST_HISTORY})
        processor = create_processor(config)
        self.needed = getattr(processor, "min_history", 0)
        self.several = bool(getattr(processor, "multi_instrument", False))
        if free:
            config = config.model_copy(update={"max_history": max(self.config.max_history, self.needed)})
        if not self.several:
            tokens = tuple(dict.fromkeys((*config.instruments, *INSTRUMENTS)))[:2]
            config = config.model_copy(update={"instruments": tokens})
        self.config = config
        self.modules = _own_modules(STRATEGIES.factory(config.strategy_type), processor)
        return processor

    @cached_property
    def view(self) -> Any:
        """Return the type of the ticks that it is given."""
        return tick_view([Stage("run-strategy", Reads({}, tick_fields=self.trial().runner.tick_fields))])

    def trial(self, config: StrategyConfig | None = None, **options: Any) -> Trial:
        """Return a new `Trial` of the strategy."""
        return Trial(config or self.config, **options)

    def synthetic(self, count: int = 0) -> list[Tick]:
        """Return at least `MARKET` ticks of the synthetic market, the instruments of the strategy in turn."""
        tokens = self.config.instruments
        count = count or max(MARKET, 2 * self.needed * len(tokens))
        if len(self._synthetic) != count:
            text = f"feed --ticks {count} --mode full --instruments {','.join(map(str, tokens))}"
            self._synthetic = [event for event in pipe(text) if isinstance(event, Tick)]
        return self._synthetic

    def market(self, count: int = 0) -> list[Any]:
        """Return the same with the fields that the strategy is given."""
        return self.seen(self.synthetic(count))

    def seen(self, ticks: Iterable[Tick]) -> list[Any]:
        """Return `ticks` with the fields that the strategy is given."""
        names = self.view.__struct_fields__
        return [self.view(*(getattr(tick, name) for name in names)) for tick in ticks]

    def where(self, frames: Iterable[tuple[str, int]]) -> str:
        """Return the first of these places that is in the strategy's own code, as in ` (mine.py:12)`."""
        own = {Path(module.__file__ or "").absolute() for module in self.modules}
        return next((f" ({Path(file).name}:{line})" for file, line in frames if Path(file).absolute() in own), "")


class Trial:
    """The strategy in a runner that never pauses it.

    watch  wraps each of its methods that answer to events
    fills  whether its orders are filled, each at once at the price of the tick that caused it
    """

    def __init__(
        self,
        config: StrategyConfig,
        *,
        watch: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
        fills: bool = True,
    ) -> None:
        self.reports: list[str] = []
        self.runner = StrategyRunner(report=self.reports.append, failures=_NEVER_PAUSE, opening_cash=OPENING_CASH)
        self.strategy = Strategy(config, (BROKER,), portfolio=self.runner.portfolio)
        self._fills = fills
        for executor in self.executors if watch else ():
            assert watch is not None
            executor.process = watch(executor.process)
            executor.on_bar = None if executor.on_bar is None else watch(executor.on_bar)
            executor.on_fill = None if executor.on_fill is None else watch(executor.on_fill)
        self.runner.roster.add(self.strategy)
        if self.runner.disabled:
            raise Disabled(self.runner.disabled[self.strategy.id])

    @property
    def executors(self) -> list[Executor]:
        """Return one for each instrument."""
        return list(self.strategy.executors.values())

    def run(self, ticks: Iterable[Any]) -> list[bytes]:
        """Return the signals on `ticks`, as lines of the wire."""
        lines = []
        for tick in ticks:
            for signal in _of_signals(self.runner.on_tick(tick)):
                lines.append(encode(signal))
                if self._fills:
                    answers = self.runner.on_fill(_fill(signal, tick.last_price))
                    lines += map(encode, _of_signals(answers))
        return lines


def _of_signals(events: Iterable[Any]) -> Iterator[Signal]:
    return (event for event in events if isinstance(event, Signal))


def _fill(signal: Signal, price: float) -> Fill:
    return Fill(
        fill_id=f"fill-{signal.signal_id}",
        order_id=f"order-{signal.signal_id}",
        signal_id=signal.signal_id,
        strategy_id=signal.strategy_id,
        broker=signal.broker,
        instrument_token=signal.instrument_token,
        side="BUY" if signal.signal_type == "BUY" else "SELL",
        quantity=signal.quantity or 1,
        price=rupees(price),
        charges={"total": Decimal(0)},
        timestamp=signal.timestamp,
        product=signal.product,
    )


def _own_modules(factory: Callable[..., Any], processor: object) -> list[ModuleType]:
    """Return the modules of the strategy: those of its factory and class, and others in the same folders."""
    names = {factory.__module__, *(cls.__module__ for cls in type(processor).__mro__[:-1])}
    made_of = [sys.modules[name] for name in names if name in sys.modules]
    folders = {Path(file).parent for module in made_of if (file := getattr(module, "__file__", None))}
    neighbours = [
        module
        for module in list(sys.modules.values())
        if (file := getattr(module, "__file__", None)) and Path(file).parent in folders
    ]
    return list({id(module): module for module in (*made_of, *neighbours)}.values())
