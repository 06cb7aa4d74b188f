"""An HTTP server that answers as a test says, and keeps what it was asked; over TLS if it is given a certificate."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """What the query says, of each name the last."""
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def json(self) -> Any:  # Any: whatever was sent
        """The body."""
        return msgspec.json.decode(self.body)


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What to answer; `cut` ends the connection before anything, or in the middle of a body that goes on."""

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes = b""
    cut: bool = False
    lines: tuple[bytes, ...] | None = None  # of a body without a length; then the connection ends

    @classmethod
    def of(cls, status: int, document: object, **headers: str) -> Answered:
        """Return an answer in JSON."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(
            status=status, headers={"Content-Type": "application/json", **named}, body=msgspec.json.encode(document)
        )


Handler = Callable[[Asked], Awaitable[Answered]]


class StandIn:
    """The server: where it is, and what it was asked."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.asked: list[Asked] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's only request."""
        try:
            asked = await _read(reader)
            self.asked.append(asked)
            await _write(writer, await self.handler(asked))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # whoever asked is gone
        finally:
            writer.close()


@asynccontextmanager
async def standing_in(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[StandIn]:
    """Serve on a fresh port of 127.0.0.1."""
    stand_in = StandIn(handler)
    async with await asyncio.start_server(stand_in.serve, "127.0.0.1", 0, ssl=tls) as server:
        stand_in.port = server.sockets[0].getsockname()[1]
        yield stand_in


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method=method, target=target, headers=headers, body=body)


async def _write(writer: asyncio.StreamWriter, answer: Answered) -> None:
    if answer.cut and not answer.body:
        return
    length = {} if answer.lines is not None else {"Content-Length": str(len(answer.body) + answer.cut)}
    headers = {**length, "Connection": "close", **answer.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {answer.status} Answered\r\n{head}\r\n".encode() + answer.body)
    await writer.drain()
    for line in answer.lines or ():
        writer.write(line + b"\n")
        await writer.drain()
