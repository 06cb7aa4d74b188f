"""Leases: what becomes of a claim whose holder is killed, frozen, cut off, idle or gone. Times are scaled down."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from chaos.proxy import Line
from loominal.fabric.client.agent import Agent
from loominal.fabric.hub.timings import Timings
from loominal.fabric.operations.work import WorkDetail
from loominal.fabric.protocol import Control, ControlKind
from loominal.model.errors import LeaseLost, LoominalError
from loominal.model.policy import DEFAULT_POLICY
from loominal.model.work import Move, Status
from tests.integration.conftest import eventually
from tests.integration.fabric import FAST, Fabric
from tests.integration.workshop import Workshop, claim, ended, moves_of, until_status
from tests.patience import SOON

TIMES = Timings().scaled(FAST)
CLAIMABLE_SECONDS = 60 * FAST  # the design's promise for a killed holder


@pytest.fixture
def fabric(fast_fabric: Fabric) -> Fabric:
    """One of which leases, graces and backoffs are soon over."""
    return fast_fabric


async def offered(boss: Agent, **more: object) -> str:
    return (await boss.broadcast_work_offer("do it", capabilities=["python"], **more)).id  # type: ignore[arg-type]


def notes(detail: WorkDetail, move: Move) -> list[str]:
    return [entry.note for entry in detail.history if entry.move == move]


async def test_a_killed_holders_item_is_soon_another_agents_and_the_crash_is_counted(
    fabric: Fabric, workshop: Workshop
) -> None:
    boss, other = await workshop.agent("boss"), await workshop.agent("other")
    with fabric.spawn("holder", project=workshop.project, capabilities=["python"]) as holder:
        await holder.ready()
        work_id = await offered(boss)
        taken = await holder.call("claim_work", wait_seconds=SOON)
        parked = asyncio.create_task(claim(other))
        holder.kill()
        killed_at = time.monotonic()
        item = await parked

    assert time.monotonic() - killed_at < CLAIMABLE_SECONDS
    assert [each["id"] for each in taken["work"]] == [item.id] == [work_id]
    assert item.attempt == 2
    assert notes(await boss.get_work(work_id), Move.LAPSE) == ["its process ended"]
    checked = await workshop.check()
    assert len(checked.items[work_id][-1].crashed) == 1


async def test_an_item_that_three_agents_died_of_is_a_dead_letter(fabric: Fabric, workshop: Workshop) -> None:
    boss = await workshop.agent("boss", capabilities=[])
    work_id = await offered(boss, max_attempts=20)
    for handle in ("one", "two", "three"):
        with fabric.spawn(handle, project=workshop.project, capabilities=["python"]) as holder:
            await holder.ready()
            [item] = (await holder.call("claim_work", wait_seconds=SOON))["work"]
            assert item["id"] == work_id
            holder.kill()

    dead = await ended(boss, work_id)
    assert (dead.status, dead.dead_reason, dead.attempt) == (Status.DEAD, "crashes", 3)
    assert [error.message for error in dead.errors] == ["its process ended"] * 3
    told = await boss.read_direct_messages(wait_seconds=SOON)
    assert [message.metadata["status"] for message in told.messages] == ["dead"]
    await workshop.check()


async def test_a_frozen_holder_wakes_to_a_lost_lease_and_its_result_is_kept(fabric: Fabric, workshop: Workshop) -> None:
    boss, other = await workshop.agent("boss"), await workshop.agent("other")
    with fabric.spawn("holder", project=workshop.project, capabilities=["python"]) as holder:
        await holder.ready()
        work_id = await offered(boss)
        await holder.call("claim_work", wait_seconds=SOON)
        holder.freeze()
        item = await claim(other)
        holder.thaw()
        late = await holder.call("complete_work", work_id=work_id, summary="late but good")
        done = await other.complete_work(work_id, "in time")

    assert (item.id, item.attempt, done.status) == (work_id, 2, Status.DONE)
    assert late["error"]["code"] == "lease_lost"
    assert "other" in late["error"]["message"]
    detail = await boss.get_work(work_id)
    assert detail.summary == "in time"
    assert notes(detail, Move.LAPSE) == ["its lease ran out"]
    last = (await workshop.check()).items[work_id][-1]
    assert [kept.summary for kept in last.review] == ["late but good"]
    assert last.crashed == ()


@pytest.mark.parametrize("speaks", [True, False])
async def test_a_holder_cut_off_beyond_its_lease_goes_on_if_nobody_took_the_item(
    fabric: Fabric, workshop: Workshop, tmp_path: Path, speaks: bool
) -> None:
    boss = await workshop.agent("boss", capabilities=[])
    async with Line(fabric.broker_settings.port).running() as line:
        away = await workshop.agent("away", home=workshop.home_behind(line, tmp_path))
        work_id = await offered(boss)
        await claim(away)
        line.stall()
        deed = asyncio.create_task(away.complete_work(work_id, "done far away")) if speaks else None
        await until_status(boss, work_id, "scheduled", "ready")
        line.mend()
        if deed is None:
            await until_status(boss, work_id, "claimed")
            deed = asyncio.create_task(away.complete_work(work_id, "done far away"))
        assert (await deed).status is Status.DONE

    detail = await ended(boss, work_id)
    assert (detail.attempt, detail.summary) == (1, "done far away")
    assert moves_of(detail)[:4] == ["submit", "claim", "lapse", "recover"]
    checked = await workshop.check()
    assert checked.count(Move.CLAIM) == {work_id: 1}
    assert not away.lost(work_id)


async def test_what_is_not_done_in_time_is_tried_again_and_the_late_end_is_refused(workshop: Workshop) -> None:
    boss, slow = await workshop.agent("boss", capabilities=[]), await workshop.agent("slow")
    work_id = await offered(boss, timeout_seconds=0.3, max_attempts=2)

    first = await claim(slow)
    await eventually(lambda: slow.lost(work_id))
    with pytest.raises(LeaseLost):
        await slow.complete_work(work_id, "late")
    second = await claim(slow)
    dead = await ended(boss, work_id)

    assert (first.attempt, second.attempt) == (1, 2)
    assert first.timeout_at is not None
    assert (dead.status, dead.dead_reason, dead.attempt) == (Status.DEAD, "max_attempts", 2)
    assert [error.message for error in dead.errors] == ["not done within 0.3 s"] * 2
    await workshop.check()


async def test_an_idle_holder_is_nudged_then_loses_the_item_and_a_busy_one_keeps_it(workshop: Workshop) -> None:
    boss, idle, busy = [await workshop.agent(handle) for handle in ("boss", "idle", "busy")]
    await workshop.set_policy(replace(DEFAULT_POLICY, stalled_seconds=10.0, hand_back_seconds=25.0), boss)
    nudges: list[Control] = []
    idle.on_control(nudges.append)
    left, kept = await offered(boss, assign_to="idle"), await offered(boss, assign_to="busy")
    await claim(idle)
    await claim(busy)

    async def reported() -> bool:
        await busy.report_progress(kept, percent=10, message="at it")
        return idle.lost(left)

    await eventually(reported)

    assert [nudge.kind for nudge in nudges] == [ControlKind.STALLED, ControlKind.LEASE_LOST]
    gone = await boss.get_work(left)
    assert moves_of(gone) == ["submit", "claim", "time-out"]
    assert gone.errors[0].message == "no sign of work for 7.5 s"
    held = await boss.get_work(kept)
    assert (held.status, held.progress and held.progress.message) == (Status.CLAIMED, "at it")
    assert (await claim(idle)).attempt == 2
    await workshop.check()


async def test_what_an_agent_that_left_held_goes_back_uncounted_after_the_grace(
    fabric: Fabric, workshop: Workshop
) -> None:
    boss, other = await workshop.agent("boss"), await workshop.agent("other")
    work_id = await offered(boss)
    async with fabric.connect("leaver", project=workshop.project, capabilities=["python"]) as leaver:
        await claim(leaver)
        left_at = time.monotonic()

    item = await claim(other)

    assert (item.id, item.attempt) == (work_id, 1)
    assert time.monotonic() - left_at >= TIMES.grace_seconds * 0.8
    assert notes(await boss.get_work(work_id), Move.RELEASE) == ["its agent left"]
    await workshop.check()


async def test_an_agents_next_process_takes_its_claims_over_when_it_joins(fabric: Fabric, workshop: Workshop) -> None:
    boss = await workshop.agent("boss", capabilities=[])
    work_id = await offered(boss)
    async with fabric.connect("again", project=workshop.project, capabilities=["python"]) as before:
        await claim(before)
        guid = before.guid
    async with fabric.connect("again", project=workshop.project) as after:
        joined = await after.join()
        assert after.guid == guid
        assert [(item.id, item.attempt) for item in joined.claims] == [(work_id, 1)]
        assert after.holds == (work_id,)
        await asyncio.sleep(2 * TIMES.grace_seconds)  # the old process's end must not matter any more
        assert (await after.complete_work(work_id, "by the second")).status is Status.DONE

    assert moves_of(await boss.get_work(work_id)) == ["submit", "claim", "adopt", "complete"]
    await workshop.check()


async def test_the_next_process_of_a_killed_agent_takes_its_claims_over_and_no_crash_counts(
    fabric: Fabric, workshop: Workshop
) -> None:
    boss = await workshop.agent("boss", capabilities=[])
    work_id = await offered(boss)
    with fabric.spawn("phoenix", project=workshop.project, capabilities=["python"]) as first:
        guid = await first.ready()
        await first.call("claim_work", wait_seconds=SOON)
        first.kill()
    async with fabric.connect("phoenix", project=workshop.project) as second:
        joined = await second.join()
        assert (second.guid, [item.id for item in joined.claims]) == (guid, [work_id])
        await second.complete_work(work_id, "reborn")

    last = (await workshop.check()).items[work_id][-1]
    assert (last.status, last.attempt, last.crashed) == (Status.DONE, 1, ())


async def test_what_an_agent_held_that_deregisters_goes_back_at_once(workshop: Workshop) -> None:
    boss, holder, other = [await workshop.agent(handle) for handle in ("boss", "holder", "other")]
    items = {await offered(boss) for _ in range(2)}
    await holder.claim_work(limit=2)
    parked = asyncio.create_task(claim(other))

    gone = await holder.deregister_agent()
    item = await parked

    assert set(gone.released) == items
    assert item.attempt == 1
    assert holder.holds == ()
    with pytest.raises(LoominalError, match="regist"):
        await holder.claim_work()
    await workshop.check()


@pytest.mark.pitfall(20)
async def test_claims_of_live_holders_survive_a_weft_that_is_killed_and_one_that_freezes(
    private_fabric: Fabric, project_id: str
) -> None:
    private_fabric.start()
    async with (
        private_fabric.connect("boss", project=project_id, capabilities=["other"]) as boss,
        private_fabric.connect("a", project=project_id, capabilities=["python"], max_concurrent=50) as agent,
    ):
        items = [await offered(boss) for _ in range(20)]
        for _ in range(2):
            await agent.claim_work(limit=10)
        private_fabric.kill_weft()
        private_fabric.start_weft()
        private_fabric.freeze(private_fabric.weft)
        await asyncio.sleep(1.2 * TIMES.lease_seconds)  # what the leader cannot have heard
        private_fabric.thaw(private_fabric.weft)
        await asyncio.sleep(0.5 * TIMES.lease_seconds)  # long enough for a wrong judgement
        for item in items:
            assert (await agent.complete_work(item, "kept")).status is Status.DONE
        assert moves_of(await boss.get_work(items[0])) == ["submit", "claim", "complete"]


async def test_a_parked_claim_is_not_lost_with_its_agents_wait(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    parked = asyncio.create_task(agent.claim_work(wait_seconds=20))
    await eventually(lambda: not parked.done())
    await asyncio.sleep(0)
    parked.cancel()
    work_id = await offered(boss)

    async with asyncio.timeout(SOON):
        while not (found := (await agent.claim_work(wait_seconds=SOON)).work):
            continue
    await agent.complete_work(found[0].id, "done in the end")

    done = await ended(boss, work_id)
    assert (done.status, done.attempt) == (Status.DONE, 1)
    await workshop.check()
