"""Everything a control may look at: one immutable `Facts` for an order or a modification, grouped by concern.

Only `FactsBuilder` makes one. Amounts are in ledger units (a hundredth of a paisa), durations in microseconds,
quantities in units of the instrument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from alpha_cli.core.events import OrderType, Product
from alpha_cli.stages.risk.counters import ExposureScope, Holding, OpenOrder, ScopeKey
from alpha_cli.stages.risk.journal import Repeated
from alpha_cli.stages.risk.limits import Limits
from alpha_cli.stages.risk.refusal import Refusal
from alpha_cli.stages.risk.trading_state import TradingState

if TYPE_CHECKING:
    from alpha_cli.market.contracts import Contract


class Level(Struct, frozen=True, eq=False):
    """Where limits apply: an account, a strategy on it, or an instrument on it.

    limits_exposure   whether gross or net exposure is limited here
    limits_losses     whether losses are limited here
    in_session        whether only prices of the continuous session count
    """

    key: ScopeKey
    name: str
    limits: Limits
    scope: ExposureScope
    limits_exposure: bool
    limits_losses: bool
    in_session: bool


class Request(Struct, frozen=True, gc=False, kw_only=True):
    """The order that is asked for.

    quantity       after sizing; None: the signal has none and no sizing rule gave one
    limit_price    None without one
    named_price    the price the strategy named: its limit, or the price it saw
    hold           whether the signal asks for no order
    unsized        why a sizing rule gave no quantity
    metadata_size  bytes of the signal's metadata
    messages       orders it is sent as: one for each slice
    repeated       the signal id was decided before: the `same` signal, or `other` content under its id
    """

    buy: bool
    quantity: int | None
    order_type: OrderType
    product: Product
    limit_price: int | None
    named_price: int | None
    hold: bool = False
    unsized: Refusal | None = None
    metadata_size: int = 0
    messages: int = 1
    repeated: Repeated | None = None


class Replaced(Struct, frozen=True, gc=False, kw_only=True):
    """The open order that a modification changes; all empty for a new order.

    quantity   its units that may still be filled
    value      what those are counted as now
    retyped    whether the modification names an order type or a trigger price
    """

    order: OpenOrder | None = None
    quantity: int = 0
    value: int = 0
    retyped: bool = False


class PriceFacts(Struct, frozen=True, gc=False, kw_only=True):
    """Prices and values.

    reference  the last price; None without one
    worst      what a unit may cost: the limit; for a MARKET order the last price plus its protection
    counted    units it is counted as: for a modification the larger of both quantities, since it may be refused
    value      `counted` at `worst`; None without a price
    """

    reference: int | None
    worst: int | None
    counted: int
    value: int | None


class TimeFacts(Struct, frozen=True, gc=False, kw_only=True):
    """Where signal and market data lie in time.

    A modification newer than the newest tick is judged at its own time: all but `now` and `signal_age` are of then.

    now           time of the newest tick, in microseconds since 1970
    signal_age    negative if the signal is later than the newest tick
    tick_age      since the last tick of the instrument; None without one, or if `max_tick_age` is not set
    gap           whether ticks are known to be missing since then
    outside       a time of the signal or the newest tick outside every continuous session
    into_session, to_close   since the opening and until the close of the session; None outside of one
    squared_off   whether the broker closes MIS positions by now
    past          whether the stream has gone back before the day whose counts are kept
    """

    now: int
    signal_age: int
    tick_age: int | None
    gap: bool
    outside: Outside | None
    into_session: int | None
    to_close: int | None
    squared_off: bool
    past: bool


class ExposureFacts(Struct, frozen=True, gc=False, kw_only=True):
    """What is held, and what the order would add to it.

    account, strategy   holdings of the instrument
    enlarges       whether the order can make the worst case larger, of the account and of the strategy
    by_level       level -> exposure with the order, where that is limited; None if the order adds nothing
    funds          available at the broker; None if not known
    open_value     value of the account's open orders
    minute_volume  units traded in the newest minute bar; None if not known
    """

    account: Holding
    strategy: Holding
    enlarges: tuple[bool, bool]
    by_level: dict[Level, Exposure] | None
    funds: int | None
    open_value: int
    minute_volume: int | None


class ConductFacts(Struct, frozen=True, gc=False, kw_only=True):
    """What the strategy and the account did before.

    duplicate_age    since the same order was entered; None: not within the window
    repeats          orders on this side that count as repetitions
    crosses          whether the order would trade with an own open order, at `opposite_price` (None: any price)
    unconfirmed_for  since the oldest order on the instrument without any report; None: there is none
    """

    duplicate_age: int | None
    repeats: int
    crosses: bool
    opposite_price: int | None
    unconfirmed_for: int | None


class StopFacts(Struct, frozen=True, gc=False, kw_only=True):
    """Which halts and trading states apply to an order.

    halted           why all trading, or that of the broker, is halted by a person
    strategy_halted  why the strategy is
    states           trading states of the account and of the strategy; None if both are ACTIVE
    """

    halted: str | None = None
    strategy_halted: str | None = None
    states: tuple[TradingState | None, TradingState | None] | None = None


#: For a new order, and for trading that is not stopped: the same object each time, since most orders need it.
NOTHING_REPLACED = Replaced()
NOT_STOPPED = StopFacts()


class Outside(NamedTuple):
    """A moment outside the continuous session of its day; `unknown` says why, if no calendar covers that day."""

    moment: datetime
    session: str
    unknown: str | None = None


class Exposure(Struct, frozen=True, gc=False):
    """Worst-case exposure of a level with the order, in ledger units; None: the order does not enlarge it."""

    gross: int | None
    net: int | None


class BrokerFacts(Struct, frozen=True, kw_only=True):
    """What only the broker, or the machine that trades, can report. None: not known.

    circuit         the day's lowest and highest price
    approved        units of the parent order, and units of its slices sent before
    unknown         orders on the instrument with an unknown outcome
    mismatches      consecutive comparisons with the broker that found a difference
    heartbeat_age   since the last sign of life of feed or risk
    clock_skew      difference between clock and exchange
    clock_jump      jump of the clock against the monotonic clock
    funds_age       since the funds were queried
    limits_hash     of the limits that the order passed, and of those loaded
    version         of the stage that made the order, and of this one
    algo_id         on the order
    address         that orders leave from
    """

    circuit: tuple[int, int] | None = None
    approved: tuple[int, int] | None = None
    unknown: int | None = None
    mismatches: int | None = None
    heartbeat_age: int | None = None
    clock_skew: int | None = None
    clock_jump: int | None = None
    funds_age: int | None = None
    limits_hash: tuple[str | None, str] | None = None
    version: tuple[str | None, str] | None = None
    algo_id: str | None = None
    address: str | None = None


class Facts(Struct, frozen=True, gc=False, kw_only=True):
    """An order, or a modification, that is to be decided on.

    limits     that apply to it: the tightest of all levels
    bounds     setting -> the levels that set it, with the limit of each
    contract   its instrument on the day
    strategy   the level of its strategy
    is_entry   whether it can open or enlarge a position of its strategy
    broker     None in a stream; filled in right before an order is sent
    """

    limits: Limits
    bounds: Mapping[str, Sequence[tuple[Level, Any]]]
    contract: Contract
    strategy: Level
    is_entry: bool
    request: Request
    price: PriceFacts
    time: TimeFacts
    exposure: ExposureFacts
    conduct: ConductFacts
    stops: StopFacts = NOT_STOPPED
    replaced: Replaced = NOTHING_REPLACED
    broker: BrokerFacts | None = None

    def holding_at(self, level: Level) -> Holding:
        """Return the holding of the order's instrument at `level`."""
        return self.exposure.strategy if level is self.strategy else self.exposure.account
