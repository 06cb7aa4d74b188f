"""Claude Code's channel push: what waits is put into a running session, in counts. What is not taken stays unread.

Source: code.claude.com/docs/en/channels-reference; seen in Claude Code 2.1. It takes it in a terminal (not with `-p`)
from servers that a session names with `--channels` (while channels are a preview, with
`--dangerously-load-development-channels server:loominal`), if channels are switched on for its account, and on
connections of the handshake era alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from loominal.warp.attention import Attention, Waiting
from loominal.warp.rpc import Json

METHOD = "notifications/claude/channel"
COALESCE_SECONDS = 0.5  # what happens within is told once
REPEAT_SECONDS = 60.0  # until the same is told again, for a push is not acknowledged; twice as long each time
MOST_SECONDS = 3600.0


class Channel:
    """One client's channel. `keep` pushes what is new, and now and then again what still waits."""

    def __init__(self, attention: Attention, notify: Callable[[str, Json], None]) -> None:
        self._attention = attention
        self._notify = notify
        self._changed = asyncio.Event()
        self._told: frozenset[str] = frozenset()
        self._again_at = 0.0  # monotonic
        self._pause_seconds = REPEAT_SECONDS
        attention.on_change.append(self._changed.set)

    async def keep(self) -> None:
        """Push until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REPEAT_SECONDS):
                    await self._changed.wait()
            await asyncio.sleep(COALESCE_SECONDS)
            self._changed.clear()
            self._push(await self._attention.look(), time.monotonic())

    def _push(self, waiting: Waiting, now: float) -> None:
        new, self._told = waiting.marks - self._told, waiting.marks
        if not waiting.marks or (not new and now < self._again_at):
            return
        self._pause_seconds = REPEAT_SECONDS if new else min(2 * self._pause_seconds, MOST_SECONDS)
        self._again_at = now + self._pause_seconds
        counts = {"mail": waiting.mail, "cancelled": len(waiting.cancelled), "stalled": len(waiting.stalled)}
        meta = {name: str(count) for name, count in counts.items()} | ({"ending": "1"} if waiting.ending else {})
        self._notify(METHOD, {"content": waiting.line(), "meta": meta})
