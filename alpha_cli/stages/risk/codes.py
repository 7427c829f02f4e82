"""Why risk refuses: a closed list of stable codes of the form CATEGORY_CONDITION, one meaning each.

`docs/risk.md` lists them. A published code never changes its meaning.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """`denial.code`; the value is also the name, the meaning stands in `MEANINGS`."""

    # stopped
    TRADING_HALTED = "TRADING_HALTED"
    STRATEGY_HALTED = "STRATEGY_HALTED"
    TRADING_REDUCING = "TRADING_REDUCING"
    # the signal itself
    SIGNAL_DUPLICATE = "SIGNAL_DUPLICATE"
    SIGNAL_CONFLICT = "SIGNAL_CONFLICT"
    SIGNAL_HOLD = "SIGNAL_HOLD"
    SIGNAL_EXPIRED = "SIGNAL_EXPIRED"
    SIGNAL_AHEAD = "SIGNAL_AHEAD"
    SIGNAL_TOO_LARGE = "SIGNAL_TOO_LARGE"
    LIMIT_UNSET = "LIMIT_UNSET"
    # instrument, quantity, price
    INSTRUMENT_UNKNOWN = "INSTRUMENT_UNKNOWN"
    INSTRUMENT_NOT_TRADABLE = "INSTRUMENT_NOT_TRADABLE"
    INSTRUMENT_EXPIRED = "INSTRUMENT_EXPIRED"
    INSTRUMENT_NOT_ALLOWED = "INSTRUMENT_NOT_ALLOWED"
    INSTRUMENT_RESTRICTED = "INSTRUMENT_RESTRICTED"
    INSTRUMENT_EXPIRES_TODAY = "INSTRUMENT_EXPIRES_TODAY"
    ORDER_TYPE_UNSUPPORTED = "ORDER_TYPE_UNSUPPORTED"
    ORDER_TYPE_NOT_ALLOWED = "ORDER_TYPE_NOT_ALLOWED"
    ORDER_MARKET_NOT_ALLOWED = "ORDER_MARKET_NOT_ALLOWED"
    PRODUCT_NOT_ALLOWED = "PRODUCT_NOT_ALLOWED"
    QUANTITY_MISSING = "QUANTITY_MISSING"
    QUANTITY_NOT_POSITIVE = "QUANTITY_NOT_POSITIVE"
    QUANTITY_NOT_LOT_MULTIPLE = "QUANTITY_NOT_LOT_MULTIPLE"
    QUANTITY_ABOVE_LIMIT = "QUANTITY_ABOVE_LIMIT"
    QUANTITY_ABOVE_FREEZE = "QUANTITY_ABOVE_FREEZE"
    SIZE_UNKNOWN = "SIZE_UNKNOWN"
    SIZE_BELOW_LOT = "SIZE_BELOW_LOT"
    PRICE_MISSING = "PRICE_MISSING"
    PRICE_NOT_TICK_MULTIPLE = "PRICE_NOT_TICK_MULTIPLE"
    # session
    SESSION_CLOSED = "SESSION_CLOSED"
    SESSION_UNKNOWN = "SESSION_UNKNOWN"
    SESSION_PAST = "SESSION_PAST"
    SESSION_NO_ENTRY = "SESSION_NO_ENTRY"
    SESSION_SQUARED_OFF = "SESSION_SQUARED_OFF"
    # market data and value
    DATA_MISSING = "DATA_MISSING"
    DATA_STALE = "DATA_STALE"
    DATA_GAP = "DATA_GAP"
    PRICE_NO_REFERENCE = "PRICE_NO_REFERENCE"
    PRICE_OUT_OF_TOLERANCE = "PRICE_OUT_OF_TOLERANCE"
    VALUE_NO_REFERENCE = "VALUE_NO_REFERENCE"
    VALUE_ABOVE_LIMIT = "VALUE_ABOVE_LIMIT"
    # with other orders and positions
    ORDER_DUPLICATE = "ORDER_DUPLICATE"
    ORDER_SELF_MATCH = "ORDER_SELF_MATCH"
    ORDER_UNCONFIRMED = "ORDER_UNCONFIRMED"
    POSITION_ABOVE_LIMIT = "POSITION_ABOVE_LIMIT"
    EXPOSURE_OPEN_ABOVE_LIMIT = "EXPOSURE_OPEN_ABOVE_LIMIT"
    EXPOSURE_TURNOVER_ABOVE_LIMIT = "EXPOSURE_TURNOVER_ABOVE_LIMIT"
    EXPOSURE_GROSS_ABOVE_LIMIT = "EXPOSURE_GROSS_ABOVE_LIMIT"
    EXPOSURE_NET_ABOVE_LIMIT = "EXPOSURE_NET_ABOVE_LIMIT"
    VOLUME_UNKNOWN = "VOLUME_UNKNOWN"
    VOLUME_ABOVE_LIMIT = "VOLUME_ABOVE_LIMIT"
    FUNDS_UNKNOWN = "FUNDS_UNKNOWN"
    FUNDS_INSUFFICIENT = "FUNDS_INSUFFICIENT"
    # repetitions and rates
    EXECUTION_REPEATED = "EXECUTION_REPEATED"
    EXECUTION_ROUND_TRIPS = "EXECUTION_ROUND_TRIPS"
    RATE_ABOVE_LIMIT = "RATE_ABOVE_LIMIT"
    RATE_ORDERS_TO_TRADES = "RATE_ORDERS_TO_TRADES"
    RATE_MODIFICATIONS = "RATE_MODIFICATIONS"
    # losses and rejections, which latch
    LOSS_ABOVE_LIMIT = "LOSS_ABOVE_LIMIT"
    LOSS_DRAWDOWN_ABOVE_LIMIT = "LOSS_DRAWDOWN_ABOVE_LIMIT"
    EXECUTION_REJECTS = "EXECUTION_REJECTS"
    # orders and modifications in the input
    ORDER_FOREIGN = "ORDER_FOREIGN"
    ORDER_UNKNOWN = "ORDER_UNKNOWN"
    # with facts of the broker: for execute
    PRICE_CIRCUIT_UNKNOWN = "PRICE_CIRCUIT_UNKNOWN"
    PRICE_OUTSIDE_CIRCUIT = "PRICE_OUTSIDE_CIRCUIT"
    ORDER_CHILDREN_ABOVE_PARENT = "ORDER_CHILDREN_ABOVE_PARENT"
    FUNDS_STALE = "FUNDS_STALE"
    RECONCILIATION_UNKNOWN = "RECONCILIATION_UNKNOWN"
    RECONCILIATION_MISMATCH = "RECONCILIATION_MISMATCH"
    HEARTBEAT_MISSING = "HEARTBEAT_MISSING"
    CLOCK_UNKNOWN = "CLOCK_UNKNOWN"
    CLOCK_SKEWED = "CLOCK_SKEWED"
    CLOCK_JUMPED = "CLOCK_JUMPED"
    LIMIT_HASH_MISMATCH = "LIMIT_HASH_MISMATCH"
    LIMIT_VERSION_MISMATCH = "LIMIT_VERSION_MISMATCH"
    ALGO_ID_MISSING = "ALGO_ID_MISSING"
    ALGO_ADDRESS_MISMATCH = "ALGO_ADDRESS_MISMATCH"


MEANINGS: dict[Code, str] = {
    Code.TRADING_HALTED: "a person, or a loss beyond its limit, stopped trading",
    Code.STRATEGY_HALTED: "a person, or a control, stopped this strategy",
    Code.TRADING_REDUCING: "only orders that reduce a position pass",
    Code.SIGNAL_DUPLICATE: "this signal was decided before",
    Code.SIGNAL_CONFLICT: "another signal with this id was decided before",
    Code.SIGNAL_HOLD: "HOLD asks for no order",
    Code.SIGNAL_EXPIRED: "the signal is older than `signal_ttl`",
    Code.SIGNAL_AHEAD: "the signal is later than the newest tick by more than `signal_ttl`",
    Code.SIGNAL_TOO_LARGE: "its metadata would make the line of an order too long",
    Code.LIMIT_UNSET: "a control is not set for a broker that needs it",
    Code.INSTRUMENT_UNKNOWN: "not in the instrument master of the day",
    Code.INSTRUMENT_NOT_TRADABLE: "an index cannot be bought",
    Code.INSTRUMENT_EXPIRED: "the contract expired before that day",
    Code.INSTRUMENT_NOT_ALLOWED: "not among `allowed_instruments`",
    Code.INSTRUMENT_RESTRICTED: "among `restricted_instruments`",
    Code.INSTRUMENT_EXPIRES_TODAY: "no entries on the day of expiry",
    Code.ORDER_TYPE_UNSUPPORTED: "a signal cannot ask for a stop order, nor a modification for a MARKET order",
    Code.ORDER_TYPE_NOT_ALLOWED: "not among `order_types`",
    Code.ORDER_MARKET_NOT_ALLOWED: "`market_protection` is off: no MARKET orders",
    Code.PRODUCT_NOT_ALLOWED: "not among `products`, or not for this kind of instrument",
    Code.QUANTITY_MISSING: "no quantity, and no sizing rule to give one",
    Code.QUANTITY_NOT_POSITIVE: "the quantity must be at least 1",
    Code.QUANTITY_NOT_LOT_MULTIPLE: "the quantity is not a multiple of the lot size",
    Code.QUANTITY_ABOVE_LIMIT: "more units than one order may have",
    Code.QUANTITY_ABOVE_FREEZE: "more than `max_slices` orders of the freeze quantity",
    Code.SIZE_UNKNOWN: "the sizing rule lacks a price, the equity or bars",
    Code.SIZE_BELOW_LOT: "the sizing rule allows less than one lot",
    Code.PRICE_MISSING: "a LIMIT order needs a positive price",
    Code.PRICE_NOT_TICK_MULTIPLE: "the price is not a multiple of the tick size",
    Code.SESSION_CLOSED: "signal or newest tick outside the continuous session of the instrument",
    Code.SESSION_UNKNOWN: "a day that the calendar does not cover",
    Code.SESSION_PAST: "the stream has gone back before the day whose counts are kept",
    Code.SESSION_NO_ENTRY: "outside the part of the session in which positions may be opened",
    Code.SESSION_SQUARED_OFF: "no new MIS positions after the square-off time",
    Code.DATA_MISSING: "no tick of the instrument yet",
    Code.DATA_STALE: "the last tick of the instrument is older than `max_tick_age`",
    Code.DATA_GAP: "ticks are missing, and none of the instrument came since",
    Code.PRICE_NO_REFERENCE: "no tick to compare the price with",
    Code.PRICE_OUT_OF_TOLERANCE: "worse than the last price by more than `price_tolerance`",
    Code.VALUE_NO_REFERENCE: "no price to value the order at",
    Code.VALUE_ABOVE_LIMIT: "worth more than one order may be",
    Code.ORDER_DUPLICATE: "the same order within `duplicate_window`",
    Code.ORDER_SELF_MATCH: "it would trade with an own open order",
    Code.ORDER_UNCONFIRMED: "an earlier order on the instrument has no report after `confirm_within`",
    Code.POSITION_ABOVE_LIMIT: "the worst-case position would grow past `max_position`",
    Code.EXPOSURE_OPEN_ABOVE_LIMIT: "the open orders would be worth more than `max_open_order_value`",
    Code.EXPOSURE_TURNOVER_ABOVE_LIMIT: "the day's trades and open orders would be worth more than `max_turnover`",
    Code.EXPOSURE_GROSS_ABOVE_LIMIT: "the sum of the worst-case positions would grow past `max_gross_exposure`",
    Code.EXPOSURE_NET_ABOVE_LIMIT: "long less short would grow past `max_net_exposure`",
    Code.VOLUME_UNKNOWN: "the volume that `participation` is a share of is not known",
    Code.VOLUME_ABOVE_LIMIT: "too large a share of the volume traded",
    Code.FUNDS_UNKNOWN: "the available funds are not known",
    Code.FUNDS_INSUFFICIENT: "worth more than `max_funds_share` of the available funds",
    Code.EXECUTION_REPEATED: "too many orders on one side: the strategy loops, and is stopped",
    Code.EXECUTION_ROUND_TRIPS: "too many round trips in a day; the strategy is stopped",
    Code.RATE_ABOVE_LIMIT: "more messages than `message_rate` allows; a part is kept for cancels",
    Code.RATE_ORDERS_TO_TRADES: "too many messages for each trade",
    Code.RATE_MODIFICATIONS: "more modifications of one order than `max_modifications`",
    Code.LOSS_ABOVE_LIMIT: "the day's loss is above `max_daily_loss`: REDUCING; above one and a half times it: HALTED",
    Code.LOSS_DRAWDOWN_ABOVE_LIMIT: "equity fell from its peak by more than `max_drawdown`: same states",
    Code.EXECUTION_REJECTS: "the broker rejected too many orders in a row; the strategy is stopped",
    Code.ORDER_FOREIGN: "an order in the input that this stage did not make",
    Code.ORDER_UNKNOWN: "a modification of an order that is not open here",
    Code.PRICE_CIRCUIT_UNKNOWN: "the day's circuit limits are not known",
    Code.PRICE_OUTSIDE_CIRCUIT: "outside the day's circuit limits",
    Code.ORDER_CHILDREN_ABOVE_PARENT: "the slices of an order would be more than the order",
    Code.FUNDS_STALE: "the figure of the funds is older than `max_funds_age`",
    Code.RECONCILIATION_UNKNOWN: "the outcome of an earlier order on the instrument is not known",
    Code.RECONCILIATION_MISMATCH: "positions or cash differ from the broker's twice in a row",
    Code.HEARTBEAT_MISSING: "feed or risk have been silent for longer than `max_heartbeat_age`",
    Code.CLOCK_UNKNOWN: "the difference between clock and exchange is not known",
    Code.CLOCK_SKEWED: "the clock differs from the exchange's by more than `max_clock_skew`",
    Code.CLOCK_JUMPED: "the clock jumped by more than `max_clock_jump`",
    Code.LIMIT_HASH_MISMATCH: "the order passed other limits than those that are loaded",
    Code.LIMIT_VERSION_MISMATCH: "the order was made by another version",
    Code.ALGO_ID_MISSING: "the order does not carry the configured `algo_id`",
    Code.ALGO_ADDRESS_MISMATCH: "orders leave from another address than `registered_ip`",
}
