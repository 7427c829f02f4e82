"""What a strategy knows of its own trades: from the stream, from a file beside it, or from the stages after it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from datetime import time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st
from support.events import BANK, NIFTY, stream, tick, ticks
from support.processes import Pipeline, alpha, run_alpha
from support.strategy_runs import events_of, fill, hosted, one_line, run_strategy, running, said, strategy_file

from alpha_cli import pipe, replay
from alpha_cli.core.codec import encode
from alpha_cli.core.events import Bar, Denial, Event, Fill, Order, OrderUpdate, Portfolio, Signal, Tick
from alpha_cli.core.money import UNITS
from alpha_cli.stages.run_strategy.context import Context
from alpha_cli.stages.run_strategy.host import Host, HostOptions
from alpha_cli.stages.run_strategy.portfolio import Portfolio as Books
from alpha_cli.stream.follow import Follower


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALPHA_CONFIG_DIR", "ALPHA_ACTIVE_BROKERS", "ALPHA_CONFIG_DB", "ALPHA_STATE"):
        monkeypatch.delenv(name, raising=False)


#: Says at each tick all that it is shown of its trades.
LOOKS = """
def process_tick(self, tick, history, context):
    books = {
        "position": context.position(), "average": str(context.average_price()), "cash": str(context.cash),
        "realised": str(context.realised_pnl),
        "open": [[one.order_id, one.side, one.quantity, one.filled_quantity] for one in context.open_orders()],
    }
    return SignalResult("BUY", quantity=1, metadata=books)
"""

#: Buys when it holds nothing, sells when it holds something: every `every` ticks.
FLIPS = """
tick_fields = ()

def __init__(self, every=5):
    self.every = every

def process_tick(self, tick, history, context):
    if len(history) % self.every:
        return None
    held = context.position()
    said = {"position": held, "cash": str(context.cash), "open": len(context.open_orders())}
    return SignalResult("BUY" if held == 0 else "SELL", quantity=held or 3, metadata=said)
"""


def order(number: int, side: Any = "BUY", quantity: int = 1, at: float = 0, **fields: Any) -> Order:
    """The order `o<number>` of strategy `mine`."""
    values: dict[str, Any] = {
        "signal_id": f"s{number}", "strategy_id": "mine", "broker": "paper", "instrument_token": NIFTY, **fields,
    }  # fmt: skip
    return Order(order_id=f"o{number}", side=side, quantity=quantity, timestamp=tick(at).timestamp, **values)


def update(number: int, status: str, filled: int = 0, pending: int = 0, at: float = 0, **fields: Any) -> OrderUpdate:
    """What became of the order `o<number>`."""
    return OrderUpdate(
        f"o{number}", "paper", status, filled_quantity=filled, pending_quantity=pending, timestamp=tick(at).timestamp,
        **fields,
    )  # fmt: skip


def lines(*events: Event) -> bytes:
    return b"".join(encode(event) + b"\n" for event in events)


#: What alpha.yaml says of the cash there is before any fill.
OPENED = HostOptions(opening_cash={"paper": Decimal(1_000_000)})


def looking(tmp_path: Path, body: str = LOOKS, **fields: str) -> Host:
    host, _ = hosted([strategy_file(tmp_path, body, **fields)], options=OPENED)
    return host


def shown(host: Host, *events: Any) -> list[dict[str, Any]]:
    """What LOOKS saw at each tick among `events`."""
    return [one.metadata for one in said(host, events)]


def amount(text: str) -> Decimal | None:
    """Rupees, or None, as LOOKS says them."""
    return None if text == "None" else Decimal(text)


def context_of(host: Host, name: str = "mine", token: int = NIFTY) -> Context:
    return host.runner.strategies[name].executors[token].context


# --- from the input ----------------------------------------------------------------------------------


def test_a_strategy_sees_its_position_average_price_profit_and_cash_by_its_fills(tmp_path: Path) -> None:
    """From the tick after each fill on, by average cost, in exact decimals; cash begins as alpha.yaml has it."""
    seen = shown(
        looking(tmp_path), tick(0), fill(1, 0, "BUY", 2, "100.05"), tick(1), fill(2, 1, "BUY", 1, "100.2"), tick(2),
        fill(3, 2, "SELL", 2, "101"), tick(3), fill(4, 3, "SELL", 3, "99.5"), tick(4),
        fill(5, 4, "BUY", 2, "99", charges={"brokerage": Decimal("20.5"), "total": Decimal("20.5")}), tick(5),
    )  # fmt: skip
    figures = [(one["position"], *(amount(one[name]) for name in ("average", "cash", "realised"))) for one in seen]
    assert figures == [
        (0, None, 1_000_000, 0),
        (2, Decimal("100.05"), Decimal("999799.9"), 0),
        (3, Decimal("100.1"), Decimal("999699.7"), 0),
        (1, Decimal("100.1"), Decimal("999901.7"), Decimal("1.8")),
        (-2, Decimal("99.5"), Decimal("1000200.2"), Decimal("1.2")),
        (0, None, Decimal("999981.7"), Decimal("2.2")),
    ]  # fmt: skip


TRADES = st.lists(
    st.tuples(st.sampled_from(["BUY", "SELL"]), st.integers(1, 50), st.integers(1, 40_000)), min_size=1, max_size=30
)


@given(TRADES)
def test_any_fills_add_up_to_the_books_of_fractions(trades: list[tuple[str, int, int]]) -> None:
    """Position and cash exactly, the average price and the profit to the four decimals that are kept."""
    runner = running(type("Quiet", (), {"process_tick": lambda self, tick: None}))
    context = runner.strategies["mine"].executors[NIFTY].context
    held, cost, realised, cash = 0, Fraction(0), Fraction(0), Fraction(0)
    for number, (side, quantity, steps) in enumerate(trades):
        price = Fraction(steps, 20)
        signed = quantity if side == "BUY" else -quantity
        closing = min(abs(held), quantity) if held * signed < 0 else 0
        if closing:
            released = cost * Fraction(closing, abs(held))
            realised += closing * price * (1 if held > 0 else -1) - released
            cost -= released
        cost += (quantity - closing) * price * (1 if signed > 0 else -1)
        held += signed
        cash -= signed * price
        runner.on_fill(fill(number, number, side, quantity, str(Decimal(steps) / 20)))
        assert context.position() == held
        assert abs(Fraction(context.realised_pnl) - realised) <= Fraction(number + 1, UNITS)
        average = context.average_price()
        assert (average is None) == (held == 0)
        if average is not None:
            # The cost may be off by what was rounded so far, and the average is rounded for showing.
            off = Fraction(number + 1, UNITS) / abs(held) + Fraction(1, 2 * UNITS)
            assert abs(Fraction(average) - cost / held) <= off
    assert context.cash is None  # nobody said what it began with
    assert Fraction(runner.portfolio.data.accounts["mine"]["paper"].cash, UNITS) == cash


def test_open_orders_are_those_entered_and_not_finished(tmp_path: Path) -> None:
    """Oldest first, with what is filled of them; finished ones go, whatever the end."""
    host = looking(tmp_path)
    seen = shown(
        host, order(1, "BUY", 5), tick(1), order(2, "SELL", 2), update(1, "OPEN", 2, 3), tick(2),
        update(1, "COMPLETE", 5), tick(3), update(2, "REJECTED"), order(3), update(3, "CANCELLED"), tick(4),
    )  # fmt: skip
    assert [one["open"] for one in seen] == [
        [["o1", "BUY", 5, 0]], [["o1", "BUY", 5, 2], ["o2", "SELL", 2, 0]], [["o2", "SELL", 2, 0]], [],
    ]  # fmt: skip


def test_an_order_may_become_known_by_its_update(tmp_path: Path) -> None:
    """Where only what paper or execute says comes back; if it says whose it is."""
    told: dict[str, Any] = {"strategy_id": "mine", "instrument_token": NIFTY, "side": "BUY"}
    seen = shown(looking(tmp_path), update(1, "OPEN", 1, 4, **told), update(2, "OPEN", 0, 4), tick(0))
    assert seen[0]["open"] == [["o1", "BUY", 5, 1]]


def test_what_is_told_again_counts_once(tmp_path: Path) -> None:
    """Fills by their id; an order that comes again once it is finished is not open again."""
    first, done = fill(1, 0, "BUY", 2), update(1, "COMPLETE", 2)
    given = [order(1, "BUY", 2), first, done, first, done, order(1, "BUY", 2), first, tick(1)]
    (seen,) = shown(looking(tmp_path), *given)
    assert (seen["position"], seen["cash"]) == (2, "999800")
    assert seen["open"] == []


def test_an_order_that_is_told_again_keeps_what_is_filled_of_it(tmp_path: Path) -> None:
    """It is the same order."""
    (seen,) = shown(looking(tmp_path), order(1, "BUY", 5), update(1, "OPEN", 2, 3), order(1, "BUY", 5), tick(1))
    assert seen["open"] == [["o1", "BUY", 5, 2]]


def test_a_portfolio_is_the_brokers_word_on_its_cash(tmp_path: Path) -> None:
    """Fills are counted from there on; positions stay those of the strategy's own fills."""
    books = Portfolio("paper", Decimal("500.5"), Decimal(600), Decimal(0), Decimal(0), Decimal(0))
    other = msgspec.structs.replace(books, broker="zerodha", cash=Decimal(7))
    seen = shown(
        looking(tmp_path), fill(1, 0, "BUY", 1, "100"), books, other, tick(1), fill(2, 1, "SELL", 1, "90"), tick(2)
    )
    assert [(one["position"], one["cash"]) for one in seen] == [(1, "500.5"), (0, "590.5")]


def test_a_strategy_sees_its_own_positions_and_everybodys_cash(tmp_path: Path) -> None:
    """The account is shared, what each has made of it is not. So with instruments and brokers."""
    both = f"[{NIFTY}, {BANK}]"
    files = [strategy_file(tmp_path, LOOKS, name, instruments=both) for name in ("mine", "other")]
    host, _ = hosted(files, options=OPENED)
    given = [
        fill(1, 0, "BUY", 1, "100"), fill(2, 0, "SELL", 2, "100", strategy_id="other"),
        fill(3, 0, "BUY", 4, "10", instrument_token=BANK), fill(4, 0, "BUY", 8, "1", broker="zerodha"),
        fill(5, 0, "BUY", 16, "1", strategy_id="gone"), order(6), order(7, strategy_id="other"),
        order(8, instrument_token=BANK), order(9, broker="zerodha"),
    ]  # fmt: skip
    seen = {(one.strategy_id, one.instrument_token): one.metadata
            for one in said(host, [*given, tick(1), tick(1, token=BANK)])}  # fmt: skip
    assert {key: one["position"] for key, one in seen.items()} == {
        ("mine", NIFTY): 1, ("other", NIFTY): -2, ("mine", BANK): 4, ("other", BANK): 0,
    }  # fmt: skip
    assert {one["cash"] for one in seen.values()} == {str(1_000_000 - 100 + 200 - 40 - 16)}
    assert [seen[key]["open"][0][0] for key in (("mine", NIFTY), ("other", NIFTY), ("mine", BANK))] == [
        "o6",
        "o7",
        "o8",
    ]
    context = context_of(host)
    assert (context.position(BANK), context.position(broker="zerodha"), context.position(7)) == (4, 8, 0)
    assert [one.order_id for one in context.open_orders(broker="zerodha")] == ["o9"]


def test_positions_of_all_products_add_up(tmp_path: Path) -> None:
    """Intraday and carried over are one position to a strategy."""
    host = looking(tmp_path)
    said(
        host,
        [
            fill(1, 0, "BUY", 2, "100"),
            fill(2, 0, "BUY", 2, "110", product="CNC"),
            fill(3, 0, "SELL", 1, "100", product="NRML"),
        ],
    )
    assert context_of(host).position() == 3
    assert context_of(host).average_price() == Decimal("106.6667")  # ₹320 for three, to four decimals


def test_a_strategy_is_told_of_its_own_fills_alone_and_may_answer(tmp_path: Path) -> None:
    """Once each, after they are in its books; the answer has the fill for its cause and the fill's time."""
    body = """
    def process_tick(self, tick, history):
        return None

    def on_fill(self, fill, context):
        return SignalResult("SELL", quantity=context.position(), metadata={"of": fill.fill_id})
    """
    both = f"[{NIFTY}, {BANK}]"
    host, _ = hosted([strategy_file(tmp_path, body, name, instruments=both) for name in ("mine", "other")])
    given = [
        fill(1, 0, "BUY", 2), fill(1, 0, "BUY", 2), fill(2, 5, "BUY", 3), fill(3, 6, "BUY", 9, strategy_id="gone"),
        fill(4, 7, "BUY", 1, instrument_token=BANK), fill(5, 8, "BUY", 1, instrument_token=7),
        fill(6, 9, "BUY", 4, strategy_id="other"),
    ]  # fmt: skip
    made = said(host, given)
    assert [(one.strategy_id, one.instrument_token, one.quantity, one.metadata["of"]) for one in made] == [
        ("mine", NIFTY, 2, "f1"), ("mine", NIFTY, 5, "f2"), ("mine", BANK, 1, "f4"), ("other", NIFTY, 4, "f6"),
    ]  # fmt: skip
    assert [one.timestamp for one in made] == [tick(at).timestamp for at in (0, 5, 7, 9)]
    again, _ = hosted([strategy_file(tmp_path, body, instruments=both)])
    assert said(again, given[1:3]) == made[:2]


def test_an_on_fill_that_fails_stays_with_its_strategy_and_leaves_the_books_right(tmp_path: Path) -> None:
    """It is counted; the fill was entered before it was asked."""
    host, told = hosted([strategy_file(tmp_path, LOOKS + "\ndef on_fill(self, fill):\n    raise ValueError('no')\n")])
    (seen,) = shown(host, fill(1, 0, "BUY", 2), tick(1))
    assert seen["position"] == 2
    assert host.counts()["errors"] == 1
    assert "ValueError: no" in told[0]


# --- context -----------------------------------------------------------------------------------------


def test_the_context_says_how_a_strategy_is_configured(tmp_path: Path) -> None:
    """Its id, instruments, brokers, parameters, limits and the hours of its session."""
    body = "def __init__(self, size=1): ...\n" + LOOKS
    host = looking(
        tmp_path, body, instruments=f"[{NIFTY}, {BANK}, {NIFTY}]", active_brokers="[zerodha, paper]",
        parameters="{size: 3}", max_position_size="10", risk_multiplier="0.5",
    )  # fmt: skip
    context = context_of(host)
    assert (context.strategy_id, context.instrument_token, context.instruments) == ("mine", NIFTY, (NIFTY, BANK))
    assert context.brokers == ("paper",)  # of its own, those that are active
    assert dict(context.parameters) == {"size": 3}
    assert (context.max_position_size, context.risk_multiplier) == (10, Decimal("0.5"))
    assert context.session == (time(9, 15), time(15, 30))


#: ways to change a context
MEDDLING: dict[str, Callable[[Context], object]] = {
    "set": lambda context: setattr(context, "strategy_id", "other"),
    "set its limits": lambda context: setattr(context, "max_position_size", None),
    "add": lambda context: setattr(context, "mine", 1),
    "delete": lambda context: delattr(context, "strategy_id"),
    "set cash": lambda context: setattr(context, "cash", Decimal(1)),
    "set a parameter": lambda context: context.parameters.__setitem__("size", 9),  # type: ignore[index]
    "append to the brokers": lambda context: context.brokers.append("zerodha"),  # type: ignore[attr-defined]
    "replace the books": lambda context: setattr(context, "_portfolio", None),
    "change an order": lambda context: setattr(context.open_orders()[0], "quantity", 9),
    "drop the orders": lambda context: context.open_orders().clear(),  # type: ignore[attr-defined]
}


@pytest.mark.parametrize("way", list(MEDDLING))
def test_a_context_is_read_only(tmp_path: Path, way: str) -> None:
    """Each attempt raises, and nothing has changed."""
    host = looking(tmp_path, "def __init__(self, size=1): ...\n" + LOOKS, parameters="{size: 3}")
    said(host, [order(1)])
    context = context_of(host)
    with pytest.raises((AttributeError, TypeError)):
        MEDDLING[way](context)
    assert (context.strategy_id, context.brokers, dict(context.parameters)) == ("mine", ("paper",), {"size": 3})
    assert [one.quantity for one in context.open_orders()] == [1]


def test_what_a_strategy_does_to_a_list_among_its_parameters_stays_in_its_hands(tmp_path: Path) -> None:
    """The configuration, and what the next reload compares it with, is as it was read."""
    body = (
        "def __init__(self, levels): ...\n"
        + """
def process_tick(self, tick, history, context):
    context.parameters["levels"].append(tick.last_price)
"""
    )
    host = looking(tmp_path, body, parameters="{levels: [1, 2]}")
    said(host, [tick(0)])
    assert host.runner.strategies["mine"].config.parameters == {"levels": [1, 2]}


# --- from a file beside the stream -----------------------------------------------------------------------


def test_fills_of_a_file_that_is_complete_are_deterministic_and_never_ahead_of_time(tmp_path: Path) -> None:
    """A fill counts before the first tick that is later than it: not at its own moment, and not by when it is read."""
    file, path = strategy_file(tmp_path, LOOKS), tmp_path / "fills.ndjson"
    path.write_bytes(
        lines(fill(1, 2, "BUY", 2), order(2, at=3), fill(2, 3.5, "SELL", 5), update(2, "COMPLETE", 5, at=3.5))
    )
    events = [tick(at) for at in (0, 1, 2, 3, 3, 4, 5)]
    outputs = set()
    for options in ((), ("--workers", "2")):
        done = run_strategy(file, stream(events), "--fills", str(path), "-q", *options)
        outputs.add(done.stdout)
    with Pipeline(alpha("run-strategy", "--config", str(file), "--fills", str(path))) as pipeline:
        for line in stream(events).splitlines(keepends=True):
            pipeline.write(line)
        assert pipeline.finish() == [0]
        outputs.add(pipeline.output)
    outputs.add(run_alpha(["pipe", "-q", f"run-strategy --config {file} --fills {path}"], stream(events)).stdout)
    (output,) = outputs
    seen = [(one.metadata["position"], len(one.metadata["open"])) for one in events_of(output)]
    assert seen == [(0, 0), (0, 0), (0, 0), (2, 0), (2, 0), (-3, 0), (-3, 0)]


def test_a_fill_of_a_file_counts_before_a_later_tick_of_any_instrument(tmp_path: Path) -> None:
    """The time of the stream decides, whoever's tick it is; also for one that nobody follows."""
    body = """
    def process_tick(self, tick, history):
        return None

    def on_fill(self, fill):
        return SignalResult("SELL", quantity=1, reasoning="told")
    """
    file, path = strategy_file(tmp_path, body), tmp_path / "fills.ndjson"
    path.write_bytes(lines(fill(1, 2)))
    out = run_strategy(file, stream([tick(1), tick(2), tick(2.5, token=7), tick(3)]), "--fills", str(path)).stdout
    kinds = re.findall(rb'"type":"(tick|signal)"', out)
    assert kinds == [b"tick", b"tick", b"tick", b"signal", b"tick"]
    assert [one.timestamp for one in events_of(out)] == [tick(2).timestamp]


def test_the_order_of_the_lines_in_a_file_does_not_matter(tmp_path: Path) -> None:
    """As where the fills of two brokers, or of two days, stand one after the other: each counts at its own time."""
    file, path = strategy_file(tmp_path, LOOKS), tmp_path / "fills.ndjson"
    path.write_bytes(lines(fill(3, 3, "BUY", 4), fill(2, 2, "BUY", 2), fill(1, 1, "BUY", 1)))
    done = run_strategy(file, stream([tick(at + 0.5) for at in range(4)]), "--fills", str(path))
    assert [one.metadata["position"] for one in events_of(done.stdout)] == [0, 1, 3, 7]


def test_the_same_file_read_again_by_the_next_run_counts_once(tmp_path: Path) -> None:
    """With `--state` the books go on, and know the fills that are in them, however many there were."""
    file, path, state = strategy_file(tmp_path, LOOKS), tmp_path / "fills.ndjson", str(tmp_path / "state")
    path.write_bytes(lines(*(fill(number, 0) for number in range(5))))
    seen = []
    for at in (1, 2):
        done = run_strategy(file, stream([tick(at)]), "--fills", str(path), "--state", state)
        seen += [one.metadata["position"] for one in events_of(done.stdout)]
    assert seen == [5, 5]


def test_a_months_fills_read_again_count_once() -> None:
    """A file that grows day by day outgrows no memory."""
    books = Books()
    first = fill(0)
    fills = [msgspec.structs.replace(first, fill_id=f"f{number}") for number in range(60_000)]
    for one in (*fills, *fills):
        books.on_fill(one)
    assert books.position("mine", "paper", NIFTY) == 60_000


def test_a_fill_that_comes_both_ways_counts_once(tmp_path: Path) -> None:
    """In the stream and in the file."""
    file, path = strategy_file(tmp_path, LOOKS), tmp_path / "fills.ndjson"
    path.write_bytes(lines(fill(1, 0, "BUY", 2), fill(2, 1, "BUY", 1)))
    done = run_strategy(file, stream([fill(1, 0, "BUY", 2), tick(1), tick(2)]), "--fills", str(path))
    assert [one.metadata["position"] for one in events_of(done.stdout)] == [2, 3]


def test_a_large_file_is_read_to_its_end_before_the_first_tick(tmp_path: Path) -> None:
    """However many lines it has, what it says of the past is known from the start."""
    file, path = strategy_file(tmp_path, LOOKS), tmp_path / "fills.ndjson"
    path.write_bytes(lines(fill(1, -9, "BUY", 2)) * 120_000 + lines(fill(2, -5, "BUY", 1)))
    done = run_strategy(file, stream([tick(0), tick(1)]), "--fills", str(path))
    assert [one.metadata["position"] for one in events_of(done.stdout)] == [3, 3]


def test_a_live_writer_speaks_through_a_fifo(tmp_path: Path) -> None:
    """What it has written when a tick comes is known at that tick; that it says nothing holds up nobody."""
    file, path = strategy_file(tmp_path, LOOKS), tmp_path / "fills"
    os.mkfifo(path)
    with Pipeline(alpha("run-strategy", "--config", str(file), "--fills", str(path))) as pipeline:
        pipeline.write(stream([tick(0)], eof=None))
        pipeline.wait_for(b'"position":0')
        writer = os.open(path, os.O_WRONLY)
        try:
            for number in (1, 2, 3):
                os.write(writer, lines(fill(number, number, "BUY", 1)))
                pipeline.write(lines(tick(number + 0.5)))
                pipeline.wait_for(b'"position":%d' % number)
            first, second = lines(fill(4, 4, "BUY", 1))[:40], lines(fill(4, 4, "BUY", 1))[40:]
            os.write(writer, first)  # a line in two parts
            pipeline.write(lines(tick(5)))
            pipeline.wait_for(tick(5).timestamp.isoformat().encode() + b'","broker"')
            os.write(writer, second)
            pipeline.write(lines(tick(6)))
            pipeline.wait_for(b'"position":4')
        finally:
            os.close(writer)
        writer = os.open(path, os.O_WRONLY)  # another one goes on
        os.write(writer, lines(fill(5, 6, "BUY", 1)))
        os.close(writer)
        pipeline.write(lines(tick(7)))
        pipeline.wait_for(b'"position":5')
        pipeline.write(stream(hello=False))
        assert pipeline.finish() == [0]
        positions = [one.metadata["position"] for one in events_of(pipeline.output)]
    assert positions == [0, 1, 2, 3, 3, 4, 5]


def test_paper_may_write_back_through_a_fifo_from_the_end_of_the_pipeline(tmp_path: Path) -> None:
    """The loop that --feedback closes within one process, closed between processes."""
    file, path = strategy_file(tmp_path, FLIPS, parameters="{every: 1}"), tmp_path / "fills"
    os.mkfifo(path)
    held = os.open(path, os.O_RDWR)  # so that neither end waits for the other
    with Pipeline(
        alpha("run-strategy", "--config", str(file), "--fills", str(path)), alpha("risk"), alpha("paper")
    ) as pipeline:
        pipeline.write(stream([tick(0)], eof=None))
        for number in range(1, 6):
            made = pipeline.wait_for(lambda output, wanted=number: output.count(b'"COMPLETE"') == wanted)  # type: ignore[misc]
            os.write(held, made[made.rindex(b'{"type":"fill"') :])
            pipeline.write(lines(tick(number * 10)))
        pipeline.write(stream(hello=False))
        assert pipeline.finish() == [0, 0, 0]
        made = pipeline.output
    os.close(held)
    assert [one.side for one in events_of(made, Fill)] == ["BUY", "SELL"] * 3


# --- the file as files are -------------------------------------------------------------------------------


def follower(path: Path) -> tuple[Follower, list[str]]:
    told: list[str] = []
    return Follower(path, told.append), told


def ids(following: Follower, polls: int = 1) -> list[str]:
    """The fills that came."""
    return [event.fill_id for _ in range(polls) for event in following.poll()]


#: Polls after which a follower has looked whether the file is another.
MANY = 200


def test_a_file_need_not_be_there_yet(tmp_path: Path) -> None:
    """It is found when it is, and what is written later comes later."""
    path = tmp_path / "fills.ndjson"
    following, told = follower(path)
    assert ids(following, MANY) == []
    path.write_bytes(lines(fill(1)))
    assert ids(following) == ["f1"]
    with path.open("ab") as file:
        file.write(lines(fill(2), fill(3)))
    assert ids(following) == ["f2", "f3"]
    assert ids(following) == []
    following.close()
    assert told == []


def test_a_file_that_is_replaced_is_followed(tmp_path: Path) -> None:
    """As logrotate does it: the name means another file now."""
    path = tmp_path / "fills.ndjson"
    path.write_bytes(lines(fill(1)))
    following, _ = follower(path)
    assert ids(following) == ["f1"]
    path.rename(tmp_path / "yesterday")
    assert ids(following, MANY) == []
    path.write_bytes(lines(fill(2)))
    assert ids(following, MANY) == ["f2"]
    following.close()


def test_what_was_written_to_a_file_before_it_was_replaced_is_not_lost(tmp_path: Path) -> None:
    """A writer's last lines in the old file come before the first of the new one."""
    path = tmp_path / "fills.ndjson"
    path.write_bytes(lines(fill(1)))
    for polls in (1, 63, 64):  # whenever it looks
        following, _ = follower(path)
        assert ids(following, polls) == ["f1"]
        with path.open("ab") as file:
            file.write(lines(fill(2)))
        path.rename(tmp_path / "yesterday")
        path.write_bytes(lines(fill(3)))
        assert ids(following, MANY) == ["f2", "f3"]
        following.close()
        path.write_bytes(lines(fill(1)))


def test_a_file_that_is_cut_is_read_from_its_beginning(tmp_path: Path) -> None:
    """As a writer that begins anew leaves it."""
    path = tmp_path / "fills.ndjson"
    path.write_bytes(lines(fill(1), fill(2)))
    following, _ = follower(path)
    assert ids(following) == ["f1", "f2"]
    path.write_bytes(lines(fill(3)))
    assert ids(following, MANY) == ["f3"]
    following.close()


def test_a_torn_last_line_waits_for_its_end(tmp_path: Path) -> None:
    """It is neither bad nor lost, in however many parts it comes."""
    path = tmp_path / "fills.ndjson"
    whole = lines(fill(1), fill(2))
    path.write_bytes(b"")
    following, told = follower(path)
    got = []
    for at in range(0, len(whole), 7):
        with path.open("ab") as file:
            file.write(whole[at : at + 7])
        got += ids(following)
    assert got == ["f1", "f2"]
    assert told == []
    following.close()


def test_lines_that_are_no_events_are_told_of_and_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    """At a limited rate; other events and blank lines are none of its business."""
    path = tmp_path / "fills.ndjson"
    twice = encode(fill(9)).replace(b'"quantity":1', b'"quantity":1,"quantity":2')
    bar = Bar(NIFTY, tick(0).timestamp, tick(60).timestamp, "1m", 1.0, 1.0, 1.0, 1.0)
    path.write_bytes(
        b"garbage\n\n" + lines(fill(1), tick(0), bar) + twice + b"\n\xff\xfe\n" + b"{" * 100 + b"\n" * 3
        + b"x" * (3 << 20) + b"\n" + b'{"type":"unknown"}\n' + lines(fill(2)) + b"bad\n" * 200
    )  # fmt: skip
    following, told = follower(path)
    got = ids(following, 50)
    assert (got[0], got[-1]) == ("f1", "f2")
    assert len(got) == 2
    assert following.rejected >= 205
    assert len(told) < 40
    assert all(line.startswith(f"--fills {path}: bad line ") and len(line) < 500 for line in told)
    following.close()


def test_garbage_in_the_file_does_not_stop_the_run(tmp_path: Path) -> None:
    """It is beside the stream: told on stderr, exit 0."""
    file, path = strategy_file(tmp_path, LOOKS), tmp_path / "fills.ndjson"
    path.write_bytes(b"garbage\n" + lines(fill(1, -1, "BUY", 2)) + b'{"type":"fill"')
    done = run_strategy(file, stream([tick(0)]), "--fills", str(path))
    assert done.returncode == 0
    assert [one.metadata["position"] for one in events_of(done.stdout)] == [2]
    assert f"--fills {path}: bad line 1: not JSON" in done.stderr.decode()


def test_a_folder_is_no_file_of_fills(tmp_path: Path) -> None:
    """66: one line that says what to name."""
    done = run_strategy(strategy_file(tmp_path, LOOKS), stream([tick(0)]), "--fills", str(tmp_path))
    assert (done.returncode, done.stdout) == (66, b"")
    assert "is a folder; name the file that paper writes" in one_line(done.stderr)


# --- from the stages after it ------------------------------------------------------------------------------


def day(tmp_path: Path, events: Sequence[Tick] | None = None) -> Path:
    """A recorded day."""
    path = tmp_path / "day.ndjson"
    path.write_bytes(stream(ticks(60, step=10) if events is None else events))
    return path


def fed_back(file: Path, feed: str, *options: str, paper: str = "paper --forward", env: Any = None) -> Any:
    line = f"feed {feed} | run-strategy --config {file} {' '.join(options)} | risk | {paper}"
    return run_alpha(["pipe", "--feedback", line], env=env)


def test_with_feedback_a_strategy_that_trades_by_its_position_buys_and_sells_in_turn(tmp_path: Path) -> None:
    """It knows at each tick what came of the one before; the output is the same each time, and in any time zone."""
    file, feed = strategy_file(tmp_path, FLIPS), day(tmp_path)
    runs = [fed_back(file, str(feed), env={"TZ": zone, "PYTHONHASHSEED": seed})
            for zone, seed in (("UTC", "1"), ("Asia/Kolkata", "2"))]  # fmt: skip
    assert [run.returncode for run in runs] == [0, 0]
    assert runs[0].stdout == runs[1].stdout
    made = events_of(runs[0].stdout)
    assert [one.signal_type for one in made] == ["BUY", "SELL"] * 6
    assert [one.metadata["position"] for one in made] == [0, 3] * 6
    assert [one.metadata["open"] for one in made] == [0] * 12
    assert [one.side for one in events_of(runs[0].stdout, Fill)] == ["BUY", "SELL"] * 6
    workers = fed_back(file, str(feed), "--workers", "2")
    assert workers.stdout == runs[0].stdout


def test_with_feedback_the_library_gives_the_same_events(tmp_path: Path) -> None:
    """`pipe` and `replay` take it too."""
    file, feed = strategy_file(tmp_path, FLIPS), day(tmp_path)
    rest = f"run-strategy --config {file} | risk | paper --forward"
    made = list(pipe(f"feed {feed} | {rest}", feedback=True))
    assert b"".join(encode(one) + b"\n" for one in made) == fed_back(file, str(feed)).stdout
    again = [one for one in replay(ticks(60, step=10), rest, feedback=True) if isinstance(one, Signal)]
    assert again == [one for one in made if isinstance(one, Signal)]


def test_with_feedback_positions_are_those_of_paper_at_the_end(tmp_path: Path) -> None:
    """What the strategy says it holds at its last tick is what paper's portfolio says, and so is the cash."""
    body = FLIPS.replace("if len(history) % self.every:", "if False:")
    file = strategy_file(tmp_path, body, instruments="[256265, 260105]")
    day = "--ticks 999 --instruments 256265,260105 --date 2026-01-05 --to 15:01:10"
    done = fed_back(file, day, paper="paper --forward --all-hours")
    *_, books = events_of(done.stdout, Portfolio)
    host = looking(tmp_path, LOOKS, instruments="[256265, 260105]")
    said(host, [one for one in events_of(done.stdout, Event) if isinstance(one, Fill | Order | OrderUpdate)])
    positions = {one.instrument_token: one.quantity for one in books.positions}
    assert positions == {token: context_of(host, token=token).position() for token in (NIFTY, BANK)}
    assert sorted(positions.values()) == [0, 3]
    assert books.cash == context_of(host).cash
    newest: dict[int, Any] = {}
    for one in events_of(done.stdout):
        newest[one.instrument_token] = one
    for token, one in newest.items():
        assert one.metadata["position"] == {"BUY": 0, "SELL": 3}[one.signal_type]
        assert positions[token] == {"BUY": 3, "SELL": 0}[one.signal_type]


def test_with_feedback_a_strategy_knows_what_the_broker_squared_off(tmp_path: Path) -> None:
    """The orders of the square-off are in its name, so its position ends flat as paper's does, after the same cash."""
    file = strategy_file(tmp_path, FLIPS.replace("if len(history) % self.every:", "if history:"))
    done = fed_back(file, "--ticks 400 --instruments 256265 --date 2026-01-05")
    *_, books = events_of(done.stdout, Portfolio)
    bought, sold = events_of(done.stdout, Fill)
    assert (bought.side, sold.side, sold.strategy_id) == ("BUY", "SELL", "mine")
    assert sold.order_id.startswith("square-off-")
    assert sold.timestamp.time() >= time(15, 15)
    host = looking(tmp_path, LOOKS)
    said(host, [one for one in events_of(done.stdout, Event) if isinstance(one, Fill | Order | OrderUpdate)])
    assert (context_of(host).position(), [one.quantity for one in books.positions]) == (0, [0])
    assert books.cash == context_of(host).cash
    assert context_of(host).open_orders() == ()


@pytest.mark.parametrize("workers", ["", "--workers 2"])
def test_with_feedback_the_opening_books_of_paper_reach_the_strategies(tmp_path: Path, workers: str) -> None:
    """The cash is that of `--cash`, and of the books that `--state` goes on with; not that of alpha.yaml."""
    file, feed = strategy_file(tmp_path, FLIPS), day(tmp_path, [tick(at, 100.0) for at in range(6)])
    done = fed_back(file, str(feed), workers, paper="paper --forward --charges none --cash 5000.5")
    made = events_of(done.stdout)
    assert [one.metadata["cash"] for one in made] == ["5000.5", "4700.5"]
    kept = f"paper --forward --charges none --cash 5000.5 --state {tmp_path}/books"
    fed_back(file, str(day(tmp_path, [tick(0, 100.0)])), workers, paper=kept)
    later = fed_back(file, str(day(tmp_path, [tick(60, 100.0)])), workers, paper=kept)
    assert [one.metadata["cash"] for one in events_of(later.stdout)] == ["4700.5"]


def test_with_feedback_what_a_fill_is_answered_with_is_traded_at_the_same_tick(tmp_path: Path) -> None:
    """Signal, order and fill follow each other before the next tick comes."""
    body = """
    def process_tick(self, tick, history):
        return None if history else SignalResult("BUY", quantity=2)

    def on_fill(self, fill):
        return SignalResult("SELL", quantity=2) if fill.side == "BUY" else None
    """
    done = fed_back(strategy_file(tmp_path, body), str(day(tmp_path, [tick(0), tick(1)])))
    kinds = re.findall(rb'"type":"(\w+)"', done.stdout)
    trade = [b"signal", b"order", b"fill", b"order_update"]
    assert kinds == [b"hello", b"tick", *trade, *trade, b"tick", b"portfolio", b"eof"]
    assert [(one.side, one.timestamp) for one in events_of(done.stdout, Fill)] == [
        ("BUY", tick(0).timestamp), ("SELL", tick(0).timestamp),
    ]  # fmt: skip


def test_with_feedback_and_state_the_next_run_knows_what_the_last_one_left(tmp_path: Path) -> None:
    """Strategies and paper each keep their books, and they agree: what was bought today is sold tomorrow."""
    file = strategy_file(tmp_path, FLIPS, parameters="{every: 1}")
    said_so = []
    for begin, end in ((0, 3), (3, 6)):
        feed = day(tmp_path, [tick(at) for at in range(begin, end)])
        kept = f"--state {tmp_path}/state"
        done = fed_back(file, str(feed), kept, paper=f"paper --forward {kept}")
        assert done.returncode == 0
        said_so += [(one.signal_type, one.metadata["position"]) for one in events_of(done.stdout)]
    assert said_so == [("BUY", 0), ("SELL", 3)] * 3
    *_, books = events_of(done.stdout, Portfolio)
    assert [one.quantity for one in books.positions] == [0]


def test_with_feedback_a_refusal_by_risk_changes_no_position(tmp_path: Path) -> None:
    """Denied is not held; the strategy asks again."""
    file = strategy_file(tmp_path, FLIPS.replace("held or 3", "held or 3_000_000"))
    done = fed_back(file, str(day(tmp_path)))
    assert {one.code for one in events_of(done.stdout, Denial)} == {"QUANTITY_ABOVE_LIMIT"}
    assert {(one.signal_type, one.metadata["position"]) for one in events_of(done.stdout)} == {("BUY", 0)}


def test_with_feedback_a_resting_order_is_open_until_it_is_filled(tmp_path: Path) -> None:
    """A LIMIT order below the market is seen at the ticks in between."""
    body = """
    def process_tick(self, tick, history, context):
        said = {"open": [one.quantity for one in context.open_orders()], "position": context.position()}
        if not history:
            return SignalResult("BUY", quantity=2, price=99, order_type="LIMIT", metadata=said)
        return SignalResult("SELL", quantity=1, price=200, order_type="LIMIT", metadata=said) if history[1:] else None
    """
    prices = [100.0, 100.0, 100.0, 98.5, 100.0]
    feed = day(tmp_path, [tick(at, price) for at, price in enumerate(prices)])
    risk = "risk --config " + str(tmp_path / "risk.yaml")
    (tmp_path / "risk.yaml").write_text("brokers: {paper: {}}\n")
    line = f"feed {feed} | run-strategy --config {strategy_file(tmp_path, body)} | {risk} | paper --forward"
    done = run_alpha(["pipe", "--feedback", line])
    assert [one.metadata for one in events_of(done.stdout)] == [
        {"open": [], "position": 0}, {"open": [2], "position": 0}, {"open": [2, 1], "position": 0},
        {"open": [1, 1], "position": 2},
    ]  # fmt: skip


def test_an_endless_answer_to_fills_ends_with_one_clear_line(tmp_path: Path) -> None:
    """70: a strategy that answers each fill with another order would never let the next tick come."""
    body = """
    def process_tick(self, tick, history):
        return SignalResult("BUY", quantity=1)

    def on_fill(self, fill):
        return SignalResult("SELL" if fill.side == "BUY" else "BUY", quantity=1)
    """
    file, feed = strategy_file(tmp_path, body), day(tmp_path)
    line = f"feed -q {feed} | run-strategy -q --config {file} | risk -q | paper -q --forward"
    done = run_alpha(["pipe", "--feedback", line])
    assert done.returncode == 70
    assert "a strategy that answers each fill with another order?" in one_line(done.stderr)
    reason = (
        b"more than 10000 orders and fills came of one event: a strategy that answers each fill with another order?"
    )
    assert done.stdout.endswith(b'"code":70,"reason":"%s (--feedback)"}\n' % reason)
    assert b"order" not in done.stdout.replace(b"another order", b"").replace(b"10000 orders", b"")


def test_without_feedback_nothing_returns_and_the_bytes_are_those_of_the_shell(tmp_path: Path) -> None:
    """It is off by default: who asks for a position is stopped; who does not look has the same bytes with it."""
    file, feed = strategy_file(tmp_path, FLIPS), day(tmp_path)
    rest = (["run-strategy", "--config", str(file)], ["risk"], ["paper", "--forward"])
    with Pipeline(alpha("feed", str(feed)), *(alpha(*words) for words in rest)) as pipeline:
        assert pipeline.wait() == [0, 70, 70, 70]
        shell = pipeline.output
    fused = run_alpha(["pipe", " | ".join([f"feed {feed}", *(" ".join(words) for words in rest)])])
    assert fused.stdout == shell
    assert events_of(shell) == []
    line = "feed --ticks 3000 | run-strategy momentum rules_rsi | risk | paper --forward"
    assert run_alpha(["pipe", line]).stdout == run_alpha(["pipe", "--feedback", line]).stdout


def test_a_recording_with_its_fills_shows_a_strategy_what_it_was_shown(tmp_path: Path) -> None:
    """Replayed with `--types tick,order,order_update,fill`, so that the stream itself says what came of the signals.

    It learns of a fill by the line after its own signal, as it did with feedback.
    """
    file, feed = strategy_file(tmp_path, FLIPS), day(tmp_path)
    first = fed_back(file, str(feed))
    (tmp_path / "run.ndjson").write_bytes(first.stdout)
    types = "tick,order,order_update,fill"
    again = run_alpha(["pipe", f"feed {tmp_path}/run.ndjson --types {types} | run-strategy --config {file} --fills -"])
    changed = [msgspec.structs.replace(one, metadata={**one.metadata, "cash": ""}) for one in events_of(again.stdout)]
    expected = [msgspec.structs.replace(one, metadata={**one.metadata, "cash": ""}) for one in events_of(first.stdout)]
    assert changed == expected
