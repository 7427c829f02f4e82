"""Refusal codes of the market itself, spelled once for every stage that checks orders."""

from __future__ import annotations

from enum import StrEnum


class MarketCode(StrEnum):
    """The code of a rule in `rules`; the value is also the name. Stages add codes of their own."""

    INSTRUMENT_UNKNOWN = "INSTRUMENT_UNKNOWN"
    INSTRUMENT_NOT_TRADABLE = "INSTRUMENT_NOT_TRADABLE"
    INSTRUMENT_EXPIRED = "INSTRUMENT_EXPIRED"
    MARKET_CLOSED = "MARKET_CLOSED"
    MIS_AFTER_SQUARE_OFF = "MIS_AFTER_SQUARE_OFF"
    PRODUCT_NOT_ALLOWED = "PRODUCT_NOT_ALLOWED"
    PRICE_MISSING = "PRICE_MISSING"
    PRICE_NOT_TICK_MULTIPLE = "PRICE_NOT_TICK_MULTIPLE"
    QUANTITY_NOT_POSITIVE = "QUANTITY_NOT_POSITIVE"
    QUANTITY_NOT_LOT_MULTIPLE = "QUANTITY_NOT_LOT_MULTIPLE"
    QUANTITY_ABOVE_FREEZE = "QUANTITY_ABOVE_FREEZE"
