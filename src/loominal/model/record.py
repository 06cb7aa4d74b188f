"""Stored records: how a value is read from and written to a log or a bucket, whatever version wrote it.

A record carries its version `v`. Fields that this version does not know are kept beside the value and written back.
"""

from __future__ import annotations

from functools import cache
from typing import Generic, TypeVar

import msgspec

from loominal.model.errors import CorruptRecord
from loominal.model.names import shown

T = TypeVar("T", bound=msgspec.Struct)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def version(number: int) -> int:
    """Return the default of a record's field `v`: written always, also where other defaults are left out."""
    return msgspec.field(default_factory=lambda: number)


class Stored(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A value as it was stored, and the top-level fields beside it that this version does not know."""

    value: T
    extra: dict[str, msgspec.Raw] = {}


def decode(kind: type[T], data: bytes) -> Stored[T]:
    """Return the `kind` that `data` holds, with its unknown fields.

    Raises: CorruptRecord if it is no JSON object, lacks a field, or holds a value this version has no meaning for.
    """
    try:
        value = msgspec.json.decode(data, type=kind)
        if _knows_all(kind, data):
            return Stored(value=value)
        present = _FIELDS.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptRecord(f"a stored {kind.__name__} cannot be read: {error} in {_start(data)}") from error
    known = kind.__struct_encode_fields__
    return Stored(value=value, extra={name: raw for name, raw in present.items() if name not in known})


def _knows_all(kind: type[msgspec.Struct], data: bytes) -> bool:
    """Return whether `kind` has all the fields in `data`: in a quarter of the time that it takes to list them."""
    try:
        _fields_of(kind).decode(data)
    except msgspec.ValidationError:
        return False
    return True


@cache
def _fields_of(kind: type[msgspec.Struct]) -> msgspec.json.Decoder[msgspec.Struct]:
    """Return what refuses a record with a field that `kind` has not; it reads no values."""
    fields = [(name, msgspec.Raw, msgspec.Raw()) for name in kind.__struct_encode_fields__]
    return msgspec.json.Decoder(msgspec.defstruct("Fields", fields, forbid_unknown_fields=True))


def encode(value: msgspec.Struct, extra: dict[str, msgspec.Raw] | None = None) -> bytes:
    """Return `value` as a record, with the unknown fields it was read with."""
    known = value.__struct_encode_fields__
    beside = {name: raw for name, raw in (extra or {}).items() if name not in known}
    own = msgspec.json.encode(value)
    if not beside:
        return own
    joint = b"," if own != b"{}" else b""
    return own[:-1] + joint + msgspec.json.encode(beside)[1:]


def _start(data: bytes) -> str:
    return shown(data[:60].decode("utf-8", "replace"))
