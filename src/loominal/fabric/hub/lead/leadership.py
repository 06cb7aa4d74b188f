"""Who leads a project: the last record of `wk-lead`. Whoever leads judges; all writes are fenced by sequence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import msgspec

from loominal.broker import subjects
from loominal.broker.event import Event
from loominal.broker.log import Entry, Record
from loominal.model import record as records
from loominal.model.errors import CorruptRecord

if TYPE_CHECKING:
    from loominal.fabric.hub.project import Project

NOBODY = ""


class LeaderRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who leads since when; `epoch` only grows. Also what stands on `fence`: in whose epoch it was last moved."""

    v: int = records.version(1)
    weft: str  # NOBODY: whoever is first in order may take it
    epoch: int
    at: datetime


class Members(Protocol):
    """What leading takes of the wefts (`Membership`)."""

    @property
    def handing_over(self) -> asyncio.Lock:
        """Held while a project goes to another weft that is better placed to lead it."""

    @property
    def me(self) -> str:
        """This weft's id."""

    def order(self, project: str) -> list[str]:
        """Return the wefts that are alive and stay, in the order in which they are to lead."""

    def is_dead(self, weft: str) -> bool:
        """Return whether `weft` is known to be dead."""

    def sure(self) -> bool:
        """Return whether this weft may conclude anything about others."""

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` whenever a weft comes, leaves or dies; return what takes it off again."""

    async def remind(self, weft: str, project: str) -> None:
        """Let `weft` know that it leads `project`, should it not have it loaded."""


class Leadership:
    """What this weft knows of one project's leader. `news` is set at every record and by whoever follows the wefts."""

    def __init__(self, members: Members) -> None:
        self.members = members
        self.news = Event()
        self.epoch = 0
        self.holder = NOBODY
        self.sequence = 0  # of the last record known
        self.fence = 0  # of the last move of `fence` by this leader
        self.writing = asyncio.Lock()  # one guarded write at a time
        self._own = 0  # sequence of the record that made this weft the leader

    @property
    def leads(self) -> bool:
        """Whether this weft leads, as far as it knows."""
        return self._own != 0 and self._own == self.sequence

    @property
    def elsewhere(self) -> bool:
        """Whether another weft leads that is not known to be dead."""
        return self.holder not in (NOBODY, self.members.me) and not self.members.is_dead(self.holder)

    def falls_to_me(self, project: str) -> bool:
        """Return whether this weft is to take the lead now: it was named, or is first in order and nobody leads."""
        if self.holder == self.members.me:
            return True
        return not self.elsewhere and self.members.sure() and self.members.order(project)[:1] == [self.members.me]

    def led_at(self, sequence: int) -> bool:
        """Return whether this weft leads and did when the work log's record at `sequence` was written."""
        return self.leads and sequence > self.sequence

    def apply(self, project: Project, record: Record) -> None:
        """Take a record of `wk-lead`; an older one than known changes nothing."""
        if record.sequence > self.sequence:
            self.sequence = record.sequence
            self.holder, self.epoch = _read(project, record)
            self.news.set()

    async def read(self, project: Project) -> None:
        """Know the last record of `wk-lead`. Raises: BrokerUnavailable."""
        if last := await project.work_log.last(subjects.leader(project.id)):
            self.apply(project, last)

    async def take(self, project: Project) -> None:
        """Become the leader; whatever a former one guards by `fence` is refused from now on.

        Raises: Conflict if another weft took it in this moment, BrokerUnavailable.
        """
        fence = await project.work_log.last(subjects.fence(project.id))
        record = LeaderRecord(weft=self.members.me, epoch=self.epoch + 1, at=project.clock.now())
        data = records.encode(record)
        self._own, self.fence = await project.work_log.append_all(
            [
                Entry(subject=subjects.leader(project.id), data=data, expect=self.sequence),
                Entry(subject=subjects.fence(project.id), data=data, expect=fence.sequence if fence else 0),
            ]
        )
        if self._own > self.sequence:
            self.sequence, self.holder, self.epoch = self._own, self.members.me, record.epoch

    async def name(self, project: Project, successor: str) -> None:
        """Leave the lead to `successor`, or to NOBODY. Raises: Conflict if it was lost before, BrokerUnavailable."""
        record = LeaderRecord(weft=successor, epoch=self.epoch + 1, at=project.clock.now())
        await project.work_log.append(subjects.leader(project.id), records.encode(record), expect=self._own)
        self._own = 0

    async def confirmed(self, project: Project) -> bool:
        """Return whether the last leader record is still ours, by a fresh read; if not, `news` says so, too.

        Raises: BrokerUnavailable.
        """
        last = await project.work_log.last(subjects.leader(project.id))
        if last is not None and last.sequence == self._own:
            return True
        self._own = 0
        if last is not None:
            self.apply(project, last)
        self.news.set()
        return False


def _read(project: Project, record: Record) -> tuple[str, int]:
    """Return leader and epoch; an epoch that cannot be read was not above the record's own sequence."""
    try:
        value = records.decode(LeaderRecord, record.data).value
        return value.weft, value.epoch
    except CorruptRecord as error:
        project.note_corrupt(record.subject, error)
        return NOBODY, record.sequence
