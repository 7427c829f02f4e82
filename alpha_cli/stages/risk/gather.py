"""From a signal, or a modification, to the facts about it. Nothing is decided here, and nothing is changed."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from alpha_cli.core.events import Bar, Gap, Modify, Signal
from alpha_cli.core.money import price_units, units
from alpha_cli.core.times import IST, in_india, microseconds
from alpha_cli.market.contracts import Contract
from alpha_cli.stages.risk.counters import Entry, Holding, Worth, repeat_key
from alpha_cli.stages.risk.exposure import Books
from alpha_cli.stages.risk.facts import Exposure, Facts, Level, Outside, Refusal
from alpha_cli.stages.risk.limits import MILLION
from alpha_cli.stages.risk.plans import MINUTE_BAR, Plan
from alpha_cli.stages.risk.sizing import size
from alpha_cli.stages.risk.slicing import slice_sizes
from alpha_cli.stream.last_ticks import LastTicks

if TYPE_CHECKING:
    from alpha_cli.market.calendar import SessionHours

_NOTHING: Mapping[Level, Worth] = {}
_NOTHING_HELD = Holding()
_LIMITED = frozenset({"LIMIT", "SL"})

#: Behind every order id: what is later than a moment comes after (moment, _LAST).
_LAST = "\U0010ffff"

#: A bar that ended longer ago does not tell the last minute's volume.
_LATEST_MINUTE = timedelta(minutes=2)


class _Mark(Struct):
    """The last price in a continuous session, and that session."""

    open: datetime
    close: datetime
    tick: Any = None
    price: int | None = None


class Gatherer:
    """Knows prices, bars, gaps and the books, and puts together what the controls look at.

    bars      interval -> how many closing prices are looked back on
    hours_at  token and moment -> the continuous sessions of the instrument
    """

    def __init__(
        self,
        market: LastTicks,
        books: Books,
        bars: Mapping[str, int],
        hours_at: Callable[[int, datetime], SessionHours],
    ) -> None:
        self._market = market
        self._books = books
        self._kept = bars
        self._closes: dict[tuple[int, str], deque[float]] = {}
        self._minutes: dict[int, Bar] = {}
        self._gap: datetime | None = None
        self._hours_at = hours_at
        self._marks: dict[int, _Mark] = {}

    # --- prices ------------------------------------------------------------------------------

    def price_of(self, token: int) -> int | None:
        """The last price of an instrument; None without one, or if it is nothing at four decimals."""
        tick = self._market.last(token)
        return None if tick is None else price_units(tick.last_price) or None

    def mark_of(self, token: int) -> int | None:
        """The last price, if it is one of the continuous session: others are no prices to mark positions by."""
        tick = self._market.last(token)
        if tick is None:
            return None
        known = self._marks.get(token)
        if known is None or known.tick is not tick:
            moment = tick.timestamp
            if known is None or not known.open <= moment < known.close:
                hours = self._hours_at(token, moment)
                if not hours.contains(moment):
                    return None
                known = self._marks[token] = _Mark(hours.open, hours.close)
            known.tick, known.price = tick, price_units(tick.last_price) or None
        return known.price

    def price_before(self, token: int, day: date) -> int | None:
        """The last price of an instrument, if it is of before `day`."""
        tick = self._market.last(token)
        return None if tick is None or in_india(tick.timestamp).date() >= day else self.price_of(token)

    def on_bar(self, bar: Bar) -> None:
        """Keep what the rules look back on."""
        most = self._kept.get(bar.interval)
        if most is None:
            return
        if bar.interval == MINUTE_BAR:
            self._minutes[bar.instrument_token] = bar
        key = (bar.instrument_token, bar.interval)
        if key not in self._closes:
            self._closes[key] = deque(maxlen=most)
        self._closes[key].append(bar.close)

    def on_gap(self, gap: Gap) -> None:
        """Ticks are missing: prices from before its end are not to be opened on."""
        self._gap = max((one for one in (gap.to, self._market.now, self._gap) if one is not None), default=None)

    # --- facts -------------------------------------------------------------------------------

    def of_signal(
        self, signal: Signal, plan: Plan, moment: datetime, now: int, worth: Mapping[Level, Worth] = _NOTHING
    ) -> Facts:
        """About the order that `signal` asks for.

        moment, now  the time of the newest tick, also in microseconds since 1970
        worth        of the plan's valued levels
        """
        tick = self._market.last(signal.instrument_token)
        asked = None if signal.price is None else units(signal.price)
        facts = self._facts(
            plan, tick, moment, now, signal.signal_type == "BUY", signal.quantity, signal.order_type, asked,
            signal.product,
        )  # fmt: skip
        facts.hold = signal.signal_type == "HOLD"
        if signal.quantity is None and plan.sizing is not None:
            self._size(facts, plan, signal.broker)
        self._time(facts, plan, tick, signal.timestamp, moment)
        self._weigh(facts, plan, worth)
        if plan.limits.self_match_prevention and self._books.any_open:
            self._opposite(facts, signal.broker)
        return facts

    def of_modification(
        self, modify: Modify, entry: Entry, plan: Plan, moment: datetime, worth: Mapping[Level, Worth] = _NOTHING
    ) -> Facts:
        """About the order as `modify` would make it: what is left of it to be filled."""
        total = entry.total if modify.quantity is None else modify.quantity
        price = entry.limit if modify.price is None else units(modify.price)
        kind = modify.order_type or ("MARKET" if price is None else "LIMIT")
        if modify.trigger_price is not None:
            kind = "SL" if kind == "LIMIT" else "SL-M" if kind == "MARKET" else kind
        left = total - entry.filled - entry.assumed
        tick = self._market.last(entry.token)
        facts = self._facts(plan, tick, moment, microseconds(moment), entry.buy, left, kind, price, entry.product)
        facts.replaces, facts.left, facts.replaced = entry, entry.left, entry.left * entry.price
        facts.retyped = modify.order_type is not None or modify.trigger_price is not None
        # It may be refused: counted is what `Books.modified` will make of it.
        facts.counted = max(left, entry.left)
        facts.worst = entry.price if facts.worst is None else max(entry.price, facts.worst)
        facts.value = facts.counted * facts.worst
        self._time(facts, plan, tick, modify.timestamp or moment, moment)
        self._weigh(facts, plan, worth)
        if plan.limits.self_match_prevention:
            self._opposite(facts, entry.broker)
        return facts

    def _facts(  # noqa: PLR0917  (by place: names cost a tenth of it)
        self,
        plan: Plan,
        tick: Any,
        moment: datetime,
        now: int,
        buy: bool,  # noqa: FBT001
        quantity: int | None,
        kind: Any,
        asked: int | None,
        product: Any,
    ) -> Facts:
        """What is known at once."""
        contract, limits = plan.contract, plan.limits
        token = contract.instrument.instrument_token
        account, strategy, _ = plan.levels
        broker = account.key[0]
        reference = None if tick is None else price_units(tick.last_price) or None
        limit = asked if kind in _LIMITED else None
        worst = limit
        if limit is None and reference is not None:
            worst = reference
            if buy and limits.market_protection:
                worst += -(-reference * limits.market_protection // MILLION)
        facts = Facts(
            limits, plan.bounds, contract, strategy, buy, quantity, kind, product,
            account.scope.holdings.get(token, _NOTHING_HELD), strategy.scope.holdings.get(token, _NOTHING_HELD),
            limit, asked, reference, worst, quantity or 0, None if worst is None else worst * (quantity or 0), now,
        )  # fmt: skip
        facts.funds, facts.committed = self._books.funds.get(broker), account.scope.open_value
        if limits.confirm_within is not None and self._books.any_open:
            facts.unconfirmed = self._unconfirmed(broker, token, facts.now)
        if limits.duplicate_window is not None:
            _look_for_same(facts, account, token)
        if limits.repeated_execution is not None:
            made = strategy.scope.repeats.get(repeat_key(token, buy))
            if made:
                since = now - limits.repeated_execution[1]
                facts.repeats = len(made) if made[0][0] > since else len(made) - bisect_right(made, (since, _LAST))
        if limits.participation and self._kept:
            bar = self._minutes.get(token)
            if bar is not None and timedelta(0) <= moment - bar.end <= _LATEST_MINUTE:
                facts.minute_volume = bar.volume
        return facts

    def _time(self, facts: Facts, plan: Plan, tick: Any, asked: datetime, moment: datetime) -> None:
        """Where the signal and the newest tick lie in the session, and how old both are."""
        limits = plan.limits
        now = facts.now
        since = now if asked is moment else microseconds(asked)
        facts.signal_age = now - since
        for begin, end in plan.sessions:
            if begin <= now < end:
                facts.into_session, facts.to_close = now - begin, end - now
                if begin <= since < end:
                    break
        else:  # by what the session of that day was, should it be another day
            facts.outside = _outside(plan.contract, asked, moment) if limits.session_hours else None
        facts.squared_off = plan.square_off is not None and now >= plan.square_off
        if limits.max_tick_age is not None and tick is not None:
            facts.tick_age = 0 if tick.timestamp is moment else now - microseconds(tick.timestamp)
            facts.gap = self._gap is not None and tick.timestamp <= self._gap

    def _weigh(self, facts: Facts, plan: Plan, worth: Mapping[Level, Worth]) -> None:
        """What it adds to what is held, and whether that is more than there is."""
        quantity, more = facts.quantity or 0, facts.counted - facts.left
        held, own = facts.held, facts.own
        if facts.buy:
            facts.entry = quantity > 0 and own.quantity + own.buying - facts.left + quantity > 0
        else:
            facts.entry = quantity > 0 and own.quantity - own.selling + facts.left - quantity < 0
        if more <= 0:
            facts.enlarges = (False, False)
        elif facts.buy:
            facts.enlarges = (held.quantity + held.buying + more > 0, own.quantity + own.buying + more > 0)
        else:
            facts.enlarges = (held.quantity - held.selling - more < 0, own.quantity - own.selling - more < 0)
        if more > 0 and worth and facts.worst is not None:
            exposures = facts.exposures = {}
            for level in plan.valued:
                if level.weighed:
                    exposures[level] = _weighed(facts, level, more, worth[level])
        contract = facts.contract
        if contract.freeze is not None and quantity > contract.freeze >= contract.lot_size:
            facts.messages = len(slice_sizes(quantity, contract.freeze, contract.lot_size))

    def _size(self, facts: Facts, plan: Plan, broker: str) -> None:
        """Give a quantity to a signal that has none."""
        account = plan.levels[0].scope
        funds = self._books.funds.get(broker)
        token = plan.contract.instrument.instrument_token
        given = size(
            plan.sizing, facts.worst, plan.contract.lot_size,
            None if funds is None else funds + account.worth(self.price_of).equity - account.cash,
            lambda interval: tuple(self._closes.get((token, interval), ())),
        )  # fmt: skip
        if isinstance(given, Refusal):
            facts.unsized = given
        else:
            facts.quantity = facts.counted = given
            facts.value = None if facts.worst is None else facts.worst * given
            _look_for_same(facts, plan.levels[0], token)

    def _opposite(self, facts: Facts, broker: str) -> None:
        """Whether an open order of one's own stands where this one would trade with it."""
        token = facts.contract.instrument.instrument_token
        for entry in self._books.open_orders(broker, token, buy=not facts.buy).values():
            meets = (
                entry.limit is None
                or facts.price is None
                or (facts.price >= entry.limit if facts.buy else facts.price <= entry.limit)
            )
            if meets:
                facts.crosses, facts.opposite = True, entry.limit
                return

    def _unconfirmed(self, broker: str, token: int, now: int) -> int | None:
        """Since the oldest order on the instrument of which nothing was heard."""
        oldest = None
        for buy in (True, False):
            for entry in self._books.open_orders(broker, token, buy=buy).values():
                if not entry.reported and not entry.assumed and (oldest is None or entry.entered < oldest):
                    oldest = entry.entered
        return None if oldest is None else now - oldest


def _look_for_same(facts: Facts, account: Level, token: int) -> None:
    """When the same was ordered last, as far as that is kept."""
    facts.duplicate_age = None
    for then, quantity, price in account.scope.recent.get(repeat_key(token, facts.buy), ()):
        if quantity == facts.quantity and price == facts.price:
            facts.duplicate_age = max(facts.now - then, 0)


def _weighed(facts: Facts, level: Level, more: int, worth: Worth) -> Exposure:
    """The exposure of a level with so many units more on the order's side."""
    held, price = facts.held_at(level), facts.reference if facts.reference is not None else facts.worst
    assert price is not None
    long, short = held.quantity + held.buying, held.quantity - held.selling
    most = long if long > -short else -short
    if len(level.key) > 2:
        gross, leaning = most * price, (long if facts.buy else -short) * price
    else:
        gross, leaning = worth.gross, worth.long if facts.buy else -worth.short
    grown = more + (long if facts.buy else -short) - most
    return Exposure(gross + grown * price if grown > 0 else None, leaning + more * price)


def _outside(contract: Contract, asked: datetime, now: datetime) -> Outside | None:
    """The first of both moments that no continuous session contains, if one is."""
    hours = contract.hours
    moment = asked if not hours.contains(asked) else now
    if hours.contains(moment):  # `told` then speaks of its day
        return None
    try:
        day = moment.astimezone(IST).date()
    except OverflowError:  # at either end of what a date can be
        return Outside(moment, hours.told())
    unknown = hours.why(day)
    return Outside(moment, hours.told(), None if unknown is None else str(unknown))
