"""Agents as answers show them: the record, and what presence and the book of work say of it now."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from loominal.fabric.operations.registry import AgentView
from loominal.fabric.protocol import encode
from loominal.model.agent import AgentStatus

if TYPE_CHECKING:
    from loominal.fabric.hub.project import Project
    from loominal.model.agent import AgentRecord

WORK_SHOWN = 50  # items that an agent's view names; all of them are counted


def status_of(project: Project, record: AgentRecord) -> AgentStatus:
    """Return the agent's own word, or offline when it is not there."""
    online = project.presence.is_online(record.id, project.clock.monotonic(), project.timings)
    return record.status if online else AgentStatus.OFFLINE


def agent_view(project: Project, record: AgentRecord, *, metadata_bytes: int = 0) -> AgentView:
    """Return an agent as others see it, with its metadata if that has at most `metadata_bytes`."""
    held = tuple(sorted(project.book.held_by.get(record.id, ())))
    status = status_of(project, record)
    takes = record.registered and status is not AgentStatus.OFFLINE and record.id not in project.drains
    size = len(encode(record.metadata)) if record.metadata else 0
    return AgentView(
        guid=record.id,
        handle=record.handle,
        agent_type=record.agent_type,
        capabilities=record.capabilities,
        boundaries=record.boundaries,
        status=status,
        hostname=record.hostname,
        project_id=project.id,
        current_task_count=max(record.task_count, len(held)),
        free=max(record.max_concurrent - len(held), 0) if takes else 0,
        current_work=held[:WORK_SHOWN],
        last_seen=last_seen(project, record),
        visibility=record.visibility,
        max_concurrent=record.max_concurrent,
        metadata=record.metadata if size <= metadata_bytes else {},
        metadata_bytes=size if size > metadata_bytes else 0,
    )


def last_seen(project: Project, record: AgentRecord) -> datetime | None:
    """Return when the agent last gave a sign of life, in broker time; None if nobody knows."""
    seen_at = project.presence.seen_at(record.id)
    if seen_at is None:
        return record.last_online_at
    return project.clock.now() - timedelta(seconds=max(project.clock.monotonic() - seen_at, 0.0))
