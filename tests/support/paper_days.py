"""Days of orders and ticks for the simulated broker, drawn at random or once, and an engine that is fed with them."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import datetime, time, timedelta
from decimal import Decimal

from hypothesis import strategies as st

from alpha_cli.core.events import Cancel, Depth, Level, Modify, Order, Tick
from alpha_cli.core.ledger import Account
from alpha_cli.core.times import IST
from alpha_cli.market.contracts import Contracts
from alpha_cli.stages.paper.config import PaperConfig, Slippage
from alpha_cli.stages.paper.engine import Engine
from alpha_cli.stages.paper.orders import Memory
from alpha_cli.stream.last_ticks import LastTicks
from support.events import stream

OPENING = datetime(2026, 1, 5, 9, 15, tzinfo=IST)  # a Monday
CASH = Decimal(200_000)
TOKENS = (1, 2)
PLAIN = PaperConfig(cash=CASH)

# --- any day ---------------------------------------------------------------------------------

steps = st.integers(-40, 40)  # ticks of five paise away from the last price
levels = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 60)), max_size=5)
#: (ticks below or above the last price, units) of each level, sorted later on
books = st.none() | st.tuples(levels, levels)
#: how time goes on: seconds, or to a time of day, this day or the next
spans = st.sampled_from(
    [1, 0, 5, 1, 60, 1, 0, 300, 1, 2, time(15, 14, 59), time(15, 20), time(15, 29, 59), time(15, 31), time(9, 15)]
)
some_ticks = st.tuples(
    st.just("tick"), st.sampled_from(TOKENS), spans, st.integers(-30, 30), books, st.none() | st.integers(1, 40)
)
some_orders = st.fixed_dictionaries(
    {
        "side": st.sampled_from(["BUY", "SELL"]),
        "quantity": st.sampled_from([10, 1, 3, 10, 50, 20, 500, 2_000]),
        "order_type": st.sampled_from(["MARKET", "LIMIT", "SL", "SL-M"]),
        "validity": st.sampled_from(["DAY", "DAY", "IOC"]),
        "product": st.sampled_from(["MIS", "NRML", "CNC", "MIS"]),
        "strategy_id": st.sampled_from(["a", "b"]),
    }
)
#: seconds by which a request is later than the newest tick; None: it has no time of its own
leads = st.sampled_from([None, 0, 0, 2, 30, -1])
actions = st.one_of(
    some_ticks,
    some_ticks,
    st.tuples(st.just("order"), st.sampled_from(TOKENS), some_orders, steps, steps, st.sampled_from([0, 0, 0, -1, 2])),
    st.tuples(st.just("order"), st.sampled_from(TOKENS), some_orders, steps, steps, st.just(0)),
    st.tuples(st.just("cancel"), st.integers(0, 8), leads),
    st.tuples(
        st.just("modify"), st.integers(0, 8), st.none() | st.sampled_from([0, 1, 5, 40]), st.none() | steps,
        st.none() | steps, st.sampled_from([None, None, "MARKET", "LIMIT", "SL", "SL-M"]), leads,
    ),
)  # fmt: skip
days = st.lists(actions, min_size=8, max_size=50) | st.lists(actions, max_size=8)
configs = st.builds(
    PaperConfig,
    cash=st.just(CASH),
    charges=st.sampled_from(["estimate", "contract-note", "none"]),
    latency=st.sampled_from([timedelta(), timedelta(), timedelta(milliseconds=1500)]),
    slippage=st.sampled_from([Slippage(), Slippage(), Slippage("ticks", Decimal(2)), Slippage("bps", Decimal(5))]),
)


def later(now, span):
    """The time a span after `now`; a time of day that is over is that of the next day."""
    if isinstance(span, int):
        return now + timedelta(seconds=span)
    at = datetime.combine(now.date(), span, IST)
    return at if at >= now else at + timedelta(days=1)


def events_of(day, *, apart=False):
    """The events of a drawn day. `apart`: no two ticks of one time."""
    now, last, made, out = OPENING, dict.fromkeys(TOKENS, 2_000), 0, []
    for token in TOKENS:
        now += timedelta(seconds=apart)
        out.append(Tick(instrument_token=token, timestamp=now, last_price=100.0))
    for what, *rest in day:
        if what == "tick":
            token, span, change, book, traded = rest
            now = later(now, span)
            now += timedelta(seconds=1) if apart else timedelta()
            last[token] = max(20, last[token] + change)
            out.append(
                Tick(
                    instrument_token=token,
                    timestamp=now,
                    last_price=rupees(last[token]),
                    depth=book and a_depth(last[token], *book),
                    last_traded_quantity=traded,
                )
            )
        elif what == "order":
            token, fields, price, trigger, ahead = rest
            priced = {}
            kind, away = fields["order_type"], 1 if fields["side"] == "BUY" else -1
            waits = last[token] + (away * (1 + abs(trigger)) if trigger > -30 else trigger)  # or it makes no sense
            if kind in {"LIMIT", "SL"}:
                priced["price"] = paise(last[token] + price if kind == "LIMIT" else waits + away * abs(price))
            if kind in {"SL", "SL-M"}:
                priced["trigger_price"] = paise(waits)
            out.append(
                Order(
                    order_id=f"o{made}",
                    signal_id=f"s{made}",
                    broker="paper",
                    instrument_token=token,
                    timestamp=now + timedelta(seconds=ahead),
                    **fields,
                    **priced,
                )
            )
            made += 1
        elif what == "cancel":
            out.append(Cancel(order_id=f"o{rest[0]}", timestamp=ahead_of(now, rest[1])))
        else:
            number, quantity, price, trigger, kind, lead = rest
            out.append(
                Modify(
                    order_id=f"o{number}",
                    quantity=quantity,
                    order_type=kind,
                    timestamp=ahead_of(now, lead),
                    price=None if price is None else paise(2_000 + price),
                    trigger_price=None if trigger is None else paise(2_000 + trigger),
                )
            )
    return out


def ahead_of(now, seconds):
    """The time of a request, if it has one."""
    return None if seconds is None else now + timedelta(seconds=seconds)


def a_depth(last, below, above):
    bids = sorted((max(1, last - away), quantity) for away, quantity in below)[::-1]
    asks = sorted((last + away, quantity) for away, quantity in above)
    return Depth(
        buy=[Level(price=rupees(price), quantity=quantity, orders=1) for price, quantity in bids],
        sell=[Level(price=rupees(price), quantity=quantity, orders=1) for price, quantity in asks],
    )


def rupees(ticks):
    """As the feed writes it: the float nearest to the price."""
    return float(paise(ticks))


def paise(ticks):
    return Decimal(ticks) / 20


# --- who watches -----------------------------------------------------------------------------


class Watched(Memory):
    """A journal that adds up what is posted."""

    def __init__(self):
        super().__init__(keep_fills=True)
        self.trial = defaultdict(int)

    def fill(self, fill, booking, account):
        super().fill(fill, booking, account)
        self._add(booking)

    def note(self, note, adjusted, booking, account):
        super().note(note, adjusted, booking, account)
        self._add(booking)

    def _add(self, booking):
        assert sum(amount for _, amount in booking.postings) == 0
        for name, amount in booking.postings:
            self.trial[name] += amount


class Broker:
    """An engine that is fed as the loop would feed it."""

    def __init__(self, config=PLAIN, journal=None, account=None, resting=()):
        self.market = LastTicks()
        self.journal = Watched() if journal is None else journal
        self.account = account or Account.opened("paper", config.starting_cash)
        contracts = Contracts(all_hours=config.all_hours)
        self.engine = Engine(self.account, self.market, self.journal, resting, config=config, contracts=contracts)
        self.config = config

    def put(self, event):
        if type(event) is Tick:
            self.market.put(event)
            if not self.market.wants(event):
                return []
        return list(self.engine.steps[type(event)](event))

    def day(self, events):
        return [said for event in events for said in self.put(event)]

    def books(self):
        """What it comes to: positions, cash and charges."""
        held = {key: (one.quantity, one.cost, one.realised) for key, one in self.account.positions.items()}
        return held, self.account.cash, {name: amount for name, amount in self.account.charges.items() if amount}


def a_day(seed, count=1_500):
    """A long day of everything, drawn once."""
    chance = random.Random(seed)
    day = []
    for _ in range(count):
        kind = chance.random()
        if kind < 0.6:
            sides = tuple([(chance.randrange(30), chance.randrange(60)) for _ in range(5)] for _ in "bs")
            book = sides if kind < 0.3 else None
            traded = chance.choice([None, 3, 40])
            day.append(("tick", chance.choice(TOKENS), chance.choice([0, 1, 20]), chance.randint(-8, 8), book, traded))
        elif kind < 0.85:
            fields = {
                "side": chance.choice(["BUY", "SELL"]), "quantity": chance.choice([1, 3, 10, 50]),
                "order_type": chance.choice(["MARKET", "LIMIT", "SL", "SL-M"]),
                "validity": chance.choice(["DAY", "IOC"]), "product": chance.choice(["MIS", "CNC"]),
                "strategy_id": chance.choice("ab"),
            }  # fmt: skip
            day.append(
                ("order", chance.choice(TOKENS), fields, chance.randint(-15, 15), chance.randint(-15, 15), 0)
            )  # fmt: skip
        elif kind < 0.92:
            day.append(("cancel", chance.randrange(count // 4), None))
        else:
            price = chance.randint(-15, 15)
            day.append(("modify", chance.randrange(count // 4), chance.choice([None, 5]), price, None, None, None))
    return stream(events_of(day))
