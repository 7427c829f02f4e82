"""The simulated broker: pure steps from an order, a cancel, a modify or a tick to fills and updates.

An order is looked at (`gate`), goes to the exchange, and meets the ticks of its instrument there
(`matching`, `book`); the clock of the stream squares off, ends days and settles (`clock`). The rules are told
one by one in `docs/matching.md`. Only ticks of instruments with something that could fill are delivered
(`Market.watch`), and the first tick at or after what is due next (`Market.wake_at`).

Resting orders that were read back from a journal sleep until the stream has caught up with the last change
that was kept, of whatever order, so that the same input read twice gives the same books: ticks from before it
have met them already. They wake on a tick later than that, of those delivered for the engine's own sake, on a
line that was not applied before, or once the very line has come by again that made the last change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from alpha_cli.core.codec import encode
from alpha_cli.core.errors import Halted
from alpha_cli.core.events import Cancel, Event, Fill, Modify, Order, OrderType, Side, Tick
from alpha_cli.core.ids import derive_id
from alpha_cli.core.ledger import Account, Holding, Key, Unbookable
from alpha_cli.core.money import in_rupees, price_units
from alpha_cli.core.order_states import (
    CANCEL_PENDING,
    CANCELLED,
    COMPLETE,
    OPEN,
    OPEN_PENDING,
    REJECTED,
    TRIGGER_PENDING,
)
from alpha_cli.core.times import in_india, later
from alpha_cli.core.wire import MAX_LINE
from alpha_cli.market.contracts import Contract, Contracts
from alpha_cli.stages.paper import rules as gate
from alpha_cli.stages.paper.codes import Code, Refused
from alpha_cli.stages.paper.config import PaperConfig
from alpha_cli.stages.paper.costs import Costs
from alpha_cli.stages.paper.margin import Funds
from alpha_cli.stages.paper.matching import Liquidity, protection_price
from alpha_cli.stages.paper.orders import Journal, Memory, PaperOrder, modified
from alpha_cli.stages.paper.resting_orders import Book
from alpha_cli.stages.paper.schedule import Clock
from alpha_cli.stages.paper.statement import statement
from alpha_cli.stream.last_ticks import LastTicks

#: Characters of someone's reason that an update repeats; the whole could be too long for its line.
_REASON = 500
_NO_TIME = timedelta()

#: What a new price makes of an order that has a limit: one that was protected is a plain LIMIT at the exchange.
_PLAIN: dict[OrderType, OrderType | None] = {"MARKET": "LIMIT", "SL-M": "LIMIT", "LIMIT": None, "SL": None}


class Engine:
    """Fills the orders of one `account` against the ticks of `market`.

    journal      told of every change, asked what was applied before
    resting      open orders of earlier runs, in the order of their arrival
    halt_reason  why trading is halted, or None; asked before every order
    """

    def __init__(
        self,
        account: Account,
        market: LastTicks,
        journal: Journal | None = None,
        resting: Iterable[PaperOrder] = (),
        *,
        config: PaperConfig | None = None,
        venue: Contracts | None = None,
        halt_reason: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.account = account
        self._halt_reason = halt_reason
        self.config = config or PaperConfig()
        self.venue = venue or Contracts(all_hours=self.config.all_hours)
        self.costs = Costs(self.config.charges)
        self._market = market
        self._journal: Journal = journal or Memory()
        self._funds = Funds(account, market, self.config.margins)
        self._books: dict[int, Book] = {}
        self._liquidity: dict[int, Liquidity] = {}
        self._open: dict[str, PaperOrder] = {}
        self._priority = 0
        self._counts = dict.fromkeys(("orders", "fills", "refused", "repeated", "unknown", "other_brokers"), 0)
        self._clock = Clock(self, market, self._journal)
        for holding in account.positions.values():
            if holding.quantity:
                self._funds.position_changed(self._contract_on(holding), holding)
        for working in resting:
            self._kept(working)
            self._priority = max(self._priority, working.priority)
        self._fall_behind()
        self._clock.begin(self._open.values())

    @property
    def steps(self) -> Mapping[type[Event], Callable[[Any], Iterable[Event]]]:
        """Type of event -> the step for it, as `Stage` wants them."""
        return {Order: self.on_order, Cancel: self.on_cancel, Modify: self.on_modify, Tick: self.on_tick}

    def counts(self) -> Mapping[str, int]:
        """Figures of this run; `unknown` counts cancels and modifies of orders that are not open here."""
        return self._counts | {"open": len(self._open)}

    # --- the steps ---------------------------------------------------------------------------

    def on_order(self, order: Order) -> list[Event]:
        """Fill, rest or reject a new order; one that was applied before changes nothing.

        Nor does another order for a signal that was, unless it names its parent: a slice of that signal.
        """
        if order.broker != self.account.broker:
            self._counts["other_brokers"] += 1
            return []
        if self._journal.knows_order(order.order_id):
            self._counts["repeated"] += 1
            self._seen_again(order.order_id)
            return []
        if order.parent_order_id is None and self._journal.knows_signal(order.signal_id):
            self._counts["repeated"] += 1
            return []
        self._counts["orders"] += 1
        self._catch_up()
        arrived = self._market.now or order.timestamp
        return [*self._passed(arrived, order.instrument_token), *self._new(order, arrived)]

    def on_cancel(self, cancel: Cancel) -> list[Event]:
        """Cancel a resting order, once the cancellation is at the exchange; until then it may still fill."""
        working = self._open.get(cancel.order_id)
        if working is None:
            self._counts["unknown"] += 1
            return []
        now = self._market.now or cancel.timestamp or working.changed
        out = self._passed(now, working.order.instrument_token)
        if working.order.order_id not in self._open:  # the clock was quicker
            return out
        reason = (cancel.reason or "cancelled on request")[:_REASON]
        if self.config.latency == _NO_TIME:
            return [*out, self.end(working, CANCELLED, Code.CANCELLED_ON_REQUEST, reason, now)]
        if working.status == CANCEL_PENDING:
            self._counts["repeated"] += 1
            return out
        self._catch_up()
        working.becomes(CANCEL_PENDING)
        working.changed = now
        working.code, working.message = None, reason
        working.cancelled_from, working.cancel_reason = later(now, self.config.latency), reason
        self._clock.cancel(working)
        return [*out, self._noted(working, now)]

    def on_modify(self, modify: Modify) -> list[Event]:
        """Change a resting order, which costs it its place in the queue; it may fill at once."""
        working = self._open.get(modify.order_id)
        if working is None:
            self._counts["unknown"] += 1
            return []
        if working.replayed is not None and working.replayed < working.modify_lines:
            self._counts["repeated"] += 1
            working.replayed += 1
            self._lines_came(working)
            return []
        working.replayed = None
        self._catch_up()
        now = self._market.now or modify.timestamp or working.changed
        out = self._passed(now, working.order.instrument_token)
        if working.order.order_id not in self._open:
            return out
        working.modify_lines += 1
        if working.limit is not None and modify.price is not None and modify.order_type is None:
            modify = replace(modify, order_type=_PLAIN[working.order.order_type])
        try:
            self._check_modification(working, modify, now)
        except Refused as fault:
            self._counts["refused"] += 1
            working.code, working.message = fault.code, f"not modified: {fault}"
            return [*out, self._noted(working, now)]
        self._modify(working, modify, now)
        return out + self._to_exchange(working, now, fresh=False)

    def on_tick(self, tick: Tick) -> list[Event]:
        """Do what is due, fill the orders that `tick` reaches, and take in those that arrived by now."""
        if self._behind is not None and tick.timestamp > self._behind and self._follows(tick):
            self._catch_up()
        out = self._passed(tick.timestamp, tick.instrument_token)
        self._clock.saw(tick)
        book = self._books.get(tick.instrument_token)
        if book is None:
            return out
        hours = book.hours
        if not (hours.open <= tick.timestamp < hours.close or hours.contains(tick.timestamp)):
            self._auction(book, tick, out)
            return out
        if book.reached(tick):
            self._meet(book, tick, out)
        if book.waiting:
            contract = self._contract_at(tick.instrument_token, tick.timestamp)
            for working in list(book.arrived(tick.timestamp)):
                self._arrive(working, contract, tick, out)
        return out

    def _follows(self, tick: Any) -> bool:
        """Whether this stage wants `tick`. In one process it is handed those too that only another stage wants."""
        return tick.instrument_token in self._books or self._clock.follows(tick)

    def _passed(self, now: datetime, token: int) -> list[Event]:
        """What is due by `now`; nothing if no calendar knows that day: a tick of year 2099 ends nobody's day."""
        if not self._clock.is_due(now) or self._contract_at(token, now).unknown is not None:
            return []
        return self._clock.passed(now)

    def opening(self) -> list[Event]:
        """What the account begins with, for strategies that are told of fills."""
        return [statement(self.account, None)]

    def close(self) -> list[Event]:
        """The contract notes that are due, and the closing `portfolio`, positions by instrument and product.

        Each is valued at the newest tick of its instrument, or at the last price known from earlier.
        Flat ones stay listed, so that their realised P&L adds up to the account's. Raises
        `InvariantBroken` if the books do not balance.
        """
        out = self._clock.settle_charges()
        account = self.account
        for holding in account.positions.values():
            tick = self._market.last(holding.instrument_token)
            if tick is not None:
                holding.last_price = price_units(tick.last_price)
        account.check()
        portfolio = statement(account, self._market.now)
        self._clock.keep()
        self._journal.portfolio(portfolio, account)
        return [*out, portfolio]

    # --- the life of an order ----------------------------------------------------------------

    def _new(self, order: Order, arrived: datetime) -> list[Event]:
        """Look at an order that came, and send it to the exchange."""
        working = PaperOrder.of(order, arrived, later(order.timestamp, self.config.latency))
        contract = self._contract_at(order.instrument_token, arrived)
        try:
            self._check_halt()
            gate.check(self._facts(working, contract, arrived))
        except Refused as fault:
            return [self.end(working, REJECTED, fault.code, str(fault)[:_REASON], arrived)]
        return self.place(working, contract)

    def _check_halt(self) -> None:
        why = self._halt_reason()
        if why is not None:
            raise Refused(Code.TRADING_HALTED, f"trading is halted: {why}")

    def verdict(self) -> Halted | None:
        """`Halted` while trading is: what came to the end of its input ends with 80."""
        why = self._halt_reason()
        return None if why is None else Halted(f"halted: {why}; {self._counts['refused']} orders were refused")

    def place(self, working: PaperOrder, contract: Contract) -> list[Event]:
        """Send an order that nothing speaks against to the exchange."""
        self._next_priority(working)
        self._clock.expect(contract, working)
        return self._to_exchange(working, working.arrived, fresh=True)

    def _to_exchange(self, working: PaperOrder, now: datetime, *, fresh: bool) -> list[Event]:
        """Let the order meet the newest tick, or wait for one that is not older than it is."""
        order = working.order
        tick = self._market.last(order.instrument_token)
        out: list[Event] = []
        if tick is not None and tick.timestamp >= working.effective:
            contract = self._contract_at(order.instrument_token, tick.timestamp)
            if contract.hours.contains(tick.timestamp):
                self._arrive(working, contract, tick, out, say=True)
                return out
        working.met = False
        self._kept(working).wait(working)
        if fresh:
            under_way = self.config.latency > _NO_TIME
            working.status = OPEN_PENDING if under_way else OPEN if working.trigger is None else TRIGGER_PENDING
        return [self._noted(working, now)]

    def _arrive(
        self, working: PaperOrder, contract: Contract, tick: Any, out: list[Event], *, say: bool = False
    ) -> None:
        """The order is at the exchange when `tick` shows the market: trigger, take what there is, rest or end.

        say  tell its status even if nothing came of it
        """
        status = working.status
        working.met = True
        if not say:
            working.changed = tick.timestamp
        if working.trigger is not None:
            last = price_units(tick.last_price)
            if (last < working.trigger) if working.order.side == "BUY" else (last > working.trigger):
                self._stands(working, TRIGGER_PENDING)
                self._kept(working).rest(working)
                self._journal.order(working)
                if say or status != TRIGGER_PENDING:
                    out.append(working.update(tick.timestamp))
                return
            if not self._trigger(working, contract, tick, out):
                return
        self._stands(working, OPEN)
        self._take(working, contract, tick, out, say=say or status == OPEN_PENDING)

    @staticmethod
    def _stands(working: PaperOrder, status: str) -> None:
        """It is at the exchange; if a cancellation is on its way there, it still says so."""
        if working.status != CANCEL_PENDING:
            working.becomes(status)

    def _trigger(self, working: PaperOrder, contract: Contract, tick: Any, out: list[Event]) -> bool:
        """The market has reached the trigger: from here on the order is a plain one. False if it may not be that."""
        working.trigger = None
        self._stands(working, OPEN)
        working.changed = tick.timestamp
        working.code, working.message = None, f"triggered at {in_rupees(price_units(tick.last_price))}"
        out.append(self._noted(working, tick.timestamp))
        if contract.kind == "option" and working.limit is not None:
            try:
                gate.check_protection(working.order.side, working.limit, price_units(tick.last_price))
            except Refused as fault:
                out.append(self.end(working, CANCELLED, fault.code, str(fault)[:_REASON], tick.timestamp))
                return False
        return True

    def _take(self, working: PaperOrder, contract: Contract, tick: Any, out: list[Event], *, say: bool = False) -> None:
        """Take from `tick` what the order's limit allows; what is left rests, or ends if it must not."""
        order = working.order
        liquidity = self._liquidity_of(tick)
        if working.limit is None:
            if not liquidity.last:  # a price that is nothing at four decimals is no price
                working.met = False
                self._kept(working).wait(working)
                return
            working.limit = protection_price(
                order.side, liquidity.last, contract.traded_as, contract.tick_size, order.market_protection
            )
            if order.order_id in self._open:
                self._funds.changed(contract, working)
        taken = liquidity.take(order.side, working.limit, working.left, self.config.slippage, contract.tick_size)
        for part in taken:
            if part.quantity and not self._fill(
                working, contract, part.quantity, part.price, at=tick.timestamp, out=out
            ):
                return
        if not working.left:
            out.append(self.end(working, COMPLETE, None, None, tick.timestamp))
        elif order.validity == "IOC":
            what = "the rest is cancelled" if working.filled_quantity else "not marketable at once"
            out.append(self.end(working, CANCELLED, Code.IOC_NOT_FILLED, f"validity IOC: {what}", tick.timestamp))
        else:
            self._kept(working).rest(working)
            self._journal.order(working)
            if taken or say:
                out.append(working.update(tick.timestamp))

    def _meet(self, book: Book, tick: Any, out: list[Event]) -> None:
        """`tick` reaches orders that rest: limits by price and time, then the stops that it triggers."""
        liquidity = self._liquidity_of(tick)
        last = tick.last_price
        contract = self._contract_at(tick.instrument_token, tick.timestamp)
        depth = tick.depth
        sides: tuple[Side, Side] = ("BUY", "SELL")
        for side in sides:
            levels = depth and (depth.sell if side == "BUY" else depth.buy)
            best = last
            if levels and levels[0].price > 0:
                best = min(last, levels[0].price) if side == "BUY" else max(last, levels[0].price)
            again = []
            for working in book.met(side, best):
                assert working.limit is not None
                quantity = liquidity.meet(working.order.side, working.limit, working.left, working.effective)
                if quantity and not self._fill(working, contract, quantity, working.limit, at=tick.timestamp, out=out):
                    continue
                if not working.left:
                    out.append(self.end(working, COMPLETE, None, None, tick.timestamp))
                    continue
                again.append(working)
                if quantity:
                    out.append(self._noted(working, tick.timestamp))
                elif tick.last_trade_time is None or working.effective < tick.last_trade_time:
                    break  # who comes after has a worse price, or came later; it only counts if this one was there
            for working in again:
                book.rest(working)
        for side in sides:
            for working in list(book.triggered(side, last)):
                if self._trigger(working, contract, tick, out):
                    self._take(working, contract, tick, out)

    def _auction(self, book: Book, tick: Any, out: list[Event]) -> None:
        """The closing auction matches: who reaches its price gets it, whatever limit he gave."""
        contract = self._contract_at(tick.instrument_token, tick.timestamp)
        matching = contract.auction
        price = price_units(tick.last_price)
        if matching is None or not matching.open <= tick.timestamp < matching.close or not price:
            return
        if tick.last_trade_time is not None and tick.last_trade_time < matching.open:
            return  # it repeats the price of the session
        phases = None if contract.day is None else contract.day.closing_auction
        if not phases or gate.collects(phases[-1]):
            return  # the calendar knows no time at which it matches
        for working in list(book.arrived(tick.timestamp)):
            if working.limit is None or working.effective >= matching.open:
                book.wait(working)  # too late, or an order of the square-off: for the next session
            else:
                working.becomes(OPEN)
                book.rest(working)
        sides: tuple[Side, Side] = ("BUY", "SELL")
        for side in sides:
            for working in list(book.met(side, tick.last_price)):
                if self._fill(working, contract, working.left, price, at=tick.timestamp, out=out):
                    out.append(self.end(working, COMPLETE, None, None, tick.timestamp))

    def _fill(
        self, working: PaperOrder, contract: Contract, quantity: int, price: int, *, at: datetime, out: list[Event]
    ) -> bool:
        """Book a fill and say it. False if the books cannot hold it; then the order has ended."""
        order = working.order
        key: Key = (order.instrument_token, order.product)
        today = in_india(at).toordinal()
        holding = self.account.positions.get(key)
        delivered = False
        if order.product == "CNC" and order.side == "SELL" and holding is not None:
            delivered = self._clock.first_delivery(holding, quantity, today)
        charges = self.costs.of_fill(working, contract, quantity, price, delivered=delivered)
        fill = Fill(
            fill_id=derive_id("fill", order.order_id, working.fills + 1),
            order_id=order.order_id,
            signal_id=order.signal_id,
            strategy_id=order.strategy_id,
            broker=order.broker,
            instrument_token=order.instrument_token,
            side=order.side,
            quantity=quantity,
            price=in_rupees(price),
            charges={name: in_rupees(amount) for name, amount in charges.items()}
            | {"total": in_rupees(sum(charges.values()))},
            timestamp=at,
            product=order.product,
            confidence=order.confidence,
            metadata=order.metadata,
        )
        if order.metadata and len(encode(fill)) > MAX_LINE:
            out.append(
                self._unbookable(working, Code.METADATA_TOO_LONG, "its metadata is too long for the line of a fill", at)
            )
            return False
        try:
            booking = self.account.fill(key, order.side, quantity, price, charges)
        except Unbookable as fault:
            out.append(self._unbookable(working, Code.BOOKS_FULL, str(fault), at))
            return False
        holding = self.account.positions[key]
        if delivered:
            holding.delivered = today
        self._clock.traded(holding, contract, order, quantity, today)
        self._counts["fills"] += 1
        working.filled_quantity += quantity
        working.turnover += quantity * price
        working.fills += 1
        working.changed = at
        working.code = working.message = None
        if order.order_id in self._open:
            self._funds.changed(contract, working)
        self._funds.position_changed(contract, holding)
        self._journal.fill(fill, booking, self.account)
        out.append(fill)
        return True

    def fill_at(self, working: PaperOrder, contract: Contract, price: int, now: datetime, out: list[Event]) -> bool:
        """Fill all of an order of the broker's own at a price that no tick offered; see `_fill`."""
        return self._fill(working, contract, working.left, price, at=now, out=out)

    def _unbookable(self, working: PaperOrder, code: Code, message: str, timestamp: datetime) -> Event:
        return self.end(working, CANCELLED if working.fills else REJECTED, code, message, timestamp)

    def end(
        self, working: PaperOrder, status: str, code: Code | None, message: str | None, timestamp: datetime
    ) -> Event:
        """The order is finished; the update that says so."""
        self._counts["refused"] += status == REJECTED
        working.becomes(status)
        working.code, working.message = code, message
        order = working.order
        if self._open.pop(order.order_id, None) is not None:
            book = self._books[order.instrument_token]
            book.orders -= 1
            if not book.orders:
                del self._books[order.instrument_token]
            self._market.unwatch(order.instrument_token)
            self._funds.remove(self._contract_now(order.instrument_token), working)
        return self._noted(working, timestamp)

    # --- modifications -----------------------------------------------------------------------

    def _check_modification(self, working: PaperOrder, modify: Modify, now: datetime) -> None:
        """Raise `Refused` if `working` may not become what `modify` makes of it."""
        self._check_halt()
        gate.check_modification(working, modify)
        order = modified(working.order, modify)
        if working.trigger is None and order.order_type in {"SL", "SL-M"} and modify.order_type is None:
            # It was triggered: what is left of it is a plain order, and its trigger is history.
            order = replace(order, order_type="LIMIT" if order.order_type == "SL" else "MARKET", trigger_price=None)
        trial = PaperOrder.of(order, working.arrived, now)
        trial.filled_quantity = working.filled_quantity
        contract = self._contract_at(order.instrument_token, now)
        gate.check(self._facts(trial, contract, now, instead_of=working), gate.OF_MODIFICATIONS)

    def _modify(self, working: PaperOrder, modify: Modify, now: datetime) -> None:
        if working.asleep:
            self._wake(working)
        triggered = working.trigger is None and working.order.order_type in {"SL", "SL-M"}
        limit = working.limit
        working.order = modified(working.order, modify)
        working.take_prices()
        if triggered and modify.order_type is None:
            working.trigger = None
        if working.limit is None and modify.order_type is None:
            working.limit = limit  # the protection price stays
        working.modifications += 1
        working.changed = now
        working.effective = max(working.effective, later(now, self.config.latency))  # never before the order itself
        self._next_priority(working)
        working.code, working.message = None, (modify.reason or "modified")[:_REASON]
        if working.trigger is None and working.status == TRIGGER_PENDING:
            working.becomes(OPEN)
        self._funds.changed(self._contract_now(working.order.instrument_token), working)

    # --- what is known -----------------------------------------------------------------------

    def _facts(
        self, working: PaperOrder, contract: Contract, now: datetime, *, instead_of: PaperOrder | None = None
    ) -> gate.Facts:
        order = working.order
        key: Key = (order.instrument_token, order.product)
        opens = self._funds.opens(key, order.side, working.left, instead_of)
        freed = 0 if instead_of is None else instead_of.blocked
        holding = self.account.positions.get(key)
        return gate.Facts(
            order=order,
            contract=contract,
            tick=self._market.last(order.instrument_token),
            now=now,
            held=0 if holding is None else holding.quantity,
            left=working.left,
            promised=lambda: sum(one.left for one in self.working_on(key, order.side) if one is not instead_of),
            opens=opens,
            needs=self._funds.for_order(contract, working, opens),
            available=lambda: self._funds.available + freed,
            charges=lambda: self.costs.known(working, contract),
            bands=self.config.bands,
        )

    def working(self, order_id: str) -> PaperOrder | None:
        """The order of this id, if it goes on."""
        return self._open.get(order_id)

    def working_orders(self) -> Iterator[PaperOrder]:
        """All orders that go on, in the order of their arrival."""
        yield from self._open.values()

    def working_on(self, key: Key, side: Side) -> Iterable[PaperOrder]:
        """The orders of one side for one position that go on, in the order of their arrival."""
        return self._funds.orders(key, side)

    def _contract_at(self, token: int, moment: datetime) -> Contract:
        return self.venue.contract(token, in_india(moment).date())

    def _contract_on(self, holding: Holding) -> Contract:
        """What `holding` stood for when it was last traded: its token may be another's by now."""
        return self.venue.contract(holding.instrument_token, date.fromordinal(max(holding.day, 1)))

    def _contract_now(self, token: int) -> Contract:
        known = self.venue.known(token)
        if known is not None:
            return known
        now = self._market.now
        return self._contract_at(token, now) if now is not None else self.venue.contract(token, date.min)

    def _liquidity_of(self, tick: Any) -> Liquidity:
        """What is left of `tick`; the same for all who ask about the same tick."""
        known = self._liquidity.get(tick.instrument_token)
        if known is None or known.tick is not tick:
            known = self._liquidity[tick.instrument_token] = Liquidity(tick)
        return known

    # --- keeping -----------------------------------------------------------------------------

    def _book(self, token: int) -> Book:
        book = self._books.get(token)
        if book is None:
            book = self._books[token] = Book(self._contract_now(token).hours)
        return book

    def _kept(self, working: PaperOrder) -> Book:
        """The book of an order that goes on; the order is among those that work from now on."""
        order = working.order
        book = self._book(order.instrument_token)
        if order.order_id not in self._open:
            self._open[order.order_id] = working
            book.orders += 1
            self._market.watch(order.instrument_token)
            self._funds.add(self._contract_now(order.instrument_token), working)
        return book

    def _next_priority(self, working: PaperOrder) -> None:
        self._priority += 1
        working.priority = self._priority

    def _noted(self, working: PaperOrder, timestamp: datetime) -> Event:
        self._journal.order(working)
        return working.update(timestamp)

    def _fall_behind(self) -> None:
        """The stream may begin anew: remember when the last change was, and which lines made it if lines did."""
        newest = list(self._journal.newest()) or list(self._open.values())
        self._behind = max((one.changed for one in newest), default=None)
        newest = [one for one in newest if one.changed == self._behind]
        self._to_come: dict[str, int] = {}  # order -> lines to modify it that come by before it is caught up with
        if all(one.changed_by_line for one in newest):
            self._to_come = {one.order.order_id: one.modify_lines for one in newest}

    def _catch_up(self) -> None:
        """The stream is where an earlier run left it: its orders take their places again."""
        if self._behind is None:
            return
        self._behind = None
        self._to_come.clear()
        for working in list(self._open.values()):
            if working.asleep:
                self._wake(working)

    def _seen_again(self, order_id: str) -> None:
        working = self._open.get(order_id)
        if working is not None and working.asleep and working.replayed is None:
            working.replayed = 0
        if self._to_come.get(order_id) == 0:
            self._came(order_id)

    def _lines_came(self, working: PaperOrder) -> None:
        order_id = working.order.order_id
        if order_id in self._to_come and working.replayed == working.modify_lines:
            self._came(order_id)

    def _came(self, order_id: str) -> None:
        del self._to_come[order_id]
        if not self._to_come:
            self._catch_up()

    def _wake(self, working: PaperOrder) -> None:
        """The stream has caught up with an order that was read back: it takes its place again."""
        book = self._book(working.order.instrument_token)
        working.asleep = False
        if not working.met:
            book.wait(working)
            # only now there may be a price to hold it against
            self._funds.changed(self._contract_now(working.order.instrument_token), working)
        else:
            book.rest(working)
