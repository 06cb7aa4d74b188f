"""What we take from the NATS client, for `line` and `wire`; the only module that imports it.

Most of what it imports is not for us, and is kept out: 30 ms of 42, and 3 of 4 MB.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

AT_FIRST_USE = "nats.js"  # JetStream: loaded if the client itself asks for something of it
WITHOUT = ("importlib.metadata", "aiohttp")  # its own version, which servers then show as 0.0.0; WebSockets


class Sparing:
    """Finds modules for one thread: as ever, but for those that it can do without or load later."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()  # others import what they like meanwhile

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load a module, None to leave it to the others. Raises: ModuleNotFoundError: do without."""
        if threading.get_ident() != self._thread:
            return None
        if fullname in WITHOUT:
            raise ModuleNotFoundError(f"the NATS client does without {fullname}", name=fullname)
        spec = PathFinder.find_spec(fullname, path, target) if fullname == AT_FIRST_USE else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


@contextmanager
def _sparingly() -> Iterator[None]:
    finder = Sparing()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


with _sparingly():
    from nats import errors
    from nats.aio.client import Client
    from nats.aio.transport import TcpTransport
    from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

__all__ = ["AWAITING_CONTROL_LINE", "Client", "Parser", "TcpTransport", "errors"]
