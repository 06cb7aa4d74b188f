"""`top` at work: it asks about once a second, draws what is known, and obeys keys and signals until it is to end."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from asyncio import TaskGroup
from collections.abc import Sequence
from contextlib import suppress

from loominal.fabric.operations.stats import ProjectView
from loominal.model.errors import BrokerUnavailable, HubUnavailable, LoominalError
from loominal.shuttle.fleet import Fleet
from loominal.shuttle.tables import duration
from loominal.shuttle.top.frame import Known, frame
from loominal.shuttle.top.keys import Keys
from loominal.shuttle.top.listing import Found, Listing, Member
from loominal.shuttle.top.look import Look
from loominal.shuttle.top.panes import PANES
from loominal.shuttle.top.screen import Screen
from loominal.shuttle.top.watched import Watched

DRAW_SECONDS = 1.0  # between two pictures if nothing comes: the age of what is shown goes on
LATE_SECONDS = 2.0  # beside the interval; what is older is said to be
LEAST_SECONDS = 0.1  # between two rounds, however fast one types
LIST_SECONDS = 10.0  # for all pages of a round
ESCAPE_SECONDS = 0.1  # in which the rest of a key's sequence comes, over a slow line, too
PROJECTS_SECONDS = 10.0  # between two looks whether there are new projects
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NOTHING_YET = Found(ended=False)


class Top:
    """One run of `top` on a screen."""

    def __init__(self, fleet: Fleet, screen: Screen, projects: Sequence[ProjectView], interval_seconds: float) -> None:
        self._fleet = fleet
        self._screen = screen
        self._interval_seconds = interval_seconds
        self._watched = [Watched(each) for each in projects]
        self._look = Look(PANES)
        self._listing = Listing(self._look)
        self._found = NOTHING_YET
        self._problem = ""  # why the list cannot be shown as it was asked for
        self._keys = Keys()
        self._escape: asyncio.TimerHandle | None = None
        self._ask_now = asyncio.Event()
        self._rows = 1  # of the list on the screen
        self._projects_at = time.monotonic()
        self._end: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def run(self) -> int:
        """Show the fleet until told to end; return the exit code."""
        loop = asyncio.get_running_loop()
        for sign in ENDS:
            loop.add_signal_handler(sign, self._finish, 128 + sign)
        loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        loop.add_signal_handler(signal.SIGCONT, self._redraw)
        loop.add_signal_handler(signal.SIGWINCH, self._redraw)
        self._screen.enter()
        try:
            loop.add_reader(self._screen.fd, self._typed)
            async with TaskGroup() as self._group:
                for each in self._watched:
                    self._watch(each)
                self._group.create_task(self._keep_asking(), name="asking")
                self._group.create_task(self._keep_drawing(), name="drawing")
                await self._end
                loop.remove_reader(self._screen.fd)  # what is typed from here on is the shell's
                self._screen.leave()  # at once: the way out of a fabric that does not answer may be long
                raise _Stop
        except* _Stop:
            pass
        finally:
            self._screen.leave()
            loop.remove_reader(self._screen.fd)
        return self._end.result()

    # what is typed, and signals

    def _finish(self, code: int) -> None:
        if not self._end.done():
            self._end.set_result(code)

    def _suspend(self) -> None:
        """Give the terminal back and stop, as whoever has no handler does; go on when told to."""
        loop = asyncio.get_running_loop()
        self._screen.leave()
        loop.remove_signal_handler(signal.SIGTSTP)
        os.kill(os.getpid(), signal.SIGTSTP)
        loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        self._redraw()

    def _redraw(self) -> None:
        if not self._end.done():
            self._screen.enter()
            self._draw()
            self._ask_now.set()

    def _typed(self) -> None:
        data = self._screen.typed()
        if data is None:
            self._finish(128 + signal.SIGHUP)
            return
        if self._escape is not None:
            self._escape.cancel()
        self._press(self._keys.feed(data))
        if self._keys.begun:
            loop = asyncio.get_running_loop()
            self._escape = loop.call_later(ESCAPE_SECONDS, lambda: self._press(self._keys.settle()))

    def _press(self, keys: Sequence[str]) -> None:
        for key in keys:
            before, pane = (self._look.top, self._look.chosen), self._look.pane
            self._look.press(key, self._rows)
            if self._look.pane is not pane:
                self._found = NOTHING_YET
            if (self._look.top, self._look.chosen) != before or not self._look.paused:
                self._ask_now.set()
            if key == "redraw":
                self._screen.enter()
        if self._look.quits:
            self._finish(0)
        self._draw()

    # what is asked

    async def _keep_asking(self) -> None:
        while True:
            self._ask_now.clear()
            await self._ask()
            self._draw()
            await asyncio.sleep(LEAST_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(None if self._look.paused else self._interval_seconds - LEAST_SECONDS):
                    await self._ask_now.wait()

    async def _ask(self) -> None:
        """Ask for the counts of every project, then for the rows that are on the screen."""
        async with TaskGroup() as group:
            for each in self._watched:
                group.create_task(each.count(), name=f"counts of {each.project}")
        if self._listing.chosen != self._look.chosen:
            self._listing = Listing(self._look)
        members = [
            Member(each.project_id, each.project, each.agent, each.stats)
            for each in self._watched
            if each.agent is not None and each.stats is not None and not each.problem
        ]
        try:
            if members:
                await self._list(members)
                await self._find_projects(members[0])
        except (BrokerUnavailable, HubUnavailable, TimeoutError):
            return  # the age of the counts tells of it
        except LoominalError as error:
            self._problem, self._found = error.message, Found()

    async def _list(self, members: Sequence[Member]) -> None:
        listing, top = self._listing, self._look.top
        async with asyncio.timeout(LIST_SECONDS):
            found = await listing.read(members, top, self._rows)
        if listing.chosen != self._look.chosen:
            return  # something else is wanted by now
        self._found, self._problem = found, ""
        if found.ended:
            self._look.end(found.base + len(found.rows), self._rows)
            beyond = self._look.top < found.base
        else:
            beyond = top > found.base + len(found.rows)  # the way to the end of a long list goes on
        if beyond:
            self._ask_now.set()

    async def _find_projects(self, member: Member) -> None:
        """Watch projects that are new, if every one is to be watched."""
        if not self._fleet.all_projects or time.monotonic() - self._projects_at < PROJECTS_SECONDS:
            return
        self._projects_at = time.monotonic()
        known = {each.project_id for each in self._watched}
        for project in (await member.agent.list_projects()).projects:
            if project.project_id not in known:
                self._watched.append(Watched(project))
                self._watch(self._watched[-1])

    def _watch(self, project: Watched) -> None:
        watching = project.keep_connected(self._fleet, self._ask_now.set)
        self._group.create_task(watching, name=f"connection to {project.project}")

    # what is drawn

    async def _keep_drawing(self) -> None:
        while True:
            self._draw()
            await asyncio.sleep(DRAW_SECONDS)

    def _draw(self) -> None:
        health, trouble = self._health()
        known = Known(
            title=self._watched[0].project if len(self._watched) == 1 else f"{len(self._watched)} projects",
            stats=[each.stats for each in self._watched if each.stats is not None],
            health=health,
            trouble=trouble,
            found=self._found,
            problem=self._problem,
            many=self._fleet.all_projects,
        )
        drawn = frame(self._look, known, *self._screen.size)
        if drawn.rows != self._rows:
            self._rows = drawn.rows
            self._look.follow(self._rows)
            drawn = frame(self._look, known, *self._screen.size)
        self._screen.draw(drawn.lines)

    def _health(self) -> tuple[str, str]:
        """Return how the projects answer, and why one does not, if so."""
        oldest = min(self._watched, key=lambda each: each.answered_at)
        seconds = time.monotonic() - oldest.answered_at
        if self._look.paused:
            return f"as it was {duration(seconds)} ago", ""
        if seconds < self._interval_seconds + LATE_SECONDS:
            if any(each.stats is None for each in self._watched):
                return "asking", ""
            return f"answers in {1000 * max(each.took_seconds for each in self._watched):.0f} ms", ""
        who = f" from {oldest.project}" if len(self._watched) > 1 else ""
        return f"no answer{who} for {duration(seconds)}; still trying", oldest.problem or "nobody says why"


class _Stop(Exception):
    """The screen is to be left."""
