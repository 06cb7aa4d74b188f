"""What a runner wants of a client: how it is started for one item, what its output says. Each is a file beside it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Protocol

import msgspec

from loominal.fabric.operations.work import WorkView
from loominal.model.agent import JsonObject
from loominal.model.work import Artifact

SERVER = "loominal"  # what our MCP server is called in every client
TEXT_CHARACTERS = 40_000  # of a client's last words: with four bytes each they still fit into a result


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One item to be done, for one process."""

    item: WorkView  # whole, and without its lease token
    folder: Path  # of this process alone, gone after it; files that it needs belong here
    attach: Path  # the socket through which its warp is this agent


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What is added to the client's command, and what it is given."""

    arguments: tuple[str, ...] = ()
    environ: Mapping[str, str] = {}
    stdin: bytes = b""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a process says it is."""

    percent: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    message: str = ""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """How a process says that it ended: with a result, or with an error."""

    summary: str = ""
    result: JsonObject = {}
    artifacts: tuple[Artifact, ...] = ()
    error: str = ""


class Reader(Protocol):
    """What the lines of one process come to."""

    delivery: Delivery | None  # None until it has delivered
    usage: JsonObject  # cost and tokens so far; {} where the client does not tell

    def read(self, line: bytes) -> Progress | None:
        """Take the next line; return progress that is worth telling. Raises: DecodeError if it is no line of ours."""


class Client(Protocol):
    """One kind of headless client."""

    name: str
    program: tuple[str, ...]  # the command where none is given; (): one must be

    def start(self, task: Task) -> Start:
        """Return how the client is started for the item; files may be written into `task.folder`. Raises: OSError."""

    def reader(self) -> Reader:
        """Return a reader of one process's output."""


def delivery(text: str) -> Delivery:
    """Return what a client's last words deliver."""
    return Delivery(summary=text.strip()[:TEXT_CHARACTERS] or "done; nothing was said about it")


def used(
    *,
    cost_usd: float | None = None,
    turns: int | None = None,
    input_tokens: int | None = None,
    cached_input_tokens: int | None = None,
    output_tokens: int | None = None,
) -> JsonObject:
    """Return cost and tokens as every result has them; the input includes what came from a cache."""
    numbers: list[float | None] = [cost_usd, turns, input_tokens, cached_input_tokens, output_tokens]
    names = ("costUsd", "turns", "inputTokens", "cachedInputTokens", "outputTokens")
    return {name: number for name, number in zip(names, numbers, strict=True) if number is not None}


def doing(tool: str, values: JsonObject) -> Progress:
    """Return as progress that a tool was called."""
    texts = [value for value in values.values() if isinstance(value, str)]
    words = next(filter(None, texts), "")
    return Progress(message=f"{tool}: {words}" if words else tool)


def said(text: str) -> Progress | None:
    """Return as progress what a client's model has said, None for nothing."""
    return Progress(message=text.strip()) if text.strip() else None


def warp_command() -> tuple[str, ...]:
    """Return how a client starts warp."""
    return (str(Path(sys.executable).absolute()), "-m", "loominal.warp.main")
