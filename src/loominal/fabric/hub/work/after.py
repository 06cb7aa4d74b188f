"""What follows from a move, in memory only: leases begin and end, polls look again, waiting requests wake."""

from __future__ import annotations

from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.matching import offer
from loominal.model.work import ENDED, Status, WorkItem


def moved(project: Project, before: WorkItem | None, item: WorkItem) -> None:
    """Let everybody know whom the item's new state concerns; called once per record, whoever wrote it."""
    if item.status is Status.CLAIMED:
        project.leases.begin(item, project.clock.monotonic())
    else:
        project.leases.end(item.id)
        project.progress.pop(item.id, None)  # the next holder begins anew
    if item.status is Status.READY:
        offer(project, item)
    if before is not None and before.claimed_by and before.claimed_by != item.claimed_by:
        project.wakes.wake(before.claimed_by)
        project.polls.room(before.claimed_by)
    if item.claimed_by:
        project.wakes.wake(item.claimed_by)
    if item.status in ENDED:
        project.ended.set()
    else:
        project.told.pop(item.id, None)  # retried: the next end is another one
    project.wakes.wake(item.id)
