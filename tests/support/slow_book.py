"""The paper broker's rules once more, slow and plain: what `alpha paper` must come to, by another road.

It reads the lines of a stream as dictionaries, looks at every working order at every tick, keeps money in
`Decimal` and shares of it in `Fraction`, and takes nothing from `alpha_cli`: rates and sessions it reads from
the data files itself. It knows instruments as `Listed` says, sessions without a closing auction, and no expiry.

    book = SlowBook(cash=1_000_000)
    for line in lines:
        book.read(json.loads(line, parse_float=Decimal))
    book.fills, book.orders, book.portfolio()
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
IST = timezone(timedelta(hours=5, minutes=30))
FINEST = Decimal("0.0001")
ZERO = Decimal(0)
ENDS = {"COMPLETE", "CANCELLED", "REJECTED"}

Line = dict[str, Any]
Key = tuple[int, str]  # instrument token, product


class No(Exception):
    """The order or the modification is refused; the code says by which rule."""


# --- rounding: always to a ten-thousandth of a rupee --------------------------------------------


def _of(ten_thousandths: int) -> Decimal:
    return ten_thousandths * FINEST


def half_up(amount: Fraction) -> Decimal:
    """Of an amount that is not negative."""
    return _of(floor(amount * 10_000 + Fraction(1, 2)))


def half_even(amount: Fraction) -> Decimal:
    return _of(round(amount * 10_000))


def upwards(amount: Fraction) -> Decimal:
    return _of(ceil(amount * 10_000))


# --- the data files ----------------------------------------------------------------------------


class Days:
    """Sessions and square-off times of one exchange, from its calendar file."""

    def __init__(self, exchange: str) -> None:
        self.file = json.loads((CONFIGS / "calendar" / f"{exchange}.json").read_text())
        whose = self.file.get("holidays_of", exchange)
        holidays = json.loads((CONFIGS / "calendar" / f"{whose}.json").read_text())["holidays"]
        self.closed = {date.fromisoformat(row["date"]) for row in holidays}
        assert not {row["date"] for row in self.file["special"]} & {"2022-08-27"}
        self.known: dict[date, tuple[datetime, datetime, datetime] | None] = {}

    def of(self, day: date) -> tuple[datetime, datetime, datetime] | None:
        """(open, close, square-off) of a day; None if it is a holiday. Special days are not known here."""
        if day not in self.known:
            if day.weekday() >= 5 or day in self.closed:
                self.known[day] = None
            else:
                rules = max(
                    (rule for rule in self.file["regimes"] if date.fromisoformat(rule["from"]) <= day),
                    key=lambda rule: rule["from"],
                )
                assert "closing_auction" not in rules
                hours = rules["continuous"]["open"], rules["continuous"]["close"], rules["square_off"]
                opens, closes, squares = (datetime.combine(day, time.fromisoformat(text), IST) for text in hours)
                self.known[day] = opens, closes, squares
        return self.known[day]

    def open_at(self, moment: datetime) -> bool:
        """Whether orders trade: from the first moment of the session to the last before its close."""
        hours = self.of(moment.astimezone(IST).date())
        return hours is not None and hours[0] <= moment < hours[1]


class Rates:
    """The tariff file: the newest row that is not younger than the day."""

    def __init__(self) -> None:
        self.rows = json.loads((CONFIGS / "charges" / "zerodha.json").read_text())["rates"]

    def row(self, what: str, day: date, exchange: str, kind: str, product: str, side: str) -> Line | None:
        holding = "intraday" if product == "MIS" else "delivery"
        found = [
            row
            for row in self.rows
            if row["component"] == what
            and date.fromisoformat(row["from"]) <= day
            and exchange in row.get("exchanges", [exchange])
            and kind in row.get("kinds", [kind])
            and (kind != "equity" or row.get("holding", holding) == holding)
            and row["side"] in ("both", side.lower())
            and not row.get("groups")
            and not row.get("event")
        ]
        return max(found, key=lambda row: row["from"], default=None)

    def share(self, *asked: Any) -> Fraction:
        """Of the turnover."""
        row = self.row(*asked)
        if row is None:
            return Fraction(0)
        return Fraction(row["rate"]) / {"percent": 100, "per_crore": 10_000_000}[row["unit"]]

    def brokerage(self, turnover: Fraction, *asked: Any) -> Fraction:
        """For one executed order of this turnover."""
        row = self.row("brokerage", *asked)
        assert row is not None
        if not turnover:
            return Fraction(0)
        if row["unit"] == "rupees":
            return Fraction(row["rate"])
        fee = Fraction(row["rate"]) / 100 * turnover
        return min(fee, Fraction(row["cap"])) if "cap" in row else fee

    def flat(self, what: str, day: date) -> Fraction:
        row = self.row(what, day, "", "equity", "CNC", "SELL")
        assert row is not None
        assert row["unit"] == "rupees"
        return Fraction(row["rate"])


# --- what is traded ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Listed:
    """An instrument. Without a master each is a share on NSE, whose product nobody can find fault with."""

    exchange: str = "NSE"
    kind: str = "equity"  # or option
    in_master: bool = False
    lot: int = 1
    freeze: int | None = None
    tick: Decimal = Decimal("0.05")
    strike: Decimal = ZERO


@dataclass(eq=False)
class Working:
    """An order and what became of it."""

    order: Line
    arrived: datetime  # in the stream
    effective: datetime  # at the exchange
    place: int  # in the queue: by arrival, or by the last modification
    status: str = "OPEN"
    code: str | None = None
    limit: Decimal | None = None
    trigger: Decimal | None = None
    waiting: bool = True  # for a tick that is not older than it
    filled: int = 0
    paid: Decimal = ZERO
    modifications: int = 0
    own: bool = False  # the broker's: it squares off
    triggered: bool = False

    @property
    def left(self) -> int:
        return int(self.order["quantity"]) - self.filled

    @property
    def side(self) -> str:
        return str(self.order["side"])

    @property
    def key(self) -> Key:
        return self.order["instrument_token"], self.order["product"]

    @property
    def average(self) -> Decimal | None:
        return half_even(Fraction(self.paid) / self.filled) if self.filled else None

    def take_prices(self) -> None:
        """Limit and trigger, as the type of the order has them."""
        kind, price, trigger = self.order["order_type"], self.order.get("price"), self.order.get("trigger_price")
        self.limit = Decimal(price) if kind in ("LIMIT", "SL") and price is not None else None
        self.trigger = Decimal(trigger) if kind in ("SL", "SL-M") and trigger is not None else None


@dataclass
class Position:
    """By average cost; negative when short."""

    quantity: int = 0
    cost: Decimal = ZERO
    realised: Decimal = ZERO
    last: Decimal = ZERO
    day: date | None = None
    bought_today: int = 0  # and not sold again
    delivered: date | None = None  # a sale took shares from the demat account


@dataclass
class Seen:
    """The newest tick of an instrument, and what our own orders left of it."""

    at: datetime
    last: Decimal
    traded_at: datetime | None
    traded: int | None  # what a tick without a book has for resting orders; None: any number
    book: dict[str, list[list[Any]]] | None  # by the side that takes: [price, quantity], best first
    previous_close: Decimal | None


@dataclass
class SlowBook:
    """One account and its market. `slippage` is ("depth", 0), ("ticks", n) or ("bps", n)."""

    cash: Decimal = Decimal(1_000_000)
    listed: dict[int, Listed] = field(default_factory=dict)
    latency: timedelta = timedelta()
    slippage: tuple[str, int] = ("depth", 0)
    broker: str = "paper"

    def __post_init__(self) -> None:
        self.capital = self.cash
        self.now: datetime | None = None
        self.seen: dict[int, Seen] = {}
        self.orders: dict[str, Working] = {}  # all there ever were
        self.working: list[Working] = []  # in the order of their arrival
        self.signals: set[str] = set()
        self.positions: dict[Key, Position] = {}
        self.shares: dict[Key, dict[str, int]] = {}  # who holds how much of a position
        self.charges = ZERO
        self.realised = ZERO
        self.fills: list[Line] = []
        self.due: set[tuple[datetime, int, str]] = set()  # when, what, and where, or of which order
        self.places = 0
        self.days: dict[str, Days] = {}
        self.rates = Rates()

    # --- lines ---------------------------------------------------------------------------------

    def read(self, line: Line) -> None:
        """One line of the stream."""
        does: dict[str, Callable[[Line], None]] = {
            "tick": self.tick, "order": self.new_order, "cancel": self.cancel, "modify": self.modify
        }  # fmt: skip
        if line["type"] in does:
            does[line["type"]](line)

    def tick(self, line: Line) -> None:
        """First what the clock says; then, in a session, limits, stops, and who arrives now."""
        token, now = line["instrument_token"], datetime.fromisoformat(line["timestamp"])
        seen = self.seen[token] = _seen(line, now)
        self.now = now
        self.do_what_is_due(now)
        if not any(one.key[0] == token for one in self.working) or not self.open_at(token, now):
            return
        resting = [one for one in self.working if one.key[0] == token and not one.waiting]
        for side in ("BUY", "SELL"):
            for one in self.by_price_and_time(side, resting):
                quantity = self.comes_to(one, seen)
                if quantity:
                    assert one.limit is not None
                    self.fill(one, quantity, one.limit, now)
                    if not one.left:
                        self.end(one, "COMPLETE")
        for side in ("BUY", "SELL"):
            for one in self.by_trigger_and_time(side, resting):
                if self.reached(one, seen) and self.pull(one, seen):
                    self.take(one, seen)
        for one in sorted(self.working, key=lambda one: (one.effective, one.place)):
            if one.key[0] == token and one.waiting and one.effective <= now:
                self.arrive(one, seen)

    def new_order(self, line: Line) -> None:
        """Another broker's is none of ours; what came before, by order or by signal, is not applied twice."""
        if line["broker"] != self.broker or line["order_id"] in self.orders:
            return
        if line["signal_id"] in self.signals and line.get("parent_order_id") is None:
            return
        moment = datetime.fromisoformat(line["timestamp"])
        now = self.now or moment
        self.do_what_is_due(now)
        one = self.made(line, now, moment + self.latency)
        try:
            self.check(one, now)
        except No as refusal:
            one.status, one.code = "REJECTED", str(refusal)
            return
        self.working.append(one)
        self.expect(one)
        self.send(one)

    def cancel(self, line: Line) -> None:
        """Of an order that works; of any other it is nothing."""
        one = self.orders.get(line["order_id"])
        if one is None or one.status in ENDS:
            return
        assert self.now is not None
        self.do_what_is_due(self.now)
        if one.status in ENDS or one.status == "CANCEL PENDING":
            return
        if not self.latency:
            self.end(one, "CANCELLED", "CANCELLED_ON_REQUEST")
        else:  # it may fill until the cancellation is at the exchange
            one.status, one.code = "CANCEL PENDING", None
            self.due.add((self.asked_at(line) + self.latency, 0, one.order["order_id"]))

    def asked_at(self, line: Line) -> datetime:
        """When somebody asked for it: by the newest tick, or by the line itself where that is later."""
        assert self.now is not None
        own = line.get("timestamp")
        return self.now if own is None else max(self.now, datetime.fromisoformat(own))

    def modify(self, line: Line) -> None:
        """Of an order that works; it loses its place, and may fill at once as if it were new."""
        one = self.orders.get(line["order_id"])
        if one is None or one.status in ENDS:
            return
        assert self.now is not None
        now = self.now
        self.do_what_is_due(now)
        if one.status in ENDS:
            return
        new = {name: line[name] for name in ("quantity", "price", "trigger_price", "order_type") if name in line}
        still_triggered = one.triggered and "order_type" not in new
        asked = self.asked_at(line)
        changed = Working({**one.order, **new}, one.arrived, asked, 0, filled=one.filled)
        changed.take_prices()
        if still_triggered:  # its trigger is history, and its limit stays if it is given no other
            changed.trigger = None
            if "price" not in new:
                changed.limit = one.limit
        try:
            self.check_change(one, new)
            self.check(changed, now, instead_of=one, triggered=still_triggered)
        except No as refusal:
            one.code = str(refusal)
            return
        one.order, one.limit, one.trigger = changed.order, changed.limit, changed.trigger
        one.triggered = still_triggered
        one.modifications += 1
        one.code = None
        one.effective = max(one.effective, asked + self.latency)
        self.places += 1
        one.place = self.places
        if one.trigger is None and one.status == "TRIGGER PENDING":
            one.status = "OPEN"
        self.send(one, again=True)

    # --- the clock -----------------------------------------------------------------------------

    def expect(self, one: Working) -> None:
        """The day of an order that was taken ends, and MIS is squared off before."""
        self.on_the_day(one.key, one.arrived)

    def on_the_day(self, key: Key, moment: datetime) -> None:
        exchange = self.instrument(key[0]).exchange
        hours = self.days_of(exchange).of(moment.astimezone(IST).date())
        if hours is not None:
            self.due.add((hours[1], 2, exchange))
            if key[1] == "MIS":
                self.due.add((hours[2], 1, exchange))

    def do_what_is_due(self, now: datetime) -> None:
        """All that was to be done by now, soonest first; each once."""
        for moment, what, exchange in sorted(self.due):
            if moment > now:
                return
            self.due.discard((moment, what, exchange))
            if what == 0:
                asked = self.orders[exchange]
                if asked.status not in ENDS:
                    self.end(asked, "CANCELLED", "CANCELLED_ON_REQUEST")
                continue
            concerned = [
                one
                for one in self.working
                if not one.own and one.arrived < moment and self.instrument(one.key[0]).exchange == exchange
            ]
            if what == 2:
                for one in concerned:
                    self.end(one, "CANCELLED", "DAY_ENDED")
                continue
            for one in concerned:
                if one.key[1] == "MIS":
                    self.end(one, "CANCELLED", "MIS_SQUARED_OFF")
            for key in [key for key in self.positions if key[1] == "MIS"]:
                if self.instrument(key[0]).exchange == exchange:
                    self.square_off(key, now)

    def square_off(self, key: Key, now: datetime) -> None:
        """MARKET orders in the names of those who hold, by name, until nothing is left of the position."""
        left = self.positions[key].quantity
        side = "SELL" if left > 0 else "BUY"
        for name, units in sorted(self.shares.get(key, {}).items()):
            if not left or not units or (units > 0) != (left > 0):
                continue
            quantity = min(abs(units), abs(left))
            left -= quantity if left > 0 else -quantity
            order_id = square_off_id(key[0], name, now)
            if order_id in self.orders:
                continue
            order = {
                "order_id": order_id, "signal_id": order_id, "strategy_id": name, "broker": self.broker,
                "instrument_token": key[0], "product": key[1], "side": side, "quantity": quantity,
                "order_type": "MARKET", "validity": "DAY", "timestamp": now.isoformat(),
            }  # fmt: skip
            one = self.made(order, now, now)
            one.own, one.code = True, "MIS_SQUARED_OFF"
            self.working.append(one)
            self.expect(one)
            self.send(one)

    # --- an order at the exchange --------------------------------------------------------------

    def made(self, order: Line, now: datetime, effective: datetime) -> Working:
        self.places += 1
        one = Working(order, now, effective, self.places)
        one.take_prices()
        self.orders[order["order_id"]] = one
        self.signals.add(order["signal_id"])
        return one

    def send(self, one: Working, *, again: bool = False) -> None:
        """It meets the newest tick if that is not older than it; else the first that is not."""
        seen = self.seen.get(one.key[0])
        one.waiting = True
        if seen is not None and seen.at >= one.effective and self.open_at(one.key[0], seen.at):
            self.arrive(one, seen)
        elif not again:
            plain = "OPEN" if one.trigger is None else "TRIGGER PENDING"
            one.status = "OPEN PENDING" if self.latency else plain

    def arrive(self, one: Working, seen: Seen) -> None:
        one.waiting = False
        if one.trigger is not None:
            if not self.reached(one, seen):
                one.status = "TRIGGER PENDING"
                return
            if not self.pull(one, seen):
                return
        one.status = "OPEN"
        self.take(one, seen)

    @staticmethod
    def reached(one: Working, seen: Seen) -> bool:
        """A stop is set off by the last price alone."""
        assert one.trigger is not None
        return seen.last >= one.trigger if one.side == "BUY" else seen.last <= one.trigger

    def pull(self, one: Working, seen: Seen) -> bool:
        """From now on it is a plain LIMIT or MARKET order; a limit on an option must not be too far off now."""
        one.trigger, one.triggered, one.status, one.code = None, True, "OPEN", None
        option = self.instrument(one.key[0]).kind == "option"
        if option and one.limit is not None and too_far(one.side, one.limit, seen.last):
            self.end(one, "CANCELLED", "PRICE_OUTSIDE_BAND")
            return False
        return True

    def take(self, one: Working, seen: Seen) -> None:
        """An order that arrives takes what its limit allows: of the book, or all at the last price."""
        if one.limit is None:
            one.limit = self.protected(one, seen.last)
        limit = one.limit
        levels = [[seen.last, one.left]] if seen.book is None else seen.book[one.side]
        within = [level for level in levels if level[1] and _within(level[0], limit, one.side)]
        parts = []
        for level in within:
            quantity = min(one.left - sum(part[1] for part in parts), level[1])
            if quantity:
                level[1] -= quantity
                parts.append((level[0], quantity))
        if parts and self.slippage[0] != "depth":
            parts = [(self.slipped(one, parts[0][0], limit), sum(part[1] for part in parts))]
        for price, quantity in parts:
            self.fill(one, quantity, price, seen.at)
        if not one.left:
            self.end(one, "COMPLETE")
        elif one.order["validity"] == "IOC":
            self.end(one, "CANCELLED", "IOC_NOT_FILLED")

    def protected(self, one: Working, last: Decimal) -> Decimal:
        """Kite's price for a MARKET order: so many percent beyond the last price, on a tick towards it."""
        listed = self.instrument(one.key[0])
        bands = ((10, "0.05"), (100, "0.03"), (500, "0.02"), (None, "0.01"))
        if listed.kind != "option":
            bands = ((100, "0.02"), (500, "0.01"), (None, "0.005"))
        share = next(Decimal(share) for below, share in bands if below is None or last < below)
        if one.side == "BUY":
            return max(floor(Fraction(last * (1 + share)) / Fraction(listed.tick)) * listed.tick, last)
        return min(ceil(Fraction(last * (1 - share)) / Fraction(listed.tick)) * listed.tick, last)

    def slipped(self, one: Working, price: Decimal, limit: Decimal) -> Decimal:
        """Worse than the best price, on a tick away from it, and never beyond the limit."""
        tick = self.instrument(one.key[0]).tick
        kind, amount = self.slippage
        worse = amount * tick if kind == "ticks" else half_even(Fraction(price) * amount / 10_000)
        if not worse:
            return price
        if one.side == "BUY":
            return min(ceil(Fraction(price + worse) / Fraction(tick)) * tick, limit)
        return max(floor(Fraction(price - worse) / Fraction(tick)) * tick, limit)

    @staticmethod
    def comes_to(one: Working, seen: Seen) -> int:
        """Units that a tick brings to an order which rests at its limit."""
        assert one.limit is not None
        if seen.book is not None:
            quantity = 0
            for level in seen.book[one.side]:
                if _within(level[0], one.limit, one.side):
                    part = min(one.left - quantity, level[1])
                    level[1] -= part
                    quantity += part
            if quantity:
                return quantity
            beyond = seen.last != one.limit  # nobody offers there now; a later trade beyond it must have met it
            if seen.traded_at is None or seen.traded_at <= one.effective or not beyond:
                return 0
        if not _within(seen.last, one.limit, one.side):
            return 0
        if seen.traded is None:
            return one.left
        quantity = min(one.left, seen.traded)
        seen.traded -= quantity
        return quantity

    @staticmethod
    def by_price_and_time(side: str, orders: Iterable[Working]) -> list[Working]:
        best = -1 if side == "BUY" else 1
        mine = [one for one in orders if one.side == side and one.trigger is None]
        return sorted(mine, key=lambda one: (best * (one.limit or ZERO), one.place))

    @staticmethod
    def by_trigger_and_time(side: str, orders: Iterable[Working]) -> list[Working]:
        first = 1 if side == "BUY" else -1
        mine = [one for one in orders if one.side == side and one.trigger is not None]
        return sorted(mine, key=lambda one: (first * (one.trigger or ZERO), one.place))

    def end(self, one: Working, status: str, code: str | None = None) -> None:
        one.status, one.code = status, code
        self.working = [other for other in self.working if other is not one]

    # --- money ---------------------------------------------------------------------------------

    def fill(self, one: Working, quantity: int, price: Decimal, now: datetime) -> None:
        """Cash, position, profit by average cost, charges."""
        charges = self.cost_of(one, quantity, price, now)
        day = now.astimezone(IST).date()
        position = self.positions.setdefault(one.key, Position())
        signed = quantity if one.side == "BUY" else -quantity
        held = position.quantity
        if held and (held > 0) != (signed > 0):
            closing = min(quantity, abs(held))
            released = half_even(Fraction(position.cost) * closing / abs(held))
            won = (closing if held > 0 else -closing) * price - released
            position.cost += -released + (quantity - closing) * (price if signed > 0 else -price)
            position.realised += won
            self.realised += won
        else:
            position.cost += signed * price
        position.quantity += signed
        position.last = price
        if position.day != day:
            position.day, position.bought_today = day, 0
        position.bought_today = max(0, position.bought_today + signed)
        total = sum(charges.values(), ZERO)
        self.cash -= signed * price + total
        self.charges += total
        shares = self.shares.setdefault(one.key, {})
        shares[one.order["strategy_id"]] = shares.get(one.order["strategy_id"], 0) + signed
        one.filled += quantity
        one.paid += quantity * price
        one.code = None
        self.on_the_day(one.key, now)
        self.fills.append(
            {
                "order_id": one.order["order_id"],
                "strategy_id": one.order["strategy_id"],
                "side": one.side,
                "instrument_token": one.key[0],
                "product": one.key[1],
                "quantity": quantity,
                "price": price,
                "timestamp": now,
                "charges": {**charges, "total": total},
            }
        )

    def cost_of(self, one: Working, quantity: int, price: Decimal, now: datetime) -> dict[str, Decimal]:
        """Estimate: each charge half up to four decimals; brokerage for the order, not for each of its fills."""
        listed, day = self.instrument(one.key[0]), now.astimezone(IST).date()
        asked = (day, listed.exchange, listed.kind, one.key[1], one.side)
        turnover, before = Fraction(quantity * price), Fraction(one.paid)
        fee, paid = self.rates.brokerage(before + turnover, *asked), self.rates.brokerage(before, *asked)
        gst = self.rates.share("gst", *asked)
        transaction = turnover * self.rates.share("transaction", *asked)
        sebi = turnover * self.rates.share("sebi", *asked)
        charges = {
            "brokerage": half_up(fee) - half_up(paid),
            "stt": half_up(turnover * self.rates.share("stt", *asked)),
            "transaction": half_up(transaction),
            "sebi": half_up(sebi),
            "stamp_duty": half_up(turnover * self.rates.share("stamp_duty", *asked)),
            "gst": half_up((fee - paid + transaction + sebi) * gst),
        }
        extra = None
        if one.key[1] == "CNC" and one.side == "SELL":  # today's shares go first; then, once a day, the demat's
            position = self.positions[one.key]
            bought = position.bought_today if position.day == day else 0
            if quantity > bought and position.delivered != day:
                position.delivered, extra = day, "dp"
        if one.own and not one.filled:
            extra = "auto_square_off"
        if extra is not None:
            flat = self.rates.flat(extra, day)
            charges[extra] = half_up(flat)
            charges["gst"] += half_up(flat * gst)
        return {name: amount for name, amount in charges.items() if amount}

    def portfolio(self) -> Line:
        """The books at the newest prices."""
        positions = {}
        for key, held in self.positions.items():
            last = self.seen[key[0]].last if key[0] in self.seen else held.last
            positions[key] = {
                "quantity": held.quantity,
                "average_price": half_even(Fraction(held.cost) / held.quantity) if held.quantity else ZERO,
                "realised_pnl": held.realised,
                "unrealised_pnl": held.quantity * last - held.cost,
                "last_price": last,
            }
        unrealised = sum((one["unrealised_pnl"] for one in positions.values()), ZERO)
        return {
            "cash": self.cash, "realised_pnl": self.realised, "unrealised_pnl": unrealised, "charges": self.charges,
            "equity": self.capital + self.realised + unrealised - self.charges, "positions": positions,
        }  # fmt: skip

    # --- margin --------------------------------------------------------------------------------

    def blocks(self, key: Key, side: str, quantity: int, value: Decimal) -> Decimal:
        """What `quantity` units worth `value` block."""
        listed = self.instrument(key[0])
        if listed.kind == "option":
            return upwards(Fraction(value if side == "BUY" else listed.strike * quantity * Decimal("0.15")))
        return upwards(Fraction(value) * (Fraction(1, 5) if key[1] == "MIS" else 1))

    def opening(self, key: Key) -> list[tuple[Working, int]]:
        """Each working order with the units of it that open a position: the first to come close the one there is."""
        held = self.positions[key].quantity if key in self.positions else 0
        closes = {"BUY": max(0, -held), "SELL": max(0, held)}
        found = []
        for one in self.working:
            if one.key == key:
                closing = min(one.left, closes[one.side])
                closes[one.side] -= closing
                found.append((one, one.left - closing))
        return found

    def blocked_by(self, one: Working, opening: int) -> Decimal:
        """What the opening units block: a buyer pays its limit at most, a seller may get more than its limit."""
        seen = self.seen.get(one.key[0])
        market = one.trigger or (seen.last if seen is not None else ZERO)
        price = market if one.limit is None else one.limit
        if one.side == "SELL" and market > price:
            price = market
        return self.blocks(one.key, one.side, opening, price * opening)

    def available(self) -> Decimal:
        free = self.capital + self.realised - self.charges
        lost = ZERO
        for key, held in self.positions.items():
            if held.quantity:
                side = "BUY" if held.quantity > 0 else "SELL"
                free -= self.blocks(key, side, abs(held.quantity), abs(held.cost))
                if key[1] != "CNC":
                    last = self.seen[key[0]].last if key[0] in self.seen else held.last
                    lost += held.quantity * last - held.cost
        for key in {one.key for one in self.working}:
            free -= sum((self.blocked_by(one, units) for one, units in self.opening(key)), ZERO)
        return free + min(ZERO, lost)

    # --- what is refused -----------------------------------------------------------------------

    def check_change(self, one: Working, new: Line) -> None:
        if one.modifications >= 25:
            raise No("MODIFICATIONS_EXHAUSTED")
        if new.get("quantity", 1) <= 0:
            raise No("QUANTITY_NOT_POSITIVE")
        if new.get("quantity", one.filled + 1) <= one.filled:
            raise No("QUANTITY_BELOW_FILLED")
        if one.triggered and "trigger_price" in new:
            raise No("ALREADY_TRIGGERED")

    def check(self, one: Working, now: datetime, *, instead_of: Working | None = None, triggered: bool = False) -> None:
        """Raise `No` by the first rule that is broken."""
        order, listed, kind = one.order, self.instrument(one.key[0]), one.order["order_type"]
        if instead_of is None and order["order_id"].startswith(("square-off-", "expiry-")):
            raise No("ORDER_ID_RESERVED")
        if not self.days_of(listed.exchange).open_at(now):
            raise No("MARKET_CLOSED")
        wrong = "NRML" if listed.kind == "equity" else "CNC"
        if listed.in_master and order["product"] == wrong:
            raise No("PRODUCT_NOT_ALLOWED")
        self.check_prices(one, listed, kind, triggered=triggered)
        if order["quantity"] % listed.lot:
            raise No("QUANTITY_NOT_LOT_MULTIPLE")
        if listed.freeze is not None and order["quantity"] > listed.freeze:
            raise No("QUANTITY_ABOVE_FREEZE")
        seen = self.seen.get(one.key[0])
        if kind != "LIMIT" and not triggered:
            if seen is None:
                raise No("NO_PRICE")
            if one.trigger is not None and self.reached(one, seen):
                raise No("TRIGGER_BEYOND_LAST")
        self.check_band(one, listed, seen)
        hours = self.days_of(listed.exchange).of(now.astimezone(IST).date())
        assert hours is not None
        others = [other for other in self.working if other.key == one.key and other is not instead_of]
        opens = self.would_open(one, others)
        if order["product"] == "MIS" and now >= hours[2] and opens:
            raise No("MIS_AFTER_SQUARE_OFF")
        if order["product"] == "CNC" and one.side == "SELL":
            held = self.positions[one.key].quantity if one.key in self.positions else 0
            if one.left > held - sum(other.left for other in others if other.side == "SELL"):
                raise No("HOLDINGS_INSUFFICIENT")
        needed = self.blocked_by(one, opens) if opens else ZERO
        freed = ZERO
        if instead_of is not None:
            freed = next(self.blocked_by(other, units) for other, units in self.opening(one.key) if other is instead_of)
        if needed and needed > self.available() + freed:
            raise No("MARGIN_INSUFFICIENT")

    def check_prices(self, one: Working, listed: Listed, kind: str, *, triggered: bool) -> None:
        price, trigger = one.order.get("price"), one.order.get("trigger_price")
        stop = kind in ("SL", "SL-M") and not triggered
        if kind in ("LIMIT", "SL"):
            if price is None or price <= 0:
                raise No("PRICE_MISSING")
        else:
            price = None
        if stop and (trigger is None or trigger <= 0):
            raise No("TRIGGER_MISSING")
        if (price is not None and Decimal(price) % listed.tick) or (stop and Decimal(trigger) % listed.tick):
            raise No("PRICE_NOT_TICK_MULTIPLE")
        if stop and kind == "SL" and (price < trigger if one.side == "BUY" else price > trigger):
            raise No("TRIGGER_BEYOND_LIMIT")

    @staticmethod
    def check_band(one: Working, listed: Listed, seen: Seen | None) -> None:
        """Shares: 20 % around the previous close. A LIMIT on an option: not too far beyond the last price."""
        if seen is None:
            return
        if listed.kind == "option":
            if one.limit is not None and one.trigger is None and too_far(one.side, one.limit, seen.last):
                raise No("PRICE_OUTSIDE_BAND")
            return
        if seen.previous_close is not None:
            middle, width = seen.previous_close, seen.previous_close * Decimal("0.2")
        else:
            return
        asked = [Decimal(one.order["price"])] if one.order["order_type"] in ("LIMIT", "SL") else []
        if one.trigger is not None:
            asked.append(Decimal(one.order["trigger_price"]))
        if any(abs(price - middle) > width for price in asked):
            raise No("PRICE_OUTSIDE_BAND")

    def would_open(self, one: Working, others: list[Working]) -> int:
        """Units of it that open a position, after what the others on its side close."""
        held = self.positions[one.key].quantity if one.key in self.positions else 0
        closes = max(0, -held if one.side == "BUY" else held)
        for other, units in self.opening(one.key):
            if other in others and other.side == one.side:
                closes -= other.left - units
        return max(0, one.left - max(0, closes))

    # --- what is known -------------------------------------------------------------------------

    def instrument(self, token: int) -> Listed:
        return self.listed.get(token, Listed())

    def days_of(self, exchange: str) -> Days:
        if exchange not in self.days:
            self.days[exchange] = Days(exchange)
        return self.days[exchange]

    def open_at(self, token: int, moment: datetime) -> bool:
        return self.days_of(self.instrument(token).exchange).open_at(moment)


def too_far(side: str, limit: Decimal, last: Decimal) -> bool:
    """Limit price protection of options: 40 % of a premium above ₹50, else ₹20, beyond the last price."""
    width = last * Decimal("0.4") if last > 50 else Decimal(20)
    return limit > last + width if side == "BUY" else limit < last - width


def square_off_id(token: int, strategy_id: str, now: datetime) -> str:
    """What this book calls a broker's own order: what it is about, not an id that only its maker could know."""
    return f"square-off of {token} for {strategy_id} on {now.astimezone(IST).date()}"


def _seen(line: Line, now: datetime) -> Seen:
    depth = line.get("depth")
    book = None
    if depth is not None and (depth["buy"] or depth["sell"]):
        book = {
            taker: [[Decimal(one["price"]), one["quantity"]] for one in depth[side] if one["price"] > 0]
            for taker, side in (("BUY", "sell"), ("SELL", "buy"))
        }
    traded_at = line.get("last_trade_time")
    close = line.get("ohlc", {}).get("close")
    return Seen(
        at=now,
        last=Decimal(line["last_price"]),
        traded_at=None if traded_at is None else datetime.fromisoformat(traded_at),
        traded=line.get("last_traded_quantity") or None,
        book=book,
        previous_close=Decimal(close) if close else None,
    )


def _within(price: Decimal, limit: Decimal, side: str) -> bool:
    """Whether a taker on `side` with this limit may trade there."""
    return price <= limit if side == "BUY" else price >= limit
