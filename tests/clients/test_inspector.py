"""The Inspector's command line against real warps: each call is a process of its own, with a warp of its own."""

from __future__ import annotations

import json
from typing import Any

from tests.clients.user import OURS, User, need

Json = Any  # Any: JSON


def inspect(user: User, method: str, *arguments: str, session: str = "inspector") -> Json:
    """Return what the Inspector prints about one method."""
    said = user.run(
        "mcp-inspector", "--cli", str(OURS / "warp"),
        "-e", f"CLAUDE_CODE_SESSION_ID={session}", "-e", f"LOOMINAL_HOME={user.environ['LOOMINAL_HOME']}",
        "-e", f"LOOMINAL_PROJECT_ID={user.project}", "--method", method, *arguments,
    )  # fmt: skip
    return json.loads(said[said.index("{") :])


def call(user: User, tool: str, *arguments: str, session: str = "inspector") -> Json:
    """Return a tool's structured answer."""
    given = [part for each in arguments for part in ("--tool-arg", each)]
    return inspect(user, "tools/call", "--tool-name", tool, *given, session=session)["structuredContent"]


def test_the_inspector_lists_tools_resources_and_prompts(user: User) -> None:
    need("mcp-inspector")
    assert len(inspect(user, "tools/list")["tools"]) == 26
    assert [each["uri"] for each in inspect(user, "resources/list")["resources"]] == ["loominal://inbox"]
    assert [each["name"] for each in inspect(user, "prompts/list")["prompts"]] == ["start", "handoff"]


def test_the_inspector_joins_and_sends_a_message_that_is_read(user: User) -> None:
    need("mcp-inspector")
    call(user, "join", "handle=ann", session="ann")
    call(user, "join", "handle=bob", 'capabilities=["go"]', session="bob")

    sent = call(user, "send_direct_message", "recipientGuid=bob", "message=hi", session="ann")

    [message] = call(user, "read_direct_messages", session="bob")["messages"]
    assert (message["id"], message["message"]) == (sent["id"], "hi")
