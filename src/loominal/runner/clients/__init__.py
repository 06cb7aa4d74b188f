"""The clients that can do an item without a person, by name."""

from loominal.runner.clients.claude_code import ClaudeCode
from loominal.runner.clients.codex import Codex
from loominal.runner.clients.copilot_cli import CopilotCli
from loominal.runner.clients.exec import Exec
from loominal.runner.clients.gemini import Gemini
from loominal.runner.clients.interface import Client

CLIENTS: dict[str, Client] = {client.name: client for client in (ClaudeCode(), CopilotCli(), Codex(), Gemini(), Exec())}
