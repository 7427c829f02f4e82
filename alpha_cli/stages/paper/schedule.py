"""What the broker has to do by the time of the stream: data only; `day_end` decides what follows from it.

The time is that of the newest tick or order. Events to come wait in an `Agenda`; the loop delivers the first tick
at or after the next one, of any instrument, so that nothing has to be checked on every tick.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time
from typing import Any

from alpha_cli.core.events import Fill
from alpha_cli.core.ledger import Account, Holding, Key
from alpha_cli.core.times import IST, at_midnight
from alpha_cli.market.contracts import Contract, Contracts, end_of
from alpha_cli.stages.paper.agenda import Agenda, Due, What
from alpha_cli.stages.paper.orders import Journal, PaperOrder, Spot
from alpha_cli.stream.last_ticks import LastTicks

_END_OF_DAY = time(23, 59, 59)


class Schedule:
    """Events to come, and what they are about: positions by strategy, settlement prices, days without a note.

    next_due  when the next event is due, None if there is none; see `is_due`
    shares    units by strategy of each position: the owners of what is squared off or settled
    spots     newest tick of each instrument that settles a position, None before its first. They are watched, because
              the tick that makes a settlement due may be one of theirs, of the next morning.
    """

    def __init__(self, contracts: Contracts, last_ticks: LastTicks) -> None:
        self._contracts = contracts
        self._last_ticks = last_ticks
        self._agenda = Agenda()
        self.next_due: datetime | None = None
        self._expected: set[tuple[Contract, str]] = set()  # (contract, product) already in the agenda, or past
        self._days: set[date] = set()  # with fills that no note settled
        self.shares: dict[Key, dict[str, int]] = {}
        self.spots: dict[int, Any] = {}

    def restore(self, orders: Iterable[PaperOrder], account: Account, journal: Journal, *, notes: bool) -> None:
        """Add what is due for the orders and positions that an earlier run left.

        notes  whether charges are settled by contract notes
        """
        for working in orders:
            self.expect_cancellation(working)
            self.expect(self._contracts.at(working.order.instrument_token, working.arrived), working.order.product)
        kept = list(journal.spots())
        for key, holding in account.positions.items():
            if holding.quantity and holding.day:
                self.expect_settlement(self._contracts.contract(key[0], date.fromordinal(holding.day)), holding)
        for spot in kept:
            if self.spots.get(spot.instrument_token, spot) is None:
                self.spots[spot.instrument_token] = spot
        for key, strategy_id, quantity in journal.shares():
            self.shares.setdefault(key, {})[strategy_id] = quantity
        for day in journal.unsettled() if notes else ():
            self.expect_note(day)
        self._set_alarm()

    # --- time --------------------------------------------------------------------------------

    def is_due(self, now: datetime) -> bool:
        """Return whether there is something to do at `now`."""
        return self.next_due is not None and now >= self.next_due

    def pop(self, now: datetime) -> Due | None:
        """Remove and return the next event that is due by `now`; None once there is no more."""
        due = self._agenda.pop(now)
        if due is None:
            self._set_alarm()
        elif due.what is What.NIGHT:
            self._expected.clear()  # of a day that is over
        return due

    def wants(self, tick: Any) -> bool:
        """Return whether `tick` matters here: its instrument settles a position, or something is due by then."""
        return tick.instrument_token in self.spots or self.is_due(tick.timestamp)

    def saw(self, tick: Any) -> None:
        """Remember `tick` if its instrument settles a position. To be called after what is due by then is done."""
        if tick.instrument_token in self.spots:
            self.spots[tick.instrument_token] = tick

    # --- what is to come ---------------------------------------------------------------------

    def expect(self, contract: Contract, product: str) -> None:
        """Add the events of an accepted order's day: its end, and before it the square-off of MIS."""
        if (contract, product) in self._expected:
            return
        self._expected.add((contract, product))
        day, exchange, auctioned = contract.day, contract.instrument.exchange, contract.auctioned
        if day is not None:
            if product == "MIS" and day.square_off is not None:
                self._agenda.add(Due(day.square_off, What.SQUARE_OFF, exchange, auctioned))
            if day.closing_auction:
                self._agenda.add(Due(day.closing_auction[0].open, What.AUCTION, exchange, auctioned))
            self._agenda.add(Due(end_of(day), What.CLOSE, exchange, auctioned))
        self._add_night(contract.on)
        self._set_alarm()

    def expect_cancellation(self, working: PaperOrder) -> None:
        """Add the arrival of a cancellation that is under way."""
        if working.cancelled_from is not None:
            self._agenda.add(Due(working.cancelled_from, What.CANCEL, order_id=working.order.order_id))
            self._set_alarm()

    def expect_note(self, day: date) -> None:
        """Add the contract note of `day`, with the night that follows it."""
        if day not in self._days:
            self._days.add(day)
            self._add_night(day)
            self._set_alarm()

    def expect_settlement(self, contract: Contract, holding: Holding) -> None:
        """Add the events of a position: it is squared off if it is MIS, and settled if it expires."""
        if (contract, f"{holding.product} held") in self._expected:
            return
        self._expected.add((contract, f"{holding.product} held"))
        day, instrument = contract.day, contract.instrument
        if holding.product == "MIS" and day is not None and day.square_off is not None:
            self._agenda.add(Due(day.square_off, What.SQUARE_OFF, instrument.exchange, contract.auctioned))
        if instrument.expiry is not None:
            last = self._contracts.last_day(instrument)
            at = end_of(last) if last is not None else datetime.combine(instrument.expiry, _END_OF_DAY, IST)
            self._agenda.add(Due(at, What.SETTLE, token=instrument.instrument_token))
            for token in (instrument.instrument_token, self._contracts.underlying(contract)):
                if token is not None and token not in self.spots:
                    self._last_ticks.watch(token)
                    self.spots[token] = self._last_ticks.last(token)

    def _add_night(self, day: date) -> None:
        self._agenda.add(Due(at_midnight(day), What.NIGHT))

    def _set_alarm(self) -> None:
        due = self._agenda.next
        if due != self.next_due:
            self._last_ticks.set_alarm(due, self)
            self.next_due = due

    # --- positions and days ------------------------------------------------------------------

    def traded(self, holding: Holding, contract: Contract, fill: Fill, today: int) -> None:
        """Record that `fill` has just changed `holding`; `today` is its Indian day as a proleptic ordinal."""
        signed = fill.quantity if fill.side == "BUY" else -fill.quantity
        if holding.day != today:
            holding.overnight = holding.quantity - signed
            holding.day = today
        key: Key = (holding.instrument_token, holding.product)
        shares = self.shares.setdefault(key, {})
        shares[fill.strategy_id] = shares.get(fill.strategy_id, 0) + signed
        if not shares[fill.strategy_id]:
            del shares[fill.strategy_id]
        self.expect_settlement(contract, holding)
        self.expect_note(date.fromordinal(today))  # not always the contract's day: a settlement is booked later

    def take_days(self, before: datetime | None = None) -> list[date]:
        """Remove and return the days with fills that no note settled, if they ended by `before`; all without it."""
        done = sorted(day for day in self._days if before is None or at_midnight(day) <= before)
        self._days.difference_update(done)
        return done

    def newest_spots(self) -> Iterable[Spot]:
        """Yield the settlement prices: the next session may be another process."""
        for token, tick in self.spots.items():
            if tick is not None:
                yield Spot(instrument_token=token, timestamp=tick.timestamp, last_price=tick.last_price)
