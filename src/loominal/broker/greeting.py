"""What a broker says to whoever connects, before anybody proves who he is. `status`, `doctor` and `join` ask for it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import msgspec

from loominal.model.errors import BrokerUnavailable, WrongFabric

DEFAULT_PORT = 4222
ANSWER_SECONDS = 3.0
GREETING_BYTES = 1 << 16


class Greeting(msgspec.Struct, frozen=True, kw_only=True):
    """The part of it that is shown."""

    version: str = ""
    jetstream: bool = False
    tls_required: bool = False


def greeting(url: str) -> Greeting | None:
    """Return what the first broker of `url` that answers says; None if nobody there speaks NATS."""
    for each in url.split(","):
        try:
            with _connected(each) as line:
                return _greeting(line)
        except (OSError, ValueError, msgspec.DecodeError):
            continue
    return None


def reach(urls: Sequence[str], ca_text: str) -> list[str]:
    """Return those of `urls` where a broker answers over TLS with a certificate that `ca_text` (PEM) signed.

    Raises: WrongFabric if all that answer have another certificate, or go without TLS; BrokerUnavailable if none does.
    """
    context = ssl.create_default_context(cadata=ca_text)
    with ThreadPoolExecutor(max_workers=max(len(urls), 1)) as pool:
        outcomes = list(pool.map(lambda url: _failure(url, context), urls))
    if good := [url for url, outcome in zip(urls, outcomes, strict=True) if outcome is None]:
        return good
    told = "; ".join(f"{url}: {outcome}" for url, outcome in zip(urls, outcomes, strict=True))
    if any(isinstance(outcome, WrongFabric) for outcome in outcomes):
        raise WrongFabric(
            f"another fabric answers, or somebody in between ({told})", "nothing was sent; ask who invited you"
        )
    raise BrokerUnavailable(f"the fabric cannot be reached ({told})", "is it up, and does a firewall let you through?")


def _failure(url: str, context: ssl.SSLContext) -> Exception | None:
    """Return why no TLS connection to `url` can be had; None if one can."""
    try:
        with _connected(url) as line:
            if not _greeting(line).tls_required:
                return WrongFabric("it goes without TLS")
            with context.wrap_socket(line, server_hostname=urlsplit(url).hostname):
                return None
    except ssl.SSLCertVerificationError as error:
        return WrongFabric(error.verify_message)
    except (ssl.SSLError, ValueError, msgspec.DecodeError):
        return WrongFabric("it speaks something else")
    except OSError as error:
        return error


def _connected(url: str) -> socket.socket:
    place = urlsplit(url if "//" in url else f"nats://{url}")
    return socket.create_connection((place.hostname or "", place.port or DEFAULT_PORT), timeout=ANSWER_SECONDS)


def _greeting(line: socket.socket) -> Greeting:
    """Return the broker's first line. Raises: OSError, DecodeError. Not a byte more is read: TLS begins behind it."""
    told = bytearray()
    while not told.endswith(b"\n") and len(told) < GREETING_BYTES:
        byte = line.recv(1)
        if not byte:
            break
        told += byte
    return msgspec.json.decode(bytes(told).removeprefix(b"INFO "), type=Greeting)
