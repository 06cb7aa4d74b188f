"""One project's hub: follows the logs, leads when that falls to this weft, and hands the lead on when it leaves.

A weft keeps a hub for each project that it leads or is to lead next: that one is warm, it only follows.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, suppress

from loominal.broker import subjects
from loominal.broker.connection import Received
from loominal.broker.event import Event
from loominal.fabric.hub import stats, streams
from loominal.fabric.hub.abroad import publishing
from loominal.fabric.hub.abroad.visits import answered
from loominal.fabric.hub.agents import heartbeats
from loominal.fabric.hub.dispatch import Dispatcher
from loominal.fabric.hub.handlers import HANDLERS
from loominal.fabric.hub.lead import due, reading
from loominal.fabric.hub.lead.leadership import NOBODY
from loominal.fabric.hub.lead.pulse import Pulse
from loominal.fabric.hub.lead.rest import at_rest
from loominal.fabric.hub.lead.rounds import rounds
from loominal.fabric.hub.lead.vigil import Vigil
from loominal.fabric.hub.loading import Loading
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.talk.ops_inbox import flush
from loominal.fabric.hub.tally import Change
from loominal.fabric.protocol import PROTO, encode
from loominal.model.errors import BrokerUnavailable, Conflict, LoominalError, Replaced, UpgradeNeeded

log = logging.getLogger(__name__)

CONNECT_SECONDS = 30.0
FINISH_SECONDS = 2.0  # for what is in flight when the lead is handed on
TAKEN_SECONDS = 2.0  # for which the next hand-over waits for this one's successor


class _Over(Exception):
    """The hub is done; raised in its task group, it ends every task."""


class Hub:
    """Serves one project on its broker connection; `project` and nothing else holds its state."""

    def __init__(self, project: Project, *, new_life: bool = False) -> None:
        self.project = project
        self.ready = Event()  # it leads and answers
        self.loaded = Event()
        self.settled = Event()  # it is ready, reads only, or follows another weft's lead
        self.reads_only: UpgradeNeeded | None = None  # why everything else is refused
        self.went_back = False  # the streams are others now, or lost records that were read
        self._new_life = new_life  # that happened to the hub before this one
        self._ensured = False
        self._leaving = False
        self._unload = False
        self._warm: set[str] = set()  # other wefts that could lead at once
        self._dispatcher: Dispatcher | None = None

    @property
    def is_served(self) -> bool:
        """Whether the project is answered here, or that is another weft's business."""
        lead = self.project.leadership
        others = lead.holder != lead.members.me and lead.members.order(self.project.id)[:1] != [lead.members.me]
        return self.ready.is_set() or self.reads_only is not None or lead.elsewhere or others

    @property
    def leads(self) -> bool:
        """Whether this weft leads the project and answers."""
        return self.ready.is_set()

    @property
    def is_idle(self) -> bool:
        """Whether nobody would miss the project: no agent, no claim, nothing in flight or to be told."""
        forgotten = self.project.authority.open_mode and self.project.book.next_deadline()  # who would remember it?
        return at_rest(self.project) and not forgotten and (self._dispatcher is None or self._dispatcher.is_idle)

    def leave(self, *, unload: bool = False) -> None:
        """Let `serve` return soon, after the lead was handed on; with `unload` to nobody."""
        self._leaving, self._unload = True, unload
        self.project.leadership.news.set()

    async def serve(self) -> None:
        """Follow, and lead when it falls to this weft; return when it has left or another weft leads.

        Raises: Replaced when the project must be loaded anew, BrokerUnavailable.
        """
        project, lead = self.project, self.project.leadership
        await project.broker.wait_up(CONNECT_SECONDS)
        await lead.read(project)
        off = lead.members.on_change(lead.news.set)
        try:
            async with asyncio.TaskGroup() as group:
                if lead.falls_to_me(project.id):
                    with suppress(UpgradeNeeded):  # it is read as it is; `_wait_for_lead` meets this again
                        await self._ensure()
                loading = Loading(project, group)
                await loading.load()
                group.create_task(self._watch(loading), name=f"streams of {project.id}")
                self.loaded.set()
                if await self._wait_for_lead(group):
                    await self._lead(group, loading)
                raise _Over
        except* _Over:
            pass
        except* BrokerUnavailable as group_error:
            raise group_error.exceptions[0] from None
        finally:
            off()

    async def _ensure(self) -> None:
        """Make ready to lead. Raises: UpgradeNeeded if a newer release has written here, perhaps just now."""
        if self._ensured:
            await streams.check_format(self.project)
            return
        await streams.ensure(self.project, new_life=self._new_life)
        self._ensured = True

    async def _read_only(self, why: UpgradeNeeded, group: asyncio.TaskGroup) -> None:
        """Answer reads until a weft is there that can lead, which may be coming back just now, or this one leaves."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.project.timings.coming_seconds):
                await self._until_not_mine()
                return
        self.reads_only = why
        self.settled.set()
        try:
            async with reading.answered(self.project, why, group):
                await self._until_not_mine()
        finally:
            self.reads_only = None

    async def _until_not_mine(self) -> None:
        lead = self.project.leadership
        while lead.falls_to_me(self.project.id) and not self._leaving:
            lead.news.clear()
            await lead.news.wait()

    async def _watch(self, loading: Loading) -> None:
        await loading.replaced.wait()
        self.went_back = True
        raise Replaced(f"the streams of project {self.project.id} were replaced")

    async def _wait_for_lead(self, group: asyncio.TaskGroup) -> bool:
        """Return True when this weft has become the leader, False when it is to leave."""
        project, lead = self.project, self.project.leadership

        def say_warm() -> None:
            group.create_task(self._say_warm(), name=f"warm {project.id}")

        waking = await project.broker.subscribe(subjects.leader_wake(project.id), lambda _: say_warm())
        off = lead.members.on_change(say_warm)
        say_warm()
        try:
            while True:
                lead.news.clear()
                if lead.falls_to_me(project.id):
                    try:
                        if await self._take():
                            return True
                    except UpgradeNeeded as error:
                        await self._read_only(error, group)
                        if self._leaving:
                            return False
                elif self._leaving:
                    return False
                else:
                    if not self.settled.is_set():
                        log.info("project %s is followed behind %s", project.id, lead.holder or "nobody")
                    self.settled.set()
                    await lead.news.wait()
        finally:
            off()
            await waking.stop()

    async def _say_warm(self) -> None:
        """Tell the leader that it may hand over, or wake it if it does not know that it leads."""
        project, lead = self.project, self.project.leadership
        if lead.elsewhere:
            with suppress(LoominalError):  # it is said again at the next occasion
                await project.broker.publish(subjects.warm(project.id), lead.members.me.encode())
                await lead.members.remind(lead.holder, project.id)

    async def _take(self) -> bool:
        await self._ensure()
        try:
            await self.project.leadership.take(self.project)
        except Conflict:  # another was quicker, or a former leader's last guarded write
            await self.project.leadership.read(self.project)
            return False
        self.project.tally.weft.leads[Change.TAKEN] += 1
        await streams.mark_format(self.project)
        return True

    async def _lead(self, group: asyncio.TaskGroup, loading: Loading) -> None:
        """Answer and judge until the lead goes to another weft, or is to go: then hand it on."""
        project = self.project
        await loading.take_over()
        now = project.clock.monotonic()
        project.presence.clear(now)
        project.leases.renew_all(now)
        project.spinup.group, project.led_since = group, project.clock.now()
        pulse = Pulse(project)
        self._dispatcher = dispatcher = Dispatcher(project, HANDLERS, group)
        vigil = Vigil(project)
        broker = project.broker
        async with AsyncExitStack() as turn, AsyncExitStack() as heard:
            for subject, take in (
                (subjects.warm(project.id), self._other_is_warm),
                (subjects.counting(project.id), self._count(group)),
                (subjects.heartbeats(project.id), vigil.before(self._beat(group))),
                (subjects.requests(project.id), vigil.before(dispatcher.receive)),
            ):
                heard.push_async_callback((await broker.subscribe(subject, take)).stop)
            await heard.enter_async_context(answered(project, group, vigil.before))
            heard.callback(self.ready.clear)
            heard.callback(broker.on_connect(lambda: self._announce(group)))
            self.ready.set()
            self.settled.set()
            log.info("project %s is served, %d items", project.id, len(project.book))
            duties = [
                group.create_task(pulse.run(), name=f"pulse of {project.id}"),
                group.create_task(rounds(project, pulse), name=f"rounds of {project.id}"),
                group.create_task(vigil.run(), name=f"vigil of {project.id}"),
            ]
            successor = await self._successor(turn)
            await heard.aclose()
            if successor is None:
                project.tally.weft.leads[Change.LOST] += 1
                log.info("project %s is led by %s now", project.id, project.leadership.holder)
                return
            for duty in duties:
                duty.cancel()
            await asyncio.wait(duties)
            project.spinup.stop()
            await dispatcher.finish(FINISH_SECONDS)
            await self._hand_over(successor)

    async def _successor(self, turn: AsyncExitStack) -> str | None:
        """Return to whom the lead is to go, NOBODY if no weft needs it; None if another weft has it already.

        `turn` then holds this project's turn, if it is not for this weft's leaving.
        """
        project, lead = self.project, self.project.leadership
        until, has_turn = project.clock.monotonic() + project.timings.settled_seconds, False
        while True:
            lead.news.clear()
            if not lead.leads:
                return None
            ranked = [weft for weft in lead.members.order(project.id) if not self._unload]
            if self._leaving:
                others = [weft for weft in ranked if weft != lead.members.me]
                return next((weft for weft in others if weft in self._warm), (others or [NOBODY])[0])
            left = until - project.clock.monotonic()
            other_is_first = bool(ranked) and ranked[0] != lead.members.me and ranked[0] in self._warm
            if other_is_first and has_turn:
                return ranked[0]
            if has_turn:
                await turn.aclose()
                has_turn = False
            if other_is_first and left <= 0:
                await turn.enter_async_context(lead.members.handing_over)
                has_turn = True
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(left if other_is_first else None):
                    await lead.news.wait()

    async def _hand_over(self, successor: str) -> None:
        """Leave the lead to `successor`; nothing is answered any more."""
        project, lead = self.project, self.project.leadership
        try:
            await flush(project, at_once=True)
            await due.settle(project)
            if successor == NOBODY:
                await publishing.put_to_sleep(project)
        except LoominalError as error:  # soft, or found out again
            log.info("project %s: %s", project.id, error)
        try:
            await lead.name(project, successor)
        except Conflict:
            return
        project.tally.weft.leads[Change.HANDED_OVER] += 1
        log.info("project %s is left to %s", project.id, successor or "whoever comes")
        epoch = lead.epoch
        if successor != NOBODY and not self._leaving:
            with suppress(TimeoutError):
                async with asyncio.timeout(TAKEN_SECONDS):
                    while lead.epoch < epoch + 2:  # the naming, and the taking
                        lead.news.clear()
                        await lead.news.wait()

    def _other_is_warm(self, message: Received) -> None:
        self._warm.add(message.data.decode("ascii", "replace"))
        self.project.leadership.news.set()

    def _announce(self, group: asyncio.TaskGroup) -> None:
        """Let everybody ask again: this leader is new, or was cut off, and then answers of its were lost on the way."""
        group.create_task(self._say_leads(), name=f"announcement in {self.project.id}")

    async def _say_leads(self) -> None:
        lead = {"proto": PROTO, "epoch": self.project.leadership.epoch, "generation": self.project.generation}
        with suppress(BrokerUnavailable):  # the next connect says it
            await self.project.broker.publish(subjects.leader_wake(self.project.id), encode(lead))

    def _count(self, group: asyncio.TaskGroup) -> heartbeats.Taker:
        def take(message: Received) -> None:
            group.create_task(stats.answer_weft(self.project, message), name=f"counts of {self.project.id}")

        return take

    def _beat(self, group: asyncio.TaskGroup) -> heartbeats.Taker:
        def take(message: Received) -> None:
            heartbeats.take(self.project, message, group)

        return take
