"""Every mistake in what a person wrote, each with its place, where msgspec tells the first alone. `weft_file` asks."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

import msgspec

from loominal.model.names import nearest, one_line, shown


# Any: a type annotation, and a value that is still to be checked against it
def mistakes(kind: Any, value: Any, place: str) -> Iterator[str]:
    """Yield what keeps `value` from being a `kind`, each as `place: what is wrong`."""
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(each for each in get_args(kind) if each is not types.NoneType)  # no file can say null
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


def _in_struct(kind: type[msgspec.Struct], value: Any, place: str) -> Iterator[str]:  # Any: as above
    if not isinstance(value, dict):
        yield f"{place}: it must be a table"
        return
    known = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name in value:
        if name not in known:
            likely = nearest(name, known)
            hint = f"did you mean {likely!r}?" if likely else f"known are {', '.join(known)}"
            yield f"{_below(place, name)}: there is no such key; {hint}"
    for name, field in known.items():
        if name in value:
            yield from mistakes(field.type, value[name], _below(place, name))
        elif field.required:
            yield f"{_below(place, name)}: it is missing"


def _in_plain(kind: Any, value: Any, place: str) -> Iterator[str]:  # Any: as above
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        yield f"{place}: {one_line(str(error).partition(' - at ')[0])}"


def _below(place: str, name: str) -> str:
    plain = name if name.isidentifier() and name.isascii() else shown(name)
    return f"{place}.{plain}" if place else plain
