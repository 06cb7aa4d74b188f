"""Events that are small: a loaded project has some twenty, and each of asyncio's keeps 600 bytes for who may wait."""

from __future__ import annotations

import asyncio


class Event(asyncio.Event):
    """The same with a list of waiters, of which there is hardly ever more than one, in place of a deque."""

    def __init__(self) -> None:
        super().__init__()
        self._waiters: list[asyncio.Future[bool]] = []  # type: ignore[assignment]  # all that is done with it, lists do
