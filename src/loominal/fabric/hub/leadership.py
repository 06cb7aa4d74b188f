"""Who leads a project: the last record of `wk-lead`. Whoever leads judges; all writes are fenced by sequence."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from loominal.broker import subjects
from loominal.broker.log import Record
from loominal.model import record as records
from loominal.model.errors import CorruptRecord

if TYPE_CHECKING:
    from loominal.fabric.hub.project import Project


class LeaderRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who leads since when; `epoch` only grows."""

    v: int = records.version(1)
    weft: str
    epoch: int
    at: datetime


class Leadership:
    """This weft's leadership of one project."""

    def __init__(self, weft: str) -> None:
        self.weft = weft
        self.epoch = 0
        self._sequence = 0

    async def take(self, project: Project) -> None:
        """Become the leader: one compare-and-set append. Raises: Conflict if another weft took it in this moment."""
        subject = subjects.leader(project.id)
        last = await project.work_log.last(subject)
        before = _epoch(project, last) if last else 0
        record = LeaderRecord(weft=self.weft, epoch=before + 1, at=project.clock.now())
        expect = last.sequence if last else 0
        appended = await project.work_log.append(subject, records.encode(record), expect=expect)
        self.epoch, self._sequence = record.epoch, appended.sequence

    async def confirmed(self, project: Project) -> bool:
        """Return whether the last leader record is still ours, by a fresh read. Raises: BrokerUnavailable."""
        last = await project.work_log.last(subjects.leader(project.id))
        return last is not None and last.sequence == self._sequence


def _epoch(project: Project, last: Record) -> int:
    """Return the epoch of the last leader; one that cannot be read was not above the record's own sequence."""
    try:
        return records.decode(LeaderRecord, last.data).value.epoch
    except CorruptRecord as error:
        project.note_corrupt(last.subject, error)
        return last.sequence
