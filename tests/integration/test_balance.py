"""Which of several waiting agents gets an item, and which of several waiting items an agent gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from loominal.broker import subjects
from loominal.broker.log import Log
from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.work import Claimed
from loominal.model import names, record
from loominal.model.lifecycle import submitted
from loominal.model.routing import HEAD_START_SECONDS
from loominal.model.work import Submission
from tests.integration.conftest import eventually
from tests.integration.workshop import Workshop, claim
from tests.patience import SOON


class Contest:
    """Agents that wait for work at once; `who` says which of them got an item."""

    def __init__(self, boss: Agent, probe: str) -> None:
        self._boss = boss
        self._probe = probe
        self._polls: dict[str, asyncio.Task[Claimed]] = {}

    async def park(self, *agents: Agent) -> None:
        """Let these wait, in this order."""
        for agent in agents:
            self._polls[agent.guid] = asyncio.create_task(agent.claim_work(wait_seconds=SOON))
            await eventually(lambda agent=agent: self._is_polling(agent), SOON)  # type: ignore[misc]  # lambda's own agent

    async def who(self, work_id: str) -> str:
        """Return the handle of who got the item; the others wait on."""
        async with asyncio.timeout(SOON):
            await asyncio.wait(self._polls.values(), return_when=asyncio.FIRST_COMPLETED)
        [(guid, poll)] = [each for each in self._polls.items() if each[1].done()]
        assert [item.id for item in (await self._polls.pop(guid)).work] == [work_id]
        assert poll.done()
        return (await self._boss.get_agent_info(guid)).handle

    async def _is_polling(self, agent: Agent) -> bool:
        told = {each.guid: each for each in (await self._boss.explain_work(self._probe)).agents}
        return told[agent.guid].polling

    async def over(self) -> None:
        for poll in self._polls.values():
            poll.cancel()
        await asyncio.gather(*self._polls.values(), return_exceptions=True)


@asynccontextmanager
async def contest(boss: Agent) -> AsyncIterator[Contest]:
    probe = await boss.broadcast_work_offer("nobody's", capabilities=["nobody's"])
    found = Contest(boss, probe.id)
    try:
        yield found
    finally:
        await found.over()


async def offered(boss: Agent, capability: str = "python", **more: object) -> str:
    return (await boss.broadcast_work_offer("do it", capabilities=[capability], **more)).id  # type: ignore[arg-type]


async def waiting_since(workshop: Workshop, boss: Agent, seconds: float, priority: int, preferred: str = "") -> str:
    """Return an item that has been ready for so long, as if it had been offered then."""
    at, task = datetime.now(UTC) - timedelta(seconds=seconds), uuid4().hex
    submission = Submission(
        id=names.work_id(workshop.project, boss.guid, task),
        op=task,
        digest="",
        task_id=task,
        submitter=boss.guid,
        description="do it",
        capabilities=("python",),
        boundary="open-source",
        priority=priority,
        submitted_at=at,
        preferred_agent_type=preferred,
    )
    log = Log(await workshop.broker(), subjects.work_stream(workshop.project))
    await log.append(subjects.submission(workshop.project, submission.id), record.encode(submission))
    item = record.encode(submitted(submission, {}, at))
    await log.append(subjects.item(workshop.project, submission.id), item)
    await eventually(lambda: _is_known(boss, submission.id))
    return submission.id


async def _is_known(boss: Agent, work_id: str) -> bool:
    return work_id in {item.id for item in (await boss.list_work(limit=100)).items}


async def test_the_least_loaded_gets_it_though_another_fits_tighter_and_waited_longer(workshop: Workshop) -> None:
    boss = await workshop.agent("boss", capabilities=[])
    loaded, free = await workshop.agent("loaded"), await workshop.agent("free", capabilities=["python", "rust"])
    await offered(boss)
    await claim(loaded)
    async with contest(boss) as polls:
        await polls.park(loaded, free)

        assert await polls.who(await offered(boss)) == "free"
        await polls.park(free)  # both hold one now, and the tighter match decides
        assert await polls.who(await offered(boss)) == "loaded"


async def test_of_equally_loaded_ones_the_tightest_match_gets_it(workshop: Workshop) -> None:
    boss = await workshop.agent("boss", capabilities=[])
    broad = await workshop.agent("broad", capabilities=["python", "rust", "go"])
    middle = await workshop.agent("middle", capabilities=["python", "rust"])
    narrow = await workshop.agent("narrow", capabilities=["python"])
    async with contest(boss) as polls:
        await polls.park(broad, middle, narrow)

        assert await polls.who(await offered(boss, "rust")) == "middle"
        assert await polls.who(await offered(boss, "python")) == "narrow"
        assert await polls.who(await offered(boss, "python")) == "broad"


async def test_of_equal_ones_the_longest_idle_gets_it_whoever_asked_first(workshop: Workshop) -> None:
    boss = await workshop.agent("boss", capabilities=[])
    first, second, fresh = [await workshop.agent(handle) for handle in ("first", "second", "fresh")]
    for agent in (first, second):
        item = await offered(boss)
        assert (await claim(agent)).id == item
        await agent.complete_work(item, "done")
    async with contest(boss) as polls:
        await polls.park(second, first, fresh)

        assert await polls.who(await offered(boss)) == "fresh"  # it never had any
        assert await polls.who(await offered(boss)) == "first"
        assert await polls.who(await offered(boss)) == "second"


async def test_many_items_at_once_are_spread_over_all_who_wait(workshop: Workshop) -> None:
    boss = await workshop.agent("boss", capabilities=[])
    crew = [await workshop.agent(f"agent-{number}") for number in range(4)]
    async with contest(boss) as polls:
        await polls.park(*crew)
        await asyncio.gather(*(offered(boss) for _ in range(4)))

        async def each_has_one() -> bool:
            found = [(await boss.get_agent_info(agent.guid)).current_task_count for agent in crew]
            return found == [1, 1, 1, 1]

        await eventually(each_has_one, SOON)


async def test_submitters_take_turns_though_one_offers_very_many(workshop: Workshop) -> None:
    many, few = await workshop.agent("many", capabilities=[]), await workshop.agent("few", capabilities=[])
    worker = await workshop.agent("worker", max_concurrent=1)
    for _ in range(20):
        await offered(many)
    for _ in range(3):
        await offered(few)

    order = []
    for _ in range(7):
        item = await claim(worker)
        order.append(item.offered_by)
        await worker.complete_work(item.id, "done")

    assert order == ["many", "few"] * 3 + ["many"]


async def test_whoever_has_fewer_items_worked_on_goes_first(workshop: Workshop) -> None:
    one, two = await workshop.agent("one", capabilities=[]), await workshop.agent("two", capabilities=[])
    worker = await workshop.agent("worker")
    for _ in range(3):
        await offered(one)
    held = [item for _ in range(3) for item in (await worker.claim_work()).work]
    await offered(one)
    await offered(two)
    await offered(two)

    assert [item.offered_by for item in held] == ["one"] * 3
    assert [(await claim(worker)).offered_by for _ in range(3)] == ["two", "two", "one"]


async def test_what_waits_long_goes_before_what_is_more_urgent_and_new(workshop: Workshop) -> None:
    boss, worker = await workshop.agent("boss", capabilities=[]), await workshop.agent("worker")
    old = await waiting_since(workshop, boss, 600, priority=1)
    older = await waiting_since(workshop, boss, 7200, priority=1)
    young = await waiting_since(workshop, boss, 100, priority=5)
    new = await offered(boss, boundary="open-source", priority=9)
    urgent = await offered(boss, boundary="open-source", priority=10)

    taken = [(await claim(worker)).id for _ in range(5)]

    assert taken == [older, old, urgent, new, young]


async def test_when_a_head_start_ends_the_best_of_the_others_gets_it(workshop: Workshop) -> None:
    boss = await workshop.agent("boss", capabilities=[])
    await workshop.agent("preferred", agent_type="gemini")  # is there, and never asks
    broad = await workshop.agent("broad", capabilities=["python", "rust"])
    narrow = await workshop.agent("narrow")
    async with contest(boss) as polls:
        await polls.park(broad, narrow)
        item = await waiting_since(workshop, boss, HEAD_START_SECONDS - 2, 5, preferred="gemini")

        assert await polls.who(item) == "narrow"
