"""The loop of a runner: claims an item for each free slot until it has done enough or is told to end."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from pathlib import Path

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.work import WorkView
from loominal.fabric.protocol import Control, ControlKind
from loominal.model.errors import Forbidden, LoominalError
from loominal.runner.keeper import Keeper
from loominal.runner.run import Run
from loominal.runner.settings import RunnerSettings

CLAIM_SECONDS = 50.0  # the longest wait that there is
PAUSE_SECONDS = 1.0  # after a claim that failed, or was answered before its time

log = logging.getLogger(__name__)


class Worker:
    """One runner's work; `name` is the mark of its processes, `folder` is for what they need."""

    def __init__(self, agent: Agent, settings: RunnerSettings, keeper: Keeper, name: str, folder: Path) -> None:
        self._agent = agent
        self._settings = settings
        self._keeper = keeper
        self._name = name
        self._folder = folder
        self._begun = 0
        self._runs: set[Run] = set()
        self._ends = False
        self._cut_off = ""
        self._idle_since = time.monotonic()
        self._waits: asyncio.Timeout | None = None
        agent.on_control(self._nudged)

    async def work(self) -> None:
        """Do items until there is a reason to end; what was begun is finished. Raises: Forbidden if cut off."""
        async with asyncio.TaskGroup() as group:
            while not self._over():
                item = await self._next()
                if item is None:
                    continue
                self._begun += 1
                run = Run(self._agent, self._settings, item, self._keeper, f"{self._name}.{self._begun}", self._folder)
                self._runs.add(run)
                group.create_task(self._do(run), name=item.id)
        if self._cut_off:
            raise Forbidden(f"this agent was ended: {self._cut_off}")

    def drain(self) -> None:
        """Take nothing more, and end when what was begun is done."""
        if not self._ends:
            log.info("it takes nothing more")
        self._ends = True
        self._look_again()

    def stop(self) -> None:
        """End all processes now and hand back their items."""
        self.drain()
        for run in self._runs:
            run.stop()

    async def _do(self, run: Run) -> None:
        try:
            await run.do()
        finally:
            self._runs.discard(run)
            self._idle_since = time.monotonic()
            self._look_again()

    def _over(self) -> bool:
        most, idle = self._settings.max_items, self._settings.idle_seconds
        if self._ends or self._agent.draining or (most is not None and self._begun >= most):
            return True
        return idle is not None and not self._runs and time.monotonic() >= self._idle_since + idle

    async def _next(self) -> WorkView | None:
        """Return an item that is ours now; None when it is time to look whether to go on."""
        if len(self._runs) >= self._settings.slots:
            await self._wait(None)
            return None
        began, seconds = time.monotonic(), self._wait_seconds()
        try:
            found = await self._claim(seconds)
        except LoominalError as error:
            if not error.retryable:
                raise
            log.warning("nothing can be claimed now: %s", error.message)
            await self._wait(PAUSE_SECONDS)
            return None
        if found is None and time.monotonic() < began + min(seconds, PAUSE_SECONDS):
            await self._wait(PAUSE_SECONDS)
        return found

    async def _claim(self, seconds: float) -> WorkView | None:
        found: tuple[WorkView, ...] = ()
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as self._waits:
                found = (await self._agent.claim_work(wait_seconds=seconds)).work
        return found[0] if found else None

    def _wait_seconds(self) -> float:
        if self._settings.idle_seconds is None or self._runs:
            return CLAIM_SECONDS
        left = self._idle_since + self._settings.idle_seconds - time.monotonic()
        return min(max(left, 0.0), CLAIM_SECONDS)

    async def _wait(self, seconds: float | None) -> None:
        """Return after `seconds`, or when something has changed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds) as self._waits:
                await asyncio.Event().wait()

    def _look_again(self) -> None:
        """End the wait for a slot or an item."""
        if self._waits is not None and not self._waits.expired():
            with suppress(RuntimeError):  # that wait is over
                self._waits.reschedule(asyncio.get_running_loop().time())

    def _nudged(self, control: Control) -> None:
        match control.kind:
            case ControlKind.DRAIN:
                self.drain()
            case ControlKind.SUPERSEDED:
                self._cut_off = "another process is this agent now"
                self.drain()
            case ControlKind.REVOKED:
                self._cut_off = control.note or "its credential was revoked"
                self.drain()
        for run in self._runs:
            run.look()
