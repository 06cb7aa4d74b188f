"""What to do about arguments that cannot be read: in words, from what msgspec says is wrong. `protocol.py` asks."""

from __future__ import annotations

import re
from functools import cache

import msgspec
from msgspec import inspect

from loominal.model.names import meant

PLACE = re.compile(r" - at `\$(.*)`$")  # in a message of msgspec's: `$.boundaries[...].agentTypes`
STEP = re.compile(r"\.(\w+)|\[[^\]]*\]")


def hint(problem: str, kind: type[msgspec.Struct]) -> str:
    """Return what there is at the place that `problem` tells of: the words of a choice, or the names of arguments.

    For an unknown argument it is the one that was meant, as far as one is much like it.
    """
    found = PLACE.search(problem)
    place = found[1] if found else ""
    there = _type_of(kind)
    for step in STEP.finditer(place):
        there = _below(_one(there), step[1])
    there = _one(there)
    if isinstance(there, inspect.EnumType):
        return f"it is one of: {', '.join(each.value for each in there.cls)}"
    what = f"fields of {place.lstrip('.')}" if isinstance(there, inspect.StructType) and place else "arguments"
    known = (there.cls if isinstance(there, inspect.StructType) else kind).__struct_encode_fields__
    unknown = re.search(r"unknown field `(.{1,100}?)`", problem)
    if unknown and known:
        return meant(unknown[1], known, what)
    return f"the {what} are: {', '.join(known)}" if known else "it takes no arguments"


@cache
def _type_of(kind: type[msgspec.Struct]) -> inspect.Type:
    return inspect.type_info(kind)


def _one(kind: inspect.Type) -> inspect.Type:
    """Return what a value is that may be missing."""
    if isinstance(kind, inspect.UnionType):
        return next(each for each in kind.types if not isinstance(each, inspect.NoneType))
    return kind


def _below(kind: inspect.Type, name: str | None) -> inspect.Type:
    """Return the type of the field `name`, without one that of what an object or a list holds."""
    if isinstance(kind, inspect.StructType):
        return next(field.type for field in kind.fields if field.encode_name == name)
    if isinstance(kind, inspect.DictType):
        return kind.value_type
    if isinstance(kind, inspect.VarTupleType | inspect.ListType):
        return kind.item_type
    return inspect.AnyType()
