"""Build the `Facts` of a signal or of a modification. Nothing is decided here."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from alpha_cli.core.events import Modify, OrderType, Signal
from alpha_cli.core.money import price_units, units
from alpha_cli.core.times import IST, microseconds
from alpha_cli.market.contracts import Contract
from alpha_cli.market.rules import worst_price
from alpha_cli.stages.risk.counters import Holding, OpenOrder, Valuation, repeat_key
from alpha_cli.stages.risk.exposure import ExposureLedger
from alpha_cli.stages.risk.facts import (
    NOT_STOPPED,
    NOTHING_REPLACED,
    ConductFacts,
    Exposure,
    ExposureFacts,
    Facts,
    Level,
    Outside,
    PriceFacts,
    Replaced,
    Request,
    StopFacts,
    TimeFacts,
)
from alpha_cli.stages.risk.journal import Repeated
from alpha_cli.stages.risk.limits import MILLION, Limits
from alpha_cli.stages.risk.plans import DayPlan
from alpha_cli.stages.risk.prices import Prices
from alpha_cli.stages.risk.refusal import Refusal
from alpha_cli.stages.risk.sizing import size
from alpha_cli.stages.risk.slicing import slice_sizes

_NOT_VALUED: Mapping[Level, Valuation] = {}
_NOTHING_HELD = Holding()
_WITH_LIMIT = frozenset({"LIMIT", "SL"})

#: Sorts behind every order id: what is later than a moment comes after (moment, _LAST).
_LAST = "\U0010ffff"


class Moment(Struct, frozen=True, gc=False):
    """The time of the newest tick; `micros` is the same in microseconds since 1970."""

    at: datetime
    micros: int


class FactsBuilder:
    """Builds facts from market data, the exposure ledger and the plan of the day. The only maker of `Facts`."""

    def __init__(self, prices: Prices, ledger: ExposureLedger) -> None:
        self._prices = prices
        self._ledger = ledger

    def of_signal(
        self,
        signal: Signal,
        plan: DayPlan,
        now: Moment,
        *,
        named_price: int | None,
        repeated: Repeated | None = None,
        metadata_size: int = 0,
        past: bool = False,
        stops: StopFacts = NOT_STOPPED,
        valuations: Mapping[Level, Valuation] = _NOT_VALUED,
    ) -> Facts:
        """Return the facts about the order that `signal` asks for.

        named_price  the signal's price in ledger units
        valuations   of the plan's valued levels
        """
        contract, limits, buy = plan.contract, plan.limits, signal.signal_type == "BUY"
        token = contract.instrument.instrument_token
        tick = self._prices.last_tick(token)
        reference = None if tick is None else price_units(tick.last_price) or None
        limit_price = named_price if signal.order_type in _WITH_LIMIT else None
        worst = _worst_price(limits, reference, limit_price, buy=buy)
        quantity, unsized = signal.quantity, None
        if quantity is None and plan.sizing is not None:
            quantity, unsized = self._sized(plan, worst)
        counted = quantity or 0
        request = Request(
            buy=buy,
            quantity=quantity,
            order_type=signal.order_type,
            product=signal.product,
            limit_price=limit_price,
            named_price=named_price,
            hold=signal.signal_type == "HOLD",
            unsized=unsized,
            metadata_size=metadata_size,
            messages=1 if contract.freeze is None else _messages(counted, contract.freeze, contract.lot_size),
            repeated=repeated,
        )
        price = PriceFacts(
            reference=reference, worst=worst, counted=counted, value=None if worst is None else worst * counted
        )
        return self._facts(
            plan,
            now,
            request=request,
            price=price,
            replaced=NOTHING_REPLACED,
            tick=tick,
            requested_at=signal.timestamp,
            past=past,
            stops=stops,
            valuations=valuations,
        )

    def of_modification(
        self,
        modify: Modify,
        order: OpenOrder,
        plan: DayPlan,
        now: Moment,
        *,
        stops: StopFacts = NOT_STOPPED,
        valuations: Mapping[Level, Valuation] = _NOT_VALUED,
    ) -> Facts:
        """Return the facts about what is left to be filled of `order` as `modify` would change it."""
        total = order.total if modify.quantity is None else modify.quantity
        named_price = order.limit if modify.price is None else units(modify.price)
        order_type = _modified_type(modify, named_price)
        quantity = total - order.filled - order.assumed
        tick = self._prices.last_tick(order.token)
        reference = None if tick is None else price_units(tick.last_price) or None
        limit_price = named_price if order_type in _WITH_LIMIT else None
        worst = _worst_price(plan.limits, reference, limit_price, buy=order.buy)
        freeze = plan.contract.freeze
        request = Request(
            buy=order.buy,
            quantity=quantity,
            order_type=order_type,
            product=order.product,
            limit_price=limit_price,
            named_price=named_price,
            messages=1 if freeze is None else _messages(quantity, freeze, plan.contract.lot_size),
        )
        # The broker may refuse it, so it counts as `ExposureLedger.modify` will enter it.
        counted = max(quantity, order.open_quantity)
        worst = order.price if worst is None else max(order.price, worst)
        price = PriceFacts(reference=reference, worst=worst, counted=counted, value=counted * worst)
        replaced = Replaced(
            order=order,
            quantity=order.open_quantity,
            value=order.open_quantity * order.price,
            retyped=modify.order_type is not None or modify.trigger_price is not None,
        )
        return self._facts(
            plan,
            now,
            request=request,
            price=price,
            replaced=replaced,
            tick=tick,
            requested_at=modify.timestamp or now.at,
            past=False,
            stops=stops,
            valuations=valuations,
        )

    def _facts(
        self,
        plan: DayPlan,
        now: Moment,
        *,
        request: Request,
        price: PriceFacts,
        replaced: Replaced,
        tick: Any,
        requested_at: datetime,
        past: bool,
        stops: StopFacts,
        valuations: Mapping[Level, Valuation],
    ) -> Facts:
        exposure = self._exposure(plan, now, request=request, price=price, replaced=replaced, valuations=valuations)
        own, quantity = exposure.strategy, request.quantity or 0
        own_side = own.quantity + own.buying if request.buy else own.selling - own.quantity
        return Facts(
            limits=plan.limits,
            bounds=plan.bounds,
            contract=plan.contract,
            strategy=plan.levels[1],
            is_entry=quantity > 0 and own_side - replaced.quantity + quantity > 0,
            request=request,
            price=price,
            time=self._time(plan, now, tick, requested_at, past=past, own_time=replaced.order is not None),
            exposure=exposure,
            conduct=self._conduct(plan, now, request),
            stops=stops,
            replaced=replaced,
        )

    def _exposure(
        self,
        plan: DayPlan,
        now: Moment,
        *,
        request: Request,
        price: PriceFacts,
        replaced: Replaced,
        valuations: Mapping[Level, Valuation],
    ) -> ExposureFacts:
        """Return what is held and open, and what the order adds to it."""
        account, strategy, _ = plan.levels
        token, buy = plan.contract.instrument.instrument_token, request.buy
        held = account.scope.holdings.get(token, _NOTHING_HELD)
        own = strategy.scope.holdings.get(token, _NOTHING_HELD)
        # The worst case on the order's side: long for a buy, short for a sell.
        held_side = held.quantity + held.buying if buy else held.selling - held.quantity
        own_side = own.quantity + own.buying if buy else own.selling - own.quantity
        more = price.counted - replaced.quantity
        by_level: dict[Level, Exposure] | None = None
        if more > 0 and valuations and price.worst is not None:
            by_level = {}
            unit_price = price.worst if price.reference is None else price.reference
            for level in plan.valued:
                if level.limits_exposure:
                    holding = own if level is strategy else held
                    by_level[level] = _with_order(holding, level, valuations[level], more, unit_price, buy=buy)
        return ExposureFacts(
            account=held,
            strategy=own,
            enlarges=(more > 0 and held_side + more > 0, more > 0 and own_side + more > 0),
            by_level=by_level,
            funds=self._ledger.funds.get(account.key[0]),
            open_value=account.scope.open_value,
            minute_volume=self._prices.minute_volume(token, now.at) if plan.limits.participation else None,
        )

    def _time(
        self, plan: DayPlan, now: Moment, tick: Any, requested_at: datetime, *, past: bool, own_time: bool
    ) -> TimeFacts:
        """Return where the request and the newest tick lie in the session, and how old both are.

        own_time  measure the session and the age of the price at the time of the request, if that is newer
        """
        limits, newest = plan.limits, now.micros
        requested = newest if requested_at is now.at else microseconds(requested_at)
        # A modification keeps its own time, if that is newer: the price that it would trade on is as old as that.
        micros = max(newest, requested) if own_time else newest
        into_session = to_close = outside = tick_age = None
        gap = False
        for begin, end in plan.sessions:
            if begin <= micros < end:
                into_session, to_close = micros - begin, end - micros
                if begin <= requested < end:
                    break
        else:  # the session of its own day decides, if the request is from another day
            outside = _outside(plan.contract, requested_at, now.at) if limits.session_hours else None
        if limits.max_tick_age is not None and tick is not None:
            tick_age = micros - (newest if tick.timestamp is now.at else microseconds(tick.timestamp))
            gap_end = self._prices.gap_end
            gap = gap_end is not None and tick.timestamp <= gap_end
        return TimeFacts(
            now=newest,
            signal_age=newest - requested,
            tick_age=tick_age,
            gap=gap,
            outside=outside,
            into_session=into_session,
            to_close=to_close,
            squared_off=plan.square_off is not None and micros >= plan.square_off,
            past=past,
        )

    def _conduct(self, plan: DayPlan, now: Moment, request: Request) -> ConductFacts:
        """Return what was ordered before, as far as the limits ask for it."""
        account, strategy, _ = plan.levels
        limits, broker, token = plan.limits, account.key[0], plan.contract.instrument.instrument_token
        key = repeat_key(token, request.buy)
        unconfirmed_for = opposite = duplicate_age = None
        if self._ledger.any_open:
            if limits.confirm_within is not None:
                unconfirmed_for = self._unconfirmed_for(broker, token, now.micros)
            if limits.self_match_prevention:
                opposite = self._opposite(broker, token, request)
        if limits.duplicate_window is not None:
            duplicate_age = _duplicate_age(account.scope.recent.get(key, ()), request, now.micros)
        repeats = 0
        if limits.repeated_execution is not None:
            since, times = now.micros - limits.repeated_execution[1], strategy.scope.repeats.get(key)
            if times:
                repeats = len(times) if times[0][0] > since else len(times) - bisect_right(times, (since, _LAST))
        return ConductFacts(
            duplicate_age=duplicate_age,
            repeats=repeats,
            crosses=opposite is not None,
            opposite_price=None if opposite is None else opposite.limit,
            unconfirmed_for=unconfirmed_for,
        )

    def _sized(self, plan: DayPlan, worst: int | None) -> tuple[int | None, Refusal | None]:
        """Return the quantity for a signal without one, or why there is none."""
        account = plan.levels[0]
        funds = self._ledger.funds.get(account.key[0])
        token = plan.contract.instrument.instrument_token
        equity = None
        if funds is not None:
            equity = funds + account.scope.mark(self._prices.price_of).equity - account.scope.cash
        given = size(
            plan.sizing, worst, plan.contract.lot_size, equity, lambda interval: self._prices.closes(token, interval)
        )
        return (None, given) if isinstance(given, Refusal) else (given, None)

    def _opposite(self, broker: str, token: int, request: Request) -> OpenOrder | None:
        """Return the first own open order that this one would trade with."""
        for order in self._ledger.open_on_side(broker, token, buy=not request.buy).values():
            if order.limit is None or request.limit_price is None:
                return order
            if request.limit_price >= order.limit if request.buy else request.limit_price <= order.limit:
                return order
        return None

    def _unconfirmed_for(self, broker: str, token: int, now: int) -> int | None:
        """Return the time since the oldest order on the instrument without any report."""
        oldest = None
        for buy in (True, False):
            for order in self._ledger.open_on_side(broker, token, buy=buy).values():
                if not order.reported and not order.assumed and (oldest is None or order.entered < oldest):
                    oldest = order.entered
        return None if oldest is None else now - oldest


def _worst_price(limits: Limits, reference: int | None, limit_price: int | None, *, buy: bool) -> int | None:
    """Return what a unit may cost, or be worth in a sale; None if neither a limit nor a price is known.

    A MARKET order to buy may cost its protection more than the last price.
    """
    if reference is None:
        return limit_price
    if limit_price is None and buy and limits.market_protection:
        return reference - (-reference * limits.market_protection // MILLION)  # the protection is rounded up
    return worst_price("BUY" if buy else "SELL", limit_price, reference)


def _modified_type(modify: Modify, price: int | None) -> OrderType:
    """Return the order type that a modification makes, by its type, its trigger and the limit price."""
    order_type: OrderType = modify.order_type or ("MARKET" if price is None else "LIMIT")
    if modify.trigger_price is None:
        return order_type
    if order_type == "LIMIT":
        return "SL"
    return "SL-M" if order_type == "MARKET" else order_type


def _duplicate_age(recent: Iterable[tuple[int, int | None, int | None]], request: Request, now: int) -> int | None:
    """Return the time since the same order was last entered, as far as `recent` reaches back."""
    age = None
    for then, quantity, price in recent:
        if quantity == request.quantity and price == request.limit_price:
            age = max(now - then, 0)
    return age


def _messages(quantity: int, freeze: int, lot: int) -> int:
    """Return the number of orders that `quantity` is sent as."""
    return len(slice_sizes(quantity, freeze, lot)) if quantity > freeze >= lot else 1


def _with_order(held: Holding, level: Level, valuation: Valuation, more: int, price: int, *, buy: bool) -> Exposure:
    """Return the exposure of a level with `more` units on the order's side."""
    long, short = held.quantity + held.buying, held.quantity - held.selling
    most = long if long > -short else -short
    if len(level.key) > 2:  # the scope of an instrument has no holdings: those of the account are used
        gross, net = most * price, (long if buy else -short) * price
    else:
        gross, net = valuation.gross, valuation.long if buy else -valuation.short
    grown = more + (long if buy else -short) - most
    return Exposure(gross=gross + grown * price if grown > 0 else None, net=net + more * price)


def _outside(contract: Contract, requested_at: datetime, now: datetime) -> Outside | None:
    """Return the first of both moments that lies in no continuous session, if one does."""
    hours = contract.hours
    moment = requested_at if not hours.contains(requested_at) else now
    if hours.contains(moment):  # `describe` then speaks of its day
        return None
    try:
        day = moment.astimezone(IST).date()
    except OverflowError:  # at either end of the range of datetime
        return Outside(moment, hours.describe())
    unknown = hours.why(day)
    return Outside(moment, hours.describe(), None if unknown is None else str(unknown))
