"""One HTTP connection: what uvicorn's own lets clients do without end, who are slow, many or stuck."""

from __future__ import annotations

import asyncio
import socket

import h11
import msgspec
from uvicorn.protocols.http.h11_impl import H11Protocol

from loominal.weft.api import problems, request_id

HEAD_BYTES = 16 << 10  # of a request: line and headers
TOLD = 100  # connections beyond the limit that are told of it; others are closed at once


class Connection(H11Protocol):
    """A connection on which uvicorn reads requests and writes answers."""

    limit = 1000  # connections at once
    request_seconds = 20.0  # for a whole request to come, from the connection or its first byte on
    stuck_seconds = 30.0  # that a client may leave its answer unread, while 64 KB of it wait

    _late: asyncio.TimerHandle | None = None  # until the request has come
    _stuck: asyncio.TimerHandle | None = None
    _refused = False  # one connection too many

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin to wait for a request, or to refuse it."""
        super().connection_made(transport)
        # asyncio does it only for sockets made as TCP's own; without it an answer's body waits 40 ms behind its head
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > self.limit + TOLD:
            transport.abort()
            return
        self._refused = len(self.connections) > self.limit
        self._late = self.loop.call_later(self.request_seconds, self._too_slow)

    def data_received(self, data: bytes) -> None:
        """Take what came; the time for the rest of a request runs on."""
        if self._refused:
            self._refuse(503, f"this weft has {self.limit} connections, which is all it takes")
            return
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._late = self._late or self.loop.call_later(self.request_seconds, self._too_slow)
        else:
            self._stop_late()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop every clock."""
        self._stop_late()
        self._stop_stuck()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Give the client a while to read what was written."""
        super().pause_writing()
        self._stuck = self._stuck or self.loop.call_later(self.stuck_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client reads."""
        self._stop_stuck()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words
        """Tell the client that what it sent is no HTTP."""
        self._refuse(400, f"that is no HTTP request, or its head is longer than {HEAD_BYTES} bytes")

    def _too_slow(self) -> None:
        self._late = None
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._refuse(408, f"the request did not come within {self.request_seconds:g} s")
        elif self.conn.our_state is not h11.SEND_BODY:  # in which it is being answered although it has not said all
            self.transport.close()

    def _refuse(self, status: int, detail: str) -> None:
        """Answer outside of any request, and close the connection."""
        if self.transport.is_closing():
            return
        mark = request_id.begin("")
        answer = problems.answer(status, detail)
        headers = {
            **answer.headers,
            "content-type": problems.PROBLEM,
            request_id.HEADER.decode(): mark,
            "connection": "close",
        }
        body = msgspec.json.encode(answer.content)
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        line = f"HTTP/1.1 {status} {answer.content.title}\r\n{head}content-length: {len(body)}\r\n\r\n"
        self.transport.write(line.encode() + body)
        self.transport.close()

    def _stop_late(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _stop_stuck(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
