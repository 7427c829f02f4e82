"""From configuration to the stage: the engine, the account and what keeps it, for `alpha paper`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpha_cli.core.errors import AlphaError
from alpha_cli.core.events import Denial, Event, Order, Signal
from alpha_cli.market.contracts import Contracts
from alpha_cli.stages.paper.config import PaperConfig
from alpha_cli.stages.paper.engine import Engine
from alpha_cli.stages.paper.undecided import UndecidedSignals
from alpha_cli.stream.last_ticks import LastTicks
from alpha_cli.stream.stage import Flow, Lifecycle, Options, Reads, Stage, Step

if TYPE_CHECKING:
    from alpha_cli.market.instruments import Master

TICK_FIELDS = ("depth", "ohlc", "last_traded_quantity", "last_trade_time")


class PaperStage(Lifecycle):
    """The simulated broker.

    config      what the command line and paper.yaml say
    master      instrument master; None: the one that `alpha instruments` made, opened with the first order
    state       folder that keeps the books; None: nothing is kept
    name        name in the state folder
    forward     whether the input stays in the output
    """

    def __init__(
        self,
        last_ticks: LastTicks,
        config: PaperConfig,
        *,
        master: Path | None = None,
        state: Path | None = None,
        name: str | None = None,
        forward: bool = False,
    ) -> None:
        self._last_ticks = last_ticks
        self._config = config
        self._forward = forward
        self._undecided = UndecidedSignals()
        self._contracts = _contracts(master, all_hours=config.all_hours)
        self._journal: Any
        self._engine: Engine
        if state is None:
            self._keep_nothing()
        else:
            self._open_state(state, name or "paper")

    def stage(self, options: Options) -> Stage:
        """Return the stage."""
        steps: dict[type[Event], Step] = {
            **self._engine.steps,
            Order: self._on_order,
            Signal: self._undecided.on_signal,
            Denial: self._undecided.on_decision,
        }
        reads = Reads(steps, tick_fields=TICK_FIELDS, last_ticks=self._last_ticks)
        return Stage("paper", reads, flow=Flow(forward=self._forward), lifecycle=self, options=options)

    def opening(self) -> Iterable[Event]:
        """Return positions and cash, for the stages before this one."""
        return self._engine.opening()

    def session_end(self) -> Iterable[Event]:
        """Return the portfolio, and what the end of a day brings before it."""
        return self._engine.close()

    def commit(self, output: bytes) -> None:
        """Make orders, fills and books durable."""
        del output
        self._journal.commit()

    def release(self) -> None:
        """Close the database."""
        self._journal.release()

    def counts(self) -> Mapping[str, int]:
        """Return the figures of the closing line."""
        undecided = self._undecided.count
        return {**self._engine.counts(), **({"undecided": undecided} if undecided else {})}

    def failure(self) -> AlphaError | None:
        """Return that signals came without a decision of risk, if any did."""
        return self._undecided.failure()

    def verdict(self) -> AlphaError | None:
        """Return that trading is halted, or that there were days without a calendar, if so."""
        return self._engine.verdict() or self.failure()

    def _on_order(self, order: Order) -> Iterable[Event]:
        self._undecided.on_decision(order)
        return self._engine.on_order(order)

    def _keep_nothing(self) -> None:
        from alpha_cli.core.ledger import Account
        from alpha_cli.stages.paper.orders import Memory

        config = self._config
        self._journal = Memory(keep_fills=config.charges == "contract-note")
        account = Account.opened(config.broker, config.starting_cash)
        self._engine = Engine(account, self._last_ticks, self._journal, config=config, contracts=self._contracts)

    def _open_state(self, state: Path, name: str) -> None:
        from alpha_cli.stages.paper.store import Store  # SQLite is for those who keep something
        from alpha_cli.storage.halts import halt_reason

        self._journal = store = Store(state, name, self._config, self._contracts.name_of)
        try:
            self._engine = Engine(
                store.account, self._last_ticks, store, store.resting(), config=self._config, contracts=self._contracts,
                halt_reason=lambda: halt_reason(state),
            )  # fmt: skip
        except BaseException:
            store.release()
            raise


def _contracts(path: Path | None, *, all_hours: bool) -> Contracts:
    def master() -> Master | None:
        from alpha_cli.market.instruments import open_master  # with the first order

        return open_master(path)

    contracts = Contracts(master, all_hours=all_hours)
    if path is not None:
        contracts.open()
    return contracts
