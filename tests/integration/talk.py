"""A loaded project over a real broker and agents that talk in it: what the tests of messages and waiting start from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar
from uuid import uuid4

import msgspec

from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.fabric.hub import streams
from loominal.fabric.hub.access.open_authority import OpenAuthority
from loominal.fabric.hub.agents import ops_registry
from loominal.fabric.hub.caller import Caller, Standing
from loominal.fabric.hub.loading import Loading
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.talk import inbox_following, ops_channels, ops_events, ops_inbox
from loominal.fabric.hub.timings import Timings
from loominal.fabric.operations.channels import Channels, History, ListChannels, MessageSent, ReadMessages, SendMessage
from loominal.fabric.operations.events import Events, WaitForEvents
from loominal.fabric.operations.identity import Hello
from loominal.fabric.operations.inbox import DirectSent, FollowInbox, Inbox, ReadDirectMessages, SendDirectMessage
from loominal.fabric.operations.registry import RegisterAgent
from loominal.fabric.operations.types import View
from loominal.fabric.protocol import arguments, encode, encode_answer
from loominal.model.grant import Role, own_user_grant
from tests.integration.alone import Alone
from tests.patience import SOON

LIMIT_BYTES = 24_000  # what warp asks for

A = TypeVar("A", bound=msgspec.Struct)
V = TypeVar("V", bound=View)


@asynccontextmanager
async def loaded(url: str, project_id: str) -> AsyncIterator[Project]:
    """Load the project into a hub of its own, as a restart or a takeover would, and keep it following its logs."""
    async with Broker.connect(
        url, name="hub", inbox=subjects.reply_prefix(f"hub-{uuid4().hex[:8]}"), wait_seconds=SOON
    ) as broker:
        project = Project(project_id, "/home/ada/loom", broker, OpenAuthority(), Timings(), Alone())
        await streams.ensure(project)
        ready = asyncio.Event()

        async def follow() -> None:
            async with asyncio.TaskGroup() as group:
                await Loading(project, group).load()
                ready.set()

        async with asyncio.TaskGroup() as group:
            following = group.create_task(follow(), name="follow")
            async with asyncio.timeout(SOON):
                await ready.wait()
            yield project
            following.cancel()


class Speaker:
    """One process of an agent. Each call is a request of its own; every answer has to fit into `limit_bytes`."""

    def __init__(
        self, project: Project, agent: str = "", incarnation: str = "", limit_bytes: int = LIMIT_BYTES
    ) -> None:
        self.project = project
        self.guid = agent or str(uuid4())
        self.incarnation = incarnation or uuid4().hex
        self.limit_bytes = limit_bytes
        self._answered: list[str] = []  # of its reads
        hello = Hello(client="codex", hostname="loom-1", directory="/home/ada/loom", user="ada")
        project.presence.hello(self.guid, self.incarnation, hello, project.clock.monotonic())

    def again(self) -> Speaker:
        """Return the agent's next process."""
        return Speaker(self.project, self.guid, limit_bytes=self.limit_bytes)

    def at(self, project: Project) -> Speaker:
        """Return the same process as another hub sees it."""
        return Speaker(project, self.guid, self.incarnation, self.limit_bytes)

    def request(self, op: str = "") -> Caller:
        """Return a request, noted as the dispatcher does."""
        standing = Standing(agent=self.guid, user="ada", role=Role.AGENT, grants=(own_user_grant("ada"),))
        caller = Caller(
            agent=self.guid,
            incarnation=self.incarnation,
            op=op or uuid4().hex,
            standing=standing,
            limit_bytes=self.limit_bytes,
        )
        self.project.inboxes.surface(caller.agent, caller.incarnation, self._answered)
        return caller

    async def register(self, handle: str, capability: str = "python") -> Speaker:
        args = RegisterAgent(agent_type="codex", handle=handle, capabilities=(capability,))
        await ops_registry.register_agent(self.project, self.request(), args)
        return self

    async def say(self, channel: str, message: str, op: str = "", **more: object) -> MessageSent:
        args = _arguments(SendMessage, channel=channel, message=message, **more)
        return self._fits(await ops_channels.send_message(self.project, self.request(op), args))

    async def history(self, channel: str, **more: object) -> History:
        args = _arguments(ReadMessages, channel=channel, **more)
        return self._fits(await ops_channels.read_messages(self.project, self.request(), args))

    async def channels(self) -> Channels:
        return self._fits(await ops_channels.list_channels(self.project, self.request(), ListChannels()))

    async def tell(self, recipient: str, message: str, op: str = "", **more: object) -> DirectSent:
        args = _arguments(SendDirectMessage, recipientGuid=recipient, message=message, **more)
        return self._fits(await ops_inbox.send_direct_message(self.project, self.request(op), args))

    async def inbox(self, op: str = "", **more: object) -> Inbox:
        args, request = _arguments(ReadDirectMessages, **more), self.request(op)
        page = self._fits(await ops_inbox.read_direct_messages(self.project, request, args))
        self._answered.append(request.op)
        return page

    async def follow(self, **more: object) -> Inbox:
        args = _arguments(FollowInbox, **more)
        return self._fits(await inbox_following.follow_inbox(self.project, self.request(), args))

    async def wait(self, op: str = "", **more: object) -> Events:
        args = _arguments(WaitForEvents, **more)
        return self._fits(await ops_events.wait_for_events(self.project, self.request(op), args))

    def _fits(self, view: V) -> V:
        assert len(encode_answer(view)) <= self.limit_bytes
        return view


def _arguments(kind: type[A], **given: object) -> A:
    return arguments(kind, encode(given))


def texts(page: History | Inbox) -> list[str]:
    return [message.message for message in page.messages]
