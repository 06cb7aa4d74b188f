"""JSON-RPC 2.0 over lines: reads messages, answers each request in a task of its own, writes nothing else."""

from __future__ import annotations

import asyncio
import codecs
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import msgspec

from loominal.warp.stdio import LINE_BYTES, Stdio

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
LAST_SECONDS = 1.0  # for what still runs when stdin is closed; what waits for others is given up at once
MOST_IN_BATCH = 1000
ESCAPES = re.compile(rb"\\(?:u(?i:d[89ab][0-9a-f]{2})\\u(?i:d[c-f][0-9a-f]{2})|(u(?i:d[89a-f][0-9a-f]{2}))|.)")
HALF = rb"\ufffd"  # for group 1, half of a character

Id: TypeAlias = str | int | None
Json: TypeAlias = dict[str, Any]  # Any: JSON of the client's own; each method reads what it knows
Handler = Callable[["Call"], Awaitable[Json]]


class RpcError(Exception):
    """A protocol error, as opposed to a tool's: the client asked for something that there is not."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class Call:
    """One request in flight."""

    def __init__(self, number: Id, method: str, params: Json, rpc: Rpc) -> None:
        self.number = number
        self.method = method
        self.params = params
        self.waits = False  # for others, and so in vain once the client is gone
        self._rpc = rpc

    @property
    def meta(self) -> Json:
        """What the client says beside the parameters."""
        meta = self.params.get("_meta")
        return meta if isinstance(meta, dict) else {}

    def text(self, name: str) -> str:
        """Return a parameter that is a text. Raises: RpcError if it is missing or something else."""
        value = self.params.get(name)
        if not isinstance(value, str):
            raise RpcError(INVALID_PARAMS, f"{self.method} needs {name}, a text")
        return value

    def notify(self, method: str, params: Json) -> None:
        """Tell the client something while the request runs."""
        self._rpc.notify(method, params)


class Rpc:
    """One client. `handler` answers every request; what it raises beside RpcError is a bug and ends the program."""

    def __init__(self, stdio: Stdio, handler: Handler) -> None:
        self.takes_batches = False  # a matter of the protocol's version
        self._stdio = stdio
        self._handler = handler
        self._running: dict[Id, tuple[asyncio.Task[None], Call]] = {}
        self._encoder = msgspec.json.Encoder()

    async def serve(self) -> None:
        """Serve until the client is gone; then what runs may end, and what waits is cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                while (line := await self._stdio.line()) is not None:
                    self._take(line, group)
                    await asyncio.sleep(0)  # what is done at once is done before the next message: a handshake, say
                running = dict(self._running)
                for task, call in running.values():
                    if call.waits:
                        task.cancel()
                if running:
                    await asyncio.wait([task for task, _ in running.values()], timeout=LAST_SECONDS)
                for task, _ in self._running.values():
                    task.cancel()
        finally:
            self._stdio.close()

    def notify(self, method: str, params: Json) -> None:
        """Tell the client something."""
        self._write({"jsonrpc": "2.0", "method": method, "params": params})

    def _take(self, line: bytes, group: asyncio.TaskGroup) -> None:
        if not line.strip():
            return
        if len(line) > LINE_BYTES:
            self._write(_refusal(None, RpcError(INVALID_REQUEST, f"a message has more than {LINE_BYTES} bytes")))
            return
        try:
            given = _decoded(line)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            self._write(_refusal(None, RpcError(PARSE_ERROR, f"this is no JSON: {error}")))
            return
        if isinstance(given, list):
            self._take_batch(given, group)
        else:
            self._start(given, self._write, group)

    def _take_batch(self, given: list[object], group: asyncio.TaskGroup) -> None:
        problem = ""
        if not self.takes_batches:
            problem = "batches are not part of this protocol version"
        elif not 0 < len(given) <= MOST_IN_BATCH:
            problem = f"a batch has 1-{MOST_IN_BATCH} messages"
        if problem:
            self._write(_refusal(None, RpcError(INVALID_REQUEST, problem)))
            return
        answers: list[Json] = []
        tasks = [task for each in given if (task := self._start(each, answers.append, group))]
        group.create_task(self._finish_batch(tasks, answers), name="batch")

    async def _finish_batch(self, tasks: list[asyncio.Task[None]], answers: list[Json]) -> None:
        if tasks:
            await asyncio.wait(tasks)
        if answers:
            self._write(answers)

    def _start(
        self, given: object, answer: Callable[[Json], None], group: asyncio.TaskGroup
    ) -> asyncio.Task[None] | None:
        """Start the task of a request and return it; of a notification, and of what cannot be one, nothing runs."""
        number: Id = None
        try:
            if not isinstance(given, dict):
                raise RpcError(INVALID_REQUEST, "a message is an object")
            number = _number(given)
            call = self._call(given, number)
        except RpcError as error:
            answer(_refusal(number, error))
            return None
        if call is None:
            return None
        task = group.create_task(self._run(call, answer), name=f"{call.method} {number}")
        self._running[number] = task, call
        task.add_done_callback(lambda _: self._running.pop(number, None))
        return task

    def _call(self, given: Json, number: Id) -> Call | None:
        """Return the request; None for a notification and for an answer, for we ask nothing."""
        method, params = given.get("method"), given.get("params")
        if method is None and ("result" in given or "error" in given):
            return None
        if given.get("jsonrpc") != "2.0" or not isinstance(method, str):
            raise RpcError(INVALID_REQUEST, 'a message has "jsonrpc": "2.0" and a method')
        if "id" not in given:
            self._note(method, params)
            return None
        if params is not None and not isinstance(params, dict):
            raise RpcError(INVALID_PARAMS, "params is an object")
        if number in self._running:
            raise RpcError(INVALID_REQUEST, f"request {number!r} is still running")
        return Call(number, method, params or {}, self)

    def _note(self, method: str, params: object) -> None:
        """Take a notification; the only one that matters is that a request is cancelled."""
        if method != "notifications/cancelled" or not isinstance(params, dict):
            return
        number = params.get("requestId")
        task, call = self._running.get(number, (None, None)) if isinstance(number, (str, int)) else (None, None)
        if task is not None and call is not None and call.method != "initialize":
            task.cancel()

    async def _run(self, call: Call, answer: Callable[[Json], None]) -> None:
        try:
            result = await self._handler(call)
            answer({"jsonrpc": "2.0", "id": call.number, "result": result})
        except RpcError as error:
            answer(_refusal(call.number, error))

    def _write(self, message: object) -> None:
        self._stdio.write(self._encoder.encode(message))


def _decoded(line: bytes) -> object:
    """Return a line's JSON. A mark that some systems begin with is passed over; half a character becomes U+FFFD.

    Clients in JavaScript send halves of a text that was cut within a character; refused, they would wait for an answer.
    Raises: DecodeError, UnicodeDecodeError, RecursionError.
    """
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        mended = ESCAPES.sub(lambda found: HALF if found[1] else found[0], line.removeprefix(codecs.BOM_UTF8))
        if mended == line:
            raise
    return msgspec.json.decode(mended)


def _number(given: Json) -> Id:
    """Return the id of a message. Raises: RpcError if it has one that is neither a number nor a text."""
    number = given.get("id")
    if "id" in given and (isinstance(number, bool) or not isinstance(number, (str, int))):
        raise RpcError(INVALID_REQUEST, "an id is a text or a whole number")
    return number


def _refusal(number: Id, error: RpcError) -> Json:
    problem = {"code": error.code, "message": error.message}
    if error.data is not None:
        problem["data"] = error.data
    return {"jsonrpc": "2.0", "id": number, "error": problem}
