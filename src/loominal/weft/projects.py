"""The projects that this weft has loaded: those it leads, those it would lead next, and those that are watched here.

Each is served by a hub that is started again when it fails. What nobody needs is not loaded.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager

from loominal.broker.connection import Broker
from loominal.broker.event import Event
from loominal.broker.log import Log
from loominal.fabric.hub.about import about
from loominal.fabric.hub.abroad.asking import Abroad
from loominal.fabric.hub.caller import Authority
from loominal.fabric.hub.fullness import Fullness
from loominal.fabric.hub.hub import Hub
from loominal.fabric.hub.lead.leadership import Members
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.spinup.launcher import Launcher
from loominal.fabric.hub.tally import ProjectTally, Tally
from loominal.fabric.hub.timings import Timings
from loominal.model.errors import BrokerUnavailable
from loominal.model.policy import Policy
from loominal.model.work import ENDED

LOADING = 8  # projects read at once
LOAD_SECONDS = 10.0  # after that the next one begins to load beside a slow one
FIRST_PAUSE_SECONDS = 0.2  # before a hub that failed is started again; doubled up to LAST_PAUSE_SECONDS
LAST_PAUSE_SECONDS = 10.0
UNTIDY_SECONDS = 60.0  # how long left projects may lie in memory, and
UNTIDY_PROJECTS = 25  # how many, 4 MB: a search for such garbage stops weft for some 0.1 s when it has 100 000 items
LOADED_BY = 2  # wefts: the leader, and who follows warm

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
        members: Members,
        group: asyncio.TaskGroup,
        policy: Policy,  # of those in which nobody has set one
        abroad: Abroad | None = None,
        launcher: Launcher | None = None,
    ) -> None:
        self.fullness = Fullness()  # of the store: one for all
        self.tally = Tally()
        self._connect = connect
        self._title = title
        self._authority = authority
        self._timings = timings
        self._members = members
        self._group = group
        self._policy = policy
        self._abroad = abroad
        self._launcher = launcher
        self._gate = asyncio.Semaphore(LOADING)
        self._hubs: dict[str, Hub | None] = {}  # None: about to be made
        self._keeping: set[asyncio.Task[None]] = set()
        self._online: defaultdict[str, set[str]] = defaultdict(set)  # project -> agents that are connected
        self._needed_at: dict[str, float] = {}  # monotonic
        self._left_open: dict[str, int] = {}  # project that was left -> items that had not ended
        self._went_back: set[str] = set()  # projects whose streams lost records: their next life has another name
        self.leaving = Event()  # nothing is loaded any more
        self._watched: Counter[str] = Counter()  # project -> who watches it while anybody needs it, and
        self._kept: Counter[str] = Counter()  # those for whom it is loaded in any case
        self._news = Event()  # set once, when what is loaded or needed has changed
        self._untidy = 0  # projects left since the last search for garbage
        self._tidied_at = float("-inf")  # monotonic
        members.on_change(self.review_all)

    # who needs what

    def need(self, project: str) -> None:
        """See to it that `project` is served for a while: somebody asks for it, or its time has come."""
        if not self._is_needed(project):
            self._tell()
        self._needed_at[project] = time.monotonic()
        self._review(project)

    def load(self, project: str) -> None:
        """Load `project` whoever is to lead it: its last leader record names this weft."""
        self._needed_at[project] = time.monotonic()
        self._start(project)

    def came(self, project: str, agent: str) -> None:
        """Take that `agent` has connected."""
        self.need(project)
        self._online[project].add(agent)
        if hub := self.get(project):
            hub.project.presence.connected(agent, time.monotonic())

    def went(self, project: str, agent: str, *, closed: bool) -> None:
        """Take that the last connection of `agent` has ended; `closed`: by its own side."""
        self._online[project].discard(agent)
        if not self._online[project]:
            del self._online[project]
        self._needed_at[project] = time.monotonic()
        if hub := self.get(project):
            hub.project.presence.disconnected(agent, time.monotonic(), closed=closed)

    @contextmanager
    def watched(self, project: str, *, keep: bool) -> Iterator[None]:
        """Have `project` loaded here for as long as the block lasts, unless to `keep` it while nobody else needs it."""
        wanted = self._kept if keep else self._watched
        wanted[project] += 1
        self._review(project)
        try:
            yield
        finally:
            wanted[project] -= 1
            if not wanted[project]:
                del wanted[project]

    # what there is

    def known(self) -> list[str]:
        """Return the ids of the projects that are loaded or about to be."""
        return sorted(self._hubs)

    def get(self, project: str) -> Hub | None:
        """Return the hub of `project`; None while there is none."""
        return self._hubs.get(project)

    def loaded(self) -> list[Hub]:
        """Return the hub of every project that has one."""
        return [hub for hub in self._hubs.values() if hub is not None]

    def in_use(self) -> list[str]:
        """Return the ids of the projects that some weft has loaded, as far as this one can know."""
        return sorted({*self._hubs, *filter(self._is_needed, self._needed_at)})

    async def changed(self) -> None:
        """Return when what is loaded or needed has changed."""
        await self._news.wait()

    async def loaded_hub(self, project: str) -> Hub:
        """Return the hub of `project` once everything is in its memory."""
        while True:
            hub = self.get(project)
            if hub is not None and hub.loaded.is_set():
                return hub
            await _first(self._news, *([hub.loaded] if hub is not None else []))

    async def gone(self, hub: Hub) -> None:
        """Return when `hub` serves its project no more."""
        while self.get(hub.project.id) is hub:
            await self._news.wait()

    def logs(self) -> Iterator[Log]:
        """Yield every log of every loaded project, and the directory's."""
        if self._abroad is not None:
            yield self._abroad.directory.log
        for hub in self._hubs.values():
            if hub is not None:
                yield from hub.project.logs()

    def is_served(self, project: str) -> bool:
        """Return whether `project` is answered now, or that is another weft's business."""
        hub = self._hubs.get(project)
        return hub.is_served if hub is not None else self._members.order(project)[:1] != [self._members.me]

    def is_in_use(self, project: str) -> bool:
        """Return whether `project` is loaded here, or needed and so loaded by those who are to lead it."""
        return project in self._hubs or self._is_needed(project)

    def activity(self) -> tuple[int, int] | None:
        """Return how many agents are online and how many items are open; None while a project is not served."""
        hubs = [hub for hub in self._hubs.values() if hub is not None]
        if self.not_ready():
            return None
        return sum(map(_online, hubs)), sum(map(_open_work, hubs)) + sum(self._left_open.values())

    def not_ready(self) -> list[str]:
        """Return the ids of the projects that are to be served and are not at the moment."""
        return [project for project in sorted(self._hubs) if not self.is_served(project)]

    def read_only(self) -> list[str]:
        """Return why projects are only read here, one line each: a newer release has written there."""
        hubs = (hub for _, hub in sorted(self._hubs.items()) if hub is not None)
        return [f"{why.message}: {why.hint}" for hub in hubs if (why := hub.reads_only) is not None]

    def leaders(self) -> dict[str, str]:
        """Return the weft that leads each loaded project, "" where nobody does."""
        return {project: hub.project.leadership.holder for project, hub in self._hubs.items() if hub is not None}

    # how it comes and goes

    def review_all(self) -> None:
        """Load what this weft is to lead or to follow now, and leave what nobody needs here any more."""
        for project in {*self._needed_at, *self._hubs, *self._kept}:
            self._review(project)

    def tidy(self) -> None:
        """Free the memory of left projects: they are cycles, for which Python seldom looks by itself in a weft."""
        long_ago = time.monotonic() - self._tidied_at > UNTIDY_SECONDS
        if self._untidy >= UNTIDY_PROJECTS or (self._untidy and long_ago):
            gc.collect()
            self._untidy, self._tidied_at = 0, time.monotonic()

    async def leave(self, seconds: float) -> None:
        """Hand every project on, for at most `seconds`; nothing is loaded any more."""
        self.leaving.set()
        for hub in self._hubs.values():
            if hub is not None:
                hub.leave()
        if self._keeping:
            await asyncio.wait(list(self._keeping), timeout=seconds)

    def _review(self, project: str) -> None:
        hub = self._hubs.get(project)
        if project not in self._hubs:
            if self._is_wanted(project):
                self._start(project)
            elif not self._is_needed(project):
                self._needed_at.pop(project, None)
        elif hub is not None and not hub.ready.is_set():
            if hub.loaded.is_set() and not self._is_wanted(project):
                hub.leave()
        elif hub is not None and not (self._is_needed(project) or self._kept[project]) and hub.is_idle:
            hub.leave(unload=True)

    def _is_needed(self, project: str) -> bool:
        unneeded = time.monotonic() - self._needed_at.get(project, float("-inf"))
        return project in self._online or unneeded < self._timings.unload_seconds

    def _is_mine(self, project: str) -> bool:
        return self._is_needed(project) and self._members.me in self._members.order(project)[:LOADED_BY]

    def _is_wanted(self, project: str) -> bool:
        watched = self._watched[project] and self._is_needed(project)
        return bool(watched or self._kept[project]) or self._is_mine(project)

    def _tell(self) -> None:
        self._news.set()
        self._news = Event()

    def _start(self, project: str) -> None:
        if project in self._hubs or self.leaving.is_set():
            return
        self._hubs[project] = None
        self._tell()
        self._left_open.pop(project, None)
        task = self._group.create_task(self._keep(project), name=f"hub of {project}")
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _keep(self, project: str) -> None:
        """Serve `project` until it is left; begin again after whatever breaks it."""
        about(project=project)
        pause, loop = FIRST_PAUSE_SECONDS, asyncio.get_running_loop()
        while not self.leaving.is_set():
            began = loop.time()
            # gathered, so that whatever breaks one project is told and ends no other
            [failure] = await asyncio.gather(self._serve(project), return_exceptions=True)
            if (hub := self._hubs[project]) is not None and hub.went_back:
                self._went_back.add(project)
            self._hubs[project] = None
            self._tell()
            if failure is None:
                if not self._is_wanted(project):
                    if hub is not None:
                        self._left_open[project] = _open_work(hub)
                    break
            elif outage := _outage(failure):
                log.warning("the hub of %s is started again: %s", project, outage)
            else:
                log.error("the hub of %s ended and is started again", project, exc_info=failure)
            if loop.time() - began > LAST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE_SECONDS)
        del self._hubs[project]
        self._tell()
        self._untidy += 1

    async def _serve(self, project: str) -> None:
        async with self._connect(project) as broker, asyncio.TaskGroup() as group:
            title = self._title(project)
            shared = self._authority, self._timings, self._members, self.fullness
            state = Project(
                project, title, broker, *shared, self._policy, self._abroad, self._launcher, ProjectTally(self.tally)
            )
            hub = Hub(state, new_life=project in self._went_back)
            self._hubs[project] = hub
            self._tell()
            if self.leaving.is_set():
                return
            async with self._gate:
                serving = group.create_task(hub.serve(), name=f"serve {project}")
                settled = group.create_task(hub.settled.wait(), name=f"settled {project}")
                await asyncio.wait({serving, settled}, timeout=LOAD_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                settled.cancel()
            if hub.is_served:
                self._went_back.discard(project)


async def _first(*events: asyncio.Event) -> None:
    """Return when any of `events` is set."""
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(event.wait()) for event in events]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


def _outage(failure: BaseException) -> BrokerUnavailable | None:
    """Return what the broker did if nothing else ended a hub."""
    while isinstance(failure, BaseExceptionGroup):
        if failure.split(BrokerUnavailable)[1] is not None:
            return None
        failure = failure.exceptions[0]
    return failure if isinstance(failure, BrokerUnavailable) else None


def _online(hub: Hub) -> int:
    project = hub.project
    return project.presence.online_count(project.clock.monotonic(), project.timings)


def _open_work(hub: Hub) -> int:
    counts = hub.project.book.counts()
    return sum(counts.values()) - sum(counts[status] for status in ENDED)
