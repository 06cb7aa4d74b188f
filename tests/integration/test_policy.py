"""The project's policy: who may set it, what follows at once, and what is left when it cannot be read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import pytest

from loominal.broker import subjects
from loominal.broker.bucket import Bucket
from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.policy import BoundaryRule, SetPolicy
from loominal.model.errors import BoundaryRefused, Forbidden, HubUnavailable, IllegalMove, InvalidArgument
from loominal.model.policy import DEFAULT_POLICY
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.integration.intruder import Json, as_hub, intrude
from tests.integration.workshop import Workshop, claim
from tests.patience import SOON

ANYONE = BoundaryRule()


def only(*types: str) -> BoundaryRule:
    return BoundaryRule(agent_types=types)


async def operator(workshop: Workshop) -> Agent:
    return await workshop.agent("boss", capabilities=[], agent_type="person", operator=True, client="boss")


async def waits_for(agent: Agent, work_id: str) -> str:
    [item] = [each for each in (await agent.list_work(limit=100)).items if each.id == work_id]
    return item.waits_for or ""


async def test_a_new_project_has_the_default_policy_and_everybody_may_read_it(workshop: Workshop) -> None:
    agent = await workshop.agent("agent")

    policy = await agent.get_policy()

    assert (policy.version, policy.cross_project, policy.unreadable) == (0, True, False)
    assert policy.boundaries == DEFAULT_POLICY.boundaries


async def test_an_operator_replaces_the_whole_policy(workshop: Workshop) -> None:
    boss = await operator(workshop)

    first = await boss.set_policy({"Secret ": only("Codex", "codex"), "personal": {"spinUp": False}})
    second = await boss.set_policy({"personal": ANYONE}, cross_project=False, stalled_seconds=60, version=first.version)

    assert {name: rule.agent_types for name, rule in first.boundaries.items()} == {"secret": ("codex",), "personal": ()}
    assert first.boundaries["personal"].spin_up is False
    assert second == await boss.get_policy()
    assert (list(second.boundaries), second.cross_project, second.stalled_seconds) == (["personal"], False, 60)
    assert second.version > first.version > 0
    with pytest.raises(BoundaryRefused, match="no boundary"):
        await boss.broadcast_work_offer("x", boundary="secret")
    with pytest.raises(IllegalMove, match=f"at version {second.version}"):
        await boss.set_policy({}, version=first.version)


async def test_targets_that_no_target_is_called_are_told_until_there_is_one(workshop: Workshop) -> None:
    boss = await operator(workshop)
    here = await boss.add_target(
        "here", agent_type="exec", capabilities=["go"], boundaries=["personal"], mechanism="local",
        config={"command": ["agent"]},
    )  # fmt: skip
    rules = {"personal": BoundaryRule(targets=("here", "there")), "open-source": BoundaryRule(targets=(here.id,))}

    assert (await boss.set_policy(rules)).unknown_targets == ("there",)
    await boss.update_target("here", name="there")
    assert (await boss.get_policy()).unknown_targets == ("here",)


async def test_what_makes_no_policy_is_refused(workshop: Workshop) -> None:
    boss, agent = await operator(workshop), await workshop.agent("agent")

    wrongs: list[Json] = [
        {"boundaries": {"a": {"agentType": ["codex"]}}},
        {"boundaries": {"a": {}, "A": {}}},
        {"boundaries": {"": {}}},
        {"boundaries": {"a": {"preferred": ["x\ny"]}}},
        {"boundaries": {f"b{n}": {} for n in range(101)}},
        {"boundaries": {"a": {"targets": [f"t{n}" for n in range(101)]}}},
        {"boundaries": {f"b{n}": {"agentTypes": [f"{m:02}" + "x" * 90 for m in range(100)]} for n in range(10)}},
        {"boundaries": {}, "stalled_seconds": 0},
    ]
    for wrong in wrongs:
        with pytest.raises(InvalidArgument):
            await boss.set_policy(**wrong)
    with pytest.raises(Forbidden):
        await agent.set_policy({"personal": ANYONE})
    assert (await agent.get_policy()).version == 0


async def test_of_many_who_change_the_same_version_one_does(workshop: Workshop) -> None:
    boss = await operator(workshop)
    racers = [boss.set_policy({f"b{n}": ANYONE}, version=0) for n in range(8)]

    results = await asyncio.gather(*racers, return_exceptions=True)

    [won] = [each for each in results if not isinstance(each, BaseException)]
    assert {type(each) for each in results if isinstance(each, BaseException)} == {IllegalMove}
    assert await boss.get_policy() == won


async def test_the_same_change_again_is_one_change_and_undoes_no_later_one(workshop: Workshop) -> None:
    boss = await operator(workshop)
    change = SetPolicy(boundaries={"first": ANYONE})

    once = await boss.call("set_policy", change, op="change-1")
    again = await boss.call("set_policy", change, op="change-1")
    later = await boss.set_policy({"second": ANYONE})
    late = await boss.call("set_policy", SetPolicy(boundaries={"first": ANYONE}, version=0), op="change-1")

    assert once == again
    assert late == later == await boss.get_policy()


async def test_a_change_holds_at_once_for_who_waits_for_work_and_for_what_lists_say(workshop: Workshop) -> None:
    boss, agent = await operator(workshop), await workshop.agent("agent", agent_type="codex")
    await boss.set_policy({"personal": only("gemini")})
    item = await boss.broadcast_work_offer("x", capabilities=["python"])
    assert item.eligible == 0
    assert "policy" in await waits_for(boss, item.id)
    polling = asyncio.create_task(claim(agent, 40))
    await asyncio.sleep(0.2)  # it is parked, or will be: either way it must get the item

    await boss.set_policy({"personal": only("codex")})

    async with asyncio.timeout(SOON):
        assert (await polling).id == item.id


async def test_work_of_a_boundary_that_is_no_more_waits_and_says_so_until_it_is_again(workshop: Workshop) -> None:
    boss, agent = await operator(workshop), await workshop.agent("agent")
    item = await boss.broadcast_work_offer("x", capabilities=["python"], boundary="open-source")

    await boss.set_policy({"personal": ANYONE})

    assert "no boundary 'open-source'" in await waits_for(boss, item.id)
    assert (await agent.claim_work()).work == ()
    await agent.join(agent_type="codex")  # with what is left of its boundaries
    await boss.set_policy({"personal": ANYONE, "open-source": ANYONE})
    await agent.register_agent("codex", capabilities=["python"])
    assert (await claim(agent)).id == item.id


@asynccontextmanager
async def _stored(fabric: Fabric, project: str, value: bytes) -> AsyncIterator[None]:
    async with as_hub(fabric, project) as broker:
        bucket = Bucket(broker, subjects.registry_bucket(project))
        old = await bucket.get("policy")
        await bucket.write("policy", value, revision=old.revision if old else 0)
    yield


@pytest.mark.parametrize("garbage", [b"{", b'{"v":1}', b'{"v":1,"boundaries":{"personal":{"agentTypes":"any"}}}'])
async def test_a_policy_that_cannot_be_read_lets_nobody_take_anything_until_an_operator_mends_it(
    fabric: Fabric, workshop: Workshop, garbage: bytes
) -> None:
    boss, agent = await operator(workshop), await workshop.agent("agent")
    item = await boss.broadcast_work_offer("x", capabilities=["python"])

    async with _stored(fabric, workshop.project, garbage):
        await eventually(lambda: _is_unreadable(agent))

    assert (await agent.claim_work()).work == ()
    assert "cannot be read" in await waits_for(boss, item.id)
    with pytest.raises(BoundaryRefused, match="cannot be read"):
        await boss.broadcast_work_offer("y")
    await agent.send_message("general", "everything else goes on")
    await boss.set_policy({"personal": ANYONE})
    assert (await claim(agent)).id == item.id


async def _is_unreadable(agent: Agent) -> bool:
    return (await agent.get_policy()).unreadable


async def test_policy_survives_the_death_of_weft_and_a_corrupt_one_stays_closed(private_fabric: Fabric) -> None:
    private_fabric.start()
    project = f"p-{uuid4().hex[:8]}"
    async with (
        private_fabric.connect("boss", project=project, agent_type="person", operator=True, client="boss") as boss,
        private_fabric.connect("agent", project=project, capabilities=["python"]) as agent,
    ):
        change = SetPolicy(boundaries={"personal": ANYONE, "secret": only("codex")})
        made = await boss.call("set_policy", change, op="change-1")
        private_fabric.kill_weft()
        await asyncio.to_thread(private_fabric.start_weft)
        assert await boss.get_policy() == made
        assert await boss.call("set_policy", change, op="change-1") == made

        item = await boss.broadcast_work_offer("x", capabilities=["python"])
        private_fabric.kill_weft()
        async with _stored(private_fabric, project, b"{"):
            await asyncio.to_thread(private_fabric.start_weft)
        assert (await agent.get_policy()).unreadable
        assert (await agent.claim_work(wait_seconds=1)).work == ()
        mended = await boss.set_policy({"personal": ANYONE})
        assert (await claim(agent)).id == item.id
        assert await agent.get_policy() == mended


async def test_a_second_weft_that_follows_warm_knows_the_policy_when_it_takes_over(private_fabric: Fabric) -> None:
    private_fabric.start()
    project = f"p-{uuid4().hex[:8]}"
    async with private_fabric.connect(
        "boss", project=project, agent_type="person", operator=True, client="boss"
    ) as boss:
        await boss.set_policy({"personal": ANYONE})
        private_fabric.start_another("second")
        made = await boss.set_policy({"personal": only("codex"), "secret": ANYONE})
        log = private_fabric.home / "machines" / "second" / "weft.log"
        await eventually(lambda: f"project {project} is followed" in log.read_text(), SOON)

        private_fabric.kill_weft()

        async def is_known() -> bool:
            with suppress(HubUnavailable):
                return await boss.get_policy() == made
            return False

        await eventually(is_known, SOON)


async def test_who_is_no_operator_changes_no_policy_with_a_request_of_its_own_making(
    fabric: Fabric, workshop: Workshop
) -> None:
    await workshop.agent("somebody")
    async with intrude(fabric, workshop.project) as intruder:
        await intruder.register("python")
        wanted: Json = {"boundaries": {"corporate": {}}}
        assert await intruder.code("set_policy", wanted) == Forbidden.code
        assert await intruder.code("set_policy", wanted, role="operator") in (Forbidden.code, InvalidArgument.code)
        assert (await intruder.ask("get_policy"))["ok"]["version"] == 0
