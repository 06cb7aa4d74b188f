"""Which item somebody means: its id, or what its offerer calls it."""

from __future__ import annotations

from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.book import Entry
from loominal.model.errors import InvalidArgument, NotFound
from loominal.model.grant import CORPORATE, Role, admits, grants_boundary, in_force
from loominal.model.names import api_role, shown, work_id
from loominal.model.work import WorkItem


def sees(project: Project, caller: Caller, item: WorkItem) -> bool:
    """Return whether the caller may read it: who offered or held it, and who may read all work of its boundary."""
    own = caller.agent in (item.submitter, item.claimed_by, item.last_holder)
    return own or sees_boundary(project, caller, item.boundary)


def sees_boundary(project: Project, caller: Caller, boundary: str) -> bool:
    """Return whether the caller may read all work of `boundary`: operators, and who is granted it.

    Who asks over REST was let into the project by a bearer token, which stands for a grant of all but `corporate`.
    """
    standing = caller.standing
    if standing.role is Role.OPERATOR:
        return True
    if api_role(caller.agent):
        return boundary != CORPORATE
    record, now = project.agents.get(caller.agent), project.clock.now()
    if standing.role is Role.OBSERVER:  # who takes no part is of no type
        return any(
            grants_boundary(grant, boundary) and in_force(grant, project=project.id, now=now)
            for grant in standing.grants
        )
    agent_type = record.agent_type if record else ""
    return any(
        grants_boundary(grant, boundary) and admits(grant, project=project.id, agent_type=agent_type, now=now)
        for grant in standing.grants
    )


def resolve(project: Project, caller: Caller, text: str) -> Entry:
    """Return the item that `text` names: an id, or a task id: the caller's own, of an item it holds, of any other.

    Raises: NotFound, also for an item that the caller may not see; InvalidArgument for a task id of several others.
    """
    by_id = project.book.get(text)
    if by_id is not None and not by_id.item.collected and sees(project, caller, by_id.item):
        return by_id
    own = project.book.get(work_id(project.id, caller.agent, text))
    if own is not None and not own.item.collected:
        return own
    for item_id in project.book.held_by.get(caller.agent, ()):
        entry = project.book.find(item_id)
        if entry.item.task_id == text:
            return entry
    called = [
        entry for each in project.book.called(text) if sees(project, caller, (entry := project.book.find(each)).item)
    ]
    if len(called) > 1:
        raise InvalidArgument(
            f"{len(called)} agents have offered a task {shown(text)}", "use the id that list_work shows"
        )
    if called:
        return called[0]
    raise NotFound(f"there is no work item {shown(text)}", "list_work shows the items")
