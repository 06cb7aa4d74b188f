"""What every group of calls stands on: plain arguments become typed ones, and one `call` asks for all operations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TypeVar

import msgspec

from loominal.fabric.operations import OPERATIONS
from loominal.fabric.operations.types import Arguments, View
from loominal.fabric.protocol import arguments, encode

V = TypeVar("V", bound=View)


class Calls:
    """Methods on top of `call`. Arguments that are None are left out: then the operation's default holds."""

    async def call(
        self,
        operation: str,
        args: Arguments,
        *,
        timeout_seconds: float | None = None,
        limit_bytes: int | None = None,
        op: str = "",
    ) -> View:
        """Return the answer to an operation. `Agent` has the real one."""
        raise NotImplementedError

    async def _ask(self, operation: str, answer: type[V], /, **fields: object) -> V:
        """Return the answer, which is an `answer`. Raises: InvalidArgument before anything is sent, and as `call`."""
        view = await self.call(operation, typed(operation, fields))
        assert isinstance(view, answer)
        return view


def typed(operation: str, fields: Mapping[str, object]) -> Arguments:
    """Return the arguments of an operation from plain values by their names in Python. Raises: InvalidArgument."""
    kind = OPERATIONS[operation].arguments
    wire = _wire_names(kind)
    return arguments(kind, encode({wire[name]: value for name, value in fields.items() if value is not None}))


@cache  # msgspec evaluates a type's annotations at every call: 100 us
def _wire_names(kind: type[Arguments]) -> dict[str, str]:
    return {field.name: field.encode_name for field in msgspec.structs.fields(kind)}
