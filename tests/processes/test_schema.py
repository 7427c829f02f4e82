"""`alpha schema`: the wire as JSON Schema."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from support.processes import run_alpha

from alpha_cli.core.codec import schema
from alpha_cli.core.events import TYPES


@pytest.mark.parametrize("name", list(TYPES))
def test_each_type_has_a_schema_with_all_its_fields(name: str) -> None:
    """Generated from the struct itself: its fields, its `type`, which are required, nothing beside them."""
    made: Any = schema(name)
    definition = made["$defs"][TYPES[name].__name__]
    fields = msgspec.structs.fields(TYPES[name])
    assert made["$ref"] == f"#/$defs/{TYPES[name].__name__}"
    assert definition["properties"]["type"] == {"enum": [name]}
    assert set(definition["properties"]) == {"type", *(field.encode_name for field in fields)}
    assert set(definition["required"]) == {"type", *(field.encode_name for field in fields if field.required)}
    assert definition["additionalProperties"] is False


def test_the_whole_wire_has_every_type() -> None:
    """Without an argument; the type tells which."""
    made: Any = schema()
    assert made["discriminator"]["propertyName"] == "type"
    assert set(made["discriminator"]["mapping"]) == set(TYPES)


@pytest.mark.parametrize("name", [None, "tick", "order_update"])
def test_the_command_prints_the_schema(name: str | None) -> None:
    """As indented JSON."""
    made = run_alpha(["schema", *([name] if name else [])])
    assert (made.returncode, made.stderr) == (0, b"")
    assert json.loads(made.stdout) == schema(name)


@pytest.mark.parametrize("name", ["tik", "Tick", ""])
def test_an_unknown_type_is_a_usage_error_that_lists_the_known(name: str) -> None:
    """One line, exit 2."""
    made = run_alpha(["schema", name])
    assert (made.returncode, made.stdout, made.stderr.count(b"\n")) == (2, b"", 1)
    assert all(known.encode() in made.stderr for known in TYPES)
