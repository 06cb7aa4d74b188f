"""Buckets: keys with a value and a revision. The hub keeps agents, handles, channels, targets and policies in one.

A bucket is a stream in the layout of NATS KV with history 1, so that the stock `nats kv` reads it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.broker.follower import Follower
from loominal.broker.jetstream import API_SECONDS
from loominal.broker.log import Log, Record, StreamSettings, StreamState
from loominal.model.errors import Conflict, InvalidArgument

PAGE = 1000  # records of one read
DELETED = {"KV-Operation": "DEL"}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A key with its value; `revision` is what the next write of the key has to name."""

    key: str
    value: bytes
    revision: int


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was deleted, at `revision`."""

    key: str
    revision: int


class Bucket:
    """One bucket by its name; it need not exist before `ensure`."""

    def __init__(self, broker: Broker, name: str) -> None:
        self.name = name
        self.log = Log(broker, subjects.bucket_stream(name))

    async def ensure(self, *, in_memory: bool = False, max_age_seconds: float = 0) -> StreamState:
        """Create the bucket if it is not there; return the state of its stream.

        A key is removed `max_age_seconds` after its last write (0: never). Raises: BrokerUnavailable.
        """
        return await self.log.ensure(
            StreamSettings(
                subjects=(subjects.bucket_filter(self.name),),
                max_per_subject=1,
                max_age_seconds=max_age_seconds,
                in_memory=in_memory,
                allow_msg_ttl=True,
                allow_rollup=True,
                deny_delete=True,
            )
        )

    async def get(self, key: str) -> Entry | None:
        """Return what `key` holds now, None if nothing. Raises: BrokerUnavailable."""
        record = await self.log.last(self._subject(key))
        return self._live(record) if record is not None else None

    async def write(self, key: str, value: bytes, *, revision: int) -> int:
        """Store `value` and return its revision; `revision` is that of the value it replaces, 0 for none.

        Raises: Conflict if the key is not at `revision`; BrokerUnavailable: it may or may not be stored, so read again.
        """
        subject = self._subject(key)
        try:
            return (await self.log.append(subject, value, expect=revision)).sequence
        except Conflict:
            marker = await self.log.last(subject) if revision == 0 else None
            if marker is None or not _is_deletion(marker):
                raise
        return (await self.log.append(subject, value, expect=marker.sequence)).sequence

    async def put(self, key: str, value: bytes, *, seconds: float = API_SECONDS) -> int:
        """Store `value`, whatever the key held, and return its revision. Raises: BrokerUnavailable."""
        return (await self.log.append(self._subject(key), value, seconds=seconds)).sequence

    async def delete(self, key: str, *, revision: int) -> int:
        """Delete `key`, which is at `revision`; return the deletion's revision. Raises: as `write`."""
        subject = self._subject(key)
        return (await self.log.append(subject, b"", expect=revision, headers=DELETED)).sequence

    async def entries(self, prefix: str = "") -> list[Entry]:
        """Return what the keys below `prefix.` hold (all keys without one), oldest write first.

        Raises: BrokerUnavailable.
        """
        subject = self._below(prefix)
        found: list[Entry] = []
        start = 1
        while records := await self.log.page(subject, start, PAGE):
            found += [entry for record in records if (entry := self._live(record)) is not None]
            start = records[-1].sequence + 1
            if len(records) < PAGE:
                break
        return found

    def follow(
        self,
        handler: Callable[[Entry | Deleted], None],
        *,
        prefix: str = "",
        on_reset: Callable[[], None] = lambda: None,
    ) -> Follower:
        """Return a follower (to be run) that hands over what each key holds, and then every change."""

        def take(record: Record) -> None:
            key = subjects.bucket_key(self.name, record.subject)
            handler(self._live(record) or Deleted(key=key, revision=record.sequence))

        return Follower(self.log, self._below(prefix), take, last_per_subject=True, on_reset=on_reset)

    def _subject(self, key: str) -> str:
        if key.endswith(("*", ">")):
            raise InvalidArgument(f"{key!r} is a filter, not a key")
        return subjects.bucket_subject(self.name, key)

    def _below(self, prefix: str) -> str:
        return subjects.bucket_subject(self.name, f"{prefix}.>" if prefix else ">")

    def _live(self, record: Record) -> Entry | None:
        if _is_deletion(record):
            return None
        key = subjects.bucket_key(self.name, record.subject)
        return Entry(key=key, value=record.data, revision=record.sequence)


def _is_deletion(record: Record) -> bool:
    # a marker of `delete`, of the stock tool, or of the server itself (a key that ran out of time)
    return "KV-Operation" in record.headers or "Nats-Marker-Reason" in record.headers
