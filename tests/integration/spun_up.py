"""What the targets of the tests start: an agent that does work of the capabilities it is given until it is to end."""

from __future__ import annotations

import asyncio
import sys

import loominal


async def main() -> None:
    """Work until drained."""
    async with loominal.connect(agent_type="exec", capabilities=sys.argv[1:]) as me:
        while not me.draining:
            for item in (await me.claim_work(wait_seconds=1)).work:
                await asyncio.sleep(0.1)
                await me.complete_work(item.id, "done")


if __name__ == "__main__":
    asyncio.run(main())
