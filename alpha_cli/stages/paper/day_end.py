"""What an event of the schedule asks for: instructions, which the engine has the desk and the exchange carry out.

Nothing here changes the books. Orders of the broker's own go on until they are filled.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from alpha_cli.core.events import Order, Side
from alpha_cli.core.ledger import MAX_QUANTITY, Holding, Key
from alpha_cli.core.money import price_units
from alpha_cli.core.times import in_india
from alpha_cli.market.contracts import Contract
from alpha_cli.stages.paper.agenda import Due, What
from alpha_cli.stages.paper.codes import MEANINGS, Code
from alpha_cli.stages.paper.desk import Desk
from alpha_cli.stages.paper.orders import EXPIRY, SQUARE_OFF, PaperOrder, made_id

#: Units of shares that one order of the square-off has at most; of a derivative it is the freeze quantity.
#: Source: support.zerodha.com, "What are call and trade charges?" (auto square-off).
_SQUARED_AT_ONCE = 30_000
#: Into how many orders one position is sliced at most; no real market needs more.
_MOST_SLICES = 1_000


class Cancel(Struct, frozen=True):
    """End an open order at the time `at`."""

    working: PaperOrder
    code: Code
    message: str | None
    at: datetime


class SquareOff(Struct, frozen=True):
    """Place an order of the broker's own that closes an MIS position."""

    working: PaperOrder
    contract: Contract


class Settle(Struct, frozen=True):
    """Fill an order of the broker's own at the settlement price, in ledger units, whatever the market offers."""

    working: PaperOrder
    contract: Contract
    price: int
    at: datetime


class Note(Struct, frozen=True):
    """Settle the charges of `day` by its contract note."""

    day: date


Instruction: TypeAlias = Cancel | SquareOff | Settle | Note


class _Closing(NamedTuple):
    """The orders that close one position: why they are made, when, and their largest quantity."""

    key: Key
    why: str
    now: datetime
    most: int = MAX_QUANTITY


class DayEnd:
    """Turns events of the schedule into instructions, from what `desk` holds."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def instructions(self, due: Due, now: datetime) -> list[Instruction]:
        """Return what `due` asks for at the time `now`, in the order in which it is to be done."""
        if due.what is What.CANCEL:
            return self._arrived_cancellation(due)
        if due.what is What.SQUARE_OFF:
            return [*self._cancel_mis(due, now), *self._square_off(due, now)]
        if due.what is What.AUCTION:
            return self._begin_auction(due, now)
        if due.what is What.CLOSE:
            return [_cancel(working, Code.DAY_ENDED, now) for working in self._orders_of(due)]
        if due.what is What.SETTLE:
            return [*self._settle(due, now), *self._cancel_expired(due, now)]
        return [*self._cancel_older(due, now), *self.notes(due.at)]

    def notes(self, before: datetime | None = None) -> list[Instruction]:
        """Return the notes of the days with fills that ended by `before`, in the mode that settles by notes.

        Without `before`, of all days: a session is closed, and if its day goes on, a later note adds to this one.
        """
        days = self._desk.schedule.take_days(before)
        return [Note(day) for day in days] if self._desk.costs.mode == "contract-note" else []

    # --- cancels -----------------------------------------------------------------------------

    def _arrived_cancellation(self, due: Due) -> list[Instruction]:
        working = self._desk.open.get(due.order_id)  # it may have ended before
        if working is None:
            return []
        return [Cancel(working=working, code=Code.CANCELLED_ON_REQUEST, message=working.cancel_reason, at=due.at)]

    def _cancel_mis(self, due: Due, now: datetime) -> list[Instruction]:
        mis = (working for working in self._orders_of(due) if working.order.product == "MIS")
        return [_cancel(working, Code.MIS_SQUARED_OFF, now) for working in mis]

    def _begin_auction(self, due: Due, now: datetime) -> list[Instruction]:
        """Cancel all but LIMIT DAY orders."""
        return [
            _cancel(working, Code.AUCTION_BEGAN, now)
            for working in self._orders_of(due)
            if working.trigger or not working.limit or working.order.validity == "IOC"
        ]

    def _cancel_expired(self, due: Due, now: datetime) -> list[Instruction]:
        orders = self._desk.open_orders()
        return [
            _cancel(working, Code.EXPIRED, now) for working in orders if working.order.instrument_token == due.token
        ]

    def _cancel_older(self, due: Due, now: datetime) -> list[Instruction]:
        """Cancel the orders of the day that ends with `due`."""
        return [
            _cancel(working, Code.DAY_ENDED, now)
            for working in self._desk.open_orders()
            if in_india(working.arrived) < due.at and not working.made_by
        ]

    def _orders_of(self, due: Due) -> list[PaperOrder]:
        """Return the open orders that `due` is about."""
        return [
            working
            for working in self._desk.open_orders()
            if not working.made_by and working.arrived < due.at and self._concerns(due, working.order.instrument_token)
        ]

    def _concerns(self, due: Due, token: int) -> bool:
        contract = self._desk.contracts.contract(token, due.at.date())
        return (contract.instrument.exchange, contract.auctioned) == (due.exchange, due.auctioned)

    # --- positions ---------------------------------------------------------------------------

    def _square_off(self, due: Due, now: datetime) -> Iterator[Instruction]:
        """Close each MIS position by MARKET orders in the names of its strategies."""
        for key, holding in self._positions():
            if holding.product != "MIS" or not self._concerns(due, key[0]):
                continue
            contract = self._desk.contracts.at(key[0], now)
            most = _largest_slice(contract, abs(holding.quantity))
            for working in self._close(_Closing(key, SQUARE_OFF, now, most), holding):
                working.code, working.message = Code.MIS_SQUARED_OFF, f"squared off at {due.at:%H:%M}"
                yield SquareOff(working=working, contract=contract)

    def _settle(self, due: Due, now: datetime) -> Iterator[Instruction]:
        """Close what is held of an expired contract at its settlement price, with the charges of its last day."""
        for key, holding in self._positions():
            if key[0] != due.token:
                continue
            contract = self._desk.contracts.at(due.token, due.at)
            price = self._settlement_price(contract, holding)
            for working in self._close(_Closing(key, EXPIRY, now), holding):
                yield Settle(working=working, contract=contract, price=price, at=now)

    def _positions(self) -> list[tuple[Key, Holding]]:
        """Return the open positions sorted by key: the same order for positions that were read back."""
        positions = self._desk.account.positions
        return [(key, positions[key]) for key in sorted(positions) if positions[key].quantity]

    def _settlement_price(self, contract: Contract, holding: Holding) -> int:
        """Return the settlement price of a derivative in ledger units.

        It follows from the last price of the underlying on the expiry day; if that is not known, it is the
        contract's own last price.
        """
        spots = self._desk.schedule.spots
        underlying = self._desk.contracts.underlying(contract)
        spot = None if underlying is None else spots.get(underlying)
        if spot is None or in_india(spot.timestamp).date() != contract.on:
            own = spots.get(holding.instrument_token)
            if own is None or in_india(own.timestamp).date() > contract.on:  # its token may be another's by then
                return holding.last_price
            return price_units(own.last_price)
        value = price_units(spot.last_price)
        if contract.kind != "option":
            return value
        call = contract.instrument.instrument_type == "CE"
        return max(0, value - contract.strike if call else contract.strike - value)

    def _close(self, closing: _Closing, holding: Holding) -> Iterator[PaperOrder]:
        """Yield orders that close `holding`, for each strategy that holds on its side, in the order of their names.

        Strategies on the other side of the account's position keep what the account does not have to trade. What
        orders of an earlier day still close is not closed twice.
        """
        left = holding.quantity
        side: Side = "SELL" if left > 0 else "BUY"
        shares = self._desk.schedule.shares.get(closing.key, {})
        owners = [(name, shares[name]) for name in sorted(shares) if (shares[name] > 0) == (left > 0)]
        orders = self._desk.open_orders_on(closing.key, side)
        under_way = [working for working in orders if working.made_by == closing.why]
        for strategy_id, share in owners or [(closing.why, left)]:
            quantity = min(abs(share), abs(left))
            if not quantity:
                return
            left += quantity if left < 0 else -quantity
            quantity -= sum(working.remaining for working in under_way if working.order.strategy_id == strategy_id)
            yield from self._slices(closing, strategy_id, side, quantity)

    def _slices(self, closing: _Closing, strategy_id: str, side: Side, quantity: int) -> Iterator[PaperOrder]:
        """Yield the orders of one strategy: one, or as many as it takes if an order may not have all units."""
        token, product = closing.key
        broker, now = self._desk.account.broker, closing.now
        cause = (broker, token, product, strategy_id, in_india(now).date())
        for begin in range(0, quantity, closing.most):
            order_id = made_id(closing.why, *cause, *([begin] if begin else []))
            if self._desk.journal.knows_order(order_id):
                continue  # it was made already
            order = Order(
                order_id=order_id,
                signal_id=order_id,
                strategy_id=strategy_id,
                broker=broker,
                instrument_token=token,
                side=side,
                quantity=min(quantity - begin, closing.most),
                timestamp=now,
                product=product,
            )
            yield PaperOrder.of(order, arrived=now, effective=now, made_by=closing.why)


def _cancel(working: PaperOrder, code: Code, now: datetime) -> Cancel:
    return Cancel(working=working, code=code, message=MEANINGS[code], at=now)


def _largest_slice(contract: Contract, quantity: int) -> int:
    """Return the units of one order when the broker closes `quantity`."""
    lot = contract.lot_size
    most = _SQUARED_AT_ONCE if contract.traded_as == "equity" else contract.freeze or MAX_QUANTITY
    least = -(-quantity // _MOST_SLICES)
    return max(most // lot * lot, -(-least // lot) * lot)
