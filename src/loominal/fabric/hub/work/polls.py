"""Parked claim polls: who waits for work, and who is let look first when some appears."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Poll:
    """One agent's parked claim."""

    agent: str
    since: float  # monotonic
    op: str  # of the claim
    look: asyncio.Event = field(default_factory=asyncio.Event)
    abandoned: bool = False  # nobody waits for its answer
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Polls:
    """At most one poll per agent. A poll that is let look claims for itself; nothing is promised to it."""

    def __init__(self) -> None:
        self._parked: dict[str, Poll] = {}

    def park(self, poll: Poll) -> None:
        """Let `poll` be woken."""
        self._parked[poll.agent] = poll

    def leave(self, poll: Poll) -> None:
        """Stop waking `poll`."""
        poll.over.set()
        if self._parked.get(poll.agent) is poll:
            del self._parked[poll.agent]

    async def abandon(self, agent: str, op: str) -> None:
        """End the poll of that claim, if it is still parked, and return when it takes nothing any more."""
        poll = self._parked.get(agent)
        if poll is not None and poll.op == op:
            poll.abandoned = True
            poll.look.set()
            await poll.over.wait()

    def polling(self, agent: str) -> bool:
        """Return whether `agent` waits for work now."""
        return agent in self._parked

    def room(self, agent: str) -> None:
        """Let `agent` look: it holds less than before, or is registered otherwise."""
        if agent in self._parked:
            self._parked[agent].look.set()

    def look_all(self) -> None:
        """Let everybody look: who may take what has changed."""
        for poll in self._parked.values():
            poll.look.set()

    def __iter__(self) -> Iterator[Poll]:
        return iter(list(self._parked.values()))
