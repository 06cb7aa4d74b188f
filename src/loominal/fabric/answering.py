"""Answering lines over a Unix socket: one line each way a connection, from processes of this user alone.

Warp answers hooks and attached processes with it, a runner the processes that work for it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import msgspec

from loominal.fabric.slot_socket import is_same_user

QUESTION_SECONDS = 5.0  # for the line of who has connected
QUESTION_BYTES = 1 << 20

Answer = Callable[[bytes], Awaitable[bytes]]  # raises DecodeError for what it does not understand: nothing is said


@asynccontextmanager
async def answering(place: socket.socket, answer: Answer) -> AsyncIterator[None]:
    """Answer everybody who connects to `place` while the block runs; who has gone is not answered any more."""
    visitors: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visitor = asyncio.current_task()
        assert visitor is not None
        visitors.add(visitor)
        try:
            with suppress(OSError, TimeoutError, ValueError):  # it has left, says nothing, or too much
                if is_same_user(writer.get_extra_info("socket")):
                    await _answer(reader, writer, answer)
        except asyncio.CancelledError:
            pass  # at the end of the block alone; asyncio takes a cancelled visitor for a bug
        finally:
            visitors.discard(visitor)
            writer.close()

    server = await asyncio.start_unix_server(serve, sock=place, limit=QUESTION_BYTES)
    try:
        yield
    finally:
        server.close()
        for visitor in visitors:
            visitor.cancel()
        if visitors:
            await asyncio.wait(visitors)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    async with asyncio.timeout(QUESTION_SECONDS):
        line = await reader.readline()
    async with asyncio.TaskGroup() as group:
        gone = group.create_task(_gone(reader), name="gone")
        saying = group.create_task(_say(line, writer, answer), name="say")
        await asyncio.wait((gone, saying), return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        saying.cancel()  # nobody is there to hear it


async def _say(line: bytes, writer: asyncio.StreamWriter, answer: Answer) -> None:
    with suppress(OSError, msgspec.DecodeError):  # who asked has gone, or speaks otherwise
        writer.write(await answer(line) + b"\n")
        await writer.drain()


async def _gone(reader: asyncio.StreamReader) -> None:
    """Return when the other end has closed."""
    while await reader.read(1024):
        pass
