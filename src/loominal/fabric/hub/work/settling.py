"""Dependencies: when an item ends, whoever waits for it hears the outcome. Derived from the book, so never missed."""

from __future__ import annotations

from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.moving import move
from loominal.model.errors import IllegalMove, NotFound
from loominal.model.moves import Resolve
from loominal.model.work import ENDED, Status, WorkItem


async def settle(project: Project, item: WorkItem) -> None:
    """Write into a blocked item the ends of its dependencies that it does not know yet."""
    for parent, outcome in item.deps.items():
        known = project.book.get(parent)
        end = known.item.status if known else Status.DISCARDED  # gone for good: nobody can wait for it
        if outcome is None and end in ENDED:
            try:
                await move(project, item.id, Resolve(parent=parent, outcome=end))
            except (IllegalMove, NotFound):
                return  # it ended or went on meanwhile


async def settle_all(project: Project) -> None:
    """Settle the children of every item that has ended."""
    for parent in [each for each in project.book.children if _has_ended(project, each)]:
        for child in list(project.book.children.get(parent, ())):
            if entry := project.book.get(child):
                await settle(project, entry.item)


def _has_ended(project: Project, item_id: str) -> bool:
    entry = project.book.get(item_id)
    return entry is None or entry.item.status in ENDED
