"""The broker comes back with another store, empty or an older copy: everybody goes on, nothing of the past passes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from loominal.fabric.client.agent import Agent
from loominal.model.errors import BadCursor, LoominalError, NotFound
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.patience import SOON

PROJECT = "replaced"


async def goes_on(boss: Agent, worker: Agent, word: str) -> None:
    """Let both talk and hand over work, until the project serves them again."""
    await boss.send_message("general", f"{word} for all")
    heard = (await worker.read_messages("general", limit=50)).messages
    assert heard[-1].message == f"{word} for all"
    offered = await boss.broadcast_work_offer(word, capabilities=["dig"])
    [work] = (await worker.claim_work(wait_seconds=SOON)).work
    assert work.id == offered.id
    await worker.complete_work(work.id, summary=word)

    async def told() -> bool:
        page = await boss.read_direct_messages(wait_seconds=1)
        return any(offered.id == message.metadata.get("workId") for message in page.messages)

    await eventually(told)


def generation(agent: Agent) -> str:
    assert agent._session.welcome is not None
    return agent._session.welcome.generation


@pytest.mark.parametrize("weft_runs", [True, False], ids=["weft runs", "weft starts anew"])
async def test_an_empty_broker_takes_new_work_and_refuses_what_was_before(
    private_fabric: Fabric, weft_runs: bool
) -> None:
    fabric = private_fabric
    fabric.start()
    async with (
        fabric.connect("boss", project=PROJECT, agent_type="python", timeout_seconds=SOON) as boss,
        fabric.connect("worker", project=PROJECT, capabilities=["dig"], timeout_seconds=SOON) as worker,
    ):
        await goes_on(boss, worker, "before")
        for number in range(5):
            await boss.send_message("general", f"old {number}")
        old_message = (await boss.send_direct_message(worker.guid, "an old one")).id
        old_page = await worker.read_messages("general", limit=2)
        held = await boss.broadcast_work_offer("never finished", capabilities=["dig"])
        assert [work.id for work in (await worker.claim_work()).work] == [held.id]
        before = generation(boss)

        replace_store(fabric, None, weft_runs=weft_runs)

        await goes_on(boss, worker, "after")
        await eventually(lambda: (generation(worker) != before and not worker.lost(held.id)) or worker.holds == ())
        assert generation(boss) != before
        assert worker.holds == ()
        seen = await boss.discover_agents(include_offline=True)
        assert {agent.handle for agent in seen.agents} == {"boss", "worker"}
        with pytest.raises(BadCursor):
            await worker.read_messages("general", cursor=old_page.next_cursor)
        with pytest.raises(NotFound):
            await boss.send_direct_message(worker.guid, "about it", reply_to=old_message)
        with pytest.raises(NotFound):
            await worker.read_direct_messages(ack=[old_message])
        with pytest.raises(LoominalError) as refused:
            await worker.complete_work(held.id, summary="of another life")
        assert refused.value.code in ("not_found", "lease_lost")
        await goes_on(boss, worker, "once more")


@pytest.mark.parametrize("weft_runs", [True, False], ids=["weft runs", "weft starts anew"])
async def test_an_older_copy_of_the_store_goes_on_from_there(
    private_fabric: Fabric, tmp_path: Path, weft_runs: bool
) -> None:
    fabric = private_fabric
    fabric.start()
    async with (
        fabric.connect("boss", project=PROJECT, agent_type="python", timeout_seconds=SOON) as boss,
        fabric.connect("worker", project=PROJECT, capabilities=["dig"], timeout_seconds=SOON) as worker,
    ):
        kept = await boss.broadcast_work_offer("in the copy", capabilities=["dig"], not_before="1h")
        await goes_on(boss, worker, "before")
        fabric.kill_broker()
        copy = tmp_path / "copy"
        shutil.copytree(fabric.broker_settings.store, copy)
        fabric.start_broker()
        await goes_on(boss, worker, "not in the copy")
        gone = await boss.broadcast_work_offer("not in the copy", capabilities=["dig"])
        [work] = (await worker.claim_work(wait_seconds=SOON)).work
        assert work.id == gone.id
        before = generation(boss)

        replace_store(fabric, copy, weft_runs=weft_runs)

        await goes_on(boss, worker, "after")
        if weft_runs:  # one that starts anew sees nothing but the copy
            await eventually(lambda: generation(boss) != before)
        assert (await boss.get_work(kept.id)).status == "scheduled"
        with pytest.raises(NotFound):
            await boss.get_work(gone.id)
        with pytest.raises(LoominalError) as refused:
            await worker.complete_work(gone.id, summary="of another life")
        assert refused.value.code in ("not_found", "lease_lost")
        await eventually(lambda: worker.holds == ())
        texts = [message.message for message in (await worker.read_messages("general", limit=50)).messages]
        assert texts == ["before for all", "after for all"]


async def test_a_broker_that_lost_its_accounts_too_is_filled_again(private_fabric: Fabric) -> None:
    fabric = private_fabric
    fabric.start()
    async with (
        fabric.connect("boss", project=PROJECT, agent_type="python", timeout_seconds=SOON) as boss,
        fabric.connect("worker", project=PROJECT, capabilities=["dig"], timeout_seconds=SOON) as worker,
    ):
        await goes_on(boss, worker, "before")
        fabric.kill_broker()
        shutil.rmtree(fabric.broker_settings.directory)
        fabric.start_broker()
        await goes_on(boss, worker, "after")


def replace_store(fabric: Fabric, copy: Path | None, *, weft_runs: bool) -> None:
    if not weft_runs:
        fabric.kill_weft()
    fabric.kill_broker()
    fabric.drop_store()
    if copy is not None:
        shutil.copytree(copy, fabric.broker_settings.store)
    fabric.start_broker()
    if not weft_runs:
        fabric.start_weft(wait=False)
