"""The way of one process to the broker, as a TCP line of ours that can be cut, stalled, slowed, or swallow everything.

It can also send requests twice: the same bytes again, at once or late, as a network or a nervous client would.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Coroutine

from loominal.broker import subjects

CHUNK = 1 << 16
LATE_SECONDS = (0.3, 4.0)  # after which a request comes for the second time: also long after its answer
REQUEST = subjects.any_request().split(".")[0].encode() + b"."


class Frames:
    """Cuts what a NATS client sends into whole protocol messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return every message that is complete with `data`."""
        self._rest += data
        found = []
        while (end := self._rest.find(b"\r\n")) >= 0:
            head = self._rest[:end].split()
            size = end + 2
            if head and head[0].upper() in (b"PUB", b"HPUB"):
                size += int(head[-1]) + 2
            if len(self._rest) < size:
                break
            found.append(self._rest[:size])
            self._rest = self._rest[size:]
        return found


class Line:
    """All connections of one process. Faults are begun by a call each; `mend` ends every one of them.

    Without a seed nothing is sent twice, and what is carried may be anything: TLS, say.
    """

    def __init__(self, port: int, seed: str = "", host: str = "127.0.0.1") -> None:
        self.delay_seconds = 0.0
        self.repeats = 0.0  # the share of requests that are sent twice
        self._port, self._host = port, host
        self._seeded = bool(seed)
        self._random = random.Random(seed)
        self._flows = asyncio.Event()
        self._flows.set()
        self._swallows = False
        self._swallowed: set[asyncio.StreamWriter] = set()  # lost something: of no use any more
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where the process finds the broker."""
        assert self._server is not None
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """End every connection at once, in the middle of whatever it carries."""
        for writer in self._writers:
            writer.transport.abort()

    def stall(self) -> None:
        """Hold back everything, both ways."""
        self._flows.clear()

    def swallow(self) -> None:
        """Lose everything, both ways, and end nothing: neither side hears that the other one is gone."""
        self._swallows = True

    def mend(self) -> None:
        """Let everything through again; a connection that lost something is ended."""
        self.delay_seconds = self.repeats = 0.0
        self._flows.set()
        self._swallows = False
        for writer in self._swallowed:
            writer.transport.abort()
        self._swallowed.clear()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Line]:
        """Accept connections while the block runs."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        try:
            yield self
        finally:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        self._start(self._carry_up(reader, far_writer, writer))
        self._start(self._carry_down(far_reader, writer, far_writer))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_up(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        frames = Frames().feed if self._seeded else lambda data: [data]
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK):
                await self._lag()
                for frame in frames(data):
                    await self._pass(sink, frame)
                    self._repeat(sink, frame)
        self._end(sink, back)

    async def _carry_down(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK):
                await self._lag()
                await self._pass(sink, data)
        self._end(sink, back)

    async def _lag(self) -> None:
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds * self._random.uniform(0.5, 1.5))

    async def _pass(self, sink: asyncio.StreamWriter, data: bytes) -> None:
        await self._flows.wait()
        if self._swallows:
            self._swallowed.add(sink)
        if sink in self._swallowed or sink.is_closing():
            return
        sink.write(data)
        await sink.drain()

    def _repeat(self, sink: asyncio.StreamWriter, frame: bytes) -> None:
        is_request = frame[:4].upper() == b"PUB " and frame[4:].lstrip().startswith(REQUEST)
        if is_request and self._random.random() < self.repeats:
            seconds = 0.0 if self._random.random() < 0.5 else self._random.uniform(*LATE_SECONDS)
            self._start(self._again(sink, frame, seconds))

    async def _again(self, sink: asyncio.StreamWriter, frame: bytes, seconds: float) -> None:
        await asyncio.sleep(seconds)
        with contextlib.suppress(OSError):
            await self._pass(sink, frame)

    def _end(self, *writers: asyncio.StreamWriter) -> None:
        for writer in writers:
            writer.transport.abort() if writer in self._swallowed else writer.close()
            self._writers.discard(writer)
            self._swallowed.discard(writer)
