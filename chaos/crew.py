"""A process of several agents, told by lines of stdin what to do; it answers each with a line. `place` starts it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from enum import StrEnum
from pathlib import Path

import msgspec

import loominal
from chaos.items import CAPABILITIES, tasks
from chaos.notes import Notebook, What
from chaos.weaver import AT_ONCE, CHANNELS, Weaver
from loominal.fabric.client.agent import Agent
from loominal.model.errors import LoominalError

CALL_SECONDS = 40.0  # how long a call is repeated: no fault lasts so long
PAUSE_SECONDS = 0.3  # between two tries to connect
ADOPTING_SHARE = 0.5  # of the agents that come back: they go on with what they held
TICK_SECONDS = 0.1
LATE_SECONDS = 1.0  # a loop that was late by more says so: its claims may lapse


class Deed(StrEnum):
    """What a crew is told."""

    ROUND = "round"
    DRAIN = "drain"  # read what is left, list all work
    LEAVE = "leave"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One line to a crew."""

    deed: Deed
    number: int = 0
    items: int = 0  # for each agent
    messages: int = 0


class Crew(msgspec.Struct, frozen=True, kw_only=True):
    """Who a process is: its agents among those of all processes."""

    seed: int
    number: int
    life: int
    project: str
    home: str
    record: str
    agents: list[str]  # ids
    peers: list[str]


async def run(crew: Crew) -> None:
    """Be all agents of the crew until told to leave."""
    notebook = Notebook(Path(crew.record), crew.number, crew.life)
    notebook.write(What.BEGUN)
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        tasks_on = [group.create_task(_watch(notebook))]
        weavers = [await _enter(stack, crew, place, notebook, group) for place in range(len(crew.agents))]
        readers = [group.create_task(weaver.read(group)) for weaver in weavers]
        readers += [group.create_task(weavers[0].follow(channel)) for channel in CHANNELS]
        tasks_on += [group.create_task(weaver.labour(group)) for weaver in weavers]
        while order := await _order():
            await _carry_out(crew, order, weavers, readers)
            print(order.number, flush=True)
            if order.deed is Deed.LEAVE:
                break
        for task in [*tasks_on, *readers]:
            task.cancel()


async def _enter(
    stack: contextlib.AsyncExitStack, crew: Crew, place: int, notebook: Notebook, group: asyncio.TaskGroup
) -> Weaver:
    """Connect one agent, however long it takes; one that comes back may go on with what it held."""
    chance = random.Random(f"{crew.seed} {crew.number} {crew.life} {place}")
    able = [each for number, each in enumerate(CAPABILITIES) if number != (crew.number + place) % len(CAPABILITIES)]
    handle = f"weaver-{crew.number}-{place}"
    agent = await _connected(stack, crew, place, handle, able, notebook)
    weaver = Weaver(agent, notebook, crew.peers, crew.life)
    if crew.life and chance.random() < ADOPTING_SHARE:
        with contextlib.suppress(LoominalError):
            joined = await agent.join(handle, agent_type="weaver", capabilities=able)
            for view in joined.claims:
                weaver.hold(view, group)
            for message in joined.messages:
                weaver.take(message, group)
    return weaver


async def _connected(
    stack: contextlib.AsyncExitStack, crew: Crew, place: int, handle: str, able: list[str], notebook: Notebook
) -> Agent:
    while True:
        try:
            return await stack.enter_async_context(
                loominal.connect(
                    handle,
                    "weaver",
                    able,
                    project=crew.project,
                    home=crew.home,
                    agent_id=crew.agents[place],
                    max_concurrent=AT_ONCE,
                    timeout_seconds=CALL_SECONDS,
                )
            )
        except LoominalError as error:
            notebook.write(What.REFUSED, crew.agents[place], code=error.code, text=error.message[:200])
            await asyncio.sleep(PAUSE_SECONDS)


async def _carry_out(crew: Crew, order: Order, weavers: list[Weaver], readers: list[asyncio.Task[None]]) -> None:
    match order.deed:
        case Deed.ROUND:
            async with asyncio.TaskGroup() as group:
                for place, weaver in enumerate(weavers):
                    chance = random.Random(f"{crew.seed} {crew.number} {crew.life} {place} {order.number}")
                    name = f"{order.number}.{crew.number}.{crew.life}.{place}"
                    group.create_task(weaver.talk(chance, order.messages))
                    group.create_task(weaver.offer(tasks(chance, name, order.items)))
        case Deed.DRAIN:
            for weaver in weavers:
                weaver.drain()
            await asyncio.gather(*readers)
            if crew.number == 0:
                await weavers[0].list_all()
        case Deed.LEAVE:
            pass


async def _watch(notebook: Notebook) -> None:
    """Note when this process stood still, whoever let it."""
    while True:
        asked = time.monotonic()
        await asyncio.sleep(TICK_SECONDS)
        late = time.monotonic() - asked - TICK_SECONDS
        if late > LATE_SECONDS:
            notebook.write(What.LATE, seconds=late)


async def _order() -> Order | None:
    line = await asyncio.to_thread(sys.stdin.readline)
    return msgspec.json.decode(line, type=Order) if line else None


if __name__ == "__main__":
    asyncio.run(run(msgspec.json.decode(sys.argv[1], type=Crew)))
