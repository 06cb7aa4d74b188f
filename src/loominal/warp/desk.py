"""Where other processes of the user ask a warp: a line of JSON each way, over the socket in its slot's folder."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from loominal.fabric.protocol import encode
from loominal.warp.reminders import Reminders

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent

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

    @asynccontextmanager
    async def open(self, agent: Agent) -> AsyncIterator[None]:
        """Answer while the block runs. A warp whose socket cannot be opened does without."""
        from loominal.fabric.answering import answering  # after tools/list
        from loominal.fabric.slot_socket import listening

        self._agent = agent
        with ExitStack() as stack:
            try:
                place = stack.enter_context(listening(agent.folder, self._session))
            except OSError as error:
                log.warning("hooks cannot reach this warp: %s", error)
                yield
                return
            async with answering(place, self._answer):
                yield

    async def _answer(self, line: bytes) -> bytes:
        """Return what is answered to a hook, or to a process that is attached. Raises: DecodeError."""
        from loominal.fabric.client.attached import Asked, answer

        question = msgspec.json.decode(line, type=Question)
        if question.moment:
            text = await self._reminders.text(question.moment, again=question.again)
            return msgspec.json.encode({"text": text})
        asked = msgspec.json.decode(line, type=Asked)
        assert self._agent is not None
        return encode(await answer(self._agent, asked))
