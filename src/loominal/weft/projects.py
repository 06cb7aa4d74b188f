"""The projects that this weft has loaded, each served by a hub that is started again when it fails."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager

from loominal.broker.connection import Broker
from loominal.broker.log import Log
from loominal.fabric.hub.caller import Authority
from loominal.fabric.hub.fullness import Fullness
from loominal.fabric.hub.hub import Hub
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.timings import Timings
from loominal.model.work import ENDED

LOADING = 8  # projects read at once
LOAD_SECONDS = 10.0  # after that the next one begins to load beside a slow one
FIRST_PAUSE_SECONDS = 0.2  # before a hub that failed is started again; doubled up to LAST_PAUSE_SECONDS
LAST_PAUSE_SECONDS = 10.0

log = logging.getLogger(__name__)

Connect = Callable[[str], AbstractAsyncContextManager[Broker]]


class Projects:
    """Hubs by project id. `connect` opens a project's account, `title` says how lists show it."""

    def __init__(
        self,
        connect: Connect,
        title: Callable[[str], str],
        authority: Authority,
        timings: Timings,
        group: asyncio.TaskGroup,
    ) -> None:
        self._connect = connect
        self._title = title
        self._authority = authority
        self._timings = timings
        self._group = group
        self._weft = f"weft-{secrets.token_hex(4)}"  # how the logs tell this process from any other
        self._gate = asyncio.Semaphore(LOADING)
        self.fullness = Fullness()  # of the store: one for all
        self._hubs: dict[str, Hub | None] = {}  # None: about to be made
        self._went_back: set[str] = set()  # projects whose streams lost records: their next life has another name

    def load(self, project: str) -> None:
        """See to it that `project` is served from now on."""
        if project not in self._hubs:
            self._hubs[project] = None
            self._group.create_task(self._keep(project), name=f"hub of {project}")

    def known(self) -> list[str]:
        """Return the ids of the projects that are loaded or about to be."""
        return sorted(self._hubs)

    def get(self, project: str) -> Hub | None:
        """Return the hub of `project`; None while there is none."""
        return self._hubs.get(project)

    def logs(self) -> Iterator[Log]:
        """Yield every log of every loaded project."""
        for hub in self._hubs.values():
            if hub is not None:
                yield from hub.project.logs()

    def is_ready(self, project: str) -> bool:
        """Return whether `project` is served now."""
        hub = self._hubs.get(project)
        return hub is not None and hub.ready.is_set()

    def activity(self) -> tuple[int, int] | None:
        """Return how many agents are online and how many items are open; None while a project is not served."""
        hubs = [hub for hub in self._hubs.values() if hub is not None]
        if self.not_ready():
            return None
        return sum(map(_online, hubs)), sum(map(_open_work, hubs))

    def not_ready(self) -> list[str]:
        """Return the ids of the projects that are loaded and not served at the moment."""
        return [project for project in sorted(self._hubs) if not self.is_ready(project)]

    async def _keep(self, project: str) -> None:
        pause = FIRST_PAUSE_SECONDS
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            # gathered, so that whatever breaks one project is told and ends no other
            [failure] = await asyncio.gather(self._serve(project), return_exceptions=True)
            if (hub := self._hubs[project]) is not None and hub.went_back:
                self._went_back.add(project)
            self._hubs[project] = None
            log.error("the hub of %s ended and is started again", project, exc_info=failure)
            if loop.time() - began > LAST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE_SECONDS)

    async def _serve(self, project: str) -> None:
        async with self._connect(project) as broker, asyncio.TaskGroup() as group:
            title = self._title(project)
            state = Project(project, title, broker, self._authority, self._timings, self._weft, self.fullness)
            hub = Hub(state, new_life=project in self._went_back)
            self._hubs[project] = hub
            async with self._gate:
                serving = group.create_task(hub.serve(), name=f"serve {project}")
                ready = group.create_task(hub.ready.wait(), name=f"ready {project}")
                await asyncio.wait({serving, ready}, timeout=LOAD_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if hub.ready.is_set():
                    self._went_back.discard(project)
                ready.cancel()


def _online(hub: Hub) -> int:
    project = hub.project
    return project.presence.online_count(project.clock.monotonic(), project.timings)


def _open_work(hub: Hub) -> int:
    counts = hub.project.book.counts()
    return sum(counts.values()) - sum(counts[status] for status in ENDED)
