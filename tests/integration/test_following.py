"""follow_work: of many items at once, what has moved since one last asked; nothing is missed, whoever leads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.work import Followed, FollowedWork, FollowWork
from loominal.model.errors import BadCursor, InvalidArgument, LeaseLost, NotOwner
from loominal.model.work import ENDED, Status
from tests.integration.fabric import Fabric
from tests.integration.workshop import Workshop, claim, open_workshop
from tests.patience import SOON

MANY = 200
SHORT_BYTES = 10_000  # an answer in which not many items have room


@pytest.fixture
async def boss(workshop: Workshop) -> Agent:
    return await workshop.agent("boss", capabilities=["boss"])


@pytest.fixture
async def worker(workshop: Workshop) -> Agent:
    return await workshop.agent("worker")


async def offered(boss: Agent, count: int, **more: object) -> list[str]:
    """Return the ids of so many new items."""
    room = asyncio.Semaphore(16)

    async def one(number: int) -> str:
        async with room:
            settings = {"capabilities": ["python"], "notify": "none"} | more
            return (await boss.broadcast_work_offer(f"item {number}", **settings)).id  # type: ignore[arg-type]  # by name

    return await asyncio.gather(*(one(number) for number in range(count)))


async def followed(agent: Agent, ids: list[str], after: str | None, limit_bytes: int | None = None) -> Followed:
    args = FollowWork(work_ids=tuple(ids), after=after, wait_seconds=0)
    view = await agent.call("follow_work", args, limit_bytes=limit_bytes)
    assert isinstance(view, Followed)
    return view


async def following(agent: Agent, ids: list[str]) -> AsyncIterator[FollowedWork]:
    """Yield what is told of the items until all have ended."""
    cursor, open_items, more = None, set(ids), False
    while open_items:
        told = await agent.follow_work(ids, after=cursor, wait_seconds=0 if more else 10)
        cursor, more = told.cursor, told.more
        for item in told.items:
            yield item
            if item.status in ENDED:
                open_items.discard(item.id)


async def test_at_first_everything_is_told_and_what_is_not_there(boss: Agent) -> None:
    [item] = await offered(boss, 1, task_id="my-task")

    told = await boss.follow_work([item, "my-task", "nothing"], wait_seconds=SOON)

    assert [(each.id, each.task_id, each.status) for each in told.items] == [(item, "my-task", Status.READY)]
    assert told.items[0].events == ("work:submitted",)
    assert "python" in (told.items[0].waits_for or "")
    assert (told.missing, told.more) == (("nothing",), False)


async def test_a_move_ends_the_wait_and_alone_is_told(boss: Agent, worker: Agent) -> None:
    items = await offered(boss, 3)
    first = await boss.follow_work(items)
    waiting = asyncio.create_task(boss.follow_work(items, after=first.cursor, wait_seconds=SOON))
    taken = await claim(worker)

    [told] = (claimed := await waiting).items
    assert (told.id, told.status, told.claimed_by, told.events) == (taken.id, "claimed", "worker", ("work:claimed",))

    await worker.report_progress(taken.id, percent=40, message="half of it")
    [told] = (reported := await boss.follow_work(items, after=claimed.cursor, wait_seconds=SOON)).items
    assert told.progress
    assert (told.id, told.progress.percent, told.progress.message) == (taken.id, 40, "half of it")

    await worker.fail_work(taken.id, "no", retryable=False)
    [told] = (dead := await boss.follow_work(items, after=reported.cursor, wait_seconds=SOON)).items
    assert (told.id, told.status, told.dead_reason) == (taken.id, "dead", "not_retryable")
    assert told.events == ("work:failed", "work:dead")
    assert told.ended_at is not None
    assert (await boss.follow_work(items, after=dead.cursor)).items == ()


async def test_an_item_that_becomes_ready_by_time_is_told(boss: Agent) -> None:
    items = await offered(boss, 2, not_before="1.5s")
    first = await boss.follow_work(items)
    assert {each.status for each in first.items} == {Status.SCHEDULED}

    told: dict[str, FollowedWork] = {}
    async with asyncio.timeout(SOON):
        cursor = first.cursor
        while len(told) < len(items):
            view = await boss.follow_work(items, after=cursor, wait_seconds=SOON)
            cursor = view.cursor
            told |= {each.id: each for each in view.items if each.status is Status.READY}
    due = {each.id: each.due_at for each in first.items}
    assert {each.id: each.moved_at for each in told.values()} == due
    assert {each.events for each in told.values()} == {("work:ready",)}


async def test_what_is_reported_often_is_told_twice_a_second(boss: Agent, worker: Agent) -> None:
    items = await offered(boss, 1)
    taken = await claim(worker)
    cursor = (await boss.follow_work(items)).cursor
    over = False

    async def report() -> None:
        number = 0
        while not over:
            number += 1
            await worker.report_progress(taken.id, percent=number % 100)

    reporting = asyncio.create_task(report())
    began, answers = time.monotonic(), 0
    while answers < 4:
        view = await boss.follow_work(items, after=cursor, wait_seconds=SOON)
        assert [each.id for each in view.items] == items
        cursor, answers = view.cursor, answers + 1
    took = time.monotonic() - began
    over = True
    await reporting

    assert took > 0.5 * (answers - 1)


async def test_what_does_not_fit_follows_and_what_moves_meanwhile_is_told_in_the_end(
    boss: Agent, worker: Agent
) -> None:
    items = await offered(boss, 60)
    told: list[str] = []
    last: dict[str, Status | None] = {}
    cursor = None
    while True:
        view = await followed(boss, items, cursor, SHORT_BYTES)
        cursor = view.cursor
        told += [each.id for each in view.items]
        last |= {each.id: each.status for each in view.items}
        if not view.more:
            break
        assert 0 < len(view.items) < len(items)
        await claim(worker)
    held = set(worker.holds)
    assert told[: len(items)] == items
    while view.items:
        view = await followed(boss, items, view.cursor, SHORT_BYTES)
        last |= {each.id: each.status for each in view.items}
    assert held
    assert {item for item, status in last.items() if status == "claimed"} == held


async def test_a_cursor_is_for_its_items_alone(boss: Agent) -> None:
    items = await offered(boss, 2)
    cursor = (await boss.follow_work(items)).cursor

    with pytest.raises(BadCursor):
        await boss.follow_work(items[:1], after=cursor)
    with pytest.raises(BadCursor):
        await boss.follow_work(items, after="forged")
    with pytest.raises(InvalidArgument):
        await boss.follow_work([])
    with pytest.raises(InvalidArgument):
        await boss.follow_work([f"w_{number}" for number in range(1001)])


async def test_what_one_may_not_see_is_missing(workshop: Workshop, boss: Agent, worker: Agent) -> None:
    [secret] = await offered(boss, 1, boundary="corporate")

    assert [each.id for each in (await boss.follow_work([secret])).items] == [secret]
    assert (await worker.follow_work([secret])).missing == (secret,)


async def test_a_wait_that_is_given_up_leaves_the_next_one_nothing_behind(boss: Agent, worker: Agent) -> None:
    items = await offered(boss, 1)
    cursor = (await boss.follow_work(items)).cursor
    waiting = asyncio.create_task(boss.follow_work(items, after=cursor, wait_seconds=SOON))
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done
    waiting.cancel()

    taken = await claim(worker)

    [told] = (await boss.follow_work(items, after=cursor, wait_seconds=SOON)).items
    assert (told.id, told.status) == (taken.id, "claimed")


async def test_two_followers_see_every_item_to_its_end_though_weft_is_killed(
    private_fabric: Fabric, project_id: str
) -> None:
    private_fabric.start()
    async with open_workshop(private_fabric, project_id) as workshop:
        boss = await workshop.agent("boss", capabilities=["boss"])
        workers = [await workshop.agent(f"worker-{number}") for number in range(3)]
        items = await offered(boss, MANY)
        ended = 0

        async def work(worker: Agent) -> None:
            nonlocal ended
            while not all(follower.done() for follower in followers):
                for item in (await worker.claim_work(wait_seconds=1, limit=5)).work:
                    with suppress(LeaseLost, NotOwner):  # weft was away for longer than a lease
                        await worker.report_progress(item.id, percent=50)
                        await worker.complete_work(item.id, "done")
                        ended += 1

        async def follow() -> dict[str, list[FollowedWork]]:
            told: dict[str, list[FollowedWork]] = {item: [] for item in items}
            async for item in following(boss, items):
                told[item.id].append(item)
            return told

        async with asyncio.timeout(2 * SOON + SOON), asyncio.TaskGroup() as group:
            followers = [group.create_task(follow()) for _ in range(2)]
            for worker in workers:
                group.create_task(work(worker))
            while ended < MANY // 4:  # noqa: ASYNC110 - the workers count
                await asyncio.sleep(0.01)
            private_fabric.kill_weft()
            private_fabric.start_weft()

        await workshop.check()
        for told in [each.result() for each in followers]:
            for item in items:
                moves = [each.moved_at for each in told[item] if each.moved_at]
                assert moves == sorted(moves)
                assert told[item][-1].status is Status.DONE
