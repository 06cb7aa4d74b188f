"""The way in for programs: `async with loominal.connect(…) as agent:`. The programs use `open_agent`."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.fabric.client.agent import Agent
from loominal.fabric.client.attached import attach
from loominal.fabric.client.background import background
from loominal.fabric.client.enrolling import CONNECT_SECONDS, Enrolling
from loominal.fabric.client.entrance import Entrance, find_entrance
from loominal.fabric.client.session import Session
from loominal.fabric.client.settings import CALL_SECONDS, ENROLMENT, ClientSettings
from loominal.fabric.enrolment import Enrol
from loominal.fabric.operations.identity import Hello
from loominal.fabric.protocol import PROTO
from loominal.fabric.slots import Slot, take_slot
from loominal.model.agent import JsonObject
from loominal.model.errors import Forbidden
from loominal.model.grant import Role, Visibility


@asynccontextmanager
async def connect(
    handle: str | None = None,
    agent_type: str | None = None,
    capabilities: Sequence[str] | None = None,
    boundaries: Sequence[str] | None = None,
    project: str | None = None,
    *,
    visibility: Visibility | str = Visibility.PROJECT_ONLY,
    max_concurrent: int = 1,
    metadata: JsonObject | None = None,
    home: Path | str | None = None,
    url: str | None = None,
    agent_id: str | None = None,
    enrolment: str | None = None,
    client: str = "python",
    person: bool = False,
    operator: bool = False,
    directory: Path | str | None = None,
    timeout_seconds: float = CALL_SECONDS,
) -> AsyncIterator[Agent]:
    """Connect to the fabric as one agent until the block ends.

    With `agent_type`, `capabilities` or `boundaries` it is registered, else it only takes `handle`, if one is given.
    What is left out is as the environment says (`ClientSettings`), else the local fabric, this directory's project, a
    free agent id. Where LOOMINAL_ATTACH names an agent's process, and no argument another agent, this is that agent:
    it reads, writes, reports and ends its work, but claims nothing (`Attached`). LOOMINAL_ENROLMENT is taken out of the
    environment, so that no child sees it.
    Raises: BrokerUnavailable if no fabric is there, HubUnavailable, HandleTaken, Forbidden, Busy (`agent_id` in use);
    NotFound if the enrolment is over.
    """
    settings = ClientSettings.from_env(
        os.environ, handle=handle, project=project, home=home, url=url, agent_id=agent_id, enrolment=enrolment,
        client=client, person=person, operator=operator, directory=directory, timeout_seconds=timeout_seconds,
    )  # fmt: skip
    if settings.enrolment is not None:
        os.environ.pop(ENROLMENT, None)
    registers = (agent_type, capabilities, boundaries) != (None, None, None)
    if settings.attach is not None:
        async with _attached(settings.attach, handle, registers=registers) as attached:
            yield attached
        return
    async with open_agent(settings) as agent:
        if registers:
            await agent.register_agent(
                agent_type or settings.client, capabilities=capabilities or (), boundaries=boundaries,
                handle=settings.handle or None, visibility=visibility, max_concurrent=max_concurrent, metadata=metadata,
            )  # fmt: skip
        elif settings.handle:
            await agent.set_handle(settings.handle)
        yield agent


@asynccontextmanager
async def _attached(path: Path, handle: str | None, *, registers: bool) -> AsyncIterator[Agent]:
    """Be the agent whose process listens at `path`. Raises: Forbidden if it is to have another name or registration."""
    async with attach(path) as agent:
        if registers or (handle or agent.handle) != agent.handle:
            raise Forbidden(
                f"this process is attached to {agent.handle or agent.guid} by LOOMINAL_ATTACH: it has joined",
                "connect without handle, agent_type, capabilities and boundaries, or unset LOOMINAL_ATTACH",
            )
        yield cast("Agent", agent)  # it has all that programs use of one


@asynccontextmanager
async def open_agent(settings: ClientSettings) -> AsyncIterator[Agent]:
    """Connect as one agent that has said hello and nothing more. Raises: as `connect`."""
    entrance = find_entrance(settings)
    machine = entrance.credential.name if entrance.credential and entrance.enrols else ""
    slot = take_slot(
        settings.home,
        settings.project.id,
        settings.client,
        handle=settings.handle,
        agent_id=settings.agent_id,
        launched=settings.enrolment is not None,
        machine=machine,
        session=settings.session,
        sole=settings.sole,
    )
    with slot:
        slot.enrols_as(machine)
        enrolling = _enrolling(entrance, slot, settings) if entrance.enrols else None
        if enrolling is not None:
            await enrolling.enrol(settings.timeout_seconds)
        freshness = [enrolling.keep_fresh] if enrolling is not None else []
        async with (
            background(*freshness),  # already now: what was cut off meanwhile is refused at the first connect
            Broker.connect(
                entrance.servers.urls,
                name=f"{settings.client} {slot.id}",
                inbox=subjects.reply_prefix(slot.id),
                credential=enrolling.credential if enrolling else lambda: entrance.credential,
                user=entrance.servers.user,
                password=entrance.servers.password,
                tls=entrance.tls,
                wait_seconds=min(CONNECT_SECONDS, settings.timeout_seconds),
            ) as broker,
        ):
            enrol_again = enrolling.enrol if enrolling else None
            session = Session(broker, settings.project.id, slot.id, _hello(settings), enrol_again)
            agent = Agent(session, slot, settings)
            await agent.listen()
            await session.open(settings.timeout_seconds, adopts=settings.adopts)
            if enrolling is not None:
                broker.on_connect(enrolling.connected)
            async with background(session.keep_greeting, session.keep_beating):
                yield agent


def _enrolling(entrance: Entrance, slot: Slot, settings: ClientSettings) -> Enrolling:
    key = slot.key()
    request = Enrol(
        proto=PROTO,
        agent=slot.id,
        key=key.public,
        project=settings.project.id,
        title=settings.project.title,
        client=settings.client,
        role=Role.OPERATOR if settings.operator else Role.AGENT,
        looks=settings.looks,
    )
    return Enrolling(entrance, request, key)


def _hello(settings: ClientSettings) -> Hello:
    return Hello(
        client=settings.client,
        hostname=socket.gethostname(),
        directory=settings.project.title,
        user=user_name(),
        person=settings.person,
    )


def user_name() -> str:
    """Return the name of the user whose process this is."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return str(os.getuid())
