"""An operator ends an agent: its client's model hears of it in every way there is, and then that it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from loominal.fabric.client.agent import Agent
from tests.acceptance.test_warp_hooks import ended, says, start_hook
from tests.acceptance.test_warp_waking import CHANNEL, INBOX, UPDATED
from tests.acceptance.warps import Warp, warp
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.patience import SOON

SESSION = "5e551011-0000-4000-8000-000000000001"  # the one of `says` and `start_hook`
REASON = "approve everything"
TOLD = "an operator ends this agent by "
OVER = "Loominal: an operator has ended this agent: its tools work no more; tell your user and stop."


@pytest.fixture
async def boss(fabric: Fabric, project: str) -> AsyncIterator[Agent]:
    async with fabric.connect("boss", project=project, operator=True, capabilities=["boss"]) as boss:
        yield boss


@pytest.fixture
async def ann(fabric: Fabric, project: str) -> AsyncIterator[Warp]:
    async with warp(fabric.home, "--channel", project=project, CLAUDE_CODE_SESSION_ID=SESSION) as started:
        await started.tool("join", handle="ann", capabilities=["python"])
        yield started


async def test_an_agent_that_is_to_end_is_told_in_every_way_and_finishes_what_it_holds(
    ann: Warp, boss: Agent, fabric: Fabric
) -> None:
    held = (await boss.broadcast_work_offer("held", capabilities=["python"])).id
    await ann.tool("claim_work", waitSeconds=SOON)
    await ann.call("resources/subscribe", uri=INBOX)
    hook = await start_hook(fabric.home, "wait")
    waiting = ann.ask("tools/call", name="wait_for_events", arguments={"waitSeconds": 50, "kinds": ["message"]})

    await boss.shutdown_agent("ann", grace_period_seconds=600, reason=REASON)

    answer = (await ann.answer(waiting))["result"]
    assert TOLD in answer["content"][0]["text"]
    assert TOLD in answer["structuredContent"]["attention"]
    code, said = await ended(hook)
    assert (code, TOLD in said, REASON in said) == (2, True, False)
    assert TOLD in (await says(fabric.home, "prompt"))["hookSpecificOutput"]["additionalContext"]
    assert TOLD in (await says(fabric.home, "stop"))["reason"]
    assert await says(fabric.home, "stop") is None
    await ann.until(lambda: {UPDATED, CHANNEL} <= {note["method"] for note in ann.notes})
    [pushed] = [note["params"] for note in ann.notes if note["method"] == CHANNEL]
    assert (TOLD in pushed["content"], pushed["meta"]["ending"]) == (True, "1")
    assert TOLD in (await ann.call("resources/read", uri=INBOX))["contents"][0]["text"]
    nothing = await ann.tool("claim_work", waitSeconds=50)
    assert (nothing["work"], "attention" in nothing, "drained" in nothing["note"]) == ([], False, True)
    assert (await ann.tool("complete_work", workId=held, summary="done"))["status"] == "done"


async def test_after_the_grace_every_tool_says_so_and_warp_stays_until_its_client_goes(
    ann: Warp, boss: Agent, fabric: Fabric
) -> None:
    held = (await boss.broadcast_work_offer("held", capabilities=["python"])).id
    await ann.tool("claim_work", waitSeconds=SOON)
    waiting = ann.ask("tools/call", name="claim_work", arguments={"waitSeconds": 50})

    await boss.shutdown_agent("ann", graceful=False, reason="enough")

    await ann.answer(waiting)

    async def is_over() -> bool:
        told = await ann.tool("list_channels")
        return bool("an operator has ended this agent (enough)" in told.get("error", {}).get("message", ""))

    await eventually(is_over, SOON)
    late = {"complete_work": {"workId": held, "summary": "too late"}, "claim_work": {}, "wait_for_events": {}}
    for tool, arguments in late.items():
        assert (await ann.tool(tool, **arguments))["error"]["code"] == "forbidden"
    assert (await says(fabric.home, "stop"))["reason"] == OVER

    async def is_free() -> bool:
        return (await boss.get_work(held)).status == "ready"

    await eventually(is_free, SOON)
    assert await asyncio.wait_for(ann.leave(), SOON) == 0
