"""A process with some agents, and as many raw connections: does what each line of stdin says and prints the answer.

`crew.py` starts it. Times are of the system's monotonic clock, which all processes share.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

import loominal
from bench.place import ECHO_SUBJECT, RAW_STREAM, RAW_SUBJECT, raw_connection
from loominal.broker.connection import Broker, Received
from loominal.broker.log import Log
from loominal.fabric.client.agent import Agent

WAIT_SECONDS = 20.0


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is started with."""

    home: str
    url: str
    project: str
    handles: tuple[str, ...]
    capability: str


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do: `count` times by each of the first `agents`."""

    drill: str
    count: int = 1
    agents: int = 1
    size: int = 0


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """When it began and ended, in seconds of the monotonic clock."""

    began: float
    ended: float


async def pairs(agents: list[Agent], _logs: list[Log], order: Order) -> None:
    """Claim and complete `count` items with each agent."""

    async def work(agent: Agent) -> None:
        for _ in range(order.count):
            [item] = (await agent.claim_work(wait_seconds=WAIT_SECONDS)).work
            await agent.complete_work(item.id, "done")

    await asyncio.gather(*(work(agent) for agent in agents[: order.agents]))


async def publishes(_agents: list[Agent], logs: list[Log], order: Order) -> None:
    """Publish `count` records of `size` bytes on each connection, each after the ack of the one before."""
    data = b"x" * order.size

    async def publish(number: int) -> None:
        for _ in range(order.count):
            await logs[number].append(f"{RAW_SUBJECT}.{number}", data)

    await asyncio.gather(*(publish(number) for number in range(order.agents)))


async def hear(agents: list[Agent], _logs: list[Log], _order: Order) -> None:
    """Return when told of a direct message."""
    assert (await agents[0].wait_for_events(wait_seconds=WAIT_SECONDS)).events


async def read(agents: list[Agent], _logs: list[Log], _order: Order) -> None:
    """Return when a direct message is here."""
    assert (await agents[0].read_direct_messages(wait_seconds=WAIT_SECONDS)).messages


DRILLS: dict[str, Callable[[list[Agent], list[Log], Order], Awaitable[None]]] = {
    "pairs": pairs,
    "publishes": publishes,
    "hear": hear,
    "read": read,
}


async def main(orders: Orders) -> None:
    """Connect, then drill until stdin ends."""
    async with contextlib.AsyncExitStack() as stack:
        agents, logs = [], []
        for handle in orders.handles:
            connection = loominal.connect(
                handle, project=orders.project, home=orders.home, capabilities=[orders.capability]
            )
            agents.append(await stack.enter_async_context(connection))
            raw = await stack.enter_async_context(raw_connection(Path(orders.home), orders.url, agents[0].project.id))
            logs.append(Log(raw, RAW_STREAM))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        await logs[0].broker.subscribe(ECHO_SUBJECT, lambda message: answer(logs[0].broker, message, group))
        say({"guids": [agent.guid for agent in agents]})
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            order = msgspec.json.decode(line, type=Order)
            began = time.monotonic()
            await DRILLS[order.drill](agents, logs, order)
            say(msgspec.to_builtins(Done(began=began, ended=time.monotonic())))


def answer(broker: Broker, message: Received, group: asyncio.TaskGroup) -> None:
    """Answer a raw request with as many bytes as it asks for."""
    group.create_task(broker.publish(message.reply, b"x" * int(message.data)))


def say(answer: object) -> None:
    """Print one line of JSON."""
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1].encode(), type=Orders)))
