"""The leader's rounds: everything that happens because time passed. Judged is as of when everybody was heard."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from loominal.fabric.hub.abroad import publishing, receipts
from loominal.fabric.hub.agents import draining, events_log
from loominal.fabric.hub.lead import due
from loominal.fabric.hub.lead.pulse import Pulse
from loominal.fabric.hub.lead.rest import rest
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.spinup import scaler
from loominal.fabric.hub.talk import ops_inbox
from loominal.fabric.hub.work import collecting, judging, settling, telling
from loominal.model.errors import LoominalError

log = logging.getLogger(__name__)


async def rounds(project: Project, pulse: Pulse) -> None:
    """Go round until cancelled; a round that the broker spoils is logged and done again."""
    now, seconds = project.clock.monotonic, project.timings.round_seconds
    due_at = now() + seconds
    while True:
        await rest(project)
        with suppress(TimeoutError):
            async with asyncio.timeout(due_at - now()):
                await project.ended.wait()
        project.ended.clear()
        try:
            is_due = now() >= due_at  # an end alone calls for no judgement
            if is_due:
                due_at = now() + seconds
                await _judge(project, pulse)
            await settling.settle_all(project)
            await telling.tell_all(project)
            if is_due:
                await _tidy(project, pulse)
                await publishing.settle(project)
                await receipts.tell_senders(project)
        except LoominalError as error:
            log.warning("project %s: a round was spoilt: %s", project.id, error)


async def _judge(project: Project, pulse: Pulse) -> None:
    if pulse.heard_until is not None:
        await judging.judge(project, pulse.heard_until)
    await judging.wake_due(project)


async def _tidy(project: Project, pulse: Pulse) -> None:
    await draining.finish(project, pulse.heard_until)
    await scaler.scale(project, pulse.heard_until)
    await ops_inbox.flush(project)
    await due.keep(project)
    await collecting.collect(project)
    if pulse.heard_until is None:
        return
    for agent in project.presence.offline_now(pulse.heard_until, project.timings):
        try:
            await events_log.offline(project, agent)
        except LoominalError as error:  # each is reported once: the others must not be lost with it
            log.warning("project %s: %s went offline, which could not be kept: %s", project.id, agent, error)
