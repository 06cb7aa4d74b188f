"""Rest: a project in which nothing can happen by itself is hardly looked at. Rounds, pulse and vigil ask here.

Whatever happens there again begins with an agent that is heard, or with a deadline.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from loominal.fabric.hub.lead.due import next_time
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.spinup.needs import needs_rounds

REST_SECONDS = 30.0  # between two looks all the same: what ended long ago is forgotten some time


def at_rest(project: Project) -> bool:
    """Return whether no agent is online, nothing is claimed or to be told, and no deadline has passed."""
    busy = (
        needs_rounds(project)
        or len(project.leases)
        or project.book.untold
        or project.presence.someone.is_set()
        or project.ended.is_set()
    )
    at = next_time(project)
    return not (busy or project.inboxes.unwritten()) and (at is None or at > project.clock.now())


async def rest(project: Project) -> None:
    """Return at once, or, of a project at rest, when an agent is heard, a deadline passes, or REST_SECONDS are over."""
    if not at_rest(project):
        return
    at, seconds = next_time(project), REST_SECONDS
    if at is not None:
        seconds = min(seconds, (at - project.clock.now()).total_seconds())
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await project.presence.someone.wait()
