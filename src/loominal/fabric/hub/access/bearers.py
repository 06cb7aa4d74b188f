"""The bearer tokens that the fabric's bucket keeps: who holds one, making them, taking them back.

Weft's HTTP interface asks at every request; `weft token` and REST make and revoke them.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec

from loominal.fabric.hub.access.fabric_book import FabricBook
from loominal.fabric.hub.access.fabric_records import Bearer
from loominal.model.errors import CorruptRecord, Duplicate, InvalidArgument, NotFound
from loominal.model.names import OWN_TOKEN, shown, token_name

KEYS = "bearer."  # what is before the name


class Bearers:
    """Bearer tokens by name and by the hash of their text; memory is the book's."""

    def __init__(self, book: FabricBook) -> None:
        self._book = book
        self._by_hash: dict[str, Bearer] | None = None  # None: to be made at the next question
        self._changed = asyncio.Event()  # replaced at every change
        book.on_change(self._heed)

    def all(self) -> list[Bearer]:
        """Return every bearer token, also those that are not good any more, by name."""
        return self._book.all(Bearer)

    def find(self, sha256: str) -> Bearer | None:
        """Return the bearer token whose text has this hash (hex), if it is good now."""
        if self._by_hash is None:
            self._by_hash = {bearer.sha256: bearer for bearer in self.all()}
        found = self._by_hash.get(sha256)
        return found if found is not None and is_good(found, datetime.now(UTC)) else None

    async def changed(self) -> None:
        """Return at the next change of any of them."""
        await self._changed.wait()

    async def create(self, bearer: Bearer) -> None:
        """Store a bearer token; of several that take one name at once exactly one is stored.

        A name whose token is not good any more may be taken again. Raises: Duplicate if it is taken.
        """
        key = _key(bearer.name)
        if bearer.name == OWN_TOKEN:
            raise InvalidArgument(f"{OWN_TOKEN!r} is the fabric's own bearer token", "take another name")
        await self._book.read(key)
        await self._book.create(key, bearer)
        stored = await self._book.change(key, Bearer, lambda it: it if is_good(it, bearer.created_at) else bearer)
        if stored is None:
            raise CorruptRecord(f"the record of bearer token {bearer.name} cannot be read", "take another name")
        if stored.sha256 != bearer.sha256:
            raise Duplicate(f"there is a bearer token {bearer.name!r} already", "revoke it first, or take another name")

    async def revoke(self, name: str) -> Bearer:
        """Return the bearer token `name` after it was revoked; it ends at once on every weft. Raises: NotFound."""
        key, now = _key(name), datetime.now(UTC)
        await self._book.read(key)
        revoked = await self._book.change(
            key, Bearer, lambda it: it if it.revoked_at else msgspec.structs.replace(it, revoked_at=now)
        )
        if revoked is None:
            raise NotFound(f"there is no bearer token {shown(name)}", "`weft token list` shows them")
        return revoked

    def _heed(self, key: str) -> None:
        if not key or key.startswith(KEYS):
            self._by_hash = None
            self._changed.set()
            self._changed = asyncio.Event()


def is_good(bearer: Bearer, now: datetime) -> bool:
    """Return whether a bearer token may be used at `now`."""
    return bearer.revoked_at is None and now < bearer.expires_at


def _key(name: str) -> str:
    return KEYS + token_name(name)
