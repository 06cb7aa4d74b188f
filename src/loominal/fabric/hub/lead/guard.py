"""Guarded writes: what only the leader may store, such as launches. A former leader's are refused by the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loominal.broker import subjects
from loominal.broker.log import Entry
from loominal.fabric.hub.lead.leadership import LeaderRecord
from loominal.model import record as records
from loominal.model.errors import BrokerUnavailable, Conflict

if TYPE_CHECKING:
    from loominal.fabric.hub.project import Project


async def guarded(project: Project, subject: str, data: bytes, expect: int) -> int:
    """Store `data` on `subject`, whose last record is at `expect` (0: there is none), and return its sequence.

    Raises: Conflict if `subject` is elsewhere or another weft has taken the lead; BrokerUnavailable: it may or may not
    be stored, so read again.
    """
    lead = project.leadership
    async with lead.writing:
        try:
            return await _write(project, subject, data, expect)
        except BrokerUnavailable as error:
            known = lead.fence
            await _find_fence(project)
            if lead.fence == known or not isinstance(error, Conflict):
                raise
        return await _write(project, subject, data, expect)  # an earlier write had moved the fence, and nobody knew


async def _write(project: Project, subject: str, data: bytes, expect: int) -> int:
    lead = project.leadership
    mark = LeaderRecord(weft=lead.members.me, epoch=lead.epoch, at=project.clock.now())
    fence = Entry(subject=subjects.fence(project.id), data=records.encode(mark), expect=lead.fence)
    stored, lead.fence = await project.work_log.append_all([Entry(subject=subject, data=data, expect=expect), fence])
    return stored


async def _find_fence(project: Project) -> None:
    """Know where the fence stands after a write that was refused, or of which nobody knows whether it was stored.

    Raises: Conflict if another weft has taken the lead, BrokerUnavailable.
    """
    lead = project.leadership
    last = await project.work_log.last(subjects.fence(project.id))
    if last is None or records.decode(LeaderRecord, last.data).value.epoch != lead.epoch:
        raise Conflict(f"another weft leads project {project.id}")
    lead.fence = last.sequence
