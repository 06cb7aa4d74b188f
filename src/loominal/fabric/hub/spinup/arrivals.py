"""The coming of a launched agent: what it may be is its target's word, and if it is not let in its launch says why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from loominal.fabric.hub.spinup import launches
from loominal.model.errors import Forbidden

if TYPE_CHECKING:
    from loominal.fabric.hub.caller import Caller
    from loominal.fabric.hub.project import Project


@asynccontextmanager
async def arriving(project: Project, caller: Caller) -> AsyncIterator[None]:
    """Have the block register the caller; if it is refused and a launch has started it, that is noted there.

    Raises: as the block; Conflict, BrokerUnavailable.
    """
    try:
        yield
    except Forbidden as error:
        if project.launches.get(caller.standing.launch) is not None:
            why = f"its agent was not let in: {error.message}" + (f" ({error.hint})" if error.hint else "")
            await launches.note_refusal(project, caller.standing.launch, why)
        raise


def target_of(project: Project, caller: Caller) -> str:
    """Return the name of the target that has started the caller, "" if none has."""
    launch = project.launches.get(caller.standing.launch)
    return launch.target_name if launch else ""
