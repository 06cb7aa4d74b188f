"""Ending an agent from outside: it gets nothing new, is told, and after a grace what it holds is handed back.

The bucket's key `drain.<agent>` keeps it, so another leader goes on with it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from loominal.broker.bucket import Deleted, Entry
from loominal.fabric.hub.agents.control import last_word, nudge
from loominal.fabric.hub.agents.drain_record import DrainRecord
from loominal.fabric.hub.agents.events_log import EventKind, record_event
from loominal.fabric.hub.agents.views import agent_view
from loominal.fabric.hub.work.judging import hand_back
from loominal.fabric.protocol import ControlKind
from loominal.model.errors import Conflict
from loominal.model.record import decode, encode

if TYPE_CHECKING:
    from loominal.fabric.hub.project import Project

DRAIN = "drain"  # the kind of key in the bucket


async def drain(project: Project, agent: str, reason: str, grace_seconds: float) -> None:
    """Have `agent` end within `grace_seconds`; one that is ending already goes on with what it was told first.

    Raises: BrokerUnavailable (it may be written all the same).
    """
    if agent in project.drains:
        await _tell(project, project.drains[agent])
        return
    until = project.clock.now() + timedelta(seconds=grace_seconds)
    value = encode(DrainRecord(agent=agent, reason=reason, until=until))
    key = f"{DRAIN}.{agent}"
    try:
        revision = await project.bucket.write(key, value, revision=0)
    except Conflict:
        entry = await project.bucket.get(key)
        if entry is not None:
            remember(project, entry)
    else:
        remember(project, Entry(key=key, value=value, revision=revision))
    if agent in project.drains:
        await _tell(project, project.drains[agent])
    project.polls.room(agent)  # whatever it waits for, it has something else to attend to
    project.wakes.dismiss(agent)


def remember(project: Project, change: Entry | Deleted) -> None:
    """Take a change of the bucket into memory. Raises: CorruptRecord."""
    agent = change.key.partition(".")[2]
    if isinstance(change, Deleted):
        known = project.drains.get(agent)
        if known is not None and known.revision < change.revision:
            del project.drains[agent]
    else:
        record = decode(DrainRecord, change.value).value
        project.drains[agent] = msgspec.structs.replace(record, revision=change.revision)
    project.crowd.touch(agent)


async def finish(project: Project, heard_until: float | None) -> None:
    """End those whose grace is over, and forget those that have ended. Raises: BrokerUnavailable.

    Who has ended is judged as of `heard_until`, when everybody was heard; None: nobody has, as far as is known.
    """
    now, mono = project.clock.now(), project.clock.monotonic()
    for agent, record in list(project.drains.items()):
        gone = heard_until is not None and project.presence.is_gone(agent, heard_until, project.timings)
        if not gone and now < record.until:
            await _tell(project, record)  # again, lest it did not hear of it
            continue
        await hand_back(project, agent, record.reason or "its agent was shut down")
        if not gone:
            process = project.presence.current(agent)
            await last_word(project, agent, record.reason)
            await project.authority.cut(project.id, agent)
            project.presence.end(agent, process, record.reason, mono)
        key = f"{DRAIN}.{agent}"
        try:
            revision = await project.bucket.delete(key, revision=record.revision)
        except Conflict:
            entry = await project.bucket.get(key)
            remember(project, entry if entry is not None else Deleted(key=key, revision=record.revision + 1))
            continue
        remember(project, Deleted(key=key, revision=revision))
        if (known := project.agents.get(agent)) is not None:
            await record_event(project, EventKind.AGENT_SHUTDOWN, agent_view(project, known))


async def _tell(project: Project, record: DrainRecord) -> None:
    await nudge(project, record.agent, ControlKind.DRAIN, note=record.reason, until=record.until)
