"""All that a control may look at. The engine gathers it, for an order or for a modification; controls change nothing.

Amounts are in ledger units (a hundredth of a paisa), durations in microseconds, quantities in units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from alpha_cli.core.events import OrderType, Product
from alpha_cli.core.money import UNITS
from alpha_cli.stages.risk.codes import Code
from alpha_cli.stages.risk.counters import Entry, Holding, Scope, ScopeKey
from alpha_cli.stages.risk.limits import Limits

if TYPE_CHECKING:
    from alpha_cli.market.contracts import Contract
    from alpha_cli.stages.risk.trading_state import Standing

Figure = int | float | str | None


class Refusal(NamedTuple):
    """Why not: a stable code, a sentence, the limit and what was observed against it."""

    code: Code
    message: str
    limit: Figure = None
    observed: Figure = None


class Outside(NamedTuple):
    """A moment outside the continuous session of its day; `unknown` says why, if no calendar covers that."""

    moment: datetime
    session: str
    unknown: str | None = None


class Level(Struct, frozen=True, eq=False):
    """What limits are held against: an account, a strategy on it, or an instrument on it.

    weighed, watched   whether exposure, or losses, are limited there
    in_session         whether only prices of the continuous session count
    """

    key: ScopeKey
    name: str
    limits: Limits
    scope: Scope
    weighed: bool
    watched: bool
    in_session: bool


class Exposure(Struct, gc=False):
    """Of a level, with the order, at worst; None: the order makes it no larger. In ledger units."""

    gross: int | None
    net: int | None


class BrokerFacts(Struct, frozen=True):
    """What only the broker, or the machine that trades, can tell. None: not known.

    circuit         the day's lowest and highest price
    approved        units of the parent order, and those of its slices that were sent before
    unknown         orders on the instrument whose outcome is not known
    mismatches      comparisons with the broker in a row that found a difference
    heartbeat_age   since feed or risk were heard of
    clock_skew      by how much clock and exchange differ
    clock_jump      by how much the clock jumped against one that only goes forward
    funds_age       since the funds were asked for
    limits_hash     of the limits that the order passed, and that are loaded
    version         of the stage that made the order, and of this one
    algo_id         that the order carries
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


class Facts(Struct, gc=False):
    """An order that is to be decided on.

    limits           what holds for it, of all levels the tightest
    bounds           setting -> the levels at which it is set, and the limit of each
    contract         what its instrument is on the day
    held, own        of its instrument, in the account and by the strategy
    quantity         units that may be filled of it; None: the signal did not say, and nobody did for it
    price            its limit, or None
    asked            what the strategy had in mind: its limit, or the price it saw
    reference        the last price; None without one
    worst            what a unit may cost: its limit; of a MARKET order the last price and its protection
    counted          units that it is counted as: of a modification the larger of both quantities, for it may be refused
    value            what those are worth, at worst; None without a price
    now              microseconds since 1970, the newest tick's time
    strategy         the level of its strategy
    halted           why trading is halted, by a person
    strategy_halted  why its strategy is
    standings        of its account and of its strategy, if either is not ACTIVE
    repeated         the signal was decided before: as it is (`same`), or another with its id (`other`)
    metadata         bytes of the signal's metadata
    hold             whether the signal asks for nothing
    signal_age       since the signal; negative if it is later than the newest tick
    unsized          why a sizing rule gave no quantity
    tick_age         since the last tick of the instrument
    gap              whether ticks are missing since then
    outside          a time of the signal that no continuous session contains
    into_session, to_close   since the opening, and until the close of the session; None: not in one
    past             whether the stream has gone back before the day whose counts are kept
    squared_off      whether the broker closes MIS positions by now
    entry            whether it can open or enlarge a position of its strategy
    enlarges         whether it can make the worst case of the account, and of the strategy, worse than it is
    replaces         the order that it modifies, if it is one that does
    retyped          whether a modification names an order type, or a trigger
    left             units of that order that may still be filled; `replaced` is what they are counted at now
    duplicate_age    since the same order was entered; None: not lately
    opposite         the best own price that it would trade with; None: there is none, or none known
    crosses          whether it would
    unconfirmed      since the oldest order on the instrument of which nothing was heard
    repeats          orders on this side that count as a repetition
    minute_volume    units of the newest minute
    exposures        level -> what it would come to, where that is limited
    funds            what is available
    committed        what the open orders of the account are worth
    messages         that it makes: one for each slice
    broker           what only the broker can tell; None in a stream
    """

    limits: Limits
    bounds: Mapping[str, Sequence[tuple[Level, Any]]]
    contract: Contract
    strategy: Level
    buy: bool
    quantity: int | None
    order_type: OrderType
    product: Product
    held: Holding
    own: Holding
    price: int | None
    asked: int | None
    reference: int | None
    worst: int | None
    counted: int
    value: int | None
    now: int
    halted: str | None = None
    strategy_halted: str | None = None
    standings: tuple[Standing | None, Standing | None] | None = None
    repeated: str | None = None
    metadata: int = 0
    hold: bool = False
    signal_age: int = 0
    unsized: Refusal | None = None
    tick_age: int | None = None
    gap: bool = False
    outside: Outside | None = None
    into_session: int | None = None
    to_close: int | None = None
    past: bool = False
    squared_off: bool = False
    entry: bool = True
    enlarges: tuple[bool, bool] = (True, True)
    replaces: Entry | None = None
    retyped: bool = False
    left: int = 0
    replaced: int = 0
    duplicate_age: int | None = None
    opposite: int | None = None
    crosses: bool = False
    unconfirmed: int | None = None
    repeats: int = 0
    minute_volume: int | None = None
    exposures: dict[Level, Exposure] | None = None
    funds: int | None = None
    committed: int = 0
    messages: int = 1
    broker: BrokerFacts | None = None

    def held_at(self, level: Level) -> Holding:
        """What is held of its instrument at a level."""
        return self.own if level is self.strategy else self.held


def rupees(amount: int | None) -> int | float | None:
    """Ledger units as the JSON number of rupees that prints the same."""
    if amount is None:
        return None
    whole, rest = divmod(amount, UNITS)
    return whole if not rest else amount / UNITS


def seconds(duration: int | None) -> int | float | None:
    """Microseconds as seconds."""
    if duration is None:
        return None
    whole, rest = divmod(duration, 1_000_000)
    return whole if not rest else duration / 1_000_000


def share(millionths: int) -> int | float:
    """Millionths as a fraction."""
    return millionths // 1_000_000 if millionths % 1_000_000 == 0 else millionths / 1_000_000
