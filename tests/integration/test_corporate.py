"""Corporate work while no approved agent is there: nobody gets it, whatever they ask for and however they ask."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from loominal.broker import subjects
from loominal.fabric.client.agent import Agent
from loominal.fabric.operations import OPERATIONS
from loominal.model.errors import BoundaryRefused, Forbidden, NotFound
from loominal.model.routing import Exclusion
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.integration.intruder import Intruder, Json, intrude, stranger
from tests.integration.workshop import Workshop
from tests.patience import SOON

TYPES = ("claude-code", "copilot-cli", "person", "Corporate", "copilot-cli ")
OURS = [{"boundaries": ["corporate"]}, {"boundaries": ["Corporate "]}, {"boundaries": ["personal", "corporate"]}, {}]


@pytest.fixture
async def boss(workshop: Workshop) -> Agent:
    return await workshop.agent("boss", agent_type="person", operator=True, client="boss", capabilities=[])


@pytest.fixture
async def intruder(fabric: Fabric, workshop: Workshop, boss: Agent) -> AsyncIterator[Intruder]:
    """An agent of another user's machine, which is let into the project and granted what everybody is."""
    assert boss.guid
    machine = await stranger(fabric, f"eve-{uuid4().hex[:6]}", workshop.project)
    async with intrude(fabric, workshop.project, machine=machine) as intruder:
        await intruder.register("python", handle="eve")
        yield intruder


async def offered(boss: Agent) -> str:
    return (await boss.broadcast_work_offer("the merger", boundary="corporate", capabilities=["python"])).id


async def try_everything(intruder: Intruder, work_id: str) -> None:
    """Ask for all that there is, as whatever there is, about the item; nothing of it may be answered with the item."""
    for agent_type, wanted in itertools.product(TYPES, OURS):
        registration = {"agentType": agent_type, "capabilities": ["python"], "maxConcurrent": 50, **wanted}
        for operation in ("register_agent", "join"):
            arguments = {name: value for name, value in registration.items() if name != "maxConcurrent"}
            await intruder.ask(operation, registration if operation == "register_agent" else arguments)
        for claim in ({}, {"capability": "python"}, {"limit": 10}, {"capability": "python", "boundary": "corporate"}):
            answer = await intruder.ask("claim_work", claim, role="operator", agent="boss")
            assert not answer.get("ok", {}).get("work"), answer
    named = [{"workId": work_id}, {"workId": "merger"}]
    extra: list[Json] = [{}, {"summary": "done"}, {"error": "no"}, {"reason": "x"}, {"percent": 1}, {"waitSeconds": 0}]
    for operation, item, more, token in itertools.product(sorted(OPERATIONS), named, extra, (0, 1)):
        if operation in ("deregister_agent", "revoke_agent"):
            continue
        answer = await intruder.ask(operation, {**item, **more}, leaseToken=token)
        assert work_id not in str(answer.get("ok", "")), (operation, answer)
        assert "merger" not in str(answer.get("ok", "")), (operation, answer)
    for operation in ("list_work", "list_dead_letter_items", "get_my_handle", "discover_agents", "get_stats"):
        assert work_id not in str(await intruder.ask(operation)), operation
    assert work_id not in str(await intruder.ask("wait_for_events", {"waitSeconds": 0}))
    assert await intruder.code("set_policy", {"boundaries": {"corporate": {}}}) == Forbidden.code
    assert await intruder.code("grant_access", {"boundaries": ["corporate"]}) == Forbidden.code
    assert await intruder.code("explain_work", {"workId": work_id}) == NotFound.code


async def try_around_the_hub(intruder: Intruder, work_id: str) -> None:
    """Write where only a hub may, and ask as somebody else: the broker lets none of it through."""
    mine = [subjects.item(intruder.project, work_id), subjects.submission(intruder.project, work_id)]
    registry = [f"$KV.REG_{intruder.project}.{key}" for key in ("policy", "grant.g", f"agent.{intruder.guid}")]
    foreign = [subjects.request(intruder.project, "claim_work", str(uuid4()))]
    assert await intruder.denied([*mine, *registry, *foreign], []) == [*mine, *registry, *foreign]


async def test_corporate_work_is_never_claimed_by_who_is_not_approved_and_goes_to_who_is_at_once(
    fabric: Fabric, workshop: Workshop, boss: Agent, intruder: Intruder
) -> None:
    approved = await workshop.agent("approved", agent_type="copilot-cli", client="copilot-cli")
    work_id = await offered(boss)
    with pytest.raises(BoundaryRefused):
        await approved.register_agent("copilot-cli", capabilities=["python"], boundaries=["corporate"])
    parked = asyncio.create_task(approved.claim_work(wait_seconds=50))

    await try_everything(intruder, work_id)
    await try_around_the_hub(intruder, work_id)

    item = await boss.get_work(work_id)
    assert (item.status, item.attempt) == ("ready", 0)
    assert "not granted 'corporate' work" in (item.waits_for or "")
    rules = {each.handle: each.rule for each in (await boss.explain_work(work_id)).agents}
    assert set(rules) == {"approved", "eve"}
    assert rules["approved"] == Exclusion.GRANT
    assert rules["eve"] in (Exclusion.GRANT, Exclusion.STATUS)  # it sends no heartbeats, so it may be offline by now

    await boss.grant_access(boundaries=["corporate"], agent_types=["copilot-cli"])
    assert (await boss.get_work(work_id)).status == "ready"  # granted, and not registered for it yet
    assert not parked.done()
    await try_everything(intruder, work_id)
    await approved.register_agent("copilot-cli", capabilities=["python"], boundaries=["corporate"])
    async with asyncio.timeout(SOON):
        [taken] = (await parked).work
    assert taken.id == work_id
    assert (await approved.complete_work(work_id, "merged")).status == "done"


async def test_a_grant_reaches_who_is_registered_and_waits_already(workshop: Workshop, boss: Agent) -> None:
    await boss.grant_access(boundaries=["corporate"], agent_types=["copilot-cli"], capabilities=["cobol"])
    approved = await workshop.agent(
        "approved", agent_type="copilot-cli", capabilities=["python"], boundaries=["corporate", "personal"]
    )
    work_id = await offered(boss)
    parked = asyncio.create_task(approved.claim_work(wait_seconds=50))
    await eventually(lambda: _polls(boss, work_id, "approved"))

    grant = await boss.grant_access(boundaries=["corporate"], agent_types=["copilot-cli"], capabilities=["python"])

    async with asyncio.timeout(SOON):
        assert [item.id for item in (await parked).work] == [work_id]
    await approved.release_work(work_id)
    await boss.revoke_grant(grant.id)
    assert (await approved.claim_work()).work == ()


async def _polls(boss: Agent, work_id: str, handle: str) -> bool:
    return any(each.handle == handle and each.polling for each in (await boss.explain_work(work_id)).agents)
