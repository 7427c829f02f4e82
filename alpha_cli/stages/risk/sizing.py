"""The quantity of a signal that has none, by a rule of `risk.yaml`, rounded down to whole lots.

No limit is checked here: the quantity is then checked like any other, and refused where it is too large. Amounts are
in ledger units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import pairwise
from math import log, sqrt
from statistics import stdev
from typing import TYPE_CHECKING

from alpha_cli.core.money import units
from alpha_cli.stages.risk.codes import Code
from alpha_cli.stages.risk.refusal import Refusal, rupees

if TYPE_CHECKING:
    from alpha_cli.stages.risk.config import Fixed, Notional, PercentOfEquity, VolatilityTarget

    Rule = Fixed | Notional | PercentOfEquity | VolatilityTarget

#: The usual continuous session, 09:15 to 15:30: the volatility of bars is scaled to it.
SESSION = timedelta(hours=6, minutes=15)

#: Units that an order can have on the wire.
MOST_UNITS = 10**12

#: Rupees: closing prices outside of this range are not used.
_LEAST, _MOST = 1e-4, 1e12

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def size(
    rule: Rule, price: int | None, lot: int, equity: int | None, closes: Callable[[str], Sequence[float]]
) -> int | Refusal:
    """Return the units that `rule` gives, a multiple of `lot`, or why it gives none.

    price   of a unit, at worst
    equity  of the account; None: not known
    closes  interval -> closing prices of its last bars, oldest first
    """
    if rule.rule == "fixed":
        asked: int | Refusal = rule.quantity
    elif price is None or price <= 0:
        return Refusal(Code.SIZE_UNKNOWN, "no price to size the order by", rule.rule)
    elif rule.rule == "notional":
        asked = units(rule.rupees) // price
    elif equity is None or equity <= 0:
        return Refusal(
            Code.SIZE_UNKNOWN, "the equity is not known, or there is none; set opening_cash in alpha.yaml", rule.rule,
            rupees(equity),
        )  # fmt: skip
    elif rule.rule == "percent_of_equity":
        asked = int(equity * rule.percent / 100) // price
    else:
        asked = _by_volatility(rule, price, equity, closes(rule.interval))
    if isinstance(asked, Refusal):
        return asked
    if asked > MOST_UNITS:
        return Refusal(Code.SIZE_UNKNOWN, "the sizing rule gives more units than an order can say", MOST_UNITS, asked)
    whole = asked // lot * lot
    if not whole:
        return Refusal(Code.SIZE_BELOW_LOT, "the sizing rule allows less than one lot", lot, asked)
    return whole


def _by_volatility(rule: VolatilityTarget, price: int, equity: int, closes: Sequence[float]) -> int | Refusal:
    """Return the units for which position value × daily volatility is the target share of equity.

    Source: volatility targeting, as in Moskowitz, Ooi and Pedersen, "Time series momentum" (2012), section 2.4; the
    deviation of logarithmic returns of bars, scaled by the square root of their number in a session.
    """
    found = closes[-rule.bars - 1 :]
    if len(found) <= rule.bars:
        return Refusal(
            Code.SIZE_UNKNOWN, f"fewer than {rule.bars} returns of {rule.interval} bars; put alpha bars before it",
            rule.bars, max(len(found) - 1, 0),
        )  # fmt: skip
    if not all(_LEAST < close < _MOST for close in found):
        return Refusal(Code.SIZE_UNKNOWN, "a closing price that is none has no volatility", rule.rule, min(found))
    deviation = stdev(log(after / before) for before, after in pairwise(found))
    daily = deviation * sqrt(max(SESSION.total_seconds() / interval_seconds(rule.interval), 1))
    if daily <= 0:
        return Refusal(Code.SIZE_UNKNOWN, "prices do not move, so a volatility target has no size", rule.rule, 0)
    return int(min(float(equity) * float(rule.percent) / 100 / daily / price, 2.0 * MOST_UNITS))


def interval_seconds(interval: str) -> int:
    """Return the seconds of an interval: 300 for `5m`. A day counts as one session."""
    return int(interval[:-1]) * _SECONDS[interval[-1]]
