"""The synthetic market: the same bytes everywhere, lines that are their ticks, and something to trade on."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import deque
from datetime import date, datetime
from itertools import islice, pairwise
from typing import Any

import pytest

from alpha_cli.cli.options import Build
from alpha_cli.core.codec import decode, encode
from alpha_cli.core.events import Tick
from alpha_cli.core.times import IST
from alpha_cli.stages.feed.command import command
from alpha_cli.stages.feed.synthetic import KNOWN, Mode, Synthetic, tokens_of

DEFAULT_DATE = date(2026, 1, 5)
FIRST_500 = "7179cc612e359729775d0d0ae73e11f7b4a33846ebdc56f055b02cc6a90323a7"
FIRST_2000 = "52ea47f13ca3025b6453b93a5d8da9fb199aad88e195f1dbf43c5c2defc98305"


class NoSignal:
    """Stands in for `Shutdown` where no signal comes."""

    requested = None


def ticks_of(market: Synthetic, count: int | None = None) -> list[Tick]:
    """The first ticks of a market."""
    return list(islice((tick for batch in market.batches(NoSignal()) for tick in batch.events or ()), count))


@pytest.mark.parametrize(("hash_seed", "zone"), [("0", "UTC"), ("1", "Asia/Kolkata"), ("77", "America/New_York")])
def test_the_same_bytes_everywhere(hash_seed: str, zone: str) -> None:
    """Neither hash seed nor time zone nor version of Python changes a byte."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "TZ": zone}
    done = subprocess.run(
        [sys.executable, "-m", "alpha_cli", "feed", "-q", "--to", "09:16:40"],
        env=environment, capture_output=True, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines(keepends=True)[1:-1]
    assert hashlib.sha256(b"".join(lines)).hexdigest() == FIRST_500
    assert done.stderr == b""


def test_the_first_two_thousand_lines() -> None:
    """Pinned: a change of the market changes what every example and benchmark says."""
    market = Synthetic(1, DEFAULT_DATE, tokens_of(5), None, "quote")
    data = b"".join(batch.data for batch in islice(market.batches(NoSignal()), 10))
    assert data.count(b"\n") == 2000
    assert hashlib.sha256(data).hexdigest() == FIRST_2000


@pytest.mark.parametrize("mode", ["ltp", "quote", "full"])
def test_lines_are_their_ticks(mode: Mode) -> None:
    """The lines are written without the codec, and are to the byte what it would write."""
    market = Synthetic(3, DEFAULT_DATE, [*tokens_of(5), 7, 4294967295], 5000, mode)
    made = 0
    for batch in market.batches(NoSignal()):
        made += len(batch.lines)
        assert [encode(tick) for tick in batch.events or ()] == batch.lines
        assert [decode(line) for line in batch.lines] == batch.events
        assert batch.data == b"".join(line + b"\n" for line in batch.lines)
        assert all(type(tick) is Tick and tick.mode == mode for tick in batch.events or ())
    assert made == 5000


def test_a_session() -> None:
    """By default one tick a second of each instrument from 09:15 on, before 15:30, each later than the last."""
    ticks = ticks_of(Synthetic(1, date(2025, 2, 3), tokens_of(2), None, "ltp"))
    assert len(ticks) == 45_000
    assert ticks[0].timestamp == datetime(2025, 2, 3, 9, 15, tzinfo=IST)
    assert ticks[2].timestamp == datetime(2025, 2, 3, 9, 15, 1, tzinfo=IST)
    assert ticks[-1].timestamp < datetime(2025, 2, 3, 15, 30, tzinfo=IST)
    assert all(one.timestamp < other.timestamp for one, other in pairwise(ticks))
    assert {tick.instrument_token for tick in ticks} == {256265, 260105}


def test_prices_and_volumes_make_sense() -> None:
    """Prices are multiples of 0.05 within the day's range, averages within it too, volume only grows."""
    last: dict[int, Tick] = {}
    for tick in ticks_of(Synthetic(5, DEFAULT_DATE, tokens_of(5), 20_000, "quote")):
        token, ohlc = tick.instrument_token, tick.ohlc
        assert ohlc is not None
        assert round(tick.last_price * 20) / 20 == tick.last_price
        assert ohlc.low <= tick.last_price <= ohlc.high
        assert ohlc.low <= ohlc.open <= ohlc.high
        assert ohlc.close == KNOWN[token][0] / 20
        assert tick.average_traded_price is not None
        assert ohlc.low <= tick.average_traded_price <= ohlc.high
        assert tick.change == pytest.approx((tick.last_price / ohlc.close - 1) * 100, abs=0.0051)
        if token in last:
            assert tick.volume_traded == last[token].volume_traded + (tick.last_traded_quantity or 0)
        last[token] = tick


def test_instruments_do_not_change_each_other() -> None:
    """An instrument's path depends on the seed and its token alone."""
    alone = [tick.last_price for tick in ticks_of(Synthetic(1, DEFAULT_DATE, [256265], None, "ltp"), 500)]
    among = ticks_of(Synthetic(1, DEFAULT_DATE, [7, 256265, 9], None, "quote"), 1500)
    assert [tick.last_price for tick in among if tick.instrument_token == 256265] == alone
    assert [tick.last_price for tick in ticks_of(Synthetic(2, DEFAULT_DATE, [256265], None, "ltp"), 500)] != alone


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_there_is_something_to_trade_on(seed: int) -> None:
    """A rule on the last 20 ticks fires tens of times a day on the two indices: not never, not always."""
    history: dict[int, deque[float]] = {}
    side: dict[int, int] = {}
    fired = 0
    for tick in ticks_of(Synthetic(seed, DEFAULT_DATE, [256265, 260105], None, "ltp")):
        prices = history.setdefault(tick.instrument_token, deque(maxlen=20))
        if len(prices) == 20:
            change = tick.last_price / prices[0] - 1
            now = (change > 0.0005) - (change < -0.0005)
            fired += now not in (0, side.get(tick.instrument_token))
            side[tick.instrument_token] = now
        prices.append(tick.last_price)
    assert 20 <= fired <= 400


def test_made_up_instruments() -> None:
    """More than the known ones get tokens and prices of their own."""
    tokens = tokens_of(300)
    assert len(set(tokens)) == 300
    assert all(tick.last_price >= 50 for tick in ticks_of(Synthetic(1, DEFAULT_DATE, tokens, 300, "ltp")))


def test_a_signal_stops_it() -> None:
    """Between two batches it looks whether it was asked to stop."""
    market = Synthetic(1, DEFAULT_DATE, tokens_of(5), None, "quote")
    asked: Any = NoSignal()
    batches = market.batches(asked)
    next(batches)
    asked.requested = 15
    assert list(batches) == []


def test_range_and_description() -> None:
    """--from and --to hold for the synthetic market too; hello says what would make it again."""
    context = command.make_context(
        "feed", ["--from", "10:00", "--to", "10:00:02", "--seed", "9"], obj=Build(),
        help_option_names=["-h", "--help"],  # click keeps the help option it made first
    )  # fmt: skip
    source = command.invoke(context)
    ticks: list[Any] = [tick for batch in source.batches(NoSignal()) for tick in batch.events]
    assert len(ticks) == source.lifecycle.counts()["ticks"] == 10
    assert source.description.startswith("synthetic seed=9 date=2026-01-05 ticks=112500 mode=quote instruments=256265,")
