"""The official Python client against Warp, in the era it chooses and in the one before."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourceUpdated

from tests.acceptance.walk import Caller, walk
from tests.integration.fabric import Fabric
from tests.patience import SOON

Mode = Literal["auto", "legacy"]
MODES: tuple[Mode, ...] = ("auto", "legacy")
INBOX = "loominal://inbox"


# Any: whatever the client takes
@asynccontextmanager
async def client(home: Path, mode: Mode, *, project: str = "sdk", **options: Any) -> AsyncIterator[Client]:
    """Yield the official client, connected to a warp of its own."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "loominal.warp.main"],
        env={**os.environ, "LOOMINAL_HOME": str(home), "LOOMINAL_PROJECT_ID": f"{project}-{mode}"},
    )
    async with Client(stdio_client(server), mode=mode, **options) as connected:
        yield connected


class Sdk:
    """The official client as the walk calls it."""

    def __init__(self, connected: Client) -> None:
        self._client = connected

    async def tool(self, name: str, /, **arguments: Any) -> Any:  # Any: JSON
        return (await self._client.call_tool(name, arguments)).structured_content


@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_walks_through_everything(fabric: Fabric, mode: Mode) -> None:
    @asynccontextmanager
    async def another() -> AsyncIterator[Caller]:
        async with client(fabric.home, mode, project="walk") as connected:
            yield Sdk(connected)

    async with another() as ann, another() as bob:
        await walk(ann, bob, another)


@pytest.mark.parametrize(("mode", "version"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
async def test_the_official_client_finds_everything_in_its_era(fabric: Fabric, mode: Mode, version: str) -> None:
    async with client(fabric.home, mode) as connected:
        assert connected.protocol_version == version
        assert connected.instructions
        assert len((await connected.list_tools()).tools) == 26
        assert [str(each.uri) for each in (await connected.list_resources()).resources] == [INBOX]
        [template] = (await connected.list_resource_templates()).resource_templates
        assert template.uri_template == "loominal://work/{id}"
        assert [each.name for each in (await connected.list_prompts()).prompts] == ["start", "handoff"]
        assert "join" in str((await connected.get_prompt("start")).messages[0].content)


@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_calls_tools_whose_answers_are_as_their_schemas_say(
    fabric: Fabric, mode: Mode
) -> None:
    """The client checks each structured answer against the tool's output schema."""
    async with client(fabric.home, mode) as ann, client(fabric.home, mode) as bob:
        await ann.list_tools()
        await bob.list_tools()

        async def tell(who: Client, name: str, /, **arguments: object) -> dict[str, Any]:
            result = await who.call_tool(name, arguments)
            assert not result.is_error, result
            assert result.content
            found: dict[str, Any] = result.structured_content
            return found

        await tell(ann, "join", handle="ann", capabilities=["python"])
        await tell(bob, "join", handle="bob", capabilities=["go"])
        assert (await tell(ann, "discover_agents"))["total"] == 2
        await tell(ann, "get_agent_info", guid="bob")
        await tell(ann, "update_presence", status="busy")
        sent = await tell(ann, "send_direct_message", recipientGuid="bob", message="hi", metadata={"a": 1})
        await tell(bob, "wait_for_events", waitSeconds=SOON)
        [mail] = (await tell(bob, "read_direct_messages"))["messages"]
        assert mail["id"] == sent["id"]
        await tell(bob, "send_message", channel="general", message="all")
        await tell(ann, "read_messages", channel="general")
        await tell(ann, "list_channels")
        await tell(ann, "get_my_handle")
        offer = await tell(ann, "broadcast_work_offer", description="x", requiredCapability="go", contextData={"a": 1})
        await tell(ann, "list_work")
        await tell(bob, "claim_work", waitSeconds=SOON)
        await tell(bob, "report_progress", workId=offer["id"], percent=10)
        await tell(bob, "complete_work", workId=offer["id"], summary="done", result={"n": 1})
        await tell(ann, "get_work", workId=offer["id"])
        dead = await tell(ann, "broadcast_work_offer", description="y", requiredCapability="go")
        await tell(bob, "claim_work", waitSeconds=SOON)
        await tell(bob, "fail_work", workId=dead["id"], error="no", retryable=False)
        await tell(ann, "list_dead_letter_items")
        await tell(ann, "retry_dead_letter_item", itemId=dead["id"])
        await tell(bob, "claim_work", waitSeconds=SOON)
        await tell(bob, "release_work", workId=dead["id"])
        await tell(ann, "cancel_work", workId=dead["id"])
        await tell(bob, "deregister_agent")


@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_hears_errors_as_they_are(fabric: Fabric, mode: Mode) -> None:
    async with client(fabric.home, mode) as connected:
        result = await connected.call_tool("send_message", {"channel": "nowhere", "message": "x"})
        assert result.is_error
        assert result.structured_content["error"]["code"] == "unknown_channel"
        with pytest.raises(MCPError):
            await connected.call_tool("no_such_tool", {})
        with pytest.raises(MCPError):
            await connected.read_resource("loominal://nothing")


async def test_the_official_client_listens_for_mail(fabric: Fabric) -> None:
    async with client(fabric.home, "auto") as ann, client(fabric.home, "auto") as bob:
        await ann.call_tool("join", {"handle": "listener"})
        await bob.call_tool("join", {"handle": "teller"})
        with anyio.fail_after(SOON):
            async with ann.listen(resource_subscriptions=[INBOX]) as subscription:
                await bob.call_tool("send_direct_message", {"recipientGuid": "listener", "message": "hi"})
                assert await anext(subscription) == ResourceUpdated(uri=INBOX)


async def test_the_official_client_gives_up_a_wait_and_goes_on(fabric: Fabric) -> None:
    async with client(fabric.home, "auto") as connected:
        await connected.call_tool("join", {})
        with anyio.move_on_after(1) as scope:
            await connected.call_tool("claim_work", {"waitSeconds": 50})

        assert scope.cancelled_caught
        with anyio.fail_after(SOON):
            assert not (await connected.call_tool("claim_work", {})).is_error
