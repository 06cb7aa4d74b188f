"""The projects that readers of this weft watch: each is watched once, by however many, and is loaded for as long."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from loominal.broker.event import Event
from loominal.weft.events.watch import Watch
from loominal.weft.projects import Projects


class Watches:
    """Watches by project id; their tasks run in `group`."""

    def __init__(self, projects: Projects, group: asyncio.TaskGroup) -> None:
        self.projects = projects
        self._group = group
        self._readers: Counter[str] = Counter()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._watches: dict[str, Watch] = {}
        self._news = Event()

    @contextmanager
    def of(self, project: str, *, keep: bool) -> Iterator[None]:
        """Have `project` watched for as long as the block lasts; `keep`: and loaded, if nobody else needs it, too."""
        self._readers[project] += 1
        if project not in self._tasks:
            self._tasks[project] = self._group.create_task(self._keep(project), name=f"watch {project}")
        try:
            with self.projects.watched(project, keep=keep):
                yield
        finally:
            self._readers[project] -= 1
            if not self._readers[project]:
                del self._readers[project]
                self._tasks.pop(project).cancel()

    async def ready(self, project: str) -> Watch:
        """Return the watch of `project` once it follows what happens there."""
        while (watch := self.now(project)) is None:
            await self._news.wait()
        return watch

    def now(self, project: str) -> Watch | None:
        """Return the watch of `project` if it follows what happens there."""
        watch = self._watches.get(project)
        return None if watch is None or watch.over.is_set() else watch

    async def _keep(self, project: str) -> None:
        """Watch whatever hub serves `project`, one after the other, until cancelled."""
        while True:
            hub = await self.projects.loaded_hub(project)
            watch = Watch(hub.project)
            try:
                async with asyncio.TaskGroup() as group:
                    running = group.create_task(watch.run(), name=f"watch of {project}")
                    gone = group.create_task(self.projects.gone(hub), name=f"hub of {project} gone")
                    ready = group.create_task(watch.ready.wait(), name=f"watch of {project} ready")
                    await asyncio.wait((running, gone, ready), return_when=asyncio.FIRST_COMPLETED)
                    if watch.ready.is_set():
                        self._watches[project] = watch
                        self._news.set()
                        self._news = Event()
                        await asyncio.wait((running, gone), return_when=asyncio.FIRST_COMPLETED)
                    for task in (running, gone, ready):
                        task.cancel()
            finally:
                self._watches.pop(project, None)
                watch.over.set()
