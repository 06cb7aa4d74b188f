"""Cursors: opaque places in a list, bound to the query and to the project's life they were made for."""

from __future__ import annotations

import base64
import binascii
import hashlib

import msgspec

from loominal.model.errors import BadCursor

_DIGEST_BYTES = 8


class Place(msgspec.Struct, frozen=True, array_like=True):
    """What a cursor holds: the digest of its query and generation, and a position in that list."""

    digest: bytes
    position: tuple[int | str, ...]


def cursor(query: str, generation: str, *position: int | str) -> str:
    """Return a cursor at `position` of `query` (any text that names the query's filters)."""
    raw = msgspec.msgpack.encode(Place(_digest(query, generation), position))
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def position(text: str, query: str, generation: str) -> tuple[int | str, ...]:
    """Return the position that `text` holds.

    Raises: BadCursor if it is malformed or was made for another query or another generation.
    """
    try:
        raw = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        place = msgspec.msgpack.decode(raw, type=Place)
    except (binascii.Error, msgspec.DecodeError, UnicodeEncodeError) as error:
        raise BadCursor("this cursor was not made by Loominal") from error
    if place.digest != _digest(query, generation):
        raise BadCursor("this cursor belongs to another query, or to a project that was made anew")
    return place.position


def _digest(query: str, generation: str) -> bytes:
    return hashlib.sha256(f"{generation}\0{query}".encode("utf-8", "surrogatepass")).digest()[:_DIGEST_BYTES]
