"""The leader's rounds: everything that happens because time passed. A leader that could not listen judges nobody."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from loominal.fabric.hub import events_log, ops_inbox
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work import collecting, judging, settling, telling
from loominal.model.errors import BrokerUnavailable, LoominalError, Replaced

log = logging.getLogger(__name__)


class Pulse:
    """Whether this leader has been awake, connected and answered by the broker all the time."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._connects = project.broker.connects
        self._deaf = True  # until a first sound round: nobody's heartbeat can have been heard before
        self._awake_at = project.clock.monotonic()

    def rest(self) -> None:
        """Note that a round has ended and a pause begins."""
        self._awake_at = self._project.clock.monotonic()

    async def sound(self) -> bool:
        """Return whether leases may be judged; else every one was granted anew.

        The broker's answer to a read comes behind whatever it had for this connection, so queued heartbeats are taken
        before it. A slow or missing answer means that heartbeats may wait on the other side, too.
        Raises: Replaced if another weft leads now, BrokerUnavailable.
        """
        project, clock = self._project, self._project.clock
        limit = project.timings.stall_seconds
        if clock.monotonic() - self._awake_at > project.timings.round_seconds + limit:
            self._deaf = True
        if project.broker.connects != self._connects:
            self._connects, self._deaf = project.broker.connects, True
        if len(project.leases):
            await self._ask(limit)
        if not self._deaf:
            return True
        project.leases.renew_all(clock.monotonic())
        project.presence.renew(clock.monotonic())
        self._deaf = False
        return False

    async def _ask(self, limit: float) -> None:
        asked_at = self._project.clock.monotonic()
        try:
            leading = await self._project.leadership.confirmed(self._project)
        except BrokerUnavailable:
            self._deaf = True
            raise
        if not leading:
            raise Replaced(f"another weft leads project {self._project.id}")
        if self._project.clock.monotonic() - asked_at > limit:
            self._deaf = True


async def rounds(project: Project) -> None:
    """Go round until cancelled; a round that the broker spoils is logged and done again.

    Raises: Replaced when another weft has taken the lead.
    """
    pulse = Pulse(project)
    while True:
        pulse.rest()
        with suppress(TimeoutError):
            async with asyncio.timeout(project.timings.round_seconds):
                await project.ended.wait()
        project.ended.clear()
        project.clock.tick()
        try:
            if await pulse.sound():
                await judging.judge(project)
            await _follow_up(project)
        except Replaced:
            raise
        except LoominalError as error:
            log.warning("project %s: a round was spoilt: %s", project.id, error)


async def _follow_up(project: Project) -> None:
    await judging.wake_due(project)
    await settling.settle_all(project)
    await telling.tell_all(project)
    await ops_inbox.flush(project)
    await collecting.collect(project)
    for agent in project.presence.offline_now(project.clock.monotonic(), project.timings):
        try:
            await events_log.offline(project, agent)
        except LoominalError as error:  # each is reported once: the others must not be lost with it
            log.warning("project %s: %s went offline, which could not be kept: %s", project.id, agent, error)
