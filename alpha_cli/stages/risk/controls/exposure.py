"""What it would add to what is held and open: positions, values, funds, the market's volume.

Each is asked of the account, of the strategy and of the instrument, with the limits that each has of its own.
"""

from __future__ import annotations

from alpha_cli.stages.risk.codes import Code
from alpha_cli.stages.risk.facts import Facts, Refusal, rupees, share
from alpha_cli.stages.risk.limits import MILLION


def reducing(facts: Facts) -> Refusal | None:
    """In REDUCING nothing passes that can make the worst case worse: from flat, by growing, or through a flip."""
    if facts.standings is None:
        return None
    for standing, larger in zip(facts.standings, facts.enlarges, strict=True):
        if standing is not None and standing.state == "REDUCING" and larger:
            return Refusal(
                Code.TRADING_REDUCING,
                f"{standing.target} may only reduce: {standing.reason} ({standing.code})",
                standing.limit,
                standing.observed,
            )
    return None


def position(facts: Facts) -> Refusal | None:
    """The position as it would be if every order on this side were filled, and none on the other."""
    more = facts.counted - facts.left
    if more <= 0:
        return None
    for level, limit in facts.bounds["max_position"]:
        held = facts.held_at(level)
        after = held.quantity + held.buying + more if facts.buy else held.quantity - held.selling - more
        if (after if facts.buy else -after) > limit:
            return Refusal(
                Code.POSITION_ABOVE_LIMIT, f"the position of {level.name} would grow past its limit", limit, after
            )
    return None


def open_order_value(facts: Facts) -> Refusal | None:
    """The value of all orders that are not filled, this one included."""
    value, replaced = facts.value, facts.replaced
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
    """What was traded today, what may still be, and this order: a loop runs into it whatever it does."""
    value, replaced = facts.value, facts.replaced
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
    """The sum of all positions at worst, long and short alike."""
    for level, limit in facts.bounds["max_gross_exposure"]:
        if facts.worst is None:
            return Refusal(Code.VALUE_NO_REFERENCE, "no price to value the order at", rupees(limit))
        gross = facts.exposures[level].gross if facts.exposures is not None else None
        if gross is not None and gross > limit:
            return Refusal(
                Code.EXPOSURE_GROSS_ABOVE_LIMIT, f"positions of {level.name} would be worth too much",
                rupees(limit), rupees(gross),
            )  # fmt: skip
    return None


def net_exposure(facts: Facts) -> Refusal | None:
    """Long less short, on the side to which the order leans."""
    for level, limit in facts.bounds["max_net_exposure"]:
        if facts.worst is None:
            return Refusal(Code.VALUE_NO_REFERENCE, "no price to value the order at", rupees(limit))
        net = facts.exposures[level].net if facts.exposures is not None else None
        if net is not None and net > limit:
            return Refusal(
                Code.EXPOSURE_NET_ABOVE_LIMIT, f"{level.name} would lean too far to one side",
                rupees(limit), rupees(net),
            )  # fmt: skip
    return None


def funds(facts: Facts) -> Refusal | None:
    """An order that opens costs no more than a share of what is available; the rest is for its charges.

    Margins are the broker's to know: here an order is taken to cost what it is worth.
    """
    limit = facts.limits.max_funds_share
    assert limit is not None
    if not facts.entry:
        return None
    if facts.funds is None:
        return Refusal(Code.FUNDS_UNKNOWN, "what is available is not known; set opening_cash in alpha.yaml, or feed "
                       "the broker's portfolio", share(limit))  # fmt: skip
    value = facts.value
    if value is None:
        return Refusal(Code.VALUE_NO_REFERENCE, "no price to value the order at", share(limit))
    most, spent = facts.funds * limit // MILLION, facts.committed - facts.replaced + value
    if spent <= most:
        return None
    message = "with the open orders worth more than what may be spent"
    return Refusal(Code.FUNDS_INSUFFICIENT, message, rupees(most), rupees(spent))


def participation(facts: Facts) -> Refusal | None:
    """An entry is no more than a share of what others trade, in a day and in the last minute."""
    shares = facts.limits.participation
    if not isinstance(shares, tuple) or not facts.entry:
        return None
    day, minute = shares
    return (None if day is None else _share(facts, day, facts.limits.average_daily_volume, "average daily volume")) or (
        None if minute is None else _share(facts, minute, facts.minute_volume, "last minute's volume")
    )


def _share(facts: Facts, fraction: int, volume: int | None, name: str) -> Refusal | None:
    quantity = facts.quantity or 0
    if volume is None:
        return Refusal(Code.VOLUME_UNKNOWN, f"the {name} is not known", share(fraction))
    if quantity * MILLION <= fraction * volume:
        return None
    return Refusal(Code.VOLUME_ABOVE_LIMIT, f"too large a share of the {name}", fraction * volume // MILLION, quantity)
