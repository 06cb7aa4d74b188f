"""Waiting for something to happen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable

from loominal.fabric.client.calls.interface import Calls
from loominal.fabric.operations.events import EventKind, Events, EventView
from loominal.model.errors import BadCursor, BrokerUnavailable, Busy, HubUnavailable

KINDS = (EventKind.MESSAGE, EventKind.WORK, EventKind.CANCEL)
WAIT_SECONDS = 50.0
PAUSE_SECONDS = 1.0  # before `events` asks again a fabric that does not answer

log = logging.getLogger(__name__)


class EventCalls(Calls):
    """Mail, ready work, cancel requests, channel messages and receipts, as they come."""

    async def wait_for_events(
        self, *, kinds: Iterable[EventKind | str] = KINDS, wait_seconds: float = WAIT_SECONDS, cursor: str | None = None
    ) -> Events:
        """Return what happened since `cursor` (without one: what is there now), waiting up to `wait_seconds` for it."""
        return await self._ask("wait_for_events", Events, kinds=tuple(kinds), wait_seconds=wait_seconds, cursor=cursor)

    async def events(self, kinds: Iterable[EventKind | str] = KINDS) -> AsyncIterator[EventView]:
        """Yield events for as long as one listens, also across restarts of hub and broker.

        Raises: NotRegistered, Forbidden; not what passes by itself.
        """
        wanted, cursor = tuple(kinds), None
        while True:
            try:
                happened = await self.wait_for_events(kinds=wanted, cursor=cursor)
            except BadCursor:
                cursor = None  # the project was made anew
                continue
            except (BrokerUnavailable, HubUnavailable, Busy) as error:
                log.info("no events for now: %s", error)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            cursor = happened.cursor
            for event in happened.events:
                yield event
