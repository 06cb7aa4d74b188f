"""Slow, stuck and too many clients, over real sockets against our server around a tiny application."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from litestar.enums import ScopeType
from litestar.types import Receive, Scope, Send

from loominal.weft.api.connection import HEAD_BYTES, Connection
from loominal.weft.api.server import HttpServer, http_server
from tests.integration.conftest import eventually
from tests.patience import SOON

BIG = b"x" * (4 << 20)  # more than what sockets and our buffer hold
SOCKET_BYTES = 1 << 16  # of each socket's buffer, which a system may let grow to more than BIG


class Hasty(Connection):
    """The shipped connection with less patience."""

    request_seconds = 1.5
    stuck_seconds = 2.5


class Few(Connection):
    """The shipped connection, of which there may be few."""

    limit = 3


class Server:
    """Our server, and what its application met."""

    def __init__(self, connection: type[Connection]) -> None:
        self.heard: list[str] = []
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        self.http: HttpServer = http_server(self.application)
        self.http.config.http = connection
        self.clients: list[asyncio.StreamWriter] = []

    async def application(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer `GET /big` with BIG, and everything else with the length of its body."""
        if scope["type"] != ScopeType.HTTP:
            return
        length = 0
        while True:
            event: Any = await receive()  # Any: an ASGI message
            if event["type"] == "http.disconnect":
                self.heard.append("disconnect")
                return
            length += len(event["body"])
            if not event["more_body"]:
                break
        body = BIG if scope["path"] == "/big" else str(length).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})
        self.heard.append("answered")

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        client = socket.socket()
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
        await asyncio.get_running_loop().sock_connect(client, self.listening.getsockname())
        reader, writer = await asyncio.open_connection(sock=client)
        self.clients.append(writer)
        return reader, writer

    async def ask(self, *said: bytes) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the answer to `said`."""
        reader, writer = await self.open()
        writer.writelines(said)
        return await answer(reader)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        serving = asyncio.create_task(self.http.serve(sockets=[self.listening]))
        await eventually(lambda: self.http.started)
        yield
        for writer in self.clients:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self.clients), return_exceptions=True)
        self.http.should_exit = True
        await serving


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    async with asyncio.timeout(SOON):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, body


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server(Hasty)
    async with made.running():
        yield made


@pytest.fixture
async def small_server() -> AsyncIterator[Server]:
    made = Server(Few)
    async with made.running():
        yield made


def is_problem(told: tuple[int, dict[str, str], bytes], status: int, code: str) -> bool:
    """Return whether an answer is that problem, and its connection ends with it."""
    found, headers, body = told
    problem = json.loads(body)
    assert (found, problem["status"], problem["code"]) == (status, status, code), problem
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"] == problem["requestId"] != ""
    return headers["connection"] == "close"


async def test_a_request_whose_head_does_not_come_is_told_so_and_ended(server: Server) -> None:
    told = await asyncio.gather(*(server.ask(said) for said in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n")))

    assert all(is_problem(each, 408, "invalid_argument") for each in told)


async def test_a_body_that_drips_has_its_time_for_the_whole(server: Server) -> None:
    reader, writer = await server.open()
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")

    async def drip() -> None:
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())

    assert is_problem(await answer(reader), 408, "invalid_argument")
    dripping.cancel()
    await eventually(lambda: server.heard == ["disconnect"])


async def test_the_second_request_of_a_connection_has_its_own_time(server: Server) -> None:
    reader, writer = await server.open()
    for _ in range(2):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab")
        assert (await answer(reader))[::2] == (200, b"2")
        await asyncio.sleep(Hasty.request_seconds * 0.6)  # twice that is more than the time of one
    writer.write(b"GET / HTT")

    assert is_problem(await answer(reader), 408, "invalid_argument")


@pytest.mark.parametrize("said", [b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
async def test_what_is_no_http_is_told_so(server: Server, said: bytes) -> None:
    assert is_problem(await server.ask(said), 400, "invalid_argument")


async def test_a_head_without_end_is_refused(server: Server) -> None:
    told = await server.ask(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ", b"x" * 2 * HEAD_BYTES)

    assert is_problem(told, 400, "invalid_argument")


async def test_a_client_that_does_not_read_its_answer_is_cut_off(server: Server) -> None:
    reader, writer = await server.open()
    writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    await eventually(lambda: len(server.http.server_state.connections) == 1)

    await eventually(lambda: not server.http.server_state.connections)

    assert not reader.at_eof()  # it had begun to come


async def test_a_client_that_reads_slowly_gets_the_whole_answer(server: Server) -> None:
    reader, writer = await server.open()
    writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")

    came = 0
    async with asyncio.timeout(SOON):
        while came < len(BIG):
            came += len(await reader.read(1 << 18))
            await asyncio.sleep(0.02)


async def test_one_connection_too_many_is_told_and_those_that_are_there_go_on(small_server: Server) -> None:
    server, asked = small_server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    there = [await server.open() for _ in range(Few.limit)]
    await eventually(lambda: len(server.http.server_state.connections) == Few.limit)

    told = await server.ask(asked)

    assert is_problem(told, 503, "busy")
    assert told[1]["retry-after"]
    for reader, writer in there:
        writer.write(asked)
        assert (await answer(reader))[0] == 200
        writer.close()
    await eventually(lambda: not server.http.server_state.connections)
    assert (await server.ask(asked))[0] == 200


async def test_on_a_connection_that_stays_answers_come_at_once(server: Server) -> None:
    reader, writer = await server.open()
    seconds = []
    for _ in range(60):
        asked_at = time.perf_counter()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await answer(reader)
        seconds.append(time.perf_counter() - asked_at)
    assert min(seconds[40:]) < 0.03, "the body waits for the client's acknowledgement of the head"
