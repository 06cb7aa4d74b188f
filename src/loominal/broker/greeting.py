"""What a broker says to whoever connects, before anybody proves who he is. `status` and `doctor` ask for it."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import msgspec

DEFAULT_PORT = 4222
ANSWER_SECONDS = 3.0


class Greeting(msgspec.Struct, frozen=True, kw_only=True):
    """The part of it that is shown."""

    version: str = ""
    jetstream: bool = False
    tls_required: bool = False


def greeting(url: str) -> Greeting | None:
    """Return what the first broker of `url` says; None if nobody there speaks NATS."""
    first = url.split(",", 1)[0]
    place = urlsplit(first if "//" in first else f"nats://{first}")
    try:
        address = (place.hostname or "", place.port or DEFAULT_PORT)
        with socket.create_connection(address, timeout=ANSWER_SECONDS) as line, line.makefile("rb") as reader:
            return msgspec.json.decode(reader.readline(1 << 16).removeprefix(b"INFO "), type=Greeting)
    except (OSError, ValueError, msgspec.DecodeError):
        return None
