"""The one way an item moves: step, append at the sequence it was read at, take the new record into the book.

Process killed before the append: nothing happened. After it: the log has it, and the same op finds its own move.
Answer lost: the append is repeated at the same sequence, so at most one lands.
"""

from __future__ import annotations

import logging

from msgspec.structs import replace

from loominal.broker import subjects
from loominal.broker.log import Record
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work import after
from loominal.fabric.hub.work.book import Entry, read
from loominal.model import record as records
from loominal.model.errors import BrokerUnavailable, Conflict, CorruptRecord, NotFound
from loominal.model.lifecycle import step
from loominal.model.moves import WorkEvent
from loominal.model.work import WorkItem, done_op, with_sequence

log = logging.getLogger(__name__)

TRIES = 8  # each lost race means that somebody else's move succeeded
COLLECTED_SECONDS = 90 * 86_400  # how long a forgotten item's id stays refused


async def move(project: Project, item_id: str, event: WorkEvent, *, known: Entry | None = None) -> Entry:
    """Return the item's entry after `event`, or as `event.op` left it before.

    `known` is the whole entry as the caller has just read it, and spares a read of an item that has ended.
    Raises: NotFound, what `step` raises, QuotaExceeded, BrokerUnavailable (the same op may be asked again).
    """
    for attempt in range(TRIES):
        entry = known or await _whole(project, item_id)
        known = None
        if done_op(entry.item, event.op):
            return entry
        item = step(entry.item, event, project.clock.now())
        try:
            return await _append(project, entry, item)
        except Conflict:
            await refresh(project, item_id)
        except BrokerUnavailable:
            if attempt == TRIES - 1 or not project.broker.up:
                raise
            await refresh(project, item_id)
    raise Conflict(f"{item_id} moves too fast to be moved")


async def refresh(project: Project, item_id: str) -> Entry | None:
    """Read an item's last record into the book and return it; None if there is none."""
    subject = subjects.item(project.id, item_id)
    last = await project.work_log.last(subject)
    if last is None:
        return None
    return follow(project, last)


def follow(project: Project, record: Record) -> Entry:
    """Take an item's newest record into the book and return it.

    Raises: CorruptRecord; the item is then not in the book any more, as it would not be after a restart.
    """
    try:
        entry = read(record)
    except CorruptRecord as error:
        project.note_corrupt(record.subject, error)
        item_id = subjects.last_token(record.subject)
        project.book.drop(item_id, record.sequence)
        if project.book.get(item_id) is None:
            project.leases.end(item_id)
        raise
    take(project, entry)
    return entry


def take(project: Project, entry: Entry) -> None:
    """Take a record into the book; if it was news, let everybody know whom it concerns."""
    before = project.book.get(entry.item.id)
    if not project.book.apply(entry):
        return
    if project.loading and before is None:
        after.loaded(project, entry.item)
    else:
        if project.leadership.led_at(entry.sequence):
            project.tally.moved(before.item if before else None, entry.item)
        after.moved(project, before.item if before else None, entry.item)


async def first(project: Project, item: WorkItem) -> Entry:
    """Return the entry of `item`'s first state, written now or before."""
    subject = subjects.item(project.id, item.id)
    try:
        appended = await project.work_log.append(subject, records.encode(item), expect=0)
    except (Conflict, BrokerUnavailable):
        found = await refresh(project, item.id)
        if found is None:
            raise
        return found
    entry = Entry(item, appended.sequence, {})
    take(project, entry)
    return entry


async def _whole(project: Project, item_id: str) -> Entry:
    """Return an item with all of its fields, also those that only the log has."""
    entry = project.book.find(item_id)
    if entry.whole:
        return entry
    fresh = await refresh(project, item_id)
    if fresh is None:
        raise NotFound(f"there is no work item {item_id}")
    return fresh


async def _append(project: Project, entry: Entry, item: WorkItem) -> Entry:
    data = records.encode(item, entry.extra)
    ttl_seconds = COLLECTED_SECONDS if item.collected else None
    subject = subjects.item(project.id, item.id)
    appended = await project.work_log.append(subject, data, expect=entry.sequence, ttl_seconds=ttl_seconds)
    moved = replace(entry, item=with_sequence(item, appended.sequence), sequence=appended.sequence)
    take(project, moved)
    return moved
