"""Keeping this project's part of the directory: an agent stands there before it hears that it is public."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loominal.fabric.hub.abroad.directory import Place
from loominal.model.grant import Visibility

if TYPE_CHECKING:
    from loominal.fabric.hub.project import Project
    from loominal.model.agent import AgentRecord


def is_public(record: AgentRecord | None) -> bool:
    """Return whether an agent may be seen from other projects, as far as it has a say."""
    return record is not None and record.registered and record.visibility is Visibility.PUBLIC


async def publish(project: Project, record: AgentRecord) -> None:
    """Let the directory have an agent that has just become public, and no other. Raises: BrokerUnavailable."""
    if project.abroad is None:
        return
    directory = project.abroad.directory
    if is_public(record):
        await directory.put_place(Place(project=project.id, title=project.title))
        await directory.add(project.id, record.id)
    elif record.id in directory.agents(project.id):
        await directory.remove(project.id, record.id)


async def settle(project: Project) -> None:
    """Make the directory say what is true; every round of the leader calls it. Raises: BrokerUnavailable."""
    if project.abroad is None or not project.abroad.directory.is_read:
        return
    directory, public = project.abroad.directory, project.agents.public()
    if public:
        await directory.put_place(Place(project=project.id, title=project.title))
    listed = directory.agents(project.id)
    for agent in public - listed:
        await directory.add(project.id, agent)
    for agent in listed - public:
        await directory.remove(project.id, agent)
    if not public and directory.place(project.id) is not None:
        await directory.remove_place(project.id)


async def put_to_sleep(project: Project) -> None:
    """Note that the project is left to nobody: while it is, none of its agents is online. Raises: BrokerUnavailable."""
    place = project.abroad and project.abroad.directory.place(project.id)
    if project.abroad and place:
        await project.abroad.directory.put_place(replace(place, awake=False))
