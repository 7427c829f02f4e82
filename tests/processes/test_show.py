"""`alpha show`: a line an event, in columns, and nothing from the data reaches the terminal unescaped."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st
from support.events import BANK, NIFTY, START, order, signal, stream, tick
from support.processes import DEADLINE, alpha, environment, run_alpha

from alpha_cli.core.codec import decode, encode
from alpha_cli.core.events import (
    TYPES,
    Bar,
    Cancel,
    ContractNote,
    Control,
    Denial,
    Eof,
    Fill,
    Gap,
    Hello,
    Modify,
    OrderUpdate,
    Portfolio,
    Position,
    Unknown,
)
from alpha_cli.stages.show.engine import Show

HOSTILE = "a\nb\rc\x1b[31md\u202ee\u2066f\x07g\x9bh\u200ei\tj\x00k\u2028l"

FILL = Fill(
    fill_id="f1", order_id="o1", signal_id="s1", strategy_id="test", broker="paper", instrument_token=NIFTY, side="BUY",
    quantity=5, price=Decimal("25010.05"), charges={"total": Decimal("12.5")}, timestamp=START,
)  # fmt: skip
PORTFOLIO = Portfolio(
    broker="paper", cash=Decimal(1000), equity=Decimal("1500.25"), realised_pnl=Decimal(0), unrealised_pnl=Decimal(-3),
    charges=Decimal("0.1"), timestamp=START,
)  # fmt: skip
POSITION = Position(
    instrument_token=NIFTY, quantity=-5, average_price=Decimal(100), realised_pnl=Decimal(1), unrealised_pnl=Decimal(2)
)

EXAMPLES: dict[str, Any] = {
    "hello": Hello(wire=1, source="synthetic", version="0.1.0"),
    "tick": tick(0, 25_000.05, symbol="NIFTY 50", volume_traded=1_234_567),
    "bar": Bar(instrument_token=NIFTY, start=START, end=START, interval="1m", open=1.0, high=2.5, low=0.5, close=2.0),
    "signal": signal(1, price=Decimal("100.05"), reasoning="because"),
    "order": order(1, price=Decimal("100.05"), order_type="LIMIT"),
    "cancel": Cancel(order_id="o1", reason="late", timestamp=START),
    "modify": Modify(order_id="o1", quantity=5, timestamp=START),
    "denial": Denial("s1", "test", "paper", "QUANTITY_ABOVE_LIMIT", "too many", START, 10, 11),
    "order_update": OrderUpdate(order_id="o1", broker="paper", status="COMPLETE", filled_quantity=5, timestamp=START),
    "fill": FILL,
    "contract_note": ContractNote("paper", date(2024, 6, 3), {"total": Decimal(20)}, Decimal("-0.0123"), 2, START),
    "portfolio": PORTFOLIO,
    "gap": Gap(reason="reconnect", from_=START, to=START, count=7),
    "control": Control(action="halt", by="me", timestamp=START),
    "eof": Eof(ok=True, code=0, count=12),
}
SAYS = {
    "hello": ["wire 1", "synthetic", "alpha 0.1.0"], "tick": ["256265", "25,000.05", "vol 1,234,567", "NIFTY 50"],
    "bar": ["256265", "1m", "open", "2.50", "vol 0"], "signal": ["BUY", "1", "100.05", "paper", "test", "because"],
    "order": ["BUY", "100.05", "LIMIT MIS", "o1"], "cancel": ["order_id o1", "reason late"],
    "modify": ["order_id o1", "quantity 5"], "denial": ["QUANTITY_ABOVE_LIMIT", "too many", "(observed 11, limit 10)"],
    "order_update": ["COMPLETE", "5/5", "paper"], "fill": ["BUY", "5", "25,010.05", "charges 12.50"],
    "contract_note": ["paper", "of 2024-06-03", "2 fills", "charges 20.00", "adjusts -0.0123"],
    "portfolio": ["cash 1,000.00", "equity 1,500.25", "unrealised -3.00", "charges 0.10"],
    "gap": ["reason reconnect", "count 7", "from 2024-06-03"], "control": ["action halt", "by me"],
    "eof": ["ok", "12 events"],
}  # fmt: skip


def shown(event: Any, *, colour: bool = False) -> str:
    """What `show` prints of one event."""
    return "".join(one.raw.decode() for one in Show(colour=colour).on_event(event))


@pytest.mark.parametrize("name", list(TYPES))
def test_each_type_of_event_is_one_line_with_what_matters_of_it(name: str) -> None:
    """Type first, then the time in India where there is one."""
    line = shown(EXAMPLES[name])
    assert "\n" not in line
    assert line.startswith(name)
    assert all(part in line for part in SAYS[name])
    if getattr(EXAMPLES[name], "timestamp", None) is not None:
        assert line[14:37] == "2024-06-03 09:15:00.000"


def test_times_are_shown_in_india_whatever_their_offset() -> None:
    """The same instant, the same line."""
    abroad = msgspec.structs.replace(tick(), timestamp=START.astimezone(UTC))
    assert shown(abroad) == shown(tick())


def test_a_portfolio_lists_its_positions_below_it() -> None:
    """A heading and a line each, in columns that end together."""
    other = msgspec.structs.replace(POSITION, instrument_token=BANK, quantity=123_456, last_price=Decimal("56012.05"))
    lines = shown(msgspec.structs.replace(PORTFOLIO, positions=[POSITION, other])).split("\n")
    assert len(lines) == 4
    assert lines[1].split() == ["instrument", "product", "quantity", "average", "last", "realised", "unrealised"]
    assert len({len(line) for line in lines[1:]}) == 1
    assert lines[3].split()[:4] == [str(BANK), "MIS", "123456", "100.00"]


PAIRS = [
    (tick(0, 5.05, 7, symbol="A1"), tick(9, 123_456.7, 4_294_967_295, symbol="A2", volume_traded=9_999_999), "A"),
    (signal(1, reasoning="A1"), signal(2, side="SELL", quantity=999, price=Decimal("5.0525"), reasoning="A2"), "A"),
    (
        order(1, price=Decimal(5), product="NRML"),
        order(2, side="SELL", quantity=99_999, reference_price=Decimal("99999.05"), order_type="LIMIT"),
        "o",
    ),
    (FILL, msgspec.structs.replace(FILL, side="SELL", quantity=99, price=Decimal(7), instrument_token=1), "charges"),
    (EXAMPLES["bar"], msgspec.structs.replace(EXAMPLES["bar"], open=99_999.5, close=1.25, interval="15m"), "vol"),
    (EXAMPLES["order_update"], msgspec.structs.replace(EXAMPLES["order_update"], average_price=Decimal(5)), "paper"),
    (EXAMPLES["denial"], msgspec.structs.replace(EXAMPLES["denial"], code="X", strategy_id="other"), "too many"),
]


@pytest.mark.parametrize(("one", "other", "last"), PAIRS, ids=lambda value: type(value).__name__)
def test_columns_of_one_type_line_up(one: Any, other: Any, last: str) -> None:
    """Whatever the size of the figures before it, the last column begins at the same place."""
    assert shown(one).rindex(last) == shown(other).rindex(last)


CHOSEN = {"side", "signal_type", "order_type", "product", "validity", "action"}  # the decoder refuses any other value


def lines_of_text(value: str) -> Iterator[Any]:
    """Events with `value` in every field of text."""
    for event in EXAMPLES.values():
        texts = {
            field.name: value
            for field in msgspec.structs.fields(event)
            if isinstance(getattr(event, field.name), str) or field.name in {"reason", "message", "symbol", "by"}
        }
        texts = {name: text for name, text in texts.items() if name not in CHOSEN}
        yield msgspec.structs.replace(event, **texts)
    yield Unknown("x" + value, encode(Control(action="set", value=value)))
    yield Unknown("other", f'{{"type":"other","text":"{value}"}}'.encode())
    yield Control(action="set", value={value: [value]})


@pytest.mark.parametrize("value", [HOSTILE, *HOSTILE])
def test_nothing_from_the_data_reaches_the_terminal_unescaped(value: str) -> None:
    """Control characters, escape sequences, newlines and what reorders text: in known and unknown types alike."""
    for event in lines_of_text(value):
        assert shown(event).isprintable(), event
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]", shown(event))


@given(st.text(max_size=80))
def test_any_text_is_shown_on_one_printable_line(value: str) -> None:
    """Whatever a stream holds."""
    for event in lines_of_text(value.encode("utf-8", "replace").decode()):
        assert shown(event).isprintable()


@pytest.mark.parametrize(
    "amount", ["NaN", "sNaN", "Infinity", "-Infinity", "1e300", "1e-300", "1E+999999", "-1E-999999"]
)
def test_an_absurd_amount_is_shown_as_it_is(amount: str) -> None:
    """Not as a line of a million zeros, and not as a traceback."""
    line = shown(msgspec.structs.replace(PORTFOLIO, cash=Decimal(amount)))
    assert f"cash {Decimal(amount)}" in line
    assert len(line) < 200


def test_a_time_from_the_end_of_the_calendar_is_shown() -> None:
    """It cannot be turned into Indian time."""
    assert "9999-12-31" in shown(msgspec.structs.replace(tick(), timestamp=datetime.max.replace(tzinfo=UTC)))


ALL = stream([event for name, event in EXAMPLES.items() if name not in {"hello", "eof"}])
COLOURED = re.compile(rb"\033\[\d+m[a-z_]+ *\033\[0m")


def test_in_a_pipe_there_are_no_colours_unless_asked_for() -> None:
    """`--color always` paints the type and nothing else: without the codes the text is the same."""
    plain = run_alpha(["show"], ALL)
    assert plain.returncode == 0
    assert b"\033" not in plain.stdout
    assert plain.stdout.count(b"\n") == len(TYPES)
    assert b"shown=15" in plain.stderr
    painted = run_alpha(["show", "--color", "always"], ALL, env={"NO_COLOR": "1", "TERM": "dumb"})
    assert len(COLOURED.findall(painted.stdout)) == len(TYPES)
    assert re.sub(rb"\033\[\d+m", b"", painted.stdout) == plain.stdout


def on_a_terminal(*args: str, **env: str) -> bytes:
    """What `alpha show` writes when its output is a terminal."""
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            alpha("show", "-q", *args), stdin=subprocess.PIPE, stdout=slave,
            env={**environment(), "TERM": "xterm", "NO_COLOR": "", **env},
        )  # fmt: skip
        os.close(slave)
        process.communicate(ALL, timeout=DEADLINE)
        output = b""
        while select.select([master], [], [], DEADLINE)[0]:
            try:
                chunk = os.read(master, 1 << 16)
            except OSError:  # Linux's way of saying that nobody holds the other end
                break
            if not chunk:
                break
            output += chunk
        return output
    finally:
        os.close(master)


@pytest.mark.parametrize(
    ("args", "env", "coloured"),
    [
        ((), {}, True),
        ((), {"NO_COLOR": "1"}, False),
        ((), {"TERM": "dumb"}, False),
        (("--color", "never"), {}, False),
        (("--color", "always"), {"NO_COLOR": "1"}, True),
    ],
)
def test_on_a_terminal_there_are_colours_unless_declined(
    args: tuple[str, ...], env: dict[str, str], coloured: bool
) -> None:
    """By NO_COLOR, by TERM=dumb or by the option."""
    output = on_a_terminal(*args, **env)
    assert output.count(b"\n") == len(TYPES)
    assert (b"\033[" in output) is coloured


def test_only_the_types_asked_for_are_shown() -> None:
    """The closing line counts what was shown."""
    made = run_alpha(["show", "--types", "fill, portfolio"], ALL)
    assert [line.split()[0] for line in made.stdout.splitlines()] == [b"fill", b"portfolio"]
    assert b"shown=2" in made.stderr


@pytest.mark.parametrize(
    ("types", "said"),
    [("fil", b"did you mean 'fill'?"), ("fill,xyz", b"no type 'xyz'; known: hello, tick"), ("", b"no type ''")],
)
def test_a_type_that_is_not_one_is_a_usage_error(types: str, said: bytes) -> None:
    """One line, with the near one or all."""
    made = run_alpha(["show", "--types", types])
    assert (made.returncode, made.stdout, made.stderr.count(b"\n")) == (2, b"", 1)
    assert said in made.stderr


def test_bad_lines_are_skipped_and_counted() -> None:
    """A person looking at a stream wants the rest of it; exit 0."""
    bad = [b"not json \x1b[31m", b"\xff\xfe", b'{"no":"type"}', b'{"type":"tick","instrument_token":-1}']
    made = run_alpha(["show"], stream([*bad, tick()]))
    assert made.returncode == 0
    assert [line.split()[0] for line in made.stdout.splitlines()] == [b"hello", b"tick", b"eof"]
    assert b"rejected=4" in made.stderr
    assert b"\x1b" not in made.stderr


def test_show_of_an_encoded_event_is_show_of_the_event() -> None:
    """Over the wire nothing that is shown is lost."""
    for event in EXAMPLES.values():
        assert shown(decode(encode(event))) == shown(event)
