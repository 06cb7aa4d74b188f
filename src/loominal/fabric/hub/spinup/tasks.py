"""What the leader is at work on: one task for each launch or target at most, and why no agents are started."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager

from loominal.model.routing import Route


class SpinUps:
    """What is soft about the spin-up of one project: tasks that are at work on launches, and why none are started."""

    def __init__(self) -> None:
        self.unmet: dict[Route, str] = {}  # by route, why work that waits gets no agent
        self.group: asyncio.TaskGroup | None = None  # while this weft leads
        self.deciding = asyncio.Lock()  # held from counting a target's launches until one more is recorded
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._held: set[str] = set()
        self._looked: dict[str, float] = {}  # launch or target -> when it was last looked at (monotonic)

    def run(self, what: str, work: Coroutine[None, None, None]) -> None:
        """Do `work` about one launch or target in the background; nothing else is done about that one meanwhile."""
        if self.group is None or self.busy(what):
            work.close()
            return
        task = self._tasks[what] = self.group.create_task(work, name=f"spin-up {what}")
        task.add_done_callback(lambda _: self._tasks.pop(what, None))

    def busy(self, what: str) -> bool:
        """Return whether somebody is at work on a launch or target."""
        return what in self._tasks or what in self._held

    @contextmanager
    def holding(self, what: str) -> Iterator[None]:
        """Have nobody begin anything about a launch while the block runs, which then does."""
        self._held.add(what)
        try:
            yield
        finally:
            self._held.discard(what)

    def due(self, what: str, seconds: float, now: float, *, at_once: bool = True) -> bool:
        """Return whether it is `seconds` since this was last true of `what`; the first time `at_once` is returned."""
        last = self._looked.get(what)
        if last is not None and now - last < seconds:
            return False
        self._looked[what] = now
        return at_once or last is not None

    def stop(self) -> None:
        """Do nothing more: another weft leads."""
        self.group = None
        for task in list(self._tasks.values()):
            task.cancel()
