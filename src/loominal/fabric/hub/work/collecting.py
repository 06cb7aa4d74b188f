"""Forgetting: what ended long ago leaves a tombstone that keeps its id refused, and nothing else."""

from __future__ import annotations

from datetime import timedelta

from loominal.broker import subjects
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.book import Entry
from loominal.fabric.hub.work.moving import move
from loominal.model.errors import IllegalMove, NotFound
from loominal.model.moves import Collect
from loominal.model.work import Status, WorkItem

KEPT = {
    Status.DONE: timedelta(days=7),
    Status.CANCELLED: timedelta(days=7),
    Status.DISCARDED: timedelta(days=7),
    Status.DEAD: timedelta(days=30),
}
A_ROUND = 20  # items forgotten in one round: the rest can wait


async def collect(project: Project) -> None:
    """Forget a few items whose time has come; one that somebody still waits for is kept."""
    if not project.clock.settled:
        return
    for item in _forgettable(project):
        try:
            entry = await move(project, item.id, Collect())
        except (IllegalMove, NotFound):
            continue
        await clear(project, entry)


async def clear(project: Project, tombstone: Entry) -> None:
    """Remove what the log has of a forgotten item beside its tombstone; its submission goes last."""
    item_id = tombstone.item.id
    await project.work_log.purge(subjects.item(project.id, item_id), below=tombstone.sequence)
    await project.work_log.purge(subjects.submission(project.id, item_id))


def _forgettable(project: Project) -> list[WorkItem]:
    now = project.clock.now()
    found: list[WorkItem] = []
    for status, kept in KEPT.items():
        for item in project.book.oldest_first(status):
            if len(found) >= A_ROUND or now - item.submitted_at < kept:
                break
            if item.ended_at and now - item.ended_at >= kept and item.id not in project.book.children:
                found.append(item)
    return found
