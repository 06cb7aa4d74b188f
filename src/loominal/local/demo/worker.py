"""One agent of the demo: `python -m loominal.local.demo.worker HANDLE PLACE`, a program on the client like any other.

A target starts it when work waits. It registers, finds the others, talks, and does work until it is to end.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import BinaryIO

import msgspec

from loominal.fabric.client.agent import Agent
from loominal.fabric.client.connect import connect
from loominal.fabric.operations.inbox import MessageView
from loominal.fabric.operations.work import WorkView
from loominal.local.demo.journal import Deed, Entry
from loominal.local.demo.plan import BOSS, CAST, CHANNEL, OFFERED, Item, Part
from loominal.local.demo.tasks import Request, run
from loominal.model.agent import JsonObject
from loominal.model.errors import Forbidden, LeaseLost
from loominal.model.grant import CORPORATE
from loominal.model.message import WORK_RESULT

LOOK_SECONDS = 0.1
WAIT_SECONDS = 50.0
CANNOT = (SyntaxError, ValueError, OSError)  # what a task may raise


class Stop(Exception):
    """The fabric has nothing more to do for it."""


class Worker:
    """One part of the cast."""

    def __init__(self, agent: Agent, part: Part, sources: Path, journal: BinaryIO, *, lies: bool) -> None:
        self._agent = agent
        self._part = part
        self._sources = sources
        self._journal = journal
        self._lies = lies
        self._offered = not part.offers
        self._one_at_a_time = asyncio.Lock()  # CPython 3.11 makes syntax trees in one thread only (its issue 106905)

    async def work(self) -> None:
        """Do everything until it is to end."""
        await self._register(*self._part.boundaries, CORPORATE)  # which nobody has without being granted it
        await self._register(*self._part.boundaries)
        await self._meet()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._answer_mail(), name="mail")
                group.create_task(self._take_work(), name="work")
                group.create_task(self._await_end(), name="end")
        except* Stop:
            await self._count_results()
            self._write(Deed.LEFT)

    async def _register(self, *boundaries: str) -> bool:
        part = self._part
        try:
            await self._agent.register_agent(
                part.agent_type, capabilities=part.capabilities, boundaries=boundaries, handle=part.handle
            )
        except Forbidden as error:
            self._write(Deed.REFUSED, text=error.code)
            return False
        self._write(Deed.REGISTERED, text=" ".join(boundaries))
        return True

    async def _meet(self) -> None:
        """Find the others, greet all on the channel and ask one of them directly."""
        others = CAST.keys() - {self._part.handle}
        async with asyncio.timeout(WAIT_SECONDS):
            while not others <= {agent.handle for agent in (await self._agent.discover_agents()).agents}:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)  # nobody is woken by another's coming
        self._write(Deed.MET, text=" ".join(sorted(others)))
        await self._say(
            f"hello from {self._part.handle} ({self._part.agent_type}): {', '.join(self._part.capabilities)}"
        )
        question = "which boundaries do you work in?"
        await self._agent.send_direct_message(self._part.asks, question, message_type="question")
        self._write(Deed.ASKED, peer=self._part.asks, text=question)

    async def _say(self, text: str) -> None:
        sent = await self._agent.send_message(CHANNEL, text)
        self._write(Deed.SAID, text=text, id=sent.id)

    async def _answer_mail(self) -> None:
        while True:
            for message in (await self._agent.read_direct_messages(limit=20, wait_seconds=WAIT_SECONDS)).messages:
                await self._answer(message)

    async def _answer(self, message: MessageView) -> None:
        me, peer = self._agent, message.sender.handle
        match message.message_type:
            case "question":
                text = ", ".join(self._part.boundaries)
                await me.send_direct_message(peer, text, message_type="answer", reply_to=message.id)
            case "answer":
                self._write(Deed.ANSWERED, peer=peer, text=message.message)
            case "grant" if peer == BOSS:
                accepted = await self._register(*self._part.boundaries, CORPORATE)
                text = "thank you, I take corporate work now" if accepted else "it was refused to me"
                await me.send_direct_message(peer, text, message_type="answer", reply_to=message.id)
            case kind if kind == WORK_RESULT:
                await self._compare(message.metadata["taskId"])

    async def _compare(self, task_id: str) -> None:
        """Look whether the result of an item that this agent offered is right."""
        item = await self._agent.get_work(task_id)
        async with self._one_at_a_time:
            mine = await asyncio.to_thread(run, msgspec.convert(item.context_data, Request))
        self._write(Deed.TOLD, item=task_id, right=mine == item.result)

    async def _count_results(self) -> None:
        """Say for each result in the inbox that it is there: one message for each item offered."""
        found = await self._agent.read_direct_messages(limit=100, unread_only=False, message_type=WORK_RESULT)
        for message in found.messages:
            self._write(Deed.TOLD, item=message.metadata["taskId"], id=message.id)

    async def _take_work(self) -> None:
        await self._await_go()
        while True:
            for item in (await self._agent.claim_work(wait_seconds=WAIT_SECONDS)).work:
                self._write(Deed.CLAIMED, item=item.task_id, lease_token=item.lease_token)
                try:
                    await self._do(item)
                except LeaseLost as error:
                    self._write(Deed.LOST, item=item.task_id, text=error.message)
                await self._offer()

    async def _await_go(self) -> None:
        """Return when the boss has said on the channel that all may begin."""
        events = await self._agent.wait_for_events(kinds=("channel",), wait_seconds=0)
        while not any(
            message.metadata.get("go") and message.handle == BOSS
            for message in (await self._agent.read_messages(CHANNEL)).messages
        ):
            events = await self._agent.wait_for_events(
                kinds=("channel",), wait_seconds=WAIT_SECONDS, cursor=events.cursor
            )

    async def _await_end(self) -> None:
        """Raise Stop when this agent is to end; it holds nothing then, for only who is idle is let go."""
        told = asyncio.Event()
        self._agent.on_control(lambda _: told.set())
        while not self._agent.draining:
            await told.wait()
            told.clear()
        raise Stop

    async def _do(self, item: WorkView) -> None:
        """Do an item and say how it ended; what the files do not allow is a failed attempt."""
        agent, loop = self._agent, asyncio.get_running_loop()
        request = msgspec.convert(item.context_data, Request)
        parents = tuple([(await agent.get_work(parent)).result for parent in item.depends_on])

        def report(percent: float) -> None:
            asyncio.run_coroutine_threadsafe(agent.report_progress(item.id, percent=percent), loop).result()

        try:
            async with self._one_at_a_time:
                result = await asyncio.to_thread(run, request, parents, report if request.rounds else None)
        except CANNOT as error:
            await agent.fail_work(item.id, f"{type(error).__name__}: {error}")
            self._write(Deed.FAILED, item=item.task_id, text=str(error))
            return
        if self._lies and "lines" in result:
            result["lines"] += 1
        await agent.complete_work(item.id, _summary(result), result=result)
        self._write(Deed.DONE, item=item.task_id, text=_summary(result))

    async def _offer(self) -> None:
        """After the first item of its own, offer one to the others."""
        if self._offered:
            return
        self._offered = True
        item: Item = OFFERED[self._part.offers]
        request = item.request(self._sources)
        await self._agent.broadcast_work_offer(
            f"{item.task} {item.path}",
            task_id=item.name,
            capabilities=(item.capability,),
            boundary=item.boundary,
            context_data=msgspec.to_builtins(request),
        )
        self._write(Deed.OFFERED, item=item.name)

    def _write(
        self,
        deed: Deed,
        *,
        item: str = "",
        lease_token: int = 0,
        peer: str = "",
        text: str = "",
        id: str = "",  # noqa: A002  # the entry's name for it
        right: bool = True,
    ) -> None:
        entry = Entry(
            agent=self._part.handle,
            deed=deed,
            item=item,
            lease_token=lease_token,
            peer=peer,
            text=text,
            id=id,
            right=right,
        )
        self._journal.write(msgspec.json.encode(entry) + b"\n")


def _summary(result: JsonObject) -> str:
    return ", ".join(f"{name} {str(value)[:40]}" for name, value in result.items())


async def _main(handle: str, place: Path, *, lies: bool) -> None:
    journal = place / "journals" / handle
    with journal.open("ab", buffering=0) as written:
        async with connect(client=handle, home=place / "home") as agent:
            await Worker(agent, CAST[handle], place / "sources", written, lies=lies).work()


def main() -> None:
    """Be one agent until told to end."""
    parser = argparse.ArgumentParser(description="One agent of `loominal demo`.")
    parser.add_argument("handle", choices=CAST)
    parser.add_argument("place", type=Path)
    parser.add_argument("--lies", action="store_true", help="deliver wrong counts, for a test of the checks")
    given = parser.parse_args()
    asyncio.run(_main(given.handle, given.place, lies=given.lies))


if __name__ == "__main__":
    main()
