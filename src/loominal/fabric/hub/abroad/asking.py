"""Asking the leaders of other projects, over the fabric's own account. Weft makes one `Abroad` for all its projects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import msgspec

from loominal.broker import subjects
from loominal.broker.connection import Broker, Received
from loominal.fabric.hub.abroad.directory import Directory
from loominal.fabric.hub.abroad.questions import Question, What
from loominal.fabric.operations.types import View
from loominal.fabric.protocol import Answer, encode
from loominal.model.errors import BrokerUnavailable, HubUnavailable, Internal, LoominalError, error_from
from loominal.model.names import PROJECT_NAME

ASK_SECONDS = 2.0  # for one answer: milliseconds, unless its leader has just died
GIVE_UP_SECONDS = 10.0  # a dead leader is replaced in four; then the agent asks again, with the same op
PAUSE_SECONDS = 0.1  # between two tries, while a project is being loaded

V = TypeVar("V", bound=View)


class Abroad:
    """The way to other projects, on a connection to the fabric's own account (in open mode to the one there is)."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.directory = Directory(broker)

    async def run(self, need: Callable[[str], None]) -> None:
        """Keep the directory until cancelled; call `need` with every project that is asked for and led by nobody."""

        def take(message: Received) -> None:
            project = subjects.last_token(message.subject)
            if PROJECT_NAME.fullmatch(project):
                need(project)

        await self.broker.subscribe(subjects.any_needed(), take)
        await self.directory.run()

    async def ask(
        self, project: str, what: What, question: Question, answer: type[V], *, seconds: float = GIVE_UP_SECONDS
    ) -> V:
        """Return what the leader of `project` answers; one that is not loaded is loaded for it.

        The question is repeated unchanged, so what it does must be done once however often it is heard. Raises: what
        was answered; HubUnavailable after `seconds`, and then nobody knows whether it was heard; TooLarge.
        """
        subject, data = subjects.abroad(project, what), encode(question)
        give_up_at = time.monotonic() + seconds
        while (left := give_up_at - time.monotonic()) > 0:
            try:
                received = await self.broker.request(subject, data, seconds=min(ASK_SECONDS, left))
            except HubUnavailable:  # nobody leads it now
                with suppress(BrokerUnavailable):
                    await self.broker.publish(subjects.needed(project), b"")
            except BrokerUnavailable:
                pass  # nobody knows whether it was heard: asked again
            else:
                return _answered(received.data, answer)
            await asyncio.sleep(PAUSE_SECONDS)
        raise HubUnavailable("the coordinator of that agent's project does not answer", "it is asked again by itself")

    async def tell(self, project: str, what: What, question: Question) -> None:
        """Let the leader of `project` know something, if there is one. Raises: BrokerUnavailable."""
        await self.broker.publish(subjects.abroad(project, what), encode(question))


def _answered(data: bytes, kind: type[V]) -> V:
    try:
        answer = msgspec.json.decode(data, type=Answer)
        if answer.error is None:
            return msgspec.json.decode(answer.ok, type=kind)
    except msgspec.DecodeError as error:
        raise Internal(f"what another project's coordinator answers cannot be read: {error}") from error
    failure: LoominalError = error_from(answer.error)
    raise failure
