"""Large sizes, written into the logs with a hub's rights as the hub itself would write them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID

from bench.place import Place
from loominal.broker import subjects
from loominal.broker.bucket import Bucket
from loominal.broker.log import Log
from loominal.fabric.hub.talk.trail import headers
from loominal.model import names
from loominal.model.agent import AgentRecord, HandleRecord
from loominal.model.lifecycle import submitted
from loominal.model.message import Message, Sender
from loominal.model.record import encode
from loominal.model.work import Submission

AT_ONCE = 64  # writes in flight
CAPABILITIES = 100  # different ones among the seeded agents, each of whom has three
TEXT = "Row by row, the pattern grows. " * 6  # 186 characters


async def fill_channel(place: Place, name: str, count: int, at: datetime) -> None:
    """Put `count` messages into a channel."""
    log = Log(place.raw, subjects.channels_stream(place.project))
    subject = subjects.channel(place.project, name)

    async def write(number: int) -> None:
        sender = Sender(guid=place.boss.guid, handle="boss")
        message = Message(sender=sender, text=f"{number}: {TEXT}")
        await log.append(subject, encode(message), headers=headers(message, at), dedupe=f"seed:{name}:{number}")

    await _all(0, count, write)


async def fill_registry(place: Place, start: int, end: int) -> None:
    """Register the agents `start` to `end`, offline, each with three of CAPABILITIES capabilities."""
    bucket = Bucket(place.raw, subjects.registry_bucket(place.project))
    me = await place.boss.get_agent_info("boss")

    async def write(number: int) -> None:
        guid, handle = guid_of("agent", number), f"seeded-{number}"
        record = AgentRecord(
            id=guid,
            handle=handle,
            registered=True,
            agent_type="codex",
            capabilities=tuple(capability_of(number + step) for step in range(3)),
            boundaries=("personal", "open-source"),
            user=me.hostname,
            hostname="loom-1",
        )
        await bucket.write(f"handle.{handle}", encode(HandleRecord(agent=guid, at=datetime.now(UTC))), revision=0)
        await bucket.write(f"agent.{guid}", encode(record), revision=0)

    await _all(start, end, write)


async def fill_work(work: Log, project: str, start: int, end: int, characters: int = len(TEXT)) -> None:
    """Offer the items `start` to `end`, so many characters each; nobody claims them."""
    submitter = guid_of("agent", 0)
    text = (TEXT * (characters // len(TEXT) + 1))[:characters]

    async def write(number: int) -> None:
        now = datetime.now(UTC)
        submission = Submission(
            id=names.work_id(project, submitter, f"seeded-{number}"),
            op=f"seed-{number}",
            digest="",
            task_id=f"seeded-{number}",
            submitter=submitter,
            description=f"{number}: {text}",
            capabilities=(capability_of(number),),
            boundary="personal",
            submitted_at=now,
        )
        await work.append(subjects.submission(project, submission.id), encode(submission))
        await work.append(subjects.item(project, submission.id), encode(submitted(submission, {}, now)))

    await _all(start, end, write)


def capability_of(number: int) -> str:
    """Return one of the seeded capabilities."""
    return f"skill-{number % CAPABILITIES}"


def guid_of(kind: str, number: int) -> str:
    """Return an id that is always the same."""
    return str(UUID(bytes=hashlib.sha256(f"{kind} {number}".encode()).digest()[:16], version=4))


async def _all(start: int, end: int, write: Callable[[int], Awaitable[None]]) -> None:
    numbers = iter(range(start, end))

    async def some() -> None:
        for number in numbers:
            await write(number)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
