"""Copilot CLI: its prompt mode with JSON lines. Seen in Copilot CLI 1.0 (`copilot --help`).

What it may do besides our tools is for options behind the command: `-- copilot --allow-tool=write`.
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


class Kind(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a line is; the last one says how it ended."""

    type: str
    exit_code: int = 0


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the model wants called."""

    name: str = ""
    arguments: JsonObject = {}


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the model said."""

    content: str = ""
    tool_requests: tuple[Call, ...] = ()
    output_tokens: int = 0


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A line with a message."""

    data: Message


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong."""

    message: str = ""


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """A line with an error."""

    data: Problem


class CopilotCli:
    """GitHub's command line."""

    name = "copilot-cli"
    program: tuple[str, ...] = ("copilot",)

    def start(self, task: Task) -> Start:
        """Return options that add our server to the user's own for this run. Raises: OSError."""
        command, *arguments = warp_command()
        environ = {"LOOMINAL_ATTACH": str(task.attach)}
        server = {"type": "local", "command": command, "args": arguments, "env": environ, "tools": ["*"]}
        config = task.folder / "mcp.json"
        config.write_bytes(msgspec.json.encode({"mcpServers": {SERVER: server}}))
        return Start(
            arguments=(
                "--output-format=json", "--no-ask-user", f"--allow-tool={SERVER}", f"--additional-mcp-config=@{config}",
            ),
            stdin=prompt(task.item).encode(),
        )  # fmt: skip

    def reader(self) -> Stream:
        """Return a reader of one process's output."""
        return Stream()


class Stream:
    """What one process has said."""

    def __init__(self) -> None:
        self.delivery: Delivery | None = None
        self.usage: JsonObject = {}
        self._text = ""  # the last that was said
        self._error = ""
        self._tokens = 0
        self._turns = 0

    def read(self, line: bytes) -> Progress | None:
        """Take the next line. Raises: DecodeError."""
        kind = msgspec.json.decode(line, type=Kind)
        match kind.type:
            case "assistant.message":
                return self._take(msgspec.json.decode(line, type=Said).data)
            case "session.error":
                self._error = msgspec.json.decode(line, type=Failed).data.message
            case "result" if kind.exit_code:
                self.delivery = Delivery(error=self._error or f"Copilot CLI ended with {kind.exit_code}")
            case "result":
                self.delivery = delivery(self._text)
        return None

    def _take(self, message: Message) -> Progress | None:
        self._text = message.content or self._text
        self._turns += 1
        self._tokens += message.output_tokens
        self.usage = used(turns=self._turns, output_tokens=self._tokens or None)
        if message.tool_requests:
            return doing(message.tool_requests[0].name, message.tool_requests[0].arguments)
        return said(message.content)
