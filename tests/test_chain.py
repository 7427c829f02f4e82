"""Stages in a row: the bytes are those of a plain loop over lines, whatever the batches and however fused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import permutations
from pathlib import Path
from random import Random
from typing import Any

import pytest
from conftest import BANK, HELLO, NIFTY, order, run_alpha, signal, stream, tick, ticks
from hypothesis import given, settings, strategies as some
from test_events import ONE_OF_EACH

from alpha_cli.bad_lines import BadLines
from alpha_cli.batch import LineDecoder, batch_of
from alpha_cli.chain import Chain
from alpha_cli.errors import BadLine
from alpha_cli.events import (
    TYPES,
    Control,
    Denial,
    Eof,
    Event,
    Gap,
    Hello,
    Order,
    Signal,
    Tick,
    Unknown,
    decode,
    encode,
)
from alpha_cli.library import pipe
from alpha_cli.market import Market
from alpha_cli.stage import Stage
from alpha_cli.wire import parse_object

EOF = b'{"type":"eof","ok":true,"code":0}'


# --- stages to try it with -------------------------------------------------------------------


def gap(reason: str, count: int | None = None) -> Gap:
    """An event that nothing here reads: what a stage adds."""
    return Gap(reason=reason, count=count)


def chatty(**more: Any) -> Stage:
    """Adds an event after some ticks, and sums up at the end of a session."""
    seen = [0]

    def on_tick(event: Tick) -> Iterable[Event]:
        seen[0] += 1
        return [gap("tick", seen[0])] * (seen[0] % 3) if event.last_price > 102 else ()

    return Stage("chatty", {Tick: on_tick}, every_tick=True, close=lambda: [gap("chatty end", seen[0])], **more)


def watcher(**more: Any) -> Stage:
    """Looks prices up when a signal or order comes, and follows an instrument for a few ticks after an order."""
    market: Market = more.pop("market", None) or Market()
    left: dict[int, int] = {}

    def on_signal(event: Signal) -> Iterable[Event]:
        last = market.last(event.instrument_token)
        price = None if last is None else last.last_price
        return [gap(f"{event.signal_id} at {price} {market.now and market.now.isoformat()}")]

    def on_order(event: Order) -> Iterable[Event]:
        if event.instrument_token not in left:
            market.watch(event.instrument_token)
        left[event.instrument_token] = 3
        return ()

    def on_tick(event: Tick) -> Iterable[Event]:
        token = event.instrument_token
        left[token] -= 1
        if not left[token]:
            del left[token]
            market.unwatch(token)
        return [gap(f"watched {token} {event.last_price}")]

    steps: dict[Any, Any] = {Signal: on_signal, Order: on_order, Tick: on_tick}
    return Stage("watcher", steps, market=market, close=lambda: [gap("watcher end", len(left))], **more)


def unknowns(**more: Any) -> Stage:
    """Reads types of tomorrow, and denies signals."""
    steps: dict[Any, Any] = {
        Unknown: lambda event: [gap(f"unknown {event.type}")],
        Signal: lambda event: [Denial(event.signal_id, event.strategy_id, event.broker, "NO", "no")],
    }
    return Stage("unknowns", steps, **more)


STAGES: dict[str, Callable[..., Stage]] = {"chatty": chatty, "watcher": watcher, "unknowns": unknowns}


# --- the loop as simple as can be, and the real one ------------------------------------------


def read_by(stage: Stage, line: bytes) -> Any:
    """The event on `line`; of types that the stage does not read, it only knows that they are JSON."""
    record = parse_object(line)
    name = record.get("type")
    known = TYPES.get(name) if isinstance(name, str) else None
    return decode(line) if known in {None, Hello, Eof, Tick, *stage.steps} else Unknown(str(name), line)


def reference(stage: Stage, data: bytes) -> bytes:
    """What `stage` makes of `data`, one line after the other."""
    out: list[bytes] = []
    ended = False
    for line in data.split(b"\n"):
        try:
            event = read_by(stage, line)
        except BadLine:
            continue
        ended = type(event) is Eof
        if ended:
            out += map(encode, stage.close())
        if stage.forward:
            out.append(line)
        if isinstance(event, Tick) and stage.market is not None:
            stage.market.put(event)
        if type(event) is not Unknown or event.type not in TYPES:
            out += map(encode, stage.step(event))
    if not ended:
        out += map(encode, stage.close())
    return b"".join(line + b"\n" for line in out)


def chained(stages: Sequence[Stage], data: bytes, sizes: Iterable[int] = (), bad: str = "skip") -> tuple[bytes, Chain]:
    """What leaves a chain of `stages` that is given the lines of `data` in batches of `sizes`, then all the rest."""
    rejected = BadLines("test", bad)
    decoder = LineDecoder(stages, rejected)
    for stage in stages:
        if stage.market is not None:
            stage.market.decode = decoder.decode_tick
            stage.market.broken = lambda line, error: rejected.reject(None, line, str(error))
    chain = Chain(stages, decoder)
    lines = data.splitlines(keepends=True)
    out = b""
    for size in [*sizes, len(lines)]:
        batch, lines = lines[:size], lines[size:]
        if batch:
            out += chain.process(decoder.batch(b"".join(batch)))
        if rejected.failure or chain.failure:
            return out, chain
    return out + chain.finish(), chain


LINES: list[bytes] = [
    *(encode(event) for event in ONE_OF_EACH if not isinstance(event, Hello | Eof)),
    *(encode(tick(at, 100 + at, token)) for at in range(6) for token in (NIFTY, BANK, 7)),
    *(encode(tick(at, 100 + at)) for at in range(6)),
    b'{"instrument_token":7,"type":"tick","timestamp":"2024-06-03T09:20:00+05:30","last_price":104.5}',
    b'{"type": "tick", "instrument_token": 256265, "timestamp": "2024-06-03T09:21:00", "last_price": 105}',
    b'{"type":"tick","instrument_token":256265,"last_price":106,"timestamp":"2024-06-03T09:22:00+05:30","new":1}',
    *(encode(signal(number, instrument_token=token)) for number in (1, 2) for token in (NIFTY, BANK, 7)),
    *(encode(order(number, instrument_token=token)) for number in (1, 2) for token in (NIFTY, BANK, 7)),
    encode(signal(3)) + b"\r",
    encode(signal(4))[:-1] + b',"of_tomorrow":[1]}',
    b'{"type":"tomorrow","x":1}',
    b'{"x":{"type":"order"},"type":"tomorrow"}',
    b"", b" ", b"\r", b"\t",
    b"{", b"not json", b"[]", b'{"type":1}', b'{"type":"signal"}', b"\xff", encode(signal(5))[:-1] + b',"broker":"b"}',
    EOF, encode(HELLO), b'{"type":"eof","ok":false,"code":77}',
]  # fmt: skip

streams = some.lists(some.sampled_from(LINES), max_size=60).map(lambda lines: b"".join(line + b"\n" for line in lines))
batches = some.lists(some.integers(1, 20), max_size=20)


@pytest.mark.parametrize("forward", [True, False], ids=["filter", "sink"])
@pytest.mark.parametrize("name", list(STAGES))
@given(data=streams, sizes=batches)
def test_a_chain_of_one_is_a_loop_over_lines(name: str, forward: bool, data: bytes, sizes: list[int]) -> None:
    """Any lines in any batches, good, bad, blank or unknown: the same bytes as the reference."""
    out, chain = chained([STAGES[name](forward=forward)], data, sizes)
    assert out == reference(STAGES[name](forward=forward), data)
    assert chain.lines_out == out.count(b"\n")


@settings(max_examples=60)
@pytest.mark.parametrize("last_forwards", [True, False], ids=["filter", "sink"])
@given(
    names=some.lists(some.sampled_from(sorted(STAGES)), min_size=2, max_size=4),
    shared=some.booleans(), data=streams, sizes=batches,
)  # fmt: skip
def test_a_chain_of_many_is_its_stages_one_after_another(
    last_forwards: bool, names: list[str], shared: bool, data: bytes, sizes: list[int]
) -> None:
    """Fused, and with one market for all or one each, the bytes are those of separate processes."""
    market = Market()
    forwards = [True] * (len(names) - 1) + [last_forwards]
    # One market for all, as in `alpha pipe`, unless two of them watch: a watched tick goes to all who share it.
    shared = shared and names.count("watcher") == 1
    fused = [
        STAGES[name](forward=forward, **({"market": market} if name == "watcher" and shared else {}))
        for name, forward in zip(names, forwards, strict=True)
    ]
    expected = data
    for name, forward in zip(names, forwards, strict=True):
        expected = reference(STAGES[name](forward=forward), expected)
    assert chained(fused, data, sizes)[0] == expected


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("name", list(STAGES))
def test_long_streams_in_batches_of_any_size(name: str, seed: int) -> None:
    """As above over some hundred lines, where watching begins and ends many times within a batch."""
    chance = Random(seed)
    data = b"".join(line + b"\n" for line in chance.choices(LINES, k=500))
    for sizes in ([], [1] * 500, chance.choices(range(1, 60), k=40)):
        assert chained([STAGES[name]()], data, sizes)[0] == reference(STAGES[name](), data)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("names", list(permutations(STAGES, 2)) + list(permutations(STAGES, 3)), ids="-".join)
def test_long_streams_through_every_order_of_stages(names: tuple[str, ...], seed: int) -> None:
    """Fused or one after another, whichever stage stands first."""
    chance = Random(seed)
    data = expected = b"".join(line + b"\n" for line in chance.choices(LINES, k=300))
    for name in names:
        expected = reference(STAGES[name](), expected)
    for sizes in ([], chance.choices(range(1, 60), k=20)):
        assert chained([STAGES[name]() for name in names], data, sizes)[0] == expected


def is_good(line: bytes) -> bool:
    try:
        decode(line)
    except BadLine:
        return False
    return True


@given(data=streams, sizes=batches)
def test_behind_a_sink_only_its_own_events_arrive(data: bytes, sizes: list[int]) -> None:
    """A stage after one that forwards nothing sees no ticks, no hello, no eof; it closes at the end of input.

    Of good lines: a chain refuses what any of its stages would, the first stage alone only what it reads.
    """
    data = b"".join(line + b"\n" for line in data.split(b"\n") if not line.strip() or is_good(line))
    expected = reference(chatty(), reference(watcher(), reference(chatty(forward=False), data)))
    assert chained([chatty(forward=False), watcher(), chatty()], data, sizes)[0] == expected


@pytest.mark.parametrize("sizes", [[], [1] * 100, [3, 4, 5]])
def test_close_speaks_before_each_eof_of_a_recording(sizes: list[int]) -> None:
    """Recordings one after another: what ends a session stands within it, and is not said again at the end."""
    data = stream([tick(0, 103)]) + stream([tick(1, 104)])
    out = chained([chatty()], data, sizes)[0].splitlines()
    ends = [place for place, line in enumerate(out) if b"chatty end" in line]
    assert len(ends) == 2
    assert [decode(out[place + 1]) for place in ends] == [Eof(ok=True, code=0)] * 2


@pytest.mark.parametrize("after", [b"", b"\n", b"oops\n", b" \n\n"])
def test_nothing_after_an_eof_closes_again(after: bytes) -> None:
    """Blank and bad lines are no events: the session stays closed."""
    assert chained([chatty()], stream([tick()]) + after)[0].count(b"chatty end") == 1


@pytest.mark.parametrize("sizes", [[], [1] * 10, [3], [4]])
@pytest.mark.parametrize("after", [b"", b"oops\n"])
def test_a_tick_after_an_eof_opens_what_must_be_closed(after: bytes, sizes: list[int]) -> None:
    """Even if a bad line follows it."""
    data = stream([tick()]) + encode(tick(1)) + b"\n" + after
    assert chained([chatty()], data, sizes)[0].count(b"chatty end") == 2


# --- sessions and codes ----------------------------------------------------------------------


@pytest.mark.parametrize(("codes", "worst"), [((0, 0), 0), ((75, 0), 75), ((0, 69), 69), ((77, 69), 77)])
def test_the_worst_code_of_several_sessions_wins(codes: tuple[int, int], worst: int) -> None:
    """A good second recording does not hide a bad first one."""
    _, chain = chained([chatty()], stream(eof=codes[0]) + stream(eof=codes[1]))
    assert chain.code == worst
    assert not chain.session_open


def test_a_hello_within_a_session_says_that_one_was_cut_off() -> None:
    """The recording before ended without its eof: 75, and the stream goes on."""
    out, chain = chained([chatty()], stream([tick()], eof=None) + stream([tick(1)]))
    assert chain.code == 75
    assert out.count(b'"hello"') == 2


@pytest.mark.parametrize("sizes", [[], [1] * 10, [2, 2]])
def test_a_newer_wire_ends_the_run_where_it_begins(sizes: list[int]) -> None:
    """What came before is put out whatever the batches; what follows is not looked at."""
    newer = encode(Hello(wire=2, source="future", version="9")) + b"\n"
    data = stream([tick(0, 103)])
    out, chain = chained([chatty()], data + newer + stream([tick(1)]), sizes)
    assert out == reference(chatty(), data)
    assert chain.failure is not None
    assert chain.failure.exit_code == 65
    assert "wire version 2" in str(chain.failure)


@pytest.mark.parametrize("sizes", [[], [1] * 10, [2, 3]])
@pytest.mark.parametrize("stage", ["chatty", "watcher", "unknowns"])
def test_under_fail_all_before_the_bad_line_goes_out(stage: str, sizes: list[int]) -> None:
    """And nothing of it or after it, whatever the batches."""
    good = stream([tick(0, 103), signal()], eof=None)
    out, chain = chained([STAGES[stage]()], good + b"oops\n" + stream([signal(2)]), sizes, bad="fail")
    closed = STAGES[stage](close=tuple) if stage == "unknowns" else STAGES[stage]()
    closed.close = tuple
    assert out == reference(closed, good)
    assert chain.session_open


def test_under_fail_the_first_bad_line_is_the_one_named() -> None:
    """Whatever is wrong with it, and whatever is wrong with those after it in the same batch."""
    bad = BadLines("test", "fail")
    stage = Stage("test", {Tick: lambda _: (), Signal: lambda _: ()}, every_tick=True)
    decoder = LineDecoder([stage], bad)
    chain = Chain([stage], decoder)
    chain.process(decoder.batch(encode(signal())[:-1] + b',"broker":"b"}\noops\n'))
    assert str(bad.failure).startswith("line 1: key 'broker' is given twice")


@pytest.mark.parametrize("sizes", [[], [1] * 10, [3, 1]])
def test_under_fail_a_kept_tick_that_is_broken_stops_where_it_was_needed(sizes: list[int]) -> None:
    """The signal that asked for the price is not acted on, whatever the batches."""
    bad_tick = b'{"type":"tick","instrument_token":256265,"timestamp":"2024'
    before = encode(tick()) + b"\n" + bad_tick + b"\n" + encode(tick(1, 100, BANK)) + b"\n"
    out, _ = chained([watcher()], before + encode(signal()) + b"\n" + encode(signal(2)) + b"\n", sizes, bad="fail")
    assert out == before


def test_events_made_here_need_no_decoder() -> None:
    """A source's own batches go through the same stages to the same bytes."""
    data = stream([*ticks(50, (NIFTY, BANK)), order(), signal(), *ticks(20)])
    chain = Chain([chatty(), watcher()])
    out = b"".join(chain.process(batch_of([decode(line)])) for line in data.splitlines()) + chain.finish()
    assert out == chained([chatty(), watcher()], data)[0]


def test_the_library_leaves_no_descriptor_open() -> None:
    """A notebook may run a pipeline a thousand times."""
    open_ones = Path("/proc/self/fd")
    if not open_ones.is_dir():
        pytest.skip("no /proc to count open descriptors in")
    before = len(list(open_ones.iterdir()))
    for _ in range(5):
        assert len(list(pipe("feed --ticks 5"))) == 7
    assert len(list(open_ones.iterdir())) <= before


def test_two_stages_fused_are_the_same_as_two_processes() -> None:
    """run-strategy and risk over every type of event, an unknown one and odd spellings among momentum's ticks."""
    mixed: list[Event | bytes] = []
    others: list[Event | bytes] = [event for event in ONE_OF_EACH if not isinstance(event, Hello | Eof)]
    others += [b'{"type":"tomorrow","x":1}', b"", encode(signal(9)) + b"\r", signal(2), Control(action="halt")]
    for place, made in enumerate(ticks(700, (NIFTY, BANK))):
        mixed.append(made)
        if place % 31 == 0 and others:
            mixed.append(others.pop(0))
    data = stream(mixed) + stream([*ticks(100), Control(action="resume"), *ticks(100)], eof=0)
    first = run_alpha(["run-strategy", "momentum"], data)
    second = run_alpha(["risk"], first.stdout)
    fused = run_alpha(["pipe", "run-strategy momentum | risk"], data)
    assert fused.stdout == second.stdout
    assert (first.returncode, second.returncode, fused.returncode) == (0, 0, 0)
    assert second.stdout.count(b'"type":"order"') > 50
    assert second.stdout.count(b'"type":"denial"') > 5
