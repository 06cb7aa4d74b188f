"""How items end: done, failed, called off, too late, or with what they depend on; and who hears of it, once."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest

from loominal.fabric.client.agent import Agent
from loominal.fabric.hub.timings import Timings
from loominal.fabric.operations.work import BroadcastWorkOffer
from loominal.fabric.protocol import Control, ControlKind
from loominal.model.errors import (
    BoundaryRefused,
    Duplicate,
    IllegalMove,
    InvalidArgument,
    LeaseLost,
    NotFound,
    NotOwner,
)
from loominal.model.work import Move, Status
from tests.integration.conftest import eventually
from tests.integration.fabric import FAST, Fabric
from tests.integration.workshop import Workshop, claim, ended, moves_of, open_workshop
from tests.patience import SOON

TIMES = Timings().scaled(FAST)
TOLD = 40  # items that end while weft is killed again and again


@pytest.fixture
def fabric(fast_fabric: Fabric) -> Fabric:
    """One of which leases, graces and backoffs are soon over."""
    return fast_fabric


async def offered(boss: Agent, **more: object) -> str:
    return (await boss.broadcast_work_offer("do it", capabilities=["python"], **more)).id  # type: ignore[arg-type]


async def mail_of(boss: Agent) -> list[tuple[str, str]]:
    """Return which ends the agent's inbox tells of: (item, status), read or not, oldest first."""
    told: list[tuple[str, str]] = []
    cursor: str | None = None
    while True:
        page = await boss.read_direct_messages(unread_only=False, limit=100, cursor=cursor)
        told += [(str(each.metadata["workId"]), str(each.metadata["status"])) for each in page.messages]
        if (cursor := page.next_cursor) is None:
            return told


async def test_a_result_comes_back_to_the_offerer_as_it_was_given(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    work_id = await offered(boss, context_data={"files": ["a", "b"], "deep": {"n": 1.5}})
    item = await claim(agent)

    moved = await agent.complete_work(
        item.id,
        "Parsed – ünïcödé ✓",
        result={"lines": [1, 2, {"x": None}], "text": "\u0000\n"},
        artifacts=[{"kind": "branch", "value": "feature/x", "note": "rebased"}],
    )

    done = await ended(boss, work_id)
    assert item.context_data == {"files": ["a", "b"], "deep": {"n": 1.5}}
    assert (moved.work_id, moved.status) == (work_id, Status.DONE)
    assert done.result == {"lines": [1, 2, {"x": None}], "text": "\u0000\n"}
    assert (done.summary, done.artifacts[0].value, done.ended_at is not None) == (
        "Parsed – ünïcödé ✓",
        "feature/x",
        True,
    )
    [message] = (await boss.read_direct_messages(wait_seconds=SOON)).messages
    assert (message.message_type, message.sender.handle) == ("work-result", "agent")
    assert message.metadata["summary"] == "Parsed – ünïcödé ✓"


async def test_the_same_completion_again_is_answered_the_same_and_another_is_refused(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    work_id = await offered(boss)
    await claim(agent)

    answers = await asyncio.gather(*(agent.complete_work(work_id, "once") for _ in range(4)))
    again = await agent.complete_work(work_id, "once")

    assert {answer.status for answer in (*answers, again)} == {Status.DONE}
    with pytest.raises(IllegalMove):
        await agent.complete_work(work_id, "something else")
    with pytest.raises(IllegalMove):
        await agent.fail_work(work_id, "changed my mind")
    checked = await workshop.check()
    assert checked.count(Move.COMPLETE) == {work_id: 1}


async def test_a_failed_item_waits_for_its_next_attempt_and_is_dead_after_the_last(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    work_id = await offered(boss, max_attempts=2)

    await claim(agent)
    first = await agent.fail_work(work_id, "no disk")
    repeated = await agent.fail_work(work_id, "no disk")
    waiting = await boss.get_work(work_id)
    again = await claim(agent)
    last = await agent.fail_work(work_id, "still no disk")

    assert (first.status, repeated) == (Status.SCHEDULED, first)
    assert first.next_attempt_at is not None
    assert waiting.due_at == first.next_attempt_at
    assert waiting.waits_for
    assert (again.id, again.attempt) == (work_id, 2)
    assert (last.status, last.next_attempt_at) == (Status.DEAD, None)
    dead = await boss.get_work(work_id)
    assert dead.dead_reason == "max_attempts"
    assert [(error.by, error.message) for error in dead.errors] == [("agent", "no disk"), ("agent", "still no disk")]
    await workshop.check()


async def test_a_failure_that_cannot_be_retried_ends_the_item(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    work_id = await offered(boss)
    await claim(agent)

    assert (await agent.fail_work(work_id, "no such file", retryable=False)).status is Status.DEAD
    assert (await boss.get_work(work_id)).dead_reason == "not_retryable"
    [message] = (await boss.read_direct_messages(wait_seconds=SOON)).messages
    assert (message.metadata["error"], message.importance) == ("no such file", "high")


async def test_an_item_without_a_name_is_told_of_by_its_id_and_once_done_without_what_failed_before(
    workshop: Workshop,
) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    work_id = await offered(boss, max_attempts=1)
    await claim(agent)
    await agent.fail_work(work_id, "no disk")
    [dead] = (await boss.read_direct_messages(wait_seconds=SOON)).messages
    await boss.retry_dead_letter_item(work_id)
    await claim(agent)
    await agent.complete_work(work_id, "written")
    [done] = (await boss.read_direct_messages(wait_seconds=SOON)).messages

    assert dead.message.startswith(f"Your work item {work_id} is dead (max_attempts) after 1 attempt. ")
    assert done.message.startswith(f"Your work item {work_id} is done by agent. ")
    assert (dead.metadata["error"], done.metadata["summary"], done.metadata.get("error")) == (
        "no disk",
        "written",
        None,
    )


async def test_a_holder_is_asked_before_its_item_is_called_off(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    heard: list[Control] = []
    agent.on_control(heard.append)
    work_id = await offered(boss)
    await claim(agent)
    waiting = asyncio.create_task(agent.wait_for_events(kinds=["cancel"], wait_seconds=SOON))

    asked = await boss.cancel_work(work_id, reason="not needed")
    events = (await waiting).events
    await eventually(lambda: agent.cancel_requested(work_id))
    report = await agent.report_progress(work_id, percent=50)
    released = await agent.release_work(work_id, reason="as asked")

    assert asked.status is Status.CLAIMED
    assert [(event.kind, event.id) for event in events] == [("cancel", work_id)]
    assert [control.kind for control in heard] == [ControlKind.CANCEL]
    assert report.cancel_requested
    assert released.status is Status.CANCELLED
    assert (await ended(boss, work_id)).attempt == 0
    await eventually(lambda: told_of(boss, work_id, "cancelled"))
    await workshop.check()


async def test_how_far_a_holder_came_says_nothing_of_the_next_one(workshop: Workshop) -> None:
    boss, first, second = [await workshop.agent(handle) for handle in ("boss", "first", "second")]
    work_id = await offered(boss)
    await claim(first)
    await first.report_progress(work_id, percent=90, message="nearly there")
    await first.release_work(work_id)
    await claim(second)

    taken_over = await boss.get_work(work_id)
    report = await second.report_progress(work_id, message="begun")

    assert (taken_over.progress, report.percent) == (None, 0)


async def told_of(boss: Agent, work_id: str, status: str) -> bool:
    return (work_id, status) in await mail_of(boss)


async def test_who_does_not_stop_when_asked_is_fenced(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    work_id = await offered(boss)
    await claim(agent)

    await boss.cancel_work(work_id)
    detail = await ended(boss, work_id)

    assert detail.status is Status.CANCELLED
    assert moves_of(detail) == ["submit", "claim", "ask-cancel", "cancel"]
    assert detail.ended_at is not None
    asked_at = next(entry.at for entry in detail.history if entry.move == "ask-cancel")
    assert (detail.ended_at - asked_at).total_seconds() >= TIMES.cancel_seconds - 1  # shown in whole seconds
    await eventually(lambda: agent.lost(work_id))
    with pytest.raises(LeaseLost):
        await agent.complete_work(work_id, "too late")
    await workshop.check()


async def test_who_is_asked_to_stop_may_still_complete(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    work_id = await offered(boss)
    await claim(agent)
    await boss.cancel_work(work_id)

    assert (await agent.complete_work(work_id, "was ready anyway")).status is Status.DONE
    assert (await ended(boss, work_id)).summary == "was ready anyway"


async def test_what_waits_is_called_off_at_once_and_what_has_ended_not_at_all(workshop: Workshop) -> None:
    boss, operator = await workshop.agent("boss"), await workshop.agent("operator", operator=True)
    ready, later = await offered(boss), await offered(boss, not_before="1h")
    blocked = await offered(boss, depends_on=[ready, later])

    assert (await boss.cancel_work(blocked)).status is Status.CANCELLED
    assert (await operator.cancel_work(later, reason="operators may")).status is Status.CANCELLED
    with pytest.raises(NotOwner):
        await (await workshop.agent("other")).cancel_work(ready)
    assert (await boss.cancel_work(ready)).status is Status.CANCELLED
    with pytest.raises(IllegalMove):
        await boss.cancel_work(ready)
    assert (await boss.claim_work()).work == ()


async def test_ten_cancellations_at_once_have_one_effect(workshop: Workshop) -> None:
    boss = await workshop.agent("boss")
    work_id = await offered(boss)

    outcomes = await asyncio.gather(*(boss.cancel_work(work_id) for _ in range(10)), return_exceptions=True)

    assert all(isinstance(each, IllegalMove) or each.status is Status.CANCELLED for each in outcomes)  # type: ignore[union-attr]
    assert (await workshop.check()).count(Move.CANCEL) == {work_id: 1}


async def test_an_item_that_is_claimed_and_called_off_at_once_ends(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent", max_concurrent=100)
    for _ in range(15):
        work_id = await offered(boss)
        claimed, asked = await asyncio.gather(agent.claim_work(), boss.cancel_work(work_id))
        assert asked.status is (Status.CLAIMED if claimed.work else Status.CANCELLED)
        if claimed.work:
            released, again = await asyncio.gather(
                agent.release_work(work_id), boss.cancel_work(work_id), return_exceptions=True
            )
            assert not isinstance(released, BaseException)
            assert isinstance(again, IllegalMove) or again.status in (Status.CLAIMED, Status.CANCELLED)  # type: ignore[union-attr]
        assert (await ended(boss, work_id)).status is Status.CANCELLED
    await workshop.check()


async def test_a_deadline_ends_what_still_waits(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    held = await offered(boss, deadline="1s")
    await claim(agent)
    waiting = await offered(boss, deadline="1s", assign_to="boss")

    dead = await ended(boss, waiting)

    assert (dead.status, dead.dead_reason) == (Status.DEAD, "expired")
    assert (await agent.complete_work(held, "a holder has its time")).status is Status.DONE
    with pytest.raises(InvalidArgument, match="passed"):
        await offered(boss, deadline=datetime.now(UTC) - timedelta(seconds=5))
    await workshop.check()


async def test_nothing_is_given_before_its_time(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    offer = await boss.broadcast_work_offer("later", capabilities=["python"], not_before="1s")
    offered_at = datetime.now(UTC)

    assert offer.status is Status.SCHEDULED
    assert (await agent.claim_work()).work == ()
    item = await claim(agent)
    assert item.id == offer.id
    assert (datetime.now(UTC) - offered_at).total_seconds() > 0.8


async def test_an_item_becomes_ready_when_all_it_depends_on_is_done(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    first = await offered(boss, task_id="first")
    second = await offered(boss)
    child = await boss.broadcast_work_offer("child", capabilities=["python"], depends_on=["first", second])
    grandchild = await offered(boss, depends_on=[child.id])

    assert child.status is Status.BLOCKED
    assert first in ((await boss.get_work(child.id)).waits_for or "")
    for parent in (first, second):
        assert (await boss.get_work(child.id)).status is Status.BLOCKED
        assert (await claim(agent)).id == parent
        await agent.complete_work(parent, "done")
    assert (await claim(agent)).id == child.id
    await agent.complete_work(child.id, "done")
    assert (await claim(agent)).id == grandchild
    late = await boss.broadcast_work_offer("late child", capabilities=["python"], depends_on=[first])
    assert late.status is Status.READY
    with pytest.raises(NotFound):
        await offered(boss, depends_on=["w_unknown"])
    await workshop.check()


async def test_what_depends_on_a_dead_or_cancelled_item_is_dead_with_all_that_depends_on_it(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    failing, called_off = await offered(boss, assign_to="agent"), await offered(boss, assign_to="boss")
    child, other = await offered(boss, depends_on=[failing]), await offered(boss, depends_on=[called_off])
    grandchild = await offered(boss, depends_on=[child])

    await claim(agent)
    await agent.fail_work(failing, "no", retryable=False)
    await boss.cancel_work(called_off)

    for each in (child, other, grandchild):
        dead = await ended(boss, each)
        assert (dead.status, dead.dead_reason) == (Status.DEAD, "dependency_failed")
    born_dead = await boss.broadcast_work_offer("too late", capabilities=["python"], depends_on=[failing])
    assert born_dead.status is Status.DEAD
    await eventually(lambda: told_of(boss, grandchild, "dead"))
    await workshop.check()


async def test_the_same_offer_again_is_the_same_item_and_another_under_its_name_is_refused(workshop: Workshop) -> None:
    boss, other = await workshop.agent("boss"), await workshop.agent("other")
    same = {"task_id": "build", "capabilities": ["python"], "context_data": {"a": 1, "b": 2}, "deadline": "2h"}

    first = await boss.broadcast_work_offer("build it", **same)  # type: ignore[arg-type]
    twins = await asyncio.gather(*(boss.broadcast_work_offer("build it", **same) for _ in range(10)))  # type: ignore[arg-type]
    reordered = {**same, "capabilities": ["PYTHON"], "context_data": {"b": 2, "a": 1}}
    again = await boss.broadcast_work_offer("build it", **reordered)  # type: ignore[arg-type]
    foreign = await other.broadcast_work_offer("build it", **same)  # type: ignore[arg-type]

    assert (first.task_id, first.duplicate) == ("build", False)
    assert {(offer.id, offer.duplicate) for offer in (*twins, again)} == {(first.id, True)}
    assert foreign.id != first.id
    changes: list[dict[str, object]] = [{"deadline": "3h"}, {"priority": 6}, {"context_data": {}}, {"notify": "none"}]
    for changed in changes:
        with pytest.raises(Duplicate):
            await boss.broadcast_work_offer("build it", **{**same, **changed})  # type: ignore[arg-type]
    with pytest.raises(BoundaryRefused):
        await offered(boss, boundary="no-such-boundary")
    assert (await boss.list_work()).total == 2
    await workshop.check()


async def test_offers_without_a_task_id_are_as_many_as_their_ops_however_alike(workshop: Workshop) -> None:
    boss = await workshop.agent("boss")
    offer = BroadcastWorkOffer(description="import one", capabilities=("python",))

    for op in ("import-customers-1", "import-customers-2", "import-customers-2"):
        await boss.call("broadcast_work_offer", offer, op=op)

    assert (await boss.list_work()).total == 2


async def test_an_accepted_offer_may_be_repeated_when_its_deadline_has_passed(workshop: Workshop) -> None:
    boss = await workshop.agent("boss")
    deadline = datetime.now(UTC) + timedelta(seconds=0.5)
    work_id = await offered(boss, task_id="soon", deadline=deadline)
    await ended(boss, work_id)

    again = await boss.broadcast_work_offer("do it", capabilities=["python"], task_id="soon", deadline=deadline)

    assert (again.id, again.duplicate) == (work_id, True)


async def test_who_asked_for_no_notice_gets_none(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    silent, loud = await offered(boss, notify="none"), await offered(boss)  # done in this order
    for _ in range(2):
        await agent.complete_work((await claim(agent)).id, "done")

    await eventually(lambda: told_of(boss, loud, "done"))

    assert await mail_of(boss) == [(loud, "done")]
    assert (await ended(boss, silent)).status is Status.DONE
    await workshop.check()


async def test_every_end_is_told_exactly_once_though_weft_is_killed_again_and_again(
    private_fabric: Fabric, project_id: str
) -> None:
    private_fabric.start()
    chance = random.Random(project_id)
    async with open_workshop(private_fabric, project_id) as workshop:
        boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
        items = set(await asyncio.gather(*(offered(boss) for _ in range(TOLD))))

        async def finish_all() -> None:
            for _ in range(TOLD):
                await agent.complete_work((await claim(agent, 50)).id, "done")

        async def kill_and_start() -> None:
            while not working.done():
                await asyncio.sleep(chance.uniform(0.02, 0.4))
                private_fabric.kill_weft()
                await asyncio.to_thread(private_fabric.start_weft)

        working = asyncio.create_task(finish_all())
        async with asyncio.timeout(SOON):
            await asyncio.gather(working, kill_and_start())
            await eventually(lambda: told_about(boss, TOLD))
        for _ in range(2):  # a new leader has nothing left to tell
            private_fabric.kill_weft()
            await asyncio.to_thread(private_fabric.start_weft)

        assert sorted(await mail_of(boss)) == sorted((item, "done") for item in items)
        checked = await workshop.check()
        assert set(checked.count(Move.COMPLETE).values()) == {1}


async def told_about(boss: Agent, number: int) -> bool:
    return len(await mail_of(boss)) >= number
