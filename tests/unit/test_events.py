"""The wire: what is written, what is read back, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as some
from support.events import FULL_TICK, ONE_OF_EACH, START, order, signal, tick
from support.processes import ROOT, environment

from alpha_cli.core.codec import decode, encode, schema
from alpha_cli.core.errors import BadLine
from alpha_cli.core.events import (
    TYPES,
    Cancel,
    Event,
    Fill,
    Modify,
    OrderUpdate,
    Signal,
    Tick,
    Unknown,
)
from alpha_cli.core.ids import derive_id
from alpha_cli.core.times import IST, microseconds
from alpha_cli.core.wire import MAX_DEPTH, MAX_LINE, rupees


def line_of(event: Event, **fields: str) -> bytes:
    """The line of `event` with raw JSON put in at its end: for numbers and keys no encoder would write."""
    more = "".join(f',"{name}":{value}' for name, value in fields.items())
    return encode(event)[:-1] + more.encode() + b"}"


def refusal(line: bytes) -> str:
    """Why `line` is refused; fails if it is not."""
    with pytest.raises(BadLine) as caught:
        decode(line)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- round trips -----------------------------------------------------------------------------


def test_the_table_below_has_every_type() -> None:
    """A type added to the wire must be added to these tests."""
    assert [type(event) for event in ONE_OF_EACH] == list(TYPES.values())


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=list(TYPES))
def test_each_event_comes_back_as_it_was(event: Event) -> None:
    """decode(encode(e)) == e, and encoding that gives the same bytes again."""
    line = encode(event)
    assert decode(line) == event
    assert encode(decode(line)) == line


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=list(TYPES))
def test_a_line_is_compact_with_its_type_first(event: Event) -> None:
    """No spaces or newlines between tokens, and `type` opens the line."""
    line = encode(event)
    name = next(name for name, cls in TYPES.items() if cls is type(event))
    assert line.startswith(b'{"type":"%s"' % name.encode())
    assert b"\n" not in line
    assert line == json.dumps(json.loads(line), ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=list(TYPES))
def test_type_may_stand_anywhere(event: Event) -> None:
    """Keys in the reverse order, `type` last, with spaces and a CR before the newline: the same event."""
    turned = dict(reversed(json.loads(encode(event)).items()))
    assert decode(json.dumps(turned).encode() + b" \r") == event


amounts = some.decimals(-(10**11), 10**11, allow_nan=False, allow_infinity=False, places=4)


@given(
    price=some.none() | amounts,
    reasoning=some.none() | some.text(),
    metadata=some.dictionaries(
        some.text(), some.recursive(some.none() | some.booleans() | some.integers(-(2**63), 2**63 - 1) | some.text(),
                                    some.lists, max_leaves=5),
    ),
    offset=some.integers(-(23 * 60), 23 * 60),
    microsecond=some.integers(0, 999_999),
)  # fmt: skip
def test_any_signal_comes_back_as_it_was(
    price: Decimal | None, reasoning: str | None, metadata: dict[str, Any], offset: int, microsecond: int
) -> None:
    """Prices stay exact, texts whole, and times keep instant and offset, whatever they are."""
    zone = timezone(timedelta(minutes=offset))
    moment = datetime(2024, 6, 3, 10, 0, 0, microsecond, zone)
    made = Signal("s", "t", 1, "BUY", moment, "paper", price=price, reasoning=reasoning, metadata=metadata)
    back = decode(encode(made))
    assert back == made
    assert back.timestamp.utcoffset() == zone.utcoffset(None)


@pytest.mark.parametrize("text", ["72.755", "0.05", "100", "100.1000", "999999999999.9999", "-0.0001"])
def test_money_is_exact_through_the_wire(text: str) -> None:
    """An amount is a JSON number on the wire and the same Decimal after it."""
    line = encode(signal(price=Decimal(text)))
    assert f'"price":{text}'.encode() in line
    assert decode(line).price == Decimal(text)


# --- what is let through ---------------------------------------------------------------------


def test_an_unknown_type_passes_unread() -> None:
    """A well-formed line of a type of tomorrow is kept as the bytes it came in."""
    line = b'{ "x": [1, 2.50], "type": "tomorrow" }'
    assert decode(line) == Unknown("tomorrow", line)
    assert encode(decode(line)) == line


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=list(TYPES))
def test_unknown_fields_are_dropped(event: Event) -> None:
    """A field of tomorrow does not make a known event unreadable."""
    assert decode(line_of(event, of_tomorrow='{"deep":[1]}')) == event


def test_unknown_fields_inside_parts_are_dropped() -> None:
    """The same holds for a level of the depth, the day's prices and a position."""
    line = encode(FULL_TICK).replace(b'"orders":2', b'"orders":2,"new":1').replace(b'"low":', b'"new":{},"low":')
    assert decode(line) == FULL_TICK
    portfolio = ONE_OF_EACH[list(TYPES).index("portfolio")]
    assert decode(encode(portfolio).replace(b'"average_price":', b'"new":1,"average_price":')) == portfolio


@pytest.mark.parametrize("text", ["2024-06-03T09:15:00", "2024-06-03 09:15:00"])
def test_a_naive_time_is_indian(text: str) -> None:
    """Without an offset a time is Asia/Kolkata's, on a machine in any zone."""
    line = encode(tick()).replace(b"2024-06-03T09:15:00+05:30", text.encode())
    assert text.encode() in line
    assert decode(line).timestamp == START
    assert decode(line).timestamp.utcoffset() == IST.utcoffset(None)


def test_a_tick_may_repeat_a_key() -> None:
    """No money moves on a tick, so the last of two values stands."""
    assert decode(line_of(tick(), last_price="101.5")).last_price == 101.5


def test_depth_32_and_a_line_of_1_mib_are_the_most() -> None:
    """Both limits are inclusive; brackets within strings do not count."""
    nested = "[" * (MAX_DEPTH - 2) + "]" * (MAX_DEPTH - 2)
    assert decode(line_of(signal(), metadata=f'{{"x":{nested}}}')).metadata["x"]
    assert decode(line_of(signal(), reasoning='"' + '[{\\"' * 100 + '"')).reasoning == '[{"' * 100
    padding = MAX_LINE - len(line_of(tick(), symbol='""'))
    assert len(decode(line_of(tick(), symbol=f'"{"x" * padding}"')).symbol) == padding


# --- what is refused -------------------------------------------------------------------------

MONEY = [event for event in ONE_OF_EACH if isinstance(event, TYPES["signal"] | TYPES["order"] | TYPES["control"])]
MONEY += [event for event in ONE_OF_EACH if isinstance(event, Cancel | Modify | Fill | OrderUpdate)]


@pytest.mark.parametrize("event", MONEY, ids=lambda event: type(event).__name__)
def test_a_repeated_key_is_refused_where_money_moves(event: Event) -> None:
    """Which of the two values was meant? Also for unknown keys, and within parts."""
    first = next(iter(json.loads(encode(event)).keys() - {"type"}))
    value = json.dumps(json.loads(encode(event))[first])
    assert "twice" in refusal(line_of(event, **{first: value}))
    assert "twice" in refusal(line_of(event, new="1")[:-1] + b',"new":1}')


def test_a_repeated_key_is_refused_within_metadata() -> None:
    """The check reaches all the way down."""
    assert "'a' is given twice" in refusal(line_of(signal(), metadata='{"m":[{"a":1,"a":1}]}'))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "1e999999999", "9" * 5000])
@pytest.mark.parametrize("field", ["last_price", "oi", "change", "new"])
def test_a_number_that_is_none_is_refused_in_a_tick(field: str, number: str) -> None:
    """Neither NaN nor an infinity, however it is written."""
    refusal(line_of(tick(), **{field: number}))


@pytest.mark.parametrize(
    "number",
    ["NaN", "Infinity", "1e400", "1e12", "1e999999999", "1e99999999999999999999", "9" * 5000, "100.00001",
     "0." + "1" * 5000, "1e-5", "1e-999999999", '"NaN"', '"sNaN"', '"Infinity"', "true", "[]"],
)  # fmt: skip
@pytest.mark.parametrize("event", [signal(), order()], ids=["signal", "order"])
def test_a_price_that_is_no_amount_of_rupees_is_refused(event: Event, number: str) -> None:
    """Not a number, 10¹² rupees or more, or more than four decimals; and never another exception."""
    refusal(line_of(event, price=number))
    refusal(line_of(event, price=number, of_tomorrow="1"))


def test_charges_are_checked_one_by_one() -> None:
    """A charge with a fraction of a hundredth of a paisa is refused by its name."""
    fill = ONE_OF_EACH[list(TYPES).index("fill")]
    assert "charges.stt" in refusal(encode(fill).replace(b'"stt":0.05', b'"stt":0.000051'))


@pytest.mark.parametrize("value", ["1e400", "NaN", "9" * 5000, '"\\ud800"', '"\\udc00x"'])
@pytest.mark.parametrize("place", ["metadata", "new"])
def test_what_json_cannot_carry_is_refused_anywhere(place: str, value: str) -> None:
    """Also in parts that nobody here reads."""
    refusal(line_of(signal(), **{place: f'{{"x":{value}}}'}))
    refusal(b'{"type":"tomorrow","x":%s}' % value.encode())


@pytest.mark.parametrize("raw", [b"\xff", b"\xed\xa0\x80", b"\xc3", b"\xf8\x88\x80\x80\x80"])
def test_bytes_that_are_not_utf8_are_refused(raw: bytes) -> None:
    """In a known field, an unknown one and an unknown type."""
    for line in (
        line_of(tick(), symbol='"?"').replace(b"?", raw),
        line_of(tick(), new='"?"').replace(b"?", raw),
        b'{"type":"tomorrow","x":"%s"}' % raw,
    ):
        assert "UTF-8" in refusal(line)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 500, 100_000])
def test_deeper_nesting_is_refused(depth: int) -> None:
    """One level too many, and so many that a recursive reader would fall over."""
    nested = "[" * (depth - 1) + "]" * (depth - 1)
    assert "nested deeper than 32" in refusal(b'{"type":"tomorrow","x":%s}' % nested.encode())
    nested = nested[1:-1]
    assert "nested deeper than 32" in refusal(line_of(signal(), metadata=f'{{"x":{nested}}}'))


def test_a_longer_line_is_refused() -> None:
    """One byte over 1 MiB, for ticks, money and unknown types."""
    for event in (tick(), signal()):
        field = "symbol" if isinstance(event, Tick) else "reasoning"
        padding = MAX_LINE + 1 - len(line_of(event, **{field: '""'}))
        assert "over the limit" in refusal(line_of(event, **{field: f'"{"x" * padding}"'}))
    assert "over the limit" in refusal(b'{"type":"tomorrow","x":"%s"}' % (b"x" * MAX_LINE))


def test_a_hostile_line_is_refused_in_linear_time() -> None:
    """Many brackets before a string that never ends must not cost quadratic time (it took an hour)."""
    line = b'{"type":"tomorrow","x":' + b"[" * 40 + b'"' + b'\\"' * (MAX_LINE // 2 - 100)
    began = time.process_time()
    refusal(line)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "line",
    [b"", b"[]", b"null", b"1", b'"tick"', b"{", b"{}", b'{"type":1}', b'{"type":null}', b'{"type":"tick"}',
     b'{"type":"tick"}{"type":"tick"}', b"\xef\xbb\xbf{}", b'{"type":"tick","instrument_token":1.5}'],
)  # fmt: skip
def test_what_is_not_an_event_is_refused(line: bytes) -> None:
    """No object, no type, no required fields, or more than one value."""
    refusal(line)


@pytest.mark.parametrize("code", [-1, 256, 512])
def test_an_eof_carries_a_code_that_an_exit_can_carry(code: int) -> None:
    """256 would leave a pipeline with 0: success."""
    refusal(b'{"type":"eof","ok":false,"code":%d}' % code)


# --- ids, amounts, moments, schemas ----------------------------------------------------------


def test_an_id_depends_on_its_parts_alone() -> None:
    """The value is pinned: a changed one would turn old signals into new orders."""
    assert derive_id("signal", "momentum", "paper", 256265, 1717386300000000, 0) == "068b53ac59b5f6fc61813be9"
    assert derive_id("ab", "c") != derive_id("a", "bc")


def test_a_moment_counts_the_same_in_any_zone() -> None:
    """Ids are made from microseconds, which know no offset and lose no digit."""
    moment = datetime(2024, 6, 3, 9, 15, 0, 123457, IST)
    zones = [UTC, timezone(timedelta(hours=-8)), timezone(timedelta(hours=5, minutes=45))]
    assert {microseconds(moment.astimezone(zone)) for zone in zones} == {1717386300123457}


@pytest.mark.parametrize(
    ("price", "text"),
    [(0.1 + 0.2, "0.3"), (72.755, "72.755"), (1e11, "100000000000"), (100.0, "100"), (0.05, "0.05"), (1e-9, "0"),
     (Decimal("1.50000"), "1.5"), (123456.78905, "123456.789")],
)  # fmt: skip
def test_rupees_are_the_number_that_was_written(price: float | Decimal, text: str) -> None:
    """To four decimals and without an exponent."""
    assert str(rupees(price)) == text


@pytest.mark.parametrize("name", list(TYPES))
def test_the_schema_of_a_type_has_its_fields(name: str) -> None:
    """JSON Schema, with every field of the struct and `type` fixed to the name."""
    definitions = schema(name)["$defs"]
    properties = definitions[TYPES[name].__name__]["properties"]
    assert properties["type"] == {"enum": [name]}
    assert set(properties) == {"type", *TYPES[name].__struct_encode_fields__}
    json.dumps(schema(name))


def test_the_schema_of_the_wire_names_every_type() -> None:
    """All types, told apart by `type`."""
    assert set(schema()["discriminator"]["mapping"]) == set(TYPES)


def test_sets_and_dicts_in_metadata_are_written_in_one_order() -> None:
    """Whatever the hash seed, the same metadata gives the same bytes."""
    program = (
        "from support.events import signal; from alpha_cli import encode;"
        "print(encode(signal(metadata={'s': {'b', 'a', 'c', 'zz'}, 'd': {k: 1 for k in {'x', 'y', 'z'}}})))"
    )
    written = {
        subprocess.run(
            [sys.executable, "-c", program], env=environment({"PYTHONHASHSEED": seed, "PYTHONPATH": "tests"}),
            capture_output=True, check=True, cwd=ROOT,
        ).stdout
        for seed in ("1", "2", "3", "4")
    }  # fmt: skip
    assert len(written) == 1
