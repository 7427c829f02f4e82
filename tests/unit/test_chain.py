"""Stages in a row: the bytes are those of a plain loop over lines, whatever the batches and however fused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, strategies as some
from support.events import BANK, HELLO, NIFTY, ONE_OF_EACH, START, order, signal, stream, tick, ticks
from support.examples import examples, rest_nightly
from support.processes import run_alpha
from support.stages import made_stage

from alpha_cli.cli.library import pipe
from alpha_cli.core.codec import decode, encode
from alpha_cli.core.errors import BadLine
from alpha_cli.core.events import (
    TYPES,
    Cancel,
    Control,
    Denial,
    Eof,
    Event,
    Fill,
    Gap,
    Hello,
    Order,
    OrderUpdate,
    Signal,
    Tick,
    Unknown,
)
from alpha_cli.core.ledger import Account
from alpha_cli.core.wire import parse_object
from alpha_cli.stages.paper.engine import Engine
from alpha_cli.stream.bad_lines import BadLines
from alpha_cli.stream.batch import Batch, batch_of
from alpha_cli.stream.chain import Chain
from alpha_cli.stream.decoder import LineDecoder
from alpha_cli.stream.last_ticks import LastTicks
from alpha_cli.stream.stage import Stage

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

    return made_stage(
        "chatty", {Tick: on_tick}, every_tick=True, session_end=lambda: [gap("chatty end", seen[0])], **more
    )


def watcher(**more: Any) -> Stage:
    """Looks prices up when a signal or order comes, and follows an instrument for a few ticks after an order."""
    market: LastTicks = more.pop("market", None) or LastTicks()
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
    return made_stage("watcher", steps, last_ticks=market, session_end=lambda: [gap("watcher end", len(left))], **more)


def unknowns(**more: Any) -> Stage:
    """Reads types of tomorrow, and denies signals."""
    steps: dict[Any, Any] = {
        Unknown: lambda event: [gap(f"unknown {event.type}")],
        Signal: lambda event: [Denial(event.signal_id, event.strategy_id, event.broker, "NO", "no")],
    }
    return made_stage("unknowns", steps, **more)


def gatekeeper(**more: Any) -> Stage:
    """Lets signals and orders of one instrument pass, denies those of another, speaks before or after a third's."""

    def judged(event: Signal | Order) -> Iterable[Event]:
        token = event.instrument_token
        if token == BANK:
            return [Denial(event.signal_id, event.strategy_id, event.broker, "NO", "no"), gap("and that is that")]
        said = gap(f"judged {event.signal_id}")
        return [event] if token == NIFTY else [said, event] if event.signal_id == "s1" else [event, said]

    steps: dict[Any, Any] = {Signal: judged, Order: judged, Cancel: lambda _: ()}
    return made_stage("gatekeeper", steps, gates=frozenset(steps), session_end=lambda: [gap("gatekeeper end")], **more)


STAGES: dict[str, Callable[..., Stage]] = {
    "chatty": chatty, "watcher": watcher, "unknowns": unknowns, "gatekeeper": gatekeeper,
}  # fmt: skip


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
            out += map(encode, stage.lifecycle.session_end())
        if stage.flow.forward and type(event) not in stage.flow.gates:
            out.append(line)
        if isinstance(event, Tick) and stage.reads.last_ticks is not None:
            stage.reads.last_ticks.put(event)
        if type(event) is not Unknown or event.type not in TYPES:
            added = [new for new in stage.step(event) if stage.flow.forward or new is not event]
            out += [line if new is event else encode(new) for new in added]
    if not ended:
        out += map(encode, stage.lifecycle.session_end())
    return b"".join(line + b"\n" for line in out)


def chained(stages: Sequence[Stage], data: bytes, sizes: Iterable[int] = (), bad: str = "skip") -> tuple[bytes, Chain]:
    """What leaves a chain of `stages` that is given the lines of `data` in batches of `sizes`, then all the rest."""
    rejected = BadLines("test", bad)
    decoder = LineDecoder(stages, rejected)
    for stage in stages:
        if stage.reads.last_ticks is not None:
            stage.reads.last_ticks.decode = decoder.decode_tick
            stage.reads.last_ticks.broken = lambda line, error: rejected.reject(None, line, str(error))
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


def is_good(line: bytes) -> bool:
    try:
        decode(line)
    except BadLine:
        return False
    return True


def good_lines(data: bytes) -> bytes:
    """`data` without bad lines: a chain refuses what any of its stages would, the first alone only what it reads."""
    return b"".join(line + b"\n" for line in data.split(b"\n")[:-1] if not line.strip() or is_good(line))


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


@examples(60)
@pytest.mark.parametrize("last_forwards", [True, False], ids=["filter", "sink"])
@given(
    names=some.lists(some.sampled_from(sorted(STAGES)), min_size=2, max_size=4),
    shared=some.booleans(), data=streams, sizes=batches,
)  # fmt: skip
def test_a_chain_of_many_is_its_stages_one_after_another(
    last_forwards: bool, names: list[str], shared: bool, data: bytes, sizes: list[int]
) -> None:
    """Fused, and with one market for all or one each, the bytes are those of separate processes. Of good lines."""
    market = LastTicks()
    data = good_lines(data)
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


@pytest.mark.parametrize("seed", rest_nightly(3, range(10)))
@pytest.mark.parametrize("name", list(STAGES))
def test_long_streams_in_batches_of_any_size(name: str, seed: int) -> None:
    """As above over some hundred lines, where watching begins and ends many times within a batch."""
    chance = Random(seed)
    data = b"".join(line + b"\n" for line in chance.choices(LINES, k=500))
    for sizes in ([], [1] * 500, chance.choices(range(1, 60), k=40)):
        assert chained([STAGES[name]()], data, sizes)[0] == reference(STAGES[name](), data)


@pytest.mark.parametrize("seed", rest_nightly(1, range(3)))
@pytest.mark.parametrize("names", list(permutations(STAGES, 2)) + list(permutations(STAGES, 3)), ids="-".join)
def test_long_streams_through_every_order_of_stages(names: tuple[str, ...], seed: int) -> None:
    """Fused or one after another, whichever stage stands first."""
    chance = Random(seed)
    data = expected = b"".join(line + b"\n" for line in chance.choices(LINES, k=300))
    for name in names:
        expected = reference(STAGES[name](), expected)
    for sizes in ([], chance.choices(range(1, 60), k=20)):
        assert chained([STAGES[name]() for name in names], data, sizes)[0] == expected


@given(data=streams, sizes=batches)
def test_behind_a_sink_only_its_own_events_arrive(data: bytes, sizes: list[int]) -> None:
    """A stage after one that forwards nothing sees no ticks, no hello, no eof; it closes at the end of input."""
    data = good_lines(data)
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


# --- gates -----------------------------------------------------------------------------------

#: An order as nobody here would write it: what passes as these bytes was not encoded anew.
ODD = (
    b'{"type": "order", "order_id": "o1", "signal_id": "s1", "strategy_id": "test", "broker": "paper", "new": 1,'
    b' "instrument_token": 256265, "side": "BUY", "quantity": 9, "timestamp": "2024-06-03T09:15:00+05:30"}'
)
NO = Denial("s1", "test", "paper", "NO", "no")
SMALLER = order(quantity=1)

#: What a gate may say to an order -> what goes on, the order's own line as `ODD`.
ANSWERS: dict[str, tuple[Callable[[Order], Iterable[Event]], list[Any]]] = {
    "passed": (lambda event: (event,), [ODD]),
    "withheld": (lambda _: (), []),
    "denied": (lambda _: (NO,), [NO]),
    "led": (lambda event: (Control(action="pause"), event), [Control(action="pause"), ODD]),
    "followed": (lambda event: (event, Control(action="pause")), [ODD, Control(action="pause")]),
    "between": (lambda event: iter((gap("before"), event, gap("after"))), [gap("before"), ODD, gap("after")]),
    "replaced": (lambda _: (SMALLER,), [SMALLER]),
}
each_answer = pytest.mark.parametrize(("answer", "expected"), ANSWERS.values(), ids=list(ANSWERS))


def gate(answer: Callable[[Any], Iterable[Event]], kind: type[Event] = Order, **more: Any) -> Stage:
    """Gives `answer` to each event of its kind, which passes only if it is in the answer."""
    steps: dict[Any, Any] = {kind: answer}
    if more.get("every_tick"):
        steps[Tick] = lambda _: ()
    return made_stage("gate", steps, gates=frozenset({kind}), **more)


def seer(name: str, **more: Any) -> Stage:
    """Says which orders reach it."""
    return made_stage(name, {Order: lambda event: [gap(f"{name} saw {event.quantity}")]}, **more)


def seen(name: str, said: Any) -> list[Event]:
    """What the seer of this name says to a line or an event, if it is one of the orders here."""
    return [gap(f"{name} saw {9 if said is ODD else 1}")] if said is ODD or said is SMALLER else []


def through(stages: Sequence[Stage], lines: Sequence[bytes], how: str) -> list[bytes]:
    """The lines that leave a chain of `stages`, whose count is right: from text, or from a source's own batches."""
    data = b"".join(line + b"\n" for line in lines)
    if how == "verified":
        chain = Chain(stages)
        out = chain.process(Batch(data, list(lines), list(map(decode, lines)), verified=True)) + chain.finish()
    else:
        out, chain = chained(stages, data)
    assert chain.lines_out == out.count(b"\n")
    return out.splitlines()


@each_answer
@pytest.mark.parametrize("how", ["lazy", "eager", "verified"])
@pytest.mark.parametrize("leads", [False, True], ids=["", "leading"])
@pytest.mark.parametrize("places", ["gate", "gate last", "first gate last", "first gate"])
def test_a_gate_lets_pass_what_its_step_gives_back(
    places: str, leads: bool, how: str, answer: Callable[[Any], Iterable[Event]], expected: list[Any]
) -> None:
    """At the place where the step put it and as its own bytes; else the answer stands alone, and no later stage saw."""
    kept = gate(answer, every_tick=how == "eager", before_cause=leads)
    names = places.split()
    saw: list[Any] = []
    for said in expected:
        saw.append(said)
        if "last" in names:
            saw += seen("last", said)
    if "first" in names:
        saw += seen("first", ODD)
    around = [encode(tick(at)) for at in range(4)]
    out = through([kept if name == "gate" else seer(name) for name in names], [*around[:2], ODD, ODD, *around[2:]], how)
    judged = [line if isinstance(line, bytes) else encode(line) for line in saw]
    assert out == [*around[:2], *judged, *judged, *around[2:]]


@each_answer
@pytest.mark.parametrize("how", ["lazy", "eager", "verified"])
def test_a_sink_behind_a_gate_sees_what_passes(
    how: str, answer: Callable[[Any], Iterable[Event]], expected: list[Any]
) -> None:
    """And only that; no line goes out, whether it passed the gate or not."""
    stages = [gate(answer, every_tick=how == "eager"), seer("sink", forward=False)]
    saw = [encode(event) for said in expected for event in seen("sink", said)]
    assert through(stages, [encode(tick()), ODD, encode(tick(1))], how) == saw


@each_answer
def test_a_gate_that_is_a_sink_puts_out_its_answer(
    answer: Callable[[Any], Iterable[Event]], expected: list[Any]
) -> None:
    """What it gives back would pass, and past a sink nothing does."""
    out = through([gate(answer, forward=False)], [encode(tick()), ODD], "lazy")
    assert out == [encode(said) for said in expected if said is not ODD]


def test_what_one_gate_lets_pass_the_next_may_hold_back() -> None:
    """Each judges for itself, and what the first said beside the line stays."""
    first = gate(lambda event: (gap("before"), event, gap("after")))
    assert through([first, gate(lambda _: (NO,))], [ODD], "lazy") == list(
        map(encode, (gap("before"), NO, gap("after")))
    )


def test_a_gate_holds_back_what_an_earlier_stage_made() -> None:
    """Not only what came as a line."""
    maker = made_stage("maker", {Signal: lambda event: [order(quantity=event.quantity)]})
    keeper = gate(lambda event: (event,) if event.quantity < 5 else (NO,))
    lines = [encode(signal(1, quantity=quantity)) for quantity in (1, 9)]
    expected = [lines[0], encode(order(quantity=1)), lines[1], encode(NO)]
    assert through([maker, keeper], lines, "lazy") == expected


def test_what_arrives_beside_the_stream_passes_the_gates() -> None:
    """A gate knows no side entrance."""
    waiting = [order(1, quantity=9), order(2)]

    def arrivals() -> Iterable[Event]:
        while waiting:
            yield waiting.pop(0)

    chain = Chain(
        [
            made_stage("entrance", {}, side_events=arrivals),
            gate(lambda event: (event,) if event.quantity < 5 else (NO,)),
        ]
    )
    batch = batch_of([tick()])
    assert chain.side_events(batch) == b""
    chain.process(batch)
    assert chain.side_events(batch).splitlines() == [encode(NO), encode(order(2))]
    assert chain.lines_out == 3


def test_under_fail_a_gate_judges_all_before_the_bad_line() -> None:
    """Also where the whole batch was decoded, and so the bad line met, before the first event was handled."""
    stages = [gate(lambda _: (NO,), every_tick=True), watcher()]
    data = encode(tick()) + b"\n" + ODD + b"\n" + b"oops\n" + ODD + b"\n"
    assert chained(stages, data, bad="fail")[0] == encode(tick()) + b"\n" + encode(NO) + b"\n"


@pytest.mark.parametrize("every_tick", [False, True], ids=["lazy", "eager"])
def test_nothing_passes_after_a_newer_wire(every_tick: bool) -> None:
    """The run ends at that hello, and not first at a bad line of the same batch."""
    newer = encode(Hello(wire=2, source="future", version="9"))
    data = b"".join(line + b"\n" for line in (encode(tick()), newer, ODD, encode(tick(1)), b"oops"))
    out, chain = chained([gate(lambda _: (NO,), every_tick=every_tick)], data, bad="fail")
    assert out == encode(tick()) + b"\n"
    assert chain.failure is not None


def test_a_gate_that_cannot_read_its_price_holds_the_line_back() -> None:
    """A cancel names no instrument, so only its step finds out that the kept tick is broken; the run ends there."""
    market = LastTicks()
    keeper = gate(lambda event: (event,) if market.last(NIFTY) is None else (), Cancel, last_ticks=market)
    bad_tick = b'{"type":"tick","instrument_token":256265,"timestamp":"2024'
    cancel = encode(Cancel(order_id="o1"))
    out, _ = chained([keeper], b"".join(line + b"\n" for line in (bad_tick, cancel, cancel)), bad="fail")
    assert out == bad_tick + b"\n"


def heard_by_the_first(keeper: Stage, *after: Stage, lines: Sequence[bytes]) -> tuple[list[Any], list[bytes]]:
    """What a listener before `keeper` is told with `--feedback`, and the lines that come out."""
    heard: list[Any] = []

    def hear(event: Any) -> Iterable[Event]:
        heard.append(event)
        return ()

    chain = Chain(
        [made_stage("listener", dict.fromkeys((Order, OrderUpdate, Fill), hear)), keeper, *after], feedback=True
    )
    data = b"".join(line + b"\n" for line in lines)
    out = chain.process(Batch(data, list(lines), list(map(decode, lines)), verified=True)) + chain.finish()
    assert chain.lines_out == out.count(b"\n")
    return heard, out.splitlines()


def test_with_feedback_what_a_gate_lets_pass_does_not_return() -> None:
    """It was not made there: who stands before the gate has seen it go by."""
    heard, out = heard_by_the_first(gate(lambda event: (event,)), lines=[ODD])
    assert heard == [decode(ODD)]
    assert out == [ODD]


def test_with_feedback_what_a_gate_gives_instead_returns() -> None:
    """That it did make."""
    heard, out = heard_by_the_first(gate(lambda _: (SMALLER,)), lines=[ODD])
    assert heard == [decode(ODD), SMALLER]
    assert out == [encode(SMALLER)]


def test_with_feedback_a_gate_that_is_told_passes_nothing_on_again() -> None:
    """What a later stage made has gone out when it returns to the gate, which gives it back as always."""
    update = OrderUpdate("o1", "paper", "OPEN")
    last = made_stage("last", {Order: lambda _: [update]})
    heard, out = heard_by_the_first(gate(lambda event: (event,), OrderUpdate), last, lines=[ODD])
    assert heard == [decode(ODD), update]
    assert out == [ODD, encode(update)]


@pytest.mark.parametrize("kind", [Order, Tick, Hello, Eof])
def test_what_cannot_be_held_back_is_no_gate(kind: type) -> None:
    """A type without a step would never pass; ticks and the frame of a session always do."""
    steps: dict[Any, Any] = {cls: lambda _: () for cls in (Tick, Hello, Eof)}
    with pytest.raises(ValueError, match="gates are for types with a step"):
        made_stage("test", steps, gates=frozenset({kind}))


# --- one market for several ------------------------------------------------------------------


def rounds(market: LastTicks) -> tuple[Stage, list[Any]]:
    """A stage that adds nothing, follows an instrument and wakes every ten minutes; and the ticks it was handed."""
    handed: list[Any] = []
    due, me = START, object()

    def on_tick(event: Tick) -> Iterable[Event]:
        nonlocal due
        handed.append(event)
        if event.timestamp >= due:
            due = event.timestamp + timedelta(minutes=10)
            market.set_alarm(due, me)
        return ()

    market.watch(7)
    market.set_alarm(due, me)
    return made_stage("rounds", {Tick: on_tick}, last_ticks=market), handed


def paper_on(market: LastTicks) -> Stage:
    engine = Engine(Account.opened("paper", Decimal(1_000_000)), market)
    fields = ("depth", "ohlc", "last_traded_quantity", "last_trade_time")
    return made_stage(
        "paper", engine.steps, last_ticks=market, tick_fields=fields, forward=False, session_end=engine.close
    )


def wanting(market: LastTicks) -> tuple[Stage, list[Any]]:
    """A stage that follows an instrument for three ticks after an order and wakes a while after a signal."""
    handed: list[Any] = []
    left: dict[int, int] = {}
    due: list[datetime] = []

    def on_order(event: Order) -> Iterable[Event]:
        if event.instrument_token not in left:
            market.watch(event.instrument_token)
        left[event.instrument_token] = 3
        return ()

    def on_signal(event: Signal) -> Iterable[Event]:
        due[:] = [event.timestamp + timedelta(seconds=100)]
        market.set_alarm(due[0])
        return ()

    def on_tick(event: Tick) -> Iterable[Event]:
        token = event.instrument_token
        last = market.last(BANK)
        handed.append((event.timestamp, token, market.now, last and last.last_price))
        if token in left:
            left[token] -= 1
            if not left[token]:
                del left[token]
                market.unwatch(token)
        if due and event.timestamp >= due[0]:
            due.clear()
            market.set_alarm(None)
        return [gap("handed")] if len(handed) % 2 else ()

    return made_stage("wanting", {Order: on_order, Signal: on_signal, Tick: on_tick}, last_ticks=market), handed


moves = some.lists(
    some.tuples(
        some.sampled_from(["tick"] * 8 + ["order", "signal", "control"]),
        some.sampled_from([NIFTY, BANK, 7]),
        some.integers(-20, 90),
        some.integers(95, 104),
    ),
    max_size=80,
)


@examples(100)
@given(moves=moves, sizes=some.lists(some.integers(1, 30), max_size=30))
def test_what_a_later_stage_wants_of_the_market_it_gets(
    moves: list[tuple[str, int, int, int]], sizes: list[int]
) -> None:
    """Ticks of an instrument or from a time on, with other lines between: the same bytes, the same ticks handed on, the
    same newest ones, whatever the batches."""
    events: list[Any] = []
    at = 0
    for number, (kind, token, step, price) in enumerate(moves):
        at = max(at + step, 0)
        if kind == "tick":
            events.append(tick(at, price, token))
        elif kind == "control":
            events.append(Control(action="pause", target="x"))
        else:
            events.append((order if kind == "order" else signal)(number, at=at, instrument_token=token))
    found = []
    for batches in (sizes, [1] * len(events)):
        market = LastTicks()
        second, handed = wanting(market)
        out, _ = chained([chatty(), second], stream(events), batches)
        newest = [market.last(token) for token in (NIFTY, BANK, 7)]
        found.append((out, handed, [one and (one.timestamp, one.last_price) for one in newest], market.now))
    assert found[0] == found[1]


@pytest.mark.parametrize("every", [1, 7, 400])
def test_lines_are_looked_at_a_few_at_a_time_while_what_is_wanted_changes(
    every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often they do in one batch: a few lines more for each change, and not all that are left."""
    looked = []
    plainly = LastTicks.scan

    def scan(market: LastTicks, lines: Sequence[bytes], start: int = 0, end: int | None = None) -> list[int]:
        looked.append(min(len(lines) if end is None else end, len(lines)) - start)
        return plainly(market, lines, start, end)

    monkeypatch.setattr(LastTicks, "scan", scan)
    market = LastTicks()
    handed: list[Tick] = []

    def on_tick(event: Tick) -> Iterable[Event]:
        handed.append(event)
        market.set_alarm(event.timestamp + timedelta(seconds=every))
        return ()

    market.set_alarm(START)
    chained([made_stage("often", {Tick: on_tick}, last_ticks=market)], stream([tick(at) for at in range(800)]))
    assert len(handed) == -(-800 // every)
    assert sum(looked) <= 2 * 802 + 17 * len(handed)


@pytest.mark.parametrize("sizes", [[], [1] * 2000, [7] * 300])
def test_stages_that_share_a_market_do_not_take_each_other_s_ticks(sizes: list[int]) -> None:
    """Paper squares off, ends the day and fills as it does alone, whatever a stage before it wants of the market."""
    day = [tick(30 * number, 100 + number * 7 % 11 / 10, (7, NIFTY, BANK)[number % 3]) for number in range(780)]
    mixed: list[Event | bytes] = [*day]
    mixed.insert(90, order(3, at=2700, order_type="LIMIT", price=Decimal("100.05"), product="MIS"))
    mixed.insert(60, order(2, at=1800, order_type="LIMIT", price=Decimal(90), product="CNC", instrument_token=BANK))
    mixed.insert(9, order(1, at=270, product="MIS"))
    data = stream(mixed)
    shared = LastTicks()
    first, handed = rounds(shared)
    alone = chained([paper_on(LastTicks())], data)[0]
    assert chained([first, paper_on(shared)], data, sizes)[0] == alone
    assert b'"order_id":"square-off-' in alone
    assert b'"code":"DAY_ENDED"' in alone
    assert alone.count(b'"type":"fill"') == 3
    assert {event.instrument_token for event in handed} == {NIFTY, BANK, 7}


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
    closed = STAGES[stage](session_end=tuple) if stage == "unknowns" else STAGES[stage]()
    closed.lifecycle.session_end = tuple  # type: ignore[method-assign]
    assert out == reference(closed, good)
    assert chain.session_open


def test_under_fail_nothing_is_decided_after_a_kept_tick_that_is_bad(tmp_path: Path) -> None:
    """It is found only when the next line needs the market: that line is not looked at, and nothing of it is kept."""
    bad = b'{"type":"tick","instrument_token":5,"last_price":"broken","timestamp":"2024-06-03T09:15:01+05:30"}'
    data = stream([tick(0), bad, signal(1)])
    done = run_alpha(["risk", "--state", str(tmp_path)], data)
    assert (done.returncode, b'"type":"order"' in done.stdout) == (65, False)
    assert b"orders=0" in done.stderr
    done = run_alpha(["risk", "--state", str(tmp_path)], stream([tick(0), signal(1)]))
    assert (done.returncode, done.stdout.count(b'"type":"order"')) == (0, 1)


def test_under_fail_the_first_bad_line_is_the_one_named() -> None:
    """Whatever is wrong with it, and whatever is wrong with those after it in the same batch."""
    bad = BadLines("test", "fail")
    stage = made_stage("test", {Tick: lambda _: (), Signal: lambda _: ()}, every_tick=True)
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
    assert (first.returncode, second.returncode, fused.returncode) == (0, 65, 65)  # an order in it is no work of risk
    assert second.stdout.count(b'"type":"order"') > 50
    assert second.stdout.count(b'"type":"denial"') > 5
