"""What holds for one strategy on one instrument of one broker: worked out once a day and kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from alpha_cli.core.times import microseconds
from alpha_cli.stages.risk.controls import Asked, Check, asked
from alpha_cli.stages.risk.counters import DAY, ScopeKey, Trio
from alpha_cli.stages.risk.exposure import Books
from alpha_cli.stages.risk.facts import Level
from alpha_cli.stages.risk.limits import Levels, Limits, of_level

if TYPE_CHECKING:
    from alpha_cli.market.contracts import Contract
    from alpha_cli.stages.risk.config import RiskFile

#: Limits that need every position of a scope at its newest price.
_WORTH = ("max_gross_exposure", "max_net_exposure")
_LOSS = ("max_daily_loss", "max_drawdown")

#: Limits that each level has for what it counts itself, and does not merely pass on to the order.
BY_LEVEL = (
    "max_position", "max_open_order_value", "max_turnover", "max_gross_exposure", "max_net_exposure", "message_rate",
    "orders_to_trades",
)  # fmt: skip


#: Microseconds by which an Indian day begins before one in UTC.
_INDIA = 19_800_000_000


class Plan(Struct):
    """The limits of all levels together, and the controls to ask.

    begin, end   of the Indian day, in microseconds since 1970
    sessions, square_off   of the day, in microseconds since 1970
    asked    the controls of an order
    entries, exits, changes   what to call of those for orders that open or enlarge a position, for others, and for
             modifications
    levels   the account, the strategy on it, the instrument on it; `valued` are those whose worth is limited
    trio     the scopes of the levels
    bounds   setting -> the levels at which it is set, and the limit of each
    sizing   the rule for signals without a quantity
    """

    begin: int
    end: int
    contract: Contract
    sessions: tuple[tuple[int, int], ...]
    square_off: int | None
    limits: Limits
    asked: tuple[Asked, ...]
    entries: tuple[Check, ...]
    exits: tuple[Check, ...]
    changes: tuple[Check, ...]
    levels: tuple[Level, Level, Level]
    valued: tuple[Level, ...]
    bounds: Mapping[str, Sequence[tuple[Level, Any]]]
    sizing: Any
    trio: Trio


class Plans:
    """Plans by broker, strategy and instrument; each is made anew when its day is over."""

    def __init__(self, file: RiskFile, books: Books) -> None:
        self._file = file
        self._levels = Levels(file)
        self._books = books
        self._plans: dict[tuple[str, str, int], Plan] = {}
        self._by_scope: dict[ScopeKey, Level] = {}
        self._watched: list[Level] = []
        windows = [of_level(level).duplicate_window for level in file.levels().values()]
        #: Microseconds for which the orders of an account are remembered: whoever looks back furthest.
        self.longest_window = max((one for one in windows if one is not None), default=None)
        self._met: set[str] = set()
        self.strangers: list[str] = []  # strategies that were met and have no limits of their own, since it was emptied

    def known(self, broker: str, strategy_id: str, token: int, now: int) -> Plan | None:
        """The plan of the day of `now`, in microseconds since 1970, if it was made."""
        found = self._plans.get((broker, strategy_id, token))
        return found if found is not None and found.begin <= now < found.end else None

    def plan(self, broker: str, strategy_id: str, token: int, now: int, contract: Contract) -> Plan:
        """The plan of that day; `contract` says what the instrument is on it."""
        made = self._plans[broker, strategy_id, token] = self._made(broker, strategy_id, token, now, contract)
        return made

    def level(self, broker: str, strategy_id: str | None = None) -> Level:
        """The account of `broker`, or a strategy on it."""
        key = (broker,) if strategy_id is None else (broker, strategy_id)
        known = self._by_scope.get(key)
        if known is None:
            if strategy_id is None:
                name, limits = f"account {broker}", self._levels.broker(broker)
            else:
                name, limits = f"strategy {strategy_id}", self._levels.strategy(strategy_id)
            in_session = bool(self._levels.broker(broker).session_hours)
            known = self._by_scope[key] = _level(key, name, limits, self._books, in_session=in_session)
            if known.watched:
                self._watched.append(known)
        return known

    def watched(self) -> list[Level]:
        """Those whose losses are limited."""
        return self._watched

    def _made(self, broker: str, strategy_id: str, token: int, now: int, contract: Contract) -> Plan:
        if strategy_id not in self._met:
            self._met.add(strategy_id)
            if self._file.strategies and strategy_id not in self._file.strategies:
                self.strangers.append(strategy_id)
        named = contract.instrument.key
        own = self._levels.instrument(token, named)
        levels = (
            self.level(broker),
            self.level(broker, strategy_id),
            _level((broker, "", str(token)), f"instrument {named}", own, self._books, in_session=False),
        )
        limits = self._levels.together(broker, strategy_id, token, named)
        controls = asked(broker, limits, contract)
        # One that is not set refuses new orders too, whatever it is asked about.
        new = tuple(one for one in controls if one.control.new or one.check is not one.control.check)
        hours = () if contract.day is None else contract.day.continuous
        begin = (now + _INDIA) // DAY * DAY - _INDIA
        return Plan(
            begin, begin + DAY, contract, tuple((microseconds(one.open), microseconds(one.close)) for one in hours),
            None if contract.day is None else microseconds(contract.day.square_off), limits, new,
            tuple(one.check for one in new),
            tuple(one.check for one in new if not one.control.entries or one.check is not one.control.check),
            tuple(one.check for one in controls if one.control.changes), levels,
            tuple(level for level in levels if level.weighed or level.watched),
            {name: tuple(_bounds(levels, name)) for name in BY_LEVEL}, self._sizing(broker, strategy_id),
            self._books.trio(broker, strategy_id, token),
        )  # fmt: skip

    def _sizing(self, broker: str, strategy_id: str) -> Any:
        """The rule of the narrowest level that has one."""
        file = self._file
        for level in (file.strategies.get(strategy_id), file.brokers.get(broker), file.account):
            if level is not None and level.sizing is not None:
                return level.sizing
        return None


def _bounds(levels: Iterable[Level], name: str) -> Iterator[tuple[Level, Any]]:
    for level in levels:
        limit = getattr(level.limits, name)
        if limit is not None:
            yield level, limit


def _level(key: ScopeKey, name: str, limits: Limits, books: Books, *, in_session: bool) -> Level:
    return Level(
        key, name, limits, books.scope(*key), any(getattr(limits, one) is not None for one in _WORTH),
        any(getattr(limits, one) is not None for one in _LOSS), in_session,
    )  # fmt: skip


def bars_needed(file: RiskFile) -> Mapping[str, int]:
    """interval -> how many closing prices the rules of `file` look back on."""
    needed: dict[str, int] = {}
    for level in (file.account, *file.brokers.values(), *file.strategies.values()):
        rule = level.sizing
        if rule is not None and rule.rule == "volatility_target":
            needed[rule.interval] = max(needed.get(rule.interval, 0), rule.bars + 1)
    levels = (file.account, *file.brokers.values(), *file.strategies.values(), *file.instruments.values())
    if any(level.participation and level.participation.minute is not None for level in levels):
        needed.setdefault(MINUTE_BAR, 1)
    return needed


#: The bars that `participation.minute` is a share of.
MINUTE_BAR = "1m"
