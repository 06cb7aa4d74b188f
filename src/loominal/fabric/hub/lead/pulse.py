"""The pulse: until when the leader has heard everybody. `rounds.py` judges claims as of that instant and no later one.

A claim lapses when nothing was heard of it for a lease; that says something about its holder only if the leader could
hear all that time.
"""

from __future__ import annotations

import asyncio

from loominal.fabric.hub.lead.rest import rest
from loominal.fabric.hub.project import Project
from loominal.model.errors import LoominalError


class Pulse:
    """Beats in a task of its own, so that a round that takes long is not mistaken for a leader that stood still.

    `heard_until` (monotonic seconds): whatever reached the broker before it has been taken, and back to when leases
    were last granted anew the leader was awake, connected, answered without delay and sure that others see it alive.
    None: nobody may be judged.
    """

    def __init__(self, project: Project) -> None:
        self.heard_until: float | None = None
        self._project = project
        self._connects = project.broker.connects
        self._deaf = True  # until the first beat: nobody's heartbeat can have been heard before
        self._beat_at = project.clock.monotonic()

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await rest(self._project)
            await asyncio.sleep(self._project.timings.round_seconds)
            await self.beat()

    async def beat(self) -> None:
        """Bring `heard_until` up to date; after a time without hearing every lease is granted anew instead.

        The broker's answer to a read comes behind whatever it had for this connection, so queued heartbeats are taken
        before it. A slow or missing answer means that heartbeats may wait on the other side, too.
        Once another weft leads, nobody is judged any more.
        """
        project, clock = self._project, self._project.clock
        clock.tick()
        asked_at = clock.monotonic()
        if asked_at - self._beat_at > project.timings.round_seconds + project.timings.stall_seconds:
            self._deaf = True
        try:
            if clock.doubtful:
                await self._learn_time()
            if len(project.leases) and not await project.leadership.confirmed(project):
                self._deaf, self.heard_until = True, None
                return
        except LoominalError:
            self._deaf = True
        self._beat_at = now = clock.monotonic()
        if not project.broker.up or not project.leadership.members.sure():
            self._deaf, self.heard_until = True, None
            return
        if now - asked_at > project.timings.stall_seconds or project.broker.connects != self._connects:
            self._deaf = True
        if not self._deaf:
            self.heard_until = asked_at
            return
        self._connects, self.heard_until = project.broker.connects, None
        project.leases.renew_all(now)
        project.presence.renew(now)
        self._deaf = False

    async def _learn_time(self) -> None:
        """Know broker time again after a clock was set, or the machine slept. Raises: BrokerUnavailable."""
        state = await self._project.work_log.state()
        if state is not None and state.asked_at is not None:
            self._project.clock.learn(state.asked_at)
