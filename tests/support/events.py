"""Events made in a line, and streams of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from alpha_cli.core.codec import encode
from alpha_cli.core.events import Eof, Event, Hello, Order, Signal, Tick, Unknown
from alpha_cli.core.times import IST

START = datetime(2024, 6, 3, 9, 15, tzinfo=IST)  # a Monday, the first moment of the session
NIFTY, BANK = 256265, 260105  # what the packaged strategies follow


def tick(at: float = 0, price: float = 100.0, token: int = NIFTY, **fields: Any) -> Tick:
    """A tick `at` seconds after the session opened."""
    return Tick(instrument_token=token, timestamp=START + timedelta(seconds=at), last_price=price, **fields)


def ticks(count: int, tokens: Sequence[int] = (NIFTY,), step: float = 1) -> list[Tick]:
    """`count` ticks, the tokens in turn, with prices that move enough for momentum to speak."""
    return [
        tick(number * step, 100 + (number * 7 % 50) / 10 + (number // 40 % 5), tokens[number % len(tokens)])
        for number in range(count)
    ]


def signal(number: int = 1, at: float = 0, side: str = "BUY", quantity: int | None = 1, **fields: Any) -> Signal:
    """The signal `s<number>` of strategy `test` for broker `paper`."""
    values: dict[str, Any] = {"strategy_id": "test", "instrument_token": NIFTY, "broker": "paper", **fields}
    return Signal(
        signal_id=f"s{number}", signal_type=side, timestamp=START + timedelta(seconds=at), quantity=quantity, **values
    )


def order(number: int = 1, at: float = 0, side: str = "BUY", quantity: int = 1, **fields: Any) -> Order:
    """The order `o<number>` for broker `paper`."""
    values: dict[str, Any] = {
        "signal_id": f"s{number}", "strategy_id": "test", "instrument_token": NIFTY, "broker": "paper", **fields,
    }  # fmt: skip
    return Order(order_id=f"o{number}", side=side, quantity=quantity, timestamp=START + timedelta(seconds=at), **values)


HELLO = Hello(wire=1, source="test", version="0")


def stream(events: Iterable[Event | Unknown | bytes] = (), *, hello: bool = True, eof: int | None = 0) -> bytes:
    """The bytes of `events` (raw lines may stand among them) as one session; `eof` is its code, None for no eof."""
    lines = [event if isinstance(event, bytes) else encode(event) for event in events]
    if hello:
        lines.insert(0, encode(HELLO))
    if eof is not None:
        lines.append(encode(Eof(ok=eof == 0, code=eof)))
    return b"".join(line + b"\n" for line in lines)
