"""The fabric as weft serves it: which projects are loaded, who comes and goes, and what keeps it from being ready.

One class for each way of being connected: `operator_fabric.py` under our own keys, `open_fabric.py` on somebody else's
broker. Here is what the HTTP interface asks of either, and what they share.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Protocol

from loominal.broker.connection import Broker
from loominal.fabric.hub.access.authority import FabricRegistry
from loominal.fabric.hub.access.bearers import Bearers
from loominal.fabric.hub.lead.membership import Membership
from loominal.fabric.hub.timings import Timings
from loominal.model.errors import LoominalError
from loominal.weft.events.watches import Watches
from loominal.weft.projects import Projects

REVIEW_SECONDS = 5.0  # between two looks at what is needed no longer, and at what is due

log = logging.getLogger(__name__)


class Fabric(Protocol):
    """What the HTTP interface asks of either."""

    failures: Counter[str]  # of duties, by name

    def projects(self) -> Projects | None:
        """Return the projects that are loaded here; None while the fabric is not open."""

    def broker(self) -> Broker | None:
        """Return the connection on which the fabric itself is kept; None while there is none."""

    def reasons(self) -> list[str]:
        """Return what keeps the fabric from serving everybody, one line each; nothing if it serves."""

    def titles(self) -> dict[str, str]:
        """Return how lists show each known project, by id."""

    def activity(self) -> tuple[int, int] | None:
        """Return how many agents are online and how many items are open; None while that is not known."""

    def leaders(self) -> dict[str, str]:
        """Return the weft that leads each project loaded here, "" where nobody does."""

    def in_use(self, project: str) -> bool:
        """Return whether some weft has `project` loaded, as far as this one can know: it, or somebody who is there."""

    def watches(self) -> Watches:
        """Return the projects that are watched here. Raises: BrokerUnavailable while this weft cannot know them."""

    def wefts(self) -> list[str]:
        """Return the wefts that are alive and stay."""

    def bearers(self) -> Bearers | None:
        """Return the bearer tokens that the registry keeps; None in open mode.

        Raises: BrokerUnavailable while it is not read.
        """

    async def open_project(self, project: str, *, meant: bool) -> bool:
        """Return whether there is that project, and have it served; one that is `meant` is made if it is not there.

        Raises: InvalidArgument if no project can be called so, BrokerUnavailable.
        """

    def connect_as(self, project: str, caller: str) -> AbstractAsyncContextManager[Broker]:
        """Open a connection on which `caller`, who holds a bearer token, asks in `project`."""


def reasons_of(members: Membership, projects: Projects) -> list[str]:
    """Return what keeps the loaded projects from being served, one line each."""
    if not members.sure():
        return ["membership: this weft cannot tell the others that it lives"]
    late = [f"leadership: project {project} is not served yet" for project in projects.not_ready()]
    full = [f"store: {why}" for why in projects.fullness.refused()]
    return full + late + [f"upgrade: {why}" for why in projects.read_only()]


async def leave(members: Membership | None, projects: Projects | None, seconds: float) -> None:
    """Let the others know that this weft ends, and hand every project on."""
    if members is None or projects is None:
        return
    try:
        await members.leave()
    except LoominalError as error:
        log.info("the other wefts are not told that this one ends: %s", error)
    await projects.leave(seconds)


async def look_through(projects: Projects, timings: Timings, registry: FabricRegistry | None) -> None:
    """Load what is due and leave what nobody needs, until cancelled."""
    met: dict[str, datetime] = {}  # project -> the time for which it was loaded
    while True:
        for record in registry.due(datetime.now(UTC)) if registry else ():
            if met.get(record.project) != record.at:
                met[record.project] = record.at
                projects.need(record.project)
        projects.review_all()
        projects.tidy()
        await asyncio.sleep(min(REVIEW_SECONDS, timings.unload_seconds / 5))
