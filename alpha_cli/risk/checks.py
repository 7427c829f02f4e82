"""The controls: each a small pure function from the facts about a signal to a refusal or None.

`CONTROLS` is the order in which they are asked; the first refusal stands. A control with a `setting`
is off for `paper` while that is unset, and refuses for any other broker. To add one, write the
function and a row.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from alpha_cli.events import Signal
from alpha_cli.risk.config import BrokerLimits

PAPER = "paper"


class Outside(NamedTuple):
    """A moment outside the continuous session of its day; `unknown` says why, if no calendar covers that."""

    moment: datetime
    session: str
    unknown: str | None = None


class Facts(NamedTuple):
    """All that a control may look at. Prices in rupees, position in units (signed)."""

    signal: Signal
    limits: BrokerLimits
    halted: str | None  # why, if trading is halted
    repeated: bool  # this signal id was seen before
    known: bool | None  # is the instrument in the master; None without a master
    is_index: bool  # the master says that it is an index
    reference: Decimal | None  # the last price of the instrument
    position: int  # entered so far, filled or not
    now: datetime | None  # the time of the newest tick
    outside_session: Outside | None  # a time of the signal that no continuous session contains

    @property
    def price(self) -> Decimal | None:
        """What a unit is worth in this order: its limit, or the last price."""
        return self.signal.price if self.signal.order_type == "LIMIT" else self.reference

    @property
    def change(self) -> int:
        """By how many units the order would move the position."""
        quantity = self.signal.quantity or 0
        return quantity if self.signal.signal_type == "BUY" else -quantity


class Refusal(NamedTuple):
    """Why not: a stable code, a sentence, the limit and what was observed against it."""

    code: str
    message: str
    limit: int | float | str | None = None
    observed: int | float | str | None = None


Check = Callable[[Facts], Refusal | None]


class Control(NamedTuple):
    """One row of the table."""

    check: Check
    codes: tuple[str, ...]
    setting: str | None = None


def halted(facts: Facts) -> Refusal | None:
    """A person, or a limit that latches, stopped trading."""
    if facts.halted is None:
        return None
    return Refusal("TRADING_HALTED", f"trading is halted: {facts.halted}")


def repeated(facts: Facts) -> Refusal | None:
    """One cause, one decision: a signal seen before is never decided again."""
    if not facts.repeated:
        return None
    return Refusal("SIGNAL_DUPLICATE", "this signal was decided before")


def hold(facts: Facts) -> Refusal | None:
    """HOLD asks for nothing."""
    if facts.signal.signal_type != "HOLD":
        return None
    return Refusal("SIGNAL_HOLD", "HOLD asks for no order")


def order_type(facts: Facts) -> Refusal | None:
    """The kinds of order that a signal can fully describe."""
    signal = facts.signal
    if signal.order_type in {"SL", "SL-M"}:
        return Refusal(
            "ORDER_TYPE_UNSUPPORTED", "a signal carries no trigger price", "MARKET, LIMIT", signal.order_type
        )
    if signal.order_type == "LIMIT" and (signal.price is None or signal.price <= 0):
        return Refusal("PRICE_MISSING", "a LIMIT order needs a positive price", 0, number(signal.price))
    return None


def instrument(facts: Facts) -> Refusal | None:
    """With a master given, only what is in it trades, and an index never does."""
    token = facts.signal.instrument_token
    if facts.known is False:
        return Refusal("INSTRUMENT_UNKNOWN", "not in the instrument master", None, token)
    if facts.is_index:
        return Refusal("INSTRUMENT_NOT_TRADABLE", "an index cannot be bought; trade a contract on it", None, token)
    return None


def quantity(facts: Facts) -> Refusal | None:
    """A whole number of units, at least one."""
    asked = facts.signal.quantity
    if asked is None:
        return Refusal("QUANTITY_MISSING", "the signal has no quantity", 1)
    if asked <= 0:
        return Refusal("QUANTITY_NOT_POSITIVE", "quantity must be at least 1", 1, asked)
    return None


def order_quantity(facts: Facts) -> Refusal | None:
    """Units in one order."""
    limit, asked = facts.limits.max_order_quantity, facts.signal.quantity or 0
    assert limit is not None
    if asked <= limit:
        return None
    return Refusal("QUANTITY_ABOVE_LIMIT", "more units than one order may have", limit, asked)


def session(facts: Facts) -> Refusal | None:
    """Both the signal and the newest tick must lie in the continuous session."""
    if not facts.limits.session_hours or facts.outside_session is None:
        return None
    moment, hours, unknown = facts.outside_session
    if unknown is not None:
        return Refusal("SESSION_UNKNOWN", unknown, None, moment.isoformat())
    return Refusal("SESSION_CLOSED", "outside the continuous session of the instrument", hours, moment.isoformat())


def price_band(facts: Facts) -> Refusal | None:
    """The price must be near the last one, on either side."""
    band, reference = facts.limits.price_band, facts.reference
    assert band is not None
    if reference is None:
        return Refusal("PRICE_NO_REFERENCE", "no tick of this instrument to compare with", number(band))
    # A MARKET order is held to the price its strategy saw: it decided on a price that has gone.
    asked = facts.signal.price if facts.signal.price is not None else reference
    distance = abs(asked - reference) / reference
    if distance <= band:
        return None
    message = f"price {asked} is too far from the last price {reference}"
    return Refusal("PRICE_OUT_OF_BAND", message, number(band), number(round(distance, 6)))


def order_value(facts: Facts) -> Refusal | None:
    """Price times quantity, in rupees."""
    limit, price = facts.limits.max_order_value, facts.price
    assert limit is not None
    if price is None:
        return Refusal("VALUE_NO_REFERENCE", "no price to value the order at", number(limit))
    value = price * (facts.signal.quantity or 0)
    if value <= limit:
        return None
    return Refusal("VALUE_ABOVE_LIMIT", "worth more than one order may be", number(limit), number(value))


def position(facts: Facts) -> Refusal | None:
    """The position as it would be if every order entered were filled."""
    limit = facts.limits.max_position
    assert limit is not None
    after = facts.position + facts.change
    # Coming back from beyond the limit is always allowed, crossing to the other side of it is not.
    if abs(after) <= limit or (abs(after) < abs(facts.position) and after * facts.position > 0):
        return None
    return Refusal("POSITION_ABOVE_LIMIT", "the position would grow past its limit", limit, after)


#: In the order they are asked.
CONTROLS: tuple[Control, ...] = (
    Control(halted, ("TRADING_HALTED",)),
    Control(repeated, ("SIGNAL_DUPLICATE",)),
    Control(hold, ("SIGNAL_HOLD",)),
    Control(instrument, ("INSTRUMENT_UNKNOWN", "INSTRUMENT_NOT_TRADABLE")),
    Control(order_type, ("ORDER_TYPE_UNSUPPORTED", "PRICE_MISSING")),
    Control(quantity, ("QUANTITY_MISSING", "QUANTITY_NOT_POSITIVE")),
    Control(order_quantity, ("QUANTITY_ABOVE_LIMIT",), "max_order_quantity"),
    Control(session, ("SESSION_CLOSED", "SESSION_UNKNOWN"), "session_hours"),
    Control(price_band, ("PRICE_NO_REFERENCE", "PRICE_OUT_OF_BAND"), "price_band"),
    Control(order_value, ("VALUE_NO_REFERENCE", "VALUE_ABOVE_LIMIT"), "max_order_value"),
    Control(position, ("POSITION_ABOVE_LIMIT",), "max_position"),
)


def checks_for(broker: str, limits: BrokerLimits) -> tuple[Check, ...]:
    """The checks that hold for `broker`, in the order of the table. A broker other than paper needs every limit."""
    checks: list[Check] = []
    for control in CONTROLS:
        if control.setting is None or getattr(limits, control.setting) is not None:
            checks.append(control.check)
        elif broker != PAPER:
            message = f"{control.setting} is not set for broker {broker}; set it in risk.yaml"
            checks.append(partial(_refused, Refusal("LIMIT_UNSET", message, control.setting)))
    return tuple(checks)


def _refused(unset: Refusal, _: Facts) -> Refusal:
    return unset


def refusal(facts: Facts, checks: tuple[Check, ...]) -> Refusal | None:
    """The first refusal, or None if every check passes."""
    for check in checks:
        refused = check(facts)
        if refused is not None:
            return refused
    return None


def number(value: Decimal | None) -> int | float | None:
    """A decimal as the JSON number that prints the same."""
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)
