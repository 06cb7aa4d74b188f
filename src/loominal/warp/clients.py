"""How clients call themselves, and what their agents are called here."""

from __future__ import annotations

from loominal.model.names import handle_like

KNOWN = {
    "claude-code": "claude-code",
    "codex-mcp-client": "codex",
    "codex-cli": "codex",
    "gemini-cli-mcp-client": "gemini",
    "gemini-cli": "gemini",
    "github-copilot-developer": "copilot-cli",
    "github-copilot-cli": "copilot-cli",
    "copilot": "copilot-cli",
}


def agent_type(client: str) -> str:
    """Return the agent type that is the default for agents of this client: one that policies name, if there is one."""
    plain = handle_like(client)
    return KNOWN.get(plain, plain)
