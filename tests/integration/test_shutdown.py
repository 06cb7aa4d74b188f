"""An agent is told to end: it gets nothing new, is heard of its claims until the grace is over, and is then cut off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.events import EventKind
from loominal.model.errors import Forbidden, NotFound
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.integration.workshop import Workshop, claim
from tests.patience import SOON

WAITS: dict[str, Callable[[Agent, str], Awaitable[object]]] = {
    "claim_work": lambda agent, _: agent.claim_work(wait_seconds=50),
    "read_direct_messages": lambda agent, _: agent.read_direct_messages(wait_seconds=50),
    "get_work": lambda agent, item: agent.get_work(item, wait_seconds=50),
    "wait_for_events": lambda agent, _: agent.wait_for_events(kinds=[EventKind.MESSAGE]),
}


@pytest.fixture
def fabric(fast_fabric: Fabric) -> Fabric:
    """One of which leases, graces and backoffs are soon over."""
    return fast_fabric


async def test_an_agent_that_is_shut_down_finishes_what_it_holds_and_gets_nothing_new(workshop: Workshop) -> None:
    boss = await workshop.agent("boss", operator=True, capabilities=["boss"])
    worker = await workshop.agent("worker")
    held = (await boss.broadcast_work_offer("held", capabilities=["python"])).id
    await claim(worker)

    ending = await boss.shutdown_agent("worker", grace_period_seconds=60, reason="enough")
    again = await boss.shutdown_agent("worker", grace_period_seconds=1)
    await eventually(lambda: worker.draining, SOON)
    waits = (await boss.broadcast_work_offer("later", capabilities=["python"])).id

    assert (ending.guid, ending.status) == (worker.guid, "draining")
    assert again.until == ending.until
    assert (await worker.claim_work(wait_seconds=0.5)).work == ()
    assert "draining" in ((await boss.get_work(waits)).waits_for or "")
    await worker.complete_work(held, "done all the same")
    assert (await boss.get_work(held)).status == "done"


async def test_after_the_grace_claims_are_handed_back_and_the_agent_is_cut_off(workshop: Workshop) -> None:
    boss = await workshop.agent("boss", operator=True, capabilities=["boss"])
    worker = await workshop.agent("worker")
    held = (await boss.broadcast_work_offer("held", capabilities=["python"])).id
    await claim(worker)
    other = await workshop.agent("other")

    await boss.shutdown_agent("worker", graceful=False, reason="now")

    taken = await claim(other)
    assert (taken.id, taken.attempt) == (held, 1)  # handing back counts no attempt
    with pytest.raises(Forbidden, match=r"an operator has ended this agent \(now\)"):
        await worker.complete_work(held, "too late")

    async def is_offline() -> bool:
        return (await boss.get_agent_info(worker.guid)).status == "offline"

    await eventually(is_offline, SOON)


async def test_only_operators_may_and_who_is_not_there_cannot_be(workshop: Workshop) -> None:
    boss = await workshop.agent("boss", operator=True)
    worker = await workshop.agent("worker")

    with pytest.raises(Forbidden):
        await worker.shutdown_agent("boss")
    with pytest.raises(NotFound):
        await boss.shutdown_agent("nobody")


async def listen(agent: Agent) -> None:
    async for _ in agent.events():
        pass


async def test_whatever_an_agent_waits_for_returns_when_it_is_to_end(workshop: Workshop) -> None:
    boss = await workshop.agent("boss", operator=True, capabilities=["boss"])
    worker = await workshop.agent("worker")
    mine = (await worker.broadcast_work_offer("mine", capabilities=["boss"])).id
    waiting = [asyncio.ensure_future(wait(worker, mine)) for wait in WAITS.values()]
    await asyncio.sleep(0.5)  # for all of them to be parked; one that is not would return all the same
    began = time.monotonic()

    await boss.shutdown_agent("worker", grace_period_seconds=120)

    async with asyncio.timeout(SOON):
        await asyncio.gather(*waiting)
    assert time.monotonic() - began < SOON
    assert worker.draining
    assert worker.ends_at is not None
    async with asyncio.timeout(SOON):
        assert (await worker.claim_work(wait_seconds=50)).work == ()
    assert (await worker.wait_for_events(kinds=[EventKind.MESSAGE], wait_seconds=0.5)).waited_seconds >= 0.4


async def test_an_event_tells_that_the_agent_is_to_end_and_once(workshop: Workshop) -> None:
    boss = await workshop.agent("boss", operator=True, capabilities=["boss"])
    worker = await workshop.agent("worker")
    waiting = asyncio.create_task(worker.wait_for_events())

    await boss.shutdown_agent("worker", grace_period_seconds=120, reason="approve this")

    first = await waiting
    if not first.events:  # it had begun when the agent knew before
        first = await worker.wait_for_events()
    [event] = first.events
    assert (event.kind, event.id) == (EventKind.CANCEL, "")
    assert "you are to end by" in event.summary
    assert "approve" not in event.summary
    assert (await worker.wait_for_events(cursor=first.cursor, wait_seconds=0.5)).events == ()
    assert len((await worker.wait_for_events(wait_seconds=0)).events) == 1


async def test_who_waits_past_the_grace_hears_of_its_end_and_another_process_may_be_that_agent(
    workshop: Workshop,
) -> None:
    boss = await workshop.agent("boss", operator=True, capabilities=["boss"])
    async with workshop.fabric.connect("worker", project=workshop.project, capabilities=["python"]) as worker:
        await boss.shutdown_agent("worker", grace_period_seconds=0)
        with pytest.raises(Forbidden, match="an operator has ended this agent"):
            await asyncio.wait_for(listen(worker), SOON)
        assert worker.ended is not None
        guid = worker.guid

    again = await workshop.agent("worker", agent_id=guid)
    item = (await boss.broadcast_work_offer("x", capabilities=["python"])).id

    assert again.guid == guid
    assert (await claim(again)).id == item


async def test_a_process_that_was_away_when_it_was_ended_is_ended_when_it_comes_back(workshop: Workshop) -> None:
    boss = await workshop.agent("boss", operator=True, capabilities=["boss"])
    with workshop.fabric.spawn("worker", project=workshop.project, capabilities=["python"]) as worker:
        guid = await worker.ready()
        worker.freeze()
        await boss.shutdown_agent("worker", grace_period_seconds=0)

        async def is_offline() -> bool:
            return (await boss.get_agent_info(guid)).status == "offline"

        await eventually(is_offline, SOON)
        worker.thaw()

        told = await worker.call("claim_work")
        assert "an operator has ended this agent" in told["error"]["message"]
        assert await is_offline()


async def test_an_agent_that_is_cut_off_is_told_at_once_and_does_nothing_more(workshop: Workshop) -> None:
    boss = await workshop.agent("boss", operator=True, capabilities=["boss"])
    worker, other = await workshop.agent("worker"), await workshop.agent("other", capabilities=["go"])
    told = asyncio.Event()
    worker.on_control(lambda _: told.set())
    held = (await boss.broadcast_work_offer("held", capabilities=["python"])).id
    await claim(worker)
    waiting = [asyncio.create_task(each.wait_for_events(wait_seconds=50)) for each in (worker, other)]
    await asyncio.sleep(0.3)  # for them to be parked; one that is not would raise all the same

    await boss.revoke_agent("worker")

    await asyncio.wait_for(told.wait(), SOON)
    assert (worker.holds, worker.draining) == ((), True)
    with pytest.raises(Forbidden, match=r"an operator has ended this agent \(it was cut off\)"):
        await asyncio.wait_for(waiting[0], SOON)
    with pytest.raises(Forbidden, match="an operator has ended this agent"):
        await worker.complete_work(held, "too late")
    assert (await boss.get_work(held)).status == "ready"
    assert other.ended is None
    assert not waiting[1].done()
    waiting[1].cancel()
