"""The one agent behind this process: connected when it is first needed, and again after whatever went wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from loominal.model.errors import HandleTaken, LoominalError

if TYPE_CHECKING:
    from pathlib import Path

    from loominal.fabric.client.agent import Agent
    from loominal.fabric.client.attached import Attached
    from loominal.warp.settings import WarpSettings

SOON_SECONDS = 0.5
HAND_BACK_SECONDS = 3.0  # for all claims of a process that is told to end

Someone: TypeAlias = "Agent | Attached"

log = logging.getLogger(__name__)


class Link:
    """`keep` connects, whoever needs the agent awaits `agent`; `on_agent` hear of each new one.

    `on_idle` hear when the client waits for nothing more. What is in `beside` is open while there is an agent.
    """

    def __init__(self, settings: WarpSettings) -> None:
        self.on_agent: list[Callable[[Someone], None]] = []
        self.beside: list[Callable[[Agent], AbstractAsyncContextManager[None]]] = []
        self.on_idle: list[Callable[[], None]] = []
        self.present: Someone | None = None
        self._users = 0
        self._settings = settings
        self._agent: asyncio.Future[Someone] | None = None  # None: nobody asked for it, or the last try failed
        self._wanted = asyncio.Event()
        self._leave = asyncio.Event()

    @property
    def busy(self) -> bool:
        """Whether the client waits for an answer of the fabric."""
        return self._users > 0

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Count as busy while the block runs."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                for tell in self.on_idle:
                    tell()

    def name_client(self, client: str) -> None:
        """Let the agent be one of this client's, if it is not connected yet."""
        if client and self._agent is None:
            named = msgspec.structs.replace(self._settings.client, client=client)
            self._settings = msgspec.structs.replace(self._settings, client=named)

    def want(self) -> asyncio.Future[Someone]:
        """Let `keep` connect, and return what will hold the agent or why there is none."""
        if self._agent is None:
            self._agent = asyncio.get_running_loop().create_future()
            self._wanted.set()
        return self._agent

    def want_soon(self) -> None:
        """Connect in the background, after the client has had its first answers: loading what it takes costs 0.2 s."""
        asyncio.get_running_loop().call_later(SOON_SECONDS, self.want)

    async def agent(self) -> Someone:
        """Return the agent. Raises: BrokerUnavailable, and whatever else keeps it from connecting."""
        return await asyncio.shield(self.want())

    async def agent_called(self, handle: str) -> Someone:
        """Return the agent, for a call that wants it to have `handle`: the one that had it, if nobody is that now.

        Only an agent that holds nothing, and no other call needs, is left for another. Raises: as `agent`.
        """
        agent, settings = await self.agent(), self._settings.client
        if not handle:
            return agent
        from loominal.fabric.client.attached import Attached
        from loominal.fabric.slots import is_free_slot

        if isinstance(agent, Attached) or settings.agent_id or agent.holds or self._users > 1:
            return agent
        if handle == agent.handle:
            return agent
        if not is_free_slot(settings.home, settings.project.id, settings.client, handle, machine=agent.machine):
            return agent
        named = msgspec.structs.replace(settings, handle=handle)
        self._settings = msgspec.structs.replace(self._settings, client=named)
        agent.forget_session()
        self._agent = None
        self._leave.set()
        return await self.agent()

    async def keep(self) -> None:
        """Connect when the agent is wanted, and stay so until cancelled: then it leaves."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            waiting = self.want()
            try:
                await self._connect(waiting)
            except LoominalError as error:
                if waiting.done():
                    raise
                log.info("not connected: %s", error)
                self._agent = None  # the next call tries again
                waiting.set_exception(error)
                waiting.exception()  # nobody may be waiting for it

    async def hand_back(self) -> None:
        """Release every claim: this process was told to end."""
        if self.present is None:
            return
        agent = self.present
        try:
            async with asyncio.timeout(HAND_BACK_SECONDS):
                releases = (agent.release_work(item, reason="its agent's client was ended") for item in agent.holds)
                await asyncio.gather(*releases, return_exceptions=True)  # what fails lapses
        except TimeoutError:
            log.warning("claims could not be handed back: nobody answers")

    async def _connect(self, waiting: asyncio.Future[Someone]) -> None:
        from loominal.warp.autostart import ensure_fabric

        settings = self._settings.client
        if settings.attach is not None:
            await self._attach(settings.attach, waiting)
            return
        if self._settings.autostart:
            await ensure_fabric(settings)
        from loominal.fabric.client.connect import open_agent  # loads the NATS client

        self._leave.clear()
        async with open_agent(settings) as agent, AsyncExitStack() as beside:
            if settings.handle and agent.handle != settings.handle:
                await _take_handle(agent, settings.handle)
            for opened in self.beside:
                await beside.enter_async_context(opened(agent))
            await self._be(agent, waiting)

    async def _attach(self, place: Path, waiting: asyncio.Future[Someone]) -> None:
        from loominal.fabric.client.attached import attach

        async with attach(place) as agent:
            await self._be(agent, waiting)

    async def _be(self, agent: Someone, waiting: asyncio.Future[Someone]) -> None:
        self.present = agent
        for tell in self.on_agent:
            tell(agent)
        waiting.set_result(agent)
        try:
            await self._leave.wait()
        finally:
            self.present = None


async def _take_handle(agent: Agent, handle: str) -> None:
    """Give the agent its environment's handle if that is free: several sessions may share an environment."""
    try:
        await agent.set_handle(handle)
    except HandleTaken as error:
        log.warning("%s (%s); this session has a handle of its own", error.message, error.hint)
