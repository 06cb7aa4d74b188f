"""One connection to weft's HTTP interface that stays open, and takes little time itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tests.integration.event_reader import place_of

Json = Any  # Any: bodies as they are on the wire


class HttpConnection:
    """Asks one thing after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self._reader = reader
        self._writer = writer
        self._head = head

    async def ask(self, method: str, path: str, body: Json = None) -> Json:
        """Return what is answered. Raises: RuntimeError if it is an error."""
        sent = b"" if body is None else msgspec.json.encode(body)
        kind = "" if body is None else "Content-Type: application/json\r\n"
        line = f"{method} {path} HTTP/1.1\r\n{self._head}{kind}Content-Length: {len(sent)}\r\n\r\n"
        self._writer.write(line.encode() + sent)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        answer = msgspec.json.decode(await self._reader.readexactly(length))
        if not head.startswith(b"http/1.1 2"):
            raise RuntimeError(f"{method} {path}: {answer}")
        return answer


@contextlib.asynccontextmanager
async def http_connection(home: Path) -> AsyncIterator[HttpConnection]:
    """Yield a connection to the weft of `home`, with the fabric's own bearer token."""
    url, bearer = place_of(home)
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        yield HttpConnection(reader, writer, f"Host: {place.netloc}\r\nAuthorization: Bearer {bearer}\r\n")
    finally:
        writer.close()
