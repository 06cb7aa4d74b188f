"""Reading a project into memory, and keeping it there: a follower for each log. What cannot be read is noted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from loominal.broker import subjects
from loominal.broker.bucket import Deleted, Entry
from loominal.broker.event import Event
from loominal.broker.follower import Follower
from loominal.broker.log import Log, Record
from loominal.fabric.hub import ops_policy, streams
from loominal.fabric.hub.agents import draining
from loominal.fabric.hub.agents import records as agents_records
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.spinup import launches, targets
from loominal.fabric.hub.work.collecting import clear
from loominal.fabric.hub.work.moving import follow
from loominal.fabric.hub.work.submitting import start
from loominal.model import record as records
from loominal.model.errors import CorruptRecord
from loominal.model.work import Submission

CATCH_UP_SECONDS = 10.0  # with what was stored while the lead changed hands: milliseconds, unless the broker is ill
LOAD_SECONDS = 120.0  # 100 000 items take a few; a slow disk is given time


class Loading:
    """The followers of one project, as tasks of `group`; `replaced` is set when the project must be read anew."""

    def __init__(self, project: Project, group: asyncio.TaskGroup) -> None:
        self.replaced = Event()
        self._project = project
        self._group = group
        self._submitted: set[str] = set()
        self._launches = subjects.every("launch", project.id).removesuffix("*")
        self._leader = subjects.leader(project.id)
        self._work: Follower | None = None
        self._others: tuple[Follower, ...] = ()

    async def load(self) -> None:
        """Return when all that is stored is in memory. Raises: BrokerUnavailable."""
        p = self._project
        p.loading = True
        bucket = p.bucket.follow(self._entry, on_reset=self.replaced.set)
        channels = self._follower(p.channel_log, "ch", p.channels.apply, headers_only=True)
        inboxes = self._follower(p.inbox_log, "in", p.inboxes.apply, headers_only=True)
        work = self._follower(
            p.work_log,
            "wk",
            self._work_record,
            beside=(subjects.leader(p.id), subjects.every("launch", p.id)),
            last_per_subject=True,
        )
        self._work, self._others = work, (bucket, channels, inboxes)
        for follower in (*self._others, work):
            self._group.create_task(follower.run(), name=f"follow {p.id}")
        for follower in (*self._others, work):
            await follower.caught_up(LOAD_SECONDS)
        p.loading = False
        p.ended.set()  # among what was read may be ends of which somebody has yet to hear

    async def take_over(self) -> None:
        """Return when all that a former leader has stored is in memory, and what it left half done is finished.

        To be called by the new leader. Raises: BrokerUnavailable.
        """
        assert self._work is not None
        await self._work.passed(self._project.leadership.sequence, CATCH_UP_SECONDS)
        for follower in self._others:
            await follower.up_to_date(CATCH_UP_SECONDS)
        await self._start_unstarted()

    def _follower(
        self,
        source: Log,
        kind: str,
        handler: Callable[[Record], None],
        *,
        beside: tuple[str, ...] = (),
        headers_only: bool = False,
        last_per_subject: bool = False,
    ) -> Follower:
        def guarded(record: Record) -> None:
            try:
                handler(record)
            except CorruptRecord as error:
                self._project.note_corrupt(record.subject, error)

        return Follower(
            source,
            (subjects.every(kind, self._project.id), *beside),
            guarded,
            headers_only=headers_only,
            last_per_subject=last_per_subject,
            on_reset=self.replaced.set,
        )

    def _work_record(self, record: Record) -> None:
        if record.subject == self._leader:
            self._project.leadership.apply(self._project, record)
        elif record.subject.startswith(self._launches):
            launches.follow(self._project, record)
        else:
            self._item(record)

    def _item(self, record: Record) -> None:
        known = self._project.book.get(subjects.last_token(record.subject))
        written_here = known is not None and known.sequence >= record.sequence
        try:
            if record.data and not written_here:  # a tombstone whose time ran out leaves an empty marker
                follow(self._project, record)
        finally:
            self._project.feed.take(record)

    def _entry(self, change: Entry | Deleted) -> None:
        project, kind = self._project, change.key.partition(".")[0]
        try:
            if kind in ("agent", "handle"):
                agents_records.remember(project, change)
            elif kind == "chan":
                project.channels.apply_entry(change)
            elif kind == "in":
                project.inboxes.apply_entry(change)
            elif kind in (targets.TARGET, targets.NAME):
                targets.remember(project, change)
            elif kind == draining.DRAIN:
                draining.remember(project, change)
            elif kind == ops_policy.POLICY:
                ops_policy.remember(project, change)
            elif kind == streams.GENERATION and isinstance(change, Entry):
                streams.remember_generation(project, change)
        except CorruptRecord as error:
            project.note_corrupt(change.key, error)

    async def _start_unstarted(self) -> None:
        """Finish what a hub began when it died between two writes: first states, and forgetting."""
        p = self._project
        # A submission is stored once, before its item's first state, and removed after its tombstone is stored. So if
        # there are as many as items that are not forgotten, each has its item: 100 000 need not be listed to see that.
        # The items are counted first: whatever another hub writes meanwhile only makes the numbers differ.
        known = p.book.counts().total()
        if await p.work_log.count(subjects.every("spec", p.id)) == known:
            return
        follower = self._follower(p.work_log, "spec", self._submission, headers_only=True, last_per_subject=True)
        task = self._group.create_task(follower.run(), name=f"submissions {p.id}")
        try:
            await follower.caught_up(LOAD_SECONDS)
        finally:
            task.cancel()
        for item_id in self._submitted:
            subject = subjects.submission(p.id, item_id)
            entry = p.book.get(item_id)
            if entry is not None:
                if entry.item.collected:  # the hub died while it forgot the item
                    await clear(p, entry)
                continue
            last = await p.work_log.last(subject)
            try:
                if last is not None:
                    await start(p, records.decode(Submission, last.data).value)
            except CorruptRecord as error:
                p.note_corrupt(subject, error)
        self._submitted.clear()

    def _submission(self, record: Record) -> None:
        self._submitted.add(subjects.last_token(record.subject))
