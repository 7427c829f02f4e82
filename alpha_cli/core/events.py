"""The wire: every event that stages exchange. `codec` turns an event into its line and back.

This module defines the wire format. One JSON object a line, `type` first; times are RFC 3339
with an offset (a naive one is Asia/Kolkata); prices are rupees with at most four decimals; quantities
are units of the instrument. Market data travels as floats, money as `Decimal`, both as JSON numbers.
"""

from __future__ import annotations

from datetime import date as datetime_date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Protocol, TypeAlias

import msgspec
from msgspec import Meta, Struct

WIRE = 1

#: The names of all brokers, also of those that a later version brings.
BROKERS = ("paper", "zerodha")

Token: TypeAlias = Annotated[int, Meta(gt=0, lt=1 << 32, description="Kite's 32-bit instrument token")]
Time: TypeAlias = Annotated[datetime, Meta(tz=True, description="RFC 3339 with an offset")]
TickPrice: TypeAlias = Annotated[float, Meta(gt=0, lt=1e12, description="rupees")]
Quantity: TypeAlias = Annotated[int, Meta(ge=-(10**12), le=10**12, description="units of the instrument")]
Volume: TypeAlias = Annotated[int, Meta(ge=0, le=(1 << 63) - 1, description="units of the instrument")]
Percent: TypeAlias = Annotated[float, Meta(gt=0, lt=100, description="percent")]
Rupees: TypeAlias = Annotated[Decimal, Meta(description="rupees, at most four decimals")]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
Side: TypeAlias = Literal["BUY", "SELL"]
SignalType: TypeAlias = Literal["BUY", "SELL", "HOLD"]
OrderType: TypeAlias = Literal["MARKET", "LIMIT", "SL", "SL-M"]
Product: TypeAlias = Literal["MIS", "CNC", "NRML"]
Validity: TypeAlias = Literal["DAY", "IOC"]


def _written(default: Any) -> Any:
    """Return a field whose default is written to the wire too: an order line should be complete by itself."""
    return msgspec.field(default_factory=(lambda: [*default]) if isinstance(default, list) else lambda: default)


class Ohlc(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The day so far, in rupees. `close` is the previous day's, as Kite sends it."""

    open: float
    high: float
    low: float
    close: float


class Level(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One price level of the order book."""

    price: float
    quantity: Volume
    orders: Volume = 0


class Depth(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The order book, best level first."""

    buy: tuple[Level, ...]
    sell: tuple[Level, ...]


class TickLike(Protocol):
    """What every view of a tick has; a stage decodes only the fields that it needs."""

    @property
    def instrument_token(self) -> int: ...
    @property
    def timestamp(self) -> datetime: ...
    @property
    def last_price(self) -> float: ...


class Event(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A line of the wire; each subclass is one `type`."""


class Hello(Event, frozen=True, tag="hello"):
    """The start of a session. A stream that begins with it must end with `eof`."""

    wire: int
    source: str
    version: str


class Tick(Event, frozen=True, tag="tick", gc=False):
    """One market data update of one instrument, names as the Kite client gives them."""

    instrument_token: Token
    timestamp: Time  # the exchange's
    last_price: TickPrice
    symbol: str | None = None
    received_at: Time | None = None
    volume_traded: Volume = 0
    average_traded_price: float | None = None
    last_traded_quantity: Volume | None = None
    total_buy_quantity: Volume | None = None
    total_sell_quantity: Volume | None = None
    oi: Volume | None = None
    oi_day_high: Volume | None = None
    oi_day_low: Volume | None = None
    ohlc: Ohlc | None = None
    depth: Depth | None = None
    mode: Literal["ltp", "quote", "full"] | None = None
    tradable: bool | None = None
    change: float | None = None  # percent against the previous close
    last_trade_time: Time | None = None


class Bar(Event, frozen=True, tag="bar", gc=False):
    """Open, high, low, close of one instrument over [start, end)."""

    instrument_token: Token
    start: Time
    end: Time
    interval: str
    open: float
    high: float
    low: float
    close: float
    volume: Volume = _written(0)
    ticks: int = _written(0)  # 0: nothing traded, the prices are the last close


class Signal(Event, frozen=True, tag="signal"):
    """A trade that a strategy asks for, before risk has checked it."""

    signal_id: Name
    strategy_id: Name
    instrument_token: Token
    signal_type: SignalType
    timestamp: Time
    broker: Name
    quantity: Quantity | None = None
    price: Rupees | None = None
    confidence: Annotated[float, Meta(ge=0, le=1)] | None = None
    order_type: OrderType = _written("MARKET")
    product: Product = _written("MIS")
    reasoning: str | None = None
    metadata: dict[str, Any] = {}


class Order(Event, frozen=True, tag="order"):
    """An order that risk has passed."""

    order_id: Name
    signal_id: Name
    strategy_id: Name
    broker: Name
    instrument_token: Token
    side: Side
    quantity: Annotated[int, Meta(gt=0, le=10**12)]
    timestamp: Time
    order_type: OrderType = _written("MARKET")
    price: Rupees | None = None
    trigger_price: Rupees | None = None
    product: Product = _written("MIS")
    validity: Validity = _written("DAY")
    reference_price: Rupees | None = None
    parent_order_id: Name | None = None
    limits_hash: str | None = None
    market_protection: Percent | None = None  # how far from the last price a MARKET order may be filled
    confidence: float | None = None
    metadata: dict[str, Any] = {}


class Cancel(Event, frozen=True, tag="cancel"):
    """A request to cancel a resting order."""

    order_id: Name
    reason: str | None = None
    timestamp: Time | None = None


class Modify(Event, frozen=True, tag="modify"):
    """A request to change a resting order; absent fields stay as they are."""

    order_id: Name
    quantity: Quantity | None = None
    price: Rupees | None = None
    trigger_price: Rupees | None = None
    order_type: OrderType | None = None
    reason: str | None = None
    timestamp: Time | None = None


class Denial(Event, frozen=True, tag="denial"):
    """A signal that risk refused: a stable code, the limit and the observed value."""

    signal_id: Name
    strategy_id: Name
    broker: Name
    code: str
    message: str
    timestamp: Time | None = None
    limit: int | float | str | None = None
    observed: int | float | str | None = None
    instrument_token: Token | None = None
    order_id: Name | None = None  # of an order or a modification that was refused


class OrderUpdate(Event, frozen=True, tag="order_update"):
    """The new status of an order, in Kite's terms: OPEN, TRIGGER PENDING, COMPLETE, CANCELLED, REJECTED, …"""

    order_id: Name
    broker: Name
    status: str
    signal_id: Name | None = None
    strategy_id: Name | None = None
    instrument_token: Token | None = None
    side: Side | None = None
    broker_order_id: str | None = None
    filled_quantity: Volume = _written(0)
    pending_quantity: Volume = _written(0)
    average_price: Rupees | None = None
    code: str | None = None  # the reason, unless it is the market
    message: str | None = None
    timestamp: Time | None = None


class Fill(Event, frozen=True, tag="fill"):
    """A trade. `charges` maps each charge to rupees and carries their `total`."""

    fill_id: Name
    order_id: Name
    signal_id: Name
    strategy_id: Name
    broker: Name
    instrument_token: Token
    side: Side
    quantity: Annotated[int, Meta(gt=0, le=10**12)]
    price: Rupees
    charges: dict[str, Rupees]
    timestamp: Time
    product: Product = _written("MIS")
    confidence: float | None = None
    metadata: dict[str, Any] = {}


class ContractNote(Event, frozen=True, tag="contract_note"):
    """The cost of all trades of a day, rounded as on the broker's contract note, plus the charges of its ledger.

    `adjustment` is the difference to what was charged before, on the fills and by earlier notes.
    """

    broker: Name
    date: datetime_date
    charges: dict[str, Rupees]
    adjustment: Rupees
    fills: int
    timestamp: Time | None = None


class Position(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line of a portfolio. `quantity` is signed; prices are rupees a unit."""

    instrument_token: Token
    quantity: Quantity
    average_price: Rupees
    realised_pnl: Rupees
    unrealised_pnl: Rupees
    last_price: Rupees | None = None
    product: Product = _written("MIS")


class Portfolio(Event, frozen=True, tag="portfolio"):
    """The books of one broker account: equity = cash + Σ quantity × last price."""

    broker: Name
    cash: Rupees
    equity: Rupees
    realised_pnl: Rupees  # gross of charges, by average cost
    unrealised_pnl: Rupees
    charges: Rupees
    timestamp: Time | None = None
    positions: list[Position] = _written([])


class Gap(Event, frozen=True, tag="gap"):
    """A stretch of the stream in which ticks are missing."""

    reason: str
    from_: Time | None = msgspec.field(name="from", default=None)
    to: Time | None = None
    count: int | None = None


#: `control.by` of what run-strategy did by itself. No stage obeys such a line as a request.
RUNNER = "run-strategy"

#: `control.by` of what risk did by itself or because of a side input; only risk reads it.
RISK = "risk"


class Control(Event, frozen=True, tag="control"):
    """A request of a person, recorded in the stream; or its result, if `by` is `RUNNER` or `RISK`.

    halt, reduce, resume and rearm are for risk; pause, resume, reload and set for run-strategy.
    """

    action: Literal["halt", "reduce", "resume", "rearm", "pause", "reload", "set"]
    target: str | None = None
    by: str | None = None
    reason: str | None = None
    value: Any = None
    timestamp: Time | None = None


class Eof(Event, frozen=True, tag="eof"):
    """The end of a session; `code` is the exit code of every stage that reads it."""

    ok: bool
    code: Annotated[int, Meta(ge=0, le=255)]
    reason: str | None = None
    count: int | None = None


class Unknown(Struct, frozen=True):
    """A well-formed line whose `type` this version does not know: it passes through unchanged."""

    type: str
    raw: bytes


#: type name -> class, in the order of the contract's table.
TYPES: dict[str, type[Event]] = {
    str(cls.__struct_config__.tag): cls
    for cls in (
        Hello, Tick, Bar, Signal, Order, Cancel, Modify, Denial, OrderUpdate, Fill, ContractNote, Portfolio, Gap,
        Control, Eof,
    )
}  # fmt: skip

#: Types in which a repeated key is refused, because either value could be the intended one.
MONEY: frozenset[type] = frozenset({Signal, Order, Cancel, Modify, OrderUpdate, Fill, ContractNote, Control})
