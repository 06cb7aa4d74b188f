"""JSON-RPC 2.0 over lines of stdin and stdout: reads messages, answers each in its own task, writes nothing else."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

LINE_BYTES = 8 << 20  # a longer line is refused; what a tool takes is far below
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602

Id = str | int | None
Params = dict[str, Any]  # Any: JSON of the client's own; each method reads what it knows
Method = Callable[[Params], Awaitable[object]]


class RpcError(Exception):
    """A protocol error, as opposed to a tool's: the client did something wrong."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Message(msgspec.Struct, frozen=True):
    """A request (with id and method), a notification (method only) or an answer (neither is ours)."""

    jsonrpc: str = ""
    method: str = ""
    id: Id = None
    params: Params | None = None


class Rpc:
    """One client on stdin and stdout. `methods` answer requests, unknown ones are refused by the rules."""

    def __init__(self, methods: dict[str, Method]) -> None:
        self._methods = methods
        self._running: dict[Id, asyncio.Task[None]] = {}
        self._encoder = msgspec.json.Encoder()

    async def serve(self) -> None:
        """Serve until stdin is closed; what is still running then is cancelled."""
        reader = asyncio.StreamReader(limit=LINE_BYTES)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
        async with asyncio.TaskGroup() as group:
            while (line := await self._line(reader)) is not None:
                self._take(line, group)
            for task in self._running.values():
                task.cancel()

    async def _line(self, reader: asyncio.StreamReader) -> bytes | None:
        while True:
            try:
                line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as end:
                return end.partial or None
            except asyncio.LimitOverrunError as error:
                await reader.readexactly(error.consumed)
                self._refuse(None, INVALID_REQUEST, f"a line has more than {LINE_BYTES} bytes")
                continue
            if line.strip():
                return line

    def _take(self, line: bytes, group: asyncio.TaskGroup) -> None:
        try:
            if line.lstrip().startswith(b"["):
                raise RpcError(INVALID_REQUEST, "batches are not part of this protocol version")
            message = msgspec.json.decode(line, type=Message)
        except RpcError as error:
            return self._refuse(None, error.code, error.message)
        except (msgspec.DecodeError, RecursionError) as error:
            code = INVALID_REQUEST if isinstance(error, msgspec.ValidationError) else PARSE_ERROR
            return self._refuse(None, code, str(error))
        if message.method == "notifications/cancelled":
            if task := self._running.get((message.params or {}).get("requestId")):
                task.cancel()
            return None
        if not message.method or message.id is None:
            return None  # a notification, or an answer to nothing we asked
        name = f"{message.method} {message.id}"
        self._running[message.id] = group.create_task(self._answer(message), name=name)
        return None

    async def _answer(self, message: Message) -> None:
        try:
            method = self._methods.get(message.method)
            if method is None:
                raise RpcError(METHOD_NOT_FOUND, f"there is no method {message.method!r}")
            result = await method(message.params or {})
            self._write({"jsonrpc": "2.0", "id": message.id, "result": result})
        except RpcError as error:
            self._refuse(message.id, error.code, error.message)
        finally:
            self._running.pop(message.id, None)

    def _refuse(self, number: Id, code: int, message: str) -> None:
        self._write({"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}})

    def _write(self, message: dict[str, object]) -> None:
        data = memoryview(self._encoder.encode(message) + b"\n")
        while data:
            data = data[os.write(1, data) :]
