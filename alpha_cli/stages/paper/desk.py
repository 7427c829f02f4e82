"""The broker's desk: the account, the open orders of each instrument, and what changes them.

Everything that happens to an order ends here: it rests, is filled, or ends, and the journal hears of it. The desk
decides nothing; `exchange`, `day_end` and `engine` do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from itertools import count

from alpha_cli.core.codec import encode
from alpha_cli.core.events import Event, Fill, Side
from alpha_cli.core.ledger import Account, Holding, Key, Unbookable
from alpha_cli.core.money import price_units, units
from alpha_cli.core.order_states import CANCELLED, COMPLETE, REJECTED
from alpha_cli.core.wire import MAX_LINE
from alpha_cli.market.contracts import Contract, Contracts
from alpha_cli.stages.paper.codes import Code, Refused
from alpha_cli.stages.paper.config import PaperConfig
from alpha_cli.stages.paper.costs import Costs
from alpha_cli.stages.paper.margin import MarginAccount
from alpha_cli.stages.paper.orders import Journal, PaperOrder
from alpha_cli.stages.paper.resting_orders import RestingOrders
from alpha_cli.stages.paper.schedule import Schedule
from alpha_cli.stages.paper.statement import fill_event, note_event, portfolio_event
from alpha_cli.stream.last_ticks import LastTicks


class Desk:
    """The books of one account. `counts` are the figures of this run; others add to them too."""

    def __init__(
        self, account: Account, last_ticks: LastTicks, journal: Journal, config: PaperConfig, contracts: Contracts
    ) -> None:
        self.account = account
        self.config = config
        self.contracts = contracts
        self.journal = journal
        self.last_ticks = last_ticks
        self.costs = Costs(config.charges)
        self.margin = MarginAccount(account, last_ticks, config.margins)
        self.schedule = Schedule(contracts, last_ticks)
        self.resting: dict[int, RestingOrders] = {}
        self.open: dict[str, PaperOrder] = {}
        #: The next place in time among all orders.
        self.priorities = count(1)
        self.counts = dict.fromkeys(("orders", "fills", "refused", "repeated", "unknown", "other_brokers"), 0)

    def restore(self, orders: Iterable[PaperOrder]) -> None:
        """Take over the positions of the account and the open orders of an earlier run, in their order of arrival."""
        for holding in self.account.positions.values():
            if holding.quantity:
                self.margin.position_changed(self._contract_of(holding), holding)
        latest = 0
        for working in orders:
            self.keep(working)
            latest = max(latest, working.priority)
        self.priorities = count(latest + 1)

    # --- open orders -------------------------------------------------------------------------

    def open_orders(self) -> Iterator[PaperOrder]:
        """Yield all open orders in the order of their arrival."""
        yield from self.open.values()

    def open_orders_on(self, key: Key, side: Side) -> Iterable[PaperOrder]:
        """Return the open orders of one side for one position, in the order of their arrival."""
        return self.margin.orders(key, side)

    def resting_at(self, token: int) -> RestingOrders:
        """Return the resting orders of one instrument."""
        resting = self.resting.get(token)
        if resting is None:
            resting = self.resting[token] = RestingOrders(self.contract_now(token).hours)
        return resting

    def keep(self, working: PaperOrder) -> RestingOrders:
        """Count `working` as open, if it is new, and return the resting orders of its instrument."""
        token = working.order.instrument_token
        resting = self.resting_at(token)
        if working.order.order_id not in self.open:
            self.open[working.order.order_id] = working
            resting.orders += 1
            self.last_ticks.watch(token)
            self.margin.add(self.contract_now(token), working)
        return resting

    def wait(self, working: PaperOrder) -> None:
        """Keep an order open until a tick that is not older than it reaches it."""
        working.at_exchange = False
        self.keep(working).wait(working)

    def rest(self, working: PaperOrder) -> None:
        """Keep an order open at its limit or trigger."""
        self.keep(working).rest(working)
        self.journal.order(working)

    def update_margin(self, working: PaperOrder, contract: Contract | None = None) -> None:
        """Recompute the margin of an order whose price or quantity changed, if it is open."""
        if working.order.order_id in self.open:
            self.margin.order_changed(contract or self.contract_now(working.order.instrument_token), working)

    def report(self, working: PaperOrder, timestamp: datetime) -> Event:
        """Record an order and return its `order_update`."""
        self.journal.order(working)
        return working.update(timestamp)

    # --- its end -----------------------------------------------------------------------------

    def end(
        self, working: PaperOrder, status: str, code: Code | None, message: str | None, timestamp: datetime
    ) -> Event:
        """End an order and return the update that says so."""
        if status == REJECTED:
            self.counts["refused"] += 1
        working.set_status(status)
        working.code, working.message = code, message
        if self.open.pop(working.order.order_id, None) is not None:
            self._close(working)
        self.journal.order(working)
        return working.update(timestamp)

    def complete(
        self, working: PaperOrder, timestamp: datetime, code: Code | None = None, message: str | None = None
    ) -> Event:
        """End an order that is filled and return the update that says so."""
        return self.end(working, COMPLETE, code, message, timestamp)

    def _close(self, working: PaperOrder) -> None:
        token = working.order.instrument_token
        resting = self.resting[token]
        resting.orders -= 1
        if not resting.orders:
            del self.resting[token]
        self.last_ticks.unwatch(token)
        self.margin.remove(self.contract_now(token), working)

    # --- fills -------------------------------------------------------------------------------

    def fill(
        self,
        working: PaperOrder,
        contract: Contract,
        quantity: int,
        price: int,
        *,
        at: datetime,
        out: list[Event],
        day: date | None = None,
    ) -> bool:
        """Book a fill and append it to `out`. Return False if it cannot be booked: then the order has ended.

        day  the Indian day of `at`, if it is not that of `contract`
        """
        key: Key = (working.order.instrument_token, working.order.product)
        today = (day or contract.on).toordinal()
        sells = working.order.product == "CNC" and working.order.side == "SELL"
        delivers = sells and self._takes_from_demat(working, quantity, today)
        charges = self.costs.of_fill(working, contract, quantity, price, delivered=delivers)
        fill = fill_event(working, quantity, price, charges, at)
        try:
            if fill.metadata and len(encode(fill)) > MAX_LINE:
                raise Refused(Code.METADATA_TOO_LONG, "its metadata is too long for the line of a fill")
            booking = self.account.fill(key, fill.side, quantity, price, charges)
        except (Refused, Unbookable) as fault:
            out.append(self._end_unbookable(working, fault, at))
            return False
        holding = self.account.positions[key]
        if delivers:
            holding.delivered = today
        self.counts["fills"] += 1
        self.schedule.traded(holding, contract, fill, today)
        working.add_fill(quantity, price, at)
        self.journal.fill(fill, booking, self.account)
        if fill.order_id in self.open:
            self.margin.order_changed(contract, working)
        self.margin.position_changed(contract, holding)
        out.append(fill)
        return True

    def _takes_from_demat(self, working: PaperOrder, quantity: int, today: int) -> bool:
        """Return whether a CNC sale takes shares from demat for the first time today; today's buys are sold first."""
        order = working.order
        holding = self.account.positions.get((order.instrument_token, order.product))
        if holding is None:
            return False
        overnight = holding.overnight if holding.day == today else holding.quantity
        bought = max(0, holding.quantity - overnight)
        return quantity > bought and holding.delivered != today

    def _end_unbookable(self, working: PaperOrder, fault: Refused | Unbookable, timestamp: datetime) -> Event:
        code = fault.code if isinstance(fault, Refused) else Code.BOOKS_FULL
        return self.end(working, CANCELLED if working.fills else REJECTED, code, str(fault), timestamp)

    # --- the day and the session -------------------------------------------------------------

    def issue_note(self, day: date) -> list[Event]:
        """Settle the charges of `day` by its contract note; nothing without fills."""
        fills = list(self.journal.fills_of(day))
        if not fills:
            return []
        charges = self.costs.of_day(day, fills, self.contracts)
        taken = _taken(fills)
        for name, amount in self.journal.settled(day).items():
            taken[name] = taken.get(name, 0) + amount
        adjusted = {name: charges.get(name, 0) - taken.get(name, 0) for name in sorted({*charges, *taken})}
        adjusted = {name: amount for name, amount in adjusted.items() if amount}
        booking = self.account.charge(adjusted)
        note = note_event(
            self.account.broker, day, charges=charges, adjusted=adjusted, fills=len(fills), timestamp=self.now
        )
        self.journal.note(note, adjusted, booking, self.account)
        return [note]

    def close(self) -> Event:
        """Return the closing `portfolio`, positions by instrument and product.

        Each is valued at the newest tick of its instrument, or at the last price known from earlier. Flat ones stay
        listed, so that their realised P&L adds up to the account's. Raise `InvariantBroken` if the books do not
        balance.
        """
        account = self.account
        for holding in account.positions.values():
            tick = self.last_ticks.last(holding.instrument_token)
            if tick is not None:
                holding.last_price = price_units(tick.last_price)
        account.check()
        portfolio = portfolio_event(account, self.now)
        self.journal.keep_spots(self.schedule.newest_spots())
        self.journal.portfolio(portfolio, account)
        return portfolio

    # --- contracts ---------------------------------------------------------------------------

    @property
    def now(self) -> datetime | None:
        """The time of the newest tick; None before the first."""
        return self.last_ticks.now

    def contract_now(self, token: int) -> Contract:
        """Return the contract that `token` was last looked up as, or that of now."""
        known = self.contracts.known(token)
        if known is not None:
            return known
        now = self.now
        return self.contracts.contract(token, date.min) if now is None else self.contracts.at(token, now)

    def _contract_of(self, holding: Holding) -> Contract:
        """Return the contract of `holding` when it was last traded: its token may be another's by now."""
        return self.contracts.contract(holding.instrument_token, date.fromordinal(max(holding.day, 1)))


def _taken(fills: Iterable[Fill]) -> dict[str, int]:
    """Return the charges that the fills themselves took, in ledger units by name."""
    taken: dict[str, int] = {}
    for fill in fills:
        for name, amount in fill.charges.items():
            if name != "total":
                taken[name] = taken.get(name, 0) + units(amount)
    return taken
