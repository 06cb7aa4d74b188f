"""Why an item waits, agent by agent."""

from __future__ import annotations

import asyncio

import pytest

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.work import Explained, ExplainWork
from loominal.fabric.protocol import encode_answer
from loominal.model.errors import NotFound
from loominal.model.routing import HEAD_START_SECONDS, Exclusion
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.integration.intruder import Json
from tests.integration.workshop import Workshop, claim
from tests.patience import SOON


@pytest.fixture
def fabric(fast_fabric: Fabric) -> Fabric:
    """One of which leases, graces and backoffs are soon over."""
    return fast_fabric


async def offered(boss: Agent, **more: object) -> str:
    return (await boss.broadcast_work_offer("do it", capabilities=["gpu"], **more)).id  # type: ignore[arg-type]


async def test_each_agent_is_told_with_the_first_rule_that_excludes_it(fabric: Fabric, workshop: Workshop) -> None:
    boss = await workshop.agent("boss", capabilities=[], agent_type="person", operator=True, client="boss")
    gpu: Json = {"capabilities": ["gpu"], "max_concurrent": 1}
    full = await workshop.agent("full", **gpu)
    first = await offered(boss)
    assert (await claim(full)).id == first
    await workshop.agent("free", **gpu)
    await workshop.agent("busy", **gpu)
    other = await workshop.agent("other", capabilities=["python"])
    elsewhere = await workshop.agent("elsewhere", boundaries=["open-source"], **gpu)
    with fabric.spawn("away", project=workshop.project, **gpu) as away:
        await away.ready()
    work_id = await offered(boss)

    async def away_is_offline() -> bool:
        told = {each.handle: each for each in (await boss.explain_work(work_id)).agents}
        return told["away"].reason == "offline"

    await eventually(away_is_offline, SOON)
    explained = await boss.explain_work(work_id)

    assert [(each.handle, each.rule, each.reason) for each in explained.agents] == [
        ("busy", None, ""),
        ("free", None, ""),
        ("full", Exclusion.ROOM, "without room"),
        ("other", Exclusion.CAPABILITY, "not registered for 'gpu'"),
        ("elsewhere", Exclusion.BOUNDARY, "not registered for the boundary 'personal'"),
        ("away", Exclusion.STATUS, "offline"),
    ]
    assert [each.handle for each in explained.agents if each.eligible] == ["busy", "free"]
    assert (explained.status, explained.boundary, explained.more) == ("ready", "personal", 0)
    assert explained.waits_for == "2 agents could take it and will when one asks for work."
    assert (await boss.explain_work(first)).agents == ()
    with pytest.raises(NotFound):
        await boss.explain_work("w_never")
    assert (await other.explain_work(work_id)).agents == explained.agents
    assert elsewhere.guid == explained.agents[4].guid


async def test_a_head_start_is_told_with_the_seconds_that_are_left(workshop: Workshop) -> None:
    boss, plain = await workshop.agent("boss", capabilities=[]), await workshop.agent("plain", capabilities=["gpu"])
    chosen = await workshop.agent("chosen", agent_type="claude-code", capabilities=["gpu"])
    work_id = await offered(boss)
    polling = asyncio.create_task(plain.claim_work(wait_seconds=SOON))

    async def is_polling() -> bool:
        told = {each.handle: each for each in (await boss.explain_work(work_id)).agents}
        return told["plain"].polling

    await eventually(is_polling)
    told = {each.handle: each for each in (await boss.explain_work(work_id)).agents}

    assert told["chosen"].eligible
    assert told["plain"].rule is Exclusion.HEAD_START
    assert 0 < (told["plain"].seconds or 0) <= HEAD_START_SECONDS
    await chosen.deregister_agent()
    async with asyncio.timeout(SOON):
        [item] = (await polling).work
    assert item.id == work_id


async def test_assigned_work_names_the_one_it_waits_for(workshop: Workshop) -> None:
    boss, one = await workshop.agent("boss", capabilities=[]), await workshop.agent("one", capabilities=[])
    await workshop.agent("two", capabilities=["gpu"])
    work_id = await offered(boss, assign_to="one")

    explained = await boss.explain_work(work_id)

    assert {each.handle: each.rule for each in explained.agents} == {
        "one": Exclusion.CAPABILITY,
        "two": Exclusion.ASSIGNED,
        "boss": Exclusion.ASSIGNED,
    }
    assert explained.waits_for == "The agent that it is assigned to is not registered for 'gpu'."
    await one.deregister_agent()
    assert (await boss.explain_work(work_id)).waits_for == "The agent that it is assigned to is not online."


async def test_hidden_agents_are_counted_and_not_named_and_an_answer_within_a_limit_says_how_many_more(
    workshop: Workshop,
) -> None:
    boss = await workshop.agent("boss", capabilities=[])
    for number in range(60):
        visibility = "private" if number % 3 == 0 else "project-only"
        await workshop.agent(f"agent-{number:02}-{'x' * 40}", capabilities=["gpu"], visibility=visibility)
    work_id = await offered(boss)

    whole = await boss.explain_work(work_id)
    short = await boss.call("explain_work", ExplainWork(work_id=work_id), limit_bytes=5000)

    assert (len(whole.agents), whole.more) == (41, 20)  # boss is an agent, too
    assert isinstance(short, Explained)
    assert len(encode_answer(short)) <= 5000
    assert len(short.agents) + short.more == 61
    assert 0 < len(short.agents) < 41


async def test_who_may_not_read_an_item_learns_nothing_of_it(workshop: Workshop) -> None:
    boss, other = await workshop.agent("boss", capabilities=[]), await workshop.agent("other")
    work_id = await offered(boss, boundary="corporate")

    with pytest.raises(NotFound):
        await other.explain_work(work_id)
    assert {each.rule for each in (await boss.explain_work(work_id)).agents} == {Exclusion.GRANT}
