"""A power cut under load: whatever was accepted is there afterwards, with the configuration that is shipped.

The store lies on a file system of its own, in a file. The power cut is a copy of that file in the middle of the work:
only what the system had written through to it is there, as on a disk without power. `make power-cut`: five times.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.broker.log import Log
from loominal.fabric.client.agent import Agent
from loominal.model import record as records
from loominal.model.message import Message
from loominal.model.work import WorkItem
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.patience import SOON

PROJECT = "power"
DISK_MIB = 192
LOAD_SECONDS = 6.0
ROUNDS = int(os.environ.get("POWER_CUTS", "1"))


class Accepted:
    """What agents were told is stored, and what of it was done."""

    def __init__(self) -> None:
        self.messages: set[str] = set()
        self.submitted: set[str] = set()
        self.done: set[str] = set()

    def copy(self) -> Accepted:
        kept = Accepted()
        kept.messages, kept.submitted, kept.done = set(self.messages), set(self.submitted), set(self.done)
        return kept

    def __len__(self) -> int:
        return len(self.messages) + len(self.submitted) + len(self.done)


@pytest.mark.timeout(300 * ROUNDS)
async def test_whatever_was_accepted_before_a_power_cut_is_there_after_it(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    for number in range(ROUNDS):
        home = tmp_path / str(number)
        home.mkdir()
        accepted, found = await power_cut(home)
        lost = (accepted.messages - found.messages, accepted.submitted - found.submitted, accepted.done - found.done)
        figures = f"round {number + 1}: {len(accepted)} accepted, {sum(map(len, lost))} lost"
        record_property("power cut", figures)
        print(figures)
        assert len(accepted) > 100, "too little was going on"
        assert lost == (set(), set(), set())


async def power_cut(home: Path) -> tuple[Accepted, Accepted]:
    """Return what was accepted before the cut, and what the copy of the disk holds."""
    image, copy = home / "disk.img", home / "copy.img"
    with image.open("wb") as file:
        file.truncate(DISK_MIB << 20)
    program = shutil.which("mkfs.ext4", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        pytest.skip("NOT SHOWN HERE: a power cut needs mkfs.ext4")
    made = await asyncio.create_subprocess_exec(program, "-q", "-F", image)
    assert await made.wait() == 0
    with mounted(image, home / "disk") as disk:
        fabric = Fabric(home, store=disk / "broker")
        try:
            fabric.start()
            async with agents_at_work(fabric) as told:
                await asyncio.sleep(LOAD_SECONDS)
                await eventually(lambda: len(told) > 100)  # awaited at once
                accepted = told.copy()
                fabric.freeze(fabric.broker, fabric.weft)
                shutil.copyfile(image, copy)  # the cut
                fabric.thaw(fabric.broker, fabric.weft)
        finally:
            fabric.stop()
    with mounted(copy, home / "after") as disk:
        restored = Fabric(home, store=disk / "broker")
        try:
            restored.start()
            return accepted, await stored(restored)
        finally:
            restored.stop()


@contextlib.asynccontextmanager
async def agents_at_work(fabric: Fabric) -> AsyncIterator[Accepted]:
    """Let agents talk, offer, claim and complete without a pause, and keep what they were answered."""
    told = Accepted()
    async with contextlib.AsyncExitStack() as connections:
        each = (fabric.connect(f"agent-{number}", project=PROJECT, capabilities=["dig"]) for number in range(4))
        agents = [await connections.enter_async_context(agent) for agent in each]
        working = [asyncio.create_task(work(agent, told), name=agent.handle) for agent in agents]
        try:
            yield told
        finally:
            for task in working:
                task.cancel()
            await asyncio.wait(working)


async def work(agent: Agent, told: Accepted) -> None:
    number = 0
    while True:
        number += 1
        text = f"{agent.guid} {number}"
        await agent.send_message("general", text)
        told.messages.add(text)
        told.submitted.add((await agent.broadcast_work_offer(text, capabilities=["dig"])).id)
        for item in (await agent.claim_work()).work:
            await agent.complete_work(item.id, summary=text)
            told.done.add(item.id)


async def stored(fabric: Fabric) -> Accepted:
    """Return what the logs hold, once weft serves them again: an agent can go on working."""
    found = Accepted()
    credential = fabric.keyring.hub_credential(PROJECT, "checker")
    async with fabric.connect("after", project=PROJECT, capabilities=["dig"], timeout_seconds=SOON) as agent:
        assert (await agent.broadcast_work_offer("after the cut", capabilities=["dig"])).status == "ready"
    async with Broker.connect(
        fabric.url,
        name="checker",
        inbox=subjects.reply_prefix("checker"),
        credential=lambda: credential,
        wait_seconds=SOON,
    ) as broker:
        async for data in everything(Log(broker, subjects.channels_stream(PROJECT)), "ch"):
            found.messages.add(records.decode(Message, data).value.text)
        async for data in everything(Log(broker, subjects.work_stream(PROJECT)), "wk"):
            item = records.decode(WorkItem, data).value
            found.submitted.add(item.id)
            if item.status == "done":
                found.done.add(item.id)
    return found


async def everything(log: Log, kind: str) -> AsyncIterator[bytes]:
    after = 0
    while page := await log.page(subjects.every(kind, PROJECT), after + 1, 1000):
        for record in page:
            yield record.data
        after = page[-1].sequence


@contextlib.contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    """Mount a file system that lies in a file."""
    at.mkdir()
    made = subprocess.run(["mount", "-o", "loop", image, at], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"NOT SHOWN HERE: a power cut needs root and loop mounts ({made.stderr.strip()})")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)
