"""Many processes write into one inbox while it is read: nothing is lost, doubled or out of order."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import defaultdict

from tests.integration.fabric import Fabric

SENDERS, MESSAGES = 8, 500  # four times what an inbox takes unread
READ_SECONDS = 240.0
SENDER = """\
import asyncio, sys
import loominal
from loominal.model.errors import InboxFull

async def main(name, count):
    async with loominal.connect(name, "sender") as agent:
        for number in range(count):
            while True:
                try:
                    await agent.send_direct_message("ann", f"{number}", metadata={"pad": "x" * (number % 7) * 300})
                    break
                except InboxFull:
                    await asyncio.sleep(0.05)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def test_eight_processes_fill_an_inbox_that_is_read_in_pages(fabric: Fabric) -> None:
    environment = os.environ | {"LOOMINAL_HOME": str(fabric.home), "LOOMINAL_PROJECT_ID": "crowd"}
    async with fabric.connect("ann", project="crowd", agent_type="reader") as ann, asyncio.timeout(READ_SECONDS):
        senders = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", SENDER, f"s-{each}", str(MESSAGES), env=environment
            )
            for each in range(SENDERS)
        ]
        got: defaultdict[str, list[int]] = defaultdict(list)
        try:
            while sum(map(len, got.values())) < SENDERS * MESSAGES:
                page = await ann.read_direct_messages(wait_seconds=5, limit=100)
                for message in page.messages:
                    got[message.sender.handle].append(int(message.message))
            codes = [await each.wait() for each in senders]
        finally:
            for each in senders:
                if each.returncode is None:
                    each.kill()
                    await each.wait()
        left = await ann.read_direct_messages()

    assert codes == [0] * SENDERS
    assert got == {f"s-{each}": list(range(MESSAGES)) for each in range(SENDERS)}
    assert (left.messages, left.unread) == ((), 0)
