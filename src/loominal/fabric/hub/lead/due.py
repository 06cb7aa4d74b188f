"""When a project that is not loaded must be: the earliest time at which something happens in it by itself.

It is kept in the fabric's registry. Claims, and ends that nobody was told of, keep the project loaded besides.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from loominal.fabric.hub.spinup.needs import needs_leader

if TYPE_CHECKING:
    from loominal.fabric.hub.project import Project


def next_time(project: Project) -> datetime | None:
    """Return the earliest deadline, or when work becomes ready for which agents can be started; None without any."""
    times = [project.book.next_deadline(), project.book.next_due() if len(project.targets) else None]
    return min((at for at in times if at is not None), default=None)


async def keep(project: Project) -> None:
    """Write that time if it is earlier than what stands there; every round calls it. Raises: BrokerUnavailable."""
    if needs_leader(project):
        await keep_loaded(project)
        return
    at, known = next_time(project), project.authority.due_at(project.id)
    if at is not None and (known is None or at < known):
        await project.authority.set_due(project.id, at)


async def keep_loaded(project: Project) -> None:
    """Write that the project must be loaded now, unless that was written lately. Raises: BrokerUnavailable.

    Nobody else may be there who would have it loaded after this weft's death.
    """
    known, now = project.authority.due_at(project.id), project.clock.now()
    old = timedelta(seconds=project.timings.unload_seconds / 2)
    if known is None or known > now or now - known > old:
        await project.authority.set_due(project.id, now)


async def settle(project: Project) -> None:
    """Write that time, or that there is none: the project is about to be left."""
    at = project.clock.now() if needs_leader(project) else next_time(project)
    if at != project.authority.due_at(project.id):
        await project.authority.set_due(project.id, at)
