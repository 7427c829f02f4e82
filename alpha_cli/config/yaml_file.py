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
    if path.suffix == ".py":
        raise ConfigurationError(
            f"{path}: is Python, not YAML; name the YAML file, in which strategy_type: ./{path.name}:CLASS names it"
        )
    try:
        _check_shape(text)
        return yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:  # what odd tags raise
        raise ConfigurationError(f"{path}: {_described(error)}") from None


#: What PyYAML says -> how it is mended.
_MENDS = {
    "mapping values are not allowed": "check the indentation, and put a text with a colon in it into quotes",
    "tab character": "indent with spaces",
    "cannot start any token": "indent with spaces, and put a text that begins with such a character into quotes",
    "could not find expected ':'": "write it as key: value",
    "did not find expected": "a bracket or a quote is not closed, or the indentation is uneven",
}


def _described(error: Exception) -> str:
    """Return what is wrong with a file that is no YAML: the line, the fault, and how to mend it."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return f"not usable YAML: {' '.join(str(error).split())}"
    mend = next((mend for said, mend in _MENDS.items() if said in f"{getattr(error, 'context', '')} {problem}"), "")
    return f"not usable YAML: line {mark.line + 1}, column {mark.column + 1}: {problem}" + (f"; {mend}" if mend else "")


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
