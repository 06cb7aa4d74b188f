"""What is read off a connection and written to it, byte by byte: in whatever pieces it comes."""

from __future__ import annotations

import asyncio
import re

import pytest
from nats import errors
from nats.aio.client import Client

from loominal.broker import wire
from loominal.model.errors import InvalidArgument

Message = tuple[int, bytes, bytes, bytes, bytes]

HEADERS = b"NATS/1.0\r\na: b\r\n\r\n"
STREAM = (
    b"PING\r\n"
    b"MSG s.a 1 5\r\nhello\r\n"
    b"MSG s.a 2 _IB.x 0\r\n\r\n"
    b"+OK\r\n"
    b"MSG s.\x0b\x0c 1 4\r\n\r\n\r\n\r\n"
    b"HMSG s.b 3 %d %d\r\n%sx\r\n"
    % (len(HEADERS), len(HEADERS) + 1, HEADERS)
    + b"HMSG s.b 3 _IB.y %d %d\r\n%s\r\n" % (len(HEADERS), len(HEADERS), HEADERS)
    + b"MSG s.c 12 300\r\n"
    + b"MSG s.c 12 3\r\n" * 21
    + b"xxxxxx\r\n"
)
MESSAGES: list[Message] = [
    (1, b"s.a", b"", b"", b"hello"),
    (2, b"s.a", b"_IB.x", b"", b""),
    (1, b"s.\x0b\x0c", b"", b"", b"\r\n\r\n"),
    (3, b"s.b", b"", HEADERS, b"x"),
    (3, b"s.b", b"_IB.y", HEADERS, b""),
    (12, b"s.c", b"", b"", b"MSG s.c 12 3\r\n" * 21 + b"xxxxxx"),
]


class Heard(Client):
    """A client that counts the server's pings in place of answering them."""

    pings = 0

    async def _process_ping(self) -> None:
        self.pings += 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
def test_messages_are_whole_in_whatever_pieces_they_come(size: int) -> None:
    came: list[Message] = []
    client = Heard()
    reader = wire.Reader(client, lambda *message: came.append(message))

    async def read() -> None:
        for start in range(0, len(STREAM), size):
            await reader.parse(STREAM[start : start + size])

    asyncio.run(read())

    assert came == MESSAGES
    assert client.pings == 1


@pytest.mark.parametrize("line", [b"MSG s.a x 5\r\n", b"MSG s.a 1 y\r\n", b"HMSG s 1\r\n", b"WHAT\r\n"])
def test_a_line_that_is_none_of_the_protocols_ends_the_reading(line: bytes) -> None:
    reader = wire.Reader(Heard(), lambda *_: None)

    with pytest.raises(errors.ProtocolError):
        asyncio.run(reader.parse(line))


def test_headers_are_read_with_the_servers_own_status() -> None:
    assert wire.headers_in(b"NATS/1.0\r\nName:  a: b \r\nbad name: x\r\n\r\n") == {"Name": "a: b"}
    assert wire.headers_in(b"NATS/1.0 503\r\n\r\n") == {"Status": "503"}
    assert wire.headers_in(b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 7\r\n\r\n") == {
        "Status": "100",
        "Description": "Idle Heartbeat",
        "Nats-Last-Consumer": "7",
    }
    assert wire.headers_in(b"") == wire.headers_in(b"\xff") == {}


def test_no_header_ends_its_line() -> None:
    sent = wire.message("s.a", b"data", "_IB.x", {"Name": "a\r\nPUB s.b 0\r\n"})

    head, rest = sent.split(b"\r\n", 1)
    assert head == b"HPUB s.a _IB.x %d %d" % (len(rest) - 6, len(rest) - 2)
    assert wire.headers_in(rest[:-6]) == {"Name": "a  PUB s.b 0"}
    with pytest.raises(InvalidArgument, match=re.escape("'a b' is no header name")):
        wire.message("s.a", b"", "", {"a b": "c"})


@pytest.mark.parametrize(("subject", "reply"), [("", ""), ("a b", ""), ("a\r\nPUB b", ""), ("a", "b\nc")])
def test_no_subject_ends_its_word(subject: str, reply: str) -> None:
    with pytest.raises(InvalidArgument):
        wire.message(subject, b"", reply, None)
