"""How a strategy behaves: repetitions, loops, floods, losses; and whether it, or all trading, was stopped."""

from __future__ import annotations

from alpha_cli.stages.risk.codes import Code
from alpha_cli.stages.risk.counters import MINUTE, SECOND, Scope
from alpha_cli.stages.risk.facts import Facts, Refusal, rupees, seconds
from alpha_cli.stages.risk.limits import Limits


def halted(facts: Facts) -> Refusal | None:
    """A person, or a control that latches, stopped trading or this strategy."""
    if facts.halted is not None:
        return Refusal(Code.TRADING_HALTED, f"trading is halted: {facts.halted}")
    if facts.strategy_halted is not None:
        return Refusal(Code.STRATEGY_HALTED, f"the strategy is halted: {facts.strategy_halted}")
    if facts.standings is None:
        return None
    for standing, code, lifted in zip(
        facts.standings, (Code.TRADING_HALTED, Code.STRATEGY_HALTED), ("resume", "rearm"), strict=True
    ):
        if standing is not None and standing.state == "HALTED":
            return Refusal(
                code,
                f"{standing.target} was halted: {standing.reason} ({standing.code}); alpha {lifted} lets it go on",
                standing.limit,
                standing.observed,
            )
    return None


def duplicate(facts: Facts) -> Refusal | None:
    """The same instrument, side, quantity and price again, at once."""
    limit, age = facts.limits.duplicate_window, facts.duplicate_age
    assert limit is not None
    if age is None or age >= limit or facts.replaces is not None:
        return None
    return Refusal(Code.ORDER_DUPLICATE, "the same order was entered just before", seconds(limit), seconds(age))


def self_match(facts: Facts) -> Refusal | None:
    """An order that would trade with one's own on the other side."""
    if not facts.limits.self_match_prevention or not facts.crosses:
        return None
    message = "it would trade with an open order of one's own; cancel that first"
    return Refusal(Code.ORDER_SELF_MATCH, message, rupees(facts.opposite), rupees(facts.price))


def confirm_within(facts: Facts) -> Refusal | None:
    """While nobody knows what became of an order on the instrument, no position is opened there."""
    limit, age = facts.limits.confirm_within, facts.unconfirmed
    assert limit is not None
    if age is None or age <= limit or not facts.entry:
        return None
    message = "an earlier order on the instrument was never heard of; find out what became of it"
    return Refusal(Code.ORDER_UNCONFIRMED, message, seconds(limit), seconds(age))


def repeated_execution(facts: Facts) -> Refusal | None:
    """A strategy that opens again and again on one side is out of control. It is stopped."""
    limit = facts.limits.repeated_execution
    assert limit is not None
    if facts.repeats < limit[0] or facts.replaces is not None or not facts.entry:
        return None
    message = f"too many orders on one side of one instrument within {seconds(limit[1])} s"
    return Refusal(Code.EXECUTION_REPEATED, message, limit[0], facts.repeats + 1)


def round_trips(facts: Facts) -> Refusal | None:
    """Nor may it go in and out all day."""
    limit = facts.limits.repeated_execution
    assert limit is not None
    made = facts.strategy.scope.round_trips.get(facts.contract.instrument.instrument_token, 0)
    if made < limit[2] or not facts.entry:
        return None
    return Refusal(Code.EXECUTION_ROUND_TRIPS, "too many round trips in one instrument today", limit[2], made + 1)


def message_rate(facts: Facts) -> Refusal | None:
    """Messages in a second, a minute and a day. A fifth of each is kept for cancels, which are never refused."""
    for level, limit in facts.bounds["message_rate"]:
        scope, count = level.scope, facts.messages
        second, minute, day = limit
        least = second if second < minute else minute
        if 5 * (len(scope.sent) + count) <= 4 * least and 5 * (scope.messages + count) <= 4 * day:
            continue  # the whole minute would do for a second
        sent = (scope.said_since(facts.now - SECOND), scope.said_since(facts.now - MINUTE), scope.messages)
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
    """Of so many messages, those that are not kept for cancels."""
    return 4 * most // 5


def orders_to_trades(facts: Facts) -> Refusal | None:
    """Messages for each order that traded."""
    for level, (ratio, after) in facts.bounds["orders_to_trades"]:
        scope = level.scope
        messages, most = scope.messages + facts.messages, ratio * scope.trades
        most = max(most, after)
        if messages > most:
            return Refusal(
                Code.RATE_ORDERS_TO_TRADES, f"too many messages of {level.name} for each trade", most, messages
            )
    return None


def modifications(facts: Facts) -> Refusal | None:
    """Modifications of one order."""
    limit, order = facts.limits.max_modifications, facts.replaces
    assert limit is not None
    if order is None or order.modifications < limit:
        return None
    message = "the order was modified too often; cancel it and enter another"
    return Refusal(Code.RATE_MODIFICATIONS, message, limit, order.modifications + 1)


# --- what is asked when something is heard, not when something is asked for -----------------------


def daily_loss(limits: Limits, scope: Scope, equity: int) -> Refusal | None:
    """The fall of equity since the day began: realised and unrealised, charges included."""
    limit, loss = limits.max_daily_loss, scope.baseline - equity
    if limit is None or loss <= limit:
        return None
    return Refusal(Code.LOSS_ABOVE_LIMIT, "too much was lost today", rupees(limit), rupees(loss))


def drawdown(limits: Limits, scope: Scope, equity: int) -> Refusal | None:
    """The fall of equity from its peak."""
    limit, fall = limits.max_drawdown, scope.peak - equity
    if limit is None or fall <= limit:
        return None
    return Refusal(Code.LOSS_DRAWDOWN_ABOVE_LIMIT, "equity fell too far from its peak", rupees(limit), rupees(fall))


def consecutive_rejects(limits: Limits, scope: Scope, _: int) -> Refusal | None:
    """Rejections by the broker in a row: something is wrong with what is asked for. The strategy is stopped."""
    limit, rejects = limits.max_consecutive_rejects, scope.rejects
    if limit is None or rejects < limit:
        return None
    return Refusal(Code.EXECUTION_REJECTS, f"{rejects} orders rejected in a row", limit, rejects)


def is_severe(limits: Limits, scope: Scope, equity: int) -> bool:
    """Whether a loss, or a fall, is above one and a half times its limit: that halts."""
    pairs = ((limits.max_daily_loss, scope.baseline - equity), (limits.max_drawdown, scope.peak - equity))
    return any(limit is not None and 2 * loss > 3 * limit for limit, loss in pairs)
