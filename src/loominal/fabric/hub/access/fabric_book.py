"""The fabric's own bucket in memory, by kind of record, and its writes by compare-and-set.

Those who decide by it keep it: `FabricRegistry` (who may do what) and `Bearers` (who holds a bearer token).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

import msgspec

from loominal.broker.bucket import Bucket, Deleted, Entry
from loominal.fabric.hub.access.fabric_records import (
    KINDS,
    Bearer,
    DueRecord,
    Enrolment,
    FabricRecord,
    Invitation,
    Machine,
    ProjectRecord,
    name_of,
)
from loominal.model.errors import BrokerUnavailable, Conflict, CorruptRecord
from loominal.model.grant import Grant
from loominal.model.names import shown
from loominal.model.record import decode, encode

log = logging.getLogger(__name__)

TRIES = 5  # compare-and-set writes to one key before somebody else's pace is too much

Kind = TypeVar("Kind", Machine, Invitation, Enrolment, ProjectRecord, DueRecord, Grant, Bearer)


class FabricBook:
    """What the bucket holds. What this process writes is in memory when the write returns; the rest is told by `apply`.

    Reads never wait, writes raise BrokerUnavailable.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.corrupt: dict[str, str] = {}  # key of a record that cannot be read -> why
        self._records: defaultdict[type[FabricRecord], dict[str, FabricRecord]] = defaultdict(dict)  # by kind and key
        self._extras: dict[str, dict[str, msgspec.Raw]] = {}  # fields of later versions, written back
        self._revisions: dict[str, int] = {}
        self._told: list[Callable[[str], None]] = []

    def on_change(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called with each key that changed; "" when all was forgotten."""
        self._told.append(tell)

    def clear(self) -> None:
        """Forget everything: the bucket was replaced."""
        for memory in (self._records, self._extras, self._revisions, self.corrupt):
            memory.clear()
        self._tell("")

    def apply(self, change: Entry | Deleted) -> None:
        """Take a change of the bucket into memory; an older one than memory has changes nothing."""
        if change.revision > self._revisions.get(change.key, 0):
            self._revisions[change.key] = change.revision
            self._take(change)
            self._tell(change.key)

    def get(self, kind: type[Kind], key: str) -> Kind | None:
        """Return the record at `key`; None if there is none that can be read."""
        record = self._records[kind].get(key)
        return record if isinstance(record, kind) else None

    def all(self, kind: type[Kind]) -> list[Kind]:
        """Return every record of a kind that can be read, by key."""
        return [record for _, record in sorted(self._records[kind].items()) if isinstance(record, kind)]

    async def create(self, key: str, record: FabricRecord) -> None:
        """Write a record unless its key has one that can be read; memory then has what the bucket has."""
        try:
            await self._write(key, encode(record), self._revisions[key] if key in self.corrupt else 0)
        except Conflict:
            await self.read(key)

    async def put(self, key: str, record: FabricRecord) -> None:
        """Write a record, whatever its key has. Raises: BrokerUnavailable."""
        value = encode(record)
        self.apply(Entry(key=key, value=value, revision=await self.bucket.put(key, value)))

    async def change(self, key: str, kind: type[Kind], change: Callable[[Kind], Kind]) -> Kind | None:
        """Return the record at `key` after `change`, which is asked again when somebody wrote first; None without one.

        Raises: what `change` raises, and then nothing is written.
        """
        for _ in range(TRIES):
            stored = self.get(kind, key)
            if stored is None or (changed := change(stored)) == stored:
                return stored
            try:
                await self._write(key, encode(changed, self._extras.get(key)), self._revisions[key])
            except Conflict:
                await self.read(key)
                continue
            return changed
        raise BrokerUnavailable(f"{key} changes faster than it can be written")

    async def remove(self, key: str) -> None:
        """Delete what memory has at `key`. Raises: Conflict if it has changed, BrokerUnavailable."""
        self.apply(Deleted(key=key, revision=await self.bucket.delete(key, revision=self._revisions[key])))

    async def read(self, key: str) -> None:
        """Take into memory what the bucket has at `key` now. Raises: BrokerUnavailable."""
        entry = await self.bucket.get(key)
        if entry is not None:
            self.apply(entry)

    async def _write(self, key: str, value: bytes, revision: int) -> None:
        new = await self.bucket.write(key, value, revision=revision)
        self.apply(Entry(key=key, value=value, revision=new))

    def _take(self, change: Entry | Deleted) -> None:
        key = change.key
        self.corrupt.pop(key, None)
        self._extras.pop(key, None)
        token, _, name = key.partition(".")
        kind = KINDS.get(token)
        if kind is None:
            return  # a later version's
        self._records[kind].pop(key, None)
        if isinstance(change, Deleted):
            return
        try:
            stored = decode(kind, change.value)
            if name_of(stored.value) != name:
                raise CorruptRecord(f"it is the record of {shown(name_of(stored.value))}")
        except CorruptRecord as error:
            self.corrupt[key] = error.message
            log.error("%s in the fabric's registry cannot be read and is passed over: %s", key, error.message)
            return
        self._records[kind][key], self._extras[key] = stored.value, stored.extra

    def _tell(self, key: str) -> None:
        for tell in self._told:
            tell(key)
