"""Claims: each item to one agent at a time, whoever asks at once, whatever gets lost on the way."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.work import Claimed, ClaimWork
from loominal.model.errors import BoundaryRefused, LeaseLost, NotCapable, NotFound, NotOwner
from loominal.model.work import Move, Status
from tests.checker import End
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.integration.workshop import Workshop, ask_unheard, claim, ended, moves_of
from tests.patience import SOON

CROWD = Path(__file__).with_name("crowd.py")
PROCESSES, AGENTS, ITEMS = 8, 4, 1000


@pytest.fixture
def fabric(fast_fabric: Fabric) -> Fabric:
    """One of which leases, graces and backoffs are soon over."""
    return fast_fabric


async def offered(boss: Agent, **more: object) -> str:
    return (await boss.broadcast_work_offer("do it", capabilities=["python"], **more)).id  # type: ignore[arg-type]


async def total_is(agent: Agent, status: str, total: int) -> bool:
    return (await agent.list_work(status=status)).total == total


async def was_claimed(agent: Agent, work_id: str) -> bool:
    return "claim" in moves_of(await agent.get_work(work_id))


async def run_crowd(fabric: Fabric, project: str, number: int) -> list[dict[str, object]]:
    handles = [f"racer-{number}-{each}" for each in range(AGENTS)]
    settings = {"home": str(fabric.home), "project": project, "handles": handles, "patience_seconds": 10}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CROWD), json.dumps(settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, err.decode()
    return [json.loads(line) for line in out.splitlines()]


async def test_of_many_agents_that_race_for_many_items_each_item_is_claimed_once_and_done_once(
    fabric: Fabric, workshop: Workshop
) -> None:
    boss = await workshop.agent("boss")
    offers = (
        boss.broadcast_work_offer(f"item {n}", task_id=str(n), capabilities=["race"], notify="none")
        for n in range(ITEMS)
    )
    items = [offer.id for offer in await asyncio.gather(*offers)]

    crowds = (run_crowd(fabric, workshop.project, number) for number in range(PROCESSES))
    told = [end for ends in await asyncio.gather(*crowds) for end in ends]

    assert (await boss.list_work(status="done", limit=1)).total == ITEMS
    assert sorted(str(end["item"]) for end in told) == sorted(items)
    assert [end for end in told if "error" in end or end["attempt"] != 1] == []
    checked = await workshop.check()
    assert set(checked.count(Move.CLAIM).values()) == {1}
    assert set(checked.count(Move.COMPLETE).values()) == {1}
    ends = [End(str(end["item"]), str(end["agent"]), int(str(end["leaseToken"]))) for end in told]
    assert checked.unfounded(ends) == []
    assert len({end.agent for end in ends}) > AGENTS  # of more than one process, however late the others were


async def test_a_claim_whose_answer_was_lost_is_handed_back_uncounted_and_done_by_another(workshop: Workshop) -> None:
    boss, deaf, other = [await workshop.agent(handle) for handle in ("boss", "deaf", "other")]
    work_id = await offered(boss)

    await ask_unheard(deaf, "claim_work", ClaimWork(), "unheard-1")
    await eventually(lambda: was_claimed(boss, work_id))
    item = await claim(other)
    await other.complete_work(item.id, "done")

    assert (item.id, item.attempt) == (work_id, 1)
    assert moves_of(await boss.get_work(work_id)) == ["submit", "claim", "release", "claim", "complete"]
    await workshop.check()


async def test_what_agents_claim_that_are_killed_in_the_midst_of_it_is_done_by_another(
    fabric: Fabric, workshop: Workshop
) -> None:
    boss, other = await workshop.agent("boss", capabilities=[]), await workshop.agent("other")
    items = [await offered(boss, max_attempts=20) for _ in range(4)]
    for number, pause in enumerate((0.0, 0.002, 0.005)):  # before, while and after the hub answers
        with fabric.spawn(f"short-{number}", project=workshop.project, capabilities=["python"]) as short:
            await short.ready()
            short.ask("claim_work")
            await asyncio.sleep(pause)
            short.kill()

    for _ in items:
        await other.complete_work((await claim(other)).id, "done")

    for work_id in items:
        assert (await boss.get_work(work_id)).status is Status.DONE
    await workshop.check()


async def test_the_same_claim_again_gets_the_same_items(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    items = {await offered(boss) for _ in range(3)}

    await ask_unheard(agent, "claim_work", ClaimWork(limit=2), "twice-1")
    await eventually(lambda: total_is(boss, "claimed", 2))
    again = await agent.call("claim_work", ClaimWork(limit=2), op="twice-1")
    third = await agent.call("claim_work", ClaimWork(limit=2), op="twice-2")

    assert isinstance(again, Claimed)
    assert isinstance(third, Claimed)
    assert len(again.work) == 2
    assert {item.id for item in (*again.work, *third.work)} == items
    assert {item.attempt for item in again.work} == {1}
    await agent.complete_work(again.work[0].id, "held under the repeated claim")
    await workshop.check()


async def test_a_claim_asked_again_after_it_went_back_gets_nothing_and_takes_nothing(workshop: Workshop) -> None:
    boss, deaf, other = [await workshop.agent(handle) for handle in ("boss", "deaf", "other")]
    work_id = await offered(boss)
    await ask_unheard(deaf, "claim_work", ClaimWork(), "late-1")
    await eventually(lambda: was_claimed(boss, work_id))
    await other.complete_work((await claim(other)).id, "done")
    another = await offered(boss)

    again = await deaf.call("claim_work", ClaimWork(), op="late-1")

    assert isinstance(again, Claimed)
    assert (again.work, deaf.holds) == ((), ())
    assert (await claim(deaf)).id == another
    await workshop.check()


async def test_a_claim_asked_many_times_at_once_is_one_claim(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    for _ in range(5):
        await offered(boss)

    for _ in range(10):
        await ask_unheard(agent, "claim_work", ClaimWork(), "many-1")
    found = await agent.call("claim_work", ClaimWork(), op="many-1")

    assert isinstance(found, Claimed)
    assert len(found.work) == 1
    assert (await boss.list_work(status="claimed")).total == 1


async def test_a_parked_claim_gets_an_item_as_soon_as_it_is_offered(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    parked = asyncio.create_task(claim(agent, 20))
    note = (await (await workshop.agent("idle")).claim_work()).note
    work_id = await offered(boss)

    async with asyncio.timeout(SOON):
        assert (await parked).id == work_id
    assert note is not None
    assert "Nothing is ready" in note


async def test_higher_priority_goes_first_and_equals_by_age(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    order = [await offered(boss, priority=priority) for priority in (5, 1, 10, 5)]

    taken = [(await claim(agent)).id for _ in order]

    assert taken == [order[2], order[0], order[3], order[1]]


async def test_two_offerers_take_turns(workshop: Workshop) -> None:
    many, few, agent = [await workshop.agent(handle) for handle in ("many", "few", "agent")]
    for _ in range(6):
        await offered(many)
    for _ in range(2):
        await offered(few)

    first = [(await claim(agent)).offered_by for _ in range(4)]

    assert sorted(first) == ["few", "few", "many", "many"]


async def test_no_agent_gets_more_than_it_takes_at_once(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent", max_concurrent=2)
    for _ in range(4):
        await offered(boss)

    taken = (await agent.claim_work(limit=10)).work
    full = await agent.claim_work()
    parked = asyncio.create_task(claim(agent))
    await agent.complete_work(taken[0].id, "room again")

    assert len(taken) == 2
    assert full.work == ()
    assert "2 of 2" in (full.note or "")
    assert (await parked).id not in {item.id for item in taken}


async def test_only_an_agent_with_every_capability_gets_an_item(workshop: Workshop) -> None:
    boss = await workshop.agent("boss", capabilities=["PYTHON", "Rust", "go"])
    part, all_of_it = await workshop.agent("part"), await workshop.agent("all", capabilities=["Python", "rust", "zig"])
    offer = await boss.broadcast_work_offer("both", capabilities=["python"], required_capability="RUST")

    assert (await part.claim_work()).work == ()
    assert (await all_of_it.claim_work(capability="zig")).work == ()
    with pytest.raises(NotCapable):
        await part.claim_work(capability="rust")
    assert offer.eligible == 2
    assert (await all_of_it.claim_work(capability="Rust")).work[0].id == offer.id


async def test_nobody_who_offers_work_is_told_to_count_on_a_person(workshop: Workshop) -> None:
    person = await workshop.agent("person", agent_type="person", operator=True)
    offer = await person.broadcast_work_offer("anything", capabilities=["python"])
    assert (offer.eligible, offer.note) == (0, "No registered agent is online in this project.")

    await workshop.agent("worker")

    assert (await person.broadcast_work_offer("more", capabilities=["python"])).eligible == 1
    assert (await claim(person)).id == offer.id  # but a person may


async def test_an_item_of_a_required_type_or_for_one_agent_goes_to_nobody_else(workshop: Workshop) -> None:
    boss, other = await workshop.agent("boss"), await workshop.agent("other", agent_type="codex")
    chosen = await workshop.agent("chosen", agent_type="gemini")
    typed, own = await offered(boss, required_agent_type="Gemini"), await offered(boss, assign_to="chosen")

    assert (await other.claim_work()).work == ()
    assert {(await claim(chosen)).id, (await claim(chosen)).id} == {typed, own}
    with pytest.raises(NotFound):
        await offered(boss, assign_to="nobody-there")


async def test_a_preferred_agent_with_room_has_a_head_start(workshop: Workshop) -> None:
    boss, other = await workshop.agent("boss"), await workshop.agent("other", agent_type="codex")
    preferred = await workshop.agent("preferred", agent_type="gemini", max_concurrent=1)
    first, second = await offered(boss, preferred_agent_type="gemini"), await offered(boss, preferred_agent_type="none")

    assert (await claim(other)).id == second  # nobody of the type is there
    assert (await other.claim_work()).work == ()
    assert (await claim(preferred)).id == first
    third = await offered(boss, preferred_agent_type="gemini")
    assert (await claim(other)).id == third  # the preferred one is full


async def test_corporate_work_goes_to_a_granted_agent_of_the_policys_type_and_only_while_it_is(
    workshop: Workshop,
) -> None:
    boss, other = await workshop.agent("boss", operator=True), await workshop.agent("other", agent_type="codex")
    copilot = await workshop.agent("copilot", agent_type="copilot-cli")
    offer = await boss.broadcast_work_offer("secret", capabilities=["python"], boundary="corporate")
    assert offer.eligible == 0
    assert offer.note

    with pytest.raises(BoundaryRefused):
        await copilot.register_agent("copilot-cli", capabilities=["python"], boundaries=["corporate"])
    grant = await boss.grant_access(boundaries=["corporate"], agent_types=["copilot-cli"])
    assert (await copilot.claim_work()).work == ()  # granted, and not registered for it
    await copilot.register_agent("copilot-cli", capabilities=["python"], boundaries=["corporate"], max_concurrent=5)
    assert (await other.claim_work()).work == ()
    assert (await claim(copilot)).id == offer.id

    again = await boss.broadcast_work_offer("secret too", capabilities=["python"], boundary="corporate")
    await boss.revoke_grant(grant.id)
    assert (await copilot.claim_work()).work == ()
    assert (await copilot.complete_work(offer.id, "claimed under the grant")).status is Status.DONE
    assert again.eligible == 1


async def test_who_never_held_an_item_can_neither_end_it_nor_report_on_it(workshop: Workshop) -> None:
    boss, holder, other = [await workshop.agent(handle) for handle in ("boss", "holder", "other")]
    work_id = await offered(boss)
    await claim(holder)

    for deed in (
        other.complete_work(work_id, "mine"),
        other.fail_work(work_id, "mine"),
        other.release_work(work_id),
        other.report_progress(work_id, percent=1),
    ):
        with pytest.raises(NotOwner):
            await deed
    assert (await boss.get_work(work_id)).claimed_by == "holder"


async def test_a_hundred_hand_backs_make_an_item_a_dead_letter(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    work_id = await offered(boss)

    for _ in range(50):
        await claim(agent)
        assert (await agent.release_work(work_id)).status is Status.READY
    assert (await agent.claim_work()).work == ()

    dead = await ended(boss, work_id)
    assert (dead.status, dead.dead_reason, dead.attempt) == (Status.DEAD, "too_many_moves", 0)
    assert (await boss.retry_dead_letter_item(work_id)).status is Status.READY
    assert (await claim(agent)).id == work_id
    await workshop.check()


async def test_after_a_release_the_old_claim_ends_nothing(workshop: Workshop) -> None:
    boss, first, between, second = [await workshop.agent(handle) for handle in ("boss", "first", "between", "second")]
    work_id = await offered(boss)
    for holder in (first, between):
        await claim(holder)
        await holder.release_work(work_id)
    await claim(second)

    with pytest.raises(LeaseLost, match="second"):
        await first.complete_work(work_id, "late")
    with pytest.raises(LeaseLost):
        await first.report_progress(work_id, percent=50)
    assert (await boss.get_work(work_id)).claimed_by == "second"
    assert (await second.complete_work(work_id, "in time")).status is Status.DONE
    checked = await workshop.check()
    assert checked.count(Move.KEEP) == {work_id: 1}
