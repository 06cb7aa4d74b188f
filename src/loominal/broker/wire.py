"""The lines that go over a connection to a NATS server: messages as they are read and as they are written.

Called by `line.Line`. Everything else that a server says (INFO, PING, -ERR) is left to the NATS client.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from loominal.broker.nats_client import AWAITING_CONTROL_LINE, Client, Parser, errors
from loominal.model.errors import InvalidArgument

VERSION = b"NATS/1.0"
END = b"\r\n"
SPACES = " \t\r\n\v\f"
UNFIT = re.compile(r"[ \t\r\n]")  # in a subject: it would end the word, or the line
HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
ONE_LINE = str.maketrans("\r\n", "  ")

# subscription, subject, reply ("" for none), headers as they came (b"" for none), data
Taker = Callable[[int, bytes, bytes, bytes, bytes], None]


class Reader(Parser):
    """Cuts what comes in into messages and hands them to `take` at once, in their order.

    The client's own reader tries a pattern after the other on each line, and copies each message twice.
    """

    def __init__(self, client: Client, take: Taker) -> None:
        super().__init__(client)
        self._take = take
        self._came: list[bytes] = []  # what cannot be read yet, as it came
        self._missing = 1  # so many bytes more, and it can

    async def parse(self, data: bytes = b"") -> None:
        """Take what has come off the socket. Raises: ProtocolError; nothing can be read any more."""
        self._came.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return
        text = data if len(self._came) == 1 else b"".join(self._came)
        at, self._came, self._missing = 0, [], 1
        while (end := text.find(END, at)) >= 0:
            if not text.startswith((b"MSG ", b"HMSG "), at):
                try:
                    await super().parse(text[at : end + 2])
                except ValueError as error:  # of JSON, or of UTF-8; the client would read on no more and not say so
                    raise errors.ProtocolError from error
                if self.buf or self.state != AWAITING_CONTROL_LINE:  # it waits for the rest of a whole line
                    raise errors.ProtocolError
                at = end + 2
                continue
            stop = self._message(text, text[at:end].split(b" "), end + 2)
            if stop > len(text):
                self._missing = stop - len(text)
                break
            at = stop
        if at < len(text):
            self._came.append(text[at:])

    def _message(self, text: bytes, words: list[bytes], start: int) -> int:
        """Hand on the message that begins at `start` if it is here; return where it ends, with its line end."""
        try:
            headed = words[0] == b"HMSG"
            stop = start + int(words[-1])
            body = start + int(words[-2]) if headed else start
            reply = words[3] if len(words) == 5 + headed else b""
            number = int(words[2])
        except (ValueError, IndexError) as error:
            raise errors.ProtocolError from error
        if not start <= body <= stop or len(words) > 5 + headed:
            raise errors.ProtocolError
        if stop + 2 <= len(text):
            self._take(number, words[1], reply, text[start:body], text[body:stop])
        return stop + 2


def headers_in(raw: bytes) -> dict[str, str]:
    """Return the headers of a message; of one that the server itself made also `Status` and `Description`."""
    first, *lines = raw.decode("utf-8", "replace").split("\r\n")
    found = {}
    status, _, description = first[len(VERSION) :].strip(SPACES).partition(" ")
    if status.isdecimal():
        found["Status"] = status
    if description:
        found["Description"] = description
    for line in lines:
        name, colon, value = line.partition(":")
        key = name.strip(SPACES)
        if colon and key.isascii() and key.split() == [key]:
            found[key] = value.strip(SPACES)
    return found


def message(subject: str, data: bytes, reply: str, headers: dict[str, str] | None) -> bytes:
    """Return a message as it is sent. Raises: InvalidArgument for a malformed subject, reply or header name."""
    if not subject or UNFIT.search(subject) or UNFIT.search(reply):
        raise InvalidArgument(f"cannot publish to {subject!r} with the reply subject {reply!r}")
    if not headers:
        return b"".join((f"PUB {subject} {reply} {len(data)}\r\n".encode(), data, END))
    lines = [VERSION]
    for name, value in headers.items():
        if not HEADER_NAME.fullmatch(name):
            raise InvalidArgument(f"cannot publish to {subject!r}: {name!r} is no header name")
        lines.append(f"{name}: {value.strip().translate(ONE_LINE)}".encode())
    head = END.join(lines) + END + END
    command = f"HPUB {subject} {reply} {len(head)} {len(head) + len(data)}\r\n"
    return b"".join((command.encode(), head, data, END))
