"""When a project that is not loaded must be: the earliest deadline in it. Kept in the fabric's registry.

What else needs a leader without an agent keeps the project loaded: claims, and ends that nobody was told of.
"""

from __future__ import annotations

from loominal.fabric.hub.project import Project


async def keep(project: Project) -> None:
    """Write the earliest deadline if it is earlier than what stands there; every round calls it."""
    at, known = project.book.next_deadline(), project.authority.due_at(project.id)
    if at is not None and (known is None or at < known):
        await project.authority.set_due(project.id, at)


async def settle(project: Project) -> None:
    """Write the earliest deadline, or that there is none: the project is about to be left."""
    at = project.book.next_deadline()
    if at != project.authority.due_at(project.id):
        await project.authority.set_due(project.id, at)
