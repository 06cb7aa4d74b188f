"""Arguments and answers as JSON Schema, one plain type each; arguments leniently read from what a model sends."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from functools import cache

import msgspec
from msgspec import inspect

from loominal.fabric.operations import OPERATIONS
from loominal.fabric.operations.types import Arguments, View
from loominal.fabric.protocol import arguments
from loominal.model.errors import InvalidArgument
from loominal.model.names import meant
from loominal.model.times import duration_seconds

Json = dict[str, object]
HIDDEN = frozenset({"leaseToken"})  # Warp keeps the tokens of its claims


def input_schema(kind: type[Arguments], hints: dict[str, str], hidden: Collection[str] = ()) -> Json:
    """Return the schema of an operation's arguments but `hidden` ones, without `anyOf` and `$ref`."""
    fields = [field for field in _known()[kind] if field.encode_name not in hidden]
    properties = {
        field.encode_name: _schema(_plain(field.type))
        | ({"description": hint} if (hint := hints.get(field.encode_name)) else {})
        for field in fields
    }
    required = [field.encode_name for field in fields if field.required]
    schema: Json = {"type": "object", "properties": properties}
    return schema | {"required": required} if required else schema


def output_schema(kind: type[View]) -> Json:
    """Return the schema of what a tool answers, an error included; more may be there.

    Nothing is required of it: TypeScript clients up to SDK 1.32 check errors, too, and show their model only that one
    does not fit. Of the entries in it nothing is required that may be left out.
    """
    return {"type": "object", "properties": _answer_properties(_known()[kind]) | {"error": {"type": "object"}}}


def wait_seconds(args: Arguments) -> float:
    """Return for how long an operation is asked to wait."""
    seconds = getattr(args, "wait_seconds", 0.0)
    return float(seconds)


def read(kind: type[Arguments], given: Json) -> Arguments:
    """Return what a model sent as arguments of `kind`.

    Digits count as numbers, JSON text as objects and lists, one text as a list of one, enums in any case; null is
    absent. Raises: InvalidArgument, naming what may be meant by one that is unknown.
    """
    fields = _by_name(kind)
    found: Json = {}
    for name, value in given.items():
        if name not in fields:
            raise InvalidArgument(f"there is no argument {name!r}", meant(name, fields, "arguments"))
        if value is not None:
            if value == "" and fields[name].default is None:
                continue  # how some models say null
            found[name] = _lenient(_plain(fields[name].type), value, name)
    missing = [name for name, field in fields.items() if field.required and name not in found]
    if missing:
        raise InvalidArgument(f"missing: {', '.join(missing)}", "give it and call again")
    return arguments(kind, msgspec.json.encode(found))


def _answer_properties(fields: tuple[inspect.Field, ...]) -> Json:
    return {
        field.encode_name: _answer_schema(_plain(field.type)) for field in fields if field.encode_name not in HIDDEN
    }


def _answer_schema(kind: inspect.Type) -> Json:
    match kind:
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            return {"type": "array", "items": _answer_schema(_plain(item))}
        case inspect.StructType(fields=fields):
            required = [field.encode_name for field in fields if field.required and field.encode_name not in HIDDEN]
            return {"type": "object", "properties": _answer_properties(fields), "required": required}
        case inspect.DateTimeType():
            return {"type": "string", "format": "date-time"}
        case inspect.IntType() | inspect.FloatType():
            return {"type": "integer" if isinstance(kind, inspect.IntType) else "number"}
    return _schema(kind)


@cache  # it evaluates the annotations of every type, which costs less for all at once
def _known() -> dict[type, tuple[inspect.Field, ...]]:
    kinds = [kind for each in OPERATIONS.values() for kind in (each.arguments, each.answer)]
    infos = zip(kinds, inspect.multi_type_info(kinds), strict=True)
    return {kind: info.fields for kind, info in infos if isinstance(info, inspect.StructType)}


@cache
def _by_name(kind: type[Arguments]) -> dict[str, inspect.Field]:
    return {field.encode_name: field for field in _known()[kind]}


def _plain(kind: inspect.Type) -> inspect.Type:
    """Return a type without its `| None`: what is null is absent."""
    if isinstance(kind, inspect.UnionType):
        return next(each for each in kind.types if not isinstance(each, inspect.NoneType))
    return kind


def _schema(kind: inspect.Type) -> Json:
    match kind:
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.IntType(ge=ge, le=le) | inspect.FloatType(ge=ge, le=le):
            name = "integer" if isinstance(kind, inspect.IntType) else "number"
            bounds = {"minimum": ge, "maximum": le}
            return {"type": name, **{bound: value for bound, value in bounds.items() if value is not None}}
        case inspect.EnumType(cls=cls):
            return {"type": "string", "enum": [member.value for member in cls]}
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            return {"type": "array", "items": _schema(item)}
        case inspect.StructType(fields=fields):
            required = [field.encode_name for field in fields if field.required]
            properties = {field.encode_name: _schema(_plain(field.type)) for field in fields}
            return {"type": "object", "properties": properties, "required": required}
        case inspect.DictType():
            return {"type": "object"}
    return {"type": "string"}


def _lenient(kind: inspect.Type, value: object, name: str) -> object:
    match kind, value:
        case inspect.IntType() | inspect.FloatType(), str() if name.endswith("Seconds") and _is_duration(value):
            return duration_seconds(value)
        case inspect.IntType() | inspect.FloatType() | inspect.BoolType(), str():
            return _decoded(value.strip().lower())
        case inspect.IntType(), float() if value.is_integer():
            return int(value)
        case inspect.StructType(fields=fields), dict():
            known = {field.encode_name: _plain(field.type) for field in fields}
            return {key: _lenient(known[key], each, key) if key in known else each for key, each in value.items()}
        case inspect.DictType(), str():
            return _decoded(value)
        case inspect.StructType(), str():
            decoded = _decoded(value)
            return _lenient(kind, decoded, name) if isinstance(decoded, dict) else decoded
        case inspect.VarTupleType(item_type=item), str():
            decoded = _decoded(value) if value.lstrip().startswith("[") else [value]
            return _lenient(kind, decoded, name) if isinstance(decoded, list) else [_lenient(item, value, name)]
        case inspect.VarTupleType(item_type=item), list():
            return [_lenient(item, each, name) for each in value]
        case inspect.VarTupleType(item_type=item), dict():
            return [_lenient(item, value, name)]
        case inspect.EnumType(cls=cls), str():
            return _member(cls, value)
        case inspect.StrType(), int() | float() if not isinstance(value, bool):
            return str(value)
    return value


def _is_duration(text: str) -> bool:
    return text.strip()[:1].isdigit() and text.strip()[-1:].isalpha()


def _decoded(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text  # the check that follows says what is wrong


def _member(cls: type[Enum], text: str) -> str:
    folded = text.strip().lower().replace(" ", "-").replace("_", "-")
    return next((member.value for member in cls if member.value.lower().replace("_", "-") == folded), text)
