"""This person in a project: one agent with one handle and one inbox, whatever number of shuttles run at once.

The first of them holds the agent's slot and answers at its socket; the others ask there, and hold it when it has ended.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from itertools import chain, count
from pathlib import Path
from typing import cast

import msgspec

from loominal.fabric.answering import answering
from loominal.fabric.client.agent import Agent
from loominal.fabric.client.attached import Asked, Attached, answer
from loominal.fabric.client.connect import open_agent, user_name
from loominal.fabric.client.settings import ClientSettings
from loominal.fabric.operations import OPERATIONS
from loominal.fabric.operations.identity import GetMyHandle, MyHandle
from loominal.fabric.operations.registry import AgentView
from loominal.fabric.operations.types import Arguments, View
from loominal.fabric.protocol import encode
from loominal.fabric.slot_socket import SOCKET, connected, listening
from loominal.fabric.slots import slots_of
from loominal.model.errors import BrokerUnavailable, Busy, HandleTaken, NotFound
from loominal.model.names import HUB, handle_like

PERSON = "person"  # the client, and the agent type
BUSY_SECONDS = 10.0  # for the slot to be free, or its holder to answer: a shuttle that only acts has ended by then
LOOK_SECONDS = 0.05
HINT = "if it is stopped let it go on with `fg`, or end it"
MAY = OPERATIONS.keys() - {
    "hello", "set_handle", "join", "register_agent", "deregister_agent", "update_presence",
    "claim_work", "abandon_claim",
}  # fmt: skip  # what the holder does for other shuttles, which are the same person: all but being the agent


@asynccontextmanager
async def this_person(settings: ClientSettings) -> AsyncIterator[Agent]:
    """Be this person, as an operator, until the block ends. Raises: Busy if who holds the slot does not answer."""
    settings = msgspec.structs.replace(settings, client=PERSON, sole=True)
    async with AsyncExitStack() as stack:
        until = time.monotonic() + BUSY_SECONDS
        while (agent := await _entered(stack, settings)) is None:
            if time.monotonic() > until:
                raise Busy(f"another shuttle is you in {settings.project.title} and does not answer", HINT)
            await asyncio.sleep(LOOK_SECONDS)
        if isinstance(agent, Agent):
            await _register(agent)
            await stack.enter_async_context(_serving(agent))
        yield cast("Agent", agent)  # `_Beside` has all that commands use of one


class _Beside(Attached):
    """This person through the shuttle that holds the slot; when that one has ended each call holds it itself."""

    def __init__(self, path: Path, settings: ClientSettings, me: MyHandle) -> None:
        super().__init__(path)
        self.guid, self.handle, self.project = me.guid, me.handle, settings.project
        self._settings = settings

    async def call(
        self,
        operation: str,
        args: Arguments,
        *,
        timeout_seconds: float | None = None,
        limit_bytes: int | None = None,
        op: str = "",
    ) -> View:
        """Return the answer; `op` sees to it that what the holder did before it ended is not done again."""
        op = op or uuid.uuid4().hex
        try:
            return await super().call(operation, args, timeout_seconds=timeout_seconds, limit_bytes=limit_bytes, op=op)
        except BrokerUnavailable:
            if _listens(self._path):
                raise
        async with this_person(self._settings) as agent:
            return await agent.call(operation, args, timeout_seconds=timeout_seconds, limit_bytes=limit_bytes, op=op)


async def _entered(stack: AsyncExitStack, settings: ClientSettings) -> Agent | _Beside | None:
    """Return the agent, or whoever holds it; None if it is held and nobody answers yet."""
    try:
        return await stack.enter_async_context(open_agent(settings))
    except Busy:
        path = next(filter(_listens, _sockets(settings)), None)
    if path is None:
        return None
    try:
        me = await Attached(path).call("get_my_handle", GetMyHandle(), timeout_seconds=BUSY_SECONDS)
    except BrokerUnavailable:  # it has just ended, or is stopped
        return None
    assert isinstance(me, MyHandle)
    return _Beside(path, settings, me)


@asynccontextmanager
async def _serving(agent: Agent) -> AsyncIterator[None]:
    """Answer other shuttles while the block runs; where no socket can be, they wait for the slot."""

    async def said(line: bytes) -> bytes:
        return encode(await answer(agent, msgspec.json.decode(line, type=Asked), may=MAY))

    with ExitStack() as stack:
        try:
            place = stack.enter_context(listening(agent.folder))
        except OSError:
            yield
            return
        async with answering(place, said):
            yield


async def _register(agent: Agent) -> None:
    """Register as this person; the first time in a project under the user's name, or that and a number."""
    known = await _known(agent) if agent.handle else None
    if known is not None:
        await agent.register_agent(PERSON, visibility=known.visibility)
        return
    for handle in _handles(agent.handle):
        try:
            await agent.register_agent(PERSON, handle=handle)
        except HandleTaken:
            continue
        return


async def _known(agent: Agent) -> AgentView | None:
    try:
        return await agent.get_agent_info(agent.guid)
    except NotFound:  # the project was made anew
        return None


def _handles(before: str) -> Iterator[str]:
    stem = handle_like(user_name())
    names = chain((before, stem), (f"{stem}-{number}" for number in count(2)))
    return (name for name in names if name not in ("", HUB))


def _sockets(settings: ClientSettings) -> Iterator[Path]:
    return (slot / SOCKET for slot in slots_of(settings.home, settings.project.id, settings.client))


def _listens(path: Path) -> bool:
    place = connected(path)
    if place is not None:
        place.close()
    return place is not None
