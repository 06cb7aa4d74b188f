"""What follows from a move, in memory only: leases begin and end, polls look again, waiting requests wake."""

from __future__ import annotations

from datetime import datetime

from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.matching import offer
from loominal.model.work import ENDED, Status, WorkItem


def loaded(project: Project, item: WorkItem) -> None:
    """Know what follows from where an item stands as its project is loaded, while nobody can wait for anything yet."""
    if item.status is Status.CLAIMED:
        project.leases.begin(item, project.clock.monotonic())
        project.crowd.touch(item.claimed_by)
    elif item.last_holder:
        _let_go(project, item.last_holder, item.ended_at or item.last.at)


def moved(project: Project, before: WorkItem | None, item: WorkItem) -> None:
    """Let everybody know whom the item's new state concerns; called once per record, whoever wrote it."""
    if item.status is Status.CLAIMED:
        project.leases.begin(item, project.clock.monotonic())
    else:
        project.leases.end(item.id)
        project.progress.pop(item.id, None)  # the next holder begins anew
    if before is not None and before.claimed_by and before.claimed_by != item.claimed_by:
        _let_go(project, before.claimed_by, item.last.at)
        project.wakes.wake(before.claimed_by)
        project.polls.room(before.claimed_by)
    elif before is None and item.last_holder and not item.claimed_by:
        _let_go(project, item.last_holder, item.ended_at or item.last.at)
    if item.claimed_by:
        project.crowd.touch(item.claimed_by)
        project.wakes.wake(item.claimed_by)
    if item.status is Status.READY:
        offer(project, item)
    if item.status not in ENDED:
        project.told.pop(item.id, None)  # retried: the next end is another one
    elif item.id in project.book.untold or item.id in project.book.children:
        project.ended.set()
    project.movements.note(item.id)
    project.wakes.wake(item.id)


def _let_go(project: Project, agent: str, at: datetime) -> None:
    """A claim of `agent` has ended."""
    project.crowd.touch(agent)
    project.idle_since[agent] = max(at, project.idle_since.get(agent, at))
