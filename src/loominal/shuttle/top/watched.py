"""A project that `top` watches: the way to it, kept open, and what it last said of itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from loominal.fabric.operations.stats import GetStats, ProjectView, Stats
from loominal.model.errors import LoominalError
from loominal.shuttle.fleet import Fleet

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent

ANSWER_SECONDS = 3.0  # without an answer for so long it is known why
MOVED_SECONDS = 10.0  # without one for so long another way in is looked for: the fabric may be somewhere else now
FAILED_SECONDS = 1.0  # between two tries to connect


class Watched:
    """One project. `stats` stay as they were last told while nobody answers."""

    def __init__(self, project: ProjectView) -> None:
        self.project_id = project.project_id
        self.project = project.project
        self.agent: Agent | None = None
        self.stats: Stats | None = None
        self.answered_at = time.monotonic()
        self.took_seconds = 0.0
        self.problem = ""  # why the last question was not answered
        self._moved = asyncio.Event()

    async def keep_connected(self, fleet: Fleet, on_connect: Callable[[], None]) -> None:
        """Be connected until cancelled; anew, by whatever way in there is then, after a long time without an answer."""
        while True:
            try:
                async with fleet.connected(project=self.project_id) as self.agent:
                    on_connect()
                    await self._moved.wait()
            except LoominalError as error:
                self.problem = error.message
            finally:
                self.agent = None
            self._moved.clear()
            await asyncio.sleep(FAILED_SECONDS)

    async def count(self) -> None:
        """Ask for the counts."""
        if self.agent is None:
            return
        began = time.monotonic()
        try:
            stats = await self.agent.call("get_stats", GetStats(), timeout_seconds=ANSWER_SECONDS)
        except LoominalError as error:
            self.problem = error.message
            if time.monotonic() - self.answered_at > MOVED_SECONDS:
                self._moved.set()
        else:
            assert isinstance(stats, Stats)
            self.stats = stats
            self.problem, self.answered_at = "", time.monotonic()
            self.took_seconds = self.answered_at - began
