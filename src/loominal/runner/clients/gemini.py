"""Gemini CLI: its headless mode with a JSON stream. Seen in Gemini CLI 0.61 (`gemini --help`).

What it may do besides our tools its settings say, or options behind the command: `-- gemini --approval-mode auto_edit`.
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

POLICY = f"""\
[[rule]]
mcpName = "{SERVER}"
toolName = "*"
decision = "allow"
priority = 100
"""


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens; those of the cache are part of the input."""

    input_tokens: int | None = None
    cached: int | None = None
    output_tokens: int | None = None


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong."""

    message: str = ""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A line."""

    type: str
    role: str = ""
    content: str = ""
    delta: bool = False
    tool_name: str = ""
    parameters: JsonObject = {}
    status: str = ""
    error: Problem | None = None
    stats: Stats = Stats()


class Gemini:
    """Google's command line."""

    name = "gemini"
    program: tuple[str, ...] = ("gemini",)

    def start(self, task: Task) -> Start:
        """Return what adds our server to the user's own for this run. Raises: OSError."""
        command, *arguments = warp_command()
        server = {"command": command, "args": arguments, "env": {"LOOMINAL_ATTACH": str(task.attach)}}
        settings, policy = task.folder / "settings.json", task.folder / "policy.toml"
        settings.write_bytes(msgspec.json.encode({"mcpServers": {SERVER: server}}))
        policy.write_text(POLICY, "utf-8")
        return Start(
            arguments=("--output-format=stream-json", "--skip-trust", f"--policy={policy}"),
            environ={"GEMINI_CLI_SYSTEM_DEFAULTS_PATH": str(settings)},  # the user's own settings go before it
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
        self._text = ""  # the last that was said, without a break
        self._goes_on = False

    def read(self, line: bytes) -> Progress | None:
        """Take the next line. Raises: DecodeError."""
        event = msgspec.json.decode(line, type=Event)
        goes_on, self._goes_on = self._goes_on, event.type == "message" and event.role == "assistant" and event.delta
        match event.type:
            case "message" if event.role == "assistant":
                self._text = self._text + event.content if goes_on else event.content
                return said(self._text)
            case "tool_use":
                return doing(event.tool_name, event.parameters)
            case "result":
                self._end(event)
        return None

    def _end(self, event: Event) -> None:
        self.usage = used(
            input_tokens=event.stats.input_tokens,
            cached_input_tokens=event.stats.cached,
            output_tokens=event.stats.output_tokens,
        )
        if event.status == "success":
            self.delivery = delivery(self._text)
        else:
            self.delivery = Delivery(error=(event.error and event.error.message) or "Gemini CLI failed")
