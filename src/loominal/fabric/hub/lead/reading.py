"""Reading only: what a weft does for a project that a newer release has written, while no newer weft lives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from loominal.broker import subjects
from loominal.broker.connection import Received
from loominal.fabric.hub.agents import heartbeats
from loominal.fabric.hub.dispatch import Dispatcher
from loominal.fabric.hub.handlers import READING
from loominal.fabric.hub.project import Project
from loominal.model.errors import UpgradeNeeded

log = logging.getLogger(__name__)


@asynccontextmanager
async def answered(project: Project, refusal: UpgradeNeeded, group: asyncio.TaskGroup) -> AsyncIterator[None]:
    """Answer what writes nothing, and everything else with `refusal`, while the block runs.

    Nobody is judged and no record is written. What comes while this weft is not sure that it is its turn is not
    answered: after it stood still another one may be there, and whoever asks asks again.
    """
    log.warning("%s; only reads are answered: %s", refusal.message, refusal.hint)
    project.presence.clear(project.clock.monotonic())
    dispatcher = Dispatcher(project, READING, group, refusal=refusal.problem())

    def take_request(message: Received) -> None:
        if project.leadership.falls_to_me(project.id):
            dispatcher.receive(message)

    def take_heartbeat(message: Received) -> None:
        heartbeats.note(project, message)

    async with AsyncExitStack() as heard:
        for subject, take in (
            (subjects.heartbeats(project.id), take_heartbeat),
            (subjects.requests(project.id), take_request),
        ):
            heard.push_async_callback((await project.broker.subscribe(subject, take)).stop)
        yield
