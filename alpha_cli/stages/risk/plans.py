"""What applies to one strategy on one instrument of one broker: worked out once a day and kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from alpha_cli.core.times import microseconds
from alpha_cli.stages.risk.controls.table import ActiveControl, Check, active_controls
from alpha_cli.stages.risk.counters import DAY, ScopeKey, ScopeTriple
from alpha_cli.stages.risk.exposure import ExposureLedger
from alpha_cli.stages.risk.facts import Level
from alpha_cli.stages.risk.limits import Limits
from alpha_cli.stages.risk.prices import MINUTE_BAR
from alpha_cli.stages.risk.resolve import Levels, of_level

if TYPE_CHECKING:
    from alpha_cli.market.contracts import Contract
    from alpha_cli.stages.risk.config import RiskFile

#: Limits that need every position of a scope at its newest price.
_EXPOSURE_LIMITS = ("max_gross_exposure", "max_net_exposure")
_LOSS_LIMITS = ("max_daily_loss", "max_drawdown")

#: Limits that each level holds against its own counts, besides the order.
BY_LEVEL = (
    "max_position", "max_open_order_value", "max_turnover", "max_gross_exposure", "max_net_exposure", "message_rate",
    "orders_to_trades",
)  # fmt: skip

#: Microseconds by which an Indian day begins before one in UTC.
_INDIA = 19_800_000_000


class DayPlan(Struct, frozen=True, kw_only=True):
    """The limits of all levels combined, and the controls to ask, for one day.

    begin, end   of the Indian day, in microseconds since 1970
    sessions, square_off   of the day, in microseconds since 1970
    controls     the controls of an order
    entry_checks, exit_checks, change_checks   their functions for orders that open or enlarge a position, for other
                 orders, and for modifications
    levels       the account, the strategy on it, the instrument on it
    valued       those of them whose exposure or losses are limited
    triple       the scopes of the levels
    bounds       setting -> the levels that set it, with the limit of each
    sizing       the rule for signals without a quantity
    """

    begin: int
    end: int
    contract: Contract
    sessions: tuple[tuple[int, int], ...]
    square_off: int | None
    limits: Limits
    controls: tuple[ActiveControl, ...]
    entry_checks: tuple[Check, ...]
    exit_checks: tuple[Check, ...]
    change_checks: tuple[Check, ...]
    levels: tuple[Level, Level, Level]
    valued: tuple[Level, ...]
    bounds: Mapping[str, Sequence[tuple[Level, Any]]]
    sizing: Any
    triple: ScopeTriple


class DayPlans:
    """Plans by broker, strategy and instrument; each is made again when its day is over.

    longest_window   microseconds for which the orders of an account are remembered: the longest `duplicate_window`
    strategies_without_limits   strategies seen that have no limits of their own, since it was last emptied
    """

    def __init__(self, file: RiskFile, ledger: ExposureLedger) -> None:
        self._file = file
        self._levels = Levels(file)
        self._ledger = ledger
        self._plans: dict[tuple[str, str, int], DayPlan] = {}
        self._by_scope: dict[ScopeKey, Level] = {}
        self._loss_limited: list[Level] = []
        windows = [of_level(level).duplicate_window for level in file.levels().values()]
        self.longest_window = max((window for window in windows if window is not None), default=None)
        self._seen: set[str] = set()
        self.strategies_without_limits: list[str] = []

    def known(self, broker: str, strategy_id: str, token: int, now: int) -> DayPlan | None:
        """Return the plan of the day of `now`, in microseconds since 1970, if it was made."""
        found = self._plans.get((broker, strategy_id, token))
        return found if found is not None and found.begin <= now < found.end else None

    def plan(self, broker: str, strategy_id: str, token: int, now: int, contract: Contract) -> DayPlan:
        """Make the plan of the day of `now`; `contract` is the instrument on that day."""
        self._note_missing_limits(strategy_id)
        key = contract.instrument.key
        levels = (self.level(broker), self.level(broker, strategy_id), self._instrument_level(broker, token, key))
        limits = self._levels.together(broker, strategy_id, token, key)
        controls = active_controls(broker, limits, contract)
        # A control that is not set refuses every new order, whatever it is otherwise asked about.
        new = tuple(active for active in controls if active.control.new or not active.is_set)
        hours = () if contract.day is None else contract.day.continuous
        begin = (now + _INDIA) // DAY * DAY - _INDIA
        made = self._plans[broker, strategy_id, token] = DayPlan(
            begin=begin,
            end=begin + DAY,
            contract=contract,
            sessions=tuple((microseconds(session.open), microseconds(session.close)) for session in hours),
            square_off=None if contract.day is None else microseconds(contract.day.square_off),
            limits=limits,
            controls=new,
            entry_checks=tuple(active.check for active in new),
            exit_checks=tuple(active.check for active in new if not (active.control.entries_only and active.is_set)),
            change_checks=tuple(active.check for active in controls if active.control.changes),
            levels=levels,
            valued=tuple(level for level in levels if level.limits_exposure or level.limits_losses),
            bounds={name: tuple(_bounds(levels, name)) for name in BY_LEVEL},
            sizing=self._sizing(broker, strategy_id),
            triple=self._ledger.triple(broker, strategy_id, token),
        )
        return made

    def level(self, broker: str, strategy_id: str | None = None) -> Level:
        """Return the level of the account of `broker`, or of a strategy on it."""
        key = (broker,) if strategy_id is None else (broker, strategy_id)
        known = self._by_scope.get(key)
        if known is None:
            if strategy_id is None:
                name, limits = f"account {broker}", self._levels.broker(broker)
            else:
                name, limits = f"strategy {strategy_id}", self._levels.strategy(strategy_id)
            in_session = bool(self._levels.broker(broker).session_hours)
            known = self._by_scope[key] = _level(key, name, limits, self._ledger, in_session=in_session)
            if known.limits_losses:
                self._loss_limited.append(known)
        return known

    def loss_limited(self) -> list[Level]:
        """Return the levels whose losses are limited."""
        return self._loss_limited

    def _instrument_level(self, broker: str, token: int, key: str) -> Level:
        own = self._levels.instrument(token, key)
        return _level((broker, "", str(token)), f"instrument {key}", own, self._ledger, in_session=False)

    def _note_missing_limits(self, strategy_id: str) -> None:
        """List a strategy seen for the first time if others have limits of their own and it has none."""
        if strategy_id in self._seen:
            return
        self._seen.add(strategy_id)
        if self._file.strategies and strategy_id not in self._file.strategies:
            self.strategies_without_limits.append(strategy_id)

    def _sizing(self, broker: str, strategy_id: str) -> Any:
        """Return the sizing rule of the narrowest level that has one."""
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


def _level(key: ScopeKey, name: str, limits: Limits, ledger: ExposureLedger, *, in_session: bool) -> Level:
    return Level(
        key=key,
        name=name,
        limits=limits,
        scope=ledger.scope(*key),
        limits_exposure=any(getattr(limits, setting) is not None for setting in _EXPOSURE_LIMITS),
        limits_losses=any(getattr(limits, setting) is not None for setting in _LOSS_LIMITS),
        in_session=in_session,
    )


def bars_needed(file: RiskFile) -> Mapping[str, int]:
    """Return interval -> number of closing prices that the rules of `file` need."""
    needed: dict[str, int] = {}
    for level in (file.account, *file.brokers.values(), *file.strategies.values()):
        rule = level.sizing
        if rule is not None and rule.rule == "volatility_target":
            needed[rule.interval] = max(needed.get(rule.interval, 0), rule.bars + 1)
    levels = (file.account, *file.brokers.values(), *file.strategies.values(), *file.instruments.values())
    if any(level.participation and level.participation.minute is not None for level in levels):
        needed.setdefault(MINUTE_BAR, 1)
    return needed
