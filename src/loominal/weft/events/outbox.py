"""What is to be sent to one reader: bounded, so that one that does not read costs little and slows nobody."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from loominal.broker.event import Event

MOST_EVENTS = 2000  # that wait for one reader
MOST_BYTES = 1 << 20
CHUNK_BYTES = 64 << 10  # sent at once


class Outbox:
    """A queue of bytes with an end."""

    def __init__(self) -> None:
        self.ended = False
        self._parts: deque[bytes] = deque()
        self._bytes = 0
        self._filled = Event()
        self._emptied = Event()

    @property
    def full(self) -> bool:
        """Whether more waits than one reader may have waiting."""
        return len(self._parts) > MOST_EVENTS or self._bytes > MOST_BYTES

    def put(self, part: bytes) -> None:
        """Append what is to be sent; after the end nothing."""
        if not self.ended:
            self._parts.append(part)
            self._bytes += len(part)
            self._emptied.clear()
            self._filled.set()

    def end(self, last: bytes) -> None:
        """Send `last` instead of all that waits, and then nothing more."""
        self._parts.clear()
        self._bytes = 0
        self.put(last)
        self.ended = True
        self._emptied.set()

    async def room(self) -> None:
        """Return when nothing waits: who reads from a log fetches the next page then."""
        if self._parts:
            await self._emptied.wait()

    async def take(self, seconds: float) -> bytes:
        """Return what is to be sent next, b"" if nothing came within `seconds`, or nothing ever will."""
        if not self._parts and not self.ended:
            self._filled.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._filled.wait()
        taken, size = [], 0
        while self._parts and size < CHUNK_BYTES:
            part = self._parts.popleft()
            taken.append(part)
            size += len(part)
        self._bytes -= size
        if not self._parts:
            self._emptied.set()
        return b"".join(taken)
