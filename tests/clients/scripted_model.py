"""A model on loopback that says what a test wrote down, so that real agent clients call our tools without a login."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from tests.clients.dialects import Offered, Reply, dialect

SECONDS = 150.0  # for a client to come as far as the test waits for
SEARCH = "ToolSearch"  # with it Claude Code's model asks for tools of which it knows only the names
MISSES = 60  # calls of a tool that is not offered: some clients begin while their servers still connect
MISS_SECONDS = 1.0
Json = Any  # Any: what clients send


class Step(NamedTuple):
    """One turn: a tool's name, or the end of it, with its arguments; or words, which end the turn."""

    tool: str = ""
    arguments: Json = None
    text: str = ""


HOLD = Step()  # the client waits for the model until the test releases it


def call(tool: str, **arguments: Json) -> Step:
    """Return the step that calls a tool."""
    return Step(tool=tool, arguments=arguments)


def say(text: str) -> Step:
    """Return the step that says something and so ends the turn."""
    return Step(text=text)


class ScriptedModel:
    """`will` tells it what to do next, `requests` is all that it was sent, oldest first."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[Json] = []
        self._steps: deque[Step] = deque()
        self._looked_for: set[str] = set()
        self._misses = 0
        self._lock = threading.Lock()
        self._released = threading.Semaphore(0)
        self._held = threading.Event()

    def will(self, *steps: Step) -> None:
        """Add to the script. Where it ends, the model says "nothing more"."""
        with self._lock:
            self._steps.extend(steps)

    @property
    def seen(self) -> str:
        """All texts that reached the model, in order, told twice where a client repeats them."""
        with self._lock:
            return "\n".join(text for body in self.requests for text in texts(body))

    @property
    def holds(self) -> bool:
        """Whether the client waits at a HOLD."""
        return self._held.is_set()

    def release(self) -> None:
        """Let the model go on at the HOLD where it is."""
        assert self.holds
        self._held.clear()
        self._released.release()

    @property
    def finished(self) -> bool:
        """Whether the whole script was played."""
        with self._lock:
            return not self._steps

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when something that the model was sent makes it hold. Raises: AssertionError that says what it saw."""
        try:
            async with asyncio.timeout(SECONDS):
                while not holds():  # noqa: ASYNC110 - what makes it so comes from other threads and processes
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"after {len(self.requests)} requests: {self.seen[-4000:]}") from None

    def turn(self, body: Json, offered: list[Offered]) -> Reply:
        """Return what the model does about a request. Only one that offers tools is part of the script."""
        with self._lock:
            self.requests.append(body)
            held = bool(offered and self._steps and self._steps[0] == HOLD)
        if held:
            self._held.set()
            self._released.acquire(timeout=SECONDS)
        reply = self._next(offered, held=held)
        if reply.tool is not None and reply.tool not in offered:
            time.sleep(MISS_SECONDS)
        return reply

    def _next(self, offered: list[Offered], *, held: bool) -> Reply:
        with self._lock:
            if held:
                self._steps.popleft()
            if not offered or not self._steps:
                return Reply(text="nothing more")
            step = self._steps[0]
            if not step.tool:
                return Reply(text=self._steps.popleft().text)
            tool = _named(step.tool, offered)
            if tool is None and step.tool not in self._looked_for and (search := _named(SEARCH, offered)) is not None:
                self._looked_for.add(step.tool)
                return Reply(tool=search, arguments={"query": f"select:mcp__loominal__{step.tool}"})
            if (
                tool is None and self._misses < MISSES
            ):  # clients refuse it, and offer in the next turn what they have then
                self._misses += 1
                return Reply(tool=Offered(step.tool), arguments=step.arguments)
            self._steps.popleft()
            if tool is None:
                return Reply(text=f"there is no {step.tool} among {[each.name for each in offered]}")
            return Reply(tool=tool, arguments=step.arguments)


def texts(value: Json) -> Iterator[str]:
    """Yield every string inside of a JSON value."""
    match value:
        case str():
            yield value
        case dict():
            for each in value.values():
                yield from texts(each)
        case list():
            for each in value:
                yield from texts(each)


def _named(name: str, offered: list[Offered]) -> Offered | None:
    found = [tool for tool in offered if tool.name == name or tool.name.endswith(f"_{name}")]
    return next(iter(found or [tool for tool in offered if tool.name.endswith(f"-{name}")]), None)


@contextmanager
def scripted_model() -> Iterator[ScriptedModel]:
    """Yield a model that listens on a port of its own until the block ends."""
    server = _Server(("127.0.0.1", 0), _Handler)
    model = server.model = ScriptedModel(f"http://127.0.0.1:{server.server_port}")
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="model")
    serving.start()
    try:
        yield model
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    model: ScriptedModel

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that has gone; anything else is a bug."""
        if not isinstance(sys.exc_info()[1], OSError):
            raise


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""

    def do_HEAD(self) -> None:
        self._json(None)

    def do_GET(self) -> None:
        """Answer a client that asks which models there are; anything else is nothing."""
        one = {"id": "scripted", "object": "model", "type": "model", "display_name": "scripted", "owned_by": "test"}
        self._json({"object": "list", "data": [one], "models": []} if "models" in self.path else {})

    def do_POST(self) -> None:
        given = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = self.path.partition("?")[0]
        language = dialect(path)
        if language is None:
            self._json({"input_tokens": 9, "totalTokens": 9} if "ount" in path else {})
            return
        body = json.loads(given)
        assert isinstance(self.server, _Server)
        events = language.answer(body, self.server.model.turn(body, list(language.offered(body))))
        if not body.get("stream") and ":stream" not in path:
            self._json(language.whole(events))
            return
        lines = []
        for name, data in events:
            lines += [f"event: {name}"] if name else []
            lines += [f"data: {data if isinstance(data, str) else json.dumps(data)}", ""]
        self._send("text/event-stream", "\n".join([*lines, ""]).encode())

    def _json(self, value: Json) -> None:
        self._send("application/json", b"" if value is None else json.dumps(value).encode())

    def _send(self, kind: str, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
