"""A warp as its client has it, asked over blocking pipes: nothing of the measuring process runs in between."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

VERSION = "2025-11-25"
Json = Any  # Any: what a tool answers


def program(*arguments: str) -> list[str]:
    """Return the command line of warp, as a client's configuration has it."""
    return [str(Path(sys.executable).with_name("warp")), *arguments]


def environment(home: Path, project: str) -> dict[str, str]:
    """Return the environment of a process that is to find the fabric in `home` and start none."""
    return os.environ | {"LOOMINAL_HOME": str(home), "LOOMINAL_PROJECT_ID": project, "LOOMINAL_AUTOSTART": "0"}


def request(number: int, method: str, **params: Json) -> bytes:
    """Return a request as a line."""
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode() + b"\n"


def hello(number: int) -> bytes:
    """Return the handshake as a line."""
    return request(number, "initialize", protocolVersion=VERSION, capabilities={}, clientInfo={"name": "bench"})


class Client:
    """One process of warp that has answered its handshake."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._number = 0
        self._send(hello(0))
        self._answer()

    def tool(self, name: str, **arguments: Json) -> Json:
        """Return what a tool answers. Raises: RuntimeError if it is an error."""
        self._number += 1
        self._send(request(self._number, "tools/call", name=name, arguments=arguments))
        answer = self._answer()
        if answer["result"]["isError"]:
            raise RuntimeError(f"{name}: {answer['result']['structuredContent']}")
        return answer["result"]["structuredContent"]

    def calls(self, calls: Sequence[tuple[str, Json]]) -> list[Json]:
        """Return the answers to calls of tools that are all asked at once."""
        numbers = range(self._number + 1, self._number + 1 + len(calls))
        self._number += len(calls)
        for number, (name, arguments) in zip(numbers, calls, strict=True):
            self._send(request(number, "tools/call", name=name, arguments=arguments))
        answers = {answer["id"]: answer for answer in (self._answer() for _ in calls)}
        return [answers[number] for number in numbers]

    def _send(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def _answer(self) -> Json:
        assert self.process.stdout is not None
        while "id" not in (answer := json.loads(self.process.stdout.readline())):
            pass  # it is a notification
        return answer


@contextlib.contextmanager
def client(environ: dict[str, str]) -> Iterator[Client]:
    """Yield a warp that has started; it has ended after the block."""
    with subprocess.Popen(program(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as process:
        yield Client(process)
        assert process.stdin is not None
        process.stdin.close()
