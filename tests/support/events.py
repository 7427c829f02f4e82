"""Events made in a line, and streams of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from alpha_cli.core.codec import encode
from alpha_cli.core.events import (
    Bar,
    Cancel,
    ContractNote,
    Control,
    Denial,
    Depth,
    Eof,
    Event,
    Fill,
    Gap,
    Hello,
    Level,
    Modify,
    Ohlc,
    Order,
    OrderUpdate,
    Portfolio,
    Position,
    Signal,
    Tick,
    Unknown,
)
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


FULL_TICK = tick(
    price=100.05, symbol="NIFTY 50", received_at=START, volume_traded=7, average_traded_price=99.5,
    last_traded_quantity=1, total_buy_quantity=0, total_sell_quantity=3, oi=4, oi_day_high=5, oi_day_low=6,
    ohlc=Ohlc(1.0, 2.0, 0.5, 1.5), depth=Depth((Level(100.0, 5, 2),), (Level(100.1, 6),)), mode="full", tradable=False,
    change=-0.25, last_trade_time=START,
)  # fmt: skip
ONE_OF_EACH: list[Event] = [
    Hello(wire=1, source="test", version="0"),
    FULL_TICK,
    Bar(instrument_token=1, start=START, end=START + timedelta(minutes=1), interval="1m",
        open=1.0, high=2.0, low=0.5, close=1.5, volume=10, ticks=3),
    signal(price=Decimal("72.755"), confidence=0.5, reasoning="₹", metadata={"a": [1, {"b": None}]}),
    order(price=Decimal("0.05"), trigger_price=Decimal(1), order_type="SL", validity="IOC",
          reference_price=Decimal("100.1"), parent_order_id="p", limits_hash="h", confidence=1.0, metadata={"x": 1.5}),
    Cancel(order_id="o1", reason="late", timestamp=START),
    Modify(order_id="o1", quantity=-2, price=Decimal("1.25"), trigger_price=Decimal(2), order_type="SL-M",
           reason="better", timestamp=START),
    Denial(signal_id="s1", strategy_id="test", broker="paper", code="HALTED", message="no", timestamp=START,
           limit=1, observed="2"),
    OrderUpdate(order_id="o1", broker="paper", status="COMPLETE", signal_id="s1", strategy_id="test",
                broker_order_id="b", filled_quantity=1, pending_quantity=2, average_price=Decimal("1.5"),
                message="done", timestamp=START),
    Fill(fill_id="f1", order_id="o1", signal_id="s1", strategy_id="test", broker="paper", instrument_token=1,
         side="SELL", quantity=3, price=Decimal("72.755"), charges={"stt": Decimal("0.05"), "total": Decimal("0.05")},
         timestamp=START),
    ContractNote(broker="paper", date=date(2024, 6, 3), charges={"stt": Decimal(1), "total": Decimal(1)},
                 adjustment=Decimal("-0.0123"), fills=2, timestamp=START),
    Portfolio(broker="paper", cash=Decimal(1000000), equity=Decimal("999999.95"), realised_pnl=Decimal("-0.05"),
              unrealised_pnl=Decimal(0), charges=Decimal("0.05"), timestamp=START,
              positions=[Position(1, -5, Decimal("1.25"), Decimal(0), Decimal("-0.5"), Decimal("1.35"))]),
    Gap(reason="reconnect", from_=START, to=START, count=3),
    Control(action="set", target="risk", by="me", reason="why", value={"limit": 3}, timestamp=START),
    Eof(ok=False, code=77, reason="token expired", count=5),
]  # fmt: skip
