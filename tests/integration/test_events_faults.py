"""Live events while things die: exactly what the log says, once each and in order, and slow readers hurt nobody."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

from loominal.fabric.client.agent import Agent
from tests.integration.conftest import eventually
from tests.integration.event_reader import Resuming, open_reader, place_of, reading
from tests.integration.fabric import Fabric
from tests.integration.test_events import logged, seen
from tests.integration.workshop import CAPABILITY, Workshop, open_workshop
from tests.patience import SOON

READERS, STUCK = 200, 10


def home_of(fabric: Fabric, name: str) -> Path:
    return fabric.home / "machines" / name


async def ready(fabric: Fabric, name: str) -> None:
    """Return when the weft `name` serves HTTP and sees others."""
    log = home_of(fabric, name) / "weft.log"
    await eventually(lambda: " wefts: " in log.read_text() and "serving http" in log.read_text(), SOON)


async def work_on(boss: Agent, worker: Agent, over: asyncio.Event) -> None:
    """Offer, claim and end items in every way until `over`."""
    for number in itertools.count():
        if over.is_set():
            return
        await boss.broadcast_work_offer(f"item {number}", required_capability=CAPABILITY, max_attempts=2)
        for work in (await worker.claim_work(wait_seconds=2)).work:
            match number % 4:
                case 0:
                    await worker.fail_work(work.id, error="not this time")
                case 1:
                    await worker.release_work(work.id)
                case 2:
                    await worker.fail_work(work.id, error="never", retryable=False)
                case _:
                    await worker.complete_work(work.id, summary="done")
        await asyncio.sleep(0.01)


async def test_whatever_dies_a_reader_that_comes_again_has_every_event_once(
    private_fabric: Fabric, project_id: str
) -> None:
    fabric, chance, over = private_fabric, random.Random(), asyncio.Event()
    fabric.start_broker()
    names = ["one", "two", "three"]
    for name in names:
        fabric.start_another(name)
    for name in names:
        await ready(fabric, name)
    async with open_workshop(fabric, project_id) as workshop:
        boss = await workshop.agent("boss", timeout_seconds=60)
        worker = await workshop.agent("worker", timeout_seconds=60)
        readers = [
            Resuming([home_of(fabric, name) for name in names], projectId=project_id, topics="work"),
            Resuming([home_of(fabric, name) for name in names], types=",".join(("work:completed", "work:dead"))),
        ]
        async with readers[0].running() as everything, readers[1].running() as ends, asyncio.TaskGroup() as group:
            working = group.create_task(work_on(boss, worker, over))
            for new in ("four", "five", "broker"):
                await asyncio.sleep(chance.uniform(0.5, 1.5))
                if new == "broker":
                    fabric.kill_broker()
                    fabric.start_broker()
                    continue
                fabric.others[names[0]].kill()
                fabric.start_another(new)
                await ready(fabric, new)
                names = [*names[1:], new]
                for reader in readers:
                    reader.homes = [home_of(fabric, name) for name in names]
            await asyncio.sleep(1)
            over.set()
            await working
            expected = await logged(workshop)
            last_ones = [each for each in expected if each[0] in ("work:completed", "work:dead")]
            await eventually(lambda: told(everything) >= len(expected), SOON)
            await eventually(lambda: len(ends.events) >= len(last_ones), SOON)
    assert [each for each in seen(everything.events) if each[0] != "work:ready"] == [
        each for each in expected if each[0] != "work:ready"
    ]
    assert seen(ends.events) == last_ones
    assert [event.type for event in (*everything.said, *ends.said) if event.type == "reset"] == []
    assert everything.connects > 1


def told(reader: Resuming) -> int:
    """Return how many events of records have come; that a scheduled item is due is in no record."""
    ids = [event.id for event in reader.events]
    return len(set(ids))


async def test_a_weft_that_leaves_lets_its_readers_go_at_once(private_fabric: Fabric, project_id: str) -> None:
    fabric = private_fabric
    fabric.start()
    fabric.start_another("next")
    await ready(fabric, "next")
    async with open_workshop(fabric, project_id) as workshop:
        boss = await workshop.agent("boss", timeout_seconds=60)
        async with reading(fabric.home, projectId=project_id, topics="work") as reader:
            await boss.broadcast_work_offer("before", required_capability=CAPABILITY)
            before = await reader.until("work:submitted")
            assert fabric.weft is not None
            fabric.weft.send_signal(signal.SIGTERM)
            cut = await reader.until("cut")
            assert (cut.data["data"]["code"], cut.id, await reader.next()) == ("hub_unavailable", before.id, None)
        later = await boss.broadcast_work_offer("later", required_capability=CAPABILITY)
        async with reading(home_of(fabric, "next"), cut.id, projectId=project_id, topics="work") as reader:
            event = await reader.next()
            assert event is not None
            assert (event.type, event.data["data"]["id"]) == ("work:submitted", later.id)


async def test_logs_that_were_made_anew_are_told_before_what_follows(private_fabric: Fabric, project_id: str) -> None:
    private_fabric.start()
    async with open_workshop(private_fabric, project_id) as workshop:
        boss = await workshop.agent("boss")
        async with reading(private_fabric.home, projectId=project_id) as reader:
            for _ in range(3):
                await boss.broadcast_work_offer("before", required_capability=CAPABILITY)
            before = await reader.until("work:submitted")
    private_fabric.kill_broker()
    private_fabric.kill_weft()
    private_fabric.drop_store()
    private_fabric.start()
    async with open_workshop(private_fabric, project_id) as workshop:
        boss = await workshop.agent("boss")
        async with reading(private_fabric.home, before.id, projectId=project_id) as reader:
            reset = await reader.next()
            assert reset is not None
            assert (reset.type, reset.data["projectId"]) == ("reset", project_id)
            assert "made anew" in reset.data["data"]["message"]
            after = await boss.broadcast_work_offer("after", required_capability=CAPABILITY)
            event = await reader.until("work:submitted")
            assert event.data["data"]["id"] == after.id


async def test_a_reader_of_everything_sees_projects_as_they_come_and_loads_none(
    private_fabric: Fabric, project_id: str
) -> None:
    private_fabric.start()
    async with open_workshop(private_fabric, project_id) as workshop:
        await workshop.agent("boss")
    private_fabric.kill_weft()
    private_fabric.start_weft()
    log = private_fabric.weft_log
    loaded = log.read_text().count(f"project {project_id} is served")
    async with reading(private_fabric.home, topics="work") as everything:
        async with open_workshop(private_fabric, f"{project_id}-2") as workshop:
            boss = await workshop.agent("boss")
            offered = await boss.broadcast_work_offer("new here", required_capability=CAPABILITY)
            first = await everything.next()
            assert first is not None
            assert (first.type, first.data["data"]["id"]) == ("work:submitted", offered.id)
        assert log.read_text().count(f"project {project_id} is served") == loaded
        async with reading(private_fabric.home, projectId=[project_id, f"{project_id}-2"]):
            await eventually(lambda: log.read_text().count(f"project {project_id} is served") > loaded, SOON)


async def test_what_no_reader_ought_to_send_is_answered_in_words(workshop: Workshop, fabric: Fabric) -> None:
    boss = await workshop.agent("boss")
    project = workshop.project
    async with reading(fabric.home, projectId=project) as reader:
        await boss.broadcast_work_offer("one", required_capability=CAPABILITY)
        good = (await reader.until("work:submitted")).id
    for query, status in (
        ({"topics": "work,wrok"}, 422),
        ({"types": "work:none"}, 422),
        ({"projectId": "no-such-project"}, 404),
        ({"filter": "x"}, 422),
    ):
        async with reading(fabric.home, **query) as reader:
            assert (reader.status, bool(reader.problem["detail"])) == (status, True)
    hostile = ["", "AAAA", "%00%ff", good[:-4], good[:-6] + "AAAAAA", "A" * 7990, "../../etc/passwd", "1 OR 1=1"]
    for last_id in hostile[1:]:
        async with reading(fabric.home, last_id, projectId=project) as reader:
            reset = await reader.next()
            assert reset is not None
            assert (reset.type, reset.data["data"]["code"]) == ("reset", "bad_cursor")
    async with reading(fabric.home, good, projectId=project, topics="agents") as reader:  # of another query
        reset = await reader.next()
        assert reset is not None
        assert reset.type == "reset"


async def test_a_stuck_reader_is_cut_and_comes_again_without_a_gap(workshop: Workshop, fabric: Fabric) -> None:
    boss = await workshop.agent("boss")
    fat = [f"{number:03d}-{'x' * 90}" for number in range(20)]
    stuck = await open_reader(fabric.home, projectId=workshop.project, topics="work")
    async with reading(fabric.home, projectId=workshop.project, topics="work") as brisk:
        count = 2200
        async with asyncio.TaskGroup() as group:
            for first in range(16):
                group.create_task(offer(boss, range(first, count, 16), fat))
            for _ in range(count):
                assert (await brisk.next()) is not None
    expected = await logged(workshop)
    events, last_id = [], stuck.last_id
    while (event := await stuck.next()) is not None:
        if event.type == "cut":
            assert event.data["data"]["code"] == "busy"
        else:
            events.append(event)
            last_id = event.id
    stuck.close()
    print(f"{len(events)} of {count} had been sent")
    assert len(events) < count
    async with reading(fabric.home, last_id, projectId=workshop.project, topics="work") as again:
        while len(events) < count:
            event = await again.next()
            assert event is not None
            events.append(event)
    assert seen(events) == expected


async def offer(boss: Agent, numbers: range, capabilities: list[str]) -> None:
    for number in numbers:
        await boss.broadcast_work_offer(f"item {number}", capabilities=capabilities, notify="none")


def resident(pid: int) -> int:
    """Return the bytes of memory that a process has."""
    return 1024 * int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)]))


class Crowd(asyncio.Protocol):
    """A reader that only counts."""

    def __init__(self, request: bytes) -> None:
        self.count = 0
        self.begun = False
        self.last_at = 0.0
        self._request = request
        self._end = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        whole = self._end + data
        self.begun = self.begun or b"id: " in whole
        self.count += whole.count(b"event: work:submitted\n")
        self._end = whole[-21:] if not whole.endswith(b"event: work:submitted\n") else b""
        self.last_at = time.monotonic()


async def test_many_readers_of_whom_some_are_stuck(private_fabric: Fabric, project_id: str) -> None:
    private_fabric.start()
    assert private_fabric.weft is not None
    url, token = place_of(private_fabric.home)
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 0
    asked = f"GET /api/events?projectId={project_id} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"
    loop = asyncio.get_running_loop()
    async with open_workshop(private_fabric, project_id) as workshop:
        boss = await workshop.agent("boss")
        crowd = [(await loop.create_connection(lambda: Crowd(asked.encode()), host, port))[1] for _ in range(READERS)]
        await eventually(lambda: all(each.begun for each in crowd), SOON)
        stuck, brisk = crowd[:STUCK], crowd[STUCK:]
        for each in stuck:
            assert each.transport is not None
            each.transport.pause_reading()
        await offer(boss, range(20), [CAPABILITY])
        await eventually(lambda: all(each.count == 20 for each in brisk), SOON)
        before = resident(private_fabric.weft.pid)
        await offer(boss, range(300), [CAPABILITY])
        done_at = time.monotonic()
        await eventually(lambda: all(each.count == 320 for each in brisk), SOON)
        after = resident(private_fabric.weft.pid)
        late = max(each.last_at for each in brisk) - done_at
        print(f"the last of {len(brisk)} readers was {late:.2f} s behind; memory grew by {(after - before) >> 20} MB")
        assert after - before < 64 << 20
        for each in crowd:
            assert each.transport is not None
            each.transport.abort()
