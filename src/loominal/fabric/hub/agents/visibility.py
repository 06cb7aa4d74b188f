"""Who may see whom, and which agent a text names for its asker."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from loominal.model.errors import NotFound
from loominal.model.grant import Visibility
from loominal.model.names import shown

if TYPE_CHECKING:
    from loominal.fabric.hub.caller import Caller
    from loominal.fabric.hub.project import Project
    from loominal.model.agent import AgentRecord


def user_of(project: Project, caller: Caller) -> str:
    """Return whose agent the caller is: as enrolled, or in open mode as its process says."""
    if project.authority.open_mode:
        return caller.standing.user or project.presence.greeting(caller.agent).user
    return caller.standing.user


def sees(project: Project, caller: Caller, record: AgentRecord) -> bool:
    """Return whether the caller may see that agent; everybody sees themselves."""
    if record.id == caller.agent:
        return True
    if record.visibility is Visibility.USER_ONLY:
        return record.user == user_of(project, caller)
    return record.visibility is not Visibility.PRIVATE


def resolve(project: Project, caller: Caller, text: str) -> AgentRecord:
    """Return the agent that `text` names for the caller: a guid, a handle, or `handle@project`.

    Agents that are not registered any more, or never were, are found too. Raises: NotFound, also for who is hidden.
    """
    here = {project.id, project.title, PurePath(project.title).name}
    record = project.agents.find(text, {name.lower() for name in here})
    if record is None or not sees(project, caller, record):
        raise NotFound(f"there is no agent {shown(text)}", "discover_agents shows who is there")
    return record
