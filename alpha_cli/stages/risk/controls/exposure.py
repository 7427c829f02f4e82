"""What the order would add to what is held and open: positions, values, funds, the volume of the market.

Most are checked for the account, for the strategy and for the instrument, each with its own limit.
"""

from __future__ import annotations

from alpha_cli.stages.risk.codes import Code
from alpha_cli.stages.risk.facts import Facts
from alpha_cli.stages.risk.limits import MILLION
from alpha_cli.stages.risk.refusal import Refusal, rupees, share


def reducing(facts: Facts) -> Refusal | None:
    """Refuse, in state REDUCING, every order that can enlarge the worst-case position: only reductions pass."""
    if facts.stops.states is None:
        return None
    for state, enlarges in zip(facts.stops.states, facts.exposure.enlarges, strict=True):
        if state is not None and state.state == "REDUCING" and enlarges:
            message = f"{state.target} may only reduce: {state.reason} ({state.code})"
            return Refusal(Code.TRADING_REDUCING, message, state.limit, state.observed)
    return None


def position(facts: Facts) -> Refusal | None:
    """Limit the position if every open order on this side were filled, and none on the other."""
    more = facts.price.counted - facts.replaced.quantity
    if more <= 0:
        return None
    for level, limit in facts.bounds["max_position"]:
        held = facts.holding_at(level)
        after = held.quantity + held.buying + more if facts.request.buy else held.quantity - held.selling - more
        if (after if facts.request.buy else -after) > limit:
            return Refusal(
                Code.POSITION_ABOVE_LIMIT, f"the position of {level.name} would grow past its limit", limit, after
            )
    return None


def open_order_value(facts: Facts) -> Refusal | None:
    """Limit the value of all open orders, this one included."""
    value, replaced = facts.price.value, facts.replaced.value
    for level, limit in facts.bounds["max_open_order_value"]:
        if value is None:
            return Refusal(Code.VALUE_NO_REFERENCE, "no price to value the order at", rupees(limit))
        after = level.scope.open_value - replaced + value
        if after > limit and value > replaced:
            return Refusal(
                Code.EXPOSURE_OPEN_ABOVE_LIMIT, f"open orders of {level.name} would be worth too much",
                rupees(limit), rupees(after),
            )  # fmt: skip
    return None


def turnover(facts: Facts) -> Refusal | None:
    """Limit the value traded today plus that of all open orders, this one included."""
    value, replaced = facts.price.value, facts.replaced.value
    for level, limit in facts.bounds["max_turnover"]:
        if value is None:
            return Refusal(Code.VALUE_NO_REFERENCE, "no price to value the order at", rupees(limit))
        after = level.scope.turnover + level.scope.open_value - replaced + value
        if after > limit and value > replaced:
            return Refusal(
                Code.EXPOSURE_TURNOVER_ABOVE_LIMIT, f"{level.name} would trade too much in a day",
                rupees(limit), rupees(after),
            )  # fmt: skip
    return None


def gross_exposure(facts: Facts) -> Refusal | None:
    """Limit the sum of all worst-case positions, long and short alike."""
    for level, limit in facts.bounds["max_gross_exposure"]:
        if facts.price.worst is None:
            return Refusal(Code.VALUE_NO_REFERENCE, "no price to value the order at", rupees(limit))
        gross = facts.exposure.by_level[level].gross if facts.exposure.by_level is not None else None
        if gross is not None and gross > limit:
            return Refusal(
                Code.EXPOSURE_GROSS_ABOVE_LIMIT, f"positions of {level.name} would be worth too much",
                rupees(limit), rupees(gross),
            )  # fmt: skip
    return None


def net_exposure(facts: Facts) -> Refusal | None:
    """Limit long less short, on the side of the order."""
    for level, limit in facts.bounds["max_net_exposure"]:
        if facts.price.worst is None:
            return Refusal(Code.VALUE_NO_REFERENCE, "no price to value the order at", rupees(limit))
        net = facts.exposure.by_level[level].net if facts.exposure.by_level is not None else None
        if net is not None and net > limit:
            return Refusal(
                Code.EXPOSURE_NET_ABOVE_LIMIT, f"{level.name} would lean too far to one side",
                rupees(limit), rupees(net),
            )  # fmt: skip
    return None


def funds(facts: Facts) -> Refusal | None:
    """Limit the value of an entry, with the open orders, to a share of the available funds.

    Margins are known only to the broker: here an order costs its full value. The rest is for charges.
    """
    limit = facts.limits.max_funds_share
    assert limit is not None
    if not facts.is_entry:
        return None
    if facts.exposure.funds is None:
        return Refusal(Code.FUNDS_UNKNOWN, "what is available is not known; set opening_cash in alpha.yaml, or feed "
                       "the broker's portfolio", share(limit))  # fmt: skip
    value = facts.price.value
    if value is None:
        return Refusal(Code.VALUE_NO_REFERENCE, "no price to value the order at", share(limit))
    most, spent = facts.exposure.funds * limit // MILLION, facts.exposure.open_value - facts.replaced.value + value
    if spent <= most:
        return None
    message = "with the open orders worth more than what may be spent"
    return Refusal(Code.FUNDS_INSUFFICIENT, message, rupees(most), rupees(spent))


def participation(facts: Facts) -> Refusal | None:
    """Limit an entry to a share of the traded volume, of a day and of the last minute."""
    shares = facts.limits.participation
    if not isinstance(shares, tuple) or not facts.is_entry:
        return None
    day, minute = shares
    return (None if day is None else _share(facts, day, facts.limits.average_daily_volume, "average daily volume")) or (
        None if minute is None else _share(facts, minute, facts.exposure.minute_volume, "last minute's volume")
    )


def _share(facts: Facts, fraction: int, volume: int | None, name: str) -> Refusal | None:
    quantity = facts.request.quantity or 0
    if volume is None:
        return Refusal(Code.VOLUME_UNKNOWN, f"the {name} is not known", share(fraction))
    if quantity * MILLION <= fraction * volume:
        return None
    return Refusal(Code.VOLUME_ABOVE_LIMIT, f"too large a share of the {name}", fraction * volume // MILLION, quantity)
