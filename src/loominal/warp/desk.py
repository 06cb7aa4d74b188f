"""Where other processes of the user ask a warp: a line of JSON each way, over the socket in its slot's folder."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from loominal.fabric.protocol import encode
from loominal.warp.reminders import Reminders

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent

QUESTION_SECONDS = 5.0  # for the line of who has connected
QUESTION_BYTES = 1 << 20

log = logging.getLogger(__name__)


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a hook asks."""

    moment: str = ""  # none: it is an attached process, which asks for an operation
    again: bool = False


class Desk:
    """One warp's socket, open while it has an agent."""

    def __init__(self, reminders: Reminders, session: str) -> None:
        self._reminders = reminders
        self._session = session
        self._agent: Agent | None = None
        self._visitors: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self, agent: Agent) -> AsyncIterator[None]:
        """Answer while the block runs. A warp whose socket cannot be opened does without."""
        from loominal.fabric.slot_socket import listening  # after tools/list

        self._agent = agent
        with ExitStack() as stack:
            try:
                place = stack.enter_context(listening(agent.folder, self._session))
            except OSError as error:
                log.warning("hooks cannot reach this warp: %s", error)
                yield
                return
            server = await asyncio.start_unix_server(self._serve, sock=place, limit=QUESTION_BYTES)
            try:
                yield
            finally:
                server.close()
                await self._send_away()

    async def _send_away(self) -> None:
        for visitor in self._visitors:
            visitor.cancel()
        if self._visitors:
            await asyncio.wait(self._visitors)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from loominal.fabric.slot_socket import is_same_user

        visitor = asyncio.current_task()
        assert visitor is not None
        self._visitors.add(visitor)
        try:
            with suppress(OSError, TimeoutError, ValueError):  # it has left, says nothing, or too much
                if is_same_user(writer.get_extra_info("socket")):
                    await self._answer(reader, writer)
        except asyncio.CancelledError:
            pass  # by `_send_away` alone; asyncio takes a cancelled visitor for a bug
        finally:
            self._visitors.discard(visitor)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(QUESTION_SECONDS):
            line = await reader.readline()
        async with asyncio.TaskGroup() as group:
            gone = group.create_task(_gone(reader), name="gone")
            answering = group.create_task(self._say(line, writer), name="say")
            await asyncio.wait((gone, answering), return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            answering.cancel()  # nobody is there to hear it

    async def _say(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, msgspec.DecodeError):  # who asked has gone, or speaks otherwise
            writer.write(await self._answer_to(line) + b"\n")
            await writer.drain()

    async def _answer_to(self, line: bytes) -> bytes:
        """Return what is answered to a hook, or to a process that is attached. Raises: DecodeError."""
        from loominal.fabric.client.attached import Asked, answer

        question = msgspec.json.decode(line, type=Question)
        if question.moment:
            text = await self._reminders.text(question.moment, again=question.again)
            return msgspec.json.encode({"text": text})
        asked = msgspec.json.decode(line, type=Asked)
        assert self._agent is not None
        return encode(await answer(self._agent, asked))


async def _gone(reader: asyncio.StreamReader) -> None:
    """Return when the other end has closed."""
    while await reader.read(1024):
        pass
