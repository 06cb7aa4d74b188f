"""Parked requests and what wakes them: an agent's mail, an item's end, a channel's new message."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

ANY_CHANNEL = "#"  # key: a message in whatever channel
ANY_WORK = "!"  # key: an item became ready that no parked claim takes


class _Parked(asyncio.Event):
    """One wait; set when it is to look."""

    over = False  # it is to wait no longer, whatever it finds


class Wakes:
    """Who waits for what. A wake says "look again", nothing more."""

    def __init__(self) -> None:
        self._parked: defaultdict[str, set[_Parked]] = defaultdict(set)

    def wake(self, key: str) -> None:
        """Let everyone who waits for `key` (an agent's id, an item's id, `#channel`) look again."""
        for event in self._parked.get(key, ()):
            event.set()

    def dismiss(self, key: str) -> None:
        """End every wait for `key` with what it finds now: whoever waits has something else to attend to."""
        for parked in self._parked.get(key, ()):
            parked.over = True
            parked.set()

    def wake_all(self) -> None:
        """Let everyone look again: the project was loaded anew or is being left."""
        for events in self._parked.values():
            for event in events:
                event.set()

    async def until(self, true: Callable[[], bool], keys: tuple[str, ...], seconds: float) -> bool:
        """Return whether `true()` holds within `seconds`; it is asked again at every wake of one of `keys`.

        A `dismiss` ends the wait early.
        """
        if true() or seconds <= 0:
            return true()
        event = _Parked()
        for key in keys:
            self._parked[key].add(event)
        try:
            async with asyncio.timeout(seconds):
                while not (true() or event.over):
                    await event.wait()
                    event.clear()
        except TimeoutError:
            pass
        finally:
            for key in keys:
                self._parked[key].discard(event)
                if not self._parked[key]:
                    del self._parked[key]
        return true()
