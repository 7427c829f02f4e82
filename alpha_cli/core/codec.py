"""The codec of the wire: an event to its line, a line to its event, fully checked.

line = encode(event)      # no newline
event = decode(line)      # raises BadLine
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Union

import msgspec

from alpha_cli.core.errors import BadLine
from alpha_cli.core.events import (
    MONEY,
    TYPES,
    ContractNote,
    Depth,
    Event,
    Fill,
    Level,
    Ohlc,
    Portfolio,
    Position,
    Signal,
    Tick,
    Unknown,
)
from alpha_cli.core.times import IST
from alpha_cli.core.wire import (
    DECODE_ERRORS,
    MAX_LINE,
    check_depth,
    check_length,
    check_rupees,
    check_unique_keys,
    parse_object,
)

#: The fields of each type of `MONEY` that hold rupees.
_AMOUNTS: dict[type, list[str]] = {
    cls: [name for name, kind in cls.__annotations__.items() if kind.startswith("Rupees")] for cls in MONEY
}


#: The structs inside a struct, for dropping unknown fields on the slow path.
_NESTED: dict[type, dict[str, type]] = {
    Tick: {"ohlc": Ohlc, "depth": Depth},
    Depth: {"buy": Level, "sell": Level},
    Portfolio: {"positions": Position},
}


_encode = msgspec.json.Encoder(decimal_format="number", order="deterministic").encode


_decode_strictly = msgspec.json.Decoder(Union[tuple(TYPES.values())]).decode


_decode_exactly = msgspec.json.Decoder(float_hook=Decimal).decode


def encode(event: Event | Unknown) -> bytes:
    """Return `event` as one line without its newline. The same event gives the same bytes."""
    if type(event) is Unknown:
        return event.raw
    return _encode(event)


def decode(line: bytes | str) -> Any:
    """Return the event on `line`, fully checked; `Unknown` if its type is not in `TYPES`.

    Unknown fields are dropped (filters forward the original bytes, so they are not lost) and naive
    times become Asia/Kolkata. Raises `BadLine` with the reason.
    """
    try:
        event = _decode_strictly(line)
    except DECODE_ERRORS:
        return _decode_leniently(_as_bytes(line))
    if type(event) in MONEY:
        check_money(_as_bytes(line), event)
    elif len(line) > MAX_LINE:
        check_length(_as_bytes(line))
    return event


def _as_bytes(line: bytes | str) -> bytes:
    return line.encode() if isinstance(line, str) else line


def as_received(event: Signal) -> Signal:
    """Return `event` as another process would receive it: exact, and sharing no object with the sender.

    Raises `BadLine` if another process would refuse it, `TypeError` if it cannot be written as JSON.
    """
    line = _encode(event)
    check_length(line)
    if not event.metadata:  # no other field can hold a shared object or a value that is not JSON
        return event
    check_depth(line)
    try:
        received: Signal = _decode_strictly(line)
    except DECODE_ERRORS as error:
        raise BadLine(str(error)) from None
    return received


def _decode_leniently(line: bytes) -> Any:
    """Decode on the slow path: find out what is wrong with a line, if anything is."""
    record = parse_object(line)
    name = record.get("type")
    if not isinstance(name, str):
        raise BadLine("no string field 'type'")
    cls = TYPES.get(name)
    if cls is None:
        return Unknown(name, line)
    if cls in MONEY:
        record = _decode_exactly(line)
    try:
        event = msgspec.json.decode(_encode(_known_fields(record, cls)), type=cls)
    except msgspec.MsgspecError as error:
        raise BadLine(f"not a valid {name}: {error}") from None
    if cls in MONEY:
        check_money(line, event)
    return event


def check_money(line: bytes, event: Any) -> None:
    """Refuse what must not reach an order: a repeated key, an invalid amount, deep nesting. Raises `BadLine`."""
    check_length(line)
    check_depth(line)
    if _encode(event) != line:  # a line that we would have written has no repeated key
        check_unique_keys(line)
    for field in _AMOUNTS[type(event)]:
        value = getattr(event, field)
        if value is not None:
            check_rupees(field, value)
    if isinstance(event, Fill | ContractNote):
        for name, amount in event.charges.items():
            check_rupees(f"charges.{name}", amount)


def _known_fields(record: dict[str, Any], cls: type) -> dict[str, Any]:
    """Return `record` without the fields that `cls` does not have, naive times read as IST."""
    known: dict[str, Any] = {"type": record["type"]} if "type" in record else {}
    nested = _NESTED.get(cls, {})
    for field in msgspec.structs.fields(cls):
        name = field.encode_name
        if name not in record:
            continue
        value = record[name]
        if name in _TIME_FIELDS and isinstance(value, str):
            value = _with_offset(value)
        elif name in nested:
            inner = nested[name]
            if isinstance(value, dict):
                value = _known_fields(value, inner)
            elif isinstance(value, list):
                value = [_known_fields(item, inner) if isinstance(item, dict) else item for item in value]
        known[name] = value
    return known


_TIME_FIELDS = frozenset({"timestamp", "received_at", "last_trade_time", "start", "end", "from", "to"})


def _with_offset(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text  # the decoder will say what is wrong with it
    return text if moment.tzinfo else moment.replace(tzinfo=IST).isoformat()


def schema(name: str | None = None) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one type, or of the whole wire."""
    wanted: Any = TYPES[name] if name else Union[tuple(TYPES.values())]
    return msgspec.json.schema(wanted)
