"""Following items until they have ended: `shuttle watch`, and every `--wait`. How it looks is a `Display`'s matter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import click

from loominal.fabric.operations.types import View
from loominal.fabric.operations.work import Followed, FollowedWork, FollowWork, GetWork, WorkDetail
from loominal.model.errors import (
    BadCursor,
    BrokerUnavailable,
    CredentialRefused,
    HubUnavailable,
    LoominalError,
    NotFound,
)
from loominal.model.names import shown
from loominal.model.work import ENDED
from loominal.shuttle.watching.watched import Happened, Watched

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent
    from loominal.fabric.operations.types import Arguments
    from loominal.shuttle.fleet import Fleet

AT_ONCE = 1000  # items that one question may name
HOLD_SECONDS = 2.0  # for which one question is held open,
PATIENCE_SECONDS = 3.0  # and for which it is then repeated until that is said; a new leader needs less
DRAW_SECONDS = 0.25
MOST_NAMED = 3  # in a line of talk
ANEW_SECONDS = 30.0  # then all is asked anew: what items wait for changes though they do not move


class Display(Protocol):
    """Who watches."""

    def tell(self, events: Sequence[Happened], watched: Watched) -> None:
        """Show what has happened."""

    def draw(self, watched: Watched) -> None:
        """Show how everything stands; called every DRAW_SECONDS."""

    def erase(self) -> None:
        """Take away what `draw` shows: something else is to be printed, or it is over."""


class Nobody:
    """Nobody watches."""

    def tell(self, events: Sequence[Happened], watched: Watched) -> None:
        """Show nothing."""

    def draw(self, watched: Watched) -> None:
        """Show nothing."""

    def erase(self) -> None:
        """Nothing is shown."""


async def watch(
    fleet: Fleet,
    agent: Agent,
    names: Sequence[str],
    display: Display | None = None,
    *,
    timeout_seconds: float | None = None,
) -> list[WorkDetail]:
    """Return the named items (ids or task ids) in their order, once all have ended or the time is over, which is said.

    A fabric that is gone is waited for. Raises: NotFound at once if one of them is not there; BrokerUnavailable or
    HubUnavailable if the fabric does not answer when the time is over.
    """
    following = _Following(fleet, agent, tuple(dict.fromkeys(names)), display or Nobody())
    try:
        return await following.run(timeout_seconds)
    except asyncio.CancelledError:
        following.interrupted()
        raise


class _Following:
    """One watch of some items."""

    def __init__(self, fleet: Fleet, agent: Agent, names: tuple[str, ...], display: Display) -> None:
        self._fleet = fleet
        self._agent = agent
        self._names = names
        self._display = display
        self._watched = Watched()
        self._lost: LoominalError | None = None  # why the fabric does not answer

    async def run(self, seconds: float | None) -> list[WorkDetail]:
        """Return the items once all have ended, or after `seconds`."""
        parts = [self._names[first : first + AT_ONCE] for first in range(0, len(self._names), AT_ONCE)]
        looks = [(part, *await self._look(part)) for part in parts]
        await self._take([item for _, items, _ in looks for item in items])
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                drawing = group.create_task(self._draw(), name="draw")
                await asyncio.wait([group.create_task(self._follow(*look), name="follow") for look in looks])
                drawing.cancel()
        except TimeoutError:
            await self._give_up(seconds or 0)
        except ExceptionGroup as several:
            raise several.exceptions[0] from several
        self._display.erase()
        return [self._watched.details[each] for each in self._watched.items]

    def interrupted(self) -> None:
        """Say that nothing but the watch is over."""
        self._display.erase()  # with what the terminal has made of the keys
        self._display.draw(self._watched)
        some = " ".join(self._names[:MOST_NAMED]) + (" ..." if len(self._names) > MOST_NAMED else "")
        self._fleet.say(f"the work goes on; `shuttle watch {some}` shows it again")

    async def _look(self, names: tuple[str, ...]) -> tuple[list[FollowedWork], str]:
        """Return every item and the cursor behind that. Raises: NotFound if one of them is not there."""
        found: list[FollowedWork] = []
        told = await self._ask(names)
        if told.missing:
            some = " nor ".join(shown(each) for each in told.missing[:MOST_NAMED])
            others = f" nor {left} others" if (left := len(told.missing) - MOST_NAMED) > 0 else ""
            raise NotFound(f"there is no work item {some}{others}", "list_work shows the items")
        found += told.items
        while told.more:
            told = await self._ask(names, told.cursor)
            found += told.items
        return found, told.cursor

    async def _follow(self, names: tuple[str, ...], items: list[FollowedWork], cursor: str) -> None:
        """Take what becomes of `items`, which are all that `names` names, until they have ended."""
        ids = [item.id for item in items]
        looked_at, more = time.monotonic(), False
        while not self._watched.is_over(ids):
            try:
                told = await self._ask(names, cursor, 0 if more else HOLD_SECONDS)
                items, cursor, more = list(told.items), told.cursor, told.more
            except BadCursor:  # the project has begun another life
                looked_at = 0
            if time.monotonic() - looked_at > ANEW_SECONDS:
                items, cursor = await self._look(names)
                looked_at, more = time.monotonic(), False
            await self._take(items)

    async def _take(self, items: list[FollowedWork]) -> None:
        """Take how some items stand; of those that have ended all is read."""
        events = self._watched.take(items)
        reads = [GetWork(work_id=item.id) for item in items if item.status in ENDED]
        await self._read([each for each in reads if each.work_id not in self._watched.details])
        self._display.tell(events, self._watched)

    async def _read(self, reads: list[GetWork]) -> None:
        for detail in await asyncio.gather(*(self._answer("get_work", each) for each in reads)):
            assert isinstance(detail, WorkDetail)
            self._watched.details[detail.id] = detail

    async def _ask(self, names: tuple[str, ...], cursor: str | None = None, wait_seconds: float = 0) -> Followed:
        args = FollowWork(work_ids=names, after=cursor, wait_seconds=wait_seconds)
        told = await self._answer("follow_work", args)
        assert isinstance(told, Followed)
        return told

    async def _answer(self, operation: str, args: Arguments) -> View:
        """Return an answer, however long the fabric is away; that it is, and is back, is said once.

        Raises: BrokerUnavailable, HubUnavailable while nothing was answered yet; CredentialRefused.
        """
        began = bool(self._watched.items)
        while True:
            try:
                seconds = PATIENCE_SECONDS if began else None
                view = await self._agent.call(operation, args, timeout_seconds=seconds)
            except (BrokerUnavailable, HubUnavailable) as error:
                if not began or isinstance(error, CredentialRefused):
                    raise
                if self._lost is None:
                    self._say(f"the fabric does not answer ({error.message}); waiting for it")
                self._lost = error
                continue
            if self._lost is not None:
                self._say("the fabric answers again")
            self._lost = None
            return view

    async def _draw(self) -> None:
        while True:
            self._display.draw(self._watched)
            await asyncio.sleep(DRAW_SECONDS)

    async def _give_up(self, seconds: float) -> None:
        """Say what has not ended in time. Raises: why the fabric does not answer."""
        self._display.erase()
        if self._lost is not None:
            raise self._lost
        waiting = [item for item in self._watched.items.values() if item.status not in ENDED]
        if not waiting:
            return
        click.echo(f"shuttle: {len(waiting)} of {len(self._names)} have not ended within {seconds:g} s", err=True)
        await self._read([GetWork(work_id=item.id) for item in waiting])

    def _say(self, text: str) -> None:
        self._display.erase()
        self._fleet.say(text)
