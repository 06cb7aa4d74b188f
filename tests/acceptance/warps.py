"""Warp as a client has it: a process that speaks JSON-RPC over its stdin and stdout, in either era."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from tests.patience import SOON

SECONDS = 2 * SOON  # for an answer, also to what waits so long by itself
PREFIX = "io.modelcontextprotocol/"
MODERN = "2026-07-28"
Json = Any  # Any: JSON


class Warp:
    """One warp. `call` asks, `tool` calls a tool, `notes` are the notifications so far."""

    def __init__(self, process: asyncio.subprocess.Process, *, modern: bool, client: str) -> None:
        self.process = process
        self.notes: list[Json] = []
        self.modern = modern
        self._client = {"name": client, "version": "1"}
        self._number = 0
        self._answers: dict[Json, Json] = {}
        self._heard = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    def say(self, message: Json) -> None:
        """Send a message, or a line as it is."""
        assert self.process.stdin is not None
        line = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.process.stdin.write(line + b"\n")

    def ask(self, method: str, **params: Json) -> int:
        """Send a request and return its id."""
        self._number += 1
        if self.modern:
            said = {"protocolVersion": MODERN, "clientCapabilities": {}, "clientInfo": self._client}
            meta = {f"{PREFIX}{name}": value for name, value in said.items()}
            params["_meta"] = meta | params.get("_meta", {})
        self.say({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        return self._number

    async def answer(self, number: Json) -> Json:
        """Return the answer to a request, once."""
        await self.until(lambda: number in self._answers)
        return self._answers.pop(number)

    async def call(self, method: str, **params: Json) -> Json:
        """Return the result of a request."""
        answer = await self.answer(self.ask(method, **params))
        assert "result" in answer, answer
        return answer["result"]

    async def refused(self, method: str, **params: Json) -> Json:
        """Return the error that a request is answered with."""
        return (await self.answer(self.ask(method, **params)))["error"]

    async def tool(self, name: str, **arguments: Json) -> Json:
        """Return a tool's structured answer; an error is one, too."""
        return (await self.call("tools/call", name=name, arguments=arguments))["structuredContent"]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when something heard makes it hold."""
        async with asyncio.timeout(SECONDS), self._heard:
            await self._heard.wait_for(holds)

    def unanswered(self, number: int) -> bool:
        return number not in self._answers

    async def hello(self) -> Json:
        """Open the talk as the era has it."""
        if self.modern:
            return await self.call("server/discover")
        return await self.call("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=self._client)

    async def leave(self) -> int:
        """Close stdin and return the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return await self.ended()

    async def ended(self) -> int:
        async with asyncio.timeout(SECONDS):
            await self._reading
            return await self.process.wait()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            message = json.loads(line)
            async with self._heard:
                for each in message if isinstance(message, list) else [message]:
                    if "method" in each:
                        self.notes.append(each)
                    else:
                        self._answers[each["id"]] = each
                self._heard.notify_all()


@contextlib.asynccontextmanager
async def warp(
    home: Path,
    *arguments: str,
    project: str = "shop",
    client: str = "claude-code",
    modern: bool = False,
    log: Path | None = None,
    **environ: str,
) -> AsyncIterator[Warp]:
    """Yield a warp that has said hello; it is gone afterwards. Its stderr goes to `log`, if that is given."""
    with contextlib.ExitStack() as files:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "loominal.warp.main", *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 26,
            stderr=files.enter_context(log.open("ab")) if log else None,
            env={**os.environ, "LOOMINAL_HOME": str(home), "LOOMINAL_PROJECT_ID": project} | environ,
        )  # fmt: skip
    started = Warp(process, modern=modern, client=client)
    try:
        await started.hello()
        yield started
    finally:
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SOON):
                    await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.stdin is not None
        process.stdin.close()
        await started._reading
