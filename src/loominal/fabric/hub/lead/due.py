"""When a project that is not loaded must be: the earliest time at which something happens in it by itself.

It is kept in the fabric's registry. Claims, and ends that nobody was told of, keep the project loaded besides.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from loominal.fabric.hub.project import Project
from loominal.fabric.hub.spinup.scaler import needs_leader


def next_time(project: Project) -> datetime | None:
    """Return the earliest deadline, or when work becomes ready for which agents can be started; None without any."""
    times = [project.book.next_deadline(), project.book.next_due() if len(project.targets) else None]
    return min((at for at in times if at is not None), default=None)


async def keep(project: Project) -> None:
    """Write that time if it is earlier than what stands there; every round calls it.

    While agents are being started it is now, and that is renewed: nobody else may be there who would have the project
    loaded after this weft's death.
    """
    known, now = project.authority.due_at(project.id), project.clock.now()
    if needs_leader(project):
        old = timedelta(seconds=project.timings.unload_seconds / 2)
        if known is None or known > now or now - known > old:
            await project.authority.set_due(project.id, now)
        return
    at = next_time(project)
    if at is not None and (known is None or at < known):
        await project.authority.set_due(project.id, at)


async def settle(project: Project) -> None:
    """Write that time, or that there is none: the project is about to be left."""
    at = project.clock.now() if needs_leader(project) else next_time(project)
    if at != project.authority.due_at(project.id):
        await project.authority.set_due(project.id, at)
