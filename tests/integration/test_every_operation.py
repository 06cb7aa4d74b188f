"""Every tool's operation once through the client: its answer has the contract's fields, also while there is nothing."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations import OPERATIONS
from loominal.fabric.operations.types import View
from loominal.fabric.protocol import plain
from loominal.model.errors import NotRegistered
from tests.integration.fabric import Fabric
from tests.integration.workshop import Workshop
from tests.patience import SOON

Json = Any  # Any: answers as they are on the wire

ITEM = "id taskId description capabilities boundary priority"
ANSWERS = {  # fields that are always there
    "set_handle": "handle guid",
    "get_my_handle": "handle guid projectId project registered",
    "join": "agent unread messages claims ready channels note",
    "list_channels": "channels",
    "send_message": "id channel timestamp",
    "read_messages": "messages senders",
    "register_agent": "guid handle agentType capabilities boundaries visibility hostname projectId",
    "discover_agents": "agents total",
    "get_agent_info": "guid handle agentType capabilities boundaries status hostname projectId currentTaskCount free"
    " currentWork lastSeen",
    "update_presence": "before after",
    "deregister_agent": "guid released",
    "send_direct_message": "id recipient receipt",
    "read_direct_messages": "messages unread notice",
    "broadcast_work_offer": "id taskId status duplicate eligible",
    "claim_work": "work",
    "report_progress": "workId percent cancelRequested",
    "complete_work": "workId status",
    "fail_work": "workId status nextAttemptAt",
    "release_work": "workId status",
    "list_work": "items total",
    "get_work": f"{ITEM} status result errors history truncated chars",
    "cancel_work": "workId status",
    "list_dead_letter_items": "items total",
    "retry_dead_letter_item": "id status",
    "discard_dead_letter_item": "id status",
    "wait_for_events": "events cursor unread ready waitedSeconds",
}


@pytest.fixture
def fabric(fast_fabric: Fabric) -> Fabric:
    """One of which leases, graces and backoffs are soon over."""
    return fast_fabric


class Wire:
    """Awaits an agent's answers and checks them; `asked` are the operations that were."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    async def __call__(self, operation: str, answer: Awaitable[View]) -> Json:
        told: Json = plain(await answer, entry=False)
        self.asked.add(operation)
        assert set(ANSWERS[operation].split()) <= set(told), (operation, told)
        return told


async def test_every_tool_answers_with_the_fields_of_the_contract(workshop: Workshop) -> None:
    boss = await workshop.agent("boss", agent_type="codex", max_concurrent=5, metadata={"model": "m"})
    me = await workshop.agent("first-handle", capabilities=None)
    ask = Wire()

    await identity(ask, me)
    await talk(ask, me, boss)
    await registry(ask, me, boss)
    await work(ask, me, boss)
    await dead_letters(ask, me, boss)

    assert ask.asked == {operation.name for operation in OPERATIONS.values() if operation.tool} == set(ANSWERS)


async def identity(ask: Wire, me: Agent) -> None:
    assert (await ask("set_handle", me.set_handle("me")))["guid"] == me.guid
    assert (await ask("get_my_handle", me.get_my_handle()))["registered"] is False
    with pytest.raises(NotRegistered):
        await me.claim_work()
    joined = await ask("join", me.join(agent_type="gemini", capabilities=["python"]))
    assert (joined["agent"]["handle"], joined["agent"]["agentType"]) == ("me", "gemini")
    assert (joined["unread"], joined["messages"], joined["claims"], joined["ready"]) == (0, [], [], [])
    names = {channel["name"] for channel in joined["channels"]}
    assert names == {"general", "updates", "roadmap", "parallel-work", "errors"}


async def talk(ask: Wire, me: Agent, boss: Agent) -> None:
    assert len((await ask("list_channels", me.list_channels()))["channels"]) == 5
    assert (await ask("read_messages", boss.read_messages("general")))["messages"] == []
    sent = await ask("send_message", me.send_message("general", "hello", importance="high", metadata={"k": 1}))
    [read] = (await ask("read_messages", boss.read_messages("general")))["messages"]
    assert (read["id"], read["handle"], read["message"], read["metadata"]) == (sent["id"], "me", "hello", {"k": 1})
    assert sent["timestamp"].endswith("Z")
    assert (await ask("read_direct_messages", me.read_direct_messages()))["messages"] == []
    sent = await ask("send_direct_message", boss.send_direct_message("me", "psst", ack_required=True))
    assert (sent["recipient"]["handle"], sent["receipt"]) == ("me", "stored")
    inbox = await ask("read_direct_messages", me.read_direct_messages(wait_seconds=SOON))
    assert [message["from"]["handle"] for message in inbox["messages"]] == ["boss"]
    assert inbox["notice"]
    events = await ask("wait_for_events", me.wait_for_events(kinds=["message", "work"], wait_seconds=0))
    assert events["ready"] == 0


async def registry(ask: Wire, me: Agent, boss: Agent) -> None:
    registered = await ask("register_agent", me.register_agent("gemini", capabilities=["Python"], max_concurrent=3))
    assert (registered["visibility"], registered["capabilities"]) == ("project-only", ["Python"])
    assert "corporate" not in registered["boundaries"]
    found = await ask("discover_agents", me.discover_agents(capability="python"))
    assert ({agent["handle"] for agent in found["agents"]}, found["total"]) == ({"me", "boss"}, 2)
    assert (await ask("discover_agents", me.discover_agents(capability="cobol")))["agents"] == []
    info = await ask("get_agent_info", me.get_agent_info("boss"))
    assert (info["metadata"], info["free"], info["status"]) == ({"model": "m"}, 5, "online")
    changed = await ask("update_presence", me.update_presence(status="busy", current_task_count=2))
    assert (changed["before"]["status"], changed["after"]["status"]) == ("online", "busy")
    await me.update_presence(status="online")


async def work(ask: Wire, me: Agent, boss: Agent) -> None:
    assert (await ask("list_work", me.list_work()))["items"] == []
    assert (await ask("claim_work", me.claim_work()))["work"] == []
    assert (await me.claim_work()).note
    offer = await ask("broadcast_work_offer", boss.broadcast_work_offer("d", required_capability="python", priority=9))
    assert (offer["status"], offer["duplicate"], offer["eligible"]) == ("ready", False, 2)
    [item] = (await ask("claim_work", me.claim_work()))["work"]
    # inside a list a field at its default is left out
    assert set(item) >= set(ITEM.split()) - {"contextData"} | {"attempt", "offeredBy", "timeoutAt"}
    work_id = item["id"]
    reported = await ask("report_progress", me.report_progress(work_id, percent=40, message="on it"))
    assert (reported["percent"], reported["cancelRequested"]) == (40, False)
    assert (await ask("release_work", me.release_work(work_id)))["status"] == "ready"
    await me.claim_work()
    assert (await ask("fail_work", me.fail_work(work_id, "once")))["status"] == "scheduled"
    assert (await me.claim_work(wait_seconds=SOON)).work[0].attempt == 2
    assert (await ask("complete_work", me.complete_work(work_id, "did it", result={"n": 1})))["status"] == "done"
    shown = await ask("get_work", boss.get_work(work_id))
    assert (shown["result"], shown["summary"], shown["truncated"]) == ({"n": 1}, "did it", [])
    assert [entry["move"] for entry in shown["history"]][-1] in ("complete", "tell")
    [listed] = (await ask("list_work", boss.list_work(mine=True)))["items"]
    assert (listed["id"], listed["status"]) == (work_id, "done")
    other = (await boss.broadcast_work_offer("not needed")).id
    assert (await ask("cancel_work", boss.cancel_work(other, reason="no")))["status"] == "cancelled"


async def dead_letters(ask: Wire, me: Agent, boss: Agent) -> None:
    assert (await ask("list_dead_letter_items", me.list_dead_letter_items()))["items"] == []
    offer = await boss.broadcast_work_offer("fails", required_capability="python")
    await me.claim_work()
    await me.fail_work(offer.id, "no", retryable=False)
    page = await ask("list_dead_letter_items", me.list_dead_letter_items())
    [letter] = page["items"]
    assert set(letter) >= {"id", "taskId", "capabilities", "reason", "attempts", "errors", "failedAt"}
    assert set(letter["errors"][0]) == {"at", "by", "message"}
    retried = await ask("retry_dead_letter_item", boss.retry_dead_letter_item(offer.id))
    assert retried == {"id": offer.id, "status": "ready"}
    await me.claim_work()
    await me.fail_work(offer.id, "still no", retryable=False)
    discarded = await ask("discard_dead_letter_item", boss.discard_dead_letter_item(offer.id, reason="enough"))
    assert discarded == {"id": offer.id, "status": "discarded"}
    last = await boss.broadcast_work_offer("held", required_capability="python")
    await me.claim_work()
    assert (await ask("deregister_agent", me.deregister_agent()))["released"] == [last.id]
