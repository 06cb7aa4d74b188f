"""Answers within their byte limit: which entries of a list fit, and which part of a long text.

Every handler that answers with lists or peers' texts comes here with `caller.limit_bytes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from loominal.fabric.operations.types import View
from loominal.fabric.protocol import encode, plain
from loominal.model.agent import JsonObject

ENVELOPE_BYTES = 1000  # kept free for what surrounds a list: names, cursors, counts
LEAST_BYTES = 4000  # room for entries that every answer has, so that every page shows something
SCRAP_BYTES = 1000  # room that is not worth a piece of a long text
METADATA_SHARE = 4  # metadata over a quarter of an answer follows the text

V = TypeVar("V", bound=View)


class Part(NamedTuple):
    """A piece of a text. `chars` counts the whole text's characters, `end` those up to the piece's end."""

    text: str
    end: int
    chars: int

    @property
    def truncated(self) -> bool:
        """Whether more follows."""
        return self.end < self.chars


def part(text: str, offset: int, room: int) -> Part:
    """Return the piece of `text` from the character `offset` on that takes at most `room` bytes as JSON.

    At least one character is in it while there are any, so that reading on always gets somewhere.
    """
    start = min(offset, len(text))
    low, high = min(start + 1, len(text)), min(start + max(room, 1), len(text))
    if len(encode(text[start:high])) - 2 > room:
        while low < high:  # the longest that fits lies in low..high
            middle = (low + high + 1) // 2
            low, high = (middle, high) if len(encode(text[start:middle])) - 2 <= room else (low, middle - 1)
    else:
        low = high
    return Part(text[start:low], low, len(text))


def room_for_entries(limit_bytes: int) -> int:
    """Return how many bytes of an answer of `limit_bytes` its entries may take together."""
    return max(limit_bytes - ENVELOPE_BYTES, LEAST_BYTES)


def entry_bytes(entry: View) -> int:
    """Return the bytes that `entry` takes in a list of an answer, with its comma."""
    return len(encode(plain(entry, entry=True))) + 1


def fitting(
    entries: Iterable[V],
    limit_bytes: int,
    *,
    cut: Callable[[V, int], V | None] = lambda _entry, _room: None,
    weigh: Callable[[V], int] = entry_bytes,
) -> Iterator[V]:
    """Yield the first of `entries` as far as they fit into an answer of `limit_bytes`.

    One that would not fit into an answer of its own goes through `cut`, which returns it shortened to so many bytes:
    half of what is left, so that a few long ones leave room for others. None from `cut` ends the list there.
    """
    whole = left = room_for_entries(limit_bytes)
    for entry in entries:
        size = weigh(entry)
        if size > left:
            if size <= whole or left < SCRAP_BYTES:
                return
            shortened = cut(entry, left // 2)
            if shortened is None or (size := weigh(shortened)) > left:
                return
            entry = shortened
        left -= size
        yield entry


def readable(text: str, metadata: JsonObject, limit_bytes: int) -> tuple[str, JsonObject]:
    """Return text and metadata as they are read: metadata too long for an answer follows the text, as JSON.

    So that everything a peer sent can be read in parts.
    """
    if not metadata:
        return text, metadata
    if len(encode(metadata)) <= room_for_entries(limit_bytes) // METADATA_SHARE:
        return text, metadata
    return f"{text}\n\nmetadata: {encode(metadata).decode()}", {}
