"""Which item somebody means: its id, or the asker's own task id."""

from __future__ import annotations

from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.book import Entry
from loominal.model.errors import NotFound
from loominal.model.names import shown, work_id


def resolve(project: Project, caller: Caller, text: str) -> Entry:
    """Return the item that `text` names: an id, a task id of the caller's, or of an item it holds. Raises: NotFound."""
    by_id = project.book.get(text)
    if by_id is not None and not by_id.item.collected:
        return by_id
    own = project.book.get(work_id(project.id, caller.agent, text))
    if own is not None and not own.item.collected:
        return own
    for item_id in project.book.held_by.get(caller.agent, ()):
        entry = project.book.find(item_id)
        if entry.item.task_id == text:
            return entry
    raise NotFound(f"there is no work item {shown(text)}", "list_work shows the items")
