"""The settings of risk: `risk.yaml`.

Four levels, `account`, `brokers`, `strategies` and `instruments`; the tightest applies (`resolve`). A setting left out
is unset: off for `paper`, a refusal for any other broker. `off` is a value too, where a control may be disabled.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from alpha_cli.config.files import find_config
from alpha_cli.config.model import BrokerName, Strict, read_config
from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.events import BROKERS, OrderType, Product
from alpha_cli.core.text import did_you_mean, printable
from alpha_cli.stages.risk.limits import PAPER

#: Rupees that one order may be worth whatever is set: the exchanges' own ceiling.
#: Source: SEBI CIR/MRD/DP/34/2012, ten crore an order.
HIGHEST_ORDER_VALUE = 100_000_000

#: Messages that Kite takes in a second, a minute and a day. Source: kite.trade forum, discussion 16217.
KITE_RATE = (10, 400, 5_000)

#: A token, a key, or the beginning of one: 256265, NSE:INFY, NFO:NIFTY*
_PATTERN = re.compile(r"[1-9][0-9]{0,9}|[A-Z]{2,5}:[^\s:*]{0,64}\*?")

_NUMBER = {"strict": True}  # `yes` is no number


def _switch(value: Any) -> Any:
    """Return a limit that may be `off`, which YAML reads as false; refuse true and zero."""
    if value is True or (value is not False and value == 0):
        raise ValueError("write a value above 0, or off")
    return value


def _pattern(name: Any) -> str:
    """Return an instrument as it is named in limits; refuse other text."""
    text = str(name)
    if isinstance(name, bool) or not _PATTERN.fullmatch(text) or text.endswith(":"):
        raise ValueError("write a token, EXCHANGE:SYMBOL, or the beginning of one as in NFO:NIFTY*")
    return text


Units = Annotated[int, Field(gt=0, le=10**12, **_NUMBER)]
Count = Annotated[int, Field(gt=0, le=10**9, **_NUMBER)]
Messages = Annotated[int, Field(ge=2, le=10**9, **_NUMBER)]
Amount = Annotated[Decimal, Field(gt=0, le=10**12, decimal_places=4)]
Fraction = Annotated[Decimal, Field(gt=0, le=1, decimal_places=6)]
Seconds = Annotated[Decimal, Field(gt=0, le=86_400, decimal_places=3)]
Minutes = Annotated[int, Field(ge=0, le=600, **_NUMBER)]
Yes = Annotated[bool, Field(strict=True)]
Off = Annotated[Literal[False], Tag("off")]

#: For a value that may be `off`: any other is checked as its own type, so that errors do not mention `off`.
_OR_OFF = Discriminator(lambda value: "off" if value is False else "set")
Pattern = Annotated[str, BeforeValidator(_pattern)]
Patterns = Annotated[tuple[Pattern, ...], AfterValidator(lambda names: tuple(sorted(set(names))))]


class Tolerance(Strict):
    """How far beyond the last price, on its worse side, the price of an order may be, by kind of instrument.

    Source of the kinds and of the shape for options: limit price protection of BSE and NSE.
    """

    equity: Fraction | None = None
    index_future: Fraction | None = None
    stock_future: Fraction | None = None
    option: Fraction | None = Field(None, description="of the premium; of 50 rupees where that is less")


class EntryWindow(Strict):
    """Minutes of a session in which no position may be opened."""

    after_open: Minutes = 0
    before_close: Minutes = 0


class MessageRate(Strict):
    """New orders, modifications and cancels. A fifth, rounded up, is kept for cancels, which always pass."""

    second: Messages
    minute: Messages
    day: Messages


class RepeatedExecution(Strict):
    """When a strategy loops: it is stopped until `alpha rearm`."""

    orders: Count = Field(description="on one side of one instrument, filled or open")
    seconds: Seconds
    round_trips: Count = Field(description="from flat back to flat, in one instrument and day")


class OrdersToTrades(Strict):
    """Messages for each order that traded, after the first `after` messages of a day."""

    ratio: Count
    after: Annotated[int, Field(ge=0, le=10**6, **_NUMBER)] = 50


class Participation(Strict):
    """Shares of the traded volume."""

    day: Fraction | None = Field(None, description="of `average_daily_volume` of the instrument")
    minute: Fraction | None = Field(None, description="of the newest 1m bar in the stream (alpha bars)")


class Fixed(Strict):
    """The same quantity each time."""

    rule: Literal["fixed"]
    quantity: Units


class Notional(Strict):
    """As many units as the amount buys."""

    rule: Literal["notional"]
    rupees: Amount


class PercentOfEquity(Strict):
    """As many units as a share of the account's equity buys."""

    rule: Literal["percent_of_equity"]
    percent: Annotated[Decimal, Field(gt=0, le=1000, decimal_places=4)]


class VolatilityTarget(Strict):
    """Units for which the daily standard deviation of the position is a share of the account's equity.

    The volatility is that of the last `bars` bars of `interval` in the stream (alpha bars).
    """

    rule: Literal["volatility_target"]
    percent: Annotated[Decimal, Field(gt=0, le=100, decimal_places=4)]
    interval: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}(s|m|h|d)$")] = "5m"
    bars: Annotated[int, Field(ge=3, le=10_000, **_NUMBER)] = 75


Sizing = Annotated[Fixed | Notional | PercentOfEquity | VolatilityTarget, Field(discriminator="rule")]


def _of_kinds(value: Any) -> Any:
    """Return a single fraction as the tolerance of every kind."""
    if isinstance(value, dict | Tolerance) or value is None:
        return value
    return dict.fromkeys(Tolerance.model_fields, value)


class InstrumentLevel(Strict):
    """Settings of every level."""

    max_order_quantity: Units | None = Field(None, description="units in one order")
    max_order_value: Annotated[Amount, Field(le=HIGHEST_ORDER_VALUE)] | None = Field(
        None, description="rupees in one order"
    )
    max_slices: Annotated[int, Field(gt=0, le=100, **_NUMBER)] | None = Field(
        None, description="slices of an order above the freeze quantity"
    )
    max_position: Units | None = Field(None, description="units long or short in one instrument, worst case")
    max_open_order_value: Amount | None = Field(None, description="rupees of open orders")
    max_turnover: Amount | None = Field(None, description="rupees traded in a day, open orders included")
    max_gross_exposure: Amount | None = Field(None, description="rupees of all positions, worst case")
    max_net_exposure: Amount | None = Field(None, description="rupees long less short, worst case")
    price_tolerance: Annotated[Tolerance, BeforeValidator(_of_kinds)] | None = Field(
        None, description="fraction of the last price, on the worse side of it"
    )
    market_protection: (
        Annotated[Annotated[Fraction, Field(lt=1), Tag("set")] | Off, _OR_OFF, BeforeValidator(_switch)] | None
    ) = Field(
        None, description="fraction beyond the last price at which a MARKET order may be filled; off: no MARKET orders"
    )
    session_hours: Yes | None = Field(None, description="only in the continuous session")
    entry_window: EntryWindow | None = Field(
        None, description="minutes without entries after the opening and before the close"
    )
    expiry_day_entries: Yes | None = Field(None, description="whether positions may be opened on the expiry day")
    max_tick_age: Seconds | None = Field(None, description="seconds since the last tick of the instrument, for entries")
    signal_ttl: Seconds | None = Field(None, description="seconds that a signal is valid")
    duplicate_window: Seconds | None = Field(
        None, description="seconds in which the same order is refused as a repetition"
    )
    confirm_within: Seconds | None = Field(None, description="seconds within which the broker must report on an order")
    self_match_prevention: Yes | None = Field(None, description="refuse an order that would trade with an own order")
    products: tuple[Product, ...] | None = Field(None, description="MIS, CNC, NRML")
    order_types: tuple[OrderType, ...] | None = Field(None, description="MARKET, LIMIT")
    participation: Annotated[Annotated[Participation, Tag("set")] | Off, _OR_OFF, BeforeValidator(_switch)] | None = (
        Field(None, description="shares of the volume traded; or off")
    )
    max_modifications: Annotated[int, Field(gt=0, le=25, **_NUMBER)] | None = Field(
        None, description="modifications of one order (Kite takes 25)"
    )


class OneInstrument(InstrumentLevel):
    """Limits of one instrument, or of all that a pattern matches."""

    average_daily_volume: Units | None = Field(None, description="units, for `participation`")


class StrategyLevel(InstrumentLevel):
    """Limits of one strategy, on each broker by itself."""

    allowed_instruments: Patterns | None = Field(None, description="the only instruments that may be traded")
    restricted_instruments: Patterns | None = Field(
        None, description="instruments that may not be traded: banned, T2T, illiquid"
    )
    max_daily_loss: Amount | None = Field(
        None, description="rupees a day, open positions at market price, charges included"
    )
    max_drawdown: Amount | None = Field(None, description="rupees from the peak of equity")
    repeated_execution: RepeatedExecution | None = Field(None, description="what counts as a loop")
    max_consecutive_rejects: Count | None = Field(None, description="consecutive rejections by the broker")
    message_rate: MessageRate | None = Field(None, description="messages in a second, a minute, a day")
    orders_to_trades: OrdersToTrades | None = Field(None, description="messages for each trade")
    max_funds_share: Fraction | None = Field(None, description="fraction of the available funds, for entries")
    sizing: Sizing | None = Field(None, description="rule for the quantity of a signal without one")


class BrokerLevel(StrategyLevel):
    """Limits of one broker account; under `account`, of every account."""

    assume_market_fills: Yes | None = Field(
        None, description="paper only: a MARKET order counts as filled at the last price until a report says otherwise"
    )
    circuit_limits: Yes | None = Field(None, description="prices within the day's circuit limits (execute)")
    max_funds_age: Seconds | None = Field(None, description="seconds that a funds figure is valid (execute)")
    reconcile: Yes | None = Field(
        None, description="no entries while an outcome is unknown or positions differ (execute)"
    )
    max_heartbeat_age: Seconds | None = Field(None, description="seconds that feed or risk may be silent (execute)")
    max_clock_skew: Seconds | None = Field(None, description="seconds between clock and exchange (execute)")
    max_clock_jump: Seconds | None = Field(None, description="seconds that the clock may jump (execute)")
    algo_id: (
        Annotated[
            Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$"), Tag("set")] | Off, _OR_OFF, BeforeValidator(_switch)
        ]
        | None
    ) = Field(None, description="the exchange's id of the algorithm; or off (execute)")
    registered_ip: (
        Annotated[
            Annotated[str, Field(pattern=r"^[0-9A-Fa-f:.]{2,45}$"), Tag("set")] | Off, _OR_OFF, BeforeValidator(_switch)
        ]
        | None
    ) = Field(None, description="the IP address that orders leave from; or off (execute)")


class RiskFile(Strict):
    """`risk.yaml`."""

    account: BrokerLevel = BrokerLevel()
    brokers: dict[BrokerName, BrokerLevel] = {}
    strategies: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")], StrategyLevel] = {}
    instruments: dict[Pattern, OneInstrument] = {}

    def levels(self) -> dict[str, InstrumentLevel]:
        """Return every level by its name in the file."""
        return {
            "account": self.account,
            **{f"brokers.{name}": level for name, level in self.brokers.items()},
            **{f"strategies.{name}": level for name, level in self.strategies.items()},
            **{f"instruments.{name}": level for name, level in self.instruments.items()},
        }

    def _likely(self, strategy_id: str) -> str | None:
        """Return the name under `strategies` that was probably meant, for a strategy without limits of its own."""
        from difflib import get_close_matches

        if strategy_id in self.strategies:
            return None
        bare = _unnumbered(strategy_id)  # momentum_2 is a different strategy than momentum_1, not a misspelling
        others = sorted(name for name in self.strategies if _unnumbered(name) != bare)
        return next(iter(get_close_matches(strategy_id, others, n=1, cutoff=0.8)), None)

    def misspelling_hint(self, strategy_id: str) -> str | None:
        """Return a hint for a strategy whose name is nearly one that has limits of its own."""
        meant = self._likely(strategy_id)
        if meant is None:
            return None
        return f"strategy {printable(strategy_id, 64)} has no limits of its own; did you mean strategies.{meant}?"

    @property
    def live(self) -> list[str]:
        """The brokers named here that trade real money."""
        return sorted(name for name in self.brokers if name != PAPER)


def _unnumbered(name: str) -> str:
    return re.sub(r"[\d_.-]+", "", name)


def load_limits(path: Path | None) -> RiskFile:
    """Return the limits in the file at `path`, or in the nearest `risk.yaml`. Raises `ConfigurationError`."""
    path = path or find_config("risk.yaml")
    limits = read_config(path, RiskFile)
    check(limits, str(path))
    return limits


def check(limits: RiskFile, where: str) -> None:
    """Check what the type of a single value cannot show. Raises `ConfigurationError`."""
    for broker in limits.brokers:
        if broker not in BROKERS:  # a misspelled name would leave the broker without limits
            raise ConfigurationError(f"{where}: brokers.{broker}: no such broker{did_you_mean(broker, BROKERS)}")
    for name, level in limits.levels().items():
        for listed, known in (("products", get_args(Product)), ("order_types", get_args(OrderType))):
            if getattr(level, listed) == ():
                raise ConfigurationError(f"{where}: {name}.{listed}: an empty list; name some of {', '.join(known)}")
        if level.order_types and not {"MARKET", "LIMIT"}.intersection(level.order_types):
            raise ConfigurationError(f"{where}: {name}.order_types: signals carry no stops; name MARKET, LIMIT or both")
        if name != f"brokers.{PAPER}":
            if getattr(level, "assume_market_fills", None):
                raise ConfigurationError(f"{where}: {name}.assume_market_fills: only for brokers.{PAPER}; take it out")
            if limits.live:
                _check_rate(level, f"{where}: {name}")


def _check_rate(level: InstrumentLevel, where: str) -> None:
    """Refuse a level for real orders that allows more messages than the broker does."""
    rate: MessageRate | None = getattr(level, "message_rate", None)
    for field, most in zip(("second", "minute", "day"), KITE_RATE, strict=True):
        if rate is not None and getattr(rate, field) > most:
            raise ConfigurationError(
                f"{where}.message_rate.{field}: {getattr(rate, field)} is above the broker's own limit of {most}; "
                f"write at most that (brokers.{PAPER} may have more)"
            )
