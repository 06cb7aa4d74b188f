"""What warp answers its client's hooks: what waits, at each moment in the form that fits, and no state told twice."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from loominal.warp.attention import Attention, Waiting
from loominal.warp.link import Link
from loominal.warp.text import counted, listed

REPEAT_SECONDS = 30.0  # between two looks while a hook waits: what was missed during a reconnect is noticed then
STOP_SECONDS = 1.0  # for the hook of the same stop to go first: it tells the model for certain
COALESCE_SECONDS = 0.2  # what comes in within is told together


class Reminders:
    """One client's reminders. `text` is asked by the hooks, through the socket."""

    def __init__(self, link: Link, attention: Attention) -> None:
        self._link = link
        self._attention = attention
        self._begun = False  # whether the model was told how it stands
        self._kept_going: frozenset[str] = frozenset()  # of what waits, that for which the model was not let stop
        self._woken: frozenset[str] = frozenset()  # and that for which it was woken
        self._changed = asyncio.Event()
        self._waits = 0  # how many hooks have begun to wait
        attention.on_change.append(self._changed.set)

    async def text(self, moment: str, *, again: bool) -> str:
        """Return what the model should know at a hook's moment, "" if nothing.

        `again`: it already goes on because of a hook, and is to be left alone.
        """
        match moment:
            case "session-start":
                return self._beginning(await self._attention.look())
            case "prompt":
                if self._link.present is not None:
                    self._link.present.touch()
                waiting = await self._attention.look()
                return waiting.line() if self._begun else self._beginning(waiting)
            case "stop":
                return "" if again else self._keep_going(await self._attention.look())
            case "wait":
                return await self._wait()
        return ""  # of a later version

    def _beginning(self, waiting: Waiting) -> str:
        """Return how the agent stands; at a prompt, too: a client may start its session before its servers."""
        if self._link.present is None:
            return ""
        self._begun = True
        if not waiting.joined:
            return "Loominal: to work with the other agents of this project, call join once."
        if not waiting.held:
            return waiting.line()
        holds = f"Loominal: you hold {counted(len(waiting.held), 'work item')} ({listed(waiting.held)})."
        return f"{holds} {waiting.line()}".strip()

    async def _wait(self) -> str:
        """Return when something new waits; of several the last one hears of it, and the others end."""
        self._waits += 1
        mine = self._waits
        self._changed.set()
        await asyncio.sleep(STOP_SECONDS)
        while self._waits == mine:
            self._changed.clear()
            waiting = await self._attention.look()
            if self._waits == mine and (text := self._wake(waiting)):
                return text
            with suppress(TimeoutError):
                async with asyncio.timeout(REPEAT_SECONDS):
                    await self._changed.wait()
            await asyncio.sleep(COALESCE_SECONDS)
        return ""

    def _keep_going(self, waiting: Waiting) -> str:
        """Return what waits if any of it has kept nobody going yet; what waits no more is forgotten."""
        new, self._kept_going = waiting.marks - self._kept_going, waiting.marks
        return waiting.line() if new else ""

    def _wake(self, waiting: Waiting) -> str:
        """Return what waits if any of it was neither told at a stop nor woke anybody yet.

        The other way round a stop tells again what woke somebody: nobody says whether the client took the wake.
        """
        new = waiting.marks - self._kept_going - self._woken
        self._woken = waiting.marks
        return waiting.line() if new else ""
