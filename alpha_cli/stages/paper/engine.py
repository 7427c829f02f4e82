"""The simulated broker: pure steps from an order, a cancel, a modify or a tick to fills and updates.

An order is checked (`rules`) and goes to the exchange (`exchange`), where it meets the ticks of its instrument
(`matching`); the desk keeps the books (`desk`). By the time of the stream MIS positions are squared off, days end
and contracts are settled (`schedule`, `day_end`). The rules are explained one by one in `docs/matching.md`. Only
ticks of instruments with open orders are delivered (`LastTicks.watch`), and the first tick at or after the next
event of the schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from alpha_cli.core.errors import Halted
from alpha_cli.core.events import Cancel, Event, Modify, Order, Tick
from alpha_cli.core.ledger import Account
from alpha_cli.core.order_states import CANCEL_PENDING, CANCELLED, REJECTED
from alpha_cli.core.times import in_india, later
from alpha_cli.market.contracts import Contracts
from alpha_cli.stages.paper import day_end, modification, rules
from alpha_cli.stages.paper.codes import MOST_REASON, Code, Refused
from alpha_cli.stages.paper.config import PaperConfig
from alpha_cli.stages.paper.desk import Desk
from alpha_cli.stages.paper.exchange import Exchange
from alpha_cli.stages.paper.orders import Journal, Memory, PaperOrder
from alpha_cli.stages.paper.recovery import Recovery
from alpha_cli.stages.paper.statement import portfolio_event
from alpha_cli.stream.last_ticks import LastTicks

_NO_TIME = timedelta()


class Engine:
    """Fills the orders of one `account` against the ticks in `last_ticks`.

    journal      records every change, and knows what was applied before
    resting      open orders of earlier runs, in the order of their arrival
    halt_reason  returns why trading is halted, or None; called before every order
    """

    def __init__(
        self,
        account: Account,
        last_ticks: LastTicks,
        journal: Journal | None = None,
        resting: Iterable[PaperOrder] = (),
        *,
        config: PaperConfig | None = None,
        contracts: Contracts | None = None,
        halt_reason: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.config = config or PaperConfig()
        self._halt_reason = halt_reason
        self._last_ticks = last_ticks
        self._journal: Journal = journal or Memory()
        contracts = contracts or Contracts(all_hours=self.config.all_hours)
        self.desk = desk = Desk(account, last_ticks, self._journal, self.config, contracts)
        desk.restore(resting)
        self._exchange = Exchange(desk)
        self._recovery = Recovery(desk, self._journal.newest())
        self._schedule = desk.schedule
        self._schedule.restore(desk.open_orders(), account, self._journal, notes=self.config.charges == "contract-note")
        self._day_end = day_end.DayEnd(desk)

    @property
    def account(self) -> Account:
        """The books, in ledger units."""
        return self.desk.account

    @property
    def steps(self) -> Mapping[type[Event], Callable[[Any], Iterable[Event]]]:
        """Type of event -> the step for it, as `Stage` wants them."""
        return {Order: self.on_order, Cancel: self.on_cancel, Modify: self.on_modify, Tick: self.on_tick}

    def counts(self) -> Mapping[str, int]:
        """Return the figures of this run; `unknown` counts cancels and modifies of orders that are not open here."""
        return self.desk.counts | {"open": len(self.desk.open)}

    def verdict(self) -> Halted | None:
        """Return `Halted` while trading is halted, so that the stage ends with 80 at the end of its input."""
        why = self._halt_reason()
        return None if why is None else Halted(f"halted: {why}; {self.desk.counts['refused']} orders were refused")

    def opening(self) -> list[Event]:
        """Return the books as they are at the start, for strategies that see fills."""
        return [portfolio_event(self.account, None)]

    def close(self) -> list[Event]:
        """Return the contract notes that are due and the closing `portfolio`; see `Desk.close`."""
        out = self._carry_out(self._day_end.notes())
        return [*out, self.desk.close()]

    # --- the steps ---------------------------------------------------------------------------

    def on_order(self, order: Order) -> list[Event]:
        """Fill, rest or reject a new order; one that was applied before changes nothing.

        Another order for a signal that was applied before changes nothing either, unless it names its parent: then
        it is a slice of that signal's order.
        """
        desk = self.desk
        if order.broker != desk.account.broker:
            desk.counts["other_brokers"] += 1
            return []
        if self._journal.knows_order(order.order_id):
            desk.counts["repeated"] += 1
            self._recovery.order_repeated(order.order_id)
            return []
        if order.parent_order_id is None and self._journal.knows_signal(order.signal_id):
            desk.counts["repeated"] += 1
            return []
        desk.counts["orders"] += 1
        if self._recovery.behind is not None:
            self._recovery.catch_up()
        arrived = self._last_ticks.now or order.timestamp
        return [*self._pass_time(arrived, order.instrument_token), *self._accept(order, arrived)]

    def on_cancel(self, cancel: Cancel) -> list[Event]:
        """Cancel an open order, once the cancellation is at the exchange; until then it may still fill."""
        working = self.desk.open.get(cancel.order_id)
        if working is None:
            self.desk.counts["unknown"] += 1
            return []
        now = self._last_ticks.now or cancel.timestamp or working.changed
        out = self._pass_time(now, working.order.instrument_token)
        if cancel.order_id not in self.desk.open:  # its day has ended
            return out
        reason = (cancel.reason or "cancelled on request")[:MOST_REASON]
        if self.config.latency == _NO_TIME:
            return [*out, self.desk.end(working, CANCELLED, Code.CANCELLED_ON_REQUEST, reason, now)]
        if working.status == CANCEL_PENDING:
            self.desk.counts["repeated"] += 1
            return out
        self._recovery.catch_up()
        working.set_status(CANCEL_PENDING)
        working.changed = asked = _asked_at(cancel, now)
        working.code, working.message = None, reason
        working.cancelled_from, working.cancel_reason = later(asked, self.config.latency), reason
        self._schedule.expect_cancellation(working)
        return [*out, self.desk.report(working, now)]

    def on_modify(self, modify: Modify) -> list[Event]:
        """Change an open order, which costs it its place in the queue; it may fill at once."""
        working = self.desk.open.get(modify.order_id)
        if working is None:
            self.desk.counts["unknown"] += 1
            return []
        if self._recovery.is_repeated_modify(working):
            self.desk.counts["repeated"] += 1
            return []
        now = self._last_ticks.now or modify.timestamp or working.changed
        out = self._pass_time(now, working.order.instrument_token)
        if modify.order_id not in self.desk.open:  # its day has ended
            return out
        working.modify_lines += 1
        modify = modification.with_type(working, modify)
        asked = _asked_at(modify, now)
        try:
            self._check_modification(working, modify, now, asked)
        except Refused as fault:
            self.desk.counts["refused"] += 1
            working.code, working.message = fault.code, f"not modified: {fault}"
            return [*out, self.desk.report(working, now)]
        self._recovery.wake(working)
        modification.apply(working, modify, asked, latency=self.config.latency, desk=self.desk)
        return out + self._exchange.place_again(working, self._last_ticks.last(working.order.instrument_token))

    def on_tick(self, tick: Tick) -> list[Event]:
        """Do what is due, fill the orders that `tick` reaches, and take in those that arrived by now."""
        recovery = self._recovery
        if recovery.behind is not None and tick.timestamp > recovery.behind and self._wants(tick):
            recovery.catch_up()
        out = self._pass_time(tick.timestamp, tick.instrument_token)
        self._schedule.saw(tick)
        resting = self.desk.resting.get(tick.instrument_token)
        if resting is not None:
            self._exchange.on_tick(resting, tick, out)
        return out

    def _wants(self, tick: Tick) -> bool:
        """Return whether this stage wants `tick`: a fused pipeline also delivers ticks that only other stages want."""
        return tick.instrument_token in self.desk.resting or self._schedule.wants(tick)

    # --- checks ------------------------------------------------------------------------------

    def _accept(self, order: Order, arrived: datetime) -> list[Event]:
        """Check a new order, and send it to the exchange or reject it."""
        halted, latency = self._halt_reason(), self.config.latency
        effective = later(order.timestamp, latency) if latency else order.timestamp
        working = PaperOrder.of(order, arrived=arrived, effective=effective)
        contract = self.desk.contracts.at(order.instrument_token, arrived)
        tick = self._last_ticks.last(order.instrument_token)
        try:
            if halted is not None:
                raise _trading_halted(halted)
            rules.check(rules.facts_of(self.desk, working, contract, tick, arrived))
        except Refused as fault:
            return [self.desk.end(working, REJECTED, fault.code, str(fault)[:MOST_REASON], arrived)]
        self._schedule.expect(contract, order.product)
        return self._exchange.place(working, tick)

    def _check_modification(self, working: PaperOrder, modify: Modify, now: datetime, asked: datetime) -> None:
        """Raise `Refused` if `working` may not become what `modify`, of the time `asked`, makes of it."""
        halted = self._halt_reason()
        if halted is not None:
            raise _trading_halted(halted)
        rules.check_modification(working, modify)
        token = working.order.instrument_token
        contract, tick = self.desk.contracts.at(token, now), self._last_ticks.last(token)
        changed = modification.what_if(working, modify, asked)
        facts = rules.facts_of(self.desk, changed, contract, tick, now, replaces=working)
        rules.check(facts, rules.OF_MODIFICATIONS)

    # --- the schedule ------------------------------------------------------------------------

    def _pass_time(self, now: datetime, token: int) -> list[Event]:
        """Do what is due by `now`; nothing if the calendar does not cover that day, as of a tick of the year 2099."""
        due = self._schedule.next_due
        if due is None or now < due or self.desk.contracts.at(token, now).unknown is not None:
            return []
        return self.pass_time(now)

    def pass_time(self, now: datetime) -> list[Event]:
        """Do what is due by `now`."""
        out: list[Event] = []
        while (due := self._schedule.pop(now)) is not None:
            out += self._carry_out(self._day_end.instructions(due, now))
        return out

    def _carry_out(self, instructions: Iterable[day_end.Instruction]) -> list[Event]:
        out: list[Event] = []
        for instruction in instructions:
            match instruction:
                case day_end.Cancel(working=working, code=code, message=message, at=at):
                    out.append(self.desk.end(working, CANCELLED, code, message, at))
                case day_end.SquareOff(working=working, contract=contract):
                    self._schedule.expect(contract, working.order.product)
                    out += self._exchange.place(working, self._last_ticks.last(working.order.instrument_token))
                case day_end.Settle():
                    out += self._settle(instruction)
                case day_end.Note(day=day):
                    out += self.desk.issue_note(day)
        return out

    def _settle(self, settle: day_end.Settle) -> list[Event]:
        out: list[Event] = []
        working = settle.working
        filled = self.desk.fill(
            working, settle.contract, working.remaining, settle.price,
            at=settle.at, day=in_india(settle.at).date(), out=out,
        )  # fmt: skip
        if filled:
            out.append(self.desk.complete(working, settle.at, Code.EXPIRED, "settled at expiry"))
        return out


def _asked_at(request: Cancel | Modify, now: datetime) -> datetime:
    """Return the time of `request`: its own if it is newer than `now`, so that no older price is traded for it."""
    return now if request.timestamp is None else max(request.timestamp, now)


def _trading_halted(why: str) -> Refused:
    return Refused(Code.TRADING_HALTED, f"trading is halted: {why}")
