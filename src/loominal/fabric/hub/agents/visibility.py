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
    """Return the agent of this project that `text` names for the caller: a guid, a handle, or `handle@project`.

    Agents that are not registered any more, or never were, are found too. Raises: NotFound, also for who is hidden.
    """
    record = find(project, caller, text)
    if record is None:
        raise nobody(text)
    return record


def find(project: Project, caller: Caller, text: str) -> AgentRecord | None:
    """Return the agent of this project that `text` names, None if it names nobody here. Raises: NotFound if hidden."""
    record = project.agents.find(text, names_of(project))
    if record is not None and not sees(project, caller, record):
        raise nobody(text)
    return record


def nobody(text: str) -> NotFound:
    """Return the error for a name that names nobody whom the asker may see."""
    hint = "discover_agents with scope fabric shows who can be told elsewhere"
    return NotFound(f"there is no agent {shown(text)}", hint if "@" in text else "discover_agents shows who is there")


def names_of(project: Project) -> set[str]:
    """Return what may stand behind the `@` for this project, in lower case; another project's id is that one's."""
    others = {project.title.lower(), PurePath(project.title).name.lower()}
    if project.abroad is not None:
        others = {name for name in others if project.abroad.directory.place(name) is None}
    return others | {project.id}
