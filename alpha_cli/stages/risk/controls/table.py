"""The controls in one table, in the order in which they are asked. The first refusal decides.

Each control is a small pure function that returns a refusal or None. One with a `setting` is off for `paper` while that
is unset, and refuses for any other broker. To add one, write the function, a code and a row; `docs/risk.md` is
generated from these tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar, get_args

from msgspec import Struct

from alpha_cli.core.events import OrderType, Product
from alpha_cli.stages.risk.codes import MEANINGS, Code
from alpha_cli.stages.risk.controls import broker, conduct, exposure, moment, order
from alpha_cli.stages.risk.counters import ExposureScope
from alpha_cli.stages.risk.facts import Facts
from alpha_cli.stages.risk.limits import PAPER, Limits
from alpha_cli.stages.risk.refusal import Refusal

if TYPE_CHECKING:
    from alpha_cli.market.contracts import Contract

ORDER_TYPES = get_args(OrderType)
PRODUCTS = get_args(Product)

#: A control of an order; of the losses of a level, at an equity; of the rejections of a strategy.
Check = Callable[[Facts], Refusal | None]
LossCheck = Callable[[Limits, ExposureScope, int], Refusal | None]
RejectCheck = Callable[[Limits, ExposureScope], Refusal | None]
AnyCheck = TypeVar("AnyCheck", bound=Callable[..., Refusal | None])

#: When a control is asked: for each order; after a report on an order or a price move; before an order is sent.
At = Literal["order", "report", "send"]


class Control(Struct, Generic[AnyCheck], frozen=True):
    """One row of a table.

    number   in the list of pre-trade controls that these follow, R1 to R30
    codes    that it refuses with; one that is not set refuses with LIMIT_UNSET
    setting  of `risk.yaml`; None: it always applies
    at       when it is asked
    changes  whether it is asked for modifications too
    new      whether it is asked for new orders
    entries_only   whether it passes everything that neither opens nor enlarges a position of its strategy
    idle     whether it passes everything, given the instrument on the day and the limits alone
    stops    what it stops until a person lifts that
    """

    check: AnyCheck
    number: int
    codes: tuple[Code, ...]
    setting: str | None = None
    at: At = "order"
    changes: bool = True
    new: bool = True
    entries_only: bool = False
    idle: Callable[[Contract, Limits], bool] | None = None
    stops: Literal["strategy", "account or strategy"] | None = None

    @property
    def name(self) -> str:
        """The name of the control in tables: that of its function."""
        return self.check.__name__


#: Asked for each order, in this order: cheap ones first, then those that build on others.
ORDER_CONTROLS: tuple[Control[Check], ...] = (
    Control(conduct.halted, 23, (Code.TRADING_HALTED, Code.STRATEGY_HALTED)),
    Control(order.repeated, 13, (Code.SIGNAL_DUPLICATE, Code.SIGNAL_CONFLICT), changes=False),
    Control(order.hold, 3, (Code.SIGNAL_HOLD,), changes=False),
    Control(order.metadata, 3, (Code.SIGNAL_TOO_LARGE,), changes=False),
    Control(order.signal_ttl, 17, (Code.SIGNAL_EXPIRED, Code.SIGNAL_AHEAD), "signal_ttl"),
    Control(
        order.instrument, 3, (Code.INSTRUMENT_UNKNOWN, Code.INSTRUMENT_NOT_TRADABLE, Code.INSTRUMENT_EXPIRED),
        idle=lambda contract, _: contract.listed and contract.kind != "index" and not contract.expired,
    ),
    Control(
        order.allowed_instruments, 19, (Code.INSTRUMENT_NOT_ALLOWED,), "allowed_instruments", idle=order.is_allowed
    ),
    Control(
        order.restricted_instruments, 19, (Code.INSTRUMENT_RESTRICTED,), "restricted_instruments",
        idle=lambda contract, limits: not order.is_restricted(contract, limits),
    ),
    Control(order.order_type, 3, (Code.ORDER_TYPE_UNSUPPORTED, Code.PRICE_MISSING)),
    Control(
        order.order_types, 3, (Code.ORDER_TYPE_NOT_ALLOWED,), "order_types",
        idle=lambda _, limits: limits.order_types is not None and limits.order_types.issuperset(ORDER_TYPES),
    ),
    Control(
        order.market_orders, 29, (Code.ORDER_MARKET_NOT_ALLOWED,), "market_protection",
        idle=lambda _, limits: bool(limits.market_protection),
    ),
    Control(
        order.products, 3, (Code.PRODUCT_NOT_ALLOWED,), "products",
        idle=lambda _, limits: limits.products is not None and limits.products.issuperset(PRODUCTS),
    ),
    Control(
        order.product_kind, 3, (Code.PRODUCT_NOT_ALLOWED,), changes=False,
        idle=lambda contract, _: not contract.instrument.name,
    ),
    Control(
        order.quantity,
        3,
        (
            Code.QUANTITY_MISSING, Code.QUANTITY_NOT_POSITIVE, Code.QUANTITY_NOT_LOT_MULTIPLE, Code.SIZE_UNKNOWN,
            Code.SIZE_BELOW_LOT,
        ),
    ),
    Control(order.order_quantity, 4, (Code.QUANTITY_ABOVE_LIMIT,), "max_order_quantity"),
    Control(
        order.freeze_quantity, 4, (Code.QUANTITY_ABOVE_FREEZE,), idle=lambda contract, _: contract.freeze is None
    ),
    Control(order.price_tick, 3, (Code.PRICE_NOT_TICK_MULTIPLE,)),
    Control(moment.session, 18, (Code.SESSION_CLOSED, Code.SESSION_UNKNOWN), "session_hours"),
    Control(moment.past, 18, (Code.SESSION_PAST,), changes=False),
    Control(moment.entry_window, 18, (Code.SESSION_NO_ENTRY,), "entry_window", entries_only=True),
    Control(moment.square_off, 18, (Code.SESSION_SQUARED_OFF,), "session_hours", entries_only=True),
    Control(
        moment.expiry_day, 19, (Code.INSTRUMENT_EXPIRES_TODAY,), "expiry_day_entries", entries_only=True,
        idle=lambda contract, limits: bool(limits.expiry_day_entries) or contract.instrument.expiry != contract.on,
    ),
    Control(
        moment.tick_age, 16, (Code.DATA_MISSING, Code.DATA_GAP, Code.DATA_STALE), "max_tick_age", entries_only=True
    ),
    Control(
        order.price_tolerance, 2, (Code.PRICE_NO_REFERENCE, Code.PRICE_OUT_OF_TOLERANCE), "price_tolerance"
    ),
    Control(order.order_value, 5, (Code.VALUE_NO_REFERENCE, Code.VALUE_ABOVE_LIMIT), "max_order_value"),
    Control(conduct.duplicate, 13, (Code.ORDER_DUPLICATE,), "duplicate_window", changes=False),
    Control(conduct.self_match, 21, (Code.ORDER_SELF_MATCH,), "self_match_prevention"),
    Control(conduct.confirm_within, 22, (Code.ORDER_UNCONFIRMED,), "confirm_within", entries_only=True),
    Control(exposure.reducing, 10, (Code.TRADING_REDUCING,)),
    Control(exposure.position, 8, (Code.POSITION_ABOVE_LIMIT,), "max_position"),
    Control(
        exposure.open_order_value, 6, (Code.VALUE_NO_REFERENCE, Code.EXPOSURE_OPEN_ABOVE_LIMIT), "max_open_order_value"
    ),
    Control(exposure.turnover, 7, (Code.VALUE_NO_REFERENCE, Code.EXPOSURE_TURNOVER_ABOVE_LIMIT), "max_turnover"),
    Control(
        exposure.gross_exposure, 9, (Code.VALUE_NO_REFERENCE, Code.EXPOSURE_GROSS_ABOVE_LIMIT), "max_gross_exposure"
    ),
    Control(exposure.net_exposure, 9, (Code.VALUE_NO_REFERENCE, Code.EXPOSURE_NET_ABOVE_LIMIT), "max_net_exposure"),
    Control(
        exposure.participation, 26, (Code.VOLUME_UNKNOWN, Code.VOLUME_ABOVE_LIMIT), "participation", entries_only=True
    ),
    Control(
        exposure.funds, 20, (Code.FUNDS_UNKNOWN, Code.VALUE_NO_REFERENCE, Code.FUNDS_INSUFFICIENT), "max_funds_share",
        entries_only=True,
    ),
    Control(
        conduct.repeated_execution, 14, (Code.EXECUTION_REPEATED,), "repeated_execution", changes=False,
        entries_only=True, stops="strategy",
    ),
    Control(
        conduct.round_trips, 14, (Code.EXECUTION_ROUND_TRIPS,), "repeated_execution", changes=False,
        entries_only=True, stops="strategy",
    ),
    Control(conduct.message_rate, 11, (Code.RATE_ABOVE_LIMIT,), "message_rate"),
    Control(conduct.orders_to_trades, 12, (Code.RATE_ORDERS_TO_TRADES,), "orders_to_trades"),
    Control(conduct.modifications, 12, (Code.RATE_MODIFICATIONS,), "max_modifications", new=False),
)  # fmt: skip

#: Asked of a level when positions are marked; they stop it.
LOSS_CONTROLS: tuple[Control[LossCheck], ...] = (
    Control(
        conduct.daily_loss, 10, (Code.LOSS_ABOVE_LIMIT,), "max_daily_loss", at="report", stops="account or strategy"
    ),
    Control(
        conduct.drawdown, 10, (Code.LOSS_DRAWDOWN_ABOVE_LIMIT,), "max_drawdown", at="report",
        stops="account or strategy",
    ),
)  # fmt: skip

#: Asked of a level after a report on an order.
REJECT_CONTROLS: tuple[Control[RejectCheck], ...] = (
    Control(
        conduct.consecutive_rejects, 15, (Code.EXECUTION_REJECTS,), "max_consecutive_rejects", at="report",
        stops="strategy",
    ),
)  # fmt: skip

#: Asked again right before an order is sent, with what the broker reports.
SEND_CONTROLS: tuple[Control[Check], ...] = (
    Control(broker.circuit, 1, (Code.PRICE_CIRCUIT_UNKNOWN, Code.PRICE_OUTSIDE_CIRCUIT), "circuit_limits", at="send"),
    Control(broker.children, 7, (Code.ORDER_CHILDREN_ABOVE_PARENT,), at="send"),
    Control(broker.funds_age, 20, (Code.FUNDS_STALE,), "max_funds_age", at="send", entries_only=True),
    Control(
        broker.reconciled, 22, (Code.RECONCILIATION_UNKNOWN, Code.RECONCILIATION_MISMATCH), "reconcile", at="send",
        entries_only=True,
    ),
    Control(broker.heartbeat, 24, (Code.HEARTBEAT_MISSING,), "max_heartbeat_age", at="send", entries_only=True),
    Control(
        broker.clock_skew, 25, (Code.CLOCK_UNKNOWN, Code.CLOCK_SKEWED), "max_clock_skew", at="send", entries_only=True
    ),
    Control(
        broker.clock_jump, 25, (Code.CLOCK_UNKNOWN, Code.CLOCK_JUMPED), "max_clock_jump", at="send", entries_only=True
    ),
    Control(broker.same_limits, 27, (Code.LIMIT_HASH_MISMATCH,), at="send"),
    Control(broker.same_version, 28, (Code.LIMIT_VERSION_MISMATCH,), at="send"),
    Control(broker.algo_id, 30, (Code.ALGO_ID_MISSING,), "algo_id", at="send"),
    Control(broker.registered_ip, 30, (Code.ALGO_ADDRESS_MISMATCH,), "registered_ip", at="send"),
)  # fmt: skip

#: Every control, in the order in which they are asked.
CONTROLS: tuple[Control[Any], ...] = (*ORDER_CONTROLS, *LOSS_CONTROLS, *REJECT_CONTROLS, *SEND_CONTROLS)


class ActiveControl(NamedTuple):
    """A control as it applies under certain limits: its check, or a refusal if its setting is missing (`is_set`)."""

    control: Control[Any]
    check: Check
    is_set: bool = True


def active_controls(
    broker: str, limits: Limits, contract: Contract, at: Literal["order", "send"] = "order"
) -> tuple[ActiveControl, ...]:
    """Return the controls to ask, in the order of the table, without those that would pass everything.

    `limits` are those of all levels combined.
    """
    return tuple(_active(broker, limits, contract, at))


def _active(broker: str, limits: Limits, contract: Contract, at: Literal["order", "send"]) -> Iterator[ActiveControl]:
    for control in ORDER_CONTROLS if at == "order" else SEND_CONTROLS:
        if not is_set(control, limits, contract):
            if broker != PAPER:
                yield _unset(control, broker)
        elif control.idle is None or not control.idle(contract, limits):
            yield ActiveControl(control, control.check)
    if at == "order" and broker != PAPER:
        # Losses and rejections are not checked for an order, but without a limit on them none may be entered.
        reports: tuple[Control[Any], ...] = (*LOSS_CONTROLS, *REJECT_CONTROLS)
        for report in reports:
            if not is_set(report, limits, contract):
                yield _unset(report, broker)


def is_set(control: Control[Any], limits: Limits, contract: Contract) -> bool:
    """Return whether a control has its limit, for that kind of instrument."""
    if control.setting is None:
        return True
    value: Any = getattr(limits, control.setting)
    if control.setting == "price_tolerance" and value is not None:
        return value[order.kind_of(contract)] is not None
    return value is not None


def _unset(control: Control[Any], broker: str) -> ActiveControl:
    """Return what refuses every order in place of a control that is not set."""
    message = f"{control.setting} is not set for broker {broker}; set it in risk.yaml"
    return ActiveControl(control, partial(_refuse, Refusal(Code.LIMIT_UNSET, message, control.setting)), is_set=False)


def _refuse(refusal: Refusal, _: Facts) -> Refusal:
    return refusal


def table() -> str:
    """Return the controls as a Markdown table, for the docs."""
    lines = ["| R | control | setting | codes | asked |", "|---|---|---|---|---|"]
    for control in CONTROLS:
        doc = (control.check.__doc__ or "").strip().split("\n\n")[0]
        what = f"`{control.name}`: {' '.join(doc.split())}"
        setting = "–" if control.setting is None else f"`{control.setting}`"
        codes = ", ".join(f"`{code}`" for code in control.codes)
        lines.append(f"| {control.number} | {what} | {setting} | {codes} | {_asked_when(control)} |")
    return "\n".join(lines) + "\n"


def _asked_when(control: Control[Any]) -> str:
    when = {"order": "for each order", "report": "after a report or a price move", "send": "before sending"}[control.at]
    if control.at == "order" and control.changes:
        when += " and modification"
    if control.entries_only:
        when += "; entries only"
    if control.stops is not None:
        when += f"; stops the {control.stops}"
    return when


def code_table() -> str:
    """Return the codes as a Markdown table, for the docs."""
    return "\n".join(["| code | meaning |", "|---|---|", *(f"| `{code}` | {MEANINGS[code]} |" for code in Code)]) + "\n"
