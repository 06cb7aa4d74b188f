"""Whether the leader has been awake and heard: one that was not may have been replaced, and learns it only by looking.

While it does not know, nothing of what was sent meanwhile is taken: another weft may have answered it, and whoever
it does not know of may be known to that one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from loominal.broker.connection import Received
from loominal.broker.event import Event
from loominal.fabric.hub.lead.rest import at_rest
from loominal.fabric.hub.project import Project
from loominal.model.errors import LoominalError
from loominal.model.members import STALL_SECONDS

TICK_SECONDS = 0.25
MOST_KEPT = 10_000  # messages; of more the askers ask again, and heartbeats come again

Taker = Callable[[Received], None]

log = logging.getLogger(__name__)


class Vigil:
    """Stands before whatever takes requests and heartbeats: they come through while this weft certainly leads."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._awake_at = project.clock.monotonic()
        self._doubtful = Event()
        self._kept: list[tuple[Taker, Received]] = []

    def before(self, taker: Taker) -> Taker:
        """Return what hands messages on to `taker`, or keeps them, in their order, until the lead is confirmed."""

        def take(message: Received) -> None:
            self._look()
            if not self._doubtful.is_set():
                taker(message)
            elif len(self._kept) < MOST_KEPT:
                self._kept.append((taker, message))

        return take

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
                log.info("another weft took project %s while this one was away", self._project.id)
                return
            self._hand_on()

    def _look(self) -> None:
        now = self._project.clock.monotonic()
        if now - self._awake_at > STALL_SECONDS or not self._project.leadership.members.sure():
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
        for taker, message in kept:
            taker(message)
