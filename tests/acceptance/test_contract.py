"""What is promised of every tool: its arguments, its answer, its errors; by real warps, and by the Python client."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loominal import LoominalError, connect
from loominal.fabric.client.agent import Agent
from loominal.warp.tools import TOOLS
from tests.acceptance.warps import Json, Warp, warp
from tests.integration.fabric import Fabric
from tests.patience import SOON

# `*` required, `[]` list, `{}` object, `?` boolean, `#` number with its bounds, `=` one of these, else a text
ARGUMENTS = {
    "set_handle": "handle*",
    "get_my_handle": "",
    "join": "handle agentType capabilities[] boundaries[] visibility=private|user-only|project-only|public",
    "list_channels": "",
    "send_message": "channel* message* create? replyTo importance=low|normal|high metadata{}",
    "read_messages": "channel* limit#1..1000 cursor since id offset#0..",
    "register_agent": "agentType* capabilities[] boundaries[] handle visibility=private|user-only|project-only|public "
    "maxConcurrent#1..1000 metadata{}",
    "discover_agents": "agentType capability boundary hostname status=online|busy|offline handle "
    "scope=project|mine|fabric includeOffline? limit#1..100 cursor",
    "get_agent_info": "guid*",
    "update_presence": "status=online|busy|offline currentTaskCount#0..1000000 capabilities[]",
    "deregister_agent": "",
    "send_direct_message": "recipientGuid* message* messageType replyTo ackRequired? importance=low|normal|high "
    "metadata{}",
    "read_direct_messages": "limit#1..100 cursor messageType senderGuid unreadOnly? waitSeconds#0..50 ack[] id "
    "offset#0..",
    "broadcast_work_offer": "taskId description* requiredCapability capabilities[] boundary priority#1..10 deadline "
    "notBefore dependsOn[] contextData{} maxAttempts#1..20 timeoutSeconds#..2592000 preferredAgentType "
    "requiredAgentType assignTo notify=inbox|none",
    "claim_work": "capability waitSeconds#0..50 limit#1..10",
    "report_progress": "workId* percent#0..100 message",
    "complete_work": "workId* summary* result{} artifacts[]",
    "fail_work": "workId* error* retryable?",
    "release_work": "workId* reason",
    "list_work": "status=scheduled|blocked|ready|claimed|done|dead|cancelled|discarded capability boundary mine? "
    "limit#1..100 cursor",
    "get_work": "workId* waitSeconds#0..50 field=description|contextData|summary|result|artifacts|errors offset#0..",
    "cancel_work": "workId* reason",
    "list_dead_letter_items": "capability limit#1..100 cursor",
    "retry_dead_letter_item": "itemId* resetAttempts?",
    "discard_dead_letter_item": "itemId* reason",
    "wait_for_events": "kinds[] waitSeconds#0..50 cursor",
}

AGENT = "guid handle agentType capabilities boundaries status hostname projectId currentTaskCount free currentWork"
WORK = "id taskId description capabilities boundary priority contextData attempt maxAttempts offeredBy truncated"
CLAIM = f"{WORK} deadline timeoutAt"
MESSAGE = "id message timestamp replyTo metadata truncated chars"
CHANNELS = "channels(name description messages lastAt)"
# `?`: null at times, and then left out; all else is always there. In brackets what an entry has unless at its default.
ANSWERS = {
    "set_handle": "handle guid",
    "get_my_handle": "handle guid projectId project registered",
    "join": f"agent({AGENT} lastSeen) unread messages({MESSAGE}) claims({CLAIM}) ready({WORK}) {CHANNELS} note",
    "list_channels": CHANNELS,
    "send_message": "id channel timestamp",
    "read_messages": f"messages({MESSAGE} handle importance) senders nextCursor? newCursor?",
    "register_agent": "guid handle agentType capabilities boundaries visibility hostname projectId",
    "discover_agents": f"agents({AGENT} lastSeen) total nextCursor?",
    "get_agent_info": f"{AGENT} lastSeen?",
    "update_presence": "before(status currentTaskCount capabilities) after(status currentTaskCount capabilities)",
    "deregister_agent": "guid released",
    "send_direct_message": "id recipient(guid handle status) receipt",
    "read_direct_messages": f"messages({MESSAGE} from messageType ackRequired redelivered) unread notice nextCursor?",
    "broadcast_work_offer": "id taskId status duplicate eligible note?",
    "claim_work": f"work({CLAIM}) note?",
    "report_progress": "workId percent? cancelRequested",
    "complete_work": "workId status",
    "fail_work": "workId status nextAttemptAt?",
    "release_work": "workId status",
    "list_work": f"items({CLAIM} status claimedBy progress waitsFor) total nextCursor?",
    "get_work": f"{WORK} deadline? timeoutAt? status? claimedBy? progress? waitsFor? result chars "
    "errors(at by message) history(at by move note)",
    "cancel_work": "workId status",
    "list_dead_letter_items": "items(id taskId capabilities reason attempts errors failedAt) total nextCursor?",
    "retry_dead_letter_item": "id status",
    "discard_dead_letter_item": "id status",
    "wait_for_events": "events(kind id summary at) cursor unread ready waitedSeconds",
}

# What ann, who has offered `anns` and holds nothing, is refused.
REFUSED: tuple[tuple[str, Json, str], ...] = (
    ("send_message", {"channel": "nowhere", "message": "x"}, "unknown_channel"),
    ("read_messages", {"channel": "nowhere"}, "unknown_channel"),
    ("read_messages", {"channel": "general", "id": "m_c0000001"}, "not_found"),
    ("read_messages", {"channel": "general", "limit": 1001}, "invalid_argument"),
    ("read_messages", {"channel": "general", "since": "yesterday"}, "invalid_argument"),
    ("read_messages", {"channel": "general", "cursor": "forged"}, "bad_cursor"),
    ("set_handle", {"handle": "bob"}, "handle_taken"),
    ("read_messages", {"channel": "general", "offset": 5}, "invalid_argument"),
    ("set_handle", {"handle": "Not A Handle"}, "invalid_argument"),
    ("set_handle", {"handle": "hub"}, "invalid_argument"),
    ("register_agent", {"agentType": "x", "boundaries": ["nowhere"]}, "boundary_refused"),
    ("register_agent", {"agentType": "x", "boundaries": ["corporate"]}, "boundary_refused"),
    ("register_agent", {"agentType": "person"}, "forbidden"),
    ("register_agent", {"agentType": "x", "maxConcurrent": 1001}, "invalid_argument"),
    ("discover_agents", {"cursor": "forged"}, "bad_cursor"),
    ("get_agent_info", {"guid": "hidden"}, "not_found"),
    ("send_direct_message", {"recipientGuid": "hidden", "message": "x"}, "not_found"),
    ("send_direct_message", {"recipientGuid": "bob", "message": "x", "replyTo": "m_d0000001"}, "not_found"),
    ("read_direct_messages", {"waitSeconds": 51}, "invalid_argument"),
    ("read_direct_messages", {"ack": ["m_d0000001"]}, "not_found"),
    ("read_direct_messages", {"cursor": "forged"}, "bad_cursor"),
    ("read_direct_messages", {"offset": 5}, "invalid_argument"),
    ("broadcast_work_offer", {}, "invalid_argument"),
    ("broadcast_work_offer", {"description": "x", "unknown": 1}, "invalid_argument"),
    ("broadcast_work_offer", {"description": "x", "boundary": "nowhere"}, "boundary_refused"),
    ("broadcast_work_offer", {"description": "x", "deadline": "2020-01-01T00:00:00Z"}, "invalid_argument"),
    ("broadcast_work_offer", {"description": "x", "taskId": "a\nb"}, "invalid_argument"),
    ("broadcast_work_offer", {"description": "x", "taskId": "a" * 257}, "invalid_argument"),
    ("broadcast_work_offer", {"description": "x", "dependsOn": ["none"]}, "not_found"),
    ("broadcast_work_offer", {"description": "other", "taskId": "anns"}, "duplicate"),
    ("broadcast_work_offer", {"description": "x" * 200_001}, "too_large"),
    ("claim_work", {"capability": "cobol"}, "not_capable"),
    ("complete_work", {"workId": "anns", "summary": "x"}, "not_owner"),
    ("report_progress", {"workId": "anns", "percent": 1}, "not_owner"),
    ("list_work", {"cursor": "forged"}, "bad_cursor"),
    ("get_work", {"workId": "none"}, "not_found"),
    ("get_work", {"workId": "anns", "offset": 5}, "invalid_argument"),
    ("list_dead_letter_items", {"cursor": "forged"}, "bad_cursor"),
    ("retry_dead_letter_item", {"itemId": "anns"}, "illegal_move"),
    ("discard_dead_letter_item", {"itemId": "anns"}, "illegal_move"),
    ("wait_for_events", {"cursor": "forged"}, "bad_cursor"),
)
RETRYABLE = {"busy", "broker_unavailable", "hub_unavailable"}
SHAPES = {
    re.compile(r"at|[a-z]+At|timestamp|lastSeen|deadline"): re.compile(r"\d{4}(-\d\d){2}T\d\d(:\d\d){2}Z"),
    re.compile(r"workId"): re.compile(r"w_[0-9a-f]{20}"),
    re.compile(r"id"): re.compile(r"[wmt]_\w+"),
    re.compile(r"guid"): re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
}


@pytest.fixture
async def ann(fabric: Fabric, project: str) -> AsyncIterator[Warp]:
    async with warp(fabric.home, project=project) as started:
        yield started


@pytest.fixture
async def bob(fabric: Fabric, project: str) -> AsyncIterator[Warp]:
    async with warp(fabric.home, project=project, client="codex-mcp-client", modern=True) as started:
        yield started


async def told(asked: Warp, tool: str, **arguments: Json) -> Json:
    """Return a tool's answer, which is not refused and has what is promised, shaped as promised."""
    answer = await asked.call("tools/call", name=tool, arguments=arguments)
    structured = answer["structuredContent"]
    assert not answer["isError"], (tool, structured)
    assert answer["content"][0]["text"], tool
    assert [name for name in always(ANSWERS[tool]) if name not in structured] == [], (tool, structured)
    check_shapes(structured)
    return structured


async def refusal(asked: Warp, tool: str, **arguments: Json) -> str:
    """Return the code that a tool refuses with, with all that belongs to an error."""
    answer = await asked.call("tools/call", name=tool, arguments=arguments)
    assert answer["isError"], (tool, answer)
    assert answer["content"][0]["text"], tool
    error = answer["structuredContent"]["error"]
    assert set(error) == {"code", "message", "hint", "retryable"}
    assert error["retryable"] is (error["code"] in RETRYABLE)
    return str(error["code"])


def check_shapes(value: Json, name: str = "") -> None:
    """Refuse nulls, and times and ids that are not written as promised."""
    assert value is not None, name
    for key, each in value.items() if isinstance(value, dict) else ():
        if name not in ("metadata", "contextData", "result", "senders"):  # their names are their authors'
            check_shapes(each, key)
    for each in value if isinstance(value, list) else ():
        check_shapes(each, name)
    if isinstance(value, str):
        shapes = [shape for names, shape in SHAPES.items() if names.fullmatch(name)]
        assert all(shape.fullmatch(value) for shape in shapes), (name, value)


def fields(promised: str) -> dict[str, str]:
    """Return what is promised at the top level, and what of its entries."""
    return dict(re.findall(r"(\w+\??)(?:\(([^)]*)\))?", promised))


def always(promised: str) -> list[str]:
    return [name for name in fields(promised) if not name.endswith("?")]


def argument(name: str, schema: Json, *, required: bool) -> str:
    """Return an argument as `ARGUMENTS` writes it."""
    if "enum" in schema:
        return f"{name}={'|'.join(schema['enum'])}"
    number = f"#{schema.get('minimum', '')}..{schema.get('maximum', '')}"
    marks = {"array": "[]", "object": "{}", "boolean": "?", "integer": number, "number": number}
    return name + marks.get(schema["type"], "*" if required else "")


async def test_every_tool_has_the_promised_arguments_and_names_what_it_answers(ann: Warp) -> None:
    listed = {tool["name"]: tool for tool in (await ann.call("tools/list"))["tools"]}

    assert set(listed) == set(ARGUMENTS) == set(ANSWERS)
    for name, tool in listed.items():
        schema = tool["inputSchema"]
        required = schema.get("required", [])
        given = [argument(each, what, required=each in required) for each, what in schema["properties"].items()]
        assert sorted(given) == sorted(ARGUMENTS[name].split()), name
        answer = tool["outputSchema"]
        for field, entries in fields(ANSWERS[name]).items():
            shown = answer["properties"][field.rstrip("?")]
            assert not set(entries.split()) - set(shown.get("items", shown).get("properties", ())), (name, field)


def test_the_python_client_has_every_tool_with_its_arguments_and_those_that_no_model_is_shown() -> None:
    for tool, line in ARGUMENTS.items():
        names = {*re.findall(r"(?<!\S)\w+", line), *TOOLS[tool].hidden}
        promised = {re.sub(r"[A-Z]", lambda upper: f"_{upper[0].lower()}", name) for name in names}
        parameters = inspect.signature(getattr(Agent, tool)).parameters
        assert set(parameters) - {"self"} == promised, tool


async def test_what_is_promised_is_there_however_little_there_is_to_tell(ann: Warp, bob: Warp) -> None:
    assert not (await told(ann, "get_my_handle"))["registered"]
    await told(ann, "list_channels")
    said = await told(ann, "send_message", channel="general", message="x")
    assert (await told(ann, "read_messages", channel="general"))["messages"][0]["id"] == said["id"]
    await told(ann, "read_messages", channel="updates", since="2h")
    await told(ann, "join", handle="ann", capabilities=["python"])
    await told(bob, "set_handle", handle="bob")
    await told(bob, "register_agent", agentType="codex", capabilities=["go"])
    assert [each["handle"] for each in (await told(ann, "discover_agents"))["agents"]] == ["ann", "bob"]
    assert (await told(ann, "discover_agents", capability="cobol"))["agents"] == []
    await told(ann, "get_agent_info", guid="bob@" + (await told(ann, "get_my_handle"))["projectId"])
    assert (await told(ann, "update_presence", status="busy"))["before"]["status"] == "online"
    assert (await told(ann, "read_direct_messages"))["messages"] == []
    sent = await told(ann, "send_direct_message", recipientGuid="bob", message="x", ackRequired=True)
    assert sent["receipt"] == "stored"
    await told(bob, "wait_for_events", waitSeconds=SOON)
    assert [each["id"] for each in (await told(bob, "read_direct_messages"))["messages"]] == [sent["id"]]
    await told(bob, "read_direct_messages", ack=[sent["id"]])
    assert (await told(bob, "claim_work"))["work"] == []
    assert (await told(ann, "list_work"))["total"] == (await told(ann, "list_dead_letter_items"))["total"] == 0
    assert (await told(ann, "wait_for_events", waitSeconds=0.1))["events"] == []
    assert (await told(bob, "deregister_agent"))["released"] == []


async def test_an_item_is_shown_as_promised_on_each_of_its_ways(ann: Warp, bob: Warp) -> None:
    await told(ann, "join", handle="ann")
    await told(bob, "join", handle="bob", capabilities=["go"])

    async def offered_and_claimed(task: str, **more: Json) -> str:
        offer = await told(ann, "broadcast_work_offer", taskId=task, description="do", capabilities=["go"], **more)
        claimed = await told(bob, "claim_work", waitSeconds=SOON)
        assert [each["id"] for each in claimed["work"]] == [offer["id"]]
        return str(offer["id"])

    done = await offered_and_claimed("done", deadline="2h")
    assert not (await told(bob, "report_progress", workId=done))["cancelRequested"]
    await told(ann, "list_work")
    await told(ann, "get_work", workId="done")
    assert (await told(bob, "release_work", workId=done))["status"] == "ready"
    assert (await told(bob, "claim_work", waitSeconds=SOON))["work"][0]["attempt"] == 1
    assert (await told(bob, "complete_work", workId="done", summary="did"))["status"] == "done"
    for tool, more in (("complete_work", {"summary": "x"}), ("fail_work", {"error": "x"}), ("report_progress", {})):
        assert await refusal(bob, tool, workId=done, **more) == "illegal_move"
    assert await refusal(ann, "cancel_work", workId="done") == "illegal_move"

    dead = await offered_and_claimed("dead")
    assert (await told(bob, "fail_work", workId=dead, error="no", retryable=False))["status"] == "dead"
    assert (await told(ann, "list_dead_letter_items"))["items"][0]["attempts"] == 1
    assert await refusal(bob, "retry_dead_letter_item", itemId=dead) == "not_owner"
    assert (await told(ann, "retry_dead_letter_item", itemId="dead"))["status"] == "ready"
    assert await refusal(bob, "cancel_work", workId=dead) == "not_owner"
    assert (await told(bob, "claim_work", waitSeconds=SOON))["work"][0]["id"] == dead
    failed = await told(bob, "fail_work", workId=dead, error="no")
    assert (failed["status"], "nextAttemptAt" in failed) == ("scheduled", True)
    assert (await told(ann, "cancel_work", workId="dead"))["status"] == "cancelled"
    assert (await told(ann, "get_work", workId=dead))["errors"][0]["by"] == "bob"
    assert len((await told(ann, "read_direct_messages", limit=1))["messages"]) == 1


async def test_what_cannot_be_is_refused_with_the_promised_code(
    fabric: Fabric, project: str, ann: Warp, bob: Warp
) -> None:
    await told(bob, "join", handle="bob", capabilities=["go"])
    for tool in ("discover_agents", "claim_work", "wait_for_events", "deregister_agent"):
        assert await refusal(ann, tool) == "not_registered", tool
    await told(ann, "join", handle="ann", capabilities=["python"])
    await told(ann, "broadcast_work_offer", taskId="anns", description="do", capabilities=["rust"])
    async with connect("hidden", "codex", project=project, home=fabric.home, visibility="private") as hidden:
        assert "hidden" not in [each.handle for each in (await hidden.discover_agents(handle="bob")).agents]
        for tool, arguments, code in REFUSED:
            assert await refusal(ann, tool, **arguments) == code, (tool, arguments)
        with pytest.raises(LoominalError) as refused:
            await hidden.get_work("none")
        assert refused.value.code == "not_found"


async def test_without_a_fabric_a_tool_says_so_and_that_it_may_be_tried_again(tmp_path: Path) -> None:
    async with warp(tmp_path, LOOMINAL_AUTOSTART="0") as lonely:
        assert await refusal(lonely, "join") == "broker_unavailable"
