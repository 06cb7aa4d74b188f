"""An agent as a process: connects as its argument says, calls what each line of stdin asks, prints the answers."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import loominal
from loominal.fabric.client.agent import Agent
from loominal.fabric.protocol import plain
from loominal.model.errors import LoominalError


def say(number: str, answer: object) -> None:
    print(json.dumps({"id": number, "answer": answer}), flush=True)


async def carry_out(agent: Agent, order: dict[str, Any]) -> None:  # Any: JSON from the test
    try:
        answer = await getattr(agent, order["call"])(**order["args"])
        say(order["id"], plain(answer, entry=False))
    except LoominalError as error:
        say(order["id"], {"error": {"code": error.code, "message": error.message}})


async def main(settings: dict[str, Any]) -> None:  # Any: JSON from the test
    async with loominal.connect(**settings) as agent, asyncio.TaskGroup() as group:
        say("ready", {"guid": agent.guid})
        while line := await asyncio.to_thread(sys.stdin.readline):
            group.create_task(carry_out(agent, json.loads(line)))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
