"""An agent is told to end: it gets nothing new, is heard of its claims until the grace is over, and is then cut off."""

from __future__ import annotations

import pytest

from loominal.model.errors import Forbidden, LoominalError, NotFound
from tests.integration.conftest import eventually
from tests.integration.workshop import SOON, Workshop, claim


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
    with pytest.raises(LoominalError):
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
