"""How a strategy behaves: repetitions, loops, message rates, losses; and whether it, or all trading, is stopped."""

from __future__ import annotations

from alpha_cli.stages.risk.codes import Code
from alpha_cli.stages.risk.counters import MINUTE, SECOND, ExposureScope
from alpha_cli.stages.risk.facts import Facts
from alpha_cli.stages.risk.limits import Limits
from alpha_cli.stages.risk.refusal import Refusal, rupees, seconds
from alpha_cli.stages.risk.trading_state import State


def halted(facts: Facts) -> Refusal | None:
    """Refuse while a person, or a control that latches, has stopped trading or this strategy."""
    if facts.stops.halted is not None:
        return Refusal(Code.TRADING_HALTED, f"trading is halted: {facts.stops.halted}")
    if facts.stops.strategy_halted is not None:
        return Refusal(Code.STRATEGY_HALTED, f"the strategy is halted: {facts.stops.strategy_halted}")
    if facts.stops.states is None:
        return None
    for state, code, command in zip(
        facts.stops.states, (Code.TRADING_HALTED, Code.STRATEGY_HALTED), ("resume", "rearm"), strict=True
    ):
        if state is not None and state.state == "HALTED":
            message = f"{state.target} was halted: {state.reason} ({state.code}); alpha {command} lets it go on"
            return Refusal(code, message, state.limit, state.observed)
    return None


def duplicate(facts: Facts) -> Refusal | None:
    """Refuse the same instrument, side, quantity and price within `duplicate_window`."""
    limit, age = facts.limits.duplicate_window, facts.conduct.duplicate_age
    assert limit is not None
    if age is None or age >= limit or facts.replaced.order is not None:
        return None
    return Refusal(Code.ORDER_DUPLICATE, "the same order was entered just before", seconds(limit), seconds(age))


def self_match(facts: Facts) -> Refusal | None:
    """Refuse an order that would trade with an own open order on the other side."""
    if not facts.limits.self_match_prevention or not facts.conduct.crosses:
        return None
    message = "it would trade with an open order of one's own; cancel that first"
    return Refusal(
        Code.ORDER_SELF_MATCH, message, rupees(facts.conduct.opposite_price), rupees(facts.request.limit_price)
    )


def confirm_within(facts: Facts) -> Refusal | None:
    """Refuse an entry while an earlier order on the instrument has no report after `confirm_within`."""
    limit, age = facts.limits.confirm_within, facts.conduct.unconfirmed_for
    assert limit is not None
    if age is None or age <= limit or not facts.is_entry:
        return None
    message = "an earlier order on the instrument was never heard of; find out what became of it"
    return Refusal(Code.ORDER_UNCONFIRMED, message, seconds(limit), seconds(age))


def repeated_execution(facts: Facts) -> Refusal | None:
    """Stop a strategy that opens positions on one side again and again: it loops."""
    limit = facts.limits.repeated_execution
    assert limit is not None
    if facts.conduct.repeats < limit[0] or facts.replaced.order is not None or not facts.is_entry:
        return None
    message = f"too many orders on one side of one instrument within {seconds(limit[1])} s"
    return Refusal(Code.EXECUTION_REPEATED, message, limit[0], facts.conduct.repeats + 1)


def round_trips(facts: Facts) -> Refusal | None:
    """Stop a strategy that opens and closes a position in one instrument too often in a day."""
    limit = facts.limits.repeated_execution
    assert limit is not None
    made = facts.strategy.scope.round_trips.get(facts.contract.instrument.instrument_token, 0)
    if made < limit[2] or not facts.is_entry:
        return None
    return Refusal(Code.EXECUTION_ROUND_TRIPS, "too many round trips in one instrument today", limit[2], made + 1)


def message_rate(facts: Facts) -> Refusal | None:
    """Limit the messages in a second, a minute and a day; a fifth of each is kept for cancels, which always pass."""
    for level, limit in facts.bounds["message_rate"]:
        scope, count = level.scope, facts.request.messages
        second, minute, day = limit
        least = second if second < minute else minute
        if 5 * (len(scope.sent) + count) <= 4 * least and 5 * (scope.messages + count) <= 4 * day:
            continue  # even all messages of the minute are few enough for one second
        sent = (
            scope.messages_since(facts.time.now - SECOND),
            scope.messages_since(facts.time.now - MINUTE),
            scope.messages,
        )
        for most, before, span in zip(limit, sent, ("second", "minute", "day"), strict=True):
            if before + count > usable(most):
                return Refusal(
                    Code.RATE_ABOVE_LIMIT,
                    f"too many messages of {level.name} in a {span} ({most}, less a fifth for cancels)",
                    usable(most),
                    before + count,
                )
    return None


def usable(most: int) -> int:
    """Return how many of `most` messages are not kept for cancels."""
    return 4 * most // 5


def orders_to_trades(facts: Facts) -> Refusal | None:
    """Limit the messages for each order that traded."""
    for level, (ratio, after) in facts.bounds["orders_to_trades"]:
        scope = level.scope
        messages, most = scope.messages + facts.request.messages, ratio * scope.trades
        most = max(most, after)
        if messages > most:
            return Refusal(
                Code.RATE_ORDERS_TO_TRADES, f"too many messages of {level.name} for each trade", most, messages
            )
    return None


def modifications(facts: Facts) -> Refusal | None:
    """Limit the modifications of one order."""
    limit, order = facts.limits.max_modifications, facts.replaced.order
    assert limit is not None
    if order is None or order.modifications < limit:
        return None
    message = "the order was modified too often; cancel it and enter another"
    return Refusal(Code.RATE_MODIFICATIONS, message, limit, order.modifications + 1)


# --- asked after a report or a price move, not for an order -----------------------------------------


def daily_loss(limits: Limits, scope: ExposureScope, equity: int) -> Refusal | None:
    """Limit the loss of the day: realised and unrealised, charges included."""
    limit, loss = limits.max_daily_loss, scope.baseline - equity
    if limit is None or loss <= limit:
        return None
    return Refusal(Code.LOSS_ABOVE_LIMIT, "too much was lost today", rupees(limit), rupees(loss))


def drawdown(limits: Limits, scope: ExposureScope, equity: int) -> Refusal | None:
    """Limit the fall of equity from its peak."""
    limit, fall = limits.max_drawdown, scope.peak - equity
    if limit is None or fall <= limit:
        return None
    return Refusal(Code.LOSS_DRAWDOWN_ABOVE_LIMIT, "equity fell too far from its peak", rupees(limit), rupees(fall))


def consecutive_rejects(limits: Limits, scope: ExposureScope) -> Refusal | None:
    """Stop a strategy after too many consecutive rejections by the broker."""
    limit, rejects = limits.max_consecutive_rejects, scope.rejects
    if limit is None or rejects < limit:
        return None
    return Refusal(Code.EXECUTION_REJECTS, f"{rejects} orders rejected in a row", limit, rejects)


def state_after_loss(limits: Limits, scope: ExposureScope, equity: int) -> State:
    """Return the state that a loss beyond its limit leads to: HALTED above one and a half times the limit."""
    pairs = ((limits.max_daily_loss, scope.baseline - equity), (limits.max_drawdown, scope.peak - equity))
    is_severe = any(limit is not None and 2 * loss > 3 * limit for limit, loss in pairs)
    return "HALTED" if is_severe else "REDUCING"
