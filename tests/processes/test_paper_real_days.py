"""Real days: `alpha feed` of each shared recording and `alpha paper`, against the slow book of `slow_book`.

Orders of all four types, both validities and all products are placed at ticks of the day, near its prices,
beside modifications, cancels, repeats, and some that must be refused. Every fill with its price, time and
charges, what became of every order, and the closing books have to be the same on both roads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.events import HELLO, NIFTY
from support.examples import rest_nightly
from support.processes import counters, run_alpha, shared
from support.slow_book import Line, Listed, SlowBook, square_off_id

from alpha_cli.core.codec import encode
from alpha_cli.core.events import Cancel, Eof, Event, Modify, Order

INDEX = "nifty50-1s-2022"
OPTIONS = "nifty-options-ticks-2024-06"
SATURDAY = "2022-08-27"
DAYS = (
    "2022-08-10", "2022-08-12", "2022-08-18", "2022-08-19", "2022-08-22", "2022-08-23", "2022-08-24", "2022-08-25",
    "2022-08-26", SATURDAY,
)  # fmt: skip
ALWAYS = {"2022-08-12", "2022-08-22"}  # the other days are tried at night
TRADES = ("2024-06-14_option_epochms.csv", "2024-06-20_NSE_FO_64363.csv")
OPTION = 64363

TYPES = ("MARKET", "LIMIT", "SL", "SL-M")
VALIDITIES = ("DAY", "IOC")
STEP = Decimal("0.05")
REFUSED_AT_LEAST = {"PRICE_NOT_TICK_MULTIPLE", "TRIGGER_BEYOND_LAST", "HOLDINGS_INSUFFICIENT", "MARGIN_INSUFFICIENT"}


@cache
def fed(folder: str, name: str) -> tuple[bytes, ...]:
    """The ticks of a recording, as `alpha feed` gives them."""
    path = shared(folder) / name
    columns = ["--columns", "timestamp,last_price"] if folder == INDEX else []
    token = NIFTY if folder == INDEX else OPTION
    done = run_alpha(["feed", str(path), *columns, "--instrument-token", str(token)])
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert b'"hello"' in lines[0]
    assert b'"eof"' in lines[-1]
    return tuple(lines[1:-1])


def index_day(name: str) -> tuple[bytes, ...]:
    return fed(INDEX, f"{name}.csv.gz")


class Trader:
    """Makes orders, the same ones for the same seed.

    quantity  of one order, at most
    far       how many steps of the tick size a price may lie from the last one
    lot       quantities are multiples of it, but for a few
    """

    def __init__(self, seed: str, *, quantity: int, far: tuple[int, ...], lot: int = 1) -> None:
        self.random = Random(seed)
        self.quantity, self.far, self.lot = quantity, far, lot
        self.seen: dict[bytes, bytes] = {}  # the newest line of each instrument, by how its line begins
        self.placed: list[Order] = []

    def merged(self, ticks: Iterable[bytes], count: int) -> Iterator[bytes]:
        """`ticks`, with `count` lines of the trader, each right after the tick that caused it."""
        ticks = list(ticks)
        places = sorted(self.random.choices(range(len(ticks)), k=count))
        for number, line in enumerate(ticks):
            yield line
            self.seen[line.partition(b',"timestamp"')[0]] = line
            while places and places[0] == number:
                places.pop(0)
                about = self.seen[self.random.choice(sorted(self.seen))]
                tick = json.loads(about, parse_float=Decimal) | {"timestamp": json.loads(line)["timestamp"]}
                yield encode(self.acts(tick))

    def acts(self, tick: Line) -> Event:
        chance = self.random.random()
        if chance < 0.72 or not self.placed:
            made = self.order(tick)
            self.placed.append(made)
            return made
        one = self.random.choice(self.placed[-12:])
        if chance < 0.76:
            return one  # the same again
        if chance < 0.86:
            return Cancel(order_id=one.order_id)
        return self.modification(one, tick)

    def order(self, tick: Line) -> Order:
        pick = self.random
        last, moment = Decimal(tick["last_price"]), datetime.fromisoformat(tick["timestamp"])
        side = pick.choice(("BUY", "SELL"))
        up = 1 if side == "BUY" else -1
        kind, validity = pick.choice(TYPES), pick.choice(VALIDITIES)
        price = trigger = None
        if kind == "LIMIT":
            nearer = pick.random() < 0.4  # it takes, and does not rest
            price = self.near(last, up if nearer else -up)
        elif kind != "MARKET":
            wrong = pick.random() < 0.08
            trigger = self.near(last, -up if wrong else up)
            if kind == "SL":
                price = trigger + (-up if wrong else up) * STEP * pick.choice((0, 1, 4, 40))
        if price is not None and pick.random() < 0.04:
            price += Decimal("0.02")
        number = len(self.placed)
        quantity = pick.randint(1, max(self.quantity // self.lot, 1)) * self.lot
        return Order(
            order_id=f"o{number}",
            signal_id=f"s{max(number - 1, 0)}" if pick.random() < 0.03 else f"s{number}",
            strategy_id=pick.choice(("first", "second", "third")),
            broker="zerodha" if pick.random() < 0.02 else "paper",
            instrument_token=tick["instrument_token"],
            side=side,
            quantity=quantity + (pick.random() < 0.03),
            timestamp=moment + timedelta(milliseconds=pick.choice((0, 0, 0, 0, 700, 2500))),
            order_type=kind,
            price=price,
            trigger_price=trigger,
            product=pick.choice(("MIS", "MIS", "MIS", "CNC", "NRML")),
            validity=validity,
        )

    def modification(self, one: Order, tick: Line) -> Modify:
        pick = self.random
        last = Decimal(tick["last_price"])
        price = trigger = quantity = kind = None
        match pick.randrange(5):
            case 0:
                quantity = pick.randint(0, max(self.quantity // self.lot, 1)) * self.lot
            case 1:
                kind = pick.choice(TYPES)
                if pick.random() < 0.8:
                    price, trigger = self.near(last, -1), self.near(last, 1)
            case 2:
                trigger = self.near(last, 1 if one.side == "BUY" else -1)
            case 3:
                price = self.near(last, pick.choice((-1, 1))) + pick.choice((Decimal(0), Decimal(0), Decimal("0.01")))
            case 4:
                price, quantity = self.near(last, pick.choice((-1, 1))), one.quantity + self.lot
        return Modify(
            order_id=one.order_id, quantity=quantity, price=price, trigger_price=trigger, order_type=kind  # type: ignore[arg-type]
        )  # fmt: skip

    def near(self, last: Decimal, direction: int) -> Decimal:
        """A price some steps from the last one."""
        return (last // STEP + direction * self.random.choice(self.far)) * STEP


def trader(folder: str, name: str, **more: Any) -> Trader:
    """One whose prices the recording can reach."""
    if folder == INDEX:
        return Trader(name, quantity=20, far=(0, 1, 4, 20, 100, 300), **more)
    return Trader(name, quantity=2_000, far=(0, 1, 2, 6, 20, 60), **more)


# --- both roads ----------------------------------------------------------------------------------


def by_paper(lines: list[bytes], *options: str) -> list[Line]:
    """What a real `alpha paper` says of `lines`."""
    data = b"\n".join([encode(HELLO), *lines, encode(Eof(ok=True, code=0)), b""])
    done = run_alpha(["paper", *options], data)
    assert done.returncode == 0, done.stderr.decode()
    counted = counters(done.stderr.decode())
    assert counted["rejected"] == 0
    return [json.loads(line, parse_float=Decimal) for line in done.stdout.splitlines()]


def by_hand(lines: Iterable[bytes], **market: Any) -> SlowBook:
    book = SlowBook(**market)
    for line in lines:
        book.read(json.loads(line, parse_float=Decimal))
    return book


def same(said: list[Line], book: SlowBook) -> None:
    """All fills, what became of each order, and the books at the end."""
    fills = [line for line in said if line["type"] == "fill"]
    names = {line["order_id"]: _named(line) for line in said if line["type"] in ("fill", "order_update")}
    wanted = ("order_id", "strategy_id", "side", "instrument_token", "product", "quantity", "price")
    told = [
        {name: fill[name] for name in wanted}
        | {"order_id": names[fill["order_id"]]}
        | {"timestamp": datetime.fromisoformat(fill["timestamp"]), "charges": fill["charges"]}
        for fill in fills
    ]
    for number, (one, other) in enumerate(zip(told, book.fills, strict=False)):
        assert one == other, f"fill {number}"
    assert len(told) == len(book.fills)
    assert len({fill["fill_id"] for fill in fills}) == len(fills)
    ends = {
        names[line["order_id"]]: (
            line["status"], line.get("code"), line["filled_quantity"], line.get("average_price"),
        )
        for line in said if line["type"] == "order_update"
    }  # fmt: skip
    assert ends == {
        name: (one.status, one.code, one.filled, one.average)
        for name, one in book.orders.items()
        if one.order["broker"] == "paper"
    }
    closing = said[-1]
    expected = book.portfolio()
    positions = {
        (held["instrument_token"], held["product"]): {
            name: held[name] for name in ("quantity", "average_price", "realised_pnl", "unrealised_pnl", "last_price")
        }
        for held in closing["positions"]
    }
    assert positions == expected.pop("positions")
    assert {name: closing[name] for name in expected} == expected


def _named(line: Line) -> str:
    """The id of an order; of the broker's own, what it is about."""
    if not line["order_id"].startswith("square-off-"):
        return str(line["order_id"])
    return square_off_id(line["instrument_token"], line["strategy_id"], datetime.fromisoformat(line["timestamp"]))


def filled_kinds(book: SlowBook) -> set[tuple[str, str]]:
    """(order type, validity) of what filled, as the orders were placed."""
    orders = [book.orders[fill["order_id"]].order for fill in book.fills]
    return {(order["order_type"], order["validity"]) for order in orders}


# --- the days ------------------------------------------------------------------------------------


def test_no_recording_is_left_out() -> None:
    """The lists above are all there is."""
    assert {path.name for path in shared(INDEX).glob("*.csv*")} == {f"{name}.csv.gz" for name in DAYS}
    assert {path.name for path in shared(OPTIONS).glob("*.csv*")} == set(TRADES)


@pytest.mark.parametrize(
    "name",
    [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.nightly) for name in DAYS if name != SATURDAY],
)
def test_an_index_day(name: str) -> None:
    """One price a second, from before the open to after the close."""
    lines = list(trader(INDEX, name).merged(index_day(name), 900))
    book = by_hand(lines)
    same(by_paper(lines), book)
    assert filled_kinds(book) >= set(product(TYPES, VALIDITIES))
    assert {one.code for one in book.orders.values()} >= REFUSED_AT_LEAST | {"DAY_ENDED", "IOC_NOT_FILLED"}
    opened = min(fill["timestamp"] for fill in book.fills).time()
    assert opened.isoformat() >= "09:15:00"
    assert all(held.quantity == 0 for key, held in book.positions.items() if key[1] == "MIS")


def test_a_saturday_that_repeats_friday() -> None:
    """The recorder went on; the exchange did not. Nothing fills, and each order hears why."""
    lines = list(trader(INDEX, SATURDAY).merged(index_day(SATURDAY), 300))
    book = by_hand(lines)
    same(by_paper(lines), book)
    assert not book.fills
    assert {one.code for one in book.orders.values()} == {"MARKET_CLOSED"}


@pytest.mark.parametrize("milliseconds", rest_nightly(1, [300, 2000]))
def test_an_index_day_with_latency(milliseconds: int) -> None:
    """Orders and modifications wait for the first tick that is late enough."""
    name = DAYS[1]
    lines = list(trader(INDEX, f"{name} late").merged(index_day(name), 900))
    book = by_hand(lines, latency=timedelta(milliseconds=milliseconds))
    same(by_paper(lines, "--latency", str(milliseconds)), book)
    assert filled_kinds(book) >= set(product(TYPES, VALIDITIES))


@pytest.mark.parametrize("slippage", rest_nightly(1, [("ticks", 3), ("bps", 2)]))
def test_an_index_day_with_slippage(slippage: tuple[str, int]) -> None:
    """Takers fare worse by so much, within their limits; who rests does not."""
    name = DAYS[2]
    lines = list(trader(INDEX, f"{name} slips").merged(index_day(name), 600))
    same(by_paper(lines, "--slippage", f"{slippage[1]} {slippage[0]}"), by_hand(lines, slippage=slippage))


@pytest.mark.parametrize(
    ("days", "count"),
    [pytest.param(DAYS, 2500, marks=pytest.mark.nightly), (DAYS[-3:], 900)],
    ids=["ten days", "over a weekend"],
)
def test_days_in_one_account(days: Sequence[str], count: int) -> None:
    """Holdings stay overnight, shares leave the demat account with its charge, each day's MIS is squared off."""
    ticks = [line for name in days for line in index_day(name)]
    lines = list(trader(INDEX, "ten days").merged(ticks, count))
    book = by_hand(lines)
    same(by_paper(lines), book)
    assert any("dp" in fill["charges"] for fill in book.fills)
    assert len({one.order["timestamp"][:10] for one in book.orders.values() if one.own}) == len(days) - 1
    assert not any(fill["timestamp"].date().isoformat() == SATURDAY for fill in book.fills)


@pytest.mark.parametrize("milliseconds", rest_nightly(1, [700, 0]))
def test_two_instruments_in_one_stream(milliseconds: int) -> None:
    """An order for one of them waits for a tick of its own that is not older than it is."""
    other = [line.replace(b"256265", b"5").replace(b"2022-08-24", b"2022-08-23") for line in index_day("2022-08-24")]
    ticks = sorted([*index_day("2022-08-23"), *other[::3]], key=lambda line: line.partition(b'"timestamp":')[2][:21])
    lines = list(trader(INDEX, "two").merged(ticks, 1200))
    book = by_hand(lines, latency=timedelta(milliseconds=milliseconds))
    same(by_paper(lines, "--latency", str(milliseconds)), book)
    assert {key[0] for key in book.positions} == {NIFTY, 5}


@pytest.mark.parametrize("name", rest_nightly(1, TRADES))
def test_trades_of_an_option_without_a_master(name: str) -> None:
    """Each trade's quantity is all that comes to orders which rest; the token trades as a share."""
    lines = list(trader(OPTIONS, name).merged(fed(OPTIONS, name), 1500 if name == TRADES[0] else 60))
    book = by_hand(lines)
    same(by_paper(lines), book)
    if name == TRADES[0]:
        assert filled_kinds(book) >= set(product(TYPES, VALIDITIES))
        assert any(0 < one.filled < one.order["quantity"] for one in book.orders.values())
        assert {one.code for one in book.orders.values()} >= REFUSED_AT_LEAST


MASTER = b"""\
instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,segment,exchange
64363,251,NIFTY2462023500CE,NIFTY,0.0,2024-06-20,23500.0,0.05,25,CE,NFO-OPT,NFO
"""


def test_trades_of_an_option_as_one(tmp_path: Path) -> None:
    """With a master: lots of 25, premium and strike margins, the band around the last price, 15:25, option charges."""
    name, dump, master = TRADES[0], tmp_path / "dump.csv", str(tmp_path / "master.db")
    dump.write_bytes(MASTER)
    loaded = run_alpha(["instruments", "load", str(dump), "--date", "2024-06-14", "--db", master])
    assert loaded.returncode == 0, loaded.stderr
    made = Trader("as an option", quantity=500, far=(0, 1, 2, 6, 20, 60, 900), lot=25)
    lines = list(made.merged(fed(OPTIONS, name), 1500))
    option = Listed("NFO", "option", in_master=True, lot=25, strike=Decimal(23_500))
    book = by_hand(lines, listed={OPTION: option}, cash=Decimal(4_000_000))
    same(by_paper(lines, "--instruments", master, "--cash", "4000000"), book)
    assert filled_kinds(book) >= set(product(TYPES, VALIDITIES))
    refused = {one.code for one in book.orders.values()}
    assert refused >= {
        "PRODUCT_NOT_ALLOWED", "QUANTITY_NOT_LOT_MULTIPLE", "PRICE_OUTSIDE_BAND", "MARGIN_INSUFFICIENT",
        "MIS_AFTER_SQUARE_OFF",
    }  # fmt: skip
    own = [fill["timestamp"].strftime("%H:%M") for fill in book.fills if book.orders[fill["order_id"]].own]
    assert set(own) == {"15:25"}


def with_a_book(ticks: Iterable[bytes], seed: str) -> Iterator[bytes]:
    """Real prices, and five levels of a made book around each; sometimes a side is thin, far, or crossed."""
    pick = Random(seed)
    traded = None
    for line in ticks:
        tick = json.loads(line, parse_float=Decimal)
        middle = Decimal(tick["last_price"]) // STEP + pick.choice((-2, -1, 0, 0, 0, 1, 2))
        depth = {
            side: [
                {"price": float((middle + way * (first + level)) * STEP), "quantity": pick.choice((0, 1, 3, 10, 60))}
                for level in range(5)
            ]
            for side, way, first in (("buy", -1, pick.choice((0, 1, 1, 40))), ("sell", 1, pick.choice((1, 1, 40))))
        }
        traded = tick["timestamp"] if traded is None or pick.random() < 0.3 else traded
        tick |= {"last_price": float(tick["last_price"]), "depth": depth, "last_trade_time": traded}
        if pick.random() < 0.5:
            tick["last_traded_quantity"] = pick.choice((0, 1, 5, 50))
        yield json.dumps(tick, separators=(",", ":")).encode()


@pytest.mark.parametrize("slippage", rest_nightly(1, [("depth", 0), ("ticks", 2)]))
def test_real_prices_in_a_made_book(slippage: tuple[str, int]) -> None:
    """Takers walk the levels, the rest of a MARKET order rests at its protection price, IOC leaves nothing."""
    ticks = list(with_a_book(index_day(DAYS[3]), f"book {slippage}"))
    lines = list(trader(INDEX, f"book {slippage}").merged(ticks, 1500))
    book = by_hand(lines, slippage=slippage)
    same(by_paper(lines, *(["--slippage", "2 ticks"] if slippage[1] else [])), book)
    assert filled_kinds(book) >= set(product(TYPES, VALIDITIES))
    assert any(0 < one.filled < one.order["quantity"] for one in book.orders.values())


def test_an_index_day_in_two_runs(tmp_path: Path) -> None:
    """The account goes on where it stopped, with its open orders, positions and what is due."""
    name = DAYS[4]
    lines = list(trader(INDEX, f"{name} twice").merged(index_day(name), 600))
    book = by_hand(lines)
    half = next(place for place in range(len(lines) // 2, len(lines)) if lines[place].startswith(b'{"type":"tick"'))
    first = by_paper(lines[:half], "--state", str(tmp_path))
    assert any(held["quantity"] for held in first[-1]["positions"])
    same([*first[:-1], *by_paper(lines[half:], "--state", str(tmp_path))], book)


@pytest.mark.parametrize(
    ("what", "options"),
    rest_nightly(1, [("index", ["--latency", "1500"]), ("index", []), ("trades", []), ("book", [])], names=2),
)
def test_cut_off_anywhere_and_run_again(tmp_path: Path, what: str, options: list[str]) -> None:
    """The same input again after it broke off: nothing is lost, done twice or met twice by the ticks of before."""
    ticks = list(fed(OPTIONS, TRADES[0])[:6000] if what == "trades" else index_day(DAYS[5])[-9000:])
    if what == "book":
        ticks = list(with_a_book(ticks, "cut"))
    name = f"cut {what} {options}"
    lines = list(trader(OPTIONS if what == "trades" else INDEX, name).merged(ticks, 600))
    unbroken = by_paper(lines, *options)
    pick = Random(name)
    for number in range(3):
        state = ["--state", str(tmp_path / str(number))]
        data = b"\n".join([encode(HELLO), *lines[: pick.randrange(len(lines))], b""])
        first = run_alpha(["paper", *options, *state], data)
        assert first.returncode == 75, first.stderr
        said = [json.loads(line, parse_float=Decimal) for line in first.stdout.splitlines()]
        assert said.pop()["type"] == "portfolio"
        assert [*said, *by_paper(lines, *options, *state)] == unbroken


def test_a_trade_is_met_by_who_was_there() -> None:
    """An order at a better price that came after the last trade does not stand before one that was met by it."""

    def tick(second: int, last: float, traded: int) -> bytes:
        far = {"buy": [{"price": 90.0, "quantity": 5}], "sell": [{"price": 110.0, "quantity": 5}]}
        day = "2024-06-03T10:00:"
        times = {"timestamp": f"{day}{second:02d}+05:30", "last_trade_time": f"{day}{traded:02d}+05:30"}
        return json.dumps({"type": "tick", "instrument_token": 5, **times, "last_price": last, "depth": far}).encode()

    def buys(name: str, second: int, price: str) -> bytes:
        moment = datetime.fromisoformat(f"2024-06-03T10:00:{second:02d}+05:30")
        who = {"order_id": name, "signal_id": f"s-{name}", "strategy_id": "x", "broker": "paper"}
        what: dict[str, Any] = {"instrument_token": 5, "side": "BUY", "quantity": 1, "order_type": "LIMIT"}
        return encode(Order(**who, **what, price=Decimal(price), timestamp=moment))

    lines = [tick(1, 105, 0), buys("before", 1, "100"), tick(3, 105, 0), buys("after", 3, "101"), tick(4, 99, 2)]
    book = by_hand(lines)
    assert [fill["order_id"] for fill in book.fills] == ["before"]
    same(by_paper(lines), book)
