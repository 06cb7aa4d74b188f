"""Every mistake in what a person wrote, each with its place, where msgspec tells the first alone.

Weft asks it about its own file, Shuttle about targets and policies.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

import msgspec

from loominal.model.names import nearest, one_line, shown


class Mistake(NamedTuple):
    """What is wrong at a place such as `config.command[0]`, and what to do about it."""

    place: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


# Any: a type annotation, and a value that is still to be checked against it
def mistakes(kind: Any, value: Any, place: str) -> Iterator[Mistake]:
    """Yield what keeps `value`, as read from TOML or JSON, from being a `kind`."""
    if get_origin(kind) in (Union, types.UnionType):
        if value is None and types.NoneType in get_args(kind):
            return
        kind = next(each for each in get_args(kind) if each is not types.NoneType)
    origin = get_origin(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield from _in_struct(kind, value, place)
    elif origin is tuple and isinstance(value, list):
        for index, each in enumerate(value):
            yield from mistakes(get_args(kind)[0], each, f"{place}[{index}]")
    elif origin is dict and isinstance(value, dict):
        for name, each in value.items():
            yield from mistakes(get_args(kind)[1], each, _below(place, name))
    else:
        yield from _in_plain(kind, value, place)


def _in_struct(kind: type[msgspec.Struct], value: Any, place: str) -> Iterator[Mistake]:  # Any: as above
    if not isinstance(value, dict):
        yield Mistake(place, "it must be a table")
        return
    known = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name in value:
        if name not in known:
            likely = nearest(name, known)
            hint = f"did you mean {likely!r}?" if likely else f"known are {', '.join(known)}"
            yield Mistake(_below(place, name), f"there is no such key; {hint}")
    for name, field in known.items():
        if name in value:
            yield from mistakes(field.type, value[name], _below(place, name))
        elif field.required:
            yield Mistake(_below(place, name), "it is missing")


def _in_plain(kind: Any, value: Any, place: str) -> Iterator[Mistake]:  # Any: as above
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        if isinstance(value, str) and (named := _named(kind)):
            yield Mistake(place, f"{shown(value)} is no {named}")
        else:
            yield Mistake(place, one_line(str(error).partition(" - at ")[0]))


def _named(kind: Any) -> str:  # Any: as above
    """Return what people call values of `kind`, "" if nobody has said: only then may a value be a secret."""
    if isinstance(kind, enum.EnumType):
        return f"{kind.__name__.lower()}: it is one of {', '.join(map(str, kind.__members__.values()))}"
    if get_origin(kind) is Annotated:
        return next((meta.description or "" for meta in kind.__metadata__ if isinstance(meta, msgspec.Meta)), "")
    return ""


def _below(place: str, name: str) -> str:
    plain = name if name.isidentifier() and name.isascii() else shown(name)
    return f"{place}.{plain}" if place else plain
