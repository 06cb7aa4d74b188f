"""What is read off a connection and written to it, byte by byte: in whatever pieces it comes."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from nats import errors
from nats.aio.client import Client
from nats.protocol.parser import Parser

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


WORD = some.binary(min_size=1, max_size=5).filter(lambda text: text.split() == [text])
BODY = some.lists(some.sampled_from([b"\r\n", b"x", b"\r", b"\n", b"PING\r\n", b"MSG a 1 2\r\n", HEADERS])).map(
    b"".join
)
PLAIN = some.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'Permissions Violation'\r\n", b"INFO {}\r\n"])


class Heard(Client):
    """A client that counts the server's pings in place of answering them, and notes what the library's reader reads."""

    def __init__(self) -> None:
        super().__init__()
        self.pings = 0
        self.came: list[Message | str] = []

    async def _process_ping(self) -> None:
        self.pings += 1
        self.came.append("PING")

    async def _process_pong(self) -> None:
        self.came.append("PONG")

    async def _process_info(self, info: dict[str, object], initial_connection: bool = False) -> None:
        self.came.append(f"INFO {info}")

    async def _process_err(self, err_msg: str) -> None:
        self.came.append(err_msg)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self.came.append((sid, subject, reply, headers or b"", data))


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


@some.composite
def a_message(draw: some.DrawFn) -> bytes:
    """A message as a server writes it, about anything."""
    words = [draw(WORD), b"%d" % draw(some.integers(0, 10**6)), *draw(some.lists(WORD, max_size=1))]
    head, body = draw(some.sampled_from([b"", HEADERS])), draw(BODY)
    sizes = [b"%d" % len(head)] * bool(head) + [b"%d" % len(head + body)]
    return b" ".join([b"HMSG" if head else b"MSG", *words, *sizes]) + b"\r\n" + head + body + b"\r\n"


@settings(deadline=None, max_examples=60)
@given(lines=some.lists(some.one_of(a_message(), PLAIN), max_size=8), cuts=some.lists(some.integers(1, 20), min_size=1))
def test_what_is_read_is_what_the_librarys_own_reader_reads(lines: list[bytes], cuts: list[int]) -> None:
    stream, ours, theirs = b"".join(lines), Heard(), Heard()
    reader, library = wire.Reader(ours, lambda *message: ours.came.append(message)), Parser(theirs)

    async def read() -> None:
        at = turn = 0
        while at < len(stream):
            size = cuts[turn % len(cuts)]
            await reader.parse(stream[at : at + size])
            at, turn = at + size, turn + 1
        await library.parse(stream)

    asyncio.run(read())

    assert ours.came == theirs.came
    assert len(ours.came) == len(lines) - lines.count(b"+OK\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"MSG s.a x 5\r\n",
        b"MSG s.a 1 y\r\n",
        b"MSG s.a 1 -16\r\n\r\n",
        b"MSG s.a 1 _IB.x more 0\r\n\r\n",
        b"MSG\ts.a 1 5\r\n",
        b"HMSG s 1\r\n",
        b"HMSG s 1 9 4\r\nNATS\r\n",
        b"HMSG s 1 -1 4\r\nNATS\r\n",
        b"WHAT\r\n",
        b"INFO {\r\n",
        b"-ERR '\xff'\r\n",
        b"WHAT" * 2000 + b"\r\n",
    ],
)
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
