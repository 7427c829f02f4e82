"""What the broker does by the clock of the stream: cancels, squares off, ends days, settles what expires, writes notes.

The time is that of the newest tick or order. What is due waits in an `Agenda`; the loop delivers the first
tick at or after it, of whatever instrument, so that nothing has to be looked at on every tick.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

from alpha_cli.core.events import ContractNote, Event, Fill, Order, Side
from alpha_cli.core.ledger import MAX_QUANTITY, Holding, Key
from alpha_cli.core.money import in_rupees, price_units, units
from alpha_cli.core.order_states import CANCELLED, COMPLETE
from alpha_cli.core.times import IST, at_midnight, in_india
from alpha_cli.market.contracts import Contract, end_of
from alpha_cli.stages.paper.agenda import Agenda, Due, What
from alpha_cli.stages.paper.codes import MEANINGS, Code
from alpha_cli.stages.paper.orders import EXPIRY, SQUARE_OFF, Journal, PaperOrder, Spot, made_id
from alpha_cli.stream.last_ticks import LastTicks

if TYPE_CHECKING:
    from alpha_cli.stages.paper.engine import Engine

_END_OF_DAY = time(23, 59, 59)

#: Units of shares that one order of the square-off has at most; of a derivative it is the freeze quantity.
#: Source: support.zerodha.com, "What are call and trade charges?" (auto square-off).
_SQUARED_AT_ONCE = 30_000
#: Into how many orders one position is sliced at most; what would need more is of no real market.
_MOST_SLICES = 1_000


class Clock:
    """The clock of one `engine`."""

    def __init__(self, engine: Engine, market: LastTicks, journal: Journal) -> None:
        self._engine = engine
        self._market = market
        self._journal = journal
        self._agenda = Agenda()
        self._next: datetime | None = None
        self._expected: set[tuple[Contract, str]] = set()  # what stands in the agenda, or is past
        self._days: set[date] = set()  # with fills that no note settled
        #: Whose position it is: units by strategy, of what may be squared off or settled.
        self._shares: dict[Key, dict[str, int]] = {}
        #: Newest tick of what a derivative that is held is settled by, and of itself; watched, because the tick that
        #: makes a settlement due may be one of theirs, of the next morning.
        self._spots: dict[int, Any] = {}

    def begin(self, orders: Iterable[PaperOrder]) -> None:
        """Remember what is due for the orders and positions that an earlier run left."""
        engine = self._engine
        for working in orders:
            self.cancel(working)
            self.expect(
                engine.venue.contract(working.order.instrument_token, in_india(working.arrived).date()), working
            )
        left = {spot.instrument_token: spot for spot in self._journal.spots()}
        for key, holding in engine.account.positions.items():
            if holding.quantity and holding.day:
                self._holds(engine.venue.contract(key[0], date.fromordinal(holding.day)), holding)
        for token, spot in left.items():
            if self._spots.get(token, spot) is None:
                self._spots[token] = spot
        for key, strategy_id, quantity in self._journal.shares():
            self._shares.setdefault(key, {})[strategy_id] = quantity
        if engine.costs.mode == "contract-note":
            for day in self._journal.unsettled():
                self._days.add(day)
                self._night(day)
        self._set_alarm()

    def saw(self, tick: Any) -> None:
        """Remember `tick` if something is settled by it. To be called after `passed`."""
        if tick.instrument_token in self._spots:
            self._spots[tick.instrument_token] = tick

    def keep(self) -> None:
        """A session closes: the next may be another process, and settle by what this one saw."""
        seen = (Spot(token, tick.timestamp, tick.last_price) for token, tick in self._spots.items() if tick is not None)
        self._journal.keep_spots(seen)

    def follows(self, tick: Any) -> bool:
        """Whether the clock wants `tick`: something is settled by its instrument, or something is due by then."""
        return tick.instrument_token in self._spots or self.is_due(tick.timestamp)

    def is_due(self, now: datetime) -> bool:
        """Whether there is something to do at `now`."""
        return self._next is not None and now >= self._next

    def passed(self, now: datetime) -> list[Event]:
        """What comes of it that the time is `now`."""
        if not self.is_due(now):
            return []
        out: list[Event] = []
        while (due := self._agenda.pop(now)) is not None:
            out += self._do(due, now)
        self._set_alarm()
        return out

    # --- what is to come ---------------------------------------------------------------------

    def expect(self, contract: Contract, working: PaperOrder) -> None:
        """An order was taken: its day will end, and MIS is squared off before."""
        day, exchange, auctioned = contract.day, contract.instrument.exchange, contract.auctioned
        if (contract, working.order.product) in self._expected:
            return
        self._expected.add((contract, working.order.product))
        if day is not None:
            if working.order.product == "MIS" and day.square_off is not None:
                self._agenda.add(Due(day.square_off, What.SQUARE_OFF, exchange, auctioned))
            if day.closing_auction:
                self._agenda.add(Due(day.closing_auction[0].open, What.AUCTION, exchange, auctioned))
            self._agenda.add(Due(end_of(day), What.CLOSE, exchange, auctioned))
        self._night(contract.on)
        self._set_alarm()

    def cancel(self, working: PaperOrder) -> None:
        """If a cancellation is on its way, it will arrive."""
        if working.cancelled_from is not None:
            self._agenda.add(Due(working.cancelled_from, What.CANCEL, order_id=working.order.order_id))
            self._set_alarm()

    def traded(self, holding: Holding, contract: Contract, order: Order, quantity: int, today: int) -> None:
        """`holding` has just been changed by a fill of `order`."""
        signed = quantity if order.side == "BUY" else -quantity
        if holding.day != today:
            holding.overnight = holding.quantity - signed
            holding.day = today
        key: Key = (holding.instrument_token, holding.product)
        shares = self._shares.setdefault(key, {})
        shares[order.strategy_id] = shares.get(order.strategy_id, 0) + signed
        if not shares[order.strategy_id]:
            del shares[order.strategy_id]
        self._holds(contract, holding)
        day = date.fromordinal(today)  # not always that of the contract: what expires is settled as what was traded
        if day not in self._days:
            self._days.add(day)
            self._night(day)
            self._set_alarm()

    def first_delivery(self, holding: Holding, quantity: int, today: int) -> bool:
        """Whether selling `quantity` takes shares from the demat account, for the first time today.

        Today's buys are sold first.
        """
        overnight = holding.overnight if holding.day == today else holding.quantity
        bought = max(0, holding.quantity - overnight)
        return quantity > bought and holding.delivered != today

    def _holds(self, contract: Contract, holding: Holding) -> None:
        """There is a position: it is squared off if it is MIS, and settled if it expires."""
        if (contract, f"{holding.product} held") in self._expected:
            return
        self._expected.add((contract, f"{holding.product} held"))
        day, instrument = contract.day, contract.instrument
        if holding.product == "MIS" and day is not None and day.square_off is not None:
            self._agenda.add(Due(day.square_off, What.SQUARE_OFF, instrument.exchange, contract.auctioned))
        if instrument.expiry is not None:
            last = self._engine.venue.last_day(instrument)
            at = end_of(last) if last is not None else datetime.combine(instrument.expiry, _END_OF_DAY, IST)
            self._agenda.add(Due(at, What.SETTLE, token=instrument.instrument_token))
            for token in (instrument.instrument_token, self._engine.venue.underlying(contract)):
                if token is not None and token not in self._spots:
                    self._market.watch(token)
                    self._spots[token] = self._market.last(token)

    def _night(self, day: date) -> None:
        self._agenda.add(Due(at_midnight(day), What.NIGHT))

    def _set_alarm(self) -> None:
        due = self._agenda.next
        if due != self._next:
            self._market.wake_at(due, self)
            self._next = due

    # --- what is due -------------------------------------------------------------------------

    def _do(self, due: Due, now: datetime) -> list[Event]:
        if due.what is What.CANCEL:
            found = self._engine.working(due.order_id)  # if there is anything left to cancel
            if found is None:
                return []
            return [self._engine.end(found, CANCELLED, Code.CANCELLED_ON_REQUEST, found.cancel_reason, due.at)]
        if due.what is What.SQUARE_OFF:
            return self._square_off(due, now)
        if due.what is What.AUCTION:
            others = [one for one in self._of(due) if one.trigger or not one.limit or one.order.validity == "IOC"]
            return [self._cancelled(one, Code.AUCTION_BEGAN, now) for one in others]
        if due.what is What.CLOSE:
            return [self._cancelled(one, Code.DAY_ENDED, now) for one in self._of(due)]
        if due.what is What.SETTLE:
            return self._settle(due, now)
        self._expected.clear()  # of a day that is over
        left = [one for one in self._engine.working_orders() if in_india(one.arrived) < due.at and not one.made_by]
        return [*(self._cancelled(one, Code.DAY_ENDED, now) for one in left), *self.settle_charges(due.at)]

    def _of(self, due: Due) -> list[PaperOrder]:
        """The orders that `due` is about. What the broker itself ordered goes on until it is filled."""
        return [
            one
            for one in self._engine.working_orders()
            if not one.made_by and one.arrived < due.at and self._concerns(due, one.order.instrument_token)
        ]

    def _concerns(self, due: Due, token: int) -> bool:
        contract = self._engine.venue.contract(token, due.at.date())
        return (contract.instrument.exchange, contract.auctioned) == (due.exchange, due.auctioned)

    def _cancelled(self, working: PaperOrder, code: Code, now: datetime) -> Event:
        return self._engine.end(working, CANCELLED, code, MEANINGS[code], now)

    def _square_off(self, due: Due, now: datetime) -> list[Event]:
        """Cancel the open MIS orders, then close each MIS position by MARKET orders in the names of its strategies."""
        out = [
            self._cancelled(one, Code.MIS_SQUARED_OFF, now) for one in self._of(due) if one.order.product == "MIS"
        ]  # fmt: skip
        for key, holding in self._positions():
            if holding.product != "MIS" or not holding.quantity or not self._concerns(due, key[0]):
                continue
            contract = self._engine.venue.contract(key[0], in_india(now).date())
            for working in self._closing(key, holding, SQUARE_OFF, now, _slice(contract, abs(holding.quantity))):
                working.code, working.message = Code.MIS_SQUARED_OFF, f"squared off at {due.at:%H:%M}"
                out += self._engine.place(working, contract)
        return out

    def _settle(self, due: Due, now: datetime) -> list[Event]:
        """Close what is held of an expired contract at its settlement price, by what its last day charges."""
        out: list[Event] = []
        for key, holding in self._positions():
            if key[0] != due.token or not holding.quantity:
                continue
            contract = self._engine.venue.contract(due.token, in_india(due.at).date())
            price = self._settlement_price(contract, holding)
            for working in self._closing(key, holding, EXPIRY, now):
                if self._engine.fill_at(working, contract, price, now, out):
                    out.append(self._engine.end(working, COMPLETE, Code.EXPIRED, "settled at expiry", now))
        left = [one for one in self._engine.working_orders() if one.order.instrument_token == due.token]
        return [*out, *(self._cancelled(one, Code.EXPIRED, now) for one in left)]

    def _positions(self) -> list[tuple[Key, Holding]]:
        """All of the account, in an order that does not tell whether they were read back."""
        positions = self._engine.account.positions
        return [(key, positions[key]) for key in sorted(positions)]

    def _settlement_price(self, contract: Contract, holding: Holding) -> int:
        """Of a derivative, by the last price of what it is on, of its last day; by its own if that is not known."""
        own = self._spots.get(holding.instrument_token)
        if own is None or in_india(own.timestamp).date() > contract.on:  # its token may be another's by then
            price = holding.last_price
        else:
            price = price_units(own.last_price)
        underlying = self._engine.venue.underlying(contract)
        spot = None if underlying is None else self._spots.get(underlying)
        if spot is None or in_india(spot.timestamp).date() != contract.on:
            return price
        value = price_units(spot.last_price)
        if contract.kind != "option":
            return value
        call = contract.instrument.instrument_type == "CE"
        return max(0, value - contract.strike if call else contract.strike - value)

    def _closing(
        self, key: Key, holding: Holding, why: str, now: datetime, most: int = MAX_QUANTITY
    ) -> Iterator[PaperOrder]:
        """Orders that close `holding`, for each strategy that holds on its side, in the order of their names.

        One for each, or as many as it takes if an order may have `most` units. Strategies on the other side of the
        account's position keep what the account does not have to trade. What orders of an earlier day still close
        is not closed twice.
        """
        left = holding.quantity
        side: Side = "SELL" if left > 0 else "BUY"
        shares = self._shares.get(key, {})
        owners = [(name, shares[name]) for name in sorted(shares) if (shares[name] > 0) == (left > 0)]
        under_way = [one for one in self._engine.working_on(key, side) if one.made_by == why]
        for strategy_id, share in owners or [(why, left)]:
            quantity = min(abs(share), abs(left))
            if not quantity:
                return
            left += quantity if left < 0 else -quantity
            quantity -= sum(one.left for one in under_way if one.order.strategy_id == strategy_id)
            cause = (self._engine.account.broker, *key, strategy_id, in_india(now).date())
            for begin in range(0, quantity, most):
                order_id = made_id(why, *cause, *([begin] if begin else []))
                if self._journal.knows_order(order_id):
                    continue  # it was made already
                order = Order(
                    order_id=order_id,
                    signal_id=order_id,
                    strategy_id=strategy_id,
                    broker=self._engine.account.broker,
                    instrument_token=key[0],
                    side=side,
                    quantity=min(quantity - begin, most),
                    timestamp=now,
                    product=key[1],
                )
                yield PaperOrder.of(order, now, now, made_by=why)

    # --- charges of a day --------------------------------------------------------------------

    def settle_charges(self, before: datetime | None = None) -> list[Event]:
        """The contract notes of the days that had fills, in the mode that settles by them; of days that are over.

        Without `before`, of all days: a session is closed, and if its day goes on, a later note adds to this one.
        """
        engine = self._engine
        done = sorted(day for day in self._days if before is None or at_midnight(day) <= before)
        out: list[Event] = []
        for day in done:
            self._days.discard(day)
            if engine.costs.mode == "contract-note":
                out += self._note(day)
        return out

    def _note(self, day: date) -> list[Event]:
        engine = self._engine
        fills = list(self._journal.fills_of(day))
        if not fills:
            return []
        charges = engine.costs.of_day(day, fills, engine.venue)
        booked = self._booked(fills)
        for name, amount in self._journal.settled(day).items():
            booked[name] = booked.get(name, 0) + amount
        names = sorted({*charges, *booked})
        adjusted = {name: charges.get(name, 0) - booked.get(name, 0) for name in names}
        adjusted = {name: amount for name, amount in adjusted.items() if amount}
        booking = engine.account.charge(adjusted)
        note = ContractNote(
            broker=engine.account.broker,
            date=day,
            charges={name: in_rupees(amount) for name, amount in sorted(charges.items())}
            | {"total": in_rupees(sum(charges.values()))},
            adjustment=in_rupees(sum(adjusted.values())),
            fills=len(fills),
            timestamp=self._market.now,
        )
        self._journal.note(note, adjusted, booking, engine.account)
        return [note]

    @staticmethod
    def _booked(fills: Iterable[Fill]) -> dict[str, int]:
        """Ledger units by charge that the fills themselves took."""
        booked: dict[str, int] = {}
        for fill in fills:
            for name, amount in fill.charges.items():
                if name != "total":
                    booked[name] = booked.get(name, 0) + units(amount)
        return booked


def _slice(contract: Contract, quantity: int) -> int:
    """Units of one order when the broker closes `quantity`."""
    lot = contract.lot_size
    most = _SQUARED_AT_ONCE if contract.traded_as == "equity" else contract.freeze or MAX_QUANTITY
    least = -(-quantity // _MOST_SLICES)
    return max(most // lot * lot, -(-least // lot) * lot)
