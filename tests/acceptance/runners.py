"""`loominal agent run` as a process, and a command for it that does what the item says."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.work import WorkDetail
from tests.freezing import freeze
from tests.integration.conftest import eventually
from tests.patience import SOON

DOES = "import json, os, signal, subprocess, sys, time\nitem = json.loads(sys.stdin.readline())\n"
COMMAND = (sys.executable, "-c", f"{DOES}exec(item['contextData']['do'])")


class Runner:
    """A runner that was started, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def freeze(self) -> None:
        freeze(self.process.pid)

    async def until_said(self, text: str) -> None:
        """Return when its log has `text`."""
        await eventually(lambda: text in self.said, SOON)

    async def end(self) -> int:
        """Return its exit code when it has ended by itself."""
        async with asyncio.timeout(SOON):
            return await self.process.wait()


@asynccontextmanager
async def runner(
    place: Path, home: Path, project: str, *options: str, command: tuple[str, ...] = COMMAND, **environ: str
) -> AsyncIterator[Runner]:
    """Yield a runner of exec in `place`; afterwards it has ended."""
    await asyncio.to_thread(place.mkdir, parents=True, exist_ok=True)
    log = place.parent / f"{place.name}.log"
    words = ("agent", "run", "--client", "exec", "--capability", "do", *options, "--", *command)
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "loominal", *words, cwd=place, stdout=out, stderr=out,
            stdin=asyncio.subprocess.DEVNULL,
            env=os.environ | {"LOOMINAL_HOME": str(home), "LOOMINAL_PROJECT_ID": project} | environ,
        )  # fmt: skip
    try:
        yield Runner(process, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def offer(boss: Agent, do: str, **more: Any) -> str:  # Any: whatever an offer takes
    """Offer an item that is done by the Python statements `do`, and return its id."""
    offered = await boss.broadcast_work_offer(do, capabilities=["do"], context_data={"do": do}, **more)
    return offered.id


async def item_when(boss: Agent, work: str, holds: Callable[[WorkDetail], object]) -> WorkDetail:
    """Return an item when it is as `holds` says."""
    seen: list[WorkDetail] = []

    async def there() -> bool:
        seen.append(await boss.get_work(work))
        return bool(holds(seen[-1]))

    try:
        await eventually(there, SOON)
    except AssertionError:
        raise AssertionError(seen[-1]) from None
    return seen[-1]


def alive(pid: int) -> bool:
    """Return whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
