"""Dead letters: listed with why, retried or discarded by offerer or operator, one effect however often."""

from __future__ import annotations

import asyncio

import pytest

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.dead_letters import DeadLetter
from loominal.model.errors import BadCursor, IllegalMove, NotFound, NotOwner
from loominal.model.work import Move, Status
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.integration.workshop import Workshop, claim, ended, moves_of


@pytest.fixture
def fabric(fast_fabric: Fabric) -> Fabric:
    """One of which leases, graces and backoffs are soon over."""
    return fast_fabric


async def a_dead_item(boss: Agent, agent: Agent, *, attempts: int = 1, **more: object) -> str:
    """Return an item that `agent` has failed at."""
    more = {"capabilities": ["python"], "max_attempts": attempts, **more}
    offer = await boss.broadcast_work_offer("impossible", **more)  # type: ignore[arg-type]
    for _ in range(attempts):
        await claim(agent)
        await agent.fail_work(offer.id, "cannot be done")
    return offer.id


async def all_letters(agent: Agent, limit: int) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    cursor: str | None = None
    while True:
        page = await agent.list_dead_letter_items(limit=limit, cursor=cursor)
        found += page.items
        if (cursor := page.next_cursor) is None:
            return found


async def test_a_dead_letter_tells_why_and_with_which_errors(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    work_id = await a_dead_item(boss, agent, attempts=2, task_id="hopeless")

    page = await agent.list_dead_letter_items()

    [letter] = page.items
    assert (page.total, page.next_cursor) == (1, None)
    assert (letter.id, letter.task_id, letter.reason, letter.attempts) == (work_id, "hopeless", "max_attempts", 2)
    assert [(error.by, error.message) for error in letter.errors] == [("agent", "cannot be done")] * 2
    assert letter.capabilities == ("python",)
    assert (await boss.get_work(work_id)).ended_at == letter.failed_at


async def test_a_retried_item_gets_one_more_attempt_and_is_done(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    work_id = await a_dead_item(boss, agent, attempts=2, task_id="again")

    retried = await boss.retry_dead_letter_item("again")
    item = await claim(agent)
    await agent.complete_work(work_id, "done after all")

    assert (retried.id, retried.status) == (work_id, Status.READY)
    assert (item.attempt, item.max_attempts) == (3, 3)
    assert (await boss.list_dead_letter_items()).total == 0
    assert (await ended(boss, work_id)).summary == "done after all"
    ends: list[str] = []

    async def both_told() -> bool:
        ends.extend(str(each.metadata["status"]) for each in (await boss.read_direct_messages()).messages)
        return ends == ["dead", "done"]

    await eventually(both_told)
    await workshop.check()


async def test_a_retry_that_resets_the_attempts_gives_them_all_again(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    work_id = await a_dead_item(boss, agent, attempts=2)

    await boss.retry_dead_letter_item(work_id, reset_attempts=True)
    item = await claim(agent)
    failed = await agent.fail_work(work_id, "not yet")

    assert (item.attempt, item.max_attempts) == (1, 2)
    assert failed.status is Status.SCHEDULED
    await workshop.check()


async def test_ten_retries_at_once_are_one(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    operator = await workshop.agent("operator", operator=True)
    work_id = await a_dead_item(boss, agent)

    outcomes = await asyncio.gather(
        *(each.retry_dead_letter_item(work_id) for each in (boss, operator) for _ in range(5)), return_exceptions=True
    )

    good = [each for each in outcomes if not isinstance(each, BaseException)]
    assert {each.status for each in good} == {Status.READY}
    assert all(isinstance(each, IllegalMove) for each in outcomes if isinstance(each, BaseException))
    assert (await workshop.check()).count(Move.RETRY) == {work_id: 1}
    assert (await claim(agent)).attempt == 2


async def test_ten_discards_at_once_are_one_and_final(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    work_id = await a_dead_item(boss, agent)

    outcomes = await asyncio.gather(
        *(boss.discard_dead_letter_item(work_id, reason="give up") for _ in range(10)), return_exceptions=True
    )

    good = [each for each in outcomes if not isinstance(each, BaseException)]
    assert {each.status for each in good} == {Status.DISCARDED}
    assert all(isinstance(each, IllegalMove) for each in outcomes if isinstance(each, BaseException))
    with pytest.raises(IllegalMove, match="discarded"):
        await boss.retry_dead_letter_item(work_id)
    detail = await boss.get_work(work_id)
    assert moves_of(detail) == ["submit", "claim", "fail", "discard"]
    assert (await workshop.check()).count(Move.DISCARD) == {work_id: 1}


async def test_retry_and_discard_at_once_leave_one_of_them(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    work_id = await a_dead_item(boss, agent)

    outcomes = await asyncio.gather(
        boss.retry_dead_letter_item(work_id), boss.discard_dead_letter_item(work_id), return_exceptions=True
    )

    [won] = [each for each in outcomes if not isinstance(each, BaseException)]
    assert (await boss.get_work(work_id)).status is won.status
    await workshop.check()


async def test_only_the_offerer_and_operators_decide_over_dead_letters(workshop: Workshop) -> None:
    boss, agent, operator = (
        await workshop.agent("boss"),
        await workshop.agent("agent"),
        await workshop.agent("operator", operator=True),
    )
    work_id, other = await a_dead_item(boss, agent), await a_dead_item(boss, agent)

    for deed in (agent.retry_dead_letter_item(work_id), agent.discard_dead_letter_item(work_id)):
        with pytest.raises(NotOwner):
            await deed
    assert (await operator.retry_dead_letter_item(work_id)).status is Status.READY
    assert (await operator.discard_dead_letter_item(other)).status is Status.DISCARDED
    with pytest.raises(IllegalMove):
        await boss.retry_dead_letter_item(work_id)  # it is not dead any more
    with pytest.raises(NotFound):
        await boss.retry_dead_letter_item("w_unknown")


async def test_of_a_dead_letter_that_is_discarded_at_once_its_offerer_hears_once(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    operator = await workshop.agent("operator", operator=True)
    items = []
    for _ in range(5):
        items.append(await a_dead_item(boss, agent))
        assert (await operator.discard_dead_letter_item(items[-1])).status is Status.DISCARDED
    told: list[str] = []

    async def all_told() -> bool:
        told.extend(str(each.metadata["workId"]) for each in (await boss.read_direct_messages()).messages)
        return len(told) >= len(items)

    await eventually(all_told)
    assert sorted(told) == sorted(items)
    await workshop.check()


async def test_dead_letters_come_in_pages_newest_first_each_once_while_more_die(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent", capabilities=["python", "rust"])
    items = [await a_dead_item(boss, agent) for _ in range(7)]
    await a_dead_item(boss, agent, capabilities=["rust"])

    first = await boss.list_dead_letter_items(limit=3)
    newer = await a_dead_item(boss, agent)
    rest = [first]
    while cursor := rest[-1].next_cursor:
        rest.append(await boss.list_dead_letter_items(limit=3, cursor=cursor))
    paged = [letter.id for page in rest for letter in page.items]

    assert paged[1:] == items[::-1]
    assert newer not in paged
    assert (first.total, rest[-1].total) == (8, 9)
    assert (await all_letters(boss, 2))[0].id == newer
    assert (await boss.list_dead_letter_items(capability="RUST")).total == 1
    assert first.next_cursor is not None
    for forged in ("rubbish", first.next_cursor[:-2], (await boss.list_work(limit=1)).next_cursor or ""):
        with pytest.raises(BadCursor):
            await boss.list_dead_letter_items(limit=3, cursor=forged)
    with pytest.raises(BadCursor):
        await boss.list_dead_letter_items(limit=3, cursor=first.next_cursor, capability="rust")
