"""The fabric that is measured: real processes with the shipped configuration, one project, and a raw way into it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.broker.keyring import Keyring
from loominal.broker.log import Log, StreamSettings
from loominal.fabric.client.agent import Agent
from tests.integration.fabric import Fabric

RAW_STREAM = "RAW"
RAW_SUBJECT = "raw"
ECHO_SUBJECT = "echo"  # every worker answers there, with as many bytes as it is asked for


class Place:
    """One project of `fabric`. `boss` is an agent in this process, `raw` a connection with full rights."""

    def __init__(self, fabric: Fabric, project: str, boss: Agent, raw: Broker) -> None:
        self.fabric = fabric
        self.project = project
        self.boss = boss
        self.raw = raw
        self.raw_log = Log(raw, RAW_STREAM)

    async def publish(self, size: int) -> None:
        """Store `size` bytes in a stream and wait for the ack: the raw operation under everything that is kept."""
        await self.raw_log.append(f"{RAW_SUBJECT}.{self.boss.guid}", b"x" * size)

    async def record_bytes(self, log: Log, subject: str) -> int:
        """Return the size of the newest record of `subject`."""
        record = await log.last(subject)
        assert record is not None, subject
        return len(record.data)


@contextlib.asynccontextmanager
async def new_place(fabric: Fabric, *, relaxed_seconds: float = 60.0) -> AsyncIterator[Place]:
    """Yield a new project of a running fabric; requests may take `relaxed_seconds`."""
    project = f"bench-{uuid4().hex[:8]}"
    async with (
        fabric.connect("boss", project=project, capabilities=["lead"], timeout_seconds=relaxed_seconds) as boss,
        raw_connection(fabric.home, fabric.url, boss.project.id) as raw,
    ):
        await Log(raw, RAW_STREAM).ensure(StreamSettings(subjects=(f"{RAW_SUBJECT}.>",)))
        yield Place(fabric, boss.project.id, boss, raw)


@contextlib.asynccontextmanager
async def raw_connection(home: Path, url: str, project: str) -> AsyncIterator[Broker]:
    """Yield a connection to a project's account with a hub's rights."""
    credential = Keyring.open(home / "keys").hub_credential(project, "bench")
    name = f"bench-{uuid4().hex[:8]}"
    async with Broker.connect(
        url, name=name, inbox=subjects.reply_prefix(name), credential=lambda: credential
    ) as broker:
        yield broker
