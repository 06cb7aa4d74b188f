"""Codex: `codex exec --json`. Seen in Codex 0.169 (`codex exec --help`).

What it may do besides our tools its settings say, or options behind the command: `-- codex -s workspace-write`.
"""

from __future__ import annotations

import msgspec

from loominal.model.agent import JsonObject
from loominal.runner.clients.interface import (
    SERVER,
    Delivery,
    Progress,
    Start,
    Task,
    delivery,
    doing,
    said,
    used,
    warp_command,
)
from loominal.runner.clients.prompt import prompt


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens; those of the cache are part of the input."""

    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    output_tokens: int | None = None


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened in a turn."""

    type: str = ""
    text: str = ""
    command: str = ""
    tool: str = ""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a turn failed."""

    message: str = ""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A line."""

    type: str
    item: Item = Item()
    usage: Usage = Usage()
    error: Problem = Problem()


class Codex:
    """OpenAI's command line."""

    name = "codex"
    program: tuple[str, ...] = ("codex",)

    def start(self, task: Task) -> Start:
        """Return options that add our server to the user's own for this run."""
        command, *arguments = warp_command()
        values = {
            "command": command,
            "args": arguments,
            "env.LOOMINAL_ATTACH": str(task.attach),
            "default_tools_approval_mode": "approve",
        }
        # what JSON writes for texts and lists of them TOML reads as the same
        settings = [
            f"mcp_servers.{SERVER}.{key}={msgspec.json.encode(value).decode()}" for key, value in values.items()
        ]
        return Start(
            arguments=("exec", "--json", "--skip-git-repo-check", *(f"--config={each}" for each in settings), "-"),
            stdin=prompt(task.item).encode(),
        )

    def reader(self) -> Stream:
        """Return a reader of one process's output."""
        return Stream()


class Stream:
    """What one process has said."""

    def __init__(self) -> None:
        self.delivery: Delivery | None = None
        self.usage: JsonObject = {}
        self._text = ""  # the last that was said

    def read(self, line: bytes) -> Progress | None:
        """Take the next line. Raises: DecodeError."""
        event = msgspec.json.decode(line, type=Event)
        match event.type:
            case "item.started" | "item.completed":
                return self._take(event.item)
            case "turn.completed":
                tokens = event.usage
                self.usage = used(
                    input_tokens=tokens.input_tokens,
                    cached_input_tokens=tokens.cached_input_tokens,
                    output_tokens=tokens.output_tokens,
                )
                self.delivery = delivery(self._text)
            case "turn.failed":
                self.delivery = Delivery(error=event.error.message or "Codex failed")
        return None

    def _take(self, item: Item) -> Progress | None:
        match item.type:
            case "agent_message":
                self._text = item.text or self._text
                return said(item.text)
            case "command_execution":
                return doing("command", {"command": item.command})
            case "mcp_tool_call":
                return doing(item.tool, {})
        return None
