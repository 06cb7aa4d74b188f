"""Pitfalls 20 to 28, of work: each test is named after what happens instead."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loominal.fabric.operations.channels import SendMessage
from loominal.fabric.operations.work import BroadcastWorkOffer
from loominal.model.errors import BrokerUnavailable, HubUnavailable
from tests.acceptance.warps import Json, Warp, warp
from tests.freezing import freeze
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.patience import SOON


@pytest.fixture(scope="module")
def scale() -> float:
    """Long enough for a starved holder to keep its claims."""
    return 0.3


@pytest.fixture
async def bob(fabric: Fabric, project: str) -> AsyncIterator[Warp]:
    async with warp(fabric.home, project=project, client="codex-mcp-client", modern=True) as started:
        await started.tool("set_handle", handle="bob")
        await started.tool("register_agent", agentType="codex", capabilities=["go"], maxConcurrent=50)
        yield started


async def offered(offerer: Warp, **more: Json) -> str:
    """Return the id of an item that was offered."""
    offer = await offerer.tool("broadcast_work_offer", **{"description": "do", "capabilities": ["go"]} | more)
    assert "id" in offer, offer
    return str(offer["id"])


async def claimed(agent: Warp) -> Json:
    """Return the one item that the agent gets."""
    [item] = (await agent.tool("claim_work", waitSeconds=SOON))["work"]
    return item


async def status_of(asker: Warp, item: str) -> str:
    return str((await asker.tool("get_work", workId=item))["status"])


async def code(asked: Warp, tool: str, **arguments: Json) -> str:
    """Return the code that a tool refuses with, "" if it does not."""
    return str((await asked.tool(tool, **arguments)).get("error", {}).get("code", ""))


async def a_dead_letter(offerer: Warp, agent: Warp, **more: Json) -> str:
    item = await offered(offerer, **more)
    assert (await claimed(agent))["id"] == item
    assert (await agent.tool("fail_work", workId=item, error="no", retryable=False))["status"] == "dead"
    return item


@pytest.mark.pitfall(20)
async def test_a_claim_lives_with_its_claimer_who_finishes_fails_hands_back_or_leaves_it_to_another(
    ann: Warp, bob: Warp, fabric: Fabric, project: str
) -> None:
    item = await offered(ann)
    async with warp(fabric.home, project=project, client="gemini-cli-mcp-client") as eve:
        await eve.tool("join", capabilities=["go"])
        assert (await claimed(eve))["id"] == item
        eve.process.kill()
        await eve.ended()

    again = await claimed(bob)
    assert again["id"] == item
    assert (await bob.tool("report_progress", workId=item, percent=10))["percent"] == 10
    assert (await bob.tool("release_work", workId=item, reason="not now"))["status"] == "ready"
    back = await claimed(bob)
    assert (back["id"], back["attempt"]) == (item, again["attempt"])  # handing back counts no attempt
    assert (await bob.tool("fail_work", workId=item, error="no"))["status"] == "scheduled"
    assert (await claimed(bob))["attempt"] == again["attempt"] + 1
    assert (await bob.tool("complete_work", workId=item, summary="did"))["status"] == "done"


@pytest.mark.pitfall(21)
async def test_what_cannot_be_done_becomes_a_dead_letter_that_says_why(ann: Warp, bob: Warp) -> None:
    refused = await a_dead_letter(ann, bob)
    child = await offered(ann, dependsOn=[refused])
    late = await offered(ann, capabilities=["nobody-can"], deadline="0.2s")
    tried = await offered(ann, maxAttempts=2)
    for _ in range(2):
        assert (await claimed(bob))["id"] == tried
        await bob.tool("fail_work", workId=tried, error="broken")

    async def all_dead() -> bool:
        return bool((await ann.tool("list_dead_letter_items"))["total"] == 4)

    await eventually(all_dead, SOON)
    letters = {each["id"]: each for each in (await ann.tool("list_dead_letter_items"))["items"]}
    assert {item: letter["reason"] for item, letter in letters.items()} == {
        refused: "not_retryable",
        child: "dependency_failed",
        late: "expired",
        tried: "max_attempts",
    }
    assert [each["message"] for each in letters[tried]["errors"]] == ["broken"] * 2
    assert letters[tried]["attempts"] == 2


@pytest.mark.pitfall(22)
async def test_the_most_urgent_goes_first_and_what_is_too_late_to_nobody(ann: Warp, bob: Warp) -> None:
    late = await offered(ann, priority=10, deadline="0.3s")
    by_priority = {priority: await offered(ann, priority=priority) for priority in (1, 10, 5)}
    dated = await offered(ann, priority=9, deadline="2h")

    async def is_too_late() -> bool:
        return await status_of(ann, late) == "dead"

    await eventually(is_too_late, SOON)
    got = [await claimed(bob) for _ in range(4)]
    assert [each["id"] for each in got] == [by_priority[10], dated, by_priority[5], by_priority[1]]
    assert got[1]["deadline"].endswith("Z")
    assert (await bob.tool("claim_work"))["work"] == []


@pytest.mark.pitfall(23)
async def test_nothing_of_a_project_is_seen_or_done_from_another_and_a_boundary_holds(
    ann: Warp, bob: Warp, fabric: Fabric, project: str
) -> None:
    dead = await a_dead_letter(ann, bob, taskId="dead")
    item = await offered(ann, taskId="mine")
    said = (await ann.tool("send_message", channel="general", message="x"))["id"]
    me = (await ann.tool("get_my_handle"))["guid"]
    arguments: Json
    async with warp(fabric.home, project=f"{project}-b", client="codex-mcp-client") as eve:
        await eve.tool("join", handle="eve", capabilities=["go", "python"])
        assert (await eve.tool("list_work"))["total"] == (await eve.tool("list_dead_letter_items"))["total"] == 0
        assert (await eve.tool("claim_work", waitSeconds=1))["work"] == []
        assert (await eve.tool("read_messages", channel="general"))["messages"] == []
        assert [each["handle"] for each in (await eve.tool("discover_agents", scope="mine"))["agents"]] == ["eve"]
        for tool, arguments in (
            *((tool, {"workId": name}) for tool in ("get_work", "cancel_work") for name in (item, "mine", dead)),
            ("complete_work", {"workId": item, "summary": "x"}),
            ("report_progress", {"workId": item}),
            ("release_work", {"workId": item}),
            ("fail_work", {"workId": item, "error": "x"}),
            ("retry_dead_letter_item", {"itemId": dead}),
            ("discard_dead_letter_item", {"itemId": dead}),
            ("broadcast_work_offer", {"description": "x", "dependsOn": [item]}),
            ("broadcast_work_offer", {"description": "x", "assignTo": me}),
            ("read_messages", {"channel": "general", "id": said}),
            ("send_message", {"channel": "general", "message": "x", "replyTo": said}),
            ("get_agent_info", {"guid": me}),
            ("send_direct_message", {"recipientGuid": "ann", "message": "x"}),
        ):
            assert await code(eve, tool, **arguments) == "not_found", (tool, arguments)
        assert await offered(eve, taskId="mine") != item
    async with warp(fabric.home, project=project, client="gemini-cli-mcp-client") as open_only:
        await open_only.tool("join", handle="open", capabilities=["go"], boundaries=["open-source"])
        assert (await open_only.tool("claim_work", waitSeconds=1))["work"] == []
    assert (await claimed(bob))["id"] == item
    assert await status_of(ann, dead) == "dead"


@pytest.mark.pitfall(24)
async def test_a_retried_item_is_one_item_whoever_retries_whatever_dies_and_however_soon_it_fails_again(
    ann: Warp, bob: Warp, fabric: Fabric, project: str
) -> None:
    item = await a_dead_letter(ann, bob)
    assert await told(ann) == "dead"
    async with fabric.connect("op", agent_type="codex", project=project, operator=True) as operator:
        mine = asyncio.gather(*(ann.tool("retry_dead_letter_item", itemId=item) for _ in range(5)))
        its = await asyncio.gather(*(operator.retry_dead_letter_item(item) for _ in range(5)), return_exceptions=True)
        answers = [each.get("status") for each in await mine] + [getattr(each, "status", None) for each in its]
        assert set(answers) - {None} == {"ready"}
        assert (await ann.tool("list_work"))["total"] == 1
        assert (await claimed(bob))["id"] == item
        assert (await bob.tool("claim_work"))["work"] == []
        assert (await bob.tool("fail_work", workId=item, error="again", retryable=False))["status"] == "dead"
        assert (await ann.tool("list_dead_letter_items"))["total"] == 1
        assert await told(ann) == "dead"

        retrying = asyncio.gather(
            *(operator.retry_dead_letter_item(item) for _ in range(3)),
            operator.discard_dead_letter_item(item),
            return_exceptions=True,
        )
        await asyncio.sleep(0)
        fabric.kill_weft()
        await asyncio.to_thread(fabric.start_weft)
        outcomes = await retrying
        assert not all(isinstance(each, BaseException) for each in outcomes), outcomes
        assert (await ann.tool("list_work"))["total"] == 1
        if await status_of(ann, item) == "ready":
            assert (await claimed(bob))["id"] == item
            assert (await bob.tool("fail_work", workId=item, error="once more", retryable=False))["status"] == "dead"
            await ann.tool("discard_dead_letter_item", itemId=item)
    assert await status_of(ann, item) == "discarded"
    assert await code(ann, "retry_dead_letter_item", itemId=item) == "illegal_move"


async def told(offerer: Warp) -> str:
    """Return the end of an item that the offerer is told of next."""
    [message] = (await offerer.tool("read_direct_messages", waitSeconds=SOON, limit=1))["messages"]
    return str(message["metadata"]["status"])


@pytest.mark.pitfall(25)
async def test_totals_are_exact_filters_hold_and_a_full_last_page_is_the_last(
    ann: Warp, bob: Warp, fabric: Fabric, project: str
) -> None:
    for number in range(4):
        await a_dead_letter(ann, bob, taskId=f"dead-{number}")
        await offered(ann, taskId=f"open-{number}", boundary="open-source", capabilities=["rust"])
        await ann.tool("send_message", channel="general", message="x")
        await ann.tool("send_direct_message", recipientGuid="bob", message="x", messageType="note")
        await ann.tool("send_direct_message", recipientGuid="bob", message="x")
    async with contextlib.AsyncExitStack() as stack:
        for number in range(2):
            entered = fabric.connect(f"c-{number}", project=project, capabilities=["rust"], agent_type="cat")
            await stack.enter_async_context(entered)
        for asker, tool, entries, arguments, total in (
            (ann, "discover_agents", "agents", {"includeOffline": True}, 4),
            (ann, "discover_agents", "agents", {"includeOffline": True, "agentType": "cat"}, 2),
            (ann, "discover_agents", "agents", {"includeOffline": True, "capability": "rust"}, 2),
            (ann, "list_work", "items", {}, 8),
            (ann, "list_work", "items", {"mine": True}, 8),
            (bob, "list_work", "items", {"mine": True}, 0),
            (ann, "list_work", "items", {"status": "dead"}, 4),
            (ann, "list_work", "items", {"status": "ready"}, 4),
            (ann, "list_work", "items", {"status": "claimed"}, 0),
            (ann, "list_work", "items", {"boundary": "open-source"}, 4),
            (ann, "list_work", "items", {"capability": "rust"}, 4),
            (ann, "list_work", "items", {"capability": "rust", "status": "dead"}, 0),
            (ann, "list_dead_letter_items", "items", {}, 4),
            (ann, "list_dead_letter_items", "items", {"capability": "go"}, 4),
            (ann, "list_dead_letter_items", "items", {"capability": "rust"}, 0),
            (ann, "read_messages", "messages", {"channel": "general"}, 4),
            (ann, "read_messages", "messages", {"channel": "general", "since": "1h"}, 4),
            (ann, "read_messages", "messages", {"channel": "updates"}, 0),
            (bob, "read_direct_messages", "messages", {"unreadOnly": False}, 8),
            (bob, "read_direct_messages", "messages", {"unreadOnly": False, "messageType": "note"}, 4),
            (bob, "read_direct_messages", "messages", {"unreadOnly": False, "senderGuid": "ann"}, 8),
        ):
            for limit in (1, 2, 3, 4, 8):
                sizes, page = [], await asker.tool(tool, limit=limit, **arguments)
                while True:
                    sizes.append(len(page[entries]))
                    assert page.get("total", total) == total, (tool, arguments, page["total"])
                    if "nextCursor" not in page:
                        break
                    page = await asker.tool(tool, limit=limit, cursor=page["nextCursor"], **arguments)
                whole, rest = divmod(total, limit)
                assert sizes == ([limit] * whole + [rest] * bool(rest) or [0]), (tool, arguments, limit)


def run(home: Path, project: str, *command: str) -> Json:
    """Return what a command prints as JSON."""
    environment = os.environ | {"LOOMINAL_HOME": str(home), "LOOMINAL_PROJECT_ID": project}
    done = subprocess.run(
        [sys.executable, "-m", "loominal.shuttle.main", "--json", *command], env=environment, capture_output=True,
        stdin=subprocess.DEVNULL, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.pitfall(26)
async def test_work_is_the_same_work_whoever_submits_it_and_whoever_looks(
    ann: Warp, bob: Warp, fabric: Fabric, project: str
) -> None:
    by_person = (await asyncio.to_thread(run, fabric.home, project, "submit", "do", "--capability", "go"))["id"]
    by_agent = await offered(ann)
    shown = await asyncio.to_thread(run, fabric.home, project, "work", "list")
    assert {each["id"] for each in shown["items"]} == {by_person, by_agent}

    for item in (by_person, by_agent):
        assert (await claimed(bob))["id"] == item
        await bob.tool("complete_work", workId=item, summary="did")
        assert (await asyncio.to_thread(run, fabric.home, project, "work", "show", item))["status"] == "done"


@pytest.mark.pitfall(27)
async def test_an_offer_that_landed_after_its_asker_gave_up_and_the_same_again_are_one_item(
    ann: Warp, fabric: Fabric, project: str
) -> None:
    offer = BroadcastWorkOffer(description="from a program")
    async with fabric.connect("cat", project=project, agent_type="codex") as cat:
        assert fabric.weft is not None
        freeze(fabric.weft.pid)
        try:
            for _ in range(2):  # it is the second asker's own deed that the third finds
                with pytest.raises((BrokerUnavailable, HubUnavailable)):
                    await cat.call("broadcast_work_offer", offer, timeout_seconds=1)
            with pytest.raises((BrokerUnavailable, HubUnavailable)):
                await cat.call("send_message", SendMessage(channel="general", message="x"), timeout_seconds=1)
            for task in ({}, {"taskId": "t"}):
                asked = ann.ask(
                    "tools/call", name="broadcast_work_offer", arguments={"description": "by a model"} | task
                )
                await ann.call("ping")
                ann.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": asked}})
            await ann.call("ping")
        finally:
            fabric.weft.send_signal(signal.SIGCONT)
        first = await cat.broadcast_work_offer("from a program")
        await cat.send_message("general", "x")
        same: Json = {"description": "by a model", "priority": 5, "timeoutSeconds": 14400, "boundary": "personal"}
        mine = [await ann.tool("broadcast_work_offer", **same, **task) for task in ({}, {"taskId": "t"})]

        listed = {each["id"] for each in (await ann.tool("list_work"))["items"]}
        assert listed == {first.id, *(each["id"] for each in mine)}
        assert len(listed) == 3
        assert len((await ann.tool("read_messages", channel="general"))["messages"]) == 1
        assert (await cat.broadcast_work_offer("from a program")).id != first.id  # that one was answered


@pytest.mark.pitfall(28)
async def test_only_the_holder_ends_an_item_and_only_while_it_holds_it(
    ann: Warp, bob: Warp, fabric: Fabric, project: str
) -> None:
    async with warp(fabric.home, project=project, client="gemini-cli-mcp-client") as eve:
        await eve.tool("join", handle="eve", capabilities=["go"])
        dead = await a_dead_letter(ann, bob)
        discarded = await a_dead_letter(ann, bob)
        await ann.tool("discard_dead_letter_item", itemId=discarded)
        done = await offered(ann)
        await claimed(bob)
        await bob.tool("complete_work", workId=done, summary="did")
        held = await offered(ann)
        assert (await claimed(bob))["id"] == held
        cancelled = await offered(ann, capabilities=["nobody-can"])
        await ann.tool("cancel_work", workId=cancelled)
        ready = await offered(ann, capabilities=["nobody-can"])
        items = {
            "dead": dead,
            "discarded": discarded,
            "done": done,
            "claimed": held,
            "cancelled": cancelled,
            "ready": ready,
            "blocked": await offered(ann, dependsOn=[ready]),
            "scheduled": await offered(ann, notBefore="1h"),
        }
        ends = {
            "complete_work": {"summary": "x"},
            "fail_work": {"error": "x"},
            "release_work": {},
            "report_progress": {},
        }
        for status, item in items.items():
            for tool, more in ends.items():
                assert await code(eve, tool, workId=item, **more) == "not_owner", (status, tool)
                assert await code(ann, tool, workId=item, **more) == "not_owner", (status, tool)
            assert await status_of(ann, item) == status
        for item in (dead, discarded, done):
            for tool, more in ends.items():
                again = {"summary": "other"} if tool == "complete_work" else more
                assert await code(bob, tool, workId=item, **again) in ("illegal_move", "lease_lost"), tool
        assert {await status_of(ann, item): item for item in items.values()} == items

        await bob.tool("release_work", workId=held)
        assert (await claimed(eve))["id"] == held
        for tool, more in (ends | {"release_work": {"reason": "other"}}).items():  # the same one again is that one
            assert await code(bob, tool, workId=held, **more) in ("lease_lost", "not_owner", "illegal_move"), tool
        assert (await eve.tool("complete_work", workId=held, summary="did"))["status"] == "done"
        ended = await ann.tool("get_work", workId=held)
        assert [each["by"] for each in ended["history"] if each["move"] == "complete"] == ["eve"]
        assert ended["summary"] == "did"
