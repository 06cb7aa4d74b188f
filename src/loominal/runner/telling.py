"""What a runner tells the hub about an item: progress, the newest only; and its end, until the hub has it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.work import WorkMoved
from loominal.fabric.protocol import GIVE_UP_SECONDS
from loominal.model.errors import InvalidArgument, LoominalError
from loominal.model.names import one_line
from loominal.model.work import Usage
from loominal.runner.clients.interface import Delivery, Progress

PROGRESS_SECONDS = 1.0  # between two reports
MESSAGE_CHARACTERS = 300

log = logging.getLogger(__name__)


class Teller:
    """What is told about one item."""

    def __init__(self, agent: Agent, item: str) -> None:
        self._agent = agent
        self._item = item
        self._newest: Progress | None = None
        self._percent: float | None = None
        self._news = asyncio.Event()

    def progress(self, progress: Progress) -> None:
        """Have progress told soon; what is newer by then is told instead."""
        self._percent = progress.percent if progress.percent is not None else self._percent
        self._newest = progress
        self._news.set()

    async def keep_telling(self) -> None:
        """Tell progress until cancelled. A report that fails is passed over: the next one says more."""
        while True:
            await self._news.wait()
            self._news.clear()
            assert self._newest is not None
            message = one_line(self._newest.message, MESSAGE_CHARACTERS)
            try:
                await self._agent.report_progress(self._item, percent=self._percent, message=message)
            except LoominalError as error:
                log.info("%s: progress was not taken: %s", self._item, error.message)
            await asyncio.sleep(PROGRESS_SECONDS)

    async def end(self, delivery: Delivery, used: Usage | None) -> None:
        """Complete or fail the item; a result that is refused for what it is fails it. `used` is for what fails."""
        if delivery.error:
            await self._until_heard(lambda: self._agent.fail_work(self._item, delivery.error, usage=used))
            return
        try:
            await self._until_heard(
                lambda: self._agent.complete_work(
                    self._item, delivery.summary, result=delivery.result, artifacts=delivery.artifacts
                )
            )
        except InvalidArgument as error:
            refusal = f"its result was refused: {error.message}" + (f" ({error.hint})" if error.hint else "")
            await self._until_heard(lambda: self._agent.fail_work(self._item, refusal, usage=used))

    async def hand_back(self, reason: str, used: Usage | None) -> None:
        """Release the item."""
        await self._until_heard(lambda: self._agent.release_work(self._item, reason=reason, usage=used))

    async def _until_heard(self, deed: Callable[[], Awaitable[WorkMoved]]) -> None:
        """Do it, again while nobody answers; what the hub decided otherwise is logged. Raises: InvalidArgument."""
        until = time.monotonic() + GIVE_UP_SECONDS
        while True:
            try:
                moved = await deed()
            except InvalidArgument:
                raise
            except LoominalError as error:
                if error.retryable and time.monotonic() < until:
                    continue  # the call itself has tried for a minute
                log.warning("%s: %s", self._item, error.message)
            else:
                log.info("%s is %s", self._item, moved.status)
            return
