"""Claude Code: `claude -p` with its JSON stream. Seen in Claude Code 2.1 (`claude --help`).

What it may do besides our tools its settings say, or options of the command: `-- claude --permission-mode acceptEdits`.
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


class Kind(msgspec.Struct, frozen=True):
    """What a line is."""

    type: str


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens, as the model's interface counts them: those of the cache stand apart."""

    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A part of what the model said."""

    type: str
    text: str = ""
    name: str = ""
    input: JsonObject = {}


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What the model said; a message of several blocks comes in several lines."""

    id: str = ""
    content: tuple[Block, ...] = ()
    usage: Usage = Usage()


class Assistant(msgspec.Struct, frozen=True, kw_only=True):
    """A line with a message."""

    message: Message


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The last line."""

    subtype: str = ""
    is_error: bool = False
    result: str | None = None
    total_cost_usd: float | None = None
    num_turns: int | None = None
    usage: Usage = Usage()


class ClaudeCode:
    """Anthropic's command line."""

    name = "claude-code"
    program: tuple[str, ...] = ("claude",)

    def start(self, task: Task) -> Start:
        """Return options that add our server to the user's own for this run. Raises: OSError."""
        command, *arguments = warp_command()
        server = {"command": command, "args": arguments, "env": {"LOOMINAL_ATTACH": str(task.attach)}}
        config = task.folder / "mcp.json"
        config.write_bytes(msgspec.json.encode({"mcpServers": {SERVER: server}}))
        return Start(
            arguments=(
                "-p", "--output-format=stream-json", "--verbose",
                f"--mcp-config={config}", f"--allowedTools=mcp__{SERVER}",
            ),
            environ={
                "MCP_CONNECTION_NONBLOCKING": "0",  # the first turn has our tools
                "CLAUDECODE": "",  # where the runner was started by a Claude Code, which refuses another in itself
            },
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
        self._usages: dict[str, Usage] = {}  # by message: each of its lines has it

    def read(self, line: bytes) -> Progress | None:
        """Take the next line. Raises: DecodeError."""
        match msgspec.json.decode(line, type=Kind).type:
            case "assistant":
                return self._take(msgspec.json.decode(line, type=Assistant).message)
            case "result":
                self._end(msgspec.json.decode(line, type=Result))
        return None

    def _take(self, message: Message) -> Progress | None:
        self._usages[message.id] = message.usage
        usages = self._usages.values()
        self.usage = used(
            turns=len(usages),
            input_tokens=sum(map(_input, usages)),
            cached_input_tokens=sum(each.cache_read_input_tokens or 0 for each in usages),
            output_tokens=sum(each.output_tokens or 0 for each in usages),
        )
        progress = None
        for block in message.content:
            progress = (doing(block.name, block.input) if block.type == "tool_use" else said(block.text)) or progress
        return progress

    def _end(self, result: Result) -> None:
        self.usage = used(
            cost_usd=result.total_cost_usd,
            turns=result.num_turns,
            input_tokens=_input(result.usage),
            cached_input_tokens=result.usage.cache_read_input_tokens,
            output_tokens=result.usage.output_tokens,
        )
        if result.is_error or result.result is None:
            self.delivery = Delivery(error=result.result or result.subtype or "Claude Code failed")
        else:
            self.delivery = delivery(result.result)


def _input(usage: Usage) -> int:
    return sum(
        each or 0 for each in (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens)
    )
