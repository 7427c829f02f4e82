"""The data that the parts of a runner share: its strategies, the queues of their instruments, and what is due."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from alpha_cli.market.contracts import Contracts
from alpha_cli.stages.run_strategy.executor import Executor, Strategy
from alpha_cli.stages.run_strategy.instrument_queue import InstrumentQueue
from alpha_cli.stages.run_strategy.portfolio import Portfolio
from alpha_cli.stages.run_strategy.watchdog import CurrentCall
from alpha_cli.stream.shutdown import LeaveNow

if TYPE_CHECKING:
    from alpha_cli.market.bars.builder import BarBuilder

Report = Callable[[str], None]

_RESERVE = 8 << 20


class RunnerData:
    """What engine, roster, circuits and callbacks of one runner work on.

    strategies  by id, in their order
    disabled    id -> why the strategy does not run at all
    queues      by token of the instrument
    regular     the same; empty while something may be due at the next tick
    due         the first stream time at which more than the tick has to be handled; None if nothing waits
    pending     a heap of (time, number, event): side events whose time has not come
    bars        builds bars; None until some are wanted
    current     the call of a strategy that is being made, for the watchdog
    report      logs a line
    stranger    an instrument that no strategy follows, and of which something came
    passing     exceptions that end the run although a call raises them
    reserve     8 MiB released on any failure, so that a MemoryError can be handled
    """

    def __init__(
        self,
        *,
        all_hours: bool,
        report: Report,
        opening_cash: Mapping[str, Decimal] | None,
        contracts: Contracts | None,
        fills_come: bool = True,
    ) -> None:
        self.all_hours = all_hours
        self.report = report
        self.strategies: dict[str, Strategy] = {}
        self.disabled: dict[str, str] = {}
        self.portfolio = Portfolio(opening_cash, fills_come=fills_come)
        self.queues: dict[int, InstrumentQueue] = {}
        self.regular = self.queues
        self.due: datetime | None = None
        self.pending: list[tuple[datetime, int, Any]] = []
        self.bars: BarBuilder | None = None
        self.contracts = contracts or Contracts(all_hours=all_hours)
        self.current = CurrentCall()
        self.stranger: int | None = None
        self.passing: tuple[type[BaseException], ...] = (LeaveNow, KeyboardInterrupt)
        self.reserve: bytes | None = None
        self.refill_reserve()

    def refill_reserve(self) -> None:
        """Reserve the memory again. Raise `MemoryError`."""
        self.reserve = bytes(_RESERVE)  # of zeros: reserved, but not touched

    def queue_of(self, executor: Executor) -> InstrumentQueue | None:
        """Return the queue that calls `executor`; None if it does not follow its instrument yet."""
        return None if executor.counter is None else self.queues[executor.token]
