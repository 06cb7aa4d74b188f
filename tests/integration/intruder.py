"""Agents whose credentials are real and whose program is not ours: what the tests of attacks and bad input start from.

An intruder speaks NATS by itself, so that nothing of our client stands between it and the broker or the hub.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from loominal.broker import subjects
from loominal.broker.bucket import Bucket
from loominal.broker.connection import Broker
from loominal.broker.credentials import Credential
from loominal.broker.nkeys import KeyPair, Kind
from loominal.fabric.enrolment import Enrol
from loominal.fabric.hub.access.fabric_records import Machine
from loominal.fabric.protocol import PROTO, encode
from loominal.fabric.runtime_file import machine_credential_path
from loominal.model import record as records
from loominal.model.grant import Grant, Role
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.integration.visitor import Visitor, visit
from tests.patience import SOON

Json = Any  # Any: requests and answers are JSON here, whatever is in them


class Intruder(Visitor):
    """An agent of a project, by its own credential."""

    def __init__(self, project: str, credential: Credential) -> None:
        super().__init__()
        self.project = project
        self.credential = credential
        self.guid = credential.name
        self.incarnation = uuid4().hex
        self._numbers = itertools.count()

    async def ask(self, operation: str, arguments: Json = None, *, seconds: float = SOON, **request: Json) -> Json:
        """Return the hub's answer, `{"ok": …}` or `{"error": …}`; `arguments` may be raw JSON."""
        args = arguments if isinstance(arguments, bytes) else json.dumps(arguments or {}).encode()
        fields = {"proto": PROTO, "op": uuid4().hex, "incarnation": self.incarnation, **request}
        envelope = json.dumps(fields).encode()
        return await self.send(operation, envelope[:-1] + b', "args": ' + args + b"}", seconds=seconds)

    async def send(self, operation: str, data: bytes, *, seconds: float = SOON) -> Json:
        """Return the hub's answer to any bytes."""
        answer = await self.client.request(self.subject(operation), data, timeout=seconds)
        return json.loads(answer.data)

    async def code(self, operation: str, arguments: Json = None, **request: Json) -> str:
        """Return the code of the error that is answered, "" for none."""
        answer = await self.ask(operation, arguments, **request)
        return str(answer.get("error", {}).get("code", ""))

    async def register(self, *capabilities: str, handle: str | None = None) -> None:
        """Say hello and register."""
        assert "ok" in await self.ask("hello")
        wanted = {"agentType": "python", "capabilities": capabilities, "maxConcurrent": 5}
        answer = await self.ask("register_agent", wanted | ({"handle": handle} if handle else {}))
        assert "ok" in answer, answer

    def subject(self, operation: str) -> str:
        return subjects.request(self.project, operation, self.guid)

    @property
    def inbox(self) -> str:
        return f"_IB.{self.guid}.x{next(self._numbers)}"


async def enrol(fabric: Fabric, machine: Credential, data: bytes) -> Json:
    """Return what the fabric answers to a machine's enrolment."""
    async with visit(fabric.url, machine) as visitor:
        answer = await visitor.client.request(subjects.enrol(machine.name), data, timeout=SOON)
        return json.loads(answer.data)


def enrolment(project: str, key: KeyPair, agent: str = "", role: Role = Role.AGENT) -> bytes:
    return encode(Enrol(proto=PROTO, agent=agent or str(uuid4()), key=key.public, project=project, role=role))


def own_machine(fabric: Fabric) -> Credential:
    return Credential.read(machine_credential_path(fabric.home))


@asynccontextmanager
async def intrude(
    fabric: Fabric, project: str, *, machine: Credential | None = None, role: Role = Role.AGENT, agent: str = ""
) -> AsyncIterator[Intruder]:
    """Yield an intruder in `project`, enrolled by `machine`: by default that of the fabric's own user."""
    key = KeyPair.generate(Kind.USER)
    answer = await enrol(fabric, machine or own_machine(fabric), enrolment(project, key, agent, role))
    assert "ok" in answer, answer
    intruder = Intruder(project, Credential(jwt=answer["ok"]["jwt"], key=key))
    await intruder.connect(fabric.url, intruder.credential)
    try:
        yield intruder
    finally:
        await intruder.client.close()


@asynccontextmanager
async def as_hub(fabric: Fabric, project: str) -> AsyncIterator[Broker]:
    """Yield a connection with the rights of a hub."""
    credential = fabric.keyring.hub_credential(project, "test-hub")
    inbox = subjects.reply_prefix(f"test-{uuid4().hex[:8]}")
    async with Broker.connect(
        fabric.url, name="test hub", inbox=inbox, credential=lambda: credential, wait_seconds=SOON
    ) as broker:
        yield broker


async def stranger(fabric: Fabric, user: str, *projects: str, role: Role = Role.AGENT) -> Credential:
    """Return the credential of another user's machine, which is granted these projects."""
    name = f"machine-{uuid4().hex[:8]}"
    async with as_hub(fabric, subjects.FABRIC) as broker:
        bucket = Bucket(broker, subjects.registry_bucket(subjects.FABRIC))
        machine = Machine(name=name, user=user, role=role, created_at=datetime.now(UTC))
        await bucket.write(f"machine.{name}", records.encode(machine), revision=0)
        if projects:
            grant = Grant(id=f"g-{name}", user=user, projects=projects, role=role, every_boundary=True)
            await bucket.write(f"grant.{grant.id}", records.encode(grant), revision=0)
    credential = fabric.keyring.machine_credential(name)
    await eventually(lambda: _is_known(fabric, credential, *projects))  # weft follows its registry
    return credential


async def _is_known(fabric: Fabric, machine: Credential, project: str = "nobody-s-project", *_: str) -> bool:
    answer = await enrol(fabric, machine, enrolment(project, KeyPair.generate(Kind.USER)))
    if project == "nobody-s-project":
        return "no grant" in answer["error"]["message"]
    return "ok" in answer


async def stored(fabric: Fabric, project: str) -> dict[str, int]:
    """Return the last sequence of every stream of the project and of the fabric's own account, and the registry's keys.

    All but where wefts say twice a second that they live, and where it is noted that an agent came or went: on a
    starved machine one may seem to. Of the directory of public agents, which all projects share, the project's keys.
    """
    found = {}
    for account in (project, subjects.FABRIC):
        async with as_hub(fabric, account) as broker:
            answer = await broker.request(subjects.api("STREAM", "LIST"), b"", seconds=SOON)
            for stream in json.loads(answer.data)["streams"]:
                found[stream["config"]["name"]] = stream["state"]["last_seq"]
    registry = subjects.registry_bucket(project)
    directory = subjects.registry_bucket(subjects.DIRECTORY)
    for presence in (subjects.WEFTS, registry, directory):
        found.pop(subjects.bucket_stream(presence), None)
    found.pop(subjects.events_stream(project), None)
    async with as_hub(fabric, project) as broker:
        found |= {entry.key: 1 for entry in await Bucket(broker, registry).entries()}
    async with as_hub(fabric, subjects.FABRIC) as broker:
        public = await Bucket(broker, directory).entries()
    return found | {f"{directory} {entry.key}": 1 for entry in public if project in entry.key}


def log_since(fabric: Fabric, offset: int) -> str:
    """Return what weft has logged behind `offset`."""
    return fabric.weft_log.read_bytes()[offset:].decode()
