"""Commands of Shuttle typed in this process, which costs a third of one of their own, and what others see of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from unittest import mock

from loominal.fabric.client.agent import Agent
from loominal.shuttle.main import main
from tests.integration.fabric import Fabric

T = TypeVar("T")


class Typed:
    """Commands in one project of a fabric, one after the other."""

    def __init__(self, fabric: Fabric, project: str) -> None:
        self.fabric = fabric
        self.project = project

    def __call__(self, *arguments: str, code: int = 0, stdin: str = "", **environment: str) -> str:
        """Type a command, expect its exit code, and return what it printed, data and talk."""
        where = {"LOOMINAL_HOME": str(self.fabric.home), "LOOMINAL_PROJECT_ID": self.project, **environment}
        printed, said, typed = _stream(), _stream(), _stream(stdin)
        ended, thresholds = 0, gc.get_threshold()
        with (
            mock.patch("sys.argv", ["shuttle", *arguments]),
            mock.patch("sys.stdin", typed),
            mock.patch.dict("os.environ", where),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(said),
        ):
            os.environ.pop("COLUMNS", None)  # nobody looks, so nothing is cut
            try:
                main()
            except SystemExit as exit_:
                ended = exit_.code if isinstance(exit_.code, int) else 0
            finally:
                gc.set_threshold(*thresholds)
        told = _text(printed) + _text(said)
        assert ended == code, told
        return told

    def json(self, *arguments: str, code: int = 0, stdin: str = "") -> Any:  # Any: JSON
        """Return the one document that a command prints."""
        return json.loads(self("-q", "--json", *arguments, code=code, stdin=stdin))

    def asked(self, question: Callable[[Agent], Awaitable[T]]) -> T:
        """Return what an operator is answered."""

        async def ask() -> T:
            async with self.fabric.connect(project=self.project, operator=True) as operator:
                return await question(operator)

        return asyncio.run(ask())


class _Bytes(io.BytesIO):
    name = "<stdin>"


def _stream(text: str = "") -> io.TextIOWrapper:
    return io.TextIOWrapper(_Bytes(text.encode()), "utf-8", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()
