"""The HTTP server around the application: which address it takes, and that it ends with the program, not on its own."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

import uvicorn
from litestar import Litestar

from loominal.model.errors import InvalidArgument
from loominal.weft.settings import API_PORT

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


def url_of(listening: socket.socket) -> str:
    """Return the base URL of a listening address, as programs on this machine reach it."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def http_server(application: Litestar) -> HttpServer:
    """Return the server, to be started with `serve(sockets=[…])` and ended with `should_exit`."""
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )
    return HttpServer(config)
