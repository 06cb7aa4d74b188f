"""A client of live events: plain HTTP/1.1 over a socket, so that a test decides when it reads, stops and goes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from loominal.fabric.runtime_file import read_runtime
from tests.integration.fabric import Fabric
from tests.patience import SOON

Json = Any  # Any: JSON as it comes


@dataclass
class Sent:
    """One event as a browser would see it."""

    type: str
    data: Json
    id: str  # the last one seen so far, its own or an earlier one's


class EventReader:
    """One open stream; `status` and `problem` tell of one that was refused."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.problem: Json = None
        self.last_id = ""
        self.comments = 0
        self._reader, self._writer = reader, writer

    async def begin(self) -> None:
        """Read the head, and of a refusal the body; of a stream all up to the first id."""
        self.status = int((await self._reader.readline()).split()[1])
        while line := (await self._reader.readline()).decode().strip():
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()
        if self.status != 200:
            self.problem = json.loads(await self._reader.readexactly(int(self.headers["content-length"])))
            return
        self._lines = self._read_lines()
        async for line in self._lines:
            self._field(line, {})
            if self.last_id:
                return

    async def next(self, seconds: float = SOON) -> Sent | None:
        """Return the next event; None when the stream has ended."""
        async with asyncio.timeout(seconds):
            fields: dict[str, str] = {}
            async for line in self._lines:
                if line:
                    self._field(line, fields)
                elif "data" in fields:
                    return Sent(fields.get("event", "message"), json.loads(fields["data"]), self.last_id)
                else:
                    fields = {}
        return None

    async def until(self, kind: str, seconds: float = SOON) -> Sent:
        """Return the next event of that type."""
        async with asyncio.timeout(seconds):
            while (event := await self.next(seconds)) is not None:
                if event.type == kind:
                    return event
        raise AssertionError(f"the stream ended without {kind}")

    def close(self) -> None:
        self._writer.transport.abort()

    def _field(self, line: str, fields: dict[str, str]) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            self.comments += 1
        elif name == "id":
            self.last_id = value
        else:
            fields[name] = value

    async def _read_lines(self) -> AsyncIterator[str]:
        left = b""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while size := int((await self._reader.readuntil(b"\r\n")).strip() or b"0", 16):
                chunk = (await self._reader.readexactly(size + 2))[:-2]
                *lines, left = (left + chunk).split(b"\n")
                for line in lines:
                    yield line.decode()


class Resuming:
    """Reads on and on, at one weft after the other, each time from the last id it has seen."""

    def __init__(self, homes: list[Path], **query: Any) -> None:  # Any: str or several
        self.homes = homes  # tried in turn; a test may change them
        self.events: list[Sent] = []
        self.said: list[Sent] = []  # what is no event of a project
        self.connects = 0
        self._query = query
        self._last_id = ""
        self._begun = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Resuming]:
        """Yield once it reads, and let it read for as long as the block lasts."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._run())
            async with asyncio.timeout(SOON):
                await self._begun.wait()
            yield self
            task.cancel()

    async def _run(self) -> None:
        turn = 0
        while True:
            turn += 1
            with contextlib.suppress(OSError, AssertionError, TimeoutError, IndexError):
                async with reading(self.homes[turn % len(self.homes)], self._last_id, **self._query) as reader:
                    if reader.status == 200:
                        self.connects += 1
                        self._last_id = reader.last_id
                        self._begun.set()
                        await self._read(reader)
            await asyncio.sleep(0.05)

    async def _read(self, reader: EventReader) -> None:
        while (event := await reader.next(3600)) is not None:
            self._last_id = event.id
            (self.events if ":" in event.type else self.said).append(event)


def place_of(home: Path) -> tuple[str, str]:
    """Return the URL and bearer token of the weft in `home`."""
    runtime = read_runtime(home)
    assert runtime is not None
    return runtime.api_url, Path(runtime.token_file).read_text().strip()


async def open_reader(home: Path, last_id: str = "", token: str = "", **query: Any) -> EventReader:
    """Return a reader of the weft in `home` whose stream has begun, or was refused."""  # Any: str or several
    url, own = place_of(home)
    host, port = urlsplit(url).hostname, urlsplit(url).port
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 14)
    resumes = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
    asked = f"GET /api/events?{urlencode(query, doseq=True)} HTTP/1.1\r\nHost: {host}:{port}\r\n"
    writer.write(f"{asked}Authorization: Bearer {token or own}\r\n{resumes}\r\n".encode())
    opened = EventReader(reader, writer)
    async with asyncio.timeout(SOON):
        await opened.begin()
    return opened


@contextlib.asynccontextmanager
async def reading(home: Path, last_id: str = "", token: str = "", **query: Any) -> AsyncIterator[EventReader]:
    """Yield a reader that is closed in the end."""  # Any: str or several
    opened = await open_reader(home, last_id, token, **query)
    try:
        yield opened
    finally:
        opened.close()


def token_command(fabric: Fabric, *words: str) -> str:
    """Return what `weft token` says to the programs that called it."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "LOOMINAL_HOME": str(fabric.home)}
    command = [sys.executable, "-m", "loominal.weft.main", "token", *words]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60).stdout
