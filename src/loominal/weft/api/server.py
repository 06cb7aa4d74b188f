"""The HTTP server around the application: which address it takes, and that it ends with the program, not on its own."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import uvicorn

from loominal.model.errors import InvalidArgument
from loominal.weft.api.connection import HEAD_BYTES, Connection
from loominal.weft.settings import API_PORT

if TYPE_CHECKING:
    from litestar.types import ASGIApp

PEM = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
TRIES = 100  # ports after the default one before the system chooses
CLOSE_SECONDS = 2  # for requests in flight at the end


class HttpServer(uvicorn.Server):
    """A uvicorn server that leaves the signals to the program."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signal."""
        yield


def bound_socket(host: str, port: int | None) -> socket.socket:
    """Return a listening address: `port`, or without one 4280 or the next free one.

    Raises: InvalidArgument if `host` is none of ours or the port that was asked for is busy.
    """
    wanted = [port] if port is not None else [*range(API_PORT, API_PORT + TRIES), 0]
    for number in wanted:
        try:
            return socket.create_server((host, number), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port is not None:
                raise InvalidArgument(
                    f"cannot listen on {host}:{number}: {error.strerror or error}", "set API_HOST or API_PORT"
                ) from error
    raise InvalidArgument(f"no port of {host} is free", "set API_PORT")


def url_of(listening: socket.socket, *, tls: bool) -> str:
    """Return the base URL of a listening address, as programs on this machine reach it."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What the server shows who connects over TLS."""

    file: Path
    key: Path
    fingerprint: str  # SHA-256 of the certificate, in hex; programs on this machine know it by that

    @classmethod
    def read(cls, file: Path, key: Path) -> Certificate:
        """Return the certificate if it can be served with that key. Raises: InvalidArgument."""
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(file, key)
            first = PEM.search(file.read_text("ascii", "replace"))
            der = ssl.PEM_cert_to_DER_cert(first[0]) if first else b""
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise InvalidArgument(
                f"cannot serve TLS with {file} and {key}: {error}", "check API_TLS_CERT and API_TLS_KEY: PEM files"
            ) from error
        return cls(file=file, key=key, fingerprint=hashlib.sha256(der).hexdigest())


def http_server(application: ASGIApp, certificate: Certificate | None = None) -> HttpServer:
    """Return the server, to be started with `serve(sockets=[…])` and ended with `should_exit`."""
    config = uvicorn.Config(
        application,
        interface="asgi3",
        http=Connection,
        h11_max_incomplete_event_size=HEAD_BYTES,
        ssl_certfile=certificate.file if certificate else None,
        ssl_keyfile=certificate.key if certificate else None,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who connects is who connects: nothing here trusts a proxy's word
        ws="none",
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )
    return HttpServer(config)
