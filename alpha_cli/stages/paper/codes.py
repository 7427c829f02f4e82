"""Why the simulated broker refused or ended an order: stable codes, one row each.

`docs/orders.md` prints these tables. The texts are those of the exchange or of Kite where they have one.
"""

from __future__ import annotations

from enum import StrEnum

from alpha_cli.market.refusals import MarketCode


class Code(StrEnum):
    """`order_update.code`; the value is also the name, `MEANINGS` says what it means."""

    # refused on arrival, in the order of the checks
    TRADING_HALTED = "TRADING_HALTED"
    ORDER_ID_RESERVED = "ORDER_ID_RESERVED"
    INSTRUMENT_UNKNOWN = MarketCode.INSTRUMENT_UNKNOWN
    INSTRUMENT_NOT_TRADABLE = MarketCode.INSTRUMENT_NOT_TRADABLE
    INSTRUMENT_NOT_SIMULATED = "INSTRUMENT_NOT_SIMULATED"
    INSTRUMENT_EXPIRED = MarketCode.INSTRUMENT_EXPIRED
    CALENDAR_UNKNOWN = "CALENDAR_UNKNOWN"
    MARKET_CLOSED = MarketCode.MARKET_CLOSED
    AUCTION_ORDER_TYPE = "AUCTION_ORDER_TYPE"
    PRODUCT_NOT_ALLOWED = MarketCode.PRODUCT_NOT_ALLOWED
    CHARGES_UNKNOWN = "CHARGES_UNKNOWN"
    PRICE_MISSING = MarketCode.PRICE_MISSING
    TRIGGER_MISSING = "TRIGGER_MISSING"
    PRICE_NOT_TICK_MULTIPLE = MarketCode.PRICE_NOT_TICK_MULTIPLE
    TRIGGER_BEYOND_LIMIT = "TRIGGER_BEYOND_LIMIT"
    QUANTITY_NOT_LOT_MULTIPLE = MarketCode.QUANTITY_NOT_LOT_MULTIPLE
    QUANTITY_ABOVE_FREEZE = MarketCode.QUANTITY_ABOVE_FREEZE
    NO_PRICE = "NO_PRICE"
    TRIGGER_BEYOND_LAST = "TRIGGER_BEYOND_LAST"
    PRICE_OUTSIDE_BAND = "PRICE_OUTSIDE_BAND"
    MIS_AFTER_SQUARE_OFF = MarketCode.MIS_AFTER_SQUARE_OFF
    HOLDINGS_INSUFFICIENT = "HOLDINGS_INSUFFICIENT"
    MARGIN_INSUFFICIENT = "MARGIN_INSUFFICIENT"
    # refused when it would fill
    BOOKS_FULL = "BOOKS_FULL"
    METADATA_TOO_LONG = "METADATA_TOO_LONG"
    # a modification refused; the order does not change
    QUANTITY_NOT_POSITIVE = MarketCode.QUANTITY_NOT_POSITIVE
    QUANTITY_BELOW_FILLED = "QUANTITY_BELOW_FILLED"
    ALREADY_TRIGGERED = "ALREADY_TRIGGERED"
    MODIFICATIONS_EXHAUSTED = "MODIFICATIONS_EXHAUSTED"
    # ended without a fill of the rest
    CANCELLED_ON_REQUEST = "CANCELLED_ON_REQUEST"
    IOC_NOT_FILLED = "IOC_NOT_FILLED"
    DAY_ENDED = "DAY_ENDED"
    AUCTION_BEGAN = "AUCTION_BEGAN"
    MIS_SQUARED_OFF = "MIS_SQUARED_OFF"
    EXPIRED = "EXPIRED"


MEANINGS: dict[Code, str] = {
    Code.TRADING_HALTED: "trading is halted: neither orders nor modifications are taken, cancels are",
    Code.ORDER_ID_RESERVED: "the id is one that the broker gives to its own orders",
    Code.INSTRUMENT_UNKNOWN: "the instrument master does not have the token on that day",
    Code.INSTRUMENT_NOT_TRADABLE: "an index cannot be bought",
    Code.INSTRUMENT_NOT_SIMULATED: "commodities and currencies: the master does not say how many units a lot is",
    Code.INSTRUMENT_EXPIRED: "the contract expired before that day",
    Code.CALENDAR_UNKNOWN: "the calendar does not know that day, so nobody knows whether the market is open",
    Code.MARKET_CLOSED: "outside the continuous session; orders for after the market are not simulated",
    Code.AUCTION_ORDER_TYPE: "the closing auction takes LIMIT orders of validity DAY",
    Code.PRODUCT_NOT_ALLOWED: "CNC is for shares, NRML for derivatives",
    Code.CHARGES_UNKNOWN: "a charge of that day has no source; --charges none trades without",
    Code.PRICE_MISSING: "LIMIT and SL orders need a price above 0",
    Code.TRIGGER_MISSING: "SL and SL-M orders need a trigger price above 0",
    Code.TRIGGER_BEYOND_LIMIT: "the limit of a stop must not lie before its trigger",
    Code.PRICE_NOT_TICK_MULTIPLE: "price and trigger price must be multiples of the tick size",
    Code.QUANTITY_NOT_LOT_MULTIPLE: "the quantity must be a multiple of the lot size",
    Code.QUANTITY_ABOVE_FREEZE: "the quantity is above the exchange's freeze quantity; slice the order",
    Code.NO_PRICE: "no tick of the instrument came before the order",
    Code.TRIGGER_BEYOND_LAST: "a stop to buy must lie above the last price, one to sell below it",
    Code.PRICE_OUTSIDE_BAND: "outside the circuit limits, or of an option beyond the limit price protection",
    Code.MIS_AFTER_SQUARE_OFF: "no new MIS positions after the square-off time",
    Code.HOLDINGS_INSUFFICIENT: "CNC shares must be held, or bought today, before they are sold",
    Code.MARGIN_INSUFFICIENT: "the order needs more than the available margin",
    Code.BOOKS_FULL: "the books could not tell the figures after this fill",
    Code.METADATA_TOO_LONG: "the metadata would make the line of a fill too long",
    Code.QUANTITY_NOT_POSITIVE: "the new quantity must be above 0",
    Code.QUANTITY_BELOW_FILLED: "more than the new quantity is filled already",
    Code.ALREADY_TRIGGERED: "a stop that was triggered has no trigger any more",
    Code.MODIFICATIONS_EXHAUSTED: "Kite takes 25 modifications of an order",
    Code.CANCELLED_ON_REQUEST: "a cancel named it",
    Code.IOC_NOT_FILLED: "validity IOC: what was not filled at once is cancelled",
    Code.DAY_ENDED: "validity DAY: the session is over",
    Code.AUCTION_BEGAN: "stops, and what is not LIMIT DAY, are cancelled when the closing auction begins",
    Code.MIS_SQUARED_OFF: "open MIS orders are cancelled at the square-off time",
    Code.EXPIRED: "the contract was settled",
}


#: Characters of a reason or message that an update repeats; the whole could be too long for its line.
MOST_REASON = 500


class Refused(Exception):
    """An order breaks a rule of the broker or the exchange: the code of the rule, and the figures in a sentence."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


def table() -> str:
    """Return the codes as a Markdown table, for the docs."""
    lines = ["| code | meaning |", "|---|---|"]
    lines += [f"| `{code}` | {MEANINGS[code]} |" for code in Code]
    return "\n".join(lines) + "\n"
