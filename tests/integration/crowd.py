"""Several agents in one process that take and finish work until there is none; each end is a line of stdout."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import loominal
from loominal.model.errors import LoominalError


async def work(settings: dict[str, Any], handle: str) -> None:  # Any: JSON from the test
    async with loominal.connect(
        handle, project=settings["project"], home=settings["home"], capabilities=["race"]
    ) as me:
        while found := (await me.claim_work(wait_seconds=settings["patience_seconds"])).work:
            for item in found:
                end = {"item": item.id, "agent": me.guid, "leaseToken": item.lease_token, "attempt": item.attempt}
                try:
                    await me.complete_work(item.id, "raced", result={"by": handle})
                except LoominalError as error:
                    end["error"] = error.code
                print(json.dumps(end | {"at": time.monotonic()}), flush=True)  # this machine's clock, for all processes


async def main(settings: dict[str, Any]) -> None:  # Any: JSON from the test
    async with asyncio.TaskGroup() as group:
        for handle in settings["handles"]:
            group.create_task(work(settings, handle))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
