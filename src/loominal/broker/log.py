"""Logs: append with an expectation, read by sequence. One log is one JetStream stream; the hub alone writes them."""

from __future__ import annotations

import asyncio
import base64
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from loominal.broker import subjects
from loominal.broker.connection import Broker, Received
from loominal.broker.jetstream import (
    API_SECONDS,
    NANOSECONDS,
    ask,
    ask_api,
    call,
    instant,
    parse_headers,
    refusal,
    understood,
)
from loominal.model.errors import BrokerUnavailable, HubUnavailable, Internal, NotFound

IN_FLIGHT = 64  # direct gets of one `gather` at a time
MISSING, END_OF_BATCH = 404, 204  # statuses of direct get
COPIES = 3  # of every stream in a cluster: one server may be lost
NO_PEERS = 10005  # the refusal of a stream with more copies than there are servers with room
READ_HEADERS = frozenset(  # of the answer, not of the record
    {"Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp", "Nats-Num-Pending", "Nats-Last-Sequence"}
)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One stored message; `stored_at` is the broker's time (aware UTC)."""

    subject: str
    sequence: int
    data: bytes
    headers: dict[str, str]
    stored_at: datetime


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One append of a batch; `expect` is the sequence that the subject's last record must have, 0 for none."""

    subject: str
    data: bytes
    expect: int | None = None


class Appended(msgspec.Struct, frozen=True, kw_only=True):
    """Where an append is stored; a `duplicate` was there before, by its `dedupe`."""

    sequence: int
    duplicate: bool = False


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a log keeps its records. A limit of -1 (or 0 seconds) is none; a full log refuses unless `discard` is old.

    `republish` is source and destination of a bodyless copy of every record.
    """

    subjects: tuple[str, ...]
    max_per_subject: int = -1
    max_age_seconds: float = 0
    max_bytes: int = -1  # anything else is reserved on the server at once
    discard: Literal["new", "old"] = "new"
    allow_direct: bool = True
    allow_atomic: bool = False
    allow_msg_ttl: bool = False
    allow_rollup: bool = False
    deny_delete: bool = False
    in_memory: bool = False  # gone when the broker ends
    duplicate_window_seconds: float = 120
    republish: tuple[str, str] | None = None

    def config(self, stream: str) -> dict[str, object]:
        """Return the settings as JetStream's API takes them."""
        config: dict[str, object] = {
            "name": stream,
            "subjects": self.subjects,
            "storage": "memory" if self.in_memory else "file",
            "retention": "limits",
            "max_msgs_per_subject": self.max_per_subject,
            "max_age": int(self.max_age_seconds * NANOSECONDS),
            "max_bytes": self.max_bytes,
            "discard": self.discard,
            "allow_direct": self.allow_direct,
            "allow_atomic": self.allow_atomic,
            "allow_msg_ttl": self.allow_msg_ttl,
            "allow_rollup_hdrs": self.allow_rollup,
            "deny_delete": self.deny_delete,
            "duplicate_window": int(min(self.duplicate_window_seconds, self.max_age_seconds or math.inf) * NANOSECONDS),
        }
        if self.republish:
            source, destination = self.republish
            config["republish"] = {"src": source, "dest": destination, "headers_only": True}
        return config


class StreamState(msgspec.Struct, frozen=True, kw_only=True):
    """What a log holds. `first` and `last` are sequences, `last` is 0 before the first append ever."""

    created: str  # the broker's word, to be compared only
    first: int
    last: int
    messages: int
    bytes: int
    copies: int  # how many servers keep it
    asked_at: datetime | None = None  # the broker's time as it said so


class Log:
    """One stream by its name; it need not exist before `ensure`."""

    def __init__(self, broker: Broker, stream: str) -> None:
        self.broker = broker
        self.stream = stream
        self.unanswered = 0  # appends since the last one that the broker answered
        self._ensured: tuple[StreamSettings, int] | None = None  # with how many copies

    async def ensure(self, settings: StreamSettings) -> StreamState:
        """Create the stream, or give these settings to the one that is there; return its state.

        A cluster keeps it three times; while it has not that many servers up: as often as before, a new stream once.
        Raises: BrokerUnavailable, QuotaExceeded, Internal if the broker does not allow the change.
        """
        before = await self.state()
        verb, copies = ("UPDATE", before.copies) if before else ("CREATE", 1)
        wanted = max(COPIES if self.broker.clustered else 1, copies)
        config = settings.config(self.stream)
        answer = await self._put(verb, config, wanted)
        if wanted > copies and refusal(answer.data) == NO_PEERS:
            answer = await self._put(verb, config, copies)
        made = understood(answer.data, _Info, f"STREAM {verb} {self.stream}").as_state()
        self._ensured = settings, made.copies
        return made

    async def spread(self) -> None:
        """Let a cluster that has grown, or has all its servers again, keep the stream three times. Raises: as `ensure`.

        Without a former `ensure` nothing happens.
        """
        if self._ensured is not None and self.broker.clustered and self._ensured[1] < COPIES:
            await self.ensure(self._ensured[0])

    async def state(self) -> StreamState | None:
        """Return what the log holds now, None if there is no such stream. Raises: BrokerUnavailable."""
        try:
            told = await call(self.broker, _Info, "STREAM", "INFO", self.stream)
        except NotFound:
            return None
        if told.cluster is not None and not told.cluster.leader:  # then any server answers, however far it lags
            raise BrokerUnavailable(f"the servers that keep {self.stream} have no leader")
        return told.as_state()

    async def append(
        self,
        subject: str,
        data: bytes,
        *,
        expect: int | None = None,
        dedupe: str | None = None,
        ttl_seconds: int | None = None,
        headers: dict[str, str] | None = None,
        seconds: float = API_SECONDS,
    ) -> Appended:
        """Store one record and return where.

        `expect` is the sequence that the subject's last record must have (0: there is none), checked by the broker in
        the same step. The same `dedupe` within the stream's window is stored once.
        Raises: Conflict, QuotaExceeded, TooLarge; BrokerUnavailable: it may or may not be stored, so read again.
        """
        sent = {"Nats-Expected-Stream": self.stream, **(headers or {})}
        if expect is not None:
            sent["Nats-Expected-Last-Subject-Sequence"] = str(expect)
        if dedupe is not None:
            sent["Nats-Msg-Id"] = dedupe
        if ttl_seconds is not None:
            sent["Nats-TTL"] = f"{ttl_seconds}s"
        try:
            answer = await ask(self.broker, subject, data, headers=sent, seconds=seconds)
        except BrokerUnavailable:
            self.unanswered += self.broker.up
            raise
        self.unanswered = 0
        stored = understood(answer.data, _Stored, f"append to {subject}")
        return Appended(sequence=stored.seq, duplicate=stored.duplicate)

    async def append_all(self, entries: Sequence[Entry], *, seconds: float = API_SECONDS) -> list[int]:
        """Store all the records or none, one after the other; return their sequences. Raises: as `append`.

        The stream must allow atomic batches. Source: ADR-50.
        """
        batch = secrets.token_hex(16)
        first, last = 1, len(entries)
        for number, entry in enumerate(entries, start=1):
            sent = {
                "Nats-Expected-Stream": self.stream,
                "Nats-Batch-Id": batch,
                "Nats-Batch-Sequence": str(number),
            }
            if entry.expect is not None:
                sent["Nats-Expected-Last-Subject-Sequence"] = str(entry.expect)
            if number == last:
                sent["Nats-Batch-Commit"] = "1"
            if number not in (first, last):
                await self.broker.publish(entry.subject, entry.data, headers=sent)
                continue
            answer = await ask(self.broker, entry.subject, entry.data, headers=sent, seconds=seconds)
            if number == last or answer.data:  # an empty answer to the first: go on
                stored = understood(answer.data, _Stored, f"batch to {self.stream}")
                return list(range(stored.seq - last + 1, stored.seq + 1))
        return []

    async def last(self, subject: str) -> Record | None:
        """Return the newest record of `subject` as the stream's leader sees it. Raises: BrokerUnavailable."""
        return await self._from_leader({"last_by_subj": subject})

    async def unchanging(self, subject: str) -> Record | None:
        """Return the one record of `subject`, which is never replaced, by any server. Raises: BrokerUnavailable."""
        for answer in await self._direct({"last_by_subj": subject}, is_last=lambda _: True):
            if answer.status != MISSING:
                return _record(answer)
        return await self.last(subject)  # a copy may lag

    async def at(self, sequence: int) -> Record | None:
        """Return the record at `sequence` as the stream's leader sees it. Raises: BrokerUnavailable."""
        return await self._from_leader({"seq": sequence})

    async def get(self, sequence: int) -> Record | None:
        """Return the record at `sequence`, by any server that holds a copy. Raises: BrokerUnavailable."""
        for answer in await self._direct({"seq": sequence}, is_last=lambda _: True):
            return None if answer.status == MISSING else _record(answer)
        return None

    async def gather(self, sequences: Sequence[int]) -> list[Record | None]:
        """Return the records at `sequences`, in that order, None for those that are gone. Raises: BrokerUnavailable."""
        found: list[Record | None] = []
        for start in range(0, len(sequences), IN_FLIGHT):
            found += await asyncio.gather(*map(self.get, sequences[start : start + IN_FLIGHT]))
        return found

    async def page(
        self, subject_filter: str, first_sequence: int, limit: int, *, up_to_bytes: int | None = None
    ) -> list[Record]:
        """Return up to `limit` records of the subjects in `subject_filter`, from `first_sequence` on, oldest first.

        Fewer than `limit` are all there are, unless `up_to_bytes` of data ended the page early; it holds at least one.
        Raises: BrokerUnavailable. Source: batch direct get, ADR-31.
        """
        records: list[Record] = []
        while len(records) < limit:
            start = records[-1].sequence + 1 if records else max(first_sequence, 1)
            found, pending = await self.part(subject_filter, start, limit - len(records), up_to_bytes)
            records += found
            if not found or not pending or up_to_bytes is not None:
                break
        return records

    async def part(self, which: str, start: int, limit: int, up_to_bytes: int | None) -> tuple[list[Record], int]:
        """Return what one question brings of the subjects `which`, and how many are behind it. Raises: as `page`."""
        return await self._batch({"seq": start, "batch": limit, "next_by_subj": which, "max_bytes": up_to_bytes or 0})

    async def before(self, moment: datetime) -> int:
        """Return the sequence behind which everything was stored at `moment` or later. Raises: BrokerUnavailable."""
        state = await self.state()
        found, _ = await self._batch({"start_time": moment.isoformat(), "batch": 1, "next_by_subj": ">"})
        return found[0].sequence - 1 if found else state.last if state else 0

    async def count(self, subject_filter: str) -> int:
        """Return how many records the subjects in `subject_filter` have, by any server. Raises: BrokerUnavailable."""
        found, pending = await self._batch({"seq": 1, "batch": 1, "next_by_subj": subject_filter})
        return len(found) + pending

    async def purge(self, subject: str, *, below: int | None = None) -> int:
        """Remove the records of `subject`, or those before the sequence `below`; return how many.

        Raises: BrokerUnavailable, NotFound if there is no such stream.
        """
        body: dict[str, object] = {"filter": subject}
        if below is not None:
            body["seq"] = below
        return (await call(self.broker, _Purged, "STREAM", "PURGE", self.stream, body=body)).purged

    async def _put(self, verb: str, config: dict[str, object], copies: int) -> Received:
        return await ask_api(self.broker, "STREAM", verb, self.stream, body={**config, "num_replicas": copies})

    async def _from_leader(self, which: dict[str, object]) -> Record | None:
        try:
            found = await call(self.broker, _Found, "STREAM", "MSG", "GET", self.stream, body=which)
        except NotFound:
            return None
        return found.message.as_record()

    async def _batch(self, question: Mapping[str, object]) -> tuple[list[Record], int]:
        """Return the records of one batch direct get and how many more there are behind them."""
        answers = await self._direct(question, is_last=lambda answer: answer.status != 0)
        if not answers:
            return [], 0
        *found, end = answers
        if end.status not in (MISSING, END_OF_BATCH):
            raise Internal(f"direct get from {self.stream}: {end.status} {end.headers.get('Description', '')}")
        return [_record(answer) for answer in found], int(end.headers.get("Nats-Num-Pending", 0))

    async def _direct(self, question: Mapping[str, object], *, is_last: Callable[[Received], bool]) -> list[Received]:
        """Return the answers to a direct get; none if there is no such stream."""
        subject = subjects.api("DIRECT", "GET", self.stream)
        data = msgspec.json.encode(question)
        try:
            return await self.broker.request_all(subject, data, seconds=API_SECONDS, is_last=is_last)
        except HubUnavailable as error:
            if await self.state() is None:
                return []
            raise BrokerUnavailable(f"{self.stream} does not answer direct gets") from error


class _Held(msgspec.Struct, frozen=True):
    first_seq: int = 0
    last_seq: int = 0
    messages: int = 0
    bytes: int = 0


class _Config(msgspec.Struct, frozen=True):
    num_replicas: int = 1


class _Raft(msgspec.Struct, frozen=True):
    leader: str = ""


class _Info(msgspec.Struct, frozen=True):
    created: str
    state: _Held
    config: _Config
    ts: str = ""
    cluster: _Raft | None = None  # None: it is no cluster

    def as_state(self) -> StreamState:
        held = self.state
        return StreamState(
            created=self.created,
            first=held.first_seq,
            last=held.last_seq,
            messages=held.messages,
            bytes=held.bytes,
            copies=self.config.num_replicas,
            asked_at=instant(self.ts) if self.ts else None,
        )


class _Stored(msgspec.Struct, frozen=True):
    seq: int
    duplicate: bool = False


class _Purged(msgspec.Struct, frozen=True):
    purged: int = 0


class _Message(msgspec.Struct, frozen=True):
    subject: str
    seq: int
    time: str
    data: str = ""
    hdrs: str = ""

    def as_record(self) -> Record:
        return Record(
            subject=self.subject,
            sequence=self.seq,
            data=base64.b64decode(self.data),
            headers=parse_headers(base64.b64decode(self.hdrs)),
            stored_at=instant(self.time),
        )


class _Found(msgspec.Struct, frozen=True):
    message: _Message


def _record(reply: Received) -> Record:
    try:
        return Record(
            subject=reply.headers["Nats-Subject"],
            sequence=int(reply.headers["Nats-Sequence"]),
            data=reply.data,
            headers={name: value for name, value in reply.headers.items() if name not in READ_HEADERS},
            stored_at=instant(reply.headers["Nats-Time-Stamp"]),
        )
    except (KeyError, ValueError) as error:
        raise BrokerUnavailable(f"a direct get was answered with something else: {reply.headers}") from error
