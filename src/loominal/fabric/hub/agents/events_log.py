"""The project's event log: what happened to agents, kept for a day for those who watch the fleet."""

from __future__ import annotations

import logging
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from loominal.broker import subjects
from loominal.fabric.hub.agents.records import save
from loominal.fabric.hub.agents.views import agent_view, last_seen
from loominal.fabric.protocol import encode, plain
from loominal.model.errors import LoominalError
from loominal.model.record import version

if TYPE_CHECKING:
    from loominal.fabric.hub.project import Project

log = logging.getLogger(__name__)

APPEND_SECONDS = 2.0  # an answer waits no longer for its event


class EventKind(StrEnum):
    """What is told of agents, targets and launches; the value is the last token of the event's subject."""

    AGENT_REGISTERED = "agent-registered"
    AGENT_UPDATED = "agent-updated"
    AGENT_OFFLINE = "agent-offline"
    AGENT_SHUTDOWN = "agent-shutdown"
    TARGET_REGISTERED = "target-registered"
    TARGET_UPDATED = "target-updated"
    TARGET_ENABLED = "target-enabled"
    TARGET_DISABLED = "target-disabled"
    TARGET_REMOVED = "target-removed"
    TARGET_HEALTH = "target-health"
    LAUNCH_REQUESTED = "launch-requested"
    LAUNCH_STARTED = "launch-started"
    LAUNCH_REGISTERED = "launch-registered"
    LAUNCH_FAILED = "launch-failed"
    LAUNCH_TIMED_OUT = "launch-timed_out"
    LAUNCH_UNCONFIRMED = "launch-unconfirmed"
    LAUNCH_STOPPED = "launch-stopped"


class Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An event as stored."""

    v: int = version(1)
    type: str  # as watchers know it: `agent:registered`
    at: datetime
    data: object  # JSON, as the operations would answer it


async def record_event(project: Project, kind: EventKind, data: msgspec.Struct) -> None:
    """Append an event. One that cannot be written is counted and, the first time, logged.

    It is not raised: what the event tells has taken effect already, and saying that it failed would be wrong.
    """
    event = Event(type=kind.value.replace("-", ":", 1), at=project.clock.now(), data=plain(data, entry=False))
    try:
        await project.event_log.append(subjects.event(project.id, kind.value), encode(event), seconds=APPEND_SECONDS)
    except LoominalError as error:
        if not project.tally.events_lost:
            log.warning("project %s: an event was lost: %s", project.id, error)
        project.tally.events_lost += 1


async def offline(project: Project, agent: str) -> None:
    """Keep when `agent`, which has just gone offline, was last online, and tell it.

    Raises: BrokerUnavailable; the time is then not kept, and its handle is kept for it only since its last hello.
    """
    record = project.agents.get(agent)
    if record is None:
        return
    online_at = last_seen(project, record)
    saved = await save(project, agent, lambda each: replace(each, last_online_at=online_at), op=record.op)
    if saved.after.registered:
        await record_event(project, EventKind.AGENT_OFFLINE, agent_view(project, saved.after))
