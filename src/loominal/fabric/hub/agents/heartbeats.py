"""Heartbeats: who is alive and which claims it names.

A named claim that has lapsed is given back while nobody took it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from loominal.broker import subjects
from loominal.broker.connection import Received
from loominal.fabric.hub.agents.control import nudge
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.ending import resume
from loominal.fabric.hub.work.moving import refresh
from loominal.fabric.protocol import Beat, ControlKind, arguments
from loominal.model.errors import LoominalError
from loominal.model.lifecycle import recoverable
from loominal.model.names import SUBJECT_TOKEN, shown

log = logging.getLogger(__name__)

Taker = Callable[[Received], None]


def take(project: Project, message: Received, group: asyncio.TaskGroup) -> None:
    """Take one heartbeat; what cannot be read is dropped, what names foreign claims is answered by nudges."""
    agent, beat, now = subjects.last_token(message.subject), _read(project, message), project.clock.monotonic()
    if beat is None:
        return
    if not project.presence.beat(agent, beat.incarnation, now, leaving=beat.leaving):
        told = nudge(project, agent, ControlKind.SUPERSEDED, incarnation=beat.incarnation)
        group.create_task(told, name=f"superseded {agent}")
        return
    if (reason := project.presence.ended_because(agent, beat.incarnation)) is not None:
        group.create_task(nudge(project, agent, ControlKind.REVOKED, note=reason), name=f"ended {agent}")
        return
    strange = project.leases.beat(agent, beat, now)
    if strange and not beat.leaving:
        group.create_task(_sort_out(project, agent, beat.incarnation, strange), name=f"claims of {agent}")


def note(project: Project, message: Received) -> None:
    """Take from one heartbeat that its agent is alive, and nothing of the claims that it names."""
    if beat := _read(project, message):
        agent, now = subjects.last_token(message.subject), project.clock.monotonic()
        project.presence.beat(agent, beat.incarnation, now, leaving=beat.leaving)


def _read(project: Project, message: Received) -> Beat | None:
    """Return a heartbeat, None if it cannot be read or its agent has no standing."""
    agent = subjects.last_token(message.subject)
    try:
        beat = arguments(Beat, message.data)
    except LoominalError as error:
        log.info("a heartbeat of %s cannot be read: %s", shown(agent), error)
        return None
    known = project.authority.standing(project.id, agent) is not None
    return beat if known and SUBJECT_TOKEN.fullmatch(beat.incarnation) else None


async def _sort_out(project: Project, agent: str, incarnation: str, strange: list[tuple[str, int]]) -> None:
    for item_id, token in strange:
        try:
            # From the log: a leader that could not hear may not know yet that another one granted the claim meanwhile.
            entry = await refresh(project, item_id)
            if entry is not None and (entry.item.claimed_by, entry.item.token) == (agent, token):
                continue
            if entry is not None and recoverable(entry.item, agent, token):
                await resume(project, agent, incarnation, entry.item, token)
                continue
            item = entry.item if entry else None
            note = "the claim has ended"
            await nudge(project, agent, ControlKind.LEASE_LOST, item, note, item_id=item_id, token=token)
        except LoominalError as error:
            log.info("%s of %s: %s", item_id, agent, error)  # its next heartbeat comes back to it
