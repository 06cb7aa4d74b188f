"""A process with some agents that live as agents do; each line of stdin is answered with how many tasks it has.

`run.py` starts it. An agent works, talks, reads and waits for events for a while, leaves, and comes back as itself.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys

import msgspec

import loominal
from loominal.fabric.client.agent import Agent
from loominal.model.errors import LoominalError

CHANNEL = "general"
CAPABILITIES = ("spin", "weave", "dye")
LIFE_SECONDS = (20.0, 90.0)
AWAY_SECONDS = (1.0, 5.0)
PAUSE_SECONDS = (0.5, 3.0)  # between two deeds
WAIT_SECONDS = 3.0
OFFERING_SHARE = 0.35  # of an agent's turns


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is started with. `ids` are its agents' own, `peers` those of all."""

    home: str
    project: str
    ids: list[str]
    peers: list[str]


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What the process counts of itself: its tasks, and what its agents did or were refused since its start."""

    tasks: int
    deeds: int
    refused: dict[str, int]


class Lives:
    """The agents of this process."""

    def __init__(self, orders: Orders) -> None:
        self.deeds = 0
        self.refused: dict[str, int] = {}
        self._orders = orders

    async def live(self, number: int) -> None:
        """Be one agent, over and over."""
        orders, chance = self._orders, random.Random()
        while True:
            try:
                async with loominal.connect(
                    f"soaked-{orders.ids[number][:8]}",
                    project=orders.project,
                    home=orders.home,
                    agent_id=orders.ids[number],
                    capabilities=chance.sample(CAPABILITIES, 2),
                ) as agent:
                    until = asyncio.get_running_loop().time() + chance.uniform(*LIFE_SECONDS)
                    while asyncio.get_running_loop().time() < until:
                        await self._turn(agent, chance)
            except LoominalError as error:
                self.refused[error.code] = self.refused.get(error.code, 0) + 1
            await asyncio.sleep(chance.uniform(*AWAY_SECONDS))

    async def _turn(self, agent: Agent, chance: random.Random) -> None:
        """Do one of each: offer, talk, read, wait, work."""
        peer = chance.choice(self._orders.peers)
        if chance.random() < OFFERING_SHARE:
            text, capability = "x" * chance.randrange(50, 2000), chance.choice(CAPABILITIES)
            await agent.broadcast_work_offer(text, capabilities=[capability])
        for item in (await agent.claim_work(wait_seconds=WAIT_SECONDS)).work:
            await agent.report_progress(item.id, percent=50)
            await agent.complete_work(item.id, "done", result={"text": "y" * chance.randrange(1000)})
        await asyncio.sleep(chance.uniform(*PAUSE_SECONDS))
        await agent.send_message(CHANNEL, "z" * chance.randrange(20, 500))
        try:
            await agent.send_direct_message(peer, "w" * chance.randrange(20, 500))
        except LoominalError as error:  # one that has never been here, a full inbox
            self.refused[error.code] = self.refused.get(error.code, 0) + 1
        await agent.read_messages(CHANNEL, limit=5)
        while (await agent.read_direct_messages(limit=20)).messages:
            pass
        await agent.wait_for_events(wait_seconds=WAIT_SECONDS)
        await agent.discover_agents(capability=chance.choice(CAPABILITIES))
        self.deeds += 1


async def main(orders: Orders) -> None:
    """Live until stdin ends."""
    lives = Lives(orders)
    async with asyncio.TaskGroup() as group:
        living = [group.create_task(lives.live(number)) for number in range(len(orders.ids))]
        while await asyncio.to_thread(sys.stdin.buffer.readline):
            said = Said(tasks=len(asyncio.all_tasks()), deeds=lives.deeds, refused=lives.refused)
            print(json.dumps(msgspec.to_builtins(said)), flush=True)
        for task in living:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1].encode(), type=Orders)))
