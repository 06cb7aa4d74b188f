"""Live events: what happens, once and in order, to every reader, whatever dies in between."""

from __future__ import annotations

import asyncio
import contextlib
import json

from loominal.broker import subjects
from loominal.broker.log import Log
from loominal.fabric.hub.work.book import read
from loominal.model.work_events import told
from tests.integration.event_reader import Sent, reading, token_command
from tests.integration.fabric import Fabric
from tests.integration.workshop import CAPABILITY, Workshop, open_workshop
from tests.patience import SOON


async def logged(workshop: Workshop) -> list[tuple[str, str]]:
    """Return what the log of work tells: types of events and their items, in order."""
    log = Log(await workshop.broker(), subjects.work_stream(workshop.project))
    records = await log.page(subjects.every("wk", workshop.project), 1, 100_000)
    items = (read(record).item for record in records)
    return [(kind, item.id) for item in items for kind in told(item)]


def seen(events: list[Sent]) -> list[tuple[str, str]]:
    return [(event.type, event.data["data"]["id"]) for event in events]


async def test_each_step_of_an_item_is_told_as_it_happens(workshop: Workshop, fabric: Fabric) -> None:
    boss, worker = await workshop.agent("boss"), await workshop.agent("worker")
    async with reading(fabric.home, projectId=workshop.project, topics="work") as reader:
        offered = await boss.broadcast_work_offer("build it", required_capability=CAPABILITY)
        events = [await reader.until("work:submitted")]
        [claimed] = (await worker.claim_work(wait_seconds=SOON)).work
        await worker.report_progress(claimed.id, percent=40, message="half of it")
        await worker.complete_work(claimed.id, summary="built")

        events += [await reader.until(f"work:{kind}") for kind in ("claimed", "progress", "completed")]

    submitted, taken, progress, completed = (event.data for event in events)
    assert submitted["projectId"] == workshop.project
    assert (submitted["type"], submitted["data"]["id"]) == ("work:submitted", offered.id)
    assert submitted["data"]["waitsFor"].startswith("2 agents could take it")
    assert (taken["data"]["claimedBy"], taken["data"]["status"]) == ("worker", "claimed")
    assert progress["data"]["progress"]["percent"] == 40
    assert (completed["data"]["status"], "leaseToken" in completed["data"]) == ("done", False)
    assert events[2].id == events[1].id, "progress is in no log, and no place to resume at"


async def test_who_comes_again_with_an_id_has_the_rest_once(workshop: Workshop, fabric: Fabric) -> None:
    boss, worker = await workshop.agent("boss"), await workshop.agent("worker")
    async with reading(fabric.home, projectId=workshop.project, topics="work") as reader:
        for number in range(100):
            await boss.broadcast_work_offer(f"item {number}", required_capability=CAPABILITY)
        events = [await reader.next() for _ in range(30)]
    for work in (await worker.claim_work(limit=10)).work:
        await worker.fail_work(work.id, error="no", retryable=False)  # two events of one record

    half = next(event for event in events if event).id
    for last_id in (half, events[-1].id if events[-1] else ""):
        expected = await logged(workshop)
        start = 1 if last_id == half else 30
        async with reading(fabric.home, last_id, projectId=workshop.project, topics="work") as reader:
            again = [await reader.next() for _ in expected[start:]]
        assert seen([event for event in again if event]) == expected[start:]


async def test_between_two_events_of_one_record_nothing_is_lost_or_doubled(workshop: Workshop, fabric: Fabric) -> None:
    boss, worker = await workshop.agent("boss"), await workshop.agent("worker")
    async with reading(fabric.home, projectId=workshop.project, topics="work") as reader:
        await boss.broadcast_work_offer("hopeless", required_capability=CAPABILITY)
        [work] = (await worker.claim_work(wait_seconds=SOON)).work
        await worker.fail_work(work.id, error="no", retryable=False)
        failed = await reader.until("work:failed")
    async with reading(fabric.home, failed.id, projectId=workshop.project, topics="work") as reader:
        dead = await reader.next()
    assert dead is not None
    assert (dead.type, dead.data["data"]["status"]) == ("work:dead", "dead")


async def test_agents_are_told_of(workshop: Workshop, fabric: Fabric) -> None:
    await workshop.agent("first")
    async with reading(fabric.home, projectId=workshop.project, topics="agents") as reader:
        second = await workshop.agent("second")
        registered = await reader.until("agent:registered")
        await second.deregister_agent()
        gone = await reader.next()
    assert registered.data["data"]["handle"] == "second"
    assert gone is not None
    async with reading(fabric.home, registered.id, projectId=workshop.project, topics="agents") as reader:
        again = await reader.next()
    assert again is not None
    assert (again.type, again.data) == (gone.type, gone.data)


async def test_a_scheduled_item_is_told_to_be_ready_when_it_is_due(workshop: Workshop, fabric: Fabric) -> None:
    boss = await workshop.agent("boss")
    async with reading(fabric.home, projectId=workshop.project, topics="work") as reader:
        await boss.broadcast_work_offer("later", required_capability="none", not_before="1s")
        submitted = await reader.until("work:submitted")
        ready = await reader.next()
    assert ready is not None
    assert (submitted.data["data"]["status"], ready.type) == ("scheduled", "work:ready")
    assert (ready.data["data"]["status"], ready.id) == ("ready", submitted.id)


async def test_many_readers_of_one_project_see_the_same(workshop: Workshop, fabric: Fabric) -> None:
    boss = await workshop.agent("boss")
    async with (
        asyncio.timeout(SOON),
        reading(fabric.home) as everything,
        reading(fabric.home, projectId=workshop.project, types="work:submitted", capability=CAPABILITY) as some,
    ):
        mine = await boss.broadcast_work_offer("mine", required_capability=CAPABILITY)
        await boss.broadcast_work_offer("other", required_capability="other")
        last = await boss.broadcast_work_offer("last", required_capability=CAPABILITY)
        narrow = [await some.next(), await some.next()]
        wide = [await everything.until("work:submitted") for _ in range(3)]
    assert [event.data["data"]["id"] for event in narrow if event] == [mine.id, last.id]
    assert len({event.data["data"]["id"] for event in wide}) == 3


async def test_how_a_project_stands_is_told_while_somebody_listens(workshop: Workshop, fabric: Fabric) -> None:
    boss = await workshop.agent("boss")
    await boss.broadcast_work_offer("waits", required_capability="other")
    async with reading(fabric.home, projectId=workshop.project, topics="stats") as reader:
        first = await reader.until("stats")
        counts = first.data["data"]
        assert (counts["work"]["ready"], counts["agents"]["online"]) == (1, 1)


async def test_a_bearer_token_bounds_what_is_told_and_its_end_ends_the_stream(
    workshop: Workshop, fabric: Fabric, project_id: str
) -> None:
    boss = await workshop.agent("boss")
    name = f"ci-{project_id}"
    made = ("create", name, "--role", "operator", "--project", project_id, "--json")
    text = json.loads(await asyncio.to_thread(token_command, fabric, *made))["token"]
    async with contextlib.AsyncExitStack() as stack:
        other = await stack.enter_async_context(open_workshop(fabric, f"{project_id}-b"))
        stranger = await other.agent("stranger")
        refused = await stack.enter_async_context(reading(fabric.home, token=text, projectId=f"{project_id}-b"))
        assert (refused.status, refused.problem["code"]) == (403, "forbidden")
        reader = await stack.enter_async_context(reading(fabric.home, token=text))
        await stranger.broadcast_work_offer("not to be seen", required_capability=CAPABILITY)
        mine = await boss.broadcast_work_offer("mine", required_capability=CAPABILITY)
        assert (await reader.until("work:submitted")).data["data"]["id"] == mine.id

        await asyncio.to_thread(token_command, fabric, "revoke", name)

        assert (await reader.until("cut")).data["data"]["code"] == "forbidden"
        assert await reader.next() is None
