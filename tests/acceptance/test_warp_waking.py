"""A direct message wakes an agent in every way there is, and stays unread when the waking reaches nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bench.client import Client, environment, program, request
from tests.acceptance.warps import Warp, warp
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.patience import SOON

SESSION = "5e551011-0000-4000-8000-000000000002"
INBOX = "loominal://inbox"
CHANNEL = "notifications/claude/channel"
UPDATED = "notifications/resources/updated"


@pytest.fixture
async def bob(fabric: Fabric, project: str) -> AsyncIterator[Warp]:
    async with warp(fabric.home, project=project, CLAUDE_CODE_SESSION_ID="another") as started:
        await started.tool("join", handle="bob")
        yield started


@contextlib.asynccontextmanager
async def waiting_hook(home: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Yield a `warp hook wait` of the session."""
    hook = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loominal.warp.main", "hook", "wait",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"LOOMINAL_HOME": str(home)},
    )  # fmt: skip
    assert hook.stdin is not None
    hook.stdin.write(b'{"session_id": "%s"}' % SESSION.encode())
    hook.stdin.close()
    try:
        yield hook
    finally:
        if hook.returncode is None:
            hook.kill()
        await hook.communicate()


@pytest.mark.parametrize("modern", [False, True], ids=["handshake", "modern"])
async def test_one_message_wakes_in_every_way_and_an_empty_inbox_in_none(
    bob: Warp, fabric: Fabric, project: str, *, modern: bool
) -> None:
    pushes = [] if modern else ["--channel"]  # the modern era has no way for that
    async with warp(fabric.home, *pushes, project=project, modern=modern, CLAUDE_CODE_SESSION_ID=SESSION) as ann:
        await ann.tool("join", handle="ann", capabilities=["python"])
        if modern:
            ann.ask("subscriptions/listen", notifications={"resourceSubscriptions": [INBOX]})
            await ann.until(lambda: bool(ann.notes))  # it is acknowledged
        else:
            await ann.call("resources/subscribe", uri=INBOX)
        ann.notes.clear()
        async with waiting_hook(fabric.home) as hook:
            waiting = ann.ask("tools/call", name="wait_for_events", arguments={"waitSeconds": 50, "kinds": ["message"]})
            await bob.tool("send_message", channel="general", message="to all")
            await bob.tool("broadcast_work_offer", description="x", requiredCapability="python")
            await asyncio.sleep(
                2
            )  # four times what wakes are put off: it is the passing of time that must bring nothing
            assert (ann.notes, ann.unanswered(waiting), hook.returncode) == ([], True, None)

            await bob.tool("send_direct_message", recipientGuid="ann", message="hi")

            told = (await ann.answer(waiting))["result"]["structuredContent"]
            assert ([each["kind"] for each in told["events"]], told["unread"]) == (["message"], 1)
            ways = {UPDATED} if modern else {UPDATED, CHANNEL}
            await ann.until(lambda: ways <= {note["method"] for note in ann.notes})
            async with asyncio.timeout(SOON):
                said, _ = await hook.communicate()
            assert (hook.returncode, said) == (2, b"Loominal: 1 unread direct message (read_direct_messages).\n")
        [message] = (await ann.tool("read_direct_messages"))["messages"]
        assert (message["message"], message.get("redelivered", False)) == ("hi", False)


@contextlib.contextmanager
def pushing(environ: dict[str, str]) -> Iterator[Client]:
    """Yield a warp that pushes to a client which reads answers alone, when it asks."""
    with subprocess.Popen(program("--channel"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as process:
        try:
            yield Client(process)
        finally:
            process.kill()


@pytest.mark.parametrize("how", ["closed", "blocked"])
async def test_a_message_whose_push_reaches_nobody_is_unread_in_the_next_process(
    bob: Warp, fabric: Fabric, project: str, how: str
) -> None:
    environ = environment(fabric.home, project) | {"CLAUDE_CODE_SESSION_ID": SESSION}
    with pushing(environ) as ann:
        process = ann.process
        guid = ann.tool("join", handle="ann")["agent"]["guid"]
        assert process.stdin is not None
        assert process.stdout is not None
        if how == "closed":
            process.stdout.close()
        else:
            process.stdin.write(b"".join(request(1000 + number, "tools/list") for number in range(20)))
            process.stdin.flush()  # far more than a pipe takes; it reads none of it

        await bob.tool("send_direct_message", recipientGuid="ann", message="hi")

        if how == "closed":  # the push was the first to find that nobody is there
            assert await asyncio.to_thread(process.wait, 30) == 0
        else:
            await asyncio.sleep(2)  # four times what a push is put off; nothing tells from outside that it waits

    async def is_away() -> bool:
        return bool((await bob.tool("get_agent_info", guid=guid))["status"] == "offline")

    await eventually(is_away, SOON)
    async with warp(fabric.home, project=project, client="bench", CLAUDE_CODE_SESSION_ID=SESSION) as again:
        assert (await again.tool("get_my_handle"))["guid"] == guid
        [message] = (await again.tool("read_direct_messages"))["messages"]
        assert (message["message"], message.get("redelivered", False)) == ("hi", False)
