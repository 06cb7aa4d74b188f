"""A store that fills up refuses by kinds, messages first; what exists can end, and once there is room all goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

import loominal
from loominal.broker import subjects
from loominal.broker.accounts import account_use
from loominal.broker.connection import Broker
from loominal.broker.log import Log
from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.channels import SendMessage
from loominal.local.weft_api import not_ready
from loominal.model.errors import BrokerUnavailable, LoominalError, QuotaExceeded
from tests.integration.conftest import NatsServer, eventually, work_settings
from tests.integration.fabric import Fabric
from tests.patience import SOON

PROJECT = "full"
STORE_BYTES = 16 << 20
TEXT_BYTES = 150_000  # 60 are half a store; in the 5 s between two looks ten are written: a tenth
DISK_BYTES = 48 << 20
MEASURED_SECONDS = 20.0  # weft looks every 5 s
SEND = SendMessage(channel="general", message="there is room")


@contextlib.asynccontextmanager
async def boss_and_worker(home: Path) -> AsyncIterator[tuple[Agent, Agent]]:
    async with (
        loominal.connect("boss", project=PROJECT, agent_type="python", home=home, timeout_seconds=SOON) as boss,
        loominal.connect("worker", project=PROJECT, capabilities=["dig"], home=home, timeout_seconds=SOON) as worker,
    ):
        yield boss, worker


async def held_item(boss: Agent, worker: Agent) -> str:
    item = (await boss.broadcast_work_offer("held", capabilities=["dig"])).id
    assert [work.id for work in (await worker.claim_work(wait_seconds=SOON)).work] == [item]
    return item


async def is_told(boss: Agent, item: str) -> bool:
    found = await boss.read_direct_messages(unread_only=False, limit=100, message_type="work-result")
    return item in [message.metadata["workId"] for message in found.messages]


async def test_a_flood_of_chat_leaves_room_for_work_and_a_fuller_store_for_its_end(tmp_path: Path) -> None:
    fabric = Fabric(tmp_path, max_file_bytes=STORE_BYTES)
    try:
        fabric.start()
        async with boss_and_worker(tmp_path) as (boss, worker):
            item = await held_item(boss, worker)
            with pytest.raises(QuotaExceeded):
                await flood(lambda: boss.send_message("general", "x" * TEXT_BYTES), at_once=60)
            other = await boss.broadcast_work_offer("still taken", capabilities=["dig"])
            await boss.send_direct_message(worker.guid, "still taken, too")

            with pytest.raises(QuotaExceeded):
                await flood(lambda: boss.broadcast_work_offer("x" * TEXT_BYTES, capabilities=["nobody"]))
            with pytest.raises(QuotaExceeded):
                await boss.send_direct_message(worker.guid, "no room")
            assert any("store: " in why for why in not_ready(tmp_path))
            done = await worker.complete_work(item, summary="done", result={"text": "y" * 100_000})
            assert done.status == "done"
            await eventually(lambda: is_told(boss, item))
            assert [work.id for work in (await worker.claim_work(wait_seconds=SOON)).work] == [other.id]
            assert (await worker.complete_work(other.id, summary="done")).status == "done"
    finally:
        fabric.stop()


async def flood(write: Callable[[], Awaitable[object]], at_once: int = 0) -> None:
    """Write until it is refused; after the first ones slower than weft measures."""
    for _ in range(at_once):
        await write()
    async with asyncio.timeout(45):
        while True:
            await write()
            await asyncio.sleep(0.5)


async def test_in_open_mode_the_own_account_tells_how_full_it_is(private_server: NatsServer) -> None:
    user = "{ user: weft, password: weft }"
    private_server.extra = f"accounts {{ A {{ jetstream {{ max_file: 16777216 }}, users: [{user}] }} }}"
    private_server.start()
    async with Broker.connect(
        private_server.url,
        name="weft",
        inbox=subjects.reply_prefix("weft"),
        user="weft",
        password="weft",
        wait_seconds=SOON,
    ) as broker:
        log = Log(broker, subjects.work_stream(PROJECT))
        await log.ensure(work_settings(PROJECT))
        await log.append(subjects.item(PROJECT, "w"), b"x" * 100_000)
        told = await account_use(broker)
    assert told.limit_bytes == STORE_BYTES
    assert 100_000 < told.stored_bytes < 200_000


async def test_a_full_disk_heals_by_itself_once_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk, supervised(disk / "home") as home:
        async with boss_and_worker(home) as (boss, worker):
            item = await held_item(boss, worker)
            filler = fill(disk)
            with pytest.raises((BrokerUnavailable, QuotaExceeded)):
                await boss.send_message("general", "into a full disk")
            await eventually(lambda: is_refused(boss), MEASURED_SECONDS)

            filler.unlink()

            await eventually(lambda: is_taken(boss), SOON)
            assert (await worker.complete_work(item, summary="done")).status == "done"
            await eventually(lambda: is_told(boss, item))
            texts = [message.message for message in (await worker.read_messages("general")).messages]
            assert texts.count("there is room") == 1


async def is_refused(boss: Agent) -> bool:
    try:
        await boss.broadcast_work_offer("no room", capabilities=["dig"])
    except LoominalError as error:
        return isinstance(error, QuotaExceeded)
    return False


async def is_taken(boss: Agent) -> bool:
    try:
        await boss.call("send_message", SEND, op="there-is-room", timeout_seconds=2)
        await boss.broadcast_work_offer("there is room", task_id="room", capabilities=["nobody"])
    except LoominalError:
        return False
    return True


@contextlib.contextmanager
def small_disk(at: Path) -> Iterator[Path]:
    """Mount a file system of DISK_BYTES."""
    at.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", at], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"NOT SHOWN HERE: a full disk needs the right to mount one ({made.stderr.strip()})")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)


@contextlib.contextmanager
def supervised(home: Path) -> Iterator[Path]:
    """Run a whole local fabric in `home`."""
    environ = {**os.environ, "LOOMINAL_HOME": str(home), "LOOMINAL_TIMINGS_SCALE": "1"}
    program = [sys.executable, "-m", "loominal"]
    subprocess.run([*program, "up", "--detach"], env=environ, check=True, timeout=60, capture_output=True)
    try:
        yield home
    finally:
        subprocess.run([*program, "down"], env=environ, check=True, timeout=60, capture_output=True)


def fill(disk: Path) -> Path:
    """Write a file that leaves no byte of the disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return filler
