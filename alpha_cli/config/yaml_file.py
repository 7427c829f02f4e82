"""YAML as configurations use it: bounded, without aliases, a key only once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from alpha_cli.config.files import read_bytes
from alpha_cli.core.errors import ConfigurationError

MAX_DEPTH = 32  # of nesting


def read_yaml(path: Path) -> Any:
    """Read the YAML document at `path`, without aliases, deep nesting or a key given twice.

    Raise `ConfigurationError`.
    """
    text = read_bytes(path)
    try:
        _check_shape(text)
        return yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:  # what odd tags raise
        raise ConfigurationError(f"{path}: not usable YAML: {' '.join(str(error).split())}") from None


_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _check_shape(text: bytes) -> None:
    """Refuse aliases, and nesting that would overflow the stack of the parser in C."""
    depth = 0
    for event in yaml.parse(text, _SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"aliases (*{event.anchor}) are not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.YAMLError(f"nested deeper than {MAX_DEPTH}")


class _Loader(_SafeLoader):  # type: ignore[misc]
    """Safe YAML in which a key given twice is an error, where YAML takes the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002  (as inherited)
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.YAMLError(f"key {name} is given twice, line {key.start_mark.line + 1}")
            seen.add(name)
        return super().construct_mapping(node, deep)
