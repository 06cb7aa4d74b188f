"""Each result and notification in every version of the protocol, against the models of the official Python SDK."""

from __future__ import annotations

import asyncio

from mcp_types.methods import parse_server_notification, validate_server_result

from tests.acceptance.test_warp_protocol import HANDSHAKES
from tests.acceptance.warps import MODERN, Json, Warp, warp
from tests.integration.fabric import Fabric
from tests.patience import SOON

INBOX = "loominal://inbox"
UPDATED = "notifications/resources/updated"


class Checked:
    """A warp whose results are held against the models of one version."""

    def __init__(self, process: Warp, version: str) -> None:
        self.warp = process
        self.version = version

    async def call(self, method: str, **params: Json) -> Json:
        result = await self.warp.call(method, **params)
        validate_server_result(method, self.version, result)
        return result

    async def tool(self, name: str, **arguments: Json) -> Json:
        return (await self.call("tools/call", name=name, arguments=arguments))["structuredContent"]

    def notes(self) -> list[str]:
        """Return what was told so far, by method, all of it checked."""
        for note in self.warp.notes:
            parse_server_notification(note["method"], self.version, note.get("params"))
        return [note["method"] for note in self.warp.notes]


async def test_every_result_and_notification_is_as_its_version_has_it(fabric: Fabric) -> None:
    async with asyncio.TaskGroup() as group:  # for most of the time each waits to be told of progress
        for version in (*HANDSHAKES, MODERN):
            group.create_task(talk(fabric, version), name=version)


async def talk(fabric: Fabric, version: str) -> None:
    """Let a client of `version` see everything there is to see."""
    modern, subscription = version == MODERN, 0
    async with warp(fabric.home, project=f"v{version}", modern=modern) as process:
        ann = Checked(process, version)
        if modern:
            await ann.call("server/discover")
            subscription = process.ask("subscriptions/listen", notifications={"resourceSubscriptions": [INBOX]})
            await process.until(lambda: bool(process.notes))
        else:
            client = {"name": "x", "version": "1"}
            hello = await ann.call("initialize", protocolVersion=version, capabilities={}, clientInfo=client)
            assert hello["protocolVersion"] == version
            assert await ann.call("ping") == {}
            assert await ann.call("logging/setLevel", level="info") == {}
            assert await ann.call("resources/subscribe", uri=INBOX) == {}
        for listed in ("tools/list", "prompts/list", "resources/list", "resources/templates/list"):
            await ann.call(listed)
        await ann.call("prompts/get", name="handoff", arguments={"task": "x"})
        await ann.tool("join", handle="ann", capabilities=["python", "go"])
        offer = await ann.tool("broadcast_work_offer", description="x", requiredCapability="python")
        await ann.call("resources/read", uri=f"loominal://work/{offer['id']}")
        assert (await ann.tool("get_work", workId="none"))["error"]["code"] == "not_found"

        await ann.tool("send_direct_message", recipientGuid="ann", message="hi")
        await process.until(lambda: UPDATED in [note["method"] for note in process.notes])
        await ann.call("resources/read", uri=INBOX)
        await ann.tool("read_direct_messages")
        await ann.tool("get_my_handle")

        waiting = {"name": "wait_for_events", "arguments": {"waitSeconds": 6, "kinds": ["cancel"]}}
        await ann.call("tools/call", **waiting, _meta={"progressToken": 7})
        assert "notifications/progress" in ann.notes()

        given_up = process.ask("tools/call", name="claim_work", arguments={"capability": "go", "waitSeconds": 50})
        others = [process.ask("tools/call", name="list_channels", arguments={}) for _ in range(20)]
        process.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": given_up}})
        for number in others:
            validate_server_result("tools/call", version, (await process.answer(number))["result"])
        if modern:
            process.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": subscription}})
        else:
            await ann.call("resources/unsubscribe", uri=INBOX)
        await ann.tool("list_channels")  # what was told before is heard
        process.notes.clear()

        await ann.tool("send_direct_message", recipientGuid="ann", message="hi again")
        assert (await ann.tool("wait_for_events", waitSeconds=SOON))["unread"] == 1
        assert ann.notes() == []
        assert process.unanswered(given_up)
        assert await process.leave() == 0
