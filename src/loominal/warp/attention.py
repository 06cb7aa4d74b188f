"""What an agent's model should turn to: its mail, claims that were called off, claims that stand still. In counts.

And that the agent itself is to end, or was ended. The operator's reason is shown in errors alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from loominal.model.errors import LoominalError, NotRegistered
from loominal.warp.link import Link, Someone
from loominal.warp.text import at, counted, listed

if TYPE_CHECKING:
    from loominal.fabric.protocol import Control

LOOK_SECONDS = 3.0  # for the hub's answer


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for an agent. Two are the same state if their `marks` are the same."""

    joined: bool = False
    mail: int = 0
    mail_marks: tuple[str, ...] = ()  # the newest message of each sender
    cancelled: tuple[str, ...] = ()  # items that it holds
    stalled: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    ending: str = ""  # what to tell of the agent's end

    @property
    def marks(self) -> frozenset[str]:
        """What the model is to be told once."""
        called_off = (f"cancel {item}" for item in self.cancelled)
        still = (f"stalled {item}" for item in self.stalled)
        end = (f"end {self.ending}",) if self.ending else ()
        return frozenset((*self.mail_marks, *called_off, *still, *end))

    def line(self) -> str:
        """Return it as one line of our own words, "" if nothing waits."""
        parts = [self.ending] if self.ending else []
        if self.mail:
            parts.append(f"{counted(self.mail, 'unread direct message')} (read_direct_messages)")
        if self.cancelled:
            what = f"{counted(len(self.cancelled), 'work item')} of yours called off"
            parts.append(f"{what}: stop and release_work ({listed(self.cancelled)})")
        if self.stalled:
            what = f"{counted(len(self.stalled), 'work item')} of yours without progress for long"
            parts.append(f"{what}: go on and report_progress, or end it ({listed(self.stalled)})")
        return f"Loominal: {'; '.join(parts)}." if parts else ""


def ending(agent: Someone) -> str:
    """Return what to tell of the end that an operator has set for an agent, "" if it is to go on."""
    if agent.ended is not None:
        return "an operator has ended this agent: its tools work no more; tell your user and stop"
    if not agent.draining:
        return ""
    by = f" by {at(agent.ends_at)}" if agent.ends_at else ""
    return (
        f"an operator ends this agent{by}: complete_work or release_work what you hold, claim nothing more, then stop"
    )


class Attention:
    """Looks at what waits for the agent of a link; those in `on_change` are called when there may be something new."""

    def __init__(self, link: Link) -> None:
        self.on_change: list[Callable[[], None]] = []
        self._link = link
        self._last = Waiting()
        self._stale = False
        link.on_idle.append(self._idle)
        link.on_agent.append(self._hear)

    async def look(self) -> Waiting:
        """Return what waits now; while the fabric does not answer, or the client uses it, what did before."""
        agent = self._link.present
        if agent is None:
            return self._last
        if agent.ended is not None:
            return Waiting(joined=True, ending=ending(agent))
        self._stale = self._link.busy
        if not self._stale:  # a question of ours would count as the client's own next one
            try:
                self._last = await self._mail(agent)
            except NotRegistered:
                self._last = Waiting()
            except LoominalError:
                pass  # what is known stands, and the next look is soon enough
        held = agent.holds
        cancelled = tuple(item for item in held if agent.cancel_requested(item))
        return msgspec.structs.replace(
            self._last, held=held, cancelled=cancelled, stalled=agent.stalled, ending=ending(agent)
        )

    async def _mail(self, agent: Someone) -> Waiting:
        from loominal.fabric.operations.events import EventKind, Events, WaitForEvents

        args = WaitForEvents(kinds=(EventKind.MESSAGE,), wait_seconds=0)
        found = await agent.call("wait_for_events", args, timeout_seconds=LOOK_SECONDS)
        assert isinstance(found, Events)
        marks = tuple(event.id for event in found.events)
        return Waiting(joined=True, mail=found.unread if marks else 0, mail_marks=marks)

    def _hear(self, agent: Someone) -> None:
        def nudged(_: Control) -> None:
            self._tell()

        agent.on_mail(self._tell)
        agent.on_control(nudged)
        self._tell()

    def _idle(self) -> None:
        if self._stale:
            self._stale = False
            self._tell()

    def _tell(self) -> None:
        for tell in self.on_change:
            tell()
