"""For tests of your own: ticks from prices, pipelines in a line, and a desk that you feed by hand.

    from alpha_cli import Fill
    from alpha_cli.testing import Desk, pipeline, ticks

    fills = pipeline("run-strategy --config dip.yaml | risk | paper", ticks([100, 99, 101]), Fill, feedback=True)

    with Desk("risk | paper") as desk:
        desk.tick(100)
        desk.signal("BUY", 10)
        assert desk.position() == 10

What runs is what the command line runs, in this process. The settings of the machine are left out: of the
`ALPHA_…` variables only ALPHA_CONFIG_DIR counts, so neither a state folder nor an instrument master of yours
is used, unless the pipeline itself names one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeVar, overload

from alpha_cli.cli.library import PipelineRun, opened
from alpha_cli.core.events import Event, Fill, Order, Signal, Tick
from alpha_cli.core.times import IST
from alpha_cli.stream.batch import batch_of

Kind = TypeVar("Kind")

NIFTY = 256265  # the token of the index NIFTY 50
OPENING = datetime(2026, 1, 5, 9, 15, tzinfo=IST)  # a Monday


def ticks(
    prices: Iterable[float], *, token: int = NIFTY, start: datetime = OPENING, step: float = 1.0, **fields: Any
) -> list[Tick]:
    """Return a tick for each of `prices` (rupees), `step` seconds apart; `fields` are the same in all."""
    return [
        Tick(instrument_token=token, timestamp=start + timedelta(seconds=place * step), last_price=price, **fields)
        for place, price in enumerate(map(float, prices))
    ]


@overload
def pipeline(stages: str, events: Iterable[Event], *, feedback: bool = False) -> list[Any]: ...
@overload
def pipeline(stages: str, events: Iterable[Event], *kinds: type[Kind], feedback: bool = False) -> list[Kind]: ...
def pipeline(stages: str, events: Iterable[Event], *kinds: type[Any], feedback: bool = False) -> list[Any]:
    """Return what comes out of `stages` ("run-strategy momentum | risk") when `events` go in; only `kinds`, if given.

    `feedback` is that of `alpha pipe`: fills reach strategies and risk before the next event. Raise `AlphaError`.
    """
    with _no_settings_of_the_machine():
        made = list(opened(stages, feedback=feedback).run(batch_of([event]) for event in events))
    return [event for event in made if isinstance(event, kinds)] if kinds else made


class Desk:
    """A pipeline that is fed by hand: `Desk("paper")` takes orders, `Desk("risk | paper")` signals.

    Each method returns the events that the stages added. Time begins at `start`; each tick but the first comes
    `step` seconds after the one before. Signals and orders have the time of the last tick. Raise `AlphaError`.
    """

    def __init__(
        self,
        stages: str = "paper",
        *,
        token: int = NIFTY,
        start: datetime = OPENING,
        step: float = 1.0,
        feedback: bool = True,
    ) -> None:
        self.now = start
        self.events: list[Any] = []
        self._token = token
        self._step = timedelta(seconds=step)
        self._ticks = self._requests = 0
        self._run: PipelineRun | None
        with _no_settings_of_the_machine():
            self._run = opened(stages, feedback=feedback)

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        if self._run is not None:
            self._run.release()
            self._run = None

    def tick(self, price: float, *, token: int | None = None, **fields: Any) -> list[Any]:
        """Send a tick at `price` rupees; `fields` are others of a `Tick`."""
        if self._ticks:
            self.now += self._step
        self._ticks += 1
        return self.send(
            Tick(instrument_token=token or self._token, timestamp=self.now, last_price=float(price), **fields)
        )

    def signal(
        self,
        side: Literal["BUY", "SELL", "HOLD"],
        quantity: int | None = None,
        *,
        price: Decimal | float | None = None,
        token: int | None = None,
        **fields: Any,
    ) -> list[Any]:
        """Send a signal of strategy `test` for broker `paper`; with a `price` it is for a LIMIT order."""
        self._requests += 1
        values: dict[str, Any] = {
            "signal_id": f"s{self._requests}", "strategy_id": "test", "broker": "paper", **_limit(price), **fields,
        }  # fmt: skip
        return self.send(
            Signal(
                instrument_token=token or self._token, signal_type=side, quantity=quantity, timestamp=self.now, **values
            )
        )

    def order(
        self,
        side: Literal["BUY", "SELL"],
        quantity: int,
        *,
        price: Decimal | float | None = None,
        token: int | None = None,
        **fields: Any,
    ) -> list[Any]:
        """Send an order of strategy `test` for broker `paper`; with a `price` it is a LIMIT order."""
        self._requests += 1
        values: dict[str, Any] = {
            "order_id": f"o{self._requests}", "signal_id": f"s{self._requests}", "strategy_id": "test",
            "broker": "paper", **_limit(price), **fields,
        }  # fmt: skip
        return self.send(
            Order(instrument_token=token or self._token, side=side, quantity=quantity, timestamp=self.now, **values)
        )

    def send(self, *events: Event) -> list[Any]:
        """Send `events`, one after another; what passes through unchanged is not returned."""
        return self._kept(made for event in events for made in self._running().take(batch_of([event])) if made != event)

    def close(self) -> list[Any]:
        """End the session; paper then writes its portfolio. The desk takes nothing more."""
        made = self._kept(self._running().finish())
        self.__exit__()
        return made

    @property
    def fills(self) -> list[Fill]:
        """The trades so far."""
        return [event for event in self.events if isinstance(event, Fill)]

    def position(self, token: int | None = None) -> int:
        """Return the units held by the fills so far, negative when short."""
        held = [fill for fill in self.fills if fill.instrument_token == (token or self._token)]
        return sum(fill.quantity if fill.side == "BUY" else -fill.quantity for fill in held)

    def _kept(self, made: Iterable[Any]) -> list[Any]:
        begin = len(self.events)
        with _no_settings_of_the_machine():  # a stage may look something up only when it needs it
            self.events.extend(made)
        return self.events[begin:]

    def _running(self) -> PipelineRun:
        if self._run is None:
            raise ValueError("the desk is closed")
        return self._run


def _limit(price: Decimal | float | None) -> dict[str, Any]:
    if price is None:
        return {}
    return {"order_type": "LIMIT", "price": price if isinstance(price, Decimal) else Decimal(str(price))}


@contextmanager
def _no_settings_of_the_machine() -> Iterator[None]:
    before = {name: value for name, value in os.environ.items() if name.startswith("ALPHA_")}
    for name in before.keys() - {"ALPHA_CONFIG_DIR", "ALPHA_DEBUG"}:
        del os.environ[name]
    os.environ["ALPHA_INSTRUMENTS"] = ""  # none, also where alpha instruments made one
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("ALPHA_")]:
            del os.environ[name]
        os.environ.update(before)
