"""Whether the leader has been awake: one that stood still may have been replaced, and learns it only by looking.

While it does not know, requests are kept and not answered: another weft may have answered them meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from loominal.broker.connection import Received
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.rest import at_rest
from loominal.model.errors import LoominalError
from loominal.model.members import STALL_SECONDS

TICK_SECONDS = 0.25
MOST_KEPT = 10_000  # requests; of more the askers ask again

log = logging.getLogger(__name__)


class Vigil:
    """Stands before `receive`, which gets every request while this weft certainly leads."""

    def __init__(self, project: Project, receive: Callable[[Received], None]) -> None:
        self._project = project
        self._receive = receive
        self._awake_at = project.clock.monotonic()
        self._doubtful = asyncio.Event()
        self._kept: list[Received] = []

    def take(self, message: Received) -> None:
        """Hand a request on, or keep it until the lead is confirmed."""
        self._look()
        if not self._doubtful.is_set():
            self._receive(message)
        elif len(self._kept) < MOST_KEPT:
            self._kept.append(message)

    async def run(self) -> None:
        """Look at the clock until cancelled, or until another weft turns out to have taken the lead.

        At rest nobody looks: the first request after it finds that, and the lead is confirmed.
        """
        while True:
            try:
                async with asyncio.timeout(None if at_rest(self._project) else TICK_SECONDS):
                    await self._doubtful.wait()
            except TimeoutError:
                self._look()
                continue
            if not await self._leads():
                log.info("another weft took project %s while this one stood still", self._project.id)
                return
            self._hand_on()

    def _look(self) -> None:
        now = self._project.clock.monotonic()
        if now - self._awake_at > STALL_SECONDS:
            self._doubtful.set()
        self._awake_at = now

    async def _leads(self) -> bool:
        """Return whether this weft leads, once that is known."""
        while True:
            try:
                return await self._project.leadership.confirmed(self._project)
            except LoominalError as error:
                log.info("project %s: whether this weft still leads is not known yet: %s", self._project.id, error)
                await asyncio.sleep(TICK_SECONDS)

    def _hand_on(self) -> None:
        kept, self._kept = self._kept, []
        self._doubtful.clear()
        for message in kept:
            self._receive(message)
