"""One agent under chaos: it talks, offers, works, reads, and writes down all that was accepted. A crew has several."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Awaitable
from typing import TypeVar

from chaos.items import LATE_SECONDS, LONG_SECONDS, NOBODY, TIMEOUT_SECONDS, USUAL_TIMEOUT_SECONDS, Does, Task
from chaos.notes import Notebook, What
from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.inbox import MessageView
from loominal.fabric.operations.work import WorkMoved, WorkView
from loominal.model.errors import BadCursor, LoominalError
from loominal.model.message import WORK_RESULT
from loominal.model.work import Notify, Status

AT_ONCE = 3  # claims of one agent
CHANNELS = ("general", "updates")
DIRECT_SHARE = 0.4
POLL_SECONDS = 3.0
FOLLOW_SECONDS = 0.25  # between two looks at a channel
PAUSE_SECONDS = 0.3  # after an error
APART_SECONDS = (0.0, 0.2)  # between two messages of an agent: faults come in the middle of them
STEP_SECONDS = 0.3  # between two looks whether a claim is still ours
HANG_SECONDS = 30.0

T = TypeVar("T")


class Weaver:
    """What one agent does and remembers of it."""

    def __init__(self, agent: Agent, notebook: Notebook, peers: list[str], life: int) -> None:
        self.agent = agent
        self.drained = asyncio.Event()  # nothing is left to read
        self._notebook = notebook
        self._peers = [peer for peer in peers if peer != agent.guid]
        self._life = life
        self._sent = 0
        self._offered: list[str] = []
        self._released: set[str] = set()
        self._buried: set[str] = set()
        self._tokens: dict[str, int] = {}  # the newest claim of each item: one that was lost may be taken again
        self._room = asyncio.Semaphore(AT_ONCE)
        self._draining = False

    def drain(self) -> None:
        """Let the readers end once nothing is left."""
        self._draining = True

    async def talk(self, chance: random.Random, count: int) -> None:
        """Send `count` messages, one after the other, to channels and to peers."""
        for _ in range(count):
            await asyncio.sleep(chance.uniform(*APART_SECONDS))
            self._sent += 1
            text = f"{self.agent.guid} {self._life}.{self._sent}"
            direct = chance.random() < DIRECT_SHARE
            place = chance.choice(self._peers if direct else CHANNELS)
            self.note(What.SENDING, place=place, text=text)
            if sent := await self._tried(self._send(direct, place, text)):
                self.note(What.SENT, place=place, text=text, id=sent)

    async def _send(self, direct: bool, place: str, text: str) -> str:
        if direct:
            return (await self.agent.send_direct_message(place, text)).id
        return (await self.agent.send_message(place, text)).id

    async def offer(self, tasks: list[Task]) -> None:
        """Submit these items, some of them twice; call some of them off."""
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                await asyncio.sleep(task.after_seconds)
                depends = tuple(self._offered[-1 - number] for number in range(min(task.depends, len(self._offered))))
                if not (item := await self._submit(task, depends)):
                    continue
                self._offered.append(item)
                if task.twice:
                    group.create_task(self._submit(task, depends))
                if task.cancelled_after_seconds is not None:
                    group.create_task(self._call_off(item, task.cancelled_after_seconds))

    async def _submit(self, task: Task, depends: tuple[str, ...]) -> str:
        self.note(What.OFFERING, task=task.name)
        offered = await self._tried(
            self.agent.broadcast_work_offer(
                f"{task.does} in {task.seconds:.2f} s",
                task_id=task.name,
                required_capability=task.capability,
                priority=task.priority,
                deadline=task.deadline,
                max_attempts=task.max_attempts,
                timeout_seconds=TIMEOUT_SECONDS.get(task.does, USUAL_TIMEOUT_SECONDS),
                depends_on=depends,
                context_data={"does": task.does, "seconds": task.seconds},
                notify=Notify.INBOX if task.told else Notify.NONE,
            )
        )
        if offered is None:
            return ""
        self.note(What.OFFERED, task=task.name, id=offered.id, status=str(offered.status))
        return offered.id

    async def _call_off(self, item: str, after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        if moved := await self._tried(self.agent.cancel_work(item, reason="called off")):
            self.note(What.CANCELLED, id=item, status=str(moved.status))

    async def labour(self, group: asyncio.TaskGroup) -> None:
        """Take work and do it, until cancelled."""
        while True:
            await self._room.acquire()
            self._room.release()
            found = await self._tried(self.agent.claim_work(wait_seconds=POLL_SECONDS))
            for view in found.work if found else ():
                self.hold(view, group)

    def hold(self, view: WorkView, group: asyncio.TaskGroup) -> None:
        """Do a claimed item in the background."""
        self.note(What.CLAIMED, id=view.id, token=view.lease_token)
        self._tokens[view.id] = view.lease_token
        group.create_task(self._work(view), name=f"work on {view.id}")

    async def _work(self, view: WorkView) -> None:
        async with self._room:
            try:
                await self._do(view)
            finally:
                if self._lost(view):
                    self.note(What.LOST, id=view.id, token=view.lease_token)

    async def _do(self, view: WorkView) -> None:
        does, seconds = Does(str(view.context_data["does"])), float(str(view.context_data["seconds"]))
        match does:
            case Does.HANG:
                await self._spend(view, HANG_SECONDS)
                return
            case Does.LATE:
                await asyncio.sleep(LATE_SECONDS)  # and never looks whether it is still its own
            case _:
                if not await self._spend(view, LONG_SECONDS if does is Does.LONG else seconds):
                    return
        agent, item = self.agent, view.id
        if does is Does.FATAL:
            await self._end(view, "fail", agent.fail_work(item, "cannot be done", retryable=False))
        elif does is Does.FAIL or (does is Does.FAIL_ONCE and view.attempt == 1):
            await self._end(view, "fail", agent.fail_work(item, "did not work"))
        elif agent.cancel_requested(item) or (does is Does.RELEASE_ONCE and item not in self._released):
            self._released.add(item)
            await self._end(view, "release", agent.release_work(item, reason="not now"))
        else:
            await self._end(view, "complete", agent.complete_work(item, f"{does}", result={"by": agent.guid}))

    async def _spend(self, view: WorkView, seconds: float) -> bool:
        """Work for so long; return False if the claim was lost meanwhile."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0 and not self.agent.cancel_requested(view.id):
            await asyncio.sleep(min(left, STEP_SECONDS))
            if self._lost(view):
                return False
            if left > STEP_SECONDS:
                await self._tried(self.agent.report_progress(view.id, message="still at it"))
        return not self._lost(view)

    def _lost(self, view: WorkView) -> bool:
        return self.agent.lost(view.id) or self._tokens[view.id] != view.lease_token

    async def _end(self, view: WorkView, verb: str, call: Awaitable[WorkMoved]) -> None:
        token = self._tokens[view.id]  # the client's: a late holder that has claimed the item again ends that claim
        self.note(What.ENDING, id=view.id, token=token, verb=verb)
        try:
            moved = await call
        except LoominalError as error:
            self.note(What.REFUSED, id=view.id, token=token, verb=verb, code=error.code)
            return
        self.note(What.ENDED, id=view.id, token=token, verb=verb, status=str(moved.status))
        if verb == "complete" and (seen := await self._tried(self.agent.get_work(view.id))):
            self.note(What.SEEN, id=view.id, token=token, status=str(seen.status))

    async def read(self, group: asyncio.TaskGroup) -> None:
        """Read the inbox until cancelled, or until nothing is left."""
        while True:
            waits = 0.0 if self._draining else POLL_SECONDS
            page = await self._tried(self.agent.read_direct_messages(limit=20, wait_seconds=waits))
            if page is None:
                continue
            for message in page.messages:
                self.take(message, group)
            if self._draining and not page.messages:
                self.drained.set()
                return

    def take(self, message: MessageView, group: asyncio.TaskGroup) -> None:
        """Note a message that was shown, and see to the dead item that it may tell of."""
        self.note(
            What.READ,
            id=message.id,
            text=message.message,
            verb=message.message_type,
            redelivered=message.redelivered,
        )
        if message.message_type == WORK_RESULT and message.metadata["status"] == Status.DEAD:
            group.create_task(self._bury(str(message.metadata["workId"])))

    async def _bury(self, item: str) -> None:
        """Retry or discard some of the dead, each once."""
        if self._draining or item in self._buried:
            return
        self._buried.add(item)
        detail = await self._tried(self.agent.get_work(item))
        if detail is None or NOBODY in detail.capabilities:  # without its deadline that would wait for ever
            return
        match zlib.crc32(item.encode()) % 4:
            case 0:
                await self._tried(self.agent.retry_dead_letter_item(item))
            case 1:
                await self._tried(self.agent.discard_dead_letter_item(item, reason="no use"))

    async def follow(self, channel: str) -> None:
        """Read a channel as it grows, until cancelled or nothing is left."""
        cursor: str | None = None
        while True:
            try:
                page = await self.agent.read_messages(channel, limit=50 if cursor else 1, cursor=cursor)
            except BadCursor:
                raise
            except LoominalError:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            what = What.HEARD if cursor else What.FOLLOWING
            for message in page.messages:
                self.note(what, id=message.id, text=message.message, place=channel)
            cursor = page.new_cursor
            if not page.messages:
                if self._draining:
                    return
                await asyncio.sleep(FOLLOW_SECONDS)

    async def list_all(self) -> None:
        """Note every item as the fabric lists it."""
        cursor: str | None = None
        while True:
            page = await self.agent.list_work(limit=100, cursor=cursor)
            for item in page.items:
                self.note(What.LISTED, id=item.id, status=str(item.status))
            cursor = page.next_cursor
            if cursor is None:
                return

    def note(self, what: What, **fields: object) -> None:
        """Write down what happened to this agent."""
        self._notebook.write(what, self.agent.guid, **fields)

    async def _tried(self, call: Awaitable[T]) -> T | None:
        """Return the answer, or None if it was an error."""
        try:
            return await call
        except LoominalError as error:
            self.note(What.REFUSED, code=error.code, text=error.message[:200])
            await asyncio.sleep(PAUSE_SECONDS)
            return None
