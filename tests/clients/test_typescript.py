"""The official TypeScript client against real warps: version 1 of it, and version 2 in each era."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.walk import walk
from tests.clients.user import OURS, PROGRAMS, User, need

SCRIPT = Path(__file__).with_name("typescript.mjs")
SECONDS = 150.0
Json = Any  # Any: JSON


class TypeScript:
    """One client with a warp of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._number = 0

    async def tool(self, name: str, /, **arguments: Json) -> Json:
        """Return a tool's structured answer; an error is one, too."""
        return (await self.ask("callTool", {"name": name, "arguments": arguments}))["structuredContent"]

    async def ask(self, method: str, *arguments: Json) -> Json:
        """Return what a method of the client returns."""
        assert self._process.stdin is not None
        self._number += 1
        asked = {"id": self._number, "method": method, "arguments": arguments}
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        answer = await self.answer()
        assert answer["id"] == self._number
        assert "result" in answer, (method, arguments, answer)
        return answer["result"]

    async def answer(self) -> Json:
        assert self._process.stdout is not None
        async with asyncio.timeout(SECONDS):
            line = await self._process.stdout.readline()
        assert line, "the client has ended"
        return json.loads(line)


@asynccontextmanager
async def typescript(user: User, generation: str) -> AsyncIterator[tuple[TypeScript, Json]]:
    """Yield a client and what it knows of its server."""
    process = await asyncio.create_subprocess_exec(
        str(PROGRAMS / "node"), str(SCRIPT), generation, str(OURS / "warp"), env=user.environ, cwd=user.folder,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 22,
    )  # fmt: skip
    client = TypeScript(process)
    try:
        yield client, (await client.answer())["result"]
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(SECONDS):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("generation", ["sdk", "legacy", "auto"])
async def test_the_typescript_client_walks_through_everything(user: User, generation: str) -> None:
    """It checks each answer, and version 1 errors, too, against the tool's schema."""
    need("node")

    @asynccontextmanager
    async def another() -> AsyncIterator[TypeScript]:
        async with typescript(user, generation) as (client, _):
            await client.ask("listTools")
            yield client

    async with another() as ann, another() as bob:
        await walk(ann, bob, another)


@pytest.mark.parametrize(("generation", "version"), [("sdk", ""), ("legacy", "2025-11-25"), ("auto", "2026-07-28")])
async def test_the_typescript_client_finds_everything_in_its_era(user: User, generation: str, version: str) -> None:
    need("node")
    async with typescript(user, generation) as (client, server):
        assert server["version"] == version
        assert "Call join once" in server["instructions"]
        assert len((await client.ask("listTools"))["tools"]) == 26
        assert [each["uri"] for each in (await client.ask("listResources"))["resources"]] == ["loominal://inbox"]
        assert [each["name"] for each in (await client.ask("listPrompts"))["prompts"]] == ["start", "handoff"]
        await client.tool("join")
        assert "unread" in (await client.ask("readResource", {"uri": "loominal://inbox"}))["contents"][0]["text"]
