"""The table of clients that `loominal connect` and `loominal doctor` know."""

from __future__ import annotations

from loominal.local.connect.claude_code import ClaudeCode
from loominal.local.connect.codex import Codex
from loominal.local.connect.copilot_cli import CopilotCli
from loominal.local.connect.cursor import Cursor
from loominal.local.connect.gemini import Gemini
from loominal.local.connect.interface import Client
from loominal.local.connect.opencode import Opencode
from loominal.local.connect.vscode import VSCode

CLIENTS: dict[str, Client] = {
    client.name: client for client in (ClaudeCode(), Codex(), Gemini(), CopilotCli(), Cursor(), VSCode(), Opencode())
}
