"""What we take from the NATS client, for `line` and `wire`; the only module that imports it.

Its JetStream part, which we use nothing of, costs half of its import: 25 ms and 2 MB. So that is loaded only if the
client itself asks for something of it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType


class _AtFirstUse(MetaPathFinder):
    """Finds one module as ever, and has it loaded when something of it is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname == self._name else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


@contextmanager
def _at_first_use(name: str) -> Iterator[None]:
    finder = _AtFirstUse(name)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


with _at_first_use("nats.js"):
    from nats import errors
    from nats.aio.client import Client
    from nats.aio.transport import TcpTransport
    from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

__all__ = ["AWAITING_CONTROL_LINE", "Client", "Parser", "TcpTransport", "errors"]
