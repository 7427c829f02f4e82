"""What is wrong with a configuration, in plain words: the key, the place and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel

from alpha_cli.core.text import shown

#: A key that is a date, as pydantic names it.
_DATE_KEY = re.compile(r"datetime\.date\((\d+), (\d+), (\d+)\)")


#: What to write instead, by what pydantic found wrong; where it says so well enough itself, nothing.
MENDS = {
    "list_type": "write a list, as [A, B]",
    "tuple_type": "write a list, as [A, B]",
    "decimal_type": "write a plain number, as 20000 or 0.02",
    "decimal_parsing": "write a plain number, as 20000 or 0.02",
    "float_type": "write a plain number, as 20000 or 0.02",
    "float_parsing": "write a plain number, as 20000 or 0.02",
    "int_type": "write a whole number",
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "string_type": "write a text",
    "missing": "is missing; write it",
    "invalid_key": "a key has to be a name; a number is written without commas, as 500000",
}


_FEW = 8


_BLOCKS = {"dict_type", "model_type", "model_attributes_type"}


def describe_fault(fault: Any, model: type[BaseModel]) -> str:
    """Return what is wrong with one value, and what to write instead."""
    kind, path, said = fault["type"], fault["loc"], fault["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return _unknown(model, path)
    place = _place(model, path)
    where, got = place.shown, _got(fault["input"])
    if kind in _BLOCKS:
        keys = ", ".join(_few(_fields(place.kinds)))
        said = f"write settings in it ({keys})" if keys else "write settings in it, as name: value"
    elif kind == "union_tag_invalid":
        where, got = f"{where}.{fault['ctx']['discriminator'][1:-1]}", repr(fault["ctx"]["tag"])
        said = f"write one of {fault['ctx']['expected_tags']}"
    said = MENDS.get(kind, said)
    return f"{where or 'the file'}: {said[:1].lower()}{said[1:]}{'' if kind == 'missing' else f', got {got}'}"


def _unknown(model: type[BaseModel], path: tuple[Any, ...]) -> str:
    from difflib import get_close_matches

    from alpha_cli.core.text import did_you_mean

    place, key = _place(model, path[:-1]), str(path[-1])
    shown_as = f"{place.shown}.{key}" if place.shown else key
    here, elsewhere = _fields(place.kinds), _places(model, key)
    if elsewhere and place.named not in elsewhere and not get_close_matches(key, here, cutoff=0.75):
        return f"unknown key {shown_as}; it may stand under {', '.join(elsewhere)}"
    return f"unknown key {shown_as}{did_you_mean(key, here)}"


def _got(value: Any) -> str:
    """Return the value as the file has it: YAML reads off and no as false."""
    if value is None:
        return "nothing"
    return {False: "false (or off)", True: "true (or on)"}[value] if isinstance(value, bool) else shown(value)


class _Place(NamedTuple):
    """A place in a file: by the names in it, with NAME for those that the user chose; and what may stand there."""

    shown: str
    named: str
    kinds: list[Any]


def _place(model: type[BaseModel], path: tuple[Any, ...]) -> _Place:
    """Return the place that pydantic means by `path`.

    Of several things that a value may be, pydantic puts the one it tried into the path: that is in no file.
    """
    shown_as: list[str] = []
    named: list[str] = []
    kinds: list[Any] = [model]
    tried = False  # whether the part before was what pydantic tried
    for part in path:
        fields = [one.model_fields[part].annotation for one in kinds if part in getattr(one, "model_fields", {})]
        inside = [get_args(one)[-1] for one in kinds if get_origin(one) is dict]
        items = [get_args(one)[0] for one in kinds if get_origin(one) in {tuple, list}] if isinstance(part, int) else []
        found = fields or inside or items
        if part == "[key]":  # the key itself is wrong, not what is under it
            continue
        if found or tried or len(kinds) <= 1:
            tried = False
            shown_as.append(_DATE_KEY.sub(_as_written, str(part)))
            named.append(str(part) if fields else "NAME")
            kinds = [kind for one in found for kind in _kinds(one)]
        else:
            tried = True
            kinds = [one for one in kinds if _is_called(one, part)] or kinds
    return _Place(".".join(shown_as), ".".join(named), kinds)


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield what a value of this type may be: models, containers and other types, out of unions and annotations."""
    if get_origin(annotation) in {Union, UnionType, Annotated}:
        args = get_args(annotation)
        for arg in args[:1] if get_origin(annotation) is Annotated else args:
            yield from _kinds(arg)
    elif annotation is not NoneType:
        yield annotation


def _fields(kinds: Iterable[Any]) -> list[str]:
    """Return the keys that the first model among `kinds` knows."""
    return next((list(one.model_fields) for one in kinds if hasattr(one, "model_fields")), [])


def _few(names: list[str]) -> list[str]:
    return names if len(names) <= _FEW else [*names[:_FEW], "…"]


def _places(model: Any, key: str, path: tuple[str, ...] = ()) -> list[str]:
    """Return the places in a file of `model` that have this key; a name that the user chooses is NAME."""
    found = [".".join(path)] if path and key in model.model_fields else []
    for name, field in model.model_fields.items():
        for kind in _kinds(field.annotation):
            inside = list(_kinds(get_args(kind)[-1])) if get_origin(kind) is dict else [kind]
            place = (*path, name, "NAME") if get_origin(kind) is dict else (*path, name)
            for one in inside:
                if hasattr(one, "model_fields"):
                    found += _places(one, key, place)
    return list(dict.fromkeys(found))


def _as_written(found: re.Match[str]) -> str:
    return f"{found[1]}-{found[2]:0>2}-{found[3]:0>2}"


def _is_called(model: Any, name: Any) -> bool:
    """Return whether pydantic means `model` by `name`: its class, or a literal that tells it from others."""
    fields = getattr(model, "model_fields", {})
    literals = (getattr(field.annotation, "__args__", ()) for field in fields.values())
    return bool(getattr(model, "__name__", None) == name) or any(name in words for words in literals)
