"""What a model is shown of the tools, and what it may send."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loominal.fabric.operations import OPERATIONS
from loominal.fabric.operations.inbox import ReadDirectMessages, SendDirectMessage
from loominal.fabric.operations.registry import DiscoverAgents, RegisterAgent
from loominal.fabric.operations.types import Arguments
from loominal.fabric.operations.work import BroadcastWorkOffer, ClaimWork, CompleteWork, ListWork, ReportProgress
from loominal.model.errors import InvalidArgument, TooLarge
from loominal.warp.schema import input_schema, output_schema, read
from loominal.warp.server import INSTRUCTIONS
from loominal.warp.tools import TOOLS, listing

Json = Any  # Any: JSON
SHOWN = ("name", "description", "inputSchema")


@pytest.fixture(scope="module")
def tools() -> list[Json]:
    listed: list[Json] = json.loads(listing())
    return listed


def test_every_operation_that_is_a_tool_is_one(tools: list[Json]) -> None:
    assert {tool["name"] for tool in tools} == {each.name for each in OPERATIONS.values() if each.tool}
    assert len(tools) == 26


def test_what_a_model_is_shown_fits(tools: list[Json]) -> None:
    shown = [json.dumps({name: tool[name] for name in SHOWN}, separators=(",", ":")) for tool in tools]

    assert sum(map(len, shown)) / 4 <= 3500
    assert len(INSTRUCTIONS) <= 1200


def test_schemas_are_plain(tools: list[Json]) -> None:
    text = json.dumps([[tool["inputSchema"], tool["outputSchema"]] for tool in tools])

    assert not any(word in text for word in ("anyOf", "oneOf", "$ref", "leaseToken"))
    for tool in tools:
        assert tool["inputSchema"]["type"] == tool["outputSchema"]["type"] == "object"


def test_every_tool_says_what_kind_it_is(tools: list[Json]) -> None:
    hints = {tool["name"]: tool["annotations"] for tool in tools}

    for each in hints.values():
        assert set(each) == {"title", "readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"}
    destructive = {name for name, each in hints.items() if each["destructiveHint"]}
    assert destructive == {"cancel_work", "discard_dead_letter_item", "deregister_agent"}
    assert all(hints[name]["readOnlyHint"] for name in ("list_work", "get_work", "discover_agents", "list_channels"))
    assert not any(hints[name]["readOnlyHint"] for name in ("claim_work", "send_message", "join", "complete_work"))


def test_hints_name_arguments_that_there_are() -> None:
    for name, tool in TOOLS.items():
        assert set(tool.hints) <= set(OPERATIONS[name].arguments.__struct_encode_fields__), name


def test_of_an_answers_entries_is_required_what_is_always_there() -> None:
    schema: Json = output_schema(OPERATIONS["claim_work"].answer)
    assert schema["properties"]["work"]["items"]["required"] == ["id"]


def test_an_error_fits_every_answers_schema(tools: list[Json]) -> None:
    """Some clients hold it against that."""
    for tool in tools:
        assert "required" not in tool["outputSchema"], tool["name"]
        assert tool["outputSchema"]["properties"]["error"] == {"type": "object"}, tool["name"]


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (ClaimWork, {"limit": "3"}, {"limit": 3}),
        (ClaimWork, {"limit": 3.0}, {"limit": 3}),
        (ClaimWork, {"waitSeconds": "10s"}, {"wait_seconds": 10}),
        (BroadcastWorkOffer, {"description": "x", "timeoutSeconds": "2h"}, {"timeout_seconds": 7200}),
        (BroadcastWorkOffer, {"description": "x", "contextData": '{"a": [1]}'}, {"context_data": {"a": [1]}}),
        (BroadcastWorkOffer, {"description": "x", "deadline": "2h"}, {"deadline": "2h"}),
        (BroadcastWorkOffer, {"description": "x", "notify": "INBOX"}, {"notify": "inbox"}),
        (BroadcastWorkOffer, {"description": "x", "taskId": 17}, {"task_id": "17"}),
        (RegisterAgent, {"agentType": "x", "capabilities": "python"}, {"capabilities": ("python",)}),
        (RegisterAgent, {"agentType": "x", "capabilities": '["a", "b"]'}, {"capabilities": ("a", "b")}),
        (RegisterAgent, {"agentType": "x", "visibility": "User Only"}, {"visibility": "user-only"}),
        (DiscoverAgents, {"includeOffline": "True"}, {"include_offline": True}),
        (DiscoverAgents, {"status": "Online", "cursor": None, "hostname": ""}, {"status": "online", "hostname": None}),
        (ListWork, {"mine": "false"}, {"mine": False}),
        (ReportProgress, {"workId": "w", "percent": "12.5"}, {"percent": 12.5}),
        (ReadDirectMessages, {"ack": "m_d1"}, {"ack": ("m_d1",)}),
    ],
)
def test_arguments_are_read_leniently(kind: type[Arguments], given: Json, expected: Json) -> None:
    args = read(kind, given)

    assert {name: getattr(args, name) for name in expected} == expected


def test_artifacts_may_come_as_text() -> None:
    args = read(CompleteWork, {"workId": "w", "summary": "s", "artifacts": '[{"kind": "Branch", "value": "b"}]'})

    assert isinstance(args, CompleteWork)
    assert args.artifacts[0].value == "b"


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        (ClaimWork, {"wait_seconds": 1}, "'waitSeconds'"),
        (ClaimWork, {"waitSeconds": 51}, "waitSeconds"),
        (ClaimWork, {"limit": "many"}, "limit"),
        (ListWork, {"status": "redy"}, "redy"),
        (CompleteWork, {"workId": "w"}, "summary"),
        (BroadcastWorkOffer, {"description": ""}, "description"),
        (BroadcastWorkOffer, {"description": "x", "contextData": "no object"}, "contextData"),
        (BroadcastWorkOffer, {"description": "x", "contextData": "[1]"}, "contextData"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(kind: type[Arguments], given: Json, words: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read(kind, given)

    assert words in f"{refused.value.message} {refused.value.hint}"


def test_a_text_over_the_limit_is_refused() -> None:
    with pytest.raises(TooLarge):
        read(BroadcastWorkOffer, {"description": "é" * 100_001})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(TOOLS)), st.data())
def test_whatever_a_model_sends_is_read_or_refused_in_our_words(name: str, data: st.DataObject) -> None:
    kind = OPERATIONS[name].arguments
    names = st.sampled_from([*kind.__struct_encode_fields__, "x"])
    given: dict[str, object] = data.draw(st.dictionaries(names, VALUES))
    with contextlib.suppress(InvalidArgument):
        assert isinstance(read(kind, given), kind)


@given(st.sampled_from(sorted(TOOLS)))
def test_every_argument_is_described_as_it_is_read(name: str) -> None:
    schema = input_schema(OPERATIONS[name].arguments, {})

    assert set(schema) <= {"type", "properties", "required"}
    for each in schema["properties"].values():  # type: ignore[attr-defined]  # JSON of ours
        assert each["type"] in ("string", "integer", "number", "boolean", "array", "object")


@pytest.mark.parametrize(
    ("name", "hint"), [("recipient", "did you mean 'recipientGuid'?"), ("to", "the arguments are: rec")]
)
def test_an_unknown_argument_is_taken_for_another_only_if_it_is_much_like_it(name: str, hint: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read(SendDirectMessage, {name: "bob", "message": "hello"})

    assert refused.value.hint.startswith(hint)
