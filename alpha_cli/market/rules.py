"""Rules of exchange and broker that every stage checks alike: pure functions of a contract and a figure.

Each stage words its own refusals; the codes they share are in `refusals`. Prices are in ledger units, quantities
in units of the instrument.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from alpha_cli.core.events import Product, Side
from alpha_cli.market.contracts import Contract
from alpha_cli.market.refusals import MarketCode

if TYPE_CHECKING:
    from alpha_cli.market.calendar.sessions import Phase

#: The calendar's name for the parts of an auction in which orders are taken: not before its reference price is
#: known, nor once it matches.
_ORDER_ENTRY = "order entry"


# --- all at once ------------------------------------------------------------------------------


def broken_rules(
    contract: Contract, *, product: Product, quantity: int, prices: Iterable[int | None], moment: datetime
) -> set[MarketCode]:
    """Return the codes of all rules that an order would break; each stage reports the first by its own order.

    prices  limit and trigger as far as the order has them, in ledger units
    moment  of the order; its session is not checked where the calendar does not know the day
    """
    broken = set()
    why = untradable(contract)
    if why is not None:
        broken.add(why)
    if contract.unknown is None and not contract.hours.contains(moment):
        broken.add(MarketCode.MARKET_CLOSED)
    if not is_product_allowed(contract, product):
        broken.add(MarketCode.PRODUCT_NOT_ALLOWED)
    if not all(price is None or is_tick_multiple(contract, price) for price in prices):
        broken.add(MarketCode.PRICE_NOT_TICK_MULTIPLE)
    if not is_lot_multiple(contract, quantity):
        broken.add(MarketCode.QUANTITY_NOT_LOT_MULTIPLE)
    if is_above_freeze(contract, quantity):
        broken.add(MarketCode.QUANTITY_ABOVE_FREEZE)
    if product == "MIS" and is_after_square_off(contract, moment):
        broken.add(MarketCode.MIS_AFTER_SQUARE_OFF)
    return broken


# --- the instrument ---------------------------------------------------------------------------


def untradable(contract: Contract) -> MarketCode | None:
    """Return why orders cannot trade `contract`: not in the master, an index, or expired. None if it can be traded."""
    if not contract.listed:
        return MarketCode.INSTRUMENT_UNKNOWN
    if contract.kind == "index":
        return MarketCode.INSTRUMENT_NOT_TRADABLE
    return MarketCode.INSTRUMENT_EXPIRED if contract.expired else None


def expires_today(contract: Contract) -> bool:
    """Return whether the day of `contract` is its last."""
    return contract.instrument.expiry == contract.on


def is_product_allowed(contract: Contract, product: Product) -> bool:
    """Return whether `product` fits the kind of instrument: CNC delivers shares, NRML carries derivatives, MIS any.

    Without a master the kind is not known, and every product is allowed.
    """
    if not contract.instrument.name:
        return True
    return product != ("NRML" if contract.traded_as == "equity" else "CNC")


# --- the time ---------------------------------------------------------------------------------


def takes_orders(phase: Phase) -> bool:
    """Return whether orders are taken in this part of an auction."""
    return phase.phase.startswith(_ORDER_ENTRY)


def is_auction_open(contract: Contract, moment: datetime) -> bool:
    """Return whether the closing auction takes orders in `contract` at `moment`."""
    phases = (None if contract.day is None else contract.day.closing_auction) or ()
    return any(phase.open <= moment < phase.close for phase in phases if takes_orders(phase))


def is_after_square_off(contract: Contract, moment: datetime) -> bool:
    """Return whether the broker has closed the day's MIS positions by `moment`: none may be opened."""
    day = contract.day
    return day is not None and day.square_off is not None and moment >= day.square_off


# --- quantity and price -----------------------------------------------------------------------


def is_lot_multiple(contract: Contract, quantity: int) -> bool:
    """Return whether `quantity` is a whole number of lots."""
    return quantity % contract.lot_size == 0


def largest_order(contract: Contract) -> int | None:
    """Return the most units in whole lots that one order may have; None without a freeze quantity."""
    return None if contract.freeze is None else contract.freeze // contract.lot_size * contract.lot_size


def is_above_freeze(contract: Contract, quantity: int) -> bool:
    """Return whether the exchange would refuse one order of `quantity` units for its size."""
    return contract.freeze is not None and quantity > contract.freeze


def is_tick_multiple(contract: Contract, price: int) -> bool:
    """Return whether `price` is on the exchange's grid of prices."""
    return price % contract.tick_size == 0


def worst_price(side: Side, limit: int | None, reference: int) -> int:
    """Return the price that an order is valued at, in ledger units: the most a BUY may pay, or a SELL may be worth.

    limit      of the order; None: a MARKET order, which is valued at the reference
    reference  the newest price of the instrument

    A SELL fills at its limit or better, so one below the market trades at the market's price.
    """
    if limit is None:
        return reference
    return limit if side == "BUY" else max(limit, reference)
