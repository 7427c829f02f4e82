"""From configuration to the stage: limits, instrument master, state folder and side inputs of `alpha risk`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from alpha_cli.config.settings import load_settings
from alpha_cli.core.errors import AlphaError, BadData
from alpha_cli.core.events import Event
from alpha_cli.core.text import printable
from alpha_cli.core.times import IST
from alpha_cli.market.instruments import open_master
from alpha_cli.stages.risk.config import RiskFile, load_limits
from alpha_cli.stages.risk.engine import RiskEngine, RiskInputs
from alpha_cli.stages.risk.options import check_names
from alpha_cli.storage.halts import HALT, HISTORY, halt_reason, user
from alpha_cli.stream.inputs import Inputs
from alpha_cli.stream.last_ticks import LastTicks
from alpha_cli.stream.log import log_line
from alpha_cli.stream.stage import Flow, Lifecycle, Options, Reads, Stage


class RiskStage(Lifecycle):
    """The engine with what it is configured by and what it keeps.

    file        limits; None: the nearest risk.yaml
    master      instrument master; None: the one that `alpha instruments` made, if any
    state       folder that keeps counters, states and limits
    name        name in the state folder
    fills       file or FIFO with what paper or execute writes
    ack_limits  hash of limits that may be looser than those of the last run

    Raise what reading limits, master and state raises.
    """

    def __init__(
        self,
        last_ticks: LastTicks,
        *,
        file: Path | None = None,
        master: Path | None = None,
        state: Path | None = None,
        name: str | None = None,
        fills: Path | None = None,
        ack_limits: str | None = None,
    ) -> None:
        self._last_ticks = last_ticks
        self._limits_name = str(file or "risk.yaml")
        self._limits = load_limits(file)
        instruments = open_master(master)
        check_names(self._limits, instruments, file)
        self._state = state
        self._requests: Any = None
        self._follower: Any = None
        with ExitStack() as opened:
            kept = {} if state is None else self._open_state(state, name or "risk", ack_limits, opened)
            if fills is not None:
                self._follow(fills, opened)
            self._store: Any = kept.get("journal")
            inputs = RiskInputs(
                limits=self._limits,
                last_ticks=last_ticks,
                instruments=instruments,
                halt_reason=lambda: None if state is None else halt_reason(state),
                opening_cash=load_settings().opening_cash,
                **kept,
            )
            self._engine = RiskEngine(inputs)
            self._hear(most=None)  # what was asked for, and what was filled, while this stage did not run
            self._opened = opened.pop_all()

    def stage(self, options: Options) -> Stage:
        """Return the stage."""
        engine = self._engine
        reads = Reads(engine.steps, last_ticks=self._last_ticks)
        return Stage("risk", reads, flow=Flow(gates=engine.gates), lifecycle=self, options=options)

    def start(self, inputs: Inputs) -> None:
        """Hear of fills, and of what people ask for, also while no input comes."""
        if self._follower is not None:
            self._follower.listen(inputs)
        if self._state is not None:
            from alpha_cli.stream.watch import FileWatch

            # `alpha resume` takes HALT away before it writes down the request: that is read when it is there.
            halt = self._state / HALT
            watches = (
                FileWatch([halt], inputs, only_whole=True),
                FileWatch([self._state / HISTORY], inputs, only_whole=True, when=lambda: not os.path.lexists(halt)),
            )
            for watch in watches:
                self._opened.callback(watch.close)

    def side_events(self) -> Iterable[Event]:
        """Take in fills and requests; return the `control` events that follow."""
        if self._requests is None and self._follower is None:
            return ()
        self._hear()
        return self._engine.side_events()

    def commit(self, output: bytes) -> None:
        """Make decisions durable; report strategies whose name is nearly one that has limits."""
        del output
        self._engine.commit()
        unlimited = self._engine.plans.strategies_without_limits
        while unlimited:
            if (hint := self._limits.misspelling_hint(unlimited.pop(0))) is not None:
                _report(f"{self._limits_name}: {hint}")

    def release(self) -> None:
        """Close the database and the followed file."""
        self._opened.close()

    def counts(self) -> Mapping[str, int]:
        """Return the figures of the closing line."""
        return self._engine.counts()

    def verdict(self) -> AlphaError | None:
        """Return that trading is halted, if it is."""
        missing = None if self._follower is None else self._follower.failure()
        return self._engine.verdict() or self.failure() or missing

    def failure(self) -> AlphaError | None:
        """Return that orders came in the input, if any did: risk stands in the wrong place."""
        count = self._engine.foreign_orders
        if not count:
            return None
        return BadData(
            f"{count} orders came that this risk has not made; they were withheld: put risk once, after run-strategy "
            "and before paper"
        )

    def _open_state(self, folder: Path, name: str, acknowledged: str | None, opened: ExitStack) -> dict[str, Any]:
        """Open the database and apply the limits to it. Return what the engine goes on from."""
        from alpha_cli.stages.risk.requests import Requests
        from alpha_cli.stages.risk.store import Store

        store = Store(folder, name)
        opened.callback(store.release)
        _apply_limits(store, self._limits, acknowledged)
        self._requests = Requests(folder, store.requests_offset, _report)
        return {"journal": store, "ledger": store.ledger, "latched": store.latched, "halted": store.halted}

    def _follow(self, fills: Path, opened: ExitStack) -> None:
        from alpha_cli.stream.follow import Follower

        self._follower = Follower(fills, _report)
        opened.callback(self._follower.close)

    def _hear(self, most: int | None = 100_000) -> None:
        """Give the engine the requests of people, and about `most` of the events that are followed."""
        if self._requests is not None:
            for control in self._requests:
                self._engine.on_side_event(control)
            self._store.requests_offset = self._requests.offset
        if self._follower is not None:
            for event in self._follower.poll(most):
                self._engine.on_side_event(event)


def _apply_limits(store: Any, limits: RiskFile, acknowledged: str | None) -> None:
    """Apply the limits in the name of the user who starts the stage; only here, at the edge, is the clock read."""
    from alpha_cli.stages.risk.governance import apply_limits

    changes = apply_limits(store, limits, acknowledged, at=datetime.now(IST), by=user())
    if changes:
        more = f", and {len(changes) - 3} more" if len(changes) > 3 else ""
        _report(f"limits changed: {'; '.join(changes[:3])}{more}")


def _report(message: str) -> None:
    log_line(f"alpha risk: {printable(message, 500)}")
