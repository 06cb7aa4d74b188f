"""One project's hub, from loading to leaving: reads the logs, takes the lead, answers, and judges round by round."""

from __future__ import annotations

import asyncio
import logging

from loominal.broker import subjects
from loominal.broker.connection import Received
from loominal.fabric.hub import heartbeats, streams
from loominal.fabric.hub.dispatch import Dispatcher
from loominal.fabric.hub.handlers import HANDLERS
from loominal.fabric.hub.loading import Loading
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.pulse import Pulse
from loominal.fabric.hub.rounds import rounds
from loominal.fabric.protocol import PROTO, encode
from loominal.model.errors import BrokerUnavailable, Replaced

log = logging.getLogger(__name__)

CONNECT_SECONDS = 30.0


class Hub:
    """Serves one project on its broker connection until cancelled; `project` and nothing else holds its state."""

    def __init__(self, project: Project, *, new_life: bool = False) -> None:
        self.project = project
        self.ready = asyncio.Event()
        self.went_back = False  # the streams are others now, or lost records that were read
        self._new_life = new_life  # that happened to the hub before this one

    async def serve(self) -> None:
        """Load, lead, answer and judge. Raises: Replaced when the project must be loaded anew, BrokerUnavailable."""
        project = self.project
        await project.broker.wait_up(CONNECT_SECONDS)
        await streams.ensure(project, new_life=self._new_life)
        try:
            async with asyncio.TaskGroup() as group:
                loading = Loading(project, group)
                await loading.load()
                await project.leadership.take(project)
                dispatcher = Dispatcher(project, HANDLERS, group)
                beating = await project.broker.subscribe(subjects.heartbeats(project.id), self._beat(group))
                asking = await project.broker.subscribe(subjects.requests(project.id), dispatcher.receive)
                try:
                    await self._announce()
                    self.ready.set()
                    log.info("project %s is served, %d items", project.id, len(project.book))
                    pulse = Pulse(project)
                    group.create_task(pulse.run(), name=f"pulse of {project.id}")
                    group.create_task(rounds(project, pulse), name=f"rounds of {project.id}")
                    await loading.replaced.wait()
                    self.went_back = True
                    raise Replaced(f"the streams of project {project.id} were replaced")
                finally:
                    self.ready.clear()
                    await asking.stop()
                    await beating.stop()
        except* BrokerUnavailable as group_error:
            raise group_error.exceptions[0] from None

    async def _announce(self) -> None:
        lead = {"proto": PROTO, "epoch": self.project.leadership.epoch, "generation": self.project.generation}
        await self.project.broker.publish(subjects.leader_wake(self.project.id), encode(lead))

    def _beat(self, group: asyncio.TaskGroup) -> heartbeats.Taker:
        def take(message: Received) -> None:
            heartbeats.take(self.project, message, group)

        return take
